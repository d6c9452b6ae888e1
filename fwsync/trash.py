"""What was replaced or deleted here: what there is, putting it back, and letting it go in time.

The one rule: what lies here may be the last copy there is. It is put back by a rename that
replaces nothing, and let go only when both its run and the file itself are old enough, by a
clock that nothing here contradicts, and that several runs have seen going on.

Everything here blocks: it is for a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fwsync import localfs, renaming
from fwsync.errors import FileProblem
from fwsync.renaming import Relocation
from fwsync.roots import RESERVED

#: Below the root, and on its file system.
TRASH = f"{RESERVED}/trash"

#: Below the root: how old each run's folder is, as far as runs have seen it grow old.
_AGES = "trash-ages"

_DAY_S = 86_400

#: What passes between two runs before it is noted, in seconds.
_NOTED_S = 3600

#: One run believes the clock for this part of the days that the trash is kept: so a clock
#: that is set wrong, by however much, empties nothing.
_BELIEVED = 3

_STAMP = "%Y%m%dT%H%M%SZ"
_RUN = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in the trash."""

    run: str  #: when its run began, which names it: 20260131T120000Z
    path: str  #: where it was, below the root, as the file system spells it
    size: int  #: bytes
    modified_ns: int  #: as it was when it lay there

    @property
    def at(self) -> str:
        """Where it is now, below the root."""
        return f"{TRASH}/{self.run}/{self.path}"

    @property
    def since_ns(self) -> int:
        """When its run began, in nanoseconds since 1970."""
        began = datetime.strptime(self.run, _STAMP).replace(tzinfo=UTC)
        return int(began.timestamp()) * 10**9


def run_folder(now: datetime) -> str:
    """The folder, below the root, for what a run replaces or deletes.

    Args:
        now: with a zone.
    """
    return f"{TRASH}/{now.astimezone(UTC).strftime(_STAMP)}"


def run_of(folder: str) -> str:
    """What names a run in the trash, from :func:`run_folder`."""
    return folder.rpartition("/")[2]


def kept(root_fd: int) -> Iterator[Kept]:
    """All that lies in the trash: the newest run first, its files by path.

    Raises:
        LocalError, FileProblem: it cannot be listed.
    """
    for run in sorted(_runs(root_fd), reverse=True):
        yield from _below(root_fd, run, "")


def put_back(root_fd: int, one: Kept) -> None:
    """Give a file its name again; it is durable when this returns.

    Raises:
        FileProblem: something has that name now, or the file is not in the trash any more;
            nothing was touched.
        LocalError: no space left, even for a name.
    """
    seen = localfs.look(root_fd, one.at)
    if seen is None:
        raise FileProblem(f"{one.path}: is not in the trash any more")
    if not localfs.is_free(root_fd, one.path):
        raise FileProblem(
            f"{one.path}: something of that name is here; it is not replaced",
            hint="move it away, and try again",
        )
    renaming.relocate(root_fd, Relocation(one.at, one.path, seen), trash=TRASH)
    for path in (one.path, one.at):
        localfs.sync_folder(root_fd, path.rpartition("/")[0])
    renaming.remove_empty(root_fd, one.at.rpartition("/")[0])


def sweep(root_fd: int, *, days: int, now: datetime) -> int:
    """Let go of what was put in the trash more than so many days ago.

    The clock alone is not believed. What passes from one run to the next counts, and at most
    a third of the days each time. A run's folder of a time that is still to come says that the
    clock is wrong, or was: then all of it stays.

    Args:
        root_fd: the root.
        days: at least one.
        now: with a zone.

    Returns:
        How many files went.

    Raises:
        LocalError, FileProblem: it cannot be listed, the ages cannot be noted, or a file cannot
            be removed.
    """
    if days < 1:
        raise ValueError(f"{days} days: nothing is let go at once")
    runs = sorted(_runs(root_fd))
    if not runs:
        return 0
    ages = _grown(root_fd, runs, now, most_s=days * _DAY_S // _BELIEVED)
    before = now - timedelta(days=days)
    if _time_of(runs[-1]) > now + timedelta(days=1):
        return 0
    gone = 0
    for run in runs:
        if _time_of(run) >= before:
            break
        if ages[run] < days * _DAY_S:
            continue
        try:
            gone += _sweep(root_fd, f"{TRASH}/{run}", int(before.timestamp() * 1e9))
        except OSError as error:
            raise localfs.local_problem(f"{TRASH}/{run}", "cannot be cleared", error) from None
    return gone


@dataclass(frozen=True, slots=True)
class _Ages:
    """How old the folders of runs are, as noted by the run before."""

    at: int = 0  #: when it noted them, in seconds by its clock
    ages: dict[str, int] = field(default_factory=dict)  #: in seconds, by the run


def _grown(root_fd: int, runs: list[str], now: datetime, *, most_s: int) -> dict[str, int]:
    """The age of each run's folder, in seconds; noted, where enough has passed.

    Of a folder that no run has seen before, the age is nought.
    """
    known, at = _noted(root_fd), int(now.timestamp())
    passed = max(0, min(at - known.at, most_s)) if known.at else 0
    if 0 <= at - known.at < _NOTED_S and known.ages.keys() >= set(runs):
        return known.ages
    ages = {run: known.ages[run] + passed if run in known.ages else 0 for run in runs}
    _note(root_fd, _Ages(at, ages))
    return ages


def _noted(root_fd: int) -> _Ages:
    """What is noted; nothing, where that cannot be read: all of it is new then."""
    try:
        file_fd = localfs.open_regular(root_fd, f"{RESERVED}/{_AGES}")
    except FileProblem:
        return _Ages()
    with os.fdopen(file_fd, "rb") as file, contextlib.suppress(ValueError):
        told = json.load(file)
        if isinstance(told, dict) and isinstance(told.get("at"), int):
            ages = told.get("ages")
            pairs = ages.items() if isinstance(ages, dict) else ()
            return _Ages(told["at"], {run: age for run, age in pairs if isinstance(age, int)})
    return _Ages()


def _note(root_fd: int, ages: _Ages) -> None:
    """Note them, whole or not at all; if a power failure takes them, all begins anew."""
    text = json.dumps({"at": ages.at, "ages": ages.ages}).encode()
    aside = f"{_AGES}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with localfs.folder(root_fd, RESERVED) as folder_fd:
            with os.fdopen(os.open(aside, flags, 0o600, dir_fd=folder_fd), "wb") as file:
                file.write(text)
            os.replace(aside, _AGES, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError as error:
        raise localfs.local_problem(f"{RESERVED}/{_AGES}", "cannot be written", error) from None


def _sweep(root_fd: int, path: str, before_ns: int) -> int:
    """Remove the files of a folder that came there before this time, and it when it is empty."""
    gone = 0
    with localfs.folder(root_fd, path) as folder_fd:
        for name, status in _items(folder_fd):
            if stat.S_ISDIR(status.st_mode):
                gone += _sweep(root_fd, f"{path}/{name}", before_ns)
            elif stat.S_ISREG(status.st_mode) and status.st_ctime_ns < before_ns:
                # Its name in the trash was the last thing that was done to it.
                os.unlink(name, dir_fd=folder_fd)
                gone += 1
    renaming.remove_empty(root_fd, path)
    return gone


def _runs(root_fd: int) -> list[str]:
    """The runs that have put something here. What bears another name is not ours to touch."""
    try:
        with localfs.folder(root_fd, TRASH) as trash_fd:
            names = [name for name, _ in _items(trash_fd)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise localfs.local_problem(TRASH, "cannot be listed", error) from None
    return [name for name in names if _RUN.fullmatch(name) and _is_time(name)]


def _items(folder_fd: int) -> list[tuple[str, os.stat_result]]:
    """What is in a folder, by name."""
    with os.scandir(folder_fd) as items:
        return sorted(
            ((one.name, one.stat(follow_symlinks=False)) for one in items), key=lambda one: one[0]
        )


def _is_time(run: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(_time_of(run))
    return False


def _time_of(run: str) -> datetime:
    return datetime.strptime(run, _STAMP).replace(tzinfo=UTC)


def _below(root_fd: int, run: str, inside: str) -> Iterator[Kept]:
    path = f"{TRASH}/{run}/{inside}".rstrip("/")
    try:
        with localfs.folder(root_fd, path) as folder_fd:
            found = _items(folder_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise localfs.local_problem(path, "cannot be listed", error) from None
    for name, status in found:
        below = f"{inside}/{name}" if inside else name
        if stat.S_ISDIR(status.st_mode):
            yield from _below(root_fd, run, below)
        elif stat.S_ISREG(status.st_mode):
            yield Kept(run, below, status.st_size, status.st_mtime_ns)
