"""Zip files, read entry by entry: the directory as a stream, a member as a stream.

Its one rule: nothing that a zip says is believed. Sizes and places are checked against the bytes
that are there, what a member unpacks to is counted and compared with its checksum, and no more
than a few pieces are ever in memory, however large the directory or the member claims to be.
Functions here block; they run on threads.

Source: APPNOTE.TXT 6.3.10 of PKWARE; the answers of core18 for what is wrong.
"""

from __future__ import annotations

import bz2
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from fwsync.sandbox.problems import invalid, missing

NOT_A_ZIP: Final = "not a zip file"
DAMAGED: Final = "the zip member is damaged"
CHUNK: Final = 64 << 10  # bytes of packed data read at a time
PIECE: Final = 256 << 10  # bytes unpacked at a time, at most
DEFLATE_RATIO: Final = 1032  # no deflated byte stands for more bytes; zlib's technical page
MAX_TAIL: Final = 22 + 0xFFFF + 20 + 56  # bytes from the end in which the end records lie

_END: Final = struct.Struct("<4s4H2LH")  # …, 5: length of the directory, its place, a comment's
_END64: Final = struct.Struct("<4sQ2H2L4Q")  # …, 8: length of the directory, its place
_LOCATOR: Final = 20  # bytes of the record between these two
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")  # …, 9: lengths of the name and of the extra field
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # by password, strongly, or the directory is
_UTF8: Final = 0x800


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of a member; sizes and places in bytes."""

    path: str
    size: int
    packed: int
    method: int
    flags: int
    crc: int
    offset: int
    timestamp: str | None  # null: the zip has a time that cannot be
    comment: str


class Zip:
    """A zip file that is open for reading; a context manager.

    Raises:
        ApiError: 400, it is no zip; 404, it is gone.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb", buffering=CHUNK)
        except FileNotFoundError as error:
            raise missing("the content of this file is gone") from error
        try:
            self._size = self._file.seek(0, io.SEEK_END)
            self._start, self._end, self._shift, self.comment = self._directory()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        """What the directory lists, in its order.

        Raises:
            ApiError: 400, it is damaged.
        """
        at = self._start
        while at < self._end:
            head = self._read(at, _ENTRY.size, NOT_A_ZIP)
            fields = _ENTRY.unpack(head)
            names = self._read(at + len(head), sum(fields[10:13]), NOT_A_ZIP)
            at += len(head) + len(names)
            if fields[0] != b"PK\1\2" or at > self._end:
                raise invalid(NOT_A_ZIP)
            yield _entry(fields, names)

    def find(self, path: str) -> Entry:
        """A member; the last of those that have the same path.

        Raises:
            ApiError: 400, there is none.
        """
        found = None
        for entry in self.entries():
            if entry.path == path:
                found = entry
        if found is None:
            raise invalid("zip file contains no such member")
        return found

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a member, in pieces; they are right only when it comes to its end.

        Raises:
            ApiError: 400, they cannot be read, or are not what the directory says.
        """
        unpacker = _unpacker(entry)
        at = self._shift + entry.offset
        head = _LOCAL.unpack(self._read(at, _LOCAL.size, DAMAGED))
        at += _LOCAL.size + head[9] + head[10]
        end = at + entry.packed
        if head[0] != b"PK\3\4" or end > self._size:
            raise invalid(DAMAGED)
        crc = unpacked = 0
        while at < end:
            data = self._read(at, min(CHUNK, end - at), DAMAGED)
            at += len(data)
            for piece in _unpacked(unpacker, data):
                unpacked += len(piece)
                if unpacked > entry.size:
                    raise invalid("the zip member is larger than it says")
                crc = zlib.crc32(piece, crc)
                yield piece
        if unpacked != entry.size or not unpacker.whole:
            raise invalid(DAMAGED)
        if crc != entry.crc:
            raise invalid("the zip member does not match its checksum")

    def _directory(self) -> tuple[int, int, int, str]:
        """Where the directory starts and ends, how far all places are shifted; the comment.

        The record that tells is the last in the file, but for a comment that may look like one.
        """
        start = max(0, self._size - MAX_TAIL)
        tail = self._read(start, self._size - start, NOT_A_ZIP)
        at = len(tail)
        while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
            if len(tail) - at < _END.size:
                continue
            *_, length, place, comment = _END.unpack_from(tail, at)
            end = at - _LOCATOR - _END64.size
            if end >= 0 and tail[end : end + 4] == b"PK\6\6" and tail[end + 56 :][:4] == b"PK\6\7":
                length, place = _END64.unpack_from(tail, end)[8:]
            else:
                end = at
            first = start + end - length
            if first >= place and (not length or self._read(first, 4, NOT_A_ZIP) == b"PK\1\2"):
                text = tail[at + _END.size :][:comment]
                return first, start + end, first - place, text.decode("utf-8", "replace")
        raise invalid(NOT_A_ZIP)

    def _read(self, at: int, length: int, problem: str) -> bytes:
        if at > self._size:  # or beyond what any file can have, which `seek` does not take
            raise invalid(problem)
        self._file.seek(at)
        data = self._file.read(length)
        if len(data) != length:
            raise invalid(problem)
        return data


def _entry(fields: tuple[Any, ...], names: bytes) -> Entry:
    flags, method, clock, day, crc, packed, size, in_name, in_extra = fields[3:12]
    extra = names[in_name : in_name + in_extra]
    size, packed, offset = _large(extra, size, packed, fields[16])
    return Entry(
        path=_text(names[:in_name], flags),
        size=size,
        packed=packed,
        method=method,
        flags=flags,
        crc=crc,
        offset=offset,
        timestamp=_moment(day, clock),
        comment=_text(names[in_name + in_extra :], flags),
    )


def _large(extra: bytes, *values: int) -> list[int]:
    """The numbers of an entry; those that do not fit into 32 bits are in the extra field."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == 1:
            found = []
            for value in values:
                if value == 0xFFFFFFFF and len(field) >= 8:
                    value, field = int.from_bytes(field[:8], "little"), field[8:]  # noqa: PLW2901
                found.append(value)
            return found
    return list(values)


def _text(data: bytes, flags: int) -> str:
    return data.decode("utf-8" if flags & _UTF8 else "cp437", "replace")


def _moment(day: int, clock: int) -> str | None:
    """The time of an entry, taken as UTC, as core18 does; two seconds are its smallest step."""
    try:
        return datetime(
            1980 + (day >> 9),
            day >> 5 & 15,
            day & 31,
            clock >> 11,
            clock >> 5 & 63,
            (clock & 31) * 2,
            tzinfo=UTC,
        ).isoformat()
    except ValueError:
        return None


def _unpacked(unpacker: _Unpacker, data: bytes) -> Iterator[bytes]:
    try:
        yield from filter(None, unpacker.unpack(data))
    except (zlib.error, OSError, EOFError) as error:
        raise invalid(DAMAGED) from error


class _Unpacker(Protocol):
    """Turns packed bytes into pieces, none larger than ``PIECE`` or what was given."""

    @property
    def whole(self) -> bool:
        """Whether the end was seen."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What some more packed bytes stand for."""


class _Stored:
    whole = True

    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Inflater:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def whole(self) -> bool:
        return self._stream.eof

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while not self._stream.eof:
            piece = self._stream.decompress(data, PIECE)
            yield piece
            data = self._stream.unconsumed_tail
            if not data and len(piece) < PIECE:
                return


class _Bunzip:
    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()

    @property
    def whole(self) -> bool:
        return self._stream.eof

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while not self._stream.eof:
            yield self._stream.decompress(data, PIECE)
            data = b""
            if self._stream.needs_input:
                return


def _unpacker(entry: Entry) -> _Unpacker:
    """What unpacks a member.

    Raises:
        ApiError: 400, nothing can, or its sizes cannot be.
    """
    if entry.flags & _ENCRYPTED:
        raise invalid("the zip member is encrypted")
    if entry.method == _STORED and entry.size == entry.packed:
        return _Stored()
    if entry.method == _DEFLATED and entry.size <= entry.packed * DEFLATE_RATIO:
        return _Inflater()
    if entry.method == _BZIP2:
        return _Bunzip()
    if entry.method in (_STORED, _DEFLATED):
        raise invalid("the zip member cannot be as large as it says")
    raise invalid(f"the zip member is packed by method {entry.method}, which is not known here")
