"""Relabelled containers, deletions and the trash, by the command line; and kills in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.house.house import (
    RUN_S,
    Desk,
    Ground,
    check_state,
    complains,
    grown,
    kill,
    plant,
    until,
)

SHIM = Path(__file__).resolve().parents[1] / "torture/shim.py"

#: Moments at which a run is killed, spread over its operations on files.
KILLS = 4

TREE = {
    "sub-01/ses-01/t1/1.dcm": b"one",
    "sub-01/ses-01/t1/2.dcm": b"two, and longer",
    "sub-01/ses-01/t2/1.dcm": b"three",
    "sub-01/ses-01/t2/3.dcm": b"four",
    "sub-01/notes.txt": b"of the subject",
    "sub-02/ses-01/t1/1.dcm": b"five",
    "top.txt": b"of the project",
}


def containers(ground: Ground, project: str) -> dict[str, dict[str, Any]]:
    """The containers of a project by their paths: labels below it, joined by slashes."""
    record = ground.ask("GET", "/sandbox/record")
    by_id = {one["id"]: one for one in record["containers"]}
    found = {}
    for one in record["containers"]:
        labels, at = [], one
        while at["kind"] not in ("project", "group"):
            labels.append(at["label"])
            at = by_id[at["parent_id"]]
        if at["label"] == project and one["deleted"] is None:
            found["/".join(reversed(labels))] = one
    return found


def relabel(ground: Ground, project: str, path: str, label: str) -> None:
    one = containers(ground, project)[path]
    ground.ask("PUT", f"/{one['kind']}s/{one['id']}", {"label": label})


def moved(tree: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {
        new + path.removeprefix(old) if path.startswith(old) else path: content
        for path, content in tree.items()
    }


@pytest.fixture
def copy(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> Path:
    """A pulled copy of a project that holds :data:`TREE`."""
    away = plant(tmp_path / "away", TREE)
    assert 0 == desk.run("push", away, f"lab/{label}").code
    copy = tmp_path / "copy"
    assert 0 == desk.run("pull", f"lab/{label}", copy).code
    return copy


def test_s71_a_pull_renames_what_was_relabelled_and_says_so(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    relabel(ground, label, "sub-01", "patient 7")

    planned = desk.run("pull", f"lab/{label}", copy, "--dry-run")
    before = grown(copy)
    done = desk.run("pull", f"lab/{label}", copy, "--json")

    assert 0 == planned.code, planned
    assert 5 == planned.out.count("rename here"), planned
    assert TREE == before
    assert (0, 5, 0, 0) == (
        done.code, done.summary["renamed"], done.summary["bytes"], done.summary["held"]
    ), done  # fmt: skip
    assert moved(TREE, "sub-01/", "patient 7/") == grown(copy)
    assert not (copy / "sub-01").exists()
    assert {} == desk.run("pull", f"lab/{label}", copy, "--json").moved()
    assert 0 == desk.run("verify", copy).code


def test_a_person_is_told_of_renames(ground: Ground, desk: Desk, label: str, copy: Path) -> None:
    relabel(ground, label, "sub-02", "sub-03")

    done = desk.run("pull", f"lab/{label}", copy)

    assert "pull: 1 renamed; 7 files here" in done.out, done


def test_s77_acquisitions_whose_labels_change_places_do_so_here(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    relabel(ground, label, "sub-01/ses-01/t1", "meanwhile")
    relabel(ground, label, "sub-01/ses-01/t2", "t1")
    relabel(ground, label, "sub-01/ses-01/meanwhile", "t2")

    done = desk.run("pull", f"lab/{label}", copy, "--json")

    assert (0, 4, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    first = moved(TREE, "sub-01/ses-01/t1/", "?/")
    second = moved(first, "sub-01/ses-01/t2/", "sub-01/ses-01/t1/")
    assert moved(second, "?/", "sub-01/ses-01/t2/") == grown(copy)
    assert {} == desk.run("pull", f"lab/{label}", copy, "--json").moved()


def test_s71_a_relabelled_container_is_renamed_in_the_official_form_too(
    ground: Ground, desk: Desk, label: str, copy: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    pull = ("pull", f"lab/{label}", full, "--layout", "full", "--json")
    assert 0 == desk.run(*pull).code
    before = grown(full)
    relabel(ground, label, "sub-01/ses-01", "ses-X")

    done = desk.run(*pull)

    assert (0, 4, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    assert {path.replace("sub-01/SESSIONS/ses-01/", "sub-01/SESSIONS/ses-X/"): content
            for path, content in before.items()} == grown(full)  # fmt: skip
    assert before != grown(full)
    assert {} == desk.run(*pull).moved()


PACK = {f"sub-01/ses-01/t1/{number:02}.dcm": b"slice %02d" % number for number in range(5)}


@pytest.fixture
def packed(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> Path:
    """A pulled copy of a project with a pack, which is unpacked here."""
    away = plant(tmp_path / "away", PACK)
    assert 0 == desk.run("push", away, f"lab/{label}", "--pack", "*.dcm=dicom").code
    copy = tmp_path / "copy"
    assert 0 == desk.run("pull", f"lab/{label}", copy, "--pack", "*.dcm=dicom").code
    assert PACK == grown(copy)
    return copy


@pytest.mark.parametrize("level", ["sub-01", "sub-01/ses-01"])
def test_s71_a_pack_whose_container_was_relabelled_is_renamed_as_one_folder(
    ground: Ground, desk: Desk, label: str, packed: Path, level: str
) -> None:
    above = level.rpartition("/")[0]
    new = f"{above}/other".lstrip("/")
    relabel(ground, label, level, "other")

    done = desk.run("pull", f"lab/{label}", packed, "--json")

    assert (0, 1, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    assert moved(PACK, f"{level}/", f"{new}/") == grown(packed)
    assert {} == desk.run("pull", f"lab/{label}", packed, "--json").moved()
    assert 0 == desk.run("verify", packed).code


def test_a_pack_beside_a_file_of_the_users_is_fetched_anew_and_nothing_is_lost(
    ground: Ground, desk: Desk, label: str, packed: Path
) -> None:
    plant(packed, {"sub-01/ses-01/t1/notes.txt": b"mine"})
    relabel(ground, label, "sub-01/ses-01", "other")

    done = desk.run("pull", f"lab/{label}", packed, "--json")

    assert (0, 0, 1) == (done.code, done.summary["renamed"], done.summary["downloaded"]), done
    assert moved(PACK, "sub-01/ses-01/", "sub-01/other/").items() <= grown(packed).items()
    assert b"mine" == (packed / "sub-01/ses-01/t1/notes.txt").read_bytes()
    assert {} == desk.run("pull", f"lab/{label}", packed, "--json").moved()
    done = desk.run("pull", f"lab/{label}", packed, "--delete", "--json")
    assert {"deleted": 1} == done.moved(), done
    assert ["sub-01/ses-01/t1/notes.txt"] == [one for one in grown(packed) if "/ses-01/" in one]


# ----------------------------------------------------------------------------------- kills


def shimmed(
    desk: Desk, root: Path, spec: Mapping[str, object], *args: str | Path
) -> subprocess.Popen[bytes]:
    """A run whose operations on files are counted, and may stand still."""
    told = json.dumps({"below": str(root), "log": str(desk.home / "log"), **spec})
    desk.home.mkdir(parents=True, exist_ok=True)
    (desk.home / "log").write_bytes(b"")
    return subprocess.Popen(
        [sys.executable, str(SHIM), told, *map(str, args)],
        cwd=desk.home,
        env=desk.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def rename(ground: Ground, project: str, folder: str, old: str, new: str) -> None:
    """Give a file of an acquisition another name."""
    where = {"type": "acquisition", "id": containers(ground, project)[folder]["id"]}
    files = ground.ask("GET", f"/acquisitions/{where['id']}")["files"]
    (id_,) = [one["file_id"] for one in files if one["name"] == old]
    ground.ask("POST", f"/files/{id_}/move", {"container_reference": where, "name": new})


def change_places(ground: Ground, project: str, subject: str, other: str) -> None:
    """Two files of one acquisition change names, and a subject gets another label."""
    folder = "sub-01/ses-01/t1"
    rename(ground, project, folder, "1.dcm", "meanwhile")
    rename(ground, project, folder, "2.dcm", "1.dcm")
    rename(ground, project, folder, "meanwhile", "2.dcm")
    relabel(ground, project, subject, other)


def test_s77_a_run_that_is_killed_between_any_two_steps_is_finished_by_the_next(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    pull = ("pull", f"lab/{label}", copy, "--json")
    one, two = "sub-01/ses-01/t1/1.dcm", "sub-01/ses-01/t1/2.dcm"
    swapped = moved(TREE, "sub-02/", "sub-03/") | {one: TREE[two], two: TREE[one]}
    change_places(ground, label, "sub-02", "sub-03")
    counting = shimmed(desk, copy, {}, *pull)
    out, err = counting.communicate(timeout=RUN_S)
    assert 0 == counting.returncode, (out, err)
    assert '"renamed": 3' in out.decode().splitlines()[-1]
    steps = len((desk.home / "log").read_text().splitlines())
    assert swapped == grown(copy)
    gate = desk.home / "gate"
    os.mkfifo(gate)

    expected, other, killed = dict(TREE), swapped, 0
    for number in range(1, KILLS + 1):
        change_places(ground, label, *sorted(("sub-02", "sub-03"), reverse=bool(number % 2)))
        at = steps * number // (KILLS + 1)
        process = shimmed(desk, copy, {"fail_at": at, "gate": str(gate)}, *pull)
        killed += kill_at_gate(process, gate, at)
        contents = set(grown(copy).values()) | set(below(copy / ".fwsync/trash"))
        done = desk.run(*pull)

        assert set(TREE.values()) <= contents, f"bytes were lost at step {at}"
        assert 0 == done.code, done
        assert expected == grown(copy), f"step {at} of {steps}"
        assert {} == desk.run(*pull).moved()
        check_state(copy)
        expected, other = other, expected
    assert killed > KILLS // 2  # a run with less to look at has fewer steps, and may end before


def kill_at_gate(process: subprocess.Popen[bytes], gate: Path, at: int) -> bool:
    """Kill a run when it stands still at its gate; False: it ended before it came there."""
    opened: list[int] = []

    def reached() -> bool:
        if process.poll() is not None:
            return True
        try:
            opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads yet
            return False
        return True

    try:
        until(reached, what=f"it stands still at step {at}")
    finally:
        if process.poll() is None:
            kill(process)
        else:
            process.communicate()
    for one in opened:
        os.close(one)
    return bool(opened)


def below(folder: Path) -> list[bytes]:
    return [one.read_bytes() for one in folder.rglob("*") if one.is_file()]


# ---------------------------------------------------------------------------- the trash


def gone_there(ground: Ground, project: str, path: str) -> None:
    """Somebody deletes a file of an acquisition on the server."""
    folder, _, name = path.rpartition("/")
    one = containers(ground, project)[folder]
    ground.ask("DELETE", f"/acquisitions/{one['id']}/files/{name}")


GONE = "sub-01/ses-01/t1/1.dcm"


def test_s43_pull_delete_moves_to_the_trash_and_restore_brings_it_back(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    gone_there(ground, label, GONE)
    held = desk.run("pull", f"lab/{label}", copy, "--json")
    assert (0, 1, 0) == (held.code, held.summary["held"], held.summary["deleted"]), held
    assert TREE == grown(copy)

    done = desk.run("pull", f"lab/{label}", copy, "--delete", "--json")
    assert (0, 1) == (done.code, done.summary["deleted"]), done
    assert TREE.keys() - {GONE} == grown(copy).keys()

    found = desk.run("restore", copy, "--list", "--json")
    assert [("kept", GONE, 3)] == [
        (one["event"], one["path"], one["size"]) for one in found.lines[:-1]
    ], found
    assert (1, 3) == (found.summary["kept"], found.summary["bytes"])
    assert GONE in desk.run("restore", copy).out
    assert TREE.keys() - {GONE} == grown(copy).keys(), "to list is not to put back"

    back = desk.run("restore", copy, GONE, "--json")
    assert (0, 1, 0) == (back.code, back.summary["restored"], back.summary["problems"]), back
    assert TREE == grown(copy)

    again = desk.run("pull", f"lab/{label}", copy, "--delete", "--json")
    assert (0, {}) == (again.code, again.moved()), again
    assert TREE == grown(copy)


def test_what_is_in_the_way_stays_and_the_exit_code_says_so(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    gone_there(ground, label, GONE)
    assert 0 == desk.run("pull", f"lab/{label}", copy, "--delete").code
    plant(copy, {GONE: b"mine"})

    done = desk.run("restore", copy, ".")

    assert 1 == done.code, done
    assert f"problem: {GONE}: something of that name is here" in done.out, done
    assert "restore: 0 files put back, 1 left in the trash" in done.out, done
    assert b"mine" == (copy / GONE).read_bytes()


def test_restore_says_what_it_wants(desk: Desk, copy: Path) -> None:
    complains(desk.run("restore", copy, "nothing/of/the/kind"), 2, "nothing in its trash")
    complains(desk.run("restore", copy / "none"), 2, "no such directory")
    listed = desk.run("restore", copy)
    assert (0, True) == (listed.code, "restore: 0 files in the trash" in listed.out), listed


def test_s56_more_than_the_cap_goes_nowhere_and_renames_wait_with_it(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    gone_there(ground, label, GONE)
    relabel(ground, label, "sub-02", "sub-03")
    pull = ("pull", f"lab/{label}", copy, "--delete", "--max-delete", "0", "--json")

    done = desk.run(*pull)
    assert (4, 0, 0) == (done.code, done.summary["deleted"], done.summary["renamed"]), done
    assert TREE == grown(copy)

    done = desk.run(*pull, "--accept-deletes", done.summary["plan_id"])
    assert (0, 1, 1) == (done.code, done.summary["deleted"], done.summary["renamed"]), done
    expected = moved(TREE, "sub-02/", "sub-03/")
    del expected[GONE]
    assert expected == grown(copy)


def test_trash_days_of_nought_keep_for_ever(desk: Desk, label: str, copy: Path) -> None:
    old = copy / ".fwsync/trash/20200101T000000Z/x"
    plant(copy, {".fwsync/trash/20200101T000000Z/x": b"old"})
    desk.env["FWSYNC_TRASH_DAYS"] = "0"

    assert 0 == desk.run("pull", f"lab/{label}", copy).code
    assert old.exists()

    desk.env["FWSYNC_TRASH_DAYS"] = "-1"
    complains(desk.run("pull", f"lab/{label}", copy), 2, "FWSYNC_TRASH_DAYS", hint=False)


def test_a_trash_that_cannot_be_cleared_stops_no_run(desk: Desk, label: str, copy: Path) -> None:
    plant(copy, {".fwsync/trash/20200101T000000Z/x": b"old"})
    ages = {"at": 1577836800, "ages": {"20200101T000000Z": 10**9}}
    plant(copy, {".fwsync/trash-ages": json.dumps(ages).encode()})
    folder = copy / ".fwsync/trash/20200101T000000Z"
    folder.chmod(0)
    try:
        done = desk.run("pull", f"lab/{label}", copy, as_user=True)
    finally:
        folder.chmod(0o700)

    assert 0 == done.code, done
    assert "what is old in the trash stays" in done.err, done
    assert b"old" == (folder / "x").read_bytes()


def test_what_moved_out_of_a_selection_is_no_deletion_and_a_whole_pull_renames_it(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    relabel(ground, label, "sub-01", "patient 7")
    pull = ("pull", f"lab/{label}", copy, "--delete", "--json")

    selected = desk.run(*pull, "--subject", "sub-*")
    assert (0, 0) == (selected.summary["deleted"], selected.summary["renamed"]), selected
    assert TREE == grown(copy)

    done = desk.run(*pull)
    assert (0, 5, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    assert moved(TREE, "sub-01/", "patient 7/") == grown(copy)


def test_what_moved_into_a_selection_is_renamed(
    ground: Ground, desk: Desk, label: str, copy: Path
) -> None:
    relabel(ground, label, "sub-01", "patient 7")

    done = desk.run("pull", f"lab/{label}", copy, "--subject", "patient*", "--json")

    assert (0, 5, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    assert moved(TREE, "sub-01/", "patient 7/") == grown(copy)
