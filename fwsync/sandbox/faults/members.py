"""Archives that are not what was asked for: members missing, changed, or never asked for.

A filter of the members on their way into the tar: what it adds comes out as pieces, to be sent as
they are. Its one rule: whatever a member claims, it is built in small pieces, as the client reads.

Source: the GNU tar manual (types, sparse headers); CVE-2025-4517, CVE-2025-4330 and CVE-2025-4138
for what links in archives have been used for.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from typing import Final

from fwsync.sandbox.faults.script import OWN, Action, Added
from fwsync.sandbox.formats import tar
from fwsync.sandbox.kept.archive import Item, Part, Sidecar
from fwsync.sandbox.kept.blobs import Blobs

PIECE: Final = 64 << 10  # bytes
ENDLESS: Final = 1 << 62  # bytes
HUGE: Final = 1 << 40  # bytes
MANY: Final = 1_000_000  # members
EXTRA: Final = 1 << 20  # bytes by which an oversized member is longer than was promised
JUNK: Final = b"junk after the end of the archive\n" * 1024
WORDS: Final = b"nobody asked for this\n"

#: Kinds that are a regular file with a name it should not have.
_NAMES: Final = {
    "dotdot": "../../../outside.txt",
    "absolute": "/outside.txt",
    "backslash": "..\\..\\outside.txt",
    "drive": "C:\\outside.txt",
    "control": "-rf line\nbreak \x1b[31mred.txt",
    "unasked": "unasked.txt",
    "setuid": "setuid.sh",
    "endless": "endless.bin",
    "huge": "huge.bin",
    "many": "many",
}
#: Kinds that are no regular file: type, name, and where a link leads.
_TYPES: Final = {
    "symlink": (tarfile.SYMTYPE, "link", "/etc/hostname"),
    "hardlink": (tarfile.LNKTYPE, "hardlink", "/etc/hostname"),
    "device": (tarfile.CHRTYPE, "device", ""),
    "fifo": (tarfile.FIFOTYPE, "fifo", ""),
    "unknown": (b"Z", "unknown", ""),
}


class Mischief:
    """What is done to one archive."""

    def __init__(self, action: Action) -> None:
        self._dropped = frozenset(action.drop_member)
        self._foreign = [each for each in action.add_member if each.kind not in OWN]
        self._own = {each.at: each for each in action.add_member if each.kind in OWN}
        self._end = action.archive_end

    def members(self, members: Iterable[Item], blobs: Blobs) -> Iterator[Part]:
        """The members as they are sent."""
        number = 0
        for number, member in enumerate(members, start=1):
            yield from (_foreign(each) for each in self._foreign if each.at == number)
            change = self._own.get(number)
            if number in self._dropped:
                continue
            if change is None:
                yield member
            else:
                yield from _changed(change, member, blobs)
        yield from (_foreign(each) for each in self._foreign if each.at > number)

    def ending(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The tar with the end that it is to have; the last piece is its regular one."""
        last = b""
        for piece in pieces:
            yield last
            last = piece
        if self._end is None:
            yield last
        elif self._end == "truncated":
            yield last[: tar.BLOCK // 2]
        elif self._end == "junk":
            yield last + JUNK


def _foreign(added: Added) -> Iterator[bytes]:
    """A member that nobody asked for."""
    return _BUILT.get(added.kind, _special if added.kind in _TYPES else _file)(added)


def _special(added: Added) -> Iterator[bytes]:
    kind, name, target = _TYPES[added.kind]
    info = tarfile.TarInfo(added.name or name)
    info.type, info.linkname = kind, target
    if added.kind == "device":
        info.devmajor, info.devminor = 1, 3  # /dev/null
    yield _head(info)


def _file(added: Added) -> Iterator[bytes]:
    info = tarfile.TarInfo(added.name or _NAMES[added.kind])
    info.size = len(WORDS) if added.size is None else added.size
    if added.kind == "setuid":
        info.mode = 0o4755
    yield _head(info)
    yield from _content(info.size)


def _pax(added: Added) -> Iterator[bytes]:
    """A harmless name in the header, and another one in the record that stands before it."""
    info = tarfile.TarInfo("harmless.txt")
    info.size = len(WORDS)
    info.pax_headers = {"path": added.name or _NAMES["dotdot"]}
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    yield from _content(info.size)


def _through(added: Added) -> Iterator[bytes]:
    """A link out of the folder, then a file that is written through it."""
    name = added.name or "way"
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, "../.."
    yield _head(link)
    yield from _file(Added(kind="unasked", name=f"{name}/outside.txt", size=added.size))


def _sparse(added: Added) -> Iterator[bytes]:
    """A file of 1 TiB that is a hole, but for its last block."""
    info = tarfile.TarInfo(added.name or "sparse.bin")
    info.size = tar.BLOCK
    whole = HUGE if added.size is None else max(added.size, tar.BLOCK)
    head = bytearray(_head(info)[-tar.BLOCK :])
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:410] = _number(whole - tar.BLOCK) + _number(tar.BLOCK)  # one piece: where, how long
    head[483:495] = _number(whole)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    yield bytes(head)
    yield from _content(tar.BLOCK)


def _endless(added: Added) -> Iterator[bytes]:
    info = tarfile.TarInfo(added.name or _NAMES["endless"])
    info.size = ENDLESS
    yield _head(info)
    yield from repeat(bytes(PIECE))


def _huge(added: Added) -> Iterator[bytes]:
    """A header that promises what never comes."""
    info = tarfile.TarInfo(added.name or _NAMES["huge"])
    info.size = HUGE if added.size is None else added.size
    yield _head(info)


def _many(added: Added) -> Iterator[bytes]:
    name = added.name or _NAMES["many"]
    for number in range(MANY if added.size is None else added.size):
        yield tar.member(f"{name}/{number}", 0, 0)


_BUILT: Final[dict[str, Callable[[Added], Iterator[bytes]]]] = {
    "pax": _pax,
    "through": _through,
    "sparse": _sparse,
    "endless": _endless,
    "huge": _huge,
    "many": _many,
}


def _changed(change: Added, member: Item, blobs: Blobs) -> Iterator[Part]:
    """A member that was asked for, and is not as it should be."""
    if change.kind == "missing":
        yield _remade(replace(member, path=f"{member.path}.MISSING"), 0)
    elif change.kind == "renamed":
        yield replace(member, path=change.name or f"{member.path}.renamed")
    elif change.kind == "duplicate":
        yield member
        yield _remade(member, member.size if change.size is None else change.size)
    elif change.kind == "oversized":
        size = member.size + (EXTRA if change.size is None else change.size)
        yield _remade(member, size, _pieces(member, blobs))
    else:
        size = member.size // 2 if change.size is None else min(change.size, member.size)
        yield _remade(member, size, _pieces(member, blobs))


def _remade(member: Item, size: int, pieces: Iterable[bytes] = ()) -> Iterator[bytes]:
    yield tar.member(member.path, size, member.mtime)
    yield from _content(size, pieces)


def _pieces(member: Item, blobs: Blobs) -> Iterator[bytes]:
    if isinstance(member, Sidecar):
        yield member.content
        return
    with blobs.path(member.sha384).open("rb", buffering=0) as file:
        while data := file.read(PIECE):
            yield data


def _content(size: int, pieces: Iterable[bytes] = ()) -> Iterator[bytes]:
    """``size`` bytes, of ``pieces`` first and then of words, and the padding."""
    left = size
    for piece in pieces:
        yield piece[:left]
        left -= min(left, len(piece))
        if not left:
            break
    block = WORDS * (PIECE // len(WORDS))
    while left:
        yield block[:left]
        left -= min(left, len(block))
    yield bytes(tar.padding(size))


def _head(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _number(value: int) -> bytes:
    """A number of the GNU header, in 12 bytes."""
    return b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")
