"""Files in the records, as core18 stores them: a name again is overwritten without a word.

There are no versions on this server. The records keep what was there before all the same, so that
``/sandbox/record`` can tell.

Functions here run on the thread of the records.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Any, Final

from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.render import file_json, measured
from fwsync.sandbox.core2018.wire import sanitized, told
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
    origin: Json
    hash_known: bool


def author(call: Call) -> Author:
    """The author of what a request uploads."""
    known = not call.site.switches.empty_hashes
    return Author(asking.as_device(call), asking.origin(call), known)


def described(file: Arrival, metadata: Json) -> Arrival:
    """A file with what was said of it, in the words of the records."""
    kept = ("type", "mimetype", "modality")
    known: Json = {name: metadata[name] for name in kept if name in metadata}
    known["tags"] = metadata.get("tags") or []
    known["info"] = sanitized(metadata.get("info") or {})
    known["classification"] = measured(metadata.get("measurements") or [])
    return replace(file, metadata=known)


def store(pen: Pen, place: Place, file: Arrival, by: Author) -> Json:
    """Store one file; the record that the reply shows.

    It has no ``created`` when something of that name was replaced.
    """
    known = catalog.by_name(pen.db, place.id, file.name)
    [row] = catalog.store(pen, place, [file], by.caller, hash_known=by.hash_known)
    origin = json.dumps(by.origin)
    pen.db.execute("UPDATE files SET origin = ? WHERE id = ?", (origin, row["id"]))
    pen.db.execute(
        "UPDATE versions SET origin = ? WHERE file_id = ? AND version = ?",
        (origin, row["id"], row["version"]),
    )
    shown = dict(row) | {"origin": origin}
    record = file_json(shown)
    record["modified"] = told(row["modified"])
    if known is None:
        record["created"] = told(row["created"])
    else:
        del record["created"]
    return record


def newest(
    db: sqlite3.Connection, container: str, name: str, *, deleted: bool
) -> sqlite3.Row | None:
    """The file of a name in a container; of several, the newest.

    Args:
        deleted: whether one that was deleted will do.
    """
    alive = "" if deleted else " AND deleted IS NULL"
    row: sqlite3.Row | None = db.execute(
        f"SELECT * FROM files WHERE container_id = ? AND name = ?{alive}"  # noqa: S608
        " ORDER BY id DESC LIMIT 1",
        (container, name),
    ).fetchone()
    return row


def describe(pen: Pen, file_id: str, doc: Json, type_: str | None) -> None:
    """Change what is said of a file; its content stays."""
    pen.db.execute(
        "UPDATE files SET doc = ?, type = ?, modified = ? WHERE id = ?",
        (json.dumps(doc), type_, pen.now, file_id),
    )
    pen.db.execute(
        "UPDATE versions SET doc = ?, type = ? WHERE file_id = ?"
        " AND version = (SELECT version FROM files WHERE id = ?)",
        (json.dumps(doc), type_, file_id, file_id),
    )


def analyses_with_jobs(db: sqlite3.Connection, file_id: str) -> list[str]:
    """The analyses that run a job on a file."""
    rows = db.execute(
        "SELECT c.id FROM analysis_inputs i JOIN containers c ON c.id = i.analysis_id"
        " WHERE i.file_id = ? AND c.deleted IS NULL"
        " AND coalesce(json_extract(c.doc, '$.job'), '') != '' ORDER BY c.id",
        (file_id,),
    ).fetchall()
    return [row["id"] for row in rows]
