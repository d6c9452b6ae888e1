"""Times that get the zone of the site."""

from __future__ import annotations

import pytest

from fwsync.errors import UsageError
from fwsync.zones import zone_if_true, zone_named, zoned


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2024-02-01T10:20:30", "2024-02-01T10:20:30+01:00"),
        ("2024-07-01T10:20:30.5", "2024-07-01T10:20:30.500000+02:00"),
        ("2024-07-01T10:20:30-05:00", "2024-07-01T10:20:30-05:00"),
        ("2024-10-27T02:30:00", "2024-10-27T02:30:00+02:00"),  # comes twice: the first
        ("2024-03-31T02:30:00", "2024-03-31T02:30:00+01:00"),  # is skipped
    ],
)
def test_a_time_without_an_offset_gets_that_of_the_zone(moment: str, expected: str) -> None:
    assert zoned(moment, "Europe/Zurich") == expected


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Olympus", "../../etc/passwd", "/etc/passwd"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="time zone"):
        zone_named(name)


def test_a_zone_is_named_beside_a_time_only_if_the_time_is_of_that_zone() -> None:
    assert zone_if_true("2024-02-01T10:20:30+01:00", "Europe/Zurich") == "Europe/Zurich"
    assert zone_if_true("2024-02-01T10:20:30", "Europe/Zurich") == "Europe/Zurich"
    assert zone_if_true("2024-02-01T10:20:30-05:00", "Europe/Zurich") == ""
