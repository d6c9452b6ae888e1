"""The zip of a packfile: its name, its members, its bytes as they come.

Members lie in a folder of the zip's name, deflated, all with one time, sorted by name: so the
same files give the same zip. Nothing on disk is named after a client's words.

Source: core18 for the name and the times; core19 for no entry for the folder itself. (Their
order was that of a directory, and so none.)
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from fwsync.sandbox.formats.multipart import file_name

KEPT: Final = " ._-"  # besides letters and digits
NAMELESS: Final = "untitled"
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # the first time a zip can say
LAST_YEAR: Final = 2107  # the last year it can say
PIECE: Final = 256 << 10  # bytes read at a time
STEP: Final = 1 << 20  # bytes of the zip made in one go
MOST_MEMBERS: Final = 256  # packed in one go
ZIP64_FROM: Final = 1 << 30  # bytes; deflate may make a file a little larger

Stamp = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A file to be packed, and where its bytes are."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Step:
    """Some bytes of the zip, and how many members are in it by now."""

    data: bytes
    done: int


def folder_of(label: str) -> str:
    """What the zip and the folder in it are called after an acquisition's label.

    Raises:
        ApiError: 400, the name of the zip would be too long.
    """
    kept = "".join(c for c in label if c.isalnum() or c in KEPT).rstrip()
    # `.` and `..` alone would name other folders than one's own when it is unpacked.
    folder = kept if kept.strip(". ") else NAMELESS
    file_name(f"{folder}.zip")
    return folder


def stamp_of(timestamp: str | None) -> Stamp:
    """The time of the members: what the clock showed, whatever its offset; 1980 without any."""
    if not timestamp:
        return EARLIEST
    moment = datetime.fromisoformat(timestamp)
    if not EARLIEST[0] <= moment.year <= LAST_YEAR:
        return EARLIEST
    return (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


def packed(
    folder: str, stamp: Stamp, members: Iterable[Member], *, folder_stamp: Stamp | None = None
) -> Iterator[Step]:
    """The zip, step by step; to be run on a thread.

    Args:
        folder_stamp: the time of an entry for the folder itself, which comes first; without one
            there is no such entry.

    Raises:
        OSError: a file cannot be read.
    """
    sink = _Sink()
    told = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        done = 0
        if folder_stamp is not None:
            entry = zipfile.ZipInfo(f"{folder}/", folder_stamp)
            entry.external_attr = (stat.S_IFDIR | 0o755) << 16
            archive.writestr(entry, b"")
        for done, member in enumerate(members, start=1):
            for _ in _pack(archive, f"{folder}/{member.name}", stamp, member):
                if sink.held >= STEP:
                    told = done - 1
                    yield Step(sink.taken(), told)
            if done - told >= MOST_MEMBERS:
                told = done
                yield Step(sink.taken(), told)
    yield Step(sink.taken(), done)


def _pack(archive: zipfile.ZipFile, name: str, stamp: Stamp, member: Member) -> Iterator[None]:
    entry = zipfile.ZipInfo(name, stamp)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    large = member.size >= ZIP64_FROM
    with member.path.open("rb") as source, archive.open(entry, "w", force_zip64=large) as target:
        while piece := source.read(PIECE):
            target.write(piece)
            yield


class _Sink:
    """Takes what the archive writes until it is fetched; cannot be sought in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.held = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self.held += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    def taken(self) -> bytes:
        pieces, self._pieces, self.held = self._pieces, [], 0
        return b"".join(pieces)
