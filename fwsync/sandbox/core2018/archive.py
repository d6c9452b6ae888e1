"""What a tar of core18 holds: members, in order, with their paths.

Containers get a path once and keep it, whatever node leads to them later: so the members of a
project lose the prefix where a session of it was asked for before. Labels are put in as they are,
less what is not ASCII; what was deleted is in it.

A ticket keeps what was asked for, and the members are found again while the tar is sent, so a
ticket of a large project is small.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018.render import CONTAINERS, NAMELESS
from fwsync.sandbox.kept.access import RANK, Grants
from fwsync.sandbox.kept.archive import Member, member
from fwsync.sandbox.kept.selection import FileFilter
from fwsync.sandbox.kept.tree import PLURAL

PAGE: Final = 1000  # rows of one statement; none stays open while a client reads slowly
UNKNOWN_SUBJECT: Final = "unknown_subject"
#: Files as they were at a moment, deleted ones too; of one name the one that came last.
_FILES: Final = (
    "SELECT f.id, f.container_kind, f.container_id, f.name, v.type, v.sha384, v.size, v.doc,"
    " v.created AS modified FROM files f JOIN versions v ON v.file_id = f.id AND v.version ="
    " (SELECT max(w.version) FROM versions w WHERE w.file_id = f.id AND w.created <= :at)"
    " WHERE f.container_id = :container AND {} AND NOT EXISTS"
    " (SELECT 1 FROM files g WHERE g.container_id = f.container_id AND g.name = f.name"
    "  AND g.id > f.id AND g.created <= :at) ORDER BY f.id LIMIT :page"
)
_INPUTS: Final = (
    "SELECT f.id, f.container_kind, f.container_id, f.name, v.type, v.sha384, v.size, v.doc,"
    " v.created AS modified FROM analysis_inputs i JOIN files f ON f.id = i.file_id"
    " JOIN versions v ON v.file_id = i.file_id AND v.version = i.version"
    " WHERE i.analysis_id = ? ORDER BY i.position"
)


@dataclass(frozen=True, slots=True)
class Nodes:
    """What a classic ticket stands for."""

    nodes: tuple[tuple[str, str], ...]  # level, id
    grants: Grants | None
    at: str  # files that came later are not seen
    prefix: str = ""
    filters: tuple[FileFilter, ...] = ()  # a file passes if any accepts it
    collection: str | None = None

    def members(self, db: sqlite3.Connection) -> Iterator[Member]:
        """The members, in order. No statement stays open between two."""
        walk = _Walk(db, self)
        for level, container in self.nodes:
            yield from walk.node(level, container)


@dataclass(frozen=True, slots=True)
class Named:
    """What a bulk ticket stands for: files by container and name."""

    files: tuple[tuple[str, str, str], ...]  # level, container, name
    grants: Grants | None
    at: str  # contents that came later are not seen

    def members(self, db: sqlite3.Connection) -> Iterator[Member]:
        """The members, in the order they were asked for; what is not there is left out."""
        for level, container, name in self.files:
            if not _readable(db, self.grants, level, container):
                continue
            wanted = {"container": container, "name": name, "at": self.at, "page": 1}
            row = db.execute(_FILES.format("f.name = :name"), wanted).fetchone()
            if row is not None:
                yield member(f"{PLURAL[level]}/{container}/{name}", row)


def _readable(db: sqlite3.Connection, grants: Grants | None, level: str, container: str) -> bool:
    place = asking.find(db, container, level, deleted=True)
    return place is not None and asking.rank(grants, place) >= RANK["ro"]


@dataclass(frozen=True, slots=True)
class _Walk:
    db: sqlite3.Connection
    wanted: Nodes
    #: Of containers that have one, by id; of subjects, by code.
    paths: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def node(self, level: str, container: str) -> Iterator[Member]:
        if not _readable(self.db, self.wanted.grants, level, container):
            return
        if level == "analysis":
            yield from self._analysis(container)
            return
        [row] = self._rows("c.id = ?", (container,))
        if level == "project":
            yield from self._project(row)
            return
        way = f"{row['group_id']}/{self._label_of(row['project_id'])}"
        [session] = self._rows("c.id = ?", (row["session_id"],))
        way = self._path(way, *_subject(session))
        way = self._path(way, session["id"], _name(session))
        if level == "acquisition":
            yield from self._files(container, self._path(way, container, _name(row)))
            return
        yield from self._files(container, way)
        yield from self._acquisitions(container, way)

    def _project(self, project: sqlite3.Row) -> Iterator[Member]:
        way = f"{self.wanted.prefix}/{project['group_id']}/{project['label']}"
        yield from self._files(project["id"], way)
        sessions = list(self._paged("c.project_id = ? AND c.kind = 'session'", project["id"]))
        for key, name, subject in _subjects(sessions):
            yield from self._files(subject, self._path(way, key, name))
        for session in sessions:
            key, _ = _subject(session)
            below = self._path(self.paths[key], session["id"], _name(session))
            yield from self._files(session["id"], below)
        where = "c.project_id = ? AND c.kind = 'acquisition'"
        for row in self._paged(where, project["id"]):
            if row["session_id"] in self.paths:  # or it came after the others were listed
                below = self._path(self.paths[row["session_id"]], row["id"], _name(row))
                yield from self._files(row["id"], below)

    def _acquisitions(self, session: str, way: str) -> Iterator[Member]:
        for row in self._paged("c.session_id = ? AND c.kind = 'acquisition'", session):
            if self._in_collection(row["id"]):
                yield from self._files(row["id"], self._path(way, row["id"], _name(row)))

    def _in_collection(self, acquisition: str) -> bool:
        if not self.wanted.collection:
            return True
        sql = "SELECT 1 FROM collection_members WHERE collection_id = ? AND acquisition_id = ?"
        found = self.db.execute(sql, (self.wanted.collection, acquisition)).fetchone()
        return found is not None

    def _analysis(self, analysis: str) -> Iterator[Member]:
        folder = _ascii(self._label_of(analysis))
        for row in self.db.execute(_INPUTS, (analysis,)).fetchall():
            yield member(f"{folder}/input/{row['name']}", row)
        yield from self._files(analysis, f"{folder}/output")

    def _files(self, container: str, way: str) -> Iterator[Member]:
        filters = self.wanted.filters
        query = _FILES.format("f.id > :after")
        wanted = {"container": container, "after": "", "at": self.wanted.at, "page": PAGE}
        while rows := self.db.execute(query, wanted).fetchall():
            for row in rows:
                if not filters or any(one.accepts(row) for one in filters):
                    yield member(f"{way}/{row['name']}", row)
            wanted["after"] = rows[-1]["id"]

    def _path(self, way: str, key: str, name: str) -> str:
        """The path of a container: what it got before, or a new one that nobody has."""
        if key not in self.paths:
            path = free = f"{way}/{name}"
            number = 0
            while free in self.used:
                free, number = f"{path}_{number}", number + 1
            self.used.add(free)
            self.paths[key] = free
        return self.paths[key]

    def _label_of(self, container: str) -> str:
        row = self.db.execute("SELECT label FROM containers WHERE id = ?", (container,)).fetchone()
        return str(row["label"])

    def _paged(self, where: str, parameter: str) -> Iterator[sqlite3.Row]:
        after = ""
        while rows := self._rows(f"{where} AND c.id > ?", (parameter, after)):
            yield from rows
            after = rows[-1]["id"]

    def _rows(self, where: str, parameters: Sequence[str]) -> list[sqlite3.Row]:
        return self.db.execute(
            f"{CONTAINERS} WHERE {where} ORDER BY c.id LIMIT {PAGE}", parameters
        ).fetchall()


def _subjects(sessions: Sequence[sqlite3.Row]) -> Iterator[tuple[str, str, str]]:
    """Key, name and id of the subjects of sessions, each once."""
    seen: set[str] = set()
    for session in sessions:
        key, name = _subject(session)
        if session["subject_id"] not in seen:
            seen.add(session["subject_id"])
            yield key, name, session["subject_id"]


def _subject(session: sqlite3.Row) -> tuple[str, str]:
    """Key and name of the subject; those without a code are one."""
    nameless = json.loads(session["subject_doc"]).get(NAMELESS)
    code = UNKNOWN_SUBJECT if nameless else session["subject_label"]
    return f"subject {code}", _ascii(code)


def _name(row: sqlite3.Row) -> str:
    """A container as a folder: its label as it is, or what stands in for it."""
    doc = json.loads(row["doc"])
    moment = doc.get("timestamp")
    stamp = datetime.fromisoformat(moment).strftime("%Y%m%d_%H%M") if moment else ""
    name = row["label"] or stamp or doc.get("uid") or doc.get("code") or "untitled"
    return _ascii(name)


def _ascii(label: str) -> str:
    return label.encode("ascii", "ignore").decode()
