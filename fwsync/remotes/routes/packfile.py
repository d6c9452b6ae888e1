"""The way on which the server does the packing: members go up one by one, it makes the zip.

``packfile-start``, ``packfile``, ``packfile-end`` of a project. Source: core18 and SDK 23,
observed.

The one rule: a zip counts as sent when the server has named each of its members with the size
and the hash of what we read, has told the end of its work, and lists these members in the zip.

A run that is killed may not hear of that end. What it asked for stays in the ledger until both
sides agree on the zip, so that a later run knows it for ours (:func:`has_made`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, cast

from fwsync.digest import from_flywheel_hash
from fwsync.errors import (
    AuthError,
    FwsyncError,
    Garbled,
    IntegrityError,
    NotFound,
    RemoteError,
    Unavailable,
)
from fwsync.model import Level, RelPath, RemoteEntry
from fwsync.ports import Ledger, OpenUpload, Sent, Tagged, Upload
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, page_of, text_of
from fwsync.remotes.http import Api, Params
from fwsync.remotes.multipart import is_plain
from fwsync.remotes.routes.events import result_of
from fwsync.remotes.routes.parcel import Elsewhere, Parcel
from fwsync.remotes.routes.together import form_of, lots
from fwsync.threads import workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: Packfiles that are begun for one zip, at most: the first, and two more.
_STARTS: Final = 3

#: Requests with members under way at once; other packs have theirs.
_ADDING: Final = 4

#: How often the same members are sent again under one token: of one name the last counts.
_ADD_TRIES: Final = 3

#: Pauses before each look for a zip whose end was asked for and not told, in seconds.
_PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0)

#: Seconds that a site may pack without a word, and bytes a second that it is given besides. The
#: open version tells all its events at once, when the zip is made. Source: core18, observed.
_PACKING_S: Final = 60.0
_PACKED_A_SECOND: Final = 20e6

#: What need not be said of the zip, or can be at the end of a packfile: how many members it
#: has, the server counts. Source: core18, observed, which refuses more.
_SAID: Final = frozenset({"type", "zip_member_count"})

_KEPT: Final = " ._-"  # of a label, beside letters and digits; core18


class PackfileRoute:
    """Implements :class:`fwsync.remotes.routes.parcel.Route`, for packs that fit.

    Args:
        api: open for as long as this is used.
        old: core of 2018, which does not know ``file_count``.
        ledger: where tokens are kept, so that those that were left can be named.
        rights: what every request says of who asks.
        sleep: waits for so many seconds.
    """

    name: ClassVar[str] = "packfile"

    def __init__(
        self,
        api: Api,
        *,
        old: bool = False,
        ledger: Ledger | None = None,
        rights: Params | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._old = old
        self._ledger = ledger
        self._rights = rights or {}
        self._sleep = sleep

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`; each must :func:`fits`."""
        for parcel in parcels:
            path = parcel.upload.path
            try:
                entry = await self._send_one(parcel)
                yield Sent(path, entry=entry, route=self.name, checked=True)
            except FwsyncError as error:
                yield Sent(path, error=error, route=self.name)

    async def _send_one(self, parcel: Parcel) -> RemoteEntry:
        parcel = replace(parcel, was_absent=False)  # what is told of the zip does not say so
        tag = await self._tag(parcel)
        before = await self._look(parcel)
        for start in range(_STARTS):
            token = ""
            try:
                token = await self._start(parcel)
                return await self._packed(parcel, token, tag, before)
            except (AuthError, Elsewhere):
                raise
            except RemoteError as error:
                if not token and not isinstance(error, Unavailable):
                    raise  # not ours to begin
                failed = error
            there = await self._made_after_all(parcel, before, failed)
            if there is not None:
                return there
            if start + 1 == _STARTS:
                raise failed
        raise AssertionError("unreachable")

    async def _start(self, parcel: Parcel) -> str:
        path = parcel.upload.path
        address = self._address(parcel, "packfile-start")
        answer = await self._api.json("POST", address, params=self._rights, what=path)
        return text_of(item_of(answer, path), "token", path)

    async def _packed(
        self, parcel: Parcel, token: str, tag: str, before: RemoteEntry | None
    ) -> RemoteEntry:
        """One packfile from its first member to its end."""
        path = parcel.upload.path
        note = {"project": parcel.project, "token": token}
        noted = await self._ledger.begin(path, tag, self.name, note) if self._ledger else None
        await self._add_all(parcel, token)
        if self._ledger and noted is not None:
            await self._ledger.update(noted, {**note, "end": _expected(parcel, before)})
        told = await self._end(parcel, token)
        if self._ledger and noted is not None and not tag:
            await self._ledger.end(noted)  # nobody could tell by it what the zip is made of
        where = text_of(told, "acquisition_id", path)
        if where != parcel.container.id:
            raise Elsewhere(f"{path}: the server put it into {where}, not {parcel.container.id}")
        entry = parcel.entry(item_of(told.get("info"), path))
        await self._check_members(parcel)
        return entry

    async def _tag(self, parcel: Parcel) -> str:
        """By which a later run knows the pack again; empty: it does not."""
        upload = parcel.upload
        return await upload.tag() if self._ledger and isinstance(upload, Tagged) else ""

    # ----------------------------------------------------------------------------- members

    async def _add_all(self, parcel: Parcel, token: str) -> None:
        """Send the members, several requests at a time."""
        waiting = lots([_member(parcel, one) for one in parcel.upload.members], lambda _: 0)

        async def adder() -> None:
            for lot in waiting:
                await self._add(parcel, token, lot)

        async with workers() as group:
            for _ in range(_ADDING):
                group.create_task(adder())

    async def _add(self, parcel: Parcel, token: str, lot: Sequence[Parcel]) -> None:
        path = parcel.upload.path
        answer = await self._sent_again(parcel, token, lot)
        told = {item.get("name"): item for item in page_of(answer, path).items}
        for member in lot:
            _check_member(path, member, told.get(member.name))

    async def _sent_again(self, parcel: Parcel, token: str, lot: Sequence[Parcel]) -> object:
        """The answer to some members; they may be sent again under their token."""
        again = 1
        while True:
            try:
                return await self._api.send(
                    self._address(parcel, "packfile"),
                    form_of(lot, {}, lambda _: None),
                    params={**self._rights, "token": token},
                    what=f"{parcel.upload.path}: {len(lot)} of its files",
                )
            except Unavailable:
                if again == _ADD_TRIES:
                    raise
                again += 1

    async def _check_members(self, parcel: Parcel) -> None:
        """Are the members of the zip, as the server lists them, ours?

        Raises:
            IntegrityError: they are not.
        """
        path = parcel.upload.path
        found = await _listed(self._api, (*parcel.address, parcel.name), self._rights, path)
        ours = sorted((_base(one.path), one.size) for one in parcel.upload.members)
        if found != ours:
            raise IntegrityError(
                f"{path}: the server packed {len(found)} files, and not the {len(ours)} that "
                "were sent"
            )

    # --------------------------------------------------------------------------------- end

    async def _end(self, parcel: Parcel, token: str) -> Json:
        """Ask for the zip; what the event ``result`` says of it."""
        upload, labels = parcel.upload, parcel.container.labels
        kind = upload.metadata.get("type")
        metadata = {
            "project": {"_id": parcel.project},
            "session": {"label": labels[3], "subject": {"code": labels[2]}},
            "acquisition": {"label": labels[4]},
            "packfile": {"type": kind if isinstance(kind, str) and kind else "archive"},
        }
        params: dict[str, str | int | bool | None] = {
            **self._rights,
            "token": token,
            "metadata": json.dumps(metadata),
            "file_count": None if self._old else len(upload.members),
        }
        async with (
            self._api.stream(
                self._address(parcel, "packfile-end"),
                method="POST",
                params=params,
                headers={"Accept": "text/event-stream"},
                answer_s=_PACKING_S + upload.size / _PACKED_A_SECOND,
                what=upload.path,
            ) as answer,
            aclosing(cast("AsyncGenerator[bytes, None]", answer.chunks())) as chunks,
        ):
            return await result_of(chunks, len(upload.members), upload.path)

    async def _made_after_all(
        self, parcel: Parcel, before: RemoteEntry | None, failed: RemoteError
    ) -> RemoteEntry | None:
        """The zip, if the server made it although it did not say so.

        Looked for before any of it is sent again. Each look also waits, up to the patience,
        until the server answers.
        """
        silent = isinstance(failed, Unavailable) and failed.silent
        for pause_s in _PAUSES_S if silent else _PAUSES_S[:1]:
            await self._sleep(pause_s)
            there = await self._look(parcel)
            if there is None or (before is not None and _same(before, there)):
                continue
            try:
                await self._check_members(parcel)
            except IntegrityError:
                continue
            return there
        return None

    async def _look(self, parcel: Parcel) -> RemoteEntry | None:
        address = (*parcel.address, parcel.name, "info")
        path = parcel.upload.path
        try:
            answer = await self._api.json("GET", address, params=self._rights, what=path)
        except NotFound:
            return None
        return parcel.entry(item_of(answer, path))

    @staticmethod
    def _address(parcel: Parcel, step: str) -> tuple[str, str, str]:
        return ("projects", parcel.project, step)


async def cancel(api: Api, note: Mapping[str, object]) -> bool:
    """Give up a token of an earlier run; False: there is no such request, it will expire.

    What there is, ``POST /clean-packfiles``, is for devices and admins of the site, and takes
    all that nobody has touched for an hour, whoever began it: that is not for us to ask.
    Source: core18, observed; SDK 23.
    """
    return False


async def has_made(
    api: Api,
    entry: RemoteEntry,
    upload: OpenUpload,
    members: Mapping[str, int],
    rights: Params | None = None,
) -> bool:
    """See :meth:`fwsync.ports.RemoteReader.has_made`.

    The members' bytes were compared before the end was asked for; here it is seen that the zip
    is the next thing that came to be where it was to go, and what is in it.
    """
    end = upload.note.get("end")
    if upload.route != PackfileRoute.name or not isinstance(end, dict):
        return False  # nothing was asked for
    container, replaced = end.get("container"), end.get("replaced")
    if container != entry.container.id or entry.etag == replaced or entry.version > end["version"]:
        return False
    address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
    found = await _listed(api, address, rights or {}, entry.path)
    return found == sorted((_base(name), size) for name, size in members.items())


def _expected(parcel: Parcel, before: RemoteEntry | None) -> Json:
    """What a later run must know of a zip whose end is asked for."""
    return {
        "container": parcel.container.id,
        "replaced": before.etag if before else "",
        "version": before.version + 1 if before else 1,
    }


async def _listed(
    api: Api, address: tuple[str, ...], rights: Params, path: RelPath
) -> list[tuple[str, object]]:
    """The members of a zip, sorted: name and size of each, as the server lists them."""
    params = {**rights, "info": True}
    answer = item_of(await api.json("GET", address, params=params, what=path), path)
    listed = page_of(answer.get("members") or [], path).items
    files = [one for one in listed if not str(one.get("path")).endswith("/")]
    return sorted((_base(str(one.get("path"))), one.get("size")) for one in files)


def fits(parcel: Parcel) -> bool:
    """Can the server make this very file, and put it into this very container?

    It names the zip after the acquisition's label, finds the acquisition by labels, keeps the
    last part of each member's name, and is told nothing of the zip but its type.
    """
    container = parcel.container
    if container.level is not Level.ACQUISITION or parcel.name != zip_name(container):
        return False  # nearly all others: their members are not even asked for
    names = [_base(member.path) for member in parcel.upload.members]
    return (
        bool(names)
        and len(set(names)) == len(names)
        and all(names)
        and all(map(is_plain, names))
        and not {key for key, value in parcel.metadata.items() if value} - _SAID
        and all(container.labels)
        and parcel.unique
        and bool(parcel.project)
    )


def zip_name(container: Container) -> str:
    """What the server calls the zip of an acquisition. Source: core18, observed."""
    kept = "".join(c for c in container.label if c.isalnum() or c in _KEPT)
    return f"{kept.rstrip()}.zip"


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _member(parcel: Parcel, member: Upload) -> Parcel:
    return replace(parcel, upload=member, name=_base(member.path))


def _check_member(path: str, member: Parcel, told: Mapping[str, object] | None) -> None:
    """Compare a stored member with what we read.

    Raises:
        Garbled: it is not named, or is another one.
    """
    upload = member.upload
    if told is None or told.get("size") != upload.size:
        raise Garbled(f"{path}: the server did not take {member.name!r} as it was sent")
    hashed = told.get("hash")
    digest = from_flywheel_hash(hashed) if isinstance(hashed, str) else None
    if digest is not None and digest != upload.digest:
        raise Garbled(f"{path}: the server holds other bytes of {member.name!r}")


def _same(one: RemoteEntry, other: RemoteEntry) -> bool:
    """The same file as before: nothing was packed meanwhile."""
    return (one.etag, one.version, one.modified_ns) == (
        other.etag,
        other.version,
        other.modified_ns,
    )
