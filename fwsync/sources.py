"""Local files on their way up: read in order or in parts, hashed as they pass.

The one rule: a file that is not what the scan saw never leaves as a whole. It is looked at
again after it was opened and before the last block of each reading is handed out.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace

from fwsync import localfs
from fwsync.digest import ContentHasher, Digest
from fwsync.errors import SourceChanged, Unreadable
from fwsync.model import LocalEntry, RelPath
from fwsync.ports import Upload
from fwsync.threads import in_thread, one_ahead
from fwsync.told import Advanced, Told

#: Bytes handed on at a time: large enough that a thread hop costs nothing beside it.
BLOCK = 1 << 20

#: Nanoseconds: two writes that lie closer may leave the same stamp, on the coarsest file system.
RACY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """What the server is told of a file besides its name and bytes."""

    metadata: Mapping[str, object] = field(default_factory=dict)  #: type, info, tags, …
    #: Of the containers above it, as ``session.timestamp``.
    fields: Mapping[str, object] = field(default_factory=dict)


#: What to say of a file; asked just before it is sent.
Describe = Callable[[LocalEntry], Awaitable[Said]]


async def say_nothing(_entry: LocalEntry) -> Said:
    """For files of which no more is known than where they belong."""
    return Said()


class Source:
    """One local file on its way up.

    Implements :class:`fwsync.ports.Upload` and :class:`fwsync.ports.Stamped`.

    Args:
        root_fd: the root, open for as long as this lives.
        entry: as the scan saw it.
        advanced: told of every piece that has left us: path and bytes, negative when they
            have to be sent again.
        told: bytes of this file that an earlier try has counted.
        metadata: what to say of the file.
        fields: what is known of the containers above it.
    """

    def __init__(
        self,
        root_fd: int,
        entry: LocalEntry,
        advanced: Advanced,
        told: int = 0,
        metadata: Mapping[str, object] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self.metadata: Mapping[str, object] = metadata or {}
        self.fields: Mapping[str, object] = fields or {}
        self.members: Sequence[Upload] = ()
        self.hashed_at_ns = 0  #: wall clock just before the last look at the file
        self._root_fd = root_fd
        self._entry = entry
        self._hasher = ContentHasher()
        self._complete = False
        self._told = Told(entry.path, advanced, told)

    @property
    def path(self) -> RelPath:
        """Where it belongs."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Bytes, as the scan saw it; the read fails if that is no longer so."""
        return self._entry.size

    @property
    def stamp(self) -> str:
        """See :class:`fwsync.ports.Stamped`; empty where a later write might not show in it."""
        one = self._entry.stamp
        if abs(time.time_ns() - one.mtime_ns) < RACY_NS:
            return ""
        return f"{one.size}:{one.mtime_ns}:{one.ctime_ns}:{one.device}:{one.inode}"

    @property
    def told(self) -> int:
        """Bytes of this file that were counted as progress."""
        return self._told.total

    @property
    def digest(self) -> Digest | None:
        """The SHA-384, once the whole file was read in one go."""
        return self._hasher.digest if self._complete else None

    @property
    def seen(self) -> LocalEntry | None:
        """The entry with both digests, once the whole file was read; None before."""
        if not self._complete:
            return None
        return replace(self._entry, etag=self._hasher.local_tag, digest=self._hasher.digest)

    def spared(self, offset: int, size: int) -> None:
        """See :class:`fwsync.ports.Stamped`."""
        self._told.begin(offset)
        self._told.more(offset, size)

    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """See :meth:`fwsync.ports.Upload.read`."""
        whole = offset == 0 and size in (None, self.size)
        left = self.size - offset if size is None else size
        self._told.begin(offset)
        reading = _Reading(self, offset, left, self._new_hasher() if whole else None)
        with closing(reading):  # after the threads that use it
            async with aclosing(one_ahead(reading.step)) as blocks:
                async for block in blocks:
                    if block:
                        yield block
                    # Asked for more: this one has left us. What was only read is no progress.
                    self._told.more(offset, len(block))

    async def examine(self) -> None:
        """See :meth:`fwsync.ports.Upload.examine`."""
        with closing(_Reading(self, 0, self.size, self._new_hasher())) as reading:
            more = True
            while more:
                _, more = await in_thread(reading.step)

    def _new_hasher(self) -> ContentHasher:
        self._hasher = ContentHasher()
        self._complete = False
        return self._hasher

    def open_at(self, offset: int) -> int:
        """Open it for reading from there on; blocks.

        Raises:
            SourceChanged, Unreadable: it is not what the scan saw, or cannot be opened.
        """
        file_fd = localfs.open_regular(self._root_fd, self._entry.on_disk)
        try:
            self.look_again(file_fd, "since the folder was scanned")
            os.lseek(file_fd, offset, os.SEEK_SET)
        except BaseException:
            os.close(file_fd)
            raise
        return file_fd

    def look_again(self, file_fd: int, when: str) -> None:
        """Is it still what the scan saw?

        Raises:
            SourceChanged: it is not.
        """
        if localfs.stamp_of(os.fstat(file_fd)) != self._entry.stamp:
            raise SourceChanged(f"{self.path}: changed {when}")

    def known(self, looked_at_ns: int) -> None:
        """The whole file was read and hashed, and was still the same at that time."""
        self.hashed_at_ns = looked_at_ns
        self._complete = True


class _Reading:
    """One reading of a file, from its opening to a last look at it; all of it blocks.

    Its steps come one after the other, though not in one thread.
    """

    def __init__(
        self, source: Source, offset: int, left: int, hasher: ContentHasher | None
    ) -> None:
        self._source = source
        self._offset = offset
        self._left = left
        self._hasher = hasher
        self._file_fd: int | None = None

    def close(self) -> None:
        """Give the file back; harmless a second time."""
        if self._file_fd is not None:
            os.close(self._file_fd)
            self._file_fd = None

    def step(self) -> tuple[bytes, bool]:
        """The next block, and if there is more; the last one only after a second look.

        Raises:
            SourceChanged: it is not what the scan saw, or not any more.
            Unreadable: it cannot be read.
        """
        if self._file_fd is None:
            self._file_fd = self._source.open_at(self._offset)
        block = self._block(self._file_fd)
        self._left -= len(block)
        if self._hasher is not None:
            self._hasher.update(block)
        if self._left:
            return block, True
        looked_at_ns = time.time_ns()
        self._source.look_again(self._file_fd, "while it was sent")
        if self._hasher is not None:
            self._source.known(looked_at_ns)
        self.close()
        return block, False

    def _block(self, file_fd: int) -> bytes:
        path = self._source.path
        if not self._left:
            return b""
        try:
            block = os.read(file_fd, min(BLOCK, self._left))
        except OSError as error:
            raise Unreadable(f"{path}: reading failed ({error.strerror})") from None
        if not block:
            raise SourceChanged(f"{path}: became shorter while it was sent")
        return block
