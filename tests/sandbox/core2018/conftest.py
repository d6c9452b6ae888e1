from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.core2018.old import Old, OldTree, old_client, plant


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "data", switches={"compat": "core-2018"}) as running:
        yield running


@pytest.fixture
async def old(server: Sandbox) -> AsyncIterator[Old]:
    """The admin."""
    async with old_client(server.url, server.api_key) as made:
        yield made


@pytest.fixture
async def uma(server: Sandbox) -> AsyncIterator[Old]:
    """An ordinary user."""
    async with old_client(server.url, server.user_api_key) as made:
        yield made


@pytest.fixture
async def nobody(server: Sandbox) -> AsyncIterator[Old]:
    async with old_client(server.url, "") as made:
        yield made


@pytest.fixture
async def reaper(server: Sandbox) -> AsyncIterator[Old]:
    """A device."""
    headers = {
        "X-SciTran-Auth": server.device_secret,
        "X-SciTran-Method": "reaper",
        "X-SciTran-Name": "scanner 1",
    }
    async with old_client(server.url, "", **headers) as made:
        yield made


@pytest.fixture
async def tree(old: Old) -> OldTree:
    return await plant(old)
