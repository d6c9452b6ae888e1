"""What is known of containers, told to the server: filled where it says nothing, never replaced.

Its rule: a field that the server does not take is a problem, said once, and stops no file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fwsync.errors import Refused, RemoteError, Unavailable
from fwsync.metadata.shapes import NotJson, Told, told_of
from fwsync.model import Level, Problem
from fwsync.remotes.flywheel_tree import LEVELS, Container
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of

Say = Callable[[Problem], None]

NOTHING: Json = {}


class Asks(Protocol):
    """Who asks a site; both generations have one."""

    async def json(
        self,
        method: str,
        path: Sequence[str],
        *,
        body: object = None,
        repeatable: bool = False,
        what: str,
    ) -> object:
        """See :meth:`fwsync.remotes.http.Api.json`."""
        ...


class Fields:
    """Fills the fields of containers; each field of each container is looked at once.

    Args:
        api: open for as long as this is used.
        say: is told what the server did not take.
        info_method: of ``…/info``: PATCH, or POST for scitran/core. Source: SDK 23, core18.
    """

    def __init__(self, api: Asks, say: Say, *, info_method: str = "PATCH") -> None:
        self._api = api
        self._say = say
        self._info_method = info_method
        self._settled: dict[str, frozenset[str]] = {}
        #: Each set once: most containers of a level are told the same things.
        self._sets: dict[frozenset[str], frozenset[str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._said: set[tuple[str, str]] = set()

    def settle(self, container_id: str, told: Told) -> None:
        """It was made with these: they need not be looked at."""
        keys = self._settled.get(container_id, frozenset()) | told.keys
        self._settled[container_id] = self._sets.setdefault(keys, keys)

    async def fill(self, container: Container, fields: Mapping[str, object]) -> None:
        """Say of a container what the server does not know yet.

        One GET decides, and none is made where all of it was decided before.

        Raises:
            AuthError, Unavailable: the server does not answer, or not to this key.
        """
        told, wrong = sendable(container.level, fields)
        for why in wrong:
            self._complain(container, f"not all that is known of it can be sent: {why}")
        if not told or told.keys <= self._settled.get(container.id, frozenset()):
            return
        async with self._locks.setdefault(container.id, asyncio.Lock()):
            new = told.without(self._settled.get(container.id, frozenset()))
            if not new:
                return
            try:
                missing = new.without(await self._known(container, new))
            except Unavailable:
                raise
            except RemoteError as error:
                self._complain(container, f"what is known of it was not said: {error.message}")
                missing = Told()
            await self._send(container, missing)
            self.settle(container.id, new)
        self._locks.pop(container.id, None)  # whoever still waits for it sees that it is settled

    async def _known(self, container: Container, told: Told) -> frozenset[str]:
        """The names of what the server has a value for."""
        what = f"the {container.level} {container.label!r}"
        answer = await self._api.json("GET", (PLURAL[container.level], container.id), what=what)
        doc = item_of(answer, what)
        known = {key for key in told.plain if doc.get(key) is not None}
        info, tags = doc.get("info"), doc.get("tags")
        if isinstance(info, Mapping):
            known |= {f"info.{key}" for key in told.info if info.get(key) is not None}
        if isinstance(tags, list):
            known |= {f"tags.{one}" for one in told.tags if one in tags}
        return frozenset(known)

    async def _send(self, container: Container, told: Told) -> None:
        here = (PLURAL[container.level], container.id)
        if told.plain:
            await self._say_fields(container, "PUT", here, told.plain)
        if told.info:
            await self._say_fields(container, self._info_method, (*here, "info"), told.info)
        await self.tag(container, told.tags)

    async def tag(self, container: Container, tags: tuple[str, ...]) -> None:
        """Add tags, one by one: a request that every version of the server has."""
        address = (PLURAL[container.level], container.id, "tags")
        for one in tags:
            what = f"tag {one!r} of {container.level} {container.label!r}"
            try:
                await self._api.json("POST", address, body={"value": one}, what=what)
            except Unavailable:
                raise
            except RemoteError as error:
                if error.status != 409:  # it is there already
                    self._complain(container, f"its tag {one!r} was refused: {error.message}")

    async def _say_fields(
        self, container: Container, method: str, address: tuple[str, ...], fields: Json
    ) -> None:
        """All at once; where that is refused, one by one, so that one bad field is one problem."""
        body = fields if method == "PUT" else {"set": fields}
        what = f"the fields of {container.level} {container.label!r}"
        try:
            # Said twice it does no harm: it is the same values.
            await self._api.json(method, address, body=body, repeatable=True, what=what)
        except Unavailable:
            raise
        except Refused as error:
            if len(fields) == 1:
                self._complain(container, f"its {next(iter(fields))} was refused: {error.message}")
                return
            for name, value in fields.items():
                await self._say_fields(container, method, address, {name: value})
        except RemoteError as error:
            self._complain(container, f"its {', '.join(fields)} cannot be set: {error.message}")

    def _complain(self, container: Container, message: str) -> None:
        if (container.id, message) in self._said:
            return
        self._said.add((container.id, message))
        path = str(container.folder) or "/".join(container.labels)
        self._say(Problem(path, message, "the files in it are not touched by this"))


def sendable(level: Level, fields: Json) -> tuple[Told, list[str]]:
    """What fields say of a container of this level, and why some of them cannot be sent."""
    try:
        return told_of(level, fields), []
    except NotJson:
        pass
    good: dict[str, object] = {}
    wrong: list[str] = []
    for name, value in fields.items():
        try:
            told_of(level, {name: value})
        except NotJson as error:
            wrong.append(str(error))
        else:
            good[name] = value
    return told_of(level, good), wrong


def chain(container: Container, by_id: Mapping[str, Container]) -> list[Container]:
    """The container and those above it, from the project down."""
    found = [container]
    while found[0].level is not LEVELS[1]:
        above = by_id.get(found[0].parent_id)
        if above is None:
            break
        found.insert(0, above)
    return found
