"""The three steps of a signed upload, and what the tests change in them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.stores import Dialect
from tests.sandbox.api import Answer, Api, Json, Tree, client, plant

MULTIPART = {"X-Accept-Feature": "Safe-Redirect,multipart_signed_url"}
CLOUDS: tuple[Dialect, ...] = ("s3", "azure", "gcs")
DIALECTS: tuple[Dialect, ...] = ("local", *CLOUDS)


def only(*dialects: Dialect) -> pytest.MarkDecorator:
    """The stores that a test, or a module of them, is for."""
    return pytest.mark.parametrize("flow", dialects, indirect=True)


async def chunks() -> AsyncIterator[bytes]:
    """A body whose length nobody knows beforehand."""
    yield b"hello"


def error_code(answer: Answer) -> str:
    """The code of a cloud's error, whose shape is looked at too."""
    assert "application/xml" == answer.headers["Content-Type"]
    head = r'<\?xml version="1.0" encoding="UTF-8"\?>\s*'
    told = f"{head}<Error><Code>([^<]+)</Code><Message>[^<]+</Message>"
    found = re.match(told, answer.body.decode())
    assert found, answer
    return found[1]


def flywheel_hash(content: bytes) -> str:
    return f"v0-sha384-{hashlib.sha384(content).hexdigest()}"


@dataclass(frozen=True)
class Flow:
    """A sandbox with a store, and somebody who has no key."""

    sandbox: Sandbox
    api: Api
    tree: Tree
    nobody: aiohttp.ClientSession

    @property
    def files(self) -> str:
        return f"/acquisitions/{self.tree.acquisition}/files"

    @property
    def incoming(self) -> list[Path]:
        """What lies aside: bytes that are not in their place."""
        return sorted((self.sandbox.site.settings.data / "incoming").iterdir())

    async def aside(self, count: int) -> None:
        """Wait until so many files lie aside: they are removed in threads, which nobody awaits."""
        while len(self.incoming) != count:  # a time-out ends it
            await asyncio.sleep(0)

    def tick(self, seconds: float) -> None:
        """Let the store's clock go on."""
        objects = self.sandbox.site.store.objects
        before = objects.now
        objects.now = lambda: before() + seconds

    def switch(self, **changes: Any) -> None:
        self.sandbox.site.switches = self.sandbox.site.switches.changed(changes)

    async def ask(self, name: str, size: int | None = None, **told: Any) -> Answer:
        """Step 1, as SDK 23 does it."""
        metadata = told | ({} if size is None else {"size": size})
        return await self.api.ask(
            "POST",
            self.files,
            params={"ticket": ""},
            json={"metadata": metadata, "filenames": [name]},
            headers=MULTIPART,
        )

    async def minted(self, name: str, size: int | None = None, **told: Any) -> Json:
        answer = await self.ask(name, size, **told)
        assert answer.status == 200, answer
        minted: Json = answer.json
        return minted

    async def send(
        self, method: str, url: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request without a key."""
        if isinstance(data, bytes) and len(data) > 1 << 20:
            data = io.BytesIO(data)
        async with self.nobody.request(
            method,
            URL(url, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=["Content-Type"],
        ) as answer:
            return Answer(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def put(self, url: str, data: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Step 2."""
        return await self.send("PUT", url, data, headers)

    async def put_all(self, minted: Json, name: str, content: bytes) -> Json | None:
        """Step 2 for every URL; what step 3 has to say.

        Source: the part sizes and headers are those of SDK 23.
        """
        urls = minted["urls"][name]
        urls = urls if isinstance(urls, list) else [urls]
        even = -(-len(content) // len(urls))
        size = even + (256 << 10) - even % (256 << 10)
        tags = []
        for number, url in enumerate(urls):
            part = content[number * size : (number + 1) * size]
            headers = dict(minted["headers"])
            if ".googleapis." in url:
                last = number * size + len(part) - 1
                headers["Content-Range"] = f"bytes {number * size}-{last}/{len(content)}"
            answer = await self.put(url, part, headers)
            assert answer.status < 400, answer
            tags.append(answer.headers.get("ETag", "").strip('"'))
        if ".s3." not in urls[0]:
            return None
        upload_id = dict(parse_qsl(urlsplit(urls[0]).query))["uploadId"]
        return {"multipart": {"e_tags": tags, "upload_id": upload_id}}

    async def end(self, ticket: str, body: Json | None = None, **params: str) -> Answer:
        """Step 3; without a body it is empty, though its type is JSON."""
        return await self.api.ask(
            "POST",
            self.files,
            params={"ticket": ticket, **params},
            headers={"Content-Type": "application/json"},
            **({} if body is None else {"json": body}),
        )

    async def upload(self, name: str, content: bytes, **told: Any) -> Json:
        """All of it; the entry."""
        minted = await self.minted(name, len(content) or None, **told)
        answer = await self.end(minted["ticket"], await self.put_all(minted, name, content))
        assert answer.status == 200, answer
        [entry] = answer.json
        found: Json = entry
        return found

    async def read(self, name: str) -> bytes:
        answer = await self.api.ask("GET", f"{self.files}/{quote(name, safe='')}")
        assert answer.status == 200, answer
        return answer.body


@asynccontextmanager
async def running(
    data: Path, store: Dialect, tree: Tree | None = None, **changes: Any
) -> AsyncIterator[Flow]:
    async with (
        running_sandbox(data, store=store, **changes) as sandbox,
        client(sandbox.url, sandbox.api_key) as api,
        aiohttp.ClientSession() as nobody,
    ):
        yield Flow(sandbox, api, tree or await plant(api), nobody)
