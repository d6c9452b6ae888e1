"""A look into a zip file that is stored: what is in it, and one member of it.

Its one rule: everything is read to its end before the first byte is sent, so that what is broken
or hostile is a 400 and never a body that stops in the middle.

Source: core18 (``info=``, ``member=``); ``ZipfileInfo`` of SDK 23.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from aiohttp import web

from fwsync.sandbox.formats.filetypes import mimetype
from fwsync.sandbox.formats.zips import Zip
from fwsync.sandbox.problems import invalid

IN_MEMORY: Final = 1 << 20  # bytes; up to here an answer is kept while it is checked
SLICE: Final = 256 << 10  # bytes that one step of a thread makes


async def send_listing(request: web.Request, path: Path) -> web.StreamResponse:
    """Answer ``{"comment", "members": [{"path", "size", "timestamp", "comment"}]}``.

    Raises:
        ApiError: 400, it is no zip; 404, it is gone.
    """
    return await _send(request, path, _listing, "application/json")


async def send_member(
    request: web.Request, path: Path, member: str, most: int
) -> web.StreamResponse:
    """Answer with the bytes of one member, with the type that its name tells.

    Args:
        most: bytes; what is larger is not sent.

    Raises:
        ApiError: 400, there is none, or it cannot be read; 404, the zip is gone.
    """

    def produce(file: Zip) -> Iterator[bytes]:
        entry = file.find(member)
        if entry.size > most:
            raise invalid("the zip member is larger than this site takes")
        yield from file.content(entry)

    return await _send(request, path, produce, mimetype(member.rpartition("/")[2]))


def _listing(file: Zip) -> Iterator[bytes]:
    yield f'{{"comment":{json.dumps(file.comment)},"members":['.encode()
    comma = ""
    for entry in file.entries():
        shown = {
            "path": entry.path,
            "size": entry.size,
            "timestamp": entry.timestamp,
            "comment": entry.comment,
        }
        yield (comma + json.dumps(shown, separators=(",", ":"))).encode()
        comma = ","
    yield b"]}"


async def _send(
    request: web.Request, path: Path, produce: Callable[[Zip], Iterator[bytes]], kind: str
) -> web.StreamResponse:
    """Make the body once to see that it can be made, and then, if it is large, to send it."""
    slices = await asyncio.to_thread(_Slices, path, produce)
    try:
        kept: list[bytes] | None = []
        size = 0
        while piece := await asyncio.to_thread(slices.next):
            if request.transport is None:  # nobody waits for it any more
                raise ConnectionResetError("the client is gone")
            size += len(piece)
            kept = [*kept, piece] if kept is not None and size <= IN_MEMORY else None
        if kept is not None and request.method != "HEAD":
            return web.Response(body=b"".join(kept), headers={"Content-Type": kind})
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.content_length = size
        await response.prepare(request)
        if request.method != "HEAD":
            slices.rewind()
            while piece := await asyncio.to_thread(slices.next):
                await response.write(piece)
            await response.write_eof()
        return response
    finally:
        # A cancelled wait leaves its thread at work; closing waits for it.
        await asyncio.shield(asyncio.to_thread(slices.close))


class _Slices:
    """A body in slices, each made by one step of a thread; it can be made again."""

    def __init__(self, path: Path, produce: Callable[[Zip], Iterator[bytes]]) -> None:
        self._file = Zip(path)
        self._produce = produce
        self._pieces = produce(self._file)
        self._closed = False
        self._lock = threading.Lock()

    def next(self) -> bytes:
        """The next slice; empty at the end."""
        with self._lock:
            taken: list[bytes] = []
            size = 0
            while not self._closed and size < SLICE:
                piece = next(self._pieces, b"")
                if not piece:
                    break
                taken.append(piece)
                size += len(piece)
            return b"".join(taken)

    def rewind(self) -> None:
        """Begin again."""
        with self._lock:
            self._pieces = self._produce(self._file)

    def close(self) -> None:
        """Close the file, when the step that is being made is over."""
        with self._lock:
            self._closed = True
            self._file.__exit__()
