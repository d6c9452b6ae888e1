"""Servers on loopback that answer as they are told, and a clock that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from fwsync.remotes.http import Api

KEY = "planted-secret-key-0123456789"


@dataclass(slots=True)
class Clock:
    """Time that passes only by sleeping."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A server on loopback; its address."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", r"/{tail:[\s\S]*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, **options)
    await site.start()
    scheme = "https" if options.get("ssl_context") else "http"
    try:
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving_raw(handler: Raw) -> AsyncIterator[str]:
    """A server that speaks bytes, for what no HTTP library would answer."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def patient(url: str, clock: Clock, **options: Any) -> Api:
    """An Api whose waits take no time."""
    options = {
        "now": clock.now,
        "sleep": clock.sleep,
        "wall": lambda: 1_800_000_000.0,
        "random": lambda: 0.5,
        **options,
    }
    return Api(url, KEY, **options)


def in_turn(*answers: Callable[[], web.StreamResponse]) -> tuple[Handler, list[web.Request]]:
    """A handler that gives these answers one after the other, the last one for ever."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        seen.append(request)
        return answers[min(len(seen), len(answers)) - 1]()

    return handler, seen


def ok() -> web.Response:
    return web.json_response({"ok": True})


def status(code: int, **headers: str) -> Callable[[], web.Response]:
    def answer() -> web.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"message": f"said {code}"}, status=code, headers=names)

    return answer
