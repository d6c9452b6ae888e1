"""A zip becomes its members, or the members of a pack go: all of them, or for now none.

The one rule: nothing here is touched before all that it takes lies in a folder aside, and each
file here is what the plan saw.
"""

from __future__ import annotations

import contextlib
import os
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fwsync import localfs
from fwsync.digest import LocalTag, TagHasher, pack_tag
from fwsync.errors import FwsyncError, SourceChanged
from fwsync.model import LocalEntry, PackMember, RelPath
from fwsync.unpacking.aside import NEW_FILE, Note, Step, aside_of, drop_all, write_note
from fwsync.unpacking.finish import BLOCK, Unpacked, by_name, carry_out, finish
from fwsync.zipcheck import CheckedZip, Inside

#: Members that are written before the first of them is fsynced: one commit of the file
#: system's journal then serves many.
GROUP: Final = 64


@dataclass(frozen=True, slots=True)
class Unpacking:
    """A zip that is to be unpacked."""

    path: RelPath  #: the pack's
    folder: str  #: where its members belong, as the file system spells it; empty: the root
    existing: Mapping[str, LocalEntry]  #: by name in the pack (NFC): what the plan saw of it here
    parts: str  #: the folder for parts, below the root and on its file system
    trash: str  #: the folder of this run for bytes that are replaced
    modified_ns: int = 0  #: the time that new members bear; 0: now
    most_bytes: int | None = None  #: see :class:`fwsync.zipcheck.CheckedZip`
    #: A folder of this name is left out if all members lie in it: a server that packs makes one.
    #: Source: scitran/core 2018, observed: the packfile's zip has a folder of its own name.
    around: str = ""
    version: str = ""  #: the server's tag of the zip, for the receipt; empty: none is kept


def unpack(root_fd: int, zip_fd: int, task: Unpacking) -> Unpacked:
    """Unpack a zip below the root.

    Members that are here with the same bytes already are not touched. Members of
    ``task.existing`` that the zip has not are discarded.

    Args:
        root_fd: the root.
        zip_fd: the zip, verified; it may be removed afterwards, whatever came of it.
        task: what belongs where.

    Raises:
        SourceChanged: something here is not what the plan saw; nothing was touched.
        IntegrityError, FileProblem: the zip cannot be unpacked, or not here; as above.
        LocalError: no space left. What had begun is finished by ``finish_unpacking``.
    """
    aside = aside_of(task.parts, task.path)
    seen_at_ns = time.time_ns()
    with _begun(root_fd, aside, task.path, "cannot be unpacked") as aside_fd:
        same, steps = _write_aside(root_fd, zip_fd, aside_fd, task)
        tag = _tag_of(same, steps)
        note = Note(task.path, task.folder, task.trash, tuple(steps), task.version, tag)
        _look_before(root_fd, note)
        write_note(aside_fd, note)
    done = carry_out(root_fd, aside, note, again=False)
    members = [
        PackMember(one.name, _as_before(task.existing.get(one.name), one.entry))
        for one in done.members
    ]
    return replace(done, members=by_name([*same, *members]), seen_at_ns=seen_at_ns)


def discard_pack(root_fd: int, pack: LocalEntry, *, parts: str, trash: str) -> None:
    """Move the members of a pack to the trash: all of them, or for now none.

    A kill in between is made good by :func:`fwsync.unpacking.finish.finish_unpacking`: half a
    pack would be taken for one that was edited here.

    Args:
        root_fd: the root.
        pack: as the plan saw it.
        parts: as in :class:`Unpacking`.
        trash: likewise.

    Raises:
        SourceChanged: a member is not what the plan saw; nothing was touched, or all but such.
        FileProblem, LocalError: it cannot be done here.
    """
    assert pack.pack is not None, f"{pack.path}: is no pack"
    members = {one.name: one.entry for one in pack.pack.members}
    task = Unpacking(pack.path, "", members, parts, trash)
    note = Note(pack.path, "", trash, tuple(_step(task, name) for name in members))
    aside = aside_of(parts, pack.path)
    with _begun(root_fd, aside, pack.path, "cannot be moved to the trash") as aside_fd:
        _look_before(root_fd, note)
        write_note(aside_fd, note)
    for problem in carry_out(root_fd, aside, note, again=False).problems:
        raise SourceChanged(f"{problem.path}: {problem.message}")


def names_in(root_fd: int, zip_fd: int, task: Unpacking) -> list[str]:
    """The names that the members of a zip would have below the root.

    Raises:
        FileProblem: as :func:`unpack`.
    """
    try:
        archive = _checked(root_fd, zip_fd, task)
    except OSError as error:
        raise localfs.local_problem(task.path, "cannot be unpacked", error) from None
    skipped = _skipped(archive, task)
    return [member.name[skipped:] for member in archive.members]


@contextlib.contextmanager
def _begun(root_fd: int, aside: str, path: RelPath, what: str) -> Iterator[int]:
    """A folder aside, which goes again if anything in the block fails.

    Args:
        root_fd: the root.
        aside: the folder.
        path: for errors.
        what: likewise: what cannot be done.
    """
    finish(root_fd, aside)  # of a run that died here, or found no space
    try:
        with localfs.folder(root_fd, aside, create=True) as aside_fd:
            yield aside_fd
    except BaseException as error:
        with contextlib.suppress(FwsyncError):
            drop_all(root_fd, aside)
        if isinstance(error, OSError):
            raise localfs.local_problem(path, what, error) from None
        raise


def _tag_of(same: Sequence[PackMember], steps: Sequence[Step]) -> LocalTag:
    """The tag of the pack that is there when all steps are done."""
    kept = [(one.name, one.entry.size, LocalTag(one.entry.etag or "")) for one in same]
    return pack_tag(
        [*kept, *((one.name, one.size, LocalTag(one.tag)) for one in steps if one.part)]
    )


def _write_aside(
    root_fd: int, zip_fd: int, aside_fd: int, task: Unpacking
) -> tuple[list[PackMember], list[Step]]:
    """Write what is new, durable: the members that need no step, and the steps for the rest."""
    archive = _checked(root_fd, zip_fd, task)
    skipped = _skipped(archive, task)
    same: list[PackMember] = []
    steps: list[Step] = []
    open_parts: list[int] = []
    try:
        for member in archive.members:
            name = member.name[skipped:]
            here = task.existing.get(name)
            if here is not None and (tag := _same_tag(root_fd, archive, member, here)):
                same.append(PackMember(name, replace(here, etag=tag)))
                continue
            part = str(len(steps))
            open_parts.append(os.open(part, NEW_FILE, 0o666, dir_fd=aside_fd))
            tag = _write(archive, member, open_parts[-1], task.modified_ns)
            steps.append(_step(task, name, part, member.size, tag))
            if len(open_parts) == GROUP:
                _make_durable(open_parts)
        _make_durable(open_parts)
    finally:
        _close(open_parts)
    inside = {member.name[skipped:] for member in archive.members}
    steps += [_step(task, name) for name in sorted(task.existing.keys() - inside)]
    os.fsync(aside_fd)
    return same, steps


def _skipped(archive: CheckedZip, task: Unpacking) -> int:
    """How many characters of each name are the folder that is left out."""
    around = f"{unicodedata.normalize('NFC', task.around)}/"
    if any(name.startswith(around) for name in task.existing):
        return 0  # a folder of our own
    is_around = all(member.name.startswith(around) for member in archive.members)
    return len(around) if is_around else 0


def _step(task: Unpacking, name: str, part: str = "", size: int = 0, tag: str = "") -> Step:
    here = task.existing.get(name)
    if here is not None:
        stamp = here.stamp
        fields = (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.device, stamp.inode)
        return Step(name, here.on_disk, part, size, tag, fields)
    path = f"{task.folder}/{name}" if task.folder else name
    return Step(name, path, part, size, tag, None)


def _write(archive: CheckedZip, member: Inside, part_fd: int, modified_ns: int) -> LocalTag:
    hasher = TagHasher()
    for block in archive.read(member, BLOCK):
        hasher.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(part_fd, view) :]
    if modified_ns > 0:
        os.utime(part_fd, ns=(modified_ns, modified_ns))
    return hasher.local_tag


def _make_durable(open_parts: list[int]) -> None:
    for part_fd in open_parts:
        localfs.start_writing_out(part_fd)
    for part_fd in open_parts:
        os.fsync(part_fd)
    _close(open_parts)


def _close(open_parts: list[int]) -> None:
    while open_parts:
        os.close(open_parts.pop())


def _same_tag(
    root_fd: int, archive: CheckedZip, member: Inside, here: LocalEntry
) -> LocalTag | None:
    """The tag of a file that holds what the zip has for it; None if it holds something else."""
    if here.size != member.size:
        return None
    hasher = TagHasher()
    file_fd = localfs.open_regular(root_fd, here.on_disk)
    try:
        _expect(file_fd, here)
        with contextlib.closing(archive.read(member, BLOCK)) as blocks:
            for block in blocks:
                if os.pread(file_fd, len(block), hasher.size) != block:
                    return None
                hasher.update(block)
        _expect(file_fd, here)
    finally:
        os.close(file_fd)
    return hasher.local_tag


def _expect(file_fd: int, here: LocalEntry) -> None:
    if localfs.stamp_of(os.fstat(file_fd)) != here.stamp:
        raise SourceChanged(f"{here.path}: changed here since the plan was made")


def _checked(root_fd: int, zip_fd: int, task: Unpacking) -> CheckedZip:
    """The zip, for the disk that the root is on."""
    above, name = localfs.split(task.parts)
    with localfs.folder(root_fd, above) as folder_fd:
        folds = localfs.folds_case(folder_fd, name)
    return CheckedZip(zip_fd, task.path, most_bytes=task.most_bytes, folds=folds)


def _look_before(root_fd: int, note: Note) -> None:
    """Raise if anything is not what the plan saw, as long as nothing was touched."""
    for step in note.steps:
        if localfs.look(root_fd, step.path) != step.seen:
            raise SourceChanged(f"{step.path}: changed here since the plan was made")


def _as_before(here: LocalEntry | None, now: LocalEntry) -> LocalEntry:
    """The entry as the plan had it, with what is there now."""
    return now if here is None else replace(here, stamp=now.stamp, etag=now.etag, digest=None)
