"""The pace of one host, with a clock that does not wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.remotes.pace import Pace, jitter_s, retry_after_s
from tests.remotes.conftest import Clock


def pace(clock: Clock, limit: int = 8) -> Pace:
    return Pace(limit, now=clock.now, sleep=clock.sleep, random=lambda: 0.5)


async def test_no_more_than_the_limit_are_in_flight(clock: Clock) -> None:
    one = pace(clock, 3)
    most = 0

    async def worker() -> None:
        nonlocal most
        async with one.slot():
            most = max(most, one.in_flight)
            await asyncio.sleep(0)

    await asyncio.gather(*(worker() for _ in range(20)))

    assert (most, one.in_flight) == (3, 0)


def test_429_halves_once_for_what_was_under_way(clock: Clock) -> None:
    one = pace(clock, 16)
    started = clock.at
    clock.at += 1

    for _ in range(10):
        one.failed(started=started, busy=True)
    assert one.limit == 8

    one.failed(started=clock.at, busy=True)
    assert one.limit == 4


def test_a_lone_failure_among_successes_slows_nobody_down(clock: Clock) -> None:
    one = pace(clock, 16)
    for _ in range(100):
        clock.at += 1
        one.failed(started=clock.at)
        for _ in range(20):
            one.succeeded()

    assert one.limit == 16


def test_success_brings_the_limit_back(clock: Clock) -> None:
    one = pace(clock, 16)
    for _ in range(6):
        clock.at += 1
        one.failed(started=clock.at, busy=True)
    assert one.limit == 1

    for _ in range(200):
        one.succeeded()

    assert one.limit == 16


async def test_a_cancelled_wait_hands_its_turn_on(clock: Clock) -> None:
    one = pace(clock, 1)
    done: list[int] = []

    async def worker(number: int) -> None:
        async with one.slot():
            done.append(number)

    async with one.slot():
        tasks = [asyncio.create_task(worker(number)) for number in range(3)]
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks)

    assert done == [1, 2]
    assert one.in_flight == 0


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded(attempt: int, dice: float) -> None:
    assert 0 <= jitter_s(attempt, lambda: dice) <= 30


@given(st.text(max_size=60), st.none() | st.text(max_size=40))
def test_no_header_is_too_odd(value: str, date: str | None) -> None:
    asked = retry_after_s(value, date=date, wall=0.0)

    assert asked is None or 0 <= asked


@pytest.mark.parametrize(
    ("date", "expected"), [(None, 100.0), ("Thu, 01 Jan 1970 00:01:00 GMT", 40.0)]
)
def test_dates_are_taken_by_the_servers_own_clock(date: str | None, expected: float) -> None:
    then = "Thu, 01 Jan 1970 00:01:40 GMT"

    assert retry_after_s(then, date=date, wall=0.0) == expected
