"""One process between every contestant and the server: it adds latency, and nothing else.

    python bench/relay.py --to PORT [--delay-ms MS] [--window BYTES]

Listens on a free port, prints it, and passes bytes on both ways, each held back by half of
the delay, so that a request and its answer take the whole of it longer. One direction of
one connection has no more bytes under way than the window, and they are under way until
word of them could have come back: a whole delay. So one connection moves at most a window
in each delay, as it is on a long line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
from collections import deque
from dataclasses import dataclass, field

WINDOW = 16 << 20
CHUNK = 256 << 10


@dataclass(frozen=True)
class Line:
    """What the line is like."""

    delay_s: float  # of a round trip
    window: int  # bytes


@dataclass
class Way:
    """One direction of one connection."""

    left: int  # of the window
    is_room: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Queue[tuple[float, bytes]] = field(default_factory=asyncio.Queue)
    out: deque[int] = field(default_factory=deque)

    def back(self) -> None:
        """Word of the oldest bytes has come back."""
        self.left += self.out.popleft()
        self.is_room.set()


async def hold_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """Pass on what comes, each piece after half of the delay, in order."""
    loop = asyncio.get_running_loop()
    way = Way(line.window)

    async def take() -> None:
        while True:
            while not way.left:
                way.is_room.clear()
                await way.is_room.wait()
            chunk = await reader.read(min(CHUNK, way.left))
            way.left -= len(chunk)
            way.held.put_nowait((loop.time() + line.delay_s / 2, chunk))
            if not chunk:
                return

    taking = asyncio.create_task(take())
    try:
        while True:
            due, chunk = await way.held.get()
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
            way.out.append(len(chunk))
            if line.delay_s:
                loop.call_later(line.delay_s / 2, way.back)
            else:
                way.back()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        pass  # the other side is gone: so is this one
    finally:
        taking.cancel()


async def relay(port: int, line: Line) -> None:
    """Listen until the process is stopped."""

    async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
        except OSError:
            writer.close()
            return
        for side in (writer, back):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(hold_back(reader, back, line), hold_back(there, writer, line))
        for side in (writer, back):
            side.close()
            with contextlib.suppress(OSError):
                await side.wait_closed()

    server = await asyncio.start_server(passing, "127.0.0.1", 0, limit=CHUNK, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=int, required=True, help="port of the server")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="added to each round trip")
    parser.add_argument("--window", type=int, default=WINDOW, help="bytes of one connection")
    wanted = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(relay(wanted.to, Line(wanted.delay_ms / 1000, wanted.window)))
    sys.exit(0)


if __name__ == "__main__":
    main()
