"""P1: whatever was done on either side, a few runs bring both in step, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import RelPath
from tests.properties.hosts import Host
from tests.properties.people import Deed, deeds, do
from tests.properties.profiles import bounded
from tests.properties.world import World


def in_step(host: Host) -> None:
    """Both sides have the same files, but for what a run says that it leaves alone."""
    view = host.look()
    # What is still to be done waits for people: see ``World.settle``.
    left: set[str] = {one.path for one in view.plan.decisions}
    left |= {one.path for one in view.problems}
    unseen = [one.scope for one in (*view.local_unknown, *view.unlisted)]
    told = " ".join(one.reason for one in view.plan.decisions)
    here, there, was_at = host.taking_part(), host.world.cloud.tree(), host.agreed_at()
    # What was renamed to where nothing can go is told of by its new name,
    moved = {content for path, content in here.items() if path in left}
    # and what moved there, and cannot be seen here, by the name that it has here.
    files = host.world.cloud.files()
    was_there = {path: was_at.get(file.id, path) for path, (_, file) in files.items()}

    def is_left(path: str) -> bool:
        return path in left or repr(path) in told or is_below(path, unseen)

    for path in {*here, *there}:
        if here.get(path) != there.get(path):
            is_told = is_left(path) or is_left(was_there.get(RelPath(path), path))
            assert is_told or there.get(path) in moved, (path, here.get(path), there.get(path))


def is_below(path: str, scopes: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{scope}/") for scope in scopes)


@bounded(100)
@given(
    first=st.lists(deeds(clashes=True, wide=True), max_size=8),
    then=st.lists(deeds(clashes=True, wide=True), max_size=8),
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
