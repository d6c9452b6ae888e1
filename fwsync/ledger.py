"""Begun uploads, kept in the state: what a remote may remember from one run to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fwsync.model import RelPath
from fwsync.ports import OpenUpload
from fwsync.state import State, StateThread


class StateLedger:
    """Implements :class:`fwsync.ports.Ledger` on a state.

    Which paths have one is known without asking the state: few have, however many are pushed.

    Args:
        state: open for as long as this is used; nobody else writes uploads to it.
    """

    def __init__(self, state: StateThread) -> None:
        self._state = state
        self._open: dict[int, RelPath] | None = None  # by number
        self._loading = asyncio.Lock()

    async def begin(self, path: RelPath, stamp: str, route: str, note: Mapping[str, object]) -> int:
        """See :meth:`fwsync.ports.Ledger.begin`."""
        known = await self._known()
        number = await self._state.call(lambda s: s.uploads.begin(path, stamp, route, note))
        known[number] = path
        return number

    async def update(self, id_: int, note: Mapping[str, object]) -> None:
        """See :meth:`fwsync.ports.Ledger.update`."""
        await self._state.call(lambda s: s.uploads.update(id_, note))

    async def confirm(self, id_: int, number: int, tag: str) -> None:
        """See :meth:`fwsync.ports.Ledger.confirm`."""
        await self._state.call(lambda s: s.uploads.confirm(id_, number, tag))

    async def end(self, id_: int) -> None:
        """See :meth:`fwsync.ports.Ledger.end`."""
        await self._state.call(lambda s: s.uploads.end(id_))
        (await self._known()).pop(id_, None)

    async def find(self, path: RelPath, route: str) -> Sequence[OpenUpload]:
        """See :meth:`fwsync.ports.Ledger.find`."""
        if path not in (await self._known()).values():
            return []
        return await self._state.call(lambda s: s.uploads.find(path, route))

    async def all(self) -> Sequence[OpenUpload]:
        """See :meth:`fwsync.ports.Ledger.all`."""
        return await self._state.call(lambda s: s.uploads.all())

    async def _known(self) -> dict[int, RelPath]:
        async with self._loading:  # a second answer would not know what was begun after the first
            if self._open is None:
                self._open = await self._state.call(_paths)
        return self._open


def _paths(state: State) -> dict[int, RelPath]:
    return state.uploads.paths()
