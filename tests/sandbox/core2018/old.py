"""A plain client for the old server, and raw bytes for what a client would not send."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from tests.sandbox.api import Answer, Api

Json = dict[str, Any]
WIRE = Path(__file__).parents[2] / "fixtures" / "wire" / "core2018"


#: A time as the store has it.
STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}000)?\+00:00")


def wire(name: str) -> Any:
    """A transcript."""
    return json.loads((WIRE / name).read_text("utf-8"))


@dataclass(frozen=True)
class Part:
    """One part of a form; its name as it stands in the header."""

    name: str
    content: bytes
    filename: str | None = None


def form(*parts: Part, closed: bool = True) -> bytes:
    """The body of a form whose boundary is ``b``."""
    pieces = []
    for part in parts:
        named = "" if part.filename is None else f'; filename="{part.filename}"'
        head = f'--b\r\nContent-Disposition: form-data; name="{part.name}"{named}\r\n\r\n'
        pieces.append(head.encode() + part.content)
    return b"\r\n".join(pieces) + (b"\r\n--b--\r\n" if closed else b"")


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


class Old(Api):
    """Speaks to the old server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        super().__init__(session, url)
        self.key = key

    async def send(self, path: str, *parts: Part, closed: bool = True, **params: str) -> Answer:
        """POST a form."""
        body = io.BytesIO(form(*parts, closed=closed))  # its length is known: not chunked
        return await self.ask("POST", path, data=body, headers=FORM, params=params)

    async def put(self, where: str, name: str, content: bytes, **metadata: Any) -> Json:
        """Upload one file."""
        told = [Part("metadata", json.dumps(metadata).encode())] if metadata else []
        answer = await self.send(f"/{where}/files", Part("file", content, name), *told)
        assert answer.status == 200, answer
        [record] = answer.json
        found: Json = record
        return found

    async def place(self, strategy: str, metadata: Json, **files: bytes) -> Answer:
        """Upload files that say where they belong; ``a_txt`` stands for ``a.txt``."""
        sent = [Part("f", body, name.replace("_", ".")) for name, body in files.items()]
        told = Part("metadata", json.dumps(metadata).encode())
        return await self.send(f"/upload/{strategy}", told, *sent)


@asynccontextmanager
async def old_client(url: str, key: str, **headers: str) -> AsyncIterator[Old]:
    """An :class:`Old`; the key may come with its host, or be empty."""
    if key:
        headers["Authorization"] = f"scitran-user {key.rpartition(':')[2]}"
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Old(session, url, key)


@dataclass(frozen=True)
class OldTree:
    """One container of each kind."""

    group: str
    project: str
    session: str
    acquisition: str


async def plant(api: Old, code: str | None = "s1") -> OldTree:
    await api.ask("POST", "/groups", json={"_id": "lab", "label": "Lab"})
    project = await api.make("project", "Project A", group="lab")
    subject = {} if code is None else {"subject": {"code": code}}
    session = await api.make("session", "Sess 1", project=project, **subject)
    acquisition = await api.make("acquisition", "Acq 1", session=session)
    return OldTree("lab", project, session, acquisition)


@dataclass(frozen=True)
class Raw:
    """An answer as it came: status line, headers in order, and the rest."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    closed: bool

    def header(self, name: str) -> str | None:
        """A header, or nothing."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, found
        return found[0] if found else None


async def raw(api: Old, method: str, path: str, body: bytes = b"", **headers: str) -> Raw:
    """Send bytes, read bytes: one request on a connection of its own.

    ``User_Agent="x"`` stands for ``User-Agent: x``.
    """
    where = urlsplit(api._url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [f"{method} /api{quote(path, safe='/?=&%:,')} HTTP/1.1", f"Host: {where.netloc}"]
    if api.key:
        lines.append(f"Authorization: scitran-user {api.key.rpartition(':')[2]}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    try:
        return await _answer(reader, method)
    finally:
        writer.close()
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, method: str) -> Raw:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in head[1:-2])]
    if head[0].split()[1] == "100":  # not the answer yet
        return Raw(100, headers, b"", closed=False)
    named = {name.lower(): value for name, value in headers}
    length = named.get("content-length")
    if length is None and "transfer-encoding" not in named:
        return Raw(int(head[0].split()[1]), headers, await reader.read(), closed=True)
    body = b"" if method == "HEAD" else await reader.readexactly(int(length or 0))
    return Raw(int(head[0].split()[1]), headers, body, closed=False)
