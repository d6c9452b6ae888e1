"""What the tests of the official CLI start from: the command, logged in as someone."""

from __future__ import annotations

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
