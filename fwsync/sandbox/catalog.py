"""The files in the records: store a version, look one up, delete.

Functions here run on the thread of the records; those that take a :class:`Pen` write.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fwsync.sandbox.access import Caller, Place, load_place
from fwsync.sandbox.blobs import Blob, Incoming
from fwsync.sandbox.filetypes import file_type, mimetype
from fwsync.sandbox.problems import missing
from fwsync.sandbox.records import Pen

Json = dict[str, Any]

#: What an upload's metadata may say, and what stands there when it says nothing.
METADATA: dict[str, Any] = {
    "modality": None,
    "classification": {},
    "tags": [],
    "info": {},
    "zip_member_count": None,
    "client_hash": None,
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that wants a record: its bytes are in their place, or small and in memory."""

    name: str
    bytes: Blob | Incoming
    metadata: Json

    def blob(self) -> Blob:
        """The bytes, now in their place. Blocks."""
        return self.bytes if isinstance(self.bytes, Blob) else self.bytes.seal_here()


def store(
    pen: Pen, place: Place, arrivals: Sequence[Arrival], caller: Caller, *, keep_metadata: bool
) -> list[sqlite3.Row]:
    """Record files, each as the next version of its name; returns the rows.

    Args:
        keep_metadata: of a file that is there, keep type, tags, info and the like.

    Raises:
        ApiError: 404, the container was deleted meanwhile.
    """
    if load_place(pen.db, place.id) is None:
        raise missing(f"no such {place.kind}: {place.id}")
    origin = json.dumps({"type": caller.kind, "id": caller.id})
    return [_store(pen, place, arrival, origin, keep_metadata) for arrival in arrivals]


def _store(
    pen: Pen, place: Place, arrival: Arrival, origin: str, keep_metadata: bool
) -> sqlite3.Row:
    db, name, blob = pen.db, arrival.name, arrival.blob()
    known = by_name(db, place.id, name)
    doc, type_, mime = _describe(arrival, known if keep_metadata else None)
    file_id = pen.new_id() if known is None else known["id"]
    version = 1 if known is None else known["version"] + 1
    content = (str(uuid.uuid4()), type_, mime, blob.size, blob.sha384, origin)
    if known is None:
        db.execute(
            "INSERT INTO files VALUES (?,?,?,?,?,?,?,?,1,?,?,?,?,?,?,?,?,NULL,NULL,?)",
            (
                file_id,
                place.id,
                place.kind,
                place.group,
                place.project,
                place.subject,
                place.session,
                name,
                *content,
                pen.now,
                pen.now,
                doc,
            ),
        )
    else:
        db.execute(
            "UPDATE files SET object_id = ?, type = ?, mimetype = ?, size = ?, sha384 = ?,"
            " origin = ?, version = ?, modified = ?, replaced = ?, doc = ? WHERE id = ?",
            (*content, version, pen.now, pen.now, doc, file_id),
        )
    db.execute(
        "INSERT INTO versions VALUES (NULL,?,?,?,?,?,?,?,?,?,?)",
        (file_id, version, *content, pen.now, doc),
    )
    row: sqlite3.Row = db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
    return row


def _describe(arrival: Arrival, kept: sqlite3.Row | None) -> tuple[str, str | None, str]:
    told = arrival.metadata
    if kept is None:
        doc = {name: told.get(name) or default for name, default in METADATA.items()}
        type_ = told.get("type") or file_type(arrival.name)
        return json.dumps(doc), type_, told.get("mimetype") or mimetype(arrival.name)
    doc = json.loads(kept["doc"]) | {name: told[name] for name in METADATA if name in told}
    type_ = told.get("type") or kept["type"]
    return json.dumps(doc), type_, told.get("mimetype") or kept["mimetype"]


def by_name(db: sqlite3.Connection, container: str, name: str) -> sqlite3.Row | None:
    """The living file of a name in a container."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM files WHERE container_id = ? AND name = ? AND deleted IS NULL",
        (container, name),
    ).fetchone()
    return row


def by_id(db: sqlite3.Connection, file_id: str) -> sqlite3.Row | None:
    """The living file of an id."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM files WHERE id = ? AND deleted IS NULL", (file_id,)
    ).fetchone()
    return row


def at_version(db: sqlite3.Connection, file: sqlite3.Row, version: int) -> Json | None:
    """The row of a file as it was at a version; ``None``: there is no such version."""
    row = db.execute(
        "SELECT version, object_id, type, mimetype, size, sha384, origin, doc, created"
        " FROM versions WHERE file_id = ? AND version = ?",
        (file["id"], version),
    ).fetchone()
    if row is None:
        return None
    return dict(file) | dict(row) | {"created": file["created"], "modified": row["created"]}


def versions(db: sqlite3.Connection, file_id: str) -> list[Json]:
    """Every version of a file, the newest first, as the wire shows them."""
    rows = db.execute(
        "SELECT version, created, origin, size, sha384 FROM versions WHERE file_id = ?"
        " ORDER BY version DESC",
        (file_id,),
    ).fetchall()
    return [
        {
            "file_id": file_id,
            "version": row["version"],
            "created": row["created"],
            "deleted": None,
            "origin": json.loads(row["origin"]),
            "restored_from": None,
            "restored_by": None,
            "size": row["size"],
            "hash": f"v0-sha384-{row['sha384']}",
        }
        for row in rows
    ]


def delete(pen: Pen, file_id: str) -> int:
    """Mark a file as deleted; returns how many were alive."""
    return pen.db.execute(
        "UPDATE files SET deleted = ?, modified = ? WHERE id = ? AND deleted IS NULL",
        (pen.now, pen.now, file_id),
    ).rowcount
