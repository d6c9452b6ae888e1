"""Which way each file goes: the one that is asked for, or the best that the site offers.

The one rule: the choice never changes what the server ends up with. A way that cannot carry a
file exactly where it belongs, under its very name, is not taken for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from fwsync.errors import FileProblem, UsageError
from fwsync.ports import FormBy, Ledger, RouteName, Sent, Upload
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Who
from fwsync.remotes.routes import packfile
from fwsync.remotes.routes.container import ContainerRoute
from fwsync.remotes.routes.packfile import PackfileRoute
from fwsync.remotes.routes.parcel import NotOffered, Parcel, Route
from fwsync.remotes.routes.placement import FormRoute
from fwsync.remotes.routes.signed import SignedRoute
from fwsync.remotes.routes.stores import TooLarge
from fwsync.remotes.routes.together import MOST_FILES
from fwsync.remotes.site import Site

#: Bytes from which a file goes by a signed URL, where there is a choice. That way has two round
#: trips more, and spares the site the form: measured, the two are even at 1 MB with no delay on
#: the line, and at 16 MB with 50 ms. What is larger had better not depend on one long form.
SIGNED_FROM: Final = 16 << 20


def check_form(by: FormBy, who: Who) -> None:
    """Refuse a form by UID to a key for which it cannot be known where its files would go.

    The server looks for a UID in what this key cannot see as well, and a site of today takes
    such forms from devices: core18 and core19.

    Raises:
        UsageError: it is neither a device's nor a site admin's.
    """
    if by is FormBy.LABEL or who.is_device or who.is_admin:
        return
    raise UsageError(
        f"form {by}: files find their place by UID, and {who.id} does not see all that have one",
        hint="use the key of a device or of a site admin, or form label; or leave route at auto",
    )


@dataclass(frozen=True, slots=True)
class Ways:
    """Which ways up are taken, as settings say."""

    wanted: RouteName = RouteName.AUTO  #: that all files go that can; auto: the best for each
    by: FormBy = FormBy.LABEL  #: how the form names containers
    ledger: Ledger | None = None  #: where begun uploads are kept


def check_route(site: Site, wanted: RouteName) -> None:
    """Refuse a way that the site does not have, before anything is sent.

    Raises:
        UsageError: it does not offer it.
    """
    if wanted is not RouteName.SIGNED or site.signed_url:
        return
    offered = [one for one in RouteName if one is not RouteName.SIGNED]
    raise UsageError(
        f"route {wanted}: this site hands out no signed URLs",
        hint=f"leave it out, or use one of {', '.join(offered)}",
    )


class ChosenRoute:
    """Sends each file its way, to a site of today.

    Implements :class:`fwsync.remotes.routes.parcel.Route`.

    Args:
        api: open for as long as this is used.
        site: what it says that it can do.
        ways: which of them are taken.
    """

    name: ClassVar[str] = "auto"

    def __init__(self, api: Api, site: Site, ways: Ways) -> None:
        self._site = site
        self._wanted = ways.wanted
        self._container = ContainerRoute(api)
        self._signed = SignedRoute(api, ways.ledger)
        self._form = FormRoute(api, self._container, ways.by)
        self._packfile = PackfileRoute(api, ledger=ways.ledger)
        self._offers_signed = site.signed_url

    @property
    def most_files(self) -> int:
        """Files that it is best given at a time."""
        return 1 if self._wanted is RouteName.SIGNED else MOST_FILES

    def check_size(self, upload: Upload) -> None:
        """Ask before anything is made for a file: it goes no way if the site finds it too large.

        Raises:
            FileProblem: it has more bytes than the site says that it takes.
        """
        most = self._site.largest_upload
        if most is not None and upload.size > most:
            raise FileProblem(
                f"{upload.path}: has {upload.size} bytes, and the site takes {most} at most",
                hint="its administrator can raise upload_maximum_bytes; or leave the file out",
            )

    async def send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.remotes.routes.parcel.Route.send`."""
        ways: dict[str, tuple[Route, list[Parcel]]] = {}
        by_path = {parcel.upload.path: parcel for parcel in parcels}
        for parcel in parcels:
            route = self._route_of(parcel)
            ways.setdefault(route.name, (route, []))[1].append(parcel)
        for route, lot in ways.values():
            async for sent in route.send(lot):
                if not self._goes_on(sent):
                    yield sent
                    continue
                async for second in self._container.send([by_path[sent.path]]):
                    yield second

    def _route_of(self, parcel: Parcel) -> Route:
        if self._wanted is RouteName.MULTIPART:
            return self._container
        if self._wanted is RouteName.FORM:
            return self._form
        if self._wanted is RouteName.SIGNED:
            return self._signed
        if self._wanted is RouteName.PACKFILE and packfile.fits(parcel):
            return self._packfile
        if self._offers_signed and parcel.upload.size >= SIGNED_FROM:
            return self._signed
        return self._container

    def _goes_on(self, sent: Sent) -> bool:
        """Does a file that a way did not take go by the one that every site has?"""
        if isinstance(sent.error, NotOffered):
            self._offers_signed = False
            return self._wanted is not RouteName.SIGNED
        return isinstance(sent.error, TooLarge)
