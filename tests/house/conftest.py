"""What the tests of the whole command start from: a server, a way to it, a desk, a project."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.house.house import SOME, Desk, Ground, grounded, plant
from tests.house.wire import Relay

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with grounded(tmp_path_factory.mktemp("sandbox")) as made:
        yield made


@pytest.fixture
def relay(ground: Ground) -> Relay:
    return ground.relay()


@pytest.fixture
def desk(ground: Ground, tmp_path: Path) -> Desk:
    """It reaches the server directly; a test that disturbs the way gives it a relay's port."""
    return Desk(tmp_path / "home", ground.key())


@pytest.fixture
def label(ground: Ground) -> str:
    """A project of this test's own."""
    name = f"aging-{next(_NUMBERS)}"
    ground.project(name)
    return name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", SOME)
