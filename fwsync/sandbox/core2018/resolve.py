"""``POST /resolve``: a path of labels, followed from the group down; no subject level.

A part is the id of a group, then labels of a project, a session, an acquisition, or, from the
project down, the name of a file; ``<id:…>`` picks by id. Of two equal labels the oldest is taken,
and what was deleted is found as well.

Source: core18.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking
from fwsync.sandbox.core2018.render import CONTAINERS, containers_json, file_json, files_of
from fwsync.sandbox.core2018.wire import json_body, stored
from fwsync.sandbox.kept.access import Grants
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

_LEVELS: Final = ("group", "project", "session", "acquisition")
_OLDEST: Final = " ORDER BY c.created, c.id LIMIT 1"
#: What the node of a container leaves out.
_LEFT_OUT: Final = ("files", "info", "info_exists", "tags", "notes")


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk down the tree, on the thread of the records."""

    db: sqlite3.Connection
    grants: Grants | None

    def follow(self, path: list[str]) -> Json:
        """Nodes of the path, and what is below the last."""
        nodes: list[Json] = []
        here: sqlite3.Row | None = None
        for at, part in enumerate(path):
            kind = _LEVELS[at] if at < len(_LEVELS) else ""
            row = self._child(kind, here, part) if kind else None
            if row is None:
                rest = path[at + 1 :]
                nodes.append(self._file(kind, here, part, rest))
                return {"path": nodes, "children": []}
            if not asking.may_read(self.grants, row):
                raise ApiError(403, "Not authorized")
            nodes.append(self._nodes([row])[0])
            here = row
        return {"path": nodes, "children": self._children(here)}

    def _child(self, kind: str, here: sqlite3.Row | None, part: str) -> sqlite3.Row | None:
        by_id = part.startswith("<id:") and part.endswith(">")
        wanted = part[4:-1] if by_id else part
        column = "id" if by_id or kind == "group" else "label"
        sql = f"{CONTAINERS} WHERE c.kind = ? AND c.{column} = ?"
        parameters = [kind, wanted]
        if here is not None:
            sql += f" AND c.{here['kind']}_id = ?"
            parameters.append(here["id"])
        row: sqlite3.Row | None = self.db.execute(sql + _OLDEST, parameters).fetchone()
        return row

    def _file(self, kind: str, here: sqlite3.Row | None, part: str, rest: list[str]) -> Json:
        """The file of a name, where no container has it.

        Raises:
            ApiError: 404; 500 where a file comes first whose name is not ASCII (core18's
                published source).
        """
        has_files = here is not None and here["kind"] != "group"
        if here is not None and has_files:
            found = files_of(self.db, [here["id"]], deleted=True)[here["id"]]
            for row in sorted(found, key=lambda row: row["name"]):
                if not row["name"].isascii():
                    raise ApiError(500, "'ascii' codec can't encode characters")
                if row["name"] == part and rest:
                    raise ApiError(404, "Files have no children")
                if row["name"] == part:
                    return _file_node(row)
        if not kind:
            raise ApiError(404, f"No {part} file found.")
        raise ApiError(404, f"No {part} {kind}{' or file' if has_files else ''} found.")

    def _children(self, here: sqlite3.Row | None) -> list[Json]:
        level = 0 if here is None else _LEVELS.index(here["kind"]) + 1
        children: list[Json] = []
        if level < len(_LEVELS):
            sql, parameters = f"{CONTAINERS} WHERE c.kind = ?", [_LEVELS[level]]
            if here is not None:
                sql += f" AND c.{here['kind']}_id = ?"
                parameters.append(here["id"])
            rows = self.db.execute(f"{sql} ORDER BY c.created, c.id", parameters).fetchall()
            children = self._nodes([row for row in rows if asking.may_read(self.grants, row)])
        if here is not None and here["kind"] != "group":
            found = files_of(self.db, [here["id"]], deleted=True)[here["id"]]
            children += [_file_node(row) for row in sorted(found, key=lambda row: row["name"])]
        return children

    def _nodes(self, rows: list[sqlite3.Row]) -> list[Json]:
        shown = containers_json(self.db, rows, listed=True)
        return [
            {name: value for name, value in entry.items() if name not in _LEFT_OUT}
            | {"node_type": row["kind"]}
            for row, entry in zip(rows, shown, strict=True)
        ]


def _file_node(row: sqlite3.Row) -> Json:
    deleted = {"deleted": stored(row["deleted"])} if row["deleted"] else {}
    return file_json(row) | deleted | {"node_type": "file"}


async def resolve(call: Call) -> web.Response:
    """``POST /resolve``."""
    if call.caller.kind == "unknown":
        raise ApiError(403, "Request requires login")
    body = await json_body(call)
    if not isinstance(body, dict) or "path" not in body:
        raise ApiError(500, "Key 'path' was not found")
    path = body["path"]
    if not isinstance(path, list) or not all(isinstance(part, str) for part in path):
        raise ApiError(500, "Path must be an array of strings")
    given = await asking.grants(call)
    return answer(await call.read(lambda db: _Walk(db, given).follow(path)))
