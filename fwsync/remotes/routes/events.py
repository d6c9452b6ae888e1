"""A stream of events, as far as the end of a packfile speaks in one.

``event:`` and ``data:`` lines, an empty line after each event. Source: core18, observed; the
format is that of the WHATWG's server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

from fwsync.errors import Garbled
from fwsync.remotes.flywheel_wire import Json

#: Bytes of one line, and of the lines of one member: a runaway stream stops here.
_LINE: Final = 1 << 20
_PER_MEMBER: Final = 4096


async def result_of(chunks: AsyncIterator[bytes], members: int, what: str) -> Json:
    """The data of the event ``result``, which ends the stream.

    Args:
        chunks: the body.
        members: that are packed: there is an event for each.
        what: for error texts.

    Raises:
        Garbled: the stream ended without one, or is none. What it said is not shown.
        Unavailable: it broke off.
    """
    name, data, result = "", "", ""
    async for line in _lines(chunks, _LINE + members * _PER_MEMBER, what):
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if name == "result":
                result = data
            name, data = "", ""
        elif key == "event":
            name = value
        elif key == "data":
            data += value
    try:
        told = json.loads(result) if result else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Garbled(f"{what}: the server did not say that the zip is made")
    return told


async def _lines(chunks: AsyncIterator[bytes], most: int, what: str) -> AsyncIterator[str]:
    kept = b""
    read = 0
    async for chunk in chunks:
        read += len(chunk)
        *whole, kept = (kept + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").removesuffix("\r")
        if len(kept) > _LINE or read > most:
            raise Garbled(f"{what}: the server's stream of events does not end")
