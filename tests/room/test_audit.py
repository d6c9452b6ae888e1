"""The audit log: what a run did, one line a file, in both forms."""

from __future__ import annotations

import asyncio
import csv
import json
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fwsync.audit import COLUMNS, AuditLog
from fwsync.errors import LocalError, UsageError
from fwsync.model import Mode, Outcome, RelPath
from fwsync.state import Circumstances, State
from tests.room.rooms import Bench, Shelf, did, digest, is_busy, plant, workbench

TREE = {"s1/ses/T1/a.nii": b"first", 's1/ses/T1/b, "two".nii': b"second"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        yield made


async def pushed(bench: Bench, file: Path) -> None:
    await ran(bench, file, Mode.UP)


async def ran(bench: Bench, file: Path, mode: Mode) -> None:
    audit = await asyncio.to_thread(AuditLog, file, "lab/aging")
    try:
        await bench.cycle(mode, audit=audit)
    finally:
        audit.close()


def rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".csv":
        with file.open(newline="") as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
async def test_each_file_that_was_sent_has_a_line(bench: Bench, tmp_path: Path, name: str) -> None:
    plant(bench.root, TREE)

    await pushed(bench, tmp_path / name)

    found = {row["source"]: row for row in rows(tmp_path / name)}
    assert set(TREE) == set(found)
    for path, content in TREE.items():
        row = found[path]
        assert list(COLUMNS) == list(row)
        assert f"lab/aging/{path}" == row["destination"]
        assert ("upload", "done") == (row["action"], row["result"])
        assert str(len(content)) == str(row["size"])
        assert digest(content) == row["sha384"] == row["server_hash"]
        assert row["xxh3"].startswith("xxh3:")
        assert ("acquisition", "a1", f"id of {path}") == (
            row["container"],
            row["container_id"],
            row["file_id"],
        )
        assert "1" == str(row["attempts"]) == str(row["version"])
        assert row["began"] <= row["time"]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
async def test_a_run_with_nothing_to_do_adds_nothing(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    plant(bench.root, TREE)
    await pushed(bench, tmp_path / name)
    before = (tmp_path / name).read_bytes()

    await pushed(bench, tmp_path / name)

    assert before == (tmp_path / name).read_bytes()


async def test_what_failed_says_why_and_how_often_it_was_tried(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    plant(bench.root, {"s1/ses/T1/a.nii": b"first"})
    shelf.with_digest = False
    shelf.store("s1/ses/T1/a.nii", b"other")  # type: ignore[arg-type]  # a plain text will do

    await pushed(bench, tmp_path / "log.jsonl")

    [row] = rows(tmp_path / "log.jsonl")
    assert "conflict" == row["action"]
    assert row["reason"]


async def test_what_was_fetched_came_from_the_server(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    entry = shelf.store(RelPath("s1/ses/T1/a.nii"), b"of the server")

    await ran(bench, tmp_path / "log.jsonl", Mode.DOWN)

    [row] = rows(tmp_path / "log.jsonl")
    assert ("download", "done") == (row["action"], row["result"])
    assert f"lab/aging/{entry.path}" == row["source"]
    assert entry.path == row["destination"]


async def test_only_its_owner_may_read_it(bench: Bench, tmp_path: Path) -> None:
    plant(bench.root, TREE)

    await pushed(bench, tmp_path / "log.csv")

    assert 0o600 == stat.S_IMODE((tmp_path / "log.csv").stat().st_mode)


def test_a_log_that_was_rotated_away_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    audit = AuditLog(file, "")
    file.rename(tmp_path / "log.csv.1")

    audit.write([], 1)
    audit.close()

    assert ",".join(COLUMNS) + "\n" == file.read_text()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"log\.txt"):
        AuditLog(tmp_path / "log.txt", "")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="audit log"):
        AuditLog(tmp_path / "nowhere" / "log.csv", "")


async def test_a_server_that_is_busy_shows_in_the_attempts(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    plant(bench.root, {"s1/ses/T1/a.nii": b"first"})
    shelf.replies["s1/ses/T1/a.nii"] = iter([is_busy])

    await pushed(bench, tmp_path / "log.jsonl")

    [row] = rows(tmp_path / "log.jsonl")
    assert (2, "done") == (row["attempts"], row["result"])


def test_a_log_whose_folder_is_gone_ends_the_run_and_closes_no_descriptor_of_others(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(folder / "log.csv", "")
    (folder / "log.csv").unlink()
    folder.rmdir()

    with pytest.raises(LocalError, match="audit log"):
        audit.write([], 1)
    with (tmp_path / "other").open("w") as other:  # would get the number of a closed one
        audit.close()
        other.write("still open")

    assert "still open" == (tmp_path / "other").read_text()


async def test_no_file_is_recorded_before_its_line_is_on_disk(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in between would leave a file that is in step, and no line would ever say so."""
    plant(bench.root, TREE)
    lines: list[int] = []
    really = State.record

    def record(state: State, outcomes: Sequence[Outcome], told: Circumstances) -> None:
        lines.append(len(rows(tmp_path / "log.csv")))
        really(state, outcomes, told)

    monkeypatch.setattr(State, "record", record)
    await pushed(bench, tmp_path / "log.csv")

    assert [len(TREE)] == lines


async def test_what_has_happened_is_recorded_even_if_the_log_is_gone(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    plant(bench.root, TREE)
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = await asyncio.to_thread(AuditLog, folder / "log.csv", "")
    (folder / "log.csv").unlink()
    folder.rmdir()

    with pytest.raises(LocalError, match="audit log"):
        await bench.cycle(Mode.UP, audit=audit)
    audit.close()

    assert {} == did(await bench.cycle(Mode.UP))
