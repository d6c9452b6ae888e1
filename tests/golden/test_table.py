"""The whole table of table.txt: every cell, by every mode, policy and with deletions or without.

All cells of a combination are files of one project, and one run of the engine against the
sandbox; what became of each is read from both sides, and not from what the run says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.golden.conftest import Stage
from tests.golden.language import read_table
from tests.golden.runners import InProcess, Ran, Where
from tests.golden.sides import Local, Server, Words
from tests.room.rooms import at_home

TABLE = read_table(Path(__file__).with_name("table.txt"))

COMMANDS = ("push", "pull", "sync")
DELETES = {"push": "--delete-up", "pull": "--delete", "sync": "--delete"}

#: Files in step beside the cells, so that no guard objects to what the cells do.
PADDING = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """What happened to one file on each side."""

    here: str
    there: str

    @property
    def path(self) -> str:
        return f"s/e/a/{self.here}-{self.there}.dcm"

    @property
    def is_new(self) -> bool:
        """True if both sides have never agreed on it."""
        return {self.here, self.there} & {"created", "absent"} != set()

    def word(self, side: str) -> str:
        return f"{self.here}-{self.there}-{side}"


CELLS = [Cell(line.words[0], line.words[1]) for line in TABLE if len(line.words) == 5
         and line.words[0] != "policy"]  # fmt: skip


def verb_of(cell: Cell, command: str, policy: str, *, deletes: bool) -> str:
    """What the table says."""
    column = 2 + COMMANDS.index(command)
    rows = {line.words[:2]: line.words for line in TABLE}
    verb = rows[cell.here, cell.there][column]
    if verb == "conflict":
        return rows["policy", policy][column]
    if not deletes and ("held", verb) in rows:
        return rows["held", verb][2]
    return verb


@dataclass(slots=True)
class Pair:
    """Both sides, with a file for each cell."""

    local: Local
    server: Server
    where: Where

    def agree(self) -> None:
        for number in range(PADDING):
            self.local.write(f"t/e/a/{number}.dcm", f"padding-{number}")
        for cell in CELLS:
            if not cell.is_new:
                self.local.write(cell.path, cell.word("old"))
        self.local.grow_old()

        assert 0 == self.run("sync").exit

    def happen(self) -> None:
        for cell in CELLS:
            self._happen_here(cell)
            self._happen_there(cell)

    def _happen_here(self, cell: Cell) -> None:
        if cell.here in ("changed", "created"):
            alike = cell.there == "alike"
            self.local.write(cell.path, cell.word("theirs" if alike else "mine"))
        elif cell.here in ("deleted", "unknown"):
            if not cell.is_new:
                self.local.delete(cell.path)
            if cell.here == "unknown":
                self.local.symlink(cell.path, "nowhere")

    def _happen_there(self, cell: Cell) -> None:
        if cell.there in ("changed", "created", "alike"):
            self.server.write(cell.path, cell.word("theirs"))
        elif cell.there == "deleted":
            self.server.delete(cell.path)

    def run(self, *words: str) -> Ran:
        return InProcess()(self.where, list(words), watch_opened=False)

    def now(self) -> dict[str, str]:
        """What there is of every cell, here and there, in words."""
        here = dict(_split(line) for line in self.local.shown())
        there = dict(_split(line) for line in self.server.shown())
        trash = dict(_split(line) for line in self.local.in_trash())
        found = {}
        for cell in CELLS:
            copy = cell.path.replace(".dcm", ".copy.dcm")
            found[cell.path] = (
                f"here {_side(here, cell.path)}, there {_side(there, cell.path)}, "
                f"copy {_side(here, copy)}, trash {_side(trash, cell.path)}"
            )
        return found


def _split(line: str) -> tuple[str, str]:
    path, _, what = line.partition(" ")
    return path, what


def _side(found: dict[str, str], path: str) -> str:
    what = found.get(path, "nothing")
    return what if what.startswith("->") or what == "nothing" else what.rpartition("-")[2]


def expected(cell: Cell, verb: str) -> str:
    """What there is of a cell after this verb."""
    old = "nothing" if cell.is_new else "old"
    theirs = "theirs"
    here = {"same": "old", "changed": "mine", "created": "mine", "unknown": "-> nowhere"}.get(
        cell.here, "nothing"
    )
    here = theirs if cell.there == "alike" else here
    there = {"same": "old", "deleted": "nothing", "absent": "nothing"}.get(cell.there, theirs)
    copy = trash = "nothing"
    if verb == "upload":
        there = here
    elif verb == "download":
        here, trash = there, here
    elif verb == "kept-both":
        here, copy = there, here  # the copy is the one name of what was here
    elif verb == "delete-here":
        here, trash = "nothing", old
    elif verb == "delete-there":
        there = "nothing"
    return f"here {here}, there {there}, copy {copy}, trash {trash}"


@pytest.fixture
def pair(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    at_home(tmp_path, monkeypatch)
    project = f"table-{tmp_path.name}-{tmp_path.parent.name}"
    stage.ground.project(project)
    root, words = tmp_path / "root", Words()
    root.mkdir()
    where = Where(root, f"lab/{project}", stage.ground.key(), tmp_path)
    yield Pair(Local(root, words), Server(stage.ground, stage.data, project, words), where)
    stage.ground.ask("PUT", "/sandbox/faults", [])


@pytest.mark.parametrize("deletes", [True, False], ids=["deletes", "no-deletes"])
@pytest.mark.parametrize(
    ("command", "policy"),
    [
        *product(COMMANDS, ("keep-both", "local", "remote", "skip", "fail")),
    ],
)
def test_every_cell_is_as_the_table_says(
    pair: Pair, command: str, policy: str, deletes: bool
) -> None:
    pair.agree()
    pair.happen()
    options = [DELETES[command]] if deletes else []

    first = pair.run(command, "--conflict", policy, *options)
    then = pair.now()
    again = pair.run(command, "--conflict", policy, *options)

    verbs = {cell: verb_of(cell, command, policy, deletes=deletes) for cell in CELLS}
    assert {cell.path: expected(cell, verb) for cell, verb in verbs.items()} == then
    assert then == pair.now()
    for name, meant in (
        ("uploaded", ("upload",)),
        ("downloaded", ("download", "kept-both")),
        ("deleted", ("delete-here", "delete-there")),
        ("held", ("held",)),
        ("conflicts", ("kept-both", "reported")),
        ("adopted", ("adopt",)),
    ):
        assert sum(verb in meant for verb in verbs.values()) == first.counts[name], name
    reported = sorted(
        cell.path for cell, verb in verbs.items() if verb in ("kept-both", "reported")
    )
    assert reported == first.conflicts
    assert sorted(cell.path for cell, verb in verbs.items() if verb == "left") == first.left
    assert not any(again.counts[name] for name in ("uploaded", "downloaded", "deleted", "bytes"))


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_becomes_of_anything_where_the_server_could_not_be_listed(
    pair: Pair, command: str
) -> None:
    pair.agree()
    pair.happen()
    before = pair.now()
    rule = {"match": {"method": "GET", "path": "/files"}, "action": {"status": 403}}
    pair.server.ground.ask("PUT", "/sandbox/faults", [rule])

    ran = pair.run(command, DELETES[command])

    assert ran.exit
    assert before == pair.now()
