"""Watching for years: what is quiet goes up, what is lost is found, what is away is waited for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from blockbuster import BlockBuster

from fwsync import daemon as room
from fwsync.daemon import Daemon, _Signals
from fwsync.errors import Exit
from fwsync.hints import Hints
from fwsync.model import Mode
from fwsync.remotes import pace
from fwsync.sandbox import running_sandbox
from fwsync.sessions import Session, open_session
from fwsync.settle import PARTIAL_NAMES
from tests.contract.meddler import Forward, meddling
from tests.room.rooms import Ground, Notes, ground, grown, plant

QUIET_S = 30.0

_POKES = count()


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Watched(Daemon):
    """Tells when it has looked; does nothing otherwise."""

    def __init__(self, session: Session, notes: Notes) -> None:
        super().__init__(session, notes)
        self.begun = self.ended = 0
        self.turned = asyncio.Event()
        self.died: Exception | None = None

    async def _cycle(self) -> None:
        self.begun += 1
        try:
            await super()._cycle()
        except Exception as error:
            self.died = error
            raise
        finally:
            self.ended = self.begun
            self.turned.set()

    async def looked(self, change: Callable[[], object] = lambda: None) -> None:
        """Make a change, and wait until a cycle that began after it is over."""
        before = self.begun
        change()
        await self.until(lambda: self.ended > before)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is so, looked at after each cycle."""
        while not true():
            if self.died is not None:
                raise self.died
            self.turned.clear()
            await self.turned.wait()


@dataclass
class Watch:
    root: Path
    daemon: Watched
    session: Session
    notes: Notes
    clock: Clock
    stop: asyncio.Event

    async def poke(self) -> None:
        """A hint that is about nothing."""
        await self.daemon.looked((self.root / f"poke{next(_POKES)}").mkdir)


@asynccontextmanager
async def opened(
    server: Ground,
    root: Path,
    mode: Mode,
    notes: Notes,
    guard: BlockBuster,
    through: str = "",
    **flags: object,
) -> AsyncIterator[Session]:
    """A session as the command has it; its start and its end may block, nothing waits then."""
    key = root.parent / "key"
    secret = server.sandbox.api_key.rpartition(":")[2]
    key.write_text(
        f"{(through or server.sandbox.url).removeprefix('http://')}:__force_insecure:{secret}"
    )
    key.chmod(0o600)
    opening = open_session(
        mode,
        root,
        "lab/aging",
        {"api_key_file": key, "settle_s": QUIET_S, **flags},
        None,
        progress=notes,
        command="watch",
        partial_names=PARTIAL_NAMES,
    )
    guard.deactivate()
    session = await opening.__aenter__()
    guard.activate()
    try:
        yield session
    finally:
        guard.deactivate()
        await opening.__aexit__(None, None, None)
        guard.activate()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(room, "BREATH_S", 0.01)
    return clock


@asynccontextmanager
async def watching(
    server: Ground,
    root: Path,
    clock: Clock,
    guard: BlockBuster,
    mode: Mode = Mode.UP,
    *,
    without_events: bool = False,
    through: str = "",
    **flags: object,
) -> AsyncIterator[Watch]:
    root.mkdir(exist_ok=True)
    notes, stop = Notes(), asyncio.Event()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            opened(server, root, mode, notes, guard, through, **flags)
        )
        guard.deactivate()
        daemon = Watched(session, notes)
        guard.activate()
        if without_events:
            daemon._hints = Hints(root, polled=True)
        task = asyncio.create_task(daemon.run(stop))
        try:
            await daemon.until(lambda: daemon.ended > 0 or task.done())
            yield Watch(root, daemon, session, notes, clock, stop)
        finally:
            stop.set()
            await task


# ----------------------------------------------------------------------------------- settling


async def test_a_folder_that_grows_is_not_sent_before_it_is_quiet(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {"s/e/a/1": b"1", "s/e/b/1": b"other"})
    async with watching(server, tmp_path / "root", clock, blockbuster) as watch:
        for number in range(2, 6):
            clock.now_s += QUIET_S - 1
            await watch.daemon.looked(partial(plant, watch.root, {f"s/e/a/{number}": b"1"}))
            assert "s/e/a/1" not in await server.held()
        assert {"s/e/b/1": b"other"} == await server.held()

        clock.now_s += QUIET_S - 1
        await watch.poke()
        assert {"s/e/b/1": b"other"} == await server.held()

        clock.now_s += 1
        await watch.poke()
        assert {f"s/e/a/{n}": b"1" for n in range(1, 6)} == {
            path: content for path, content in (await server.held()).items() if "/a/" in path
        }


async def test_a_late_file_is_added_to_what_went(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {"s/e/a/1": b"1"})
    async with watching(server, tmp_path / "root", clock, blockbuster) as watch:
        clock.now_s += QUIET_S
        await watch.poke()
        assert {"s/e/a/1": b"1"} == await server.held()

        await watch.daemon.looked(lambda: plant(watch.root, {"s/e/a/2": b"late"}))
        assert {"s/e/a/1": b"1"} == await server.held()

        clock.now_s += QUIET_S
        await watch.poke()
        assert {"s/e/a/1": b"1", "s/e/a/2": b"late"} == await server.held()
        assert 1 == server.asked("POST", "/api/acquisitions")
        assert 2 == watch.daemon.total.uploaded


async def test_what_is_still_being_written_is_known_by_its_name(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
        await watch.daemon.looked(lambda: plant(watch.root, {"s/e/a/f.part": b"half"}))
        assert {} == await server.held()

        await watch.daemon.looked(
            lambda: (watch.root / "s/e/a/f.part").rename(watch.root / "s/e/a/f")
        )
        await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)
        assert {"s/e/a/f": b"half"} == await server.held()


async def test_a_folder_that_never_gets_quiet_goes_up_at_its_greatest_age(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {"s/e/a/0": b"1"})
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_max_s=50.0) as watch:
        for number in range(1, 6):
            assert {} == await server.held()
            clock.now_s += 10
            await watch.daemon.looked(partial(plant, watch.root, {f"s/e/a/{number}": b"1"}))

        assert {f"s/e/a/{number}" for number in range(6)} == (await server.held()).keys()


# ------------------------------------------------------------------------------------- hints


async def test_what_no_event_told_of_is_found_by_the_next_scan(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    async with watching(
        server,
        tmp_path / "root",
        clock,
        blockbuster,
        without_events=True,
        settle_s=0.0,
        poll_s=0.05,
    ) as watch:
        plant(watch.root, {"s/e/a/f": b"unseen"})
        await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)

    assert {"s/e/a/f": b"unseen"} == await server.held()


async def test_what_was_renamed_or_is_held_is_said(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {"s/e/a/f": b"one", "s/e/a/g": b"two"})
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
        await watch.daemon.looked(lambda: (watch.root / "s/e/a/f").rename(watch.root / "s/e/a/new"))
        await watch.daemon.looked((watch.root / "s/e/a/g").unlink)

        said = "\n".join(watch.notes.told)
        assert "1 renamed, " in said
        assert "1 held deletion, " in said


async def test_a_quiet_watch_asks_nothing_of_the_server(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {"s/e/a/f": b"1"})
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
        await watch.poke()
        asked = server.sandbox.site.requests.total
        for _ in range(5):
            clock.now_s += 10_000
            await watch.poke()

        assert asked == server.sandbox.site.requests.total


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.DOWN])
async def test_a_watch_that_brings_down_asks_at_its_interval_and_no_more(
    mode: Mode, server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    async with watching(
        server, tmp_path / "root", clock, blockbuster, mode, settle_s=0.0, poll_s=60.0
    ) as watch:
        await server.put({"s/e/a/there": b"there"})
        await watch.poke()
        asked = server.sandbox.site.requests.total
        clock.now_s += 59
        await watch.poke()
        assert asked == server.sandbox.site.requests.total
        assert {} == grown(watch.root)

        clock.now_s += 1
        await watch.poke()
        assert {"s/e/a/there": b"there"} == grown(watch.root)
        assert 1 == watch.daemon.total.downloaded


# ------------------------------------------------------------------------- a server that is away


async def test_a_server_that_is_away_is_waited_for_and_said_once(
    tmp_path: Path, clock: Clock, blockbuster: BlockBuster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(room, "RETRY_MOST_S", 0.05)
    monkeypatch.setattr(pace, "_LONGEST_WAIT_S", 0.05)
    async with AsyncExitStack() as first:
        server = await first.enter_async_context(ground(tmp_path))
        port = int(server.sandbox.url.rpartition(":")[2])
        async with watching(
            server, tmp_path / "root", clock, blockbuster, settle_s=0.0, patience_s=0.1
        ) as watch:
            await first.aclose()
            plant(watch.root, {"s/e/a/f": b"kept"})
            await watch.daemon.until(lambda: any("waiting" in one for one in watch.notes.told))
            tries = watch.daemon.ended
            await watch.daemon.until(lambda: watch.daemon.ended >= tries + 2)
            clock.now_s += 3600

            async with running_sandbox(tmp_path / "sandbox", port=port):
                await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)

            assert 1 == sum("waiting" in one for one in watch.notes.told)
            assert "the server answers again, after 1 h" in [
                one.replace(" 0 min", "") for one in watch.notes.told
            ]


async def test_a_server_that_comes_back_gets_what_was_made_meanwhile(
    tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    """As the command does it, with patience that never ends."""
    async with AsyncExitStack() as first:
        server = await first.enter_async_context(ground(tmp_path))
        port = int(server.sandbox.url.rpartition(":")[2])
        async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
            await first.aclose()
            requests = watch.session.api.requests
            plant(watch.root, {"s/e/a/f": b"kept"})
            while watch.session.api.requests == requests:
                await asyncio.sleep(0)
            async with running_sandbox(tmp_path / "sandbox", port=port):
                await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)


async def test_a_login_page_in_the_servers_place_is_waited_out(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    async def login_page(request: web.Request, forward: Forward) -> web.StreamResponse:
        return web.Response(text="<h1>please log in</h1>", content_type="text/html")

    async with (
        meddling(server.sandbox.url) as meddler,
        watching(
            server,
            tmp_path / "root",
            clock,
            blockbuster,
            through=meddler.url,
            settle_s=0.0,
            patience_s=0.1,
        ) as watch,
    ):
        meddler.meddle = login_page
        plant(watch.root, {"s/e/a/f": b"kept"})
        await watch.daemon.until(lambda: any("HTML page" in one for one in watch.notes.told))
        await watch.poke()
        assert 0 == watch.daemon.total.uploaded
        assert {"s/e/a/f": b"kept"} == grown(watch.root)

        meddler.meddle = None
        clock.now_s += 600  # what failed is looked at again now and then, not at each hint
        await watch.poke()
        await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)

    assert {"s/e/a/f": b"kept"} == await server.held()


# ------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, Exit.IN_STEP), (signal.SIGINT, Exit.INTERRUPTED)]
)
async def test_the_first_signal_drains_and_the_second_stops_at_once(
    number: signal.Signals, code: Exit
) -> None:
    notes, drained, never = Notes(), list[bool](), asyncio.Event()
    made: asyncio.Future[_Signals] = asyncio.get_running_loop().create_future()

    async def command() -> None:
        signals = _Signals(notes)
        signals.on_stop = lambda: drained.append(True)
        made.set_result(signals)
        await never.wait()

    task = asyncio.create_task(command())
    signals = await made
    signals.received(number)

    assert signals.stop.is_set()
    assert [True] == drained
    assert 1 == len(notes.told)
    assert not task.cancelling()

    signals.received(number)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert code == signals.code
    assert [True] == drained


async def test_a_signal_ends_the_wait_for_a_server(blockbuster: BlockBuster) -> None:
    signals = _Signals(Notes())
    ended: list[bool] = []

    async def opening() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    waiting = asyncio.create_task(signals.unless_stopped(opening()))
    for _ in range(3):
        await asyncio.sleep(0)
    signals.received(signal.SIGTERM)

    assert None is await waiting
    assert [True] == ended


async def test_a_stopped_watch_has_ended_its_cycle_and_freed_its_root(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    for number in range(2):
        async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
            await watch.daemon.looked(partial(plant, watch.root, {f"s/e/a/{number}": b"1"}))
            watch.stop.set()
        async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
            await watch.poke()

    assert {"s/e/a/0", "s/e/a/1"} == (await server.held()).keys()
