"""The content of one file, whole or in ranges.

========================================  ======================================
no Range, or one that cannot be read      200, everything
``bytes=a-b``, ``bytes=a-``, ``bytes=-n`` 206 with Content-Range
the last byte lies beyond the end         200, everything
the first byte lies beyond the end        416
several ranges                            206, ``multipart/byteranges``
========================================  ======================================

Source: the open server of 2018 (there only with ``view=true``; today's honours it always).
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from aiohttp import web

from fwsync.sandbox.exchange import asked_range, pump
from fwsync.sandbox.problems import ApiError, missing

AT_ONCE: Final = 256 << 10  # bytes; up to here a file is read in one go and sent from memory
MAX_RANGES: Final = 64
_RANGE: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a file: where they start and how many."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """The header that says which."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


@dataclass(frozen=True, slots=True)
class Content:
    """What to send: where the bytes are, and what they are called."""

    path: Path
    size: int
    name: str
    mimetype: str


class Unsatisfiable(Exception):
    """A range begins beyond the end."""


def spans(header: str | None, size: int) -> list[Span] | None:
    """What a Range asks for; ``None`` is everything, with 200.

    Raises:
        Unsatisfiable: 416.
    """
    unit, _, listed = (header or "").strip().partition("=")
    parts = listed.split(",")
    if unit.lower() != "bytes" or len(parts) > MAX_RANGES:
        return None
    found = []
    for part in parts:
        match = _RANGE.fullmatch(part.strip())
        if match is None or match[0] == "-":
            return None
        span = _span(match[1], match[2], size)
        if span is None:
            return None
        found.append(span)
    return found


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        length = int(last)
        if length == 0 or size == 0:
            raise Unsatisfiable
        return Span(size - length, length) if length <= size else None
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    end = int(last) if last else size - 1
    return Span(start, end - start + 1) if end < size else None


async def send(request: web.Request, content: Content) -> web.StreamResponse:
    """Answer with the content of a file."""
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": content.mimetype,
        "Content-Disposition": attachment(content.name),
    }
    try:
        wanted = spans(asked_range(request), content.size)
    except Unsatisfiable:
        problem = ApiError(416, "Invalid range")
        problem.headers["Content-Range"] = f"bytes */{content.size}"
        raise problem from None
    if wanted is None:
        return await _send_span(request, content, Span(0, content.size), 200, headers)
    if len(wanted) == 1:
        headers["Content-Range"] = wanted[0].content_range(content.size)
        return await _send_span(request, content, wanted[0], 206, headers)
    return await _send_many(request, content, wanted, headers)


def attachment(name: str) -> str:
    """A Content-Disposition that names a file, in ASCII and in full."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    encoded = quote(name, safe="")
    extended = f"; filename*=UTF-8''{encoded}" if plain != name else ""
    return f'attachment; filename="{plain}"{extended}'


async def _send_span(
    request: web.Request, content: Content, span: Span, status: int, headers: dict[str, str]
) -> web.StreamResponse:
    if span.length <= AT_ONCE and request.method != "HEAD":
        body = await asyncio.to_thread(_read, content.path, span)
        return web.Response(body=body, status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = span.length
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    file = await asyncio.to_thread(_open, content.path)
    try:
        await response.prepare(request)
        await pump(request, response, file, span.start, span.length)
        await response.write_eof()
    finally:
        file.close()
    return response


async def _send_many(
    request: web.Request, content: Content, wanted: Sequence[Span], headers: dict[str, str]
) -> web.StreamResponse:
    boundary = uuid.uuid4().hex
    kind = headers["Content-Type"]
    heads = [
        f"--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Range: {span.content_range(content.size)}\r\n\r\n".encode()
        for span in wanted
    ]
    last = f"--{boundary}--\r\n".encode()
    headers = headers | {"Content-Type": f"multipart/byteranges; boundary={boundary}"}
    response = web.StreamResponse(status=206, headers=headers)
    response.content_length = len(last) + sum(
        len(head) + span.length + 2 for head, span in zip(heads, wanted, strict=True)
    )
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    file = await asyncio.to_thread(_open, content.path)
    try:
        await response.prepare(request)
        for head, span in zip(heads, wanted, strict=True):
            await response.write(head)
            await pump(request, response, file, span.start, span.length)
            await response.write(b"\r\n")
        await response.write(last)
        await response.write_eof()
    finally:
        file.close()
    return response


def _read(path: Path, span: Span) -> bytes:
    with _open(path) as file:
        file.seek(span.start)
        return file.read(span.length)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise missing("the content of this file is gone") from error
