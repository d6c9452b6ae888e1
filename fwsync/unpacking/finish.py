"""What a note tells of is done: by the run that wrote it, or by the next one.

The one rule: each step looks first, and may be done again; a file that is not what the plan saw
is left alone and reported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fwsync import localfs, renaming
from fwsync.digest import LocalTag, TagHasher
from fwsync.errors import FileProblem, LocalError
from fwsync.model import LocalEntry, PackMember, Problem, RelPath, Stamp
from fwsync.unpacking.aside import ASIDE, Note, Step, drop_all, keep_receipt, read_note

BLOCK: Final = 1 << 20  # bytes read and written at a time


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of it."""

    path: RelPath  #: the pack's
    members: tuple[PackMember, ...]  #: as they are here now, with tags; sorted by name
    problems: tuple[Problem, ...] = ()  #: members that were left as they were found
    seen_at_ns: int = 0  #: wall clock before the first of the members was read or written


def finish_unpacking(root_fd: int, parts: str) -> list[Unpacked]:
    """Finish what killed runs have begun to put in place; drop what they had not.

    For the start of a run, and after a cycle that was cut short, under the root's lock. Nothing
    is recorded here: the members are found by the next scan, and known again by their
    :class:`fwsync.unpacking.aside.Receipt`.

    Args:
        root_fd: the root.
        parts: the folder for parts, as in :class:`fwsync.unpacking.packs.Unpacking`.

    Returns:
        What was finished; members that were changed here meanwhile are its problems, and so
        is a note that cannot be read, which stays.

    Raises:
        LocalError: no space left.
    """
    try:
        with localfs.folder(root_fd, parts) as parts_fd:
            names = sorted(os.listdir(parts_fd))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise localfs.local_problem(parts, "cannot be listed", error) from None
    finished: list[Unpacked] = []
    for aside in (f"{parts}/{name}" for name in names if name.endswith(ASIDE)):
        try:
            done = finish(root_fd, aside)
        except FileProblem as error:
            done = Unpacked(RelPath(aside), (), (Problem.of(aside, error),))
        if done is not None:
            finished.append(done)
    return finished


def not_finished(root_fd: int, parts: str) -> list[Problem]:
    """Finish as :func:`finish_unpacking` does; what went wrong with it.

    Raises:
        LocalError: as there.
    """
    return [one for done in finish_unpacking(root_fd, parts) for one in done.problems]


def finish(root_fd: int, aside: str) -> Unpacked | None:
    """Finish what a note tells of, if there is one; otherwise drop what lies there."""
    note = read_note(root_fd, aside)
    if note is not None:
        return carry_out(root_fd, aside, note, again=True)
    drop_all(root_fd, aside)
    return None


def carry_out(root_fd: int, aside: str, note: Note, *, again: bool) -> Unpacked:
    """Do what the note says, as far as files here are what the plan saw; then drop it.

    Args:
        root_fd: the root.
        aside: the folder aside.
        note: what to do.
        again: some of it may have been done before.
    """
    seen_at_ns = time.time_ns()
    members: list[PackMember] = []
    problems: list[Problem] = []
    folders: set[str] = set()
    for step in note.steps:
        try:
            stamp = _do(root_fd, aside, step, note.trash, again=again)
        except LocalError:
            raise
        except FileProblem as error:
            problems.append(Problem.of(step.path, error))
        else:
            folders.add(step.path.rpartition("/")[0])
            if stamp is not None:
                members.append(PackMember(step.name, _new_entry(note.folder, step, stamp)))
    for folder in sorted(folders):
        if not _is_gone(root_fd, folder):
            localfs.sync_folder(root_fd, folder)
    _rescue(root_fd, aside, note)
    if note.version and not problems:
        keep_receipt(root_fd, aside, note)
    drop_all(root_fd, aside)
    path = RelPath(note.path)
    return Unpacked(path, by_name(members), tuple(problems), seen_at_ns)


def _do(root_fd: int, aside: str, step: Step, trash: str, *, again: bool) -> Stamp | None:
    """One step; the stamp of the file that stands there afterwards, if one does.

    Raises:
        FileProblem: the file here is not what the plan saw, and was left alone.
    """
    seen = step.seen
    if again:
        if step.part and (stamp := _holds(root_fd, step.path, step)) is not None:
            return stamp
        if seen is not None and localfs.look(root_fd, step.path) is not None:
            # It may have got a second name in the trash, which moves its ctime.
            seen = renaming.look_again(root_fd, step.path, seen)
    if step.part:
        arrival = renaming.Arrival(f"{aside}/{step.part}", step.path, seen, is_noted=True)
        return renaming.publish(root_fd, arrival, trash=trash)[0]
    if seen is not None and not (again and localfs.look(root_fd, step.path) is None):
        renaming.discard(root_fd, step.path, seen, trash=trash)
    return None


def _holds(root_fd: int, path: str, step: Step) -> Stamp | None:
    """The stamp of a file that has a part's content; None if it has not, or is not there."""
    try:
        file_fd = localfs.open_regular(root_fd, path)
    except FileProblem:
        return None
    try:
        stamp = localfs.stamp_of(os.fstat(file_fd))
        if stamp.size != step.size:
            return None
        hasher = TagHasher()
        while block := os.read(file_fd, BLOCK):
            hasher.update(block)
        return stamp if hasher.local_tag == step.tag else None
    except OSError:
        return None
    finally:
        os.close(file_fd)


def _new_entry(folder: str, step: Step, stamp: Stamp) -> LocalEntry:
    path = RelPath(f"{folder}/{step.name}" if folder else step.name)
    on_disk = None if step.path == path else step.path
    return LocalEntry(path, stamp, etag=LocalTag(step.tag), disk_path=on_disk)


def by_name(members: Sequence[PackMember]) -> tuple[PackMember, ...]:
    """The members of a pack in their order."""
    return tuple(sorted(members, key=lambda member: member.name))


def _is_gone(root_fd: int, folder: str) -> bool:
    try:
        with localfs.folder(root_fd, folder):
            return False
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _rescue(root_fd: int, aside: str, note: Note) -> None:
    """Keep what lies under a part's name and is none of ours.

    A kill in the instant in which two files change places leaves there what came out, and
    that may be newer than what went to the trash before.
    """
    for step in note.steps:
        part = f"{aside}/{step.part}"
        if not step.part or localfs.is_free(root_fd, part) or _holds(root_fd, part, step):
            continue
        try:
            renaming.keep_copy(root_fd, part, f"{note.trash}/{step.path}")
        except OSError as error:
            raise localfs.local_problem(step.path, "cannot be kept", error) from None
