"""Files below a root, reached from its descriptor and never through a symbolic link.

The one rule: nothing here takes an absolute path. Every open, link and rename starts
at the root's own descriptor and walks component by component with ``O_NOFOLLOW``, so a
name from a server or a link planted by a user cannot lead outside (invariant I10).

Calls that other systems lack (``dir_fd``, ``O_NOFOLLOW``) stay in this room.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fwsync.digest import short_name
from fwsync.errors import FileProblem, LocalError, SourceChanged, Unreadable, UsageError
from fwsync.model import Stamp

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO put where a file was must not hang the open (restic's racy swap).
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_GONE = (errno.ENOENT, errno.ENOTDIR)
#: Failures that say something about the moment, not about the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ESTALE)

#: No space, or no quota, left: the run cannot go on writing.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Hard links are not to be had here; fall back to a rename.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})


#: Calls of the C library that Python has not; None where they are missing.
_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE = getattr(_LIBC, "sync_file_range", None)
_RENAMEAT2 = getattr(_LIBC, "renameat2", None)
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h


def stamp_of(status: os.stat_result) -> Stamp:
    """The fields of a ``stat`` that tell whether a file was touched."""
    return Stamp(
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """What a disk refuses, and nobody nearer by has met, ends the run in our words.

    Raises:
        LocalError: in place of an ``OSError``; it names the path where the system does.
    """
    try:
        yield
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        raise LocalError(
            f"{where}the system refuses ({error.strerror or error})",
            hint="check the disk and its permissions, and run the same command again",
        ) from error


def no_space(error: OSError) -> bool:
    """True if the error means that there is no room left to write."""
    return error.errno in _NO_SPACE


def open_root(root: Path) -> int:
    """A descriptor of the root; the caller closes it.

    Raises:
        UsageError: the root is gone, or is not a folder.
    """
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(
            f"{root}: there is no such folder", hint="check the path, or mount what should be there"
        ) from None
    except NotADirectoryError:
        raise UsageError(f"{root}: is a file; expected a folder") from None
    except OSError as error:
        raise UsageError(f"{root}: cannot be opened ({error.strerror})") from None


@contextlib.contextmanager
def folder(root_fd: int, path: str, *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder below the root, open for the length of the block.

    Args:
        root_fd: the root.
        path: relative; empty for the root itself.
        create: make what is missing, each new folder made durable in its parent.

    Raises:
        OSError: as ``open`` does; a symbolic link on the way is ``ELOOP`` or ``ENOTDIR``.
    """
    try:
        current = open_folder(root_fd, path)
    except FileNotFoundError:
        if not create:
            raise
        current = _make_folder(root_fd, path)
    try:
        yield current
    finally:
        os.close(current)


def _components(path: str) -> list[str]:
    """The names along a relative path; none of them leads up or nowhere."""
    names = path.split("/") if path else []
    if any(name in ("", ".", "..") for name in names):
        raise FileProblem(f"{valid_text(path)}: is no path below the root")
    return names


def _split(path: str) -> tuple[str, str]:
    """The folder and the name of a path; the name, too, must be one."""
    above, _, name = path.rpartition("/")
    _components(name or "/")
    return above, name


def _make_folder(root_fd: int, path: str) -> int:
    """A descriptor of a folder, made with all that is missing above it."""
    current = os.dup(root_fd)
    for name in _components(path):
        parent = current
        try:
            current = _enter_or_make(parent, name)
        finally:
            os.close(parent)
    return current


def _enter_or_make(parent_fd: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=parent_fd)
        os.fsync(parent_fd)
    return os.open(name, _FOLDER_FLAGS, dir_fd=parent_fd)


def open_folder(root_fd: int, on_disk: str) -> int:
    """A descriptor of a folder below the root, no symbolic link on the way.

    Args:
        root_fd: of the root; stays open.
        on_disk: relative, as the file system spells it; empty for the root itself.

    Returns:
        A new descriptor; the caller closes it.

    Raises:
        OSError: ELOOP where a component is a symbolic link, ENOTDIR where it is a file.
    """
    names = _components(on_disk)
    fd = os.open(".", _FOLDER_FLAGS, dir_fd=root_fd)
    for name in names:
        parent = fd
        try:
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except OSError as error:
            # O_DIRECTORY wins over O_NOFOLLOW: Linux says ENOTDIR for a symbolic link.
            if error.errno == errno.ENOTDIR and _is_link(name, parent):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
            raise
        finally:
            os.close(parent)
    return fd


def open_regular(root_fd: int, on_disk: str) -> int:
    """Open a regular file below the root for reading, by no symbolic link, never blocking.

    Args:
        root_fd: of the root; stays open.
        on_disk: relative, as the file system spells it (:attr:`LocalEntry.on_disk`).

    Returns:
        A new descriptor; the caller closes it.

    Raises:
        SourceChanged: it is gone.
        Unreadable: it is not a regular file, behind a symbolic link, or not ours to read;
            ``retryable`` where a later try may do better.
    """
    above, name = _split(on_disk)
    try:
        parent = open_folder(root_fd, above)
        try:
            fd = os.open(name, _FILE_FLAGS, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise unreadable(on_disk, error) from error
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        os.close(fd)
        raise unreadable(on_disk, error) from error
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise Unreadable(f"{valid_text(on_disk)}: {kind_of(mode)}; expected a regular file")
    return fd


@contextlib.contextmanager
def root_descriptor(root: Path) -> Iterator[int]:
    """A descriptor of the root, for :func:`open_regular` and :func:`open_folder`.

    Raises:
        Unreadable: the root cannot be opened; retryable, it may be mounted again.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        problem = Unreadable(f"{valid_text(str(root))}: the root cannot be opened ({why(error)})")
        problem.retryable = True
        raise problem from error
    try:
        yield fd
    finally:
        os.close(fd)


def why(error: OSError) -> str:
    """The system's words for a failure."""
    return error.strerror or str(error)


def unreadable(path: str, error: OSError) -> FileProblem:
    """The problem that a failed open or read of a file is."""
    if error.errno in _GONE:
        return SourceChanged(f"{valid_text(path)}: is gone; it was there a moment ago")
    if error.errno == errno.ELOOP:
        what = "is, or is behind, a symbolic link, and those are not followed"
    else:
        what = f"cannot be read ({why(error)})"
    problem = Unreadable(f"{valid_text(path)}: {what}")
    problem.retryable = error.errno in _PASSING
    return problem


def _is_link(name: str, parent: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def kind_of(mode: int) -> str:
    """What a thing is that is no regular file."""
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if stat.S_ISFIFO(mode):
        return "is a named pipe"
    if stat.S_ISSOCK(mode):
        return "is a socket"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is a device"


def valid_text(text: str) -> str:
    r"""Valid text for any name: a byte that is not UTF-8 becomes ``\xNN``."""
    if text.isascii():
        return text
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def look(root_fd: int, path: str) -> Stamp | None:
    """The stamp of a file below the root as it is now; None if nothing is there.

    Raises:
        FileProblem: something is there that is no regular file, or it cannot be seen.
    """
    above, name = _split(path)
    try:
        with folder(root_fd, above) as parent_fd:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path}: cannot be looked at ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise FileProblem(f"{path}: something that is no regular file is in the way")
    return stamp_of(status)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complete, verified and fsynced part, ready to be given its name."""

    part: str  #: its path below the root
    path: str  #: where it belongs, below the root
    replaces: Stamp | None  #: what the plan saw there; None: nothing was there


def publish(root_fd: int, arrival: Arrival, *, trash: str) -> tuple[Stamp, str]:
    """Give a finished part its name; the path holds the old bytes or the new at any instant.

    What stood there goes to the trash first. The folder's own fsync is the caller's,
    once a batch: until then nothing about the file may be recorded.

    Args:
        root_fd: the root.
        arrival: what to publish.
        trash: a folder below the root for the bytes that are replaced.

    Returns:
        The stamp under the new name, and the path of the replaced bytes or "".

    Raises:
        SourceChanged: the destination is not what the plan saw; nothing was touched.
        FileProblem: something else is in the way.
    """
    if look(root_fd, arrival.path) != arrival.replaces:
        raise SourceChanged(f"{arrival.path}: changed here while its new version was fetched")
    above, name = _split(arrival.path)
    part_folder, part_name = _split(arrival.part)
    kept = ""
    try:
        with folder(root_fd, above, create=True) as to_fd, folder(root_fd, part_folder) as from_fd:
            if arrival.replaces is None:
                _name_new(from_fd, part_name, to_fd, name)
            else:
                kept = keep_copy(root_fd, arrival.path, f"{trash}/{arrival.path}")
                _replace(from_fd, part_name, to_fd, name, arrival.replaces)
            return stamp_of(os.stat(name, dir_fd=to_fd, follow_symlinks=False)), kept
    except FileExistsError:
        raise SourceChanged(f"{arrival.path}: appeared here while it was fetched") from None
    except OSError as error:
        raise local_problem(arrival.path, "cannot be put in place", error) from None


def _name_new(from_fd: int, part_name: str, to_fd: int, name: str) -> None:
    """Name a part where nothing may stand, by a call that refuses to replace.

    A link refuses; where there are none, the rename that refuses. On a file system that
    has neither, a plain rename follows a last look.
    """
    try:
        os.link(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(part_name, dir_fd=from_fd)
        return
    if not _rename(from_fd, part_name, to_fd, name, _RENAME_NOREPLACE):
        if _stamp_at(to_fd, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)


def _replace(from_fd: int, part_name: str, to_fd: int, name: str, seen: Stamp) -> None:
    """Put a part in the place of the file that the plan saw, and of no other.

    The two change places in one step, so that what came out can be looked at and put
    back. The bytes that came out have a second name in the trash already.
    """
    if not _is_still(_stamp_at(to_fd, name), seen):
        raise SourceChanged(f"{name}: changed here while its new version was put in place")
    if not _rename(from_fd, part_name, to_fd, name, _RENAME_EXCHANGE):
        os.replace(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return
    if not _is_still(_stamp_at(from_fd, part_name), seen):
        _rename(from_fd, part_name, to_fd, name, _RENAME_EXCHANGE)
        raise SourceChanged(f"{name}: changed here while its new version was put in place")
    os.unlink(part_name, dir_fd=from_fd)


def _rename(from_fd: int, old: str, to_fd: int, new: str, flags: int) -> bool:
    """renameat2(2), which the standard library has not; False if the file system has it not."""
    if _RENAMEAT2 is None:
        return False
    if _RENAMEAT2(from_fd, os.fsencode(old), to_fd, os.fsencode(new), ctypes.c_uint(flags)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), new)


def _stamp_at(folder_fd: int, name: str) -> Stamp | None:
    try:
        return stamp_of(os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _is_still(now: Stamp | None, seen: Stamp) -> bool:
    """The same file with the same content? Its ctime moves when it gets another name."""
    return now is not None and replace(now, ctime_ns=seen.ctime_ns) == seen


def look_again(root_fd: int, path: str, seen: Stamp) -> Stamp:
    """The stamp of a file that we gave a second name, so that only its ctime has moved.

    Raises:
        SourceChanged: more than that has changed.
    """
    now = look(root_fd, path)
    if now is None or not _is_still(now, seen):
        raise SourceChanged(f"{path}: changed here since the plan was made")
    return now


def keep_copy(root_fd: int, path: str, copy: str) -> str:
    """Give the bytes at ``path`` a second name, so that replacing the first loses nothing.

    Returns:
        The copy's path: ``copy``, or that with a number where it is taken by other bytes.
    """
    above, name = _split(path)
    copy_folder, copy_name = _split(copy)
    with folder(root_fd, above) as from_fd, folder(root_fd, copy_folder, create=True) as to_fd:
        for free_name in _numbered(copy_name):
            try:
                _second_name(from_fd, name, to_fd, free_name)
            except FileExistsError:
                # A run that died here may have made this very copy already.
                if _same_file(from_fd, name, to_fd, free_name):
                    return f"{copy_folder}/{free_name}" if copy_folder else free_name
                continue
            os.fsync(to_fd)
            return f"{copy_folder}/{free_name}" if copy_folder else free_name
    raise AssertionError("_numbered never ends")


def is_free(root_fd: int, path: str) -> bool:
    """True if nothing at all is at this path."""
    above, name = _split(path)
    try:
        with folder(root_fd, above) as folder_fd:
            return _stamp_at(folder_fd, name) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False


def are_one_file(root_fd: int, path: str, other: str) -> bool:
    """True if both names are there and name the same file."""
    above, name = _split(path)
    other_above, other_name = _split(other)
    try:
        with folder(root_fd, above) as one_fd, folder(root_fd, other_above) as other_fd:
            return _same_file(one_fd, name, other_fd, other_name)
    except OSError:
        return False


def remove(root_fd: int, path: str) -> None:
    """Take away a name that we made just now; gone already is as good."""
    above, name = _split(path)
    with contextlib.suppress(OSError), folder(root_fd, above) as folder_fd:
        os.unlink(name, dir_fd=folder_fd)


def _second_name(from_fd: int, name: str, to_fd: int, copy_name: str) -> None:
    try:
        os.link(name, copy_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_bytes(from_fd, name, to_fd, copy_name)


def _copy_bytes(from_fd: int, name: str, to_fd: int, copy_name: str) -> None:
    """Where there are no hard links (FAT, some network shares): copy, aside first."""
    aside = f".fwsync-{short_name(copy_name)}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=to_fd)  # of a run that died here
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with (
            open(os.open(name, _FILE_FLAGS, dir_fd=from_fd), "rb") as source,
            open(os.open(aside, flags, 0o600, dir_fd=to_fd), "wb") as target,
        ):
            while block := source.read(1 << 20):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        if not _rename(to_fd, aside, to_fd, copy_name, _RENAME_NOREPLACE):
            if _stamp_at(to_fd, copy_name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), copy_name)
            os.rename(aside, copy_name, src_dir_fd=to_fd, dst_dir_fd=to_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside, dir_fd=to_fd)
        raise


def _same_file(first_fd: int, first: str, second_fd: int, second: str) -> bool:
    one = os.stat(first, dir_fd=first_fd, follow_symlinks=False)
    other = os.stat(second, dir_fd=second_fd, follow_symlinks=False)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _numbered(name: str) -> Iterator[str]:
    yield name
    stem, dot, suffix = name.partition(".")
    number = 1
    while True:
        yield f"{stem}-{number}{dot}{suffix}"
        number += 1


def discard(root_fd: int, path: str, seen: Stamp, *, trash: str) -> str:
    """Move a file to the trash, if it still is what the plan saw.

    Returns:
        Where it went.

    Raises:
        SourceChanged: it is not that file any more; nothing was touched.
    """
    if look(root_fd, path) != seen:
        raise SourceChanged(f"{path}: changed here since the plan was made")
    try:
        kept = keep_copy(root_fd, path, f"{trash}/{path}")
        above, name = _split(path)
        with folder(root_fd, above) as parent_fd:
            if not _is_still(_stamp_at(parent_fd, name), seen):
                raise SourceChanged(f"{path}: changed here on its way to the trash")
            os.unlink(name, dir_fd=parent_fd)
            os.fsync(parent_fd)
    except OSError as error:
        raise local_problem(path, "cannot be moved to the trash", error) from None
    return kept


def start_writing_out(file_fd: int) -> None:
    """Ask the kernel to begin writing a file's pages, and wait for nothing.

    Asked for many files before the first fsync, it lets their blocks be allocated in one
    go: on ext4 the fsyncs that follow share the journal's commits. It promises nothing.
    Source: sync_file_range(2), SYNC_FILE_RANGE_WRITE.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(file_fd, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(2))


def sync_folder(root_fd: int, path: str) -> None:
    """Make the names in a folder durable.

    Raises:
        FileProblem, LocalError: they are not.
    """
    try:
        with folder(root_fd, path) as folder_fd:
            os.fsync(folder_fd)
    except OSError as error:
        raise local_problem(path or "the root", "cannot be made durable", error) from None


def local_problem(path: str, what: str, error: OSError) -> FileProblem | LocalError:
    """The error that an ``OSError`` means: no space ends the run's writing, others one file."""
    if no_space(error):
        return LocalError(
            f"{path}: {what}: no space left",
            hint="free some space and run the command again; it goes on where it stopped",
        )
    return FileProblem(f"{path}: {what} ({error.strerror})")
