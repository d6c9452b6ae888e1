"""Numbers that the guards ask for, in SQL.

Its rule: a run that finds all in step pays for no look over the listing.
"""

from __future__ import annotations

from fwsync.guards import Retimed
from fwsync.state_file import StateFile

_RETIMED = """SELECT count(*), count(DISTINCT shift_ns), coalesce(min(shift_ns), 0)
    FROM temp.retimed JOIN local_file AS l USING (path) JOIN base AS b USING (path)
    WHERE l.etag = b.local_etag"""

#: Rows of the containers in which something is out of step.
_IN_CONTAINER = """SELECT container_id, count(*) FROM base WHERE container_id IN (
        SELECT container_id FROM base WHERE path NOT IN temp.in_step
    ) GROUP BY container_id"""


class Numbers:
    """Belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def in_containers(self) -> dict[str, int]:
        """How many files were agreed on in each container in which one is out of step now.

        For after ``State.out_of_step``.
        """
        return {str(id_): int(files) for id_, files in self._db.ask(_IN_CONTAINER)}

    def held(self) -> dict[str, int]:
        """How many deletions are remembered, by the side that deleted."""
        sql = "SELECT held, count(*) FROM base WHERE held <> '' GROUP BY held"
        return {str(side): int(files) for side, files in self._db.ask(sql)}

    def first_held(self, count: int) -> list[tuple[str, str]]:
        """The first of these: path, and the side that deleted."""
        sql = "SELECT path, held FROM base WHERE held <> '' ORDER BY path LIMIT ?"
        return [(str(path), str(side)) for path, side in self._db.ask(sql, (count,))]

    def has_files_there(self, folder: str) -> bool:
        """Is a file listed at or below this folder? Empty: anywhere."""
        sql = """SELECT EXISTS (SELECT 1 FROM temp.remote_file
            WHERE :folder = '' OR (path > :folder || '/' AND path < :folder || '0'))"""
        return bool(self._db.ask(sql, {"folder": folder})[0][0])

    def take_retimed(self) -> Retimed:
        """The files whose time alone has changed since they were last asked for here."""
        there = "SELECT count(*) FROM temp.sqlite_master WHERE name = 'retimed'"
        if not self._db.ask(there)[0][0]:
            return Retimed(0, 0, 0)
        found = Retimed(*map(int, self._db.ask(_RETIMED)[0]))
        self._db.ask("DROP TABLE temp.retimed")
        return found
