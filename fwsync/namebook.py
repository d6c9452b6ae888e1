"""The names that a server has altered, and those that were given here, kept in the state.

This is the remote's door to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwsync.model import RelPath
from fwsync.ports import Alias, GivenName
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.given import Given
from fwsync.state import StateThread


class StateNames:
    """Implements :class:`~fwsync.ports.NameKeeper` and its sister for given names, on a state.

    Args:
        state: open for as long as this is used.
    """

    def __init__(self, state: StateThread) -> None:
        self._state = state

    async def names(self, *, beforehand: bool = False, folds: bool = False) -> Names:
        """The names for a run, those of earlier ones among them.

        Memory grows with containers and the names that were altered, not with files.

        Args:
            beforehand: see :class:`fwsync.remotes.flywheel_names.Names`.
            folds: see :class:`fwsync.remotes.given.Given`.
        """
        known = await self._state.call(lambda s: s.given_names.all())
        given = Given(known, keeper=self, folds=folds)
        return Names(await self.all(), keeper=self, beforehand=beforehand, given=given)

    async def all(self) -> Sequence[Alias]:
        """The names that were altered in earlier runs."""
        return await self._state.call(lambda s: s.aliases.all())

    async def remember(self, alias: Alias) -> None:
        """See :meth:`fwsync.ports.NameKeeper.remember`."""
        await self._state.call(lambda s: s.aliases.remember(alias))

    async def forget(self, alias: Alias) -> None:
        """See :meth:`fwsync.ports.NameKeeper.forget`."""
        await self._state.call(lambda s: s.aliases.forget(alias))

    async def is_free(self, path: RelPath) -> bool:
        """See :meth:`fwsync.ports.NameKeeper.is_free`."""
        return await self._state.call(lambda s: s.aliases.is_free(path))

    async def keep(self, given: Sequence[GivenName], gone: Sequence[GivenName]) -> None:
        """See :meth:`fwsync.ports.GivenNameKeeper.keep`."""
        await self._state.call(lambda s: s.given_names.keep(given, gone))

    async def files_at(self, paths: Sequence[RelPath]) -> set[RelPath]:
        """See :meth:`fwsync.ports.GivenNameKeeper.files_at`."""
        return await self._state.call(lambda s: s.given_names.files_at(paths))
