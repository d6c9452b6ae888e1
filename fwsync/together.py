"""Small files land together, some groups at a time, while the next ones still come.

The one rule: no more is held in memory than the groups that land, and one more of each
stream: whoever brings more waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fwsync.arrivals import Landed, Landing, Whole
from fwsync.errors import FwsyncError
from fwsync.localfs import most_descriptors
from fwsync.threads import in_thread_of

#: Groups that land at once. A disk makes many files durable with one commit of its journal,
#: but only those that ask for it at the same time.
HANDS: Final = 16

#: … and where nothing waits for the disk: a second one would only wait for the interpreter that
#: the first one has, and each wait costs more than what it waits for.
HANDS_UNSYNCED: Final = 1

#: A group is closed at so many files or bytes, whichever comes first.
GROUP_FILES: Final = 32
GROUP_BYTES: Final = 2 << 20


class Hands:
    """The threads in which groups land, for all streams of a run.

    There are fewer of them where this process may not have many files open: all parts of a
    group are open at once, and half of what is allowed is enough for them.

    Args:
        landing: where to.
    """

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        wanted = HANDS if landing.fsync else HANDS_UNSYNCED
        count = max(1, min(wanted, most_descriptors() // (2 * GROUP_FILES)))
        # Its threads begin with the first call, and end when nobody holds this any more.
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="fwsync-landing")
        self._free = asyncio.Semaphore(count)

    async def taken(self) -> None:
        """Wait until there is a thread for one more call of :meth:`land`, and take it."""
        await self._free.acquire()

    def left(self) -> None:
        """Give back one that was taken, and is not needed."""
        self._free.release()

    async def land(self, wholes: Sequence[Whole]) -> Landed:
        """Land one group in the thread that was taken for it, which is free again then."""
        try:
            return await in_thread_of(self._executor, self._landing.land, wholes)
        finally:
            self.left()


class Together:
    """The small files of one stream.

    Args:
        hands: that bring them to the disk.
        tasks: where they do; its end is the end of all of them.
    """

    def __init__(self, hands: Hands, tasks: asyncio.TaskGroup) -> None:
        self._hands = hands
        self._tasks = tasks
        self._group: list[Whole] = []
        self._size = 0
        self.landed = Landed()  #: complete at the end of the tasks
        self.error: FwsyncError | None = None  #: what ended a group; the next ones are not begun

    async def add(self, whole: Whole) -> None:
        """Take a file; returns when there is room for the next.

        Raises:
            FwsyncError: an earlier one met what lets none land any more.
        """
        self._group.append(whole)
        self._size += len(whole.content)
        if len(self._group) >= GROUP_FILES or self._size >= GROUP_BYTES:
            await self.rest()

    async def rest(self) -> None:
        """Let those land that have not been handed over; they have when the tasks have ended.

        Raises:
            FwsyncError: as :meth:`add`.
        """
        group, self._group, self._size = self._group, [], 0
        if not group:
            return
        await self._hands.taken()
        if self.error is not None:
            self._hands.left()
            raise self.error
        self._tasks.create_task(self._land(group))

    async def _land(self, group: Sequence[Whole]) -> None:
        try:
            self.landed.add(await self._hands.land(group))
        except FwsyncError as error:
            self.error = self.error or error
