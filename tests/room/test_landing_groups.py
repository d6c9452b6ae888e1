"""Small files land in groups: what is durable when, and what a group may have open."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fwsync.arrivals import Landed, Landing, Whole
from fwsync.errors import FileProblem, LocalError
from fwsync.folders import Folders
from fwsync.model import Decision
from fwsync.together import GROUP_FILES, HANDS, Hands, Together
from tests.room.rooms import Shelf, done, download, failed, grown, in_parts, path_of, plant

TREE = {f"s/e{number % 3}/a/{number:03}": b"%d" % number for number in range(40)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def synced(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable, in order, below the root."""
    told: list[str] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        told.append(os.path.relpath(path_of(fd), root))
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return told


def landing_in(root_fd: int, *, fsync: bool = True) -> Landing:
    return Landing(root_fd, parts=".fwsync/parts", trash=".fwsync/trash/now", fsync=fsync)


def wholes(shelf: Shelf, tree: dict[str, bytes]) -> list[Whole]:
    return [Whole(download(shelf, path), content) for path, content in sorted(tree.items())]


# ------------------------------------------------------------------------------- what is durable


def test_files_come_before_their_folders_and_each_folder_once(
    root: Path, root_fd: int, synced: list[str]
) -> None:
    (root / ".fwsync/parts").mkdir(parents=True)

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert sorted(TREE) == done(landed.done)
    files, folders = synced[: len(TREE)], synced[len(TREE) :]
    assert all(one.startswith(".fwsync/parts/") for one in files)
    assert Counter({f"s/e{n}/a": 1 for n in range(3)}) + Counter(
        [".", "s", "s/e0", "s/e1", "s/e2"]
    ) == Counter(folders)


def test_what_lies_in_known_folders_needs_those_alone(
    root: Path, root_fd: int, synced: list[str]
) -> None:
    plant(root, {"s/e0/a/old": b""})
    (root / ".fwsync/parts").mkdir(parents=True)

    landing_in(root_fd).land(wholes(Shelf({"s/e0/a/x": b"x"}), {"s/e0/a/x": b"x"}))

    assert ["s/e0/a"] == synced[1:]


def test_a_folder_that_another_thread_has_only_just_made_is_durable_as_well(
    root: Path, root_fd: int, synced: list[str]
) -> None:
    folders = Folders(root_fd)
    other = threading.Thread(target=lambda: folders.into("s/e/a").__enter__())
    other.start()
    other.join()

    with folders.into("s/e/a"):
        folders.sync("s/e/a")
    folders.sync("s/e/a")

    assert ["s/e", "s", ".", "s/e/a", "s/e/a"] == synced


def test_a_folder_that_was_made_while_another_became_durable_is_not_forgotten(
    root_fd: int, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders(root_fd)
    with folders.into("s/a"):
        pass
    really = os.fsync

    def meanwhile(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", really)
        really(fd)
        with folders.into("s/b"):
            pass

    monkeypatch.setattr(os, "fsync", meanwhile)
    folders.sync("s/a")
    del synced[:]

    folders.sync("s/b")

    assert ["s", "s/b"] == synced


def test_a_folder_that_is_being_made_is_durable_for_whoever_uses_it_first(
    root: Path, root_fd: int, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "s").mkdir()
    folders = Folders(root_fd)
    really = os.mkdir
    first: list[str] = []

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        monkeypatch.setattr(os, "mkdir", really)
        folders.sync("s")
        really(name, mode, dir_fd=dir_fd)
        del synced[:]
        with folders.into("s/a"):
            folders.sync("s/a")
        first.extend(synced)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with folders.into("s/a"):
        pass

    assert ["s", "s/a"] == first


def test_folders_that_cannot_be_made_durable_keep_their_files_from_being_done(
    root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a new folder is as much a part of a path as the file's own."""
    really = os.fsync

    def fail(fd: int) -> None:
        if path_of(fd).endswith("/s"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(fd)

    monkeypatch.setattr(os, "fsync", fail)

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert [] == done(landed.done)
    assert TREE.keys() == {decision.path for decision, _ in landed.failed}


def test_without_fsync_nothing_waits_for_the_disk(
    root: Path, root_fd: int, synced: list[str]
) -> None:
    (root / ".fwsync/parts").mkdir(parents=True)

    landed = landing_in(root_fd, fsync=False).land(wholes(Shelf(TREE), TREE))

    assert sorted(TREE) == done(landed.done)
    assert grown(root) == TREE
    assert [] == synced


# --------------------------------------------------------------------------- what may be open


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_where_few_files_may_be_open_a_group_lands_in_smaller_ones(
    number: int, root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, few = os.open, 5
    most: list[int] = []

    def scarce(path: str, *args: int, **kwargs: int) -> int:
        parts = [one for one in Path("/proc/self/fd").iterdir() if is_part(int(one.name))]
        if path.endswith(".part"):
            most.append(len(parts))
            if len(parts) >= few:
                raise OSError(number, os.strerror(number))
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", scarce)

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert sorted(TREE) == done(landed.done)
    assert grown(root) == TREE
    assert few == max(most)


def is_part(fd: int) -> bool:
    try:
        return path_of(fd).endswith(".part")
    except OSError:
        return False


def test_where_no_file_may_be_open_each_is_a_problem(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def none(path: str, *args: int, **kwargs: int) -> int:
        if path.endswith(".part"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", none)

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert TREE.keys() == {decision.path for decision, _ in landed.failed}
    assert all(isinstance(error, FileProblem) for _, error in landed.failed)


def test_a_folder_of_parts_that_is_a_link_is_a_problem_of_each_file(
    root: Path, root_fd: int, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (root / ".fwsync").mkdir()
    (root / ".fwsync/parts").symlink_to(tmp_path / "outside")

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert TREE.keys() == {decision.path for decision, _ in landed.failed}
    assert [] == list((tmp_path / "outside").iterdir())


def test_a_folder_that_is_a_link_is_a_problem_of_the_files_in_it_alone(
    root: Path, root_fd: int, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (root / "s/e1").mkdir(parents=True)
    (root / "s/e1/a").symlink_to(tmp_path / "outside")

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    behind = {path for path in TREE if path.startswith("s/e1/")}
    assert behind == {decision.path for decision, _ in landed.failed}
    assert TREE.keys() - behind == set(done(landed.done))
    assert [] == list((tmp_path / "outside").iterdir())
    assert [] == in_parts(root)


def test_a_file_that_appeared_is_not_replaced_by_a_new_one(root: Path, root_fd: int) -> None:
    plant(root, {"s/e0/a/000": b"a user's"})

    landed = landing_in(root_fd).land(wholes(Shelf(TREE), TREE))

    assert ["s/e0/a/000"] == [decision.path for decision, _ in landed.failed]
    assert b"a user's" == (root / "s/e0/a/000").read_bytes()
    assert [] == in_parts(root)


# -------------------------------------------------------------------------------- side by side


class Slow(Landing):
    """One that waits at the door until it is told to go on."""

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd, parts=".fwsync/parts", trash=".fwsync/trash/now")
        self.opens = threading.Event()
        self.groups: list[int] = []

    def land(self, wholes: Sequence[Whole]) -> Landed:
        self.groups.append(len(wholes))
        assert self.opens.wait(30)
        return super().land(wholes)


async def test_the_stream_is_read_on_while_groups_land_and_all_have_at_the_end(
    root: Path, root_fd: int
) -> None:
    tree = {f"s/e/a/{number:03}": b"%d" % number for number in range(3 * GROUP_FILES + 1)}
    landing = Slow(root_fd)

    async with asyncio.TaskGroup() as tasks:
        together = Together(Hands(landing), tasks)
        for whole in wholes(Shelf(tree), tree):
            await together.add(whole)
        await together.rest()
        assert [] == together.landed.done
        landing.opens.set()

    assert sorted(tree) == done(together.landed.done)
    assert [1, *[GROUP_FILES] * 3] == sorted(landing.groups)
    assert tree == grown(root)


async def test_who_brings_more_than_can_land_waits(root_fd: int) -> None:
    tree = {f"s/e/a/{number:04}": b"" for number in range(40 * GROUP_FILES)}
    landing, taken = Slow(root_fd), 0

    async def bring(together: Together) -> None:
        nonlocal taken
        for whole in wholes(Shelf(tree), tree):
            await together.add(whole)
            taken += 1

    async with asyncio.TaskGroup() as tasks:
        together = Together(Hands(landing), tasks)
        tasks.create_task(bring(together))
        while len(landing.groups) < HANDS:
            await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        held = taken
        landing.opens.set()

    assert (HANDS + 1) * GROUP_FILES > held
    assert sorted(tree) == done(together.landed.done)


async def test_what_ends_a_group_ends_the_reading(
    root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {f"s/e/a/{number:04}": b"x" for number in range(40 * GROUP_FILES)}
    monkeypatch.setattr(os, "write", full_disk(os.write))
    taken = 0

    async def bring(together: Together) -> None:
        nonlocal taken
        for whole in wholes(Shelf(tree), tree):
            await together.add(whole)
            taken += 1

    async with asyncio.TaskGroup() as tasks:
        together = Together(Hands(landing_in(root_fd)), tasks)
        with pytest.raises(LocalError) as ended:
            await bring(together)

    assert together.error is ended.value
    assert taken < len(tree)


def full_disk(really: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    def write(fd: int, data: bytes) -> int:
        if is_part(fd):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(fd, data)

    return write


def test_no_two_messages_are_about_the_same_file(root_fd: int) -> None:
    """Each file of a group has one outcome, however many of them fail."""
    shelf = Shelf(TREE)
    wrong = [
        Whole(one.decision, b"wrong" if number % 2 else one.content)
        for number, one in enumerate(wholes(shelf, TREE))
    ]

    landed = landing_in(root_fd).land(wrong)

    told: list[Decision] = [one.decision for one in landed.done]
    told += [decision for decision, _ in landed.failed]
    assert sorted(TREE) == sorted(one.path for one in told)
    assert {} == failed(landed.done)
