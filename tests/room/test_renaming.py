"""Files get their names, keep their copies and go to the trash; nothing is ever lost on the way."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from fwsync import localfs, renaming
from fwsync.errors import FileProblem, LocalError, SourceChanged
from fwsync.model import Stamp
from fwsync.renaming import Arrival, discard, keep_copy, publish
from tests.room.rooms import below, in_trash, path_of, plant

TRASH = ".fwsync/trash/now"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / ".fwsync" / "parts").mkdir(parents=True)
    return root


def part(root: Path, content: bytes) -> str:
    (root / ".fwsync/parts/p").write_bytes(content)
    return ".fwsync/parts/p"


def stamp(path: Path) -> Stamp:
    return localfs.stamp_of(path.lstat())


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT does it: the name is looked up first, then the link is refused."""

    def refuse(
        source: str, name: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool
    ) -> None:
        try:
            os.stat(name, dir_fd=dst_dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", refuse)


# ---------------------------------------------------------------------------------- publishing


def test_a_new_file_gets_its_name_and_its_folders(root: Path, root_fd: int) -> None:
    seen, kept = publish(root_fd, Arrival(part(root, b"new"), "s/e/a/f", None), trash=TRASH)

    assert b"new" == (root / "s/e/a/f").read_bytes()
    assert stamp(root / "s/e/a/f") == seen
    assert "" == kept
    assert [] == below(root / ".fwsync")


def test_what_stood_there_is_in_the_trash(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"old"})
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"))

    _, kept = publish(root_fd, arrival, trash=TRASH)

    assert b"new" == (root / "a/f").read_bytes()
    assert f"{TRASH}/a/f" == kept
    assert b"old" == (root / kept).read_bytes()
    assert [b"old"] == below(root / ".fwsync")


def test_what_has_a_copy_for_a_name_is_not_in_the_trash_too(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"old"})
    (root / "a/copy").hardlink_to(root / "a/f")
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"), copy="a/copy")

    _, kept = publish(root_fd, arrival, trash=TRASH)

    assert "" == kept
    assert (b"new", b"old") == ((root / "a/f").read_bytes(), (root / "a/copy").read_bytes())
    assert 1 == (root / "a/copy").stat().st_nlink
    assert [] == below(root / ".fwsync")


@pytest.mark.parametrize("other", [b"other", b"old", None])
def test_what_stood_there_stays_in_the_trash_if_its_copy_is_another_file(
    other: bytes | None, root: Path, root_fd: int
) -> None:
    plant(root, {"a/f": b"old"} | ({} if other is None else {"a/copy": other}))
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"), copy="a/copy")

    _, kept = publish(root_fd, arrival, trash=TRASH)

    assert f"{TRASH}/a/f" == kept
    assert b"old" == (root / kept).read_bytes()


def test_the_old_bytes_are_in_the_trash_before_the_new_ones_have_the_name(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a/f": b"old"})
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"))
    really = os.link
    seen: list[tuple[bytes, list[bytes]]] = []

    def link(*args: str, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        really(*args, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        seen.append(((root / "a/f").read_bytes(), in_trash(root)))

    monkeypatch.setattr(os, "link", link)
    publish(root_fd, arrival, trash=TRASH)

    assert [(b"old", [b"old"])] == seen
    assert b"new" == (root / "a/f").read_bytes()


def test_a_file_that_appeared_is_not_replaced(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"mine"})

    with pytest.raises(SourceChanged):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", None), trash=TRASH)

    assert b"mine" == (root / "a/f").read_bytes()


def test_a_file_that_appears_at_the_last_moment_is_not_replaced(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.link

    def link(*args: str, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        plant(root, {"a/f": b"mine"})
        really(*args, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SourceChanged):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", None), trash=TRASH)

    assert b"mine" == (root / "a/f").read_bytes()


def test_without_hard_links_a_file_that_appears_at_the_last_moment_is_not_replaced(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*args: str, **kwargs: object) -> None:
        plant(root, {"a/f": b"mine"})
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SourceChanged):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", None), trash=TRASH)

    assert b"mine" == (root / "a/f").read_bytes()


@pytest.mark.parametrize("change", ["edited", "saved anew", "touched", "gone"])
def test_a_file_that_changed_is_not_replaced(change: str, root: Path, root_fd: int) -> None:
    file = root / "a/f"
    plant(root, {"a/f": b"old"})
    arrival = Arrival(part(root, b"new"), "a/f", stamp(file))
    if change == "edited":
        file.write_bytes(b"OLD!")
    elif change == "saved anew":
        file.with_name("g").write_bytes(b"old")
        file.with_name("g").rename(file)
    elif change == "touched":
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
    before = below(root / "a")

    with pytest.raises(SourceChanged):
        publish(root_fd, arrival, trash=TRASH)

    assert before == below(root / "a")
    assert [] == in_trash(root)


def test_a_save_while_the_old_bytes_are_kept_is_not_lost(
    root: Path, root_fd: int, no_hard_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying a large file to the trash takes long where there are no hard links."""
    plant(root, {"a/f": b"old"})
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"))
    really = os.fsync

    def fsync(fd: int) -> None:
        really(fd)
        if path_of(fd).endswith(f"{TRASH}/a"):  # the copy has its name
            (root / "a/f").write_bytes(b"saved in the meantime")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SourceChanged):
        publish(root_fd, arrival, trash=TRASH)

    assert b"saved in the meantime" == (root / "a/f").read_bytes()


def test_a_save_while_a_file_goes_to_the_trash_is_not_lost(
    root: Path, root_fd: int, no_hard_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_RENAMEAT2", None)
    plant(root, {"a/f": b"old"})
    seen = stamp(root / "a/f")
    really = os.fsync

    def fsync(fd: int) -> None:
        really(fd)
        if path_of(fd).endswith(f"{TRASH}/a"):  # the copy has its name
            (root / "a/f").write_bytes(b"saved in the meantime")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SourceChanged):
        discard(root_fd, "a/f", seen, trash=TRASH)

    assert b"saved in the meantime" == (root / "a/f").read_bytes()


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


def test_a_save_in_the_last_instant_outlives_a_kill_right_after_it(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came out of the path is never where parts lie, as those are swept."""
    plant(root, {"a/f": b"old"})
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"))
    real = renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        if args[-1].value != renaming._RENAME_EXCHANGE:  # type: ignore[attr-defined]
            return int(real(*args))
        plant(root, {"saved": b"saved"})
        (root / "saved").replace(root / "a/f")  # as an editor saves
        real(*args)
        raise Killed

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)
    with pytest.raises(Killed):
        publish(root_fd, arrival, trash=TRASH)

    assert b"new" == (root / "a/f").read_bytes()
    assert [b"old", b"saved"] == in_trash(root)


@pytest.mark.parametrize("flag", ["_RENAME_NOREPLACE", "_RENAME_EXCHANGE"])
def test_a_part_that_cannot_be_put_in_place_is_a_part_again(
    root: Path, root_fd: int, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a/f": b"old"})
    new = part(root, b"new")
    arrival = Arrival(new, "a/f", stamp(root / "a/f"))
    real = renaming._RENAMEAT2
    assert real is not None
    failed: list[object] = []

    def rename(*args: object) -> int:
        if failed or args[-1].value != getattr(renaming, flag):  # type: ignore[attr-defined]
            return int(real(*args))
        failed.append(args)
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)
    with pytest.raises(FileProblem):
        publish(root_fd, arrival, trash=TRASH)

    assert b"old" == (root / "a/f").read_bytes()
    assert b"new" == (root / new).read_bytes()
    assert [b"old"] == in_trash(root)


def test_versions_of_a_name_of_255_bytes_are_all_kept(root: Path, root_fd: int) -> None:
    name = "x" * 255
    for content in (b"1", b"2", b"3"):
        plant(root, {name: content})
        discard(root_fd, name, stamp(root / name), trash=TRASH)

    assert [b"1", b"2", b"3"] == in_trash(root)


def test_a_save_as_a_file_goes_to_the_trash_has_its_name_afterwards(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a/f": b"old"})
    seen = stamp(root / "a/f")
    real = renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        monkeypatch.undo()
        plant(root, {"saved": b"saved"})
        (root / "saved").replace(root / "a/f")
        return int(real(*args))

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)
    with pytest.raises(SourceChanged):
        discard(root_fd, "a/f", seen, trash=TRASH)

    assert b"saved" == (root / "a/f").read_bytes()
    assert [] == in_trash(root)


@pytest.mark.parametrize("what", ["folder", "link", "dangling link", "pipe"])
def test_what_is_no_file_is_not_replaced(what: str, root: Path, root_fd: int) -> None:
    (root / "other").write_bytes(b"mine")
    (root / "a").mkdir()
    if what == "folder":
        (root / "a/f").mkdir()
    elif what == "pipe":
        os.mkfifo(root / "a/f")
    else:
        (root / "a/f").symlink_to(root / ("other" if what == "link" else "nowhere"))
    before = (root / "a/f").lstat()

    with pytest.raises(FileProblem):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", None), trash=TRASH)

    assert before == (root / "a/f").lstat()
    assert b"mine" == (root / "other").read_bytes()
    assert not (root / "nowhere").exists()


def test_a_path_is_never_empty_while_its_file_is_replaced(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"0" * 4096})
    whole = {bytes([number]) * 4096 for number in range(201)} | {b"0" * 4096}
    stop, wrong, looks = threading.Event(), list[object](), 0

    def poll() -> None:
        nonlocal looks
        while not stop.is_set():
            looks += 1
            try:
                content = (root / "a/f").read_bytes()
            except OSError as error:
                wrong.append(error)
            else:
                if content not in whole:
                    wrong.append(content)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        for number in range(200):
            arrival = Arrival(part(root, bytes([number]) * 4096), "a/f", stamp(root / "a/f"))
            publish(root_fd, arrival, trash=TRASH)
    finally:
        stop.set()
        poller.join()

    assert [] == wrong
    assert looks > 10
    assert 200 == len(in_trash(root))


def test_a_linked_folder_on_the_way_is_refused(root: Path, root_fd: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "a").symlink_to(outside, target_is_directory=True)

    for path in ("a/f", "a/b/f"):
        with pytest.raises(FileProblem):
            publish(root_fd, Arrival(part(root, b"new"), path, None), trash=TRASH)

    assert [] == list(outside.iterdir())


def test_a_linked_trash_is_refused(root: Path, root_fd: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    plant(root, {"a/f": b"old"})
    (root / ".fwsync/trash").symlink_to(outside, target_is_directory=True)
    arrival = Arrival(part(root, b"new"), "a/f", stamp(root / "a/f"))

    with pytest.raises(FileProblem):
        publish(root_fd, arrival, trash=TRASH)

    assert [] == list(outside.iterdir())
    assert b"old" == (root / "a/f").read_bytes()


@pytest.mark.parametrize("path", ["../f", "a/../../f", "a/.."])
def test_nothing_is_written_outside_whatever_the_name(
    path: str, root: Path, root_fd: int, tmp_path: Path
) -> None:
    (root / "a").mkdir()

    with pytest.raises((FileProblem, ValueError)):
        publish(root_fd, Arrival(part(root, b"new"), path, None), trash=TRASH)

    assert ["root"] == [one.name for one in tmp_path.iterdir()]


def test_a_path_from_the_top_of_the_disk_stays_below_the_root(root: Path, root_fd: int) -> None:
    publish(root_fd, Arrival(part(root, b"new"), "/fwsync-test-f", None), trash=TRASH)

    assert b"new" == (root / "fwsync-test-f").read_bytes()
    assert not Path("/fwsync-test-f").exists()


def test_a_file_in_the_place_of_a_folder_is_a_problem_of_that_path(
    root: Path, root_fd: int
) -> None:
    plant(root, {"a": b"mine"})

    with pytest.raises(FileProblem):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", None), trash=TRASH)

    assert b"mine" == (root / "a").read_bytes()


def test_a_file_system_without_hard_links_publishes_too(
    root: Path, root_fd: int, no_hard_links: None
) -> None:
    publish(root_fd, Arrival(part(root, b"one"), "a/f", None), trash=TRASH)
    arrival = Arrival(part(root, b"two"), "a/f", stamp(root / "a/f"))
    publish(root_fd, arrival, trash=TRASH)
    arrival = Arrival(part(root, b"three"), "a/f", stamp(root / "a/f"))
    publish(root_fd, arrival, trash=TRASH)

    assert b"three" == (root / "a/f").read_bytes()
    assert [b"one", b"two"] == in_trash(root)
    assert ["f"] == [one.name for one in (root / "a").iterdir()]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_ends_the_run(
    number: int, root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a/f": b"old"})
    seen = stamp(root / "a/f")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(renaming, "_RENAMEAT2", None)
    with pytest.raises(LocalError):
        publish(root_fd, Arrival(part(root, b"new"), "a/f", seen), trash=TRASH)
    with pytest.raises(LocalError):
        discard(root_fd, "a/f", seen, trash=TRASH)

    assert b"old" == (root / "a/f").read_bytes()


def test_a_copy_that_runs_out_of_space_leaves_nothing_behind(
    root: Path, root_fd: int, no_hard_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a/f": b"old"})
    really = os.fsync

    def fsync(fd: int) -> None:
        if ".fwsync-" in path_of(fd):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        keep_copy(root_fd, "a/f", "a/copy")

    assert ["f"] == [one.name for one in (root / "a").iterdir()]


def test_a_name_that_is_too_long_is_a_problem_of_that_path(root: Path, root_fd: int) -> None:
    with pytest.raises(FileProblem):
        publish(root_fd, Arrival(part(root, b"new"), f"a/{'x' * 256}", None), trash=TRASH)


def test_a_name_of_255_bytes_is_published_and_kept(root: Path, root_fd: int) -> None:
    name = "x" * 255
    publish(root_fd, Arrival(part(root, b"one"), name, None), trash=TRASH)
    publish(root_fd, Arrival(part(root, b"two"), name, stamp(root / name)), trash=TRASH)

    assert b"two" == (root / name).read_bytes()
    assert [b"one"] == in_trash(root)


# -------------------------------------------------------------------------------------- copies


def test_a_copy_is_a_second_name_for_the_same_file(root: Path, root_fd: int) -> None:
    plant(root, {"a/f.nii.gz": b"mine"})

    assert "a/copy.nii.gz" == keep_copy(root_fd, "a/f.nii.gz", "a/copy.nii.gz")
    assert (root / "a/copy.nii.gz").stat().st_ino == (root / "a/f.nii.gz").stat().st_ino


def test_a_copy_whose_name_is_taken_gets_a_number(root: Path, root_fd: int) -> None:
    plant(root, {"f": b"mine", "t/c.nii.gz": b"1", "t/c-1.nii.gz": b"2"})

    assert "t/c-2.nii.gz" == keep_copy(root_fd, "f", "t/c.nii.gz")
    assert {b"1", b"2", b"mine"} == set(below(root / "t"))


def test_a_copy_that_was_made_before_a_crash_is_not_made_twice(root: Path, root_fd: int) -> None:
    plant(root, {"f": b"mine", "t/c": b"another"})
    first = keep_copy(root_fd, "f", "t/c")

    assert "t/c-1" == first
    assert first == keep_copy(root_fd, "f", "t/c")
    assert [b"another", b"mine"] == below(root / "t")


def test_a_copy_in_the_root_itself_has_no_slash(root: Path, root_fd: int) -> None:
    plant(root, {"f": b"mine"})

    assert "c" == keep_copy(root_fd, "f", "c")
    plant(root, {"g": b"other"})
    assert "c-1" == keep_copy(root_fd, "g", "c")


def test_without_hard_links_the_bytes_are_copied(
    root: Path, root_fd: int, no_hard_links: None
) -> None:
    content = bytes(range(256)) * 10_000
    plant(root, {"f": content})

    assert "t/c" == keep_copy(root_fd, "f", "t/c")
    assert content == (root / "t/c").read_bytes()
    assert ["c"] == [one.name for one in (root / "t").iterdir()]


# ------------------------------------------------------------------------------------- deleting


def test_a_discarded_file_is_in_the_trash(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"old", "a/g": b"stays"})

    assert f"{TRASH}/a/f" == discard(root_fd, "a/f", stamp(root / "a/f"), trash=TRASH)
    assert [b"stays"] == below(root / "a")
    assert [b"old"] == in_trash(root)


@pytest.mark.parametrize("content", [b"mine, and newer", b"new"])
def test_a_file_that_changed_is_not_discarded(content: bytes, root: Path, root_fd: int) -> None:
    """However alike it looks: of the same size, and with the time that it had."""
    plant(root, {"a/f": b"old"})
    before = stamp(root / "a/f")
    seen = before._replace(ctime_ns=before.ctime_ns - 1)  # it was looked at a while ago
    (root / "a/f").write_bytes(content)
    os.utime(root / "a/f", ns=(before.mtime_ns, before.mtime_ns))

    with pytest.raises(SourceChanged):
        discard(root_fd, "a/f", seen, trash=TRASH)

    assert content == (root / "a/f").read_bytes()
    assert [] == in_trash(root)


def test_a_file_that_is_gone_is_not_discarded(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"old"})
    seen = stamp(root / "a/f")
    (root / "a/f").unlink()

    with pytest.raises(SourceChanged):
        discard(root_fd, "a/f", seen, trash=TRASH)


def test_a_link_in_the_place_of_a_file_is_not_discarded(
    root: Path, root_fd: int, tmp_path: Path
) -> None:
    plant(tmp_path, {"outside": b"mine"})
    plant(root, {"a/f": b"old"})
    seen = stamp(root / "a/f")
    (root / "a/f").unlink()
    (root / "a/f").symlink_to(tmp_path / "outside")

    with pytest.raises(FileProblem):
        discard(root_fd, "a/f", seen, trash=TRASH)

    assert b"mine" == (tmp_path / "outside").read_bytes()


def test_files_of_one_name_keep_all_their_versions_in_the_trash(root: Path, root_fd: int) -> None:
    for content in (b"1", b"2", b"3"):
        plant(root, {"a/f.dcm": content})
        discard(root_fd, "a/f.dcm", stamp(root / "a/f.dcm"), trash=TRASH)

    assert [b"1", b"2", b"3"] == in_trash(root)


def test_no_descriptor_is_left_open(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"old"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    publish(root_fd, Arrival(part(root, b"n"), "a/f", stamp(root / "a/f")), trash=TRASH)
    discard(root_fd, "a/f", stamp(root / "a/f"), trash=TRASH)
    localfs.sync_folder(root_fd, "a")
    for wrong in ("nowhere/f", "a/../f", "a"):
        with pytest.raises(FileProblem):
            os.close(localfs.open_regular(root_fd, wrong))

    assert before == len(list(Path("/proc/self/fd").iterdir()))
