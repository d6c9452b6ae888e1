"""The way past the site: a ticket, the bytes to the store it names, and the ticket redeemed.

Its rules: a ticket is minted just before the bytes go, and redeemed when the store has confirmed
every one of them. What the store refuses is asked of the site again, and is no failure of the
file; whether a redemption that was not answered took effect is for the caller to look.

``POST /{container}/{id}/files?ticket=``. Source: SDK 23, CLI 18.5.1, observed; core19.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final

from fwsync.errors import Forbidden, FwsyncError, Garbled, NotFound, Refused, Unavailable
from fwsync.model import RemoteEntry
from fwsync.ports import Ledger, OpenUpload, Sent, Stamped, Upload
from fwsync.remotes.flywheel_wire import page_of
from fwsync.remotes.http import Api
from fwsync.remotes.routes.parcel import NotOffered, Parcel
from fwsync.remotes.routes.parts import Carrier, Examination, Expired
from fwsync.remotes.routes.stores import TooLarge
from fwsync.remotes.routes.tickets import Ticket, ticket_in, ticket_of

#: What SDK 23 and the CLI announce: without it a site gives one address, however large the file.
FEATURES: Final = "Safe-Redirect,multipart_signed_url"

#: Tickets for one sending: addresses may run out while a long upload waits its turn.
MINTS: Final = 3

#: Bytes from which a file that went in one piece is redeemed again rather than sent again.
REDEEM_AGAIN: Final = 8 << 20

#: Seconds that a redemption may take, and bytes a second that it is given besides: the store joins
#: the parts then. "Processing could take several minutes": CompleteMultipartUpload, S3.
REDEEM_S: Final = 60.0
JOINED_A_SECOND: Final = 20e6

#: Statuses of a redemption by which this ticket leads nowhere, and a new one may: it is not known
#: any more, or what was put is not there.
_LAPSED: Final = frozenset({404, 409, 410})
#: The same where the ticket is of an earlier run: it may be bound to another address of ours.
_LAPSED_LATER: Final = _LAPSED | {400, 403, 422}

#: Statuses after which a redemption may still be under way. 0: no answer at all.
_UNCLEAR: Final = frozenset({0, 408, 502, 504})


@dataclass(slots=True)
class _Delivery:
    """A ticket, and how far it is."""

    ticket: Ticket
    row: int | None = None  # in the ledger
    earlier: bool = False  # begun by an earlier try or run
    sent: bool = False  # the store has confirmed everything
    arrived: dict[int, str] = field(default_factory=dict)


class SignedRoute:
    """One ticket for each file. Implements :class:`fwsync.remotes.routes.parcel.Route`.

    Args:
        api: open for as long as this is used.
        ledger: where begun uploads are kept; without one, each starts from its first byte.
    """

    name: ClassVar[str] = "signed"

    def __init__(self, api: Api, ledger: Ledger | None = None) -> None:
        self._api = api
        self._ledger = ledger
        self._offered = True

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`.

        An error may be :class:`NotOffered` or :class:`TooLarge`: nothing of the file was sent
        then, and another way may take it. ``Unavailable`` after the last byte is ``silent``.
        """
        for parcel in parcels:
            path = parcel.upload.path
            try:
                yield Sent(path, entry=await self._send_one(parcel), route=self.name)
            except FwsyncError as error:
                yield Sent(path, error=error, route=self.name)

    async def _send_one(self, parcel: Parcel) -> RemoteEntry:
        minted = 0
        async with Examination(parcel.upload) as examination:
            delivery = await self._taken_up(parcel)
            while True:
                if delivery is None:
                    delivery = await self._begin(parcel)
                    minted += 1
                try:
                    return await self._through(parcel, delivery, examination)
                except Expired as error:
                    if minted >= MINTS:
                        await self._forget(delivery.row)
                        raise _refused_for_good(parcel, error) from None
                delivery = await self._begin(parcel, instead_of=delivery)
                minted += 1

    async def _through(
        self, parcel: Parcel, delivery: _Delivery, examination: Examination
    ) -> RemoteEntry:
        """The bytes, and then the ticket.

        Raises:
            Expired: a new ticket is needed.
        """
        ticket = delivery.ticket
        if not delivery.sent:
            if len(ticket.parts) > 1:
                examination.begin()
            else:  # it is hashed as it passes, and by nobody else meanwhile
                await examination.over()
            confirmed = partial(self._confirmed, delivery)
            carrier = Carrier(self._api, parcel.upload, ticket, delivery.arrived, confirmed)
            await carrier.carry(again=delivery.earlier)
            await self._all_sent(parcel, delivery)
        await examination.finished()
        return await self._redeem(parcel, delivery)

    # ------------------------------------------------------------------------- the ticket

    async def _begin(self, parcel: Parcel, instead_of: _Delivery | None = None) -> _Delivery:
        """A new ticket, kept in the ledger; what it shares with an older one is not sent again."""
        ticket = await self._mint(parcel)
        delivery = _Delivery(ticket)
        if instead_of is not None:
            if ticket.continues(instead_of.ticket):
                delivery.arrived, delivery.earlier = instead_of.arrived, True
            await self._forget(instead_of.row)
        if self._ledger is not None:
            path, stamp = parcel.upload.path, _stamp_of(parcel.upload)
            delivery.row = await self._ledger.begin(path, stamp, self.name, ticket.note())
            for number, tag in delivery.arrived.items():
                await self._ledger.confirm(delivery.row, number, tag)
        return delivery

    async def _mint(self, parcel: Parcel) -> Ticket:
        upload = parcel.upload
        if not self._offered:
            raise _not_offered(upload)
        told: dict[str, object] = {**parcel.metadata, "name": parcel.name}
        if upload.size:  # SDK 23 leaves a 0 out
            told["size"] = upload.size
        try:
            answer = await self._api.json(
                "POST",
                parcel.address,
                params={"ticket": "", "preserve_metadata": True},
                body={"metadata": told, "filenames": [parcel.name]},
                repeatable=True,  # a ticket that nobody redeems changes nothing
                features=FEATURES,
                what=upload.path,
            )
        except Refused as error:
            if error.status == 413:
                raise _too_large(error.message) from None
            if error.status not in (405, 501):
                raise
            answer = None
        # null: core19 where its storage signs nothing. {}: others. []: who knows no tickets.
        if not isinstance(answer, Mapping) or not answer.get("ticket"):
            self._offered = False
            raise _not_offered(upload)
        ticket = ticket_of(
            answer, _container(parcel), parcel.name, upload.size, self._api.url, upload.path
        )
        most, largest = ticket.store.largest_put, max(part.size for part in ticket.parts)
        if most is not None and largest > most:
            raise _too_large(
                f"{upload.path}: the site gave {len(ticket.urls)} addresses for {upload.size}"
                f" bytes, and {ticket.store.dialect} takes {most} by one at most",
            )
        return ticket

    async def _redeem(self, parcel: Parcel, delivery: _Delivery) -> RemoteEntry:
        path, ticket = parcel.upload.path, delivery.ticket
        body = None
        if ticket.store.upload_id:
            tags = [delivery.arrived[part.number] for part in ticket.parts]
            body = {"multipart": {"e_tags": tags, "upload_id": ticket.store.upload_id}}
        try:
            answer = await self._api.json(
                "POST",
                parcel.address,
                params={"ticket": ticket.id, "preserve_metadata": True},
                body=body,
                features=FEATURES,
                answer_s=REDEEM_S + parcel.upload.size / JOINED_A_SECOND,
                what=path,
            )
        except (NotFound, Forbidden, Refused) as error:
            if error.status in (_LAPSED_LATER if delivery.earlier else _LAPSED):
                raise Expired(error.message, status=error.status) from None
            raise
        except Unavailable as error:
            # The next try, after a look, redeems the same ticket: nothing is sent twice.
            error.silent = error.silent or error.status in _UNCLEAR
            raise
        items = page_of(answer, path).items
        await self._forget(delivery.row)
        if not items:
            # SDK 23 would send the file once more at once; here the caller looks first.
            raise Unavailable(f"{path}: the server took the ticket, and names no file")
        if len(items) != 1:
            raise Garbled(f"{path}: one file was sent, {len(items)} were acknowledged")
        return parcel.entry(items[0])

    # ------------------------------------------------------------------------- the ledger

    async def _taken_up(self, parcel: Parcel) -> _Delivery | None:
        """What an earlier try or run has begun, if it was of this very content."""
        if self._ledger is None:
            return None
        found: _Delivery | None = None
        stamp = _stamp_of(parcel.upload)
        for known in await self._ledger.find(parcel.upload.path, self.name):
            delivery = _resumed(known, parcel) if stamp == known.stamp and stamp else None
            if delivery is None or found is not None:
                await self._ledger.end(known.id)
            else:
                found = delivery
        return found

    async def _confirmed(self, delivery: _Delivery, number: int, tag: str) -> None:
        if self._ledger is not None and delivery.row is not None:
            await self._ledger.confirm(delivery.row, number, tag)

    async def _all_sent(self, parcel: Parcel, delivery: _Delivery) -> None:
        delivery.sent = True
        in_parts = delivery.ticket.store.in_parts  # the ledger has those one by one
        if self._ledger is None or delivery.row is None or in_parts:
            return
        if parcel.upload.size >= REDEEM_AGAIN:
            await self._ledger.update(delivery.row, {**delivery.ticket.note(), "sent": True})

    async def _forget(self, row: int | None) -> None:
        if self._ledger is not None and row is not None:
            await self._ledger.end(row)


async def cancel(api: Api, note: Mapping[str, object]) -> bool:
    """Give up a ticket of an earlier run; False: there is no such request, it will expire.

    Tickets of containers cannot be taken back: nothing becomes of one that is not redeemed, and
    the store drops its parts by its own rules. Source: SDK 23 has no call for it.
    """
    return False


def _resumed(known: OpenUpload, parcel: Parcel) -> _Delivery | None:
    ticket = ticket_in(known, parcel.upload.size)
    if ticket is None or (ticket.container, ticket.name) != (_container(parcel), parcel.name):
        return None
    sent = bool(known.note.get("sent"))
    return _Delivery(ticket, known.id, earlier=True, sent=sent, arrived=dict(known.parts))


def _container(parcel: Parcel) -> str:
    return "/".join(parcel.address[:2])


def _stamp_of(upload: Upload) -> str:
    return upload.stamp if isinstance(upload, Stamped) else ""


def _not_offered(upload: Upload) -> NotOffered:
    return NotOffered(
        f"{upload.path}: the site gives no ticket for a signed upload",
        hint="leave `route` at `auto`: another way is taken then",
    )


def _too_large(why: str) -> TooLarge:
    return TooLarge(
        why,
        status=413,
        hint="another way up may take it (`route = auto`); or the site's administrator switches"
        " multipart_signed_url on",
    )


def _refused_for_good(parcel: Parcel, error: Expired) -> Refused:
    return Refused(
        f"{error.message}, with {MINTS} tickets running",
        status=error.status,
        hint="are the clocks of the site and of its storage right? Is a proxy on the way?"
        if error.status in (400, 401, 403)
        else "",
    )
