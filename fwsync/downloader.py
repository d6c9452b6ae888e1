"""Bring files down: ask for them, and hand what comes to :mod:`fwsync.arrivals`.

The one rule: a stream that breaks costs the file in flight; finished ones stay and the rest
is asked for again.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from fwsync.arrivals import Landed, Landing, Part, Whole, remote_of, verify
from fwsync.courses import blocks
from fwsync.digest import ContentHasher
from fwsync.errors import (
    AuthError,
    FileProblem,
    FwsyncError,
    Garbled,
    IntegrityError,
    LocalError,
    Unavailable,
)
from fwsync.model import Decision, Outcome, Problem, RelPath
from fwsync.pieces import Pieces
from fwsync.ports import Member, RemoteReader
from fwsync.state import StateThread
from fwsync.threads import in_thread, workers
from fwsync.together import Hands, Together

#: A file up to this many bytes is held in memory and landed together with others, so
#: that opening, fsync and rename are paid in one thread hop for many files.
SMALL = 1 << 20

#: From this size on a file travels alone, so that a break costs only itself.
ALONE = 64 << 20

#: Archives in which a file is asked for, before it is asked for by itself.
TOGETHER = 2

#: Rounds in which what is missing is asked for again before it is reported.
ROUNDS = 3


class _Apart:
    """Files that an archive does not bring, and that are asked for one by one from then on.

    A server leaves out of an archive what it cannot read (core18, core19), or has an older file
    of the name in it (core18). Asked for by itself, a file comes, or the server says why not.
    """

    def __init__(self) -> None:
        self._paths: set[RelPath] = set()
        self._missed: Counter[RelPath] = Counter()
        self._in_vain = 0  # archives that brought nothing

    def __contains__(self, path: RelPath) -> bool:
        return path in self._paths

    def after(
        self, waiting: Iterable[RelPath], broken: FwsyncError | None, *, in_vain: bool
    ) -> None:
        """A round is over, and these did not come, or not as they should have.

        Args:
            waiting: what is still wanted.
            broken: what ended the archive. A break in passing says nothing of its files; a
                ticket that is refused, even anew, will be refused again.
            in_vain: nothing came. Where that is so again and again, it is the archive, and
                not one file in it.
        """
        self._in_vain += in_vain
        if broken is None:
            for path in waiting:
                self._missed[path] += 1
                if self._missed[path] >= TOGETHER:
                    self._paths.add(path)
        elif isinstance(broken, Unavailable):
            pass
        elif self._in_vain >= TOGETHER or not isinstance(broken, Garbled):
            self._paths.update(waiting)


class Downloader:
    """Carries out the downloads of a plan, a batch at a time.

    Args:
        remote: where from.
        landing: where to.
        advanced: told of every piece of content that arrives: path and bytes.
        state: where is kept what there is of large files; None: no later run goes on with them.
        streams: how many large files, or pieces of them, may come at once; None: some.
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
        self._hands = Hands(landing)
        self._advanced = advanced
        self._pieces = Pieces(remote, landing, advanced, state=state, streams=streams)

    async def bring(self, batch: Sequence[Decision]) -> list[Outcome]:
        """One outcome for each decision of the batch, in any order.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on. What had landed by
                then stays, and the next run adopts it.
        """
        waiting = {decision.path: decision for decision in batch}
        finished: list[Outcome] = []
        tries: Counter[RelPath] = Counter()
        apart = _Apart()
        rounds = 0
        broken: FwsyncError | None = None
        while waiting and rounds < ROUNDS:
            landed, broken = await self._round(list(waiting.values()), apart)
            # While it gets on, a bad network may break as often as it likes.
            rounds = 0 if landed.done else rounds + 1
            for outcome in landed.done:
                del waiting[outcome.decision.path]
            finished += landed.done
            for decision, error in landed.failed:
                tries[decision.path] += 1
                in_passing = isinstance(error, IntegrityError | Unavailable)
                if not in_passing or tries[decision.path] == ROUNDS:
                    del waiting[decision.path]
                    finished.append(_failed(decision, error))
            if isinstance(broken, AuthError | LocalError):
                raise broken
            apart.after(waiting, broken, in_vain=not landed.done)
            if waiting and broken and not landed.done:
                # A stream may break at one file, whenever it is asked for: ask for that
                # file alone, so that it stands in nobody's way.
                first = next(iter(waiting.values()))
                alone = await self._alone(first)
                if alone is not None:
                    del waiting[first.path]
                    finished.append(alone)
                    rounds = 0
        if waiting and isinstance(broken, Unavailable):
            raise broken
        return finished + [_failed(one, broken or _withheld(one)) for one in waiting.values()]

    async def _alone(self, decision: Decision) -> Outcome | None:
        """One file by a request of its own; None: it broke off, or its bytes were wrong, once.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on.
        """
        landed = Landed()
        answered = False
        try:
            if self._pieces.takes(decision):
                landed = await self._pieces.bring(decision, self._receive)
            else:
                async with self._remote.open(remote_of(decision)) as chunks:
                    answered = True
                    landed = await self._receive(decision, decision.size, chunks)
        except (AuthError, LocalError):
            raise
        except Unavailable:
            if not answered:
                raise
            return None
        except FwsyncError as error:
            return _failed(decision, error)
        if landed.done:
            return landed.done[0]
        wrong = landed.failed[0][1]
        return None if isinstance(wrong, IntegrityError) else _failed(decision, wrong)

    async def _round(
        self, decisions: Sequence[Decision], apart: _Apart
    ) -> tuple[Landed, FwsyncError | None]:
        """Ask once for everything: what arrived, and what broke the asking, if anything."""
        together = [one for one in decisions if one.size < ALONE and one.path not in apart]
        alone = [one for one in decisions if one.size >= ALONE or one.path in apart]
        if len(together) < 2 or self._remote.features.fetch_limit < 2:
            together, alone = [], [*decisions]
        landed = Landed()
        broken: FwsyncError | None = None
        if together:
            landed, broken = await self._fetch(together)
        for decision in alone:
            answered = False
            try:
                if self._pieces.takes(decision):
                    landed.add(await self._pieces.bring(decision, self._receive))
                    continue
                async with self._remote.open(remote_of(decision)) as chunks:
                    answered = True
                    landed.add(await self._receive(decision, decision.size, chunks))
            except FwsyncError as error:
                # Where no archive is to be had, one that breaks off must not hold up the others.
                is_its_own = answered and decision.path in apart and isinstance(error, Unavailable)
                if isinstance(error, AuthError | LocalError | Unavailable) and not is_its_own:
                    return landed, error
                landed.failed.append((decision, error))
        return landed, broken

    async def _fetch(self, decisions: Sequence[Decision]) -> tuple[Landed, FwsyncError | None]:
        """Many files from one stream; a break keeps what had arrived whole before it."""
        wanted = {decision.path: decision for decision in decisions}
        landed = Landed()
        broken: FwsyncError | None = None
        async with workers() as tasks:
            small = Together(self._hands, tasks)
            try:
                async with self._remote.fetch([remote_of(one) for one in decisions]) as members:
                    async for member in members:
                        decision = wanted[member.entry.path]
                        if member.size > SMALL:
                            landed.add(await self._receive(decision, member.size, member.chunks))
                        else:
                            await small.add(Whole(decision, await self._read_whole(member)))
            except FwsyncError as error:
                broken = error
            with contextlib.suppress(FwsyncError):  # told below, as is what ends the last of them
                await small.rest()
        landed.add(small.landed)
        return landed, small.error or broken

    async def _read_whole(self, member: Member) -> bytes:
        content = b"".join([chunk async for chunk in member.chunks])
        self._advanced(member.entry.path, len(content))
        return content

    async def _receive(
        self, decision: Decision, announced: int, chunks: AsyncIterator[bytes]
    ) -> Landed:
        """Stream one file into its part, then judge and name it."""
        if announced > decision.size:
            error = IntegrityError(
                f"{decision.path}: the server announces {announced} bytes; "
                f"its listing says {decision.size}"
            )
            return Landed(failed=[(decision, error)])
        part = Part(decision, self._landing.part_name(decision.path), ContentHasher())
        landed = Landed()
        complete = False
        told = 0
        try:
            part_fd = await in_thread(self._landing.create, decision.path)
            try:
                async for block in blocks(chunks):
                    await in_thread(self._take, part_fd, part, block)
                    size = sum(map(len, block))
                    self._advanced(decision.path, size)
                    told += size
                verify(part)
                await in_thread(self._landing.finish, part_fd, part)
                complete = True
            finally:
                os.close(part_fd)
            await in_thread(self._landing.publish, [part], landed)
        except FileProblem as error:
            landed.failed.append((decision, error))
        finally:
            if not complete:
                self._advanced(decision.path, -told)
                await in_thread(self._landing.drop, decision.path)
        return landed

    def _take(self, part_fd: int, part: Part, block: Sequence[bytes]) -> None:
        for chunk in block:
            part.hasher.update(chunk)
            if part.hasher.size > part.decision.size:
                raise IntegrityError(
                    f"{part.decision.path}: more bytes come than the {part.decision.size} listed"
                )
            self._landing.write_block(part_fd, part.decision.path, chunk)


def _withheld(decision: Decision) -> FwsyncError:
    return IntegrityError(f"{decision.path}: the server lists it, but did not send it")


def _failed(decision: Decision, error: FwsyncError) -> Outcome:
    return Outcome(decision, problem=Problem.of(decision.path, error))


def batches(
    decisions: Iterable[Decision], *, most_files: int, most_bytes: int
) -> Iterator[list[Decision]]:
    """Group decisions for one exchange each, by count and bytes; large ones go alone."""
    batch: list[Decision] = []
    size = 0
    for decision in decisions:
        if batch and (len(batch) >= most_files or size + decision.size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(decision)
        size += decision.size
    if batch:
        yield batch
