"""One large file on its way: several requests at once, and the digest of the file behind them.

The one rule: a piece is here once its bytes are durable and its row is written, in this order;
and what goes into the digest is what is read from the disk again. So it is with the beginning of
a piece, where a run is stopped in it or it comes slowly.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

from fwsync import localfs
from fwsync.arrivals import Landed, Landing
from fwsync.digest import ContentHasher, LocalTag, TagHasher
from fwsync.errors import FwsyncError, IntegrityError, Unavailable
from fwsync.model import RelPath, RemoteEntry
from fwsync.ports import Ranged, RemoteReader
from fwsync.state_downloads import Held, OpenDownload
from fwsync.threads import in_thread, workers

#: Bytes of a piece: a kill costs so much of each stream, or what came in :data:`KEEP_S`.
PIECE: Final = 8 << 20

#: Seconds after which the beginning of a piece is recorded, where it comes that slowly.
KEEP_S: Final = 2.0

#: A file has no more pieces than this, so that its rows stay few: then they are larger.
MOST_PIECES: Final = 8192

#: Bytes that one request asks for, at most, where a piece is not larger.
SPAN: Final = 64 << 20

#: Streams of one file at the same time.
AT_ONCE: Final = 4

#: Requests running that bring nothing before it is given up.
TRIES: Final = 3

#: Bytes that are given to a thread at a time. Each stream holds so many, and what is read ahead.
BLOCK: Final = 1 << 20

#: Seconds after which they are given to it, be they fewer.
GATHER_S: Final = 1.0

#: How a file is received that comes as one stream.
ReceiveWhole = Callable[[Ranged], Awaitable[Landed]]


def piece_size(size: int) -> int:
    """Bytes of each piece but the last of a file of this size; the same in each run."""
    step = PIECE // 8
    return max(PIECE, -(-size // (MOST_PIECES * step)) * step)


class PieceFile:
    """The part of a large file; every method blocks, for a thread."""

    def __init__(self, part_fd: int, path: RelPath, landing: Landing) -> None:
        self._fd = part_fd
        self._path = path
        self._landing = landing

    def write(self, stream: Stream, block: Sequence[memoryview], *, is_end: bool) -> None:
        """Write where a stream is, and take into account for the tag of its piece.

        Args:
            stream: is behind the block when this returns, whoever still waits for it.
            block: what is written, one after the other; all of it within one piece.
            is_end: with it the piece is whole: it is durable when this returns.
        """
        offset = stream.at
        try:
            for chunk in block:
                rest = chunk
                while rest:
                    written = os.pwrite(self._fd, rest, offset)
                    rest, offset = rest[written:], offset + written
                stream.took(chunk)
        except OSError as error:
            raise localfs.local_problem(self._path, "cannot be written", error) from None
        if is_end:
            self.sync()

    def sync(self) -> None:
        """Make durable what was written so far."""
        self._landing.sync(self._fd, self._path)

    def regain(self, stream: Stream, held: Held) -> bool:
        """Take a stream behind what an earlier run has left of its piece; False: it is not that."""
        begins = Stream(stream.at)
        for block in self._read(stream.at, held.size):
            begins.took(block)
        if begins.held() != held:
            return False
        stream.at, stream.hasher = begins.at, begins.hasher
        return True

    def check(self, offset: int, size: int, tag: LocalTag, hasher: ContentHasher) -> None:
        """Read a piece again, for the digest of the file.

        Raises:
            IntegrityError: it is not what was written there.
        """
        own = TagHasher()
        for block in self._read(offset, size):
            own.update(block)
            hasher.update(block)
        if own.size != size or own.local_tag != tag:
            raise IntegrityError(
                f"{self._path}: what was kept of it in .fwsync/parts is not what was written"
            )

    def _read(self, offset: int, size: int) -> Iterator[bytes]:
        """So many bytes from there on, or fewer where the file ends."""
        try:
            while size and (block := os.pread(self._fd, min(BLOCK, size), offset)):
                yield block
                offset, size = offset + len(block), size - len(block)
        except OSError as error:
            raise localfs.local_problem(self._path, "cannot be read again", error) from None


class Stream:
    """How far one stream is, and the tag of the piece that it is in.

    Args:
        at: where it begins; the start of a piece.
    """

    def __init__(self, at: int) -> None:
        self.at = at  #: the place in the file of the byte that comes next
        self.hasher = TagHasher()  #: of the piece so far
        self.kept_s = time.monotonic()  #: when what is here of the piece was last recorded

    def took(self, chunk: bytes | memoryview) -> None:
        """These bytes are on the disk, where the stream was."""
        self.hasher.update(chunk)
        self.at += len(chunk)

    def held(self) -> Held:
        """What is here of the piece."""
        return Held(self.hasher.size, self.hasher.local_tag)

    def turn(self) -> None:
        """To the next piece."""
        self.hasher = TagHasher()


class Course:
    """One file on its way: pieces to ask for, pieces that are here, and the digest behind them."""

    def __init__(
        self,
        entry: RemoteEntry,
        remote: RemoteReader,
        streams: asyncio.Semaphore,
        kept: OpenDownload,
        confirm: Callable[[OpenDownload, Mapping[int, Held]], Awaitable[None]],
        advanced: Callable[[RelPath, int], None],
    ) -> None:
        self._entry = entry
        self._remote = remote
        self._streams = streams
        self._kept = kept
        self._confirm = confirm
        self._advanced = advanced
        self._count = -(-entry.size // kept.piece_size)
        missing = (number for number in range(self._count) if not self._is_whole(number))
        self._todo = sorted(missing, reverse=True)  # the next one is the last
        self._under_way = set[Stream]()
        self._news = asyncio.Event()  # a piece is here
        self._answered = asyncio.Event()  # how the server sends it is known
        self._comes_whole = False  # it comes as one stream
        self._whole: Landed | None = None  # it came as one
        if not self._todo:
            self._answered.set()
        self.hasher = ContentHasher()  #: of what is on the disk
        self.fetched = 0  #: bytes that came
        self.counted = 0  #: bytes that were told of
        self.disk_failed = False  #: the part cannot be written

    async def run(self, file: PieceFile, receive_whole: ReceiveWhole) -> Landed | None:
        """Until all is here and was read again; or what came of one stream.

        Raises:
            IntegrityError: what comes, or what is here, is not the file of the listing.
            FwsyncError: as :meth:`Pieces.bring`.
        """
        self.count_in(self._here())
        async with workers() as group:
            group.create_task(self._check(file))
            for number in range(min(AT_ONCE, len(self._todo))):
                group.create_task(self._work(file, receive_whole, leads=number == 0))
        return self._whole

    async def leave(self, file: PieceFile) -> None:
        """Once :meth:`run` has raised: keep the beginnings of pieces for a later run.

        Raises:
            FwsyncError: they cannot be made durable, or not be recorded.
        """
        begun = {self._number(one): one.held() for one in self._under_way if one.hasher.size}
        if begun:
            await in_thread(file.sync)
            await self._confirm(self._kept, begun)
            self._kept.pieces |= begun
        self.count_in(self._here() - self.counted)

    def count_in(self, count: int) -> None:
        """So many bytes are here; fewer, if it is less than nothing."""
        self.counted += count
        self._advanced(self._entry.path, count)

    def _size_of(self, number: int) -> int:
        return min(self._kept.piece_size, self._entry.size - number * self._kept.piece_size)

    def _here(self) -> int:
        return sum(held.size for held in self._kept.pieces.values())

    def _is_whole(self, number: int) -> bool:
        held = self._kept.pieces.get(number)
        return held is not None and held.size == self._size_of(number)

    def _number(self, stream: Stream) -> int:
        """Of the piece that it is in, be it behind the last byte of it."""
        return (stream.at - stream.hasher.size) // self._kept.piece_size

    async def _check(self, file: PieceFile) -> None:
        """Follow the pieces, in their order, with the digest."""
        await self._answered.wait()
        number = 0
        while number < self._count and self._whole is None:
            if not self._is_whole(number):
                self._news.clear()
                await self._news.wait()
                continue
            tag = self._kept.pieces[number].tag
            offset = number * self._kept.piece_size
            await in_thread(file.check, offset, self._size_of(number), tag, self.hasher)
            number += 1

    async def _work(self, file: PieceFile, receive_whole: ReceiveWhole, *, leads: bool) -> None:
        """Ask for one span after the other; the first answer shows how the server sends it."""
        if not leads:
            await self._answered.wait()
        while span := self._next_span():
            await self._bring(file, span, receive_whole)

    def _next_span(self) -> range | None:
        """Pieces that lie side by side, for one request; fewer as the end draws near.

        A piece of which the beginning is here is the first of its span.
        """
        if self._whole is not None or not self._todo:
            return None
        fair = -(-len(self._todo) // (2 * AT_ONCE))
        most = max(1, min(SPAN // self._kept.piece_size, fair))
        first = self._todo.pop()
        end = first + 1
        while end - first < most and self._todo and self._todo[-1] == end:
            if end in self._kept.pieces:
                break
            end = self._todo.pop() + 1
        return range(first, end)

    async def _bring(self, file: PieceFile, span: range, receive_whole: ReceiveWhole) -> None:
        """The pieces of a span; after a break the request goes on where it was."""
        path, size = self._entry.path, self._entry.size
        stream = await self._stream(file, span.start)
        end = min(span.stop * self._kept.piece_size, size)
        in_vain = 0
        while stream.at < end:
            before, is_open = stream.at, False
            broken: Unavailable | None = None
            try:
                async with (
                    self._streams,
                    self._remote.span(self._entry, before, end - before) as answer,
                ):
                    is_open = True
                    if answer.whole:
                        await self._take_whole(answer, receive_whole)
                        return
                    self._agree_on(answer.mark)
                    async for block in blocks(answer.chunks, rest=True):
                        await self._take(file, stream, block)
            except Unavailable as error:
                if not is_open:
                    raise  # it was asked for as long as the patience is
                broken = error
            in_vain = 0 if stream.at > before else in_vain + 1
            if in_vain == TRIES and stream.at < end:
                raise broken or IntegrityError(f"{path}: ends after {before} bytes of {size}")
        self._under_way.discard(stream)

    async def _stream(self, file: PieceFile, number: int) -> Stream:
        """A stream to the rest of a piece, or to all of it."""
        stream = Stream(number * self._kept.piece_size)
        held = self._kept.pieces.get(number)
        if held is not None and not await in_thread(file.regain, stream, held):
            del self._kept.pieces[number]
            self.count_in(-held.size)
        self._under_way.add(stream)
        return stream

    async def _take_whole(self, answer: Ranged, receive_whole: ReceiveWhole) -> None:
        """The server sends it from the start, whatever was asked for: so it is taken (F47)."""
        if self._answered.is_set():
            raise IntegrityError(f"{self._entry.path}: ranges came, and then the whole file")
        self.count_in(-self.counted)
        self._comes_whole = True
        self._under_way.clear()  # what is here is no part of it
        self._whole = await receive_whole(answer)
        self._answered.set()

    def _agree_on(self, mark: str) -> None:
        """All pieces are of one content, as far as the server says (F45)."""
        if self._comes_whole:
            raise IntegrityError(f"{self._entry.path}: the whole file came, and then ranges of it")
        if mark and self._kept.mark and mark != self._kept.mark:
            raise IntegrityError(f"{self._entry.path}: changed on the server between two pieces")
        self._kept.mark = self._kept.mark or mark
        self._answered.set()

    async def _take(self, file: PieceFile, stream: Stream, block: Sequence[bytes]) -> None:
        """Write what came; what makes a piece whole is made durable, and recorded."""
        rest: Sequence[memoryview] = [memoryview(chunk) for chunk in block]
        while rest:
            number = self._number(stream)
            missing = self._size_of(number) - stream.hasher.size
            now, rest = _cut(rest, missing)
            size = sum(map(len, now))
            is_end = size == missing
            try:
                await in_thread(file.write, stream, now, is_end=is_end)
                is_slow = not is_end and time.monotonic() - stream.kept_s >= KEEP_S
                if is_slow:
                    await in_thread(file.sync)
            except FwsyncError:
                self.disk_failed = True
                raise
            self.fetched += size
            self.count_in(size)
            if not is_end and not is_slow:
                continue
            held = stream.held()
            await self._confirm(self._kept, {number: held})
            self._kept.pieces[number] = held
            stream.kept_s = time.monotonic()
            if is_end:
                stream.turn()
                self._news.set()


def _cut(chunks: Sequence[memoryview], most: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first bytes of these, so many at most, and the others."""
    head: list[memoryview] = []
    for at, chunk in enumerate(chunks):
        if len(chunk) >= most:
            tail = [chunk[most:]] if len(chunk) > most else []
            return [*head, chunk[:most]], [*tail, *chunks[at + 1 :]]
        head.append(chunk)
        most -= len(chunk)
    return head, []


async def blocks(
    chunks: AsyncIterator[bytes], *, rest: bool = False
) -> AsyncIterator[Sequence[bytes]]:
    """Gather chunks to blocks of a MiB or so, or of a second, so that threads are asked seldom.

    They are not joined: a copy of everything would cost as much as the reading.

    Args:
        chunks: as they come.
        rest: what had come before a break is handed out too, before the break is raised.
    """
    gathered: list[bytes] = []
    size, began_s = 0, time.monotonic()
    broken: Unavailable | None = None
    try:
        async for chunk in chunks:
            gathered.append(chunk)
            size += len(chunk)
            if size >= BLOCK or time.monotonic() - began_s >= GATHER_S:
                block, gathered, size = gathered, [], 0
                yield block
                began_s = time.monotonic()
    except Unavailable as error:
        broken = error
    if gathered and (rest or broken is None):
        yield gathered
    if broken is not None:
        raise broken
