"""The state of a root, held for a run: its own under the root's lock, or a copy to look at.

The one rule: what belongs to a root is opened only when it is that root that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fwsync import known_roots, locks, roots, whereabouts
from fwsync.errors import Halted, LocalError
from fwsync.state import State, StateThread, open_state

#: How often a state that is used as a copy is saved to where it belongs, in seconds.
SAVE_EVERY_S = 60.0

#: How long the part of a large file is kept that no run goes on with: two weeks.
PART_KEPT_NS = 14 * 24 * 3600 * 10**9

#: A setting that a state keeps: the root it belongs to.
_ROOT_ID = "root_id"

#: Likewise: where it is.
_ROOT = "root"


@asynccontextmanager
async def own_state(
    place: roots.Place, command: str, *, is_new: bool = False
) -> AsyncIterator[StateThread]:
    """The state, under the lock of its root; saved back where it is used as a copy.

    Args:
        place: where the root, its state and its lock are.
        command: of fwsync, for the lock: ``push``, ``watch``.
        is_new: the folder may be another one than the state knows: a person has said so.

    Raises:
        Halted: another root stands where the known one was; nothing was made in it.
        LocalError: the state cannot be opened, or somebody else works on this root.
    """
    if not is_new:
        await asyncio.to_thread(check_known_root, place)
    with locks.RootLock(place, command=f"fwsync {command}"):
        root_id = roots.prepare_place(
            place, partial(known_roots.announce, place.record, place.root)
        )
        known_roots.remember(place.record, place.root, root_id)
        whereabouts.restore_work_copy(place)
        opener = partial(
            open_state,
            place.state_file,
            granularity_ns=place.granularity_ns,
            called=place.work_copy_of,
        )
        state = await StateThread.open(opener)
        try:
            await _keep_root_id(state, root_id, is_new=is_new)
            await state.call(_keep_root, place.root)
            if place.parts is not None:
                await state.call(_sweep, place.parts)
            async with saving(state, place):
                yield state
        finally:
            await state.close()


def check_known_root(place: roots.Place) -> None:
    """Halt at an empty mount point, or another disk, where the known root was (S61).

    Before anything is made in it: a lock or a marker of ours would hide that it is empty.

    Args:
        place: of the root; a state that cannot be read says nothing.

    Raises:
        Halted: the root is not the one that the state belongs to.
    """
    if place.marker is None or place.state_file.is_relative_to(place.root):
        return  # nothing below the root is ours, or the state went with it
    if not place.state_file.exists():
        return
    try:
        file = place.state_file
        with open_state(file, create=False, read_only=True, older_too=True) as state:
            known = state.setting(_ROOT_ID)
    except LocalError:
        return  # damaged, or newer: opening it says which
    if known and (why := roots.check_marker(place.root, known)):
        raise Halted(
            why,
            hint="mount what belongs there; or use another --state; --new-root says that this is "
            "the root from now on",
        )


def _sweep(state: State, parts: Path) -> None:
    """Keep the parts of large files that a run can go on with, and their rows, and no others."""
    state.downloads.forget_unused(since_ns=time.time_ns() - PART_KEPT_NS)
    begun = {roots.part_name(path): path for path in state.downloads.all()}
    roots.clean_parts(parts, begun.keys())
    for name, path in begun.items():
        if not (parts / name).is_file():
            state.downloads.end(path)


async def _keep_root_id(state: StateThread, root_id: str, *, is_new: bool) -> None:
    if root_id and (is_new or not await state.call(State.setting, _ROOT_ID)):
        await state.call(State.set_setting, _ROOT_ID, root_id)


def _keep_root(state: State, root: Path) -> None:
    """Where the root is: nothing in it says so where nothing of ours may be there."""
    now = json.dumps(str(root))  # in ASCII, whatever its name
    if state.setting(_ROOT) != now:
        state.set_setting(_ROOT, now)


def root_of(file: Path) -> Path | None:
    """The root that a state file was last used for; None: it does not say.

    Raises:
        LocalError: it cannot be read.
    """
    with open_state(file, create=False, read_only=True, older_too=True) as state:
        return root_as_kept(state)


def root_as_kept(state: State) -> Path | None:
    """The root that a state was last used for; None: it does not say."""
    known = state.setting(_ROOT)
    return Path(json.loads(known)) if known else None


@asynccontextmanager
async def saving(state: StateThread, place: roots.Place) -> AsyncIterator[None]:
    """Save a state that is used as a copy, at intervals and at the end."""
    home = place.work_copy_of
    if home is None:
        yield
        return

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            with contextlib.suppress(LocalError):  # the next one, or the last, may get there
                await state.call(State.save_copy, home)

    saver = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        saver.cancel()
        await asyncio.gather(saver, return_exceptions=True)
        await state.call(State.save_copy, home)


@asynccontextmanager
async def state_copy(place: roots.Place) -> AsyncIterator[StateThread]:
    """A copy of the state to look at: whatever is written to it is thrown away."""
    with tempfile.TemporaryDirectory(prefix="fwsync-plan-") as scratch:
        copy = Path(scratch) / "state.db"
        source = place.work_copy_of or place.state_file
        if source.exists():
            await asyncio.to_thread(copy_state, source, copy)
        opener = partial(open_state, copy, granularity_ns=place.granularity_ns)
        state = await StateThread.open(opener)
        try:
            yield state
        finally:
            await state.close()


def copy_state(source: Path, copy: Path) -> None:
    """Copy a state file that may be in use; the original is only read.

    One of an older fwsync is copied as it is: opened, the copy is brought up to date.
    """
    with open_state(source, create=False, read_only=True, older_too=True) as state:
        state.save_copy(copy, scratch=copy.parent)
