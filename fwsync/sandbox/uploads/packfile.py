"""Packfiles: many files sent under a token become one zip in an acquisition.

A token belongs to a project and to who asked for it; it survives a restart, and lives until its
zip is in place or somebody cleans up. The zip is made while its progress is told, and recorded in
one job; without an event ``result`` nothing was recorded, and the token is as it was.

Source: core18 for the events, the errors and what is matched (there they are 500; here 400, 403
and 404); SDK 23 for `file_count`, for subjects, and for the answer of the clean-up.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.formats import packing
from fwsync.sandbox.formats.filetypes import file_type, mimetype
from fwsync.sandbox.formats.packing import Member, Step
from fwsync.sandbox.kept import branches, catalog, fields, naming, tree
from fwsync.sandbox.kept.access import Caller, Place, load_place
from fwsync.sandbox.kept.blobs import Blob
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.problems import ApiError, invalid, missing, refuse_others
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads.forms import Form, read_metadata

log = logging.getLogger(__name__)

Json = dict[str, Any]

IDLE: Final = timedelta(hours=1)  # after which a token may be cleaned up; core18
MOST_FILES: Final = 1_000_000  # the highest `file_count` that is read
NOT_KNOWN: Final = "Invalid or expired upload token"
NO_FILES: Final = "Packfile directory does not exist or has been deleted"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The metadata of the end, checked."""

    type: str
    session: Json
    subject: Json
    acquisition: Json
    folder: str
    stamp: packing.Stamp


# ------------------------------------------------------------------------------ start and add


async def start(call: Call) -> web.Response:
    """``POST /projects/{id}/packfile-start``."""
    place = await call.place(call.part("id"), "rw")
    token = str(uuid.uuid4())

    def write(pen: Pen) -> None:
        pen.db.execute(
            "INSERT INTO packfiles VALUES (?,?,?,?,?)",
            (token, place.id, call.caller.kind, call.caller.id or "", pen.now),
        )

    await call.site.records.write(write)
    return answer({"token": token})


async def add(call: Call) -> web.Response:
    """``POST /projects/{id}/packfile?token=``: any number of files; of one name the last counts."""
    place = await call.place(call.part("id"), "rw")
    token = _token(call)
    await call.read(_owned, token, place, call.caller)
    form = Form(call, lambda _: None)
    await form.read()
    if token in call.site.packing:
        raise ApiError(409, "this packfile is being put together")
    told = await call.site.records.write(_add, token, place, call.caller, form.arrivals)
    known = not call.site.switches.empty_hashes
    return answer([one if known else one | {"hash": ""} for one in told])


def _add(
    pen: Pen, token: str, place: Place, caller: Caller, arrivals: Sequence[Arrival]
) -> list[Json]:
    _owned(pen.db, token, place, caller)
    _touch(pen, token)
    told: dict[str, Json] = {}
    for arrival in arrivals:
        blob = arrival.blob()
        pen.db.execute(
            "INSERT OR REPLACE INTO packfile_files VALUES (?,?,?,?)",
            (token, arrival.name, blob.sha384, blob.size),
        )
        told[arrival.name] = _attributes(arrival.name, blob, caller, pen.now)
    return list(told.values())


def _attributes(name: str, blob: Blob, caller: Caller, now: str) -> Json:
    return {
        "name": name,
        "type": file_type(name),
        "mimetype": mimetype(name),
        "size": blob.size,
        "hash": f"v0-sha384-{blob.sha384}",
        "origin": {"type": caller.kind, "id": caller.id},
        "created": now,
        "modified": now,
        "modality": None,
        "classification": {},
        "tags": [],
        "info": {},
    }


# ---------------------------------------------------------------------------------------- end


async def end(call: Call) -> web.StreamResponse:
    """``GET`` or ``POST /projects/{id}/packfile-end``: a stream of events.

    Who ends it need not be who started it. What is wrong is told before the stream begins; a
    fault after that ends the connection, and there is no event ``result``.
    """
    place = await call.place(call.part("id"), "rw")
    token = _token(call)
    wanted = _wanted(call.query("metadata"), place)
    _check_labels(call, wanted)
    count = _count(call.query("file_count"))
    if token in call.site.packing:
        raise ApiError(409, "this packfile is being put together")
    call.site.packing.add(token)
    try:
        members = await _members(call, token, place, count)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(call.request)
        try:
            result = await _pack(call, response, token, place, wanted, members)
        except (ApiError, OSError, sqlite3.Error) as error:
            if not isinstance(error, ConnectionError):
                log.exception("the packfile could not be put together")
            _cut(call.request)
            raise ConnectionResetError("the stream of events was cut") from error
        await response.write(_event("result", result))
        await response.write_eof()
        return response
    finally:
        call.site.packing.discard(token)


def _check_labels(call: Call, wanted: Wanted) -> None:
    """What this site does not take is refused before the stream begins."""
    code = branches.subject_label(wanted.subject) or ""
    for label in (wanted.session["label"], wanted.acquisition["label"], code):
        naming.named(call.site.rule, label)


async def _members(call: Call, token: str, place: Place, count: int | None) -> list[Member]:
    # A write, not a read: it comes after every file that was added before.
    rows = await call.site.records.write(_listed, token, place)
    if not rows:
        raise invalid(NO_FILES)
    if count is not None and count != len(rows):
        raise invalid(f"file_count is {count}, but {len(rows)} files were added")
    return [Member(row["name"], call.site.blobs.path(row["sha384"]), row["size"]) for row in rows]


def _listed(pen: Pen, token: str, place: Place) -> list[sqlite3.Row]:
    _owned(pen.db, token, place, None)
    _touch(pen, token)
    return pen.db.execute(
        "SELECT name, sha384, size FROM packfile_files WHERE token = ? ORDER BY name", (token,)
    ).fetchall()


async def _pack(
    call: Call,
    response: web.StreamResponse,
    token: str,
    place: Place,
    wanted: Wanted,
    members: Sequence[Member],
) -> Json:
    steps = packing.packed(wanted.folder, wanted.stamp, members)
    blob = call.site.blobs.incoming()
    done = 0
    try:
        while (step := await call.site.blobs.run(_next, steps)) is not None:
            await blob.write(step.data)
            told = b"".join(_progress(at, len(members)) for at in range(done + 1, step.done + 1))
            done = step.done
            if told:
                await response.write(told)
        zipped = await blob.seal()
    finally:
        blob.abandon()
    hash_known = not call.site.switches.empty_hashes
    return await call.site.records.write(
        _record, token, place, wanted, zipped, len(members), hash_known=hash_known
    )


def _next(steps: Iterator[Step]) -> Step | None:
    return next(steps, None)


def _record(
    pen: Pen,
    token: str,
    project: Place,
    wanted: Wanted,
    zipped: Blob,
    count: int,
    *,
    hash_known: bool,
) -> Json:
    """Put the zip where its labels say, and drop the token."""
    row = _owned(pen.db, token, project, None)
    owner = Caller(row["owner_kind"], row["owner_id"])
    session = _session(pen, project, wanted)
    told = wanted.acquisition
    label, timestamp = pen.named(told["label"]), told.get("timestamp")
    acquisition = branches.acquisition_labelled(pen.db, session, label, timestamp)
    if acquisition is None:
        branches.begin_no_later(pen, session, told)
        acquisition = branches.make(pen, "acquisition", session, label, told)
    about = {"type": wanted.type, "zip_member_count": count}
    arrival = Arrival(f"{wanted.folder}.zip", zipped, about)
    stored = catalog.store(pen, acquisition, [arrival], owner, hash_known=hash_known)[0]
    _forget(pen, [token])
    return {
        "acquisition_id": acquisition.id,
        "session_id": session.id,
        "info": file_json(stored),
    }


def _session(pen: Pen, project: Place, wanted: Wanted) -> Place:
    label, told = pen.named(wanted.session["label"]), wanted.subject
    if load_place(pen.db, project.id) is None:
        raise missing(f"no such project: {project.id}")
    code = branches.subject_label(told)
    code = code if code is None else pen.named(code)
    found = branches.session_labelled(pen.db, project, label, code)
    if found is not None:
        return found
    subject = branches.subject_of(pen, project, told)
    return branches.make(pen, "session", subject, label, wanted.session)


def _progress(done: int, total: int) -> bytes:
    return _event("progress", {"percent": 100 * done / total, "total": total, "done": done})


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


# -------------------------------------------------------------------------------------- clean


async def clean(call: Call) -> web.Response:
    """``POST /clean-packfiles``: tokens that nobody touched for an hour go, with their files."""
    if not call.caller.sees_all:
        raise ApiError(402, "only a device or a site admin may do this")
    busy = set(call.site.packing)

    def write(pen: Pen) -> Json:
        oldest = (datetime.fromisoformat(pen.now) - IDLE).isoformat(timespec="microseconds")
        rows = pen.db.execute("SELECT token FROM packfiles WHERE touched < ?", (oldest,))
        idle = [row["token"] for row in rows if row["token"] not in busy]
        return {"removed": {"tokens": len(idle), "files": _forget(pen, idle)}}

    return answer(await call.site.records.write(write))


def _forget(pen: Pen, tokens: Sequence[str]) -> int:
    """Drop tokens; returns how many files went with them."""
    given = (json.dumps(list(tokens)),)
    gone = pen.db.execute(
        "DELETE FROM packfile_files WHERE token IN (SELECT value FROM json_each(?))", given
    ).rowcount
    pen.db.execute("DELETE FROM packfiles WHERE token IN (SELECT value FROM json_each(?))", given)
    return gone


# ------------------------------------------------------------------------------------ the rest


def _token(call: Call) -> str:
    token = call.query("token")
    if not token:
        raise invalid("Upload token is required")
    return token


def _owned(db: sqlite3.Connection, token: str, place: Place, caller: Caller | None) -> sqlite3.Row:
    """The token, if it is one of this project and, where a caller is given, of theirs.

    Raises:
        ApiError: 404.
    """
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM packfiles WHERE token = ?", (token,)
    ).fetchone()
    if row is None or row["project_id"] != place.id:
        raise missing(NOT_KNOWN)
    owner = (row["owner_kind"], row["owner_id"])
    if caller is not None and owner != (caller.kind, caller.id or ""):
        raise missing(NOT_KNOWN)
    return row


def _touch(pen: Pen, token: str) -> None:
    pen.db.execute("UPDATE packfiles SET touched = ? WHERE token = ?", (pen.now, token))


def _count(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_FILES))):
        raise invalid("file_count must be a whole number")
    return int(text)


def _wanted(text: str | None, project: Place) -> Wanted:
    """Read the metadata of the end.

    Raises:
        ApiError: 400, they are missing, or something in them is.
    """
    if not text:
        raise invalid("Metadata required")
    told = read_metadata(text)
    refuse_others(told, {"project", "session", "acquisition", "packfile"}, "metadata")
    to = _part(told, "project", "_id", {"_id"})
    if to["_id"] != project.id:
        raise invalid("project._id in the metadata is not the project of the URL")
    session = _part(told, "session", "label", {"label", "subject"})
    subject = session.pop("subject", None) or {}
    if not isinstance(subject, dict):
        raise invalid("subject of session must be an object")
    acquisition = _part(told, "acquisition", "label", {"label", "timestamp", "timezone"})
    pack = _part(told, "packfile", "type", {"type"})
    for one in (session, acquisition):
        tree.read_label(one["label"])
    kept = fields.read("acquisition", acquisition, allowed=set())
    person = fields.read("subject", subject, allowed={"_id"})
    if (code := branches.subject_label(person)) is not None:
        tree.read_label(code)
    return Wanted(
        type=pack["type"],
        session=session,
        subject={name: value for name, value in person.items() if value is not None},
        acquisition={name: value for name, value in kept.items() if value is not None},
        folder=packing.folder_of(acquisition["label"]),
        stamp=packing.stamp_of(acquisition.get("timestamp")),
    )


def _part(told: Json, name: str, required: str, known: set[str]) -> Json:
    part = told.get(name)
    if not isinstance(part, dict):
        raise invalid(f"{name!r} is a required property, and an object")
    refuse_others(part, known, name)
    if not isinstance(part.get(required), str):
        raise invalid(f"{required!r} is a required property of {name}, and a text")
    return dict(part)
