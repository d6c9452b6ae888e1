"""What holds of every tree, whatever was done to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwsync.model import Decision, Mode, RelPath, Verb
from fwsync.reconcile import Rules, judge
from tests.pure.trees import (
    ACTS,
    ALL_DELETIONS,
    EVERY_RULES,
    World,
    clashing_trees,
    flat_trees,
    is_below_any,
    worlds,
)

MIRRORED = {
    Verb.UPLOAD: Verb.DOWNLOAD,
    Verb.DOWNLOAD: Verb.UPLOAD,
    Verb.DELETE_LOCAL: Verb.DELETE_REMOTE,
    Verb.DELETE_REMOTE: Verb.DELETE_LOCAL,
}

every_rules = st.sampled_from(EVERY_RULES)
scopes = st.lists(st.sampled_from(["", "a", "b", "d", "d/e", "b c"]), max_size=2)


@given(worlds(), every_rules)
def test_a_second_cycle_has_nothing_new_to_do(world: World, rules: Rules) -> None:
    world.run(rules)

    assert set() == {decision.verb for decision in world.decide(rules)} & ACTS


@given(worlds())
def test_two_way_converges_but_for_conflicts(world: World) -> None:
    decisions = world.decide(ALL_DELETIONS)
    for decision in decisions:
        if decision.verb is not Verb.CONFLICT:
            world.apply(decision, ALL_DELETIONS)
    conflicts = {decision.path for decision in decisions if decision.verb is Verb.CONFLICT}
    differ = {p for p in world.local | world.remote if world.local.get(p) != world.remote.get(p)}

    assert conflicts == differ


@given(worlds(), every_rules)
def test_no_new_content_is_lost(world: World, rules: Rules) -> None:
    before = world.contents()
    new = {
        content
        for side in (world.local, world.remote)
        for path, content in side.items()
        if world.base.get(path) != content
    }
    world.run(rules)

    assert new <= {*world.local.values(), *world.remote.values(), *world.aside}
    assert before == world.contents()


@given(worlds(), every_rules)
def test_new_content_is_never_only_in_the_trash(world: World, rules: Rules) -> None:
    only = [
        (path, content)
        for side, other in ((world.local, world.remote), (world.remote, world.local))
        for path, content in side.items()
        if world.base.get(path) != content and path not in other
    ]
    world.run(rules)

    assert all(content in {world.local.get(p), world.remote.get(p)} for p, content in only)


@given(worlds(), st.booleans())
def test_two_way_is_a_mirror(world: World, delete: bool) -> None:
    rules = Rules(delete_up=delete, delete_down=delete)
    turn = {"local": "remote", "remote": "local"}
    mirror = World(
        world.remote, world.local, world.base, {p: turn[held] for p, held in world.held.items()}
    )

    assert {d.path: MIRRORED.get(d.verb, d.verb) for d in world.decide(rules)} == {
        d.path: d.verb for d in mirror.decide(rules)
    }


@given(worlds())
def test_the_base_names_what_is_in_step(world: World) -> None:
    world.run(ALL_DELETIONS)

    assert world.local == world.remote == world.base
    assert {} == world.held


@given(worlds(), every_rules, scopes, scopes)
def test_what_could_not_be_seen_is_left_alone(
    world: World, rules: Rules, here: list[str], there: list[str]
) -> None:
    """I6: nothing below an unknown scope is moved, deleted or even noted."""
    decisions = world.decide(rules, unknown_local=here, unknown_remote=there)
    hidden = {
        decision.path
        for decision in decisions
        if any(not s or f"{decision.path}/".startswith(f"{s}/") for s in [*here, *there])
    }

    assert set() == hidden


@given(worlds(), every_rules, scopes)
def test_a_listing_cut_short_decides_no_more_than_the_whole_one(
    world: World, rules: Rules, scopes: list[str]
) -> None:
    whole = {decision.path: decision for decision in world.decide(rules)}
    seen = World(
        world.local,
        {p: c for p, c in world.remote.items() if not is_under(p, scopes)},
        world.base,
        world.held,
    )

    assert all(d == whole[d.path] for d in seen.decide(rules, unknown_remote=scopes))


def is_under(path: str, scopes: list[str]) -> bool:
    return any(not scope or f"{path}/".startswith(f"{scope}/") for scope in scopes)


@given(worlds(), every_rules)
def test_an_edit_beats_a_deletion(world: World, rules: Rules) -> None:
    """I8: in both directions, in every mode, with every flag."""
    edited = {
        path
        for path in world.base
        for side in (world.local, world.remote)
        if path in side and side[path] != world.base[path]
    }
    deleted = {
        decision.path
        for decision in world.decide(rules)
        if decision.verb in {Verb.DELETE_LOCAL, Verb.DELETE_REMOTE, Verb.HOLD}
    }

    assert set() == edited & deleted


@given(worlds())
def test_up_never_changes_the_local_side_and_down_never_the_remote(world: World) -> None:
    up = {d.verb for d in world.decide(replace(ALL_DELETIONS, mode=Mode.UP))}
    down = {d.verb for d in world.decide(replace(ALL_DELETIONS, mode=Mode.DOWN))}

    assert set() == up & {Verb.DOWNLOAD, Verb.DELETE_LOCAL}
    assert set() == down & {Verb.UPLOAD, Verb.DELETE_REMOTE}


@given(worlds())
def test_up_sends_every_local_change_but_for_conflicts(world: World) -> None:
    changed = {p for p, content in world.local.items() if world.base.get(p) != content}
    decisions = world.run(Rules(mode=Mode.UP))
    conflicts = {decision.path for decision in decisions if decision.verb is Verb.CONFLICT}

    assert all(world.remote.get(p) == world.local[p] for p in changed - conflicts)


@given(worlds())
def test_down_fetches_the_remote_side_but_for_local_edits(world: World) -> None:
    decisions = world.run(Rules(mode=Mode.DOWN))
    edited = {decision.path for decision in decisions if decision.verb is Verb.REPORT}

    assert all(world.local[p] == c for p, c in world.remote.items() if p not in edited)


@given(worlds(), every_rules)
def test_a_held_deletion_is_noted_once(world: World, rules: Rules) -> None:
    first = world.run(rules)
    again = world.run(rules)

    assert not any(decision.verb is Verb.HOLD for decision in again)
    assert all(d.path in world.held for d in first if d.verb is Verb.HOLD)


@given(worlds())
def test_a_held_deletion_is_carried_out_once_the_flag_is_given(world: World) -> None:
    world.run(Rules())
    world.run(ALL_DELETIONS)

    assert world.local == world.remote == world.base


@given(worlds(clashing_trees), every_rules)
@example(World({"a": "1"}, {"a/b": "2"}, {}), Rules())
@example(World({"a": "1", "a b": "2"}, {"a/b": "2"}, {"a": "1"}), ALL_DELETIONS)
def test_no_file_is_put_where_a_folder_is(world: World, rules: Rules) -> None:
    for _ in range(3):
        world.run(rules)

        assert not any(is_below_any(path, world.local) for path in world.local)
        assert not any(is_below_any(path, world.remote) for path in world.remote)
    assert set() == {decision.verb for decision in world.decide(rules)} & ACTS


@given(worlds(clashing_trees), every_rules)
def test_a_clash_is_reported_and_the_rest_is_judged_as_alone(world: World, rules: Rules) -> None:
    decided = {decision.path: decision for decision in world.decide(rules)}
    alone = {decision.path: decision for decision in judged_one_by_one(world, rules)}

    assert alone.keys() == decided.keys()
    for path, decision in decided.items():
        if decision != alone[path]:
            assert Verb.REPORT is decision.verb
            assert alone[path].verb in {Verb.UPLOAD, Verb.DOWNLOAD}


@given(worlds(flat_trees), every_rules)
def test_walking_in_lock_step_is_judging_one_by_one(world: World, rules: Rules) -> None:
    decided = sorted(world.decide(rules), key=lambda decision: decision.path)

    assert judged_one_by_one(world, rules) == decided


def judged_one_by_one(world: World, rules: Rules) -> list[Decision]:
    local, remote, base = ({e.path: e for e in side} for side in world.entries())
    paths = sorted({*local, *remote, *base})
    decisions = (
        judge(path, local.get(path), remote.get(path), base.get(path), rules)  # type: ignore[arg-type]
        for path in map(RelPath, paths)
    )
    return [decision for decision in decisions if decision.verb is not Verb.NOTHING]


@pytest.mark.parametrize("rules", EVERY_RULES)
def test_two_empty_sides_and_no_base_need_nothing(rules: Rules) -> None:
    assert [] == World({}, {}, {}).decide(rules)
