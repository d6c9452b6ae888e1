"""P1: whatever was done on either side, a few runs bring both in step, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Verb
from tests.properties.people import Deed, deeds, do
from tests.properties.profiles import bounded
from tests.properties.world import Host, World


def in_step(host: Host) -> None:
    """Both sides have the same files, but for what a run says that it leaves alone."""
    view = host.look()
    left: set[str] = {one.path for one in view.plan.decisions if one.verb is Verb.REPORT}
    left |= {one.path for one in view.problems}
    told = " ".join(one.reason for one in view.plan.decisions)
    here, there = host.user_tree(), host.world.cloud.tree()
    for path in {*here, *there}:
        if here.get(path) != there.get(path):
            assert path in left or repr(path) in told, (path, here.get(path), there.get(path))


@bounded(100)
@given(
    first=st.lists(deeds(clashes=True), max_size=8),
    then=st.lists(deeds(clashes=True), max_size=8),
    versions=st.booleans(),
    digests=st.booleans(),
)
def test_two_perturbations_converge(
    first: list[Deed], then: list[Deed], versions: bool, digests: bool
) -> None:
    world = World(versions=versions, digests=digests)
    try:
        [host] = world.hosts
        for deed in first:
            do(world, deed)
        world.settle(host)
        in_step(host)
        for deed in then:
            do(world, deed)
        world.settle(host)
        in_step(host)
    finally:
        world.close()
