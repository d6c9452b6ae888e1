"""What fwsync wrote beside the user's files, as a scan meets it; and what a listing waits for.

Its rule: nothing here grows in memory with the project. It lies in temporary tables, which
end with the run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from fwsync.model import LocalEntry, RelPath, RemoteEntry, SeenRow, Unknown
from fwsync.state_file import StateFile
from fwsync.state_rows import Row, remote_row, stamp_row, to_remote

#: Entries of a scan that are looked up together; paths that are noted together.
_PART: Final = 1000

SEEN: Final = """CREATE TEMP TABLE IF NOT EXISTS extra_seen (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, disk_path TEXT
) STRICT, WITHOUT ROWID"""
_NOTED: Final = """CREATE TEMP TABLE IF NOT EXISTS extra_noted (
    path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID"""
_FILE: Final = """CREATE TEMP TABLE IF NOT EXISTS extra_file (
    inode INTEGER NOT NULL, device INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, path TEXT NOT NULL, PRIMARY KEY (inode, path)
) STRICT, WITHOUT ROWID"""
_HELD: Final = """CREATE TEMP TABLE IF NOT EXISTS extra_held (
    id TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT"""
_OWED: Final = """CREATE TEMP TABLE IF NOT EXISTS extra_owed (
    path TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, digest TEXT,
    level TEXT NOT NULL, container_id TEXT NOT NULL, name TEXT NOT NULL, file_id TEXT NOT NULL,
    version INTEGER NOT NULL, modified_ns INTEGER NOT NULL, called TEXT NOT NULL,
    PRIMARY KEY (container_id, called)
) STRICT, WITHOUT ROWID"""

_OURS = """SELECT value FROM json_each(?) AS one WHERE
    EXISTS (SELECT 1 FROM extra AS x WHERE x.path = one.value)
    OR EXISTS (SELECT 1 FROM temp.extra_noted AS n WHERE n.path = one.value)"""
_SAME_INODE = """SELECT device, inode, size, mtime_ns FROM temp.extra_file
    WHERE inode IN (SELECT value FROM json_each(?))"""


class Scanned:
    """What a scan meets of ours; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db
        self.unseen: list[Unknown] = []  #: what the scan could not see

    def pass_over(
        self, scan: Iterable[SeenRow | Unknown], noted: Iterable[RelPath] = ()
    ) -> Iterator[SeenRow | Unknown]:
        """The scan without them; what is here of them is kept for the comparison.

        They are known by their paths; one that the user has moved, by being the same file.

        Args:
            scan: all that is here.
            noted: paths that are noted beside the state.
        """
        self.unseen = []
        for name, sql in ("extra_seen", SEEN), ("extra_noted", _NOTED), ("extra_file", _FILE):
            self._db.ask(sql)
            self._db.ask(f"DELETE FROM temp.{name}")  # noqa: S608 - a constant
        self.note(noted)
        self._db.ask(
            "INSERT INTO temp.extra_file SELECT inode, device, size, mtime_ns, path FROM extra"
        )
        tables = "SELECT 1 FROM temp.extra_file UNION ALL SELECT 1 FROM temp.extra_noted LIMIT 1"
        entries = iter(scan)
        if not self._db.ask(tables):
            yield from entries
            return
        while part := list(islice(entries, _PART)):
            yield from self._others(part)

    def _others(self, part: Sequence[SeenRow | Unknown]) -> Iterator[SeenRow | Unknown]:
        """Those of a part of a scan that are not ours."""
        here = [LocalEntry.of(one) for one in part if not isinstance(one, Unknown)]
        paths = json.dumps([one.path for one in here])
        ours = {row[0] for row in self._db.ask(_OURS, (paths,))}
        rows = {one.path: stamp_row(one) for one in here if one.path in ours}
        with self._db.change("BEGIN") as db:
            marks = ", ".join("?" * 7)
            db.executemany(f"INSERT INTO temp.extra_seen VALUES ({marks})", rows.values())  # noqa: S608 - marks
        moved = self._moved([one for one in here if one.path not in ours])
        for one in part:
            if isinstance(one, Unknown):
                self.unseen.append(one)
                yield one
            elif one[0] not in ours and one[0] not in moved:
                yield one

    def _moved(self, others: Sequence[LocalEntry]) -> set[RelPath]:
        """Those that are files of ours under another name."""
        rows = {one.path: stamp_row(one) for one in others}
        inodes = json.dumps([row[5] for row in rows.values()])
        files = set(self._db.ask(_SAME_INODE, (inodes,)))
        if not files:
            return set()
        return {path for path, row in rows.items() if (row[4], row[5], row[1], row[2]) in files}

    # -- what is noted beside the state

    def note(self, paths: Iterable[RelPath]) -> None:
        """These are noted there."""
        self._db.ask(_NOTED)
        todo = iter(paths)
        while part := list(islice(todo, _PART)):
            with self._db.change("BEGIN") as db:
                rows = [(path,) for path in part]
                db.executemany("INSERT OR IGNORE INTO temp.extra_noted VALUES (?)", rows)

    def unnoted(self, paths: Sequence[RelPath]) -> list[RelPath]:
        """Those of these paths that are not noted there."""
        self._db.ask(_NOTED)
        sql = "SELECT 1 FROM temp.extra_noted WHERE path = ?"
        return [path for path in paths if not self._db.ask(sql, (path,))]

    def forget_noted(self, paths: Collection[RelPath]) -> None:
        """These are not noted any more."""
        self._db.ask(_NOTED)
        with self._db.change("BEGIN") as db:
            rows = [(path,) for path in paths]
            db.executemany("DELETE FROM temp.extra_noted WHERE path = ?", rows)

    def noted(self) -> Iterator[RelPath]:
        """All that are noted, sorted."""
        for row in self._db.pages("SELECT path FROM temp.extra_noted"):
            yield RelPath(row[0])

    def saw(self, rows: Sequence[tuple[RelPath, Row]]) -> None:
        """What was seen at a path lies at another one now, as a row of the index says."""
        self._db.ask(SEEN)
        with self._db.change("BEGIN") as db:
            db.executemany("DELETE FROM temp.extra_seen WHERE path = ?", [old[:1] for old in rows])
            marks = ", ".join("?" * 7)
            put = f"INSERT OR REPLACE INTO temp.extra_seen VALUES ({marks})"  # noqa: S608 - marks
            db.executemany(put, [row for _, row in rows])


class Waiting:
    """What a listing has come by that has no place yet, or of which more is to come."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def start_listing(self) -> None:
        """Forget what an earlier listing left."""
        for name, sql in ("extra_held", _HELD), ("extra_owed", _OWED):
            self._db.ask(sql)
            self._db.ask(f"DELETE FROM temp.{name}")  # noqa: S608 - a constant

    def hold(self, texts: Sequence[tuple[str, bytes]]) -> None:
        """Keep the sidecars of containers, by their ids."""
        with self._db.change("BEGIN") as db:
            db.executemany("INSERT OR REPLACE INTO temp.extra_held VALUES (?, ?)", texts)

    def take_held(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The sidecars of these containers, which are held no more."""
        told = (json.dumps(ids),)
        found = "temp.extra_held WHERE id IN (SELECT value FROM json_each(?))"
        texts: dict[str, bytes] = dict(self._db.ask(f"SELECT id, content FROM {found}", told))  # noqa: S608 - a constant
        self._db.ask(f"DELETE FROM {found}", told)  # noqa: S608 - a constant
        return texts

    def owe(self, page: Sequence[tuple[str, RemoteEntry]]) -> None:
        """Of these it is still to come what is said of them, under these names."""
        rows = [(*remote_row(entry), called) for called, entry in page]
        marks = ", ".join("?" * 11)
        with self._db.change("BEGIN") as db:
            db.executemany(f"INSERT OR REPLACE INTO temp.extra_owed VALUES ({marks})", rows)  # noqa: S608 - marks

    def take_owed(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], RemoteEntry]:
        """Those of these, by the container's id and the name, that were owed until now."""
        found: dict[tuple[str, str], RemoteEntry] = {}
        where = "temp.extra_owed WHERE container_id = ? AND called = ?"
        with self._db.change("BEGIN"):
            for key in keys:
                if rows := self._db.ask(f"SELECT * FROM {where}", key):  # noqa: S608 - a constant
                    found[key] = to_remote(rows[0][:10])
                    self._db.ask(f"DELETE FROM {where}", key)  # noqa: S608 - a constant
        return found

    def end_owed(self) -> int:
        """How many are owed still; they are forgotten."""
        count = int(self._db.ask("SELECT count(*) FROM temp.extra_owed")[0][0])
        self._db.ask("DELETE FROM temp.extra_owed")
        return count
