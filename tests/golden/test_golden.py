"""Every golden scenario, in process and by the command line: see README.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.golden.conftest import Stage
from tests.golden.language import Scenario, read
from tests.golden.playing import Play
from tests.golden.runners import RUNNERS
from tests.house.disks import folding_disk
from tests.room.rooms import at_home

HERE = Path(__file__).parent
FILES = sorted([*(HERE / "rows").glob("*.txt"), *(HERE / "more").glob("*.txt")])
SCENARIOS = {file.stem: read(file) for file in FILES}

#: Rows of the catalogue that have no file yet: they are of the daemon that is still to come.
LATER = {"S105", "S106"}

#: The rows of the catalogue.
ROWS = {
    f"S{number:02}"
    for first, last in (
        (1, 6), (8, 13), (16, 19), (21, 31), (34, 37), (39, 52), (55, 67), (69, 72), (77, 77),
        (80, 81), (83, 83), (85, 85), (87, 91), (93, 99), (101, 107), (111, 113),
    )
    for number in range(first, last + 1)
} - {"S20", "S14", "S15", "S53", "S54", "S86", "S92"}  # fmt: skip

#: Who plays what; a file that is for one of them says why.
PLAYED = [
    (name, runner)
    for name, scenario in SCENARIOS.items()
    for runner in RUNNERS
    if scenario.only in ("", runner)
]


@pytest.mark.parametrize(
    ("name", "runner"), PLAYED, ids=[f"{name}-{runner}" for name, runner in PLAYED]
)
def test_a_scenario_ends_as_its_file_says(
    name: str, runner: str, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(tmp_path, monkeypatch)

    scenario = SCENARIOS[name]
    with root_on_disk(scenario, tmp_path) as root:
        Play(scenario, RUNNERS[runner], stage.ground, stage.data, tmp_path, root).play()


@contextmanager
def root_on_disk(scenario: Scenario, folder: Path) -> Iterator[Path]:
    """A folder on the kind of file system that a scenario asks for."""
    if "folding" in scenario.needs:
        with folding_disk(folder / "disk", folder / "image") as disk:
            yield disk / "root"
    else:
        yield folder / "root"


def test_every_row_has_a_file_and_both_ways_play_it() -> None:
    told = {
        name.partition("-")[0] for name in SCENARIOS if (HERE / "rows" / f"{name}.txt").exists()
    }

    assert ROWS - LATER == told
    assert [] == [
        name for name, scenario in SCENARIOS.items() if scenario.only and not scenario.why_only
    ]
    assert all(
        (name, runner) in PLAYED or scenario.why_only
        for name, scenario in SCENARIOS.items()
        for runner in RUNNERS
    )
