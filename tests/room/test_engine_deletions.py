"""Cycles in which something was deleted, and the guards that hold deletions."""

from __future__ import annotations

import shutil

import pytest

from fwsync.model import Mode
from fwsync.plan import DeleteLimits
from fwsync.state import State
from tests.room.rooms import (
    TREE,
    Bench,
    Ground,
    X,
    age,
    copies,
    did,
    grown,
    in_trash,
    named,
    plant,
)

# ----------------------------------------------------------------------------------- deletion


async def test_a_deletion_here_deletes_there(agreed: Bench, server: Ground) -> None:  # S41
    (agreed.root / X).unlink()

    assert {"deleted": 1} == did(await agreed.cycle())
    assert TREE.keys() - {X} == (await server.held()).keys()
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.UP])
async def test_a_deletion_here_is_held_by_default(  # S42
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    (agreed.root / X).unlink()

    for _ in range(3):
        report = await agreed.cycle(mode, delete_up=False)

        assert (0, 0, 0) == (report.deleted, report.downloaded, report.bytes)
        assert not (agreed.root / X).exists()
        assert TREE == await server.held()


async def test_a_deletion_there_moves_the_file_to_the_trash(  # S43
    agreed: Bench, server: Ground
) -> None:
    await server.delete(X)

    assert {"deleted": 1} == did(await agreed.cycle())
    assert TREE.keys() - {X} == grown(agreed.root).keys()
    assert [b"x"] == in_trash(agreed.root)
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_deletion_there_is_held_by_default(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await server.delete(X)

    for _ in range(3):
        await agreed.cycle(mode, delete_down=False)

        assert TREE == grown(agreed.root)
        assert X not in await server.held()


async def test_a_deletion_on_both_sides_is_forgotten(agreed: Bench, server: Ground) -> None:
    (agreed.root / X).unlink()  # S44
    await server.delete(X)

    assert {} == did(await agreed.cycle())
    assert [] == [one for one in await agreed.state.call(base) if one == X]


def base(state: State) -> list[str]:
    return [one.path for one in state.base_entries()]


async def test_an_edit_there_beats_a_deletion_here(agreed: Bench, server: Ground) -> None:  # S45
    (agreed.root / X).unlink()
    await server.put({X: b"theirs"})

    assert 1 == (await agreed.cycle()).downloaded
    assert b"theirs" == (agreed.root / X).read_bytes()
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.UP])
async def test_an_edit_here_beats_a_deletion_there(  # S46
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await server.delete(X)

    assert 1 == (await agreed.cycle(mode)).uploaded
    assert b"mine" == (await server.held())[X]
    assert {} == did(await agreed.cycle(mode))


async def test_what_the_server_removed_is_not_sent_again(agreed: Bench, server: Ground) -> None:
    await server.delete(X)

    for _ in range(2):
        assert 0 == (await agreed.cycle(Mode.UP)).uploaded
    assert X not in await server.held()


@pytest.mark.parametrize("content", [b"x", b"other"])  # S47, S48
async def test_deleting_and_making_anew_here_is_an_edit_at_most(
    content: bytes, agreed: Bench, server: Ground
) -> None:
    (agreed.root / X).unlink()
    plant(agreed.root, {X: content})

    report = await agreed.cycle()

    assert (int(content != b"x"), 0) == (report.uploaded, report.deleted)
    assert content == (await server.held())[X]
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("content", [b"x", b"other"])  # S49, S50
async def test_deleting_and_making_anew_there_is_an_edit_at_most(
    content: bytes, agreed: Bench, server: Ground
) -> None:
    await server.delete(X)
    await server.put({X: content})

    report = await agreed.cycle()

    assert (int(content != b"x"), 0, 0) == (report.downloaded, report.deleted, report.conflicts)
    assert content == (agreed.root / X).read_bytes()
    assert {} == did(await agreed.cycle())


async def test_a_pull_fetches_again_what_was_deleted_here(agreed: Bench, server: Ground) -> None:
    (agreed.root / X).unlink()

    assert 1 == (await agreed.cycle(Mode.DOWN)).downloaded
    assert TREE == grown(agreed.root)


async def test_a_pull_leaves_an_edit_here_alone_and_says_so(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {X: b"mine"})

    report = await agreed.cycle(Mode.DOWN)

    assert [X] == [one.path for one in report.difference_list]
    assert not report.ok
    assert b"mine" == (agreed.root / X).read_bytes()
    assert TREE == await server.held()


async def test_what_changed_there_since_the_plan_is_not_deleted(
    agreed: Bench, server: Ground
) -> None:
    (agreed.root / X).unlink()
    with agreed.engine() as engine:
        view = await engine.look()
        await server.put({X: b"theirs"})
        report = await engine.carry_out(view)

    assert [X] == named(report)
    assert b"theirs" == (await server.held())[X]
    assert 1 == (await agreed.cycle()).downloaded


async def test_what_changed_here_since_the_plan_is_not_deleted(
    agreed: Bench, server: Ground
) -> None:
    await server.delete(X)
    with agreed.engine() as engine:
        view = await engine.look()
        plant(agreed.root, {X: b"mine"})
        report = await engine.carry_out(view)

    assert [X] == named(report)
    assert b"mine" == (agreed.root / X).read_bytes()
    assert 1 == (await agreed.cycle()).uploaded


async def test_what_changed_here_since_the_plan_is_not_overwritten(  # S39
    agreed: Bench, server: Ground
) -> None:
    await server.put({X: b"theirs"})
    with agreed.engine() as engine:
        view = await engine.look()
        plant(agreed.root, {X: b"mine"})
        report = await engine.carry_out(view)

    assert [X] == named(report)
    assert b"mine" == (agreed.root / X).read_bytes()
    report = await agreed.cycle()
    assert [X] == report.conflict_list
    assert [b"mine"] == copies(agreed.root)


async def test_what_changed_there_since_the_plan_is_not_overwritten(  # S40
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    with agreed.engine() as engine:
        view = await engine.look()
        await server.put({X: b"theirs"})
        report = await engine.carry_out(view)

    assert [X] == named(report)
    assert b"theirs" == (await server.held())[X]
    assert [X] == (await agreed.cycle()).conflict_list


# ------------------------------------------------------------------------------------- guards

CROWD = {f"s/e/a/{number:02}": b"%d" % number for number in range(24)}


@pytest.fixture
async def crowd(bench: Bench) -> Bench:
    age(plant(bench.root, CROWD))
    await bench.cycle()
    return bench


def lose(bench: Bench, files: int) -> None:
    for path in list(CROWD)[:files]:
        (bench.root / path).unlink()


@pytest.mark.parametrize("limits", [DeleteLimits(), DeleteLimits(12, None)])
async def test_as_many_deletions_as_the_cap_allows_are_done(  # S55
    limits: DeleteLimits, crowd: Bench, server: Ground
) -> None:
    lose(crowd, 12)

    report = await crowd.cycle(limits=limits)

    assert {"deleted": 12} == did(report)
    assert 12 == len(await server.held())


@pytest.mark.parametrize("limits", [DeleteLimits(), DeleteLimits(12, None)])
async def test_one_deletion_more_holds_all_and_new_files_still_go(  # S56, S57, S58
    limits: DeleteLimits, crowd: Bench, server: Ground
) -> None:
    lose(crowd, 15)
    plant(crowd.root, {"s/e/n/1": b"new 1", "s/e/n/2": b"new 2", "s/e/a/23": b"edited"})

    held = await crowd.cycle(limits=limits)

    assert 2 == held.uploaded
    assert 0 == held.deleted
    assert "15 of 24" in held.halted
    assert not held.ok
    assert {**CROWD, "s/e/n/1": b"new 1", "s/e/n/2": b"new 2"} == await server.held()

    again = await crowd.cycle(limits=limits)
    assert held.plan_id == again.plan_id
    assert 0 == again.deleted

    assert 0 == (await crowd.cycle(limits=limits, accept="0" * 12)).deleted

    done = await crowd.cycle(limits=limits, accept=held.plan_id)
    assert (15, 1, "") == (done.deleted, done.uploaded, done.halted)
    assert grown(crowd.root) == await server.held()


async def test_consent_is_for_that_plan_only(crowd: Bench, server: Ground) -> None:  # S58
    lose(crowd, 13)
    held = await crowd.cycle()
    lose_more = list(CROWD)[13]
    (crowd.root / lose_more).unlink()

    assert [] == crowd.notes.told
    report = await crowd.cycle(accept=held.plan_id)

    assert report.halted
    assert 0 == report.deleted
    assert CROWD == await server.held()
    [note] = crowd.notes.told
    assert f"{held.plan_id}: is not the id of this plan, which is {report.plan_id};" in note


@pytest.mark.parametrize("deletes", [True, False])
async def test_a_server_that_lists_nothing_deletes_nothing(  # S63
    deletes: bool, agreed: Bench, server: Ground
) -> None:
    await server.delete(*TREE)

    report = await agreed.cycle(delete_down=deletes)

    assert report.halted
    assert 0 == report.deleted
    assert TREE == grown(agreed.root)
    assert sorted(TREE) == await agreed.state.call(base)


async def test_a_root_that_is_emptied_deletes_nothing(agreed: Bench, server: Ground) -> None:
    for one in agreed.root.iterdir():
        if one.name != ".fwsync":
            shutil.rmtree(one) if one.is_dir() else one.unlink()

    report = await agreed.cycle()

    assert report.halted
    assert TREE == await server.held()
