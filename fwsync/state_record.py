"""What came of a decision, written into the state's tables.

Its rule: everything runs in the caller's transaction, and nothing is written that did not
happen: agreement needs the entries that both sides have answered with.
"""

from __future__ import annotations

from collections.abc import Callable

from fwsync.model import Outcome, Problem, Verb
from fwsync.state_file import Connection
from fwsync.state_queries import AGREE, FAILED, PUT_SCANNED, REMEMBER
from fwsync.state_rows import hash_row, shown_text, stamp_row


def record_outcome(db: Connection, outcome: Outcome, now_ns: Callable[[], int]) -> None:
    """One outcome; one with a problem changes nothing but the list of problems.

    Raises:
        ValueError: agreement without both entries, or on different bytes.
    """
    if outcome.problem is not None:
        _put_problem(db, outcome.problem, now_ns())
        return
    _put_outcome(db, outcome, now_ns)
    db.execute("DELETE FROM problem WHERE path = ?", (outcome.decision.path,))


def _put_outcome(db: Connection, outcome: Outcome, now_ns: Callable[[], int]) -> None:
    decision = outcome.decision
    path = decision.path
    match decision.verb:
        case Verb.UPLOAD | Verb.DOWNLOAD | Verb.ADOPT:
            _agree(db, outcome)
        case Verb.FORGET:
            db.execute("DELETE FROM base WHERE path = ?", (path,))
        case Verb.DELETE_LOCAL | Verb.DELETE_REMOTE:
            db.execute("DELETE FROM base WHERE path = ?", (path,))
            db.execute("DELETE FROM local_file WHERE path = ?", (path,))
        case Verb.HOLD:
            if (decision.local is None) == (decision.remote is None):
                raise ValueError(f"{path}: held, but not gone on exactly one side")
            side = "local" if decision.local is None else "remote"
            db.execute("UPDATE base SET held = ? WHERE path = ?", (side, path))
        case Verb.CONFLICT if outcome.conflict_copy is not None:
            _keep_both(db, outcome, now_ns())
            if outcome.local is not None and outcome.remote is not None:
                _agree(db, outcome)
        case Verb.NOTHING if decision.local is not None and decision.remote is not None:
            db.execute("UPDATE base SET held = '' WHERE path = ?", (path,))
        case _:  # reported, or a conflict left as it is: nothing is agreed
            pass


def _agree(db: Connection, outcome: Outcome) -> None:
    path, local, remote = outcome.decision.path, outcome.local, outcome.remote
    if local is None or remote is None or local.etag is None:
        raise ValueError(f"{path}: agreement needs both entries, and the local tag")
    if local.digest and remote.digest and local.digest != remote.digest:
        raise ValueError(f"{path}: no agreement, the two sides hold different bytes")
    db.execute(
        AGREE,
        (
            path,
            local.size,
            local.etag,
            remote.etag,
            remote.digest or local.digest,
            remote.container.level.value,
            remote.container.id,
            remote.file_id,
            remote.version,
        ),
    )
    hashed = hash_row(local, outcome.hashed_at_ns)
    if db.execute(REMEMBER, hashed).rowcount == 0:
        db.execute(PUT_SCANNED, stamp_row(local))
        db.execute(REMEMBER, hashed)


def _keep_both(db: Connection, outcome: Outcome, at_ns: int) -> None:
    local, remote = outcome.decision.local, outcome.decision.remote
    db.execute(
        "INSERT OR IGNORE INTO conflict (path, copy_path, at_ns, local_digest, remote_digest)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            outcome.decision.path,
            outcome.conflict_copy,
            at_ns,
            local.digest if local else None,
            remote.digest if remote else None,
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
