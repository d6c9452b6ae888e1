"""Folders for files that arrive: entered or made, and on the disk before a file in them is done.

The one rule: a file is not done before the names of all folders above it are durable,
whoever made them: one thread may use what another has only just made.

Everything here blocks: it is for a thread, and for several at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator

from fwsync import localfs


class Folders:
    """The folders below a root in which files get their names.

    Args:
        root_fd: the root, open for as long as this lives.
        fsync: False: nothing is made durable here, and the disk decides when it is.
    """

    def __init__(self, root_fd: int, *, fsync: bool = True) -> None:
        self._root_fd = root_fd
        self._fsync = fsync
        #: Folders in which one was made that may not be durable yet, and how often that was noted.
        self._made_in: Counter[str] = Counter()
        #: Folders in which one is being made now: it may be there, and nobody has said so yet.
        self._making: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def into(self, path: str) -> Iterator[int]:
        """A descriptor of a folder, made if it is missing, for the length of the block.

        Raises:
            OSError: as ``open`` and ``mkdir`` do; a symbolic link on the way is ``ELOOP``.
        """
        try:
            current = localfs.open_folder(self._root_fd, path)
        except FileNotFoundError:
            current = localfs.make_folder(self._root_fd, path, self._note)
        try:
            yield current
        finally:
            os.close(current)

    def _note(self, path: str, is_made: bool) -> None:
        """A folder is made in this one; told before it is there, and after."""
        with self._lock:
            self._made_in[path] += 1
            self._making[path] += -1 if is_made else 1
            if not self._making[path]:
                del self._making[path]

    def sync(self, path: str) -> None:
        """Make the names in a folder durable, and all that lead to it and may not be.

        Raises:
            FileProblem, LocalError: they are not.
        """
        if not self._fsync:
            return
        above = path
        while above:
            above = above.rpartition("/")[0]
            if self._made_in[above]:
                self._sync_one(above)
        self._sync_one(path)

    def _sync_one(self, path: str) -> None:
        noted = self._made_in[path]
        localfs.sync_folder(self._root_fd, path)
        with self._lock:
            # What was made meanwhile may not be part of it.
            if self._made_in[path] == noted and path not in self._making:
                del self._made_in[path]
