"""Whole cycles between a folder and a project in the sandbox: what comes of what each side did."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, tzinfo
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest

from fwsync import conflicts as room
from fwsync.model import ConflictPolicy, Mode
from fwsync.state import State
from tests.room.rooms import (
    TREE,
    Bench,
    Ground,
    Shelf,
    X,
    age,
    copies,
    did,
    grown,
    in_parts,
    in_trash,
    named,
    opened_names,
    plant,
)

# ----------------------------------------------------------------------------- first contact


async def test_two_empty_sides_are_in_step(bench: Bench, server: Ground) -> None:  # S01
    report = await bench.cycle()

    assert {} == did(report)
    assert report.ok
    assert {} == grown(bench.root)


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.UP])
async def test_a_first_run_sends_a_tree(mode: Mode, bench: Bench, server: Ground) -> None:  # S02
    plant(bench.root, TREE)

    report = await bench.cycle(mode)

    size = sum(map(len, TREE.values()))
    assert {"uploaded": len(TREE), "bytes": size} == did(report)
    assert TREE == await server.held()
    assert 1 == server.asked("POST", "/api/subjects")
    assert 1 == server.asked("POST", "/api/sessions")
    assert 2 == server.asked("POST", "/api/acquisitions")
    assert {} == did(await bench.cycle(mode))


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.DOWN])
async def test_a_first_run_fetches_a_tree(mode: Mode, bench: Bench, server: Ground) -> None:  # S03
    await server.put(TREE)

    report = await bench.cycle(mode)

    assert len(TREE) == report.downloaded
    assert TREE == grown(bench.root)
    times = {path: entry.modified_ns for path, entry in (await server.listed()).items()}
    assert times == {path: (bench.root / path).stat().st_mtime_ns for path in TREE}
    assert [] == in_parts(bench.root)
    assert {} == did(await bench.cycle(mode))


async def test_two_trees_become_their_union(bench: Bench, server: Ground) -> None:  # S04
    plant(bench.root, {"s/e/a/here": b"here"})
    await server.put({"s/e/a/there": b"there", "t/e/a/there": b"too"})

    report = await bench.cycle()

    union = {"s/e/a/here": b"here", "s/e/a/there": b"there", "t/e/a/there": b"too"}
    assert union == grown(bench.root) == await server.held()
    assert 0 == report.deleted
    assert {} == did(await bench.cycle())


@pytest.mark.parametrize("mode", list(Mode))
async def test_the_same_bytes_on_both_sides_are_adopted(  # S05
    mode: Mode, bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, TREE))
    await server.put(TREE)

    assert {"adopted": len(TREE)} == did(await bench.cycle(mode))
    assert {} == did(await bench.cycle(mode))


async def test_other_bytes_on_first_meeting_keep_both(  # S06
    bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, {X: b"mine"}))
    await server.put({X: b"theirs"})

    report = await bench.cycle()

    assert [X] == report.conflict_list
    assert not report.ok
    assert b"theirs" == (bench.root / X).read_bytes()
    assert [b"mine"] == copies(bench.root)
    assert {X: b"theirs"} == await server.held()
    assert {} == did(await bench.cycle())


async def test_a_push_that_meets_other_bytes_sends_nothing(bench: Bench, server: Ground) -> None:
    age(plant(bench.root, {X: b"mine"}))
    await server.put({X: b"theirs"})

    for _ in range(2):
        report = await bench.cycle(Mode.UP)

        assert {"conflicts": 1} == did(report)
        assert {X: b"mine"} == grown(bench.root)
        assert {X: b"theirs"} == await server.held()


# ------------------------------------------------------------------------------------ no-ops


async def test_a_run_with_nothing_to_do_opens_no_file_and_asks_for_pages_only(
    agreed: Bench, server: Ground
) -> None:
    asked = server.api.requests
    with opened_names() as names:
        report = await agreed.cycle()

    assert {} == did(report)
    assert set() == {Path(path).name for path in TREE} & set(names)
    assert "parts" not in names or in_parts(agreed.root) == []
    assert server.api.requests - asked <= 5


async def test_what_was_fetched_is_not_opened_by_later_runs(bench: Bench, server: Ground) -> None:
    await server.put(TREE)
    await bench.cycle()
    await bench.cycle()  # hashes once more what the server made in the tick of its arrival

    with opened_names() as names:
        assert {} == did(await bench.cycle())
    assert set() == {Path(path).name for path in TREE} & set(names)


async def test_an_empty_folder_makes_no_container(agreed: Bench, server: Ground) -> None:
    (agreed.root / "new/folder").mkdir(parents=True)

    assert {} == did(await agreed.cycle())
    assert 1 == server.asked("POST", "/api/subjects")


# ------------------------------------------------------------------------------- modification


async def test_a_new_file_here_goes_up(agreed: Bench, server: Ground) -> None:  # S09
    plant(agreed.root, {"s/e/a/new": b"new"})

    assert {"uploaded": 1, "bytes": 3} == did(await agreed.cycle())
    assert b"new" == (await server.held())["s/e/a/new"]
    assert {} == did(await agreed.cycle())


async def test_a_new_file_there_comes_down(agreed: Bench, server: Ground) -> None:  # S10
    await server.put({"s/e/a/new": b"new"})

    assert {"downloaded": 1, "bytes": 3} == did(await agreed.cycle())
    assert b"new" == (agreed.root / "s/e/a/new").read_bytes()
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("content", [b"x grows", b"X", b""])  # S12, S13, S23
async def test_an_edit_here_is_a_new_version_there(
    content: bytes, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: content})

    report = await agreed.cycle()

    assert 1 == report.uploaded
    assert content == (await server.held())[X]
    assert 2 == (await server.listed())[X].version
    assert {} == did(await agreed.cycle())


async def test_touching_a_file_moves_nothing_and_is_read_once(agreed: Bench) -> None:  # S16
    for path in TREE:
        os.utime(agreed.root / path, ns=(10**18, 10**18))

    assert {} == did(await agreed.cycle())
    with opened_names() as names:
        assert {} == did(await agreed.cycle())
    assert "x.dcm" not in names


async def test_other_metadata_on_the_server_moves_nothing(  # S17
    agreed: Bench, server: Ground
) -> None:
    entry = (await server.listed())[X]
    await server.api.json(
        "PUT", ("acquisitions", entry.container.id), body={"info": {"seen": "by the reader"}}
    )

    assert {} == did(await agreed.cycle())


async def test_a_new_version_with_the_same_bytes_moves_nothing(  # S18
    agreed: Bench, server: Ground
) -> None:
    await server.put({X: b"x"})

    report = await agreed.cycle()

    assert (0, 0, 0) == (report.bytes, report.downloaded, report.uploaded)
    assert report.ok
    assert {} == did(await agreed.cycle())


async def test_an_edit_there_comes_down_and_the_old_bytes_go_to_the_trash(  # S19
    agreed: Bench, server: Ground
) -> None:
    await server.put({X: b"theirs"})

    assert {"downloaded": 1, "bytes": 6} == did(await agreed.cycle())
    assert b"theirs" == (agreed.root / X).read_bytes()
    assert [b"x"] == in_trash(agreed.root)
    assert {} == did(await agreed.cycle())


async def test_files_of_no_bytes_go_both_ways(bench: Bench, server: Ground) -> None:  # S95
    plant(bench.root, {"s/e/a/here": b""})
    await server.put({"s/e/a/there": b""})

    await bench.cycle()

    assert {"s/e/a/here": b"", "s/e/a/there": b""} == grown(bench.root) == await server.held()
    assert {} == did(await bench.cycle())


# -------------------------------------------------------------------------------- both sides


async def test_the_same_new_file_on_both_sides_is_adopted(  # S26
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/a/new": b"same"})
    await server.put({"s/e/a/new": b"same"})

    assert {"adopted": 1} == did(await agreed.cycle())
    assert {} == did(await agreed.cycle())


async def test_two_new_files_of_one_name_are_both_kept(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {"s/e/a/new": b"mine"})  # S27
    await server.put({"s/e/a/new": b"theirs"})

    report = await agreed.cycle()

    assert ["s/e/a/new"] == report.conflict_list
    assert b"theirs" == (agreed.root / "s/e/a/new").read_bytes()
    assert [b"mine"] == copies(agreed.root)
    assert {} == did(await agreed.cycle())


async def test_the_same_edit_on_both_sides_is_adopted(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {X: b"same edit"})  # S28
    await server.put({X: b"same edit"})

    assert {"adopted": 1} == did(await agreed.cycle())
    assert {} == did(await agreed.cycle())


async def test_a_conflict_keeps_both_and_its_copy_never_goes_up_nor_grows(  # S29, S31
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await server.put({X: b"theirs"})

    report = await agreed.cycle()

    assert [X] == report.conflict_list
    assert 1 == report.conflicts
    assert [b"mine"] == copies(agreed.root)
    for _ in range(10):
        assert {} == did(await agreed.cycle())
    assert [b"mine"] == copies(agreed.root)
    assert {**TREE, X: b"theirs"} == await server.held()
    assert [X] == [one.path for one in await agreed.state.call(State.conflicts)]


async def test_a_second_conflict_gets_a_copy_of_its_own(agreed: Bench, server: Ground) -> None:
    """Both within one second (S30): the names that the clock gives would be the same."""
    for mine, theirs in ((b"mine 1", b"theirs 1"), (b"mine 22", b"theirs 22")):
        plant(agreed.root, {X: mine})
        await server.put({X: theirs})
        await agreed.cycle()

    assert [b"mine 1", b"mine 22"] == copies(agreed.root)
    assert {} == did(await agreed.cycle())
    assert {**TREE, X: b"theirs 22"} == await server.held()
    assert 2 == len(await agreed.state.call(State.conflicts))


class EverLater(datetime):
    """A clock that is a second later each time it is asked."""

    _asked = count()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(seconds=next(cls._asked))


async def test_a_conflict_whose_download_fails_makes_one_copy_however_often(  # F13
    by_shelf: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "datetime", EverLater)
    age(plant(by_shelf.root, {X: b"mine"}))
    shelf.gives[X] = repeat(b"not what is listed")

    for _ in range(3):
        assert [X] == named(await by_shelf.cycle())

        assert b"mine" == (by_shelf.root / X).read_bytes()
    assert len(copies(by_shelf.root)) <= 1
    del shelf.gives[X]
    await by_shelf.cycle()

    assert b"x" == (by_shelf.root / X).read_bytes()
    assert [b"mine"] == copies(by_shelf.root)
    assert {} == did(await by_shelf.cycle())


@pytest.mark.parametrize(
    ("policy", "here", "there", "trash"),
    [
        (ConflictPolicy.LOCAL, b"mine", b"mine", []),
        (ConflictPolicy.REMOTE, b"theirs", b"theirs", [b"mine"]),
        (ConflictPolicy.SKIP, b"mine", b"theirs", []),
        (ConflictPolicy.FAIL, b"mine", b"theirs", []),
    ],
)
async def test_a_conflict_ends_as_the_policy_says(  # S37
    policy: ConflictPolicy,
    here: bytes,
    there: bytes,
    trash: list[bytes],
    agreed: Bench,
    server: Ground,
) -> None:
    plant(agreed.root, {X: b"mine"})
    await server.put({X: b"theirs"})

    report = await agreed.cycle(conflict=policy)

    assert here == (agreed.root / X).read_bytes()
    assert there == (await server.held())[X]
    assert trash == in_trash(agreed.root)
    assert [] == copies(agreed.root)
    assert (here == there) == report.ok
