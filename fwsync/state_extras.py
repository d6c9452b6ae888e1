"""What fwsync wrote beside the user's files: the record, what is listed, and what is here.

Its rule: what is on record never enters the index of the user's files, so that nobody sends,
packs or misses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fwsync.digest import LocalTag
from fwsync.extra import Extra, Kind, Written
from fwsync.model import LocalEntry, Outcome, RelPath, RemoteEntry
from fwsync.state_beside import SEEN, Scanned, Waiting
from fwsync.state_file import PAGE, StateFile
from fwsync.state_rows import Row, remote_row, stamp_row, to_local, to_remote

_LISTED = """CREATE TEMP TABLE IF NOT EXISTS extra_listed (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, digest TEXT,
    level TEXT NOT NULL, container_id TEXT NOT NULL, name TEXT NOT NULL, file_id TEXT NOT NULL,
    version INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
    kind TEXT NOT NULL, about TEXT NOT NULL, key TEXT NOT NULL, of_file INTEGER NOT NULL,
    content BLOB
) STRICT"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS temp.extra_about ON extra_listed (kind, about)",
    "CREATE INDEX IF NOT EXISTS temp.extra_key ON extra_listed (key)",
)

#: As it was written, and old enough that a later change must have moved its stamp.
_UNTOUCHED = """(s.size = x.size AND s.mtime_ns = x.mtime_ns AND s.ctime_ns = x.ctime_ns
    AND s.device = x.device AND s.inode = x.inode
    AND abs(x.hashed_at_ns - x.mtime_ns) >= :granularity)"""
_STAMP = "{0}.path, {0}.size, {0}.mtime_ns, {0}.ctime_ns, {0}.device, {0}.inode, {0}.disk_path"

#: Something of what is listed lies at or below the folder ``w.about``. '0' follows '/'.
_INSIDE = """path > iif(w.about = '', '', w.about || '/')
    AND path < iif(w.about = '', char(1114111), w.about || '0')"""
#: A sidecar is there for what is there; and what the server or a user has at its path comes first.
_WANTED = f"""
    (w.kind = 'analysis'
     OR (w.of_file AND EXISTS (SELECT 1 FROM temp.remote_file AS r WHERE r.path = w.about))
     OR (NOT w.of_file AND (EXISTS (SELECT 1 FROM temp.remote_file WHERE {_INSIDE})
         OR EXISTS (SELECT 1 FROM temp.extra_listed AS a
             WHERE a.kind = 'analysis' AND a.about = w.about)
         OR EXISTS (SELECT 1 FROM temp.extra_listed AS a
             WHERE a.kind = 'analysis' AND {_INSIDE.replace("path", "a.about")}))))
    AND NOT EXISTS (SELECT 1 FROM temp.remote_file AS r WHERE r.path = w.path)
    AND NOT EXISTS (SELECT 1 FROM base AS b WHERE b.path = w.path)"""  # noqa: S608 - constants
_LISTED_ROWS = f"""
SELECT w.path, w.size, w.etag, w.digest, w.level, w.container_id, w.name, w.file_id, w.version,
    w.modified_ns, w.kind, w.about, w.key, w.of_file,
    x.kind, x.remote_etag, x.local_etag, {_UNTOUCHED}, {_STAMP.format("s")}, {_STAMP.format("l")}
FROM temp.extra_listed AS w LEFT JOIN extra AS x ON x.path = w.path
    LEFT JOIN temp.extra_seen AS s ON s.path = w.path
    LEFT JOIN local_file AS l ON l.path = w.path
WHERE w.path $WHICH AND NOT coalesce({_UNTOUCHED} AND x.remote_etag = w.etag, 0) AND {_WANTED}
ORDER BY w.path LIMIT :most"""  # noqa: S608 - constants
_UNLISTED_PAGE = f"""
SELECT x.path, x.kind, x.remote_etag, x.local_etag, {_UNTOUCHED}, {_STAMP.format("s")},
    (SELECT w.path FROM temp.extra_listed AS w WHERE w.key = x.key AND $WANTED LIMIT 1),
    EXISTS (SELECT 1 FROM temp.extra_listed AS w JOIN extra AS y ON y.path = w.path
        WHERE w.key = x.key AND y.key = x.key AND $WANTED)
FROM extra AS x LEFT JOIN temp.extra_seen AS s ON s.path = x.path
WHERE x.path > :after AND (x.kind IN ($KINDS) OR NOT coalesce({_UNTOUCHED}, 0)) AND NOT EXISTS (
    SELECT 1 FROM temp.extra_listed AS w WHERE w.path = x.path AND $WANTED)
ORDER BY x.path LIMIT :most"""  # noqa: S608 - constants
_IN_THE_WAY = """SELECT count(*), min(path) FROM temp.extra_listed AS w WHERE kind = 'sidecar' AND
    (EXISTS (SELECT 1 FROM temp.remote_file AS r WHERE r.path = w.path)
     OR EXISTS (SELECT 1 FROM base AS b WHERE b.path = w.path))"""


_UNRECORDED = """SELECT count(*), min(path) FROM temp.extra_seen AS s WHERE
    NOT EXISTS (SELECT 1 FROM extra AS x WHERE x.path = s.path)
    AND NOT EXISTS (SELECT 1 FROM temp.extra_listed AS w WHERE w.path = s.path)"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One of them as it is there, as it was written, and as it is here."""

    extra: Extra | None  #: None: it was not listed
    written: Written | None  #: None: there is no record
    here: LocalEntry | None  #: None: nothing stands there; its tag is known if it is untouched
    goes_to: RelPath | None = None  #: of one that is listed elsewhere now, there
    is_there: bool = False  #: it has been written there


class Extras:
    """What a state knows of them; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile, granularity_ns: int) -> None:
        self._db = db
        self._granularity = {"granularity": granularity_ns}
        self.scanned = Scanned(db)
        self.waiting = Waiting(db)

    # -- the listing

    def start_listing(self) -> None:
        """Forget what an earlier listing said."""
        self._db.ask(_LISTED)
        self._db.ask("DELETE FROM temp.extra_listed")
        self.waiting.start_listing()
        for index in _INDEXES:
            self._db.ask(index)

    def take_listing(self, page: Sequence[Extra]) -> None:
        """Take what is listed; of two at one path, that of a file has it."""
        rows = [_row(one) for one in page]
        marks = ", ".join("?" * 15)
        put = f"INSERT INTO temp.extra_listed VALUES ({marks}) ON CONFLICT (path) DO NOTHING"  # noqa: S608 - marks
        with self._db.change("BEGIN") as db:
            files = [(one.path,) for one in page if one.of_file]
            db.executemany("DELETE FROM temp.extra_listed WHERE path = ? AND NOT of_file", files)
            db.executemany(put, rows)

    # -- the comparison

    def listed(self, after: str) -> list[Compared]:
        """Those that are listed and not in step, sorted by path: the page behind a path."""
        return self._listed("> :path", after)

    def listed_at(self, path: RelPath) -> Compared | None:
        """The one at a path, if it is listed and not in step."""
        return next(iter(self._listed("= :path", path)), None)

    def _listed(self, which: str, path: str) -> list[Compared]:
        self._prepare()
        told = {**self._granularity, "path": path, "most": PAGE}
        rows = self._db.ask(_LISTED_ROWS.replace("$WHICH", which), told)
        return [
            Compared(_extra(row[:14]), *_here(row[0], row[14:], other=row[-7:])) for row in rows
        ]

    def unlisted(self, listed: Collection[Kind], after: str) -> list[Compared]:
        """Those on record that are not listed, sorted by path: the page behind a path.

        Args:
            listed: what was asked for. Of other kinds those are left out that are as they were.
            after: that path.
        """
        self._prepare()
        kinds = ", ".join(f"'{kind.value}'" for kind in listed)
        select = _UNLISTED_PAGE.replace("$KINDS", kinds)
        select = select.replace("$WANTED", _WANTED if listed else "FALSE")
        rows = self._db.ask(select, {**self._granularity, "after": after, "most": PAGE})
        return [
            Compared(None, *_here(row[0], row[1:], other=None), row[-2], bool(row[-1]))
            for row in rows
        ]

    def _prepare(self) -> None:
        """A comparison may come without a scan or a listing before it."""
        self._db.ask(SEEN)
        self._db.ask(_LISTED)

    def in_the_way(self) -> tuple[int, str]:
        """How many sidecars are not written as a file of the project has their path; the first."""
        count, first = self._db.ask(_IN_THE_WAY)[0]
        return int(count), first or ""

    def unrecorded(self) -> tuple[int, str]:
        """How many files are here of which only the path is noted; the first."""
        count, first = self._db.ask(_UNRECORDED)[0]
        return int(count), first or ""

    def contents(self, paths: Sequence[RelPath]) -> dict[RelPath, bytes]:
        """What is to be written, of sidecars that are listed."""
        sql = "SELECT content FROM temp.extra_listed WHERE path = ?"
        return {path: rows[0][0] for path in paths if (rows := self._db.ask(sql, (path,)))}

    def listed_file(self, path: RelPath) -> RemoteEntry | None:
        """A file of the listing that sidecars are of."""
        rows = self._db.ask("SELECT * FROM temp.remote_file WHERE path = ?", (path,))
        return to_remote(rows[0]) if rows else None

    def have_base(self, paths: Sequence[RelPath]) -> set[RelPath]:
        """Those of these files that both sides agree on."""
        sql = "SELECT 1 FROM base WHERE path = ?"
        return {path for path in paths if self._db.ask(sql, (path,))}

    # -- the record

    def count(self, kind: Kind) -> int:
        """How many of a kind are on record."""
        return int(self._db.ask("SELECT count(*) FROM extra WHERE kind = ?", (kind.value,))[0][0])

    def paths(self) -> list[RelPath]:
        """All that are on record."""
        return [RelPath(row[0]) for row in self._db.ask("SELECT path FROM extra ORDER BY path")]

    def record(self, outcomes: Iterable[tuple[Kind, str, Outcome]]) -> None:
        """Keep what was written, or found to be the same; the index forgets it.

        Args:
            outcomes: each with its kind and its key.
        """
        rows: list[Row] = []
        for kind, key, one in outcomes:
            local, remote = one.local, one.remote
            if local is None or remote is None or local.etag is None:
                raise ValueError(f"{one.decision.path}: on record only with both sides and a tag")
            path, *stamp = stamp_row(local)[:6]
            tags = remote.etag, local.etag
            rows.append((path, kind.value, key, *tags, *stamp, one.hashed_at_ns))
        marks = ", ".join("?" * 11)
        with self._db.change() as db:
            db.executemany(f"INSERT OR REPLACE INTO extra VALUES ({marks})", rows)  # noqa: S608 - marks
            db.executemany("DELETE FROM local_file WHERE path = ?", [row[:1] for row in rows])

    def move(self, moved: Sequence[tuple[RelPath, LocalEntry, int]]) -> None:
        """Keep that they lie elsewhere now, or were touched: where each was, and what it is there.

        Args:
            moved: each with the time at which it was read; 0: it was not.
        """
        sql = """UPDATE OR REPLACE extra SET (path, size, mtime_ns, ctime_ns, device, inode) =
            (?, ?, ?, ?, ?, ?), hashed_at_ns = coalesce(nullif(?, 0), hashed_at_ns)
            WHERE path = ?"""
        rows = [(old, stamp_row(one), read_ns) for old, one, read_ns in moved]
        with self._db.change() as db:
            db.executemany(sql, [(*row[:6], read_ns, old) for old, row, read_ns in rows])
        self.scanned.saw([(old, row) for old, row, _ in rows])

    def forget_hashes(self) -> None:
        """Trust no stamp: all that is on record is read again."""
        self._db.ask("UPDATE extra SET hashed_at_ns = mtime_ns")

    def forget(self, paths: Collection[RelPath]) -> None:
        """Drop records."""
        with self._db.change() as db:
            db.executemany("DELETE FROM extra WHERE path = ?", [(path,) for path in paths])
        self.scanned.forget_noted(paths)


def _row(one: Extra) -> Row:
    about = one.kind.value, one.about, one.key, int(one.of_file)
    return *remote_row(one.entry), *about, one.content


def _extra(row: Row) -> Extra:
    kind, about, key, of_file = row[10:]
    return Extra(Kind(kind), to_remote(row[:10]), about, key, bool(of_file))


def _here(
    path: RelPath, row: Row, *, other: Row | None
) -> tuple[Written | None, LocalEntry | None]:
    """What was written, and what stands there: one of ours, or another file of the index."""
    kind, remote_etag, local_etag, untouched, *seen = row[:11]
    written = None
    if kind is not None:
        written = Written(path, Kind(kind), remote_etag, LocalTag(local_etag))
    if seen[0] is not None:
        return written, to_local((*seen, local_etag if untouched else None, None))
    if other is not None and other[0] is not None:
        return written, to_local((*other, None, None))
    return written, None
