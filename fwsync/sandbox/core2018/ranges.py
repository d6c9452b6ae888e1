"""The content of a file as core18 sends it: ranges only with ``view=true``, and then oddly.

=================================  ==========================================================
``bytes=2-4``                      206, ``Content-Range: bytes 2-4/9``
``bytes=2-``                       206, right bytes, ``Content-Range: bytes 2-None/9``
``bytes=-3``                       206, right bytes, ``Content-Range: bytes -3-None/9``
``bytes=2-200``: past the end      200, everything
``bytes=100-200``                  416, no Content-Range
``bytes=0-1, 3-4``                 206, multipart/byteranges: lines end in LF, no last boundary
``bytes=0-1,3-4``, and nonsense    200, everything
``bytes=-20``: more than there is  500
=================================  ==========================================================

Source: core18, of a file of 9 bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from fwsync.sandbox.core2018.wire import PIECE
from fwsync.sandbox.problems import ApiError, missing

MAX_RANGES: Final = 64
_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{0,18})", re.ASCII)
_SUFFIX: Final = re.compile(r"-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """A range as it was asked for; ``first`` is negative for the last bytes."""

    first: int
    last: int | None
    size: int

    @property
    def start(self) -> int:
        """Where it begins."""
        return self.first if self.first >= 0 else self.size + self.first

    @property
    def length(self) -> int:
        """How many bytes it has."""
        end = self.size if self.last is None else self.last + 1
        return end - self.start

    @property
    def content_range(self) -> str:
        """The header, with the ``None`` that this server writes."""
        return f"bytes {self.first}-{self.last}/{self.size}"


def spans(header: str, size: int) -> list[Span] | None:
    """What a Range asks for; ``None``: everything.

    Raises:
        ApiError: 416, the first byte lies beyond the end; 500, before the beginning.
    """
    unit, equals, ranges = header.partition("=")
    parts = ranges.split(", ")
    if unit != "bytes" or not equals or len(parts) > MAX_RANGES:
        return None
    found = []
    for part in parts:
        span = _span(part, size)
        if span is None:
            return None
        found.append(span)
    for span in found:
        if span.first > size - 1:
            raise ApiError(416, "Invalid range")
        if span.last is not None and span.last > size - 1:
            return None
        if span.first < -size:
            raise ApiError(500, "[Errno 22] Invalid argument")
    return found


def _span(text: str, size: int) -> Span | None:
    if match := _SUFFIX.fullmatch(text):
        return Span(-int(match[1]), None, size)
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    last = int(match[2]) if match[2] else None
    if last is not None and last < int(match[1]):
        return None
    return Span(int(match[1]), last, size)


async def send_whole(
    request: web.Request, path: Path, size: int, headers: dict[str, str]
) -> web.StreamResponse:
    """200 and everything."""
    return await _send(request, path, 200, headers, [(b"", Span(0, None, size), b"")])


async def send_spans(
    request: web.Request, path: Path, wanted: Sequence[Span], kind: str, boundary: str
) -> web.StreamResponse:
    """206: the bytes of one range; or of several, each after its own headers."""
    if len(wanted) == 1:
        headers = {"Content-Type": kind, "Content-Range": wanted[0].content_range}
        return await _send(request, path, 206, headers, [(b"", wanted[0], b"")])
    headers = {"Content-Type": f"multipart/byteranges; boundary={boundary}"}
    parts = [
        (
            f"--{boundary}\nContent-Type: {kind}\nContent-Range: {span.content_range}\n\n".encode(),
            span,
            b"\n",
        )
        for span in wanted
    ]
    return await _send(request, path, 206, headers, parts)


async def _send(
    request: web.Request,
    path: Path,
    status: int,
    headers: dict[str, str],
    parts: Sequence[tuple[bytes, Span, bytes]],
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = sum(
        len(before) + span.length + len(after) for before, span, after in parts
    )
    pieces = _pieces(path, parts)
    first = await asyncio.to_thread(next, pieces, b"")  # a file that is gone is still a 404
    await response.prepare(request)
    piece = first
    while piece:
        await response.write(piece)
        piece = await asyncio.to_thread(next, pieces, b"")
    await response.write_eof()
    return response


def _pieces(path: Path, parts: Sequence[tuple[bytes, Span, bytes]]) -> Iterator[bytes]:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise missing("the content of this file is gone") from error
    with file:
        for before, span, after in parts:
            if before:
                yield before
            file.seek(span.start)
            left = span.length
            while left and (data := file.read(min(left, PIECE))):
                left -= len(data)
                yield data
            if after:
                yield after
