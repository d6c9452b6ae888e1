"""The server's listing, taken into the state page by page.

Its rule: a path that comes twice is known to be neither; nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fwsync.filters import Filters
from fwsync.model import RemoteEntry, Unknown
from fwsync.ports import RemoteReader
from fwsync.state import State, StateThread


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
        listed.unknown += [one for one in page if isinstance(one, Unknown)]
        entries = [one for one in page if isinstance(one, RemoteEntry)]
        listed.files += len(entries)
        newest_ns = max((one.modified_ns for one in entries), default=0)
        listed.newest_ns = max(listed.newest_ns, newest_ns)
        listed.fits = listed.fits or filters.asks_for_any(one.path for one in entries)
        try:
            await state.call(State.take_listing, entries)
        except ValueError:
            listed.unknown += await _take_one_by_one(state, entries)
    return listed


async def _take_one_by_one(state: StateThread, entries: Sequence[RemoteEntry]) -> list[Unknown]:
    """Take a page in which a path comes twice: it was replaced while the pages were read."""
    twice: list[Unknown] = []
    for entry in entries:
        try:
            await state.call(State.take_listing, [entry])
        except ValueError:
            twice.append(Unknown(entry.path, "was replaced while the server listed it"))
    return twice
