"""A piece that was begun: what came of it stays when a run is stopped, or the line is slow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path

import pytest

from fwsync import courses, pieces
from fwsync.arrivals import Landing
from fwsync.downloader import Downloader
from fwsync.errors import Unavailable
from fwsync.model import RelPath
from fwsync.roots import part_name
from fwsync.state import StateThread
from tests.room.pieced import (  # fixtures too
    LARGE,
    PARTS,
    PATH,
    PIECE,
    asked_for,
    begun,
    held_of,
    is_all_there,
    keep,
    landing,
    root,
    sizes,
    state,
    told,
)
from tests.room.rooms import Given, Shelf, download

__all__ = ["landing", "root", "sizes", "state", "told"]  # fixtures

HALF = PIECE // 2
STREAMS = 3


class Slow(Shelf):
    """Of each answer comes half a piece and a little more, which is not given to a thread yet."""

    def __init__(self) -> None:
        super().__init__({PATH: LARGE})
        self.standing = asyncio.Semaphore(0)  #: released by each answer that stands still
        self.goes_on = False

    async def _pour(self, given: Given, offset: int) -> AsyncIterator[bytes]:
        if isinstance(given, Unavailable):
            raise given
        assert isinstance(given, bytes)
        step = PIECE // 8
        for at in range(0, len(given), step):
            if at > HALF and not self.goes_on:
                self.standing.release()
                await asyncio.Event().wait()
            yield given[at : at + step]


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def downloader(slow: Slow, landing: Landing, state: StateThread, told: list[int]) -> Downloader:
    return Downloader(
        slow, landing, lambda _, count: told.append(count), state=state, streams=STREAMS
    )


async def standing(slow: Slow, downloader: Downloader) -> asyncio.Task[object]:
    """A run of which all streams stand still."""
    run: asyncio.Task[object] = asyncio.ensure_future(downloader.bring([download(slow, PATH)]))
    for _ in range(STREAMS):
        await slow.standing.acquire()
    return run


async def stopped(run: asyncio.Task[object]) -> None:
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()


async def goes_on(root: Path, slow: Slow, downloader: Downloader) -> None:
    """The next run, with a line that is fast."""
    slow.goes_on = True
    slow.spans.clear()
    assert is_all_there(root, await downloader.bring([download(slow, PATH)]))


async def test_f17_a_stopped_run_keeps_the_beginnings_of_pieces_and_the_next_goes_on_at_the_byte(
    root: Path, slow: Slow, downloader: Downloader, state: StateThread, told: list[int]
) -> None:
    await stopped(await standing(slow, downloader))

    held = await held_of(state, slow)
    assert [HALF] * STREAMS == list(held.values())
    assert STREAMS * HALF == sum(told)  # the bar does not fall

    told.clear()
    await goes_on(root, slow, downloader)

    assert len(LARGE) - STREAMS * HALF == asked_for(slow)
    assert {number * PIECE + HALF for number in held} <= {offset for offset, _ in slow.spans}
    assert len(LARGE) == sum(told)
    assert {} == await begun(state)


async def test_f08_on_a_slow_line_beginnings_are_kept_while_it_runs(
    slow: Slow, downloader: Downloader, state: StateThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "KEEP_S", 0.0)

    run = await standing(slow, downloader)

    assert [HALF] * STREAMS == list((await held_of(state, slow)).values())
    await stopped(run)


async def test_what_is_stopped_again_and_again_grows(
    root: Path, slow: Slow, downloader: Downloader, state: StateThread
) -> None:
    await stopped(await standing(slow, downloader))
    first = sum((await held_of(state, slow)).values())

    await stopped(await standing(slow, downloader))

    second = sum((await held_of(state, slow)).values())
    assert second > first
    await goes_on(root, slow, downloader)
    assert len(LARGE) - second == asked_for(slow)


@pytest.mark.parametrize("keep_s", [0.0, 3600.0], ids=["slow", "stopped"])
async def test_a_beginning_is_recorded_after_its_bytes_are_durable(
    keep_s: float, slow: Slow, downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    really, records = os.fdatasync, pieces.Pieces._confirm

    def sync(fd: int) -> None:
        really(fd)
        done.append("sync")

    async def confirm(self: pieces.Pieces, *args: object) -> None:
        done.append("record")
        await records(self, *args)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(courses, "KEEP_S", keep_s)
    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(pieces.Pieces, "_confirm", confirm)

    await stopped(await standing(slow, downloader))

    assert "record" in done
    for at in range(len(done)):
        assert done[: at + 1].count("record") <= done[: at + 1].count("sync")


@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
async def test_f09_a_beginning_that_is_not_what_was_written_is_fetched_anew(
    damage: str,
    root: Path,
    slow: Slow,
    downloader: Downloader,
    state: StateThread,
    told: list[int],
) -> None:
    await keep(root, state, slow, [2, 5], most=HALF)
    part = root / PARTS / part_name(PATH)
    content = bytearray(part.read_bytes())
    content[2 * PIECE + 7] ^= 1
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(content if damage == "flipped" else content[: 2 * PIECE + 7])

    await goes_on(root, slow, downloader)

    assert len(LARGE) - (HALF if damage == "flipped" else 0) == asked_for(slow)
    assert len(LARGE) == sum(told)


@pytest.mark.parametrize("breaks", [False, True])
async def test_f47_where_the_whole_file_comes_a_beginning_is_forgotten(
    breaks: bool, root: Path, slow: Slow, downloader: Downloader, state: StateThread
) -> None:
    await keep(root, state, slow, [0, 1], most=HALF)
    slow.ranges = False
    if breaks:
        slow.gives[PATH] = repeat(Unavailable("the connection broke"))
        with pytest.raises(Unavailable):
            await downloader.bring([download(slow, PATH)])
        assert {} == await begun(state)
        slow.gives.clear()

    await goes_on(root, slow, downloader)


async def test_f47_ranges_that_come_after_the_whole_file_broke_off_begin_anew(
    root: Path, slow: Slow, downloader: Downloader, state: StateThread
) -> None:
    await keep(root, state, slow, [0], most=HALF)
    slow.gives[PATH] = iter([Unavailable("the connection broke")])
    slow.ranges = False

    def ranges(_: RelPath) -> None:
        slow.ranges = len(slow.spans) > 1

    slow.before_member = ranges

    await goes_on(root, slow, downloader)

    assert {} == await begun(state)


async def test_what_comes_slowly_is_given_to_a_thread_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"

    assert [[b"1", b"2"]] == [block async for block in courses.blocks(chunks())]
    monkeypatch.setattr(courses, "GATHER_S", 0.0)
    assert [[b"1"], [b"2"]] == [block async for block in courses.blocks(chunks())]
