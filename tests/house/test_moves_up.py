"""Folders and files that were renamed here, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, grown
from tests.house.test_moves import TREE, containers, copy, moved

__all__ = ["copy"]


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
