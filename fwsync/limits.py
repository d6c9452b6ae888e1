"""How much and how fast: rates by the hour of the week, a bucket of bytes, what a run may move.

Pure: every moment is passed in. Waiting is done elsewhere, in ``remotes/throttle``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from fwsync.model import Decision

WEEK_MIN = 7 * 24 * 60  #: minutes of a week, which begins on Monday at midnight

#: No more than what a limit allows in this time ever goes out at once, in seconds.
BURST_S = 0.1

#: Bytes that are paid for at a time, at most: what one worker may take before the next one.
GRAIN = 64 * 1024

#: A rate below this, in bytes a second, is a typing error: headers alone need more.
LEAST_RATE = 1000

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_STEP = re.compile(r"(?:([A-Za-z]+)-)?(\d{1,2}):(\d{2}),(\S+)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)


# ------------------------------------------------------------------------------- as written


def parse_size(value: object) -> object:
    """Bytes from a number or from text such as ``800k``, ``10 MB``, ``1.5GiB``.

    ``k``, ``M``, ``G``, ``T`` and ``P`` are powers of 1000, with an ``i`` powers of 1024.

    Raises:
        ValueError: it is text, and no size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("not a size")
    number, unit, binary = match.groups()
    if binary and not unit:
        raise ValueError("not a size")
    power = " kmgtp".index(unit.lower()) if unit else 0
    return round(float(number) * (1024 if binary else 1000) ** power)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates that hold from a minute of the week on, until the next one, week after week."""

    #: (minute since Monday 00:00, bytes a second or None for no limit); sorted, never empty
    steps: tuple[tuple[int, int | None], ...]

    def rate_at(self, minute: int) -> int | None:
        """The rate at a minute of the week, in bytes a second; None: no limit.

        What comes before the first step of the week still has the rate of the last one.
        """
        index = bisect_right(self.steps, minute % WEEK_MIN, key=lambda step: step[0])
        return self.steps[index - 1][1]


#: No limit at any time.
UNLIMITED = Timetable(((0, None),))


def parse_timetable(value: object) -> object:
    """A timetable from one rate, or from rates with the times from which they hold.

    ``10M``, ``off``, ``08:00,1M 18:00,off``, ``Mon-00:00,512k Sat-08:00,off``. A time
    without a day is that of every day, but for a day that has a step of its own then.
    Source of the form: rclone's ``--bwlimit``.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.0f}"
    if not isinstance(value, str):
        return value
    words = value.split()
    if not words or "," not in value:
        return Timetable(((0, _rate(value)),))
    daily: dict[int, int | None] = {}
    weekly: dict[int, int | None] = {}
    for word in words:
        match = _STEP.fullmatch(word)
        if match is None:
            raise ValueError("not a step")
        day, hour, minute, rate = match.groups()
        if int(hour) > 23 or int(minute) > 59:
            raise ValueError("not a time of the day")
        at = int(hour) * 60 + int(minute)
        table = weekly if day else daily
        at += _day(day) * 24 * 60 if day else 0
        if at in table:
            raise ValueError("a time comes twice")
        table[at] = _rate(rate)
    every_day = {day * 24 * 60 + at: rate for day in range(7) for at, rate in daily.items()}
    return Timetable(tuple(sorted((every_day | weekly).items(), key=lambda step: step[0])))


def _day(name: str) -> int:
    for number, day in enumerate(_DAYS):
        if name.lower() in (day, day[:3]):
            return number
    raise ValueError("not a day")


def _rate(text: str) -> int | None:
    if text.strip().lower() in ("off", "0"):
        return None
    size = parse_size(re.sub(r"/s$", "", text.strip()))
    if not isinstance(size, int) or size < LEAST_RATE:
        raise ValueError("too slow")
    return size


# -------------------------------------------------------------------------------- as it runs


def grain(rate: int | None) -> int:
    """How many bytes are handed over at a time, so that many workers share a rate evenly."""
    return GRAIN if rate is None else max(1, min(GRAIN, int(rate * BURST_S / 2)))


class Bucket:
    """Bytes that may go: they come at a rate, and no more are kept than a short burst.

    It begins empty, so that over any time no more goes out than rate x time.
    """

    def __init__(self, now: float) -> None:
        self._at = now
        self._level = 0.0

    def wait_s(self, count: int, rate: int | None, now: float) -> float:
        """Take ``count`` bytes if they are there.

        Args:
            count: no more than :func:`grain` for a smooth flow.
            rate: bytes a second that holds now; it may be another one with each call.
            now: monotonic seconds.

        Returns:
            0 if they were taken; else the seconds to wait before asking again, and
            nothing was taken: whoever gives up waiting owes nothing.
        """
        passed, self._at = max(0.0, now - self._at), now
        if rate is None:
            self._level = 0.0
            return 0.0
        self._level = min(self._level + passed * rate, max(rate * BURST_S, count))
        # A thousandth of a byte is an error of the arithmetic, and would be waited for alone.
        if self._level >= count - 1e-3:
            self._level -= count
            return 0.0
        return (count - self._level) / rate


# ------------------------------------------------------------------------- what a run may do


def within(decisions: Iterable[Decision], most_bytes: int) -> tuple[list[Decision], list[Decision]]:
    """The transfers that a run may begin, and those that are left for the next one.

    One is begun as long as those before it have not reached the limit: so the last one may
    exceed it, and a file that is larger than the limit gets through, in a run of its own.

    Args:
        decisions: in the order in which they are carried out.
        most_bytes: the limit.
    """
    begun: list[Decision] = []
    left: list[Decision] = []
    total = 0
    for one in decisions:
        (begun if total < most_bytes else left).append(one)
        total += one.size
    return begun, left


# ------------------------------------------------------------------------ how many at once

#: Transfers under way when a run begins, and at most, where nobody says how many.
FIRST_WORKERS, MOST_WORKERS = 8, 32

#: What a file counts for beside its bytes: what is sent while one more request is answered.
FILE_WORTH = 64 * 1024

#: More workers are kept for so much more throughput; less is within what a line varies by.
GAIN = 1.1

#: After a step that brought nothing, so many samples pass before the next; doubled each time.
HOLD_FIRST, HOLD_MOST = 8, 128


class Climb:
    """How many transfers should be under way: more as long as more bring more.

    A step up is twice as many. It is kept if the throughput grows by it, and taken back if
    not; then there is a rest before the next try, so that the number does not swing. A
    failure of this machine or the line (no descriptors left, time-outs) halves it at once.

    Args:
        fixed: the number that a user asked for; it stays. None: it is found.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.workers = FIRST_WORKERS if fixed is None else fixed
        self._fixed = fixed is not None
        self._before: tuple[int, float] | None = None  # workers and rate before the last step up
        self._rest = 0  # samples to wait
        self._hold = HOLD_FIRST

    def sample(self, rate: float, *, failed: bool = False) -> int:
        """Take what was moved since the last sample, per second; how many workers now?

        Args:
            rate: bytes, and :data:`FILE_WORTH` for each file. Taken only while there is work
                for every worker, for else it says nothing about their number.
            failed: something failed that may be for want of room.
        """
        if self._fixed:
            return self.workers
        if failed:
            self.workers = max(1, self.workers // 2)
            self._before, self._rest = None, self._hold
        elif self._rest:
            self._rest -= 1
        elif self._before is not None and rate < self._before[1] * GAIN:
            self.workers, self._before = self._before[0], None
            self._rest, self._hold = self._hold, min(HOLD_MOST, 2 * self._hold)
        elif self.workers < MOST_WORKERS:
            if self._before is not None:
                self._hold = HOLD_FIRST
            self._before = (self.workers, rate)
            self.workers = min(MOST_WORKERS, 2 * self.workers)
            self._rest = 1  # what those that are new bring is not seen at once
        else:
            self._before = None
        return self.workers
