"""Settling: quiet for long enough, again and again; and the filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import LocalEntry, RelPath, Stamp
from fwsync.settle import EMPTY, Fingerprint, Settler, fingerprint

A, B = RelPath("sub/ses/a"), RelPath("sub/ses/b")


def print_of(number: int) -> Fingerprint:
    return Fingerprint(number, number, number, number)


def entry(path: str, size: int = 1, mtime_ns: int = 1, inode: int = 1) -> LocalEntry:
    return LocalEntry(RelPath(path), Stamp(size, mtime_ns, 0, 0, inode))


def test_a_folder_settles_when_it_has_been_quiet() -> None:
    settler = Settler(30)

    assert not settler.observe(A, print_of(1), 0)
    assert not settler.observe(A, print_of(1), 29.9)
    assert settler.observe(A, print_of(1), 30)
    assert settler.observe(A, print_of(1), 31)


def test_a_change_starts_the_wait_again() -> None:
    settler = Settler(30)
    settler.observe(A, print_of(1), 0)

    assert not settler.observe(A, print_of(2), 29)
    assert not settler.observe(A, print_of(2), 58)
    assert settler.observe(A, print_of(2), 59)


def test_a_late_slice_arms_a_settled_folder_again() -> None:
    settler = Settler(30)
    settler.observe(A, print_of(1), 0)
    assert settler.observe(A, print_of(1), 30)

    assert not settler.observe(A, print_of(2), 100)
    assert settler.observe(A, print_of(2), 130)


def test_folders_wait_each_for_itself() -> None:
    settler = Settler(30)
    settler.observe(A, print_of(1), 0)
    settler.observe(B, print_of(1), 10)

    assert settler.observe(A, print_of(1), 30)
    assert not settler.observe(B, print_of(1), 30)
    assert {B: 10} == settler.waiting(30)


def test_without_quiet_time_everything_is_settled_at_once() -> None:
    assert Settler(0).observe(A, print_of(1), 5)


def test_what_never_gets_quiet_is_held_for_ever_or_until_its_age() -> None:
    patient, impatient = Settler(30), Settler(30, max_age_s=100)
    released = []
    for now in range(0, 400, 10):
        assert not patient.observe(A, print_of(now), now)
        if impatient.observe(A, print_of(now), now):
            released.append(now)

    # Each release is followed by a change, whose own age begins with it.
    assert [100, 210, 320] == released


def test_a_folder_that_is_gone_is_forgotten() -> None:
    settler = Settler(30)
    settler.observe(A, print_of(1), 0)
    settler.observe(B, print_of(1), 0)
    settler.keep_only([B])

    assert not settler.observe(A, print_of(1), 30)
    assert settler.observe(B, print_of(1), 30)


def test_the_next_look_is_due_when_the_first_could_settle() -> None:
    settler = Settler(30)
    assert settler.next_due(0) is None
    settler.observe(A, print_of(1), 0)
    settler.observe(B, print_of(1), 10)

    assert settler.next_due(10) == 20
    assert settler.next_due(100) == 0
    settler.observe(A, print_of(1), 30)
    assert settler.next_due(30) == 10
    settler.forget(B)
    assert settler.next_due(30) is None


@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 2)), max_size=30),
)
def test_settled_means_unchanged_for_the_quiet_time(
    settle_s: float, steps: list[tuple[float, int]]
) -> None:
    settler = Settler(settle_s)
    now, since, last = 0.0, 0.0, None
    for pause, number in steps:
        now += pause
        if number != last:
            since, last = now, number

        assert (now >= since + settle_s) == settler.observe(A, print_of(number), now)


@given(st.floats(0.1, 100), st.lists(st.floats(0, 50), max_size=10))
def test_looking_when_told_to_is_soon_enough(settle_s: float, pauses: list[float]) -> None:
    settler, now = Settler(settle_s), 0.0
    for number, pause in enumerate(pauses):
        now += pause
        settler.observe(A, print_of(number), now)
    for _ in range(3):  # rounding may take one look more
        due = settler.next_due(now)
        if due is None:
            break
        now += max(due, 1e-9)
        settler.observe(A, print_of(len(pauses) - 1), now)

    assert not pauses or settler.next_due(now) is None


@pytest.mark.parametrize(
    "changed",
    [
        [entry("a", size=2)],
        [entry("a", mtime_ns=2)],
        [entry("a", inode=2)],
        [entry("b")],
        [entry("a"), entry("b")],
        [],
    ],
)
def test_any_change_changes_the_fingerprint(changed: list[LocalEntry]) -> None:
    assert fingerprint([entry("a")]) != fingerprint(changed)
    assert fingerprint(list(changed)) == fingerprint(changed)


def test_a_fingerprint_counts() -> None:
    seen = fingerprint([entry("a", 5, 7), entry("b", 6, 3)])

    assert (2, 11, 7) == (seen.count, seen.total, seen.newest_ns)
    assert EMPTY == fingerprint([])
