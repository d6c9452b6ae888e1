"""A large file comes in pieces; what is on the disk is not asked for again, nor believed unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync import courses
from fwsync.arrivals import Landing
from fwsync.courses import piece_size
from fwsync.downloader import Downloader
from fwsync.errors import AuthError, FwsyncError, Unavailable
from fwsync.held_state import PART_KEPT_NS, _sweep
from fwsync.model import Decision, RelPath, Unknown, Verb
from fwsync.pieces import forget_stale
from fwsync.roots import part_name
from fwsync.state import StateThread, open_state
from tests.room.pieced import (  # fixtures too
    LARGE,
    PARTS,
    PATH,
    PIECE,
    SOME,
    Bring,
    asked_for,
    begun,
    bring,
    held_of,
    is_all_there,
    keep,
    landing,
    root,
    shelf,
    sizes,
    state,
    told,
)
from tests.room.rooms import (
    MODIFIED_NS,
    Given,
    Shelf,
    download,
    failed,
    grown,
    in_parts,
    in_trash,
    local,
    plant,
    without_hash,
)

__all__ = ["bring", "landing", "root", "shelf", "sizes", "state", "told"]  # fixtures


# ------------------------------------------------------------------------------------ it works


async def test_a_large_file_comes_in_pieces_and_each_byte_once(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, told: list[int]
) -> None:
    outcomes = await bring()

    assert is_all_there(root, outcomes)
    assert {("span", PATH)} == set(shelf.asked)
    assert len(shelf.spans) >= 4
    assert len(LARGE) == asked_for(shelf) == sum(told) == outcomes[0].moved
    assert all(offset % PIECE == 0 for offset, _ in shelf.spans)
    assert MODIFIED_NS == (root / PATH).stat().st_mtime_ns
    assert {} == await begun(state)


async def test_f11_what_is_in_place_is_what_the_outcome_says(
    root: Path, bring: Bring, shelf: Shelf
) -> None:
    [outcome] = await bring()

    assert outcome.local is not None
    assert local(root, PATH).stamp == outcome.local.stamp
    assert shelf.listing[PATH].digest == outcome.local.digest
    assert outcome.hashed_at_ns > 0


async def test_it_replaces_what_the_plan_saw_and_that_goes_to_the_trash(
    root: Path, shelf: Shelf, landing: Landing
) -> None:
    plant(root, {PATH: b"old"})
    downloader = Downloader(shelf, landing, lambda path, count: None)

    outcomes = await downloader.bring([download(shelf, PATH, local(root, PATH))])

    assert is_all_there(root, outcomes)
    assert [b"old"] == in_trash(root)


async def test_a_small_file_is_not_cut_up(shelf: Shelf, landing: Landing) -> None:
    shelf.store(RelPath("s/e/a/small"), b"small")
    downloader = Downloader(shelf, landing, lambda path, count: None)

    await downloader.bring([download(shelf, "s/e/a/small")])

    assert [("open", "s/e/a/small")] == shelf.asked


async def test_no_more_streams_are_open_than_are_allowed(shelf: Shelf, landing: Landing) -> None:
    now = most = 0
    many = [RelPath(f"s/e/a/{number}") for number in range(4)]
    for path in many:
        shelf.store(path, LARGE)
    really = shelf._pour

    async def counted(given: Given, offset: int) -> AsyncIterator[bytes]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            async for chunk in really(given, offset):
                yield chunk
        finally:
            now -= 1

    shelf._pour = counted  # type: ignore[method-assign]  # to count how many are read at once
    downloader = Downloader(shelf, landing, lambda path, count: None, streams=2)

    await asyncio.gather(*(downloader.bring([download(shelf, path)]) for path in many))

    assert 2 == most


class Chunked(Shelf):
    """Its answers come in chunks of one size."""

    chunk = 1

    async def _pour(self, given: Given, offset: int) -> AsyncIterator[bytes]:
        assert isinstance(given, bytes)
        for at in range(0, len(given), self.chunk):
            await asyncio.sleep(0)
            yield given[at : at + self.chunk]


@pytest.mark.parametrize("chunk", [1021, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7, len(LARGE)])
async def test_chunks_are_cut_where_the_pieces_end(
    chunk: int, root: Path, landing: Landing, state: StateThread
) -> None:
    shelf = Chunked({PATH: LARGE})
    shelf.chunk = chunk
    downloader = Downloader(shelf, landing, lambda path, count: None, state=state)

    outcomes = await downloader.bring([download(shelf, PATH)])

    assert is_all_there(root, outcomes)
    assert len(LARGE) == outcomes[0].moved


async def test_what_is_gathered_for_a_thread_is_not_copied() -> None:
    came = [bytes(courses.BLOCK - 1), b"1", bytes(courses.BLOCK), b"the rest"]

    async def chunks() -> AsyncIterator[bytes]:
        for one in came:
            yield one

    gathered = [block async for block in courses.blocks(chunks())]

    assert [2, 1, 1] == [len(block) for block in gathered]
    handed_out = [one for block in gathered for one in block]
    assert all(one is other for one, other in zip(came, handed_out, strict=True))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 8 << 20),
        (1 << 30, 8 << 20),
        (8192 * (8 << 20), 8 << 20),
        (8192 * (8 << 20) + 1, 9 << 20),
        (1 << 40, 128 << 20),
    ],
)
def test_pieces_are_so_large_that_there_are_not_too_many(
    size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    assert expected == piece_size(size)
    assert -(-size // piece_size(size)) <= courses.MOST_PIECES


# ------------------------------------------------------------------------------- a later run


async def test_f08_what_a_run_that_died_had_on_the_disk_is_not_asked_for_again(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, told: list[int]
) -> None:
    await keep(root, state, shelf)

    outcomes = await bring()

    assert is_all_there(root, outcomes)
    left = len(LARGE) - len(SOME) * PIECE
    assert left == asked_for(shelf) == outcomes[0].moved
    assert len(LARGE) == sum(told)
    assert {} == await begun(state)


@pytest.mark.parametrize("numbers", [[0, 2, 4, 9], [10], [1, 2, 3], list(range(10))])
async def test_f08_pieces_that_are_missing_in_between_are_asked_for(
    numbers: list[int], root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    await keep(root, state, shelf, numbers)

    assert is_all_there(root, await bring())

    held = sum(len(LARGE[n * PIECE : (n + 1) * PIECE]) for n in numbers)
    assert len(LARGE) - held == asked_for(shelf)


async def test_f10_a_file_that_is_all_here_is_put_in_place_without_a_request(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    await keep(root, state, shelf, range(11))

    outcomes = await bring()

    assert is_all_there(root, outcomes)
    assert [] == shelf.asked
    assert 0 == outcomes[0].moved


async def test_f09_a_part_that_is_long_enough_and_wrong_is_not_believed(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    await keep(root, state, shelf, range(11))
    part = root / PARTS / part_name(PATH)
    part.write_bytes(bytes(len(LARGE)))

    assert is_all_there(root, await bring())

    assert len(LARGE) == asked_for(shelf)


@pytest.mark.parametrize("hashed", [True, False], ids=["with a hash", "without"])
@pytest.mark.parametrize("damage", ["short", "long", "gone", "other"])
async def test_f09_a_part_that_was_damaged_since_is_no_harm(
    damage: str, hashed: bool, root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    if not hashed:
        shelf.listing[PATH] = without_hash(shelf.listing[PATH])
    await keep(root, state, shelf)
    part = root / PARTS / part_name(PATH)
    content = part.read_bytes()
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(
            {
                "short": content[: 2 * PIECE],
                "long": content + b"more",
                "other": b"!" + content[1:],
            }[damage]
        )

    assert is_all_there(root, await bring())


async def test_a_part_that_became_a_link_is_not_written_through(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, tmp_path: Path
) -> None:
    await keep(root, state, shelf)
    part = root / PARTS / part_name(PATH)
    part.unlink()
    (tmp_path / "mine").write_bytes(b"mine")
    part.symlink_to(tmp_path / "mine")

    outcomes = await bring()

    assert [PATH] == list(failed(outcomes))
    assert b"mine" == (tmp_path / "mine").read_bytes()
    assert {} == grown(root)
    assert [] == in_parts(root)
    assert {} == await begun(state)


async def test_f45_what_is_here_of_another_version_is_dropped(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    await keep(root, state, shelf)
    entry = shelf.listing[PATH]
    shelf.listing[PATH] = replace(entry, version=entry.version + 1)

    assert is_all_there(root, await bring())

    assert len(LARGE) == asked_for(shelf)


async def test_a_run_that_is_cancelled_leaves_what_it_had_for_the_next(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, told: list[int]
) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stand_still(_: RelPath) -> None:
        if len(shelf.spans) > 5:
            loop.call_soon_threadsafe(reached.set)

    shelf.before_member = stand_still
    run = bring()
    await reached.wait()
    run.cancel()
    await asyncio.wait([run])

    assert run.cancelled()
    assert [part_name(PATH)] == in_parts(root)
    here = sum((await held_of(state, shelf)).values())
    assert 0 < here == sum(told)

    shelf.before_member = lambda _: None
    shelf.spans.clear()

    assert is_all_there(root, await bring())
    assert len(LARGE) - here == asked_for(shelf)


class Ending(Shelf):
    """After so many answers it has nothing more to say."""

    answers = 4
    error: FwsyncError = Unavailable("the connection broke")

    async def _pour(self, given: Given, offset: int) -> AsyncIterator[bytes]:
        self.answers -= 1
        if self.answers < 0:
            raise self.error
        async for chunk in super()._pour(given, offset):
            yield chunk


@pytest.mark.parametrize("error", [Unavailable("the connection broke"), AuthError("401")])
async def test_a_run_that_cannot_go_on_leaves_what_it_had_for_the_next(
    error: FwsyncError, root: Path, landing: Landing, state: StateThread
) -> None:
    shelf = Ending({PATH: LARGE})
    shelf.error = error
    downloader = Downloader(shelf, landing, lambda path, count: None, state=state)

    with pytest.raises(type(error)):
        await downloader.bring([download(shelf, PATH)])

    here = sum((await held_of(state, shelf)).values())
    assert here
    assert {} == grown(root)

    shelf.answers = 100
    shelf.spans.clear()

    assert is_all_there(root, await downloader.bring([download(shelf, PATH)]))
    assert len(LARGE) - here == asked_for(shelf)


# ---------------------------------------------------------------------------------- breaks


class Breaking(Shelf):
    """Each answer ends after so many bytes; by a break, or as if that were all."""

    after = PIECE // 2 + 11
    cleanly = False

    async def _pour(self, given: Given, offset: int) -> AsyncIterator[bytes]:
        assert isinstance(given, bytes)
        await asyncio.sleep(0)
        yield given[: self.after]
        if not self.cleanly and len(given) > self.after:
            raise Unavailable("the connection broke")


@pytest.mark.parametrize("cleanly", [False, True], ids=["F23", "F26"])
async def test_f23_f26_a_stream_that_ends_early_goes_on_at_the_very_byte(
    cleanly: bool, root: Path, landing: Landing
) -> None:
    shelf = Breaking({PATH: LARGE})
    shelf.cleanly = cleanly
    downloader = Downloader(shelf, landing, lambda path, count: None)

    outcomes = await downloader.bring([download(shelf, PATH)])

    assert is_all_there(root, outcomes)
    assert len(LARGE) == outcomes[0].moved  # no byte came twice


@pytest.mark.parametrize("cleanly", [False, True], ids=["F23", "F26"])
async def test_f23_f26_a_stream_that_brings_nothing_is_given_up(
    cleanly: bool, root: Path, landing: Landing
) -> None:
    shelf = Breaking({PATH: LARGE})
    shelf.cleanly, shelf.after = cleanly, 0
    downloader = Downloader(shelf, landing, lambda path, count: None)

    if cleanly:
        shelf.ranges = True
        outcomes = await downloader.bring([download(shelf, PATH)])
        assert [PATH] == list(failed(outcomes))
    else:
        with pytest.raises(Unavailable):
            await downloader.bring([download(shelf, PATH)])

    assert {} == grown(root)
    assert [] == in_parts(root)  # without a state, nobody could go on


# ----------------------------------------------------------------------------------- the sweep


def test_a_part_that_is_known_stays_and_others_go(tmp_path: Path) -> None:
    parts = plant(tmp_path, {part_name(PATH): b"known", part_name("other"): b"not"})
    with open_state(tmp_path / "state.db") as state:
        state.downloads.begin(PATH, "1", PIECE)
        state.downloads.begin(RelPath("gone"), "1", PIECE)

        _sweep(state, parts)

        assert {PATH: "1"} == state.downloads.all()
    assert [part_name(PATH)] == [one.name for one in parts.glob("*.part")]


def test_a_part_that_no_run_has_gone_on_with_for_weeks_goes(tmp_path: Path) -> None:
    parts = plant(tmp_path, {part_name(PATH): b"known"})
    with open_state(tmp_path / "state.db", now_ns=lambda: 1) as state:
        state.downloads.begin(PATH, "1", PIECE)
        assert PART_KEPT_NS > 0

        _sweep(state, parts)

        assert {} == state.downloads.all()
    assert [] == list(parts.glob("*.part"))


async def stale(
    root: Path, root_fd: int, state: StateThread, shelf: Shelf, *plan: Decision, unknown: str = "-"
) -> bool:
    """Is the part gone, and its row with it?"""
    await keep(root, state, shelf)
    unseen = [Unknown(RelPath(unknown), "403")]
    await forget_stale(state, root_fd, PARTS, plan, unseen)
    gone = not in_parts(root)
    assert gone is not bool(await begun(state))
    return gone


async def test_a_part_that_is_still_wanted_stays(
    root: Path, root_fd: int, state: StateThread, shelf: Shelf
) -> None:
    decision = download(shelf, PATH)

    assert not await stale(root, root_fd, state, shelf, decision)
    assert not await stale(root, root_fd, state, shelf, replace(decision, verb=Verb.CONFLICT))


async def test_a_part_that_is_not_wanted_any_more_goes(
    root: Path, root_fd: int, state: StateThread, shelf: Shelf
) -> None:
    decision = download(shelf, PATH)
    assert decision.remote is not None

    assert await stale(root, root_fd, state, shelf)
    assert await stale(root, root_fd, state, shelf, replace(decision, verb=Verb.ADOPT))
    newer = replace(decision.remote, version=9)
    assert await stale(root, root_fd, state, shelf, replace(decision, remote=newer))


@pytest.mark.parametrize(
    ("scope", "goes"), [("", False), ("s/e", False), (PATH, False), ("s/e/b", True)]
)
async def test_a_part_of_which_the_listing_says_nothing_stays(
    scope: str, goes: bool, root: Path, root_fd: int, state: StateThread, shelf: Shelf
) -> None:
    assert goes is await stale(root, root_fd, state, shelf, unknown=scope)
