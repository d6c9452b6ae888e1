"""Progress: sampled, readable, harmless to terminals, and never the end of a run."""

import fcntl
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Decision, Outcome, Problem, RelPath, Verb
from fwsync.progress import (
    JsonLines,
    JsonProgress,
    LogProgress,
    NoProgress,
    Progress,
    SafeStream,
    TerminalProgress,
    choose_progress,
    duration_text,
    printable,
    size_text,
)

PATH = RelPath("sub/a.dcm")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """What a pipe is whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def done(path: str = PATH, message: str = "", moved: int = 0) -> Outcome:
    problem = Problem(path, message, hint="try again") if message else None
    return Outcome(Decision(Verb.UPLOAD, RelPath(path)), problem=problem, moved=moved)


def run(progress: Progress, clock: Clock, seconds: int = 60) -> None:
    progress.start(seconds, seconds * 1_000_000)
    for second in range(seconds):
        for _ in range(100):
            progress.advanced(PATH, 10_000)
            clock.now += 0.01
        progress.finished(done(message="refused" if second == 5 else ""))
    progress.close()
    progress.close()


# ------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_200_000_000, "1.2 GB"),
        (999_999, "1.0 MB"),
        (5e18, "5000.0 PB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_sizes_are_decimal_and_short(n_bytes: float, text: str) -> None:
    assert text == size_text(n_bytes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (11400, "3 h 10 min"),
        (190000, "2 d 4 h"),
        (-3, "0 s"),
    ],
)
def test_durations_have_two_parts_at_most(seconds: float, text: str) -> None:
    assert text == duration_text(seconds)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 大 scan 1.dcm", "Größe 大 scan 1.dcm"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("abc\u202ecod.exe", "abc\\u202ecod.exe"),
        ("caf\udce9", "caf\\udce9"),
        ("\u2028\U000e0001", "\\u2028\\U000e0001"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_nothing_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert shown == printable(text)


@given(st.text())
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text).splitlines()) <= 1
    assert printable(printable(text)) == printable(text)


# --------------------------------------------------------------------------------- displays


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    run(LogProgress(stream, clock), clock)
    lines = stream.getvalue().splitlines()

    assert 6 == len(lines)
    assert re.fullmatch(
        r"10\.0 MB of 60\.0 MB, 1\.0 MB/s, 50 s left, (9|10)/60 files, 1 files/s, 1 problem",
        lines[0],
    )
    assert "60.0 MB of 60.0 MB, 1.0 MB/s, 60/60 files, 1 files/s, 1 problem" == lines[-1]


def test_a_run_with_nothing_to_do_logs_nothing() -> None:
    stream = io.StringIO()
    progress = LogProgress(stream)
    progress.start(0, 0)
    progress.close()

    assert "" == stream.getvalue()


def test_a_terminal_is_drawn_at_most_five_times_a_second() -> None:
    stream, clock = Terminal(), Clock()
    progress = TerminalProgress(stream, clock)
    run(progress, clock, seconds=10)
    drawn = stream.getvalue().count("\r")

    assert 10 <= drawn <= 5 * 10 + 5
    assert "10/10 files" in stream.getvalue()
    assert "1 problem" in stream.getvalue()
    assert "10.0M/10.0M" in stream.getvalue()


@pytest.mark.parametrize("make", [TerminalProgress, LogProgress])
def test_the_clock_goes_on_where_nothing_moves(
    make: Callable[[Terminal, Clock], TerminalProgress | LogProgress],
) -> None:
    stream, clock = Terminal(), Clock()
    progress = make(stream, clock)
    progress.start(2, 100)
    progress.finished(done())
    for _ in range(3):
        clock.now += 20
        progress.tick()
        progress.tick()
    drawn = stream.getvalue().count("1/2 files")
    progress.close()

    assert 3 == drawn


def test_a_note_stands_on_a_line_of_its_own() -> None:
    stream, clock = Terminal(), Clock()
    progress = TerminalProgress(stream, clock)
    progress.note("before")
    progress.start(1, 10)
    progress.note("bad name: \x1b[2J")
    progress.close()

    assert stream.getvalue().startswith("before\n")
    assert "\rbad name: \\x1b[2J\n" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


@pytest.mark.parametrize("columns", [0, 80])
def test_nothing_is_left_of_a_bar_on_a_real_terminal(columns: int) -> None:
    """Also where the terminal does not know its width, as in a recording."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        progress = TerminalProgress(stream)
        progress.start(1, 10)
        progress.advanced(PATH, 10)
        progress.close()
        stream.write("push: done\n")
        stream.flush()
        shown = ""
        while "done\r\n" not in shown:
            shown += os.read(ours, 10_000).decode()
    os.close(ours)

    assert 1 == shown.count("\n")
    assert shown.endswith("\rpush: done\r\n")


def test_progress_may_go_backwards() -> None:
    for make in (TerminalProgress, LogProgress):
        stream, clock = Terminal(), Clock()
        progress: TerminalProgress | LogProgress = make(stream, clock)
        progress.start(1, 100)
        for step in (60, -60, 100):
            clock.now += 20
            progress.advanced(PATH, step)
        progress.close()

        assert 100 == progress.bytes
        assert "100" in stream.getvalue()


def test_json_lines_tell_each_file() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = JsonProgress(JsonLines(stream), clock)
    progress.start(2, 30)
    progress.finished(done("a\nb", moved=5))
    clock.now += 20
    progress.finished(done("caf\u00e9", message="refused (403)"))
    progress.note("slow \udce9")
    progress.lines.write("summary", at=Path("/x"), rate=math.inf, uploaded=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert stream.getvalue().isascii()
    assert {1} == {line["v"] for line in lines}
    assert ["start", "file", "progress", "file", "note", "summary"] == [
        line["event"] for line in lines
    ]
    assert ("a\nb", "upload", 5, True) == tuple(
        lines[1][field] for field in ("path", "verb", "moved", "ok")
    )
    assert {"message": "refused (403)", "hint": "try again", "retryable": False} == lines[3][
        "problem"
    ]
    assert lines[4]["text"] == "slow \\udce9"
    assert (lines[5]["at"], lines[5]["rate"]) == ("/x", None)


@given(st.dictionaries(st.text(), st.text() | st.floats() | st.integers() | st.none()))
def test_a_json_line_is_always_valid(fields: dict[str, object]) -> None:
    stream = io.StringIO()
    fields.pop("event", None)
    JsonLines(stream).write("x", **fields)

    [line] = stream.getvalue().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)["event"] == "x"
    assert json.loads(line) == json.loads(line.encode())


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: LogProgress(Broken(), clock),
        lambda clock: TerminalProgress(Broken(), clock),
        lambda clock: JsonProgress(JsonLines(Broken()), clock),
        lambda clock: JsonProgress(JsonLines(None), clock),
        lambda _: NoProgress(),
    ],
)
def test_a_broken_stream_ends_nothing(make: Callable[[Clock], Progress]) -> None:
    clock = Clock()
    progress = make(clock)
    run(progress, clock)
    progress.note("still here")


def test_a_closed_stream_ends_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    stream.close()
    run(LogProgress(stream, clock), clock)
    assert not SafeStream(stream).isatty()
    run(choose_progress(stream=stream), clock)


def test_a_stream_of_another_encoding_shows_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    LogProgress(stream).note("Größe")
    stream.flush()

    assert b"Gr\\xf6\\xdfe\n" == raw.getvalue()


def test_the_display_fits_the_place() -> None:
    assert isinstance(choose_progress(json=True, stream=io.StringIO()), JsonProgress)
    assert isinstance(choose_progress(stream=io.StringIO()), LogProgress)
    assert isinstance(choose_progress(stream=Terminal()), TerminalProgress)
    assert isinstance(choose_progress(quiet=True, stream=Terminal()), NoProgress)


def test_without_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    assert isinstance(choose_progress(), NoProgress)


def test_a_reader_that_goes_away_does_not_change_the_exit_code() -> None:
    script = (
        "from fwsync.progress import choose_progress\n"
        "p = choose_progress(json=True)\n"
        "p.start(1, 1)\n"
        "for _ in range(20000): p.note('x' * 100)\n"
        "print('more')\n"
        "raise SystemExit(7)\n"
    )
    reading, writing = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    _, errors = child.communicate(timeout=30)

    assert (7, b"") == (child.returncode, errors)


@pytest.fixture
def displays(clock: Clock) -> list[Progress]:
    """Made as the command line makes them: before there is a loop."""
    return [LogProgress(None, clock), TerminalProgress(None, clock), JsonProgress(None, clock)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_the_event_loop_may_tell_it(displays: list[Progress], clock: Clock) -> None:
    for progress in displays:
        run(progress, clock, seconds=12)
        progress.note("told")
