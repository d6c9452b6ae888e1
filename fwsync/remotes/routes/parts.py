"""The bytes of one file to a store: whole, in parts side by side, or in one session, in order.

Its rule: what the store has confirmed is compared with what was sent wherever the answer allows
it, and is not sent again; what failed is sent again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final, cast

from fwsync.digest import Md5Hasher
from fwsync.errors import Garbled, IntegrityError, Refused, Unavailable
from fwsync.ports import Stamped, Upload
from fwsync.remotes.body import Body
from fwsync.remotes.calls import Stored
from fwsync.remotes.http import Api
from fwsync.remotes.routes.stores import Dialect, Part, kept_of, tag_of
from fwsync.remotes.routes.tickets import Ticket
from fwsync.threads import in_thread, workers

AT_ONCE: Final = 4  #: parts of one file on their way at the same time
_MISTAKEN: Final = 3  # tries of one part of which the store has other bytes
_STUCK: Final = 3  # answers running by which a session has nothing new
_SMALL: Final = 64 << 10  # bytes that are hashed faster here than in a thread

#: Statuses by which a store says that an address is not good, or not any more. Sources: S3 403
#: (and 400 ExpiredToken, 404 NoSuchUpload), Azure 403 and 401, Cloud Storage 400, 403, 404, 410.
_NOT_GOOD: Final = frozenset({400, 401, 403, 404, 410})


class Expired(Refused):
    """The store refused an address: a new ticket may have a better one."""


class Carrier:
    """Carries the bytes of one file to where its ticket says.

    Args:
        api: open.
        upload: read as often as parts have to be sent.
        ticket: whose addresses are used.
        arrived: parts that are there already, and what the store calls them; grows.
        confirmed: told of each part that has arrived, before the next one of its kind goes.
    """

    def __init__(
        self,
        api: Api,
        upload: Upload,
        ticket: Ticket,
        arrived: dict[int, str],
        confirmed: Callable[[int, str], Awaitable[None]],
    ) -> None:
        self._api = api
        self._upload = upload
        self._ticket = ticket
        self._store = ticket.store
        self._headers = ticket.store.headers(ticket.headers)
        self._arrived = arrived
        self._confirmed = confirmed

    async def carry(self, *, again: bool = False) -> None:
        """Bring everything there that is not there yet.

        Args:
            again: an earlier try may have brought some of it.

        Raises:
            Expired: an address was refused.
            IntegrityError: the store has other bytes than were sent.
            FwsyncError: what the source raised; what else the store said.
        """
        if self._in_session:
            await self._in_order(again=again)
            return
        todo = [part for part in self._ticket.parts if part.number not in self._arrived]
        for part in self._ticket.parts:
            if part.number in self._arrived:
                self._spared(part.offset, part.size)
        if self._store.side_by_side:
            await self._together(todo)
        else:
            await self._one_by_one(todo)

    @property
    def _in_session(self) -> bool:
        return self._store.in_parts and self._store.dialect is Dialect.GCS and self._upload.size > 0

    # ------------------------------------------------------------------- parts by themselves

    async def _together(self, todo: Iterable[Part]) -> None:
        waiting = iter(todo)
        async with workers() as group:
            for _ in range(min(AT_ONCE, len(self._ticket.parts))):
                group.create_task(self._one_by_one(waiting))

    async def _one_by_one(self, waiting: Iterable[Part]) -> None:
        for part in waiting:
            tag = await self._part(part)
            self._arrived[part.number] = tag
            if self._store.in_parts:
                await self._confirmed(part.number, tag)

    async def _part(self, part: Part) -> str:
        most = _MISTAKEN if self._store.in_parts else 1
        for attempt in range(1, most + 1):
            piece = Piece(self._upload, part, hashed=self._store.says_md5())
            stored = await self._put(self._ticket.urls[part.number - 1], piece, self._headers)
            try:
                self._compare(stored, piece.md5, f"part {part.number}")
            except IntegrityError:
                if attempt == most:
                    raise
                continue
            tag = tag_of(stored.headers)
            if self._store.upload_id and not tag:
                raise Garbled(
                    f"{self._upload.path}: the store gave no ETag for part {part.number},"
                    " without which S3 cannot join the parts"
                )
            return tag
        raise AssertionError("unreachable")

    # ------------------------------------------------------------------------- one session

    async def _in_order(self, *, again: bool) -> None:
        """Until the session has everything; it says how far it is.

        What a try left there that was cut off counts too: the store keeps it.
        """
        total = self._upload.size
        kept: int | None = await self._asked() if again else 0
        if kept != 0:
            self._spared(0, total if kept is None else kept)
        # Of all that is kept; None once a part of it came by a try that we did not hash.
        whole = Md5Hasher() if kept == 0 else None
        stuck = 0
        while kept is not None:
            size = min(self._ticket.part_size, total - kept)
            if size <= 0:
                raise Garbled(f"{self._upload.path}: the store has all of it, and does not end")
            piece = Piece(self._upload, Part(0, kept, size), hashed=whole is not None, before=whole)
            there = f"bytes {kept}-{kept + size - 1}/{total}"
            stored = await self._put(
                self._ticket.url_at(kept), piece, {**self._headers, "Content-Range": there}
            )
            now = self._state(stored)
            if now is None:
                if kept + size < total:
                    raise Garbled(f"{self._upload.path}: the store ended before it had all of it")
                self._compare(stored, piece.md5, "the file")
                return
            if now != kept + size:
                whole = None
                self._spared(kept, max(0, now - kept))  # the rest of it goes again
            elif whole is not None:
                whole = piece.hasher
            stuck = 0 if now > kept else stuck + 1
            if now < kept or stuck >= _STUCK:
                raise Unavailable(
                    f"{self._upload.path}: the store has {now} bytes, and takes no more"
                )
            kept = now

    def _spared(self, offset: int, size: int) -> None:
        if isinstance(self._upload, Stamped):
            self._upload.spared(offset, size)

    async def _asked(self) -> int | None:
        """How far the session is; None: it has ended, with everything."""
        question = {**self._headers, "Content-Range": f"bytes */{self._upload.size}"}
        return self._state(await self._put(self._ticket.urls[0], None, question))

    def _state(self, stored: Stored) -> int | None:
        if stored.status != 308:
            return None
        kept = kept_of(stored.headers)
        if kept is None or kept > self._upload.size:
            raise Garbled(f"{self._upload.path}: the store does not say how much of it it has")
        return kept

    # ------------------------------------------------------------------------------ both

    async def _put(self, url: str, piece: Piece | None, headers: Mapping[str, str]) -> Stored:
        body = None if piece is None else piece.body
        try:
            return await self._api.put_signed(
                url, body, headers=headers, what=f"{self._upload.path}: to storage"
            )
        except Refused as error:
            if error.status in _NOT_GOOD:
                raise Expired(error.message, status=error.status) from None
            raise

    def _compare(self, stored: Stored, sent: str | None, what: str) -> None:
        """Is what the store says that it has what was sent? Nothing is said if it says nothing.

        Raises:
            IntegrityError: it is not.
        """
        theirs = self._store.md5(stored.headers)
        if sent is not None and theirs is not None and theirs != sent:
            raise IntegrityError(
                f"{self._upload.path}: the store holds md5:{theirs} as {what}; md5:{sent} was sent"
            )


class Piece:
    """Some bytes of a file on their way, as often as they have to be sent.

    Args:
        upload: whose bytes.
        part: which.
        hashed: whether :attr:`md5` is wanted.
        before: has seen what comes before them; the hash goes on from there.
    """

    def __init__(
        self, upload: Upload, part: Part, *, hashed: bool, before: Md5Hasher | None = None
    ) -> None:
        self._upload = upload
        self._part = part
        self._hashed = hashed
        self._before = before
        self.hasher: Md5Hasher | None = None  #: of the last try

    @property
    def md5(self) -> str | None:
        """Of what the last try has sent, in hex; None: not wanted."""
        return None if self.hasher is None else self.hasher.hex

    def body(self) -> Body:
        """For one try."""
        self.hasher = None
        if self._hashed:
            self.hasher = Md5Hasher() if self._before is None else self._before.copy()
        return Body(self._chunks(self.hasher), self._part.size)

    async def _chunks(self, hasher: Md5Hasher | None) -> AsyncIterator[bytes]:
        chunks = self._upload.read(self._part.offset, self._part.size)
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)) as content:
            async for chunk in content:
                if hasher is not None and len(chunk) <= _SMALL:
                    hasher.update(chunk)
                elif hasher is not None:
                    await in_thread(hasher.update, chunk)
                yield chunk


class Examination:
    """Reads a file beside its parts, so that its digests are known when they have arrived."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Examination:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # seen: what is raised already matters more

    def begin(self) -> None:
        """Read on the side; harmless a second time."""
        if self._task is None and self._upload.digest is None:
            self._task = asyncio.ensure_future(self._upload.examine())

    async def over(self) -> None:
        """Wait until nobody reads on the side.

        Raises:
            SourceChanged, Unreadable: as :meth:`fwsync.ports.Upload.examine`.
        """
        if self._task is not None:
            await self._task

    async def finished(self) -> None:
        """Wait for its end, or read now; the digests are known then.

        Raises:
            SourceChanged, Unreadable: as :meth:`fwsync.ports.Upload.examine`.
        """
        self.begin()
        await self.over()
