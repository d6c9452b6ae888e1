"""Bring files down: written aside, verified, fsynced, named, and only then recorded.

The one rule: nothing is visible under its name before every byte of it was proved. A
stream that breaks costs the file in flight; finished ones stay and the rest is asked
for again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fwsync import localfs
from fwsync.digest import ContentHasher
from fwsync.errors import (
    AuthError,
    FileProblem,
    FwsyncError,
    IntegrityError,
    LocalError,
    Unavailable,
)
from fwsync.model import Decision, LocalEntry, Outcome, Problem, RelPath, RemoteEntry
from fwsync.ports import Member, RemoteReader
from fwsync.roots import part_name
from fwsync.threads import in_thread

#: A file up to this many bytes is held in memory and landed together with others, so
#: that opening, fsync and rename are paid in one thread hop for many files.
SMALL = 1 << 20

#: A landing group is closed at so many bytes or files, whichever comes first.
GROUP_BYTES = 8 << 20
GROUP_FILES = 64

#: From this size on a file travels alone, so that a break costs only itself.
ALONE = 64 << 20

#: Rounds in which what is missing is asked for again before it is reported.
ROUNDS = 3


@dataclass(slots=True)
class _Whole:
    """A small file, complete in memory."""

    decision: Decision
    content: bytes


@dataclass(slots=True)
class _Part:
    """A file that is complete on disk under its part name, hashed but not judged."""

    decision: Decision
    name: str
    hasher: ContentHasher


@dataclass(slots=True)
class _Group:
    """Small files that land together."""

    members: list[_Whole] = field(default_factory=list)
    size: int = 0

    def add(self, whole: _Whole) -> None:
        self.members.append(whole)
        self.size += len(whole.content)

    @property
    def full(self) -> bool:
        return len(self.members) >= GROUP_FILES or self.size >= GROUP_BYTES


@dataclass(slots=True)
class _Landed:
    """What came of files that arrived."""

    done: list[Outcome] = field(default_factory=list)
    failed: list[tuple[Decision, FwsyncError]] = field(default_factory=list)

    def add(self, other: _Landed) -> None:
        self.done += other.done
        self.failed += other.failed


class Landing:
    """Where parts are written and given their names; every method blocks, for a thread.

    Args:
        root_fd: the root, open for as long as this lives.
        parts: the folder for parts, below the root and on its file system.
        trash: the folder of this run for bytes that are replaced.
    """

    def __init__(self, root_fd: int, *, parts: str, trash: str) -> None:
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
                    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o666,
                    dir_fd=parts_fd,
                )
        except OSError as error:
            raise localfs.local_problem(path, "cannot be written", error) from None

    def drop(self, path: RelPath) -> None:
        """Remove the part of a path, if there is one."""
        with (
            contextlib.suppress(OSError),
            localfs.folder(self._root_fd, self._parts) as parts_fd,
        ):
            os.unlink(part_name(path), dir_fd=parts_fd)

    def land(self, wholes: Sequence[_Whole]) -> _Landed:
        """Write, verify, make durable and name small files, the slow steps once for all.

        All parts are written before the first is fsynced: one commit of the file system's
        journal then serves many of them. Folders are fsynced once.
        """
        landed = _Landed()
        ready: list[tuple[_Part, int]] = []
        try:
            for whole in wholes:
                with self._alone(whole.decision, landed):
                    ready.append(self._write(whole))
            for _, part_fd in ready:
                localfs.start_writing_out(part_fd)
            durable: list[_Part] = []
            for part, part_fd in ready:
                with self._alone(part.decision, landed):
                    self.finish(part_fd, part)
                    durable.append(part)
        except BaseException:
            for whole in wholes:
                self.drop(whole.decision.path)
            raise
        finally:
            for _, part_fd in ready:
                os.close(part_fd)
        self.publish(durable, landed)
        return landed

    @contextlib.contextmanager
    def _alone(self, decision: Decision, landed: _Landed) -> Iterator[None]:
        """What goes wrong with one file is noted, and is no matter for the others."""
        try:
            yield
        except LocalError:
            raise
        except FwsyncError as error:
            self.drop(decision.path)
            landed.failed.append((decision, error))

    def _write(self, whole: _Whole) -> tuple[_Part, int]:
        hasher = ContentHasher()
        hasher.update(whole.content)
        part = _Part(whole.decision, self.part_name(whole.decision.path), hasher)
        _verify(part)
        part_fd = self.create(whole.decision.path)
        try:
            self.write_block(part_fd, whole.decision.path, whole.content)
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

    def finish(self, part_fd: int, part: _Part) -> None:
        """Set the time that the server gives, and make the bytes durable."""
        modified_ns = _remote(part.decision).modified_ns
        try:
            if modified_ns > 0:
                os.utime(part_fd, ns=(modified_ns, modified_ns))
            os.fsync(part_fd)
        except OSError as error:
            path = part.decision.path
            raise localfs.local_problem(path, "cannot be made durable", error) from None

    def publish(self, parts: Sequence[_Part], landed: _Landed) -> None:
        """Name durable parts; what is noted as done is durable under its name."""
        named: dict[str, list[Outcome]] = {}
        for part in parts:
            with self._alone(part.decision, landed):
                outcome = self._publish_one(part)
                named.setdefault(part.decision.path.rpartition("/")[0], []).append(outcome)
        for folder, outcomes in sorted(named.items()):
            try:
                localfs.sync_folder(self._root_fd, folder)
            except LocalError:
                raise
            except FwsyncError as error:
                # Visible, but perhaps not after a power loss: the next run adopts them.
                landed.failed += [(outcome.decision, error) for outcome in outcomes]
            else:
                landed.done += outcomes

    def _publish_one(self, part: _Part) -> Outcome:
        decision = part.decision
        replaced = decision.local.stamp if decision.local is not None else None
        on_disk = decision.local.on_disk if decision.local is not None else decision.path
        arrival = localfs.Arrival(part.name, on_disk, replaced)
        stamp, _ = localfs.publish(self._root_fd, arrival, trash=self._trash)
        local = LocalEntry(
            decision.path,
            stamp,
            etag=part.hasher.local_tag,
            digest=part.hasher.digest,
            disk_path=None if on_disk == decision.path else on_disk,
        )
        return Outcome(
            decision,
            local=local,
            remote=_remote(decision),
            moved=part.hasher.size,
            hashed_at_ns=time.time_ns(),
        )


class Downloader:
    """Carries out the downloads of a plan, a batch at a time.

    Args:
        remote: where from.
        landing: where to.
        advanced: told of every piece of content that arrives: path and bytes.
    """

    def __init__(
        self, remote: RemoteReader, landing: Landing, advanced: Callable[[RelPath, int], None]
    ) -> None:
        self._remote = remote
        self._landing = landing
        self._advanced = advanced

    async def bring(self, batch: Sequence[Decision]) -> list[Outcome]:
        """One outcome for each decision of the batch, in any order.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on. What had landed by
                then stays, and the next run adopts it.
        """
        waiting = {decision.path: decision for decision in batch}
        finished: list[Outcome] = []
        tries: Counter[RelPath] = Counter()
        rounds = 0
        broken: FwsyncError | None = None
        while waiting and rounds < ROUNDS:
            landed, broken = await self._round(list(waiting.values()))
            # While it gets on, a bad network may break as often as it likes.
            rounds = 0 if landed.done else rounds + 1
            for outcome in landed.done:
                del waiting[outcome.decision.path]
            finished += landed.done
            for decision, error in landed.failed:
                tries[decision.path] += 1
                if not isinstance(error, IntegrityError) or tries[decision.path] == ROUNDS:
                    del waiting[decision.path]
                    finished.append(_failed(decision, error))
            if isinstance(broken, AuthError | LocalError):
                raise broken
            if waiting and broken and not landed.done:
                # A stream may break at one file, whenever it is asked for: ask for that
                # file alone, so that it stands in nobody's way.
                first = next(iter(waiting.values()))
                alone = await self._alone(first)
                if alone is not None:
                    del waiting[first.path]
                    finished.append(alone)
                    rounds = 0
        if waiting and isinstance(broken, Unavailable):
            raise broken
        return finished + [_failed(one, broken or _withheld(one)) for one in waiting.values()]

    async def _alone(self, decision: Decision) -> Outcome | None:
        """One file by a request of its own; None: it broke off, or its bytes were wrong, once.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on.
        """
        landed = _Landed()
        answered = False
        try:
            async with self._remote.open(_remote(decision)) as chunks:
                answered = True
                landed = await self._receive(decision, decision.size, chunks)
        except (AuthError, LocalError):
            raise
        except Unavailable:
            if not answered:
                raise
            return None
        except FwsyncError as error:
            return _failed(decision, error)
        if landed.done:
            return landed.done[0]
        wrong = landed.failed[0][1]
        return None if isinstance(wrong, IntegrityError) else _failed(decision, wrong)

    async def _round(self, decisions: Sequence[Decision]) -> tuple[_Landed, FwsyncError | None]:
        """Ask once for everything: what arrived, and what broke the asking, if anything."""
        together = [one for one in decisions if one.size < ALONE]
        alone = [one for one in decisions if one.size >= ALONE]
        if len(together) < 2 or self._remote.features.fetch_limit < 2:
            together, alone = [], [*decisions]
        landed = _Landed()
        broken: FwsyncError | None = None
        if together:
            landed, broken = await self._fetch(together)
        for decision in alone:
            try:
                async with self._remote.open(_remote(decision)) as chunks:
                    landed.add(await self._receive(decision, decision.size, chunks))
            except FwsyncError as error:
                if isinstance(error, AuthError | LocalError | Unavailable):
                    return landed, error
                landed.failed.append((decision, error))
        return landed, broken

    async def _fetch(self, decisions: Sequence[Decision]) -> tuple[_Landed, FwsyncError | None]:
        """Many files from one stream; a break keeps what had arrived whole before it."""
        wanted = {decision.path: decision for decision in decisions}
        landed = _Landed()
        group = _Group()
        broken: FwsyncError | None = None
        try:
            async with self._remote.fetch([_remote(one) for one in decisions]) as members:
                async for member in members:
                    decision = wanted[member.entry.path]
                    if member.size > SMALL:
                        landed.add(await self._receive(decision, member.size, member.chunks))
                        continue
                    group.add(_Whole(decision, await self._read_whole(member)))
                    if group.full:
                        landed.add(await in_thread(self._landing.land, group.members))
                        group = _Group()
        except FwsyncError as error:
            broken = error
        try:
            landed.add(await in_thread(self._landing.land, group.members))
        except LocalError as error:
            broken = broken or error
        return landed, broken

    async def _read_whole(self, member: Member) -> bytes:
        content = b"".join([chunk async for chunk in member.chunks])
        self._advanced(member.entry.path, len(content))
        return content

    async def _receive(
        self, decision: Decision, announced: int, chunks: AsyncIterator[bytes]
    ) -> _Landed:
        """Stream one file into its part, then judge and name it."""
        if announced > decision.size:
            error = IntegrityError(
                f"{decision.path}: the server announces {announced} bytes; "
                f"its listing says {decision.size}"
            )
            return _Landed(failed=[(decision, error)])
        part = _Part(decision, self._landing.part_name(decision.path), ContentHasher())
        landed = _Landed()
        complete = False
        told = 0
        try:
            part_fd = await in_thread(self._landing.create, decision.path)
            try:
                async for block in _blocks(chunks):
                    await in_thread(self._take, part_fd, part, block)
                    self._advanced(decision.path, len(block))
                    told += len(block)
                _verify(part)
                await in_thread(self._landing.finish, part_fd, part)
                complete = True
            finally:
                os.close(part_fd)
            await in_thread(self._landing.publish, [part], landed)
        except FileProblem as error:
            landed.failed.append((decision, error))
        finally:
            if not complete:
                self._advanced(decision.path, -told)
                await in_thread(self._landing.drop, decision.path)
        return landed

    def _take(self, part_fd: int, part: _Part, block: bytes) -> None:
        part.hasher.update(block)
        if part.hasher.size > part.decision.size:
            raise IntegrityError(
                f"{part.decision.path}: more bytes come than the {part.decision.size} listed"
            )
        self._landing.write_block(part_fd, part.decision.path, block)


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join chunks to blocks of about 1 MiB, so that threads are asked seldom."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= SMALL:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _verify(part: _Part) -> None:
    """Raise unless the bytes are those of the listing."""
    entry, path = _remote(part.decision), part.decision.path
    if part.hasher.size != entry.size:
        raise IntegrityError(f"{path}: got {part.hasher.size} bytes; expected {entry.size}")
    if entry.digest is not None and part.hasher.digest != entry.digest:
        raise IntegrityError(f"{path}: got {part.hasher.digest}; expected {entry.digest}")


def _remote(decision: Decision) -> RemoteEntry:
    assert decision.remote is not None, f"{decision.path}: a download without a remote file"
    return decision.remote


def _withheld(decision: Decision) -> FwsyncError:
    return IntegrityError(f"{decision.path}: the server lists it, but did not send it")


def _failed(decision: Decision, error: FwsyncError) -> Outcome:
    return Outcome(decision, problem=Problem.of(decision.path, error))


def batches(
    decisions: Iterable[Decision], *, most_files: int, most_bytes: int
) -> Iterator[list[Decision]]:
    """Group decisions for one exchange each, by count and bytes; large ones go alone."""
    batch: list[Decision] = []
    size = 0
    for decision in decisions:
        if batch and (len(batch) >= most_files or size + decision.size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(decision)
        size += decision.size
    if batch:
        yield batch
