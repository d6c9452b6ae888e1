"""One-shot runs: put together, run once, and say what came of it.

The library (``import fwsync``) and the command line both come in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shlex
import tempfile
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fwsync import (
    holds,
    known_roots,
    localfs,
    locks,
    policies,
    resolutions,
    restored_noted,
    roots,
    saved_plans,
    whereabouts,
)
from fwsync.config import Settings, environment
from fwsync.engine import Settle
from fwsync.errors import Exit, FwsyncError, UsageError
from fwsync.filters import Filters
from fwsync.held_state import check_known_root, copy_state
from fwsync.holds import Hold
from fwsync.localfs import disk_errors
from fwsync.model import Mode, Problem, RelPath, Report, Verb
from fwsync.plan import Plan
from fwsync.progress import NoProgress, Progress, moment_utc
from fwsync.reconcile import keeps_both
from fwsync.saved_plans import saved_from
from fwsync.scopes import PROJECT_NAME
from fwsync.sessions import (
    COMMANDS,
    Flags,
    Session,
    open_session,
    settings_of,
)
from fwsync.sources import Said, say_nothing
from fwsync.space import shortage
from fwsync.state import OpenProblem, Run, State, open_state
from fwsync.state_history import Restored
from fwsync.threads import in_thread

T = TypeVar("T")

#: Held deletions that a status names.
_FIRST_HELD = 10


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do."""

    plan: Plan
    problems: tuple[Problem, ...]
    said: Mapping[RelPath, Said] = field(default_factory=dict)  #: of the files that would go up
    saved_to: Path | None = None  #: the file that has it, to be applied
    kept_twice: frozenset[RelPath] = frozenset()  #: conflicts that end with both files here
    conflicts_open: int = 0  #: conflicts of earlier runs that wait for a person
    where: tuple[str, ...] = ()  #: words that name root and state to another command
    again: tuple[str, ...] = ()  #: the words that apply the saved plan
    makes_project: bool = False  #: it is not there yet

    @property
    def bytes(self) -> int:
        """How many would be moved."""
        steps = self.plan.carry_out
        fetched = (one.remote for one in steps if one.path in self.kept_twice)
        return sum(one.size for one in steps) + sum(one.size for one in fetched if one is not None)


@dataclass(frozen=True, slots=True)
class Status:
    """What is known about a root without asking the server."""

    root: Path
    remote: str
    state_file: Path
    files: int = 0
    bytes: int = 0
    held: int = 0
    held_sides: Mapping[str, int] = field(default_factory=dict)  #: the same, by who deleted
    several: bool = False  #: the folder is kept in step with other projects, too
    where: tuple[str, ...] = ()  #: words that name root and state to another command
    last: Run | None = None
    problems: list[OpenProblem] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    copies: list[dict[str, str]] = field(default_factory=list)  #: path and copy of each conflict
    hold: Hold | None = None  #: what a guard holds
    held_first: list[tuple[str, str]] = field(default_factory=list)  #: path and side, of ``held``
    standoffs: int = 0  #: conflicts that were left as they are
    uploads: int = 0  #: begun and not ended
    holder: str = ""  #: the process that works on the root now, if any

    @property
    def halted(self) -> bool:
        """True if a guard held the last run, or holds what nobody has consented to since."""
        held_last = self.last is not None and self.last.exit_code == Exit.HALTED
        return held_last or self.hold is not None

    @property
    def consent(self) -> str:
        """The command that lets through what a guard holds; empty where none does."""
        if self.hold is None:
            return ""
        if self.hold.again:  # as of a saved plan
            return shlex.join(["fwsync", *self.hold.again, "--accept-deletes", self.hold.plan_id])
        return shlex.join([*self._held_command(self.hold), "--accept-deletes", self.hold.plan_id])

    @property
    def lists(self) -> str:
        """The command that lists all that a guard holds of a run; empty where none does."""
        if self.hold is None or self.hold.again:
            return ""
        return shlex.join([*self._held_command(self.hold), "--dry-run"])

    def _held_command(self, hold: Hold) -> list[str]:
        mode = Mode(hold.mode)
        named = [self.remote] if self.several or mode is Mode.DOWN else []
        where = [*named, str(self.root)] if mode is Mode.DOWN else [str(self.root), *named]
        return ["fwsync", COMMANDS[mode], *where, *hold.options]

    @property
    def conflicts_open(self) -> int:
        """How many conflicts wait for a person: with a copy, or left as they are."""
        return len(self.conflicts) + self.standoffs

    def fields(self) -> dict[str, object]:
        """Flat keys for a JSON line."""
        last = self.last
        return {
            "root": str(self.root),
            "remote": self.remote,
            "state_file": str(self.state_file),
            "files": self.files,
            "bytes": self.bytes,
            "held": self.held,
            "last_command": last.command if last else "",
            "last_started": moment_utc(last.started_ns) if last else "",
            "last_started_ns": last.started_ns if last else 0,
            "last_exit_code": last.exit_code if last else None,
            "problems": [{"path": one.path, "message": one.message} for one in self.problems],
            "conflicts": self.conflicts,
            "conflicts_open": self.conflicts_open,
            "copies": self.copies,
            "held_first": [path for path, _ in self.held_first],
            "uploads": self.uploads,
            "holder": self.holder,
            "halted": self.halted,
            "hold": self._hold_fields(),
            "consent": self.consent,
        }

    def _hold_fields(self) -> dict[str, object] | None:
        hold = self.hold
        if hold is None:
            return None
        return hold.fields() | {"waiting": hold.waiting, "since": moment_utc(hold.since_ns)}


# ------------------------------------------------------------------------------- the runs


def run(
    mode: Mode,
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Report:
    """Run once in one direction; blocks until it is over.

    Raises:
        FwsyncError: it could not start, or could not go on. What was done stays done.
    """
    return drive(_run(mode, folder, target, flags, config, progress or NoProgress()))


@disk_errors()
def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; in a thread where a loop runs here already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1, thread_name_prefix="fwsync") as executor:
        return executor.submit(asyncio.run, work).result()


async def _run(
    mode: Mode,
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None,
    progress: Progress,
) -> Report:
    try:
        async with open_session(mode, folder, target, flags, config, progress=progress) as session:
            return await recorded_cycle(session, COMMANDS[mode])
    finally:
        progress.close()


async def recorded_cycle(
    session: Session, command: str, settle: Settle | None = None, *, is_part: bool = False
) -> Report:
    """One cycle, with its line in the history.

    Args:
        session: open.
        command: for the history.
        settle: picks folders that are not quiet yet; who has one goes on with more cycles.
        is_part: some of what is to be done is left on purpose: what was a problem may be one yet.
    """
    state = session.state
    started_ns = time.time_ns()
    number = await state.call(State.begin_run, command, session.scope.name)
    await _take_up(session)
    named = await in_thread(_where, session)
    code: int | None = None  # a run that ends by a defect of ours leaves none
    report = Report()
    try:
        with disk_errors():
            report = await session.engine.cycle(settle, goes_on=settle is not None)
            await session.extras.follow(report)
        report.problem_list += session.remote.asides
        session.remote.asides.clear()
        report.problem_list += session.remote.strays.problems
        report.notes += session.remote.strays.notes
        session.remote.strays.clear()
        code = report.exit_code
        if not session.remote.selection.is_set and not is_part:
            # What is no problem any more need not be told again; what was not looked at may be.
            await state.call(State.drop_problems, not_seen_since_ns=started_ns)
            if not (report.halted or report.left):
                await state.call(lambda one: one.standoffs.drop_unseen(since_ns=started_ns))
        report.conflicts_open = await state.call(_count_open)
        days = session.settings.history_days
        await state.call(lambda one: one.history.prune(days=days, now_ns=time.time_ns()))
    except FwsyncError as error:
        code = error.exit_code
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = Exit.INTERRUPTED
        raise
    finally:
        _complete(report, session, command, named)
        if code is not None:
            told = _counts(report) | {"mode": session.mode.value}
            await state.call(State.end_run, number, int(code), told)
    return report


async def _take_up(session: Session) -> None:
    """What a person has done since the last run: what was put back, and begun to be settled."""
    with localfs.root_descriptor(session.place.root) as root_fd:
        await session.state.call(resolutions.finish_begun, root_fd)
        for name, files in await in_thread(lambda: list(restored_noted.noted(root_fd))):
            await session.state.call(_write_restored, files)
            await in_thread(restored_noted.forget, root_fd, [name])


def _count_open(state: State) -> int:
    return state.copies.count_open()


def _write_restored(state: State, files: list[Restored]) -> None:
    state.history.take_restored(files)


def _complete(report: Report, session: Session, command: str, named: tuple[str, ...]) -> None:
    report.command = command
    report.root = str(session.place.root)
    report.where = named
    report.made = [str(one) for one in session.remote.projects if one.is_new]
    report.remote = session.scope.name
    report.requests = session.api.requests
    report.peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _where(session: Session) -> tuple[str, ...]:
    """Words that name root and state to a command that knows neither; blocks."""
    return where(session.place, session.scope.name, session.settings)


def where(place: roots.Place, project: str, settings: Settings) -> tuple[str, ...]:
    """Words that name a root to a command: its project, where it has several, and its state.

    Args:
        place: of the root.
        project: its name.
        settings: say if the state lies where nobody looks for it.
    """
    several = False
    with contextlib.suppress(OSError):  # a hint is worth no failure
        several = len(whereabouts.known_remotes(place.remotes)) > 1
    state = () if settings.state is None else ("--state", str(settings.state))
    return (str(place.root), *([project] if several else []), *state)


def _counts(report: Report) -> dict[str, Any]:
    names = (
        "uploaded", "downloaded", "deleted", "renamed", "adopted", "skipped", "conflicts",
        "sidecars",
        "problems", "bytes", "requests", "held", "halted", "guards", "plan_id",
    )  # fmt: skip
    return {name: getattr(report, name) for name in names}


def run_plan(
    mode: Mode,
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
    out: Path | None = None,
) -> Planned:
    """What a run would do; nothing is written, here, there or in the state.

    Args:
        mode: the direction; this and the next are as in :func:`run`.
        folder: the root.
        target: the project; None: the one that the root remembers.
        flags: settings that override file and environment.
        config: the settings file.
        progress: is told what happens.
        out: a file that gets the plan, for :func:`fwsync.applying.run`.

    Raises:
        UsageError: as everywhere; or the file would be synced itself, or is something else.
    """
    return drive(_plan(mode, folder, target, flags, config, progress or NoProgress(), out))


async def _plan(
    mode: Mode,
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None,
    progress: Progress,
    out: Path | None,
) -> Planned:
    if out is not None:
        out = await in_thread(_plan_file, out, folder)
    with _stand_in(folder, wanted=mode is Mode.DOWN) as root:
        async with open_session(
            mode, root, target, flags, config, progress=progress, only_look=True
        ) as session:
            view = await session.engine.look()
            beside = await session.extras.look()
            plan = replace(view.plan, carry_out=(*view.plan.carry_out, *beside.decisions))
            said = await _said(session, view.plan)
            if lack := await in_thread(shortage, folder, plan.carry_out):
                progress.note(lack)
            problems = (*view.problems, *beside.problems, *session.remote.asides)
            if out is not None:
                saved = saved_from(
                    view.plan,
                    await in_thread(_made, session, folder),
                    beside=beside.decisions,
                    problems=[{"path": one.path, "message": one.message} for one in problems],
                    made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                )
                await in_thread(saved_plans.write, out, saved)
            rules = session.engine.policy.rules
            both = frozenset(one.path for one in plan.carry_out if keeps_both(one, rules))
            return Planned(
                plan,
                problems,
                said,
                out,
                both,
                await session.state.call(_count_open),
                await in_thread(_where, session),
                () if out is None else _to_apply(out, session.settings, flags, config),
                makes_project=not session.scope.id,
            )


def _to_apply(out: Path, settings: Settings, flags: Flags, config: Path | None) -> tuple[str, ...]:
    """The words that apply a saved plan; what decides something is in the plan."""
    how = {name: value for name, value in flags.items() if name == "api_key_file"}
    return ("apply", str(out), *policies.words_of(settings, how, config))


def _plan_file(out: Path, folder: Path) -> Path:
    """The file that a plan goes to, looked at before anything is asked; absolute."""
    file = out.absolute().parent.resolve() / out.name
    root = Path(os.path.realpath(folder))
    whereabouts.check_not_synced(root, file, "the plan", "--out")
    saved_plans.check_target(file)
    return file


def _made(session: Session, folder: Path) -> saved_plans.Made:
    """What a plan of this session is made for; the folder need not be there."""
    settings = saved_plans.deciding(session.settings)
    return saved_plans.Made(
        mode=session.mode,
        root=Path(os.path.realpath(folder)),
        root_id=roots.root_id(folder) or "",
        remote=session.key,
        remote_name=session.scope.name,
        target=session.target,
        settings=settings,
        files=saved_plans.digests_of(settings),
        rules=saved_plans.rules_of(session.settings),
    )


async def _said(session: Session, plan: Plan) -> dict[RelPath, Said]:
    """What the server would be told of each file, besides its name and bytes."""
    if session.describe is say_nothing:
        return {}
    return {
        one.path: await session.describe(one.local)
        for one in plan.carry_out
        if one.verb is Verb.UPLOAD and one.local is not None
    }


@contextlib.contextmanager
def _stand_in(folder: Path, *, wanted: bool) -> Any:
    """An empty folder in place of one that a pull would make, so that a plan makes none."""
    if wanted and not os.path.lexists(folder):
        with tempfile.TemporaryDirectory(prefix="fwsync-plan-") as empty:
            yield Path(empty)
    else:
        yield folder


def run_verify(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
    deep: bool = False,
) -> Report:
    """Compare disk, state and server; changes nothing.

    Args:
        folder: the root.
        target: the project; None: the one the root remembers.
        flags: settings that override file and environment.
        config: the settings file.
        progress: is told what happens.
        deep: read every file again, and trust no recorded hash.
    """
    return drive(_verify(folder, target, flags, config, progress or NoProgress(), deep))


async def _verify(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None,
    progress: Progress,
    deep: bool,
) -> Report:
    async with open_session(
        Mode.BOTH,
        folder,
        target,
        flags,
        config,
        progress=progress,
        only_look=True,
        command="verify",
    ) as session:
        if deep:
            await session.state.call(State.forget_hashes)
            await session.state.call(lambda state: state.extras.forget_hashes())
        view = await session.engine.look()
        report = Report(files=view.files, problem_list=list(view.problems))
        for decision in view.plan.decisions:
            if decision.verb is Verb.CONFLICT:
                report.conflict_list.append(decision.path)
                report.conflicts += 1
            elif decision.verb is not Verb.ADOPT:
                report.difference_list.append(Problem(decision.path, decision.reason))
        filters = session.engine.policy.ignore or Filters()
        report.difference_list += await session.state.call(_held_before, filters)
        (await session.extras.look()).differ(report)
        report.skipped = len(report.difference_list)
        report.conflicts_open = await session.state.call(_count_open)
        _complete(report, session, "verify", await in_thread(_where, session))
        return report


def _held_before(state: State, filters: Filters) -> list[Problem]:
    """Deletions that earlier runs held: the two sides differ there, and nobody says so now."""
    sides = {"local": "deleted here, kept on the server", "remote": "deleted there, kept here"}
    held = (one for one in state.base_entries() if one.held and filters.is_in(one.path))
    return [Problem(one.path, sides[one.held]) for one in held]


@disk_errors()
def read_status(
    folder: Path, flags: Flags, config: Path | None, *, target: str | None = None
) -> Status:
    """What is known about a root without asking the server.

    Args:
        folder: the root.
        flags: settings that override file and environment.
        config: the settings file.
        target: the project's name, where the root has several.

    Raises:
        UsageError: it is no root of ours.
        Halted: it was one, and is gone, empty or another now.
    """
    settings = settings_of(flags, config)
    known_roots.check(folder, environment())
    root = roots.prepare_root(folder)
    place = whereabouts.locate(root, target, state_option=settings.state, env=environment())
    check_known_root(place)
    source = place.work_copy_of or place.state_file
    if not source.exists():
        raise UsageError(
            f"{folder}: nothing is known about this folder",
            hint="run fwsync push, pull, sync or watch on it first",
        )
    with tempfile.TemporaryDirectory(prefix="fwsync-status-") as scratch:
        copy = Path(scratch) / "state.db"
        copy_state(source, copy)
        with open_state(copy) as state:
            counts = state.counts()
            runs = state.last_runs(1)
            return Status(
                root=root,
                remote=state.setting(PROJECT_NAME) or "",
                state_file=source,
                files=counts["files"],
                bytes=counts["bytes"],
                held=counts["held"],
                held_sides=state.numbers.held(),
                several=len(whereabouts.known_remotes(place.remotes)) > 1,
                where=where(place, state.setting(PROJECT_NAME) or "", settings),
                last=runs[0] if runs else None,
                problems=state.problems(),
                conflicts=[one.path for one in state.conflicts()],
                copies=[{"path": one.path, "copy": one.copy_path} for one in state.conflicts()],
                hold=holds.read(state),
                held_first=state.numbers.first_held(_FIRST_HELD),
                standoffs=len(state.standoffs.all()),
                uploads=len(state.uploads.paths()),
                holder=locks.holder_of(place),
            )
