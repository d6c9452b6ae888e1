"""Sidecars of metadata and files of analyses: listed, and compared with what is here.

The one rule: what is neither new nor as we wrote it is left, and reported.

What is out of step comes from the state by pages, and is acted on by pages: memory does not
grow with the project.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from fwsync.executor import Policy
from fwsync.extra import BESIDE, HINT, Extra, Kind
from fwsync.extras_paged import Comparison, Page, is_
from fwsync.extras_writing import Step, Writer
from fwsync.model import (
    Decision,
    Problem,
    RelPath,
    RemoteEntry,
    Report,
    Unknown,
    Verb,
)
from fwsync.ports import RemoteReader
from fwsync.progress import Progress
from fwsync.state import State, StateThread

_ELSEWHERE: Final = "lies elsewhere on the server now"


@dataclass(frozen=True, slots=True)
class View:
    """What is to be done about all of them."""

    decisions: tuple[Decision, ...] = ()  #: something is written, moved, deleted or reported
    differences: tuple[Problem, ...] = ()  #: what is not as the server says, or as it was written
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def differ(self, report: Report) -> None:
        """Put into a report what is not as it should be."""
        report.difference_list += self.differences
        report.problem_list += self.problems
        report.notes += self.notes


@dataclass(slots=True)
class _Tally:
    """How many there are of a kind, and the first."""

    count: int = 0
    first: str = ""

    def add(self, paths: Iterable[RelPath]) -> None:
        for path in paths:
            self.first = self.first or path
            self.count += 1

    @property
    def others(self) -> str:
        return f", and {self.count - 1:,} more" if self.count > 1 else ""


@dataclass(slots=True)
class _Seen:
    """What the pages of what is not listed had."""

    held: _Tally = field(default_factory=_Tally)
    leaving: _Tally = field(default_factory=_Tally)
    forgotten: _Tally = field(default_factory=_Tally)
    left_over: bool = False

    def take(self, steps: Iterable[Step]) -> None:
        verbs = {
            Verb.HOLD: self.held,
            Verb.DELETE_LOCAL: self.leaving,
            Verb.FORGET: self.forgotten,
        }
        for one in steps:
            if (tally := verbs.get(one.decision.verb)) is not None:
                tally.add([one.decision.path])


class Chosen(Protocol):
    """Which of the steps may be done, where not all may."""

    def takes(self, decision: Decision) -> bool:
        """Is this one of them?"""
        ...

    def left_beside(self) -> list[Problem]:
        """Those that were to be done and did not come up; at the end."""
        ...


class Extras:
    """What stands beside the user's files, for one root and one remote.

    Implements :class:`fwsync.extra.ExtraSink`.

    Args:
        root: the folder; ``root_fd`` is its descriptor.
        state: of the root.
        reader: where files of analyses come from.
        policy: what a run may do.
        progress: is told what happens.
        kinds: what the listing is asked for; empty: only what is on record is looked after.
        is_whole: nothing is left out by a selection: what is not listed is gone.
        lies_at: where one of them belongs on this disk.
    """

    def __init__(
        self,
        *,
        root: Path,
        root_fd: int,
        state: StateThread,
        reader: RemoteReader,
        policy: Policy,
        progress: Progress,
        kinds: Collection[Kind] = (),
        is_whole: bool = True,
        lies_at: Callable[[Extra], RelPath] = lambda extra: extra.path,
    ) -> None:
        self._root = root
        self._root_fd = root_fd
        self._state = state
        self._reader = reader
        self._policy = policy
        self._progress = progress
        self._kinds = frozenset(kinds)
        self._is_whole = is_whole
        self._lies_at = lies_at
        self._unlisted: list[Unknown] = []
        self.chosen: Chosen | None = None  #: what of it may be done; None: all

    # -- the sink

    async def begin(self) -> None:
        """See :meth:`fwsync.extra.ExtraSink.begin`."""
        self._unlisted = []
        await self._state.call(lambda state: state.extras.start_listing())

    async def take(self, page: Sequence[Extra]) -> None:
        """See :meth:`fwsync.extra.ExtraSink.take`."""
        placed = [self._placed(one) for one in page]
        await self._state.call(lambda state: state.extras.take_listing(placed))

    def _placed(self, extra: Extra) -> Extra:
        path = self._lies_at(extra)
        if path == extra.path:
            return extra
        return replace(extra, entry=replace(extra.entry, path=path))

    async def unseen(self, scope: RelPath, reason: str) -> None:
        """See :meth:`fwsync.extra.ExtraSink.unseen`."""
        self._unlisted.append(Unknown(scope, reason))

    async def hold(self, texts: Sequence[tuple[str, bytes]]) -> None:
        """See :meth:`fwsync.extra.ExtraSink.hold`."""
        await self._state.call(lambda state: state.extras.waiting.hold(texts))

    async def take_held(self, ids: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`fwsync.extra.ExtraSink.take_held`."""
        return await self._state.call(lambda state: state.extras.waiting.take_held(ids))

    async def owe(self, page: Sequence[tuple[str, RemoteEntry]]) -> None:
        """See :meth:`fwsync.extra.ExtraSink.owe`."""
        await self._state.call(lambda state: state.extras.waiting.owe(page))

    async def take_owed(
        self, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], RemoteEntry]:
        """See :meth:`fwsync.extra.ExtraSink.take_owed`."""
        return await self._state.call(lambda state: state.extras.waiting.take_owed(keys))

    async def end_owed(self) -> int:
        """See :meth:`fwsync.extra.ExtraSink.end_owed`."""
        return await self._state.call(lambda state: state.extras.waiting.end_owed())

    # -- looking and acting

    async def follow(self, report: Report) -> None:
        """Look and act, after a cycle; what came of it goes into the cycle's report.

        What moves, moves first; what is gone goes last.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on; what was done is recorded.
        """
        started = time.monotonic()
        writer = Writer(
            root_fd=self._root_fd,
            state=self._state,
            reader=self._reader,
            policy=self._policy,
            progress=self._progress,
            report=report,
        )
        await writer.fail(self._unlisted_problems())
        found = self._comparison()
        seen, stays = _Seen(), set[RelPath]()
        async with aclosing(found.not_listed(but=stays)) as pages:
            async for page in pages:
                await self._tell(writer, report, page)
                seen.take(page.steps)
                seen.left_over = seen.left_over or bool(page.left_over)
                await writer.touched([one for one in page.steps if is_(one, Verb.ADOPT)])
                stays |= await writer.move(page.moves)
        report.notes += await self._notes(seen.held)
        async with aclosing(found.out_of_step(but=stays)) as pages:
            async for page in pages:
                await self._tell(writer, report, page)
                await writer.write(page.steps)
        await writer.finish()
        await self._let_go(found, writer, seen)
        if self.chosen is not None:
            await writer.fail(self.chosen.left_beside())
        report.seconds += time.monotonic() - started

    @staticmethod
    async def _let_go(found: Comparison, writer: Writer, seen: _Seen) -> None:
        """What is gone, or lies elsewhere by now."""
        may_delete = await writer.may_delete(seen.leaving.count, seen.leaving.first)
        if seen.left_over:
            async with aclosing(found.left_over()) as pages:
                async for steps in pages:
                    await writer.clear(steps)
        if may_delete or seen.forgotten.count:
            async with aclosing(found.not_listed(but=())) as pages:
                async for page in pages:
                    await writer.forget(page.steps, may_delete=may_delete)
        if may_delete or seen.forgotten.count or seen.left_over:
            await writer.end_forgetting()

    @staticmethod
    async def _tell(writer: Writer, report: Report, page: Page) -> None:
        """Say what is left as it is."""
        await writer.fail(page.problems)
        left = [_left(one.decision) for one in page.steps if is_(one, Verb.REPORT)]
        report.skipped += len(left)
        report.difference_list += left

    async def look(self) -> View:
        """Compare what is listed, what was written and what is here; after a cycle's look."""
        told = Verb.DOWNLOAD, Verb.DELETE_LOCAL, Verb.REPORT
        decisions: list[Decision] = []
        differences: list[Problem] = []
        problems = self._unlisted_problems()
        found = self._comparison()
        seen, moved = _Seen(), set[RelPath]()

        def take(page: Page) -> None:
            seen.take(page.steps)
            problems.extend(page.problems)
            moved.update(one.step.decision.path for one in page.moves)
            differences.extend(Problem(one.decision.path, _ELSEWHERE) for one in page.left_over)
            for one in (*page.steps, *(move.step for move in page.moves)):
                if is_(one, *told):
                    decisions.append(one.decision)
                if not is_(one, Verb.ADOPT, Verb.FORGET):
                    differences.append(_left(one.decision))

        async with aclosing(found.not_listed(but=moved)) as pages:
            async for page in pages:
                take(page)
        async with aclosing(found.out_of_step(but=moved)) as pages:
            async for page in pages:
                take(page)
        notes = tuple(await self._notes(seen.held))
        return View(tuple(decisions), tuple(differences), tuple(problems), notes)

    def _comparison(self) -> Comparison:
        return Comparison(
            root=self._root,
            state=self._state,
            policy=self._policy,
            kinds=self._kinds,
            is_whole=self._is_whole,
            unlisted=self._unlisted,
            only=None if self.chosen is None else self.chosen.takes,
        )

    def _unlisted_problems(self) -> list[Problem]:
        return [
            Problem(one.scope or ".", one.reason, retryable=True)
            for one in self._unlisted
            if one.reason.startswith(BESIDE)
        ]

    async def _notes(self, held: _Tally) -> list[str]:
        in_the_way, unrecorded = await self._state.call(self._uncounted)
        return list(_notes(in_the_way, unrecorded, held))

    def _uncounted(self, state: State) -> tuple[_Tally, _Tally]:
        in_the_way = state.extras.in_the_way() if self._kinds else (0, "")
        return _Tally(*in_the_way), _Tally(*state.extras.unrecorded())


def _left(decision: Decision) -> Problem:
    hint = HINT if decision.verb is Verb.REPORT else ""
    return Problem(decision.path, decision.reason, hint)


def _notes(in_the_way: _Tally, unrecorded: _Tally, held: _Tally) -> Iterator[str]:
    if in_the_way.count:
        others = f"{in_the_way.others} like it" if in_the_way.others else ""
        yield (
            f"no metadata are written to {in_the_way.first}: the project has a file of that "
            f"name{others}"
        )
    if unrecorded.count:
        others = f"{unrecorded.others} like it" if unrecorded.others else ""
        yield (
            f"{unrecorded.first} stands where metadata or analyses were written, and is not known "
            f"any more{others}: not sent; a pull with --metadata and --analyses looks which they "
            "are"
        )
    if held.count:
        yield (
            f"left here, though gone from the server: {held.first}{held.others} (written from "
            "metadata or analyses; --delete-down takes it to the trash)"
        )
