"""Archives: a ticket, then a stream of tar or zip; and the list of targets.

The archive is made while it is sent: a few small chunks are in memory, whatever the archive holds,
and the first leaves as soon as it is full.

Source: SDK 23 and CLI 18.5.1 (parameters), core18 and core19 (tickets, names, ``symlinks``).
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, cast

from aiohttp import web

from fwsync.sandbox.archives.bodies import (
    read_container_filters,
    read_files,
    read_filters,
    read_nodes,
    readable,
)
from fwsync.sandbox.exchange import EXCHANGE
from fwsync.sandbox.formats import tar
from fwsync.sandbox.formats.zipstream import ZipStream
from fwsync.sandbox.hierarchy.containers import load
from fwsync.sandbox.kept.archive import Item, Member, Part, Sidecar, Wanted
from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.kept.selection import ArchiveType
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
log = logging.getLogger(__name__)

CHUNK: Final = 1 << 20  # bytes handed to the network at a time
FIRST_CHUNK: Final = 16 << 10  # bytes; each chunk is twice the one before, up to `CHUNK`
DEFAULT_PREFIX: Final = {"classic": "scitran", "full": "flywheel", "bulk": ""}
FORMATS: Final = ("tar", "zip")


@dataclass(frozen=True, slots=True)
class ArchiveTicket:
    """The right to fetch one archive, as often as wanted, from one address.

    Args:
        name: of the file, without what the format adds.
    """

    wanted: Wanted
    address: str | None
    name: str


# ----------------------------------------------------------------------------------- ticket


async def ticket(call: Call) -> web.Response:
    """``POST /download``."""
    wanted = await _wanted(call, await call.json_object(), default="classic")
    count, size = await call.read(wanted.count)
    if not count:
        raise missing("No files matching the given filter could be found")
    name = await _archive_name(call, wanted)
    made = str(uuid.uuid4())
    call.site.tickets.keep(made, ArchiveTicket(wanted, call.request.remote, name))
    return answer({"ticket": made, "filename": f"{name}.tar", "file_cnt": count, "size": size})


async def _archive_name(call: Call, wanted: Wanted) -> str:
    if wanted.type == "classic" and [level for level, _ in wanted.nodes] == ["analysis"]:
        analysis = await call.read(load, wanted.nodes[0][1], with_files=False)
        return f"analysis_{analysis['label'] if analysis else ''}"
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    return f"{wanted.prefix or 'download'}_{stamp}"


async def _wanted(call: Call, body: Json, *, default: ArchiveType) -> Wanted:
    type_ = "bulk" if call.flag("bulk") else call.query("type") or default
    if type_ not in DEFAULT_PREFIX:
        raise invalid(f"type {type_!r} is not one of classic, full and bulk")
    prefix = call.query("prefix")
    prefix = DEFAULT_PREFIX[type_] if prefix is None else prefix.strip("/")
    if not prefix.isprintable():
        raise invalid("the prefix must be printable")
    full, collection = type_ == "full", call.query("collection") or ""
    if collection and await readable(call, collection, "collection") is None:
        raise missing(f"no such collection: {collection}")
    wanted = Wanted(
        cast(ArchiveType, type_),
        prefix,
        filters=read_filters(body),
        container_filters=read_container_filters(body),
        metadata=full and call.flag("metadata"),
        analyses=full and call.flag("analyses"),
        collection=collection,
        grants=await call.site.grants(call.caller),
        at=call.past or call.site.records.settled,
    )
    if type_ == "bulk":
        return replace(wanted, files=await read_files(call, body))
    nodes = await read_nodes(call, body.get("nodes"), with_analyses=wanted.analyses)
    return replace(wanted, nodes=nodes)


# ----------------------------------------------------------------------------------- stream


async def stream(call: Call) -> web.StreamResponse:
    """``GET /download?ticket=``: the archive. No key is needed."""
    found = call.site.tickets.get(call.query("ticket") or "")
    if not isinstance(found, ArchiveTicket):
        raise missing("no such ticket")
    if found.address != call.request.remote:
        raise invalid("ticket not for this resource or source IP")
    form = call.query("format") or "tar"
    if form not in FORMATS:
        raise invalid(f"format {form!r} is not one of {', '.join(FORMATS)}")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{_ascii(found.name)}.{form}"',
    }
    blobs, as_links = call.site.blobs, call.flag("symlinks")
    mischief = call.request[EXCHANGE].mischief

    def produce(db: sqlite3.Connection) -> Iterator[bytes]:
        items: Iterable[Part] = found.wanted.items(db)
        if mischief is not None:
            items = mischief.members(found.wanted.items(db), blobs)
        if form == "zip":
            return zipped(items, blobs)
        made = tarred(items, blobs, as_links=as_links)
        return made if mischief is None else mischief.ending(made)

    return await send(call, web.StreamResponse(headers=headers), produce)


async def targets(call: Call) -> web.StreamResponse:
    """``POST /download/targets``: one JSON line for each file and each sidecar."""
    wanted = await _wanted(call, await call.json_object(), default="full")

    def produce(db: sqlite3.Connection) -> Iterator[bytes]:
        for item in wanted.items(db):
            yield json.dumps(_target(item)).encode() + b"\n"

    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    return await send(call, response, produce)


def _target(item: Item) -> Json:
    target = {
        "download_type": "file",
        "dst_path": item.path,
        "size": item.size,
        "modified": item.modified,
        "container_id": item.container_id,
        "container_type": item.container_kind,
    }
    if isinstance(item, Sidecar):
        own = {"download_type": "metadata_sidecar", "metadata": item.metadata}
        return target | own | {"filename": item.path.rpartition("/")[2]}
    return target | {"filename": item.name, "filetype": item.type, "file_id": item.file_id}


def tarred(items: Iterable[Part], blobs: Blobs, *, as_links: bool) -> Iterator[bytes]:
    """The tar of some items; bytes among them are parts of it already.

    Args:
        as_links: files are symbolic links into the store of the server.
    """
    for item in items:
        if not isinstance(item, Item):
            yield from item
            continue
        if as_links and isinstance(item, Member):
            yield tar.link(item.path, store_path(item.sha384), item.mtime)
            continue
        file = _open(item, blobs)
        if file is None:
            yield tar.member(f"{item.path}.MISSING", 0, item.mtime)
            continue
        with file:
            yield tar.member(item.path, item.size, item.mtime)
            yield from _content(file, item)
            yield bytes(tar.padding(item.size))
    yield tar.END


def zipped(items: Iterable[Part], blobs: Blobs) -> Iterator[bytes]:
    """The zip of some items; parts of a tar have no place in it, and are not made."""
    with closing(ZipStream()) as archive:
        for item in items:
            if not isinstance(item, Item):
                continue
            file = _open(item, blobs)
            if file is None:
                yield from archive.file(f"{item.path}.MISSING", 0, item.mtime, ())
                continue
            with file:
                yield from archive.file(item.path, item.size, item.mtime, _content(file, item))
        yield from archive.end()


def _open(item: Item, blobs: Blobs) -> BinaryIO | None:
    if isinstance(item, Sidecar):
        return io.BytesIO(item.content)
    try:
        return blobs.path(item.sha384).open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _content(file: BinaryIO, item: Item) -> Iterator[bytes]:
    left = item.size
    while left:
        data = file.read(min(left, CHUNK))
        if not data:
            raise OSError(f"{item.path}: {left} bytes are missing")
        left -= len(data)
        yield data


def store_path(sha384: str) -> str:
    """Where the servers of 2018 kept a content, below the folder of their data."""
    return f"v0/sha384/{sha384[:2]}/{sha384[2:4]}/v0-sha384-{sha384}"


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


async def send(
    call: Call,
    response: web.StreamResponse,
    produce: Callable[[sqlite3.Connection], Iterator[bytes]],
) -> web.StreamResponse:
    """Answer with what is produced, on a thread and while it is sent."""
    loop = asyncio.get_running_loop()
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
