"""The ways of core18 on which several files go by one request.

Its rule: on each of them the server finds the place by labels, and what it cannot find for
certain goes one by one to its container.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Protocol

from fwsync.errors import RemoteError
from fwsync.ports import RouteName, Sent
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.routes import packfile
from fwsync.remotes.routes.choose import Ways
from fwsync.remotes.routes.packfile import PackfileRoute
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.placement import FormRoute


class OneByOne(Protocol):
    """Sends each file by a form of its own."""

    def put_one_by_one(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """One :class:`~fwsync.ports.Sent` for each."""
        ...


class _Alone:
    """Implements :class:`fwsync.remotes.routes.parcel.Route`."""

    name: ClassVar[str] = RouteName.MULTIPART

    def __init__(self, remote: OneByOne) -> None:
        self._remote = remote

    def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        return self._remote.put_one_by_one(parcels)


class Ways2018:
    """Which way each file goes.

    Args:
        asker: the site.
        ways: what settings say; auto: one by one, since only that names the container.
        remote: sends one by one.
    """

    def __init__(self, asker: Asker, ways: Ways, remote: OneByOne) -> None:
        api, rights = asker.api, asker.rights
        self._asker = asker
        self._alone = _Alone(remote)
        self._form = FormRoute(api, self._alone, ways.by, old=True, rights=rights)
        self._packfile = PackfileRoute(api, old=True, ledger=ways.ledger, rights=rights)
        self._packs = ways.wanted is RouteName.PACKFILE
        self.by_form = ways.wanted is RouteName.FORM
        self._found_by_label: dict[str, bool] = {}  # projects, and whether a form finds them

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`."""
        by_form: list[Parcel] = []
        packed: list[Parcel] = []
        alone: list[Parcel] = []
        for parcel in parcels:
            if self.by_form and await self._is_found(parcel):
                by_form.append(parcel)
            elif self._packs and _can_be_packed(parcel):
                packed.append(parcel)
            else:
                alone.append(parcel)
        for route, those in (
            (self._form, by_form),
            (self._packfile, packed),
            (self._alone, alone),
        ):
            if those:
                async for sent in route.send(those):
                    yield sent

    async def _is_found(self, parcel: Parcel) -> bool:
        """Does a form that says by labels where it belongs lead there?"""
        if not _is_ascii(parcel, parcel.name):
            return False
        if parcel.project not in self._found_by_label:
            try:
                found = await self._is_alone(parcel.project, parcel.container.labels[:2])
            except RemoteError:
                return False  # asked again for the next one
            self._found_by_label[parcel.project] = found
        return self._found_by_label[parcel.project]

    async def _is_alone(self, project: str, labels: Sequence[str]) -> bool:
        """Does no other project of its group have the label, in any case, in its own?

        A form takes the first project whose label is the one that it says, in any case
        (core18), and at times one that has it somewhere in its own (core18's published source):
        what is of the same labels there would be overwritten.
        """
        group, label = labels
        others = [one for one in await self._asker.projects(group) if one.id != project]
        return not any(label.casefold() in one.label.casefold() for one in others)


def _can_be_packed(parcel: Parcel) -> bool:
    names = [member.path for member in parcel.upload.members]
    return packfile.fits(parcel) and _is_ascii(parcel, *names)


def _is_ascii(parcel: Parcel, *names: str) -> bool:
    """Only ASCII in the names of a parcel and of its containers?

    The server compares and joins what comes in JSON with what comes in the head of a part,
    which are not the same kind of text there (Python 2).
    """
    return all(text.isascii() for text in (*names, *parcel.container.labels))
