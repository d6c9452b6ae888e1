from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync.sandbox.stores import Azure
from fwsync.sandbox.stores.azure import MAX_BLOCKS, signature
from tests.sandbox.api import Answer
from tests.sandbox.stores.flow import Flow, chunks, error_code, running

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}
IDS = [base64.b64encode(b"%08d" % number).decode() for number in range(3)]

pytestmark = pytest.mark.row("stores")


@pytest.fixture
async def flow(tmp_path: Path) -> AsyncIterator[Flow]:
    async with running(tmp_path / "data", "azure") as made:
        yield made


def sas(flow: Flow, permissions: str = "cw", key: str = "k", **parameters: str) -> str:
    store = flow.sandbox.site.store
    assert isinstance(store, Azure)
    origin = f"http://127.0.0.1:{flow.sandbox.site.store_port}"
    return store.sign(origin, key, permissions, 60, **parameters)


def code(answer: Answer) -> str:
    assert error_code(answer) == answer.headers["x-ms-error-code"]
    assert answer.headers["x-ms-request-id"].encode() in answer.body
    return error_code(answer)


def test_a_signature_that_the_clouds_library_made() -> None:
    """From generate_blob_sas of azure-storage-blob 12.31.1, with a key of zeros."""
    told = {"sp": "cw", "se": "2026-11-22T08:00:00Z", "sv": "2026-10-06", "sr": "b"}
    secret = base64.b64encode(bytes(64)).decode()

    assert "zu/K3cDT2kR4xUJ+S3ymeaWoQXfx3s+ymghRPY0Y344=" == signature(
        secret, "fwblob", "files/a b/ü", told
    )


@pytest.mark.parametrize("key", ["k", "a b/ü#?%41&;=+@:,$!'()*~日本", "a//b"])
async def test_what_was_put_is_read_back(flow: Flow, key: str) -> None:
    put = await flow.put(sas(flow, key=key), b"hello", BLOCK_BLOB)
    got = await flow.send("GET", sas(flow, "r", key), headers={"Range": "bytes=1-2"})

    digest = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert (201, digest, b"") == (put.status, put.headers["Content-MD5"], put.body)
    assert re.fullmatch('"0x8D[0-9A-F]{13}"', put.headers["ETag"])
    assert (206, b"el", "bytes 1-2/5") == (got.status, got.body, got.headers["Content-Range"])
    assert put.headers["ETag"] == got.headers["ETag"]
    assert "BlockBlob" == got.headers["x-ms-blob-type"]


async def test_blocks_are_joined_by_a_list(flow: Flow) -> None:
    url = sas(flow)
    for name, content in zip(IDS, (b"one", b"two", b"three"), strict=True):
        block = await flow.put(f"{url}&comp=block&blockid={name.replace('=', '%3D')}", content)
        assert (201, False) == (block.status, "ETag" in block.headers)
    assert 404 == (await flow.send("GET", sas(flow, "r"))).status

    names = "".join(f"<Latest>{name}</Latest>" for name in (IDS[2], IDS[0]))
    listed = await flow.put(
        f"{url}&comp=blocklist",
        f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'.encode(),
    )
    assert (201, True) == (listed.status, "ETag" in listed.headers)
    assert b"threeone" == (await flow.send("GET", sas(flow, "r"))).body


@pytest.mark.parametrize(
    ("query", "body", "status", "error"),
    [
        ("comp=block&blockid=!!", b"x", 400, "InvalidQueryParameterValue"),
        ("comp=block", b"x", 400, "InvalidQueryParameterValue"),
        ("comp=block&blockid=YQ%3D%3D", b"x", 400, "InvalidBlobOrBlock"),
        ("comp=blocklist", b"nonsense", 400, "InvalidXmlDocument"),
        (
            "comp=blocklist",
            b"<BlockList><Latest>bm9wZQ==</Latest></BlockList>",
            400,
            "InvalidBlockList",
        ),
    ],
)
async def test_blocks_that_make_no_sense(
    flow: Flow, query: str, body: bytes, status: int, error: str
) -> None:
    url = sas(flow)
    await flow.put(f"{url}&comp=block&blockid={IDS[0].replace('=', '%3D')}", b"one")
    answer = await flow.put(f"{url}&{query}", body)

    assert (status, error) == (answer.status, code(answer))


async def test_the_type_of_the_blob_must_be_said(flow: Flow) -> None:
    none = await flow.put(sas(flow), b"hello")
    other = await flow.put(sas(flow), b"hello", {"x-ms-blob-type": "PageBlob"})

    assert (400, "MissingRequiredHeader") == (none.status, code(none))
    assert b"<HeaderName>x-ms-blob-type</HeaderName>" in none.body
    assert (400, "InvalidHeaderValue") == (other.status, code(other))


async def test_a_body_without_a_length_or_too_long_is_refused(flow: Flow) -> None:
    none = await flow.put(sas(flow), chunks(), BLOCK_BLOB)
    large = await flow.put(
        sas(flow), chunks(), BLOCK_BLOB | {"Content-Length": str((5000 << 20) + 1)}
    )

    assert (411, "MissingContentLengthHeader") == (none.status, code(none))
    assert (413, "RequestBodyTooLarge") == (large.status, code(large))


async def test_what_is_not_signed_so_is_refused(flow: Flow) -> None:
    url = sas(flow)
    wrong = re.sub("sig=.{4}", "sig=AAAA", url)
    tries = {
        wrong: (403, "AuthenticationFailed"),
        url.replace("/k?", "/l?"): (403, "AuthenticationFailed"),
        url.replace("sp=cw", "sp=cwr"): (403, "AuthenticationFailed"),
        url.replace("sv=2022-11-02", "sv=2018-11-09"): (403, "AuthenticationFailed"),
        url.replace("sr=b", "sr=c"): (403, "AuthenticationFailed"),
        url.partition("?")[0]: (401, "NoAuthenticationInformation"),
        sas(flow, "r"): (403, "AuthorizationPermissionMismatch"),
        sas(flow, spr="https"): (403, "AuthorizationProtocolMismatch"),
        sas(flow, sip="192.0.2.1"): (403, "AuthorizationSourceIPMismatch"),
        sas(flow, st="2999-01-01"): (403, "AuthenticationFailed"),
    }
    for tried, expected in tries.items():
        answer = await flow.put(tried, b"hello", BLOCK_BLOB)
        assert expected == (answer.status, code(answer)), tried
    assert 403 == (await flow.send("GET", url)).status
    assert 404 == (await flow.send("GET", sas(flow, "r"))).status


async def test_an_expired_url_and_a_key_of_the_api_are_refused(flow: Flow) -> None:
    url = sas(flow)
    key = {"Authorization": f"Bearer {flow.sandbox.api_key}"}
    keyed = await flow.put(url, b"hello", BLOCK_BLOB | key)
    flow.tick(62)
    late = await flow.put(url, b"hello", BLOCK_BLOB)

    assert (400, "InvalidAuthenticationInfo") == (keyed.status, code(keyed))
    assert (403, "AuthenticationFailed") == (late.status, code(late))
    assert b"Signature not valid in the specified time frame" in late.body


async def test_a_content_md5_is_compared(flow: Flow) -> None:
    answer = await flow.put(
        sas(flow), b"hello", BLOCK_BLOB | {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    )

    assert (400, "Md5Mismatch") == (answer.status, code(answer))


async def test_beyond_the_end_there_is_nothing(flow: Flow) -> None:
    await flow.put(sas(flow), b"hello", BLOCK_BLOB)
    answer = await flow.send("GET", sas(flow, "r"), headers={"Range": "bytes=5-"})

    assert (416, "InvalidRange", "bytes */5") == (
        answer.status,
        code(answer),
        answer.headers["Content-Range"],
    )


async def test_a_container_does_not_end_with_an_encoded_slash(flow: Flow) -> None:
    answer = await flow.put(sas(flow).replace("/files/", "/files%2F"), b"hello", BLOCK_BLOB)

    assert (403, "AuthenticationFailed") == (answer.status, code(answer))


async def test_a_list_of_blocks_has_a_limit(flow: Flow) -> None:
    url = sas(flow)
    await flow.put(f"{url}&comp=block&blockid={IDS[0].replace('=', '%3D')}", b"one")
    blocks = f"<Latest>{IDS[0]}</Latest>" * (MAX_BLOCKS + 1)
    body = f"<BlockList>{blocks}</BlockList>".encode()

    answer = await flow.put(f"{url}&comp=blocklist", body)

    assert (400, "BlockListTooLong") == (answer.status, code(answer))
