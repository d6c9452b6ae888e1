"""Folders and files that were renamed here, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.house.faults import faulty, rule
from tests.house.house import Desk, Ground, finish, grown, plant
from tests.house.site import Site
from tests.house.test_moves import TREE, containers, copy, moved, relabel
from tests.house.test_moves_up_kill import hashes, there
from tests.house.test_sync_kill import standing
from tests.torture.points import Point

__all__ = ["copy"]

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("command", ["push", "sync"])
def test_s70_a_renamed_folder_is_the_same_container_there(
    ground: Ground, desk: Desk, label: str, copy: Path, command: str, tmp_path: Path
) -> None:
    before = containers(ground, label)
    (copy / "sub-01").rename(copy / "patient 7")
    expected = moved(TREE, "sub-01/", "patient 7/")
    args = (copy, f"lab/{label}") if command == "push" else (copy,)

    planned = desk.run("plan", command, *args)
    done = desk.run(command, *args, "--audit-log", tmp_path / "log.jsonl", "--json")

    assert 5 == planned.out.count("rename there"), planned
    assert (0, 5, 0, 0, 0) == (
        done.code, done.summary["renamed"], done.summary["bytes"], done.summary["held"],
        done.summary["deleted"],
    ), done  # fmt: skip
    after = containers(ground, label)
    for path, one in before.items():
        assert one["id"] == after[path.replace("sub-01", "patient 7")]["id"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert ["rename-remote"] * 5 == [line["action"] for line in lines]
    assert {} == desk.run("sync", copy, "--json").moved()
    other = tmp_path / "other"
    assert 0 == desk.run("pull", f"lab/{label}", other).code
    assert expected == grown(other) == grown(copy)


def test_s77_files_and_folders_that_changed_places_do_so_there(
    ground: Ground, desk: Desk, label: str, copy: Path, tmp_path: Path
) -> None:
    for old, new in (("t1", "?"), ("t2", "t1"), ("?", "t2")):
        (copy / "sub-01/ses-01" / old).rename(copy / "sub-01/ses-01" / new)
    for old, new in (("t2/1.dcm", "?"), ("t2/2.dcm", "t2/1.dcm"), ("?", "t2/2.dcm")):
        (copy / "sub-01/ses-01" / old).rename(copy / "sub-01/ses-01" / new)

    done = desk.run("sync", copy, "--json")

    assert (0, 4, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    other = tmp_path / "other"
    assert 0 == desk.run("pull", f"lab/{label}", other).code
    assert grown(copy) == grown(other)
    assert {} == desk.run("sync", copy, "--json").moved()


def test_a_person_is_told_of_renames_there(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    (copy / "sub-02").rename(copy / "sub-03")

    done = desk.run("sync", copy)

    assert "sync: 1 renamed; 7 files here" in done.out, done
    new, old = (f"sub-0{n}/ses-01/t1/1.dcm" for n in (3, 2))
    assert [f"renamed there: {new} (was {old})"] == renames_told(done.out)


def test_a_person_is_told_of_renames_here_and_of_many_the_first_are_named(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    files = [f"sub-01/ses-01/t1/{number:02}.dcm" for number in range(12)]
    root = plant(tmp_path / "many", {path: path.encode() for path in files})
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    relabel(ground, label, "sub-01", "sub-09")

    done = desk.run("pull", f"lab/{label}", root)

    here = [f"renamed here: sub-09{path[6:]} (was {path})" for path in files[:10]]
    assert here == renames_told(done.out), done
    assert "  … and 2 more; --json lists them all\npull: 12 renamed" in done.out, done


def renames_told(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("renamed ")]


@pytest.mark.parametrize("deletes", ["--delete-up", None])
def test_s51_a_folder_that_was_renamed_and_lost_a_file_here_is_the_same_container_there(
    ground: Ground, desk: Desk, label: str, copy: Path, deletes: str | None
) -> None:
    before = containers(ground, label)
    (copy / "sub-01").rename(copy / "patient 7")
    (copy / "patient 7/ses-01/t1/1.dcm").unlink()
    sync: tuple[str | Path, ...] = ("sync", copy, "--json", *([deletes] if deletes else []))

    done = desk.run(*sync)

    gone = 1 if deletes else 0
    assert (0, 4, gone, 0) == (
        done.code, done.summary["renamed"], done.summary["deleted"], done.summary["bytes"]
    ), done  # fmt: skip
    after = containers(ground, label)
    assert {one["id"] for one in before.values()} == {one["id"] for one in after.values()}
    assert after["patient 7"]["id"] == before["sub-01"]["id"]
    left = {} if deletes else {"patient 7/ses-01/t1/1.dcm": TREE["sub-01/ses-01/t1/1.dcm"]}
    assert hashes(grown(copy) | left) == there(ground, label)
    assert {} == desk.run(*sync).moved()


@pytest.mark.parametrize(
    "at", ["remotes.flywheel_moves:Moving._put", "executor:Executor._delete_remote"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deletion_in_a_renamed_folder_is_made_by_the_next_run_if_a_kill_comes_first(
    ground: Ground, desk: Desk, label: str, copy: Path, at: str, moment: str
) -> None:
    (copy / "sub-01").rename(copy / "patient 7")
    (copy / "patient 7/ses-01/t1/1.dcm").unlink()
    expected = grown(copy)
    sync = ("sync", copy, "--delete-up", "--json")
    program = (str(Path(__file__).parents[1] / "torture/points.py"),
               json.dumps(Point("F06", at, moment).spec))  # fmt: skip

    killed = desk.run(*sync, program=program)
    done = desk.run(*sync)

    assert -9 == killed.code, killed
    assert (0, 0) == (done.code, done.summary["bytes"]), done
    assert expected == grown(copy), "what was deleted here is not fetched again"
    assert hashes(expected) == there(ground, label)
    assert {} == desk.run(*sync).moved()
    assert "sub-01" not in containers(ground, label)


def test_a_renamed_folder_that_another_host_puts_something_into_meanwhile(
    ground: Ground, desk: Desk, label: str, copy: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert desk.run("pull", f"lab/{label}", other).code == 0
    made = {one["id"] for one in containers(ground, label).values()}
    (copy / "sub-01").rename(copy / "patient 7")
    plant(other, {"sub-01/ses-01/t1/new.dcm": b"new there", "sub-01/ses-01/t2/1.dcm": b"edited"})
    written = {*grown(copy).values(), *grown(other).values()}
    point = Point("F06", "remotes.flywheel_moves:Moving._put")

    # The folder is about to get its name there, and the other host is faster.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with standing(desk, scratch, point, ("sync", copy, "--delete-up", "--json")) as (process, go):
        assert desk.run("sync", other, "--delete-up", "--json").code == 0
        go()
        finish(process)
    settle(desk, copy, other)

    check_alike(ground, label, written, copy, other)
    assert made == {one["id"] for one in containers(ground, label).values()}
    assert "sub-01" not in containers(ground, label), "it was not made anew"


def test_a_host_that_sends_to_a_folder_that_another_one_renames_meanwhile(
    ground: Ground, desk: Desk, label: str, copy: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert desk.run("pull", f"lab/{label}", other).code == 0
    (copy / "sub-01").rename(copy / "patient 7")
    plant(other, {"sub-01/ses-01/t1/new.dcm": b"new there", "sub-01/ses-01/t9/1.dcm": b"newer"})
    written = {*grown(copy).values(), *grown(other).values()}
    point = Point("F04", "uploader:Uploader.send")

    # The other host has seen the folder under its old name, and is about to send.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with standing(desk, scratch, point, ("sync", other, "--delete-up", "--json")) as (process, go):
        assert desk.run("sync", copy, "--delete-up", "--json").code == 0
        go()
        finish(process)
    settle(desk, copy, other)

    check_alike(ground, label, written, copy, other)


def settle(desk: Desk, *roots: Path) -> None:
    """Each host runs until nothing is left to do; the last time nothing is."""
    for _ in range(3):
        for root in roots:
            done = desk.run("sync", root, "--delete-up", "--delete-down", "--json")
            assert done.code == 0, done
    assert [{}, {}] == [desk.run("sync", root, "--json").moved() for root in roots]


def check_alike(ground: Ground, label: str, written: set[bytes], *roots: Path) -> None:
    """All have the same, nothing is lost, and nothing is there twice."""
    trees = [grown(root) for root in roots]
    trash = {
        one.read_bytes()
        for root in roots
        for one in (root / ".fwsync/trash").rglob("*")
        if one.is_file()
    }

    assert trees[0] == trees[1]
    assert hashes(trees[0]) == there(ground, label)
    assert written <= {*trees[0].values(), *trash}
    assert [] == ground.twins()


def test_what_is_sent_where_a_rename_is_refused_counts_for_what_a_run_may_move(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    for number in (1, 2):
        (copy / f"sub-01/ses-01/t1/{number}.dcm").rename(copy / f"sub-01/ses-01/t1/new {number}")
    sync = ("sync", copy, "--max-transfer", "1", "--delete-up", "--json")
    expected = grown(copy)

    refused = rule({"status": 403}, {"method": "POST", "path": "/files/*/move"})
    sent = []
    with faulty(ground, refused):
        for _ in range(2):
            done = desk.run(*sync)
            sent.append(done.summary["uploaded"])
            assert done.summary["left"] or len(sent) > 1, done

    assert [1, 1] == sent
    assert desk.run("sync", copy, "--delete-up", "--json").code == 0
    assert expected == grown(copy)
    assert hashes(expected) == there(ground, label)


@pytest.mark.parametrize("edited_there", [False, True], ids=["edited here", "edited on both sides"])
def test_an_edit_in_a_container_that_was_relabelled_meanwhile_goes_along_once(
    ground: Ground, desk: Desk, label: str, copy: Path, *, edited_there: bool
) -> None:
    relabel(ground, label, "sub-01/ses-01/t1", "tX")
    plant(copy, {"sub-01/ses-01/t1/1.dcm": b"edited here"})
    if edited_there:
        where = containers(ground, label)["sub-01/ses-01/tX"]["id"]
        Site(ground, label).put("acquisition", where, "1.dcm", b"edited there")

    done, again = desk.run("sync", copy, "--json"), desk.run("sync", copy, "--json")

    assert (int(edited_there), 2) == (done.code, done.summary["renamed"]), done
    assert int(edited_there) == done.summary["conflicts"]
    assert (0, {}) == (again.code, again.moved()), again
    assert 0 == again.summary["skipped"], "nothing is reported anew"
    assert "t1" not in [path.rpartition("/")[2] for path in containers(ground, label)
                        if path.startswith("sub-01/")]  # fmt: skip
    here = grown(copy)
    assert (b"edited there" if edited_there else b"edited here") == here["sub-01/ses-01/tX/1.dcm"]
    assert b"edited here" in here.values()
    assert not (copy / "sub-01/ses-01/t1").exists()


def test_a_copy_of_a_conflict_lies_beside_its_file_in_the_official_form_too(
    ground: Ground, desk: Desk, label: str, copy: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    assert desk.run("pull", f"lab/{label}", full, "--layout", "full").code == 0
    where = "SUBJECTS/sub-01/SESSIONS/ses-01/ACQUISITIONS/t1/FILES"
    plant(full, {f"{where}/{n}.dcm": b"edited here %d" % n for n in (1, 2)})
    plant(copy, {f"sub-01/ses-01/t1/{n}.dcm": b"edited there %d" % n for n in (1, 2)})
    assert desk.run("sync", copy).code == 0

    sync = ("sync", full, "--layout", "full", "--json")
    done, again = desk.run(*sync), desk.run(*sync)

    assert (1, 2) == (done.code, done.summary["conflicts"]), done
    assert (0, {}) == (again.code, again.moved()), again
    assert [where] * 2 == [
        path.rpartition("/")[0] for path in grown(full) if "fwsync-conflict" in path
    ]
    for number, verb in ((1, "keep-local"), (2, "keep-both")):
        settled = desk.run("conflicts", verb, full / where / f"{number}.dcm")
        assert settled.code == 0, settled
    assert (0, 2) == ((done := desk.run(*sync)).code, done.summary["uploaded"]), done
    assert {b"edited here 1", b"edited here 2", b"edited there 2"} <= set(grown(full).values())
    assert {} == desk.run(*sync).moved()
