"""Files that a run of ours has begun to move on the server, and that are back here where they were.

The one rule: what the server has elsewhere because a run of ours ended half-way is nobody's wish
there. Where a person has taken the renames back here, the server's files go back as well; without
this, they would read as moved there, and those here would follow.

Nothing here acts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from fwsync.model import BaseEntry, Decision, Delta, LocalEntry, RelPath, Verb
from fwsync.moves import Followed, Move, Spot
from fwsync.moves_up import now_at
from fwsync.reconcile import Rules, judge, local_delta


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run of ours has begun to move on the server, and has not said that it has moved."""

    #: Files that move with their folders first and then by themselves, or go round with others:
    #: where they were to go, by their ids. They may be anywhere on their way.
    in_two: Mapping[str, str]
    folders: Mapping[str, str]  #: where they were to go, by their old paths
    files: Mapping[str, str]  #: the same of files that move by themselves, by their ids


def begun_moves(
    moves: Sequence[Move], spots: Mapping[RelPath, Spot], begun: Begun
) -> dict[Move, RelPath]:
    """Those of the moves on the server that a run of ours has begun: where they were to go.

    Args:
        moves: agreed files that have another path on the server now.
        spots: of all paths in the moves.
        begun: by the last run.
    """
    found = {}
    for move in moves:
        remote = spots[move.new].remote
        if spots[move.old].base is None or remote is None:
            continue
        to = begun.in_two.get(remote.file_id)
        if to is not None:
            found[move] = RelPath(to)
        elif move.new in (begun.files.get(remote.file_id), now_at(move.old, begun.folders)):
            found[move] = move.new
    return found


def turned_back(
    moves: Mapping[Move, RelPath],
    spots: Mapping[RelPath, Spot],
    *,
    gone: Collection[RelPath],
    rules: Rules,
    is_seen: Callable[[RelPath], bool],
    in_scope: Callable[[RelPath], bool],
) -> Followed:
    """What is to be done about those that are back here.

    A file that was edited since, or that has the bytes of another, goes with the others.

    Args:
        moves: as :func:`begun_moves` gives them.
        spots: of all paths in them.
        gone: agreed files that are not where they were here, and may be elsewhere.
        rules: what the user asked for.
        is_seen: False where either side could not be seen.
        in_scope: False takes a path out of the run.
    """
    back, wanted = set(), set()
    for move, to in moves.items():
        base = spots[move.old].base
        is_back, is_there = _has(spots[move.old], base), to != move.old and _has(spots[to], base)
        if is_back and not is_there:
            back.add(move)
        if is_there and not is_back:
            wanted.add(move)
    if back and not wanted:
        back = {move for move in moves if spots[move.old].local is not None}
    usable = [
        move for move in back if all(is_seen(one) and in_scope(one) for one in (move.old, move.new))
    ]
    on = {
        move.new
        for move in moves
        if move.old in gone and not _has(spots[move.new], spots[move.old].base)
    }
    return _followed(_with_room(usable, spots, on), spots, rules)


def _has(spot: Spot, base: BaseEntry | None) -> bool:
    """Is here, at this place, what was agreed on?"""
    return spot.local is not None and local_delta(spot.local, base) is Delta.SAME


def _with_room(
    moves: Iterable[Move], spots: Mapping[RelPath, Spot], on: Set[RelPath]
) -> list[Move]:
    """Those whose old place on the server nothing has, or only what leaves it, or goes `on`."""
    kept = set(moves)
    while True:
        leaving = on | {move.new for move in kept}
        stuck = {one for one in kept if spots[one.old].remote and one.old not in leaving}
        if not stuck:
            return sorted(kept, key=lambda move: move.old)
        kept -= stuck


def _followed(moves: Collection[Move], spots: Mapping[RelPath, Spot], rules: Rules) -> Followed:
    found: list[Decision] = []
    homes = {move.old for move in moves}
    for move in moves:
        local = spots[move.old].local
        assert local is not None, f"{move.old}: back, but not here"
        found += _decisions(move, local, spots, rules)
        new = spots[move.new]
        if move.new not in homes and new.local is not None and new.base is None:
            found.append(judge(move.new, new.local, None, None, rules))  # its place is free then
    return Followed(tuple(found), frozenset(homes | {move.new for move in moves}))


def _decisions(
    move: Move, local: LocalEntry, spots: Mapping[RelPath, Spot], rules: Rules
) -> Iterator[Decision]:
    """Its path on the server first, and then what was edited on either side."""
    base, remote = spots[move.old].base, spots[move.new].remote
    assert base is not None, f"{move.old}: back, but never agreed on"
    assert remote is not None, f"{move.new}: back, but not there"
    happened = f"is here as it was, and half-way to another path on the server, at {move.new!r}"
    yield Decision(Verb.RENAME_REMOTE, move.old, local, remote, base, happened)
    decision = judge(move.old, local, replace(remote, path=move.old), base, rules)
    if decision.verb is not Verb.NOTHING:
        yield decision
