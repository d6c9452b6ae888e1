"""Containers in the records, by the rules of core18: labels need not be unique.

Functions here run on the thread of the records.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from fwsync.sandbox.core2018.render import NAMELESS
from fwsync.sandbox.kept import metadata
from fwsync.sandbox.kept.access import Place, load_place
from fwsync.sandbox.kept.moments import utc
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.tree import KINDS, oldest_by_label

Json = dict[str, Any]

#: What stands in a body and is not kept in the document of a container.
_STRUCTURE: Final = {
    "_id", "label", "code", "group", "project", "session", "subject", "public", "files",
}  # fmt: skip


def document(body: Json) -> Json:
    """What is kept of a body besides label, or code, and parent; times in UTC."""
    doc = {name: value for name, value in body.items() if name not in _STRUCTURE}
    if isinstance(doc.get("info"), dict):
        doc["info"] = metadata.clean_keys(doc["info"])
    if isinstance(doc.get("timestamp"), str):
        doc["timestamp"] = utc(doc["timestamp"])
    return doc


def plant(pen: Pen, kind: str, label: str, parent: Place, doc: Json) -> Place:
    """Make a container, whatever the label of others."""
    made = pen.new_id()
    way = {level: getattr(parent, level) for level in KINDS} | {kind: made}
    pen.db.execute(
        "INSERT INTO containers (id, kind, label, parent_id, group_id, project_id, subject_id,"
        " session_id, acquisition_id, created, modified, revision, doc)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,?)",
        (made, kind, label, parent.id, *way.values(), pen.now, pen.now, metadata.dumped(doc)),
    )
    return Place(kind, made, *way.values())


def plant_session(pen: Pen, project: Place, label: str, body: Json) -> Place:
    """Make a session, and its subject if the project has none of that code."""
    subject = subject_of(pen, project, body.get("subject") or {})
    return plant(pen, "session", label, subject, document(body))


def subject_of(pen: Pen, project: Place, told: Json) -> Place:
    """The subject of a project with a code, found or made; without a code, a new nameless one."""
    code, rest = told.get("code"), document(told)
    if not code:
        return plant(pen, "subject", f"ex{pen.new_id()}", project, rest | {NAMELESS: True})
    known = load_place(pen.db, oldest_by_label(pen.db, project.id, "subject", code) or "")
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
        (metadata.dumped(doc), label, pen.now, container),
    )
