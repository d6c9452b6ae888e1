"""The nouns of a mapping: a place, why it is there, and who can name one.

A mapping never guesses. What fits no rule, or fits one that lacks something, comes back
as an :class:`fwsync.layout.Unmappable` with the nearest rule in its reason.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from fwsync.layout import Unmappable
from fwsync.model import Address, RelPath, Stamp

#: One value of a header; what is missing is not in the header at all.
HeaderValue: TypeAlias = "str | int | float | abc.Sequence[str | int | float]"

#: A file's header by DICOM keyword (``PatientID``), as a reader of headers gives it.
Header: TypeAlias = "abc.Mapping[str, HeaderValue]"

#: One thing known about a file or its containers.
FieldValue: TypeAlias = (
    "str | int | float | bool | abc.Sequence[FieldValue] | abc.Mapping[str, FieldValue]"
)

Fields: TypeAlias = "abc.Mapping[str, FieldValue]"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a file goes.

    ``address`` names the file or, for a member of a pack, the pack. Labels run from the
    group down without gaps and hold what the file system holds, unescaped.
    """

    address: Address
    rule: str  #: which rule put it here and what it saw: "rule 2 (mri/**): subject 'p01' from …"
    member: str = ""  #: its name inside the pack, POSIX; empty: a file of its own
    kind: str = ""  #: the platform's file type to state ("dicom"); empty: none
    fields: Fields = field(default_factory=dict)  #: by canonical name: "session.timestamp", …

    def alone(self) -> Placed:
        """What the only member of a pack becomes where ``zip_single = false``: the file as it is.

        A member in a folder of its own stays a pack: its place would be lost otherwise.
        """
        if not self.member or "/" in self.member:
            return self
        return replace(self, address=Address(self.address.labels, self.member), member="")


class Mapping(Protocol):
    """Disk paths to places. Stateless: the same path, header and stamp give the same place."""

    @property
    def two_way(self) -> bool:
        """True if :meth:`disk_path` undoes :meth:`place`: pull and sync need it."""

    @property
    def unpacks(self) -> bool:
        """True if zips are unpacked that are known by their names alone."""

    def wants_header(self, path: RelPath, stamp: Stamp | None = None) -> bool:
        """True if the file's header has to be read before :meth:`place`."""

    def place(
        self, path: RelPath, header: Header | None = None, stamp: Stamp | None = None
    ) -> Placed | Unmappable:
        """Where the file goes.

        Args:
            path: below the root.
            header: what :meth:`wants_header` asked for; None: it could not be read, or the
                file has none.
            stamp: needed by rules that look at size or time; without it they do not match.
        """

    def disk_path(self, address: Address, member: str = "") -> RelPath | Unmappable:
        """The one path that :meth:`place` gives this address and member for.

        Raises:
            UsageError: the mapping is not two-way.
        """

    def pack_kind(self, address: Address) -> str:
        """The kind of the packs that are called so there; empty: it is no pack's name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a header says of the file that it belongs to."""

    labels: abc.Mapping[str, str]  #: by level: "subject", "session", …; those that it knows
    saw: str  #: in words: "subject 'p01' from PatientID, …"
    member: str = ""  #: its name inside the series' pack; empty: the name on disk
    fields: Fields = field(default_factory=dict)


class Scanner(Protocol):
    """Names a place from a header. ``fwsync.mapping.dicom`` is one."""

    @property
    def routes(self) -> bool:
        """True if it names the group and the project of every file that it finds."""

    def find(self, header: Header) -> Found | Unmappable:
        """The labels that the header gives; Unmappable: it lacks what they are made of."""
