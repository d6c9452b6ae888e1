"""A session: settings, key, root, state, remote and engine, opened in the right order.

The one rule: whatever may be refused is refused before anything is written, and what was
opened is closed in the opposite order, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiofiles

from fwsync import localfs, locks, roots
from fwsync.config import Arguments, Settings, environment, load_settings
from fwsync.engine import Engine
from fwsync.errors import Forbidden, Halted, LocalError, RemoteError, UsageError
from fwsync.executor import Policy
from fwsync.keys import ApiKey, find_key
from fwsync.layout import DEFAULT_TEMPLATE, Layout, label_of
from fwsync.model import Mode, RelPath, Unknown
from fwsync.plan import DeleteLimits
from fwsync.progress import Progress
from fwsync.reconcile import Rules
from fwsync.remotes.flywheel import Flywheel, Project, project_by_id, resolve_project
from fwsync.remotes.http import Api
from fwsync.settle import ignore_rules
from fwsync.state import State, StateThread, open_state

#: How long a run goes on with no progress at all, in seconds, unless it is set.
PATIENCE_S = 60.0

#: How often a state that is used as a copy is saved to where it belongs, in seconds.
SAVE_EVERY_S = 60.0

#: Settings that a state keeps for its root.
_PROJECT_ID, PROJECT_NAME, _LAYOUT, _ROOT_ID = "project", "project_name", "layout", "root_id"

#: In place of a project's id: the layout says which projects there are.
_WHOLE_SITE = "*"

COMMANDS = {Mode.UP: "push", Mode.DOWN: "pull", Mode.BOTH: "sync"}

#: Flags that are no settings: they say something about this one run.
_OF_THE_RUN = ("accept_deletes", "mode")

Flags = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What on the server a root is kept in step with."""

    id: str  #: the project's, or a sign for all projects that the root's folders name
    name: str  #: for people
    projects: tuple[Project, ...] = ()  #: empty: found from the folders, see renew_scope
    group: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a run needs, open."""

    engine: Engine
    state: StateThread
    place: roots.Place
    scope: Scope
    settings: Settings
    mode: Mode
    api: Api
    remote: Flywheel
    told: set[str] = field(default_factory=set)  #: what need not be said again


# ------------------------------------------------------------------------------ the parts


def settings_of(flags: Flags, config: Path | None) -> Settings:
    """The settings of a run: file, environment and flags.

    Raises:
        UsageError: one of them is unknown or cannot be used.
    """
    wanted: Flags = {name: value for name, value in flags.items() if name not in _OF_THE_RUN}
    if isinstance(flags, Arguments):
        wanted = Arguments(wanted)
    return load_settings(wanted, config_file=config, env=environment(), cwd=Path.cwd())


@asynccontextmanager
async def open_api(
    key: ApiKey, settings: Settings, *, tell: Callable[[str], None]
) -> AsyncIterator[Api]:
    """A site's API with this key.

    Args:
        key: names the site.
        settings: for the patience.
        tell: is told when the server makes us wait.
    """
    patience_s = PATIENCE_S if settings.patience_s is None else settings.patience_s
    async with Api(
        key.base_url,
        key.secret,
        ca_file=environment().get("FW_SSL_CERT_FILE") or None,
        patience_s=patience_s,
        in_flight=max(16, settings.transfers or 0),
    ) as api:
        api.tell = tell
        yield api


@asynccontextmanager
async def open_session(
    mode: Mode,
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None,
    *,
    progress: Progress,
    only_look: bool = False,
    command: str = "",
    partial_names: Sequence[str] = (),
) -> AsyncIterator[Session]:
    """Open all that a run needs, in the order in which it may be refused.

    Args:
        mode: the direction.
        folder: the root.
        target: the project; None: the one that the root remembers.
        flags: as given on the command line or to the library.
        config: the settings file, if one was named.
        progress: is told what happens.
        only_look: nothing may be written: the state is a copy, and no lock is taken.
        command: for the lock and the history.
        partial_names: patterns of names that are still being written.

    Raises:
        FwsyncError: it cannot start.
    """
    settings = settings_of(flags, config)
    if mode is not Mode.DOWN or os.path.lexists(folder):  # noqa: ASYNC240 - one look, at the start
        roots.prepare_root(folder)  # what is wrong here is said before the server is asked
    if settings.layout:
        Layout.parse(settings.layout, group="any", project="any")
    left_out = [*partial_names, *await _filters(settings)]
    target = target or settings.project or _profile_project(settings, folder)
    found = find_key(key_file=settings.api_key_file, env=environment())
    if found.warning:
        progress.note(f"warning: {found.warning}")
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_api(found.key, settings, tell=progress.note))
        may_create = _may_create(mode, command)
        scope = await _named_scope(api, settings, target, pretend=only_look, may_create=may_create)
        make = mode is Mode.DOWN and not only_look and scope is not None
        root = roots.prepare_root(folder, create=make)
        place = roots.locate(
            root,
            f"{api.url.origin()} {scope.id}" if scope else None,
            state_option=settings.state,
            env=environment(),
        )
        if scope is None and not (place.work_copy_of or place.state_file).exists():
            raise _no_project_yet(root)
        if place.note:
            progress.note(place.note)
        own = state_copy(place) if only_look else _own_state(place, command or COMMANDS[mode])
        state = await stack.enter_async_context(own)
        if scope is None:
            scope = await _remembered_scope(api, state, root, may_create=may_create)
        await _check_same_project(state, place, scope)
        layout = await _layout(state, settings, scope)
        if not only_look:
            await _remember(state, place, api, scope, layout)
        root_fd = localfs.open_root(root)
        stack.callback(os.close, root_fd)
        remote = Flywheel(api, scope.projects, layout)
        engine = Engine(
            root=root,
            root_fd=root_fd,
            state=state,
            reader=remote,
            writer=None if mode is Mode.DOWN else remote,
            layout=layout,
            policy=_policy(mode, settings, flags, left_out),
            progress=progress,
            host=socket.gethostname().partition(".")[0] or "host",
        )
        yield Session(engine, state, place, scope, settings, mode, api, remote)


def _may_create(mode: Mode, command: str) -> bool:
    """True for the commands that have ``--create-project``."""
    return command == "watch" or (command != "verify" and mode is not Mode.DOWN)


async def _named_scope(
    api: Api, settings: Settings, target: str | None, *, pretend: bool, may_create: bool
) -> Scope | None:
    """The scope that the call names; None: the root has to know."""
    if target is not None:
        project = await resolve_project(
            api,
            target,
            create_project=settings.create_project,
            pretend=pretend,
            may_create=may_create,
        )
        if not project.id:  # it would be made: nothing is in it
            return Scope("", str(project), (), project.group, project.label)
        return Scope(project.id, str(project), (project,), project.group, project.label)
    if settings.layout and settings.layout.startswith("{group}"):
        return Scope(_WHOLE_SITE, f"all projects at {api.url.host}")
    return None


async def _remembered_scope(api: Api, state: StateThread, root: Path, *, may_create: bool) -> Scope:
    """The scope that a root belongs to since its first run."""
    known = await state.call(State.setting, _PROJECT_ID)
    if known is None:
        raise _no_project_yet(root)
    if known == _WHOLE_SITE:
        return Scope(_WHOLE_SITE, f"all projects at {api.url.host}")
    project = await project_by_id(api, known)
    if project is None:
        name = await state.call(State.setting, PROJECT_NAME)
        raise UsageError(
            f"{root}: its project {name or ''} (<id:{known}>) is not at {api.url.origin()}",
            hint="name the project that is meant once more, as GROUP/PROJECT"
            + ("; --create-project makes it" if may_create else ""),
        )
    return Scope(project.id, str(project), (project,), project.group, project.label)


def _no_project_yet(root: Path) -> UsageError:
    return UsageError(
        f"{root}: belongs to no project yet",
        hint="name it once: fwsync push DIR GROUP/PROJECT, fwsync pull GROUP/PROJECT DIR, …; "
        "or use a layout that begins with {group}/{project}",
    )


async def _check_same_project(state: StateThread, place: roots.Place, scope: Scope) -> None:
    """What was agreed with one project says nothing about another: it would read as deletions.

    Raises:
        UsageError: the state is another project's: by ``--state``, or without ``remotes``.
    """
    known = await state.call(State.setting, _PROJECT_ID)
    if known not in (None, scope.id):
        name = await state.call(State.setting, PROJECT_NAME)
        raise UsageError(
            f"{place.work_copy_of or place.state_file}: the state of {name} (<id:{known}>), "
            f"and not of {scope.name}",
            hint="name another file by --state, or move this one away",
        )


async def _remember(
    state: StateThread, place: roots.Place, api: Api, scope: Scope, layout: Layout
) -> None:
    key = f"{api.url.origin()} {scope.id}"
    roots.register(place, key, scope.name, gone=await _replaced(api, place, key, scope))
    await state.call(State.set_setting, _PROJECT_ID, scope.id)
    await state.call(State.set_setting, PROJECT_NAME, scope.name)
    await state.call(State.set_setting, _LAYOUT, layout.template)


async def _replaced(api: Api, place: roots.Place, key: str, scope: Scope) -> list[str]:
    """The keys of projects that bore this name at this site, and are there no more."""
    site = f"{api.url.origin()} "
    found = []
    for one in roots.known_remotes(place.remotes):
        if one.gone or one.key == key or one.name != scope.name or not one.key.startswith(site):
            continue
        with contextlib.suppress(RemoteError):  # not ours to see, or not now: it may be there
            if await project_by_id(api, one.key.removeprefix(site)) is None:
                found.append(one.key)
    return found


async def renew_scope(session: Session, progress: Progress) -> None:
    """Find the projects that the root's folders name, where the layout yields them.

    A folder for which there is no project is said so and left alone: its files are
    problems of the run, and are sent when the project is there.
    """
    if session.scope.id != _WHOLE_SITE:
        return
    known = {(one.group, one.label): one for one in session.remote.projects}
    create = session.settings.create_project
    unseen: list[Unknown] = []
    named = await asyncio.to_thread(_named_on_disk, session.place.root)
    agreed = await session.state.call(_named_in_base)
    for folder in sorted(named | agreed):
        labels = label_of(folder[0]), label_of(folder[1])
        if labels in known or labels[0] is None or labels[1] is None:
            continue
        target = f"{labels[0]}/{labels[1]}"
        try:
            # What is only known from before is not made anew: its folder is gone here.
            project = await resolve_project(
                session.api, target, create_project=create and folder in named
            )
        except (UsageError, Forbidden) as error:
            # Not asked is not gone: nothing is concluded about what lies there.
            path = RelPath("/".join(folder))
            unseen.append(Unknown(path, error.message, expected=folder not in named))
            if error.message not in session.told:
                session.told.add(error.message)
                progress.note(error.message)
        else:
            known[project.group, project.label] = project
    session.remote.projects = tuple(known.values())
    session.remote.unseen = tuple(unseen)


def _named_in_base(state: State) -> set[tuple[str, str]]:
    """The group's and project's folder of every file that both sides agreed on."""
    found: set[tuple[str, str]] = set()
    for entry in state.base_entries():
        parts = entry.path.split("/", 2)
        if len(parts) == 3:
            found.add((parts[0], parts[1]))
    return found


def _named_on_disk(root: Path) -> set[tuple[str, str]]:
    """The folders two levels below the root: a group's, and in it a project's."""
    return {(group.name, project.name) for group in _folders(root) for project in _folders(group)}


def _folders(folder: Path) -> list[Path]:
    return [
        one
        for one in folder.iterdir()
        if not one.name.startswith(".") and not one.is_symlink() and one.is_dir()
    ]


def _profile_project(settings: Settings, folder: Path) -> str | None:
    profile = settings.profile_of(folder)
    return profile.project if profile is not None else None


def _policy(mode: Mode, settings: Settings, flags: Flags, left_out: Sequence[str]) -> Policy:
    cap = settings.max_delete
    rules = Rules(
        mode=mode,
        conflict=settings.conflict,
        delete_up=settings.delete_up,
        delete_down=settings.delete_down,
    )
    return Policy(
        rules=rules,
        limits=DeleteLimits(
            files=cap.count, percent=None if cap.percent is None else round(cap.percent)
        ),
        accept=flags.get("accept_deletes"),
        delete_reason=settings.delete_reason,
        transfers=settings.transfers or 8,
        ignore=ignore_rules(left_out, settings.include),
    )


async def _filters(settings: Settings) -> list[str]:
    """What is left out: the patterns of the file first, so that a flag has the last word."""
    if settings.filter_from is None:
        return list(settings.exclude)
    try:
        async with aiofiles.open(settings.filter_from, encoding="utf-8") as file:
            patterns = (await file.read()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(
            f"{settings.filter_from}: the file of patterns cannot be read ({why})",
            hint="check --filter-from, or filter_from in the settings",
        ) from None
    return [*patterns, *settings.exclude]


async def _layout(state: StateThread, settings: Settings, scope: Scope) -> Layout:
    """The layout of this root; it cannot change under files that are in step.

    Another template would give every file another place: all would be sent again, beside
    what is there.
    """
    known = await state.call(State.setting, _LAYOUT)
    template = settings.layout or known or DEFAULT_TEMPLATE
    layout = Layout.parse(template, group=scope.group, project=scope.label)
    counts = await state.call(State.counts)
    if known and known != layout.template and counts["files"]:
        raise UsageError(
            f"layout: is {layout.template}, but {counts['files']} files are in step by {known}",
            hint="leave --layout out; or use another folder or --state for another layout",
        )
    return layout


@asynccontextmanager
async def _own_state(place: roots.Place, command: str) -> AsyncIterator[StateThread]:
    """The state, under the lock of its root; saved back where it is used as a copy."""
    await asyncio.to_thread(_check_known_root, place)
    with locks.RootLock(place, command=f"fwsync {command}"):
        root_id = roots.prepare_place(place)
        if place.parts is not None:
            roots.clean_parts(place.parts)
        roots.restore_work_copy(place)
        opener = partial(
            open_state,
            place.state_file,
            granularity_ns=place.granularity_ns,
            called=place.work_copy_of,
        )
        state = await StateThread.open(opener)
        try:
            await _keep_root_id(state, root_id)
            async with _saving(state, place):
                yield state
        finally:
            await state.close()


def _check_known_root(place: roots.Place) -> None:
    """Halt at an empty mount point, or another disk, where the known root was (S61).

    Before anything is made in it: a lock or a marker of ours would hide that it is empty.

    Raises:
        Halted: the root is not the one that the state belongs to.
    """
    if place.marker is None or place.state_file.is_relative_to(place.root):
        return  # nothing below the root is ours, or the state went with it
    if not place.state_file.exists():
        return
    try:
        with open_state(place.state_file, create=False, read_only=True) as state:
            known = state.setting(_ROOT_ID)
    except LocalError:
        return  # damaged, newer, or to be brought up to date: opening it says which
    if known and (why := roots.check_marker(place.root, known)):
        raise Halted(why, hint="mount what belongs there; or use another --state")


async def _keep_root_id(state: StateThread, root_id: str) -> None:
    if root_id and not await state.call(State.setting, _ROOT_ID):
        await state.call(State.set_setting, _ROOT_ID, root_id)


@asynccontextmanager
async def _saving(state: StateThread, place: roots.Place) -> AsyncIterator[None]:
    """Save a state that is used as a copy, at intervals and at the end."""
    home = place.work_copy_of
    if home is None:
        yield
        return

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            with contextlib.suppress(LocalError):  # the next one, or the last, may get there
                await state.call(State.save_copy, home)

    saver = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        saver.cancel()
        await asyncio.gather(saver, return_exceptions=True)
        await state.call(State.save_copy, home)


@asynccontextmanager
async def state_copy(place: roots.Place) -> AsyncIterator[StateThread]:
    """A copy of the state to look at: whatever is written to it is thrown away."""
    with tempfile.TemporaryDirectory(prefix="fwsync-plan-") as scratch:
        copy = Path(scratch) / "state.db"
        source = place.work_copy_of or place.state_file
        if source.exists():
            await asyncio.to_thread(copy_state, source, copy)
        opener = partial(open_state, copy, granularity_ns=place.granularity_ns)
        state = await StateThread.open(opener)
        try:
            yield state
        finally:
            await state.close()


def copy_state(source: Path, copy: Path) -> None:
    """Copy a state file that may be in use; the original is only read."""
    with open_state(source, create=False, read_only=True) as state:
        state.save_copy(copy, scratch=copy.parent)
