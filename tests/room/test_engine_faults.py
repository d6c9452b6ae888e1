"""Cycles in which something cannot be seen, or goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from datetime import datetime, tzinfo
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from fwsync import conflicts as room
from fwsync.errors import LocalError, Unavailable
from fwsync.filters import ignore_rules
from fwsync.model import Mode, RelPath, Unknown
from fwsync.roots import part_name
from fwsync.state import State
from tests.room.rooms import (
    TREE,
    Bench,
    Ground,
    Shelf,
    X,
    Y,
    age,
    copies,
    did,
    grown,
    in_parts,
    is_busy,
    named,
    path_of,
    plant,
    workbench,
)


def base(state: State) -> list[str]:
    return [one.path for one in state.base_entries()]


# ------------------------------------------------------------------------- what cannot be seen


@pytest.mark.parametrize("scope", ["s/e/a", X, ""])
async def test_what_could_not_be_listed_is_neither_deleted_nor_replaced(  # S65, S66
    scope: str, by_shelf: Bench, shelf: Shelf
) -> None:
    await by_shelf.cycle()
    age(by_shelf.root)
    await by_shelf.cycle()
    for path in [path for path in shelf.listing if path.startswith(scope)]:
        del shelf.listing[path], shelf.content[path]
    shelf.unknown = [Unknown(RelPath(scope), "403")]
    plant(by_shelf.root, {"other/e/a/new": b"new"})

    report = await by_shelf.cycle()

    assert [scope or "."] == named(report)
    assert 0 == report.deleted
    assert {**TREE, "other/e/a/new": b"new"} == grown(by_shelf.root)
    assert int(scope != "") == report.uploaded


async def test_a_file_that_became_a_link_is_not_deleted_there(  # S89
    agreed: Bench, server: Ground, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(b"secret")
    (agreed.root / X).unlink()
    (agreed.root / X).symlink_to(tmp_path / "elsewhere")

    for _ in range(2):
        report = await agreed.cycle()

        assert [X] == named(report)
        assert (0, 0) == (report.deleted, report.bytes)
    assert TREE == await server.held()
    assert (agreed.root / X).is_symlink()


async def test_a_name_that_is_spelled_in_parts_is_the_same_name(  # S93
    bench: Bench, server: Ground
) -> None:
    path = "s/e/a/Übung.txt"
    age(plant(bench.root, {path: b"1"}))
    await bench.cycle()
    (bench.root / path).rename(bench.root / unicodedata.normalize("NFD", path))

    assert {} == did(await bench.cycle())
    await server.put({path: b"theirs"})
    assert 1 == (await bench.cycle()).downloaded
    assert {unicodedata.normalize("NFD", path): b"theirs"} == grown(bench.root)
    assert {} == did(await bench.cycle())


async def test_a_filter_deletes_nothing_and_its_end_moves_nothing(  # S98, S99
    agreed: Bench, server: Ground
) -> None:
    ignore = ignore_rules(["/s/e/a/"])
    for _ in range(2):
        assert {} == did(await agreed.cycle(ignore=ignore))
    assert TREE == grown(agreed.root) == await server.held()

    report = await agreed.cycle()
    assert (0, 0) == (report.bytes, report.deleted)
    assert {} == did(await agreed.cycle())


async def test_without_its_state_a_tree_in_step_is_adopted(  # S107
    agreed: Bench, server: Ground, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with workbench(tmp_path / "other", server.connect) as anew:
        anew.root = agreed.root

        assert {"adopted": len(TREE)} == did(await anew.cycle())
        assert {} == did(await anew.cycle())


async def test_a_folder_that_is_not_quiet_is_left_alone(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {X: b"grows", "s/e/b/new": b"quiet"})

    report = await agreed.cycle(settle=lambda listing: {RelPath("s/e/a")})

    assert {"uploaded": 1, "bytes": 5} == did(report)
    assert 1 == report.deferred
    assert b"x" == (await server.held())[X]
    assert 1 == (await agreed.cycle()).uploaded


# ------------------------------------------------------------------------------ what goes wrong


async def test_a_problem_is_a_value_and_the_others_go(by_shelf: Bench, shelf: Shelf) -> None:
    shelf.gives[X] = repeat(b"not what is listed")
    plant(by_shelf.root, {"s/e/n/bad": b"bad", "s/e/n/good": b"good", "a/b/c/d/e/f": b"too deep"})
    shelf.replies["s/e/n/bad"] = repeat(is_busy)

    report = await by_shelf.cycle()

    assert sorted([X, "a/b/c/d/e/f", "s/e/n/bad"]) == named(report)
    assert 1 == report.uploaded
    assert len(TREE) - 1 == report.downloaded
    known = await by_shelf.state.call(State.problems)
    assert {X, "s/e/n/bad"} <= {one.path for one in known}

    shelf.gives.clear()
    shelf.replies.clear()
    report = await by_shelf.cycle()
    assert ["a/b/c/d/e/f"] == named(report)
    known = await by_shelf.state.call(State.problems)
    assert not {X, "s/e/n/bad"} & {one.path for one in known}


async def test_no_space_ends_the_run_and_what_was_done_is_recorded(
    by_shelf: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.fetch_limit = 1
    full, really = part_name("top.json"), os.write

    def write(fd: int, data: bytes) -> int:
        if path_of(fd).endswith(full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(LocalError):
        await by_shelf.cycle(transfers=1)

    done = TREE.keys() - {"top.json"}
    assert done == grown(by_shelf.root).keys()
    assert sorted(done) == await by_shelf.state.call(base)
    assert [] == in_parts(by_shelf.root)
    monkeypatch.undo()
    assert {"downloaded": 1, "bytes": 2} == did(await by_shelf.cycle())


async def test_a_server_that_goes_away_ends_the_run_and_what_arrived_is_adopted(
    by_shelf: Bench, shelf: Shelf
) -> None:
    shelf.gives["top.json"] = repeat(Unavailable("gone"))

    with pytest.raises(Unavailable):
        await by_shelf.cycle()
    shelf.gives.clear()
    report = await by_shelf.cycle()

    assert 1 == report.downloaded
    assert TREE == grown(by_shelf.root)
    assert {} == did(await by_shelf.cycle())


async def test_a_stopped_engine_begins_nothing_new_and_the_next_run_goes_on(
    by_shelf: Bench, shelf: Shelf
) -> None:
    shelf.fetch_limit = 1
    with by_shelf.engine(transfers=1) as engine:

        def stop(path: RelPath) -> None:
            engine.stop()

        shelf.before_member = stop
        report = await engine.cycle()

    assert 1 == report.downloaded
    shelf.before_member = lambda path: None
    assert len(TREE) - 1 == (await by_shelf.cycle()).downloaded


async def test_a_stopped_engine_deletes_nothing_more(agreed: Bench, server: Ground) -> None:
    (agreed.root / X).unlink()
    with agreed.engine() as engine:
        view = await engine.look()
        engine.stop()
        await engine.carry_out(view)

    assert TREE == await server.held()


async def test_a_push_from_a_root_that_cannot_be_written_works(
    bench: Bench, server: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(bench.root / ".fwsync")
    plant(bench.root, TREE)
    really = os.mkdir

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        really(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)

    assert len(TREE) == (await bench.cycle(Mode.UP)).uploaded
    assert TREE == await server.held()


async def test_a_conflict_without_space_for_its_copy_ends_the_run(
    agreed: Bench, server: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(agreed.root, {X: b"mine"})
    await server.put({X: b"theirs"})

    def link(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(LocalError):
        await agreed.cycle()

    assert b"mine" == (agreed.root / X).read_bytes()
    monkeypatch.undo()
    await agreed.cycle()
    assert [b"mine"] == copies(agreed.root)
    assert b"theirs" == (agreed.root / X).read_bytes()
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
async def test_a_users_file_that_has_the_name_of_a_copy_is_not_taken_for_one(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    """Copies are known by record, not by name."""
    path = "s/e/a/x.fwsync-conflict-20200101T000000Z-desk.dcm"
    plant(agreed.root, {path: b"a user's own"})

    assert 1 == (await agreed.cycle(mode)).uploaded
    assert b"a user's own" == (await server.held())[path]


async def test_a_copy_whose_name_was_taken_does_not_go_up(
    agreed: Bench, server: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime(2020, 1, 1, tzinfo=tz)

    monkeypatch.setattr(room, "datetime", Still)
    plant(agreed.root, {"s/e/a/x.fwsync-conflict-20200101T000000Z-desk.dcm": b"a user's own"})
    await agreed.cycle()
    plant(agreed.root, {X: b"mine"})
    await server.put({X: b"theirs"})
    await agreed.cycle()

    assert {b"mine", b"a user's own"} == set(copies(agreed.root))
    assert {} == did(await agreed.cycle())
    assert b"mine" not in (await server.held()).values()


async def test_anything_new_is_asked_of_the_disk_and_not_of_the_server(
    agreed: Bench, server: Ground
) -> None:
    asked = server.api.requests
    with agreed.engine(Mode.UP) as engine:
        assert not await engine.anything_new()
        plant(agreed.root, {"s/e/a/new": b"new"})
        assert await engine.anything_new()
        assert not await engine.anything_new(lambda listing: {RelPath("s/e/a")})
        (agreed.root / "s/e/a/new").unlink()
        (agreed.root / X).unlink()
        assert await engine.anything_new()

    assert asked == server.api.requests


async def test_two_ways_of_looking_give_one_plan(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {X: b"mine", "s/e/n/new": b"new"})
    await server.put({Y: b"theirs"})
    (agreed.root / "top.json").unlink()
    with agreed.engine() as engine:
        first = (await engine.look()).plan
    with agreed.engine() as engine:
        second = (await engine.look()).plan

    assert first == second
    assert 4 == len(first.carry_out)
    assert TREE == {**await server.held(), Y: b"yy"}
