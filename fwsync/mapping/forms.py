"""What a way of reading paths gives: labels and fields, or what did not match.

A form knows nothing of rules, packs or projects: it reads one path below one folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fwsync.mapping.placing import FieldValue, Header
from fwsync.model import Address, Level, RelPath, Stamp


@dataclass(frozen=True, slots=True)
class Pack:
    """A file is a member of a pack."""

    name: str  #: of the pack; empty: as the rule's packs are called
    member: str
    kind: str
    why: str  #: "packed as dicom by '*.dcm'"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a path says."""

    values: Mapping[str, FieldValue]  #: by canonical field name; labels as text
    saw: str  #: "subject 'p01' from folder 1, session 's' from folder 2"
    rest: str  #: the path below the folder of the container
    name: str | None = None  #: the file's name; None: it lies deeper, and only a pack can take it
    level: Level | None = None  #: of the container; None: the deepest that is known, with packs
    pack: Pack | None = None  #: where the form itself packs
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a path does not fit."""

    reason: str  #: the end of a sentence: "folder 2 'x' does not match 'ses-{session}'"
    hint: str = ""
    depth: int = 0  #: folders that did match: the nearest rule is the one with most
    final: bool = False  #: no later rule may take the file
    missing: Level | None = None  #: what nothing names, where that is why


class Form(Protocol):
    """One way of reading paths."""

    @property
    def two_way(self) -> bool:
        """True if :meth:`write` undoes :meth:`read`."""

    @property
    def levels(self) -> frozenset[Level]:
        """The levels whose labels it reads."""

    @property
    def reads_headers(self) -> bool:
        """True if it reads any file's header."""

    def wants_header(self, path: str, stamp: Stamp | None) -> bool:
        """True if it reads this file's header."""

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """What the path, below the rule's folder, says."""

    def pack_kind(self, address: Address) -> str:
        """The kind of the packs of its own that are called so there; empty: none is."""

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """A path that may say so, or None; the caller reads it again to make sure.

        Args:
            labels: of all levels down to ``level``.
            level: of the container.
            rest: the path below the folder of the container.
        """


class PathOnly:
    """A form that needs nothing but the path."""

    reads_headers = False

    def wants_header(self, path: str, stamp: Stamp | None) -> bool:
        """False."""
        return False

    def pack_kind(self, address: Address) -> str:
        """Empty: it makes no packs of its own."""
        return ""


_MORE = "%+"  # see fwsync.layout: the name goes on in the next component

#: The levels from the top, and how deep each is.
LEVELS = tuple(Level)
DEPTH = {level: depth for depth, level in enumerate(LEVELS)}


def misspelled(text: str) -> Miss:
    """Said of a name for which :func:`fwsync.layout.label_of` gave None."""
    return Miss(
        f"{text!r} is not spelled as fwsync spells a name", "rename it; see docs/concepts/names.md"
    )


class Memo(NamedTuple):
    """The last folder's answer. Paths come sorted, so the next one is mostly the same.

    Replaced as a whole, never changed: two threads may ask one mapping.
    """

    key: object
    value: Reading | Miss


def join(*parts: str) -> RelPath:
    """Parts of a path; empty ones are left out."""
    return RelPath("/".join(part for part in parts if part))


def names_in(path: str) -> list[str]:
    """The names of a path; one that was too long is of several components, joined by ``/``."""
    names: list[str] = []
    goes_on = False
    for component in path.split("/"):
        if goes_on:
            names[-1] += f"/{component}"
        else:
            names.append(component)
        goes_on = component.endswith(_MORE)
    return names
