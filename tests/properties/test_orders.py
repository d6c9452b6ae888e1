"""P2, P3, P5: neither order nor a kill changes what comes of a run, and a plan is what is done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from fwsync.model import RelPath, Verb
from fwsync.plan import Plan
from tests.properties.hosts import Host
from tests.properties.loop import Order
from tests.properties.people import Deed, deeds, do
from tests.properties.profiles import ORDERS, bounded
from tests.properties.steps import Steps, die
from tests.properties.world import World

many = st.lists(deeds(clashes=True, wide=True), min_size=1, max_size=8)


@contextmanager
def made(first: Sequence[Deed], then: Sequence[Deed], *, versions: bool = True) -> Iterator[World]:
    """A world in which both sides had agreed, and were changed since; the same each time."""
    world = World(versions=versions)
    try:
        for deed in first:
            do(world, deed)
        world.settle(world.hosts[0])
        for deed in then:
            do(world, deed)
        yield world
    finally:
        world.close()


Final = tuple[dict[str, bytes], dict[str, bytes], Counter[bytes], Counter[bytes]]


def final(host: Host) -> Final:
    """What both sides hold at last, the copies of conflicts, and all versions on the server."""
    world = host.world
    world.settle(host)
    tree, mine = host.tree(), host.user_tree()
    copies = Counter(content for path, content in tree.items() if path not in mine)
    return mine, dict(world.cloud.tree()), copies, Counter(world.cloud.kept())


@settings(bounded(1), max_examples=10)
@given(many, many, st.randoms(use_true_random=False))
def test_no_order_changes_what_comes_of_it(
    first: list[Deed], then: list[Deed], dice: random.Random
) -> None:
    with made(first, then) as world:
        expected = final(world.hosts[0])
    for _ in range(ORDERS):
        with made(first, then) as world:
            [host] = world.hosts
            host.how.transfers = dice.randint(1, 16)
            ran = host.run(Steps(order=Order(dice.randrange(10**6))))
            world.check()

            assert ran.error is None
            assert expected == final(host)


aborts = st.lists(
    st.tuples(st.sampled_from(["dies", "dies", "fails", "stops", "ends"]), st.integers(0, 200)),
    min_size=1,
    max_size=4,
)


@bounded(50)
@given(many, many, aborts, st.booleans())
def test_no_end_of_a_run_changes_what_comes_of_it_at_last(
    first: list[Deed], then: list[Deed], aborts: list[tuple[str, int]], versions: bool
) -> None:
    """P3: one run after the other is cut short, and the next goes on where it was."""
    with made(first, then, versions=versions) as world:
        expected = final(world.hosts[0])
    with made(first, then, versions=versions) as world:
        [host] = world.hosts
        for how, at in aborts:
            host.run(aborting(how, at))
            world.check()

        found = final(host)
        # What was given up in between may have been recorded in part: that a file is gone, and
        # not yet where its folder went. Then a new file in that folder keeps its path.
        as_killed = all(how == "dies" for how, _ in aborts)
        assert expected == found if as_killed else contents(expected) == contents(found)


def contents(end: Final) -> list[Counter[bytes]]:
    """Without paths: what is there, and how often."""
    here, there, copies, kept = end
    return [Counter(here.values()), Counter(there.values()), copies, kept]


def aborting(how: str, at: int) -> Steps:
    """The steps of a run that ends like this at one of them."""
    return Steps(
        {at: die} if how == "dies" else {},
        fails=at if how == "fails" else None,
        stops=at if how == "stops" else None,
        cancels=at if how == "ends" else None,
    )


@bounded(60)
@given(many, many)
def test_what_is_planned_is_what_is_done(first: list[Deed], then: list[Deed]) -> None:
    with made(first, then) as world:
        [host] = world.hosts
        view = host.look()
        before = world.seen()

        again = host.look()

        # A hash that the first one has read is known to the second; the steps are the same.
        assert (steps_of(view.plan), before) == (steps_of(again.plan), world.seen())
        ran = host.run(accept=view.plan.plan_id)
        planned = {(one.verb, one.path) for one in (*view.plan.carry_out, *view.plan.waiting)}
        planned |= {(Verb.REPORT, RelPath(one.path)) for one in view.problems}
        assert planned == {(one.decision.verb, one.decision.path) for one in ran.outcomes} - {
            (Verb.DOWNLOAD, one.path) for one in view.plan.decisions if one.verb is Verb.CONFLICT
        }
        problems = {one.path for one in view.problems}
        assert [] == [
            one for one in ran.outcomes if one.problem and one.decision.path not in problems
        ]


def steps_of(plan: Plan) -> list[object]:
    return [
        [(one.verb, one.path, one.reason) for one in plan.carry_out],
        [(one.verb, one.path, one.reason) for one in plan.waiting],
        plan.plan_id,
    ]
