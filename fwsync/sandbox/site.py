"""The site: everything one running sandbox consists of, and the call that a handler serves."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from aiohttp import web
from yarl import URL

from fwsync.sandbox.exchange import EXCHANGE, RequestLog
from fwsync.sandbox.faults.past import read_past
from fwsync.sandbox.faults.register import Faults
from fwsync.sandbox.kept.access import (
    Access,
    Caller,
    Grants,
    Place,
    check,
    load_grants,
    load_place,
)
from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.kept.keyring import Keyring
from fwsync.sandbox.kept.naming import Rule
from fwsync.sandbox.kept.records import Pen, Records
from fwsync.sandbox.problems import forbidden, invalid, missing
from fwsync.sandbox.settings import SandboxSettings
from fwsync.sandbox.stores import make_store
from fwsync.sandbox.switches import Switches

P = ParamSpec("P")
T = TypeVar("T")

MAX_TICKETS = 10_000
MAX_PLACES = 50_000
MAX_TOTALS = 1000
PARSE_IN_LOOP = 256 << 10  # bytes of JSON
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")  # of a character, perhaps without the other half


class Shelf(OrderedDict[str, T]):
    """A dictionary that forgets its oldest entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: str, value: T) -> None:
        """Add an entry; the oldest goes when there are too many."""
        self[key] = value
        if len(self) > self._limit:
            self.popitem(last=False)


class Totals:
    """How many entries lists have, as long as nothing was written since they were counted."""

    def __init__(self) -> None:
        self._known: Shelf[tuple[int, int]] = Shelf(MAX_TOTALS)

    def get(self, what: str, generation: int | None) -> int:
        """The number at that generation, ``None`` for any; or -1: it must be counted."""
        then, total = self._known.get(what, (-1, -1))
        return total if generation in (None, then) else -1

    def keep(self, what: str, generation: int, total: int) -> None:
        """Remember what was counted, no earlier than at ``generation``."""
        self._known.keep(what, (generation, total))


class Site:
    """One sandbox at work: records, blobs, keys, and what is only kept in memory."""

    def __init__(
        self, settings: SandboxSettings, records: Records, blobs: Blobs, keyring: Keyring
    ) -> None:
        self.settings = settings
        self.records = records
        self.switch(Switches(**settings.switches))
        self.blobs = blobs
        self.keyring = keyring
        self.requests = RequestLog()
        #: The script of a bad network; empty in normal use.
        self.faults = Faults(settings.faults)
        self.totals = Totals()
        self.tickets: Shelf[Any] = Shelf(MAX_TICKETS)
        #: Tokens of packfiles that are being put together.
        self.packing: set[str] = set()
        #: Where signed URLs lead, and its port, if it has one of its own.
        self.store = make_store(settings.store, blobs)
        self.store_port = 0
        self._places: Shelf[Place] = Shelf(MAX_PLACES)
        self._grants: dict[str, Grants] = {}
        self._changes = 0  # grows before and after each change that may move, hide or grant

    def switch(self, switches: Switches) -> None:
        """From the next request on the site is as these say."""
        #: What may change while the sandbox runs; looked at anew for each request.
        self.switches = switches
        # The older server keeps every label. Source: core18, observed.
        self.rule: Rule = "" if switches.compat else switches.names
        self.records.rule_names(self.rule)

    async def place(self, container: str) -> Place | None:
        """Where a living container lies; remembered until the tree changes."""
        found = self._places.get(container)
        if found is None:
            before = self._changes
            found = await self.records.read(load_place, container)
            if found is not None and before == self._changes:
                self._places.keep(container, found)
        return found

    async def grants(self, caller: Caller) -> Grants | None:
        """What the caller was given; ``None``: they see all."""
        if caller.sees_all:
            return None
        if caller.kind != "user" or caller.id is None:
            return Grants()
        found = self._grants.get(caller.id)
        if found is None:
            before = self._changes
            found = await self.records.read(load_grants, caller.id)
            if before == self._changes:
                self._grants[caller.id] = found
        return found

    async def write_tree(
        self, job: Callable[Concatenate[Pen, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A write that changes the tree or the grants: what is remembered of them goes."""
        self._forget()
        try:
            return await self.records.write(job, *args, **kwargs)
        finally:
            self._forget()

    def _forget(self) -> None:
        self._changes += 1
        self._places.clear()
        self._grants.clear()


SITE: Final = web.AppKey("site", Site)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and who it is from.

    Args:
        parts: the variable parts of its path.
        kind: of container that the route speaks of; empty where it speaks of any.
    """

    request: web.Request
    site: Site
    caller: Caller
    parts: Mapping[str, str]
    kind: str = ""

    def part(self, name: str) -> str:
        """A variable part of the path."""
        return self.parts[name]

    def query(self, name: str) -> str | None:
        """A query parameter."""
        return self.request.query.get(name)

    def flag(self, name: str) -> bool:
        """A boolean query parameter, in any case: the CLI writes ``True``."""
        return (self.request.query.get(name) or "").lower() in ("true", "1", "yes")

    @property
    def accepts(self) -> frozenset[str]:
        """The features the client says it knows, in lower case."""
        lines = self.request.headers.getall("X-Accept-Feature", [])
        return frozenset(name.strip().lower() for line in lines for name in line.split(","))

    @property
    def with_files(self) -> bool:
        """Whether containers carry their files."""
        return "exclude-files" not in self.accepts

    async def json(self) -> Any:
        """The body.

        Raises:
            ApiError: 400, it is no JSON.
        """
        body = await self.request.read()
        try:
            if len(body) > PARSE_IN_LOOP:
                return await asyncio.to_thread(read_json, body)
            return read_json(body)
        except (ValueError, RecursionError) as error:
            raise invalid("the body is not valid JSON") from error

    async def json_object(self) -> dict[str, Any]:
        """The body, which must be an object."""
        body = await self.json()
        if not isinstance(body, dict):
            raise invalid("the body must be a JSON object")
        return body

    async def place(self, container: str, need: Access, kind: str | None = None) -> Place:
        """Where a container lies, the caller's access being checked.

        Args:
            kind: what it must be; that of the route when not given.

        Raises:
            ApiError: 404 there is none, 403.
        """
        kind = self.kind if kind is None else kind
        place = await self.site.place(container)
        if place is None or (kind and place.kind != kind):
            raise missing(f"no such {kind or 'container'}: {container}")
        check(await self.site.grants(self.caller), place, need)
        return place

    async def read(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read from the records; when the script says so, from what they were some time ago."""
        if self.past is not None:
            return await read_past(self.site.records, self.past, job, *args, **kwargs)
        return await self.site.records.read(job, *args, **kwargs)

    @property
    def past(self) -> str | None:
        """The time at which this request sees the site; ``None`` is now."""
        return self.request[EXCHANGE].past

    @property
    def origin(self) -> URL:
        """Where this client reaches the site: scheme, host and port.

        Raises:
            ApiError: 400, its Host header names no host.
        """
        try:
            return self.request.url.origin()
        except ValueError as error:
            raise invalid("the Host header cannot be read") from error

    def only_admins(self) -> None:
        """Refuse everybody else.

        Raises:
            ApiError: 403.
        """
        if not self.caller.root:
            raise forbidden("only a site admin may do this")


def read_json(text: bytes | str) -> Any:
    """What a JSON text says; what could not be kept or sent again is refused.

    That is ``NaN`` and numbers that are none, which JSON does not have, and halves of characters.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
        RecursionError: it is nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode()
    told = json.loads(text, parse_constant=_finite, parse_float=_finite)
    if _HALF.search(text):
        json.dumps(told, ensure_ascii=False).encode()
    return told


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer; bytes are JSON already."""
    if not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")
