"""What a read adds when it is asked for: counts, stats, and who wrote the files.

Source: core18 (``counts``, ``stats``, ``join=origin``).
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from fwsync.sandbox.core2018.wire import stored

Json = dict[str, Any]

CHILD_OF: Final = {"group": "project", "project": "session", "session": "acquisition"}
#: Who wrote a file; a device is known by its method and name. Jobs are not kept.
_ORIGINS: Final = {
    "user": "SELECT id AS _id, firstname, lastname, created FROM users WHERE id = ?",
    "device": "SELECT name AS _id, method, label AS name, created FROM devices WHERE name = ?",
}
_BELOW: Final = {"project": ("session", "subject", "acquisition"), "session": ("acquisition",)}


def counts_of(db: sqlite3.Connection, kind: str, container: str) -> Json:
    """How many children: ``session_count`` of a project."""
    child = CHILD_OF.get(kind)
    return {} if child is None else {f"{child}_count": _count(db, kind, container, child)}


def stats_of(db: sqlite3.Connection, kind: str, entry: Json) -> Json:
    """How many of everything below."""
    if kind == "group":
        return {}
    below = {f"{one}_count": _count(db, kind, entry["_id"], one) for one in _BELOW.get(kind, ())}
    return {"attachment_count": len(entry.get("files", ())), **below}


def _count(db: sqlite3.Connection, kind: str, container: str, child: str) -> int:
    found: int = db.execute(
        f"SELECT count(*) FROM containers WHERE {kind}_id = ?"  # noqa: S608 - names of ours
        " AND kind = ? AND deleted IS NULL",
        (container, child),
    ).fetchone()[0]
    return found


def origins_of(db: sqlite3.Connection, entry: Json) -> Json:
    """Who wrote the files of a container, by type and id."""
    found: Json = {"user": {}, "device": {}, "job": {}}
    for file in entry.get("files", ()):
        kind, one = file["origin"]["type"], file["origin"]["id"]
        if kind in found and one not in found[kind]:
            found[kind][one] = _origin(db, kind, one)
    return found


def _origin(db: sqlite3.Connection, kind: str, one: str) -> Json | None:
    sql = _ORIGINS.get(kind)
    row = db.execute(sql, (one,)).fetchone() if sql is not None else None
    return None if row is None else {**dict(row), "created": stored(row["created"])}
