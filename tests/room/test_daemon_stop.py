"""How a watch ends, and how it begins without a server: by itself, and in words."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync import daemon as room
from fwsync import sessions
from fwsync.errors import Exit
from fwsync.hints import Hints
from fwsync.sandbox import running_sandbox
from tests.contract.meddler import Forward, meddling
from tests.room.rooms import Ground, Notes, at_home, ground, plant

CHECKOUT = Path(__file__).resolve().parents[2]
IN_TIME_S = 30.0


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """The command's own start and end may block; nothing waits then."""


class Told(Notes):
    """Wakes up whoever waits for a word."""

    def __init__(self) -> None:
        super().__init__()
        self._said = asyncio.Event()

    def note(self, text: str) -> None:
        super().note(text)
        self._said.set()

    async def until(self, word: str) -> None:
        while not any(word in one for one in self.told):
            self._said.clear()
            await asyncio.wait_for(self._said.wait(), IN_TIME_S)

    def times(self, word: str) -> int:
        return sum(word in one for one in self.told)


def key_for(folder: Path, url: str, key: str) -> Path:
    file = folder / "key"
    file.write_text(f"{url.removeprefix('http://')}:__force_insecure:{key.rpartition(':')[2]}")
    file.chmod(0o600)
    return file


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    at_home(tmp_path, monkeypatch)
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def watching(root: Path, key: Path, told: Told, **flags: Any) -> asyncio.Task[Exit]:
    given = {"api_key_file": key, "settle_s": 0.0, **flags}
    return asyncio.create_task(room._watch(root, "lab/aging", given, None, told, False))


async def ended(task: asyncio.Task[Exit], within_s: float = IN_TIME_S) -> Exit:
    """Its code, if it ends by itself; ``wait_for`` would cancel it, and take that for an end."""
    await asyncio.wait([task], timeout=within_s)
    assert task.done() or not task.cancel()
    return task.result()


# ------------------------------------------------------------------------- the second signal


@asynccontextmanager
async def stuck(server: Ground) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the server on which no body ever arrives; its address, and when one began."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            begun.set()
            await never.wait()
        return None

    async with meddling(server.sandbox.url) as meddler:
        meddler.meddle = hold
        try:
            yield meddler.url, begun
        finally:
            never.set()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, Exit.IN_STEP), (signal.SIGINT, Exit.INTERRUPTED)]
)
async def test_a_second_signal_ends_the_command_with_its_code_and_no_traceback(
    number: signal.Signals, code: Exit, server: Ground, tmp_path: Path, env: dict[str, str]
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/f": b"never arrives"})
    async with stuck(server) as (url, begun):
        key = key_for(tmp_path, url, server.sandbox.api_key)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fwsync", "watch", str(root), "lab/aging"),
            *("--settle", "0", "--api-key-file", str(key)),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        said = b""
        try:
            await asyncio.wait_for(begun.wait(), IN_TIME_S)
            process.send_signal(number)
            while b"stopping" not in said:
                line = await asyncio.wait_for(process.stderr.readline(), IN_TIME_S)
                assert line, said
                said += line
            process.send_signal(number)
            out, err = await asyncio.wait_for(process.communicate(), IN_TIME_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    assert code == process.returncode, said + err
    assert b"Traceback" not in said + err + out


async def test_a_second_signal_ends_the_function_with_its_code(
    server: Ground, tmp_path: Path, env: dict[str, str]
) -> None:
    root, told = plant(tmp_path / "root", {"s/e/a/f": b"never arrives"}), Told()
    async with stuck(server) as (url, begun):
        task = watching(root, key_for(tmp_path, url, server.sandbox.api_key), told)
        await asyncio.wait_for(begun.wait(), IN_TIME_S)
        os.kill(os.getpid(), signal.SIGTERM)
        await told.until("stopping")
        assert not task.done()

        os.kill(os.getpid(), signal.SIGTERM)
        assert Exit.IN_STEP == await ended(task)


async def test_a_second_signal_while_the_watch_closes_is_no_error(
    server: Ground, tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    async def stop(hints: Hints) -> None:
        closing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Hints, "stop", stop)
    root, told = plant(tmp_path / "root", {"s/e/a/f": b"kept"}), Told()
    task = watching(root, key_for(tmp_path, server.sandbox.url, server.sandbox.api_key), told)
    await told.until("1 sent")
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(closing.wait(), IN_TIME_S)

    os.kill(os.getpid(), signal.SIGINT)
    assert Exit.INTERRUPTED == await ended(task)
    assert {"s/e/a/f": b"kept"} == await server.held()


# ---------------------------------------------------------------- a server away at the start


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(room, "RETRY_MOST_S", 0.05)


async def test_a_watch_that_finds_no_server_says_so_once_and_goes_on_when_it_comes(
    tmp_path: Path, env: dict[str, str], soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, told = list[bool](), Told()
    tried: asyncio.Event = asyncio.Event()
    really = sessions.open_session

    def open_session(*args: Any, **kwargs: Any) -> Any:
        opened.append(True)
        if len(opened) == 3:
            tried.set()
        return really(*args, **kwargs)

    monkeypatch.setattr(room, "open_session", open_session)
    async with ground(tmp_path) as server:
        port = int(server.sandbox.url.rpartition(":")[2])
        key = key_for(tmp_path, server.sandbox.url, server.sandbox.api_key)
    root = plant(tmp_path / "root", {"s/e/a/f": b"kept"})
    task = watching(root, key, told, patience_s=0.1)
    try:
        await asyncio.wait_for(tried.wait(), IN_TIME_S)
        assert (1, 0) == (told.times("waiting for the server"), told.times("watching"))

        async with running_sandbox(tmp_path / "sandbox", port=port):
            await told.until("1 sent")
            os.kill(os.getpid(), signal.SIGTERM)
            assert Exit.IN_STEP == await ended(task)
    finally:
        task.cancel()

    assert (1, 1) == (told.times("waiting for the server"), told.times("watching"))


@pytest.mark.parametrize("patience_s", [0.1, None])
async def test_a_signal_ends_the_wait_for_a_server_at_once(
    patience_s: float | None, tmp_path: Path, env: dict[str, str]
) -> None:
    """Long before the next try, and while one that has patience is under way."""
    told = Told()
    async with ground(tmp_path) as server:
        key = key_for(tmp_path, server.sandbox.url, server.sandbox.api_key)
    root = plant(tmp_path / "root", {"s/e/a/f": b"kept"})
    task = watching(root, key, told, patience_s=patience_s)
    if patience_s is None:
        await once(lambda: not task.done())
    else:
        await told.until("waiting for the server")
    os.kill(os.getpid(), signal.SIGTERM)

    assert Exit.IN_STEP == await ended(task, room.RETRY_FIRST_S - 1)
    assert 1 == told.times("stopping")
    assert not (root / ".fwsync/state.db").exists()


async def once(true: Callable[[], bool]) -> None:
    """A few turns of the loop, in which the command has begun."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert true()
