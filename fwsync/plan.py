"""The plan: what a run would do, in order, and what a guard holds back.

The one rule: a plan is a value. It is printed by ``fwsync plan`` and carried out by every
other command, and the same decisions give the same plan whatever order they arrive in.

A guard holds every deletion and every overwrite of a plan, and never an addition: a
scanner's host must go on ingesting while a person decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fwsync.digest import short_name
from fwsync.model import Decision, RelPath, Verb

#: Hex digits of a plan's id: enough to tell plans apart, few enough to be typed.
_ID_DIGITS = 12

#: Fewer agreed files than this say nothing about a share of them, in percent.
_ENOUGH_FOR_PERCENT = 20

#: So many percent of the agreed files changed on one side look like an accident (S24, S25).
_EVERYTHING_PERCENT = 90

#: A tree of one file is emptied on purpose as often as not.
_ENOUGH_TO_BE_EMPTIED = 2

#: Paths shown as a sample of what a guard holds.
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class DeleteLimits:
    """How many files a run may delete on one side; whichever limit comes first."""

    files: int | None = 100  #: None: any number
    percent: int | None = 50  #: of the agreed files; None: any share
    percent_from: int = _ENOUGH_FOR_PERCENT  #: agreed files from which the share counts


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """What the guards must know that the decisions do not say: sizes, in files in scope."""

    base_files: int  #: rows of the base
    local_files: int  #: entries of the local listing
    remote_files: int  #: entries of the remote listing


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard that tripped."""

    name: str  #: for machines: "too-many-deletions", …
    reason: str  #: for people
    sample: tuple[RelPath, ...] = ()  #: the first few paths it is about


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
    plan_id = _plan_id(risky, identity)
    tripped: tuple[Guard, ...] = ()
    if risky and accept != plan_id:
        tripped = _tripped(ordered, guards, limits)
    return Plan(
        carry_out=tuple(d for d in ordered if not (tripped and is_risky(d))),
        waiting=tuple(risky) if tripped else (),
        held=tripped,
        plan_id=plan_id,
        counts=dict(sorted(Counter(decision.verb for decision in ordered).items())),
        bytes_up=sum(d.size for d in ordered if d.verb is Verb.UPLOAD),
        bytes_down=sum(d.size for d in ordered if d.verb is Verb.DOWNLOAD),
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


def is_addition(decision: Decision) -> bool:
    """True if it puts a file where none is."""
    return (decision.verb is Verb.UPLOAD and decision.remote is None) or (
        decision.verb is Verb.DOWNLOAD and decision.local is None
    )


def is_risky(decision: Decision) -> bool:
    """True if a tripped guard holds it: it deletes, overwrites, or believes a deletion.

    A conflict is one of them, as settling it replaces the file of that name; so are HOLD
    and FORGET, which write down a deletion that may be an accident. A rename is one, as it
    may replace, and as others may have to go before it.
    """
    if decision.verb in {Verb.NOTHING, Verb.ADOPT, Verb.REPORT}:
        return False
    return not is_addition(decision)


def _order(decision: Decision) -> tuple[int, RelPath]:
    return _rank(decision), decision.path


def _rank(decision: Decision) -> int:
    """Additions before what replaces, deletions last: what goes first is safe for longest."""
    match decision.verb:
        case Verb.RENAME:
            return 1  # what is fetched may take the place of what leaves
        case Verb.UPLOAD | Verb.DOWNLOAD:
            return 2 if is_addition(decision) else 3
        case Verb.CONFLICT:
            return 3
        case Verb.DELETE_LOCAL | Verb.DELETE_REMOTE:
            return 4
        case _:
            return 0


def _plan_id(risky: Sequence[Decision], identity: str) -> str:
    """A name for exactly these decisions on exactly this content, here and there."""
    items = [
        (
            str(decision.verb),
            decision.path,
            decision.local and (decision.local.size, decision.local.etag),
            decision.remote and (decision.remote.size, decision.remote.etag),
            *([decision.base.path] if decision.verb is Verb.RENAME and decision.base else []),
        )
        for decision in risky
    ]
    return short_name(repr((identity, items)))[:_ID_DIGITS]


# -------------------------------------------------------------------------- the guards


def _tripped(
    decisions: Sequence[Decision], facts: GuardFacts, limits: DeleteLimits
) -> tuple[Guard, ...]:
    """Every guard that objects. The caller has seen that there is something to hold."""
    answers = (
        _too_many_deletions(decisions, facts, limits, Verb.DELETE_LOCAL, "here"),
        _too_many_deletions(decisions, facts, limits, Verb.DELETE_REMOTE, "on the server"),
        _root_emptied(decisions, facts),
        _remote_emptied(decisions, facts),
        _everything_changed(decisions, facts, _changed_here, "here"),
        _everything_changed(decisions, facts, _changed_there, "on the server"),
    )
    return tuple(guard for guard in answers if guard is not None)


def _too_many_deletions(
    decisions: Sequence[Decision],
    facts: GuardFacts,
    limits: DeleteLimits,
    verb: Verb,
    where: str,
) -> Guard | None:
    """The cap of a run, for one side; a file that only moves is not counted."""
    lost = _lost(decisions, verb)
    allowed = _allowed(facts, limits)
    if allowed is None or len(lost) <= allowed:
        return None
    return Guard(
        "too-many-deletions",
        f"{len(lost)} of {facts.base_files} files would be deleted {where}, "
        f"where a run may delete {allowed}",
        lost[:_SAMPLE],
    )


def _allowed(facts: GuardFacts, limits: DeleteLimits) -> int | None:
    """How many files a run may delete on one side; None for any number."""
    caps = [] if limits.files is None else [limits.files]
    if limits.percent is not None and facts.base_files >= limits.percent_from:
        caps.append(facts.base_files * limits.percent // 100)
    return min(caps, default=None)


def _lost(decisions: Sequence[Decision], verb: Verb) -> tuple[RelPath, ...]:
    """Paths deleted on one side whose bytes do not arrive there under another name.

    A renamed folder reads as so many deletions and as many additions of the same bytes
    (S69, S70). Each addition answers for one deletion, no more.
    """
    arriving = Counter(
        content
        for decision in decisions
        if is_addition(decision) and (content := _arriving(decision, verb)) is not None
    )
    lost: list[RelPath] = []
    for decision in decisions:
        if decision.verb is not verb:
            continue
        content = _content(decision)
        if content is not None and arriving[content] > 0:
            arriving[content] -= 1
        else:
            lost.append(decision.path)
    return tuple(lost)


def _arriving(decision: Decision, verb: Verb) -> str | None:
    """The content that an addition brings to the side that ``verb`` deletes from."""
    if verb is Verb.DELETE_REMOTE and decision.verb is Verb.UPLOAD and decision.local is not None:
        # Its own tag will do, and is always there: the deletion is compared by the base's.
        return decision.local.etag
    if verb is Verb.DELETE_LOCAL and decision.verb is Verb.DOWNLOAD and decision.remote is not None:
        return decision.remote.digest
    return None


def _content(decision: Decision) -> str | None:
    """The same for a deletion: what was agreed, in the tag that :func:`_arriving` speaks."""
    if decision.base is None:
        return None
    return decision.base.local_etag if decision.verb is Verb.DELETE_REMOTE else decision.base.digest


def _root_emptied(decisions: Sequence[Decision], facts: GuardFacts) -> Guard | None:
    """No local file is left: a disk that is not mounted looks like this (S59, S61)."""
    if facts.local_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:
        return None
    return _emptied(
        "root-emptied", f"all {facts.base_files} files are gone here", decisions, _gone_here
    )


def _remote_emptied(decisions: Sequence[Decision], facts: GuardFacts) -> Guard | None:
    """The server lists nothing: a lost permission looks like this (S63)."""
    if facts.remote_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:
        return None
    return _emptied(
        "remote-emptied",
        f"the server lists none of the {facts.base_files} files",
        decisions,
        _gone_there,
    )


def _emptied(
    name: str, reason: str, decisions: Sequence[Decision], gone: Callable[[Decision], bool]
) -> Guard | None:
    """Trips only over decisions that believe the deletions; a pull just fetches them again."""
    believed = tuple(d.path for d in decisions if is_risky(d) and gone(d))
    return Guard(name, reason, believed[:_SAMPLE]) if believed else None


def _gone_here(decision: Decision) -> bool:
    return decision.base is not None and decision.local is None


def _gone_there(decision: Decision) -> bool:
    return decision.base is not None and decision.remote is None


def _everything_changed(
    decisions: Sequence[Decision],
    facts: GuardFacts,
    changed: Callable[[Decision], bool],
    where: str,
) -> Guard | None:
    """Nearly all changed at once: a tool run on the wrong folder, or ransomware (S25)."""
    paths = tuple(decision.path for decision in decisions if changed(decision))
    if facts.base_files < _ENOUGH_FOR_PERCENT:
        return None
    if len(paths) * 100 < facts.base_files * _EVERYTHING_PERCENT:
        return None
    return Guard(
        "everything-changed",
        f"{len(paths)} of {facts.base_files} files changed {where} since the last run",
        paths[:_SAMPLE],
    )


def _changed_here(decision: Decision) -> bool:
    """True if a local change is about to replace a file, or asks to."""
    return (
        decision.verb in {Verb.UPLOAD, Verb.CONFLICT}
        and decision.base is not None
        and decision.local is not None
        and decision.local.etag != decision.base.local_etag
    )


def _changed_there(decision: Decision) -> bool:
    """The same of a change on the server."""
    return (
        decision.verb in {Verb.DOWNLOAD, Verb.CONFLICT}
        and decision.base is not None
        and decision.remote is not None
        and decision.remote.etag != decision.base.remote_etag
    )
