"""The plan: what a run would do, in order, and what a guard holds back.

The one rule: a plan is a value. It is printed by ``fwsync plan`` and carried out by every
other command, and the same decisions give the same plan whatever order they arrive in.

A guard holds every deletion and every overwrite of a plan, and never an addition: a
scanner's host must go on ingesting while a person decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fwsync.digest import short_name
from fwsync.guards import DeleteLimits, Guard, GuardFacts, is_addition, is_risky, tripped
from fwsync.model import Decision, RelPath, Verb

__all__ = [
    "DeleteLimits",
    "Guard",
    "GuardFacts",
    "Plan",
    "deleting_nothing_there",
    "id_of",
    "is_addition",
    "is_risky",
    "make_plan",
    "without",
]

#: Hex digits of a plan's id: enough to tell plans apart, few enough to be typed.
_ID_DIGITS = 12

#: What gives a file another path, here or there.
_RENAMES = (Verb.RENAME, Verb.RENAME_REMOTE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: notes, renames, additions, overwrites, deletions."""

    carry_out: tuple[Decision, ...]
    waiting: tuple[Decision, ...] = ()  #: held by a guard until a person consents
    held: tuple[Guard, ...] = ()  #: the guards that tripped; empty once consented
    plan_id: str = ""  #: names what consent would be given to
    counts: Mapping[Verb, int] = field(default_factory=dict)  #: of all, waiting or not
    bytes_up: int = 0  #: of all, waiting or not
    bytes_down: int = 0
    let_through: tuple[Guard, ...] = ()  #: the guards that consent has overruled
    identity: str = ""  #: of root and remote
    again: tuple[
        str, ...
    ] = ()  #: words of the command that consent is given to, if it is a saved plan

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All, in order, as if no guard had tripped."""
        return tuple(sorted((*self.carry_out, *self.waiting), key=_order))

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to do, to note or to report."""
        return not self.carry_out and not self.waiting


def make_plan(
    decisions: Iterable[Decision],
    *,
    guards: GuardFacts,
    limits: DeleteLimits,
    accept: str | None = None,
    identity: str = "",
) -> Plan:
    """Put decisions in order, and hold back what a guard objects to.

    Args:
        decisions: in any order, each path once.
        guards: what the listings looked like.
        limits: how much a run may delete.
        accept: the id of the plan that a person consented to. It lets this plan through
            only if it is that plan: same deletions, same overwrites, of the same content.
        identity: of root and remote, so that no consent counts for another pair.
    """
    ordered = sorted(decisions, key=_order)
    risky = [decision for decision in ordered if is_risky(decision)]
    plan_id = id_of(risky, identity)
    objecting = tripped(ordered, guards, limits) if risky else ()
    held = objecting if accept != plan_id else ()
    return Plan(
        carry_out=tuple(d for d in ordered if not (held and is_risky(d))),
        waiting=tuple(risky) if held else (),
        held=held,
        plan_id=plan_id,
        counts=dict(sorted(Counter(decision.verb for decision in ordered).items())),
        bytes_up=sum(d.size for d in ordered if d.verb is Verb.UPLOAD),
        bytes_down=sum(d.size for d in ordered if d.verb is Verb.DOWNLOAD),
        let_through=() if held else objecting,
        identity=identity,
    )


def without(plan: Plan, paths: Collection[str]) -> Plan:
    """The plan without some of its steps; nothing is deleted on the server in the same run."""
    if not paths:
        return plan
    left = tuple(one for one in plan.carry_out if one.path not in paths)
    return deleting_nothing_there(replace(plan, carry_out=left))


def deleting_nothing_there(plan: Plan) -> Plan:
    """The plan of a run that leaves some of what is new: it deletes nothing on the server.

    A deletion may be the other half of a rename that is left.
    """
    carry_out = (_put_off(one) if one.verb is Verb.DELETE_REMOTE else one for one in plan.carry_out)
    return replace(plan, carry_out=tuple(carry_out))


def _put_off(decision: Decision) -> Decision:
    reason = f"{decision.reason}; not deleted yet, as some of what is new was left"
    return replace(decision, verb=Verb.REPORT, reason=reason)


def _order(decision: Decision) -> tuple[int, RelPath]:
    return _rank(decision), decision.path


def _rank(decision: Decision) -> int:
    """Additions before what replaces, deletions last: what goes first is safe for longest."""
    match decision.verb:
        case Verb.RENAME | Verb.RENAME_REMOTE:
            return 1  # what is fetched may take the place of what leaves
        case Verb.UPLOAD | Verb.DOWNLOAD:
            return 2 if is_addition(decision) else 3
        case Verb.CONFLICT:
            return 3
        case Verb.DELETE_LOCAL | Verb.DELETE_REMOTE:
            return 4
        case _:
            return 0


def id_of(risky: Sequence[Decision], identity: str) -> str:
    """A name for exactly these decisions on exactly this content, here and there."""
    items = [
        (
            str(decision.verb),
            decision.path,
            decision.local and (decision.local.size, decision.local.etag),
            decision.remote and (decision.remote.size, decision.remote.etag),
            *([decision.base.path] if decision.verb in _RENAMES and decision.base else []),
        )
        for decision in risky
    ]
    return short_name(repr((identity, items)))[:_ID_DIGITS]
