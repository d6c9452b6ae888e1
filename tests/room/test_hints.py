"""Hints: real events of the kernel, and what happens when there are none."""

import asyncio
import errno
import logging
import os
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from fwsync import hints as hints_module
from fwsync.hints import Hint, Hints
from fwsync.model import RelPath

WAIT_S = 30  # never waited in full when all is well


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[Hints]:
    hints = Hints(root)
    await hints.start()
    try:
        yield hints
    finally:
        assert await hints.stop()


async def gather(hints: Hints, enough: Callable[[set[str]], bool]) -> set[str]:
    """Hints until there are enough of them; fails after the time-out."""
    found: set[str] = set()
    async with asyncio.timeout(WAIT_S):
        while not enough(found):
            hint = await hints.wait(WAIT_S)
            found |= hint.folders
            if hint.everywhere:
                found.add("EVERYWHERE")
    return found


async def test_a_new_file_is_a_hint_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sub/ses").mkdir(parents=True)
    async with watching(tmp_path) as hints:
        assert hints.complete
        (tmp_path / "sub/ses/a.dcm").write_bytes(b"x")

        assert {"sub/ses"} == await gather(hints, lambda found: "sub/ses" in found)


async def test_no_change_is_no_hint(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    async with watching(tmp_path) as hints:
        (tmp_path / "a").read_bytes()  # our own reading must not wake us
        list(tmp_path.iterdir())

        assert Hint(frozenset()) == await hints.wait(0.3)
        assert not await hints.wait(0)


@pytest.mark.parametrize("change", ["write", "append", "delete", "rename", "chmod", "replace"])
async def test_every_kind_of_change_is_a_hint(tmp_path: Path, change: str) -> None:
    (tmp_path / "d").mkdir()
    file = tmp_path / "d/a"
    file.write_bytes(b"x")
    async with watching(tmp_path) as hints:
        if change == "write":
            file.write_bytes(b"y")
        elif change == "append":
            with file.open("ab") as stream:
                stream.write(b"z")
        elif change == "delete":
            file.unlink()
        elif change == "rename":
            file.rename(tmp_path / "d/b")
        elif change == "chmod":
            file.chmod(0o600)
        else:
            (tmp_path / "d/new").write_bytes(b"n")
            (tmp_path / "d/new").replace(file)

        assert {"d"} == await gather(hints, lambda found: "d" in found)


async def test_hints_are_coalesced_and_given_once(tmp_path: Path) -> None:
    async with watching(tmp_path) as hints:
        for number in range(500):
            (tmp_path / f"{number}").touch()
        (tmp_path / "last").mkdir()

        found = await gather(hints, lambda found: "last" in found)
        assert {"", "last"} == found


async def test_a_tree_moved_in_is_found(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "ses/acq").mkdir(parents=True)
    (outside / "ses/acq/a").touch()
    root.mkdir()
    async with watching(root) as hints:
        outside.rename(root / "sub")
        found = await gather(hints, lambda found: {"", "sub", "sub/ses/acq"} <= found)
        assert "EVERYWHERE" not in found

        (root / "sub/ses/acq/b").touch()
        assert {"sub/ses/acq"} == await gather(hints, lambda found: "sub/ses/acq" in found)


async def test_many_new_folders_at_once_leave_the_watch_alive(tmp_path: Path) -> None:
    wanted = {f"{one}/{two}/{three}" for one in "abcdef" for two in "ab" for three in "xyz"}
    async with watching(tmp_path) as hints:
        for path in wanted:
            (tmp_path / path).mkdir(parents=True)
            (tmp_path / path / "f").touch()
        (tmp_path / "gone").mkdir()
        (tmp_path / "gone").rmdir()

        await gather(hints, lambda found: wanted <= found or "EVERYWHERE" in found)
        assert hints.alive()


async def test_our_own_writing_is_no_hint(tmp_path: Path) -> None:
    (tmp_path / ".fwsync").mkdir()
    async with watching(tmp_path) as hints:
        (tmp_path / ".fwsync/state.db").write_bytes(b"x")
        (tmp_path / ".fwsync/parts").mkdir()
        (tmp_path / "real").mkdir()

        assert {"", "real"} == await gather(hints, lambda found: "real" in found)


async def test_names_are_composed_and_always_text(tmp_path: Path) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "Süd")
    odd = tmp_path / "ok" / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    odd.mkdir(parents=True)
    async with watching(tmp_path) as hints:
        (folder / "a").touch()
        (odd / "a").touch()

        assert {"Süd", "ok"} == await gather(hints, lambda found: {"Süd", "ok"} <= found)


async def test_an_overflow_means_everywhere_and_the_watch_goes_on(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    async with watching(tmp_path) as hints:
        assert hints._observer is not None
        overflow = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
        await asyncio.to_thread(hints._observer._inotify.handle_event, overflow)

        hint = await hints.wait(WAIT_S)
        assert hint.everywhere
        assert 1 == hints.overflows
        assert hints.complete
        (tmp_path / "d/after").touch()
        assert "d" in await gather(hints, lambda found: "d" in found)


async def test_a_real_overflow_of_the_kernels_queue_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 40_000:
        pytest.skip(f"the queue holds {limit} events")
    caplog.set_level(logging.ERROR)
    go_on = threading.Event()
    real = hints_module._Inotify.read_events

    def held(self: hints_module._Inotify, **options: int) -> list[InotifyEvent]:
        go_on.wait(WAIT_S)
        return real(self, **options)

    async with watching(tmp_path) as hints:
        monkeypatch.setattr(hints_module._Inotify, "read_events", held)
        (tmp_path / "first").touch()  # the reader comes back, and is held
        names = [tmp_path / str(number) for number in range(2)]
        for number in range(limit // 3 + 500):
            os.close(os.open(names[number % 2], os.O_CREAT | os.O_WRONLY, 0o600))
            names[number % 2].unlink()
        go_on.set()

        await gather(hints, lambda found: "EVERYWHERE" in found)
        assert hints.overflows >= 1
        assert hints.alive()


@pytest.mark.parametrize("which", ["_inotify", "observer", "emitter"])
@pytest.mark.parametrize("how", ["raises", "ends"])
async def test_a_dead_thread_is_noticed_at_once(tmp_path: Path, which: str, how: str) -> None:
    async with watching(tmp_path) as hints:
        observer = hints._observer
        assert observer is not None
        if which == "_inotify":
            victim: threading.Thread = observer._inotify
            name = "read_events"
        elif which == "observer":
            victim, name = observer, "dispatch_events"
        else:
            [victim] = observer.emitters
            name = "queue_events"

        def die(*_: object, **__: object) -> None:
            raise RuntimeError("died in a test")

        name, instead = (name, die) if how == "raises" else ("should_keep_running", bool)
        setattr(victim, name, instead)
        (tmp_path / "x").touch()  # lets the present wait come to its end
        (tmp_path / "y").touch()

        await gather(hints, lambda found: "EVERYWHERE" in found)
        await asyncio.to_thread(victim.join, WAIT_S)
        assert not hints.alive()
        assert not hints.complete


async def test_a_root_that_is_removed_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with watching(root) as hints:
        root.rmdir()

        await gather(hints, lambda found: "" in found or "EVERYWHERE" in found)


async def test_a_missing_root_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    async with watching(tmp_path / "nowhere") as hints:
        assert not hints.alive()
        assert "No such file" in hints.problem


@pytest.mark.parametrize(
    ("code", "sysctl"),
    [
        (errno.ENOSPC, "fs.inotify.max_user_watches="),
        (errno.EMFILE, "fs.inotify.max_user_instances="),
    ],
)
async def test_a_limit_at_the_root_names_the_sysctl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sysctl: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, "limit reached")

    name = "_create_inotify_fd" if code == errno.EMFILE else "_get_or_create_watch"
    monkeypatch.setattr(hints_module._Inotify, name, full)
    async with watching(tmp_path) as hints:
        assert not hints.alive()
        assert f"sysctl {sysctl}" in hints.problem


async def test_a_limit_below_the_root_is_told_and_the_rest_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "unseen").mkdir()
    real = hints_module._Inotify._get_or_create_watch

    def scarce(self: hints_module._Inotify, path: bytes, mask: Mask) -> object:
        if path.endswith(b"unseen"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return real(self, path, mask)

    monkeypatch.setattr(hints_module._Inotify, "_get_or_create_watch", scarce)
    async with watching(tmp_path) as hints:
        assert hints.alive()
        assert not hints.complete
        assert "sysctl fs.inotify.max_user_watches=" in hints.problem
        assert (await hints.wait(WAIT_S)).everywhere
        (tmp_path / "seen/a").touch()
        assert "seen" in await gather(hints, lambda found: "seen" in found)


async def test_a_polled_root_is_not_watched(tmp_path: Path) -> None:
    hints = Hints(tmp_path, polled=True)
    await hints.start()
    (tmp_path / "a").touch()

    assert not await hints.wait(0.1)
    assert not hints.alive()
    assert not hints.complete
    assert hints.problem
    assert await hints.stop()


async def test_too_many_folders_are_one_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints_module, "_MAX_FOLDERS", 3)
    async with watching(tmp_path) as hints:
        for number in range(10):
            hints.push(f"{tmp_path}/{number}")

        assert Hint(frozenset(), everywhere=True) == await hints.wait(WAIT_S)


async def test_no_hint_is_lost_between_threads(tmp_path: Path) -> None:
    async with watching(tmp_path) as hints:
        wanted = {f"{thread}/{number}" for thread in range(4) for number in range(500)}

        def push(thread: int) -> None:
            for number in range(500):
                hints.push(f"{tmp_path}/{thread}/{number}")

        threads = [threading.Thread(target=push, args=(one,)) for one in range(4)]
        for thread in threads:
            thread.start()

        assert wanted == await gather(hints, lambda found: wanted <= found)
        for thread in threads:
            await asyncio.to_thread(thread.join)


async def test_stopping_twice_is_fine_and_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # threads of a test before may still be ending
    hints = Hints(tmp_path)
    await hints.start()
    inside = [
        one
        for one in threading.enumerate()
        if type(one).__module__ == "fwsync.hints" and one not in before
    ]
    assert await hints.stop()
    assert await hints.stop()

    assert len(inside) == 3
    assert not any(one.is_alive() for one in inside)
    # The loop's own executor, the stopper.
    assert len(set(threading.enumerate()) - before) <= 2


def test_a_hint_is_true_if_it_says_anything() -> None:
    assert not Hint(frozenset())
    assert Hint(frozenset([RelPath("")]))
    assert Hint(frozenset(), everywhere=True)
