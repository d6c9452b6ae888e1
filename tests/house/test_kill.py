"""``kill -9`` at random moments: the next run goes on, and nothing is lost, twice, or wrong.

A kill falls after the first file moved and before the last one, by construction: the relay in
front of the server lets fewer bytes through than the files hold, until the process is dead.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.house import (
    Desk,
    Ground,
    Tree,
    check_state,
    expected_record,
    grown,
    kill,
    leftovers,
    plant,
    record_of,
    size_of,
    some_tree,
    stop_watch,
    until,
    visible,
)
from tests.house.wire import Relay

SEEDS = range(10)

#: The tree that is pulled; it is put there once for all kills of a pull.
PULLED = some_tree(99)


@pytest.fixture(scope="module")
def pulled(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A project ``pulled`` that holds :data:`PULLED`."""
    ground.project("pulled")
    home = tmp_path_factory.mktemp("pulled")
    root = plant(home / "root", PULLED)
    done = Desk(home / "home", ground.key()).run("push", root, "lab/pulled", "--json")

    assert 0 == done.code, done
    return PULLED


@pytest.fixture
def desk(relay: Relay, ground: Ground, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", ground.key(port=relay.port))


def less_than_all(tree: Tree) -> int:
    """A number of bytes with which this tree cannot have come through."""
    return size_of(tree) - max(map(len, tree.values())) // 2


def kill_after(
    process: subprocess.Popen[bytes], count: Callable[[], int], least: int, relay: Relay
) -> None:
    """Kill it once so many files have moved, or when no more can."""

    def due() -> bool:
        moved = count()
        return moved >= least or (moved > 0 and relay.stalled.is_set())

    try:
        until(due, what=f"{least} files moved")
    finally:
        kill(process)


def check_in_step(root: Path) -> None:
    assert [] == leftovers(root)
    check_state(root)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_push_goes_on(
    seed: int, ground: Ground, relay: Relay, desk: Desk, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    label, tree = f"push-{seed}", some_tree(seed)
    ground.project(label)
    root = plant(tmp_path / "root", tree)
    push = ("push", root, f"lab/{label}", "--transfers", "2", "--json")

    ground.run(relay.limit(up=less_than_all(tree)))
    least = dice.randrange(1, len(tree) * 3 // 4)
    kill_after(desk.start(*push), lambda: ground.count(label), least, relay)
    sent = ground.count(label)

    assert 0 < sent < len(tree)

    ground.run(relay.limit())
    second = desk.run(*push)

    assert 0 == second.code, second
    # A file that had come through whole may be stored a moment after the client is gone.
    assert second.summary["uploaded"] <= len(tree) - sent, second.summary
    assert expected_record(tree) == record_of(ground, label)
    assert [] == ground.twins()
    assert tree == grown(root)
    check_in_step(root)

    third = desk.run(*push)

    assert (0, {}) == (third.code, third.moved())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_pull_goes_on(
    seed: int, ground: Ground, pulled: Tree, relay: Relay, desk: Desk, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    root = tmp_path / "root"
    pull = ("pull", "lab/pulled", root, "--transfers", "2", "--json")
    before = record_of(ground, "pulled")

    ground.run(relay.limit(down=less_than_all(pulled)))
    least = dice.randrange(1, len(pulled) * 3 // 4)
    kill_after(desk.start(*pull), lambda: visible(root), least, relay)
    landed = grown(root)

    assert 0 < len(landed) < len(pulled)
    assert {path: pulled[path] for path in landed} == landed  # each of them is whole

    ground.run(relay.limit())
    second = desk.run(*pull)

    assert 0 == second.code, second
    assert len(pulled) == second.summary["downloaded"] + len(landed), second.summary
    assert pulled == grown(root)
    assert before == record_of(ground, "pulled")
    check_in_step(root)

    third = desk.run(*pull)

    assert (0, {}) == (third.code, third.moved())


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_watch_goes_on(
    seed: int, ground: Ground, relay: Relay, desk: Desk, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    label, tree = f"watch-{seed}", some_tree(100 + seed, small=120)
    ground.project(label)
    root = plant(tmp_path / "root", tree)
    watch = ("watch", root, f"lab/{label}", "--settle", "0.1", "--transfers", "2", "--json")

    ground.run(relay.limit(up=less_than_all(tree)))
    least = dice.randrange(1, len(tree) * 3 // 4)
    kill_after(desk.start(*watch), lambda: ground.count(label), least, relay)

    assert 0 < ground.count(label) < len(tree)

    ground.run(relay.limit())
    again = desk.start(*watch)
    until(lambda: ground.count(label) >= len(tree), what="the rest was sent")
    done = stop_watch(again)

    assert 0 == done.code, done
    assert expected_record(tree) == record_of(ground, label)
    assert [] == ground.twins()
    check_in_step(root)

    third = desk.run("push", root, "--json")

    assert (0, {}) == (third.code, third.moved())


def test_a_deleted_state_costs_reading_and_no_transfer(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    tree = some_tree(7, small=60, large=(2,))
    ground.project("forgotten")
    root = plant(tmp_path / "root", tree)
    push = ("push", root, "lab/forgotten", "--json")
    first = desk.run(*push)

    assert 0 == first.code, first

    shutil.rmtree(root / ".fwsync")
    second = desk.run(*push)

    assert (0, {"adopted": len(tree)}) == (second.code, second.moved())
    assert expected_record(tree) == record_of(ground, "forgotten")
    assert (0, {}) == ((third := desk.run(*push)).code, third.moved())


def test_a_deleted_state_of_a_pulled_tree_costs_no_transfer_either(
    pulled: Tree, desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    pull = ("pull", "lab/pulled", root, "--json")
    first = desk.run(*pull)

    assert 0 == first.code, first

    shutil.rmtree(root / ".fwsync")
    second = desk.run(*pull)

    assert (0, {"adopted": len(pulled)}) == (second.code, second.moved())
    assert (0, {}) == ((third := desk.run(*pull)).code, third.moved())
