"""The hierarchy in the records, with analyses and collections: make, change and delete.

Functions here run on the thread of the records; those that take a :class:`Pen` write. Labels are
any text: nothing is ever named after them on disk.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, TypeVar

from fwsync.sandbox.kept import fields, metadata
from fwsync.sandbox.kept.access import RANK, ROLES, Place, load_place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError, invalid, missing, unprocessable

Json = dict[str, Any]
T = TypeVar("T")

KINDS: Final = ("group", "project", "subject", "session", "acquisition")
PARENT_OF: Final = {child: parent for parent, child in pairwise(KINDS)}
CHILD_OF: Final = dict(pairwise(KINDS))
#: What analyses may hang on.
WITH_ANALYSES: Final = (*KINDS[1:], "collection")
#: The word of a kind in a path; "" is any kind.
PLURAL: Final = {kind: f"{kind}s" for kind in (*KINDS, "collection")} | {
    "analysis": "analyses",
    "": "containers",
}

GROUP_ID: Final = re.compile(r"[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]")  # core18
MAX_LABEL: Final = 256  # characters; core18
RESERVED_PROJECTS: Final = ("Unsorted", "Unknown")  # core19

#: What a body may say only of something new.
_WITH_NEW: Final[dict[str, set[str]]] = {"analysis": {"inputs"}, "collection": {"contents"}}
#: A living container ?1 and everything alive below it.
BELOW: Final = (
    "WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL SELECT c.id FROM containers c"
    " JOIN below ON c.parent_id = below.id WHERE c.deleted IS NULL) "
)
#: What stands in a body and is not kept in `doc`.
_STRUCTURE: Final = {"_id", "label", "code", *KINDS, "permissions", "inputs", "contents"}


@dataclass(frozen=True, slots=True)
class NewContainer:
    """A container that is asked for, its fields checked."""

    kind: str
    label: str
    parent: str | None
    doc: Json
    #: For a session whose subject is named, not identified: found or made.
    subject_label: str | None = None


def new_container(kind: str, body: Json, above: str | None = None) -> NewContainer:
    """Read the body of a POST.

    Args:
        above: the container an analysis hangs on; for the other kinds the body says it.

    Raises:
        ApiError: 400, a field is wrong, unknown or missing.
    """
    allowed = _WITH_NEW.get(kind, {"_id", "permissions", *KINDS})
    told = fields.read(kind, body, allowed=allowed)
    label = body.get("label", body.get("code"))
    subject_label = None
    parent: str | None
    if kind == "group":
        parent = None
        label = body.get("_id") if label is None else label
    elif kind == "session":
        parent, subject_label = _session_parent(body)
    elif kind in ("analysis", "collection"):
        parent = above
    else:
        parent = body.get(PARENT_OF[kind])
        if not isinstance(parent, str):
            raise invalid(f"a {kind} needs the id of its {PARENT_OF[kind]}")
    if label is None and kind in ("project", "subject", "analysis", "collection"):
        raise invalid(f"{'an' if kind == 'analysis' else 'a'} {kind} needs a label")
    if kind == "project" and label in RESERVED_PROJECTS:
        raise invalid(f"{label!r} is reserved and cannot be the label of a project")
    return NewContainer(kind, read_label(label or ""), parent, _doc(told), subject_label)


def _session_parent(body: Json) -> tuple[str, str | None]:
    subject, project = body.get("subject"), body.get("project")
    if isinstance(subject, str):
        return subject, None
    if isinstance(subject, dict):
        if isinstance(subject.get("_id"), str):
            return subject["_id"], None
        label = subject.get("label", subject.get("code"))
        if label is not None and isinstance(project, str):
            return project, read_label(label)
    raise invalid("a session needs a subject: its _id, or its label or code and the project")


def create(pen: Pen, new: NewContainer) -> str:
    """Make a container; returns its id.

    Raises:
        ApiError: 404 no such parent, 409 or 422 the label is taken.
    """
    new = replace(new, label=pen.named(new.label))
    if new.kind == "collection":
        return _insert(pen, new, None)
    parent = load_place(pen.db, new.parent or "")
    if parent is not None and new.kind == "analysis" and parent.kind in WITH_ANALYSES:
        return _insert(pen, new, parent)
    if parent is not None and new.subject_label is not None and parent.kind == "project":
        parent = load_place(pen.db, find_or_make_subject(pen, parent, new.subject_label))
    if parent is None or parent.kind != PARENT_OF.get(new.kind):
        above = PLURAL[PARENT_OF.get(new.kind, "")]
        raise missing(f"Could not find {above} {new.parent}")
    check_label_is_free(pen.db, new.kind, parent.id, new.label)
    return _insert(pen, new, parent)


def find_or_make_subject(pen: Pen, project: Place, label: str) -> str:
    """The oldest subject of a label in a project, made if there is none; its id."""
    label = pen.named(label)
    known = oldest_by_label(pen.db, project.id, "subject", label)
    if known is not None:
        return known
    return _insert(pen, NewContainer("subject", label, None, {"code": label}), project)


def _insert(pen: Pen, new: NewContainer, parent: Place | None) -> str:
    made = pen.new_id()
    # A collection is the top of its own way: what is granted on it is looked up under its id.
    way: dict[str, str | None] = {"group": made} | dict.fromkeys(KINDS[1:])
    if parent is not None:
        way = {kind: getattr(parent, kind) for kind in KINDS} | {new.kind: made}
    pen.db.execute(
        "INSERT INTO containers (id, kind, label, parent_id, group_id, project_id, subject_id,"
        " session_id, acquisition_id, created, modified, revision, doc)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,?)",
        (
            made,
            new.kind,
            new.label,
            None if parent is None else parent.id,
            way["group"],
            way["project"],
            way["subject"],
            way["session"],
            way["acquisition"],
            pen.now,
            pen.now,
            metadata.dumped(new.doc),
        ),
    )
    return made


def upsert_group(pen: Pen, group: str, new: NewContainer) -> bool:
    """Make a group, or label the one that is there; returns whether it is new.

    Raises:
        ApiError: 409, the id is that of another container; 413.
    """
    query = "SELECT kind, deleted FROM containers WHERE id = ?"
    known = pen.db.execute(query, (group,)).fetchone()
    if known is not None and known["kind"] != "group":
        raise ApiError(409, f"{group} is the id of another container")
    pen.db.execute(
        "INSERT INTO containers (id, kind, label, group_id, created, modified, revision, doc)"
        " VALUES (?,'group',?,?,?,?,1,?)"
        " ON CONFLICT (id) DO UPDATE SET label = excluded.label, modified = excluded.modified,"
        " deleted = NULL, revision = revision + 1",
        (group, new.label, group, pen.now, pen.now, metadata.dumped(new.doc)),
    )
    return known is None or known["deleted"] is not None


def change(pen: Pen, place: Place, body: Json, *, also: Set[str] = frozenset()) -> None:
    """Apply the body of a PUT: fields that are given replace those that are there.

    Only info is merged, key by key.

    Args:
        also: names that may stand in the body, and are somebody else's to read.

    Raises:
        ApiError: 400, 404, 409, 422.
    """
    if not body:
        raise invalid("Empty Payload")
    told = fields.read(place.kind, body, allowed=also)
    row = pen.db.execute(
        "SELECT label, parent_id, doc FROM containers WHERE id = ? AND deleted IS NULL",
        (place.id,),
    ).fetchone()
    if row is None:
        raise missing(f"no such {place.kind}: {place.id}")
    label = body.get("label", body.get("code") if place.kind == "subject" else None)
    label = row["label"] if label is None else pen.named(read_label(label))
    if label != row["label"] and row["parent_id"] is not None:
        check_label_is_free(pen.db, place.kind, row["parent_id"], label)
    doc = json.loads(row["doc"])
    if body.get("info") is not None:  # null empties it
        told["info"] = metadata.merged(doc.get("info"), told["info"])
    keep(pen, place.id, label, doc | _doc(told))


def edit(pen: Pen, place: Place, work: Callable[[Json], T]) -> T:
    """Change the metadata of a container; ``work`` is given the document and may change it.

    Raises:
        ApiError: 404, it was deleted meanwhile; what ``work`` raises, and nothing is changed.
    """
    row = pen.db.execute(
        "SELECT label, doc FROM containers WHERE id = ? AND deleted IS NULL", (place.id,)
    ).fetchone()
    if row is None:
        raise missing(f"no such {place.kind}: {place.id}")
    doc = json.loads(row["doc"])
    result = work(doc)
    keep(pen, place.id, row["label"], doc)
    return result


def keep(pen: Pen, container: str, label: str, doc: Json) -> None:
    """Write the label and the document of a container: its next revision.

    Raises:
        ApiError: 413.
    """
    pen.db.execute(
        "UPDATE containers SET label = ?, doc = ?, modified = ?, revision = revision + 1"
        " WHERE id = ?",
        (label, metadata.dumped(doc), pen.now, container),
    )


def delete(pen: Pen, place: Place, reason: str | None = None) -> None:
    """Mark a container, and everything below it, as deleted."""
    gone = (place.id, pen.now, reason)
    pen.db.execute(
        f"{BELOW} UPDATE files SET deleted = ?2, delete_reason = ?3"  # noqa: S608 - fixed text
        " WHERE deleted IS NULL AND container_id IN (SELECT id FROM below)",
        gone,
    )
    pen.db.execute(
        f"{BELOW} UPDATE containers SET deleted = ?2, delete_reason = ?3"  # noqa: S608
        " WHERE deleted IS NULL AND id IN (SELECT id FROM below)",
        gone,
    )


def oldest_by_label(db: sqlite3.Connection, parent: str, kind: str, label: str) -> str | None:
    """The oldest living child of a kind with a label; its id."""
    row = db.execute(
        "SELECT min(id) FROM containers"
        " WHERE parent_id = ? AND label = ? AND kind = ? AND deleted IS NULL",
        (parent, label, kind),
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


def read_permissions(told: Any) -> list[tuple[str, str]]:
    """Users and their access, from ``permissions`` in a body; null stands for none.

    Raises:
        ApiError: 400.
    """
    if told is not None and not isinstance(told, list):
        raise invalid("permissions has the wrong type: it is a list")
    return [read_permission(entry) for entry in told or ()]


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
        for role in entry["role_ids"]:
            if role not in ROLES.values():
                raise invalid(f"no such role: {role!r} (GET /roles lists them, by their _id)")
        known = [by_role[role] for role in entry["role_ids"]]
        access = max(known, key=RANK.__getitem__, default=None)
    if not isinstance(access, str) or access not in RANK:
        raise invalid("access must be one of ro, rw and admin")
    return entry["_id"], access


def read_label(label: object) -> str:
    """A label: any text, also an empty one.

    Raises:
        ApiError: 400, it is none, too long, or not valid Unicode.
    """
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


def check_label_is_free(db: sqlite3.Connection, kind: str, parent: str, label: str) -> None:
    """Refuse a label that only one child of a parent may have.

    Raises:
        ApiError: 409, 422.
    """
    if kind not in ("project", "subject"):
        return
    if oldest_by_label(db, parent, kind, label) is not None:
        text = f"a {kind} with the label {label!r} exists already"
        raise ApiError(409, text) if kind == "project" else unprocessable(text)
