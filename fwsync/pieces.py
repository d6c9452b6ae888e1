"""A large file comes down in pieces: several at once, and a later run goes on where this one ended.

The one rule: a file counts once all that is on the disk was read again and has the digest of the
listing. What is kept of it for a later run is of this very content, or it is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from fwsync import localfs
from fwsync.arrivals import Landed, Landing, Part, remote_of, verify
from fwsync.courses import Course, PieceFile, piece_size
from fwsync.errors import FileProblem, FwsyncError, IntegrityError, SourceChanged
from fwsync.model import Decision, RelPath, RemoteEntry, Unknown, Verb
from fwsync.ports import Ranged, RemoteReader
from fwsync.roots import part_name
from fwsync.selection import Reach
from fwsync.state import State, StateThread
from fwsync.state_downloads import Held, OpenDownload
from fwsync.threads import in_thread

#: A file of so many bytes that travels alone comes in pieces.
LARGE: Final = 16 << 20

#: Streams of all files of a run, where no number of transfers is set.
STREAMS: Final = 16

#: Contents that were wrong before a file is asked for as a whole.
WRONG_IN_PIECES: Final = 2

#: How a file is received that comes as one stream: what was decided, its size, its bytes.
Receive = Callable[[Decision, int, AsyncIterator[bytes]], Awaitable[Landed]]


def validator(entry: RemoteEntry) -> str:
    """What tells this content from any other one that the server may have in its place.

    Where it gives neither digest nor id, the time of the file is all there is to tell them.
    """
    told = [entry.container.id, entry.name, entry.file_id, str(entry.version), str(entry.size)]
    if entry.digest is None:
        told.append(str(entry.modified_ns))
    return "\n".join([*told, entry.etag])


class Pieces:
    """Brings large files, each in pieces.

    Args:
        remote: where from.
        landing: where to.
        advanced: told of every piece of content that arrives or is found here: path and bytes;
            less than nothing where it was of no use.
        state: where is kept what is here; None: no later run goes on.
        streams: how many there may be at once, of all files; None: :data:`STREAMS`.
    """

    def __init__(
        self,
        remote: RemoteReader,
        landing: Landing,
        advanced: Callable[[RelPath, int], None],
        *,
        state: StateThread | None = None,
        streams: int | None = None,
    ) -> None:
        self._remote = remote
        self._landing = landing
        self._advanced = advanced
        self._state = state
        self._streams = asyncio.Semaphore(streams or STREAMS)
        self._wrong = Counter[RelPath]()

    def takes(self, decision: Decision) -> bool:
        """Is it large, and not one that came wrong in pieces again and again?"""
        return decision.size >= LARGE and self._wrong[decision.path] < WRONG_IN_PIECES

    async def bring(self, decision: Decision, receive: Receive) -> Landed:
        """One file; what is of no use for a later run is gone when this returns or raises.

        Args:
            decision: to download it.
            receive: takes it where the server sends it whole, whatever is asked for.

        Raises:
            Unavailable, AuthError, RemoteError: the server does not send it; what is here stays.
            LocalError: the disk is full, or the state cannot be written.
        """
        entry, path = remote_of(decision), decision.path
        kept = await self._kept(decision)
        course = Course(entry, self._remote, self._streams, kept, self._confirm, self._advanced)

        async def receive_whole(answer: Ranged) -> Landed:
            await self._forget(path)  # what is here is no part of it
            return await receive(decision, entry.size, answer.chunks)

        part_fd = await self._part(path, entry.size)
        file = PieceFile(part_fd, path, self._landing)
        landed = Landed()
        is_kept = is_stopped = False
        try:
            whole = await course.run(file, receive_whole)
            if whole is not None:
                return whole
            part = Part(decision, self._landing.part_name(path), course.hasher, course.fetched)
            verify(part)
            await in_thread(self._landing.finish, part_fd, part)
            await in_thread(self._landing.publish, [part], landed)
        except IntegrityError as error:
            self._wrong[path] += 1
            landed.failed.append((decision, await self._why(entry, error)))
        except FileProblem as error:
            landed.failed.append((decision, error))
        except (FwsyncError, asyncio.CancelledError) as error:
            is_kept = self._state is not None and not course.disk_failed
            is_stopped = isinstance(error, asyncio.CancelledError)
            if is_kept:
                with contextlib.suppress(FwsyncError):  # why it ends is what is told
                    await course.leave(file)
            raise
        finally:
            os.close(part_fd)
            if not landed.done and not (is_kept and is_stopped):
                course.count_in(-course.counted)
            if not is_kept:
                await self._forget(path)
        return landed

    async def _part(self, path: RelPath, size: int) -> int:
        try:
            return await in_thread(self._landing.resume, path, size)
        except FwsyncError:
            await self._forget(path)
            raise

    async def _kept(self, decision: Decision) -> OpenDownload:
        """What an earlier run, or try, has kept of it; otherwise it is begun."""
        entry, path = remote_of(decision), decision.path
        valid = validator(entry)
        if self._state is not None:
            known = await self._state.call(lambda s: s.downloads.go_on(path, valid))
            if known is not None:
                return known
        await in_thread(self._landing.drop, path)  # of another content
        size = piece_size(entry.size)
        if self._state is not None:
            await self._state.call(lambda s: s.downloads.begin(path, valid, size))
        return OpenDownload(path, valid, size, "", {})

    async def _confirm(self, kept: OpenDownload, pieces: Mapping[int, Held]) -> None:
        path, mark = kept.path, kept.mark
        if self._state is not None:
            await self._state.call(lambda s: s.downloads.confirm(path, pieces, mark))

    async def _forget(self, path: RelPath) -> None:
        await in_thread(self._landing.drop, path)
        if self._state is not None:
            await self._state.call(lambda s: s.downloads.end(path))

    async def _why(self, entry: RemoteEntry, error: IntegrityError) -> FwsyncError:
        """Is it another file there by now? Then it is not asked for again in vain."""
        try:
            now = await self._remote.look(entry.path)
        except FwsyncError:
            return error
        if now is None or validator(now) == validator(entry):
            return error  # where it is gone, the next request says so
        changed = SourceChanged(f"{entry.path}: changed on the server while it was fetched")
        changed.retryable = True
        return changed


async def forget_stale(
    state: StateThread,
    root_fd: int,
    parts: str,
    decisions: Sequence[Decision],
    unknown: Sequence[Unknown],
    reach: Reach | None = None,
) -> None:
    """Before a plan is carried out: drop the parts of files that nobody wants any more.

    Args:
        state: knows them.
        root_fd: the root.
        parts: the folder for parts, below it.
        decisions: all of the plan. A part stays while its content is still to be fetched.
        unknown: what the listing did not know; a part stays where nothing is known.
        reach: what the listing would have had, where only some was asked for.
    """
    begun = await state.call(_begun_of_files)
    if not begun:
        return
    wanted = {
        one.path: validator(one.remote)
        for one in decisions
        if one.verb in (Verb.DOWNLOAD, Verb.CONFLICT) and one.remote and one.path in begun
    }
    for path, valid in begun.items():
        if wanted.get(path) == valid or any(_covers(one.scope, path) for one in unknown):
            continue
        if reach is not None and not (reach.covers and reach.covers(path)):
            continue
        await in_thread(localfs.remove, root_fd, f"{parts}/{part_name(path)}")
        await state.call(_end, path)


def _covers(scope: RelPath, path: RelPath) -> bool:
    return not scope or path == scope or path.startswith(f"{scope}/")


def _begun_of_files(state: State) -> dict[RelPath, str]:
    """Without files of analyses, of which the plan does not speak: their parts go by age."""
    begun = state.downloads.all()
    return {path: begun[path] for path in state.extras.scanned.unnoted(list(begun))}


def _end(state: State, path: RelPath) -> None:
    state.downloads.end(path)
