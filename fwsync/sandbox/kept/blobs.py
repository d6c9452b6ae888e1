"""The bytes: files named by the SHA-384 of their content, in one folder.

Its one rule: a blob is in its place whole, or it is not there. Bytes are written aside while they
are hashed, and renamed when the last has come; only then may a record speak of them. So a killed
sandbox never has a record without bytes; at worst it has bytes without a record.

Blobs of ``SYNC_FROM`` bytes and more are flushed to the disk before the rename; smaller ones only
when the sandbox was asked to be durable, for a flush costs more than the whole upload. Without
it a *power loss* may take the last small uploads; a killed process takes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WRITERS = 4  # threads
KEEP_IN_MEMORY = 1 << 20  # bytes gathered before they are written aside
HOLE_FROM = 1 << 12  # bytes
ZEROS = bytes(4 << 20)  # no more than that comes at a time
SYNC_FROM = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in their place: lower-case hex of the SHA-384, and the size."""

    sha384: str
    size: int


class Blobs:
    """The folder of blobs and the threads that work in it. Blocks while it is made."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder / "blobs"
        self._aside = folder / "incoming"
        #: Whether every blob is flushed to the disk before it is named.
        self.durable = durable
        self._names = count()
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="sandbox-blob")
        self._aside.mkdir(parents=True, exist_ok=True)
        for left_over in self._aside.iterdir():  # of a sandbox that was killed
            left_over.unlink()
        self._folder.mkdir(exist_ok=True)

    def path(self, sha384: str) -> Path:
        """Where the bytes are, or would be."""
        return self._folder / sha384[:2] / sha384[2:]

    def incoming(self) -> Incoming:
        """A new blob on its way in."""
        return Incoming(self)

    def aside(self) -> Path:
        """A new name for bytes that are on their way; what is left there goes at the next start."""
        return self._aside / f"{os.getpid()}-{next(self._names)}"

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do file work on one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def submit(self, work: Callable[[], object]) -> None:
        """Do file work on one of the threads, without waiting."""
        self._threads.submit(work)

    def close(self) -> None:
        """Wait for the threads. Blocks; call it from a thread."""
        self._threads.shutdown(wait=True)

    def publish(self, aside: Path, blob: Blob) -> None:
        """Flush and rename a file that is complete."""
        if self.durable or blob.size >= SYNC_FROM:
            _sync(aside)
        place = self.path(blob.sha384)
        try:
            aside.replace(place)
        except FileNotFoundError:  # the first of its folder
            place.parent.mkdir(exist_ok=True)
            aside.replace(place)
        if self.durable:
            _sync(place.parent)


class Aside:
    """Bytes on their way to a file aside: ``write`` …, then the end of a subclass, or ``abandon``.

    No more than two times ``KEEP_IN_MEMORY`` is held, and no file is open between two writes.

    Args:
        hashes: by name, of all that is written.
    """

    def __init__(self, blobs: Blobs, *hashes: str) -> None:
        self._blobs = blobs
        self._path = blobs.aside()
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in hashes}
        self._pending: list[bytes] = []
        self._held = 0
        self._flushing: asyncio.Future[None] | None = None
        self._over = False
        # A cancelled wait leaves its thread at work; the lock keeps `_discard` out of its way.
        self._lock = threading.Lock()
        #: Bytes so far.
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Take more bytes; comes back at once unless the disk is behind."""
        self._pending.append(data)
        self._held += len(data)
        self.size += len(data)
        if self._held >= KEEP_IN_MEMORY:
            await self._settle()
            self._flushing = asyncio.ensure_future(self._blobs.run(self._append, self._taken()))

    def abandon(self) -> None:
        """Forget it, whatever state it is in; harmless when it is complete. Does not wait."""
        if not self._over:
            self._over = True
            if self._flushing is not None:
                self._flushing.cancel()
            self._blobs.submit(self._discard)

    async def _settle(self) -> None:
        if self._flushing is not None:
            flushing, self._flushing = self._flushing, None
            await flushing

    def _taken(self) -> list[bytes]:
        pending, self._pending, self._held = self._pending, [], 0
        return pending

    def _append(self, pending: list[bytes]) -> None:
        with self._lock:
            if not self._over:
                self._hash(pending)
                self._store(pending)

    def _hash(self, pending: list[bytes]) -> None:
        for one in self._hashes.values():
            for data in pending:
                one.update(data)

    def _store(self, pending: list[bytes]) -> None:
        with self._path.open("ab") as file:
            for data in pending:
                append(file, data)

    def _discard(self) -> None:
        with self._lock:
            self._path.unlink(missing_ok=True)


class Incoming(Aside):
    """A blob on its way in: ``write`` … ``seal``, or ``abandon``.

    Small ones stay in memory until they are sealed, and cost one hop to a thread.
    """

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "sha384")

    @property
    def in_memory(self) -> bool:
        """Whether all of it is still in memory, so that sealing it is short work."""
        return self._held == self.size

    def seal_here(self) -> Blob:
        """:meth:`seal` on the thread of the caller, for what is still in memory."""
        blob = self._finish()
        self._over = True
        return blob

    async def seal(self) -> Blob:
        """The last byte has come: put the blob in its place."""
        await self._settle()
        blob = await self._blobs.run(self._finish)
        self._over = True
        return blob

    def _finish(self) -> Blob:
        with self._lock:
            is_small, pending = self.in_memory, self._taken()
            self._hash(pending)
            blob = Blob(self._hashes["sha384"].hexdigest(), self.size)
            is_known = is_small and self._blobs.path(blob.sha384).exists()
            if not is_known and not self._over:
                self._store(pending)
                self._blobs.publish(self._path, blob)
            return blob


def append(file: BinaryIO, data: bytes) -> None:
    """Write at the end of a file; many zeros at a time become a hole, which takes no disk.

    What large files are tried with is hardly ever more than that, and the disks that it is tried
    on are small.
    """
    if len(data) >= HOLE_FROM and ZEROS.startswith(data):
        file.truncate(file.seek(0, os.SEEK_END) + len(data))
        file.seek(0, os.SEEK_END)
    else:
        file.write(data)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
