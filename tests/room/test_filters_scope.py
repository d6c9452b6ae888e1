"""What a filter puts out of scope is out on both sides: it is never read as deleted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync import cli
from fwsync.model import Mode
from fwsync.settle import ignore_rules
from tests.room.rooms import Bench, Ground, did, ground, grown, plant, workbench

TREE = {"S/E/A/1.dcm": b"1", "S/E/A/2.dcm": b"22", "S/E/B/3.dcm": b"333", "S/note.txt": b"note"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as server:
        yield server


@pytest.fixture
async def bench(server: Ground, tmp_path: Path) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, server.connect) as bench:
        plant(bench.root, TREE)
        for path in TREE:
            os.utime(bench.root / path, ns=(10**18, 10**18))
        await bench.cycle()
        yield bench


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "exclude", [["S/E/A/", "!S/E/A/1.dcm"], ["*", "!*.dcm"], ["S/", "!S/note.txt"]]
)
async def test_what_is_brought_back_below_a_folder_that_is_out_is_not_deleted(
    exclude: list[str], mode: Mode, server: Ground, bench: Bench
) -> None:
    for _ in range(2):
        report = await bench.cycle(mode, ignore=ignore_rules(exclude))

        assert {} == did(report)
    assert TREE == grown(bench.root) == await server.held()

    assert {} == did(await bench.cycle(mode))


@pytest.mark.parametrize("exclude", [["S/E/A/", "!S/E/A/1.dcm"], ["*", "!*.dcm"]])
async def test_what_is_out_of_scope_is_no_news(exclude: list[str], bench: Bench) -> None:
    with bench.engine(Mode.UP, ignore=ignore_rules(exclude)) as engine:
        assert not await engine.anything_new(again=True)


def test_a_flag_of_zero_is_a_flag_that_was_given() -> None:
    given = cli._given(settle_s=0.0, transfers=0, exclude=[], delete_up=False, state=None)

    assert {"settle_s": 0.0, "transfers": 0} == given
    assert isinstance(given["settle_s"], float)
    assert type(given["transfers"]) is int


def test_what_was_not_given_overrides_nothing() -> None:
    given = cli._given(include=["*.dcm"], delete_up=True, mode="up", layout="")

    assert {"include": ["*.dcm"], "delete_up": True, "mode": "up", "layout": ""} == given
