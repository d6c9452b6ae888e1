"""The guards as predicates: where each trips, where it does not, and that it does not lapse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.guards import (
    Before,
    DeleteLimits,
    GuardFacts,
    Retimed,
    ServerTimes,
    all_times_shifted,
)
from fwsync.model import Decision, Mode, Verb
from fwsync.plan import Plan, make_plan
from fwsync.reconcile import Rules
from tests.pure.trees import ALL_DELETIONS, Tree, World, worlds

NO_CAP = DeleteLimits(files=None, percent=None)


def numbered(count: int, prefix: str = "f") -> Tree:
    return {f"{prefix}{n:04}": f"{prefix}{n}" for n in range(count)}


def facts_of(world: World, **other: object) -> GuardFacts:
    facts = GuardFacts(len(world.base), len(world.local), len(world.remote))
    return replace(facts, **other)  # type: ignore[arg-type]


def plan_of(
    world: World,
    rules: Rules = ALL_DELETIONS,
    *,
    limits: DeleteLimits = NO_CAP,
    containers: Mapping[str, str] | None = None,
    **other: object,
) -> Plan:
    decisions = world.decide(rules)
    if containers is not None:
        decisions = [_in_container(one, containers) for one in decisions]
    return make_plan(decisions, guards=facts_of(world, **other), limits=limits)


def _in_container(decision: Decision, containers: Mapping[str, str]) -> Decision:
    if decision.base is None:
        return decision
    folder = decision.path.rpartition("/")[0]
    return replace(decision, base=replace(decision.base, container_id=containers.get(folder, "")))


def names(plan: Plan) -> list[str]:
    return [guard.name for guard in plan.held]


# ------------------------------------------------------------------------- one container

AT_TWO = {**numbered(10, "s/v/a/"), **numbered(10, "s/v/b/")}
IDS = {"s/v/a": "id-a", "s/v/b": "id-b"}


def less(tree: Tree, *gone: str) -> Tree:
    return {path: text for path, text in tree.items() if not path.startswith(gone)}


@pytest.mark.parametrize(
    ("limits", "gone", "trips"),
    [
        (DeleteLimits(container_files=3), 3, False),
        (DeleteLimits(container_files=3), 4, True),
        (DeleteLimits(container_percent=40), 4, False),
        (DeleteLimits(container_percent=40), 5, True),
        (DeleteLimits(container_files=2, container_percent=90), 3, True),
        (DeleteLimits(container_files=9, container_percent=20), 3, True),
        (DeleteLimits(container_files=0), 1, True),
        (DeleteLimits(), 9, False),  # there is no such limit unless it is set
    ],
)
@pytest.mark.parametrize("side", ["local", "remote"])
def test_the_cap_of_a_container_counts_in_each_for_itself(
    limits: DeleteLimits, gone: int, trips: bool, side: str
) -> None:
    left = less(AT_TWO, *[f"s/v/a/{n:04}" for n in range(gone)])
    world = World(left, AT_TWO, AT_TWO) if side == "local" else World(AT_TWO, left, AT_TWO)
    plan = plan_of(world, limits=limits, containers=IDS, in_container={"id-a": 10, "id-b": 10})

    assert (["too-many-deletions-in-a-container"] if trips else []) == names(plan)
    if trips:
        assert f"{gone} of 10 files of s/v/a would be deleted" in plan.held[0].reason
        assert () == plan.carry_out


def test_deletions_spread_over_containers_trip_no_cap_of_one() -> None:
    left = less(AT_TWO, "s/v/a/0001", "s/v/a/0002", "s/v/b/0001", "s/v/b/0002")
    limits = DeleteLimits(container_files=2)

    assert [] == names(plan_of(World(left, AT_TWO, AT_TWO), limits=limits, containers=IDS))


def test_files_that_moved_out_of_a_container_are_not_counted_in_it() -> None:
    moved = {path.replace("s/v/a/", "s/v/c/"): text for path, text in AT_TWO.items()}
    limits = DeleteLimits(container_files=2)

    assert [] == names(plan_of(World(moved, AT_TWO, AT_TWO), limits=limits, containers=IDS))


# ----------------------------------------------------------- a hold does not wear off


def test_s57_what_went_up_meanwhile_does_not_make_the_deletions_a_smaller_share() -> None:
    agreed = numbered(100)
    left = dict(list(agreed.items())[51:])
    born = numbered(3, "new")
    world = World({**left, **born}, {**agreed, **born}, {**agreed, **born})
    before = Before(frozenset({"too-many-deletions"}), base_files=100)

    assert [] == names(plan_of(world, limits=DeleteLimits()))  # 51 of 103 are not too many …
    assert ["too-many-deletions"] == names(plan_of(world, limits=DeleteLimits(), before=before))
    back = dict(list(agreed.items())[50:])
    world = World({**back, **born}, {**agreed, **born}, {**agreed, **born})
    assert [] == names(plan_of(world, limits=DeleteLimits(), before=before))


@pytest.mark.parametrize("came", [0, 1, 2, 40])
@pytest.mark.parametrize("side", ["local", "remote"])
def test_an_emptied_side_stays_one_whatever_arrives_there_while_it_is_held(
    came: int, side: str
) -> None:
    agreed, born = numbered(5), numbered(came, "new")
    both = {**agreed, **born}
    world = World(born, both, both) if side == "local" else World(both, born, both)
    name = "root-emptied" if side == "local" else "remote-emptied"
    before = Before(frozenset({name}), base_files=5)

    assert [name] == names(plan_of(world, before=before))


@pytest.mark.parametrize("rules", [ALL_DELETIONS, Rules(), Rules(mode=Mode.UP)])
def test_an_emptied_root_is_one_although_a_scanner_goes_on_writing_there(rules: Rules) -> None:
    agreed = numbered(20)
    plan = plan_of(World({"new": "x"}, agreed, agreed), rules)

    assert ["root-emptied"] == names(plan)
    assert ["new"] == [one.path for one in plan.carry_out]


def test_a_root_whose_files_have_all_moved_is_not_emptied() -> None:
    agreed = numbered(20)
    moved = {f"sub/{path}": text for path, text in agreed.items()}

    assert [] == names(plan_of(World(moved, agreed, agreed)))


def test_deletions_that_were_held_before_count_as_gone() -> None:
    agreed = numbered(5)
    world = World({"new": "x"}, agreed, dict(list(agreed.items())[2:]))
    plan = plan_of(world, base_files=5, held_here=2)

    assert ["root-emptied"] == names(plan)


@pytest.mark.parametrize("side", ["local", "remote"])
def test_deletions_that_were_held_before_do_not_make_the_rest_gone(side: str) -> None:
    agreed = numbered(20)
    left = dict(list(agreed.items())[12:])
    held = dict.fromkeys(list(agreed)[:12], side)
    here, there = (left, agreed) if side == "local" else (agreed, left)
    world = World(here, there, agreed, held)
    here_held, there_held = (12, 0) if side == "local" else (0, 12)

    assert [] == names(plan_of(world, held_here=here_held, held_there=there_held))


def test_everything_changed_does_not_wear_off_either() -> None:
    agreed, born = numbered(20), numbered(5, "new")
    edited = {path: f"{text}!" for path, text in agreed.items()}
    both = {**agreed, **born}
    world = World(both, {**dict(list(edited.items())[:18]), **born}, both)
    world.remote.update({path: agreed[path] for path in list(agreed)[18:]})
    before = Before(frozenset({"everything-changed"}), base_files=20)

    assert [] == names(plan_of(world))
    assert ["everything-changed"] == names(plan_of(world, before=before))


# -------------------------------------------------------------------- an older backup


def at_versions(world: World, path: str, base: int, remote: int, file_id: str = "f1") -> Plan:
    decisions = []
    for one in world.decide(ALL_DELETIONS):
        if one.path == path and one.base is not None and one.remote is not None:
            agreed = replace(one.base, file_id="f1", version=base)
            there = replace(one.remote, file_id=file_id, version=remote)
            one = replace(one, base=agreed, remote=there)  # noqa: PLW2901 - the same, with versions
        decisions.append(one)
    return make_plan(decisions, guards=facts_of(world), limits=NO_CAP)


def changed_there() -> World:
    agreed = numbered(10)
    return World({**agreed, "new": "x"}, {**agreed, "f0003": "older"}, agreed)


@pytest.mark.parametrize(
    ("base", "remote", "file_id", "trips"),
    [
        (3, 2, "f1", True),
        (3, 1, "f1", True),
        (3, 4, "f1", False),
        (3, 3, "f1", False),
        (3, 1, "f2", False),  # it was deleted and made anew
        (0, 1, "f1", False),  # an older fwsync has agreed on it
    ],
)
def test_a_version_that_falls_is_a_server_that_was_restored(
    base: int, remote: int, file_id: str, trips: bool
) -> None:
    plan = at_versions(changed_there(), "f0003", base, remote, file_id)

    assert (["server-restored"] if trips else []) == names(plan)
    if trips:
        assert ["new"] == [one.path for one in plan.carry_out]
        assert "1 file is at an older version" in plan.held[0].reason
        assert "--state" in plan.held[0].hint


LATEST = {"s1/v/a/x": "1", "s2/v/b/y": "2", "s2/v/b/z": "3"}


def restored(newest_ns: int, *marks: int, before: Before | None = None) -> Plan:
    agreed = {**numbered(10), **LATEST}
    world = World(agreed, numbered(10), agreed)
    return plan_of(world, server=ServerTimes(newest_ns, marks), before=before)


def test_all_that_the_last_run_brought_is_gone_as_after_a_restore() -> None:
    assert ["server-restored"] == names(restored(100, 100, 200))
    assert ["server-restored"] == names(restored(90, 100, 200))
    assert ["server-restored"] == names(restored(100, 50, 100, 200))


@pytest.mark.parametrize(
    "plan",
    [
        restored(150, 100, 200),  # some of what the last run brought is there
        restored(250, 100, 200),  # something is newer
        restored(100, 200),  # the first run: there is nothing to tell from
        restored(100),
    ],
)
def test_what_can_be_a_usual_removal_is_none(plan: Plan) -> None:
    assert [] == names(plan)


def test_one_folder_that_is_gone_as_a_whole_was_removed() -> None:
    agreed = {**numbered(10), "s2/v/a/x": "1", "s2/v/b/y": "2", "s2/w/b/z": "3"}
    world = World(agreed, numbered(10), agreed)
    server = ServerTimes(100, (100, 200))

    assert [] == names(plan_of(world, server=server, has_files_there=lambda _: False))
    assert ["server-restored"] == names(
        plan_of(world, server=server, has_files_there=lambda folder: folder == "s2")
    )


def test_a_restored_server_stays_one_when_new_files_have_come_to_it() -> None:
    before = Before(frozenset({"server-restored"}), base_files=13)

    assert [] == names(restored(900, 100, 200))
    assert ["server-restored"] == names(restored(900, 100, 200, before=before))


# ---------------------------------------------------------------------- other times


HOUR_NS = 3600 * 10**9


def test_s24_all_times_shifted_is_said_and_holds_nothing() -> None:
    said = all_times_shifted(Retimed(20, 1, HOUR_NS), 20)

    assert "20 of 20 files have other times than before, all shifted by +3600 s" in said
    assert "all shifted by -3600 s" in all_times_shifted(Retimed(20, 1, -HOUR_NS), 20)
    assert "shifted" not in all_times_shifted(Retimed(19, 7, HOUR_NS), 20)
    assert all_times_shifted(Retimed(19, 7, HOUR_NS), 20)


@pytest.mark.parametrize(("files", "of"), [(0, 0), (0, 5), (1, 1), (17, 20), (8, 10)])
def test_a_touch_of_some_files_needs_no_word(files: int, of: int) -> None:
    assert "" == all_times_shifted(Retimed(files, 1, HOUR_NS), of)


# ------------------------------------------------------------------------ properties


@given(worlds(), st.sampled_from([ALL_DELETIONS, Rules()]), st.integers(0, 30))
def test_additions_while_a_guard_holds_release_nothing(
    world: World, rules: Rules, born: int
) -> None:
    """I7, from run to run: what is held stays so whatever comes to either side meanwhile."""
    limits = DeleteLimits(files=100, percent=50, percent_from=1)
    first = make_plan(world.decide(rules), guards=facts_of(world), limits=limits)
    if not first.held:
        return
    before = Before(frozenset(names(first)), len(world.base))
    for decision in first.carry_out:
        world.apply(decision, rules)
    new = numbered(born, "z")
    for side in (world.local, world.remote, world.base):
        side.update(new)
    second = make_plan(world.decide(rules), guards=facts_of(world, before=before), limits=limits)
    deletions = (Verb.DELETE_LOCAL, Verb.DELETE_REMOTE, Verb.HOLD)

    assert [] == [one.path for one in second.carry_out if one.verb in deletions]
