"""One cycle: scan → index → list → hash → reconcile → plan → execute → record.

The one rule: the engine decides nothing. What is true comes from the scan and the
listing, what to do from the pure core, and what has happened from the outcomes; push,
pull, watch and sync are this same cycle with different rules.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fwsync import conflicts, dataset, extras_noted, holds, leftovers, resolutions, roots, scanner
from fwsync.asides import Asides, finish_moves
from fwsync.comparing import Comparer, kept_in_conflict, kept_while_unseen
from fwsync.errors import (
    Halted,
)
from fwsync.executor import PARTS, Executor, Policy, View
from fwsync.filters import Filters
from fwsync.following import Following
from fwsync.following_up import FollowingUp
from fwsync.guards import GuardFacts, all_times_shifted
from fwsync.layout import Layout, Unmappable
from fwsync.left_out import LeftOut
from fwsync.leftovers import Leftovers
from fwsync.listing import Listed, take_listing
from fwsync.model import (
    Decision,
    LocalEntry,
    Mode,
    Problem,
    RelPath,
    Report,
    SeenRow,
    Unknown,
    Verb,
)
from fwsync.out_of_scope import keeping, meet_anew
from fwsync.placing import Placer, Placing
from fwsync.plan import Plan, make_plan
from fwsync.ports import Movable, Remote, RemoteReader
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
        self._writer = writer
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
        self._root_id: str | None = None  # of its marker; None: not read yet; empty: it has none
        self._was_cut = False  # the last cycle did not do all that it began
        self._agreed_out = 0  # files that a selection leaves out
        self._agreed = 0  # all others that were agreed on
        self._listed_ns = 0  # the newest time that the listing has
        self._made = Plan(())  # the last plan, before others have had their say
        self._seen_ns = 0  # when the scan began: what is of age is so for a whole cycle
        self._left_out = LeftOut(self._filters, policy.rules.mode, progress.note)
        self._asides = Asides(state, root_fd)
        self._not_home: list[Problem] = []  #: what still has a name for a moment, and why
        self._told_missed: tuple[Missed, ...] = ()
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
        if isinstance(self._writer, Movable):
            self._not_home = await finish_moves(self._writer, self._asides)
        view = await self.look(settle)
        self._acting = self._was_cut = True
        held = holds.remaining(self._made, view.plan)
        await self._state.call(
            lambda state: holds.keep(
                state,
                held,
                self._policy.rules.mode,
                self._agreed,
                is_whole=not view.unlisted,
                options=self._policy.options,
                accept=self._policy.accept,
            )
        )
        try:
            report = await self.carry_out(view)
            await self._mark_server(view)
            await self._describe(report)
            renamed = resolutions.renamed(view.plan.carry_out, self._executor.moved.now)
            await self._state.call(resolutions.go_along, self._root_fd, renamed)
            edited = await self._state.call(
                lambda state: resolutions.close_gone(state, self._root_fd, is_held=bool(held.held))
            )
            report.difference_list += edited
            report.skipped += len(edited)
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

    async def _mark_server(self, view: View) -> None:
        """Remember how new the server's newest file is, if all of it was seen."""
        is_held = holds.remaining(self._made, view.plan).held
        if not is_held and not view.unlisted and self._policy.reach is None:
            newest_ns = max(self._listed_ns, self._executor.newest_ns)
            await self._state.call(holds.mark_server, newest_ns)

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
        if self._root_id is None:
            self._root_id = roots.root_id(self._root) or ""
        if why := roots.check_marker(self._root, self._root_id):
            raise Halted(why, hint="see that the right disk is mounted there, and start again")

    def stop(self) -> None:
        """Start no further batch; those under way go on to their end."""
        self._executor.stopping = True

    @property
    def policy(self) -> Policy:
        """What its runs may do; the filters are as the last scan has found them."""
        return self._policy

    @property
    def layout(self) -> Layout:
        """How paths and labels belong together."""
        return self._layout

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
        self._waits, self._listed_ns = bool(deferred.folders), listing.newest_ns
        await self._select(listing)
        out = {one.scope for one in placing.unknown}
        unread = await self._hash_what_must_be_compared(out)
        if await self._state.call(meet_anew, self._filters):
            unread += await self._hash_what_must_be_compared(out | {one.scope for one in unread})
        self._unseen = [*(one for one in scan.unknown if one.hides), *unread]
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
        self._made = plan
        plan, objections = await self._policy.review(plan)
        accept = self._policy.accept
        if accept is not None and (said := holds.about_consent(plan, accept)):
            self._progress.note(said)
        retimed = await self._state.call(lambda state: state.numbers.take_retimed())
        if said := all_times_shifted(retimed, self._agreed):
            self._progress.note(said)
        problems, not_sent = await self._left_out.tell(self._state, scan.unknown)
        if self._placer is not None:
            self._placer.tell_left_out(self._progress.note)
        problems += [
            # What could not be seen may be seen the next time.
            Problem(one.scope or ".", one.reason, one.hint, retryable=True)
            for one in (*scan.unknown, *unread, *listing.unknown)
            if not one.expected
        ]
        problems += not_sent
        return View(
            plan,
            (*problems, *placing.problems, *unmappable, *objections),
            len(deferred.folders),
            scan.files,
            tuple(local_unknown),
            tuple(listing.unknown),
        )

    async def _select(self, listing: Listed) -> None:
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

    async def _see_both(self) -> tuple[ScanSummary, Listed]:
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

    def _walk(self, state: State) -> Iterator[SeenRow | Unknown]:
        follow = self._policy.follow_links
        self._seen_ns = time.time_ns()
        walked = scanner.walk_rows(self._root_fd, ignore=self._filters, follow=follow)
        return state.extras.scanned.pass_over(walked, extras_noted.noted(self._root_fd))

    async def _list(self) -> Listed:
        listed = await take_listing(self._state, self._reader, self._filters)
        listed.unknown += await self._asides.unknown(self._not_home)
        return listed

    async def _hash_what_must_be_compared(self, unknown: Set[RelPath]) -> list[Unknown]:
        bounds = self._policy.bounds
        return await Comparer(
            self._state,
            self._root,
            self._root_fd,
            renames=self._policy.rules.mode is not Mode.DOWN,
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
        problems: list[Problem] = []
        rules, in_scope = self._policy.rules, self._scope(state)
        decisions: Iterable[Decision] = reconcile(
            *state.out_of_step(),
            rules=rules,
            unknown_local=local,
            unknown_remote=remote,
            in_scope=in_scope,
            choices=state.standoffs.choices(),
        )
        following = Following(
            state,
            rules=rules,
            unknown=(local, remote),
            in_scope=in_scope,
            selects=self._policy.reach is not None,
        )
        decisions = following.with_moves(decisions)
        if isinstance(self._reader, Movable):
            following_up = FollowingUp(
                state,
                rules,
                unknown=(local, remote),
                in_scope=in_scope,
                selects=self._policy.reach is not None,
                waits=self._waits,
            )
            decisions = following_up.with_moves(decisions)
        decisions = following.with_new_files(decisions)
        decisions = kept_while_unseen(state, decisions, self._unseen)
        decisions = kept_in_conflict(state, self._root_fd, decisions)
        decisions = keeping(decisions, self._root, self._root_fd, self._filters)
        decisions = left.adopted(decisions) if left is not None else decisions
        plan = make_plan(
            self._placed(state, self._in_bounds(decisions, problems), problems),
            guards=self._facts(state, remote_files, is_whole=not remote),
            limits=self._policy.limits,
            accept=self._policy.accept,
            identity=f"{self._root} {self._reader!r}",
        )
        return plan, problems

    def _facts(self, state: State, remote_files: int, *, is_whole: bool) -> GuardFacts:
        """What the guards must know, for after ``State.out_of_step``."""
        counts = state.counts()
        self._agreed = counts["files"] - self._agreed_out
        return holds.facts(
            state,
            agreed=self._agreed,
            local_files=state.places.count() if self._placer else counts["indexed"],
            remote_files=remote_files,
            newest_ns=self._listed_ns,
            limits=self._policy.limits,
            is_whole=is_whole and self._policy.reach is None,
        )

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
            if _makes_a_place(decision):
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


def _makes_a_place(decision: Decision) -> bool:
    """Does it bring a file to where the server has none?"""
    is_new = decision.verb is Verb.UPLOAD and decision.remote is None
    return is_new or decision.verb is Verb.RENAME_REMOTE


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
