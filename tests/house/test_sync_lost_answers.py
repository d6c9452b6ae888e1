"""A `sync` whose request was carried out, and which never heard so: rows F05 and F06, both ways.

Each time the process dies while it waits for the answer, or the answer is lost on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.faults import LOST, Rule, faulty, fired, rule
from tests.house.house import Desk, Ground, check_state, grown, leftovers, plant
from tests.house.test_fault_rows_kill import killed
from tests.house.test_moves import containers
from tests.house.test_moves_up_kill import ASIDE, hashes, there

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)

TREE = {
    "s1/e/a/edit.dat": b"as agreed",
    "s1/e/a/gone.dat": b"is deleted here",
    "s1/e/a/name.dat": b"gets another name",
    "s2/e/b/1.dat": b"its subject gets another label",
}


@dataclass(frozen=True)
class Case:
    """One change here, and the request that carries it up."""

    change: Callable[[Path], object]
    request: Rule
    versions: int = 0  #: that are new on the server when it is done

    def match(self, action: Rule) -> Rule:
        return rule(action, self.request)


CASES = {
    "a new file": Case(
        lambda root: plant(root, {"s1/e/a/new.dat": b"new here"}),
        {"method": "POST", "path": "/acquisitions/*/files"},
        1,
    ),
    "an edit": Case(
        lambda root: plant(root, {"s1/e/a/edit.dat": b"edited here"}),
        {"method": "POST", "path": "/acquisitions/*/files"},
        1,
    ),
    "a deletion": Case(
        lambda root: (root / "s1/e/a/gone.dat").unlink(),
        {"method": "DELETE", "path": "/acquisitions/*/files/*"},
    ),
    "a file's name": Case(
        lambda root: (root / "s1/e/a/name.dat").rename(root / "s1/e/a/other.dat"),
        {"method": "POST", "path": "/files/*/move"},
    ),
    "a container's label": Case(
        lambda root: (root / "s2").rename(root / "s two"),
        {"method": "PUT", "path": "/subjects/*"},
    ),
    "a container's parent": Case(
        lambda root: (root / "s2/e/b").rename(root / "s1/e/b"),
        {"method": "PUT", "path": "/acquisitions/*"},
    ),
}


@pytest.fixture
def root(desk: Desk, label: str, tmp_path: Path) -> Path:
    """A folder that is in step with a project."""
    root = plant(tmp_path / "root", TREE)
    assert desk.run("sync", root, f"lab/{label}").code == 0
    return root


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def check_once(ground: Ground, desk: Desk, label: str, root: Path, versions: int) -> None:
    """Both sides are the same, nothing was stored twice, and nothing is left to do."""
    again = desk.run("sync", root, "--delete-up", "--json")

    assert (again.code, again.moved()) == (0, {}), again
    assert hashes(grown(root)) == there(ground, label)
    assert versions == len(ground.stored(label)), ground.stored(label)
    assert [] == ground.twins()
    assert [] == [path for path in containers(ground, label) if ASIDE in path]
    assert [] == leftovers(root)
    check_state(root)


def test_what_was_done_and_not_heard_before_a_kill_is_not_done_again(
    ground: Ground, desk: Desk, label: str, root: Path, case: Case
) -> None:
    versions = len(ground.stored(label)) + case.versions
    before = ground.stored(label), sorted(containers(ground, label).items(), key=str)
    case.change(root)
    expected = grown(root)
    sync = ("sync", root, "--delete-up", "--json")

    def is_done() -> bool:
        now = ground.stored(label), sorted(containers(ground, label).items(), key=str)
        return bool(fired(ground)) and now != before

    mute = case.match({"delay_s": 60, "when": "after"})
    with killed(ground, desk, [mute], *sync) as wait:
        wait(is_done, "it is done, and not heard")

    done = desk.run(*sync)

    assert (done.code, done.summary["bytes"], done.summary["conflicts"]) == (0, 0, 0), done
    assert 0 == done.summary["uploaded"] == done.summary["downloaded"], done
    assert expected == grown(root)
    check_once(ground, desk, label, root, versions)


def test_an_answer_that_is_lost_costs_no_second_time(
    ground: Ground, desk: Desk, label: str, root: Path, case: Case
) -> None:
    versions = len(ground.stored(label)) + case.versions
    case.change(root)
    expected = grown(root)

    with faulty(ground, rule(LOST, case.request, hits={"nth": 1})):
        done = desk.run("sync", root, "--delete-up", "--json")

    assert (done.code, done.summary["conflicts"], done.summary["problems"]) == (0, 0, 0), done
    assert expected == grown(root)
    check_once(ground, desk, label, root, versions)
