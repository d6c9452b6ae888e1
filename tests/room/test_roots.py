"""What lies in and around a root: places, markers, parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fwsync.errors import LocalError, UsageError
from fwsync.filesystems import FileSystem
from fwsync.locks import RootLock
from fwsync.roots import (
    RESERVED,
    Place,
    check_marker,
    clean_parts,
    part_name,
    prepare_place,
    prepare_root,
    root_id,
)
from fwsync.state import open_state
from fwsync.whereabouts import KnownRemote, known_remotes, locate, register, restore_work_copy

LOCAL = FileSystem("ext4", is_network=False, time_granularity_ns=20_000_000)
NFS = FileSystem("nfs4", is_network=True, time_granularity_ns=2_000_000_000)


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


def network(*paths: Path) -> Callable[[Path], FileSystem]:
    return lambda path: NFS if any(path.is_relative_to(top) for top in paths) else LOCAL


def everything(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


# ------------------------------------------------------------------------------- the root


def test_a_root_is_a_directory_by_its_real_path(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)

    assert [root, root] == [prepare_root(link), prepare_root(root / ".." / "export")]
    assert [] == everything(root)


def test_a_root_that_is_none_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (root / "file", root / "missing", tmp_path / "dangling", root / "file" / "x"):
        with pytest.raises(UsageError, match=str(path)):
            prepare_root(path)

    assert ["file"] == everything(root)


def test_a_root_is_made_for_a_first_pull(tmp_path: Path) -> None:
    assert prepare_root(tmp_path / "a" / "b", create=True).is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        prepare_root(tmp_path / "file", create=True)
    with pytest.raises(LocalError, match="cannot be made"):
        prepare_root(tmp_path / "file" / "below", create=True)


def test_a_root_inside_another_one_is_refused(root: Path, env: Mapping[str, str]) -> None:
    prepare_place(locate(root, "lab/a", env=env, filesystem_of=network()))
    (root / "sub" / "deep").mkdir(parents=True)

    with pytest.raises(UsageError, match="kept in step already"):
        prepare_root(root / "sub" / "deep")
    with pytest.raises(UsageError, match="belongs to fwsync"):
        prepare_root(root / RESERVED / "parts")


# ------------------------------------------------------------------------------ the place


def test_the_state_lies_below_the_root(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "lab/aging", env=env, filesystem_of=network())
    own = root / ".fwsync"

    assert (own / "state.db", own / "parts", own / "trash", own / "marker", own / "lock", "") == (
        place.state_file,
        place.parts,
        place.trash,
        place.marker,
        place.root_lock,
        place.note,
    )
    assert [] == everything(root)


def test_folders_of_ours_are_private(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "lab/aging", env=env, filesystem_of=network())
    prepare_place(place)

    assert [".fwsync", ".fwsync/marker", ".fwsync/parts", ".fwsync/trash"] == everything(root)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_dir()}
    assert {0o700} == modes


def test_a_second_remote_has_a_state_of_its_own(root: Path, env: Mapping[str, str]) -> None:
    first = locate(root, "lab/one", env=env, filesystem_of=network())
    prepare_place(first)
    register(first, "lab/one", "One")
    second = locate(root, "lab/two", env=env, filesystem_of=network())
    register(second, "lab/two")
    register(second, "lab/two")

    assert [
        KnownRemote("state.db", "lab/one", "One"),
        KnownRemote(second.state_file.name, "lab/two", "lab/two"),
    ] == known_remotes(first.remotes)
    assert second.state_file.name.startswith("state-")
    assert 17 == len(second.state_file.name)
    for key, place in (("lab/one", first), ("lab/two", second)):
        assert place == locate(root, key, env=env, filesystem_of=network())


def test_a_root_remembers_its_only_remote_and_asks_if_there_are_more(
    root: Path, env: Mapping[str, str]
) -> None:
    place = locate(root, None, env=env, filesystem_of=network())
    prepare_place(place)
    register(place, "lab/one")

    assert place == locate(root, None, env=env, filesystem_of=network())

    register(locate(root, "lab/two", env=env, filesystem_of=network()), "lab/two")

    with pytest.raises(UsageError, match="lab/one, lab/two"):
        locate(root, None, env=env, filesystem_of=network())


def test_the_key_of_a_remote_is_one_line(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, None, env=env, filesystem_of=network())
    for key in ("a\nb", "a\tb", "a\r"):
        with pytest.raises(ValueError, match="one line"):
            register(place, key)


def test_a_root_on_the_network_has_its_state_in_the_home(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    place = locate(root, "lab/aging", env=env, filesystem_of=network(root))

    assert tmp_path / "home/.local/state/fwsync" == place.state_file.parent
    assert "network file system (nfs4)" in place.note
    assert (root / ".fwsync/parts", root / ".fwsync/lock") == (place.parts, place.root_lock)
    assert place.granularity_ns == NFS.time_granularity_ns


def test_the_user_says_where_state_goes(root: Path, env: Mapping[str, str], tmp_path: Path) -> None:
    xdg = {**env, "XDG_STATE_HOME": str(tmp_path / "xdg")}
    relative = {**env, "XDG_STATE_HOME": "xdg"}
    system = {**xdg, "STATE_DIRECTORY": f"{tmp_path}/var/fwsync:{tmp_path}/var/other"}
    on_network = network(root)

    found = [
        locate(root, "a", env=given, filesystem_of=on_network).state_file.parent
        for given in (xdg, relative, system)
    ]

    expected = ["xdg/fwsync", "home/.local/state/fwsync", "var/fwsync"]
    assert [tmp_path / path for path in expected] == found


def test_a_service_keeps_its_state_in_its_own_folder(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    given = {**env, "STATE_DIRECTORY": str(tmp_path / "var")}
    place = locate(root, "lab/aging", env=given, filesystem_of=network())
    other = locate(tmp_path, "lab/aging", env={**env, "STATE_DIRECTORY": "/var/lib/x"})

    assert tmp_path / "var" == place.state_file.parent
    assert "service" in place.note
    assert place.state_file.name != other.state_file.name


def test_two_remotes_of_one_root_have_two_files_in_the_home_too(
    root: Path, env: Mapping[str, str]
) -> None:
    first = locate(root, "lab/one", env=env, read_only=True, filesystem_of=network())
    prepare_place(first)
    register(first, "lab/one", "One")
    second = locate(root, "lab/two", env=env, read_only=True, filesystem_of=network())

    assert first.state_file != second.state_file
    assert first == locate(root, "lab/one", env=env, read_only=True, filesystem_of=network())


def test_nothing_is_written_below_a_root_that_is_only_read(
    root: Path, env: Mapping[str, str]
) -> None:
    place = locate(root, "a", env=env, read_only=True, filesystem_of=network())
    with RootLock(place, command="push"):
        assert "" == prepare_place(place)
        register(place, "a")
        open_state(place.state_file).close()

    assert [] == everything(root)
    assert (None, None, None, None) == (place.folder, place.parts, place.trash, place.marker)
    assert "nothing may be written" in place.note


def test_a_directory_without_the_right_to_write_is_only_read(ordinary: Path) -> None:
    (ordinary / "root").mkdir(mode=0o500)
    env = {"HOME": str(ordinary), "TMPDIR": str(ordinary)}
    place = locate(ordinary / "root", "a", env=env, filesystem_of=network())

    assert place.folder is None


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_a_state_of_ours_without_rights_is_not_taken_for_none(mode: int, ordinary: Path) -> None:
    """A second one, made elsewhere, would know of no deletion and of no conflict."""
    folder = ordinary / "root/.fwsync"
    folder.mkdir(parents=True)
    (folder / "state.db").touch()
    folder.chmod(mode)
    env = {"HOME": str(ordinary)}

    with pytest.raises(LocalError, match=r"\.fwsync: has what was agreed on") as caught:
        locate(ordinary / "root", "a", env=env, filesystem_of=network())
    named = locate(
        ordinary / "root",
        "a",
        state_option=ordinary / "own.db",
        env=env,
        filesystem_of=network(),
    )
    folder.chmod(0o700)

    assert f"chmod u+rwx {folder}" in caught.value.hint
    assert ordinary / "own.db" == named.state_file


def test_a_root_that_cannot_be_looked_at_is_not_taken_for_one_that_is_only_read(
    ordinary: Path,
) -> None:
    """It may have a state, and a passing error must not have a second one made elsewhere."""
    (ordinary / "root").mkdir(mode=0o600)

    with pytest.raises(LocalError, match=r"root/\.fwsync: cannot be looked at"):
        locate(ordinary / "root", "a", env={"HOME": str(ordinary)}, filesystem_of=network())


def test_a_read_only_mount_is_only_read(env: Mapping[str, str]) -> None:
    mounted = [
        Path(line.split()[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[5].startswith("ro,")
    ]
    places = [
        locate(path, "a", env=env, filesystem_of=network()) for path in mounted if path.is_dir()
    ]

    assert [None] * len(places) == [place.folder for place in places]


def test_a_state_file_that_the_user_names_is_used(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "own" / "my.db"
    place = locate(root, "a", env=env, state_option=file, filesystem_of=network(root))

    assert (file, root / ".fwsync/lock") == (place.state_file, place.root_lock)
    assert "--state" in place.note


def test_a_state_file_on_the_network_is_refused(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    share = tmp_path / "share"
    with pytest.raises(LocalError, match="network file system") as raised:
        locate(root, "a", env=env, state_option=share / "s.db", filesystem_of=network(share))

    assert "local disk" in raised.value.hint


def test_a_state_file_among_the_users_files_is_refused(root: Path, env: Mapping[str, str]) -> None:
    with pytest.raises(UsageError, match="inside the root"):
        locate(root, "a", env=env, state_option=root / "sub" / "s.db", filesystem_of=network())

    below = locate(
        root, "a", env=env, state_option=root / RESERVED / "s.db", filesystem_of=network()
    )
    assert root / RESERVED / "s.db" == below.state_file


def test_without_a_home_the_user_is_told_to_name_a_file(root: Path) -> None:
    with pytest.raises(LocalError, match="HOME") as raised:
        locate(root, "a", env={}, filesystem_of=network(root))

    assert "--state" in raised.value.hint


# --------------------------------------------------------------------------- on a cluster


@pytest.fixture
def cluster(root: Path, env: Mapping[str, str], tmp_path: Path) -> Place:
    shared = network(root, tmp_path / "home")
    return locate(root, "lab/aging", env=env, filesystem_of=shared)


def test_where_everything_is_on_the_network_a_copy_is_used_in_the_temporary_folder(
    cluster: Place, root: Path, tmp_path: Path
) -> None:
    assert tmp_path / "tmp" / f"fwsync-{os.getuid()}" == cluster.state_file.parent
    assert root / ".fwsync" / "state.db" == cluster.work_copy_of
    assert root / ".fwsync" / "state.db.lock.host" == cluster.host_lock
    assert "used as a copy" in cluster.note


def test_a_temporary_folder_on_the_network_is_refused(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    with pytest.raises(LocalError, match="local disk") as raised:
        locate(root, "a", env=env, filesystem_of=network(tmp_path))

    assert "TMPDIR" in raised.value.hint


def test_a_temporary_folder_that_others_may_write_to_is_refused(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    ours = tmp_path / "tmp" / f"fwsync-{os.getuid()}"
    ours.mkdir(mode=0o777)
    ours.chmod(0o777)
    with pytest.raises(LocalError, match="private"):
        locate(root, "a", env=env, filesystem_of=network(root, tmp_path / "home"))


def test_a_work_copy_is_saved_and_restored(cluster: Place) -> None:
    assert cluster.work_copy_of is not None
    with RootLock(cluster, command="pull"):
        prepare_place(cluster)
        restore_work_copy(cluster)
        with open_state(cluster.state_file) as state:
            state.set_setting("remote", "lab/aging")
            state.save_copy(cluster.work_copy_of)
            state.set_setting("remote", "not saved")
    with RootLock(cluster, command="pull"):
        restore_work_copy(cluster)
        with open_state(cluster.state_file) as state:
            assert "lab/aging" == state.setting("remote")
    cluster.work_copy_of.unlink()
    restore_work_copy(cluster)

    assert not cluster.state_file.exists()


def test_a_root_that_has_gone_is_not_made_anew(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "a", env=env, filesystem_of=network())
    root.rmdir()
    with pytest.raises(LocalError):
        RootLock(place, command="sync").acquire()
    with pytest.raises(LocalError):
        prepare_place(place)
    with pytest.raises(LocalError):
        open_state(place.state_file)

    assert not root.exists()


@pytest.mark.parametrize("what", ["link", "file"])
def test_a_folder_that_is_not_ours_is_refused(
    root: Path, env: Mapping[str, str], tmp_path: Path, what: str
) -> None:
    if what == "link":
        (root / RESERVED).symlink_to(tmp_path)
    else:
        (root / RESERVED).write_text("")
    with pytest.raises(LocalError, match="belongs to fwsync"):
        locate(root, "a", env=env, filesystem_of=network())


def test_parts_on_another_device_are_refused_at_the_start(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    place = locate(root, "a", env=env, filesystem_of=network())
    (root / RESERVED).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / RESERVED / "parts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError, match="another device"):
        prepare_place(place)


# --------------------------------------------------------------------------------- marker


def test_a_root_keeps_its_marker(root: Path, env: Mapping[str, str]) -> None:
    place = locate(root, "a", env=env, filesystem_of=network())
    first = prepare_place(place)

    assert [first, first] == [prepare_place(place), root_id(root)]
    assert "" == check_marker(root, first) == check_marker(root, "")


def test_a_root_that_is_not_the_one_before_is_told(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    place = locate(root, "a", env=env, filesystem_of=network())
    known = prepare_place(place)
    moved = root.rename(tmp_path / "moved")

    assert "gone" in check_marker(root, known)

    root.mkdir()

    assert "lost its marker" in check_marker(root, known)

    prepare_place(place)

    assert "another root" in check_marker(root, known)

    (root / RESERVED / "marker").write_text("{")

    assert "lost its marker" in check_marker(root, known)
    assert "" == check_marker(moved, known)

    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()
    root.symlink_to(moved)

    assert "not a directory" in check_marker(root, known)


# ---------------------------------------------------------------------------------- parts


def test_only_parts_of_ours_are_removed(tmp_path: Path) -> None:
    ours = [part_name("sub-01/" + "x" * 5000), part_name("\udcff"), "0" * 32]
    others = ["notes.txt", "0" * 31, "0" * 32 + ".part.bak", "A" * 32]
    for name in ours + others:
        (tmp_path / name).write_text("x")
    (tmp_path / ("1" * 32)).mkdir()
    (tmp_path / ("2" * 32)).symlink_to("notes.txt")

    assert 3 == clean_parts(tmp_path)
    assert sorted([*others, "1" * 32, "2" * 32]) == everything(tmp_path)
    assert 0 == clean_parts(tmp_path / "missing")
