"""What a selection leaves out of a run: paths that its listing lacks, and would not have had.

Its rule: a path is left out for this run alone, and nothing is written of it in the state file.
"""

from __future__ import annotations

from collections.abc import Iterator

from fwsync.model import RelPath
from fwsync.selection import Reach
from fwsync.state_file import PAGE, StateFile

LEFT_OUT_TABLE = "CREATE TEMP TABLE left_out (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID"
#: Of the pages of the trees.
NOT_LISTED = "NOT EXISTS (SELECT 1 FROM temp.remote_file AS r WHERE r.path = t.path)"
#: Nor agreed on, so that it was not asked about before.
NOT_AGREED = f"{NOT_LISTED} AND NOT EXISTS (SELECT 1 FROM base AS b WHERE b.path = t.path)"  # noqa: S608

#: A file that has another path now, and is selected there: what it was agreed on as is known.
MOVED = """
WITH come AS MATERIALIZED (
    SELECT file_id FROM temp.remote_file AS r WHERE file_id <> ''
        AND NOT EXISTS (SELECT 1 FROM base AS b WHERE b.path = r.path)
)
DELETE FROM temp.left_out WHERE path IN (SELECT b.path FROM base AS b JOIN come USING (file_id))
"""


def leave_out(db: StateFile, reach: Reach, local: str) -> int:
    """Fill ``temp.left_out``, after the listing.

    Args:
        db: with an empty table of that name.
        reach: of the listing.
        local: the table of what is here.

    Returns:
        How many of the paths were agreed on.
    """
    for table in ("base", local):
        if reach.covers is None:
            sql = f"INSERT OR IGNORE INTO temp.left_out SELECT path FROM {table} AS t"  # noqa: S608
            db.ask(f"{sql} WHERE {NOT_LISTED}")
            continue
        left: list[tuple[str]] = []
        for path in _not_listed(db, table, NOT_LISTED if table == "base" else NOT_AGREED):
            if not reach.covers(path):
                left.append((path,))
            if len(left) >= PAGE:
                _put(db, left)
        _put(db, left)
    db.ask(MOVED)
    counted = "SELECT count(*) FROM temp.left_out JOIN base USING (path)"
    return int(db.ask(counted)[0][0])


def _not_listed(db: StateFile, table: str, only: str) -> Iterator[RelPath]:
    for row in db.pages(f"SELECT path FROM {table} AS t", only=only):  # noqa: S608 - a table
        yield RelPath(row[0])


def _put(db: StateFile, left: list[tuple[str]]) -> None:
    with db.change("BEGIN") as connection:  # temporary: no lock on the file itself
        connection.executemany("INSERT OR IGNORE INTO temp.left_out VALUES (?)", left)
    left.clear()
