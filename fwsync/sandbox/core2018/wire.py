"""How core18 writes things down: times, JSON bodies, texts of Python 2.

Source: core18.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.kept.metadata import clean_keys
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, read_json

#: The answer to what no route knows, and to a method that a route does not know.
NOT_FOUND: Final = "The resource could not be found."
NOT_ALLOWED: Final = (
    "The server could not comply with the request since it is either malformed or otherwise"
    " incorrect."
)
NO_JSON: Final = "No JSON object could be decoded"

PARSE_IN_LOOP: Final = 256 << 10  # bytes of JSON
PIECE: Final = 256 << 10  # bytes
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def stored(moment: str) -> str:
    """A time as it comes back from the store: milliseconds; a zero fraction is left out."""
    when = datetime.fromisoformat(moment).astimezone(UTC)
    return when.replace(microsecond=when.microsecond // 1000 * 1000).isoformat()


def told(moment: str) -> str:
    """A time as the reply to an upload shows it: microseconds, which the store will not keep."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat()


def is_chunked(request: web.Request) -> bool:
    """Whether the body comes without a Content-Length: this server takes it for empty."""
    return "Content-Length" not in request.headers and request.body_exists


async def drain(request: web.Request) -> None:
    """Read what nobody wants, so that the connection stays usable."""
    async for _ in request.content.iter_chunked(PIECE):
        pass


async def json_body(call: Call) -> Any:
    """The JSON of a request.

    Raises:
        ApiError: 500, it is none. So is a body that is missing, or sent chunked.
    """
    if is_chunked(call.request):
        await drain(call.request)
        raise ApiError(500, NO_JSON)
    body = await call.request.read()
    try:
        if len(body) > PARSE_IN_LOOP:
            return await asyncio.to_thread(parse, body)
        return parse(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(500, NO_JSON) from error


def parse(text: bytes | str) -> Any:
    """What a JSON text says.

    That server took ``NaN`` and halves of characters too; they are refused, for they would spoil
    the records for every other request.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply to be read.
        ApiError: 400, deeper than its store takes.
    """
    value = read_json(text)
    clean_keys(value)
    return value


def python(value: Any) -> str:
    """A JSON value as Python 2 prints it: ``{u'label': u'x'}``."""
    if isinstance(value, str):
        quoted = ascii(value)
        return f"u{quoted}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{python(k)}: {python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(python, value)) + "]"
    return repr(value)


def in_header(text: str) -> str:
    """A text as a header can hold it: without control characters."""
    return _CONTROL.sub("", text)


def empty() -> web.Response:
    """200 and nothing: what a change of ``info`` answers."""
    return web.Response(body=b"", content_type="text/html", charset="utf-8")
