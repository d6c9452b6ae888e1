"""The site: everything one running sandbox consists of, and the call that a handler serves."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import unquote

from aiohttp import web

from fwsync.sandbox.access import (
    Access,
    Caller,
    Grants,
    Keys,
    Place,
    check,
    load_grants,
    load_place,
)
from fwsync.sandbox.blobs import Blobs
from fwsync.sandbox.problems import forbidden, invalid, missing
from fwsync.sandbox.records import Pen, Records
from fwsync.sandbox.settings import FEATURES, SandboxSettings

P = ParamSpec("P")
T = TypeVar("T")

MAX_TICKETS = 10_000
MAX_PLACES = 50_000
MAX_TOTALS = 1000
MAX_REQUESTS = 10_000  # kept one by one; the counts go on
PARSE_IN_LOOP = 256 << 10  # bytes of JSON


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

    def get(self, what: str, generation: int) -> int:
        """The number, or -1: it must be counted."""
        then, total = self._known.get(what, (-1, -1))
        return total if then == generation else -1

    def keep(self, what: str, generation: int, total: int) -> None:
        """Remember what was counted, no earlier than at ``generation``."""
        self._known.keep(what, (generation, total))


@dataclass
class RequestLog:
    """What was asked of this sandbox, for tests that count requests.

    Headers are not kept, and so no key either.
    """

    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_REQUESTS))
    counts: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def add(self, request: web.Request, route: str, status: int) -> None:
        """Record a request that was answered."""
        self.total += 1
        name = f"{request.method} {route}"
        self.counts[name] = self.counts.get(name, 0) + 1
        self.recent.append(
            {
                "method": request.method,
                "path": unquote(request.rel_url.raw_path),
                "query": request.rel_url.raw_query_string,
                "route": route,
                "status": status,
            }
        )

    def clear(self) -> None:
        """Start to count anew."""
        self.recent.clear()
        self.counts.clear()
        self.total = 0


class Site:
    """One sandbox at work: records, blobs, keys, and what is only kept in memory."""

    def __init__(
        self, settings: SandboxSettings, records: Records, blobs: Blobs, keys: Keys
    ) -> None:
        self.settings = settings
        self.features = FEATURES | settings.features
        self.records = records
        self.blobs = blobs
        self.keys = keys
        self.requests = RequestLog()
        self.totals = Totals()
        self.tickets: Shelf[Any] = Shelf(MAX_TICKETS)
        self._places: Shelf[Place] = Shelf(MAX_PLACES)
        self._grants: dict[str, Grants] = {}
        self._changes = 0  # grows before and after each change that may move, hide or grant

    async def place(self, container: str) -> Place | None:
        """Where a living container lies; remembered, for it never moves."""
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

    ``kind`` is the kind of container that the route speaks of; empty where it speaks of any.
    """

    request: web.Request
    site: Site
    caller: Caller
    kind: str = ""

    def part(self, name: str) -> str:
        """A variable part of the path."""
        return self.request.match_info[name]

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
                return await asyncio.to_thread(json.loads, body)
            return json.loads(body)
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
        """Shorthand for reading from the records."""
        return await self.site.records.read(job, *args, **kwargs)

    def only_admins(self) -> None:
        """Refuse everybody else.

        Raises:
            ApiError: 403.
        """
        if not self.caller.root:
            raise forbidden("only a site admin may do this")


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer; bytes are JSON already."""
    if not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")
