"""From rows to the JSON of the wire.

Source: the container and file models of flywheel-sdk 23; ``container_type`` and ``node_type``
are both sent, for old clients and new ones.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from fwsync.sandbox.kept.access import ROLES, Grants, Place
from fwsync.sandbox.kept.catalog import at_version, hash_text
from fwsync.sandbox.kept.tree import KINDS

Json = dict[str, Any]

_WAY_DOWN: Final = [(kind, f"{kind}_id") for kind in KINDS]
SHORT: Final = 256  # characters of JSON that is kept once it was read

#: Containers with what their JSON needs from other rows.
CONTAINERS = (
    "SELECT c.*, (SELECT s.label FROM containers s WHERE s.id = c.subject_id) AS subject_label"
    " FROM containers c"
)


#: What of a row of ``files`` its entry says, in the order of :func:`_file`.
_TOLD: Final = (
    *("id", "object_id", "version", "name", "type", "mimetype", "size", "sha384", "hash_known"),
    *("container_kind", "container_id", *(column for _, column in _WAY_DOWN)),
    *("created", "modified", "replaced", "deleted", "restored_from", "restored_by"),
    *("origin", "doc"),
)
_told_of = itemgetter(*_TOLD)


def file_json(row: Mapping[str, Any] | sqlite3.Row) -> Json:
    """A file entry, from a row of ``files`` or one made to look like it.

    The entry is the caller's; what lies in it may be another one's too, and is not to be changed.
    """
    return _file(_told_of(row))


def files_json(rows: Sequence[sqlite3.Row]) -> list[Json]:
    """File entries, from many rows of one query: a page of a list."""
    # A row compares a name with all of its own, each time; a place in it is just there.
    names = rows[0].keys() if rows else []
    told_of = itemgetter(*map(names.index, _TOLD)) if rows else _told_of
    return [_file(told_of(row)) for row in rows]


def _file(told: tuple[Any, ...]) -> Json:
    # For every file of every page: no part of it is taken out before it is used.
    id_, object_id, version, name, type_, mimetype, size, sha384, is_hash_known, kind, container, \
        group, project, subject, session, acquisition, created, modified, replaced, deleted, \
        restored_from, restored_by, origin, doc_text = told  # fmt: skip
    doc: Json = _read(doc_text)
    parents = {
        "group": group if project else None,  # what lies in a collection has no group above it
        "project": project,
        "subject": subject,
        "session": session,
        "acquisition": acquisition,
        "analysis": None,
    }
    if kind != "collection":
        parents[kind] = container
    return {
        **doc,
        "_id": object_id,
        "file_id": id_,
        "version": version,
        "name": name,
        "type": type_,
        "mimetype": mimetype,
        "size": size,
        "hash": hash_text(sha384, is_known=is_hash_known),
        "info_exists": bool(doc["info"]),
        "origin": _read(origin),
        "created": created,
        "modified": modified,
        "replaced": replaced,
        "restored_from": restored_from,
        "restored_by": _read(restored_by or "null"),
        "deleted": deleted,
        "parent_ref": {"type": kind, "id": container},
        "parents": parents,
        "provider_id": None,
        "reference": False,
    }


def _read(text: str) -> Any:
    return _read_once(text) if len(text) <= SHORT else json.loads(text)


@lru_cache(maxsize=1024)
def _read_once(text: str) -> Any:
    """JSON that many files have in common: who sent them, and that nothing else is known."""
    return json.loads(text)


def containers_json(
    db: sqlite3.Connection,
    rows: Sequence[sqlite3.Row],
    *,
    with_files: bool,
    grants: Grants | None = None,
) -> list[Json]:
    """Rows of ``CONTAINERS`` as JSON, with permissions and, unless told otherwise, files.

    Args:
        grants: of who asks; inputs of analyses lie anywhere, and what they may not read is left
            out. ``None``: they see all.
    """
    permissions = _permissions(db, {row["project_id"] or row["group_id"] for row in rows})
    ids = [row["id"] for row in rows]
    files = files_of(db, ids) if with_files else {}
    kinds = {row["kind"] for row in rows}
    analyses, inputs = {}, {}
    if kinds - {"group", "analysis"}:
        analyses = _analyses_of(db, ids, with_files=with_files, grants=grants)
    if with_files and "analysis" in kinds:
        inputs = _inputs_of(db, ids, grants)
    collections = _collections_of(db, ids) if "acquisition" in kinds else {}
    made = []
    for row in rows:
        entry = _container_json(row)
        entry["permissions"] = permissions[row["project_id"] or row["group_id"]]
        if with_files and row["kind"] != "group":
            entry["files"] = files.get(row["id"], [])
        if row["kind"] == "analysis" and with_files:
            entry["inputs"] = inputs.get(row["id"], [])
        if row["kind"] not in ("group", "analysis"):
            entry["analyses"] = analyses.get(row["id"], [])
        if row["kind"] == "acquisition":
            entry["collections"] = collections.get(row["id"], [])
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


def inputs_of(db: sqlite3.Connection, analysis: str, grants: Grants | None) -> list[Json]:
    """The files an analysis was made from, each as it was at the version that was named.

    Args:
        grants: of who asks; what they may not read is left out.
    """
    return _inputs_of(db, [analysis], grants).get(analysis, [])


def _inputs_of(
    db: sqlite3.Connection, analyses: Sequence[str], grants: Grants | None
) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    rows = db.execute(
        "SELECT i.analysis_id, i.version AS input_version, f.* FROM analysis_inputs i"
        " JOIN files f ON f.id = i.file_id"
        " WHERE i.analysis_id IN (SELECT value FROM json_each(?))"
        " ORDER BY i.analysis_id, i.position",
        (json.dumps(list(analyses)),),
    ).fetchall()
    for row in rows:
        if grants is not None and not grants.rank(place_of(row)):
            continue
        older = None
        if row["version"] != row["input_version"]:
            older = at_version(db, row, row["input_version"])
        found[row["analysis_id"]].append(file_json(older or row))
    return found


def _analyses_of(
    db: sqlite3.Connection, containers: Sequence[str], *, with_files: bool, grants: Grants | None
) -> dict[str, list[Json]]:
    rows = db.execute(
        f"{CONTAINERS} WHERE c.id IN (SELECT a.id FROM json_each(?) j"  # noqa: S608 - fixed text
        " CROSS JOIN containers a INDEXED BY analyses_by_parent ON a.parent_id = j.value"
        " WHERE a.kind = 'analysis' AND a.deleted IS NULL) ORDER BY c.id",
        (json.dumps(list(containers)),),
    ).fetchall()
    found: dict[str, list[Json]] = defaultdict(list)
    made = containers_json(db, rows, with_files=with_files, grants=grants) if rows else ()
    for entry in made:
        found[entry["parent"]["id"]].append(entry)
    return found


def _collections_of(db: sqlite3.Connection, acquisitions: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    rows = db.execute(
        "SELECT m.acquisition_id, m.collection_id FROM collection_members m"
        " JOIN containers c ON c.id = m.collection_id AND c.deleted IS NULL"
        " WHERE m.acquisition_id IN (SELECT value FROM json_each(?)) ORDER BY m.collection_id",
        (json.dumps(list(acquisitions)),),
    )
    for acquisition, collection in rows:
        found[acquisition].append(collection)
    return found


def place_of(row: sqlite3.Row) -> Place:
    """Where a file lies, from a row of ``files``."""
    return Place(row["container_kind"], row["container_id"], *(row[f"{one}_id"] for one in KINDS))


def _parents(row: Mapping[str, Any] | sqlite3.Row) -> dict[str, str | None]:
    """The ids on the way down; what lies in a collection has no group above it."""
    way = {kind: row[column] for kind, column in _WAY_DOWN}
    return way if way["project"] else way | {"group": None}


def typed(entry: Json, kind: str) -> Json:
    """The entry with the words that tell clients which model it is."""
    return entry | {"container_type": kind, "node_type": kind}


def _container_json(row: sqlite3.Row) -> Json:
    doc: Json = json.loads(row["doc"])
    kind = row["kind"]
    entry = doc | {
        "_id": row["id"],
        "label": row["label"],
        "created": row["created"],
        "modified": row["modified"],
        "revision": row["revision"],
        "tags": doc.get("tags", []),
        "parents": _parents(row) | {kind: None},
        "container_type": kind,
        "node_type": kind,
    }
    if kind == "group":
        return entry
    info = doc.get("info", {})
    entry |= {"info": info, "info_exists": bool(info), "notes": doc.get("notes") or []}
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
    return {"session": row["session_id"]}


def _analysis(row: sqlite3.Row, doc: Json) -> Json:
    above = next((kind for kind in reversed(KINDS[1:]) if row[f"{kind}_id"]), "collection")
    own = {name: doc.get(name) for name in ("description", "gear_info", "timestamp")}
    return own | {"parent": {"type": above, "id": row["parent_id"]}, "job": None}


def _collection(_: sqlite3.Row, doc: Json) -> Json:
    return {"description": doc.get("description"), "curator": doc.get("curator")}


_OWN = {
    "project": _project,
    "subject": _subject,
    "session": _session,
    "acquisition": _acquisition,
    "analysis": _analysis,
    "collection": _collection,
}


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
        if kind not in ("group", "collection"):
            entry["role_ids"] = [ROLES[access]]
        found[container].append(entry)
    return found
