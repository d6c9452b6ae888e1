"""Whatever moves here, and whatever was done on the server meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fwsync.errors import Forbidden, Unavailable
from fwsync.model import ContainerRef, Level, Mode, RelPath, RemoteEntry
from tests.room.rooms import Bench, Shelf, age, below, did, grown, in_trash, plant, workbench
from tests.room.test_engine_moves_properties import PATHS, worlds


class Rack(Shelf):
    """A shelf on which files and folders can be moved. Implements :class:`fwsync.ports.Movable`."""

    def __init__(self, tree: dict[str, bytes]) -> None:
        self.replaced: set[bytes] = set()  #: what uploads have replaced: versions, on a server
        self.containers: dict[str, ContainerRef] = {}  #: by the folders that they are now
        super().__init__(tree)
        self.troubles: Iterator[Exception | None] = iter(())  #: one a move, after it
        self.refuses = False

    def store(self, path: RelPath, content: bytes) -> RemoteEntry:
        if path in self.content:
            self.replaced.add(self.content[path])
        entry = replace(super().store(path, content), container=self._container(path))
        self.listing[path] = entry
        return entry

    def _container(self, path: RelPath) -> ContainerRef:
        """A file that moves to another folder is in another container then."""
        new = ContainerRef(Level.ACQUISITION, f"c{len(self.containers)} of {path}")
        return self.containers.setdefault(path.rpartition("/")[0], new)

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        self.asked.append(("move", entry.path, path))
        if self.refuses:
            raise Forbidden(f"{path}: not ours to move", status=403)
        assert path not in self.listing, "a move replaces nothing"
        assert self.listing[entry.path].file_id == entry.file_id
        self.content[path] = self.content.pop(entry.path)
        there = replace(
            self.listing.pop(entry.path),
            path=path,
            name=path.rpartition("/")[2],
            container=self._container(path),
        )
        self.listing[path] = there
        self._trouble()
        return there

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        self.asked.append(("move_folder", old, new))
        if self.refuses or await self.has_folder(new) or not await self.has_folder(old):
            return False
        inside = f"{old}/"
        if new in self.listing or f"{new}/".startswith(inside):
            return False
        self.permute(
            {path: new + path[len(old) :] for path in [*self.listing] if path.startswith(inside)}
        )
        for folder in [one for one in self.containers if f"{one}/".startswith(inside)]:
            self.containers[new + folder[len(old) :]] = self.containers.pop(folder)
        self._trouble()
        return True

    async def has_folder(self, path: RelPath) -> bool:
        return not path or any(one.startswith(f"{path}/") for one in self.listing)

    def _trouble(self) -> None:
        if trouble := next(self.troubles, None):
            raise trouble


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def _with_rack(tree: dict[str, bytes], run: Any) -> None:
    rack = Rack(tree)
    with tempfile.TemporaryDirectory() as folder:
        async with workbench(Path(folder), lambda: rack) as bench:
            await bench.cycle(Mode.DOWN)
            await run(bench, rack)


def permute(root: Path, moves: dict[str, str]) -> None:
    """Files get other paths here, all at once; folders that are empty then go."""
    for number, old in enumerate(moves):
        (root / old).rename(root / f"aside-{number}")
    for folder in sorted((one for one in root.rglob("*") if one.is_dir()), reverse=True):
        if ".fwsync" not in folder.parts:
            with suppress(OSError):
                folder.rmdir()
    for number, new in enumerate(moves.values()):
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / f"aside-{number}").rename(root / new)


MANY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
UP_OR_BOTH = st.sampled_from([Mode.UP, Mode.BOTH])


@MANY
@given(worlds(), UP_OR_BOTH, st.booleans())
@example(({"a/x": b"1", "a/y": b"2"}, {"a/x": "a/y", "a/y": "a/x"}), Mode.BOTH, True)
@example(({"a/x": b"1", "b/y": b"2"}, {"a/x": "b/x", "b/y": "a/y"}), Mode.UP, False)
@example(({"a": b"1"}, {"a": "a/x"}), Mode.UP, False)
@example(({"a/x": b"1"}, {"a/x": "a"}), Mode.UP, False)
def test_what_only_moves_here_moves_there_without_a_byte(
    world: tuple[dict[str, bytes], dict[str, str]], mode: Mode, may_delete: bool
) -> None:
    tree, moves = world
    contents = [tree[old] for old in moves]
    assume(len(contents) == len(set(contents)))  # else one may be taken for the other

    async def run(bench: Bench, rack: Rack) -> None:
        permute(bench.root, moves)
        before = {one.file_id for one in rack.listing.values()}

        for _ in range(3):
            report = await bench.cycle(mode, delete_up=may_delete)
            assert {} == did(report)

        assert rack.content == grown(bench.root)
        assert before == {one.file_id for one in rack.listing.values()}
        assert 0 == (await bench.cycle(Mode.BOTH)).renamed

    _run(_with_rack(tree, run))


@MANY
@given(worlds(), UP_OR_BOTH, st.booleans(), st.data())
def test_no_bytes_are_lost_whatever_was_done_there(
    world: tuple[dict[str, bytes], dict[str, str]], mode: Mode, refuses: bool, data: st.DataObject
) -> None:
    tree, moves = world
    edited = data.draw(st.sets(st.sampled_from(sorted(tree))), label="edited there")
    deleted = data.draw(st.sets(st.sampled_from(sorted(tree))), label="deleted there") - edited
    new = data.draw(st.sets(st.sampled_from(PATHS)), label="new there") - tree.keys()
    changed = data.draw(st.sets(st.sampled_from(sorted(moves.values()))), label="edited here")
    stops = data.draw(st.none() | st.integers(0, 3), label="stops after")

    async def run(bench: Bench, rack: Rack) -> None:
        permute(bench.root, moves)
        plant(bench.root, {path: f"mine of {path}".encode() for path in changed})
        for path in edited | new:
            rack.store(RelPath(path), f"theirs of {path}".encode())
        for path in deleted:
            del rack.listing[RelPath(path)], rack.content[RelPath(path)]
        rack.refuses = refuses
        if stops is not None:
            rack.troubles = iter([None] * stops + [Unavailable("gone")])
        here, there = grown(bench.root), dict(rack.content)

        age(bench.root)
        with suppress(Unavailable, BaseExceptionGroup):
            await bench.cycle(mode)
        rack.troubles = iter(())
        for _ in range(3):
            await bench.cycle(mode)

        kept = {*grown(bench.root).values(), *in_trash(bench.root), *rack.content.values()}
        assert set(here.values()) <= kept
        for path in edited | new:
            assert there[RelPath(path)] in kept | rack.replaced
        assert [] == below(bench.root / ".fwsync/parts")
        assert not [path for path in rack.listing if ".fwsync-moving-" in path]

    _run(_with_rack(tree, run))


@MANY
@given(worlds(), UP_OR_BOTH, st.integers(0, 5))
@example(({"a/x": b"1", "b/x/z": b"2"}, {"a/x": "b/x", "b/x/z": "a/x"}), Mode.UP, 1)
@example(({"a/x": b"1", "b/x": b"2"}, {"a/x": "b/y", "b/x": "a/x"}), Mode.UP, 1)
def test_a_run_that_is_stopped_among_renames_is_ended_by_the_next(
    world: tuple[dict[str, bytes], dict[str, str]], mode: Mode, stops: int
) -> None:
    tree, moves = world
    contents = [tree[old] for old in moves]
    assume(len(contents) == len(set(contents)))

    async def run(bench: Bench, rack: Rack) -> None:
        permute(bench.root, moves)
        rack.troubles = iter([None] * stops + [RuntimeError("killed")])
        with suppress(RuntimeError, BaseExceptionGroup):
            await bench.cycle(mode)
        rack.troubles = iter(())

        for _ in range(2):
            assert {} == {key: value for key, value in did(await bench.cycle(mode)).items()
                          if key != "adopted"}  # fmt: skip
        assert rack.content == grown(bench.root)

    _run(_with_rack(tree, run))


def test_the_trash_has_nothing_of_a_move(tmp_path: Path) -> None:
    async def run(bench: Bench, rack: Rack) -> None:
        permute(bench.root, {"a/x": "a/y", "a/y": "a/x"})
        age(bench.root)
        await bench.cycle()

        assert [] == in_trash(bench.root)

    _run(_with_rack({"a/x": b"1", "a/y": b"2"}, run))
