"""Locks of a root and its state: held, refused, given back, taken over from the dead."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import fwsync
from fwsync.errors import Locked
from fwsync.locks import RootLock
from fwsync.roots import RESERVED, Place, prepare_place
from fwsync.whereabouts import locate
from tests.room.test_roots import everything, network


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "export"
    path.mkdir()
    return path


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    return {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}


# ----------------------------------------------------------------------------- processes


@contextlib.contextmanager
def holding(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a place's root."""
    script = """
        import os, sys
        from pathlib import Path
        from fwsync.locks import RootLock
        from fwsync.whereabouts import locate
        env = {"HOME": sys.argv[2]}
        if sys.argv[3]:
            env["STATE_DIRECTORY"] = sys.argv[3]
        place = locate(Path(sys.argv[1]), "lab/one", env=env, read_only=sys.argv[4] == "ro")
        with RootLock(place, command="fwsync watch"):
            print("held", flush=True)
            sys.stdin.read()
    """
    home = place.state_file.parent
    service = "" if home.name == RESERVED else str(home)
    mode = "rw" if place.folder else "ro"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), place.root, "/nowhere", service, mode],
        cwd=Path(fwsync.__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            assert other.stdout is not None
            assert "held\n" == other.stdout.readline()
            yield other
        finally:
            other.kill()


def test_a_second_process_is_refused_and_the_first_one_named(
    root: Path, env: Mapping[str, str]
) -> None:
    place = locate(root, "lab/two", env=env, filesystem_of=network())
    with holding(place) as other, pytest.raises(Locked) as raised:
        RootLock(place, command="sync").acquire()

    assert f"process {other.pid} on " in raised.value.message
    assert "`fwsync watch`" in raised.value.message
    assert 6 == raised.value.exit_code


def test_a_lock_goes_with_a_process_that_is_killed(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "lab/one", env=env, filesystem_of=network())
    with holding(place) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with RootLock(place, command="sync"):
            assert os.getpid() == json.loads(place.root_lock.read_text())["pid"]


def test_a_root_that_is_only_read_is_locked_under_any_spelling(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    given = {**env, "STATE_DIRECTORY": str(tmp_path / "var")}
    place = locate(root, "lab/one", env=given, read_only=True, filesystem_of=network())
    twin = tmp_path / "twin"
    twin.mkdir()
    bound = subprocess.run(
        ["mount", "--bind", root, twin], capture_output=True, check=False
    ).returncode
    try:
        spelling = twin if bound == 0 else root / ".." / "export"
        again = locate(spelling, "lab/two", env=given, read_only=True, filesystem_of=network())
        with holding(place), pytest.raises(Locked, match="fwsync watch"):
            RootLock(again, command="sync").acquire()
    finally:
        if bound == 0:
            subprocess.run(["umount", twin], check=True)


def test_one_state_file_is_not_used_for_two_roots_at_once(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first, second = (
        locate(path, "a", env=env, state_option=tmp_path / "s.db", filesystem_of=network())
        for path in (root, other)
    )
    with RootLock(first, command="sync"):
        with pytest.raises(Locked):
            RootLock(second, command="sync").acquire()
        # What it had taken before is free again.
        with RootLock(replace(second, state_lock=tmp_path / "free.lock"), command="sync"):
            pass


def test_a_lock_is_given_back(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "a", env=env, filesystem_of=network())
    lock = RootLock(place, command="sync")
    for _ in range(2):
        lock.acquire()
        lock.release()
        lock.release()

    assert [".fwsync", ".fwsync/lock", ".fwsync/state.db.lock"] == everything(root)


# --------------------------------------------------------------------------------- hosts


@pytest.fixture
def cluster(root: Path, env: Mapping[str, str], tmp_path: Path) -> Place:
    shared = network(root, tmp_path / "home")
    return locate(root, "lab/aging", env=env, filesystem_of=shared)


def held_by(cluster: Place, **other: object) -> None:
    assert cluster.host_lock is not None
    prepare_place(cluster)
    with RootLock(cluster, command="pull"):
        holder = json.loads(cluster.host_lock.read_text())
    cluster.host_lock.write_text(json.dumps(holder | other))


def test_a_state_in_use_on_another_host_is_refused_and_the_way_out_named(cluster: Place) -> None:
    held_by(cluster, host="node17", pid=4711)

    with pytest.raises(Locked, match="4711 on node17") as raised:
        RootLock(cluster, command="pull").acquire()

    assert f"remove {cluster.host_lock}" in raised.value.hint


@pytest.mark.parametrize("dead", [{"born": "another-boot/1"}, {"born": "", "pid": 2**22 + 1}])
def test_a_claim_of_a_dead_process_of_this_host_is_taken_over(
    cluster: Place, dead: dict[str, object]
) -> None:
    held_by(cluster, **dead)
    with RootLock(cluster, command="pull"):
        assert cluster.host_lock is not None
        assert os.getpid() == json.loads(cluster.host_lock.read_text())["pid"]

    assert not cluster.host_lock.exists()


def test_a_claim_of_a_living_process_of_this_host_is_kept(cluster: Place) -> None:
    held_by(cluster)
    with pytest.raises(Locked, match=f"process {os.getpid()}"):
        RootLock(cluster, command="pull").acquire()

    assert cluster.host_lock is not None
    cluster.host_lock.write_text("")
    with pytest.raises(Locked, match="another process"):
        RootLock(cluster, command="pull").acquire()
