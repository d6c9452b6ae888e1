from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.sdk.process import Driver, Sdk
from tests.house.house import Ground


@pytest.fixture(scope="session")
def driver(sdk_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The official SDK's interpreter; one for each process of the tests."""
    driver = Driver(sdk_python, tmp_path_factory.mktemp("home"))
    yield driver
    driver.stop()


@pytest.fixture
def sdk(driver: Driver, ground: Ground) -> Sdk:
    """The official SDK, with the admin's key."""
    return Sdk(driver, ground.key())


@pytest.fixture
def nobody(driver: Driver, ground: Ground) -> Sdk:
    """The official SDK, with the key of a user who sees nothing yet."""
    return Sdk(driver, ground.user_key())
