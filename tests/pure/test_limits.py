"""Rates by the hour of the week, a bucket of bytes, and what a run may begin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.limits import (
    BURST_S,
    FIRST_WORKERS,
    GAIN,
    GRAIN,
    HOLD_FIRST,
    MOST_WORKERS,
    UNLIMITED,
    WEEK_MIN,
    Bucket,
    Climb,
    Timetable,
    grain,
    parse_size,
    parse_timetable,
    within,
)
from fwsync.model import Decision, LocalEntry, RelPath, Stamp, Verb

DAY = 24 * 60


def timetable(text: str) -> Timetable:
    found = parse_timetable(text)
    assert isinstance(found, Timetable)
    return found


# --------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("7", 7),
        ("7b", 7),
        ("800k", 800_000),
        ("800K", 800_000),
        ("10M", 10_000_000),
        ("10 MB", 10_000_000),
        (".5G", 500_000_000),
        ("1.5MiB", 1_572_864),
        ("2Ki", 2048),
        ("1TiB", 2**40),
    ],
)
def test_a_size_is_read_in_thousands_or_with_an_i_in_1024s(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "M", "-1", "1.2.3", "5 apples", "1i", "1e3", "1,5M", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


# ---------------------------------------------------------------------------------- timetables


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10_000_000), ("1.5MiB/s", 1_572_864), ("off", None), ("OFF", None), ("0", None)],
)
@given(minute=st.integers(0, 2 * WEEK_MIN))
def test_one_rate_holds_at_every_minute(text: str, rate: int | None, minute: int) -> None:
    assert rate == timetable(text).rate_at(minute)


def test_a_number_is_a_rate_too() -> None:
    assert parse_timetable(250_000) == timetable("250k")


def test_a_rate_without_a_day_is_that_of_every_day() -> None:
    table = timetable("08:00,1M 18:00,off")

    for day in range(7):
        assert table.rate_at(day * DAY + 8 * 60 - 1) is None
        assert table.rate_at(day * DAY + 8 * 60) == 1_000_000
        assert table.rate_at(day * DAY + 18 * 60 - 1) == 1_000_000
        assert table.rate_at(day * DAY + 18 * 60) is None


def test_the_week_is_round() -> None:
    table = timetable("Mon-00:30,512k Sat-08:00,off")

    assert table.rate_at(0) is None  # since last Saturday
    assert table.rate_at(30) == 512_000
    assert table.rate_at(5 * DAY + 8 * 60 - 1) == 512_000
    assert table.rate_at(5 * DAY + 8 * 60) is None
    assert table.rate_at(WEEK_MIN - 1) is None


def test_a_day_of_its_own_comes_before_every_day() -> None:
    table = timetable("08:00,1M sunday-08:00,off")

    assert table.rate_at(5 * DAY + 8 * 60) == 1_000_000
    assert table.rate_at(6 * DAY + 8 * 60) is None
    assert table.rate_at(6 * DAY + 8 * 60 - 1) == 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "-1M",
        "10",
        "08:00",
        "08:00,",
        "24:00,1M",
        "08:60,1M",
        "Mon,1M",
        "Someday-08:00,1M",
        "08:00,1M 08:00,2M",
        "Mon-08:00,1M monday-08:00,2M",
        "08:00,1M noon,2M",
    ],
)
def test_what_is_no_timetable_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|twice|slow"):
        parse_timetable(text)


steps = st.dictionaries(
    st.integers(0, WEEK_MIN - 1), st.one_of(st.none(), st.integers(1000, 10**9)), min_size=1
)


@given(steps, st.integers(0, WEEK_MIN - 1))
def test_the_rate_is_that_of_the_latest_step(table: dict[int, int | None], minute: int) -> None:
    days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    text = " ".join(
        f"{days[at // DAY]}-{at % DAY // 60:02}:{at % 60:02},{'off' if rate is None else rate}"
        for at, rate in table.items()
    )
    expected = next(
        table[at % WEEK_MIN]
        for at in range(minute, minute - WEEK_MIN - 1, -1)
        if at % WEEK_MIN in table
    )

    assert expected == timetable(text).rate_at(minute)


# ------------------------------------------------------------------------------------- buckets

rates = st.integers(1000, 10**9)


@given(rates, st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, GRAIN)), max_size=60))
def test_never_more_than_the_rate_and_never_more_than_a_burst(
    rate: int, asked: list[tuple[float, int]]
) -> None:
    bucket = Bucket(0.0)
    now = 0.0
    went: list[tuple[float, int]] = []
    for pause, count in asked:
        now += pause
        piece = min(count, grain(rate))
        if not bucket.wait_s(piece, rate, now):
            went.append((now, piece))

    for index, (first, _) in enumerate(went):
        for last_index in range(index, len(went)):
            passed = went[last_index][0] - first
            total = sum(piece for _, piece in went[index : last_index + 1])
            assert total <= rate * (passed + BURST_S) + 1


@given(rates, st.integers(1, 200))
def test_who_waits_as_long_as_told_gets_the_rate_exactly(rate: int, pieces: int) -> None:
    bucket = Bucket(0.0)
    now, count = 0.0, grain(rate)
    for _ in range(pieces):
        while wait_s := bucket.wait_s(count, rate, now):
            now += wait_s

    assert now == pytest.approx(pieces * count / rate, rel=1e-3, abs=1e-4)


def test_who_gives_up_owes_nothing() -> None:
    bucket = Bucket(0.0)

    assert bucket.wait_s(5000, 100_000, 0.0) == pytest.approx(0.05)
    assert bucket.wait_s(5000, 100_000, 0.05) == 0.0


def test_idle_time_is_saved_up_for_no_more_than_a_burst() -> None:
    bucket = Bucket(0.0)

    assert [0.0] * 2 == [bucket.wait_s(5000, 100_000, 3600.0) for _ in range(2)]
    assert bucket.wait_s(5000, 100_000, 3600.0) == pytest.approx(0.05)


def test_another_rate_holds_at_once() -> None:
    bucket = Bucket(0.0)

    assert bucket.wait_s(5000, 1000, 0.0) == pytest.approx(5.0)
    assert bucket.wait_s(5000, 100_000, 0.05) == 0.0
    assert bucket.wait_s(10**9, None, 0.05) == 0.0
    assert bucket.wait_s(5000, 100_000, 0.05) > 0.0  # nothing was saved while there was no limit


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(100.0)

    assert bucket.wait_s(1000, 10_000, 90.0) == pytest.approx(0.1)


@given(rates)
def test_a_grain_is_half_a_burst_at_most(rate: int) -> None:
    assert 1 <= grain(rate) <= max(1, rate * BURST_S / 2)
    assert grain(rate) <= GRAIN == grain(None)


def test_no_limit_is_no_limit() -> None:
    assert UNLIMITED.rate_at(0) is None


# -------------------------------------------------------------------------- what a run may begin


def sends(*sizes: int) -> list[Decision]:
    return [
        Decision(
            Verb.UPLOAD,
            RelPath(f"{number:04}"),
            local=LocalEntry(RelPath(f"{number:04}"), Stamp(size, 0, 0, 0, 0)),
        )
        for number, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 500))
def test_what_is_begun_ends_with_the_file_that_reaches_the_limit(
    sizes: list[int], most: int
) -> None:
    begun, left = within(sends(*sizes), most)

    assert begun + left == sends(*sizes)
    assert sum(one.size for one in begun[:-1]) < most
    if left:
        assert sum(one.size for one in begun) >= most


def test_a_file_larger_than_the_limit_gets_through_alone() -> None:
    begun, left = within(sends(500, 1), 100)

    assert [500] == [one.size for one in begun]
    assert [1] == [one.size for one in left]


# ----------------------------------------------------------------------------- how many at once


def climbed(climb: Climb, rate_of: Callable[[int], float], samples: int) -> list[int]:
    """The number of workers after each sample of a line that gives ``rate_of(workers)``."""
    return [climb.sample(rate_of(climb.workers)) for _ in range(samples)]


def test_a_number_that_was_asked_for_stays() -> None:
    assert {3} == set(climbed(Climb(3), lambda workers: workers, 50))
    assert 3 == Climb(3).sample(1.0, failed=True)


def test_more_workers_are_kept_while_they_bring_more() -> None:
    assert MOST_WORKERS == climbed(Climb(), lambda workers: workers * 1e6, 10)[-1]


def test_a_line_that_is_full_keeps_the_first_number_and_is_seldom_tried() -> None:
    found = climbed(Climb(), lambda workers: 1e6, 600)

    assert FIRST_WORKERS == found[-1]
    assert sum(one != FIRST_WORKERS for one in found) <= 30
    assert max(found) == 2 * FIRST_WORKERS


@given(st.integers(1, 64))
def test_it_ends_where_the_line_is_full_or_a_step_above(knee: int) -> None:
    found = climbed(Climb(), lambda workers: min(workers, knee) * 1e6, 200)[-1]
    wanted = min(MOST_WORKERS, max(FIRST_WORKERS, knee))

    assert wanted / GAIN <= found <= 2 * wanted


def test_a_failure_halves_the_number_and_it_comes_back_slowly() -> None:
    climb = Climb()
    found = [climb.sample(1e6, failed=True) for _ in range(5)]
    later = climbed(climb, lambda workers: workers * 1e6, HOLD_FIRST + 1)

    assert [4, 2, 1, 1, 1] == found
    assert [1] * HOLD_FIRST + [2] == later


@given(st.lists(st.tuples(st.floats(0, 1e9), st.booleans()), max_size=200))
def test_whatever_happens_the_number_is_within_its_bounds(
    samples: list[tuple[float, bool]],
) -> None:
    climb = Climb()
    for rate, failed in samples:
        assert 1 <= climb.sample(rate, failed=failed) <= MOST_WORKERS
