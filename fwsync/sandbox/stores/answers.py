"""What the clouds' answers have in common: errors as XML, and objects read whole or in part."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final
from xml.sax.saxutils import escape

from aiohttp import hdrs, web

from fwsync.sandbox.exchange import asked_range, pump

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
#: What XML 1.0 cannot say, even escaped.
_UNSPEAKABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_error(
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error in the shape that S3, Azure and GCS share.

    Args:
        details: further elements, by name.
    """
    elements = {"Code": code, "Message": message, **(details or {})}
    body = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in elements.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'
    return web.Response(
        body=text.encode(), status=status, content_type="application/xml", headers=headers
    )


def request_id() -> str:
    """16 upper-case hex digits."""
    return secrets.token_hex(8).upper()


def header_text(value: str | None) -> str:
    """A value from a query, fit for a header."""
    return "".join(c for c in value or "" if c.isprintable())


def _text(value: str) -> str:
    return escape(_UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", value))


class Problem(Exception):
    """An answer of a store that is an error; the arguments are those of :func:`xml_error`."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers: dict[str, str] = {}


class Beyond(Exception):
    """The range begins beyond the end, which is at ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the number of bytes that a Range asks for; ``None``: everything.

    One that reaches beyond the end is cut there (RFC 9110); several ranges are everything, as in
    S3.

    Raises:
        Beyond: 416.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        if count == 0:
            raise Beyond(size)
        return size - count, count
    first = int(match[1])
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise Beyond(size)
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    return first, last - first + 1


async def send_object(
    request: web.Request,
    path: Path,
    size: int,
    headers: Mapping[str, str],
    *,
    unmet: str,
) -> web.StreamResponse:
    """Answer GET or HEAD with an object.

    Conditions on its ETag are honoured (RFC 9110); there are none on times, for a store of the
    sandbox does not know when an object came.

    Args:
        headers: of the answer, the ETag among them.
        unmet: what the store calls a 412.

    Raises:
        Beyond: 416.
        Problem: 412.
        FileNotFoundError: it is not there.
    """
    told, etag = request.headers, headers[hdrs.ETAG]
    if hdrs.IF_MATCH in told and not _names(told[hdrs.IF_MATCH], etag):
        raise Problem(412, unmet, "At least one of the preconditions you specified did not hold.")
    if hdrs.IF_NONE_MATCH in told and _names(told[hdrs.IF_NONE_MATCH], etag):
        return web.Response(status=304, headers={hdrs.ETAG: etag})
    whole = told.get(hdrs.IF_RANGE, etag) != etag
    wanted = None if whole else span(asked_range(request), size)
    first, count = wanted or (0, size)
    response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
    response.headers["Accept-Ranges"] = "bytes"
    if wanted:
        response.headers["Content-Range"] = f"bytes {first}-{first + count - 1}/{size}"
    response.content_length = count
    file = await asyncio.to_thread(_open, path)
    try:
        await response.prepare(request)
        if request.method != "HEAD" and count:
            await pump(request, response, file, first, count)
        await response.write_eof()
    finally:
        file.close()
    return response


def _names(condition: str, etag: str) -> bool:
    """Whether a list of ETags has this one; a star stands for each."""
    return any(one.strip() in ("*", etag) for one in condition.split(","))


def _open(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)
