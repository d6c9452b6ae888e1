"""Several hosts on one project: a race ends in a conflict or an adoption (issue 6, item 7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from fwsync.model import ConflictPolicy, Mode, RelPath
from tests.room.rooms import (
    Bench,
    Ground,
    Shelf,
    age,
    copies,
    did,
    grown,
    in_trash,
    plant,
    workbench,
)

X, Y = "s/e/a/x.dcm", "s/e/a/y.dcm"
TREE = {X: b"x", Y: b"yy", "t": b"top"}


@pytest.fixture
async def hosts(server: Ground, tmp_path: Path) -> AsyncIterator[list[Bench]]:
    """Three roots with states of their own, of the same project."""
    async with AsyncExitStack() as stack:
        made = []
        for name in ("desk", "scanner", "ward"):
            (tmp_path / name).mkdir()
            made.append(await stack.enter_async_context(workbench(tmp_path / name, server.connect)))
        yield made


async def in_step(server: Ground, hosts: list[Bench]) -> None:
    """After some rounds nobody has anything to do, and all have what the server has."""
    done: list[object] = ["not yet"]
    for _ in range(5):
        if any(done):
            done = [did(await host.cycle()) for host in hosts]
    assert not any(done), ("they never agree", done)
    held = await server.held()
    for host in hosts:
        found = grown(host.root)
        mine = {path: found[path] for path in found if "fwsync-conflict" not in path}
        assert held == mine
    assert [] == await twins(server)


async def twins(server: Ground) -> list[tuple[str, str, str]]:
    """Containers alive that share kind, parent and label with another one."""
    secret = server.sandbox.api_key.rpartition(":")[2]
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as wire,
        wire.get(f"{server.sandbox.url}/sandbox/record") as answer,
    ):
        record = await answer.json()
    found = Counter(
        (one["kind"], str(one["parent_id"]), one["label"])
        for one in record["containers"]
        if one["deleted"] is None
    )
    return [which for which, count in found.items() if count > 1]


async def agreed(hosts: list[Bench], tree: dict[str, bytes] = TREE) -> None:
    age(plant(hosts[0].root, tree))
    for host in hosts:
        await host.cycle()
        age(host.root)


def kept(server_holds: dict[str, bytes], hosts: list[Bench]) -> list[bytes]:
    """All that can still be found."""
    found = [*server_holds.values()]
    for host in hosts:
        found += [*grown(host.root).values(), *in_trash(host.root)]
    return found


async def test_the_same_new_files_sent_at_once_are_adopted(
    server: Ground, hosts: list[Bench]
) -> None:
    tree = {f"s/e/a/{n}": b"%d" % n for n in range(20)}
    for host in hosts:
        age(plant(host.root, tree))

    await asyncio.gather(*(host.cycle() for host in hosts))

    await in_step(server, hosts)
    assert tree == await server.held()
    assert [[], [], []] == [copies(host.root) for host in hosts]


async def test_containers_that_are_made_at_once_are_made_once(
    server: Ground, hosts: list[Bench]
) -> None:
    for number, host in enumerate(hosts):
        age(plant(host.root, {f"s/e/{folder}/{number}": b"1" for folder in "abcdef"}))

    await asyncio.gather(*(host.cycle() for host in hosts))

    await in_step(server, hosts)
    assert 18 == len(await server.held())


async def test_other_bytes_of_one_name_at_once_are_both_kept(
    server: Ground, hosts: list[Bench]
) -> None:
    for number, host in enumerate(hosts):
        age(plant(host.root, {X: b"of %d" % number}))

    reports = await asyncio.gather(*(host.cycle() for host in hosts))
    assert sum(report.conflicts + report.problems for report in reports) >= 1
    await in_step(server, hosts)

    found = kept(await server.held(), hosts)
    versions = await every_version(server, X)
    assert {b"of 0", b"of 1", b"of 2"} <= {*found, *versions}


async def every_version(server: Ground, path: str) -> list[bytes]:
    """The contents that the server could still give out for a file."""
    entry = (await server.listed())[path]
    secret = server.sandbox.api_key.rpartition(":")[2]
    address = f"{server.sandbox.url}/api/acquisitions/{entry.container.id}/files/{entry.name}"
    found = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as wire:
        for version in range(1, entry.version + 1):
            async with wire.get(address, params={"version": str(version)}) as answer:
                found.append(await answer.read())
    return found


async def test_an_edit_that_another_host_sent_first_is_a_conflict_and_no_overwrite(
    server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    desk, scanner, _ = hosts
    age(plant(desk.root, {X: b"desk"}))
    age(plant(scanner.root, {X: b"scanner"}))
    with desk.engine() as first, scanner.engine() as second:
        views = await first.look(), await second.look()
        await first.carry_out(views[0])
        late = await second.carry_out(views[1])

    assert [X] == [one.path for one in late.problem_list]
    assert b"desk" == (await server.held())[X]
    await in_step(server, hosts)
    assert [[], [b"scanner"], []] == [copies(host.root) for host in hosts]


async def test_a_deletion_here_and_an_edit_there_keep_the_edit(
    server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    desk, scanner, _ = hosts
    (desk.root / X).unlink()
    age(plant(scanner.root, {X: b"edited"}))
    with desk.engine() as first, scanner.engine() as second:
        views = await first.look(), await second.look()
        await second.carry_out(views[1])
        late = await first.carry_out(views[0])

    assert 0 == late.deleted
    await in_step(server, hosts)
    assert b"edited" == (await server.held())[X]


async def test_a_deletion_that_came_first_does_not_take_the_edit_along(
    server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    desk, scanner, _ = hosts
    (desk.root / X).unlink()
    age(plant(scanner.root, {X: b"edited"}))
    with desk.engine() as first, scanner.engine() as second:
        views = await first.look(), await second.look()
        await first.carry_out(views[0])
        await second.carry_out(views[1])

    await in_step(server, hosts)
    assert b"edited" == (await server.held())[X]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
async def test_a_rename_here_and_an_edit_there_keep_both(
    folder: bool, server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    desk, scanner, _ = hosts
    old, new = ("s/e/a", "s/e/b") if folder else (X, "s/e/a/z.dcm")
    (desk.root / old).rename(desk.root / new)
    age(plant(scanner.root, {X: b"edited"}))
    with desk.engine() as first, scanner.engine() as second:
        views = await first.look(), await second.look()
        await first.carry_out(views[0])
        await second.carry_out(views[1])

    for host in hosts:
        await host.cycle()
    for host in hosts:
        await host.cycle()
    assert b"edited" in kept(await server.held(), hosts)
    assert [] == await twins(server)


async def test_two_renames_of_one_file_lose_nothing(server: Ground, hosts: list[Bench]) -> None:
    await agreed(hosts)
    (hosts[0].root / X).rename(hosts[0].root / "s/e/a/one.dcm")
    (hosts[1].root / X).rename(hosts[1].root / "s/e/a/two.dcm")

    with hosts[0].engine() as first, hosts[1].engine() as second:
        views = await first.look(), await second.look()
        await first.carry_out(views[0])
        await second.carry_out(views[1])

    await in_step(server, hosts)
    assert b"x" in (await server.held()).values()


async def test_a_container_that_is_made_while_ours_gets_its_label_has_no_twin(
    server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    desk = hosts[0]
    (desk.root / "s/e/a").rename(desk.root / "s/e/T1")
    faults = server.sandbox.site.faults
    match = {"method": "PUT", "path": "/acquisitions/*", "hits": {"nth": 1}}
    faults.add({"match": match, "action": {"delay_s": 1}})

    async def another_host(_s: float) -> None:  # after all that ours has looked at
        await server.put({"s/e/T1/theirs.dcm": b"theirs"})

    faults.clock.sleep = another_host
    await desk.cycle()

    assert [] == await twins(server)
    await in_step(server, hosts)
    assert {"s/e/T1/theirs.dcm", "s/e/T1/x.dcm", "s/e/T1/y.dcm", "t"} == set(await server.held())


async def test_copies_of_conflicts_stay_where_they_are(server: Ground, hosts: list[Bench]) -> None:
    await agreed(hosts)
    for number, host in enumerate(hosts):
        age(plant(host.root, {X: b"of %d" % number}))
    for host in hosts:
        await host.cycle()
    await in_step(server, hosts)
    before = [copies(host.root) for host in hosts]

    for _ in range(5):
        assert [{}, {}, {}] == [did(await host.cycle()) for host in hosts]

    assert before == [copies(host.root) for host in hosts]
    assert {X, Y, "t"} == set(await server.held())


async def test_a_conflict_that_both_resolve_at_once_ends(
    server: Ground, hosts: list[Bench]
) -> None:
    await agreed(hosts)
    for number, host in enumerate(hosts[:2]):
        age(plant(host.root, {X: b"of %d" % number}))
        await host.cycle()
    for number, host in enumerate(hosts[:2]):
        for copy in host.root.rglob("*fwsync-conflict*"):
            copy.unlink()
        age(plant(host.root, {X: b"settled by %d" % number}))

    await asyncio.gather(*(host.cycle() for host in hosts))

    await in_step(server, hosts)
    found = {*kept(await server.held(), hosts), *await every_version(server, X)}
    assert {b"settled by 0", b"settled by 1"} <= found


# --------------------------------------------------- between the last look and the upload


def meanwhile(shelf: Shelf, path: str, content: bytes) -> None:
    """Another host sends a file while ours is on its way, after our last look."""
    sent = iter([content])

    def listens(heard: RelPath, _: int) -> None:
        other = next(sent, None) if heard == path else None
        if other is not None:
            shelf.store(RelPath(path), other)

    shelf.listens = listens


async def test_what_came_between_the_last_look_and_our_upload_is_told(tmp_path: Path) -> None:
    """Servers know no conditional upload; theirs stays there as a version, and that is said."""
    shelf = Shelf(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        await bench.cycle()
        age(plant(bench.root, {X: b"mine"}))
        meanwhile(shelf, X, b"theirs")

        report = await bench.cycle()

        assert [X] == [one.path for one in report.problem_list]
        assert "version 2 " in report.problem_list[0].message
        assert 0 == report.uploaded
        assert {"adopted": 1} == did(await bench.cycle())


async def test_metadata_and_equal_versions_before_our_upload_are_no_race(tmp_path: Path) -> None:
    shelf = Shelf(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        await bench.cycle()
        shelf.store(RelPath(X), TREE[X])
        age(plant(bench.root, {X: b"mine"}))
        with bench.engine() as engine:
            view = await engine.look()
            shelf.store(RelPath(X), TREE[X])
            report = await engine.carry_out(view)

        assert (1, 0) == (report.uploaded, report.problems)


async def test_a_file_made_anew_after_its_deletion_was_seen_is_not_overwritten(
    tmp_path: Path,
) -> None:
    shelf = Shelf(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        await bench.cycle()
        age(plant(bench.root, {X: b"mine"}))
        await shelf.delete(shelf.listing[RelPath(X)])
        with bench.engine() as engine:
            view = await engine.look()
            shelf.store(RelPath(X), b"theirs")
            report = await engine.carry_out(view)

        assert ([X], b"theirs") == (
            [one.path for one in report.problem_list],
            shelf.content[RelPath(X)],
        )
        await bench.cycle()
        assert [b"mine"] == copies(bench.root)


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
async def test_the_policy_for_conflicts_holds_for_races(mode: Mode, tmp_path: Path) -> None:
    shelf = Shelf(TREE)
    async with workbench(tmp_path, lambda: shelf) as bench:
        await bench.cycle()
        age(plant(bench.root, {X: b"mine"}))
        with bench.engine(mode, conflict=ConflictPolicy.LOCAL) as engine:
            view = await engine.look()
            shelf.store(RelPath(X), b"theirs")
            report = await engine.carry_out(view)
        assert [X] == [one.path for one in report.problem_list]

        await bench.cycle(mode, conflict=ConflictPolicy.LOCAL)
        assert b"mine" == shelf.content[RelPath(X)]
