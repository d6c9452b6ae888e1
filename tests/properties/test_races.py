"""Somebody touches a file at each step of a run that is about that very file: nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import ConflictPolicy
from tests.properties.people import Deed, do
from tests.properties.profiles import MORE, bounded
from tests.properties.steps import Steps
from tests.properties.test_convergence import in_step
from tests.properties.world import World

X, Y = "s/e/a/x", "s/e/a/y"
#: What was done before the run: (where, what).
BEFORE = (
    ((1, "delete"),),
    ((1, "append"),),
    ((1, "move"),),
    ((1, "move folder"),),
    ((1, "write below"),),
    ((0, "put"),),
    ((0, "delete"),),
    ((0, "relabel"),),
    ((0, "rename file"),),
    ((0, "put below"),),
    ((0, "put"), (1, "append")),
    ((0, "delete"), (1, "append")),
    ((0, "relabel"), (1, "append")),
    ((0, "put"), (1, "delete")),
)
#: What is done while it goes on.
MEANWHILE = (
    (0, "put"),
    (0, "delete"),
    (0, "recreate"),
    (0, "relabel"),
    (0, "rename file"),
    (0, "put below"),
    (1, "append"),
    (1, "delete"),
    (1, "write"),
    (1, "write over"),
    (1, "write below"),
    (1, "move folder"),
    (1, "swap"),
    (1, "link"),
)
Done = tuple[int, str]


def deed(done: Done) -> Deed:
    """On the first file, or with its folder: the label that it gets is another one."""
    where, what = done
    return Deed(where, what, 2 if what in ("relabel", "move folder") else 0, 1, _path_of(what))


def _path_of(what: str) -> str:
    return "s/e/a/n" if what in ("move", "rename file", "put below", "write below") else X


def race(
    before: Iterable[Done],
    meanwhile: Done | None,
    policy: ConflictPolicy = ConflictPolicy.KEEP_BOTH,
    *,
    versions: bool = True,
    first: int = 0,
    stride: int = 1,
) -> None:
    """One run for each step at which it can happen, each in a world of its own."""
    for at in count(first, stride):
        with closing(World(versions=versions)) as world:
            [host] = world.hosts
            for path in (X, Y):
                world.put(path, world.token())
            world.settle(host)
            for done in before:
                do(world, deed(done))
            host.how.conflict = policy
            acts = {} if meanwhile is None else {at: lambda: do(world, deed(meanwhile))}
            ran = host.run(Steps(acts))
            world.check()
            world.settle(host, most=4)
            in_step(host)
        if at >= len(ran.steps) or meanwhile is None:
            return


@bounded(5)
@given(
    st.sampled_from(BEFORE),
    st.sampled_from(MEANWHILE),
    st.sampled_from(ConflictPolicy),
    st.booleans(),
    st.integers(0, 9),
)
def test_whenever_it_happens_nothing_is_lost(
    before: tuple[Done, ...], meanwhile: Done, policy: ConflictPolicy, versions: bool, first: int
) -> None:
    is_there = meanwhile[0] == 0
    stride = 10 if MORE == 1 else 1
    race(
        before,
        meanwhile,
        policy,
        versions=versions or is_there,
        first=first % stride,
        stride=stride,
    )
