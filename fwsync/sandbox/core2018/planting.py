"""Containers in the records, by the rules of core18: labels need not be unique.

Functions here run on the thread of the records.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any, Final

from fwsync.sandbox.core2018.asking import find
from fwsync.sandbox.core2018.render import NAMELESS
from fwsync.sandbox.core2018.wire import sanitized
from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.tree import KINDS

Json = dict[str, Any]

#: What stands in a body and is not kept in the document of a container.
_STRUCTURE: Final = {
    "_id", "label", "group", "project", "session", "subject", "permissions", "public", "files",
}  # fmt: skip


def document(body: Json) -> Json:
    """What is kept of a body besides label and parent; times in UTC."""
    doc = {name: value for name, value in body.items() if name not in _STRUCTURE}
    if isinstance(doc.get("info"), dict):
        doc["info"] = sanitized(doc["info"])
    if isinstance(doc.get("timestamp"), str):
        doc["timestamp"] = utc(doc["timestamp"])
    return doc


def utc(moment: str) -> str:
    """A time with an offset, in UTC."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat()


def plant(pen: Pen, kind: str, label: str, parent: Place, doc: Json) -> Place:
    """Make a container, whatever the label of others."""
    made = pen.new_id()
    way = {level: getattr(parent, level) for level in KINDS} | {kind: made}
    pen.db.execute(
        "INSERT INTO containers (id, kind, label, parent_id, group_id, project_id, subject_id,"
        " session_id, acquisition_id, created, modified, revision, doc)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,?)",
        (made, kind, label, parent.id, *way.values(), pen.now, pen.now, json.dumps(doc)),
    )
    return Place(kind, made, *way.values())


def plant_session(pen: Pen, project: Place, label: str, body: Json) -> Place:
    """Make a session, and its subject if the project has none of that code."""
    subject = subject_of(pen, project, body.get("subject") or {})
    return plant(pen, "session", label, subject, document(body))


def subject_of(pen: Pen, project: Place, told: Json) -> Place:
    """The subject of a project with a code, found or made; without a code, a new nameless one."""
    code = told.get("code")
    rest = {name: value for name, value in told.items() if name not in ("_id", "code", "files")}
    if not code:
        return plant(pen, "subject", f"ex{pen.new_id()}", project, rest | {NAMELESS: True})
    row = pen.db.execute(
        "SELECT id FROM containers WHERE parent_id = ? AND kind = 'subject' AND label = ?"
        " AND deleted IS NULL ORDER BY id",
        (project.id, code),
    ).fetchone()
    known = find(pen.db, row["id"], "subject", deleted=False) if row is not None else None
    return known or plant(pen, "subject", code, project, {"code": code, **rest})


def load_doc(db: sqlite3.Connection, container: str) -> Json:
    """The document of a container."""
    row = db.execute("SELECT doc FROM containers WHERE id = ?", (container,)).fetchone()
    doc: Json = json.loads(row["doc"])
    return doc


def save_doc(pen: Pen, container: str, doc: Json, label: str | None = None) -> None:
    """Write the document of a container, and its label if one is given."""
    pen.db.execute(
        "UPDATE containers SET doc = ?, label = coalesce(?, label), modified = ?,"
        " revision = revision + 1 WHERE id = ?",
        (json.dumps(doc), label, pen.now, container),
    )
