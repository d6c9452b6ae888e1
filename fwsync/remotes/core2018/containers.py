"""Sessions and acquisitions of core18: found, or made once, however many ask.

Its rule: labels are not unique on this server, and nothing of it stops a second one. So whoever
makes a container looks before and after; where two made one at the same time, both take the
older, and whoever made the younger takes it away again while it is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from fwsync.errors import (
    FileProblem,
    Forbidden,
    FwsyncError,
    Garbled,
    NotFound,
    Refused,
    Unavailable,
)
from fwsync.layout import name_of
from fwsync.metadata.shapes import Told
from fwsync.model import Level, Problem
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.listing import subject_in
from fwsync.remotes.core2018.wire import Held, code_of
from fwsync.remotes.flywheel_fields import NOTHING, Fields, Say, chain, sendable
from fwsync.remotes.flywheel_tree import LEVELS, Container, Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, text_of
from fwsync.remotes.naming import Project

TRIES: Final = 3  #: of one container whose creation is unclear
FRESH_S: Final = 10.0  #: how long "there is none" is believed; the look afterwards is certain
#: How long it is believed for looks: those of a batch come together, and one container that is
#: not there answers all of them. More than that passes between a look and its upload anyway.
LOOKED_S: Final = 2.0
MAX_LABEL: Final = 256  #: characters (core18)
_MOST_ABSENT: Final = 1000

#: What it keeps of a subject, which is a part of its sessions; anything else is 400 (core18).
_OF_SUBJECT: Final = frozenset({"firstname", "lastname", "sex", "race", "ethnicity"})

Key = tuple[str, str]


class Containers:
    """What is known of the containers of some projects, and what is asked and made beyond it.

    Args:
        asker: the site.
        tree: with the projects in it.
        say: is told of what went wrong and stopped nothing.
    """

    def __init__(self, asker: Asker, tree: Tree, say: Say) -> None:
        self.tree = tree
        self._asker = asker
        self._say = say
        self._fields = Fields(asker, say, info_method="POST")
        self._unknown: set[str] = set()  # what was said of fields that it does not keep
        self._locks: dict[Key, asyncio.Lock] = {}
        self._refused: dict[Key, FwsyncError] = {}
        self._absent: dict[Key, float] = {}  # when it was last said that there is none
        self._resolved: dict[str, bool] = {}  # projects, and whether `/resolve` finds them

    def renew(self, tree: Tree) -> None:
        """What a listing has found."""
        self.tree = tree
        self._refused.clear()
        self._absent.clear()

    async def find(self, place: Place) -> Container | None:
        """The container of a place, if it is there."""
        container = place.container
        for label in place.missing:
            below = self._in_tree(container, label) or await self._find_below(container, label)
            if below is None:
                return None
            container = below
        return container

    async def _find_below(self, parent: Container, label: str) -> Container | None:
        """One question for all who look at the same time; also for what is just being made."""
        key = (parent.id, label)
        async with self._lock(parent, label):
            below = self._in_tree(parent, label)
            if below is not None or self._is_absent(key, LOOKED_S):
                return below
            below = await self._ask(parent, label)
            if below is None:
                self._note_absent(key)
            return below

    async def ensure(self, place: Place, fields: Mapping[str, object] = NOTHING) -> Container:
        """The container of a place, made if it is not there.

        Args:
            fields: of the containers on the way, as ``session.timestamp``: given to those that
                are made, and to the others where they have none. Those of a subject are given
                to the sessions that are made: it is a part of them.

        Raises:
            FwsyncError: it cannot be made. A field that is refused is only said.
        """
        container = place.container
        for label in place.missing:
            async with self._lock(container, label):
                below = self._in_tree(container, label)
                if below is None:
                    if (container.id, label) in self._refused:
                        raise self._refused[container.id, label]
                    below = await self._make(container, label, fields)
            container = below
        if fields:
            for one in chain(container, self.tree.by_id):
                if one.level is not Level.SUBJECT:
                    await self._fields.fill(one, fields)
        return container

    def _lock(self, parent: Container, label: str) -> asyncio.Lock:
        # One session of a subject after the other: each finds the subject of the first.
        one_by_one = parent.level is Level.SUBJECT
        return self._locks.setdefault((parent.id, "" if one_by_one else label), asyncio.Lock())

    def project_of(self, container: Container) -> Project:
        """The project that a container lies in."""
        while container.level is not Level.PROJECT:
            container = self.tree.by_id[container.parent_id]
        return Project(container.labels[0], container.labels[1], container.id)

    # ----------------------------------------------------------------------- looking

    def _in_tree(self, parent: Container, label: str) -> Container | None:
        if parent.level is Level.PROJECT:
            return subject_in(self.tree, parent, label)
        return self.tree.by_folder.get(self.tree.layout.join(parent.folder, name_of(label)))

    async def _ask(self, parent: Container, label: str) -> Container | None:
        """The oldest session or acquisition of this label, asked of the server."""
        first = await self._first(parent, label)
        if first is None:
            return None
        if self._is_it(first, parent, label):
            return self._adopt(parent, label, text_of(first, "_id", "resolve"))
        same = await self._same(parent, label)
        return self._adopt(parent, label, same[0].id) if same else None

    async def _first(self, parent: Container, label: str) -> Json | None:
        """What ``/resolve`` finds by this label: see :meth:`Asker.first_with`."""
        project = self.project_of(parent)
        # A label of this form would be read as an id.
        if label.startswith("<id:") or not await self._resolves(project):
            return {}
        path = [project.group, f"<id:{project.id}>"]
        if parent.level is Level.SESSION:
            path.append(f"<id:{parent.id}>")
        level = _below(parent)
        return await self._asker.first_with([*path, label], level, f"{level} {label!r}")

    async def _resolves(self, project: Project) -> bool:
        """Whether ``/resolve`` finds a project, so that 404 is about what lies below it."""
        if project.id not in self._resolved:
            path = (project.group, f"<id:{project.id}>")
            node = await self._asker.first_with(path, Level.PROJECT, f"project {project}")
            self._resolved[project.id] = (node or {}).get("_id") == project.id
        return self._resolved[project.id]

    def _is_it(self, node: Json, parent: Container, label: str) -> bool:
        """Whether what was found by its label is alive, and below this parent."""
        if node.get("label") != label or node.get("deleted"):
            return False
        if self.tree.has_twin_name(str(node.get("_id"))):
            return False
        of_this = parent.level is Level.SESSION or code_of(node, "resolve") == parent.label
        return of_this and isinstance(node.get("_id"), str)

    async def _same(self, parent: Container, label: str) -> list[Held]:
        """All that have this label and its plain folder, the oldest first; none is deleted."""
        if parent.level is Level.SESSION:
            below = await self._asker.acquisitions(parent.id)
        else:
            sessions = await self._asker.sessions(self.project_of(parent))
            below = [one for one in sessions if one.code == parent.label]
        same = [one for one in below if one.label == label]
        return [one for one in same if not self.tree.has_twin_name(one.id)]

    def _note_absent(self, key: Key) -> None:
        if len(self._absent) >= _MOST_ABSENT:
            self._absent.clear()
        self._absent[key] = asyncio.get_running_loop().time()

    def _is_absent(self, key: Key, for_s: float) -> bool:
        since = self._absent.get(key)
        return since is not None and asyncio.get_running_loop().time() - since < for_s

    # ------------------------------------------------------------------------ making

    async def _make(self, parent: Container, label: str, fields: Mapping[str, object]) -> Container:
        key = (parent.id, label)
        level = _below(parent)
        if not 1 <= len(label) <= MAX_LABEL:
            raise FileProblem(
                f"{level} {label!r}: labels of this server have 1 to {MAX_LABEL} characters",
                hint="rename the folder",
            )
        is_absent = self._is_absent(key, FRESH_S)
        self._absent.pop(key, None)
        for attempt in range(TRIES):
            if attempt or not is_absent:
                found = await self._ask(parent, label)
                if found is not None:
                    return found
            try:
                return await self._make_once(parent, label, fields)
            except (Forbidden, Refused) as error:
                self._refused[key] = error
                raise
            except NotFound:
                self.tree.forget(parent.id)
                raise
            except (Unavailable, Garbled):  # it may be there all the same
                if attempt + 1 == TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _make_once(
        self, parent: Container, label: str, fields: Mapping[str, object]
    ) -> Container:
        level = _below(parent)
        what = f"making {level} {label!r}"
        bare: dict[str, object] = {"label": label, "session": parent.id}
        if level is Level.SESSION:
            bare = {"label": label, "project": self.project_of(parent).id}
            if parent.label:
                bare["subject"] = {"code": parent.label}
        told, _ = sendable(level, fields)  # what cannot be sent is said once it is there
        full = _told(told) | bare
        if level is Level.SESSION and (subject := self._subject(parent, fields)):
            full["subject"] = {**subject, **({"code": parent.label} if parent.label else {})}
        try:
            answer = await self._asker.json("POST", (PLURAL[level],), body=full, what=what)
        except Refused:
            if full == bare:
                raise
            # It may be a field that is refused, and no label: then it is said later, alone.
            answer = await self._asker.json("POST", (PLURAL[level],), body=bare, what=what)
            told = Told()
        made = text_of(item_of(answer, what), "_id", what)
        self._fields.settle(made, Told(told.plain, told.info))
        return self._adopt(parent, label, await self._settled(parent, label, made))

    def _subject(self, subject: Container, fields: Mapping[str, object]) -> dict[str, object]:
        """What is said of a subject with a session of it that is made."""
        told, wrong = sendable(Level.SUBJECT, fields)
        unknown = [f"subject.{key}" for key in told.plain if key not in _OF_SUBJECT | {"code"}]
        unknown += ["subject.tags"] if told.tags else []
        wrong += [f"{one}: this server, of 2018, has no such field" for one in unknown]
        for why in wrong:
            if why not in self._unknown:
                self._unknown.add(why)
                path = str(subject.folder) or "/".join(subject.labels)
                hint = "the files in it are not touched by this"
                self._say(Problem(path, f"not all that is known of it can be sent: {why}", hint))
        plain = {key: value for key, value in told.plain.items() if key in _OF_SUBJECT}
        return _told(Told(plain, told.info))

    async def _settled(self, parent: Container, label: str, made: str) -> str:
        """The id that counts, once one was made: that of the oldest of its label."""
        first = await self._first(parent, label)
        if first is not None and first.get("_id") == made:
            return made
        same = await self._same(parent, label)
        ours = [one for one in same if one.id == made]
        if not ours:
            raise Garbled(f"{_below(parent)} {label!r}: was made, and is not there")
        if same[0].id != made:
            await self._take_away(ours[0])
        return same[0].id

    async def _take_away(self, twin: Held) -> None:
        """Delete a container that was just made and is not needed; not if anything is in it."""
        if twin.files.by_name:
            return
        if twin.level is Level.SESSION and await self._asker.acquisitions(twin.id):
            return
        what = f"taking away the second {twin.level} {twin.label!r}"
        await self._asker.take_away(twin.level, twin.id, what)

    def _adopt(self, parent: Container, label: str, id_: str) -> Container:
        known = self.tree.by_id.get(id_)
        known = known or self.tree.add_child(_below(parent), id_, label, parent.id)
        if known is None:  # a listing has just replaced the tree, and the parent is gone
            raise NotFound(f"the {parent.level} {parent.label!r} is gone", status=404)
        return known


def _told(told: Told) -> dict[str, object]:
    return dict(told.plain) | ({"info": dict(told.info)} if told.info else {})


def _below(container: Container) -> Level:
    return LEVELS[LEVELS.index(container.level) + 1]
