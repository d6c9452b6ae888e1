"""A Flywheel project as a remote: list, look, read, write.

One :class:`Flywheel` serves all workers of a run. What it knows of containers comes from
its last listing; without one, it asks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
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
    Unavailable,
)
from fwsync.layout import Layout, Unmappable
from fwsync.model import Problem, RelPath, RemoteEntry, Unknown
from fwsync.ports import Features, OpenUpload, Ranged, Sent, ToldSink, Upload
from fwsync.remotes.chosen import Chosen
from fwsync.remotes.curated import Curated
from fwsync.remotes.faults import not_surely_gone
from fwsync.remotes.flywheel_containers import Containers
from fwsync.remotes.flywheel_extras import Beside, begin, tell_unseen
from fwsync.remotes.flywheel_fetch import Fetch, fetching, reading
from fwsync.remotes.flywheel_filenames import FileNames
from fwsync.remotes.flywheel_find import (
    Child,
    Project,
    Who,
    check_login,
    ls,
    project_by_id,
    resolve_project,
)
from fwsync.remotes.flywheel_listing import Listing, look_at_some
from fwsync.remotes.flywheel_looks import Looks
from fwsync.remotes.flywheel_moves import Moving
from fwsync.remotes.flywheel_names import Kind, Names
from fwsync.remotes.flywheel_replaced import Replaced
from fwsync.remotes.flywheel_tree import Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL
from fwsync.remotes.http import Api
from fwsync.remotes.missed import Tally, missed_facts, missed_of
from fwsync.remotes.ranges import ranged
from fwsync.remotes.routes import packfile
from fwsync.remotes.routes.choose import ChosenRoute, Ways
from fwsync.remotes.routes.container import ContainerRoute
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.together import MOST_BYTES
from fwsync.remotes.site import Site
from fwsync.remotes.strays import Strays
from fwsync.selection import EVERYTHING, Missed, Reach

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
MOST_ASIDES: Final = 1000  #: problems that are kept, beside those of files
MOST_SAMPLED: Final = 3  #: projects of which some files are looked at where none is selected


class Flywheel:
    """Implements :class:`fwsync.ports.Movable`.

    Args:
        api: open for as long as this is used.
        projects: in scope.
        layout: whose group and project are those of ``projects``.
        names: what the server calls otherwise.
        site: what it says that it can do.
        ways: which of its ways up are taken.
    """

    def __init__(
        self,
        api: Api,
        projects: Sequence[Project],
        layout: Layout,
        *,
        names: Names | None = None,
        site: Site | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.api = api
        self.projects = tuple(projects)
        self.unseen: tuple[Unknown, ...] = ()  #: folders whose project could not be asked
        self.layout = layout
        self.selection = EVERYTHING  #: what of the projects is listed
        self._missed: tuple[Missed, ...] = ()  # of that, by the last listing
        self.beside: Beside | None = None  #: what is listed beside the files
        self.told: ToldSink | None = None  #: is told where files belong by the site's curation
        #: What went wrong beside the files, and stopped none: a field that was refused. At
        #: most :data:`MOST_ASIDES`; what is wrong with a thousand containers is one thing.
        self.asides: list[Problem] = []
        self.strays = Strays()  #: what was odd about archives
        self._names = names or Names()
        self._route = ChosenRoute(api, site or Site(), ways or Ways())
        self._tree = self._new_tree()
        self._containers = Containers(api, self._tree, self._say)
        self._looks = Looks(api)
        self._file_names = FileNames(self._looks, lambda: self._tree, ContainerRoute(api))
        self._replaced = Replaced(api)
        self._moving = Moving(
            api,
            lambda: self._tree,
            self._containers,
            self._file_names,
            self._names,
            self._place,
        )
        self._read_only: dict[str, Forbidden] = {}  # containers that take no file from us

    def __repr__(self) -> str:
        return f"<Flywheel {', '.join(map(str, self.projects))} at {self.api.url.origin()}>"

    @property
    def features(self) -> Features:
        """What it can do."""
        return Features(
            digests=True,
            versions=True,
            fetch_limit=FETCH_LIMIT,
            put_limit=self._route.most_files,
            put_bytes=MOST_BYTES,
        )

    @property
    def requests(self) -> int:
        """HTTP requests made so far, repeats included."""
        return self.api.requests

    def labels_of(self, id_: str) -> tuple[str, ...] | None:
        """The labels, as we say them, of a container that the last listing had."""
        container = self._tree.by_id.get(id_)
        return None if container is None else container.ours

    def _say(self, problem: Problem) -> None:
        if len(self.asides) < MOST_ASIDES:
            self.asides.append(problem)

    def _new_tree(self) -> Tree:
        tree = Tree(self.layout, self._names)
        for project in self.projects:
            tree.add_project(project.group, project.label, project.id)
        return tree

    # ----------------------------------------------------------------------- reading

    async def entries(self) -> AsyncGenerator[Sequence[RemoteEntry | Unknown], None]:
        """See :meth:`fwsync.ports.RemoteReader.entries`."""
        tree = self._new_tree()
        await begin(self.beside)
        if self.told is not None:
            await self.told.begin()
        tally = Tally(is_complete=not self.unseen)
        if self.unseen:
            await tell_unseen(self.beside, self.unseen)
            yield self.unseen
        for project in self.projects:
            listing = Listing(
                self.api, project, tree, self.selection, self.beside, Curated(self.told), tally
            )
            try:
                async with aclosing(listing.entries()) as found:
                    async for page in found:
                        await tell_unseen(self.beside, page)
                        if self.selection.is_set:
                            tally.took(page)
                        yield page
            except NotFound as error:
                raise NotFound(
                    f"project {project} is gone: {error.message}",
                    status=error.status,
                    hint="nothing is deleted here because of it",
                ) from None
        await self._names.given.keep()  # before anything is done by these names
        self._missed = await self._miss(tree, tally)
        self._tree = tree
        self._containers.use(tree)
        self._read_only.clear()

    async def _miss(self, tree: Tree, tally: Tally) -> tuple[Missed, ...]:
        found = missed_of(self.selection, tally, tree)
        if found is not None:
            return found
        try:
            for project in self.projects[:MOST_SAMPLED]:
                await look_at_some(self.api, project, self.selection, tally)
        except RemoteError:  # it was only for saying more
            return ()
        tally.is_all = tally.is_all and len(self.projects) <= MOST_SAMPLED
        return tuple(missed_facts(self.selection, tally, tree))

    def reach(self) -> Reach:
        """Which of the paths that the last listing lacks it would have had."""
        return Chosen(self.selection, self._tree).reach(self._missed)

    async def look(self, path: RelPath) -> RemoteEntry | None:
        """See :meth:`fwsync.ports.RemoteReader.look`."""
        place = self._place(path)
        container = await self._containers.find(place)
        if container is None:
            return None
        theirs: str | None = place.name
        if not place.is_twin:
            theirs = self._names.theirs(container.id, Kind.FILE, place.name)
        if theirs is None:  # what the server calls so is another file of ours
            return None
        wire = await self._looks.look(container, theirs, path)
        if wire is not None and wire.name != theirs:
            raise Garbled(f"{path}: asked for {theirs!r}, got {wire.name!r}")
        if wire is None:
            return None
        self._replaced.saw(path)
        return wire.entry(path, container.ref)

    async def has_made(
        self, entry: RemoteEntry, upload: OpenUpload, members: Mapping[str, int]
    ) -> bool:
        """See :meth:`fwsync.ports.RemoteReader.has_made`."""
        return await packfile.has_made(self.api, entry, upload, members)

    def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See :meth:`fwsync.ports.RemoteReader.open`.

        Raises:
            IntegrityError: it is not as long as the entry says.
        """
        return reading(self.api, entry, offset)

    def span(
        self, entry: RemoteEntry, offset: int, size: int
    ) -> AbstractAsyncContextManager[Ranged]:
        """See :meth:`fwsync.ports.RemoteReader.span`."""
        return ranged(self.api, entry, offset, size)

    def fetch(self, entries: Sequence[RemoteEntry]) -> AbstractAsyncContextManager[Fetch]:
        """See :meth:`fwsync.ports.RemoteReader.fetch`."""
        return fetching(self.api, entries, strays=self.strays)

    # ----------------------------------------------------------------------- writing

    async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.ports.Remote.put`."""
        parcels: dict[RelPath, Parcel] = {}
        begun: list[Parcel] = []
        try:
            for upload in batch:
                try:
                    parcel = await self._parcel(upload)
                    if isinstance(parcel, Parcel):
                        self._file_names.begin(parcel)
                except FwsyncError as error:
                    yield Sent(upload.path, error=_passing(error))
                    continue
                if isinstance(parcel, RemoteEntry):  # it is there, under an altered name
                    yield Sent(upload.path, entry=parcel)
                    continue
                begun.append(parcel)
                parcels[upload.path] = parcel
            async for sent in self._send(list(parcels.values())):
                parcel = parcels[sent.path]
                container, lost = parcel.container, isinstance(sent.error, Unavailable)
                self._looks.answered(container, parcel.name, whether=not lost)
                if isinstance(sent.error, Forbidden):
                    # Nor will the next file be taken: its bytes need not be sent to hear so.
                    self._read_only[container.id] = sent.error
                elif isinstance(sent.error, NotFound):
                    self._containers.forget(container.id)  # the next try looks for it again
                    _passing(sent.error)
                yield sent
        finally:
            for parcel in begun:
                self._file_names.end(parcel)

    async def _send(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """Send them all; those whose names the server may not keep go one by one, and last."""
        async for sent in self._route.send([one for one in parcels if not one.or_name]):
            yield sent
        for parcel in parcels:
            if parcel.or_name:
                async for sent in self._file_names.send(parcel, self._route):
                    yield sent

    async def _parcel(self, upload: Upload) -> Parcel | RemoteEntry:
        """The file and its container, which is made if it is not there.

        Returns:
            An entry where the file is there already, under a name that the server altered.

        Raises:
            FwsyncError: it cannot be sent.
        """
        place = self._place(upload.path)
        try:
            place.name.encode()
        except UnicodeEncodeError:
            raise FileProblem(f"{upload.path}: its name is not valid text") from None
        self._route.check_size(upload)
        container = await self._containers.ensure(place, upload.fields)
        if container.id in self._read_only:
            raise self._read_only[container.id].with_traceback(None)  # it would grow with each
        unlisted = self._containers.was_listed_elsewhere(container)
        named = await self._file_names.choose(upload, place, container, unlisted=unlisted)
        if isinstance(named, RemoteEntry):
            return named
        tree = self._tree
        return Parcel(
            upload,
            container,
            named.name,
            project=tree.project_of(container),
            unique=tree.is_alone(container),
            kept=await self._replaced.kept(upload, container, named.name),
            or_name=named.or_name,
        )

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        """See :meth:`fwsync.ports.Remote.delete`. Gone already is as good as deleted.

        A 404 is asked about: taken for a deletion, what is there all the same would come down
        again as a new file.
        """
        address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
        try:
            await self.api.json(
                "DELETE", address, params={"delete_reason": reason or None}, what=entry.path
            )
        except NotFound:
            if await self.look(entry.path) is not None:
                raise
            await self.check_gone(entry)
        except Refused as error:
            if error.status == 400 and not reason:
                error.hint = (
                    "a site with an audit trail wants a reason: give one with the setting "
                    "delete_reason (FWSYNC_DELETE_REASON)"
                )
            raise

    async def check_gone(self, entry: RemoteEntry) -> None:
        """See :meth:`fwsync.ports.Remote.check_gone`."""
        address = (PLURAL[entry.container.level], entry.container.id)
        try:
            await self.api.json("GET", address, what=entry.path)
        except NotFound as error:
            raise not_surely_gone(entry.path, entry.container.level) from error

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        """See :meth:`fwsync.ports.Movable.move`."""
        return await self._moving.move(entry, path)

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        """See :meth:`fwsync.ports.Movable.move_folder`."""
        return await self._moving.move_folder(old, new)

    async def has_folder(self, path: RelPath) -> bool:
        """See :meth:`fwsync.ports.Movable.has_folder`."""
        return await self._moving.has(path)

    def _place(self, path: RelPath) -> Place:
        place = self._tree.place(path)
        if isinstance(place, Unmappable):
            raise FileProblem(f"{path}: {place.reason}", hint=place.hint)
        return place


def _passing(error: FwsyncError) -> FwsyncError:
    """What is gone from the server is made again by the next run, which a watch makes soon."""
    if isinstance(error, NotFound):
        error.retryable = True
        error.hint = error.hint or "its folder is gone from the server; the next run makes it again"
    return error
