"""A scan on its way into the index: what is new, what changed, and what is gone.

Its rule: what was not seen is not gone. A row is dropped only when the whole listing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

from fwsync.model import LocalEntry, SeenRow, Unknown
from fwsync.state_file import PAGE, StateFile
from fwsync.state_queries import PUT_SCANNED, STAMP_PAGE
from fwsync.state_rows import Row, ScanSummary, seen_row

#: Entries of one part of a scan: short enough for others to have the state in between.
PART: Final = 1000

#: Files that are gone, with what says whether another is the same one: kept beyond the scan, for
#: whoever asks what has moved.
_VANISHED: Final = """CREATE TEMP {} (path TEXT PRIMARY KEY, device INTEGER NOT NULL,
    inode INTEGER NOT NULL) STRICT, WITHOUT ROWID"""

_RETIMED_TABLE = """CREATE TEMP TABLE IF NOT EXISTS retimed
    (path TEXT PRIMARY KEY, shift_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID"""
_RETIMED = """INSERT INTO temp.retimed VALUES (?, ?)
    ON CONFLICT (path) DO UPDATE SET shift_ns = shift_ns + excluded.shift_ns"""

#: For a file that was emptied with its old time, which is never sent (S22).
_REPAIR = (
    "it is not sent; to have the server's again, delete it and run `fwsync pull`; to send it as "
    "it is, touch it"
)


class ScanIntake:
    """A scan on its way into the index: take batches, then finish, or drop it.

    Rows go in as they come, since a stamp without a hash claims nothing; what vanished
    goes at the end, when every unknown scope is known.
    """

    def __init__(self, db: StateFile) -> None:
        self._db = db
        self._stored = db.pages(STAMP_PAGE)
        self._ahead: Iterator[Row] = iter(())  # of these, read already
        self._row = next(self._stored, None)
        self._last = ""
        self._files = self._bytes = self._new = self._changed = 0
        self._fresh: list[Row] = []
        self._vanished: list[Row] = []
        self._any_vanished = False
        self._unknown: list[Unknown] = []
        self._retimed: list[tuple[str, int]] = []  # with by how many nanoseconds

    def take(self, listing: Iterable[SeenRow | LocalEntry | Unknown]) -> None:
        """The next part of the listing: files sorted, each once, unknown scopes anywhere.

        Raises:
            ValueError: not sorted, or a path twice.
        """
        row, rows = self._row, self._rows()
        for item in listing:
            if isinstance(item, Unknown):
                self._unknown.append(item)
                continue
            seen = item if isinstance(item, tuple) else (item.path, *item.stamp, item.disk_path)
            path = seen[0]
            if path <= self._last:
                raise ValueError(f"{path}: not in order after {self._last}")
            self._last = path
            while row is not None and row[0] < path:
                self._vanished.append(_known_by(row))
                row = next(rows, None)
            self._files += 1
            self._bytes += seen[1]
            if row == seen:  # nearly all: nothing is made for them
                row = next(rows, None)
            elif row is None or row[0] != path:
                self._new += 1
                self._fresh.append(seen_row(seen))
            else:
                self._take_changed(row, seen)
                row = next(rows, None)
            if len(self._fresh) + len(self._vanished) >= PAGE:
                self._flush()
        self._row = row

    def _take_changed(self, row: Row, found: SeenRow) -> None:
        seen = seen_row(found)
        if _is_emptied_unseen(row, seen):
            # What a power loss leaves behind, not an edit. The row stays as it
            # was, so that the next scan sees the same.
            reason = f"is empty, but its time says that it still has {row[1]} bytes"
            self._unknown.append(Unknown(found[0], reason, hint=_REPAIR))
        elif row != seen:
            self._changed += 1
            self._fresh.append(seen)
            if row[1] == seen[1] and row[2] != seen[2]:
                self._retimed.append((found[0], seen[2] - row[2]))

    def take_part(self, listing: Iterator[SeenRow | LocalEntry | Unknown]) -> bool:
        """Take the next :data:`PART` entries; False: those were the last.

        Raises:
            ValueError: as :meth:`take`.
        """
        part = list(islice(listing, PART))
        if not self._take_as_known(part):
            self.take(part)
        return len(part) == PART

    def _take_as_known(self, part: Sequence[SeenRow | LocalEntry | Unknown]) -> bool:
        """Take a part that is just what the index has, by one comparison; False: it is not."""
        if self._row is None or not part:
            return False
        rows = [self._row, *islice(self._rows(), len(part) - 1)]
        if rows != part:
            self._ahead = iter([*rows[1:], *self._ahead])
            return False
        self._files += len(rows)
        self._bytes += sum(row[1] for row in rows)
        self._last = rows[-1][0]
        self._row = next(self._rows(), None)
        return True

    def _rows(self) -> Iterator[Row]:
        """The rows of the index from the next one on."""
        return chain(self._ahead, self._stored)

    def finish(self) -> ScanSummary:
        """The listing is complete: drop the rows of what is gone."""
        while self._row is not None:
            self._vanished.append(_known_by(self._row))
            self._row = next(self._rows(), None)
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
            self._db.ask(_VANISHED.format("TABLE vanished"))
            self._db.ask(_VANISHED.format("TABLE IF NOT EXISTS gone_file"))
        self._keep_retimed()
        if self._fresh or self._vanished:
            with self._db.change() as db:
                db.executemany(PUT_SCANNED, self._fresh)
                if self._vanished:
                    db.executemany("INSERT INTO temp.vanished VALUES (?, ?, ?)", self._vanished)
        self._fresh.clear()
        self._vanished.clear()

    def _keep_retimed(self) -> None:
        """Until somebody asks for it, see :mod:`fwsync.state_guards`: several scans may go by."""
        if not self._retimed:
            return
        self._db.ask(_RETIMED_TABLE)
        with self._db.change("BEGIN") as db:  # temporary: no lock on the file itself
            db.executemany(_RETIMED, self._retimed)
        self._retimed.clear()

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
            paths = "SELECT path FROM temp.vanished"
            gone = db.execute(f"DELETE FROM local_file WHERE path IN ({paths})").rowcount  # noqa: S608 - constants
            db.execute("INSERT OR REPLACE INTO temp.gone_file SELECT * FROM temp.vanished")
            db.execute("DROP TABLE temp.vanished")
        return gone


def _known_by(row: Row) -> Row:
    """The path, the device and the inode, of a row of the index."""
    return row[0], row[4], row[5]


def _is_emptied_unseen(row: Row, seen: Row) -> bool:
    """A file with content became one without, and its modification time did not move (S22)."""
    return bool(seen[1] == 0 < row[1] and seen[2] == row[2])
