"""Who asks what was lost would notice: with a safeguard taken out, the machine finds the loss."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fwsync import renaming
from fwsync.executor import Executor
from fwsync.model import ConflictPolicy
from fwsync.safekeeping import Safekeeping
from tests.properties.test_machine import Work
from tests.properties.test_races import race
from tests.properties.world import Lost

#: So many examples are enough, each time; it is the same ones that are tried.
MOST = 250

Change = tuple[Callable[..., Any], str, str]
IN_MACHINES: dict[str, Change] = {
    "what is replaced here goes to the trash": (
        renaming.publish,
        "return _stamp_named(to_fd, name, given), kept",
        "return kept and os.unlink(kept, dir_fd=root_fd) or _stamp_named(to_fd, name, given), ''",
    ),
    "what is deleted here goes to the trash": (
        renaming.discard,
        "_take_away(root_fd, path, seen, trash)",
        "os.unlink(path, dir_fd=root_fd)",
    ),
}
IN_RACES: dict[str, tuple[Change, Callable[[], None]]] = {
    "what is deleted there is what the plan saw": (
        (Executor._delete_remote, "if now.etag != decision.remote.etag:", "if False:"),
        lambda: race([(1, "delete")], (0, "put")),
    ),
    "what a server without versions has is fetched first": (
        (Safekeeping.before, "self._send_after(send) if self._is_needed else send", "send"),
        lambda: race([(0, "put"), (1, "append")], None, ConflictPolicy.LOCAL, versions=False),
    ),
}


@contextmanager
def without(function: Callable[..., Any], old: str, new: str) -> Iterator[None]:
    """One of its lines is another for a while."""
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    assert 1 == source.count(old), f"{function.__qualname__} has another line now than {old!r}"
    flags = __future__.annotations.compiler_flag
    made: dict[str, FunctionType] = {}
    code = compile(source.replace(old, new), inspect.getfile(function), "exec", flags)
    exec(code, function.__globals__, made)  # our own source, but for a line
    was, function.__code__ = function.__code__, made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = was


@pytest.mark.parametrize("safeguard", IN_MACHINES)
def test_without_a_safeguard_the_machine_finds_the_loss(safeguard: str) -> None:
    tried = settings(
        max_examples=MOST,
        stateful_step_count=12,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    with without(*IN_MACHINES[safeguard]), pytest.raises(Lost):
        run_state_machine_as_test(Work, settings=tried)


@pytest.mark.parametrize("safeguard", IN_RACES)
def test_without_a_safeguard_a_race_finds_the_loss(safeguard: str) -> None:
    change, a_race = IN_RACES[safeguard]
    a_race()  # with it nothing is lost

    with without(*change), pytest.raises(Lost):
        a_race()
