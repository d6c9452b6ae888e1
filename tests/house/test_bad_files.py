"""Files, disks, locks and states that resist: it is said, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.house.house import (
    ROOT,
    SOME,
    Desk,
    Ground,
    complains,
    expected_record,
    finish,
    grown,
    held,
    leftovers,
    plant,
    record_of,
    some_tree,
)
from tests.house.wire import Relay

# -------------------------------------------------------------------------- files that resist


def test_an_unreadable_file_is_reported_and_the_others_go(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    (root / "sub-01/ses-01/t1/1.dcm").chmod(0)
    done = desk.run("push", root, f"lab/{label}", "--json", as_user=True)

    assert 1 == done.code, done
    assert "Traceback" not in done.err
    assert 1 == done.summary["problems"]
    problems = [line["path"] for line in done.lines if line["event"] == "problem"]
    assert ["sub-01/ses-01/t1/1.dcm"] == problems
    others = {path: content for path, content in SOME.items() if not path.endswith("t1/1.dcm")}
    assert expected_record(others) == record_of(ground, label)

    (root / "sub-01/ses-01/t1/1.dcm").chmod(0o600)

    assert 0 == desk.run("push", root, as_user=True).code
    assert expected_record(SOME) == record_of(ground, label)


def test_an_unreadable_folder_is_reported_and_nothing_in_it_counts_as_deleted(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    push = ("push", root, f"lab/{label}", "--delete-up", "--json")

    assert 0 == desk.run(*push).code

    folder = root / "sub-01/ses-01"
    folder.chmod(0)
    try:
        done = desk.run(*push, as_user=True)
    finally:
        folder.chmod(0o700)

    assert (1, 0) == (done.code, done.summary["deleted"]), done
    assert ["sub-01/ses-01"] == [one["path"] for one in done.lines if one["event"] == "problem"]
    assert not any(one.deleted for one in ground.stored(label))
    assert (0, {}) == ((again := desk.run(*push)).code, again.moved())


def test_a_name_that_is_not_utf8_is_reported_and_the_others_go(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    bad = os.fsencode(root) + b"/sub-01/ses-01/t1/caf\xe9.dcm"
    with open(bad, "wb") as file:  # noqa: PTH123  # pathlib has no paths of bytes
        file.write(b"content")
    done = desk.run("push", root, f"lab/{label}", "--json")

    assert (1, 1) == (done.code, done.summary["problems"]), done
    (problem,) = [line for line in done.lines if line["event"] == "problem"]
    assert "\\xe9" in problem["path"]
    assert "UTF-8" in problem["message"]
    assert expected_record(SOME) == record_of(ground, label)

    for_people = desk.run("push", root)

    assert 1 == for_people.code
    assert "caf" in for_people.out
    assert "Traceback" not in for_people.err


def test_a_file_deeper_than_the_layout_is_reported_and_the_others_go(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    deep = "sub-01/ses-01/t1/raw/1.dcm"
    plant(root, {deep: b"deep"})
    done = desk.run("push", root, f"lab/{label}", "--json")

    assert (1, 1) == (done.code, done.summary["problems"]), done
    assert [deep] == [line["path"] for line in done.lines if line["event"] == "problem"]
    assert expected_record(SOME) == record_of(ground, label)


def test_what_is_no_regular_file_hangs_nothing_and_the_others_go(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    folder = root / "sub-01/ses-01/t1"
    outside = plant(tmp_path / "outside", {"secret.txt": b"secret"})
    os.mkfifo(folder / "fifo.dcm")
    (folder / "link.dcm").symlink_to(outside / "secret.txt")
    (folder / "links").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (root / "dangling").symlink_to("nowhere")
    with closing(socket.socket(socket.AF_UNIX)) as made:
        there = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        made.bind("socket.dcm")
        os.chdir(there)
    done = desk.run("push", root, f"lab/{label}", "--json", within_s=30)

    assert done.code in (0, 1), done
    assert "Traceback" not in done.err
    assert expected_record(SOME) == record_of(ground, label)


def test_a_symbolic_link_on_the_way_of_a_pull_is_not_followed(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code

    new, outside = tmp_path / "new", tmp_path / "outside"
    outside.mkdir()
    new.mkdir()
    (new / "sub-01").symlink_to(outside)
    done = desk.run("pull", f"lab/{label}", new, "--json")

    assert 1 == done.code, done
    assert "Traceback" not in done.err
    assert {} == grown(outside)
    assert {"sub-02/ses-01/t2/1.dcm": b"three"} == grown(new)


# -------------------------------------------------------------------------------- full disks


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes at this folder; False where none can be mounted."""
    at.mkdir()
    mounted = 0 == subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)], stderr=subprocess.DEVNULL
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(["umount", "-l", str(at)])


def give_room(at: Path, size: int) -> None:
    subprocess.check_call(["mount", "-o", f"remount,size={size}", str(at)])


@pytest.mark.parametrize("sort", ["small", "large"])
def test_a_full_disk_ends_a_pull_with_whole_files_and_room_lets_it_go_on(
    sort: str, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(3, small=300, large=()) if sort == "small" else some_tree(3, small=9)
    root = plant(tmp_path / "root", tree)

    assert 0 == desk.run("push", root, f"lab/{label}").code

    disk = tmp_path / "disk"
    room = 900_000 if sort == "small" else 4 << 20
    with small_disk(disk, room) as mounted:
        new = disk / "new"
        pull: tuple[str | Path, ...]
        pull = ("pull", f"lab/{label}", new, "--transfers", "2", "--json")
        if mounted:
            # Beside it, so that what is full is the disk of the files alone.
            pull = (*pull, "--state", str(tmp_path / "state.db"))
            done = desk.run(*pull)
        else:
            spec = {"below": str(new), "log": str(tmp_path / "log"), "room": room * 2 // 3}
            program = (str(ROOT / "tests/torture/shim.py"), json.dumps(spec))
            done = desk.run(*pull, program=program)

        complains(done, 6, "space")
        landed = grown(new)
        assert 0 < len(landed) < len(tree)
        assert {path: tree[path] for path in landed} == landed

        if mounted:
            give_room(disk, 64 << 20)
        again = desk.run(*pull)

        assert 0 == again.code, again
        assert tree == grown(new)
        assert [] == leftovers(new)


def test_a_full_disk_under_the_state_ends_the_run_and_room_lets_it_go_on(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {f"s/ses/acq/{number:04}.dcm": b"" for number in range(1500)}
    root = plant(tmp_path / "root", tree)
    disk = tmp_path / "disk"

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    with small_disk(disk, 200_000) as mounted:
        push = ("push", root, f"lab/{label}", "--state", disk / "state.db", "--json")
        done = desk.run(*push, prepare=None if mounted else no_large_files)

        complains(done, 6, "state.db")

        if mounted:
            give_room(disk, 64 << 20)
        again = desk.run(*push)

        assert 0 == again.code, again
        assert expected_record(tree) == record_of(ground, label)
        assert (0, {}) == ((third := desk.run(*push)).code, third.moved())


@pytest.mark.timeout(300)  # dozens of runs
@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_folder_operation_may_fail_and_the_next_run_goes_on(
    command: str, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {"s/ses/acq/1.dcm": b"one"}
    if command == "pull":
        away = plant(tmp_path / "away", tree)

        assert 0 == desk.run("push", away, f"lab/{label}").code
    log = tmp_path / "log"
    for number in count(1):
        root = plant(tmp_path / f"root-{number}", tree if command == "push" else {})
        spec = {"below": str(root), "log": str(log), "fail_at": number, "errno": errno.EIO}
        spec["operations"] = ["scandir", "mkdir", "unlink"]  # all of them are the torture's
        args: tuple[str | Path, ...] = ("pull", f"lab/{label}", root)
        if command == "push":
            ground.project(f"{label}-{number}")
            args = ("push", root, f"lab/{label}-{number}")
        log.unlink(missing_ok=True)
        done = desk.run(*args, program=(str(ROOT / "tests/torture/shim.py"), json.dumps(spec)))
        operations = log.read_text().splitlines()
        if number > len(operations):
            break

        assert "Traceback" not in done.err, (operations[number - 1], done)
        assert done.code in range(7), (operations[number - 1], done)
        assert 0 == (again := desk.run(*args)).code, (operations[number - 1], again)
        assert tree == grown(root)

    assert 5 < number, "the sweep has met hardly any operation"


# ------------------------------------------------------------------------------ lock and state


@pytest.mark.parametrize("command", ["push", "pull", "watch"])
def test_a_second_fwsync_on_the_same_root_names_the_first(
    command: str, ground: Ground, relay: Relay, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(5, small=40)
    root = plant(tmp_path / "root", tree)
    first = held(ground, relay, desk, root, label)
    second = Desk(desk.home, desk.key)
    try:
        link = tmp_path / "link"  # by another name it is the same root
        link.symlink_to(root)
        target = f"lab/{label}"
        ground.run(relay.limit(up_rate=200_000))
        args = (command, target, link) if command == "pull" else (command, link, target)
        done = second.run(*args)
    finally:
        ground.run(relay.limit())
        ended = finish(first)

    complains(done, 6, f"process {first.pid}")
    assert 0 == ended.code, ended
    assert expected_record(tree) == record_of(ground, label)


def _cut(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def _scribble(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * (file.stat().st_size - 8192))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no SQLite": lambda file: file.write_bytes(b"no database, whatever the name says\n" * 400),
    "empty": lambda file: file.write_bytes(b""),
    "cut": _cut,
    "scribbled over": _scribble,
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_state_is_refused_and_left_as_it_is(
    damage: str, ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    push = ("push", root, f"lab/{label}", "--json")

    assert 0 == desk.run(*push).code

    state = root / ".fwsync/state.db"
    DAMAGES[damage](state)
    before = state.read_bytes()

    complains(desk.run(*push), 6, "state.db")
    assert before == state.read_bytes()
    assert expected_record(SOME) == record_of(ground, label)

    state.unlink()  # as the hint says
    again = desk.run(*push)

    assert (0, {"adopted": len(SOME)}) == (again.code, again.moved())


def test_a_state_of_a_newer_fwsync_is_refused_and_left_as_it_is(
    desk: Desk, label: str, root: Path
) -> None:
    push = ("push", root, f"lab/{label}")

    assert 0 == desk.run(*push).code

    state = root / ".fwsync/state.db"
    with closing(sqlite3.connect(state)) as db:
        db.execute("PRAGMA user_version = 999")
        db.commit()
    before = state.read_bytes()

    complains(desk.run(*push), 6, "newer")
    assert before == state.read_bytes()
