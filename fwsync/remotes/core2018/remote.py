"""A project of core18 as a remote: list, look, read, write.

Its rule: this server overwrites what has a name already, keeps no version of it, and takes
files into containers that are gone. So whoever sends looks first (``Features.versions`` is
False), and nothing counts as sent before its container, asked again, has it.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
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
from fwsync.layout import Layout, Unmappable
from fwsync.model import Level, Problem, RelPath, RemoteEntry, Unknown
from fwsync.ports import Features, Member, OpenUpload, Ranged, RouteName, Sent, Upload
from fwsync.remotes import multipart
from fwsync.remotes.chosen import Chosen
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.containers import Containers
from fwsync.remotes.core2018.listing import Listing
from fwsync.remotes.core2018.ways import Ways2018
from fwsync.remotes.core2018.wire import File, Files
from fwsync.remotes.faults import not_surely_gone
from fwsync.remotes.flywheel_fetch import Ticket, bulk, fetching, reading, ticket_of
from fwsync.remotes.flywheel_listing import end_if_silent
from fwsync.remotes.flywheel_looks import LISTED_FROM
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.flywheel_tree import Container, Place, Tree
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, page_of
from fwsync.remotes.given import Given
from fwsync.remotes.http import Api
from fwsync.remotes.missed import Tally, missed_facts, missed_of
from fwsync.remotes.naming import Project
from fwsync.remotes.ranges import ranged
from fwsync.remotes.rounds import Rounds
from fwsync.remotes.routes import packfile
from fwsync.remotes.routes.choose import Ways
from fwsync.remotes.routes.parcel import Parcel, metadata_of
from fwsync.remotes.routes.together import MOST_BYTES, MOST_FILES
from fwsync.remotes.strays import Strays
from fwsync.selection import EVERYTHING, Missed, Reach

FETCH_LIMIT: Final = 1000  #: files in one ticket
MOST_ASIDES: Final = 1000  #: problems that are kept, beside those of files
PUT_LIMIT: Final = 32  #: files that are confirmed by one question
_MAX_IN_FORM: Final = 100  # characters
_ODD: Final = re.compile("[^0-9A-Za-z._-]")
_REMEMBERED: Final = 20_000  # paths; more than are on their way at any time
_SAID: Final = 2_000  # files of which what is said of them is remembered; more than go at once
#: What is said of a file, and would be lost with its old bytes.
_KEPT: Final = ("type", "modality", "measurements", "tags", "info")


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that an answer acknowledged."""

    parcel: Parcel
    file: File


class _Remembered:
    """Paths of which something is known; the oldest are forgotten."""

    def __init__(self) -> None:
        self._paths: OrderedDict[RelPath, None] = OrderedDict()

    def add(self, path: RelPath) -> None:
        self._paths[path] = None
        if len(self._paths) > _REMEMBERED:
            self._paths.popitem(last=False)

    def take(self, path: RelPath) -> bool:
        """Whether it was there; it is no more."""
        return path in self._paths and self._paths.pop(path) is None


class _Said:
    """What the server says of files that were looked at: sent anew, they would lose it.

    This server sets whatever an upload does not speak of back to nothing (core18).
    """

    def __init__(self) -> None:
        self._by_path: OrderedDict[RelPath, Json] = OrderedDict()

    def saw(self, path: RelPath, record: Json) -> None:
        """The record of a file that is there; an empty one: none is."""
        self._by_path.pop(path, None)
        kept = {key: record[key] for key in _KEPT if record.get(key)}
        if kept:
            self._by_path[path] = kept
            if len(self._by_path) > _SAID:
                self._by_path.popitem(last=False)

    def of(self, path: RelPath) -> Json:
        return self._by_path.get(path, {})


class Core2018:
    """Implements :class:`fwsync.ports.Remote`.

    Args:
        asker: the site; its API is open for as long as this is used.
        projects: in scope.
        layout: whose group and project are those of ``projects``.
        ways: which of its ways up are taken.
        given: the names that containers and files have here.
    """

    def __init__(
        self,
        asker: Asker,
        projects: Sequence[Project],
        layout: Layout,
        ways: Ways | None = None,
        *,
        given: Given | None = None,
    ) -> None:
        self.api: Api = asker.api
        self._names = Names(given=given)  # nothing is altered here
        self.projects = tuple(projects)
        self.unseen: tuple[Unknown, ...] = ()  #: folders whose project could not be asked
        self.asides: list[Problem] = []  #: what went wrong beside the files: a refused field
        self.strays = Strays()  #: what was odd about archives
        self.layout = layout
        self.selection = EVERYTHING  #: what of the projects is listed
        self._missed: tuple[Missed, ...] = ()  # of that, by the last listing
        self._asker = asker
        self._route = Ways2018(asker, ways or Ways(), self)
        self._containers = Containers(asker, self._new_tree(), self._say)
        self._read_only: dict[str, Forbidden] = {}  # containers that take no file from us
        self._looks: Rounds[Container, str, Json | None] = Rounds(self._records)
        self._absent = _Remembered()  # files that were looked for, and not there
        self._said = _Said()
        self._fetched = _Remembered()  # files that came by a ticket once

    def __repr__(self) -> str:
        return f"<Core2018 {', '.join(map(str, self.projects))} at {self.api.url.origin()}>"

    @property
    def features(self) -> Features:
        """What it can do."""
        return Features(
            digests=True,
            versions=False,
            fetch_limit=FETCH_LIMIT,
            put_limit=MOST_FILES if self._route.by_form else PUT_LIMIT,
            put_bytes=MOST_BYTES,
        )

    @property
    def requests(self) -> int:
        """HTTP requests made so far, repeats included."""
        return self.api.requests

    def labels_of(self, id_: str) -> tuple[str, ...] | None:
        """The labels, as we say them, of a container that the last listing had."""
        container = self._containers.tree.by_id.get(id_)
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
        tree, tally = self._new_tree(), Tally(is_complete=not self.unseen)
        if self.unseen:
            yield self.unseen
        for project in self.projects:
            listing = Listing(self._asker, project, tree, self.selection, tally)
            try:
                async with aclosing(listing.entries()) as found:
                    async for page in found:
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
        missed = missed_of(self.selection, tally, tree)
        self._missed = (
            tuple(missed_facts(self.selection, tally, tree)) if missed is None else missed
        )
        self._containers.renew(tree)
        self._read_only.clear()

    def reach(self) -> Reach:
        """Which of the paths that the last listing lacks it would have had."""
        return Chosen(self.selection, self._containers.tree).reach(self._missed)

    async def look(self, path: RelPath) -> RemoteEntry | None:
        """See :meth:`fwsync.ports.RemoteReader.look`."""
        place = self._place(path)
        container = await self._containers.find(place)
        file: File | None = None
        record: Json | None = None
        if container is not None:
            record = await self._record(container, place.name, path)
        if record is not None:
            file = File.of(record, path)
            if file.name != place.name:
                raise Garbled(f"{path}: asked for {place.name!r}, got {file.name!r}")
        self._said.saw(path, record or {})
        if container is None or file is None:
            self._absent.add(path)
            return None
        self._absent.take(path)
        return file.entry(path, container.ref)

    async def _record(self, container: Container, name: str, path: RelPath) -> Json | None:
        """What the server says of a file; None: it is not there, or was deleted."""
        told = await self._looks.ask(container, name)
        if name in told:
            return told[name]
        address = (PLURAL[container.level], container.id, "files", name, "info")
        try:
            record = item_of(await self._asker.json("GET", address, what=path), path)
        except NotFound:
            return None
        return None if record.get("deleted") else record

    async def _records(
        self, container: Container, names: Sequence[str]
    ) -> Mapping[str, Json | None]:
        """The same of many at once, from their container; what is missing is to be asked for."""
        if len(names) < LISTED_FROM:
            return {}
        what = f"looking for {len(names)} files in {container.level} {container.label!r}"
        try:
            item = await self._asker.container(container.level, container.id, what)
            listed = page_of(item.get("files", []), what).items
        except RemoteError as error:
            end_if_silent(error)
            return {}
        there: dict[object, list[Json]] = {}
        for one in listed:
            if not one.get("deleted"):
                there.setdefault(one.get("name"), []).append(one)
        # Of one name several may be there: the server has its own way to choose.
        once = [name for name in names if len(there.get(name, ())) < 2]
        return {name: there[name][0] if name in there else None for name in once}

    async def has_made(
        self, entry: RemoteEntry, upload: OpenUpload, members: Mapping[str, int]
    ) -> bool:
        """See :meth:`fwsync.ports.RemoteReader.has_made`."""
        return await packfile.has_made(self.api, entry, upload, members, self._asker.rights)

    @asynccontextmanager
    async def open(
        self, entry: RemoteEntry, *, offset: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See :meth:`fwsync.ports.RemoteReader.open`.

        Raises:
            IntegrityError: it is not as long as the entry says.
        """
        # As a view: otherwise the name goes into a header, which cannot hold every name.
        params = {**self._asker.rights, "view": True}
        async with reading(self.api, entry, offset, closed=True, params=params) as chunks:
            yield chunks

    def span(
        self, entry: RemoteEntry, offset: int, size: int
    ) -> AbstractAsyncContextManager[Ranged]:
        """See :meth:`fwsync.ports.RemoteReader.span`."""
        return ranged(self.api, entry, offset, size, params=self._asker.rights)

    @asynccontextmanager
    async def fetch(
        self, entries: Sequence[RemoteEntry]
    ) -> AsyncIterator[AsyncGenerator[Member, None]]:
        """See :meth:`fwsync.ports.RemoteReader.fetch`.

        What a ticket does not bring comes by itself, and all does where none is taken. So does
        what it brought once and is asked for again: of a file that was deleted and sent anew,
        a ticket may hold the old content (core18: deleted files are still in it).
        """
        together: list[RemoteEntry] = []
        alone: list[RemoteEntry] = []
        for entry in entries:
            (alone if self._fetched.take(entry.path) else together).append(entry)
        async with aclosing(self._members(together, alone)) as members:
            yield members

    async def _members(
        self, together: list[RemoteEntry], alone: list[RemoteEntry]
    ) -> AsyncGenerator[Member, None]:
        left = {entry.path: entry for entry in together}
        try:
            async with aclosing(self._by_ticket(together)) as members:
                async for member in members:
                    del left[member.entry.path]
                    yield member
        except (Forbidden, NotFound, Refused):
            pass  # tickets are bound to an address, which may be another with each request
        for entry in [*left.values(), *alone]:
            try:
                async with self.open(entry) as chunks:
                    yield Member(entry, entry.size, chunks)
            except NotFound:
                continue  # gone since it was listed

    async def _by_ticket(self, entries: Sequence[RemoteEntry]) -> AsyncGenerator[Member, None]:
        if not entries:
            return
        mint = partial(self._ticket, entries)
        async with fetching(self.api, entries, mint, self.strays) as fetch:
            async for member in fetch:
                self._fetched.add(member.entry.path)
                yield member

    async def _ticket(self, entries: Sequence[RemoteEntry]) -> Ticket | None:
        what = f"a ticket for {len(entries)} files"
        try:
            answer = await self._asker.json(
                "POST",
                ("download",),
                params={"bulk": True},
                body=bulk(entries),
                repeatable=True,
                what=what,
            )
        except NotFound:
            return None
        return ticket_of(answer, what)

    # ----------------------------------------------------------------------- writing

    async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        """See :meth:`fwsync.ports.Remote.put`."""
        parcels: list[Parcel] = []
        for upload in batch:
            try:
                parcels.append(await self._parcel(upload))
            except FwsyncError as error:
                yield Sent(upload.path, error=error, route=RouteName.MULTIPART)
        async for sent in self._route.send(parcels):
            yield sent

    async def _parcel(self, upload: Upload) -> Parcel:
        """A file, its container, and what the look before has seen of what it replaces."""
        place = self._place(upload.path)
        _check_name(upload.path, place.name)
        container = await self._containers.ensure(place, upload.fields)
        tree = self._containers.tree
        return Parcel(
            upload,
            container,
            place.name,
            project=tree.project_of(container),
            unique=tree.is_alone(container),
            kept=self._said.of(upload.path),
            was_absent=self._absent.take(upload.path),
        )

    async def put_one_by_one(self, parcels: Sequence[Parcel]) -> AsyncIterator[Sent]:
        """Send each by a form of its own to its container, the only way that names it."""
        taken: dict[str, list[_Taken]] = {}
        for parcel in parcels:
            try:
                one = await self._post(parcel)
            except FwsyncError as error:
                yield Sent(parcel.upload.path, error=error, route=RouteName.MULTIPART)
            else:
                taken.setdefault(parcel.container.id, []).append(one)
        for together in taken.values():
            for sent in await self._confirmed(together):
                yield sent

    async def _post(self, parcel: Parcel) -> _Taken:
        upload, container = parcel.upload, parcel.container
        if container.id in self._read_only:
            raise self._read_only[container.id]
        boundary = secrets.token_hex(16)
        try:
            answer = await self.api.send(
                parcel.address,
                lambda: multipart.form(
                    [multipart.FilePart(upload, _in_form(parcel.name))],
                    boundary,
                    {**metadata_of(parcel, old=True), "name": parcel.name},
                ),
                params=self._asker.rights,
                what=upload.path,
            )
        except Forbidden as error:
            # Nor will the next file be taken: its bytes need not be sent to hear so.
            self._read_only[container.id] = error
            raise
        except NotFound:
            self._containers.tree.forget(container.id)  # the next try looks for it again
            raise
        items = page_of(answer, upload.path).items
        if len(items) != 1:  # 200 and `[]`: nothing was stored
            raise Garbled(f"{upload.path}: one file was sent, {len(items)} were acknowledged")
        file = File.of(items[0], upload.path)
        if file.name != parcel.name:
            raise Garbled(f"{upload.path}: the server stored it as {file.name!r}")
        return _Taken(parcel, file)

    async def _confirmed(self, taken: Sequence[_Taken]) -> list[Sent]:
        """What became of files of one container, as the container says."""
        container = taken[0].parcel.container
        what = f"the {container.level} {container.label!r}"
        try:
            item = await self._asker.container(container.level, container.id, what)
            files = Files.of(item, what)
        except FwsyncError as error:
            if isinstance(error, NotFound):
                self._containers.tree.forget(container.id)
            paths = [one.parcel.upload.path for one in taken]
            return [Sent(path, error=error, route=RouteName.MULTIPART) for path in paths]
        return [_outcome(one, files) for one in taken]

    async def delete(self, entry: RemoteEntry, *, reason: str = "") -> None:
        """See :meth:`fwsync.ports.Remote.delete`. Gone already is as good as deleted.

        The server knows of no reasons: ``reason`` is not sent.
        """
        address = (PLURAL[entry.container.level], entry.container.id, "files", entry.name)
        try:
            await self._asker.json("DELETE", address, what=entry.path)
        except NotFound:
            if await self.look(entry.path) is not None:  # it would come down as a new file
                raise
            await self.check_gone(entry)

    async def check_gone(self, entry: RemoteEntry) -> None:
        """See :meth:`fwsync.ports.Remote.check_gone`."""
        address = (PLURAL[entry.container.level], entry.container.id)
        try:
            await self._asker.json("GET", address, what=entry.path)
        except NotFound as error:
            raise not_surely_gone(entry.path, entry.container.level) from error

    def _place(self, path: RelPath) -> Place:
        place = self._containers.tree.place(path)
        if isinstance(place, Unmappable):
            raise FileProblem(f"{path}: {place.reason}", hint=place.hint)
        depth = len(place.container.labels) + len(place.missing)
        if list(Level)[depth - 1] is Level.SUBJECT:
            raise FileProblem(
                f"{path}: subjects hold no files at this site, whose server is of 2018",
                hint="move it up to the project, or down to a session or an acquisition",
            )
        return place


def _check_name(path: RelPath, name: str) -> None:
    """Refuse what the server would alter, or what is no text.

    Raises:
        FileProblem: it is such a name.
    """
    # Of a name it keeps what follows the last slash (core18).
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise FileProblem(
            f"{path}: {name!r} cannot be the name of a file on the server", hint="rename it"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FileProblem(f"{path}: its name is not valid text") from None


def _in_form(name: str) -> str:
    """A plain name for the part of a form; the file is stored as its metadata says (core18).

    The server writes to a path of this name first, so it must be one on every disk. Its type is
    guessed from the end of it.
    """
    return _ODD.sub("_", name)[-_MAX_IN_FORM:]


def _outcome(taken: _Taken, files: Files) -> Sent:
    path, container = taken.parcel.upload.path, taken.parcel.container
    there = files.by_name.get(taken.file.name)
    why = ""
    if there is None:
        why = "the server took it, and does not have it"
    elif there.name in files.unclear:
        why = "somebody else sent a file of this name at the same moment; the server has both"
    elif (there.hash, there.size) != (taken.file.hash, taken.file.size):
        why = "was replaced on the server while it was sent"
    elif taken.parcel.was_absent and not taken.file.is_new:
        why = "a file of this name came to the server a moment before, and was replaced by this one"
    if there is None or why:
        return Sent(
            path,
            error=FileProblem(f"{path}: {why}", hint="the next run compares them again"),
            route=RouteName.MULTIPART,
        )
    return Sent(path, entry=there.entry(path, container.ref), route=RouteName.MULTIPART)
