"""``sync`` dies at a named point, or is told to end there: rows F01 to F17.

The points are in ``tests/torture/points.py``; ``test_kill`` kills pushes and pulls at random
moments, and ``make torture`` kills ``sync`` at random moments.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from fwsync.state import open_state
from tests.house.house import ROOT, Desk, Done, Ground, finish, until
from tests.torture.both import FLAGS, Both, own_home
from tests.torture.points import POINTS, Point, resolve

PROGRAM = str(ROOT / "tests/torture/points.py")
SOME_POINTS = [one for one in POINTS if one.row in ("F04", "F11", "F13")]
FIRST_POINTS = {one.row: one for one in reversed(POINTS)}
LARGE = 3 << 20  # bytes that cannot be sent or read at once


@pytest.fixture
def key(ground: Ground, tmp_path: Path, blockbuster: BlockBuster) -> Iterator[Path]:
    """A file with the key; and a home of the test's own."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    file = tmp_path / "key"
    file.write_text(ground.key())
    file.chmod(0o600)
    with own_home(tmp_path / "home"):
        yield file


@pytest.fixture
def world(ground: Ground, tmp_path: Path, key: Path, request: pytest.FixtureRequest) -> Both:
    """Both sides were in step, and are not any more."""
    numbers = request.getfixturevalue("label")
    made = Both(ground, f"{numbers}-both", tmp_path / "root", key, large=LARGE)
    made.part(made.agree())
    return made


def command(world: Both, point: Point, name: str = "sync") -> tuple[str | Path, ...]:
    """The command line that comes to a point."""
    target = f"lab/{world.label}"
    if name == "watch":
        how = ("--mode", "both", "--settle", "0s", *FLAGS, *point.flags)
        return ("watch", world.root, target, *how)
    return (name, world.root, target, *FLAGS, *point.flags)


def program(point: Point, **more: object) -> tuple[str, str]:
    return PROGRAM, json.dumps(point.spec | more)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_program_has_the_point(point: Point) -> None:
    assert callable(resolve(f"fwsync.{point.at}")[2])


def test_every_row_has_its_points() -> None:
    rows = {point.row for point in POINTS}

    # F14 is no row; F16 is about a state of an older fwsync, below.
    assert rows == {f"F{number:02}" for number in (*range(1, 14), 15)}


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_sync_that_is_killed_there_is_finished_by_the_next(
    point: Point, world: Both, desk: Desk
) -> None:
    done = desk.run(*command(world, point), program=program(point))

    assert done.code == -signal.SIGKILL, f"it never came there: {done}"
    world.check_nothing_lost(str(point))
    world.check_closed(str(point))


@contextmanager
def standing(
    desk: Desk, scratch: Path, point: Point, args: tuple[str | Path, ...]
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
    """The command stands still at a point; the block is given what lets it go on."""
    gate = scratch / "gate"
    os.mkfifo(gate)
    process = desk.start(*args, program=program(point, gate=str(gate)))
    held: list[int] = []

    def stands() -> bool:
        assert process.poll() is None, f"it never came there: {finish(process)}"
        try:
            held.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads the gate yet: fifo(7)
                raise
            return False
        return True

    def go() -> None:
        os.close(held.pop())

    try:
        until(stands, what=f"it stands at {point}")
        yield process, go
    finally:
        if held:
            go()
        if process.poll() is None:
            process.kill()
            process.communicate()


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """A signal, and wait until the process has it: two at once would be one."""
    process.send_signal(number)

    def pending() -> int:
        if process.poll() is not None:
            return 0
        status = Path(f"/proc/{process.pid}/status").read_text()
        lines = [line for line in status.splitlines() if line[:6] in ("SigPnd", "ShdPnd")]
        masks = [line.split()[1] for line in lines]
        return sum(int(mask, 16) >> (number - 1) & 1 for mask in masks)

    until(lambda: not pending(), what="the signal has come")


@pytest.mark.parametrize(
    ("point", "times"),
    [
        *(pytest.param(one, 1, id=f"{one}-once") for one in POINTS),
        *(pytest.param(one, 2, id=f"{one}-twice") for one in FIRST_POINTS.values()),
    ],
)
def test_f17_a_watch_that_is_told_to_end_there_ends_well(
    point: Point, times: int, world: Both, desk: Desk, tmp_path: Path
) -> None:
    with standing(desk, tmp_path, point, command(world, point, "watch")) as (process, go):
        for _ in range(times):
            send(process, signal.SIGTERM)
        go()
        done = finish(process, 20)

    assert (done.code, "Traceback" in done.err) == (0, False), done
    world.check_nothing_lost(str(point))
    world.check_closed(str(point))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("point", SOME_POINTS, ids=str)
def test_f17_a_sync_that_is_told_to_end_there_ends(
    point: Point, number: signal.Signals, world: Both, desk: Desk, tmp_path: Path
) -> None:
    with standing(desk, tmp_path, point, command(world, point)) as (process, go):
        send(process, number)
        if process.poll() is None:
            go()
        done: Done = finish(process, 20)

    # A process that dies of SIGTERM is 143 to its shell, and -15 here.
    assert done.code in {signal.SIGTERM: (143, -15), signal.SIGINT: (130,)}[number], done
    assert "Traceback" not in done.err, done
    world.check_closed(str(point))


# ------------------------------------------------------------------------------------ F16

STATES = ROOT / "tests/fixtures/states"
OPENING = """
import sys
from pathlib import Path
from tests.torture.points import Reached, die, put_in
from fwsync import state
put_in(sys.argv[2], sys.argv[3], Reached(int(sys.argv[4]), die))
state.open_state(Path(sys.argv[1])).close()
"""


def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """What is in a state, but for when it was brought up to date."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            name: sorted(map(tuple, db.execute(f"SELECT * FROM {name}")), key=repr)
            for name in names
            if name != "migration"
        }


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["_copy_to", "_publish", "_apply"])
@pytest.mark.parametrize("older", sorted(STATES.glob("*.sql")), ids=lambda one: one.stem)
def test_f16_a_state_that_is_killed_on_its_way_up_to_date_gets_there(
    older: Path, step: str, moment: str, tmp_path: Path
) -> None:
    for name in ("usual", "killed"):
        with closing(sqlite3.connect(tmp_path / name)) as db:
            db.executescript(older.read_text(encoding="utf-8"))
    file = tmp_path / "killed"
    open_state(tmp_path / "usual").close()

    for nth in (1, 2):
        args = [str(file), f"fwsync.state_file:{step}", moment, str(nth)]
        done = subprocess.run(
            [sys.executable, "-c", OPENING, *args], cwd=ROOT, check=False, capture_output=True
        )
        # It has come so far, or there is no second one to come to.
        assert done.returncode in {-signal.SIGKILL, *([0] if nth > 1 else [])}, done
        for copy in tmp_path.glob("killed.before-*"):
            rows(copy)  # whole, or not there
    open_state(file).close()

    assert rows(tmp_path / "usual") == rows(file)
    assert [] == [one.name for one in tmp_path.glob("*.part")]
