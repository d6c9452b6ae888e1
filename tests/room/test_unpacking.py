"""A pack is unpacked as a whole: all of its members, or for now none; and nothing is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync.errors import FileProblem, IntegrityError, LocalError, SourceChanged
from fwsync.model import PackMember, RelPath
from fwsync.packing import pack_entry
from fwsync.unpacking.packs import GROUP, unpack
from tests.room.rooms import grown, in_parts, in_trash, local, plant
from tests.room.unpackings import (
    FOLDER,
    MINE,
    NEW,
    OLD,
    PATH,
    here,
    job,
    seen,
    tag,
    unpacked,
    zip_fd,
    zipped,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", MINE)


# -------------------------------------------------------------------------------- what comes out


def test_a_pack_becomes_its_members(root: Path, root_fd: int) -> None:
    done = unpacked(root, root_fd, NEW)

    assert here(NEW) == grown(root)
    assert [] == in_parts(root)
    assert (PATH, ()) == (done.path, done.problems)
    assert sorted(NEW) == [member.name for member in done.members]
    for member in done.members:
        assert local(root, f"{FOLDER}/{member.name}").stamp == member.entry.stamp
        assert tag(NEW[member.name]) == member.entry.etag
        assert f"{FOLDER}/{member.name}" == member.entry.path == member.entry.on_disk


def test_a_pack_may_belong_to_the_root_itself(root: Path, root_fd: int) -> None:
    done = unpacked(root, root_fd, {"x": b"1"}, replace(job(root), folder=""))

    assert {"x": b"1"} | MINE == grown(root)
    assert "x" == done.members[0].entry.path


def test_what_comes_out_is_the_pack_that_went_in(root: Path, root_fd: int) -> None:
    done = unpacked(root, root_fd, NEW)
    entry = pack_entry(PATH, "dicom", done.members)
    again = [
        PackMember(name, replace(one, etag=done.members[at].entry.etag))
        for at, (name, one) in enumerate(sorted(seen(root, NEW).items()))
    ]

    assert len(zipped(NEW)) == entry.size
    assert pack_entry(PATH, "dicom", again) == entry
    assert entry.etag is not None


def test_many_members_come_out(root: Path, root_fd: int) -> None:
    tree = {f"{at:03}.dcm": b"%d" % at for at in range(GROUP * 2 + 3)}
    done = unpacked(root, root_fd, tree)

    assert here(tree) == grown(root)
    assert len(tree) == len(done.members)


def test_new_members_bear_the_time_of_the_pack(root: Path, root_fd: int) -> None:
    unpacked(root, root_fd, NEW, job(root, modified_ns=1_000_000_000))

    assert 1_000_000_000 == (root / FOLDER / "2.dcm").stat().st_mtime_ns


def test_what_is_replaced_or_gone_is_in_the_trash(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    done = unpacked(root, root_fd, NEW, job(root, OLD))

    assert here(NEW) == grown(root)
    assert sorted([b"two", b"gone", b"three"]) == in_trash(root)
    assert [] == in_parts(root)
    assert sorted(NEW) == [member.name for member in done.members]


def test_a_member_that_is_the_same_is_not_touched(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    task = job(root, OLD)
    done = unpacked(root, root_fd, NEW, task)
    (same,) = (member.entry for member in done.members if member.name == "1.dcm")

    assert replace(task.existing["1.dcm"], etag=same.etag) == same
    assert tag(b"one") == same.etag
    assert local(root, f"{FOLDER}/1.dcm").stamp == same.stamp


def test_an_entry_stays_where_a_layout_has_put_it(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    task = job(root, OLD)
    moved = {
        name: replace(one, path=RelPath(f"s/e/a/{name}"), source=one.path)
        for name, one in task.existing.items()
    }
    done = unpacked(root, root_fd, NEW, replace(task, existing=moved))
    (two,) = (member.entry for member in done.members if member.name == "2.dcm")

    assert here(NEW) == grown(root)
    assert ("s/e/a/2.dcm", f"{FOLDER}/2.dcm", tag(b"TWO")) == (two.path, two.indexed, two.etag)


def test_a_folder_that_the_server_has_put_around_all_members_is_left_out(
    root: Path, root_fd: int
) -> None:
    plant(root, here(OLD))
    around = {f"PF acq 1/{name}": body for name, body in NEW.items()}
    done = unpacked(root, root_fd, around, job(root, OLD, around="PF acq 1"))

    assert here(NEW) == grown(root)
    assert sorted(NEW) == [member.name for member in done.members]


@pytest.mark.parametrize("tree", [{"a/1": b"1", "b/1": b"2"}, {"a": b"1"}, {"a/1": b"", "2": b""}])
def test_a_folder_that_is_not_around_all_of_them_stays(
    root: Path, root_fd: int, tree: dict[str, bytes]
) -> None:
    unpacked(root, root_fd, tree, job(root, around="a"))

    assert here(tree) == grown(root)


# --------------------------------------------------------------------------- what is left alone


def nothing_has_happened(root: Path, tree: Mapping[str, bytes]) -> bool:
    assert (here(tree), [], []) == (grown(root), in_trash(root), in_parts(root))
    return True


def test_a_file_that_the_plan_did_not_see_stops_it(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))

    with pytest.raises(SourceChanged, match=r"2\.dcm"):
        unpacked(root, root_fd, {"9": b"", "2.dcm": b"x"})
    assert nothing_has_happened(root, OLD)


@pytest.mark.parametrize("name", ["1.dcm", "2.dcm", "gone.dcm"])
def test_a_file_that_changed_since_the_plan_stops_it(root: Path, root_fd: int, name: str) -> None:
    plant(root, here(OLD))
    task = job(root, OLD)
    os.utime(root / FOLDER / name, ns=(5, 5))

    with pytest.raises(SourceChanged, match=name):
        unpacked(root, root_fd, NEW, task)
    assert nothing_has_happened(root, OLD)


def test_a_file_that_went_since_the_plan_stops_it(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    task = job(root, OLD)
    (root / FOLDER / "2.dcm").unlink()

    with pytest.raises(SourceChanged, match=r"2\.dcm"):
        unpacked(root, root_fd, NEW, task)


@pytest.mark.parametrize("link", ["raw/t1", "raw/t1/late"])
def test_no_member_goes_through_a_symbolic_link(
    root: Path, root_fd: int, tmp_path: Path, link: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileProblem):
        unpacked(root, root_fd, NEW)
    assert [] == list((tmp_path / "elsewhere").iterdir())
    assert (MINE, []) == (grown(root), in_parts(root))


def test_a_broken_zip_leaves_nothing_behind(root: Path, root_fd: int) -> None:
    plant(root, here(OLD))
    made = zipped(NEW).replace(b"four", b"FOUR")

    with zip_fd(root, made) as fd, pytest.raises(IntegrityError):
        unpack(root_fd, fd, job(root, OLD))
    assert nothing_has_happened(root, OLD)


def test_a_hostile_zip_leaves_nothing_behind(root: Path, root_fd: int) -> None:
    made = zipped({"a": b"1", "xx/evil": b"2"}).replace(b"xx/", b"../")

    with zip_fd(root, made) as fd, pytest.raises(FileProblem, match="evil"):
        unpack(root_fd, fd, job(root))
    assert nothing_has_happened(root, {})


def test_a_limit_is_kept(root: Path, root_fd: int) -> None:
    with pytest.raises(FileProblem, match="allowed"):
        unpacked(root, root_fd, NEW, job(root, most_bytes=5))


def test_no_space_leaves_nothing_behind(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LocalError, match="no space"):
        unpacked(root, root_fd, NEW)
    assert nothing_has_happened(root, {})


def test_a_file_that_is_written_at_the_last_moment_is_kept_and_the_rest_comes(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, here(OLD))
    task = job(root, OLD)
    really = os.rename

    def rename(old: str, new: str, **folders: int) -> None:
        really(old, new, **folders)
        plant(root, {f"{FOLDER}/2.dcm": b"by hand"})  # just when the note is written

    monkeypatch.setattr(os, "rename", rename)
    done = unpacked(root, root_fd, NEW, task)

    assert here({**NEW, "2.dcm": b"by hand"}) == grown(root)
    assert [f"{FOLDER}/2.dcm"] == [problem.path for problem in done.problems]
    assert sorted(NEW.keys() - {"2.dcm"}) == [member.name for member in done.members]
    assert (sorted([b"gone", b"three"]), []) == (in_trash(root), in_parts(root))
