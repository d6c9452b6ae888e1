"""Uploads that were begun and never ended: which there are, and giving them up.

Its rule: what is not known to be cancelled is said to expire, never to be gone. Call it while no
run is at work on the root (its lock held): an upload that is under way looks the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from fwsync.errors import NotFound, RemoteError, Unavailable
from fwsync.ledger import StateLedger
from fwsync.localfs import disk_errors
from fwsync.model import Mode, RelPath
from fwsync.ports import Ledger, OpenUpload
from fwsync.progress import NoProgress, Progress
from fwsync.remotes.http import Api
from fwsync.remotes.routes import packfile, signed
from fwsync.sessions import Flags, open_session

Cancel = Callable[[Api, Mapping[str, object]], Awaitable[bool]]

#: How each way up is told to give up; False: it has no such request.
CANCELS: Final[Mapping[str, Cancel]] = {
    "signed": signed.cancel,
    "packfile": packfile.cancel,
}


class Fate(StrEnum):
    """What becomes of an upload that was given up."""

    BEGUN = "begun"  #: nothing yet: it was only looked at
    CANCELLED = "cancelled"  #: the server has dropped what came of it
    EXPIRES = "expires"  #: nothing cancels it: the server drops it by its own rules
    KEPT = "kept"  #: the server did not answer: it is tried again by the next call


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An upload, and what became of it. Holds no secret."""

    path: RelPath
    route: str
    begun_ns: int  #: by this machine's wall clock
    parts: int  #: that had arrived
    fate: Fate
    reason: str = ""  #: why it is kept


@disk_errors()
def run(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None = None,
    *,
    progress: Progress | None = None,
    only_look: bool = False,
) -> list[GivenUp]:
    """Give up what runs on a root have begun and not ended; blocks until it is over.

    Args:
        folder: the root.
        target: the project; None: the one that the root remembers.
        flags: settings that override file and environment.
        config: the settings file.
        progress: is told what happens.
        only_look: cancel and forget nothing.

    Raises:
        Locked: a run is at work on the root.
        FwsyncError: it could not start, or could not go on.
    """
    told = {**flags, "create_project": False}  # there is nothing to give up in a new one
    return asyncio.run(_run(folder, target, told, config, progress or NoProgress(), only_look))


async def _run(
    folder: Path,
    target: str | None,
    flags: Flags,
    config: Path | None,
    progress: Progress,
    only_look: bool,
) -> list[GivenUp]:
    async with open_session(
        Mode.UP,
        folder,
        target,
        flags,
        config,
        progress=progress,
        only_look=only_look,
        command="cleanup",
    ) as session:
        ledger = StateLedger(session.state)
        if only_look:
            return [_known(one, Fate.BEGUN) for one in await begun(ledger)]
        return [one async for one in give_up(session.api, ledger)]


def _known(upload: OpenUpload, fate: Fate, reason: str = "") -> GivenUp:
    return GivenUp(upload.path, upload.route, upload.begun_ns, len(upload.parts), fate, reason)


async def begun(ledger: Ledger) -> Sequence[OpenUpload]:
    """The uploads that were begun and never ended, the oldest first; their notes are secret.

    Raises:
        LocalError: the state cannot be read.
    """
    return await ledger.all()


async def give_up(api: Api, ledger: Ledger) -> AsyncIterator[GivenUp]:
    """Cancel each of them where the server can, and forget it; one :class:`GivenUp` for each.

    A later push sends these files from their first byte. Files that have arrived stay.

    Raises:
        AuthError: the key was refused; what was not yielded is kept.
        LocalError: the state cannot be written.
    """
    for upload in await ledger.all():
        fate, reason = await _cancelled(api, upload)
        if fate is not Fate.KEPT:
            await ledger.end(upload.id)
        yield _known(upload, fate, reason)


async def _cancelled(api: Api, upload: OpenUpload) -> tuple[Fate, str]:
    cancel = CANCELS.get(upload.route)
    try:
        done = cancel is not None and await cancel(api, upload.note)
    except Unavailable as error:
        return Fate.KEPT, error.message
    except NotFound:
        return Fate.CANCELLED, ""  # the server knows it no longer
    except RemoteError:
        return Fate.EXPIRES, ""
    return (Fate.CANCELLED if done else Fate.EXPIRES), ""
