"""Who we are at a site of core18, and which project is meant.

Its rule: by lists, and not by ``/resolve``, which finds what was deleted, and guesses between
two of one label.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Unpack

from fwsync.errors import Forbidden, NotFound, UsageError
from fwsync.layout import Layout, name_of
from fwsync.model import Level
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.one_file import file_at, is_meant
from fwsync.remotes.core2018.places import check_selection, place_in
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.core2018.wire import Files, Held
from fwsync.remotes.finding import IfMissing, find_project
from fwsync.remotes.flywheel_find import no_flywheel_site, project_of, who_of
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.flywheel_wire import Json, item_of, text_of
from fwsync.remotes.http import Api
from fwsync.remotes.naming import (
    Child,
    Project,
    Wanted,
    Who,
    list_below,
    no_such_group,
)
from fwsync.remotes.one_file import OneFile
from fwsync.remotes.rights import refuse_others_projects, refuse_reader
from fwsync.remotes.routes.choose import Ways
from fwsync.remotes.site import Site
from fwsync.remotes.uids import Homes
from fwsync.selection import Place, Selection


class Connection2018:
    """A site of core18, and whose key is used there.

    Implements :class:`fwsync.remotes.connect.Connection` and
    :class:`fwsync.remotes.finding.Finder`.
    """

    def __init__(self, asker: Asker, site: Site) -> None:
        self.site = site
        self._asker = asker

    def __repr__(self) -> str:
        return f"<Connection2018 {self._asker.api.url.origin()}>"

    async def check_login(self) -> Who:
        """Whose key this is: it was asked when the connection was made."""
        return self._asker.who

    def remote(
        self,
        projects: Sequence[Project],
        layout: Layout,
        ways: Ways | None = None,
        names: Names | None = None,
    ) -> Core2018:
        """The projects as a remote."""
        given = None if names is None else names.given
        return Core2018(self._asker, projects, layout, ways, given=given)

    # ---------------------------------------------------------------------- projects

    async def resolve_project(self, text: str, **missing: Unpack[IfMissing]) -> Project:
        """See :func:`fwsync.remotes.finding.find_project`."""
        return await find_project(self, text, **missing)

    async def visible(self) -> list[Project]:
        """All projects that the key can see."""
        return await self._asker.projects()

    async def named(self, meant: Wanted) -> Project | None:
        """The project that is meant: labels are not unique here.

        Raises:
            UsageError: there is more than one.
        """
        found = await self._labelled(meant)
        if len(found) > 1:
            ids = ", ".join(f"<id:{project.id}>" for project in found)
            raise UsageError(
                f"{meant.text}: {len(found)} projects have this name: {ids}",
                hint="name the one that is meant by its id, as '<id:…>'",
            )
        return found[0] if found else None

    async def project_by_id(self, id_: str) -> Project | None:
        """See :func:`fwsync.remotes.flywheel_find.project_by_id`."""
        what = f"project <id:{id_}>"
        try:
            return project_of(await self._asker.container(Level.PROJECT, id_, what), what)
        except NotFound:
            return None

    async def _labelled(self, meant: Wanted) -> list[Project]:
        """The projects of this name, the oldest first."""
        return [one for one in await self._asker.projects(meant.group) if one.label == meant.label]

    async def make_project(self, meant: Wanted, *, pretend: bool) -> Project:
        """A new project; the one that another host makes at the same moment, if it is older."""
        what = f"project {meant.text}"
        try:
            granted = await self._asker.check_group(meant.group)
        except NotFound:
            raise no_such_group(meant.group, what) from None
        refuse_others_projects(what, self._asker.who, granted)
        if pretend:
            return Project(meant.group, meant.label, "")
        body = {"label": meant.label, "group": meant.group}
        answer = await self._asker.json("POST", ("projects",), body=body, what=f"making {what}")
        made = text_of(item_of(answer, what), "_id", what)
        found = await self._labelled(meant)
        if found and found[0].id != made:  # another host made it at the same moment
            await self._asker.take_away(Level.PROJECT, made, f"taking away the second {what}")
            return found[0]
        return Project(meant.group, meant.label, made)

    async def check_rights(self, project: Project) -> None:
        """See :meth:`fwsync.remotes.rights.Rights.check`; what was seen is asked again."""
        who = self._asker.who
        try:
            refuse_reader(project, who, project.granted)
        except Forbidden:
            now = await self.project_by_id(project.id)
            refuse_reader(project, who, now.granted if now is not None else None)

    async def place_in(self, project: Project, segments: Sequence[str]) -> Place:
        """See :func:`fwsync.remotes.places.place_in`."""
        return await place_in(self._asker, project, segments)

    def check_selection(self, selection: Selection) -> None:
        """See that a selection asks for what the site's lists can answer."""
        check_selection(selection)

    # ---------------------------------------------------------------------------- ls

    async def uid_homes(
        self,
        remote: object,
        level: Level,
        uids: Collection[str],
        *,
        others: Sequence[Project] = (),
    ) -> Homes:
        """There is no such question at core18.

        Raises:
            NotFound: always.
        """
        raise NotFound(f"{self!r}: has no list of uids", status=404)

    async def ls(self, path: str) -> list[Child]:
        """See :func:`fwsync.remotes.flywheel_find.ls`."""
        return await list_below(path, self._children)

    async def file_at(self, path: str) -> OneFile:
        """See :func:`fwsync.remotes.one_file.file_at`."""
        return await file_at(self._asker, path, self.ls)

    async def _children(self, segments: list[str]) -> list[Child]:
        if not segments:
            return [Child(Level.GROUP, id_, id_) for id_ in await self._asker.groups()]
        group, *below = segments
        projects = await self._asker.projects(group)
        if not below:
            if not projects:
                await self._asker.check_group(group)
            return [Child(Level.PROJECT, one.label, one.id) for one in projects]
        label, *below = below
        for project in projects:
            if is_meant(project.label, project.id, label):
                return await self._below_project(project, below)
        raise _nothing_at(segments)

    async def _below_project(self, project: Project, segments: list[str]) -> list[Child]:
        sessions = await self._asker.sessions(project)
        if not segments:
            what = f"project {project}"
            item = await self._asker.container(Level.PROJECT, project.id, what)
            return _subjects(sessions) + _files(item, what)
        code, *below = segments
        sessions = [one for one in sessions if is_meant(one.code, one.subject_id, code)]
        if sessions and not below:
            return [Child(Level.SESSION, one.label, one.id) for one in sessions]
        for session in sessions:
            if is_meant(session.label, session.id, below[0]):
                return await self._below_session(session, below[1:])
        raise _nothing_at([str(project), *segments])

    async def _below_session(self, session: Held, segments: list[str]) -> list[Child]:
        acquisitions = await self._asker.acquisitions(session.id)
        if not segments:
            below = [Child(Level.ACQUISITION, one.label, one.id) for one in acquisitions]
            return below + _files_in(session.files)
        for one in acquisitions:
            if is_meant(one.label, one.id, segments[0]) and len(segments) == 1:
                return _files_in(one.files)
        raise _nothing_at([session.label, *segments])


async def connected(api: Api, site: Site) -> Connection2018:
    """Ask whose key this is, and have a connection for it.

    The answer holds the key itself: nothing of it is kept but the name and the rights.

    Raises:
        AuthError: the key is not accepted.
        UsageError: this is no Flywheel site.
    """
    try:
        answer = item_of(await api.json("GET", ("users", "self"), what="login"), "login")
    except NotFound:
        raise no_flywheel_site(api, "/auth/status and /users/self") from None
    who = who_of(answer, text_of(answer, "_id", "login"), is_admin=answer.get("root") is True)
    return Connection2018(Asker(api, who), site)


def _subjects(sessions: Sequence[Held]) -> list[Child]:
    """The subjects that sessions name, each once; one without a code as its folder is called."""
    ids: dict[str, str] = {}
    for session in sessions:
        ids.setdefault(session.code, session.subject_id)
    return [Child(Level.SUBJECT, code or name_of(code), ids[code]) for code in sorted(ids)]


def _files(item: Json, what: str) -> list[Child]:
    return _files_in(Files.of(item, what))


def _files_in(files: Files) -> list[Child]:
    return [Child("file", file.name, "", file.size) for file in files.by_name.values()]


def _nothing_at(segments: Sequence[str]) -> NotFound:
    return NotFound(f"{'/'.join(segments)}: there is nothing", status=404)
