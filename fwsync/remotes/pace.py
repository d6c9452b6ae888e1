"""How fast one host may be asked: requests in flight, pauses, and when to give up.

One :class:`Pace` a host, shared by all workers. It never sends anything; it is told
what came of each request, and makes the next one wait. No clock and no dice of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_CAP_S = 120.0  #: the official SDK waits no longer either (sdk 23, observed)
TOLD_S = 3.0  #: a pause that is longer is told to the person who waits
_FIRST_WAIT_S = 0.5  #: upper end of the first full-jitter wait
_LONGEST_WAIT_S = 30.0  #: upper end of the last one: also how late a recovery is noticed


def retry_after_s(value: str | None, *, date: str | None, wall: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, or None where it says nothing usable.

    Args:
        value: the header: seconds, or an HTTP date.
        date: the answer's own ``Date`` header: the server's clock, where it has one.
        wall: our clock, in seconds since 1970, used only if ``date`` is missing.

    Returns:
        0 or more, as it was asked; None for garbage and negative numbers. A pause is never
        longer than :data:`RETRY_AFTER_CAP_S`, see :meth:`Pace.failed`.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    then = _seconds_of(value)
    if then is None:
        return None
    now = _seconds_of(date) if date else None
    return max(then - (wall if now is None else now), 0.0)


def _seconds_of(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def jitter_s(attempt: int, random: Callable[[], float]) -> float:
    """Full jitter: anything between nothing and a bound that doubles with each attempt.

    Args:
        attempt: 0 for the first wait.
        random: uniform in [0, 1).
    """
    return random() * float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt, 10)))


class Pace:
    """The requests in flight to one host, and what the host said about them.

    Args:
        limit: requests in flight at the start, and at most.
        now: monotonic seconds.
        sleep: as ``asyncio.sleep``.
        random: uniform in [0, 1).
        tell: is told, in words and once a pause, that the server makes us wait.
    """

    def __init__(
        self,
        limit: int,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._now = now
        self._tell = tell
        self._told_until = float("-inf")  # the pause that was told last ends here
        self._sleep = sleep
        self._random = random
        self._most = float(limit)
        self._window = float(limit)
        self._threshold = float(limit)
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._open_at = 0.0  # no request starts before this moment
        self._last_cut = float("-inf")  # when the window was last halved
        self._streak = 0  # waves of failures with no success in between
        self._last_wave = float("-inf")
        self.last_progress = float("-inf")  #: when an answer or a byte last came through
        self.progress = 0  #: how often one did
        self._asked = (float("-inf"), 0.0, 0)  # until when, seconds, the status

    @property
    def limit(self) -> int:
        """Requests that may be in flight now; at least 1."""
        return max(1, int(self._window))

    @property
    def in_flight(self) -> int:
        """Requests in flight now."""
        return self._in_flight

    @property
    def open_at(self) -> float:
        """No request starts before this moment."""
        return self._open_at

    @property
    def asked(self) -> str:
        """What the server asked for, in words, while the pause is one that it asked for."""
        until, seconds, status = self._asked
        if until <= self._now():
            return ""
        return f"the server asks to wait {seconds:.0f} s ({status})"

    @asynccontextmanager
    async def slot(self, patience: Callable[[], float] | None = None) -> AsyncIterator[float]:
        """Wait until a request may start; yields the moment it does. Freed on the way out.

        Args:
            patience: until when a pause is waited for; raises where it is at its end, and is
                asked again when that moment has come. None: as long as the pause is.
        """
        await self._enter(patience)
        try:
            yield self._now()
        finally:
            self._in_flight -= 1
            self._wake()

    async def _enter(self, patience: Callable[[], float] | None) -> None:
        while True:
            pause = self._open_at - self._now()
            if pause > 0:
                if patience is not None:
                    pause = min(pause, patience() - self._now())
                self._say()
                await self._sleep(pause)
            elif self._in_flight < self.limit:
                self._in_flight += 1
                return
            else:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    if waiter.done() and not waiter.cancelled():
                        self._wake()  # the turn was ours: hand it on
                    raise

    def _say(self) -> None:
        """Tell of a pause that the server asked for; once, however many wait for its end."""
        until, _, status = self._asked
        left_s = until - self._now()
        # What was under way when the pause began makes it longer, a little, with each answer.
        if self._tell is not None and left_s > TOLD_S and until > self._told_until + TOLD_S:
            self._told_until = until
            self._tell(f"waiting {math.ceil(left_s)} s: the server asks for it ({status})")

    def _wake(self) -> None:
        free = self.limit - self._in_flight
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def progressed(self) -> None:
        """A byte came through."""
        self.progress += 1
        self.last_progress = self._now()

    def succeeded(self) -> None:
        """The host answered and did not ask us to slow down."""
        self.progressed()
        self._streak = 0
        # Additive increase: one more a window of successes; quicker below the size that
        # last worked, or a pull would crawl for minutes after a short outage.
        step = 1.0 if self._window < self._threshold else 1.0 / self._window
        self._window = min(self._most, self._window + step)
        self._wake()

    def failed(self, *, started: float, asked_s: float | None = None, busy: bool = False) -> None:
        """The host said "later", or said nothing.

        A lone failure among successes slows down only the request that met it; a host that
        names a time, or that fails wave after wave, slows down everybody.

        Args:
            started: when the request began: what was already under way when we slowed
                down belongs to the same wave.
            asked_s: what ``Retry-After`` asked for, in a 429 or a 503; it is obeyed up to
                :data:`RETRY_AFTER_CAP_S`, then the server is asked again.
            busy: a 429: too many requests, whatever else succeeds.
        """
        now = self._now()
        if asked_s is not None:
            until = now + min(asked_s, RETRY_AFTER_CAP_S)
            self._open_at = max(self._open_at, until)
            if until >= self._asked[0]:
                self._asked = (until, asked_s, 429 if busy else 503)
        if started >= self._last_wave:
            self._streak += 1
            self._last_wave = now
            if self._streak > 2 and asked_s is None:
                pause = jitter_s(self._streak - 1, self._random)
                self._open_at = max(self._open_at, now + pause)
        if (busy or asked_s is not None or self._streak > 1) and started >= self._last_cut:
            self._last_cut = now
            self._window = max(1.0, self._window / 2)
            if self._streak <= 2:  # a long outage says nothing about the size that works
                self._threshold = self._window
