"""Files in the records, as core18 stores them: a name again is overwritten without a word.

There are no versions on this server. The records keep what was there before all the same, so that
``/sandbox/record`` can tell.

Functions here run on the thread of the records.

Source: core18.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from typing import Any, Final

from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.render import file_json, measured
from fwsync.sandbox.core2018.wire import told
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.access import Caller, Place
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.site import Call

Json = dict[str, Any]

_FIELDS: Final = {
    "name": s.TEXT,
    "type": s.TEXT_OR_NULL,
    "mimetype": s.TEXT,
    "modality": s.TEXT_OR_NULL,
    "measurements": s.TEXTS,
    "tags": s.TEXTS,
    "info": s.OBJECT,
}
#: What may be said of a file that is uploaded, and of one in a list of files.
METADATA: Final = s.closed(_FIELDS)
LISTED: Final = s.closed(_FIELDS, "name")


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: as the records name them, and as the origin of the files."""

    caller: Caller
    hash_known: bool
    origin: Json | None = None  # if more is told than kind and id


def author(call: Call) -> Author:
    """The author of what a request uploads."""
    known = not call.site.switches.empty_hashes
    return Author(asking.as_device(call), known, asking.origin(call))


def described(file: Arrival, metadata: Json) -> Arrival:
    """A file with what was said of it, in the words of the records."""
    kept = ("type", "mimetype", "modality")
    known: Json = {name: metadata[name] for name in kept if name in metadata}
    known["tags"] = metadata.get("tags") or []
    known["info"] = metadata.get("info") or {}
    known["classification"] = measured(metadata.get("measurements") or [])
    return replace(file, metadata=known)


def store(pen: Pen, place: Place, file: Arrival, by: Author) -> Json:
    """Store one file; the record that the reply shows.

    It has no ``created`` when something of that name was replaced.
    """
    [row] = catalog.store(pen, place, [file], by.caller, hash_known=by.hash_known, origin=by.origin)
    record = file_json(row) | {name: told(row[name]) for name in ("created", "modified")}
    if row["version"] > 1:
        del record["created"]
    return record


def store_anywhere(pen: Pen, place: Place, file: Arrival, by: Author) -> Json:
    """Store one file; in a container that was deleted it is as deleted as that."""
    where = (place.id,)
    gone = pen.db.execute("SELECT deleted, id FROM containers WHERE id = ?", where).fetchone()
    if gone["deleted"] is None:
        return store(pen, place, file, by)
    pen.db.execute("UPDATE containers SET deleted = NULL WHERE id = ?", where)
    record = store(pen, place, file, by)
    pen.db.execute("UPDATE containers SET deleted = ? WHERE id = ?", tuple(gone))
    pen.db.execute(
        "UPDATE files SET deleted = ? WHERE container_id = ? AND deleted IS NULL", tuple(gone)
    )
    return record


def readable(db: sqlite3.Connection, container: str, name: str) -> sqlite3.Row | None:
    """The file of a name; in a container that was deleted, one that went with it as well.

    Source: core18's published source, which asks for the container and not for its mark.
    """
    row = catalog.by_name(db, container, name)
    if row is None and asking.find(db, container, "", deleted=False) is None:
        row = newest(db, container, name)
    return row


def newest(db: sqlite3.Connection, container: str, name: str) -> sqlite3.Row | None:
    """The file of a name in a container, a deleted one too; of several, the newest."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM files WHERE container_id = ? AND name = ? ORDER BY id DESC LIMIT 1",
        (container, name),
    ).fetchone()
    return row


def analyses_with_jobs(db: sqlite3.Connection, file_id: str) -> list[str]:
    """The analyses that run a job on a file."""
    rows = db.execute(
        "SELECT c.id FROM analysis_inputs i JOIN containers c ON c.id = i.analysis_id"
        " WHERE i.file_id = ? AND c.deleted IS NULL"
        " AND coalesce(json_extract(c.doc, '$.job'), '') != '' ORDER BY c.id",
        (file_id,),
    ).fetchall()
    return [row["id"] for row in rows]
