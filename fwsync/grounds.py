"""What a session stands on: settings, key, scope, root and state, each refused in its turn.

The one rule: what may be refused is refused before anything is written, the cheapest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from fwsync import (
    extras_asked,
    known_roots,
    policies,
    roots,
    scopes,
    selection_asked,
    whereabouts,
)
from fwsync.config import Arguments, Recorded, Settings, environment, load_settings
from fwsync.deid import Deid
from fwsync.errors import FwsyncError, UsageError
from fwsync.executor import Review
from fwsync.filters import Filters
from fwsync.held_state import own_state, state_copy
from fwsync.keys import ApiKey, find_key
from fwsync.limits import MOST_WORKERS
from fwsync.model import Mode
from fwsync.placements import (
    Told,
    check_many_projects,
    lacking_projects,
    open_hook,
    read_layout,
)
from fwsync.ports import RouteName
from fwsync.progress import Progress
from fwsync.remotes.connect import Door
from fwsync.remotes.http import Api
from fwsync.remotes.routes.choose import check_form, check_route
from fwsync.selection import EVERYTHING, Selection
from fwsync.state import StateThread
from fwsync.threads import in_thread

#: How long a run goes on with no progress at all, in seconds, unless it is set.
PATIENCE_S = 60.0

COMMANDS = {Mode.UP: "push", Mode.DOWN: "pull", Mode.BOTH: "sync"}

#: Flags that are no settings: they say something about this one run.
_OF_THE_RUN = ("accept_deletes", "mode", "new_root")

Flags = Mapping[str, Any]


class Approval(Protocol):
    """Who lets only some of a plan through: a saved one."""

    def check_site(self, origin: str) -> None:
        """Refuse another site, before it is asked for anything."""
        ...

    def check(self, remote: str, name: str) -> None:
        """Refuse another project, before anything is written."""
        ...

    def over(self, review: Review, state: StateThread) -> Review:
        """A review that lets less through."""
        ...


class LetsAllThrough:
    """Lets all of every plan through."""

    def check_site(self, origin: str) -> None:
        """Any will do."""

    def check(self, remote: str, name: str) -> None:
        """Likewise."""

    def over(self, review: Review, state: StateThread) -> Review:
        """As it is."""
        del state
        return review


ALL: Final = LetsAllThrough()


@dataclass(frozen=True, slots=True)
class Call:
    """What a session is asked for: see :func:`fwsync.sessions.open_session`."""

    mode: Mode
    folder: Path
    target: str | None
    flags: Flags
    config: Path | None
    only_look: bool = False
    command: str = ""
    partial_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session stands on: refused by now, if it was to be."""

    settings: Settings
    told: Told
    filters: Filters
    deid: Deid | None
    api: Api
    door: Door
    scope: scopes.Scope
    selection: Selection
    root: Path
    place: roots.Place
    state: StateThread
    named: str | None  #: the project as it was named; None: the root knew


async def stand(
    stack: contextlib.AsyncExitStack, call: Call, progress: Progress, approval: Approval
) -> Ground:
    """Open what a session stands on, in the order in which it may be refused.

    Args:
        stack: closes it.
        call: what is asked for.
        progress: is told what happens.
        approval: may refuse site and project.

    Raises:
        FwsyncError: it cannot start.
    """
    mode, folder, flags, command = call.mode, call.folder, call.flags, call.command
    only_look = call.only_look
    settings = policies.for_command(command, settings_of(flags, call.config), progress.note)
    policies.check(mode, settings, command)
    is_new = bool(flags.get("new_root"))
    if not is_new:
        await in_thread(_check_known, folder, mode)
    if mode is not Mode.DOWN or os.path.lexists(folder):  # noqa: ASYNC240 - one look, at the start
        roots.prepare_root(folder)  # what is wrong here is said before the server is asked
    told = await read_layout(settings, mode, command)
    filters = await policies.filters_of(settings, call.partial_names)
    target = call.target or settings.project or _profile_project(settings, folder)
    named = target
    target, below = selection_asked.project_and_rest(target, mode, command)
    key = _find_key(settings, progress)
    deid = await stack.enter_async_context(open_hook(settings, mode, command))
    api = await stack.enter_async_context(open_api(key, settings, tell=progress.note))
    door = Door(api)
    approval.check_site(str(api.url.origin()))
    await _check_route(door, settings, writes=mode is not Mode.DOWN and not only_look)
    may_create = _may_create(mode, command)
    await _check_target(door, folder, settings, target)
    scope = await scopes.named_scope(
        door, settings, target, pretend=only_look, may_create=may_create
    )
    if scope is not None and (said := scopes.made(scope)):
        progress.note(said)
    selection = await _choose(door, settings, scope, below)
    await extras_asked.check_extras(door, settings, told, mode)
    await _check_audit_log(settings, folder)
    made = stack.enter_context(roots.Made())
    if mode is Mode.DOWN and not only_look and scope is not None:
        made.folders += _make_root(door, folder, scope, settings, told)
    root = roots.prepare_root(folder)
    place, scope = _placed_scope(door, root, scope, settings, told, mode)
    if place.note:
        progress.note(place.note)
    if scope is not None and (said := scopes.second_project(place, scope)):
        progress.note(said)
    is_new = is_new or bool(made.folders)
    if not is_new:  # the server has had its time
        await in_thread(_check_known, root, mode)
    name = command or COMMANDS[mode]
    own = state_copy(place) if only_look else own_state(place, name, is_new=is_new)
    state = await stack.enter_async_context(own)
    made.has_state = True
    if scope is None:
        scope = await scopes.remembered_scope(door, state, root, may_create=may_create)
    approval.check(scopes.key_of(door, scope), scope.name)
    await scopes.check_same_project(state, place, scope)
    return Ground(
        settings,
        told,
        filters,
        deid,
        api,
        door,
        scope,
        selection,
        root,
        place,
        state,
        named,
    )


def settings_of(flags: Flags, config: Path | None) -> Settings:
    """The settings of a run: file, environment and flags.

    Raises:
        UsageError: one of them is unknown or cannot be used.
    """
    wanted: Flags = {name: value for name, value in flags.items() if name not in _OF_THE_RUN}
    if isinstance(flags, (Arguments, Recorded)):
        wanted = type(flags)(wanted)
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
        in_flight=max(MOST_WORKERS, settings.transfers or 0),
    ) as api:
        api.tell = tell
        if settings.bwlimit is not None:
            api.throttle.set(settings.bwlimit)
        yield api


async def _check_target(door: Door, folder: Path, settings: Settings, target: str | None) -> None:
    """See that a call makes no root around others, and no second project of a relabelled one."""
    if target is not None or settings.layout is not None:  # else the root has to know its project
        await in_thread(known_roots.check_alone, folder, environment())
    if target is not None and settings.create_project:
        remotes = whereabouts.remotes_file(folder, settings.state)
        await scopes.check_not_relabelled(door, remotes, target)


def _check_known(folder: Path, mode: Mode) -> None:
    """Halt where a root that was used before is not what it was."""
    is_down = mode is Mode.DOWN
    known_roots.check(folder, environment(), makes=is_down, fetches_only=is_down)


def _find_key(settings: Settings, progress: Progress) -> ApiKey:
    """The key of this run; what is doubtful about it is said."""
    found = find_key(key_file=settings.api_key_file, env=environment())
    if found.warning:
        progress.note(f"warning: {found.warning}")
    return found.key


async def _choose(
    door: Door, settings: Settings, scope: scopes.Scope | None, below: tuple[str, ...]
) -> Selection:
    """What is selected; nobody is asked where nothing is."""
    if not settings.selecting and not below:
        return EVERYTHING
    project = scope.projects[0] if scope is not None and scope.projects else None
    return await selection_asked.choose(await door.open(), settings, project, below)


def _make_root(
    door: Door, folder: Path, scope: scopes.Scope, settings: Settings, told: Told
) -> list[Path]:
    """Make the folder that a pull begins with; none for a scope that is refused.

    Returns:
        What was made, the deepest first.
    """
    if scope.is_whole_site and not os.path.lexists(folder):
        _scope_by_layout(door, folder, settings, told)
        check_many_projects(told)
    made = roots.missing(folder)
    try:
        roots.prepare_root(folder, create=True)
    except FwsyncError:
        roots.remove_made(made)
        raise
    return made


def _place(
    door: Door, root: Path, scope: scopes.Scope | None, settings: Settings, mode: Mode
) -> roots.Place:
    """Where the state of a root lies; without a scope, of the only one that is known there."""
    key = scopes.key_of(door, scope) if scope is not None else None
    place = whereabouts.locate(root, key, state_option=settings.state, env=environment())
    if scope is not None and not (place.work_copy_of or place.state_file).exists():
        scopes.check_not_mixed(place, scope, mode)
    return place


def _placed_scope(
    door: Door,
    root: Path,
    scope: scopes.Scope | None,
    settings: Settings,
    told: Told,
    mode: Mode,
) -> tuple[roots.Place, scopes.Scope | None]:
    """Where the state lies; and the scope, where nothing but the layout names one."""
    place = _place(door, root, scope, settings, mode)
    is_new = not (place.work_copy_of or place.state_file).exists()
    if is_new and (scope is None or scope.is_whole_site):
        scope = _scope_by_layout(door, root, settings, told)
        place = _place(door, root, scope, settings, mode)
    return place, scope


def _scope_by_layout(door: Door, root: Path, settings: Settings, told: Told) -> scopes.Scope:
    """The scope of a root that nothing is known of, where the call names no one project.

    Raises:
        UsageError: the layout names none either.
    """
    lacking = lacking_projects(settings, told)
    if lacking is not None:
        raise scopes.no_project_yet(root, lacking)
    return scopes.whole_site(door)


async def _check_audit_log(settings: Settings, folder: Path) -> None:
    """See that the log can be where it is wanted, before a folder is made for it.

    Raises:
        UsageError: it would be synced itself, or its folder is not there.
    """
    if settings.audit_log is None:
        return
    root, file = await asyncio.to_thread(_resolved, folder, settings.audit_log)
    whereabouts.check_not_synced(root, file, "the audit log", "--audit-log")
    is_ours = file.parent == root / roots.RESERVED  # made with the root
    if not is_ours and not await asyncio.to_thread(file.parent.is_dir):
        raise UsageError(
            f"{settings.audit_log}: the audit log cannot be written: there is no folder "
            f"{file.parent}",
            hint="make that folder, or name another file by --audit-log",
        )


def _resolved(folder: Path, file: Path) -> tuple[Path, Path]:
    """The real paths of a root, which need not be there yet, and of a file but for its name."""
    return Path(os.path.realpath(folder)), file.absolute().parent.resolve() / file.name


def only_reads(mode: Mode, command: str) -> bool:
    """True for the commands that send nothing, nor say what would be sent."""
    return mode is Mode.DOWN or command in ("verify", "cleanup", "doctor")


async def _check_route(door: Door, settings: Settings, *, writes: bool) -> None:
    """Refuse a way up that the site, or this key, does not have, before anything is made there."""
    if not writes or settings.route is RouteName.AUTO:
        return
    site = await door.open()
    check_route(site.site, settings.route)
    if settings.route is RouteName.FORM:
        check_form(settings.form, await site.check_login())


def _may_create(mode: Mode, command: str) -> bool:
    """True for the commands that have ``--create-project``."""
    return command == "watch" or not only_reads(mode, command)


def _profile_project(settings: Settings, folder: Path) -> str | None:
    profile = settings.profile_of(folder)
    return profile.project if profile is not None else None
