"""Bytes coming down: one file by itself, or many in one tar.

Its rule: only what was asked for comes out, under the entry it was asked by. Names in
an archive are compared, never used.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from fwsync.errors import Forbidden, Garbled, IntegrityError, NotFound, Refused
from fwsync.model import FILE_LEVELS, RemoteEntry
from fwsync.ports import Member
from fwsync.remotes import tarstream
from fwsync.remotes.flywheel_wire import PLURAL, item_of, text_of
from fwsync.remotes.http import Answer, Api

#: Folders of a bulk archive: singular on servers of 2019 and later, plural before.
_FOLDERS = {level.value for level in FILE_LEVELS} | {PLURAL[level] for level in FILE_LEVELS}

_SPARE = 64 * 2**20  #: bytes of members nobody asked for that are read past, at most
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@asynccontextmanager
async def reading(api: Api, entry: RemoteEntry, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
    """One file's bytes from ``offset`` on; exactly as many as the entry says."""
    if offset < 0 or offset > entry.size:
        raise ValueError(f"{offset} is no place in a file of {entry.size} bytes")
    if offset and offset == entry.size:  # no byte is left, and no range says so
        yield _nothing()
        return
    params = {
        "version": entry.version if entry.file_id else None,
        "view": True if offset else None,  # without it, ranges are ignored (core 2018)
    }
    headers = {"Range": f"bytes={offset}-"} if offset else {}
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


class Fetch:
    """The files of one ticket as they come.

    Raises, while it is read:
        Unavailable: the stream broke off; members read to their end are whole.
        Garbled: it is no archive, or something follows its end.
    """

    def __init__(self, entries: Sequence[RemoteEntry], chunks: AsyncIterator[bytes] | None) -> None:
        self._wanted = {(entry.container.id, entry.name): entry for entry in entries}
        self._members = None if chunks is None else tarstream.members(chunks)
        self._spare = _SPARE
        #: Names of members that were not asked for, came twice, or are no files.
        self.strays: list[str] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Member:
        if self._members is None:
            raise StopAsyncIteration
        async for member in self._members:
            entry = self._match(member)
            if entry is not None:
                # What is longer than planned is the caller's to refuse, but not to read past.
                self._spare -= max(0, member.size - entry.size)
                self._check_spare()
                return Member(entry, member.size, member.chunks)
            self.strays.append(member.name)
            self._spare -= member.size + 512
            self._check_spare()
        raise StopAsyncIteration

    def _match(self, member: tarstream.TarMember) -> RemoteEntry | None:
        if member.kind is not tarstream.Kind.FILE:
            return None
        folder, _, rest = member.name.partition("/")
        id_, _, name = rest.partition("/")
        return self._wanted.pop((id_, name), None) if folder in _FOLDERS else None

    def _check_spare(self) -> None:
        if self._spare < 0:
            raise Garbled("the archive holds much more than was asked for")

    async def aclose(self) -> None:
        """Stop reading."""
        if self._members is not None:
            await self._members.aclose()


@asynccontextmanager
async def fetching(api: Api, entries: Sequence[RemoteEntry]) -> AsyncIterator[Fetch]:
    """Ask for a ticket, and read what it brings; empty if the server has none of them."""
    for attempt in range(2):
        ticket = await _ticket(api, entries)
        if ticket is None:
            yield Fetch((), None)
            return
        minted_again = False
        try:
            async with api.stream(
                ("download",), params={"ticket": ticket}, what="download"
            ) as answer:
                fetch = Fetch(entries, answer.chunks())
                minted_again = True  # from here on an error is not the ticket's
                try:
                    yield fetch
                finally:
                    await fetch.aclose()
                return
        except (NotFound, Forbidden, Refused):
            # Tickets expire, are used up, and are bound to an address that may change.
            if minted_again or attempt:
                raise


async def _ticket(api: Api, entries: Sequence[RemoteEntry]) -> str | None:
    body = {
        "files": [
            {
                "container_name": entry.container.level.value,
                "container_id": entry.container.id,
                "filename": entry.name,
            }
            for entry in entries
        ]
    }
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
    return None if answer is None else text_of(item_of(answer, what), "ticket", what)


async def _old_ticket(api: Api, body: object, what: str) -> object:
    """As servers before ``type`` was known want to be asked."""
    try:
        return await api.json(
            "POST", ("download",), params={"bulk": True}, body=body, repeatable=True, what=what
        )
    except NotFound:
        return None
