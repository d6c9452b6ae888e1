"""Carry up to the server what has moved here: the renames there.

The one rule: no bytes move, and none are lost. Each file is looked at again on the server before
it gets its new path, which must be free; a whole container moves where all that it held has moved
alike, so that what is said of it stays with it. What the server does not do is done by paths, as
if nothing were known of moves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from fwsync.asides import (
    BEGUN,
    BEGUN_FILES,
    BEGUN_FOLDERS,
    DOES_NOT,
    Asides,
    aside_name,
    begun_by_us,
    finish_moves,
    moved,
)
from fwsync.errors import FileProblem, FwsyncError, Garbled, SourceChanged
from fwsync.model import Decision, Outcome, Problem, RelPath, RemoteEntry, Verb
from fwsync.moves import Move, Spot, folders_of, in_order
from fwsync.moves_up import Folded, folded, now_at
from fwsync.ports import Movable
from fwsync.reconcile import Rules, judge
from fwsync.state import State, StateThread
from fwsync.threads import workers
from fwsync.turned_back import begun_moves

#: Files that are moved side by side.
_WORKERS: Final = 8

#: Outcomes that are recorded together.
_BATCH: Final = 64

#: Steps that come behind the renames.
_BEHIND: Final = frozenset(
    (Verb.UPLOAD, Verb.DOWNLOAD, Verb.CONFLICT, Verb.DELETE_LOCAL, Verb.DELETE_REMOTE)
)


class _Namesake(FileProblem):
    """What has the name there is called otherwise here."""


@dataclass(slots=True)
class _Job:
    """A file on its way to another path on the server."""

    decision: Decision
    base_path: RelPath  #: where it was agreed on
    at: RelPath  #: where it is there now, as far as is known
    entry: RemoteEntry | None = None  #: as it is there now; None: as the plan saw it

    @property
    def to(self) -> RelPath:
        return self.decision.path


@dataclass(slots=True)
class CarriedUp:
    """What came of it, for the steps that follow."""

    folders: dict[str, str] = field(default_factory=dict)  #: where they are now, by old paths
    #: What the server did not do: sent, and deleted there as the rules have it.
    instead: list[Decision] = field(default_factory=list)
    #: Where something was, or belongs, that still has a name for a moment: what is made there in
    #: the meantime would keep it from coming home.
    waiting: frozenset[str] = frozenset()

    def waits(self, path: str) -> bool:
        """May nothing be done at this path before something has come home?"""
        return path in self.waiting or _lies_below(path, self.waiting)

    def transfers(self, planned: Sequence[Decision]) -> list[Decision]:
        """Those of the plan that move bytes, and those instead; without what waits."""
        instead = [one for one in self.instead if one.verb in (Verb.UPLOAD, Verb.DOWNLOAD)]
        paths = {one.path for one in instead}  # what is done instead is by the server as it is
        planned = [one for one in planned if one.path not in paths]
        return [one for one in (*planned, *instead) if not self.waits(one.path)]

    def with_folders(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """The steps of the plan, and those instead: what is to be deleted, where it is now."""
        for one in (*decisions, *self.instead):
            if self.waits(one.path):
                continue
            path = RelPath(now_at(one.path, self.folders))
            if one.verb is not Verb.DELETE_REMOTE or path == one.path:
                yield one
                continue
            remote = one.remote and replace(one.remote, path=path)
            base = one.base and replace(one.base, path=path)
            yield replace(one, path=path, remote=remote, base=base)


class MoverUp:
    """Carries out the renames of a plan on the server.

    Args:
        remote: where to.
        state: knows what was agreed on.
        asides: what has a name for a moment only.
        rules: what the user asked for.
        is_in: False for a path that is filtered out: it goes along with its folder.
    """

    def __init__(
        self,
        remote: Movable,
        state: StateThread,
        asides: Asides,
        rules: Rules,
        is_in: Callable[[RelPath], bool] = lambda _path: True,
    ) -> None:
        self._remote = remote
        self._state = state
        self._rules = rules
        self._is_in = is_in
        self._aside = asides
        self._rings: set[str] = set()  # paths of folders that change places and are stuck
        self._raced: set[str] = set()  # folders that are not what was listed any more
        self.carried = CarriedUp()

    async def carry_out(self, decisions: Sequence[Decision]) -> AsyncIterator[list[Outcome]]:
        """Rename, some files at a time; outcomes come when they are so.

        What the same plan deletes on the server later was deleted here. That is written down now,
        so that it goes along with its folder until then.

        Args:
            decisions: of the plan, of which only the renames are made.

        Raises:
            AuthError, LocalError, Unavailable: the run cannot go on.
        """
        renames = [one for one in decisions if one.verb is Verb.RENAME_REMOTE]
        doomed = [one.path for one in decisions if one.verb is Verb.DELETE_REMOTE]
        await self._state.call(lambda state: state.moves.hold(doomed))
        rows = [one for one in renames if one.remote is None]
        yield [Outcome(one, local=one.local) for one in rows]
        jobs = [_job(one) for one in renames if one.remote is not None]
        moves = [Move(job.at, job.to) for job in jobs if job.at != job.to]
        moves += [Move(one.base.path, one.path) for one in rows if one.base is not None]
        new = {one.path for one in decisions if one.verb is Verb.UPLOAD and one.remote is None}
        away = [job.base_path for job in jobs if job.at != job.base_path]
        whole = await self._state.call(self._folded, moves, new, away)
        every = jobs
        await self._begin_in_two(every, _in_two_steps(jobs, whole) if whole.folders else {})
        await self._begin(BEGUN_FOLDERS, whole.folders)
        await self._move_folders(whole)
        yield [_left(job) for job in jobs if _lies_below(job.at, self._raced)]
        jobs = [job for job in jobs if not _lies_below(job.at, self._raced)]
        await self._see_what_waits()
        yield [_waiting(job.decision) for job in jobs if self._waits(job)]
        jobs = [job for job in jobs if not self._waits(job)]
        for job in jobs:
            job.at = RelPath(now_at(job.at, self.carried.folders))
        yield [_done(job, _there(job, job.to)) for job in jobs if job.at == job.to]
        yield await self._state.call(self._riders)
        left = [job for job in jobs if job.at != job.to]
        taken = {job.at for job in left}
        free = [job for job in left if job.to not in taken and not _lies_below(job.to, taken)]
        for at in range(0, len(free), _BATCH):
            await self._begin(BEGUN_FILES, _where_to(free[at : at + _BATCH]))
            async for outcomes in self._side_by_side(free[at : at + _BATCH]):
                yield outcomes
        chained = [job for job in left if job not in free]
        await self._begin_in_two(every, _where_to(chained))
        async for outcomes in self._one_after_the_other(chained):
            yield outcomes
        await self._see_what_waits()
        yield [_waiting(one) for one in decisions if self._comes_later(one)]
        await nothing_begun(self._state, self._aside)

    async def _begin_in_two(self, jobs: Sequence[_Job], more: Mapping[str, str]) -> None:
        """Write down what is moved in two steps; and what of these files was so begun before."""
        text = await self._state.call(State.setting, BEGUN)
        begun: dict[str, str] = json.loads(text or "{}")
        ids = _where_to(jobs)
        in_two = {one: to for one, to in begun.items() if one in ids}
        in_two.update(more)
        if in_two != begun:
            text = json.dumps(in_two) if in_two else None
            await self._state.call(State.set_setting, BEGUN, text)

    async def _begin(self, what: str, moves: Mapping[str, str]) -> None:
        """Write down what is moved now: a run that ends in between cannot say what has moved."""
        if moves:
            await self._state.call(State.set_setting, what, json.dumps({**moves}))

    async def _see_what_waits(self) -> None:
        paths = {path for one in await self._aside.all() for path in (one.aside, *one.homes)}
        self.carried.waiting = frozenset(paths | self._rings)

    def _waits(self, job: _Job) -> bool:
        return self.carried.waits(job.at) or self.carried.waits(job.to)

    def _comes_later(self, one: Decision) -> bool:
        """Is it a step behind the renames that waits?"""
        return one.verb in _BEHIND and self.carried.waits(one.path)

    # ------------------------------------------------------------------------- containers

    def _folded(
        self, state: State, moves: Sequence[Move], new: Set[RelPath], away: Sequence[RelPath]
    ) -> Folded:
        # What was agreed on at a path, and has left it on the server, holds no folder there.
        spots = state.moves.at(away)
        gone = [path for path in away if spots[path].remote is None]
        left = Counter(folder for path in gone for folder in folders_of(path))

        def agreed_below(folder: str) -> int:
            others = sum(map(self._is_in, state.moves.others_below(folder)))
            return state.moves.agreed_below(folder) - left[folder] + others

        folders = dict(folded(moves, agreed_below).folders)
        leaving, coming = {one.old for one in moves}, new | {one.new for one in moves}
        for folder in sorted(folders, key=len, reverse=True):
            if folder not in folders:
                continue
            # What goes along would come to where another file of its name is to be, or be sent.
            along = {base.path for base, _ in state.moves.held_below(folder)}
            along |= {*state.moves.others_below(folder)} - leaving
            if any(now_at(one, folders) in coming for one in along):
                stays = {one for one in folders if f"{folder}/".startswith(f"{one}/")}
                folders = {one: to for one, to in folders.items() if one not in stays}
        return Folded(folders)

    async def _move_folders(self, whole: Folded) -> None:
        """Move what can be moved as one, from the top: below it, less is left to do."""
        moved = self.carried.folders
        for folders in whole.depths():
            await self._see_what_waits()
            pairs = [(now_at(one, moved), whole.folders[one]) for one in folders]
            todo = [(one, at, to) for one, (at, to) in zip(folders, pairs, strict=True) if at != to]
            at_now = {number: at for number, (_, at, _) in enumerate(todo)}
            stuck: set[int] = set()
            for number, is_aside in in_order([(at, to) for _, at, to in todo]):
                folder, at, to = todo[number]
                if number in stuck or _lies_below(folder, self._raced):
                    continue
                if self.carried.waits(at) or self.carried.waits(to):
                    continue
                target = aside_name(to) if is_aside else to
                if is_aside:
                    await self._aside.begin(is_folder=True, aside=RelPath(target), to=to, back=at)
                elif at_now[number] == at and any(at_now[one] != todo[one][1] for one in at_now):
                    await self._aside.follow(at, to)
                if not await self._move_folder(folder, at_now[number], target):
                    stuck.add(number)
                    if at_now[number] != at:  # it has the name of a moment: back to its own
                        await self._give_up_ring()
                    continue
                at_now[number] = target
                if not is_aside:
                    moved[folder] = to
                    await self._aside.end(to)

    async def _give_up_ring(self) -> None:
        """What has the name of a moment gets one that is free; the next run turns the rest."""
        for one in await self._aside.all():
            self._rings.update(one.homes if one.further else ())
        await finish_moves(self._remote, self._aside)

    async def _move_folder(self, folder: str, old: str, new: str) -> bool:
        try:
            return await self._remote.move_folder(RelPath(old), RelPath(new))
        except SourceChanged:
            self._raced.add(folder)
            return False
        except DOES_NOT:
            return False

    def _riders(self, state: State) -> list[Outcome]:
        """What was deleted here and is on the server has gone along with its folder."""
        outcomes = []
        for folder in sorted(self.carried.folders):
            for base, remote in state.moves.held_below(folder):
                path = RelPath(now_at(base.path, self.carried.folders))
                if path != base.path:
                    there = replace(remote, path=path)
                    decision = Decision(Verb.RENAME_REMOTE, path, None, there, base)
                    outcomes.append(Outcome(decision, remote=there))
        return list({one.decision.path: one for one in outcomes}.values())

    # ------------------------------------------------------------------------------ files

    async def _side_by_side(self, jobs: Sequence[_Job]) -> AsyncIterator[list[Outcome]]:
        """Where the run cannot go on, what is under way is ended, and what came of it is told."""
        outcomes: list[Outcome] = []
        errors: list[FwsyncError] = []
        todo = iter(jobs)

        async def work() -> None:
            for job in todo:
                if errors:
                    return
                try:
                    outcomes.extend(await self._one(job))
                except FwsyncError as error:
                    errors.append(error)

        async with workers() as group:
            for _ in range(_WORKERS):
                group.create_task(work())
        yield outcomes
        for error in errors:
            raise error

    async def _one_after_the_other(self, jobs: Sequence[_Job]) -> AsyncIterator[list[Outcome]]:
        """Each when its new path is free; where files wait for each other, one steps aside.

        What goes round with it has happened when all have: a run that is killed in the middle
        leaves on record where they were.
        """
        stuck: set[int] = set()
        ring: list[Outcome] = []
        is_open = False
        for number, is_aside in in_order([(job.at, job.to) for job in jobs]):
            job = jobs[number]
            if number in stuck:
                continue
            is_last = job.entry is not None
            if is_open and not is_aside and not is_last:
                await self._aside.follow(job.at, job.to)
            is_open |= is_aside
            outcomes = await (self._put_aside(job) if is_aside else self._one(job))
            ring += outcomes
            if any(one.problem is not None for one in outcomes):
                stuck.add(number)
            elif not is_aside:  # what is stuck may have the name of a moment still
                await self._aside.end(job.to)
                is_open = is_open and not is_last
            if not is_open:
                yield ring
                ring = []
        if stuck:
            await self._give_up_ring()
            await self._see_what_waits()
        yield [_waiting(one.decision) if self._is_in_ring(one) else one for one in ring]

    def _is_in_ring(self, outcome: Outcome) -> bool:
        return outcome.problem is None and self.carried.waits(outcome.decision.path)

    async def _put_aside(self, job: _Job) -> list[Outcome]:
        """Free the path of a file that waits for another."""
        target = aside_name(job.to)
        await self._aside.begin(is_folder=False, aside=target, to=job.to, back=job.at)
        try:
            job.entry = await self._move(job, target)
        except DOES_NOT as error:
            return await self._instead(job, error)
        job.at = target
        return []

    async def _one(self, job: _Job) -> list[Outcome]:
        """One file; what the server does not do is left to the paths."""
        try:
            return [_done(job, await self._move(job, job.to))]
        except DOES_NOT as error:
            return await self._instead(job, error)

    async def _move(self, job: _Job, to: RelPath) -> RemoteEntry:
        """Look again, and move it.

        Raises:
            SourceChanged: it is not what the plan saw, or something has that path.
            Forbidden, Refused, NotFound, FileProblem: the server does not move it.
        """
        seen = job.entry or job.decision.remote
        assert seen is not None, f"{job.to}: nothing to move there"
        now = await self._remote.look(job.at)
        if now is None or now.etag != seen.etag or now.file_id != seen.file_id:
            raise SourceChanged(f"{job.to}: changed on the server since the plan was made")
        there = await self._remote.look(to)
        if there is None or (there.file_id and there.file_id == now.file_id):
            return await moved(self._remote, now, to)  # or it is so called there, and not here
        called = await self._state.call(lambda state: state.moves.listed_as(there.file_id))
        if called not in (None, to):
            raise _Namesake(
                f"{job.to}: the server has another file of this name, which is {called!r} here",
                hint="rename one of the two",
            )
        raise SourceChanged(f"{job.to}: is on the server meanwhile")

    async def _instead(self, job: _Job, error: FwsyncError) -> list[Outcome]:
        """What is to be done by paths, where a move was not to be had."""
        if isinstance(error, _Namesake):
            return [Outcome(job.decision, problem=Problem.of(job.to, error))]
        if isinstance(error, SourceChanged | Garbled) or job.entry is not None:
            problem = Problem.of(job.to, error)
            hint = problem.hint or "the next run compares it again"
            return [Outcome(job.decision, problem=replace(problem, hint=hint, retryable=True))]
        spots = await self._state.call(lambda state: state.moves.at([job.at, job.to]))
        outcomes: list[Outcome] = []
        base = job.decision.base
        if base is not None and job.at != job.base_path:
            # Its folder has moved, and it with that: what was agreed on goes along first.
            there = _there(job, job.at)
            went = Decision(Verb.RENAME_REMOTE, job.at, None, there, base)
            outcomes.append(Outcome(went, remote=there))
            agreed = replace(base, path=job.at)
            spots[job.at] = replace(spots[job.at], remote=there, base=agreed)
        for path in (job.at, job.to):
            spot = _as_it_is(spots[path], job, path)
            if spot.local is None and spot.remote is None and spot.base is None:
                continue
            decision = judge(path, spot.local, spot.remote, spot.base, self._rules)
            if decision.verb in (Verb.ADOPT, Verb.HOLD, Verb.FORGET, Verb.REPORT):
                outcomes.append(Outcome(decision, local=spot.local, remote=spot.remote))
            elif decision.verb is not Verb.NOTHING:
                self.carried.instead.append(decision)
        return outcomes


async def nothing_renamed(state: StateThread, asides: Asides) -> None:
    """The same of a run that has renamed nothing there: a plan may leave out what is half-way."""
    if not await state.call(_is_half_way):
        await nothing_begun(state, asides)


def _is_half_way(state: State) -> bool:
    begun = begun_by_us(state)
    if not (begun.in_two or begun.folders or begun.files):
        return False  # as nearly always: nothing is asked for
    found = state.moves.find()
    return bool(begun_moves(found, state.moves.spots(found), begun))


async def nothing_begun(state: StateThread, asides: Asides) -> None:
    """No file is on its way in two steps: what others move is their doing from now on.

    Where something has a name for a moment still, there are such files.
    """
    for kept in (BEGUN, BEGUN_FOLDERS, BEGUN_FILES):
        if await state.call(State.setting, kept) and not await asides.all():
            await state.call(State.set_setting, kept, None)


def _job(decision: Decision) -> _Job:
    assert decision.base is not None, f"{decision.path}: moved, but never agreed on"
    assert decision.remote is not None, f"{decision.path}: nothing to move there"
    return _Job(decision, decision.base.path, decision.remote.path)


def _in_two_steps(jobs: Sequence[_Job], whole: Folded) -> dict[str, str]:
    """Files whose folder moves to where they do not belong: by their ids, where they do.

    So does one that goes round with others, if that ends in the middle.
    """
    rings = {one for one, to in whole.folders.items() if to in whole.folders}
    return {
        job.decision.remote.file_id: job.to
        for job in jobs
        if job.decision.remote is not None
        and (now_at(job.at, whole.folders) not in (job.at, job.to) or _lies_below(job.at, rings))
    }


def _where_to(jobs: Sequence[_Job]) -> dict[str, str]:
    """Where files are to go, by their ids."""
    known = [(job, job.decision.remote) for job in jobs]
    return {there.file_id: job.to for job, there in known if there is not None}


def _there(job: _Job, path: RelPath) -> RemoteEntry:
    """The file at another path, where its folder has moved."""
    remote = job.decision.remote
    assert remote is not None, f"{job.to}: nothing to move there"
    return replace(remote, path=path)


def _done(job: _Job, there: RemoteEntry) -> Outcome:
    return Outcome(job.decision, local=job.decision.local, remote=there)


def _left(job: _Job) -> Outcome:
    """A file whose folder has just been moved by others."""
    problem = Problem(
        job.to,
        "its folder has got another path on the server since the plan was made",
        "the next run compares it again",
        retryable=True,
    )
    return Outcome(job.decision, problem=problem)


def _waiting(decision: Decision) -> Outcome:
    """A step to or from where something is expected that has a name for a moment."""
    problem = Problem(
        decision.path,
        "its place on the server waits for something that has another name there for a moment",
        "the next run gives it its name, and goes on",
        retryable=True,
    )
    return Outcome(decision, problem=problem)


def _lies_below(path: str, taken: Set[str]) -> bool:
    while path := path.rpartition("/")[0]:
        if path in taken:
            return True
    return False


def _as_it_is(spot: Spot, job: _Job, path: RelPath) -> Spot:
    """What is known of a path; its file here may be one that the index has at another place."""
    if path == job.to and spot.local is None:
        return replace(spot, local=job.decision.local)
    return spot
