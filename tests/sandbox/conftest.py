from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.api import Api, Tree, client, plant


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    with blockbuster_ctx("fwsync.sandbox") as watching:
        yield watching


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    """The admin."""
    async with client(sandbox.url, sandbox.api_key) as made:
        yield made


@pytest.fixture
async def user(sandbox: Sandbox) -> AsyncIterator[Api]:
    """An ordinary user."""
    async with client(sandbox.url, sandbox.user_api_key) as made:
        yield made


@pytest.fixture
async def tree(api: Api) -> Tree:
    return await plant(api)
