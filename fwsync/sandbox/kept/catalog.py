"""The files in the records: store a version, look one up, delete.

Functions here run on the thread of the records; those that take a :class:`Pen` write.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fwsync.sandbox.formats.filetypes import file_type, mimetype
from fwsync.sandbox.kept import metadata
from fwsync.sandbox.kept.access import Caller, Place, load_place
from fwsync.sandbox.kept.blobs import Blob, Incoming
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import missing

Json = dict[str, Any]
T = TypeVar("T")

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
    pen: Pen,
    place: Place,
    arrivals: Sequence[Arrival],
    caller: Caller,
    *,
    keep_metadata: bool = False,
    hash_known: bool = True,
    origin: Json | None = None,
) -> list[sqlite3.Row]:
    """Record files, each as the next version of its name; returns the rows.

    Args:
        keep_metadata: of a file that is there, keep type, tags, info and the like.
        hash_known: the API tells the hash; without, it is empty.
        origin: what is told of the caller, if not only kind and id.

    Raises:
        ApiError: 404, the container was deleted meanwhile.
    """
    now = load_place(pen.db, place.id)  # it may have been moved while the bytes came
    if now is None:
        raise missing(f"no such {place.kind}: {place.id}")
    told = json.dumps(origin or {"type": caller.kind, "id": caller.id})
    return [
        _store(pen, now, arrival, told, keep_metadata=keep_metadata, hash_known=hash_known)
        for arrival in arrivals
    ]


def _store(
    pen: Pen, place: Place, arrival: Arrival, origin: str, *, keep_metadata: bool, hash_known: bool
) -> sqlite3.Row:
    db, name, blob = pen.db, pen.named(arrival.name), arrival.blob()
    known = by_name(db, place.id, name)
    doc, type_, mime = _describe(arrival, known if keep_metadata else None)
    file_id = pen.new_id() if known is None else known["id"]
    version = 1 if known is None else known["version"] + 1
    content = (str(uuid.uuid4()), type_, mime, blob.size, blob.sha384, origin)
    if known is None:
        db.execute(
            "INSERT INTO files (id, container_id, container_kind, group_id, project_id,"
            " subject_id, session_id, acquisition_id, name, version, object_id, type, mimetype,"
            " size, sha384, origin, created, modified, doc, hash_known)"
            " VALUES (?,?,?,?,?,?,?,?,?,1,?,?,?,?,?,?,?,?,?,?)",
            (
                file_id,
                place.id,
                place.kind,
                place.group,
                place.project,
                place.subject,
                place.session,
                place.acquisition,
                name,
                *content,
                pen.now,
                pen.now,
                doc,
                hash_known,
            ),
        )
    else:
        db.execute(
            "UPDATE files SET object_id = ?, type = ?, mimetype = ?, size = ?, sha384 = ?,"
            " origin = ?, version = ?, modified = ?, replaced = ?, doc = ?, hash_known = ?,"
            " restored_from = NULL, restored_by = NULL WHERE id = ?",
            (*content, version, pen.now, pen.now, doc, hash_known, file_id),
        )
    db.execute(
        "INSERT INTO versions (file_id, version, object_id, type, mimetype, size, sha384, origin,"
        " created, doc, hash_known) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (file_id, version, *content, pen.now, doc, hash_known),
    )
    row: sqlite3.Row = db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
    return row


def _describe(arrival: Arrival, kept: sqlite3.Row | None) -> tuple[str, str | None, str]:
    told = arrival.metadata
    if told.get("info"):
        told = told | {"info": metadata.clean_keys(told["info"])}
    if kept is None:
        doc = {name: told.get(name) or default for name, default in METADATA.items()}
        type_ = told.get("type") or file_type(arrival.name)
        return metadata.dumped(doc), type_, told.get("mimetype") or mimetype(arrival.name)
    doc = json.loads(kept["doc"]) | {
        name: told[name] for name in METADATA if told.get(name) is not None
    }
    type_ = told.get("type") or kept["type"]
    return metadata.dumped(doc), type_, told.get("mimetype") or kept["mimetype"]


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
        "SELECT version, object_id, type, mimetype, size, sha384, hash_known, origin, doc, created,"
        " coalesce(modified, created) AS modified, restored_from, restored_by"
        " FROM versions WHERE file_id = ? AND version = ? AND deleted IS NULL",
        (file["id"], version),
    ).fetchone()
    if row is None:
        return None
    return dict(file) | dict(row) | {"created": file["created"]}


def versions(db: sqlite3.Connection, file_id: str) -> list[Json]:
    """Every version of a file, the newest first, as the wire shows them."""
    rows = db.execute(
        "SELECT version, created, deleted, origin, size, sha384, hash_known, restored_from,"
        " restored_by FROM versions WHERE file_id = ?"
        " ORDER BY version DESC",
        (file_id,),
    ).fetchall()
    return [
        {
            "file_id": file_id,
            "version": row["version"],
            "created": row["created"],
            "deleted": row["deleted"],
            "origin": json.loads(row["origin"]),
            "restored_from": row["restored_from"],
            "restored_by": json.loads(row["restored_by"] or "null"),
            "size": row["size"],
            "hash": shown_hash(row),
        }
        for row in rows
    ]


def shown_hash(row: Mapping[str, Any] | sqlite3.Row) -> str:
    """The hash of a file as the API tells it; empty where the server does not know it."""
    return hash_text(row["sha384"], is_known=row["hash_known"])


def hash_text(sha384: str, *, is_known: bool) -> str:
    """The same of the digits that are kept."""
    return f"v0-sha384-{sha384}" if is_known else ""


def edit(pen: Pen, file_id: str, work: Callable[[Json], T]) -> T:
    """Change the metadata of a file; no new version, but another time of modification.

    Args:
        work: is given the document, with the type in it, and may change it.

    Raises:
        ApiError: 404, it was deleted meanwhile; 413; what ``work`` raises.
    """
    row = by_id(pen.db, file_id)
    if row is None:
        raise missing("no such file")
    doc = json.loads(row["doc"]) | {"type": row["type"]}
    result = work(doc)
    type_ = doc.pop("type")
    # The newest version says the same, for that is what remains of it when another comes.
    changed = (type_, metadata.dumped(doc), pen.now, file_id)
    pen.db.execute("UPDATE files SET type = ?, doc = ?, modified = ? WHERE id = ?", changed)
    pen.db.execute(
        "UPDATE versions SET type = ?, doc = ?, modified = ? WHERE file_id = ? AND version = ?",
        (*changed, row["version"]),
    )
    return result


def delete(pen: Pen, file_id: str, reason: str | None = None) -> int:
    """Mark a file as deleted; returns how many were alive."""
    return pen.db.execute(
        "UPDATE files SET deleted = ?1, modified = ?1, delete_reason = ?2"
        " WHERE id = ?3 AND deleted IS NULL",
        (pen.now, reason, file_id),
    ).rowcount


def delete_version(pen: Pen, file_id: str, version: int, reason: str | None) -> int:
    """Mark one version as deleted, not the newest; returns how many were alive."""
    return pen.db.execute(
        "UPDATE versions SET deleted = ?, delete_reason = ? WHERE file_id = ? AND version = ?"
        " AND deleted IS NULL AND version < (SELECT version FROM files WHERE id = file_id)",
        (pen.now, reason, file_id, version),
    ).rowcount
