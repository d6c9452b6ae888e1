"""Packfiles of core18: all errors are 500, and all events come at once, at the end.

Who ends a packfile need not be logged in: the token is enough. A fault after the first event is
500 with the events so far in the body, and the JSON of the error after them.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking, filing, planting
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.forms import read_form
from fwsync.sandbox.core2018.wire import NO_JSON, drain, parse, told
from fwsync.sandbox.formats import packing
from fwsync.sandbox.formats.filetypes import file_type, mimetype
from fwsync.sandbox.formats.packing import Member, Step
from fwsync.sandbox.kept.access import RANK, Caller, Place
from fwsync.sandbox.kept.blobs import Blob
from fwsync.sandbox.kept.branches import acquisition_labelled, session_labelled
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError, request_id
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

IDLE: Final = timedelta(hours=1)
ONLY_PROJECTS: Final = "Packfiles can only be targeted at projects"
NOT_KNOWN: Final = "Invalid or expired upload token"
NO_FILES: Final = "Packfile directory does not exist or has been deleted"
#: The message of a fault in the middle names a path of the server.
GONE: Final = "[Errno 2] No such file or directory: '/var/scitran/data/tokens/packfile/{}'"

_METADATA: Final = s.closed(
    {
        "project": s.closed({"_id": s.OBJECT_ID}, "_id"),
        "session": s.closed(
            {"label": s.LABEL, "subject": s.closed({"code": s.TEXT_OR_NULL})}, "label"
        ),
        "acquisition": s.closed({"label": s.LABEL, "timestamp": s.MOMENT}, "label"),
        "packfile": s.closed({"type": s.TEXT}, "type"),
    },
    "project",
    "session",
    "acquisition",
    "packfile",
)


# ------------------------------------------------------------------------------ start and add


async def only_projects(call: Call) -> web.Response:
    """``POST …/packfile-start`` of anything else."""
    raise ApiError(500, ONLY_PROJECTS)


async def start(call: Call) -> web.Response:
    """``POST /projects/{id}/packfile-start``."""
    project, grants = call.part("id"), await asking.grants(call)
    place = await call.read(asking.find, project, "project", deleted=False)
    if place is None:
        raise ApiError(500, f"Project {project} does not exist")
    if asking.rank(grants, place) < RANK["rw"]:
        raise ApiError(500, "Not authorized")
    token, caller = str(uuid.uuid4()), asking.as_device(call)

    def write(pen: Pen) -> None:
        pen.db.execute(
            "INSERT INTO packfiles VALUES (?,?,?,?,?)",
            (token, project, caller.kind, caller.id or "", pen.now),
        )

    await call.site.records.write(write)
    return answer({"token": token})


async def add(call: Call) -> web.Response:
    """``POST /projects/{id}/packfile?token=``: any number of files, as often as wanted."""
    caller = asking.as_device(call)
    token = _token(call)
    await call.site.records.write(_touch, token, call.part("id"), caller)
    form = await read_form(call)
    names = [file.name for file in form.files]
    if len(set(names)) < len(names):
        raise ApiError(500, "[Errno 2] No such file or directory")
    by = filing.author(call)

    def write(pen: Pen) -> list[Json]:
        _touch(pen, token, call.part("id"), caller)
        for file in form.files:
            blob = file.blob()
            pen.db.execute(
                "INSERT OR REPLACE INTO packfile_files VALUES (?,?,?,?)",
                (token, file.name, blob.sha384, blob.size),
            )
        return [_attributes(file, by, pen.now) for file in form.files]

    return answer(await call.site.records.write(write))


def _attributes(file: Arrival, by: filing.Author, now: str) -> Json:
    blob = file.blob()
    return {
        "name": file.name,
        "size": blob.size,
        "type": file_type(file.name),
        "mimetype": mimetype(file.name),
        "modality": None,
        "hash": f"v0-sha384-{blob.sha384}" if by.hash_known else "",
        "tags": [],
        "info": {},
        "measurements": [],
        "origin": by.origin,
        "modified": told(now),
    }


# ---------------------------------------------------------------------------------------- end


async def end(call: Call) -> web.Response:
    """``GET`` or ``POST /projects/{id}/packfile-end``: the events, and how long they are."""
    await drain(call.request)
    token = _token(call)
    rows = await call.site.records.write(_listed, token, call.part("id"))
    metadata = _metadata(call.query("metadata"))
    if not rows:
        raise ApiError(500, NO_FILES)
    s.validate(metadata, _METADATA)
    project = await call.read(asking.find, call.part("id"), "project", deleted=False)
    if project is None or metadata["project"]["_id"] != project.id:
        raise ApiError(400, "the project of the metadata is not the project of the URL")
    zipped = await _zip(call, metadata, rows)
    events = b"".join(_progress(done, len(rows)) for done in range(1, len(rows) + 1))
    known = not call.site.switches.empty_hashes
    try:
        result = await call.site.write_tree(_record, token, project, metadata, zipped, known)
    except ApiError as problem:  # another request was faster
        return _events_and_error(events, problem)
    headers = {"Connection": "keep-alive, Keep-Alive"}
    kind = "text/event-stream; charset=utf-8"
    return web.Response(
        body=events + _event("result", result), headers=headers | {"Content-Type": kind}
    )


def _metadata(text: str | None) -> Any:
    if text is None:
        raise ApiError(500, "expected string or buffer")
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(500, NO_JSON) from error


def _listed(pen: Pen, token: str, project: str) -> list[sqlite3.Row]:
    _touch(pen, token, project, None)
    return pen.db.execute(
        "SELECT name, sha384, size FROM packfile_files WHERE token = ? ORDER BY name",
        (token,),
    ).fetchall()


async def _zip(call: Call, metadata: Json, rows: Sequence[sqlite3.Row]) -> Blob:
    """Make the zip: an entry for its folder, with the time of now, then the files in it."""
    acquisition, blobs = metadata["acquisition"], call.site.blobs
    members = [Member(row["name"], blobs.path(row["sha384"]), row["size"]) for row in rows]
    now = packing.stamp_of(datetime.now(UTC).isoformat())
    folder = packing.folder_of(acquisition["label"])
    stamp = packing.stamp_of(acquisition.get("timestamp"))
    steps = packing.packed(folder, stamp, members, folder_stamp=now)
    blob = blobs.incoming()
    try:
        while (step := await blobs.run(_next, steps)) is not None:
            await blob.write(step.data)
        return await blob.seal()
    finally:
        blob.abandon()


def _next(steps: Iterator[Step]) -> Step | None:
    return next(steps, None)


def _record(
    pen: Pen, token: str, project: Place, metadata: Json, zipped: Blob, hash_known: bool
) -> Json:
    """Put the zip where its labels say, and drop the token."""
    row = pen.db.execute("SELECT * FROM packfiles WHERE token = ?", (token,)).fetchone()
    if row is None:
        raise ApiError(500, GONE.format(token))
    session = _session(pen, project, metadata["session"])
    acquisition = _acquisition(pen, session, metadata["acquisition"])
    name = f"{packing.folder_of(metadata['acquisition']['label'])}.zip"
    file = Arrival(name, zipped, {"type": metadata["packfile"]["type"]})
    owner = filing.Author(Caller(row["owner_kind"], row["owner_id"]), hash_known)
    info = filing.store(pen, acquisition, file, owner)
    pen.db.execute("DELETE FROM packfile_files WHERE token = ?", (token,))
    pen.db.execute("DELETE FROM packfiles WHERE token = ?", (token,))
    info.pop("created", None)
    return {"acquisition_id": acquisition.id, "session_id": session.id, "info": info}


def _session(pen: Pen, project: Place, wanted: Json) -> Place:
    """The living session of a label, and of a subject's code if one is given; or a new one."""
    code = (wanted.get("subject") or {}).get("code")
    found = session_labelled(pen.db, project, wanted["label"], code or None)
    return found or planting.plant_session(pen, project, wanted["label"], wanted)


def _acquisition(pen: Pen, session: Place, wanted: Json) -> Place:
    """The living acquisition of a label, and of a timestamp if one is given; or a new one."""
    doc = planting.document(wanted)
    found = acquisition_labelled(pen.db, session, wanted["label"], doc.get("timestamp"))
    return found or planting.plant(pen, "acquisition", wanted["label"], session, doc)


def _progress(done: int, total: int) -> bytes:
    return _event("progress", {"percent": (done / total) * 100, "total": total, "done": done})


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _events_and_error(events: bytes, problem: ApiError) -> web.Response:
    """What a fault in the middle leaves: no JSON, though the answer says so."""
    error = {"status_code": 500, "message": problem.message, "request_id": request_id()}
    body = events + json.dumps(error).encode()
    return web.Response(status=500, body=body, content_type="application/json")


# -------------------------------------------------------------------------------------- clean


async def clean(call: Call) -> web.Response:
    """``POST /clean-packfiles``: what nobody touched for an hour goes."""
    if not asking.superuser(call):
        raise ApiError(402, "uploads must be from an authorized drone")
    busy = set(call.site.packing)

    def write(pen: Pen) -> Json:
        oldest = (datetime.fromisoformat(pen.now) - IDLE).isoformat(timespec="microseconds")
        rows = pen.db.execute("SELECT token FROM packfiles WHERE touched < ?", (oldest,))
        idle = [(row["token"],) for row in rows if row["token"] not in busy]
        folders = sum(
            pen.db.execute("DELETE FROM packfile_files WHERE token = ?", one).rowcount > 0
            for one in idle
        )
        pen.db.executemany("DELETE FROM packfiles WHERE token = ?", idle)
        return {"removed": {"tokens": len(idle), "directories": folders}}

    return answer(await call.site.records.write(write))


# ------------------------------------------------------------------------------------ the rest


def _token(call: Call) -> str:
    token = call.query("token")
    if token is None:
        raise ApiError(500, "Upload token is required")
    return token


def _touch(pen: Pen, token: str, project: str, caller: Caller | None) -> None:
    """Note that a token is in use.

    Raises:
        ApiError: 500, it is none of this project, or not of the caller, where one is given.
    """
    row = pen.db.execute("SELECT * FROM packfiles WHERE token = ?", (token,)).fetchone()
    if row is None or row["project_id"] != project:
        raise ApiError(500, NOT_KNOWN)
    owner = (row["owner_kind"], row["owner_id"])
    if caller is not None and owner != (caller.kind, caller.id or ""):
        raise ApiError(500, NOT_KNOWN)
    pen.db.execute("UPDATE packfiles SET touched = ? WHERE token = ?", (pen.now, token))
