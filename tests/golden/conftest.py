"""What the golden scenarios are played on: one sandbox for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.house import Ground, grounded

pytest.register_assert_rewrite("tests.golden.playing")


@dataclass(frozen=True, slots=True)
class Stage:
    """A sandbox, and the folder that it keeps its data in."""

    ground: Ground
    data: Path


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data = tmp_path_factory.mktemp("sandbox")
    with grounded(data) as ground:
        yield Stage(ground, data)


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""
