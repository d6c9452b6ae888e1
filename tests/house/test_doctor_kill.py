"""`fwsync doctor --rebuild` dies at any of its steps, or finds what an earlier one has left."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.house.house import ROOT, Desk, Done, Ground, check_state, grown, plant
from tests.house.test_doctor import in_step, state_of, truncate
from tests.torture.points import Point, resolve

__all__ = ["in_step"]

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)

POINTS = [
    *(
        Point("F16", at, moment)
        for at in (
            "rebuilding:_check_version",
            "state_salvage:salvage",
            "state_salvage:replace",
            "rebuilding:_compare",
        )
        for moment in ("before", "after")
    ),
    *(Point("F16", "state_salvage:_sync", moment, nth) for nth in (1, 2)
      for moment in ("before", "after")),
    Point("F16", "state:State.end_run", "before"),
]  # fmt: skip

#: The command where everything but the folder for temporary files is on a network.
ON_A_NETWORK = """
import os, sys
from pathlib import Path
from fwsync import whereabouts
from fwsync.filesystems import FileSystem

def filesystem_of(path):
    is_local = path.is_relative_to(os.environ["TMPDIR"])
    return FileSystem("ext4" if is_local else "nfs4", not is_local, 20_000_000)

whereabouts.locate.__kwdefaults__["filesystem_of"] = filesystem_of
from tests.torture.points import main
main()
"""
NOWHERE = Point("F16", "rebuilding:run", "after", 99)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_program_has_the_point(point: Point) -> None:
    assert callable(resolve(f"fwsync.{point.at}")[2])


def killed(desk: Desk, point: Point, *args: str | Path) -> None:
    program = (str(ROOT / "tests/torture/points.py"), json.dumps(point.spec))
    done = desk.run(*args, program=program)

    assert -signal.SIGKILL == done.code, f"it never came there: {done}"


@pytest.mark.parametrize("is_damaged", [False, True], ids=["healthy", "damaged"])
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_after_a_kill_there_is_the_old_state_or_the_new_one(
    point: Point, ground: Ground, desk: Desk, in_step: Path, label: str, *, is_damaged: bool
) -> None:
    if not is_damaged:  # a deletion that only the state remembers
        (in_step / "sub-02/ses-01/t2/1.dcm").unlink()
        assert desk.run("sync", in_step).code == 0
    here, record = grown(in_step), ground.stored(label)
    if is_damaged:
        truncate(state_of(in_step))
    old = state_of(in_step).read_bytes()

    killed(desk, point, "doctor", in_step, "--rebuild")
    synced = desk.run("sync", in_step, "--json")

    if is_damaged and state_of(in_step).read_bytes() == old:
        assert synced.code == 6, synced
        assert desk.run("doctor", in_step, "--rebuild").code == 0
        synced = desk.run("sync", in_step, "--json")
    assert (synced.code, synced.summary["bytes"]) == (0, 0), synced
    assert 0 == synced.summary["deleted"] == synced.summary["conflicts"], synced
    assert here == grown(in_step), "what was deleted here is not fetched again"
    assert record == ground.stored(label)
    assert {} == desk.run("sync", in_step, "--json").moved()
    check_state(in_step)


LEFT = ("state.db.rebuilt", "state.db.rebuilt-wal", "state.db.rebuilt-shm", "state.db.new",
        "state.db.copy", "state.db.before-6.part")  # fmt: skip


@pytest.mark.parametrize("is_damaged", [False, True], ids=["healthy", "damaged"])
def test_what_an_earlier_one_has_left_is_no_state(
    ground: Ground, desk: Desk, in_step: Path, label: str, *, is_damaged: bool
) -> None:
    here, record = grown(in_step), ground.stored(label)
    plant(in_step / ".fwsync", dict.fromkeys(LEFT, b"half of something"))
    if is_damaged:
        truncate(state_of(in_step))

    done = desk.run("doctor", in_step, "--rebuild", "--json")
    synced = desk.run("sync", in_step, "--json")

    assert (0, 3) == (done.code, done.summary["in_step"]), done
    assert (0, {}) == (synced.code, synced.moved()), synced
    assert (here, record) == (grown(in_step), ground.stored(label))
    left = [name for name in LEFT if (in_step / ".fwsync" / name).exists()]
    assert [] == [name for name in left if "rebuilt" in name]


@pytest.mark.parametrize(
    "point",
    [Point("F16", "state_salvage:replace", "before"), Point("F16", "rebuilding:_compare"),
     Point("F16", "state:State.save_copy"), NOWHERE],
    ids=str,
)  # fmt: skip
def test_a_state_that_is_used_as_a_copy_is_made_anew_where_it_is_kept(
    point: Point, ground: Ground, desk: Desk, tmp_path: Path, root: Path, label: str
) -> None:
    desk.env["TMPDIR"] = str(tmp_path / "local")
    (tmp_path / "local").mkdir()

    def run(*args: str | Path, at: Point = NOWHERE) -> Done:
        return desk.run(*args, program=("-c", ON_A_NETWORK, json.dumps(at.spec)))

    assert run("sync", root, f"lab/{label}").code == 0
    here, record = grown(root), ground.stored(label)
    kept = state_of(root)
    assert kept.exists(), "it is kept below the root, and used elsewhere"
    truncate(kept)
    damaged = kept.read_bytes()

    first = run("doctor", root, "--rebuild", at=point)
    assert first.code == (0 if point is NOWHERE else -signal.SIGKILL), first
    if kept.read_bytes() == damaged:
        assert run("sync", root).code == 6
        assert run("doctor", root, "--rebuild").code == 0
    synced = run("sync", root, "--json")

    assert (0, 0) == (synced.code, synced.summary["bytes"]), synced
    assert {} == run("sync", root, "--json").moved()
    assert (here, record) == (grown(root), ground.stored(label))
