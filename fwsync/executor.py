"""Carry out a plan: transfers side by side, then conflicts, then deletions.

The one rule: just before each step the world is looked at again. What is not as the plan
saw it is left alone, and is the next run's business.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby

from fwsync import conflicts, localfs, renaming, trash
from fwsync.arrivals import Landing
from fwsync.asides import Asides
from fwsync.audit import AuditLog
from fwsync.deid import Deid
from fwsync.downloader import Downloader, batches
from fwsync.errors import (
    AuthError,
    FileProblem,
    FwsyncError,
    LocalError,
    SourceChanged,
    Unavailable,
)
from fwsync.filters import Bounds, Filters
from fwsync.landing import Target, Where, where_it_stands
from fwsync.limits import FILE_WORTH, Climb, within
from fwsync.model import (
    Decision,
    LocalEntry,
    Mode,
    Outcome,
    Problem,
    RelPath,
    Report,
    Unknown,
    Verb,
)
from fwsync.moving import Moved, Mover
from fwsync.moving_up import CarriedUp, MoverUp, nothing_renamed
from fwsync.pieces import forget_stale
from fwsync.plan import DeleteLimits, Plan
from fwsync.ports import Movable, Remote, RemoteReader
from fwsync.progress import SAMPLE_S, Progress
from fwsync.reconcile import Rules, keeps_both
from fwsync.recorder import Recorder
from fwsync.roots import RESERVED
from fwsync.safekeeping import Safekeeping
from fwsync.selection import Reach
from fwsync.sources import Describe, say_nothing
from fwsync.space import Space, worst
from fwsync.state import Circumstances, State, StateThread
from fwsync.threads import crew, in_thread, workers
from fwsync.unpacking.aside import drop_receipts
from fwsync.unpacking.packs import discard_pack
from fwsync.uploader import Uploader

#: Below the root, and on its file system: parts on their way, and what was replaced.
PARTS = f"{RESERVED}/parts"
TRASH = trash.TRASH

#: Files that one bulk request carries; half a thousand hide any round trip.
FETCH_FILES = 256

#: Bytes of small files that one bulk request carries: enough to hide a round trip,
#: little enough that a broken stream and a killed process cost seconds.
FETCH_BYTES = 32 << 20

#: Verbs that only change what is recorded.
_NO_ACT = frozenset({Verb.ADOPT, Verb.FORGET, Verb.HOLD, Verb.REPORT})

#: What must have gone through before a deletion of this kind may follow it.
_BRINGS = {
    Verb.DELETE_REMOTE: (Verb.UPLOAD, Verb.RENAME_REMOTE),
    Verb.DELETE_LOCAL: (Verb.DOWNLOAD, Verb.RENAME),
}


#: Looks at a plan before it is carried out: gives what is left of it, and what is wrong with
#: the rest. Raises where nothing of it may be done.
Review = Callable[[Plan], Awaitable[tuple[Plan, list[Problem]]]]


async def agree(plan: Plan) -> tuple[Plan, list[Problem]]:
    """The plan as it is."""
    return plan, []


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run may do, as settings and flags say."""

    rules: Rules
    limits: DeleteLimits = field(default_factory=DeleteLimits)
    accept: str | None = None  #: the plan a person has consented to
    delete_reason: str = ""
    transfers: int | None = None  #: batches under way at once; None: as many as bring more
    fsync: bool = True  #: a file is on the disk before it is recorded
    trash_days: int = 0  #: what was put in the trash so long ago is let go; 0: never
    ignore: Filters | None = None  #: what is out of scope by its path
    bounds: Bounds = field(default_factory=Bounds)  #: … and by its size and age
    follow_links: bool = False  #: only where nothing is written here
    most_bytes: int | None = None  #: when so many were begun, no file is begun any more
    is_time_up: Callable[[], bool] = lambda: False  #: when it is, neither
    where: Where = where_it_stands  #: where a file comes down
    describe: Describe = say_nothing  #: what else the server is told of a file
    audit: AuditLog | None = None  #: gets a line for each file
    review: Review = agree  #: has a say in every plan
    deid: Deid | None = None  #: changes what goes up
    #: Sees to it that all projects are listed that the files in the state name; None: they are.
    before_listing: Callable[[], Awaitable[None]] | None = None
    deflates: bool = False  #: the zips of packs are compressed
    reach: Callable[[], Reach] | None = None  #: paths that a listing would have had; None: all
    options: tuple[str, ...] = ()  #: of the run, as words of a command line


@dataclass(frozen=True, slots=True)
class View:
    """What a cycle saw, beside the rows that are in the state."""

    plan: Plan
    problems: tuple[Problem, ...]
    deferred: int
    files: int
    local_unknown: tuple[Unknown, ...] = ()
    unlisted: tuple[Unknown, ...] = ()  #: what is not known of the server's files


class _Pulse:
    """What has gone through, as far as the number of workers depends on it."""

    def __init__(self) -> None:
        self.moved = 0  #: bytes, and what the files are worth beside them
        self._files = self._failed = 0  # since the last look

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """A batch has ended."""
        self.moved += FILE_WORTH * len(outcomes)
        self._files += len(outcomes)
        self._failed += sum(one.problem is not None and one.problem.retryable for one in outcomes)

    def read(self) -> tuple[float, bool]:
        """All that was moved, and if most that ended since the last look failed in passing.

        A file that changed under our hands says nothing about the machine; a wave does.
        """
        is_wave = self._failed * 2 > self._files
        self._files = self._failed = 0
        return self.moved, is_wave


class Executor:
    """Carries out plans for one root and one remote.

    Args:
        root_fd: the root's descriptor.
        state: where outcomes are recorded.
        reader: where to read.
        writer: where to write; None: plans send nothing up.
        policy: what a run may do.
        progress: is told what happens.
        host: this machine's name, for conflict copies.
        check_root: raises if the root is not the root any more; asked before deletions.
    """

    def __init__(
        self,
        *,
        root_fd: int,
        state: StateThread,
        reader: RemoteReader,
        writer: Remote | None,
        policy: Policy,
        progress: Progress,
        host: str,
        check_root: Callable[[], None],
    ) -> None:
        self._root_fd = root_fd
        self._state = state
        self._reader = reader
        self._writer = writer
        self._policy = policy
        self._progress = progress
        self._host = host
        self._check_root = check_root
        self._trash = TRASH  # with the time, once there is a plan to carry out
        self._pulse = _Pulse()
        self._asides = Asides(state, root_fd)
        self.moved = Moved()  # what this plan has renamed here
        self._space = Space(root_fd, PARTS)
        self._unpacked: list[RelPath] = []  # packs of this plan that came down
        self.newest_ns = 0  #: what the server says of the newest file that the last plan sent
        self.stopping = False  #: set: start no further step; those under way go on

    async def carry_out(self, view: View) -> Report:
        """Do what a plan says; each step looks again at the world just before it acts."""
        await in_thread(self._check_root)  # what is written down next may be a deletion
        report, plan, self.moved = _begun(view), view.plan, Moved()
        self._trash = await self._begin_trash()
        if self._policy.rules.mode is not Mode.UP:
            reach = self._policy.reach() if self._policy.reach is not None else None
            unlisted = view.unlisted
            await forget_stale(self._state, self._root_fd, PARTS, plan.decisions, unlisted, reach)
        adopted = [one for one in plan.carry_out if one.verb is Verb.ADOPT]
        self._unpacked = [one.path for one in adopted if one.local and one.local.pack]
        run = trash.run_of(self._trash)
        reason, versions = self._policy.delete_reason, self._reader.features.versions
        told = Circumstances(run, reason, versions)
        recorder = Recorder(self._state, report, self._progress, self._policy.audit, told)
        transfers = [one for one in plan.carry_out if one.verb in (Verb.UPLOAD, Verb.DOWNLOAD)]
        transfers = self._within_limit(transfers, report)
        self._progress.start(len(transfers), sum(one.size for one in transfers))
        await recorder.add(await self._told(view.problems))
        await recorder.add(
            [
                Outcome(one, local=_as_agreed(one), remote=one.remote)
                for one in plan.carry_out
                if one.verb in _NO_ACT
            ]
        )
        try:
            transfers = await self._rename(plan, transfers, recorder)
            carried = await self._rename_there(plan, recorder)
            transfers = self._within_limit(carried.transfers(transfers), report)
            late = await self._transfer(transfers, recorder)
            _leave(report, late, "--max-duration")
            await in_thread(self._check_root)
            for decision in carried.with_folders(plan.carry_out):
                if self.stopping:
                    break
                if decision.verb not in (Verb.CONFLICT, Verb.DELETE_LOCAL, Verb.DELETE_REMOTE):
                    continue
                if report.left or self._policy.is_time_up():
                    # What is left may be the other half of a rename.
                    _leave(report, 1, "--max-duration")
                elif decision.verb is Verb.CONFLICT:
                    await self._keep_both(decision, recorder)
                elif any(map(recorder.failed, _BRINGS[decision.verb])) or view.deferred:
                    # It may be the other half of a rename that did not get through.
                    await recorder.add([_kept(decision)])
                else:
                    await recorder.add([await self._delete(decision)])
        finally:
            await recorder.flush()
        await in_thread(drop_receipts, self._root_fd, PARTS, self._unpacked)
        report.notes += recorder.notes()
        self.newest_ns = recorder.newest_ns
        return report

    async def _begin_trash(self) -> str:
        """The folder for what this plan replaces or deletes; what is old enough is let go."""
        now, days = datetime.now(UTC), self._policy.trash_days
        if days:
            try:
                await in_thread(trash.sweep, self._root_fd, days=days, now=now)
            except FwsyncError as error:  # what is too much there is no reason to stop
                self._progress.note(f"what is old in the trash stays: {error.message}")
        return trash.run_folder(now)

    async def _told(self, problems: Sequence[Problem]) -> list[Outcome]:
        """Problems that are no step of a plan; for a log, with the file that each is about."""
        paths = [RelPath(one.path) for one in problems]
        about: dict[RelPath, LocalEntry] = {}
        if paths and self._policy.audit is not None:
            about = await self._state.call(_files_at, paths)
        return [
            Outcome(Decision(Verb.REPORT, path, about.get(path)), problem=one)
            for path, one in zip(paths, problems, strict=True)
        ]

    async def _rename(
        self, plan: Plan, transfers: Sequence[Decision], recorder: Recorder
    ) -> list[Decision]:
        """Follow what moved on the server; gives the transfers that can be made then."""
        renames = [one for one in plan.carry_out if one.verb is Verb.RENAME]
        # What was to be sent from where a rename would have brought it waits with the rename.
        held = {one.path for one in plan.waiting if one.verb is Verb.RENAME}
        transfers = [one for one in transfers if one.path not in held]
        if not renames:
            return transfers
        await in_thread(self._check_root)
        where = _unfiltered(self._policy.where, self._policy.ignore)
        mover = Mover(self._root_fd, trash=self._trash, where=where)
        self.moved = mover.moved
        async for outcomes in mover.carry_out(renames):
            await recorder.add(outcomes)
            if self.stopping:
                return []
        await recorder.flush()
        return mover.moved.transfers(transfers)

    async def _rename_there(self, plan: Plan, recorder: Recorder) -> CarriedUp:
        """Carry up what moved here."""
        # What was renamed here as well is as it is since then; or it was not, and stays there.
        steps = [] if self.stopping else self.moved.transfers(plan.carry_out)
        if not any(one.verb is Verb.RENAME_REMOTE for one in steps):
            if not self.stopping and not plan.waiting and self._policy.reach is None:
                await nothing_renamed(self._state, self._asides)
            return CarriedUp()
        assert isinstance(self._writer, Movable), "a rename there without a way to make it"
        await in_thread(self._check_root)
        await recorder.flush()  # what is held is known to the state
        is_in = (self._policy.ignore or Filters()).is_in
        mover = MoverUp(self._writer, self._state, self._asides, self._policy.rules, is_in)
        async for outcomes in mover.carry_out(steps):
            await recorder.add(outcomes)
            if self.stopping:
                break
        await recorder.flush()
        return mover.carried

    def _within_limit(self, decisions: Sequence[Decision], report: Report) -> list[Decision]:
        """The transfers that this run may begin; the rest is noted as left."""
        most = self._policy.most_bytes
        begun, left = within(decisions, most) if most is not None else ([*decisions], [])
        _leave(report, len(left), "--max-transfer")
        return begun

    async def _transfer(self, decisions: Sequence[Decision], recorder: Recorder) -> int:
        """Carry out transfers, batch by batch, several at a time; nothing runs ahead.

        Returns:
            How many were not begun, as the time of the run is up.
        """
        coming = [one for one in decisions if one.verb is Verb.DOWNLOAD]
        self._space = Space(self._root_fd, PARTS, coming)
        carriers = self._carriers()
        todo = self._batches(decisions)

        errors: list[FwsyncError] = []
        late = 0

        async def work(is_one_too_many: Callable[[], bool]) -> bool:
            nonlocal late
            while not is_one_too_many():
                verb, batch = next(todo, (Verb.NOTHING, []))
                if self.stopping or errors or not batch:
                    return False
                if self._policy.is_time_up():
                    late += len(batch)
                    continue
                began_ns = time.time_ns()
                try:
                    outcomes = await carriers[verb](batch)
                except FwsyncError as error:
                    errors.append(error)  # the others end what they have begun (F38)
                    return False
                self._pulse.ended(outcomes)
                if verb is Verb.DOWNLOAD:
                    self._unpacked += [one.decision.path for one in outcomes if _is_pack(one)]
                if self._policy.audit is not None:
                    outcomes = [replace(one, began_ns=began_ns) for one in outcomes]
                await recorder.add(outcomes)
            return True

        async with workers() as group:
            ticking = group.create_task(self._tick())
            await crew(work, Climb(self._policy.transfers), self._pulse.read)
            ticking.cancel()
        await self._end_if_full(recorder)
        if error := worst(errors, self._space):
            raise error
        return late

    async def _end_if_full(self, recorder: Recorder) -> None:
        """Where the disk is full, it is a problem until it is not, for whoever asks later."""
        if self._space.full is not None:
            problem = Problem.of(".", self._space.full)
            told = Outcome(Decision(Verb.REPORT, RelPath(".")), problem=problem)
            await recorder.add([told])

    async def _tick(self) -> None:
        """Keep the display's clock going; ended by a cancellation."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._progress.tick()

    def _advanced(self, path: RelPath, count: int) -> None:
        self._pulse.moved += count
        self._progress.advanced(path, count)

    def _carriers(self) -> dict[Verb, Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]]:
        advanced = self._advanced
        where = _unfiltered(self._policy.where, self._policy.ignore)
        landing = Landing(
            self._root_fd,
            parts=PARTS,
            trash=self._trash,
            where=where,
            fsync=self._policy.fsync,
        )
        carriers: dict[Verb, Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]] = {
            Verb.DOWNLOAD: self._space.within(
                Downloader(
                    self._reader,
                    landing,
                    self._space.told(advanced),
                    state=self._state,
                    streams=self._policy.transfers,
                ).bring
            )
        }
        if self._writer is not None:
            uploader = Uploader(
                self._writer,
                self._root_fd,
                advanced,
                describe=self._policy.describe,
                deid=self._policy.deid,
                deflates=self._policy.deflates,
            )
            carriers[Verb.UPLOAD] = self._safekeeping().before(uploader.send)
        return carriers

    def _safekeeping(self) -> Safekeeping:
        return Safekeeping(
            self._reader,
            self._root_fd,
            parts=PARTS,
            trash=self._trash,
            fsync=self._policy.fsync,
        )

    def _batches(self, decisions: Sequence[Decision]) -> Iterator[tuple[Verb, list[Decision]]]:
        features = self._reader.features
        uploads = [one for one in decisions if one.verb is Verb.UPLOAD]
        for _, near in groupby(uploads, key=lambda one: one.path.rpartition("/")[0]):
            # Neighbours share a container, and only what does goes by one request.
            few, little = features.put_limit, features.put_bytes
            for batch in batches(near, most_files=few, most_bytes=little):
                yield Verb.UPLOAD, batch
        downloads = [one for one in decisions if one.verb is Verb.DOWNLOAD]
        most_files = min(features.fetch_limit, FETCH_FILES)
        for batch in batches(downloads, most_files=most_files, most_bytes=FETCH_BYTES):
            yield Verb.DOWNLOAD, batch

    async def _keep_both(self, decision: Decision, recorder: Recorder) -> None:
        """The remote keeps the name; the local bytes stay beside it, known by record.

        The copy is recorded before it is made: one that nobody knows of would be sent up
        as a new file after a crash.
        """
        local = self.moved.now.get(decision.path, decision.local)
        assert local is not None, f"{decision.path}: a conflict without a local file"
        if decision.path in self.moved.failed:
            return
        if not keeps_both(decision, self._policy.rules):
            await recorder.add([Outcome(decision)])
            return
        try:
            copy = await self._state.call(
                conflicts.choose_copy, self._root_fd, decision.path, local.on_disk, self._host
            )
            await recorder.add([Outcome(decision, conflict_copy=copy)])
            await recorder.flush()
            stamp = await in_thread(conflicts.make_copy, self._root_fd, local, copy)
        except FileProblem as error:
            problem = Problem.of(decision.path, error)
            await recorder.add([Outcome(decision, problem=problem)])
            return
        seen = replace(local, stamp=stamp)
        fetch = replace(decision, verb=Verb.DOWNLOAD, local=seen, copy=copy)
        await recorder.add(await self._carriers()[Verb.DOWNLOAD]([fetch]))
        if self._space.full is not None:
            raise self._space.full

    async def _delete(self, decision: Decision) -> Outcome:
        """Delete one file, if both sides still are what the plan saw."""
        try:
            if decision.verb is Verb.DELETE_LOCAL:
                await self._delete_local(decision)
            else:
                await self._delete_remote(decision)
        except (AuthError, LocalError, Unavailable):
            raise
        except FwsyncError as error:
            return Outcome(decision, problem=Problem.of(decision.path, error))
        return Outcome(decision)

    async def _delete_local(self, decision: Decision) -> None:
        local = decision.local
        assert local is not None, f"{decision.path}: nothing to delete here"
        if await self._reader.look(decision.path) is not None:
            raise SourceChanged(f"{decision.path}: is on the server after all; not deleted here")
        if local.pack is not None:
            await in_thread(discard_pack, self._root_fd, local, parts=PARTS, trash=self._trash)
            return
        await in_thread(
            renaming.discard, self._root_fd, local.on_disk, local.stamp, trash=self._trash
        )

    async def _delete_remote(self, decision: Decision) -> None:
        assert self._writer is not None, "a deletion there without a way to write"
        assert decision.remote is not None, f"{decision.path}: nothing to delete there"
        if (now := await self._writer.look(decision.path)) is None:
            await self._writer.check_gone(decision.remote)
            return
        if now.etag != decision.remote.etag:
            raise SourceChanged(
                f"{decision.path}: changed on the server since the plan was made; not deleted"
            )
        is_folder = await self._state.call(_check_still_gone, self._root_fd, decision.path)
        await self._safekeeping().keep(now, always=is_folder)
        await self._writer.delete(now, reason=self._policy.delete_reason)


def _check_still_gone(state: State, root_fd: int, path: RelPath) -> bool:
    """Look again, before a file that was deleted here is deleted there.

    Returns:
        Is a folder in its place? Then it only gives way, and nobody may have meant to lose it.

    Raises:
        SourceChanged: it is here again.
    """
    is_folder = renaming.has_folder(root_fd, path)
    is_gone = state.places.active or is_folder or localfs.is_free(root_fd, path)
    if not is_gone and not renaming.is_below_a_file(root_fd, path):
        raise SourceChanged(f"{path}: is here again since the plan was made; not deleted there")
    return is_folder


def _begun(view: View) -> Report:
    """The report of a run that has done nothing yet."""
    report, plan = Report(files=view.files, deferred=view.deferred), view.plan
    report.plan_id = plan.plan_id if plan.held else ""
    report.halted = "; ".join(guard.reason for guard in plan.held)
    report.guards = [guard.name for guard in plan.held]
    report.notes += [guard.hint for guard in plan.held if guard.hint]
    report.waiting += plan.waiting
    for waiting in plan.waiting:
        if waiting.verb is Verb.CONFLICT:
            report.conflicts += 1
            report.conflict_list.append(waiting.path)
    return report


def _files_at(state: State, paths: Sequence[RelPath]) -> dict[RelPath, LocalEntry]:
    """The file here that each path is of: by where it lies, or by where it was to go."""
    found = {}
    for path in paths:
        local = state.file_at(path)
        if local is None and state.places.active and (sources := state.places.sources(path)):
            local = state.file_at(sources[0])
        if local is not None:
            found[path] = local
    return found


def _as_agreed(decision: Decision) -> LocalEntry | None:
    """What is here, for a decision that moves nothing.

    A pack that is in step by its members may be another zip there than the one that we would
    make, whose digest may be known, and is no word on theirs.
    """
    local, remote = decision.local, decision.remote
    if local is None or local.pack is None or remote is None or local.digest == remote.digest:
        return local
    return replace(local, digest=None)


def _is_pack(outcome: Outcome) -> bool:
    return outcome.local is not None and outcome.local.pack is not None


def _unfiltered(where: Where, filters: Filters | None) -> Where:
    """The same places; but no pack takes a member that is filtered out here."""
    if filters is None:
        return where
    one_at_a_time = threading.Lock()  # filters are for one thread, and files land in several

    def somewhere(decision: Decision) -> Target:
        target = where(decision)
        folder = f"{target.on_disk}/" if target.on_disk else ""

        def takes(name: str) -> bool:
            with one_at_a_time:
                return filters.is_in(f"{folder}{name}") and target.takes(name)

        return replace(target, takes=takes) if target.kind else target

    return somewhere


def _kept(decision: Decision) -> Outcome:
    reason = f"{decision.reason}; not deleted yet, as not all that is new got through"
    return Outcome(replace(decision, verb=Verb.REPORT, reason=reason))


def _leave(report: Report, steps: int, why: str) -> None:
    """Note steps that are left for the next run, and the limit that was met first."""
    report.left += steps
    if steps:
        report.left_why = report.left_why or why
