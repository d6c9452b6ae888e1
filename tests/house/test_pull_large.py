"""Large files come down in pieces: killed, cut, spoiled, replaced; what is here is not lost.

Rows of the catalogue of faults are named by number. The files are large enough to be cut up by
the command itself: nothing in it is made smaller for the test.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fwsync.courses import PIECE
from fwsync.roots import part_name
from tests.house.faults import Rule, halted, problems, rule
from tests.house.house import (
    Desk,
    Done,
    Ground,
    Tree,
    check_state,
    grounded,
    grown,
    kill,
    leftovers,
    plant,
    until,
)
from tests.house.test_core2018 import Ground2018

LARGE = "sub-01/ses-01/T1/large.nii"
SIZE = 5 * PIECE + 4321
TREE: Tree = {
    LARGE: random.Random(8).randbytes(SIZE),
    "sub-01/ses-01/T1/small.nii": b"small",
    "sub-02/ses-01/T1/small.nii": b"small too",
}
#: Requests for what is in the large file, from the site and from its store.
AT_SITE: Mapping[str, Any] = {"method": "GET", "path": "**/files/large.nii"}
IN_STORE: Mapping[str, Any] = {"method": "GET", "path": "/fw.s3.*/**"}


@pytest.fixture(scope="module", params=["today", "store", "2018"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """A site that has :data:`TREE`: it sends files, its object store does, or it is an old one."""
    data = tmp_path_factory.mktemp(request.param)
    if request.param == "2018":
        with Ground2018(data / "data", switches={"compat": "core-2018"}) as ground:
            ground.group()
            yield seeded(ground, data)
    else:
        with grounded(data / "data", store="s3" if request.param == "store" else "local") as ground:
            yield seeded(ground, data)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One site is enough where the fault is on the wire."""
    data = tmp_path_factory.mktemp("ground")
    with grounded(data / "data") as ground:
        yield seeded(ground, data)


def seeded(ground: Ground, data: Path, label: str = "aging", tree: Tree = TREE) -> Ground:
    ground.project(label)
    root = plant(data / label, tree)
    done = Desk(data / "home", ground.key()).run("push", root, f"lab/{label}", "--json")
    assert 0 == done.code, done
    return ground


@pytest.fixture
def at(site: Ground, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", site.key())


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves its faults to the next."""
    yield
    for name in {"site", "ground"} & set(request.fixturenames):
        request.getfixturevalue(name).ask("PUT", "/sandbox/faults", [])


def kept(root: Path) -> int:
    """How many pieces the state knows of."""
    return sum(held == min(PIECE, SIZE - number * PIECE) for number, held in held_in(root))


def held_in(root: Path) -> list[tuple[int, int]]:
    """The pieces it knows of, and how much of each."""
    file = root / ".fwsync" / "state.db"
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        try:
            return list(db.execute("SELECT number, size FROM download_piece"))
        except sqlite3.OperationalError:  # it is being made
            return []


def missing(root: Path) -> int:
    """Bytes that are not here: of pieces, and of files."""
    here = sum(held for _, held in held_in(root))
    return sum(map(len, TREE.values())) - here - sum(map(len, grown(root).values()))


def came(ground: Ground) -> int:
    """Bytes of the large file that were sent since the requests were forgotten."""
    asked = [one for one in ground.requests() if one["status"] in (200, 206)]
    return sum(
        one["sent"]
        for one in asked
        if one["path"].endswith("/large.nii") or one["path"].startswith("/fw.s3.")
    )


def slow(ground: Ground, rate: int = 30_000_000) -> None:
    """What is sent of the large file comes at such a rate that a kill falls into it."""
    rules = [rule({"bandwidth": rate}, AT_SITE), rule({"bandwidth": rate}, IN_STORE)]
    ground.ask("PUT", "/sandbox/faults", rules)


def killed_with(ground: Ground, desk: Desk, root: Path, pieces: int, *options: str) -> int:
    """A pull is killed once it has recorded so many pieces; what was missing then, in bytes."""
    process = desk.start("pull", "lab/aging", root, *options, "--json")
    try:
        until(lambda: kept(root) >= pieces, what=f"{pieces} pieces are here")
    finally:
        kill(process)
    ground.ask("PUT", "/sandbox/faults", [])
    return missing(root)


def check_pulled(done: Done, desk: Desk, root: Path, label: str = "aging") -> None:
    """All is there, nothing else is, and another run finds nothing to do."""
    assert 0 == done.code, done
    assert TREE == grown(root)
    assert [] == leftovers(root)
    check_state(root)
    again = desk.run("pull", f"lab/{label}", root, "--json")
    assert (0, {}) == (again.code, again.moved())


def written(root: Path) -> int:
    """Bytes of the large file that are on the disk, durable or not."""
    part = root / ".fwsync" / "parts" / part_name(LARGE)
    return part.stat().st_blocks * 512 if part.exists() else 0


def part_of(root: Path) -> Path:
    [part] = (root / ".fwsync" / "parts").iterdir()
    return part


# --------------------------------------------------------------------------------- killed


def test_f08_a_killed_pull_of_a_large_file_goes_on_where_it_was(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(site)
    left = killed_with(site, at, root, 2)
    assert LARGE not in grown(root)

    done = at.run("pull", "lab/aging", root, "--json")

    assert 0 < left == done.summary["bytes"]
    check_pulled(done, at, root)


def test_f08_a_pull_that_is_killed_again_and_again_costs_what_was_on_its_way(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root, left = tmp_path / "root", []
    for pieces in (1, 3):
        slow(ground, 8_000_000)  # a piece a second
        left.append(killed_with(ground, desk, root, pieces, "--transfers", "1"))

    done = desk.run("pull", "lab/aging", root, "--json")

    assert left[0] > left[1] == done.summary["bytes"]
    check_pulled(done, desk, root)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_f09_a_part_that_is_not_what_was_written_is_not_believed(
    damage: str, ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(ground)
    killed_with(ground, desk, root, 2)
    part = part_of(root)
    if damage == "gone":
        part.unlink()
    else:
        content = bytearray(part.read_bytes())
        content[1000] ^= 1
        part.write_bytes(content)

    check_pulled(desk.run("pull", "lab/aging", root, "--json"), desk, root)


def test_f10_a_file_that_was_proved_and_not_renamed_is_not_asked_for_again(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    parts = root / ".fwsync/parts"
    pull = ("pull", "lab/aging", root, "--json")
    with halted(desk, tmp_path, *pull, before="utime", file=parts, nth=3) as run:
        until(lambda: kept(root) == 6, what="all its pieces are here")
        os.kill(run.pid, signal.SIGKILL)
    assert -signal.SIGKILL == run.done.code
    ground.forget_requests()

    done = desk.run(*pull)

    assert 0 == came(ground)
    assert 0 == done.summary["bytes"]
    check_pulled(done, desk, root)


def test_f11_a_file_that_was_renamed_and_not_recorded_is_agreed_on(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    pull = ("pull", "lab/aging", root, "--json")
    folder = root / Path(LARGE).parent
    ready = (root / LARGE).exists  # and its folder is not on the disk yet
    with halted(desk, tmp_path, *pull, before="fsync", file=folder, ready=ready) as run:
        os.kill(run.pid, signal.SIGKILL)
    ground.forget_requests()

    done = desk.run(*pull)

    assert 0 == came(ground)
    assert done.summary["conflicts"] == 0, done
    check_pulled(done, desk, root)


def test_f17_an_interrupted_pull_keeps_what_it_has(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(ground)
    process = desk.start("pull", "lab/aging", root, "--json")
    until(lambda: kept(root) >= 2, what="pieces are here")
    for _ in range(2):  # the second one does not wait for what is under way
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    here, left = kept(root), missing(root)
    ground.ask("PUT", "/sandbox/faults", [])

    done = desk.run("pull", "lab/aging", root, "--json")

    assert here >= 2
    assert left == done.summary["bytes"]
    check_pulled(done, desk, root)


def test_f17_a_pull_that_is_stopped_on_a_slow_line_keeps_what_came(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(site, 400_000)  # a piece takes 20 seconds and more
    process = at.start("pull", "lab/aging", root, "--json")
    until(lambda: written(root) > 0, what="something has come")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    here, left = kept(root), missing(root)
    site.ask("PUT", "/sandbox/faults", [])

    done = at.run("pull", "lab/aging", root, "--json")

    assert (0, 130) == (here, process.returncode)
    assert sum(map(len, TREE.values())) > left == done.summary["bytes"]
    check_pulled(done, at, root)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_f08_a_pull_that_is_killed_on_a_slow_line_keeps_what_came_some_seconds_before(
    number: signal.Signals, ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(ground, 400_000)
    process = desk.start("pull", "lab/aging", root, "--json")
    until(lambda: bool(held_in(root)), what="a piece has begun")
    process.send_signal(number)
    process.communicate(timeout=30)
    here, left = kept(root), missing(root)
    ground.ask("PUT", "/sandbox/faults", [])

    done = desk.run("pull", "lab/aging", root, "--json")

    assert 0 == here
    assert sum(map(len, TREE.values())) > left == done.summary["bytes"]
    check_pulled(done, desk, root)


# ------------------------------------------------------------------------------- replaced


def test_f45_what_is_here_of_an_older_version_is_not_joined_to_the_new_one(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    root, label = tmp_path / "root", "replaced"
    if label not in {one["label"] for one in site.ask("GET", "/projects")}:
        seeded(site, tmp_path, label)
    slow(site)
    process = at.start("pull", f"lab/{label}", root, "--json")
    until(lambda: kept(root) >= 2, what="pieces are here")
    kill(process)
    site.ask("PUT", "/sandbox/faults", [])
    newer = {**TREE, LARGE: TREE[LARGE][::-1]}
    other = plant(tmp_path / label, newer)
    os.utime(other / LARGE)
    sent = at.run("push", other, f"lab/{label}", "--json")
    assert (0, 1) == (sent.code, sent.summary["uploaded"]), sent

    done = at.run("pull", f"lab/{label}", root, "--json")

    assert 0 == done.code, done
    assert newer == grown(root)
    assert [] == leftovers(root)


def test_f45_a_part_of_a_file_that_is_not_there_any_more_is_swept(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    label, root = "deleted", tmp_path / "root"
    seeded(ground, tmp_path, label)
    slow(ground)
    process = desk.start("pull", f"lab/{label}", root, "--json")
    until(lambda: kept(root) >= 1, what="a piece is here")
    kill(process)
    ground.ask("PUT", "/sandbox/faults", [])
    (tmp_path / label / LARGE).unlink()
    gone = desk.run("push", tmp_path / label, f"lab/{label}", "--delete-up", "--json")
    assert 0 == gone.code, gone

    done = desk.run("pull", f"lab/{label}", root, "--json")

    assert 0 == done.code, done
    assert TREE.keys() - {LARGE} == grown(root).keys()
    assert [] == leftovers(root)
    assert 0 == kept(root)


# ------------------------------------------------------------------------------- on the wire


def flip_once(at: Mapping[str, Any]) -> Rule:
    return rule({"flip_at": 5000}, at, times=1)


#: What happens on the wire, and what a run that meets it still brings.
FAULTS: Mapping[str, Callable[[], Rule]] = {
    "F23": lambda: rule({"cut_at": 3_000_000, "cut_with": "reset"}, AT_SITE),
    "F25": lambda: rule({"cut_at": 3_000_000}, AT_SITE, times=6),
    "F26": lambda: rule({"cut_at": 3_000_000, "cut_with": "end"}, AT_SITE),
    "F28": lambda: flip_once(AT_SITE),
    "F31": lambda: rule({"stall_at": 3_000_000, "stall_s": 40}, AT_SITE, times=1),
    "F35": lambda: rule({"status": 503, "html": True}, AT_SITE, times=3),
    "F39": lambda: rule({"status": 401}, AT_SITE, hits={"nth": 2}),
    "F46": lambda: rule({"status": 416}, AT_SITE, times=1),
    "F49": lambda: rule({"status": 429, "headers": {"Retry-After": "1"}}, AT_SITE, times=1),
}


@pytest.mark.parametrize("row", FAULTS)
def test_a_large_file_comes_through(row: str, ground: Ground, desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "root"
    ground.ask("PUT", "/sandbox/faults", [FAULTS[row]()])

    done = desk.run("pull", "lab/aging", root, "--patience", "3", "--json")

    assert ground.ask("GET", "/sandbox/faults")["rules"][0]["fired"]
    ground.ask("PUT", "/sandbox/faults", [])
    check_pulled(done, desk, root)


def test_f29_wrong_bytes_always_are_reported_and_others_come(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    ground.ask("PUT", "/sandbox/faults", [rule({"flip_at": 5000}, AT_SITE)])

    done = desk.run("pull", "lab/aging", root, "--json")

    assert (1, [LARGE]) == (done.code, list(problems(done))), done
    assert "expected sha384:" in problems(done)[LARGE]
    assert TREE.keys() - {LARGE} == grown(root).keys()
    assert [] == leftovers(root)

    ground.ask("PUT", "/sandbox/faults", [])
    check_pulled(desk.run("pull", "lab/aging", root, "--json"), desk, root)


def test_f30_files_without_a_hash_are_said_to_be(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    label, root = "unhashed", tmp_path / "root"
    ground.ask("PATCH", "/sandbox/switches", {"empty_hashes": True})
    seeded(ground, tmp_path, label)
    ground.ask("PATCH", "/sandbox/switches", {"empty_hashes": False})

    done = desk.run("pull", f"lab/{label}", root, "--json")

    said = [one["text"] for one in done.lines if one["event"] == "note"]
    assert ["3 files came without a hash from the server: only the size could be compared"] == said
    check_pulled(done, desk, root, label)


@pytest.mark.parametrize("status", [403, 404])
def test_f40_f43_a_large_file_that_is_refused_is_reported_and_others_come(
    status: int, ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    ground.ask("PUT", "/sandbox/faults", [rule({"status": status}, AT_SITE)])

    done = desk.run("pull", "lab/aging", root, "--json")

    assert list(problems(done)) == [LARGE], done
    assert TREE.keys() - {LARGE} == grown(root).keys()

    ground.ask("PUT", "/sandbox/faults", [])
    check_pulled(desk.run("pull", "lab/aging", root, "--json"), desk, root)
