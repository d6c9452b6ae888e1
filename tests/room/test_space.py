"""Room on the disk: taken before a batch begins, given back when it ends, and waited for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwsync import space as room
from fwsync.model import ContainerRef, Decision, Level, Outcome, RelPath, RemoteEntry, Verb
from fwsync.roots import part_name
from fwsync.space import BESIDE, Space, worst

PARTS = ".fwsync/parts"
MB = 1 << 20


def decision(path: str, size: int) -> Decision:
    entry = RemoteEntry(RelPath(path), size, "tag", None, ContainerRef(Level.PROJECT, "p"), path)
    return Decision(Verb.DOWNLOAD, RelPath(path), remote=entry)


class Disk:
    """What a file system says that it has free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 0
        self.blocks = 1 << 40
        monkeypatch.setattr(os, "fstatvfs", self._told)
        monkeypatch.setattr(room, "RESERVE", 0)

    def _told(self, _: int) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self.free, f_frsize=1, f_blocks=self.blocks)


class Bringer:
    """Brings a batch when it is told to."""

    def __init__(self) -> None:
        self.begun: list[list[str]] = []
        self.go = asyncio.Event()

    async def bring(self, batch: Sequence[Decision]) -> list[Outcome]:
        self.begun.append([one.path for one in batch])
        await self.go.wait()
        return [Outcome(one) for one in batch]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
async def root_fd(tmp_path: Path) -> AsyncIterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


async def settled() -> None:
    """Whoever can go on has gone on: no thread of theirs is at work any more."""
    for _ in range(50):
        await asyncio.to_thread(lambda: None)


async def test_what_others_were_promised_is_not_free_and_is_waited_for(
    disk: Disk, root_fd: int
) -> None:
    disk.free = 3 * MB
    space, bringer = Space(root_fd, PARTS), Bringer()
    bring = space.within(bringer.bring)
    first = asyncio.ensure_future(bring([decision("a", 2 * MB)]))
    await settled()
    second = asyncio.ensure_future(bring([decision("b", 2 * MB)]))
    await settled()
    assert bringer.begun == [["a"]]

    bringer.go.set()  # nothing was written, so that there is room again
    outcomes = [*await first, *await second]

    assert [one.decision.path for one in outcomes] == ["a", "b"]
    assert space.full is None


async def test_what_was_written_is_promised_no_more(disk: Disk, root_fd: int) -> None:
    disk.free = 4 * MB
    space, bringer = Space(root_fd, PARTS), Bringer()
    told: list[tuple[str, int]] = []
    advanced = space.told(lambda path, count: told.append((path, count)))
    bring = space.within(bringer.bring)
    first = asyncio.ensure_future(bring([decision("a", 3 * MB)]))
    await settled()
    disk.free -= 2 * MB
    advanced(RelPath("a"), 2 * MB)
    second = asyncio.ensure_future(bring([decision("b", MB // 2)]))
    await settled()

    assert bringer.begun == [["a"], ["b"]]
    assert told == [("a", 2 * MB)]
    bringer.go.set()
    await asyncio.gather(first, second)


async def test_what_fits_of_a_batch_is_brought_and_the_rest_has_no_outcome(
    disk: Disk, root_fd: int
) -> None:
    batch = [decision(name, MB) for name in "abc"]
    disk.free = 2 * (MB + BESIDE)
    space, bringer = Space(root_fd, PARTS, batch), Bringer()
    bringer.go.set()

    async def bring(some: Sequence[Decision]) -> list[Outcome]:
        disk.free -= sum(one.size + BESIDE for one in some)
        return await bringer.bring(some)

    outcomes = await space.within(bring)(batch)

    assert [one.decision.path for one in outcomes] == ["a", "b"]
    assert space.full is not None
    assert "1.1 MB are missing" in space.full.message, space.full
    assert worst([], space) is space.full
    assert [] == await space.within(bringer.bring)([decision("d", 1)])
    assert bringer.begun == [["a", "b"]]


async def test_the_part_of_an_earlier_run_has_its_room_already(
    disk: Disk, root_fd: int, tmp_path: Path
) -> None:
    large = decision("large", 24 * MB)
    parts = tmp_path / PARTS
    parts.mkdir(parents=True)
    (parts / part_name(large.path)).write_bytes(bytes(20 * MB))
    bringer = Bringer()
    bringer.go.set()
    disk.free = 6 * MB

    assert len(await Space(root_fd, PARTS).within(bringer.bring)([large])) == 1
    disk.free = 2 * MB
    space = Space(root_fd, PARTS)
    assert [] == await space.within(bringer.bring)([large])
    assert space.full is not None


async def test_a_file_system_that_tells_nothing_is_believed_to_have_room(
    disk: Disk, root_fd: int
) -> None:
    disk.blocks = 0
    bringer = Bringer()
    bringer.go.set()

    assert len(await Space(root_fd, PARTS).within(bringer.bring)([decision("a", MB)])) == 1
