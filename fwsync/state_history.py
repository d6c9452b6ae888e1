"""What happened to each file: written with what came of it, told by path, let go in time.

Its rule: an event is written in the transaction that records what happened, and never changed.
What is the same in every run (a problem that stays, a conflict that nobody settles) is one
event, and not one a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from fwsync.digest import Digest
from fwsync.model import Decision, Outcome, RelPath, Verb
from fwsync.state_file import Connection, StateFile
from fwsync.state_queries import PUT_EVENT, PUT_EVENT_ROWS, ROWS
from fwsync.state_rows import Row, shown_text

#: Kinds of events that no decision of a run has.
MOVED: Final = "moved"
PROBLEM: Final = "problem"
RESTORE: Final = "restore"
RESOLVE: Final = "resolve"

#: Verbs whose outcome is an event by itself. A report changes nothing, and comes again each run.
_TOLD: Final = {
    Verb.UPLOAD,
    Verb.DOWNLOAD,
    Verb.ADOPT,
    Verb.DELETE_LOCAL,
    Verb.DELETE_REMOTE,
    Verb.HOLD,
    Verb.FORGET,
}

#: Of them, those that a first run is made of.
_PLAIN: Final = {Verb.UPLOAD: Verb.UPLOAD.value, Verb.DOWNLOAD: Verb.DOWNLOAD.value}

_SHA: Final = "sha384:"

_DAY_NS: Final = 86_400 * 10**9

#: Events are let go at most so often, in nanoseconds.
_PRUNE_EVERY_NS: Final = _DAY_NS

#: One look at a clock that is wrong lets go of no more than the oldest so many days.
_MOST_DAYS: Final = 30

#: Events that are kept of one path, and of all: the newest.
MOST_OF_ONE: Final = 400
MOST: Final = 4_000_000

#: Runs that are kept whatever happened in them.
_RUNS: Final = 10_000

#: Events after a run have the time for their number.
_AFTER: Final = 10**15

#: Paths that a file has had which are followed back.
_MOST_NAMES: Final = 1000

_PRUNED, _KEPT_SINCE = "history_pruned_ns", "history_since_ns"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a file."""

    path: RelPath
    run: int
    number: int
    at_ns: int
    what: str
    size: int | None = None
    digest: Digest | None = None
    version: int | None = None
    other: str | None = None
    kept: str | None = None
    reason: str | None = None
    command: str = ""  #: of the run; empty: not known any more


@dataclass(frozen=True, slots=True)
class Latest:
    """The end of a story."""

    events: list[Event]  #: in the order in which they happened
    #: How many there are before these: all of this path and below it, and those of names of before
    #: that the events lead to.
    earlier: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What both sides agree on of a file."""

    size: int
    digest: Digest | None
    version: int
    held: str  #: as :attr:`fwsync.model.BaseEntry.held`


@dataclass(frozen=True, slots=True)
class Restored:
    """A file that a person has put back out of the trash."""

    path: RelPath
    run: str  #: of the trash
    size: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is the same for all outcomes of a run."""

    trash: str = ""  #: names the run in the trash
    delete_reason: str = ""  #: told to the server with each deletion
    versions: bool = True  #: the server keeps what it replaces; else the trash here has it


class History:
    """The events of a state; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db
        self._run, self._number = 0, 0

    def begin(self, run: int) -> None:
        """What is taken from now on happened in this run."""
        self._run, self._number = run, 0

    def begin_after(self, run: int) -> None:
        """What is taken from now on happened after this run, and before the next one."""
        self._run, self._number = run, time.time_ns()

    @property
    def run(self) -> int:
        """The run that is under way; 0: none is."""
        return self._run

    def take(
        self,
        db: Connection,
        outcomes: Iterable[Outcome],
        at_ns: int,
        told: Circumstances,
        left: Sequence[Outcome] = (),
    ) -> None:
        """Write down outcomes, before the tables say what came of them.

        Args:
            db: in the transaction that records them.
            outcomes: in their order.
            at_ns: now.
            told: of the run.
            left: those of them that are conflicts, left as they are for the first time.
        """
        rows: list[Row] = []
        for outcome in outcomes:
            if outcome.problem is not None:
                self._put(db, rows)  # what follows asks for what is there
                rows = []
                self._take_problem(db, outcome, at_ns)
                continue
            row = self._of_a_transfer(outcome, at_ns) if _is_plain(outcome) else None
            if row is not None:
                rows.append(row)
                continue
            rows += [self._row(event, at_ns) for event in _events(outcome, told)]
        for outcome in left:
            event = Event(
                outcome.decision.path, 0, 0, 0, Verb.CONFLICT.value, *_of_file(outcome),
                reason=_reason(outcome.decision),
            )  # fmt: skip
            rows.append(self._row(event, at_ns))
        self._put(db, rows)

    def add(self, db: Connection, event: Event) -> None:
        """Write down one event; its run and number are given here, and its time if it has none."""
        self._put(db, [self._row(event, event.at_ns)])

    def has(self, path: RelPath, what: str, at_ns: int) -> bool:
        """Is such an event of this moment known?"""
        sql = "SELECT EXISTS (SELECT 1 FROM event WHERE path = ? AND what = ? AND at_ns = ?)"
        return bool(self._db.ask(sql, (shown_text(path), what, at_ns))[0][0])

    def _take_problem(self, db: Connection, outcome: Outcome, at_ns: int) -> None:
        """A problem is an event the first time that it is met, and when it is another one."""
        assert outcome.problem is not None
        path, message = shown_text(outcome.problem.path), shown_text(outcome.problem.message)
        known = "SELECT EXISTS (SELECT 1 FROM problem WHERE path = ? AND message = ?)"
        if not db.execute(known, (path, message)).fetchone()[0]:
            event = Event(RelPath(path), 0, 0, at_ns, PROBLEM, reason=message)
            self._put(db, [self._row(event, at_ns)])

    def _of_a_transfer(self, outcome: Outcome, at_ns: int) -> Row:
        """As :func:`_events` has it, for a new file: a first run is all of these."""
        self._number += 1
        number = self._number if self._run else at_ns + self._number
        decision, remote = outcome.decision, outcome.remote
        assert remote is not None
        digest = remote.digest or (outcome.local.digest if outcome.local is not None else None)
        return (
            decision.path, self._run, number, at_ns, _PLAIN[decision.verb], remote.size,
            bytes.fromhex(digest[len(_SHA) :]) if digest is not None else None,
            remote.version, None, None, decision.reason or None,
        )  # fmt: skip

    def _row(self, event: Event, at_ns: int) -> Row:
        self._number += 1
        # Outside of a run, nothing but the time tells two events apart.
        number = self._number if self._run else at_ns + self._number
        digest = bytes.fromhex(event.digest.removeprefix(_SHA)) if event.digest else None
        return (
            shown_text(event.path), self._run, number, at_ns, event.what, event.size, digest,
            event.version, event.other, event.kept, event.reason,
        )  # fmt: skip

    def _put(self, db: Connection, rows: Sequence[Row]) -> None:
        whole = len(rows) - len(rows) % ROWS
        for at in range(0, whole, ROWS):
            db.execute(PUT_EVENT_ROWS, tuple(chain.from_iterable(rows[at : at + ROWS])))
        if rows[whole:]:
            db.executemany(PUT_EVENT, rows[whole:])

    # -- what a person may ask

    def of(self, path: RelPath) -> list[Event]:
        """What happened at a path, or below it; and to its files under the names they had before.

        In the order in which it happened.
        """
        return self.latest(path, 0).events

    def latest(self, path: RelPath, last: int) -> Latest:
        """The end of that story, without loading what comes before it.

        Args:
            path: of a file or folder.
            last: so many events, the newest; 0: all.
        """
        found: dict[tuple[str, int, int], Event] = {}
        before: dict[str, tuple[int, int]] = {}
        waiting = self._at_or_below(path, last)
        while waiting and len(before) < _MOST_NAMES:
            came: list[Event] = []
            for event in waiting:
                key = (event.path, event.run, event.number)
                if key not in found:
                    found[key] = event
                    if event.what == Verb.RENAME and event.other:
                        came.append(event)
            waiting = []
            for event in came:
                assert event.other is not None
                moment = (event.run, event.number)
                if moment > before.get(event.other, (-1, -1)):
                    before[event.other] = moment
                    waiting += self._before(event.other, moment)
        told = sorted(without_echoes(found.values()), key=lambda one: (one.run, one.number))
        shown = told[-last:] if last else told
        loaded = sum(_is_at_or_below(one.path, path) for one in told)
        left = self._count(path) - loaded if last else 0
        return Latest(shown, left + len(told) - len(shown))

    def paths_of(self, here: RelPath) -> list[RelPath]:
        """The paths that a file of this disk goes by in the history, its own first.

        A layout may put it elsewhere, or into a pack; a conflict copy is told of at its file.
        """
        sql = """SELECT path FROM base_source WHERE source = :here
            UNION SELECT path FROM told_place WHERE disk = :here
            UNION SELECT path FROM conflict WHERE copy_path = :here"""
        others = [RelPath(row[0]) for row in self._db.ask(sql, {"here": here})]
        return [here, *(one for one in others if one != here)]

    def moved_to(self, path: RelPath) -> RelPath | None:
        """Where a file or folder is now that has left this path under another name; None: not so.

        Only of what was renamed and has had no other fate since.
        """
        now, moment = path, (-1, -1)
        for _ in range(_MOST_NAMES):
            last = self._at_or_below(now, 1) if now else []
            if not last or last[0].what != MOVED or (last[0].run, last[0].number) <= moment:
                break
            moment, rest = (last[0].run, last[0].number), last[0].path[len(now) :]
            other = last[0].other or ""
            if not other.endswith(rest) or other == rest:
                return None  # one file of a folder went elsewhere by itself
            now = RelPath(other[: len(other) - len(rest)])
        is_there = now != path and self._is_agreed(now)
        return now if is_there else None

    def _is_agreed(self, path: RelPath) -> bool:
        sql = f"SELECT EXISTS (SELECT 1 FROM base WHERE {_below(path)})"  # noqa: S608 - constants
        return bool(self._db.ask(sql, {"path": path})[0][0])

    def standing(self, path: RelPath) -> Standing | None:
        """What both sides agree on now; None: nothing."""
        sql = "SELECT size, digest, version, held FROM base WHERE path = ?"
        rows = self._db.ask(sql, (path,))
        return Standing(*rows[0]) if rows else None

    def take_restored(self, restored: Iterable[Restored]) -> None:
        """Write down files that were put back while no state was open; each once."""
        with self._db.change() as db:
            for one in restored:
                if not self.has(one.path, RESTORE, one.at_ns):
                    kept = f"trash {one.run}"
                    self.add(
                        db,
                        Event(one.path, 0, 0, one.at_ns, RESTORE, one.size, kept=kept),
                    )

    def _at_or_below(self, path: RelPath, last: int) -> list[Event]:
        newest = f"{_below(path)} ORDER BY run DESC, number DESC LIMIT :last"
        return self._ask(newest, {"path": path, "last": last or -1})

    def _count(self, path: RelPath) -> int:
        """How many events there are at a path, and below it; see :func:`without_echoes`."""
        to = "to_.path = event.other AND to_.run = event.run AND to_.number = event.number + 1"
        sql = f"""SELECT count(*) FROM event WHERE {_below(path)} AND NOT (what = '{MOVED}'
            AND EXISTS (SELECT 1 FROM event to_ WHERE {to} AND {_below(path, "to_.")}))"""  # noqa: S608 - constants
        return int(self._db.ask(sql, {"path": path})[0][0])

    def _before(self, path: str, moment: tuple[int, int]) -> list[Event]:
        only = "path = :path AND (run, number) < (:run, :number)"
        return self._ask(only, {"path": path, "run": moment[0], "number": moment[1]})

    def _ask(self, only: str, arguments: dict[str, object]) -> list[Event]:
        sql = f"""SELECT path, run, number, at_ns, what, size, digest, version, other, kept, reason,
            coalesce((SELECT command FROM run WHERE id = event.run), '') FROM event WHERE {only}"""  # noqa: S608 - constants
        return [_event(row) for row in self._db.ask(sql, arguments)]

    # -- letting go

    def prune(self, *, days: int, now_ns: int) -> int:
        """Let go of what is old, and of what is too much; once a day, by the clock.

        Args:
            days: events are kept for so long; 0: for ever, as far as there is room.
            now_ns: the wall clock. One that is wrong takes the oldest month at most.

        Returns:
            How many events went.
        """
        pruned = self._number_at(_PRUNED)
        if pruned is not None and 0 <= now_ns - pruned < _PRUNE_EVERY_NS:
            return 0
        with self._db.change() as db:
            gone = self._prune(db, days, now_ns)
            db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (_PRUNED, str(now_ns)))
        return gone

    def _prune(self, db: Connection, days: int, now_ns: int) -> int:
        gone = 0
        if days:
            since = self._number_at(_KEPT_SINCE)
            if since is None:
                oldest = db.execute("SELECT min(at_ns) FROM event").fetchone()[0]
                since = now_ns if oldest is None else int(oldest)
            since = max(since, min(now_ns - days * _DAY_NS, since + _MOST_DAYS * _DAY_NS))
            gone += db.execute("DELETE FROM event WHERE at_ns < ?", (since,)).rowcount
            db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (_KEPT_SINCE, str(since)))
        gone += _prune_of_one(db)
        if (more := db.execute("SELECT count(*) FROM event").fetchone()[0] - MOST) > 0:
            oldest_run = "SELECT run FROM event ORDER BY run, number LIMIT 1 OFFSET ?"
            run = db.execute(oldest_run, (more - 1,)).fetchone()[0]
            gone += db.execute("DELETE FROM event WHERE run <= ?", (run,)).rowcount
        db.execute(
            "DELETE FROM run WHERE id <= (SELECT max(id) FROM run) - ?"
            " AND id NOT IN (SELECT run FROM event)",
            (_RUNS,),
        )
        return gone

    def _number_at(self, key: str) -> int | None:
        rows = self._db.ask("SELECT value FROM setting WHERE key = ?", (key,))
        return int(rows[0][0]) if rows else None


def _prune_of_one(db: Connection) -> int:
    """Of a path with too many events, the oldest go."""
    crowded = "SELECT path FROM event GROUP BY path HAVING count(*) > ?"
    gone = 0
    for (path,) in db.execute(crowded, (MOST_OF_ONE,)).fetchall():
        newest = "SELECT run, number FROM event WHERE path = ? ORDER BY run DESC, number DESC"
        run, number = db.execute(f"{newest} LIMIT 1 OFFSET ?", (path, MOST_OF_ONE - 1)).fetchone()
        old = "DELETE FROM event WHERE path = ? AND (run, number) < (?, ?)"
        gone += db.execute(old, (path, run, number)).rowcount
    return gone


def without_echoes(events: Iterable[Event]) -> list[Event]:
    """The events, and each rename once: of both names, it is told of the new one."""
    found = list(events)
    renames = {(one.path, one.run, one.number) for one in found if one.what == Verb.RENAME}
    return [
        one
        for one in found
        if one.what != MOVED or (one.other, one.run, one.number + 1) not in renames
    ]


def _below(path: RelPath, table: str = "") -> str:
    """The rows of ``:path`` and of all below it, by the key; of every one if it is empty."""
    if not path:
        return "TRUE"
    own = f"{table}path"
    return f"({own} = :path OR ({own} > :path || '/' AND {own} < :path || '0'))"


def _is_at_or_below(one: str, path: RelPath) -> bool:
    return not path or one == path or one.startswith(f"{path}/")


def _event(row: Row) -> Event:
    path, run, number, at_ns, what, size, digest, version, other, kept, reason, command = row
    hashed = Digest(f"{_SHA}{digest.hex()}") if digest is not None else None
    if what == RESTORE:
        command = "restore"
    elif number > _AFTER:
        command = "conflicts"
    return Event(
        path, run, number, at_ns, what, size, hashed, version, other, kept, reason, command
    )


# ------------------------------------------------------------------------- what is an event


def _is_plain(outcome: Outcome) -> bool:
    """True for a file that came, or went, where none was."""
    decision = outcome.decision
    return (
        decision.verb in _PLAIN
        and decision.base is None
        and (decision.local is None or decision.remote is None)
        and outcome.remote is not None
    )


def _events(outcome: Outcome, told: Circumstances) -> Iterator[Event]:
    """The events that an outcome without a problem is."""
    decision = outcome.decision
    verb, path, base = decision.verb, decision.path, decision.base
    file = _of_file(outcome)
    if base is not None and base.path != path and verb not in (Verb.HOLD, Verb.FORGET):
        kept = f"trash {told.trash}" if decision.replaces is not None and told.trash else None
        yield Event(base.path, 0, 0, 0, MOVED, *file, path)
        yield Event(path, 0, 0, 0, Verb.RENAME.value, *file, base.path, kept, _reason(decision))
    elif verb is Verb.CONFLICT and outcome.conflict_copy is not None:
        copy = outcome.conflict_copy
        yield Event(path, 0, 0, 0, verb.value, *file, copy, reason=_reason(decision))
    elif verb in _TOLD:
        reason = _reason(decision, told.delete_reason)
        yield Event(path, 0, 0, 0, verb.value, *file, None, _kept(outcome, told), reason)


def _of_file(outcome: Outcome) -> tuple[int | None, Digest | None, int | None]:
    """Size, hash and version of the file that an outcome is about."""
    decision, base = outcome.decision, outcome.decision.base
    local, remote = outcome.local or decision.local, outcome.remote or decision.remote
    if decision.verb is Verb.DELETE_LOCAL and local is not None:
        known = base.digest if base is not None and local.etag == base.local_etag else None
        return local.size, local.digest or known, None
    if remote is not None:
        digest = remote.digest or (local.digest if local is not None else None)
        if digest is None and base is not None and remote.etag == base.remote_etag:
            digest = base.digest
        return remote.size, digest, remote.version
    if local is not None:
        return local.size, local.digest, None
    return (base.size, base.digest, None) if base is not None else (None, None, None)


def _kept(outcome: Outcome, told: Circumstances) -> str | None:
    """Where the bytes are that this has replaced or deleted."""
    decision = outcome.decision
    in_trash = f"trash {told.trash}" if told.trash else None
    if decision.verb is Verb.DELETE_LOCAL:
        return in_trash
    if decision.verb is Verb.DOWNLOAD:
        # What a conflict's copy has is not in the trash.
        return in_trash if decision.local is not None and decision.copy is None else None
    if decision.verb is Verb.DELETE_REMOTE and not told.versions:
        return in_trash
    if decision.verb is Verb.UPLOAD and decision.remote is not None:
        return f"version {decision.remote.version}" if told.versions else in_trash
    return None


def _reason(decision: Decision, delete_reason: str = "") -> str | None:
    reason = shown_text(decision.reason)
    if decision.verb is Verb.DELETE_REMOTE and delete_reason:
        reason = f"{reason}; told to the server: {shown_text(delete_reason)}"
    return reason or None
