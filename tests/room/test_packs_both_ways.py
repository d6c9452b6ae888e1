"""Packs that go both ways: what comes down unpacked, and what a kill or an edit leaves of it."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fwsync import localfs, renaming
from fwsync.errors import FileProblem, LocalError
from fwsync.executor import PARTS
from fwsync.filters import Filters
from fwsync.model import ConflictPolicy, Mode, RelPath, RemoteEntry, Verb
from fwsync.roots import clean_parts
from fwsync.state import State
from fwsync.unpacking.finish import finish_unpacking
from tests.room.packed import PACKED, SERIES, ZIP
from tests.room.rooms import (
    Bench,
    Shelf,
    age,
    descriptor,
    did,
    grown,
    in_parts,
    in_trash,
    opened_names,
    plant,
    workbench,
)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        yield made


def planted(bench: Bench, tree: dict[str, bytes]) -> None:
    plant(bench.root, tree)
    age(bench.root)


def zipped(tree: dict[str, bytes]) -> bytes:
    """A zip as others make it: neither its size nor its bytes are those of ours."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content * 100)
    return made.getvalue()


SLICES = {f"{number}.dcm": b"slice %d" % number for number in range(5)}
UNZIPPED = {f"s1/ses/T1/{name}": content * 100 for name, content in SLICES.items()}


async def test_a_member_that_would_not_be_packed_again_is_not_unpacked(
    bench: Bench, shelf: Shelf
) -> None:
    """Or the next run would send the pack without it."""
    shelf.store(ZIP, zipped(SLICES))
    await bench.cycle(placement=PACKED)
    theirs = zipped(SLICES | {"readme.txt": b"no slice"})
    shelf.store(ZIP, theirs)

    for _ in range(2):
        report = await bench.cycle(placement=PACKED)

        assert [ZIP] == [one.path for one in report.problem_list]
        assert (theirs, UNZIPPED) == (shelf.content[ZIP], grown(bench.root))


async def test_a_member_that_is_filtered_out_here_is_not_lost_there(
    bench: Bench, shelf: Shelf
) -> None:
    without = Filters(exclude=["0.dcm"])
    theirs = zipped(SLICES)
    shelf.store(ZIP, theirs)

    for _ in range(2):
        await bench.cycle(placement=PACKED, ignore=without)

        assert theirs == shelf.content[ZIP]
        assert {ZIP: theirs} == grown(bench.root)  # whole, and as it is


async def test_a_new_version_with_a_member_that_is_filtered_out_here_is_left(
    bench: Bench, shelf: Shelf
) -> None:
    without = Filters(exclude=["late.dcm"])
    shelf.store(ZIP, zipped(SLICES))
    await bench.cycle(placement=PACKED, ignore=without)
    theirs = zipped(SLICES | {"late.dcm": b"late"})
    shelf.store(ZIP, theirs)

    for _ in range(2):
        report = await bench.cycle(placement=PACKED, ignore=without)

        assert [ZIP] == [one.path for one in report.problem_list]
        assert (theirs, UNZIPPED) == (shelf.content[ZIP], grown(bench.root))


async def test_members_come_back_into_the_folders_that_they_were_in(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    tree = {f"s1/ses/T1/raw/{name}": content for name, content in SLICES.items()}
    planted(bench, tree)
    await bench.cycle(placement=PACKED)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        await other.cycle(placement=PACKED)

        assert tree == grown(other.root)
        assert {} == did(await other.cycle(placement=PACKED))


async def test_a_pack_of_which_a_member_has_changed_is_not_deleted_by_half(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(bench, SERIES | {"s1/ses/T2/a.txt": b"a"})
    await bench.cycle(placement=PACKED)
    del shelf.listing[ZIP], shelf.content[ZIP]
    look = shelf.look

    async def edit_and_look(path: RelPath) -> RemoteEntry | None:
        await asyncio.to_thread(plant, bench.root, {"s1/ses/T1/004.dcm": b"by hand"})
        return await look(path)

    monkeypatch.setattr(shelf, "look", edit_and_look)
    report = await bench.cycle(placement=PACKED)

    assert [ZIP] == [one.path for one in report.problem_list]
    assert SERIES.keys() < grown(bench.root).keys()
    assert [] == in_trash(bench.root)


async def test_a_deletion_of_a_pack_that_was_killed_half_way_is_finished(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what is left of it would be sent up as the pack."""
    planted(bench, SERIES | {"s1/ses/T2/a.txt": b"a"})
    await bench.cycle(placement=PACKED)
    del shelf.listing[ZIP], shelf.content[ZIP]
    left = iter(range(2))

    def killed(*args: Any, **kwargs: Any) -> str:
        if next(left, None) is None:
            raise Killed
        return discard(*args, **kwargs)

    discard = renaming.discard
    with monkeypatch.context() as patch:
        patch.setattr(renaming, "discard", killed)
        with pytest.raises(Killed):
            await bench.cycle(placement=PACKED)
    assert 2 == len(in_trash(bench.root))
    await asyncio.to_thread(finished, bench.root)
    report = await bench.cycle(placement=PACKED)

    assert {} == did(report)
    assert ZIP not in shelf.content
    assert {"s1/ses/T2/a.txt": b"a"} == grown(bench.root)
    assert sorted(SERIES.values()) == in_trash(bench.root)


async def planned(bench: Bench, **more: Any) -> tuple[list[tuple[Verb, RelPath]], list[RelPath]]:
    """What a plan would show: its decisions, and where there is a problem."""
    with bench.engine(placement=PACKED, **more) as engine:
        view = await engine.look()
    return [(one.verb, one.path) for one in view.plan.decisions], [
        RelPath(one.path) for one in view.problems
    ]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("steps", range(5))
async def test_a_plan_leaves_alone_what_is_not_all_in_place_yet(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, steps: int, mode: Mode
) -> None:
    """Only a run may finish it: a plan writes nothing."""
    shelf.store(ZIP, zipped(SLICES))
    left, publish = iter(range(steps)), renaming.publish

    def killed(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return publish(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(renaming, "publish", killed)
        with pytest.raises((Killed, ExceptionGroup)):
            await bench.cycle(placement=PACKED)
    assert steps == len(grown(bench.root))

    decisions, problems = await planned(bench, mode=mode)

    seen = [] if mode is Mode.UP and steps == 0 else [ZIP]
    assert ([], seen) == (decisions, problems)
    await asyncio.to_thread(finished, bench.root)
    assert ([(Verb.ADOPT, ZIP)], []) == await planned(bench, mode=mode)


@pytest.mark.parametrize("conflict", list(ConflictPolicy))
async def test_what_came_down_is_no_conflict_whatever_is_done_about_those(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, conflict: ConflictPolicy
) -> None:
    shelf.store(ZIP, zipped(SLICES))

    def killed(*_args: Any, **_kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "record", killed)
        with pytest.raises(Killed):
            await bench.cycle(placement=PACKED)

    assert ([(Verb.ADOPT, ZIP)], []) == await planned(bench, conflict=conflict)
    assert {"adopted": 1} == did(await bench.cycle(placement=PACKED, conflict=conflict))
    assert 0 == shelf.tries("put", ZIP)
    assert [] == in_parts(bench.root)


class Killed(Exception):
    """As far as the next run can tell."""


def finished(root: Path) -> None:
    """What a run does first."""
    with descriptor(root) as root_fd:
        assert [] == [one for done in finish_unpacking(root_fd, PARTS) for one in done.problems]


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize("when", ["unpacked", "noted"])
async def test_a_pack_that_was_unpacked_by_a_run_that_was_killed_is_adopted(
    bench: Bench,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    with_digest: bool,
) -> None:
    shelf.with_digest = with_digest
    shelf.store(ZIP, zipped(SLICES))
    at, name = (State, "record") if when == "unpacked" else (renaming, "publish")

    def killed(*_args: Any, **_kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(at, name, killed)
        with pytest.raises((Killed, ExceptionGroup)):
            await bench.cycle(placement=PACKED)
    await asyncio.to_thread(clean_parts, bench.root / PARTS)
    await asyncio.to_thread(finished, bench.root)
    assert UNZIPPED == grown(bench.root)
    assert ([(Verb.ADOPT, ZIP)], []) == await planned(bench)
    report = await bench.cycle(placement=PACKED)

    assert {"adopted": 1} == did(report)
    assert {} == did(await bench.cycle(placement=PACKED))
    assert [] == in_parts(bench.root)


@pytest.mark.parametrize("steps", range(5))
async def test_a_watch_that_found_no_space_puts_the_rest_in_place_in_its_next_cycle(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    shelf.store(ZIP, zipped(SLICES))
    left, publish = iter(range(steps)), renaming.publish

    def full(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise LocalError("no space left")
        return publish(*args, **kwargs)

    with bench.engine(placement=PACKED) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(renaming, "publish", full)
            with pytest.raises(LocalError):
                await engine.cycle()
        assert {"adopted": 1} == did(await engine.cycle())
        assert {} == did(await engine.cycle())

    assert UNZIPPED == grown(bench.root)
    assert [] == in_parts(bench.root)


async def test_a_pack_whose_folder_was_not_made_durable_is_finished_by_the_next_cycle(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.store(ZIP, zipped(SLICES))

    def broken(*_args: Any) -> None:
        raise FileProblem("s1/ses/T1: cannot be made durable (Input/output error)")

    with bench.engine(placement=PACKED) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(localfs, "sync_folder", broken)
            assert [ZIP] == [one.path for one in (await engine.cycle()).problem_list]
        assert {"adopted": 1} == did(await engine.cycle())

    assert UNZIPPED == grown(bench.root)
    assert [] == in_parts(bench.root)


async def test_a_note_that_cannot_be_read_is_told_once_by_a_watch(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.store(ZIP, zipped(SLICES))

    def full(*_args: Any, **_kwargs: Any) -> Any:
        raise LocalError("no space left")

    with bench.engine(placement=PACKED) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(renaming, "publish", full)
            with pytest.raises(LocalError):
                await engine.cycle()
        (note,) = (bench.root / PARTS).glob("*/note")
        note.write_bytes(b"{")
        for _ in range(3):
            assert [ZIP] == [one.path for one in (await engine.cycle()).problem_list]

    assert 1 == sum("a pack was being unpacked" in one for one in bench.notes.told)


async def test_a_pack_that_was_edited_after_the_kill_is_a_conflict(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.store(ZIP, zipped(SLICES))

    def killed(*_args: Any, **_kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "record", killed)
        with pytest.raises(Killed):
            await bench.cycle(placement=PACKED)
    planted(bench, {"s1/ses/T1/0.dcm": b"by hand"})

    with opened_names() as first:
        assert {"conflicts": 1} == did(await bench.cycle(placement=PACKED))
    with opened_names() as again:
        assert {"conflicts": 1} == did(await bench.cycle(placement=PACKED))
    assert "0.dcm" in first
    assert "0.dcm" not in again


async def test_another_zip_of_the_same_members_is_agreed_on_again_after_a_deletion_undone(
    bench: Bench, shelf: Shelf
) -> None:
    """Two digests are known of the pack by then: of our zip, and of theirs."""
    planted(bench, UNZIPPED | {"s1/ses/T2/a.txt": b"a"})
    await bench.cycle(placement=PACKED)
    shelf.store(ZIP, zipped(SLICES))
    assert 1 == (await bench.cycle(placement=PACKED)).downloaded
    for path in UNZIPPED:
        (bench.root / path).unlink()
    await bench.cycle(placement=PACKED, delete_up=False)
    planted(bench, UNZIPPED)

    assert {"adopted": 1} == did(await bench.cycle(placement=PACKED))
    assert {} == did(await bench.cycle(placement=PACKED))
