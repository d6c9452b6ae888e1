"""Collections: acquisitions that somebody put together, from wherever they lie.

A collection holds no copies: it names acquisitions, and has files and analyses of its own. Who
may read it sees of its contents what they may read where it lies.

Source: SDK 23 (bodies); core18 (what a project or session adds, ``?session=``, the curators).
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.hierarchy.containers import create_granted, list_kind, own_grant
from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.kept.listing import Where, granted
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import invalid
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

#: What can be put in: every acquisition at or below a node of these levels.
LEVELS: Final = tree.KINDS[1:]

_MEMBERS: Final = "(SELECT acquisition_id FROM collection_members WHERE collection_id = ?)"
_SESSIONS: Final = (
    "(SELECT a.session_id FROM collection_members m JOIN containers a ON a.id = m.acquisition_id"
    " AND a.deleted IS NULL WHERE m.collection_id = ?)"
)


async def create(call: Call) -> web.Response:
    """``POST /collections``: whoever makes one curates it."""
    body = await call.json_object()
    new = tree.new_container("collection", body)
    new.doc["curator"] = call.caller.id
    contents = await _contents(call, body)

    def write(pen: Pen) -> str:
        made = create_granted(pen, new, own_grant(call.caller))
        _apply(pen, made, *contents)
        return made

    return answer({"_id": await call.site.write_tree(write)})


async def change(call: Call) -> web.Response:
    """``PUT /collections/{id}``: its fields, and with ``contents`` what is in it.

    ``contents`` is ``{"operation": "add" | "remove", "nodes": [{"level", "_id"}, …]}``.
    """
    place = await call.place(call.part("id"), "rw")
    body = await call.json_object()
    contents = await _contents(call, body)

    def write(pen: Pen) -> None:
        tree.change(pen, place, body, also=frozenset({"contents"}))
        _apply(pen, place.id, *contents)

    await call.site.write_tree(write)
    return answer({"modified": 1})


async def _contents(call: Call, body: Json) -> tuple[str, list[Place]]:
    """The operation and its nodes, each of which the caller may read.

    Raises:
        ApiError: 400, 403, 404.
    """
    told = body.get("contents")
    if told is None:
        return "add", []
    if not isinstance(told, dict) or told.get("operation") not in ("add", "remove"):
        raise invalid("contents needs an operation, add or remove")
    nodes = told.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise invalid("contents needs nodes, a list of objects")
    places = []
    for node in nodes:
        level, container = node.get("level"), node.get("_id")
        if level not in LEVELS or not isinstance(container, str):
            raise invalid(f"a node needs an _id and a level, one of {', '.join(LEVELS)}")
        places.append(await call.place(container, "ro", level))
    return told["operation"], places


def _apply(pen: Pen, collection: str, operation: str, nodes: list[Place]) -> None:
    what = (
        "INSERT OR IGNORE INTO collection_members SELECT ?2, id FROM containers"
        " WHERE kind = 'acquisition' AND id IN (SELECT id FROM below)"
        if operation == "add"
        else "DELETE FROM collection_members WHERE collection_id = ?2"
        " AND acquisition_id IN (SELECT id FROM below)"
    )
    for node in nodes:
        pen.db.execute(tree.BELOW + what, (node.id, collection))


async def sessions(call: Call) -> web.Response:
    """``GET /collections/{id}/sessions``: those that an acquisition of it belongs to."""
    place = await call.place(call.part("id"), "ro")
    where = Where(("c.kind = 'session'", f"c.id IN {_SESSIONS}"), (place.id,))
    return await list_kind(call, "session", where)


async def acquisitions(call: Call) -> web.Response:
    """``GET /collections/{id}/acquisitions``; ``session=`` asks for those of one session."""
    place = await call.place(call.part("id"), "ro")
    where = Where(("c.kind = 'acquisition'", f"c.id IN {_MEMBERS}"), (place.id,))
    session = call.query("session")
    if session:
        where = where.also("c.session_id = ?", session)
    return await list_kind(call, "acquisition", where)


async def curators(call: Call) -> web.Response:
    """``GET /collections/curators``: of the collections that the caller sees."""
    where = Where(("c.kind = 'collection'", "c.deleted IS NULL"))
    where = granted(await call.site.grants(call.caller), where, "c")
    return answer(await call.read(_curators, where))


def _curators(db: sqlite3.Connection, where: Where) -> list[Json]:
    rows = db.execute(
        "SELECT id, firstname, lastname FROM users WHERE id IN (SELECT"  # noqa: S608 - no values
        f" json_extract(c.doc, '$.curator') FROM containers c WHERE {where.text}) ORDER BY id",
        where.parameters,
    )
    return [{"_id": row[0], "firstname": row[1], "lastname": row[2]} for row in rows]
