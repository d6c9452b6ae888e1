"""Nothing goes for good from a server that keeps no versions: it is in the trash here first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync.errors import FileProblem
from fwsync.model import ConflictPolicy, RelPath
from fwsync.ports import Features
from tests.room.rooms import TREE, Bench, Shelf, X, Y, age, did, in_trash, plant, workbench


class Forgetful(Shelf):
    """A remote that keeps no versions."""

    @property
    def features(self) -> Features:
        return replace(super().features, versions=False)


@pytest.fixture
def shelf() -> Shelf:
    return Forgetful()


@pytest.fixture
async def bench(shelf: Shelf, tmp_path: Path) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as bench:
        age(plant(bench.root, TREE))
        await bench.cycle()
        yield bench


async def test_what_an_edit_replaces_there_is_in_the_trash(bench: Bench, shelf: Shelf) -> None:
    plant(bench.root, {X: b"edited"})

    assert {"uploaded": 1, "bytes": 6} == did(await bench.cycle())
    assert [b"x"] == in_trash(bench.root)
    assert b"edited" == shelf.content[RelPath(X)]
    assert {} == did(await bench.cycle())


async def test_what_is_deleted_there_is_in_the_trash(bench: Bench, shelf: Shelf) -> None:
    (bench.root / X).unlink()
    (bench.root / Y).unlink()

    assert {"deleted": 2} == did(await bench.cycle())
    assert [b"x", b"yy"] == in_trash(bench.root)
    assert RelPath(X) not in shelf.content


async def test_what_a_conflict_overrides_there_is_in_the_trash(bench: Bench, shelf: Shelf) -> None:
    plant(bench.root, {X: b"mine"})
    shelf.store(RelPath(X), b"theirs")

    await bench.cycle(conflict=ConflictPolicy.LOCAL)

    assert [b"theirs"] == in_trash(bench.root)
    assert b"mine" == shelf.content[RelPath(X)]


@pytest.mark.parametrize("change", ["edit", "delete"])
async def test_what_cannot_be_fetched_first_is_neither_replaced_nor_deleted(
    change: str, bench: Bench, shelf: Shelf
) -> None:
    if change == "edit":
        plant(bench.root, {X: b"edited"})
    else:
        (bench.root / X).unlink()
    shelf.gives = {X: _always(FileProblem(f"{X}: gone bad"))}

    report = await bench.cycle()

    assert [X] == [one.path for one in report.problem_list]
    assert b"x" == shelf.content[RelPath(X)]


async def test_a_file_that_is_here_again_is_not_deleted_there(bench: Bench, shelf: Shelf) -> None:
    (bench.root / X).unlink()
    with bench.engine() as engine:
        view = await engine.look()
        plant(bench.root, {X: b"again"})

        report = await engine.carry_out(view)

    assert [X] == [one.path for one in report.problem_list]
    assert b"x" == shelf.content[RelPath(X)]


async def test_a_server_that_keeps_versions_is_not_asked_for_the_old_bytes(
    tmp_path: Path,
) -> None:
    shelf = Shelf()
    async with workbench(tmp_path / "other", lambda: shelf) as bench:
        age(plant(bench.root, TREE))
        await bench.cycle()
        plant(bench.root, {X: b"edited"})

        await bench.cycle()

        assert [] == in_trash(bench.root)


async def test_s85_a_file_that_gives_way_to_a_folder_is_kept_from_any_server(
    tmp_path: Path,
) -> None:
    shelf = Shelf()
    async with workbench(tmp_path / "other", lambda: shelf) as bench:
        age(plant(bench.root, TREE))
        await bench.cycle()
        (bench.root / X).unlink()
        (bench.root / X).mkdir()

        assert {"deleted": 1} == did(await bench.cycle())
        assert [b"x"] == in_trash(bench.root)
        assert RelPath(X) not in shelf.content


def _always(error: FileProblem) -> Iterator[FileProblem]:
    while True:
        yield error


async def test_s85_a_folder_that_became_a_file_clears_its_place_there(
    bench: Bench, shelf: Shelf
) -> None:
    for path in (X, Y):
        (bench.root / path).unlink()
    (bench.root / "s/e/a").rmdir()
    plant(bench.root, {"s/e/a": b"a file"})

    await bench.cycle()
    await bench.cycle()

    assert b"a file" == shelf.content[RelPath("s/e/a")]
    assert RelPath(X) not in shelf.content
