"""What is remembered of roots outside of them, and what is halted by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fwsync import known_roots
from fwsync.errors import Halted, UsageError
from fwsync.filesystems import FileSystem
from fwsync.roots import RESERVED, prepare_place
from fwsync.whereabouts import locate, record_file

LOCAL = FileSystem("ext4", is_network=False, time_granularity_ns=20_000_000)


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def root(tmp_path: Path, env: Mapping[str, str]) -> Path:
    """A root that was used."""
    path = tmp_path / "root"
    (path / "sub").mkdir(parents=True)
    use(path, env)
    return path


def use(path: Path, env: Mapping[str, str]) -> str:
    place = locate(path, "lab/aging", env=env, filesystem_of=lambda _: LOCAL)
    id_ = prepare_place(place)
    known_roots.remember(place.record, place.root, id_)
    return id_


def empty(path: Path) -> None:
    for one in sorted(path.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()


def unmark(path: Path) -> None:
    empty(path / RESERVED)
    (path / RESERVED).rmdir()


def elsewhere(path: Path, env: Mapping[str, str]) -> None:
    """As if it had been on another device when it was used last."""
    file = record_file(path, env)
    assert file is not None
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"device": known["device"] + 1}))


def mounted_elsewhere(path: Path, env: Mapping[str, str]) -> None:
    elsewhere(path, env)


def nothing(path: Path, env: Mapping[str, str]) -> None:
    """Still a root."""


def thrown_away(path: Path, env: Mapping[str, str]) -> None:
    unmark(path)


def unmounted(path: Path, env: Mapping[str, str]) -> None:
    empty(path)
    elsewhere(path, env)


def unmounted_over_something(path: Path, env: Mapping[str, str]) -> None:
    unmark(path)
    elsewhere(path, env)


def emptied(path: Path, env: Mapping[str, str]) -> None:
    empty(path)


def with_lost_and_found(path: Path, env: Mapping[str, str]) -> None:
    empty(path)
    elsewhere(path, env)
    (path / "lost+found").mkdir()


def gone(path: Path, env: Mapping[str, str]) -> None:
    empty(path)
    path.rmdir()


def a_file(path: Path, env: Mapping[str, str]) -> None:
    gone(path, env)
    path.write_text("")


def a_link(path: Path, env: Mapping[str, str]) -> None:
    gone(path, env)
    path.symlink_to(path.parent / "home")


def another_root(path: Path, env: Mapping[str, str]) -> None:
    marker = path / RESERVED / "marker"
    marker.write_text(json.dumps({"id": "f" * 32}))


def replaced(path: Path, env: Mapping[str, str]) -> None:
    path.rename(path.with_name("away"))
    (path / "others").mkdir(parents=True)


def replaced_after_an_older_fwsync(path: Path, env: Mapping[str, str]) -> None:
    file = record_file(path, env)
    assert file is not None
    known = json.loads(file.read_text())
    del known["folder"]
    file.write_text(json.dumps(known))
    replaced(path, env)


def restored_from_a_backup(path: Path, env: Mapping[str, str]) -> None:
    shutil.copytree(path.rename(path.with_name("backup")), path)


def restored_without_its_marker(path: Path, env: Mapping[str, str]) -> None:
    (path / RESERVED / "state.db").touch()
    restored_from_a_backup(path, env)
    (path / RESERVED / "marker").unlink()


def moved_and_linked(path: Path, env: Mapping[str, str]) -> None:
    path.symlink_to(path.rename(path.with_name("away")))


#: What became of the root -> what a sync and a pull may do there.
CASES: tuple[tuple[Callable[[Path, Mapping[str, str]], None], bool, bool], ...] = (
    (nothing, True, True),
    (mounted_elsewhere, True, True),
    (moved_and_linked, True, True),
    (thrown_away, True, True),
    (restored_from_a_backup, True, True),
    (restored_without_its_marker, True, True),
    (replaced_after_an_older_fwsync, True, True),
    (replaced, False, True),
    (emptied, False, True),
    (gone, False, True),
    (unmounted, False, False),
    (with_lost_and_found, False, False),
    (unmounted_over_something, False, False),
    (a_file, False, False),
    (a_link, False, False),
    (another_root, False, False),
)


@pytest.mark.parametrize(
    ("happens", "syncs", "pulls"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_a_root_is_used_again_only_if_it_is_one(
    happens: Callable[[Path, Mapping[str, str]], None],
    syncs: bool,
    pulls: bool,
    root: Path,
    env: Mapping[str, str],
) -> None:
    happens(root, env)

    assert syncs is may(root, env, is_down=False)
    assert pulls is may(root, env, is_down=True)


def may(root: Path, env: Mapping[str, str], *, is_down: bool) -> bool:
    halt = Halted("")
    try:
        known_roots.check(root, env, makes=is_down, fetches_only=is_down)
    except Halted as error:
        halt = error
    said = (str(root) in halt.message, "--new-root" in halt.hint)

    assert said in ((True, True), (False, False))
    return not halt.message


def test_nothing_is_known_of_a_folder_that_was_never_used(
    tmp_path: Path, env: Mapping[str, str]
) -> None:
    (tmp_path / "new").mkdir()

    for path in (tmp_path / "new", tmp_path / "missing"):
        assert may(path, env, is_down=False)
    assert may(tmp_path / "new", {}, is_down=False)
    assert not (tmp_path / "home").exists()


def test_disks_that_take_turns_are_both_known_once_somebody_has_said_so(
    root: Path, env: Mapping[str, str]
) -> None:
    marker = root / RESERVED / "marker"
    first = marker.read_text()
    another_root(root, env)
    second = marker.read_text()
    use(root, env)  # as with --new-root

    for text in (first, second, first):
        marker.write_text(text)
        assert may(root, env, is_down=False)


def test_who_is_killed_once_a_new_marker_is_written_is_not_locked_out(
    root: Path, env: Mapping[str, str]
) -> None:
    file = record_file(root, env)
    unmark(root)
    place = locate(root, "lab/aging", env=env, filesystem_of=lambda _: LOCAL)
    prepare_place(place, lambda id_: known_roots.announce(file, root, id_))  # no more than that

    assert may(root, env, is_down=False)


def test_a_root_that_is_not_known_is_not_announced(tmp_path: Path, env: Mapping[str, str]) -> None:
    new = tmp_path / "new"
    new.mkdir()
    known_roots.announce(record_file(new, env), new, "id")
    known_roots.announce(None, new, "id")

    assert may(new, env, is_down=False)


def test_a_record_is_written_only_if_it_says_something_new(
    root: Path, env: Mapping[str, str]
) -> None:
    file = record_file(root, env)
    assert file is not None
    before = file.stat()
    use(root, env)

    assert (before.st_ino, before.st_mtime_ns) == (file.stat().st_ino, file.stat().st_mtime_ns)
    assert 0o600 == file.stat().st_mode & 0o777


def test_a_record_that_cannot_be_kept_or_read_stops_nobody(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    file = record_file(root, env)
    assert file is not None
    for text in ("", "{", "[]", '{"root": 1}', '{"root": "/other", "ids": [], "device": 0}'):
        file.write_text(text)
        assert may(root, env, is_down=False)
    gone(root, env)
    assert may(root, env, is_down=False)
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("no folder")
    root.mkdir()
    use(root, env)
    assert may(root, env, is_down=False)
    known_roots.remember(None, root, "id")


def test_a_root_that_may_not_be_written_to_is_known_by_its_device_when_it_is_empty(
    tmp_path: Path, env: Mapping[str, str]
) -> None:
    export = tmp_path / "export"
    (export / "sub").mkdir(parents=True)
    known_roots.remember(record_file(export, env), export, "")

    assert may(export, env, is_down=False)
    elsewhere(export, env)
    assert may(export, env, is_down=False)  # it has files; it may have been mounted anew
    empty(export)
    assert not may(export, env, is_down=False)
    known_roots.remember(record_file(export, env), export, "")
    assert may(export, env, is_down=False)  # emptied: the guards of the plan see to that


def test_a_folder_above_a_root_is_not_kept_in_step_as_well(
    root: Path, env: Mapping[str, str]
) -> None:
    with pytest.raises(UsageError, match=rf"holds {root}, kept in step already"):
        known_roots.check_alone(root.parent, env)


def test_a_link_to_a_folder_around_a_root_is_no_other_folder(
    root: Path, env: Mapping[str, str], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(root.parent)

    with pytest.raises(UsageError):
        known_roots.check_alone(link, env)


@pytest.mark.parametrize("became", [thrown_away, gone, another_root])
def test_a_folder_above_what_was_a_root_once_may_be_kept_in_step(
    became: Callable[[Path, Mapping[str, str]], None], root: Path, env: Mapping[str, str]
) -> None:
    became(root, env)

    known_roots.check_alone(root.parent, env)


def test_folders_beside_and_below_others_are_kept_in_step_as_before(
    root: Path, env: Mapping[str, str]
) -> None:
    beside, above = root.with_name("root-2"), root.parent
    beside.mkdir()

    for one in (root, beside, root / "sub"):
        known_roots.check_alone(one, env)
    use(above, env)  # by an older fwsync
    known_roots.check_alone(above, env)
