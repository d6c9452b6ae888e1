"""fwsync on a disk whose power fails: ``power.py SPEC ARGS…``.

What is written waits in memory until it is made durable, and names wait, too. When the power
fails, all that waited is gone: the bytes of a file since its last fsync, and every name that was
given or taken in a folder that was not made durable since. Then the process is killed.

SPEC is JSON:

- ``below``: the root; what lies elsewhere is durable at once. So is the state, which SQLite makes
  durable in its own way, unless ``loses`` says otherwise.
- ``side``: a folder on the same file system, where files are kept that have no name any more.
- ``fail_at``: the power fails before this change of the disk, from 1; 0: at no time.
- ``loses``: what is lost of what waited: ``data`` (the names are there, as some file systems
  write them first), ``names`` (the bytes are there), ``both``, or ``state``: both, and the state
  is as it was at the start, which is what its last commits may come to.
- ``log``: a file that gets a line for each change.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXCHANGE = 2  # linux/fs.h

Folder = tuple[int, int]  #: device and inode
Names = dict[tuple[Folder, str], int]  #: (folder, name) -> inode


@dataclass
class _Change:
    """A change of names: what was taken, and what was given; durable with any of its folders."""

    taken: list[tuple[Folder, str]] = field(default_factory=list)
    given: list[tuple[Folder, str, int]] = field(default_factory=list)
    durable: bool = False

    @property
    def folders(self) -> set[Folder]:
        return {folder for folder, _ in self.taken} | {folder for folder, *_ in self.given}


class Disk:
    """Stands between the program and ``os``, and remembers what is durable."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._below = str(spec["below"])
        self._side = Path(spec["side"])
        self._fail_at = int(spec.get("fail_at", 0))
        self._loses = str(spec.get("loses", "both"))
        self._log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._count = 0
        self._lock = threading.RLock()
        self._changes: list[_Change] = []
        self._names: Names = {}  # as they were at the start
        self._places: dict[Folder, str] = {}  # of folders, as they were found
        self._content: dict[int, bytes] = {}  # durable, of what was written to since
        self._os: dict[str, Any] = {name: getattr(os, name) for name in _AROUND}
        self._swap: Any = None
        self._begin()

    def _begin(self) -> None:
        """Keep each file, and what the names are."""
        self._side.mkdir()
        for here, folders, names in os.walk(self._below):
            status = os.stat(here)
            at = (status.st_dev, status.st_ino)
            self._places[at] = here
            for name in (*folders, *names):
                one = os.lstat(f"{here}/{name}")
                self._names[at, name] = one.st_ino
                if name in names:
                    self._keep(f"{here}/{name}", one.st_ino)
        state = Path(self._below) / ".fwsync"
        (self._side / "state").mkdir()
        for file in state.glob("state.db*"):
            shutil.copy2(file, self._side / "state")

    def _keep(self, path: str, inode: int, **how: Any) -> None:
        """A file has a name at the side, so that it can get its own back."""
        with suppress(FileExistsError):
            self._os["link"](path, self._side / str(inode), follow_symlinks=False, **how)

    # ------------------------------------------------------------------------ what is done

    def install(self) -> None:
        """Put it there."""
        from fwsync import renaming  # not before the path says where it is

        for name in _AROUND:
            setattr(os, name, getattr(self, f"_{name}"))
        self._swap = renaming._RENAMEAT2
        renaming._RENAMEAT2 = self._renameat2

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        call = self._os["open"]
        creates = bool(flags & os.O_CREAT)
        if not (creates or flags & os.O_TRUNC) or not self._is_ours(path, dir_fd):
            return int(call(path, flags, mode, dir_fd=dir_fd))
        with self._lock:
            self._comes("open", path)
            is_new = not self._is_there(path, dir_fd)
            if flags & os.O_TRUNC and not is_new:
                self._written(os.stat(path, dir_fd=dir_fd).st_ino, path, dir_fd)
            fd = int(call(path, flags, mode, dir_fd=dir_fd))
            if is_new:
                inode = os.fstat(fd).st_ino
                self._content.setdefault(inode, b"")
                self._keep(path, inode, src_dir_fd=dir_fd)
                folder, name = self._at(path, dir_fd)
                self._changes.append(_Change(given=[(folder, name, inode)]))
            return fd

    def _write(self, fd: int, data: Any) -> int:
        return int(self._on_fd("write", fd, data))

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        return int(self._on_fd("pwrite", fd, data, offset))

    def _ftruncate(self, fd: int, length: int) -> None:
        self._on_fd("ftruncate", fd, length)

    def _on_fd(self, name: str, fd: int, *args: Any) -> Any:
        call = self._os[name]
        if not self._is_ours_fd(fd):
            return call(fd, *args)
        with self._lock:
            self._comes(name, f"/proc/self/fd/{fd}")
            inode = os.fstat(fd).st_ino
            if inode not in self._content:
                self._content[inode] = (self._side / str(inode)).read_bytes()
            return call(fd, *args)

    def _written(self, inode: int, path: Any, dir_fd: int | None) -> None:
        if inode not in self._content:
            fd = self._os["open"](path, os.O_RDONLY, dir_fd=dir_fd)
            with os.fdopen(fd, "rb") as file:
                self._content[inode] = file.read()

    def _fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def _fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, name: str, fd: int) -> None:
        call = self._os[name]
        if not self._is_ours_fd(fd):
            call(fd)
            return
        with self._lock:
            self._comes(name, f"/proc/self/fd/{fd}")
            status = os.fstat(fd)
            if status.st_ino in self._content:
                del self._content[status.st_ino]
            for change in self._changes:
                if (status.st_dev, status.st_ino) in change.folders:
                    change.durable = True

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        call = self._os["mkdir"]
        if not self._is_ours(path, dir_fd):
            call(path, mode, dir_fd=dir_fd)
            return
        with self._lock:
            self._comes("mkdir", path)
            call(path, mode, dir_fd=dir_fd)
            inode = os.stat(path, dir_fd=dir_fd).st_ino
            folder, name = self._at(path, dir_fd)
            self._changes.append(_Change(given=[(folder, name, inode)]))

    def _link(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:  # fmt: skip
        how = {"src_dir_fd": src_dir_fd, "dst_dir_fd": dst_dir_fd}
        call = self._os["link"]
        if not self._is_ours(dst, dst_dir_fd):
            call(src, dst, follow_symlinks=follow_symlinks, **how)
            return
        with self._lock:
            self._comes("link", dst)
            call(src, dst, follow_symlinks=follow_symlinks, **how)
            inode = os.stat(dst, dir_fd=dst_dir_fd, follow_symlinks=False).st_ino
            self._changes.append(_Change(given=[(*self._at(dst, dst_dir_fd), inode)]))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._takes("unlink", path, dir_fd)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._takes("rmdir", path, dir_fd)

    def _takes(self, name: str, path: Any, dir_fd: int | None) -> None:
        call = self._os[name]
        if not self._is_ours(path, dir_fd) or not self._is_there(path, dir_fd):
            call(path, dir_fd=dir_fd)
            return
        with self._lock:
            self._comes(name, path)
            at = self._at(path, dir_fd)
            if name == "unlink":
                call(path, dir_fd=dir_fd)
            else:
                self._put_aside(path, dir_fd)
            self._changes.append(_Change(taken=[at]))

    def _put_aside(self, path: Any, dir_fd: int | None) -> None:
        """A folder that is removed is kept: its number must not be that of the next file."""
        here = self._path(path, dir_fd)
        if os.listdir(here):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), here)
        self._os["rename"](here, self._side / f"folder-{os.lstat(here).st_ino}")

    def _rename(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._moves("rename", src, dst, src_dir_fd, dst_dir_fd)

    def _replace(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._moves("replace", src, dst, src_dir_fd, dst_dir_fd)

    def _moves(self, name: str, src: Any, dst: Any, from_fd: int | None, to_fd: int | None) -> None:
        def go() -> None:
            self._os[name](src, dst, src_dir_fd=from_fd, dst_dir_fd=to_fd)

        if not self._is_ours(dst, to_fd):
            go()
            return
        self._moved(src, dst, from_fd, to_fd, go)

    def _moved(
        self, src: Any, dst: Any, from_fd: int | None, to_fd: int | None, go: Callable[[], None],
        exchange: bool = False,
    ) -> None:  # fmt: skip
        with self._lock:
            self._comes("rename", dst)
            inode = os.stat(src, dir_fd=from_fd, follow_symlinks=False).st_ino
            other = (
                os.stat(dst, dir_fd=to_fd, follow_symlinks=False).st_ino
                if self._is_there(dst, to_fd)
                else None
            )
            go()
            old, new = self._at(src, from_fd), self._at(dst, to_fd)
            change = _Change(taken=[old], given=[(*new, inode)])
            if exchange and other is not None:
                change.given.append((*old, other))
            self._changes.append(change)

    def _renameat2(self, from_fd: int, old: bytes, to_fd: int, new: bytes, flags: Any) -> int:
        def go() -> None:
            if self._swap is None or self._swap(from_fd, old, to_fd, new, flags):
                raise OSError(ctypes.get_errno(), "renameat2")

        try:
            if self._is_ours(new, to_fd):
                self._moved(old, new, from_fd, to_fd, go, exchange=flags.value == _EXCHANGE)
            else:
                go()
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1
        return 0

    # --------------------------------------------------------------------------- where

    def _path(self, path: Any, dir_fd: int | None) -> str:
        if isinstance(path, int):
            return str(Path(f"/proc/self/fd/{path}").readlink())
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = str(Path(f"/proc/self/fd/{dir_fd}").readlink() / text)
        return text

    def _is_ours(self, path: Any, dir_fd: int | None = None) -> bool:
        try:
            text = self._path(path, dir_fd)
        except OSError:
            return False
        state = text.partition("/.fwsync/")[2].startswith(("state.db", "lock"))
        return text.startswith(f"{self._below}/") and not state

    def _is_ours_fd(self, fd: int) -> bool:
        text = self._path(fd, None)
        return text == self._below or self._is_ours(fd)

    def _at(self, path: Any, dir_fd: int | None) -> tuple[Folder, str]:
        above, _, name = self._path(path, dir_fd).rpartition("/")
        status = os.stat(above)
        at = (status.st_dev, status.st_ino)
        self._places.setdefault(at, above)
        return at, name

    @staticmethod
    def _is_there(path: Any, dir_fd: int | None) -> bool:
        try:
            os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    # ----------------------------------------------------------------------- the failure

    def _comes(self, name: str, path: Any) -> None:
        """A change comes; at the one that is meant the power fails before it, under the lock."""
        self._count += 1
        shown = self._path(path, None) if isinstance(path, int) else os.fsdecode(path)
        with suppress(OSError):
            shown = os.readlink(shown) if shown.startswith("/proc/") else shown
        self._os["write"](self._log, os.fsencode(f"{self._count} {name} {shown}\n"))
        if self._count == self._fail_at:
            self._fail()

    def _fail(self) -> None:
        if self._loses != "names":
            for inode, content in self._content.items():
                file = self._side / str(inode)
                status = file.stat()
                fd = self._os["open"](file, os.O_WRONLY | os.O_TRUNC)
                self._os["write"](fd, content) if content else None
                os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
                os.close(fd)
        if self._loses != "data":
            self._take_names_back()
        if self._loses == "state":
            state = Path(self._below) / ".fwsync"
            for file in state.glob("state.db*"):
                self._os["unlink"](file)
            for file in (self._side / "state").iterdir():
                shutil.copy2(file, state)
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()  # nothing is done any more

    def _take_names_back(self) -> None:
        """The names are those of the start, and what was made durable since."""
        durable: Names = dict(self._names)
        for change in self._changes:
            if change.durable:
                for at in change.taken:
                    durable.pop(at, None)
                for folder, name, inode in change.given:
                    durable[folder, name] = inode
        for change in reversed(self._changes):
            if not change.durable:
                self._undo(change, durable)

    def _undo(self, change: _Change, durable: Names) -> None:
        """Bring the names of one change to what is durable of them."""
        ats = {*change.taken, *((folder, name) for folder, name, _ in change.given)}
        for folder, name in ats:
            want = durable.get((folder, name))
            above = self._place_of(folder)
            if above is None:
                continue
            path = f"{above}/{name}"
            try:
                now: int | None = os.lstat(path).st_ino
            except FileNotFoundError:
                now = None
            if now == want:
                continue
            if now is not None:
                self._drop(path)
            if want is not None:
                self._give(want, path)

    def _place_of(self, folder: Folder) -> str | None:
        """Where a folder is now; renamed folders are looked for."""
        known = self._places.get(folder)
        with suppress(OSError):
            if known is not None and os.stat(known).st_ino == folder[1]:
                return known
        for here, _, _ in os.walk(self._below):
            if os.stat(here).st_ino == folder[1]:
                return here
        return None

    def _drop(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            if not os.listdir(path):
                self._os["rmdir"](path)
            return
        self._os["unlink"](path)

    def _give(self, inode: int, path: str) -> None:
        kept = self._side / str(inode)
        if kept.exists():
            self._os["link"](kept, path)
            return
        at = next((str(here) for here, _, _ in os.walk(self._below)
                   if os.stat(here).st_ino == inode), None)  # fmt: skip
        if at is not None:
            self._os["rename"](at, path)
        else:  # a folder that was removed
            self._os["rename"](self._side / f"folder-{inode}", path)


_AROUND = (
    "open", "write", "pwrite", "ftruncate", "fsync", "fdatasync", "mkdir", "link", "unlink",
    "rmdir", "rename", "replace",
)  # fmt: skip


def main() -> None:
    """Run fwsync until the power fails."""
    spec = json.loads(sys.argv[1])
    sys.argv = ["fwsync", *sys.argv[2:]]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    # All is imported before: that is no business of the disk's.
    from fwsync import cli, daemon, runs, show  # noqa: F401

    Disk(spec).install()
    cli.main()


if __name__ == "__main__":
    main()
