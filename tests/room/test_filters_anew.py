"""What takes part again after a filter was lifted is met for the first time (issue 6, item 6)."""

from __future__ import annotations

import pytest

from fwsync.filters import Bounds, Filters, ignore_rules
from fwsync.model import Mode, RelPath
from tests.room.rooms import Bench, How, Shelf, age, copies, did, grown, plant

D, X = "D/e/a/1", "s/e/a/x"
TREE = {D: b"one", X: b"x"}
OUT = ["D/"]
KEEPING: How = {"delete_up": False, "delete_down": False}


@pytest.fixture
async def agreed(by_shelf: Bench, shelf: Shelf) -> Bench:
    shelf.content.clear()
    shelf.listing.clear()
    age(plant(by_shelf.root, TREE))
    await by_shelf.cycle()
    return by_shelf


async def test_what_nobody_has_touched_stays_agreed(agreed: Bench, shelf: Shelf) -> None:
    assert {} == did(await agreed.cycle(ignore=ignore_rules(OUT)))

    assert {} == did(await agreed.cycle())
    assert TREE == grown(agreed.root) == shelf.content


@pytest.mark.parametrize("times", [1, 2])
async def test_what_was_deleted_here_meanwhile_comes_again(
    times: int, agreed: Bench, shelf: Shelf
) -> None:
    (agreed.root / D).unlink()
    for _ in range(times):
        assert {} == did(await agreed.cycle(ignore=ignore_rules(OUT)))

    report = await agreed.cycle()

    assert (1, 0) == (report.downloaded, report.deleted)
    assert TREE == grown(agreed.root) == shelf.content
    assert {} == did(await agreed.cycle())


async def test_what_was_deleted_there_meanwhile_goes_up_again(agreed: Bench, shelf: Shelf) -> None:
    await agreed.cycle(ignore=ignore_rules(OUT))
    await shelf.delete(shelf.listing[RelPath(D)])

    report = await agreed.cycle()

    assert (1, 0) == (report.uploaded, report.deleted)
    assert TREE == grown(agreed.root) == shelf.content


async def test_what_was_deleted_before_and_held_stays_held(agreed: Bench, shelf: Shelf) -> None:
    (agreed.root / D).unlink()
    await shelf.delete(shelf.listing[RelPath(X)])
    assert 2 == (await agreed.cycle(**KEEPING)).held
    without: How = {**KEEPING, "ignore": ignore_rules(["D/", "s/"])}
    assert {} == did(await agreed.cycle(**without))

    assert {} == did(await agreed.cycle(**KEEPING))
    assert ({X: b"x"}, {D: b"one"}) == (grown(agreed.root), shelf.content)
    assert 2 == (await agreed.cycle()).deleted


async def test_what_was_held_and_is_here_again_is_met_anew(agreed: Bench, shelf: Shelf) -> None:
    (agreed.root / D).unlink()
    assert 1 == (await agreed.cycle(**KEEPING)).held
    await agreed.cycle(ignore=ignore_rules(OUT))
    age(plant(agreed.root, {D: b"mine"}))

    report = await agreed.cycle()

    assert ([D], [b"mine"]) == (report.conflict_list, copies(agreed.root))


async def test_another_filter_in_between_does_not_hide_the_first(
    agreed: Bench, shelf: Shelf
) -> None:
    await agreed.cycle(ignore=ignore_rules(OUT))
    (agreed.root / D).unlink()
    await agreed.cycle(ignore=ignore_rules([*OUT, "*.tmp"]))

    report = await agreed.cycle(ignore=ignore_rules(["*.tmp"]))

    assert (1, 0) == (report.downloaded, report.deleted)
    assert TREE == grown(agreed.root) == shelf.content


async def test_same_bytes_on_both_sides_are_adopted(agreed: Bench, shelf: Shelf) -> None:
    await agreed.cycle(ignore=ignore_rules(OUT))
    age(plant(agreed.root, {D: b"other"}))
    shelf.store(RelPath(D), b"other")

    report = await agreed.cycle()

    assert (1, 0, []) == (report.adopted, report.bytes, copies(agreed.root))


async def test_other_bytes_are_a_conflict(agreed: Bench, shelf: Shelf) -> None:
    await agreed.cycle(ignore=ignore_rules(OUT))
    age(plant(agreed.root, {D: b"mine"}))

    report = await agreed.cycle()

    assert ([D], [b"mine"]) == (report.conflict_list, copies(agreed.root))
    assert b"one" == shelf.content[RelPath(D)]
    assert {} == did(await agreed.cycle())


async def test_a_run_that_asks_for_some_files_says_nothing_of_the_others(
    agreed: Bench, shelf: Shelf
) -> None:
    (agreed.root / D).unlink()
    age(plant(agreed.root, {X: b"edited"}))
    assert {} == did(await agreed.cycle(ignore=Filters(include=["*.json"])))

    report = await agreed.cycle()

    assert (1, 1, 0) == (report.uploaded, report.deleted, report.conflicts)


async def test_a_file_that_outgrows_a_bound_and_is_deleted_elsewhere_stays_here(
    agreed: Bench, shelf: Shelf
) -> None:
    small = Bounds(max_size=4)
    age(plant(agreed.root, {D: b"one and more"}))
    assert {} == did(await agreed.cycle(bounds=small))
    await shelf.delete(shelf.listing[RelPath(D)])
    assert {} == did(await agreed.cycle(bounds=small))

    report = await agreed.cycle()

    assert (1, 0) == (report.uploaded, report.deleted)
    assert b"one and more" == grown(agreed.root)[D] == shelf.content[RelPath(D)]


@pytest.mark.parametrize("mode", list(Mode))
async def test_the_patterns_of_another_host_delete_nothing(
    mode: Mode, agreed: Bench, shelf: Shelf
) -> None:
    """Its ``.fwsyncignore`` is never sent; what it leaves out is only out there."""
    (agreed.root / "D/.fwsyncignore").write_text("*")
    assert {} == did(await agreed.cycle(mode, ignore=Filters()))
    (agreed.root / D).unlink()
    assert {} == did(await agreed.cycle(mode, ignore=Filters()))

    assert TREE == shelf.content
