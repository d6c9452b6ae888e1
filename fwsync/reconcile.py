"""What is to be done about each path: three trees, one table for each direction.

The one rule: a side is compared with *its own* tag in the base, never with the other
side, so the two need no hash in common to see a change. Content is compared only
where both sides moved, and then equal bytes are never a conflict.

Nothing here acts. A :class:`~fwsync.model.Decision` says what should happen and why, and
carries the entries it was made from, so that whoever acts can look again first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fwsync.digest import Digest
from fwsync.model import (
    BaseEntry,
    Choice,
    ConflictPolicy,
    Decision,
    Delta,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Unknown,
    Verb,
)

SAME, CHANGED, CREATED = Delta.SAME, Delta.CHANGED, Delta.CREATED
DELETED, ABSENT, UNKNOWN = Delta.DELETED, Delta.ABSENT, Delta.UNKNOWN

_EntryT = TypeVar("_EntryT", LocalEntry, RemoteEntry, BaseEntry)

#: (what local did, what remote did) -> verdict.
Table = dict[tuple[Delta, Delta], Verb]

# UNKNOWN on either side is NOTHING, and is checked before the tables. DELETE_* becomes
# HOLD where deletions are not let through. CONFLICT, like every verdict on two files,
# becomes ADOPT when both turn out to hold the same bytes.

#: Both directions. A mirror: swap the sides, and uploads and downloads swap.
TWO_WAY: Table = {
    (SAME, SAME): Verb.NOTHING,
    (SAME, CHANGED): Verb.DOWNLOAD,
    (SAME, DELETED): Verb.DELETE_LOCAL,
    (CHANGED, SAME): Verb.UPLOAD,
    (CHANGED, CHANGED): Verb.CONFLICT,
    (CHANGED, DELETED): Verb.UPLOAD,  # new content beats a deletion: nothing is lost
    (DELETED, SAME): Verb.DELETE_REMOTE,
    (DELETED, CHANGED): Verb.DOWNLOAD,
    (DELETED, DELETED): Verb.FORGET,
    (CREATED, ABSENT): Verb.UPLOAD,
    (ABSENT, CREATED): Verb.DOWNLOAD,
    (CREATED, CREATED): Verb.CONFLICT,
}

#: Push, and ``watch --mode up``: what the server does is left alone.
UP: Table = {
    (SAME, SAME): Verb.NOTHING,
    (SAME, CHANGED): Verb.NOTHING,
    # Not sent again: it may have been removed because consent was withdrawn.
    (SAME, DELETED): Verb.NOTHING,
    (CHANGED, SAME): Verb.UPLOAD,
    (CHANGED, CHANGED): Verb.CONFLICT,
    (CHANGED, DELETED): Verb.UPLOAD,  # other bytes than those that were removed
    (DELETED, SAME): Verb.DELETE_REMOTE,
    (DELETED, CHANGED): Verb.NOTHING,
    (DELETED, DELETED): Verb.FORGET,
    (CREATED, ABSENT): Verb.UPLOAD,
    (ABSENT, CREATED): Verb.NOTHING,
    (CREATED, CREATED): Verb.CONFLICT,
}

#: Pull, and ``watch --mode down``: the server's state comes down; a local edit is never
#: overwritten.
DOWN: Table = {
    (SAME, SAME): Verb.NOTHING,
    (SAME, CHANGED): Verb.DOWNLOAD,
    (SAME, DELETED): Verb.DELETE_LOCAL,
    (CHANGED, SAME): Verb.REPORT,
    (CHANGED, CHANGED): Verb.CONFLICT,
    (CHANGED, DELETED): Verb.REPORT,
    (DELETED, SAME): Verb.DOWNLOAD,  # a file deleted here comes again
    (DELETED, CHANGED): Verb.DOWNLOAD,
    (DELETED, DELETED): Verb.FORGET,
    (CREATED, ABSENT): Verb.NOTHING,
    (ABSENT, CREATED): Verb.DOWNLOAD,
    (CREATED, CREATED): Verb.CONFLICT,
}

TABLES: dict[Mode, Table] = {Mode.UP: UP, Mode.DOWN: DOWN, Mode.BOTH: TWO_WAY}

_HAPPENED: dict[tuple[Delta, Delta], str] = {
    (SAME, SAME): "the same as before",
    (SAME, CHANGED): "changed on the server",
    (SAME, DELETED): "deleted on the server",
    (CHANGED, SAME): "changed here",
    (CHANGED, CHANGED): "changed here and on the server",
    (CHANGED, DELETED): "changed here, deleted on the server",
    (DELETED, SAME): "deleted here",
    (DELETED, CHANGED): "deleted here, changed on the server",
    (DELETED, DELETED): "gone on both sides",
    (CREATED, ABSENT): "new here",
    (ABSENT, CREATED): "new on the server",
    (CREATED, CREATED): "new here and on the server",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user asked for."""

    mode: Mode = Mode.BOTH
    conflict: ConflictPolicy = ConflictPolicy.KEEP_BOTH
    delete_up: bool = False  #: a local deletion may delete on the server
    delete_down: bool = False  #: a deletion on the server may delete here


# ------------------------------------------------------------------------ one path


def judge(
    path: RelPath,
    local: LocalEntry | None,
    remote: RemoteEntry | None,
    base: BaseEntry | None,
    rules: Rules,
    choice: Choice | None = None,
) -> Decision:
    """The verdict on one path that both sides could see; may be NOTHING.

    At least one of the three is given. A choice that is of other files is none.
    """
    deltas = local_delta(local, base), remote_delta(remote, base)
    happened = _HAPPENED[deltas]
    verb = TABLES[rules.mode][deltas]

    if local is not None and remote is not None:
        if deltas == (SAME, SAME):
            # In step; but the row may be out of date, and is brought up to date quietly.
            if base is not None and _is_outdated(local, remote, base):
                verb, happened = Verb.ADOPT, "the same bytes as before"
        elif _hold_same_bytes(local, remote, base):
            verb, happened = Verb.ADOPT, f"{happened}, with the same bytes"

    if verb in {Verb.DELETE_LOCAL, Verb.DELETE_REMOTE}:
        verb, happened = _let_through(verb, happened, base, rules)
    elif verb is Verb.CONFLICT:
        is_chosen = choice is not None and choice.is_of(local, remote)
        if choice is not None and is_chosen:
            rules = replace(rules, conflict=choice.policy)
        verb, happened = _settle(happened, local, remote, base, rules, is_chosen=is_chosen)
        return Decision(
            verb, path, local, remote, base, happened, is_conflict=True, is_chosen=is_chosen
        )
    elif verb is Verb.REPORT:
        happened += "; a local edit is never overwritten"
    return Decision(verb, path, local, remote, base, happened)


def local_delta(local: LocalEntry | None, base: BaseEntry | None) -> Delta:
    """What the local side did since the base.

    A file whose content has not been read (no tag) counts as changed: only a tag or a
    digest proves that it is not.
    """
    if base is None:
        return ABSENT if local is None else CREATED
    if local is None:
        return DELETED
    if local.etag == base.local_etag or _is_equal(local.digest, base.digest):
        return SAME
    return CHANGED


def remote_delta(remote: RemoteEntry | None, base: BaseEntry | None) -> Delta:
    """What the server did since the base; a new version of the same bytes is no change."""
    if base is None:
        return ABSENT if remote is None else CREATED
    if remote is None:
        return DELETED
    if remote.etag == base.remote_etag or _is_equal(remote.digest, base.digest):
        return SAME
    return CHANGED


def held_side(decision: Decision) -> str:
    """What a HOLD writes to :attr:`BaseEntry.held`: the side that deleted."""
    return "local" if decision.local is None else "remote"


def _let_through(
    verb: Verb, happened: str, base: BaseEntry | None, rules: Rules
) -> tuple[Verb, str]:
    """A deletion, if deletions are let through that way; else remember it, once."""
    goes_up = verb is Verb.DELETE_REMOTE
    if rules.delete_up if goes_up else rules.delete_down:
        return verb, happened
    if base is not None and base.held == ("local" if goes_up else "remote"):
        return Verb.NOTHING, f"{happened}, and held"
    flag = "--delete-up" if goes_up else "--delete-down"
    return Verb.HOLD, f"{happened}; deletions are passed on only with {flag}"


def _settle(
    happened: str,
    local: LocalEntry | None,
    remote: RemoteEntry | None,
    base: BaseEntry | None,
    rules: Rules,
    *,
    is_chosen: bool,
) -> tuple[Verb, str]:
    """What a conflict becomes under the policy, as far as the direction allows it."""
    happened = f"{happened}, {_difference(local, remote, base)}"
    by = "as you have chosen" if is_chosen else f"--conflict {rules.conflict}"
    match rules.conflict, rules.mode:
        case (ConflictPolicy.LOCAL, Mode.UP | Mode.BOTH):
            return Verb.UPLOAD, f"{happened}; the local one wins ({by})"
        case (ConflictPolicy.REMOTE, Mode.DOWN | Mode.BOTH):
            return Verb.DOWNLOAD, f"{happened}; the server's wins ({by})"
        case (ConflictPolicy.LOCAL | ConflictPolicy.REMOTE, _):
            way = "up" if rules.mode is Mode.UP else "down"
            return Verb.REPORT, f"{happened}; left alone, as this run only goes {way}"
        case (ConflictPolicy.SKIP, _):
            return Verb.REPORT, f"{happened} ({by})"
        case _:
            return Verb.CONFLICT, happened


def keeps_both(decision: Decision, rules: Rules) -> bool:
    """Does a conflict end with the server's version in place, and a copy of ours beside it?

    Not where the run only goes up, or is to leave both as they are; and not of a pack, as a
    copy would be packed with it.
    """
    fails = rules.conflict is ConflictPolicy.FAIL and not decision.is_chosen
    as_it_is = rules.mode is Mode.UP or fails
    is_pack = decision.local is not None and decision.local.pack is not None
    return decision.verb is Verb.CONFLICT and not as_it_is and not is_pack


def _difference(
    local: LocalEntry | None, remote: RemoteEntry | None, base: BaseEntry | None
) -> str:
    """How we know that the two differ: by size, by hash, or not at all."""
    if local is None or remote is None or local.size != remote.size:
        return "with other bytes"
    if _digest_there(remote, base) is None:
        return "same size, the server gives no hash to compare"
    if _digest_here(local, base) is None:
        return "same size, the local bytes have not been compared"
    return "with other bytes"


def _hold_same_bytes(local: LocalEntry, remote: RemoteEntry, base: BaseEntry | None) -> bool:
    return _is_equal(_digest_here(local, base), _digest_there(remote, base))


def _is_outdated(local: LocalEntry, remote: RemoteEntry, base: BaseEntry) -> bool:
    """True if a row of a file in step names an old tag or id, or holds a deletion undone."""
    return (
        base.held != ""
        or remote.etag != base.remote_etag
        or _is_another(remote, base)
        or (local.etag is not None and local.etag != base.local_etag)
    )


def _is_another(remote: RemoteEntry, base: BaseEntry) -> bool:
    """True if it is not the very file that was agreed on, whatever its bytes are."""
    return (base.container_id not in ("", remote.container.id)) or (
        base.file_id not in ("", remote.file_id)
    )


def _digest_here(local: LocalEntry, base: BaseEntry | None) -> Digest | None:
    """The local digest, from the base where the side's own tag says nothing changed."""
    if local.digest is None and base is not None and local.etag == base.local_etag:
        return base.digest
    return local.digest


def _digest_there(remote: RemoteEntry, base: BaseEntry | None) -> Digest | None:
    """The server's digest, likewise."""
    if remote.digest is None and base is not None and remote.etag == base.remote_etag:
        return base.digest
    return remote.digest


def _is_equal(one: Digest | None, other: Digest | None) -> bool:
    """True if both are known and the same; two unknown digests are not equal."""
    return one is not None and one == other


# ----------------------------------------------------------------------- all paths


#: Nobody has said anything.
NO_CHOICES: Mapping[RelPath, Choice] = {}


def _everything(_path: RelPath) -> bool:
    return True


def reconcile(
    local: Iterable[LocalEntry],
    remote: Iterable[RemoteEntry],
    base: Iterable[BaseEntry],
    *,
    rules: Rules,
    unknown_local: Sequence[Unknown] = (),
    unknown_remote: Sequence[Unknown] = (),
    in_scope: Callable[[RelPath], bool] = _everything,
    choices: Mapping[RelPath, Choice] = NO_CHOICES,
) -> Iterator[Decision]:
    """Compare the three trees, and say for each path what is to be done.

    Memory does not grow with the trees. Only what is not NOTHING comes out, nearly in
    order of path: a file is held back until it is known that the other side has no folder
    of that name, which :func:`fwsync.plan.make_plan` puts right.

    Args:
        local: sorted, each path once. Complete, but for ``unknown_local``.
        remote: likewise.
        base: likewise.
        rules: what the user asked for.
        unknown_local: what the local listing could not see; may be many.
        unknown_remote: likewise.
        in_scope: False takes a path out of the run: it is not deleted either.
        choices: what a person says of files in conflict.

    Raises:
        ValueError: a listing is not sorted, or has a path twice. A bug.
    """
    unseen_here, unseen_there = Scopes(unknown_local), Scopes(unknown_remote)
    lone = _LoneFiles()
    for path, here, there, row in _lockstep(local, remote, base):
        if _is_in_step(here, there, row):
            continue
        yield from lone.close_before(path)
        clash = lone.clash(path, here, there)
        unseen = unseen_here.covers(path) or unseen_there.covers(path)
        decision = None
        if not unseen and in_scope(path):
            decision = judge(path, here, there, row, rules, choices.get(path))
        if decision is not None and clash:
            decision = _stand_back(decision, clash)
        if (here is None) == (there is None):
            # On both sides or on neither: no folder can be in its way.
            if decision is not None and decision.verb is not Verb.NOTHING:
                yield decision
        else:
            other = unseen_there if there is None else unseen_here
            lone.open(path, decision, is_local=there is None, clashes=other.reach_into(path))
    yield from lone.close_all()


def _is_in_step(
    local: LocalEntry | None, remote: RemoteEntry | None, base: BaseEntry | None
) -> bool:
    """True for the many that need no second look: a short cut, the table says the same."""
    return (
        local is not None
        and remote is not None
        and base is not None
        and local.etag == base.local_etag
        and remote.etag == base.remote_etag
        and not base.held
        and not _is_another(remote, base)
    )


def _lockstep(
    local: Iterable[LocalEntry], remote: Iterable[RemoteEntry], base: Iterable[BaseEntry]
) -> Iterator[tuple[RelPath, LocalEntry | None, RemoteEntry | None, BaseEntry | None]]:
    """March three sorted listings side by side, one path at a time."""
    locals_, remotes, rows = (
        _rising("local", local),
        _rising("remote", remote),
        _rising("base", base),
    )
    here, there, row = next(locals_, None), next(remotes, None), next(rows, None)
    while True:
        heads = [head.path for head in (here, there, row) if head is not None]
        if not heads:
            return
        path = min(heads)
        # Whoever stands at this path takes part and steps on; the others wait.
        mine = here if here is not None and here.path == path else None
        theirs = there if there is not None and there.path == path else None
        agreed = row if row is not None and row.path == path else None
        yield path, mine, theirs, agreed
        if mine is not None:
            here = next(locals_, None)
        if theirs is not None:
            there = next(remotes, None)
        if agreed is not None:
            row = next(rows, None)


def _rising(name: str, entries: Iterable[_EntryT]) -> Iterator[_EntryT]:
    """Pass entries on; a listing out of order would read as deletions, so it is refused."""
    last: str | None = None
    for entry in entries:
        if last is not None and entry.path <= last:
            raise ValueError(f"{name} listing: {entry.path!r} comes after {last!r}")
        last = entry.path
        yield entry


class Scopes:
    """The parts of a listing that could not be seen."""

    def __init__(self, unknown: Iterable[Unknown]) -> None:
        self._paths = {item.scope for item in unknown}
        self._sorted = sorted(self._paths)

    def covers(self, path: RelPath) -> bool:
        """True if the path is one of the scopes, or below one."""
        if not self._paths:
            return False
        if "" in self._paths or path in self._paths:
            return True
        end = path.rfind("/")
        while end > 0:
            if path[:end] in self._paths:
                return True
            end = path.rfind("/", 0, end)
        return False

    def reach_into(self, path: RelPath) -> bool:
        """True if a scope lies below the path, so that the path is a folder on that side."""
        folder = f"{path}/"
        index = bisect_left(self._sorted, folder)
        return index < len(self._sorted) and self._sorted[index].startswith(folder)


# ----------------------------------------------------------- a file here, a folder there


@dataclass(slots=True)
class _LoneFile:
    """A file that one side has, until it is known what the other side has below its name."""

    path: RelPath
    decision: Decision | None  #: None: unknown or out of scope; it may be in the way even so
    is_local: bool
    clashes: bool


class _LoneFiles:
    """The files whose name could still turn out to be a folder of the other side.

    Sorted, ``a`` and ``a/b`` may be far apart (``a b`` lies between them), but whatever
    lies between begins with ``a`` too. So these are always a chain, each the beginning of
    the next, and no more of them than a path has characters.
    """

    def __init__(self) -> None:
        self._chain: list[_LoneFile] = []

    def open(
        self, path: RelPath, decision: Decision | None, *, is_local: bool, clashes: bool
    ) -> None:
        """Hold back the decision on a file that one side has."""
        self._chain.append(_LoneFile(path, decision, is_local, clashes))

    def clash(self, path: RelPath, local: LocalEntry | None, remote: RemoteEntry | None) -> str:
        """Say which file is in the way of this path, and mark that file; else empty."""
        for file in self._chain:
            other = remote if file.is_local else local
            if other is not None and path.startswith(f"{file.path}/"):
                file.clashes = True
                where = "here" if file.is_local else "on the server"
                return f"its folder {file.path!r} is a file {where}"
        return ""

    def close_before(self, path: RelPath) -> Iterator[Decision]:
        """Let go of the files that nothing from ``path`` on can lie below."""
        while self._chain and not self._may_come_below(self._chain[-1].path, path):
            yield from self._close(self._chain.pop())

    def close_all(self) -> Iterator[Decision]:
        """Let go of the rest: the listings have ended."""
        while self._chain:
            yield from self._close(self._chain.pop())

    @staticmethod
    def _may_come_below(file: RelPath, path: RelPath) -> bool:
        return path.startswith(file) and path[len(file)] <= "/"

    @staticmethod
    def _close(file: _LoneFile) -> Iterator[Decision]:
        decision = file.decision
        if decision is not None and file.clashes:
            side = ("here", "on the server") if file.is_local else ("on the server", "here")
            decision = _stand_back(decision, f"a file {side[0]}, and a folder {side[1]}")
        if decision is not None and decision.verb is not Verb.NOTHING:
            yield decision


def _stand_back(decision: Decision, clash: str) -> Decision:
    """Do not move what has no place to go; a deletion may go on, and clears the way."""
    if decision.verb in {Verb.UPLOAD, Verb.DOWNLOAD}:
        return replace(decision, verb=Verb.REPORT, reason=f"{decision.reason}; {clash}")
    return decision
