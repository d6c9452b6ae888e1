"""Look at the root: what files are there, and what is in them.

One rule: what could not be seen is said to be :class:`~fwsync.model.Unknown`, never left
out. A path missing from the walk is a path that is not there.

No symbolic link below the root is ever followed, not even one that replaces a folder
while we look: every folder is opened by descriptor, component by component.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from fwsync import localfs
from fwsync.digest import ContentHasher, TagHasher
from fwsync.errors import SourceChanged, Unreadable
from fwsync.model import LocalEntry, RelPath, Unknown

#: Names that begin so are ours (state, parts, trash), at any depth: not scanned, not reported.
RESERVED = ".fwsync"

#: Says which paths are out of scope: (path, is it a folder) -> True. A folder that is out of
#: scope is not entered.
Ignore = Callable[[str, bool], bool]

BLOCK = 1024 * 1024  # bytes of one read: large enough for hashing to run without the GIL

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without O_NONBLOCK, opening a FIFO that took the file's place would hang for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_GONE = (errno.ENOENT, errno.ENOTDIR)
#: Failures that say something about the moment, not about the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ESTALE)


# ------------------------------------------------------------------------------- the walk


class _Folder:
    """A folder to enter: its path for us and its path on disk."""

    __slots__ = ("disk", "path")

    def __init__(self, path: str, disk: str) -> None:
        self.path = path
        self.disk = disk


_Found = LocalEntry | Unknown | _Folder


def walk(root: Path | int, *, ignore: Ignore | None = None) -> Iterator[LocalEntry | Unknown]:
    """Every regular file below ``root``, and every place that could not be seen.

    Files come strictly sorted by path as Python sorts strings. An :class:`Unknown` for a
    folder that could not be listed comes where the folder's content would have come, any
    other one at its own path. Memory is bounded by the entries of the folders on the
    current path.

    A file that vanishes while we look is left out; a root that cannot be opened is one
    Unknown with the empty scope. Mount points are entered. Content is not read.

    Args:
        root: its path; or its descriptor, which leads to the same folder whatever its
            name leads to by now.
        ignore: what is out of scope.
    """
    try:
        if isinstance(root, int):
            root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        else:
            root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        yield Unknown(RelPath(""), f"the root cannot be opened ({localfs.why(error)})")
        return
    try:
        yield from _walk(root_fd, ignore)
    finally:
        os.close(root_fd)


def _walk(root_fd: int, ignore: Ignore | None) -> Iterator[LocalEntry | Unknown]:
    # A stack of our own: a tree may be deeper than Python recurses. Folders are opened
    # again from the root when their turn comes, so depth costs no descriptors either.
    stack: list[tuple[Iterator[_Found], tuple[int, int]]] = []
    todo: _Found = _Folder("", "")
    while True:
        if isinstance(todo, _Folder):
            found, identity = _enter(root_fd, todo, ignore, [known for _, known in stack])
            stack.append((iter(found), identity))
        else:
            yield todo
        while stack:
            following = next(stack[-1][0], None)
            if following is not None:
                todo = following
                break
            stack.pop()
        else:
            return


def _enter(
    root_fd: int, folder: _Folder, ignore: Ignore | None, above: list[tuple[int, int]]
) -> tuple[list[_Found], tuple[int, int]]:
    """What one folder holds, sorted, and the folder's own identity."""
    nowhere = (-1, -1)
    scope = RelPath(folder.path)
    try:
        fd = localfs.open_folder(root_fd, folder.disk)
    except OSError as error:
        if error.errno in _GONE and folder.path:
            return [], nowhere
        reason = "became a symbolic link" if error.errno == errno.ELOOP else localfs.why(error)
        return [Unknown(scope, f"the folder cannot be opened ({reason})")], nowhere
    try:
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a bind mount of a folder below itself
            return [Unknown(scope, "the folder contains itself")], nowhere
        return _list(fd, folder, ignore), identity
    except OSError as error:
        # Also half-way through: half a listing would make deletions of the other half.
        return [Unknown(scope, f"the folder cannot be listed ({localfs.why(error)})")], nowhere
    finally:
        os.close(fd)


def _list(fd: int, folder: _Folder, ignore: Ignore | None) -> list[_Found]:
    path_prefix = f"{folder.path}/" if folder.path else ""
    disk_prefix = f"{folder.disk}/" if folder.disk else ""
    same = path_prefix == disk_prefix
    keyed: list[tuple[str, _Found]] = []
    composed = False  # is any name not what it is on disk? Then two may be one.
    with os.scandir(fd) as entries:
        for entry in entries:
            disk_name = name = entry.name
            if name.startswith(RESERVED):
                continue
            if not name.isascii():
                try:
                    name.encode()
                except UnicodeEncodeError:
                    shown = path_prefix + localfs.valid_text(name)
                    reason = "the name is not valid UTF-8; rename it to have it synchronised"
                    keyed.append((localfs.valid_text(name), Unknown(RelPath(shown), reason)))
                    composed = True
                    continue
                name = unicodedata.normalize("NFC", name)
                composed = composed or name != disk_name
            path = path_prefix + name
            disk = None if same and name == disk_name else disk_prefix + disk_name
            found = _see(entry, path, disk, ignore)
            if found is not None:
                # "a/" sorts where the paths below folder a do: after "a-b", before "a0".
                keyed.append((f"{name}/" if isinstance(found, _Folder) else name, found))
    keyed.sort(key=_first)
    return _without_twins(keyed, path_prefix) if composed else [found for _, found in keyed]


def _first(pair: tuple[str, _Found]) -> str:
    return pair[0]


def _see(
    entry: os.DirEntry[str], path: str, disk: str | None, ignore: Ignore | None
) -> _Found | None:
    """What a directory entry is to us; None: nothing."""
    try:
        if entry.is_dir(follow_symlinks=False):
            if ignore is not None and ignore(path, True):
                return None
            return _Folder(path, path if disk is None else disk)
        if ignore is not None and ignore(path, False):
            return None
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return None
        return Unknown(RelPath(path), f"cannot be looked at ({localfs.why(error)})")
    if stat.S_ISREG(status.st_mode):
        return LocalEntry(RelPath(path), localfs.stamp_of(status), disk_path=disk)
    if stat.S_ISDIR(status.st_mode):  # became a folder since it was listed
        return _Folder(path, path if disk is None else disk)
    return Unknown(RelPath(path), localfs.kind_of(status.st_mode), expected=True)


def _without_twins(keyed: list[tuple[str, _Found]], prefix: str) -> list[_Found]:
    """Names on disk that are one name to us become one Unknown.

    Choosing one of them would report a deletion, or a change, that nobody made.
    """
    kept: list[tuple[str, _Found]] = []
    by_name = sorted(keyed, key=lambda pair: pair[0].rstrip("/"))
    for name, group in groupby(by_name, key=lambda pair: pair[0].rstrip("/")):
        twins = list(group)
        if len(twins) == 1:
            kept.append(twins[0])
            continue
        reason = f"{len(twins)} names on disk read as this one (NFC and NFD); rename the others"
        kept.append((name, Unknown(RelPath(prefix + name), reason)))
    kept.sort(key=_first)
    return [found for _, found in kept]


# ------------------------------------------------------------------------ opening, hashing


def hash_file(
    root: Path,
    entry: LocalEntry,
    *,
    want_digest: bool,
    block_size: int = BLOCK,
    read: Callable[[int], None] | None = None,
) -> tuple[LocalEntry, int]:
    """Read a file that the walk saw, and make sure it is still the file that it saw.

    Blocks; call it in a thread.

    Args:
        root: the root that ``entry`` was found below.
        entry: as the walk saw it.
        want_digest: also the digest that compares with the server's (SHA-384, 3 times the work).
        block_size: bytes of one read.
        read: told the number of bytes after each read.

    Returns:
        The entry with its etag (and digest), and the wall-clock time in nanoseconds just
        before the file was last found unchanged: a stamp not older than that by a clock
        tick or two proves nothing (the racy rule of the index).

    Raises:
        SourceChanged: it is not the file that was seen, or changed while it was read.
        Unreadable: it is gone, or cannot be read.
    """
    with localfs.root_descriptor(root) as root_fd:
        fd = localfs.open_regular(root_fd, entry.on_disk)
    hasher: ContentHasher | TagHasher = ContentHasher() if want_digest else TagHasher()
    try:
        _expect(entry, fd, "changed since it was seen")
        # One byte more than expected, so that a file that grew shows it by its size.
        buffer = memoryview(bytearray(min(block_size, entry.size + 1)))
        while count := os.readv(fd, [buffer]):
            hasher.update(buffer[:count])
            if hasher.size > entry.size:
                raise _changed(entry, "grew while it was read")
            if read is not None:
                read(count)
        hashed_at_ns = time.time_ns()
        _expect(entry, fd, "changed while it was read")
    except OSError as error:
        raise localfs.unreadable(entry.path, error) from error
    finally:
        os.close(fd)
    if hasher.size != entry.size:
        # The stamp is the same, and yet the file ended early: a failing disk or server.
        raise Unreadable(f"{entry.path}: ended after {hasher.size} of {entry.size} bytes")
    digest = hasher.digest if isinstance(hasher, ContentHasher) else entry.digest
    hashed = LocalEntry(entry.path, entry.stamp, hasher.local_tag, digest, entry.disk_path)
    return hashed, hashed_at_ns


def _expect(entry: LocalEntry, fd: int, otherwise: str) -> None:
    if localfs.stamp_of(os.fstat(fd)) != entry.stamp:
        raise _changed(entry, otherwise)


def _changed(entry: LocalEntry, what: str) -> SourceChanged:
    return SourceChanged(f"{entry.path}: {what}; it is left for the next run")
