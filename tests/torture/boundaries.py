"""The three boundaries of a run: operations on files, requests, SQL statements; the i-th fails.

One helper, :func:`nth_fails`, for all three: run after run, each in a world of its own, another
operation fails, once or from there on, until a run has met no failure. After each, what
:meth:`tests.torture.both.Both.check_closed` says must be so.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fwsync import renaming
from fwsync.errors import FwsyncError
from fwsync.model import Report
from tests.house.faults import LOST, Rule, rule
from tests.torture.both import Both
from tests.torture.shim import OPERATIONS, Shim


@dataclass
class Met:
    """What a run came to at a boundary."""

    seen: list[str] = field(default_factory=list)  #: the operations, one after the other
    struck: str = ""  #: the first one that failed


class Boundary(Protocol):
    """Where operations can fail."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """How they can fail."""
        ...

    def failing(
        self, world: Both, at: int, fault: str, *, for_good: bool
    ) -> AbstractContextManager[Met]:
        """In the block the operation of this number fails, and if ``for_good`` all later ones."""
        ...


def nth_fails(
    boundary: Boundary,
    world: Callable[[int], Both],
    *,
    first: int = 1,
    step: int = 1,
    fault: Callable[[int], tuple[str, bool]],
) -> int:
    """Let every ``step``-th operation fail, from the ``first`` on, until there is none.

    Args:
        boundary: where.
        world: makes one for a number, in step and parted again.
        first: the number of the first operation that fails.
        step: how many later the next one is.
        fault: how one fails, and if for good.

    Returns:
        How many runs met a failure.
    """
    at, met_one = first, 0
    while True:
        one = world(at)
        name, for_good = fault(at)
        with boundary.failing(one, at, name, for_good=for_good) as met:
            ended = one.sync()
        again = "for good" if for_good else "once"
        why = f"{boundary.name} {at} fails {again} with {name}: {met.struck}; {_said(ended)}"
        assert isinstance(ended, (Report, FwsyncError)), why
        one.check_nothing_lost(why)
        one.check_closed(why)
        if not met.struck:
            return met_one
        met_one += 1
        at += step


def _said(ended: object) -> str:
    if isinstance(ended, Report):
        return f"problems {[(one.path, one.message) for one in ended.problem_list]}"
    return repr(ended)


# ------------------------------------------------------------------------------ files


@dataclass(frozen=True)
class Files:
    """Operations on files below the root, but for SQLite's own."""

    name: str = "file operation"
    faults: Sequence[str] = ("EIO", "ENOSPC", "EACCES")
    operations: Sequence[str] = OPERATIONS  #: those that count

    @contextmanager
    def failing(self, world: Both, at: int, fault: str, *, for_good: bool) -> Iterator[Met]:
        """See :class:`Boundary`."""
        log = world.root.parent / f"{world.root.name}.log"
        spec: dict[str, Any] = {"below": str(world.root), "log": str(log)}
        spec |= {"fail_at": at, "for_good": for_good}
        spec["operations"] = self.operations
        met = Met()
        with installed(Shim(spec | {"errno": getattr(errno, fault)})):
            yield met
        met.seen += log.read_text().splitlines()
        met.struck = met.seen[at - 1] if len(met.seen) >= at else ""
        log.unlink()


@contextmanager
def installed(shim: Shim) -> Iterator[None]:
    """With the shim in this process."""
    kept = {name: getattr(os, name) for name in OPERATIONS if name != "renameat2"}
    swap = renaming._RENAMEAT2
    shim.install()
    try:
        yield
    finally:
        for name, call in kept.items():
            setattr(os, name, call)
        renaming._RENAMEAT2 = swap
        shim.close()


# ------------------------------------------------------------------------------- requests

REQUESTS: Mapping[str, Rule] = {
    "reset": {"reset": True},
    "lost answer": LOST,
    "500": {"status": 500},
    "500 after it was done": {"status": 500, "when": "after"},
    "503": {"status": 503},
    "a page": {"html": True},
    "cut answer": {"cut_at": 10},
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404},
    "409": {"status": 409},
}


@dataclass(frozen=True)
class Requests:
    """Requests to the server, as it counts them."""

    name: str = "request"
    faults: Sequence[str] = tuple(REQUESTS)

    @contextmanager
    def failing(self, world: Both, at: int, fault: str, *, for_good: bool) -> Iterator[Met]:
        """See :class:`Boundary`."""
        hits: dict[str, int] = {"from": at} if for_good else {"nth": at}
        world.ground.forget_requests()
        world.ground.ask("PUT", "/sandbox/faults", [rule(REQUESTS[fault], hits=hits)])
        met = Met()
        try:
            yield met
        finally:
            [shown] = world.ground.ask("GET", "/sandbox/faults")["rules"]
            world.ground.ask("PUT", "/sandbox/faults", [])
        met.seen += [f"{one['method']} {one['path']}" for one in world.ground.requests()]
        if shown["fired"]:
            met.struck = met.seen[at - 1] if len(met.seen) >= at else "one of them"


# ----------------------------------------------------------------------------- statements

#: What SQLite says, and the number by which it does: https://www.sqlite.org/rescode.html
STATEMENTS: Mapping[str, int] = {
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "database is locked": sqlite3.SQLITE_BUSY,
    "database or disk is full": sqlite3.SQLITE_FULL,
}


@dataclass(frozen=True)
class Statements:
    """SQL statements of state files below the root."""

    name: str = "statement"
    faults: Sequence[str] = tuple(STATEMENTS)

    @contextmanager
    def failing(self, world: Both, at: int, fault: str, *, for_good: bool) -> Iterator[Met]:
        """See :class:`Boundary`."""
        met, lock = Met(), threading.Lock()

        def strike(sql: str) -> None:
            with lock:
                met.seen.append(" ".join(sql.split()))
                number = len(met.seen)
                if number != at and not (for_good and number > at):
                    return
                met.struck = met.struck or met.seen[-1]
            error = sqlite3.OperationalError(fault)
            error.sqlite_errorcode = STATEMENTS[fault]
            raise error

        with striking(world.root, strike):
            yield met


@contextmanager
def striking(below: Path, strike: Callable[[str], None]) -> Iterator[None]:
    """Each statement of a database below a folder is told first; what that raises is its end."""

    class Struck(sqlite3.Connection):
        """Tells of its statements."""

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            strike(sql)
            return super().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            strike(sql)
            return super().executemany(sql, *args)

        def executescript(self, sql: str, *args: Any) -> sqlite3.Cursor:
            strike(sql)
            return super().executescript(sql, *args)

    connect = sqlite3.connect

    def connected(database: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        if str(below) in str(database):
            kwargs["factory"] = Struck
        made: sqlite3.Connection = connect(database, *args, **kwargs)
        return made

    sqlite3.connect = connected  # type: ignore[assignment]  # put back below
    try:
        yield
    finally:
        sqlite3.connect = connect
