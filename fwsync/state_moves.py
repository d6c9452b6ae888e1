"""Which agreed files have another path on the server now, or here.

Its rule: only files that are out of step are looked at. A tree that nobody has touched costs
two counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from fwsync.model import BaseEntry, LocalEntry, RelPath, RemoteEntry
from fwsync.moves import Move, Spot
from fwsync.moves_up import Gone
from fwsync.state_file import StateFile
from fwsync.state_places import Places
from fwsync.state_queries import BASE_PAGE, KNOWN, LOCAL_PAGE, MAPPED_PAGE, REMOTE_PAGE
from fwsync.state_rows import Row, to_base, to_local, to_remote

#: Paths that are asked for by one statement.
_PAGE = 2000

_TABLE = """CREATE TEMP TABLE moved (old TEXT PRIMARY KEY, new TEXT NOT NULL UNIQUE)
    STRICT, WITHOUT ROWID"""

#: The name of a file, which is the end of its path.
_NAME = "substr({0}, length(rtrim({0}, replace({0}, '/', ''))) + 1)"

# By the file's own id; and where that is new, or there is none, by the container's id and the
# name: a file that was deleted and made anew in a container that has moved is an edit. A file
# that still is where it was agreed on, or was agreed on where it is, has not moved. Of two rows
# for one file, that which holds no deletion is the one in use.
_FIND = f"""
WITH gone AS MATERIALIZED (
    SELECT path, container_id, file_id, held, {_NAME.format("path")} AS name FROM base
    WHERE path NOT IN temp.in_step
), come AS MATERIALIZED (
    SELECT path, container_id, file_id, {_NAME.format("path")} AS name FROM temp.remote_file
    WHERE path NOT IN temp.in_step
)
INSERT OR IGNORE INTO temp.moved SELECT b.path, r.path FROM gone AS b JOIN come AS r ON $SAME
WHERE r.path <> b.path
    AND NOT EXISTS (SELECT 1 FROM come AS b2 WHERE b2.path = b.path AND $STAYS)
    AND NOT EXISTS (SELECT 1 FROM gone AS r2 WHERE r2.path = r.path AND $KNOWN)
    AND b.path NOT IN (SELECT old FROM temp.moved) AND r.path NOT IN (SELECT new FROM temp.moved)
ORDER BY b.held <> '', b.path
"""  # noqa: S608 - put together from constants
_BY_FILE = "b.file_id <> '' AND {0}.file_id = {1}.file_id"
_BY_CONTAINER = "{0}.container_id = {1}.container_id AND {0}.name = {1}.name"

#: What is below a folder; '0' follows '/'.
_BELOW = "path > :folder || '/' AND path < :folder || '0'"

#: Filled by the scans; what is gone since before them has no inode that is known.
_GONE_FILE = """CREATE TEMP TABLE IF NOT EXISTS gone_file (path TEXT PRIMARY KEY,
    device INTEGER NOT NULL, inode INTEGER NOT NULL) STRICT, WITHOUT ROWID"""

# All that is here and not in step, with its tag as far as that can be trusted.
_ARRIVED = f"""CREATE TEMP TABLE arrived AS SELECT l.path AS path, {KNOWN} FROM $LOCAL AS l
WHERE l.path NOT IN temp.in_step"""  # noqa: S608 - put together from constants

# A deletion that was seen here before is one, and no move: the file came back, if it did, later.
_GONE = """
SELECT b.path, b.local_etag, g.device, g.inode FROM base AS b
    LEFT JOIN temp.arrived AS a USING (path) LEFT JOIN temp.gone_file AS g USING (path)
WHERE b.path NOT IN temp.in_step AND b.held <> 'local' AND a.etag IS NOT b.local_etag
    AND (a.path IS NULL OR a.etag IS NOT NULL)
    AND b.local_etag IN (SELECT etag FROM temp.arrived)
ORDER BY b.path
"""

#: 64 bits of a device or an inode, as they are kept with a sign.
_WRAP = 1 << 64


def _find(same: str) -> str:
    return (
        _FIND.replace("$SAME", same.format("b", "r"))
        .replace("$STAYS", same.format("b2", "b"))
        .replace("$KNOWN", same.format("r2", "r"))
    )


#: As a row of the remote's listing.
_AS_THERE = f"""path, size, remote_etag, digest, container_level, container_id,
    {_NAME.format("path")}, file_id, version, 0"""


def _folders_of(path: str) -> list[RelPath]:
    parts = path.split("/")
    return [RelPath("/".join(parts[:end])) for end in range(1, len(parts))]


class Moves:
    """The moves of one comparison; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile, granularity_ns: int, places: Places) -> None:
        self._db = db
        self._granularity = {"granularity": granularity_ns}
        self._places = places

    def find(self) -> list[Move]:
        """The files that have another path on the server than they were agreed on at.

        For after ``State.out_of_step``, which says what is in step. Each path comes once as the
        old one and once as the new one at most.
        """
        counts = "SELECT (SELECT count(*) FROM base) > (SELECT count(*) FROM temp.in_step)"
        if not self._db.ask(counts)[0][0]:
            return []
        self._db.ask("DROP TABLE IF EXISTS temp.moved")
        self._db.ask(_TABLE)
        for same in (_BY_FILE, _BY_CONTAINER):
            self._db.ask(_find(same))
        rows = self._db.ask("SELECT old, new FROM temp.moved ORDER BY old")
        return [Move(RelPath(old), RelPath(new)) for old, new in rows]

    def here(self) -> tuple[list[Gone], list[RelPath]]:
        """The agreed files that are not where they were; and what they may have become.

        Only those of which one of the other kind has the same bytes. For after
        ``State.out_of_step``.
        """
        counts = "SELECT (SELECT count(*) FROM base) > (SELECT count(*) FROM temp.in_step)"
        if not self._db.ask(counts)[0][0]:
            return [], []
        self._db.ask(_GONE_FILE)
        here = "temp.mapped" if self._places.active else "local_file"
        self._db.ask("DROP TABLE IF EXISTS temp.arrived")
        self._db.ask(_ARRIVED.replace("$LOCAL", here), self._granularity)
        gone = [
            Gone(RelPath(path), etag, None if inode is None else (device % _WRAP, inode % _WRAP))
            for path, etag, device, inode in self._db.ask(_GONE)
        ]
        if not gone:
            return [], []
        come = "SELECT path FROM temp.arrived WHERE etag IN (SELECT value FROM json_each(?))"
        tags = json.dumps(sorted({one.etag for one in gone}))
        return gone, [RelPath(row[0]) for row in self._db.ask(come, (tags,))]

    def agreed_below(self, folder: str) -> int:
        """How many files were agreed on below a folder; without those known as deleted here."""
        sql = f"SELECT count(*) FROM base WHERE {_BELOW} AND held <> 'local'"  # noqa: S608 - constant
        count: int = self._db.ask(sql, {"folder": folder})[0][0]
        return count

    def hold(self, paths: Iterable[RelPath]) -> None:
        """Write down that agreed files were deleted here."""
        held = "UPDATE base SET held = 'local' WHERE path = ? AND held = ''"
        with self._db.change() as db:
            db.executemany(held, [(path,) for path in paths])

    def others_below(self, folder: str) -> list[RelPath]:
        """The files of the server below a folder that were not agreed on."""
        sql = f"""SELECT path FROM temp.remote_file WHERE {_BELOW}
            AND path NOT IN (SELECT path FROM base)"""  # noqa: S608 - constant
        return [RelPath(row[0]) for row in self._db.ask(sql, {"folder": folder})]

    def in_way(self, paths: Iterable[RelPath]) -> dict[RelPath, list[RelPath]]:
        """The server's files above or below these paths: no file and folder can have one name."""
        above = """SELECT path FROM temp.remote_file
            WHERE path IN (SELECT value FROM json_each(:above))"""
        below = f"SELECT path FROM temp.remote_file WHERE {_BELOW}"  # noqa: S608 - constant
        sql = f"{above} UNION ALL {below}"
        found = {}
        for path in paths:
            parts = path.split("/")
            folders = json.dumps(["/".join(parts[:end]) for end in range(1, len(parts))])
            if rows := self._db.ask(sql, {"above": folders, "folder": path}):
                found[path] = [RelPath(row[0]) for row in rows]
        return found

    def files_above(self, paths: Iterable[RelPath]) -> dict[RelPath, list[RelPath]]:
        """The files here that are where a folder must be for one of these paths."""
        folders = {path: _folders_of(path) for path in paths}
        every = sorted({one for above in folders.values() for one in above})
        sql = "SELECT path FROM local_file WHERE path IN (SELECT value FROM json_each(?))"
        files: set[RelPath] = set()
        for at in range(0, len(every), _PAGE):
            some = json.dumps(every[at : at + _PAGE], ensure_ascii=False)
            files |= {RelPath(row[0]) for row in self._db.ask(sql, (some,))}
        if not files:
            return {}
        return {path: [one for one in above if one in files] for path, above in folders.items()}

    def files_below(self, folder: str) -> list[RelPath]:
        """The files here below a path."""
        sql = f"SELECT path FROM local_file WHERE {_BELOW}"  # noqa: S608 - constant
        return [RelPath(row[0]) for row in self._db.ask(sql, {"folder": folder})]

    def new_below(self, folder: str) -> list[LocalEntry]:
        """The files here below a folder that were not agreed on."""
        sql = f"""{LOCAL_PAGE} WHERE {_BELOW} AND path NOT IN (SELECT path FROM base)
            AND path NOT IN temp.in_step ORDER BY path"""  # noqa: S608 - constants
        return [to_local(row) for row in self._db.ask(sql, self._granularity | {"folder": folder})]

    def held_below(self, folder: str) -> list[tuple[BaseEntry, RemoteEntry]]:
        """The agreed files below a folder that were deleted here, and are on the server."""
        sql = f"SELECT path FROM base WHERE {_BELOW} AND held = 'local'"  # noqa: S608 - constant
        paths = [RelPath(row[0]) for row in self._db.ask(sql, {"folder": folder})]
        spots = self.at(paths)
        return [
            (one.base, one.remote)
            for one in map(spots.__getitem__, paths)
            if one.base is not None and one.remote is not None
        ]

    def listed_as(self, file_id: str) -> RelPath | None:
        """The path at which the last listing has a file of the server."""
        sql = "SELECT path FROM temp.remote_file WHERE file_id = ? AND file_id <> '' LIMIT 1"
        rows = self._db.ask(sql, (file_id,))
        return RelPath(rows[0][0]) if rows else None

    def agreed_there(self, after: str, count: int) -> list[RemoteEntry]:
        """Agreed files behind a path as they were on the server, without those gone there."""
        sql = f"""SELECT {_AS_THERE} FROM base WHERE path > ? AND held <> 'remote'
            ORDER BY path LIMIT ?"""  # noqa: S608 - constant
        return [to_remote(row) for row in self._db.ask(sql, (after, count))]

    def containers(self) -> frozenset[str]:
        """The ids of all containers that hold a listed file."""
        sql = "SELECT DISTINCT container_id FROM temp.remote_file"
        return frozenset(row[0] for row in self._db.ask(sql))

    def without_files(self, folders: Iterable[str]) -> list[str]:
        """Those of these folders at or below which the server has no file."""
        sql = """SELECT EXISTS (SELECT 1 FROM temp.remote_file
            WHERE path > :folder || '/' AND path < :folder || '0')"""
        return [one for one in folders if not self._db.ask(sql, {"folder": one})[0][0]]

    def spots(self, moves: Iterable[Move]) -> dict[RelPath, Spot]:
        """What is known of every path in them."""
        return self.at({path for move in moves for path in (move.old, move.new)})

    def at(self, wanted: Iterable[RelPath]) -> dict[RelPath, Spot]:
        """What is known of paths, each of them."""
        paths = sorted(wanted)
        found: dict[RelPath, Spot] = {}
        for at in range(0, len(paths), _PAGE):
            some = paths[at : at + _PAGE]
            here = {one.path: one for one in map(self._entry, self._rows(self._here, some))}
            there = {one.path: one for one in map(to_remote, self._rows(REMOTE_PAGE, some))}
            agreed = {one.path: one for one in map(to_base, self._rows(BASE_PAGE, some))}
            found |= {
                path: Spot(here.get(path), there.get(path), agreed.get(path)) for path in some
            }
        return found

    @property
    def _here(self) -> str:
        return MAPPED_PAGE if self._places.active else LOCAL_PAGE

    def _entry(self, row: Row) -> LocalEntry:
        return self._places.entry_of(row) if self._places.active else to_local(row)

    def _rows(self, select: str, paths: list[RelPath]) -> list[Row]:
        wanted = json.dumps(paths, ensure_ascii=False)
        sql = f"{select} WHERE path IN (SELECT value FROM json_each(:paths))"  # noqa: S608 - constants
        return self._db.ask(sql, {**self._granularity, "paths": wanted})
