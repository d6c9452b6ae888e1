"""What happened to each file is told: by its path, by the names it had, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fwsync import restored_noted
from fwsync.model import Mode, RelPath
from fwsync.state import State, open_state
from fwsync.state_history import MOST_OF_ONE, Event, Latest, Restored
from tests.room.rooms import Bench, Shelf, descriptor, digest, plant, workbench

X, Y = RelPath("s/e/a/x.dcm"), RelPath("s/e/a/y.dcm")
DAY = 86_400 * 10**9
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, {X: b"one"})
        await run(bench)
        yield bench


async def run(bench: Bench, mode: Mode = Mode.BOTH) -> None:
    await bench.state.call(State.begin_run, "sync", "lab/aging")
    await bench.cycle(mode)


async def told(bench: Bench, path: str) -> list[Event]:
    return await bench.state.call(lambda state: state.history.of(RelPath(path)))


async def whats(bench: Bench, path: str) -> list[str]:
    return [one.what for one in await told(bench, path)]


async def test_a_file_that_was_sent_has_its_hash_size_version_and_run(bench: Bench) -> None:
    (event,) = await told(bench, X)

    assert ("upload", 3, digest(b"one"), 1, "sync", 1, "new here") == (
        event.what,
        event.size,
        event.digest,
        event.version,
        event.command,
        event.run,
        event.reason,
    )


async def test_a_run_that_finds_nothing_to_do_tells_nothing(bench: Bench) -> None:
    await run(bench)

    assert ["upload"] == await whats(bench, X)


async def test_s41_a_file_deleted_on_the_server_keeps_its_hash(bench: Bench) -> None:
    (bench.root / X).unlink()
    await run(bench)

    last = (await told(bench, X))[-1]

    assert ("delete-remote", 3, digest(b"one"), 1) == (
        last.what,
        last.size,
        last.digest,
        last.version,
    )


async def test_what_a_download_replaces_is_said_to_be_in_the_trash(
    bench: Bench, shelf: Shelf
) -> None:
    shelf.store(X, b"theirs")
    await run(bench)

    last = (await told(bench, X))[-1]
    (trash,) = (path.name for path in (bench.root / ".fwsync/trash").iterdir())

    assert ("download", f"trash {trash}") == (last.what, last.kept)


async def test_what_an_upload_replaces_is_a_version_there(bench: Bench) -> None:
    plant(bench.root, {X: b"longer"})
    await run(bench)

    assert "version 1" == (await told(bench, X))[-1].kept


async def test_a_rename_carries_the_history_along(bench: Bench, shelf: Shelf) -> None:
    shelf.permute({X: Y})
    await run(bench)
    plant(bench.root, {X: b"another one"})
    await run(bench)

    assert [("upload", X), ("rename", Y)] == [(one.what, one.path) for one in await told(bench, Y)]
    assert ["upload", "moved", "upload"] == await whats(bench, X)
    assert X == (await told(bench, Y))[-1].other


async def test_a_problem_that_stays_is_told_once(bench: Bench, shelf: Shelf) -> None:
    shelf.store(Y, b"y")
    shelf.gives[Y] = wrong()
    for _ in range(3):
        await run(bench)

    assert ["problem"] == await whats(bench, Y)


def wrong() -> Iterator[bytes]:
    while True:
        yield b"not what is listed"


async def test_a_folder_tells_of_all_that_is_below_it(bench: Bench) -> None:
    plant(bench.root, {"s/e/b/z.dcm": b"z", "t/e/a/x.dcm": b"x"})
    await run(bench)

    assert {"s/e/a/x.dcm", "s/e/b/z.dcm"} == {one.path for one in await told(bench, "s")}


def test_what_was_put_back_is_noted_and_taken_in_once(tmp_path: Path) -> None:
    (tmp_path / "root/.fwsync").mkdir(parents=True)
    with descriptor(tmp_path / "root") as root_fd, open_state(tmp_path / "state.db") as state:
        restored_noted.note(root_fd, [Restored(X, "20260131T120000Z", 3, NOW)])
        ((name, files),) = restored_noted.noted(root_fd)
        for _ in range(2):  # killed between the two, it is taken in again
            state.history.take_restored(files)
        restored_noted.forget(root_fd, [name])

        assert [] == list(restored_noted.noted(root_fd))
        assert ["restore"] == [one.what for one in state.history.of(X)]


# ------------------------------------------------------------------------------- letting go


def state_with(tmp_path: Path, *at_ns: int) -> State:
    state = open_state(tmp_path / "state.db", now_ns=lambda: NOW)
    restored = [Restored(X, "r", 1, at) for at in at_ns]
    state.history.take_restored(restored)
    return state


def left(state: State) -> list[int]:
    return sorted(one.at_ns for one in state.history.of(X))


def test_what_is_old_is_let_go_once_a_day(tmp_path: Path) -> None:
    with state_with(tmp_path, NOW - 25 * DAY, NOW - 5 * DAY, NOW) as state:
        assert 1 == state.history.prune(days=20, now_ns=NOW)
        assert [NOW - 5 * DAY, NOW] == left(state)
        assert 0 == state.history.prune(days=1, now_ns=NOW + DAY // 2)
        assert [NOW - 5 * DAY, NOW] == left(state)


def test_a_clock_that_is_wrong_takes_a_month_at_most(tmp_path: Path) -> None:
    with state_with(tmp_path, NOW - 100 * DAY, NOW - 50 * DAY, NOW) as state:
        state.history.prune(days=20, now_ns=NOW + 10_000 * DAY)

        assert [NOW - 50 * DAY, NOW] == left(state)


def test_with_0_days_nothing_is_too_old(tmp_path: Path) -> None:
    with state_with(tmp_path, NOW - 9000 * DAY, NOW) as state:
        assert 0 == state.history.prune(days=0, now_ns=NOW)


def test_of_one_path_the_newest_are_kept(tmp_path: Path) -> None:
    moments = [NOW + number for number in range(MOST_OF_ONE + 7)]
    with state_with(tmp_path, *moments) as state:
        assert 7 == state.history.prune(days=0, now_ns=NOW)
        assert moments[7:] == left(state)


async def test_the_end_of_a_long_story_is_told_with_how_many_events_came_before(
    bench: Bench,
) -> None:
    plant(bench.root, {f"s/e/b/{number}": b"%d" % number for number in range(8)})
    await run(bench)
    (bench.root / Y).write_bytes(b"last")
    await run(bench)

    def latest(state: State) -> list[Latest]:
        return [state.history.latest(RelPath(path), 2) for path in ("", "s/e/b", "s/e", Y)]

    all_, some, above, one = await bench.state.call(latest)

    assert [(2, 8), (2, 6), (2, 8), (1, 0)] == [
        (len(told.events), told.earlier) for told in (all_, some, above, one)
    ]
    assert all_ == above
    assert Y == all_.events[-1].path


async def test_the_names_of_before_are_counted_as_far_as_the_events_lead(
    bench: Bench, shelf: Shelf
) -> None:
    shelf.permute({X: Y})
    await run(bench)

    told = await bench.state.call(lambda state: state.history.latest(Y, 1))

    assert (["rename"], 1) == ([one.what for one in told.events], told.earlier)


async def test_a_rename_is_told_once_of_the_folder_that_holds_both_names(
    bench: Bench, shelf: Shelf
) -> None:
    shelf.permute({X: Y})
    await run(bench)

    all_ = await bench.state.call(lambda state: state.history.latest(RelPath("s"), 0))
    counts = [await bench.state.call(latest_of_folder, last) for last in (1, 2, 3)]

    assert ["upload", "rename"] == [one.what for one in all_.events]
    assert [(1, 1), (2, 0), (2, 0)] == counts


def latest_of_folder(state: State, last: int) -> tuple[int, int]:
    told = state.history.latest(RelPath("s"), last)
    return len(told.events), told.earlier
