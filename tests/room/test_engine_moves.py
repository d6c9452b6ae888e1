"""Cycles in which the server has moved or relabelled what holds files, or the files themselves."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fwsync.model import Level, Mode, RelPath, Report, Unknown
from fwsync.plan import DeleteLimits
from tests.room.packed import PACKED, SERIES, ZIP
from tests.room.rooms import (
    TREE,
    Bench,
    Ground,
    Shelf,
    X,
    Y,
    age,
    did,
    grown,
    in_trash,
    plant,
)

DOWN_OR_BOTH = pytest.mark.parametrize("mode", [Mode.DOWN, Mode.BOTH])


async def container_of(server: Ground, path: str, level: Level) -> str:
    """The id of the container of that level that holds a file."""
    entry = (await server.listed())[path]
    if entry.container.level is level:
        return entry.container.id
    found = await server.api.json("GET", (f"{entry.container.level}s", entry.container.id))
    assert isinstance(found, dict)
    return str(found["parents"][level.value])


async def relabel(server: Ground, path: str, level: Level, label: str) -> None:
    """Give the container of that level that holds a file another label."""
    id_ = await container_of(server, path, level)
    await server.api.json("PUT", (f"{level}s", id_), body={"label": label})


async def rename_file(server: Ground, path: str, name: str) -> None:
    entry = (await server.listed())[path]
    where = {"type": entry.container.level.value, "id": entry.container.id}
    await server.api.json(
        "POST",
        ("files", entry.file_id, "move"),
        body={"container_reference": where, "name": name},
    )


def moved(tree: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {
        new + path.removeprefix(old) if path.startswith(old) else path: content
        for path, content in tree.items()
    }


def followed(report: Report) -> dict[str, object]:
    return {"renamed": report.renamed, **did(report)}


# ---------------------------------------------------------------------------- what only moved


@DOWN_OR_BOTH
@pytest.mark.parametrize("may_delete", [True, False])
async def test_s71_a_relabelled_container_is_a_rename_here_and_moves_no_bytes(
    mode: Mode, may_delete: bool, agreed: Bench, server: Ground
) -> None:
    inodes = {path: (agreed.root / path).stat().st_ino for path in (X, Y)}
    await relabel(server, X, Level.SUBJECT, "sub-7")
    expected = moved(TREE, "s/", "sub-7/")

    report = await agreed.cycle(mode, delete_down=may_delete)

    assert {"renamed": 4} == followed(report)
    assert expected == grown(agreed.root) == await server.held()
    for path, inode in inodes.items():
        assert inode == (agreed.root / f"sub-7{path[1:]}").stat().st_ino
    assert not (agreed.root / "s").exists()
    assert [] == in_trash(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle(mode))
    assert {"renamed": 0} == followed(await agreed.cycle())


@DOWN_OR_BOTH
async def test_s72_a_session_that_moved_to_another_subject_moves_here(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await server.put({"other/keep.txt": b"k"})
    await agreed.cycle(mode)
    session = await container_of(server, X, Level.SESSION)
    subject = await container_of(server, "other/keep.txt", Level.SUBJECT)
    await server.api.json("PUT", ("sessions", session), body={"subject": {"_id": subject}})

    report = await agreed.cycle(mode)

    assert {"renamed": 3} == followed(report)
    assert b"x" == (agreed.root / "other/e/a/x.dcm").read_bytes()
    assert (agreed.root / "s/note.txt").exists()
    assert {"renamed": 0} == followed(await agreed.cycle())


@DOWN_OR_BOTH
async def test_a_file_renamed_on_the_server_is_renamed_here(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await rename_file(server, X, "first.dcm")

    assert {"renamed": 1} == followed(await agreed.cycle(mode))
    assert moved(TREE, X, "s/e/a/first.dcm") == grown(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


@DOWN_OR_BOTH
async def test_s80_a_relabelling_in_case_only_is_a_rename_and_never_a_deletion(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "S")

    assert {"renamed": 4} == followed(await agreed.cycle(mode))
    assert moved(TREE, "s/", "S/") == grown(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


async def test_a_push_leaves_what_moved_on_the_server_alone(agreed: Bench, server: Ground) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")

    assert {"renamed": 0} == followed(await agreed.cycle(Mode.UP))
    assert TREE == grown(agreed.root)


async def test_an_edit_in_what_moved_on_the_server_goes_along_and_up(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")

    for renamed, sent in ((4, 1), (0, 0)):
        report = await agreed.cycle(Mode.BOTH)

        assert (renamed, sent) == (report.renamed, report.uploaded)
        assert ([], []) == (report.difference_list, report.problem_list)
    expected = moved(TREE | {X: b"mine"}, "s/", "sub-7/")
    assert expected == await server.held() == grown(agreed.root)


@pytest.mark.parametrize("mode", [Mode.UP, Mode.DOWN])
async def test_an_edit_in_what_moved_on_the_server_makes_no_second_container(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")

    for _ in range(2):
        report = await agreed.cycle(mode)

        assert (1, 0) == (report.skipped, report.uploaded)
        assert [X] == [one.path for one in report.difference_list]
        assert "'sub-7/e/a/x.dcm' on the server now" in report.difference_list[0].message
    assert moved(TREE, "s/", "sub-7/") == await server.held()


async def test_a_new_file_in_what_moved_on_the_server_makes_no_second_container(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/a/mine.txt": b"mine", "s/e/new/mine.txt": b"mine, too"})
    acquisition = await container_of(server, X, Level.ACQUISITION)
    await server.api.json("PUT", ("acquisitions", acquisition), body={"label": "a7"})

    for sent in (1, 0):
        report = await agreed.cycle(Mode.UP)

        assert (1, sent) == (report.skipped, report.uploaded)
        assert ["s/e/a/mine.txt"] == [one.path for one in report.difference_list]
        assert "its folder is 's/e/a7' on the server now" in report.difference_list[0].message
    held = moved(TREE, "s/e/a/", "s/e/a7/") | {"s/e/new/mine.txt": b"mine, too"}
    assert held == await server.held()


async def test_a_new_folder_in_what_moved_on_the_server_makes_no_second_container(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/new/mine.txt": b"mine", "s/mine.txt": b"mine, too"})
    await relabel(server, X, Level.SUBJECT, "sub-7")

    for _ in range(2):
        report = await agreed.cycle(Mode.UP)

        assert (2, 0) == (report.skipped, report.uploaded)
        told = {one.path: one.message for one in report.difference_list}
        assert "its folder is 'sub-7/e/new' on the server now" in told["s/e/new/mine.txt"]
        assert "its folder is 'sub-7' on the server now" in told["s/mine.txt"]
    assert moved(TREE, "s/", "sub-7/") == await server.held()


async def test_a_new_folder_goes_to_where_only_a_part_has_moved_from(
    agreed: Bench, server: Ground
) -> None:
    there = {"s/other/a/1.txt": b"stays"}
    await server.put(there)
    plant(agreed.root, {"s/e/new/mine.txt": b"mine", "s/new/a/mine.txt": b"mine, too"})
    await relabel(server, X, Level.SESSION, "e7")

    report = await agreed.cycle(Mode.UP)

    assert (1, 1) == (report.skipped, report.uploaded)
    assert ["s/e/new/mine.txt"] == [one.path for one in report.difference_list]
    held = moved(TREE, "s/e/", "s/e7/") | there | {"s/new/a/mine.txt": b"mine, too"}
    assert held == await server.held()


async def test_an_edit_that_was_moved_along_is_sent_to_where_its_file_is(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")
    await agreed.cycle(Mode.UP)
    (agreed.root / "s").rename(agreed.root / "sub-7")

    report = await agreed.cycle(Mode.UP)

    assert (1, 0, []) == (report.uploaded, report.conflicts, report.problem_list)
    assert moved(TREE, "s/", "sub-7/") | {"sub-7/e/a/x.dcm": b"mine"} == await server.held()
    assert 0 == (await agreed.cycle(Mode.UP)).uploaded


@DOWN_OR_BOTH
async def test_s70_renames_do_not_count_against_the_cap(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")

    report = await agreed.cycle(mode, limits=DeleteLimits(files=1, percent=1, percent_from=1))

    assert {"renamed": 4} == followed(report)


@DOWN_OR_BOTH
async def test_s77_labels_that_change_places_end_right(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await server.put({"s/e/b/x.dcm": b"the other x"})
    await agreed.cycle(mode)
    before = grown(agreed.root)
    a, b = X, "s/e/b/x.dcm"
    await relabel(server, a, Level.ACQUISITION, "c")
    await relabel(server, b, Level.ACQUISITION, "a")
    await relabel(server, "s/e/c/x.dcm", Level.ACQUISITION, "b")

    report = await agreed.cycle(mode)

    now = {
        path.replace("/a/", "/?/").replace("/b/", "/a/").replace("/?/", "/b/"): content
        for path, content in before.items()
    }
    assert {"renamed": 4} == followed(report)
    assert now == grown(agreed.root) == await server.held()
    assert {"renamed": 0} == followed(await agreed.cycle())


@DOWN_OR_BOTH
async def test_s77_a_chain_of_labels_ends_right(mode: Mode, agreed: Bench, server: Ground) -> None:
    await server.put({"s/e/b/x.dcm": b"the other x"})
    await agreed.cycle(mode)
    before = grown(agreed.root)
    await relabel(server, "s/e/b/x.dcm", Level.ACQUISITION, "c")
    await relabel(server, X, Level.ACQUISITION, "b")

    report = await agreed.cycle(mode)

    assert {"renamed": 4} == followed(report)
    assert moved(moved(before, "s/e/b/", "s/e/c/"), "s/e/a/", "s/e/b/") == grown(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


# ------------------------------------------------------------------------ moved, and something else


@DOWN_OR_BOTH
async def test_a_file_that_moved_and_changed_is_renamed_and_then_fetched(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")
    await server.put({"sub-7/e/a/x.dcm": b"theirs"})

    report = await agreed.cycle(mode)

    assert {"renamed": 4, "downloaded": 1, "bytes": 6} == followed(report)
    assert moved(TREE, "s/", "sub-7/") | {"sub-7/e/a/x.dcm": b"theirs"} == grown(agreed.root)
    assert [b"x"] == in_trash(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


async def test_a_pull_keeps_and_reports_a_local_edit_in_a_moved_folder(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")

    for renamed in (3, 0):
        report = await agreed.cycle(Mode.DOWN)

        assert {"renamed": renamed, "skipped": 1} == followed(report)
        assert [X] == [one.path for one in report.difference_list]
        assert "sub-7/e/a/x.dcm" in report.difference_list[0].message
        assert b"mine" == (agreed.root / X).read_bytes()
    assert moved(TREE, "s/", "sub-7/") == await server.held()


async def test_an_edit_that_is_moved_after_its_folder_is_an_edit_there(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {X: b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")
    await agreed.cycle(Mode.DOWN)
    (agreed.root / X).rename(agreed.root / "sub-7/e/a/x.dcm")

    down = await agreed.cycle(Mode.DOWN)
    report = await agreed.cycle()

    assert {"renamed": 0, "skipped": 1} == followed(down)
    assert {"renamed": 0, "uploaded": 1, "bytes": 4} == followed(report)
    assert moved(TREE, "s/", "sub-7/") | {"sub-7/e/a/x.dcm": b"mine"} == await server.held()
    assert {"renamed": 0} == followed(await agreed.cycle())


async def test_a_folder_that_was_renamed_alike_on_both_sides_is_adopted(
    agreed: Bench, server: Ground
) -> None:
    (agreed.root / "s").rename(agreed.root / "sub-7")
    await relabel(server, X, Level.SUBJECT, "sub-7")

    report = await agreed.cycle()

    assert {"renamed": 0, "adopted": 4} == followed(report)
    assert moved(TREE, "s/", "sub-7/") == grown(agreed.root) == await server.held()
    assert {"renamed": 0} == followed(await agreed.cycle())


async def test_what_was_deleted_here_comes_again_where_it_is_now(
    agreed: Bench, server: Ground
) -> None:
    (agreed.root / X).unlink()
    await relabel(server, X, Level.SUBJECT, "sub-7")

    report = await agreed.cycle(Mode.DOWN)

    assert {"renamed": 3, "downloaded": 1, "bytes": 1} == followed(report)
    assert moved(TREE, "s/", "sub-7/") == grown(agreed.root)


async def test_a_deletion_that_is_held_follows_its_file(agreed: Bench, server: Ground) -> None:
    (agreed.root / X).unlink()
    await agreed.cycle(delete_up=False)
    await relabel(server, X, Level.SUBJECT, "sub-7")

    assert {"renamed": 3, "adopted": 1} == followed(await agreed.cycle(delete_up=False))
    assert not (agreed.root / "sub-7/e/a/x.dcm").exists()
    assert {"renamed": 0, "deleted": 1} == followed(await agreed.cycle())
    assert "sub-7/e/a/x.dcm" not in await server.held()


@DOWN_OR_BOTH
async def test_a_new_file_in_the_place_of_one_that_moved_is_fetched_beside_it(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await rename_file(server, X, "first.dcm")
    await server.put({X: b"another"})

    report = await agreed.cycle(mode)

    assert {"renamed": 1, "downloaded": 1, "bytes": 7} == followed(report)
    assert moved(TREE, X, "s/e/a/first.dcm") | {X: b"another"} == grown(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


@DOWN_OR_BOTH
async def test_a_file_that_took_the_name_of_a_deleted_one_replaces_it_and_nothing_is_lost(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await server.delete(Y)
    await rename_file(server, X, "y.dcm")

    report = await agreed.cycle(mode)

    assert {"renamed": 1} == followed(report)
    assert {path: TREE[path] for path in TREE if path != X} | {Y: b"x"} == grown(agreed.root)
    assert [b"yy"] == in_trash(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


async def test_somebody_elses_file_at_the_new_place_is_never_touched(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/a/first.dcm": b"mine, and new"})
    await rename_file(server, X, "first.dcm")

    report = await agreed.cycle(Mode.DOWN, delete_down=False)

    assert (0, 1) == (report.renamed, report.conflicts)
    assert b"mine, and new" in grown(agreed.root).values()
    assert b"x" == (agreed.root / X).read_bytes()


async def test_a_new_file_of_the_users_in_a_moved_folder_goes_along(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/a/notes.txt": b"mine"})
    await relabel(server, X, Level.SUBJECT, "sub-7")

    assert {"renamed": 5} == followed(await agreed.cycle(Mode.DOWN))
    assert b"mine" == (agreed.root / "sub-7/e/a/notes.txt").read_bytes()
    assert not (agreed.root / "s").exists()


async def test_a_file_that_appears_at_the_new_place_meanwhile_stays(
    agreed: Bench, server: Ground
) -> None:
    await rename_file(server, X, "first.dcm")
    with agreed.engine(Mode.DOWN) as engine:
        view = await engine.look()
        plant(agreed.root, {"s/e/a/first.dcm": b"just now"})
        report = await engine.carry_out(view)

    assert {"renamed": 0, "problems": [
        "s/e/a/first.dcm: changed here since the plan was made"
    ]} == followed(report)  # fmt: skip
    assert b"just now" == (agreed.root / "s/e/a/first.dcm").read_bytes()
    assert b"x" == (agreed.root / X).read_bytes()


async def test_a_file_that_changes_meanwhile_is_not_renamed(agreed: Bench, server: Ground) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")
    with agreed.engine(Mode.DOWN) as engine:
        view = await engine.look()
        plant(agreed.root, {X: b"just now"})
        report = await engine.carry_out(view)

    assert {"renamed": 3, "problems": [
        "sub-7/e/a/x.dcm: s/e/a/x.dcm: changed here since the plan was made"
    ]} == followed(report)  # fmt: skip
    assert b"just now" == (agreed.root / X).read_bytes()


# ------------------------------------------------------------------------------------ kills


async def test_a_rename_that_was_not_recorded_is_adopted_by_the_next_run(
    agreed: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")
    (agreed.root / "sub-7/e/a").mkdir(parents=True)
    (agreed.root / X).rename(agreed.root / "sub-7/e/a/x.dcm")

    report = await agreed.cycle(Mode.DOWN)

    assert {"renamed": 3, "adopted": 1} == followed(report)
    assert moved(TREE, "s/", "sub-7/") == grown(agreed.root)


async def test_a_rename_with_both_names_still_there_is_finished(
    agreed: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")
    (agreed.root / "sub-7/e/a").mkdir(parents=True)
    (agreed.root / "sub-7/e/a/x.dcm").hardlink_to(agreed.root / X)

    report = await agreed.cycle(Mode.DOWN)

    assert {"renamed": 4} == followed(report)
    assert moved(TREE, "s/", "sub-7/") == grown(agreed.root)


@DOWN_OR_BOTH
async def test_f12_a_rename_whose_place_was_made_free_and_no_more_is_finished(
    mode: Mode, agreed: Bench, server: Ground
) -> None:
    await server.delete(Y)
    await rename_file(server, X, "y.dcm")
    aside = agreed.root / ".fwsync/trash/20300101T120000Z" / Y
    aside.parent.mkdir(parents=True)
    (agreed.root / Y).rename(aside)

    report = await agreed.cycle(mode)

    expected = {path: TREE[path] for path in TREE if path != X} | {Y: b"x"}
    assert {"renamed": 1} == followed(report)
    assert expected == grown(agreed.root) == await server.held()
    assert [b"yy"] == in_trash(agreed.root)
    assert {"renamed": 0} == followed(await agreed.cycle())


@pytest.mark.parametrize("moves", [1, 2])
async def test_half_of_a_change_of_places_loses_nothing(
    moves: int, shelf: Shelf, by_shelf: Bench
) -> None:
    await by_shelf.cycle(Mode.DOWN)
    change_places(shelf, X, Y)
    aside = by_shelf.root / ".fwsync/trash/then" / X
    aside.parent.mkdir(parents=True)
    (by_shelf.root / X).rename(aside)
    if moves == 2:
        (by_shelf.root / Y).rename(by_shelf.root / X)

    await by_shelf.cycle(Mode.BOTH)

    assert dict(TREE) | {X: TREE[Y], Y: TREE[X]} == grown(by_shelf.root) == shelf.content
    assert {"renamed": 0} == followed(await by_shelf.cycle())


def change_places(shelf: Shelf, one: str, other: str) -> None:
    shelf.permute({one: other, other: one})


# --------------------------------------------------------------------------- what is not known


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.BOTH])
async def test_a_move_in_or_out_of_what_was_not_seen_is_left(
    mode: Mode, shelf: Shelf, by_shelf: Bench
) -> None:
    await by_shelf.cycle(Mode.DOWN)
    shelf.permute({X: "t/e/a/x.dcm"})
    for scope in ("s", "t", X):
        shelf.unknown = [Unknown(RelPath(scope), "403")]

        report = await by_shelf.cycle(mode)

        assert (0, 0, 0, 0) == (
            report.renamed, report.deleted, report.downloaded, report.uploaded
        )  # fmt: skip
        assert TREE == grown(by_shelf.root)


async def test_a_pack_of_which_a_member_changes_after_the_plan_is_left_and_fetched_anew(
    bench: Bench, server: Ground
) -> None:
    age(plant(bench.root, SERIES))
    await bench.cycle(placement=PACKED)
    await relabel(server, ZIP, Level.SESSION, "first")
    with bench.engine(placement=PACKED) as engine:
        view = await engine.look()
        plant(bench.root, {"s1/ses/T1/004.dcm": b"by hand"})
        await engine.carry_out(view)

    edited = SERIES | {"s1/ses/T1/004.dcm": b"by hand"}
    assert edited | moved(SERIES, "s1/ses/", "s1/first/") == grown(bench.root)


async def test_a_plan_names_the_rename_and_writes_nothing(agreed: Bench, server: Ground) -> None:
    await relabel(server, X, Level.SUBJECT, "sub-7")
    with agreed.engine(Mode.DOWN) as engine:
        view = await engine.look()

    assert [("rename", "sub-7/e/a/x.dcm", f"moved on the server, from {X!r}", 0)] == [
        (str(one.verb), one.path, one.reason, one.size)
        for one in view.plan.decisions
        if one.path.endswith("x.dcm")
    ]
    assert TREE == grown(agreed.root)


async def test_the_empty_folders_of_others_stay(agreed: Bench, server: Ground) -> None:
    (agreed.root / "s/empty").mkdir()
    await relabel(server, X, Level.SUBJECT, "sub-7")

    await agreed.cycle(Mode.DOWN)

    assert (agreed.root / "s/empty").is_dir()
    assert not (agreed.root / "s/e").exists()
