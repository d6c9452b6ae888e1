"""``fwsync conflicts``: which files are in conflict, and settling them. Asks no server.

Its rule: what is settled is what a person has named, on the one root that it is below, while no
other process works on that root.
"""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fwsync import below_root, localfs, resolutions
from fwsync.below_root import Named
from fwsync.digest import Digest
from fwsync.errors import FileProblem, FwsyncError, Locked, UsageError
from fwsync.held_state import own_state
from fwsync.localfs import disk_errors
from fwsync.model import ConflictPolicy, Problem, RelPath, Stamp
from fwsync.resolutions import BOTH, LOCAL, REMOTE, Settled
from fwsync.state import OpenConflict, Run, State
from fwsync.state_standoffs import Standoff

#: Bytes of a file that is read for its hash when it is listed; of larger ones none may be known.
_MOST_READ = 256 << 20

POLICIES: Mapping[str, ConflictPolicy] = {
    LOCAL: ConflictPolicy.LOCAL,
    REMOTE: ConflictPolicy.REMOTE,
    BOTH: ConflictPolicy.KEEP_BOTH,
}


def word_of(policy: ConflictPolicy | None) -> str:
    """What a person typed for a choice; empty: nobody has chosen."""
    return next((how for how, one in POLICIES.items() if one is policy), "")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two files."""

    path: str  #: where it lies here; empty: it is on the server alone
    size: int | None = None  #: bytes; None: not known, or it is gone
    digest: Digest | None = None
    time_ns: int | None = None  #: it changed last: here by this disk, there by the server's clock
    version: int | None = None  #: on the server


@dataclass(frozen=True, slots=True)
class Open:
    """A conflict that waits for a person."""

    path: RelPath
    at_ns: int  #: when a run met it first
    run: int | None
    command: str  #: of that run; empty: not known any more
    mine: Side
    theirs: Side
    copy: str = ""  #: where your bytes were put aside; empty: nothing was touched
    is_edited: bool = False  #: you have edited the copy since
    choice: str = ""  #: what you have said, for the next run


@dataclass(frozen=True, slots=True)
class Listed:
    """The open conflicts of a root, or of a folder in it."""

    root: Path
    conflicts: Sequence[Open]
    options: tuple[str, ...] = ()  #: that a command about one of them needs as well


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which conflicts are to be settled, and how."""

    paths: Sequence[str]  #: as they were typed: files in conflict, copies; with ``all`` folders
    how: str
    all: bool = False  #: all that are below the folders
    name: str | None = None  #: of :data:`fwsync.resolutions.BOTH`; None: as it is


@disk_errors()
def listed(
    folder: str | Path,
    flags: Mapping[str, object],
    config: Path | None,
    target: str | None = None,
) -> Listed:
    """The open conflicts at or below a path.

    Raises:
        UsageError: it is below no folder of ours.
    """
    one = below_root.named(folder, flags, config, target=target)
    with below_root.state_of(one) as state, localfs.root_descriptor(one.root) as root_fd:
        found = _all_open(state, root_fd)
        meant = [each for each in found if _is_meant(each, one.path, below=True)]
        if not meant:
            _check_there(state, root_fd, one)
    return Listed(one.root, meant, one.options)


@disk_errors()
def resolve(
    wanted: Wanted,
    flags: Mapping[str, object],
    config: Path | None,
    target: str | None = None,
) -> list[Settled]:
    """Settle conflicts; done again after it was killed, it goes on.

    Raises:
        UsageError: a path is no file in conflict, or more than one is meant by it.
        Locked: another process works on the root.
    """
    named = [below_root.named(path, flags, config, target=target) for path in wanted.paths]
    if not named:
        raise UsageError("no file is named", hint="name it, or its copy; or a folder and --all")
    if len({one.state_file for one in named}) > 1:
        raise UsageError("the files are of several folders; name those of one at a time")
    if wanted.name is not None and not wanted.name.strip():
        raise UsageError(
            "--as: is empty; expected a name, or a path",
            hint="is a variable not set? without --as, the copy stays what it is called",
        )
    if wanted.name and (wanted.how != BOTH or len(named) > 1 or wanted.all):
        raise UsageError("--as: is a name for one file that is kept beside the other")
    if wanted.name and "/" in wanted.name:
        wanted = replace(wanted, name=f"/{_new_path(wanted.name, named[0])}")
    with below_root.state_of(named[0]):
        pass  # what cannot be a root gets no lock
    return asyncio.run(_resolve(named, wanted))


def _new_path(typed: str, one: Named) -> RelPath:
    """Where a copy is to be, below the root; typed as the other paths are.

    Raises:
        UsageError: it is not below that root.
    """
    full = Path(os.path.normpath(Path.cwd() / typed))
    full = full.parent.resolve() / full.name
    if one.root not in full.parents:
        raise UsageError(
            f"--as {typed}: is not below the folder {one.root}",
            hint="give a name, which is beside the file, or a path as it is from where you are",
        )
    inside = localfs.valid_text(str(full.relative_to(one.root)))
    return RelPath(unicodedata.normalize("NFC", inside))


async def _resolve(named: Sequence[Named], wanted: Wanted) -> list[Settled]:
    try:
        async with own_state(named[0].place, "conflicts") as state:
            return await state.call(_settle_all, named, wanted)
    except Locked as error:
        raise Locked(
            error.message,
            hint="wait for it to end, or stop it. While it runs a file manager does as well: "
            "remove the copy to keep the server's, move it over the file to keep yours, "
            "rename it to keep both",
        ) from None


# ------------------------------------------------------------------------------ which there are


def _all_open(state: State, root_fd: int) -> list[Open]:
    runs = {one.id: one for one in state.last_runs(10_000)}
    found = [_of_copy(state, root_fd, one, runs) for one in state.conflicts()]
    found += [_of_standoff(one, runs) for one in state.standoffs.all()]
    return sorted(found, key=lambda one: (one.path, one.at_ns))


def _of_copy(state: State, root_fd: int, one: OpenConflict, runs: Mapping[int, Run]) -> Open:
    here = state.copies.lies_at(one.path)
    mine, theirs = _look(root_fd, one.copy_path), _look(root_fd, here)
    known = state.history.standing(one.path)
    run = _run_of(one.run, one.at_ns, runs)
    is_edited = (
        mine is not None
        and one.copy_mtime_ns is not None
        and (mine.size, mine.mtime_ns) != (one.copy_size, one.copy_mtime_ns)
    )
    return Open(
        one.path,
        one.at_ns,
        run.id if run else one.run,
        run.command if run else "",
        _side(one.copy_path, mine, None if is_edited else one.local_digest, root_fd=root_fd),
        _side(here, theirs, one.remote_digest, known.version if known else None, root_fd=root_fd),
        copy=one.copy_path,
        is_edited=is_edited,
    )


def _of_standoff(one: Standoff, runs: Mapping[int, Run]) -> Open:
    run = runs.get(one.run)
    mine = _side(one.source or one.path, one.stamp, one.local_digest)
    theirs = Side("", one.remote_size, one.remote_digest, one.remote_modified_ns, one.version)
    command = run.command if run else ""
    return Open(
        one.path, one.first_seen_ns, one.run, command, mine, theirs, choice=word_of(one.choice)
    )


def _side(
    path: str,
    stamp: Stamp | None,
    digest: Digest | None,
    version: int | None = None,
    *,
    root_fd: int | None = None,
) -> Side:
    if stamp is None:
        return Side(path, digest=digest, version=version)
    if digest is None and root_fd is not None and stamp.size <= _MOST_READ:
        digest = resolutions.digest_of(root_fd, path)
    return Side(path, stamp.size, digest, stamp.mtime_ns, version)


def _run_of(number: int | None, at_ns: int, runs: Mapping[int, Run]) -> Run | None:
    """The run that met a conflict; an older fwsync has not noted it, but the time."""
    if number:
        return runs.get(number)
    before = [one for one in runs.values() if one.started_ns <= at_ns]
    return max(before, key=lambda one: one.id, default=None)


def _look(root_fd: int, path: str) -> Stamp | None:
    try:
        return localfs.look(root_fd, path)
    except FileProblem:
        return None


def _is_meant(one: Open, path: RelPath, *, below: bool) -> bool:
    """Is a conflict meant by a path: of its file, of its copy, or of a folder above them?"""
    names = {str(one.path), one.copy, one.mine.path, one.theirs.path} - {""}
    if path in names:
        return True
    return below and (not path or any(name.startswith(f"{path}/") for name in names))


# ------------------------------------------------------------------------------- settling them


def _settle_all(state: State, named: Sequence[Named], wanted: Wanted) -> list[Settled]:
    last = state.last_runs(1)
    state.history.begin_after(last[0].id if last else 0)
    root_fd = localfs.open_root(named[0].root)
    try:
        found = _all_open(state, root_fd)
        meant = {
            (each.path, each.copy): each
            for one in named
            for each in _meant(found, one, wanted) or _check_there(state, root_fd, one)
        }
        copies = {one.copy_path: one for one in state.conflicts()}
        standoffs = {one.path: one for one in state.standoffs.all()}
        return [
            resolutions.settle(
                state, root_fd, copies[RelPath(one.copy)], wanted.how, wanted.name or ""
            )
            if one.copy
            else _chosen(state, root_fd, standoffs[one.path], wanted)
            for one in meant.values()
        ]
    finally:
        os.close(root_fd)


def _check_there(state: State, root_fd: int, one: Named) -> Sequence[Open]:
    """See that a path without a conflict is there, and no slip of the pen; gives none.

    Raises:
        UsageError: nothing is, or was, at or below it.
    """
    if one.path and localfs.is_free(root_fd, one.path) and not state.paths.is_known(one.path):
        raise UsageError(
            f"{one.root / one.path}: nothing of that name is here, nor was in step",
            hint=f"`{one.lists_conflicts}` lists all that are",
        )
    return []


def _meant(found: Sequence[Open], one: Named, wanted: Wanted) -> list[Open]:
    """The conflicts that one path means.

    Raises:
        UsageError: none; several files, and not all are asked for; or of one file several copies,
            of which one can take its place.
    """
    shown = one.path or str(one.root)
    meant = [each for each in found if _is_meant(each, one.path, below=wanted.all)]
    if not meant and wanted.all:
        return []
    if not meant:
        is_folder = any(_is_meant(each, one.path, below=True) for each in found)
        raise UsageError(
            f"{shown}: is not in conflict",
            hint="it is a folder: --all settles all below it"
            if is_folder
            else f"`{one.lists_conflicts}` lists those that are",
        )
    there = Counter(each.path for each in meant if each.mine.size is not None)
    several = [path for path, number in there.items() if number > 1]
    if several and wanted.how == LOCAL:
        raise UsageError(
            f"{min(several)}: has several copies, and one of them can take its place",
            hint=f"name the copy that is meant; `{one.lists_conflicts}` lists them",
        )
    return meant


def _chosen(state: State, root_fd: int, seen: Standoff, wanted: Wanted) -> Settled:
    try:
        return _choose(state, root_fd, seen, wanted)
    except FwsyncError as error:
        return Settled(seen.path, wanted.how, problem=Problem.of(seen.path, error))


def _choose(state: State, root_fd: int, one: Standoff, wanted: Wanted) -> Settled:
    """Nothing was touched so far: the next run carries out what is said now."""
    if wanted.name:
        raise UsageError(
            f"{one.path}: no copy was made of it that could have a name", hint="leave --as out"
        )
    if not one.source and wanted.how == BOTH:
        raise UsageError(
            f"{one.path}: is made of several files here; no copy of it can stand beside them",
            hint=f"choose {LOCAL} or {REMOTE}",
        )
    stamp: Stamp | None = one.stamp
    if one.source:
        entry = state.file_at(one.source)
        stamp = localfs.look(root_fd, entry.on_disk if entry else one.source)
    if stamp is None:
        raise FileProblem(f"{one.path}: is gone here", hint="run `fwsync sync`: it fetches it")
    state.copies.choose(one.path, POLICIES[wanted.how], stamp)
    what = {
        LOCAL: "yours goes up by the next run",
        REMOTE: "the server's comes by the next run; yours goes to the trash then",
        BOTH: "the server's comes by the next run; yours stays beside it",
    }
    return Settled(one.path, wanted.how, what[wanted.how])
