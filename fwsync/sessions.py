"""A session: settings, key, root, state, remote and engine, opened in the right order.

The one rule: whatever may be refused is refused before anything is written, and what was
opened is closed in the opposite order, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fwsync import (
    extras_asked,
    localfs,
    policies,
    roots,
    scopes,
    selection_asked,
)
from fwsync.audit import AuditLog
from fwsync.config import Settings
from fwsync.deid import Deid
from fwsync.deid_preview import Preview
from fwsync.describing import Describer
from fwsync.engine import Engine
from fwsync.executor import PARTS, Review, agree
from fwsync.extras_compared import Extras
from fwsync.filters import Filters
from fwsync.grounds import (
    ALL,
    COMMANDS,
    PATIENCE_S,
    Approval,
    Call,
    Flags,
    only_reads,
    open_api,
    settings_of,
    stand,
)
from fwsync.layout import Layout
from fwsync.ledger import StateLedger
from fwsync.model import Mode, NamePolicy
from fwsync.namebook import StateNames
from fwsync.placebook import StatePlaces
from fwsync.placements import (
    layout_of,
    placement_of,
    reader_of,
    speaking_of,
)
from fwsync.placing import Placement, Placer
from fwsync.progress import Progress
from fwsync.remotes.connect import Connection, SiteRemote
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.http import Api
from fwsync.remotes.routes.choose import Ways
from fwsync.reviews import Asking, review_of
from fwsync.sources import Describe, say_nothing
from fwsync.state import StateThread
from fwsync.threads import in_thread
from fwsync.unpacking.finish import not_finished

__all__ = ["COMMANDS", "PATIENCE_S", "Flags", "Session", "open_api", "open_session", "settings_of"]


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
    target: str | None = None  #: the project as it was named; None: the root knew
    key: str = ""  #: what never changes for the remote: see ``scopes.key_of``


# ------------------------------------------------------------------------------ the parts


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
    approval: Approval = ALL,
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
        approval: lets only some of a plan through.

    Raises:
        FwsyncError: it cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        call = Call(mode, folder, target, flags, config, only_look, command, partial_names)
        ground = await stand(stack, call, progress, approval)
        settings, told, filters = ground.settings, ground.told, ground.filters
        door, state, scope, root = ground.door, ground.state, ground.scope, ground.root
        place, selection, deid = ground.place, ground.selection, ground.deid
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
        review = await _review(asks, settings, root_fd, deid, reads=only_reads(mode, command))
        policy = replace(
            policies.policy_of(mode, settings, flags, filters),
            options=policies.words_of(settings, flags, config, mode),
            describe=describe,
            audit=await _audit_log(settings, scope, stack, only_look=only_look),
            review=approval.over(review, state),
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
            ground.api,
            site,
            remote,
            extras,
            describe,
            ground.named,
            scopes.key_of(door, scope),
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


def _ways(settings: Settings, state: StateThread | None) -> Ways:
    """The ways up that are taken; begun uploads are kept in the state, where there is one."""
    return Ways(settings.route, settings.form, None if state is None else StateLedger(state))
