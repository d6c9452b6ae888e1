"""A run dies among renames that it carries up to the server; the next one ends them.

Each point of ``tests/torture/points.py``'s kind is come to for the first time, the second time and
so on, until a run comes to its end without it: so every step between two requests is tried.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.house.house import Desk, Done, Ground, check_state, grown, plant
from tests.house.test_moves import containers
from tests.torture.points import Point

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)

#: All kinds of renames, in places of their own.
WORLD = {
    "s1/e/named/old.dat": b"gets another name",
    "s2/e/a/1.dat": b"its subject gets another label",
    "s3/e/guest/1.dat": b"its acquisition goes to another session",
    "s3/e/stays/1.dat": b"its session stays",
    "s4/e/host/1.dat": b"has a guest",
    "s5/e/left/1.dat": b"its acquisition and another one",
    "s5/e/right/1.dat": b"change their labels",
    "s6/e/x/1.dat": b"two files",
    "s6/e/x/2.dat": b"change their names",
}

#: What moves, there and back.
MOVES = (
    ("s1/e/named/old.dat", "s1/e/named/new.dat"),
    ("s2", "s two"),
    ("s3/e/guest", "s4/e/guest"),
)
SWAPS = (("s5/e/left", "s5/e/right"), ("s6/e/x/1.dat", "s6/e/x/2.dat"))

ASIDE = ".fwsync-moving-"


@pytest.fixture
def root(desk: Desk, label: str, tmp_path: Path) -> Path:
    """A folder that is in step with a project."""
    root = plant(tmp_path / "root", WORLD)
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    return root


def rename_all(root: Path) -> None:
    """Everything moves; what has moved before moves back."""
    for old, new in MOVES:
        before, after = (old, new) if (root / old).exists() else (new, old)
        (root / before).rename(root / after)
    for one, other in SWAPS:
        swap(root, one, other)


def swap(root: Path, one: str, other: str) -> None:
    (root / one).rename(root / "meanwhile")
    (root / other).rename(root / one)
    (root / "meanwhile").rename(root / other)


def killed_at(desk: Desk, point: Point, *args: str | Path) -> Done:
    """The command, killed when it comes to the point; if it does not, it ends by itself."""
    program = (str(Path(__file__).parents[1] / "torture/points.py"), json.dumps(point.spec))
    done = desk.run(*args, program=program)

    assert done.code in (0, -signal.SIGKILL), done
    return done


def there(ground: Ground, label: str) -> dict[str, str]:
    """What the server has now: path -> SHA-384 of the newest version."""
    newest: dict[str, Any] = {}
    for one in sorted(ground.stored(label), key=lambda one: one.version):
        if not one.deleted:
            newest[one.path] = one.sha384.rpartition("-")[2]
    return newest


def hashes(tree: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha384(content).hexdigest() for path, content in tree.items()}


def ids(ground: Ground, label: str) -> set[str]:
    return {one["id"] for one in containers(ground, label).values()}


def check_no_moment(ground: Ground, label: str, *roots: Path) -> None:
    """No name for a moment is left, on any side, nor the note of one."""
    names = [*containers(ground, label), *there(ground, label)]
    names += [path for root in roots for path in grown(root)]
    names += [one.name for root in roots for one in root.rglob("*") if one.is_dir()]

    assert [] == [name for name in names if ASIDE in name]
    assert [] == [root for root in roots if (root / ".fwsync/moving").exists()]
    assert [] == ground.twins()


def steps(at: str, moment: str) -> Iterator[Point]:
    for nth in range(1, 30):
        yield Point("F06", at, moment, nth)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "at",
    [
        "remotes.flywheel_moves:Moving._put",
        "remotes.flywheel_moves:Moving.move",
        "asides:_note",
        "state:State.record",
    ],
)
def test_renames_that_a_kill_cut_short_are_ended_by_the_next_run(
    ground: Ground, desk: Desk, label: str, root: Path, at: str, moment: str
) -> None:
    sync = ("sync", root, "--delete-up", "--json")
    versions, made = ground.stored(label), ids(ground, label)
    kills = 0
    for point in steps(at, moment):
        rename_all(root)
        expected = grown(root)
        first = killed_at(desk, point, *sync)
        kills += first.code != 0
        next_run = first if first.code == 0 else desk.run(*sync)

        assert (0, 0) == (next_run.code, next_run.summary["bytes"]), (str(point), next_run)
        assert {} == desk.run(*sync).moved(), str(point)
        assert expected == grown(root), str(point)
        assert hashes(expected) == there(ground, label), str(point)
        assert made == ids(ground, label), f"{point}: another container was made"
        assert len(versions) == len(ground.stored(label)), f"{point}: bytes were sent"
        check_no_moment(ground, label, root)
        if first.code == 0:
            break
    else:
        raise AssertionError("it never came to an end")
    assert kills
    check_state(root)


#: A run dies when something has a name for a moment: a folder, or a file.
HALF_WAY = {
    "folder": (SWAPS[0], Point("F06", "remotes.flywheel_moves:Moving._put", "after")),
    "file": (SWAPS[1], Point("F06", "remotes.flywheel_moves:Moving.move", "after")),
}


@pytest.fixture(params=HALF_WAY)
def half_way(
    request: pytest.FixtureRequest, ground: Ground, desk: Desk, label: str, root: Path
) -> Path:
    """A folder whose last run died then."""
    (one, other), point = HALF_WAY[request.param]
    swap(root, one, other)

    assert 0 != killed_at(desk, point, "sync", root).code
    assert 1 == sum(ASIDE in name for name in [*containers(ground, label), *there(ground, label)]
                    if name.count("/") == one.count("/"))  # fmt: skip
    return root


def test_what_has_a_name_for_a_moment_is_known_after_the_state_is_lost(
    ground: Ground, desk: Desk, label: str, half_way: Path
) -> None:
    for file in half_way.joinpath(".fwsync").glob("state.db*"):
        file.unlink()

    done = desk.run("sync", half_way, f"lab/{label}", "--json")

    # Nothing says any more who has renamed what: other bytes under one name are a conflict.
    assert (1, 2, 0) == (done.code, done.summary["conflicts"], done.summary["uploaded"]), done
    assert {} == desk.run("sync", half_way, "--json").moved()
    assert set(WORLD.values()) == set(grown(half_way).values())
    assert hashes(WORLD) == there(ground, label), "all have their own names again"
    assert len(WORLD) == len(ground.stored(label))
    check_no_moment(ground, label, half_way)


def test_a_doctor_that_makes_the_state_anew_then_takes_nothing_for_new(
    ground: Ground, desk: Desk, label: str, half_way: Path
) -> None:
    expected = grown(half_way)

    rebuilt = desk.run("doctor", half_way, "--rebuild", "--json")
    done = desk.run("sync", half_way, "--json")

    assert rebuilt.code in (0, 1), rebuilt
    assert (1, 2, 0) == (done.code, done.summary["conflicts"], done.summary["uploaded"]), done
    assert {} == desk.run("sync", half_way, "--json").moved()
    assert set(expected.values()) == set(grown(half_way).values())
    assert len(WORLD) == len(ground.stored(label))
    check_no_moment(ground, label, half_way)


def test_a_pull_into_it_follows_no_name_for_a_moment(
    ground: Ground, desk: Desk, label: str, half_way: Path
) -> None:
    before = grown(half_way)

    done = desk.run("pull", f"lab/{label}", half_way, "--delete", "--json")

    assert (0, 0) == (done.summary["deleted"], done.summary["downloaded"]), done
    assert 1 == done.code
    assert "the next `fwsync sync` or `push`" in done.out
    assert before == grown(half_way)
    mended = desk.run("sync", half_way, "--json")
    assert (0, 0) == (mended.code, mended.summary["bytes"]), mended
    assert before == grown(half_way)
    assert hashes(before) == there(ground, label)
    check_no_moment(ground, label, half_way)


def test_another_host_that_comes_in_between_ends_up_with_the_same(
    ground: Ground, desk: Desk, label: str, half_way: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert desk.run("pull", f"lab/{label}", other).code == 0
    expected = grown(half_way)

    for root in (half_way, other, half_way, other):
        done = desk.run("sync", root, f"lab/{label}", "--json")
        assert (0, 0) == (done.code, done.summary["uploaded"]), done

    assert expected == grown(half_way) == grown(other)
    assert hashes(expected) == there(ground, label)
    assert len(WORLD) == len(ground.stored(label))
    check_no_moment(ground, label, half_way, other)


def test_a_name_like_one_for_a_moment_that_somebody_gave_is_theirs(  # F88
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    name = f"s6/e/x/1.dat{ASIDE}0123abcd"
    plant(root, {name: b"a file like any other"})

    assert 0 == desk.run("sync", root).code
    assert 0 == desk.run("pull", f"lab/{label}", other).code

    assert b"a file like any other" == (other / name).read_bytes()
    assert {} == desk.run("sync", root, "--json").moved()
