"""Conflict copies are known by record: they stay here, and go when the user has done with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path

import pytest

from fwsync import conflicts, localfs, resolutions
from fwsync.model import Mode, RelPath
from fwsync.remotes.flywheel import Flywheel, resolve_project
from fwsync.state import State
from tests.room.rooms import (
    LAYOUT,
    Bench,
    Ground,
    Shelf,
    did,
    grown,
    plant,
    workbench,
)

X = "s/e/a/x.dcm"


@pytest.fixture
async def bench(server: Ground, tmp_path: Path) -> AsyncIterator[Bench]:
    """A root with one conflict, and its copy."""
    async with workbench(tmp_path, server.connect) as bench:
        plant(bench.root, {X: b"mine"})
        await server.put({X: b"theirs"})
        report = await bench.cycle()
        assert [X] == report.conflict_list
        yield bench


def copies(root: Path) -> list[str]:
    return [path for path in grown(root) if "fwsync-conflict" in path]


def open_conflicts(state: State) -> list[str]:
    return [one.path for one in state.conflicts()]


def problems(state: State) -> list[str]:
    return [one.path for one in state.problems()]


@pytest.mark.parametrize("begun", ['{"file": [1, 2, 3], "digest": null}', "[1, 2]"])
async def test_what_is_in_the_way_of_a_settling_that_was_begun_stops_no_run(
    bench: Bench, begun: str
) -> None:
    def begin_and_finish(state: State) -> list[str]:
        (conflict,) = state.conflicts()
        state.copies.begin_taking_back(conflict.id, begun)
        with localfs.root_descriptor(bench.root) as root_fd:
            resolutions.finish_begun(state, root_fd)
        return open_conflicts(state)

    (bench.root / X).unlink()
    (bench.root / X).mkdir()

    assert [X] == await bench.state.call(begin_and_finish)


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
async def test_a_copy_does_not_go_up_after_the_state_is_deleted(
    mode: Mode, server: Ground, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with workbench(tmp_path / "other", server.connect) as anew:
        anew.root = bench.root
        report = await anew.cycle(mode)

        assert {"adopted": 1} == did(report)
        assert {} == did(await anew.cycle(mode))
    assert [b"mine"] == [grown(bench.root)[path] for path in copies(bench.root)]
    assert {X: b"theirs"} == await server.held()


async def test_a_copy_does_not_go_to_a_second_project(
    server: Ground, bench: Bench, tmp_path: Path
) -> None:
    other = await resolve_project(server.api, "lab/other", create_project=True)
    there = Ground(server.sandbox, server.api, other)
    (tmp_path / "other").mkdir()
    async with workbench(
        tmp_path / "other", lambda: Flywheel(server.api, [other], LAYOUT)
    ) as second:
        second.root = bench.root
        report = await second.cycle(Mode.UP)

        assert 1 == report.uploaded
        assert not await there_is_news(second)
    assert {X: b"theirs"} == await there.held()
    assert 1 == len(copies(bench.root))


async def there_is_news(bench: Bench) -> bool:
    with bench.engine(Mode.UP) as engine:
        return await engine.anything_new(again=True)


async def test_deleting_the_copy_closes_the_conflict(bench: Bench) -> None:  # S34
    assert [X] == await bench.state.call(open_conflicts)

    await bench.cycle()
    assert [X] == await bench.state.call(open_conflicts)

    (bench.root / copies(bench.root)[0]).unlink()
    assert {} == did(await bench.cycle())
    assert [] == await bench.state.call(open_conflicts)


async def test_a_copy_that_was_recorded_and_not_made_is_the_one_that_is_made(bench: Bench) -> None:
    """So one conflict has one copy, whenever a run is killed between the two."""
    [copy] = copies(bench.root)
    (bench.root / copy).unlink()

    def chosen(state: State) -> str:
        with localfs.root_descriptor(bench.root) as root_fd:
            return conflicts.choose_copy(state, root_fd, RelPath(X), X, "host")

    assert copy == await bench.state.call(chosen)


async def test_a_copy_that_only_the_disk_knows_of_is_the_one_that_is_made(bench: Bench) -> None:
    """The state that had it on record may be lost."""
    copy = RelPath("s/e/a/z.fwsync-conflict-20260131T120000Z-host.dcm")
    plant(bench.root, {"s/e/a/z.dcm": b"z"})
    (bench.root / copy).hardlink_to(bench.root / "s/e/a/z.dcm")

    def chosen(state: State) -> str:
        path = RelPath("s/e/a/z.dcm")
        with localfs.root_descriptor(bench.root) as root_fd:
            conflicts.note_copy(root_fd, copy)
            return conflicts.choose_copy(state, root_fd, path, path, "host")

    assert copy == await bench.state.call(chosen)


async def test_a_copy_is_the_only_name_of_its_bytes(bench: Bench) -> None:
    """Who edits it in place must not edit what lies in the trash with it."""
    [copy] = copies(bench.root)

    assert 1 == (bench.root / copy).stat().st_nlink
    assert not list((bench.root / ".fwsync/trash").rglob("*"))


async def test_the_history_of_a_conflict_names_the_copy_and_no_trash(bench: Bench) -> None:
    events = await bench.state.call(lambda state: state.history.of(RelPath(X)))

    told = {one.what: (one.other, one.kept) for one in events}
    assert told["conflict"] == (copies(bench.root)[0], None)
    assert [] == [one for one in events if one.kept]


async def test_a_copy_that_took_its_path_back_is_the_only_name_of_its_bytes(bench: Bench) -> None:
    def settled(state: State) -> resolutions.Settled:
        [conflict] = state.conflicts()
        with localfs.root_descriptor(bench.root) as root_fd:
            return resolutions.settle(state, root_fd, conflict, resolutions.LOCAL)

    await bench.state.call(settled)

    assert {X: b"mine"} == grown(bench.root)
    assert 1 == (bench.root / X).stat().st_nlink
    trash = [one for one in (bench.root / ".fwsync/trash").rglob("*") if one.is_file()]
    assert [(b"theirs", 1)] == [(one.read_bytes(), one.stat().st_nlink) for one in trash]


@pytest.mark.parametrize("how", [resolutions.LOCAL, resolutions.REMOTE, resolutions.BOTH])
async def test_a_conflict_whose_other_version_is_not_here_is_not_settled(
    how: str, bench: Bench
) -> None:
    """A run was killed when it had made the copy, and had fetched nothing."""
    [copy] = copies(bench.root)
    (bench.root / X).unlink()
    (bench.root / X).hardlink_to(bench.root / copy)

    def settled(state: State) -> resolutions.Settled:
        [conflict] = state.conflicts()
        with localfs.root_descriptor(bench.root) as root_fd:
            return resolutions.settle(state, root_fd, conflict, how)

    done = await bench.state.call(settled)

    assert done.problem is not None
    assert {X: b"mine", copy: b"mine"} == grown(bench.root)
    assert [X] == await bench.state.call(open_conflicts)


async def test_a_copy_that_is_gone_with_all_else_closes_nothing(bench: Bench) -> None:
    plant(bench.root, {f"s/e/a/{number}.dcm": b"%d" % number for number in range(3)})
    await bench.cycle()
    (bench.root / "s").rename(bench.root.parent / "away")

    report = await bench.cycle()
    (bench.root.parent / "away").rename(bench.root / "s")
    await bench.cycle()

    assert ["root-emptied"] == report.guards
    assert [X] == await bench.state.call(open_conflicts)


async def test_a_copy_that_is_moved_elsewhere_closes_the_conflict_and_goes_up(
    server: Ground, bench: Bench
) -> None:
    (bench.root / copies(bench.root)[0]).rename(bench.root / "s/e/a/mine.dcm")

    assert 1 == (await bench.cycle()).uploaded
    assert [] == await bench.state.call(open_conflicts)
    assert {X: b"theirs", "s/e/a/mine.dcm": b"mine"} == await server.held()


async def test_a_copy_that_moves_with_its_folder_does_not_go_up(
    server: Ground, bench: Bench
) -> None:
    (bench.root / "s/e/a").rename(bench.root / "s/e/moved")

    for _ in range(2):
        await bench.cycle(delete_up=False)

        assert {"s/e/moved/x.dcm": b"theirs"} == await server.held()
        assert ["s/e/moved/x.dcm"] == await bench.state.call(open_conflicts)


async def test_a_problem_that_is_gone_is_dropped(tmp_path: Path) -> None:
    shelf = Shelf({X: b"x"})
    shelf.gives[X] = repeat(b"not what is listed")
    (tmp_path / "by shelf").mkdir()
    async with workbench(tmp_path / "by shelf", lambda: shelf) as bench:
        await bench.cycle()
        assert [X] == await bench.state.call(problems)

        shelf.gives.clear()
        await bench.cycle()
        assert [] == await bench.state.call(problems)
        assert [RelPath(X)] == [path for path in shelf.listing if path in grown(bench.root)]


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".dcm", "é" * 125 + ".dcm", "n." + "d" * 253, "n" * 200 + ".nii.gz"]
)
async def test_the_copy_of_a_name_that_is_as_long_as_can_be_has_a_shorter_one(
    name: str, server: Ground, tmp_path: Path
) -> None:
    path = f"s/e/a/{name}"
    (tmp_path / "other").mkdir()
    async with workbench(tmp_path / "other", server.connect) as bench:
        plant(bench.root, {path: b"mine"})
        await server.put({path: b"theirs"})

        report = await bench.cycle()

        assert [path] == report.conflict_list
        [copy] = copies(bench.root)
        assert {path: b"theirs", copy: b"mine"} == grown(bench.root)
        assert len(copy.rpartition("/")[2].encode()) <= 255
        assert {} == did(await bench.cycle())
