"""A wire between client and server that is slow, ends, or breaks, as a test says."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n")

FaultKind = Literal["reset", "lost", "cut", "503", "html"]

_CANNED = {
    "503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\n"
    b"Content-Length: 13\r\nConnection: close\r\n\r\n<h1>busy</h1>",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    b"Content-Length: 14\r\nConnection: close\r\n\r\n<h1>login</h1>",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a relay does to one request.

    ``reset``: the server never sees it. ``lost``: the server acts on it, and its answer is lost.
    ``cut``: the answer breaks off after some bytes. ``503`` and ``html``: somebody else answers.
    """

    kind: FaultKind
    after: int = 0  #: bytes of the answer that come through, for ``cut``


@dataclass(slots=True)
class _Line:
    """One connection through the relay."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    fault: Fault | None = None
    answered: int = 0  # bytes of the answer to the request with the fault


@dataclass(slots=True)
class _Side:
    """The limits of one direction."""

    rate: float | None = None  # bytes per second
    budget: int | None = None  # bytes that still come through
    free_at: float = 0.0
    passed: int = 0


class Relay:
    """TCP between client and server, with limits and faults; lives in the loop of a ``Ground``.

    ``stalled`` is set when a budget is used up: nothing more comes through until it is lifted.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._up, self._down = _Side(), _Side()
        self._lifted = asyncio.Event()
        self._lines: dict[asyncio.Task[None], _Line] = {}
        self._script: Callable[[int, str], Fault | None] | None = None
        self.stalled = threading.Event()
        self.requests = 0
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._lines)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def limit(
        self,
        *,
        up: int | None = None,
        down: int | None = None,
        up_rate: float | None = None,
        down_rate: float | None = None,
    ) -> None:
        """New limits for what comes from now on; none for what is not given."""
        self._up, self._down = _Side(up_rate, up), _Side(down_rate, down)
        self.stalled.clear()
        self._lifted.set()
        self._lifted = asyncio.Event()

    async def script(self, script: Callable[[int, str], Fault | None] | None) -> None:
        """(number of the request from 1, its first line) -> what happens to it."""
        self._script = script
        self.requests = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        line = self._lines[task] = _Line(writer, server_writer)
        pumps = [
            asyncio.create_task(self._pump_up(reader, line)),
            asyncio.create_task(self._pump_down(server_reader, line)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the relay is closed
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in (writer, server_writer):
                one.close()
                with suppress(OSError):
                    await one.wait_closed()
            del self._lines[task]

    async def _pump_up(self, reader: asyncio.StreamReader, line: _Line) -> None:
        with suppress(OSError):
            while chunk := await reader.read(1 << 16):
                # A client that waits for its answers begins each request in a read of its own.
                if request := _REQUEST.match(chunk):
                    self.requests += 1
                    line.fault, line.answered = None, 0
                    if self._script is not None:
                        line.fault = self._script(self.requests, request[0].decode())
                    if line.fault is not None and line.fault.kind == "reset":
                        line.client.transport.abort()
                        return
                    if line.fault is not None and line.fault.kind in _CANNED:
                        line.client.write(_CANNED[line.fault.kind])
                        await line.client.drain()
                        return
                await self._pass(chunk, line.server, "_up")

    async def _pump_down(self, reader: asyncio.StreamReader, line: _Line) -> None:
        with suppress(OSError):
            while chunk := await reader.read(1 << 16):
                fault = line.fault
                if fault is not None:
                    left = fault.after - line.answered if fault.kind == "cut" else 0
                    line.answered += len(chunk)
                    if len(chunk) >= left:
                        await self._pass(chunk[:left], line.client, "_down")
                        line.client.transport.abort()
                        return
                await self._pass(chunk, line.client, "_down")

    async def _pass(
        self, chunk: bytes, writer: asyncio.StreamWriter, which: Literal["_up", "_down"]
    ) -> None:
        while chunk:
            side: _Side = getattr(self, which)
            some = len(chunk) if side.budget is None else min(side.budget, len(chunk))
            if not some:
                lifted = self._lifted
                self.stalled.set()
                await lifted.wait()
                continue
            if side.rate is not None:
                now = time.monotonic()
                side.free_at = max(side.free_at, now) + some / side.rate
                await asyncio.sleep(side.free_at - now)
            if side.budget is not None:
                side.budget -= some
            writer.write(chunk[:some])
            side.passed += some
            chunk = chunk[some:]
            await writer.drain()
