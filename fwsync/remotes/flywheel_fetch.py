"""Bytes coming down: one file by itself, or many in one tar.

Its rule: only what was asked for comes out, under the entry it was asked by. Names in
an archive are compared, never used.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from fwsync.errors import Forbidden, Garbled, IntegrityError, NotFound, Refused
from fwsync.model import FILE_LEVELS, Holder, RemoteEntry
from fwsync.ports import Member
from fwsync.remotes import tarstream
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, text_of
from fwsync.remotes.http import Answer, Api, Params
from fwsync.remotes.strays import Oddity, Strays, oddity_of

#: Folders of a bulk archive: singular on servers of 2019 and later, plural before.
_HOLDERS = (*FILE_LEVELS, Holder.ANALYSIS)
_FOLDERS = {one.value for one in _HOLDERS} | {PLURAL[one] for one in _HOLDERS}

_SPARE = 64 * 2**20  #: bytes of members nobody asked for that are read past, at most
_UNREADABLE = ".MISSING"  # behind the name of a file that the server cannot read; core19
_BOUND = "tickets are bound to the address they were asked from, which must not change"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


@asynccontextmanager
async def reading(
    api: Api,
    entry: RemoteEntry,
    offset: int = 0,
    *,
    closed: bool = False,
    params: Params | None = None,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """One file's bytes from ``offset`` on; exactly as many as the entry says.

    Args:
        api: the site.
        entry: the file.
        offset: where to begin.
        closed: name the last byte as well. Of an open range, core18 says that it sends
            ``bytes 5-None/9`` (observed).
        params: more of the query.
    """
    if offset < 0 or offset > entry.size:
        raise ValueError(f"{offset} is no place in a file of {entry.size} bytes")
    if offset and offset == entry.size:  # no byte is left, and no range says so
        yield _nothing()
        return
    params = {
        "version": entry.version if entry.file_id else None,
        "view": True if offset else None,  # without it, ranges are ignored (core18)
        **(params or {}),
    }
    headers = {"Range": f"bytes={offset}-{entry.size - 1 if closed else ''}"} if offset else {}
    address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
    async with api.stream(address, params=params, headers=headers, what=entry.path) as answer:
        chunks = _measured(answer, entry, _start_of(answer, entry, offset), offset)
        try:
            yield chunks
        finally:
            await chunks.aclose()


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


def _start_of(answer: Answer, entry: RemoteEntry, offset: int) -> int:
    """The place in the file where the answer begins; its length is checked on the way."""
    size, start = answer.size, 0
    if answer.status == 206:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != offset:
            raise Garbled(f"{entry.path}: another range was sent than was asked for")
        start = offset
        size = int(match[2]) if match[2] != "*" else None
    if size is not None and size != entry.size:
        raise IntegrityError(
            f"{entry.path}: the server has {size} bytes, its listing said {entry.size}"
        )
    return start


async def _measured(
    answer: Answer, entry: RemoteEntry, start: int, offset: int
) -> AsyncGenerator[bytes, None]:
    """What follows ``offset``; a server that sent all from the start is read past it."""
    at = start
    async for chunk in answer.chunks():
        before, at = at, at + len(chunk)
        if at > entry.size:
            raise IntegrityError(
                f"{entry.path}: more than the {entry.size} bytes that the listing said"
            )
        if at > offset:
            yield chunk[max(0, offset - before) :]
    if at != entry.size:
        raise IntegrityError(f"{entry.path}: ended after {at} bytes of {entry.size}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to read an archive, and what the server says is in it."""

    id: str
    members: int | None = None  #: files in it; None: it does not say
    size: int | None = None  #: bytes of all of them; None: it does not say


class Fetch:
    """The files of one ticket as they come; each that was asked for, at most once.

    Args:
        entries: what was asked for.
        chunks: of the archive; None: there is none.
        ticket: what it is of; None: it is not known.
        strays: is told all that is odd.

    Raises, while it is read:
        Unavailable: the stream broke off; members read to their end are whole.
        Garbled: it is no archive, something follows its end, or it holds far more than it should.
    """

    def __init__(
        self,
        entries: Sequence[RemoteEntry],
        chunks: AsyncIterator[bytes] | None,
        ticket: Ticket | None = None,
        strays: Strays | None = None,
    ) -> None:
        self._wanted = {(entry.container.id, entry.name): entry for entry in entries}
        self._given: set[tuple[str, str]] = set()
        self._containers = {entry.container.id for entry in entries}
        self._members = None if chunks is None else tarstream.members(chunks)
        self._ticket = ticket
        self._files = self._bytes = 0  # of the archive, so far
        self._spare = _SPARE
        #: What was odd about it.
        self.strays = Strays() if strays is None else strays

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Member:
        if self._members is not None:
            async for member in self._members:
                if member.kind is tarstream.Kind.FILE:
                    self._files += 1
                    self._bytes += member.size
                entry = self._match(member)
                if entry is not None:
                    return Member(entry, member.size, member.chunks)
        self._compare()
        raise StopAsyncIteration

    def _match(self, member: tarstream.TarMember) -> RemoteEntry | None:
        """What a member is of; None: of nothing that is waited for, and it was noted."""
        folder, _, rest = member.name.partition("/")
        id_, _, name = rest.partition("/")
        key = id_, name
        is_ours = member.kind is tarstream.Kind.FILE and folder in _FOLDERS
        if is_ours and not self._is_mark(key, member):
            entry = self._wanted.pop(key, None)
            if entry is not None:
                self._given.add(key)
                self._check_size(entry, member)
                return entry
        self._note(member, key if is_ours else None)
        return None

    def _is_mark(self, key: tuple[str, str], member: tarstream.TarMember) -> bool:
        """Is it what stands for a file that the server cannot read? Source: core19.

        A file may be called so, too: it is one if it was asked for, unless it has no bytes
        though it should have some, and the other is still to come.
        """
        id_, name = key
        base = name.removesuffix(_UNREADABLE)
        if base == name or (id_, base) not in self._wanted:
            return False
        file = self._wanted.get(key)
        return file is None or (member.size == 0 and file.size > 0)

    def _check_size(self, entry: RemoteEntry, member: tarstream.TarMember) -> None:
        """Note a size that is not that of the listing; to refuse it is the caller's business.

        Raises:
            Garbled: it is so much that not even reading past it would do.
        """
        if member.size > entry.size:
            self.strays.add(Oddity.TOO_LARGE, entry.path)
            self._spend(member.size - entry.size)
        elif member.size < entry.size:
            self.strays.add(Oddity.TOO_SMALL, entry.path)

    def _note(self, member: tarstream.TarMember, key: tuple[str, str] | None) -> None:
        """Say what a member is that is not waited for.

        Raises:
            Garbled: the archive holds too much of the kind.
        """
        oddity = oddity_of(member.name, member.kind)
        if oddity is None and member.kind is not tarstream.Kind.FOLDER:
            if member.size > _SPARE:
                oddity = Oddity.ENDLESS
            elif key is not None and self._is_mark(key, member):
                oddity = Oddity.UNREADABLE
            elif key in self._given:
                oddity = Oddity.DOUBLED
            elif key is not None and key[0] in self._containers:
                oddity = Oddity.RENAMED
            else:
                oddity = Oddity.EXTRA
        if oddity is not None:
            self.strays.add(oddity, member.name)
        self._spend(member.size + tarstream.BLOCK)

    def _spend(self, size: int) -> None:
        self._spare -= size
        if self._spare < 0:
            raise Garbled("the archive holds much more than was asked for")

    def _compare(self) -> None:
        """At the end that the archive says it has: did all come, and what the ticket said?"""
        for entry in self._wanted.values():
            self.strays.add(Oddity.WITHHELD, entry.path)
        self._wanted.clear()
        ticket = self._ticket
        if ticket is None:
            return
        members = self._files if ticket.members is None else ticket.members
        size = self._bytes if ticket.size is None else ticket.size
        if (members, size) != (self._files, self._bytes):
            self.strays.add(
                Oddity.MISCOUNTED,
                f"{members} files of {size} bytes promised, "
                f"{self._files} files of {self._bytes} bytes sent",
            )

    async def aclose(self) -> None:
        """Stop reading."""
        if self._members is not None:
            await self._members.aclose()


@asynccontextmanager
async def fetching(
    api: Api,
    entries: Sequence[RemoteEntry],
    mint: Callable[[], Awaitable[Ticket | None]] | None = None,
    strays: Strays | None = None,
) -> AsyncIterator[Fetch]:
    """Ask for a ticket, and read what it brings; empty if the server has none of them.

    Args:
        api: the site.
        entries: asked for.
        mint: asks for the ticket, in another way than that of today.
        strays: is told what is odd about the archive.

    Raises:
        NotFound, Forbidden, Refused: not even a new ticket is taken (F55).
    """
    for attempt in range(2):
        ticket = await (mint() if mint else _ticket(api, entries))
        if ticket is None:
            yield Fetch(entries, None, strays=strays)
            return
        minted_again = False
        try:
            async with api.stream(
                ("download",), params={"ticket": ticket.id}, what="download"
            ) as answer:
                fetch = Fetch(entries, answer.chunks(), ticket, strays)
                minted_again = True  # from here on an error is not the ticket's
                try:
                    yield fetch
                finally:
                    await fetch.aclose()
                return
        except (NotFound, Forbidden, Refused) as error:
            # Tickets expire, are used up, and are bound to an address that may change.
            if minted_again:
                raise
            if attempt:
                error.hint = error.hint or _BOUND
                if strays is not None:
                    strays.add(Oddity.REFUSED, error.message)
                raise


def bulk(entries: Sequence[RemoteEntry]) -> dict[str, object]:
    """The body that asks for these files. Source: SDK 23, core18, observed."""
    return {
        "files": [
            {
                "container_name": entry.container.level.value,
                "container_id": entry.container.id,
                "filename": entry.name,
            }
            for entry in entries
        ]
    }


async def _ticket(api: Api, entries: Sequence[RemoteEntry]) -> Ticket | None:
    body = bulk(entries)
    what = f"a ticket for {len(entries)} files"
    answer: object = None
    try:
        answer = await api.json(
            "POST",
            ("download",),
            params={"type": "bulk"},
            body=body,
            repeatable=True,
            what=what,
        )
    except NotFound:
        return None
    except Refused as error:
        if error.status != 400:
            raise
        answer = await _old_ticket(api, body, what)
    return None if answer is None else ticket_of(answer, what)


def ticket_of(answer: object, what: str) -> Ticket:
    """The ticket that a server has given.

    Raises:
        Garbled: it is none.
    """
    item = item_of(answer, what)
    id_ = text_of(item, "ticket", what)
    return Ticket(id_, _promised(item, "file_cnt"), _promised(item, "size"))


def _promised(item: Json, key: str) -> int | None:
    """A number that is only compared: one that makes no sense is no reason to take no archive."""
    value = item.get(key)
    return value if type(value) is int and value >= 0 else None


async def _old_ticket(api: Api, body: object, what: str) -> object:
    """As servers before ``type`` was known want to be asked."""
    try:
        return await api.json(
            "POST", ("download",), params={"bulk": True}, body=body, repeatable=True, what=what
        )
    except NotFound:
        return None
