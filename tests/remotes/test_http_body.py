"""Bodies of requests: sent whole or broken off, and sent again only where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.errors import AuthError, Forbidden, FwsyncError, Refused, SourceChanged, Unavailable
from fwsync.remotes.body import Body
from fwsync.remotes.http import Api
from tests.remotes.conftest import KEY, Clock, in_turn, ok, patient, serving, serving_raw, status


def body(*pieces: bytes, size: int | None = None, error: Exception | None = None) -> Body:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if error is not None:
            raise error

    return Body(chunks(), sum(map(len, pieces)) if size is None else size)


async def test_a_body_is_sent_with_its_length() -> None:
    got: list[tuple[str | None, bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append((request.headers.get("Content-Length"), await request.read()))
        return ok()

    data = bytes(range(256)) * 1000
    async with serving(handler) as url, Api(url, KEY) as api:
        await api.send(("f",), lambda: body(data, b"", data))
        sent = api.bytes_sent

    assert got == [(str(2 * len(data)), data + data)]
    assert sent == 2 * len(data)


@pytest.mark.parametrize("code", [401, 403, 413])
@pytest.mark.parametrize("rude", [False, True])
async def test_an_early_answer_is_what_is_reported(code: int, rude: bool, clock: Clock) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b'Content-Length: 18\r\n\r\n{"message": "not"}' % code
        )
        await writer.drain()
        if not rude:
            writer.write_eof()
            while await reader.read(2**16):
                pass

    async with serving_raw(handler) as url, patient(url, clock) as api:
        with pytest.raises(FwsyncError) as raised:
            await api.send(("f",), lambda: body(*[b"x" * 2**16] * 200))

    expected: dict[int, type[FwsyncError]] = {401: AuthError, 403: Forbidden, 413: Refused}
    assert type(raised.value) is expected[code]


async def test_a_source_that_fails_breaks_the_request_off(clock: Clock) -> None:
    complete = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal complete
        await request.read()
        complete += 1
        return ok()

    changed = SourceChanged("f: changed")
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(SourceChanged):
            await api.send(("f",), lambda: body(b"x" * 200_000, size=200_001, error=changed))
        with pytest.raises(SourceChanged):
            await api.send(("f",), lambda: body(b"x" * 10, size=11))
        with pytest.raises(SourceChanged):
            await api.send(("f",), lambda: body(b"x" * 10, size=9))
        with pytest.raises(ZeroDivisionError):
            await api.send(("f",), lambda: body(b"x", size=2, error=ZeroDivisionError()))
        await api.json("GET", ("thing",))

    assert complete == 1


async def test_a_server_that_takes_nothing_is_not_waited_for_for_ever() -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()

    async with serving_raw(handler) as url, Api(url, KEY, stall_s=0.1) as api:
        with pytest.raises(Unavailable):
            await api.send(("f",), lambda: body(*[b"x" * 2**20] * 32))
        release.set()


async def test_a_body_goes_again_only_if_it_was_surely_refused(clock: Clock) -> None:
    made = 0

    def make() -> Body:
        nonlocal made
        made += 1
        return body(b"12345")

    handler, seen = in_turn(status(401), status(429), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        assert await api.send(("f",), make) == {"ok": True}
        assert (made, len(seen)) == (3, 3)

    handler, seen = in_turn(status(503), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(Unavailable):
            await api.send(("f",), make)
        assert len(seen) == 1


@pytest.mark.parametrize("same_host", [False, True])
async def test_a_signed_put_carries_nothing_of_ours(same_host: bool) -> None:
    handler, seen = in_turn(lambda: web.Response(headers={"ETag": "e"}))
    async with (
        serving(handler) as there,
        Api(there if same_host else "http://127.0.0.1:9", KEY) as api,
    ):
        stored = await api.put_signed(f"{there}/b?sig=a%2Fb", lambda: body(b"12345"))

    assert (stored.status, stored.headers["ETag"]) == (200, "e")
    assert "Content-Type" not in seen[0].headers
    assert "Authorization" not in seen[0].headers
    assert seen[0].path_qs == "/b?sig=a%2Fb"
    assert seen[0].headers["Content-Length"] == "5"


@pytest.mark.parametrize("code", [301, 307, 308])
async def test_bytes_do_not_follow_a_store_that_points_elsewhere(code: int) -> None:
    elsewhere, never = in_turn(ok)
    async with serving(elsewhere) as other:
        handler, seen = in_turn(lambda: web.Response(status=code, headers={"Location": other}))
        async with serving(handler) as there, Api(there, KEY) as api:
            with pytest.raises(Refused) as told:
                await api.put_signed(f"{there}/b", lambda: body(b"12345"))

    assert (len(seen), len(never)) == (1, 0)
    assert "login" not in told.value.hint  # the key is not asked for there
    assert "storage" in told.value.hint


async def test_who_finds_a_request_too_large_can_be_told_to_take_more() -> None:
    page = "<html><title>413 Request Entity Too Large</title></html>"
    handler, _ = in_turn(lambda: web.Response(status=413, text=page, content_type="text/html"))
    async with serving(handler) as url, Api(url, KEY) as api:
        with pytest.raises(Refused) as told:
            await api.send(("f",), lambda: body(b"12345"))

    assert told.value.status == 413
    assert "proxy" in told.value.hint


async def test_an_answer_that_takes_long_work_is_waited_for() -> None:
    async def works(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return ok()

    async with serving(works) as url, Api(url, KEY, stall_s=0.1, patience_s=0.1) as api:
        assert await api.json("POST", ("f",), answer_s=20.0) == {"ok": True}
        with pytest.raises(Unavailable) as late:
            await api.json("POST", ("f",))

    assert late.value.silent


async def test_a_long_body_may_be_stored_for_long_before_it_is_answered() -> None:
    """A second more for each 20 MB: these 24 MB, sent again meanwhile, would be there twice."""

    async def stores(request: web.Request) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        await asyncio.sleep(0.6)
        return ok()

    long = [b"x" * 2**20] * 24
    async with serving(stores) as url, Api(url, KEY, stall_s=0.2) as api:
        assert await api.send(("f",), lambda: body(*long)) == {"ok": True}
        await api.put_signed(f"{url}/store", lambda: body(*long))
        with pytest.raises(Unavailable) as late:
            await api.send(("f",), lambda: body(b"x" * 2**10))

    assert late.value.silent
    assert 3 == api.requests
