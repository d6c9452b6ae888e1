"""The server's listing, taken into the state page by page.

Its rule: a path that comes twice is known to be neither; nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fwsync.filters import Filters
from fwsync.model import RelPath, RemoteEntry, Unknown
from fwsync.ports import ListedPage, ListedRow, RemoteReader
from fwsync.state import State, StateThread
from fwsync.state_rows import remote_row


@dataclass(slots=True)
class Listed:
    """What came of a listing, beside the rows that are in the state."""

    files: int = 0
    newest_ns: int = 0  #: the latest time of change of a file, by the server's clock
    fits: bool = False  #: some file is one that the patterns ask for
    unknown: list[Unknown] = field(default_factory=list)


async def take_listing(state: StateThread, reader: RemoteReader, filters: Filters) -> Listed:
    """List the server anew; the rows are in the state when this returns.

    Raises:
        RemoteError: the listing is not complete, and says nothing of what it lacks.
    """
    listed = Listed()
    await state.call(State.start_listing)
    async for page in reader.entries():
        rows, unknown = _told_apart(page)
        listed.unknown += unknown
        listed.files += len(rows)
        listed.newest_ns = max(listed.newest_ns, max(map(_modified_ns, rows), default=0))
        listed.fits = listed.fits or filters.asks_for_any(map(_path, rows))
        try:
            await state.call(State.take_listing, rows)
        except ValueError:
            listed.unknown += await _take_one_by_one(state, rows)
    return listed


def _told_apart(
    page: Sequence[RemoteEntry | Unknown],
) -> tuple[Sequence[ListedRow], Sequence[Unknown]]:
    if isinstance(page, ListedPage):
        return page.rows, page.unknown
    rows = [remote_row(one) for one in page if isinstance(one, RemoteEntry)]
    return rows, [one for one in page if isinstance(one, Unknown)]


async def _take_one_by_one(state: StateThread, rows: Sequence[ListedRow]) -> list[Unknown]:
    """Take a page in which a path comes twice: it was replaced while the pages were read."""
    twice: list[Unknown] = []
    for row in rows:
        try:
            await state.call(State.take_listing, [row])
        except ValueError:
            twice.append(Unknown(_path(row), "was replaced while the server listed it"))
    return twice


def _path(row: ListedRow) -> RelPath:
    return row[0]


def _modified_ns(row: ListedRow) -> int:
    return row[-1]
