"""Files that have another path on the server than they had: here, they are renamed.

The one rule: a file is known by the server's id and not by its path, so a container that was
relabelled or moved is no deletion and no addition. What was edited here goes along, and is an edit
where it is then. Where a file cannot simply follow, because something is in its way, the tables of
:mod:`fwsync.reconcile` decide, path by path, as if nothing were known of ids.

Nothing here acts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from fwsync.model import (
    BaseEntry,
    Decision,
    Delta,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Verb,
)
from fwsync.reconcile import Rules, judge, local_delta, remote_delta


@dataclass(frozen=True, slots=True)
class Move:
    """A file that was agreed on at one path, and that the server has at another."""

    old: RelPath
    new: RelPath


@dataclass(frozen=True, slots=True)
class Spot:
    """What is known of one path: the three trees there."""

    local: LocalEntry | None = None
    remote: RemoteEntry | None = None
    base: BaseEntry | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of moves."""

    decisions: tuple[Decision, ...] = ()
    #: Paths that these decisions speak for; whatever else was decided about them is void.
    settled: frozenset[RelPath] = frozenset()


class _Way(Enum):
    """How a move can be followed here."""

    RENAME = auto()  #: the file is here as it was agreed on, and its new place can be had
    IN_PLACE = auto()  #: it lies at its new place already
    ALONG = auto()  #: it was edited here: it gets the new path, and is judged there
    ROW = auto()  #: it was deleted here, and that is on record: the record moves
    JUDGE = auto()  #: it was moved here, too, and edited
    REPORT = auto()  #: it was edited here, and cannot go along: it stays, and that is said
    LEAVE = auto()  #: it cannot be seen whether it may be touched
    PATHS = auto()  #: it cannot be followed: path by path


def follow(
    moves: Sequence[Move],
    spots: Mapping[RelPath, Spot],
    *,
    rules: Rules,
    is_seen: Callable[[RelPath], bool],
    in_scope: Callable[[RelPath], bool],
) -> Followed:
    """Say for each move what is to be done here.

    Args:
        moves: each path once as the old one, once as the new one at most.
        spots: of all paths in the moves.
        rules: what the user asked for. A run that only goes up renames nothing; but what was
            edited here is not sent to where the file was, as that would make its container anew.
        is_seen: False where either side could not be seen.
        in_scope: False takes a path out of the run.
    """
    if not moves:
        return Followed()
    return _Following(spots, rules, is_seen, in_scope).of(moves)


def moved_folders(moves: Sequence[Move], spots: Mapping[RelPath, Spot]) -> dict[str, str]:
    """Where the folders of containers are now, by the paths that they had.

    Args:
        moves: of files.
        spots: of all paths in the moves.
    """
    found: dict[str, str] = {}
    for move in moves:
        base, remote = spots[move.old].base, spots[move.new].remote
        (old, _, name), (new, _, new_name) = move.old.rpartition("/"), move.new.rpartition("/")
        if base is None or remote is None or base.container_id != remote.container.id:
            continue
        if name == new_name and old:
            found[old] = new
    return found


def folders_above(moved: Mapping[str, str]) -> dict[str, str]:
    """The folders above such, as far as they have moved with what is in them: now, by old paths.

    Args:
        moved: as :func:`moved_folders` gives them.
    """
    found: dict[str, str] = {}
    for old, new in moved.items():
        (above, _, name), (new_above, _, new_name) = old.rpartition("/"), new.rpartition("/")
        while name == new_name and above and new_above and above not in found:
            found[above] = new_above
            above, _, name = above.rpartition("/")
            new_above, _, new_name = new_above.rpartition("/")
    return found


def moved_on_both(renames: Iterable[Decision]) -> dict[str, str]:
    """Where folders that got another name on both sides belong, by the paths that they have here.

    Only those of which all that moved goes to one other folder.

    Args:
        renames: of one run, here and on the server.
    """
    found: dict[str, set[str]] = {}
    for one in renames:
        was, agreed = one.local and one.local.path, one.base and one.base.path
        if one.verb is Verb.RENAME and was and was not in (one.path, agreed) and "/" in was:
            found.setdefault(was.rpartition("/")[0], set()).add(one.path.rpartition("/")[0])
    return {folder: to.pop() for folder, to in found.items() if len(to) == 1}


class _Following:
    def __init__(
        self,
        spots: Mapping[RelPath, Spot],
        rules: Rules,
        is_seen: Callable[[RelPath], bool],
        in_scope: Callable[[RelPath], bool],
    ) -> None:
        self._spots = spots
        self._rules = rules
        self._is_seen = is_seen
        self._in_scope = in_scope
        #: Places that a file leaves for its new one, as far as is known.
        self._leaving: set[RelPath] = set()
        self._came_from: dict[RelPath, RelPath] = {}

    def of(self, moves: Sequence[Move]) -> Followed:
        way_of = self._way_up if self._rules.mode is Mode.UP else self._way
        ways, leaving = self._ways(moves, way_of)
        left = leaving | {
            move.old
            for move, way in ways.items()
            if way is _Way.IN_PLACE and self._spots[move.old].local is None
        }
        decisions: list[Decision] = []
        settled: set[RelPath] = set()
        for move, way in ways.items():
            if way is _Way.PATHS:
                continue
            settled.add(move.old)
            if way is not _Way.REPORT or self._spots[move.new].local is None:
                settled.add(move.new)
            decisions += self._decisions(move, way, leaving)
        # What comes to a place that a file has left finds it empty.
        arriving = {move.new for move, way in ways.items() if way is not _Way.PATHS}
        for old in sorted(left - arriving):
            spot = self._spots[old]
            if spot.remote is not None:
                fetched = judge(old, None, spot.remote, None, self._rules)
                decisions += [fetched] if fetched.verb is not Verb.NOTHING else []
        return Followed(tuple(decisions), frozenset(settled))

    def _ways(
        self, moves: Sequence[Move], way_of: Callable[[Move], _Way]
    ) -> tuple[dict[Move, _Way], set[RelPath]]:
        """The way of each move, and the places that files leave.

        Files that wait for each other's places are all taken to leave at first; then, as often
        as one of them turns out to stay, the others are looked at again.
        """
        self._leaving = {move.old for move in moves}
        self._came_from = {move.new: move.old for move in moves}
        while True:
            ways = {move: way_of(move) for move in moves}
            goes = {move.old for move, way in ways.items() if way in (_Way.RENAME, _Way.ALONG)}
            if self._leaving <= goes:
                return ways, goes
            self._leaving &= goes

    def _way(self, move: Move) -> _Way:
        old, new = self._spots[move.old], self._spots[move.new]
        if not self._in_scope(move.old) or old.base is None or new.remote is None:
            return _Way.PATHS
        if not (self._is_seen(move.old) and self._is_seen(move.new)):
            return _Way.LEAVE
        if not self._in_scope(move.new):
            # It has left the scope, and was not deleted.
            return _Way.REPORT if old.remote is None and old.local is not None else _Way.PATHS
        if old.local is not None and local_delta(old.local, old.base) is Delta.SAME:
            can_go = move.new in self._leaving or _can_be_had(new, old.local)
            return _Way.RENAME if can_go else _Way.PATHS
        if _is_in_place(old, new):
            return _Way.IN_PLACE
        if old.local is None:
            if new.local is not None:
                is_free = new.base is None and old.remote is None
                return _Way.JUDGE if is_free else _Way.PATHS
            is_held = old.base.held == "local" and self._rules.mode is Mode.BOTH
            return _Way.ROW if is_held and new.base is None else _Way.PATHS
        return self._way_of_edit(move)

    def _way_of_edit(self, move: Move) -> _Way:
        if self._goes_along(move):
            return _Way.ALONG
        return _Way.REPORT if _is_left(self._spots[move.old]) else _Way.PATHS

    def _goes_along(self, move: Move) -> bool:
        here, there = self._spots[move.old].local, self._spots[move.new].local
        is_pack = here is not None and here.pack is not None
        is_free = there is None or move.new in self._leaving
        is_edit = not self._belongs_there(move.old)
        return self._rules.mode is Mode.BOTH and not is_pack and is_free and is_edit

    def _belongs_there(self, path: RelPath) -> bool:
        """Has a place what the server has there now, as half a change of places leaves it?"""
        spot, came_from = self._spots[path], self._came_from.get(path)
        if came_from is not None and _is_in_place(self._spots[came_from], spot):
            return True
        here, there = spot.local, spot.remote
        if here is None or there is None or here.digest is None:
            return False
        return here.digest == there.digest

    def _way_up(self, move: Move) -> _Way:
        """Nothing is renamed; but an edit is not sent to where the file is no more.

        It is where it has been moved along: what was agreed on is known of its old path.
        """
        old, new = self._spots[move.old], self._spots[move.new]
        if not self._in_scope(move.old) or old.base is None or new.remote is None:
            return _Way.PATHS
        if not (self._is_seen(move.old) and self._is_seen(move.new)):
            return _Way.PATHS
        if old.local is None:
            is_edit = new.local is not None and local_delta(new.local, old.base) is not Delta.SAME
            is_free = new.base is None and old.remote is None and self._in_scope(move.new)
            return _Way.JUDGE if is_edit and is_free and not _is_in_place(old, new) else _Way.PATHS
        is_edited = local_delta(old.local, old.base) is not Delta.SAME
        return _Way.REPORT if is_edited and _is_left(old) else _Way.PATHS

    def _decisions(self, move: Move, way: _Way, leaving: set[RelPath]) -> Iterator[Decision]:
        old, new = self._spots[move.old], self._spots[move.new]
        base, remote = old.base, new.remote
        assert base is not None, f"{move.old}: followed, but never agreed on"
        assert remote is not None, f"{move.new}: followed, but not there"
        happened = f"moved on the server, from {move.old!r}"
        match way:
            case _Way.RENAME:
                assert old.local is not None, f"{move.old}: nothing to rename"
                in_way = new.local if move.new not in leaving else None
                if in_way is not None and _are_one(in_way, old.local):
                    in_way = None
                yield Decision(
                    Verb.RENAME, move.new, old.local, remote, base, happened, replaces=in_way
                )
                yield from self._fetched(move.new, old.local, remote, base)
            case _Way.ALONG:
                yield Decision(Verb.RENAME, move.new, old.local, remote, base, happened)
                yield from self._edited(move, old, new)
            case _Way.IN_PLACE:
                yield Decision(Verb.RENAME, move.new, new.local, remote, base, happened)
                assert new.local is not None, f"{move.new}: nothing is in place"
                if local_delta(new.local, base) is Delta.SAME:
                    yield from self._fetched(move.new, new.local, remote, base)
            case _Way.ROW:
                yield Decision(Verb.RENAME, move.new, None, remote, base, happened)
                decision = judge(move.new, None, remote, replace(base, path=move.new), self._rules)
                if decision.verb in (Verb.DELETE_REMOTE, Verb.DOWNLOAD):
                    yield decision
            case _Way.JUDGE:
                yield from self._judged(move, old, new)
            case _Way.REPORT if not self._in_scope(move.new):
                reason = f"is {move.new!r} on the server now, which takes no part; it is left here"
                yield Decision(Verb.REPORT, move.old, old.local, None, base, reason)
            case _Way.REPORT:
                reason = (
                    f"changed here, and {move.new!r} on the server now; it is left as it is until "
                    "it is moved there"
                )
                yield Decision(Verb.REPORT, move.old, old.local, None, base, reason)
            case _:
                pass

    def _fetched(
        self, path: RelPath, local: LocalEntry, remote: RemoteEntry, base: BaseEntry
    ) -> Iterator[Decision]:
        """A file that was changed as well is fetched, once it has its new name."""
        if remote_delta(remote, base) is Delta.SAME:
            return
        here, agreed = replace(local, path=path), replace(base, path=path, held="")
        decision = judge(path, here, remote, agreed, self._rules)
        if decision.verb is Verb.DOWNLOAD:
            yield decision

    def _edited(self, move: Move, old: Spot, new: Spot) -> Iterator[Decision]:
        """What is to be done about an edit once it has the path that its file has there."""
        assert old.local is not None, f"{move.old}: nothing was edited"
        assert old.base is not None, f"{move.old}: never agreed on"
        here, agreed = replace(old.local, path=move.new), replace(old.base, path=move.new, held="")
        decision = judge(move.new, here, new.remote, agreed, self._rules)
        # Equal bytes are agreed on by the rename.
        if decision.verb not in (Verb.NOTHING, Verb.ADOPT):
            yield decision

    def _judged(self, move: Move, old: Spot, new: Spot) -> Iterator[Decision]:
        """A file that was moved here, too, and edited: an edit at its new path."""
        assert old.base is not None, f"{move.old}: never agreed on"
        agreed = replace(old.base, path=move.new, held="")
        decision = judge(move.new, new.local, new.remote, agreed, self._rules)
        if decision.verb is Verb.NOTHING:
            return
        yield decision
        if decision.verb is not Verb.REPORT:
            yield Decision(Verb.FORGET, move.old, None, None, old.base, "moved on both sides")


def _is_left(old: Spot) -> bool:
    """Is nothing there on the server any more that would be another file, and a conflict?

    Without a word on the move, what was edited here would be sent there: to a container made
    anew, or to one that has taken the label.
    """
    return old.remote is None or remote_delta(old.remote, old.base) is Delta.SAME


def _can_be_had(new: Spot, coming: LocalEntry) -> bool:
    """Is nothing at the new place, or what was agreed on there?"""
    here = new.local
    if here is None or _are_one(here, coming):
        return True
    return new.base is not None and local_delta(here, new.base) is Delta.SAME


def _are_one(one: LocalEntry, other: LocalEntry) -> bool:
    """Two names of one file, as a kill between the two steps of a rename leaves them."""
    first, second = one.stamp, other.stamp
    if one.pack is not None or other.pack is not None:
        return False
    return (first.device, first.inode) == (second.device, second.inode)


def _is_in_place(old: Spot, new: Spot) -> bool:
    """Does the new place hold what was agreed on at the old one, or what the server has now?"""
    here, base, remote = new.local, old.base, new.remote
    if here is None or base is None or remote is None:
        return False
    if new.base is not None and local_delta(here, new.base) is Delta.SAME:
        return False  # it is what belonged there before
    is_old = local_delta(here, base) is Delta.SAME
    return is_old or (here.digest is not None and here.digest == remote.digest)


# ------------------------------------------------------------------------------ their order


def in_order(renames: Sequence[tuple[str, str]]) -> Iterator[tuple[int, bool]]:
    """An order in which each new name is free when its turn comes.

    A name is taken by a file that still has it, by one that is where a folder must be, and as
    long as it is a folder that files have not left. Where files wait for each other, one of
    them is put aside.

    Args:
        renames: old and new path of each, as they are on disk; each path once as either.

    Yields:
        Which one, and whether it is only put aside for now; it comes again then.
    """
    taken = _Taken(old for old, _ in renames)
    waiting = dict(enumerate(renames))
    aside: set[int] = set()
    while waiting:
        before = len(waiting)
        for number, (old, new) in list(waiting.items()):
            if taken.is_free(new):
                yield number, False
                del waiting[number]
                if number not in aside:
                    taken.leave(old)
        if len(waiting) == before:
            # Some name that others wait for is still taken: free it.
            number, (old, _) = next(one for one in waiting.items() if one[0] not in aside)
            yield number, True
            aside.add(number)
            taken.leave(old)


class _Taken:
    """Paths that files still have, and the folders that they lie in."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: set[str] = set()
        self._folders: Counter[str] = Counter()
        for path in paths:
            self._files.add(path)
            self._folders.update(folders_of(path))

    def leave(self, path: str) -> None:
        self._files.remove(path)
        self._folders.subtract(folders_of(path))

    def is_free(self, path: str) -> bool:
        if path in self._files or self._folders[path] > 0:
            return False
        return not any(folder in self._files for folder in folders_of(path))


def folders_of(path: str) -> Iterator[str]:
    """The folders that a path lies in, the deepest first."""
    while path := path.rpartition("/")[0]:
        yield path
