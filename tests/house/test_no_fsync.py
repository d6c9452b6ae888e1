"""Without fsync a pull waits for no disk, and proves and records all the same."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from tests.house.faults import SHIM, problems
from tests.house.house import Desk, Tree, grown, plant

TREE: Tree = {
    **{f"s{number % 3}/ses/T1/{number:02}.nii": b"%d" % number * 999 for number in range(40)},
    "s0/ses/T2/larger.nii": bytes(range(256)) * 4096 * 3,
}


@pytest.fixture
def sent(desk: Desk, label: str, tmp_path: Path) -> str:
    """The project of this test, with files."""
    assert desk.run("push", plant(tmp_path / "sent", TREE), f"lab/{label}").code == 0
    return f"lab/{label}"


def lame(below: Path, scratch: Path) -> tuple[str, str]:
    """fwsync on a disk that makes no part durable."""
    spec = {"below": str(below), "log": str(scratch / "log"), "operations": ["fsync", "fdatasync"]}
    return SHIM, json.dumps(spec | {"fail_at": 1, "errno": errno.EIO, "for_good": True})


@pytest.mark.parametrize("how", ["flag", "setting"])
def test_nothing_waits_for_the_disk(how: str, desk: Desk, sent: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = lame(root / ".fwsync/parts", tmp_path)
    flags = ["--no-fsync"] if how == "flag" else []
    if how == "setting":
        desk.env["FWSYNC_FSYNC"] = "off"

    done = desk.run("pull", sent, root, "--json", *flags, program=program)

    assert (done.code, problems(done)) == (0, {}), done
    assert grown(root) == TREE
    assert desk.run("verify", root, sent, "--deep").code == 0
    again = desk.run("pull", sent, root, "--json", *flags)
    assert (again.code, again.summary["downloaded"]) == (0, 0), again


def test_by_itself_a_pull_waits_for_it(desk: Desk, sent: str, tmp_path: Path) -> None:
    root = tmp_path / "root"

    done = desk.run("pull", sent, root, "--json", program=lame(root / ".fwsync/parts", tmp_path))

    assert done.code != 0
    assert grown(root) == {}
