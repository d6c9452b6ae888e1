"""A rule that fires, played on one request.

::

    delay ─► instead of the work: reset, a status, a page          (when: before)
          └► the work, its bodies spoilt on the way ─► its answer
             the work, nobody hears its answer ─► delay ─► reset, a status, a page  (when: after)

Its one rule: with ``before`` the sandbox has not looked at the request, with ``after`` what was
asked for is done, and stays done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http.client import responses
from typing import Final

from aiohttp import web

from fwsync.sandbox.exchange import EXCHANGE
from fwsync.sandbox.faults.members import Mischief
from fwsync.sandbox.faults.register import Fault
from fwsync.sandbox.faults.script import Action, Asked
from fwsync.sandbox.faults.wire import Inlet, Outlet, Severed, Unheard, sever
from fwsync.sandbox.problems import request_id
from fwsync.sandbox.site import answer

Work = Callable[[], Awaitable[web.StreamResponse]]

PAGE: Final = (
    "<!DOCTYPE html>\n<html><head><title>Sign in to this network</title></head>\n"
    "<body><h1>Sign in to this network</h1><p>Accept the terms to go on.</p></body></html>\n"
)


def asked(request: web.Request, caller: tuple[str, ...]) -> Asked:
    """A request as rules see it."""
    path = request.rel_url.path_safe
    below = path.removeprefix("/api")
    path = below if below.startswith("/") else path
    return Asked(request.method, path, request.query, caller)


async def play(fault: Fault, request: web.Request, work: Work) -> web.StreamResponse:
    """Let a request meet its fault.

    Args:
        work: carries the request out; its errors are answers already.

    Raises:
        Severed: the connection was ended; there is nobody to answer.
    """
    action, exchange = fault.action, request[EXCHANGE]
    exchange.entry["faults"] = list(fault.ids)
    if action.when == "before":
        await fault.clock.sleep(action.delay_s)
    if action.instead and action.when == "before":
        return _instead(fault, request)
    _prepare(fault, request)
    if not action.instead:
        if action.spoils_answer:
            request._payload_writer = Outlet(request, fault)
        try:
            return await work()
        except Severed:  # in the middle of the answer, unless there was none yet
            exchange.entry["carried_out"] = exchange.entry["status"] or None
            raise
    writer = request._payload_writer
    request._payload_writer = Unheard(request)
    await work()
    request._payload_writer = writer
    await fault.clock.sleep(action.delay_s)
    return _instead(fault, request)


def _prepare(fault: Fault, request: web.Request) -> None:
    """What the handler will find changed."""
    action, exchange = fault.action, request[EXCHANGE]
    exchange.in_pieces = action.instead or action.spoils_answer
    exchange.no_range = action.no_range
    if action.lag_s:
        then = datetime.now(UTC) - timedelta(seconds=action.lag_s)
        exchange.past = then.isoformat(timespec="microseconds")
    if action.spoils_archive:
        exchange.mischief = Mischief(action)
    if action.spoils_upload and request.body_exists:
        request._payload = Inlet(request, fault)


def _instead(fault: Fault, request: web.Request) -> web.Response:
    action = fault.action
    if action.reset:
        sever(request, reset=True)
        raise Severed("the script reset this connection")
    if action.spoils_answer:
        request._payload_writer = Outlet(request, fault)
    if action.html is not False:
        page = PAGE if action.html is True else action.html
        return web.Response(text=page, status=action.status or 200, content_type="text/html")
    return _stated(action, fault.ids[0])


def _stated(action: Action, rule: str) -> web.Response:
    status = action.status or 200
    if isinstance(action.body, str):
        return web.Response(text=action.body, status=status)
    body = action.body
    if body is None:
        body = {
            "status_code": status,
            "message": f"{responses.get(status, 'Unknown')} (fault {rule})",
            "request_id": request_id(),
        }
    return answer(body, status)
