"""What lies in and around a root on disk: where the state goes, marker, parts.

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
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fwsync.digest import short_name
from fwsync.errors import LocalError, UsageError
from fwsync.filesystems import FileSystem, filesystem_of

#: The one name below a root that is ours; never scanned, never synced.
RESERVED = ".fwsync"

#: Names of files on their way: see :func:`part_name`.
_PART = re.compile(r"[0-9a-f]{32}(?:\.[0-9a-z]{1,16})?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of a root is. Nothing of it need exist yet."""

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
                hint="name that directory, or one outside of it; roots must not overlap",
            )
    return real


def _is_kept(folder: Path) -> bool:
    """True for a root; one whose state was never given a remote is none."""
    own = folder / RESERVED
    if root_id(folder) is None:
        return False
    # Where the state is not in it, as on clusters, what it knows cannot be told from here.
    return not (own / "state.db").exists() or any(own.glob("*remotes"))


def prepare_place(place: Place) -> str:
    """Make the folders that the place needs; gives the root's id, made on first use.

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
            made = {"id": known, "created": datetime.now(UTC).isoformat(timespec="seconds")}
            _write_aside(place.marker, json.dumps(made) + "\n")
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


def clean_parts(parts: Path) -> int:
    """Remove what killed runs have left; the caller holds the root's lock.

    Returns:
        How many files; anything that does not bear a name of ours is left alone.
    """
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(parts) as items:
        for item in items:
            if _PART.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    Path(item.path).unlink()
                removed += 1
    return removed


# ----------------------------------------------------------------------- where the state is


def locate(
    root: Path,
    remote_key: str | None,
    *,
    state_option: Path | None = None,
    env: Mapping[str, str],
    read_only: bool = False,
    service: bool = False,
    filesystem_of: Callable[[Path], FileSystem] = filesystem_of,
) -> Place:
    """Where the state of a root and a remote lies; nothing is written.

    Below the root if that is writable and on a local disk, and we are no service; else in
    the service's or the user's state folder; and if that is on a network too, as it is on
    clusters, a working copy in the temporary folder. A second remote of the same root has
    a state file of its own.

    Args:
        root: from :func:`prepare_root`.
        remote_key: the remote, one line of text that never changes for it; None: the
            only one that is known here.
        state_option: ``--state FILE``, which is then used and nothing else.
        env: the environment: TMPDIR, HOME, XDG_STATE_HOME, STATE_DIRECTORY.
        read_only: the run must not write below the root at all. (For a look at a root's
            own state leave it out, and open the state itself read-only.)
        service: run by systemd; so is any process with STATE_DIRECTORY.
        filesystem_of: tells the type of a path's file system.

    Raises:
        UsageError: no remote was named and several are known.
        LocalError: there is no local file system to keep the state on.
    """
    root = Path(os.path.realpath(root))
    disk = filesystem_of(root)
    folder = None if read_only else _own_folder(root)
    stem = short_name(os.fsencode(root).decode("utf-8", "surrogateescape"))[:16]
    note, saved_in = "", None
    if state_option is not None:
        home = Path(os.path.realpath(state_option)).parent
        if (kind := filesystem_of(home)).is_network:
            raise LocalError(
                f"{state_option}: on a network file system ({kind.type}); "
                "the state file must be on a local disk",
                hint="name a file on a local disk, or leave --state out",
            )
        note = f"The state is in {state_option}, as --state says."
    elif why := _why_not_below(root, folder, disk, service or bool(env.get("STATE_DIRECTORY"))):
        home = _state_home(env)
        if (kind := filesystem_of(home)).is_network:
            home, saved_in = _scratch(env, filesystem_of), folder or home
            note = (
                f"The state is kept in {saved_in} and used as a copy in {home}, because {why} "
                f"and the user's state folder is on a network file system ({kind.type})."
            )
        else:
            note = f"The state is in {home}, because {why}."
    else:
        assert folder is not None
        home = folder

    home = Path(os.path.realpath(home))
    if home.is_relative_to(root) and not home.is_relative_to(root / RESERVED):
        raise UsageError(
            f"{home}: inside the root {root}; the state file would be synced itself",
            hint=f"name a file outside of the root, or in {root / RESERVED}: `--state FILE`",
        )
    # A saved copy keeps the names that the state would have in its folder.
    names = saved_in or home
    prefix = "" if names == folder else stem
    remotes = names / (f"{prefix}.remotes" if prefix else "remotes")
    if state_option is not None:
        state_file = Path(os.path.realpath(state_option))
        remotes = home / f"{state_file.name}.remotes"
        name = state_file.name
    else:
        name = _state_name(remotes, remote_key, prefix or "state")
        state_file = home / (f"{stem}-{name}" if saved_in else name)
    if folder is not None:
        root_lock = folder / "lock"
    else:
        # By device and inode, so that other spellings and bind mounts of the root meet.
        with local_error(f"{root}: cannot be looked at"):
            here = root.stat()
        root_lock = home / f"root-{here.st_dev:x}-{here.st_ino:x}.lock"
    return Place(
        root=root,
        state_file=state_file,
        work_copy_of=saved_in / name if saved_in else None,
        root_lock=root_lock,
        state_lock=state_file.with_name(f"{state_file.name}.lock"),
        host_lock=saved_in / f"{name}.lock.host" if saved_in else None,
        remotes=remotes,
        folder=folder,
        parts=folder / "parts" if folder else None,
        trash=folder / "trash" if folder else None,
        marker=folder / "marker" if folder else None,
        note=note,
        granularity_ns=disk.time_granularity_ns,
    )


def _own_folder(root: Path) -> Path | None:
    """The folder below the root, if we may write there."""
    folder = root / RESERVED
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return folder if os.access(root, os.W_OK | os.X_OK, effective_ids=True) else None
    except OSError:
        return None
    if not stat.S_ISDIR(mode):
        raise LocalError(
            f"{folder}: not a directory; the name belongs to fwsync",
            hint="rename it, then run again",
        )
    return folder if os.access(folder, os.W_OK | os.X_OK, effective_ids=True) else None


def _why_not_below(root: Path, folder: Path | None, disk: FileSystem, service: bool) -> str:
    if service:
        return "this is a service with a state folder of its own"
    if folder is None:
        return f"nothing may be written below {root}"
    if disk.is_network:
        return f"{root} is on a network file system ({disk.type})"
    return ""


def _state_home(env: Mapping[str, str]) -> Path:
    # Sources: systemd.exec(5), StateDirectory=; XDG Base Directory 0.8: relative is invalid
    if service := env.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(service)
    if (xdg := env.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(xdg) / "fwsync"
    if home := env.get("HOME"):
        return Path(home) / ".local" / "state" / "fwsync"
    raise LocalError(
        "there is no place for the state file: HOME is not set",
        hint="set HOME or XDG_STATE_HOME, or name a file on a local disk: `--state FILE`",
    )


def _scratch(env: Mapping[str, str], filesystem_of: Callable[[Path], FileSystem]) -> Path:
    """A folder of our own in the temporary folder, which others may write to as well."""
    home = Path(env.get("TMPDIR") or "/tmp") / f"fwsync-{os.getuid()}"  # noqa: S108 - checked
    if (kind := filesystem_of(home)).is_network:
        raise LocalError(
            f"{home}: on a network file system ({kind.type}), as are the root and the home; "
            "the state file needs a local disk while it is in use",
            hint="set TMPDIR to a folder on a local disk of this machine, or use `--state FILE`",
        )
    _check_private(home)
    return home


def _check_private(home: Path) -> None:
    """Refuse a folder that another user has put where ours would be."""
    with contextlib.suppress(FileNotFoundError):
        found = home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise LocalError(
                f"{home}: not a private directory of ours",
                hint="remove it, or set TMPDIR to another folder on a local disk",
            )


@dataclass(frozen=True, slots=True)
class KnownRemote:
    """A remote that has a state file here."""

    state_name: str  #: of its state file
    key: str  #: what never changes for it
    name: str  #: for people: group/project
    gone: bool = False  #: it is there no more, and another one bears its name

    def answers_to(self, text: str) -> bool:
        """True if it may be meant by a name, or by ``<id:…>``, the end of its key."""
        return text in (self.name, f"<id:{self.key.rpartition(' ')[2]}>")


def known_remotes(remotes: Path) -> list[KnownRemote]:
    """The remotes of a root, in the order they were first used here."""
    try:
        lines = remotes.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    parts = [line.split("\t") for line in lines if "\t" in line]
    return [
        KnownRemote(one[0], one[1], one[2] if len(one) > 2 else one[1], one[3:] == ["gone"])
        for one in parts
    ]


def register(place: Place, remote_key: str, name: str = "", *, gone: Collection[str] = ()) -> None:
    """Note that this remote has this state file; the caller holds the root's lock.

    Args:
        place: of the remote.
        remote_key: as for :func:`locate`.
        name: for people.
        gone: the keys of remotes that are no more, and that this one replaces. They keep
            their state files, so that no other remote is ever given one of these.
    """
    if remote_key != " ".join(remote_key.splitlines()) or "\t" in remote_key:
        raise ValueError("a remote's key is one line without tabs")
    shown = " ".join(name.split()) or remote_key  # a label may hold anything
    state_name = (place.work_copy_of or place.state_file).name
    ours = KnownRemote(state_name, remote_key, shown)
    before = known_remotes(place.remotes)
    known = [replace(one, gone=True) if one.key in gone else one for one in before]
    if ours not in known:
        known = [one for one in known if one.state_name != state_name] + [ours]
    if known != before:
        lines = [
            f"{one.state_name}\t{one.key}\t{one.name}" + ("\tgone\n" if one.gone else "\n")
            for one in known
        ]
        with local_error(f"{place.remotes}: cannot be written"):
            _write_aside(place.remotes, "".join(lines))


def _state_name(remotes: Path, remote_key: str | None, stem: str) -> str:
    known = known_remotes(remotes)
    for one in known:
        if one.key == remote_key:
            return one.state_name
    meant = [
        one for one in known if not one.gone and (remote_key is None or one.answers_to(remote_key))
    ]
    if len(meant) == 1:
        return meant[0].state_name
    if meant:
        names = [one.name for one in meant]
        shown = [
            one.name if names.count(one.name) == 1 else f"{one.name} ({one.key})" for one in meant
        ]
        raise UsageError(
            f"{remotes.parent.parent}: is kept in step with more than one project: "
            + ", ".join(shown),
            hint="name the one that is meant: GROUP/PROJECT, or <id:…> where two share a name",
        )
    if remote_key is None or all(one.state_name != f"{stem}.db" for one in known):
        return f"{stem}.db"
    return f"{stem}-{short_name(remote_key)[:8]}.db"


def restore_work_copy(place: Place) -> None:
    """Put the saved state in place for this run; the caller holds the locks.

    The saved copy is the state. What an earlier run has left in the temporary folder is
    dropped even if it knew more: another host may have gone on since.

    Raises:
        LocalError: no space, or the saved copy cannot be read.
    """
    if place.work_copy_of is None:
        return
    file = place.state_file
    with local_error(f"{place.work_copy_of}: the saved state cannot be copied to {file.parent}"):
        make_folder(file.parent, place.root)
        _check_private(file.parent)
        for suffix in ("", "-wal", "-shm", "-journal"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        if place.work_copy_of.exists():
            aside = file.with_name(f"{file.name}.restored")
            aside.unlink(missing_ok=True)
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            shutil.copyfile(place.work_copy_of, aside)
            aside.replace(file)


# ------------------------------------------------------------------------------ small hands


@contextlib.contextmanager
def local_error(what: str) -> Iterator[None]:
    """An OSError in our words: what could not be done, and why."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"{what} ({error.strerror or error})") from error


def _write_aside(target: Path, text: str) -> None:
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
