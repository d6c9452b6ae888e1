"""What an archive holds: the files a ticket stands for, in order, with their paths.

A ticket keeps what was asked for, not a list of files, so that one for a million files is small;
the files are found again, page by page, while the archive is sent. It sees the site as it was when
the ticket was made: a version that came later is not in it, and a file deleted meanwhile still is.

========  ==========================================================================
classic   ``<prefix>/<group>/<project>/<subject>/<session>/<acquisition>/<file>``
classic   an analysis: ``<label>/input/<file>``, ``<label>/output/<file>``
full      ``<prefix>/<project>/SUBJECTS/<s>/SESSIONS/<e>/ACQUISITIONS/<a>/FILES/<file>``
full      ``…/ANALYSES/<label>/INPUT/<file>``, ``…/OUTPUT/<file>``
bulk      ``<kind>/<id>/<file>``
========  ==========================================================================

The files of a collection come first, below its label; its acquisitions lie where they always do.

Source: core19 (paths, ``_0`` for equal labels, ``.MISSING``); core18 (analyses); where a collection
goes is the sandbox's own choice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from fwsync.sandbox.kept import sidecar
from fwsync.sandbox.kept.access import Grants, Place
from fwsync.sandbox.kept.folders import Folders, folder_name
from fwsync.sandbox.kept.selection import ArchiveType, ContainerFilter, FileFilter
from fwsync.sandbox.kept.tree import CHILD_OF, KINDS

Json = dict[str, Any]
PAGE: Final = 200  # rows of one statement; none stays open while a client reads slowly

_CONTAINERS: Final = (
    "SELECT c.id, c.kind, c.label, c.parent_id, c.group_id, c.project_id, c.subject_id,"
    " c.session_id, c.acquisition_id, c.modified, json_extract(c.doc, '$.tags') AS tags,"
    " json_extract(c.doc, '$.mlset') AS mlset FROM containers c"
    " WHERE {} AND c.created <= ? AND (c.deleted IS NULL OR c.deleted > ?) ORDER BY c.id LIMIT ?"
)
#: The newest version that was there at a moment, and not deleted by then.
_VERSION: Final = (
    "(SELECT max(w.version) FROM versions w WHERE w.file_id = f.id AND w.created <= ?"
    " AND (w.deleted IS NULL OR w.deleted > ?))"
)
#: A row as ``file_json`` wants it: of two columns of one name, the first is the one that is read.
#: What was said about the newest version since it came counts.
_FILE: Final = (
    "v.version, v.object_id, v.size, v.sha384, v.hash_known, v.origin,"
    " CASE WHEN v.version = f.version THEN f.type ELSE v.type END AS type,"
    " CASE WHEN v.version = f.version THEN f.mimetype ELSE v.mimetype END AS mimetype,"
    " CASE WHEN v.version = f.version THEN f.doc ELSE v.doc END AS doc,"
    " CASE WHEN v.version = f.version AND f.deleted IS NULL THEN f.modified ELSE v.created END"
    " AS modified, f.*"
)
_FILES: Final = (
    f"SELECT {_FILE} FROM files f JOIN versions v ON v.file_id = f.id AND v.version = {_VERSION}"  # noqa: S608 - fixed text
    " WHERE {} AND (f.deleted IS NULL OR f.deleted > ?) ORDER BY f.id LIMIT ?"
)
_INPUTS: Final = (
    f"SELECT {_FILE}, i.position FROM analysis_inputs i JOIN files f ON f.id = i.file_id"  # noqa: S608 - fixed text
    " JOIN versions v ON v.file_id = f.id AND v.version = i.version"
    " WHERE i.analysis_id = ? AND i.position > ? ORDER BY i.position LIMIT ?"
)
_MEMBERS: Final = (
    "SELECT acquisition_id FROM collection_members WHERE collection_id = ? AND acquisition_id > ?"
    " ORDER BY acquisition_id LIMIT ?"
)
_BELOW: Final = (
    "WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL SELECT c.id FROM containers c"
    " JOIN below ON c.parent_id = below.id WHERE c.created <= ?2"
    " AND (c.deleted IS NULL OR c.deleted > ?2) AND (?3 OR c.kind != 'analysis')) "
)
_COUNT: Final = (
    f"{_BELOW} SELECT count(*), coalesce(sum(v.size), 0) FROM below"  # noqa: S608 - fixed text
    " CROSS JOIN files f ON f.container_id = below.id JOIN versions v ON v.file_id = f.id"
    f" AND v.version = {_VERSION.replace('?', '?2')} WHERE f.deleted IS NULL OR f.deleted > ?2"
)
_COUNT_INPUTS: Final = (
    f"{_BELOW} SELECT count(*), coalesce(sum(v.size), 0) FROM below"  # noqa: S608 - fixed text
    " CROSS JOIN analysis_inputs i ON i.analysis_id = below.id"
    " JOIN versions v ON v.file_id = i.file_id AND v.version = i.version"
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    path: str
    file_id: str
    container_kind: str
    container_id: str
    name: str
    type: str | None
    sha384: str
    size: int
    modified: str

    @property
    def mtime(self) -> int:
        """Seconds since 1970."""
        return int(datetime.fromisoformat(self.modified).timestamp())


@dataclass(frozen=True)
class Sidecar:
    """The metadata of a container or a file, as a file beside it."""

    path: str
    container_kind: str
    container_id: str
    metadata: Json
    modified: str

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file."""
        return json.dumps(self.metadata).encode()

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return len(self.content)

    @property
    def mtime(self) -> int:
        """Seconds since 1970."""
        return int(datetime.fromisoformat(self.modified).timestamp())


Item = Member | Sidecar
#: What a spoilt tar is made of: bytes stand between the members, and are made while they are read.
Part = Item | Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an archive is made of; the content of a ticket.

    Args:
        prefix: of every path, but those of analyses in classic archives; may be empty.
        metadata: with sidecars. Full archives only, as are ``analyses``.
        collection: acquisitions that are not in it are left out; empty: none are.
        grants: of who asked. What a collection or an analysis names may lie anywhere.
        at: the moment that is seen.
    """

    type: ArchiveType
    prefix: str
    nodes: tuple[tuple[str, str], ...] = ()  # level, id
    files: tuple[tuple[str, str, str], ...] = ()  # kind, container, name
    filters: tuple[FileFilter, ...] = ()
    container_filters: tuple[ContainerFilter, ...] = ()
    metadata: bool = False
    analyses: bool = False
    collection: str = ""
    grants: Grants | None = None
    at: str = ""

    def items(self, db: sqlite3.Connection) -> Iterator[Item]:
        """Files and sidecars in the order of the archive. No statement stays open between two."""
        return _named(db, self) if self.type == "bulk" else _Walk(db, self).items()

    def count(self, db: sqlite3.Connection) -> tuple[int, int]:
        """How many files, and how many bytes they have; sidecars do not count."""
        narrowed = self.filters or self.container_filters or self.collection
        inputs_anywhere = self.analyses and self.grants is not None
        # What a collection names may lie below another node, and counts once.
        overlapping = {"collection"} < {level for level, _ in self.nodes}
        if self.type == "bulk" or narrowed or inputs_anywhere or overlapping:
            return self._walked(db, self.nodes)
        total, size = self._walked(db, [node for node in self.nodes if not _is_tree(node)])
        for _, container in filter(_is_tree, self.nodes):
            which = (container, self.at, self.analyses)
            counted = [db.execute(_COUNT, which).fetchone()]
            if self.analyses:
                counted.append(db.execute(_COUNT_INPUTS, which).fetchone())
            total, size = total + sum(n for n, _ in counted), size + sum(n for _, n in counted)
        return total, size

    def _walked(self, db: sqlite3.Connection, nodes: Sequence[tuple[str, str]]) -> tuple[int, int]:
        count = size = 0
        for item in replace(self, nodes=tuple(nodes), metadata=False).items(db):
            if isinstance(item, Member):
                count, size = count + 1, size + item.size
        return count, size


def _is_tree(node: tuple[str, str]) -> bool:
    """Whether all that an archive of the node holds lies below it."""
    return node[0] in KINDS


def _named(db: sqlite3.Connection, wanted: Wanted) -> Iterator[Member]:
    query = _FILES.format("f.container_id = ? AND f.container_kind = ? AND f.name = ?")
    for kind, container, name in wanted.files:
        at = wanted.at
        row = db.execute(query, (at, at, container, kind, name, at, 1)).fetchone()
        if row is not None:
            yield member(f"{kind}/{container}/{name}", row)


def member(path: str, row: sqlite3.Row) -> Member:
    """A file under a path."""
    return Member(
        path,
        row["id"],
        row["container_kind"],
        row["container_id"],
        row["name"],
        row["type"],
        row["sha384"],
        row["size"],
        row["modified"],
    )


class _Walk:
    """One pass over the nodes of an archive."""

    def __init__(self, db: sqlite3.Connection, wanted: Wanted) -> None:
        self._db = db
        self._wanted = wanted
        self._full = wanted.type == "full"
        #: Containers on the way down whose sidecars wait for the first file: without one there
        #: is no folder for them.
        self._waiting: list[tuple[sqlite3.Row, str]] = []

    def items(self) -> Iterator[Item]:
        with closing(Folders()) as taken:
            for level, container in self._wanted.nodes:
                for row in self._containers("c.id = ? AND c.kind = ?", container, level):
                    yield from self._node(row, taken)

    def _node(self, row: sqlite3.Row, taken: Folders) -> Iterator[Item]:
        way = self._way(row)
        yield from self._container(row, way, taken)
        if row["kind"] == "collection":
            for one in self._members(row["id"]):
                if not self._is_below_a_node(one):
                    yield from self._container(one, self._way(one), taken)

    def _is_below_a_node(self, row: sqlite3.Row) -> bool:
        """Whether a member of a collection is in the archive anyway, under the same path."""
        nodes = {container for level, container in self._wanted.nodes if level in KINDS}
        return not nodes.isdisjoint(row[f"{kind}_id"] for kind in KINDS)

    def _members(self, collection: str) -> Iterator[sqlite3.Row]:
        after = ""
        while page := self._db.execute(_MEMBERS, (collection, after, PAGE)).fetchall():
            ids = [row[0] for row in page]
            rows = self._containers("c.id IN (SELECT value FROM json_each(?))", json.dumps(ids))
            yield from (row for row in rows if self._may_read(row, "acquisition", row["id"]))
            after = ids[-1]

    def _container(self, row: sqlite3.Row, way: str, taken: Folders) -> Iterator[Item]:
        """A container and all below it; ``taken`` are the folders that were given out."""
        if not all(rule.accepts(row) for rule in self._wanted.container_filters):
            return
        path = taken.free(way + folder_name(row["label"], row["kind"]))
        if self._wanted.metadata:
            self._waiting.append((row, path))
        if row["kind"] == "analysis":
            yield from self._analysis(row["id"], path)
        else:
            yield from self._files(row["id"], f"{path}/FILES" if self._full else path)
            if self._wanted.analyses:
                yield from self._children(row["id"], "analysis", f"{path}/ANALYSES/")
            child = CHILD_OF.get(row["kind"])
            if child is not None:
                below = f"{path}/{child.upper()}S/" if self._full else f"{path}/"
                yield from self._children(row["id"], child, below)
        if self._waiting and self._waiting[-1][0] is row:
            self._waiting.pop()

    def _children(self, parent: str, kind: str, way: str) -> Iterator[Item]:
        where, more = f"c.parent_id = ? AND c.kind = '{kind}'", []
        if kind == "acquisition" and self._wanted.collection:
            where += " AND c.id IN (SELECT acquisition_id FROM collection_members"
            where += " WHERE collection_id = ?)"
            more = [self._wanted.collection]
        after = ""
        with closing(Folders()) as taken:
            while rows := self._containers(f"{where} AND c.id > ?", parent, *more, after):
                for row in rows:
                    yield from self._container(row, way, taken)
                after = rows[-1]["id"]

    def _files(self, container: str, folder: str) -> Iterator[Item]:
        after, at = "", self._wanted.at
        query = _FILES.format("f.container_id = ? AND f.id > ?")
        while rows := self._db.execute(query, (at, at, container, after, at, PAGE)).fetchall():
            for row in rows:
                if self._accepts(row):
                    yield from self._file(row, f"{folder}/{row['name']}")
            after = rows[-1]["id"]

    def _analysis(self, analysis: str, folder: str) -> Iterator[Item]:
        after = -1
        into, out_of = ("INPUT", "OUTPUT") if self._full else ("input", "output")
        with closing(Folders()) as taken:
            while rows := self._db.execute(_INPUTS, (analysis, after, PAGE)).fetchall():
                for row in rows:
                    kind, container = row["container_kind"], row["container_id"]
                    if self._accepts(row) and self._may_read(row, kind, container):
                        yield from self._file(row, taken.free(f"{folder}/{into}/{row['name']}"))
                after = rows[-1]["position"]
        yield from self._files(analysis, f"{folder}/{out_of}")

    def _file(self, row: sqlite3.Row, path: str) -> Iterator[Item]:
        for container, folder in self._waiting:
            yield self._sidecar(container, folder)
        self._waiting.clear()
        yield member(path, row)
        if self._wanted.metadata:
            kind, container = row["container_kind"], row["container_id"]
            name = f"{path}{sidecar.SUFFIX}"
            yield Sidecar(name, kind, container, sidecar.of_file(row), row["modified"])

    def _sidecar(self, row: sqlite3.Row, folder: str) -> Sidecar:
        name = f"{folder}/{folder.rpartition('/')[2]}{sidecar.SUFFIX}"
        metadata = sidecar.of_container(self._db, row["id"])
        return Sidecar(name, row["kind"], row["id"], metadata, row["modified"])

    def _accepts(self, row: sqlite3.Row) -> bool:
        filters = self._wanted.filters
        return not filters or any(each.accepts(row) for each in filters)

    def _may_read(self, row: sqlite3.Row, kind: str, container: str) -> bool:
        grants = self._wanted.grants
        steps = [row[f"{step}_id"] for step in KINDS]
        return grants is None or grants.rank(Place(kind, container, *steps)) > 0

    def _containers(self, condition: str, *parameters: str) -> list[sqlite3.Row]:
        at = self._wanted.at
        query = _CONTAINERS.format(condition)
        return self._db.execute(query, (*parameters, at, at, PAGE)).fetchall()

    def _way(self, row: sqlite3.Row) -> str:
        """The folders above a node, each with a slash at its end: labels, after the prefix.

        Full archives skip the group; the classic form of an analysis has nothing above it.
        """
        if row["kind"] == "analysis" and not self._full:
            return ""
        steps = [self._wanted.prefix] if self._wanted.prefix else []
        if row["project_id"] and not self._full:
            steps.append(row["group_id"])
        above = [(kind, row[f"{kind}_id"]) for kind in KINDS[1:]]
        if row["kind"] == "analysis" and not row["project_id"]:
            above = [("collection", row["parent_id"])]
        for kind, container in above:
            if container is not None and container != row["id"]:
                if self._full and kind not in ("project", "collection"):
                    steps.append(f"{kind.upper()}S")
                steps.append(folder_name(self._label(container), kind))
        if self._full and row["kind"] not in ("project", "collection"):
            steps.append("ANALYSES" if row["kind"] == "analysis" else f"{row['kind'].upper()}S")
        return "".join(f"{step}/" for step in steps)

    def _label(self, container: str) -> str:
        row = self._db.execute("SELECT label FROM containers WHERE id = ?", (container,)).fetchone()
        label: str = row[0]
        return label
