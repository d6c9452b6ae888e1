"""What `fwsync doctor` looks at: the state, the root, the key and the server, one by one.

Its rule: it only looks, and goes on when something is wrong; each finding says what to do.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fwsync import conflicts, known_roots, localfs, locks, roots, state_salvage, whereabouts
from fwsync.config import Settings, environment
from fwsync.errors import Exit, Forbidden, FwsyncError, Halted, LocalError, StateTooNew
from fwsync.filesystems import filesystem_of
from fwsync.held_state import check_known_root, copy_state
from fwsync.keys import FoundKey, find_key
from fwsync.progress import NoProgress, Progress, plural, size_text
from fwsync.remotes.connect import Connection, Door
from fwsync.runs import drive
from fwsync.scopes import PROJECT_ID, PROJECT_NAME
from fwsync.sessions import Flags, open_api, settings_of
from fwsync.state import open_state
from fwsync.threads import in_thread


class Grade(StrEnum):
    """How it is with a thing."""

    GOOD = "good"
    DOUBTFUL = "doubtful"  #: a person should know
    BAD = "bad"  #: a run cannot go on, or must not


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing."""

    what: str  #: for machines: "state", "key", …
    grade: Grade
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Checkup:
    """All findings of one root."""

    root: Path
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> Exit:
        """6 where the state or the root is not fit for use, 1 where something else is wrong."""
        bad = {one.what for one in self.findings if one.grade is Grade.BAD}
        if bad & {"state", "root"}:
            return Exit.LOCAL
        fine = all(one.grade is Grade.GOOD for one in self.findings)
        return Exit.IN_STEP if fine else Exit.DIFFERENCES


def run(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Checkup:
    """Look at all that a run on a root needs; blocks. Nothing is written.

    Args:
        folder: the root.
        target: the project's name, where the root has several.
        flags: settings that override file and environment.
        config: the settings file.
        progress: is told what happens.

    Raises:
        UsageError: it is no folder, or no one state of it is meant.
    """
    settings = settings_of(flags, config)
    told = progress or NoProgress()
    try:
        return _looked(folder, target, settings, told)
    finally:
        told.close()


def _looked(folder: Path, target: str | None, settings: Settings, progress: Progress) -> Checkup:
    try:
        known_roots.check(folder, environment())
    except Halted as error:  # what else is there is not what a run would work with
        wrong = Finding("root", Grade.BAD, error.message, error.hint)
        return Checkup(folder, (wrong, *drive(_remote(None, settings, progress))))
    root = roots.prepare_root(folder)
    place = whereabouts.locate(
        root, target or settings.project, state_option=settings.state, env=environment()
    )
    return Checkup(root, (*_local(place), *drive(_remote(place, settings, progress))))


def _local(place: roots.Place) -> Iterator[Finding]:
    yield from _root(place)
    yield from _state(place)
    yield _lock(place)
    yield from _beside(place)


# ------------------------------------------------------------------------------ the root


def _root(place: roots.Place) -> Iterator[Finding]:
    try:
        check_known_root(place)
    except FwsyncError as error:
        yield Finding("root", Grade.BAD, error.message, error.hint)
        return
    if place.note:
        yield Finding("root", Grade.GOOD, place.note)
    id_ = roots.root_id(place.root)
    if id_ is None and place.marker is not None and place.marker.exists():
        yield Finding(
            "marker",
            Grade.DOUBTFUL,
            f"{place.marker}: cannot be read; the next run makes another one",
        )
    elif id_ is not None:
        yield Finding("marker", Grade.GOOD, f"{place.root}: its marker is {id_[:8]}")


# ------------------------------------------------------------------------------ the state


def _state(place: roots.Place) -> Iterator[Finding]:
    file = place.work_copy_of or place.state_file
    if not file.exists():
        grade = Grade.DOUBTFUL if whereabouts.known_remotes(place.remotes) else Grade.GOOD
        yield Finding(
            "state",
            grade,
            f"{file}: there is no state file; the next run makes one, and compares contents",
            _rebuild(place) if grade is Grade.DOUBTFUL else "",
        )
        return
    try:
        told = _told(file)
    except StateTooNew as error:
        yield Finding("state", Grade.BAD, error.message, error.hint)
        return
    except LocalError as error:
        yield Finding("state", Grade.BAD, error.message, _rebuild(place))
        yield from _backups(file)
        return
    wrong = state_salvage.examine(file)
    if wrong:
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield Finding("state", Grade.BAD, f"{file}: {wrong[0]}{more}", _rebuild(place))
        yield from _backups(file)
        return
    yield Finding("state", Grade.GOOD, f"{file}: whole, {told.text}")
    kind = filesystem_of(file.parent)
    lies = f"{file.parent}: on {kind.type or 'a file system that is not known'}"
    if kind.is_network and place.work_copy_of is None:
        yield Finding("disk", Grade.DOUBTFUL, lies, "keep it on a local disk: `--state FILE`")
    else:
        yield Finding("disk", Grade.GOOD, lies)
    if told.newest_ns > time.time_ns():
        yield Finding(
            "clock",
            Grade.DOUBTFUL,
            "the clock of this machine is behind the time of the last run",
            "set it right; times are shown wrongly until then, and nothing is decided by them",
        )


def _rebuild(place: roots.Place) -> str:
    root = shlex.quote(str(place.root))
    return f"`fwsync doctor {root} --rebuild` sets the state aside and makes it anew, by content"


@dataclass(frozen=True, slots=True)
class _Told:
    """What a state says of itself."""

    text: str
    newest_ns: int
    project: str  #: its id; empty: none yet


def _told(file: Path) -> _Told:
    """By a copy, which is brought up to date where an older fwsync has left the file.

    Raises:
        LocalError: it is damaged, or of a newer fwsync.
    """
    with tempfile.TemporaryDirectory(prefix="fwsync-doctor-") as scratch:
        copy = Path(scratch) / "state.db"
        copy_state(file, copy)
        with open_state(copy) as state:
            counts = state.counts()
            runs = state.last_runs(1)
            name = state.setting(PROJECT_NAME) or "no project yet"
            project = state.setting(PROJECT_ID) or ""
    text = f"of {name}, {plural(counts['files'], 'agreed file')}"
    for number, what in ((counts["held"], "held deletion"), (counts["conflicts"], "open conflict")):
        if number:
            text += f", {plural(number, what)}"
    return _Told(text, runs[0].started_ns if runs else 0, project)


def _backups(file: Path) -> Iterator[Finding]:
    """Copies that were kept before a migration."""
    for one in sorted(file.parent.glob(f"{file.name}.before-*")):
        if one.name.endswith(state_salvage.BESIDE):
            continue
        yield Finding(
            "backup",
            Grade.DOUBTFUL,
            f"{one}: the state as it was before an upgrade, {size_text(one.stat().st_size)}",
            "an older truth: what has happened since is not in it; --rebuild asks both sides",
        )


# ----------------------------------------------------------------------- lock, parts, trash


def _lock(place: roots.Place) -> Finding:
    holder = locks.holder_of(place)
    if holder:
        return Finding("lock", Grade.GOOD, f"{holder} works on it now")
    return Finding("lock", Grade.GOOD, "nobody works on it now")


def _beside(place: roots.Place) -> Iterator[Finding]:
    """What earlier runs have left below the root, and what the trash holds."""
    for folder, what in ((place.parts, "on their way"), (place.trash, "in the trash")):
        if folder is None:
            continue
        try:
            number, size = _size_of(folder)
        except OSError as error:
            yield Finding(
                folder.name,
                Grade.DOUBTFUL,
                f"{folder}: cannot be read ({error.strerror})",
                "check its permissions",
            )
            continue
        text = f"{plural(number, 'file')} {what}, {size_text(size)}"
        if folder == place.parts and number and not locks.holder_of(place):
            text += "; the next run goes on with them, or takes them away"
        yield Finding(folder.name, Grade.GOOD, text)
    with localfs.root_descriptor(place.root) as root_fd:
        copies = conflicts.noted_copies(root_fd)
        there = sum(not localfs.is_free(root_fd, one) for one in copies)
    if there:
        yield Finding(
            "copies", Grade.GOOD, f"{plural(there, 'conflict copy')} here; these are never sent"
        )


def _size_of(folder: Path) -> tuple[int, int]:
    """How many files lie below a folder, and their bytes; none if it is not there."""
    if not folder.exists():
        return 0, 0
    number = size = 0

    def fail(error: OSError) -> None:
        raise error

    for path, _, names in os.walk(folder, onerror=fail):
        for name in names:
            number += 1
            size += (Path(path) / name).lstat().st_size
    return number, size


# ------------------------------------------------------------------------- key and server


async def _remote(
    place: roots.Place | None, settings: Settings, progress: Progress
) -> list[Finding]:
    """Key and server; and the project, where the root is there."""
    try:
        found = await in_thread(_key, settings)
    except FwsyncError as error:
        return [Finding("key", Grade.BAD, error.message, error.hint)]
    findings = [Finding("key", Grade.GOOD, f"the key is from {found.place}")]
    if found.warning:
        findings = [Finding("key", Grade.DOUBTFUL, found.warning, "make it yours: chmod 600")]
    try:
        async with open_api(found.key, settings, tell=progress.note) as api:
            site: Connection = await Door(api).open()
            who = await site.check_login()
            findings.append(Finding("server", Grade.GOOD, f"{found.key.site} answers to {who.id}"))
            project_id = "" if place is None else await in_thread(_project_of, place)
            if project_id not in ("", whereabouts.WHOLE_SITE):
                findings.append(await _project(site, project_id))
    except FwsyncError as error:
        findings.append(Finding("server", Grade.BAD, error.message, error.hint))
    return findings


async def _project(site: Connection, id_: str) -> Finding:
    project = await site.project_by_id(id_)
    if project is None:
        return Finding(
            "project",
            Grade.BAD,
            f"the project <id:{id_}> is not there, or the key may not see it",
            "ask an admin of the site; nothing is deleted here for it",
        )
    try:
        await site.check_rights(project)
    except Forbidden as error:
        return Finding("project", Grade.DOUBTFUL, error.message, "pull works; push and sync do not")
    return Finding("project", Grade.GOOD, f"{project} is there, and the key may write to it")


def _project_of(place: roots.Place) -> str:
    """The id of the state's project; empty: none is known."""
    file = place.work_copy_of or place.state_file
    try:
        known = _told(file).project if file.exists() else ""
    except LocalError:
        known = ""
    target = whereabouts.known_target(place) or ""
    return known or target.removeprefix("<id:").removesuffix(">").replace(whereabouts.SITE, "")


def _key(settings: Settings) -> FoundKey:
    return find_key(key_file=settings.api_key_file, env=environment())
