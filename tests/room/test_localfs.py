"""Files below a root are opened from its descriptor, and through no link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fwsync import localfs
from fwsync.errors import FileProblem, Unreadable, UsageError
from tests.room.rooms import plant


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_looking_says_what_is_there(root: Path, root_fd: int) -> None:
    plant(root, {"a/f": b"1"})

    assert localfs.stamp_of((root / "a/f").lstat()) == localfs.look(root_fd, "a/f")
    assert localfs.look(root_fd, "a/g") is None
    assert localfs.look(root_fd, "b/g") is None
    with pytest.raises(FileProblem):
        localfs.look(root_fd, "a")


def test_a_pipe_in_the_place_of_a_file_does_not_hang_the_open(root: Path, root_fd: int) -> None:
    os.mkfifo(root / "pipe")

    with pytest.raises(Unreadable, match="named pipe"):
        localfs.open_regular(root_fd, "pipe")


@pytest.mark.parametrize("path", ["link", "folder/f"])
def test_no_link_is_opened_or_passed_through(
    path: str, root: Path, root_fd: int, tmp_path: Path
) -> None:
    plant(tmp_path, {"outside/f": b"secret"})
    (root / "link").symlink_to(tmp_path / "outside/f")
    (root / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)

    with pytest.raises(Unreadable, match="symbolic link"):
        localfs.open_regular(root_fd, path)


def test_a_root_that_is_not_there_is_an_error_of_the_call(tmp_path: Path) -> None:
    plant(tmp_path, {"file": b""})

    with pytest.raises(UsageError, match="no such folder"):
        localfs.open_root(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="expected a folder"):
        localfs.open_root(tmp_path / "file")
