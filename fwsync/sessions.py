"""A session: settings, key, root, state, remote and engine, opened in the right order.

The one rule: whatever may be refused is refused before anything is written, and what was
opened is closed in the opposite order, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fwsync import extras_asked, localfs, policies, roots, scopes, selection_asked, whereabouts
from fwsync.audit import AuditLog
from fwsync.config import Arguments, Settings, environment, load_settings
from fwsync.deid import Deid
from fwsync.deid_preview import Preview
from fwsync.describing import Describer
from fwsync.engine import Engine
from fwsync.errors import FwsyncError, LocalError
from fwsync.executor import PARTS, Review, agree
from fwsync.extras_compared import Extras
from fwsync.filters import Filters
from fwsync.held_state import own_state, state_copy
from fwsync.keys import ApiKey, find_key
from fwsync.layout import Layout
from fwsync.ledger import StateLedger
from fwsync.limits import MOST_WORKERS
from fwsync.model import Mode, NamePolicy
from fwsync.namebook import StateNames
from fwsync.placebook import StatePlaces
from fwsync.placements import (
    Told,
    check_many_projects,
    lacking_projects,
    layout_of,
    open_hook,
    placement_of,
    read_layout,
    reader_of,
    speaking_of,
)
from fwsync.placing import Placement, Placer
from fwsync.ports import RouteName
from fwsync.progress import Progress
from fwsync.remotes.connect import Connection, Door, SiteRemote
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.http import Api
from fwsync.remotes.routes.choose import Ways, check_form, check_route
from fwsync.reviews import Asking, review_of
from fwsync.selection import EVERYTHING, Selection
from fwsync.sources import Describe, say_nothing
from fwsync.state import StateThread
from fwsync.threads import in_thread
from fwsync.unpacking.finish import not_finished

#: How long a run goes on with no progress at all, in seconds, unless it is set.
PATIENCE_S = 60.0

COMMANDS = {Mode.UP: "push", Mode.DOWN: "pull", Mode.BOTH: "sync"}

#: Flags that are no settings: they say something about this one run.
_OF_THE_RUN = ("accept_deletes", "mode")

Flags = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a run needs, open."""

    engine: Engine
    state: StateThread
    place: roots.Place
    scope: scopes.Scope
    settings: Settings
    mode: Mode
    api: Api
    site: Connection
    remote: SiteRemote
    extras: Extras  #: what stands beside the user's files
    describe: Describe = say_nothing  #: what the server is told of a file


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
        in_flight=max(MOST_WORKERS, settings.transfers or 0),
    ) as api:
        api.tell = tell
        if settings.bwlimit is not None:
            api.throttle.set(settings.bwlimit)
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
    settings = policies.for_command(command, settings_of(flags, config), progress.note)
    policies.check(mode, settings, command)
    if mode is not Mode.DOWN or os.path.lexists(folder):  # noqa: ASYNC240 - one look, at the start
        roots.prepare_root(folder)  # what is wrong here is said before the server is asked
    told = await read_layout(settings, mode, command)
    filters = await policies.filters_of(settings, partial_names)
    target = target or settings.project or _profile_project(settings, folder)
    target, below = selection_asked.project_and_rest(target, mode, command)
    key = _find_key(settings, progress)
    async with contextlib.AsyncExitStack() as stack:
        deid = await stack.enter_async_context(open_hook(settings, mode, command))
        api = await stack.enter_async_context(open_api(key, settings, tell=progress.note))
        door = Door(api)
        await _check_route(door, settings, writes=mode is not Mode.DOWN and not only_look)
        may_create = _may_create(mode, command)
        scope = await scopes.named_scope(
            door, settings, target, pretend=only_look, may_create=may_create
        )
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
        own = state_copy(place) if only_look else own_state(place, command or COMMANDS[mode])
        state = await stack.enter_async_context(own)
        made.has_state = True
        if scope is None:
            scope = await scopes.remembered_scope(door, state, root, may_create=may_create)
        await scopes.check_same_project(state, place, scope)
        layout = await layout_of(state, settings, told, scope.group, scope.label)
        placement = await placement_of(state, settings, told, layout, root, mode, command, deid)
        if not only_look:
            await scopes.remember(state, place, door, scope)
        root_fd = _open_root(root, stack)
        if not only_look:
            await _finish_packs(root_fd, progress)
        site = await door.open()
        remote = site.remote(
            scope.projects,
            layout,
            _ways(settings, None if only_look else state),
            await _names(state, settings, root_fd),
        )
        remote.selection = selection
        placer = _placer(state, placement, layout, remote)
        describe = _describe(root_fd, layout, settings, remote, placer)
        asks = Asking(
            site,
            remote,
            layout,
            state,
            reader_of(root, settings, placement, deid),
            progress.note,
            only_look=only_look,
        )
        policy = replace(
            policies.policy_of(mode, settings, flags, filters),
            describe=describe,
            audit=await _audit_log(settings, scope, stack, only_look=only_look),
            review=await _review(asks, settings, root_fd, deid, reads=_only_reads(mode, command)),
            deid=deid,
            before_listing=_finding(asks, scope, placement, root, settings, filters),
            reach=selection_asked.named(settings, remote.reach) if selection.is_set else None,
        )
        extras = await extras_asked.open_extras(
            extras_asked.Asking(
                root,
                root_fd,
                state,
                remote,
                policy,
                progress,
                placer,
                is_whole=not selection.is_set,
            ),
            settings,
            mode,
            command,
        )
        yield Session(
            Engine(
                root=root,
                root_fd=root_fd,
                state=state,
                reader=remote,
                writer=None if mode is Mode.DOWN else remote,
                layout=layout,
                policy=policy,
                progress=progress,
                host=socket.gethostname().partition(".")[0] or "host",
                placer=placer,
            ),
            state,
            place,
            scope,
            settings,
            mode,
            api,
            site,
            remote,
            extras,
            describe,
        )


async def _names(state: StateThread, settings: Settings, root_fd: int) -> Names:
    """What the server calls otherwise, and what it is called here."""
    return await StateNames(state).names(
        beforehand=settings.names is NamePolicy.PLATFORM,
        folds=localfs.folds_case(root_fd, roots.RESERVED),
    )


def _open_root(root: Path, stack: contextlib.AsyncExitStack) -> int:
    """A descriptor of the root, closed with the rest."""
    root_fd = localfs.open_root(root)
    stack.callback(os.close, root_fd)
    return root_fd


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


def _finding(
    asks: Asking,
    scope: scopes.Scope,
    placement: Placement | None,
    root: Path,
    settings: Settings,
    filters: Filters,
) -> scopes.NamedProjects | None:
    """What finds the projects of a scope before they are listed; None: they are known."""
    if not scope.is_whole_site:
        return None
    return scopes.NamedProjects(
        root,
        asks.site,
        asks.remote,
        asks.layout,
        asks.state,
        asks.tell,
        by_folders=filters if placement is None or placement.by_folders else None,
        create=settings.create_project,
        pretend=asks.only_look,
    )


def _placer(
    state: StateThread, placement: Placement | None, layout: Layout, remote: SiteRemote
) -> Placer | None:
    """What says where files go that do not lie by the layout; None: all do."""
    if placement is None:
        return None
    if placement.is_told and isinstance(remote, Flywheel):
        remote.told = StatePlaces(state)
    return Placer(state, placement, layout)


def _describe(
    root_fd: int, layout: Layout, settings: Settings, remote: SiteRemote, placer: Placer | None
) -> Describe:
    """What says what the server is told of a file; nobody is asked where nothing can be said."""
    speaking = speaking_of(settings)
    if placer is None and not speaking:
        return say_nothing
    first = placer.describe if placer is not None else say_nothing
    return Describer(root_fd, layout, speaking, remote.asides.append, first).describe


async def _review(
    asks: Asking, settings: Settings, root_fd: int, deid: Deid | None, *, reads: bool
) -> Review:
    """What looks at the plans of a session."""
    review = agree if reads else await review_of(asks, settings)
    if deid is not None and asks.only_look:
        return Preview(deid, root_fd, asks.tell, review)
    return review


async def _finish_packs(root_fd: int, progress: Progress) -> None:
    """Put in place what a run that was killed had begun to unpack."""
    for problem in await in_thread(not_finished, root_fd, PARTS):
        progress.note(f"{problem.path}: {problem.message}")


async def _check_audit_log(settings: Settings, folder: Path) -> None:
    """See that the log can be where it is wanted, before a folder is made for it.

    Raises:
        UsageError: it would be synced itself. LocalError: its folder is not there.
    """
    if settings.audit_log is None:
        return
    root, file = await asyncio.to_thread(_resolved, folder, settings.audit_log)
    whereabouts.check_not_synced(root, file, "the audit log", "--audit-log")
    is_ours = file.parent == root / roots.RESERVED  # made with the root
    if not is_ours and not await asyncio.to_thread(file.parent.is_dir):
        raise LocalError(
            f"{settings.audit_log}: the audit log cannot be written: {file.parent} is no folder",
            hint="name another file by --audit-log",
        )


def _resolved(folder: Path, file: Path) -> tuple[Path, Path]:
    """The real paths of a root, which need not be there yet, and of a file but for its name."""
    return Path(os.path.realpath(folder)), file.absolute().parent.resolve() / file.name


async def _audit_log(
    settings: Settings,
    scope: scopes.Scope,
    stack: contextlib.AsyncExitStack,
    *,
    only_look: bool,
) -> AuditLog | None:
    if settings.audit_log is None:
        return None
    if only_look:
        return None
    target = "" if scope.is_whole_site else scope.name
    audit = await asyncio.to_thread(AuditLog, settings.audit_log, target)
    stack.callback(audit.close)
    return audit


def _only_reads(mode: Mode, command: str) -> bool:
    """True for the commands that send nothing, nor say what would be sent."""
    return mode is Mode.DOWN or command in ("verify", "cleanup")


async def _check_route(door: Door, settings: Settings, *, writes: bool) -> None:
    """Refuse a way up that the site, or this key, does not have, before anything is made there."""
    if not writes or settings.route is RouteName.AUTO:
        return
    site = await door.open()
    check_route(site.site, settings.route)
    if settings.route is RouteName.FORM:
        check_form(settings.form, await site.check_login())


def _ways(settings: Settings, state: StateThread | None) -> Ways:
    """The ways up that are taken; begun uploads are kept in the state, where there is one."""
    return Ways(settings.route, settings.form, None if state is None else StateLedger(state))


def _may_create(mode: Mode, command: str) -> bool:
    """True for the commands that have ``--create-project``."""
    return command == "watch" or not _only_reads(mode, command)


def _profile_project(settings: Settings, folder: Path) -> str | None:
    profile = settings.profile_of(folder)
    return profile.project if profile is not None else None
