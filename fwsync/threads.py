"""Blocking work in a thread, never left behind.

The one rule: whoever asked is not told that it was cancelled before the thread has
ended. A descriptor closed under a thread that still writes is the number of the next
file that is opened, and that may be the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
