"""Places that the server tells of, kept in the state: the remote's door to them."""

from __future__ import annotations

from collections.abc import Sequence

from fwsync.ports import ToldPlace
from fwsync.state import StateThread


class StatePlaces:
    """Implements :class:`fwsync.ports.ToldSink` on a state.

    Args:
        state: open for as long as this is used.
    """

    def __init__(self, state: StateThread) -> None:
        self._state = state

    async def begin(self) -> None:
        """See :meth:`fwsync.ports.ToldSink.begin`."""
        await self._state.call(lambda s: s.told.begin())

    async def take(self, page: Sequence[ToldPlace]) -> None:
        """See :meth:`fwsync.ports.ToldSink.take`."""
        await self._state.call(lambda s: s.told.take(page))

    async def describe(self, content: bytes) -> None:
        """See :meth:`fwsync.ports.ToldSink.describe`."""
        await self._state.call(lambda s: s.told.take_description(content))
