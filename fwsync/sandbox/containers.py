"""Groups, projects, subjects, sessions, acquisitions, and who may see them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from fwsync.sandbox import tree
from fwsync.sandbox.access import ROLES, Access, Caller, Place
from fwsync.sandbox.listing import ListQuery, Source, Where, granted, list_query, page
from fwsync.sandbox.problems import forbidden, invalid, missing
from fwsync.sandbox.records import Pen
from fwsync.sandbox.render import CONTAINERS, containers_json
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


def source(kind: str, *, with_files: bool) -> Source:
    """The list of containers of a kind."""

    def render(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Json]:
        return containers_json(db, rows, with_files=with_files)

    return Source(CONTAINERS, "containers c", "c", render, _TEXTS[kind])


async def create(call: Call) -> web.Response:
    """``POST /{cont}``."""
    body = await call.json_object()
    if call.kind == "group":
        return await _create_group(call, body)
    new = tree.new_container(call.kind, body)
    need: Access = "admin" if call.kind == "project" else "rw"
    parent_kind = "" if new.subject_label is not None else tree.PARENT_OF[call.kind]
    await call.place(new.parent or "", need, parent_kind)
    permissions = [tree.read_permission(entry) for entry in body.get("permissions") or ()]
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
    entry = await call.read(load, place.id, with_files=call.with_files)
    if entry is None:
        raise missing(f"no such {place.kind}: {place.id}")
    return answer(entry)


def load(db: sqlite3.Connection, container: str, *, with_files: bool) -> Json | None:
    """The JSON of a living container."""
    rows = db.execute(f"{CONTAINERS} WHERE c.id = ? AND c.deleted IS NULL", (container,)).fetchall()
    return containers_json(db, rows, with_files=with_files)[0] if rows else None


async def top_list(call: Call) -> web.Response:
    """``GET /{cont}``."""
    return await _list(call, call.kind, Where(("c.kind = ?",), (call.kind,)))


async def child_list(call: Call) -> web.Response:
    """``GET /{cont}/{id}/{children}``: of any level below, for projects."""
    place = await call.place(call.part("id"), "ro")
    children = call.request.path.rpartition("/")[2].removesuffix("s")
    where = Where(("c.parent_id = ?",), (place.id,))
    if tree.CHILD_OF[place.kind] != children:
        where = Where(("c.project_id = ?", "c.kind = ?"), (place.id, children))
    return await _list(call, children, where)


async def _list(call: Call, kind: str, where: Where) -> web.Response:
    if call.flag("exhaustive"):
        call.only_admins()
    query = list_query(call.request.query)
    keys = {key for key, _ in query.sort} | query.filter.keys()
    shown = source(kind, with_files=call.with_files or "files" in keys)
    grants = await call.site.grants(call.caller)
    where = granted(grants, where.also("c.deleted IS NULL"), "c", groups=kind == "group")
    return await answer_page(
        call,
        shown,
        where,
        query,
        always="pagination" in call.accepts,
        drop="" if call.with_files else "files",
    )


async def answer_page(
    call: Call, shown: Source, where: Where, query: ListQuery, *, always: bool, drop: str = ""
) -> web.Response:
    """A list as the wire has it: plain, or the page object.

    Args:
        always: the page object is wanted.
        drop: a member that is left out of every entry.
    """
    known: int | None = None
    counted = ""
    if always:
        counted = repr((shown.table, where, query.filter_text))
        known = call.site.totals.get(counted, call.site.records.generation)

    def produce(db: sqlite3.Connection) -> tuple[int | None, bytes]:
        found = page(db, shown, where, query, total=known)
        results = found.results
        if drop:
            for entry in results:
                entry.pop(drop, None)
        body: object = results
        if always:
            body = {"total": found.total, "count": len(results), "results": results}
        return found.total, json.dumps(body, separators=(",", ":")).encode()

    generation = call.site.records.generation
    total, body = await call.read(produce)
    if always and total is not None:
        call.site.totals.keep(counted, generation, total)
    return answer(body)


async def change(call: Call) -> web.Response:
    """``PUT /{cont}/{id}``."""
    place = await call.place(call.part("id"), "admin" if call.kind == "group" else "rw")
    await call.site.write_tree(tree.change, place, await call.json_object())
    return answer({"modified": 1, "jobs_spawned": 0})


async def delete(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}``: soft, with everything below."""
    place = await call.place(call.part("id"), _need_to_delete(call.kind))
    await call.site.write_tree(tree.delete, place)
    return answer({"deleted": 1, "not_found": 0, "delete_scheduled": 0})


async def delete_many(call: Call) -> web.Response:
    """``DELETE /{cont}`` with a list of ids."""
    wanted = await call.json()
    if not isinstance(wanted, list) or not all(isinstance(x, str) for x in wanted):
        raise invalid("the body must be a list of ids")
    places: list[Place] = []
    for container in dict.fromkeys(wanted):
        found = await call.site.place(container)
        if found is not None and found.kind == call.kind:
            places.append(await call.place(container, _need_to_delete(call.kind)))

    def write(pen: Pen) -> None:
        for place in places:
            tree.delete(pen, place)

    await call.site.write_tree(write)
    gone = len(places)
    return answer({"deleted": gone, "not_found": len(wanted) - gone, "delete_scheduled": 0})


def _need_to_delete(kind: str) -> Access:
    return "admin" if kind in ("group", "project") else "rw"


async def permissions(call: Call) -> web.Response:
    """``GET /{groups|projects}/{id}/permissions``."""
    place = await call.place(call.part("id"), "ro")
    entry = await call.read(load, place.id, with_files=False)
    return answer((entry or {}).get("permissions", []))


async def grant(call: Call) -> web.Response:
    """``POST`` one permission, or ``PUT`` one or, as a list, all of them."""
    place = await call.place(call.part("id"), "admin")
    body = await call.json()
    user = call.request.match_info.get("user")
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
