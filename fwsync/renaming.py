"""A file gets its name, a second one, or loses it: whole, and nothing that stood there is lost.

The one rule: before a name is given or taken away, what bears it is looked at, and its bytes
have a second name in the trash. As in :mod:`fwsync.localfs`, no path is absolute, and no
symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import unicodedata
from collections.abc import Iterator, Set
from dataclasses import dataclass

from fwsync.digest import short_name
from fwsync.errors import FileProblem, SourceChanged
from fwsync.localfs import (
    FILE_FLAGS,
    clear_folder,
    folder,
    local_problem,
    look,
    remove,
    split,
    stamp_at,
    stamp_of,
)
from fwsync.model import Stamp
from fwsync.roots import RESERVED

#: Hard links are not to be had here; fall back to a rename.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})

#: Of a name, on nearly every file system.
_NAME_BYTES = 255

#: Slashes in the path of what is below a folder of ours.
_OF_A_RUN = 2

#: A call of the C library that Python has not; None where it is missing.
_RENAMEAT2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complete, verified and fsynced part, ready to be given its name."""

    part: str  #: its path below the root
    path: str  #: where it belongs, below the root
    replaces: Stamp | None  #: what the plan saw there; None: nothing was there
    is_noted: bool = False  #: after a kill, what lies under the part's name is looked at
    copy: str = ""  #: the name beside it that what stands there has got, as a conflict's copy


@dataclass(frozen=True, slots=True)
class Relocation:
    """A file that gets another name, in another folder as often as not."""

    old: str  #: below the root, as the file system spells it
    new: str  #: likewise
    seen: Stamp  #: what the plan saw under the old name
    replaces: Stamp | None = None  #: what it saw under the new one; None: nothing is there


def publish(root_fd: int, arrival: Arrival, *, trash: str) -> tuple[Stamp, str]:
    """Give a finished part its name; the path holds the old bytes or the new at any instant.

    What stood there goes to the trash first. Where it has a copy for a name by then, it leaves
    the trash again: two names of one file are no safety, as who edits one edits the other. The
    folder's own fsync is the caller's, once a batch: until then nothing about the file may be
    recorded.

    Args:
        root_fd: the root.
        arrival: what to publish.
        trash: a folder below the root for the bytes that are replaced.

    Returns:
        The stamp of what was named, and the path of the replaced bytes or "".

    Raises:
        SourceChanged: the destination is not what the plan saw; nothing was touched.
        FileProblem: something else is in the way.
    """
    if look(root_fd, arrival.path) != arrival.replaces:
        raise SourceChanged(f"{arrival.path}: changed here while its new version was fetched")
    above, name = split(arrival.path)
    part_folder, part_name = split(arrival.part)
    kept = ""
    try:
        with folder(root_fd, above, create=True) as to_fd, folder(root_fd, part_folder) as from_fd:
            given = stamp_of(os.stat(part_name, dir_fd=from_fd, follow_symlinks=False))
            if arrival.replaces is None:
                _name_new(from_fd, part_name, to_fd, name)
            else:
                kept = keep_copy(root_fd, arrival.path, f"{trash}/{arrival.path}")
                if arrival.is_noted:
                    _replace(from_fd, part_name, to_fd, name, arrival.replaces)
                else:
                    _replace_aside(root_fd, arrival, split(kept)[0])
                if arrival.copy and are_one_file(root_fd, kept, arrival.copy):
                    remove(root_fd, kept)
                    remove_empty(root_fd, split(kept)[0])
                    kept = ""
            return _stamp_named(to_fd, name, given), kept
    except FileExistsError:
        raise SourceChanged(f"{arrival.path}: appeared here while it was fetched") from None
    except OSError as error:
        raise local_problem(arrival.path, "cannot be put in place", error) from None


def name_new(from_fd: int, part_name: str, to_fd: int, name: str) -> Stamp:
    """Name a part where nothing may stand; the folder's fsync is the caller's.

    Args:
        from_fd: the folder of the part.
        part_name: what the part is called there.
        to_fd: the folder where it belongs.
        name: its name from now on.

    Returns:
        The stamp of what was named, whatever bears the name by now.

    Raises:
        FileExistsError: something bears the name; nothing was touched.
        OSError: as ``rename`` does.
    """
    given = stamp_of(os.stat(part_name, dir_fd=from_fd, follow_symlinks=False))
    if not _rename(from_fd, part_name, to_fd, name, _RENAME_NOREPLACE):
        _name_new(from_fd, part_name, to_fd, name)
    return _stamp_named(to_fd, name, given)


def _stamp_named(folder_fd: int, name: str, given: Stamp) -> Stamp:
    """The stamp of a file that has just got its name.

    Whoever waits for files to appear may have changed it by now. Then it is the stamp of what
    was named, as the next scan will find another one and have the file read.
    """
    now = stamp_at(folder_fd, name)
    return now if now is not None and _is_still(now, given) else given


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
        if stamp_at(to_fd, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)


def _replace(from_fd: int, part_name: str, to_fd: int, name: str, seen: Stamp) -> None:
    """Put a part in the place of the file that the plan saw, and of no other.

    The two change places in one step, so that what came out can be looked at and put
    back. The bytes that the plan saw have a second name in the trash already.
    """
    if not _is_still(stamp_at(to_fd, name), seen):
        raise SourceChanged(f"{name}: changed here while its new version was put in place")
    if not _rename(from_fd, part_name, to_fd, name, _RENAME_EXCHANGE):
        os.replace(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return
    if not _is_still(stamp_at(from_fd, part_name), seen):
        _rename(from_fd, part_name, to_fd, name, _RENAME_EXCHANGE)
        raise SourceChanged(f"{name}: changed here while its new version was put in place")
    os.unlink(part_name, dir_fd=from_fd)


def _replace_aside(root_fd: int, arrival: Arrival, trash: str) -> None:
    """As :func:`_replace`, for a part whose folder is swept after a kill.

    The part goes to the trash before the two change places. So what came out, whatever it is,
    lies where nothing is swept, and a kill in that instant loses no last save of the user's.
    """
    (above, name), (part_folder, part_name) = split(arrival.path), split(arrival.part)
    assert arrival.replaces is not None, f"{arrival.path}: nothing to replace"
    with (
        folder(root_fd, above) as to_fd,
        folder(root_fd, part_folder) as from_fd,
        folder(root_fd, trash) as trash_fd,
    ):
        aside = _rename_free(from_fd, part_name, trash_fd, name)
        if aside is None:
            _replace(from_fd, part_name, to_fd, name, arrival.replaces)
            return
        given = stamp_at(trash_fd, aside)
        try:
            _replace(trash_fd, aside, to_fd, name, arrival.replaces)
        except (OSError, SourceChanged):
            # Where what lies there is no part, it is somebody's file, and stays.
            if given is not None and _is_still(stamp_at(trash_fd, aside), given):
                _rename(trash_fd, aside, from_fd, part_name, _RENAME_NOREPLACE)
            raise


def _rename_free(from_fd: int, name: str, to_fd: int, wanted: str) -> str | None:
    """Rename to a name that nothing bears, the wanted one or that with a number.

    Returns:
        The name; None where the file system has no rename that refuses to replace.
    """
    for free_name in _numbered(wanted):
        with contextlib.suppress(FileExistsError):
            is_done = _rename(from_fd, name, to_fd, free_name, _RENAME_NOREPLACE)
            return free_name if is_done else None
    raise AssertionError("_numbered never ends")


def relocate(root_fd: int, move: Relocation, *, trash: str) -> Stamp:
    """Give a file its new name; at any instant it has the old one, the new one, or both.

    Done again after a kill in between, it finds both and takes the old one away. What had the
    new name goes to the trash first, and the name is free for an instant: no other file ever
    has the old one, where a later run would take it for new. The fsync of the two folders is
    the caller's, once a batch: until then nothing about the file may be recorded.

    Args:
        root_fd: the root.
        move: what goes where.
        trash: a folder below the root for the bytes that are replaced.

    Returns:
        The stamp of what was named, whatever bears the name by now.

    Raises:
        SourceChanged: one of the two names is not what the plan saw; nothing was touched.
        FileProblem: something else is in the way.
    """
    if look(root_fd, move.old) != move.seen:
        raise SourceChanged(f"{move.old}: changed here since the plan was made")
    (above, name), (new_above, new_name) = split(move.old), split(move.new)
    try:
        with folder(root_fd, above) as from_fd, folder(root_fd, new_above, create=True) as to_fd:
            there = stamp_at(to_fd, new_name)
            if there not in (None, move.replaces) and clear_folder(to_fd, new_name):
                there = None  # what a folder held has gone before
            is_both = there is not None and _same_file(from_fd, name, to_fd, new_name)
            if there is not None and _is_one_name(root_fd, move, is_both=is_both):
                _respell(root_fd, move.old, move.new)
            elif is_both:
                os.unlink(name, dir_fd=from_fd)
            elif there != move.replaces:
                raise SourceChanged(f"{move.new}: changed here since the plan was made")
            else:
                if there is not None:
                    _take_away(root_fd, move.new, there, trash)
                _move_new(from_fd, name, to_fd, new_name)
            return _stamp_named(to_fd, new_name, move.seen)
    except FileExistsError:
        raise SourceChanged(f"{move.new}: appeared here since the plan was made") from None
    except OSError as error:
        raise local_problem(move.new, "cannot be renamed to", error) from None


def _move_new(from_fd: int, name: str, to_fd: int, new_name: str) -> None:
    """As :func:`_name_new`, but by one step where the file system has it: never two names."""
    if not _rename(from_fd, name, to_fd, new_name, _RENAME_NOREPLACE):
        _name_new(from_fd, name, to_fd, new_name)


def _is_one_name(root_fd: int, move: Relocation, *, is_both: bool) -> bool:
    """Are the two paths one, spelled in two ways, on a file system that takes no notice?

    Told by what the folders list: a file has more than one link for many reasons.
    Source: exFAT through FUSE, observed: each spelling of a name has an inode number of its own.

    Args:
        root_fd: the root.
        move: there is something at either path.
        is_both: their inodes say that it is the same file.
    """
    if not (is_both or _folded(move.old) == _folded(move.new)):
        return False
    olds, news = move.old.split("/"), move.new.split("/")
    if len(olds) != len(news):
        return False
    above = ""
    for was, name in zip(olds, news, strict=True):
        if was != name:
            with folder(root_fd, above) as folder_fd:
                if {was, name}.issubset(os.listdir(folder_fd)):
                    return False
        above = f"{above}/{was}" if above else was
    return True


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _respell(root_fd: int, old: str, new: str) -> None:
    """Rename what is spelled otherwise along a path that leads to the same file already."""
    above = ""
    for was, name in zip(old.split("/"), new.split("/"), strict=False):
        with folder(root_fd, above) as folder_fd:
            if name not in os.listdir(folder_fd):
                os.rename(was, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            if name not in os.listdir(folder_fd):  # two names of one thing: nothing was done
                aside = f".fwsync-{short_name(name)}"
                os.rename(was, aside, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
                os.rename(aside, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            os.fsync(folder_fd)
        above = f"{above}/{name}" if above else name


def relocate_folder(root_fd: int, old: str, new: str, names: Set[str]) -> None:
    """Give a folder with exactly these files another path, in one step.

    The fsync of the folders above is the caller's, as in :func:`relocate`.

    Args:
        root_fd: the root.
        old: the folder; it holds nothing but the files.
        new: its new path; nothing is there.
        names: of the files, below the folder.

    Raises:
        SourceChanged: it holds something else, or its new path is taken; nothing was touched.
    """
    (above, name), (new_above, new_name) = split(old), split(new)
    try:
        if _files_below(root_fd, old) != names:
            raise SourceChanged(f"{old}: holds other files, too, and cannot move as one")
        with folder(root_fd, above) as from_fd, folder(root_fd, new_above, create=True) as to_fd:
            if not _rename(from_fd, name, to_fd, new_name, _RENAME_NOREPLACE):
                if stamp_at(to_fd, new_name) is not None:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
                os.rename(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
    except FileExistsError:
        raise SourceChanged(f"{new}: is there already") from None
    except OSError as error:
        raise local_problem(old, "cannot be renamed", error) from None


def _files_below(root_fd: int, path: str) -> set[str]:
    """All that is below a folder and is no folder, by its path in it."""
    found: set[str] = set()
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        here = f"{path}/{inside}" if inside else path
        with folder(root_fd, here) as folder_fd, os.scandir(folder_fd) as items:
            for item in items:
                name = f"{inside}/{item.name}" if inside else item.name
                if item.is_dir(follow_symlinks=False):
                    waiting.append(name)
                else:
                    found.add(name)
    return found


def is_below_a_file(root_fd: int, path: str) -> bool:
    """Is one of its folders a file by now? Blocks."""
    while path := path.rpartition("/")[0]:
        with contextlib.suppress(FileProblem):
            if look(root_fd, path) is not None:
                return True
    return False


def has_folder(root_fd: int, path: str) -> bool:
    """True if there is such a folder below the root."""
    try:
        with folder(root_fd, path):
            return True
    except OSError:
        return False


def remove_empty(root_fd: int, path: str) -> None:
    """Remove a folder, and those above it, as far as they are empty; neither root nor trash."""
    while path and not (path.startswith(RESERVED) and path.count("/") < _OF_A_RUN):
        above, _, name = path.rpartition("/")
        try:
            with folder(root_fd, above) as parent_fd:
                os.rmdir(name, dir_fd=parent_fd)
        except OSError:
            return
        path = above


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
        kept = _take_away(root_fd, path, seen, trash)
        with folder(root_fd, split(path)[0]) as parent_fd:
            os.fsync(parent_fd)
    except OSError as error:
        raise local_problem(path, "cannot be moved to the trash", error) from None
    return kept


def _take_away(root_fd: int, path: str, seen: Stamp, trash: str) -> str:
    """Move the file that was seen to the trash, durably there; gives its path in it.

    It goes in one step, so that what went can be looked at, and gets its name back if it is
    something else.

    Raises:
        SourceChanged: it is not that file any more; it has its name.
        OSError: as the calls do.
    """
    above, name = split(path)
    inside, wanted = split(f"{trash}/{path}")
    with folder(root_fd, above) as from_fd, folder(root_fd, inside, create=True) as to_fd:
        changed = SourceChanged(f"{path}: changed here on its way to the trash")
        if not _is_still(stamp_at(from_fd, name), seen):
            raise changed
        kept = _rename_free(from_fd, name, to_fd, wanted)
        if kept is None:
            copy = keep_copy(root_fd, path, f"{trash}/{path}")
            if not _is_still(stamp_at(from_fd, name), seen):
                raise changed
            os.unlink(name, dir_fd=from_fd)
            return copy
        if not _is_still(stamp_at(to_fd, kept), seen):
            with contextlib.suppress(FileExistsError):  # then both are kept
                _rename(to_fd, kept, from_fd, name, _RENAME_NOREPLACE)
            raise changed
        os.fsync(to_fd)
        return f"{inside}/{kept}"


def keep_copy(root_fd: int, path: str, copy: str) -> str:
    """Give the bytes at ``path`` a second name, so that replacing the first loses nothing.

    Returns:
        The copy's path: ``copy``, or that with a number where it is taken by other bytes.
    """
    above, name = split(path)
    copy_folder, copy_name = split(copy)
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
            open(os.open(name, FILE_FLAGS, dir_fd=from_fd), "rb") as source,
            open(os.open(aside, flags, 0o600, dir_fd=to_fd), "wb") as target,
        ):
            while block := source.read(1 << 20):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        if not _rename(to_fd, aside, to_fd, copy_name, _RENAME_NOREPLACE):
            if stamp_at(to_fd, copy_name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), copy_name)
            os.rename(aside, copy_name, src_dir_fd=to_fd, dst_dir_fd=to_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside, dir_fd=to_fd)
        raise


def _numbered(name: str) -> Iterator[str]:
    """A name, and others that tell of it; those fit where it does."""
    yield name
    stem, dot, suffix = name.partition(".")
    number = 1
    while True:
        numbered = f"{stem}-{number}{dot}{suffix}"
        fits = len(os.fsencode(numbered)) <= _NAME_BYTES
        yield numbered if fits else f"{short_name(name)}-{number}"
        number += 1


def are_one_file(root_fd: int, path: str, other: str) -> bool:
    """True if both names are there and name the same file."""
    above, name = split(path)
    other_above, other_name = split(other)
    try:
        with folder(root_fd, above) as one_fd, folder(root_fd, other_above) as other_fd:
            return _same_file(one_fd, name, other_fd, other_name)
    except OSError:
        return False


def _same_file(first_fd: int, first: str, second_fd: int, second: str) -> bool:
    one = os.stat(first, dir_fd=first_fd, follow_symlinks=False)
    other = os.stat(second, dir_fd=second_fd, follow_symlinks=False)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def look_again(root_fd: int, path: str, seen: Stamp) -> Stamp:
    """The stamp of a file that we gave a second name, so that only its ctime has moved.

    Raises:
        SourceChanged: more than that has changed.
    """
    now = look(root_fd, path)
    if now is None or not _is_still(now, seen):
        raise SourceChanged(f"{path}: changed here since the plan was made")
    return now


def _is_still(now: Stamp | None, seen: Stamp) -> bool:
    """The same file with the same content? Its ctime moves when it gets another name."""
    return now is not None and (now.size, now.mtime_ns, now.device, now.inode) == (
        seen.size,
        seen.mtime_ns,
        seen.device,
        seen.inode,
    )


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
