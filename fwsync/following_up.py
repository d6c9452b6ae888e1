"""Which renames the server gets for what has moved here.

The one rule: a file that is gone here is only told from one that has moved once all is seen that
it may have become. What cannot be carried up is left to the paths, as if nothing were known of
moves.

Nothing here asks the server; see :mod:`fwsync.moving_up`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fwsync.asides import begun_by_us
from fwsync.destinations import Known
from fwsync.edits_along import edited_along
from fwsync.model import Decision, Mode, RelPath, Unknown, Verb
from fwsync.moves import Followed
from fwsync.moves_up import Gone, carried_up
from fwsync.reconcile import Rules, Scopes
from fwsync.state import State


@dataclass(frozen=True, slots=True)
class FollowingUp:
    """For one run, after ``State.out_of_step`` and :class:`fwsync.following.Following`.

    Args:
        state: knows both sides, and what was agreed on.
        rules: what the user asked for.
        unknown: what could not be seen, of each side.
        in_scope: False takes a path out of the run.
        selects: only a part of the project was listed: what is missing may be in the other part.
        waits: some folder is not quiet yet. A file that is gone may be in it, and that it is gone
            is not written down before.
    """

    state: State
    rules: Rules
    unknown: Sequence[Sequence[Unknown]]
    in_scope: Callable[[RelPath], bool]
    selects: bool = False
    waits: bool = False

    def with_moves(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """The decisions of a run; where files have moved here, those that carry it up."""
        is_down = self.rules.mode is Mode.DOWN
        gone, come = ([], []) if is_down else self.state.moves.here()
        if self.waits:
            decisions = _without_fetching_again(self.state, decisions)
        if gone and come:
            decisions = self._carried(gone, come, list(decisions))
        yield from _believed(decisions, waits=self.waits)

    def _carried(
        self, gone: Sequence[Gone], come: Sequence[RelPath], decided: Sequence[Decision]
    ) -> Iterator[Decision]:
        moves = self.state.moves
        leaving = {one.base.path for one in decided if one.base and one.verb is Verb.RENAME_REMOTE}
        back = [one for one in decided if one.base and one.base.path in leaving]
        decided = [one for one in decided if not (one.base and one.base.path in leaving)]
        there = {move.old: move.new for move in moves.find()}
        in_way = moves.in_way(come)
        begun = begun_by_us(self.state).in_two
        blocked = _blocked(decided, gone)
        # What is in its way may move, too; and where a move goes on, others have nothing to say.
        reported = {one.path for one in decided if one.verb is Verb.REPORT and one.base is None}
        blocked |= reported - in_way.keys() - set(begun.values())
        spots = moves.at({one.path for one in gone} | set(come) | set(there.values()))
        if self.selects:
            gone = [one for one in gone if one.path in there or spots[one.path].remote is not None]
        unseen = [Scopes(side) for side in self.unknown]

        def is_seen(path: RelPath) -> bool:
            return not any(scopes.covers(path) for scopes in unseen)

        found = carried_up(
            gone,
            come,
            Known(spots, in_way, leaving),
            rules=self.rules,
            is_seen=is_seen,
            in_scope=self.in_scope,
            elsewhere=there,
            blocked=blocked.__contains__,
            begun=begun,
            look=lambda paths: Known(moves.at(paths), moves.in_way(paths)),
        )
        all_of_them = [*back, *found.decisions, *_without(decided, found)]
        along = edited_along(
            all_of_them,
            rules=self.rules,
            agreed_below=moves.agreed_below,
            elsewhere=there,
            may_get=lambda path: is_seen(path) and self.in_scope(path) and path not in blocked,
            look=moves.at,
        )
        yield from back
        yield from along.decisions
        yield from _without(all_of_them[len(back) :], along)


def _blocked(decided: Iterable[Decision], gone: Iterable[Gone]) -> set[RelPath]:
    """Paths of which was decided by the server's ids, of others than those that are gone."""
    left = {one.path for one in gone}
    renames = [one for one in decided if one.verb is Verb.RENAME]
    renames = [one for one in renames if one.base is None or one.base.path not in left]
    return {part.path for one in renames for part in (one, one.local) if part}


def _believed(decisions: Iterable[Decision], *, waits: bool) -> Iterator[Decision]:
    """Those that do not write down yet that a file is gone here, where it may only be late."""
    for decision in decisions:
        if not (waits and decision.verb is Verb.HOLD and decision.local is None):
            yield decision


def _without_fetching_again(state: State, decisions: Iterable[Decision]) -> Iterator[Decision]:
    """Those that do not fetch a file that is gone here from where it is on the server now."""
    moves = state.moves.find()
    spots = state.moves.spots(moves)
    nowhere = [one for one in moves if not spots[one.old].local and not spots[one.new].local]
    later = {path for one in nowhere for path in (one.old, one.new)}
    for decision in decisions:
        if decision.path not in later:
            yield decision


def _without(decisions: Iterable[Decision], found: Followed) -> Iterator[Decision]:
    """Those about other files than what was found of moves."""
    void = found.settled | {one.path for one in found.decisions}
    for decision in decisions:
        followed = decision.base is not None and decision.base.path in void
        if decision.path not in void and not followed:
            yield decision
