"""What is in step is left out of a comparison, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.digest import Digest, LocalTag
from fwsync.model import (
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Mode,
    Outcome,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.reconcile import Rules, reconcile
from fwsync.state import Clash, PlacedFile, State, open_state

NOW = 1_700_000_000_000_000_000
LATER = NOW + 10**9
TAG, OTHER_TAG = LocalTag("xxh3:" + "a" * 32), LocalTag("xxh3:" + "b" * 32)
SHA = Digest("sha384:" + "a" * 96)
BOX = ContainerRef(Level.ACQUISITION, "5f" * 12)


def local(path: str, tag: LocalTag | None = None) -> LocalEntry:
    return LocalEntry(RelPath(path), Stamp(1, NOW, NOW, 66, 7), tag, SHA if tag == TAG else None)


def remote(path: str, etag: str = "v1") -> RemoteEntry:
    name = path.rpartition("/")[2]
    return RemoteEntry(RelPath(path), 1, etag, SHA if etag == "v1" else None, BOX, name, "id", 3, 9)


def agree(state: State, path: str, *, held: bool = False) -> None:
    decision = Decision(Verb.UPLOAD, RelPath(path))
    state.record([Outcome(decision, local=local(path, TAG), remote=remote(path))])
    if held:
        state.record([Outcome(Decision(Verb.HOLD, RelPath(path), None, remote(path)))])


def fill(state: State, world: dict[str, tuple[LocalTag | str | None, str | None, str]]) -> None:
    """Bring about a state: by path, what is here, what is there, and what was agreed on."""
    for path, (_, _, base) in world.items():
        if base:
            agree(state, path, held=base == "held")
    here = {path: tag for path, (tag, _, _) in world.items() if tag is not None}
    state.take_scan(local(path) for path in sorted(here))
    known = [(local(path, LocalTag(tag)), LATER) for path, tag in here.items() if tag]
    state.remember(known)
    state.start_listing()
    state.take_listing([remote(path, there) for path, (_, there, _) in world.items() if there])


one_path = st.tuples(
    st.sampled_from([None, "", TAG, OTHER_TAG]),  # not here, not read, the same, changed
    st.sampled_from([None, "v1", "v2"]),
    st.sampled_from(["", "agreed", "held"]),
)
PATHS = ("a", "a!", "a/b", "a/c", "a/c/d", "b")


@given(
    st.dictionaries(st.sampled_from(PATHS), one_path),
    st.sampled_from(Mode),
    st.booleans(),
    st.booleans(),
)
def test_the_verdicts_are_the_same_without_what_is_in_step(
    world: dict[str, tuple[LocalTag | str | None, str | None, str]],
    mode: Mode,
    deletes: bool,
    mapped: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder, open_state(Path(folder) / "state.db") as state:
        fill(state, world)
        if mapped:
            state.places.start()
            state.places.put([PlacedFile(one.path, one.path) for one in state.files()])
            state.places.finish()
        rules = Rules(mode, delete_up=deletes, delete_down=deletes)
        every = (state.local_entries(), state.remote_entries(), state.base_entries())

        expected = list(reconcile(*every, rules=rules))

        assert list(reconcile(*state.out_of_step(), rules=rules)) == expected


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state.db") as opened:
        yield opened


def move_a(state: State) -> None:
    state.places.start()
    state.places.put([PlacedFile(RelPath("a"), RelPath("c"))])
    state.places.finish()


CHANGES: dict[str, Callable[[State], object]] = {
    "nothing": lambda state: None,
    "the listing is begun anew": lambda state: state.start_listing(),
    "more is listed": lambda state: state.take_listing([remote("c")]),
    "a file is gone here": lambda state: state.take_scan([local("b")]),
    "all is gone here": lambda state: state.take_scan([]),
    "a file is read anew": lambda state: state.remember([(local("a", OTHER_TAG), LATER)]),
    "no hash is trusted": lambda state: state.forget_hashes(),
    "a deletion is held": lambda state: agree(state, "a", held=True),
    "a layout places the files": move_a,
    "a layout has a place for none": lambda state: state.places.start(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_was_in_step_when_files_were_to_be_hashed_is_asked_again_after_a_change(
    state: State, change: Callable[[State], object]
) -> None:
    fill(state, {"a": (TAG, "v1", "agreed"), "b": (TAG, "v1", "agreed")})
    assert state.to_hash() == []
    change(state)
    rules = Rules(Mode.DOWN, delete_down=True)
    every = (state.local_entries(), state.remote_entries(), state.base_entries())
    expected = list(reconcile(*every, rules=rules))

    assert list(reconcile(*state.out_of_step(), rules=rules)) == expected


def test_a_file_that_is_in_step_is_not_looked_at(state: State) -> None:
    fill(state, {"a": (TAG, "v1", "agreed"), "b": (OTHER_TAG, "v1", "agreed")})

    here, there, agreed = ([one.path for one in tree] for tree in state.out_of_step())

    assert ["b"] == here == there == agreed


def test_a_hash_that_may_be_out_of_date_does_not_put_a_file_in_step(state: State) -> None:
    fill(state, {"a": ("", "v1", "agreed")})
    state.remember([(local("a", TAG), NOW)])  # read in the very tick that it was written in

    here, _, _ = state.out_of_step()

    assert [None] == [one.etag for one in here]


def test_without_a_listing_nothing_is_said_to_be_in_step(state: State) -> None:
    with pytest.raises(RuntimeError):
        state.out_of_step()


# ------------------------------------------------------------------------ places that clash


def put(state: State, *pages: list[tuple[str, str, str]]) -> list[Clash]:
    state.places.start()
    clashes = []
    for page in pages:
        files = [PlacedFile(RelPath(one), RelPath(path), member) for one, path, member in page]
        clashes += state.places.put(files)
    return clashes


FILE, OTHER, MEMBER, TWIN = (
    ("1", "p", ""), ("2", "p", ""), ("3", "p", "m"), ("4", "p", "m"),
)  # fmt: skip


@pytest.mark.parametrize(
    "files",
    [
        [FILE, OTHER],
        [FILE, MEMBER],
        [MEMBER, FILE],
        [MEMBER, TWIN],
    ],
    ids=["two files", "a file, then a pack", "a pack, then a file", "one member twice"],
)
@pytest.mark.parametrize("one_page", [True, False], ids=["one page", "two pages"])
def test_the_first_has_the_place_wherever_the_second_comes(
    state: State, files: list[tuple[str, str, str]], one_page: bool
) -> None:
    aside = ("0", "elsewhere", "")
    pages = [[aside, *files]] if one_page else [[aside, files[0]], [files[1]]]

    clashes = put(state, *pages)

    assert [Clash(RelPath("p"), RelPath(files[0][0]), RelPath(files[1][0]))] == clashes
    assert [files[0][0]] == state.places.sources(RelPath("p"))


def test_a_pack_takes_its_members_from_many_pages(state: State) -> None:
    members = [(f"s{number}", "p", f"{number}.dcm") for number in range(7)]

    clashes = put(state, members[:3], members[3:6], members[6:])

    assert not clashes
    assert 7 == len(state.places.sources(RelPath("p")))
