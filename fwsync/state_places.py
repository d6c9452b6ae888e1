"""Where a layout puts the files of the index, for layouts other than the plain one.

Its rule: places are made anew from the index before each comparison, in temporary tables.
Kept are only what costs reading (headers, digests of packs) and which files each agreed
file was made of, so that what cannot be seen here is never taken for gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from fwsync.digest import Digest
from fwsync.model import LocalEntry, PackMember, RelPath, Unknown
from fwsync.packing import pack_entry
from fwsync.state_file import StateFile
from fwsync.state_queries import KNOWN, LOCAL, MAPPED_PAGE
from fwsync.state_rows import Row, digest_key, stamp_row, to_local

_TABLES = (
    """CREATE TEMP TABLE placed (
        path TEXT NOT NULL, member TEXT NOT NULL, source TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL, rule TEXT NOT NULL, fields TEXT NOT NULL,
        PRIMARY KEY (path, member)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TEMP TABLE mapped (
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
        disk_path TEXT, etag TEXT, digest TEXT, hashed_at_ns INTEGER,
        source TEXT, kind TEXT
    ) STRICT, WITHOUT ROWID""",
)

_MEMBERS = f"""
SELECT p.path, p.member, p.kind, {LOCAL.replace("path", "l.path", 1)}, {KNOWN}
FROM temp.placed AS p JOIN local_file AS l ON l.path = p.source
WHERE p.member <> ''
"""  # noqa: S608 - put together from constants

_SAME_STAMP = """h.size = l.size AND h.mtime_ns = l.mtime_ns AND h.ctime_ns = l.ctime_ns
    AND h.device = l.device AND h.inode = l.inode"""
#: See ``state_queries``: a header that is as young as its file may be out of date unseen.
_OLD_ENOUGH = "abs(h.read_at_ns - h.mtime_ns) >= :granularity"

#: Packs whose members are in memory at a time.
_PACKS = 100


# '0' follows '/': from the first to behind the last path below the scope
_BELOW = "({0} = :scope OR ({0} > :scope || '/' AND {0} < :scope || '0'))"
#: What is made, or was, of files at or below a path of this disk. An agreed file without
#: sources was made of the file at its own path.
_FROM_THERE = (
    f"SELECT path FROM temp.placed WHERE {_BELOW.format('source')}",  # noqa: S608 - constants
    f"SELECT path FROM base_source WHERE {_BELOW.format('source')}",  # noqa: S608 - constants
    f"SELECT path FROM base AS b WHERE {_BELOW.format('b.path')}"  # noqa: S608 - constants
    " AND NOT EXISTS (SELECT 1 FROM base_source AS s WHERE s.path = b.path)",
)


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file of the index, and where it goes."""

    source: RelPath  #: as the index has it
    path: RelPath  #: where it goes, or the pack that it is in
    member: str = ""  #: its name in the pack; empty: a file of its own
    kind: str = ""  #: what the server is told that it is
    rule: str = ""  #: why it goes there, for people
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clash:
    """Two files that would be one on the server."""

    path: RelPath  #: there, or of the pack
    first: RelPath  #: as the index has it; it has the place
    second: RelPath  #: it has none


@dataclass(frozen=True, slots=True)
class Loss:
    """A file that a pack was agreed of, and is made without now."""

    path: RelPath  #: of the pack
    source: RelPath  #: as the index had the file


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a placed file beside its content."""

    kind: str
    rule: str
    fields: Mapping[str, Any]


def _placed_row(one: PlacedFile) -> Row:
    fields = json.dumps(dict(one.fields), ensure_ascii=True) if one.fields else ""
    return (one.path, one.member, one.source, one.kind, one.rule, fields)


class Places:
    """The places of one comparison; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile, granularity_ns: int) -> None:
        self._db = db
        self._granularity = {"granularity": granularity_ns}
        self._old_enough_ns = granularity_ns
        self.active = False  #: True once :meth:`start` was called: the trees are compared by it
        #: Packs are compressed, by the settings: one that the server has may be so, too. Only
        #: after a listing.
        self.deflates = False
        self._outdated = False  # hashes have come since the entries were worked out

    # -- filling

    def start(self) -> None:
        """Forget the places of an earlier comparison."""
        for name in ("placed", "mapped"):
            self._db.ask(f"DROP TABLE IF EXISTS temp.{name}")
        for table in _TABLES:
            self._db.ask(table)
        self.active = True

    def put(self, files: Iterable[PlacedFile]) -> list[Clash]:
        """Take places, in any order.

        Returns:
            The files for which there was no place, as another one has it.
        """
        clashing = []
        files = list(files)
        crowded = self._crowded(files)
        put = "INSERT INTO temp.placed VALUES (?, ?, ?, ?, ?, ?)"
        with self._db.change("BEGIN") as db:  # temporary: no lock on the file itself
            db.executemany(put, (_placed_row(one) for one in files if one.path not in crowded))
            for one in files:
                if one.path not in crowded:
                    continue
                taken = db.execute(
                    "SELECT source FROM temp.placed WHERE path = ? AND (member = ? OR"
                    " (member = '') <> (? = '')) LIMIT 1",
                    (one.path, one.member, one.member),
                ).fetchone()
                if taken is not None:
                    clashing.append(Clash(one.path, RelPath(taken[0]), one.source))
                else:
                    db.execute(put, _placed_row(one))
        return clashing

    def _crowded(self, files: Sequence[PlacedFile]) -> set[RelPath]:
        """The paths for which each file has to ask whether its place is free."""
        counted = Counter((one.path, one.member) for one in files)
        as_file = {one.path for one in files if not one.member}
        crowded = {path for (path, _), number in counted.items() if number > 1}
        crowded |= {one.path for one in files if one.member and one.path in as_file}
        known = """SELECT DISTINCT path FROM temp.placed
            WHERE path IN (SELECT value FROM json_each(?))"""
        paths = json.dumps(sorted({one.path for one in files}), ensure_ascii=False)
        return crowded | {RelPath(path) for (path,) in self._db.ask(known, (paths,))}

    def finish(self) -> None:
        """All places are there, or the index has changed since: work out the entries."""
        self._outdated = False
        self._db.ask("DELETE FROM header WHERE path NOT IN (SELECT path FROM local_file)")
        rows = [self._mapped_row(entry) for entry in self._packs()]
        marks = ", ".join("?" * 12)
        with self._db.change("BEGIN") as db:
            db.execute("DELETE FROM temp.mapped")
            db.execute(
                """INSERT INTO temp.mapped
                SELECT p.path, size, mtime_ns, ctime_ns, device, inode, disk_path, etag, digest,
                    hashed_at_ns, source, NULL
                FROM temp.placed AS p JOIN local_file AS l ON l.path = p.source
                WHERE p.member = ''"""
            )
            db.executemany(f"INSERT INTO temp.mapped VALUES ({marks})", rows)  # noqa: S608 - marks

    def take_hashes(self) -> None:
        """Hashes have come to the index: the next look at the entries works them out."""
        self._outdated = self.active

    def refresh(self) -> None:
        """See to it that the entries have all hashes: before they are asked for by SQL."""
        if self._outdated:
            self.finish()

    def _packs(self) -> Iterator[LocalEntry]:
        page = """SELECT DISTINCT path FROM temp.placed WHERE member <> '' AND path > ?
            ORDER BY path LIMIT ?"""
        span = f"{_MEMBERS} AND p.path > :after AND p.path <= :last ORDER BY p.path, p.member"
        after = ""
        while paths := self._db.ask(page, (after, _PACKS)):
            last = paths[-1][0]
            rows = self._db.ask(span, {**self._granularity, "after": after, "last": last})
            for path, members in groupby(rows, key=lambda row: row[0]):
                yield self._pack(path, list(members))
            after = last

    def _pack(self, path: RelPath, rows: Sequence[Row]) -> LocalEntry:
        members = [PackMember(row[1], to_local(row[3:12])) for row in rows]
        entry = self._in_its_form(pack_entry(path, rows[0][2], members))
        if entry.etag is None:
            return entry
        key = digest_key(entry)
        found = self._db.ask("SELECT digest FROM pack_digest WHERE etag = ?", (key,))
        return replace(entry, digest=Digest(found[0][0])) if found else entry

    def _in_its_form(self, pack: LocalEntry) -> LocalEntry:
        """As the zip that may be the server's: compressed, if that one is smaller than stored."""
        if not self.deflates or pack.pack is None:
            return pack
        there = self._db.ask("SELECT size FROM temp.remote_file WHERE path = ?", (pack.path,))
        deflated = bool(there) and there[0][0] < pack.size
        return replace(pack, pack=replace(pack.pack, deflated=deflated))

    def _mapped_row(self, entry: LocalEntry) -> Row:
        assert entry.pack is not None
        # The members' tags were judged one by one: old enough, or not known at all.
        hashed_at = entry.stamp.mtime_ns + self._old_enough_ns if entry.etag else None
        path, *numbers, _ = stamp_row(entry)
        return (path, *numbers, None, entry.etag, entry.digest, hashed_at, None, entry.pack.kind)

    # -- reading

    def entries(self, only: str = "TRUE") -> Iterator[LocalEntry]:
        """What is here, by the paths of the server, sorted; ``etag`` as in the index.

        Args:
            only: a condition for the rows, in SQL.
        """
        self.refresh()
        return map(self.entry_of, self._db.pages(MAPPED_PAGE, self._granularity, only))

    def entry_of(self, row: Row) -> LocalEntry:
        """The entry of a row of ``temp.mapped``, with its members where it is a pack."""
        plain, (source, kind) = row[:9], row[9:11]
        if kind is not None:
            found = {**self._granularity, "path": row[0]}
            members = self._db.ask(f"{_MEMBERS} AND p.path = :path ORDER BY p.member", found)
            return self._pack(row[0], members)
        entry = to_local(plain)
        if source == entry.path:
            return entry
        return LocalEntry(
            entry.path, entry.stamp, entry.etag, entry.digest, entry.disk_path, source=source
        )

    def count(self) -> int:
        """How many entries there are; a pack is one."""
        return int(self._db.ask("SELECT count(*) FROM temp.mapped")[0][0])

    def known(self, path: RelPath) -> list[Known]:
        """What is known of the file that goes there; of a pack, of each of its members."""
        if not self.active:
            return []
        rows = self._db.ask(
            "SELECT DISTINCT kind, rule, fields FROM temp.placed WHERE path = ?", (path,)
        )
        return [
            Known(kind, rule, json.loads(fields) if fields else {}) for kind, rule, fields in rows
        ]

    def first_placed(self, at: str) -> RelPath | None:
        """The first path at or after a text to which a file here goes."""
        return self._first("temp.placed", at) if self.active else None

    def first_agreed(self, at: str) -> RelPath | None:
        """The first path at or after a text that both sides agreed on."""
        return self._first("base", at)

    def _first(self, table: str, at: str) -> RelPath | None:
        sql = f"SELECT path FROM {table} WHERE path >= ? ORDER BY path LIMIT 1"  # noqa: S608 - constants
        return next((RelPath(row[0]) for row in self._db.ask(sql, (at,))), None)

    def below(self, folder: RelPath) -> tuple[int, RelPath]:
        """How many files here go below a folder of the server, and the first of them."""
        if not self.active:
            return 0, RelPath("")
        sql = f"SELECT count(*), min(source) FROM temp.placed WHERE {_BELOW.format('path')}"  # noqa: S608 - constants
        number, first = self._db.ask(sql, {"scope": folder})[0]
        return number, RelPath(first or "")

    def sources(self, path: RelPath) -> list[RelPath]:
        """The files here that a path is made of now, and those that it was last agreed of."""
        sql = """SELECT source FROM temp.placed WHERE path = :path
            UNION SELECT source FROM base_source WHERE path = :path"""
        return [RelPath(row[0]) for row in self._db.ask(sql, {"path": path})]

    def placed_count(self, path: RelPath) -> int:
        """How many files here go to a path."""
        return int(self._db.ask("SELECT count(*) FROM temp.placed WHERE path = ?", (path,))[0][0])

    def agreed_count(self, path: RelPath) -> int:
        """How many files a pack was last agreed of; 0: it was never."""
        sql = "SELECT count(*) FROM base_source WHERE path = ?"
        return int(self._db.ask(sql, (path,))[0][0])

    def losses(self) -> list[Loss]:
        """Files that packs were agreed of which are made here still, but without them."""
        sql = """SELECT b.path, b.source FROM base_source AS b
            WHERE b.path IN (SELECT path FROM temp.placed)
            AND b.source NOT IN (SELECT source FROM temp.placed)"""
        return [Loss(RelPath(path), RelPath(source)) for path, source in self._db.ask(sql)]

    def new_count(self, path: RelPath) -> int:
        """How many files a pack is made of that it was not agreed of."""
        sql = """SELECT count(*) FROM temp.placed WHERE path = :path AND source NOT IN
            (SELECT source FROM base_source WHERE path = :path)"""
        return int(self._db.ask(sql, {"path": path})[0][0])

    def concerned(self, scopes: Iterable[Unknown]) -> list[Unknown]:
        """What cannot be known where these parts of the disk were not seen: by server paths."""
        found: dict[RelPath, Unknown] = {}
        for scope in scopes:
            if not scope.scope:
                return [scope]
            for sql in _FROM_THERE:
                for (path,) in self._db.ask(sql, {"scope": scope.scope}):
                    found[path] = Unknown(path, scope.reason, scope.expected)
        return list(found.values())

    # -- headers

    def expect_headers(self, sign: str) -> None:
        """Forget the headers that were kept under another sign: other elements were read."""
        known = self._db.ask("SELECT value FROM setting WHERE key = 'header_sign'")
        if known != [(sign,)]:
            with self._db.change() as db:
                db.execute("DELETE FROM header")
                db.execute("INSERT OR REPLACE INTO setting VALUES ('header_sign', ?)", (sign,))

    def without_header(self, entries: Sequence[LocalEntry]) -> list[LocalEntry]:
        """Those whose header has to be read: it is not known, or perhaps no longer."""
        known = self._headers([entry.path for entry in entries], _OLD_ENOUGH)
        return [entry for entry in entries if entry.path not in known]

    def headers(self, paths: Iterable[RelPath]) -> dict[RelPath, str]:
        """The headers of files as they were last seen; empty text: the file has none.

        For files that :meth:`without_header` was asked about: what it names was read anew.
        """
        return self._headers(paths, "TRUE")

    def _headers(self, paths: Iterable[RelPath], which: str) -> dict[RelPath, str]:
        sql = f"""SELECT h.path, h.text FROM json_each(:paths) AS one
            JOIN header AS h ON h.path = one.value JOIN local_file AS l ON l.path = h.path
            WHERE {_SAME_STAMP} AND {which}"""  # noqa: S608 - constants
        wanted = json.dumps(list(paths), ensure_ascii=False)
        rows = self._db.ask(sql, {**self._granularity, "paths": wanted})
        return {RelPath(path): text for path, text in rows}

    def remember_headers(self, headers: Iterable[tuple[LocalEntry, int, str]]) -> None:
        """Keep headers, each with the wall clock just before its file was last seen so."""
        rows = [(*stamp_row(entry)[:6], at, text) for entry, at, text in headers]
        with self._db.change() as db:
            db.executemany("INSERT OR REPLACE INTO header VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    # -- labels of what headers name by a UID

    def uid_labels(self) -> dict[tuple[tuple[str, ...], str], str]:
        """The labels that were given, by the labels above them and the UID."""
        rows = self._db.ask("SELECT parent, uid, label FROM uid_label")
        return {(tuple(json.loads(parent)), uid): label for parent, uid, label in rows}

    def keep_uid_labels(self, labels: Mapping[tuple[tuple[str, ...], str], str]) -> None:
        """Keep labels; one that is there already stays as it is."""
        rows = [(json.dumps(parent), uid, label) for (parent, uid), label in labels.items()]
        with self._db.change() as db:
            db.executemany("INSERT OR IGNORE INTO uid_label VALUES (?, ?, ?)", rows)
