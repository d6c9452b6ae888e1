"""What would be doubled: destinations, images, and uids that are in more than one place.

The one rule: bytes decide. Two files of one name with the same bytes are one file, and
nothing to worry about; the report says so. Every finding names two paths, or a path and
the place on the server.

The rules are those of CLI 18.5.1, observed, whose codes stand beside ours; it compares
names and uids only.

Memory grows with the number of studies, series and doubles, and by 16 bytes a file.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from fwsync.mapping.placing import Placed
from fwsync.model import Address, Level, RelPath


class Code(StrEnum):
    """What is doubled."""

    PATH_TWICE = "path-twice"
    NAME_ON_SERVER = "name-on-server"
    STUDIES_IN_FILE = "studies-in-file"
    STUDIES_IN_SESSION = "studies-in-session"
    STUDY_IN_SESSIONS = "study-in-sessions"
    STUDY_ELSEWHERE = "study-elsewhere"
    SERIES_IN_ACQUISITION = "series-in-acquisition"
    SERIES_IN_ACQUISITIONS = "series-in-acquisitions"
    SERIES_IN_FILE = "series-in-file"
    SERIES_ELSEWHERE = "series-elsewhere"
    IMAGE_TWICE = "image-twice"


#: The same in the words of `fw ingest --detect-duplicates`.
DD_CODES = {code: f"DD{number:02}" for number, code in enumerate(Code, 1)}


def codes_of(names: Iterable[str]) -> frozenset[Code]:
    """The codes that are meant; no names: all of them.

    Args:
        names: ours, such as ``image-twice``, or those of ``fw``, such as ``DD11``.

    Raises:
        ValueError: one is neither.
    """
    by_number = {number: code for code, number in DD_CODES.items()}
    given = [by_number.get(name.upper()) or Code(name) for name in names]
    return frozenset(given or Code)


class Content(StrEnum):
    """How the bytes of the two compare."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"  #: not both were read, or it does not matter


@dataclass(frozen=True, slots=True)
class Row:
    """A file that is about to be sent."""

    path: RelPath
    placed: Placed
    study: str = ""  #: uid; empty: it has none
    series: str = ""
    image: str = ""
    content: str = ""  #: alike for the same bytes (a digest); empty: not known
    sent: str = ""  #: the same of what is sent, if that is a pack; empty: ``content``


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is in two places."""

    code: Code
    path: RelPath
    other: str  #: the other path, or the place on the server: "fwsync://group/project/…"
    text: str  #: for people; names both
    content: Content = Content.UNKNOWN
    harmless: bool = (
        False  #: both are one file with one destination: it is sent once, or not at all
    )

    @property
    def dd(self) -> str:
        """The code of `fw ingest --detect-duplicates`."""
        return DD_CODES[self.code]


class Server(Protocol):
    """What is on the server already."""

    def content_of(self, address: Address) -> str | None:
        """What compares with a row's content; "" if not known; None if no file is there."""

    def homes_of(self, level: Level, uid: str) -> Collection[tuple[str, ...]]:
        """The labels, from the group down, of each session or acquisition with that uid."""


class Nothing:
    """A server with nothing on it."""

    def content_of(self, address: Address) -> str | None:
        """Nothing."""
        del address
        return None

    def homes_of(self, level: Level, uid: str) -> Collection[tuple[str, ...]]:
        """Nowhere."""
        del level, uid
        return ()


NOTHING = Nothing()


def findings(
    rows: Callable[[], Iterable[Row]],
    server: Server = NOTHING,
    codes: Collection[Code] = frozenset(Code),
) -> Iterator[Finding]:
    """Everything that is in two places.

    Args:
        rows: gives the files that are about to be sent; called twice, and gives the same
            both times. Files that are in step already are none of them.
        server: what is there.
        codes: what to look for.

    Yields:
        In the order of the rows; uids once for each pair of places, and not for each file.
    """
    twice = _Twice(rows)
    relations = _Relations(server)
    for row in rows():
        for finding in (*twice.look(row), *relations.look(row)):
            if finding.code in codes:
                yield finding


# ---------------------------------------------------------------------------- file by file


class _Twice:
    """Destinations and images that come twice: what is suspect is known from a first pass."""

    def __init__(self, rows: Callable[[], Iterable[Row]]) -> None:
        places, images = array("q"), array("q")
        for row in rows():
            places.append(hash(_place(row)))
            if row.image:
                images.append(hash(row.image))
        self._places, self._images = _repeated(places), _repeated(images)
        self._first: dict[Hashable, Row] = {}

    def look(self, row: Row) -> Iterator[Finding]:
        if hash(_place(row)) in self._places:
            first = self._first.setdefault(("place", _place(row)), row)
            if first is not row:
                content = _compared(first.content, row.content)
                what = "one of them is sent" if content is Content.SAME else "one hides the other"
                text = f"{row.path} and {first.path} both go to {_shown(row)}: {what}"
                same = content is Content.SAME
                yield Finding(Code.PATH_TWICE, row.path, first.path, text, content, same)
        if row.image and hash(row.image) in self._images:
            first = self._first.setdefault(("image", row.image), row)
            if first is not row:
                content = _compared(first.content, row.content)
                one = content is Content.SAME and _place(first) == _place(row)
                text = f"{row.path} and {first.path} are both image {row.image}"
                yield Finding(Code.IMAGE_TWICE, row.path, first.path, text, content, one)


def _place(row: Row) -> tuple[tuple[str, ...], str, str]:
    return row.placed.address.labels, row.placed.address.name, row.placed.member


def _repeated(hashes: array[int]) -> set[int]:
    """Those that come more than once. Equal hashes of different things cost time, no finding."""
    return {one for one, other in pairwise(sorted(hashes)) if one == other}


def _compared(one: str, other: str) -> Content:
    if not one or not other:
        return Content.UNKNOWN
    return Content.SAME if one == other else Content.DIFFERENT


def _shown(row: Row) -> str:
    member = f" ({row.placed.member})" if row.placed.member else ""
    return f"{_joined(row.placed.address.labels)}/{row.placed.address.name}{member}"


def _joined(labels: tuple[str, ...]) -> str:
    return "/".join(labels)


# ------------------------------------------------------------------------ uids and places

_SESSION, _ACQUISITION = 4, 5  # labels down to them


class _Relations:
    """One uid in one place, and one place for one uid."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._first: dict[Hashable, tuple[str, RelPath]] = {}
        self._seen: set[Hashable] = set()

    def look(self, row: Row) -> Iterator[Finding]:
        address = row.placed.address
        file = f"{_joined(address.labels)}/{address.name}"
        packed = bool(row.placed.member)  # a file of its own comes once, and is not remembered
        if not packed or self._new("name", address):
            yield from self._name_on_server(row)
        for uid, kind, depth, level, codes in (
            (row.study, "study", _SESSION, Level.SESSION, _STUDY_CODES),
            (row.series, "series", _ACQUISITION, Level.ACQUISITION, _SERIES_CODES),
        ):
            if not uid:
                continue
            in_file, in_container, in_containers, elsewhere = codes
            if packed:
                text = f"{file} holds more than one {kind}"
                yield from self._one(in_file, row, file, uid, text)
            if len(address.labels) < depth:
                continue
            home = _joined(address.labels[:depth])
            text = f"the {level} {home} holds more than one {kind}"
            yield from self._one(in_container, row, home, uid, text)
            text = f"{kind} {uid} goes to more than one {level}"
            yield from self._one(in_containers, row, uid, home, text)
            if self._new(elsewhere, uid, home):
                yield from self._elsewhere(elsewhere, row, level, uid)

    def _new(self, *key: Hashable) -> bool:
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _one(self, code: Code, row: Row, key: str, value: str, text: str) -> Iterator[Finding]:
        """A finding where ``key`` had another value before."""
        first, path = self._first.setdefault((code, key), (value, row.path))
        if first != value and self._new(code, key, value):
            text = f"{text}: {first} ({path}) and {value} ({row.path})"
            yield Finding(code, row.path, path, text)

    def _name_on_server(self, row: Row) -> Iterator[Finding]:
        there = self._server.content_of(row.placed.address)
        if there is None:
            return
        ours = row.sent or ("" if row.placed.member else row.content)
        content = _compared(ours, there)
        place = f"{_joined(row.placed.address.labels)}/{row.placed.address.name}"
        what = {
            Content.SAME: "with the same bytes; it is not sent",
            Content.DIFFERENT: "with other bytes",
            Content.UNKNOWN: "and the two were not compared",
        }[content]
        text = f"{row.path}: {place} is on the server already, {what}"
        same = content is Content.SAME
        yield Finding(Code.NAME_ON_SERVER, row.path, place, text, content, same)

    def _elsewhere(self, code: Code, row: Row, level: Level, uid: str) -> Iterator[Finding]:
        depth = list(Level).index(level) + 1
        home = row.placed.address.labels[:depth]
        for other in sorted(self._server.homes_of(level, uid)):
            if other != home:
                place = _joined(other)
                text = (
                    f"{row.path} goes to the {level} {_joined(home)},"
                    f" and its uid {uid} is that of {place} on the server"
                )
                yield Finding(code, row.path, place, text)


_STUDY_CODES = (
    Code.STUDIES_IN_FILE,
    Code.STUDIES_IN_SESSION,
    Code.STUDY_IN_SESSIONS,
    Code.STUDY_ELSEWHERE,
)
_SERIES_CODES = (
    Code.SERIES_IN_FILE,
    Code.SERIES_IN_ACQUISITION,
    Code.SERIES_IN_ACQUISITIONS,
    Code.SERIES_ELSEWHERE,
)
