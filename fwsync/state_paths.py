"""What a state knows of one path, or of all below a folder: for whoever asks about it.

Its rule: it only looks, and after a listing. Who decides on many paths reads the trees side by
side instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fwsync.model import BaseEntry, LocalEntry, RelPath, RemoteEntry
from fwsync.state_file import StateFile
from fwsync.state_queries import BASE_PAGE, LOCAL_PAGE, REMOTE_PAGE
from fwsync.state_rows import to_base, to_local, to_remote

_BELOW = "(:folder = '' OR (path > :folder || '/' AND path < :folder || '0'))"

#: What is counted of a folder.
_COUNTED = {"here": "local_file", "there": "temp.remote_file", "agreed": "base"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen last of one path."""

    is_here: bool  #: the index has it, or a layout puts something there
    local: LocalEntry | None  #: the file of the index at that very path
    remote: RemoteEntry | None
    base: BaseEntry | None


class Paths:
    """Belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def extra_kind(self, path: RelPath) -> str:
        """Which kind of file fwsync itself has written there; empty: none."""
        rows = self._db.ask("SELECT kind FROM extra WHERE path = ?", (path,))
        return str(rows[0][0]) if rows else ""

    def goes_to(self, source: RelPath) -> RelPath | None:
        """Where a layout puts a file of this disk, once it has placed all; None: nowhere."""
        rows = self._db.ask("SELECT path FROM temp.placed WHERE source = ?", (source,))
        return RelPath(rows[0][0]) if rows else None

    def count_below(self, folder: RelPath) -> Mapping[str, int]:
        """How many files are below a folder: here, there, and agreed on."""
        return {
            name: int(
                self._db.ask(
                    f"SELECT count(*) FROM {table} WHERE {_BELOW}",  # noqa: S608 - constants
                    {"folder": folder},
                )[0][0]
            )
            for name, table in _COUNTED.items()
        }

    def is_known(self, path: RelPath) -> bool:
        """Was a file seen here, or agreed on, at a path or below it?"""
        at = "path = :path OR (path > :path || '/' AND path < :path || '0')"
        sql = f"""SELECT EXISTS (SELECT 1 FROM local_file WHERE {at})
            OR EXISTS (SELECT 1 FROM base WHERE {at})"""  # noqa: S608 - constants
        return bool(self._db.ask(sql, {"path": path})[0][0])

    def newest_in(self, folder: RelPath) -> int:
        """When a file directly in a folder last changed, in nanoseconds; 0: there is none."""
        sql = f"""SELECT max(mtime_ns) FROM local_file WHERE {_BELOW}
            AND instr(substr(path, length(:folder) + iif(:folder = '', 1, 2)), '/') = 0"""  # noqa: S608 - constants
        return int(self._db.ask(sql, {"folder": folder})[0][0] or 0)


def glance(db: StateFile, path: RelPath, granularity_ns: int, *, placed: bool) -> Seen:
    """One path in the index, in this run's listing and in the base; after the listing.

    Args:
        db: the state's file.
        path: as the server's tree has it.
        granularity_ns: for which hashes count.
        placed: a layout says where the files of the index belong.
    """
    at = {"path": path, "granularity": granularity_ns}
    where = "WHERE path = :path"
    here = [to_local(row) for row in db.ask(f"{LOCAL_PAGE} {where}", at)]
    there = [to_remote(row) for row in db.ask(f"{REMOTE_PAGE} {where}", at)]
    base = [to_base(row) for row in db.ask(f"{BASE_PAGE} {where}", at)]
    is_here = bool(here)
    if placed:
        is_here = bool(db.ask(f"SELECT 1 FROM temp.mapped {where}", at))  # noqa: S608 - constants
    return Seen(
        is_here,
        here[0] if here else None,
        there[0] if there else None,
        base[0] if base else None,
    )
