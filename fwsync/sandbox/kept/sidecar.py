"""Sidecars: the metadata of a container or a file as ``<name>.flywheel.json``.

They hold the record without what says where it lies and where it came from, so that what is
restored elsewhere does not claim to be the original.

Source: core19; the size of one is that of the JSON text as CLI 18.5.1 writes it.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from fwsync.sandbox.kept.render import CONTAINERS, containers_json, file_json

Json = dict[str, Any]

SUFFIX: Final = ".flywheel.json"
_LEFT_OUT: Final = frozenset(
    {
        "_id",
        "parents",
        "collections",
        "group",
        "project",
        "subject",
        "session",
        "acquisition",
        "origin",
        "job",
        "inputs",
        "files",
        # What the API adds to a record.
        "analyses",
        "container_type",
        "node_type",
    }
)


def of_container(db: sqlite3.Connection, container: str) -> Json:
    """The metadata of a container, deleted or not."""
    rows = db.execute(f"{CONTAINERS} WHERE c.id = ?", (container,)).fetchall()
    return _reduced(containers_json(db, rows, with_files=False)[0])


def of_file(row: sqlite3.Row) -> Json:
    """The metadata of a file, from a row as ``file_json`` wants it."""
    return _reduced(file_json(row))


def _reduced(entry: Json) -> Json:
    return {name: value for name, value in entry.items() if name not in _LEFT_OUT}
