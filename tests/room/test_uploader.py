"""What counts as sent: the whole file as it was seen, and the server names the same bytes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

import pytest

from fwsync.errors import AuthError, Forbidden, LocalError, Unavailable
from fwsync.model import Mode, Outcome, RelPath
from fwsync.ports import Sent, Upload
from fwsync.uploader import MISTAKEN, UNANSWERED, Uploader
from tests.room.rooms import (
    Reply,
    Shelf,
    did,
    digest,
    done,
    failed,
    ground,
    is_busy,
    plant,
    stores,
    stores_and_loses_the_answer,
    stores_less,
    stores_other_bytes,
    upload,
    without_hash,
    workbench,
)
from tests.room.rooms import descriptor as open_descriptor

LARGE = bytes(range(256)) * 12_000  # three blocks


class Told:
    """How far each file is, by what was told of its bytes."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def advanced(self, path: RelPath, size: int) -> None:
        self.at[path] = self.at.get(path, 0) + size

        assert self.at[path] >= 0


async def no_wait(_seconds: float) -> None:
    """Nothing sleeps here."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    with open_descriptor(root) as fd:
        yield fd


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def uploader(shelf: Shelf, root_fd: int, told: Told) -> Uploader:
    return Uploader(shelf, root_fd, told.advanced, no_wait)


def recorded(outcomes: list[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.problem is None]


# ------------------------------------------------------------------------------------ it works


async def test_what_was_sent_is_there_and_named_by_both_digests(
    root: Path, uploader: Uploader, shelf: Shelf, told: Told
) -> None:
    tree = {"s/e/a/small": b"small", "s/e/a/large": LARGE, "s/e/a/empty": b""}
    plant(root, tree)

    outcomes = await uploader.send([upload(root, path) for path in tree])

    assert tree == shelf.content
    assert sorted(tree) == done(outcomes)
    for one in outcomes:
        content = tree[one.decision.path]
        assert one.local is not None
        assert one.local.digest == digest(content)
        assert one.local.etag is not None
        assert one.local.stamp == upload(root, one.decision.path).local.stamp  # type: ignore[union-attr]
        assert shelf.listing[one.decision.path] == one.remote
        assert len(content) == one.moved == told.at[one.decision.path]
        assert one.hashed_at_ns > 0


async def test_a_block_counts_once_it_has_left_and_not_when_it_is_read(
    root: Path, uploader: Uploader, shelf: Shelf, told: Told
) -> None:
    plant(root, {"f": LARGE})
    seen: list[tuple[int, int]] = []
    shelf.listens = lambda path, size: seen.append((told.at.get(path, 0), size))

    await uploader.send([upload(root, "f")])

    assert [(0, 1 << 20), (1 << 20, 2 << 20), (2 << 20, len(LARGE))] == seen
    assert len(LARGE) == told.at[RelPath("f")]


async def test_a_file_of_no_bytes_is_sent(root: Path, uploader: Uploader, shelf: Shelf) -> None:
    plant(root, {"f": b""})

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert {"f": b""} == shelf.content


async def test_nothing_to_send_asks_nothing(uploader: Uploader, shelf: Shelf) -> None:
    assert [] == await uploader.send([])
    assert [] == shelf.asked


async def test_a_server_that_gives_no_hash_is_believed_by_size(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})
    shelf.replies["f"] = repeat(lambda s, p, b: without_hash(s.store(p, b)))

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert outcome.local is not None
    assert digest(b"content") == outcome.local.digest


async def test_a_server_that_gives_no_hash_and_another_size_is_not_believed(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})
    shelf.replies["f"] = repeat(lambda s, p, b: without_hash(s.store(p, b[:-1])))

    outcomes = await uploader.send([upload(root, "f")])

    assert {"f": "the server holds 6 bytes; 7 were sent"} == failed(outcomes)


# ------------------------------------------------------------------- the file does not hold still


def grow(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"more")


def shrink(file: Path) -> None:
    os.truncate(file, 1_500_000)


def edit(file: Path) -> None:
    with file.open("r+b") as out:
        out.seek(2_500_000)
        out.write(b"!")


def edit_what_has_gone_out(file: Path) -> None:
    with file.open("r+b") as out:
        out.write(b"!")


def touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def empty(file: Path) -> None:
    os.truncate(file, 0)


CHANGES = [grow, shrink, edit, edit_what_has_gone_out, touch, empty]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changes_while_it_is_sent_is_never_complete(
    change: Callable[[Path], None], root: Path, uploader: Uploader, shelf: Shelf, told: Told
) -> None:
    plant(root, {"f": LARGE, "g": b"still"})

    def listens(path: RelPath, size: int) -> None:
        if path == "f" and size == 1 << 20:
            change(root / "f")

    shelf.listens = listens
    outcomes = await uploader.send([upload(root, "f"), upload(root, "g")])

    assert ["g"] == shelf.complete
    assert {"g": b"still"} == shelf.content
    assert ["f"] == list(failed(outcomes))
    assert ["g"] == done(outcomes)
    assert all(one.problem.retryable for one in outcomes if one.problem is not None)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changed_since_the_scan_is_not_sent(
    change: Callable[[Path], None], root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": LARGE})
    decision = upload(root, "f")
    change(root / "f")

    outcomes = await uploader.send([decision])

    assert [] == shelf.complete
    assert ["f"] == list(failed(outcomes))


async def test_a_file_that_is_renamed_while_it_is_sent_is_sent_to_its_end_or_not_at_all(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": LARGE})

    def rename(path: RelPath, size: int) -> None:
        if not (root / "g").exists():
            (root / "f").rename(root / "g")

    shelf.listens = rename
    outcomes = await uploader.send([upload(root, "f")])

    assert [] == [one for one in recorded(outcomes) if shelf.content.get(RelPath("f")) != LARGE]
    assert shelf.content.get(RelPath("f")) in (None, LARGE)


@pytest.mark.parametrize("what", ["gone", "link", "pipe", "folder", "another file"])
async def test_what_took_the_files_place_is_not_sent(
    what: str, root: Path, uploader: Uploader, shelf: Shelf, tmp_path: Path
) -> None:
    plant(root, {"a/f": b"content", "a/g": b"good"})
    plant(tmp_path, {"outside": b"content"})
    decisions = [upload(root, "a/f"), upload(root, "a/g")]
    (root / "a/f").unlink()
    if what == "link":
        (root / "a/f").symlink_to(tmp_path / "outside")
    elif what == "pipe":
        os.mkfifo(root / "a/f")
    elif what == "folder":
        (root / "a/f").mkdir()
    elif what == "another file":
        (root / "a/f").write_bytes(b"content")

    outcomes = await uploader.send(decisions)

    assert {"a/g": b"good"} == shelf.content
    assert ["a/g"] == shelf.complete
    assert ["a/f"] == list(failed(outcomes))


async def test_a_folder_that_became_a_link_is_not_followed(
    root: Path, uploader: Uploader, shelf: Shelf, tmp_path: Path
) -> None:
    plant(root, {"a/f": b"content"})
    decision = upload(root, "a/f")
    (root / "a").rename(tmp_path / "away")
    (root / "a").symlink_to(tmp_path / "away", target_is_directory=True)

    outcomes = await uploader.send([decision])

    assert {} == shelf.content
    assert ["a/f"] == list(failed(outcomes))


async def test_a_file_whose_disk_fails_is_a_problem_of_that_file(
    root: Path, uploader: Uploader, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"f": LARGE, "g": b"good"})
    bad, really = (root / "f").stat().st_ino, os.read

    def read(fd: int, size: int) -> bytes:
        if os.fstat(fd).st_ino == bad:
            raise OSError(5, "Input/output error")
        return really(fd, size)

    monkeypatch.setattr(os, "read", read)
    outcomes = await uploader.send([upload(root, "f"), upload(root, "g")])

    assert ["g"] == shelf.complete
    assert {"f": "reading failed (Input/output error)"} == failed(outcomes)


async def test_a_short_read_without_a_changed_size_is_not_taken_for_the_end(
    root: Path, uploader: Uploader, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"f": LARGE})
    really = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: really(fd, min(size, 70_001)))

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert LARGE == shelf.content[RelPath("f")]


# ------------------------------------------------------------------------- the server holds others


@pytest.mark.parametrize("lie", [stores_less, stores_other_bytes])
async def test_wrong_bytes_once_are_sent_again(
    lie: Reply, root: Path, uploader: Uploader, shelf: Shelf, told: Told
) -> None:
    plant(root, {"f": LARGE})
    shelf.replies["f"] = iter([lie])

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert outcome.remote == shelf.listing[RelPath("f")]
    assert LARGE == shelf.content[RelPath("f")]
    assert {"f": len(LARGE)} == told.at


@pytest.mark.parametrize("lie", [stores_less, stores_other_bytes])
async def test_wrong_bytes_always_are_a_problem_and_never_recorded(
    lie: Reply, root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content", "g": b"good"})
    shelf.replies["f"] = repeat(lie)

    outcomes = await uploader.send([upload(root, "f"), upload(root, "g")])

    assert ["g"] == done(outcomes)
    assert ["f"] == list(failed(outcomes))
    assert MISTAKEN == shelf.tries("put", "f")
    assert 1 == shelf.tries("put", "g")


# ------------------------------------------------------------------------- answers that do not come


async def test_a_lost_answer_is_found_by_a_look_and_nothing_is_sent_twice(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})
    shelf.replies["f"] = iter([stores_and_loses_the_answer])

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert shelf.listing[RelPath("f")] == outcome.remote
    assert 1 == shelf.listing[RelPath("f")].version
    assert 1 == shelf.tries("put", "f")


async def test_a_lost_answer_of_a_server_without_hashes_is_found_by_its_size(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})
    shelf.with_digest = False
    shelf.replies["f"] = iter([stores_and_loses_the_answer])

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert 1 == shelf.tries("put", "f")


async def test_an_older_file_of_that_size_is_not_taken_for_the_new_one(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    """Where there are no hashes the size alone proves nothing."""
    plant(root, {"f": b"content"})
    shelf.with_digest = False
    older = shelf.store(RelPath("f"), b"earlier")
    shelf.replies["f"] = iter([is_busy])

    [outcome] = await uploader.send([upload(root, "f", older)])

    assert outcome.problem is None
    assert 2 == shelf.tries("put", "f")
    assert b"content" == shelf.content[RelPath("f")]


async def test_a_busy_server_is_asked_again(root: Path, uploader: Uploader, shelf: Shelf) -> None:
    plant(root, {"f": b"content"})
    shelf.replies["f"] = iter([is_busy, is_busy])

    [outcome] = await uploader.send([upload(root, "f")])

    assert outcome.problem is None
    assert {"f": b"content"} == shelf.content
    assert 3 == shelf.tries("put", "f")
    assert 1 == shelf.listing[RelPath("f")].version


async def test_a_server_that_never_takes_a_file_is_not_asked_for_ever(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content", "g": b"good"})
    shelf.replies["f"] = repeat(is_busy)

    outcomes = await uploader.send([upload(root, "f"), upload(root, "g")])

    assert ["g"] == done(outcomes)
    assert {"f": "503, try later"} == failed(outcomes)
    assert UNANSWERED == shelf.tries("put", "f")


async def test_a_refusal_of_one_file_is_not_repeated_and_the_others_go(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content", "g": b"good"})
    shelf.replies["f"] = repeat(lambda s, p, b: Forbidden(f"{p}: 403"))

    outcomes = await uploader.send([upload(root, "f"), upload(root, "g")])

    assert ["g"] == done(outcomes)
    assert {"f": "403"} == failed(outcomes)
    assert 1 == shelf.tries("put", "f")


@pytest.mark.parametrize("error", [AuthError("no key"), LocalError("no space")])
async def test_what_ends_the_run_is_raised(
    error: AuthError | LocalError, root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})
    shelf.replies["f"] = repeat(lambda s, p, b: error)

    with pytest.raises(type(error)):
        await uploader.send([upload(root, "f")])

    assert 1 == shelf.tries("put", "f")


async def test_a_file_that_changes_between_two_tries_is_not_sent_again(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"content"})

    def busy_while_it_is_edited(shelf: Shelf, path: RelPath, body: bytes) -> Unavailable:
        (root / "f").write_bytes(b"edited")
        return Unavailable(f"{path}: 503")

    shelf.replies["f"] = iter([busy_while_it_is_edited])
    outcomes = await uploader.send([upload(root, "f")])

    assert {} == shelf.content
    assert ["f"] == list(failed(outcomes))


# ------------------------------------------------------------------ the server moved on meanwhile


async def test_what_changed_on_the_server_since_the_plan_is_not_overwritten(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"mine", "g": b"mine too"})
    planned = shelf.store(RelPath("f"), b"agreed")
    same = shelf.store(RelPath("g"), b"agreed")
    shelf.store(RelPath("f"), b"theirs")

    outcomes = await uploader.send([upload(root, "f", planned), upload(root, "g", same)])

    assert {"f": b"theirs", "g": b"mine too"} == shelf.content
    assert ["f"] == list(failed(outcomes))
    assert 0 == shelf.tries("put", "f")


async def test_what_vanished_from_the_server_since_the_plan_is_left_for_the_next_run(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"mine"})
    planned = shelf.store(RelPath("f"), b"agreed")
    await shelf.delete(planned)

    outcomes = await uploader.send([upload(root, "f", planned)])

    assert {} == shelf.content
    assert ["f"] == list(failed(outcomes))


async def test_a_lost_answer_after_which_someone_else_wrote_is_no_success(
    root: Path, uploader: Uploader, shelf: Shelf
) -> None:
    plant(root, {"f": b"mine"})

    def loses_to_another(shelf: Shelf, path: RelPath, body: bytes) -> Unavailable:
        shelf.store(path, body)
        shelf.store(path, b"theirs")
        return Unavailable(f"{path}: the connection broke")

    shelf.replies["f"] = chain([loses_to_another], repeat(stores))
    outcomes = await uploader.send([upload(root, "f")])

    assert [] == [one for one in recorded(outcomes) if shelf.content[RelPath("f")] == b"theirs"]


# ------------------------------------------------------------------------------ over a real wire


async def test_a_file_that_changes_on_the_wire_never_shows_on_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops before its last block: the request has a length, and is cut short of it."""
    async with ground(tmp_path) as server, workbench(tmp_path, server.connect) as bench:
        plant(bench.root, {"s/e/a/f": LARGE * 3, "s/e/a/g": b"good"})

        inode, really = (bench.root / "s/e/a/f").stat().st_ino, os.read

        def read(fd: int, size: int) -> bytes:
            content = really(fd, size)
            if os.fstat(fd).st_ino == inode:
                grow(bench.root / "s/e/a/f")
            return content

        monkeypatch.setattr(os, "read", read)
        report = await bench.cycle(Mode.UP)

        assert {"s/e/a/g": b"good"} == await server.held()
        assert ["s/e/a/f"] == [one.path for one in report.problem_list]
        assert 1 == report.uploaded

        monkeypatch.undo()
        report = await bench.cycle(Mode.UP)

        assert 1 == report.uploaded
        assert {"s/e/a/f", "s/e/a/g"} == set(await server.held())
        assert {} == did(await bench.cycle(Mode.UP))


async def test_what_ends_the_run_ends_what_is_under_way(root: Path, root_fd: int) -> None:
    ended: list[bool] = []

    class Refusing(Shelf):
        async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
            try:
                for one in batch:
                    yield Sent(one.path, error=AuthError("the key was taken back"))
            finally:
                ended.append(True)

    plant(root, {"a": b"1", "b": b"2"})
    try:
        await Uploader(Refusing(), root_fd, Told().advanced, no_wait).send(
            [upload(root, "a"), upload(root, "b")]
        )
    except AuthError:
        assert [True] == ended
    else:
        pytest.fail("the run went on")
