"""A plain client for the tests: one method for each thing they say."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import aiohttp
from multidict import CIMultiDict

from fwsync.sandbox import Sandbox
from fwsync.sandbox.kept.blobs import WRITERS

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Api:
    """Speaks to a sandbox with one key."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        base = "" if path.startswith("/sandbox/") else "/api"
        async with self._session.request(method, self._url + base + path, **options) as answer:
            return Answer(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def get(self, path: str, **params: str | int) -> Any:
        answer = await self.ask("GET", path, params=params)
        assert answer.status == 200, answer
        return answer.json

    async def post(self, path: str, body: Any, **params: str) -> Any:
        answer = await self.ask("POST", path, json=body, params=params)
        assert answer.status == 200, answer
        return answer.json

    async def make(self, kind: str, label: str, **fields: Any) -> str:
        made: str = (await self.post(f"/{kind}s", {"label": label, **fields}))["_id"]
        return made

    async def upload(
        self, where: str, files: dict[str, bytes], metadata: str | None = None, **params: str
    ) -> list[Json]:
        form = aiohttp.FormData(default_to_multipart=True)
        if metadata is not None:
            form.add_field("metadata", metadata)
        for name, content in files.items():
            form.add_field("file", io.BytesIO(content), filename=name)
        answer = await self.ask("POST", f"/{where}/files", data=form, params=params)
        assert answer.status == 200, answer
        entries: list[Json] = answer.json
        return entries

    async def tar(self, ticket: str) -> dict[str, bytes]:
        answer = await self.ask("GET", "/download", params={"ticket": ticket})
        assert answer.status == 200, answer
        return unpack(answer.body)


def unpack(body: bytes) -> dict[str, bytes]:
    """Members of a tar by name."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    return found


@asynccontextmanager
async def client(url: str, key: str) -> AsyncIterator[Api]:
    """An :class:`Api`; the key may come with its host, or be empty."""
    headers = {"Authorization": f"Bearer {key.rpartition(':')[2]}"} if key else {}
    connector = aiohttp.TCPConnector(limit=32)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield Api(session, url)


@dataclass(frozen=True)
class Tree:
    """One container of each kind, in one line."""

    group: str
    project: str
    subject: str
    session: str
    acquisition: str


async def plant(api: Api, group: str = "grp", project: str = "Proj") -> Tree:
    """Make a tree."""
    await api.ask("POST", "/groups", json={"_id": group, "label": group.title()})
    pid = await api.make("project", project, group=group)
    sid = await api.make("subject", "sub-01", project=pid)
    eid = await api.make("session", "ses-01", project=pid, subject={"_id": sid})
    aid = await api.make("acquisition", "acq-01", session=eid)
    return Tree(group, pid, sid, eid, aid)


async def settled(sandbox: Sandbox) -> None:
    """Comes back when every piece of file work that was begun is done."""
    everybody = Barrier(WRITERS)
    await asyncio.gather(*(sandbox.site.blobs.run(everybody.wait) for _ in range(WRITERS)))
