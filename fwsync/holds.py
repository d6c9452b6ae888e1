"""What the guards ask for, and what they hold: remembered in the state from run to run.

The one rule: what is held stays so until a person consents to it, or until no run wants it any
more. That additions go on meanwhile does not make it less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fwsync.guards import Before, DeleteLimits, GuardFacts, ServerTimes
from fwsync.model import Decision, Mode, Verb
from fwsync.plan import Plan, id_of
from fwsync.state import State

#: Settings that a state keeps.
_HOLD, _MARKS = "held_plan", "server_marks"

#: Paths that are kept as a sample of what waits.
_SAMPLE = 10

#: Runs whose newest time on the server is remembered.
_MOST_MARKS = 8


@dataclass(frozen=True, slots=True)
class Hold:
    """A plan that waits for consent, as it was when it was last made."""

    plan_id: str
    mode: str
    since_ns: int  #: when a guard first held it
    base_files: int  #: agreed files then
    guards: Sequence[Mapping[str, str]] = ()  #: name, reason, hint of each
    deletions_here: int = 0
    deletions_there: int = 0
    overwrites: int = 0
    others: int = 0  #: renames, and deletions that would only be written down
    sample: Sequence[str] = field(default=())  #: the first paths that wait
    options: Sequence[str] = field(default=())  #: of the run that was held, as words of a line
    again: Sequence[str] = ()  #: the whole command, where an apply was held

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return self.deletions_here + self.deletions_there + self.overwrites + self.others

    def fields(self) -> dict[str, Any]:
        """For a JSON line."""
        return asdict(self)


def read(state: State) -> Hold | None:
    """What a guard holds of this root; None: nothing.

    What a later fwsync has noted beside that is left out.
    """
    text = state.setting(_HOLD)
    if not text:
        return None
    known = {one.name for one in fields(Hold)}
    return Hold(**{name: value for name, value in json.loads(text).items() if name in known})


def remaining(made: Plan, reviewed: Plan) -> Plan:
    """What a plan still holds when others have had their say.

    Args:
        made: of all that was seen.
        reviewed: what of it is done: consent to a part is none to the rest, and a part in which
            nothing is at risk says nothing about it.
    """
    if reviewed.held or not made.held:
        return reviewed
    done = {(one.verb, one.path) for one in reviewed.carry_out}
    waiting = tuple(one for one in made.waiting if (one.verb, one.path) not in done)
    if not waiting:
        return replace(made, waiting=(), held=(), let_through=reviewed.let_through)
    if number := len(made.waiting) - len(waiting):
        held = tuple(
            replace(one, reason=f"{one.reason}; {number:,} of these were consented to")
            for one in made.held
        )
        return replace(made, waiting=waiting, held=held, plan_id=id_of(waiting, made.identity))
    return made


def about_consent(plan: Plan, accept: str) -> str:
    """What is to be said of an id that a person gave; empty: it was the right one."""
    if plan.held:
        return (
            f"--accept-deletes {accept}: is not the id of this plan, which is {plan.plan_id}; "
            "an id goes with exactly what would be deleted or overwritten"
        )
    if not plan.let_through:
        return f"--accept-deletes {accept}: was not needed, as no guard holds anything of this run"
    return ""


def keep(
    state: State,
    plan: Plan,
    mode: Mode,
    base_files: int,
    *,
    is_whole: bool = True,
    options: Sequence[str] = (),
    accept: str | None = None,
) -> None:
    """Remember what a plan holds; or that nothing is held any more.

    A run in another direction that wants none of it says nothing about it, and neither does one
    that could not see all of the server (``is_whole``); unless a person has consented to it.
    ``options`` are those of this run, and ``accept`` is the id that it was given.
    """
    known = read(state)
    if not plan.held:
        is_over = is_whole and known is not None and mode in (Mode.BOTH, Mode(known.mode))
        is_agreed = plan.let_through and known is not None and known.plan_id == accept
        if is_over or is_agreed:
            state.set_setting(_HOLD, None)
        return
    hold = replace(_hold_of(plan, mode, base_files, known), options=[*options])
    if hold != known:
        state.set_setting(_HOLD, json.dumps(asdict(hold)))


def _hold_of(plan: Plan, mode: Mode, base_files: int, known: Hold | None) -> Hold:
    verbs = [one.verb for one in plan.waiting]
    deletions_here = verbs.count(Verb.DELETE_LOCAL)
    deletions_there = verbs.count(Verb.DELETE_REMOTE)
    overwrites = sum(map(_overwrites, plan.waiting))
    paths = {one.path for one in plan.waiting}
    named = [path for guard in plan.held for path in guard.sample if path in paths]
    shown = list(dict.fromkeys([*named, *(one.path for one in plan.waiting[:_SAMPLE])]))
    return Hold(
        plan_id=plan.plan_id,
        mode=mode.value,
        since_ns=known.since_ns if known is not None else time.time_ns(),
        base_files=min(base_files, known.base_files) if known is not None else base_files,
        guards=[{"name": one.name, "reason": one.reason, "hint": one.hint} for one in plan.held],
        deletions_here=deletions_here,
        deletions_there=deletions_there,
        overwrites=overwrites,
        others=len(verbs) - deletions_here - deletions_there - overwrites,
        sample=shown[:_SAMPLE],
        again=[*plan.again],
    )


def _overwrites(decision: Decision) -> bool:
    return decision.verb in (Verb.UPLOAD, Verb.DOWNLOAD, Verb.CONFLICT)


def facts(
    state: State,
    *,
    agreed: int,
    local_files: int,
    remote_files: int,
    newest_ns: int,
    limits: DeleteLimits,
    is_whole: bool,
) -> GuardFacts:
    """What the guards must know, for after ``State.out_of_step``.

    Args:
        state: has both sides.
        agreed: files in scope that were agreed on.
        local_files: that are here.
        remote_files: that are listed.
        newest_ns: the latest time of change of these, by the server's clock; 0: none.
        limits: say what must be counted.
        is_whole: the listing is complete, and of all that is there.
    """
    hold = read(state)
    before = None
    if hold is not None:
        before = Before(frozenset(one["name"] for one in hold.guards), hold.base_files)
    held = state.numbers.held() if is_whole else {}
    counted = limits.container_percent is not None
    return GuardFacts(
        base_files=agreed,
        local_files=local_files,
        remote_files=remote_files,
        held_here=held.get("local", 0),
        held_there=held.get("remote", 0),
        before=before,
        in_container=state.numbers.in_containers() if counted else {},
        server=ServerTimes(newest_ns, _marks(state)) if is_whole else None,
        has_files_there=state.numbers.has_files_there,
    )


def _marks(state: State) -> tuple[int, ...]:
    return tuple(json.loads(state.setting(_MARKS) or "[]"))


def mark_server(state: State, newest_ns: int) -> None:
    """A run that held nothing is over: so new is the newest file on the server.

    Args:
        state: keeps it.
        newest_ns: by the server's clock, of a whole listing and of what was sent since. What is
            newer than that by an earlier mark is given up.
    """
    known = _marks(state)
    older = [one for one in known if one < newest_ns]
    marks = [*older[1 - _MOST_MARKS :], newest_ns]
    if newest_ns and tuple(marks) != known:
        state.set_setting(_MARKS, json.dumps(marks))
