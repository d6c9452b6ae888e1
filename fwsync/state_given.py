"""Names that containers and files of the server were given here, by their ids.

Its rule: a name that was given stays, until what bears it is gone from the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from fwsync.model import RelPath
from fwsync.ports import GivenName
from fwsync.state_file import StateFile

# A file that both sides have agreed on, and nothing below a folder of its name. What is gone
# here needs no name here. '0' follows '/'.
_FILES_AT = """SELECT b.path FROM json_each(?) AS one JOIN base AS b ON b.path = one.value
    WHERE b.held <> 'local' AND NOT EXISTS
    (SELECT 1 FROM base AS x WHERE x.path > b.path || '/' AND x.path < b.path || '0')"""


class GivenNames:
    """The given names of a state; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def all(self) -> list[GivenName]:
        """All of them. As many as there are containers, and a few files."""
        rows = self._db.ask("SELECT id, is_file, label, parent_id, name FROM given_name")
        return [GivenName(id_, bool(is_file), *rest) for id_, is_file, *rest in rows]

    def keep(self, given: Sequence[GivenName], gone: Sequence[GivenName]) -> None:
        """Drop names, and keep others; a container's takes the place of the one it had."""
        old = [(one.id, one.is_file, one.label) for one in gone]
        containers = [(one.id,) for one in given if not one.is_file]
        rows = [(one.id, one.is_file, one.label, one.parent_id, one.name) for one in given]
        with self._db.change() as db:
            db.executemany("DELETE FROM given_name WHERE id = ? AND is_file = ? AND label = ?", old)
            db.executemany("DELETE FROM given_name WHERE id = ? AND is_file = 0", containers)
            db.executemany("INSERT OR REPLACE INTO given_name VALUES (?, ?, ?, ?, ?)", rows)

    def files_at(self, paths: Iterable[RelPath]) -> set[RelPath]:
        """Those of the paths at which a file is agreed on, with nothing below a folder of it."""
        wanted = json.dumps(list(paths), ensure_ascii=False)
        return {RelPath(path) for (path,) in self._db.ask(_FILES_AT, (wanted,))}
