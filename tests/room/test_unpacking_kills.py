"""A kill at any step of unpacking leaves all of a pack or none of it, and the next run finishes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fwsync import localfs, renaming
from fwsync.digest import LocalTag, pack_tag
from fwsync.errors import FileProblem
from fwsync.model import PackMember
from fwsync.packing import pack_entry
from fwsync.roots import clean_parts
from fwsync.unpacking.aside import Receipt, drop_receipts, receipt_of
from fwsync.unpacking.finish import finish_unpacking
from fwsync.unpacking.packs import discard_pack, unpack
from tests.room.rooms import below, grown, in_parts, in_trash, plant
from tests.room.unpackings import (
    FOLDER,
    MINE,
    NEW,
    OLD,
    PARTS,
    PATH,
    TRASH,
    here,
    job,
    seen,
    tag,
    unpacked,
    zip_fd,
    zipped,
)

#: What changes something on disk, and what a kill may come before.
CALLS = ("open", "mkdir", "write", "fsync", "rename", "replace", "link", "unlink", "rmdir", "utime")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", MINE)


class Killed(BaseException):
    """The process is gone."""


def no_link(source: str, name: str, **how: Any) -> None:
    """As FAT does it: the name is looked up first, then the link is refused."""
    number = errno.EEXIST if name in os.listdir(how["dst_dir_fd"]) else errno.EPERM  # noqa: PTH208
    raise OSError(number, os.strerror(number))


class Kill:
    """A process that is gone at its n-th call: from there on it makes none, not even to clean up.

    Args:
        at: which call it does not come to make any more.
        disk: what the file system cannot do: "links", "exchange", or nothing.
    """

    def __init__(self, at: int, disk: str = "") -> None:
        self.left = at
        self._disk = disk

    def __call__(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def killed(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return call(*args, **kwargs)

        return killed

    @contextmanager
    def around(self) -> Iterator[None]:
        """Runs what is in the block up to the kill."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda fd: None)  # a kill is no power loss: for speed
            if self._disk == "links":
                patch.setattr(os, "link", no_link)
            for name in CALLS:
                patch.setattr(os, name, self(getattr(os, name)))
            swap = renaming._RENAMEAT2
            assert swap is not None
            patch.setattr(renaming, "_RENAMEAT2", None if self._disk == "exchange" else self(swap))
            with suppress(Killed):
                yield

    @property
    def struck(self) -> bool:
        return self.left < 0


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[], tuple[Path, int]]]:
    """Roots as they were, one after the other."""
    open_fds: list[int] = []

    def make() -> tuple[Path, int]:
        root = plant(tmp_path / f"root-{len(open_fds)}", here(OLD))
        open_fds.append(localfs.open_root(root))
        return root, open_fds[-1]

    yield make
    for fd in open_fds:
        os.close(fd)


def is_whole(root: Path) -> str:
    """Which of the two the root holds: no third is allowed, and nothing may be lost."""
    assert [] == in_parts(root)
    found = grown(root)
    if found == here(OLD):
        return "old"
    assert here(NEW) == found
    assert set(in_trash(root)) >= {b"two", b"gone", b"three"}
    return "new"


@pytest.mark.parametrize("disk", ["", "links", "exchange"])
def test_a_kill_at_any_step_leaves_all_or_nothing(
    fresh: Callable[[], tuple[Path, int]], disk: str
) -> None:
    came_to = []
    for at in range(1000):
        root, root_fd = fresh()
        kill, task = Kill(at, disk), job(root, OLD)
        with zip_fd(root, zipped(NEW)) as fd, kill.around():
            unpack(root_fd, fd, task)
        with Kill(10_000, disk).around():
            done = finish_unpacking(root_fd, PARTS)
        came_to.append(is_whole(root))

        assert [] == [problem for one in done for problem in one.problems]
        if not kill.struck:
            break
        # And what was not done is done by the next try.
        if came_to[-1] == "old":
            with zip_fd(root, zipped(NEW)) as fd, Kill(10_000, disk).around():
                unpack(root_fd, fd, task)
            assert "new" == is_whole(root)

    assert came_to == sorted(came_to, reverse=True)
    assert came_to[0] == "old"
    assert 20 < came_to.count("new") < len(came_to) - 20


def test_what_was_unpacked_is_known_whatever_step_a_kill_came_at(
    fresh: Callable[[], tuple[Path, int]],
) -> None:
    tagged = [(name, len(content), LocalTag(tag(content))) for name, content in NEW.items()]
    known, lines = Receipt("their tag", pack_tag(tagged)), 0
    for at in range(1000):
        root, root_fd = fresh()
        kill, task = Kill(at), job(root, OLD, version="their tag")
        with zip_fd(root, zipped(NEW)) as fd, kill.around():
            unpack(root_fd, fd, task)
        clean_parts(root / PARTS)
        with Kill(10_000).around():
            finish_unpacking(root_fd, PARTS)

        has_come = grown(root) == here(NEW)
        assert (known if has_come else None) == receipt_of(root_fd, PARTS, PATH)
        assert has_come or grown(root) == here(OLD)
        assert len(in_parts(root)) == has_come
        if has_come:
            lines = sum(len(one.splitlines()) for one in below(root / PARTS))
            drop_receipts(root_fd, PARTS, [PATH])
            assert [] == in_parts(root)
        if not kill.struck:
            assert 1 == lines
            return
    raise AssertionError("was killed each time")


def test_a_kill_at_any_step_of_a_deletion_leaves_all_or_nothing(
    fresh: Callable[[], tuple[Path, int]],
) -> None:
    left = []
    for at in range(1000):
        root, root_fd = fresh()
        (root / PARTS).mkdir(parents=True)
        pack = pack_entry(PATH, "dicom", [PackMember(*one) for one in seen(root, OLD).items()])
        kill = Kill(at)
        with kill.around():
            discard_pack(root_fd, pack, parts=PARTS, trash=TRASH)
        with Kill(10_000).around():
            done = finish_unpacking(root_fd, PARTS)

        left.append(len(grown(root)) - len(MINE))
        assert [] == [problem for one in done for problem in one.problems]
        assert left[-1] or set(OLD.values()) <= set(in_trash(root))
        assert [] == in_parts(root)
        if not kill.struck:
            break

    assert left == sorted(left, reverse=True)
    assert {len(OLD), 0} == set(left)


def test_a_kill_at_any_step_of_finishing_is_survived_too(
    fresh: Callable[[], tuple[Path, int]],
) -> None:
    def killed(at: int) -> tuple[Path, int, Kill]:
        root, root_fd = fresh()
        kill, task = Kill(at), job(root, OLD)
        with zip_fd(root, zipped(NEW)) as fd, kill.around():
            unpack(root_fd, fd, task)
        return root, root_fd, kill

    steps = next(at for at in range(1000) if not killed(at)[2].struck)
    for first in (steps - 60, steps - 30):
        for second in range(1000):
            root, root_fd, _ = killed(first)
            kill = Kill(second)
            with kill.around():
                finish_unpacking(root_fd, PARTS)
            with Kill(10_000).around():
                finish_unpacking(root_fd, PARTS)

            assert "new" == is_whole(root)
            if not kill.struck:
                break


def test_each_member_and_its_name_aside_is_durable_before_the_note_says_so(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: set[int] = set()
    when_noted: list[set[int]] = []
    fsync, rename = os.fsync, os.rename

    def fsynced(fd: int) -> None:
        fsync(fd)
        durable.add(os.fstat(fd).st_ino)

    def renamed(old: str, new: str, **how: Any) -> None:
        if new == "note":
            assert os.fstat(how["src_dir_fd"]).st_ino in durable
            when_noted.append(set(durable))
        rename(old, new, **how)

    monkeypatch.setattr(os, "fsync", fsynced)
    monkeypatch.setattr(os, "rename", renamed)
    done = unpacked(root, root_fd, NEW)

    (sure,) = when_noted
    members = {one.entry.stamp.inode for one in done.members}
    assert len(NEW) == len(members)
    assert members <= sure


def test_no_receipt_is_kept_of_a_pack_that_did_not_come_as_a_whole(
    root: Path, root_fd: int
) -> None:
    plant(root, here(OLD))
    interrupted(root, root_fd, version="their tag")
    plant(root, {f"{FOLDER}/2.dcm": b"by hand"})
    (done,) = finish_unpacking(root_fd, PARTS)

    assert [f"{FOLDER}/2.dcm"] == [one.path for one in done.problems]
    assert receipt_of(root_fd, PARTS, PATH) is None
    assert [] == in_parts(root)


def interrupted(root: Path, root_fd: int, version: str = "") -> None:
    """A run that was killed when all was ready, and nothing was in place yet."""
    task = job(root, OLD, version=version)
    with pytest.MonkeyPatch.context() as patch, zip_fd(root, zipped(NEW)) as fd:

        def die(*args: object, **kwargs: object) -> None:
            raise Killed

        patch.setattr(renaming, "publish", die)
        with pytest.raises(Killed):
            unpack(root_fd, fd, task)
    assert here(OLD) == grown(root)


def test_what_was_finished_is_told(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    interrupted(root, root_fd)
    (done,) = finish_unpacking(root_fd, PARTS)

    assert (PATH, ()) == (done.path, done.problems)
    assert ["2.dcm", "5", "late/4.dcm", "sub/3.dcm"] == [member.name for member in done.members]
    assert "new" == is_whole(root)
    assert [] == finish_unpacking(root_fd, PARTS)


def test_a_file_that_changed_after_the_kill_is_kept(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    interrupted(root, root_fd)
    plant(root, {f"{FOLDER}/2.dcm": b"by hand", f"{FOLDER}/gone.dcm": b"by hand, too"})
    plant(root, {f"{FOLDER}/late/4.dcm": b"new here"})
    (done,) = finish_unpacking(root_fd, PARTS)
    kept = {"2.dcm": b"by hand", "gone.dcm": b"by hand, too", "late/4.dcm": b"new here"}

    assert here(NEW | kept) == grown(root)
    assert [f"{FOLDER}/{name}" for name in kept] == sorted(one.path for one in done.problems)
    assert [] == in_parts(root)


def test_a_root_that_never_unpacked_anything_has_nothing_to_finish(
    root: Path, root_fd: int
) -> None:
    assert [] == finish_unpacking(root_fd, PARTS)
    plant(root, {f"{PARTS}/{'0' * 32}.part": b"another's"})
    assert [] == finish_unpacking(root_fd, PARTS)
    assert [f"{'0' * 32}.part"] == in_parts(root)


def test_a_note_that_cannot_be_read_is_said_and_not_thrown_away(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    interrupted(root, root_fd)
    (note,) = (root / PARTS).glob("*/note")
    note.write_bytes(b"{")

    (done,) = finish_unpacking(root_fd, PARTS)
    with pytest.raises(FileProblem, match="a pack was being unpacked"):
        unpacked(root, root_fd, NEW, job(root, OLD))

    assert ["a pack was being unpacked there"] == [
        one.message.rpartition("; ")[2] for one in done.problems
    ]
    assert here(OLD) == grown(root)
    assert b"TWO" in below(root / PARTS)


def test_the_cleaning_of_parts_leaves_it_to_be_finished(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    interrupted(root, root_fd)

    assert 0 == clean_parts(root / PARTS)
    finish_unpacking(root_fd, PARTS)
    assert "new" == is_whole(root)


def test_what_came_out_when_two_files_changed_places_is_not_lost(root: Path, root_fd: int) -> None:
    """Killed in between, with a file that was written in that very instant."""
    plant(root, here(OLD))
    interrupted(root, root_fd)
    (part,) = (
        one for one in (root / PARTS).rglob("*") if one.is_file() and one.read_bytes() == b"TWO"
    )
    (root / FOLDER / "2.dcm").write_bytes(b"TWO")
    part.write_bytes(b"of that instant")
    finish_unpacking(root_fd, PARTS)

    assert here(NEW) == grown(root)
    assert b"of that instant" in in_trash(root)
    assert [] == in_parts(root)
