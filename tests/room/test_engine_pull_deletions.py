"""``pull --delete``: what the server no longer has goes to the trash, under the guards."""

from __future__ import annotations

from itertools import repeat

import pytest

from fwsync.errors import IntegrityError
from fwsync.model import Mode, RelPath, Unknown
from fwsync.plan import DeleteLimits
from tests.room.rooms import TREE, Bench, Shelf, X, Y, did, grown, in_trash, named, plant


@pytest.fixture
async def pulled(by_shelf: Bench) -> Bench:
    await by_shelf.cycle(Mode.DOWN)
    return by_shelf


def drop(shelf: Shelf, *paths: str) -> None:
    """Somebody deletes files on the server."""
    for path in paths:
        del shelf.listing[RelPath(path)], shelf.content[RelPath(path)]


async def test_what_is_gone_there_is_told_once_and_stays(pulled: Bench, shelf: Shelf) -> None:
    drop(shelf, X)

    held = [(await pulled.cycle(Mode.DOWN, delete_down=False)).held for _ in range(2)]

    assert [1, 0] == held
    assert TREE == grown(pulled.root)


async def test_a_deletion_that_was_held_is_carried_out_when_it_is_asked_for(
    pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, X)
    await pulled.cycle(Mode.DOWN, delete_down=False)

    assert {"deleted": 1} == did(await pulled.cycle(Mode.DOWN))
    assert [b"x"] == in_trash(pulled.root)


async def test_s63_a_project_that_lists_nothing_deletes_nothing(
    pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, *TREE)

    for limits in (DeleteLimits(), DeleteLimits(files=None, percent=None)):
        report = await pulled.cycle(Mode.DOWN, limits=limits)

        assert "the server lists none of the 5 files" in report.halted
        assert 0 == report.deleted
    assert TREE == grown(pulled.root)


@pytest.mark.parametrize("scope", ["", "s", "s/e/a", X])
async def test_s66_nothing_is_deleted_in_what_was_not_seen(
    scope: str, pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, X, "top.json")
    shelf.unknown = [Unknown(RelPath(scope), "403")]

    report = await pulled.cycle(Mode.DOWN)

    assert int(scope != "") == report.deleted
    assert (pulled.root / X).exists()


async def test_s56_more_than_the_cap_deletes_nothing_and_what_is_new_comes(
    pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, X, Y)
    shelf.store(RelPath("s/e/a/new.dcm"), b"new")

    report = await pulled.cycle(Mode.DOWN, limits=DeleteLimits(files=1))

    assert (0, 1) == (report.deleted, report.downloaded)
    assert "2 of 5 files would be deleted here" in report.halted
    assert {**TREE, "s/e/a/new.dcm": b"new"} == grown(pulled.root)


async def test_s51_s52_a_new_file_in_a_folder_that_is_gone_there_survives(
    pulled: Bench, shelf: Shelf
) -> None:
    plant(pulled.root, {"s/e/a/mine.txt": b"mine"})
    drop(shelf, X, Y)

    assert {"deleted": 2} == did(await pulled.cycle(Mode.DOWN))
    assert b"mine" == grown(pulled.root)["s/e/a/mine.txt"]
    assert [b"x", b"yy"] == in_trash(pulled.root)


async def test_s46_an_edit_of_what_is_gone_there_is_kept_and_reported(
    pulled: Bench, shelf: Shelf
) -> None:
    plant(pulled.root, {X: b"mine"})
    drop(shelf, X)

    for _ in range(2):
        assert {"skipped": 1} == did(await pulled.cycle(Mode.DOWN))
    assert b"mine" == (pulled.root / X).read_bytes()


async def test_nothing_is_deleted_while_something_new_did_not_come(
    pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, X)
    shelf.store(RelPath("s/e/a/new.dcm"), b"new")
    shelf.gives["s/e/a/new.dcm"] = repeat(IntegrityError("damaged"))

    report = await pulled.cycle(Mode.DOWN)

    assert ["s/e/a/new.dcm"] == named(report)
    assert (0, b"x") == (report.deleted, (pulled.root / X).read_bytes())


async def test_nothing_is_deleted_while_something_could_not_be_renamed(
    pulled: Bench, shelf: Shelf
) -> None:
    drop(shelf, X)
    shelf.permute({Y: "s/e/a/z.dcm"})
    with pulled.engine(Mode.DOWN) as engine:
        view = await engine.look()
        plant(pulled.root, {"s/e/a/z.dcm": b"just now"})
        report = await engine.carry_out(view)

    assert (["s/e/a/z.dcm"], 0, 0) == (named(report), report.deleted, report.renamed)
    assert {**TREE, "s/e/a/z.dcm": b"just now"} == grown(pulled.root)


async def test_a_file_that_is_back_just_before_it_would_be_deleted_stays(
    pulled: Bench, shelf: Shelf
) -> None:
    entry, content = shelf.listing[RelPath(X)], shelf.content[RelPath(X)]
    drop(shelf, X)
    with pulled.engine(Mode.DOWN) as engine:
        view = await engine.look()
        shelf.listing[RelPath(X)], shelf.content[RelPath(X)] = entry, content
        report = await engine.carry_out(view)

    assert ([X], 0) == (named(report), report.deleted)
    assert TREE == grown(pulled.root)
