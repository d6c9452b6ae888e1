"""A server between fwsync and the sandbox that spoils what it is told to spoil."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from yarl import URL

Forward = Callable[[], Awaitable[web.Response]]
#: Given the request and how to pass it on; None: pass it on untouched.
Meddle = Callable[[web.Request, Forward], Awaitable[web.StreamResponse | None]]


class Meddler:
    """What was asked, and how each request is treated."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []
        self.meddle: Meddle | None = None
        self.query: dict[str, str] = {}  # overrides of parameters that are there
        self.drop: set[str] = set()  # headers that are not passed on

    def count(self, method: str, path: str) -> int:
        return self.asked.count((method, f"/api/{path}"))


@asynccontextmanager
async def meddling(target: str) -> AsyncIterator[Meddler]:
    meddler = Meddler()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def handler(request: web.Request) -> web.StreamResponse:
            data = await request.read()
            meddler.asked.append((request.method, request.path))

            async def forward() -> web.Response:
                url = URL(f"{target}{request.raw_path}", encoded=True)
                changed = {k: v for k, v in meddler.query.items() if k in url.query}
                headers = {
                    k: v
                    for k, v in request.headers.items()
                    if k.lower() not in {"host", "transfer-encoding", *meddler.drop}
                }
                async with session.request(
                    request.method, url.update_query(changed), data=data, headers=headers
                ) as answer:
                    kept = {
                        k: v
                        for k, v in answer.headers.items()
                        if k.lower() not in {"transfer-encoding", "content-length", "connection"}
                    }
                    content = await answer.read()
                    return web.Response(status=answer.status, body=content, headers=kept)

            if meddler.meddle is not None:
                answer = await meddler.meddle(request, forward)
                if answer is not None:
                    return answer
            return await forward()

        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", r"/{tail:[\s\S]*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        meddler.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield meddler
        finally:
            await runner.cleanup()


def cut(request: web.Request) -> web.Response:
    """Break the connection: the answer is lost."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
