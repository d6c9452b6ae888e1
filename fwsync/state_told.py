"""Where files lie here because the server says so.

Its rule: one file has one place, and it stays there, whatever is told later, as long as it is
agreed on and lies there; two files for one place are both named, and the first keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fwsync.digest import LocalTag
from fwsync.mapping.curated import DESCRIPTION, NOT_CURATED
from fwsync.model import RelPath
from fwsync.ports import ToldPlace
from fwsync.state_file import StateFile

_NOW = """CREATE TEMP TABLE told_now (
    path TEXT PRIMARY KEY, disk TEXT NOT NULL, why TEXT NOT NULL
) STRICT, WITHOUT ROWID"""

#: Told by nobody any more, and of no file that is agreed on.
_DROP_STALE = """DELETE FROM told_place WHERE path NOT IN (SELECT path FROM temp.told_now)
    AND path NOT IN (SELECT path FROM base)"""
#: Told to be elsewhere now; not where the file lies at its old place alone.
_DROP_CHANGED = """DELETE FROM told_place WHERE path IN (
    SELECT n.path FROM temp.told_now AS n JOIN told_place AS t ON t.path = n.path
    WHERE n.disk <> '' AND n.disk <> t.disk
    AND (NOT EXISTS (SELECT 1 FROM local_file AS l WHERE l.path = t.disk)
        OR EXISTS (SELECT 1 FROM local_file AS l WHERE l.path = n.disk)))"""
#: The same bytes are listed under another label now, and under the old one no more.
_DROP_RENAMED = """DELETE FROM told_place WHERE path IN (
    SELECT t.path FROM told_place AS t
    JOIN temp.told_now AS n ON n.disk = t.disk AND n.path <> t.path
    JOIN temp.remote_file AS r ON r.path = n.path JOIN base AS b ON b.path = t.path
    WHERE t.path NOT IN (SELECT path FROM temp.told_now)
    AND (r.etag = b.remote_etag OR r.digest = b.digest))"""
_TAKE = """INSERT OR IGNORE INTO told_place
    SELECT path, disk FROM temp.told_now WHERE disk <> '' ORDER BY path"""
_ELSEWHERE = """SELECT n.path, n.disk, t.disk, o.path FROM temp.told_now AS n
    LEFT JOIN told_place AS t ON t.path = n.path LEFT JOIN told_place AS o ON o.disk = n.disk
    WHERE n.disk <> '' AND (t.disk IS NULL OR t.disk <> n.disk) ORDER BY n.path"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A file that does not lie where it is told to."""

    path: RelPath
    told: str
    lies_at: str  #: empty: nowhere
    taken_by: str  #: the file that has the place; empty: none


class Told:
    """The told places of a state; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db
        self.curated = False  #: the last listing knew of a place
        self._description: bytes | None = None

    def begin(self) -> None:
        """A listing begins."""
        self.curated, self._description = False, None
        self._db.ask("DROP TABLE IF EXISTS temp.told_now")
        self._db.ask(_NOW)

    def take(self, page: Sequence[ToldPlace]) -> None:
        """The next of what a listing tells, in any order."""
        self.curated = self.curated or any(one.disk for one in page)
        rows = [(one.path, one.disk, one.why) for one in page]
        with self._db.change("BEGIN") as db:  # temporary: no lock on the file itself
            db.executemany("INSERT OR REPLACE INTO temp.told_now VALUES (?, ?, ?)", rows)

    def take_description(self, content: bytes) -> None:
        """What the project says of itself."""
        self._description = content

    def description(self) -> bytes | None:
        """The same; None: nothing, or the server has a file for it."""
        return None if self._has_own_description() else self._description

    def will_write(self, tag: LocalTag) -> None:
        """A description of this content is ours from now on; before it is written."""
        with self._db.change() as db:
            db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (DESCRIPTION, tag))

    def written(self) -> str:
        """The tag of the description that we wrote; empty: we wrote none."""
        rows = self._db.ask("SELECT value FROM setting WHERE key = ?", (DESCRIPTION,))
        return rows[0][0] if rows else ""

    def takes_no_part(self) -> RelPath | None:
        """Where a description of ours lies that is nobody's file; None: nowhere."""
        return DESCRIPTION if self.written() and not self._has_own_description() else None

    def _has_own_description(self) -> bool:
        listed = self._db.ask("SELECT 1 FROM sqlite_temp_master WHERE name = 'remote_file'")
        sql = "SELECT 1 FROM temp.remote_file WHERE path = ?"
        return bool(listed and self._db.ask(sql, (DESCRIPTION,)))

    def settle(self) -> list[Elsewhere]:
        """Take what was told since :meth:`begin`; after the scan.

        Returns:
            The files that do not lie where they are told to.
        """
        if not self._is_listed():
            return []
        with self._db.change() as db:
            for sql in (_DROP_STALE, _DROP_CHANGED, _DROP_RENAMED, _TAKE):
                db.execute(sql)
        rows = self._db.ask(_ELSEWHERE)
        return [Elsewhere(RelPath(path), told, at or "", by or "") for path, told, at, by in rows]

    def paths_at(self, disks: Iterable[str]) -> dict[str, RelPath]:
        """The files that lie at places of this disk, by place."""
        wanted = json.dumps(list(disks), ensure_ascii=False)
        sql = """SELECT t.disk, t.path FROM json_each(?) AS one
            JOIN told_place AS t ON t.disk = one.value"""
        return {disk: RelPath(path) for disk, path in self._db.ask(sql, (wanted,))}

    def place_of(self, path: RelPath) -> tuple[str, str]:
        """Where a file lies, or else an empty text and why it lies nowhere, where that is told."""
        sql = "SELECT disk FROM told_place WHERE path = ?"
        for (disk,) in self._db.ask(sql, (path,)):
            return disk, ""
        if self._is_listed():
            sql = "SELECT disk, why FROM temp.told_now WHERE path = ?"
            for disk, why in self._db.ask(sql, (path,)):
                return "", why or f"another file lies at {disk!r}, where it belongs"
        return "", ""

    def uncurated(self) -> tuple[int, int]:
        """How many files of the last listing are not curated at all; of how many."""
        if not self._is_listed():
            return 0, 0
        sql = "SELECT coalesce(sum(why = ?), 0), count(*) FROM temp.told_now"
        ((lacking, listed),) = self._db.ask(sql, (NOT_CURATED,))
        return lacking, listed

    def _is_listed(self) -> bool:
        return bool(self._db.ask("SELECT 1 FROM sqlite_temp_master WHERE name = 'told_now'"))
