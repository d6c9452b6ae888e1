"""Uploads that were begun: kept until their end, so that a later run can go on with them.

Its rule: a row says what has happened. It comes after the ticket and goes after its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from fwsync.model import RelPath
from fwsync.ports import OpenUpload
from fwsync.state_file import StateFile
from fwsync.state_rows import Row

_SELECT = "SELECT id, path, stamp, route, note, begun_ns FROM upload"


class Uploads:
    """The uploads of a state; belongs to the state's thread, as the state does.

    What its methods are for: :class:`fwsync.ports.Ledger`.
    """

    def __init__(self, db: StateFile, now_ns: Callable[[], int]) -> None:
        self._db = db
        self._now_ns = now_ns

    def begin(self, path: RelPath, stamp: str, route: str, note: Mapping[str, object]) -> int:
        """Keep an upload; its number."""
        sql = """INSERT INTO upload (path, stamp, route, note, begun_ns) VALUES (?, ?, ?, ?, ?)
            RETURNING id"""
        text = json.dumps(dict(note), ensure_ascii=True)
        return int(self._db.ask(sql, (path, stamp, route, text, self._now_ns()))[0][0])

    def update(self, id_: int, note: Mapping[str, object]) -> None:
        """Replace its note."""
        text = json.dumps(dict(note), ensure_ascii=True)
        self._db.ask("UPDATE upload SET note = ? WHERE id = ?", (text, id_))

    def confirm(self, id_: int, number: int, tag: str) -> None:
        """Keep that a part has arrived."""
        self._db.ask("INSERT OR REPLACE INTO upload_part VALUES (?, ?, ?)", (id_, number, tag))

    def end(self, id_: int) -> None:
        """Forget it; harmless a second time."""
        self._db.ask("DELETE FROM upload WHERE id = ?", (id_,))

    def find(self, path: RelPath, route: str) -> list[OpenUpload]:
        """Those of a path, the newest first."""
        sql = f"{_SELECT} WHERE path = ? AND route = ? ORDER BY id DESC"
        return [self._to_open(row) for row in self._db.ask(sql, (path, route))]

    def all(self) -> Sequence[OpenUpload]:
        """All of them, the oldest first."""
        return [self._to_open(row) for row in self._db.ask(f"{_SELECT} ORDER BY id")]

    def paths(self) -> dict[int, RelPath]:
        """The number and the path of each of them."""
        return dict(self._db.ask("SELECT id, path FROM upload"))

    def _to_open(self, row: Row) -> OpenUpload:
        id_, path, stamp, route, note, begun_ns = row
        parts = self._db.ask("SELECT number, tag FROM upload_part WHERE upload = ?", (id_,))
        return OpenUpload(id_, path, stamp, route, json.loads(note), dict(parts), begun_ns)
