"""What is left out of a run on purpose: said once, or a problem where somebody waits for it.

Its rule: a watch says a thing again only when it is another thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from fwsync.filters import Filters
from fwsync.model import Mode, Problem, RelPath, Unknown
from fwsync.state import State, StateThread


class LeftOut:
    """Tells of what is left out, for all cycles of one engine.

    Args:
        filters: what takes no part by its path.
        mode: the direction of the runs.
        note: says a line to the user.
    """

    def __init__(self, filters: Filters, mode: Mode, note: Callable[[str], None]) -> None:
        self._filters = filters
        self._mode = mode
        self._note = note
        self._told: frozenset[Unknown] = frozenset()
        self._told_kept: frozenset[RelPath] = frozenset()

    async def tell(
        self, state: StateThread, unknown: Sequence[Unknown]
    ) -> tuple[list[Problem], list[Problem]]:
        """Say what is left out in this cycle.

        Args:
            unknown: what the scan could not see, or passed over on purpose.

        Returns:
            What is in the way of files that the server has; and what is new in packs that
            stay as they are.
        """
        left_out = [one for one in unknown if one.expected]
        hiding = await state.call(_hiding, left_out)
        self._tell_links([one for one in left_out if one not in hiding])
        kept = await state.call(self._kept)
        self._tell_kept(kept)
        not_sent = await state.call(lambda open_state: list(self._not_sent(open_state, kept)))
        return [
            Problem(one.scope, f"{one.reason}; what belongs here is left alone") for one in hiding
        ], not_sent

    def _tell_links(self, unknown: Sequence[Unknown]) -> None:
        """Say once what is left out on purpose: links are never followed, nor read as gone."""
        left_out = frozenset(unknown)
        if left_out and left_out != self._told:
            first = min(left_out, key=lambda one: one.scope)
            self._note(f"left out: {first.scope} {first.reason}{_and_others(left_out)}")
        self._told = left_out

    def _kept(self, state: State) -> dict[RelPath, RelPath]:
        """The packs that stay as they are since a filter took a file of theirs, with that file."""
        if self._filters.idle or not state.places.active:
            return {}
        return {
            one.path: one.source
            for one in state.places.losses()
            if not self._filters.is_in(one.source)
        }

    def _not_sent(self, state: State, kept: Mapping[RelPath, RelPath]) -> Iterator[Problem]:
        """What is new in packs that stay as they are: whoever waits for it there must know."""
        if self._mode is Mode.DOWN:
            return
        for path, source in kept.items():
            if new := state.places.new_count(path):
                files = "1 new file of it is" if new == 1 else f"{new:,} new files of it are"
                yield Problem(
                    path,
                    f"{files} not sent: {source} in it is filtered out, so it stays as it is there",
                    "let the filter pass that file; or move it away, and run without the filter",
                )

    def _tell_kept(self, kept: Mapping[RelPath, RelPath]) -> None:
        """Say once that what is new in such packs is not sent."""
        if kept and kept.keys() != self._told_kept:
            path = min(kept)
            others = f"; and {len(kept) - 1:,} more packs like it" if len(kept) > 1 else ""
            self._note(
                f"left as it is there: {path}, since {kept[path]} in it is filtered out{others}"
            )
        self._told_kept = frozenset(kept)


def _and_others(left_out: Set[Unknown]) -> str:
    """How many there are beside the one that is named, and what can be said of all of them."""
    more = len(left_out) - 1
    if not more:
        return ""
    if len({one.reason for one in left_out}) == 1:
        return f", and {more:,} more like it"
    what = "is no regular file" if more == 1 else "are no regular files"
    return f", and {more:,} more that {what}"


def _hiding(state: State, unknown: Sequence[Unknown]) -> list[Unknown]:
    """Those of the scopes in whose place the server has, or both had, a file."""
    return [one for one in unknown if state.knows_below(one.scope)]
