"""Signed uploads to others' stores, by addresses that the clouds' own libraries sign: moto's S3
server and Azurite. Run by ``make tools``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from fwsync.errors import Refused
from fwsync.model import Level, RelPath, RemoteEntry
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.signed import MINTS, SignedRoute
from fwsync.sources import Source
from tests.remotes.conftest import KEY, serving
from tests.remotes.routes.signing import MiB, noise
from tests.room.rooms import descriptor, local, plant
from tests.sandbox.stores.servers import ACCOUNT, SECRET, Signer, moto, running_azurite, signer

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]

BUCKET = "fw.s3.test"
CREDENTIALS = ["key", "secret"]
OBJECT = "files/ü b"


@pytest.fixture(scope="module")
def sign() -> Iterator[Signer]:
    with signer() as made:
        yield made


@pytest.fixture(scope="module")
def moto_url(sign: Signer) -> Iterator[str]:
    with moto() as url:
        told = {"endpoint": url, "key": CREDENTIALS, "operation": "create_bucket"}
        sign("s3_call", **told, params={"Bucket": BUCKET})
        yield url


@pytest.fixture(scope="module")
def azurite_url(sign: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_azurite(tmp_path_factory.mktemp("azurite")) as url:
        sign("azure_container", endpoint=url, account=ACCOUNT, secret=SECRET, container="files")
        yield url


class CloudSite(ABC):
    """A site whose files are in somebody else's store."""

    def __init__(self, sign: Signer, endpoint: str, parts: int, life_s: int = 60) -> None:
        self._sign, self.endpoint = sign, endpoint
        self._one_at_a_time = threading.Lock()
        self.parts, self.life_s = parts, life_s
        self.size = 0
        self.minted = 0

    def sign(self, name: str, **told: Any) -> Any:
        with self._one_at_a_time:
            return self._sign(name, endpoint=self.endpoint, **told)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        told = json.loads(body) if body else {}
        if request.query["ticket"] == "":
            self.minted += 1
            self.size = told["metadata"]["size"]
            urls = await asyncio.to_thread(self.mint)
            return web.json_response({"ticket": "t", "urls": {"f": urls}, "headers": None})
        await self.join(told.get("multipart"))
        size = int((await self.head())["Content-Length"])
        where = {"type": "acquisition", "id": "a1"}
        return web.json_response([{"name": "f", "size": size, "hash": "", "parent_ref": where}])

    @abstractmethod
    def mint(self) -> str | list[str]:
        """The signed address to put the file to, or those of its parts."""

    @abstractmethod
    async def join(self, multipart: Any) -> None:
        """Make the object of its parts, if it went in parts."""

    @abstractmethod
    def readable(self) -> str:
        """A signed address to read the object from."""

    async def head(self) -> Any:
        async with aiohttp.ClientSession() as session:
            url = URL(await asyncio.to_thread(self.readable), encoded=True)
            async with session.get(url) as answer:
                assert answer.status == 200, await answer.text()
                self.content = await answer.read()
                return answer.headers


class Moto(CloudSite):
    upload_id = ""

    def mint(self) -> str | list[str]:
        place = {"Bucket": BUCKET, "Key": OBJECT}
        signed = {"key": CREDENTIALS, "life_s": self.life_s}
        if not self.parts:
            url: str = self.sign("s3", operation="put_object", params=place, **signed)
            return url
        begin = {"key": CREDENTIALS, "operation": "create_multipart_upload", "params": place}
        self.upload_id = self.sign("s3_call", **begin)["UploadId"]
        told = [
            place | {"UploadId": self.upload_id, "PartNumber": n + 1} for n in range(self.parts)
        ]
        return [self.sign("s3", operation="upload_part", params=one, **signed) for one in told]

    async def join(self, multipart: Any) -> None:
        assert (multipart is not None) is bool(self.parts)
        if multipart:
            assert multipart["upload_id"] == self.upload_id
            tags = enumerate(multipart["e_tags"], 1)
            parts = [{"ETag": tag, "PartNumber": number} for number, tag in tags]
            told = {"Bucket": BUCKET, "Key": OBJECT, "UploadId": self.upload_id}
            await asyncio.to_thread(
                self.sign,
                "s3_call",
                key=CREDENTIALS,
                operation="complete_multipart_upload",
                params=told | {"MultipartUpload": {"Parts": parts}},
            )

    def readable(self) -> str:
        place = {"Bucket": BUCKET, "Key": OBJECT}
        told = {"operation": "get_object", "key": CREDENTIALS, "life_s": 60, "params": place}
        url: str = self.sign("s3", **told)
        return url


class Azurite(CloudSite):
    ids: list[str]

    def url(self, permission: str, life_s: int = 60) -> str:
        url: str = self.sign(
            "azure",
            account=ACCOUNT,
            secret=SECRET,
            container="files",
            key=OBJECT,
            permission=permission,
            life_s=life_s,
            parameters={},
        )
        return url

    def mint(self) -> str | list[str]:
        url = self.url("cw", self.life_s)
        self.ids = [base64.b64encode(b"%08d" % n).decode() for n in range(self.parts)]
        if not self.parts:
            return url
        return [f"{url}&comp=block&blockid={quote(one, safe='')}" for one in self.ids]

    async def join(self, multipart: Any) -> None:
        assert multipart is None
        if self.parts:
            items = "".join(f"<Latest>{one}</Latest>" for one in self.ids)
            text = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{items}</BlockList>"
            url = await asyncio.to_thread(self.url, "cw")
            async with (
                aiohttp.ClientSession() as session,
                session.put(
                    URL(f"{url}&comp=blocklist", encoded=True), data=text.encode()
                ) as answer,
            ):
                assert answer.status == 201, await answer.text()

    def readable(self) -> str:
        return self.url("r")


async def meet(site: CloudSite, folder: Path, content: bytes) -> Any:
    """Send a file to it; the entry, or the error."""
    plant(folder, {"f": content})
    container = Container(Level.ACQUISITION, "a1", ("g", "p", "s", "e", "a"), RelPath(""), "e1")
    with descriptor(folder) as root_fd:
        async with serving(site.answer) as url, Api(url, KEY, patience_s=5) as api:
            source = Source(root_fd, local(folder, "f"), lambda *_: None)
            route = SignedRoute(api)
            [sent] = [one async for one in route.send([Parcel(source, container, "f")])]
            assert sent.error is not None or source.seen is not None
            return sent.entry or sent.error


@pytest.mark.parametrize(("parts", "size"), [(0, 5), (0, 3 * MiB), (1, 7), (3, 16 * MiB + 1)])
@pytest.mark.parametrize("cloud", [Moto, Azurite])
async def test_the_same_bytes_arrive(
    cloud: type[CloudSite],
    parts: int,
    size: int,
    sign: Signer,
    moto_url: str,
    azurite_url: str,
    tmp_path: Path,
) -> None:
    site = cloud(sign, moto_url if cloud is Moto else azurite_url, parts)
    entry = await meet(site, tmp_path, noise(size))

    assert isinstance(entry, RemoteEntry), entry
    assert (entry.size, entry.digest, site.minted) == (size, None, 1)
    assert site.content == noise(size)


@pytest.mark.parametrize("parts", [0, 2])
async def test_an_address_of_azure_that_has_expired_is_asked_for_again(
    parts: int, sign: Signer, azurite_url: str, tmp_path: Path
) -> None:
    """moto does not look at the time."""
    site = Azurite(sign, azurite_url, parts, life_s=-5)
    error = await meet(site, tmp_path, noise(100))

    assert isinstance(error, Refused)
    assert "AuthorizationFailure" in error.message or "AuthenticationFailed" in error.message
    assert site.minted == MINTS
