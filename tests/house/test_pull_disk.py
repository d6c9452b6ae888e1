"""A pull and the disk it writes to: rows F61 to F79 of the catalogue of faults, and I10."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.house.disks import Disk, small_disk
from tests.house.faults import SHIM, halted, problems
from tests.house.house import (
    Desk,
    Done,
    Ground,
    Tree,
    check_state,
    complains,
    grown,
    leftovers,
    plant,
    some_tree,
    stop_watch,
    until,
)

MB = 1 << 20

#: Twenty files of a megabyte, which no disk here holds, among small ones.
LARGE = {f"s{n % 4}/ses/T1/{n:02}.nii": os.urandom(64) * (MB // 64) for n in range(20)}
TREE = {**LARGE, "notes.txt": b"of the project", "s0/ses/T2/empty": b""}


@pytest.fixture(scope="module")
def stock(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The label of a project that holds it, and that no test changes."""
    desk = Desk(tmp_path_factory.mktemp("stock"), ground.key())
    ground.project("stock")
    root = plant(tmp_path_factory.mktemp("sent"), TREE)
    assert desk.run("push", root, "lab/stock").code == 0
    shutil.rmtree(root)
    return "stock"


@pytest.fixture
def sent(desk: Desk, label: str, tmp_path: Path) -> Tree:
    """What the project of this test holds."""
    done = desk.run("push", plant(tmp_path / "sent", TREE), f"lab/{label}", "--json")

    assert (done.code, done.summary["uploaded"]) == (0, len(TREE)), done
    shutil.rmtree(tmp_path / "sent")
    return TREE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk for half of it."""
    with small_disk(tmp_path / "disk", "12m") as made:
        yield made


def check_whole(root: Path, tree: Tree) -> None:
    """What is there is as it should be, and nothing of ours lies about."""
    assert {} == {path: len(body) for path, body in grown(root).items() if body != tree.get(path)}
    assert [] == leftovers(root)


def check_closed(desk: Desk, root: Path, label: str, tree: Tree) -> None:
    """All comes with the next pull, and the one after that finds nothing to do."""
    pull = ("pull", f"lab/{label}", root, "--json")
    mended, again = desk.run(*pull), desk.run(*pull)

    assert mended.code == 0, mended
    assert (again.code, again.moved()) == (0, {}), again
    assert tree == grown(root)
    assert [] == leftovers(root)
    check_state(root)


def struck(root: Path, scratch: Path, *operations: str, **spec: object) -> tuple[str, str]:
    """The program in which these operations below ``root`` fail as ``spec`` says."""
    told = {"below": str(root), "log": str(scratch / "shim.log"), "operations": operations}
    return SHIM, json.dumps(told | spec)


# ---------------------------------------------------------------------------------- F61 - F63


def test_f61_what_fits_comes_down_and_what_is_missing_is_said(
    desk: Desk, stock: str, disk: Disk
) -> None:
    root = disk.path / "root"
    done = desk.run("pull", f"lab/{stock}", root)

    complains(done, 6, "no space left", "are missing", "free some space")
    here = grown(root)
    assert 4 < len(here) < len(TREE)
    check_whole(root, TREE)
    check_state(root)
    told = desk.run("status", root)
    assert (told.code, "no space left" in told.out) == (1, True), told

    disk.resize("60m")
    check_closed(desk, root, stock, TREE)
    assert desk.run("status", root).code == 0


def test_f61_a_plan_says_what_has_no_room(desk: Desk, stock: str, disk: Disk) -> None:
    plan = ("plan", "pull", f"lab/{stock}", disk.path / "not" / "there")
    done = desk.run(*plan)

    assert (done.code, "may be written there" in done.err) == (0, True), done
    assert "are missing" in done.err
    disk.resize("60m")
    assert "missing" not in desk.run(*plan).err
    assert [] == [*disk.path.iterdir()]


def test_f61_a_run_begins_no_download_that_has_no_room(
    ground: Ground, desk: Desk, stock: str, disk: Disk
) -> None:
    (disk.path / "others").write_bytes(bytes(11 * MB))
    ground.forget_requests()
    done = desk.run("pull", f"lab/{stock}", disk.path / "root")

    complains(done, 6, "no space left", "are missing")
    assert sum(one["path"].startswith("/api/download") for one in ground.requests()) <= 2
    (disk.path / "others").unlink()
    disk.resize("60m")
    check_closed(desk, disk.path / "root", stock, TREE)


def test_f61_uploads_go_on_where_downloads_have_no_room(
    desk: Desk, label: str, sent: Tree, disk: Disk
) -> None:
    ours = {f"s9/ses/T1/{n}.dcm": b"new %d" % n for n in range(30)}
    root = plant(disk.path / "root", ours)
    done = desk.run("sync", root, f"lab/{label}", "--transfers", "4")

    complains(done, 6, "no space left")
    disk.resize("60m")
    again = desk.run("sync", root, "--json")
    assert (again.code, again.summary["uploaded"]) == (0, 0), again
    assert {**sent, **ours} == grown(root)


def test_f61_a_watch_waits_for_space_and_sends_meanwhile(
    ground: Ground, desk: Desk, label: str, sent: Tree, disk: Disk
) -> None:
    root = plant(disk.path / "root", {"s9/ses/T1/first.dcm": b"first"})
    watch = ("watch", root, f"lab/{label}", "--mode", "both", "--settle", "0s", "--json")
    process = desk.start(*watch)
    assert process.stderr is not None
    try:
        until(lambda: len(grown(root)) > 4, what="some have come")
        plant(root, {"s9/ses/T1/second.dcm": b"second"})
        until(lambda: ground.count(label) == len(sent) + 2, what="what is new has gone up")
        assert len(grown(root)) < len(sent)
        disk.resize("60m")
        until(lambda: len(grown(root)) == len(sent) + 2, what="the rest has come")
    finally:
        done = stop_watch(process)

    assert done.code == 0, done
    notes = [line["text"] for line in map(json.loads, done.out.splitlines()) if "text" in line]
    said = "\n".join(notes) or done.err + done.out
    assert said.count("no space left") == 1, said
    assert "there is space again" in said
    check_whole(root, {**sent, "s9/ses/T1/first.dcm": b"first", "s9/ses/T1/second.dcm": b"second"})


def test_f61_members_of_a_zip_that_have_no_room_come_when_they_have(
    desk: Desk, label: str, tmp_path: Path, disk: Disk
) -> None:
    members = {f"{n:02}.dcm": os.urandom(64) * (MB // 64) for n in range(7)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:  # stored: as large as they are together
        for name, content in members.items():
            archive.writestr(name, content)
    tree = {"s/ses/T1/T1.dicom.zip": made.getvalue(), "s/ses/T2/x.nii": b"small"}
    assert desk.run("push", plant(tmp_path / "sent", tree), f"lab/{label}").code == 0
    root = disk.path / "root"

    done = desk.run("pull", f"lab/{label}", root, "--unpack")

    unpacked = {
        "s/ses/T2/x.nii": b"small",
        **{f"s/ses/T1/T1.dicom/{name}": content for name, content in members.items()},
    }
    complains(done, 6, "no space left")
    assert grown(root).items() <= unpacked.items()
    disk.resize("60m")
    check_closed(desk, root, label, unpacked)


def test_f63_a_disk_that_has_become_read_only_is_said_and_nothing_is_lost(
    desk: Desk, stock: str, disk: Disk
) -> None:
    disk.resize("60m")
    root = disk.path / "root"
    assert desk.run("pull", f"lab/{stock}", root).code == 0
    (root / "notes.txt").unlink()
    disk.resize("60m,ro")

    done = desk.run("pull", f"lab/{stock}", root)

    assert done.code in (1, 6), done
    assert "Traceback" not in done.err, done
    assert "read-only" in (done.err + done.out).lower(), done
    disk.resize("60m,rw")
    check_closed(desk, root, stock, TREE)


def test_f62_a_disk_without_room_for_the_state_ends_the_run_and_no_more(
    desk: Desk, stock: str, disk: Disk
) -> None:
    root, others = disk.path / "root", disk.path / "others"
    assert desk.run("pull", f"lab/{stock}", root).code == 6
    here = grown(root)
    with others.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    for _ in range(2):
        done = desk.run("pull", f"lab/{stock}", root)
        complains(done, 6)
        assert grown(root).items() >= here.items()
    others.unlink()
    disk.resize("60m")
    check_closed(desk, root, stock, TREE)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["ENOSPC", "EDQUOT"])
def test_f61_f63_a_disk_that_is_full_though_it_says_otherwise_leaves_no_part(
    desk: Desk, stock: str, tmp_path: Path, code: int
) -> None:
    root = tmp_path / "root"
    program = struck(root, tmp_path, "write", fail_at=12, errno=code, for_good=True)
    done = desk.run("pull", f"lab/{stock}", root, program=program)

    complains(done, 6, "no space left")
    check_whole(root, TREE)
    check_closed(desk, root, stock, TREE)


def test_f63_a_folder_that_may_not_be_written_is_a_problem_of_its_own_files(
    desk: Desk, stock: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    folder = root / "s1" / "ses" / "T1"
    folder.mkdir(parents=True)
    for one in (root, root / "s1", root / "s1" / "ses"):
        one.chmod(0o777)
    folder.chmod(0o555)
    try:
        done = desk.run("pull", f"lab/{stock}", root, "--json", as_user=os.geteuid() == 0)
    finally:
        folder.chmod(0o777)

    held = {path for path in TREE if path.startswith("s1/")}
    assert (done.code, set(problems(done))) == (1, held), done
    assert grown(root).keys() == TREE.keys() - held
    check_whole(root, TREE)
    check_closed(desk, root, stock, TREE)


# ---------------------------------------------------------------------------------- F66 - F79


def test_f66_a_name_as_long_as_the_disk_allows_comes_down(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {"/".join(["s" * 60, "e" * 60, "a" * 60, "n" * 255]): b"long"}
    assert desk.run("push", plant(tmp_path / "sent", tree), f"lab/{label}").code == 0

    check_closed(desk, tmp_path / "root", label, tree)


def test_f77_few_descriptors_are_enough(desk: Desk, label: str, tmp_path: Path) -> None:
    tree = some_tree(77, small=400, large=(1, 2, 40))
    assert desk.run("push", plant(tmp_path / "sent", tree), f"lab/{label}").code == 0

    def scarce() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    root = tmp_path / "root"
    done = desk.run("pull", f"lab/{label}", root, "--json", prepare=scarce)

    assert (done.code, problems(done)) == (0, {}), done
    check_whole(root, tree)
    assert tree == grown(root)


def test_f78_what_the_disk_does_not_keep_is_not_done(
    desk: Desk, stock: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    desk.run("plan", "pull", f"lab/{stock}", root)  # makes nothing there
    program = struck(
        root / ".fwsync" / "parts", tmp_path, "fsync", "fdatasync", fail_at=3, errno=errno.EIO
    )
    done = desk.run("pull", f"lab/{stock}", root, "--json", program=program)

    assert done.code == 1, done
    assert 1 <= len(problems(done)) < len(TREE), done
    assert grown(root).keys() == TREE.keys() - problems(done).keys()
    check_whole(root, TREE)
    check_closed(desk, root, stock, TREE)


def as_link(parts: Path, elsewhere: Path) -> None:
    elsewhere.mkdir()
    parts.symlink_to(elsewhere)


@pytest.mark.parametrize("name", ["parts", "trash"])
def test_f79_a_folder_for_parts_that_is_elsewhere_is_refused_at_the_start(
    ground: Ground, desk: Desk, stock: str, tmp_path: Path, name: str
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / ".fwsync").mkdir(parents=True)
    as_link(root / ".fwsync" / name, elsewhere)
    ground.forget_requests()
    done = desk.run("pull", f"lab/{stock}", root)

    complains(done, 6, name, "another device")
    assert {} == grown(root)
    assert [] == [*elsewhere.iterdir()]
    assert not any("/files/" in one["path"] for one in ground.requests())
    (root / ".fwsync" / name).unlink()
    check_closed(desk, root, stock, TREE)


def test_f79_a_disk_that_is_mounted_on_the_folder_for_parts_is_refused_at_the_start(
    desk: Desk, stock: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with small_disk(root / ".fwsync" / "parts", "8m"):
        done = desk.run("pull", f"lab/{stock}", root)

        complains(done, 6, "another device")
        assert {} == grown(root)
    check_closed(desk, root, stock, TREE)


# --------------------------------------------------------------------- modes, times, I10


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_finished_files_and_folders_have_the_users_umask(
    desk: Desk, label: str, tmp_path: Path, mask: int
) -> None:
    tree = {"s/e/a/small": b"small", "s/e/a/large": bytes(3 * MB), "s/e/a/empty": b""}
    assert desk.run("push", plant(tmp_path / "sent", tree), f"lab/{label}").code == 0
    root = tmp_path / "root"

    def prepare() -> None:
        os.umask(mask)

    assert desk.run("pull", f"lab/{label}", root, prepare=prepare).code == 0
    assert {0o666 & ~mask} == {(root / path).stat().st_mode & 0o777 for path in tree}
    assert {0o777 & ~mask} == {
        (root / path).stat().st_mode & 0o777 for path in ("s", "s/e", "s/e/a")
    }


def test_a_file_has_the_time_that_the_server_gives(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    assert desk.run("push", plant(tmp_path / "sent", {"notes": b"n"}), f"lab/{label}").code == 0
    assert desk.run("pull", f"lab/{label}", tmp_path / "root").code == 0

    listed = [one for one in ground.ask("GET", "/projects") if one["label"] == label]
    info = ground.ask("GET", f"/projects/{listed[0]['_id']}/files/notes/info")
    modified = datetime.fromisoformat(info["modified"]).timestamp()
    assert abs((tmp_path / "root" / "notes").stat().st_mtime - modified) < 0.001


def test_i10_nothing_is_written_through_a_linked_folder(
    desk: Desk, stock: str, tmp_path: Path
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "s1").symlink_to(elsewhere)
    done = desk.run("pull", f"lab/{stock}", root, "--json")

    assert (done.code, [*elsewhere.iterdir()]) == (1, []), done
    assert grown(root).keys() == {path for path in TREE if not path.startswith("s1/")}
    (root / "s1").unlink()
    check_closed(desk, root, stock, TREE)


def swap(folder: Path, elsewhere: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(elsewhere)


def vanish(folder: Path, elsewhere: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("do", [swap, vanish], ids=lambda one: one.__name__)
def test_i10_a_folder_that_becomes_a_link_while_files_come_is_not_followed(
    desk: Desk, label: str, tmp_path: Path, do: Callable[[Path, Path], None]
) -> None:
    tree = {f"s1/ses/T1/{n:03}.dcm": b"%d" % n for n in range(20)}
    assert desk.run("push", plant(tmp_path / "sent", tree), f"lab/{label}").code == 0
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "s1").mkdir(parents=True)
    pull = ("pull", f"lab/{label}", root, "--json")
    parts = root / ".fwsync" / "parts"
    with halted(desk, tmp_path, *pull, before="fsync", file=parts) as run:
        do(root / "s1", elsewhere)

    check_no_way_out(run.done, elsewhere)
    (root / "s1").unlink()
    shutil.rmtree(root / "moved", ignore_errors=True)
    check_closed(desk, root, label, tree)


def check_no_way_out(done: Done, elsewhere: Path) -> None:
    assert (done.code, [*elsewhere.iterdir()]) == (1, []), done
    assert "Traceback" not in done.err, done
