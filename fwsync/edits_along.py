"""Files that were edited in a folder that got another name here: they go along on the server.

The one rule: by its bytes such a file is no move, as it is gone at one path and new at another.
Where all that was agreed on in its folder, or in one above that, has gone to one other, and a file
of its name is new there, it is the same one with an edit, which is sent as a new version of it. By
paths it would be sent as another file, and its old bytes would be there beside it.

Nothing here acts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fwsync.destinations import merged
from fwsync.model import BaseEntry, Decision, Delta, LocalEntry, Mode, RelPath, RemoteEntry, Verb
from fwsync.moves import Followed, Move, Spot
from fwsync.moves_up import folded, folders_moved, now_at
from fwsync.reconcile import Rules, judge, remote_delta


@dataclass(frozen=True, slots=True)
class _Edit:
    """A file that is gone here as it was agreed on, and new elsewhere with other bytes."""

    base: BaseEntry
    remote: RemoteEntry  #: as the server has it: as it was agreed on, but maybe elsewhere
    local: LocalEntry

    @property
    def move(self) -> Move:
        return Move(self.base.path, self.local.path)

    @property
    def to(self) -> RelPath:
        """Where it belongs: each side's part of the path counts."""
        if self.remote.path == self.base.path:
            return self.local.path
        return RelPath(merged(self.base.path, self.local.path, self.remote.path))


def edited_along(
    decisions: Sequence[Decision],
    *,
    rules: Rules,
    agreed_below: Callable[[str], int],
    elsewhere: Mapping[RelPath, RelPath],
    may_get: Callable[[RelPath], bool],
    look: Callable[[Collection[RelPath]], Mapping[RelPath, Spot]],
) -> Followed:
    """What is to be done about such files.

    Args:
        decisions: of one run, with the renames on the server.
        rules: what the user asked for.
        agreed_below: as of :func:`fwsync.moves_up.folded`.
        elsewhere: agreed files that have another path on the server now, by the old one.
        may_get: False for a path that no file may get in this run.
        look: gives what is known of paths.
    """
    come = {one.path: one.local for one in decisions if _is_new_here(one) and one.local}
    gone = _gone(decisions, elsewhere, look) if come else {}
    if not gone:
        return Followed()
    moved = list(_moved_here(decisions))
    targets: dict[str, set[str]] = defaultdict(set)
    for move in moved:
        for folder, target in folders_moved(move):
            targets[folder].add(target)
    went = {one: next(iter(to)) if len(to) == 1 else one for one, to in targets.items()}
    edits = [
        _Edit(*gone[old], come[new]) for old in gone if (new := RelPath(now_at(old, went))) in come
    ]
    lost = _lost_below(decisions, gone, edits)

    def left_below(folder: str) -> int:
        return agreed_below(folder) - lost[folder]

    whole = folded([*moved, *(one.move for one in edits)], left_below).folders
    along = [one for one in edits if whole.get(_parent(one.base.path)) == _parent(one.local.path)]
    return _followed(_with_room(along, may_get, look), rules)


def _gone(
    decisions: Sequence[Decision],
    elsewhere: Mapping[RelPath, RelPath],
    look: Callable[[Collection[RelPath]], Mapping[RelPath, Spot]],
) -> dict[RelPath, tuple[BaseEntry, RemoteEntry]]:
    """Files that are gone here, and are on the server with the bytes that were agreed on."""
    found = {
        one.base.path: (one.base, one.remote)
        for one in decisions
        if one.base and one.remote and _is_gone_here(one)
    }
    forgotten = {one.base.path: one.base for one in decisions if one.base and _is_forgotten(one)}
    moved = {old: elsewhere[old] for old in forgotten if old in elsewhere}
    spots = look({*moved, *moved.values()}) if moved else {}
    for old, there in moved.items():
        base, remote = forgotten[old], spots[there].remote
        is_gone = spots[old].local is None and spots[there].local is None
        if is_gone and remote and remote_delta(remote, base) is Delta.SAME:
            found[old] = (base, remote)
    return found


def _is_gone_here(one: Decision) -> bool:
    """Gone here, and on the server as it was agreed on."""
    if one.verb not in (Verb.DELETE_REMOTE, Verb.HOLD) or one.local is not None:
        return False
    if one.base is None or one.remote is None or one.base.held == "local":
        return False
    return one.remote.path == one.base.path and remote_delta(one.remote, one.base) is Delta.SAME


def _is_forgotten(one: Decision) -> bool:
    return one.verb is Verb.FORGET and one.local is None


def _is_new_here(one: Decision) -> bool:
    is_new = one.verb is Verb.UPLOAD and one.base is None and one.remote is None
    return is_new and one.local is not None and one.local.pack is None


def _moved_here(decisions: Sequence[Decision]) -> Iterator[Move]:
    """Which agreed files have moved here: to where they lie now, and not to where they belong."""
    came = {
        one.path: one.local.path
        for one in decisions
        if one.verb is Verb.RENAME and one.base is None and one.local
    }
    for one in decisions:
        if one.base is None or one.verb not in (Verb.RENAME, Verb.RENAME_REMOTE, Verb.REPORT):
            continue
        if one.verb is Verb.RENAME_REMOTE:
            lies = came.get(one.path, one.path)
        else:
            lies = one.local.path if one.local else one.base.path
        if lies != one.base.path:
            yield Move(one.base.path, lies)


def _lost_below(
    decisions: Sequence[Decision], gone: Collection[RelPath], edits: Iterable[_Edit]
) -> Counter[str]:
    """How many of the agreed files below each folder have gone, and are not elsewhere here."""
    forgotten = {one.base.path for one in decisions if one.base and one.verb is Verb.FORGET}
    lost: Counter[str] = Counter()
    for path in forgotten.union(gone).difference(one.base.path for one in edits):
        parts = path.split("/")
        lost.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return lost


def _with_room(
    edits: Sequence[_Edit],
    may_get: Callable[[RelPath], bool],
    look: Callable[[Collection[RelPath]], Mapping[RelPath, Spot]],
) -> list[_Edit]:
    """Those whose place nothing else has, on either side, and that may get it."""
    times = Counter(one.to for one in edits)
    wanted = {one.to for one in edits if one.to != one.local.path}
    spots = look(wanted) if wanted else {}
    kept = []
    for one in edits:
        spot = spots.get(one.to, Spot())
        is_own = spot.remote is None or spot.remote.path == one.remote.path
        is_free = spot.local is None and spot.base is None and is_own
        if one.to not in wanted or (is_free and times[one.to] == 1 and may_get(one.to)):
            kept.append(one)
    return kept


def _followed(edits: Iterable[_Edit], rules: Rules) -> Followed:
    found: list[Decision] = []
    settled: set[RelPath] = set()
    for one in edits:
        found += _decisions(one, rules)
        settled |= {one.base.path, one.local.path, one.remote.path}
    return Followed(tuple(found), frozenset(settled))


def _decisions(edit: _Edit, rules: Rules) -> Iterator[Decision]:
    """Its path first, and then the edit as one at that path.

    A run that only goes up renames nothing here, and leaves what would need it.
    """
    base, remote, to = edit.base, edit.remote, edit.to
    local = replace(edit.local, path=to)
    happened = f"its folder moved here, from {base.path!r}"
    if remote.path != base.path:
        happened = f"its folder moved here, to {edit.local.path!r}, and on the server, to "
        happened += repr(remote.path)
    if rules.mode is Mode.UP and to != edit.local.path:
        reason = f"moved here, and {remote.path!r} on the server now; it is left as it is"
        yield Decision(Verb.REPORT, edit.local.path, edit.local, None, None, reason)
        return
    if to == remote.path:
        yield Decision(Verb.RENAME, to, edit.local, remote, base, happened)
    else:
        if to != edit.local.path:
            yield Decision(Verb.RENAME, to, edit.local, reason=happened)
        yield Decision(Verb.RENAME_REMOTE, to, local, remote, base, happened)
    agreed, there = replace(base, path=to, held=""), replace(remote, path=to)
    decision = judge(to, local, there, agreed, rules)
    if decision.verb is not Verb.NOTHING:
        yield decision


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
