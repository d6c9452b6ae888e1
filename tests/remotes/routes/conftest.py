"""A site of today with a project in it, and a proxy before it that does what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.meddler import Meddler, meddling
from tests.remotes.routes.pushing import Yard, yard


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path) as one:
        yield one


@pytest.fixture
async def meddler(here: Yard) -> AsyncIterator[Meddler]:
    async with meddling(here.sandbox.url) as one:
        yield one
