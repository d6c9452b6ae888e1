"""Names of ours that the server has under other ones, and whether a path is in use here.

Its rule: one of our names has one of theirs, and back; the table itself refuses a second.
"""

from __future__ import annotations

from fwsync.model import RelPath
from fwsync.ports import Alias
from fwsync.state_file import StateFile

_INSIDE = "path = :path OR (path > :path || '/' AND path < :path || '0')"  # '0' follows '/'


class Aliases:
    """The aliases of a state; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def all(self) -> list[Alias]:
        """All of them, by container."""
        rows = self._db.ask("SELECT parent_id, is_file, ours, theirs FROM alias")
        return [
            Alias(parent, bool(is_file), ours, theirs) for parent, is_file, ours, theirs in rows
        ]

    def remember(self, alias: Alias) -> None:
        """Keep one; it takes the place of an older one for the same name of ours."""
        row = (alias.parent_id, alias.is_file, alias.theirs, alias.ours)
        with self._db.change() as db:
            db.execute(
                "DELETE FROM alias WHERE parent_id = ? AND is_file = ? AND ours = ?",
                (alias.parent_id, alias.is_file, alias.ours),
            )
            db.execute("INSERT INTO alias (parent_id, is_file, theirs, ours) VALUES (?,?,?,?)", row)

    def forget(self, alias: Alias) -> None:
        """Drop one."""
        self._db.ask(
            "DELETE FROM alias WHERE parent_id = ? AND is_file = ? AND ours = ? AND theirs = ?",
            (alias.parent_id, alias.is_file, alias.ours, alias.theirs),
        )

    def is_free(self, path: RelPath) -> bool:
        """Is there nothing at or below this path on disk, and nothing agreed on?"""
        # A layout may put what is on disk elsewhere: then its places are what is here.
        placed = self._db.ask("SELECT 1 FROM sqlite_temp_master WHERE name = 'mapped'")
        here = "temp.mapped" if placed else "local_file"
        sql = f"""SELECT NOT EXISTS (SELECT 1 FROM {here} WHERE {_INSIDE})
            AND NOT EXISTS (SELECT 1 FROM base WHERE {_INSIDE})"""  # noqa: S608 - constants
        return bool(self._db.ask(sql, {"path": path})[0][0])
