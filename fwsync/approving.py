"""What of a plan may be done when only the steps of a saved one may.

Its rule: a step is done only if it was made anew, and is the very step that was saved: same
verb, same path, and here, there and in the base what the saved plan saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fwsync.errors import UsageError
from fwsync.executor import Review
from fwsync.model import Decision, Problem, RelPath, Stamp, Verb
from fwsync.plan import Plan, is_risky
from fwsync.saved_plans import Item, SavedPlan, item_of, step_of
from fwsync.state import State, StateThread
from fwsync.state_paths import Seen

#: What happened since is said of each step that is left; this is what to do about it.
_HINT: Final = "look at a new plan; what the saved one says of it does not hold any more"

#: Verbs that move bytes, or agree that none need moving: a run that was killed may have got so far.
_BRING: Final = frozenset(
    {
        Verb.UPLOAD,
        Verb.DOWNLOAD,
        Verb.CONFLICT,
        Verb.ADOPT,
    }
)

#: Verbs that only note or tell: where there is nothing to note any more, nothing is amiss.
_NOTES: Final = frozenset({Verb.NOTHING, Verb.REPORT, Verb.FORGET, Verb.HOLD})

#: What must not follow when one of these was left: it may be the other half of a rename.
_HALVES: Final = {
    Verb.DELETE_REMOTE: frozenset({Verb.UPLOAD, Verb.RENAME_REMOTE}),
    Verb.DELETE_LOCAL: frozenset({Verb.DOWNLOAD, Verb.RENAME}),
}


@dataclass(slots=True)
class Approved:
    """Lets through what a saved plan has, and says what of it does not hold any more.

    Args:
        saved: the plan.
        accept: the id that a person consented to; None: nobody did.
        again: words of the command that would consent, without the id.
    """

    saved: SavedPlan
    accept: str | None = None
    again: tuple[str, ...] = ()
    _met: set[str] = field(default_factory=set)  # of what is beside the files
    _beside: Mapping[str, Item] = field(init=False)

    def __post_init__(self) -> None:
        self._beside = {one["path"]: one for one in self.saved.beside}

    def check_site(self, origin: str) -> None:
        """See that the plan was made for this site; before it is asked for anything.

        Raises:
            UsageError: it was made for another one.
        """
        planned = self.saved.made.remote.partition(" ")[0]
        if origin != planned:
            raise UsageError(
                f"the plan was made for {planned}, and the key is of {origin}",
                hint="name the key of that site by --api-key-file; nothing was done",
            )

    def check(self, remote: str, name: str) -> None:
        """See that the plan was made for this project; before anything is written.

        Args:
            remote: what never changes for it.
            name: of it, for people.

        Raises:
            UsageError: it was made for another one.
        """
        made = self.saved.made
        was_to_be_made = made.remote.endswith(" ") and name == made.remote_name
        if remote != made.remote and not was_to_be_made:
            raise UsageError(
                f"the plan was made for {made.remote_name} ({made.remote}), "
                f"and not for {name} ({remote})",
                hint="make the plan again; nothing was done",
            )

    # -- the files

    def over(self, review: Review, state: StateThread) -> Review:
        """A review that lets no step through but those of the saved plan."""

        async def reviewed(plan: Plan) -> tuple[Plan, list[Problem]]:
            plan, problems = await review(plan)
            told = {one.path for one in problems}
            kept, left = await state.call(self._kept, plan)
            return kept, [*problems, *(one for one in left if one.path not in told)]

        return reviewed

    def _kept(self, state: State, plan: Plan) -> tuple[Plan, list[Problem]]:
        current = {step_of(one.path, one.verb.value): one for one in plan.decisions}
        met: set[tuple[str, str]] = set()
        left: dict[str, str] = {}
        lost: set[Verb] = set()
        for item in self.saved.decisions:
            step = step_of(item["path"], item["verb"])
            now = current.get(step)
            why = changed(item, now)
            if now is None:
                seen = state.glance(RelPath(item["path"]))
                why = "" if is_done(item, seen) else _since(item, seen)
            elif why and _is_agreed(item, now):
                why = ""
            if not why and now is not None:
                met.add(step)
            elif why:
                left[item["path"]] = why
                lost |= {verb for verb in Verb if verb.value == item["verb"]}
        unmet = {path for path, _ in current.keys() - met}
        kept = {one.path for one in plan.decisions if one.path not in unmet}
        for path, rename in met:
            if path in unmet:  # one step is nothing without the others
                left.setdefault(path, "is decided otherwise by now")
                lost.add(current[path, rename].verb)
        for verb in lost & {Verb.RENAME, Verb.RENAME_REMOTE}:
            # They go in one order: one of them may need the name that another one leaves.
            for one in plan.decisions:
                if one.verb is verb and one.path in kept:
                    kept.discard(one.path)
                    left[one.path] = "goes with another rename, which is left"
        problems = [Problem(path, f"not done: {why}", _HINT) for path, why in left.items()]
        return self._guarded(_only(plan, kept, lost), plan), problems

    def _guarded(self, kept: Plan, plan: Plan) -> Plan:
        """With what a guard holds held: the saved plan's, and those of today.

        Consent goes to the plan that a person has seen: the saved one; or, where another guard
        has objected by now, the one that was held when it was applied.
        """
        consents = self.accept is not None and self.accept in (self.saved.plan_id, plan.plan_id)
        known = {one.name for one in self.saved.guards}
        new = [one for one in plan.held if one.name not in known]
        risky = [one for one in (*kept.carry_out, *kept.waiting) if is_risky(one)]
        if not risky:
            return replace(kept, held=(), let_through=())
        if consents and not new:
            together = sorted((*kept.carry_out, *kept.waiting), key=_place_in(plan))
            let = plan.held or plan.let_through or self.saved.guards
            return replace(kept, carry_out=tuple(together), waiting=(), held=(), let_through=let)
        if self.saved.guards and not new:
            safe = tuple(one for one in kept.carry_out if not is_risky(one))
            return replace(
                kept,
                carry_out=safe,
                waiting=tuple(risky),
                held=self.saved.guards,
                plan_id=self.saved.plan_id,
                again=self.again,
            )
        return replace(kept, again=self.again) if plan.held else kept

    # -- what is beside them

    def takes(self, decision: Decision) -> bool:
        """Is this a step of the saved plan, of what stands beside the files?"""
        item = self._beside.get(decision.path)
        if item is None or changed(item, decision):
            return False
        self._met.add(decision.path)
        return True

    def left_beside(self) -> list[Problem]:
        """What of these did not come up again, or came otherwise; at the end."""
        return [
            Problem(path, "not done: it is decided otherwise by now", _HINT)
            for path, item in self._beside.items()
            if path not in self._met and item["verb"] != Verb.REPORT.value
        ]


def _place_in(plan: Plan) -> Any:
    steps = [step_of(one.path, one.verb.value) for one in plan.decisions]
    places = {step: number for number, step in enumerate(steps)}
    return lambda one: places[step_of(one.path, one.verb.value)]


def _only(plan: Plan, kept: set[RelPath], lost: set[Verb]) -> Plan:
    """The plan without all steps but these; a deletion waits for what was to come before it."""

    def put_off(one: Decision) -> Decision:
        if not _HALVES.get(one.verb, frozenset()) & lost:
            return one
        reason = f"{one.reason}; not deleted, as some of what is new was left; make a new plan"
        return replace(one, verb=Verb.REPORT, reason=reason)

    return replace(
        plan,
        carry_out=tuple(put_off(one) for one in plan.carry_out if one.path in kept),
        waiting=tuple(put_off(one) for one in plan.waiting if one.path in kept),
    )


# ------------------------------------------------------------------------ what is the same


def changed(item: Item, now: Decision | None) -> str:
    """Why a step is not the one that was saved, for people; empty: it is that very step."""
    if now is None:
        return "there is nothing to do about it any more"
    told = item_of(now)
    why = (
        _changed_here(item.get("local"), told["local"])
        or _changed_there(item.get("remote"), told["remote"])
        or _changed_base(item.get("base"), told["base"])
        or _changed_here(item.get("replaces"), told.get("replaces"))
    )
    if not why and item["verb"] != told["verb"]:
        why = f"is decided otherwise by now: {now.reason or now.verb.value}"
    return why


def _changed_here(was: Item | None, now: Item | None) -> str:
    if was is None or now is None:
        return "" if was is now else ("new here" if was is None else "gone here")
    if was.get("path") != now["path"]:
        return "lies elsewhere here"
    return "" if _is_file(was, now) else "changed here since the plan was made"


def _is_file(was: Item, now: Item) -> bool:
    """Is this the file, or the pack, that the plan saw?"""
    tags = (was.get("etag"), now["etag"])
    if None not in tags:
        return bool(tags[0] == tags[1] and was.get("size") == now["size"])
    before, after = was.get("pack"), now.get("pack")
    if after is not None:
        return _is_pack(before, after)
    names = ("size", "mtime_ns", "ctime_ns", "inode")
    return before is None and all(was.get(name) == now[name] for name in names)


def _is_pack(was: object, now: Item) -> bool:
    members = was.get("members") if isinstance(was, dict) else None
    if not isinstance(members, list) or len(members) != len(now["members"]):
        return False
    return all(
        isinstance(one, dict) and one.get("name") == other["name"] and _is_file(one, other)
        for one, other in zip(members, now["members"], strict=True)
    )


def _changed_there(was: Item | None, now: Item | None) -> str:
    if was is None or now is None:
        return (
            "" if was is now else ("new on the server" if was is None else "gone from the server")
        )
    if any(was.get(name) != now[name] for name in now):
        return (
            "changed on the server since the plan was made "
            f"(version {now['version']}, was {str(was.get('version'))[:20]})"
        )
    return ""


def _changed_base(was: Item | None, now: Item | None) -> str:
    same = was is now or (
        was is not None
        and now is not None
        and all(was.get(name) == value for name, value in now.items())
    )
    return "" if same else "another run has dealt with it since the plan was made"


# ---------------------------------------------------------------- what was done before


def _is_agreed(item: Item, now: Decision) -> bool:
    """Both sides hold what the step was to bring; it only has to be written down.

    So it is where a run was killed after the bytes had arrived.
    """
    if now.verb is not Verb.ADOPT:
        return False
    told = item_of(now)
    if item["verb"] == Verb.UPLOAD.value:
        return not _changed_here(item.get("local"), told["local"])
    return item["verb"] in (Verb.DOWNLOAD.value, Verb.CONFLICT.value) and not _changed_there(
        item.get("remote"), told["remote"]
    )


def is_done(item: Item, seen: Seen) -> bool:
    """Has an earlier run done this step, or is there nothing to note any more?"""
    verbs = {one.value: one for one in Verb}
    verb = verbs.get(item["verb"])
    if verb in _NOTES:
        return True
    if verb in (Verb.DELETE_LOCAL, Verb.DELETE_REMOTE):
        return not seen.is_here and seen.remote is None
    if verb in (Verb.RENAME, Verb.RENAME_REMOTE):
        return _is_renamed(item, seen)
    if verb not in _BRING or seen.base is None or seen.remote is None:
        return False
    if verb is Verb.UPLOAD:
        here = item.get("local") or {}
        if here.get("etag") is not None:
            return bool(here["etag"] == seen.base.local_etag)
        if seen.local is None or here.get("pack") is not None:
            return seen.is_here
        return _is_as_large_and_old(item, seen.local.stamp)
    there = item.get("remote") or {}
    return bool(there.get("etag") == seen.base.remote_etag)


def _is_renamed(item: Item, seen: Seen) -> bool:
    """Has the file got this path? What was sent over it after that is another step."""
    there, base = item.get("remote"), seen.base
    if there is None:  # it was new here, or had been renamed here already
        return seen.local is not None and _is_as_large_and_old(item, seen.local.stamp)
    if base is None or seen.remote is None:
        return False
    if there.get("file_id"):
        return bool(there["file_id"] == base.file_id)
    return bool(there.get("etag") == base.remote_etag)


def _is_as_large_and_old(item: Item, stamp: Stamp) -> bool:
    here = item.get("local") or {}
    return (here.get("size"), here.get("mtime_ns")) == (stamp.size, stamp.mtime_ns)


def _since(item: Item, seen: Seen) -> str:
    """What has happened to a file that nothing is to be done about any more."""
    if item.get("local") is not None and not seen.is_here:
        return "gone here since the plan was made"
    if item.get("remote") is not None and seen.remote is None:
        return "gone from the server since the plan was made"
    if seen.base is not None:
        return "another run has dealt with it since the plan was made"
    return "there is nothing to do about it any more"
