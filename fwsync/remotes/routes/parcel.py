"""A file and the container it goes to, and what every way up has in common.

Its rule: an answer is believed when it names the file by the name that was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from fwsync.errors import FileProblem, Garbled, Refused
from fwsync.metadata.shapes import joined
from fwsync.model import RemoteEntry
from fwsync.ports import Sent, Upload
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.flywheel_wire import PLURAL, Json, file_of

#: What core of 2018 lets a file's metadata say; anything else is 400. Source: core18, observed.
_KNOWN_IN_2018: Final = frozenset({"type", "mimetype", "modality", "measurements", "tags", "info"})


class NotOffered(Refused):
    """The site has no such way up; nothing of the file was sent."""


class Elsewhere(Garbled):
    """The file was stored, and not in the container that was meant."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file on its way, and where it goes: the container is there."""

    upload: Upload
    container: Container
    name: str  #: of the file on the server
    project: str = ""  #: id of the project that the container is, or lies in; empty: not known
    unique: bool = True  #: nothing else that is known has its container's labels
    #: Of the metadata of the file that this one replaces, what is joined with ours.
    kept: Json = field(default_factory=dict)
    or_name: str = ""  #: what the server may make of it, and that is fine; empty: nothing
    was_absent: bool = False  #: was looked for and not there, on a server that overwrites

    @property
    def metadata(self) -> Json:
        """What to say of the file besides its name; nothing that the server says of it is lost."""
        told = self.upload.metadata
        return joined(self.kept, told) if self.kept else told

    @property
    def address(self) -> tuple[str, str, str]:
        """The segments of the container's files."""
        return (PLURAL[self.container.level], self.container.id, "files")

    def entry(self, item: Json) -> RemoteEntry:
        """The entry in an answer to this upload.

        Raises:
            Garbled: it is no entry, or one of another name.
            Elsewhere: it says that it lies in another container.
        """
        path, container = self.upload.path, self.container
        if not says_where(item):
            item = {**item, "parent_ref": {"type": container.level, "id": container.id}}
        wire = file_of(item, path)
        if self.was_absent and "created" not in item:  # all that core of 2018 says of it
            raise FileProblem(
                f"{path}: a file of this name came to the server a moment before, and was"
                " replaced by this one",
                hint="the next run compares them again",
            )
        if wire.parent_id != container.id:
            raise Elsewhere(
                f"{path}: the server put it into {wire.parent_id}, not into {container.id}",
                hint="look there; this file is sent another way from now on",
            )
        if wire.name not in (self.name, self.or_name):
            raise Garbled(f"{path}: the server stored it as {wire.name!r}")
        return wire.entry(path, self.container.ref)


def metadata_of(parcel: Parcel, *, old: bool) -> Json:
    """What may be said of a file besides its name; an old server knows less, and refuses more."""
    told = parcel.metadata
    return {name: told[name] for name in told if name in _KNOWN_IN_2018} if old else told


def says_where(item: Json) -> bool:
    """Does an entry say what it lies in? Those of core of 2018 do not. Source: observed."""
    return bool(item.get("parent_ref") or item.get("parents"))


class Route(Protocol):
    """One way up."""

    name: ClassVar[str]

    def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """Send them; one :class:`~fwsync.ports.Sent` for each, in any order.

        A body that may have been acted on is sent at most once: to send it again is the
        caller's business, after a look. What one of them meets is no matter for the others.
        """
        ...
