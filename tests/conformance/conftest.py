"""What the official programs start from: their environments, a sandbox, and a place in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.conformance import environments
from tests.conformance.place import Place, plant
from tests.house.house import Ground, grounded

_NUMBERS = count(1)
_NEEDED = {"sdk_python": "sdk", "fw": "cli"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the environments that will be needed, before a test's time runs."""
    if session.config.option.collectonly:
        return
    wanted = {
        _NEEDED[name]
        for item in session.items
        for name in getattr(item, "fixturenames", ())
        if name in _NEEDED
    }
    for name in sorted(wanted):
        environments.environment(environments.RECIPES[name])


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """The interpreter that has the official SDK."""
    return environments.python("sdk")


@pytest.fixture(scope="session")
def fw() -> Path:
    """The official CLI's command."""
    return environments.program("cli", "fw")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A sandbox with the group ``lab``; the tests of a module share it."""
    with grounded(tmp_path_factory.mktemp("sandbox")) as made:
        yield made


@pytest.fixture
def place(ground: Ground) -> Place:
    """A project of this test's own, with one container of each level."""
    return plant(ground, f"Aging {next(_NUMBERS)}")


@pytest.fixture
def switch(ground: Ground) -> Iterator[Callable[..., None]]:
    """Sets features of the site; they are as before when the test is over."""
    before = ground.ask("GET", "/sandbox/switches")

    def set_(**changes: object) -> None:
        ground.ask("PATCH", "/sandbox/switches", changes)

    yield set_
    set_(**before)
