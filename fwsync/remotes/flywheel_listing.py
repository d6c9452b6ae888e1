"""Everything in the projects in scope, by as few requests as the platform allows.

Its rule: a listing is complete, or it says what it could not see. A page that is
missing, short or unreadable becomes an :class:`Unknown`, never a shorter listing.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager

from fwsync.errors import Garbled, NotFound, Refused, RemoteError, Unavailable, UsageError
from fwsync.model import BELOW_PROJECT, Level, RemoteEntry, Unknown
from fwsync.ports import ListedPage, ListedRow
from fwsync.remotes.chosen import Chosen, facts_of
from fwsync.remotes.curated import Curated
from fwsync.remotes.flywheel_extras import Beside, BesideOne
from fwsync.remotes.flywheel_find import FEATURES, PAGE, Project
from fwsync.remotes.flywheel_slim import SlimFile, SlimPage, row_of, slim_page, wire_of
from fwsync.remotes.flywheel_tree import LEVELS, Container, Tree
from fwsync.remotes.flywheel_wire import (
    LEVEL_OF,
    PLURAL,
    Json,
    Page,
    WireFile,
    container_of,
    cursor_of,
    file_of,
    item_of,
    page_of,
)
from fwsync.remotes.http import Api, Params, Reader
from fwsync.remotes.missed import Tally
from fwsync.selection import EVERYTHING, Selection

#: How a server refuses a filter. Source: core19 (422); a proxy or an older site may say 400.
_BAD_FILTER = (400, 422)


async def pages(
    api: Api,
    path: Sequence[str],
    *,
    what: str,
    filter_: str | None = None,
    params: Params | None = None,
) -> AsyncGenerator[list[Json], None]:
    """A list, page by page, to its end. The next page is on its way while one is used.

    Close it (``aclosing``) where it may be left before its end.

    Args:
        api: open for as long as this is used.
        path: of the list, below ``/api``.
        what: the list in words, for error texts.
        filter_: what it is to have, in the server's language; None: everything.
        params: of the query, besides.

    Raises:
        Garbled: it does not advance, or ends before the number it announced.
        RemoteError: a page could not be had.
    """
    told = {**(params or {}), "filter": filter_}
    async with aclosing(_pages(api, path, what, told)) as found:
        async for page in found:
            if isinstance(page, Page):
                yield page.items


async def _pages(
    api: Api, path: Sequence[str], what: str, told: Params, read: Reader | None = None
) -> AsyncGenerator[Page | SlimPage, None]:
    """The same, as whoever reads them has them: see :meth:`fwsync.remotes.http.Api.json`."""
    first_total: int | None = None
    seen = 0
    cursors: set[str] = set()
    async with _ahead() as ask_ahead:
        answer = ask_ahead(_ask(api, path, what, told, None, PAGE, read))
        while True:
            page = _read_page(await answer, what)
            if seen == 0:
                first_total = page.total
            if not page.results:
                break
            last = _cursor_behind(page, what)
            if last in cursors:  # a server that ignores `after_id` sends one page for ever
                raise Garbled(f"{what}: the list does not advance behind {last}")
            cursors.add(last)
            seen += len(page.results)
            if first_total is not None and seen >= first_total:
                yield page
                return
            answer = ask_ahead(_ask(api, path, what, told, last, PAGE, read))
            yield page
    if first_total is not None and seen < first_total:
        # Something was deleted meanwhile, or something is held back: ask how many there are.
        now = page_of(await _ask(api, path, what, told, None, 1), what)
        if now.total is None or now.total > seen:
            raise Garbled(f"{what}: {first_total} announced, {seen} listed")


def _read_page(answer: object, what: str) -> Page | SlimPage:
    return answer if isinstance(answer, SlimPage) else page_of(answer, what)


def _cursor_behind(page: Page | SlimPage, what: str) -> str:
    """What ``after_id`` must be to go on behind this page."""
    if isinstance(page, SlimPage):
        return page.results[-1].file_id
    return cursor_of(page.items[-1], what)


@asynccontextmanager
async def _ahead() -> AsyncIterator[Callable[[Coroutine[None, None, object]], Task[object]]]:
    """Runs one request beside its caller, and never beyond the block."""
    started: list[Task[object]] = []

    def ask(request: Coroutine[None, None, object]) -> Task[object]:
        started[:] = [asyncio.create_task(request)]
        return started[0]

    try:
        yield ask
    finally:
        for task in started:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _ask(
    api: Api,
    path: Sequence[str],
    what: str,
    told: Params,
    after: str | None,
    limit: int,
    read: Reader | None = None,
) -> object:
    params = {**told, "limit": limit, "after_id": after}
    return await api.json("GET", path, params=params, features=FEATURES, what=what, read=read)


async def look_at_some(api: Api, project: Project, selection: Selection, tally: Tally) -> None:
    """Count the first page of a project's files, whatever is selected.

    Raises:
        RemoteError: it cannot be had.
    """
    what = f"the files of {project}"
    told: Params = {"filter": f"parents.project={project.id}"}
    page = page_of(await _ask(api, ("files",), what, told, None, PAGE), what)
    tally.is_all = tally.is_all and page.total is not None and page.total <= len(page.items)
    for item in page.items:
        wire = file_of(item, what)
        if not wire.deleted and wire.level is not None:
            tally.saw(facts_of(item, what), item, selection)


class Listing:
    """One pass over one project, or what is selected of it. Fills the tree as it goes.

    Where few containers are selected, only these are asked for. Those beside them are listed
    even so: the name that a container has here depends on its namesakes.
    """

    def __init__(
        self,
        api: Api,
        project: Project,
        tree: Tree,
        selection: Selection = EVERYTHING,
        beside: Beside | None = None,
        curated: Curated | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._api = api
        self._project = project
        self._tree = tree
        self._root = tree.by_id[project.id]
        self._chosen = Chosen(selection, tree, tally=tally)
        self._selects = selection.is_set
        self._beside = BesideOne(beside, tree)
        self._curated = curated or Curated(None)
        self._params = self._curated.with_params(self._beside.params)
        #: Somebody wants to know more of a file than that it is there.
        self._wants_all = self._selects or self._beside.wants_files or self._curated.wants_files
        self._within = [self._root]  #: what is asked for
        self._asked: set[str] = set()
        self.complete: set[Level] = set()  #: levels whose containers are all known

    async def entries(self) -> AsyncGenerator[Sequence[RemoteEntry | Unknown], None]:
        """The files, in pages.

        Raises:
            NotFound: the project is gone.
            AuthError: the key is not accepted.
            Unavailable: the server does not answer at all.
        """
        for level in BELOW_PROJECT:
            if not self._chosen.needs(level):
                break
            unknown = await self._containers(level)
            if unknown:
                yield unknown
            await self._beside.hand_on()
            self._within = self._chosen.narrow(level, self._within)
        for above in self._within:
            async with aclosing(self._files(above)) as files:
                async for page in files:
                    yield page
        await self._beside.finish(self._api, self._within, self._chosen)
        await self._curated.finish(self._api, self._project.id)

    async def _files(
        self, above: Container
    ) -> AsyncGenerator[Sequence[RemoteEntry | Unknown], None]:
        """The files of a container and of all below it, in pages."""
        what = f"the files of {self._project}"
        place = self._chosen.selection.place
        key = "parent_ref.id" if place is not None and place.name else f"parents.{above.level}"
        filter_ = ",".join(filter(None, [f"{key}={above.id}", self._chosen.filter]))
        try:
            read = None if self._wants_all else slim_page
            told = {**(self._params or {}), "filter": filter_}
            asked = _pages(self._api, ("files",), what, told, read)
            async with aclosing(asked) as files:
                async for page in files:
                    if isinstance(page, SlimPage):
                        yield await self._rows(page.results)
                        continue
                    yield await self._page(page.items, what)
                    await self._beside.hand_on()
                    await self._curated.hand_on()
        except RemoteError as error:
            end_if_silent(error)
            self._refuse_filter(error)
            yield [Unknown(above.folder, error.message)]

    def _refuse_filter(self, error: RemoteError) -> None:
        """What the server does not understand is no list that failed: no other time is better.

        Raises:
            UsageError: it is the user's filter that the server does not take.
        """
        where = self._chosen.selection.where
        if where is not None and isinstance(error, Refused) and error.status in _BAD_FILTER:
            raise UsageError(
                f"--where: the server does not take {where.text!r}: {error.message}",
                hint="a filter is KEY=VALUE, such as type=nifti or size>1000000, joined by commas",
            ) from None

    async def _containers(self, level: Level) -> list[RemoteEntry | Unknown]:
        """Read one level's containers, as far as they are asked for; what stays unknown."""
        unknown: list[RemoteEntry | Unknown] = []
        for above in self._within:
            unknown += await self._containers_of(above, level)
        if not unknown:
            self.complete.add(level)
        return unknown

    async def _containers_of(self, above: Container, level: Level) -> list[RemoteEntry | Unknown]:
        what = f"the {PLURAL[level]} of {self._project}"
        found: list[tuple[str, str, str]] = []
        path, filter_ = (PLURAL[above.level], above.id, PLURAL[level]), None
        if (above.level, level) == (Level.SUBJECT, Level.ACQUISITION):  # has no list of its own
            path = (PLURAL[Level.PROJECT], self._root.id, PLURAL[level])
            filter_ = f"parents.subject={above.id}"
        try:
            asked = pages(self._api, path, what=what, filter_=filter_, params=self._params)
            async with aclosing(asked) as containers:
                async for page in containers:
                    self._chosen.saw(page, what)
                    await self._beside.saw_containers(page)
                    self._curated.saw_containers(page)
                    wires = [container_of(item, level, what) for item in page]
                    found += [(wire.id, wire.label, wire.parent_id) for wire in wires]
        except RemoteError as error:
            if isinstance(error, NotFound) and above is self._root:
                raise
            end_if_silent(error)
            await self._tree.look_for_files(found)
            self._tree.add_children(level, found)
            if above.level is not Level.PROJECT:
                return [Unknown(above.folder, error.message)]
            scopes = [above] if level is Level.SUBJECT else list(self._tree.at(Level.SUBJECT))
            mine = [one for one in scopes if one.labels[:2] == self._root.labels]
            return [Unknown(one.folder, error.message) for one in mine]
        if filter_ is None:
            self._tree.whole(level, {one[0] for one in found}, above)
        await self._tree.look_for_files(found)
        self._tree.add_children(level, found)
        return []

    async def _page(self, page: Sequence[Json], what: str) -> list[RemoteEntry | Unknown]:
        # One loop, and a call only where there is something to ask: it is gone through once
        # for every file of a project.
        found: list[RemoteEntry | Unknown] = []
        known, path_of, wants_all = self._tree.by_id, self._tree.path_of_file, self._wants_all
        for item in page:
            wire = file_of(item, what)
            if wire.deleted or wire.level is None:  # an analysis's, a collection's: not in scope
                continue
            container = known.get(wire.parent_id)
            if container is None:
                late = await self._late(wire, wire.level)
                if isinstance(late, Unknown):
                    found.append(late)
                if not isinstance(late, Container):
                    continue
                container = late
            if self._selects and not self._chosen.takes(container, item, what):
                continue
            entry = wire.entry(path_of(container, wire.name, wire.file_id), container.ref)
            found.append(entry)
            if wants_all:
                self._beside.saw_file(item, entry)
                self._curated.saw_file(item, entry)
        return found

    async def _rows(self, page: Sequence[SlimFile]) -> ListedPage:
        """The same for files of which no more is known than that they are there."""
        # As above, and nothing is made for what neighbours have in common.
        rows: list[ListedRow] = []
        unknown: list[Unknown] = []
        known, path_of = self._tree.by_id, self._tree.path_of_file
        container, level = self._root, ""
        for file in page:
            held = file.parent_ref
            if file.deleted or held.type not in LEVEL_OF:
                continue
            if held.id != container.id or not level:
                found = known.get(held.id) or await self._late(wire_of(file), LEVEL_OF[held.type])
                if isinstance(found, Unknown):
                    unknown.append(found)
                if not isinstance(found, Container):
                    continue
                container, level = found, found.level.value
            rows.append(row_of(file, path_of(container, file.name, file.file_id), level))
        return ListedPage(rows, unknown)

    async def _late(self, wire: WireFile, level: Level) -> Container | Unknown | None:
        """A container that the lists did not have: made since, hidden, or gone."""
        above = self._root
        for step in LEVELS[LEVELS.index(Level.SUBJECT) : LEVELS.index(level) + 1]:
            id_ = wire.parent_id if step is level else wire.parents.get(step.value)
            if not isinstance(id_, str):
                return Unknown(above.folder, f"{wire.name!r} does not name its {step}")
            known = self._tree.by_id.get(id_)
            if known is None:
                if id_ in self._asked:
                    return Unknown(above.folder, f"{wire.name!r} lies in an unknown {step}")
                self._asked.add(id_)
                try:
                    known = await self._one(step, id_)
                except NotFound:
                    # A file that is listed in a container that is not there: one of the
                    # two is out of date, and nothing follows from either.
                    return Unknown(above.folder, f"the {step} of {wire.name!r} is not to be found")
                except RemoteError as error:
                    end_if_silent(error)
                    return Unknown(above.folder, error.message)
            if known is None:
                return Unknown(above.folder, f"the {step} {id_} has no known parent")
            above = known
        return above

    async def _one(self, level: Level, id_: str) -> Container | None:
        what = f"the {level} {id_}"
        answer = await self._api.json("GET", (PLURAL[level], id_), features=FEATURES, what=what)
        wire = container_of(item_of(answer, what), level, what)
        self._chosen.saw([item_of(answer, what)], what)
        return self._tree.add_child(level, wire.id, wire.label, wire.parent_id)


def end_if_silent(error: RemoteError) -> None:
    """No answer at all ends the run: it says nothing about one list in particular."""
    if isinstance(error, Unavailable) and not error.status:
        raise error
