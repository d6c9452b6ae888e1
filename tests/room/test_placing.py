"""Layouts and packs in a cycle: what is on disk, and what the server holds of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from fwsync.filters import Filters
from fwsync.layout import Layout
from fwsync.mapping.mirror import Mirror
from fwsync.mapping.rules import Rule, Rules
from fwsync.mapping.settings import PlaceSettings, mapping_of
from fwsync.model import LocalEntry, Mode, RelPath
from fwsync.placing import Placement, Placer
from fwsync.scanner import hash_file
from fwsync.state import State
from fwsync.threads import in_thread
from tests.room.packed import PACKED, SERIES, ZIP
from tests.room.rooms import (
    LAYOUT,
    Bench,
    Shelf,
    age,
    did,
    grown,
    in_trash,
    local,
    plant,
    workbench,
)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        yield made


def _count(state: State, table: str) -> int:
    return int(state._db.ask(f"SELECT count(*) FROM {table}")[0][0])


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def by_layout(template: str) -> Placement:
    settings = PlaceSettings(layout=template)
    return Placement(mapping_of(settings, group="lab", project="aging"))


def planted(bench: Bench, tree: dict[str, bytes]) -> None:
    plant(bench.root, tree)
    age(bench.root)


async def test_files_that_a_rule_packs_are_one_file_on_the_server(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES | {"s1/ses/T1/notes.txt": b"notes"})

    first = await bench.cycle(Mode.UP, placement=PACKED)
    again = await bench.cycle(Mode.UP, placement=PACKED)

    assert {"uploaded": 2, "bytes": first.bytes} == did(first)
    assert {} == did(again)
    assert {ZIP, "s1/ses/T1/notes.txt"} == set(shelf.content)
    assert {Path(path).name: content for path, content in SERIES.items()} == members(
        shelf.content[ZIP]
    )


async def test_a_late_slice_sends_the_pack_again(bench: Bench, shelf: Shelf) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    planted(bench, {"s1/ses/T1/005.dcm": b"late"})

    report = await bench.cycle(Mode.UP, placement=PACKED)

    assert 1 == report.uploaded
    assert 2 == shelf.listing[ZIP].version
    assert b"late" == members(shelf.content[ZIP])["005.dcm"]
    assert {} == did(await bench.cycle(Mode.UP, placement=PACKED))
    assert 1 == await bench.state.call(_count, "pack_digest"), "the old pack's is of no more use"


async def test_a_touched_member_sends_nothing(bench: Bench, shelf: Shelf) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    (bench.root / "s1/ses/T1/000.dcm").touch()

    assert {} == did(await bench.cycle(Mode.UP, placement=PACKED))
    assert 1 == shelf.tries("put", ZIP)


async def test_a_pack_that_the_server_has_already_is_adopted(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        planted(other, SERIES)

        report = await other.cycle(Mode.UP, placement=PACKED)

        assert {"adopted": 1} == did(report)
        assert {} == did(await other.cycle(Mode.UP, placement=PACKED))
    assert 1 == shelf.tries("put", ZIP)


async def test_another_pack_of_that_name_is_a_conflict(bench: Bench, shelf: Shelf) -> None:
    shelf.store(ZIP, b"somebody else's zip")
    planted(bench, SERIES)

    report = await bench.cycle(Mode.UP, placement=PACKED)

    assert {"conflicts": 1} == did(report)
    assert b"somebody else's zip" == shelf.content[ZIP]


async def test_a_member_that_cannot_be_read_leaves_the_pack_as_it_is(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    (bench.root / "s1/ses/T1/004.dcm").unlink()
    (bench.root / "s1/ses/T1/004.dcm").symlink_to("003.dcm")  # what is there is not known

    report = await bench.cycle(Mode.UP, placement=PACKED)

    assert 0 == report.uploaded
    assert 1 == shelf.tries("put", ZIP)


async def test_a_pack_that_is_gone_here_stays_there_unless_deletions_go_up(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES | {"s1/ses/T2/a.txt": b"a"})
    await bench.cycle(Mode.UP, placement=PACKED)
    for path in SERIES:
        (bench.root / path).unlink()

    kept = await bench.cycle(Mode.UP, placement=PACKED, delete_up=False)
    gone = await bench.cycle(Mode.UP, placement=PACKED, delete_up=True)

    assert 0 == kept.deleted
    assert 1 == gone.deleted
    assert ZIP not in shelf.content


async def test_a_template_puts_files_where_their_labels_say(bench: Bench, shelf: Shelf) -> None:
    placement = by_layout("export/sub-{subject}/{session}/{acquisition}/{file}")
    planted(bench, {"export/sub-07/mr/T1/a.nii": b"a", "elsewhere/b.nii": b"b"})

    report = await bench.cycle(Mode.UP, placement=placement)

    assert 1 == report.uploaded
    assert {"07/mr/T1/a.nii"} == set(shelf.content)
    assert ["elsewhere/b.nii"] == [one.path for one in report.problem_list]
    assert 0 == (await bench.cycle(Mode.UP, placement=placement)).uploaded


@pytest.mark.parametrize(
    ("zone", "told"), [("", None), ("Europe/Zurich", "2024-02-03T00:00:00+01:00")]
)
async def test_a_time_of_a_folder_is_told_with_a_zone_or_not_at_all(
    bench: Bench, zone: str, told: str | None
) -> None:
    settings = PlaceSettings(layout="{subject}/{session.timestamp}_{session}/{acquisition}/{file}")
    mapping = mapping_of(settings, group="lab", project="aging")
    planted(bench, {"s/2024-02-03_x/t/a": b"a"})
    placer = Placer(bench.state, Placement(mapping, zone=zone), LAYOUT)
    [entry] = [local(bench.root, "s/2024-02-03_x/t/a")]
    await bench.state.call(State.take_scan, [entry])
    await placer.place(())
    [placed] = await bench.state.call(lambda state: list(state.local_entries()))

    said = await placer.describe(placed)

    assert told == said.fields.get("session.timestamp")


async def test_two_files_for_one_place_are_both_left_alone(bench: Bench, shelf: Shelf) -> None:
    placement = by_layout("**/{subject}/{session}/{acquisition}/{file}")
    planted(bench, {"one/s/t/u/a": b"1", "two/s/t/u/a": b"2", "two/s/t/u/b": b"3"})

    report = await bench.cycle(Mode.UP, placement=placement)

    assert {"s/t/u/b"} == set(shelf.content)
    assert ["s/t/u/a"] == [one.path for one in report.problem_list]


async def test_a_file_that_is_saved_in_a_folder_that_is_not_quiet_is_not_gone(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, {"s/t/u/a": b"a", "s/t/v/b": b"b"})  # at the same path here and there
    await bench.cycle(Mode.UP, placement=PACKED)
    (bench.root / "s/t/u/a").unlink()

    def settle(_entries: Iterable[LocalEntry]) -> set[RelPath]:
        return {RelPath("s/t/u")}

    report = await bench.cycle(Mode.UP, placement=PACKED, settle=settle)

    assert {} == did(report)
    assert {"s/t/u/a", "s/t/v/b"} == set(shelf.content)


async def test_a_folder_that_was_filtered_out_and_cannot_be_read_is_not_gone(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, {"s/t/u/a": b"a", "s/t/v/b": b"b"})
    await bench.cycle(Mode.UP, placement=PACKED)
    await bench.cycle(Mode.UP, placement=PACKED, ignore=Filters(["u/"]))
    (bench.root / "s/t/u").rename(bench.root / "away")
    (bench.root / "s/t/u").symlink_to("../../away")

    report = await bench.cycle(Mode.UP, placement=PACKED, ignore=Filters(["/away"]))

    assert 0 == report.deleted
    assert {"s/t/u/a", "s/t/v/b"} == set(shelf.content)
    assert ["s/t/u"] == [one.path for one in report.problem_list]


async def test_a_pack_that_loses_a_file_to_a_filter_stays_as_it_is_and_it_is_said(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)

    report = await bench.cycle(Mode.UP, placement=PACKED, ignore=Filters(["000.dcm"]))

    assert {} == did(report)
    assert 1 == shelf.listing[ZIP].version
    assert any(ZIP in text and "filtered out" in text for text in bench.notes.told)


async def test_what_is_new_in_such_a_pack_is_a_problem_and_not_a_mere_note(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    planted(bench, {"s1/ses/T1/005.dcm": b"late"})
    without = Filters(["000.dcm"])

    report = await bench.cycle(Mode.UP, placement=PACKED, ignore=without)
    down = await bench.cycle(Mode.DOWN, placement=PACKED, ignore=without)

    [problem] = report.problem_list
    assert (ZIP, 1, 0) == (problem.path, shelf.listing[ZIP].version, len(down.problem_list))
    assert "1 new file of it is not sent: s1/ses/T1/000.dcm in it is filtered out" in (
        problem.message
    )
    # And as the hint says:
    (bench.root / "s1/ses/T1/000.dcm").rename(bench.root.parent / "away")
    assert 1 == (await bench.cycle(Mode.UP, placement=PACKED)).uploaded


async def test_what_came_down_and_is_deleted_at_once_is_noticed(bench: Bench, shelf: Shelf) -> None:
    shelf.store(RelPath("07/mr/T1/a.nii"), b"a")
    shelf.store(RelPath("07/mr/T1/b.nii"), b"b")
    placement = by_layout("sub-{subject}/ses-{session}/{acquisition}/{file}")
    with bench.engine(placement=placement) as engine:
        await engine.cycle()
        quiet = await engine.anything_new()
        (bench.root / "sub-07/ses-mr/T1/a.nii").unlink()

        assert not quiet
        assert await engine.anything_new()


def test_the_plain_layout_and_the_mirror_agree() -> None:
    mirror = Rules([Rule("the layout", Mirror(LAYOUT))], group="lab", project="aging")
    for path in ("a", "s/t/u/v", "s/%empty/x"):
        placed = mirror.place(RelPath(path))

        assert Layout.parse(group="lab", project="aging").address_of(RelPath(path)) == (
            placed.address if hasattr(placed, "address") else placed
        )


# ------------------------------------------------------------------------------- both ways


async def test_a_pack_comes_down_unpacked_and_stays_in_step(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        first = await other.cycle(placement=PACKED)

        assert 1 == first.downloaded
        assert SERIES == grown(other.root)
        assert {} == did(await other.cycle(placement=PACKED))

        planted(other, {"s1/ses/T1/005.dcm": b"late"})
        assert 1 == (await other.cycle(placement=PACKED)).uploaded
    there = await bench.cycle(placement=PACKED)

    assert 1 == there.downloaded
    assert SERIES | {"s1/ses/T1/005.dcm": b"late"} == grown(bench.root)
    assert {} == did(await bench.cycle(placement=PACKED))


async def test_a_member_that_the_pack_has_lost_goes_to_the_trash(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        await other.cycle(placement=PACKED)
        (other.root / "s1/ses/T1/000.dcm").unlink()
        await other.cycle(placement=PACKED)
    await bench.cycle(placement=PACKED)

    assert "s1/ses/T1/000.dcm" not in grown(bench.root)
    assert [SERIES["s1/ses/T1/000.dcm"]] == in_trash(bench.root)


async def test_a_zip_of_that_name_with_other_files_stays_a_zip(bench: Bench, shelf: Shelf) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("readme.txt", b"no slice")
    shelf.store(ZIP, made.getvalue())

    first = await bench.cycle(placement=PACKED)

    assert 1 == first.downloaded
    assert {ZIP: made.getvalue()} == grown(bench.root)
    assert {} == did(await bench.cycle(placement=PACKED))


async def test_a_pack_that_changed_on_both_sides_is_left_alone(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    planted(bench, SERIES)
    await bench.cycle(placement=PACKED)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        await other.cycle(placement=PACKED)
        planted(other, {"s1/ses/T1/there.dcm": b"there"})
        await other.cycle(placement=PACKED)
    planted(bench, {"s1/ses/T1/here.dcm": b"here"})

    report = await bench.cycle(placement=PACKED)

    assert {"conflicts": 1} == did(report)
    assert SERIES | {"s1/ses/T1/here.dcm": b"here"} == grown(bench.root)
    assert b"there" == members(shelf.content[ZIP])["there.dcm"]


async def test_a_pack_deleted_on_the_server_goes_to_the_trash_member_by_member(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES | {"s1/ses/T2/a.txt": b"a"})
    await bench.cycle(placement=PACKED)
    del shelf.listing[ZIP], shelf.content[ZIP]

    report = await bench.cycle(placement=PACKED, delete_down=True)

    assert 1 == report.deleted
    assert {"s1/ses/T2/a.txt": b"a"} == grown(bench.root)
    assert sorted(SERIES.values()) == in_trash(bench.root)
    assert {} == did(await bench.cycle(placement=PACKED))


async def test_by_a_template_files_come_down_where_they_would_have_been(
    bench: Bench, shelf: Shelf
) -> None:
    placement = by_layout("sub-{subject}/ses-{session}/{acquisition}/{file}")
    shelf.store(RelPath("07/mr/T1/a.nii"), b"a")

    await bench.cycle(placement=placement)

    assert {"sub-07/ses-mr/T1/a.nii": b"a"} == grown(bench.root)
    assert {} == did(await bench.cycle(placement=placement))


async def test_a_slice_that_is_gone_here_is_taken_out_there_only_where_deletions_go_up(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, SERIES)
    await bench.cycle(Mode.UP, placement=PACKED)
    (bench.root / "s1/ses/T1/004.dcm").unlink()

    held = await bench.cycle(Mode.UP, placement=PACKED, delete_up=False)
    sent = await bench.cycle(Mode.UP, placement=PACKED, delete_up=True)

    assert {"skipped": 1} == did(held)
    assert 1 == sent.uploaded
    assert 4 == len(members(shelf.content[ZIP]))


async def test_equal_files_for_one_place_are_one(bench: Bench, shelf: Shelf) -> None:
    async def hashed(entry: LocalEntry) -> tuple[LocalEntry, int]:
        return await in_thread(hash_file, bench.root, entry, want_digest=False)

    mapping = by_layout("**/{subject}/{session}/{acquisition}/{file}").mapping
    placement = Placement(mapping, hashed=hashed)
    planted(bench, {"one/s/t/u/a": b"same", "two/s/t/u/a": b"same", "one/s/t/u/b": b"b1"})
    planted(bench, {"two/s/t/u/b": b"b2"})

    report = await bench.cycle(Mode.UP, placement=placement)

    assert {"s/t/u/a": b"same"} == shelf.content
    assert ["s/t/u/b"] == [one.path for one in report.problem_list]
    assert 0 == (await bench.cycle(Mode.UP, placement=placement)).uploaded
