"""A run that may move so much, or last so long, ends well and says what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwsync.errors import Exit
from fwsync.model import ConflictPolicy, Mode, Report
from tests.room.rooms import Shelf, did, grown, plant, workbench

TREE = {f"s/e/a/{number}": bytes([number]) * 100 for number in range(1, 6)}


def left(report: Report) -> tuple[int, str, Exit]:
    return report.left, report.left_why, report.exit_code


@pytest.mark.parametrize("transfers", [1, 8])
async def test_no_file_is_begun_once_the_limit_is_reached(tmp_path: Path, transfers: int) -> None:
    shelf = Shelf()
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, TREE)
        report = await bench.cycle(Mode.UP, most_bytes=250, transfers=transfers)

        assert {"uploaded": 3, "bytes": 300} == did(report)
        assert (2, "--max-transfer", Exit.DIFFERENCES) == left(report)

        report = await bench.cycle(Mode.UP, most_bytes=250, transfers=transfers)

        assert {"uploaded": 2, "bytes": 200} == did(report)
        assert (0, "", Exit.IN_STEP) == left(report)
        assert TREE == {**shelf.content}


async def test_the_limit_counts_both_directions(tmp_path: Path) -> None:
    shelf = Shelf({"s/e/b/1": b"t" * 100, "s/e/b/2": b"t" * 100})
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, TREE)
        report = await bench.cycle(most_bytes=600)

        assert 600 == report.bytes
        assert 1 == report.left


async def test_deletions_and_conflicts_wait_with_what_is_left(tmp_path: Path) -> None:
    shelf = Shelf({"s/e/b/1": b"theirs"})
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, {"s/e/a/0": b"0"})
        await bench.cycle()
        (bench.root / "s/e/a/0").rename(bench.root / "s/e/a/new")  # a rename, half of which is left
        plant(bench.root, {"s/e/a/1": b"1", "s/e/b/1": b"ours"})
        shelf.store(next(iter(shelf.content)), b"theirs, changed")
        report = await bench.cycle(most_bytes=1)

        assert {"uploaded": 1, "bytes": 1} == did(report)
        assert 3 == report.left
        assert "s/e/a/0" in shelf.content

        report = await bench.cycle()

        assert (1, 1, 1) == (report.uploaded, report.deleted, report.conflicts)


class Clock:
    """Says that the time is up after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> bool:
        self.looks -= 1
        return self.looks < 0


async def test_when_the_time_is_up_what_is_under_way_is_finished_and_no_more(
    tmp_path: Path,
) -> None:
    shelf = Shelf()
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, TREE)
        report = await bench.cycle(Mode.UP, is_time_up=Clock(2), transfers=1)

        assert {"uploaded": 2, "bytes": 200} == did(report)
        assert (3, "--max-duration", Exit.DIFFERENCES) == left(report)

        report = await bench.cycle(Mode.UP)

        assert {"uploaded": 3, "bytes": 300} == did(report)
        assert TREE == {**shelf.content}


@pytest.mark.parametrize("up", [True, False])
async def test_when_the_time_is_up_nothing_is_deleted(tmp_path: Path, up: bool) -> None:
    shelf = Shelf()
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, TREE)
        await bench.cycle()
        if up:
            (bench.root / "s/e/a/1").unlink()
        else:
            shelf.listing.pop(next(iter(shelf.listing)))
        report = await bench.cycle(is_time_up=lambda: True)

        assert {} == did(report)
        assert (1, "--max-duration", Exit.DIFFERENCES) == left(report)
        assert {"deleted": 1} == did(await bench.cycle())


async def test_without_anything_left_a_limit_is_not_mentioned(tmp_path: Path) -> None:
    shelf = Shelf(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        report = await bench.cycle(Mode.DOWN, most_bytes=500, conflict=ConflictPolicy.SKIP)

        assert (0, "", Exit.IN_STEP) == left(report)
        assert TREE == grown(bench.root)
