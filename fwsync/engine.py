"""One cycle: scan → index → list → hash → reconcile → plan → execute → record.

The one rule: the engine decides nothing. What is true comes from the scan and the
listing, what to do from the pure core, and what has happened from the outcomes; push,
pull, watch and sync are this same cycle with different rules.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from fwsync import conflicts, localfs, scanner
from fwsync.errors import (
    FwsyncError,
    Halted,
)
from fwsync.executor import Executor, Policy, View
from fwsync.layout import Layout, Unmappable
from fwsync.model import (
    Decision,
    LocalEntry,
    Mode,
    Problem,
    RelPath,
    RemoteEntry,
    Report,
    Unknown,
    Verb,
)
from fwsync.plan import GuardFacts, Plan, make_plan
from fwsync.ports import Remote, RemoteReader
from fwsync.progress import Progress
from fwsync.reconcile import Rules, reconcile
from fwsync.recorder import RECORD_COUNT
from fwsync.state import ScanSummary, State, StateThread
from fwsync.threads import in_thread, workers

#: Waits before each round of hashing, in seconds: the first round starts at once; files
#: whose stamp is as young as their hash come again when a clock tick has passed.
RACY_WAITS_S = (0.0, 0.05, 2.1)

#: Threads that read files whose content must be compared.
HASHERS = 2

#: Picks the folders whose own files are left for a later cycle, from the sorted local
#: listing. What lies in folders below them is not meant.
Settle = Callable[[Iterable[LocalEntry]], Set[RelPath]]


@dataclass(frozen=True, slots=True)
class _Deferred:
    """Folders that are left for a later cycle, and the files directly in them."""

    folders: frozenset[RelPath] = frozenset()
    files: tuple[Unknown, ...] = ()


@dataclass(slots=True)
class _Listed:
    """What came of a listing, beside the rows that are in the state."""

    files: int = 0
    unknown: list[Unknown] = field(default_factory=list)


class Engine:
    """Runs cycles for one root and one remote.

    Args:
        root: the folder; ``root_fd`` is its descriptor.
        state: open, and this engine's own.
        reader: where to look.
        writer: where to write, or None: then the rules must not send anything up.
        layout: how paths and labels belong together.
        host: this machine's name, for conflict copies.
    """

    def __init__(
        self,
        *,
        root: Path,
        root_fd: int,
        state: StateThread,
        reader: RemoteReader,
        writer: Remote | None,
        layout: Layout,
        policy: Policy,
        progress: Progress,
        host: str,
    ) -> None:
        if writer is None and policy.rules.mode is not Mode.DOWN:
            raise AssertionError("a remote that is only read can only be pulled from")
        self._root = root
        self._root_fd = root_fd
        self._state = state
        self._reader = reader
        self._layout = layout
        self._policy = policy
        self._progress = progress
        self._executor = Executor(
            root_fd=root_fd,
            state=state,
            reader=reader,
            writer=writer,
            policy=policy,
            progress=progress,
            host=host,
            check_root=self._check_root,
        )
        self._acting = False
        self._told_left_out: frozenset[Unknown] = frozenset()
        self._unsettled: frozenset[tuple[RelPath, object]] = frozenset()

    async def cycle(self, settle: Settle | None = None) -> Report:
        """Look, plan and carry out once."""
        started = time.monotonic()
        view = await self.look(settle)
        self._acting = True
        try:
            report = await self.carry_out(view)
            await self._state.call(self._close_conflicts)
            self._unsettled = await self._state.call(self._news, view.local_unknown)
        finally:
            self._acting = False
        report.seconds = time.monotonic() - started
        return report

    async def anything_new(self, settle: Settle | None = None, *, again: bool = False) -> bool:
        """Is there anything here that the server may not have? Asks the disk, not the server.

        Args:
            settle: picks folders that are not quiet yet; they are not new before they are.
            again: count also what was new before the last cycle and could not be settled
                by it: a conflict, a file that no layout has a place for, a refusal.
        """
        await in_thread(self._check_root)
        scan = await self._state.call(self._scan)
        deferred = await self._state.call(_deferred, settle) if settle else _Deferred()
        news = await self._state.call(self._news, [*scan.unknown, *deferred.files])
        return bool(news if again else news - self._unsettled)

    def _news(self, state: State, unknown: Sequence[Unknown]) -> frozenset[tuple[RelPath, object]]:
        """What is not as both sides last agreed, each with what tells it from a later change."""
        decisions = reconcile(
            state.local_entries(),
            (),
            state.base_entries(),
            rules=Rules(mode=Mode.UP),
            unknown_local=unknown,
            in_scope=self._scope(state),
        )
        # Without a listing every agreed file reads as gone from the server: what stays is
        # NOTHING, what changed is UPLOAD, and what vanished here is FORGET.
        return frozenset(
            (one.path, one.local.stamp if one.local else None)
            for one in decisions
            if one.verb is Verb.UPLOAD or (one.base is not None and not one.base.held)
        )

    def _close_conflicts(self, state: State) -> None:
        """A conflict whose copy the user has removed, or moved elsewhere, is settled (S34)."""
        for one in state.conflicts():
            if localfs.is_free(self._root_fd, one.copy_path):
                state.close_conflict(one.id)

    def _scope(self, state: State) -> Callable[[RelPath], bool]:
        """What takes part: not filtered out, and no copy that a conflict left."""
        copies = {one.copy_path for one in state.conflicts()}
        copies |= conflicts.noted_copies(self._root_fd)
        # By name, wherever it lies: a copy moves with its folder, and its name is ours.
        names = {copy.rpartition("/")[2] for copy in copies}
        ignore = self._policy.ignore
        if ignore is None:
            return lambda path: path.rpartition("/")[2] not in names
        out_folders: dict[str, bool] = {"": False}

        def is_out(folder: str) -> bool:
            """The scan does not enter a folder that is out; so nothing below it is in."""
            if folder not in out_folders:
                out_folders[folder] = is_out(_folder_of(folder)) or ignore(folder, True)
            return out_folders[folder]

        def is_in(path: RelPath) -> bool:
            folder, _, name = path.rpartition("/")
            return not (name in names or is_out(folder) or ignore(path, False))

        return is_in

    def _check_root(self) -> None:
        """Halt if the root's name leads to another folder than the one that was opened."""
        try:
            now = self._root.stat()
        except OSError as error:
            raise Halted(
                f"{self._root}: the folder is gone ({error.strerror})",
                hint="mount or restore it, and start again",
            ) from None
        opened = os.fstat(self._root_fd)
        if (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino):
            raise Halted(
                f"{self._root}: is another folder than the one this run began with",
                hint="see that the right disk is mounted there, and start again",
            )

    def stop(self) -> None:
        """Start no further batch; those under way go on to their end."""
        self._executor.stopping = True

    @property
    def is_acting(self) -> bool:
        """True while a plan is carried out: what is under way should get to its end."""
        return self._acting

    async def look(self, settle: Settle | None = None) -> View:
        """See both sides and decide; writes nothing but the index of what was seen.

        Args:
            settle: picks folders that are not quiet yet; they are left untouched.
        """
        await in_thread(self._check_root)
        scan, listing = await self._see_both()
        deferred = await self._state.call(_deferred, settle) if settle else _Deferred()
        unread = await self._hash_what_must_be_compared(deferred.folders)
        local_unknown = [*scan.unknown, *deferred.files, *unread]
        plan, unmappable = await self._state.call(
            self._make_plan, local_unknown, listing.unknown, listing.files
        )
        if plan.held and self._policy.accept:
            self._progress.note(
                f"--accept-deletes {self._policy.accept}: is not the id of this plan, which is "
                f"{plan.plan_id}; an id goes with exactly what would be deleted or overwritten"
            )
        left_out = [one for one in scan.unknown if one.expected]
        hiding = await self._state.call(_hiding, left_out)
        self._tell_left_out([one for one in left_out if one not in hiding])
        problems = [
            Problem(one.scope, f"{one.reason}; what belongs here is left alone") for one in hiding
        ]
        problems += [
            # What could not be seen may be seen the next time.
            Problem(one.scope or ".", one.reason, retryable=True)
            for one in (*scan.unknown, *unread, *listing.unknown)
            if not one.expected
        ]
        return View(
            plan, (*problems, *unmappable), len(deferred.folders), scan.files, tuple(local_unknown)
        )

    def _tell_left_out(self, unknown: Sequence[Unknown]) -> None:
        """Say once what is left out on purpose: links are never followed, nor read as gone."""
        left_out = frozenset(unknown)
        if left_out and left_out != self._told_left_out:
            first = min(left_out, key=lambda one: one.scope)
            self._progress.note(f"left out: {first.scope} {first.reason}{_and_others(left_out)}")
        self._told_left_out = left_out

    async def _see_both(self) -> tuple[ScanSummary, _Listed]:
        """Scan and list side by side: one waits for the disk, the other for the network."""
        async with workers() as group:
            scan = group.create_task(self._state.call(self._scan))
            listing = group.create_task(self._list())
        return scan.result(), listing.result()

    def _scan(self, state: State) -> ScanSummary:
        return state.take_scan(scanner.walk(self._root_fd, ignore=self._policy.ignore))

    async def _list(self) -> _Listed:
        listed = _Listed()
        await self._state.call(State.start_listing)
        async for page in self._reader.entries():
            listed.unknown += [one for one in page if isinstance(one, Unknown)]
            entries = [one for one in page if isinstance(one, RemoteEntry)]
            listed.files += len(entries)
            try:
                await self._state.call(State.take_listing, entries)
            except ValueError:
                listed.unknown += await self._take_one_by_one(entries)
        return listed

    async def _take_one_by_one(self, entries: Sequence[RemoteEntry]) -> list[Unknown]:
        """Take a page in which a path comes twice: it was replaced while the pages were read."""
        twice: list[Unknown] = []
        for entry in entries:
            try:
                await self._state.call(State.take_listing, [entry])
            except ValueError:
                twice.append(Unknown(entry.path, "was replaced while the server listed it"))
        return twice

    async def _hash_what_must_be_compared(self, not_in: Set[RelPath]) -> list[Unknown]:
        """Read the files whose content decides something; all others are hashed as they go.

        A file that was written within the last clock tick is read once more a little
        later, for its hash could be out of date without its stamp showing it.

        Args:
            not_in: folders that are left alone in this cycle.

        Returns:
            The files that could not be read or do not hold still: nothing is decided on them.
        """
        unread: dict[RelPath, Unknown] = {}
        for wait_s in RACY_WAITS_S:
            todo = await self._to_hash(not_in, unread)
            if not todo:
                break
            await asyncio.sleep(wait_s)
            unread |= {one.scope: one for one in await self._hash(todo)}
        else:
            for entry, _ in await self._to_hash(not_in, unread):
                unread[entry.path] = Unknown(entry.path, "changes all the time")
        return list(unread.values())

    async def _to_hash(
        self, not_in: Set[RelPath], unread: Mapping[RelPath, Unknown]
    ) -> list[tuple[LocalEntry, bool]]:
        return [
            (entry, wanted)
            for entry, wanted in await self._state.call(
                State.to_hash, renames=self._policy.rules.delete_up
            )
            if entry.path not in unread and entry.path.rpartition("/")[0] not in not_in
        ]

    async def _hash(self, todo: Iterable[tuple[LocalEntry, bool]]) -> list[Unknown]:
        """Hash files, several at a time; what could not be hashed comes back."""
        unread: list[Unknown] = []
        left = iter(todo)

        async def worker() -> None:
            hashed: list[tuple[LocalEntry, int]] = []
            for entry, want_digest in left:
                try:
                    hashed.append(
                        await in_thread(
                            scanner.hash_file, self._root, entry, want_digest=want_digest
                        )
                    )
                except FwsyncError as error:
                    problem = Problem.of(entry.path, error)
                    unread.append(Unknown(entry.path, problem.message))
                if len(hashed) >= RECORD_COUNT:
                    await self._state.call(State.remember, hashed)
                    hashed = []
            await self._state.call(State.remember, hashed)

        async with workers() as group:
            for _ in range(HASHERS):
                group.create_task(worker())
        return unread

    def _make_plan(
        self,
        state: State,
        local: Sequence[Unknown],
        remote: Sequence[Unknown],
        remote_files: int,
    ) -> tuple[Plan, list[Problem]]:
        counts = state.counts()
        problems: list[Problem] = []
        decisions = reconcile(
            state.local_entries(),
            state.remote_entries(),
            state.base_entries(),
            rules=self._policy.rules,
            unknown_local=local,
            unknown_remote=remote,
            in_scope=self._scope(state),
        )
        plan = make_plan(
            self._placed(decisions, problems),
            guards=GuardFacts(
                base_files=counts["files"],
                local_files=counts["indexed"],
                remote_files=remote_files,
            ),
            limits=self._policy.limits,
            accept=self._policy.accept,
            identity=f"{self._root} {self._reader!r}",
        )
        return plan, problems

    def _placed(self, decisions: Iterable[Decision], problems: list[Problem]) -> Iterator[Decision]:
        """Leave out what the layout has no place for; it is reported, never guessed."""
        for decision in decisions:
            if decision.verb is Verb.UPLOAD and decision.remote is None:
                place = self._layout.address_of(decision.path)
                if isinstance(place, Unmappable):
                    problems.append(Problem(decision.path, place.reason, place.hint))
                    continue
            yield decision

    async def carry_out(self, view: View) -> Report:
        """Do what a plan says; each step looks again at the world just before it acts."""
        return await self._executor.carry_out(view)


def _and_others(left_out: Set[Unknown]) -> str:
    """How many there are beside the one that is named, and what can be said of all of them."""
    more = len(left_out) - 1
    if not more:
        return ""
    if len({one.reason for one in left_out}) == 1:
        return f", and {more:,} more like it"
    what = "is no regular file" if more == 1 else "are no regular files"
    return f", and {more:,} more that {what}"


def _deferred(state: State, settle: Settle) -> _Deferred:
    folders = settle(state.local_entries())
    if not folders:
        return _Deferred()
    paths = {one.path for one in state.local_entries() if _folder_of(one.path) in folders}
    # Also what is missing from them just now: a file that is saved is away for a moment.
    paths |= {one.path for one in state.base_entries() if _folder_of(one.path) in folders}
    files = tuple(Unknown(path, "its folder is not quiet yet", expected=True) for path in paths)
    return _Deferred(frozenset(folders), files)


def _folder_of(path: str) -> RelPath:
    return RelPath(path.rpartition("/")[0])


def _hiding(state: State, unknown: Sequence[Unknown]) -> list[Unknown]:
    """Those of the scopes in whose place the server has, or both had, a file."""
    return [one for one in unknown if state.knows_below(one.scope)]
