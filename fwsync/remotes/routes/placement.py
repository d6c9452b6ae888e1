"""The way that devices go: a form that says by labels, or by UIDs, where its files belong.

``POST /upload/label``, ``/upload/uid`` and ``/upload/reaper``: many files in one request, for one
container. Source: core18 and SDK 23, observed.

The one rule: what the server places is believed to be in its place only when the server says
that it is in the very container that was meant. Such a form lets the server choose: it has a
closest spelling for a group, takes the first of two equal labels, and drops what no list names.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar, Final

from fwsync.errors import AuthError, Forbidden, FwsyncError, Garbled, NotFound, Refused
from fwsync.model import Level, RemoteEntry
from fwsync.ports import FormBy, Sent, Upload
from fwsync.remotes.flywheel_listing import pages
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, page_of, text_of
from fwsync.remotes.http import Api, Params
from fwsync.remotes.multipart import is_plain
from fwsync.remotes.routes.parcel import Elsewhere, Parcel, Route, metadata_of, says_where
from fwsync.remotes.routes.together import (
    MOST_BYTES,
    Memory,
    form_of,
    lots,
    send_together,
)

_DEVICES: Final = "forms by label or UID take a device's key on current sites; --route multipart"

#: What a UID looks like; anything else is not asked for, nor sent.
_UID: Final = re.compile(r"[0-9A-Za-z.-]{1,128}")


class FormRoute:
    """Implements :class:`fwsync.remotes.routes.parcel.Route`.

    Args:
        api: open for as long as this is used.
        instead: the way of the files that cannot be placed for certain: those of a container
            whose labels are not its alone, and of a level that the form cannot name.
        by: label; uid and reaper are for files whose acquisition and session have a UID.
        old: core of 2018, with its closed metadata.
        rights: what every request says of who asks.
    """

    name: ClassVar[str] = "form"

    def __init__(
        self,
        api: Api,
        instead: Route,
        by: FormBy = FormBy.LABEL,
        *,
        old: bool = False,
        rights: Params | None = None,
    ) -> None:
        self._api = api
        self._instead = instead
        self._by = by
        self._old = old
        self._rights = rights or {}
        self._memory = Memory()
        self._most_bytes = MOST_BYTES
        self._misled: set[str] = set()  # projects where a form went elsewhere
        self._having: dict[tuple[tuple[str, ...], str], frozenset[str]] = {}

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`."""
        fit: list[Parcel] = []
        others: list[Parcel] = []
        for parcel in parcels:
            try:
                (fit if await self._fits(parcel) else others).append(parcel)
            except FwsyncError as error:
                yield Sent(parcel.upload.path, error=error, route=self.name)
        async for sent in self._instead.send(others):
            yield sent
        for lot in lots(fit, self._kind, most_bytes=self._most_bytes):
            async for sent in self._send_lot(lot):
                yield sent

    def _kind(self, parcel: Parcel) -> object:
        """What goes by one form: one container, under one pair of UIDs."""
        alone = parcel.upload.path if self._memory.goes_alone(parcel) else ""
        uids = self._uids(parcel)
        return parcel.container.id, uids, alone

    def _uids(self, parcel: Parcel) -> tuple[str, str]:
        """The UIDs by which it goes; empty: by labels."""
        return ("", "") if self._by is FormBy.LABEL else _uids(parcel.upload)

    async def _fits(self, parcel: Parcel) -> bool:
        container = parcel.container
        if container.level is Level.SUBJECT:  # its files are listed below a session
            return False
        plain = is_plain(parcel.name) and all(container.labels) and parcel.unique
        if not plain or parcel.project in self._misled:
            return False
        return self._by is FormBy.LABEL or await self._has_these_uids(parcel)

    async def _has_these_uids(self, parcel: Parcel) -> bool:
        """Do the UIDs that are known of the file lead to its containers, and to no others?"""
        container, (session, acquisition) = parcel.container, self._uids(parcel)
        if container.level is not Level.ACQUISITION or not (session and acquisition):
            return False
        of_project: tuple[str, ...] = (PLURAL[Level.PROJECT], parcel.project)
        of_session: tuple[str, ...] = (PLURAL[Level.SESSION], container.parent_id)
        if self._by is FormBy.REAPER:  # which finds a UID wherever it is
            of_project = of_session = ()
        return await self._with_uid(of_project, Level.SESSION, session) == {
            container.parent_id
        } and await self._with_uid(of_session, Level.ACQUISITION, acquisition) == {container.id}

    async def _with_uid(self, above: tuple[str, ...], level: Level, uid: str) -> frozenset[str]:
        """The containers that have a UID: asked once a run, at their first file."""
        path = (*above, PLURAL[level])
        if (path, uid) not in self._having:
            # The server finds what we are no member of as well: an old one shows that to whoever
            # says who they are, one of today to an admin who asks for it, and to a device.
            shown = self._rights if above or self._old else {"exhaustive": True}
            try:
                found = await self._listed(path, uid, shown)
            except Forbidden:
                if shown is self._rights:
                    raise
                found = await self._listed(path, uid, self._rights)
            self._having[path, uid] = found
        return self._having[path, uid]

    async def _listed(self, path: tuple[str, ...], uid: str, shown: Params) -> frozenset[str]:
        what = f"{path[-1]} of UID {uid}"
        found: list[str] = []
        listed = pages(self._api, path, what=what, filter_=f'uid="{uid}"', params=shown)
        async with aclosing(listed) as lists:
            async for page in lists:  # an old server lists all there are
                found += [text_of(one, "_id", what) for one in page if one.get("uid") == uid]
        return frozenset(found)

    async def _send_lot(self, lot: Sequence[Parcel]) -> AsyncIterator[Sent]:
        answers: list[object] = []

        async def post(left: Sequence[Parcel], began: Callable[[Upload], None]) -> object:
            answers.append(await self._post(left, began))
            return answers[-1]

        result = await send_together(lot, post, self._memory, self.name)
        if not all(says_where(item) for answer in answers for item in _items(answer)):
            result.sent = await self._confirmed(lot, result.sent)
        for sent in result.sent:
            if isinstance(sent.error, Elsewhere):
                self._misled.add(lot[0].project)
            yield sent
        self._most_bytes = result.most_bytes(self._most_bytes)
        if result.left:  # refused as a whole, so that nothing of it was taken
            async for sent in self._instead.send(result.left):
                yield sent

    async def _post(self, lot: Sequence[Parcel], began: Callable[[Upload], None]) -> object:
        what = f"{lot[0].upload.path} and {len(lot) - 1} more" if lot[1:] else lot[0].upload.path
        try:
            answer = await self._api.send(
                ("upload", self._by.value),
                form_of(lot, self._metadata(lot), began, "files"),
                params={**self._rights, "preserve_metadata": True},
                what=what,
            )
        except AuthError as error:  # 402 is what a site answers that takes devices only
            raise AuthError(error.message, hint=f"{error.hint}; {_DEVICES}") from None
        except Forbidden as error:
            raise Forbidden(error.message, status=error.status, hint=_DEVICES) from None
        except NotFound as error:
            # There is no such form; or an old server has found a session that was deleted.
            self._misled.add(lot[0].project)
            raise Refused(error.message, status=error.status) from None
        return answer

    def _metadata(self, lot: Sequence[Parcel]) -> Json:
        """Where the files belong: all levels by label, the files in the list of theirs."""
        container = lot[0].container
        session_uid, acquisition_uid = self._uids(lot[0])
        files = [{**metadata_of(parcel, old=self._old), "name": parcel.name} for parcel in lot]
        group, project, *below = container.labels
        told: dict[str, dict[str, object]] = {
            "group": {"_id": group},
            "project": {"label": project},
        }
        if len(below) > 1:
            told["session"] = {"label": below[1], "subject": {"code": below[0]}}
        if len(below) > 2:
            told["acquisition"] = {"label": below[2]}
        if session_uid and acquisition_uid:
            told["session"]["uid"] = session_uid
            told["acquisition"]["uid"] = acquisition_uid
        told[container.level.value]["files"] = files
        return told

    async def _confirmed(self, lot: Sequence[Parcel], told: Sequence[Sent]) -> list[Sent]:
        """The answers, but for the files that are not in their container after all.

        An old server says what it stored and not where. So the container is looked into, once
        for all of them.
        """
        container = lot[0].container
        what = f"looking for {len(lot)} files in {container.level} {container.label!r}"
        names = {parcel.upload.path: parcel.name for parcel in lot}
        try:
            address = (PLURAL[container.level], container.id)
            answer = await self._api.json("GET", address, params=self._rights, what=what)
            listed = page_of(item_of(answer, what).get("files") or [], what).items
            listed = [one for one in listed if not one.get("deleted")]
        except FwsyncError as error:
            return [one if one.error else replace(one, entry=None, error=error) for one in told]
        there = {(one.get("name"), one.get("size"), one.get("hash") or "") for one in listed}
        return [_checked(one, names[one.path], there) for one in told]


def _checked(sent: Sent, name: str, there: Set[tuple[object, object, object]]) -> Sent:
    entry = sent.entry
    if entry is None or (name, entry.size, _shown(entry)) in there:
        return sent
    error = Elsewhere(
        f"{sent.path}: the server says that it stored it, and its container does not have it",
        hint="look for it in another project, or among what was deleted",
    )
    return Sent(sent.path, error=error, route=sent.route)


def _shown(entry: RemoteEntry) -> str:
    """The hash as the server writes it."""
    return "" if entry.digest is None else entry.etag


def _items(answer: object) -> list[Json]:
    try:
        return page_of(answer, "").items
    except Garbled:
        return []


def _uids(upload: Upload) -> tuple[str, str]:
    """The UIDs of the session and the acquisition, as far as they are known."""
    told = (upload.fields.get("session.uid"), upload.fields.get("acquisition.uid"))
    session, acquisition = (
        uid if isinstance(uid, str) and _UID.fullmatch(uid) else "" for uid in told
    )
    return session, acquisition
