"""A folder without a file in it stands in no file's way, and one with a file in it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwsync.model import Mode, RelPath
from tests.room.rooms import Bench, Shelf, did, grown, plant, workbench


@pytest.mark.parametrize("inside", ["", "deep", "deep/deeper"])
async def test_an_empty_folder_gives_way_to_a_file_of_the_server(
    inside: str, by_shelf: Bench, shelf: Shelf
) -> None:
    shelf.store(RelPath("s/e/n"), b"a file")
    (by_shelf.root / "s/e/n" / inside).mkdir(parents=True)

    report = await by_shelf.cycle(Mode.DOWN)

    assert (0, b"a file") == (report.problems, grown(by_shelf.root)["s/e/n"])
    assert {} == did(await by_shelf.cycle())


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.BOTH])
async def test_a_file_that_moved_to_the_name_of_a_folder_with_a_new_file_is_left(
    mode: Mode, tmp_path: Path
) -> None:
    shelf = Shelf({"t": b"a file"})
    async with workbench(tmp_path, lambda: shelf) as bench:
        await bench.cycle(mode)
        plant(bench.root, {"s/e/new": b"new"})
        shelf.permute({"t": "s"})

        for _ in range(2):
            report = await bench.cycle(mode)
            assert [] == report.problem_list
            assert "s" in [one.path for one in report.difference_list]

        assert {"t": b"a file", "s/e/new": b"new"} == grown(bench.root)
        assert {"s": b"a file"} == shelf.content


async def test_a_folder_with_a_file_in_it_that_nobody_listed_stays(
    by_shelf: Bench, shelf: Shelf
) -> None:
    shelf.store(RelPath("s/e/n"), b"a file")

    def meanwhile(path: RelPath) -> None:
        if path == "s/e/n":
            plant(by_shelf.root, {"s/e/n/mine": b"mine"})

    shelf.before_member = meanwhile

    report = await by_shelf.cycle(Mode.DOWN)

    assert (["s/e/n"], b"mine") == (
        [one.path for one in report.problem_list],
        grown(by_shelf.root)["s/e/n/mine"],
    )
