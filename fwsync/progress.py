"""What a person or a script sees while a run goes on: the only user of tqdm.

One rule: showing progress never ends a run. A terminal that went away, a closed pipe or
a full log disk makes the display fall silent, and the transfers go on.
"""

from __future__ import annotations

import json as json_module
import math
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from fwsync.model import Outcome, Problem, RelPath, Verb

SAMPLE_S = 0.2  # between two updates of a bar: 5 times a second, not once a chunk
LOG_EVERY_S = 10.0  # between two lines where there is no terminal
#: Version of the JSON lines. It grows when a field changes its meaning, not for new ones.
JSON_VERSION = 1

#: How JSON in ASCII writes half a character, and a whole one of two halves.
_SURROGATE = "\\ud"

Clock = Callable[[], float]


class Progress(Protocol):
    """Told how a run goes; called from the event loop's thread, often."""

    def start(self, total_files: int, total_bytes: int) -> None:
        """A plan begins to be carried out; a later call begins the next one."""
        ...

    def advanced(self, path: RelPath, n_bytes: int) -> None:
        """Bytes went over the wire; negative where a transfer starts over."""
        ...

    def finished(self, outcome: Outcome) -> None:
        """One decision is done, or has failed."""
        ...

    def tick(self) -> None:
        """Time went by, and perhaps nothing else did."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...

    def close(self) -> None:
        """Nothing more comes. May be called twice."""
        ...


# --------------------------------------------------------------------------- text for people


def printable(text: str) -> str:
    r"""The text with everything a terminal could act on, or hide, written as an escape.

    A file's name may hold line feeds, escape sequences or marks that turn the direction of
    writing; an error message shows it, and must not obey it.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size_text(n_bytes: float) -> str:
    """Bytes for people, in decimal units: ``0 B``, ``1.2 GB``."""
    if abs(n_bytes) < 1000:
        return f"{n_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        n_bytes /= 1000
        if abs(n_bytes) < 999.95 or unit == "PB":
            break
    return f"{n_bytes:.1f} {unit}"


def plural(number: int, noun: str) -> str:
    """A number of things: ``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def moment(at_ns: int) -> str:
    """A time for people: of the place where they are, to the second, with its offset."""
    at = datetime.fromtimestamp(at_ns / 1e9, UTC).astimezone()
    return at.isoformat(sep=" ", timespec="seconds")


def moment_utc(at_ns: int) -> str:
    """A time for scripts: ISO 8601, UTC."""
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_text(seconds: float) -> str:
    """Seconds for people: ``7 s``, ``2 min 5 s``, ``3 h 10 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, size, lesser, lesser_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // lesser_size
            return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


# ------------------------------------------------------------------------------- the stream


class SafeStream:
    """A text stream that may break without anyone noticing; for tqdm and for us."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Tells tqdm whether it may draw blocks."""
        return getattr(self._stream, "encoding", None) or "ascii"

    @property
    def broken(self) -> bool:
        """True once nothing more can be shown."""
        return self._stream is None

    def fileno(self) -> int:
        """Lets tqdm measure the terminal."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Is somebody looking?"""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def write(self, text: str) -> int:
        """Write if possible; characters that the stream cannot show are escaped."""
        if self._stream is None:
            return len(text)
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                plain = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
                self._stream.write(plain)
        except (OSError, ValueError):
            self._break()
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        if self._stream is None:
            return
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._break()

    def _break(self) -> None:
        stream, self._stream = self._stream, None
        # What is still in its buffer would fail again when Python ends, and turn the exit
        # code into 120: let it go nowhere instead.
        with suppress(OSError, ValueError):
            if stream is not None and stream.fileno() in (1, 2):
                nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def say(text: str) -> None:
    """A line of a result on stdout; a stream that is closed ends nothing."""
    SafeStream(sys.stdout).write(f"{text}\n")


class JsonLines:
    """Results for scripts: one JSON object a line, each whole, each with its version.

    The command line writes its own events (``summary`` and others) through the same door.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = SafeStream(stream)

    def write(self, event: str, **fields: object) -> None:
        """Write one line. Always valid JSON in ASCII, whatever the names of files hold."""
        line = {"v": JSON_VERSION, "event": event, **fields}
        self._stream.write(_as_json(line) + "\n")
        self._stream.flush()


def problem_fields(problem: Problem) -> dict[str, Any]:
    """What every ``problem`` line has."""
    return {
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
        "retryable": problem.retryable,
    }


def _as_json(line: dict[str, object]) -> str:
    try:
        text = json_module.dumps(line, allow_nan=False)
    except (TypeError, ValueError):  # not everything in it is JSON as it stands
        text = ""
    if text and _SURROGATE not in text:
        return text
    return json_module.dumps(_valid(line), default=str)


def _valid(value: Any) -> Any:
    """The value with texts that any JSON parser takes: no lone surrogates, no NaN."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_valid(str(key)): _valid(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_valid(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --------------------------------------------------------------------------- implementations


class NoProgress:
    """Shows nothing: for the library, `--quiet`, and where there is no stderr."""

    def start(self, total_files: int, total_bytes: int) -> None:
        """Nothing."""

    def advanced(self, path: RelPath, n_bytes: int) -> None:
        """Nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Counting(ABC):
    """Counts, and calls :meth:`_show` now and then; what is common to all displays."""

    every_s = LOG_EVERY_S

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._shown_at = self._began = clock()
        self.total_files = self.total_bytes = 0
        self.files = self.bytes = self.problems = 0

    def start(self, total_files: int, total_bytes: int) -> None:
        """A plan begins."""
        self.total_files, self.total_bytes = total_files, total_bytes
        self.files = self.bytes = self.problems = 0
        self._shown_at = self._began = self._clock()

    def advanced(self, path: RelPath, n_bytes: int) -> None:
        """Bytes went over the wire."""
        self.bytes += n_bytes
        self._perhaps_show()

    def finished(self, outcome: Outcome) -> None:
        """One decision is done; only what moves bytes counts as progress."""
        self.problems += outcome.problem is not None
        if outcome.decision.verb in (Verb.UPLOAD, Verb.DOWNLOAD):
            self.files += 1
            if outcome.problem is None and outcome.local is not None and outcome.local.pack:
                # What a pack is compressed to is known only now.
                self.total_bytes += outcome.moved - outcome.decision.size
            self._perhaps_show()

    def tick(self) -> None:
        """A slow line moves nothing for a while: the clock goes on all the same."""
        self._perhaps_show()

    def _perhaps_show(self) -> None:
        now = self._clock()
        if now - self._shown_at >= self.every_s:
            self._shown_at = now
            self._show()

    @abstractmethod
    def _show(self) -> None: ...

    @property
    def _rest(self) -> str:
        """Files, rates and problems in words, without the bytes."""
        elapsed = max(self._clock() - self._began, 1e-6)
        parts = [f"{self.files}/{self.total_files} files", f"{self.files / elapsed:.0f} files/s"]
        if self.problems:
            parts.append(f"{self.problems} {'problem' if self.problems == 1 else 'problems'}")
        return ", ".join(parts)


class TerminalProgress(_Counting):
    """One bar on a terminal: bytes, files, both rates, time left."""

    every_s = SAMPLE_S

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        # Here and not in start(): importing it reads files, and start is called in the loop.
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own: we sample
        tqdm.set_lock(threading.RLock())  # nor a lock between processes
        self._make_bar = tqdm
        self._stream = SafeStream(stream if stream is not None else sys.stderr)
        self._bar: Any = None

    def start(self, total_files: int, total_bytes: int) -> None:
        """A plan begins: a new bar, below the old one."""
        self.close()
        super().start(total_files, total_bytes)
        if not total_files:
            return  # nothing to draw
        self._bar = self._make_bar(
            total=total_bytes,
            unit="B",
            unit_scale=True,
            file=self._stream,
            mininterval=0,
            miniters=0,
            smoothing=0,  # the mean rate: tqdm's moving one leaves out the time without a byte
            dynamic_ncols=True,
            leave=False,
        )

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Clear the bar, and leave no line of it: the result says what was done."""
        bar, self._bar = self._bar, None
        if bar is not None:
            self._draw(bar)
            bar.close()

    def _show(self) -> None:
        if self._bar is not None:
            self._draw(self._bar)

    def _draw(self, bar: Any) -> None:
        bar.total = self.total_bytes
        bar.set_postfix_str(self._rest, refresh=False)
        bar.update(self.bytes - bar.n)  # with an interval of 0 it draws every time


class LogProgress(_Counting):
    """A line every ten seconds, and one at the end, where nobody watches a terminal."""

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._stream = SafeStream(stream if stream is not None else sys.stderr)
        self._open = False

    def start(self, total_files: int, total_bytes: int) -> None:
        """A plan begins."""
        super().start(total_files, total_bytes)
        self._open = True

    def note(self, text: str) -> None:
        """A line at once."""
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def close(self) -> None:
        """The last line, of a run that was long enough to have had one before."""
        long_enough = self._clock() - self._began >= self.every_s
        if self._open and long_enough and self.total_files:
            self._show()
        self._open = False

    def _show(self) -> None:
        elapsed = max(self._clock() - self._began, 1e-6)
        rate = self.bytes / elapsed
        line = f"{size_text(self.bytes)} of {size_text(self.total_bytes)}, {size_text(rate)}/s"
        left = self.total_bytes - self.bytes
        if left > 0 and rate > 0:
            line += f", {duration_text(left / rate)} left"
        self.note(f"{line}, {self._rest}")


class JsonProgress(_Counting):
    """JSON lines on stdout: ``start``, ``file``, ``progress``, ``note``."""

    def __init__(self, lines: JsonLines | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self.lines = lines or JsonLines(sys.stdout)

    def start(self, total_files: int, total_bytes: int) -> None:
        """A plan begins."""
        super().start(total_files, total_bytes)
        self.lines.write("start", files=total_files, bytes=total_bytes)

    def finished(self, outcome: Outcome) -> None:
        """One decision is done."""
        super().finished(outcome)
        fields: dict[str, object] = {
            "path": outcome.decision.path,
            "verb": outcome.decision.verb.value,
            "size": outcome.decision.size,
            "moved": outcome.moved,
            "ok": outcome.problem is None,
        }
        if outcome.problem is not None:
            fields["problem"] = {
                "message": outcome.problem.message,
                "hint": outcome.problem.hint,
                "retryable": outcome.problem.retryable,
            }
        if outcome.conflict_copy is not None:
            fields["conflict_copy"] = outcome.conflict_copy
        self.lines.write("file", **fields)

    def note(self, text: str) -> None:
        """A ``note`` event."""
        self.lines.write("note", text=text)

    def close(self) -> None:
        """Nothing: the summary is the command line's."""

    def _show(self) -> None:
        self.lines.write(
            "progress",
            files=self.files,
            total_files=self.total_files,
            bytes=self.bytes,
            total_bytes=self.total_bytes,
            problems=self.problems,
        )


def choose_progress(
    json: bool = False, *, quiet: bool = False, stream: TextIO | None = None
) -> Progress:
    """The display that fits: JSON lines, a bar on a terminal, or lines in a log.

    Args:
        json: results go to stdout as JSON lines.
        quiet: nothing but the result is wanted.
        stream: in place of stdout (JSON) or stderr (otherwise).
    """
    if json:
        return JsonProgress(JsonLines(stream if stream is not None else sys.stdout))
    shown = stream if stream is not None else sys.stderr
    if quiet or shown is None:
        return NoProgress()
    if SafeStream(shown).isatty():
        return TerminalProgress(shown)
    return LogProgress(shown)
