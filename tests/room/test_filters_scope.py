"""What a filter puts out of scope is out on both sides: it is never read as deleted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync import leaving
from fwsync.filters import IGNORE_FILE, Bounds, Filters, ignore_rules
from fwsync.mapping.settings import PlaceSettings, mapping_of
from fwsync.model import Empty, Mode
from fwsync.placing import Placement
from tests.room.rooms import (
    Bench,
    Ground,
    Shelf,
    did,
    grown,
    opened_names,
    plant,
    workbench,
)

TREE = {"S/E/A/1.dcm": b"1", "S/E/A/2.dcm": b"22", "S/E/B/3.dcm": b"333", "S/note.txt": b"note"}


@pytest.fixture
async def bench(server: Ground, tmp_path: Path) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, server.connect) as bench:
        plant(bench.root, TREE)
        for path in TREE:
            os.utime(bench.root / path, ns=(10**18, 10**18))
        await bench.cycle()
        yield bench


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "exclude", [["S/E/A/", "!S/E/A/1.dcm"], ["*", "!*.dcm"], ["S/", "!S/note.txt"]]
)
async def test_what_is_brought_back_below_a_folder_that_is_out_is_not_deleted(
    exclude: list[str], mode: Mode, server: Ground, bench: Bench
) -> None:
    for _ in range(2):
        report = await bench.cycle(mode, ignore=ignore_rules(exclude))

        assert {} == did(report)
    assert TREE == grown(bench.root) == await server.held()

    assert {} == did(await bench.cycle(mode))


@pytest.mark.parametrize("exclude", [["S/E/A/", "!S/E/A/1.dcm"], ["*", "!*.dcm"]])
async def test_what_is_out_of_scope_is_no_news(exclude: list[str], bench: Bench) -> None:
    with bench.engine(Mode.UP, ignore=ignore_rules(exclude)) as engine:
        assert not await engine.anything_new(again=True)


# -------------------------------------------------------------------------------- .fwsyncignore


def forbid(bench: Bench, folder: str, *patterns: str) -> Path:
    place = bench.root / folder / IGNORE_FILE
    place.write_text("\n".join(patterns), encoding="utf-8")
    return place


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    ("folder", "pattern"), [("", "S/E/"), ("", "*.dcm"), ("S/E", "*.dcm"), ("S/E/A", "/1.dcm")]
)
async def test_patterns_that_come_and_go_delete_nothing(  # S98, S99
    folder: str, pattern: str, mode: Mode, server: Ground, bench: Bench
) -> None:
    place = forbid(bench, folder, pattern)
    for _ in range(2):
        assert {} == did(await bench.cycle(mode, ignore=Filters()))
    place.unlink()

    assert {} == did(await bench.cycle(mode, ignore=Filters()))
    assert TREE == {**grown(bench.root)} == await server.held()


async def test_the_patterns_hold_for_both_sides_and_are_not_sent(
    server: Ground, bench: Bench
) -> None:
    forbid(bench, "S", "*.raw", "!E/A/kept.raw")
    plant(bench.root, {"S/E/A/here.raw": b"h", "S/E/A/kept.raw": b"k"})
    await server.put({"S/E/A/there.raw": b"t"})
    report = await bench.cycle(ignore=Filters())

    assert {"uploaded": 1, "bytes": 1} == did(report)
    assert {*TREE, "S/E/A/kept.raw", "S/E/A/there.raw"} == set(await server.held())
    assert not (bench.root / "S/E/A/there.raw").exists()


async def test_patterns_that_cannot_be_read_send_fetch_and_delete_nothing_there(
    server: Ground, bench: Bench
) -> None:
    (bench.root / "S/E" / IGNORE_FILE).write_bytes(b"\xff")
    plant(bench.root, {"S/E/A/new": b"n", "S/F/A/new": b"n"})
    (bench.root / "S/E/A/1.dcm").unlink()
    await server.delete("S/E/A/2.dcm")
    await server.put({"S/E/A/there": b"t"})
    report = await bench.cycle(ignore=Filters())

    assert 1 == report.uploaded
    assert ["S/E"] == [one.path for one in report.problem_list]
    assert {"S/E/A/1.dcm", "S/E/A/there", "S/F/A/new"} <= set(await server.held())
    assert (bench.root / "S/E/A/2.dcm").exists()


async def test_what_lies_in_a_folder_without_patterns_of_a_run_before_is_news(
    bench: Bench,
) -> None:
    place = forbid(bench, "S", "new")
    plant(bench.root, {"S/E/A/new": b"n"})
    with bench.engine(Mode.UP, ignore=Filters()) as engine:
        assert not await engine.anything_new(again=True)
        place.unlink()
        assert await engine.anything_new(again=True)


# ------------------------------------------------------------------- files that go elsewhere


async def test_what_goes_elsewhere_is_filtered_by_where_it_lies(tmp_path: Path) -> None:
    shelf = Shelf()
    settings = PlaceSettings(layout="{session}/{subject}/{acquisition}/{file}")
    placement = Placement(mapping_of(settings, group="lab", project="aging"))
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, {"ses/sub/acq/x": b"x", "ses/sub/acq/y": b"y"})
        await bench.cycle(Mode.UP, placement=placement)
        assert {"sub/ses/acq/x", "sub/ses/acq/y"} == set(shelf.content)

        for exclude in (["/ses/sub/acq/x"], ["/ses/"]):
            report = await bench.cycle(Mode.UP, placement=placement, ignore=ignore_rules(exclude))
            assert {} == did(report)
        assert {"sub/ses/acq/x", "sub/ses/acq/y"} == set(shelf.content)

        (bench.root / "ses/sub/acq/x").unlink()
        assert {"deleted": 1} == did(await bench.cycle(Mode.UP, placement=placement))


# ------------------------------------------------------------------------------- size and age


@pytest.mark.parametrize("mode", list(Mode))
async def test_sizes_out_of_bounds_are_left_alone_on_both_sides(
    mode: Mode, server: Ground, bench: Bench
) -> None:
    plant(bench.root, {"S/E/A/small": b"s", "S/E/A/large": b"l" * 100})
    await server.put({"S/E/A/theirs": b"t" * 100})
    bounds = Bounds(min_size=2, max_size=50)
    report = await bench.cycle(mode, bounds=bounds)

    assert {} == did(report)
    assert {*TREE, "S/E/A/theirs"} == set(await server.held())
    assert {*TREE, "S/E/A/small", "S/E/A/large"} == set(grown(bench.root))


async def test_a_file_out_of_bounds_that_is_gone_on_one_side_is_not_deleted_on_the_other(
    server: Ground, bench: Bench
) -> None:
    (bench.root / "S/E/B/3.dcm").unlink()  # 3 bytes
    await server.delete("S/note.txt")  # 4 bytes

    assert {} == did(await bench.cycle(bounds=Bounds(max_size=2)))
    assert {"deleted": 2} == did(await bench.cycle())


async def test_a_file_that_grows_out_of_bounds_is_left_as_it_was(
    server: Ground, bench: Bench
) -> None:
    plant(bench.root, {"S/E/A/1.dcm": b"1" * 100})

    assert {} == did(await bench.cycle(bounds=Bounds(max_size=50)))
    assert b"1" == (await server.held())["S/E/A/1.dcm"]


async def test_what_is_out_of_bounds_is_not_read(server: Ground, bench: Bench) -> None:
    plant(bench.root, {"S/E/A/large": b"l" * 100, "S/E/A/1.dcm": b"1" * 100})
    await server.put({"S/E/A/large": b"L" * 100})
    with opened_names() as opened:
        await bench.cycle(bounds=Bounds(max_size=50))

    assert not {"large", "1.dcm"} & set(opened)


async def test_the_age_of_a_file_decides_and_its_absence_deletes_nothing(
    server: Ground, bench: Bench
) -> None:
    plant(bench.root, {"S/E/A/old": b"o", "S/E/A/young": b"y"})
    os.utime(bench.root / "S/E/A/old", ns=(10**18, 10**18))
    (bench.root / "S/E/A/1.dcm").unlink()
    bounds = Bounds(max_age_s=86_400.0)
    report = await bench.cycle(Mode.UP, bounds=bounds)

    assert {"uploaded": 1, "bytes": 1} == did(report)
    assert {*TREE, "S/E/A/young"} == set(await server.held())


@pytest.mark.parametrize(("empty", "sent"), [("send", 1), ("skip", 0), ("report", 0)])
async def test_empty_files_go_are_left_or_are_reported(
    empty: str, sent: int, server: Ground, bench: Bench
) -> None:
    plant(bench.root, {"S/E/A/empty": b""})
    await server.put({"S/E/A/there": b""})
    report = await bench.cycle(bounds=Bounds(empty=Empty(empty)))

    assert (sent, sent) == (report.uploaded, report.downloaded)
    told = ["S/E/A/empty", "S/E/A/there"] if empty == "report" else []
    assert told == sorted(one.path for one in report.problem_list)


# ------------------------------------------------------------------------------------- links


async def test_links_that_are_followed_are_sent_as_what_they_lead_to(
    server: Ground, bench: Bench
) -> None:
    (bench.root / "S" / "F").symlink_to("E")
    (bench.root / "S" / "link.txt").symlink_to("note.txt")
    report = await bench.cycle(Mode.UP, follow_links=True)

    linked = {path.replace("S/E", "S/F"): TREE[path] for path in TREE if "/E/" in path}
    assert {"uploaded": 4, "bytes": 10} == did(report)
    assert {**TREE, **linked, "S/link.txt": b"note"} == await server.held()
    assert {} == did(await bench.cycle(Mode.UP, follow_links=True))


# -------------------------------------------------------------------------------------- flags


def test_a_flag_of_zero_is_a_flag_that_was_given() -> None:
    given = leaving.given(settle_s=0.0, transfers=0, exclude=[], delete_up=False, state=None)

    assert {"settle_s": 0.0, "transfers": 0} == given
    assert isinstance(given["settle_s"], float)
    assert type(given["transfers"]) is int


def test_what_was_not_given_overrides_nothing() -> None:
    given = leaving.given(include=["*.dcm"], delete_up=True, mode="up", layout="")

    assert {"include": ["*.dcm"], "delete_up": True, "mode": "up", "layout": ""} == given
