"""What changes while a run is under way: the world moves on, and nothing is lost by it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from fwsync import renaming
from fwsync.errors import Exit, Halted
from fwsync.model import ConflictPolicy, Mode, RelPath, RemoteEntry, Unknown
from fwsync.state import State
from tests.room.rooms import (
    Bench,
    Ground,
    Shelf,
    grown,
    plant,
    stores_and_loses_the_answer,
    workbench,
)

X, Y = "s/e/a/x.dcm", "s/e/a/y.dcm"
TREE = {X: b"x", Y: b"yy", "s/e/b/z": b"zzz", "top.json": b"{}"}
DAY_NS = 86_400 * 10**9


def age(root: Path, by_ns: int = DAY_NS) -> Path:
    """As if all had been written long ago: no hash is too young to be trusted."""
    for path in root.rglob("*"):
        if path.is_file() and ".fwsync" not in path.parts:
            at = path.stat().st_mtime_ns - by_ns
            os.utime(path, ns=(at, at))
    return root


def problems(state: State) -> list[str]:
    return [one.path for one in state.problems()]


# -------------------------------------------------------------------------- what is news


async def test_what_a_cycle_could_not_settle_is_no_news_until_it_changes(
    server: Ground, bench: Bench
) -> None:
    too_deep = "a/b/c/d/e/f"
    age(plant(bench.root, TREE))
    await bench.cycle(Mode.UP)
    plant(bench.root, {X: b"mine", too_deep: b"no place"})
    await server.put({X: b"theirs"})
    with bench.engine(Mode.UP) as engine:
        assert await engine.anything_new()
        report = await engine.cycle()

        assert ([X], [too_deep]) == (
            report.conflict_list,
            [one.path for one in report.problem_list],
        )
        assert not await engine.anything_new()
        assert await engine.anything_new(again=True)

        plant(bench.root, {X: b"mine once more"})
        assert await engine.anything_new()

        await engine.cycle()
        assert not await engine.anything_new()

        os.utime(bench.root / too_deep, ns=(10**18, 10**18))
        assert await engine.anything_new()


async def test_a_conflict_copy_is_no_news(server: Ground, bench: Bench) -> None:
    age(plant(bench.root, {X: b"mine"}))
    await server.put({X: b"theirs"})
    with bench.engine() as engine:
        report = await engine.cycle()
        copies = [path for path in grown(bench.root) if "fwsync-conflict" in path]

        assert ([X], 1) == (report.conflict_list, len(copies))
        assert not await engine.anything_new()

        plant(bench.root, {"s/e/a/new": b"new"})
        assert await engine.anything_new()


# ------------------------------------------------------------------- a path that comes twice


class TwoPages(Shelf):
    """Lists a path on both of its pages: it was replaced while the first one was on its way."""

    twice = RelPath(X)

    async def entries(self) -> AsyncIterator[Sequence[RemoteEntry | Unknown]]:
        entries = list(self.listing.values())
        yield entries[:2]
        yield [replace(self.listing[self.twice], etag="another", version=9), *entries[2:]]


async def test_a_path_that_is_listed_twice_is_left_alone_and_the_others_go(
    tmp_path: Path,
) -> None:
    shelf = TwoPages(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        report = await bench.cycle()

        assert [X] == [one.path for one in report.problem_list]
        assert TREE.keys() - {X} == grown(bench.root).keys()

        shelf.twice = RelPath(Y)
        plant(bench.root, {"s/e/n/new": b"new"})
        report = await bench.cycle()
        assert [Y] == [one.path for one in report.problem_list]
        assert (1, 1, 0) == (report.uploaded, report.downloaded, report.deleted)
        assert {**TREE, "s/e/n/new": b"new"} == grown(bench.root)


# ------------------------------------------------------------------- another root in its place


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_root_that_was_replaced_halts_and_nothing_is_deleted(
    mode: Mode, server: Ground, bench: Bench
) -> None:
    age(plant(bench.root, TREE))
    await bench.cycle()
    away = bench.root.with_name("away")
    with bench.engine(mode) as engine:
        bench.root.rename(away)
        plant(bench.root, {"top.json": b"another disk"})

        with pytest.raises(Halted, match="another folder"):
            await engine.look()
        with pytest.raises(Halted, match="another folder"):
            await engine.cycle()
        with pytest.raises(Halted, match="another folder"):
            await engine.anything_new()

    assert TREE == await server.held()
    assert TREE == grown(away)
    assert {"top.json": b"another disk"} == grown(bench.root)


async def test_a_root_that_is_replaced_after_the_plan_deletes_nothing(
    server: Ground, bench: Bench
) -> None:
    age(plant(bench.root, TREE))
    await bench.cycle()
    (bench.root / X).unlink()
    await server.delete(Y)
    away = bench.root.with_name("away")
    with bench.engine() as engine:
        view = await engine.look()
        bench.root.rename(away)
        bench.root.mkdir()

        with pytest.raises(Halted):
            await engine.carry_out(view)

    assert TREE.keys() - {Y} == (await server.held()).keys()
    assert b"yy" == (away / Y).read_bytes()


async def test_a_root_that_is_gone_halts(bench: Bench, server: Ground) -> None:
    age(plant(bench.root, TREE))
    await bench.cycle()
    with bench.engine() as engine:
        bench.root.rename(bench.root.with_name("away"))

        with pytest.raises(Halted, match="is gone"):
            await engine.look()

    assert TREE == await server.held()


@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
async def test_a_root_whose_marker_is_gone_or_another_halts_while_the_run_goes_on(
    when: str, server: Ground, bench: Bench
) -> None:
    age(plant(bench.root, TREE))
    await bench.cycle()
    marker = bench.root / ".fwsync" / "marker"
    for text in ('{"id": "another"}', None):
        marker.write_text('{"id": "this"}')
        with bench.engine() as engine:
            view = await engine.look()
            if text is None:
                marker.unlink()
            else:
                marker.write_text(text)
            (bench.root / X).unlink(missing_ok=True)
            with pytest.raises(Halted, match="marker"):
                await (engine.look() if when == "before the plan" else engine.carry_out(view))

    assert TREE == await server.held()


# ------------------------------------------------------------------- another host, meanwhile


def containers(server: Ground) -> int:
    """How many subjects, sessions and acquisitions were asked for in all."""
    kinds = ("subjects", "sessions", "acquisitions")
    return sum(server.asked("POST", f"/api/{kind}") for kind in kinds)


async def twins(server: Ground) -> list[tuple[str, str, str]]:
    """Containers that share kind, parent and label with another one, by the server's record."""
    secret = server.sandbox.api_key.rpartition(":")[2]
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as wire,
        wire.get(f"{server.sandbox.url}/sandbox/record") as answer,
    ):
        record = await answer.json()
    found = Counter(
        (one["kind"], str(one["parent_id"]), one["label"]) for one in record["containers"]
    )
    assert found
    return [which for which, count in found.items() if count > 1]


async def test_a_container_that_another_host_made_meanwhile_is_used(
    server: Ground, bench: Bench
) -> None:
    plant(bench.root, {X: b"x", "s/e/b/z": b"z"})
    with bench.engine(Mode.UP) as engine:
        view = await engine.look()
        await server.put({Y: b"theirs"})
        made = containers(server)
        report = await engine.carry_out(view)

    assert (2, 0) == (report.uploaded, report.problems)
    assert (3, 1) == (made, containers(server) - made)
    assert {X: b"x", Y: b"theirs", "s/e/b/z": b"z"} == await server.held()
    assert [] == await twins(server)


async def test_a_name_that_another_host_took_meanwhile_is_a_problem_with_its_version(
    server: Ground, bench: Bench
) -> None:
    plant(bench.root, {X: b"mine", Y: b"yy"})
    with bench.engine(Mode.UP) as engine:
        view = await engine.look()
        await server.put({X: b"theirs"})
        report = await engine.carry_out(view)

    assert [X] == [one.path for one in report.problem_list]
    assert "version 1 " in report.problem_list[0].message
    assert "version 2" in report.problem_list[0].message
    assert Exit.DIFFERENCES == report.exit_code
    assert 1 == report.uploaded
    assert [X] == await bench.state.call(problems)


async def test_a_file_whose_answer_was_lost_is_found_where_the_server_keeps_no_hashes(
    tmp_path: Path,
) -> None:
    shelf = Shelf()
    shelf.with_digest = False  # its size, and that nothing was there before, tell that it is ours
    shelf.replies[X] = iter([stores_and_loses_the_answer])
    async with workbench(tmp_path, lambda: shelf) as bench:
        plant(bench.root, {X: b"mine"})

        report = await bench.cycle(Mode.UP)

    assert (1, 0, Exit.IN_STEP) == (report.uploaded, report.problems, report.exit_code)
    assert (1, 1) == (shelf.tries("put", X), shelf.listing[RelPath(X)].version)


# --------------------------------------------------------------- emptied without a new time


async def test_a_file_that_was_emptied_with_its_old_time_is_never_sent(  # S22
    server: Ground, bench: Bench
) -> None:
    age(plant(bench.root, TREE))
    await bench.cycle()
    at = (bench.root / X).stat().st_mtime_ns
    os.truncate(bench.root / X, 0)
    os.utime(bench.root / X, ns=(at, at))

    for _ in range(2):
        report = await bench.cycle()

        assert [X] == [one.path for one in report.problem_list]
        assert (0, 0) == (report.uploaded, report.deleted)
    assert TREE == await server.held()

    os.utime(bench.root / X)
    report = await bench.cycle()
    assert (1, []) == (report.uploaded, report.problem_list)
    assert {**TREE, X: b""} == await server.held()


# ------------------------------------------------------- others wait for what comes down


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "replaced"])
async def test_an_edit_of_a_file_that_has_only_just_got_its_name_is_seen(
    is_new: bool, by_shelf: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_new:
        await by_shelf.cycle(Mode.DOWN)
    shelf.store(RelPath(X), b"new")
    on_rename(monkeypatch, lambda: save(by_shelf.root / X, b"own"))

    await by_shelf.cycle(Mode.DOWN)
    monkeypatch.undo()
    shelf.store(RelPath(X), b"newer")
    report = await by_shelf.cycle(Mode.DOWN, conflict=ConflictPolicy.SKIP)

    assert b"own" == (by_shelf.root / X).read_bytes()
    assert 0 == report.downloaded


def on_rename(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Let somebody act right after each rename of ours."""
    real = renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        code = int(real(*args))
        then()
        return code

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)


def save(file: Path, content: bytes) -> None:
    """Write into a file, once, with the time of another one, as a program does that copies."""
    if file.exists() and file.read_bytes() != content:
        file.write_bytes(content)
        os.utime(file, ns=(DAY_NS, DAY_NS))
