"""What happened, put into the state some at a time, and counted for the report.

The one rule: only outcomes come in here. What was planned is never recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from fwsync.audit import AuditLog
from fwsync.model import Outcome, Problem, Report, Verb
from fwsync.progress import Progress
from fwsync.state import NOTHING_TOLD, Circumstances, State, StateThread
from fwsync.threads import in_thread

#: Outcomes are recorded together: at so many, or when the oldest has waited so long.
RECORD_COUNT = 256
RECORD_WAIT_S = 0.5


#: What is said where an edit on one side has beaten a deletion on the other.
_REVIVED = {
    Verb.UPLOAD: "deleted on the server, but changed here since: sent again",
    Verb.DOWNLOAD: "deleted here, but changed on the server since: fetched again",
}


class Recorder:
    """Puts outcomes into the state, some at a time, and counts them.

    Recording late costs repeated work after a kill, never a false "done".

    Args:
        state: takes them.
        report: counts them.
        progress: is told of each.
        audit: gets a line for each, first.
        told: what is the same for all of them.
    """

    def __init__(
        self,
        state: StateThread,
        report: Report,
        progress: Progress,
        audit: AuditLog | None = None,
        told: Circumstances = NOTHING_TOLD,
    ) -> None:
        self._trash = told.trash
        self._told = told
        self._audit = audit
        self._state = state
        self._report = report
        self._progress = progress
        self._waiting: list[Outcome] = []
        self._oldest_s = 0.0
        self._failed: set[Verb] = set()
        self._unproved = 0  # files that came without a hash of the server's
        self._revived: dict[Verb, list[str]] = {}  # paths whose edit has beaten a deletion
        self.newest_ns = 0  #: the latest time that the server gave to what was sent

    def failed(self, verb: Verb) -> bool:
        """Did a decision of this kind come to nothing in this run?"""
        return verb in self._failed

    async def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes; they are durable after the next flush."""
        for outcome in outcomes:
            if not self._waiting:
                self._oldest_s = time.monotonic()
            self._waiting.append(outcome)
            if outcome.problem is not None:
                self._failed.add(outcome.decision.verb)
            count(self._report, outcome, self._trash)
            self._unproved += _is_unproved(outcome)
            if _is_revived(outcome):
                self._revived.setdefault(outcome.decision.verb, []).append(outcome.decision.path)
            if outcome.decision.verb is Verb.UPLOAD and outcome.remote is not None:
                self.newest_ns = max(self.newest_ns, outcome.remote.modified_ns)
            self._progress.finished(outcome)
        waited = time.monotonic() - self._oldest_s
        if len(self._waiting) >= RECORD_COUNT or (self._waiting and waited >= RECORD_WAIT_S):
            await self.flush()

    def notes(self) -> list[str]:
        """What is worth a word of all that was taken, at the end."""
        found = [
            f"{_some(self._revived[verb])}: {what}"
            for verb, what in _REVIVED.items()
            if verb in self._revived
        ]
        if self._unproved:
            files = "1 file" if self._unproved == 1 else f"{self._unproved:,} files"
            found.append(
                f"{files} came without a hash from the server: only the size could be compared"
            )
        return found

    async def flush(self) -> None:
        """Make everything taken so far durable, in the audit log first.

        Raises:
            LocalError: the disk did not take it. It is recorded even so if only the log failed:
                it has happened.
        """
        outcomes, self._waiting = self._waiting, []
        if not outcomes:
            return
        try:
            if self._audit is not None:
                await in_thread(self._audit.write, outcomes, time.time_ns())
        finally:
            await self._state.call(State.record, outcomes, self._told)


def _is_unproved(outcome: Outcome) -> bool:
    came = outcome.decision.verb is Verb.DOWNLOAD and outcome.problem is None
    return came and outcome.remote is not None and outcome.remote.digest is None


def _is_revived(outcome: Outcome) -> bool:
    """True if it was deleted on one side, and came again as the other had changed it (S45, S46)."""
    decision = outcome.decision
    base, there = decision.base, decision.remote
    if outcome.problem is not None or base is None:
        return False
    if decision.verb is Verb.UPLOAD:
        return there is None
    if decision.verb is not Verb.DOWNLOAD or decision.local is not None or there is None:
        return False
    return there.etag != base.remote_etag


def _some(paths: Sequence[str]) -> str:
    """The first of some paths, and how many there are beside it."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1:,} more"


def _count_rename(report: Report, outcome: Outcome) -> None:
    """A file that has another path; or a record alone, which no side shows."""
    decision = outcome.decision
    if decision.verb is Verb.RENAME_REMOTE:
        if decision.local is not None and outcome.remote is not None:
            was = decision.base or decision.remote
            report.has_renamed(decision.path, was.path if was else "", there=True)
    elif decision.local is not None and decision.local.path != decision.path:
        report.has_renamed(decision.path, decision.local.path)
    else:
        report.adopted += 1


def count(report: Report, outcome: Outcome, trash: str = "") -> None:
    """Add one outcome to a report; ``trash`` names the run in the trash."""
    report.bytes += outcome.moved
    path, verb = outcome.decision.path, outcome.decision.verb
    if outcome.problem is not None:
        report.problem_list.append(outcome.problem)
    elif verb is Verb.UPLOAD:
        report.uploaded += 1
    elif verb is Verb.DOWNLOAD:
        report.downloaded += 1
        report.files += outcome.decision.local is None
    elif verb is Verb.DELETE_LOCAL:
        local = outcome.decision.local
        report.to_trash(path, trash)
        report.files -= len(local.pack.members) if local is not None and local.pack else 1
    elif verb is Verb.DELETE_REMOTE:
        report.deleted_on_server(path)
    elif verb in (Verb.RENAME, Verb.RENAME_REMOTE):
        _count_rename(report, outcome)
    elif verb is Verb.ADOPT:
        report.adopted += 1
    elif verb is Verb.HOLD:
        report.held += 1
    elif verb is Verb.CONFLICT:
        report.conflicts += 1
        report.conflict_list.append(path)
        if outcome.conflict_copy is not None:
            report.copies[path] = outcome.conflict_copy
    elif verb is Verb.REPORT:
        report.skipped += 1
        report.difference_list.append(Problem(path, outcome.decision.reason))
