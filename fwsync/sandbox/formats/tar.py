"""Headers of a tar stream: files and symbolic links, GNU style for what ustar cannot say.

Long names come as GNU ``L`` members, long targets of links as ``K`` members, sizes of 8 GiB and
more as base-256 numbers. ``END`` is two zero blocks; nothing here pads to 10240 bytes.

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
    return _long(encoded, b"L") + _header(encoded[:_MAX_NAME], size, mtime, b"0")


def link(name: str, target: str, mtime: int) -> bytes:
    """A symbolic link: the whole of it."""
    encoded, to = name.encode("utf-8", "surrogateescape"), target.encode()
    head = _header(encoded[:_MAX_NAME], 0, mtime, b"2", to[:_MAX_NAME])
    return _long(to, b"K") + _long(encoded, b"L") + head


def _long(name: bytes, kind: bytes) -> bytes:
    """What stands before a member whose name, or target, does not fit into its header."""
    if len(name) <= _MAX_NAME:
        return b""
    name += b"\0"
    return _header(b"././@LongLink", len(name), 0, kind) + name + bytes(padding(len(name)))


def padding(size: int) -> int:
    """Zero bytes that follow a content of ``size`` bytes."""
    return -size % BLOCK


def _header(name: bytes, size: int, mtime: int, kind: bytes, target: bytes = b"") -> bytes:
    head = (
        name.ljust(_MAX_NAME, b"\0")
        + _MODE
        + _OWNER
        + _OWNER
        + _number(size)
        + _number(max(0, mtime))
    )
    rest = kind + target.ljust(_MAX_NAME, b"\0") + _MAGIC + _TAIL
    checksum = sum(head) + sum(rest) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + rest


def _number(value: int) -> bytes:
    if value < _MAX_OCTAL:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")
