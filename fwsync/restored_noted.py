"""What a person has put back out of the trash, noted below the root until a state takes it in.

Its rule: putting a file back asks nobody, and waits for nobody: not for the state, nor for the
process that works on the root. So it is noted in a file of its own, which the next run reads.

Everything here blocks: it is for a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from fwsync import localfs
from fwsync.errors import FileProblem
from fwsync.model import RelPath
from fwsync.roots import RESERVED
from fwsync.state_history import Restored

_FOLDER: Final = f"{RESERVED}/restored"
_ENDING: Final = ".json"


def note(root_fd: int, files: Sequence[Restored]) -> None:
    """Note files that were put back, for the history; where that fails, they are back even so."""
    if not files:
        return
    told = [{"path": one.path, "run": one.run, "size": one.size, "at": one.at_ns} for one in files]
    name = f"{time.time_ns()}-{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError), localfs.folder(root_fd, _FOLDER, create=True) as folder_fd:
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder_fd), "wb") as file:
            file.write(json.dumps(told).encode())
        os.rename(name, name + _ENDING, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)


def noted(root_fd: int) -> Iterator[tuple[str, list[Restored]]]:
    """What is noted and not taken in: the name of each note, for :func:`forget`, and its files."""
    try:
        with localfs.folder(root_fd, _FOLDER) as folder_fd:
            names = sorted(name for name in _names(folder_fd) if name.endswith(_ENDING))
    except OSError:
        return
    for name in names:
        try:
            with os.fdopen(localfs.open_regular(root_fd, f"{_FOLDER}/{name}"), "rb") as file:
                text = file.read()
        except (FileProblem, OSError):
            continue
        yield name, list(_read(text))


def forget(root_fd: int, names: Sequence[str]) -> None:
    """Drop notes whose files are in the history."""
    for name in names:
        localfs.remove(root_fd, f"{_FOLDER}/{name}")


def _names(folder_fd: int) -> list[str]:
    with os.scandir(folder_fd) as items:
        return [one.name for one in items]


def _read(text: bytes) -> Iterator[Restored]:
    try:
        told = json.loads(text)
    except ValueError:  # torn by a power failure
        return
    for one in told if isinstance(told, list) else ():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            yield Restored(
                RelPath(str(one["path"])), str(one["run"]), int(one["size"]), int(one["at"])
            )
