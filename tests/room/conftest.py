"""Fixtures of the rooms' tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.room.rooms import TREE, Bench, Ground, Shelf, age, descriptor, ground, plant, workbench

NOBODY = 65534


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    """A descriptor of the test's own root."""
    with descriptor(root) as fd:
        yield fd


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as server:
        yield server


@pytest.fixture
async def bench(server: Ground, tmp_path: Path) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, server.connect) as bench:
        yield bench


@pytest.fixture
async def agreed(server: Ground, bench: Bench) -> Bench:
    """A root and a project that are in step, by an upload."""
    age(plant(bench.root, TREE))
    await bench.cycle()
    return bench


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(TREE)


@pytest.fixture
async def by_shelf(shelf: Shelf, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose remote is a dict that may be told to misbehave."""
    async with workbench(tmp_path, lambda: shelf) as bench:
        yield bench


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Path]:
    """A folder of an ordinary user, who this process is meanwhile: root may do everything."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="fwsync-test-"))  # tmp_path lies below root's own
    os.chown(folder, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)
