"""The state as a file: opened, checked, migrated, copied, and spoken to in transactions.

Its rule: a file that is not surely ours and whole is refused untouched, and what is made
anew is whole or not there. What the rows mean is the business of :mod:`fwsync.state`.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fwsync.errors import LocalError, Locked, StateDamaged, StateTooNew
from fwsync.state_rows import Row

#: ``PRAGMA application_id``: "fwsy", so that ``file`` and we know the file as ours.
APPLICATION_ID = 0x66777379

_MAGIC = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html, 1.3
_MIGRATION_NAME = re.compile(r"(\d{4})_(\w+)\.sql")

PAGE = 2000  # rows held in memory by an iterator, and rows of one transaction of a scan

#: What :meth:`StateFile.change` gives; the rooms above need not know whose it is.
Connection = sqlite3.Connection


# --------------------------------------------------------------------------- the open file


class StateFile:
    """An open state file, and the errors of SQLite in our words. Made by :func:`open_file`."""

    def __init__(self, connection: Connection, file: Path, shown: Path) -> None:
        self.connection = connection
        self.file = file  #: where it lies
        self._shown = shown

    def close(self) -> None:
        """Write everything through and close; harmless a second time."""
        with _speaking_of(self._shown):
            self.connection.close()

    @contextmanager
    def change(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[Connection]:
        """One transaction: all of it or nothing."""
        with _speaking_of(self._shown):
            try:
                self.connection.execute(begin)  # may fail with the transaction begun
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # SQLite itself undoes some, a full disk's
                    self.connection.execute("ROLLBACK")
                raise

    def changes(self) -> object:
        """What is another one after each change: of rows, and of which tables there are."""
        schema = self.ask("PRAGMA temp.schema_version")[0][0]
        return self.connection.total_changes, schema

    def ask(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """One statement, and all of its rows."""
        with _speaking_of(self._shown):
            return self.connection.execute(sql, arguments).fetchall()

    def pages(
        self, select: str, arguments: Mapping[str, Any] | None = None, only: str = "TRUE"
    ) -> Iterator[Row]:
        """The rows of a table in the order of ``path``, its first column.

        Args:
            select: up to its WHERE.
            arguments: of the statement.
            only: a condition for the rows.
        """
        sql = f"{select} WHERE path > :after AND {only} ORDER BY path LIMIT {PAGE}"
        after = ""
        while rows := self.ask(sql, {**(arguments or {}), "after": after}):
            yield from rows
            after = rows[-1][0]

    def save_copy(self, target: Path, scratch: Path | None = None) -> None:
        """A checked, self-contained copy at ``target``; see :func:`_copy_to`."""
        with _speaking_of(self._shown):
            _copy_to(self.file, target, scratch)


# ------------------------------------------------------------------- what SQLite may say


def _told(file: Path, error: sqlite3.Error) -> LocalError | None:
    """An error of SQLite in our words, or None where it is a mistake of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return LocalError(
            f"{file}: no space left for the state file",
            hint="free some space (its disk, and the one for temporary files), then run again",
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Locked(
            f"{file}: another process keeps the state file locked",
            hint="wait for the other fwsync, or for the program that has the file open, to end",
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(file, str(error))
    if isinstance(error, sqlite3.OperationalError) and code > sqlite3.SQLITE_ERROR:
        return LocalError(
            f"{file}: the state file cannot be used ({error})",
            hint="check the disk, and that the file and its folder are readable and writable",
        )
    return None


def _damaged(file: Path, what: str) -> StateDamaged:
    return StateDamaged(
        f"{file}: the state file is damaged ({what}); expected a database of fwsync",
        hint=f"`fwsync doctor {_root_of(file)} --rebuild` keeps it under another name, and makes "
        "a new one by comparing contents; no file is moved or deleted",
    )


def _root_of(file: Path) -> str:
    """The folder of a state file as a shell takes it, where the file lies in it."""
    in_root = file.is_absolute() and file.parent.name == ".fwsync"
    return shlex.quote(str(file.parent.parent)) if in_root else "DIR"


@contextmanager
def _speaking_of(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        local_error = _told(file, error)
        if local_error is None:
            raise
        raise local_error from error


# --------------------------------------------------------------------- opening, migrating


def open_file(
    file: Path,
    shown: Path,
    *,
    create: bool,
    read_only: bool,
    older_too: bool,
    busy_timeout_s: float,
    migrations: Traversable | None,
    now_ns: Callable[[], int],
) -> StateFile:
    """Check the file, bring it up to date and open it: see ``state.open_state``.

    Args:
        shown: the name for messages.
    """
    steps = _read_migrations(files("fwsync") / "state.db" if migrations is None else migrations)
    with _speaking_of(shown):
        try:
            if not file.exists():
                if not create or read_only:
                    raise LocalError(
                        f"{shown}: there is no state file",
                        hint="nothing was synced here yet; run `fwsync sync` first",
                    )
                _create_file(file, steps, now_ns)
            version = _check_file(file, shown, steps[-1][0], busy_timeout_s)
        except PermissionError as error:
            raise LocalError(
                f"{shown}: the state file cannot be opened ({error.strerror}); expected to have "
                "rights to it",
                hint=f"give them back: chmod u+rw {shlex.quote(str(shown))}; it is whole, as far "
                "as is known",
            ) from error
        except OSError as error:
            raise LocalError(f"{shown}: the state file cannot be opened ({error})") from error
        if read_only and not older_too and version < steps[-1][0]:
            raise LocalError(
                f"{shown}: the state file is of an older fwsync (schema {version})",
                hint="the next run of `fwsync sync` or of the service brings it up to date",
            )
        db = _connect(file, "ro" if read_only else "rw", busy_timeout_s)
        try:
            if not read_only:
                _set_up(db, file, steps[version:], now_ns)
            db.execute("PRAGMA foreign_keys = ON")
            return StateFile(db, file, shown)
        except BaseException:
            db.close()
            raise


def _connect(file: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    # Transactions are ours (isolation_level None): the module would open them too late.
    options = f"mode={mode}"
    log = file.with_name(f"{file.name}-wal")
    if mode == "ro" and not (log.exists() and log.stat().st_size):
        # Nobody has it open and all is in the file. Without this word, looking at it would
        # leave a log and its shared memory beside it, and looking must leave nothing.
        options += "&immutable=1"
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        timeout=timeout_s,
    )


def _read_migrations(folder: Traversable) -> list[tuple[int, str, str]]:
    """Number, name and SQL of each migration, from 1 without gaps."""
    found = []
    for item in folder.iterdir():
        if match := _MIGRATION_NAME.fullmatch(item.name):
            found.append((int(match[1]), match[2], item.read_text(encoding="utf-8")))
    found.sort()
    if not found or [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder}: migrations must be numbered from 0001 without gaps")
    return found


def _create_file(file: Path, steps: list[tuple[int, str, str]], now_ns: Callable[[], int]) -> None:
    """A new state file, whole or not there: a killed first run leaves nothing to refuse."""
    # Its folder at most: a root that has just been unmounted is not made anew.
    file.parent.mkdir(mode=0o700, exist_ok=True)
    for suffix in ("-wal", "-shm", "-journal"):
        # Left by a file that was moved away: SQLite would play it into the new one.
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    aside = file.with_name(f"{file.name}.new")
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    with closing(_connect(aside, "rw", 0)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for step in steps:
            _apply(db, step, now_ns())
    _publish(aside, file)


def _check_file(file: Path, shown: Path, newest: int, timeout_s: float) -> int:
    """The schema's version, after all that can be found out without changing the file."""
    with file.open("rb") as stream:
        header = stream.read(100)
    if not header:
        raise _damaged(shown, "it is empty")
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise _damaged(shown, "it is not SQLite")

    def at(offset: int) -> int:
        return int.from_bytes(header[offset : offset + 4], "big")

    if at(68) != APPLICATION_ID:
        raise _damaged(shown, "it belongs to another program")
    _refuse_newer(shown, at(60), newest)
    # Read-only: the close of such a connection does not write the WAL back.
    with closing(_connect(file, "ro", timeout_s)) as db:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        _refuse_newer(shown, version, newest)  # the header may lag behind the WAL
        if version < 1:
            raise _damaged(shown, "it has no schema")
        verdict = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if verdict != "ok":
        raise _damaged(shown, verdict.replace("\n", " "))
    return version


def _refuse_newer(shown: Path, version: int, newest: int) -> None:
    if version > newest:
        raise StateTooNew(
            f"{shown}: the state file is of a newer fwsync (schema {version}; "
            f"this one knows up to {newest})",
            hint="upgrade fwsync; or move the file away, and the next run compares contents",
        )


def _set_up(
    db: sqlite3.Connection,
    file: Path,
    steps: list[tuple[int, str, str]],
    now_ns: Callable[[], int],
) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LocalError(
            f"{file}: the file system has no shared memory for the state file (mode {mode})",
            hint="keep it on a local disk: `--state FILE`",
        )
    db.execute("PRAGMA synchronous = NORMAL")  # why: the top of state.py
    for step in steps:
        _copy_to(file, file.with_name(f"{file.name}.before-{step[0]}"), None)
        _apply(db, step, now_ns())
        # The header of the file itself says the version from here on.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _apply(db: sqlite3.Connection, step: tuple[int, str, str], at_ns: int) -> None:
    """One migration and its record, in one transaction."""
    number, name, sql = step
    try:
        record = f"INSERT INTO migration VALUES ({number}, '{name}', {at_ns});"  # noqa: S608 - ours
        db.executescript(
            f"BEGIN IMMEDIATE;\n{sql}\n;{record}PRAGMA user_version = {number};\nCOMMIT;"
        )
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _publish(aside: Path, target: Path) -> None:
    """A finished file to its name, durably."""
    for path, rename in ((aside, True), (target.parent, False)):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        if rename:
            aside.replace(target)


def _copy_to(file: Path, target: Path, scratch: Path | None) -> None:
    """A checked copy of a state that may be in use: one file, without a WAL.

    SQLite makes it beside the state, or in ``scratch``, and never touches ``target``,
    which may lie where its locks do not work; from there it goes to ``target`` aside and
    by renaming.
    """
    made = (scratch or file.parent) / f"{file.name}.copy"
    aside = target.with_name(f"{target.name}.part")
    try:
        made.unlink(missing_ok=True)
        # A connection of its own: VACUUM refuses one with statements on their way.
        with closing(_connect(file, "ro", 30)) as db:
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            db.execute("VACUUM INTO ?", (str(made),))
        with closing(_connect(made, "ro", 0)) as db:
            verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _damaged(file, f"its copy fails the check: {verdict}")
        aside.unlink(missing_ok=True)
        fd = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as out, made.open("rb") as source:
            while chunk := source.read(1 << 20):
                out.write(chunk)
        _publish(aside, target)
    except OSError as error:
        raise LocalError(f"{target}: the copy of the state cannot be written ({error})") from error
    finally:
        for left in (made, aside):
            with suppress(OSError):
                left.unlink()
