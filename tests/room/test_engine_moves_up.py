"""Cycles in which files and folders have moved here: on the server they are renamed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fwsync.filters import Filters
from fwsync.model import Level, Mode, RelPath
from tests.room.packed import PACKED, SERIES
from tests.room.rooms import TREE, Bench, Ground, X, Y, age, did, grown, in_trash, plant
from tests.room.test_engine_moves import container_of, followed, moved, relabel, rename_file

UP_OR_BOTH = pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
IN_STEP = {"renamed": 0}


def rename(root: Path, *pairs: tuple[str, str]) -> None:
    """Move files or folders, each to where nothing is."""
    for old, new in pairs:
        target = root / new
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(target)


async def ids(server: Ground) -> dict[str, str]:
    return {path: entry.file_id for path, entry in (await server.listed()).items()}


@UP_OR_BOTH
@pytest.mark.parametrize("may_delete", [True, False])
async def test_s69_a_renamed_file_is_renamed_there_and_moves_no_bytes(
    mode: Mode, may_delete: bool, agreed: Bench, server: Ground
) -> None:
    before = await ids(server)
    rename(agreed.root, (X, "s/e/a/first.dcm"))

    report = await agreed.cycle(mode, delete_up=may_delete)

    assert {"renamed": 1} == followed(report)
    assert moved(TREE, X, "s/e/a/first.dcm") == await server.held() == grown(agreed.root)
    assert before[X] == (await ids(server))["s/e/a/first.dcm"]
    assert IN_STEP == followed(await agreed.cycle(mode))
    assert IN_STEP == followed(await agreed.cycle())


@UP_OR_BOTH
@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        ("s", "sub-7", Level.SUBJECT),
        ("s/e", "s/first", Level.SESSION),
        ("s/e/a", "s/e/T1", Level.ACQUISITION),
        ("s/e", "other/e", Level.SESSION),
        ("s/e", "other/first", Level.SESSION),
        ("s/e/a", "s/f/a", Level.ACQUISITION),
        ("s/e/a", "t/f/b", Level.ACQUISITION),
    ],
)
async def test_s70_a_renamed_folder_is_the_same_container_under_another_label(
    mode: Mode, old: str, new: str, level: Level, agreed: Bench, server: Ground
) -> None:
    id_ = await container_of(server, X, level)
    rename(agreed.root, (old, new))
    expected = moved(TREE, f"{old}/", f"{new}/")

    report = await agreed.cycle(mode, delete_up=False)

    assert {"renamed": len(expected.keys() - TREE.keys())} == followed(report)
    assert expected == await server.held() == grown(agreed.root)
    path = moved({X: b""}, f"{old}/", f"{new}/").popitem()[0]
    assert id_ == await container_of(server, path, level)
    assert IN_STEP == followed(await agreed.cycle(mode))
    assert IN_STEP == followed(await agreed.cycle())


@UP_OR_BOTH
async def test_s77_chains_and_swaps_of_files_end_with_the_right_contents(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/a/1": b"one", "s/e/a/2": b"two!", "s/e/a/3": b"three"})
    await agreed.cycle(mode)
    before = await ids(server)
    rename(agreed.root, ("s/e/a/2", "s/e/a/4"), ("s/e/a/1", "s/e/a/2"))
    rename(agreed.root, (X, "tmp"), (Y, X), ("tmp", Y))

    report = await agreed.cycle(mode)

    assert {"renamed": 4} == followed(report)
    assert grown(agreed.root) == await server.held()
    after = await ids(server)
    assert [before["s/e/a/1"], before["s/e/a/2"]] == [after["s/e/a/2"], after["s/e/a/4"]]
    assert [before[X], before[Y]] == [after[Y], after[X]]
    assert IN_STEP == followed(await agreed.cycle())


@UP_OR_BOTH
async def test_swapped_folders_swap_their_labels(mode: Mode, agreed: Bench, server: Ground) -> None:
    first = await container_of(server, X, Level.ACQUISITION)
    second = await container_of(server, "s/e/b/z.nii.gz", Level.ACQUISITION)
    rename(agreed.root, ("s/e/a", "tmp"), ("s/e/b", "s/e/a"), ("tmp", "s/e/b"))

    report = await agreed.cycle(mode)

    assert {"renamed": 3} == followed(report)
    assert grown(agreed.root) == await server.held()
    assert first == await container_of(server, "s/e/b/x.dcm", Level.ACQUISITION)
    assert second == await container_of(server, "s/e/a/z.nii.gz", Level.ACQUISITION)
    assert IN_STEP == followed(await agreed.cycle())


@UP_OR_BOTH
async def test_s80_a_renaming_in_case_only_is_a_relabelling(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, ("s", "S"))

    assert {"renamed": 4} == followed(await agreed.cycle(mode))
    assert moved(TREE, "s/", "S/") == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


@UP_OR_BOTH
async def test_s81_a_file_that_was_renamed_and_edited_is_sent(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    plant(agreed.root, {"s/e/a/first.dcm": b"edited"})

    await agreed.cycle(mode)

    assert grown(agreed.root) == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


async def test_an_edit_there_wins_over_a_move_here(agreed: Bench, server: Ground) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    await server.put({X: b"theirs"})

    await agreed.cycle()

    expected = {**TREE, X: b"theirs", "s/e/a/first.dcm": b"x"}
    assert expected == grown(agreed.root) == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


async def test_what_both_have_relabelled_is_there_once(agreed: Bench, server: Ground) -> None:
    rename(agreed.root, ("s", "mine"))
    await relabel(server, X, Level.SUBJECT, "theirs")

    report = await agreed.cycle()

    assert {"renamed": 4} == followed(report)
    assert moved(TREE, "s/", "theirs/") == grown(agreed.root) == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


async def test_a_push_sends_no_twin_of_what_both_have_relabelled(
    agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, ("s", "mine"))
    await relabel(server, X, Level.SUBJECT, "theirs")

    report = await agreed.cycle(Mode.UP)

    assert 4 == report.skipped
    assert moved(TREE, "s/", "theirs/") == await server.held()
    await agreed.cycle()
    assert moved(TREE, "s/", "theirs/") == grown(agreed.root) == await server.held()


async def test_what_was_deleted_there_is_not_sent_again_for_having_moved_here(
    agreed: Bench, server: Ground
) -> None:
    await server.delete(X)
    await agreed.cycle(Mode.UP)
    rename(agreed.root, (X, "s/e/a/first.dcm"))

    report = await agreed.cycle(Mode.UP)

    assert IN_STEP == followed(report)
    assert {path: TREE[path] for path in TREE.keys() - {X}} == await server.held()
    assert IN_STEP == followed(await agreed.cycle(Mode.UP))


async def test_a_copy_leaves_the_file_where_it_is(agreed: Bench, server: Ground) -> None:
    before = await ids(server)
    shutil.copy2(agreed.root / X, agreed.root / "s/e/a/copy.dcm")

    assert {"uploaded": 1, "bytes": 1} == did(await agreed.cycle())
    assert before[X] == (await ids(server))[X]


async def test_what_was_deleted_here_before_goes_along_with_its_folder(
    agreed: Bench, server: Ground
) -> None:
    (agreed.root / Y).unlink()
    await agreed.cycle(delete_up=False)
    rename(agreed.root, ("s/e/a", "s/e/T1"))

    report = await agreed.cycle(delete_up=False)

    assert {"renamed": 1} == followed(report)
    assert moved(TREE, "s/e/a/", "s/e/T1/") == await server.held()
    assert IN_STEP == followed(await agreed.cycle(delete_up=False))


async def test_a_folder_that_others_have_added_to_is_left_to_them(
    agreed: Bench, server: Ground
) -> None:
    await server.put({"s/e/a/theirs.txt": b"t"})
    rename(agreed.root, ("s/e/a", "s/e/T1"))

    await agreed.cycle()

    expected = {**moved(TREE, "s/e/a/", "s/e/T1/"), "s/e/a/theirs.txt": b"t"}
    assert expected == await server.held() == grown(agreed.root)
    assert IN_STEP == followed(await agreed.cycle())


async def test_a_new_file_in_a_renamed_folder_comes_to_the_same_container(
    agreed: Bench, server: Ground
) -> None:
    id_ = await container_of(server, X, Level.ACQUISITION)
    rename(agreed.root, ("s/e/a", "s/e/T1"))
    plant(agreed.root, {"s/e/T1/new.dcm": b"new"})

    assert {"renamed": 2, "uploaded": 1, "bytes": 3} == followed(await agreed.cycle())
    assert id_ == await container_of(server, "s/e/T1/new.dcm", Level.ACQUISITION)
    assert IN_STEP == followed(await agreed.cycle())


async def test_a_file_moved_to_a_folder_that_is_there_joins_it(
    agreed: Bench, server: Ground
) -> None:
    id_ = await container_of(server, "s/e/b/z.nii.gz", Level.ACQUISITION)
    rename(agreed.root, (X, "s/e/b/x.dcm"), (Y, "s/e/b/y.dcm"))

    assert {"renamed": 2} == followed(await agreed.cycle())
    assert grown(agreed.root) == await server.held()
    assert id_ == await container_of(server, "s/e/b/x.dcm", Level.ACQUISITION)
    assert IN_STEP == followed(await agreed.cycle())
    assert [] == in_trash(agreed.root)
    assert RelPath(X) not in await server.listed()
    age(agreed.root)
    await rename_file(server, "s/e/b/x.dcm", "back.dcm")
    assert {"renamed": 1} == followed(await agreed.cycle())


# ------------------------------------------------- what is new in a folder that moved there


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.BOTH])
async def test_a_new_file_follows_its_folder_that_was_relabelled_there(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    id_ = await container_of(server, X, Level.ACQUISITION)
    plant(agreed.root, {"s/e/a/new.dcm": b"new", "s/e/c/more.dcm": b"more"})
    age(agreed.root)
    await relabel(server, X, Level.SUBJECT, "sub-7")

    await agreed.cycle(mode)
    await agreed.cycle(Mode.UP)

    added = {"sub-7/e/a/new.dcm": b"new", "sub-7/e/c/more.dcm": b"more"}
    assert moved(TREE, "s/", "sub-7/") | added == await server.held() == grown(agreed.root)
    assert id_ == await container_of(server, "sub-7/e/a/new.dcm", Level.ACQUISITION)
    assert not (agreed.root / "s").exists()
    assert IN_STEP == followed(await agreed.cycle())


async def test_a_new_file_follows_an_acquisition_alone(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {"s/e/a/new.dcm": b"new"})
    await relabel(server, X, Level.ACQUISITION, "T1")

    report = await agreed.cycle()

    assert {"renamed": 3, "uploaded": 1, "bytes": 3} == followed(report)
    expected = {**moved(TREE, "s/e/a/", "s/e/T1/"), "s/e/T1/new.dcm": b"new"}
    assert expected == await server.held() == grown(agreed.root)
    assert IN_STEP == followed(await agreed.cycle())


async def test_a_new_file_whose_place_is_taken_there_stays(agreed: Bench, server: Ground) -> None:
    plant(agreed.root, {"s/e/a/new.dcm": b"mine"})
    await server.put({"s/e/a/new.dcm": b"theirs"})
    await relabel(server, X, Level.ACQUISITION, "T1")

    report = await agreed.cycle()

    assert 1 == report.skipped
    assert b"mine" == (agreed.root / "s/e/a/new.dcm").read_bytes()
    assert b"theirs" == (agreed.root / "s/e/T1/new.dcm").read_bytes()


# ----------------------------------------------------------------------------------- packs


@UP_OR_BOTH
async def test_the_folder_of_a_pack_is_renamed_and_so_is_the_pack(
    mode: Mode, bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, SERIES))
    await bench.cycle(mode, placement=PACKED)
    (old,) = (await server.listed()).values()
    rename(bench.root, ("s1/ses/T1", "s1/ses/T2"))

    report = await bench.cycle(mode, placement=PACKED, delete_up=False)

    assert {"renamed": 1} == followed(report)
    (new,) = (await server.listed()).values()
    assert (old.file_id, old.container.id) == (new.file_id, new.container.id)
    assert "s1/ses/T2/T2.dicom.zip" == new.path
    assert IN_STEP == followed(await bench.cycle(mode, placement=PACKED))
    assert IN_STEP == followed(await bench.cycle(placement=PACKED))


@UP_OR_BOTH
async def test_packs_of_a_renamed_subject_go_along(
    mode: Mode, bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, SERIES))
    await bench.cycle(mode, placement=PACKED)
    rename(bench.root, ("s1", "sub-1"))

    report = await bench.cycle(mode, placement=PACKED, delete_up=False)

    assert {"renamed": 1} == followed(report)
    assert ["sub-1/ses/T1/T1.dicom.zip"] == list(await server.listed())
    assert IN_STEP == followed(await bench.cycle(mode, placement=PACKED))


async def test_a_pack_that_was_renamed_and_has_a_new_member_is_sent(
    bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, SERIES))
    await bench.cycle(placement=PACKED)
    rename(bench.root, ("s1/ses/T1", "s1/ses/T2"))
    age(plant(bench.root, {"s1/ses/T2/late.dcm": b"late"}))

    await bench.cycle(placement=PACKED)

    assert ["s1/ses/T2/T2.dicom.zip"] == list(await server.listed())
    assert {} == did(await bench.cycle(placement=PACKED))


# ------------------------------------------------------------------------- out of the scope


@UP_OR_BOTH
async def test_s83_a_file_renamed_to_an_excluded_name_is_not_deleted_there(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    filters = Filters(exclude=["*.bak"])
    big = "s/e/b/z.nii.gz"
    rename(agreed.root, (big, f"{big}.bak"))

    for _ in range(2):
        report = await agreed.cycle(mode, ignore=filters)

        assert {"renamed": 0, "skipped": 1} == followed(report)
        assert TREE == await server.held()
        assert "takes no part" in report.difference_list[0].message
    (agreed.root / f"{big}.bak").unlink()
    assert {"renamed": 0, "deleted": 1} == followed(await agreed.cycle(mode, ignore=filters))
