"""``sync`` on a disk or a mount that fails, and over a network that does: F21, F75, F77 to F79.

A passing trouble needs no human: each test ends with the plain command, which goes through.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from fwsync.errors import FwsyncError
from fwsync.model import Report
from tests.house.disks import small_disk
from tests.house.faults import SHIM, halted, problems
from tests.house.house import (
    Desk,
    Ground,
    check_state,
    complains,
    expected_record,
    grown,
    leftovers,
    plant,
    record_of,
    some_tree,
    stop_watch,
    until,
)
from tests.house.wire import Relay
from tests.torture.both import FLAGS, Both, own_home
from tests.torture.boundaries import Files, Requests, nth_fails


@pytest.fixture
def world(ground: Ground, label: str, tmp_path: Path, blockbuster: BlockBuster) -> Iterator[Both]:
    """Both sides were in step, and are not any more; the root is on a disk of its own."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    key = tmp_path / "key"
    key.write_text(ground.key())
    key.chmod(0o600)
    with own_home(tmp_path / "home"):
        made = Both(ground, f"{label}-both", tmp_path / "root", key)
        made.part(made.agree())
        yield made


#: What was deleted or renamed here: it may not be there any more under its old name.
LET_GO = {
    "s1/e/gone/here.dat",
    "s1/e/same/5.dat",
    *(f"s3/e/mine/{n}.dat" for n in range(3)),
}


def alive(world: Both) -> set[str]:
    return {one.path for one in world.versions() if not one.deleted}


def command(world: Both) -> tuple[str | Path, ...]:
    return ("sync", world.root, f"lab/{world.label}", *FLAGS)


# ------------------------------------------------------------------------------------ F75


@pytest.mark.parametrize("operation", ["scandir", "open", "stat"])
@pytest.mark.parametrize("nth", [1, 4, 9])
def test_f75_a_root_that_goes_stale_while_it_is_scanned_deletes_nothing(
    operation: str, nth: int, world: Both, desk: Desk, tmp_path: Path
) -> None:
    before = alive(world) - LET_GO
    spec: dict[str, object] = {"below": str(world.root / "s1"), "log": str(tmp_path / "log")}
    spec |= {"operations": [operation], "fail_at": nth, "for_good": True, "errno": errno.ESTALE}
    done = desk.run(*command(world), program=(SHIM, json.dumps(spec)))

    assert done.code in (1, 2, 4, 5, 6), done
    assert "Traceback" not in done.err, done
    assert before <= alive(world), done
    world.check_nothing_lost(str(done))
    world.check_closed("when it is back")


@contextmanager
def mounted(disk: Path, root: Path) -> Iterator[Mount]:
    """A disk with a second place, from which it can be taken away and come back."""
    root.mkdir(exist_ok=True)
    mount = Mount(disk, root)
    mount.comes()
    try:
        yield mount
    finally:
        mount.goes()


class Mount:
    """A folder of a disk, at a place where it is mounted."""

    def __init__(self, disk: Path, root: Path) -> None:
        self._disk, self._root = disk, root
        self._is_there = False

    def comes(self) -> None:
        if not self._is_there:
            subprocess.run(["mount", "--bind", self._disk, self._root], check=True)
        self._is_there = True

    def goes(self) -> None:
        """At once, though files on it are open."""
        if self._is_there:
            subprocess.run(["umount", "-l", self._root], check=True)
        self._is_there = False


@pytest.fixture
def away(
    ground: Ground, label: str, tmp_path: Path, blockbuster: BlockBuster
) -> Iterator[tuple[Both, Mount]]:
    """As ``world``, on a disk that is mounted at the root."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    key = tmp_path / "key"
    key.write_text(ground.key())
    key.chmod(0o600)
    with (
        own_home(tmp_path / "home"),
        small_disk(tmp_path / "disk", "16m") as disk,
        mounted(disk.path, tmp_path / "root") as mount,
    ):
        made = Both(ground, f"{label}-away", tmp_path / "root", key)
        made.part(made.agree())
        yield made, mount


@pytest.mark.parametrize(
    ("before", "where"),
    [("scandir", "s2"), ("fsync", ".fwsync/parts"), ("open", "s1/e/up")],
    ids=["in mid-scan", "in mid-download", "in mid-upload"],
)
def test_f75_a_mount_that_vanishes_halts_the_root_and_deletes_nothing(
    before: str, where: str, away: tuple[Both, Mount], desk: Desk, tmp_path: Path
) -> None:
    world, mount = away
    was = alive(world) - LET_GO
    # What is open goes on as on the disk that it is on: its paths are those of the root no more.
    with halted(desk, tmp_path, *command(world), before=before, file=world.root / where) as run:
        mount.goes()

    assert run.done.code in (1, 4, 5, 6), run.done
    assert "Traceback" not in run.done.err, run.done
    assert was <= alive(world), run.done
    assert [] == sorted(world.root.iterdir()), "written where the mount was"
    again = desk.run(*command(world))  # it is gone still
    assert again.code not in (0, 1), again
    assert was <= alive(world), again
    mount.comes()
    world.check_closed("when the mount is back")


class Lines:
    """What a process says, line by line, while it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.seen: list[str] = []
        self._out = process.stdout
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in iter(self._out.readline, b""):
            self.seen.append(line.decode())

    def close(self) -> None:
        """After the end of the process."""
        self._thread.join(10)
        self._out.close()

    def said(self, word: str, after: int = 0) -> bool:
        return any(word in line for line in self.seen[after:])


def test_f75_a_watch_whose_mount_vanishes_waits_and_goes_on_when_it_is_back(
    away: tuple[Both, Mount], desk: Desk
) -> None:
    world, mount = away
    target = f"lab/{world.label}"
    watch = ("watch", world.root, target, "--mode", "both", "--settle", "0s", "--rescan", "1s")
    process = desk.start(*watch, *FLAGS)
    lines = Lines(process)

    def sends(path: str) -> bool:
        assert process.poll() is None, "it has ended"
        return path in alive(world)

    try:
        until(lambda: sends("s5/e/first/up.dat"), what="it is at work")
        until(lambda: "s1/e/gone/here.dat" not in alive(world), what="all is in step")
        was, said = alive(world), len(lines.seen)
        mount.goes()
        until(lambda: lines.said(str(world.root), said), what="it says that the root is gone")
        assert process.poll() is None, "it has ended"
        assert was == alive(world)
        mount.comes()
        world.here({"s5/e/first/later.dat": b"written when the mount was back"})
        until(lambda: sends("s5/e/first/later.dat"), what="it goes on", within_s=60)
        assert was <= alive(world)
    finally:
        process.terminate()
        process.wait(30)
        lines.close()
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0


# ------------------------------------------------------------------------------ F77 to F79


@pytest.mark.parametrize("limit", [64])
def test_f77_few_descriptors_are_enough_for_both_ways(
    limit: int, ground: Ground, label: str, desk: Desk, tmp_path: Path
) -> None:
    theirs = {f"t-{path}": content for path, content in some_tree(1, small=300).items()}
    ours = some_tree(2, small=300)
    assert desk.run("push", plant(tmp_path / "sent", theirs), f"lab/{label}").code == 0
    root = plant(tmp_path / "root", ours)

    def scarce() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = desk.run("sync", root, f"lab/{label}", "--json", prepare=scarce)

    assert (done.code, problems(done)) == (0, {}), done
    assert (len(ours), len(theirs)) == (done.summary["uploaded"], done.summary["downloaded"])
    assert {**ours, **theirs} == grown(root)
    assert expected_record({**ours, **theirs}) == record_of(ground, label)
    assert [] == leftovers(root)
    check_state(root)
    assert desk.run("sync", root, "--json", prepare=scarce).moved() == {}


def test_f78_what_the_disk_does_not_keep_is_fetched_again_as_a_new_part(
    ground: Ground, label: str, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()
    key = tmp_path / "key"
    key.write_text(ground.key())
    key.chmod(0o600)

    def world(number: int) -> Both:
        one = Both(ground, f"{label}-{number}", tmp_path / f"root-{number}", key)
        one.part(one.agree())
        return one

    with own_home(tmp_path / "home"):
        met = nth_fails(
            Files("fsync", operations=("fsync", "fdatasync")),
            world,
            step=4,
            fault=lambda _: ("EIO", False),
        )

    assert met > 4


@pytest.mark.parametrize("name", ["parts", "trash"])
def test_f79_a_folder_of_ours_that_is_elsewhere_is_refused_at_the_start(
    name: str, world: Both, desk: Desk, ground: Ground, tmp_path: Path
) -> None:
    was, own = grown(world.root), world.root / ".fwsync" / name
    if own.exists():
        own.rename(tmp_path / "kept")
    with small_disk(own, "8m"):
        ground.forget_requests()
        done = desk.run(*command(world))

        complains(done, 6, name, "another device")
        assert not any("/files" in one["path"] for one in ground.requests())
        assert was == grown(world.root)
    own.rmdir()
    if (tmp_path / "kept").exists():
        (tmp_path / "kept").rename(own)
    world.check_closed("when it is where it belongs")


# ---------------------------------------------------------------------------- never locked out


def test_a_network_that_is_lost_in_the_middle_costs_a_run_and_no_more(world: Both) -> None:
    with Requests().failing(world, 20, "reset", for_good=True) as met:
        ended = world.sync(patience_s=0.2)

    assert met.struck
    assert isinstance(ended, (Report, FwsyncError))
    world.check_nothing_lost("the network is lost")
    world.check_closed("it is back")


def test_f21_a_server_that_is_down_at_the_start_is_a_passing_trouble(
    world: Both, desk: Desk, ground: Ground, relay: Relay
) -> None:
    ground.run(relay.close())
    desk.key = ground.key(port=relay.port)
    done = desk.run(*command(world), "--patience", "0.2s")

    assert done.code == 5, done
    world.check_closed("it is up")


def test_a_disk_that_is_full_while_files_come_needs_no_human_once_it_is_not(
    ground: Ground, label: str, desk: Desk, tmp_path: Path
) -> None:
    theirs = {f"s/e/a/{n}.bin": os.urandom(1 << 20) for n in range(8)}
    assert desk.run("push", plant(tmp_path / "sent", theirs), f"lab/{label}").code == 0
    with small_disk(tmp_path / "disk", "6m") as disk:
        root = plant(disk.path / "root", {"s/e/b/ours.bin": b"ours"})
        done = desk.run("sync", root, f"lab/{label}", "--delete", "--json")

        assert done.code == 6, done
        assert ground.count(label) == len(theirs) + 1  # what is ours has gone up
        disk.resize("60m")
        again = desk.run("sync", root, "--delete", "--json")
        still = desk.run("sync", root, "--json")
        assert (again.code, still.code, still.moved()) == (0, 0, {}), (again, still)
        assert {**theirs, "s/e/b/ours.bin": b"ours"} == grown(root)
        check_state(root)


def test_a_watch_that_is_killed_needs_no_human(world: Both, desk: Desk) -> None:
    target = f"lab/{world.label}"
    watch = ("watch", world.root, target, "--mode", "both", "--settle", "0s", *FLAGS)
    process = desk.start(*watch)
    until(lambda: "s5/e/first/up.dat" in alive(world), what="something has gone up")
    process.kill()
    process.communicate()
    again = desk.start(*watch)
    until(lambda: "s1/e/gone/here.dat" not in alive(world), what="it goes on by itself")
    assert stop_watch(again).code == 0
    world.check_closed("after the kill")
