"""A zip that is written while it is sent: nothing is sought back to, and nothing is compressed.

The checksum of a file is only known when the file has passed, so it follows in a data descriptor.
What stands at the end of a zip, one entry for each file, waits in a temporary file once it is
large: memory does not grow with the archive. Sizes and positions of 4 GiB and more, and more than
65535 files, come in the ZIP64 form.

Source: APPNOTE.TXT 6.3.10 (sections 4.3 to 4.5).
"""

from __future__ import annotations

import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Final

HELD: Final = 1 << 20  # bytes of the directory that are kept in memory
PIECE: Final = 64 << 10  # bytes of it that are sent at a time
_LARGE: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF
_FLAGS: Final = 0x0808  # a data descriptor follows; names are UTF-8
_STORED: Final = 0
_FIRST_DAY: Final = (0, 0x21)  # 1980-01-01, the earliest that can be said
_LAST_YEAR: Final = 2107
_UNIX: Final = 3 << 8  # where the attributes come from
_ATTRIBUTES: Final = (stat.S_IFREG | 0o644) << 16


class ZipStream:
    """One zip on its way out; to be closed."""

    def __init__(self) -> None:
        self._directory = SpooledTemporaryFile(max_size=HELD)  # noqa: SIM115 - closed by `close`
        self._position = 0
        self._count = 0

    def close(self) -> None:
        """Let go of the directory."""
        self._directory.close()

    def file(self, name: str, size: int, mtime: int, content: Iterable[bytes]) -> Iterator[bytes]:
        """A file, in pieces.

        Args:
            name: any text; one of more than 65535 bytes is cut.
            size: of the content, in bytes.
            mtime: seconds since 1970.
        """
        encoded = name.encode("utf-8", "replace")[:_MANY]
        stamp = _dos_time(mtime)
        large = size >= _LARGE
        needs = 45 if large else 20
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
        told = _LARGE if large else 0
        head = struct.pack("<4s5H3L2H", b"PK\3\4", needs, _FLAGS, _STORED, *stamp, 0, told, told,
                           len(encoded), len(extra))  # fmt: skip
        start, checksum = self._position, 0
        yield self._passed(head + encoded + extra)
        for piece in content:
            checksum = zlib.crc32(piece, checksum)
            yield self._passed(piece)
        yield self._passed(
            struct.pack("<4sLQQ" if large else "<4sLLL", b"PK\7\10", checksum, size, size)
        )
        self._remember(encoded, size, stamp, checksum, start)

    def end(self) -> Iterator[bytes]:
        """The directory, and the records that close a zip."""
        start, size = self._position, self._directory.tell()
        self._directory.seek(0)
        while piece := self._directory.read(PIECE):
            yield self._passed(piece)
        if self._count >= _MANY or size >= _LARGE or start >= _LARGE:
            end = self._position
            yield struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, _UNIX | 45, 45, 0, 0,
                              self._count, self._count, size, start)  # fmt: skip
            yield struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
        count = min(self._count, _MANY)
        yield struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count,
                          min(size, _LARGE), min(start, _LARGE), 0)  # fmt: skip

    def _passed(self, piece: bytes) -> bytes:
        self._position += len(piece)
        return piece

    def _remember(
        self, name: bytes, size: int, stamp: tuple[int, int], checksum: int, start: int
    ) -> None:
        large = [value for value in (size, size, start) if value >= _LARGE]
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        told, place = min(size, _LARGE), min(start, _LARGE)
        needs = 45 if large else 20
        entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", _UNIX | 45, needs, _FLAGS, _STORED, *stamp,
                            checksum, told, told, len(name), len(extra), 0, 0, 0,
                            _ATTRIBUTES, place)  # fmt: skip
        self._directory.write(entry + name + extra)
        self._count += 1


def _dos_time(mtime: int) -> tuple[int, int]:
    """Time and date, UTC, in steps of two seconds."""
    year, month, day, hour, minute, second = time.gmtime(max(0, mtime))[:6]
    if not 1980 <= year <= _LAST_YEAR:
        return _FIRST_DAY
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
