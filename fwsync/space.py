"""Room on the disk for what comes down: taken before a batch is asked for, and waited for.

The one rule: no byte is asked for that has no place. What is free is asked of the file system
each time; what others of this run have been promised, and have not written yet, is not free.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from fwsync import localfs
from fwsync.errors import FwsyncError, NoSpace
from fwsync.model import Decision, Outcome, RelPath, Verb
from fwsync.progress import size_text
from fwsync.roots import part_name
from fwsync.threads import in_thread

#: Bytes that are left free: for the state, for logs, and for whoever else writes there.
RESERVE = 64 << 20

#: … but no more than this part of a small disk.
RESERVE_PART = 16

#: What a file takes beside its bytes: the rest of its last block, and its entry.
BESIDE = 4096

#: Files from this size on may have a part of an earlier run, whose bytes are there already.
MAY_BE_BEGUN = 16 << 20

Bring = Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]
Advanced = Callable[[RelPath, int], None]


class Space:
    """The free bytes of a root's file system, shared out among the downloads of a run.

    Args:
        root_fd: the root.
        parts: the folder below it where files are written aside.
        wanted: all downloads of the run: for saying how much is missing.
    """

    def __init__(self, root_fd: int, parts: str, wanted: Sequence[Decision] = ()) -> None:
        self._root_fd = root_fd
        self._parts = parts
        self._to_come = sum(map(_room, wanted))
        self._promised: dict[RelPath, int] = {}  # bytes that are still to be written
        self._under_way = 0
        self._turn = asyncio.Condition()
        #: Set once there was no room: no download is begun any more in this run.
        self.full: NoSpace | None = None

    def told(self, advanced: Advanced) -> Advanced:
        """What tells of the bytes that come, listened to: what is written is promised no more."""

        def listen(path: RelPath, count: int) -> None:
            if path in self._promised:
                self._promised[path] = max(0, self._promised[path] - count)
            advanced(path, count)

        return listen

    def within(self, bring: Bring) -> Bring:
        """The same downloads, each begun only when there is room for it.

        Where there is none for all of a batch, what fits is brought. Where there is none at
        all, :attr:`full` is set, and what was not begun has no outcome.
        """

        async def brought(batch: Sequence[Decision]) -> list[Outcome]:
            outcomes: list[Outcome] = []
            left = list(batch)
            try:
                while left and (begun := await self._hold(left)):
                    try:
                        outcomes += await bring(begun)
                    finally:
                        await self._release(begun)
                    del left[: len(begun)]
            except NoSpace as error:
                self.full = self.full or await self._explained(error.message)
            return outcomes

        return brought

    async def _hold(self, batch: Sequence[Decision]) -> list[Decision]:
        """As many files of a batch, from its first on, as there is room for; none: it is full."""
        async with self._turn:
            while self.full is None:
                free = await in_thread(self._free) - sum(self._promised.values())
                begun, missing = await in_thread(self._fitting, batch, free)
                if len(begun) == len(batch) or (begun and not self._under_way):
                    self._promised |= {one.path: _room(one) for one in begun}
                    self._under_way += 1
                    return begun
                if not self._under_way:
                    path = batch[0].path
                    self.full = await self._explained(
                        f"{path}: no space left for it ({size_text(missing)} short)"
                    )
                    break
                await self._turn.wait()  # others may need less than was promised to them
        return []

    def _fitting(self, batch: Sequence[Decision], free: int) -> tuple[list[Decision], int]:
        """The first files of a batch that fit; and how much the next one lacks."""
        begun: list[Decision] = []
        for one in batch:
            need = _room(one) - self._there(one)
            if need > free:
                return begun, need - free
            free -= need
            begun.append(one)
        return begun, 0

    def _there(self, decision: Decision) -> int:
        """Bytes that a part of an earlier run has on the disk already."""
        if decision.size < MAY_BE_BEGUN:
            return 0
        with suppress(OSError), localfs.folder(self._root_fd, self._parts) as parts_fd:
            name = part_name(decision.path)
            status = os.stat(name, dir_fd=parts_fd, follow_symlinks=False)
            return min(_room(decision), status.st_blocks * 512)  # stat(2)
        return 0

    async def _release(self, begun: Sequence[Decision]) -> None:
        async with self._turn:
            self._under_way -= 1
            for one in begun:
                self._promised.pop(one.path, None)
                self._to_come -= _room(one)
            self._turn.notify_all()

    def _free(self) -> int:
        return _free_on(os.fstatvfs(self._root_fd))

    async def _explained(self, message: str) -> NoSpace:
        """The error that says what is to come, and how much of it has no room."""
        free = max(0, await in_thread(self._free))
        missing = self._to_come - free
        hint = "free some space and run the command again; it goes on where it stopped"
        if missing > 0:
            message += (
                f"; {size_text(self._to_come)} are still to come, {size_text(free)} may be "
                f"written: {size_text(missing)} are missing"
            )
        return NoSpace(message, hint=hint)


def _room(decision: Decision) -> int:
    """What a file takes on the disk, in bytes."""
    return decision.size + BESIDE


def _free_on(disk: os.statvfs_result) -> int:
    """Bytes that may be written; a file system that tells nothing has room for all."""
    if not disk.f_blocks:
        return 1 << 62
    reserve = min(RESERVE, disk.f_blocks * disk.f_frsize // RESERVE_PART)
    return disk.f_bavail * disk.f_frsize - reserve


def shortage(folder: Path, wanted: Iterable[Decision]) -> str:
    """What is to be said of downloads that the disk has no room for; empty: it has.

    Args:
        folder: where they would go; it need not be there yet.
        wanted: the steps of a plan.
    """
    to_come = sum(_room(one) for one in wanted if one.verb is Verb.DOWNLOAD)
    there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    free = max(0, _free_on(os.statvfs(there)))
    if to_come <= free:
        return ""
    return (
        f"{folder}: {size_text(to_come)} would come, and {size_text(free)} may be written there: "
        f"{size_text(to_come - free)} are missing"
    )


def worst(errors: Sequence[FwsyncError], space: Space | None) -> FwsyncError | None:
    """The one error to end a run with; None: there is none."""
    found = [*errors, *([space.full] if space is not None and space.full is not None else [])]
    return max(found, key=lambda error: error.exit_code, default=None)
