"""Order, totals, consent, and the guards at their edges."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Decision, Mode, Verb
from fwsync.plan import DeleteLimits, GuardFacts, Plan, is_addition, is_risky, make_plan, without
from fwsync.reconcile import Rules
from tests.pure.trees import ALL_DELETIONS, EVERY_RULES, Tree, World, worlds


def numbered(count: int, start: int = 0, prefix: str = "f") -> Tree:
    """Files that no other has the content of."""
    return {f"{prefix}{n:04}": f"{prefix}{n}" for n in range(start, start + count)}


def plan_of(
    world: World,
    rules: Rules = ALL_DELETIONS,
    *,
    limits: DeleteLimits | None = None,
    accept: str | None = None,
) -> Plan:
    facts = GuardFacts(len(world.base), len(world.local), len(world.remote))
    return make_plan(
        world.decide(rules), guards=facts, limits=limits or DeleteLimits(), accept=accept
    )


def deleted_here(count: int, of: int, **new: str) -> World:
    """An agreed tree, some of it deleted on the local side since."""
    agreed = numbered(of)
    left = dict(list(agreed.items())[count:])
    return World({**left, **new}, dict(agreed), dict(agreed))


def verbs(decisions: tuple[Decision, ...]) -> list[Verb]:
    return [decision.verb for decision in decisions]


def names(plan: Plan) -> list[str]:
    return [guard.name for guard in plan.held]


def test_s55_half_of_a_hundred_files_may_be_deleted() -> None:
    plan = plan_of(deleted_here(50, of=100))

    assert () == plan.held
    assert 50 == verbs(plan.carry_out).count(Verb.DELETE_REMOTE)


def test_s56_one_more_than_half_waits_and_says_which() -> None:
    plan = plan_of(deleted_here(51, of=100))

    assert ["too-many-deletions"] == names(plan)
    assert () == plan.carry_out
    assert [Verb.DELETE_REMOTE] * 51 == verbs(plan.waiting)
    assert "51 of 100 files would be deleted on the server, where a run may delete 50" == (
        plan.held[0].reason
    )
    assert ("f0000", "f0001", "f0002", "f0003", "f0004") == plan.held[0].sample


def test_s57_additions_go_on_while_deletions_and_overwrites_wait() -> None:
    world = deleted_here(51, of=100, new1="x", new2="yy", new3="zzz")
    world.local["f0099"] = "edited"
    world.remote["f0098"] = "edited there"
    plan = plan_of(world)

    assert ["new1", "new2", "new3"] == [decision.path for decision in plan.carry_out]
    assert {"f0098", "f0099"} < {decision.path for decision in plan.waiting}


def test_s58_consent_lets_this_plan_through_and_no_other() -> None:
    asked = plan_of(deleted_here(51, of=100))
    done = plan_of(deleted_here(51, of=100), accept=asked.plan_id)
    other = plan_of(deleted_here(52, of=100), accept=asked.plan_id)

    assert () == done.held
    assert () == done.waiting
    assert asked.waiting == done.carry_out
    assert ["too-many-deletions"] == names(other)


@pytest.mark.parametrize(
    ("count", "of", "trips"),
    [
        (100, 1000, False),
        (101, 1000, True),
        (10, 20, False),
        (11, 20, True),
        (18, 19, False),  # too few files for a share to mean anything
        (10, 21, False),
        (11, 21, True),
    ],
)
def test_the_cap_is_a_number_or_a_share_whichever_comes_first(
    count: int, of: int, trips: bool
) -> None:
    assert trips is bool(plan_of(deleted_here(count, of)).held)


@pytest.mark.parametrize(
    ("limits", "trips"),
    [
        (DeleteLimits(files=51, percent=None), False),
        (DeleteLimits(files=50, percent=None), True),
        (DeleteLimits(files=None, percent=51), False),
        (DeleteLimits(files=None, percent=None), False),
        (DeleteLimits(files=0), True),
    ],
)
def test_the_cap_can_be_set(limits: DeleteLimits, trips: bool) -> None:
    assert trips is bool(plan_of(deleted_here(51, of=100), limits=limits).held)


def test_the_cap_counts_each_side_for_itself() -> None:
    agreed = numbered(100)
    files = list(agreed.items())
    plan = plan_of(World(dict(files[40:]), dict(files[:60]), agreed))

    assert () == plan.held


@pytest.mark.parametrize("side", ["local", "remote"])
def test_s70_files_that_only_moved_are_not_counted(side: str) -> None:
    agreed = numbered(100)
    moved = {f"new/{p}" if p < "f0060" else p: c for p, c in agreed.items()}
    world = World(moved, agreed, agreed) if side == "local" else World(agreed, moved, agreed)
    plan = plan_of(world)

    assert () == plan.held
    assert 120 == len(plan.carry_out)


def test_one_copy_does_not_answer_for_many_deletions() -> None:
    agreed = {f"f{n:04}": "same" for n in range(100)}
    world = World({**dict(list(agreed.items())[60:]), "copy": "same"}, dict(agreed), agreed)

    assert ["too-many-deletions"] == names(plan_of(world))


@pytest.mark.parametrize("rules", [ALL_DELETIONS, Rules(), Rules(mode=Mode.UP)])
def test_s59_an_emptied_root_halts_with_or_without_deletions(rules: Rules) -> None:
    plan = plan_of(World({}, numbered(5), numbered(5)), rules)

    assert ["root-emptied"] == names(plan)
    assert () == plan.carry_out
    assert 5 == len(plan.waiting)


@pytest.mark.parametrize("rules", [ALL_DELETIONS, Rules(), Rules(mode=Mode.DOWN)])
def test_s63_a_project_that_lists_empty_halts(rules: Rules) -> None:
    plan = plan_of(World(numbered(5), {}, numbered(5)), rules)

    assert ["remote-emptied"] == names(plan)
    assert () == plan.carry_out


def test_a_pull_into_an_emptied_folder_just_fetches_again() -> None:
    plan = plan_of(World({}, numbered(5), numbered(5)), Rules(mode=Mode.DOWN))

    assert () == plan.held
    assert [Verb.DOWNLOAD] * 5 == verbs(plan.carry_out)


def test_a_push_to_an_emptied_project_sends_what_is_new() -> None:
    world = World({**numbered(5), "new": "x"}, {}, numbered(5))
    plan = plan_of(world, Rules(mode=Mode.UP))

    assert () == plan.held
    assert ["new"] == [decision.path for decision in plan.carry_out]


def test_the_only_file_may_be_deleted() -> None:
    plan = plan_of(World({}, {"X": "a"}, {"X": "a"}))

    assert [Verb.DELETE_REMOTE] == verbs(plan.carry_out)


def test_an_emptied_root_that_was_consented_to_stays_quiet() -> None:
    world = World({}, numbered(5), numbered(5))
    asked = plan_of(world, Rules())
    for decision in plan_of(world, Rules(), accept=asked.plan_id).carry_out:
        world.apply(decision, Rules())

    assert plan_of(world, Rules()).is_empty


@pytest.mark.parametrize(
    ("changed", "of", "trips"), [(18, 20, True), (17, 20, False), (19, 19, False)]
)
@pytest.mark.parametrize("side", ["local", "remote"])
def test_s25_nearly_everything_changed_at_once_waits(
    side: str, changed: int, of: int, trips: bool
) -> None:
    agreed = numbered(of)
    edited = {**agreed, **{p: f"{c}!" for p, c in list(agreed.items())[:changed]}}
    world = World(edited, agreed, agreed) if side == "local" else World(agreed, edited, agreed)
    plan = plan_of(world)

    assert (["everything-changed"] if trips else []) == names(plan)
    assert (0 if trips else changed) == len(plan.carry_out)


def test_changes_that_this_direction_leaves_alone_trip_nothing() -> None:
    agreed = numbered(20)
    world = World({**agreed, "new": "x"}, {p: f"{c}!" for p, c in agreed.items()}, agreed)
    plan = plan_of(world, Rules(mode=Mode.UP))

    assert () == plan.held
    assert ["new"] == [decision.path for decision in plan.carry_out]


def test_the_order_is_notes_additions_overwrites_deletions() -> None:
    agreed = {"adopt": "1", "del": "1", "edit": "1", "gone": "1", "fight": "1"}
    world = World(
        {"adopt": "2", "edit": "2", "fight": "2", "new": "1"},
        {"adopt": "2", "del": "1", "edit": "1", "fight": "3", "zoo": "1"},
        agreed,
    )
    plan = plan_of(world)

    assert [
        ("adopt", Verb.ADOPT),
        ("gone", Verb.FORGET),
        ("new", Verb.UPLOAD),
        ("zoo", Verb.DOWNLOAD),
        ("edit", Verb.UPLOAD),
        ("fight", Verb.CONFLICT),
        ("del", Verb.DELETE_REMOTE),
    ] == [(decision.path, decision.verb) for decision in plan.carry_out]
    assert plan.carry_out == plan.decisions


def test_a_plan_without_some_of_what_is_new_deletes_nothing_on_the_server() -> None:
    plan = plan_of(deleted_here(2, of=10, new1="x", new2="y"))

    left = without(plan, {"new1"})

    assert 2 == verbs(plan.carry_out).count(Verb.DELETE_REMOTE)
    assert ["new2"] == [one.path for one in left.carry_out if one.verb is Verb.UPLOAD]
    assert 0 == verbs(left.carry_out).count(Verb.DELETE_REMOTE)
    put_off = [one for one in left.carry_out if one.verb is Verb.REPORT]
    assert 2 == len(put_off)
    assert all("not deleted yet" in one.reason for one in put_off)
    assert plan is without(plan, ())


def test_the_totals_count_files_and_bytes() -> None:
    plan = plan_of(World({"a": "1", "b": "22"}, {"c": "333"}, {}))

    assert {Verb.UPLOAD: 2, Verb.DOWNLOAD: 1} == plan.counts
    assert (3, 3) == (plan.bytes_up, plan.bytes_down)


def test_a_plan_with_nothing_in_it_is_empty() -> None:
    assert plan_of(World({"a": "1"}, {"a": "1"}, {"a": "1"})).is_empty


@given(worlds(), st.sampled_from(EVERY_RULES), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_arrival(
    world: World, rules: Rules, random: Random
) -> None:
    decisions = world.decide(rules)
    shuffled = list(decisions)
    random.shuffle(shuffled)
    facts = GuardFacts(len(world.base), len(world.local), len(world.remote))
    plans = [
        make_plan(items, guards=facts, limits=DeleteLimits(files=0), accept=None)
        for items in (decisions, shuffled)
    ]

    assert plans[0] == plans[1]


@given(worlds(), st.sampled_from(EVERY_RULES))
def test_a_tripped_guard_deletes_and_overwrites_nothing_and_adds_everything(
    world: World, rules: Rules
) -> None:
    """I7."""
    plan = plan_of(world, rules, limits=DeleteLimits(files=0))
    additions = {decision for decision in plan.decisions if is_addition(decision)}

    assert additions <= set(plan.carry_out)
    if plan.held:
        assert not any(is_risky(decision) for decision in plan.carry_out)
    else:
        assert () == plan.waiting


@given(worlds(), st.sampled_from(EVERY_RULES))
def test_consent_to_a_plan_lets_all_of_it_through(world: World, rules: Rules) -> None:
    asked = plan_of(world, rules, limits=DeleteLimits(files=0))
    given_ = plan_of(world, rules, limits=DeleteLimits(files=0), accept=asked.plan_id)

    assert asked.decisions == given_.carry_out
    assert asked.plan_id == given_.plan_id


def test_the_id_changes_with_the_content_that_would_be_lost() -> None:
    world = World({}, numbered(5), numbered(5))
    before = plan_of(world)
    other = World({}, {**numbered(5), "f0000": "changed"}, {**numbered(5), "f0000": "changed"})

    assert before.plan_id != plan_of(other).plan_id
    assert before.plan_id == plan_of(replace(world, local={})).plan_id


def test_the_id_does_not_change_when_more_files_are_born() -> None:
    before = plan_of(deleted_here(51, of=100))
    after = plan_of(deleted_here(51, of=100, born="x"))

    assert before.plan_id == after.plan_id
