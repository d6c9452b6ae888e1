"""Times as clients write them, and as they are kept: UTC.

Source: SDK 23 sends an offset; core18 takes a time without one as UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fwsync.sandbox.problems import invalid


def moment(text: object) -> datetime:
    """The moment an ISO 8601 text stands for, with its own offset; UTC where it has none.

    Raises:
        ApiError: 400, it is no such text.
    """
    if not isinstance(text, str):
        raise invalid("a timestamp is a text, as ISO 8601 has it")
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise invalid(f"{text[:40]!r} is not a time as ISO 8601 has it") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def utc(text: object) -> str:
    """The same moment as text that sorts by time: ``2026-01-02T03:04:05+00:00``.

    Raises:
        ApiError: 400, it is no time.
    """
    try:
        return moment(text).astimezone(UTC).isoformat()
    except OverflowError as error:  # the first or the last day there is
        raise invalid(f"{text!r} is out of range") from error
