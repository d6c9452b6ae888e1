"""Archives of core18: a ticket for a minute or two, then a tar whose end is that of the connection.

Source: core18.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.archives.bodies import read_filters
from fwsync.sandbox.archives.download import CHUNK, send, store_path
from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.archive import Named, Nodes
from fwsync.sandbox.core2018.wire import in_header, json_body
from fwsync.sandbox.exchange import EXCHANGE
from fwsync.sandbox.formats import tar
from fwsync.sandbox.kept.archive import Member, Part, Sidecar
from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

TICKET_LIFE: Final = 90.0  # seconds; it was gone at 110
#: What stands after the last block. The whole is no multiple of it.
END: Final = bytes(10_240)
PREFIX: Final = "scitran"
LEVELS: Final = ("project", "session", "acquisition", "analysis")

_ONE_OF: Final[Json] = {"type": "string", "enum": list(LEVELS)}
_NODE: Final = s.closed({"level": _ONE_OF, "_id": s.OBJECT_ID}, "level", "_id")
_SIGNS: Final = s.closed({"+": s.TEXTS, "-": s.TEXTS})
_CLASSIC: Final = s.closed(
    {
        "optional": s.FLAG,
        "nodes": {"type": "array", "items": _NODE, "minItems": 1},
        "filters": {"type": "array", "items": s.closed({"tags": _SIGNS, "types": _SIGNS})},
    },
    "optional",
    "nodes",
)
_FILE: Final = s.closed(
    {"container_name": s.TEXT, "container_id": s.TEXT, "filename": s.TEXT},
    "container_name",
    "container_id",
    "filename",
)
_BULK: Final = s.closed({"files": {"type": "array", "items": _FILE}}, "files")


@dataclass(frozen=True, slots=True)
class ArchiveTicket:
    """The right to fetch one archive, as often as wanted, from one address, for a while."""

    wanted: Nodes | Named
    address: str
    filename: str
    made: float  # seconds, monotonic


# ----------------------------------------------------------------------------------- ticket


async def ticket(call: Call) -> web.Response:
    """``POST /download``; with ``bulk=true`` the reply names no file."""
    if not call.flag("bulk"):
        return answer(await new_ticket(call, await _nodes(call)))
    reply = await new_ticket(call, await _named(call))
    del reply["filename"]
    return answer(reply)


async def new_ticket(call: Call, wanted: Nodes | Named) -> Json:
    """Make a ticket; what it is for, as the wire has it.

    Raises:
        ApiError: 404, nothing was found that the caller may read; 500, the name of a file or the
            label of a project is not ASCII, and its path was asked for.
    """
    count, size = await call.read(_measure, wanted)
    if not count:
        what = "files requested" if isinstance(wanted, Named) else "requested containers"
        raise ApiError(404, f"No {what} could be found")
    filename = await _filename(call, wanted)
    made = str(uuid.uuid4())
    held = ArchiveTicket(wanted, asking.address(call), filename, time.monotonic())
    call.site.tickets.keep(made, held)
    return {"ticket": made, "filename": filename, "file_cnt": count, "size": size}


def _measure(db: sqlite3.Connection, wanted: Nodes | Named) -> tuple[int, int]:
    count = size = 0
    for member in wanted.members(db):
        if isinstance(wanted, Nodes):
            _check_ascii(member.name)
            _check_ascii(member.path.removeprefix(wanted.prefix))
        count += 1
        size += member.size
    return count, size


def _check_ascii(text: str) -> None:
    try:
        text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ApiError(500, str(error).replace("character '", "character u'")) from error


async def _nodes(call: Call) -> Nodes:
    body = await json_body(call)
    s.validate(body, _CLASSIC)
    return Nodes(
        tuple((node["level"], node["_id"]) for node in body["nodes"]),
        await asking.grants(call),
        seen_at(call),
        call.query("prefix") or PREFIX,
        read_filters(body),
        call.query("collection"),
    )


async def _named(call: Call) -> Named:
    body = await json_body(call)
    s.validate(body, _BULK)
    files = []
    for file in body["files"]:
        if file["container_name"] not in LEVELS:
            text = "files in projects, sessions, analyses and acquisitions"
            raise ApiError(400, f"Bulk download only supports {text}")
        files.append((file["container_name"], file["container_id"], file["filename"]))
    return Named(tuple(files), await asking.grants(call), seen_at(call))


def seen_at(call: Call) -> str:
    """The moment an archive shows: what came later is not in it."""
    return call.past or call.site.records.settled


async def _filename(call: Call, wanted: Nodes | Named) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    if isinstance(wanted, Named):
        return f"{call.query('prefix') or PREFIX}_ {stamp}.tar"
    for level, container in wanted.nodes:
        if level == "analysis":
            label = await call.read(_label, container)
            kept = "".join(c for c in label if (c.isascii() and c.isalnum()) or c in " ._-")
            return f"analysis_{kept.rstrip()}.tar"
    return f"{wanted.prefix}_{stamp}.tar"


def _label(db: sqlite3.Connection, container: str) -> str:
    row = db.execute("SELECT label FROM containers WHERE id = ?", (container,)).fetchone()
    return row["label"] if row is not None else ""


# ----------------------------------------------------------------------------------- stream


class _Unmeasured(web.StreamResponse):
    """An answer that is neither chunked nor measured: it ends with the connection."""

    _length_check = False


async def stream(call: Call) -> web.StreamResponse:
    """``GET /download?ticket=``: the tar. No key is needed; a Range is not looked at."""
    found = call.site.tickets.get(call.query("ticket") or "")
    if not isinstance(found, ArchiveTicket) or time.monotonic() - found.made > TICKET_LIFE:
        raise ApiError(404, "no such ticket")
    if found.address != asking.address(call):
        raise ApiError(400, "ticket not for this source IP")
    response = _Unmeasured(
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename={in_header(found.filename)}",
            "Connection": "Keep-Alive",  # which is not so
        }
    )
    response.force_close()
    as_links, blobs = call.flag("symlinks"), call.site.blobs
    mischief = call.request[EXCHANGE].mischief

    def produce(db: sqlite3.Connection) -> Iterator[bytes]:
        items: Iterable[Part] = found.wanted.members(db)
        if mischief is not None:
            items = mischief.members(found.wanted.members(db), blobs)
        made = _tarred(items, blobs, as_links=as_links)
        return made if mischief is None else mischief.ending(made)

    return await send(call, response, produce)


def _tarred(items: Iterable[Part], blobs: Blobs, *, as_links: bool) -> Iterator[bytes]:
    """The tar; bytes among the items are parts of it already. What cannot be read is left out."""
    for item in items:
        if isinstance(item, Sidecar):  # there are none on this server
            continue
        if not isinstance(item, Member):
            yield from item
            continue
        path = blobs.path(item.sha384)
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            continue
        with file:
            mtime = int(path.stat().st_mtime)  # when the bytes were stored
            if as_links:
                yield tar.link(item.path, store_path(item.sha384), mtime)
                continue
            yield tar.member(item.path, item.size, mtime)
            left = item.size
            while left and (data := file.read(min(left, CHUNK))):
                left -= len(data)
                yield data
            yield bytes(tar.padding(item.size))
    yield END


# ---------------------------------------------------------------------------------- summary


async def summary(call: Call) -> web.Response:
    """``POST /download/summary``: files and sizes by type."""
    body = await json_body(call)
    s.validate(body, {"type": "array", "items": _NODE})
    nodes = tuple((node["level"], node["_id"]) for node in body)
    wanted = Nodes(nodes, await asking.grants(call), seen_at(call))
    return answer(await call.read(_summary, wanted))


def _summary(db: sqlite3.Connection, wanted: Nodes) -> Json:
    found: dict[str, Json] = {}
    for member in wanted.members(db):
        kind = member.type or "null"
        entry = found.setdefault(kind, {"_id": member.type, "count": 0, "mb_total": 0.0})
        entry["count"] += 1
        entry["mb_total"] += member.size / (1 << 20)
    return found
