"""The audit log: a line for each file that a run did something about, for who must prove it.

Its one rule: a line is written after what it says has happened, and is on disk before that is
recorded. A kill costs a line twice, never one that is missing. Lines are only ever added.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from fwsync.errors import LocalError, UsageError
from fwsync.model import LocalEntry, Outcome, RemoteEntry, Verb
from fwsync.packing import shared_folder
from fwsync.state_rows import shown_text

#: In the order of the columns.
COLUMNS = (
    "time", "began", "action", "result", "source", "destination", "size", "xxh3", "sha384",
    "server_hash", "route", "attempts", "container", "container_id", "file_id", "version",
    "reason", "message",
)  # fmt: skip

#: What a name ends in, and whether its lines are JSON.
_FORMS = {".csv": False, ".jsonl": True, ".ndjson": True}

#: Decisions that do nothing to a file, and are no news to anybody.
_QUIET = frozenset({Verb.NOTHING, Verb.FORGET})


class AuditLog:
    """A file that lines are added to. Readable by its owner only, where we make it.

    Args:
        file: ends in ``.csv`` or ``.jsonl``.
        target: where the tree belongs, put before each path on the server: ``lab/aging``; may be
            empty.

    Raises:
        UsageError: the name says neither of the two forms.
        LocalError: it cannot be opened for writing.
    """

    def __init__(self, file: Path, target: str) -> None:
        self._file = file
        self._target = target
        self._as_json = is_json(file)
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            file_fd = os.open(self._file, flags, 0o600)
        except OSError as error:
            raise self._failed(error) from None
        try:
            if not self._as_json and os.fstat(file_fd).st_size == 0:
                os.write(file_fd, _row(COLUMNS))
        except OSError as error:
            os.close(file_fd)
            raise self._failed(error) from None
        return file_fd

    def write(self, outcomes: Iterable[Outcome], now_ns: int) -> None:
        """Add a line for each; blocks, for a thread.

        Args:
            outcomes: that have happened.
            now_ns: by this machine's wall clock.

        Raises:
            LocalError: the disk did not take them.
        """
        lines = [self._line(one, now_ns) for one in outcomes if one.decision.verb not in _QUIET]
        try:
            self._reopen_if_moved()
            left = memoryview(b"".join(lines))
            while left:
                left = left[os.write(self._fd, left) :]
            if lines:
                os.fdatasync(self._fd)
        except OSError as error:
            raise self._failed(error) from None

    def _reopen_if_moved(self) -> None:
        """A log that was rotated away is not followed: a new one is begun."""
        try:
            there = self._file.stat()
        except FileNotFoundError:
            there = None
        here = os.fstat(self._fd)
        if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            moved_fd, self._fd = self._fd, self._open()
            os.close(moved_fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _line(self, outcome: Outcome, now_ns: int) -> bytes:
        told = self._told(outcome, now_ns)
        if self._as_json:
            return json.dumps(told, ensure_ascii=True).encode() + b"\n"
        return _row(told[name] for name in COLUMNS)

    def _told(self, outcome: Outcome, now_ns: int) -> dict[str, object]:
        decision = outcome.decision
        local = outcome.local or decision.local
        remote = outcome.remote or decision.remote
        here = shown_text(_source(local)) if local else ""
        path = shown_text(decision.path)
        if self._target:
            path = f"{self._target}/{path}"
        if outcome.problem is not None and decision.verb is Verb.REPORT and remote is None:
            # Nothing was decided about it: it went nowhere, and nobody says where it should.
            path = "" if local else path
        is_fetched = decision.verb is Verb.DOWNLOAD
        if is_fetched:
            here = here or shown_text(decision.path)
        return {
            "time": _moment(now_ns),
            "began": _moment(outcome.began_ns or now_ns),
            "action": decision.verb.value,
            "result": _result(outcome),
            "source": path if is_fetched else here,
            "destination": here if is_fetched else path,
            "size": _size(local, outcome.remote if local else remote),
            "xxh3": local.etag if local else None,
            "sha384": (local.digest if local else None) or (remote.digest if remote else None),
            "server_hash": remote.digest if remote else None,
            "route": outcome.route,
            "attempts": outcome.tries,
            "container": remote.container.level.value if remote else "",
            "container_id": remote.container.id if remote else "",
            "file_id": remote.file_id if remote else "",
            "version": remote.version if remote else None,
            "reason": shown_text("; ".join(filter(None, (decision.reason, decision.rule)))),
            "message": shown_text(outcome.problem.message) if outcome.problem else "",
        }

    def _failed(self, error: OSError) -> LocalError:
        return LocalError(
            f"{self._file}: the audit log cannot be written ({error.strerror})",
            hint="name another file by --audit-log, or make room; nothing more is done without it",
        )


def is_json(file: Path) -> bool:
    """Which of the two forms a name stands for.

    Raises:
        UsageError: neither.
    """
    known = _FORMS.get(file.suffix.lower())
    if known is None:
        raise UsageError(
            f"{file}: an audit log is a .csv or a .jsonl file", hint="give it one of these endings"
        )
    return known


def _result(outcome: Outcome) -> str:
    if outcome.problem is not None:
        return "failed"
    return "left" if outcome.decision.verb in (Verb.REPORT, Verb.HOLD) else "done"


def _size(local: LocalEntry | None, remote: RemoteEntry | None) -> int | None:
    """Bytes; of a pack, those of the zip that is there, which may be smaller than ours."""
    if remote is not None and (local is None or local.pack is not None):
        return remote.size
    return local.size if local is not None else None


def _source(local: LocalEntry) -> str:
    """Where the bytes are here; of a pack, the folder that its members share."""
    return local.on_disk if local.pack is None else shared_folder(local) or "."


def _moment(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(values: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if one is None else one for one in values])
    return text.getvalue().encode()
