"""A client that shows the bytes: what came over the connection, and how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fwsync.sandbox import Sandbox


@dataclass(frozen=True)
class Heard:
    """Everything that came, until the server ended the connection."""

    head: str
    body: bytes
    reset: bool

    @property
    def status(self) -> int:
        return int(self.head.split()[1]) if self.head else 0

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name.lower():
                return value
        return None


async def hear(
    sandbox: Sandbox,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    length: int | None = None,
    headers: str = "",
    host: str = "x",
) -> Heard:
    """Ask with the admin's key, on a connection of its own, and listen to the end.

    Args:
        length: that is announced; that of the body unless given.
        headers: more of them, each line with its end.
        host: what the Host header says; undecodable bytes as ``surrogateescape`` has them.
    """
    address, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    size = len(body) if length is None else length
    writer.write(
        f"{method} /api{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Authorization: Bearer {sandbox.api_key.rpartition(':')[2]}\r\n"
        f"Content-Length: {size}\r\n{headers}\r\n".encode("utf-8", "surrogateescape")
    )
    heard, reset = b"", False
    try:
        writer.write(body)
        await writer.drain()
    except ConnectionError:
        reset = True
    try:
        while data := await reader.read(1 << 20):
            heard += data
    except ConnectionError:
        reset = True
    finally:
        writer.transport.abort()
    head, _, rest = heard.partition(b"\r\n\r\n")
    return Heard(head.decode(), rest, reset)


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether its last chunk came."""
    found = b""
    while body:
        line, _, rest = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return found, True
        found += rest[:size]
        body = rest[size + 2 :]
    return found, False
