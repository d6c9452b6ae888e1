"""P6: who swaps the two sides gets the plan in a mirror, with what waits and what is held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwsync.guards import REMOTE_EMPTIED, ROOT_EMPTIED
from fwsync.model import ConflictPolicy, Verb
from fwsync.plan import DeleteLimits, GuardFacts, Plan, make_plan
from fwsync.reconcile import Rules
from tests.pure.trees import World, clashing_trees, flat_trees, trees, worlds

MIRRORED = {
    Verb.UPLOAD: Verb.DOWNLOAD,
    Verb.DOWNLOAD: Verb.UPLOAD,
    Verb.DELETE_LOCAL: Verb.DELETE_REMOTE,
    Verb.DELETE_REMOTE: Verb.DELETE_LOCAL,
}
GUARDS = {REMOTE_EMPTIED: ROOT_EMPTIED, ROOT_EMPTIED: REMOTE_EMPTIED}
SIDES = {"local": "remote", "remote": "local"}
POLICIES = {
    ConflictPolicy.LOCAL: ConflictPolicy.REMOTE,
    ConflictPolicy.REMOTE: ConflictPolicy.LOCAL,
}

#: So many that a share of them says something.
many_files = trees(*(f"{folder}/{n:02}" for folder in "ab" for n in range(14)))

scopes = st.lists(st.sampled_from(["", "a", "b", "d", "d/e", "b c"]), max_size=2)
all_rules = st.builds(
    Rules,
    conflict=st.sampled_from(ConflictPolicy),
    delete_up=st.booleans(),
    delete_down=st.booleans(),
)
all_limits = st.builds(
    DeleteLimits,
    files=st.one_of(st.none(), st.integers(0, 4)),
    percent=st.one_of(st.none(), st.integers(0, 60)),
    percent_from=st.integers(0, 20),
)


def turned(world: World) -> World:
    held = {path: SIDES[side] for path, side in world.held.items()}
    return World(world.remote, world.local, world.base, held)


def turned_rules(rules: Rules) -> Rules:
    policy = POLICIES.get(rules.conflict, rules.conflict)
    return Rules(rules.mode, policy, rules.delete_down, rules.delete_up)


def plan_of(
    world: World, rules: Rules, limits: DeleteLimits, unknown: tuple[list[str], list[str]]
) -> Plan:
    here, there = unknown
    held = [list(world.held.values()).count(side) for side in ("local", "remote")]
    counts = len(world.base), len(world.local), len(world.remote)
    facts = GuardFacts(*counts, held_here=held[0], held_there=held[1])
    decisions = world.decide(rules, unknown_local=here, unknown_remote=there)
    return make_plan(decisions, guards=facts, limits=limits)


@given(
    st.one_of(worlds(flat_trees), worlds(clashing_trees), worlds(many_files)),
    all_rules,
    all_limits,
    st.tuples(scopes, scopes),
)
def test_the_plan_is_a_mirror(
    world: World, rules: Rules, limits: DeleteLimits, unknown: tuple[list[str], list[str]]
) -> None:
    here, there = unknown
    one = plan_of(world, rules, limits, unknown)
    other = plan_of(turned(world), turned_rules(rules), limits, (there, here))

    def seen(plan: Plan, verbs: dict[Verb, Verb], guards: dict[str, str]) -> object:
        return (
            {(verbs.get(step.verb, step.verb), step.path) for step in plan.carry_out},
            {(verbs.get(step.verb, step.verb), step.path) for step in plan.waiting},
            sorted((guards.get(g.name, g.name), g.sample) for g in plan.held),
        )

    assert seen(one, MIRRORED, GUARDS) == seen(other, {}, {})
    assert (one.bytes_up, one.bytes_down) == (other.bytes_down, other.bytes_up)
    if one.held:
        assert {Verb.DELETE_LOCAL, Verb.DELETE_REMOTE}.isdisjoint(s.verb for s in one.carry_out)
