"""What comes of a large file is wrong, another file, or no pieces at all; or the disk fails."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from fwsync import pieces
from fwsync.arrivals import Landing
from fwsync.digest import LocalTag
from fwsync.downloader import ROUNDS, Downloader
from fwsync.errors import LocalError
from fwsync.model import RelPath
from fwsync.state import StateThread
from fwsync.state_downloads import Held
from tests.room.pieced import (  # fixtures too
    LARGE,
    PARTS,
    PATH,
    PIECE,
    Bring,
    asked_for,
    begun,
    bring,
    is_all_there,
    keep,
    landing,
    pieces_here,
    root,
    shelf,
    sizes,
    state,
    told,
)
from tests.room.rooms import (
    MODIFIED_NS,
    Shelf,
    download,
    failed,
    grown,
    in_parts,
    path_of,
    plant,
    without_hash,
)

__all__ = ["bring", "landing", "root", "shelf", "sizes", "state", "told"]  # fixtures


# ------------------------------------------------------------------------------- wrong bytes


def flipped(content: bytes) -> bytes:
    return content[:70_000] + bytes([content[70_000] ^ 1]) + content[70_001:]


async def test_f28_wrong_bytes_once_are_fetched_again(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.gives[PATH] = iter([flipped(LARGE)] * 12)

    assert is_all_there(root, await bring())


async def test_f29_wrong_bytes_always_are_a_problem_and_are_never_seen(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, told: list[int]
) -> None:
    shelf.gives[PATH] = repeat(flipped(LARGE))

    outcomes = await bring()

    assert [PATH] == list(failed(outcomes))
    assert {} == grown(root)
    assert [] == in_parts(root)
    assert {} == await begun(state)
    assert 0 == sum(told)
    # At last it is asked for in one stream, which no join of ours has touched.
    assert 1 == shelf.tries("open", PATH)
    assert (ROUNDS - 1) * len(LARGE) == asked_for(shelf)


async def test_f45_another_file_in_its_place_is_told_and_not_fetched_again_in_vain(
    root: Path, shelf: Shelf, landing: Landing
) -> None:
    decision = download(shelf, PATH)
    shelf.store(PATH, flipped(LARGE))
    downloader = Downloader(shelf, landing, lambda path, count: None)

    [outcome] = await downloader.bring([decision])

    assert outcome.problem is not None
    assert "changed on the server while it was fetched" == outcome.problem.message
    assert outcome.problem.retryable
    assert len(LARGE) == asked_for(shelf)
    assert {} == grown(root)


async def test_f30_a_file_without_a_hash_comes_in_pieces_too(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.listing[PATH] = without_hash(shelf.listing[PATH])

    assert is_all_there(root, await bring())


async def test_f30_what_is_here_of_a_file_without_a_hash_is_of_no_use_when_its_time_has_changed(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    shelf.listing[PATH] = without_hash(shelf.listing[PATH])
    await keep(root, state, shelf)
    shelf.listing[PATH] = replace(shelf.listing[PATH], modified_ns=MODIFIED_NS + 1)

    assert is_all_there(root, await bring())

    assert len(LARGE) == asked_for(shelf)


async def test_f45_a_content_that_is_called_otherwise_between_two_pieces_starts_again(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.listing[PATH] = without_hash(shelf.listing[PATH])
    shelf.marks = chain(['"a"'] * 3, repeat('"b"'))

    assert is_all_there(root, await bring())

    assert asked_for(shelf) > len(LARGE)


async def test_f45_nor_is_a_piece_of_an_earlier_run_joined_to_it(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    await keep(root, state, shelf)
    held = {3: Held(PIECE, LocalTag("of it"))}
    await state.call(lambda s: s.downloads.confirm(PATH, held, '"a"'))
    shelf.marks = repeat('"b"')

    assert is_all_there(root, await bring())

    assert asked_for(shelf) > len(LARGE)


async def test_a_server_that_never_calls_it_the_same_is_asked_for_one_stream(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.marks = (f'"{number}"' for number in range(1000))

    assert is_all_there(root, await bring())

    assert 1 == shelf.tries("open", PATH)


# --------------------------------------------------------------------------------- no ranges


async def test_f47_a_server_that_knows_no_ranges_is_read_from_the_start_by_that_answer(
    root: Path, shelf: Shelf, bring: Bring, told: list[int]
) -> None:
    shelf.ranges = False

    assert is_all_there(root, await bring())

    assert [("span", PATH)] == shelf.asked
    assert len(LARGE) == sum(told)


async def test_f47_what_is_here_is_not_what_it_goes_on_from(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread, told: list[int]
) -> None:
    await keep(root, state, shelf)
    shelf.ranges = False

    assert is_all_there(root, await bring())

    assert [("span", PATH)] == shelf.asked
    assert len(LARGE) == sum(told)
    assert {} == await begun(state)


async def test_f47_a_server_that_forgets_what_ranges_are_starts_again(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    def forgets(_: RelPath) -> None:
        shelf.ranges = len(shelf.spans) < 3

    shelf.before_member = forgets

    assert is_all_there(root, await bring())


# ------------------------------------------------------------------------------------ the disk


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
async def test_f61_no_space_ends_the_run_and_leaves_no_part(
    call: str,
    root: Path,
    bring: Bring,
    state: StateThread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really, calls = getattr(os, call), 0

    def fail(fd: int, *args: object) -> object:
        nonlocal calls
        if path_of(fd).endswith(".part"):
            calls += 1
            if calls > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(fd, *args)

    monkeypatch.setattr(os, call, fail)

    with pytest.raises(LocalError):
        await bring()

    assert {} == grown(root)
    assert [] == in_parts(root)
    assert {} == await begun(state)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "pread", "fsync"])
async def test_f78_a_disk_that_fails_is_a_problem_of_this_file(
    call: str,
    root: Path,
    bring: Bring,
    state: StateThread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really = getattr(os, call)

    def fail(fd: int, *args: object) -> object:
        if path_of(fd).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(fd, *args)

    monkeypatch.setattr(os, call, fail)

    outcomes = await bring()

    assert [PATH] == list(failed(outcomes))
    assert {} == grown(root)
    assert [] == in_parts(root)
    assert {} == await begun(state)


async def test_a_piece_is_recorded_after_its_bytes_are_durable(
    bring: Bring, state: StateThread, monkeypatch: pytest.MonkeyPatch, shelf: Shelf
) -> None:
    synced = 0
    ahead: list[int] = []
    really, records = os.fdatasync, pieces.Pieces._confirm

    def sync(fd: int) -> None:
        nonlocal synced
        really(fd)
        synced += 1

    async def confirm(self: pieces.Pieces, *args: object) -> None:
        await records(self, *args)  # type: ignore[arg-type]  # as it came
        ahead.append(len(await pieces_here(state, shelf)) - synced)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(pieces.Pieces, "_confirm", confirm)

    await bring()

    assert 11 == synced == len(ahead)
    assert max(ahead) <= 0


async def test_without_fsync_nothing_is_waited_for(
    root: Path, root_fd: int, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(fd: int) -> None:
        assert not path_of(fd).endswith((".part", PARTS)), "it was waited for"

    monkeypatch.setattr(os, "fdatasync", never)
    monkeypatch.setattr(os, "fsync", never)
    landing = Landing(root_fd, parts=PARTS, trash=".fwsync/trash/now", fsync=False)

    outcomes = await Downloader(shelf, landing, lambda *_: None).bring([download(shelf, PATH)])

    assert is_all_there(root, outcomes)


async def test_a_file_that_was_edited_meanwhile_is_left_and_no_part_stays(
    root: Path, shelf: Shelf, bring: Bring, state: StateThread
) -> None:
    def edit(_: RelPath) -> None:
        plant(root, {PATH: b"mine"})

    shelf.before_member = edit

    outcomes = await bring()

    assert [PATH] == list(failed(outcomes))
    assert {PATH: b"mine"} == grown(root)
    assert [] == in_parts(root)
    assert {} == await begun(state)
