"""What is remembered of a root outside of it, so that an empty mount point is not taken for new.

The one rule: a record is a warning, never a need. A root with one of its markers is that root,
whatever device it lies on; and without a record, or where none can be kept, all goes on as for
a folder that was never seen.

The state of most roots lies in them, and goes when their disk does. What is left is an empty
folder: a sync would fetch all of the project onto the system's disk, and a watch would
see nothing for ever. So the user's state folder has a small file for each root on this host:
``roots/<name>.json``, with the root's path, the ids of its markers, the number of its device
and what tells the folder from another of its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fwsync.errors import Halted, LocalError, UsageError
from fwsync.roots import RESERVED, identity, root_id, write_aside
from fwsync.whereabouts import record_file

#: Folders below a root that a refusal names.
_NAMED = 3

#: Markers that are remembered of one path: disks that take turns.
_MOST_IDS = 8

_HINT = (
    "mount the disk or share that belongs there; if the folder was emptied or replaced on "
    "purpose, --new-root begins with it anew"
)


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """A folder that was used as a root."""

    root: str  #: its real path
    ids: tuple[
        str, ...
    ]  #: of its markers, the last one last; empty: nothing could be written there
    device: int  #: of the file system that it was on last; may be another after each mount
    folder: str = ""  #: see :func:`fwsync.roots.identity`; empty: not known


def check(
    folder: Path, env: Mapping[str, str], *, makes: bool = False, fetches_only: bool = False
) -> None:
    """Halt where a known root has gone, or something else stands in its place.

    Nothing is written; for before anything of ours is made there, which would hide it.

    Args:
        folder: as the user gave it.
        env: the environment: says where the records are.
        makes: the folder is made if it is missing.
        fetches_only: the run only comes down: into a folder that was emptied it may.

    Raises:
        Halted: with what was expected, and what is there.
    """
    at = _named(folder)
    known = _read(at, env)
    if known is None and at.is_symlink():
        at = Path(os.path.realpath(at))
        known = _read(at, env)
    if known is None:
        return
    try:
        status = at.lstat()
    except FileNotFoundError:
        if makes:
            return
        raise Halted(f"{folder}: is kept in step, and the folder is gone", hint=_HINT) from None
    except OSError as error:
        raise Halted(
            f"{folder}: is kept in step, and cannot be looked at ({error.strerror})", hint=_HINT
        ) from None
    if stat.S_ISLNK(status.st_mode):
        _check_link(folder, at, known)
    elif not stat.S_ISDIR(status.st_mode):
        raise Halted(f"{folder}: was a folder that is kept in step, and is a file now", hint=_HINT)
    else:
        _check_folder(folder, at, known, status.st_dev, fetches_only=fetches_only)


def check_alone(folder: Path, env: Mapping[str, str]) -> None:
    """A folder is not kept in step for the first time while one below it is.

    From then on the one below would be inside of a root, and every command on it be refused.

    Args:
        folder: as the user gave it.
        env: the environment: says where the records are.

    Raises:
        UsageError: with the folders below it; nothing was made.
    """
    at = folder.resolve()  # a link to it is no other folder
    records = record_file(at, env)
    if records is None or root_id(at) is not None:
        return
    below = []
    for file in sorted(records.parent.glob("*.json")):
        known = _record(file)
        if known is None or not Path(known.root).is_relative_to(at) or known.root == str(at):
            continue
        if root_id(Path(known.root)) in known.ids:
            below.append(known.root)
    if below:
        more = f" and {len(below) - _NAMED} more" if len(below) > _NAMED else ""
        raise UsageError(
            f"{folder}: holds {', '.join(below[:_NAMED])}{more}, kept in step already; expected a "
            "folder without one",
            hint="name that folder, or one beside it; roots must not overlap",
        )


def _check_link(folder: Path, at: Path, known: KnownRoot) -> None:
    """A root may have moved, and a link lead there: its marker has moved along."""
    if root_id(at) not in known.ids:
        raise Halted(
            f"{folder}: was a folder that is kept in step, and is a symbolic link to another now",
            hint=_HINT,
        )


def _check_folder(
    folder: Path, at: Path, known: KnownRoot, device: int, *, fetches_only: bool
) -> None:
    found = root_id(at)
    if found is not None:
        if known.ids and found not in known.ids:
            raise Halted(
                f"{folder}: is another root than the one that was kept in step here (marker "
                f"{found[:8]}, not {known.ids[-1][:8]})",
                hint=_HINT,
            )
        return
    moved = device != known.device
    if _is_bare(at):
        # A root that had no marker may have been emptied, which the plan's guards see.
        if moved or (known.ids and not fetches_only):
            raise Halted(
                f"{folder}: is empty, where a folder was kept in step; is its disk mounted?",
                hint=_HINT,
            )
    elif moved and known.ids:
        raise Halted(
            f"{folder}: has lost its marker and is on another disk than before; is the right one "
            "mounted?",
            hint=_HINT,
        )
    elif not fetches_only and _is_replaced(at, known):
        raise Halted(
            f"{folder}: is another folder than the one that was kept in step here; it has files, "
            "and no marker of that one",
            hint=_HINT,
        )


def _is_replaced(at: Path, known: KnownRoot) -> bool:
    """True for a folder that was made anew; in the old one only a state was thrown away."""
    now = identity(at)
    if not known.ids or not known.folder or not now or _are_one(now, known.folder):
        return False
    return not (at / RESERVED / "state.db").exists()


def _are_one(now: str, known: str) -> bool:
    """True for one folder: what one of the two does not tell is no difference."""
    number, _, use = now.partition(".")
    was, _, used = known.partition(".")
    return number == was and (use == used or not use or not used)


def _is_bare(folder: Path) -> bool:
    """True if nothing of the user's is in it."""
    try:
        with os.scandir(folder) as entries:
            return all(entry.name in (RESERVED, "lost+found") for entry in entries)
    except OSError:
        return False  # whoever walks it says so


def remember(file: Path | None, root: Path, id_: str) -> None:
    """Keep in mind that this folder is a root; the caller holds its lock.

    Args:
        file: as :func:`fwsync.whereabouts.record_file` gives it.
        root: its real path.
        id_: of its marker; empty: it has none.
    """
    if file is None:
        return
    with contextlib.suppress(OSError, LocalError):
        known = _at(file, root) or KnownRoot(str(root), (), 0)
        ids = tuple(one for one in known.ids if one != id_)[1 - _MOST_IDS :]
        now = replace(
            known,
            ids=(*ids, id_) if id_ else ids,
            device=root.stat().st_dev,
            folder=identity(root),
        )
        if now != known:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_aside(file, json.dumps(asdict(now)) + "\n")


def announce(file: Path | None, root: Path, id_: str) -> None:
    """Keep a marker in mind that is about to be written, where the root is known by others.

    Else who is killed between the two leaves a root that is taken for another. A root that is
    not known yet needs no such word: without a record, whatever stands there will do.
    """
    if file is not None and _at(file, root) is not None:
        remember(file, root, id_)


def _named(folder: Path) -> Path:
    """A folder by its own name, in the real path of the one above it."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 - a link at its end is looked at itself
    return Path(os.path.realpath(whole.parent)) / whole.name


def _read(root: Path, env: Mapping[str, str]) -> KnownRoot | None:
    file = record_file(root, env)
    return None if file is None else _at(file, root)


def _at(file: Path, root: Path) -> KnownRoot | None:
    known = _record(file)
    return known if known is not None and known.root == str(root) else None


def _record(file: Path) -> KnownRoot | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        known = KnownRoot(str(found["root"]), tuple(found["ids"]), int(found["device"]))
        return replace(known, folder=str(found.get("folder", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
