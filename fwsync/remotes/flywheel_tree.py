"""The containers of the projects in scope, and which path below the root each one has.

Pure: fed by the listing, asked by everything else. Memory grows with containers, not files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from fwsync.layout import Layout, Unmappable, name_of
from fwsync.model import Address, ContainerRef, Level, RelPath
from fwsync.ports import GivenName
from fwsync.remotes.flywheel_names import Kind, Names

LEVELS = list(Level)

# Names that are spelled as they stand, found without asking: nearly all of them.
_SURELY_PLAIN = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,200}").fullmatch


@dataclass(frozen=True, slots=True)
class Container:
    """A container, by id and by path."""

    level: Level
    id: str
    labels: tuple[str, ...]  #: the server's, from the group down, its own last
    folder: RelPath  #: below the root; empty: the root itself
    parent_id: str = ""
    #: What we call them where that is something else (:mod:`fwsync.remotes.flywheel_names`).
    named: tuple[str, ...] = ()
    ref: ContainerRef = field(init=False)  #: what an entry carries; one for all of them

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", ContainerRef(self.level, self.id))

    @property
    def label(self) -> str:
        """Its own label, as the server has it."""
        return self.labels[-1]

    @property
    def ours(self) -> tuple[str, ...]:
        """The labels as they are spelled here."""
        return self.named or self.labels


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path belongs: the deepest container that is known, and what is missing."""

    container: Container
    missing: tuple[str, ...]  #: labels of the containers between it and the file, as we say them
    name: str  #: as we say it, but for a twin's
    is_twin: bool = False  #: the name is the server's, whatever else we call so


@dataclass(slots=True)
class Tree:
    """Containers by id and by folder.

    Two siblings with one label: the older (its id is smaller, for ids begin with the
    time they were made) gets the plain name, the younger one the twin name; and each keeps
    what it has (:mod:`fwsync.remotes.given`).
    """

    layout: Layout
    names: Names = field(default_factory=Names)
    by_id: dict[str, Container] = field(default_factory=dict)
    by_folder: dict[RelPath, Container] = field(default_factory=dict)
    #: Files whose name is taken by a folder: path → container and name.
    twin_files: dict[RelPath, tuple[ContainerRef, str]] = field(default_factory=dict)
    #: The same by what they are called there: container's id and name → path.
    twins_named: dict[tuple[str, str], RelPath] = field(default_factory=dict)
    #: Who has which path, where names that differ only in case are one; else empty. Only there
    #: memory grows with files.
    _folded: dict[str, str] = field(default_factory=dict)
    #: How many children of one label a container has: parent's id and label → number.
    _namesakes: Counter[tuple[str, str]] = field(default_factory=Counter)

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
        children = sorted(children)  # the oldest first: it gets the name
        self.let_go(children)
        for id_, label, parent_id in children:
            if id_ not in self.by_id:
                self.add_child(level, id_, label, parent_id)

    def let_go(self, children: Iterable[tuple[str, str, str]]) -> None:
        """What has another label now gives its name up, before anybody gets a name (S77)."""
        for id_, label, parent_id in children:
            ours = self.names.ours(parent_id, Kind.CONTAINER, label)
            self.names.given.let_go(id_, parent_id, label if ours is None else ours)

    def whole(self, level: Level, ids: Collection[str], below: Container) -> None:
        """These are all containers of one level: a name that another one had is free again.

        Args:
            level: theirs.
            ids: of all of them.
            below: what they are all of: what holds them, or the project.
        """
        above = LEVELS[LEVELS.index(level) - 1]
        parents = [below.id]
        if below.level is not above:
            parents = [one.id for one in self.at(above) if one.labels[:2] == below.labels]
        self.names.given.release(parents, ids)

    async def look_for_files(self, children: Iterable[tuple[str, str, str]]) -> None:
        """Learn of the files whose name a new container would take; before it is added."""
        given = self.names.given
        paths = [
            self.layout.join(parent.folder, name_of(named))
            for id_, label, parent_id in children
            if (parent := self.by_id.get(parent_id)) is not None
            and (named := self.names.ours(parent_id, Kind.CONTAINER, label)) is not None
            and given.of_container(id_, parent_id, named) is None
        ]
        await given.look_for_files(paths)

    def add_child(self, level: Level, id_: str, label: str, parent_id: str) -> Container | None:
        """One container, younger than its siblings; None if its parent is not known."""
        parent = self.by_id.get(parent_id)
        if parent is None:
            return None
        self.names.seen(label)
        ours = self.names.ours(parent_id, Kind.CONTAINER, label)
        named = label if ours is None else ours
        name = self._name(parent, id_, named, is_ours=ours is not None)
        folder = self.layout.join(parent.folder, name)
        labels = (*parent.labels, label)
        called = (*parent.ours, named)
        spelled = called if called != labels else ()
        return self._add(Container(level, id_, labels, folder, parent_id, spelled))

    def _name(self, parent: Container, id_: str, named: str, *, is_ours: bool) -> str:
        """The name that a container has, or gets now.

        Args:
            is_ours: the label means it, and not something else that we call so.
        """
        given, plain = self.names.given, name_of(named)
        known = given.of_container(id_, parent.id, named)
        if known is not None and (is_ours or known != plain):
            path = self.layout.join(parent.folder, known)
            if self._is_free(path, id_):
                return known
        path = self.layout.join(parent.folder, plain)
        is_plain = (
            is_ours
            and self._is_free(path, id_)
            and not given.is_taken(parent.id, plain, path, but_by=id_)
        )
        name = plain if is_plain else self.layout.twin_name(named, id_)
        given.give(GivenName(id_, False, named, parent.id, name))
        return name

    def _is_free(self, path: RelPath, who: str) -> bool:
        """Has no folder this path, nor, where case does not count, anybody else one like it?"""
        if not self.names.given.folds:
            return path not in self.by_folder
        return self._folded.get(path.casefold(), who) == who

    def _add(self, container: Container) -> Container:
        if self.names.given.folds:
            self._folded[container.folder.casefold()] = container.id
        self.by_id[container.id] = container
        self.by_folder[container.folder] = container
        self._namesakes[container.parent_id, container.label] += 1
        return container

    def forget(self, id_: str, *, is_gone: bool = True) -> None:
        """A container that the server no longer has: its name is free again.

        A project stays: one answer for one file must not leave all others without a place, and
        whether it is gone is for the next listing to say.

        Args:
            id_: its own.
            is_gone: False: it is there, and only what is known of it is of no use.
        """
        if (known := self.by_id.get(id_)) is not None and known.level is Level.PROJECT:
            return
        gone = self.by_id.pop(id_, None)
        if is_gone:
            self.names.given.drop(id_)
        if gone is not None:
            self._namesakes[gone.parent_id, gone.label] -= 1
        if gone is not None and self.by_folder.get(gone.folder) is gone:
            del self.by_folder[gone.folder]
            self._folded.pop(gone.folder.casefold(), None)

    def name_anew(self, container: Container) -> Container:
        """Put a container where it belongs now that it has another name here.

        What was known below it is forgotten: whoever needs it asks the server.
        """
        inside = f"{container.folder}/"
        for one in list(self.by_id.values()):
            if one.id == container.id or one.folder.startswith(inside):
                self.forget(one.id, is_gone=False)
        added = self.add_child(container.level, container.id, container.label, container.parent_id)
        return container if added is None else added

    def relocate(self, container: Container, label: str, parent_id: str) -> None:
        """It has another label, or another parent, with all that is known below it.

        Where its name was another one's that nobody has seen since, both may have moved. Then the
        next listing gives them their names, when it has seen both.
        """
        inside = f"{container.folder}/"
        below = [one for one in self.by_id.values() if one.folder.startswith(inside)]
        below.sort(key=lambda one: len(one.labels))
        for one in [container, *below]:
            self.forget(one.id, is_gone=False)
        ours = self.names.ours(parent_id, Kind.CONTAINER, label)
        holder = self.names.given.holder(parent_id, name_of(label if ours is None else ours))
        if holder not in (None, container.id) and holder not in self.by_id:
            return
        self.add_child(container.level, container.id, label, parent_id)
        for one in below:
            self.add_child(one.level, one.id, one.label, one.parent_id)

    def is_alone(self, container: Container) -> bool:
        """True if its labels, from the project down, lead to it and to nothing else known."""
        while self._namesakes[container.parent_id, container.label] == 1:
            if container.level is Level.PROJECT:
                return True
            above = self.by_id.get(container.parent_id)
            if above is None:
                break
            container = above
        return False

    def has_twin_name(self, id_: str) -> bool:
        """Is it known under the name of a twin, so that the plain folder is another one's?"""
        known = self.by_id.get(id_)
        if known is None or (above := self.by_id.get(known.parent_id)) is None:
            return False
        name = known.folder[len(above.folder) :].lstrip("/")
        return self.layout.split_twin(name)[1] is not None

    def project_of(self, container: Container) -> str:
        """The id of the project that it is, or lies in; empty: something between is forgotten."""
        above: Container | None = container
        while above is not None and above.level is not Level.PROJECT:
            above = self.by_id.get(above.parent_id)
        return "" if above is None else above.id

    def at(self, level: Level) -> Iterator[Container]:
        """The containers of one level."""
        return (container for container in self.by_id.values() if container.level is level)

    def path_of_file(self, container: Container, name: str, file_id: str) -> RelPath:
        """Where a file lies; a folder of the same name keeps the plain one."""
        is_plain = _SURELY_PLAIN(name)
        if is_plain and self.names.are_all_theirs:  # nearly all, and it is asked for each file
            path = self.layout.join(container.folder, name)
            if path not in self.by_folder:
                return path
        if not is_plain:
            self.names.seen(name)
        ours = self.names.ours(container.id, Kind.FILE, name)
        named = name if ours is None else ours
        spelled = named if is_plain and named is name else name_of(named)
        path = self.layout.join(container.folder, spelled)
        given = self.names.given
        known = given.of_file(file_id, container.id, named)
        if known is None and ours is not None and self._takes_file(path, container, name):
            return path
        if known is None:
            known = self.layout.twin_name(named, file_id)
            given.give(GivenName(file_id, True, named, container.id, known))
        path = self.layout.join(container.folder, known)
        self.twin_files[path] = (container.ref, name)
        self.twins_named[container.id, name] = path
        return path

    def call_plainly(self, path: RelPath, file_id: str) -> None:
        """A file that was told apart by its name has its plain one, which is free, from now on."""
        twin = self.twin_files.pop(path, None)
        if twin is None:
            return
        container, name = twin
        self.twins_named.pop((container.id, name), None)
        ours = self.names.ours(container.id, Kind.FILE, name)
        self.names.given.drop_file(file_id, name if ours is None else ours)

    def _takes_file(self, path: RelPath, container: Container, name: str) -> bool:
        """Is the plain path free for a file? Then it has it."""
        if not self.names.given.folds:
            return path not in self.by_folder
        who = f"{container.id}/{name}"
        is_free = self._is_free(path, who)
        if is_free:
            self._folded[path.casefold()] = who
        return is_free

    def place(self, path: RelPath) -> Place | Unmappable:
        """What a path means: in folders that are known by what they are, else by layout."""
        twin = self.twin_files.get(path)
        if twin is not None and twin[0].id in self.by_id:
            return Place(self.by_id[twin[0].id], (), twin[1], is_twin=True)
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
        plain = self.layout.join(self.layout.container_path(known.ours), rest)
        address = self.layout.address_of(plain)
        if isinstance(address, Address):
            return Place(known, address.labels[len(known.ours) :], address.name)
        return address
