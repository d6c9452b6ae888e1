"""The doors between the core and the outside: what the engine may ask of a remote.

A read-only remote is a type: code that writes takes a :class:`Remote`, and handing it
a :class:`RemoteReader` is an error of the type checker, not of the night run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from fwsync.errors import FwsyncError
from fwsync.model import RelPath, RemoteEntry, Unknown


@dataclass(frozen=True, slots=True)
class Features:
    """What a remote can do beyond listing and reading; asked before it is tried."""

    digests: bool = True  #: listings carry a digest for most files
    versions: bool = True  #: a replaced file stays on the server as an older version
    fetch_limit: int = 1  #: files one :meth:`RemoteReader.fetch` may carry; 1: no bulk
    put_limit: int = 1  #: files one :meth:`Remote.put` may carry


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

    def read(self) -> AsyncIterator[bytes]:
        """The content from its first byte; each call starts again.

        Raises:
            SourceChanged: before the last chunk is handed out, so that a body built
                from it is never complete.
            Unreadable: the file cannot be opened or read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one :class:`Upload` of a batch: an entry, or an error."""

    path: RelPath
    entry: RemoteEntry | None = None
    error: FwsyncError | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a :meth:`RemoteReader.fetch`, its bytes still to be read.

    ``chunks`` must be read to its end, or closed, before the next member is asked for.
    """

    entry: RemoteEntry
    size: int  #: bytes that the stream announces; may differ from ``entry.size``
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

    def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """One file's bytes, from ``offset`` on."""
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

        Containers that are missing are made, once. A body is sent at most once a
        call: repeating it is the caller's, after a :meth:`look`.
        """
        ...

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        """Delete a file. The caller has just looked that it is still this version."""
        ...
