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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some paths."""

    spots: Mapping[RelPath, Spot]
    #: Of those that a file is to get, the server's files that are where a folder must be, or the
    #: other way round; they must move as well.
    in_way: Mapping[RelPath, Collection[RelPath]] = field(default_factory=dict)
    #: Agreed files that are here where they were, and go back there on the server in the same run.
    leaving: Set[RelPath] = frozenset()


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
    usable = [one for one in gone if is_seen(one.path) and in_scope(one.path)]
    usable = [one for one in usable if _may_follow(one.path, spots, elsewhere)]
    arrived = [
        entry
        for path in come
        if (entry := spots[path].local) is not None
        and is_seen(path)
        and in_scope(path)
        and not blocked(path)
    ]
    moves = _possible(pair(usable, arrived), spots, elsewhere, known.in_way, known.leaving)
    wanted = {} if rules.mode is Mode.UP else _of_neither(moves, spots, elsewhere)
    wanted = {
        move: to for move, to in wanted.items() if is_seen(to) and in_scope(to) and not blocked(to)
    }
    both = _free(wanted, look(wanted.values()) if wanted else Known({}), elsewhere)
    left = {
        move.old
        for move in moves
        if move.old not in elsewhere and spots[move.old].remote is not None
    }
    decisions: list[Decision] = []
    settled: set[RelPath] = set()
    for move in moves:
        if move in both and not _half_way(move, spots, elsewhere[move.old], begun):
            found = list(_renamed_on_both(move, spots, elsewhere[move.old], both[move]))
        else:
            found = list(_decisions(move, spots, elsewhere.get(move.old), rules, begun, left))
        if found:
            decisions += found
            settled |= {move.old, move.new, elsewhere.get(move.old, move.old)}
    return Followed(tuple(decisions), frozenset(settled))


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


def _possible(
    moves: Sequence[Move],
    spots: Mapping[RelPath, Spot],
    elsewhere: Mapping[RelPath, RelPath],
    in_way: Mapping[RelPath, Collection[RelPath]],
    others: Set[RelPath],
) -> list[Move]:
    """Without those whose new place is not left by another, or whose old one is in use again.

    A file that was put in another's place is an edit of that one, unless the other has moved.
    What `others` have on the server leaves, too.
    """
    #: What was agreed on at which path is where on the server: by where it is.
    owner = {new: old for old, new in elsewhere.items()}
    kept = {move.new: move for move in moves}
    while True:
        leaving = {move.old for move in kept.values()}
        going = leaving | others
        bad = [
            new
            for new, move in kept.items()
            if (spots[new].base is not None and new not in leaving)
            or (spots[new].remote is not None and owner.get(new, new) not in going)
            or (spots[move.old].local is not None and move.old not in kept)
            or any(owner.get(one, one) not in going for one in in_way.get(new, ()))
        ]
        if not bad:
            return sorted(kept.values(), key=lambda move: move.old)
        for new in bad:
            del kept[new]


def _of_neither(
    moves: Sequence[Move],
    spots: Mapping[RelPath, Spot],
    elsewhere: Mapping[RelPath, RelPath],
) -> dict[Move, RelPath]:
    """The paths that neither side has: for files that have moved on both, each in its own way."""
    found = {}
    for move in moves:
        there = elsewhere.get(move.old, move.old)
        path = RelPath(merged(move.old, move.new, there))
        base, remote = spots[move.old].base, spots[there].remote
        is_same = remote is not None and remote_delta(remote, base) is Delta.SAME
        if is_same and path not in (move.new, there):
            found[move] = path
    return found


def _free(
    wanted: Mapping[Move, RelPath],
    known: Known,
    elsewhere: Mapping[RelPath, RelPath],
) -> dict[Move, RelPath]:
    """Those of such paths that nothing has, or only files that get such a path themselves."""
    kept, spots = dict(wanted), known.spots
    while True:
        here = {move.new for move in kept}
        there = {elsewhere[move.old] for move in kept}
        agreed = {move.old for move in kept}
        times = Counter(kept.values())
        bad = [
            move
            for move, to in kept.items()
            if times[to] > 1
            or (spots[to].local is not None and to not in here)
            or (spots[to].remote is not None and to not in there)
            or (spots[to].base is not None and to not in agreed)
            or not there.issuperset(known.in_way.get(to, ()))
        ]
        if not bad:
            return kept
        for move in bad:
            del kept[move]


def _is_free(spot: Spot) -> bool:
    return spot.base is None and spot.remote is None


def _decisions(
    move: Move,
    spots: Mapping[RelPath, Spot],
    there: RelPath | None,
    rules: Rules,
    begun: Mapping[str, str],
    left: Collection[RelPath],
) -> Iterator[Decision]:
    old, local = spots[move.old], spots[move.new].local
    base = old.base
    assert base is not None, f"{move.old}: moved here, but never agreed on"
    assert local is not None, f"{move.new}: moved here, but not there"
    happened = f"moved here, from {move.old!r}"
    if there is not None and (half_way := _half_way(move, spots, there, begun)):
        yield half_way
    elif there is not None:
        yield from _moved_on_both(move, spots, there, rules, left)
    elif old.remote is not None:
        yield Decision(Verb.RENAME_REMOTE, move.new, local, old.remote, base, happened)
    elif _is_free(spots[move.new]):
        happened = f"{happened}; was deleted on the server"
        yield Decision(Verb.RENAME_REMOTE, move.new, local, None, base, happened)
        decision = judge(move.new, local, None, replace(base, path=move.new), rules)
        if decision.verb is Verb.DELETE_LOCAL:
            yield decision


def _half_way(
    move: Move, spots: Mapping[RelPath, Spot], there: RelPath, begun: Mapping[str, str]
) -> Decision | None:
    """The rest of a move of our own: its folder has moved, and nobody else has moved the file."""
    base, local, remote = spots[move.old].base, spots[move.new].local, spots[there].remote
    if base is None or remote is None or there == move.new:
        return None
    # Where it was to go then is not asked for: it may have moved on here since.
    if remote.file_id not in begun or remote_delta(remote, base) is not Delta.SAME:
        return None
    happened = f"moved here, from {move.old!r}, and half-way on the server"
    return Decision(Verb.RENAME_REMOTE, move.new, local, remote, base, happened)


def _moved_on_both(
    move: Move,
    spots: Mapping[RelPath, Spot],
    there: RelPath,
    rules: Rules,
    left: Collection[RelPath],
) -> Iterator[Decision]:
    """Each side's part of the path counts; where both changed one part, the server's name does.

    So it does where a path that neither side has cannot be had. A run that only goes up leaves
    what is here as it is then. Paths that are `left` by other files of the same run can be had.
    """
    base, local, spot = spots[move.old].base, spots[move.new].local, spots[there]
    assert base is not None, f"{move.old}: moved here, but never agreed on"
    assert local is not None, f"{move.new}: moved here, but not there"
    assert spot.remote is not None, f"{there}: moved there, but not there"
    happened = f"moved here, to {move.new!r}, and on the server, to {there!r}"
    if there != move.new and merged(move.old, move.new, there) == move.new:
        is_free = _is_free(spots[move.new]) or move.new in left
        if is_free and remote_delta(spot.remote, base) is Delta.SAME:
            yield Decision(Verb.RENAME_REMOTE, move.new, local, spot.remote, base, happened)
        return
    if there != move.new and rules.mode is Mode.UP:
        reason = f"moved here, and {there!r} on the server now; it is left as it is"
        yield Decision(Verb.REPORT, move.new, local, None, base, reason)
        return
    if there != move.new and (spot.local is not None or spot.base is not None):
        return
    yield Decision(Verb.RENAME, there, local, spot.remote, base, happened)
    if remote_delta(spot.remote, base) is not Delta.SAME:
        agreed = replace(base, path=there, held="")
        decision = judge(there, replace(local, path=there), spot.remote, agreed, rules)
        if decision.verb is Verb.DOWNLOAD:
            yield decision


def _renamed_on_both(
    move: Move, spots: Mapping[RelPath, Spot], there: RelPath, to: RelPath
) -> Iterator[Decision]:
    """The file gets a path that neither side has: here first, where nothing is agreed on yet.

    A run that ends in between leaves a file that moved here, to a path that the server is to have.
    """
    base, local, remote = spots[move.old].base, spots[move.new].local, spots[there].remote
    assert local is not None, f"{move.new}: moved here, but not there"
    happened = f"moved here, to {move.new!r}, and on the server, to {there!r}"
    yield Decision(Verb.RENAME, to, local, reason=happened)
    yield Decision(Verb.RENAME_REMOTE, to, replace(local, path=to), remote, base, happened)


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
