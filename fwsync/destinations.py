"""Where files belong that have moved here, on both sides: one path for each.

The one rule: all of them can have theirs at once. A file that counts on another to leave does not
move where that one stays; moved one by one, they would be doubled, or taken for edits.

Nothing here acts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field

from fwsync.model import Delta, Mode, RelPath
from fwsync.moves import Move, Spot
from fwsync.reconcile import Rules, remote_delta


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some paths."""

    spots: Mapping[RelPath, Spot]
    #: Of those that a file is to get, the server's files that are where a folder must be, or the
    #: other way round; they must move as well.
    in_way: Mapping[RelPath, Collection[RelPath]] = field(default_factory=dict)
    #: Agreed files that are here where they were, and go back there on the server in the same run.
    leaving: Set[RelPath] = frozenset()


def choices(
    move: Move,
    spots: Mapping[RelPath, Spot],
    there: RelPath | None,
    rules: Rules,
    begun: Mapping[str, str],
) -> list[RelPath]:
    """The paths that a file may have on both sides from now on, the best first.

    Where it moved on both sides, each side's part of the path counts; where both changed one part,
    the server's name does. If that cannot be had, the server's path, then ours. A run that only
    goes up renames nothing here, and so has a choice only where the path is ours.

    Args:
        move: of a file here.
        spots: of the paths in it, and of `there`.
        there: where the server has it now, if not where it was; None: it is there.
        rules: what the user asked for.
        begun: as of :func:`fwsync.moves_up.carried_up`.
    """
    if there is None or there == move.new:
        return [move.new]
    base, remote = spots[move.old].base, spots[there].remote
    is_same = remote is not None and remote_delta(remote, base) is Delta.SAME
    # The rest of a move of our own: its folder has moved, and nobody else has moved the file.
    # Where it was to go then is not asked for: it may have moved on here since.
    if remote is not None and remote.file_id in begun and is_same:
        return [move.new]
    best = RelPath(merged(move.old, move.new, there))
    if rules.mode is Mode.UP:
        return [move.new] if is_same and best == move.new else []
    return list(dict.fromkeys((best, there, move.new))) if is_same else [there]


def assigned(
    ways: Mapping[Move, Sequence[RelPath]], known: Known, elsewhere: Mapping[RelPath, RelPath]
) -> dict[Move, RelPath]:
    """For each its best path, as far as all can have theirs; some get none.

    A file that was put in another's place is an edit of that one, unless the other has moved.

    Args:
        ways: the moves, with the paths that each may have, the best first.
        known: of all these paths.
        elsewhere: agreed files that have another path on the server now, by the old one.
    """
    left = {move: list(paths) for move, paths in ways.items() if paths}
    while True:
        trial = _Trial(left, known, elsewhere)
        bad = [move for move in left if not trial.fits(move)]
        if not bad:
            return trial.to
        for move in bad:
            del left[move][0]
            if not left[move]:
                del left[move]


class _Trial:
    """One path for each, and whether it can be had."""

    def __init__(
        self,
        ways: Mapping[Move, Sequence[RelPath]],
        known: Known,
        elsewhere: Mapping[RelPath, RelPath],
    ) -> None:
        self.to = {move: paths[0] for move, paths in ways.items()}
        self._known = known
        self._elsewhere = elsewhere
        #: What was agreed on at which path is where on the server: by where it is.
        self._owner = {new: old for old, new in elsewhere.items()}
        self._by_old = {move.old: move for move in ways}
        self._by_new = {move.new: move for move in ways}
        self._times = Counter(self.to.values())
        self._has_more = {move for move, paths in ways.items() if len(paths) > 1}
        self._insisting = Counter(self.to[move] for move in ways if move not in self._has_more)

    def fits(self, move: Move) -> bool:
        """Can the file have its path, if all others get theirs?"""
        spots, to = self._known.spots, self.to[move]
        now, spot = self._elsewhere.get(move.old, move.old), spots[to]
        if spots[move.old].local is not None and move.old not in self._by_new:
            return False  # its old place is in use again
        if spots[now].remote is None:  # it was deleted there
            return spot.base is None and spot.remote is None
        if self._times[to] > 1 and (move in self._has_more or self._insisting[to] > 1):
            return False
        if spot.base is not None and to not in self._by_old:
            return False
        if spot.local is not None and to != move.new and not self._leaves_here(to):
            return False
        if to == now:
            return True
        is_free = spot.remote is None or self._leaves_there(to)
        return is_free and all(map(self._leaves_there, self._known.in_way.get(to, ())))

    def _leaves_here(self, path: RelPath) -> bool:
        one = self._by_new.get(path)
        return one is not None and self.to[one] != path

    def _leaves_there(self, path: RelPath) -> bool:
        old = self._owner.get(path, path)
        one = self._by_old.get(old)
        return old in self._known.leaving or (one is not None and self.to[one] != path)


def merged(base: str, here: str, there: str) -> str:
    """A path that both sides have changed: each part as the side has it that changed it.

    The server's, where both did, and where they do not have the same number of parts.
    """
    parts = base.split("/"), here.split("/"), there.split("/")
    if len({len(one) for one in parts}) > 1:
        return there
    return "/".join(
        mine if theirs == was else theirs for was, mine, theirs in zip(*parts, strict=True)
    )
