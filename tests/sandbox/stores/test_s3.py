"""The S3 dialect, asked with URLs that botocore signs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config

from fwsync.sandbox.stores import S3
from tests.sandbox.api import Answer
from tests.sandbox.stores.flow import Flow, chunks, error_code, only

Sign = Callable[..., str]

pytestmark = [pytest.mark.row("stores"), only("s3")]


@pytest.fixture
def sign(flow: Flow) -> Sign:
    """botocore, with the store's own keys."""
    store = flow.sandbox.site.store
    assert isinstance(store, S3)
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{flow.sandbox.site.store_port}",
        aws_access_key_id=store.key.id,
        aws_secret_access_key=store.key.secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )

    def made(operation: str, key: str = "k", life_s: int = 60, **params: Any) -> str:
        params = {"Bucket": "fw.s3.test", "Key": key, **params}
        url: str = client.generate_presigned_url(operation, Params=params, ExpiresIn=life_s)
        return url

    return made


def code(answer: Answer) -> str:
    assert b"<RequestId>" in answer.body
    return error_code(answer)


@pytest.mark.parametrize("key", ["k", "a b/ü#?%41&;=+@:,$!'()*~日本", "a//b/", "./..", "é" * 100])
async def test_what_was_put_is_read_back(flow: Flow, sign: Sign, key: str) -> None:
    put = await flow.put(sign("put_object", key), b"hello")
    got = await flow.send("GET", sign("get_object", key))
    head = await flow.send("HEAD", sign("head_object", key))

    etag = f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert (200, etag, b"") == (put.status, put.headers["ETag"], put.body)
    assert (200, etag, b"hello") == (got.status, got.headers["ETag"], got.body)
    assert (200, etag, "5") == (head.status, head.headers["ETag"], head.headers["Content-Length"])


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=1-2", 206, b"el"),
        ("bytes=3-100", 206, b"lo"),
        ("bytes=-2", 206, b"lo"),
        ("bytes=-100", 206, b"hello"),
        ("bytes=4-", 206, b"o"),
        ("bytes=3-1", 200, b"hello"),
        ("bytes=a-b", 200, b"hello"),
        ("bytes=0-0,2-2", 200, b"hello"),
        ("bytes=5-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_ranges(flow: Flow, sign: Sign, wanted: str, status: int, body: bytes | None) -> None:
    await flow.put(sign("put_object"), b"hello")
    answer = await flow.send("GET", sign("get_object"), headers={"Range": wanted})

    assert status == answer.status
    if body is None:
        assert "InvalidRange" == code(answer)
    else:
        assert body == answer.body


async def test_parts_are_joined_and_their_etag_says_how_many(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=5 << 20)
    content = [b"1" * (6 << 20), b"2" * (6 << 20), b"3"]
    minted = await flow.minted("f", 12 << 20)
    store = flow.sandbox.site.store
    urls = minted["urls"]["f"]
    assert 2 == len(urls)
    key = urlsplit(urls[0]).path.removeprefix("/fw.s3.test/")

    tags = [(await flow.put(u, c)).headers["ETag"] for u, c in zip(urls, content, strict=False)]
    [upload] = flow.sandbox.site.tickets[minted["ticket"]].uploads.values()
    await store.complete(upload, tags)
    held = store.objects.get(key)

    digests = b"".join(hashlib.md5(part).digest() for part in content[:2])
    assert held is not None
    assert f"{hashlib.md5(digests).hexdigest()}-2" == held.etag
    late = await flow.put(urls[0], b"x")
    assert (404, "NoSuchUpload") == (late.status, code(late))


@pytest.mark.row("signed-finalize")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tags: tags[::-1], "InvalidPart: part 1"),
        (lambda tags: ["0" * 32, tags[1]], "InvalidPart: part 1"),
        (lambda tags: [*tags, tags[0]], "InvalidPart: part 3"),
        (lambda tags: tags[:1], "were announced"),
        (lambda _: [], "not joined"),
    ],
)
async def test_etags_that_are_wrong_end_in_an_error(
    flow: Flow, change: Callable[[list[str]], list[str]], said: str
) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=5 << 20)
    content = b"1" * (12 << 20)
    minted = await flow.minted("f", len(content))
    body = await flow.put_all(minted, "f", content)
    assert body
    body["multipart"]["e_tags"] = change(body["multipart"]["e_tags"])
    answer = await flow.end(minted["ticket"], body)

    assert answer.status in (400, 409)
    assert said in answer.message


async def test_parts_that_are_too_small_are_refused_when_they_are_joined(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=5 << 20)
    minted = await flow.minted("f", 12 << 20)
    urls = minted["urls"]["f"]
    tags = [(await flow.put(url, b"small")).headers["ETag"].strip('"') for url in urls]
    upload_id = flow.sandbox.site.tickets[minted["ticket"]].uploads["f"].upload_id
    answer = await flow.end(
        minted["ticket"], {"multipart": {"e_tags": tags, "upload_id": upload_id}}
    )
    other = await flow.end(minted["ticket"], {"multipart": {"e_tags": tags, "upload_id": "x"}})

    assert 400 == answer.status
    assert "EntityTooSmall" in answer.message
    assert 400 == other.status


async def test_parts_that_nobody_joins_are_no_file(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    await flow.put_all(minted, "f", b"hello")
    answer = await flow.end(minted["ticket"])

    assert 409 == answer.status
    assert "e_tags" in answer.message


# ------------------------------------------------------------------------------------ refused


async def test_a_body_without_a_length_is_refused(flow: Flow, sign: Sign) -> None:
    answer = await flow.put(sign("put_object"), chunks())

    assert (411, "MissingContentLength") == (answer.status, code(answer))


async def test_more_than_5_gib_in_one_request_is_refused(flow: Flow, sign: Sign) -> None:
    answer = await flow.put(sign("put_object"), chunks(), {"Content-Length": str((5 << 30) + 1)})

    assert (400, "EntityTooLarge") == (answer.status, code(answer))


async def test_a_key_of_the_api_is_refused(flow: Flow, sign: Sign) -> None:
    key = {"Authorization": f"Bearer {flow.sandbox.api_key}"}
    both = await flow.put(sign("put_object"), b"hello", key)
    alone = await flow.put(sign("put_object").partition("?")[0], b"hello", key)

    assert (400, "InvalidArgument") == (both.status, code(both))
    assert (400, "InvalidArgument") == (alone.status, code(alone))


async def test_an_expired_url_is_refused(flow: Flow, sign: Sign) -> None:
    url = sign("put_object", life_s=60)
    flow.tick(62)
    answer = await flow.put(url, b"hello")

    assert (403, "AccessDenied") == (answer.status, code(answer))
    assert b"Request has expired" in answer.body


async def test_another_signature_is_refused_and_shown_what_was_signed(
    flow: Flow, sign: Sign
) -> None:
    url = sign("put_object")
    answer = await flow.put(url[:-1] + ("0" if url[-1] != "0" else "1"), b"hello")

    assert (403, "SignatureDoesNotMatch") == (answer.status, code(answer))
    assert b"<CanonicalRequest>PUT\n/fw.s3.test/k\n" in answer.body
    store = flow.sandbox.site.store
    assert isinstance(store, S3)
    assert store.key.secret.encode() not in answer.body


async def test_only_what_was_signed_can_be_done(flow: Flow, sign: Sign) -> None:
    put, got = sign("put_object"), sign("get_object")

    assert 403 == (await flow.send("GET", put)).status
    assert 403 == (await flow.send("PUT", got, b"x")).status
    assert 403 == (await flow.put(put.replace("test/k?", "test/l?"), b"x")).status
    assert 403 == (await flow.put(put + "&partNumber=1", b"x")).status
    assert 403 == (await flow.put(put.partition("?")[0], b"x")).status
    assert 403 == (await flow.put(put, b"x", {"x-amz-acl": "public-read"})).status
    assert 403 == (await flow.put(put.replace("127.0.0.1", "localhost"), b"x")).status
    assert 404 == (await flow.send("GET", got)).status


async def test_a_method_that_it_does_not_know_is_405(flow: Flow) -> None:
    store = flow.sandbox.site.store
    assert isinstance(store, S3)
    url = store.sign("PATCH", f"http://127.0.0.1:{flow.sandbox.site.store_port}", "k")
    answer = await flow.send("PATCH", url)

    assert (405, "MethodNotAllowed") == (answer.status, code(answer))


@pytest.mark.parametrize(
    ("params", "status", "error"),
    [
        ({"UploadId": "unknown", "PartNumber": 1}, 404, "NoSuchUpload"),
        ({"UploadId": "unknown", "PartNumber": 10_001}, 400, "InvalidArgument"),
        ({"UploadId": "unknown", "PartNumber": 0}, 400, "InvalidArgument"),
    ],
)
async def test_a_part_belongs_to_an_upload(
    flow: Flow, sign: Sign, params: dict[str, Any], status: int, error: str
) -> None:
    answer = await flow.put(sign("upload_part", **params), b"x")

    assert (status, error) == (answer.status, code(answer))


async def test_a_content_md5_is_compared(flow: Flow, sign: Sign) -> None:
    right = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    assert 200 == (await flow.put(sign("put_object"), b"hello", {"Content-MD5": right})).status
    bad = await flow.put(sign("put_object", "b"), b"hello", {"Content-MD5": wrong})
    assert (400, "BadDigest") == (bad.status, code(bad))
    none = await flow.put(sign("put_object", "b"), b"hello", {"Content-MD5": "x"})
    assert (400, "InvalidDigest") == (none.status, code(none))
    assert 404 == (await flow.send("GET", sign("get_object", "b"))).status
