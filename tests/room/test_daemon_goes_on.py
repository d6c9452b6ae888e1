"""A watch holds back only what is restless, and goes on after whatever may pass."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from fwsync import daemon as room
from fwsync import runs
from fwsync.engine import Settle
from fwsync.errors import (
    Forbidden,
    FwsyncError,
    Halted,
    LocalError,
    Locked,
    NotFound,
    StateDamaged,
)
from fwsync.model import Mode, Report
from fwsync.sessions import Session
from tests.room.rooms import Ground, grown, path_of, plant
from tests.room.test_daemon import QUIET_S, Clock, watching

FOLDERS = ["", "s/e/"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    monkeypatch.setattr(room, "BREATH_S", 0.01)
    return clock


# ------------------------------------------------------------------------ a log that grows


@pytest.mark.parametrize("above", FOLDERS)
async def test_a_file_that_keeps_growing_holds_back_no_quiet_folder_below_it(
    above: str, server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    plant(tmp_path / "root", {f"{above}log": b"1", "s/e/a/1": b"1", "t/e/a/1": b"1"})
    async with watching(server, tmp_path / "root", clock, blockbuster) as watch:
        for size in range(2, 5):
            clock.now_s += QUIET_S
            await watch.daemon.looked(partial(plant, watch.root, {f"{above}log": b"1" * size}))

        assert {"s/e/a/1": b"1", "t/e/a/1": b"1"} == await server.held()

        clock.now_s += QUIET_S
        await watch.poke()
        assert b"1111" == (await server.held())[f"{above}log"]


@pytest.mark.parametrize("above", FOLDERS)
async def test_a_file_that_is_away_while_its_folder_is_restless_is_not_deleted(
    above: str, server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    """As a program saves: the old one away, and some time later the new one in its place."""
    tree = {f"{above}kept": b"old", f"{above}log": b"1", "s/e/a/1": b"1"}
    plant(tmp_path / "root", tree)
    async with watching(server, tmp_path / "root", clock, blockbuster, delete_up=True) as watch:
        clock.now_s += QUIET_S
        await watch.poke()
        assert tree == await server.held()

        def save() -> None:
            (watch.root / above / "kept").unlink()
            plant(watch.root, {f"{above}log": b"22", "t/e/a/1": b"new"})

        await watch.daemon.looked(save)
        clock.now_s += QUIET_S
        await watch.daemon.looked(partial(plant, watch.root, {f"{above}log": b"333"}))
        assert {**tree, "t/e/a/1": b"new"} == await server.held()

        plant(watch.root, {f"{above}kept": b"saved"})
        clock.now_s += QUIET_S
        await watch.poke()
        clock.now_s += QUIET_S
        await watch.poke()
        assert b"saved" == (await server.held())[f"{above}kept"]
        assert 0 == watch.daemon.total.deleted


async def test_a_file_that_stays_away_from_a_quiet_folder_is_deleted_there(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster
) -> None:
    tree = {"s/e/a/gone": b"old", "s/e/a/kept": b"1", "s/e/b/1": b"1"}
    plant(tmp_path / "root", tree)
    async with watching(server, tmp_path / "root", clock, blockbuster, delete_up=True) as watch:
        clock.now_s += QUIET_S
        await watch.poke()
        await watch.daemon.looked((watch.root / "s/e/a/gone").unlink)
        assert tree == await server.held()

        clock.now_s += QUIET_S
        await watch.poke()
        assert tree.keys() - {"s/e/a/gone"} == (await server.held()).keys()


# ---------------------------------------------------------------------- what passes, what ends


class Faults:
    """In place of a recorded cycle: the errors that are in line, and then the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = runs.recorded_cycle
        self.line: list[FwsyncError] = []
        self.met = 0
        monkeypatch.setattr(room, "recorded_cycle", self)

    async def __call__(self, session: Session, command: str, settle: Settle) -> Report:
        if self.line:
            self.met += 1
            raise self.line.pop(0)
        return await self._real(session, command, settle)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    monkeypatch.setattr(room, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(room, "RETRY_MOST_S", 0.05)
    return Faults(monkeypatch)


@pytest.mark.parametrize(
    "error",
    [LocalError("no space left on device"), Forbidden("403"), NotFound("the project is gone")],
    ids=lambda error: type(error).__name__,
)
async def test_what_may_pass_is_said_once_and_tried_again(
    error: FwsyncError,
    server: Ground,
    tmp_path: Path,
    clock: Clock,
    blockbuster: BlockBuster,
    faults: Faults,
) -> None:
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
        faults.line = [error] * 3
        plant(watch.root, {"s/e/a/f": b"kept"})
        await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)

        assert 3 == faults.met
        assert 1 == sum(error.message in one for one in watch.notes.told)
        assert 1 == sum("answers again" in one for one in watch.notes.told)
    assert {"s/e/a/f": b"kept"} == await server.held()


async def test_a_first_cycle_that_fails_is_made_up_for(
    server: Ground, tmp_path: Path, clock: Clock, blockbuster: BlockBuster, faults: Faults
) -> None:
    plant(tmp_path / "root", {"s/e/a/f": b"kept"})
    faults.line = [LocalError("no space left on device")]
    async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0) as watch:
        await watch.daemon.until(lambda: watch.daemon.total.uploaded == 1)

    assert 1 == faults.met


@pytest.mark.parametrize(
    "error",
    [Locked("another process"), StateDamaged("the state"), Halted("another disk")],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_person_has_to_look_at_ends_the_watch(
    error: FwsyncError,
    server: Ground,
    tmp_path: Path,
    clock: Clock,
    blockbuster: BlockBuster,
    faults: Faults,
) -> None:
    faults.line = [error]
    with pytest.raises(type(error)):
        async with watching(server, tmp_path / "root", clock, blockbuster, settle_s=0.0):
            pass

    assert 1 == faults.met


async def test_a_disk_that_is_full_for_a_while_is_waited_for(
    server: Ground,
    tmp_path: Path,
    clock: Clock,
    blockbuster: BlockBuster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(room, "RETRY_MOST_S", 0.05)
    really, refused = os.write, list[str]()

    def write(fd: int, data: bytes) -> int:
        if path_of(fd).endswith(".part") and len(refused) < 2:
            refused.append(path_of(fd))
            raise OSError(28, "No space left on device")
        return really(fd, data)

    async with watching(
        server, tmp_path / "root", clock, blockbuster, Mode.BOTH, settle_s=0.0, poll_s=60.0
    ) as watch:
        await server.put({"s/e/a/there": b"there"})
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write)
            clock.now_s += 60
            await watch.poke()
            await watch.daemon.until(lambda: watch.daemon.total.downloaded == 1)

        assert {"s/e/a/there": b"there"} == grown(watch.root)
        assert 1 == sum("waiting" in one for one in watch.notes.told), watch.notes.told
    assert 2 == len(refused)
