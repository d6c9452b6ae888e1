"""Send files up, and believe nothing until the server has named what it holds.

The one rule: a file counts as sent when the server's answer carries its size and,
where the server gives one, its SHA-384, both equal to what passed through our hands, and
the file itself did not change while it passed.
"""

from __future__ import annotations

import asyncio
import os
import random as dice
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from fwsync import localfs
from fwsync.digest import ContentHasher
from fwsync.errors import (
    AuthError,
    FwsyncError,
    IntegrityError,
    LocalError,
    SourceChanged,
    Unavailable,
    Unreadable,
)
from fwsync.model import (
    Decision,
    LocalEntry,
    Outcome,
    Problem,
    RelPath,
    RemoteEntry,
)
from fwsync.ports import Remote, Sent
from fwsync.threads import in_thread

#: Bytes handed on at a time: large enough that a thread hop costs nothing beside it.
BLOCK = 1 << 20

#: How often a file is sent before it is reported, where the server then holds something
#: else. Wrong bytes three times running are not bad luck.
MISTAKEN = 3

#: How often a file is sent before it is reported, where the server answers other
#: questions but never this one. Between tries the pacer of the host waits.
UNANSWERED = 8

#: The longest pause between two tries of one file, in seconds.
RETRY_PAUSE_S = 10.0

#: Pauses before each look for a file whose whole body went out and was not answered.
COMMIT_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)


class Source:
    """One local file on its way up: read in order, hashed as it passes.

    Implements :class:`fwsync.ports.Upload`.
    """

    def __init__(
        self,
        root_fd: int,
        entry: LocalEntry,
        advanced: Callable[[RelPath, int], None],
        told: int = 0,
    ) -> None:
        self.told = told  #: bytes of this file that were counted as progress
        self._root_fd = root_fd
        self._advanced = advanced
        self._entry = entry
        self._hasher = ContentHasher()
        self._complete = False
        self.hashed_at_ns = 0  #: wall clock just before the last look at the file

    @property
    def path(self) -> RelPath:
        """Where it belongs."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Bytes, as the scan saw it; the read fails if that is no longer so."""
        return self._entry.size

    @property
    def seen(self) -> LocalEntry | None:
        """The entry with both digests, once the whole file was read; None before."""
        if not self._complete:
            return None
        return replace(self._entry, etag=self._hasher.local_tag, digest=self._hasher.digest)

    async def read(self) -> AsyncIterator[bytes]:
        """The content from the first byte; the last block comes only after a second look.

        A file that changed while it was read raises before its last block is handed out,
        so the request that carries it can never be complete.
        """
        self._advanced(self.path, -self.told)
        self.told = 0
        self._hasher = ContentHasher()
        self._complete = False
        file_fd = await in_thread(self._open)
        try:
            left = self.size
            while True:
                block = await in_thread(self._next_block, file_fd, left)
                left -= len(block)
                if block:
                    yield block
                # Asked for more: this one has left us. What was only read is no progress.
                self._advanced(self.path, len(block))
                self.told += len(block)
                if left == 0:
                    return
        finally:
            os.close(file_fd)

    def _open(self) -> int:
        file_fd = localfs.open_regular(self._root_fd, self._entry.on_disk)
        if localfs.stamp_of(os.fstat(file_fd)) != self._entry.stamp:
            os.close(file_fd)
            raise SourceChanged(f"{self.path}: changed since the folder was scanned")
        return file_fd

    def _next_block(self, file_fd: int, left: int) -> bytes:
        try:
            block = os.read(file_fd, min(BLOCK, left)) if left else b""
        except OSError as error:
            raise Unreadable(f"{self.path}: reading failed ({error.strerror})") from None
        if left and not block:
            raise SourceChanged(f"{self.path}: became shorter while it was sent")
        self._hasher.update(block)
        if len(block) == left:
            self.hashed_at_ns = time.time_ns()
            if localfs.stamp_of(os.fstat(file_fd)) != self._entry.stamp:
                raise SourceChanged(f"{self.path}: changed while it was sent")
            self._complete = True
        return block


class Uploader:
    """Carries out the uploads of a plan, a batch at a time.

    Args:
        remote: where to.
        root_fd: the root, open for as long as this lives.
        advanced: told of every piece of content that goes out: path and bytes, which
            are negative when a file has to start again.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        remote: Remote,
        root_fd: int,
        advanced: Callable[[RelPath, int], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._remote = remote
        self._root_fd = root_fd
        self._advanced = advanced

    async def send(self, batch: Sequence[Decision]) -> list[Outcome]:
        """One outcome for each decision of the batch, in any order.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on. What the server
                had taken by then stays, and the next run adopts it.
        """
        waiting: dict[RelPath, Decision] = {}
        finished: list[Outcome] = []
        for decision in batch:
            problem = await self._no_longer_so(decision)
            if problem is None:
                waiting[decision.path] = decision
            else:
                finished.append(Outcome(decision, problem=problem))
        tries = dict.fromkeys(waiting, 0)
        sources: dict[RelPath, Source] = {}
        while waiting:
            sources = {
                path: Source(
                    self._root_fd,
                    _local(decision),
                    self._advanced,
                    sources[path].told if path in sources else 0,
                )
                for path, decision in waiting.items()
            }
            async for sent in self._remote.put(list(sources.values())):
                tries[sent.path] += 1
                decision, source = waiting[sent.path], sources[sent.path]
                judged = await self._judge(decision, source, sent, tries[sent.path])
                if judged is not None:
                    del waiting[sent.path]
                    finished.append(judged)
        return finished

    async def _taken_after_all(
        self, decision: Decision, source: Source, error: Unavailable, tries: int
    ) -> RemoteEntry | None:
        """The server's entry, if it took the file although no answer said so.

        Looks before the file is sent twice. Each look also waits, up to the patience,
        until the server answers again.
        """
        for pause_s in _pauses(source, error, tries):
            await self._sleep(pause_s)
            there = await self._remote.look(decision.path)
            if there is not None and there.digest and _difference(source, there) is None:
                return there
        return None

    async def _no_longer_so(self, decision: Decision) -> Problem | None:
        """Look again before replacing what the server holds (scenario S40).

        A file that the listing did not have is only looked for where a name that is taken
        would be overwritten for good; elsewhere the answer tells (:func:`_was_taken`).
        """
        if decision.remote is None and self._remote.features.versions:
            return None
        try:
            now = await self._remote.look(decision.path)
        except (AuthError, Unavailable):
            raise
        except FwsyncError as error:
            return Problem.of(decision.path, error)
        seen = decision.remote
        if (now and now.etag) == (seen and seen.etag):
            return None
        return Problem(
            decision.path,
            "changed on the server since the plan was made",
            "the next run compares it again",
            retryable=True,
        )

    async def _judge(
        self, decision: Decision, source: Source, sent: Sent, tries: int
    ) -> Outcome | None:
        """The outcome of one try; None to try once more."""
        error = sent.error
        if error is None and sent.entry is not None:
            error = _difference(source, sent.entry)
            if error is None and tries == 1 and _was_taken(decision, sent.entry):
                return Outcome(decision, problem=_taken(decision, sent.entry), moved=source.size)
            if error is None:
                return _done(decision, source, sent.entry)
        assert error is not None, f"{sent.path}: neither an entry nor an error"
        if isinstance(error, AuthError | LocalError):
            raise error
        if isinstance(error, Unavailable):
            try:
                there = await self._taken_after_all(decision, source, error, tries)
            except (AuthError, Unavailable):
                raise
            except FwsyncError as unclear:
                return Outcome(decision, problem=Problem.of(decision.path, unclear))
            if there is not None:
                return _done(decision, source, there)
            most = UNANSWERED
        else:
            most = MISTAKEN if isinstance(error, IntegrityError) else 1
        if tries < most:
            return None
        return Outcome(decision, problem=Problem.of(decision.path, error))


def _pauses(source: Source, error: Unavailable, tries: int) -> Sequence[float]:
    """How long to wait before each look, in seconds.

    A server that has every byte and says nothing may need long to commit them (it hashes,
    it copies); a second body sent into that would be a second version. In all other cases
    one pause keeps a server that is down from being sent body after body.
    """
    if error.silent and source.seen is not None:
        return COMMIT_PAUSES_S
    return (0.0, dice.uniform(0.0, min(RETRY_PAUSE_S, 0.1 * 2**tries)))  # noqa: S311 - no secret


def _was_taken(decision: Decision, entry: RemoteEntry) -> bool:
    """Did somebody else put a file of this name there since the listing (S27, I5)?"""
    return decision.remote is None and decision.base is None and entry.version > 1


def _taken(decision: Decision, entry: RemoteEntry) -> Problem:
    return Problem(
        decision.path,
        f"somebody else sent a file of this name meanwhile; theirs is version "
        f"{entry.version - 1} on the server, this one is version {entry.version}",
        "compare the two versions on the server",
    )


def _difference(source: Source, entry: RemoteEntry) -> FwsyncError | None:
    """Why the server's entry is not what was sent; None if it is."""
    seen = source.seen
    if seen is None:
        return IntegrityError(f"{source.path}: the server answered before it had the whole file")
    if entry.size != source.size:
        return IntegrityError(
            f"{source.path}: the server holds {entry.size} bytes; {source.size} were sent"
        )
    if entry.digest is not None and entry.digest != seen.digest:
        return IntegrityError(
            f"{source.path}: the server holds {entry.digest}; {seen.digest} was sent"
        )
    return None


def _done(decision: Decision, source: Source, entry: RemoteEntry) -> Outcome:
    return Outcome(
        decision,
        local=source.seen,
        remote=entry,
        moved=source.size,
        hashed_at_ns=source.hashed_at_ns,
    )


def _local(decision: Decision) -> LocalEntry:
    assert decision.local is not None, f"{decision.path}: an upload without a file"
    return decision.local
