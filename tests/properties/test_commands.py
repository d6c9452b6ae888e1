"""P5 by the command line: what ``plan`` says is what ``sync`` does, and looking leaves no trace.

To the byte: the state file, the root, the home and the server are after ``plan`` what they were,
and a run that has nothing to do changes nothing but what the state says of runs.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.golden.sides import Local, Server, Words
from tests.house.house import Desk, Done, Ground, grounded
from tests.properties.profiles import bounded

FOLDERS = ("s/e/a", "s/e/b", "r/f/a")
NAMES = ("x", "y", "z")
_NUMBERS = count(1)

#: What happens to a file, here or there.
HERE = ("", "", "edit", "same", "delete", "touch", "rename", "move")
THERE = ("", "", "edit", "same", "delete", "again", "rename")
#: What happens to a folder, on the one side where it does.
TO_FOLDERS = ("", "", "", "here", "there")
OPTIONS = (
    ("--delete",),
    ("--delete", "--max-delete", "1"),
    ("--delete", "--conflict", "local"),
    ("--delete-up", "--conflict", "remote"),
    ("--delete-down", "--conflict", "skip"),
    (),
)

#: What the state says of runs, and not of files: a run that does nothing is one, too.
OF_RUNS = ("run", "setting")


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a file, on either side."""

    path: str
    here: str
    there: str


@st.composite
def cases(draw: st.DrawFn) -> list[Change]:
    """Something for each file, and then for each folder."""
    files = [
        Change(f"{folder}/{name}", draw(st.sampled_from(HERE)), draw(st.sampled_from(THERE)))
        for folder in FOLDERS
        for name in NAMES
    ]
    news = [("", ""), ("new", ""), ("", "new"), ("new", "new"), ("same", "same")]
    new = [Change(f"{folder}/n", *draw(st.sampled_from(news))) for folder in FOLDERS]
    moved = [(folder, draw(st.sampled_from(TO_FOLDERS))) for folder in FOLDERS]
    whole = {"here": ("folder", ""), "there": ("", "folder"), "": ("", "")}
    return [*files, *new, *(Change(folder, *whole[where]) for folder, where in moved)]


@dataclass(frozen=True, slots=True)
class Place:
    """A project, a root, and where the commands are typed."""

    desk: Desk
    local: Local
    server: Server
    remote: str

    def run(self, *words: str) -> Done:
        """One command for both sides."""
        return self.desk.run(*words, self.local.root, self.remote, "--json")

    def begin(self) -> None:
        """Both sides agree, since a day."""
        for folder in FOLDERS:
            for name in NAMES:
                self.local.write(f"{folder}/{name}", f"{folder[0]}{folder[-1]}{name}")
        self.local.grow_old()
        done = self.run("sync")

        assert 0 == done.code, done

    def happens(self, changes: Sequence[Change]) -> None:
        for change in changes:
            _here(self.local, change)
            _there(self.server, change)

    def traces(self) -> object:
        """Every byte and time that a run which only looks must leave as it is."""
        here = [_files(self.local.root), _files(self.desk.home)]
        return here, self.server.shown(), self.server.versions()

    def trees(self) -> object:
        """What users have on both sides."""
        mine = {p: c for p, c in _files(self.local.root).items() if not p.startswith(".fwsync")}
        return mine, self.server.shown(), self.server.versions()

    def remembered(self) -> dict[str, list[tuple[object, ...]]]:
        """What the state says of files."""
        with closing(sqlite3.connect(self.local.root / ".fwsync" / "state.db")) as db:
            named = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            return {name: rows_of(db, name) for (name,) in named if name not in OF_RUNS}


def rows_of(db: sqlite3.Connection, name: str) -> list[tuple[object, ...]]:
    """All rows of a table, without when a run has seen them last."""
    columns = [str(row[1]) for row in db.execute(f"PRAGMA table_info({name})")]
    kept = ", ".join(one for one in columns if one != "last_seen_ns")
    return sorted(db.execute(f"SELECT {kept} FROM {name}"), key=repr)


def _files(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Contents, times and inodes; folders have no content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[path.relative_to(folder).as_posix()] = (content, seen.st_mtime_ns, seen.st_ino)
    return found


def _here(local: Local, change: Change) -> None:
    path, token = change.path, change.path.replace("/", "-")
    match change.here:
        case "edit" | "new":
            local.write(path, f"mine-{token}")
        case "same":
            local.write(path, f"same-{token}")
        case "delete":
            local.delete(path)
        case "touch":
            local.touch(path, "+5")
        case "rename":
            local.rename(path, f"{path}.new")
        case "move":
            local.rename(path, f"q/e/{token}")
        case "folder" if local.at(path).exists():
            local.rename(path, f"{path}new")


def _there(server: Server, change: Change) -> None:
    path, token = change.path, change.path.replace("/", "-")
    match change.there:
        case "edit" | "new":
            server.write(path, f"theirs-{token}")
        case "same":
            server.write(path, f"same-{token}")
        case "delete":
            server.delete(path)
        case "again":
            server.again(path)
        case "rename":
            server.rename_file(path, f"{path.rpartition('/')[2]}.now")
        case "folder":
            server.relabel(path, f"{path.rpartition('/')[2]}now")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Path]]:
    data = tmp_path_factory.mktemp("sandbox")
    with grounded(data) as made:
        yield made, data


def placed(ground: tuple[Ground, Path], folder: Path) -> Place:
    """A project of its own for an example."""
    made, data = ground
    number = next(_NUMBERS)
    project, words, root = f"p{number}", Words(), folder / str(number) / "root"
    made.project(project)
    root.mkdir(parents=True)
    desk = Desk(folder / str(number) / "home", made.key())
    local, server = Local(root, words), Server(made, data, project, words)
    return Place(desk, local, server, f"lab/{project}")


Steps = Counter[tuple[str, str]]


def steps(done: Done, *events: str) -> Steps:
    """What a command says of files: with them, or with those that wait."""
    found = [one for one in done.lines if one["event"] in events]
    steps = Counter((str(one["verb"]), str(one["path"])) for one in found)
    for verb, path in [*steps]:
        if verb == "conflict":  # the server's version comes down with it
            steps.pop(("download", path), None)
    return steps


def differing(planned: Steps, done: Steps) -> list[tuple[str, str]]:
    """What was not done as it was planned.

    What is gone here goes along with a folder that is renamed on the server, and is deleted where
    it is then.
    """
    gone = {path.rpartition("/")[2] for verb, path in planned if verb in ("hold", "delete-remote")}
    return [
        (verb, path)
        for verb, path in ((planned - done) + (done - planned))
        if verb not in ("rename-remote", "delete-remote") or path.rpartition("/")[2] not in gone
    ]


#: An example takes seconds, and to make one smaller would take minutes.
_AS_DRAWN = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(bounded(5), phases=_AS_DRAWN)
@given(changes=cases(), options=st.sampled_from(OPTIONS))
def test_what_the_command_plans_is_what_it_does(
    ground: tuple[Ground, Path],
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[Change],
    options: tuple[str, ...],
) -> None:
    place = placed(ground, tmp_path_factory.mktemp("here"))
    place.begin()
    place.happens(changes)
    before = place.traces()

    planned = place.run("plan", "sync", *options)
    after = place.traces()
    again = place.run("plan", "sync", *options)
    ran = place.run("sync", *options)

    assert before == after, planned
    told = steps(planned, "decision")
    assert told == steps(again, "decision")
    assert [] == differing(told, steps(ran, "file", "waiting")), (planned, ran)
    assert planned.summary["waiting"] == ran.summary["waiting"]
    assert ran.summary["plan_id"] in ("", planned.summary["plan_id"])
    assert [] == [one for one in ran.lines if one["event"] == "file" and not one["ok"]]

    for _ in range(2):  # P1: three runs, and nothing is left to do
        ran = place.run("sync", *options)
    trees, remembered = place.trees(), place.remembered()
    last = place.run("sync", *options)

    assert steps(ran, "file", "waiting") == steps(last, "file", "waiting"), (ran, last)
    assert {"report"} >= {verb for verb, _ in steps(last, "file")}, last
    assert 0 == last.summary["requests"] - ran.summary["requests"]
    assert (trees, remembered) == (place.trees(), place.remembered()), last
