"""``fwsync history``: what happened to a file, under this name and those it had before.

Its rule: what is told was recorded when it happened, and nothing is guessed from what is so now.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fwsync import below_root, localfs, restored_noted
from fwsync.below_root import Named
from fwsync.localfs import disk_errors
from fwsync.model import RelPath
from fwsync.state import State
from fwsync.state_history import Event, Standing, without_echoes


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to a file, or to all below a folder."""

    root: Path
    path: RelPath
    events: Sequence[Event]  #: in the order in which they happened, the newest last
    earlier: int  #: how many came before these, and are left out
    standing: Standing | None  #: what is agreed on now; None: nothing, or it is a folder
    is_folder: bool  #: it is told of what is below it


@disk_errors()
def of(path: str, flags: dict[str, object], config: Path | None, *, last: int = 0) -> Story:
    """What happened at a path, which need not be there any more.

    Args:
        path: of a file or folder, as it was typed.
        flags: settings that override file and environment.
        config: the settings file.
        last: so many events, the newest; 0: all, however many these are.

    Raises:
        UsageError: it is below no folder of ours.
    """
    one = below_root.named(path, flags, config)
    with below_root.state_of(one) as state:
        _take_in(one, state)
        return _story(one, state, last)


def _take_in(one: Named, state: State) -> None:
    """What was put back since the last run, which will write it down: into this copy."""
    last = state.last_runs(1)
    state.history.begin(last[0].id + 1 if last else 1)
    root_fd = localfs.open_root(one.root)
    try:
        for _, restored in restored_noted.noted(root_fd):
            state.history.take_restored(restored)
    finally:
        os.close(root_fd)


def _story(one: Named, state: State, last: int) -> Story:
    found: dict[tuple[str, int, int], Event] = {}
    earlier = 0
    paths = state.history.paths_of(one.path)
    for path in paths:
        told = state.history.latest(path, last)
        found |= {(event.path, event.run, event.number): event for event in told.events}
        earlier += told.earlier
    once = without_echoes(found.values())
    events = sorted(once, key=lambda event: (event.run, event.number))
    shown = events[-last:] if last else events
    standings = [state.history.standing(path) for path in paths]
    standing = next((known for known in standings if known is not None), None)
    is_folder = standing is None and any(
        event.path.startswith(f"{one.path}/") or not one.path for event in events
    )
    earlier += len(events) - len(shown)
    return Story(one.root, one.path, shown, earlier, standing, is_folder)
