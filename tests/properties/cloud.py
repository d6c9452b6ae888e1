"""A project in memory, for runs by the thousand: containers, files and their versions, with ids.

It keeps to what ``tests/contract`` asks of Flywheel's remote (``test_cloud.py`` asks it here).
The people of the project reach it by the methods of :class:`Cloud`, runs by a
:class:`CloudRemote`, one for each, which stops at a point before and after all that it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fwsync.digest import ContentHasher, Digest
from fwsync.errors import (
    FileProblem,
    Forbidden,
    FwsyncError,
    IntegrityError,
    NotFound,
    Refused,
    SourceChanged,
)
from fwsync.layout import Layout, name_of
from fwsync.model import Address, ContainerRef, Level, RelPath, RemoteEntry, Unknown
from fwsync.ports import Features, Member, OpenUpload, Ranged, Sent, Upload

#: Noon on some day of 2020, the server's clock.
_MODIFIED_NS = 1_577_880_000_000_000_000

LEVELS = (Level.PROJECT, Level.SUBJECT, Level.SESSION, Level.ACQUISITION)


def digest_of(content: bytes) -> Digest:
    hasher = ContentHasher()
    hasher.update(content)
    return hasher.digest


@dataclass(slots=True, eq=False)
class File:
    """A file, with all versions that it had."""

    id: str
    name: str
    shown: str  #: its name here
    versions: list[bytes]
    modified_ns: int = _MODIFIED_NS

    @property
    def content(self) -> bytes:
        return self.versions[-1]


@dataclass(slots=True, eq=False)
class Box:
    """A container."""

    id: str
    level: Level
    label: str
    shown: str
    above: Box | None
    boxes: list[Box] = field(default_factory=list)
    files: list[File] = field(default_factory=list)

    @property
    def folder(self) -> RelPath:
        if self.above is None:
            return RelPath("")
        return Layout.join(self.above.folder, self.shown)

    def everything(self) -> Iterator[tuple[Box, File]]:
        """All files in it, and at any depth below."""
        for file in self.files:
            yield self, file
        for box in self.boxes:
            yield from box.everything()

    def all_boxes(self) -> Iterator[Box]:
        for box in self.boxes:
            yield box
            yield from box.all_boxes()


class Cloud:
    """The project ``lab/aging``.

    Args:
        versions: what is replaced stays as an older version.
        digests: listings say the hash of each file.
    """

    def __init__(self, *, versions: bool = True, digests: bool = True) -> None:
        self.layout = Layout.parse(group="lab", project="aging")
        # A server that tells neither hashes nor versions does not tell that a file is replaced.
        self.has_versions, self.has_digests = versions, digests or not versions
        self._ids = 0
        self.root = Box(self._id(), Level.PROJECT, "aging", "", None)
        self.made = 0  #: containers
        #: Older versions of what a run has deleted: whoever deleted the file here has them go, too.
        self.older: set[bytes] = set()
        self.doubled: list[tuple[str, str]] = []  #: labels that a run gave beside the same

    def _id(self) -> str:
        self._ids += 1
        return f"{self._ids:024x}"

    # -- what is there

    def files(self) -> dict[RelPath, tuple[Box, File]]:
        found = {Layout.join(box.folder, f.shown): (box, f) for box, f in self.root.everything()}
        return dict(sorted(found.items()))

    def tree(self) -> dict[str, bytes]:
        return {path: file.content for path, (_, file) in self.files().items()}

    def kept(self) -> list[bytes]:
        """All contents that the server could still give out."""
        found = [file for _, file in self.root.everything()]
        return [one for file in found for one in file.versions]

    def twins(self) -> list[tuple[str, str]]:
        """Containers of one label in one place."""
        seen = [("" if b.above is None else b.above.id, b.label) for b in self.root.all_boxes()]
        return sorted({one for one in seen if seen.count(one) > 1})

    def entry(self, box: Box, file: File) -> RemoteEntry:
        known = digest_of(file.content) if self.has_digests else None
        return RemoteEntry(
            Layout.join(box.folder, file.shown),
            len(file.content),
            known or f"v{len(file.versions)}:{file.id}:{len(file.content)}",
            known,
            ContainerRef(box.level, box.id),
            file.name,
            file.id,
            len(file.versions),
            file.modified_ns,
        )

    # -- what people do

    def box_at(self, folder: str) -> Box | None:
        box: Box | None = self.root
        for one in _steps(self.root, folder):
            box = one
        return box if box is not None and box.folder == folder else None

    def put(self, path: str, content: bytes) -> tuple[Box, File]:
        """A file gets new content, or comes to be, with the containers that it lies in.

        Raises:
            FileProblem: no file can be there.
        """
        known = self.files().get(RelPath(path))
        if known is not None:
            box, file = known
            file.versions = [*(file.versions if self.has_versions else ()), content]
            if not self.has_versions:
                file.modified_ns += 1
            return box, file
        box, labels, name = self._place(path)
        for label in labels:
            box = self.make(box, label)
        self.put_in(box, name, content)
        return box, next(one for one in box.files if one.name == name)

    def check_twin(self, path: str) -> None:
        """A file may have the name there that a path has here, and another path here.

        Raises:
            FileProblem: so it is, and it is not to be replaced.
        """
        if RelPath(path) in self.files():
            return
        box, labels, name = self._place(path)
        if not labels and any(one.name == name for one in box.files):
            raise FileProblem(f"{path}: the server has another file of this name")

    def put_in(self, box: Box, name: str, content: bytes) -> bytes | None:
        """The same by the name that a file has there.

        Returns:
            What was replaced, and is nowhere any more.
        """
        twin = next((one for one in box.files if one.name == name), None)
        if twin is None:
            file = File(self._id(), name, "", [content])
            file.shown = self._shown(box, name, file.id)
            box.files.append(file)
            return None
        gone = None if self.has_versions else twin.content
        twin.versions = [*(twin.versions if self.has_versions else ()), content]
        twin.modified_ns += not self.has_versions
        return gone

    def make(self, above: Box, label: str) -> Box:
        """A container, made if it is missing."""
        for one in above.boxes:
            if one.label == label:
                return one
        level = LEVELS[LEVELS.index(above.level) + 1]
        box = Box(self._id(), level, label, "", above)
        box.shown = self._shown(above, label, box.id)
        above.boxes.append(box)
        self.made += 1
        return box

    def relabel(self, box: Box, label: str) -> None:
        self.move(box, box.above, label)

    def move(self, box: Box, above: Box | None, label: str | None = None) -> None:
        """A container gets another place, or another label."""
        assert box.above is not None
        assert above is not None
        box.above.boxes.remove(box)
        box.label = label or box.label
        box.shown = self._shown(above, box.label, box.id)
        box.above = above
        above.boxes.append(box)

    def rename_file(self, path: str, name: str) -> None:
        self.move_file(path, self.files()[RelPath(path)][0], name)

    def move_file(self, path: str, to: Box, name: str) -> None:
        box, file = self.files()[RelPath(path)]
        box.files.remove(file)
        file.name, file.shown = name, self._shown(to, name, file.id)
        to.files.append(file)

    def delete(self, path: str) -> File:
        box, file = self.files()[RelPath(path)]
        box.files.remove(file)
        return file

    def delete_box(self, box: Box) -> None:
        assert box.above is not None
        box.above.boxes.remove(box)

    def _shown(self, box: Box, label: str, id_: str) -> str:
        taken = {one.shown for one in box.boxes} | {one.shown for one in box.files}
        plain = name_of(label)
        return plain if plain not in taken else Layout.twin_name(label, id_)

    def _place(self, path: str) -> tuple[Box, Sequence[str], str]:
        """The container that is there already, the labels that are missing below it, the name."""
        folder = path.rpartition("/")[0]
        box = self.root
        for one in _steps(self.root, folder):
            box = one
        rest = path[len(box.folder) :].lstrip("/")
        ours = [box.label]
        above = box.above
        while above is not None:
            ours.insert(0, above.label)
            above = above.above
        plain = Layout.join(self.layout.container_path(("lab", *ours)), rest)
        address = self.layout.address_of(plain)
        if not isinstance(address, Address):
            raise FileProblem(f"{path}: {address.reason}")
        return box, address.labels[1 + len(ours) :], address.name


def _steps(root: Box, folder: str) -> Iterator[Box]:
    """The containers on the way to a folder, as far as they are there."""
    box = root
    while True:
        inside = f"{box.folder}/" if box.folder else ""
        found = next(
            (
                one
                for one in box.boxes
                if folder == f"{inside}{one.shown}" or folder.startswith(f"{inside}{one.shown}/")
            ),
            None,
        )
        if found is None:
            return
        yield found
        box = found


#: A point of a run: what is about to be done, or was, and to which path.
Point = Callable[[str, str], Awaitable[None]]


async def _go_on(what: str, path: str) -> None:
    """A point at which nothing happens."""


class CloudRemote:
    """The project as one run sees it. Implements :class:`fwsync.ports.Movable`."""

    def __init__(self, cloud: Cloud, point: Point = _go_on, *, fetch_limit: int = 100) -> None:
        self._cloud = cloud
        self._point = point
        self._fetch_limit = fetch_limit
        self.requests = 0
        self.deleted: list[RemoteEntry] = []
        self.hidden: str | None = None  #: a folder, or a file, that a listing cannot see
        self.read_only = False  #: this user may not change the project

    def __repr__(self) -> str:
        return "lab/aging"

    @property
    def features(self) -> Features:
        return Features(
            digests=self._cloud.has_digests,
            versions=self._cloud.has_versions,
            fetch_limit=self._fetch_limit,
        )

    async def _at(self, what: str, path: str = "") -> None:
        self.requests += 1
        await self._point(what, path)

    def _may_write(self, path: str) -> None:
        if self.read_only:
            raise Forbidden(f"{path}: no write access")

    async def entries(self) -> AsyncIterator[Sequence[RemoteEntry | Unknown]]:
        await self._at("list")
        page = [self._cloud.entry(*one) for one in self._cloud.files().values()]
        await self._at("listed")
        if self.hidden is None:
            yield page
            return
        hidden = Unknown(RelPath(self.hidden), "could not be listed")
        inside = f"{self.hidden}/" if self.hidden else ""
        seen = [one for one in page if one.path != self.hidden and inside]
        yield [hidden, *(one for one in seen if not one.path.startswith(inside))]

    async def look(self, path: RelPath) -> RemoteEntry | None:
        await self._at("look", path)
        known = self._cloud.files().get(path)
        found = None if known is None else self._cloud.entry(*known)
        await self._at("looked", path)
        return found

    async def has_made(
        self, entry: RemoteEntry, upload: OpenUpload, members: Mapping[str, int]
    ) -> bool:
        return False

    def _content(self, entry: RemoteEntry) -> bytes:
        """The bytes of the very version that was listed."""
        for _, file in self._cloud.root.everything():
            if file.id == entry.file_id:
                if self._cloud.has_versions:
                    return file.versions[entry.version - 1]
                if self._cloud.entry(*self._where(file)).etag == entry.etag:
                    return file.content
                raise IntegrityError(f"{entry.path}: is another version now")
        raise FileProblem(f"{entry.path}: is not on the server any more")

    def _where(self, file: File) -> tuple[Box, File]:
        return next(one for one in self._cloud.root.everything() if one[1] is file)

    @asynccontextmanager
    async def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._at("open", entry.path)
        yield self._pour(entry.path, self._content(entry)[offset:])

    @asynccontextmanager
    async def span(self, entry: RemoteEntry, offset: int, size: int) -> AsyncIterator[Ranged]:
        await self._at("span", entry.path)
        content = self._content(entry)[offset : offset + size]
        yield Ranged(False, "", self._pour(entry.path, content))

    async def _pour(self, path: str, content: bytes) -> AsyncIterator[bytes]:
        half = len(content) // 2
        yield content[:half]
        await self._at("pour", path)
        yield content[half:]

    @asynccontextmanager
    async def fetch(self, entries: Sequence[RemoteEntry]) -> AsyncIterator[AsyncIterator[Member]]:
        await self._at("fetch")
        yield self._members(entries)

    async def _members(self, entries: Sequence[RemoteEntry]) -> AsyncIterator[Member]:
        for entry in entries:
            await self._at("member", entry.path)
            try:
                content = self._content(entry)
            except FwsyncError:
                continue
            yield Member(entry, len(content), self._pour(entry.path, content))

    async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        for upload in batch:
            try:
                await self._at("put", upload.path)
                body = b"".join([chunk async for chunk in upload.read()])
                if len(body) != upload.size:
                    raise SourceChanged(f"{upload.path}: has another size now")
                await self._at("store", upload.path)
                self._may_write(upload.path)
                self._cloud.check_twin(upload.path)
                entry = self._cloud.entry(*self._cloud.put(upload.path, body))
                await self._at("stored", upload.path)
            except FwsyncError as error:
                yield Sent(upload.path, error=error)
                continue
            yield Sent(upload.path, entry=entry)

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        await self._at("delete", entry.path)
        self._may_write(entry.path)
        for box, file in self._cloud.root.everything():
            if file.id == entry.file_id:
                box.files.remove(file)
                self.deleted.append(entry)
                # What came after the last look, too: no server takes a condition.
                is_late = self._cloud.entry(box, file).etag != entry.etag
                self._cloud.older |= {*file.versions[: None if is_late else -1]}
                break
        await self._at("deleted", entry.path)

    async def check_gone(self, entry: RemoteEntry) -> None:
        root = self._cloud.root
        if entry.container.id not in {box.id for box in (root, *root.all_boxes())}:
            raise NotFound(f"{entry.path}: neither it nor its container is there", status=404)

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        await self._at("move", path)
        self._may_write(path)
        known = next((f for _, f in self._cloud.root.everything() if f.id == entry.file_id), None)
        if known is None:
            raise NotFound(f"{entry.path}: is not there")
        box, labels, name = self._cloud._place(path)
        for label in labels:
            box = self._cloud.make(box, label)
        if any(one.name == name for one in box.files):
            raise Refused(f"{path}: is there already")
        self._where(known)[0].files.remove(known)
        known.name, known.shown = name, self._cloud._shown(box, name, known.id)
        box.files.append(known)
        found = self._cloud.entry(box, known)
        await self._at("moved", path)
        return found

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        await self._at("move folder", old)
        self._may_write(old)
        box = self._cloud.box_at(old)
        if box is None or box.above is None or self._cloud.box_at(new) is not None:
            return False
        try:
            above, labels, _ = self._cloud._place(Layout.join(new, "file"))
        except FileProblem:
            return False
        if above.level is not box.level and len(labels) == 0:
            return False
        for label in labels[:-1]:
            above = self._cloud.make(above, label)
        is_inside = above is box or above in box.all_boxes()
        if is_inside or not labels or LEVELS.index(above.level) + 1 != LEVELS.index(box.level):
            return False
        self._cloud.move(box, above, labels[-1])
        if sum(one.label == box.label for one in above.boxes) > 1:
            self._cloud.doubled.append((above.id, box.label))
        await self._at("moved folder", new)
        return True

    async def has_folder(self, path: RelPath) -> bool:
        await self._at("has folder", path)
        return self._cloud.box_at(path) is not None
