"""Wait for one's share of a bandwidth: one throttle for all bodies, workers and hosts.

The one rule: what is waited for here is nobody's fault. No stall and no time-out is
counted while a body waits for its turn, and who stops waiting has taken nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fwsync.limits import UNLIMITED, Bucket, Timetable, grain

#: How long one may wait before it looks whether another rate holds by now, in seconds.
LOOK_AGAIN_S = 0.2


def minute_of_week() -> int:
    """Minutes since Monday, midnight, in this machine's time zone."""
    now = time.localtime()
    return (now.tm_wday * 24 + now.tm_hour) * 60 + now.tm_min


class Throttle:
    """A rate that all bodies share, in both directions, first come first served.

    Args:
        timetable: the rates.
        now: monotonic seconds.
        sleep: as ``asyncio.sleep``.
        minute: the minute of the week in which we are.
    """

    def __init__(
        self,
        timetable: Timetable = UNLIMITED,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        minute: Callable[[], int] = minute_of_week,
    ) -> None:
        self._now, self._sleep, self._minute = now, sleep, minute
        self._bucket = Bucket(now())
        self._turn = asyncio.Lock()  # first in, first out, and safe to cancel
        self.set(timetable)

    def set(self, timetable: Timetable) -> None:
        """Another timetable; who waits now already waits by this one."""
        self._timetable = timetable
        self._rate = timetable.rate_at(self._minute())
        self._looked = self._now()

    @property
    def is_on(self) -> bool:
        """True if some time of the week has a limit."""
        return any(rate is not None for _, rate in self._timetable.steps)

    @property
    def rate(self) -> int | None:
        """What holds now, in bytes a second; None: no limit."""
        if len(self._timetable.steps) > 1 and self._now() - self._looked >= LOOK_AGAIN_S:
            self._rate = self._timetable.rate_at(self._minute())
            self._looked = self._now()
        return self._rate

    @property
    def grain(self) -> int:
        """Bytes to be handed over at a time, and paid for by one :meth:`spend`."""
        return grain(self.rate)

    async def spend(self, count: int) -> None:
        """Wait until so many bytes may go, or may be taken in."""
        if self.rate is None:
            return
        while count > 0:
            piece = min(count, self.grain)
            async with self._turn:
                while wait_s := self._bucket.wait_s(piece, self.rate, self._now()):
                    await self._sleep(min(wait_s, LOOK_AGAIN_S))
            count -= piece
