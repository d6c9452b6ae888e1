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
from dataclasses import asdict, dataclass
from typing import Any, Final

from fwsync import localfs
from fwsync.errors import FileProblem
from fwsync.model import RelPath, Unknown
from fwsync.roots import RESERVED
from fwsync.state import State, StateThread
from fwsync.threads import in_thread

#: In such a name.
ASIDE: Final = ".fwsync-moving-"

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

    async def unknown(self) -> list[Unknown]:
        """Paths of which a listing says nothing that holds, as long as they have such a name."""
        why = "has another name on the server for a moment: a run was ended there"
        hint = "the next `fwsync sync` or `push` from here gives it its name"
        return [
            Unknown(path, why, hint=hint)
            for one in await self.all()
            for path in (one.aside, one.to, one.back)
        ]

    async def _keep(self, kept: Sequence[Aside]) -> None:
        text = json.dumps([asdict(one) for one in kept]) if kept else None
        await self._state.call(State.set_setting, _KEPT, text)
        # A root that takes no such file has a state elsewhere, which has it.
        with suppress(FileProblem):
            await in_thread(_note, self._root_fd, text)


def _read(text: str) -> list[Aside]:
    """What a text of ours says; what is none says nothing."""
    try:
        told: Any = json.loads(text)
        return [
            Aside(one["is_folder"] is True, *(RelPath(one[key]) for key in ("aside", "to", "back")))
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
