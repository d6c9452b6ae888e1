"""What the header of a DICOM file says: read from disk, and as text for the state.

The one rule: a file is what its bytes say it is. Its name decides nothing, and what is no
DICOM costs one read of 132 bytes.

A :class:`Reading` follows from the bytes alone, so it may be kept for as long as the
file's stamp holds. What the disk refused is an error, and is never kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from fwsync import elements, localfs
from fwsync.elements import Malformed, Source, Walked
from fwsync.errors import FileProblem, SourceChanged
from fwsync.model import LocalEntry, Problem
from fwsync.threads import in_thread

if TYPE_CHECKING:
    from fwsync.mapping.placing import Header
    from fwsync.values import Wanted

#: Files whose headers are read in one go of a thread.
BATCH = 64

#: Threads that read headers. Python lets one of them compute; the other waits for the disk.
THREADS = 2

_FORMAT = 1  # of :func:`pack`

_DICOMDIR = "1.2.840.10008.1.3.10"
_META_CLASS, _META_SYNTAX = 0x00020002, 0x00020010
#: One of these is in every data set. SOP class, SOP instance, study, series.
_IDENTIFIES = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})


class Kind(StrEnum):
    """What a file turned out to be."""

    DICOM = "dicom"
    OTHER = "other"  #: an ordinary file: not DICOM, empty, or a DICOMDIR
    BROKEN = "broken"  #: it says that it is DICOM, and cannot be read as such


@dataclass(frozen=True, slots=True)
class Reading:
    """What the beginning of a file says.

    ``header`` holds what was asked for and is there, by keyword; a tag without a keyword
    is named ``(gggg,eeee)``. It is empty unless ``kind`` is DICOM.
    """

    kind: Kind
    header: Header
    why: str = ""  #: of what is not DICOM: what it is, or what is wrong with it
    notes: tuple[str, ...] = ()  #: what is odd about it, and how it was read all the same


@dataclass(frozen=True, slots=True)
class Look:
    """What came of looking into one file."""

    entry: LocalEntry
    reading: Reading | None = None  #: None: the disk refused, or the file is another by now
    problem: Problem | None = None  #: for people: that it could not be read, or is broken
    read_at_ns: int = 0  #: wall clock just before it was last seen as ``entry`` has it


# --------------------------------------------------------------------------------- one file


def read_header(
    folder_fd: int, on_disk: str, entry: LocalEntry, wanted: Wanted
) -> tuple[Reading, int]:
    """Read one file's header, and make sure that it is the file that was seen.

    Blocks; call it in a thread.

    Args:
        folder_fd: of the root, or of a folder below it that was reached by no link.
        on_disk: the file's path from there, as the file system spells it.
        entry: as the walk saw the file.
        wanted: what to read.

    Returns:
        What it says, and the wall-clock time in nanoseconds just before it was last found
        unchanged (the racy rule of the index).

    Raises:
        SourceChanged: it is gone, is another one, or changed while it was read.
        Unreadable: it cannot be read, or only through a symbolic link.
    """
    fd = localfs.open_regular(folder_fd, on_disk)
    try:
        _expect(fd, entry)
        reading = reading_of(Source(lambda at, n: os.pread(fd, n, at), entry.size), wanted)
        read_at_ns = time.time_ns()
        _expect(fd, entry)
    except OSError as error:
        raise localfs.unreadable(entry.path, error) from error
    finally:
        os.close(fd)
    return reading, read_at_ns


def _expect(fd: int, entry: LocalEntry) -> None:
    if localfs.stamp_of(os.fstat(fd)) != entry.stamp:
        raise SourceChanged(f"{entry.path}: changed since it was seen; it is left for the next run")


def reading_of(source: Source, wanted: Wanted) -> Reading:
    """What some bytes say; reads no more of them than it must."""
    if source.size == 0:
        return _other("it is empty")
    head = source.data[:132] or source.read(0, 132)
    at = elements.begins(head, source.size)
    if at is None:
        return _other("it is not DICOM")
    try:
        walked = _data_set(source, at, wanted)
    except Malformed as problem:
        return _broken(str(problem))
    if walked is None:
        return _other("it is a DICOMDIR, the index of a medium")
    if at == 0 and not _IDENTIFIES & walked.found.keys():
        return _other("it is not DICOM")
    header, notes = wanted.values(walked.found, walked.order)
    return Reading(Kind.DICOM, header, notes=(*walked.notes, *notes))


def _data_set(source: Source, at: int, wanted: Wanted) -> Walked | None:
    """The wanted elements of a file; None for a DICOMDIR."""
    meta = elements.walk(source, at, elements.EXPLICIT_FORM, wanted.tags, elements.META_END)
    notes = [] if at else ["it has no preamble"]
    if _uid(meta, _META_CLASS) == _DICOMDIR:
        return None
    syntax = _uid(meta, _META_SYNTAX)
    if at and syntax is None:
        notes.append("it does not say its transfer syntax")
    start = meta.end
    if syntax == elements.DEFLATED:
        source, note = elements.inflated(source, start)
        start = 0
        notes += [note] if note else []
    form, note = elements.form_of(source, start, syntax)
    notes += [note] if note else []
    walked = elements.walk(source, start, form, wanted.tags, wanted.last)
    walked.found = {**meta.found, **walked.found}
    walked.notes[:0] = notes
    return walked


def _uid(walked: Walked, tag: int) -> str | None:
    _, value = walked.found.get(tag, (b"", b""))
    return value.strip(b"\0 ").decode("ascii", "replace") or None


def _other(why: str) -> Reading:
    return Reading(Kind.OTHER, {}, why)


def _broken(why: str) -> Reading:
    return Reading(Kind.BROKEN, {}, f"its header cannot be read: {why}")


# ------------------------------------------------------------------------------- many files


def read_batch(root: Path, entries: Sequence[LocalEntry], wanted: Wanted) -> list[Look]:
    """Read the headers of files, those of one folder by one descriptor.

    Blocks; call it in a thread.

    Raises:
        Unreadable: the root itself cannot be opened.
    """
    looks: list[Look] = []
    with localfs.root_descriptor(root) as root_fd:
        for folder, group in groupby(entries, key=lambda entry: entry.on_disk.rpartition("/")[0]):
            looks += _read_folder(root_fd, folder, list(group), wanted)
    return looks


def _read_folder(
    root_fd: int, folder: str, entries: list[LocalEntry], wanted: Wanted
) -> Iterator[Look]:
    try:
        folder_fd = localfs.open_folder(root_fd, folder)
    except OSError as error:
        for entry in entries:
            problem = Problem.of(entry.path, localfs.unreadable(entry.path, error))
            yield Look(entry, problem=problem)
        return
    try:
        for entry in entries:
            yield _look(folder_fd, entry, wanted)
    finally:
        os.close(folder_fd)


def _look(folder_fd: int, entry: LocalEntry, wanted: Wanted) -> Look:
    name = entry.on_disk.rpartition("/")[2]
    try:
        reading, read_at_ns = read_header(folder_fd, name, entry, wanted)
    except FileProblem as error:
        # The message may name the file as it was opened: by its name alone.
        return Look(entry, problem=replace(Problem.of(name, error), path=entry.path))
    problem = None
    if reading.kind is Kind.BROKEN:
        hint = "look at it with a DICOM viewer; exclude it if it is not to be sent"
        problem = Problem(entry.path, reading.why, hint)
    return Look(entry, reading, problem, read_at_ns)


async def read_headers(
    root: Path, entries: Iterable[LocalEntry], wanted: Wanted, *, threads: int = THREADS
) -> AsyncGenerator[Look, None]:
    """Read the headers of any number of files, in the order they are given.

    Memory holds a few batches. Close the iterator (``contextlib.aclosing``) if you leave
    early: it waits for the threads that still read.

    Args:
        root: the root that the entries were found below.
        entries: as the walk saw them; sorted ones are read fastest. Not blocking.
        wanted: what to read.
        threads: batches that are read at the same time.

    Raises:
        Unreadable: the root itself cannot be opened.
    """
    source = iter(entries)
    under_way: deque[asyncio.Task[list[Look]]] = deque()
    try:
        while True:
            while len(under_way) < threads and (batch := list(islice(source, BATCH))):
                under_way.append(asyncio.ensure_future(in_thread(read_batch, root, batch, wanted)))
            if not under_way:
                return
            for look in await under_way[0]:
                yield look
            under_way.popleft()
    finally:
        # Whoever left does not want what these say, and waits for their threads all the same.
        await asyncio.gather(*under_way, return_exceptions=True)


# -------------------------------------------------------------------------------- the state


def pack(reading: Reading, wanted: Wanted) -> str:
    """A reading as a line of JSON, for the state."""
    content = [_FORMAT, wanted.sign, reading.kind, reading.header, reading.why, reading.notes]
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def unpack(text: str, wanted: Wanted) -> Reading | None:
    """What :func:`pack` was given.

    Returns:
        None if the text was written for other tags, or by another version: read again.
    """
    try:
        form, sign, kind, header, why, notes = json.loads(text)
        if (form, sign) != (_FORMAT, wanted.sign):
            return None
        return Reading(Kind(kind), header, why, tuple(notes))
    except (ValueError, TypeError):
        return None
