"""The containers of paths: found, or made where they are missing, once.

Its rule: however many ask, and whoever else makes the same ones at the same time, a label
has one container in the end. The oldest counts; ids begin with the time they were made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from fwsync.errors import (
    FileProblem,
    Forbidden,
    FwsyncError,
    NotFound,
    Refused,
    RemoteError,
    Unavailable,
)
from fwsync.layout import name_of
from fwsync.mapping.names import platform_name
from fwsync.metadata.shapes import Told
from fwsync.model import Level, Problem, RelPath
from fwsync.remotes.flywheel_children import Children
from fwsync.remotes.flywheel_fields import NOTHING, Fields, Say, chain, sendable
from fwsync.remotes.flywheel_listing import pages
from fwsync.remotes.flywheel_names import Kind, clash, is_refusal_of_a_name
from fwsync.remotes.flywheel_tree import LEVELS, Container, Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL, item_of, label_of, text_of
from fwsync.remotes.http import Api

_MAKE_TRIES: Final = 3  # of one container whose creation is unclear

#: Levels of which a server makes a second one of the same label. Source: core18 observed;
#: a second subject is refused (422), a second project too (409).
_MAY_BE_TWINS: Final = (Level.SESSION, Level.ACQUISITION)

#: Pauses while another host may let its younger twin go, in seconds; then it has not seen ours.
SEEN_S: Final = (0.1, 0.3, 0.6, 1.0, 2.0)

#: What a label that is there already is answered with. Source: core19, flywheel-cli 18.5.1.
_TAKEN: Final = (409, 422)

#: Source: the values of ``delete_reason`` in flywheel-sdk 23.
_EMPTY: Final = "container_is_empty"


class Containers:
    """Finds and makes containers for all workers of a run.

    Args:
        api: open for as long as this is used.
        tree: what is known of them; see :meth:`use`.
        say: is told of what went wrong and stopped nothing.
        info_method: see :class:`~fwsync.remotes.flywheel_fields.Fields`.
    """

    def __init__(self, api: Api, tree: Tree, say: Say, *, info_method: str = "PATCH") -> None:
        self._api = api
        self._tree = tree
        self._say = say
        self._children = Children(api)
        self._fields = Fields(api, say, info_method=info_method)
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._refused: dict[tuple[str, str], FwsyncError] = {}
        self._made: set[str] = set()
        self._taken_over: set[str] = set()

    def use(self, tree: Tree) -> None:
        """A listing has replaced what is known; what was refused may be tried again."""
        self._tree = tree
        self._refused.clear()
        self._taken_over.clear()

    def forget(self, id_: str) -> None:
        """The server no longer has this one: the next try looks for it again."""
        self._tree.forget(id_)

    async def find(self, place: Place) -> Container | None:
        """The container of a place, if it is there."""
        container = place.container
        for label in place.missing:
            below = self._in_tree(container, label)
            theirs = self._tree.names.theirs(container.id, Kind.CONTAINER, label)
            if below is None and theirs is not None:
                below = await self._oldest(container, theirs)
            if below is None:
                return None
            container = below
        return container

    async def ensure(self, place: Place, fields: Mapping[str, object] = NOTHING) -> Container:
        """The container of a place, made if it is not there; once, however many ask.

        Args:
            fields: of the containers on the way, as ``session.timestamp``: given to those
                that are made, and to the others where they have none.

        Raises:
            FwsyncError: it cannot be made. A field that is refused is only said.
        """
        container = place.container
        for label in place.missing:
            key = (container.id, label)
            # Labels that the server may take for one are made one after the other.
            alike = (container.id, platform_name(label))
            async with self._locks.setdefault(alike, asyncio.Lock()):
                below = self._in_tree(container, label)
                if below is None:
                    if key in self._refused:
                        raise self._refused[key].with_traceback(None)  # it would grow with each
                    below = await self._make(container, label, fields)
            container = below
        if fields:
            for one in chain(container, self._tree.by_id):
                await self._fields.fill(one, fields)
        return container

    async def ids_of(self, parent: Container, label: str) -> list[str]:
        """The ids of the children of this very label, as they are now."""
        return await self._children.ids(parent, label)

    def relocated(self, container: Container, label: str, parent: Container) -> None:
        """It has another label now, or another parent, and its folder is another one."""
        self._tree.let_go([(container.id, label, parent.id)])
        self._tree.relocate(container, label, parent.id)
        self._made.discard(container.id)

    def was_listed_elsewhere(self, container: Container) -> bool:
        """Did the listing have it, or what it lies in, under a name that is not ours?

        What is in it was then compared with nothing.
        """
        if not self._taken_over:
            return False
        above = {one.id for one in chain(container, self._tree.by_id)}
        return not self._taken_over.isdisjoint(above)

    def _in_tree(self, parent: Container, label: str) -> Container | None:
        return self._tree.by_folder.get(self._folder(parent, label))

    def _folder(self, parent: Container, label: str) -> RelPath:
        return self._tree.layout.join(parent.folder, name_of(label))

    # ------------------------------------------------------------------------- making

    async def _make(self, parent: Container, label: str, fields: Mapping[str, object]) -> Container:
        for attempt in range(_MAKE_TRIES):
            try:
                return await self._look_and_make(parent, label, fields, again=attempt > 0)
            except (Forbidden, Refused, FileProblem) as error:
                self._refused[parent.id, label] = error
                raise
            except NotFound:
                self._tree.forget(parent.id)
                raise
            except RemoteError:
                if attempt + 1 == _MAKE_TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _look_and_make(
        self, parent: Container, label: str, fields: Mapping[str, object], *, again: bool
    ) -> Container:
        names = self._tree.names
        path = self._folder(parent, label)
        wanted = names.theirs(parent.id, Kind.CONTAINER, label)
        if wanted is None:  # another of ours had this label there: is it gone?
            if await self._children.ids(parent, label):
                raise clash(path, label, label)
            await names.release(parent.id, Kind.CONTAINER, label)
            wanted = label
        unsure = wanted == label and names.may_differ(label)
        # Look first, each time: the listing may be hours old in a long run, another host may
        # send the same study, and an answer may have been lost. One question for a new
        # container is little; twins are for ever. What lies in one that we have just made
        # needs no question: whoever else makes it is seen right after (`_elder_of`).
        if again or unsure or parent.id not in self._made:
            found = await self._oldest(parent, wanted, lately=not again)
            if found is not None:
                return found
        if not unsure:
            return await self._make_as(parent, wanted, fields)
        theirs = platform_name(label)
        there = await self._oldest(parent, theirs)
        if there is not None:
            await names.claim(parent.id, Kind.CONTAINER, label, theirs, path, taken_at=there.folder)
            self._taken_over.add(there.id)
            return self._tree.name_anew(there)
        if not names.beforehand:
            try:
                return await self._make_as(parent, label, fields, read_back=path)
            except Refused as error:
                if not is_refusal_of_a_name(error):
                    raise
        await names.claim(parent.id, Kind.CONTAINER, label, theirs, path)
        try:
            return await self._make_as(parent, theirs, fields)
        except Refused as error:
            if is_refusal_of_a_name(error):  # so it was not the name
                await names.withdraw(parent.id, Kind.CONTAINER, label)
            raise

    async def _make_as(
        self,
        parent: Container,
        label: str,
        fields: Mapping[str, object],
        *,
        read_back: RelPath | None = None,
    ) -> Container:
        """Make one under this very label.

        Args:
            read_back: the server may have altered the label: ask, and know it by what it has
                made of it. The path is for messages.
        """
        level = LEVELS[LEVELS.index(parent.level) + 1]
        what = f"making {level} {label!r}"
        told, _ = sendable(level, fields)  # what cannot be sent is said once it is there
        made = await self._post(level, parent, label, told, what)
        if isinstance(made, Container):
            return made
        self._made.add(made)
        theirs = label
        if read_back is not None:
            theirs = await self._read_back(level, made, label, parent, read_back)
        if level in _MAY_BE_TWINS and theirs == label:
            elder = await self._elder_of(level, made, parent, label)
            if elder is not None:
                return elder
        return self._adopt(level, made, theirs, parent)

    async def _post(
        self, level: Level, parent: Container, label: str, told: Told, what: str
    ) -> str | Container:
        """The id of a new container; or the one that another host was faster to make."""
        project = self._project_of(parent)
        full, bare = (_body(level, parent, project, label, one) for one in (told, Told()))
        # It may be a field that is refused, and no label: then it is said later, alone.
        bodies = [full] if full == bare else [full, bare]
        # The code of another subject may be our label: then this one goes without a code.
        codeless = {key: value for key, value in bare.items() if key != "code"}
        refused: Refused | Forbidden | None = None
        for body in [*bodies, codeless] if level is Level.SUBJECT else bodies:
            if body is codeless and refused is not None and refused.status not in _TAKEN:
                break
            try:
                with self._children.making(parent):
                    answer = await self._api.json("POST", (PLURAL[level],), body=body, what=what)
            except (Refused, Forbidden) as error:
                refused = error
            else:
                made = text_of(item_of(answer, what), "_id", what)
                if body is full:
                    self._fields.settle(made, Told(told.plain, told.info))
                return made
            if refused.status in _TAKEN:
                found = await self._oldest(parent, label)
                if found is not None:
                    return found
        assert refused is not None
        raise refused

    def _project_of(self, container: Container) -> Container:
        top = chain(container, self._tree.by_id)[0]
        if top.level is not Level.PROJECT:  # a listing has just replaced the tree
            raise NotFound(f"the {container.level} {container.label!r} is gone", status=404)
        return top

    async def _read_back(
        self, level: Level, id_: str, label: str, parent: Container, path: RelPath
    ) -> str:
        """The label that the server has given it, by which we know it from now on."""
        what = f"the new {level} {label!r}"
        answer = await self._api.json("GET", (PLURAL[level], id_), what=what)
        theirs = label_of(item_of(answer, what), what)
        if theirs != label:
            await self._tree.names.claim(parent.id, Kind.CONTAINER, label, theirs, path)
        return theirs

    async def _elder_of(
        self, level: Level, id_: str, parent: Container, label: str
    ) -> Container | None:
        """The container of this label that another host has made and keeps; ours goes then.

        The older one stays, by its id. But an id may be older than what it names is visible:
        whoever made a younger one may not have seen ours, and then keeps theirs.
        """
        others: set[str] = set()
        for pause_s in SEEN_S:
            others = set(self._not_named_twins(await self._children.ids(parent, label))) - {id_}
            if not others:
                return None
            if min(others) < id_:
                break
            await asyncio.sleep(pause_s)  # they see ours now, and let theirs go
        await self._discard(level, id_, parent, label)
        return self._adopt(level, min(others), label, parent)

    async def _discard(self, level: Level, id_: str, parent: Container, label: str) -> None:
        """Delete the container that we have just made, unless somebody has put something in it."""
        what = f"the second {level} {label!r}"
        try:
            doc = item_of(await self._api.json("GET", (PLURAL[level], id_), what=what), what)
            empty = not doc.get("files") and not doc.get("analyses")
            if empty and level is Level.SESSION:
                below = ("sessions", id_, "acquisitions")
                async with aclosing(pages(self._api, below, what=what)) as found:
                    empty = not [one async for page in found for one in page]
            if empty:
                params = {"delete_reason": _EMPTY}
                await self._api.json("DELETE", (PLURAL[level], id_), params=params, what=what)
                return
            why = "somebody has put something in it"
        except Unavailable:
            raise
        except NotFound:
            return
        except RemoteError as error:
            why = error.message
        path = str(self._folder(parent, label))
        hint = "it has the same label and is younger: delete it if it is empty"
        self._say(Problem(path, f"another host made this {level} too, and ours stays: {why}", hint))

    def _adopt(self, level: Level, id_: str, label: str, parent: Container) -> Container:
        known = self._tree.by_id.get(id_) or self._tree.add_child(level, id_, label, parent.id)
        if known is None:  # a listing has just replaced the tree, and the parent is gone
            raise NotFound(f"the {parent.level} {parent.label!r} is gone", status=404)
        return known

    # ------------------------------------------------------------------------ finding

    async def _oldest(
        self, parent: Container, label: str, *, lately: bool = False
    ) -> Container | None:
        """The oldest child with this very label, asked of the server.

        Args:
            lately: that there is none may be known from a few seconds ago.
        """
        level = LEVELS[LEVELS.index(parent.level) + 1]
        ask = self._children.ids_lately if lately else self._children.ids
        ids = self._not_named_twins(await ask(parent, label))
        return self._adopt(level, min(ids), label, parent) if ids else None

    def _not_named_twins(self, ids: list[str]) -> list[str]:
        """Without those that have the folder of a twin here: the plain one is not theirs."""
        return [one for one in ids if not self._tree.has_twin_name(one)]


def _body(
    level: Level, parent: Container, project: Container, label: str, told: Told
) -> dict[str, object]:
    """What each kind of container is made from. Source: flywheel-sdk 23, observed.

    Tags are not among it: of the four, its input models have them for subjects only.
    """
    more = dict(told.plain) | ({"info": dict(told.info)} if told.info else {})
    if level is Level.SUBJECT:
        return {"code": label} | more | {"label": label, "project": parent.id}
    if level is Level.SESSION:
        return more | {"label": label, "project": project.id, "subject": {"_id": parent.id}}
    return more | {"label": label, "session": parent.id}
