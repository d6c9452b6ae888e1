"""One-shot runs, put together from settings: what they write down, and what they must not."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from fwsync import runs
from fwsync.errors import Exit, FwsyncError, LocalError, Locked, UsageError
from fwsync.model import Mode, Report, Verb
from fwsync.plan import Plan
from tests.room.rooms import Ground, at_home, grown, key_file, path_of, plant

TREE = {"s/e/a/x": b"x", "s/e/b/y": b"yy", "top.json": b"{}"}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
def flags(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    key = key_file(tmp_path, server.sandbox.api_key)
    return {"api_key_file": key, "patience_s": 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", TREE)


async def run(mode: Mode, root: Path, flags: dict[str, Any], target: str | None = None) -> Report:
    return await asyncio.to_thread(runs.run, mode, root, target, flags)


def everything(folder: Path) -> dict[str, object]:
    """All below a folder, our own included: folders by name, files by time and content too."""
    return {
        path.relative_to(folder).as_posix(): path.is_file()
        and (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
    }


async def test_a_root_remembers_its_project_and_its_last_run(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    await run(Mode.UP, root, flags, "lab/aging")
    plant(root, {"s/e/a/new": b"new"})

    report = await run(Mode.UP, root, flags)
    status = await asyncio.to_thread(runs.read_status, root, flags, None)

    assert (1, "push", "lab/aging", str(root)) == (
        report.uploaded,
        report.command,
        report.remote,
        report.root,
    )
    assert report.requests > 0
    assert report.seconds > 0
    assert report.peak_memory > 0
    assert ("lab/aging", 4, 6 + 2, "") == (
        status.remote,
        status.files,
        status.bytes,
        status.holder,
    )
    assert status.last is not None
    assert ("push", Exit.IN_STEP) == (status.last.command, status.last.exit_code)
    assert 1 == status.last.summary["uploaded"]
    assert not status.halted


async def test_a_plan_writes_nothing_anywhere(  # I9
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    await run(Mode.BOTH, root, flags, "lab/aging")
    plant(root, {"s/e/a/x": b"edited", "s/e/n/new": b"new"})
    await server.put({"s/e/b/y": b"theirs"})
    before, there = everything(root), await server.held()

    planned = await asyncio.to_thread(runs.run_plan, Mode.BOTH, root, None, flags)

    assert [
        (Verb.UPLOAD, "s/e/n/new"),
        (Verb.UPLOAD, "s/e/a/x"),
        (Verb.DOWNLOAD, "s/e/b/y"),
    ] == [(one.verb, one.path) for one in planned.plan.carry_out]
    assert before == everything(root)
    assert there == await server.held()
    report = await run(Mode.BOTH, root, flags)
    assert (2, 1) == (report.uploaded, report.downloaded)


async def test_a_plan_of_a_first_pull_makes_no_folder(
    server: Ground, flags: dict[str, Any], tmp_path: Path
) -> None:
    await server.put(TREE)

    planned = await asyncio.to_thread(
        runs.run_plan, Mode.DOWN, tmp_path / "new", "lab/aging", flags
    )

    assert len(TREE) == counted(planned.plan)[Verb.DOWNLOAD]
    assert not (tmp_path / "new").exists()


def counted(plan: Plan) -> dict[Verb, int]:
    return dict(plan.counts)


async def test_a_run_that_ends_in_an_error_is_in_the_history(
    server: Ground, flags: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(Mode.BOTH, root, flags, "lab/aging")
    await server.put({"s/e/n/there": b"there"})
    really = os.write

    def write(fd: int, data: bytes) -> int:
        if path_of(fd).endswith(".part"):
            raise OSError(28, "No space left on device")
        return really(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(LocalError):
        await run(Mode.BOTH, root, flags)
    monkeypatch.undo()
    status = await asyncio.to_thread(runs.read_status, root, flags, None)

    assert status.last is not None
    assert Exit.LOCAL == status.last.exit_code
    assert TREE == grown(root)


async def test_two_runs_on_one_root_do_not_meet(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    many = {f"s/e/n/{number:03}": b"%d" % number for number in range(100)}
    plant(root, many)

    found = await asyncio.gather(
        *(run(Mode.UP, root, flags, "lab/aging") for _ in range(2)), return_exceptions=True
    )

    refused = [one for one in found if isinstance(one, FwsyncError)]
    assert all(isinstance(one, Locked) for one in refused)
    assert len(refused) <= 1
    assert {**TREE, **many} == await server.held()
    assert {1} == {entry.version for entry in (await server.listed()).values()}


async def test_a_deletion_is_held_by_default_and_counted_in_the_status(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    await run(Mode.BOTH, root, flags, "lab/aging")
    (root / "s/e/a/x").unlink()

    report = await run(Mode.BOTH, root, flags)
    status = await asyncio.to_thread(runs.read_status, root, flags, None)

    assert 0 == report.deleted
    assert 1 == status.held
    assert TREE == await server.held()
    assert 1 == (await run(Mode.BOTH, root, {**flags, "delete_up": True})).deleted


async def test_a_pull_makes_its_folder_and_leaves_no_part(
    server: Ground, flags: dict[str, Any], tmp_path: Path
) -> None:
    await server.put(TREE)

    report = await run(Mode.DOWN, tmp_path / "a/new/folder", flags, "lab/aging")

    assert len(TREE) == report.downloaded
    assert TREE == grown(tmp_path / "a/new/folder")
    assert [] == list((tmp_path / "a/new/folder/.fwsync/parts").iterdir())


async def test_a_pull_of_a_project_that_is_not_there_makes_no_folder(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        await run(Mode.DOWN, tmp_path / "new", flags, "lab/nothing")

    assert not (tmp_path / "new").exists()


async def test_a_root_of_which_nothing_is_known_has_no_status(
    flags: dict[str, Any], root: Path
) -> None:
    with pytest.raises(UsageError, match="nothing is known"):
        await asyncio.to_thread(runs.read_status, root, flags, None)


async def test_parts_that_a_killed_run_left_are_cleaned(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    await run(Mode.BOTH, root, flags, "lab/aging")
    left = root / ".fwsync/parts" / f"{'0' * 32}.part"
    left.write_bytes(b"half")

    await run(Mode.BOTH, root, flags)

    assert not left.exists()


async def test_a_deep_verify_sees_what_no_stamp_shows(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    for path in TREE:
        os.utime(root / path, ns=(10**18, 10**18))
    await run(Mode.BOTH, root, flags, "lab/aging")
    await server.delete("s/e/b/y")

    shallow = await asyncio.to_thread(runs.run_verify, root, None, flags)
    deep = await asyncio.to_thread(runs.run_verify, root, None, flags, deep=True)

    assert ["s/e/b/y"] == [one.path for one in shallow.difference_list]
    assert ["s/e/b/y"] == [one.path for one in deep.difference_list]
