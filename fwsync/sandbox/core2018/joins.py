"""What a read adds when it is asked for: counts, stats, and who wrote the files.

Source: core18 (``counts``, ``stats``, ``join=origin``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from fwsync.sandbox.core2018.wire import stored

Json = dict[str, Any]

_CHILD: Final = {"group": "project", "project": "session", "session": "acquisition"}
_BELOW: Final = {"project": ("session", "subject", "acquisition"), "session": ("acquisition",)}


def counts_of(db: sqlite3.Connection, kind: str, container: str) -> Json:
    """How many children: ``session_count`` of a project."""
    child = _CHILD.get(kind)
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


def origins_of(db: sqlite3.Connection, entries: Sequence[Json]) -> Json:
    """Who wrote the files, by type and id."""
    found: Json = {"user": {}, "device": {}, "job": {}}
    for entry in entries:
        for file in entry.get("files", ()):
            kind, one = file["origin"]["type"], file["origin"]["id"]
            if kind in found and one not in found[kind]:
                found[kind][one] = _origin(db, kind, one)
    return found


def _origin(db: sqlite3.Connection, kind: str, one: str) -> Json | None:
    if kind == "user":
        row = db.execute("SELECT * FROM users WHERE id = ?", (one,)).fetchone()
        names = ("firstname", "lastname")
    else:
        row = db.execute("SELECT * FROM devices WHERE name = ?", (one,)).fetchone()
        names = ("method", "name")
    if row is None:
        return None
    return {"_id": one, **{n: row[n] for n in names}, "created": stored(row["created"])}
