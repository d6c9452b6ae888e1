"""A state that an older fwsync has left is brought up to date, and gone on with (F93)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fwsync.held_state import copy_state
from fwsync.model import Mode
from fwsync.state import State, StateThread, open_state
from fwsync.threads import in_thread
from tests.room.rooms import Shelf, did, grown, plant, workbench

STATES = Path(__file__).parents[1] / "fixtures" / "states"
#: What the fixtures were made of; ``s/e/b/z.bin`` was deleted here after it was sent.
TREE = {"s/e/a/x.dcm": b"x", "s/e/a/y.dcm": b"yy", "top.json": b"{}", "a_problem": b"1"}
DELETED = {"s/e/b/z.bin": b"zzz"}


@pytest.fixture(params=sorted(STATES.glob("*.sql")), ids=lambda file: file.stem)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The state of a bench."""
    file = tmp_path / "bench.db"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(request.param.read_text(encoding="utf-8"))
    plant(tmp_path / "root", TREE)
    return file


async def test_f93_what_was_agreed_on_is_not_moved_again_and_what_was_held_stays_so(
    older: Path,
) -> None:
    shelf = Shelf(TREE | DELETED)

    async with workbench(older.parent, lambda: shelf) as bench:
        problems = [one.path for one in await bench.state.call(State.problems)]
        reports = [
            did(await bench.cycle(Mode.BOTH, delete_up=False, delete_down=False)) for _ in range(2)
        ]

    assert ["a/b/c/d/e/f"] == problems
    assert [{"adopted": 4}, {}] == reports
    assert TREE == grown(older.parent / "root")
    assert (TREE | DELETED) == {str(path): content for path, content in shelf.content.items()}


async def test_f93_a_pull_goes_on_with_it(older: Path) -> None:
    shelf = Shelf(TREE | DELETED | {"s/e/a/new.dcm": b"new"})

    async with workbench(older.parent, lambda: shelf) as bench:
        report = await bench.cycle(Mode.DOWN)

    assert (2, 0) == (report.downloaded, report.deleted)
    assert shelf.content == grown(older.parent / "root")


async def test_f93_who_only_looks_sees_it_as_it_would_be_and_leaves_it_as_it_is(
    older: Path, tmp_path: Path
) -> None:
    before, copy = older.read_bytes(), tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()

    await in_thread(copy_state, older, copy)
    state = await StateThread.open(lambda: open_state(copy))
    try:
        counts = await state.call(State.counts)
    finally:
        await state.close()

    assert (5, 1) == (counts["files"], counts["problems"])
    assert before == older.read_bytes()
    assert {"bench.db"} == {one.name for one in tmp_path.iterdir() if one.is_file()}


async def test_f93_the_state_as_it_was_is_kept_beside(older: Path) -> None:
    version = int(older.read_bytes()[60:64].hex(), 16)  # https://www.sqlite.org/fileformat.html

    async with workbench(older.parent, Shelf):
        pass

    with closing(sqlite3.connect(older.with_name(f"bench.db.before-{version + 1}"))) as db:
        assert [(5,)] == db.execute("SELECT count(*) FROM base").fetchall()
