"""`fwsync watch`: run a cycle whenever something may have changed, for years.

The one rule: an event is only a hint that a cycle is worth running, and time is a hint
too. What is true is what the scan says; what is finished is what has been quiet.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Set
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from fwsync import show
from fwsync.errors import (
    AuthError,
    Exit,
    FwsyncError,
    Halted,
    Locked,
    NoSpace,
    StateDamaged,
    StateTooNew,
    Unavailable,
    UsageError,
)
from fwsync.filesystems import filesystem_of
from fwsync.hints import Hints
from fwsync.localfs import disk_errors
from fwsync.model import LocalEntry, Mode, Problem, RelPath, Report
from fwsync.progress import Progress, duration_text, size_text
from fwsync.runs import recorded_cycle
from fwsync.sessions import Session, open_session
from fwsync.settle import EMPTY, PARTIAL_NAMES, Fingerprint, Settler, include

#: After a failure that may pass, the first wait and the longest, in seconds.
RETRY_FIRST_S, RETRY_MOST_S = 5.0, 300.0

#: The longest wait for a root that is gone, in seconds: looking for it costs the server nothing.
ROOT_MOST_S = 30.0

#: How long running transfers may take to end after the first signal, in seconds. Below
#: systemd's own 90, after which it kills.
DRAIN_S = 75.0

#: How long a cycle that only looks may take to end by itself, in seconds.
GRACE_S = 1.0

#: The least time between two scans, in seconds: a burst of events is one hint.
BREATH_S = 0.5


@disk_errors()
def watch(
    folder: Path,
    target: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    *,
    as_json: bool,
) -> Exit:
    """Watch until a signal comes; 0 after SIGTERM, 130 after Ctrl-C."""
    progress = show.for_watch(as_json)
    try:
        return asyncio.run(_watch(folder, target, flags, config, progress, as_json))
    finally:
        progress.close()


async def _watch(
    folder: Path,
    target: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    progress: Progress,
    as_json: bool,
) -> Exit:
    mode = Mode(flags.get("mode") or Mode.UP)

    def opening() -> AbstractAsyncContextManager[Session]:
        return open_session(
            mode,
            folder,
            target,
            flags,
            config,
            progress=progress,
            command="watch",
            partial_names=PARTIAL_NAMES,
        )

    total = Report(command="watch")
    away = False
    async with _signals(progress) as signals:
        while True:
            async with contextlib.AsyncExitStack() as stack:
                opened = _open_patiently(stack, opening, progress, away=away)
                session = await signals.unless_stopped(opened)
                if session is None:
                    break
                if away:
                    progress.note(f"{folder}: is back")
                daemon = Daemon(session, progress)
                daemon.total = total
                signals.on_stop = session.engine.stop
                try:
                    await daemon.run(signals.stop)
                except Halted as error:  # the root: what a guard holds is told, and no error
                    away = True
                    progress.note(f"waiting: {error.message} ({error.hint})")
            await _first(signals.stop.wait(), asyncio.sleep(RETRY_FIRST_S if away else 0))
            if signals.stop.is_set():
                if as_json:
                    show.report(total, as_json=True, code=signals.code)
                break
    # Also after a second signal, which ends the block above by a cancellation.
    return signals.code


async def _open_patiently(
    stack: contextlib.AsyncExitStack,
    opening: Callable[[], AbstractAsyncContextManager[Session]],
    progress: Progress,
    *,
    away: bool,
) -> Session:
    """A session, however long the server stays away (F21); says once that it waits.

    Args:
        away: the root was there and is gone, as a disk that was unmounted: it may come back
            (F75). A root that is not there at the start is an error.
    """
    wait_s = 0.0  # the first try is made at once
    most_s = ROOT_MOST_S if away else RETRY_MOST_S
    while True:
        try:
            return await stack.enter_async_context(opening())
        except Unavailable as error:
            if not wait_s:
                progress.note(f"waiting for the server: {error.message}")
        except (Halted, UsageError):
            if not away:
                raise
        wait_s = min(most_s, max(RETRY_FIRST_S, wait_s * 2))
        await asyncio.sleep(wait_s)


class _Signals:
    """The first SIGTERM or Ctrl-C drains, the second one stops at once."""

    def __init__(self, progress: Progress) -> None:
        self.stop = asyncio.Event()
        self.code = Exit.IN_STEP
        self.on_stop: Callable[[], None] = lambda: None
        self._progress = progress
        self._task = asyncio.current_task()

    def received(self, number: signal.Signals) -> None:
        """A signal has come."""
        self.code = Exit.INTERRUPTED if number is signal.SIGINT else Exit.IN_STEP
        if self.stop.is_set():
            self._cancel()
            return
        self._progress.note("stopping: transfers under way may end; once more stops at once")
        self.stop.set()
        self.on_stop()
        asyncio.get_running_loop().call_later(DRAIN_S, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def unless_stopped(self, opening: Any) -> Session | None:
        """Wait for a session, or for a signal: a server that is down may keep us waiting."""
        task = asyncio.ensure_future(opening)
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task  # type: ignore[no-any-return]
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return None
        finally:
            stopping.cancel()


@contextlib.asynccontextmanager
async def _signals(progress: Progress) -> AsyncIterator[_Signals]:
    loop = asyncio.get_running_loop()
    signals = _Signals(progress)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.received, number)
    try:
        yield signals
    except asyncio.CancelledError:
        if not signals.stop.is_set():
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class Daemon:
    """Cycles for one session until it is stopped."""

    def __init__(self, session: Session, progress: Progress) -> None:
        settings = session.settings
        self._session = session
        self._progress = progress
        self._settler = Settler(settings.settle_s, settings.settle_max_s)
        disk = filesystem_of(session.place.root)
        self._hints = Hints(session.place.root, polled=disk.is_network)
        self._rescan_s = settings.rescan_s
        self._poll_s = settings.poll_s
        self._retry_s = 0.0
        self._again_s = 0.0  #: until what may pass is tried again; 0: with the next rescan
        self._listed_at = self._rescanned_at = float("-inf")
        self._told: set[Problem] = set()
        self._told_notes: list[str] = []
        self._told_hold = ("", "")
        self._offline_since: float | None = None
        self._is_full = False  # what comes down waits for space, and what goes up does not
        self.total = Report(command="watch")

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set."""
        await self._hints.start()
        if self._hints.problem:
            self._progress.note(f"no events: {self._hints.problem}")
        self._progress.note(
            f"watching {self._session.place.root} for {self._session.scope.name} "
            f"(quiet time {duration_text(self._settler.settle_s)})"
        )
        try:
            while not stop.is_set():
                await self._until_stopped(stop)
                await self._pause(stop)
        finally:
            await self._hints.stop()

    async def _until_stopped(self, stop: asyncio.Event) -> None:
        """One cycle. On the way to a stop, transfers may end; looking and waiting may not."""
        cycle = asyncio.ensure_future(self._cycle())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((cycle, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not cycle.done() and not self._session.engine.is_acting:
                await asyncio.wait((cycle,), timeout=GRACE_S)  # it may be at its very end
                cycle.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await cycle
        finally:
            stopping.cancel()
            cycle.cancel()
            await asyncio.gather(cycle, stopping, return_exceptions=True)

    async def _cycle(self) -> None:
        """One cycle; what may pass is waited out, and said once."""
        now = time.monotonic()
        down = self._session.mode is not Mode.UP
        first = self._listed_at == float("-inf")
        must_list = first or (down and now - self._listed_at >= self._poll_s)
        # What failed or stands in conflict is looked at again now and then, not at each hint.
        rescan = now - self._rescanned_at >= (self._again_s or self._rescan_s)
        if rescan:
            self._rescanned_at = now
        try:
            with disk_errors():
                engine = self._session.engine
                must_list = must_list or await engine.anything_new(self._settle, again=rescan)
                if not must_list:
                    return
                report = await recorded_cycle(self._session, "watch", self._settle)
        except (StateDamaged, StateTooNew, Locked, Halted):
            raise  # a person has to look
        except FwsyncError as error:
            self._failed(error)
            return
        self._listed_at = now
        self._retry_s = 0.0
        if self._offline_since is not None:
            away = duration_text(time.monotonic() - self._offline_since)
            what = "there is space again" if self._is_full else "the server answers again"
            self._progress.note(f"{what}, after {away}")
            self._offline_since, self._is_full = None, False
        self._tell(report)

    def _failed(self, error: FwsyncError) -> None:
        if self._offline_since is None:
            self._offline_since = time.monotonic()
            self._progress.note(f"waiting: {error.message}" + (error.hint and f" ({error.hint})"))
        self._is_full = isinstance(error, NoSpace)
        least = RETRY_MOST_S if isinstance(error, AuthError) else RETRY_FIRST_S
        self._retry_s = min(RETRY_MOST_S, max(least, self._retry_s * 2))

    async def _pause(self, stop: asyncio.Event) -> None:
        """Wait for a hint, a folder that may have settled, the next rescan, or the end."""
        due_s = [self._rescan_s if self._hints.complete else min(self._rescan_s, self._poll_s)]
        blind = bool(self._retry_s) and not self._is_full
        if self._retry_s:
            due_s = [self._retry_s]
        if not blind:
            settles_s = self._settler.next_due(time.monotonic())
            if settles_s is not None:
                due_s.append(settles_s)
        if not self._retry_s:
            if self._again_s:
                due_s.append(max(0.0, self._rescanned_at + self._again_s - time.monotonic()))
            if self._session.mode is not Mode.UP:
                due_s.append(max(0.0, self._listed_at + self._poll_s - time.monotonic()))
        await _first(stop.wait(), asyncio.sleep(BREATH_S))
        if blind:
            await _first(stop.wait(), asyncio.sleep(min(due_s)))
        elif not stop.is_set():
            await _first(stop.wait(), self._hints.wait(max(0.0, min(due_s) - BREATH_S)))

    def _settle(self, listing: Iterable[LocalEntry]) -> Set[RelPath]:
        """The folders that are not quiet yet; called in the state's thread."""
        seen: dict[RelPath, Fingerprint] = {}
        for entry in listing:
            folder = RelPath(entry.path.rpartition("/")[0])
            seen[folder] = include(seen.get(folder, EMPTY), entry)
        now = time.monotonic()
        self._settler.keep_only(seen.keys())
        return {
            folder
            for folder, fingerprint in seen.items()
            if not self._settler.observe(folder, fingerprint, now)
        }

    def _tell(self, report: Report) -> None:
        for problem in report.problem_list:
            if problem not in self._told:
                self._progress.note(f"problem: {problem.path}: {problem.message}")
        self._told = set(report.problem_list)
        for note in report.notes:
            if note not in self._told_notes:
                self._progress.note(note)
        self._told_notes = report.notes
        if any(problem.retryable for problem in report.problem_list):
            self._again_s = min(self._rescan_s, max(RETRY_FIRST_S, self._again_s * 2))
        else:
            self._again_s = 0.0
        moved = [
            (report.uploaded, "sent"),
            (report.downloaded, "fetched"),
            (report.renamed, "renamed"),
            (report.deleted, "deleted"),
            (report.adopted, "there already"),
            (report.held, "held deletion" if report.held == 1 else "held deletions"),
        ]
        did = ", ".join(f"{number:,} {what}" for number, what in moved if number)
        if did:
            self._progress.note(f"{did}, {size_text(report.bytes)} in {report.seconds:.1f} s")
        if report.halted and (report.halted, report.plan_id) != self._told_hold:
            status = show.command_on("status", report.where)
            self._progress.note(
                f"held: {report.halted}; to consent, stop this and run what `{status}` names "
                f"(--accept-deletes {report.plan_id})"
            )
        self._told_hold = (report.halted, report.plan_id)
        if report.conflicts_open > self.total.conflicts_open:
            self._progress.note(show.conflicts_wait(report.conflicts_open, report.where))
        _add(self.total, report)


async def _first(*waits: Any) -> None:
    """Wait for the first of these, and end the others."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _add(total: Report, one: Report) -> None:
    """Add a cycle to what the whole watch did; problems are those of the last cycle."""
    for name in (
        "uploaded", "downloaded", "deleted", "renamed", "sidecars", "adopted", "bytes",
    ):  # fmt: skip
        setattr(total, name, getattr(total, name) + getattr(one, name))
    for name in (
        "root", "remote", "skipped", "conflicts", "requests", "seconds", "peak_memory", "files",
        "halted", "guards", "waiting", "plan_id", "deferred", "difference_list", "problem_list",
        "conflict_list", "conflicts_open", "notes", "where",
    ):  # fmt: skip
        setattr(total, name, getattr(one, name))
