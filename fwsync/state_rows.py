"""What the state's rows are to the rest of the house, and back. No SQL, no disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fwsync.digest import Digest
from fwsync.model import (
    BaseEntry,
    Holder,
    Level,
    LocalEntry,
    RelPath,
    RemoteEntry,
    SeenRow,
    Stamp,
    Unknown,
)
from fwsync.ports import ListedRow, entry_of

Row = tuple[Any, ...]

_CALLED: Mapping[Level | Holder, str] = {one: one.value for one in (*Level, *Holder)}

_WRAP = 1 << 64
_HALF = 1 << 63

#: Behind a pack's tag: the zip is compressed.
DEFLATED = " deflated"


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What a scan brought to the index."""

    files: int
    bytes: int
    new: int
    changed: int
    gone: int
    unknown: tuple[Unknown, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was recorded. Without ``ended_ns`` it still runs, or it was killed."""

    id: int
    command: str
    remote: str
    started_ns: int
    ended_ns: int | None
    exit_code: int | None
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenProblem:
    """A path's problem as it was last seen."""

    path: str
    message: str
    hint: str
    retryable: bool
    attempts: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class OpenConflict:
    """A conflict that kept both files, and nobody has looked at it yet."""

    id: int
    path: RelPath
    copy_path: RelPath
    at_ns: int
    local_digest: Digest | None
    remote_digest: Digest | None
    run: int | None = None  #: that made the copy; this and what follows: None: by an older fwsync
    remote_etag: str | None = None  #: of what keeps the path
    copy_size: int | None = None  #: bytes, as the copy was made
    copy_mtime_ns: int | None = None  #: likewise
    taking_back: str | None = None  #: the copy is about to take its path back: which file it is


def signed(number: int) -> int:
    """A 64-bit integer of ``stat`` as SQLite can hold it."""
    if -_HALF <= number < _HALF:
        return number
    number %= _WRAP
    return number if number < _HALF else number - _WRAP


def unsigned(number: int) -> int:
    """The other way round, for a device and an inode."""
    return number % _WRAP


def stamp_row(entry: LocalEntry) -> Row:
    """A row of the index, without hashes."""
    return seen_row((entry.indexed, *entry.stamp, entry.disk_path))


def seen_row(seen: SeenRow) -> Row:
    """The same of what a scan has seen."""
    path, size, *stamp, disk_path = seen
    return (path, size, *map(signed, stamp), disk_path)


def hash_row(entry: LocalEntry, hashed_at_ns: int) -> dict[str, Any]:
    """What :data:`fwsync.state_queries.REMEMBER` takes.

    Raises:
        ValueError: the entry has no etag.
    """
    if entry.etag is None:
        raise ValueError(f"{entry.path}: without an etag there is nothing to remember")
    names = ("path", "size", "mtime", "ctime", "device", "inode")
    row = dict(zip(names, stamp_row(entry), strict=False))
    return row | {"etag": entry.etag, "digest": entry.digest, "hashed_at": hashed_at_ns}


def to_local(row: Row) -> LocalEntry:
    """A row of the index, with its hash or None where that is not trusted."""
    path, size, mtime, ctime, device, inode, disk_path, etag, digest = row[:9]
    stamp = Stamp(size, mtime, ctime, device % _WRAP, inode % _WRAP)
    return LocalEntry(path, stamp, etag, digest, disk_path)


def digest_key(entry: LocalEntry) -> str:
    """Under what the digest of a pack's zip is kept: its tag, and how the zip is made."""
    assert entry.pack is not None, f"{entry.path}: is no pack"
    return f"{entry.etag}{DEFLATED if entry.pack.deflated else ''}"


def files_of(entry: LocalEntry) -> list[LocalEntry]:
    """The files of the disk that an entry is made of: itself, or the members of a pack."""
    return [entry] if entry.pack is None else [one.entry for one in entry.pack.members]


def to_remote(row: Row) -> RemoteEntry:
    """A row of this run's remote listing."""
    return entry_of(row)


def to_base(row: Row) -> BaseEntry:
    """A row of what both sides last agreed on."""
    return BaseEntry(*row)


def remote_row(entry: RemoteEntry) -> ListedRow:
    """The other way round from :func:`to_remote`."""
    return (
        entry.path,
        entry.size,
        entry.etag,
        entry.digest,
        _CALLED[entry.container.level],
        entry.container.id,
        entry.name,
        entry.file_id,
        entry.version,
        entry.modified_ns,
    )


def shown_text(text: str) -> str:
    """Text that UTF-8 can hold, for what is shown and never opened."""
    return text.encode("utf-8", "backslashreplace").decode()
