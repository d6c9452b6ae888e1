"""Sidecars and files of analyses as they are listed, were written and lie here: what is to be done.

The one rule: it goes by pages of the state, so that memory does not grow with the project.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fwsync import scanner
from fwsync.errors import FwsyncError, LocalError
from fwsync.executor import Policy
from fwsync.extra import Extra, Kind, Written, judge, judge_unlisted
from fwsync.extras_writing import Move, Step
from fwsync.filters import Filters
from fwsync.metadata.sidecars import SUFFIX
from fwsync.model import Decision, LocalEntry, Mode, Problem, RelPath, Unknown, Verb
from fwsync.state import State, StateThread
from fwsync.state_extras import Compared
from fwsync.threads import in_thread, workers

#: Of what is not listed any more, what stays or goes here as it is.
_LEFT: Final = (Verb.HOLD, Verb.DELETE_LOCAL)

#: Files that are hashed at once.
_HASHERS: Final = 4


@dataclass(slots=True)
class Page:
    """What is to be done about some of them."""

    steps: list[Step]
    moves: list[Move]
    left_over: list[Step]  #: what is listed elsewhere now, and cannot move there
    problems: list[Problem]


class Comparison:
    """What is there, on record and here, for one look.

    Args:
        root: the folder.
        state: of the root.
        policy: what a run may do.
        kinds: what the listing was asked for.
        is_whole: nothing was left out by a selection.
        unlisted: what the listing could not see.
        only: which of the steps may be done; None: all.
    """

    def __init__(
        self,
        *,
        root: Path,
        state: StateThread,
        policy: Policy,
        kinds: Collection[Kind],
        is_whole: bool,
        unlisted: Iterable[Unknown],
        only: Callable[[Decision], bool] | None = None,
    ) -> None:
        self._only = only
        self._root = root
        self._state = state
        self._policy = policy
        self._filters = policy.ignore or Filters()
        self._kinds = kinds
        self._is_whole = is_whole
        self._gone = _Scopes(unlisted)

    async def not_listed(self, but: Collection[RelPath]) -> AsyncGenerator[Page, None]:
        """Those on record that are not listed, by pages; what is listed elsewhere moves there.

        Args:
            but: places to which nothing moves.
        """
        async with aclosing(self._pages(self._ask_unlisted)) as pages:
            async for rows in pages:
                steps, problems = await self._judged(rows)
                left = {one.decision.path: one for one in steps if is_(one, *_LEFT)}
                goes = [one for one in rows if one.goes_to is not None and _path_of(one) in left]
                wanted = {one.goes_to for one in goes if one.goes_to not in but}
                targets = await self._state.call(self._free, [one for one in wanted if one])
                moves: list[Move] = []
                for one in goes:
                    assert one.written is not None, "it is on record"
                    assert one.goes_to is not None, "it moves"
                    if (target := targets.pop(one.goes_to, None)) is not None:
                        moves.append(_move(left.pop(one.written.path), one.written, target))
                moved = {one.here.path for one in moves}
                left_over = [left[path] for path in map(_path_of, goes) if path in left]
                moved |= {one.decision.path for one in left_over}
                steps = [one for one in steps if one.decision.path not in moved]
                moves = [one for one in moves if self._may(one.step)]
                yield Page(self._which(steps), moves, self._which(left_over), problems)

    async def left_over(self) -> AsyncGenerator[list[Step], None]:
        """Those, by pages, that are here as they were, and were written elsewhere since."""
        async with aclosing(self._pages(self._ask_unlisted)) as pages:
            async for rows in pages:
                steps, _ = await self._judged([one for one in rows if one.is_there])
                yield self._which([one for one in steps if is_(one, *_LEFT)])

    async def out_of_step(self, but: Collection[RelPath]) -> AsyncGenerator[Page, None]:
        """Those that are listed and not in step, by pages.

        Args:
            but: places that something else moves to.
        """
        if not self._kinds:
            return
        async with aclosing(self._pages(self._ask_listed)) as pages:
            async for rows in pages:
                todo = [one for one in rows if _path_of(one) not in but]
                steps, problems = await self._judged(todo)
                yield Page(self._which(steps), [], [], problems)

    def _may(self, step: Step) -> bool:
        return self._only is None or self._only(step.decision)

    def _which(self, steps: list[Step]) -> list[Step]:
        return steps if self._only is None else [one for one in steps if self._may(one)]

    def _ask_unlisted(self, state: State, after: RelPath) -> list[Compared]:
        return state.extras.unlisted(self._kinds, after)

    def _ask_listed(self, state: State, after: RelPath) -> list[Compared]:
        return state.extras.listed(after)

    async def _pages(
        self, ask: Callable[[State, RelPath], list[Compared]]
    ) -> AsyncGenerator[list[Compared], None]:
        after: RelPath | None = RelPath("")
        while after is not None:
            rows, after = await self._state.call(self._page, ask, after)
            if rows:
                yield rows

    def _page(
        self, state: State, ask: Callable[[State, RelPath], list[Compared]], after: RelPath
    ) -> tuple[list[Compared], RelPath | None]:
        """Those of a page that take part, and its last path; None: it is the end."""
        rows = ask(state, after)
        return self._taking_part(state, rows), _path_of(rows[-1]) if rows else None

    def _taking_part(self, state: State, rows: Iterable[Compared]) -> list[Compared]:
        seen = _Scopes(state.extras.scanned.unseen)
        return [
            one for one in rows if not seen.covers(_path_of(one)) and self._takes_part(state, one)
        ]

    def _free(self, state: State, paths: Iterable[RelPath]) -> dict[RelPath, Extra]:
        """What is listed at those of these paths where nothing is here."""
        found = [one for path in paths if (one := state.extras.listed_at(path)) is not None]
        rows = self._taking_part(state, (one for one in found if one.here is None))
        return {one.extra.path: one.extra for one in rows if one.extra is not None}

    async def _judged(self, rows: Sequence[Compared]) -> tuple[list[Step], list[Problem]]:
        """What is to be done about some of them, and what could not be read."""
        read, problems = await self._read(rows)
        steps: list[Step] = []
        for one in rows:
            hashed_at_ns = 0
            if one.here is not None and one.here.etag is None:
                if one.here.path not in read:
                    continue
                here, hashed_at_ns = read[one.here.path]
                one = replace(one, here=here)  # noqa: PLW2901 - the same, read
            if (step := self._judge(one, hashed_at_ns)) is not None:
                steps.append(step)
        return steps, problems

    def _takes_part(self, state: State, one: Compared) -> bool:
        """As what it speaks of does, or by itself where it is a file of an analysis."""
        extra, bounds = one.extra, self._policy.bounds
        if not self._filters.is_in(_path_of(one)):
            return False
        if extra is None:
            return True
        of = RelPath(extra.path.removesuffix(SUFFIX)) if extra.kind is Kind.SIDECAR else extra.path
        if not self._filters.is_in(extra.about if extra.of_file else of):
            return False
        if not (extra.of_file or extra.kind is Kind.ANALYSIS):
            return True
        if not bounds.are_set:
            return True
        file = state.extras.listed_file(extra.about) if extra.of_file else extra.entry
        path = extra.about if extra.of_file else extra.path
        return not bounds.leave_out(Decision(Verb.DOWNLOAD, path, None, file), time.time_ns())

    def _judge(self, one: Compared, hashed_at_ns: int) -> Step | None:
        extra, written = one.extra, one.written
        if extra is not None:
            about = extra.about if extra.of_file else None
            decision = judge(extra, written, one.here)
            return Step(extra.kind, decision, extra.key, about, hashed_at_ns)
        assert written is not None, "it is listed or on record"
        is_asked = written.kind in self._kinds and self._is_whole
        is_gone = is_asked and not self._gone.covers(written.path)
        rules = self._policy.rules
        delete = rules.delete_down and rules.mode is not Mode.UP
        decision = judge_unlisted(written, one.here, is_gone=is_gone, delete=delete)
        if decision.verb is Verb.NOTHING and rules.mode is Mode.UP:
            return None  # of no matter to what goes up
        return Step(written.kind, decision, hashed_at_ns=hashed_at_ns)

    async def _read(
        self, rows: Sequence[Compared]
    ) -> tuple[dict[RelPath, tuple[LocalEntry, int]], list[Problem]]:
        """What stands at their paths, where nothing says that it is as it was written."""
        read: dict[RelPath, tuple[LocalEntry, int]] = {}
        problems: list[Problem] = []
        todo = iter([one for one in rows if one.here is not None and one.here.etag is None])

        async def worker() -> None:
            for one in todo:
                here = one.here
                assert here is not None, "it is read because it is there"
                wanted = one.extra is not None and one.extra.kind is Kind.ANALYSIS
                try:
                    read[here.path] = await in_thread(
                        scanner.hash_file, self._root, here, want_digest=wanted
                    )
                except LocalError:
                    raise
                except FwsyncError as error:
                    problems.append(Problem.of(here.path, error))

        async with workers() as group:
            for _ in range(_HASHERS):
                group.create_task(worker())
        return read, problems


def is_(step: Step, *verbs: Verb) -> bool:
    """Is one of these to be done?"""
    return step.decision.verb in verbs


class _Scopes:
    """Places that could not be seen."""

    def __init__(self, unknown: Iterable[Unknown]) -> None:
        self._scopes = {one.scope for one in unknown}

    def covers(self, path: RelPath) -> bool:
        if not self._scopes:
            return False
        if "" in self._scopes or path in self._scopes:
            return True
        end = path.find("/")
        while end > 0:
            if path[:end] in self._scopes:
                return True
            end = path.find("/", end + 1)
        return False


def _path_of(one: Compared) -> RelPath:
    if one.extra is not None:
        return one.extra.path
    assert one.written is not None, "it is listed or on record"
    return one.written.path


def _move(left: Step, written: Written, extra: Extra) -> Move:
    """What would be left at one path and written at another one is moved there."""
    here = left.decision.local
    assert here is not None, f"{left.decision.path}: it is left because it is here"
    about = extra.about if extra.of_file else None
    decision = judge(extra, None, None)
    if extra.entry.etag == written.remote_etag:
        decision = replace(decision, verb=Verb.ADOPT)
    return Move(here, Step(extra.kind, decision, extra.key, about), left.hashed_at_ns)
