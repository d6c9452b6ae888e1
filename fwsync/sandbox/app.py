"""The front of the sandbox: who asks, and what a failure looks like."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Final

from aiohttp import HttpVersion11, web

from fwsync.sandbox import core2018
from fwsync.sandbox.exchange import EXCHANGE, Exchange
from fwsync.sandbox.faults.play import asked, play
from fwsync.sandbox.faults.register import Fault
from fwsync.sandbox.faults.wire import Severed
from fwsync.sandbox.kept.access import Caller
from fwsync.sandbox.kept.tree import PLURAL
from fwsync.sandbox.problems import ApiError, request_id
from fwsync.sandbox.routes import ROUTES, Route
from fwsync.sandbox.site import SITE, Call, Site, answer

log = logging.getLogger(__name__)

#: The route of a request, as the table has it, and the variable parts of its path.
ROUTE: Final = web.RequestKey("route", str)
PARTS: Final = web.RequestKey("parts", Mapping[str, str])
IN_STORE: Final = "/{bucket}/{key}"

#: Finds out who a request is from.
Identify = Callable[[Site, web.Request], Awaitable[Caller]]

MAX_JSON: Final = 256 << 20  # bytes of a JSON body; file bodies are streamed and have their own


def make_app(site: Site) -> web.Application:
    """The application of a site."""
    app = web.Application(middlewares=[_answer], client_max_size=MAX_JSON)
    app[SITE] = site
    modern = Table(ROUTES)
    before = core2018.Front(partial(Table, core2018.ROUTES, core2018.identify), modern)
    tables: dict[str, Table | core2018.Front] = {"": modern, "core-2018": before}
    app[TABLES] = tables
    app.router.add_route("*", r"/{path:[\s\S]*}", _dispatch, expect_handler=_expect)
    return app


async def _dispatch(request: web.Request) -> web.StreamResponse:
    store = request.app[SITE].store
    if store.holds(request.rel_url.raw_path):
        request[ROUTE] = IN_STORE
        return await store.serve(request)
    # The switch is looked at for each request, so the router of the application has one route.
    return await _table(request)(request)


def _table(request: web.Request) -> Table | core2018.Front:
    return request.app[TABLES][request.app[SITE].switches.compat]


async def _expect(request: web.Request) -> None:
    """``Expect: 100-continue`` is answered, but by the old server."""
    wanted = request.headers.get("Expect", "").lower() == "100-continue"
    if wanted and request.version == HttpVersion11 and not request.app[SITE].switches.compat:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _by_headers(site: Site, request: web.Request) -> Caller:
    return await site.keyring.caller(request.headers)


class Table:
    """Finds the handler of a request in a table of routes, and lets it answer."""

    def __init__(self, routes: tuple[Route, ...], identify: Identify = _by_headers) -> None:
        self._paths = web.UrlDispatcher()
        for method, path, handler in _spelled_out(routes, identify):
            self._paths.add_route(method, path, handler)  # HEAD only where the table says so

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer.

        Raises:
            HTTPException: 404, 405.
            ApiError: what the handler raises.
        """
        match = await self.find(request)
        request[PARTS] = dict(match)
        return await match.handler(request)

    async def find(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """Find the route of a request, and write its name down."""
        match = await self._paths.resolve(request)
        resource = match.route.resource
        request[ROUTE] = resource.canonical if resource is not None else "-"
        return match


#: By the switch ``compat``.
TABLES: Final = web.AppKey("tables", dict[str, Table | core2018.Front])


def _spelled_out(
    routes: tuple[Route, ...], identify: Identify
) -> Iterator[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
    for route in routes:
        base = "" if route.path == "/" or route.path.startswith("/sandbox/") else "/api"
        for kind in route.kinds or ("",):
            path = base + route.path.replace("{cont}", PLURAL[kind])
            yield route.method, path, _endpoint(route, kind, identify)


def _endpoint(
    route: Route, kind: str, identify: Identify
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    handler, guard = route.handler, route.guard

    async def endpoint(request: web.Request) -> web.StreamResponse:
        site = request.app[SITE]
        caller = await identify(site, request)
        request[EXCHANGE].told(caller)
        if caller.kind == "unknown" and not (
            guard == "none" or (guard == "ticket" and request.query.get("ticket"))
        ):
            raise ApiError(401, "Authentication required")
        return await handler(Call(request, site, caller, request[PARTS], kind))

    return endpoint


@web.middleware
async def _answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Faults are played, and every answer is recorded."""
    site, exchange = request.app[SITE], Exchange.of(request)
    request[EXCHANGE] = exchange
    request.writer.on_body_write = exchange.count
    of_api = not request.path.startswith("/sandbox/")
    work = partial(_carried_out, request, handler)
    era = site.requests.era
    status = 499  # the client went away, or the sandbox was told to stop
    try:
        fault = await _fault(request, site) if of_api and len(site.faults) else None
        response = await (work() if fault is None else play(fault, request, work))
        status = response.status
    except Severed:
        status = exchange.entry["status"]
        response = web.Response(status=499)  # goes nowhere, and that is not logged
    finally:
        if of_api and era == site.requests.era:
            _record(request, exchange, status)
    return response


async def _carried_out(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors become JSON."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except ApiError as problem:
        response = _problem(problem)
    except web.HTTPException as problem:
        response = _problem(ApiError(problem.status, _reason(request, problem)))
        response.headers.update(
            {name: value for name, value in problem.headers.items() if name == "Allow"}
        )
    except Severed:
        raise
    except (ConnectionError, web.RequestPayloadError):
        if request.transport is not None and _started(request):
            request.transport.abort()  # whoever may be there has half an answer
        # Nobody is there to read it; raised, it would be logged like a fault of ours.
        response = web.Response(status=499)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        if _started(request):
            raise
        response = _problem(ApiError(500, "Internal Server Error"))
    request[EXCHANGE].entry["carried_out"] = response.status
    return response


async def _fault(request: web.Request, site: Site) -> Fault | None:
    """What the script has for a request."""
    who: tuple[str | None, ...] = ("unknown",)
    if site.faults.asks_for_callers:
        try:
            caller = await site.keyring.caller(request.headers)
            who = (caller.kind, caller.id)
        except ApiError:  # of a wrong key; it gets its answer if it gets that far
            pass
    fault = site.faults.meet(asked(request, tuple(name for name in who if name)))
    if fault is not None:
        # Its route is to be known, whether or not anybody will answer it.
        if site.store.holds(request.rel_url.raw_path):
            request[ROUTE] = IN_STORE
        else:
            await _table(request).find(request)
    return fault


def _problem(problem: ApiError) -> web.Response:
    body = {
        "status_code": problem.status,
        "message": problem.message,
        "request_id": request_id(),
        **problem.extra,
    }
    response = answer(body, problem.status)
    response.headers.update(problem.headers)
    return response


def _reason(request: web.Request, problem: web.HTTPException) -> str:
    if problem.status == 404:
        return f"no such route: {request.path}"
    if problem.status == 405:
        return f"{request.method} is not allowed on {request.path}"
    return problem.reason


def _started(request: web.Request) -> bool:
    """Whether an answer is on its way already: the connection can only be cut then."""
    return request.writer.output_size > 0


def _record(request: web.Request, exchange: Exchange, status: int) -> None:
    exchange.entry |= {
        "route": request.get(ROUTE, "-"),
        "status": status,
        "received": request.content.total_bytes,
    }
    request.app[SITE].requests.add(exchange.entry)
