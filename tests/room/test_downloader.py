"""Nothing shows under its name before all of it was proved; what arrived whole stays."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from fwsync import downloader as room
from fwsync.arrivals import Landing
from fwsync.downloader import ROUNDS, Downloader, batches
from fwsync.errors import AuthError, LocalError, Unavailable
from fwsync.model import Decision, RelPath
from fwsync.roots import part_name
from tests.room.rooms import (
    MODIFIED_NS,
    Given,
    Shelf,
    digest,
    done,
    download,
    failed,
    grown,
    in_parts,
    in_trash,
    local,
    path_of,
    plant,
    without_hash,
)

TRASH = ".fwsync/trash/now"
LARGE = bytes(range(256)) * 12_000  # three blocks, streamed to its part
TREE = {"s/e/a/one": b"one", "s/e/a/large": LARGE, "s/e/b/empty": b"", "s/e/b/two": b"two" * 999}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def landing(root_fd: int) -> Landing:
    return Landing(root_fd, parts=".fwsync/parts", trash=TRASH)


@pytest.fixture(params=["bulk", "one by one"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    return Shelf(TREE, fetch_limit=100 if request.param == "bulk" else 1)


@pytest.fixture
def bulk() -> Shelf:
    return Shelf(TREE)


Bring = Callable[[Shelf], Downloader]


@pytest.fixture
def told() -> dict[str, int]:
    return {}


@pytest.fixture
def bring(landing: Landing, told: dict[str, int]) -> Bring:
    def advanced(path: RelPath, size: int) -> None:
        told[path] = told.get(path, 0) + size

    return lambda shelf: Downloader(shelf, landing, advanced)


def everything(shelf: Shelf) -> list[Decision]:
    return [download(shelf, path) for path in shelf.listing]


# ------------------------------------------------------------------------------------ it works


async def test_what_was_fetched_is_there_with_the_servers_time(
    root: Path, shelf: Shelf, bring: Bring, told: dict[str, int]
) -> None:
    outcomes = await bring(shelf).bring(everything(shelf))

    assert TREE == grown(root)
    assert sorted(TREE) == done(outcomes)
    assert [] == in_parts(root)
    assert [] == in_trash(root)
    for one in outcomes:
        path = one.decision.path
        assert one.local is not None
        assert local(root, path).stamp == one.local.stamp
        assert MODIFIED_NS == one.local.stamp.mtime_ns
        assert digest(TREE[path]) == one.local.digest
        assert one.local.etag is not None
        assert len(TREE[path]) == one.moved
        assert one.hashed_at_ns > 0
    assert {path: len(content) for path, content in TREE.items() if content} == {
        path: size for path, size in told.items() if size
    }


async def test_nothing_to_fetch_asks_nothing(shelf: Shelf, bring: Bring) -> None:
    assert [] == await bring(shelf).bring([])
    assert [] == shelf.asked


async def test_a_server_without_hashes_is_believed_by_size(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.listing = {path: without_hash(entry) for path, entry in shelf.listing.items()}

    outcomes = await bring(shelf).bring(everything(shelf))

    assert TREE == grown(root)
    assert digest(LARGE) in [one.local.digest for one in outcomes if one.local is not None]


async def test_a_server_without_hashes_that_sends_too_little_is_not_believed(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.listing = {path: without_hash(entry) for path, entry in shelf.listing.items()}
    shelf.gives["s/e/b/two"] = repeat(b"two")

    outcomes = await bring(shelf).bring(everything(shelf))

    assert ["s/e/b/two"] == list(failed(outcomes))
    assert TREE.keys() - {"s/e/b/two"} == grown(root).keys()


async def test_a_server_without_times_leaves_the_time_of_arrival(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.listing = {p: replace(entry, modified_ns=0) for p, entry in shelf.listing.items()}

    await bring(shelf).bring(everything(shelf))

    assert MODIFIED_NS < (root / "s/e/a/one").stat().st_mtime_ns


async def test_what_it_replaces_goes_to_the_trash(root: Path, shelf: Shelf, bring: Bring) -> None:
    plant(root, {"s/e/a/one": b"old one", "s/e/a/large": b"old large"})

    outcomes = await bring(shelf).bring(
        [download(shelf, path, local(root, path)) for path in ("s/e/a/one", "s/e/a/large")]
    )

    assert {} == failed(outcomes)
    assert {path: TREE[path] for path in ("s/e/a/one", "s/e/a/large")} == grown(root)
    assert [b"old large", b"old one"] == in_trash(root)


async def test_large_files_travel_alone(
    root: Path, bulk: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ALONE", 1_000_000)

    await bring(bulk).bring(everything(bulk))

    assert TREE == grown(root)
    assert [
        ("fetch", "s/e/a/one", "s/e/b/empty", "s/e/b/two"),
        ("open", "s/e/a/large"),
    ] == bulk.asked


async def test_many_small_files_land_in_groups(root: Path, root_fd: int, bring: Bring) -> None:
    tree = {f"s/e/a{number % 5}/{number}": b"%d" % number for number in range(150)}
    shelf = Shelf(tree)

    outcomes = await bring(shelf).bring(everything(shelf))

    assert tree == grown(root)
    assert sorted(tree) == done(outcomes)
    assert [] == in_parts(root)


# --------------------------------------------------------------------------------- wrong bytes


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("path", ["s/e/a/one", "s/e/a/large"])
async def test_wrong_bytes_once_are_fetched_again(
    path: str, root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.gives[path] = iter([flipped(TREE[path])])

    outcomes = await bring(shelf).bring(everything(shelf))

    assert TREE == grown(root)
    assert {} == failed(outcomes)
    assert 2 == shelf.tries("fetch", path) + shelf.tries("open", path)
    assert 1 == shelf.tries("fetch", "s/e/b/two") + shelf.tries("open", "s/e/b/two")


@pytest.mark.parametrize("wrong", [flipped, lambda b: b[:-1], lambda b: b + b"!", lambda b: b""])
@pytest.mark.parametrize("path", ["s/e/a/one", "s/e/a/large"])
async def test_wrong_bytes_always_are_a_problem_and_are_never_seen(
    wrong: Callable[[bytes], bytes], path: str, root: Path, shelf: Shelf, bring: Bring
) -> None:
    shelf.gives[path] = repeat(wrong(TREE[path]))

    outcomes = await bring(shelf).bring(everything(shelf))

    assert [path] == list(failed(outcomes))
    assert {one: TREE[one] for one in TREE if one != path} == grown(root)
    assert [] == in_parts(root)
    assert ROUNDS == shelf.tries("fetch", path) + shelf.tries("open", path)


async def test_the_message_about_a_file_is_about_that_file(shelf: Shelf, bring: Bring) -> None:
    shelf.gives["s/e/a/one"] = repeat(b"ONE")
    shelf.gives["s/e/b/two"] = repeat(b"too short")

    messages = failed(await bring(shelf).bring(everything(shelf)))

    assert f"got {digest(b'ONE')}; expected {digest(b'one')}" == messages["s/e/a/one"]
    assert "got 9 bytes; expected 2997" == messages["s/e/b/two"]


async def test_a_wrong_file_leaves_the_old_one_in_place(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    plant(root, {"s/e/a/large": b"old"})
    shelf.gives["s/e/a/large"] = repeat(flipped(LARGE))

    outcomes = await bring(shelf).bring(
        [download(shelf, "s/e/a/large", local(root, "s/e/a/large"))]
    )

    assert ["s/e/a/large"] == list(failed(outcomes))
    assert {"s/e/a/large": b"old"} == grown(root)
    assert [] == in_trash(root)


async def test_a_file_that_is_larger_than_listed_is_not_read_to_its_end(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    endless = bytes(1 << 20) * 40
    bulk.gives["s/e/a/one"] = repeat(endless)
    bulk.gives["s/e/a/large"] = repeat(endless)
    bulk.announces["s/e/a/large"] = len(LARGE)

    outcomes = await bring(bulk).bring(everything(bulk))

    assert {"s/e/a/one", "s/e/a/large"} == failed(outcomes).keys()
    assert {"s/e/b/empty", "s/e/b/two"} == grown(root).keys()
    assert [] == in_parts(root)


# ------------------------------------------------------------------------------- missing, broken


async def test_a_member_that_is_missing_once_is_asked_for_again(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    bulk.gives["s/e/b/two"] = iter([None])

    outcomes = await bring(bulk).bring(everything(bulk))

    assert TREE == grown(root)
    assert {} == failed(outcomes)
    assert [("fetch", *TREE), ("open", "s/e/b/two")] == bulk.asked


async def test_a_member_that_is_always_missing_is_fetched_alone(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    bulk.gives["s/e/a/one"] = iter([None])
    bulk.gives["s/e/b/two"] = iter([None, None])

    outcomes = await bring(bulk).bring(everything(bulk))

    assert TREE == grown(root)
    assert {} == failed(outcomes)


async def test_members_that_never_come_are_problems_and_the_others_arrive(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    for path in ("s/e/a/one", "s/e/b/two"):
        bulk.gives[path] = repeat(None)

    outcomes = await bring(bulk).bring(everything(bulk))

    assert dict.fromkeys(
        ["s/e/a/one", "s/e/b/two"], "the server lists it, but did not send it"
    ) == failed(outcomes)
    assert {"s/e/a/large", "s/e/b/empty"} == grown(root).keys()


@pytest.mark.parametrize("path", ["s/e/a/large", "s/e/b/two"])
async def test_a_stream_that_is_cut_keeps_what_was_whole(
    path: str, root: Path, bulk: Shelf, bring: Bring
) -> None:
    cut: Given = Unavailable("the stream broke off")
    bulk.gives[path] = iter([cut])

    outcomes = await bring(bulk).bring(everything(bulk))

    assert TREE == grown(root)
    assert {} == failed(outcomes)
    assert 1 == bulk.tries("fetch", "s/e/a/one")
    assert [] == in_parts(root)


async def test_a_file_that_breaks_off_alone_as_well_is_asked_for_again(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    cut: Given = Unavailable("the stream broke off")
    bulk.gives["s/e/a/one"] = iter([cut, cut])  # in the archive, then by itself

    outcomes = await bring(bulk).bring(everything(bulk))

    assert {} == failed(outcomes)
    assert TREE == grown(root)
    assert [] == in_parts(root)


async def test_a_stream_that_is_always_cut_ends_the_run_and_keeps_what_was_whole(
    root: Path, bulk: Shelf, bring: Bring
) -> None:
    bulk.gives["s/e/b/two"] = repeat(Unavailable("the stream broke off"))

    with pytest.raises(Unavailable):
        await bring(bulk).bring(everything(bulk))

    assert TREE.keys() - {"s/e/b/two"} == grown(root).keys()
    assert [] == in_parts(root)


async def test_a_refused_key_is_not_tried_again(root: Path, shelf: Shelf, bring: Bring) -> None:
    shelf.gives["s/e/a/one"] = repeat(AuthError("401"))

    with pytest.raises(AuthError):
        await bring(shelf).bring(everything(shelf))

    assert 1 == shelf.tries("fetch", "s/e/a/one") + shelf.tries("open", "s/e/a/one")
    assert [] == in_parts(root)


# ----------------------------------------------------------------------- the destination moved on


@pytest.mark.parametrize("path", ["s/e/a/one", "s/e/a/large"])
@pytest.mark.parametrize("before", [None, b"old"])
async def test_a_destination_that_was_edited_meanwhile_is_not_overwritten(
    before: bytes | None, path: str, root: Path, shelf: Shelf, bring: Bring
) -> None:
    if before is not None:
        plant(root, {path: before})
    here = None if before is None else local(root, path)

    def edit(one: RelPath) -> None:
        plant(root, {path: b"mine, and new"})

    shelf.before_member = edit

    outcomes = await bring(shelf).bring([download(shelf, path, here), download(shelf, "s/e/b/two")])

    assert [path] == list(failed(outcomes))
    assert {path: b"mine, and new", "s/e/b/two": TREE["s/e/b/two"]} == grown(root)
    assert [] == in_parts(root)


async def test_a_destination_that_was_edited_is_not_fetched_again_in_vain(
    root: Path, shelf: Shelf, bring: Bring
) -> None:
    path = "s/e/a/large"

    def edit(one: RelPath) -> None:
        if one == path:
            plant(root, {path: b"mine"})

    shelf.before_member = edit

    outcomes = await bring(shelf).bring(everything(shelf))

    assert [path] == list(failed(outcomes))
    assert 1 == shelf.tries("fetch", path) + shelf.tries("open", path)


async def test_a_link_in_the_way_is_not_followed(
    root: Path, shelf: Shelf, bring: Bring, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (root / "s/e").mkdir(parents=True)
    (root / "s/e/a").symlink_to(tmp_path / "outside", target_is_directory=True)

    outcomes = await bring(shelf).bring(everything(shelf))

    assert {"s/e/a/one", "s/e/a/large"} == failed(outcomes).keys()
    assert [] == list((tmp_path / "outside").iterdir())
    assert {"s/e/b/empty", "s/e/b/two"} == grown(root).keys()


# ------------------------------------------------------------------------------------- the disk


def failing(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int, is_meant: Callable[[str], bool]
) -> None:
    """Let a call on some descriptors fail."""
    really = getattr(os, call)

    def fail(fd: int, *args: object) -> object:
        if is_meant(path_of(fd)):
            raise OSError(number, os.strerror(number))
        return really(fd, *args)

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize("path", ["s/e/a/one", "s/e/a/large"])
async def test_a_file_that_cannot_be_made_durable_is_not_done(
    path: str, root: Path, shelf: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, lambda at: at.endswith(part_name(path)))

    outcomes = await bring(shelf).bring(everything(shelf))

    assert {path: "cannot be made durable (Input/output error)"} == failed(outcomes)
    assert TREE.keys() - {path} == grown(root).keys()
    assert [] == in_parts(root)


async def test_a_folder_that_cannot_be_made_durable_is_not_done(
    root: Path, shelf: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, lambda at: at.endswith("/s/e/a"))

    outcomes = await bring(shelf).bring(everything(shelf))

    assert {"s/e/b/empty", "s/e/b/two"} == set(done(outcomes))
    assert {"s/e/a/one", "s/e/a/large"} == failed(outcomes).keys()


@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_no_space_ends_the_run_and_leaves_no_part(
    call: str, root: Path, shelf: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, call, errno.ENOSPC, lambda at: at.endswith(".part"))

    with pytest.raises(LocalError):
        await bring(shelf).bring(everything(shelf))

    assert {} == grown(root)
    assert [] == in_parts(root)


async def test_no_space_for_one_file_keeps_those_before_it(
    root: Path, bulk: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_large = part_name("s/e/a/large")
    failing(monkeypatch, "write", errno.ENOSPC, lambda at: at.endswith(is_large))

    with pytest.raises(LocalError):
        await bring(bulk).bring(everything(bulk))

    assert {"s/e/a/one": b"one"} == grown(root)
    assert [] == in_parts(root)


async def test_writing_in_small_pieces_writes_all(
    root: Path, shelf: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really(fd, bytes(data)[:70_001]))

    assert {} == failed(await bring(shelf).bring(everything(shelf)))
    assert TREE == grown(root)


async def test_a_cancelled_download_closes_its_part_after_the_last_write(
    root: Path, shelf: Shelf, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that is closed under a writer may be another file's by the time it writes."""
    loop, writing, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    written, really = asyncio.Event(), os.write
    at: list[str] = []

    def write(fd: int, data: bytes) -> int:
        loop.call_soon_threadsafe(writing.set)
        go_on.wait(10)
        try:
            at.append(path_of(fd).rpartition("/")[2])
            return really(fd, data)
        except OSError as error:
            at.append(f"closed ({error.strerror})")
            return len(data)
        finally:
            loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(os, "write", write)
    task = asyncio.create_task(bring(shelf).bring([download(shelf, "s/e/a/large")]))
    await writing.wait()
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await written.wait()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert part_name("s/e/a/large") in at[0]
    assert [] == [one for one in at if one.startswith("closed")]
    assert {} == grown(root)


# --------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([6, 6, 6], [[6], [6], [6]]),
        ([20, 1, 20], [[20], [1], [20]]),
        ([0, 10, 0], [[0, 10, 0]]),
    ],
)
def test_batches_are_bounded_by_count_and_bytes(
    sizes: list[int], expected: list[list[int]]
) -> None:
    shelf = Shelf({f"{number}": b"x" * size for number, size in enumerate(sizes)})

    found = batches(everything(shelf), most_files=3, most_bytes=10)

    assert expected == [[one.size for one in batch] for batch in found]
