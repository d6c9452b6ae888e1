"""A conflict is settled: its copy goes to the trash, takes its path back, or is a file of its own.

The one rule: whatever loses its name here has another one in the trash first, and a conflict is
closed after that. So it may end at any step: nothing is lost, and doing it again goes on.

Everything here blocks, and belongs to the state's thread; the caller holds the root's lock.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fwsync import conflicts, localfs, renaming, trash
from fwsync.digest import ContentHasher, Digest
from fwsync.errors import FileProblem, FwsyncError
from fwsync.held_state import root_as_kept
from fwsync.model import Decision, Problem, RelPath, Stamp, Verb
from fwsync.renaming import Arrival, Relocation
from fwsync.roots import RESERVED
from fwsync.state import OpenConflict, State

#: The ways to settle a conflict, as they are typed.
LOCAL, REMOTE, BOTH = "keep-local", "keep-remote", "keep-both"


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of settling a conflict."""

    path: RelPath
    how: str
    what: str = ""  #: happened, for people
    kept: str = ""  #: names the run in the trash that has what lost its name
    restores: str = ""  #: the command that puts that back
    problem: Problem | None = None  #: it is open as before


def settle(state: State, root_fd: int, conflict: OpenConflict, how: str, name: str = "") -> Settled:
    """Settle a conflict of which there is a copy.

    Args:
        state: knows it.
        root_fd: the root.
        conflict: open.
        how: :data:`LOCAL`, :data:`REMOTE` or :data:`BOTH`.
        name: of :data:`BOTH`: what the copy is called from now on, beside where it is; or, with
            a slash before it, its path below the root. Empty: as it is.

    Raises:
        LocalError: no space, even for a name; it is open as before.
    """
    try:
        return _settle(state, root_fd, conflict, how, name)
    except FileProblem as error:
        return Settled(conflict.path, how, problem=Problem.of(conflict.path, error))


def finish_begun(state: State, root_fd: int) -> None:
    """Bring to its end what a command that was killed had begun, as far as nothing is in the way.

    What cannot be ended stays open and is listed: it must not stop a run.
    """
    for one in state.conflicts():
        if one.taking_back is None:
            continue
        here = state.copies.lies_at(one.path)
        with suppress(FileProblem):
            if _is_back(root_fd, one, here):
                _end_taking_back(state, root_fd, one, here, _trash_of_now())


def close_gone(state: State, root_fd: int, *, is_held: bool = False) -> list[Problem]:
    """After a run: close the conflicts whose copy a person has removed or used (S34, S35).

    A copy that has moved with its folder is followed, and one that the state has forgotten is in
    conflict again. While a guard does not believe what is gone, none is closed.

    Returns:
        The copies that a person has edited: they are sent by nobody, and that should be known.
    """
    for path, copy in conflicts.forgotten(state, root_fd):
        state.copies.open_again(path, copy)
    edited = []
    for one in state.conflicts():
        if not localfs.is_free(root_fd, one.copy_path):
            if _is_edited(root_fd, one):
                edited.append(_told_edited(state, one))
            continue
        moved = conflicts.copies_now(state, root_fd, one)
        if len(moved) == 1:
            state.copies.follow(one.id, _moved_with(root_fd, one, moved[0]), moved[0])
        elif not moved and not is_held:
            state.copies.close(one.id, "its copy is gone")
    return edited


def renamed(decisions: Sequence[Decision], arrived: Collection[RelPath]) -> dict[RelPath, RelPath]:
    """The files that were renamed here: the paths that they were agreed on at, and the new ones.

    Args:
        decisions: of the run.
        arrived: the new paths of those that have been renamed.
    """
    there = {one.path: one.base for one in decisions if one.verb is Verb.RENAME_REMOTE}
    renames = [one for one in decisions if one.verb is Verb.RENAME and one.path in arrived]
    # Renamed on both sides: what was agreed on is told with the rename there.
    bases = [(one.base or there.get(one.path), one.path) for one in renames]
    return {base.path: path for base, path in bases if base is not None}


def go_along(state: State, root_fd: int, moved: Mapping[RelPath, RelPath]) -> None:
    """After files were renamed here as on the server: their open conflicts have the new paths.

    The copy beside such a file goes along. One that cannot stays where it is, on record as
    before; killed in between, :func:`close_gone` finds it by its name.

    Args:
        state: knows the conflicts.
        root_fd: the root.
        moved: the old paths, and the new ones.
    """
    for one in state.conflicts():
        new = moved.get(one.path)
        if new is not None:
            copy = one.copy_path
            with suppress(FwsyncError):
                copy = _brought(root_fd, one, state.copies.lies_at(new))
            state.copies.follow(one.id, new, copy)


# ----------------------------------------------------------------------------- the three ways


def _check_gone(state: State, root_fd: int, one: OpenConflict) -> None:
    """A copy that is not where it was is gone; unless its whole folder may have moved.

    Raises:
        FileProblem: a run has to look first.
    """
    folder = one.copy_path.rpartition("/")[0]
    is_there = not folder or not localfs.is_free(root_fd, folder)
    if not is_there or conflicts.copies_now(state, root_fd, one):
        raise FileProblem(
            f"{one.path}: its copy is not where it was",
            hint="run `fwsync sync` first: it follows a copy that has moved, and closes a conflict "
            "whose copy is gone",
        )


def _settle(state: State, root_fd: int, one: OpenConflict, how: str, name: str) -> Settled:
    here, folder = state.copies.lies_at(one.path), _trash_of_now()
    if one.taking_back is not None and _is_back(root_fd, one, here):
        return _end_taking_back(state, root_fd, one, here, folder, asked=how)
    copy = localfs.look(root_fd, one.copy_path)
    if copy is None:
        _check_gone(state, root_fd, one)
        state.copies.close(one.id, f"{how}; its copy is gone")
        said = "its copy is gone already, and the server's version stays; closed"
        return Settled(one.path, how, said)
    if renaming.are_one_file(root_fd, here, one.copy_path):
        raise FileProblem(
            f"{one.path}: the server's version has not come down yet",
            hint="run `fwsync sync` first; then there are two versions to choose from",
        )
    if how == REMOTE:
        if localfs.look(root_fd, here) is None:
            raise FileProblem(
                f"{one.path}: the server's version is not here any more",
                hint=f"{LOCAL} puts yours there; or delete the copy, too: then neither is kept",
            )
        renaming.discard(root_fd, one.copy_path, copy, trash=folder)
        run = trash.run_of(folder)
        state.copies.close(one.id, how, f"trash {run}")
        return Settled(one.path, how, "yours is in the trash", run, _restore(state, run))
    if how == BOTH:
        return _keep_both(state, root_fd, one, copy, name)
    return _take_back(state, root_fd, one, here, copy, folder)


def _keep_both(state: State, root_fd: int, one: OpenConflict, copy: Stamp, name: str) -> Settled:
    """The copy is a file like others, under its own name or another one."""
    if not name:
        # Before it is closed: else nobody would know that it is to be sent.
        conflicts.release_copy(root_fd, one.copy_path)
        state.copies.close(one.id, BOTH)
        return Settled(one.path, BOTH, f"{one.copy_path} is a file of its own")
    new = _named(root_fd, one, name)
    renaming.relocate(root_fd, Relocation(one.copy_path, new, copy), trash=_trash_of_now())
    for path in (new, one.copy_path):
        localfs.sync_folder(root_fd, path.rpartition("/")[0])
    state.copies.close(one.id, f"{BOTH}, as {new}")
    return Settled(one.path, BOTH, f"yours is {new}, a file of its own")


def _named(root_fd: int, one: OpenConflict, name: str) -> RelPath:
    """Where a copy goes that is given a name.

    Raises:
        FileProblem: it cannot be there.
    """
    folder = one.copy_path.rpartition("/")[0]
    is_path = name.startswith("/")
    new = RelPath(name[1:] if is_path else f"{folder}/{name}" if folder else name)
    localfs.split(new)
    noted = {copy.rpartition("/")[2] for copy in conflicts.noted_copies(root_fd)}
    if new.split("/")[0] == RESERVED or new.rpartition("/")[2] in noted:
        raise FileProblem(f"{new}: is a name that fwsync keeps for itself", hint="give another")
    if not localfs.is_free(root_fd, new):
        raise FileProblem(f"{new}: something of that name is here", hint="give another name")
    return new


def _take_back(
    state: State, root_fd: int, one: OpenConflict, here: str, copy: Stamp, folder: str
) -> Settled:
    """The copy takes its path back; what stands there goes to the trash."""
    stands = localfs.look(root_fd, here)
    known = state.file_at(one.path)
    was_edited = stands is not None and known is not None and known.stamp != stands
    state.copies.begin_taking_back(one.id, _which(one, copy))
    if stands is None:
        renaming.relocate(root_fd, Relocation(one.copy_path, here, copy), trash=folder)
    else:
        # Noted: the two change places in one step, and which is which is in the state.
        arrival = Arrival(one.copy_path, here, stands, is_noted=True)
        renaming.publish(root_fd, arrival, trash=folder)
    for path in (here, one.copy_path):
        localfs.sync_folder(root_fd, path.rpartition("/")[0])
    run = trash.run_of(folder) if stands is not None else ""
    state.copies.close(one.id, LOCAL, f"trash {run}" if run else None)
    what = "yours is in place, and goes up by the next run"
    if was_edited:
        what += "; what stood there had been edited"
    return Settled(one.path, LOCAL, what, run, _restore(state, run) if run else "")


def _end_taking_back(
    state: State,
    root_fd: int,
    one: OpenConflict,
    here: str,
    folder: str,
    *,
    asked: str = LOCAL,
) -> Settled:
    """The copy is in its place: what stood there has its name, or none any more."""
    left = localfs.look(root_fd, one.copy_path)
    if left is not None and not renaming.are_one_file(root_fd, here, one.copy_path):
        renaming.discard(root_fd, one.copy_path, left, trash=folder)
    elif left is not None:
        localfs.remove(root_fd, one.copy_path)  # a second name of what is in place
    for path in (here, one.copy_path):
        localfs.sync_folder(root_fd, path.rpartition("/")[0])
    run = trash.run_of(folder) if left is not None else ""
    state.copies.close(one.id, LOCAL, f"trash {run}" if run else None)
    if asked != LOCAL:
        raise FileProblem(
            f"{one.path}: {LOCAL} had been begun, and is done now instead of {asked}",
            hint=f"the server's bytes are in the trash: `{_restore(state, run)}`" if run else "",
        )
    what, restores = "yours is in place, and goes up by the next run", _restore(state, run)
    return Settled(one.path, LOCAL, what, run, restores if run else "")


# ------------------------------------------------------------------------------- small hands


def _brought(root_fd: int, one: OpenConflict, here: str) -> RelPath:
    """Bring a copy beside its file, which has moved; gives its path then."""
    (folder, _, name), into = one.copy_path.rpartition("/"), here.rpartition("/")[0]
    beside = RelPath(f"{into}/{name}" if into else name)
    seen = localfs.look(root_fd, one.copy_path)
    was_beside = folder == one.path.rpartition("/")[0]
    if seen is None or not was_beside or not localfs.is_free(root_fd, beside):
        return one.copy_path
    conflicts.note_copy(root_fd, beside)  # before: else it would be sent as a new file
    renaming.relocate(root_fd, Relocation(one.copy_path, beside, seen), trash=_trash_of_now())
    for changed in (into, folder):
        localfs.sync_folder(root_fd, changed)
    renaming.remove_empty(root_fd, folder)
    return beside


def _trash_of_now() -> str:
    return trash.run_folder(datetime.now(UTC))


def digest_of(root_fd: int, path: str) -> Digest | None:
    """What a file here holds; None: it cannot be read, or is none. Blocks."""
    hasher = ContentHasher()
    try:
        with os.fdopen(localfs.open_regular(root_fd, path), "rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
    except (FileProblem, OSError):
        return None
    return hasher.digest


def _which(one: OpenConflict, copy: Stamp) -> str:
    """What tells a copy from what stands in its place, whatever the two are called.

    Not its device: that has another number after a reboot, and the same one another disk.
    """
    is_as_made = (copy.size, copy.mtime_ns) == (one.copy_size, one.copy_mtime_ns)
    digest = one.local_digest if is_as_made else None
    return json.dumps({"file": _file_of(copy), "digest": digest})


def _file_of(stamp: Stamp) -> list[int]:
    return [stamp.inode, stamp.size, stamp.mtime_ns]


def _is_back(root_fd: int, one: OpenConflict, here: str) -> bool:
    """Has the copy, which was about to take its path back, done so?

    A person may have edited one of the two since: then it is known by the other one. Where
    nothing tells, it has not.
    """
    told = json.loads(one.taking_back or "{}")
    told = told if isinstance(told, dict) else {}  # written before this had a release
    stands, left = localfs.look(root_fd, here), localfs.look(root_fd, one.copy_path)
    if stands is None:
        return False
    for stamp, is_back in ((stands, True), (left, False)):
        if stamp is not None and _file_of(stamp) == told.get("file"):
            return is_back
    digest = told.get("digest")
    if digest is not None and digest_of(root_fd, here) == digest:
        return True
    theirs = one.remote_digest
    return left is not None and theirs is not None and digest_of(root_fd, one.copy_path) == theirs


def _is_edited(root_fd: int, one: OpenConflict) -> bool:
    try:
        now = localfs.look(root_fd, one.copy_path)
    except FileProblem:
        return False
    if now is None or one.copy_mtime_ns is None:
        return False
    return (now.size, now.mtime_ns) != (one.copy_size, one.copy_mtime_ns)


def _told_edited(state: State, one: OpenConflict) -> Problem:
    why = f"the copy that a conflict of {one.path} has left was edited; it is not sent"
    copy = (root_as_kept(state) or Path()) / one.copy_path
    settles = shlex.join(["fwsync", "conflicts", LOCAL, str(copy)])
    return Problem(one.copy_path, why, f"`{settles}` sends it as {one.path.rpartition('/')[2]}")


def _restore(state: State, run: str) -> str:
    """The command that puts back what a run has put into the trash."""
    root = root_as_kept(state)
    folder = "DIR" if root is None else str(root)
    return shlex.join(["fwsync", "restore", folder, "--run", run])


def _moved_with(root_fd: int, one: OpenConflict, copy: RelPath) -> RelPath:
    """The conflict's path, which has moved with the copy if it is where the copy is."""
    folder, _, name = copy.rpartition("/")
    beside = RelPath(f"{folder}/{one.path.rpartition('/')[2]}" if folder else name)
    is_gone = localfs.is_free(root_fd, one.path)
    return beside if is_gone and not localfs.is_free(root_fd, beside) else one.path
