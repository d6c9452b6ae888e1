"""Work side by side: tasks that end together, and blocking work that is never left behind.

The one rule: whoever asked is not told that it was cancelled before the thread has
ended. A descriptor closed under a thread that still writes is the number of the next
file that is opened, and that may be the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from fwsync.errors import FwsyncError, worst_of

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work`` in a thread; a cancellation waits for its end."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # asked once more: the thread goes on all the same
                continue
        if not task.cancelled():
            task.exception()  # seen: nobody will ask for it
        raise


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
