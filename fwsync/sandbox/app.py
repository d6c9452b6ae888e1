"""The front of the sandbox: which route goes where, who asks, and what a failure looks like.

Every route stands in :data:`ROUTES`; a new one is a line there and a handler in its room.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from fwsync.sandbox import containers, download, files, inspection, lookup, startup
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import SITE, Call, Site, answer
from fwsync.sandbox.tree import KINDS

log = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
Guard = Literal["key", "ticket", "none"]

MAX_JSON: Final = 256 << 20  # bytes of a JSON body; file bodies are streamed and have their own


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    Args:
        path: below ``/api``, unless it begins with ``/sandbox``; ``{cont}`` stands for each of
            ``kinds`` in turn.
        guard: a ``key`` is needed, or a ``ticket`` will do, or nothing is asked.
    """

    method: str
    path: str
    handler: Handler
    guard: Guard = "key"
    kinds: tuple[str, ...] = ()


ANY: Final = ("",)  # /containers/…: any kind
WITH_FILES: Final = (*KINDS[1:], "")
WITH_GRANTS: Final = ("group", "project")

ROUTES: Final[tuple[Route, ...]] = (
    # login and start-up
    Route("GET", "/config", startup.config, guard="none"),
    Route("GET", "/version", startup.version, guard="none"),
    Route("GET", "/auth/status", startup.status, guard="none"),
    Route("GET", "/users/self", startup.myself, guard="none"),
    Route("GET", "/roles", startup.roles),
    Route("GET", "/roles/{id}", startup.role),
    # paths
    Route("POST", "/lookup", lookup.lookup),
    Route("POST", "/resolve", lookup.resolve),
    # containers
    Route("GET", "/{cont}", containers.top_list, kinds=KINDS),
    Route("POST", "/{cont}", containers.create, kinds=KINDS),
    Route("DELETE", "/{cont}", containers.delete_many, kinds=KINDS),
    Route("GET", "/{cont}/{id}", containers.get, kinds=(*KINDS, "")),
    Route("PUT", "/{cont}/{id}", containers.change, kinds=(*KINDS, "")),
    Route("DELETE", "/{cont}/{id}", containers.delete, kinds=(*KINDS, "")),
    Route("GET", "/groups/{id}/projects", containers.child_list, kinds=("group",)),
    Route("GET", "/projects/{id}/subjects", containers.child_list, kinds=("project",)),
    Route("GET", "/projects/{id}/sessions", containers.child_list, kinds=("project",)),
    Route("GET", "/projects/{id}/acquisitions", containers.child_list, kinds=("project",)),
    Route("GET", "/subjects/{id}/sessions", containers.child_list, kinds=("subject",)),
    Route("GET", "/sessions/{id}/acquisitions", containers.child_list, kinds=("session",)),
    Route("GET", "/{cont}/{id}/permissions", containers.permissions, kinds=WITH_GRANTS),
    Route("POST", "/{cont}/{id}/permissions", containers.grant, kinds=WITH_GRANTS),
    Route("PUT", "/{cont}/{id}/permissions", containers.grant, kinds=WITH_GRANTS),
    Route("PUT", "/{cont}/{id}/permissions/{user}", containers.grant, kinds=WITH_GRANTS),
    Route("DELETE", "/{cont}/{id}/permissions/{user}", containers.revoke, kinds=WITH_GRANTS),
    # files of a container
    Route("POST", "/{cont}/{id}/files", files.upload, kinds=WITH_FILES),
    Route("GET", "/{cont}/{id}/files/{name}", files.download_by_name, "ticket", WITH_FILES),
    Route("HEAD", "/{cont}/{id}/files/{name}", files.download_by_name, "ticket", WITH_FILES),
    Route("DELETE", "/{cont}/{id}/files/{name}", files.delete_by_name, kinds=WITH_FILES),
    Route("GET", "/{cont}/{id}/files/{name}/info", files.info, kinds=WITH_FILES),
    # files by id
    Route("GET", "/files", files.top_list),
    Route("GET", "/files/{file_id}", files.get),
    Route("DELETE", "/files/{file_id}", files.delete),
    Route("GET", "/files/{file_id}/versions", files.versions),
    Route("GET", "/files/{file_id}/download", files.download, guard="ticket"),
    Route("HEAD", "/files/{file_id}/download", files.download, guard="ticket"),
    # archives
    Route("POST", "/download", download.ticket),
    Route("GET", "/download", download.stream, guard="ticket"),
    Route("POST", "/download/targets", download.targets),
    # not Flywheel: the sandbox looked at from outside
    Route("GET", "/sandbox/requests", inspection.requests),
    Route("DELETE", "/sandbox/requests", inspection.reset),
    Route("GET", "/sandbox/record", inspection.record),
)


def make_app(site: Site) -> web.Application:
    """The application of a site."""
    app = web.Application(middlewares=[_answer], client_max_size=MAX_JSON)
    app[SITE] = site
    for method, path, handler in _spelled_out(ROUTES):
        app.router.add_route(method, path, handler)  # HEAD only where the table says so
    return app


def _spelled_out(
    routes: tuple[Route, ...],
) -> Iterator[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
    for route in routes:
        base = "" if route.path.startswith("/sandbox/") else "/api"
        for kind in route.kinds or ("",):
            word = f"{kind or 'container'}s"
            path = base + route.path.replace("{cont}", word)
            yield route.method, path, _endpoint(route, kind)


def _endpoint(route: Route, kind: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    handler, guard = route.handler, route.guard

    async def endpoint(request: web.Request) -> web.StreamResponse:
        site = request.app[SITE]
        caller = site.keys.caller(request.headers)
        if caller.kind == "unknown" and not (
            guard == "none" or (guard == "ticket" and request.query.get("ticket"))
        ):
            raise ApiError(401, "Authentication required")
        return await handler(Call(request, site, caller, kind))

    return endpoint


@web.middleware
async def _answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors become JSON, and every answer is recorded."""
    response: web.StreamResponse | None = None
    status = 499  # the client went away, or the sandbox was told to stop
    try:
        try:
            response = await handler(request)
        except ApiError as problem:
            response = _problem(problem)
        except web.HTTPException as problem:
            response = _problem(ApiError(problem.status, _reason(request, problem)))
            response.headers.update(
                {name: value for name, value in problem.headers.items() if name == "Allow"}
            )
        except (ConnectionError, web.RequestPayloadError):
            if _started(request):
                raise
            # Nobody is there to read it; raised, it would be logged like a fault of ours.
            response = web.Response(status=status)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            if _started(request):
                raise
            response = _problem(ApiError(500, "Internal Server Error"))
        status = response.status
    finally:
        _record(request, status)
    return response


def _problem(problem: ApiError) -> web.Response:
    body = {
        "status_code": problem.status,
        "message": problem.message,
        "request_id": f"{secrets.token_hex(4)}-{int(time.time())}",
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
    writer = request._payload_writer
    return bool(writer) and writer.output_size > 0


def _record(request: web.Request, status: int) -> None:
    if request.path.startswith("/sandbox/"):
        return
    resource = request.match_info.route.resource
    request.app[SITE].requests.add(request, resource.canonical if resource else "-", status)
