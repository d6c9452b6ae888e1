"""The JSON of core18, checked field by field.

Its rule is that of :mod:`fwsync.remotes.flywheel_wire`: what cannot be believed is an error.
A session that has no files has no ``files`` in a list; that is no error (core18, observed).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

from fwsync.digest import from_flywheel_hash
from fwsync.errors import Garbled
from fwsync.model import ContainerRef, Level, RelPath, RemoteEntry
from fwsync.remotes.flywheel_wire import (
    Json,
    label_of,
    mapping_of,
    modified_of,
    nanoseconds_of,
    number_of,
    page_of,
    text_of,
)

_MILLISECOND = 1_000_000  # nanoseconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it stands in its container, or in the answer to an upload."""

    name: str
    size: int  #: bytes
    hash: str
    modified_ns: int  #: in whole milliseconds: only an upload's answer has more (core18)
    is_new: bool  #: nothing of this name was replaced by it; known in an upload's answer
    said: Json = field(compare=False, repr=False)  #: all that the answer says of it

    @classmethod
    def of(cls, item: Json, what: str) -> Self:
        """Read one.

        Raises:
            Garbled: it has no name, size or hash.
        """
        name = text_of(item, "name", what)
        size = number_of(item, "size", what)
        if size is None:
            raise Garbled(f"{what}: {name!r} has no size")
        hash_ = text_of(item, "hash", what)
        modified_ns = modified_of(item.get("modified"))
        modified_ns -= modified_ns % _MILLISECOND
        return cls(name, size, hash_, modified_ns, "created" in item, item)

    def entry(self, path: RelPath, container: ContainerRef) -> RemoteEntry:
        """The entry at a path."""
        digest = from_flywheel_hash(self.hash)
        return RemoteEntry(
            path,
            self.size,
            self.hash,
            digest,
            container,
            self.name,
            modified_ns=self.modified_ns,
        )


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one container; each name once."""

    by_name: dict[str, File]
    unclear: frozenset[str]  #: names that several files of different bytes have (core18)

    @classmethod
    def of(cls, item: Json, what: str) -> Self:
        """Read ``files``; those that are marked as deleted are left out."""
        if "files" not in item:
            return cls({}, frozenset())
        by_name: dict[str, File] = {}
        unclear: set[str] = set()
        for one in page_of(item["files"], what).items:
            if one.get("deleted"):
                continue
            file = File.of(one, what)
            # By its name the first one is read, and the first one is overwritten.
            if by_name.setdefault(file.name, file).hash != file.hash:
                unclear.add(file.name)
        return cls(by_name, frozenset(unclear))


@dataclass(frozen=True, slots=True)
class Held:
    """A session or an acquisition, with its files."""

    level: Level
    id: str
    label: str
    created_ns: int
    files: Files
    code: str = ""  #: of a session's subject; empty: it has none
    subject_id: str = ""
    subject_files: tuple[File, ...] = ()  #: there is no way to read them

    @property
    def age(self) -> tuple[int, str]:
        """Sorts siblings: the oldest first."""
        return self.created_ns, self.id


def acquisition_of(item: Json, what: str) -> Held:
    """An acquisition of a list."""
    return Held(
        Level.ACQUISITION,
        text_of(item, "_id", what),
        label_of(item, what),
        nanoseconds_of(item.get("created")),
        Files.of(item, what),
    )


def session_of(item: Json, what: str) -> Held:
    """A session of a list."""
    subject = mapping_of(item, "subject", what)
    subject_id = subject.get("_id")
    return Held(
        Level.SESSION,
        text_of(item, "_id", what),
        label_of(item, what),
        nanoseconds_of(item.get("created")),
        Files.of(item, what),
        code_of(item, what),
        subject_id if isinstance(subject_id, str) else "",
        tuple(Files.of(subject, what).by_name.values()),
    )


def code_of(session: Json, what: str) -> str:
    """The code of a session's subject; empty where it has none."""
    code = mapping_of(session, "subject", what).get("code")
    if code is None:
        return ""
    if not isinstance(code, str):
        raise Garbled(f"{what}: the code of a subject that is no text")
    return code


def list_of(answer: object, read: Callable[[Json, str], T], what: str) -> list[T]:
    """A whole list: this server has no pages.

    Raises:
        Garbled: it is none, or an entry cannot be believed.
    """
    if not isinstance(answer, list):
        raise Garbled(f"{what}: expected a list, got {type(answer).__name__}")
    return [read(item, what) for item in page_of(answer, what).items]
