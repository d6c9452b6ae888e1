"""Where the state of a root is, and which remote has which state file.

Its rule: a state file lies on a local file system, and belongs to one root and one remote.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fwsync.digest import short_name
from fwsync.errors import LocalError, UsageError
from fwsync.filesystems import FileSystem, filesystem_of
from fwsync.roots import RESERVED, Place, local_error, make_folder, write_aside

#: Tells the type of a path's file system.
FileSystemOf = Callable[[Path], FileSystem]


def locate(
    root: Path,
    remote_key: str | None,
    *,
    state_option: Path | None = None,
    env: Mapping[str, str],
    read_only: bool = False,
    service: bool = False,
    filesystem_of: FileSystemOf = filesystem_of,
) -> Place:
    """Where the state of a root and a remote lies; nothing is written.

    Below the root if that is writable and on a local disk, and we are no service; else in
    the service's or the user's state folder; and if that is on a network too, as it is on
    clusters, a working copy in the temporary folder. A second remote of the same root has
    a state file of its own.

    Args:
        root: from :func:`fwsync.roots.prepare_root`.
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
        LocalError: there is no local file system to keep the state on, or it is not known what
            is below the root.
    """
    root = Path(os.path.realpath(root))
    disk = filesystem_of(root)
    service = service or bool(env.get("STATE_DIRECTORY"))
    is_elsewhere = state_option is not None or service
    folder = None if read_only else _own_folder(root, has_state=not is_elsewhere)
    stem = short_name(os.fsencode(root).decode("utf-8", "surrogateescape"))[:16]
    saved_in = None
    if state_option is not None:
        home, note = _named_home(state_option, filesystem_of)
    elif why := _why_not_below(root, folder, disk, service):
        home, saved_in, note = _home_elsewhere(folder, why, env, filesystem_of)
    else:
        assert folder is not None
        home, note = folder, ""
    home = Path(os.path.realpath(home))
    check_not_synced(root, home, "the state file", "--state")
    # A saved copy keeps the names that the state would have in its folder.
    names = saved_in or home
    prefix = "" if names == folder else stem
    if state_option is not None:
        state_file = Path(os.path.realpath(state_option))
        name = state_file.name
        remotes = remotes_file(root, state_option)
    else:
        remotes = names / (f"{prefix}.remotes" if prefix else "remotes")
        name = _state_name(remotes, remote_key, prefix or "state")
        state_file = home / (f"{stem}-{name}" if saved_in else name)
    return Place(
        root=root,
        state_file=state_file,
        work_copy_of=saved_in / name if saved_in else None,
        root_lock=folder / "lock" if folder is not None else _lock_elsewhere(root, home),
        state_lock=state_file.with_name(f"{state_file.name}.lock"),
        host_lock=saved_in / f"{name}.lock.host" if saved_in else None,
        remotes=remotes,
        folder=folder,
        parts=folder / "parts" if folder else None,
        trash=folder / "trash" if folder else None,
        marker=folder / "marker" if folder else None,
        note=note,
        granularity_ns=disk.time_granularity_ns,
        record=None if read_only else record_file(root, env),
    )


def _named_home(state_option: Path, filesystem_of: FileSystemOf) -> tuple[Path, str]:
    """The folder of the file that ``--state`` names, and a note that it does."""
    home = Path(os.path.realpath(state_option)).parent
    if (kind := filesystem_of(home)).is_network:
        raise LocalError(
            f"{state_option}: on a network file system ({kind.type}); "
            "the state file must be on a local disk",
            hint="name a file on a local disk, or leave --state out",
        )
    return home, f"The state is in {state_option}, as --state says."


def _home_elsewhere(
    folder: Path | None, why: str, env: Mapping[str, str], filesystem_of: FileSystemOf
) -> tuple[Path, Path | None, str]:
    """Where the state is if it cannot be below the root.

    Returns:
        The folder in which it is used; the one it is saved in, if that is another; and a note.
    """
    home = state_home(env)
    if not (kind := filesystem_of(home)).is_network:
        return home, None, f"The state is in {home}, because {why}."
    scratch, saved_in = _scratch(env, filesystem_of), folder or home
    note = (
        f"The state is kept in {saved_in} and used as a copy in {scratch}, because {why} "
        f"and the user's state folder is on a network file system ({kind.type})."
    )
    return scratch, saved_in, note


def check_not_synced(root: Path, home: Path, what: str, flag: str) -> None:
    """Refuse a file of ours in the folder that is kept in step.

    Args:
        root: the folder; ``home`` is where the file shall be: both absolute.
        what: the file, in words; ``flag`` names it on the command line.

    Raises:
        UsageError: it would be synced itself.
    """
    if home.is_relative_to(root) and not home.is_relative_to(root / RESERVED):
        raise UsageError(
            f"{home}: inside the root {root}; {what} would be synced itself",
            hint=f"name a file outside of the root, or in {root / RESERVED}: `{flag} FILE`",
        )


def _lock_elsewhere(root: Path, home: Path) -> Path:
    """By device and inode, so that other spellings and bind mounts of the root meet."""
    with local_error(f"{root}: cannot be looked at"):
        here = root.stat()
    return home / f"root-{here.st_dev:x}-{here.st_ino:x}.lock"


def _own_folder(root: Path, *, has_state: bool) -> Path | None:
    """The folder below the root, if we may write there.

    Args:
        root: the root.
        has_state: a state in it would be used.

    Raises:
        LocalError: it is not known what is there. A state made elsewhere would know nothing of
            what was agreed on.
    """
    folder = root / RESERVED
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return folder if os.access(root, os.W_OK | os.X_OK, effective_ids=True) else None
    except OSError as error:
        raise LocalError(f"{folder}: cannot be looked at ({error.strerror})") from error
    if not stat.S_ISDIR(status.st_mode):
        raise LocalError(
            f"{folder}: not a directory; the name belongs to fwsync",
            hint="rename it, then run again",
        )
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return folder
    if has_state and status.st_uid == os.geteuid() and _may_have_a_state(folder):
        raise LocalError(
            f"{folder}: has what was agreed on, and cannot be read and written; expected to have "
            "rights to a folder of this user's",
            hint=f"give them back: chmod u+rwx {shlex.quote(str(folder))}; or name a state by "
            "--state FILE",
        )
    return None


def _may_have_a_state(folder: Path) -> bool:
    """Is there a state, or can it not be seen? What a disk that is read-only has is only read."""
    try:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return False
        return any(one.name.startswith("state") for one in folder.iterdir())
    except OSError:
        return True


def _why_not_below(root: Path, folder: Path | None, disk: FileSystem, service: bool) -> str:
    if service:
        return "this is a service with a state folder of its own"
    if folder is None:
        return f"nothing may be written below {root}"
    if disk.is_network:
        return f"{root} is on a network file system ({disk.type})"
    return ""


def state_home(env: Mapping[str, str]) -> Path:
    """The service's or the user's state folder; it need not exist.

    Raises:
        LocalError: nothing says where it is.
    """
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


def record_file(root: Path, env: Mapping[str, str]) -> Path | None:
    """Where the record of a root is; None: there is no place for it.

    By this host's name as well: a home on the network is many hosts', and a path of each of them
    its own.
    """
    try:
        home = state_home(env)
    except LocalError:
        return None
    name = f"{socket.gethostname()}\0{os.fsencode(root).decode('utf-8', 'surrogateescape')}"
    return home / "roots" / f"{short_name(name)}.json"


def _scratch(env: Mapping[str, str], filesystem_of: FileSystemOf) -> Path:
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


# ---------------------------------------------------------------------- the remotes of a root


#: In place of a project's id, in keys and states: all projects that the files of a root name.
WHOLE_SITE = "*"

#: How a user names all of them.
SITE = "fw://"


@dataclass(frozen=True, slots=True)
class KnownRemote:
    """A remote that has a state file here."""

    state_name: str  #: of its state file
    key: str  #: what never changes for it
    name: str  #: for people: group/project
    gone: bool = False  #: it is there no more, and another one bears its name
    former: tuple[str, ...] = ()  #: names that it had here, and that it was given another for

    def answers_to(self, text: str) -> bool:
        """True if it may be meant by a name, or by ``<id:…>``, the end of its key."""
        end = self.key.rpartition(" ")[2]
        return text == SITE if end == WHOLE_SITE else text in (self.name, f"<id:{end}>")


def known_remotes(remotes: Path) -> list[KnownRemote]:
    """The remotes of a root, in the order they were first used here."""
    try:
        lines = remotes.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [_read(line.split("\t")) for line in lines if "\t" in line]


#: Before a former name, in the line of a remote.
_WAS = "was "


def _read(parts: list[str]) -> KnownRemote:
    name, more = parts[2] if len(parts) > 2 else parts[1], parts[3:]
    former = tuple(one.removeprefix(_WAS) for one in more if one.startswith(_WAS))
    return KnownRemote(parts[0], parts[1], name, "gone" in more, former)


def _line(one: KnownRemote) -> str:
    more = [*(["gone"] if one.gone else []), *(f"{_WAS}{name}" for name in one.former)]
    return "\t".join([one.state_name, one.key, one.name, *more]) + "\n"


def remotes_file(root: Path, state_option: Path | None) -> Path:
    """Where the remotes are kept of a root whose state is below it, or where it was named."""
    if state_option is None:
        return root / RESERVED / "remotes"
    file = Path(os.path.realpath(state_option))
    return file.with_name(f"{file.name}.remotes")


def known_target(place: Place) -> str | None:
    """What a call would name for the remote of a state, by what stands beside it.

    Args:
        place: of the state, which need not be there, or be whole.

    Returns:
        ``<id:…>``, or ``fw://``; None: nothing is known.
    """
    name = (place.work_copy_of or place.state_file).name
    known = [one for one in known_remotes(place.remotes) if one.state_name == name]
    if len(known) != 1:
        return None
    id_ = known[0].key.rpartition(" ")[2]
    return SITE if id_ == WHOLE_SITE else f"<id:{id_}>"


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
    before = known_remotes(place.remotes)
    same = [one for one in before if (one.state_name, one.key) == (state_name, remote_key)]
    names = [name for one in same for name in (*one.former, one.name) if name != shown]
    ours = KnownRemote(state_name, remote_key, shown, former=tuple(dict.fromkeys(names)))
    known = [replace(one, gone=True) if one.key in gone else one for one in before]
    if ours not in known:
        known = [one for one in known if one.state_name != state_name] + [ours]
    if known != before:
        with local_error(f"{place.remotes}: cannot be written"):
            write_aside(place.remotes, "".join(map(_line, known)))


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
            hint="name the one that is meant: GROUP/PROJECT, or <id:…> where two share a name"
            + (f"; {SITE} for all projects" if any(one.answers_to(SITE) for one in meant) else ""),
        )
    if remote_key is None or all(one.state_name != f"{stem}.db" for one in known):
        return f"{stem}.db"
    return f"{stem}-{short_name(remote_key)[:8]}.db"
