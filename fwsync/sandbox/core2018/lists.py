"""The lists on a container: tags, notes, permissions.

Each change answers ``{"modified": 1}``, and what is there already 409.

Source: core18.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking, planting
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.render import permissions_of
from fwsync.sandbox.core2018.wire import json_body, stored
from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

EXISTS: Final = "Item already exists in list."
_TAG: Final = s.closed({"value": {"type": "string", "minLength": 1, "maxLength": 32}}, "value")
_NOTE: Final = s.closed(
    {"_id": s.TEXT, "text": s.TEXT, "user": s.TEXT, "timestamp": s.MOMENT}, "text"
)
_ACCESS: Final[Json] = {"type": "string", "enum": ["ro", "rw", "admin"]}
_PERMISSION: Final = s.closed({"_id": s.TEXT, "access": _ACCESS}, "_id", "access")
_CHANGED_PERMISSION: Final = s.closed({"_id": s.TEXT, "access": _ACCESS}, "access")


async def _edit(
    call: Call, place: Place, name: str, edit: Callable[[Pen, list[Any]], None]
) -> web.Response:
    """Let ``edit`` change a list in the document of a container."""

    def write(pen: Pen) -> None:
        def work(doc: Json) -> None:
            doc[name] = doc.get(name) or []
            edit(pen, doc[name])

        tree.edit(pen, place, work)

    await call.site.records.write(write)
    return answer({"modified": 1})


# -------------------------------------------------------------------------------------- tags


async def add_tag(call: Call) -> web.Response:
    """``POST …/tags``."""
    place = await asking.place(call, "rw")
    body = await json_body(call)
    s.validate(body, _TAG)

    def edit(_: Pen, tags: list[Any]) -> None:
        if body["value"] in tags:
            raise ApiError(409, EXISTS)
        tags.append(body["value"])

    return await _edit(call, place, "tags", edit)


async def get_tag(call: Call) -> web.Response:
    """``GET …/tags/{value}``: the tag itself, in quotation marks."""
    place = await asking.place(call, "ro")
    doc = await call.read(planting.load_doc, place.id)
    if call.part("value") not in (doc.get("tags") or []):
        raise asking.no_element(place, "found in list tags of")
    return answer(call.part("value"))


async def rename_tag(call: Call) -> web.Response:
    """``PUT …/tags/{value}``."""
    place = await asking.place(call, "rw")
    body = await json_body(call)
    s.validate(body, _TAG)

    def edit(_: Pen, tags: list[Any]) -> None:
        if call.part("value") not in tags or body["value"] in tags:
            raise asking.no_element(place, "updated in list tags of")
        tags[tags.index(call.part("value"))] = body["value"]

    return await _edit(call, place, "tags", edit)


async def drop_tag(call: Call) -> web.Response:
    """``DELETE …/tags/{value}``."""
    place = await asking.place(call, "rw")

    def edit(_: Pen, tags: list[Any]) -> None:
        if call.part("value") not in tags:
            raise asking.no_element(place, "removed from list tags in")
        tags.remove(call.part("value"))

    return await _edit(call, place, "tags", edit)


# ------------------------------------------------------------------------------------- notes


async def add_note(call: Call) -> web.Response:
    """``POST …/notes``."""
    place = await asking.place(call, "rw")
    body = await json_body(call)
    s.validate(body, _NOTE)

    def edit(pen: Pen, notes: list[Any]) -> None:
        written = {"created": stored(pen.now), "modified": stored(pen.now)}
        notes.append({"_id": pen.new_id(), "user": call.caller.id, **body, **written})

    return await _edit(call, place, "notes", edit)


async def get_note(call: Call) -> web.Response:
    """``GET …/notes/{note}``."""
    place = await asking.place(call, "ro")
    doc = await call.read(planting.load_doc, place.id)
    return answer(_note(place, doc.get("notes") or [], call.part("note"), "found in list notes of"))


async def change_note(call: Call) -> web.Response:
    """``PUT …/notes/{note}``."""
    place = await asking.place(call, "rw")
    body = await json_body(call)
    s.validate(body, _NOTE)

    def edit(pen: Pen, notes: list[Any]) -> None:
        found = _note(place, notes, call.part("note"), "updated in list notes of")
        found.update(body | {"modified": stored(pen.now)})

    return await _edit(call, place, "notes", edit)


async def drop_note(call: Call) -> web.Response:
    """``DELETE …/notes/{note}``."""
    place = await asking.place(call, "rw")

    def edit(_: Pen, notes: list[Any]) -> None:
        notes.remove(_note(place, notes, call.part("note"), "removed from list notes in"))

    return await _edit(call, place, "notes", edit)


def _note(place: Place, notes: list[Any], wanted: str, what: str) -> Json:
    for note in notes:
        if note["_id"] == wanted:
            found: Json = note
            return found
    raise asking.no_element(place, what)


# ------------------------------------------------------------------------------- permissions


async def add_permission(call: Call) -> web.Response:
    """``POST …/permissions``; nobody asks whether there is such a user."""
    place = await asking.place(call, "admin")
    body = await json_body(call)
    s.validate(body, _PERMISSION)

    def write(pen: Pen) -> None:
        if _has(pen.db, place.id, body["_id"]):
            raise ApiError(409, EXISTS)
        tree.set_permissions(pen, place.id, [body], replace=False)

    await call.site.write_tree(write)
    return answer({"modified": 1})


async def get_permission(call: Call) -> web.Response:
    """``GET …/permissions/{user}``."""
    place = await asking.place(call, "ro")
    for given in (await call.read(permissions_of, [place.id]))[place.id]:
        if given["_id"] == call.part("user"):
            return answer(given)
    raise asking.no_element(place, "found in list permissions of")


async def change_permission(call: Call) -> web.Response:
    """``PUT …/permissions/{user}``."""
    place, user = await asking.place(call, "admin"), call.part("user")
    body = await json_body(call)
    s.validate(body, _CHANGED_PERMISSION)

    def write(pen: Pen) -> None:
        if not _has(pen.db, place.id, user):
            raise asking.no_element(place, "updated in list permissions of")
        tree.set_permissions(pen, place.id, [{**body, "_id": user}], replace=False)

    await call.site.write_tree(write)
    return answer({"modified": 1})


async def drop_permission(call: Call) -> web.Response:
    """``DELETE …/permissions/{user}``."""
    place, user = await asking.place(call, "admin"), call.part("user")

    def write(pen: Pen) -> None:
        sql = "DELETE FROM permissions WHERE container_id = ? AND user_id = ?"
        if not pen.db.execute(sql, (place.id, user)).rowcount:
            raise asking.no_element(place, "removed from list permissions in")

    await call.site.write_tree(write)
    return answer({"modified": 1})


def _has(db: sqlite3.Connection, container: str, user: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM permissions WHERE container_id = ? AND user_id = ?", (container, user)
    ).fetchone()
    return row is not None
