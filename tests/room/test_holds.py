"""What a guard holds, as it is remembered from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fwsync import holds
from fwsync.guards import Guard
from fwsync.model import Decision, Mode, RelPath, Verb
from fwsync.plan import Plan
from fwsync.state import State, open_state

WAITING = tuple(Decision(Verb.DELETE_REMOTE, RelPath(path)) for path in ("a", "b"))
HELD = Plan((), waiting=WAITING, held=(Guard("too-many-deletions", "two"),), plan_id="made")
NOTHING = Plan(())


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state.db") as state:
        yield state


def test_a_hold_is_not_over_while_a_part_of_the_server_is_not_seen(state: State) -> None:
    holds.keep(state, HELD, Mode.BOTH, 10)
    holds.keep(state, NOTHING, Mode.BOTH, 10, is_whole=False)

    assert holds.read(state) is not None

    holds.keep(state, NOTHING, Mode.BOTH, 10)

    assert holds.read(state) is None


@pytest.mark.parametrize("done", [0, 1, 2])
def test_consent_to_a_part_is_none_to_the_rest(done: int) -> None:
    left = holds.remaining(HELD, Plan(WAITING[:done]))

    assert (WAITING[done:], done < 2) == (left.waiting, bool(left.held))


def test_what_an_older_plan_held_is_held_where_nothing_is_held_today() -> None:
    assert HELD is holds.remaining(NOTHING, HELD)
