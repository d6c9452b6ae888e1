"""Archives as tests want them: by Python's writer, or header by header, good and bad."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Iterable
from typing import Final

FILE: Final = tarfile.REGTYPE
END: Final = bytes(1024)  #: of an archive, as POSIX wants it


async def in_pieces(data: bytes, step: int = 1000) -> AsyncIterator[bytes]:
    """The archive as it comes over a wire."""
    for start in range(0, len(data), step):
        yield data[start : start + step]


def packed(
    files: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT, kind: bytes = FILE
) -> bytes:
    """An archive by Python's writer."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def summed(block: bytearray) -> bytes:
    """A header with its checksum put right."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def header(
    name: bytes, size: int, kind: bytes = FILE, *, raw_size: bytes | None = None, mode: int = 0o644
) -> bytes:
    """A header by hand, in GNU form; sizes from 8 GiB on in base 256.

    Args:
        raw_size: what stands in its place, 12 bytes.
    """
    block = bytearray(512)
    block[0 : min(len(name), 100)] = name[:100]
    block[100:108] = b"%07o\0" % mode
    block[124:136] = raw_size or (
        b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    )
    block[156:157] = kind
    block[257:265] = b"ustar  \0"
    return summed(block)


def padded(content: bytes) -> bytes:
    """A content with zeros up to the next block."""
    return content + bytes(-len(content) % 512)


def member(name: bytes, content: bytes = b"", kind: bytes = FILE, *, mode: int = 0o644) -> bytes:
    """A member by hand; long names as GNU tar writes them."""
    long = b""
    if len(name) > 100:
        long = header(b"././@LongLink", len(name) + 1, b"L") + padded(name + b"\0")
    return long + header(name, len(content), kind, mode=mode) + padded(content)


def record(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A PAX record by hand, with its header."""
    body = b""
    for key, value in pairs:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest)
        while len(b"%d" % length) + len(rest) != length:
            length = len(b"%d" % length) + len(rest)
        body += b"%d" % length + rest
    return header(b"PaxHeader", len(body), kind) + padded(body)
