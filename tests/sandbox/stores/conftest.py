from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sandbox.stores.flow import DIALECTS, Flow, running


@pytest.fixture(params=DIALECTS)
async def flow(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Flow]:
    """One of each dialect, unless the test names some."""
    async with running(tmp_path / "data", request.param) as made:
        yield made
