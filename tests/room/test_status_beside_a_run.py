"""Looking at a root while a run works on it: nobody is disturbed, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync import locks, roots, runs, whereabouts
from fwsync.errors import Exit
from fwsync.model import Mode, Report
from tests.contract.meddler import Forward, Meddler, meddling
from tests.room.rooms import Ground, at_home, key_file, plant

TREE = {f"s/e/a/{number:03}": b"%d" % number for number in range(40)}
CHECKOUT = Path(__file__).resolve().parents[2]
LOOKERS = 12


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
async def meddler(server: Ground) -> AsyncIterator[Meddler]:
    async with meddling(server.sandbox.url) as meddler:
        yield meddler


@pytest.fixture
def flags(
    server: Ground, meddler: Meddler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    secret = server.sandbox.api_key.rpartition(":")[2]
    key = key_file(tmp_path, f"{meddler.url.removeprefix('http://')}:__force_insecure:{secret}")
    return {"api_key_file": key, "patience_s": 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", TREE)


async def push(root: Path, flags: dict[str, Any]) -> Report:
    return await asyncio.to_thread(runs.run, Mode.UP, root, "lab/aging", flags)


def ours(root: Path) -> set[str]:
    """What lies below .fwsync, but for what an open state has beside it."""
    return {
        path.relative_to(root).as_posix()
        for path in (root / ".fwsync").rglob("*")
        if not path.name.endswith(("-wal", "-shm"))
    }


class Gate:
    """Holds every body that is sent, until it is opened."""

    def __init__(self, meddler: Meddler) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        meddler.meddle = self._hold

    async def _hold(self, request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            self.reached.set()
            await self.open.wait()
        return None


async def test_many_may_look_while_a_run_works(
    flags: dict[str, Any], meddler: Meddler, root: Path
) -> None:
    await push(root, flags)
    plant(root, {f"s/e/n/{number}": b"new" for number in range(20)})
    before, gate = ours(root), Gate(meddler)
    working = asyncio.create_task(push(root, flags))
    try:
        await gate.reached.wait()
        together = threading.Barrier(LOOKERS)

        def look() -> runs.Status:
            together.wait(20)
            return runs.read_status(root, flags, None)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(LOOKERS) as threads:
            looks = [loop.run_in_executor(threads, look) for _ in range(LOOKERS)]
            found = await asyncio.wait_for(asyncio.gather(*looks), 30)
    finally:
        gate.open.set()
        report = await working

    assert [("lab/aging", len(TREE))] * LOOKERS == [(one.remote, one.files) for one in found]
    assert all(f"process {os.getpid()} on" in one.holder for one in found)
    assert (20, Exit.IN_STEP) == (report.uploaded, report.exit_code)
    assert before == ours(root)


async def test_many_processes_may_look_while_a_run_works(
    flags: dict[str, Any], meddler: Meddler, root: Path
) -> None:
    await push(root, flags)
    plant(root, {"s/e/n/new": b"new"})
    before, gate = ours(root), Gate(meddler)
    working = asyncio.create_task(push(root, flags))
    try:
        await gate.reached.wait()
        lookers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fwsync", "status", str(root), "--json"),
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(LOOKERS)
        ]
        said = await asyncio.wait_for(asyncio.gather(*(one.communicate() for one in lookers)), 40)
    finally:
        gate.open.set()
        await working

    assert [0] * LOOKERS == [one.returncode for one in lookers], said
    assert all(b'"files"' in out and b"Traceback" not in err for out, err in said)
    assert before == ours(root)


async def test_a_look_at_a_root_that_nobody_works_on_leaves_nothing(
    flags: dict[str, Any], root: Path
) -> None:
    await push(root, flags)
    before = sorted(path.name for path in (root / ".fwsync").rglob("*"))

    found = await asyncio.gather(
        *(asyncio.to_thread(runs.read_status, root, flags, None) for _ in range(LOOKERS))
    )

    assert [""] * LOOKERS == [one.holder for one in found]
    assert before == sorted(path.name for path in (root / ".fwsync").rglob("*"))


async def test_a_problem_that_is_gone_is_not_told_any_more(
    flags: dict[str, Any], root: Path
) -> None:
    plant(root, {"a/b/c/d/e/f": b"no place"})
    await push(root, flags)
    status = await asyncio.to_thread(runs.read_status, root, flags, None)
    assert ["a/b/c/d/e/f"] == [one.path for one in status.problems]

    (root / "a/b/c/d/e/f").unlink()
    await push(root, flags)
    status = await asyncio.to_thread(runs.read_status, root, flags, None)
    assert [] == status.problems


# ----------------------------------------------------------------------------- who holds it

HOLD = """
import os, sys
from pathlib import Path
from fwsync import locks, roots, whereabouts

place = whereabouts.locate(roots.prepare_root(Path(sys.argv[1])), "lab/aging", env=os.environ)
with locks.RootLock(place, command="fwsync watch"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(root: Path) -> Iterator[int]:
    """Another process has the lock of a root; its number."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert b"held\n" == process.stdout.readline()
        yield process.pid
        process.communicate(timeout=20)


def place_of(root: Path) -> roots.Place:
    return whereabouts.locate(roots.prepare_root(root), "lab/aging", env=os.environ)


def test_the_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {"a": b""})
    place = place_of(root)
    assert "" == locks.holder_of(place)
    assert not place.root_lock.exists()

    with held_elsewhere(root) as pid:
        told = locks.holder_of(place)
        assert f"process {pid} on " in told
        assert "`fwsync watch`" in told

    assert "" == locks.holder_of(place)


def test_asking_for_the_holder_takes_no_lock(tmp_path: Path) -> None:
    """A run that starts while others ask is never refused."""
    root = plant(tmp_path / "root", {"a": b""})
    place = place_of(root)
    with locks.RootLock(place, command="fwsync push"):
        pass
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            locks.holder_of(place)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for one in asking:
        one.start()
    try:
        for _ in range(300):
            with locks.RootLock(place, command="fwsync push"):
                pass
    finally:
        done.set()
        for one in asking:
            one.join(20)
