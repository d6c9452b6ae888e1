"""Files below a root, reached from its descriptor and never through a symbolic link.

The one rule: nothing here takes an absolute path. Every open, link and rename starts
at the root's own descriptor and walks component by component with ``O_NOFOLLOW``, so a
name from a server or a link planted by a user cannot lead outside (invariant I10).

Calls that other systems lack (``dir_fd``, ``O_NOFOLLOW``) stay in this room, and in
:mod:`fwsync.renaming` for what gives and takes names.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from fwsync.errors import FileProblem, LocalError, NoSpace, SourceChanged, Unreadable, UsageError
from fwsync.model import Stamp

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO put where a file was must not hang the open (restic's racy swap).
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_GONE = (errno.ENOENT, errno.ENOTDIR)
#: Failures that say something about the moment, not about the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ESTALE)

#: No space, or no quota, left: the run cannot go on writing.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

_MANY = 1 << 20  #: descriptors; more are not worth counting

#: A call of the C library that Python has not; None where it is missing.
_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)


def stamp_of(status: os.stat_result) -> Stamp:
    """The fields of a ``stat`` that tell whether a file was touched."""
    return Stamp(  # by position: it is made for every file of a scan
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_dev,
        status.st_ino,
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
        named = isinstance(error.filename, (str, bytes))  # of a descriptor, its number stands there
        where = f"{os.fsdecode(error.filename)}: " if named else ""
        raise LocalError(
            f"{where}the system refuses ({error.strerror or error})",
            hint="check the disk and its permissions, and run the same command again",
        ) from error


def no_space(error: OSError) -> bool:
    """True if the error means that there is no room left to write."""
    return error.errno in _NO_SPACE


def most_descriptors() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else min(soft, _MANY)


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
        current = make_folder(root_fd, path)
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


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a path below the root.

    Raises:
        FileProblem: the last part is no name.
    """
    above, _, name = path.rpartition("/")
    _components(name or "/")
    return above, name


def make_folder(root_fd: int, path: str, note: Callable[[str, bool], None] | None = None) -> int:
    """A descriptor of a folder, made with all that is missing above it; the caller closes it.

    Args:
        root_fd: the root.
        path: relative; empty for the root itself.
        note: is told of the folder in which one is made, before that (False) and after (True):
            making the name durable is up to the caller then. None: it is made so here.

    Raises:
        OSError: as ``mkdir`` and ``open`` do.
    """
    current, above = os.dup(root_fd), ""
    for name in _components(path):
        parent = current
        try:
            current = _enter_or_make(parent, name, None if note is None else partial(note, above))
        finally:
            os.close(parent)
        above = f"{above}/{name}" if above else name
    return current


def _enter_or_make(parent_fd: int, name: str, note: Callable[[bool], None] | None) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent_fd)
    if note is not None:
        note(False)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o777, dir_fd=parent_fd)
            if note is None:
                os.fsync(parent_fd)
    finally:
        if note is not None:
            note(True)
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
    above, name = split(on_disk)
    try:
        parent = open_folder(root_fd, above)
        try:
            fd = os.open(name, FILE_FLAGS, dir_fd=parent)
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
    above, name = split(path)
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


def folds_case(root_fd: int, name: str) -> bool:
    """Are names that differ only in case one name below the root?

    Args:
        root_fd: the root.
        name: of something that is there, with lower-case letters in it; if it is not there,
            nothing is known, and names are taken for different.
    """
    other = name.upper()
    if not (_is_there(root_fd, name) and _is_there(root_fd, other)):
        return False
    # Not by inode: exFAT through FUSE has one for each spelling.
    return other not in os.listdir(root_fd)


def _is_there(root_fd: int, name: str) -> bool:
    """Does anything bear this name in the root, as far as can be seen?"""
    try:
        os.stat(name, dir_fd=root_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def stamp_at(folder_fd: int, name: str) -> Stamp | None:
    """The stamp of a name in an open folder; None if nothing bears it."""
    try:
        return stamp_of(os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def is_free(root_fd: int, path: str) -> bool:
    """True if nothing at all is at this path."""
    above, name = split(path)
    try:
        with folder(root_fd, above) as folder_fd:
            return stamp_at(folder_fd, name) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False


def holds_just(root_fd: int, path: str, files: Mapping[str, Stamp]) -> bool:
    """True if these files are all that is below a folder, each as it was seen.

    An empty folder is something else, too: somebody has made it.

    Args:
        root_fd: the root.
        path: of the folder.
        files: by their paths below it.
    """
    waiting, found = [""], 0
    while waiting:
        inside = waiting.pop()
        try:
            with folder(root_fd, f"{path}/{inside}".rstrip("/")) as folder_fd:
                with os.scandir(folder_fd) as items:
                    names = [(one.name, one.is_dir(follow_symlinks=False)) for one in items]
                for name, is_folder in names:
                    below = f"{inside}/{name}" if inside else name
                    if is_folder:
                        waiting.append(below)
                    elif below not in files or stamp_at(folder_fd, name) != files[below]:
                        return False
                    else:
                        found += 1
        except OSError:
            return False
        if not names:
            return False
    return found == len(files)


def clear_folder(folder_fd: int, name: str) -> bool:
    """Remove a folder that holds nothing but empty folders; False: it is no such folder."""
    try:
        inner_fd = os.open(name, _FOLDER_FLAGS, dir_fd=folder_fd)
    except OSError:
        return False
    try:
        with os.scandir(inner_fd) as found:
            names = [one.name for one in found]
        cleared = all(clear_folder(inner_fd, one) for one in names)
    finally:
        os.close(inner_fd)
    if cleared:
        with contextlib.suppress(OSError):  # somebody has put a file there
            os.rmdir(name, dir_fd=folder_fd)
            return True
    return False


def remove(root_fd: int, path: str) -> None:
    """Take away a name that we made just now; gone already is as good."""
    above, name = split(path)
    with contextlib.suppress(OSError), folder(root_fd, above) as folder_fd:
        os.unlink(name, dir_fd=folder_fd)


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
        return NoSpace(
            f"{path}: {what}: no space left",
            hint="free some space and run the command again; it goes on where it stopped",
        )
    problem = FileProblem(f"{path}: {what} ({error.strerror})")
    problem.retryable = error.errno in _PASSING
    return problem
