"""Everything in the projects in scope, by as few requests as the platform allows.

Its rule: a listing is complete, or it says what it could not see. A page that is
missing, short or unreadable becomes an :class:`Unknown`, never a shorter listing.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager

from fwsync.errors import Garbled, NotFound, RemoteError, Unavailable
from fwsync.model import Level, RemoteEntry, Unknown
from fwsync.remotes.flywheel_find import FEATURES, PAGE, Project
from fwsync.remotes.flywheel_tree import LEVELS, Container, Tree
from fwsync.remotes.flywheel_wire import (
    PLURAL,
    Json,
    WireFile,
    container_of,
    cursor_of,
    file_of,
    item_of,
    page_of,
)
from fwsync.remotes.http import Api

_BELOW_PROJECT = (Level.SUBJECT, Level.SESSION, Level.ACQUISITION)


async def pages(
    api: Api, path: Sequence[str], *, what: str, filter_: str | None = None
) -> AsyncGenerator[list[Json], None]:
    """A list, page by page, to its end. The next page is on its way while one is used.

    Close it (``aclosing``) where it may be left before its end.

    Raises:
        Garbled: it does not advance, or ends before the number it announced.
        RemoteError: a page could not be had.
    """
    first_total: int | None = None
    seen = 0
    cursors: set[str] = set()
    async with _ahead() as ask_ahead:
        answer = ask_ahead(_ask(api, path, what, filter_, None, PAGE))
        while True:
            page = page_of(await answer, what)
            if seen == 0:
                first_total = page.total
            if not page.items:
                break
            last = cursor_of(page.items[-1], what)
            if last in cursors:  # a server that ignores `after_id` sends one page for ever
                raise Garbled(f"{what}: the list does not advance behind {last}")
            cursors.add(last)
            seen += len(page.items)
            if first_total is not None and seen >= first_total:
                yield page.items
                return
            answer = ask_ahead(_ask(api, path, what, filter_, last, PAGE))
            yield page.items
    if first_total is not None and seen < first_total:
        # Something was deleted meanwhile, or something is held back: ask how many there are.
        now = page_of(await _ask(api, path, what, filter_, None, 1), what)
        if now.total is None or now.total > seen:
            raise Garbled(f"{what}: {first_total} announced, {seen} listed")


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
    api: Api, path: Sequence[str], what: str, filter_: str | None, after: str | None, limit: int
) -> object:
    params = {"filter": filter_, "limit": limit, "after_id": after}
    return await api.json("GET", path, params=params, features=FEATURES, what=what)


class Listing:
    """One pass over one project. Fills the tree as it goes."""

    def __init__(self, api: Api, project: Project, tree: Tree) -> None:
        self._api = api
        self._project = project
        self._tree = tree
        self._root = tree.by_id[project.id]
        self._asked: set[str] = set()
        self.complete: set[Level] = set()  #: levels whose containers are all known

    async def entries(self) -> AsyncGenerator[list[RemoteEntry | Unknown], None]:
        """The files, in pages.

        Raises:
            NotFound: the project is gone.
            AuthError: the key is not accepted.
            Unavailable: the server does not answer at all.
        """
        for level in _BELOW_PROJECT:
            unknown = await self._containers(level)
            if unknown:
                yield unknown
        what = f"the files of {self._project}"
        ours = f"parents.project={self._project.id}"
        try:
            async with aclosing(pages(self._api, ("files",), what=what, filter_=ours)) as files:
                async for page in files:
                    yield [
                        found
                        for item in page
                        if (found := await self._file(file_of(item, what))) is not None
                    ]
        except RemoteError as error:
            _end_if_silent(error)
            yield [Unknown(self._root.folder, error.message)]

    async def _containers(self, level: Level) -> list[RemoteEntry | Unknown]:
        """Read one level's containers; what stays unknown if that fails."""
        what = f"the {PLURAL[level]} of {self._project}"
        found: list[tuple[str, str, str]] = []
        path = (PLURAL[Level.PROJECT], self._project.id, PLURAL[level])
        try:
            async with aclosing(pages(self._api, path, what=what)) as containers:
                async for page in containers:
                    wires = [container_of(item, level, what) for item in page]
                    found += [(wire.id, wire.label, wire.parent_id) for wire in wires]
        except NotFound:
            raise
        except RemoteError as error:
            _end_if_silent(error)
            self._tree.add_children(level, found)
            above = self._root if level is Level.SUBJECT else None
            scopes = [above] if above else list(self._tree.at(Level.SUBJECT))
            mine = [one for one in scopes if one.labels[:2] == self._root.labels]
            return [Unknown(one.folder, error.message) for one in mine]
        self._tree.add_children(level, found)
        self.complete.add(level)
        return []

    async def _file(self, wire: WireFile) -> RemoteEntry | Unknown | None:
        if wire.deleted or wire.level is None:  # an analysis's, a collection's: not in scope
            return None
        container = self._tree.by_id.get(wire.parent_id)
        if container is None:
            found = await self._late(wire, wire.level)
            if not isinstance(found, Container):
                return found
            container = found
        path = self._tree.path_of_file(container, wire.name, wire.file_id)
        return wire.entry(path, container.ref)

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
                    _end_if_silent(error)
                    return Unknown(above.folder, error.message)
            if known is None:
                return Unknown(above.folder, f"the {step} {id_} has no known parent")
            above = known
        return above

    async def _one(self, level: Level, id_: str) -> Container | None:
        what = f"the {level} {id_}"
        answer = await self._api.json("GET", (PLURAL[level], id_), features=FEATURES, what=what)
        wire = container_of(item_of(answer, what), level, what)
        return self._tree.add_child(level, wire.id, wire.label, wire.parent_id)


def _end_if_silent(error: RemoteError) -> None:
    """No answer at all ends the run: it says nothing about one list in particular."""
    if isinstance(error, Unavailable) and not error.status:
        raise error
