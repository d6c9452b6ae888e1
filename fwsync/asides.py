"""What has a name on the server for a moment only, on its way from one path to another.

Its rule: it is kept before the server is asked, durably, and in two places: in the state, and in a
file below the root. A state can be deleted, or lag behind after a power failure, and a name that
nobody knows of would be taken for somebody's new file. By the name alone nothing is believed: it
is no secret, and anybody may give it to a file of theirs.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from fwsync import localfs
from fwsync.errors import (
    AuthError,
    FileProblem,
    Forbidden,
    Garbled,
    LocalError,
    NotFound,
    Refused,
    RemoteError,
    SourceChanged,
    Unavailable,
)
from fwsync.model import Problem, RelPath, RemoteEntry, Unknown
from fwsync.moves import folders_of
from fwsync.ports import Movable
from fwsync.roots import RESERVED
from fwsync.state import State, StateThread
from fwsync.threads import in_thread
from fwsync.turned_back import Begun

#: In such a name.
ASIDE: Final = ".fwsync-moving-"

#: How often a move is asked for whose answer does not come; a storm of errors is over by then.
_TRIES: Final = 6

#: What the server answers to a move that it does not make; or nothing that could be understood.
DOES_NOT: Final = (Forbidden, Refused, NotFound, FileProblem, Garbled)

#: Where it is kept which files are moved with their folders first and then by themselves: the
#: paths they are to have, by their ids. A run that was killed in between goes on by it.
BEGUN: Final = "moving_up_begun"

#: Where it is kept which folders are moved as one: where they go, by where they were. A run that
#: ends among them has not said of their files that they have moved.
BEGUN_FOLDERS: Final = "moving_up_folders"

#: The same of the files that are moved side by side: where they go, by their ids.
BEGUN_FILES: Final = "moving_up_files"

#: Where they are kept: a setting of the state, and a file below the root.
_KEPT: Final = "moving_up"
_FILE: Final = "moving"


@dataclass(frozen=True, slots=True)
class Aside:
    """Something with a name for a moment."""

    is_folder: bool
    aside: RelPath  #: its path now, if it has got it
    to: RelPath  #: where it goes
    back: RelPath  #: where it was
    #: Places that others leave on their way to where it was: in a ring, one of them is free.
    further: tuple[RelPath, ...] = ()

    @property
    def homes(self) -> tuple[RelPath, ...]:
        """Where it may go, the best first."""
        return (self.to, self.back, *self.further)


def begun_by_us(state: State) -> Begun:
    """What a run has begun to move on the server, and has not ended."""
    kept = (state.setting(one) for one in (BEGUN, BEGUN_FOLDERS, BEGUN_FILES))
    return Begun(*(json.loads(one or "{}") for one in kept))


def aside_name(path: str) -> RelPath:
    """A path beside another that nothing has."""
    return RelPath(f"{path}{ASIDE}{secrets.token_hex(4)}")


class Asides:
    """What has such a name.

    Args:
        state: of the root.
        root_fd: the root.
    """

    def __init__(self, state: StateThread, root_fd: int) -> None:
        self._state = state
        self._root_fd = root_fd

    async def begin(self, *, is_folder: bool, aside: RelPath, to: str, back: str) -> None:
        """It is about to be called so, on its way from one path to another."""
        one = Aside(is_folder, aside, RelPath(to), RelPath(back))
        await self._keep([*await self.all(), one])

    async def follow(self, old: str, new: str) -> None:
        """Something is about to go from one path to another, where one of these may have been."""
        kept = await self.all()
        ring = [one for one in kept if new in (one.back, *one.further)]
        if ring:
            longer = {one: replace(one, further=(*one.further, RelPath(old))) for one in ring}
            await self._keep([longer.get(one, one) for one in kept])

    async def end(self, to: str) -> None:
        """It is where it was to go."""
        kept = await self.all()
        left = [one for one in kept if one.to != to]
        if len(left) != len(kept):
            await self._keep(left)

    async def all(self) -> list[Aside]:
        """All that have such a name, the oldest first."""
        text = await self._state.call(State.setting, _KEPT)
        kept = _read(text or "")
        noted = _read(await in_thread(_noted, self._root_fd))
        return list(dict.fromkeys((*kept, *noted)))

    async def unknown(self, problems: Sequence[Problem] = ()) -> list[Unknown]:
        """Paths of which a listing says nothing that holds, as long as they have such a name.

        Args:
            problems: what :func:`finish_moves` has just said.
        """
        why = "has another name on the server for a moment: a run was ended there"
        hint = "the next `fwsync sync` or `push` from here gives it its name"
        told = {one.path: (one.message, one.hint) for one in problems}
        return [
            Unknown(path, *_told(path, one, told.get(one.aside, (why, hint)), why))
            for one in await self.all()
            for path in (one.aside, *one.homes)
        ]

    async def _keep(self, kept: Sequence[Aside]) -> None:
        text = json.dumps([asdict(one) for one in kept]) if kept else None
        await self._state.call(State.set_setting, _KEPT, text)
        # A root that takes no such file has a state elsewhere, which has it.
        with suppress(FileProblem):
            await in_thread(_note, self._root_fd, text)


def _told(path: RelPath, one: Aside, said: tuple[str, str], why: str) -> tuple[str, bool, str]:
    """Why a path of it is not known, as an :class:`Unknown` has it."""
    message, hint = said
    return (message if path == one.aside else why), False, hint


def _read(text: str) -> list[Aside]:
    """What a text of ours says; what is none says nothing."""
    try:
        told: Any = json.loads(text)
        return [
            Aside(
                one["is_folder"] is True,
                RelPath(one["aside"]),
                RelPath(one["to"]),
                RelPath(one["back"]),
                tuple(map(RelPath, one.get("further", ()))),
            )
            for one in told
            if ASIDE in one["aside"]
        ]
    except (ValueError, TypeError, KeyError):
        return []


def _noted(root_fd: int) -> str:
    try:
        file_fd = localfs.open_regular(root_fd, f"{RESERVED}/{_FILE}")
    except FileProblem:
        return ""
    with os.fdopen(file_fd, "rb") as file:
        return file.read().decode("utf-8", "replace")


def _note(root_fd: int, text: str | None) -> None:
    """Write it down, whole and durably, or that there is nothing.

    Raises:
        LocalError, FileProblem: it cannot be.
    """
    new = f"{_FILE}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with localfs.folder(root_fd, RESERVED, create=True) as folder_fd:
            if text is None:
                with suppress(FileNotFoundError):
                    os.unlink(_FILE, dir_fd=folder_fd)
                return
            with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder_fd), "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, _FILE, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            os.fsync(folder_fd)
    except OSError as error:
        raise localfs.local_problem(f"{RESERVED}/{_FILE}", "cannot be written", error) from None


# ------------------------------------------------------------------------ home again


async def finish_moves(remote: Movable, asides: Asides) -> list[Problem]:
    """Give all that a run has left under a name for a moment its new path, or its old one.

    Args:
        remote: where they are.
        asides: of the root.

    Returns:
        What could be given neither, as both are taken.

    Raises:
        AuthError, LocalError, Unavailable: the server could not be asked.
    """
    problems = []
    for one in await asides.all():
        path, targets = one.aside, one.homes
        try:
            if not await _bring_home(remote, one.is_folder, path, targets):
                why = f"was called so on its way, and {targets[0]!r} and {targets[1]!r} are taken"
                problems.append(Problem(path, why, "rename it on the server"))
                continue
        except (AuthError, LocalError, Unavailable):
            raise
        except (RemoteError, FileProblem) as error:
            problems.append(Problem.of(path, error))
            continue
        await asides.end(one.to)
    return problems


async def moved(remote: Movable, entry: RemoteEntry, to: RelPath) -> RemoteEntry:
    """Move a file, again where the answer was lost; it is looked for before it is asked again.

    Raises:
        RemoteError, FileProblem: as :meth:`Movable.move`.
    """
    for left in reversed(range(_TRIES)):
        try:
            return await remote.move(entry, to)
        except Unavailable:
            there = await _look_after(remote, to)  # it may have moved, and we have not heard
            if there is not None and there.file_id == entry.file_id:
                return there
            if not left:
                raise
    raise AssertionError("unreachable")


async def _look_after(remote: Movable, to: RelPath) -> RemoteEntry | None:
    """What is there after a move that may have been made.

    Raises:
        SourceChanged: that was refused, which says nothing of the move.
    """
    try:
        return await remote.look(to)
    except DOES_NOT as error:
        raise SourceChanged(f"{to}: may have moved on the server: {error}") from error


async def _bring_home(
    remote: Movable, is_folder: bool, path: RelPath, targets: Sequence[RelPath]
) -> bool:
    """False: none of its paths is free. What is not there any more needs none.

    Raises:
        NotFound: it is not there, but neither is what is above it.
    """
    for target in targets:
        if is_folder:
            if await remote.move_folder(path, target):
                return True
            if not await remote.has_folder(path):
                return await _is_gone(remote, path)
            continue
        entry = await remote.look(path)
        if entry is None:
            return await _is_gone(remote, path)
        if await remote.look(target) is None:
            await moved(remote, entry, target)
            return True
    return False


async def _is_gone(remote: Movable, path: RelPath) -> bool:
    """What is not found is gone if something above it is found: some servers find nothing at all.

    Raises:
        NotFound: nothing is.
    """
    for folder in (*folders_of(path), ""):
        if await remote.has_folder(RelPath(folder)):
            return True
    raise NotFound(
        f"{path}: the server does not find it, nor anything above it",
        status=404,
        hint="it is looked for again by the next run",
    )
