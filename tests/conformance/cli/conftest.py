"""What the tests of the official CLI start from: the command, logged in as someone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.cli.command import Cli
from tests.house.house import Ground


@pytest.fixture
def cli(fw: Path, ground: Ground, tmp_path: Path) -> Cli:
    """The admin's."""
    return Cli(fw, tmp_path / "admin", ground.key())


@pytest.fixture
def user(fw: Path, ground: Ground, tmp_path: Path) -> Cli:
    """An ordinary user's, who was granted nothing yet."""
    return Cli(fw, tmp_path / "user", ground.user_key())


@pytest.fixture
def switch(ground: Ground) -> Iterator[Callable[..., None]]:
    """Sets features of the site; they are as before when the test is over."""
    before = ground.ask("GET", "/sandbox/switches")

    def set_(**changes: object) -> None:
        ground.ask("PATCH", "/sandbox/switches", changes)

    yield set_
    set_(**before)
