"""The records as they were: a connection on which the last seconds have not happened.

Temporary views stand before the tables of the same names, so every query sees the past, whoever
wrote it. Its one rule: what was stored, deleted or given a new version since is undone; changes
of metadata are not, for nobody keeps them.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from fwsync.sandbox.kept.records import Records

P = ParamSpec("P")
T = TypeVar("T")

_HINT: Final = re.compile(r"\s+INDEXED\s+BY\s+\w+", re.IGNORECASE)  # a view has no index
TABLES: Final = ("containers", "files", "versions")
NEWEST: Final = (
    " AND v.version = (SELECT max(w.version) FROM main.versions w"
    " WHERE w.file_id = t.id AND w.created <= {})"
)


class Unhinted(sqlite3.Connection):
    """A connection that lets the views be read in queries that name an index of the table."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a query without its hints."""
        return super().execute(_HINT.sub("", sql), parameters)


async def read_past(
    records: Records,
    moment: str,
    job: Callable[Concatenate[sqlite3.Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run ``job`` on a connection of its own, which sees the records as they were.

    Args:
        moment: ISO 8601 as the records have it: UTC, microseconds.
    """

    def read() -> T:
        with closing(records.connect(Unhinted)) as db:
            look_back(db, moment)
            return job(db, *args, **kwargs)

    return await asyncio.to_thread(read)


def look_back(db: sqlite3.Connection, moment: str) -> None:
    """Put the views before the tables of a reading connection."""
    db.execute("PRAGMA query_only = 0")  # it forbids temporary views too
    for table in TABLES:
        db.execute(f"CREATE TEMP VIEW {table} AS {_view(db, table, moment)}")
    db.execute("PRAGMA query_only = 1")


def _view(db: sqlite3.Connection, table: str, moment: str) -> str:
    columns = _columns(db, table)
    then = f"'{moment}'"
    shown = {name: f"t.{name}" for name in columns}
    source, newest = f"main.{table} t", ""
    if table == "files":
        # A file that got a new version since is shown with the one it had.
        of_version = set(_columns(db, "versions")) - {"created", "modified", "deleted"}
        for name in of_version.intersection(columns):
            shown[name] = f"CASE WHEN t.version = v.version THEN t.{name} ELSE v.{name} END"
        # A deletion moves the time too.
        shown["modified"] = (
            f"CASE WHEN t.version = v.version AND coalesce(t.deleted, '') <= {then}"
            " THEN t.modified ELSE coalesce(v.modified, v.created) END"
        )
        source += " JOIN main.versions v ON v.file_id = t.id"
        newest = NEWEST.format(then)
    shown["deleted"] = f"CASE WHEN t.deleted > {then} THEN NULL ELSE t.deleted END"
    listed = ", ".join(f"{value} AS {name}" for name, value in shown.items())
    return f"SELECT {listed} FROM {source} WHERE t.created <= {then}{newest}"  # noqa: S608


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    """All of them, with those that are made from others, which ``table_info`` leaves out."""
    return [row["name"] for row in db.execute(f"PRAGMA main.table_xinfo({table})")]
