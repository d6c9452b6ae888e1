"""Files and folders get other names: nothing is replaced unseen, and nothing leads outside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fwsync import localfs, renaming
from fwsync.errors import FileProblem, FwsyncError, SourceChanged
from fwsync.model import Stamp
from fwsync.renaming import Relocation
from tests.room.rooms import grown, in_trash, plant

TRASH = ".fwsync/trash/now"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def stamp(root_fd: int, path: str) -> Stamp:
    found = localfs.look(root_fd, path)
    assert found is not None
    return found


def relocate(root_fd: int, old: str, new: str, replaces: Stamp | None = None) -> Stamp:
    move = Relocation(old, new, stamp(root_fd, old), replaces)
    return renaming.relocate(root_fd, move, trash=TRASH)


def test_a_file_gets_its_new_name_and_the_folders_for_it(root: Path, root_fd: int) -> None:
    plant(root, {"a/x": b"x"})
    inode = (root / "a/x").stat().st_ino

    now = relocate(root_fd, "a/x", "b/c/x")

    assert {"b/c/x": b"x"} == grown(root)
    assert (inode, stamp(root_fd, "b/c/x")) == (now.inode, now)


def test_what_has_the_name_is_in_the_trash(root: Path, root_fd: int) -> None:
    plant(root, {"a": b"a", "b": b"b"})

    relocate(root_fd, "a", "b", stamp(root_fd, "b"))

    assert ({"b": b"a"}, [b"b"]) == (grown(root), in_trash(root))


def test_folders_without_a_file_are_not_in_the_way(root: Path, root_fd: int) -> None:
    plant(root, {"a": b"a"})
    (root / "b/c/d").mkdir(parents=True)
    (root / "b/e").mkdir()

    relocate(root_fd, "a", "b")

    assert {"b": b"a"} == grown(root)


def test_a_folder_with_a_file_deep_down_is_in_the_way(root: Path, root_fd: int) -> None:
    plant(root, {"a": b"a", "b/c/d/x": b"mine"})

    with pytest.raises(SourceChanged):
        relocate(root_fd, "a", "b")

    assert {"a": b"a", "b/c/d/x": b"mine"} == grown(root)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "changed"])
def test_what_the_plan_did_not_see_there_stays(root: Path, root_fd: int, kind: str) -> None:
    plant(root, {"a": b"a", "other": b"o"})
    seen = None
    if kind in ("file", "changed"):
        plant(root, {"b": b"mine"})
    if kind == "folder":
        plant(root, {"b/x": b"mine"})
    if kind == "link":
        (root / "b").symlink_to("other")
    if kind == "changed":
        seen = stamp(root_fd, "b")
        plant(root, {"b": b"mine, and edited"})
    before = grown(root)

    with pytest.raises(SourceChanged):
        relocate(root_fd, "a", "b", seen)

    assert before == grown(root)


def test_a_file_that_changed_is_not_renamed(root: Path, root_fd: int) -> None:
    plant(root, {"a": b"a"})
    seen = stamp(root_fd, "a")
    plant(root, {"a": b"edited"})

    with pytest.raises(SourceChanged):
        renaming.relocate(root_fd, Relocation("a", "b", seen), trash=TRASH)

    assert {"a": b"edited"} == grown(root)


def test_a_save_just_before_it_is_replaced_is_not_lost(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a": b"a", "b": b"b"})
    seen, real = stamp(root_fd, "b"), renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        monkeypatch.undo()
        plant(root, {"new": b"saved"})
        (root / "new").replace(root / "b")  # as an editor saves
        return int(real(*args))

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)

    with pytest.raises(SourceChanged):
        relocate(root_fd, "a", "b", seen)

    assert {"a": b"a", "b": b"saved"} == grown(root)
    assert [] == in_trash(root)


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


@pytest.mark.parametrize("renames", [True, False])
@pytest.mark.parametrize("step", range(1, 6))
def test_f12_a_kill_never_leaves_another_file_under_the_old_name(
    root: Path, root_fd: int, step: int, renames: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run would take it for a new file of the user's, and send it up."""
    plant(root, {"a": b"a", "b": b"b"})
    seen, steps = stamp(root_fd, "b"), iter(range(1, 100))

    def then_killed(call: Callable[..., object]) -> Callable[..., object]:
        def act(*args: object, **kwargs: object) -> object:
            done = call(*args, **kwargs)
            if next(steps) == step:
                raise Killed
            return done

        return act

    for name in ("link", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, then_killed(getattr(os, name)))
    real = renaming._RENAMEAT2
    assert real is not None
    monkeypatch.setattr(renaming, "_RENAMEAT2", then_killed(real) if renames else None)

    with contextlib.suppress(Killed):
        relocate(root_fd, "a", "b", seen)

    assert b"a" == grown(root).get("a", b"a")
    contents = [one.read_bytes() for one in root.rglob("*") if one.is_file()]
    assert {b"a", b"b"} == set(contents)
    assert next(steps) > 1  # it went through the calls that are counted


def test_another_spelling_of_a_file_with_two_links_is_no_second_name(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that takes no notice of case, played here."""
    plant(root, {"in/a": b"a"})
    (root / "other").hardlink_to(root / "in/a")
    real = os.stat

    def stat(path: str, *, dir_fd: int | None = None, **kwargs: bool) -> os.stat_result:
        if dir_fd is not None and path == "A":
            with os.scandir(dir_fd) as items:
                path = "A" if "A" in [one.name for one in items] else "a"
        return real(path, dir_fd=dir_fd, **kwargs)

    monkeypatch.setattr(os, "stat", stat)

    relocate(root_fd, "in/a", "in/A")

    monkeypatch.undo()
    assert {"in/A": b"a", "other": b"a"} == grown(root)


def test_a_save_just_after_a_rename_is_not_taken_for_what_was_renamed(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root, {"a": b"a"})
    seen = stamp(root_fd, "a")
    real = renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        code = int(real(*args))
        plant(root, {"b": b"saved"})
        return code

    monkeypatch.setattr(renaming, "_RENAMEAT2", rename)

    assert seen == relocate(root_fd, "a", "b")


def test_both_names_of_one_file_become_the_new_one(root: Path, root_fd: int) -> None:
    plant(root, {"a": b"a"})
    (root / "b").hardlink_to(root / "a")

    relocate(root_fd, "a", "b")

    assert {"b": b"a"} == grown(root)
    assert [] == in_trash(root)


@pytest.mark.parametrize("new", ["../out", "a/../../out", "link/out"])
def test_no_name_leads_outside(root: Path, root_fd: int, tmp_path: Path, new: str) -> None:
    plant(root, {"x": b"x"})
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")

    with pytest.raises(FwsyncError):
        relocate(root_fd, "x", new)

    assert {"x": b"x"} == grown(root)
    assert [] == list((tmp_path / "outside").iterdir())
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_must_be_is_a_problem_of_that_path(root: Path, root_fd: int) -> None:
    plant(root, {"x": b"x", "a": b"a"})

    with pytest.raises(FileProblem):
        relocate(root_fd, "x", "a/x")

    assert {"x": b"x", "a": b"a"} == grown(root)


# ------------------------------------------------------------------------------------ folders


def test_a_folder_moves_as_one_with_all_that_is_in_it(root: Path, root_fd: int) -> None:
    plant(root, {"a/1": b"1", "a/in/2": b"2"})

    renaming.relocate_folder(root_fd, "a", "b/c", frozenset({"1", "in/2"}))

    assert {"b/c/1": b"1", "b/c/in/2": b"2"} == grown(root)


@pytest.mark.parametrize("names", [{"1"}, {"1", "2", "3"}, set[str]()])
def test_a_folder_that_holds_other_files_stays(root: Path, root_fd: int, names: set[str]) -> None:
    plant(root, {"a/1": b"1", "a/2": b"2"})

    with pytest.raises(SourceChanged):
        renaming.relocate_folder(root_fd, "a", "b", frozenset(names))

    assert {"a/1": b"1", "a/2": b"2"} == grown(root)


def test_a_folder_does_not_take_the_place_of_another(root: Path, root_fd: int) -> None:
    plant(root, {"a/1": b"1"})
    (root / "b").mkdir()

    with pytest.raises(SourceChanged):
        renaming.relocate_folder(root_fd, "a", "b", frozenset({"1"}))

    assert {"a/1": b"1"} == grown(root)


def test_folders_go_as_far_as_they_are_empty(root: Path, root_fd: int) -> None:
    plant(root, {"a/keep": b"k"})
    (root / "a/b/c").mkdir(parents=True)

    renaming.remove_empty(root_fd, "a/b/c")

    assert ["a", "a/keep"] == sorted(
        one.relative_to(root).as_posix()
        for one in root.rglob("*")
        if ".fwsync" not in one.parts
    )  # fmt: skip


def test_neither_the_root_nor_the_trash_goes(root: Path, root_fd: int) -> None:
    (root / TRASH).mkdir(parents=True)

    renaming.remove_empty(root_fd, TRASH)
    renaming.remove_empty(root_fd, "")

    assert (root / ".fwsync/trash").is_dir()
    assert not (root / TRASH).exists()
