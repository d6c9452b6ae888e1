"""Disks for a run of the command: a small one to fill, one that ignores case."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of its own, as small as a test wants it."""

    path: Path

    def resize(self, size: str) -> None:
        """Make it larger, with all that is on it."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Disk]:
    """A tmpfs of this size at ``path``; where mounting is not allowed, the test is left out."""
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "fwsync-test", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextmanager
def folding_disk(path: Path, image: Path) -> Iterator[Path]:
    """An exFAT disk at ``path``: one name for ``a`` and ``A``, no hard links, no modes.

    Where the kernel has it not, FUSE does it; where nothing may be mounted, the test is left out.

    Args:
        path: where to mount it; made.
        image: the file that holds it; made.
    """
    path.mkdir(parents=True)
    with image.open("wb") as stream:
        stream.truncate(32 << 20)
    subprocess.run(["mkfs.exfat", image], check=True, capture_output=True)
    made = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False
    )
    device = made.stdout.strip()
    try:
        done = subprocess.run(
            ["mount", "-t", "exfat-fuse", device, path], capture_output=True, text=True, check=False
        )
        if made.returncode or done.returncode:
            pytest.skip(f"no file system can be mounted here: {made.stderr}{done.stderr}")
        try:
            yield path
        finally:
            subprocess.run(["umount", path], check=True)
            deadline = time.monotonic() + 10
            while os.path.ismount(path) and time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        if device:
            subprocess.run(["losetup", "--detach", device], check=False)
