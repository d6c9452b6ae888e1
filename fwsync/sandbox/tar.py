"""Headers of a tar stream: regular files only, GNU style for what ustar cannot say.

Long names come as GNU ``L`` members, sizes of 8 GiB and more as base-256 numbers. The archive
ends with two zero blocks and is not padded to 10240 bytes.

Source: the stream of scitran/core (2018) as observed; the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 512  # bytes
END: Final = bytes(2 * BLOCK)
_MAX_NAME: Final = 100  # bytes
_MAX_OCTAL: Final = 8**11  # the first size that needs base-256
_MODE: Final = b"0000644\0"
_OWNER: Final = b"0000000\0"
_MAGIC: Final = b"ustar  \0"
_TAIL: Final = b"root".ljust(32, b"\0") + b"root".ljust(32, b"\0") + bytes(183)


def member(name: str, size: int, mtime: int) -> bytes:
    """What stands before the content of a file.

    Args:
        name: any text without NUL.
        mtime: seconds since 1970.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _MAX_NAME:
        return _header(encoded, size, mtime, b"0")
    long_name = encoded + b"\0"
    return (
        _header(b"././@LongLink", len(long_name), 0, b"L")
        + long_name
        + bytes(padding(len(long_name)))
        + _header(encoded[:_MAX_NAME], size, mtime, b"0")
    )


def padding(size: int) -> int:
    """Zero bytes that follow a content of ``size`` bytes."""
    return -size % BLOCK


def _header(name: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    head = (
        name.ljust(_MAX_NAME, b"\0")
        + _MODE
        + _OWNER
        + _OWNER
        + _number(size)
        + _number(max(0, mtime))
    )
    rest = kind + bytes(100) + _MAGIC + _TAIL
    checksum = sum(head) + sum(rest) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + rest


def _number(value: int) -> bytes:
    if value < _MAX_OCTAL:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")
