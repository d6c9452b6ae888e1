"""P2, P3, P5: neither order nor a kill changes what comes of a run, and a plan is what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Verb
from tests.properties.loop import Order
from tests.properties.people import Deed, deeds, do
from tests.properties.profiles import bounded
from tests.properties.world import Host, Steps, World, die

many = st.lists(deeds(clashes=True), min_size=1, max_size=8)


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


@bounded(40)
@given(many, many, st.integers(1, 16), st.integers(0, 10**6))
def test_no_order_changes_what_comes_of_it(
    first: list[Deed], then: list[Deed], transfers: int, seed: int
) -> None:
    with made(first, then) as world:
        expected = final(world.hosts[0])
    with made(first, then) as world:
        [host] = world.hosts
        host.how.transfers = transfers
        ran = host.run(Steps(order=Order(seed)))
        world.check()

        assert ran.error is None
        assert expected == final(host)


@bounded(60)
@given(many, many, st.integers(0, 200), st.booleans())
def test_a_kill_anywhere_changes_nothing_in_the_end(
    first: list[Deed], then: list[Deed], at: int, versions: bool
) -> None:
    with made(first, then, versions=versions) as world:
        expected = final(world.hosts[0])
    with made(first, then, versions=versions) as world:
        [host] = world.hosts
        host.run(Steps({at: die}))
        world.check()

        assert expected == final(host)
    assert [] == world.cloud.twins()


@bounded(60)
@given(many, many)
def test_what_is_planned_is_what_is_done(first: list[Deed], then: list[Deed]) -> None:
    with made(first, then) as world:
        [host] = world.hosts
        view = host.look()
        before = world.seen()

        again = host.look()

        assert (view.plan, before) == (again.plan, world.seen())
        ran = host.run(accept=view.plan.plan_id)
        planned = {(one.verb, one.path) for one in view.plan.carry_out} | {
            (one.verb, one.path) for one in view.plan.waiting
        }
        assert planned == {(one.decision.verb, one.decision.path) for one in ran.outcomes} - {
            (Verb.DOWNLOAD, one.path) for one in view.plan.decisions if one.verb is Verb.CONFLICT
        }
        assert [] == [one for one in ran.outcomes if one.problem is not None]
