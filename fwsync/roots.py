"""What lies in and around a root on disk: its folder, marker, parts.

Its rule: nothing of ours is ever a file of the user's. Below the root we own one folder,
:data:`RESERVED`, and in it only names of this module; no SQL is spoken here.

::

    <root>/.fwsync/          0700, never scanned
        state.db             the state (or its saved copy, where it cannot be used in place)
        remotes              which remote has which state file: name, remote, the remote's name
                             for people, and "gone" where another has taken that; one a line
        marker               the root's own id, so that an empty mount point is not taken for it
        lock                 held by the process that works on the root (a lock of the kernel)
        state.db.lock        the same for a state file
        state.db.lock.host   held by a host, where several see the same saved copy
        parts/  trash/       on the root's own file system, so that renaming is possible
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import struct
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from fwsync.digest import short_name
from fwsync.errors import LocalError, UsageError

#: The one name below a root that is ours; never scanned, never synced.
RESERVED = ".fwsync"

#: How a file system is asked for the generation of an inode. Source: linux/fs.h, FS_IOC_GETVERSION.
_GET_GENERATION = 0x80087601

#: Names of files on their way: see :func:`part_name`.
_PART = re.compile(r"[0-9a-f]{32}(?:\.[0-9a-z]{1,16})?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of a root is, as :mod:`fwsync.whereabouts` says. It need not exist yet."""

    root: Path  #: real path
    state_file: Path  #: the file to open, always on a local file system
    work_copy_of: Path | None  #: the saved copy that ``state_file`` is restored from
    root_lock: Path
    state_lock: Path
    host_lock: Path | None  #: only with ``work_copy_of``: other hosts see that file too
    remotes: Path  #: which remote has which state file
    folder: Path | None  #: below the root; None: nothing may be written there
    parts: Path | None  #: as ``folder``
    trash: Path | None  #: as ``folder``
    marker: Path | None  #: as ``folder``
    note: str  #: why the state is not below the root, a sentence for the user; or empty
    granularity_ns: int  #: of the root's file system, for the state's racy rule
    record: Path | None = None  #: remembers the root outside of it: see ``known_roots``


# ------------------------------------------------------------------------------- the root


def prepare_root(root: Path, *, create: bool = False) -> Path:
    """The real path of a root, after a look that it can be one.

    A symbolic link to a directory is fine: it names the directory.

    Args:
        root: as the user gave it.
        create: make it if it is missing (for a first ``pull``).

    Raises:
        UsageError: missing, not a directory, or inside another root.
        LocalError: it cannot be made.
    """
    if create:
        with local_error(f"{root}: the directory cannot be made"):
            # An existing file is told apart below.
            if not os.path.lexists(root):
                root.mkdir(parents=True)
    real = Path(os.path.realpath(root))
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        raise UsageError(
            f"{root}: there is no such directory",
            hint="check the spelling, and that its disk or share is mounted",
        ) from None
    except OSError as error:
        raise UsageError(f"{root}: the directory cannot be looked at ({error.strerror})") from error
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{root}: not a directory; expected the directory to keep in step")
    if RESERVED in real.parts:
        raise UsageError(
            f"{root}: inside {RESERVED}, which belongs to fwsync",
            hint=f"name the directory that holds {RESERVED}",
        )
    for parent in real.parents:
        if _is_kept(parent):
            raise UsageError(
                f"{root}: inside {parent}, which is kept in step already",
                hint=_hint_of_inside(real, parent),
            )
    return real


def _hint_of_inside(folder: Path, root: Path) -> str:
    """What to do where a folder in a root was named."""
    inside = folder.relative_to(root).as_posix()
    pattern = "".join(f"\\{one}" if one in "\\*?[]" else one for one in f"/{inside}/")
    return (
        f"name `{shlex.quote(str(root))}`; of a run on it, `--include {shlex.quote(pattern)}` lets "
        "this folder alone take part (or name one outside: roots must not overlap)"
    )


def missing(root: Path) -> list[Path]:
    """The folders that would have to be made for a root, the deepest first."""
    found = []
    for one in (root, *root.parents):
        if os.path.lexists(one):
            break
        found.append(one)
    return found


def remove_made(folders: Sequence[Path]) -> None:
    """Take away folders that were made for nothing; what has something in it stays.

    Args:
        folders: as :func:`missing` gave them before they were made, the deepest first.
    """
    with contextlib.suppress(OSError):
        for one in folders:
            one.rmdir()


@dataclass(slots=True)
class Made:
    """The folders that a run has made for its root; taken away again if the run is refused.

    A call may be refused late: by the first listing, if it names a label that is not there.
    What holds a file of the user's stays, whatever happens.
    """

    folders: list[Path] = field(default_factory=list)  #: as :func:`missing` gave them before
    has_state: bool = False  #: the state is in the root: only a refusal takes that away

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.has_state:
            remove_made(self.folders)
        elif self.folders and kind is not None and issubclass(kind, UsageError):
            with contextlib.suppress(OSError):
                if _is_unused(self.folders[0]):
                    shutil.rmtree(self.folders[0] / RESERVED)
                    remove_made(self.folders)


def _is_unused(root: Path) -> bool:
    """True if nothing is in a root, nor on its way into it, nor in its trash."""
    own = root / RESERVED
    kept = [
        one
        for name in ("parts", "trash")
        if (own / name).exists()
        for one in (own / name).iterdir()
    ]
    return not kept and [one.name for one in root.iterdir()] == [RESERVED]


def _is_kept(folder: Path) -> bool:
    """True for a root; one whose state was never given a remote is none."""
    own = folder / RESERVED
    if root_id(folder) is None:
        return False
    # Where the state is not in it, as on clusters, what it knows cannot be told from here.
    return not (own / "state.db").exists() or any(own.glob("*remotes"))


def prepare_place(place: Place, announce: Callable[[str], None] = lambda _: None) -> str:
    """Make the folders that the place needs; gives the root's id, made on first use.

    Args:
        place: of the root.
        announce: is told of a new id before that is written: see :func:`known_roots.announce`.

    Returns:
        The id in the marker; empty where nothing may be written below the root.

    Raises:
        LocalError: no space, no access, or a folder on another device than the root.
    """
    with local_error(f"{place.root}: its folder {RESERVED} cannot be set up"):
        for path in (place.state_file, place.remotes, place.root_lock):
            make_folder(path.parent, place.root)
        if place.folder is None or place.marker is None:
            return ""
        for folder in (place.folder, place.parts, place.trash):
            if folder is not None:
                folder.mkdir(mode=0o700, exist_ok=True)
                _same_device(folder, place.root)
        known = root_id(place.root)
        if known is None:
            known = secrets.token_hex(16)
            announce(known)
            made = {"id": known, "created": datetime.now(UTC).isoformat(timespec="seconds")}
            write_aside(place.marker, json.dumps(made) + "\n")
        return known


def make_folder(folder: Path, root: Path) -> None:
    """A private folder; never the root itself, which may have just been unmounted."""
    folder.mkdir(mode=0o700, parents=not folder.is_relative_to(root), exist_ok=True)


def _same_device(folder: Path, root: Path) -> None:
    """Refuse at the start what would fail at the first rename (EXDEV)."""
    if folder.is_symlink() or folder.stat().st_dev != root.stat().st_dev:
        raise LocalError(
            f"{folder}: a link or on another device than {root}; files are renamed out of it",
            hint="make it an ordinary directory of the root's own file system",
        )


def root_id(root: Path) -> str | None:
    """The id in the root's marker; None: there is no marker, or it cannot be read as one."""
    try:
        return str(json.loads((root / RESERVED / "marker").read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def identity(root: Path) -> str:
    """What tells a folder from another one that later stands in its place on the same disk.

    The number of its inode, and what the file system gives to each use of that number, where it
    says so: a number that is free again is given to the next folder. Empty: it cannot be told.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        number = os.fstat(fd).st_ino
        with contextlib.suppress(OSError):
            (used,) = struct.unpack(
                "l", fcntl.ioctl(fd, _GET_GENERATION, bytes(struct.calcsize("l")))
            )
            return f"{number}.{used}"
        return str(number)
    finally:
        os.close(fd)


def check_marker(root: Path, expected_id: str) -> str:
    """Why this is not the root that was known by ``expected_id``, or an empty text.

    An unmounted disk leaves an empty directory, and a swapped one another tree: neither
    means that every file was deleted.
    """
    if not expected_id:
        return ""
    try:
        mode = root.lstat().st_mode
    except OSError as error:
        return f"{root}: the root is gone ({error.strerror})"
    if not stat.S_ISDIR(mode):
        return f"{root}: the root is not a directory any more"
    found = root_id(root)
    if found is None:
        return f"{root}: the root has lost its marker; is its disk or share mounted?"
    if found != expected_id:
        return f"{root}: this is another root than before (marker {found[:8]})"
    return ""


def part_name(path: str) -> str:
    """The name in ``parts/`` of a file on its way to ``path``: short, whatever the path."""
    return f"{short_name(path)}.part"


def clean_parts(parts: Path, keep: Set[str] = frozenset()) -> int:
    """Remove what killed runs have left; the caller holds the root's lock.

    Args:
        parts: the folder.
        keep: names of parts that a later run goes on with.

    Returns:
        How many files; anything that does not bear a name of ours is left alone.
    """
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(parts) as items:
        for item in items:
            if item.name in keep:
                continue
            if _PART.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    Path(item.path).unlink()
                removed += 1
    return removed


# ------------------------------------------------------------------------------ small hands


@contextlib.contextmanager
def local_error(what: str) -> Iterator[None]:
    """An OSError in our words: what could not be done, and why."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"{what} ({error.strerror or error})") from error


def write_aside(target: Path, text: str) -> None:
    """A small text file, whole or not there, durably."""
    aside = target.with_name(f"{target.name}.new")
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(fd)
    aside.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
