"""The same requests to our stores and to others': moto's S3 server, and Azurite.

They are signed by the clouds' own libraries, and what is compared is statuses, codes, ETags,
ranges and bodies. moto takes wrong and expired signatures and bodies without a length, so those
are not asked of it; Azurite has another code for a wrong signature than the service, so there the
status alone is compared.

Run by ``make tools``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from fwsync.errors import RemoteError
from fwsync.remotes.body import Body
from fwsync.remotes.http import Api
from fwsync.sandbox.stores import S3, Azure, Gcs, sigv4
from fwsync.sandbox.stores.azure import signature
from tests.sandbox.api import Answer
from tests.sandbox.stores.flow import Flow, running
from tests.sandbox.stores.servers import ACCOUNT, SECRET, Signer, moto, running_azurite, signer

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]

MiB = 1 << 20
KEY = "a b/ü&=+#.nii.gz"
IDS = [base64.b64encode(b"%08d" % number).decode() for number in range(3)]
BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}
BUCKET = "fw.s3.test"

keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda key: not key.startswith("/") and not set(key.split("/")) & {".", ".."}
)


@pytest.fixture(scope="module")
def sign() -> Iterator[Signer]:
    with signer() as made:
        yield made


@pytest.fixture(scope="module")
def moto_url(sign: Signer) -> Iterator[str]:
    with moto() as url:
        sign(
            "s3_call",
            endpoint=url,
            key=["key", "secret"],
            operation="create_bucket",
            params={"Bucket": BUCKET},
        )
        yield url


@pytest.fixture(scope="module")
def azurite_url(sign: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_azurite(tmp_path_factory.mktemp("azurite")) as url:
        sign("azure_container", endpoint=url, account=ACCOUNT, secret=SECRET, container="files")
        yield url


def seen(answer: Answer, *names: str) -> tuple[Any, ...]:
    """What is compared of an answer."""
    code = re.search(rb"<Code>(.*)</Code>", answer.body)
    body = answer.body if answer.status < 400 else b""
    return (
        answer.status,
        code[1] if code else b"",
        hashlib.sha256(body).hexdigest(),
        *(answer.headers.get(name) for name in names),
    )


# ---------------------------------------------------------------------------------------- S3


@dataclass(frozen=True)
class S3Server:
    """One that speaks S3."""

    url: str
    key: list[str]
    sign: Signer

    def signed(self, operation: str, key: str, **params: Any) -> str:
        url: str = self.sign(
            "s3",
            endpoint=self.url,
            key=self.key,
            operation=operation,
            life_s=60,
            params={"Bucket": BUCKET, "Key": key, **params},
        )
        return url


async def s3_exchange(flow: Flow, server: S3Server, upload_id: str) -> list[tuple[Any, ...]]:
    """Single PUT, ranged GETs, errors, three parts."""
    put, get = server.signed("put_object", KEY), server.signed("get_object", KEY)
    answers = [seen(await flow.put(put, b"hello"), "ETag", "Content-Length")]
    answers += [
        seen(
            await flow.send("GET", get, headers={"Range": wanted}),
            "ETag",
            "Content-Range",
            "Accept-Ranges",
            "Content-Length" if not wanted.endswith("9-") else "",
        )
        for wanted in ("bytes=1-2", "bytes=3-100", "bytes=-2", "bytes=9-")
    ]
    answers.append(seen(await flow.send("GET", get), "ETag", "Content-Type", "Content-Length"))
    answers.append(seen(await flow.send("GET", server.signed("get_object", "none"))))
    for number, content in enumerate((b"1" * 5 * MiB, b"2" * 5 * MiB, b"end"), 1):
        url = server.signed("upload_part", "big", UploadId=upload_id, PartNumber=number)
        answers.append(seen(await flow.put(url, content), "ETag", "Content-Length"))
    return answers


async def test_s3_answers_as_moto_does(tmp_path: Path, moto_url: str, sign: Signer) -> None:
    theirs = S3Server(moto_url, ["key", "secret"], sign)
    begun = sign(
        "s3_call",
        endpoint=moto_url,
        key=theirs.key,
        operation="create_multipart_upload",
        params={"Bucket": BUCKET, "Key": "big"},
    )["UploadId"]
    async with running(tmp_path / "data", "s3") as flow:
        store = flow.sandbox.site.store
        assert isinstance(store, S3)
        origin = f"http://127.0.0.1:{flow.sandbox.site.store_port}"
        ours = S3Server(origin, [store.key.id, store.key.secret], sign)
        upload = store.upload(origin, "big", 3)

        expected = await s3_exchange(flow, theirs, begun)
        assert expected == await s3_exchange(flow, ours, upload.upload_id or "")

        tags = [answer[3].strip('"') for answer in expected[-3:]]
        parts = [{"ETag": tag, "PartNumber": number} for number, tag in enumerate(tags, 1)]
        joined = sign(
            "s3_call",
            endpoint=moto_url,
            key=theirs.key,
            operation="complete_multipart_upload",
            params={
                "Bucket": BUCKET,
                "Key": "big",
                "UploadId": begun,
                "MultipartUpload": {"Parts": parts},
            },
        )
        await store.complete(upload, tags)
        held = store.objects.get("big")
        assert held is not None
        assert joined["ETag"] == f'"{held.etag}"'
        assert held.etag.endswith("-3")
        whole = [
            seen(await flow.send("GET", server.signed("get_object", "big")), "ETag")
            for server in (theirs, ours)
        ]
        assert whole[0] == whole[1]
        assert 200 == whole[0][0]


# ------------------------------------------------------------------------------------- Azure


@dataclass(frozen=True)
class AzureServer:
    """One that speaks Azure's dialect."""

    url: str
    account: str
    secret: str
    sign: Signer

    def signed(
        self, permission: str = "cw", key: str = KEY, life_s: int = 60, **parameters: str
    ) -> str:
        url: str = self.sign(
            "azure",
            endpoint=self.url,
            account=self.account,
            secret=self.secret,
            container="files",
            key=key,
            permission=permission,
            life_s=life_s,
            parameters=parameters,
        )
        return url


async def azure_exchange(flow: Flow, server: AzureServer) -> list[tuple[Any, ...]]:
    """Single PUT, ranged GETs, blocks, errors."""
    put, get, big = server.signed(), server.signed("r"), server.signed(key="big")
    answers = [seen(await flow.put(put, b"hello", BLOCK_BLOB), "Content-MD5", "Content-Length")]
    answers += [
        seen(
            await flow.send("GET", get, headers={"Range": wanted}),
            "Content-Range",
            "x-ms-blob-type",
            "x-ms-error-code",
        )
        for wanted in ("bytes=1-2", "bytes=3-100", "bytes=9-")
    ]
    answers.append(seen(await flow.send("GET", server.signed("r", "none")), "x-ms-error-code"))
    answers.append(seen(await flow.put(server.signed("r"), b"x", BLOCK_BLOB), "x-ms-error-code"))
    for name in IDS:
        url = f"{big}&comp=block&blockid={quote(name, safe='')}"
        answers.append(seen(await flow.put(url, b"block" + name.encode()), "Content-MD5", "ETag"))
    for wrong in ("!!", "YQ%3D%3D"):
        url = f"{big}&comp=block&blockid={wrong}"
        answers.append(seen(await flow.put(url, b"x"), "x-ms-error-code"))
    for names in (["bm9wZW5vcGU="], IDS[::-1]):
        items = "".join(f"<Latest>{name}</Latest>" for name in names)
        text = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{items}</BlockList>"
        answer = await flow.put(f"{big}&comp=blocklist", text.encode())
        answers.append((*seen(answer, "x-ms-error-code"), "ETag" in answer.headers))
    answers.append(seen(await flow.send("GET", server.signed("r", "big")), "Content-Length"))
    wrong_md5 = BLOCK_BLOB | {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    answers.append(seen(await flow.put(put, b"hello", wrong_md5), "x-ms-error-code"))
    return answers


async def azure_refusals(flow: Flow, server: AzureServer) -> list[int]:
    """What is refused: the statuses."""
    url = server.signed()
    tries = [
        (url, {}),  # x-ms-blob-type is missing
        (url, {"x-ms-blob-type": "Nonsense"}),
        (re.sub("sig=.{4}", "sig=AAAA", url), BLOCK_BLOB),
        (url.replace("sp=cw", "sp=cwd"), BLOCK_BLOB),
        (server.signed(life_s=-5), BLOCK_BLOB),
        (server.signed(start="2999-01-01T00:00:00Z"), BLOCK_BLOB),
        (server.signed(protocol="https"), BLOCK_BLOB),
        (server.signed(ip="192.0.2.1"), BLOCK_BLOB),
    ]
    return [(await flow.put(tried, b"hello", headers)).status for tried, headers in tries]


async def test_azure_answers_as_azurite_does(
    tmp_path: Path, azurite_url: str, sign: Signer
) -> None:
    theirs = AzureServer(azurite_url, ACCOUNT, SECRET, sign)
    async with running(tmp_path / "data", "azure") as flow:
        store = flow.sandbox.site.store
        assert isinstance(store, Azure)
        origin = f"http://127.0.0.1:{flow.sandbox.site.store_port}"
        ours = AzureServer(origin, store.account, store.secret, sign)

        assert await azure_exchange(flow, theirs) == await azure_exchange(flow, ours)
        refused = await azure_refusals(flow, ours)
        assert [400, 400, 403, 403, 403, 403, 403, 403] == refused
        # Azurite does not look at `sip`.
        assert (await azure_refusals(flow, theirs))[:-1] == refused[:-1]


@settings(deadline=None)
@given(key=keys, name=st.text('abc üß日"&=+', max_size=20))
def test_azure_is_signed_as_the_clouds_library_signs(sign: Signer, key: str, name: str) -> None:
    server = AzureServer("http://127.0.0.1:1", "fwblob", SECRET, sign)
    url = server.signed("r", key, content_disposition=name, content_type="a/b")
    told = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))

    assert told["sig"] == signature(SECRET, "fwblob", f"files/{key}", told)


# --------------------------------------------------------------------------------------- GCS


@settings(deadline=None)
@given(key=keys, kind=st.text("abc /;=", max_size=10), method=st.sampled_from(["PUT", "RESUMABLE"]))
def test_gcs_is_signed_as_the_clouds_library_signs(
    sign: Signer, key: str, kind: str, method: str
) -> None:
    """All but the algorithm, which is RSA there and HMAC here, and the signature itself."""
    resource = "/fw.storage.googleapis.test/" + quote(key, safe="/~")
    told = sign(
        "gcs",
        endpoint="http://127.0.0.1:4711",
        resource=resource,
        method=method,
        at="20261122T073001Z",
        life_s=60,
        headers={"x-goog-meta-a": f"b {kind} c"},
        response_disposition=f'attachment; filename="{kind}"',
    )
    parts = urlsplit(told["url"])
    query = parse_qsl(parts.query, keep_blank_values=True)
    headers = CIMultiDict({"host": "127.0.0.1:4711", "x-goog-meta-a": f"b {kind} c"})
    if method == "RESUMABLE":
        headers["x-goog-resumable"] = "start"
    signed = sigv4.sign(
        sigv4.GOOGLE,
        sigv4.Key("", "secret"),
        "POST" if method == "RESUMABLE" else method,
        parts.path,
        [(name, value) for name, value in query if name != "X-Goog-Signature"],
        headers,
        sorted(headers),
    )

    expected = told["string_to_sign"].replace("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256")
    assert expected == signed.string_to_sign


async def test_gcs_takes_what_it_signs_itself(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "gcs") as flow:
        store = flow.sandbox.site.store
        assert isinstance(store, Gcs)
        origin = f"http://127.0.0.1:{flow.sandbox.site.store_port}"

        assert 200 == (await flow.put(store.sign("PUT", origin, KEY), b"hello")).status
        assert b"hello" == (await flow.send("GET", store.sign("GET", origin, KEY))).body


# ------------------------------------------------------------------- the uploader of fwsync


def body(content: bytes) -> Callable[[], Body]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), MiB):
            yield content[start : start + MiB]

    return lambda: Body(chunks(), len(content))


@pytest.fixture
async def fwsync() -> AsyncIterator[Api]:
    """As it speaks to stores: the site is elsewhere, and its key stays there."""
    async with Api("https://fw.example", "planted-secret-key", patience_s=5) as api:
        yield api


async def fetched(url: str) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(url, encoded=True)) as answer,
    ):
        assert 200 == answer.status
        return await answer.read()


async def test_the_uploader_meets_moto(fwsync: Api, moto_url: str, sign: Signer) -> None:
    server = S3Server(moto_url, ["key", "secret"], sign)
    answer = await fwsync.put_signed(server.signed("put_object", KEY), body(b"hello"))
    assert f'"{hashlib.md5(b"hello").hexdigest()}"' == answer.headers["ETag"]
    assert b"hello" == await fetched(server.signed("get_object", KEY))

    content = b"1" * (5 * MiB) + b"2" * (5 * MiB) + b"end"
    place = {"Bucket": BUCKET, "Key": "parts"}
    begun = sign(
        "s3_call",
        endpoint=moto_url,
        key=server.key,
        operation="create_multipart_upload",
        params=place,
    )["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(content), 5 * MiB), 1):
        url = server.signed("upload_part", "parts", UploadId=begun, PartNumber=number)
        answer = await fwsync.put_signed(url, body(content[start : start + 5 * MiB]))
        parts.append({"ETag": answer.headers["ETag"], "PartNumber": number})
    joined = sign(
        "s3_call",
        endpoint=moto_url,
        key=server.key,
        operation="complete_multipart_upload",
        params=place | {"UploadId": begun, "MultipartUpload": {"Parts": parts}},
    )

    assert joined["ETag"].endswith('-3"')
    assert content == await fetched(server.signed("get_object", "parts"))


async def test_the_uploader_meets_azurite(fwsync: Api, azurite_url: str, sign: Signer) -> None:
    server = AzureServer(azurite_url, ACCOUNT, SECRET, sign)
    answer = await fwsync.put_signed(server.signed(), body(b"hello"), headers=BLOCK_BLOB)
    assert (
        base64.b64encode(hashlib.md5(b"hello").digest()).decode() == answer.headers["Content-MD5"]
    )
    assert b"hello" == await fetched(server.signed("r"))

    url = server.signed(key="blocks")
    for name in IDS:
        await fwsync.put_signed(
            f"{url}&comp=block&blockid={quote(name, safe='')}",
            body(name.encode()),
            headers=BLOCK_BLOB,
        )
    items = "".join(f"<Latest>{name}</Latest>" for name in IDS)
    listed = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{items}</BlockList>"
    await fwsync.put_signed(f"{url}&comp=blocklist", body(listed.encode()))
    assert "".join(IDS).encode() == await fetched(server.signed("r", "blocks"))


@pytest.mark.parametrize(("life_s", "status"), [(-5, 403), (60, 400)])
async def test_the_uploader_is_told_how_azurite_refuses(
    fwsync: Api, azurite_url: str, sign: Signer, life_s: int, status: int
) -> None:
    server = AzureServer(azurite_url, ACCOUNT, SECRET, sign)
    headers = BLOCK_BLOB if status == 403 else {}
    with pytest.raises(RemoteError) as refused:
        await fwsync.put_signed(server.signed(life_s=life_s), body(b"hello"), headers=headers)

    assert status == refused.value.status
    assert "planted-secret-key" not in str(refused.value)
