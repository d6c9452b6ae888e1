"""What was put into a store and waits to be finalized: bytes aside, never under a client's name.

Its one rule: an object is there whole, or it is not there. Bytes are hashed while they are written
aside; only when the last has come does the object take its key, and one that was there goes.
Objects are kept some hours, and no longer than the sandbox runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import StreamReader

from fwsync.sandbox.kept.blobs import Aside, Blob, Blobs, append

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
    sha384: str


class Incomplete(Exception):
    """The parts of an object cannot be joined; the text says why."""


class Writer(Aside):
    """A piece on its way: ``write`` …, then ``close`` or ``abandon``.

    Args:
        part: of a larger object, so that its own SHA-384 is of no use.
    """

    def __init__(self, blobs: Blobs, *, part: bool = False) -> None:
        super().__init__(blobs, "md5", *(() if part else ("sha384",)))

    async def flush(self) -> None:
        """Wait until nothing is held in memory; there is a file, if only an empty one."""
        await self._settle()
        await self._blobs.run(self._append, self._taken())

    async def close(self) -> Piece:
        """The last byte has come."""
        await self.flush()
        self._over = True
        sha384 = self._hashes["sha384"].hexdigest() if "sha384" in self._hashes else ""
        return Piece(self._path, self.size, self._hashes["md5"].digest(), sha384)


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

    @property
    def pieces(self) -> list[Piece]:
        """Everything that lies aside for it."""
        return [*self.parts.values(), *([self.piece] if self.piece else [])]


class Objects:
    """The objects of a store, by key."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        #: The time, in seconds; a test may move it.
        self.now: Callable[[], float] = time.time
        self._held: dict[str, Held] = {}  # the oldest first

    def get(self, key: str) -> Held | None:
        """What is known of a key; ``None``: nothing came, or it was taken or forgotten."""
        return self._held.get(key)

    def put(self, key: str, piece: Piece, etag: str) -> None:
        """An object is whole; one of the same key goes, and so do parts of it."""
        self.sweep()
        held = self._at(key)
        self.discard(held.pieces)
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
            Incomplete: one of them did not come, or was replaced meanwhile.
        """
        held = self._at(key)
        try:
            pieces = [held.parts[number] for number in numbers]
            joined = await self.blobs.run(_joined, pieces, self.blobs.aside())
        except KeyError as error:
            raise Incomplete(f"part {error} was not put") from error
        except FileNotFoundError as error:
            raise Incomplete("a part was put again meanwhile") from error
        self.put(key, joined, etag)

    async def complete(self, key: str, numbers: Sequence[int | str], etag: str) -> None:
        """:meth:`join`, unless that was done before; of several at a time one does it.

        Raises:
            Incomplete: as there, or no part came.
        """
        held = self._held.get(key)
        if held is None:
            raise Incomplete("no part of it was put")
        async with held.joining:
            if held.piece is None or held.parts:
                await self.join(key, numbers, etag)

    async def take(self, key: str) -> Blob:
        """Move the object to the blobs, for good.

        Raises:
            KeyError: it is not there.
        """
        held = self._held.pop(key)
        self.discard(held.parts.values())
        if held.piece is None:
            raise KeyError(key)
        blob = Blob(held.piece.sha384, held.piece.size)
        await self.blobs.run(self.blobs.publish, held.piece.path, blob)
        return blob

    def drop(self, key: str) -> None:
        """Forget a key, and what lies aside for it."""
        held = self._held.pop(key, None)
        if held is not None:
            self.discard(held.pieces)

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


async def receive(blobs: Blobs, content: StreamReader, *, part: bool = False) -> Piece:
    """Take a body to its end."""
    writer = Writer(blobs, part=part)
    try:
        while data := await content.readany():
            await writer.write(data)
        return await writer.close()
    finally:
        writer.abandon()


def _joined(pieces: Sequence[Piece], aside: Path) -> Piece:
    sha = hashlib.sha384(usedforsecurity=False)  # and no MD5: no store tells it of a whole
    try:
        with aside.open("xb") as whole:
            for piece in pieces:
                with piece.path.open("rb") as part:
                    while data := part.read(COPY):
                        sha.update(data)
                        append(whole, data)
            size = whole.tell()
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return Piece(aside, size, b"", sha.hexdigest())


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
