"""What was put into a store and waits to be finalized: bytes aside, never under a client's name.

Its one rule: an object is there whole, or it is not there. Bytes are hashed while they are written
aside; only when the last has come does the object take its key, and one that was there goes.
Objects are kept some hours, and no longer than the sandbox runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import StreamReader

from fwsync.sandbox.kept.blobs import KEEP_IN_MEMORY, Blob, Blobs

HOLD_S: Final = 6 * 3600  # seconds that an object waits to be finalized
MAX_HELD: Final = 10_000  # keys; the oldest go
COPY: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that came whole: where they are, how many, and their hashes.

    ``sha384`` (hex) is empty for a part of an object.
    """

    path: Path
    size: int
    md5: bytes
    sha384: str = ""


class Writer:
    """Bytes on their way aside: ``write`` …, then ``close`` or ``abandon``.

    Holds no more than two times ``KEEP_IN_MEMORY``, and no file open between two writes.

    Args:
        part: of a larger object, so that its own SHA-384 is of no use.
    """

    def __init__(self, blobs: Blobs, *, part: bool = False) -> None:
        self._blobs = blobs
        self._path = blobs.aside()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha = None if part else hashlib.sha384(usedforsecurity=False)
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

    async def flush(self) -> None:
        """Wait until nothing is held in memory."""
        await self._settle()
        if self._pending:
            await self._blobs.run(self._append, self._taken())

    async def close(self) -> Piece:
        """The last byte has come."""
        await self._settle()
        await self._blobs.run(self._append, self._taken())  # also of no bytes: the file is made
        self._over = True
        sha384 = self._sha.hexdigest() if self._sha is not None else ""
        return Piece(self._path, self.size, self._md5.digest(), sha384)

    def abandon(self) -> None:
        """Forget it; harmless after ``close``. Does not wait."""
        if not self._over:
            self._over = True
            if self._flushing is not None:
                self._flushing.cancel()
            self._blobs.submit(self._discard)

    def _taken(self) -> list[bytes]:
        pending, self._pending, self._held = self._pending, [], 0
        return pending

    async def _settle(self) -> None:
        if self._flushing is not None:
            flushing, self._flushing = self._flushing, None
            await flushing

    def _append(self, pending: list[bytes]) -> None:
        with self._lock:
            if self._over:
                return
            with self._path.open("ab") as file:
                for data in pending:
                    self._md5.update(data)
                    if self._sha is not None:
                        self._sha.update(data)
                    file.write(data)

    def _discard(self) -> None:
        with self._lock:
            self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class Held:
    """What is known of one key.

    Args:
        since: when it was first spoken of, in seconds.
        piece: the object, once it is whole.
        etag: of the object, without quotation marks.
        parts: what came and is not joined yet, by number or by block id.
    """

    since: float
    piece: Piece | None = None
    etag: str = ""
    parts: dict[int | str, Piece] = field(default_factory=dict)
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)


class Objects:
    """The objects of a store, by key.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, blobs: Blobs, now: Callable[[], float]) -> None:
        self.blobs = blobs
        #: The time, in seconds; a test may move it.
        self.now = now
        self._held: dict[str, Held] = {}  # the oldest first

    def get(self, key: str) -> Held | None:
        """What is known of a key; ``None``: nothing came, or it was taken or forgotten."""
        return self._held.get(key)

    def whole(self, key: str) -> Held | None:
        """The same, if the object is there."""
        held = self._held.get(key)
        return held if held is not None and held.piece is not None else None

    def put(self, key: str, piece: Piece, etag: str) -> None:
        """An object is whole; one of the same key goes, and so do parts of it."""
        self.sweep()
        held = self._at(key)
        self.discard([*held.parts.values(), *([held.piece] if held.piece else [])])
        held.piece, held.etag, held.parts = piece, etag, {}

    def put_part(self, key: str, number: int | str, piece: Piece) -> None:
        """A part came; one of the same number goes."""
        self.sweep()
        held = self._at(key)
        before = held.parts.get(number)
        held.parts[number] = piece
        if before is not None:
            self.discard([before])

    async def join(self, key: str, numbers: Sequence[int | str], etag: str) -> None:
        """Make the object of some of its parts, in this order; the others go.

        Raises:
            KeyError: one of them did not come.
            FileNotFoundError: one of them was replaced meanwhile.
        """
        held = self._at(key)
        pieces = [held.parts[number] for number in numbers]
        self.put(key, await self.blobs.run(_joined, pieces, self.blobs.aside()), etag)

    async def take(self, key: str) -> Blob:
        """Move the object to the blobs, for good.

        Raises:
            KeyError: it is not there.
        """
        held = self._held.pop(key)
        self.discard(held.parts.values())
        if held.piece is None:
            raise KeyError(key)
        return await self.blobs.run(_publish, self.blobs, held.piece)

    def drop(self, key: str) -> bool:
        """Forget a key; whether there was anything."""
        held = self._held.pop(key, None)
        if held is None:
            return False
        self.discard([*held.parts.values(), *([held.piece] if held.piece else [])])
        return True

    def sweep(self) -> None:
        """Forget what nobody finalized in time, and the oldest if there are too many."""
        limit = self.now() - HOLD_S
        while self._held:
            key, oldest = next(iter(self._held.items()))
            if oldest.since > limit and len(self._held) < MAX_HELD:
                return
            self.drop(key)

    def _at(self, key: str) -> Held:
        return self._held.setdefault(key, Held(self.now()))

    def discard(self, pieces: Iterable[Piece]) -> None:
        """Remove bytes that no key leads to any more. Does not wait."""
        paths = [piece.path for piece in pieces]
        if paths:
            self.blobs.submit(lambda: _remove(paths))


async def receive(
    blobs: Blobs, content: StreamReader, *, part: bool = False, limit: int | None = None
) -> Piece | None:
    """Take a body to its end.

    Args:
        limit: bytes; of a longer one nothing is kept.

    Returns:
        The piece; ``None``: it was longer than the limit.
    """
    writer = Writer(blobs, part=part)
    try:
        while data := await content.readany():
            await writer.write(data)
            if limit is not None and writer.size > limit:
                return None
        return await writer.close()
    finally:
        writer.abandon()


def _joined(pieces: Sequence[Piece], aside: Path) -> Piece:
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha384(usedforsecurity=False)
    try:
        with aside.open("xb") as whole:
            for piece in pieces:
                with piece.path.open("rb") as part:
                    while data := part.read(COPY):
                        md5.update(data)
                        sha.update(data)
                        whole.write(data)
            size = whole.tell()
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return Piece(aside, size, md5.digest(), sha.hexdigest())


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _publish(blobs: Blobs, piece: Piece) -> Blob:
    blobs.publish(piece.path.open("rb+"), piece.path, piece.sha384, piece.size)
    return Blob(piece.sha384, piece.size)
