"""Some bytes out of a file: for large ones, which come in pieces.

Its rule: what comes is what was asked for, or the whole file, and it is said which.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import hdrs

from fwsync.errors import IntegrityError, Refused
from fwsync.model import RemoteEntry
from fwsync.ports import Ranged
from fwsync.remotes.flywheel_wire import PLURAL
from fwsync.remotes.http import Answer, Api, Params

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")

#: With it the site may send us on to its object store. Source: SDK 23, CLI 18.5.1, observed.
_FEATURES: Final = "Safe-Redirect"


@asynccontextmanager
async def ranged(
    api: Api, entry: RemoteEntry, offset: int, size: int, *, params: Params | None = None
) -> AsyncIterator[Ranged]:
    """``size`` bytes of a file from ``offset`` on.

    The range has both ends: of an open one core18 says ``bytes 5-None/9`` (observed). Without
    ``view`` it ignores ranges (core18). There is no HEAD before: the answer says all.

    Args:
        api: the site.
        entry: the file.
        offset: of the first byte.
        size: how many; at least one, and not beyond the end that the entry says.
        params: more of the query.

    Raises:
        IntegrityError: it has another length there than the entry says, or the server sends
            another range than was asked for.
        AuthError, RemoteError: as :meth:`fwsync.remotes.http.Api.stream`.
    """
    if not 0 <= offset < offset + size <= entry.size:
        raise ValueError(f"no {size} bytes at {offset} in a file of {entry.size}")
    address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
    query = {"version": entry.version if entry.file_id else None, "view": True, **(params or {})}
    headers = {
        "Range": f"bytes={offset}-{offset + size - 1}",
        "x-accept-feature": _FEATURES,
    }
    try:
        async with api.stream(address, params=query, headers=headers, what=entry.path) as answer:
            whole = _is_whole(answer, entry, offset, size)
            mark = answer.headers.get(hdrs.ETAG, "")
            chunks = _no_more_than(answer, entry, entry.size if whole else size)
            try:
                yield Ranged(whole, mark, chunks)
            finally:
                await chunks.aclose()
    except Refused as error:
        if error.status != 416:
            raise
        raise IntegrityError(
            f"{entry.path}: the server has no byte {offset} of the {entry.size} that it listed"
        ) from None


def _is_whole(answer: Answer, entry: RemoteEntry, offset: int, size: int) -> bool:
    """Is it all of the file, and not the range? Either must be of the file that was listed."""
    if answer.status != 206:
        _compare(entry, answer.size)
        return True
    said = _CONTENT_RANGE.fullmatch(answer.headers.get(hdrs.CONTENT_RANGE, ""))
    if said is not None and said[3] != "*":
        _compare(entry, int(said[3]))
    if said is None or (int(said[1]), int(said[2])) != (offset, offset + size - 1):
        raise IntegrityError(f"{entry.path}: another range was sent than was asked for")
    return False


def _compare(entry: RemoteEntry, size: int | None) -> None:
    if size is not None and size != entry.size:
        raise IntegrityError(
            f"{entry.path}: the server has {size} bytes, its listing said {entry.size}"
        )


async def _no_more_than(
    answer: Answer, entry: RemoteEntry, most: int
) -> AsyncGenerator[bytes, None]:
    """The body, which may be shorter: whoever reads it counts."""
    got = 0
    async for chunk in answer.chunks():
        got += len(chunk)
        if got > most:
            raise IntegrityError(f"{entry.path}: more than the {most} bytes of this answer")
        yield chunk
