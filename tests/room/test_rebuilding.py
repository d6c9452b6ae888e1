"""A state made anew: what is read of the old file, and what of it is believed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fwsync import checkups, doctor, rebuilding, runs, state_salvage
from fwsync.errors import Exit, Halted, StateDamaged
from fwsync.model import BaseEntry, Mode, Report
from fwsync.rebuilding import Rebuilt
from fwsync.state import open_state
from tests.room.rooms import Ground, at_home, grown, key_file, plant

TREE = {f"s{number}/e/a/{name}": bytes([number]) * 9 for number in range(6) for name in "xyz"}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
def flags(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    return {"api_key_file": key_file(tmp_path, server.sandbox.api_key), "patience_s": 5}


@pytest.fixture
async def root(flags: dict[str, Any], tmp_path: Path) -> Path:
    made = plant(tmp_path / "root", TREE)
    await sync(made, flags, "lab/aging")
    return made


async def sync(
    root: Path, flags: dict[str, Any], target: str | None = None, **more: object
) -> Report:
    return await asyncio.to_thread(runs.run, Mode.BOTH, root, target, {**flags, **more})


async def rebuilt(root: Path, flags: dict[str, Any]) -> Rebuilt:
    return await asyncio.to_thread(rebuilding.run, root, None, flags)


def state_of(root: Path) -> Path:
    return root / ".fwsync/state.db"


def moved(report: Report) -> tuple[int, ...]:
    return report.uploaded, report.downloaded, report.deleted, report.renamed, report.conflicts


def change(root: Path, sql: str, *arguments: object) -> None:
    with closing(sqlite3.connect(state_of(root))) as db:
        db.execute(sql, arguments)
        db.commit()


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


@pytest.mark.parametrize("seed", range(5))
async def test_whichever_page_is_overwritten_nothing_is_moved(  # F91
    server: Ground, flags: dict[str, Any], root: Path, seed: int
) -> None:
    state, dice = state_of(root), random.Random(seed)
    whole = state.read_bytes()
    page = int.from_bytes(whole[16:18], "big")
    numbers = dice.sample(range(len(whole) // page), 3)
    there = await server.held()

    for number in numbers:
        content = bytearray(state.read_bytes())
        content[number * page : (number + 1) * page] = dice.randbytes(page)
        state.write_bytes(content)
        done = await rebuilt(root, flags)
        again = await sync(root, flags)

        assert (len(TREE), []) == (done.agreed, done.differ)
        assert (0, 0, 0, 0, 0) == moved(again)
        assert again.ok
        assert (TREE, there) == (grown(root), await server.held())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 3],
        lambda content: content[:-5000],
        lambda _: b"",
        lambda _: b"SQLite format 3\0",
        lambda content: b"\0" * len(content),
    ],
)
async def test_however_it_is_damaged_every_run_refuses_it_until_it_is_rebuilt(
    server: Ground, flags: dict[str, Any], root: Path, damage: Callable[[bytes], bytes]
) -> None:
    state = state_of(root)
    state.write_bytes(damage(state.read_bytes()))
    damaged, there = state.read_bytes(), await server.held()

    with pytest.raises(StateDamaged):
        await sync(root, flags)
    found = await asyncio.to_thread(checkups.run, root, None, flags)
    assert (Exit.LOCAL, damaged) == (found.exit_code, state.read_bytes())
    done = await rebuilt(root, flags)
    again = await sync(root, flags)

    assert done.kept is not None
    assert damaged == done.kept.read_bytes()
    assert (len(TREE), (0, 0, 0, 0, 0)) == (done.agreed, moved(again))
    assert there == await server.held()


async def test_each_table_is_taken_over_but_for_what_is_made_anew(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    open_state(old).close()
    open_state(new).close()
    with closing(sqlite3.connect(old)) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
        for table in tables:
            _put_a_row(db, table)
        db.commit()

    done = state_salvage.salvage(old, new, lambda base, sources: True)

    anew = {"migration", "local_file", "header", "pack_digest", "download", "download_piece"}
    assert [] == done.lost
    assert set(tables) - anew == set(doctor.PARTS_OF_A_STATE)  # each has words for people
    for table in tables:
        count = rows(new, f"SELECT count(*) FROM {table}")[0][0]
        wanted = rows(old, f"SELECT count(*) FROM {table}")[0][0]

        assert table in anew or wanted == count > 0, table
        assert table == "migration" or table not in anew or count == 0, table


#: Values that the checks of the schema want.
_VALUES = {
    "held": "local",
    "kind": "sidecar",
    "local_etag": "xxh3:00",
    "etag": "xxh3:00",
    "is_file": 1,
    "retryable": 0,
    "upload": 1,
    "choice": "",
}


def _put_a_row(db: sqlite3.Connection, table: str) -> None:
    """A row that the table can hold, with a value in each column."""
    if table == "migration":
        return
    columns = db.execute(f"PRAGMA table_info({table})").fetchall()
    kinds = {"INTEGER": 1, "TEXT": "a/b", "BLOB": b"\1" * 48}
    values = [_VALUES.get(name, kinds[kind]) for _, name, kind, *_ in columns]
    marks = ", ".join("?" * len(values))
    db.execute(f"INSERT INTO {table} VALUES ({marks})", values)


async def test_what_can_be_read_past_the_damage_is_read(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with open_state(old) as state:
        for number in range(3000):
            state.set_setting(f"key-{number:05}", "value " * 9)
    open_state(new).close()
    content = bytearray(old.read_bytes())
    middle = content.index(b"key-01500")
    page = int.from_bytes(content[16:18], "big")
    at = middle // page * page
    content[at : at + page] = b"\xff" * page
    old.write_bytes(content)

    done = state_salvage.salvage(old, new, lambda base, sources: True)

    found = {row[0] for row in rows(new, "SELECT key FROM setting")}
    assert ["setting"] == done.lost
    assert {"key-00000", "key-02999"} <= found
    assert 2800 < len(found) < 3000


async def test_a_path_that_leads_elsewhere_is_not_taken_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    open_state(old).close()
    open_state(new).close()
    with closing(sqlite3.connect(old)) as db:
        for number, path in enumerate(("/etc/passwd", "../x", "a/../../x", "a//b", "a/b")):
            db.execute(
                "INSERT INTO conflict (id, path, copy_path, at_ns) VALUES (?, 'p', ?, 0)",
                (number, path),
            )
        db.commit()

    state_salvage.salvage(old, new, lambda base, sources: True)

    assert [("a/b",)] == rows(new, "SELECT copy_path FROM conflict")


async def test_a_deletion_that_was_held_stays_held(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    gone_here, gone_there = "s0/e/a/x", "s1/e/a/x"
    (root / gone_here).unlink()
    await server.delete(gone_there)
    await sync(root, flags)
    there = await server.held()

    done = await rebuilt(root, flags)
    again = await sync(root, flags)
    held = rows(state_of(root), "SELECT path, held FROM base WHERE held <> '' ORDER BY path")

    assert len(TREE) - 2 == done.agreed
    assert (0, 0, 0, 0, 0) == moved(again)
    assert [(gone_here, "local"), (gone_there, "remote")] == held
    assert there == await server.held()


async def test_a_file_deleted_on_the_server_before_is_not_sent_again(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    await server.delete("s1/e/a/x")  # consent withdrawn; no run has seen it yet

    await rebuilt(root, flags)
    again = await sync(root, flags)

    assert (0, 0, 0, 0, 0) == moved(again)
    assert "s1/e/a/x" not in await server.held()


async def test_a_row_that_the_file_here_does_not_bear_out_is_not_believed(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    plant(root, {"s0/e/a/x": b"mine, edited"})
    await server.put({"s1/e/a/x": b"theirs"})

    done = await rebuilt(root, flags)
    again = await sync(root, flags)

    assert ["s0/e/a/x"] == [path for path in done.differ if path == "s0/e/a/x"]
    assert 1 == again.conflicts  # nobody knows by now that only this side has changed
    assert b"mine, edited" in grown(root).values()
    assert b"theirs" == (root / "s1/e/a/x").read_bytes()


async def test_an_empty_mount_point_in_the_place_of_the_root_is_given_no_state(
    flags: dict[str, Any], root: Path
) -> None:
    root.rename(root.with_name("away"))
    root.mkdir()

    with pytest.raises(Halted):
        await asyncio.to_thread(rebuilding.run, root, "lab/aging", flags)

    assert [] == list(root.iterdir())


async def test_a_root_whose_state_is_healthy_may_be_rebuilt_as_well(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    done = await rebuilt(root, flags)
    twice = await rebuilt(root, flags)
    again = await sync(root, flags)

    assert done.kept != twice.kept
    assert (len(TREE), len(TREE)) == (done.agreed, twice.agreed)
    assert (0, 0, 0, 0, 0) == moved(again)


async def test_what_was_agreed_is_asked_of_no_row_that_cannot_be_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    open_state(old).close()
    open_state(new).close()
    asked: list[str] = []
    with closing(sqlite3.connect(old)) as db:
        for path, tag in (("a", "xxh3:1"), ("../a", "xxh3:1"), ("b", "garbage")):
            db.execute(
                "INSERT INTO base VALUES (?, 1, ?, 't', NULL, 'session', 'c', '', 1, '')",
                (path, tag),
            )
        db.commit()

    def keeps(base: BaseEntry, _: object) -> bool:
        asked.append(base.path)
        return True

    done = state_salvage.salvage(old, new, keeps)

    assert (["a"], 1) == (asked, done.kept)
