"""The way that every server has: a form with files, to the container itself.

``POST /{container}/{id}/files``, ``multipart/form-data``. Several files go in one request, each
in a part named ``file``, where they have nothing of their own to say: the one part ``metadata``
speaks of all of them. Source: SDK 23, observed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar

from fwsync.errors import FwsyncError, Garbled, Refused
from fwsync.model import RemoteEntry
from fwsync.ports import Sent, Upload
from fwsync.remotes.flywheel_wire import page_of
from fwsync.remotes.http import Api
from fwsync.remotes.multipart import is_plain
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.together import (
    LEAST_BYTES,
    MOST_BYTES,
    Memory,
    Result,
    form_of,
    lots,
    send_together,
)


class ContainerRoute:
    """Implements :class:`fwsync.remotes.routes.parcel.Route`.

    What it learns of a server it keeps: one that takes one file at a time is sent one at a
    time from then on, one that finds a request too large is sent smaller ones.

    Args:
        api: open for as long as this is used.
    """

    name: ClassVar[str] = "multipart"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._several = True
        self._most_bytes = MOST_BYTES
        self._memory = Memory()

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`."""
        alone = [parcel for parcel in parcels if self._goes_alone(parcel)]
        others = [parcel for parcel in parcels if not self._goes_alone(parcel)]
        for lot in lots(others, self._kind, most_bytes=self._most_bytes):
            async for sent in self._send_lot(lot):
                yield sent
        for parcel in alone:
            yield await self._send_alone(parcel)

    def _goes_alone(self, parcel: Parcel) -> bool:
        # A name that cannot be read back for certain needs its own metadata to say it.
        return (
            not self._several
            or parcel.upload.size >= self._most_bytes
            or not is_plain(parcel.name)
            or self._memory.goes_alone(parcel)
        )

    def _kind(self, parcel: Parcel) -> object:
        return parcel.address, json.dumps(parcel.metadata, sort_keys=True)

    async def _send_lot(self, lot: Sequence[Parcel]) -> AsyncIterator[Sent]:
        if len(lot) == 1 or not self._several:
            for parcel in lot:
                yield await self._send_alone(parcel)
            return
        result = await send_together(lot, self._post, self._memory, self.name)
        if result.fewer:
            self._several = False  # it took some, and said nothing of the others
        for sent in result.sent:
            yield sent
        async for sent in self._after_refusal(result):
            yield sent

    async def _after_refusal(self, result: Result) -> AsyncIterator[Sent]:
        """What was refused as a whole was certainly not taken: in smaller requests, or alone."""
        if result.refusal is None:
            return
        size = sum(parcel.upload.size for parcel in result.left)
        if result.refusal.status == 413 and size > LEAST_BYTES:
            self._most_bytes = result.most_bytes(self._most_bytes)
            half = (len(result.left) + 1) // 2
            for part in (result.left[:half], result.left[half:]):
                async for sent in self._send_lot(part):
                    yield sent
            return
        taken = refused = 0
        for parcel in result.left:
            sent = await self._send_alone(parcel)
            taken += sent.error is None
            refused += isinstance(sent.error, Refused)
            yield sent
        if taken and not refused:
            self._several = False  # each was fine: it was their number

    async def _post(self, lot: Sequence[Parcel], began: Callable[[Upload], None]) -> object:
        return await self._api.send(
            lot[0].address,
            form_of(lot, lot[0].metadata, began),
            params={"preserve_metadata": True},
            what=f"{lot[0].upload.path} and {len(lot) - 1} more",
        )

    async def _send_alone(self, parcel: Parcel) -> Sent:
        self._memory.ended([parcel])
        path = parcel.upload.path
        try:
            return Sent(path, entry=await self._send_one(parcel), route=self.name)
        except FwsyncError as error:
            return Sent(path, error=error, route=self.name)

    async def _send_one(self, parcel: Parcel) -> RemoteEntry:
        upload = parcel.upload
        metadata = {**parcel.metadata, "name": parcel.name}
        answer = await self._api.send(
            parcel.address,
            form_of([parcel], metadata, lambda _: None),
            params={"preserve_metadata": True},
            what=upload.path,
        )
        items = page_of(answer, upload.path).items
        if len(items) != 1:
            raise Garbled(f"{upload.path}: one file was sent, {len(items)} were acknowledged")
        return parcel.entry(items[0])
