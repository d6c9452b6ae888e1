"""What `fwsync doctor` looks at: the state, the root, the key and the server, one by one.

Its rule: it only looks, and goes on when something is wrong; each finding says what to do.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Generator, Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fwsync import conflicts, holds, known_roots, localfs, locks, roots, state_salvage, whereabouts
from fwsync.config import Settings, environment
from fwsync.errors import Exit, Forbidden, FwsyncError, Halted, LocalError, StateDamaged
from fwsync.filesystems import filesystem_of
from fwsync.held_state import PART_KEPT_NS, check_known_root, copy_state
from fwsync.holds import Hold
from fwsync.keys import FoundKey, find_key
from fwsync.progress import NoProgress, Progress, moment, plural, size_text
from fwsync.remotes.connect import Connection, Door
from fwsync.runs import drive, where
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
    return Checkup(root, (*_local(place, settings), *drive(_remote(place, settings, progress))))


def _local(place: roots.Place, settings: Settings) -> Iterator[Finding]:
    yield from _root(place)
    told = yield from _state(place)
    if told is not None:
        yield from _waiting(told, where(place, told.name, settings))
    yield _lock(place)
    yield from _beside(place, None if told is None else told.parts)


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


def _state(place: roots.Place) -> Generator[Finding, None, _Told | None]:
    """What is found of the state file; gives what it says, where it is whole."""
    file = place.work_copy_of or place.state_file
    if not file.exists():
        grade = Grade.DOUBTFUL if whereabouts.known_remotes(place.remotes) else Grade.GOOD
        yield Finding(
            "state",
            grade,
            f"{file}: there is no state file; the next run makes one, and compares contents",
            _rebuild(place) if grade is Grade.DOUBTFUL else "",
        )
        return None
    try:
        told = _told(file)
    except StateDamaged as error:
        yield Finding("state", Grade.BAD, error.message, _rebuild(place))
        yield from _backups(file)
        return None
    except LocalError as error:  # of a newer fwsync, without rights, in use: nothing to make anew
        yield Finding("state", Grade.BAD, error.message, error.hint)
        return None
    wrong = state_salvage.examine(file)
    if wrong:
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield Finding("state", Grade.BAD, f"{file}: {wrong[0]}{more}", _rebuild(place))
        yield from _backups(file)
        return None
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
    return told


def _waiting(told: _Told, named: tuple[str, ...]) -> Iterator[Finding]:
    """What waits for a person; it is no fault, and in the exit code of `fwsync status`.

    Args:
        told: by the state.
        named: words that name root and state to another command.
    """
    if told.hold is not None:
        why = "; ".join(one["reason"] for one in told.hold.guards)
        yield Finding(
            "held",
            Grade.GOOD,
            f"a guard holds {plural(told.hold.waiting, 'step')} since "
            f"{moment(told.hold.since_ns)}: {why}",
            f"`{shlex.join(['fwsync', 'status', *named])}` says which, and how to consent",
        )
    if told.conflicts:
        verb = "waits" if told.conflicts == 1 else "wait"
        yield Finding(
            "conflicts",
            Grade.GOOD,
            f"{plural(told.conflicts, 'conflict')} {verb} for you",
            f"`{shlex.join(['fwsync', 'conflicts', *named])}` lists, and settles",
        )


def _rebuild(place: roots.Place) -> str:
    root = shlex.quote(str(place.root))
    return f"`fwsync doctor {root} --rebuild` sets the state aside and makes it anew, by content"


@dataclass(frozen=True, slots=True)
class _Told:
    """What a state says of itself."""

    text: str
    newest_ns: int
    name: str  #: of the project, for people; empty: none yet
    project: str  #: its id; empty: none yet
    hold: Hold | None  #: what a guard holds
    conflicts: int  #: that wait for a person
    parts: Set[str]  #: names of those that a run would go on with


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
            name = state.setting(PROJECT_NAME) or ""
            project = state.setting(PROJECT_ID) or ""
            hold, open_conflicts = holds.read(state), state.copies.count_open()
            state.downloads.forget_unused(since_ns=time.time_ns() - PART_KEPT_NS)  # as a run does
            parts = {roots.part_name(path) for path in state.downloads.all()}
    text = f"of {name or 'no project yet'}, {plural(counts['files'], 'agreed file')}"
    for number, what in ((counts["held"], "held deletion"), (open_conflicts, "open conflict")):
        if number:
            text += f", {plural(number, what)}"
    newest_ns = runs[0].started_ns if runs else 0
    return _Told(text, newest_ns, name, project, hold, open_conflicts, parts)


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


def _beside(place: roots.Place, begun: Set[str] | None) -> Iterator[Finding]:
    """What earlier runs have left below the root, and what the trash holds.

    Args:
        place: of the root.
        begun: names of the parts that a run would go on with; None: it is not known.
    """
    for folder in (place.parts, place.trash):
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
        what = "in the trash"
        if folder == place.parts:
            what = "on its way" if number == 1 else "on their way"
        text = f"{plural(number, 'file')} {what}, {size_text(size)}"
        if folder == place.parts and number and not locks.holder_of(place):
            text += _what_becomes_of(number, folder, begun)
        yield Finding(folder.name, Grade.GOOD, text)
    with localfs.root_descriptor(place.root) as root_fd:
        copies = conflicts.noted_copies(root_fd)
        there = sum(not localfs.is_free(root_fd, one) for one in copies)
    if there:
        yield Finding(
            "copies", Grade.GOOD, f"{plural(there, 'conflict copy')} here; these are never sent"
        )


def _what_becomes_of(number: int, folder: Path, begun: Set[str] | None) -> str:
    """What the next run does with files that are on their way: large ones are begun for it, too."""
    if begun is None:
        return ""
    if any(one.is_dir() or one.suffix == ".json" for one in folder.iterdir()):  # of a pack
        return "; the next run goes on with what it can, and takes the rest away"
    kept = sum(one.name in begun for one in folder.iterdir())
    them = "it" if number == 1 else "them"
    if kept == number:
        return f"; the next run goes on with {them}"
    if not kept:
        return f"; the next run takes {them} away, and begins anew"
    return (
        f"; the next run goes on with {kept:,} of them, takes the others away, and begins these "
        "anew"
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
