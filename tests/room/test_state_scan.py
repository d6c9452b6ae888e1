"""Scans brought into the index: what is new, changed, gone, and what could not be seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwsync import state_scan
from fwsync.model import LocalEntry, RelPath, SeenRow, Stamp, Unknown
from fwsync.state import State, open_state
from fwsync.state_scan import PART
from tests.room.test_state import DAY, NOW, TAG, local, paths, read, remote


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "other.db") as opened:
        yield opened


def writes(state: State) -> int:
    return state._db.connection.total_changes


def test_a_first_scan_fills_the_index(state: State) -> None:
    listing = [local("a", 3), local("b/c", 4, disk_path="b/C")]

    summary = state.take_scan(listing)

    assert (2, 7, 2, 0, 0) == (
        summary.files,
        summary.bytes,
        summary.new,
        summary.changed,
        summary.gone,
    )
    assert listing == list(state.local_entries())


def test_a_scan_that_finds_nothing_new_writes_nothing(state: State) -> None:
    listing = [local(f"{i:04}") for i in range(5000)]
    state.take_scan(listing)
    state.remember((replace(entry, etag=TAG), NOW + DAY) for entry in listing)
    before = writes(state)

    summary = state.take_scan(listing)

    assert before == writes(state)
    assert (5000, 0, 0, 0) == (summary.files, summary.new, summary.changed, summary.gone)
    assert {TAG} == {entry.etag for entry in state.local_entries()}


@pytest.mark.parametrize("count", [0, 1, PART - 1, PART, 2 * PART + 1])
def test_a_scan_in_parts_is_the_scan_and_a_listing_may_come_between(
    state: State, count: int
) -> None:
    state.take_scan([local("gone"), local("zz/gone")])
    state.start_listing()
    scan = iter([local(f"new/{i:05}", 2) for i in range(count)])
    intake, pages = state.start_scan(), 0

    while intake.take_part(scan):
        state.take_listing([remote(f"there/{pages}")])
        pages += 1
    summary = intake.finish()

    assert (count, 2 * count, count, 2) == (
        summary.files,
        summary.bytes,
        summary.new,
        summary.gone,
    )
    assert count // PART == pages == len(list(state.remote_entries()))
    assert [f"new/{i:05}" for i in range(count)] == [one.path for one in state.local_entries()]


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "device", "inode"])
def test_a_stamp_that_changed_forgets_the_hash(state: State, field: str) -> None:
    state.take_scan([local("a")])
    state.remember([(read("a"), NOW + DAY)])
    stamp = local("a").stamp
    touched = replace(local("a"), stamp=stamp._replace(**{field: getattr(stamp, field) + 1}))

    summary = state.take_scan([touched])

    assert 1 == summary.changed
    assert [touched] == list(state.local_entries())


def test_what_vanished_is_dropped_and_counted(state: State) -> None:
    state.take_scan([local(f"{i:05}") for i in range(7000)])

    summary = state.take_scan([local(f"{i:05}") for i in range(0, 7000, 2)])

    assert 3500 == summary.gone
    assert [f"{i:05}" for i in range(0, 7000, 2)] == paths(state)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_rows_at_or_below_an_unknown_scope_are_kept(state: State, place: int) -> None:
    state.take_scan([local(p) for p in ["d", "d!", "d/a", "d/b/c", "d/😀", "d0", "da", "e", "f/g"]])
    listing: list[LocalEntry | Unknown] = [local("d!"), local("d/a")]
    listing.insert(place, Unknown(RelPath("d"), "no access"))

    summary = state.take_scan([*listing, Unknown(RelPath("e"), "a file")])

    assert ["d", "d!", "d/a", "d/b/c", "d/😀", "e"] == paths(state)
    assert 3 == summary.gone
    assert ["d", "e"] == [item.scope for item in summary.unknown]


def test_nothing_is_dropped_if_everything_is_unknown(state: State) -> None:
    state.take_scan([local("a"), local("b")])

    summary = state.take_scan([Unknown(RelPath(""), "the disk is gone")])

    assert (["a", "b"], 0) == (paths(state), summary.gone)


@pytest.mark.parametrize("listing", [["b", "a"], ["a", "a"]])
def test_a_listing_out_of_order_is_refused(state: State, listing: list[str]) -> None:
    with pytest.raises(ValueError, match="not in order"):
        state.take_scan(local(path) for path in listing)


def test_a_scan_that_breaks_off_drops_nothing(state: State) -> None:
    state.take_scan([local("a"), local("b"), local("c")])

    def broken() -> Iterator[LocalEntry]:
        yield local("b", 9)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        state.take_scan(broken())

    assert ["a", "b", "c"] == paths(state)
    assert state.take_scan([local("a")]).gone == 2


def test_a_scan_may_come_in_batches(state: State) -> None:
    state.take_scan([local("a"), local("b"), local("c")])
    intake = state.start_scan()
    intake.take([local("a")])
    intake.take([Unknown(RelPath("c"), "busy")])
    intake.take([])

    assert 1 == intake.finish().gone
    assert ["a", "c"] == paths(state)


def test_numbers_of_64_bits_survive(state: State) -> None:
    top = 2**64 - 1
    entry = replace(local("a"), stamp=Stamp(2**40, -5 * DAY, NOW, top, top - 1))
    state.take_scan([entry])

    assert [entry] == list(state.local_entries())
    assert 0 == state.take_scan([entry]).changed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sets(st.text("ab/!0\U0001f600\uffee", min_size=1, max_size=4), max_size=12),
            st.sets(st.text("ab/", max_size=3), max_size=2),
        ),
        max_size=4,
    )
)
def test_the_index_is_the_last_listing_and_what_was_hidden(
    state: State, scans: list[tuple[set[str], set[str]]]
) -> None:
    state.take_scan([])
    known: set[str] = set()
    for seen, scopes in scans:
        mixed: list[LocalEntry | Unknown] = [local(path) for path in sorted(seen)]
        for scope in scopes:
            mixed.insert(random.Random(1).randint(0, len(mixed)), Unknown(RelPath(scope), ""))
        hidden = {
            path
            for path in known - seen
            if any(not s or path == s or path.startswith(s + "/") for s in scopes)
        }

        summary = state.take_scan(mixed)

        assert len(known - seen - hidden) == summary.gone
        known = seen | hidden
        assert sorted(known) == paths(state)


def seen(path: str, size: int) -> SeenRow:
    entry = local(path, size)
    return (entry.path, *entry.stamp, entry.disk_path)


TREES = st.dictionaries(st.text("abc/", min_size=1, max_size=3), st.integers(1, 2), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(TREES, st.sets(st.sampled_from("ab"), max_size=1)), max_size=4),
    st.integers(1, 4),
)
def test_in_parts_a_scan_finds_what_it_finds_as_a_whole(
    state: State, other: State, scans: list[tuple[dict[str, int], set[str]]], part: int
) -> None:
    state.take_scan([])
    other.take_scan([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_scan, "PART", part)
        for tree, scopes in [*scans, *scans[-1:]]:  # the last one again, with nothing to do
            listing: list[SeenRow | Unknown] = [seen(*one) for one in sorted(tree.items())]
            listing += [Unknown(RelPath(scope), "") for scope in scopes]
            walked, intake = iter(listing), other.start_scan()
            while intake.take_part(walked):
                pass
            in_parts = intake.finish()

            at_once = state.take_scan(listing)

            assert at_once == in_parts
            assert list(state.files()) == list(other.files())


@pytest.mark.parametrize("second", [["a", "b", "d"], ["c", "b"], ["b", "a"]])
def test_a_part_that_is_not_in_order_is_refused_where_the_one_before_was_known(
    state: State, monkeypatch: pytest.MonkeyPatch, second: list[str]
) -> None:
    monkeypatch.setattr(state_scan, "PART", 3)
    state.take_scan([local(path) for path in ["a", "b", "c", "d"]])
    intake = state.start_scan()
    walked = iter([seen(path, 1) for path in ["a", "b", "c", *second]])
    intake.take_part(walked)

    with pytest.raises(ValueError, match="not in order"):
        intake.take_part(walked)
