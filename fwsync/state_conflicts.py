"""The conflicts that kept both: their copies, and how they are settled.

Its rule: a conflict is closed once, and the history says how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fwsync.model import ConflictPolicy, RelPath, Stamp
from fwsync.state_file import StateFile
from fwsync.state_history import RESOLVE, Event, History
from fwsync.state_rows import OpenConflict
from fwsync.state_standoffs import Standoffs


class Copies:
    """The open conflicts of a state; belongs to the state's thread, as the state does."""

    def __init__(
        self, db: StateFile, history: History, standoffs: Standoffs, now_ns: Callable[[], int]
    ) -> None:
        self._db = db
        self._history = history
        self._standoffs = standoffs
        self._now_ns = now_ns

    def open(self) -> list[OpenConflict]:
        """The open conflicts, the oldest first."""
        sql = """SELECT id, path, copy_path, at_ns, local_digest, remote_digest, run, remote_etag,
            copy_size, copy_mtime_ns, taking_back FROM conflict
            WHERE closed_at_ns IS NULL ORDER BY id"""
        return [OpenConflict(*row) for row in self._db.ask(sql)]

    def count_open(self) -> int:
        """How many conflicts wait for a person: with a copy, or left as they are."""
        sql = """SELECT (SELECT count(*) FROM conflict WHERE closed_at_ns IS NULL)
            + (SELECT count(*) FROM standoff)"""
        return int(self._db.ask(sql)[0][0])

    def close(self, conflict: int, how: str = "", kept: str | None = None) -> None:
        """Somebody has dealt with it.

        Args:
            conflict: its id.
            how: for the history, as ``kept``, which says where bytes went.
        """
        sql = """UPDATE conflict SET closed_at_ns = ? WHERE id = ? AND closed_at_ns IS NULL
            RETURNING path, copy_path"""
        with self._db.change() as db:
            for path, copy in db.execute(sql, (self._now_ns(), conflict)).fetchall():
                event = Event(path, 0, 0, self._now_ns(), RESOLVE, other=copy, kept=kept)
                self._history.add(db, replace(event, reason=how or None))

    def open_again(self, path: RelPath, copy: RelPath) -> None:
        """A copy is there that no conflict on record speaks of: it waits for a person again."""
        sql = """INSERT INTO conflict (path, copy_path, at_ns) VALUES (?, ?, ?)
            ON CONFLICT (copy_path) DO UPDATE SET (path, taking_back, closed_at_ns) =
            (excluded.path, NULL, NULL)"""
        self._db.ask(sql, (path, copy, self._now_ns()))

    def begin_taking_back(self, conflict: int, which: str) -> None:
        """A conflict's copy is about to take its path back; durable when this returns."""
        sql = "UPDATE conflict SET taking_back = ? WHERE id = ?"
        self._db.ask(sql, (which, conflict))
        self._db.ask("PRAGMA wal_checkpoint(TRUNCATE)")

    def follow(self, conflict: int, path: RelPath, copy: RelPath) -> None:
        """A conflict's copy has moved with its folder."""
        sql = "UPDATE OR IGNORE conflict SET path = ?, copy_path = ? WHERE id = ?"
        self._db.ask(sql, (path, copy, conflict))

    def choose(self, path: RelPath, policy: ConflictPolicy, stamp: Stamp) -> None:
        """Keep what a person says of a file of which no copy was made; durable after this.

        Args:
            path: of the file.
            policy: for it alone, and for the next run.
            stamp: of the file here, which is meant and no other.
        """
        with self._db.change() as db:
            self._standoffs.choose(db, path, policy, stamp)
            how = f"keep-{policy.value.removeprefix('keep-')}, by the next run"
            self._history.add(db, Event(path, 0, 0, self._now_ns(), RESOLVE, reason=how))
        self._db.ask("PRAGMA wal_checkpoint(TRUNCATE)")

    def files_named(self, name: str) -> list[RelPath]:
        """The files of the index in some folder that bear a name."""
        sql = "SELECT path FROM local_file WHERE substr(path, -length(:end)) = :end ORDER BY path"
        return [RelPath(row[0]) for row in self._db.ask(sql, {"end": f"/{name}"})]

    def lies_at(self, path: RelPath) -> str:
        """Where an agreed file lies here, as the file system spells it."""
        sources = self._db.ask("SELECT source FROM base_source WHERE path = ?", (path,))
        source = sources[0][0] if len(sources) == 1 else path
        rows = self._db.ask("SELECT disk_path FROM local_file WHERE path = ?", (source,))
        return str(rows[0][0]) if rows and rows[0][0] is not None else str(source)
