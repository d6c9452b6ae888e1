"""The power fails during a ``sync``: what was not made durable is gone (F19 at F08 to F13).

``tests/torture/power.py`` is the disk; ``make torture`` lets it fail before each change in turn.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from tests.house.house import ROOT, Desk, Done, Ground
from tests.torture.both import FLAGS, Both, own_home

PROGRAM = str(ROOT / "tests/torture/power.py")
LOSSES = ("data", "names", "both", "state")

#: Steps of a run, by the first of its changes that is one, and the rows that they belong to.
STEPS = {
    "F08": ("write", "/.fwsync/parts/"),
    "F09": ("fsync", ".part"),
    "F10": ("rename", "down.dat"),
    "F11": ("fsync", "/s1/e/down-new"),
    "F12 old file in the trash": ("link", "edit.dat"),
    "F12 old file replaced": ("fsync", "/s1/e/down"),
    "F12 deleted here": ("rename", "there.dat"),
    "F13 copy noted": ("write", "/.fwsync/copies"),
    "F13 copy made": ("link", ".fwsync-conflict-"),
    "F13 server's in place": ("fsync", "/s1/e/both"),
    "moved there": ("fsync", "/s2/e"),
}


@pytest.fixture
def world(ground: Ground, label: str, tmp_path: Path, blockbuster: BlockBuster) -> Iterator[Both]:
    """Both sides were in step, and are not any more."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    key = tmp_path / "key"
    key.write_text(ground.key())
    key.chmod(0o600)
    with own_home(tmp_path / "home"):
        made = Both(ground, f"{label}-both", tmp_path / "root", key)
        made.part(made.agree())
        yield made


def run(desk: Desk, world: Both, scratch: Path, **spec: object) -> tuple[Done, list[str]]:
    """A run on that disk, and the changes that it came to."""
    log = scratch / "power.log"
    told = {"below": str(world.root), "side": str(scratch / "side"), "log": str(log)}
    program = (PROGRAM, json.dumps(told | spec))
    args = ("sync", world.root, f"lab/{world.label}", *FLAGS, "--transfers", "1")
    done = desk.run(*args, program=program)
    return done, log.read_text().splitlines()


@pytest.fixture(scope="module")
def changes(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a run changes on the disk when the power stays."""
    folder = tmp_path_factory.mktemp("power")
    key = folder / "key"
    key.write_text(ground.key())
    key.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        return _changes(ground, folder, key)


def _changes(ground: Ground, folder: Path, key: Path) -> list[str]:
    made = Both(ground, "power-usual", folder / "root", key)
    made.part(made.agree())
    done, log = run(Desk(folder / "home", ground.key()), made, folder)

    assert done.code == 1, done  # there is a conflict
    return log


@pytest.mark.parametrize("loses", LOSSES)
@pytest.mark.parametrize("step", STEPS)
def test_after_a_power_loss_nothing_is_lost_and_nothing_false_is_believed(
    step: str, loses: str, changes: list[str], world: Both, desk: Desk, tmp_path: Path
) -> None:
    call, what = STEPS[step]
    found = [
        number
        for number, line in enumerate(changes, 1)
        if line.split(" ", 2)[1] == call and what in line.split(" ", 2)[2]
    ]
    assert found, f"no {call} of {what} any more: {changes}"
    # Before it, and after it, so that what it did may be lost.
    at = found[0] + (loses in ("names", "state"))
    done, log = run(desk, world, tmp_path, fail_at=at, loses=loses)

    why = f"{step}, {loses} lost before {log[-1]}"
    assert done.code == -signal.SIGKILL, (why, done)
    world.check_nothing_lost(why)
    world.check_closed(why)
