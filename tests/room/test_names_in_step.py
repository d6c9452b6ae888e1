"""Names that the server alters, in whole cycles: both sides stay in step, under our names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fwsync.keys import parse_key
from fwsync.model import Mode, Report
from fwsync.namebook import StateNames
from fwsync.remotes.flywheel import Flywheel, resolve_project
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.http import Api
from fwsync.sandbox import running_sandbox
from tests.room.rooms import LAYOUT, Bench, did, grown, plant, workbench

BAD = "T2* a:b"

TREE: Mapping[str, bytes] = {
    f"{BAD}/{BAD}/{BAD}/{BAD}.dcm": b"one",
    f"{BAD}/{BAD}/{BAD}/plain": b"two",
    f"plain/{BAD}/x": b"three",
    "plain/e/a/f": b"four",
    f"plain/e/a/{BAD}": b"five",
}


class Site:
    """A project whose server does something about names."""

    def __init__(self, api: Api, bench: Bench, other: Bench) -> None:
        self.api = api
        self.bench = bench
        self.other = other
        self.names = Names()
        self.beforehand = False

    async def cycle(self, mode: Mode = Mode.BOTH, bench: Bench | None = None) -> Report:
        """A run: what is known of names comes from the state, as it does each time."""
        bench = bench or self.bench
        self.names = await StateNames(bench.state).names(beforehand=self.beforehand)
        with bench.engine(mode) as engine:
            return await engine.cycle()


@pytest.fixture(params=["refuse", "alter"])
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with sited(tmp_path, request.param) as one:
        yield one


@asynccontextmanager
async def sited(folder: Path, rule: str) -> AsyncIterator[Site]:
    async with (
        running_sandbox(folder / "sandbox", switches={"names": rule}) as sandbox,
        Api(sandbox.url, parse_key(sandbox.api_key).secret, patience_s=10) as api,
    ):
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        project = await resolve_project(api, "lab/aging", create_project=True)
        made: list[Site] = []

        def connect() -> Flywheel:
            return Flywheel(api, [project], LAYOUT, names=made[0].names)

        async with (
            workbench(folder / "one", connect) as bench,
            workbench(folder / "two", connect) as other,
        ):
            made.append(Site(api, bench, other))
            yield made[0]


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
@pytest.mark.parametrize("beforehand", [False, True])
async def test_a_tree_of_bad_names_comes_to_rest(mode: Mode, beforehand: bool, site: Site) -> None:
    site.beforehand = beforehand
    plant(site.bench.root, TREE)

    first = did(await site.cycle(mode))
    second = did(await site.cycle(mode))

    assert {"uploaded": len(TREE), "bytes": sum(map(len, TREE.values()))} == first
    assert {} == second
    assert TREE == grown(site.bench.root)


async def test_changes_and_deletions_go_both_ways_under_our_names(site: Site) -> None:
    plant(site.bench.root, TREE)
    await site.cycle()
    first, *_, last = sorted(TREE)
    plant(site.bench.root, {first: b"changed"})
    (site.bench.root / last).unlink()

    there = did(await site.cycle())

    assert {"uploaded": 1, "deleted": 1, "bytes": len(b"changed")} == there
    assert {} == did(await site.cycle())

    # What is deleted there is deleted here.
    [entry] = [one for one in await entries(site) if one.path == first]
    await site.bench.connect().delete(entry)
    assert {"deleted": 1} == did(await site.cycle())
    assert not (site.bench.root / first).exists()


async def entries(site: Site) -> list:  # type: ignore[type-arg]
    site.names = await StateNames(site.bench.state).names()
    return [one async for page in site.bench.connect().entries() for one in page]


async def test_a_second_host_sees_the_servers_names_and_both_stay_in_step(site: Site) -> None:
    plant(site.bench.root, TREE)
    await site.cycle()

    await site.cycle(bench=site.other)

    theirs = {path.replace(BAD, "T2star a_b"): content for path, content in TREE.items()}
    assert theirs == grown(site.other.root)
    changed = "plain/e/a/T2star a_b"
    plant(site.other.root, {changed: b"by the other"})
    assert {"uploaded": 1, "bytes": 12} == did(await site.cycle(bench=site.other))
    assert {"downloaded": 1, "bytes": 12} == did(await site.cycle())
    assert b"by the other" == (site.bench.root / f"plain/e/a/{BAD}").read_bytes()
    assert {} == did(await site.cycle()) | did(await site.cycle(bench=site.other))


async def test_two_names_that_would_be_one_are_reported_each_time_and_nothing_is_lost(
    site: Site,
) -> None:
    tree = {f"s/e/a/{BAD}": b"ours", "s/e/a/T2star a_b": b"also ours", "s/e/a/x": b"x"}
    plant(site.bench.root, tree)

    first = await site.cycle()
    second = await site.cycle()

    assert (2, 1) == (first.uploaded, first.problems)
    assert {} == {name: count for name, count in did(second).items() if name != "problems"}
    assert 1 == second.problems
    assert tree == grown(site.bench.root)


async def test_a_push_whose_state_was_lost_sends_nothing_twice(site: Site, tmp_path: Path) -> None:
    plant(site.bench.root, TREE)
    await site.cycle(Mode.UP)
    plant(site.other.root, TREE)  # the same tree, and a state that knows nothing

    again = await site.cycle(Mode.UP, bench=site.other)
    rest = await site.cycle(Mode.UP, bench=site.other)

    assert 0 == again.problems, again.problem_list
    assert {} == did(rest)
    assert {1} == {one.version for one in await entries(site)}
