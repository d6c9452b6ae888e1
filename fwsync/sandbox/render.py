"""From rows to the JSON of the wire.

Source: the container and file models of flywheel-sdk 23; ``container_type`` and ``node_type``
are both sent, for old clients and new ones.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fwsync.sandbox.access import ROLES

Json = dict[str, Any]

#: Containers with what their JSON needs from other rows.
CONTAINERS = (
    "SELECT c.*, (SELECT s.label FROM containers s WHERE s.id = c.subject_id) AS subject_label"
    " FROM containers c"
)


def file_json(row: Mapping[str, Any] | sqlite3.Row) -> Json:
    """A file entry, from a row of ``files`` or one made to look like it."""
    doc: Json = json.loads(row["doc"])
    kind, container = row["container_kind"], row["container_id"]
    parents = {
        "group": row["group_id"],
        "project": row["project_id"],
        "subject": row["subject_id"],
        "session": row["session_id"],
        "acquisition": None,
        "analysis": None,
    }
    parents[kind] = container
    return doc | {
        "_id": row["object_id"],
        "file_id": row["id"],
        "version": row["version"],
        "name": row["name"],
        "type": row["type"],
        "mimetype": row["mimetype"],
        "size": row["size"],
        "hash": f"v0-sha384-{row['sha384']}",
        "info_exists": bool(doc["info"]),
        "origin": json.loads(row["origin"]),
        "created": row["created"],
        "modified": row["modified"],
        "replaced": row["replaced"],
        "deleted": row["deleted"],
        "parent_ref": {"type": kind, "id": container},
        "parents": parents,
        "provider_id": None,
        "reference": False,
    }


def containers_json(
    db: sqlite3.Connection, rows: Sequence[sqlite3.Row], *, with_files: bool
) -> list[Json]:
    """Rows of ``CONTAINERS`` as JSON, with permissions and, unless told otherwise, files."""
    permissions = _permissions(db, {row["project_id"] or row["group_id"] for row in rows})
    files = files_of(db, [row["id"] for row in rows]) if with_files else {}
    made = []
    for row in rows:
        entry = _container_json(row)
        given = permissions[row["project_id"] or row["group_id"]]
        entry["permissions"] = given
        if with_files and row["kind"] != "group":
            entry["files"] = files.get(row["id"], [])
        made.append(entry)
    return made


def files_of(db: sqlite3.Connection, containers: Sequence[str]) -> dict[str, list[Json]]:
    """The files of containers, sorted by name."""
    found: dict[str, list[Json]] = defaultdict(list)
    rows = db.execute(
        "SELECT * FROM files WHERE deleted IS NULL"
        " AND container_id IN (SELECT value FROM json_each(?)) ORDER BY container_id, name",
        (json.dumps(list(containers)),),
    )
    for row in rows:
        found[row["container_id"]].append(file_json(row))
    return found


def typed(entry: Json, kind: str) -> Json:
    """The entry with the words that tell clients which model it is."""
    return entry | {"container_type": kind, "node_type": kind}


def _container_json(row: sqlite3.Row) -> Json:
    doc: Json = json.loads(row["doc"])
    kind = row["kind"]
    way = {
        "group": row["group_id"],
        "project": row["project_id"],
        "subject": row["subject_id"],
        "session": row["session_id"],
        "acquisition": None,
    }
    way[kind] = None
    entry = doc | {
        "_id": row["id"],
        "label": row["label"],
        "created": row["created"],
        "modified": row["modified"],
        "revision": row["revision"],
        "tags": doc.get("tags", []),
        "parents": way,
        "container_type": kind,
        "node_type": kind,
    }
    if kind == "group":
        return entry
    info = doc.get("info", {})
    entry |= {"info": info, "info_exists": bool(info), "notes": [], "analyses": []}
    return entry | _OWN[kind](row, doc)


def _project(row: sqlite3.Row, _: Json) -> Json:
    return {"group": row["group_id"]}


def _subject(row: sqlite3.Row, _: Json) -> Json:
    return {"project": row["project_id"], "code": row["label"]}


def _session(row: sqlite3.Row, _: Json) -> Json:
    label = row["subject_label"]
    return {
        "group": row["group_id"],
        "project": row["project_id"],
        "subject": {"_id": row["subject_id"], "label": label, "code": label},
    }


def _acquisition(row: sqlite3.Row, _: Json) -> Json:
    return {"session": row["session_id"], "collections": []}


_OWN = {"project": _project, "subject": _subject, "session": _session, "acquisition": _acquisition}


def _permissions(db: sqlite3.Connection, containers: Iterable[str]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    rows = db.execute(
        "SELECT p.container_id, p.user_id, p.access, c.kind FROM permissions p"
        " JOIN containers c ON c.id = p.container_id"
        " WHERE p.container_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(containers)),),
    )
    for container, user, access, kind in rows:
        entry: Json = {"_id": user, "access": access}
        if kind != "group":
            entry["role_ids"] = [ROLES[access]]
        found[container].append(entry)
    return found
