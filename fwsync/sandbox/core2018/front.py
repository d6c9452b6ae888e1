"""The front of the mode: its own table of routes, its own words for what it does not know.

``/sandbox/…`` stays as it is: it is no part of the API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final, Protocol

from aiohttp import web

from fwsync.sandbox.core2018.wire import NOT_ALLOWED, NOT_FOUND
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import SITE


class Answerer(Protocol):
    """A table of routes that answers."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""

    async def find(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """Find its route, and write the name down."""


#: The group in which uploads end that name a group nobody has.
UNKNOWN_GROUP: Final = "unknown"


class Front:
    """Answers the requests of the mode.

    Args:
        make_routes: makes what answers below ``/api``; called when the mode is first used.
        outside: answers everything else.
    """

    def __init__(self, make_routes: Callable[[], Answerer], outside: Answerer) -> None:
        self._make_routes = make_routes
        self._outside = outside
        self._begun = False

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer.

        Raises:
            ApiError: 404, 405, and what the handler raises.
        """
        if _of_api(request) and not self._begun:
            await request.app[SITE].write_tree(_begin)
            self._begun = True
        try:
            return await self._table(request)(request)
        except web.HTTPNotFound:
            raise ApiError(404, NOT_FOUND) from None
        except web.HTTPMethodNotAllowed:
            raise ApiError(405, NOT_ALLOWED) from None

    async def find(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """Find the route of a request, and write its name down."""
        return await self._table(request).find(request)

    def _table(self, request: web.Request) -> Answerer:
        return self._routes if _of_api(request) else self._outside

    @cached_property
    def _routes(self) -> Answerer:
        return self._make_routes()


def _of_api(request: web.Request) -> bool:
    return request.path == "/api" or request.path.startswith("/api/")


def _begin(pen: Pen) -> None:
    """A site has this group from the start."""
    pen.db.execute(
        "INSERT OR IGNORE INTO containers (id, kind, label, group_id, created, modified, revision,"
        " doc) VALUES (?1,'group','Unknown',?1,?2,?2,1,'{}')",
        (UNKNOWN_GROUP, pen.now),
    )
