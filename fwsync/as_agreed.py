"""The server as it was last agreed on: for looking at a root without asking anybody.

Its rule: what is read here is recorded, and nothing is read or written elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

from fwsync.model import RemoteEntry, Unknown
from fwsync.ports import Features, Remote
from fwsync.state import State, StateThread

_PAGE = 2000


class AsAgreed:
    """A remote that lists what both sides agreed on, and can do nothing else."""

    def __init__(self, state: StateThread) -> None:
        self._state = state

    @property
    def features(self) -> Features:
        """It can do nothing."""
        return Features()

    @property
    def requests(self) -> int:
        """Nobody is asked."""
        return 0

    async def entries(self) -> AsyncIterator[Sequence[RemoteEntry | Unknown]]:
        """Every agreed file that was not gone there."""
        after = ""
        while page := await self._state.call(_page, after):
            yield page
            after = page[-1].path


def as_agreed(state: StateThread) -> Remote:
    """A remote for an engine that only looks: what else one can do, it is never asked for."""
    return cast("Remote", AsAgreed(state))


def _page(state: State, after: str) -> list[RemoteEntry]:
    return state.moves.agreed_there(after, _PAGE)
