"""Files in conflict of which no copy was made, and what a person has said about them.

Its rule: a choice is about exactly one content here and one there. Where either is another one
now, nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fwsync.digest import Digest
from fwsync.model import (
    Choice,
    ConflictPolicy,
    LocalEntry,
    Outcome,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.state_file import Connection, StateFile
from fwsync.state_rows import Row, signed, unsigned

_STAMP = "size, mtime_ns, ctime_ns, device, inode"
_ALL = f"""path, source, first_seen_ns, last_seen_ns, run, {_STAMP}, local_digest, remote_etag,
    remote_size, remote_digest, remote_modified_ns, version, choice"""

#: What leaves a conflict as it is: the policies fail and skip, and a run that only goes up.
_LEFT = (Verb.CONFLICT, Verb.REPORT)


@dataclass(frozen=True, slots=True)
class Standoff:
    """A file in conflict, as the last run saw it."""

    path: RelPath
    source: RelPath  #: where it lies here; empty: it is a pack
    first_seen_ns: int
    last_seen_ns: int
    run: int
    stamp: Stamp
    local_digest: Digest | None
    remote_etag: str
    remote_size: int
    remote_digest: Digest | None
    remote_modified_ns: int
    version: int
    choice: ConflictPolicy | None  #: None: nobody has chosen yet


class Standoffs:
    """The files of a state that are in conflict and as they were; for the state's thread."""

    def __init__(self, db: StateFile) -> None:
        self._db = db

    def all(self) -> list[Standoff]:
        """All of them, by path."""
        return [_standoff(row) for row in self._db.ask(f"SELECT {_ALL} FROM standoff")]  # noqa: S608 - constants

    def choices(self) -> Mapping[RelPath, Choice]:
        """What a person has chosen and no run has carried out so far."""
        return {
            one.path: Choice(one.choice, one.stamp, one.remote_etag)
            for one in self.all()
            if one.choice is not None
        }

    def choose(self, db: Connection, path: RelPath, policy: ConflictPolicy, stamp: Stamp) -> None:
        """Keep what a person says of the file here as it is now, and of the one there as seen."""
        numbers = [signed(number) for number in _numbers(stamp)]
        db.execute(
            f"UPDATE standoff SET choice = ?, ({_STAMP}) = (?, ?, ?, ?, ?) WHERE path = ?",  # noqa: S608 - constants
            (policy.value, *numbers, path),
        )

    def put(
        self,
        db: Connection,
        local: LocalEntry,
        remote: RemoteEntry,
        *,
        run: int,
        at_ns: int,
    ) -> bool:
        """A run has seen this conflict, and has left it. True if it is not the one that it knew."""
        path = local.path
        numbers = [signed(number) for number in _numbers(local.stamp)]
        seen = f"""UPDATE standoff SET last_seen_ns = ? WHERE path = ? AND remote_etag = ?
            AND ({_STAMP}) = (?, ?, ?, ?, ?)"""  # noqa: S608 - constants
        if db.execute(seen, (at_ns, path, remote.etag, *numbers)).rowcount:
            return False
        known = db.execute("SELECT first_seen_ns, run FROM standoff WHERE path = ?", (path,))
        first_ns, first_run = known.fetchone() or (at_ns, run)
        db.execute(
            f"INSERT OR REPLACE INTO standoff ({_ALL}) VALUES ({', '.join('?' * 17)})",  # noqa: S608 - constants
            (
                path, "" if local.pack else local.indexed, first_ns, at_ns, first_run, *numbers,
                local.digest, remote.etag, remote.size, remote.digest, remote.modified_ns,
                remote.version, "",
            ),
        )  # fmt: skip
        return True

    def take(
        self, db: Connection, outcomes: Iterable[Outcome], *, run: int, at_ns: int
    ) -> list[Outcome]:
        """See what outcomes say of conflicts; those that are new come back."""
        new: list[Outcome] = []
        settled: list[tuple[RelPath]] = []
        for outcome in outcomes:
            decision = outcome.decision
            if outcome.problem is not None:
                continue
            if decision.verb not in _LEFT or outcome.conflict_copy is not None:
                settled.append((decision.path,))
            elif decision.is_conflict and decision.local and decision.remote:
                is_new = self.put(db, decision.local, decision.remote, run=run, at_ns=at_ns)
                if is_new:
                    new.append(outcome)
        if settled and db.execute("SELECT EXISTS (SELECT 1 FROM standoff)").fetchone()[0]:
            db.executemany("DELETE FROM standoff WHERE path = ?", settled)
        return new

    def drop_unseen(self, *, since_ns: int) -> None:
        """After a complete run: drop those that it did not meet again.

        What a person has chosen stays as long as the file here is the one that was meant: a run
        that went another way, or was cut short, says nothing about it.
        """
        sql = f"""DELETE FROM standoff WHERE last_seen_ns < ? AND (choice = '' OR source <> ''
            AND NOT EXISTS (SELECT 1 FROM local_file AS l WHERE l.path = standoff.source
                AND ({_of("l")}) = ({_of("standoff")})))"""  # noqa: S608 - constants
        self._db.ask(sql, (since_ns,))


def _of(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in _STAMP.split(", "))


def _numbers(stamp: Stamp) -> tuple[int, ...]:
    return stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.device, stamp.inode


def _standoff(row: Row) -> Standoff:
    path, source, first_ns, last_ns, run, size, mtime, ctime, device, inode = row[:10]
    local_digest, etag, remote_size, remote_digest, modified_ns, version, choice = row[10:]
    return Standoff(
        path,
        source,
        first_ns,
        last_ns,
        run,
        Stamp(size, mtime, ctime, unsigned(device), unsigned(inode)),
        local_digest,
        etag,
        remote_size,
        remote_digest,
        modified_ns,
        version,
        ConflictPolicy(choice) if choice else None,
    )
