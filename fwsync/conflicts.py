"""Conflict copies: the local bytes beside the server's, under a name that is on record."""

from __future__ import annotations

import contextlib
import json
import os
import re
import unicodedata
from datetime import UTC, datetime

from fwsync import localfs, renaming
from fwsync.errors import FileProblem, SourceChanged
from fwsync.model import LocalEntry, RelPath, Stamp
from fwsync.roots import RESERVED
from fwsync.state import OpenConflict, State

#: The file in which the copies of a root are noted, a JSON text a line.
_COPIES = "copies"

#: Bytes of a name, at most; file systems agree on that.
_NAME_BYTES = 255

#: Names that are tried for a copy: more in one second are a disk that answers with errors.
_TRIES = 1000


#: What a copy's name has more than the file's.
_MARK = re.compile(r"\.fwsync-conflict-\d{8}T\d{6}Z-[^./]*(?=\.|$)")


def choose_copy(state: State, root_fd: int, path: RelPath, on_disk: str, host: str) -> RelPath:
    """The copy's path: of an earlier try that did not get to its end, or a free one.

    Args:
        state: knows the copies that were recorded.
        root_fd: the root.
        path: the file in conflict.
        on_disk: the same, as the file system spells it.
        host: this machine's name, for people who share the project.

    Raises:
        FileProblem: the disk has no name for it.
    """
    recorded = {one.copy_path for one in state.conflicts() if one.path == path}
    for copy in sorted(recorded):
        if localfs.is_free(root_fd, copy) or renaming.are_one_file(root_fd, on_disk, copy):
            return copy
    # Beside the file, which need not lie where its path on the server says.
    folder, slash, name = unicodedata.normalize("NFC", on_disk).rpartition("/")
    noted = noted_copies(root_fd)
    for copy in sorted(noted):  # the state that had it on record may be lost
        beside = copy.rpartition("/")[0] == folder
        if beside and renaming.are_one_file(root_fd, on_disk, copy):
            return copy
    # No two copies of a root have one name, wherever they lie: by its name one is found again.
    names = {_name_of(copy) for copy in noted.union(one.copy_path for one in state.conflicts())}
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(_TRIES):
        mark = f"fwsync-conflict-{at}-{host}" + (f"-{number}" if number else "")
        copy = RelPath(f"{folder}{slash}{_marked(name, mark)}")
        if _name_of(copy) not in names and localfs.is_free(root_fd, copy):
            return copy
    raise FileProblem(f"{path}: no name is free for a copy of it beside it")


def copies_now(state: State, root_fd: int, one: OpenConflict) -> list[RelPath]:
    """Where the copy of a conflict is now: where it was, or where a file of its name was seen."""
    if not localfs.is_free(root_fd, one.copy_path):
        return [one.copy_path]
    named = state.copies.files_named(_name_of(one.copy_path))
    return [path for path in named if not localfs.is_free(root_fd, path)]


def forgotten(state: State, root_fd: int) -> list[tuple[RelPath, RelPath]]:
    """Copies that lie where they were noted, and that no conflict on record speaks of. Blocks.

    A state that was lost, or made anew, knows of none; the bytes are nowhere else. Where a root
    has several projects, a copy may be another's.

    Returns:
        The path that each was in conflict at, by its name, and where it is.
    """
    if state.places.active or _remotes_of(root_fd) > 1:
        return []
    known = {one.copy_path for one in state.conflicts()}
    found = []
    for copy in sorted(noted_copies(root_fd) - known):
        path = RelPath(_MARK.sub("", copy))
        is_one = path == copy or renaming.are_one_file(root_fd, path, copy)
        if not is_one and not localfs.is_free(root_fd, copy):
            found.append((path, copy))
    return found


def _remotes_of(root_fd: int) -> int:
    try:
        file_fd = localfs.open_regular(root_fd, f"{RESERVED}/remotes")
    except FileProblem:
        return 0
    with os.fdopen(file_fd, "rb") as file:
        return len(file.read().splitlines())


def _marked(name: str, mark: str) -> str:
    """The name with a mark after its stem, and no longer than a disk allows.

    What is too long loses the end of its stem; a name that is nearly all ending loses that.
    """
    stem, dot, suffix = name.partition(".")
    ending = f".{mark}{dot}{suffix}"
    if len(os.fsencode(ending)) >= _NAME_BYTES:
        stem, ending = name, f".{mark}"
    room = _NAME_BYTES - len(os.fsencode(ending))
    return os.fsencode(stem)[:room].decode("utf-8", "ignore") + ending


def _name_of(copy: RelPath) -> str:
    return copy.rpartition("/")[2]


def note_copy(root_fd: int, copy: RelPath) -> None:
    """Write down a copy's path below the root, before the copy is made. Blocks.

    The state keeps conflicts too, but a state can be deleted, and a root may have several:
    a copy must not be taken for a user's new file by any of them.
    """
    _note(root_fd, copy, copy)


def _note(root_fd: int, copy: RelPath, told: object) -> None:
    # What was torn off by a power failure must not spoil this line.
    line = b"\n" + json.dumps(told).encode() + b"\n"
    try:
        with localfs.folder(root_fd, RESERVED, create=True) as folder_fd:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file_fd = os.open(_COPIES, flags, 0o600, dir_fd=folder_fd)
            try:
                os.write(file_fd, line)
                os.fsync(file_fd)
            finally:
                os.close(file_fd)
            os.fsync(folder_fd)
    except OSError as error:
        raise localfs.local_problem(copy, "cannot be noted as a copy", error) from None


def release_copy(root_fd: int, copy: RelPath) -> None:
    """Write down that a copy is the user's own file from now on: it goes up. Blocks."""
    # Under whichever path it was noted: it goes along with its folder.
    noted = {one for one in noted_copies(root_fd) if _name_of(one) == _name_of(copy)}
    for one in sorted(noted | {copy}):
        _note(root_fd, one, {"released": one})


def noted_copies(root_fd: int) -> frozenset[RelPath]:
    """All copies that were ever noted for this root, without those that were released. Blocks."""
    try:
        file_fd = localfs.open_regular(root_fd, f"{RESERVED}/{_COPIES}")
    except FileProblem:
        return frozenset()
    with os.fdopen(file_fd, "rb") as file:
        lines = file.read().splitlines()
    found: set[RelPath] = set()
    for line in lines:
        with contextlib.suppress(ValueError):  # the last one, torn by a power loss
            told = json.loads(line)
            if isinstance(told, dict):
                found.discard(RelPath(str(told.get("released"))))
            else:
                found.add(RelPath(str(told)))
    return frozenset(found)


def make_copy(root_fd: int, local: LocalEntry, copy: RelPath) -> Stamp:
    """Give the local bytes their second name, and write it down before. Blocks.

    Returns:
        The file's stamp now: another name moves its ctime.

    Raises:
        SourceChanged: the file is not what the plan saw, or the copy's name was taken.
        FileProblem, LocalError: the copy cannot be made.
    """
    renaming.look_again(root_fd, local.on_disk, local.stamp)
    note_copy(root_fd, copy)
    try:
        made = renaming.keep_copy(root_fd, local.on_disk, copy)
    except OSError as error:
        raise localfs.local_problem(local.path, "no copy could be kept", error) from None
    if made != copy:
        # Not the name that is on record; under another it would be sent as a new file.
        localfs.remove(root_fd, made)
        raise SourceChanged(f"{local.path}: the name of its copy was taken just now")
    return renaming.look_again(root_fd, local.on_disk, local.stamp)
