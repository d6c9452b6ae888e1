"""What passes between a client and the sandbox: one exchange, and the record of them all.

Its one rule: nothing that opens a door is kept. Headers are not recorded, but for the name of the
client's program; of a query, tickets, tokens, signatures and metadata are masked, and of a path,
the key that is to be deleted.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote

from aiohttp import web

if TYPE_CHECKING:
    from fwsync.sandbox.faults.members import Mischief
    from fwsync.sandbox.kept.access import Caller

MAX_REQUESTS: Final = 10_000  # kept one by one; the counts go on
MAX_AGENT: Final = 200  # characters
PIECE: Final = 1 << 20  # bytes
MASK: Final = "***"
_SECRET: Final = (
    "ticket",
    "token",
    "signature",
    "sig",
    "credential",
    "metadata",
    "key",
    "secret",
    "awsaccesskeyid",
    "googleaccessid",
    "uploadid",
    "upload_id",
)
#: SDK 23 names a key by the key itself when it deletes one.
_KEY: Final = re.compile(r"^(/+api/(?:users|devices)/[^/]+/key/).+", re.DOTALL)
_PLAIN: Final = ("true", "false", "1", "0")  # a switch of the same name, as `metadata=true` is


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Args:
        entry: what is recorded of it; the bytes sent are counted while they leave.
        in_pieces: every byte of the answer must go through ``write``, none past it.
        past: the time at which the site is looked at; ``None`` is now.
        mischief: what is done to an archive.
        no_range: a Range is not seen.
    """

    entry: dict[str, Any]
    in_pieces: bool = False
    past: str | None = None
    mischief: Mischief | None = None
    no_range: bool = False

    @classmethod
    def of(cls, request: web.Request) -> Exchange:
        """The exchange that a request begins."""
        return cls(
            {
                "method": request.method,
                "path": _KEY.sub(rf"\1{MASK}", unquote(request.rel_url.raw_path)),
                "query": masked(request.rel_url.raw_query_string),
                "route": "-",
                "status": 0,
                "carried_out": None,
                "received": 0,
                "sent": 0,
                "faults": [],
                "caller": None,
                "user_agent": request.headers.get("User-Agent", "")[:MAX_AGENT],
            }
        )

    def count(self, size: int, _: int = 0) -> None:
        """Bytes of the body of the answer have left."""
        self.entry["sent"] += size

    def told(self, caller: Caller) -> None:
        """Who asks is known now."""
        self.entry["caller"] = {"kind": caller.kind, "id": caller.id}


EXCHANGE: Final = web.RequestKey("exchange", Exchange)


def asked_range(request: web.Request) -> str | None:
    """The Range that a request asks for, if it is to be seen."""
    return None if request[EXCHANGE].no_range else request.headers.get("Range")


async def pump(
    request: web.Request, response: web.StreamResponse, file: BinaryIO, start: int, length: int
) -> None:
    """Send bytes of a file as a part of the body, the head being prepared.

    They go from the kernel's cache to the network, if nothing stands in between.

    Args:
        file: not buffered, and as long as it is said to be.
    """
    exchange, transport = request[EXCHANGE], request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    if not exchange.in_pieces:
        loop = asyncio.get_running_loop()
        exchange.count(await loop.sendfile(transport, file, start, length))
        return
    await asyncio.to_thread(file.seek, start)
    while length and (data := await asyncio.to_thread(file.read, min(length, PIECE))):
        length -= len(data)
        await response.write(data)


@dataclass
class RequestLog:
    """What was asked of this sandbox, for tests that count requests.

    Of each request: ``method``, ``path``, ``query`` (masked), ``route``, ``status`` (0: it got no
    answer; 499: the client went away), ``carried_out`` (the status the work came to, ``None``
    when it was not done), ``received`` and ``sent`` (bytes of the bodies), ``faults`` (ids of the
    rules that fired), ``caller`` (``kind`` and ``id``) and ``user_agent``.
    """

    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_REQUESTS))
    counts: dict[str, int] = field(default_factory=dict)
    total: int = 0
    era: int = 0  #: how often it was cleared; what began in an earlier one is not recorded

    def add(self, entry: dict[str, Any]) -> None:
        """Record a request that was answered, or is being answered."""
        self.total += 1
        name = f"{entry['method']} {entry['route']}"
        self.counts[name] = self.counts.get(name, 0) + 1
        self.recent.append(entry)

    def clear(self) -> None:
        """Start to count anew; requests that are still under way are of before."""
        self.era += 1
        self.recent.clear()
        self.counts.clear()
        self.total = 0


def masked(query: str) -> str:
    """A query without what it must not tell: ``ticket=***``. An empty value stays empty."""
    return "&".join(map(_masked, query.split("&")))


def _masked(pair: str) -> str:
    name, _, value = pair.partition("=")
    told = unquote(name).lower()
    word = told.replace("_", "-").rpartition("-")[2]
    if word == "metadata" and value.lower() in _PLAIN:
        return pair
    if value and (word in _SECRET or told in _SECRET):
        return f"{name}={MASK}"
    return pair
