"""A state file is set aside, and made anew from both sides by content.

Its rule: nothing is sent, fetched or deleted. What is the same here and there is agreed on; what
differs is left to the next run, which has no row to tell it that either side may be replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from fwsync import known_roots, localfs, locks, roots, scanner, scopes, state_salvage, whereabouts
from fwsync.config import Settings, environment
from fwsync.errors import FileProblem, Halted, LocalError, StateTooNew
from fwsync.executor import Review
from fwsync.held_state import check_known_root
from fwsync.keys import find_key
from fwsync.localfs import disk_errors
from fwsync.model import BaseEntry, LocalEntry, Mode, Problem, RelPath, Unknown, Verb
from fwsync.plan import Plan
from fwsync.progress import NoProgress, Progress
from fwsync.remotes.connect import Door
from fwsync.runs import drive
from fwsync.sessions import Flags, open_api, open_session, settings_of
from fwsync.state import State, StateThread, open_state
from fwsync.state_salvage import Salvaged
from fwsync.threads import in_thread

COMMAND: Final = "doctor"


@dataclass(slots=True)
class Rebuilt:
    """What came of it."""

    root: Path
    remote: str = ""
    kept: Path | None = None  #: the old state file; None: there was none
    saved: Salvaged = field(default_factory=Salvaged)  #: of the old one
    agreed: int = 0  #: files that are in step now
    differ: list[RelPath] = field(default_factory=list)  #: not the same here and there
    only_here: int = 0
    only_there: int = 0
    problems: list[Problem] = field(default_factory=list)


def run(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Rebuilt:
    """Set the state of a root aside, and make it anew; blocks until it is over.

    Args:
        folder: the root.
        target: the project; None: the one that is known for it.
        flags: settings that override file and environment.
        config: the settings file.
        progress: is told what happens.

    Raises:
        StateTooNew: it is of a newer fwsync, and nothing is wrong with it.
        Halted: another root stands where the known one was.
        FwsyncError: it cannot be done. Where the server could not be asked, nothing was changed.
    """
    return drive(_run(folder, target, flags, config, progress or NoProgress()))


async def _run(
    folder: Path, target: str | None, flags: Flags, config: Path | None, progress: Progress
) -> Rebuilt:
    settings = settings_of(flags, config)
    await in_thread(known_roots.check, folder, environment())
    root = await in_thread(roots.prepare_root, folder)
    place = await in_thread(_place, root, target or settings.project, settings)
    target = target or settings.project or await in_thread(whereabouts.known_target, place)
    told = {**flags, "trash_days": 0}  # nothing is let go on the way
    try:
        scope = await _see_that_it_answers(target, settings, progress)
        done = Rebuilt(root)
        await in_thread(_renew, place, scope, done)
        await _compare(done, target, told, config, progress)
    finally:
        progress.close()
    return done


def _place(root: Path, target: str | None, settings: Settings) -> roots.Place:
    return whereabouts.locate(root, target, state_option=settings.state, env=environment())


async def _see_that_it_answers(
    target: str | None, settings: Settings, progress: Progress
) -> scopes.Scope | None:
    """See that key, server and project answer, before anything is set aside.

    Returns:
        The project; None: only the old state may know it.
    """
    found = find_key(key_file=settings.api_key_file, env=environment())
    async with open_api(found.key, settings, tell=progress.note) as api:
        door = Door(api)
        await (await door.open()).check_login()
        if target is None:
            return None
        return await scopes.named_scope(door, settings, target, pretend=True, may_create=False)


# --------------------------------------------------------------------------- the new file


@disk_errors()
def _renew(place: roots.Place, scope: scopes.Scope | None, done: Rebuilt) -> None:
    """Make a new state file of what can be saved of the old one, and put it in its place."""
    file = place.work_copy_of or place.state_file
    _check_root(place, file)
    if scope is None and not file.exists():
        raise scopes.no_project_yet(place.root)  # before anything is made in a folder of others
    with locks.RootLock(place, command=f"fwsync {COMMAND}"):
        root_id = roots.prepare_place(
            place, partial(known_roots.announce, place.record, place.root)
        )
        _check_version(file)
        roots.make_folder(place.state_file.parent, place.root)
        # Where the state is used, which is a local disk: its own folder may be on a network.
        new = place.state_file.with_name(f"{file.name}.rebuilt")
        _remove(new)
        try:
            done.saved = _fill(new, file, place, scope, root_id)
        except BaseException:
            _remove(new)
            raise
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = _free(file.with_name(f"{file.name}.damaged-{at}"))
        done.kept = aside if file.exists() else None
        if new.parent != file.parent:
            near = file.with_name(new.name)
            shutil.copyfile(new, near)
            new.unlink()
            new = near
        state_salvage.replace(file, new, aside)


def _fill(
    new: Path, file: Path, place: roots.Place, scope: scopes.Scope | None, root_id: str
) -> Salvaged:
    """Make a state of what can be saved of the old one.

    It knows its project from the start: whoever is killed before the comparison has a state that
    the next run can use.

    Raises:
        UsageError: nobody knows the project.
    """
    saved = Salvaged()
    with open_state(new, granularity_ns=place.granularity_ns) as state:
        rows = _Rows(place.root, state)
        if file.exists():
            saved = state_salvage.salvage(file, new, rows.keeps)
        state.remember(rows.hashed)
        if state.setting(scopes.PROJECT_ID) is None:
            if scope is None:
                raise scopes.no_project_yet(place.root)
            if scope.id:  # else it would be made: it holds nothing
                state.set_setting(scopes.PROJECT_ID, scope.id)
                state.set_setting(scopes.PROJECT_NAME, scope.name)
        if root_id:
            state.set_setting("root_id", root_id)
    return saved


def _remove(new: Path) -> None:
    """Take away a state file that was begun, here or by a command that was killed."""
    for suffix in ("", *state_salvage.BESIDE):
        new.with_name(new.name + suffix).unlink(missing_ok=True)


def _check_root(place: roots.Place, file: Path) -> None:
    """Halt where the root is not the one that the state is of: all of it would read as deleted.

    Raises:
        Halted: it is another one, or has lost its marker.
    """
    check_known_root(place)
    is_elsewhere = not file.is_relative_to(place.root) and file.exists()
    if is_elsewhere and place.marker is not None and roots.root_id(place.root) is None:
        raise Halted(
            f"{place.root}: the root has lost its marker; is its disk or share mounted?",
            hint="mount what belongs there; or move the state file away yourself",
        )


def _check_version(file: Path) -> None:
    """Refuse what a newer fwsync has left: there is nothing to rebuild."""
    try:
        if file.exists():
            open_state(file, create=False, read_only=True, older_too=True).close()
    except StateTooNew:
        raise
    except LocalError:
        pass  # that is why we are here


def _free(path: Path) -> Path:
    """A name that nothing has yet."""
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


class _Rows:
    """Says which rows of agreed files may be kept, by looking at the files.

    A row that is believed wrongly could have a file replaced. So it is kept only where the file
    here is the one that was agreed on, by its content, or is gone: then the worst that a wrong
    row can do is to remember a deletion.

    Args:
        root: the folder.
        state: the new one; gets a scan, without any filter but those of the tree itself.
    """

    def __init__(self, root: Path, state: State) -> None:
        self._root = root
        self._state = state
        with localfs.root_descriptor(root) as root_fd:
            summary = state.take_scan(scanner.walk(root_fd))
        self._unknown: Sequence[Unknown] = summary.unknown
        self.hashed: list[tuple[LocalEntry, int]] = []

    def keeps(self, base: BaseEntry, sources: Sequence[RelPath]) -> bool:
        """See :func:`fwsync.state_salvage.salvage`; blocks."""
        paths = [*sources] or [base.path]
        if any(map(self._is_unknown, paths)):
            return base.held != ""
        here = [one for one in map(self._state.file_at, paths) if one is not None]
        if not here:
            return True
        if len(paths) > 1 or base.local_etag.startswith("pack:"):
            return base.held == "remote"  # its zip is compared by the next look
        try:
            entry, at_ns = scanner.hash_file(self._root, here[0], want_digest=False)
        except FileProblem:
            return base.held != ""
        self.hashed.append((entry, at_ns))
        return entry.etag == base.local_etag

    def _is_unknown(self, path: RelPath) -> bool:
        return any(
            one.scope in ("", path) or path.startswith(f"{one.scope}/") for one in self._unknown
        )


# ------------------------------------------------------------------------- compared anew


@dataclass(slots=True)
class _OnlyAgree:
    """Lets nothing of a plan through but agreement, and counts the rest."""

    done: Rebuilt

    def check_site(self, origin: str) -> None:
        """Any will do."""

    def check(self, remote: str, name: str) -> None:
        """Likewise."""

    def over(self, review: Review, state: StateThread) -> Review:
        """A review that leaves only what moves nothing."""

        async def reviewed(plan: Plan) -> tuple[Plan, list[Problem]]:
            plan, problems = await review(plan)
            told = plan.decisions
            self.done.differ = [
                one.path for one in told if one.local and one.remote and one.verb is not Verb.ADOPT
            ]
            self.done.only_here = sum(one.verb is Verb.UPLOAD and not one.remote for one in told)
            self.done.only_there = sum(one.verb is Verb.DOWNLOAD and not one.local for one in told)
            same = tuple(one for one in told if one.verb is Verb.ADOPT)
            return replace(plan, carry_out=same, waiting=(), held=()), problems

        return reviewed


async def _compare(
    done: Rebuilt, target: str | None, flags: Flags, config: Path | None, progress: Progress
) -> None:
    """Compare both sides, and write down what is the same."""
    async with open_session(
        Mode.BOTH,
        done.root,
        target,
        flags,
        config,
        progress=progress,
        command=COMMAND,
        approval=_OnlyAgree(done),
    ) as session:
        done.remote = session.scope.name
        number = await session.state.call(State.begin_run, COMMAND, done.remote)
        view = await session.engine.look()
        report = await session.engine.carry_out(view)
        done.problems = report.problem_list
        code = int(report.exit_code)
        await session.state.call(State.end_run, number, code, {"adopted": report.adopted})
        counts = await session.state.call(State.counts)
        done.agreed = counts["files"] - counts["held"]
