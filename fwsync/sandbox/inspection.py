"""The sandbox looked at from outside the API: what was asked of it, and all it ever stored.

These routes are no part of Flywheel; they stand outside ``/api`` and, but for the welcome, take
the admin's key. Tests prove with them what a client's own report can only claim.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from fwsync.sandbox.site import Call, answer

PAGE: Final = 1000  # rows in one piece of the answer

CONTAINERS: Final = (
    "SELECT rowid AS at, id, kind, label, parent_id, created, modified, deleted, revision,"
    " delete_reason FROM containers WHERE rowid > ? ORDER BY rowid LIMIT ?"
)
FILES: Final = (
    "SELECT v.seq AS at, v.file_id, v.version, f.name, f.container_kind, f.container_id,"
    " f.project_id, v.size, v.sha384, v.type, v.created, f.deleted, f.version AS newest,"
    " coalesce(v.delete_reason, f.delete_reason) AS delete_reason, v.deleted AS version_deleted"
    " FROM versions v JOIN files f ON f.id = v.file_id WHERE v.seq > ? ORDER BY v.seq LIMIT ?"
)

WELCOME: Final = """\
This is fwsync's sandbox, a Flywheel-compatible server on your own machine.
Its API is below /api; /api/config says what it offers.
How to use it is in fwsync's docs/guides/sandbox.md.
"""


async def welcome(_: Call) -> web.Response:
    """``GET /``: for somebody who opens the address in a browser."""
    return web.Response(text=WELCOME)


async def requests(call: Call) -> web.Response:
    """``GET /sandbox/requests``: every request since the start or the last reset."""
    call.only_admins()
    log = call.site.requests
    return answer({"total": log.total, "counts": log.counts, "requests": list(log.recent)})


async def reset(call: Call) -> web.Response:
    """``DELETE /sandbox/requests``."""
    call.only_admins()
    call.site.requests.clear()
    return answer({"total": 0})


async def switches(call: Call) -> web.Response:
    """``GET /sandbox/switches``, and ``PATCH`` with the changes."""
    call.only_admins()
    if call.request.method == "PATCH":
        changes = await call.json_object()
        call.site.switch(call.site.switches.changed(changes))
    return answer(call.site.switches.model_dump())


async def record(call: Call) -> web.StreamResponse:
    """``GET /sandbox/record``: every container and every file version, deleted ones too."""
    call.only_admins()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(call.request)
    db = await asyncio.to_thread(call.site.records.connect)
    try:
        pieces = _record(db)
        while piece := await asyncio.to_thread(next, pieces, b""):
            await response.write(piece)
        await response.write_eof()
    finally:
        await asyncio.to_thread(db.close)
    return response


def _record(db: sqlite3.Connection) -> Iterator[bytes]:
    # One transaction, so that files uploaded meanwhile do not stand in containers that
    # this record does not have.
    db.execute("BEGIN")
    yield b'{"containers":['
    yield from _rows(db, CONTAINERS)
    yield b'],"files":['
    yield from _rows(db, FILES)
    yield b"]}"


def _rows(db: sqlite3.Connection, sql: str) -> Iterator[bytes]:
    after, comma = 0, ""
    while rows := db.execute(sql, (after, PAGE)).fetchall():
        after = rows[-1]["at"]
        yield (comma + ",".join(json.dumps(dict(row)) for row in rows)).encode()
        comma = ","
