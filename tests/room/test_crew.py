"""A crew: as many workers side by side as there should be, and none left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fwsync.errors import Unavailable
from fwsync.limits import Climb
from fwsync.threads import crew


class Work:
    """Pieces of work, and how many were under way at once."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.busy = self.most = 0
        self.after: dict[int, Callable[[], None]] = {}

    async def __call__(self, is_one_too_many: Callable[[], bool]) -> bool:
        while not is_one_too_many():
            if not self.left:
                return False
            self.left -= 1
            self.busy += 1
            self.most = max(self.most, self.busy)
            await asyncio.sleep(0)
            self.busy -= 1
            self.after.get(self.left, lambda: None)()
        return True


def nothing() -> tuple[float, bool]:
    return 0.0, False


@pytest.mark.parametrize("number", [1, 3, 8])
async def test_so_many_work_and_all_is_done(number: int) -> None:
    work = Work(100)
    await crew(work, Climb(number), nothing)

    assert (0, number) == (work.left, work.most)


async def test_without_work_it_ends_at_once() -> None:
    work = Work(0)
    await crew(work, Climb(4), nothing)

    assert work.most == 0


async def test_those_that_are_too_many_leave_between_two_pieces() -> None:
    work, climb = Work(100), Climb(8)

    def fewer() -> None:
        climb.workers, work.most = 2, 0

    work.after[50] = fewer
    await crew(work, climb, nothing)

    assert work.left == 0
    assert work.most <= 8

    work = Work(100)
    climb.workers = 2
    await crew(work, climb, nothing)

    assert work.most == 2


async def test_what_a_worker_raises_comes_out_as_itself() -> None:
    async def work(is_one_too_many: Callable[[], bool]) -> bool:
        raise Unavailable("gone")

    with pytest.raises(Unavailable, match="gone"):
        await crew(work, Climb(4), nothing)


async def test_it_asks_how_it_goes_while_there_is_work() -> None:
    asked = 0
    work = Work(100)

    def moved() -> tuple[float, bool]:
        nonlocal asked
        asked += 1
        return float(asked * 2**asked), False

    await crew(work, Climb(), moved, every_s=0.0)

    assert asked > 1
    assert work.most > 8
