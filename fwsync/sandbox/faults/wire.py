"""Bodies on their way: the answer's through an :class:`Outlet`, the request's by an :class:`Inlet`.

Both stand where aiohttp has its own writer and reader, so that handlers know nothing of them.
Their one rule: what the script does not speak of passes unchanged.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict

from fwsync.sandbox.exchange import EXCHANGE
from fwsync.sandbox.faults.register import Fault

PIECE: Final = 64 << 10  # bytes
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # linger, for no time: the kernel sends RST
_ALL_BITS: Final = 0xFF


class Severed(ConnectionResetError):
    """The script ended the connection; there is nobody to answer."""


def sever(request: web.Request, *, reset: bool) -> None:
    """End the connection of a request.

    Args:
        reset: by RST, and what was not sent yet is lost; otherwise what was written is sent, and
            the client sees an orderly end.
    """
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


class Outlet(StreamWriter):
    """Writes an answer with the faults of its head and body."""

    def __init__(self, request: web.Request, fault: Fault) -> None:
        super().__init__(request.protocol, asyncio.get_running_loop())
        self.on_body_write = request.writer.on_body_write
        self._request = request
        self._fault = fault
        self._at = 0  # bytes of the body so far
        self._cut_at = fault.action.cut_at
        self._stall_at = fault.action.stall_at
        self._over = False  # no byte of the body is sent any more

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Prepare the head, changed and late."""
        action = self._fault.action
        if self._over:
            raise Severed("the script ended this connection")
        if action.when == "after" and not action.instead:
            await self._fault.clock.sleep(action.delay_s)
        for name, value in action.headers.items():
            headers.popall(name, None)
            if value is not None:
                headers[name] = value
        if action.cut_with == "end" and self._cut_at is not None and self.length is not None:
            self.length = min(self.length, self._cut_at)
            headers["Content-Length"] = str(self.length)
        self._request[EXCHANGE].entry["status"] = int(status_line.split()[1])
        await super().write_headers(status_line, headers)

    async def write(self, chunk: Any, *, drain: bool = True, LIMIT: int = PIECE) -> None:  # noqa: N803
        """Send bytes of the body, or what becomes of them."""
        data = memoryview(chunk).cast("B")
        while data and not self._over:
            size = self._free(len(data))
            if size:
                await super().write(self._flipped(data[:size]), drain=drain, LIMIT=LIMIT)
                self._at += size
                data = data[size:]
                if self._fault.down is not None:
                    await self._fault.down.carry(size)
            if data and self._cut_at == self._at:
                await self._cut()
            elif data and self._stall_at == self._at:
                await self._stall()

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the rest, and the end."""
        if chunk:
            await self.write(chunk)
        if self.chunked and self._cut_at == self._at:
            await self._cut()  # the body is whole, but for the mark of its end
        await super().write_eof()

    def _free(self, size: int) -> int:
        """How many bytes may go before something happens."""
        if self._fault.down is not None:
            size = min(size, self._fault.down.piece)
        for place in (self._cut_at, self._stall_at):
            if place is not None and place >= self._at:
                size = min(size, place - self._at)
        return size

    def _flipped(self, data: memoryview) -> bytes:
        place = self._fault.action.flip_at
        if place is None or not self._at <= place < self._at + len(data):
            return bytes(data)
        changed = bytearray(data)
        changed[place - self._at] ^= _ALL_BITS
        return bytes(changed)

    async def _stall(self) -> None:
        self._stall_at = None
        await self._flush()
        await self._fault.clock.sleep(self._fault.action.stall_s or 0.0)

    async def _cut(self) -> None:
        self._cut_at, self._over = None, True
        how = self._fault.action.cut_with
        if how != "end":
            await self._flush()
            sever(self._request, reset=how == "reset")
            raise Severed("the script cut this body")

    async def _flush(self) -> None:
        """Hand everything to the kernel."""
        self.send_headers()
        line = self.transport
        if line is not None:
            # Wait for an empty buffer: TLS pauses at its limit, TCP only above it.
            line.set_write_buffer_limits(1 if line.get_extra_info("sslcontext") else 0, 0)
            await self.drain()


class Unheard(StreamWriter):
    """Takes an answer that nobody will get."""

    def __init__(self, request: web.Request) -> None:
        super().__init__(request.protocol, asyncio.get_running_loop())

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Forget the head."""

    async def write(self, chunk: Any, *, drain: bool = True, LIMIT: int = PIECE) -> None:  # noqa: N803
        """Forget bytes of the body; others get their turn, as if these had been sent."""
        await asyncio.sleep(0)
        if self.transport is None:
            raise Severed("the client is gone")

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Forget the end."""


class Inlet(StreamReader):
    """Reads a request at the pace of a link, and up to the byte where the script cuts it.

    A view of the reader that aiohttp fills: that one keeps the bytes and the state.
    """

    def __init__(self, request: web.Request, fault: Fault) -> None:
        super().__init__(request.protocol, PIECE, loop=asyncio.get_running_loop())
        self._inner = request._payload  # `content` would be remembered, and go past this
        self._request = request
        self._link = fault.up
        self._cut_at = fault.action.cut_upload_at
        self._cut_with = fault.action.cut_with

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes; all of them for -1."""
        if n < 0:
            return b"".join([piece async for piece in self.iter_any()])
        if self._link is not None:
            n = min(n, self._link.piece)
        if self._cut_at is not None:
            n = min(n, self._cut_at - self.total_bytes)
        data = await self._inner.read(n)
        await self._took(len(data))
        return data

    async def readany(self) -> bytes:
        """What is there, or will be."""
        return await self.read(PIECE)

    async def readchunk(self) -> tuple[bytes, bool]:
        """Like :meth:`readany`; the chunks of HTTP are not told."""
        return await self.readany(), False

    async def readuntil(self, separator: bytes = b"\n", *, max_size: int | None = None) -> bytes:
        """A line; a cut in the middle of it comes at its end."""
        data = await self._inner.readuntil(separator, max_size=max_size)
        await self._took(len(data))
        return data

    def exception(self) -> BaseException | None:
        """As the other reader."""
        return self._inner.exception()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """As the other reader."""
        self._inner.set_exception(exc, exc if exc_cause is None else exc_cause)

    def is_eof(self) -> bool:
        """As the other reader."""
        return self._inner.is_eof()

    def at_eof(self) -> bool:
        """As the other reader."""
        return self._inner.at_eof()

    async def _took(self, size: int) -> None:
        self.total_bytes += size
        if self._link is not None:
            await self._link.carry(size)
        if self._cut_at is None or self.total_bytes < self._cut_at or self._cut_with == "end":
            return
        sever(self._request, reset=self._cut_with == "reset")
        raise Severed("the script cut this upload")
