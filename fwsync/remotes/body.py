"""Request bodies of known length that are made while they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from fwsync.errors import SourceChanged
from fwsync.remotes.throttle import Throttle

_SLICE = 64 * 1024  # bytes handed to the socket at a time: what one stall is measured for


class Body(Payload):
    """A body of known length. It is sent once; a second attempt takes a new one.

    If its source fails, or is not as long as announced, the request is broken off before
    it is complete, and :attr:`error` says why.

    Args:
        chunks: the bytes; a generator, so that it can be closed.
        size: how many there will be.
    """

    _autoclose = True

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        size: int,
        *,
        content_type: str = "application/octet-stream",
    ) -> None:
        super().__init__(chunks, content_type=content_type)
        self._chunks = chunks
        self._size = self._left = size
        self._told: Callable[[int], None] = lambda _n: None
        self._stall_s: float | None = None
        self._throttle: Throttle | None = None
        self._settled = asyncio.Event()
        self.error: Exception | None = None  #: what the source raised

    def bind(
        self, told: Callable[[int], None], stall_s: float, throttle: Throttle | None = None
    ) -> None:
        """Who is told of each slice sent, how long one may take, and who says when it may go.

        Args:
            told: gets the bytes of each slice.
            stall_s: seconds; waiting for the throttle does not count.
            throttle: the bandwidth that all bodies share.
        """
        self._told = told
        self._stall_s = stall_s
        self._throttle = throttle

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not for this body: it is never held as a whole."""
        raise TypeError("a streamed body has no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Send it, no more and no less than was announced."""
        self._consumed = True
        try:
            await self._write(writer)
        finally:
            self._settled.set()

    async def _write(self, writer: AbstractStreamWriter) -> None:
        left = self._left
        while (chunk := await self._next()) is not None:
            left -= len(chunk)
            if left < 0:
                break
            start = 0
            while start < len(chunk):
                # The loop looks at the socket first: an early answer (413, 401) must be
                # seen before we write into a connection that is being closed.
                await asyncio.sleep(0)
                part = await self._allowed(chunk, start)
                start += len(part)
                async with asyncio.timeout(self._stall_s):
                    await writer.write(part)
                self._told(len(part))
        if left != 0:
            self.error = SourceChanged("the file is not as long as it was when it was looked at")
            raise aiohttp.ClientPayloadError("broken off: the body is not as long as announced")

    async def _allowed(self, chunk: bytes, start: int) -> bytes:
        """The next slice, when it may go."""
        if self._throttle is None:
            return chunk[start : start + _SLICE]
        part = chunk[start : start + min(_SLICE, self._throttle.grain)]
        await self._throttle.spend(len(part))
        return part

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except Exception as error:
            self.error = error
            raise

    async def settle(self) -> None:
        """Wait until nothing of it is being sent any more, and close its source."""
        if self._consumed:
            await self._settled.wait()
        aclose = getattr(self._chunks, "aclose", None)
        if aclose is not None:
            await aclose()
