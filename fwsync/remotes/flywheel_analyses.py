"""Analyses: what hangs on a container beside its files, with inputs and outputs.

Its rule: the files of an analysis lie where no label leads, in a folder of its own: what comes
down there is never taken for a file of the container.

An input is a file that lies somewhere else, at the version that it had. Source: SDK 23
(``/{container}/{id}/all/analyses``, and the files of an analysis by its id).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from fwsync.digest import tag_of
from fwsync.errors import Garbled
from fwsync.extra import Extra, Kind
from fwsync.layout import ANALYSES, MAX_COMPONENT, Layout, name_of
from fwsync.metadata import sidecars
from fwsync.model import ContainerRef, Holder, Level, RelPath, RemoteEntry
from fwsync.ports import GivenName
from fwsync.remotes.chosen import Chosen, facts_of
from fwsync.remotes.flywheel_find import PAGE
from fwsync.remotes.flywheel_tree import Container, Tree
from fwsync.remotes.flywheel_wire import (
    PLURAL,
    Json,
    cursor_of,
    file_of,
    item_of,
    label_of,
    mapping_of,
    modified_of,
    page_of,
    text_of,
)
from fwsync.remotes.http import Api

#: With their files, which lists leave out where ``exclude-files`` is said.
_FEATURES: Final = "Safe-Redirect,pagination,subject-container"

#: The folders in that of an analysis, as in the platform's own full export (core19).
INPUT: Final = "INPUT"
OUTPUT: Final = "OUTPUT"


class Analyses:
    """The analyses of a container and of all below it.

    Args:
        api: the site.
        tree: the containers of the listing.
        chosen: what takes part.
        metadata: each analysis gets a sidecar.
    """

    def __init__(self, api: Api, tree: Tree, chosen: Chosen, *, metadata: bool) -> None:
        self._api = api
        self._tree = tree
        self._chosen = chosen
        self._metadata = metadata
        self._asks = {"include_all_info": True} if metadata else {}
        self._folders: set[RelPath] = set()

    async def of(self, above: Container) -> AsyncGenerator[list[Extra], None]:
        """What is wanted of them, in pages.

        Raises:
            RemoteError: a page could not be had.
            Garbled: one cannot be believed.
        """
        what = f"the analyses of {above.level} {above.label!r}"
        everywhere = () if above.level is Level.ACQUISITION else ("all",)
        path = (PLURAL[above.level], above.id, *everywhere, "analyses")
        present: dict[str, set[str]] = {}
        async with aclosing(self._pages(path, what)) as pages:
            async for page in pages:
                for item in page:
                    if found := await self._one(item, what, present):
                        yield found
        self._release(above, present)

    async def _pages(self, path: Sequence[str], what: str) -> AsyncGenerator[Sequence[Json], None]:
        after: str | None = None
        announced: int | None = None
        seen = 0
        while True:
            params = {"limit": PAGE, "after_id": after, **self._asks}
            answer = await self._api.json("GET", path, params=params, features=_FEATURES, what=what)
            page = page_of(answer, what)
            announced = page.total if after is None else announced
            if not page.items:
                break
            yield page.items
            seen += len(page.items)
            if announced is not None and seen >= announced:
                return
            last = cursor_of(page.items[-1], what)
            if last == after:
                raise Garbled(f"{what}: the list does not advance behind {last}")
            after = last
        if announced is not None and seen < announced:
            raise Garbled(f"{what}: {announced} announced, {seen} listed")

    def _release(self, above: Container, present: Mapping[str, set[str]]) -> None:
        """All are known that hang on these containers: the names of others are free again."""
        inside = f"{above.folder}/" if above.folder else ""
        for one in self._tree.by_id.values():
            if one is above or one.folder.startswith(inside):
                key = f"{one.id}/{ANALYSES}"
                self._tree.names.given.release([key], present.get(key, ()))

    async def _one(self, item: Json, what: str, present: dict[str, set[str]]) -> list[Extra]:
        """What is wanted of one analysis."""
        id_ = text_of(item, "_id", what)
        parent = mapping_of(item, "parent", what).get("id")
        container = self._tree.by_id.get(parent) if isinstance(parent, str) else None
        if container is None or item.get("deleted"):
            return []
        key = f"{container.id}/{ANALYSES}"
        present.setdefault(key, set()).add(id_)
        if not self._chosen.takes_container(container):
            return []
        if self._is_slim(item):
            told = await self._api.json("GET", ("analyses", id_), features=_FEATURES, what=what)
            item = item_of(told, what)
        folder = self._folder(container, key, id_, label_of(item, what))
        found = self._inputs(item, id_, folder, what)
        found += self._outputs(item, id_, folder, what)
        if self._metadata and found:
            found.append(self._sidecar(item, id_, folder))
        return found

    def _is_slim(self, item: Json) -> bool:
        """Does the list say less than is asked for? Then it is asked for by itself."""
        if "files" not in item or "inputs" not in item:
            return True
        if not self._metadata:
            return False
        of = [item]
        for key in ("files", "inputs"):
            told = item[key]
            of += (
                [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
            )
        return any(one.get("info_exists") and not one.get("info") for one in of)

    def _folder(self, container: Container, key: str, id_: str, label: str) -> RelPath:
        """Its folder, which it keeps whatever becomes of others with its label."""
        given = self._tree.names.given
        inside = Layout.join(container.folder, ANALYSES)
        known = given.of_container(id_, key, label)
        if known is None:
            plain = name_of(label)
            path = Layout.join(inside, plain)
            is_free = path not in self._folders and not given.is_taken(key, plain, path, but_by=id_)
            known = plain if is_free else Layout.twin_name(label, id_)
            given.give(GivenName(id_, False, label, key, known))
        folder = Layout.join(inside, known)
        self._folders.add(folder)
        return folder

    def _outputs(self, item: Json, id_: str, folder: RelPath, what: str) -> list[Extra]:
        inside = Layout.join(folder, OUTPUT)
        found: list[Extra] = []
        for told in _files(item, "files", what):
            wire = file_of(told, what)
            if wire.deleted or not self._takes(told, what):
                continue
            path = Layout.join(inside, name_of(wire.name))
            entry = wire.entry(path, ContainerRef(Holder.ANALYSIS, id_))
            found += self._with_sidecar(told, entry, folder, f"{id_}:{wire.file_id}")
        return found

    def _inputs(self, item: Json, id_: str, folder: RelPath, what: str) -> list[Extra]:
        inside = Layout.join(folder, INPUT)
        found: list[Extra] = []
        namesakes: Counter[str] = Counter()
        for told in _files(item, "inputs", what):
            wire = file_of(told, what)
            if wire.deleted or not self._takes(told, what):
                continue  # of what is deleted there are no bytes to be had
            held_by = wire.level or _analysis_of(told, what)
            if held_by is None:
                continue  # of a collection: none of ours
            name = name_of(wire.name)
            if namesakes[wire.name]:
                name = Layout.twin_name(wire.name, f"{wire.file_id}-{wire.version}")
            namesakes[wire.name] += 1
            entry = wire.entry(Layout.join(inside, name), ContainerRef(held_by, wire.parent_id))
            key = f"{id_}:{INPUT}:{wire.file_id}:{wire.version}"
            found += self._with_sidecar(told, entry, folder, key)
        return found

    def _with_sidecar(
        self, told: Json, entry: RemoteEntry, folder: RelPath, key: str
    ) -> list[Extra]:
        """A file of an analysis, and what is said of it."""
        found = [Extra(Kind.ANALYSIS, entry, folder, key)]
        if self._metadata:
            found.append(sidecar(sidecars.exported(told), entry, about=folder, key=key))
        return found

    def _takes(self, told: Json, what: str) -> bool:
        selection = self._chosen.selection
        if not selection.is_set:
            return True
        place = selection.place
        if (place is not None and place.name) or not selection.takes(facts_of(told, what)):
            return False
        return selection.where is None or selection.where.accepts(told)

    @staticmethod
    def _sidecar(item: Json, id_: str, folder: RelPath) -> Extra:
        """The sidecar of an analysis, in its folder."""
        label = folder.rpartition("/")[2]
        of = RemoteEntry(
            Layout.join(folder, label),
            0,
            "",
            None,
            ContainerRef(Holder.ANALYSIS, id_),
            label,
            id_,
            modified_ns=modified_of(item.get("modified")),
        )
        return sidecar(sidecars.exported(item), of, about=folder, key=id_)


def sidecar(
    content: bytes, of: RemoteEntry, *, about: RelPath, key: str, of_file: bool = False
) -> Extra:
    """The sidecar of something, beside it.

    Args:
        content: of the sidecar.
        of: what it speaks of; of a container, at the path that a file of its name would have.
        about: see :class:`fwsync.extra.Extra`; ``of_file`` likewise.
        key: of what it speaks of.
    """
    entry = RemoteEntry(
        beside(of.path),
        len(content),
        tag_of(content),
        None,
        of.container,
        f"{of.name}{sidecars.SUFFIX}",
        of.file_id,
        of.version,
        of.modified_ns,
    )
    return Extra(Kind.SIDECAR, entry, about, f"sidecar:{key}", of_file, content)


def beside(path: RelPath) -> RelPath:
    """Where the sidecar of something lies; a name that is too long goes on as labels do."""
    plain = sidecars.of_file(path)
    folder, _, name = plain.rpartition("/")
    if len(name.encode("utf-8", "surrogateescape")) <= MAX_COMPONENT:
        return plain
    return Layout.join(RelPath(folder), name_of(name))


def _files(item: Json, key: str, what: str) -> Sequence[Json]:
    told = item.get(key) or []
    if not isinstance(told, list) or not all(isinstance(one, Mapping) for one in told):
        raise Garbled(f"{what}: expected a list of files as {key!r}")
    return told


def _analysis_of(told: Json, what: str) -> Holder | None:
    """What holds a file that is the output of another analysis."""
    kind = mapping_of(told, "parent_ref", what).get("type")
    return Holder.ANALYSIS if kind == Holder.ANALYSIS else None
