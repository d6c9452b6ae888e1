"""One door to a site, whichever API it speaks: nobody outside has to know which one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, Unpack

from fwsync.errors import NotFound
from fwsync.layout import Layout
from fwsync.model import Level, Problem, Unknown
from fwsync.ports import Remote
from fwsync.remotes import flywheel_find, one_file, places
from fwsync.remotes.core2018.find import connected
from fwsync.remotes.finding import IfMissing
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Child, Project, Who
from fwsync.remotes.one_file import OneFile
from fwsync.remotes.rights import Rights
from fwsync.remotes.routes.choose import Ways
from fwsync.remotes.site import Generation, Site, ask_site
from fwsync.remotes.strays import Strays
from fwsync.remotes.uids import Homes, uid_homes
from fwsync.selection import Place, Reach, Selection


class SiteRemote(Remote, Protocol):
    """Some projects of a site; which ones may change between two listings."""

    projects: tuple[Project, ...]
    unseen: tuple[Unknown, ...]  #: folders whose project could not be asked
    asides: list[Problem]  #: what went wrong beside the files, and stopped none
    strays: Strays  #: what was odd about archives
    selection: Selection  #: what of the projects is listed

    def labels_of(self, id_: str) -> tuple[str, ...] | None:
        """The labels, as we say them, of a container that was listed."""
        ...

    def reach(self) -> Reach:
        """Which of the paths that the last listing lacks it would have had."""
        ...


class Connection(Protocol):
    """A site that answered, and whose key is used there."""

    @property
    def site(self) -> Site:
        """What it says that it can do."""
        ...

    async def check_login(self) -> Who:
        """See :func:`fwsync.remotes.flywheel_find.check_login`."""
        ...

    async def resolve_project(self, text: str, **missing: Unpack[IfMissing]) -> Project:
        """See :func:`fwsync.remotes.finding.find_project`."""
        ...

    async def project_by_id(self, id_: str) -> Project | None:
        """See :func:`fwsync.remotes.flywheel_find.project_by_id`."""
        ...

    async def check_rights(self, project: Project) -> None:
        """See :meth:`fwsync.remotes.rights.Rights.check`."""
        ...

    async def place_in(self, project: Project, segments: Sequence[str]) -> Place:
        """See :func:`fwsync.remotes.places.place_in`."""
        ...

    def check_selection(self, selection: Selection) -> None:
        """See that a selection asks for what the site's lists can answer.

        Raises:
            UsageError: it does not.
        """
        ...

    async def uid_homes(
        self,
        remote: SiteRemote,
        level: Level,
        uids: Collection[str],
        *,
        others: Sequence[Project] = (),
    ) -> Homes:
        """See :func:`fwsync.remotes.uids.uid_homes`; ``remote`` was listed."""
        ...

    async def ls(self, path: str) -> list[Child]:
        """See :func:`fwsync.remotes.flywheel_find.ls`."""
        ...

    async def file_at(self, path: str) -> OneFile:
        """See :func:`fwsync.remotes.one_file.file_at`."""
        ...

    def remote(
        self,
        projects: Sequence[Project],
        layout: Layout,
        ways: Ways | None = None,
        names: Names | None = None,
    ) -> SiteRemote:
        """Some of its projects as a remote.

        Args:
            projects: in scope.
            layout: whose group and project are theirs.
            ways: which of its ways up are taken.
            names: what the server calls otherwise.
        """
        ...


async def connect(api: Api) -> Connection:
    """Ask a site which API it speaks.

    Raises:
        UsageError: it is no Flywheel site.
        AuthError: the key is not accepted.
        Unavailable: it cannot be reached.
    """
    try:
        site = await ask_site(api)
    except NotFound:
        raise flywheel_find.no_flywheel_site(api, "/config") from None
    if site.generation is Generation.CORE_2018:
        return await connected(api, site)
    return _Current(api, site)


class Door:
    """A way in that is opened when it is first needed, and once."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._site: Connection | None = None

    async def open(self) -> Connection:
        """See :func:`connect`."""
        if self._site is None:
            self._site = await connect(self.api)
        return self._site


class _Current:
    """A site of today."""

    def __init__(self, api: Api, site: Site) -> None:
        self.site = site
        self._api = api
        self._rights = Rights(api)

    def __repr__(self) -> str:
        return f"<Connection {self._api.url.origin()}>"

    async def check_login(self) -> Who:
        return await flywheel_find.check_login(self._api)

    async def resolve_project(self, text: str, **missing: Unpack[IfMissing]) -> Project:
        return await flywheel_find.resolve_project(self._api, text, **missing)

    async def project_by_id(self, id_: str) -> Project | None:
        return await flywheel_find.project_by_id(self._api, id_)

    async def check_rights(self, project: Project) -> None:
        await self._rights.check(project)

    async def place_in(self, project: Project, segments: Sequence[str]) -> Place:
        return await places.place_in(self._api, project, segments)

    def check_selection(self, selection: Selection) -> None:
        pass  # it evaluates filters itself, and says what it does not understand

    async def uid_homes(
        self,
        remote: SiteRemote,
        level: Level,
        uids: Collection[str],
        *,
        others: Sequence[Project] = (),
    ) -> Homes:
        return await uid_homes(
            self._api,
            level,
            uids,
            here=remote.projects,
            others=others,
            labels_of=remote.labels_of,
        )

    async def ls(self, path: str) -> list[Child]:
        return await flywheel_find.ls(self._api, path)

    async def file_at(self, path: str) -> OneFile:
        return await one_file.file_at(self._api, path, self.ls)

    def remote(
        self,
        projects: Sequence[Project],
        layout: Layout,
        ways: Ways | None = None,
        names: Names | None = None,
    ) -> Flywheel:
        return Flywheel(self._api, projects, layout, names=names, site=self.site, ways=ways)
