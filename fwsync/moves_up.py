"""Files that have another path here than they had: on the server, they are renamed.

The one rule: only equal content is a move. A file is taken for the one that is gone when its
bytes are what was agreed on; its inode, its name and its folder only say which of several equal
ones it is. With its whole folder a file that was edited moves as well: see
:mod:`fwsync.edits_along`. Where the server's side has changed, or the new place is taken, the
tables of :mod:`fwsync.reconcile` decide, path by path.

Nothing here acts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fwsync.destinations import Known, assigned, choices
from fwsync.digest import LocalTag
from fwsync.model import (
    Decision,
    Delta,
    LocalEntry,
    Mode,
    RelPath,
    Verb,
)
from fwsync.moves import Followed, Move, Spot
from fwsync.reconcile import Rules, judge, remote_delta


@dataclass(frozen=True, slots=True)
class Gone:
    """An agreed file that is not at its path any more."""

    path: RelPath
    etag: LocalTag  #: of the bytes that were agreed on
    inode: tuple[int, int] | None = None  #: device and inode that it had; None: not known


def pair(gone: Iterable[Gone], come: Iterable[LocalEntry]) -> list[Move]:
    """Which of the files that are gone has become which of those that have come.

    Each is taken once at most, and only for one of the same bytes. Of several, the one with the
    same inode, else the same name, else the same folder, else the first. A file without content
    is like any other such file: it is known by its inode or its name, or not at all.

    Args:
        gone: in any order, each path once.
        come: likewise; with their tags.

    Returns:
        The moves, by their old paths.
    """
    left: dict[LocalTag, dict[RelPath, Gone]] = defaultdict(dict)
    for one in sorted(gone, key=lambda one: one.path):
        left[one.etag][one.path] = one
    arrived = {one.path: one for one in sorted(come, key=lambda one: one.path)}
    moves: list[Move] = []
    for is_like, is_enough in _LIKENESSES:
        moves += _alike(left, arrived, is_like, for_empty=is_enough)
    return sorted(moves, key=lambda one: one.old)


def _inode_of_gone(one: Gone) -> object:
    return one.inode


def _inode_of(one: LocalEntry) -> object:
    return None if one.pack is not None else (one.stamp.device, one.stamp.inode)


def _name_of(one: Gone | LocalEntry) -> object:
    return one.path.rpartition("/")[2]


def _folder_of(one: Gone | LocalEntry) -> object:
    return one.path.rpartition("/")[0]


def _any(_one: Gone | LocalEntry) -> object:
    return ""


_Likeness = tuple[Callable[[Gone], object], Callable[[LocalEntry], object]]

#: What tells equal files apart, the surest first; and if it will do for those without content.
_LIKENESSES: Sequence[tuple[_Likeness, bool]] = (
    ((_inode_of_gone, _inode_of), True),
    ((_name_of, _name_of), True),
    ((_folder_of, _folder_of), False),
    ((_any, _any), False),
)


def _alike(
    left: Mapping[LocalTag, dict[RelPath, Gone]],
    arrived: dict[RelPath, LocalEntry],
    likeness: _Likeness,
    *,
    for_empty: bool,
) -> Iterator[Move]:
    """The moves that one likeness tells; takes those files out of both."""
    of_gone, of_come = likeness
    waiting: dict[tuple[LocalTag, object], list[RelPath]] = defaultdict(list)
    for etag, files in left.items():
        for one in reversed(files.values()):
            waiting[etag, of_gone(one)].append(one.path)
    for path, entry in list(arrived.items()):
        mark = of_come(entry)
        if entry.etag is None or mark is None or (not entry.size and not for_empty):
            continue
        paths = waiting.get((entry.etag, mark))
        if paths:
            old = paths.pop()
            del left[entry.etag][old], arrived[path]
            yield Move(old, path)


def carried_up(
    gone: Sequence[Gone],
    come: Sequence[RelPath],
    known: Known,
    *,
    rules: Rules,
    is_seen: Callable[[RelPath], bool],
    in_scope: Callable[[RelPath], bool],
    elsewhere: Mapping[RelPath, RelPath],
    blocked: Callable[[RelPath], bool],
    begun: Mapping[str, str],
    look: Callable[[Collection[RelPath]], Known],
) -> Followed:
    """Say for each file that moved here what is to be done on the server.

    Args:
        gone: agreed files that are not where they were.
        come: paths of files that were not agreed on there, or have other bytes than were.
        known: of all these paths.
        rules: what the user asked for. A run that only goes down renames nothing there.
        is_seen: False where either side could not be seen.
        in_scope: False takes a path out of the run.
        elsewhere: agreed files that have another path on the server now, by the old one.
        blocked: True for a new path that cannot be had for another reason.
        begun: files that a run has begun to move on the server and has not ended, by their ids
            there: where they were to go.
        look: gives what is known of other paths, as of those that neither side has.
    """
    spots = known.spots

    def may_get(path: RelPath) -> bool:
        return is_seen(path) and in_scope(path) and not blocked(path)

    usable = [one for one in gone if is_seen(one.path) and in_scope(one.path)]
    usable = [one for one in usable if _may_follow(one.path, spots, elsewhere)]
    arrived = [entry for path in come if (entry := spots[path].local) is not None and may_get(path)]
    moves = pair(usable, arrived)
    ways = {move: choices(move, spots, elsewhere.get(move.old), rules, begun) for move in moves}
    others = {path for paths in ways.values() for path in paths} | set(elsewhere.values())
    known = _together(known, look(others) if others else Known({}))
    for move in moves:
        own = (move.new, elsewhere.get(move.old))
        ways[move] = [one for one in ways[move] if one in own or may_get(one)]
    finals = assigned(ways, known, elsewhere)
    decisions: list[Decision] = []
    settled: set[RelPath] = set()
    for move in moves:
        there = elsewhere.get(move.old)
        if move in finals:
            found = list(_decisions(move, known.spots, there, finals[move], rules))
        elif rules.mode is Mode.UP and there is not None and not ways[move]:
            found = [_left_there(move, spots, there)]
        else:
            continue
        decisions += found
        settled |= {move.old, move.new, there or move.old}
    return Followed(tuple(decisions), frozenset(settled))


def _together(one: Known, more: Known) -> Known:
    return Known(
        {**more.spots, **one.spots}, {**more.in_way, **one.in_way}, one.leaving | more.leaving
    )


def _left_there(move: Move, spots: Mapping[RelPath, Spot], there: RelPath) -> Decision:
    """A run that only goes up leaves what is here as it is."""
    reason = f"moved here, and {there!r} on the server now; it is left as it is"
    spot, base = spots[move.new], spots[move.old].base
    return Decision(Verb.REPORT, move.new, spot.local, None, base, reason)


def _may_follow(
    path: RelPath, spots: Mapping[RelPath, Spot], elsewhere: Mapping[RelPath, RelPath]
) -> bool:
    """Has the server the file as it was agreed on, or no file that could be another one?"""
    spot = spots[path]
    if spot.base is None or spot.base.held == "local":
        return False
    if path in elsewhere:
        return spots[elsewhere[path]].remote is not None
    if spot.remote is None:  # it was deleted there: it is not sent again for having moved here
        return spot.local is None
    return remote_delta(spot.remote, spot.base) is Delta.SAME


def _decisions(
    move: Move,
    spots: Mapping[RelPath, Spot],
    there: RelPath | None,
    to: RelPath,
    rules: Rules,
) -> Iterator[Decision]:
    now = move.old if there is None else there
    base, local, remote = spots[move.old].base, spots[move.new].local, spots[now].remote
    assert base is not None, f"{move.old}: moved here, but never agreed on"
    assert local is not None, f"{move.new}: moved here, but not there"
    happened = f"moved here, from {move.old!r}"
    if there is not None:
        happened = f"moved here, to {move.new!r}, and on the server, to {there!r}"
    if remote is None:
        happened = f"{happened}; was deleted on the server"
        yield Decision(Verb.RENAME_REMOTE, to, local, None, base, happened)
        decision = judge(to, local, None, replace(base, path=to), rules)
        if decision.verb is Verb.DELETE_LOCAL:
            yield decision
    elif to == now:
        yield Decision(Verb.RENAME, to, local, remote, base, happened)
        if remote_delta(remote, base) is not Delta.SAME:
            agreed = replace(base, path=to, held="")
            decision = judge(to, replace(local, path=to), remote, agreed, rules)
            if decision.verb is Verb.DOWNLOAD:
                yield decision
    else:
        # Here first, where nothing is agreed on yet. A run that ends in between leaves a file
        # that moved here, to a path that the server is to have.
        if to != move.new:
            yield Decision(Verb.RENAME, to, local, reason=happened)
        yield Decision(Verb.RENAME_REMOTE, to, replace(local, path=to), remote, base, happened)


# -------------------------------------------------------------------------- whole folders


def folders_moved(move: Move) -> Iterator[tuple[str, str]]:
    """The folders of a file, the highest first, and where each is now; empty: nowhere."""
    olds, news = move.old.split("/")[:-1], move.new.split("/")[:-1]
    for depth in range(1, len(olds) + 1):
        yield "/".join(olds[:depth]), "/".join(news[:depth]) if depth <= len(news) else ""


@dataclass(frozen=True, slots=True)
class Folded:
    """Folders of which all that was agreed on went to one other folder, by their old paths."""

    folders: Mapping[str, str]

    def depths(self) -> Iterator[list[str]]:
        """The folders, those of one depth together, the highest first."""
        by_depth: dict[int, list[str]] = defaultdict(list)
        for folder in sorted(self.folders):
            by_depth[folder.count("/")].append(folder)
        for depth in sorted(by_depth):
            yield by_depth[depth]


def folded(moves: Sequence[Move], agreed_below: Callable[[str], int]) -> Folded:
    """The folders that moved as a whole, one name below the other.

    Where ``a/b/x`` became ``c/d/x``, that may be ``a`` becoming ``c`` and ``a/b`` becoming
    ``c/d``. Where two became one, neither has.

    Args:
        moves: of files.
        agreed_below: how many files would have to move with a folder: those that were agreed on
            below it, without those that are known to be deleted here, and what else is there.
    """
    counts: Counter[str] = Counter()
    targets: dict[str, set[str]] = defaultdict(set)
    for move in moves:
        for folder, target in folders_moved(move):
            counts[folder] += 1
            targets[folder].add(target)
    found = {
        folder: next(iter(news))
        for folder, news in targets.items()
        if len(news) == 1 and "" not in news and counts[folder] == agreed_below(folder)
    }
    taken = Counter(found.values())
    return Folded({old: new for old, new in found.items() if taken[new] == 1})


def now_at(path: str, moved: Mapping[str, str]) -> str:
    """Where a path is when some folders have moved: by the deepest of those above it.

    Args:
        path: as it was before.
        moved: where folders are, by what they were called before.
    """
    above = path
    while above := above.rpartition("/")[0]:
        if above in moved:
            return moved[above] + path[len(above) :]
    return path
