"""Packs on their way up: many local files, read as the one zip that the server is to hold.

The one rule: no zip leaves as a whole unless each of its members still is what the scan saw
and holds the bytes that its checksum was taken of. There is no zip on disk: every stretch of
it is made from the members as it is read.

Compressed (:attr:`fwsync.model.Pack.deflated`), the zip is made twice: once for the lengths
that stand before the bytes, and once as it is sent.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol, TypeAlias

from fwsync import localfs
from fwsync.digest import ContentHasher, Digest, LocalTag, TagHasher
from fwsync.errors import FileProblem, SourceChanged, Unreadable
from fwsync.model import LocalEntry, PackMember, RelPath
from fwsync.packing import pack_entry
from fwsync.ports import Upload
from fwsync.threads import in_thread, one_ahead, workers
from fwsync.told import Advanced, Told
from fwsync.zipstream import (
    CHUNK,
    DEFLATED_BY,
    Span,
    Summing,
    ZipLayout,
    ZipMember,
    deflate,
    in_chunks,
)

#: Bytes handed on at a time: large enough that a thread hop costs nothing beside it.
BLOCK = 1 << 20

#: Nanoseconds: two writes that lie closer may leave the same stamp, on the coarsest file system.
RACY_NS = 2_000_000_000

#: What is made step by step, each step in a thread; to be closed.
_Made: TypeAlias = Generator[bytes, None, None]

#: Threads that sum members up, each with one of them open: more of them get into each other's
#: way (measured with 20 000 files of 20 KB: 2 threads 445 MB/s, 4 threads 250).
READERS = 2

#: A thread is given so many members, or bytes of them, at a time.
GROUP_FILES = 64
GROUP_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class _Summed:
    """A member as it is sent, and the tag of the file as it is here."""

    sent: ZipMember
    tag: LocalTag


#: In place of where a reading began: what was told of the members one by one.
_MEMBERS = -2


class Through(Protocol):
    """Changes the members of a pack before they are sent."""

    def __call__(self, path: str, size: int, blocks: Iterable[bytes]) -> bytes:
        """What is sent in place of these bytes; asked in a thread, and more than once.

        Raises:
            FileProblem: it must not be sent.
        """
        ...


class PackSource:
    """One pack on its way up, as a file would be.

    Implements :class:`fwsync.ports.Upload`, :class:`fwsync.ports.Stamped` and
    :class:`fwsync.ports.Tagged`. Every reading waits until the members were read once for their
    checksums (:meth:`prepare`), because these stand before the content.

    Args:
        root_fd: the root, open for as long as this lives.
        entry: of :func:`fwsync.packing.pack_entry`.
        advanced: told of every piece that has left us: path and bytes, negative when they
            have to be sent again.
        told: bytes of this pack that an earlier try has counted.
        metadata: what to say of the file.
        fields: what is known of the containers above it.
        make_members: gives the files inside, for a server that does the packing; each tells
            what it is given of its progress.
        through: changes the members; the size is known after :meth:`prepare` then, as it is
            where the zip is compressed.
    """

    def __init__(
        self,
        root_fd: int,
        entry: LocalEntry,
        advanced: Advanced,
        told: int = 0,
        metadata: Mapping[str, object] | None = None,
        fields: Mapping[str, object] | None = None,
        make_members: Callable[[Advanced], Sequence[Upload]] | None = None,
        through: Through | None = None,
    ) -> None:
        assert entry.pack is not None, f"{entry.path}: is no pack"
        self.metadata: Mapping[str, object] = metadata or {}
        self.fields: Mapping[str, object] = fields or {}
        self.hashed_at_ns = 0  #: wall clock before the first of the members was read
        self._root_fd = root_fd
        self._through = through
        self._changed_last: tuple[int, bytes] = (-1, b"")  # a member, and what became of it
        self._entry = entry
        self._pack = entry.pack
        self._layout: ZipLayout | None = None
        self._preparing = asyncio.Lock()
        self._hasher = ContentHasher()
        self._complete = False
        self._make_members = make_members
        self._members: Sequence[Upload] | None = None
        self._told = Told(entry.path, advanced, told)

    @property
    def members(self) -> Sequence[Upload]:
        """The files inside; made when they are asked for, which most ways up do not."""
        if self._members is None:
            make = self._make_members
            self._members = () if make is None else make(self._member_advanced)
        return self._members

    @property
    def path(self) -> RelPath:
        """Where it belongs."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Bytes of the zip, as the scan saw its members; the read fails if that is not so.

        Before :meth:`prepare`, those of the zip that is neither changed nor compressed.
        """
        return self._entry.size if self._layout is None else self._layout.size

    @property
    def stamp(self) -> str:
        """See :class:`fwsync.ports.Stamped`; empty where a later write might not show in it."""
        if self._through is not None:
            return ""
        now_ns, one = time.time_ns(), self._entry.stamp
        if any(abs(now_ns - it.entry.stamp.mtime_ns) < RACY_NS for it in self._pack.members):
            return ""
        form = f":{DEFLATED_BY}" if self._pack.deflated else ""
        return f"{one.size}:{one.mtime_ns}:{one.ctime_ns}:{one.device}:{one.inode}{form}"

    @property
    def told(self) -> int:
        """Bytes of this pack that were counted as progress."""
        return self._told.total

    @property
    def digest(self) -> Digest | None:
        """The SHA-384 of the zip, once it was read in one go."""
        return self._hasher.digest if self._complete else None

    @property
    def seen(self) -> LocalEntry | None:
        """The entry with all its digests, once the whole zip was read; None before.

        Where the members are changed, it has no digest: the zip that was sent is not ours.
        """
        if not self._complete:
            return None
        digest = self._hasher.digest if self._through is None else None
        return replace(self._entry, digest=digest)

    async def prepare(self) -> LocalEntry:
        """Read every member once, for its checksum and its tag; later calls cost nothing.

        Returns:
            The entry, with the tags of its members and its own.

        Raises:
            SourceChanged, Unreadable: a member is not what the scan saw, or cannot be read.
        """
        async with self._preparing:
            if self._layout is None:
                await self._sum_up()
        return self._entry

    async def tag(self) -> str:
        """See :class:`fwsync.ports.Tagged`; of the members as they are here."""
        return (await self.prepare()).etag or ""

    def spared(self, offset: int, size: int) -> None:
        """See :class:`fwsync.ports.Stamped`."""
        self._told.begin(offset, _MEMBERS)
        self._told.more(offset, size)

    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """See :meth:`fwsync.ports.Upload.read`."""
        self._told.begin(offset, _MEMBERS)
        async with aclosing(_in_threads(await self._blocks(offset, size))) as blocks:
            async for block in blocks:
                yield block
                # Asked for more: this one has left us. What was only read is no progress.
                self._told.more(offset, len(block))

    async def examine(self) -> None:
        """See :meth:`fwsync.ports.Upload.examine`."""
        async for _ in _in_threads(await self._blocks(0, None)):
            pass

    # ------------------------------------------------------------------------------- summing up

    async def _sum_up(self) -> None:
        self.hashed_at_ns = time.time_ns()
        todo = iter(_groups(self._pack.members))
        found: dict[str, _Summed] = {}

        async def worker() -> None:
            for group in todo:
                found.update(await in_thread(self._summed, group))

        async with workers() as crew:
            for _ in range(READERS):
                crew.create_task(worker())
        await in_thread(self._lay_out, found)

    def _lay_out(self, found: Mapping[str, _Summed]) -> None:
        """Take in what the members were found to hold; takes a while where they are many."""
        members = [
            replace(one, entry=replace(one.entry, etag=found[one.name].tag))
            for one in self._pack.members
        ]
        summed = pack_entry(self.path, self._pack.kind, members, deflated=self._pack.deflated)
        assert summed.stamp == self._entry.stamp, f"{self.path}: not an entry of pack_entry"
        self._pack = summed.pack or self._pack
        self._entry = replace(self._entry, etag=summed.etag, pack=summed.pack)
        self._layout = ZipLayout(one.sent for one in found.values())

    def _summed(self, group: Sequence[PackMember]) -> dict[str, _Summed]:
        """What is sent of each member of a group, and its tag, by name."""
        found = {}
        for member in group:
            hasher, summing = TagHasher(), Summing(deflates=self._pack.deflated)
            with self._opened(member) as file_fd:
                summing.take(self._passed(member, self._hashing(file_fd, member, hasher)))
            found[member.name] = _Summed(summing.member(member.name), hasher.local_tag)
        return found

    def _hashing(self, file_fd: int, member: PackMember, hasher: TagHasher) -> _Made:
        for block in self._read(file_fd, member, member.entry.size):
            hasher.update(block)
            yield block

    def _passed(self, member: PackMember, blocks: _Made) -> Iterable[bytes]:
        """A whole member as it is sent."""
        if self._through is None:
            return blocks
        try:
            return [self._through(member.entry.on_disk, member.entry.size, blocks)]
        except (SourceChanged, Unreadable):
            raise
        except FileProblem as error:
            message = f"{self.path}: {member.name}, which is in it, {error.message}"
            raise FileProblem(message, hint=error.hint) from None

    # ------------------------------------------------------------------------------- the stream

    def _member_advanced(self, _name: RelPath, size: int) -> None:
        self._told.begin()
        self._told.more(_MEMBERS, size)

    async def _blocks(self, offset: int, size: int | None) -> _Made:
        """A stretch of the zip in blocks; hashed if it is all of it."""
        await self.prepare()
        assert self._layout is not None
        made = _joined(self._chunks(self._layout, offset, size))
        whole = offset == 0 and size in (None, self.size)
        return self._hashed(made, self.size) if whole else made

    def _hashed(self, blocks: _Made, size: int) -> _Made:
        """The same, hashed; the digest is known before the last of ``size`` bytes is handed out."""
        hasher = self._hasher = ContentHasher()
        self._complete = False
        with closing(blocks):
            for block in blocks:
                hasher.update(block)
                self._complete = hasher.size == size
                yield block

    def _chunks(self, layout: ZipLayout, offset: int, size: int | None) -> _Made:
        """A stretch of the zip, as it comes."""
        for piece in layout.pieces(offset, size):
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from self._content(piece, layout.members[piece.member])

    def _content(self, span: Span, summed: ZipMember) -> _Made:
        """A stretch of a member as it stands in the zip."""
        return self._deflated(span, summed) if summed.packed else self._plain(span, summed)

    def _deflated(self, span: Span, summed: ZipMember) -> _Made:
        """A stretch of a compressed member: the chunks that it lies in are made anew."""
        ends = list(accumulate(summed.packed))
        first, after = bisect_right(ends, span.start), bisect_left(ends, span.start + span.size) + 1
        start, stop = first * CHUNK, min(after * CHUNK, summed.size)
        plain = self._plain(Span(span.member, start, stop - start), summed)
        with closing(plain):
            for number, chunk in enumerate(in_chunks(plain), first):
                made = deflate(chunk, last=number + 1 == len(ends))
                if len(made) != summed.packed[number]:
                    member = self._pack.members[span.member]
                    raise self._not_as_seen(member, "changed while it was sent")
                begin = span.start - (ends[number] - len(made))
                yield made[max(0, begin) : begin + span.size]

    def _plain(self, span: Span, summed: ZipMember) -> _Made:
        """A stretch of a member, with the last chunk only after a second look.

        Read whole, it must have the checksum that the zip says: a file can change within a
        tick of the clock, and a zip that contradicts itself is of no use to anybody.
        """
        member, left, crc32 = self._pack.members[span.member], span.size, 0
        if self._through is not None:
            changed = self._changed(span.member, summed)
            yield changed[span.start : span.start + span.size]
            return
        with self._opened(member) as file_fd:
            os.lseek(file_fd, span.start, os.SEEK_SET)
            for block in self._read(file_fd, member, span.size):
                left -= len(block)
                crc32 = zlib.crc32(block, crc32)
                if left == 0 and span.size == summed.size and crc32 != summed.crc32:
                    raise self._not_as_seen(member, "changed while it was sent")
                yield block

    def _changed(self, index: int, summed: ZipMember) -> bytes:
        """A member as it is sent, once more, and as it was the first time."""
        last, content = self._changed_last
        if last == index:
            return content
        member = self._pack.members[index]
        with self._opened(member) as file_fd:
            blocks = self._read(file_fd, member, member.entry.size)
            content = b"".join(self._passed(member, blocks))
        if len(content) != summed.size or zlib.crc32(content) != summed.crc32:
            raise FileProblem(
                f"{self.path}: the profile makes other bytes of {member.name} each time",
                hint="such as by jitter or encryption; leave that out, or do not pack",
            )
        self._changed_last = index, content
        return content

    # ---------------------------------------------------------------------------- the members

    @contextmanager
    def _opened(self, member: PackMember) -> Iterator[int]:
        file_fd = localfs.open_regular(self._root_fd, member.entry.on_disk)
        try:
            self._look_at(file_fd, member, "changed since the folder was scanned")
            yield file_fd
        finally:
            os.close(file_fd)

    def _read(self, file_fd: int, member: PackMember, size: int) -> _Made:
        """So many bytes of a member from where it stands; looked at again before the last."""
        left = size
        while left:
            try:
                block = os.read(file_fd, min(BLOCK, left))
            except OSError as error:
                reason = f"reading {member.name} failed ({error.strerror})"
                raise Unreadable(f"{self.path}: {reason}") from None
            if not block:
                raise self._not_as_seen(member, "became shorter while it was read")
            left -= len(block)
            if left == 0:
                self._look_at(file_fd, member, "changed while it was read")
            yield block

    def _look_at(self, file_fd: int, member: PackMember, otherwise: str) -> None:
        if localfs.stamp_of(os.fstat(file_fd)) != member.entry.stamp:
            raise self._not_as_seen(member, otherwise)

    def _not_as_seen(self, member: PackMember, what: str) -> SourceChanged:
        return SourceChanged(f"{self.path}: {member.name}, which is in it, {what}")


def _groups(members: Iterable[PackMember]) -> Iterator[list[PackMember]]:
    """Members for one hop to a thread each, by count and bytes."""
    group: list[PackMember] = []
    size = 0
    for member in members:
        group.append(member)
        size += member.entry.size
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _joined(chunks: _Made) -> _Made:
    """Chunks as blocks of about 1 MiB, twice that at most: threads are asked seldom."""
    gathered: list[bytes] = []
    size = 0
    with closing(chunks):
        for chunk in chunks:
            gathered.append(chunk)
            size += len(chunk)
            if size >= BLOCK:
                yield b"".join(gathered)
                gathered, size = [], 0
    if size:
        yield b"".join(gathered)


async def _in_threads(made: _Made) -> AsyncGenerator[bytes, None]:
    """What a generator makes, each step of it in a thread, one step ahead."""

    def step() -> tuple[bytes, bool]:
        block = next(made, None)
        return block or b"", block is not None

    with closing(made):  # after the threads that use it
        async with aclosing(one_ahead(step)) as blocks:
            async for block in blocks:
                if block:
                    yield block


async def hash_pack(
    root_fd: int, entry: LocalEntry, *, want_digest: bool
) -> tuple[LocalEntry, int]:
    """Read a pack's members, and make sure that they still are what the scan saw.

    Args:
        root_fd: the root.
        entry: of :func:`fwsync.packing.pack_entry`.
        want_digest: also the digest of the zip, compressed or stored as the entry says, which
            compares with the server's.

    Returns:
        The entry with its etag, its members' etags and, if wanted, its digest; and the wall
        clock in nanoseconds before the first of them was read.

    Raises:
        SourceChanged, Unreadable: one of the members.
    """
    source = PackSource(root_fd, entry, lambda _path, _size: None)
    if not want_digest:
        return await source.prepare(), source.hashed_at_ns
    await source.examine()
    assert source.seen is not None, f"{entry.path}: was read, and has no digest"
    return source.seen, source.hashed_at_ns
