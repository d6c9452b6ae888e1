"""One request at a time: what is repeated, what is raised, what is never shown."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses
from yarl import URL

from fwsync import __version__
from fwsync.errors import (
    AuthError,
    Forbidden,
    FwsyncError,
    Garbled,
    NotFound,
    Refused,
    RemoteError,
    Unavailable,
    UsageError,
)
from fwsync.remotes.http import Api
from tests.remotes.conftest import KEY, Clock, in_turn, ok, patient, serving, serving_raw, status

PLANTED = KEY  # what must never be shown


async def get(api: Api) -> object:
    return await api.json("GET", ("thing",))


async def post(api: Api) -> object:
    return await api.json("POST", ("thing",), body={})


# ---------------------------------------------------------------------------- the key


@pytest.mark.parametrize(
    ("key", "expected"), [("k" * 57, "Bearer "), ("k" * 20, "scitran-user "), ("k" * 58, "scitran")]
)
async def test_the_length_of_the_key_picks_the_scheme(key: str, expected: str) -> None:
    handler, seen = in_turn(ok)
    async with serving(handler) as url, Api(url, key) as api:
        await get(api)

    assert seen[0].headers["Authorization"].startswith(expected)
    assert seen[0].headers["Authorization"].endswith(f" {key}")
    assert seen[0].headers["User-Agent"] == f"fwsync/{__version__}"


async def test_a_netrc_entry_never_replaces_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    handler, seen = in_turn(ok)
    async with serving(handler) as url, Api(url, KEY) as api:
        await get(api)

    assert seen[0].headers["Authorization"] == f"scitran-user {KEY}"


async def test_the_key_does_not_follow_a_redirect_to_another_host() -> None:
    storage, at_storage = in_turn(lambda: web.Response(body=b"bytes"))
    async with serving(storage) as there:
        moved = {"Location": f"{there}/x?sig=1"}
        handler, at_api = in_turn(lambda: web.Response(status=302, headers=moved))
        async with (
            serving(handler) as url,
            Api(url, KEY) as api,
            api.stream(("file",), headers={"Range": "bytes=3-"}) as answer,
        ):
            got = b"".join([chunk async for chunk in answer.chunks()])

    assert got == b"bytes"
    assert "Authorization" in at_api[0].headers
    assert "Authorization" not in at_storage[0].headers
    assert at_storage[0].headers["Range"] == "bytes=3-"
    assert at_storage[0].path_qs == "/x?sig=1"
    assert api.requests == 2


async def test_an_expired_address_is_asked_for_again() -> None:
    storage, _ = in_turn(status(403), lambda: web.Response(body=b"bytes"))
    async with serving(storage) as there:
        handler, at_api = in_turn(lambda: web.Response(status=302, headers={"Location": there}))
        async with serving(handler) as url, Api(url, KEY) as api, api.stream(("file",)) as answer:
            got = b"".join([chunk async for chunk in answer.chunks()])

    assert (got, len(at_api)) == (b"bytes", 2)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_post_is_not_sent_elsewhere(code: int) -> None:
    handler, seen = in_turn(
        lambda: web.Response(status=code, headers={"Location": "http://other/api"})
    )
    async with serving(handler) as url, Api(url, KEY) as api:
        with pytest.raises(Refused, match="http://other"):
            await post(api)

    assert len(seen) == 1


async def test_redirects_in_circles_end() -> None:
    handler, seen = in_turn(lambda: web.Response(status=302, headers={"Location": "/again"}))
    async with serving(handler) as url, Api(url, KEY) as api:
        with pytest.raises(Garbled, match="circles"):
            await get(api)

    assert len(seen) < 10


def shown(error: BaseException, api: Api) -> str:
    """Whatever a log, a traceback or a debugger might print."""
    parts = [repr(error), str(error), repr(vars(error)), repr(api), repr(vars(api))]
    parts += traceback.format_exception(error)
    at: BaseException | None = error
    while at is not None:
        parts += [repr(at), str(at), repr(at.args)]
        at = at.__cause__ or at.__context__
    return "\n".join(parts)


def echo(code: int) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        said = f"you sent {request.headers['Authorization']} {request.path_qs}"
        return web.json_response({"message": said}, status=code)

    return handler


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 418, 429, 500, 503, 507])
async def test_no_error_shows_the_key(code: int, clock: Clock) -> None:
    async with serving(echo(code)) as url, patient(url, clock, patience_s=3) as api:
        with pytest.raises(FwsyncError) as raised:
            await api.json("GET", ("thing", PLANTED), params={"q": PLANTED})

        assert PLANTED not in shown(raised.value, api)


async def test_no_broken_answer_shows_the_key(clock: Clock) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/9.9 nonsense " + asked)  # the key comes back where no header is
        await writer.drain()

    async with serving_raw(handler) as url, patient(url, clock, patience_s=3) as api:
        with pytest.raises(FwsyncError) as raised:
            await get(api)

        assert PLANTED not in shown(raised.value, api)


# ----------------------------------------------------------------------- what is repeated


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_later_is_asked_again(code: int, clock: Clock) -> None:
    handler, seen = in_turn(status(code), status(code), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        assert await get(api) == {"ok": True}

    assert (len(seen), api.requests) == (3, 3)


async def test_a_post_is_repeated_only_if_the_caller_says_so(clock: Clock) -> None:
    handler, seen = in_turn(status(503), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(Unavailable):
            await post(api)
        assert len(seen) == 1
        seen.clear()
        assert await api.json("POST", ("lookup",), body={}, repeatable=True) == {"ok": True}


@pytest.mark.parametrize("code", [400, 403, 404, 409, 413, 422])
async def test_what_cannot_get_better_is_asked_once(code: int, clock: Clock) -> None:
    handler, seen = in_turn(status(code))
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(RemoteError) as raised:
            await get(api)

    assert (len(seen), clock.slept) == (1, [])
    assert raised.value.status == code
    assert f"said {code}" in raised.value.message
    assert isinstance(raised.value, {403: Forbidden, 404: NotFound}.get(code, Refused))


async def test_a_500_is_tried_a_few_times(clock: Clock) -> None:
    handler, seen = in_turn(status(500))
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(RemoteError) as raised:
            await get(api)

    assert len(seen) == 3
    assert not isinstance(raised.value, Unavailable)
    assert raised.value.retryable


async def test_one_401_is_forgiven_and_two_are_not(clock: Clock) -> None:
    handler, seen = in_turn(status(401), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        assert await post(api) == {"ok": True}
        assert len(seen) == 2

    handler, seen = in_turn(status(401))
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(AuthError):
            await get(api)
        assert len(seen) == 2


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0", None),
        ("1000000000", 120.0),
        ("9" * 5000, 120.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("٣", None),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", None),
        ("Fri, 15 Jan 9999 08:00:10 GMT", 120.0),
        ("Fri, 99 Jan 2027 08:00:10 GMT", None),
    ],
)
async def test_retry_after_is_obeyed_as_far_as_it_makes_sense(
    header: str, expected: float | None, clock: Clock
) -> None:
    now = {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    with aioresponses() as server:
        server.get("http://site/api/thing", status=429, headers={"Retry-After": header, **now})
        server.get("http://site/api/thing", payload={"ok": True})
        async with patient("http://site", clock, patience_s=None) as api:
            await get(api)

    waited = sum(clock.slept)
    if expected is None:
        assert waited < 1
    else:
        assert expected <= waited <= expected + 1


async def test_retry_after_holds_all_workers_of_the_host(clock: Clock) -> None:
    handler, seen = in_turn(status(429, Retry_After="30"), ok)
    async with serving(handler) as url, patient(url, clock) as api:
        await get(api)
        assert clock.at >= 1030
        began = clock.at
        await asyncio.gather(*(get(api) for _ in range(5)))

    assert clock.at == began
    assert len(seen) == 7


async def test_patience_ends_when_nothing_comes(clock: Clock) -> None:
    handler, seen = in_turn(status(503))
    async with serving(handler) as url, patient(url, clock, patience_s=60) as api:
        with pytest.raises(Unavailable):
            await get(api)

    assert 60 <= clock.at - 1000 < 90
    assert 5 < len(seen) < 30


async def test_a_storm_costs_few_requests_and_is_survived(clock: Clock) -> None:
    asked = 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return ok() if clock.at > 1300 else web.Response(status=503, text="<html>busy</html>")

    async with serving(handler) as url, patient(url, clock, patience_s=600) as api:
        answers = await asyncio.gather(*(get(api) for _ in range(16)))

    assert answers == [{"ok": True}] * 16
    assert asked <= 16 * 12
    assert clock.at < 1360


async def test_a_request_that_fails_alone_is_given_up(clock: Clock) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502) if "bad" in request.path else ok()

    async with serving(handler) as url, patient(url, clock, patience_s=None) as api:

        async def others() -> None:
            while True:
                await get(api)

        good = asyncio.create_task(others())
        with pytest.raises(Unavailable):
            await api.json("GET", ("bad",))
        good.cancel()
        await asyncio.wait([good])


# --------------------------------------------------------------------------- odd answers


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<html>Please log in</html>", "text/html"),
        (b"  <!doctype html>Please log in", "application/json"),
        (b'{"results": [{"na', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"[" * 50_000, "application/json"),
    ],
)
async def test_an_unreadable_answer_is_garbled(
    content: bytes, content_type: str, clock: Clock
) -> None:
    with aioresponses() as server:
        server.get("http://site/api/thing", body=content, content_type=content_type)
        async with patient("http://site", clock) as api:
            with pytest.raises(Garbled) as raised:
                await get(api)

    if b"log in" in content:
        assert "Please log in" in raised.value.message
    assert len(raised.value.message) < 400
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    "content",
    [
        rb'{"label": "half \ud800 of a character"}',
        rb'{"size": 18446744073709551616, "info": {"x": NaN, "y": -0.0, "z": 1e400}}',
        b'{"twice": 1, "twice": 2}',
        b"[" * 500 + b"]" * 500,
    ],
)
async def test_an_answer_is_read_as_pythons_own_reader_has_it(content: bytes, clock: Clock) -> None:
    with aioresponses() as server:
        server.get("http://site/api/thing", body=content, content_type="application/json")
        async with patient("http://site", clock) as api:
            found = await get(api)

    assert repr(found) == repr(json.loads(content))


async def test_a_503_in_html_is_a_503(clock: Clock) -> None:
    page = "<html><body>\x1b[31mService\nUnavailable</body></html>"
    with aioresponses() as server:
        server.get(
            "http://site/api/thing", status=503, body=page, content_type="text/html", repeat=True
        )
        async with patient("http://site", clock, patience_s=2) as api:
            with pytest.raises(Unavailable) as raised:
                await get(api)

    assert raised.value.status == 503
    assert raised.value.message.isprintable()


async def test_a_cut_answer_is_asked_for_again(clock: Clock) -> None:
    asked = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        length = b"11" if asked > 1 else b"5000"
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: " + length + b'\r\n\r\n{"ok":true}'
        )
        await writer.drain()

    async with serving_raw(handler) as url, patient(url, clock) as api:
        assert await get(api) == {"ok": True}

    assert asked == 2


async def test_a_reset_is_retried(clock: Clock) -> None:
    asked = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked < 4:
            writer.transport.abort()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with serving_raw(handler) as url, patient(url, clock) as api:
        assert await get(api) == {}

    assert api.requests == asked


async def test_a_stream_that_breaks_off_is_unavailable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return answer

    async with serving(handler) as url, Api(url, KEY) as api:
        got = b""
        async with api.stream(("file",)) as answer:
            with pytest.raises(Unavailable):  # noqa: PT012 (what came before it counts)
                async for chunk in answer.chunks():
                    got += chunk

    assert got == b"x" * 10
    assert api.bytes_received == 10


async def test_silence_in_mid_body_ends() -> None:
    release = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 10)
        await release.wait()
        return answer

    async with serving(handler) as url, Api(url, KEY, stall_s=0.05) as api:
        async with api.stream(("file",)) as answer:
            with pytest.raises(Unavailable, match="too long"):
                await drain(answer.chunks())
        release.set()


async def drain(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_names_are_encoded_whole() -> None:
    handler, seen = in_turn(ok)
    async with serving(handler) as url, Api(url, KEY) as api:
        await api.json("GET", ("a/b", "c d", "?#%", "é\n"), params={"q": 'x="a b"', "n": None})

    assert seen[0].raw_path == "/api/a%2Fb/c%20d/%3F%23%25/%C3%A9%0A?q=x%3D%22a+b%22"


# --------------------------------------------------------------------- not reached at all


async def test_a_closed_port_is_one_clear_line(clock: Clock) -> None:
    async with serving(in_turn(ok)[0]) as url:
        pass
    async with patient(url, clock, patience_s=5) as api:
        with pytest.raises(Unavailable) as raised:
            await post(api)

    assert f"no connection to {URL(url).authority} (" in raised.value.message
    assert raised.value.hint
    assert api.requests > 1  # nothing was sent, so even a POST may try again


async def test_an_unknown_name_is_one_clear_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> list[Any]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", unknown)
    async with patient("https://flywheel.invalid", clock, patience_s=5) as api:
        with pytest.raises(Unavailable, match=r"the name flywheel\.invalid cannot be resolved"):
            await get(api)


async def test_a_proxy_is_used_and_its_exceptions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, through = in_turn(ok)
    handler, direct = in_turn(ok)
    async with serving(proxy) as at, serving(handler) as url:
        monkeypatch.setenv("http_proxy", at)
        monkeypatch.setenv("no_proxy", "")
        async with Api(url, KEY) as api:
            await get(api)
        assert (len(through), len(direct)) == (1, 0)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with Api(url, KEY) as api:
            await get(api)
        assert (len(through), len(direct)) == (1, 1)


def test_an_address_without_a_host_is_refused() -> None:
    for url in ("", "host", "ftp://host", "https://"):
        with pytest.raises(UsageError):
            Api(url, KEY)
