"""The bytes of a zip, worked out from the names, sizes and checksums of what goes in.

The one rule: the same members give the same bytes, for ever. They are sorted by name, and all
bear the first moment that a zip can name. Stored as they are, the length is known before
anything was read. Compressed, it is known once each member was read and compressed, and the
bytes are the same for ever for one version of zlib. Either way any stretch of the zip can be
made without the rest: what is compressed is so in chunks, none of which needs another.

Sizes and checksums stand in the local headers, with no data descriptors: readers that take
a zip as a stream, such as Java's, accept no other stored member.

Sources: APPNOTE.TXT 6.3.10, sections 4.3 to 4.5; RFC 1951, section 3.2.4, for chunks.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fwsync.errors import FileProblem

#: What a 32-bit and a 16-bit field say where the number stands in a ZIP64 record instead:
#: from there on, and from there on only, such a record is written.
_LARGE: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_LOCAL_EXTRA_64: Final = 20  #: bytes: both sizes

_UNIX: Final = 3 << 8  #: whose attributes they are
_REGULAR: Final = 0o100644 << 16  #: a regular file, rw-r--r--
_NEEDS: Final = 20  #: version 2.0 of the format
_NEEDS_64: Final = 45  #: version 4.5, which has ZIP64
_TIME: Final = 0
_DATE: Final = (1 << 5) | 1  #: 1980-01-01
_UTF8: Final = 1 << 11
_STORED: Final = 0
_DEFLATED: Final = 8

#: The longest name that a header can hold, in bytes.
MOST_NAME: Final = 0xFFFF

#: Bytes of a member that are compressed by themselves: what one can begin anew at costs under
#: 1 % of the length (32 KB of what was said before are forgotten), and is little to hold.
CHUNK: Final = 1 << 20

#: Measured with pydicom's images: 44 % are left at 90 MB/s; zlib's own default, 6, leaves 43 %
#: at 37 MB/s. Never to be changed: the same members would make another zip.
_LEVEL: Final = 1

#: Two compressions of the same bytes are the same while this is.
#: Source: zlib promises it of no two versions.
DEFLATED_BY: Final = f"{zlib.ZLIB_RUNTIME_VERSION} {_LEVEL} {CHUNK}"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file that goes into a zip."""

    name: str  #: relative, POSIX
    size: int  #: bytes
    crc32: int = 0  #: of the content; not needed where only the length is asked for
    #: Bytes that each :data:`CHUNK` of it is compressed to; empty: it is stored.
    packed: tuple[int, ...] = ()

    @property
    def taken(self) -> int:
        """Bytes of the zip that its content takes up."""
        return sum(self.packed) if self.packed else self.size


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a member's content as it stands in the zip."""

    member: int  #: which one, as :attr:`ZipLayout.members` has them
    start: int  #: its first byte
    size: int  #: bytes; never 0


def why_unsafe(name: str) -> str:
    """Why a name must neither go into a zip nor come out of one; empty if it may."""
    if not name:
        return "it is empty"
    if "\0" in name:
        return "it has a NUL in it"
    if "\\" in name:
        return "it has a backslash in it, which some systems take for a folder's end"
    if name.startswith("/"):
        return "it is absolute"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a part of it is empty, '.' or '..'"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if len(encoded) > MOST_NAME:
        return f"it has {len(encoded)} bytes; a zip has room for {MOST_NAME}"
    return ""


def zip_size(members: Iterable[tuple[str, int]]) -> int:
    """The exact length of the zip of these members, in bytes.

    Args:
        members: name and size of each, in any order.

    Raises:
        FileProblem: a name is not safe, or is there twice.
    """
    return ZipLayout(ZipMember(name, size) for name, size in members).size


class ZipLayout:
    """A zip, laid out: where each of its bytes comes from.

    Args:
        members: in any order; may be none.

    Raises:
        FileProblem: a name is not safe (:func:`why_unsafe`), or is there twice.
    """

    def __init__(self, members: Iterable[ZipMember]) -> None:
        self.members: Sequence[ZipMember] = _in_order(members)
        #: Where each local header begins, and each entry of the directory; then their ends.
        self._locals, self._entries = array("Q", [0]), array("Q", [0])
        for member in self.members:
            begin, length = self._locals[-1], len(member.name.encode())
            extra = _LOCAL_EXTRA_64 if member.size >= _LARGE else 0
            self._locals.append(begin + _LOCAL.size + length + extra + member.taken)
            length += len(_central_extra(member.size, member.taken, begin))
            self._entries.append(self._entries[-1] + _CENTRAL.size + length)
        self._directory = self._locals[-1]
        self._tail = _tail(len(self.members), self._entries[-1], self._directory)

    @property
    def size(self) -> int:
        """Of the whole zip, in bytes."""
        return self._directory + self._entries[-1] + len(self._tail)

    def pieces(self, offset: int = 0, size: int | None = None) -> Iterator[bytes | Span]:
        """What a stretch of the zip is made of, in order; none of the pieces is empty.

        Args:
            offset: its first byte.
            size: bytes; None: up to the end.

        Raises:
            ValueError: the zip has no such stretch.
        """
        end = self.size if size is None else offset + size
        if not 0 <= offset <= end <= self.size:
            raise ValueError(f"bytes {offset} to {end} of a zip of {self.size}")
        if offset == end:
            return
        yield from self._of_members(offset, end)
        yield from self._of_directory(offset - self._directory, end - self._directory)
        tail = self._directory + self._entries[-1]
        if end > tail:
            yield self._tail[max(0, offset - tail) : end - tail]

    def _of_members(self, offset: int, end: int) -> Iterator[bytes | Span]:
        """What lies before the directory."""
        first = bisect_right(self._locals, offset) - 1
        for index in range(first, len(self.members)):
            begin, after = self._locals[index], self._locals[index + 1]
            if begin >= end:
                return
            member = self.members[index]
            content = after - member.taken
            if offset < content:
                yield _local_header(member)[max(0, offset - begin) : end - begin]
            start, stop = max(offset, content), min(end, after)
            if start < stop:
                yield Span(index, start - content, stop - start)

    def _of_directory(self, offset: int, end: int) -> Iterator[bytes]:
        """What lies in the directory; positions count from where it begins."""
        first = bisect_right(self._entries, max(0, offset)) - 1
        for index in range(first, len(self.members)):
            begin = self._entries[index]
            if begin >= end:
                return
            entry = _central(self.members[index], self._locals[index])
            yield entry[max(0, offset - begin) : end - begin]


def _in_order(members: Iterable[ZipMember]) -> list[ZipMember]:
    """Sorted by name, as code points and as UTF-8 bytes alike, and each of them sound."""
    ordered = sorted(members, key=lambda member: member.name)
    before = None
    for member in ordered:
        problem = why_unsafe(member.name)
        if problem:
            raise FileProblem(f"{member.name[:200]!r}: cannot be put into a zip: {problem}")
        if member.name == before:
            raise FileProblem(f"{member.name!r}: cannot be put into a zip: the name is there twice")
        before = member.name
    return ordered


# --------------------------------------------------------------------------------- the records


def _flags(name: str) -> int:
    return 0 if name.isascii() else _UTF8


def _method(member: ZipMember) -> int:
    return _DEFLATED if member.packed else _STORED


def _local_header(member: ZipMember) -> bytes:
    name, size, packed = member.name.encode(), member.size, member.taken
    extra = struct.pack("<2H2Q", 1, 16, size, packed) if size >= _LARGE else b""
    needs = _NEEDS_64 if extra else _NEEDS
    head = _LOCAL.pack(
        b"PK\3\4", needs, _flags(member.name), _method(member), _TIME, _DATE, member.crc32,
        _LARGE if extra else packed, _LARGE if extra else size, len(name), len(extra),
    )  # fmt: skip
    return head + name + extra


def _central_extra(size: int, packed: int, begin: int) -> bytes:
    """The ZIP64 field of an entry: those of its numbers that 32 bits do not hold."""
    large = [number for number in (size, packed, begin) if number >= _LARGE]
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def _central(member: ZipMember, begin: int) -> bytes:
    """The entry of the directory for a member whose local header begins there."""
    name, size, packed = member.name.encode(), member.size, member.taken
    extra = _central_extra(size, packed, begin)
    needs = _NEEDS_64 if extra else _NEEDS
    head = _CENTRAL.pack(
        b"PK\1\2", _UNIX | needs, needs, _flags(member.name), _method(member), _TIME, _DATE,
        member.crc32, min(packed, _LARGE), min(size, _LARGE), len(name), len(extra),
        0, 0, 0, _REGULAR, min(begin, _LARGE),
    )  # fmt: skip
    return head + name + extra


def _tail(count: int, size: int, begin: int) -> bytes:
    """What closes a zip whose directory has so many entries and bytes, and begins there."""
    end = _END.pack(
        b"PK\5\6", 0, 0, min(count, _MANY), min(count, _MANY), min(size, _LARGE),
        min(begin, _LARGE), 0,
    )  # fmt: skip
    if count < _MANY and size < _LARGE and begin < _LARGE:
        return end
    wide = _END_64.pack(
        b"PK\6\6", _END_64.size - 12, _UNIX | _NEEDS_64, _NEEDS_64, 0, 0, count, count, size, begin
    )
    return wide + _LOCATOR_64.pack(b"PK\6\7", 0, begin + size, 1) + end


# ---------------------------------------------------------------------------------- compressed


def deflate(chunk: bytes, *, last: bool) -> bytes:
    """A chunk of a member as it stands in the zip; the same bytes whatever stands before it.

    Args:
        chunk: :data:`CHUNK` bytes, or what is left at the end.
        last: nothing of the member follows.
    """
    making = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    made = making.compress(chunk)
    return made + making.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


def in_chunks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of :data:`CHUNK`; the last may be shorter, and none is empty."""
    gathered = bytearray()
    for block in blocks:
        if not gathered and len(block) == CHUNK:
            yield block
            continue
        gathered += block
        while len(gathered) >= CHUNK:
            yield bytes(gathered[:CHUNK])
            del gathered[:CHUNK]
    if gathered:
        yield bytes(gathered)


class Summing:
    """Sums up a member that is read once before it goes into a zip.

    Args:
        deflates: it is to be compressed, unless that makes it no smaller.
    """

    def __init__(self, *, deflates: bool) -> None:
        self._deflates = deflates
        self._crc32 = self._size = 0
        self._packed: list[int] = []
        self._waiting = b""  # the last chunk is compressed otherwise than those before it

    def take(self, blocks: Iterable[bytes]) -> None:
        """The whole content, in blocks of any size."""
        for block in in_chunks(blocks) if self._deflates else blocks:
            self._crc32 = zlib.crc32(block, self._crc32)
            self._size += len(block)
            if self._deflates:
                self._pack(last=False)
                self._waiting = block
        self._pack(last=True)

    def member(self, name: str) -> ZipMember:
        """What was found, under this name."""
        packed = tuple(self._packed) if sum(self._packed) < self._size else ()
        return ZipMember(name, self._size, self._crc32, packed)

    def _pack(self, *, last: bool) -> None:
        if self._waiting:
            self._packed.append(len(deflate(self._waiting, last=last)))
        self._waiting = b""
