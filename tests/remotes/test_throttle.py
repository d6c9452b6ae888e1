"""The throttle: one rate for all bodies, by a clock that passes only when somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.limits import Timetable, parse_timetable
from fwsync.remotes.body import Body
from fwsync.remotes.http import Api
from fwsync.remotes.throttle import LOOK_AGAIN_S, Throttle
from tests.remotes.conftest import KEY, Clock, ok, serving

MB = 1_000_000


def timetable(text: str) -> Timetable:
    found = parse_timetable(text)
    assert isinstance(found, Timetable)
    return found


def throttle(clock: Clock, text: str, minute: int = 0) -> Throttle:
    return Throttle(timetable(text), now=clock.now, sleep=clock.sleep, minute=lambda: minute)


def body(size: int) -> Body:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 2**20):
            yield bytes(min(2**20, size - start))

    return Body(chunks(), size)


async def swallow(request: web.Request) -> web.StreamResponse:
    async for _ in request.content.iter_any():
        pass
    return ok()


async def pour(request: web.Request) -> web.StreamResponse:
    return web.Response(body=bytes(int(request.query["size"])))


async def get(api: Api, size: int) -> int:
    got = 0
    async with api.stream(("f",), params={"size": size}) as answer:
        async for chunk in answer.chunks():
            got += len(chunk)
    return got


# ------------------------------------------------------------------------------ on its own


async def test_without_a_limit_nobody_waits(clock: Clock) -> None:
    await throttle(clock, "off").spend(10**12)

    assert clock.slept == []


async def test_what_is_spent_takes_as_long_as_the_rate_says(clock: Clock) -> None:
    one = throttle(clock, "1M")
    started = clock.at
    await one.spend(10 * MB)

    assert clock.at - started == pytest.approx(10.0, rel=0.01)


async def test_all_who_wait_are_served_in_turn(clock: Clock) -> None:
    one = throttle(clock, "1M")
    ended: dict[int, float] = {}

    async def worker(number: int) -> None:
        for _ in range(20):
            await one.spend(one.grain)
        ended[number] = clock.at

    await asyncio.gather(*(worker(number) for number in range(8)))

    # One that was served before its turn would be done a whole body before the last one.
    assert max(ended.values()) - min(ended.values()) < 8 * one.grain / MB + 0.01


async def test_a_rate_of_another_hour_holds_for_those_who_wait_already(clock: Clock) -> None:
    minute = 17 * 60 + 59
    one = Throttle(
        timetable("08:00,1k 18:00,off"), now=clock.now, sleep=clock.sleep, minute=lambda: minute
    )
    waiting = asyncio.create_task(one.spend(10 * MB))
    while clock.at < 1002:
        await asyncio.sleep(0)
    assert not waiting.done()
    minute += 1
    changed = clock.at
    await waiting

    assert clock.at - changed <= LOOK_AGAIN_S + 0.01


async def test_another_timetable_holds_for_those_who_wait_already(clock: Clock) -> None:
    one = throttle(clock, "1k")
    waiting = asyncio.create_task(one.spend(10 * MB))
    while clock.at < 1002:
        await asyncio.sleep(0)
    changed = clock.at
    one.set(timetable("1M"))
    await waiting

    assert clock.at - changed == pytest.approx(10.0, rel=0.05)


async def test_who_is_cancelled_leaves_the_turn_and_the_bytes_to_the_others(clock: Clock) -> None:
    one = throttle(clock, "1k")
    first = asyncio.create_task(one.spend(10 * MB))
    second = asyncio.create_task(one.spend(1000))
    while clock.at < 1001:
        await asyncio.sleep(0)
    first.cancel()
    started = clock.at
    await asyncio.gather(first, return_exceptions=True)
    await second

    assert first.cancelled()
    assert clock.at - started < 1.5


# --------------------------------------------------------------------------- over loopback


async def test_a_body_is_sent_at_the_rate(clock: Clock) -> None:
    async with serving(swallow) as url, Api(url, KEY) as api:
        api.throttle = throttle(clock, "1M")
        started = clock.at
        await api.send(("f",), lambda: body(5 * MB))

        assert clock.at - started == pytest.approx(5.0, rel=0.03)
        assert api.bytes_sent == 5 * MB


async def test_a_body_is_received_at_the_rate(clock: Clock) -> None:
    async with serving(pour) as url, Api(url, KEY) as api:
        api.throttle = throttle(clock, "1M")
        started = clock.at
        got = await get(api, 5 * MB)

        assert got == 5 * MB == api.bytes_received
        assert clock.at - started == pytest.approx(5.0, rel=0.03)


async def test_both_directions_and_all_hosts_share_one_rate(clock: Clock) -> None:
    async def site(request: web.Request) -> web.StreamResponse:
        return await (pour if request.method == "GET" else swallow)(request)

    async with serving(site) as url, serving(swallow) as store, Api(url, KEY) as api:
        api.throttle = throttle(clock, "1M")
        started = clock.at
        await asyncio.gather(
            api.send(("f",), lambda: body(MB)),
            api.put_signed(f"{store}/bucket/f", lambda: body(2 * MB)),
            get(api, 3 * MB),
        )

        assert clock.at - started == pytest.approx(6.0, rel=0.03)


async def test_json_both_ways_counts_too(clock: Clock) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(await request.json())

    async with serving(answer) as url, Api(url, KEY) as api:
        api.throttle = throttle(clock, "100k")
        started = clock.at
        await api.json("POST", ("f",), body={"text": "x" * 100_000})

        assert clock.at - started == pytest.approx(2.0, rel=0.05)


async def test_waiting_for_ones_turn_is_no_stall(clock: Clock) -> None:
    stall_s = 0.02

    async def sleep(seconds: float) -> None:
        clock.at += seconds
        await asyncio.sleep(5 * stall_s if len(clock.slept) < 2 else 0)
        clock.slept.append(seconds)

    async with serving(swallow) as url, Api(url, KEY, stall_s=stall_s) as api:
        api.throttle = Throttle(timetable("1M"), now=clock.now, sleep=sleep, minute=lambda: 0)
        await api.send(("f",), lambda: body(MB))

        assert api.bytes_sent == MB  # and in one try
