"""Carry out here what has moved on the server: the renames themselves.

The one rule: a rename moves no bytes and loses none. Each file is looked at again before it gets
its new name, and what has that name goes to the trash first.
"""

from __future__ import annotations

import contextlib
import time
import unicodedata
from collections.abc import (
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from itertools import islice

from fwsync import localfs, moves, renaming
from fwsync.errors import FileProblem, FwsyncError, LocalError, SourceChanged
from fwsync.landing import Where
from fwsync.model import (
    Decision,
    LocalEntry,
    Outcome,
    PackMember,
    Problem,
    RelPath,
    Stamp,
    Verb,
)
from fwsync.packing import pack_entry
from fwsync.renaming import Relocation
from fwsync.threads import in_thread

#: Renames that are made in one call of a thread, and recorded at once.
_BATCH = 256

#: A folder with fewer files that move is not worth a look at the whole of it.
_WORTH_A_LOOK = 8


@dataclass(slots=True)
class Moved:
    """What came of renames, for the transfers that follow them."""

    now: dict[RelPath, LocalEntry] = field(default_factory=dict)  #: by the new path
    failed: set[RelPath] = field(default_factory=set)  #: likewise
    #: Packs that cannot move as one: they are fetched anew, and what is here is left.
    fetched: list[Decision] = field(default_factory=list)

    def transfers(self, decisions: Iterable[Decision]) -> list[Decision]:
        """Those that can be made now, with the files as they are now."""
        after = [
            replace(one, local=self.now.get(one.path, one.local))
            for one in decisions
            if one.path not in self.failed
        ]
        return [*self.fetched, *after]


class Mover:
    """Carries out the renames of a plan.

    Args:
        root_fd: the root.
        trash: the folder of this run for bytes that are replaced.
        where: says where a file of the server belongs here.
    """

    def __init__(self, root_fd: int, *, trash: str, where: Where) -> None:
        self._root_fd = root_fd
        self._trash = trash
        self._where = where
        self._left: set[str] = set()  # folders that files have left since the last fsync …
        self._entered: set[str] = set()  # … and those that they have come to
        self._folders: set[str] = set()  # those that files leave at any time
        self.moved = Moved()

    async def carry_out(self, renames: Sequence[Decision]) -> AsyncIterator[list[Outcome]]:
        """Rename, some files at a time; outcomes come once what they say is durable.

        Raises:
            LocalError: no space left, even for a name.
        """
        # Where files belong may be in the state: that is asked by a thread.
        jobs = await in_thread(lambda: [self._job(one) for one in renames])
        self._folders = {
            folder for job in jobs for folder in moves.folders_of(job.old) if job.old != job.new
        }
        yield await in_thread(self._batch, [(job, False) for job in jobs if not job.moves])
        moving, folders = _in_folders([job for job in jobs if job.moves])
        while folders:
            whole, at_ns = folders.pop(), time.time_ns()
            if await in_thread(self._move_folder, whole):
                for at in range(0, len(whole.jobs), _BATCH):
                    some = whole.jobs[at : at + _BATCH]
                    yield [self._arrived(job, at_ns) for _, job in some]
            else:
                alone, inner = whole.inside()
                moving += alone
                folders += inner
        todo = moves.in_order([(job.old, job.new) for job in moving])
        while batch := [(moving[number], aside) for number, aside in islice(todo, _BATCH)]:
            yield await in_thread(self._batch, batch)

    def _job(self, decision: Decision) -> _Job:
        """Where a file lies, and where it belongs."""
        local = decision.local
        if local is None or local.path == decision.path:
            return _Job(decision, "", "")
        try:
            target = self._where(replace(decision, local=None))
            if local.pack is None:
                return _Job(decision, local.on_disk, target.on_disk)
            folder = _folder_of({one.name: one.entry for one in local.pack.members})
            names = (one.name for one in local.pack.members)
            if folder is None or not target.kind or not all(map(target.takes, names)):
                raise FileProblem(f"{decision.path}: its files do not move as one folder")
            return _Job(decision, folder, target.on_disk)
        except FileProblem as error:
            return _Job(decision, "", "", error)

    def _batch(self, batch: Sequence[tuple[_Job, bool]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job, is_aside in batch:
            outcome = self._put_aside(job) if is_aside else self._one(job)
            if outcome is not None:
                outcomes.append(outcome)
        self._make_durable()
        return outcomes

    def _make_durable(self) -> None:
        """All renames up to now; and folders that are empty since then go."""
        left, self._left = self._left, set()
        entered, self._entered = self._entered, set()
        for folder in sorted(left | entered):
            if renaming.has_folder(self._root_fd, folder):
                localfs.sync_folder(self._root_fd, folder)
        for folder in sorted(left, reverse=True):
            renaming.remove_empty(self._root_fd, folder)

    def _move_folder(self, whole: _Folder) -> bool:
        """Move a folder in one step, durably; False: it cannot be, and nothing was touched."""
        files = {name: job.seen for name, job in whole.jobs}
        if not localfs.is_free(self._root_fd, whole.new):
            return False
        if not localfs.holds_just(self._root_fd, whole.old, files):
            return False
        try:
            renaming.relocate_folder(self._root_fd, whole.old, whole.new, files.keys())
        except FileProblem:
            return False
        self._went(whole.old, whole.new)
        self._make_durable()
        return True

    def _arrived(self, job: _Job, at_ns: int) -> Outcome:
        """What came of a file whose folder was moved."""
        decision = job.decision
        assert decision.local is not None, f"{decision.path}: nothing to rename"
        local = _at(decision.local, decision.path, job.new, job.seen)
        outcome = self._done(decision, local, at_ns)
        assert outcome.local is not None, "it was given one"
        self.moved.now[decision.path] = outcome.local
        return outcome

    def _put_aside(self, job: _Job) -> Outcome | None:
        """Free the name of a file that waits for another; it lies in the trash meanwhile.

        A kill before it gets its new name costs fetching it again. Nothing is lost.
        """
        local = job.decision.local
        assert local is not None, f"{job.decision.path}: nothing to rename"
        if local.pack is not None:
            job.error = FileProblem(f"{job.decision.path}: its files do not move as one folder")
            return None
        try:
            aside = renaming.discard(self._root_fd, job.old, local.stamp, trash=self._trash)
            stamp = localfs.look(self._root_fd, aside)
        except LocalError:
            raise
        except FwsyncError as error:
            job.error = error
            return None
        if stamp is None:
            job.error = SourceChanged(f"{aside}: is gone, where it was put aside")
            return None
        self._left.add(job.old.rpartition("/")[0])
        job.first, job.old, job.stamp = job.old, aside, stamp
        return None

    def _one(self, job: _Job) -> Outcome | None:
        """One rename; None: it is fetched instead."""
        decision, local = job.decision, job.decision.local
        try:
            if job.error is not None:
                raise job.error
            outcome = self._follow(job)
        except LocalError:
            raise
        except FwsyncError as error:
            self.moved.failed.add(decision.path)
            if local is not None and local.pack is not None and decision.remote is not None:
                reason = f"{decision.reason}; cannot be moved as one here"
                fetch = replace(decision, verb=Verb.DOWNLOAD, local=decision.replaces, base=None)
                self.moved.fetched.append(replace(fetch, reason=reason))
                return None
            self._take_back(job)
            return Outcome(decision, problem=Problem.of(decision.path, error))
        if outcome.local is not None:
            self.moved.now[decision.path] = outcome.local
        return outcome

    def _take_back(self, job: _Job) -> None:
        """A file that was put aside for nothing gets its name again, if that is still free."""
        if job.stamp is None:
            return
        move = Relocation(job.old, job.first, job.stamp)
        with contextlib.suppress(FileProblem):
            renaming.relocate(self._root_fd, move, trash=self._trash)
            self._went(job.old, job.first)

    def _follow(self, job: _Job) -> Outcome:
        decision, local, at_ns = job.decision, job.decision.local, time.time_ns()
        if local is None or not job.new:  # there is nothing to rename
            return self._done(decision, local, at_ns)
        if job.new in self._folders:  # files have left it: it may be a folder without anything
            renaming.remove_empty(self._root_fd, job.new)
        if local.pack is not None:
            return self._done(decision, self._move_pack(job, local), at_ns)
        replaced = decision.replaces
        if replaced is not None and replaced.pack is not None:
            raise FileProblem(f"{decision.path}: several files are here in its place")
        stamp = local.stamp if job.stamp is None else job.stamp
        if job.moves:
            seen = replaced.stamp if replaced is not None else None
            move = Relocation(job.old, job.new, stamp, seen)
            stamp = renaming.relocate(self._root_fd, move, trash=self._trash)
            self._went(job.old, job.new)
        return self._done(decision, _at(local, decision.path, job.new, stamp), at_ns)

    def _went(self, old: str, new: str) -> None:
        self._left.add(old.rpartition("/")[0])
        self._entered.add(new.rpartition("/")[0])

    @staticmethod
    def _done(decision: Decision, local: LocalEntry | None, at_ns: int) -> Outcome:
        base = decision.base
        if local is not None and base is not None and local.etag is None and local.digest:
            is_as_agreed = local.digest == base.digest
            local = replace(local, etag=base.local_etag) if is_as_agreed else local
        return Outcome(decision, local=local, remote=decision.remote, hashed_at_ns=at_ns)

    def _move_pack(self, job: _Job, local: LocalEntry) -> LocalEntry:
        """Move the folder of a pack, if it holds nothing else.

        Raises:
            FileProblem: it cannot be moved as one.
        """
        assert local.pack is not None, f"{local.path}: is no pack"
        members = {one.name: one.entry for one in local.pack.members}
        if job.moves:
            for entry in members.values():
                if localfs.look(self._root_fd, entry.on_disk) != entry.stamp:
                    raise SourceChanged(f"{entry.path}: changed here since the plan was made")
            names = frozenset(one.on_disk[len(job.old) + 1 :] for one in members.values())
            renaming.relocate_folder(self._root_fd, job.old, job.new, names)
            self._went(job.old, job.new)
        moved = []
        for name, entry in members.items():
            on_disk = job.new + entry.on_disk[len(job.old) :]
            path = RelPath(unicodedata.normalize("NFC", on_disk))
            moved.append(PackMember(name, _at(entry, path, on_disk, entry.stamp)))
        kind, deflated = local.pack.kind, local.pack.deflated
        return pack_entry(job.decision.path, kind, moved, digest=local.digest, deflated=deflated)


@dataclass(slots=True)
class _Job:
    """A rename on its way."""

    decision: Decision
    old: str  #: as the file system spells it; empty: there is nothing to rename
    new: str  #: likewise
    error: FwsyncError | None = None  #: it cannot be
    stamp: Stamp | None = None  #: of a file that was put aside, and has its name there as `old`
    first: str = ""  #: of such a file: the name that it had

    @property
    def moves(self) -> bool:
        return self.old != self.new

    @property
    def is_plain(self) -> bool:
        """Is it one file, and nothing to be replaced at its new path?"""
        decision, local = self.decision, self.decision.local
        is_file = local is not None and local.pack is None
        return is_file and decision.replaces is None and self.error is None

    @property
    def seen(self) -> Stamp:
        """Of a file, as the plan saw it."""
        local = self.decision.local
        assert local is not None, f"{self.decision.path}: nothing to rename"
        return local.stamp


@dataclass(slots=True)
class _Folder:
    """Files that would all be where they belong if one folder got another path."""

    old: str
    new: str
    jobs: list[tuple[str, _Job]] = field(default_factory=list)  #: with the path below the folder

    def inside(self) -> tuple[list[_Job], list[_Folder]]:
        """The same files, by the folders in this one; and those that lie in no such folder."""
        alone: list[_Job] = []
        inner: dict[str, _Folder] = {}
        for path, job in self.jobs:
            name, slash, below = path.partition("/")
            if slash:
                folder = _Folder(f"{self.old}/{name}", f"{self.new}/{name}")
                inner.setdefault(name, folder).jobs.append((below, job))
            else:
                alone.append(job)
        return _worth_it(alone, inner.values())


def _in_folders(jobs: Iterable[_Job]) -> tuple[list[_Job], list[_Folder]]:
    """Files that move alone, and the highest folders that may move as one."""
    alone: list[_Job] = []
    folders: dict[tuple[str, str], _Folder] = {}
    for job in jobs:
        olds, news = job.old.split("/"), job.new.split("/")
        same = 0  # names at the end of both paths
        while same < min(len(olds), len(news)) - 1 and olds[-1 - same] == news[-1 - same]:
            same += 1
        if same and job.is_plain:
            below = "/".join(olds[-same:])
            pair = job.old[: -len(below) - 1], job.new[: -len(below) - 1]
            folders.setdefault(pair, _Folder(*pair)).jobs.append((below, job))
        else:
            alone.append(job)
    return _worth_it(alone, folders.values())


def _worth_it(alone: list[_Job], folders: Iterable[_Folder]) -> tuple[list[_Job], list[_Folder]]:
    many = []
    for one in folders:
        if len(one.jobs) < _WORTH_A_LOOK or f"{one.new}/".startswith(f"{one.old}/"):
            alone += [job for _, job in one.jobs]
        else:
            many.append(one)
    return alone, many


def _folder_of(members: Mapping[str, LocalEntry]) -> str | None:
    """The folder below which each member lies under its own name; None: there is none."""
    folders = {
        one.on_disk[: -len(name) - 1] if one.on_disk.endswith(f"/{name}") else None
        for name, one in members.items()
    }
    found = folders.pop() if len(folders) == 1 else None
    return found or None


def _at(entry: LocalEntry, path: RelPath, on_disk: str, stamp: Stamp) -> LocalEntry:
    """An entry at another path, as it lies there."""
    source = RelPath(unicodedata.normalize("NFC", on_disk))
    return replace(
        entry,
        path=path,
        stamp=stamp,
        disk_path=None if on_disk == source else on_disk,
        source=None if source == path else source,
    )
