"""One branch of the tree, from what is known of its containers: found, filled or made.

For requests that name a project, a subject, a session and an acquisition at once. Functions here
run on the thread of the records, all of one request in one job: since one thread writes, two
requests that come first at the same time make no twins. What was deleted is never found.

Source: core18's `hierarchy` for labels, uids and what is filled; SDK 23 for subjects, which are
containers of their own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.access import Place, load_place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.tree import NewContainer
from fwsync.sandbox.problems import missing

Json = dict[str, Any]

NO_SUBJECT: Final = "unknown"  # the label of the subject of sessions that name none


def with_uid(
    db: sqlite3.Connection, kind: str, uid: str, below: Place | None = None
) -> list[Place]:
    """The containers of a uid, the oldest first; all that there are, or those in a container."""
    places = _places(
        db,
        "SELECT id FROM containers WHERE uid = ? AND kind = ? AND deleted IS NULL ORDER BY id",
        (uid, kind),
    )
    return [one for one in places if below is None or getattr(one, below.kind) == below.id]


def above(db: sqlite3.Connection, place: Place, kind: str) -> Place:
    """The container of a kind that a place lies in.

    Raises:
        ApiError: 404, there is none.
    """
    found = load_place(db, getattr(place, kind) or "")
    if found is None:
        raise missing(f"no such {kind}")
    return found


def project_labelled(db: sqlite3.Connection, group: str, label: str) -> Place | None:
    """A project of a group by its label, in any case; one in the same case goes first."""
    found = tree.oldest_by_label(db, group, "project", label)
    if found is None:
        rows = db.execute(
            "SELECT id, label FROM containers WHERE parent_id = ? AND kind = 'project'"
            " AND deleted IS NULL ORDER BY id",
            (group,),
        )
        wanted = label.casefold()
        found = next((row["id"] for row in rows if row["label"].casefold() == wanted), None)
    return None if found is None else load_place(db, found)


def session_labelled(
    db: sqlite3.Connection, project: Place, label: str, subject: str | None
) -> Place | None:
    """The oldest session of a project with a label.

    Args:
        subject: the label its subject must have; ``None``: any will do.
    """
    sql = (
        "SELECT e.id FROM containers s JOIN containers e ON e.parent_id = s.id AND e.label = ?2"
        " AND e.kind = 'session' AND e.deleted IS NULL"
        " WHERE s.parent_id = ?1 AND s.kind = 'subject' AND s.deleted IS NULL"
    )
    by_subject = "" if subject is None else " AND s.label = ?3"
    parameters = (project.id, label) if subject is None else (project.id, label, subject)
    found = _places(db, f"{sql}{by_subject} ORDER BY e.id LIMIT 1", parameters)
    return found[0] if found else None


def acquisition_labelled(
    db: sqlite3.Connection, session: Place, label: str, timestamp: str | None = None
) -> Place | None:
    """The oldest acquisition of a session with a label and, where one is given, a timestamp."""
    rows = db.execute(
        "SELECT id, doc FROM containers WHERE parent_id = ? AND label = ?"
        " AND kind = 'acquisition' AND deleted IS NULL ORDER BY id",
        (session.id, label),
    ).fetchall()
    for row in rows:
        if timestamp is None or json.loads(row["doc"]).get("timestamp") == timestamp:
            return load_place(db, row["id"])
    return None


def subject_of(pen: Pen, project: Place, told: Json) -> Place:
    """The subject that a session's ``subject`` speaks of, found or made, and filled.

    Args:
        told: checked fields, and perhaps ``_id``.

    Raises:
        ApiError: 404, there is no subject of that id in the project.
    """
    wanted = told.get("_id")
    if wanted is not None:
        place = load_place(pen.db, wanted)
        if place is None or place.kind != "subject" or place.project != project.id:
            raise missing(f"no such subject in project {project.id}: {wanted}")
    else:
        label = pen.named(subject_label(told) or NO_SUBJECT)
        found = tree.oldest_by_label(pen.db, project.id, "subject", label)
        if found is None:
            return make(pen, "subject", project, label, told)
        place = _there(pen, found)
    fill(pen, place, told)
    return place


def subject_label(told: Json) -> str | None:
    """The label of a subject, which older clients call its code."""
    label: str | None = told.get("label") or told.get("code")
    return label


def make(pen: Pen, kind: str, parent: Place, label: str, told: Json) -> Place:
    """A new container.

    Args:
        told: checked fields; its label and ids are of no account.

    Raises:
        ApiError: 404, the parent was deleted meanwhile.
    """
    return _there(pen, tree.create(pen, NewContainer(kind, label, parent.id, _fields(told))))


def fill(pen: Pen, place: Place, told: Json) -> bool:
    """Set those fields that are null or absent, also inside of ``info``; whether any was."""
    label, doc = _load(pen.db, place)
    filled = _filled(doc, _fields(told))
    new_label = label or pen.named(told.get("label") or "")
    if filled == doc and new_label == label:
        return False
    tree.keep(pen, place.id, new_label, filled)
    return True


def overwrite(pen: Pen, place: Place, told: Json) -> bool:
    """Set fields to what is told, ``info`` key by key; whether anything was different.

    Raises:
        ApiError: 422, the label is taken.
    """
    label, doc = _load(pen.db, place)
    wanted = {name: value for name, value in _fields(told).items() if value is not None}
    if isinstance(wanted.get("info"), dict):
        wanted["info"] = (doc.get("info") or {}) | wanted["info"]
    new_label = pen.named(told.get("label") or "") or label
    if doc | wanted == doc and new_label == label:
        return False
    if new_label != label:
        parent = getattr(place, tree.PARENT_OF[place.kind])
        tree.check_label_is_free(pen.db, place.kind, parent, new_label)
    tree.keep(pen, place.id, new_label, doc | wanted)
    return True


def begin_no_later(pen: Pen, session: Place, told: Json) -> None:
    """An acquisition's timestamp makes that of its session earlier, never later."""
    timestamp = told.get("timestamp")
    if timestamp is None:
        return
    label, doc = _load(pen.db, session)
    before = dict(doc)
    doc["timestamp"] = min(timestamp, doc.get("timestamp") or timestamp)
    if told.get("timezone"):
        doc["timezone"] = told["timezone"]
    if doc != before:
        tree.keep(pen, session.id, label, doc)


def _fields(told: Json) -> Json:
    """What of a body stands in the document of a container."""
    return {name: value for name, value in told.items() if name not in _NOT_KEPT}


_NOT_KEPT: Final = {"_id", "label", "code", "subject", "files"}


def _filled(old: Any, new: Json) -> Json:
    filled = dict(old)
    for name, value in new.items():
        now = filled.get(name)
        if isinstance(now, dict) and isinstance(value, dict):
            filled[name] = _filled(now, value)
        elif now is None and value is not None:
            filled[name] = value
    return filled


def _load(db: sqlite3.Connection, place: Place) -> tuple[str, Json]:
    row = db.execute("SELECT label, doc FROM containers WHERE id = ?", (place.id,)).fetchone()
    return row["label"], json.loads(row["doc"])


def _places(db: sqlite3.Connection, sql: str, parameters: Sequence[object]) -> list[Place]:
    found = (load_place(db, row[0]) for row in db.execute(sql, parameters).fetchall())
    return [place for place in found if place is not None]


def _there(pen: Pen, container: str) -> Place:
    place = load_place(pen.db, container)
    if place is None:
        raise missing(f"no such container: {container}")
    return place
