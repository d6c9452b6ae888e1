"""Archives: a ticket, then a tar stream; and the list of targets.

The tar is made while it is sent: a few small chunks are in memory, whatever the archive holds,
and the first byte leaves before the second file is looked up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from aiohttp import web

from fwsync.sandbox import tar
from fwsync.sandbox.archive import ArchiveType, FileFilter, Member, Wanted, newest_seq
from fwsync.sandbox.blobs import Blobs
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
log = logging.getLogger(__name__)

CHUNK: Final = 1 << 20  # bytes handed to the network at a time
FIRST_CHUNK: Final = 16 << 10  # bytes; each chunk is twice the one before, up to `CHUNK`
LEVELS: Final = ("project", "subject", "session", "acquisition")
DEFAULT_PREFIX: Final = {"classic": "scitran", "full": "flywheel", "bulk": ""}


@dataclass(frozen=True, slots=True)
class ArchiveTicket:
    """The right to fetch one archive, as often as wanted, from one address."""

    wanted: Wanted
    address: str | None
    filename: str


# ----------------------------------------------------------------------------------- ticket


async def ticket(call: Call) -> web.Response:
    """``POST /download``."""
    wanted = await _wanted(call, await call.json_object(), default="classic")
    count, size = await call.read(_measure, wanted)
    if not count:
        raise missing("No files matching the given filter could be found")
    name = wanted.prefix or "download"
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    filename = f"{name}_{stamp}.tar"
    made = str(uuid.uuid4())
    call.site.tickets.keep(made, ArchiveTicket(wanted, call.request.remote, filename))
    return answer({"ticket": made, "filename": filename, "file_cnt": count, "size": size})


def _measure(db: sqlite3.Connection, wanted: Wanted) -> tuple[int, int]:
    count = size = 0
    for member in wanted.members(db):
        count += 1
        size += member.size
    return count, size


async def _wanted(call: Call, body: Json, *, default: ArchiveType) -> Wanted:
    type_ = "bulk" if call.flag("bulk") else call.query("type") or default
    if type_ not in DEFAULT_PREFIX:
        raise invalid(f"type {type_!r} is not one of classic, full and bulk")
    prefix = call.query("prefix")
    prefix = DEFAULT_PREFIX[type_] if prefix is None else prefix.strip("/")
    seq = await call.read(newest_seq)
    wanted = Wanted(
        cast(ArchiveType, type_), prefix, (), (), _filters(body), seq, call.site.records.moment()
    )
    if type_ == "bulk":
        return replace(wanted, files=await _files(call, body))
    return replace(wanted, nodes=await _nodes(call, body))


async def _nodes(call: Call, body: Json) -> tuple[tuple[str, str], ...]:
    """The nodes of a request; those that are missing or forbidden are left out without a word."""
    nodes = []
    for node in _list(body, "nodes"):
        level, container = node.get("level"), node.get("_id")
        if level not in LEVELS or not isinstance(container, str):
            raise invalid(f"a node needs an _id and a level, one of {', '.join(LEVELS)}")
        if await _readable(call, container, level):
            nodes.append((level, container))
    return tuple(nodes)


async def _files(call: Call, body: Json) -> tuple[tuple[str, str, str], ...]:
    files = []
    for file in _list(body, "files"):
        kind = file.get("container_name", file.get("container_type"))
        container, name = file.get("container_id"), file.get("filename")
        if not (isinstance(kind, str) and isinstance(container, str) and isinstance(name, str)):
            raise invalid("a file needs container_name, container_id and filename")
        kind = kind.removesuffix("s")
        if await _readable(call, container, kind):
            files.append((kind, container, name))
    return tuple(files)


async def _readable(call: Call, container: str, kind: str) -> bool:
    try:
        await call.place(container, "ro", kind)
    except ApiError:
        return False
    return True


def _list(body: Json, name: str) -> list[Json]:
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid(f"{name} must be a list of objects")
    return found


def _filters(body: Json) -> tuple[FileFilter, ...]:
    filters = body.get("filters") or []
    if not isinstance(filters, list) or not all(isinstance(one, dict) for one in filters):
        raise invalid("filters must be a list of objects")
    return tuple(
        FileFilter(
            _plus_minus(one.get("types")), _plus_minus(one.get("tags")), _since(one.get("since"))
        )
        for one in filters
    )


def _plus_minus(rule: Any) -> tuple[frozenset[str], frozenset[str]]:
    if not isinstance(rule or {}, dict):
        raise invalid("types and tags of a filter are objects with plus and minus")
    rule = rule or {}
    plus, minus = rule.get("plus", rule.get("+")), rule.get("minus", rule.get("-"))
    return frozenset(map(str, plus or ())), frozenset(map(str, minus or ()))


def _since(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise invalid("since must be a time") from error


# ----------------------------------------------------------------------------------- stream


async def stream(call: Call) -> web.StreamResponse:
    """``GET /download?ticket=``: the tar. No key is needed."""
    found = call.site.tickets.get(call.query("ticket") or "")
    if not isinstance(found, ArchiveTicket):
        raise missing("no such ticket")
    if found.address != call.request.remote:
        raise invalid("ticket not for this resource or source IP")
    if (call.query("format") or "tar") != "tar":
        raise invalid("only format=tar is offered")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{_ascii(found.filename)}"',
    }
    blobs = call.site.blobs

    def produce(db: sqlite3.Connection) -> Iterator[bytes]:
        yield from _tar(found.wanted.members(db), blobs)

    return await _send(call, headers, produce)


async def targets(call: Call) -> web.StreamResponse:
    """``POST /download/targets``: one JSON line for each file."""
    wanted = await _wanted(call, await call.json_object(), default="full")

    def produce(db: sqlite3.Connection) -> Iterator[bytes]:
        for member in wanted.members(db):
            yield json.dumps(_target(member)).encode() + b"\n"

    return await _send(call, {"Content-Type": "application/x-ndjson"}, produce)


def _target(member: Member) -> Json:
    return {
        "download_type": "file",
        "dst_path": member.path,
        "size": member.size,
        "modified": member.modified,
        "container_id": member.container_id,
        "container_type": member.container_kind,
        "filename": member.name,
        "filetype": member.type,
        "file_id": member.file_id,
    }


def _tar(members: Iterable[Member], blobs: Blobs) -> Iterator[bytes]:
    for member in members:
        try:
            file = blobs.path(member.sha384).open("rb", buffering=0)
        except FileNotFoundError:
            yield tar.member(f"{member.path}.MISSING", 0, member.mtime)
            continue
        with file:
            yield tar.member(member.path, member.size, member.mtime)
            left = member.size
            while left:
                data = file.read(min(left, CHUNK))
                if not data:
                    raise OSError(f"{member.sha384}: {left} bytes are missing")
                left -= len(data)
                yield data
            yield bytes(tar.padding(member.size))
    yield tar.END


class _Chunks:
    """Pieces gathered into chunks, made on a thread, with a connection of their own."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        produce: Callable[[sqlite3.Connection], Iterator[bytes]],
    ) -> None:
        self._connect = connect
        self._produce = produce
        self._db: sqlite3.Connection | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._closed = False
        self._enough = FIRST_CHUNK
        self._lock = threading.Lock()

    def next(self) -> bytes:
        """The next chunk; empty at the end."""
        with self._lock:
            if self._closed:
                return b""
            if self._db is None:
                self._db = self._connect()
                self._pieces = self._produce(self._db)
            taken, size = [], 0
            for piece in self._pieces:
                taken.append(piece)
                size += len(piece)
                if size >= self._enough:
                    break
            self._enough = min(2 * self._enough, CHUNK)
            return b"".join(taken)

    def close(self) -> None:
        """Let go of everything; waits for a chunk that is being made."""
        with self._lock:
            self._closed = True
            self._pieces = iter(())  # closes the file that was being read
            if self._db is not None:
                self._db.close()


async def _send(
    call: Call, headers: dict[str, str], produce: Callable[[sqlite3.Connection], Iterator[bytes]]
) -> web.StreamResponse:
    loop = asyncio.get_running_loop()
    response = web.StreamResponse(headers=headers)
    chunks = _Chunks(call.site.records.connect, produce)
    try:
        await response.prepare(call.request)
        coming = loop.run_in_executor(None, chunks.next)
        while chunk := await coming:
            coming = loop.run_in_executor(None, chunks.next)
            await response.write(chunk)
        await response.write_eof()
    finally:
        await asyncio.shield(loop.run_in_executor(None, chunks.close))
    return response


def _ascii(name: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
