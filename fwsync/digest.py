"""Hashes: the only user of xxhash and hashlib.

Two digests, two questions. xxh3-128 is the local side's own tag: has this file
changed since we last looked? SHA-384 is what Flywheel calls ``hash``: are the
bytes here and the bytes there the same? Both are written as ``name:hex`` so that a
digest of one kind can never be compared with one of the other by accident.
"""

from __future__ import annotations

import hashlib
from binascii import unhexlify
from collections.abc import Iterable
from typing import NewType

import xxhash

#: ``sha384:<96 lower-case hex>``: comparable between the two sides.
Digest = NewType("Digest", str)

#: ``xxh3:<32 lower-case hex>``: the local side's own tag of content;
#: ``pack:<32 lower-case hex>`` where it was taken over a pack's members (:func:`pack_tag`).
LocalTag = NewType("LocalTag", str)

#: What Flywheel puts before the hex of a SHA-384.
#: Source: scitran/core 2018, ``hash`` of a file entry.
_FLYWHEEL_PREFIX = "v0-sha384-"
_SHA384_BYTES = 48


class ContentHasher:
    """Both digests of one stream of bytes, in one pass."""

    def __init__(self) -> None:
        self._xxh3 = xxhash.xxh3_128()
        self._sha384 = hashlib.sha384()
        self.size = 0  #: bytes seen so far

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; releases the GIL on large ones, so call it from a thread."""
        self._xxh3.update(chunk)
        self._sha384.update(chunk)
        self.size += len(chunk)

    @property
    def local_tag(self) -> LocalTag:
        """The xxh3-128 of what was seen."""
        return LocalTag(f"xxh3:{self._xxh3.hexdigest()}")

    @property
    def digest(self) -> Digest:
        """The SHA-384 of what was seen."""
        return Digest(f"sha384:{self._sha384.hexdigest()}")


class TagHasher:
    """The local tag alone, for finding out whether a touched file really changed."""

    def __init__(self) -> None:
        self._xxh3 = xxhash.xxh3_128()
        self.size = 0  #: bytes seen so far

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._xxh3.update(chunk)
        self.size += len(chunk)

    @property
    def local_tag(self) -> LocalTag:
        """The xxh3-128 of what was seen."""
        return LocalTag(f"xxh3:{self._xxh3.hexdigest()}")


class Md5Hasher:
    """MD5, only to compare with what an object store says that it received."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; releases the GIL on large ones."""
        self._md5.update(chunk)

    def copy(self) -> Md5Hasher:
        """One that has seen the same bytes, and goes on by itself."""
        twin = Md5Hasher()
        twin._md5 = self._md5.copy()
        return twin

    @property
    def hex(self) -> str:
        """32 lower-case digits."""
        return self._md5.hexdigest()


def from_flywheel_hash(text: str | None) -> Digest | None:
    """The digest in a file entry's ``hash``, or None where the server gives none we know.

    An empty or unknown hash is no error: files that came by a signed URL have none.
    """
    if not text or not text.startswith(_FLYWHEEL_PREFIX):
        return None
    digits = text[len(_FLYWHEEL_PREFIX) :]
    try:  # not by a pattern: this is asked once for every file of a listing
        if len(unhexlify(digits)) != _SHA384_BYTES:
            return None
    except ValueError:
        return None
    return Digest(f"sha384:{digits.lower()}")


def tag_of(content: bytes) -> LocalTag:
    """The local tag of something small."""
    return LocalTag(f"xxh3:{xxhash.xxh3_128_hexdigest(content)}")


def pack_tag(members: Iterable[tuple[str, int, LocalTag]]) -> LocalTag:
    """The tag of a pack: of what its members are called and hold, in whatever order they come.

    Args:
        members: name in the pack, size in bytes, and tag of the content, of each.
    """
    hasher = xxhash.xxh3_128()
    for name, size, tag in sorted(members):
        # Lengths before texts: no two lists of members read alike.
        encoded = name.encode("utf-8", "surrogatepass")
        hasher.update(b"%d %d %d " % (len(encoded), size, len(tag)))
        hasher.update(encoded + tag.encode())
    return LocalTag(f"pack:{hasher.hexdigest()}")


def short_number(text: str) -> int:
    """A stable number of 63 bits for any text: where an inode's number is wanted."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) >> 1


def short_name(text: str) -> str:
    """A stable 32-digit hex name for any text: for part files and state files."""
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
