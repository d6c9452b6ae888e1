"""Work side by side: tasks that end together, and blocking work that is never left behind.

The one rule: whoever asked is not told that it was cancelled before the thread has
ended. A descriptor closed under a thread that still writes is the number of the next
file that is opened, and that may be the state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from fwsync.errors import FwsyncError, worst_of
from fwsync.limits import Climb

#: How often is looked whether the number of workers is right, in seconds.
LOOK_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work`` in a thread; a cancellation waits for its end."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


async def in_thread_of(
    executor: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """As :func:`in_thread`, in a thread of the executor."""
    loop = asyncio.get_running_loop()
    task = loop.run_in_executor(executor, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


async def one_ahead(step: Callable[[], tuple[T, bool]]) -> AsyncGenerator[T, None]:
    """What ``step`` makes, each call in a thread, and one call ahead of whoever asks.

    Close it (:func:`contextlib.aclosing`): no call is under way any more when that is done.

    Args:
        step: the next one, and whether there is more; not called again once there is not.

    Raises:
        Exception: what ``step`` raised, when its turn comes.
    """
    making = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        more = True
        while more:
            made, more = await asyncio.shield(making)
            if more:
                making = asyncio.ensure_future(asyncio.to_thread(step))
            yield made
    finally:
        await _ended(making)


async def _ended(task: asyncio.Future[T]) -> None:
    """Wait for the end of a thread's work; a cancellation waits for it too."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:  # the thread goes on all the same
            cancelled = error
    if not task.cancelled():
        task.exception()  # seen: nobody will ask for it
    if cancelled is not None:
        raise cancelled


@asynccontextmanager
async def workers() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose expected failure comes out as itself, not as a group of one.

    Raises:
        FwsyncError: the worst of those that its tasks raised, if they raised nothing else.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        # No ``except*``: before Python 3.11.4 what is raised in it is wrapped once more.
        expected, bugs = errors.split(FwsyncError)
        if expected is None or bugs is not None:
            raise
        raise worst_of(expected) from None


async def crew(
    work: Callable[[Callable[[], bool]], Awaitable[bool]],
    climb: Climb,
    moved: Callable[[], tuple[float, bool]],
    every_s: float = LOOK_S,
) -> None:
    """Let as many work side by side as ``climb`` says, until there is nothing left to do.

    Args:
        work: one worker. It is given a function that says if it is one too many, to be asked
            between two pieces of work; True if it left for that, False if nothing is left.
        climb: says how many.
        moved: how much was moved in all so far, and if anything failed since it was asked.
        every_s: how often ``climb`` is told, and asked.

    Raises:
        FwsyncError: as :func:`workers`, if a worker raised.
    """
    hired: dict[int, asyncio.Task[bool]] = {}
    is_more = True
    looked, total = time.monotonic(), moved()[0]

    async def one(number: int) -> bool:
        return await work(lambda: number >= climb.workers)

    async with workers() as group:
        while is_more or hired:
            for number in range(climb.workers if is_more else 0):
                if number not in hired:
                    hired[number] = group.create_task(one(number))
            ended, _ = await asyncio.wait(
                hired.values(), timeout=every_s, return_when=asyncio.FIRST_COMPLETED
            )
            is_more = is_more and all(task.result() for task in ended)
            hired = {number: task for number, task in hired.items() if task not in ended}
            passed_s = time.monotonic() - looked
            if is_more and passed_s >= every_s and passed_s:
                before, (total, failed) = total, moved()
                looked += passed_s
                climb.sample((total - before) / passed_s, failed=failed)
