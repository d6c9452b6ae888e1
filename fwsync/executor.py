"""Carry out a plan: transfers side by side, then conflicts, then deletions.

The one rule: just before each step the world is looked at again. What is not as the plan
saw it is left alone, and is the next run's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from fwsync import conflicts, localfs
from fwsync.downloader import Downloader, Landing, batches
from fwsync.errors import (
    AuthError,
    FileProblem,
    FwsyncError,
    LocalError,
    SourceChanged,
    Unavailable,
)
from fwsync.model import (
    ConflictPolicy,
    Decision,
    Mode,
    Outcome,
    Problem,
    RelPath,
    Report,
    Unknown,
    Verb,
)
from fwsync.plan import DeleteLimits, Plan
from fwsync.ports import Remote, RemoteReader
from fwsync.progress import SAMPLE_S, Progress
from fwsync.reconcile import Rules
from fwsync.recorder import Recorder
from fwsync.roots import RESERVED
from fwsync.state import StateThread
from fwsync.threads import in_thread, workers
from fwsync.uploader import Uploader

#: Below the root, and on its file system: parts on their way, and what was replaced.
PARTS = f"{RESERVED}/parts"
TRASH = f"{RESERVED}/trash"

#: Files that one bulk request carries; half a thousand hide any round trip.
FETCH_FILES = 256

#: Bytes of small files that one bulk request carries: enough to hide a round trip,
#: little enough that a broken stream and a killed process cost seconds.
FETCH_BYTES = 32 << 20

#: Verbs that only change what is recorded.
_NO_ACT = frozenset({Verb.ADOPT, Verb.FORGET, Verb.HOLD, Verb.REPORT})

#: What must have gone through before a deletion of this kind may follow it.
_BRINGS = {Verb.DELETE_REMOTE: Verb.UPLOAD, Verb.DELETE_LOCAL: Verb.DOWNLOAD}

#: Says what is out of scope: (path, is it a folder).
Ignore = Callable[[str, bool], bool]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run may do, as settings and flags say."""

    rules: Rules
    limits: DeleteLimits = field(default_factory=DeleteLimits)
    accept: str | None = None  #: the plan a person has consented to
    delete_reason: str = ""
    transfers: int = 8  #: batches under way at once
    ignore: Ignore | None = None  #: (path, is it a folder) -> out of scope


@dataclass(frozen=True, slots=True)
class View:
    """What a cycle saw, beside the rows that are in the state."""

    plan: Plan
    problems: tuple[Problem, ...]
    deferred: int
    files: int
    local_unknown: tuple[Unknown, ...] = ()


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
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._trash = f"{TRASH}/{started}"
        self.stopping = False  #: set: start no further step; those under way go on

    async def carry_out(self, view: View) -> Report:
        """Do what a plan says; each step looks again at the world just before it acts."""
        report = Report(files=view.files, deferred=view.deferred)
        plan = view.plan
        report.plan_id = plan.plan_id if plan.held else ""
        report.halted = "; ".join(guard.reason for guard in plan.held)
        for waiting in plan.waiting:
            if waiting.verb is Verb.CONFLICT:
                report.conflicts += 1
                report.conflict_list.append(waiting.path)
        recorder = Recorder(self._state, report, self._progress)
        transfers = [one for one in plan.carry_out if one.verb in (Verb.UPLOAD, Verb.DOWNLOAD)]
        self._progress.start(len(transfers), sum(one.size for one in transfers))
        await recorder.add(
            Outcome(Decision(Verb.REPORT, RelPath(one.path)), problem=one) for one in view.problems
        )
        await recorder.add(
            [
                Outcome(one, local=one.local, remote=one.remote)
                for one in plan.carry_out
                if one.verb in _NO_ACT
            ]
        )
        try:
            await self._transfer(transfers, recorder)
            await in_thread(self._check_root)
            for decision in plan.carry_out:
                if self.stopping:
                    break
                if decision.verb is Verb.CONFLICT:
                    await self._keep_both(decision, recorder)
                elif decision.verb in (Verb.DELETE_LOCAL, Verb.DELETE_REMOTE):
                    if recorder.failed(_BRINGS[decision.verb]) or view.deferred:
                        # It may be the other half of a rename that did not get through.
                        await recorder.add([_kept(decision)])
                    else:
                        await recorder.add([await self._delete(decision)])
        finally:
            await recorder.flush()
        return report

    async def _transfer(self, decisions: Sequence[Decision], recorder: Recorder) -> None:
        """Carry out transfers, batch by batch, several at a time; nothing runs ahead."""
        carriers = self._carriers()
        todo = self._batches(decisions)

        errors: list[FwsyncError] = []

        async def worker() -> None:
            for verb, batch in todo:
                if self.stopping or errors:
                    return
                try:
                    outcomes = await carriers[verb](batch)
                except FwsyncError as error:
                    errors.append(error)  # the others end what they have begun (F38)
                    return
                await recorder.add(outcomes)

        async with workers() as group:
            ticking = group.create_task(self._tick())
            await asyncio.wait([group.create_task(worker()) for _ in range(self._policy.transfers)])
            ticking.cancel()
        if errors:
            raise max(errors, key=lambda error: error.exit_code)

    async def _tick(self) -> None:
        """Keep the display's clock going; ended by a cancellation."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._progress.tick()

    def _carriers(self) -> dict[Verb, Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]]:
        advanced = self._progress.advanced
        landing = Landing(self._root_fd, parts=PARTS, trash=self._trash)
        carriers: dict[Verb, Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]] = {
            Verb.DOWNLOAD: Downloader(self._reader, landing, advanced).bring
        }
        if self._writer is not None:
            carriers[Verb.UPLOAD] = Uploader(self._writer, self._root_fd, advanced).send
        return carriers

    def _batches(self, decisions: Sequence[Decision]) -> Iterator[tuple[Verb, list[Decision]]]:
        features = self._reader.features
        uploads = [one for one in decisions if one.verb is Verb.UPLOAD]
        for batch in batches(uploads, most_files=features.put_limit, most_bytes=FETCH_BYTES):
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
        rules = self._policy.rules
        if rules.mode is Mode.UP or rules.conflict is ConflictPolicy.FAIL:
            await recorder.add([Outcome(decision)])
            return
        local = decision.local
        assert local is not None, f"{decision.path}: a conflict without a local file"
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
        fetch = replace(decision, verb=Verb.DOWNLOAD, local=replace(local, stamp=stamp))
        await recorder.add(await self._carriers()[Verb.DOWNLOAD]([fetch]))

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
        await in_thread(
            localfs.discard, self._root_fd, local.on_disk, local.stamp, trash=self._trash
        )

    async def _delete_remote(self, decision: Decision) -> None:
        assert self._writer is not None, "a deletion there without a way to write"
        assert decision.remote is not None, f"{decision.path}: nothing to delete there"
        now = await self._writer.look(decision.path)
        if now is None:
            return
        if now.etag != decision.remote.etag:
            raise SourceChanged(
                f"{decision.path}: changed on the server since the plan was made; not deleted"
            )
        await self._writer.delete(now, reason=self._policy.delete_reason)


def _kept(decision: Decision) -> Outcome:
    reason = f"{decision.reason}; not deleted yet, as not all that is new got through"
    return Outcome(replace(decision, verb=Verb.REPORT, reason=reason))
