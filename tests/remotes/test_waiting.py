"""A server that asks to wait: obeyed within the patience, told to a person, and no further."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from fwsync.errors import Exit, Unavailable
from fwsync.remotes.faults import Cleaner, page_in_words
from fwsync.remotes.http import Api
from fwsync.remotes.pace import Pace
from tests.remotes.conftest import Clock, in_turn, ok, patient, serving, status


async def get(api: Api) -> object:
    return await api.json("GET", ("thing",))


@pytest.mark.parametrize("code", [429, 503])
async def test_a_pause_beyond_the_patience_is_not_waited_for(code: int, clock: Clock) -> None:
    handler, seen = in_turn(status(code, Retry_After="3600"))
    async with serving(handler) as url, patient(url, clock, patience_s=5) as api:
        with pytest.raises(Unavailable) as raised:
            await get(api)

    assert clock.at - 1000 <= 5
    assert 1 == len(seen)
    assert f"the server asks to wait 3600 s ({code})" in raised.value.message
    assert (Exit.UNAVAILABLE, code) == (raised.value.exit_code, raised.value.status)
    assert "--patience" in raised.value.hint


async def test_the_next_request_does_not_wait_for_it_either(clock: Clock) -> None:
    """The pause is the host's: whoever comes next hears why without asking again."""
    handler, seen = in_turn(status(429, Retry_After="3600"))
    async with serving(handler) as url, patient(url, clock, patience_s=5) as api:
        for _ in range(2):
            with pytest.raises(Unavailable, match="asks to wait 3600 s"):
                await get(api)

    assert clock.at - 1000 <= 10
    assert 1 == len(seen)


async def test_all_workers_give_up_within_the_patience(clock: Clock) -> None:
    handler, seen = in_turn(status(503, Retry_After="90"))
    async with serving(handler) as url, patient(url, clock, patience_s=60) as api:
        ends = await asyncio.gather(*(get(api) for _ in range(8)), return_exceptions=True)

    assert 8 == sum("asks to wait 90 s" in str(end) for end in ends)
    assert 8 == len(seen)


async def test_a_pause_as_long_as_the_patience_is_waited_for_once(clock: Clock) -> None:
    handler, seen = in_turn(status(429, Retry_After="60"), ok)
    async with serving(handler) as url, patient(url, clock, patience_s=60) as api:
        assert {"ok": True} == await get(api)
    assert 2 == len(seen)

    began = clock.at
    handler, seen = in_turn(status(429, Retry_After="60"))
    async with serving(handler) as url, patient(url, clock, patience_s=60) as api:
        with pytest.raises(Unavailable):
            await get(api)
    assert clock.at - began <= 61
    assert 2 == len(seen)


async def test_endless_patience_waits_as_often_as_it_is_asked(clock: Clock) -> None:
    handler, seen = in_turn(*[status(429, Retry_After="3600")] * 5, ok)
    async with serving(handler) as url, patient(url, clock, patience_s=None) as api:
        assert {"ok": True} == await get(api)

    assert 6 == len(seen)
    assert 600 <= clock.at - 1000 < 610


async def test_one_that_is_under_way_is_not_given_up_for_another(clock: Clock) -> None:
    """While bytes may still come the patience is not at its end, and then it begins anew."""
    held, arrived = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        if request.path.endswith("slow"):
            arrived.set()
            await held.wait()
            return ok()
        return ok() if len(seen) > 2 else status(429, Retry_After="90")()

    async def sleep(seconds: float) -> None:
        """Half of the patience passes, then the slow one comes to its end."""
        await clock.sleep(seconds)
        if clock.at >= 1035:
            held.set()
            await slow

    async with serving(handler) as url, patient(url, clock, patience_s=60, sleep=sleep) as api:
        slow = asyncio.create_task(api.json("GET", ("slow",)))
        await arrived.wait()
        assert {"ok": True} == await get(api)

    assert clock.at - 1000 >= 90


async def test_a_long_pause_is_told_once(clock: Clock) -> None:
    told: list[str] = []
    pace = Pace(8, now=clock.now, sleep=clock.sleep, random=lambda: 0.5, tell=told.append)

    async def worker() -> None:
        async with pace.slot():
            pass

    for _ in range(4):  # the answers of one wave
        pace.failed(started=1000, asked_s=40, busy=True)
        clock.at += 0.1
    await asyncio.gather(*(worker() for _ in range(4)))
    assert ["waiting 40 s: the server asks for it (429)"] == told

    pace.failed(started=clock.at, asked_s=3600)
    await worker()
    assert ["waiting 120 s: the server asks for it (503)"] == told[1:]


@pytest.mark.parametrize(
    ("asked_s", "lines"), [("40", ["waiting 40 s: the server asks for it (429)"]), ("2", [])]
)
async def test_an_api_tells_of_a_pause_that_is_worth_a_line(
    asked_s: str, lines: list[str], clock: Clock
) -> None:
    handler, _ = in_turn(status(429, Retry_After=asked_s), ok)
    told: list[str] = []
    async with serving(handler) as url, patient(url, clock) as api:
        api.tell = told.append
        await get(api)

    assert lines == told


# ------------------------------------------------------------------------------- web pages


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<html><head><title>Hotel &amp; WiFi\n</title>…", "an HTML page titled 'Hotel & WiFi'"),
        ("<TITLE lang=en>Log in</TITLE>", "an HTML page titled 'Log in'"),
        ("<p>Please <b>log in</b></p>", "an HTML page that says 'Please log in'"),
        (
            "<!-- <p>no --><style>p > b {}</style><script>if (a<b) x()</script><p>yes",
            "an HTML page that says 'yes'",
        ),
        ("<title></title><p>" + "word " * 99, f"an HTML page that says '{'word ' * 16}…'"),
        ("<title>key-of-mine", "an HTML page that says '***'"),
        ("<", "an HTML page"),
        ("<script>never closed", "an HTML page"),
        ("İSTANBUL <TITLE>Giriş</TITLE>", "an HTML page titled 'Giriş'"),
        ("<title>\x1b[2J</title>", "an HTML page titled '\\x1b[2J'"),
    ],
)
def test_a_web_page_is_told_in_a_few_words(page: str, said: str) -> None:
    assert said == page_in_words(page, Cleaner("key-of-mine"))


async def test_a_captive_portal_is_named_by_its_title(clock: Clock) -> None:
    page = f"<html><head><script>{'x' * 3000}</script><title>Guest WiFi</title></head></html>"

    def portal() -> web.Response:
        return web.Response(text=page, content_type="text/html")

    handler, _ = in_turn(portal)
    async with serving(handler) as url, patient(url, clock) as api:
        with pytest.raises(Exception, match="titled 'Guest WiFi'") as raised:
            await get(api)

    assert len(str(raised.value)) < 120
