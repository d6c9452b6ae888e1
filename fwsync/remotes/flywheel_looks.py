"""Files as they are now, looked for by name: one by one, or many of a container by one list.

Its rule: a list that gets longer than the looks it would spare is left. One that has none of the
files may hide them, and one right after an upload may be from before it: both are believed only
where one look says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

from fwsync.errors import NotFound, RemoteError
from fwsync.model import RelPath
from fwsync.remotes.flywheel_listing import end_if_silent, pages
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.flywheel_wire import PLURAL, WireFile, file_of, item_of
from fwsync.remotes.http import Api
from fwsync.remotes.rounds import Rounds

#: Looks into one container from which on its list is asked for instead, and those that a page of
#: it has to spare: it has all the files of the container, and a few looks cost the server less.
LISTED_FROM: Final = 4

_MOST_UNANSWERED: Final = 10_000


class Looks:
    """Looks for files; those that are asked for side by side cost one request, or few.

    Args:
        api: open for as long as this is used.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._rounds: Rounds[Container, str, WireFile | None] = Rounds(self._listed)
        self._lists = True
        self._unanswered: set[tuple[str, str]] = set()  # container's id, and name

    def answered(self, container: Container, name: str, *, whether: bool) -> None:
        """Whether there was an answer to the last upload of this file."""
        if whether:
            self._unanswered.discard((container.id, name))
        elif len(self._unanswered) < _MOST_UNANSWERED:
            self._unanswered.add((container.id, name))

    async def look(self, container: Container, name: str, path: RelPath) -> WireFile | None:
        """The file of this very name in a container; None: there is none.

        Args:
            path: for messages.

        Raises:
            RemoteError: the question was not answered.
        """
        told = await self._rounds.ask(container, name)
        if name in told:
            return told[name]
        return await self._one(container, name, path)

    async def _one(self, container: Container, name: str, what: str) -> WireFile | None:
        address = (PLURAL[container.level], container.id, "files", name, "info")
        try:
            answer = await self._api.json("GET", address, what=what)
        except NotFound:
            return None
        wire = file_of(item_of(answer, what), what)
        return None if wire.deleted else wire

    async def _listed(
        self, container: Container, names: Sequence[str]
    ) -> Mapping[str, WireFile | None]:
        """What the container's list says of these names; what is missing is to be looked for."""
        if len(names) < LISTED_FROM or not self._lists:
            return {}
        what = f"looking for {len(names)} files in {container.level} {container.label!r}"
        found: dict[str, WireFile | None] = {}
        try:
            found = await self._found(container, names, what)
            name = self._doubtful(container, found)
            if name is not None:
                told, there = found[name], await self._one(container, name, what)
                self._lists = _version(told) == _version(there)
        except RemoteError as error:
            end_if_silent(error)
            self._lists = False
        return found if self._lists else {}

    def _doubtful(self, container: Container, found: Mapping[str, WireFile | None]) -> str | None:
        """The file to be asked for by its name before a list is believed; None: believe it."""
        unheard = [name for name in found if (container.id, name) in self._unanswered]
        if unheard:
            return min(unheard, key=lambda name: found[name] is not None)
        return None if any(found.values()) else next(iter(found), None)

    async def _found(
        self, container: Container, names: Sequence[str], what: str
    ) -> dict[str, WireFile | None]:
        """What is there of these names, as far as the list is no longer work than the looks."""
        wanted = set(names)
        there: dict[str, WireFile] = {}
        twice: set[str] = set()  # one of them may be older than the other
        asked, ended = 0, True
        here = f"parent_ref.id={container.id}"
        async with aclosing(pages(self._api, ("files",), what=what, filter_=here)) as lists:
            async for page in lists:
                if asked * LISTED_FROM >= len(names):
                    ended = False
                    break
                asked += 1
                for wire in (file_of(item, what) for item in page):
                    mine = wire.parent_id == container.id and not wire.deleted
                    if mine and wire.name in wanted:
                        twice |= {wire.name} & there.keys()
                        there[wire.name] = wire
        known = wanted - twice if ended else there.keys() - twice
        return {name: there.get(name) for name in known}


def _version(wire: WireFile | None) -> tuple[object, ...] | None:
    return None if wire is None else (wire.file_id, wire.version, wire.size, wire.hash)
