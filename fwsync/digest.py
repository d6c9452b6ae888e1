"""Hashes: the only user of xxhash and hashlib.

Two digests, two questions. xxh3-128 is the local side's own tag: has this file
changed since we last looked? SHA-384 is what Flywheel calls ``hash``: are the
bytes here and the bytes there the same? Both are written as ``name:hex`` so that a
digest of one kind can never be compared with one of the other by accident.
"""

from __future__ import annotations

import hashlib
from typing import NewType

import xxhash

#: ``sha384:<96 lower-case hex>``: comparable between the two sides.
Digest = NewType("Digest", str)

#: ``xxh3:<32 lower-case hex>``: the local side's own tag of content.
LocalTag = NewType("LocalTag", str)

#: What Flywheel puts before the hex of a SHA-384.
#: Source: scitran/core 2018, ``hash`` of a file entry.
_FLYWHEEL_PREFIX = "v0-sha384-"
_SHA384_HEX = 96


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


def from_flywheel_hash(text: str | None) -> Digest | None:
    """The digest in a file entry's ``hash``, or None where the server gives none we know.

    An empty or unknown hash is no error: files that came by a signed URL have none.
    """
    if not text or not text.startswith(_FLYWHEEL_PREFIX):
        return None
    digits = text[len(_FLYWHEEL_PREFIX) :].lower()
    if len(digits) != _SHA384_HEX or not set(digits) <= set("0123456789abcdef"):
        return None
    return Digest(f"sha384:{digits}")


def short_name(text: str) -> str:
    """A stable 32-digit hex name for any text: for part files and state files."""
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
