"""Who may work on a root and its state: one process at a time.

Its rule: a lock goes with its process, however that ends. The kernel sees to it where it
can; where several hosts see the same saved copy, a file names the host that has it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fwsync.errors import LocalError, Locked
from fwsync.roots import Place, local_error, make_folder

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCKS = Path("/proc/locks")


class RootLock:
    """The right to work on a root and its state: one process at a time.

    Locks of the kernel, which go with the process however it ends; and, where the state
    is a working copy, a file that says which host has it.
    """

    def __init__(self, place: Place, *, command: str) -> None:
        self._place = place
        self._holder = _holder(command)
        self._held: list[int] = []
        self._host_lock: Path | None = None

    def acquire(self) -> None:
        """Take all of them or none.

        Raises:
            Locked: another process has one; the message names it.
            LocalError: a lock file cannot be made.
        """
        try:
            for path in (self._place.root_lock, self._place.state_lock):
                self._held.append(_lock(path, self._place.root, self._holder))
            if self._place.host_lock is not None:
                _lock_host(self._place.host_lock, self._place.root, self._holder)
                self._host_lock = self._place.host_lock
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give all back; harmless a second time. The files stay: removing one would race."""
        if self._host_lock is not None:
            # Somebody may have removed it by hand, and another host taken it since.
            if _read_holder(self._host_lock).get("born") == self._holder["born"]:
                self._host_lock.unlink(missing_ok=True)
            self._host_lock = None
        while self._held:
            os.close(self._held.pop())

    def __enter__(self) -> RootLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder_of(place: Place) -> str:
    """The process that works on the root now, in words; empty if none does.

    Asks the kernel's list of locks. Trying the lock would take it for a moment, and a run
    that starts in that moment would be refused.
    """
    holder = _read_holder(place.root_lock)
    try:
        inode = place.root_lock.stat().st_ino
        held = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    # proc(5), locks: number, kind, mode, type, pid, major:minor:inode, start, end
    for line in held:
        parts = line.split()
        if (
            "FLOCK" in parts
            and parts[-3].endswith(f":{inode}")
            and parts[-4] == str(holder.get("pid"))
        ):
            return _described(holder)
    return ""


def _holder(command: str) -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "command": command,
        "started": datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds"),
        "born": _born(pid),
    }


def _born(pid: int) -> str:
    """What tells this process from another with its number: the boot, and its start in it."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
        # proc(5), stat: the name in parentheses may hold anything; (22) starttime
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return f"{boot}/{text.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""


def _described(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return (
        f"process {holder.get('pid')} on {holder.get('host')} "
        f"(`{holder.get('command')}`, since {holder.get('started')})"
    )


def _read_holder(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lock(path: Path, root: Path, holder: dict[str, Any]) -> int:
    """Lock a file by the kernel; gives its descriptor, which is the lock."""
    with local_error(f"{path}: the lock cannot be taken"):
        make_folder(path.parent, root)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(holder).encode(), 0)
        except BlockingIOError:
            os.close(fd)
            raise Locked(
                f"{root}: {_described(_read_holder(path))} works on it already",
                hint="wait for it to end, or stop it; the lock goes with the process",
            ) from None
        except OSError as error:
            os.close(fd)
            if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}:
                raise LocalError(
                    f"{path}: the file system has no locks",
                    hint="mount it with locks (Lustre: -o flock), or copy the tree elsewhere",
                ) from error
            raise
        except BaseException:
            os.close(fd)
            raise
    return fd


def _lock_host(path: Path, root: Path, holder: dict[str, Any]) -> None:
    """Claim a state for this host and process by a file that only one can make."""
    with local_error(f"{path}: the lock cannot be taken"):
        make_folder(path.parent, root)
        for _ in range(2):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            except FileExistsError:
                if not _is_stale(_read_holder(path), holder):
                    break
                # The kernel's locks are ours already: nobody else on this host is here.
                path.unlink(missing_ok=True)
            else:
                with os.fdopen(fd, "w", encoding="utf-8") as out:
                    json.dump(holder, out)
                return
    raise Locked(
        f"{root}: {_described(_read_holder(path))} works on it already",
        hint=f"wait for it to end; if that host is gone for good, remove {path}",
    )


def _is_stale(found: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Left by a process of this host that is no more."""
    if not found or found.get("host") != ours["host"] or not isinstance(found.get("pid"), int):
        return False
    if found.get("born"):
        return _born(found["pid"]) != str(found["born"])
    try:
        os.kill(found["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
