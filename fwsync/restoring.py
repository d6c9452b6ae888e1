"""``fwsync restore``: what lies in the trash of a folder, and putting it back.

The one rule: a file that is here now is never replaced. What is put back is, to the next run, a
file that somebody has put there.
"""

from __future__ import annotations

import os
import shlex
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fwsync import conflicts, known_roots, localfs, restored_noted, roots, trash
from fwsync.config import environment
from fwsync.errors import FileProblem, UsageError
from fwsync.localfs import disk_errors
from fwsync.model import Problem, RelPath
from fwsync.state_history import Restored as PutBack
from fwsync.trash import Kept


@dataclass(frozen=True, slots=True)
class Restored:
    """A file of the trash, and what came of it."""

    kept: Kept
    problem: Problem | None = None  #: why it stays there


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of the trash."""

    paths: Sequence[str] = ()  #: files or folders, below the root; none, or ".": all
    run: str = ""  #: only what this run put there; empty: of each path the newest

    @property
    def is_all(self) -> bool:
        """Is everything asked for that there is, whatever it is?"""
        return not self.run and "" in self.paths

    def takes(self, one: Kept) -> bool:
        """Is this file, of this run, asked for? Says nothing of newer ones."""
        if self.run and one.run != self.run:
            return False
        if not self.paths:
            return True
        return any(path in ("", one.path) or one.path.startswith(f"{path}/") for path in self.paths)


@disk_errors()
def listed(root: Path, wanted: Wanted) -> list[Kept]:
    """What is in the trash, the newest run first; all versions of a path.

    Raises:
        UsageError: there is no such folder.
        Halted: it was kept in step, and is gone, empty or another now.
        LocalError: the trash cannot be read.
    """
    known_roots.check(root, environment())
    root = roots.prepare_root(root)
    wanted = _below_root(root, wanted)
    root_fd = localfs.open_root(root)
    try:
        return [one for one in trash.kept(root_fd) if wanted.takes(one)]
    finally:
        os.close(root_fd)


@disk_errors()
def restore(root: Path, wanted: Wanted) -> list[Restored]:
    """Put files back: each that is asked for, and of several versions the newest.

    Args:
        root: the folder.
        wanted: which files.

    Returns:
        What came of each, by path; nothing, where all of an empty trash was asked for.

    Raises:
        UsageError: there is no such folder, or nothing of the kind in its trash.
        Halted: it was kept in step, and is gone, empty or another now.
        LocalError: no space left, even for a name.
    """
    known_roots.check(root, environment())
    root = roots.prepare_root(root)
    wanted = _below_root(root, wanted)
    if not wanted.paths and not wanted.run:
        raise UsageError(
            "restore: neither a path nor a run is named",
            hint=f"{_list(root)} lists what there is; name PATH, or --run",
        )
    root_fd = localfs.open_root(root)
    try:
        newest: dict[str, Kept] = {}
        is_empty = True
        for one in trash.kept(root_fd):  # the newest run first
            is_empty = False
            if wanted.takes(one):
                newest.setdefault(one.path, one)
        if not newest and not (is_empty and wanted.is_all):
            raise _nothing_of(root, is_empty=is_empty)
        done = [_put_back(root_fd, one) for _, one in sorted(newest.items())]
        _release(root_fd, done)
        restored_noted.note(root_fd, [_told(one) for one in done if one.problem is None])
        return done
    finally:
        os.close(root_fd)


def _list(root: Path) -> str:
    return f"`fwsync restore {shlex.quote(str(root))} --list`"


def _nothing_of(root: Path, *, is_empty: bool) -> UsageError:
    if is_empty:
        return UsageError(
            f"{root}: there is nothing in its trash",
            hint="no run has replaced or deleted a file here; see that it is the folder you mean",
        )
    return UsageError(
        f"{root}: nothing in its trash is of this path or run",
        hint=f"{_list(root)} lists what there is",
    )


def _told(done: Restored) -> PutBack:
    """For the history."""
    one = done.kept
    path = RelPath(unicodedata.normalize("NFC", localfs.valid_text(one.path)))
    return PutBack(path, one.run, one.size, time.time_ns())


def _put_back(root_fd: int, one: Kept) -> Restored:
    try:
        trash.put_back(root_fd, one)
    except FileProblem as error:
        return Restored(one, Problem.of(one.path, error))
    return Restored(one)


def _release(root_fd: int, done: Sequence[Restored]) -> None:
    """A conflict's copy that somebody has put back is a file like others: it goes up.

    The copy of a conflict that is open still stays here, as the state knows it.
    """
    back = {one.kept.path.rpartition("/")[2] for one in done if one.problem is None}
    for copy in sorted(conflicts.noted_copies(root_fd)):
        if copy.rpartition("/")[2] in back:  # by name: it may have moved with its folder
            conflicts.release_copy(root_fd, copy)


def _below_root(root: Path, wanted: Wanted) -> Wanted:
    """With paths as they are below the root; one that is typed from elsewhere may be absolute."""
    paths = []
    for path in wanted.paths:
        plain = os.path.normpath(path)
        if plain.startswith("/"):
            plain = os.path.relpath(plain, root)
        if plain == ".." or plain.startswith("../"):
            raise UsageError(
                f"{path}: is not below {root}", hint="name it as it is called below the folder"
            )
        paths.append("" if plain == "." else plain)
    return Wanted(tuple(paths), wanted.run)
