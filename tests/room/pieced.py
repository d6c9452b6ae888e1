"""A large file on a shelf, a state and a folder to bring it to: all that is large is small here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from fwsync import courses, pieces
from fwsync.arrivals import Landing
from fwsync.digest import TagHasher
from fwsync.downloader import Downloader
from fwsync.model import Outcome, RelPath
from fwsync.pieces import validator
from fwsync.roots import part_name
from fwsync.state import StateThread, open_state
from fwsync.state_downloads import Held
from tests.room.rooms import Shelf, done, download, failed, grown, in_parts

PARTS = ".fwsync/parts"
PATH = RelPath("s/e/a/large")
PIECE = 1 << 16
#: Ten pieces and a bit.
LARGE = random.Random(5).randbytes(10 * PIECE + 77)
#: Pieces that a test lets be here before.
SOME = range(4)


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is large is small, and no machine is so slow that a line seems to be."""
    monkeypatch.setattr(courses, "GATHER_S", 3600.0)
    monkeypatch.setattr(courses, "KEEP_S", 3600.0)
    monkeypatch.setattr(pieces, "LARGE", 100_000)
    monkeypatch.setattr(courses, "PIECE", PIECE)
    monkeypatch.setattr(courses, "SPAN", 3 * PIECE)
    monkeypatch.setattr(courses, "BLOCK", PIECE // 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def landing(root_fd: int) -> Landing:
    return Landing(root_fd, parts=PARTS, trash=".fwsync/trash/now")


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateThread]:
    thread = await StateThread.open(partial(open_state, tmp_path / "state.db"))
    yield thread
    await thread.close()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({PATH: LARGE})


@pytest.fixture
def told() -> list[int]:
    return []


Bring = Callable[[], "asyncio.Future[list[Outcome]]"]


@pytest.fixture
def bring(shelf: Shelf, landing: Landing, state: StateThread, told: list[int]) -> Bring:
    """Each call is a run of its own."""

    def run() -> asyncio.Future[list[Outcome]]:
        downloader = Downloader(
            shelf, landing, lambda _, count: told.append(count), state=state, streams=3
        )
        return asyncio.ensure_future(downloader.bring([download(shelf, PATH)]))

    return run


async def begun(state: StateThread) -> dict[RelPath, str]:
    return await state.call(lambda s: s.downloads.all())


async def pieces_here(state: StateThread, shelf: Shelf) -> list[int]:
    """Those that are all here."""
    held = await held_of(state, shelf)
    return sorted(number for number, size in held.items() if size == len(piece_of(number)))


async def held_of(state: StateThread, shelf: Shelf) -> dict[int, int]:
    """How many bytes of each piece are here."""
    valid = validator(shelf.listing[PATH])
    kept = await state.call(lambda s: s.downloads.go_on(PATH, valid))
    return {number: one.size for number, one in kept.pieces.items()} if kept else {}


def piece_of(number: int) -> bytes:
    return LARGE[number * PIECE : (number + 1) * PIECE]


async def keep(
    root: Path,
    state: StateThread,
    shelf: Shelf,
    numbers: Sequence[int] = SOME,
    *,
    most: int = PIECE,
) -> None:
    """As if a run had brought these pieces, so many bytes of each, and died."""
    content = bytearray(len(LARGE))
    valid = validator(shelf.listing[PATH])
    await state.call(lambda s: s.downloads.begin(PATH, valid, PIECE))
    for number in numbers:
        piece = piece_of(number)[:most]
        content[number * PIECE : number * PIECE + len(piece)] = piece
        hasher = TagHasher()
        hasher.update(piece)
        held = {number: Held(len(piece), hasher.local_tag)}
        await state.call(lambda s, h=held: s.downloads.confirm(PATH, h, ""))  # type: ignore[misc]  # bound now
    part = root / PARTS / part_name(PATH)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)


def is_all_there(root: Path, outcomes: list[Outcome]) -> bool:
    assert {} == failed(outcomes)
    assert [PATH] == done(outcomes)
    assert {PATH: LARGE} == grown(root)
    assert [] == in_parts(root)
    return True


def asked_for(shelf: Shelf) -> int:
    """Bytes that spans were asked for, one stream or several."""
    return sum(size for _, size in shelf.spans)
