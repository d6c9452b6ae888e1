"""The hierarchy in the records: make, change and delete groups down to acquisitions.

Functions here run on the thread of the records; those that take a :class:`Pen` write. Labels are
any text: nothing is ever named after them on disk.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from fwsync.sandbox.access import RANK, ROLES, Place, load_place
from fwsync.sandbox.problems import ApiError, invalid, missing, unprocessable
from fwsync.sandbox.records import Pen

Json = dict[str, Any]

KINDS: Final = ("group", "project", "subject", "session", "acquisition")
PARENT_OF: Final = {child: parent for parent, child in pairwise(KINDS)}
CHILD_OF: Final = dict(pairwise(KINDS))
PLURAL: Final = {kind: f"{kind}s" for kind in KINDS}

GROUP_ID: Final = re.compile(r"[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]")  # core18
MAX_LABEL: Final = 256  # characters; core18
RESERVED_PROJECTS: Final = ("Unsorted", "Unknown")  # core19

_COMMON: Final = {"label", "info", "tags", "timezone", "copyable", "origin"}
_OWN: Final[dict[str, set[str]]] = {
    "group": {"editions", "providers", "settings", "permissions_template", "roles"},
    "project": {"description", "providers", "editions", "templates", "settings", "group_info"},
    "subject": {
        "code",
        "master_code",
        "firstname",
        "lastname",
        "sex",
        "age",
        "date_of_birth",
        "cohort",
        "type",
        "race",
        "ethnicity",
        "species",
        "strain",
        "state",
        "mlset",
    },
    "session": {"uid", "timestamp", "age", "weight", "operator"},
    "acquisition": {"uid", "timestamp", "metadata"},
}
#: What stands in a body and is not kept in `doc`.
_STRUCTURE: Final = {
    "_id",
    "label",
    "code",
    "group",
    "project",
    "subject",
    "session",
    "permissions",
}


@dataclass(frozen=True, slots=True)
class NewContainer:
    """A container that is asked for, its fields checked."""

    kind: str
    label: str
    parent: str | None
    doc: Json
    #: For a session whose subject is named, not identified: found or made.
    subject_label: str | None = None


def new_container(kind: str, body: Json) -> NewContainer:
    """Read the body of a POST.

    Raises:
        ApiError: 400, a field is wrong, unknown or missing.
    """
    _check_fields(kind, body, allowed={"_id", "permissions", *KINDS})
    label = body.get("label", body.get("code"))
    subject_label = None
    if kind == "group":
        parent = None
        label = body.get("_id") if label is None else label
    elif kind == "session":
        parent, subject_label = _session_parent(body)
    else:
        parent = body.get(PARENT_OF[kind])
        if not isinstance(parent, str):
            raise invalid(f"a {kind} needs the id of its {PARENT_OF[kind]}")
    if label is None and kind in ("project", "subject"):
        raise invalid(f"a {kind} needs a label")
    if kind == "project" and label in RESERVED_PROJECTS:
        raise invalid(f"{label!r} is reserved and cannot be the label of a project")
    return NewContainer(kind, _label(label or ""), parent, _doc(body), subject_label)


def _session_parent(body: Json) -> tuple[str, str | None]:
    subject, project = body.get("subject"), body.get("project")
    if isinstance(subject, str):
        return subject, None
    if isinstance(subject, dict):
        if isinstance(subject.get("_id"), str):
            return subject["_id"], None
        label = subject.get("label", subject.get("code"))
        if label is not None and isinstance(project, str):
            return project, _label(label)
    raise invalid("a session needs a subject: its _id, or its label or code and the project")


def create(pen: Pen, new: NewContainer) -> str:
    """Make a container; returns its id.

    Raises:
        ApiError: 404 no such parent, 409 or 422 the label is taken.
    """
    parent = load_place(pen.db, new.parent or "")
    if parent is not None and new.subject_label is not None and parent.kind == "project":
        subject = oldest_by_label(pen.db, parent.id, new.subject_label)
        if subject is None:
            doc = {"code": new.subject_label}
            subject = _insert(pen, NewContainer("subject", new.subject_label, None, doc), parent)
        parent = load_place(pen.db, subject)
    if parent is None or parent.kind != PARENT_OF[new.kind]:
        raise missing(f"Could not find {PLURAL[PARENT_OF[new.kind]]} {new.parent}")
    _check_label_is_free(pen.db, new.kind, parent.id, new.label)
    return _insert(pen, new, parent)


def _insert(pen: Pen, new: NewContainer, parent: Place) -> str:
    made = pen.new_id()
    way = {kind: getattr(parent, kind) for kind in ("group", "project", "subject", "session")}
    way |= {new.kind: made}
    pen.db.execute(
        "INSERT INTO containers VALUES (?,?,?,?,?,?,?,?,?,?,NULL,1,?)",
        (
            made,
            new.kind,
            new.label,
            parent.id,
            way["group"],
            way["project"],
            way["subject"],
            way["session"],
            pen.now,
            pen.now,
            json.dumps(new.doc),
        ),
    )
    return made


def upsert_group(pen: Pen, group: str, new: NewContainer) -> bool:
    """Make a group, or label the one that is there; returns whether it is new."""
    known = pen.db.execute(
        "SELECT 1 FROM containers WHERE id = ? AND deleted IS NULL", (group,)
    ).fetchone()
    pen.db.execute(
        "INSERT INTO containers VALUES (?,'group',?,NULL,?,NULL,NULL,NULL,?,?,NULL,1,?)"
        " ON CONFLICT (id) DO UPDATE SET label = excluded.label, modified = excluded.modified,"
        " deleted = NULL, revision = revision + 1",
        (group, new.label, group, pen.now, pen.now, json.dumps(new.doc)),
    )
    return known is None


def change(pen: Pen, place: Place, body: Json) -> None:
    """Apply the body of a PUT: fields that are given replace those that are there.

    Raises:
        ApiError: 400, 404, 409, 422.
    """
    if not body:
        raise invalid("Empty Payload")
    _check_fields(place.kind, body, allowed=set())
    row = pen.db.execute(
        "SELECT label, parent_id, doc FROM containers WHERE id = ? AND deleted IS NULL",
        (place.id,),
    ).fetchone()
    if row is None:
        raise missing(f"no such {place.kind}: {place.id}")
    label = body.get("label", body.get("code") if place.kind == "subject" else None)
    label = row["label"] if label is None else _label(label)
    if label != row["label"] and row["parent_id"] is not None:
        _check_label_is_free(pen.db, place.kind, row["parent_id"], label)
    doc = json.loads(row["doc"]) | _doc(body)
    pen.db.execute(
        "UPDATE containers SET label = ?, doc = ?, modified = ?, revision = revision + 1"
        " WHERE id = ?",
        (label, json.dumps(doc), pen.now, place.id),
    )


def delete(pen: Pen, place: Place) -> None:
    """Mark a container, and everything below it, as deleted."""
    below = (
        "WITH RECURSIVE below (id) AS (SELECT ? UNION ALL SELECT c.id FROM containers c"
        " JOIN below ON c.parent_id = below.id WHERE c.deleted IS NULL) "
    )
    gone = (place.id, pen.now)
    pen.db.execute(
        f"{below} UPDATE files SET deleted = ?2 WHERE deleted IS NULL"  # noqa: S608 - fixed text
        " AND container_id IN (SELECT id FROM below)",
        gone,
    )
    pen.db.execute(
        f"{below} UPDATE containers SET deleted = ?2 WHERE deleted IS NULL"  # noqa: S608
        " AND id IN (SELECT id FROM below)",
        gone,
    )


def oldest_by_label(db: sqlite3.Connection, parent: str, label: str) -> str | None:
    """The oldest living child with a label; its id."""
    row = db.execute(
        "SELECT min(id) FROM containers WHERE parent_id = ? AND label = ? AND deleted IS NULL",
        (parent, label),
    ).fetchone()
    found: str | None = row[0]
    return found


def set_permissions(pen: Pen, container: str, entries: Sequence[Json], *, replace: bool) -> None:
    """Grant access to users.

    Args:
        entries: ``{_id, access}`` or ``{_id, role_ids}``.
        replace: whoever is not named loses theirs.

    Raises:
        ApiError: 400, an entry cannot be read.
    """
    if replace:
        pen.db.execute("DELETE FROM permissions WHERE container_id = ?", (container,))
    for entry in entries:
        pen.db.execute(
            "INSERT INTO permissions VALUES (?,?,?)"
            " ON CONFLICT DO UPDATE SET access = excluded.access",
            (container, *read_permission(entry)),
        )


def read_permission(entry: Any) -> tuple[str, str]:
    """User and access of one entry of ``permissions``.

    Raises:
        ApiError: 400.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("_id"), str):
        raise invalid("a permission needs the _id of a user")
    access = entry.get("access")
    if access is None and isinstance(entry.get("role_ids"), list):
        by_role = {role: level for level, role in ROLES.items()}
        known = [by_role[role] for role in entry["role_ids"] if role in by_role]
        access = max(known, key=RANK.__getitem__, default=None)
    if access not in RANK:
        raise invalid("access must be one of ro, rw and admin")
    return entry["_id"], str(access)


def _check_fields(kind: str, body: Json, *, allowed: set[str]) -> None:
    unknown = set(body) - _COMMON - _OWN[kind] - allowed
    if unknown:
        names = ", ".join(sorted(unknown))
        raise invalid(f"Additional properties are not allowed ({names} unexpected)")
    for name, type_ in (("info", dict), ("tags", list)):
        if not isinstance(body.get(name, type_()), type_):
            raise invalid(f"{name} has the wrong type")


def _label(label: object) -> str:
    if not isinstance(label, str):
        raise invalid("a label is a text")
    if len(label) > MAX_LABEL:
        raise invalid(f"{label[:20]!r}… is too long: a label has at most {MAX_LABEL} characters")
    try:
        label.encode()
    except UnicodeEncodeError as error:
        raise invalid("a label must be valid Unicode") from error
    return label


def _doc(body: Json) -> Json:
    return {name: value for name, value in body.items() if name not in _STRUCTURE}


def _check_label_is_free(db: sqlite3.Connection, kind: str, parent: str, label: str) -> None:
    if kind in ("project", "subject") and oldest_by_label(db, parent, label) is not None:
        text = f"a {kind} with the label {label!r} exists already"
        raise ApiError(409, text) if kind == "project" else unprocessable(text)
