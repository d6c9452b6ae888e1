"""The i-th file operation, request or SQL statement of a ``sync`` fails, once or for good.

In the world of ``tests/torture/both.py`` all has happened that can happen on two sides. Here some
of its operations fail; ``make torture`` lets each of them fail in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from fwsync.errors import AuthError
from fwsync.model import Report
from tests.house.faults import rule
from tests.house.house import Ground
from tests.torture.both import Both, own_home
from tests.torture.boundaries import Boundary, Files, Requests, Statements, nth_fails

#: Every so many operations one fails. The torture meets them all.
STEPS = {"file operation": 41, "request": 3, "statement": 19}

Worlds = Callable[[], Both]


@pytest.fixture
def worlds(
    ground: Ground, label: str, tmp_path: Path, blockbuster: BlockBuster
) -> Iterator[Worlds]:
    """One world after the other, each with a project of its own."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    key = tmp_path / "key"
    key.write_text(ground.key())
    key.chmod(0o600)
    numbers = count(1)

    def made() -> Both:
        number = next(numbers)
        one = Both(ground, f"{label}-{number}", tmp_path / f"root-{number}", key)
        one.part(one.agree())
        return one

    with own_home(tmp_path / "home"):
        yield made


def test_without_a_fault_both_sides_are_in_step_after_one_run(worlds: Worlds) -> None:
    world = worlds()
    report = world.must()

    assert (1, 0) == (report.conflicts, report.problems)
    world.check_settled("after one run")
    world.check_still("after one run")


@pytest.mark.timeout(300)  # dozens of runs
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("boundary", [Files(), Requests(), Statements()], ids=lambda one: one.name)
def test_whichever_operation_fails_the_next_run_puts_it_right(
    boundary: Boundary, for_good: bool, worlds: Worlds
) -> None:
    faults = boundary.faults
    if for_good and isinstance(boundary, Requests):  # the others wait for better times
        faults = ("401", "403", "404", "409")
    step = STEPS[boundary.name] * (2 if for_good else 1)

    def fault(at: int) -> tuple[str, bool]:
        return faults[at // step % len(faults)], for_good

    met = nth_fails(boundary, lambda _: worlds(), first=1 + step // 2, step=step, fault=fault)

    assert met >= 4


def test_a_deletion_that_the_server_only_seems_to_have_done_is_done_by_the_next_run(
    worlds: Worlds, ground: Ground
) -> None:
    world = worlds()
    ground.ask("PUT", "/sandbox/faults", [rule({"status": 404}, method="DELETE")])
    report = world.sync()
    ground.ask("PUT", "/sandbox/faults", [])

    assert isinstance(report, Report), report
    assert "s1/e/gone/here.dat" in [one.path for one in report.problem_list]
    world.check_closed("after the deletion")


# ----------------------------------------------------------------------- never locked out


def test_one_401_in_the_middle_is_nobodys_business(worlds: Worlds, ground: Ground) -> None:
    for number in (3, 11, 20, 29):
        world = worlds()
        with Requests().failing(world, number, "401", for_good=False) as met:
            report = world.sync()

        assert met.struck
        assert isinstance(report, Report), (number, report)
        assert [] == report.problem_list, (number, report.problem_list)
        world.check_settled(f"401 at {number}")
        world.check_still(f"401 at {number}")


def test_f38_a_key_that_is_refused_for_good_ends_the_run_and_a_good_one_goes_on(
    worlds: Worlds, ground: Ground
) -> None:
    for number in (12, 30):
        world = worlds()
        with Requests().failing(world, number, "401", for_good=True):
            ended = world.sync()

        assert isinstance(ended, AuthError), (number, ended)
        assert ended.exit_code == 3
        world.check_nothing_lost(f"401 from {number} on")
        world.check_closed(f"401 from {number} on")


@pytest.mark.timeout(300)  # it waits, and asks again
def test_a_storm_of_5xx_is_weathered_in_the_very_run(worlds: Worlds, ground: Ground) -> None:
    world = worlds()
    storm = [
        rule({"status": 503, "headers": {"Retry-After": "0"}}, hits={"every": 3}),
        rule({"status": 502}, hits={"every": 7}),
        rule({"status": 504}, hits={"every": 11}),
    ]
    ground.ask("PUT", "/sandbox/faults", storm)
    report = world.sync()
    ground.ask("PUT", "/sandbox/faults", [])

    assert isinstance(report, Report), report
    world.check_closed("after the storm")
