"""A loop on which a run takes the same steps each time: no threads, and no time to wait for."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Inline(ThreadPoolExecutor):
    """An executor without threads: what is handed in is done before it is given back."""

    def __init__(self) -> None:
        super().__init__(1)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it now."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # a kill is one, and goes to who waits
            future.set_exception(error)
        return future


class _Impatient(selectors.DefaultSelector):
    """Never waits: the time that it was to wait is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now."""
        self.passed_s += timeout or 0.0
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return found


class StillLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still, but for what is waited for."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)
        self.set_default_executor(Inline())

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """It has no threads to wait for."""

    def time(self) -> float:
        """Seconds that were waited for."""
        return self._impatient.passed_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """Carry out some work on a loop of its own."""
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        return runner.run(work)


class Order:
    """Says in which order those that wait side by side go on.

    Args:
        seed: gives the order; None: as they came.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._dice = None if seed is None else random.Random(seed)

    async def wait(self) -> None:
        """Let others go first, or not."""
        for _ in range(0 if self._dice is None else self._dice.randrange(6)):
            await asyncio.sleep(0)
