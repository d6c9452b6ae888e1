"""The zone of a time that names none: the one thing that a header cannot know.

It reads the system's table of zones, and no clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from fwsync.errors import UsageError


@lru_cache(maxsize=16)
def zone_named(name: str) -> ZoneInfo:
    """A zone by its IANA name (``Europe/Zurich``).

    Raises:
        UsageError: the system knows no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # KeyError: ZoneInfoNotFoundError is one. The others: the name of a folder, or no path.
        raise UsageError(
            f"{name!r}: is no time zone that this system knows",
            hint="expected a name such as Europe/Zurich; see `timedatectl list-timezones`",
        ) from None


def zoned(moment: str, zone: str) -> str:
    """A time in ISO 8601 with an offset.

    Args:
        moment: with an offset, which is kept, or without one.
        zone: IANA name, for a moment without an offset. Of the hour that comes twice in
            autumn the first is meant; an hour that is skipped in spring counts on with the
            offset before it.

    Returns:
        ``2024-02-01T10:20:30+01:00``.

    Raises:
        UsageError: there is no such zone.
        ValueError: it is no moment.
    """
    seen = datetime.fromisoformat(moment)
    if seen.tzinfo is None:
        seen = seen.replace(tzinfo=zone_named(zone))
    return seen.isoformat()


def zone_if_true(moment: str, zone: str) -> str:
    """The zone's name if the moment's own offset is the zone's, else empty.

    For the field that names a zone beside a time: a wrong name would be worse than none.

    Raises:
        UsageError: there is no such zone.
        ValueError: it is no moment.
    """
    seen = datetime.fromisoformat(moment)
    if seen.tzinfo is None:
        return zone
    there = seen.astimezone(UTC).astimezone(zone_named(zone))
    return zone if there.utcoffset() == seen.utcoffset() else ""


def local_zone() -> str:
    """The IANA name of this machine's zone; empty where it does not say.

    Source: ``/etc/localtime`` is a link into the table of zones (``man 5 localtime``).
    """
    try:
        there = Path("/etc/localtime").readlink()
    except OSError:
        return ""
    _, found, name = str(there).partition("zoneinfo/")
    if not found:
        return ""
    try:
        zone_named(name)
    except UsageError:
        return ""
    return name
