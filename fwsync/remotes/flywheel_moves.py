"""Files and containers of the server get another path, with all that is said of them.

Its rule: nothing is replaced, and no second container of one label comes to be. What is not as
the listing had it stays, and is the next listing's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from fwsync.errors import (
    FileProblem,
    Forbidden,
    Garbled,
    NotFound,
    Refused,
    SourceChanged,
    Unavailable,
)
from fwsync.model import Level, RelPath, RemoteEntry
from fwsync.remotes.flywheel_containers import Containers
from fwsync.remotes.flywheel_filenames import FileNames
from fwsync.remotes.flywheel_names import Kind, Names, no_server_takes
from fwsync.remotes.flywheel_tree import Container, Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL, container_of, item_of, text_or_none
from fwsync.remotes.http import Api

#: A name that only the path of a place is made with.
_ANY_NAME: Final = "x"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a container is, or is to be."""

    label: str
    parent: Container


class Moving:
    """Gives files and containers other paths.

    Args:
        api: open for as long as this is used.
        tree: gives what is known of the containers.
        containers: finds and makes them.
        file_names: knows which names are on their way.
        names: what the server calls otherwise.
        place: says where a path belongs.
    """

    def __init__(
        self,
        api: Api,
        tree: Callable[[], Tree],
        containers: Containers,
        file_names: FileNames,
        names: Names,
        place: Callable[[RelPath], Place],
    ) -> None:
        self._api = api
        self._tree = tree
        self._containers = containers
        self._file_names = file_names
        self._names = names
        self._place = place

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        """See :meth:`fwsync.ports.Movable.move`."""
        place = self._place(path)
        self._check_name(path, place.name)
        if not entry.file_id:
            raise FileProblem(f"{path}: the server gives the file no id, by which it could move")
        container = await self._containers.ensure(place)
        tree = self._tree()
        theirs = self._names.theirs(container.id, Kind.FILE, place.name)
        if theirs is None or place.is_twin:
            raise FileProblem(f"{path}: the server has another file under this name")
        if tree.twin_files.get(entry.path) == (container.ref, theirs):
            tree.call_plainly(entry.path, entry.file_id)
            await self._names.given.keep()
            return replace(entry, path=path)  # the server calls it so already
        above = tree.by_id.get(entry.container.id)
        if above is None or tree.project_of(above) != tree.project_of(container):
            raise FileProblem(f"{path}: lies in another project than {entry.path!r}")
        body = {
            "container_reference": {"type": container.level.value, "id": container.id},
            "name": theirs,
        }
        await self._api.json("POST", ("files", entry.file_id, "move"), body=body, what=path)
        try:
            there = await self._file_names.looks.look(container, theirs, path)
        except (FileProblem, Forbidden, Garbled, NotFound, Refused) as error:
            # No refusal of the move, which was made: nothing may be done instead.
            raise SourceChanged(
                f"{path}: moved on the server, and not seen since: {error}"
            ) from error
        if there is None or there.file_id != entry.file_id:
            raise Unavailable(f"{path}: the server says that it has moved, and does not have it")
        return there.entry(path, container.ref)

    def _check_name(self, path: RelPath, name: str) -> None:
        """A name that the server may alter is one for an upload, which reads it back."""
        try:
            name.encode()
        except UnicodeEncodeError:
            raise FileProblem(f"{path}: its name is not valid text") from None
        if no_server_takes(name) or self._names.may_differ(name):
            raise FileProblem(f"{path}: the server may not take its name as it is")

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        """See :meth:`fwsync.ports.Movable.move_folder`."""
        tree, container = self._tree(), await self.find(old)
        if container is None or container.level is Level.PROJECT:
            return False
        place = self._place(RelPath(f"{new}/{_ANY_NAME}"))
        depth = len(place.container.labels) + len(place.missing)
        if depth != len(container.labels) or not place.missing:
            return False  # another level, or it is there
        if self._names.may_differ(place.missing[-1]) or tree.has_twin_name(container.id):
            return False
        if await self._containers.find(place) is not None:
            return False
        known = tree.by_id.get(container.parent_id)
        if known is None or not await self._is_as_listed(container):
            raise SourceChanged(f"{old}: has another label or parent since it was listed")
        above = replace(place, missing=place.missing[:-1])
        parent = await self._containers.ensure(above)
        if tree.project_of(parent) != tree.project_of(container):
            return False
        before, after = Whereabouts(container.label, known), Whereabouts(place.missing[-1], parent)
        return await self._relabel(container, before, after)

    async def find(self, folder: RelPath) -> Container | None:
        """The container of a folder; None: there is none, or it is none's."""
        known = self._tree().by_folder.get(folder)
        if known is not None:
            return known
        found = await self._containers.find(self._place(RelPath(f"{folder}/{_ANY_NAME}")))
        return found if found is not None and found.folder == folder else None

    async def has(self, folder: RelPath) -> bool:
        """Is there a container of this folder now?"""
        container = await self.find(folder)
        if container is None:
            return False
        address, what = (PLURAL[container.level], container.id), f"the folder {folder!r}"
        try:
            await self._api.json("GET", address, what=what)
        except NotFound:
            return False
        return True

    async def _relabel(self, container: Container, before: Whereabouts, to: Whereabouts) -> bool:
        await self._put(container, before, to)
        if len(await self._containers.ids_of(to.parent, to.label)) > 1:
            # Another host has made one of this label at the same time: ours gives way.
            await self._put(container, to, before)
            return False
        self._containers.relocated(container, to.label, to.parent)
        return True

    async def _is_as_listed(self, container: Container) -> bool:
        """Has it still the label and the parent that the listing gave?"""
        address = PLURAL[container.level], container.id
        what = f"{container.level} {container.label!r}"
        try:
            item = item_of(await self._api.json("GET", address, what=what), what)
        except NotFound:
            return False
        now = container_of(item, container.level, what)
        return (now.label, now.parent_id) == (container.label, container.parent_id)

    async def _put(self, container: Container, was: Whereabouts, to: Whereabouts) -> None:
        """Source: the bodies of flywheel-sdk 23; a subject's code is its older label."""
        what = f"{container.level} {container.label!r}"
        address = PLURAL[container.level], container.id
        body: dict[str, object] = {}
        if to.label != was.label:
            body["label"] = to.label
            if container.level is Level.SUBJECT:
                item = item_of(await self._api.json("GET", address, what=what), what)
                if text_or_none(item, "code", what) == was.label:
                    body["code"] = to.label
        if to.parent.id != was.parent.id:
            level, id_ = to.parent.level.value, to.parent.id
            body[level] = {"_id": id_} if level == Level.SUBJECT else id_
        await self._api.json("PUT", address, body=body, what=what)
