"""Files that arrive: written aside, verified, fsynced, named, and only then recorded.

The one rule: nothing is visible under its name before every byte of it was proved.

Everything here blocks: it is for a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fwsync import localfs, renaming
from fwsync.digest import ContentHasher
from fwsync.errors import FileProblem, FwsyncError, IntegrityError, LocalError, SourceChanged
from fwsync.folders import Folders
from fwsync.landing import Target, Where, where_it_stands
from fwsync.model import Decision, LocalEntry, Outcome, RelPath, RemoteEntry, Stamp
from fwsync.packing import pack_entry
from fwsync.roots import part_name
from fwsync.unpacking.packs import Unpacking, names_in, unpack

_NEW_PART = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
#: This process, or the whole machine, has too many files open.
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})


@dataclass(slots=True)
class Whole:
    """A small file, complete in memory."""

    decision: Decision
    content: bytes


@dataclass(slots=True)
class Part:
    """A file that is complete on disk under its part name, hashed but not judged."""

    decision: Decision
    name: str
    hasher: ContentHasher
    fetched: int | None = None  #: bytes that crossed the wire in this run; None: all of them


@dataclass(slots=True)
class Landed:
    """What came of files that arrived."""

    done: list[Outcome] = field(default_factory=list)
    failed: list[tuple[Decision, FwsyncError]] = field(default_factory=list)

    def add(self, other: Landed) -> None:
        """And of others."""
        self.done += other.done
        self.failed += other.failed


class Landing:
    """Where parts are written and given their names; every method blocks, for a thread.

    Args:
        root_fd: the root, open for as long as this lives.
        parts: the folder for parts, below the root and on its file system.
        trash: the folder of this run for bytes that are replaced.
        where: says where a file comes down.
        fsync: False: what is done may not be durable, and a power failure may take it away or
            leave other bytes in its place. Where one of ours is unpacked, it still is.
    """

    def __init__(
        self,
        root_fd: int,
        *,
        parts: str,
        trash: str,
        where: Where = where_it_stands,
        fsync: bool = True,
    ) -> None:
        self._where = where
        self.fsync = fsync  #: what is done is durable
        self._folders = Folders(root_fd, fsync=fsync)
        self._root_fd = root_fd
        self._parts = parts
        self._trash = trash

    def part_name(self, path: RelPath) -> str:
        """A short, stable name: a path of 255-byte names must not make one too long."""
        return f"{self._parts}/{part_name(path)}"

    def create(self, path: RelPath) -> int:
        """A descriptor of a new, empty part for this path."""
        try:
            with localfs.folder(self._root_fd, self._parts, create=True) as parts_fd:
                return os.open(
                    part_name(path),
                    _NEW_PART,
                    0o666,
                    dir_fd=parts_fd,
                )
        except OSError as error:
            raise localfs.local_problem(path, "cannot be written", error) from None

    def resume(self, path: RelPath, size: int) -> int:
        """A descriptor of the part of this path as it is, for writing and reading back.

        It has so many bytes, what was not written being a hole; a new part has its name on the
        disk when this returns.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with localfs.folder(self._root_fd, self._parts, create=True) as parts_fd:
                part_fd = os.open(part_name(path), flags, 0o666, dir_fd=parts_fd)
                try:
                    os.ftruncate(part_fd, size)
                    if self.fsync:
                        os.fsync(parts_fd)
                except BaseException:
                    os.close(part_fd)
                    raise
                return part_fd
        except OSError as error:
            raise localfs.local_problem(path, "cannot be written", error) from None

    def drop(self, path: RelPath) -> None:
        """Remove the part of a path, if there is one."""
        with (
            contextlib.suppress(OSError),
            localfs.folder(self._root_fd, self._parts) as parts_fd,
        ):
            os.unlink(part_name(path), dir_fd=parts_fd)

    def land(self, wholes: Sequence[Whole]) -> Landed:
        """Write, verify, make durable and name small files, the slow steps once for all.

        All parts are written before the first is fsynced: one commit of the file system's
        journal then serves many of them. Folders are fsynced once. Where this process may
        open no more files, those that are open are brought to their end before the others.

        Raises:
            LocalError: the disk is full; what had its name by then stays.
        """
        landed = Landed()
        left = wholes
        while left:
            left = self._land_some(left, landed)
        return landed

    def _land_some(self, wholes: Sequence[Whole], landed: Landed) -> Sequence[Whole]:
        """Land as many of them as can be open at once; the others."""
        ready: list[tuple[Part, int]] = []
        durable: list[Part] = []
        left: Sequence[Whole] = ()
        try:
            with localfs.folder(self._root_fd, self._parts, create=True) as parts_fd:
                left = self._write_some(parts_fd, wholes, ready, landed)
            if self.fsync:
                for _, part_fd in ready:
                    localfs.start_writing_out(part_fd)
            for part, part_fd in ready:
                try:
                    self.finish(part_fd, part)
                except FwsyncError as error:
                    self._note(part.decision, error, landed)
                else:
                    durable.append(part)
        except OSError as error:
            self._none([whole.decision for whole in wholes], "be written", error, landed)
        except BaseException:
            for whole in wholes:
                self.drop(whole.decision.path)
            raise
        finally:
            for _, part_fd in ready:
                os.close(part_fd)
        self.publish(durable, landed)
        return left

    def _write_some(
        self,
        parts_fd: int,
        wholes: Sequence[Whole],
        ready: list[tuple[Part, int]],
        landed: Landed,
    ) -> Sequence[Whole]:
        """Write as many as can be open at once; those that are open are ``ready``; the others."""
        for at, whole in enumerate(wholes):
            try:
                written = self._write(parts_fd, whole, is_first=not ready)
            except FwsyncError as error:
                self._note(whole.decision, error, landed)
                continue
            if written is None:
                return wholes[at:]
            ready.append(written)
        return ()

    def _note(self, decision: Decision, error: FwsyncError, landed: Landed) -> None:
        """What went wrong with one file is noted, and is no matter for the others.

        Raises:
            LocalError: the error, if it is one: the disk is full, and the file is asked for again.
        """
        self.drop(decision.path)
        if isinstance(error, LocalError):
            raise error
        landed.failed.append((decision, error))

    def _none(
        self, decisions: Iterable[Decision], what: str, error: OSError, landed: Landed
    ) -> None:
        """What is the matter with a folder is so with each file in it."""
        for decision in decisions:
            self._note(
                decision, localfs.local_problem(decision.path, f"cannot {what}", error), landed
            )

    def _write(self, parts_fd: int, whole: Whole, *, is_first: bool) -> tuple[Part, int] | None:
        """Write a file into its part; None: not as long as the parts before it are open."""
        path = whole.decision.path
        hasher = ContentHasher()
        hasher.update(whole.content)
        name = part_name(path)
        part = Part(whole.decision, f"{self._parts}/{name}", hasher)
        verify(part)
        try:
            part_fd = os.open(name, _NEW_PART, 0o666, dir_fd=parts_fd)
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR and not is_first:
                return None
            raise localfs.local_problem(path, "cannot be written", error) from None
        try:
            self.write_block(part_fd, path, whole.content)
        except BaseException:
            os.close(part_fd)
            raise
        return part, part_fd

    def write_block(self, part_fd: int, path: RelPath, block: bytes) -> None:
        """Append to a part."""
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(part_fd, view) :]
        except OSError as error:
            raise localfs.local_problem(path, "cannot be written", error) from None

    def sync(self, part_fd: int, path: RelPath) -> None:
        """Make durable what was written of a part so far."""
        if not self.fsync:
            return
        try:
            os.fdatasync(part_fd)
        except OSError as error:
            raise localfs.local_problem(path, "cannot be made durable", error) from None

    def finish(self, part_fd: int, part: Part) -> None:
        """Set the time that the server gives, and make the bytes durable where that is wanted."""
        modified_ns = remote_of(part.decision).modified_ns
        try:
            if modified_ns > 0:
                os.utime(part_fd, ns=(modified_ns, modified_ns))
            if self.fsync:
                os.fsync(part_fd)
        except OSError as error:
            path = part.decision.path
            raise localfs.local_problem(path, "cannot be made durable", error) from None

    def publish(self, parts: Sequence[Part], landed: Landed) -> None:
        """Name durable parts; what is noted as done is durable under its name."""
        by_folder: dict[str, list[tuple[Part, str]]] = {}
        for part in parts:
            try:
                target = self._where(part.decision)
                if target.kind and (outcome := self._unpack(part, target)) is not None:
                    landed.done.append(outcome)  # its folders are durable already
                    continue
                on_disk = target.as_zip if target.kind else target.on_disk
                above, _ = localfs.split(on_disk)
            except FwsyncError as error:
                self._note(part.decision, error, landed)
            else:
                by_folder.setdefault(above, []).append((part, on_disk))
        # All names first: one commit of the journal then serves all folders.
        named = {
            above: self._name_all(above, by_folder[above], landed) for above in sorted(by_folder)
        }
        for above, outcomes in named.items():
            try:
                if outcomes:
                    self._folders.sync(above)
            except LocalError:
                raise
            except FwsyncError as error:
                # Visible, but perhaps not after a power loss: the next run adopts them.
                landed.failed += [(outcome.decision, error) for outcome in outcomes]
            else:
                landed.done += outcomes

    def _name_all(
        self, above: str, parts: Sequence[tuple[Part, str]], landed: Landed
    ) -> list[Outcome]:
        """Give parts their names in one folder, which is not durable yet after this."""
        outcomes: list[Outcome] = []
        new = [one for one in parts if one[0].decision.local is None]
        if new:
            try:
                with (
                    self._folders.into(above) as to_fd,
                    localfs.folder(self._root_fd, self._parts) as from_fd,
                ):
                    for part, on_disk in new:
                        try:
                            outcomes.append(self._name_new(from_fd, to_fd, part, on_disk))
                        except FwsyncError as error:
                            self._note(part.decision, error, landed)
            except OSError as error:
                self._none([part.decision for part, _ in new], "be put in place", error, landed)
        for part, on_disk in parts:
            if part.decision.local is not None:
                arrival = renaming.Arrival(
                    part.name, on_disk, part.decision.local.stamp, copy=part.decision.copy or ""
                )
                try:
                    stamp, _ = renaming.publish(self._root_fd, arrival, trash=self._trash)
                except FwsyncError as error:
                    self._note(part.decision, error, landed)
                else:
                    outcomes.append(_published(part, on_disk, stamp))
        return outcomes

    def _name_new(self, from_fd: int, to_fd: int, part: Part, on_disk: str) -> Outcome:
        try:
            part_name, name = part.name.rpartition("/")[2], on_disk.rpartition("/")[2]
            try:
                stamp = renaming.name_new(from_fd, part_name, to_fd, name)
            except FileExistsError:
                if not localfs.clear_folder(to_fd, name):
                    raise
                stamp = renaming.name_new(from_fd, part_name, to_fd, name)
        except FileExistsError:
            localfs.look(self._root_fd, on_disk)  # raises if it is no file
            raise SourceChanged(f"{on_disk}: appeared here while it was fetched") from None
        except OSError as error:
            raise localfs.local_problem(on_disk, "cannot be put in place", error) from None
        return _published(part, on_disk, stamp)

    def _unpack(self, part: Part, target: Target) -> Outcome | None:
        """Put a pack's members where they belong; None: it is not one of ours, and stays a zip.

        Raises:
            FileProblem: it cannot be unpacked here.
        """
        decision = part.decision
        task = self._task(decision, target)
        zip_fd = localfs.open_regular(self._root_fd, part.name)
        try:
            # One that would be no member again here would be taken for deleted, and be so there.
            try:
                names = set(names_in(self._root_fd, zip_fd, task)) - task.existing.keys()
            except FileProblem:
                if task.existing or not (target.as_zip and target.any_zip):
                    raise
                return None
            if not all(map(target.takes, names)):
                if not task.existing and target.as_zip:
                    return None
                raise FileProblem(
                    f"{decision.path}: holds files that are not packed here, or are filtered out",
                    hint="it is left alone; see `pack` and the filters, or take these files out",
                )
            done = unpack(self._root_fd, zip_fd, task)
        finally:
            os.close(zip_fd)
        self.drop(decision.path)
        if done.problems:
            raise FileProblem(
                f"{decision.path}: {len(done.problems)} of its files were left as they are here; "
                f"{done.problems[0].path}: {done.problems[0].message}"
            )
        return _landed(part, pack_entry(decision.path, target.kind, done.members), done.seen_at_ns)

    def _task(self, decision: Decision, target: Target) -> Unpacking:
        local, remote = decision.local, remote_of(decision)
        members = local.pack.members if local is not None and local.pack is not None else ()
        return Unpacking(
            decision.path,
            target.on_disk,
            {one.name: one.entry for one in members},
            self._parts,
            self._trash,
            remote.modified_ns,
            around=remote.name.removesuffix(".zip"),
            version=remote.etag,
        )


def verify(part: Part) -> None:
    """See that the bytes are those of the listing.

    Raises:
        IntegrityError: they are not.
    """
    entry, path = remote_of(part.decision), part.decision.path
    if part.hasher.size != entry.size:
        raise IntegrityError(f"{path}: got {part.hasher.size} bytes; expected {entry.size}")
    if entry.digest is not None and part.hasher.digest != entry.digest:
        raise IntegrityError(f"{path}: got {part.hasher.digest}; expected {entry.digest}")


def remote_of(decision: Decision) -> RemoteEntry:
    """The file on the server that a download is of."""
    assert decision.remote is not None, f"{decision.path}: a download without a remote file"
    return decision.remote


def _published(part: Part, on_disk: str, stamp: Stamp) -> Outcome:
    path = part.decision.path
    source = on_disk if on_disk.isascii() else unicodedata.normalize("NFC", on_disk)
    local = LocalEntry(
        path,
        stamp,
        etag=part.hasher.local_tag,
        digest=part.hasher.digest,
        disk_path=None if on_disk == source else on_disk,
        source=None if source == path else RelPath(source),
    )
    return _landed(part, local, time.time_ns())


def _landed(part: Part, local: LocalEntry, seen_at_ns: int) -> Outcome:
    return Outcome(
        part.decision,
        local=local,
        remote=remote_of(part.decision),
        moved=part.hasher.size if part.fetched is None else part.fetched,
        hashed_at_ns=seen_at_ns,
    )
