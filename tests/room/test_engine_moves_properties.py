"""Whatever moves on the server, and whatever was done here meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fwsync.model import Mode
from tests.room.rooms import Bench, Shelf, age, below, did, grown, in_trash, plant, workbench

#: Paths among which files change places; some are folders of others.
PATHS = ("a/x", "a/y", "b/x", "b/y", "c/x", "a", "b/x/z")
CONTENTS = (b"1", b"1", b"2", b"33")


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """A few files; no path is a folder of another."""
    tree: dict[str, bytes] = {}
    for path in draw(st.permutations(PATHS))[: draw(st.integers(1, 4))]:
        if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in tree):
            tree[path] = draw(st.sampled_from(CONTENTS))
    return tree


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, bytes], dict[str, str]]:
    """Files, and where they move to: each to a path of its own."""
    tree = draw(trees())
    places = draw(trees().filter(lambda found: len(found) >= len(tree)))
    return tree, dict(zip(sorted(tree), draw(st.permutations(sorted(places))), strict=False))


def _run(work: object) -> None:
    asyncio.run(work)  # type: ignore[arg-type]  # a coroutine, whatever it gives


MANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(worlds(), st.sampled_from([Mode.DOWN, Mode.BOTH]), st.booleans())
@example(({"a/x": b"1", "a/y": b"2"}, {"a/x": "a/y", "a/y": "a/x"}), Mode.BOTH, True)
@example(({"a": b"1"}, {"a": "a/x"}), Mode.DOWN, False)
@example(({"a/x": b"1"}, {"a/x": "a"}), Mode.DOWN, False)
@example(
    ({"a/x": b"1", "a/y": b"2", "b/x": b"33"}, {"a/x": "a/y", "a/y": "b/x", "b/x": "a/x"}),
    Mode.DOWN,
    False,
)
def test_what_only_moves_there_moves_here_without_a_byte(
    world: tuple[dict[str, bytes], dict[str, str]], mode: Mode, may_delete: bool
) -> None:
    tree, moves = world

    async def run(bench: Bench, shelf: Shelf) -> None:
        await bench.cycle(Mode.DOWN)
        shelf.permute(moves)
        asked = len(shelf.asked)

        for _ in range(3):
            report = await bench.cycle(mode, delete_down=may_delete)
            assert 0 == report.bytes + report.deleted + report.uploaded

        assert shelf.content == grown(bench.root)
        assert {"list"} == {one[0] for one in shelf.asked[asked:]}
        assert {} == did(await bench.cycle(Mode.BOTH))

    _run(_with_bench(tree, run))


@MANY
@given(worlds(), st.sampled_from([Mode.DOWN, Mode.BOTH]), st.data())
def test_no_bytes_are_lost_whatever_was_done_here(
    world: tuple[dict[str, bytes], dict[str, str]], mode: Mode, data: st.DataObject
) -> None:
    tree, moves = world
    edited = data.draw(st.sets(st.sampled_from(sorted(tree))), label="edited")
    deleted = data.draw(st.sets(st.sampled_from(sorted(tree))), label="deleted") - edited

    async def run(bench: Bench, shelf: Shelf) -> None:
        await bench.cycle(Mode.DOWN)
        for path in sorted(edited):
            plant(bench.root, {path: f"edit of {path}".encode()})
        for path in sorted(deleted):
            (bench.root / path).unlink()
        shelf.permute(moves)
        server = sorted(shelf.content.values())

        for _ in range(3):
            await bench.cycle(mode)

        kept = [*grown(bench.root).values(), *in_trash(bench.root), *shelf.content.values()]
        for path in edited:
            assert f"edit of {path}".encode() in kept
        if mode is Mode.DOWN:
            assert server == sorted(shelf.content.values())
        else:
            gone = len(server) - len(shelf.content)
            assert gone <= len(deleted)
        assert [] == below(bench.root / ".fwsync/parts")

    _run(_with_bench(tree, run))


async def _with_bench(tree: dict[str, bytes], run) -> None:  # type: ignore[no-untyped-def]
    shelf = Shelf(tree)
    with tempfile.TemporaryDirectory() as folder:
        async with workbench(Path(folder), lambda: shelf) as bench:
            await run(bench, shelf)
            age(bench.root)
