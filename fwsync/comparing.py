"""Read the files whose content decides something, before anything is decided.

The one rule: nothing is decided on a file that does not hold still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path

from fwsync import packs, scanner
from fwsync.conflicts import copies_now
from fwsync.errors import FwsyncError
from fwsync.model import Decision, LocalEntry, Problem, RelPath, Unknown, Verb
from fwsync.recorder import RECORD_COUNT
from fwsync.state import State, StateThread
from fwsync.threads import in_thread, workers

#: Waits before each round of hashing, in seconds: the first round starts at once; files
#: whose stamp is as young as their hash come again when a clock tick has passed.
RACY_WAITS_S = (0.0, 0.05, 2.1)

#: Threads that read files whose content must be compared.
HASHERS = 2


def kept_while_unseen(
    state: State, decisions: Iterable[Decision], unseen: Iterable[Unknown]
) -> Iterator[Decision]:
    """The decisions, but nothing counts as gone here that may be where nothing could be read.

    A file that has moved is known by its content. Until that can be read, the server's copy may
    be the last one: it stays, and that it is gone here is not written down.

    Args:
        state: has the scan.
        decisions: of one run.
        unseen: what could not be listed, and the files that could not be read.
    """
    anywhere, as_large = "", dict[int, RelPath]()
    for one in unseen:
        entry = state.file_at(one.scope)
        if one.hides:
            anywhere = anywhere or one.scope
        elif entry is not None:
            as_large.setdefault(entry.size, one.scope)
    for decision in decisions:
        base = decision.base
        is_gone = decision.verb in (Verb.DELETE_REMOTE, Verb.HOLD) and decision.local is None
        may_be = anywhere or as_large.get(base.size, "") if is_gone and base is not None else ""
        if not may_be:
            yield decision
        elif decision.verb is Verb.DELETE_REMOTE:
            reason = f"gone here, unless it is {may_be!r} now, which could not be read; it stays"
            yield replace(decision, verb=Verb.REPORT, reason=reason)


def kept_in_conflict(
    state: State, root_fd: int, decisions: Iterable[Decision]
) -> Iterator[Decision]:
    """The decisions, but no version of a file in conflict is deleted there while one waits here.

    Args:
        state: knows the conflicts; one whose copy is gone waits no more.
        root_fd: the root.
        decisions: of one run.
    """
    waiting = {
        one.path: copy for one in state.conflicts() for copy in copies_now(state, root_fd, one)
    }
    for decision in decisions:
        if decision.verb is Verb.DELETE_REMOTE and decision.path in waiting:
            reason = f"gone here, and in conflict: {waiting[decision.path]!r} waits; it stays there"
            yield replace(decision, verb=Verb.REPORT, reason=reason)
        else:
            yield decision


class Comparer:
    """Hashes what the state wants to know, several files at a time.

    Args:
        state: has both sides; learns the hashes.
        root: the folder; ``root_fd`` is its descriptor.
        renames: files that may be renamed ones are read as well.
        leaves_out: files that are left alone anyway, and are not read.
    """

    def __init__(
        self,
        state: StateThread,
        root: Path,
        root_fd: int,
        *,
        renames: bool,
        leaves_out: Callable[[LocalEntry], bool],
    ) -> None:
        self._state = state
        self._root = root
        self._root_fd = root_fd
        self._renames = renames
        self._leaves_out = leaves_out

    async def hash_all(self, unknown: Set[RelPath]) -> list[Unknown]:
        """Read the files whose content decides something; all others are hashed as they go.

        A file that was written within the last clock tick is read once more a little
        later, for its hash could be out of date without its stamp showing it.

        Args:
            unknown: paths that are left alone in this cycle.

        Returns:
            The files that could not be read or do not hold still: nothing is decided on them.
        """
        unread: dict[RelPath, Unknown] = {}
        for wait_s in RACY_WAITS_S:
            todo = await self._to_hash(unknown, unread)
            if not todo:
                break
            await asyncio.sleep(wait_s)
            unread |= {one.scope: one for one in await self._hash(todo)}
        else:
            for entry, _ in await self._to_hash(unknown, unread):
                unread[entry.path] = Unknown(entry.path, "changes all the time")
        return list(unread.values())

    async def _to_hash(
        self, unknown: Set[RelPath], unread: Mapping[RelPath, Unknown]
    ) -> list[tuple[LocalEntry, bool]]:
        return [
            (entry, wanted)
            for entry, wanted in await self._state.call(State.to_hash, renames=self._renames)
            if entry.path not in unread
            and entry.path not in unknown
            and not self._leaves_out(entry)
        ]

    async def _hash(self, todo: Iterable[tuple[LocalEntry, bool]]) -> list[Unknown]:
        """Hash files, several at a time; what could not be hashed comes back."""
        unread: list[Unknown] = []
        left = iter(todo)

        async def worker() -> None:
            hashed: list[tuple[LocalEntry, int]] = []
            for entry, want_digest in left:
                try:
                    hashed.append(await self._hash_one(entry, want_digest))
                except FwsyncError as error:
                    problem = Problem.of(entry.path, error)
                    unread.append(Unknown(entry.path, problem.message))
                if len(hashed) >= RECORD_COUNT:
                    await self._state.call(State.remember, hashed)
                    hashed = []
            await self._state.call(State.remember, hashed)

        async with workers() as group:
            for _ in range(HASHERS):
                group.create_task(worker())
        return unread

    async def _hash_one(self, entry: LocalEntry, want_digest: bool) -> tuple[LocalEntry, int]:
        if entry.pack is not None:
            return await packs.hash_pack(self._root_fd, entry, want_digest=want_digest)
        return await in_thread(scanner.hash_file, self._root, entry, want_digest=want_digest)
