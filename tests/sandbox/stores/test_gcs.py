from __future__ import annotations

import base64
import errno
import hashlib
import os
import re

import pytest

from fwsync.sandbox.kept.blobs import Aside
from fwsync.sandbox.stores import Gcs
from tests.sandbox.api import Answer
from tests.sandbox.stores.flow import Flow, chunks, error_code, only

Q = 256 << 10

pytestmark = [pytest.mark.row("stores"), only("gcs")]


def sign(flow: Flow, method: str = "PUT", key: str = "k", **headers: str) -> str:
    store = flow.sandbox.site.store
    assert isinstance(store, Gcs)
    origin = f"http://127.0.0.1:{flow.sandbox.site.store_port}"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return store.sign(method, origin, key, headers=names)


async def session(flow: Flow) -> str:
    """The address of a session, asked for as the client libraries do."""
    answer = await flow.send(
        "POST", sign(flow, "POST", x_goog_resumable="start"), b"", {"x-goog-resumable": "start"}
    )
    assert 201 == answer.status, answer
    return answer.headers["Location"]


async def send(flow: Flow, url: str, content: bytes, told: str) -> Answer:
    return await flow.put(url, content, {"Content-Range": told})


@pytest.mark.parametrize("told", [None, "bytes 0-4/5"])
async def test_what_was_put_is_read_back(flow: Flow, told: str | None) -> None:
    put = await flow.put(sign(flow), b"hello", {"Content-Range": told} if told else {})
    got = await flow.send("GET", sign(flow, "GET"), headers={"Range": "bytes=-2"})

    digest = hashlib.md5(b"hello")
    assert (200, f'"{digest.hexdigest()}"') == (put.status, put.headers["ETag"])
    assert f"md5={base64.b64encode(digest.digest()).decode()}" == put.headers["x-goog-hash"]
    assert (206, b"lo") == (got.status, got.body)


async def test_what_is_taken_while_it_is_asked_for_is_not_there(flow: Flow) -> None:
    await flow.put(sign(flow), b"hello")
    [aside] = flow.incoming
    aside.unlink()
    answer = await flow.send("GET", sign(flow, "GET"))

    assert (404, "NoSuchKey") == (answer.status, error_code(answer))


async def test_a_session_takes_chunks_and_says_how_far_it_is(flow: Flow) -> None:
    url = await session(flow)
    content = b"1" * Q + b"2" * (2 * Q) + b"end"
    total = len(content)

    new = await send(flow, url, b"", f"bytes */{total}")
    assert (308, False) == (new.status, "Range" in new.headers)
    first = await send(flow, url, content[:Q], f"bytes 0-{Q - 1}/{total}")
    assert (308, f"bytes=0-{Q - 1}") == (first.status, first.headers["Range"])
    second = await send(flow, url, content[Q : 3 * Q], f"bytes {Q}-{3 * Q - 1}/*")
    assert (308, f"bytes=0-{3 * Q - 1}") == (second.status, second.headers["Range"])
    asked = await send(flow, url, b"", "bytes */*")
    assert (308, f"bytes=0-{3 * Q - 1}") == (asked.status, asked.headers["Range"])
    last = await send(flow, url, b"end", f"bytes {3 * Q}-{total - 1}/{total}")
    assert (200, f'"{hashlib.md5(content).hexdigest()}"') == (last.status, last.headers["ETag"])

    again = await send(flow, url, b"", f"bytes */{total}")
    assert (200, last.headers["ETag"]) == (again.status, again.headers["ETag"])
    assert content == (await flow.send("GET", sign(flow, "GET"))).body


async def test_what_is_sent_twice_is_kept_once(flow: Flow) -> None:
    url = await session(flow)
    content = bytes(range(256)) * 3072
    total = len(content)
    await send(flow, url, content[: 2 * Q], f"bytes 0-{2 * Q - 1}/{total}")
    last = await send(flow, url, content[Q:], f"bytes {Q}-{total - 1}/{total}")

    assert 200 == last.status
    assert content == (await flow.send("GET", sign(flow, "GET"))).body


async def test_a_chunk_that_is_no_multiple_is_kept_up_to_one(flow: Flow) -> None:
    url = await session(flow)
    answer = await send(flow, url, b"x" * (Q + 10), f"bytes 0-{Q + 9}/{4 * Q}")

    assert (308, f"bytes=0-{Q - 1}") == (answer.status, answer.headers["Range"])
    gap = await send(flow, url, b"x" * Q, f"bytes {Q + 10}-{2 * Q + 9}/{4 * Q}")
    assert (400, "InvalidArgument") == (gap.status, error_code(gap))
    assert b"exceeds already uploaded size" in gap.body


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"small", "bytes 0-4/100"),
        (b"hello", "bytes 0-9/10"),
        (b"hello", "bytes */10"),
        (b"hello", "bytes 4-0/5"),
        (b"hello", "bytes 0-4/3"),
        (b"hello", "bytes x-y/5"),
        (b"hello", "5"),
    ],
)
async def test_chunks_that_make_no_sense_are_refused(flow: Flow, content: bytes, told: str) -> None:
    answer = await send(flow, await session(flow), content, told)

    assert (400, "InvalidArgument") == (answer.status, error_code(answer))


async def test_the_length_of_the_whole_stays_what_it_was(flow: Flow) -> None:
    url = await session(flow)
    await send(flow, url, b"x" * Q, f"bytes 0-{Q - 1}/{3 * Q}")
    answer = await send(flow, url, b"x" * Q, f"bytes {Q}-{2 * Q - 1}/{2 * Q}")

    assert 400 == answer.status


async def test_a_session_without_a_range_takes_everything_at_once(flow: Flow) -> None:
    answer = await flow.put(await session(flow), b"hello")

    assert (200, f'"{hashlib.md5(b"hello").hexdigest()}"') == (
        answer.status,
        answer.headers["ETag"],
    )


async def test_sessions_are_secret_belong_to_a_key_and_end(flow: Flow) -> None:
    url = await session(flow)
    unknown = await flow.put(re.sub("upload_id=.*", "upload_id=x", url), b"x")
    other = await flow.put(url.replace("/k?", "/l?"), b"x")
    flow.tick(7 * 3600)
    await session(flow)
    late = await flow.put(url, b"x")

    for answer in (unknown, other, late):
        assert (404, "NoSuchUpload") == (answer.status, error_code(answer))


async def test_a_session_ends_when_the_disk_does_not_take_its_bytes(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    url = await session(flow)
    with monkeypatch.context() as patch:
        patch.setattr(Aside, "_store", full)
        lost = await send(flow, url, b"x" * Q, f"bytes 0-{Q - 1}/{2 * Q}")
    answer = await send(flow, url, b"x" * Q, f"bytes {Q}-{2 * Q - 1}/{2 * Q}")

    assert 500 == lost.status
    assert (404, "NoSuchUpload") == (answer.status, error_code(answer))
    await flow.aside(0)


async def test_what_is_not_signed_so_is_refused(flow: Flow) -> None:
    url = sign(flow)
    key = {"Authorization": f"Bearer {flow.sandbox.api_key}"}
    for answer, expected in (
        (await flow.put(url[:-2] + "zz", b"x"), (403, "SignatureDoesNotMatch")),
        (await flow.put(url.replace("/k?", "/l?"), b"x"), (403, "SignatureDoesNotMatch")),
        (await flow.send("GET", url), (403, "SignatureDoesNotMatch")),
        (await flow.put(url.partition("?")[0], b"x"), (403, "AccessDenied")),
        (await flow.put(url, b"x", {"x-goog-acl": "public"}), (403, "MalformedSecurityHeader")),
        (await flow.put(url, b"x", key), (400, "InvalidArgument")),
        (await flow.put(url, chunks()), (411, "MissingContentLength")),
        (await flow.put(await session(flow), chunks()), (411, "MissingContentLength")),
        (await flow.put(await session(flow), b"x", key), (400, "InvalidArgument")),
        (await send(flow, url, b"hello", "bytes 0-4/10"), (400, "InvalidArgument")),
    ):
        assert expected == (answer.status, error_code(answer))
    flow.tick(3601)
    late = await flow.put(url, b"x")
    assert (403, "ExpiredToken") == (late.status, error_code(late))
    assert [] == [path for path in flow.incoming if path.stat().st_size]
