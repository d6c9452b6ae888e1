"""What archives do not bring, or cannot, is asked for by itself, and stands in nobody's way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import repeat
from pathlib import Path

import pytest

from fwsync.arrivals import Landing
from fwsync.downloader import ROUNDS, Downloader
from fwsync.errors import FwsyncError, Garbled, NotFound, Refused, Unavailable
from fwsync.model import Decision, RemoteEntry
from fwsync.ports import Member
from tests.room.rooms import Shelf, download, failed, grown, in_parts

TREE = {"s/e/a/one": b"one", "s/e/b/empty": b"", "s/e/b/two": b"two" * 999}

Bring = Callable[[Shelf], Downloader]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def bring(root_fd: int) -> Bring:
    landing = Landing(root_fd, parts=".fwsync/parts", trash=".fwsync/trash/now")
    return lambda shelf: Downloader(shelf, landing, lambda path, size: None)


def everything(shelf: Shelf) -> list[Decision]:
    return [download(shelf, path) for path in shelf.listing]


async def test_what_two_archives_left_out_is_asked_for_by_itself(root: Path, bring: Bring) -> None:
    bulk = Shelf(TREE)
    bulk.gives["s/e/a/one"] = iter([None, None])
    bulk.gives["s/e/b/two"] = iter([b"wrong"] * 2)

    outcomes = await bring(bulk).bring(everything(bulk))

    assert TREE == grown(root)
    assert {} == failed(outcomes)
    assert [
        ("fetch", *TREE),
        ("fetch", "s/e/a/one", "s/e/b/two"),
        ("open", "s/e/a/one"),
        ("open", "s/e/b/two"),
    ] == bulk.asked


class Spoilt(Shelf):
    """A site whose archives cannot be read, or are not to be had at all."""

    spoilt: FwsyncError = Garbled("something follows the end of the archive")

    async def _members(self, entries: Sequence[RemoteEntry]) -> AsyncIterator[Member]:
        for _ in entries:
            raise self.spoilt
        async for member in super()._members(entries):
            yield member


@pytest.mark.parametrize(
    ("error", "archives"),
    [(Garbled("no archive"), 2), (NotFound("no such ticket"), 1), (Refused("not from there"), 1)],
)
async def test_archives_that_cannot_be_had_are_not_asked_for_again_and_again(
    error: FwsyncError, archives: int, root: Path, bring: Bring
) -> None:
    tree = {f"s/e/a/{number}": b"%d" % number for number in range(50)}
    shelf = Spoilt(tree)
    shelf.spoilt = error

    outcomes = await bring(shelf).bring(everything(shelf))

    assert tree == grown(root)
    assert {} == failed(outcomes)
    assert archives == sum(what == "fetch" for what, *_ in shelf.asked)
    assert len(tree) == sum(what == "open" for what, *_ in shelf.asked)


async def test_where_no_archive_is_to_be_had_a_file_that_breaks_off_holds_up_none(
    root: Path, bring: Bring
) -> None:
    tree = {f"s/e/a/{number}": b"%d" % number for number in range(9)}
    shelf = Spoilt(tree)
    shelf.spoilt = NotFound("no such ticket")
    shelf.gives["s/e/a/4"] = repeat(Unavailable("the stream broke off"))

    outcomes = await bring(shelf).bring(everything(shelf))

    assert {"s/e/a/4": "the stream broke off"} == failed(outcomes)
    assert tree.keys() - {"s/e/a/4"} == grown(root).keys()
    assert ROUNDS == shelf.tries("open", "s/e/a/4")
    assert [] == in_parts(root)
