"""Groups, projects, subjects, sessions, acquisitions, and who may see them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.access import ROLES, Access, Caller, Grants
from fwsync.sandbox.kept.listing import Source, Where, granted, list_query
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import CONTAINERS, containers_json
from fwsync.sandbox.pages import answer_page
from fwsync.sandbox.problems import forbidden, invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

_COLUMNS = {
    "_id": "id",
    "label": "label",
    "parents.group": "group_id",
    "parents.project": "project_id",
    "parents.subject": "subject_id",
    "parents.session": "session_id",
}
#: The keys of each kind that a column holds; a container is not among its own parents.
_TEXTS = {
    kind: {key: name for key, name in _COLUMNS.items() if key != f"parents.{kind}"}
    for kind in ("project", "subject", "session", "acquisition")
}
_TEXTS["group"] = {"_id": "id", "label": "label"}
_TEXTS["project"] = {
    k: v for k, v in _TEXTS["project"].items() if k in ("_id", "label", "parents.group")
}
_TEXTS["subject"] |= {"code": "label"}
_TEXTS["analysis"] = _COLUMNS | {
    "parents.acquisition": "acquisition_id",
    "parent.id": "parent_id",
}
_TEXTS["collection"] = _TEXTS["group"]
_SUBJECT = "(SELECT s.label FROM containers s WHERE s.id = c.subject_id)"
_ORDERS = {
    "revision": "c.revision",
    "parents.acquisition": "c.acquisition_id",
    "subject._id": "c.subject_id",
    "subject.label": _SUBJECT,
    "subject.code": _SUBJECT,
    "parent.id": "c.parent_id",
}


def source(kind: str, *, with_files: bool, grants: Grants | None = None) -> Source:
    """The list of containers of a kind, as who has these grants sees each."""

    def render(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Json]:
        return containers_json(db, rows, with_files=with_files, grants=grants)

    return Source(
        CONTAINERS,
        "containers c",
        "c",
        render,
        _TEXTS[kind],
        ids_grow=kind != "group",
        unless_null={"parents.group": "project_id"},  # or it is the id of a collection
        orders=_ORDERS | ({"code": "c.label"} if kind == "subject" else {}),
    )


async def create(call: Call) -> web.Response:
    """``POST /{cont}``."""
    body = await call.json_object()
    if call.kind == "group":
        return await _create_group(call, body)
    new = tree.new_container(call.kind, body)
    need: Access = "admin" if call.kind == "project" else "rw"
    parent_kind = "" if new.subject_label is not None else tree.PARENT_OF[call.kind]
    await call.place(new.parent or "", need, parent_kind)
    permissions = tree.read_permissions(body.get("permissions"))
    # Making something hides and moves nothing; only a project comes with a grant.
    write = call.site.write_tree if call.kind == "project" else call.site.records.write
    made = await write(_create, new, permissions, call.caller)
    return answer({"_id": made})


def _create(
    pen: Pen, new: tree.NewContainer, permissions: list[tuple[str, str]], caller: Caller
) -> str:
    made = tree.create(pen, new)
    if new.kind == "project":
        if caller.kind == "user" and caller.id is not None:
            permissions = [(caller.id, "admin"), *permissions]
        entries = [{"_id": user, "access": access} for user, access in permissions]
        tree.set_permissions(pen, made, entries, replace=False)
    return made


async def _create_group(call: Call, body: Json) -> web.Response:
    call.only_admins()
    group = body.get("_id")
    if not isinstance(group, str) or not tree.GROUP_ID.fullmatch(group):
        raise invalid("the _id of a group has 2 to 32 characters: a-z 0-9 . @ _ -")
    new = tree.new_container("group", body)
    entries = body.get("permissions")
    tree.read_permissions(entries)

    def write(pen: Pen) -> bool:
        is_new = tree.upsert_group(pen, group, new)
        if entries is not None:
            tree.set_permissions(pen, group, entries, replace=True)
        elif is_new and call.caller.id is not None:
            given = [{"_id": call.caller.id, "access": "admin"}]
            tree.set_permissions(pen, group, given, replace=True)
        return is_new

    is_new = await call.site.write_tree(write)
    return answer({"_id": group}, 200 if is_new else 201)


async def get(call: Call) -> web.Response:
    """``GET /{cont}/{id}``; ``GET /containers/{id}`` takes any kind."""
    place = await call.place(call.part("id"), "ro")
    grants = await call.site.grants(call.caller)
    entry = await call.read(load, place.id, with_files=call.with_files, grants=grants)
    if entry is None:
        raise missing(f"no such {place.kind}: {place.id}")
    return answer(entry)


def load(
    db: sqlite3.Connection, container: str, *, with_files: bool, grants: Grants | None = None
) -> Json | None:
    """The JSON of a living container, as who has these grants sees it."""
    rows = db.execute(f"{CONTAINERS} WHERE c.id = ? AND c.deleted IS NULL", (container,)).fetchall()
    if not rows:
        return None
    return containers_json(db, rows, with_files=with_files, grants=grants)[0]


async def top_list(call: Call) -> web.Response:
    """``GET /{cont}``."""
    return await list_kind(call, call.kind, Where(("c.kind = ?",), (call.kind,)))


async def child_list(call: Call) -> web.Response:
    """``GET /{cont}/{id}/{children}``: of any level below, for projects."""
    place = await call.place(call.part("id"), "ro")
    children = call.request.path.rpartition("/")[2].removesuffix("s")
    above = "c.parent_id = ?" if tree.CHILD_OF[place.kind] == children else "c.project_id = ?"
    where = Where((above, "c.kind = ?"), (place.id, children))
    return await list_kind(call, children, where)


async def list_kind(call: Call, kind: str, where: Where) -> web.Response:
    """A list of containers of a kind, of which the caller sees what was granted to them."""
    if call.flag("exhaustive"):
        call.only_admins()
    query = list_query(call.request.query)
    keys = {key for key, _ in query.sort} | query.filter.keys()
    grants = await call.site.grants(call.caller)
    shown = source(kind, with_files=call.with_files or "files" in keys, grants=grants)
    where = granted(grants, where.also("c.deleted IS NULL"), "c", groups=kind == "group")
    return await answer_page(
        call,
        shown,
        where,
        query,
        always="pagination" in call.accepts,
        drop="" if call.with_files else "files",
    )


async def permissions(call: Call) -> web.Response:
    """``GET /{groups|projects}/{id}/permissions``, and ``…/{user}`` for one of them."""
    place = await call.place(call.part("id"), "ro")
    entry = await call.read(load, place.id, with_files=False)
    granted = (entry or {}).get("permissions", [])
    user = call.parts.get("user")
    if user is None:
        return answer(granted)
    for one in granted:
        if one["_id"] == user:
            return answer(one)
    raise missing(f"{user} has no permission on {place.kind} {place.id}")


async def grant(call: Call) -> web.Response:
    """``POST`` one permission, or ``PUT`` one or, as a list, all of them."""
    place = await call.place(call.part("id"), "admin")
    body = await call.json()
    user = call.parts.get("user")
    if user is not None and isinstance(body, dict):
        body = {"_id": user, **body}
    entries = body if isinstance(body, list) else [body]
    replace = isinstance(body, list)
    await call.site.write_tree(tree.set_permissions, place.id, entries, replace=replace)
    if replace:
        return answer({"modified": 1})
    name, access = tree.read_permission(body)
    roles = {"role_ids": [ROLES[access]]} if place.kind == "project" else {}
    return answer({"_id": name, "access": access, **roles})


async def revoke(call: Call) -> web.Response:
    """``DELETE /{groups|projects}/{id}/permissions/{user}``."""
    place = await call.place(call.part("id"), "admin")
    user = call.part("user")
    if user == call.caller.id and not call.caller.root:
        raise forbidden("nobody takes their own permission away")

    def write(pen: Pen) -> int:
        return pen.db.execute(
            "DELETE FROM permissions WHERE container_id = ? AND user_id = ?", (place.id, user)
        ).rowcount

    if not await call.site.write_tree(write):
        raise missing(f"{user} has no permission on {place.kind} {place.id}")
    return answer({"modified": 1})
