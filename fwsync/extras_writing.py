"""Sidecars of metadata and files of analyses: moved, written, fetched, and recorded.

The one rule: a path is noted before a file of ours stands at it, and recorded after.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fwsync import extras_noted, localfs, renaming, trash
from fwsync.arrivals import Landed, Landing, Whole
from fwsync.downloader import Downloader, batches
from fwsync.errors import FwsyncError, LocalError
from fwsync.executor import PARTS, TRASH, Policy
from fwsync.extra import Kind
from fwsync.model import (
    Decision,
    Level,
    LocalEntry,
    Outcome,
    Problem,
    RelPath,
    Report,
    Stamp,
    Verb,
)
from fwsync.ports import RemoteReader
from fwsync.progress import Progress
from fwsync.space import Space, worst
from fwsync.state import State, StateThread
from fwsync.threads import in_thread, workers
from fwsync.together import Hands, Together

#: Batches of files of analyses that come down at once, unless it is set.
TRANSFERS: Final = 4

#: Sidecars, and bytes of them, that are in memory and recorded together.
_LAND_FILES: Final = 1024
_LAND_BYTES: Final = 16 << 20

#: Files of analyses that are fetched together before others are looked at.
_FETCH_TOGETHER: Final = 4096

#: Outputs, and bytes of them, that one request brings.
_FETCH_FILES: Final = 256
_FETCH_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one of them."""

    kind: Kind
    decision: Decision
    key: str = ""  #: see :class:`fwsync.extra.Extra`
    about: RelPath | None = None  #: the file that a sidecar speaks of; None: of no file
    hashed_at_ns: int = 0  #: when what is here was read


@dataclass(frozen=True, slots=True)
class Move:
    """One that lies elsewhere on the server now, and is here as it was written."""

    here: LocalEntry
    step: Step  #: what is to be done at its new path, once it is there
    hashed_at_ns: int = 0  #: when what is here was read; 0: it is as it was written


class Writer:
    """Does what is to be done about what stands beside the user's files.

    Args:
        root_fd: the root.
        state: of the root.
        reader: where files of analyses come from.
        policy: what a run may do.
        progress: is told what happens.
        report: gets all of it.
    """

    def __init__(
        self,
        *,
        root_fd: int,
        state: StateThread,
        reader: RemoteReader,
        policy: Policy,
        progress: Progress,
        report: Report,
    ) -> None:
        self._root_fd = root_fd
        self._state = state
        self._policy = policy
        self._progress = progress
        self._report = report
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._trash = f"{TRASH}/{started}"
        self._landing = Landing(root_fd, parts=PARTS, trash=self._trash, fsync=policy.fsync)
        self._reader = reader
        self._to_fetch: list[Step] = []

    async def write(self, steps: Sequence[Step]) -> None:
        """Write, or adopt, what is listed; files of analyses may wait for :meth:`finish`.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on; what was done is recorded.
        """
        todo = [one for one in steps if one.decision.verb is Verb.DOWNLOAD]
        same = [one for one in steps if one.decision.verb is Verb.ADOPT]
        if self._report.halted:  # a guard holds what replaces anything
            todo = [one for one in todo if one.decision.local is None]
        await self._note([one.decision.path for one in (*todo, *same)])
        await self._record([(one, _as_it_is(one)) for one in same])
        await self._write([one for one in todo if one.kind is Kind.SIDECAR])
        self._to_fetch += [one for one in todo if one.kind is Kind.ANALYSIS]
        if len(self._to_fetch) >= _FETCH_TOGETHER:
            await self.finish()

    async def finish(self) -> None:
        """Fetch what waits.

        Raises:
            AuthError, LocalError, Unavailable: as :meth:`write`.
        """
        waiting, self._to_fetch = self._to_fetch, []
        await self._fetch(waiting)

    async def fail(self, problems: Iterable[Problem]) -> None:
        """Report problems, and record them."""
        told = list(problems)
        outcomes = [Outcome(Decision(Verb.REPORT, RelPath(one.path)), problem=one) for one in told]
        if outcomes:
            await self._state.call(State.record, outcomes)
            self._report.problem_list += told

    async def _note(self, paths: Sequence[RelPath]) -> None:
        new = await self._state.call(lambda state: state.extras.scanned.unnoted(paths))
        if new:
            await in_thread(extras_noted.note, self._root_fd, new)
            await self._state.call(lambda state: state.extras.scanned.note(new))

    async def touched(self, same: Sequence[Step]) -> None:
        """Record what is here as it was written, though its stamp is another one."""
        moved = [
            (one.decision.path, one.decision.local, one.hashed_at_ns)
            for one in same
            if one.decision.local is not None
        ]
        if moved:
            await self._state.call(lambda state: state.extras.move(moved))

    async def _record(self, done: Sequence[tuple[Step, Outcome]]) -> None:
        if done:
            rows = [(step.kind, step.key, outcome) for step, outcome in done]
            await self._state.call(_record, rows)

    async def move(self, moves: Sequence[Move]) -> set[RelPath]:
        """Give what lies elsewhere its new name; the new paths of what stays where it is.

        What else is to be done there is found by comparing after this.

        Raises:
            LocalError: the run cannot go on; what was done is recorded.
        """
        left: set[RelPath] = set()
        if self._report.halted:
            return {move.step.decision.path for move in moves}
        await self._note([move.step.decision.path for move in moves])
        for move in moves:
            old, new = move.here.path, move.step.decision.path
            try:
                stamp = await in_thread(self._relocate, move)
            except LocalError:
                raise
            except FwsyncError as error:
                await self.fail([Problem.of(new, error)])
                left.add(new)
                continue
            moved = [(old, LocalEntry(new, stamp, etag=move.here.etag), move.hashed_at_ns)]
            await self._state.call(lambda state, moved=moved: state.extras.move(moved))  # type: ignore[misc]  # bound now, for this one
            self._report.has_renamed(new, old)
        return left

    def _relocate(self, move: Move) -> Stamp:
        """In a thread."""
        old, new = move.here.path, move.step.decision.path
        relocation = renaming.Relocation(old, new, move.here.stamp)
        stamp = renaming.relocate(self._root_fd, relocation, trash=self._trash)
        for folder in {new.rpartition("/")[0], old.rpartition("/")[0]}:
            localfs.sync_folder(self._root_fd, folder)
        renaming.remove_empty(self._root_fd, old.rpartition("/")[0])
        return stamp

    async def _write(self, steps: Sequence[Step]) -> None:
        """Land sidecars, many at a time, as small files that come down do."""
        hands = Hands(self._landing)
        for few in _grouped(steps):
            by_path = {one.decision.path: one for one in few}
            landed, error = await self._land(hands, await self._state.call(_wholes, few))
            await self._record([(by_path[one.decision.path], one) for one in landed.done])
            self._report.sidecars += len(landed.done)
            await self.fail([Problem.of(one.path, failed) for one, failed in landed.failed])
            if error is not None:
                raise error

    @staticmethod
    async def _land(hands: Hands, wholes: Sequence[Whole]) -> tuple[Landed, FwsyncError | None]:
        """What landed, and what keeps others from it, as a disk that is full."""
        async with workers() as group:
            together = Together(hands, group)
            try:
                for whole in wholes:
                    await together.add(whole)
                await together.rest()
            except FwsyncError:
                pass  # it is the one that `together` has
        return together.landed, together.error

    async def _fetch(self, steps: Sequence[Step]) -> None:
        """Bring files of analyses: outputs together, and each input at the version it had."""
        if not steps:
            return
        by_path = {one.decision.path: one for one in steps}
        outputs = [one.decision for one in steps if not _is_input(one.decision)]
        inputs = [[one.decision] for one in steps if _is_input(one.decision)]
        together = batches(outputs, most_files=_FETCH_FILES, most_bytes=_FETCH_BYTES)
        todo = iter([*together, *inputs])
        self._progress.start(len(steps), sum(one.decision.size for one in steps))
        space = Space(self._root_fd, PARTS, [one.decision for one in steps])
        downloader = Downloader(
            self._reader,
            self._landing,
            space.told(self._progress.advanced),
            state=self._state,
            streams=self._policy.transfers,
        )
        bring = space.within(downloader.bring)
        errors: list[FwsyncError] = []

        async def worker() -> None:
            for batch in todo:
                if errors:
                    return  # the others end what they have begun (F38)
                if self._policy.is_time_up():
                    self._report.left += len(batch)
                    self._report.left_why = self._report.left_why or "--max-duration"
                    continue
                try:
                    await self._brought(await bring(batch), by_path)
                except FwsyncError as error:
                    errors.append(error)

        async with workers() as group:
            for _ in range(min(TRANSFERS, self._policy.transfers or TRANSFERS)):
                group.create_task(worker())
        if error := worst(errors, space):
            raise error

    async def _brought(self, outcomes: Sequence[Outcome], by_path: dict[RelPath, Step]) -> None:
        if self._policy.audit is not None:
            await in_thread(self._policy.audit.write, outcomes, time.time_ns())
        done = [(by_path[one.decision.path], one) for one in outcomes if one.problem is None]
        await self._record(done)
        self._report.downloaded += len(done)
        self._report.bytes += sum(one.moved for one in outcomes)
        for one in outcomes:
            self._progress.finished(one)
        await self.fail([one.problem for one in outcomes if one.problem is not None])

    async def may_delete(self, count: int, first: str) -> bool:
        """May what is gone from the server go here? If too much would, that is a problem.

        Args:
            count: how many would go.
            first: the path of the first of them.
        """
        # What is new may be the other half of what is gone; a guard may hold all deletions.
        if not count or self._report.halted or self._report.problem_list:
            return False
        if self._policy.accept:
            return True
        limits, total = self._policy.limits, await self._state.call(_count)
        too_many = limits.files is not None and count > limits.files
        if limits.percent is not None and total >= limits.percent_from:
            too_many = too_many or count * 100 > limits.percent * total
        if too_many:
            message = f"{count:,} of {total:,} files of metadata and analyses are gone there"
            hint = "they are left here; if that is meant, let them go with --max-delete"
            await self.fail([Problem(first, message, hint)])
        return not too_many

    async def forget(self, steps: Sequence[Step], *, may_delete: bool) -> None:
        """Drop the records of what is gone on both sides, or goes to the trash now.

        Raises:
            LocalError: the run cannot go on; what was done is recorded.
        """
        gone = [one.decision.path for one in steps if one.decision.verb is Verb.FORGET]
        for one in steps:
            if may_delete and one.decision.verb is Verb.DELETE_LOCAL and await self._discard(one):
                gone.append(one.decision.path)
                self._report.to_trash(one.decision.path, trash.run_of(self._trash))
        if gone:
            await self._state.call(lambda state: state.extras.forget(gone))

    async def clear(self, steps: Sequence[Step]) -> None:
        """Take away what has been written anew where it lies now; it goes to the trash.

        Raises:
            LocalError: the run cannot go on; what was done is recorded.
        """
        gone = [one.decision.path for one in steps if await self._discard(one)]
        self._report.renamed += len(gone)
        if gone:
            await self._state.call(lambda state: state.extras.forget(gone))

    async def _discard(self, step: Step) -> bool:
        decision = step.decision
        assert decision.local is not None, f"{decision.path}: nothing to take away here"
        path, stamp = decision.path, decision.local.stamp
        try:
            await in_thread(renaming.discard, self._root_fd, path, stamp, trash=self._trash)
        except LocalError:
            raise
        except FwsyncError as error:
            await self.fail([Problem.of(path, error)])
            return False
        await in_thread(renaming.remove_empty, self._root_fd, path.rpartition("/")[0])
        return True

    async def end_forgetting(self) -> None:
        """Note what is left, once all is forgotten."""
        root_fd = self._root_fd
        await self._state.call(
            lambda state: extras_noted.note_only(root_fd, state.extras.scanned.noted())
        )


def _count(state: State) -> int:
    return sum(state.extras.count(kind) for kind in Kind)


def _wholes(state: State, steps: Sequence[Step]) -> list[Whole]:
    """Sidecars with their content, of files that are here."""
    there = state.extras.have_base([one.about for one in steps if one.about is not None])
    todo = [one for one in steps if one.about is None or one.about in there]
    contents = state.extras.contents([one.decision.path for one in todo])
    return [Whole(one.decision, contents[one.decision.path]) for one in todo]


def _record(state: State, rows: Sequence[tuple[Kind, str, Outcome]]) -> None:
    state.extras.record(rows)


def _as_it_is(step: Step) -> Outcome:
    decision = step.decision
    return Outcome(decision, decision.local, decision.remote, hashed_at_ns=step.hashed_at_ns)


def _is_input(decision: Decision) -> bool:
    """Does it lie in a container, and not in the analysis?"""
    assert decision.remote is not None, f"{decision.path}: nothing to fetch"
    return isinstance(decision.remote.container.level, Level)


def _grouped(steps: Iterable[Step]) -> Iterator[list[Step]]:
    group: list[Step] = []
    size = 0
    for one in steps:
        if group and (len(group) >= _LAND_FILES or size >= _LAND_BYTES):
            yield group
            group, size = [], 0
        group.append(one)
        size += one.decision.size
    if group:
        yield group
