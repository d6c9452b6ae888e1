"""``dataset_description.json``, which every BIDS tree has, from what a curated project says.

The one rule: it is written where there is none, and again only where it still is as it was
written. It takes no part in any run: it is neither sent nor missed.
"""

from __future__ import annotations

import os
from typing import Final

from fwsync import localfs
from fwsync.arrivals import Landing, Whole
from fwsync.digest import ContentHasher
from fwsync.errors import FileProblem
from fwsync.mapping.curated import DESCRIPTION
from fwsync.model import ContainerRef, Decision, Level, LocalEntry, Problem, RemoteEntry, Verb
from fwsync.state import StateThread
from fwsync.threads import in_thread

#: More than this is not read: ours is a few hundred bytes.
_MOST: Final = 1 << 20


async def describe(
    state: StateThread, root_fd: int, *, parts: str, trash: str, fsync: bool = True
) -> Problem | None:
    """Write what the last listing told of the project, if it told of it.

    Args:
        state: knows what was told, and what was written before.
        root_fd: the root.
        parts: the folder for parts, below the root.
        trash: a folder below the root for the bytes that are replaced.
        fsync: it is made durable.

    Returns:
        What is in the way, if anything is.
    """
    content = await state.call(lambda s: s.told.description())
    if content is None:
        return None
    hasher = ContentHasher()
    hasher.update(content)
    written = await state.call(lambda s: s.told.written())
    try:
        here, tag = await in_thread(_here, root_fd)
        if here is not None and (tag == hasher.local_tag or tag != written):
            return None  # as it should be; or the user's own
        await state.call(lambda s: s.told.will_write(hasher.local_tag))
        container = ContainerRef(Level.PROJECT, "")
        entry = RemoteEntry(
            DESCRIPTION, len(content), hasher.digest, hasher.digest, container, DESCRIPTION
        )
        decision = Decision(Verb.DOWNLOAD, DESCRIPTION, here, entry)
        landing = Landing(root_fd, parts=parts, trash=trash, fsync=fsync)
        landed = await in_thread(landing.land, [Whole(decision, content)])
    except FileProblem as error:
        return Problem.of(DESCRIPTION, error)
    for _, failed in landed.failed:
        return Problem.of(DESCRIPTION, failed)
    return None


def _here(root_fd: int) -> tuple[LocalEntry | None, str]:
    """The file that stands there, and its tag; empty if it is none that we would write."""
    if localfs.look(root_fd, DESCRIPTION) is None:
        return None, ""
    file_fd = localfs.open_regular(root_fd, DESCRIPTION)
    with os.fdopen(file_fd, "rb") as file:
        content = file.read(_MOST)
        stamp = localfs.stamp_of(os.fstat(file.fileno()))
    hasher = ContentHasher()
    hasher.update(content)
    return LocalEntry(DESCRIPTION, stamp), hasher.local_tag
