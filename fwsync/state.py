"""The state: the index, the base and the journal of runs. SQL is spoken here and just below.

The rooms below belong to this one: ``state_scan`` takes a scan in, ``state_record`` writes
what came of a decision, ``state_file`` opens and keeps the file, ``state_queries`` holds the
longer SQL, and ``state_rows`` turns rows into nouns.

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
from operator import itemgetter
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from fwsync.model import (
    BaseEntry,
    LocalEntry,
    Outcome,
    RelPath,
    RemoteEntry,
    SeenRow,
    Unknown,
)
from fwsync.ports import ListedRow
from fwsync.selection import Reach
from fwsync.state_conflicts import Copies
from fwsync.state_downloads import Downloads
from fwsync.state_extras import Extras
from fwsync.state_file import APPLICATION_ID, StateFile, open_file
from fwsync.state_given import GivenNames
from fwsync.state_guards import Numbers
from fwsync.state_history import Circumstances, History
from fwsync.state_moves import Moves
from fwsync.state_names import Aliases
from fwsync.state_paths import Paths, Seen, glance
from fwsync.state_places import Clash, PlacedFile, Places
from fwsync.state_queries import (
    ALL_IN_STEP,
    ALL_IN_STEP_MAPPED,
    BASE_PAGE,
    IN_STEP,
    IN_STEP_MAPPED,
    IN_STEP_TABLE,
    LOCAL_PAGE,
    OUT_OF_STEP,
    PUT_LISTED,
    PUT_LISTED_ROWS,
    REMEMBER,
    REMOTE_PAGE,
    REMOTE_TABLE,
    TAKES_PART,
    TO_HASH,
    TO_HASH_MAPPED,
)
from fwsync.state_record import put_rows, record_outcomes
from fwsync.state_rows import (
    OpenConflict,
    OpenProblem,
    Run,
    ScanSummary,
    digest_key,
    files_of,
    hash_row,
    remote_row,
    shown_text,
    to_base,
    to_local,
    to_remote,
)
from fwsync.state_scan import ScanIntake
from fwsync.state_selection import LEFT_OUT_TABLE, leave_out
from fwsync.state_standoffs import Standoffs
from fwsync.state_told import Told
from fwsync.state_uploads import Uploads

__all__ = [
    "APPLICATION_ID",
    "GRANULARITY_NS",
    "Circumstances",
    "Clash",
    "OpenConflict",
    "OpenProblem",
    "PlacedFile",
    "Run",
    "ScanIntake",
    "ScanSummary",
    "State",
    "StateThread",
    "files_of",
    "open_state",
]

P = ParamSpec("P")
T = TypeVar("T")

#: Nanoseconds. A kernel stamps files with the time of its last tick, 10 ms at most
#: (HZ=100); doubled. Coarse file systems: see ``filesystems.filesystem_of``.
GRANULARITY_NS = 20_000_000

#: Nothing is told of a run beside its outcomes.
NOTHING_TOLD = Circumstances()


def open_state(
    file: Path,
    *,
    create: bool = True,
    read_only: bool = False,
    older_too: bool = False,
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
        older_too: with ``read_only``, also one that an older fwsync has left; only its settings
            may be asked for then, and a copy of it.
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
        older_too=older_too,
        busy_timeout_s=busy_timeout_s,
        migrations=migrations,
        now_ns=now_ns,
    )
    return State(db, granularity_ns, now_ns)


class State:
    """An open state file. Made by :func:`open_state`."""

    def __init__(self, db: StateFile, granularity_ns: int, now_ns: Callable[[], int]) -> None:
        self._db = db
        self._granularity = {"granularity": granularity_ns}
        self._now_ns = now_ns
        self._listing = False
        self._in_step_at: object = None  # the state of things that ``temp.in_step`` is of
        self._all_in_step = False  # it holds every path of all three trees
        self.places = Places(db, granularity_ns)
        self.moves = Moves(db, granularity_ns, self.places)
        self.uploads = Uploads(db, now_ns)
        self.downloads = Downloads(db, now_ns)
        self.aliases = Aliases(db)
        self.extras = Extras(db, granularity_ns)
        self.given_names = GivenNames(db)
        self.told = Told(db)
        self.numbers = Numbers(db)
        self.history = History(db)
        self.standoffs = Standoffs(db)
        self.paths = Paths(db)
        self.copies = Copies(db, self.history, self.standoffs, now_ns)
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

    def take_scan(self, listing: Iterable[SeenRow | LocalEntry | Unknown]) -> ScanSummary:
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

        Of a pack, its digest is kept; its members come by themselves.

        Args:
            entries: with ``etag``, and the wall clock in nanoseconds just before the
                stat that followed the reading and gave the entry's stamp.

        Raises:
            ValueError: an entry has no etag.
        """
        known = list(entries)
        packs = [entry for entry, _ in known if entry.pack is not None]
        plain = [
            (file, at)
            for entry, at in known
            for file in files_of(entry)
            if file.etag is not None or entry.pack is None
        ]
        with self._db.change() as db:
            db.executemany(REMEMBER, (hash_row(entry, at) for entry, at in plain))
            db.executemany(
                "INSERT OR REPLACE INTO pack_digest VALUES (?, ?)",
                [(digest_key(entry), entry.digest) for entry in packs if entry.digest is not None],
            )
        self.places.take_hashes()

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
        self._find_in_step()
        if self._all_in_step:
            return []
        arguments = {
            "after": after,
            "limit": -1 if limit is None else limit,
            "renames": int(renames),
            "deflates": int(self.places.deflates),
        }
        sql = TO_HASH_MAPPED if self.places.active else TO_HASH
        rows = self._db.ask(sql, arguments | self._granularity)
        entry_of = self.places.entry_of if self.places.active else to_local
        return [(entry_of(row), bool(row[-1])) for row in rows]

    # -- the three trees

    def start_listing(self) -> None:
        """Forget the remote listing of an earlier run, and begin a new one."""
        for table, made in (("remote_file", REMOTE_TABLE), ("left_out", LEFT_OUT_TABLE)):
            self._db.ask(f"DROP TABLE IF EXISTS temp.{table}")
            self._db.ask(made)
        self._listing = True

    def take_listing(self, page: Iterable[RemoteEntry | ListedRow]) -> None:
        """Take a page of the remote's listing, in any order; all of it or nothing.

        Raises:
            ValueError: a path comes twice; the remote's room tells such files apart.
        """
        given = (one if isinstance(one, tuple) else remote_row(one) for one in page)
        rows = sorted(given, key=itemgetter(0))  # neighbours share a page
        try:
            with self._db.change("BEGIN") as db:  # temporary: no lock on the file itself
                put_rows(db, PUT_LISTED, PUT_LISTED_ROWS, rows)
        except sqlite3.IntegrityError as error:
            paths = [row[0] for row in rows]
            known = {
                path
                for path in paths
                if self._db.ask("SELECT 1 FROM temp.remote_file WHERE path = ?", (path,))
            }
            clashing = sorted({path for path in paths if path in known or paths.count(path) > 1})
            raise ValueError(f"listed twice: {', '.join(clashing[:5])}") from error

    def leave_out(self, reach: Reach) -> int:
        """Take out of this run what a selection leaves out; after the whole listing.

        Returns:
            How many agreed files take no part.
        """
        self._need_listing()
        self.places.refresh()
        return leave_out(self._db, reach, "temp.mapped" if self.places.active else "local_file")

    def local_entries(self) -> Iterator[LocalEntry]:
        """What is here, sorted by path; ``etag`` only where it can be trusted.

        The index, or what a layout makes of it: see :attr:`places`.
        """
        return self.places.entries() if self.places.active else self.files()

    def files(self) -> Iterator[LocalEntry]:
        """The index: files as they lie on this disk, sorted; ``etag`` as above."""
        return map(to_local, self._db.pages(LOCAL_PAGE, self._granularity))

    def file_at(self, path: RelPath) -> LocalEntry | None:
        """One file of the index."""
        rows = self._db.ask(f"{LOCAL_PAGE} WHERE path = :path", {**self._granularity, "path": path})
        return to_local(rows[0]) if rows else None

    def glance(self, path: RelPath) -> Seen:
        """One path as the three trees have it; after the listing."""
        self._need_listing()
        granularity_ns = self._granularity["granularity"]
        return glance(self._db, path, granularity_ns, placed=self.places.active)

    def files_after(self, path: str, count: int) -> list[LocalEntry]:
        """The next so many files of the index behind a path."""
        sql = f"{LOCAL_PAGE} WHERE path > :after ORDER BY path LIMIT :count"
        return [
            to_local(row)
            for row in self._db.ask(sql, {**self._granularity, "after": path, "count": count})
        ]

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

    def out_of_step(
        self,
    ) -> tuple[Iterator[LocalEntry], Iterator[RemoteEntry], Iterator[BaseEntry]]:
        """The three trees without the files on which no verdict falls.

        They are in step, or a selection leaves them out.

        What a tree of a million files costs that nobody has touched is one join, and no
        object for any of them. What is recorded while the trees are read changes nothing
        of what is left out.

        Raises:
            RuntimeError: as in :meth:`remote_entries`.
        """
        self._need_listing()
        self.places.refresh()
        if self._in_step_at != self._db.changes():
            self._find_in_step()
        if self._all_in_step:
            return iter(()), iter(()), iter(())
        self._db.ask("INSERT OR IGNORE INTO temp.in_step SELECT path FROM temp.left_out")
        here = (
            self.places.entries(OUT_OF_STEP)
            if self.places.active
            else map(to_local, self._db.pages(LOCAL_PAGE, self._granularity, OUT_OF_STEP))
        )
        return (
            here,
            map(to_remote, self._db.pages(REMOTE_PAGE, only=OUT_OF_STEP)),
            map(to_base, self._db.pages(BASE_PAGE, only=OUT_OF_STEP)),
        )

    def agreed_files(self) -> Iterator[RelPath]:
        """The paths of both sides' last agreement, and the files here that made them."""
        yield from (one.path for one in self.base_entries())
        yield from (RelPath(row[0]) for row in self._db.ask("SELECT source FROM base_source"))

    def knows_below(self, scope: RelPath) -> bool:
        """Is there a file at or below this path on the server, or was there an agreed one?

        Also one that was made of files there, by a layout.
        """
        self._need_listing()
        inside = "path = :scope OR (path > :scope || '/' AND path < :scope || '0')"
        sql = f"""SELECT EXISTS (SELECT 1 FROM base WHERE ({inside}) AND {TAKES_PART})
            OR EXISTS (SELECT 1 FROM base_source
                WHERE ({inside.replace("path", "source")}) AND {TAKES_PART})
            OR EXISTS (SELECT 1 FROM temp.remote_file WHERE {inside})"""  # noqa: S608 - constant
        return bool(self._db.ask(sql, {"scope": scope})[0][0])

    # -- what happened

    def record(self, outcomes: Sequence[Outcome], told: Circumstances = NOTHING_TOLD) -> None:
        """Write down what happened, in one transaction.

        Args:
            told: for the history.
            outcomes: those with a problem change nothing but the list of problems. A hash
                that comes with no ``hashed_at_ns``, and is not in the index already, is
                made again by the next run.

        Raises:
            ValueError: agreement without both entries, or on different bytes.
        """
        with self._db.change() as db:
            now_ns, run = self._now_ns(), self.history.run
            left = self.standoffs.take(db, outcomes, run=run, at_ns=now_ns)
            self.history.take(db, outcomes, now_ns, told, left)
            record_outcomes(db, outcomes, self._now_ns, run)

    def forget_agreed(self, paths: Iterable[RelPath]) -> None:
        """Both sides have agreed on none of these, as if they had never met."""
        with self._db.change() as db:
            db.executemany("DELETE FROM base WHERE path = ?", ((path,) for path in paths))

    def begin_run(self, command: str, remote: str) -> int:
        """A run starts; gives its number."""
        sql = "INSERT INTO run (command, remote, started_ns) VALUES (?, ?, ?) RETURNING id"
        row = self._db.ask(sql, (shown_text(command), shown_text(remote), self._now_ns()))[0]
        self.history.begin(int(row[0]))
        return int(row[0])

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
        sql = """SELECT count(*), coalesce(sum(size) FILTER (WHERE held = ''), 0),
            count(*) FILTER (WHERE held <> ''),
            (SELECT count(*) FROM local_file),
            (SELECT count(*) FROM conflict WHERE closed_at_ns IS NULL),
            (SELECT count(*) FROM problem) FROM base"""
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
        return self.copies.open()

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

    def _find_in_step(self) -> None:
        """Fill ``temp.in_step``: what it holds is so until the next change."""
        self.places.refresh()
        self._db.ask("DROP TABLE IF EXISTS temp.in_step")
        self._db.ask(IN_STEP_TABLE)
        self._db.ask(IN_STEP_MAPPED if self.places.active else IN_STEP, self._granularity)
        all_in_step = ALL_IN_STEP_MAPPED if self.places.active else ALL_IN_STEP
        self._all_in_step = bool(self._db.ask(all_in_step)[0][0])
        self._in_step_at = self._db.changes()

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

    def ask(self, fn: Callable[Concatenate[State, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a thread that is neither the state's nor the event loop's; it blocks."""
        return self._executor.submit(partial(fn, self._state, *args, **kwargs)).result()

    async def close(self) -> None:
        """Wait for the calls that were made, then close the state and end the thread."""
        try:
            await self.call(State.close)
        finally:
            self._executor.shutdown(wait=False)
