"""Carry up to the server what has moved here: which files, and the renames there.

The one rule: no bytes move, and none are lost. Each file is looked at again on the server before
it gets its new path, which must be free; a whole container moves where all that it held has moved
alike, so that what is said of it stays with it. What the server does not do is done by paths, as
if nothing were known of moves.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from fwsync.asides import Asides, aside_name
from fwsync.errors import (
    AuthError,
    FileProblem,
    Forbidden,
    FwsyncError,
    Garbled,
    LocalError,
    NotFound,
    Refused,
    RemoteError,
    SourceChanged,
    Unavailable,
)
from fwsync.model import Decision, Mode, Outcome, Problem, RelPath, RemoteEntry, Unknown, Verb
from fwsync.moves import Move, Spot, in_order
from fwsync.moves_up import Folded, carried_up, folded, now_at
from fwsync.ports import Movable
from fwsync.reconcile import Rules, Scopes, judge
from fwsync.state import State, StateThread
from fwsync.threads import workers

#: Where it is kept which files are moved with their folders first and then by themselves: the
#: paths they are to have, by their ids. A run that was killed in between goes on by it.
_BEGUN: Final = "moving_up_begun"

#: Files that are moved side by side.
_WORKERS: Final = 8

#: How often a move is asked for whose answer does not come; a storm of errors is over by then.
_TRIES: Final = 6

#: Outcomes that are recorded together.
_BATCH: Final = 64

#: What the server answers to a move that it does not make; or nothing that could be understood.
_DOES_NOT: Final = (Forbidden, Refused, NotFound, FileProblem, Garbled)


# -------------------------------------------------------------------------------- which


def with_moves_up(
    state: State,
    decisions: Iterable[Decision],
    *,
    rules: Rules,
    unknown: Sequence[Sequence[Unknown]],
    in_scope: Callable[[RelPath], bool],
    selects: bool = False,
    waits: bool = False,
) -> Iterator[Decision]:
    """The decisions of a run; where files have moved here, those that carry it up.

    For after ``State.out_of_step``, and for what :func:`fwsync.moving.with_moves` has left.

    Args:
        state: knows both sides, and what was agreed on.
        decisions: by paths, or by the server's ids.
        rules: what the user asked for.
        unknown: what could not be seen, of each side.
        in_scope: False takes a path out of the run.
        selects: only a part of the project was listed: what is missing may be in the other part.
        waits: some folder is not quiet yet. A file that is gone may be in it, and that it is gone
            is not written down before.
    """
    gone, come = state.moves.here() if rules.mode is not Mode.DOWN else ([], [])
    if waits:
        decisions = (one for one in decisions if one.verb is not Verb.HOLD or one.local is not None)
    if not gone or not come:
        yield from decisions
        return
    there = {move.old: move.new for move in state.moves.find()}
    # What was decided by the server's ids about others stands; so does what may not be sent.
    decided = list(decisions)
    left = {one.path for one in gone}
    renames = [one for one in decided if one.verb is Verb.RENAME]
    renames = [one for one in renames if one.base is None or one.base.path not in left]
    blocked = {part.path for one in renames for part in (one, one.local) if part}
    in_way = state.moves.in_way(come)
    reported = {one.path for one in decided if one.verb is Verb.REPORT and one.base is None}
    begun: dict[str, str] = json.loads(state.setting(_BEGUN) or "{}")
    # What is in its way may move, too; and where a move goes on, others have nothing to say.
    blocked |= reported - in_way.keys() - set(begun.values())
    unseen = [Scopes(side) for side in unknown]
    paths = {one.path for one in gone} | set(come) | set(there.values())
    spots = state.moves.at(paths)
    if selects:
        gone = [one for one in gone if one.path in there or spots[one.path].remote is not None]
    found = carried_up(
        gone,
        come,
        spots,
        rules=rules,
        is_seen=lambda path: not any(scopes.covers(path) for scopes in unseen),
        in_scope=in_scope,
        elsewhere=there,
        blocked=blocked.__contains__,
        in_way=in_way,
        begun=begun,
    )
    yield from found.decisions
    void = found.settled | {one.path for one in found.decisions}
    for decision in decided:
        followed = decision.base is not None and decision.base.path in void
        if decision.path not in void and not followed:
            yield decision


# ---------------------------------------------------------------------------- the renames


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

    def transfers(self) -> list[Decision]:
        """Those of them that move bytes."""
        return [one for one in self.instead if one.verb in (Verb.UPLOAD, Verb.DOWNLOAD)]

    def with_folders(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """The steps of the plan, and those instead: what is to be deleted, where it is now."""
        for one in decisions:
            path = RelPath(now_at(one.path, self.folders))
            if one.verb is not Verb.DELETE_REMOTE or path == one.path:
                yield one
                continue
            remote = one.remote and replace(one.remote, path=path)
            base = one.base and replace(one.base, path=path)
            yield replace(one, path=path, remote=remote, base=base)
        yield from self.instead


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
        moves = [Move(job.base_path, job.to) for job in jobs if job.at == job.base_path]
        moves += [Move(one.base.path, one.path) for one in rows if one.base is not None]
        whole = await self._state.call(self._folded, moves)
        in_two = _in_two_steps(jobs, whole) if whole.folders else {}
        if in_two:
            await self._state.call(State.set_setting, _BEGUN, json.dumps(in_two))
        await self._move_folders(whole)
        yield [_left(job) for job in jobs if _lies_below(job.at, self._raced)]
        jobs = [job for job in jobs if not _lies_below(job.at, self._raced)]
        for job in jobs:
            job.at = RelPath(now_at(job.at, self.carried.folders))
        yield [_done(job, _there(job, job.to)) for job in jobs if job.at == job.to]
        yield await self._state.call(self._riders)
        left = [job for job in jobs if job.at != job.to]
        taken = {job.at for job in left}
        free = [job for job in left if job.to not in taken and not _lies_below(job.to, taken)]
        for at in range(0, len(free), _BATCH):
            yield await self._side_by_side(free[at : at + _BATCH])
        chained = [job for job in left if job not in free]
        async for outcomes in self._one_after_the_other(chained):
            yield outcomes
        if in_two:
            await self._state.call(State.set_setting, _BEGUN, None)

    # ------------------------------------------------------------------------- containers

    def _folded(self, state: State, moves: Sequence[Move]) -> Folded:
        def agreed_below(folder: str) -> int:
            others = sum(map(self._is_in, state.moves.others_below(folder)))
            return state.moves.agreed_below(folder) + others

        return folded(moves, agreed_below)

    async def _move_folders(self, whole: Folded) -> None:
        """Move what can be moved as one, from the top: below it, less is left to do."""
        moved = self.carried.folders
        for folders in whole.depths():
            pairs = [(now_at(one, moved), whole.folders[one]) for one in folders]
            todo = [(one, at, to) for one, (at, to) in zip(folders, pairs, strict=True) if at != to]
            at_now = {number: at for number, (_, at, _) in enumerate(todo)}
            stuck: set[int] = set()
            for number, is_aside in in_order([(at, to) for _, at, to in todo]):
                folder, at, to = todo[number]
                if number in stuck or _lies_below(folder, self._raced):
                    continue
                target = aside_name(to) if is_aside else to
                if is_aside:
                    await self._aside.begin(is_folder=True, aside=RelPath(target), to=to, back=at)
                if not await self._move_folder(folder, at_now[number], target):
                    stuck.add(number)
                    if at_now[number] != at:  # it has the name of a moment: back to its own
                        await finish_moves(self._remote, self._aside)
                    continue
                at_now[number] = target
                if not is_aside:
                    moved[folder] = to
                    await self._aside.end(to)

    async def _move_folder(self, folder: str, old: str, new: str) -> bool:
        try:
            return await self._remote.move_folder(RelPath(old), RelPath(new))
        except SourceChanged:
            self._raced.add(folder)
            return False
        except _DOES_NOT:
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

    async def _side_by_side(self, jobs: Sequence[_Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        todo = iter(jobs)

        async def work() -> None:
            for job in todo:
                outcomes.extend(await self._one(job))

        async with workers() as group:
            for _ in range(_WORKERS):
                group.create_task(work())
        return outcomes

    async def _one_after_the_other(self, jobs: Sequence[_Job]) -> AsyncIterator[list[Outcome]]:
        """Each when its new path is free; where files wait for each other, one steps aside."""
        stuck: set[int] = set()
        for number, is_aside in in_order([(job.at, job.to) for job in jobs]):
            job = jobs[number]
            if number in stuck:
                continue
            outcomes = await (self._put_aside(job) if is_aside else self._one(job))
            yield outcomes
            if any(one.problem is not None for one in outcomes):
                stuck.add(number)
            elif not is_aside:  # what is stuck may have the name of a moment still
                await self._aside.end(job.to)
        if stuck:
            await finish_moves(self._remote, self._aside)

    async def _put_aside(self, job: _Job) -> list[Outcome]:
        """Free the path of a file that waits for another."""
        target = aside_name(job.to)
        await self._aside.begin(is_folder=False, aside=target, to=job.to, back=job.at)
        try:
            job.entry = await self._move(job, target)
        except _DOES_NOT as error:
            return await self._instead(job, error)
        job.at = target
        return []

    async def _one(self, job: _Job) -> list[Outcome]:
        """One file; what the server does not do is left to the paths."""
        try:
            return [_done(job, await self._move(job, job.to))]
        except _DOES_NOT as error:
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
        if await self._remote.look(to) is not None:
            raise SourceChanged(f"{job.to}: is on the server meanwhile")
        return await _moved(self._remote, now, to)

    async def _instead(self, job: _Job, error: FwsyncError) -> list[Outcome]:
        """What is to be done by paths, where a move was not to be had."""
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


def _job(decision: Decision) -> _Job:
    assert decision.base is not None, f"{decision.path}: moved, but never agreed on"
    assert decision.remote is not None, f"{decision.path}: nothing to move there"
    return _Job(decision, decision.base.path, decision.remote.path)


def _in_two_steps(jobs: Sequence[_Job], whole: Folded) -> dict[str, str]:
    """Files whose folder moves to where they do not belong: by their ids, where they do."""
    return {
        job.decision.remote.file_id: job.to
        for job in jobs
        if job.decision.remote is not None
        and now_at(job.at, whole.folders) != job.to
        and now_at(job.at, whole.folders) != job.at
    }


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


# ------------------------------------------------------------------- names for a moment


async def finish_moves(remote: Movable, asides: Asides) -> list[Problem]:
    """Give all that a run has left under a name for a moment its new path, or its old one.

    Args:
        remote: where they are.
        asides: of the root.

    Returns:
        What could be given neither, as both are taken.

    Raises:
        AuthError, LocalError, Unavailable: the server could not be asked.
    """
    problems = []
    for one in await asides.all():
        path, targets = one.aside, (one.to, one.back)
        try:
            if not await _bring_home(remote, one.is_folder, path, targets):
                why = f"was called so on its way, and {targets[0]!r} and {targets[1]!r} are taken"
                problems.append(Problem(path, why, "rename it on the server"))
                continue
        except (AuthError, LocalError, Unavailable):
            raise
        except (RemoteError, FileProblem) as error:
            problems.append(Problem.of(path, error))
            continue
        await asides.end(one.to)
    return problems


async def _moved(remote: Movable, entry: RemoteEntry, to: RelPath) -> RemoteEntry:
    """Move a file, again where the answer was lost; it is looked for before it is asked again.

    Raises:
        RemoteError, FileProblem: as :meth:`Movable.move`.
    """
    for left in reversed(range(_TRIES)):
        try:
            return await remote.move(entry, to)
        except Unavailable:
            there = await _look_after(remote, to)  # it may have moved, and we have not heard
            if there is not None and there.file_id == entry.file_id:
                return there
            if not left:
                raise
    raise AssertionError("unreachable")


async def _look_after(remote: Movable, to: RelPath) -> RemoteEntry | None:
    """What is there after a move that may have been made.

    Raises:
        SourceChanged: that was refused, which says nothing of the move.
    """
    try:
        return await remote.look(to)
    except _DOES_NOT as error:
        raise SourceChanged(f"{to}: may have moved on the server: {error}") from error


async def _bring_home(
    remote: Movable, is_folder: bool, path: RelPath, targets: Sequence[RelPath]
) -> bool:
    """False: none of its paths is free. What is not there any more needs none."""
    for target in targets:
        if is_folder:
            if await remote.move_folder(path, target) or not await remote.has_folder(path):
                return True
            continue
        entry = await remote.look(path)
        if entry is None:
            return True
        if await remote.look(target) is None:
            await _moved(remote, entry, target)
            return True
    return False
