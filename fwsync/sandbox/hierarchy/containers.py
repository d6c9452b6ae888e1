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


def _texts(above: Sequence[str]) -> dict[str, str]:
    parents = {f"parents.{kind}": f"{kind}_id" for kind in above}
    return {"_id": "id", "label": "label"} | parents


#: The keys of each kind that a column holds; a container is not among its own parents.
_TEXTS = {kind: _texts(tree.KINDS[:at]) for at, kind in enumerate(tree.KINDS)}
_TEXTS["subject"] |= {"code": "label"}
_TEXTS["analysis"] = _texts(tree.KINDS) | {"parent.id": "parent_id"}
_TEXTS["collection"] = _texts(())
_SUBJECT = "(SELECT s.label FROM containers s WHERE s.id = c.subject_id)"
_ORDERS = {
    "revision": "c.revision",
    "subject._id": "c.subject_id",
    "subject.label": _SUBJECT,
    "subject.code": _SUBJECT,
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
        orders=_ORDERS,
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
    told = body.get("permissions")
    tree.read_permissions(told)
    # Making something hides and moves nothing; only a project comes with a grant.
    if call.kind != "project":
        return answer({"_id": await call.site.records.write(tree.create, new)})
    entries = [*own_grant(call.caller), *(told or ())]
    return answer({"_id": await call.site.write_tree(create_granted, new, entries)})


def create_granted(pen: Pen, new: tree.NewContainer, entries: Sequence[Json]) -> str:
    """Make a container that comes with grants; returns its id."""
    made = tree.create(pen, new)
    tree.set_permissions(pen, made, entries, replace=False)
    return made


def own_grant(caller: Caller) -> list[Json]:
    """What a user is granted on what they make; a device needs no grant."""
    return [{"_id": caller.id, "access": "admin"}] if caller.kind == "user" else []


async def _create_group(call: Call, body: Json) -> web.Response:
    call.only_admins()
    group = body.get("_id")
    if not isinstance(group, str) or not tree.GROUP_ID.fullmatch(group):
        raise invalid("the _id of a group has 2 to 32 characters: a-z 0-9 . @ _ -")
    new = tree.new_container("group", body)
    told = body.get("permissions")
    tree.read_permissions(told)

    def write(pen: Pen) -> bool:
        is_new = tree.upsert_group(pen, group, new)
        if is_new or told is not None:
            entries = own_grant(call.caller) if told is None else told
            tree.set_permissions(pen, group, entries, replace=True)
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
    shape = None if call.with_files else _without_files
    return await answer_page(call, shown, where, query, shape=shape)


def _without_files(_: sqlite3.Connection, entries: list[Json]) -> list[Json]:
    """They may have been needed for the filter."""
    return [{name: entry[name] for name in entry if name != "files"} for entry in entries]


async def permissions(call: Call) -> web.Response:
    """``GET /{cont}/{id}/permissions``, and ``…/{user}`` for one of them."""
    place = await call.place(call.part("id"), "ro")
    entry = await call.read(load, place.id, with_files=False)
    given = (entry or {}).get("permissions", [])
    user = call.parts.get("user")
    if user is None:
        return answer(given)
    for one in given:
        if one["_id"] == user:
            return answer(one)
    raise missing(f"{user} has no permission on {place.kind} {place.id}")


async def grant(call: Call) -> web.Response:
    """``POST`` one permission, or ``PUT`` one or, as a list and for nobody in particular, all."""
    place = await call.place(call.part("id"), "admin")
    body = await call.json()
    user = call.parts.get("user")
    if user is None and isinstance(body, list) and call.request.method == "PUT":
        await call.site.write_tree(tree.set_permissions, place.id, body, replace=True)
        return answer({"modified": 1})
    if user is not None and isinstance(body, dict):
        body = body | {"_id": user}
    name, access = tree.read_permission(body)
    await call.site.write_tree(tree.set_permissions, place.id, [body], replace=False)
    roles = {"role_ids": [ROLES[access]]} if place.kind == "project" else {}
    return answer({"_id": name, "access": access, **roles})


async def revoke(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}/permissions/{user}``."""
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
