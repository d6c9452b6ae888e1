"""The doors between the core and the outside: what the engine may ask of a remote.

A read-only remote is a type: code that writes takes a :class:`Remote`, and handing it
a :class:`RemoteReader` is an error of the type checker, not of the night run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol, overload, runtime_checkable

from fwsync.digest import Digest
from fwsync.errors import FwsyncError
from fwsync.model import ContainerRef, Holder, Level, RelPath, RemoteEntry, Unknown


class RouteName(StrEnum):
    """The ways up, as settings and reports name them."""

    AUTO = "auto"  #: the best that the site offers, for each file
    SIGNED = "signed"
    PACKFILE = "packfile"
    FORM = "form"
    MULTIPART = "multipart"


class FormBy(StrEnum):
    """By what the form that says where its files belong names their containers."""

    LABEL = "label"
    UID = "uid"
    REAPER = "reaper"


#: A file on the server as the state keeps it: path, size, tag, digest, what kind of container
#: holds it and its id, name, id and version of the file, time of change. See ``RemoteEntry``.
ListedRow = tuple[RelPath, int, str, Digest | None, str, str, str, str, int, int]

_HOLDERS: Mapping[str, Level | Holder] = {one.value: one for one in (*Level, *Holder)}


class ListedPage(Sequence[RemoteEntry | Unknown]):
    """A page of a listing as rows; whoever looks at its entries has them made."""

    __slots__ = ("rows", "unknown")

    def __init__(self, rows: Sequence[ListedRow], unknown: Sequence[Unknown]) -> None:
        self.rows = rows
        self.unknown = unknown

    def __len__(self) -> int:
        return len(self.unknown) + len(self.rows)

    @overload
    def __getitem__(self, at: int) -> RemoteEntry | Unknown: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[RemoteEntry | Unknown]: ...
    def __getitem__(
        self, at: int | slice
    ) -> RemoteEntry | Unknown | Sequence[RemoteEntry | Unknown]:
        """As a list of all of them has it."""
        return [*self][at]

    def __iter__(self) -> Iterator[RemoteEntry | Unknown]:
        yield from self.unknown
        yield from map(entry_of, self.rows)


def entry_of(row: ListedRow) -> RemoteEntry:
    """The entry that a row is."""
    path, size, etag, digest, kind, id_, name, file_id, version, modified_ns = row
    container = _container(kind, id_)
    return RemoteEntry(path, size, etag, digest, container, name, file_id, version, modified_ns)


@lru_cache(maxsize=4096)  # one for all of its files, which mostly come one after another
def _container(holder: str, id_: str) -> ContainerRef:
    return ContainerRef(_HOLDERS[holder], id_)


@dataclass(frozen=True, slots=True)
class Features:
    """What a remote can do beyond listing and reading; asked before it is tried."""

    digests: bool = True  #: listings carry a digest for most files
    versions: bool = True  #: a replaced file stays on the server as an older version
    fetch_limit: int = 1  #: files one :meth:`RemoteReader.fetch` may carry; 1: no bulk
    put_limit: int = 1  #: files one :meth:`Remote.put` is best given, of one folder
    put_bytes: int = 32 << 20  #: bytes that it is best given, where it is several files


class Upload(Protocol):
    """A file on its way up, as a remote sees it."""

    @property
    def path(self) -> RelPath:
        """Where it belongs."""
        ...

    @property
    def size(self) -> int:
        """Bytes; exactly as many are read."""
        ...

    @property
    def metadata(self) -> Mapping[str, object]:
        """What to say of the file besides its name (type, info, tags, …); may be empty."""
        ...

    @property
    def fields(self) -> Mapping[str, object]:
        """What is known of the containers above it, as ``session.timestamp``; may be empty."""
        ...

    @property
    def digest(self) -> Digest | None:
        """Of the content, once all of it was read in one go; None before."""
        ...

    @property
    def members(self) -> Sequence[Upload]:
        """The files inside, where it is a pack; each has its name in the pack as its path."""
        ...

    def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """The content from ``offset`` on, ``size`` bytes or all; each call starts again.

        Read whole, it is hashed as it passes. Parts may be read side by side; they are not
        hashed, so that :meth:`examine` has to be asked as well.

        Raises:
            SourceChanged: before the last chunk is handed out, so that a body built
                from it is never complete.
            Unreadable: the file cannot be opened or read.
        """
        ...

    async def examine(self) -> None:
        """Read all of it without sending any, so that :attr:`digest` is known.

        Raises:
            SourceChanged, Unreadable: as :meth:`read`.
        """
        ...


@runtime_checkable
class Stamped(Protocol):
    """An :class:`Upload` that can be told from an earlier one without reading it.

    One that cannot is never taken up where an earlier run left it.
    """

    @property
    def stamp(self) -> str:
        """Two uploads of a path with the same one have the same bytes; empty: not known."""
        ...

    def spared(self, offset: int, size: int) -> None:
        """These bytes are there already: they count as progress, and are not read to be sent."""
        ...


@runtime_checkable
class Tagged(Protocol):
    """An :class:`Upload` of several files that is known again by what they hold."""

    async def tag(self) -> str:
        """The tag of its members' names and content; reads them, the first time.

        Raises:
            SourceChanged, Unreadable: as :meth:`Upload.read`.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that was begun, and whose end is not known."""

    id: int
    path: RelPath
    stamp: str  #: of what was to be sent (:class:`Stamped`), or its tag (:class:`Tagged`)
    route: str  #: the way it went, which alone can read the note
    note: Mapping[str, object]  #: JSON; may hold secrets, never shown
    parts: Mapping[int, str]  #: those that have arrived, from 1, and what the store calls each
    begun_ns: int  #: by this machine's wall clock


class Ledger(Protocol):
    """Where begun uploads are kept, so that a later run goes on with them or gives them up.

    An entry is made after the server gave its ticket, and dropped after its end, or when both
    sides agree on the file.

    Raises:
        LocalError: each of its methods, where the state cannot be written.
    """

    async def begin(self, path: RelPath, stamp: str, route: str, note: Mapping[str, object]) -> int:
        """Keep an upload; its number."""
        ...

    async def update(self, id_: int, note: Mapping[str, object]) -> None:
        """Replace its note."""
        ...

    async def confirm(self, id_: int, number: int, tag: str) -> None:
        """Keep that a part has arrived, and what the store calls it."""
        ...

    async def end(self, id_: int) -> None:
        """Forget it; harmless a second time."""
        ...

    async def find(self, path: RelPath, route: str) -> Sequence[OpenUpload]:
        """The uploads of a path by a route, the newest first; also of older contents."""
        ...

    async def all(self) -> Sequence[OpenUpload]:
        """All that were begun, the oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one :class:`Upload` of a batch: an entry, or an error."""

    path: RelPath
    entry: RemoteEntry | None = None
    error: FwsyncError | None = None
    route: str = ""  #: how it went: signed, packfile, form or multipart
    #: The route has compared what is there, file by file: the entry need not look like what
    #: was sent, as where the server makes the zip.
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """A label or file name that the server has under another one: ours was refused or altered."""

    parent_id: str  #: of the container that holds it
    is_file: bool  #: False: the label of a container
    ours: str
    theirs: str


class NameKeeper(Protocol):
    """Keeps aliases from one run to the next. One of our names has one of theirs, and back."""

    async def remember(self, alias: Alias) -> None:
        """Keep it; it is on disk when this returns."""
        ...

    async def forget(self, alias: Alias) -> None:
        """Drop it: nothing came to be under the server's name."""
        ...

    async def is_free(self, path: RelPath) -> bool:
        """Is there nothing at or below this path here, and nothing agreed on?"""
        ...


@dataclass(frozen=True, slots=True)
class GivenName:
    """The name that a container of the server, or a file, was given here."""

    id: str  #: on the server; of a file without one, that of its container
    is_file: bool
    label: str  #: as we say it: another label gets another name
    parent_id: str  #: of the container that holds it
    name: str  #: in the folder of that container


@dataclass(frozen=True, slots=True)
class ToldPlace:
    """Where a file belongs on this disk, as the server tells."""

    path: RelPath  #: of the file
    disk: str  #: below the root; empty: nowhere
    why: str  #: it has no place


class ToldSink(Protocol):
    """Takes the places that a listing tells of."""

    async def begin(self) -> None:
        """A listing begins; what an earlier one told is forgotten."""
        ...

    async def take(self, page: Sequence[ToldPlace]) -> None:
        """The next of them, in any order."""
        ...

    async def describe(self, content: bytes) -> None:
        """What a project says of itself, as the file that a tree of its kind has for that."""
        ...


class GivenNameKeeper(Protocol):
    """Keeps given names from one run to the next."""

    async def keep(self, given: Sequence[GivenName], gone: Sequence[GivenName]) -> None:
        """Keep some and drop others; it is on disk when this returns."""
        ...

    async def files_at(self, paths: Sequence[RelPath]) -> set[RelPath]:
        """Those of the paths at which both sides have agreed on a file, and nothing below."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a :meth:`RemoteReader.fetch`, its bytes still to be read.

    ``chunks`` must be read to its end, or closed, before the next member is asked for.
    """

    entry: RemoteEntry
    size: int  #: bytes that the stream announces; may differ from ``entry.size``
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Ranged:
    """The answer to :meth:`RemoteReader.span`, its bytes still to be read.

    ``chunks`` brings what was asked for, or all of the file; never more. It may end early, or
    break off (:class:`fwsync.errors.Unavailable`): what had come by then may be kept.
    """

    whole: bool  #: it is all of the file, from its start: ranges are not to be had
    mark: str  #: what the server calls this content; another one is another content; "": nothing
    chunks: AsyncIterator[bytes]


class RemoteReader(Protocol):
    """A remote that can be listed and read."""

    @property
    def features(self) -> Features:
        """What it can do."""
        ...

    @property
    def requests(self) -> int:
        """HTTP requests made so far, repeats included."""
        ...

    def entries(self) -> AsyncIterator[Sequence[RemoteEntry | Unknown]]:
        """Every file in scope, in pages, in no order; each path once.

        What could not be seen comes as :class:`Unknown`; a listing is otherwise
        complete, or it raises.
        """
        ...

    async def look(self, path: RelPath) -> RemoteEntry | None:
        """This one file as it is now, by a direct question; None if it is not there.

        Raises:
            RemoteError: the question was not answered, which is not the same as None.
        """
        ...

    async def has_made(
        self, entry: RemoteEntry, upload: OpenUpload, members: Mapping[str, int]
    ) -> bool:
        """Did an upload end with this file, a zip that the server has made, unheard by us?

        Args:
            entry: as it is there now.
            upload: of an earlier run, to the same path.
            members: the sizes of what was in it, by name.

        Raises:
            RemoteError: the question was not answered.
        """
        ...

    def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """One file's bytes, from ``offset`` on."""
        ...

    def span(
        self, entry: RemoteEntry, offset: int, size: int
    ) -> AbstractAsyncContextManager[Ranged]:
        """``size`` bytes of one file from ``offset`` on; at least one, and none beyond its end.

        Raises:
            IntegrityError: it is another file than was listed, or another range was sent.
        """
        ...

    def fetch(
        self, entries: Sequence[RemoteEntry]
    ) -> AbstractAsyncContextManager[AsyncIterator[Member]]:
        """Several files by one exchange; any may be missing, and the stream may end early.

        Only files that were asked for are yielded, each at most once.
        """
        ...


class Remote(RemoteReader, Protocol):
    """A remote that can be written as well."""

    def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        """Send a batch; one :class:`Sent` for each, in any order.

        Containers that are missing are made, once. What may have been acted on is sent
        at most once a call: repeating it is the caller's, after a :meth:`look`.
        """
        ...

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        """Delete a file. The caller has just looked that it is still this version."""
        ...

    async def check_gone(self, entry: RemoteEntry) -> None:
        """Make sure that a file which was not found is gone: what held it still is to be found.

        Raises:
            NotFound: nor is that. A server or a proxy that answers so to everything says nothing.
        """
        ...


@runtime_checkable
class Movable(Remote, Protocol):
    """A remote on which a file, or a folder with all that is said of it, can get another path.

    No bytes move, and nothing is ever replaced.
    """

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        """Give a file another path; containers that are missing are made, once.

        The caller has just looked that it is still this version, and that the path is free.

        Returns:
            The file as it is there now.

        Raises:
            SourceChanged: it has moved, and could not be looked at after that.
            FileProblem, Refused, Forbidden, NotFound: it cannot be; nothing has changed.
            Unavailable: it is not known whether it has moved.
        """
        ...

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        """Give the container of a folder another path, with all that is in it.

        Returns:
            False where that cannot be: it is no container, or not of the same level, or another
            one has that path. Nothing has changed then.

        Raises:
            SourceChanged: it is not what was listed any more; nothing has changed.
            Refused, Forbidden, NotFound: the server does not do it; nothing has changed.
            Unavailable: it is not known whether it has moved.
        """
        ...

    async def has_folder(self, path: RelPath) -> bool:
        """Is there a container that this is the folder of, by a direct question?

        Raises:
            RemoteError: the question was not answered.
        """
        ...
