"""``fwsync explain``: why a path is where it is, and what the next run does about it.

Its rule: nothing is decided here. A cycle looks, as it does for a plan, and what it says of the
path is what is told: its filters, its layout, its moves, its table, its guards.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fwsync import below_root, conflicts, localfs, policies
from fwsync.as_agreed import as_agreed
from fwsync.below_root import Named
from fwsync.engine import Engine
from fwsync.errors import AuthError, FileProblem, Forbidden, RemoteError
from fwsync.executor import Review, View
from fwsync.filters import IGNORE_FILE, LeftOutBy
from fwsync.grounds import LetsAllThrough
from fwsync.held_state import state_copy
from fwsync.layout import Unmappable
from fwsync.localfs import disk_errors
from fwsync.model import (
    BaseEntry,
    ConflictPolicy,
    Decision,
    Delta,
    LocalEntry,
    Mode,
    Problem,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.moves import Move
from fwsync.placements import layout_of, placement_of, read_layout
from fwsync.placing import Placer
from fwsync.plan import Plan, without
from fwsync.progress import NoProgress
from fwsync.reconcile import Rules, Scopes, judge, keeps_both, local_delta, remote_delta
from fwsync.roots import RESERVED
from fwsync.scopes import PROJECT_NAME
from fwsync.sessions import open_session
from fwsync.state import OpenConflict, OpenProblem, Run, State, StateThread
from fwsync.state_standoffs import Standoff
from fwsync.threads import in_thread

#: The direction of a run by its command, where the run has not kept it.
_MODES = {"push": Mode.UP, "pull": Mode.DOWN, "sync": Mode.BOTH}

#: Runs that are looked through for the last one that went some way.
_RUNS = 20

_NO_PATH = RelPath("")


@dataclass(slots=True)
class Explained:
    """All that is known of one path, and what a run would do about it."""

    root: Path
    path: RelPath  #: as it was named
    remote: str  #: the project
    mode: Mode
    #: "file", "folder", "copy" (of a conflict), "extra" (a sidecar, or of an analysis), "ours",
    #: "nowhere"
    kind: str = "file"
    there: RelPath = _NO_PATH  #: by the server's tree, which is how it is compared
    here: tuple[str, ...] = ()  #: the files of this disk that it is made of
    local: LocalEntry | None = None
    on_disk: Stamp | None = None  #: a file that takes no part, where no scan has looked
    remote_entry: RemoteEntry | None = None
    base: BaseEntry | None = None
    asked: bool = True  #: the server was asked now; else it is taken as it was agreed on
    not_asked: str = ""  #: why it was not
    labels: tuple[str, ...] = ()  #: of the containers, from the group down
    no_place: str = ""  #: why the layout has no place for it
    rule: str = ""  #: what put it there
    left_out: LeftOutBy | None = None  #: the pattern that leaves it out
    left_out_by: str = ""  #: where that pattern stands
    out_of_bounds: bool = False  #: its size or its age leaves it out
    unseen: str = ""  #: why a side could not be seen there
    decision: Decision | None = None  #: of the next run
    guards: tuple[str, ...] = ()  #: why it has to wait
    plan_id: str = ""  #: consents to it
    told: tuple[Problem, ...] = ()  #: what the next run says of it
    problem: OpenProblem | None = None  #: as the last run has left it
    conflict: OpenConflict | None = None
    standoff: Standoff | None = None
    is_left: bool = False  #: the next run leaves it all the same, and says why
    with_deletes: Decision | None = None  #: what would be decided where deletions are passed on
    keeps_both: bool = False  #: of a conflict: it ends with both files here
    policy: ConflictPolicy = ConflictPolicy.KEEP_BOTH  #: of the run, for conflicts
    counts: Mapping[str, int] = field(default_factory=dict)  #: of a folder
    waiting: Mapping[Verb, int] = field(default_factory=dict)  #: of a folder: what a guard holds
    unsettled_s: float = 0.0  #: a watch waits for so long at least; 0: it does not
    extra: str = ""  #: what kind of extra it is
    moved_to: str = ""  #: where it is now, if nothing is left of it here but its history
    options: tuple[str, ...] = ()  #: that another command about it needs as well

    @property
    def deltas(self) -> tuple[Delta, Delta]:
        """What each side did since they agreed."""
        return local_delta(self.local, self.base), remote_delta(self.remote_entry, self.base)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    path: str  #: as it was typed
    offline: bool = False  #: ask nobody
    mode: Mode | None = None  #: of the run; None: that of the last one
    project: str | None = None  #: which one, where the folder has several


@disk_errors()
def of(asked: Question, flags: Mapping[str, object], config: Path | None) -> Explained:
    """Why a path is where it is.

    Raises:
        UsageError: it is below no folder of ours.
        FwsyncError: it cannot be looked at.
    """
    one = below_root.named(asked.path, flags, config, target=asked.project)
    with below_root.state_of(one) as state:
        last = _mode_of(state.last_runs(_RUNS))
        remote = state.setting(PROJECT_NAME) or ""
    told = Explained(one.root, one.path, remote, asked.mode or last, options=one.options)
    if one.path.split("/")[0].startswith(RESERVED):
        told.kind = "ours"
        return told
    return asyncio.run(_explain(one, asked, told, flags, config))


def _mode_of(runs: Sequence[Run]) -> Mode:
    """The direction of the last run that had one."""
    for run in runs:
        if kept := run.summary.get("mode"):
            return Mode(kept)
        if run.command in _MODES:
            return _MODES[run.command]
    return Mode.UP if any(run.command == "watch" for run in runs) else Mode.BOTH


async def _explain(
    one: Named,
    asked: Question,
    told: Explained,
    flags: Mapping[str, object],
    config: Path | None,
) -> Explained:
    told.asked = not asked.offline
    if told.asked:
        try:
            async with open_session(
                told.mode, one.root, asked.project, flags, config,
                progress=NoProgress(), only_look=True, command="explain", approval=_Refused(),
            ) as session:  # fmt: skip
                return await _look(one, told, session.engine, session.state)
        except (RemoteError, AuthError) as error:
            told.asked, told.not_asked = False, error.message
    async with _offline(one, told, flags) as (engine, state):
        return await _look(one, told, engine, state)


class _Refused(LetsAllThrough):
    """Looks on where the key may not write: what would be sent is a problem of the run."""

    def over(self, review: Review, state: StateThread) -> Review:
        """A review that refuses nothing as a whole."""

        async def reviewed(plan: Plan) -> tuple[Plan, list[Problem]]:
            try:
                return await review(plan)
            except Forbidden as error:
                sent = {one.path for one in plan.carry_out if one.verb is Verb.UPLOAD}
                return without(plan, sent), [Problem.of(path, error) for path in sorted(sent)]

        return reviewed


@asynccontextmanager
async def _offline(
    one: Named, told: Explained, flags: Mapping[str, object]
) -> AsyncIterator[tuple[Engine, StateThread]]:
    """An engine that takes the server for what it was when both sides agreed."""
    settings, mode = one.settings, told.mode
    policies.check(mode, settings, "explain")
    content = await read_layout(settings, mode, "explain")
    filters = await policies.filters_of(settings, ())
    group, _, label = told.remote.partition("/")
    is_one = bool(label) and not told.remote.startswith("fw://")
    async with state_copy(one.place) as state:
        layout = await layout_of(
            state, settings, content, group if is_one else None, label if is_one else None
        )
        placement = await placement_of(state, settings, content, layout, one.root, mode, "explain")
        with localfs.root_descriptor(one.root) as root_fd:
            remote = as_agreed(state)
            engine = Engine(
                root=one.root,
                root_fd=root_fd,
                state=state,
                reader=remote,
                writer=None if mode is Mode.DOWN else remote,
                layout=layout,
                policy=policies.policy_of(mode, settings, flags, filters),
                progress=NoProgress(),
                host="",
                placer=Placer(state, placement, layout) if placement is not None else None,
            )
            yield engine, state


async def _look(one: Named, told: Explained, engine: Engine, state: StateThread) -> Explained:
    view = await engine.look()
    await state.call(_tell, told, engine, view, one.settings.settle_s)
    if told.kind == "nowhere" and await in_thread(_is_folder, one):
        told.kind = "folder"  # an empty one, or one that takes no part
        await state.call(_tell_folder, told, engine, view)
    _find_left_out(one, told, engine)
    if told.local is None and told.kind in ("file", "nowhere"):
        told.on_disk = await in_thread(_on_disk, one)
        if told.on_disk is not None:
            told.kind = "file"
    return told


# ------------------------------------------------------------------------ what a cycle has seen


def _tell(state: State, told: Explained, engine: Engine, view: View, settle_s: float) -> None:
    _find_kind(state, told)
    if told.kind == "folder":
        _tell_folder(state, told, engine, view)
        return
    spot = state.moves.spots([Move(told.there, told.there)])[told.there]
    told.local, told.remote_entry, told.base = spot.local, spot.remote, spot.base
    told.here = tuple(state.places.sources(told.there)) if state.places.active else (told.there,)
    place = engine.layout.address_of(told.there)
    if isinstance(place, Unmappable):
        told.no_place = f"{place.reason}" + (f" ({place.hint})" if place.hint else "")
    else:
        told.labels = place.labels
    known = state.places.known(told.there)
    told.rule = known[0].rule if known else ""
    names = {told.path, told.there}
    told.problem = next((one for one in state.problems() if one.path in names), None)
    told.told = tuple(one for one in view.problems if one.path in names)
    told.conflict = next(
        (one for one in state.conflicts() if names & {one.path, one.copy_path}), None
    )
    told.standoff = next((one for one in state.standoffs.all() if one.path in names), None)
    told.unseen = _why_unseen(view, told)
    nothing = told.local is None and told.remote_entry is None and told.base is None
    if nothing and told.kind == "file":
        told.kind = "file" if told.unseen or told.told else "nowhere"
        told.moved_to = state.history.moved_to(told.there) or ""
    _find_decision(state, told, engine, view)
    _find_unsettled(state, told, settle_s)


def _find_kind(state: State, told: Explained) -> None:
    """Under which path it is compared, and what it is."""
    told.there = told.path
    with localfs.root_descriptor(told.root) as root_fd:
        noted = {one.rpartition("/")[2] for one in conflicts.noted_copies(root_fd)}
    copies = {one.copy_path for one in state.conflicts()}
    if told.path in copies or told.path.rpartition("/")[2] in noted:
        told.kind = "copy"
        return
    told.extra = state.paths.extra_kind(told.path)
    if told.extra:
        told.kind = "extra"
        return
    goes = [one for one in state.history.paths_of(told.path) if one != told.path]
    placed = state.paths.goes_to(told.path) if state.places.active else None
    if placed is not None:
        told.there = placed
    elif state.file_at(told.path) is None and goes:
        told.there = goes[0]
    spot = state.moves.spots([Move(told.there, told.there)])[told.there]
    nothing = spot.local is None and spot.remote is None and spot.base is None
    if nothing and (not told.path or any(state.paths.count_below(told.path).values())):
        told.kind = "folder"


def _tell_folder(state: State, told: Explained, engine: Engine, view: View) -> None:
    counts = dict(state.paths.count_below(told.path))
    inside = f"{told.path}/" if told.path else ""
    for decision in (*view.plan.carry_out, *view.plan.waiting):
        if decision.path.startswith(inside):
            counts[decision.verb.value] = counts.get(decision.verb.value, 0) + 1
    waiting = [one.verb for one in view.plan.waiting if one.path.startswith(inside)]
    if waiting:
        told.waiting = Counter(waiting)
        told.guards, told.plan_id = _guards_of(view)
    counts["problems"] = sum(one.path.startswith(inside) for one in view.problems)
    told.counts = counts
    place = engine.layout.address_of(RelPath(f"{inside}x"))
    if isinstance(place, Unmappable):
        told.no_place = place.reason
    else:
        told.labels = place.labels


def _guards_of(view: View) -> tuple[tuple[str, ...], str]:
    """Why the plan has to wait, and what consents to it."""
    return tuple(one.reason for one in view.plan.held), view.plan.plan_id


def _why_unseen(view: View, told: Explained) -> str:
    """Why nothing is known of a side there, if so."""
    names = {told.path, told.there}
    for one in (*view.local_unknown, *view.unlisted):
        if any(Scopes([one]).covers(name) for name in names):
            return one.reason
    return ""


def _find_decision(state: State, told: Explained, engine: Engine, view: View) -> None:
    """What the plan says of it; of a path without a step, what the table says."""
    plan = view.plan
    for decision in (*plan.carry_out, *plan.waiting):
        before = decision.base.path if decision.base is not None else decision.path
        if told.there in (decision.path, before):
            told.decision = decision
            break
    if any(one is told.decision for one in plan.waiting):
        told.guards, told.plan_id = _guards_of(view)
    nothing = told.local is None and told.remote_entry is None and told.base is None
    if told.kind != "file" or nothing:
        return
    choice = state.standoffs.choices().get(told.there)
    rules = engine.policy.rules

    def by_table(rules: Rules) -> Decision:
        return judge(told.there, told.local, told.remote_entry, told.base, rules, choice)

    judged = by_table(rules)
    if told.decision is None and not told.unseen:
        told.out_of_bounds = engine.policy.bounds.leave_out(judged, time.time_ns())
        told.decision = judged
        told.is_left = bool(told.told) and judged.verb is Verb.UPLOAD
    told.policy = rules.conflict
    told.keeps_both = told.decision is not None and keeps_both(told.decision, rules)
    deleting = by_table(replace(rules, delete_up=True, delete_down=True))
    if deleting.verb is not judged.verb:
        told.with_deletes = deleting


def _find_unsettled(state: State, told: Explained, settle_s: float) -> None:
    """A watch waits until the folder has been quiet for some time."""
    if told.local is None or told.local.pack is not None:
        return
    folder = told.local.indexed.rpartition("/")[0]
    newest_ns = state.paths.newest_in(RelPath(folder))
    age_s = (time.time_ns() - newest_ns) / 1e9
    told.unsettled_s = max(0.0, settle_s - age_s) if newest_ns else 0.0


def _find_left_out(one: Named, told: Explained, engine: Engine) -> None:
    """The pattern that leaves it out, and where that stands."""
    filters = engine.policy.ignore
    if filters is None or told.kind in ("copy", "extra"):
        return
    if told.kind == "folder":
        told.left_out = filters.why_folder_out(told.path)
    else:
        for path in (*told.here, told.path):
            told.left_out = told.left_out or filters.why_out(path)
    why = told.left_out
    if why is None:
        return
    told.decision = None
    if why.layer == "ignore-file":
        file = f"{why.folder}/{IGNORE_FILE}" if why.folder else IGNORE_FILE
        told.left_out_by = f"line {why.number} of {file}: {why.pattern}"
    elif why.layer == "include":
        told.left_out_by = "it matches none of the patterns of --include, or `include`"
    elif why.layer == "default":
        told.left_out_by = f"left out by default: {why.pattern}"
    else:
        told.left_out_by = _of_settings(one, why)


def _on_disk(one: Named) -> Stamp | None:
    with localfs.root_descriptor(one.root) as root_fd:
        try:
            return localfs.look(root_fd, one.path) if one.path else None
        except FileProblem:
            return None


def _is_folder(one: Named) -> bool:
    with localfs.root_descriptor(one.root) as root_fd:
        try:
            with localfs.folder(root_fd, one.path):
                return True
        except OSError:
            return False


def _of_settings(one: Named, why: LeftOutBy) -> str:
    """Where a pattern of the settings stands: those of a file come before the others."""
    file = one.settings.filter_from
    lines = len(file.read_text(encoding="utf-8").splitlines()) if file is not None else 0
    if why.number <= lines:
        return f"line {why.number} of {file}: {why.pattern}"
    return f"{one.settings.called('exclude')}: {why.pattern}"
