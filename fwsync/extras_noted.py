"""The paths of what fwsync writes beside the user's files, noted below the root.

Its rule: a path is noted before a file stands there. The state keeps them too, but a state
can be deleted, it may lag behind after a power failure, and a root may have several: a file
of ours must not be taken for a user's new file by any of them.

Everything here blocks: it is for a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from fwsync import localfs
from fwsync.errors import FileProblem
from fwsync.model import RelPath
from fwsync.roots import RESERVED

#: The file in which they are noted, a JSON text a line.
_FILE: Final = "extras"


def noted(root_fd: int) -> Iterator[RelPath]:
    """All paths that are noted for this root, as they are read; some may come twice."""
    try:
        file_fd = localfs.open_regular(root_fd, f"{RESERVED}/{_FILE}")
    except FileProblem:
        return
    with os.fdopen(file_fd, "rb") as file:
        yield from _read(file)


def _read(lines: Iterable[bytes]) -> Iterator[RelPath]:
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:  # the last one, torn by a power failure
            continue
        if isinstance(told, str):
            yield RelPath(told)


def note(root_fd: int, paths: Collection[RelPath]) -> None:
    """Note paths; they are on the disk when this returns.

    Raises:
        LocalError, FileProblem: they cannot be.
    """
    if paths:
        _write(root_fd, _FILE, paths, os.O_APPEND)


def note_only(root_fd: int, paths: Iterable[RelPath]) -> None:
    """Note these paths and no others.

    Raises:
        LocalError, FileProblem: they cannot be; then those are noted that were.
    """
    aside = f"{_FILE}.new"
    _write(root_fd, aside, paths, os.O_TRUNC)
    try:
        with localfs.folder(root_fd, RESERVED) as folder_fd:
            os.replace(aside, _FILE, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            os.fsync(folder_fd)
    except OSError as error:
        raise localfs.local_problem(_FILE, "cannot be noted anew", error) from None


def _write(root_fd: int, name: str, paths: Iterable[RelPath], flag: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag
    try:
        with localfs.folder(root_fd, RESERVED, create=True) as folder_fd:
            file_fd = os.open(name, flags, 0o600, dir_fd=folder_fd)
            with os.fdopen(file_fd, "wb") as file:
                if flag == os.O_APPEND:
                    # What was torn off by a power failure must not spoil the next line.
                    file.write(b"\n")
                file.writelines(f"{json.dumps(path)}\n".encode() for path in paths)
                file.flush()
                os.fsync(file_fd)
            os.fsync(folder_fd)
    except OSError as error:
        raise localfs.local_problem(f"{RESERVED}/{_FILE}", "cannot be written", error) from None
