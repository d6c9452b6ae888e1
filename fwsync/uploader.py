"""Send files up, and believe nothing until the server has named what it holds.

The one rule: a file counts as sent when the server's answer carries its size and,
where the server gives one, its SHA-384, both equal to what passed through our hands, and
the file itself did not change while it passed.
"""

from __future__ import annotations

import asyncio
import random as dice
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeAlias, TypeVar, cast

from fwsync.deid import Deid, DeidSource
from fwsync.errors import (
    AuthError,
    FileProblem,
    FwsyncError,
    IntegrityError,
    LocalError,
    Unavailable,
)
from fwsync.model import (
    Decision,
    LocalEntry,
    Outcome,
    Problem,
    RelPath,
    RemoteEntry,
)
from fwsync.packs import PackSource
from fwsync.ports import Remote, Sent
from fwsync.sources import Describe, Said, Source, say_nothing
from fwsync.threads import workers
from fwsync.told import Advanced

T = TypeVar("T")
R = TypeVar("R")

AnySource: TypeAlias = Source | PackSource | DeidSource

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

#: Looks for files of one batch under way at once, which the remote may answer together: a lost
#: answer to many of them costs about what it costs for one.
LOOKS = 64

#: Files of one batch that are de-identified at once, at most; the pool has its own measure.
PREPARED = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Lost:
    """A file that was sent, and no answer says whether it was taken."""

    decision: Decision
    source: AnySource
    error: Unavailable
    route: str
    pauses: Sequence[float]  #: before each look, in seconds


class Uploader:
    """Carries out the uploads of a plan, a batch at a time.

    Args:
        remote: where to.
        root_fd: the root, open for as long as this lives.
        advanced: told of every piece of content that goes out: path and bytes, which
            are negative when a file has to start again.
        sleep: waits for so many seconds.
        describe: says what else the server is told of a file.
        deid: changes what is sent; None: files go as they are.
        deflates: the zips of packs are compressed.
    """

    def __init__(
        self,
        remote: Remote,
        root_fd: int,
        advanced: Callable[[RelPath, int], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        describe: Describe = say_nothing,
        deid: Deid | None = None,
        *,
        deflates: bool = False,
    ) -> None:
        self._sleep = sleep
        self._deflates = deflates
        # One pack at a time, which is two threads: those that read what is under way are few.
        self._compressing = asyncio.Semaphore(1)
        self._deid = deid
        self._describe = describe
        self._remote = remote
        self._root_fd = root_fd
        self._advanced = advanced

    async def send(self, batch: Sequence[Decision]) -> list[Outcome]:
        """One outcome for each decision of the batch, in any order.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on. What the server
                had taken by then stays, and the next run adopts it.
        """
        if self._deid is None:
            return await self._send(batch)
        async with self._deid.room(sum(one.size for one in batch)):
            return await self._send(batch)

    async def _send(self, batch: Sequence[Decision]) -> list[Outcome]:
        waiting = {decision.path: decision for decision in batch}
        finished: list[Outcome] = []
        overwrites = not self._remote.features.versions
        # A file that the listing did not have is only looked for where a name that is taken
        # would be overwritten for good; elsewhere the answer tells (_was_taken).
        # One that was agreed on and deleted there since may be there anew.
        to_look = [one for one in batch if overwrites or one.remote or one.base]
        for decision, problem in await _side_by_side(self._with_a_look, to_look):
            waiting[decision.path] = decision
            if problem is not None:
                del waiting[decision.path]
                finished.append(Outcome(decision, problem=problem))
        tries = dict.fromkeys(waiting, 0)
        said = {path: await self._describe(_local(one)) for path, one in waiting.items()}
        sources: dict[RelPath, AnySource] = {}
        while waiting:
            sources = {
                path: self._source(
                    decision, said[path], sources[path].told if path in sources else 0
                )
                for path, decision in waiting.items()
            }
            ended = await self._not_to_be_sent(sources, waiting)
            for outcome in ended:
                del sources[outcome.decision.path]
            lost: list[_Lost] = []
            async with self._put(sources) as answers:
                async for sent in answers:
                    tries[sent.path] += 1
                    decision, source = waiting[sent.path], sources[sent.path]
                    error, count = sent.error, tries[sent.path]
                    if isinstance(error, Unavailable):
                        pauses = _pauses(source, error, count)
                        lost.append(_Lost(decision, source, error, sent.route, pauses))
                    elif judged := await self._judge(decision, source, sent, count):
                        ended.append(replace(judged, route=sent.route, tries=count))
            ended += await self._taken_after_all(lost, tries)
            for outcome in ended:
                del waiting[outcome.decision.path]
            finished += ended
        return finished

    def _put(self, sources: Mapping[RelPath, AnySource]) -> aclosing[AsyncGenerator[Sent, None]]:
        """The answers to a batch; what is under way ends with the block, whatever ends it."""
        answers = self._remote.put(list(sources.values()))
        return aclosing(cast("AsyncGenerator[Sent, None]", answers))

    async def _not_to_be_sent(
        self, sources: Mapping[RelPath, AnySource], waiting: Mapping[RelPath, Decision]
    ) -> list[Outcome]:
        """Make what must be made before its length is known, such as by de-identifying it.

        What cannot be made is left, and nothing of it is sent.
        """
        if self._deid is None and not self._deflates:
            return []
        ended: list[Outcome] = []

        async def prepare(source: AnySource) -> None:
            if isinstance(source, Source):
                assert self._deid is None, f"{source.path}: would be sent as it is"
                return
            compresses = self._deflates and isinstance(source, PackSource)
            try:
                async with self._compressing if compresses else nullcontext():
                    await source.prepare()
            except FileProblem as error:
                problem = Problem.of(source.path, error)
                ended.append(Outcome(waiting[source.path], problem=problem))

        await _side_by_side(prepare, sources.values(), PREPARED)
        return ended

    def _source(self, decision: Decision, said: Said, told: int) -> AnySource:
        entry = _local(decision)
        told_of = (said.metadata, said.fields)
        if entry.pack is None and self._deid is not None:
            return DeidSource(self._deid, self._root_fd, entry, self._advanced, told, *told_of)
        if entry.pack is None:
            return Source(self._root_fd, entry, self._advanced, told, *told_of)

        members = entry.pack.members
        entry = replace(entry, pack=replace(entry.pack, deflated=self._deflates))

        def make_members(advanced: Advanced) -> list[Source]:
            return [
                Source(
                    self._root_fd,
                    replace(one.entry, path=RelPath(one.name), source=one.entry.indexed),
                    advanced,
                )
                for one in members
            ]

        # De-identified, it is made here: the members would go as they are.
        make = make_members if self._deid is None else None
        return PackSource(
            self._root_fd, entry, self._advanced, told, *told_of, make, through=self._deid
        )

    async def _taken_after_all(
        self, lost: Sequence[_Lost], tries: Mapping[RelPath, int]
    ) -> list[Outcome]:
        """Outcomes of the files that need not be sent again.

        Looks before a file is sent twice. Each look also waits, up to the patience, until the
        server answers again. The files of a batch wait together, and are looked for side by
        side.
        """
        left = list(lost)
        ended: list[Outcome] = []
        for pauses in zip_longest(*(one.pauses for one in lost)):
            due = [one for one, s in zip(lost, pauses, strict=True) if s is not None]
            due = [one for one in due if one in left]
            if not due:
                break
            await self._sleep(max(pause_s for pause_s in pauses if pause_s is not None))
            for one, found in await _side_by_side(self._look_for, due):
                if found is not None:
                    left.remove(one)
                    count = tries[one.decision.path]
                    ended.append(replace(found, route=one.route, tries=count))
        for one in left:
            path = one.decision.path
            if (count := tries[path]) >= UNANSWERED:
                problem = Problem.of(path, one.error)
                ended.append(Outcome(one.decision, problem=problem, route=one.route, tries=count))
        return ended

    async def _look_for(self, lost: _Lost) -> tuple[_Lost, Outcome | None]:
        """What is to be said of a file by what the server has now; None: it has not got it."""
        decision, source = lost.decision, lost.source
        try:
            there = await self._remote.look(decision.path)
        except (AuthError, Unavailable):
            raise
        except FwsyncError as unclear:
            return lost, Outcome(decision, problem=Problem.of(decision.path, unclear))
        if there is None or _difference(source, there) is not None:
            return lost, None
        if there.digest is None and decision.remote and there.etag == decision.remote.etag:
            return lost, None  # of the same size, and still the one that was to be replaced
        return lost, _done(decision, source, there)

    async def _with_a_look(self, decision: Decision) -> tuple[Decision, Problem | None]:
        """Look again before replacing what the server holds (scenario S40).

        Returns:
            The decision, with the very version that would be replaced; or what is wrong.
        """
        try:
            now = await self._remote.look(decision.path)
        except (AuthError, Unavailable):
            raise
        except FwsyncError as error:
            return decision, Problem.of(decision.path, error)
        seen = decision.remote
        if (now and now.etag) == (seen and seen.etag):
            return replace(decision, remote=now), None
        return decision, Problem(
            decision.path,
            "changed on the server since the plan was made",
            "the next run compares it again",
            retryable=True,
        )

    async def _judge(
        self, decision: Decision, source: AnySource, sent: Sent, tries: int
    ) -> Outcome | None:
        """The outcome of one try; None to try once more."""
        error = sent.error
        if sent.checked and sent.entry is not None:
            return await self._packed_there(decision, source, sent.entry)
        if error is None and sent.entry is not None:
            error = _difference(source, sent.entry)
            if error is None and tries == 1 and _was_taken(decision, sent.entry):
                return Outcome(decision, problem=_taken(decision, sent.entry), moved=source.size)
            if error is None:
                return _done(decision, source, sent.entry)
        assert error is not None, f"{sent.path}: neither an entry nor an error"
        if isinstance(error, AuthError | LocalError):
            raise error
        if tries < (MISTAKEN if isinstance(error, IntegrityError) else 1):
            return None
        return Outcome(decision, problem=Problem.of(decision.path, error))

    async def _packed_there(
        self, decision: Decision, source: AnySource, entry: RemoteEntry
    ) -> Outcome:
        """A pack that the server has made: its zip is another one, its members are ours."""
        assert isinstance(source, PackSource), f"{decision.path}: checked, and no pack"
        try:
            local = await source.prepare()  # the members' tags; their bytes were compared
        except FwsyncError as error:
            return Outcome(decision, problem=Problem.of(decision.path, error))
        hashed_at_ns = source.hashed_at_ns
        local = replace(local, digest=None)  # of our zip, if it is known from before
        return Outcome(decision, local, entry, moved=source.size, hashed_at_ns=hashed_at_ns)


async def _side_by_side(
    work: Callable[[T], Awaitable[R]], items: Iterable[T], at_once: int = LOOKS
) -> list[R]:
    """The results of some work on each item, a few at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with gate:
            return await work(item)

    async with workers() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


def _pauses(source: AnySource, error: Unavailable, tries: int) -> Sequence[float]:
    """How long to wait before each look, in seconds.

    A server that has every byte and says nothing may need long to commit them (it hashes,
    it copies); a second body sent into that would be a second version. In all other cases
    one pause keeps a server that is down from being sent body after body.
    """
    if error.silent and source.seen is not None:
        return COMMIT_PAUSES_S
    return (0.0, dice.uniform(0.0, min(RETRY_PAUSE_S, 0.1 * 2**tries)))  # noqa: S311 - no secret


def _was_taken(decision: Decision, entry: RemoteEntry) -> bool:
    """Did somebody else put a file of this name there since it was looked for (S27, I5)?

    No server replaces a file on a condition: what came in between is an older version now.
    """
    if decision.remote is None:
        return decision.base is None and entry.version > 1
    is_same = decision.remote.file_id == entry.file_id
    return is_same and entry.version > decision.remote.version + 1


def _taken(decision: Decision, entry: RemoteEntry) -> Problem:
    return Problem(
        decision.path,
        f"somebody else sent a file of this name meanwhile; theirs is version "
        f"{entry.version - 1} on the server, this one is version {entry.version}",
        "compare the two versions on the server",
    )


def _difference(source: AnySource, entry: RemoteEntry) -> FwsyncError | None:
    """Why the server's entry is not what was sent; None if it is."""
    digest = source.digest
    if digest is None:
        return IntegrityError(f"{source.path}: the server answered before it had the whole file")
    if entry.size != source.size:
        return IntegrityError(
            f"{source.path}: the server holds {entry.size} bytes; {source.size} were sent"
        )
    if entry.digest is not None and entry.digest != digest:
        return IntegrityError(f"{source.path}: the server holds {entry.digest}; {digest} was sent")
    return None


def _done(decision: Decision, source: AnySource, entry: RemoteEntry) -> Outcome:
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
