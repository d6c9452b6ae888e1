"""The containers of the projects in scope, and which path below the root each one has.

Pure: fed by the listing, asked by everything else. Memory grows with containers, not files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fwsync.layout import Layout, Unmappable, name_of
from fwsync.model import Address, ContainerRef, Level, RelPath

LEVELS = list(Level)

# Names that are spelled as they stand, found without asking: nearly all of them.
_SURELY_PLAIN = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,200}").fullmatch


@dataclass(frozen=True, slots=True)
class Container:
    """A container, by id and by path."""

    level: Level
    id: str
    labels: tuple[str, ...]  #: from the group down, its own last
    folder: RelPath  #: below the root; empty: the root itself
    parent_id: str = ""
    ref: ContainerRef = field(init=False)  #: what an entry carries; one for all of them

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", ContainerRef(self.level, self.id))

    @property
    def label(self) -> str:
        """Its own label."""
        return self.labels[-1]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path belongs: the deepest container that is known, and what is missing."""

    container: Container
    missing: tuple[str, ...]  #: labels of the containers between it and the file
    name: str


@dataclass(slots=True)
class Tree:
    """Containers by id and by folder.

    Two siblings with one label: the older (its id is smaller, for ids begin with the
    time they were made) has the plain name, the younger one the twin name.
    """

    layout: Layout
    by_id: dict[str, Container] = field(default_factory=dict)
    by_folder: dict[RelPath, Container] = field(default_factory=dict)
    #: Files whose name is taken by a folder: path → container and name.
    twin_files: dict[RelPath, tuple[ContainerRef, str]] = field(default_factory=dict)

    def add_project(self, group: str, label: str, id_: str) -> Container:
        """A project in scope."""
        labels = (group, label)
        return self._add(
            Container(Level.PROJECT, id_, labels, self.layout.container_path(labels), group)
        )

    def add_children(self, level: Level, children: Iterable[tuple[str, str, str]]) -> None:
        """All containers of one level: id, label and parent's id of each.

        Those whose parent is not known are left out.
        """
        for id_, label, parent_id in sorted(children):  # the oldest first: it gets the name
            if id_ not in self.by_id:
                self.add_child(level, id_, label, parent_id)

    def add_child(self, level: Level, id_: str, label: str, parent_id: str) -> Container | None:
        """One container, younger than its siblings; None if its parent is not known."""
        parent = self.by_id.get(parent_id)
        if parent is None:
            return None
        folder = self.layout.join(parent.folder, name_of(label))
        if folder in self.by_folder:
            folder = self.layout.join(parent.folder, self.layout.twin_name(label, id_))
        return self._add(Container(level, id_, (*parent.labels, label), folder, parent_id))

    def _add(self, container: Container) -> Container:
        self.by_id[container.id] = container
        self.by_folder[container.folder] = container
        return container

    def forget(self, id_: str) -> None:
        """A container that the server no longer has."""
        gone = self.by_id.pop(id_, None)
        if gone is not None and self.by_folder.get(gone.folder) is gone:
            del self.by_folder[gone.folder]

    def at(self, level: Level) -> Iterator[Container]:
        """The containers of one level."""
        return (container for container in self.by_id.values() if container.level is level)

    def path_of_file(self, container: Container, name: str, file_id: str) -> RelPath:
        """Where a file lies; a folder of the same name keeps the plain one."""
        spelled = name if _SURELY_PLAIN(name) else name_of(name)
        path = self.layout.join(container.folder, spelled)
        if path not in self.by_folder:
            return path
        path = self.layout.join(container.folder, self.layout.twin_name(name, file_id))
        self.twin_files[path] = (container.ref, name)
        return path

    def place(self, path: RelPath) -> Place | Unmappable:
        """What a path means: in folders that are known by what they are, else by layout."""
        twin = self.twin_files.get(path)
        if twin is not None and twin[0].id in self.by_id:
            return Place(self.by_id[twin[0].id], (), twin[1])
        cut = len(path)
        while True:
            cut = max(path.rfind("/", 0, cut), 0)
            known = self.by_folder.get(RelPath(path[:cut]))
            if known is not None:
                rest = path[cut + 1 :] if cut else path
                return self._below(known, rest)
            if cut == 0:
                return Unmappable("it belongs to no project that is kept in step")

    def _below(self, known: Container, rest: str) -> Place | Unmappable:
        # By labels, since the folder may have the name of a twin, which has no address.
        plain = self.layout.join(self.layout.container_path(known.labels), rest)
        address = self.layout.address_of(plain)
        if isinstance(address, Address):
            return Place(known, address.labels[len(known.labels) :], address.name)
        return address
