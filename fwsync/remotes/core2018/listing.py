"""Everything in a project of core18: its sessions, and of each of them the acquisitions.

Its rule: a listing is complete, or it says what it could not see. This server's lists become
shorter where a right is taken away or something is deleted; so the project is asked before and
after, and what came in between is believed only if all of it was ours to see both times.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from fwsync.errors import NotFound, RemoteError
from fwsync.model import Level, RemoteEntry, Unknown
from fwsync.remotes.chosen import Chosen
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.wire import Files, Held
from fwsync.remotes.flywheel_listing import end_if_silent
from fwsync.remotes.flywheel_tree import Container, Tree
from fwsync.remotes.missed import Tally
from fwsync.remotes.naming import Project
from fwsync.selection import EVERYTHING, Selection
from fwsync.threads import workers

SIDE_BY_SIDE: Final = 8  #: sessions whose acquisitions are asked for at a time

Found = list[RemoteEntry | Unknown]


class Listing:
    """One pass over one project, or what is selected of it. Fills the tree as it goes."""

    def __init__(
        self,
        asker: Asker,
        project: Project,
        tree: Tree,
        selection: Selection = EVERYTHING,
        tally: Tally | None = None,
    ) -> None:
        self._asker = asker
        self._project = project
        self._tree = tree
        self._root = tree.by_id[project.id]
        self._chosen = Chosen(selection, tree, evaluates=True, tally=tally)

    async def entries(self) -> AsyncGenerator[Found, None]:
        """The files, in pages; what holds for all of the project comes last.

        Raises:
            NotFound: the project is gone.
            AuthError: the key is not accepted.
            Unavailable: the server does not answer at all.
        """
        try:
            await self._asker.seen_project(self._project)
            sessions = await self._asker.sessions(self._project)
            await self._make_room(sessions)
            for session in sessions:
                add_session(self._tree, self._root, session)
            asked = [one for one in sessions if self._chosen.goes_into(self._tree.by_id[one.id])]
            for start in range(0, len(asked), SIDE_BY_SIDE):
                for page in await self._side_by_side(asked[start : start + SIDE_BY_SIDE]):
                    yield page
            yield self._files_of_subjects(sessions)
            project = await self._asker.seen_project(self._project)
            yield self._files(self._root, Files.of(project, f"project {self._project}"))
        except NotFound:
            raise
        except RemoteError as error:
            end_if_silent(error)
            yield [Unknown(self._root.folder, error.message)]

    async def _make_room(self, sessions: Sequence[Held]) -> None:
        """Names of what is gone are free again, before new containers get theirs."""
        ids = {one.code: subject_id(self._root, one.code) for one in sessions}
        self._tree.whole(Level.SUBJECT, set(ids.values()), self._root)
        codes = [(id_, code, self._root.id) for code, id_ in ids.items()]
        await self._tree.look_for_files(codes)
        for code in ids:
            subject_in(self._tree, self._root, code)
        self._tree.whole(Level.SESSION, {one.id for one in sessions}, self._root)
        self._tree.let_go([(one.id, one.label, ids[one.code]) for one in sessions])

    async def _side_by_side(self, sessions: Sequence[Held]) -> list[Found]:
        async with workers() as group:
            tasks = [group.create_task(self._session(session)) for session in sessions]
        return [task.result() for task in tasks]

    async def _session(self, session: Held) -> Found:
        """The files of a session and of its acquisitions."""
        above = self._tree.by_id[session.id]
        try:
            acquisitions = await self._asker.acquisitions(session.id)
        except RemoteError as error:  # gone as well: the next listing will not have it
            end_if_silent(error)
            return [Unknown(above.folder, error.message)]
        found: Found = []
        self._tree.whole(Level.ACQUISITION, {one.id for one in acquisitions}, above)
        below_it = [(one.id, one.label, above.id) for one in acquisitions]
        self._tree.let_go(below_it)
        await self._tree.look_for_files(below_it)
        for one in acquisitions:
            below = self._tree.by_id.get(one.id) or self._tree.add_child(
                Level.ACQUISITION, one.id, one.label, above.id
            )
            assert below is not None, "its session is in the tree"
            found += self._files(below, one.files)
        return found + self._files(above, session.files)  # folders come first: they get the name

    def _files(self, container: Container, files: Files) -> Found:
        found: Found = []
        for file in files.by_name.values():
            if not self._chosen.takes(container, file.said, file.name):
                continue
            # Files have no id here. A container's does: it has each name once.
            path = self._tree.path_of_file(container, file.name, container.id)
            if file.name in files.unclear:
                reason = "several files of this name, with different content, are in one container"
                found.append(Unknown(path, reason))
            else:
                found.append(file.entry(path, container.ref))
        return found

    def _files_of_subjects(self, sessions: Sequence[Held]) -> Found:
        """They are in the sessions' lists, and no request brings the bytes of one."""
        reason = "a file of a subject: this server (of 2018) lists it, and does not hand it out"
        found: dict[str, Unknown] = {}
        for session in sessions:
            for file in session.subject_files:
                subject = self._tree.by_id[self._tree.by_id[session.id].parent_id]
                if self._chosen.takes(subject, file.said, file.name):
                    path = self._tree.path_of_file(subject, file.name, session.id)
                    found[path] = Unknown(path, reason)
        return list(found.values())


def add_session(tree: Tree, project: Container, session: Held) -> Container:
    """Put a session into the tree, below the subject that its code names."""
    known = tree.by_id.get(session.id)
    if known is None:
        subject = subject_in(tree, project, session.code)
        known = tree.add_child(Level.SESSION, session.id, session.label, subject.id)
        assert known is not None, "its subject is in the tree"
    return known


def subject_in(tree: Tree, project: Container, code: str) -> Container:
    """The subject of a code. It is no container of this server: its id is one of ours."""
    id_ = subject_id(project, code)
    subject = tree.by_id.get(id_) or tree.add_child(Level.SUBJECT, id_, code, project.id)
    assert subject is not None, "the project is in the tree"
    return subject


def subject_id(project: Container, code: str) -> str:
    """What stands for the id of a subject, which has none of its own."""
    return f"{project.id}/{code}"
