"""The folder aside: the note that says that all of it is complete, and what may remain of it.

The one rule: a note that has its name is finished; a folder without one is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from fwsync import localfs
from fwsync.digest import short_name
from fwsync.errors import FileProblem
from fwsync.model import RelPath, Stamp

#: Folders aside bear it after a short name; parts of files have no such ending.
ASIDE: Final = ".unpacking"
_RECEIPT: Final = ".unpacked.json"  # with two dots: no part, which is cleaned away
_NOTE: Final = "note"
_DRAFT: Final = "draft"

#: How a file aside is opened to be written.
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is kept of a zip that was unpacked, until that is recorded.

    True for ever: whoever has members of this tag has all of this zip.
    """

    version: str  #: the server's tag of the zip
    tag: str  #: of the pack that its members are (:func:`fwsync.digest.pack_tag`)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do once the note is written: give a part its name, or discard a file."""

    name: str  #: in the pack
    path: str  #: on disk, below the root
    part: str  #: its name in the folder aside; empty: the file is discarded
    size: int  #: bytes of the part
    tag: str  #: of the part
    replaces: tuple[int, ...] | None  #: the fields of the stamp that the plan saw; None: nothing

    @property
    def seen(self) -> Stamp | None:
        """What the plan saw under this path; None: nothing."""
        return None if self.replaces is None else Stamp(*self.replaces)


@dataclass(frozen=True, slots=True)
class Note:
    """All that is needed to finish."""

    path: str  #: the pack's
    folder: str  #: where its members belong, on disk
    trash: str  #: the folder for bytes that are replaced
    steps: tuple[Step, ...]
    version: str = ""  #: for the :class:`Receipt`; empty: none is kept
    tag: str = ""  #: likewise

    @property
    def head(self) -> bytes:
        """Its first line."""
        told = {"path": self.path, "folder": self.folder, "trash": self.trash}
        told |= {"version": self.version, "tag": self.tag}
        return f"{json.dumps(told)}\n".encode("ascii")


def aside_of(parts: str, path: RelPath) -> str:
    """The folder aside of a pack, below the root."""
    return f"{parts}/{short_name(path)}{ASIDE}"


def write_note(aside_fd: int, note: Note) -> None:
    """Say that all parts are complete. From the moment it has its name, the work is finished."""
    with os.fdopen(os.open(_DRAFT, NEW_FILE, 0o600, dir_fd=aside_fd), "wb") as file:
        file.write(note.head)
        for step in note.steps:
            file.write(f"{json.dumps(asdict(step))}\n".encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    os.rename(_DRAFT, _NOTE, src_dir_fd=aside_fd, dst_dir_fd=aside_fd)
    os.fsync(aside_fd)


def read_note(root_fd: int, aside: str) -> Note | None:
    """The note in a folder aside; None if it has none.

    Raises:
        FileProblem: it cannot be read.
    """
    if localfs.is_free(root_fd, f"{aside}/{_NOTE}"):
        return None
    try:
        note_fd = localfs.open_regular(root_fd, f"{aside}/{_NOTE}")
        with os.fdopen(note_fd, encoding="ascii") as file:
            head, *steps = map(json.loads, file)
            return Note(**head, steps=tuple(Step(**one) for one in steps))
    except (OSError, ValueError, TypeError) as error:
        raise FileProblem(
            f"{aside}/{_NOTE}: cannot be read ({error}); a pack was being unpacked there",
            hint="move this folder away, and keep it until all files of the pack are found",
        ) from None


def drop_all(root_fd: int, aside: str) -> None:
    """Remove a folder aside; the note goes first, so that no half of it is ever finished."""
    with contextlib.suppress(FileNotFoundError):
        try:
            with localfs.folder(root_fd, aside) as aside_fd:
                if _NOTE in (names := os.listdir(aside_fd)):
                    os.unlink(_NOTE, dir_fd=aside_fd)
                    os.fsync(aside_fd)
                for name in names:
                    if name.isdecimal() or name == _DRAFT:
                        os.unlink(name, dir_fd=aside_fd)
            above, _, name = aside.rpartition("/")
            with localfs.folder(root_fd, above) as above_fd:
                os.rmdir(name, dir_fd=above_fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise localfs.local_problem(aside, "cannot be removed", error) from None


def left_there(root_fd: int, parts: str) -> Callable[[RelPath], bool]:
    """Says of a pack's path if a run may have left a note or a receipt; what is there now.

    Raises:
        LocalError: the folder for parts cannot be listed.
    """
    try:
        with localfs.folder(root_fd, parts) as parts_fd:
            names = os.listdir(parts_fd)
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise localfs.local_problem(parts, "cannot be listed", error) from None
    left = {name.partition(".")[0] for name in names if name.endswith((ASIDE, _RECEIPT))}
    return lambda path: bool(left) and short_name(path) in left


def is_begun(root_fd: int, parts: str, path: RelPath) -> bool:
    """Is there a note of this pack, so that some of it may be in place and some not?"""
    return not localfs.is_free(root_fd, f"{aside_of(parts, path)}/{_NOTE}")


def receipt_of(root_fd: int, parts: str, path: RelPath) -> Receipt | None:
    """What was kept of the last zip of this path that was unpacked; None: nothing."""
    try:
        receipt_fd = localfs.open_regular(root_fd, f"{parts}/{short_name(path)}{_RECEIPT}")
        with os.fdopen(receipt_fd, encoding="ascii") as file:
            told = json.loads(file.readline())
        return Receipt(told["version"], told["tag"]) if told["path"] == path else None
    except (FileProblem, OSError, ValueError, LookupError, TypeError):
        return None


def drop_receipts(root_fd: int, parts: str, paths: Iterable[RelPath]) -> None:
    """Drop what was kept of these: it is recorded now."""
    for path in paths:
        localfs.remove(root_fd, f"{parts}/{short_name(path)}{_RECEIPT}")


def keep_receipt(root_fd: int, aside: str, note: Note) -> None:
    """Keep the note's first line after the note: that all of it is done, and what came of it."""
    above, _, name = aside.rpartition("/")
    receipt = f"{name.removesuffix(ASIDE)}{_RECEIPT}"
    try:
        with localfs.folder(root_fd, aside) as from_fd, localfs.folder(root_fd, above) as to_fd:
            os.rename(_NOTE, receipt, src_dir_fd=from_fd, dst_dir_fd=to_fd)
            receipt_fd = os.open(receipt, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=to_fd)
            try:
                os.ftruncate(receipt_fd, len(note.head))
            finally:
                os.close(receipt_fd)
    except OSError as error:
        raise localfs.local_problem(aside, "cannot be removed", error) from None
