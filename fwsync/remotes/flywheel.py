"""A Flywheel project as a remote: list, look, read, write.

One :class:`Flywheel` serves all workers of a run. What it knows of containers comes from
its last listing; without one, it asks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final

from fwsync.errors import (
    FileProblem,
    Forbidden,
    FwsyncError,
    Garbled,
    NotFound,
    Refused,
    RemoteError,
)
from fwsync.layout import Layout, Unmappable, name_of
from fwsync.model import Level, RelPath, RemoteEntry, Unknown
from fwsync.ports import Features, Sent, Upload
from fwsync.remotes import multipart
from fwsync.remotes.flywheel_fetch import Fetch, fetching, reading
from fwsync.remotes.flywheel_find import (
    Child,
    Project,
    Who,
    check_login,
    ls,
    project_by_id,
    resolve_project,
)
from fwsync.remotes.flywheel_listing import Listing, pages
from fwsync.remotes.flywheel_tree import LEVELS, Container, Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL, container_of, file_of, item_of, page_of, text_of
from fwsync.remotes.http import Api

__all__ = [
    "Child",
    "Flywheel",
    "Project",
    "Who",
    "check_login",
    "ls",
    "project_by_id",
    "resolve_project",
]

FETCH_LIMIT: Final = 1000  #: files in one ticket
_MAKE_TRIES: Final = 3  # of one container whose creation is unclear
_UNSAFE_IN_FILTER: Final = set('"\\,\r\n')


class Flywheel:
    """Implements :class:`fwsync.ports.Remote`.

    Args:
        api: open for as long as this is used.
        projects: in scope.
        layout: whose group and project are those of ``projects``.
    """

    def __init__(self, api: Api, projects: Sequence[Project], layout: Layout) -> None:
        self.api = api
        self.projects = tuple(projects)
        self.unseen: tuple[Unknown, ...] = ()  #: folders whose project could not be asked
        self.layout = layout
        self._tree = self._new_tree()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._refused: dict[tuple[str, str], FwsyncError] = {}
        self._read_only: dict[str, Forbidden] = {}  # containers that take no file from us

    def __repr__(self) -> str:
        return f"<Flywheel {', '.join(map(str, self.projects))} at {self.api.url.origin()}>"

    @property
    def features(self) -> Features:
        """What it can do."""
        return Features(digests=True, versions=True, fetch_limit=FETCH_LIMIT, put_limit=1)

    @property
    def requests(self) -> int:
        """HTTP requests made so far, repeats included."""
        return self.api.requests

    def _new_tree(self) -> Tree:
        tree = Tree(self.layout)
        for project in self.projects:
            tree.add_project(project.group, project.label, project.id)
        return tree

    # ----------------------------------------------------------------------- reading

    async def entries(self) -> AsyncGenerator[Sequence[RemoteEntry | Unknown], None]:
        """See :meth:`fwsync.ports.RemoteReader.entries`."""
        tree = self._new_tree()
        if self.unseen:
            yield self.unseen
        for project in self.projects:
            listing = Listing(self.api, project, tree)
            try:
                async with aclosing(listing.entries()) as found:
                    async for page in found:
                        yield page
            except NotFound as error:
                raise NotFound(
                    f"project {project} is gone: {error.message}",
                    status=error.status,
                    hint="nothing is deleted here because of it",
                ) from None
        self._tree = tree
        self._refused.clear()
        self._read_only.clear()

    async def look(self, path: RelPath) -> RemoteEntry | None:
        """See :meth:`fwsync.ports.RemoteReader.look`."""
        place = self._place(path)
        container = await self._find(place)
        if container is None:
            return None
        address = (PLURAL[container.level], container.id, "files", place.name, "info")
        try:
            answer = await self.api.json("GET", address, what=path)
        except NotFound:
            return None
        wire = file_of(item_of(answer, path), path)
        if wire.name != place.name:
            raise Garbled(f"{path}: asked for {place.name!r}, got {wire.name!r}")
        return None if wire.deleted else wire.entry(path, container.ref)

    def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See :meth:`fwsync.ports.RemoteReader.open`.

        Raises:
            IntegrityError: it is not as long as the entry says.
        """
        return reading(self.api, entry, offset)

    def fetch(self, entries: Sequence[RemoteEntry]) -> AbstractAsyncContextManager[Fetch]:
        """See :meth:`fwsync.ports.RemoteReader.fetch`."""
        return fetching(self.api, entries)

    # ----------------------------------------------------------------------- writing

    async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.ports.Remote.put`."""
        for upload in batch:
            try:
                sent = Sent(upload.path, entry=await self._put(upload))
            except FwsyncError as error:
                sent = Sent(upload.path, error=error)
            yield sent

    async def _put(self, upload: Upload) -> RemoteEntry:
        place = self._place(upload.path)
        if "/" in place.name or "\0" in place.name or place.name in ("", ".", ".."):
            raise FileProblem(
                f"{upload.path}: {place.name!r} cannot be the name of a file on the server",
                hint="rename it",
            )
        try:
            place.name.encode()
        except UnicodeEncodeError:
            raise FileProblem(f"{upload.path}: its name is not valid text") from None
        container = await self._ensure(place)
        if container.id in self._read_only:
            raise self._read_only[container.id]
        boundary = secrets.token_hex(16)
        try:
            answer = await self.api.send(
                (PLURAL[container.level], container.id, "files"),
                lambda: multipart.form(upload, place.name, boundary),
                params={"preserve_metadata": True},
                what=upload.path,
            )
        except Forbidden as error:
            # Nor will the next file be taken: its bytes need not be sent to hear so.
            self._read_only[container.id] = error
            raise
        except NotFound:
            self._tree.forget(container.id)  # the next try looks for it again
            raise
        items = page_of(answer, upload.path).items
        if len(items) != 1:
            raise Garbled(f"{upload.path}: one file was sent, {len(items)} were acknowledged")
        wire = file_of(items[0], upload.path)
        if wire.name != place.name:
            raise Garbled(f"{upload.path}: the server stored it as {wire.name!r}")
        return wire.entry(upload.path, container.ref)

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        """See :meth:`fwsync.ports.Remote.delete`. Gone already is as good as deleted."""
        address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
        try:
            await self.api.json(
                "DELETE", address, params={"delete_reason": reason or None}, what=entry.path
            )
        except NotFound:
            return
        except Refused as error:
            if error.status == 400 and not reason:
                error.hint = (
                    "a site with an audit trail wants a reason: give one with the setting "
                    "delete_reason (FWSYNC_DELETE_REASON)"
                )
            raise

    # -------------------------------------------------------------------- containers

    def _place(self, path: RelPath) -> Place:
        place = self._tree.place(path)
        if isinstance(place, Unmappable):
            raise FileProblem(f"{path}: {place.reason}", hint=place.hint)
        return place

    async def _find(self, place: Place) -> Container | None:
        """The container of a place, if it is there."""
        container = place.container
        for label in place.missing:
            if (below := self._child_in_tree(container, label)) is None:
                below = await self._find_child(container, label)
            if below is None:
                return None
            container = below
        return container

    async def _ensure(self, place: Place) -> Container:
        """The container of a place, made if it is not there; once, however many ask."""
        container = place.container
        for label in place.missing:
            key = (container.id, label)
            async with self._locks.setdefault(key, asyncio.Lock()):
                below = self._child_in_tree(container, label)
                if below is None:
                    if key in self._refused:
                        raise self._refused[key]
                    below = await self._make(container, label)
            container = below
        return container

    def _child_in_tree(self, parent: Container, label: str) -> Container | None:
        return self._tree.by_folder.get(self.layout.join(parent.folder, name_of(label)))

    async def _make(self, parent: Container, label: str) -> Container:
        level = LEVELS[LEVELS.index(parent.level) + 1]
        project = parent
        while project.level is not Level.PROJECT:
            project = self._tree.by_id[project.parent_id]
        for attempt in range(_MAKE_TRIES):
            # Look first, each time: the listing may be hours old in a long run, another
            # host may send the same study, and an answer may have been lost. One question
            # for a new container is little; twins are for ever.
            found = await self._find_child(parent, label)
            if found is not None:
                return found
            try:
                return await self._make_once(level, parent, project, label)
            except (Forbidden, Refused) as error:
                self._refused[parent.id, label] = error
                raise
            except NotFound:
                self._tree.forget(parent.id)
                raise
            except RemoteError:
                if attempt + 1 == _MAKE_TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _make_once(
        self, level: Level, parent: Container, project: Container, label: str
    ) -> Container:
        what = f"making {level} {label!r}"
        body = _body(level, parent, project, label)
        try:
            answer = await self.api.json("POST", (PLURAL[level],), body=body, what=what)
        except Refused as error:
            if error.status in (409, 422):  # another host was faster
                found = await self._find_child(parent, label)
                if found is not None:
                    return found
            raise
        return self._adopt(level, text_of(item_of(answer, what), "_id", what), label, parent)

    def _adopt(self, level: Level, id_: str, label: str, parent: Container) -> Container:
        known = self._tree.by_id.get(id_) or self._tree.add_child(level, id_, label, parent.id)
        if known is None:  # a listing has just replaced the tree, and the parent is gone
            raise NotFound(f"the {parent.level} {parent.label!r} is gone", status=404)
        return known

    async def _find_child(self, parent: Container, label: str) -> Container | None:
        """The oldest child with this very label, asked of the server."""
        level = LEVELS[LEVELS.index(parent.level) + 1]
        path = (PLURAL[parent.level], parent.id, PLURAL[level])
        what = f"{level} {label!r}"
        plain = bool(label) and not _UNSAFE_IN_FILTER & set(label) and label.isprintable()
        found: list[str] = []
        same = f'label="{label}"' if plain else None
        async with aclosing(pages(self.api, path, what=what, filter_=same)) as children:
            async for page in children:
                wires = [container_of(item, level, what) for item in page]
                found += [
                    one.id for one in wires if one.label == label and one.parent_id == parent.id
                ]
        return self._adopt(level, min(found), label, parent) if found else None


def _body(level: Level, parent: Container, project: Container, label: str) -> dict[str, object]:
    """What each kind of container is made from. Source: flywheel-sdk 23, observed."""
    if level is Level.SUBJECT:
        return {"label": label, "code": label, "project": parent.id}
    if level is Level.SESSION:
        return {"label": label, "project": project.id, "subject": {"_id": parent.id}}
    return {"label": label, "session": parent.id}
