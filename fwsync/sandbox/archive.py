"""What an archive holds: the files a ticket stands for, in order, with their paths in the tar.

A ticket keeps what was asked for, not a list of files, so that one for a million files is small;
the files are found again, page by page, while the tar is sent. It sees the site as it was when
the ticket was made: a version that came later is not in it, and a file deleted meanwhile still is.

Source: core19 (paths, ``_0`` for equal labels, ``.MISSING``); SDK 23 (bodies).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from fwsync.sandbox.tree import CHILD_OF

Json = dict[str, Any]
PAGE: Final = 1000  # rows of one statement; none stays open while a client reads slowly
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9 ._-]")

CONTAINERS: Final = (
    "SELECT c.id, c.kind, c.label, c.group_id, c.project_id, c.subject_id, c.session_id"
    " FROM containers c WHERE {} AND c.created <= ?"
    " AND (c.deleted IS NULL OR c.deleted > ?) ORDER BY c.id LIMIT ?"
)
FILES: Final = (
    "SELECT f.id, f.container_kind, f.container_id, f.name, v.type, v.sha384, v.size,"
    " v.created AS modified, v.doc FROM files f JOIN versions v ON v.file_id = f.id"
    " AND v.version = (SELECT max(w.version) FROM versions w"
    "   WHERE w.file_id = f.id AND w.seq <= ?)"
    " WHERE {} AND (f.deleted IS NULL OR f.deleted > ?) ORDER BY f.id LIMIT ?"
)

ArchiveType = Literal["classic", "full", "bulk"]


@dataclass(frozen=True, slots=True)
class FileFilter:
    """One of the filters of a request; a file passes if any accepts it."""

    types: tuple[frozenset[str], frozenset[str]]  # plus, minus
    tags: tuple[frozenset[str], frozenset[str]]
    since: datetime | None

    def accepts(self, row: sqlite3.Row) -> bool:
        """Whether a file passes."""
        if self.since is not None and datetime.fromisoformat(row["modified"]) < self.since:
            return False
        if not _passes({row["type"] or "null"}, *self.types):
            return False
        if not any(self.tags):
            return True
        return _passes(set(json.loads(row["doc"]).get("tags") or ("null",)), *self.tags)


def _passes(have: set[str], plus: frozenset[str], minus: frozenset[str]) -> bool:
    return not (have & minus) and (not plus or bool(have & plus))


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an archive is made of; the content of a ticket."""

    type: ArchiveType
    prefix: str
    nodes: tuple[tuple[str, str], ...]  # level, id
    files: tuple[tuple[str, str, str], ...]  # kind, container, name
    filters: tuple[FileFilter, ...]
    last_seq: int = 0  # of the newest version it sees
    at: str = ""  # files deleted after this time are still seen

    def members(self, db: sqlite3.Connection) -> Iterator[Member]:
        """The files, in the order of the archive. No statement stays open between two."""
        if self.type == "bulk":
            yield from self._named(db)
            return
        taken: dict[str, set[str]] = {}
        for level, container in self.nodes:
            for row in self._containers(db, "c.id = ? AND c.kind = ?", (container, level)):
                way = _way(db, row, self)
                yield from self._below(db, row, way, taken.setdefault(way, set()))

    def _named(self, db: sqlite3.Connection) -> Iterator[Member]:
        for kind, container, name in self.files:
            rows = self._rows(
                db,
                "f.container_id = ? AND f.container_kind = ? AND f.name = ?",
                (container, kind, name),
            )
            for row in rows[:1]:
                yield _member(f"{kind}/{container}/{name}", row)

    def _below(
        self, db: sqlite3.Connection, row: sqlite3.Row, way: str, used: set[str]
    ) -> Iterator[Member]:
        folder = _unique(_name(row["label"], row["kind"]), used)
        path = f"{way}{folder}/"
        inside = f"{path}FILES/" if self.type == "full" else path
        yield from self._of_container(db, row["id"], inside)
        child = CHILD_OF.get(row["kind"])
        if child is None:
            return
        below = f"{path}{child.upper()}S/" if self.type == "full" else path
        taken: set[str] = set()
        after = ""
        while children := self._containers(db, "c.parent_id = ? AND c.id > ?", (row["id"], after)):
            for one in children:
                yield from self._below(db, one, below, taken)
            after = children[-1]["id"]

    def _of_container(self, db: sqlite3.Connection, container: str, way: str) -> Iterator[Member]:
        after = ""
        while rows := self._rows(db, "f.container_id = ? AND f.id > ?", (container, after)):
            for row in rows:
                if not self.filters or any(each.accepts(row) for each in self.filters):
                    yield _member(way + row["name"], row)
            after = rows[-1]["id"]

    def _containers(
        self, db: sqlite3.Connection, condition: str, parameters: Sequence[str]
    ) -> list[sqlite3.Row]:
        return db.execute(
            CONTAINERS.format(condition),
            (*parameters, self.at, self.at, PAGE),
        ).fetchall()

    def _rows(
        self, db: sqlite3.Connection, condition: str, parameters: Sequence[str]
    ) -> list[sqlite3.Row]:
        return db.execute(
            FILES.format(condition),
            (self.last_seq, *parameters, self.at, PAGE),
        ).fetchall()


def _member(path: str, row: sqlite3.Row) -> Member:
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


def _way(db: sqlite3.Connection, row: sqlite3.Row, wanted: Wanted) -> str:
    """The folders above a node: its labels, after the prefix; full archives skip the group."""
    steps = [wanted.prefix] if wanted.prefix else []
    for kind in ("group", "project", "subject", "session"):
        above = row[f"{kind}_id"]
        if above is None or kind == row["kind"]:
            break
        if kind == "group":
            if wanted.type == "classic":
                steps.append(above)
            continue
        label = db.execute("SELECT label FROM containers WHERE id = ?", (above,)).fetchone()[0]
        if wanted.type == "full" and kind != "project":
            steps.append(f"{kind.upper()}S")
        steps.append(_name(label, kind))
    if wanted.type == "full" and row["kind"] != "project":
        steps.append(f"{row['kind'].upper()}S")
    return "".join(f"{step}/" for step in steps)


def _name(label: str, kind: str) -> str:
    """A label as a folder: letters, digits, space, ``.``, ``_`` and ``-`` are kept."""
    safe = _UNSAFE.sub("", label).strip()
    return safe if safe.strip(".") else f"unknown_{kind}"


def _unique(name: str, used: set[str]) -> str:
    """The name, or the name with ``_0``, ``_1`` … when it is taken."""
    free, number = name, 0
    while free in used:
        free, number = f"{name}_{number}", number + 1
    used.add(free)
    return free


def newest_seq(db: sqlite3.Connection) -> int:
    """The newest version there is: a ticket made now sees nothing later."""
    seq: int = db.execute("SELECT coalesce(max(seq), 0) FROM versions").fetchone()[0]
    return seq
