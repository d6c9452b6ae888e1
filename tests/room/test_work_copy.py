"""A state that is used as a copy is saved at intervals and at the end, whatever failed between."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from fwsync import held_state, roots, whereabouts
from fwsync.errors import LocalError
from fwsync.filesystems import FileSystem
from fwsync.state import State, StateThread, open_state

LOCAL = FileSystem("ext4", is_network=False, time_granularity_ns=20_000_000)
NFS = FileSystem("nfs4", is_network=True, time_granularity_ns=2_000_000_000)
IN_TIME_S = 30.0


@pytest.fixture
def place(tmp_path: Path) -> roots.Place:
    """A root on a cluster: it and the user's home are on the network."""
    for name in ("root", "home", "tmp"):
        (tmp_path / name).mkdir()
    env = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    place = whereabouts.locate(
        roots.prepare_root(tmp_path / "root"),
        "lab/aging",
        env=env,
        filesystem_of=lambda path: LOCAL if path.is_relative_to(tmp_path / "tmp") else NFS,
    )
    assert place.work_copy_of is not None
    roots.prepare_place(place)
    return place


class Saves:
    """Lets the first saves fail, and tells of each one."""

    def __init__(self, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = self.done = 0
        self._failing = failing
        self._really = State.save_copy
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Event()

        def save_copy(state: State, target: Path) -> None:
            self._save(state, target)

        monkeypatch.setattr(State, "save_copy", save_copy)
        monkeypatch.setattr(held_state, "SAVE_EVERY_S", 0.01)

    def _save(self, state: State, target: Path) -> None:
        self.begun += 1
        try:
            if self.begun <= self._failing:
                raise LocalError(f"{target}: no space left on device")
            self._really(state, target)
            self.done += 1
        finally:
            self._loop.call_soon_threadsafe(self._turn.set)

    async def until_done(self, count: int) -> None:
        while self.done < count:
            self._turn.clear()
            await asyncio.wait_for(self._turn.wait(), IN_TIME_S)


def saved_setting(place: roots.Place) -> str | None:
    assert place.work_copy_of is not None
    with open_state(place.work_copy_of, create=False, read_only=True) as state:
        return state.setting("seen")


async def test_a_save_that_fails_does_not_end_the_saving(
    place: roots.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Saves(2, monkeypatch)
    state = await StateThread.open(partial(open_state, place.state_file))
    try:
        async with held_state.saving(state, place):
            await state.call(State.set_setting, "seen", "first")
            await saves.until_done(1)

            assert 3 <= saves.begun
            assert "first" == await asyncio.to_thread(saved_setting, place)
            monkeypatch.setattr(held_state, "SAVE_EVERY_S", 3600.0)
            await state.call(State.set_setting, "seen", "last")
    finally:
        await state.close()

    assert "last" == await asyncio.to_thread(saved_setting, place)


async def test_the_last_save_happens_though_all_before_it_failed(
    place: roots.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Saves(10**9, monkeypatch)
    state = await StateThread.open(partial(open_state, place.state_file))
    try:
        async with held_state.saving(state, place):
            await state.call(State.set_setting, "seen", "kept")
            while saves.begun < 3:
                saves._turn.clear()
                await asyncio.wait_for(saves._turn.wait(), IN_TIME_S)
            saves._failing = 0
    finally:
        await state.close()

    assert "kept" == await asyncio.to_thread(saved_setting, place)


async def test_a_last_save_that_fails_is_said(
    place: roots.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    Saves(10**9, monkeypatch)
    state = await StateThread.open(partial(open_state, place.state_file))
    try:
        with pytest.raises(LocalError, match="no space"):
            async with held_state.saving(state, place):
                pass
    finally:
        await state.close()
