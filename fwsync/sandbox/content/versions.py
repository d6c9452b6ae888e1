"""The versions of a file, and what becomes of it as a whole: restored, or moved elsewhere.

Source: the routes of SDK 23 and what their descriptions say.
"""

from __future__ import annotations

import json
import sqlite3
import uuid

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.access import Caller, Place, load_place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.problems import ApiError, invalid, missing, refuse_others, unprocessable
from fwsync.sandbox.site import Call, answer


async def listing(call: Call) -> web.Response:
    """``GET /files/{file_id}/versions``: the newest first, deleted ones too."""
    row = await targets.file(call)
    return answer(await call.read(catalog.versions, row["id"]))


async def restore(call: Call) -> web.Response:
    """``POST /files/{file_id}/restore?version=&evaluate_gear_rules=``; answers the entry.

    The restored version is repeated as a new one: its content, metadata and origin.
    """
    version = targets.whole(call, "version", required=True)
    if (call.query("evaluate_gear_rules") or "").lower() not in ("true", "false", "1", "0"):
        raise unprocessable("evaluate_gear_rules is required: true or false")
    row = await targets.file(call, "rw")  # which is the version that is asked for
    if version != row["version"]:
        raise missing("no such version of this file")
    made = await call.site.records.write(_restore, row["id"], row["version"], call.caller)
    return answer(file_json(made))


def _restore(pen: Pen, file_id: str, version: int, caller: Caller) -> sqlite3.Row:
    now = catalog.by_id(pen.db, file_id)
    old = None if now is None else catalog.at_version(pen.db, now, version)
    if now is None or old is None:
        raise missing("no such version of this file")
    names = ("type", "mimetype", "size", "sha384", "hash_known", "origin", "doc")
    by = json.dumps({"type": caller.kind, "id": caller.id})
    same = {
        **{name: old[name] for name in names},
        "object_id": str(uuid.uuid4()),
        "version": now["version"] + 1,
        "restored_from": version,
        "restored_by": by,
    }
    columns = ", ".join(f"{name} = ?" for name in same)
    pen.db.execute(
        f"UPDATE files SET {columns}, modified = ?, replaced = ? WHERE id = ?",  # noqa: S608
        (*same.values(), pen.now, pen.now, file_id),
    )
    pen.db.execute(
        f"INSERT INTO versions (file_id, created, {', '.join(same)})"  # noqa: S608 - fixed names
        f" VALUES (?, ?, {', '.join('?' * len(same))})",
        (file_id, pen.now, *same.values()),
    )
    row: sqlite3.Row = pen.db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
    return row


async def move(call: Call) -> web.Response:
    """``POST /files/{file_id}/move``: another container, another name, or both.

    The body is ``{"container_reference": {"type", "id"}, "name", "run_gear_rules"}``.
    """
    body = await call.json_object()
    refuse_others(body, {"container_reference", "name", "run_gear_rules"})
    row = await targets.file(call, "rw")
    reference, name = body.get("container_reference"), body.get("name")
    if reference is None and name is None:
        raise invalid("a file moves to a container_reference, or gets a name, or both")
    kind, container = row["container_kind"], row["container_id"]
    if reference is not None:
        kind, container = _reference(reference)
    place = await call.place(container, "rw", kind)
    if place.kind == "group":
        raise invalid("a group holds no files")
    await call.site.records.write(_move, row["id"], place, _name(name, row["name"]))
    return answer({"modified": 1, "jobs_spawned": 0})


def _reference(told: object) -> tuple[str, str]:
    if isinstance(told, dict):
        kind, container = told.get("type"), told.get("id")
        if isinstance(kind, str) and isinstance(container, str) and kind:
            return kind, container
    raise invalid("container_reference needs a type and an id")


def _name(told: object, now: str) -> str:
    if told is None:
        return now
    if not isinstance(told, str):
        raise invalid("name has the wrong type: it is a text")
    return file_name(told)


def _move(pen: Pen, file_id: str, place: Place, name: str) -> None:
    now = load_place(pen.db, place.id)  # it may have been moved meanwhile
    if now is None:
        raise missing(f"no such {place.kind}: {place.id}")
    if catalog.by_id(pen.db, file_id) is None:
        raise missing("no such file")
    name = pen.named(name)
    taken = catalog.by_name(pen.db, place.id, name)
    if taken is not None and taken["id"] != file_id:
        raise ApiError(409, f"{place.kind} {place.id} has a file {name!r} already")
    pen.db.execute(
        "UPDATE files SET container_id = ?, container_kind = ?, group_id = ?, project_id = ?,"
        " subject_id = ?, session_id = ?, acquisition_id = ?, name = ?, modified = ? WHERE id = ?",
        (
            now.id,
            now.kind,
            now.group,
            now.project,
            now.subject,
            now.session,
            now.acquisition,
            name,
            pen.now,
            file_id,
        ),
    )
