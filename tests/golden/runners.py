"""Two ways to run a golden scenario: in this process, and as a command in a process of its own.

Both are told the same words and give back the same values, so a file cannot mean one thing to
the one and another to the other.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fwsync import applying, resolving, restoring, runs, show
from fwsync.errors import FwsyncError
from fwsync.model import Mode, Report
from fwsync.progress import NoProgress
from tests.house.house import Desk
from tests.room.rooms import opened_names

#: What a summary counts, all of it nothing where both sides are in step.
COUNTS = (
    "uploaded", "downloaded", "deleted", "renamed", "adopted", "held", "conflicts", "problems",
    "deferred", "left", "bytes",
)  # fmt: skip

#: What ``fwsync conflicts`` does with a conflict.
KEEPS = ("keep-local", "keep-remote", "keep-both")

MODES = {"sync": Mode.BOTH, "push": Mode.UP, "pull": Mode.DOWN}

OPENING = Path(__file__).with_name("opening.py")


@dataclass(slots=True)
class Ran:
    """What a run said of itself."""

    exit: int
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  #: paths that were left alone, or that differ
    notes: list[str] = field(default_factory=list)
    halted: str = ""
    plan_id: str = ""
    guards: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)  #: names of files that were opened
    whole: str = ""  #: for whoever reads a failure


@dataclass(frozen=True, slots=True)
class Where:
    """What a run works on."""

    root: Path
    project: str  #: group/project
    key: str
    scratch: Path  #: for files of the test's own
    as_user: bool = False  #: file modes bind the run, even where the tests run as root


class Runner(Protocol):
    """Runs the words of a ``run`` block."""

    name: str

    def __call__(self, where: Where, words: Sequence[str], *, watch_opened: bool) -> Ran: ...


# ------------------------------------------------------------------------------ in this process


class _Notes(NoProgress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


#: Options that are spelled otherwise than the setting that they set.
_SETTINGS = {"pack_folder": "pack_folders"}


def flags_of(words: Sequence[str]) -> dict[str, object]:
    """Options as a command takes them, as settings."""
    found: dict[str, object] = {}
    at = 0
    while at < len(words):
        name = words[at].removeprefix("--").replace("-", "_")
        name, at = _SETTINGS.get(name, name), at + 1
        if at == len(words) or words[at].startswith("--"):
            found[name] = True
            continue
        value, at = words[at], at + 1
        before = found.get(name)
        found[name] = value if before is None else [*_listed(before), value]
    for name in ("exclude", "include", "pack"):
        if name in found:
            found[name] = _listed(found[name])
    if found.pop("delete", False):
        found |= {"delete_up": True, "delete_down": True}
    return found


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


class InProcess:
    """The engine, put together as every command puts it together."""

    name = "engine"

    def __call__(self, where: Where, words: Sequence[str], *, watch_opened: bool) -> Ran:
        notes = _Notes()
        command, *options = words
        with ExitStack() as during:
            opened = during.enter_context(opened_names()) if watch_opened else []
            if where.as_user:
                during.enter_context(bound_by_modes())
            ran = self._tried(lambda: self._run(where, command, options, notes))
        ran.notes += notes.told
        ran.opened = list(opened)
        return ran

    def _tried(self, work: Callable[[], Ran]) -> Ran:
        try:
            return work()
        except FwsyncError as error:
            return Ran(int(error.exit_code), notes=[error.message], whole=repr(error))

    def _run(self, where: Where, command: str, options: list[str], notes: _Notes) -> Ran:
        file = where.scratch / "key"
        file.write_text(where.key)
        file.chmod(0o600)
        root, project = where.root, where.project
        if command == "restore":
            done = restoring.restore(root, restoring.Wanted(tuple(options)))
            return Ran(int(any(one.problem for one in done)))
        if command in KEEPS:
            paths = [str(root / one) for one in options]
            settled = resolving.resolve(resolving.Wanted(paths, command), {}, None)
            return Ran(int(any(one.problem for one in settled)))
        flags = {"api_key_file": file, **flags_of(options)}
        saved = where.scratch / "plan.json"
        if command == "plan":
            runs.run_plan(Mode.BOTH, root, project, flags, progress=notes, out=saved)
            return Ran(0)
        if command == "apply":
            return told(applying.run(saved, flags, progress=notes), command)
        if command == "verify":
            return told(runs.run_verify(root, project, flags, progress=notes), "verify")
        return told(runs.run(MODES[command], root, project, flags, progress=notes), command)


def told(report: Report, command: str) -> Ran:
    """A report in the form of what the command writes."""
    code = report.exit_code
    summary = show.summary(report, code)
    return Ran(
        int(code),
        {name: int(str(summary[name])) for name in COUNTS},
        sorted(one.path for one in report.problem_list),
        sorted(report.conflict_list),
        sorted(one.path for one in report.difference_list),
        list(report.notes),
        report.halted,
        report.plan_id,
        list(report.guards),
        whole=f"{command}: {report}",
    )


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_VERSION_3 = 0x20080522  # <linux/capability.h>
_FILES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: likewise


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """This thread, and what it starts, may do with files what anyone may. The sandbox's may all."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    assert 0 == libc.capget(ctypes.byref(header), data)
    effective = data[0].effective
    data[0].effective = effective & ~_FILES
    assert 0 == libc.capset(ctypes.byref(header), data)
    try:
        yield
    finally:
        data[0].effective = effective
        assert 0 == libc.capset(ctypes.byref(header), data)


# ------------------------------------------------------------------------------- as a command


class AsCommand:
    """``python -m fwsync`` in a process of its own."""

    name = "command"

    def __call__(self, where: Where, words: Sequence[str], *, watch_opened: bool) -> Ran:
        home = where.scratch / "home"
        # As in this process: known roots are remembered there.
        desk = Desk(home, where.key, {"XDG_STATE_HOME": str(home / "state")})
        command, options = words[0], list(words[1:])
        log = where.scratch / "opened"
        how: dict[str, Any] = {"as_user": where.as_user}
        if watch_opened:
            how["program"] = (str(OPENING), str(log))
        if command == "restore" or command in KEEPS:
            typed = ["restore", str(where.root)] if command == "restore" else ["conflicts", command]
            typed += options if command == "restore" else [f"{where.root}/{one}" for one in options]
            done = desk.run(*typed, "--json")
            return Ran(done.code, whole=str(done))
        target = [str(where.root), where.project]
        saved = where.scratch / "plan.json"
        if command == "plan":
            done = desk.run("plan", "sync", *target, *options, "--out", saved, "--json")
            return Ran(done.code, whole=str(done))
        if command == "apply":
            target = [str(saved)]
        if command == "pull":
            target.reverse()
        done = desk.run(command, *target, *options, "--json", **how)
        lines = done.lines
        summary: Mapping[str, Any] = next((one for one in lines if one["event"] == "summary"), {})
        assert "Traceback" not in done.err, done

        return Ran(
            done.code,
            {name: int(summary[name]) for name in COUNTS if name in summary},
            _paths(lines, "problem"),
            _paths(lines, "conflict"),
            _paths(lines, "left-alone"),
            [str(one["text"]) for one in lines if one["event"] == "note"],
            str(summary.get("halted", "")),
            str(summary.get("plan_id", "")),
            list(summary.get("guards", [])),
            opened=json.loads(log.read_text()) if watch_opened else [],
            whole=f"exit {done.code}\n{done.out}\n{done.err}",
        )


def _paths(lines: Sequence[Mapping[str, Any]], event: str) -> list[str]:
    return sorted(str(one["path"]) for one in lines if one["event"] == event)


RUNNERS: Mapping[str, Runner] = {"engine": InProcess(), "command": AsCommand()}
