"""What core18 is asked, and how: as the user whose key it is, and by whole lists.

Its rule: a list of this server leaves out, without a word, what the user is no member of and
what is archived. So a site admin asks as one (``root=true``), everybody asks for what is
archived too, and whether a list can be believed is asked of its project.

Source: core18, observed; ``archived`` by its published source.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwsync.errors import Forbidden, Garbled, NotFound, RemoteError, Unavailable
from fwsync.model import Level
from fwsync.remotes.core2018.wire import Held, acquisition_of, list_of, session_of
from fwsync.remotes.flywheel_find import project_of
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, nanoseconds_of, page_of
from fwsync.remotes.http import Api, Params
from fwsync.remotes.naming import Granted, Project, Who
from fwsync.remotes.rights import granted_in


class Asker:
    """One site, and who asks.

    Args:
        api: open for as long as this is used.
        who: whose key it is.
    """

    def __init__(self, api: Api, who: Who) -> None:
        self.api = api
        self.who = who
        #: Of every request: a site admin who does not say so sees nothing in lists.
        self.rights: Params = {"root": True} if who.is_admin else {}
        self._whole: Params = {**self.rights, "archived": True}

    async def json(
        self,
        method: str,
        path: Sequence[str],
        *,
        what: str,
        params: Params | None = None,
        body: object = None,
        repeatable: bool = False,
    ) -> object:
        """See :meth:`fwsync.remotes.http.Api.json`."""
        told = {**self.rights, **(params or {})}
        return await self.api.json(
            method, path, params=told, body=body, repeatable=repeatable, what=what
        )

    async def _list(self, *path: str, what: str) -> object:
        return await self.json("GET", path, what=what, params=self._whole)

    # -------------------------------------------------------------------- containers

    async def container(self, level: Level, id_: str, what: str) -> Json:
        """One container, with its files. One that was deleted is not found.

        Raises:
            NotFound, Forbidden: it is not there, or not ours to see.
        """
        return item_of(await self.json("GET", (PLURAL[level], id_), what=what), what)

    async def seen_project(self, project: Project) -> Json:
        """A project of which everything is seen.

        Raises:
            NotFound: it is gone.
            Forbidden: it is not ours to see, or its lists would be shorter than it is: it is
                public, and the user is no member of it.
        """
        item = await self.container(Level.PROJECT, project.id, f"project {project}")
        if self.who.is_admin:
            return item
        members = page_of(item.get("permissions"), f"the permissions of {project}").items
        if self.who.id not in {one.get("_id") for one in members}:
            raise Forbidden(
                f"{project}: {self.who.id} is no member of it, and lists of this server leave "
                "out what is not one's own",
                hint="ask an admin of the project for a role in it",
            )
        return item

    async def sessions(self, project: Project) -> list[Held]:
        """All sessions of a project, the oldest first."""
        what = f"the sessions of {project}"
        answer = await self._list(PLURAL[Level.PROJECT], project.id, "sessions", what=what)
        return sorted(list_of(answer, session_of, what), key=lambda one: one.age)

    async def acquisitions(self, session: str) -> list[Held]:
        """All acquisitions of a session, the oldest first.

        There is no list of a project's acquisitions: the route is there, and finds none
        (core18's published source).
        """
        what = f"the acquisitions of session {session}"
        answer = await self._list(PLURAL[Level.SESSION], session, "acquisitions", what=what)
        return sorted(list_of(answer, acquisition_of, what), key=lambda one: one.age)

    async def first_with(self, path: Sequence[str], level: Level, what: str) -> Json | None:
        """What ``/resolve`` finds at a path; None: certainly nothing.

        It is the oldest of its label, and may be deleted (``deleted`` is in it) or a file, so
        it says less than one would like. An empty object: nothing can be concluded, as where
        the answer is 500: that is what a label gets which is not there, where a file beside it
        has a name that is not ASCII (core18's published source).
        """
        try:
            answer = await self.json(
                "POST", ("resolve",), body={"path": list(path)}, repeatable=True, what=what
            )
        except NotFound:
            return None
        except (Unavailable, Garbled):
            raise
        except RemoteError:
            return {}
        nodes = page_of(item_of(answer, what).get("path"), what).items
        if len(nodes) != len(path) or nodes[-1].get("node_type") != level.value:
            return {}
        return nodes[-1]

    async def take_away(self, level: Level, id_: str, what: str) -> None:
        """Delete a container that was just made, and is not needed.

        Where that is refused it stays, and stays empty: that is untidy, and no more.
        """
        try:
            await self.json("DELETE", (PLURAL[level], id_), what=what)
        except Unavailable:
            raise
        except RemoteError:
            return

    # ---------------------------------------------------------------------- projects

    async def groups(self) -> list[str]:
        """The ids of all groups."""
        what = "the list of groups"
        answer = await self._list("groups", what=what)
        return sorted(list_of(answer, lambda item, _: str(item.get("_id") or ""), what))

    async def projects(self, group: str = "") -> list[Project]:
        """All projects, or those of a group, the oldest first.

        The list of a group's own is for its members; this one is for whoever is a member of
        one of its projects.
        """
        what = "the list of projects"
        items = list_of(await self._list("projects", what=what), lambda item, _: item, what)
        items.sort(key=lambda item: (nanoseconds_of(item.get("created")), str(item.get("_id"))))
        found = [project_of(item, what) for item in items]
        return [project for project in found if group in ("", project.group)]

    async def check_group(self, group: str) -> tuple[Granted, ...] | None:
        """See that a group is there. It must not be made: making it again overwrites it.

        Returns:
            Who may do what there; None: that is not shown.

        Raises:
            NotFound, Forbidden: it is not, or not for us.
        """
        what = f"group {group}"
        return granted_in(item_of(await self.json("GET", ("groups", group), what=what), what))
