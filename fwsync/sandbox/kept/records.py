"""The records: one SQLite file, one thread that writes, a few that read.

Its one rule: a write that has been awaited is committed. Writes that wait at the same time share
a commit, so that a thousand small uploads do not cost a thousand transactions.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from secrets import randbits
from typing import Any, Concatenate, ParamSpec, TypeVar

from fwsync.errors import StateDamaged, StateTooNew
from fwsync.sandbox.kept import naming

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = sorted(Path(__file__).with_name("schema").glob("[0-9]*.sql"))
SCHEMA_VERSION = len(SCHEMA)
APPLICATION_ID = 0x66777362  # "fwsb"
READERS = 3  # threads; more would only queue for the interpreter
MAX_BATCH = 512  # writes in one commit


class Pen:
    """What a writing job holds: the connection, new ids, and the time of the write.

    Ids and times only ever grow, over restarts too, so the oldest thing has the smallest id and
    two versions of a file never carry the same time.
    """

    def __init__(self, db: sqlite3.Connection, machine: int) -> None:
        self.db = db
        self.now = ""
        self.rule: naming.Rule = ""
        self._machine = machine << 24
        row = db.execute(
            "SELECT max(id) FROM (SELECT max(id) AS id FROM files UNION ALL"
            " SELECT max(id) FROM containers WHERE kind != 'group'"
            " UNION ALL SELECT max(id) FROM devices)"
        ).fetchone()
        self._last_id = int(row[0] or "0", 16)
        row = db.execute(
            "SELECT max(m) FROM (SELECT max(modified) AS m FROM containers UNION ALL SELECT *"
            " FROM (SELECT created FROM versions ORDER BY seq DESC LIMIT 1)"
            " UNION ALL SELECT value FROM settings WHERE name = 'edited')"
        ).fetchone()
        self._last = datetime.fromisoformat(row[0]) if row[0] else datetime.min.replace(tzinfo=UTC)

    def named(self, text: str) -> str:
        """A label or file name as it is kept.

        Raises:
            ApiError: 400, this site does not take it.
        """
        return naming.named(self.rule, text)

    def tick(self) -> None:
        """Look at the clock for the next job."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        self.now = self._last.isoformat(timespec="microseconds")

    def keep_time(self) -> None:
        """Remember the time: not every job leaves a new row that has it."""
        self.db.execute(
            "INSERT INTO settings VALUES ('edited', ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (self.now,),
        )

    def new_id(self) -> str:
        """24 hex digits, larger than any before: seconds, this data folder, a counter."""
        seconds = int(self._last.timestamp())
        self._last_id = max(self._last_id + 1, (seconds << 64) | self._machine)
        return f"{self._last_id:024x}"


@dataclass
class _Job:
    work: Callable[[Pen], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Records:
    """The door to the database; made by :func:`open_records`."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sandbox-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pen = _first_pen(path, durable=durable)
        self._pen.tick()
        self._writer = threading.Thread(target=self._write_all, name="sandbox-write", daemon=True)
        self._writer.start()
        #: Grows with each commit; what was counted at one value holds while it stays.
        self.generation = 0
        #: The time of the newest job that was committed. Every later one has a later time, so
        #: what the records said at this moment can be read again from the times in them.
        self.settled = self._pen.now

    def rule_names(self, rule: naming.Rule) -> None:
        """From the next job on, labels and file names are kept by this rule."""
        self._pen.rule = rule

    async def read(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``job`` on a reading thread, with that thread's connection."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: job(self._connection(), *args, **kwargs)
        )

    async def write(
        self, job: Callable[Concatenate[Pen, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``job`` on the writing thread; returns after the commit that contains it.

        A job that raises leaves nothing behind, and does not disturb the jobs it shares a
        commit with.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(lambda pen: job(pen, *args, **kwargs), loop, future))
        return await future

    def connect(self, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
        """A reading connection of one's own, for a job of many steps; the caller closes it."""
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, factory=factory
        )
        connection.execute("PRAGMA query_only = 1")
        connection.create_function("REGEXP", 2, _matches, deterministic=True)
        connection.row_factory = sqlite3.Row
        return connection

    def close(self) -> None:
        """Finish what was asked for, and close. Blocks; call it from a thread."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.connect()
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def _write_all(self) -> None:
        while True:
            job = self._jobs.get()
            batch: list[_Job] = []
            while job is not None:
                batch.append(job)
                if len(batch) == MAX_BATCH:
                    break
                try:
                    job = self._jobs.get_nowait()
                except Empty:
                    break
            if batch:
                self._commit(batch)
            if job is None:
                self._pen.db.close()
                return

    def _commit(self, batch: list[_Job]) -> None:
        db = self._pen.db
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(job)
            self._pen.keep_time()
            db.execute("COMMIT")
            self.settled = self._pen.now
        except sqlite3.Error as error:  # no space, an I/O error: nothing of the batch was kept
            if db.in_transaction:
                db.execute("ROLLBACK")
            for job in batch:
                job.error = job.error or error
        self.generation += 1
        for loop in {job.loop for job in batch}:
            try:
                loop.call_soon_threadsafe(_deliver, [job for job in batch if job.loop is loop])
            except RuntimeError:  # the loop was closed: nobody waits any more
                continue

    def _run(self, job: _Job) -> None:
        db = self._pen.db
        self._pen.tick()
        db.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._pen)
        except Exception as error:
            job.error = error
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _matches(pattern: str, text: str | None) -> bool:
    """SQL's ``text REGEXP pattern``: found anywhere."""
    return text is not None and _compiled(pattern).search(text) is not None


def _deliver(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():  # cancelled meanwhile
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


async def open_records(path: Path, *, durable: bool) -> Records:
    """Open or make the database.

    Args:
        path: of the file; its folder exists.
        durable: a commit survives a power loss too, not only a killed process.

    Raises:
        StateTooNew: made by a newer fwsync.
        StateDamaged: not a sandbox's database.
    """
    return await asyncio.to_thread(Records, path, durable=durable)


def _first_pen(path: Path, *, durable: bool) -> Pen:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("PRAGMA cache_size = -65536")  # KiB
        _migrate(db, path)
        drawn = str(randbits(39))  # kept only the first time
        db.execute("INSERT OR IGNORE INTO settings VALUES ('machine', ?)", (drawn,))
        machine = db.execute("SELECT value FROM settings WHERE name = 'machine'").fetchone()
        return Pen(db, int(machine[0]))
    except sqlite3.DatabaseError as error:
        db.close()
        raise StateDamaged(f"{path}: cannot be used as a sandbox's database ({error})") from error
    except BaseException:
        db.close()
        raise


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    with closing(db.execute("PRAGMA user_version")) as answer:
        version: int = answer.fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StateTooNew(f"{path}: made by a newer fwsync (schema {version})")
    for number, script in enumerate(SCHEMA[version:], start=version + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {script.read_text('utf-8')}"
            f" PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {number}; COMMIT;"
        )
