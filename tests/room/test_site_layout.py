"""Roots of many projects, named by their folders: what is not asked about is not gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fwsync import runs
from fwsync.errors import Exit
from fwsync.model import Mode, Report
from fwsync.progress import Progress
from fwsync.remotes.flywheel import resolve_project
from tests.room.rooms import Ground, at_home, did, ground, grown, key_file, plant

LAYOUT = "{group}/{project}/{subject}/{session}/{acquisition}/{file}"
TREE = {
    "lab/aging/s/e/a/x": b"x",
    "lab/aging/top.json": b"{}",
    "lab/other/s/e/a/y": b"yy",
    "lab/other/t/e/a/z": b"zzz",
}
ALL = {"delete_up": True, "delete_down": True, "max_delete": "100%"}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as server:
        await resolve_project(server.api, "lab/other", create_project=True)
        yield server


@pytest.fixture
async def other(server: Ground) -> Ground:
    """The second project."""
    project = await resolve_project(server.api, "lab/other")
    return Ground(server.sandbox, server.api, project)


@pytest.fixture
def flags(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    key_file(tmp_path, server.sandbox.api_key)
    return {"api_key_file": tmp_path / "key", "patience_s": 5, "layout": LAYOUT, **ALL}


async def run(
    mode: Mode, root: Path, flags: dict[str, Any], progress: Progress | None = None
) -> Report:
    return await asyncio.to_thread(runs.run, mode, root, None, flags, None, progress=progress)


async def agreed_files(root: Path, flags: dict[str, Any]) -> int:
    return (await asyncio.to_thread(runs.read_status, root, flags, None)).files


@pytest.fixture
async def root(server: Ground, flags: dict[str, Any], tmp_path: Path) -> Path:
    """In step with both projects."""
    root = plant(tmp_path / "root", TREE)
    assert len(TREE) == (await run(Mode.BOTH, root, flags)).uploaded
    return root


@pytest.mark.parametrize("mode", [Mode.BOTH, Mode.UP, Mode.DOWN])
async def test_a_project_that_nobody_may_see_any_more_is_unknown_and_not_gone(
    mode: Mode, server: Ground, other: Ground, root: Path, flags: dict[str, Any], tmp_path: Path
) -> None:
    body = {"_id": server.sandbox.ready.user_id, "access": "rw"}
    await server.api.json("POST", ("projects", server.project.id, "permissions"), body=body)
    key_file(tmp_path, server.sandbox.user_api_key)
    plant(root, {"lab/aging/s/e/a/new": b"new"})

    for _ in range(2):
        report = await run(mode, root, flags)

        assert 0 == report.deleted
        assert ["lab/other"] == [one.path for one in report.problem_list]
        assert report.exit_code is not Exit.IN_STEP
    assert TREE.items() <= grown(root).items()
    assert {"s/e/a/y": b"yy", "t/e/a/z": b"zzz"} == await other.held()
    assert (mode is not Mode.DOWN) == ("s/e/a/new" in await server.held())

    key_file(tmp_path, server.sandbox.api_key)
    (root / "lab/aging/s/e/a/new").unlink()
    report = await run(Mode.UP, root, flags)
    assert (0, 0) == (report.uploaded, report.bytes)


async def test_a_project_folder_that_is_away_for_a_run_keeps_its_rows(
    other: Ground, root: Path, flags: dict[str, Any], tmp_path: Path
) -> None:
    away = tmp_path / "away"
    (root / "lab/other").rename(away)
    held = {**flags, "delete_up": False, "delete_down": False}

    for mode in (Mode.UP, Mode.BOTH):
        report = await run(mode, root, held)

        assert (0, 0, 0) == (report.deleted, report.downloaded, report.uploaded)
    assert len(TREE) == await agreed_files(root, flags)

    away.rename(root / "lab/other")
    report = await run(Mode.BOTH, root, flags)
    assert (0, 0, 0, 0) == (report.uploaded, report.downloaded, report.deleted, report.bytes)
    assert report.ok
    assert {} == did(await run(Mode.BOTH, root, flags))
    assert TREE == grown(root)
    assert {"s/e/a/y": b"yy", "t/e/a/z": b"zzz"} == await other.held()


async def test_a_project_that_is_gone_on_both_sides_forgets_nothing_unasked(
    server: Ground, other: Ground, root: Path, flags: dict[str, Any], tmp_path: Path
) -> None:
    """Its folder is away here, and its server may not be asked: nothing is concluded."""
    body = {"_id": server.sandbox.ready.user_id, "access": "rw"}
    await server.api.json("POST", ("projects", server.project.id, "permissions"), body=body)
    key_file(tmp_path, server.sandbox.user_api_key)
    (root / "lab/other").rename(tmp_path / "away")

    assert 0 == (await run(Mode.BOTH, root, flags)).deleted

    assert len(TREE) == await agreed_files(root, flags)
    key_file(tmp_path, server.sandbox.api_key)
    (tmp_path / "away").rename(root / "lab/other")
    assert {} == did(await run(Mode.BOTH, root, flags))
    assert {"s/e/a/y": b"yy", "t/e/a/z": b"zzz"} == await other.held()


async def test_a_folder_without_a_project_is_named_once_and_the_others_go(
    server: Ground, flags: dict[str, Any], root: Path
) -> None:
    plant(root, {"lab/nowhere/s/e/a/x": b"x", "lab/aging/s/e/a/new": b"new"})

    report = await run(Mode.UP, root, flags)

    assert 1 == report.uploaded
    [problem] = report.problem_list
    assert "lab/nowhere" == problem.path
    assert "no such project" in problem.message
    assert not report.ok
