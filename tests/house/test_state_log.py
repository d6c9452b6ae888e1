"""The power fails, and SQLite's log loses what was not made durable, or is garbled.

``tests/torture/power.py`` sees no writes of SQLite; here its log is cut at each of its frames. What
is left of the state is an older truth: it says nothing that was not verified, and the next run
brings it up to date without moving a byte.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fwsync.errors import LocalError
from fwsync.model import RelPath
from fwsync.state import open_state
from tests.house.house import ROOT, Desk, Ground, grown, plant
from tests.house.test_moves_up_kill import hashes, there
from tests.torture.points import Point

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)

#: Of the log: https://www.sqlite.org/fileformat.html, 4.1 and 4.2.
HEADER, FRAME_HEADER = 32, 24

#: Files that go each way; they are recorded some hundreds at a time.
FILES = 600


@pytest.fixture
def cut_short(desk: Desk, label: str, tmp_path: Path) -> Path:
    """A root whose first sync was killed when some of it was recorded."""
    away = plant(
        tmp_path / "away", {f"down/e/a{n % 9}/{n}.dat": b"down %d" % n for n in range(FILES)}
    )
    assert desk.run("push", away, f"lab/{label}").code == 0
    root = plant(tmp_path / "root", {f"up/e/a{n % 9}/{n}.dat": b"up %d" % n for n in range(FILES)})
    point = Point("F06", "state_record:record_outcomes", "after", 4)
    program = (str(ROOT / "tests/torture/points.py"), json.dumps(point.spec))
    done = desk.run("sync", root, f"lab/{label}", program=program)

    assert -signal.SIGKILL == done.code, done
    return root


def state_files(root: Path) -> tuple[Path, Path]:
    file = root / ".fwsync/state.db"
    return file, file.with_name("state.db-wal")


def frames(file: Path, log: bytes) -> list[int]:
    """Where the frames of a log end; 0 and the end of its header are before the first."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as db:
        size = FRAME_HEADER + int(db.execute("PRAGMA page_size").fetchone()[0])
    return [0, *range(HEADER, len(log) + 1, size)]


def garbled(log: bytes, ends: list[int]) -> Iterator[tuple[str, bytes]]:
    """The log as a loss of power may leave it."""
    dice = random.Random(7)
    some = sorted({*ends[:4], *ends[-4:], *dice.sample(ends, min(24, len(ends)))})
    for end in some:
        yield f"cut at {end}", log[:end]
        yield f"torn in the frame behind {end}", log[: end + FRAME_HEADER + 100]
        # Pages reach the disk in any order: one in the middle never did.
        hole = bytes(min(ends[-1] - ends[-2], len(log) - end))
        yield f"a hole at {end}", log[:end] + hole + log[end + len(hole) :]
        at = min(end + 50, len(log) - 1)
        yield f"a wrong bit at {at}", log[:at] + bytes([log[at] ^ 4]) + log[at + 1 :]


def claims(file: Path) -> dict[RelPath, str]:
    """What a state says both sides have agreed on: path -> digest."""
    with open_state(file, create=False) as state:
        return {
            one.path: one.digest.rpartition(":")[2] for one in state.base_entries() if one.digest
        }


def test_whatever_the_log_has_lost_the_state_says_nothing_that_is_not_so(
    ground: Ground, desk: Desk, label: str, cut_short: Path, tmp_path: Path
) -> None:
    file, log_file = state_files(cut_short)
    db, log = file.read_bytes(), log_file.read_bytes()
    here, server = hashes(grown(cut_short)), there(ground, label)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    known: set[int] = set()

    for what, left in garbled(log, frames(file, log)):
        copy, copy_log = scratch / "state.db", scratch / "state.db-wal"
        copy.write_bytes(db)
        copy_log.write_bytes(left)
        copy.with_name("state.db-shm").unlink(missing_ok=True)
        try:
            said = claims(copy)
        except LocalError as error:
            raise AssertionError(f"{what}: {error}") from error
        false = {path for path, digest in said.items()
                 if not digest == here.get(path) == server.get(path)}  # fmt: skip
        assert set() == false, what
        known.add(len(said))

    assert len(known) > 1, "it has lost something at one time, and not at another"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("how", ["cut", "hole"])
def test_the_next_run_brings_such_a_state_up_to_date(
    share: float, how: str, ground: Ground, desk: Desk, label: str, cut_short: Path
) -> None:
    file, log_file = state_files(cut_short)
    log = log_file.read_bytes()
    ends = frames(file, log)
    end = ends[int(share * (len(ends) - 1))]
    left = log[:end] if how == "cut" else log[:end] + bytes(5000) + log[end + 5000 :]
    log_file.write_bytes(left)
    file.with_name("state.db-shm").unlink(missing_ok=True)
    before, versions = grown(cut_short), ground.stored(label)

    done = desk.run("sync", cut_short, f"lab/{label}", "--delete", "--json")

    assert (0, 0, 0) == (done.code, done.summary["conflicts"], done.summary["deleted"]), done
    missing = 2 * FILES - len(before) + 2 * FILES - len(versions)
    assert missing >= done.summary["uploaded"] + done.summary["downloaded"], "nothing moved twice"
    after = grown(cut_short)
    assert 2 * FILES == len(after) == len(ground.stored(label))
    assert before.items() <= after.items()
    assert hashes(after) == there(ground, label)
    assert {} == desk.run("sync", cut_short, "--json").moved()


def test_a_whole_run_that_the_log_has_forgotten_is_found_again_by_content(
    ground: Ground, desk: Desk, label: str, cut_short: Path, tmp_path: Path
) -> None:
    file, log_file = state_files(cut_short)
    old = tmp_path / "old"
    shutil.copytree(file.parent, old)
    assert desk.run("sync", cut_short, f"lab/{label}").code == 0
    here, versions = grown(cut_short), ground.stored(label)

    # What was reported as done was written through; this disk has lied, and lost all of it.
    for one in (file, log_file):
        one.unlink(missing_ok=True)
        shutil.copyfile(old / one.name, one)
    file.with_name("state.db-shm").unlink(missing_ok=True)
    done = desk.run("sync", cut_short, "--delete", "--json")

    assert (0, 0) == (done.code, done.summary["bytes"]), done
    assert set(done.moved()) <= {"adopted"}, done
    assert (here, versions) == (grown(cut_short), ground.stored(label))


def test_a_state_is_kept_as_the_promises_about_power_want_it(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.db") as state:
        state.set_setting("any", "thing")
        [(mode,)] = state._db.ask("PRAGMA journal_mode")
        [(synchronous,)] = state._db.ask("PRAGMA synchronous")

    assert ("wal", 1) == (mode, synchronous), "1 is NORMAL: see docs/decisions/0004"


def test_what_a_run_has_reported_is_in_the_file_itself(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert desk.run("sync", root, f"lab/{label}").code == 0
    file, log_file = state_files(root)
    alone = tmp_path / "state.db"
    shutil.copyfile(file, alone)

    assert not log_file.exists() or log_file.stat().st_size == 0
    expected = hashes(grown(root))
    assert expected == claims(alone)
