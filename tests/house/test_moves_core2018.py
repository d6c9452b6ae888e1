"""Relabelled containers at a site of 2018, which gives files no ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import Desk, grown, plant
from tests.house.test_core2018 import Ground2018
from tests.house.test_moves import TREE, moved, relabel


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground2018]:
    data = tmp_path_factory.mktemp("old")
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        yield made


@pytest.mark.parametrize("command", ["pull", "sync"])
def test_s71_an_acquisition_that_was_relabelled_is_renamed_here(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path, command: str
) -> None:
    tree = {path: content for path, content in TREE.items() if path != "sub-01/notes.txt"}
    away = plant(tmp_path / "away", tree)
    assert 0 == desk.run("push", away, f"lab/{label}").code
    copy = tmp_path / "copy"
    assert 0 == desk.run("pull", f"lab/{label}", copy).code
    relabel(ground, label, "sub-01/ses-01/t1", "localizer")

    args = (f"lab/{label}", copy) if command == "pull" else (copy,)
    done = desk.run(command, *args, "--json")

    assert (0, 2, 0) == (done.code, done.summary["renamed"], done.summary["bytes"]), done
    assert moved(tree, "sub-01/ses-01/t1/", "sub-01/ses-01/localizer/") == grown(copy)
    assert {} == desk.run("sync", copy, "--json").moved()


def test_what_was_renamed_here_is_sent_anew(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    """Files have no ids there; what is gone from its path is deleted as the flags allow."""
    tree = {path: content for path, content in TREE.items() if path != "sub-01/notes.txt"}
    away = plant(tmp_path / "away", tree)
    assert 0 == desk.run("push", away, f"lab/{label}").code
    old, new = "sub-01/ses-01/t1/1.dcm", "sub-01/ses-01/t1/first.dcm"
    (away / old).rename(away / new)

    done = desk.run("sync", away, f"lab/{label}", "--delete-up", "--json")

    assert (0, 0, 1, 1) == (
        done.code, done.summary["renamed"], done.summary["uploaded"], done.summary["deleted"]
    ), done  # fmt: skip
    kept = [one.read_bytes() for one in (away / ".fwsync/trash").rglob("*") if one.is_file()]
    assert [tree[old]] == kept  # it keeps no versions
    assert {} == desk.run("sync", away, "--delete-up", "--json").moved()
    copy = tmp_path / "copy"
    assert 0 == desk.run("pull", f"lab/{label}", copy).code
    assert moved(tree, old, new) == grown(copy)
