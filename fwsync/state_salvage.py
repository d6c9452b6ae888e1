"""A state file that is damaged, or suspected to be: looked through, and what can be read saved.

Its rule: nothing here changes the file that is looked at. It is copied first, with its log, and
what is read of the copy is believed only as far as it can be checked.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fwsync.errors import LocalError
from fwsync.model import BaseEntry, RelPath
from fwsync.state_queries import BASE_PAGE
from fwsync.state_rows import Row, to_base

#: What a rebuild makes anew: the base by comparing contents; the rest are caches, or speak of parts
#: of files that are simply fetched again.
_MADE_ANEW: Final = frozenset(
    {
        "migration",
        "local_file",
        "base",
        "base_source",
        "header",
        "pack_digest",
        "download",
        "download_piece",
    }
)

#: Columns that hold a path below the root, in any table.
_PATHS: Final = frozenset({"copy_path", "disk", "source"})

#: What SQLite leaves beside a file.
BESIDE: Final = ("-wal", "-shm", "-journal")

#: Rows that contradict each other or themselves, and what that is called.
_CONTRADICTIONS: Final = (
    ("agreed files with a path that leads elsewhere", "base", "path", "NOT {safe}"),
    ("seen files with a path that leads elsewhere", "local_file", "path", "NOT {safe}"),
    (
        "agreed files with a tag that is none",
        "base",
        "path",
        "local_etag NOT GLOB 'xxh3:*' AND local_etag NOT GLOB 'pack:*'",
    ),
    (
        "files that are folders of other files, too",
        "base AS b",
        "path",
        "EXISTS (SELECT 1 FROM base AS o WHERE o.path > b.path || '/' AND o.path < b.path || '0')",
    ),
    (
        "places of agreed files that are not agreed on",
        "base_source",
        "path",
        "path NOT IN (SELECT path FROM base)",
    ),
    ("conflict copies of themselves", "conflict", "path", "path = copy_path"),
)
_SAFE: Final = (
    "(path <> '' AND instr('/' || path || '/', '//') = 0 AND instr(path, char(0)) = 0 "
    "AND instr('/' || path || '/', '/../') = 0 AND instr('/' || path || '/', '/./') = 0)"
)

#: Says of an agreed file if its row may be kept: see :func:`salvage`.
KeepsBase = Callable[[BaseEntry, Sequence[RelPath]], bool]


@dataclass(slots=True)
class Salvaged:
    """What was saved of a state file."""

    rows: dict[str, int] = field(default_factory=dict)  #: by table, where there were any
    lost: list[str] = field(default_factory=list)  #: tables that could not be read to their end
    kept: int = 0  #: agreed files that are gone on one side, which nothing but a row can tell


# ----------------------------------------------------------------------------- looking


def examine(file: Path) -> list[str]:
    """What is wrong with a state file that can be opened, by a full check; blocks.

    It is looked at as a copy, so that a run may be at work on it.

    Raises:
        LocalError: there is no room for the copy, or the file cannot be read.
    """
    found: list[str] = []
    with _copied(file) as db:
        try:
            verdicts = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
            found += [one.replace("\n", " ") for one in verdicts if one != "ok"]
            if found:
                return found  # what rows say is of no use then
            broken = db.execute("PRAGMA foreign_key_check").fetchmany(20)
            found += [
                f"{row[0]}: a row speaks of one in {row[2]} that is not there" for row in broken
            ]
            found += _contradictions(db)
        except sqlite3.Error as error:
            found.append(str(error))
    return found


def _contradictions(db: sqlite3.Connection) -> Iterator[str]:
    for name, table, shown, where in _CONTRADICTIONS:
        text = where.format(safe=_SAFE)
        sql = f"SELECT count(*), min({shown}) FROM {table} WHERE {text}"  # noqa: S608 - constants
        number, first = db.execute(sql).fetchone()
        if number:
            yield f"{name}: {number}, such as {first!r}"


@contextmanager
def _copied(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of a state file and its log, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="fwsync-doctor-") as scratch:
        copy = Path(scratch) / "state.db"
        try:
            for suffix in ("", "-wal"):
                source = file.with_name(file.name + suffix)
                if source.exists():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
        except OSError as error:
            raise LocalError(f"{file}: the state file cannot be copied ({error})") from error
        with closing(sqlite3.connect(copy, isolation_level=None, timeout=0)) as db:
            # What a damaged file says of itself is not run: no trigger, no view, no function.
            with suppress(sqlite3.Error):
                db.execute("PRAGMA trusted_schema = OFF")
            yield db


# ------------------------------------------------------------------------------ saving


def salvage(old: Path, new: Path, keeps: KeepsBase) -> Salvaged:
    """Copy into a new state file what can be read of an old one; blocks.

    Agreement is not copied: the next comparison finds it by content. A row of an agreed file is
    kept only where nothing else could tell what it tells: that the file was deleted on one side.

    Args:
        old: as it is; may be no database at all.
        new: made by ``open_state``; whoever has it open writes nothing meanwhile.
        keeps: says if the row of an agreed file, and the files that it was made of, may be kept.

    Raises:
        LocalError: no room.
    """
    done = Salvaged()
    try:
        with _copied(old) as source, closing(sqlite3.connect(new, isolation_level=None)) as target:
            source.text_factory = _text
            target.execute("PRAGMA synchronous = FULL")
            target.execute("BEGIN IMMEDIATE")
            tables = [row[0] for row in target.execute(_TABLES)]
            for table in sorted(tables, key=_parents_first):
                if table not in _MADE_ANEW:
                    _take_table(source, target, table, done)
            _take_base(source, target, keeps, done)
            target.execute("COMMIT")
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise LocalError(f"{new}: the new state file cannot be written ({error})") from error
    return done


_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"


def _parents_first(table: str) -> tuple[bool, str]:
    return table.endswith("_part"), table


def _text(raw: bytes) -> str:
    """Bytes that are no text make a text that cannot be written, and so no row."""
    return raw.decode("utf-8", "surrogateescape")


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]


def _keys(db: sqlite3.Connection, table: str) -> list[str]:
    rows = [(row[5], row[1]) for row in db.execute(f'PRAGMA table_info("{table}")') if row[5]]
    return [name for _, name in sorted(rows)]


def _take_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, done: Salvaged
) -> None:
    """What can be read of a table from its one end, and, past the damage, from the other."""
    try:
        theirs = set(_columns(source, table))
    except sqlite3.Error:
        done.lost.append(table)
        return
    if not theirs:
        if not _has_schema(source):
            done.lost.append(table)
        return  # an older fwsync had no such table
    columns = [one for one in _columns(target, table) if one in theirs]
    keys = _keys(target, table)
    marks = ", ".join("?" * len(columns))
    names = ", ".join(columns)
    put = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own tables
    paths = [at for at, one in enumerate(columns) if one in _PATHS]
    taken = 0
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in keys)
        rows = _Rows(source, f"SELECT {names} FROM {table} ORDER BY {by}")  # noqa: S608 - likewise
        for row in rows:
            if all(_is_below(row[at]) for at in paths):
                taken += _put(target, put, row)
        if rows.is_whole:
            break
    else:
        done.lost.append(table)
    if taken:
        done.rows[table] = taken


def _has_schema(db: sqlite3.Connection) -> bool:
    with suppress(sqlite3.Error):
        return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    return False


class _Rows:
    """The rows of a query up to the first that cannot be read."""

    def __init__(self, db: sqlite3.Connection, sql: str, arguments: Sequence[Any] = ()) -> None:
        self._db, self._sql, self._arguments = db, sql, arguments
        self.is_whole = False

    def __iter__(self) -> Iterator[Row]:
        with suppress(sqlite3.Error, OverflowError):
            cursor = self._db.execute(self._sql, self._arguments)
            while (row := cursor.fetchone()) is not None:
                yield tuple(row)
            self.is_whole = True


def _put(db: sqlite3.Connection, sql: str, row: Sequence[Any]) -> int:
    """Write a row, if it is one that the table can hold."""
    try:
        return db.execute(sql, row).rowcount
    except (sqlite3.IntegrityError, sqlite3.DataError, UnicodeEncodeError, OverflowError):
        return 0
    except sqlite3.InterfaceError:
        return 0


def _is_below(path: object) -> bool:
    """True of a path that leads to something below the root; or of none, as of a pack."""
    if path is None or path == "":
        return True
    return isinstance(path, str) and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def _take_base(
    source: sqlite3.Connection, target: sqlite3.Connection, keeps: KeepsBase, done: Salvaged
) -> None:
    """The rows of agreed files that :func:`salvage` keeps."""
    columns = _columns(target, "base")
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    put = f"INSERT OR IGNORE INTO base ({names}) VALUES ({marks})"  # noqa: S608 - our own table
    for order in ("ASC", "DESC"):
        rows = _Rows(source, f"SELECT {names} FROM base ORDER BY path {order}")  # noqa: S608
        for row in rows:
            told = dict(zip(columns, row, strict=True))
            if not (told["path"] and _is_below(told["path"]) and _is_plausible(told)):
                continue
            sources = [
                one[0]
                for one in _Rows(
                    source, "SELECT source FROM base_source WHERE path = ?", (told["path"],)
                )
            ]
            if all(_is_below(one) for one in sources) and keeps(_base_of(told), sources):
                if _put(target, put, row):
                    done.kept += 1
                for one in sources:
                    _put(
                        target,
                        "INSERT OR IGNORE INTO base_source VALUES (?, ?)",
                        (told["path"], one),
                    )
        if rows.is_whole:
            return
    done.lost.append("base")


def _is_plausible(told: dict[str, Any]) -> bool:
    tag = told["local_etag"]
    return isinstance(tag, str) and tag.startswith(("xxh3:", "pack:"))


def _base_of(told: dict[str, Any]) -> BaseEntry:
    names = BASE_PAGE.removeprefix("SELECT ").partition(" FROM ")[0].split(", ")
    return to_base(tuple(told[one] for one in names))


# ------------------------------------------------------------------------- setting aside


def replace(file: Path, new: Path, aside: Path) -> None:
    """Put a new state file in the place of another one, which is kept; blocks.

    At every moment there is a state file: the old one, or the new one.

    Args:
        file: the old one; need not be there.
        new: closed, beside it.
        aside: where the old one is kept, with its log beside it; nothing is there yet.

    Raises:
        OSError: it cannot be done; the old one is where it was, or has both names.
    """
    if file.exists():
        for suffix in ("-wal", "-journal"):
            log = file.with_name(file.name + suffix)
            if log.exists():
                shutil.copyfile(log, aside.with_name(aside.name + suffix))
        try:
            os.link(file, aside)
        except OSError:  # a file system that has no second names
            shutil.copyfile(file, aside)
    _sync(new)
    for suffix in BESIDE:
        # SQLite would play the old one's log into the new one.
        file.with_name(file.name + suffix).unlink(missing_ok=True)
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    new.replace(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
