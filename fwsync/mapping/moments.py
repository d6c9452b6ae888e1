"""Points in time as text: read from names of files and folders, written as ISO 8601.

No clock and no zone of this machine: what comes without an offset goes without one, and
whoever sends it adds the zone of the site. Source of the codes: C's strptime.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fwsync.errors import UsageError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_OFFSET = r"Z|[+-]\d\d:?\d\d"

#: What each code matches. Digits are fixed in number, as export tools write them.
_CODES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d\d)",
    "m": r"(?P<m>\d\d)",
    "d": r"(?P<d>\d\d)",
    "j": r"(?P<j>\d{3})",
    "H": r"(?P<H>\d\d)",
    "I": r"(?P<I>\d\d)",
    "M": r"(?P<M>\d\d)",
    "S": r"(?P<S>\d\d)",
    "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[AaPp][Mm])",
    "b": r"(?P<b>[A-Za-z]{3})",
    "B": r"(?P<B>[A-Za-z]{3,9})",
    "a": r"[A-Za-z]{3}",
    "A": r"[A-Za-z]{6,9}",
    "z": rf"(?P<z>{_OFFSET})",
    "%": "%",
}

# ISO 8601, DICOM, and what lies between them on the disks of scanners.
_COMMON = re.compile(
    r"(?P<Y>\d{4})(?P<dash>[-_./]?)(?P<m>\d\d)(?P=dash)(?P<d>\d\d)"
    r"(?:[-_ T]?(?P<H>\d\d)[-_:. ]?(?P<M>\d\d)(?:[-_:. ]?(?P<S>\d\d)(?:\.(?P<f>\d{1,9}))?)?"
    rf"(?P<z>{_OFFSET})?)?"
)


@lru_cache(maxsize=64)
def format_regex(form: str) -> str:
    """A regular expression, without groups, for text in a strptime form.

    Raises:
        UsageError: a code is not known.
    """
    return re.sub(r"\(\?P<\w>", "(?:", _named_regex(form))


@lru_cache(maxsize=4096)
def read_moment(text: str, form: str = "") -> str | None:
    """A point in time as ISO 8601, or None if it is none.

    Args:
        text: ``2024-02-01 10:20:30``, ``20240201_102030``, ``20240201102030.5+0100``, …
        form: in strptime's codes; empty: any common form.

    Returns:
        ``2024-02-01T10:20:30``, with fraction and offset where the text has them.
    """
    pattern = re.compile(_named_regex(form)) if form else _COMMON
    match = pattern.fullmatch(text)
    return _iso(match.groupdict()) if match else None


def civil(moment_ns: int, offset_s: int = 0) -> str:
    """Nanoseconds since 1970 as fourteen digits, ``20240201102030``.

    Args:
        moment_ns: UTC.
        offset_s: of the zone that is wanted, east of Greenwich.
    """
    days, rest = divmod(moment_ns // 1_000_000_000 + offset_s, 86_400)
    year, month, day = _date_of(days)
    return f"{year:04}{month:02}{day:02}{rest // 3600:02}{rest // 60 % 60:02}{rest % 60:02}"


def _named_regex(form: str) -> str:
    pieces: list[str] = []
    seen: set[str] = set()
    at = 0
    for match in re.finditer(r"%(.?)", form):
        code = match[1]
        if code not in _CODES or (code in seen and code != "%"):
            why = "appears twice" if code in seen else "is not a code for a time"
            raise UsageError(
                f"time format {form!r}: %{code} {why}", hint="known: %Y %m %d %H %M %S"
            )
        seen.add(code)
        pieces += [re.escape(form[at : match.start()]), _CODES[code]]
        at = match.end()
    return "".join([*pieces, re.escape(form[at:])])


def _iso(parts: dict[str, str | None]) -> str | None:
    day = _day(parts)
    clock = _clock(parts)
    if day is None or clock is None:
        return None
    fraction = f".{parts['f']}" if parts.get("f") else ""
    zone = parts.get("z") or ""
    if len(zone) == 5:
        zone = f"{zone[:3]}:{zone[3:]}"
    return f"{day}T{clock}{fraction}{zone}"


def _day(parts: dict[str, str | None]) -> str | None:
    year = int(parts.get("Y") or 0)
    if not year:
        short = int(parts.get("y") or 70)
        year = short + (2000 if short < 69 else 1900)  # POSIX: 69 to 99 are the last century's
    if parts.get("j"):
        of_year = int(parts["j"] or 0)
        if not 1 <= of_year <= 365 + _is_leap(year):
            return None
        year, month, day = _date_of(_days_before(year) + of_year - 1)
        return f"{year:04}-{month:02}-{day:02}"
    name = (parts.get("b") or parts.get("B") or "")[:3].lower()
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(parts.get("m") or not name)
    day = int(parts.get("d") or 1)
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month):
        return None
    return f"{year:04}-{month:02}-{day:02}"


def _clock(parts: dict[str, str | None]) -> str | None:
    hour, minute, second = (int(parts.get(code) or 0) for code in "HMS")
    if parts.get("I"):
        half = int(parts["I"] or 0)
        if not 1 <= half <= 12:
            return None
        hour = half % 12 + (12 if (parts.get("p") or "").lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        return None
    return f"{hour:02}:{minute:02}:{min(second, 59):02}"


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in(year: int, month: int) -> int:
    return 28 + _is_leap(year) if month == 2 else 30 + (month + month // 8) % 2


def _days_before(year: int) -> int:
    """Days from 1970-01-01 to the first of January of a year."""
    past = year - 1
    return past * 365 + past // 4 - past // 100 + past // 400 - 719_162


def _date_of(days: int) -> tuple[int, int, int]:
    """Year, month and day of the month of a day counted from 1970-01-01."""
    year = 1970 + days * 400 // 146_097  # at most one off: 400 years are 146 097 days
    year += (days >= _days_before(year + 1)) - (days < _days_before(year))
    of_year = days - _days_before(year)
    month = 1
    while of_year >= _days_in(year, month):
        of_year -= _days_in(year, month)
        month += 1
    return year, month, of_year + 1
