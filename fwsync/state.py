"""The state: the index, the base and the journal of runs. SQL is spoken here and just below.

The rooms below belong to this one: ``state_record`` writes what came of a decision,
``state_file`` opens and keeps the file, ``state_queries`` holds the longer SQL, and
``state_rows`` turns rows into nouns.

Its rule: the state may lag behind the world; it may never run ahead of it. Rows say what
has happened, and are written afterwards. From that follows ``synchronous=NORMAL``: in WAL
mode a power loss can take the last commits and never the consistency of the file, so what
is left is an older truth. A lost base row is found again as equal bytes on both sides, a
lost removal as a file gone on both. The end of a run and a clean close write everything
through, so that what was reported as done survives.

A :class:`State` belongs to one thread and, for writing, to one process: the caller holds
the locks of :mod:`fwsync.locks`. Iterators read a page at a time by key, so no statement
stays open between two calls and writing while one of them is on its way is safe.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from fwsync.model import BaseEntry, LocalEntry, Outcome, RelPath, RemoteEntry, Unknown
from fwsync.state_file import APPLICATION_ID, PAGE, StateFile, open_file
from fwsync.state_queries import (
    BASE_PAGE,
    LOCAL_PAGE,
    PUT_SCANNED,
    REMEMBER,
    REMOTE_PAGE,
    REMOTE_TABLE,
    STAMP_PAGE,
    TO_HASH,
)
from fwsync.state_record import record_outcome
from fwsync.state_rows import (
    OpenConflict,
    OpenProblem,
    Row,
    Run,
    ScanSummary,
    hash_row,
    remote_row,
    shown_text,
    stamp_row,
    to_base,
    to_local,
    to_remote,
)

__all__ = [
    "APPLICATION_ID",
    "GRANULARITY_NS",
    "OpenConflict",
    "OpenProblem",
    "Run",
    "ScanIntake",
    "ScanSummary",
    "State",
    "StateThread",
    "open_state",
]

P = ParamSpec("P")
T = TypeVar("T")

#: Nanoseconds. A kernel stamps files with the time of its last tick, 10 ms at most
#: (HZ=100); doubled. Coarse file systems: see ``filesystems.filesystem_of``.
GRANULARITY_NS = 20_000_000


def open_state(
    file: Path,
    *,
    create: bool = True,
    read_only: bool = False,
    granularity_ns: int = GRANULARITY_NS,
    busy_timeout_s: float = 30.0,
    called: Path | None = None,
    migrations: Traversable | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> State:
    """Open the state file, after checking it and bringing it up to date.

    Args:
        file: on a local file system; the caller holds its lock unless ``read_only``. A
            process opens it once: closing a second look at it would drop SQLite's locks.
        create: make a new one if it is missing. One that is there is never taken for new.
        read_only: for looking while another process may be at work; migrates nothing.
        granularity_ns: how far apart two writes must be for their stamps to differ.
        busy_timeout_s: how long to wait for a lock of another program.
        called: the name for messages, where ``file`` is a working copy of another.
        migrations: the folder of numbered SQL, for tests; None: that of the package.
        now_ns: the wall clock.

    Raises:
        StateDamaged: not a database, not ours, or it fails its check; nothing is changed.
        StateTooNew: written by a newer fwsync; the file is untouched.
        Locked: another program kept the file locked for too long.
        LocalError: missing and not to be created, no space, no access.
    """
    db = open_file(
        file,
        called or file,
        create=create,
        read_only=read_only,
        busy_timeout_s=busy_timeout_s,
        migrations=migrations,
        now_ns=now_ns,
    )
    return State(db, granularity_ns, now_ns)


class ScanIntake:
    """A scan on its way into the index: take batches, then finish, or drop it.

    Rows go in as they come, since a stamp without a hash claims nothing; what vanished
    goes at the end, when every unknown scope is known.
    """

    def __init__(self, db: StateFile) -> None:
        self._db = db
        self._rows = db.pages(STAMP_PAGE)
        self._row = next(self._rows, None)
        self._last = ""
        self._files = self._bytes = self._new = self._changed = 0
        self._fresh: list[Row] = []
        self._vanished: list[Row] = []
        self._any_vanished = False
        self._unknown: list[Unknown] = []

    def take(self, listing: Iterable[LocalEntry | Unknown]) -> None:
        """The next part of the listing: entries sorted, each once, unknown scopes anywhere.

        Raises:
            ValueError: not sorted, or a path twice.
        """
        row = self._row
        for item in listing:
            if isinstance(item, Unknown):
                self._unknown.append(item)
                continue
            path = item.path
            if path <= self._last:
                raise ValueError(f"{path}: not in order after {self._last}")
            self._last = path
            while row is not None and row[0] < path:
                self._vanished.append(row[:1])
                row = next(self._rows, None)
            seen = stamp_row(item)
            self._files += 1
            self._bytes += seen[1]
            if row is None or row[0] != path:
                self._new += 1
                self._fresh.append(seen)
            else:
                if _is_emptied_unseen(row, seen):
                    # What a power loss leaves behind, not an edit. The row stays as it
                    # was, so that the next scan sees the same.
                    reason = f"is empty, but its time says that it still has {row[1]} bytes"
                    self._unknown.append(Unknown(path, reason))
                elif row != seen:
                    self._changed += 1
                    self._fresh.append(seen)
                row = next(self._rows, None)
            if len(self._fresh) + len(self._vanished) >= PAGE:
                self._flush()
        self._row = row

    def finish(self) -> ScanSummary:
        """The listing is complete: drop the rows of what is gone."""
        while self._row is not None:
            self._vanished.append(self._row[:1])
            self._row = next(self._rows, None)
            if len(self._vanished) >= PAGE:
                self._flush()
        self._flush()
        return ScanSummary(
            files=self._files,
            bytes=self._bytes,
            new=self._new,
            changed=self._changed,
            gone=self._drop_vanished(self._unknown) if self._any_vanished else 0,
            unknown=tuple(self._unknown),
        )

    def _flush(self) -> None:
        if self._vanished and not self._any_vanished:
            self._any_vanished = True
            self._db.ask("DROP TABLE IF EXISTS temp.vanished")
            self._db.ask("CREATE TEMP TABLE vanished (path TEXT PRIMARY KEY) WITHOUT ROWID")
        if self._fresh or self._vanished:
            with self._db.change() as db:
                db.executemany(PUT_SCANNED, self._fresh)
                if self._vanished:
                    db.executemany("INSERT INTO temp.vanished VALUES (?)", self._vanished)
        self._fresh.clear()
        self._vanished.clear()

    def _drop_vanished(self, unknown: Sequence[Unknown]) -> int:
        with self._db.change() as db:
            for item in unknown:
                if not item.scope:
                    db.execute("DELETE FROM temp.vanished")
                # '0' follows '/': from the first to behind the last path below the scope
                db.execute(
                    "DELETE FROM temp.vanished WHERE path = :scope"
                    " OR (path >= :scope || '/' AND path < :scope || '0')",
                    {"scope": item.scope},
                )
            gone = db.execute("DELETE FROM local_file WHERE path IN temp.vanished").rowcount
            db.execute("DROP TABLE temp.vanished")
        return gone


def _is_emptied_unseen(row: Row, seen: Row) -> bool:
    """A file with content became one without, and its modification time did not move (S22)."""
    return bool(seen[1] == 0 < row[1] and seen[2] == row[2])


class State:
    """An open state file. Made by :func:`open_state`."""

    def __init__(self, db: StateFile, granularity_ns: int, now_ns: Callable[[], int]) -> None:
        self._db = db
        self._granularity = {"granularity": granularity_ns}
        self._now_ns = now_ns
        self._listing = False
        self.file = db.file  #: where it lies

    def close(self) -> None:
        """Write everything through and close; harmless a second time."""
        self._db.close()

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the index

    def start_scan(self) -> ScanIntake:
        """Take a scan in batches; see :class:`ScanIntake`."""
        return ScanIntake(self._db)

    def take_scan(self, listing: Iterable[LocalEntry | Unknown]) -> ScanSummary:
        """Bring the index in line with a complete listing of the root.

        A row whose stamp is unchanged is not touched, so a scan that finds nothing
        writes nothing; rows at or below an unknown scope are kept.

        Args:
            listing: sorted by path, each path once; unknown scopes anywhere in between.

        Raises:
            ValueError: not sorted, or a path twice.
        """
        intake = self.start_scan()
        intake.take(listing)
        return intake.finish()

    def remember(self, entries: Iterable[tuple[LocalEntry, int]]) -> None:
        """Keep hashes, each only if the index still has the stamp it was made from.

        Args:
            entries: with ``etag``, and the wall clock in nanoseconds just before the
                stat that followed the reading and gave the entry's stamp.

        Raises:
            ValueError: an entry has no etag.
        """
        with self._db.change() as db:
            db.executemany(REMEMBER, (hash_row(entry, at) for entry, at in entries))

    def forget_hashes(self) -> None:
        """Trust no recorded hash: every file that must be compared is read again."""
        with self._db.change() as db:
            db.execute("UPDATE local_file SET etag = NULL, digest = NULL, hashed_at_ns = NULL")

    def to_hash(
        self, *, after: str = "", limit: int | None = None, renames: bool = False
    ) -> list[tuple[LocalEntry, bool]]:
        """The files to read before the three trees can be compared, sorted by path.

        Args:
            after: start behind this path; for taking them in parts.
            limit: at most so many; None: all.
            renames: also new files as large as one that is gone, which they may be.

        Returns:
            Each with whether its digest is wanted too, or only its tag.
        """
        self._need_listing()
        arguments = {
            "after": after,
            "limit": -1 if limit is None else limit,
            "renames": int(renames),
        }
        rows = self._db.ask(TO_HASH, arguments | self._granularity)
        return [(to_local(row), bool(row[9])) for row in rows]

    # -- the three trees

    def start_listing(self) -> None:
        """Forget the remote listing of an earlier run, and begin a new one."""
        self._db.ask("DROP TABLE IF EXISTS temp.remote_file")
        self._db.ask(REMOTE_TABLE)
        self._listing = True

    def take_listing(self, page: Iterable[RemoteEntry]) -> None:
        """Take a page of the remote's listing, in any order; all of it or nothing.

        Raises:
            ValueError: a path comes twice; the remote's room tells such files apart.
        """
        rows = [remote_row(entry) for entry in page]
        marks = ", ".join("?" * 10)
        try:
            with self._db.change("BEGIN") as db:  # temporary: no lock on the file itself
                db.executemany(f"INSERT INTO temp.remote_file VALUES ({marks})", rows)  # noqa: S608 - marks
        except sqlite3.IntegrityError as error:
            paths = [row[0] for row in rows]
            known = {
                path
                for path in paths
                if self._db.ask("SELECT 1 FROM temp.remote_file WHERE path = ?", (path,))
            }
            clashing = sorted({path for path in paths if path in known or paths.count(path) > 1})
            raise ValueError(f"listed twice: {', '.join(clashing[:5])}") from error

    def local_entries(self) -> Iterator[LocalEntry]:
        """The index, sorted by path; ``etag`` only where it can be trusted."""
        return map(to_local, self._db.pages(LOCAL_PAGE, self._granularity))

    def remote_entries(self) -> Iterator[RemoteEntry]:
        """The remote listing of this run, sorted by path.

        Raises:
            RuntimeError: there was no :meth:`start_listing`, which is not an empty listing.
        """
        self._need_listing()
        return map(to_remote, self._db.pages(REMOTE_PAGE))

    def base_entries(self) -> Iterator[BaseEntry]:
        """What both sides last agreed on, sorted by path."""
        return map(to_base, self._db.pages(BASE_PAGE))

    def knows_below(self, scope: RelPath) -> bool:
        """Is there a file at or below this path on the server, or was there an agreed one?"""
        self._need_listing()
        inside = "path = :scope OR (path > :scope || '/' AND path < :scope || '0')"
        sql = f"""SELECT EXISTS (SELECT 1 FROM base WHERE {inside})
            OR EXISTS (SELECT 1 FROM temp.remote_file WHERE {inside})"""  # noqa: S608 - constant
        return bool(self._db.ask(sql, {"scope": scope})[0][0])

    # -- what happened

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what happened, in one transaction.

        Args:
            outcomes: those with a problem change nothing but the list of problems. A hash
                that comes with no ``hashed_at_ns``, and is not in the index already, is
                made again by the next run.

        Raises:
            ValueError: agreement without both entries, or on different bytes.
        """
        with self._db.change() as db:
            for outcome in outcomes:
                record_outcome(db, outcome, self._now_ns)

    def begin_run(self, command: str, remote: str) -> int:
        """A run starts; gives its number."""
        sql = "INSERT INTO run (command, remote, started_ns) VALUES (?, ?, ?) RETURNING id"
        return int(
            self._db.ask(sql, (shown_text(command), shown_text(remote), self._now_ns()))[0][0]
        )

    def end_run(self, run: int, exit_code: int, summary: Mapping[str, Any]) -> None:
        """A run has ended; all it recorded is on disk when this returns."""
        text = json.dumps(dict(summary), ensure_ascii=True)
        sql = "UPDATE run SET ended_ns = ?, exit_code = ?, summary = ? WHERE id = ?"
        self._db.ask(sql, (self._now_ns(), exit_code, text, run))
        self._db.ask("PRAGMA wal_checkpoint(TRUNCATE)")

    def last_runs(self, count: int = 10) -> list[Run]:
        """The latest runs, the newest first."""
        rows = self._db.ask("SELECT * FROM run ORDER BY id DESC LIMIT ?", (count,))
        return [Run(*(*row[:6], json.loads(row[6] or "{}"))) for row in rows]

    # -- what a person may ask

    def counts(self) -> dict[str, int]:
        """How many of each: for ``fwsync status``."""
        names = ("files", "bytes", "held", "indexed", "conflicts", "problems")
        sql = """SELECT (SELECT count(*) FROM base), (SELECT coalesce(sum(size), 0) FROM base),
            (SELECT count(*) FROM base WHERE held <> ''), (SELECT count(*) FROM local_file),
            (SELECT count(*) FROM conflict WHERE closed_at_ns IS NULL),
            (SELECT count(*) FROM problem)"""
        return dict(zip(names, self._db.ask(sql)[0], strict=True))

    def problems(self) -> list[OpenProblem]:
        """What failed and has not succeeded since, sorted by path."""
        return [
            OpenProblem(path, message, hint, bool(retryable), *rest)
            for path, message, hint, retryable, *rest in self._db.ask(
                "SELECT * FROM problem ORDER BY path"
            )
        ]

    def drop_problems(self, *, not_seen_since_ns: int) -> int:
        """After a complete run: drop the problems that it did not meet again."""
        sql = "DELETE FROM problem WHERE last_seen_ns < ? RETURNING 1"
        return len(self._db.ask(sql, (not_seen_since_ns,)))

    def conflicts(self) -> list[OpenConflict]:
        """The open conflicts, the oldest first."""
        sql = """SELECT id, path, copy_path, at_ns, local_digest, remote_digest FROM conflict
            WHERE closed_at_ns IS NULL ORDER BY id"""
        return [OpenConflict(*row) for row in self._db.ask(sql)]

    def close_conflict(self, conflict: int) -> None:
        """Somebody has dealt with it."""
        sql = "UPDATE conflict SET closed_at_ns = ? WHERE id = ? AND closed_at_ns IS NULL"
        self._db.ask(sql, (self._now_ns(), conflict))

    def setting(self, key: str) -> str | None:
        """A setting's value, or None."""
        rows = self._db.ask("SELECT value FROM setting WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_setting(self, key: str, value: str | None) -> None:
        """Keep a setting, or with None drop it. Never a secret."""
        if value is None:
            self._db.ask("DELETE FROM setting WHERE key = ?", (key,))
        else:
            self._db.ask("INSERT OR REPLACE INTO setting VALUES (?, ?)", (key, value))

    def save_copy(self, target: Path, *, scratch: Path | None = None) -> None:
        """A checked, self-contained copy at ``target``, whole or not there.

        Raises:
            LocalError: no space, or ``target`` cannot be written; an older copy stays.
        """
        self._db.save_copy(target, scratch)

    # -- inside

    def _need_listing(self) -> None:
        if not self._listing:
            raise RuntimeError("the remote was not listed in this run")


class StateThread:
    """One state and the one thread that may touch it.

    Calls are carried out in the order they were made. One that has been made is carried
    out even if its caller is cancelled: what happened is recorded.
    """

    def __init__(self, executor: ThreadPoolExecutor, state: State) -> None:
        self._executor = executor
        self._state = state

    @classmethod
    async def open(cls, opener: Callable[[], State]) -> StateThread:
        """Start the thread and open the state in it.

        Args:
            opener: ``partial(open_state, file)``.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="fwsync-state")
        try:
            state = await asyncio.get_running_loop().run_in_executor(executor, opener)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(executor, state)

    async def call(
        self, fn: Callable[Concatenate[State, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """In the state's thread, as in ``await thread.call(State.record, outcomes)``."""
        work = partial(fn, self._state, *args, **kwargs)
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._executor, work))

    async def close(self) -> None:
        """Wait for the calls that were made, then close the state and end the thread."""
        try:
            await self.call(State.close)
        finally:
            self._executor.shutdown(wait=False)
