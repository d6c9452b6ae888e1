"""Blocking work in threads, one step ahead of whoever asks; and never left behind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from fwsync.threads import in_thread, one_ahead


async def test_everything_comes_in_order_and_nothing_is_asked_for_after_the_end() -> None:
    left = iter(range(5))
    calls = 0

    def step() -> tuple[int, bool]:
        nonlocal calls
        calls += 1
        return (number := next(left)), number < 4

    assert [0, 1, 2, 3, 4] == [one async for one in one_ahead(step)]
    assert 5 == calls


async def test_the_next_one_is_made_while_this_one_is_looked_at() -> None:
    began = [threading.Event(), threading.Event()]
    todo = iter(began)

    def step() -> tuple[int, bool]:
        one = next(todo)
        one.set()
        return 0, one is not began[-1]

    async with aclosing(one_ahead(step)) as made:
        await anext(made)
        assert await in_thread(began[1].wait, 60)


async def test_an_error_comes_when_its_turn_comes() -> None:
    calls = 0

    def step() -> tuple[str, bool]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("the second")
        return "first", True

    async with aclosing(one_ahead(step)) as made:
        assert await anext(made) == "first"
        with pytest.raises(OSError, match="the second"):
            await anext(made)


async def _held(go_on: threading.Event, ended: threading.Event) -> asyncio.Task[None]:
    """Somebody who looks at a first step while a thread is held in the second."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = [True]

    def step() -> tuple[int, bool]:
        if first:
            return 0, first.pop()
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        ended.set()
        return 1, False

    async def look() -> None:
        async with aclosing(one_ahead(step)) as made:
            await anext(made)
            await begun.wait()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(look())
    await begun.wait()
    return task


async def test_who_breaks_off_waits_until_no_thread_works_for_him() -> None:
    go_on, ended = threading.Event(), threading.Event()
    task = await _held(go_on, ended)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.01)
    assert not done, "the thread is still at work"
    task.cancel()  # asked once more
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
