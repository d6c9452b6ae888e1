"""Saved plans of every kind: packs, layouts, moves on both sides, what stands beside the files."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from fwsync import applying, runs
from fwsync.model import Mode, Report, Verb
from fwsync.runs import Planned
from tests.room.beside import BOTH, filled, the_id, web
from tests.room.rooms import Ground, at_home, grown, key_file, plant
from tests.sandbox.api import Api

__all__ = ["web"]  # a fixture

TREE = {
    f"s{number}/e/a/{name}": f"{number}{name}".encode() * 3 for number in range(4) for name in "xyz"
}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
def flags(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    return {"api_key_file": key_file(tmp_path, server.sandbox.api_key), "patience_s": 5}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


async def sync(root: Path, flags: dict[str, Any], mode: Mode = Mode.BOTH, **more: object) -> Report:
    return await asyncio.to_thread(runs.run, mode, root, "lab/aging", {**flags, **more})


async def plan(
    root: Path, flags: dict[str, Any], file: Path | None, mode: Mode = Mode.BOTH, **more: object
) -> Planned:
    told = {**flags, **more}
    return await asyncio.to_thread(runs.run_plan, mode, root, "lab/aging", told, out=file)


async def apply(file: Path, flags: dict[str, Any], **more: object) -> Report:
    return await asyncio.to_thread(applying.run, file, {**flags, **more})


def steps(planned: Planned) -> list[tuple[str, str]]:
    told = (Verb.REPORT, Verb.HOLD)
    return sorted((one.verb, one.path) for one in planned.plan.decisions if one.verb not in told)


def problems(report: Report) -> list[str]:
    return sorted(one.path for one in report.problem_list)


@pytest.mark.parametrize("seed", range(6))
async def test_a_plan_of_any_change_is_what_is_done_when_the_world_is_still(  # P5
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path, seed: int
) -> None:
    dice, root = random.Random(seed), plant(tmp_path / "root", TREE)
    await sync(root, flags)
    for path in dice.sample(sorted(TREE), 7):
        choice = dice.randrange(5)
        if choice == 0:
            plant(root, {path: dice.randbytes(dice.randrange(9))})
        elif choice == 1:
            (root / path).unlink()
        elif choice == 2:
            await server.put({path: dice.randbytes(dice.randrange(9))})
        elif choice == 3:
            await server.delete(path)
        else:
            (root / path).rename(root / f"{path}-moved")
    plant(root, {"s9/e/a/new": b"new"})
    how: Any = {"delete_up": bool(seed % 2), "delete_down": bool(seed % 3), "max_delete": "100"}

    planned = await plan(root, flags, file, **how)
    again = await plan(root, flags, None, **how)
    report = await apply(file, flags)
    rest = await plan(root, flags, None, **how)

    wanted = steps(planned)
    verbs = [verb for verb, _ in wanted]
    assert wanted == steps(again)
    assert [] == problems(report)
    assert (
        verbs.count("upload"),
        verbs.count("download") + verbs.count("conflict"),
        verbs.count("delete-local") + verbs.count("delete-remote"),
    ) == (report.uploaded, report.downloaded, report.deleted)
    assert [] == [one for one in steps(rest) if one[0] not in ("adopt", "conflict")]


async def test_packs_go_up_as_they_were_seen(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    packs = {"pack": ["*=dicom"]}
    planned = await plan(root, flags, file, Mode.UP, **packs)
    plant(root, {"s1/e/a/more": b"another slice"})

    report = await apply(file, flags)

    assert 4 == len(planned.plan.decisions)
    assert (3, 1) == (report.uploaded, len(problems(report)))
    assert "changed here" in report.problem_list[0].message
    assert 3 == len(await server.held())
    rest = await sync(root, flags, Mode.UP, **packs)
    assert (1, True) == (rest.uploaded, rest.ok)


async def test_what_moved_on_the_server_moves_here(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path, web: Api
) -> None:
    root = plant(tmp_path / "root", TREE)
    await sync(root, flags)
    id_ = await the_id(web, "subjects", "s1")
    assert 200 == (await web.ask("PUT", f"/subjects/{id_}", json={"label": "s7"})).status
    inodes = {(root / path).stat().st_ino for path in TREE if path.startswith("s1/")}

    planned = await plan(root, flags, file)
    report = await apply(file, flags)
    rest = await plan(root, flags, None)

    assert {"rename"} == {verb for verb, _ in steps(planned)}
    assert (3, 0, []) == (report.renamed, report.downloaded, problems(report))
    assert inodes == {path.stat().st_ino for path in (root / "s7/e/a").iterdir()}
    assert [] == steps(rest)


async def test_where_one_rename_does_not_hold_none_is_made(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path, web: Api
) -> None:
    root = plant(tmp_path / "root", TREE)
    await sync(root, flags)
    id_ = await the_id(web, "subjects", "s1")
    assert 200 == (await web.ask("PUT", f"/subjects/{id_}", json={"label": "s7"})).status
    await plan(root, flags, file)
    plant(root, {"s1/e/a/x": b"edited"})
    before = grown(root)

    report = await apply(file, flags)

    assert 0 == report.renamed
    assert {"s7/e/a/y", "s7/e/a/z"} <= set(problems(report))
    assert before == grown(root)


async def test_what_moved_here_moves_on_the_server(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    await sync(root, flags, delete_up=True)
    (root / "s1").rename(root / "s7")

    planned = await plan(root, flags, file, delete_up=True)
    report = await apply(file, flags)
    rest = await plan(root, flags, None, delete_up=True)

    assert steps(planned)
    assert [] == problems(report)
    assert [] == steps(rest)
    assert grown(root) == await server.held()


async def test_what_stands_beside_the_files_comes_down_as_it_was_seen(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path, web: Api
) -> None:
    await filled(server, web)
    one, other = tmp_path / "one", tmp_path / "other"
    await sync(one, flags, Mode.DOWN, **BOTH)
    planned = await plan(other, flags, file, Mode.DOWN, **BOTH)
    beside = json.loads(file.read_text())["beside"]

    report = await apply(file, flags)
    rest = await plan(other, flags, None, Mode.DOWN, **BOTH)

    assert beside
    assert not other.joinpath("none").exists()
    assert [] == problems(report)
    assert len(planned.plan.decisions) == report.downloaded + report.sidecars
    assert grown(one) == grown(other)
    assert [] == steps(rest)


async def test_what_stands_in_the_way_of_something_beside_the_files_is_left(
    server: Ground, flags: dict[str, Any], tmp_path: Path, file: Path, web: Api
) -> None:
    await filled(server, web)
    root = tmp_path / "root"
    await plan(root, flags, file, Mode.DOWN, **BOTH)
    beside = json.loads(file.read_text())["beside"]
    path = next(one["path"] for one in beside if one["path"].endswith("log.txt"))
    plant(root, {path: b"mine"})

    report = await apply(file, flags)

    assert [path] == problems(report)
    assert b"mine" == (root / path).read_bytes()
    assert len(beside) - 1 == sum((root / one["path"]).exists() for one in beside) - 1


UP, DOWN, GONE, NEW, THEIRS = (
    "s0/e/a/x",
    "s1/e/a/x",
    "s2/e/a/x",
    "s0/e/a/new",
    "s1/e/a/theirs",
)


@pytest.mark.parametrize(
    ("side", "path", "content", "why"),
    [
        ("here", UP, b"edited again", "changed here"),
        ("here", UP, None, "gone here"),
        ("here", NEW, None, "gone here"),
        ("here", NEW, b"other", "changed here"),
        ("here", DOWN, b"edited", "changed here"),
        ("here", DOWN, None, "gone here"),
        ("here", THEIRS, b"mine", "new here"),
        ("here", GONE, b"back", "new here"),
        ("there", UP, b"edited there too", "changed on the server"),
        ("there", UP, None, "gone from the server"),
        ("there", DOWN, b"edited again", "changed on the server"),
        ("there", DOWN, None, "gone from the server"),
        ("there", NEW, b"another", "new on the server"),
        ("there", GONE, b"edited", "changed on the server"),
        ("there", THEIRS, b"other", "changed on the server"),
    ],
)
async def test_what_changed_since_is_left_and_named(
    server: Ground,
    flags: dict[str, Any],
    tmp_path: Path,
    file: Path,
    side: str,
    path: str,
    content: bytes | None,
    why: str,
) -> None:
    root = plant(tmp_path / "root", TREE)
    await sync(root, flags)
    await server.put({THEIRS: b"theirs", DOWN: b"edited there"})
    plant(root, {NEW: b"new", UP: b"edited here"})
    (root / GONE).unlink()
    await plan(root, flags, file, delete_up=True, delete_down=True)
    if side == "there":
        await (server.delete(path) if content is None else server.put({path: content}))
    elif content is None:
        (root / path).unlink()
    else:
        plant(root, {path: content})
    here, there = grown(root).get(path), (await server.held()).get(path)

    report = await apply(file, flags)

    told = {one.path: one.message for one in report.problem_list}
    assert why in told[path]
    assert (here, there) == (grown(root).get(path), (await server.held()).get(path))
    assert {path} == set(told)


async def test_consent_to_a_plan_of_which_a_part_is_left_does_the_rest_and_puts_off_deletions(
    flags: dict[str, Any], tmp_path: Path, file: Path, server: Ground
) -> None:
    root = tmp_path / "root"
    plant(root, TREE)
    await sync(root, flags)
    for name in "xyz":
        (root / f"s0/e/a/{name}").unlink()
    plant(root, {"s1/e/a/x": b"edited", "s1/e/a/new": b"new"})
    limits: dict[str, Any] = {"max_delete": 1, "delete_up": True, "delete_down": True}
    planned = await plan(root, flags, file, **limits)
    plant(root, {"s1/e/a/new": b"newer"})

    report = await apply(file, flags, accept_deletes=planned.plan.plan_id)

    assert ["s1/e/a/new"] == problems(report)
    assert (1, 0) == (report.uploaded, report.deleted)
    assert {"s0/e/a/x", "s0/e/a/y", "s0/e/a/z"} <= (await server.held()).keys()
    assert b"edited" == (await server.held())["s1/e/a/x"]
