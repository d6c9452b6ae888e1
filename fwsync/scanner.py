"""Look at the root: what files are there, and what is in them.

One rule: what could not be seen is said to be :class:`~fwsync.model.Unknown`, never left
out. A path missing from the walk is a path that is not there.

No symbolic link below the root is followed by the system, not even one that replaces a
folder while we look: every folder is opened by descriptor, component by component. Where
links are to be followed, we find out where they lead, and open that.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from fwsync import localfs
from fwsync.digest import ContentHasher, TagHasher
from fwsync.errors import SourceChanged, Unreadable, UsageError
from fwsync.filters import IGNORE_FILE, Filters
from fwsync.model import LocalEntry, RelPath, SeenRow, Unknown

#: Names that begin so are ours (state, parts, trash), at any depth: not scanned, not reported.
RESERVED = ".fwsync"

#: What to do about a folder that nobody may read: while there is one, nothing counts as gone.
_UNREADABLE = "let the user that runs fwsync read it, or leave it out with --exclude"

#: The folder that some disks keep for themselves; only root may look into it.
LOST_AND_FOUND = "lost+found"

#: Links of a folder without folders in it; 1 where the file system does not count them.
_EMPTY_LINKS = 2

#: Its files are another remote's, perhaps another patient's: they never go where ours do.
_OF_ITS_OWN = f"is kept in step by itself; without the {RESERVED} in it, it takes part here"

#: Bytes of the patterns of one folder, at most: a file larger than this is something else.
MOST_PATTERNS = 1 << 20

#: Links that lead to links, at most. Source: path_resolution(7), as Linux counts them.
MOST_LINKS = 40

BLOCK = 1024 * 1024  # bytes of one read: large enough for hashing to run without the GIL

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without O_NONBLOCK, opening a FIFO that took the file's place would hang for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_first = itemgetter(0)  # what the entries of a folder are sorted by

_GONE = (errno.ENOENT, errno.ENOTDIR)
#: Failures that say something about the moment, not about the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ESTALE)


# ------------------------------------------------------------------------------- the walk


class _Folder:
    """A folder to enter: its path for us and its path on disk."""

    __slots__ = ("disk", "is_linked", "path")

    def __init__(self, path: str, disk: str, *, is_linked: bool = False) -> None:
        self.path = path
        self.disk = disk
        self.is_linked = is_linked


_Found = SeenRow | Unknown | _Folder


@dataclass(frozen=True, slots=True)
class _Look:
    """What holds for a whole walk."""

    root_fd: int
    filters: Filters
    follow: bool


def walk(
    root: Path | int, *, ignore: Filters | None = None, follow: bool = False
) -> Iterator[LocalEntry | Unknown]:
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
        ignore: what is out of scope. It is given the patterns of each ``.fwsyncignore`` on
            the way; a folder whose patterns cannot be read is Unknown, never unfiltered.
        follow: symbolic links that lead to a file or a folder below the root stand for it.
            All others are Unknown, as every link is without this.
    """
    for found in walk_rows(root, ignore=ignore, follow=follow):
        yield LocalEntry.of(found) if isinstance(found, tuple) else found


def walk_rows(
    root: Path | int, *, ignore: Filters | None = None, follow: bool = False
) -> Iterator[SeenRow | Unknown]:
    """The same for who takes a million files in: rows, and no entry for each."""
    filters = Filters() if ignore is None else ignore
    filters.begin()
    try:
        if isinstance(root, int):
            root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        else:
            root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        yield Unknown(RelPath(""), f"the root cannot be opened ({localfs.why(error)})")
        return
    try:
        yield from _walk(_Look(root_fd, filters, follow))
    finally:
        os.close(root_fd)


def _walk(look: _Look) -> Iterator[SeenRow | Unknown]:
    # A stack of our own: a tree may be deeper than Python recurses. Folders are opened
    # again from the root when their turn comes, so depth costs no descriptors either.
    stack: list[tuple[Iterator[_Found], tuple[int, int]]] = []
    todo = _Folder("", "")
    while True:
        found, identity = _enter(look, todo, [known for _, known in stack])
        stack.append((iter(found), identity))
        while stack:
            for following in stack[-1][0]:
                if isinstance(following, _Folder):
                    todo = following
                    break
                yield following
            else:
                stack.pop()
                continue
            break
        else:
            return


def _enter(
    look: _Look, folder: _Folder, above: list[tuple[int, int]]
) -> tuple[list[_Found], tuple[int, int]]:
    """What one folder holds, sorted, and the folder's own identity."""
    nowhere = (-1, -1)
    scope = RelPath(folder.path)
    try:
        fd = localfs.open_folder(look.root_fd, folder.disk)
    except OSError as error:
        if error.errno in _GONE and folder.path:
            return [], nowhere
        reason = "became a symbolic link" if error.errno == errno.ELOOP else localfs.why(error)
        why = f"the folder cannot be opened ({reason})"
        if error.errno == errno.EACCES and _is_the_disks(look.root_fd, folder):
            return [Unknown(scope, f"{why}; it is the disk's own", expected=True)], nowhere
        return [Unknown(scope, why, hint=_UNREADABLE, hides=True)], nowhere
    try:
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a bind mount of a folder below itself, or a link
            reason = "the folder contains itself"
            return [Unknown(scope, reason, expected=folder.is_linked)], nowhere
        return _list(fd, folder, look), identity
    except OSError as error:
        # Also half-way through: half a listing would make deletions of the other half.
        reason = f"the folder cannot be listed ({localfs.why(error)})"
        return [Unknown(scope, reason, hint=_UNREADABLE, hides=True)], nowhere
    finally:
        os.close(fd)


def _is_the_disks(root_fd: int, folder: _Folder) -> bool:
    """A folder that some disks keep for themselves, without folders that were found again in it."""
    if folder.disk != LOST_AND_FOUND:
        return False
    try:
        return os.stat(folder.disk, dir_fd=root_fd, follow_symlinks=False).st_nlink <= _EMPTY_LINKS
    except OSError:
        return False


def _list(fd: int, folder: _Folder, look: _Look, *, has_rules: bool = False) -> list[_Found]:
    path_prefix = f"{folder.path}/" if folder.path else ""
    disk_prefix = f"{folder.disk}/" if folder.disk else ""
    same = path_prefix == disk_prefix
    filters = None if look.filters.idle else look.filters  # a call for each name adds up
    rows: list[SeenRow] = []  # the files; what sorts by something else than its path is apart
    keyed: list[tuple[str, _Found]] = []
    composed = False  # is any name not what it is on disk? Then two may be one.
    with os.scandir(fd) as entries:
        for entry in entries:
            disk_name = name = entry.name
            if name.startswith(RESERVED):
                if name == IGNORE_FILE and not has_rules:
                    break
                if name == RESERVED and folder.path and _is_root(fd):
                    return [Unknown(RelPath(folder.path), _OF_ITS_OWN)]
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
            disk = None if same and name == disk_name else disk_prefix + disk_name
            found = _see(entry, path_prefix + name, disk, look, filters)
            if isinstance(found, tuple):
                rows.append(found)
            elif found is not None:
                # "a/" sorts where the paths below folder a do: after "a-b", before "a0".
                keyed.append((f"{name}/" if isinstance(found, _Folder) else name, found))
        else:
            has_rules = True  # or there are none
    if not has_rules:  # only now: a second look at the folder begins where the first one is closed
        return _list_by_rules(fd, folder, look)
    if not keyed and not composed:
        rows.sort(key=_first)
        return [*rows]
    keyed += ((row[0][len(path_prefix) :], row) for row in rows)
    keyed.sort(key=_first)
    return _without_twins(keyed, path_prefix) if composed else [found for _, found in keyed]


def _is_root(folder_fd: int) -> bool:
    """Does the folder that holds this one of ours keep step with a remote by itself?"""
    try:
        with localfs.folder(folder_fd, RESERVED) as own_fd:
            names = os.listdir(own_fd)
    except OSError:
        return False
    # Where the state is not in it, as on clusters, the marker says so alone.
    is_known = "state.db" not in names or any(name.endswith("remotes") for name in names)
    return "marker" in names and is_known


def _list_by_rules(fd: int, folder: _Folder, look: _Look) -> list[_Found]:
    """List a folder that has patterns of its own: they are known before any name is judged."""
    try:
        look.filters.take(folder.path, _patterns(fd))
    except FileNotFoundError:  # gone again
        return _list(fd, folder, look, has_rules=True)
    except (OSError, UnicodeDecodeError, UsageError) as error:
        match error:
            case UsageError():
                why = error.message
            case UnicodeDecodeError():
                why = "it is not UTF-8"
            case _:
                why = localfs.why(error)
        # Without the patterns what they keep back would be sent.
        return [Unknown(RelPath(folder.path), f"{IGNORE_FILE} cannot be used ({why})")]
    return _list(fd, folder, look, has_rules=True)


def _patterns(folder_fd: int) -> list[str]:
    with open(os.open(IGNORE_FILE, _FILE, dir_fd=folder_fd), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = file.read(MOST_PATTERNS + 1)
    if len(content) > MOST_PATTERNS:
        raise OSError(errno.EFBIG, "it is larger than patterns are")
    return content.decode("utf-8-sig").splitlines()


def _see(
    entry: os.DirEntry[str], path: str, disk: str | None, look: _Look, filters: Filters | None
) -> _Found | None:
    """What a directory entry is to us; None: nothing."""
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        if filters is not None and filters(path, is_folder):
            return None
        if is_folder:
            return _Folder(path, path if disk is None else disk)
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return None
        why = f"cannot be looked at ({localfs.why(error)})"
        return Unknown(RelPath(path), why, hint=_UNREADABLE, hides=True)
    if stat.S_ISREG(status.st_mode):
        return (RelPath(path), *localfs.stamp_of(status), disk)
    if stat.S_ISDIR(status.st_mode):  # became a folder since it was listed
        return _Folder(path, path if disk is None else disk)
    if look.follow and stat.S_ISLNK(status.st_mode):
        return _see_behind(path, path if disk is None else disk, look)
    return Unknown(RelPath(path), localfs.kind_of(status.st_mode), expected=True)


def _see_behind(path: str, disk: str, look: _Look) -> _Found | None:
    """What a symbolic link stands for: an entry that is opened where the link leads now."""
    try:
        disk, status = _resolve(look.root_fd, disk)
    except _LeadsAway as error:
        return Unknown(RelPath(path), f"is a symbolic link {error}", expected=True)
    except OSError as error:
        reason = f"is a symbolic link that cannot be followed ({localfs.why(error)})"
        return Unknown(RelPath(path), reason, expected=error.errno in (*_GONE, errno.ELOOP))
    if stat.S_ISREG(status.st_mode):
        return (RelPath(path), *localfs.stamp_of(status), disk)
    if not stat.S_ISDIR(status.st_mode):
        reason = f"leads to what {localfs.kind_of(status.st_mode)}"
        return Unknown(RelPath(path), reason, expected=True)
    return None if look.filters(path, True) else _Folder(path, disk, is_linked=True)


class _LeadsAway(Exception):
    """A link that is not followed; the text says where it leads."""


def _resolve(root_fd: int, disk: str) -> tuple[str, os.stat_result]:
    """Where a path with links on it really leads, and what is there.

    Each component is looked at in its folder's descriptor, and the system follows none. A
    link that is changed while we look leads us somewhere else below the root, never out.

    Raises:
        _LeadsAway: out of the root, or into fwsync's own folder.
        OSError: nowhere.
    """
    todo = disk.split("/")[::-1]
    real: list[str] = []  # no link among these, so that ".." is the one before
    status = os.fstat(root_fd)
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if not real:
                raise _LeadsAway("that leads out of the root")
            real.pop()
            status = os.fstat(root_fd)  # a folder, whichever
            continue
        if name.startswith(RESERVED):
            raise _LeadsAway("to what is fwsync's own")
        with localfs.folder(root_fd, "/".join(real)) as folder_fd:
            status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            target = os.readlink(name, dir_fd=folder_fd) if stat.S_ISLNK(status.st_mode) else None
        if target is None:
            real.append(name)
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith("/"):
            raise _LeadsAway("with an absolute target")
        todo += target.split("/")[::-1]
    return "/".join(real), status


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
    hashed = replace(entry, etag=hasher.local_tag, digest=digest)
    return hashed, hashed_at_ns


def _expect(entry: LocalEntry, fd: int, otherwise: str) -> None:
    if localfs.stamp_of(os.fstat(fd)) != entry.stamp:
        raise _changed(entry, otherwise)


def _changed(entry: LocalEntry, what: str) -> SourceChanged:
    return SourceChanged(f"{entry.path}: {what}; it is left for the next run")
