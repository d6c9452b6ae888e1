"""One cycle: scan → index → list → hash → reconcile → plan → execute → record.

The one rule: the engine decides nothing. What is true comes from the scan and the
listing, what to do from the pure core, and what has happened from the outcomes; push,
pull, watch and sync are this same cycle with different rules.
"""

from __future__ import annotations

import os
import time
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fwsync import conflicts, dataset, extras_noted, leftovers, localfs, scanner
from fwsync.comparing import Comparer
from fwsync.errors import (
    Halted,
)
from fwsync.executor import PARTS, Executor, Policy, View
from fwsync.filters import Filters
from fwsync.layout import Layout, Unmappable
from fwsync.leftovers import Leftovers
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
from fwsync.moving import with_moves
from fwsync.placing import Placer, Placing
from fwsync.plan import GuardFacts, Plan, make_plan
from fwsync.ports import Remote, RemoteReader
from fwsync.progress import Progress
from fwsync.reconcile import Rules, reconcile
from fwsync.selection import Missed
from fwsync.state import ScanSummary, State, StateThread
from fwsync.threads import in_thread, workers
from fwsync.trash import run_folder
from fwsync.unpacking.finish import not_finished

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
    fits: bool = False  #: some file is one that the patterns ask for
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
        placer: says where files go that do not lie by the layout; None: all do.
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
        placer: Placer | None = None,
    ) -> None:
        if writer is None and policy.rules.mode is not Mode.DOWN:
            raise AssertionError("a remote that is only read can only be pulled from")
        self._root = root
        self._root_fd = root_fd
        self._state = state
        self._reader = reader
        self._layout = layout
        self._policy = policy
        self._filters = policy.ignore or Filters()
        self._progress = progress
        self._placer = placer
        if self._placer is not None:
            policy = replace(policy, where=self._placer.where)
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
        self._was_cut = False  # the last cycle did not do all that it began
        self._agreed_out = 0  # files that a selection leaves out
        self._seen_ns = 0  # when the scan began: what is of age is so for a whole cycle
        self._told_left_out: frozenset[Unknown] = frozenset()
        self._told_missed: tuple[Missed, ...] = ()
        self._told_kept: frozenset[RelPath] = frozenset()
        self._told_unfinished: frozenset[Problem] = frozenset()
        self._unsettled: frozenset[tuple[RelPath, object]] = frozenset()

    async def cycle(self, settle: Settle | None = None, *, goes_on: bool = True) -> Report:
        """Look, plan and carry out once.

        Args:
            settle: see :meth:`look`.
            goes_on: :meth:`anything_new` may be asked afterwards, which costs a look back.
        """
        started = time.monotonic()
        if self._was_cut:
            await self._finish_packs()
        view = await self.look(settle)
        self._acting = self._was_cut = True
        try:
            report = await self.carry_out(view)
            await self._describe(report)
            await self._state.call(self._close_conflicts)
            if goes_on:
                await self._see_what_came(report)
                self._unsettled = await self._state.call(self._news, view.local_unknown)
            self._was_cut = bool(report.problem_list)
        finally:
            self._acting = False
        report.seconds = time.monotonic() - started
        return report

    async def _finish_packs(self) -> None:
        """Put in place what the cycle before had begun to, as where the disk was full."""
        problems = await in_thread(not_finished, self._root_fd, PARTS)
        for problem in problems:
            if problem not in self._told_unfinished:
                self._progress.note(f"{problem.path}: {problem.message}")
        self._told_unfinished = frozenset(problems)

    async def _describe(self, report: Report) -> None:
        """A tree that is curated says what it is; where nothing comes down, nothing is written."""
        if self._policy.rules.mode is Mode.UP or self._placer is None:
            return
        trash = run_folder(datetime.now(UTC))
        wrong = await dataset.describe(
            self._state, self._root_fd, parts=PARTS, trash=trash, fsync=self._policy.fsync
        )
        if wrong is not None:
            report.problem_list.append(wrong)

    async def _see_what_came(self, report: Report) -> None:
        """Bring the places in line with what was carried out."""
        if self._placer is None:
            return
        if report.downloaded:  # it has no place yet, and would read as gone again
            await self._placer.place(())
        else:
            await self._state.call(lambda state: state.places.finish())

    async def anything_new(self, settle: Settle | None = None, *, again: bool = False) -> bool:
        """Is there anything here that the server may not have? Asks the disk, not the server.

        Args:
            settle: picks folders that are not quiet yet; they are not new before they are.
            again: count also what was new before the last cycle and could not be settled
                by it: a conflict, a file that no layout has a place for, a refusal.
        """
        await in_thread(self._check_root)
        scan = await self._state.call(self._scan)
        _, placing = await self._put_in_place(scan, settle)
        news = await self._state.call(self._news, placing.unknown)
        return bool(news if again else news - self._unsettled)

    async def _put_in_place(
        self, scan: ScanSummary, settle: Settle | None
    ) -> tuple[_Deferred, Placing]:
        """Where the files of the scan go, and what is not known of the sides' own paths."""
        deferred = await self._state.call(_deferred, settle) if settle else _Deferred()
        unknown = [*scan.unknown, *deferred.files]
        if self._placer is None:
            return deferred, Placing(unknown=unknown)
        return deferred, await self._placer.place(unknown)

    def _news(self, state: State, unknown: Sequence[Unknown]) -> frozenset[tuple[RelPath, object]]:
        """What is not as both sides last agreed, each with what tells it from a later change."""
        decisions = self._in_bounds(
            reconcile(
                state.local_entries(),
                (),
                state.base_entries(),
                rules=Rules(mode=Mode.UP),
                unknown_local=unknown,
                in_scope=self._scope(state),
            )
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
        filters, places = self._filters, state.places
        description = state.told.takes_no_part()

        def is_in(path: RelPath) -> bool:
            if path == description or path.rpartition("/")[2] in names:
                return False
            if filters.idle or not places.active:
                return filters.is_in(path)
            # What lies elsewhere is filtered by where it lies, and lay: a pack that has lost
            # a file to a filter stays as it is.
            return all(filters.is_in(one) for one in places.sources(path) or [path])

        return is_in

    def _in_bounds(
        self, decisions: Iterable[Decision], problems: list[Problem] | None = None
    ) -> Iterator[Decision]:
        """Leave out what takes no part for its size or its age, on either side."""
        bounds = self._policy.bounds
        if not bounds.are_set:
            yield from decisions
            return
        for decision in decisions:
            if not bounds.leave_out(decision, self._seen_ns):
                yield decision
            elif problems is not None and bounds.reports(decision):
                problems.append(Problem(decision.path, "is empty", "--empty send takes it along"))

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
        if self._policy.before_listing is None:
            scan, listing = await self._see_both()
            await self._state.call(_compare_packs, deflates=self._policy.deflates)
            deferred, placing = await self._put_in_place(scan, settle)
        else:  # where the files go says what there is to list
            scan = await self._state.call(self._scan)
            deferred, placing = await self._put_in_place(scan, settle)
            await self._policy.before_listing()
            listing = await self._list()
            await self._state.call(_compare_packs, deflates=self._policy.deflates)
        await self._select(listing)
        unread = await self._hash_what_must_be_compared({one.scope for one in placing.unknown})
        local_unknown = [*placing.unknown, *unread]
        plan, unmappable = await self._state.call(
            self._make_plan, local_unknown, listing.unknown, listing.files
        )
        left = await leftovers.find(self._root_fd, PARTS, plan.decisions, self._state, self._reader)
        if left:
            unread, local_unknown = [*unread, *left.half], [*local_unknown, *left.half]
            await self._state.call(State.remember, left.read)
            plan, unmappable = await self._state.call(
                self._make_plan, local_unknown, listing.unknown, listing.files, left
            )
        plan, objections = await self._policy.review(plan)
        if plan.held and self._policy.accept:
            self._progress.note(
                f"--accept-deletes {self._policy.accept}: is not the id of this plan, which is "
                f"{plan.plan_id}; an id goes with exactly what would be deleted or overwritten"
            )
        left_out = [one for one in scan.unknown if one.expected]
        hiding = await self._state.call(_hiding, left_out)
        self._tell_left_out([one for one in left_out if one not in hiding])
        kept = await self._state.call(self._kept)
        self._tell_kept(kept)
        if self._placer is not None:
            self._placer.tell_left_out(self._progress.note)
        problems = [
            Problem(one.scope, f"{one.reason}; what belongs here is left alone") for one in hiding
        ]
        problems += [
            # What could not be seen may be seen the next time.
            Problem(one.scope or ".", one.reason, retryable=True)
            for one in (*scan.unknown, *unread, *listing.unknown)
            if not one.expected
        ]
        problems += await self._state.call(lambda state: list(self._not_sent(state, kept)))
        return View(
            plan,
            (*problems, *placing.problems, *unmappable, *objections),
            len(deferred.folders),
            scan.files,
            tuple(local_unknown),
            tuple(listing.unknown),
        )

    async def _select(self, listing: _Listed) -> None:
        """Leave out what the listing would not have had: it is neither gone nor new."""
        missed = self._filters.missed if self._asks_for_some and not listing.fits else ()
        if self._policy.reach is not None:
            reach = self._policy.reach()
            self._agreed_out = await self._state.call(State.leave_out, reach)
            missed = reach.missed or (missed if listing.files else ())
        if missed != self._told_missed and not listing.unknown:
            for one in missed:
                self._progress.note(f"warning: {one}")
        self._told_missed = missed

    @property
    def _asks_for_some(self) -> bool:
        """True where it can be told from the listing alone if the patterns fit nothing."""
        return self._policy.rules.mode is Mode.DOWN and self._placer is None

    def _tell_left_out(self, unknown: Sequence[Unknown]) -> None:
        """Say once what is left out on purpose: links are never followed, nor read as gone."""
        left_out = frozenset(unknown)
        if left_out and left_out != self._told_left_out:
            first = min(left_out, key=lambda one: one.scope)
            self._progress.note(f"left out: {first.scope} {first.reason}{_and_others(left_out)}")
        self._told_left_out = left_out

    def _kept(self, state: State) -> dict[RelPath, RelPath]:
        """The packs that stay as they are since a filter took a file of theirs, with that file."""
        if self._filters.idle or not state.places.active:
            return {}
        return {
            one.path: one.source
            for one in state.places.losses()
            if not self._filters.is_in(one.source)
        }

    def _not_sent(self, state: State, kept: abc.Mapping[RelPath, RelPath]) -> Iterator[Problem]:
        """What is new in packs that stay as they are: whoever waits for it there must know."""
        if self._policy.rules.mode is Mode.DOWN:
            return
        for path, source in kept.items():
            if new := state.places.new_count(path):
                files = "1 new file of it is" if new == 1 else f"{new:,} new files of it are"
                yield Problem(
                    path,
                    f"{files} not sent: {source} in it is filtered out, so it stays as it is there",
                    "let the filter pass that file; or move it away, and run without the filter",
                )

    def _tell_kept(self, kept: abc.Mapping[RelPath, RelPath]) -> None:
        """Say once that what is new in such packs is not sent."""
        if kept and kept.keys() != self._told_kept:
            path = min(kept)
            others = f"; and {len(kept) - 1:,} more packs like it" if len(kept) > 1 else ""
            self._progress.note(
                f"left as it is there: {path}, since {kept[path]} in it is filtered out{others}"
            )
        self._told_kept = frozenset(kept)

    async def _see_both(self) -> tuple[ScanSummary, _Listed]:
        """Scan and list side by side: one waits for the disk, the other for the network."""
        async with workers() as group:
            scan = group.create_task(self._scan_in_parts())
            listing = group.create_task(self._list())
        return scan.result(), listing.result()

    async def _scan_in_parts(self) -> ScanSummary:
        """A scan that lets pages of the listing into the state between its parts."""
        intake = await self._state.call(State.start_scan)
        walked = await self._state.call(self._walk)
        while await self._state.call(lambda _: intake.take_part(walked)):
            pass
        return await self._state.call(lambda _: intake.finish())

    def _scan(self, state: State) -> ScanSummary:
        return state.take_scan(self._walk(state))

    def _walk(self, state: State) -> Iterator[LocalEntry | Unknown]:
        follow = self._policy.follow_links
        self._seen_ns = time.time_ns()
        walked = scanner.walk(self._root_fd, ignore=self._filters, follow=follow)
        return state.extras.scanned.pass_over(walked, extras_noted.noted(self._root_fd))

    async def _list(self) -> _Listed:
        listed = _Listed()
        await self._state.call(State.start_listing)
        async for page in self._reader.entries():
            listed.unknown += [one for one in page if isinstance(one, Unknown)]
            entries = [one for one in page if isinstance(one, RemoteEntry)]
            listed.files += len(entries)
            listed.fits = listed.fits or self._filters.asks_for_any(one.path for one in entries)
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

    async def _hash_what_must_be_compared(self, unknown: Set[RelPath]) -> list[Unknown]:
        bounds = self._policy.bounds
        return await Comparer(
            self._state,
            self._root,
            self._root_fd,
            renames=self._policy.rules.delete_up,
            leaves_out=lambda entry: bounds.leave_out_file(entry, self._seen_ns),
        ).hash_all(unknown)

    def _make_plan(
        self,
        state: State,
        local: Sequence[Unknown],
        remote: Sequence[Unknown],
        remote_files: int,
        left: Leftovers | None = None,
    ) -> tuple[Plan, list[Problem]]:
        counts = state.counts()
        problems: list[Problem] = []
        rules, in_scope = self._policy.rules, self._scope(state)
        decisions: Iterable[Decision] = reconcile(
            *state.out_of_step(),
            rules=rules,
            unknown_local=local,
            unknown_remote=remote,
            in_scope=in_scope,
        )
        decisions = with_moves(
            state,
            decisions,
            rules=rules,
            unknown=(local, remote),
            in_scope=in_scope,
            selects=self._policy.reach is not None,
        )
        decisions = left.adopted(decisions) if left is not None else decisions
        plan = make_plan(
            self._placed(state, self._in_bounds(decisions, problems), problems),
            guards=GuardFacts(
                base_files=counts["files"] - self._agreed_out,
                local_files=state.places.count() if self._placer else counts["indexed"],
                remote_files=remote_files,
            ),
            limits=self._policy.limits,
            accept=self._policy.accept,
            identity=f"{self._root} {self._reader!r}",
        )
        return plan, problems

    def _placed(
        self, state: State, decisions: Iterable[Decision], problems: list[Problem]
    ) -> Iterator[Decision]:
        """Leave out what the layout has no place for; it is reported, never guessed."""
        if self._placer is not None:
            self._placer.begin_plan()
        for decision in decisions:
            if self._placer is not None:
                if self._placer.takes(state, decision, problems):
                    yield self._without_loss(state, _explained(state, decision))
                continue
            if decision.verb is Verb.UPLOAD and decision.remote is None:
                place = self._layout.address_of(decision.path)
                if isinstance(place, Unmappable):
                    problems.append(Problem(decision.path, place.reason, place.hint))
                    continue
            yield decision
        if self._placer is not None:
            problems += self._placer.end_plan(state)

    def _without_loss(self, state: State, decision: Decision) -> Decision:
        """A pack that has fewer files here goes up only where deletions may.

        They were deleted as much as files of their own would have been.
        """
        pack = decision.local.pack if decision.local is not None else None
        if decision.verb is not Verb.UPLOAD or pack is None or self._policy.rules.delete_up:
            return decision
        lost = state.places.agreed_count(decision.path) - len(pack.members)
        if lost <= 0:
            return decision
        what = "1 of its files is" if lost == 1 else f"{lost} of its files are"
        reason = f"{what} gone here; --delete-up sends it without"
        return replace(decision, verb=Verb.REPORT, reason=reason)

    async def carry_out(self, view: View) -> Report:
        """Do what a plan says; each step looks again at the world just before it acts."""
        return await self._executor.carry_out(view)


def _compare_packs(state: State, *, deflates: bool) -> None:
    """After the listing; where the places are known already, they are worked out again."""
    state.places.deflates = deflates
    if deflates:
        state.places.take_hashes()


def _explained(state: State, decision: Decision) -> Decision:
    """With the rule that put the file there."""
    known = state.places.known(decision.path)
    if not known or not known[0].rule:
        return decision
    more = f" (and {len(known) - 1} more)" if len(known) > 1 else ""
    return replace(decision, rule=f"{known[0].rule}{more}")


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
    folders = settle(state.files())
    if not folders:
        return _Deferred()
    paths = {one.path for one in state.files() if _folder_of(one.path) in folders}
    # Also what is missing from them just now: a file that is saved is away for a moment.
    paths |= {path for path in state.agreed_files() if _folder_of(path) in folders}
    files = tuple(Unknown(path, "its folder is not quiet yet", expected=True) for path in paths)
    return _Deferred(frozenset(folders), files)


def _folder_of(path: str) -> RelPath:
    return RelPath(path.rpartition("/")[0])


def _hiding(state: State, unknown: Sequence[Unknown]) -> list[Unknown]:
    """Those of the scopes in whose place the server has, or both had, a file."""
    return [one for one in unknown if state.knows_below(one.scope)]
