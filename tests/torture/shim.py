"""fwsync in a process where one operation on files fails: ``shim.py SPEC ARGS…``.

``shim.py --each FILE`` runs one command after another, each in a fork of a process that has
imported everything once; FILE has a list of ``[SPEC, ARGS]`` as JSON. The last line that is printed
is the list of their exit codes.

SPEC is JSON:

- ``fail_at``: the number of the operation that fails, from 1; 0: none.
- ``for_good``: every later one fails too.
- ``errno``: what it fails with, as a number.
- ``short``: a read that would fail gives nothing instead, as at the end of a file.
- ``gate``: a FIFO; the operation does not fail, but waits until somebody has opened that for
  writing and closed it again.
- ``kill``: the operation does not fail, but the process dies before it, as by ``kill -9``.
- ``operations``: the names of those that count; all of :data:`OPERATIONS` if it is not there.
- ``log``: a file that gets a line for each operation, so that they can be counted.
- ``room``: bytes that can be written; then there is no space left.

Only operations on files below ``below`` count: with ``dir_fd`` or a descriptor they are found
through ``/proc``. What SQLite does is its own, in C, and no concern of this.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Operations that can fail, and where their path or descriptor stands among the arguments.
OPERATIONS = (
    "open", "write", "fsync", "link", "rename", "replace",
    "mkdir", "unlink", "utime", "stat", "read", "readv", "scandir", "pread", "pwrite", "fdatasync",
    "renameat2",
)  # fmt: skip

#: What a read gives at the end of a file.
_NOTHING: dict[str, object] = {"read": b"", "readv": 0, "pread": b""}


class Shim:
    """Stands between the program and ``os``."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._fail_at = int(spec.get("fail_at", 0))
        self._for_good = bool(spec.get("for_good"))
        self._errno = int(spec.get("errno", errno.EIO))
        self._below = str(spec["below"])
        self._short = bool(spec.get("short"))
        self._gate: str | None = spec.get("gate")
        self._kill = bool(spec.get("kill"))
        self._room: int | None = spec.get("room")
        self._log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._names = tuple(spec.get("operations", OPERATIONS))
        self._count = 0
        self._lock = threading.Lock()
        self._write = os.write

    def install(self) -> None:
        """Put it there; what has been imported from ``os`` by name is not reached."""
        from fwsync import renaming  # not before the path says where it is

        for name in self._names:
            if name != "renameat2":
                setattr(os, name, self._around(name, getattr(os, name)))
            elif renaming._RENAMEAT2 is not None:
                renaming._RENAMEAT2 = self._around_c(renaming._RENAMEAT2)

    def close(self) -> None:
        """Nothing is counted any more."""
        os.close(self._log)

    def _around_c(self, call: Callable[..., int]) -> Callable[..., int]:
        """The call of the C library that ``os`` has not: it says by ``errno`` why it failed."""

        def from_folder(old: str, *rest: Any, src_dir_fd: int) -> int:
            return call(src_dir_fd, os.fsencode(old), *rest)

        watched = self._around("renameat2", from_folder)

        def called(from_fd: int, old: bytes, *rest: Any) -> int:
            try:
                return int(watched(os.fsdecode(old), *rest, src_dir_fd=from_fd))
            except OSError as error:
                ctypes.set_errno(error.errno or errno.EIO)
                return -1

        return called

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            target = self._target(args, kwargs)
            if target is not None:
                if self._is_struck(name, target):
                    if self._kill:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if self._gate is not None:
                        self._wait_at(self._gate)
                    elif self._short and name in _NOTHING:
                        return _NOTHING[name]
                    else:
                        raise OSError(self._errno, os.strerror(self._errno))
                if name in ("write", "pwrite") and self._room is not None:
                    return self._within_room(call, *args)
            return call(*args, **kwargs)

        return called

    def _within_room(self, call: Callable[..., Any], fd: int, data: Any, *at: int) -> Any:
        with self._lock:
            assert self._room is not None
            size = memoryview(data).nbytes
            if size > self._room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._room -= size
        return call(fd, data, *at)

    def _target(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The file that is meant, if it is one that counts."""
        first = args[0] if args else "."
        folder = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
        try:
            if isinstance(first, int):
                path = str(Path(f"/proc/self/fd/{first}").readlink())
            else:
                path = os.fsdecode(first)
                if folder is not None:
                    path = str(Path(f"/proc/self/fd/{folder}").readlink() / path)
        except OSError:
            return None
        ours = path == self._below or path.startswith(f"{self._below}/")
        state = path.partition("/.fwsync/")[2].startswith("state.db")
        return path if ours and not state else None

    def _wait_at(self, gate: str) -> None:
        """Stand still: whoever opens the other end knows that we do, and lets us go by closing."""
        with Path(gate).open("rb", buffering=0) as end:
            end.read()

    def _is_struck(self, name: str, target: str) -> bool:
        with self._lock:
            self._count += 1
            struck = self._count == self._fail_at or (
                self._for_good and 0 < self._fail_at <= self._count
            )
            self._write(self._log, os.fsencode(f"{self._count} {name} {target}\n"))
        return struck


def main() -> None:
    """Run fwsync with the shim in place."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    # All is imported before: an import that fails is no fault of a user's disk.
    from fwsync import cli, daemon, resolving, runs, show, show_paths  # noqa: F401

    if sys.argv[1] == "--each":
        each(json.loads(Path(sys.argv[2]).read_text()))
    else:
        run(json.loads(sys.argv[1]), sys.argv[2:])


def run(spec: dict[str, Any], args: list[str]) -> None:
    """Run one command, which ends this process."""
    from fwsync import cli

    sys.argv = ["fwsync", *args]
    Shim(spec).install()
    cli.main()


def each(commands: list[tuple[dict[str, Any], list[str]]]) -> None:
    """Run commands one after another, each in a fork; no thread has been started so far."""
    codes = []
    for spec, args in commands:
        child = os.fork()
        if not child:
            run(spec, args)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
