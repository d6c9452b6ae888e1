"""From rows to the JSON of core18.

A session carries its subject; a file has ``measurements`` and no id, version or classification.
Lists show ``info`` as ``{}`` and say in ``info_exists`` whether there is any.

A subject is a container in the records all the same, so that both modes look at one site. One
without a code has a label nobody chose and ``nameless`` in its document.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fwsync.sandbox.archives.download import store_path
from fwsync.sandbox.core2018.wire import stored
from fwsync.sandbox.kept.catalog import shown_hash
from fwsync.sandbox.kept.metadata import CUSTOM

Json = dict[str, Any]

#: Containers, with what their JSON needs of their subject.
CONTAINERS: Final = (
    "SELECT c.*, s.label AS subject_label, s.doc AS subject_doc FROM containers c"
    " LEFT JOIN containers s ON s.id = c.subject_id"
)
NAMELESS: Final = "nameless"
_TIMES: Final = ("timestamp", "created", "modified")
_HIDDEN: Final = {"tags", "info", "notes", "copyable", "origin", "label", "code"}
_SUBJECT_HIDDEN: Final = {*_HIDDEN, NAMELESS, "_id"}


def file_json(row: sqlite3.Row) -> Json:
    """The record of a file, in the order an upload's reply has it; times as the store has them."""
    doc: Json = json.loads(row["doc"])
    return {
        "name": row["name"],
        "size": row["size"],
        "type": row["type"],
        "mimetype": row["mimetype"],
        "modality": doc.get("modality"),
        "hash": shown_hash(row),
        "tags": doc.get("tags") or [],
        "info": doc.get("info") or {},
        "measurements": (doc.get("classification") or {}).get(CUSTOM, []),
        "origin": json.loads(row["origin"]),
        "created": stored(row["created"]),
        "modified": stored(row["modified"]),
    }


def measured(words: Sequence[str]) -> Json:
    """``measurements`` as the records keep them: part of a classification."""
    return {CUSTOM: list(words)} if words else {}


def containers_json(
    db: sqlite3.Connection, rows: Sequence[sqlite3.Row], *, listed: bool, paths: bool = False
) -> list[Json]:
    """Rows of ``CONTAINERS`` as JSON.

    Args:
        listed: as an entry of a list, where ``info`` is left out.
        paths: files tell where their bytes are.
    """
    subjects = [row["subject_id"] for row in rows if row["kind"] == "session"]
    files = files_of(db, [row["id"] for row in rows] + subjects)
    granted = permissions_of(db, {row["project_id"] or row["id"] for row in rows})
    made = []
    for row in rows:
        entry = _container_json(row)
        entry["permissions"] = granted[row["project_id"] or row["id"]]
        if row["kind"] != "group":
            entry["files"] = [_shown(one, listed=listed, paths=paths) for one in files[row["id"]]]
            if row["kind"] == "session" and files[row["subject_id"]]:
                entry["subject"]["files"] = [
                    _shown(one, listed=listed, paths=paths) for one in files[row["subject_id"]]
                ]
            if listed:
                entry |= {"info": {}, "info_exists": bool(entry["info"])}
                _leave_out(entry, row["kind"])
            else:
                entry["analyses"] = analyses_of(db, row["id"])
        made.append(entry)
    return made


def _leave_out(entry: Json, kind: str) -> None:
    """What an entry of a list does not have: of a session, also what was never given to it."""
    for name in ("files", "tags") if kind == "session" else ():
        if not entry[name]:
            del entry[name]


def _shown(row: sqlite3.Row, *, listed: bool, paths: bool) -> Json:
    entry = file_json(row)
    if listed:
        entry |= {"info": {}, "info_exists": bool(entry["info"])}
    return entry | {"path": store_path(row["sha384"])} if paths else entry


def _container_json(row: sqlite3.Row) -> Json:
    doc: Json = json.loads(row["doc"])
    entry: Json = {"_id": row["id"]}
    if row["label"]:
        entry["label"] = row["label"]
    entry |= {name: value for name, value in doc.items() if name not in _HIDDEN}
    entry |= {"tags": doc.get("tags") or []}
    kind = row["kind"]
    if kind != "group":
        entry |= {"info": doc.get("info") or {}, "notes": doc.get("notes") or [], "public": False}
    if kind in ("project", "session"):
        entry["group"] = row["group_id"]
    if kind == "session":
        entry |= {"project": row["project_id"], "subject": _subject_json(row)}
    if kind == "acquisition":
        entry["session"] = row["session_id"]
    entry |= {"created": row["created"], "modified": row["modified"]}
    if row["deleted"]:
        entry["deleted"] = row["deleted"]
    return entry | {
        name: stored(entry[name]) for name in (*_TIMES, "deleted") if entry.get(name) is not None
    }


def _subject_json(row: sqlite3.Row) -> Json:
    """The subject that a session carries; without a code it is only its id."""
    doc: Json = json.loads(row["subject_doc"])
    entry: Json = {"_id": row["subject_id"]}
    if not doc.get(NAMELESS):
        entry["code"] = row["subject_label"]
    return entry | {name: value for name, value in doc.items() if name not in _SUBJECT_HIDDEN}


def files_of(
    db: sqlite3.Connection, containers: Sequence[str], *, deleted: bool = False
) -> dict[str, list[sqlite3.Row]]:
    """The files of containers, in the order of their coming; of one name the newest."""
    alive = "" if deleted else " AND deleted IS NULL"
    found: dict[str, dict[str, sqlite3.Row]] = defaultdict(dict)
    rows = db.execute(
        "SELECT * FROM files WHERE container_id IN (SELECT value FROM json_each(?))"  # noqa: S608
        f"{alive} ORDER BY container_id, id",
        (json.dumps(list(containers)),),
    )
    for row in rows:
        found[row["container_id"]][row["name"]] = row
    return defaultdict(list, {key: list(value.values()) for key, value in found.items()})


def permissions_of(
    db: sqlite3.Connection, containers: Iterable[str]
) -> defaultdict[str, list[Json]]:
    """``{_id, access}`` of groups, projects and collections; what is below has its project's."""
    found: defaultdict[str, list[Json]] = defaultdict(list)
    rows = db.execute(
        "SELECT container_id, user_id, access FROM permissions"
        " WHERE container_id IN (SELECT value FROM json_each(?)) ORDER BY user_id",
        (json.dumps(list(containers)),),
    )
    for row in rows:
        found[row["container_id"]].append({"_id": row["user_id"], "access": row["access"]})
    return found


def analyses_of(db: sqlite3.Connection, container: str) -> list[Json]:
    """The analyses of a container, with their files."""
    rows = db.execute(
        "SELECT * FROM containers WHERE parent_id = ? AND kind = 'analysis' AND deleted IS NULL"
        " ORDER BY id",
        (container,),
    ).fetchall()
    files = files_of(db, [row["id"] for row in rows])
    return [
        {
            "_id": row["id"],
            "label": row["label"],
            "files": [file_json(one) for one in files[row["id"]]],
            "created": stored(row["created"]),
            "modified": stored(row["modified"]),
        }
        for row in rows
    ]
