"""What came of a decision, written into the state's tables.

Its rule: everything runs in the caller's transaction, and nothing is written that did not
happen: agreement needs the entries that both sides have answered with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby

from fwsync.model import Decision, LocalEntry, Outcome, Problem, RelPath, RemoteEntry, Verb
from fwsync.state_file import Connection
from fwsync.state_queries import (
    AGREE,
    AGREE_ROWS,
    FAILED,
    PUT_HASHED,
    PUT_HASHED_ROWS,
    PUT_SCANNED,
    REMEMBER,
    ROWS,
)
from fwsync.state_rows import (
    DEFLATED,
    Row,
    digest_key,
    files_of,
    hash_row,
    shown_text,
    stamp_row,
)

#: What may be kept of a path from before both sides agreed on it.
_SUPERSEDED = ("problem", "upload", "base_source")


def record_outcomes(
    db: Connection, outcomes: Iterable[Outcome], now_ns: Callable[[], int], run: int = 0
) -> None:
    """Outcomes in their order; those of new files that came down together at once.

    Args:
        db: in a transaction.
        outcomes: what happened.
        now_ns: the wall clock.
        run: that they are of; 0: of none.

    Raises:
        ValueError: as :func:`record_outcome`.
    """
    for are_new, some in groupby(outcomes, _is_new_here):
        if are_new:
            _record_new(db, list(some))
            continue
        for outcome in some:
            record_outcome(db, outcome, now_ns, run)


def _is_new_here(outcome: Outcome) -> bool:
    """True if a file came down where nothing was, of which nothing was known."""
    decision, local = outcome.decision, outcome.local
    return (
        decision.verb is Verb.DOWNLOAD
        and outcome.problem is None
        and decision.local is None
        and decision.base is None
        and local is not None
        and local.pack is None
        and local.indexed == decision.path
    )


def _record_new(db: Connection, outcomes: Sequence[Outcome]) -> None:
    """As :func:`record_outcome` for each, by two rows a file: a first pull is all of these."""
    put_rows(db, AGREE, AGREE_ROWS, [_agreement(one) for one in outcomes])
    paths = [(one.decision.path,) for one in outcomes]
    for table in _SUPERSEDED:
        if db.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]:  # noqa: S608
            db.executemany(f"DELETE FROM {table} WHERE path = ?", paths)  # noqa: S608 - a constant
    rows = [
        (*stamp_row(one.local), one.local.etag, one.local.digest, one.hashed_at_ns)
        for one in outcomes
        if one.local is not None
    ]
    put_rows(db, PUT_HASHED, PUT_HASHED_ROWS, rows)


def put_rows(db: Connection, one: str, many: str, rows: Sequence[Row]) -> None:
    """Insert rows in their order: as many as fit by statements of :data:`ROWS` each."""
    whole = len(rows) - len(rows) % ROWS
    for at in range(0, whole, ROWS):
        db.execute(many, tuple(chain.from_iterable(rows[at : at + ROWS])))
    db.executemany(one, rows[whole:])


def record_outcome(
    db: Connection, outcome: Outcome, now_ns: Callable[[], int], run: int = 0
) -> None:
    """One outcome; one with a problem changes nothing but the list of problems.

    Raises:
        ValueError: agreement without both entries, or on different bytes.
    """
    if outcome.problem is not None:
        _put_problem(db, outcome.problem, now_ns())
        return
    _put_outcome(db, outcome, now_ns, run)
    db.execute("DELETE FROM problem WHERE path = ?", (outcome.decision.path,))


def _put_outcome(db: Connection, outcome: Outcome, now_ns: Callable[[], int], run: int) -> None:
    decision = outcome.decision
    path = decision.path
    match decision.verb:
        case Verb.UPLOAD | Verb.DOWNLOAD | Verb.ADOPT:
            _agree(db, outcome)
        case Verb.RENAME if decision.base is None:
            _lie_elsewhere(db, outcome)
        case Verb.RENAME_REMOTE if outcome.remote is None:
            _move_row(db, outcome)
        case Verb.RENAME | Verb.RENAME_REMOTE:
            _follow(db, outcome)
        case Verb.FORGET:
            db.execute("DELETE FROM base WHERE path = ?", (path,))
        case Verb.DELETE_LOCAL | Verb.DELETE_REMOTE:
            db.execute("DELETE FROM base WHERE path = ?", (path,))
            _forget_files(db, decision)
        case Verb.HOLD:
            if (decision.local is None) == (decision.remote is None):
                raise ValueError(f"{path}: held, but not gone on exactly one side")
            side = "local" if decision.local is None else "remote"
            db.execute("UPDATE base SET held = ? WHERE path = ?", (side, path))
        case Verb.CONFLICT if outcome.conflict_copy is not None:
            _keep_both(db, outcome, now_ns(), run)
            if outcome.local is not None and outcome.remote is not None:
                _agree(db, outcome)
        case Verb.NOTHING if decision.local is not None and decision.remote is not None:
            db.execute("UPDATE base SET held = '' WHERE path = ?", (path,))
        case _:  # reported, or a conflict left as it is: nothing is agreed
            pass


def _agree(db: Connection, outcome: Outcome) -> None:
    row = _agreement(outcome)
    path, local = outcome.decision.path, outcome.local
    assert local is not None, f"{path}: an agreement without a file"
    # Nobody asks for the zip of the old members any more; one like it costs a reading.
    db.execute(
        "DELETE FROM pack_digest WHERE etag IN (SELECT local_etag || form FROM base, "
        "(SELECT '' AS form UNION SELECT ?) WHERE path = ? AND local_etag <> ?)",
        (DEFLATED, path, local.etag),
    )
    db.execute(AGREE, row)
    db.execute("DELETE FROM upload WHERE path = ?", (path,))  # whatever was begun is over
    _lies_here(db, path, local, outcome.hashed_at_ns)


def _agreement(outcome: Outcome) -> Row:
    """What both sides agree on, as a row of the base.

    Raises:
        ValueError: agreement without both entries, or on different bytes.
    """
    path, local, remote = outcome.decision.path, outcome.local, outcome.remote
    if local is None or remote is None or local.etag is None:
        raise ValueError(f"{path}: agreement needs both entries, and the local tag")
    if local.digest and remote.digest and local.digest != remote.digest:
        raise ValueError(f"{path}: no agreement, the two sides hold different bytes")
    digest = remote.digest or local.digest
    return path, local.size, local.etag, remote.etag, digest, *_whereabouts(remote)


def _lies_here(db: Connection, path: RelPath, local: LocalEntry, hashed_at_ns: int) -> None:
    """Write down what an agreed file is made of, and if it was read."""
    db.execute("DELETE FROM base_source WHERE path = ?", (path,))
    files = files_of(local)
    if local.pack is not None or local.indexed != path:
        rows = [(path, one.indexed) for one in files]
        db.executemany("INSERT INTO base_source VALUES (?, ?)", rows)
    if local.pack is not None and local.digest is not None:
        known = digest_key(local), local.digest
        db.execute("INSERT OR REPLACE INTO pack_digest VALUES (?, ?)", known)
    for one in files:
        _index(db, one, hashed_at_ns)


def _follow(db: Connection, outcome: Outcome) -> None:
    """The agreement goes where the file has gone, and says what it said, or what is so now."""
    decision, local = outcome.decision, outcome.local
    base, remote = decision.base, outcome.remote
    if base is None or remote is None:
        raise ValueError(f"{decision.path}: followed, but it is not known what, or where to")
    # Another file may have come to its old path, by this very plan, and have its row there.
    db.execute(
        "DELETE FROM base WHERE path = ? AND container_id = ? AND file_id = ?",
        (base.path, base.container_id, base.file_id),
    )
    agreed = base.size, base.local_etag, base.remote_etag, base.digest
    if remote.digest is not None and remote.digest == base.digest:
        agreed = base.size, base.local_etag, remote.etag, base.digest
    if local is not None and local.etag and local.digest and local.digest == remote.digest:
        agreed = local.size, local.etag, remote.etag, local.digest
    db.execute(AGREE, (decision.path, *agreed, *_whereabouts(remote)))
    if local is None:
        held = "UPDATE base SET held = ? WHERE path = ?"
        db.execute(held, (base.held, decision.path))
        return
    _has_left(db, decision.local or local, local)
    _lies_here(db, decision.path, local, outcome.hashed_at_ns)


def _has_left(db: Connection, before: LocalEntry, local: LocalEntry) -> None:
    """What lies elsewhere now is not in the index at its old path any more."""
    for was, now in zip(files_of(before), files_of(local), strict=True):
        if was.indexed != now.indexed:
            gone = "DELETE FROM local_file WHERE path = ? AND device = ? AND inode = ?"
            *_, device, inode, _ = stamp_row(was)
            db.execute(gone, (was.indexed, device, inode))


def _lie_elsewhere(db: Connection, outcome: Outcome) -> None:
    """A file that nothing was agreed on has another path here: only the index says so."""
    before, local = outcome.decision.local, outcome.local
    if before is None or local is None:
        raise ValueError(f"{outcome.decision.path}: moved, but it is not known what")
    _has_left(db, before, local)
    for one in files_of(local):
        _index(db, one, outcome.hashed_at_ns)


def _move_row(db: Connection, outcome: Outcome) -> None:
    """What is gone from the server moved here: that it is gone is known by its new path."""
    decision, local = outcome.decision, outcome.local
    if decision.base is None or local is None:
        raise ValueError(f"{decision.path}: moved, but it is not known what")
    db.execute("DELETE FROM base WHERE path = ?", (decision.path,))
    moved = "UPDATE base SET path = ?, held = 'remote' WHERE path = ?"
    db.execute(moved, (decision.path, decision.base.path))
    db.execute("DELETE FROM base_source WHERE path = ?", (decision.base.path,))
    _lies_here(db, decision.path, local, outcome.hashed_at_ns)


def _whereabouts(remote: RemoteEntry) -> tuple[str, str, str, int]:
    return remote.container.level.value, remote.container.id, remote.file_id, remote.version


def _index(db: Connection, local: LocalEntry, hashed_at_ns: int) -> None:
    if local.etag is None:  # it was moved, and nobody has read it
        db.execute(PUT_SCANNED, stamp_row(local))
        return
    hashed = hash_row(local, hashed_at_ns)
    if db.execute(REMEMBER, hashed).rowcount == 0:
        db.execute(PUT_SCANNED, stamp_row(local))
        db.execute(REMEMBER, hashed)


def _forget_files(db: Connection, decision: Decision) -> None:
    local = decision.local
    gone = [decision.path] if local is None else [one.indexed for one in files_of(local)]
    db.executemany("DELETE FROM local_file WHERE path = ?", [(path,) for path in gone])


def _keep_both(db: Connection, outcome: Outcome, at_ns: int, run: int) -> None:
    local, remote = outcome.decision.local, outcome.decision.remote
    db.execute(
        "INSERT INTO conflict (path, copy_path, at_ns, local_digest, remote_digest, run,"
        " remote_etag, copy_size, copy_mtime_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        # An earlier run has made it, and did not get to its end; or one was closed within the
        # second that its name has.
        " ON CONFLICT (copy_path) DO UPDATE SET (path, local_digest, remote_digest, remote_etag,"
        " copy_size, copy_mtime_ns, taking_back, closed_at_ns) = (excluded.path,"
        " excluded.local_digest, excluded.remote_digest, excluded.remote_etag,"
        " excluded.copy_size, excluded.copy_mtime_ns, NULL, NULL)",
        (
            outcome.decision.path,
            outcome.conflict_copy,
            at_ns,
            local.digest if local else None,
            remote.digest if remote else None,
            run,
            remote.etag if remote else None,
            local.size if local else None,
            local.stamp.mtime_ns if local else None,
        ),
    )


def _put_problem(db: Connection, problem: Problem, at_ns: int) -> None:
    db.execute(
        FAILED,
        {
            "path": shown_text(problem.path),
            "message": shown_text(problem.message),
            "hint": shown_text(problem.hint),
            "retryable": int(problem.retryable),
            "now": at_ns,
        },
    )
