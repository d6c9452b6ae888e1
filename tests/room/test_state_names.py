"""What is kept of names that were given here, and of places that a server tells of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fwsync import localfs
from fwsync.digest import LocalTag
from fwsync.mapping.curated import DESCRIPTION
from fwsync.model import Decision, Outcome, RelPath, Verb
from fwsync.ports import GivenName, ToldPlace
from fwsync.state import State, open_state
from fwsync.state_told import Elsewhere
from tests.room.rooms import descriptor
from tests.room.test_state_in_step import TAG, agree, local, remote


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state.db") as one:
        yield one


def given(id_: str, name: str, *, label: str = "x", is_file: bool = False) -> GivenName:
    return GivenName(id_, is_file, label, "p", name)


def told(path: str, disk: str = "", why: str = "") -> ToldPlace:
    return ToldPlace(RelPath(path), disk, why)


def listed(state: State, *places: ToldPlace) -> list[Elsewhere]:
    """One listing, and what came of it."""
    state.start_listing()
    state.take_listing([remote(one.path) for one in places])
    state.told.begin()
    state.told.take(places)
    return state.told.settle()


# ------------------------------------------------------------------------------------ given names


def test_a_container_has_one_name_and_a_file_one_for_each_label(state: State) -> None:
    state.given_names.keep([given("1", "x"), given("f", "x%id=f", is_file=True)], [])
    state.given_names.keep([given("1", "y", label="y")], [])
    state.given_names.keep([given("f", "y%id=f", label="y", is_file=True)], [])

    known = {(one.id, one.label): one.name for one in state.given_names.all()}
    assert {("1", "y"): "y", ("f", "x"): "x%id=f", ("f", "y"): "y%id=f"} == known

    state.given_names.keep([], [given("1", "y", label="y")])
    assert {"f"} == {one.id for one in state.given_names.all()}


def test_a_file_is_in_the_way_of_a_folder_only_while_it_is_here_and_alone(state: State) -> None:
    for path in ("x", "x.y", "z", "z/below"):
        agree(state, path)
    agree(state, "gone")
    state.record([Outcome(Decision(Verb.HOLD, RelPath("gone"), None, remote("gone")))])

    asked = [RelPath(one) for one in ("x", "z", "gone", "never")]
    assert {"x"} == state.given_names.files_at(asked)


# -------------------------------------------------------------------------------------- told places


def test_a_place_stays_with_its_file_and_the_second_for_it_is_named(state: State) -> None:
    assert [] == listed(state, told("b", "disk"))

    [other] = listed(state, told("a", "disk"), told("b", "disk"))

    assert Elsewhere(RelPath("a"), "disk", "", "b") == other
    assert {"disk": "b"} == state.told.paths_at(["disk", "none"])
    assert ("disk", "") == state.told.place_of(RelPath("b"))
    assert ("", "another file lies at 'disk', where it belongs") == state.told.place_of(
        RelPath("a")
    )


def test_a_file_that_lies_at_its_old_place_stays_there_until_it_is_moved(state: State) -> None:
    listed(state, told("a", "old"))
    state.take_scan([local("old")])

    assert [Elsewhere(RelPath("a"), "new", "old", "")] == listed(state, told("a", "new"))
    assert ("old", "") == state.told.place_of(RelPath("a"))

    state.take_scan([local("new")])
    assert [] == listed(state, told("a", "new"))
    assert ("new", "") == state.told.place_of(RelPath("a"))


def test_what_is_listed_no_more_loses_its_place_unless_it_is_agreed_on(state: State) -> None:
    agree(state, "agreed")
    listed(state, told("agreed", "one"), told("never", "two"))

    listed(state)

    assert {"one": "agreed"} == state.told.paths_at(["one", "two"])


def test_the_same_bytes_under_another_label_take_the_place_over(state: State) -> None:
    agree(state, "old label")
    listed(state, told("old label", "disk"))

    assert [] == listed(state, told("new label", "disk"))

    assert {"disk": "new label"} == state.told.paths_at(["disk"])


def test_why_a_file_has_no_place_is_known_as_long_as_the_listing_is(state: State) -> None:
    assert ("", "") == state.told.place_of(RelPath("a"))
    listed(state, told("a", why="not curated"))

    assert ("", "not curated") == state.told.place_of(RelPath("a"))
    assert not state.told.curated


def test_a_description_is_ours_unless_the_server_has_a_file_for_it(state: State) -> None:
    listed(state)
    state.told.take_description(b"{}")
    assert (b"{}", None) == (state.told.description(), state.told.takes_no_part())

    state.told.will_write(LocalTag(TAG))
    assert (TAG, DESCRIPTION) == (state.told.written(), state.told.takes_no_part())

    listed(state, told(DESCRIPTION, DESCRIPTION))
    state.told.take_description(b"{}")
    assert (None, None) == (state.told.description(), state.told.takes_no_part())


# ----------------------------------------------------------------------------------------- the disk


def test_a_disk_that_tells_upper_case_from_lower_does_not_fold_it(tmp_path: Path) -> None:
    (tmp_path / ".fwsync").mkdir()
    with descriptor(tmp_path) as root_fd:
        assert not localfs.folds_case(root_fd, ".fwsync")
        assert not localfs.folds_case(root_fd, "missing")

        # As a disk answers that has one name for both.
        (tmp_path / ".FWSYNC").symlink_to(tmp_path / ".fwsync")
        assert not localfs.folds_case(root_fd, ".fwsync")
