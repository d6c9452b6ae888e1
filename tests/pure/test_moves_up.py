"""Which file has become which, and what is carried up of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fwsync.destinations import Known, merged
from fwsync.digest import LocalTag
from fwsync.edits_along import edited_along
from fwsync.model import Decision, LocalEntry, Mode, RelPath, Verb
from fwsync.moves import Followed, Move, Spot
from fwsync.moves_up import Gone, carried_up, folded, now_at, pair
from fwsync.plan import DeleteLimits, GuardFacts, make_plan
from fwsync.reconcile import Rules
from tests.pure.trees import ALL_DELETIONS, base_entry, local_entry, remote_entry

BOTH = Rules()


def gone(path: str, content: str, inode: int | None = None) -> Gone:
    return Gone(RelPath(path), LocalTag(f"xxh3:{content}"), None if inode is None else (1, inode))


def come(path: str, content: str, inode: int = 0) -> LocalEntry:
    entry = local_entry(path, content)
    return replace(entry, stamp=entry.stamp._replace(inode=inode))


def pairs(moves: list[Move]) -> dict[str, str]:
    return {move.old: move.new for move in moves}


# --------------------------------------------------------------------------- which is which

PATHS = st.sampled_from([f"{folder}/{name}" for folder in "abc" for name in "xyz"])
CONTENTS = st.sampled_from(["", "one", "two"])
INODES = st.integers(0, 3)
GONE = st.dictionaries(PATHS, st.tuples(CONTENTS, st.none() | INODES))
COME = st.dictionaries(PATHS, st.tuples(CONTENTS, INODES))


def _both(
    left: Mapping[str, tuple[str, int | None]], arrived: Mapping[str, tuple[str, int]]
) -> tuple[list[Gone], list[LocalEntry]]:
    return (
        [gone(path, *known) for path, known in left.items()],
        [come(path, *known) for path, known in arrived.items()],
    )


@given(GONE, COME)
def test_a_file_is_paired_once_and_with_its_own_content_only(
    left: dict[str, tuple[str, int | None]], arrived: dict[str, tuple[str, int]]
) -> None:
    moves = pair(*_both(left, arrived))

    assert len(moves) == len({move.old for move in moves}) == len({move.new for move in moves})
    for move in moves:
        assert left[move.old][0] == arrived[move.new][0]


@given(GONE, COME)
def test_no_file_is_left_over_on_both_sides_but_for_empty_ones(
    left: dict[str, tuple[str, int | None]], arrived: dict[str, tuple[str, int]]
) -> None:
    moves = pair(*_both(left, arrived))

    olds, news = {move.old for move in moves}, {move.new for move in moves}
    lost = {content for path, (content, _) in left.items() if path not in olds}
    new = {content for path, (content, _) in arrived.items() if path not in news}
    assert lost & new <= {""}


@given(GONE, COME)
def test_pairs_do_not_depend_on_the_order(
    left: dict[str, tuple[str, int | None]],
    arrived: dict[str, tuple[str, int]],
) -> None:
    lost, new = _both(left, arrived)
    before = pair(lost, new)

    assert before == pair(lost[::-1], new[::-1])


@pytest.mark.parametrize(
    ("lost", "new", "expected"),
    [
        # the same inode, whatever its name
        (
            [gone("a/x", "1", 5), gone("a/y", "1", 6)],
            [come("b/x", "1", 6), come("b/y", "1", 5)],
            {"a/x": "b/y", "a/y": "b/x"},
        ),
        # the same name
        (
            [gone("a/x", "1"), gone("a/y", "1")],
            [come("b/y", "1"), come("b/z", "1")],
            {"a/y": "b/y", "a/x": "b/z"},
        ),
        # the same folder
        (
            [gone("a/x", "1"), gone("b/x", "1")],
            [come("b/z", "1"), come("a/w", "1")],
            {"a/x": "a/w", "b/x": "b/z"},
        ),
        # the first
        ([gone("a/x", "1"), gone("a/y", "1")], [come("b/w", "1")], {"a/x": "b/w"}),
        # an inode that another content has now says nothing
        ([gone("a/x", "1", 5)], [come("b/x", "2", 5)], {}),
        # files without content are known by their inode or their name
        ([gone("a/x", "")], [come("a/y", "")], {}),
        ([gone("a/x", "")], [come("b/x", "")], {"a/x": "b/x"}),
        ([gone("a/x", "", 5)], [come("b/y", "", 5)], {"a/x": "b/y"}),
    ],
)
def test_of_equal_files_the_likest_is_taken(
    lost: list[Gone], new: list[LocalEntry], expected: dict[str, str]
) -> None:
    assert expected == pairs(pair(lost, new))


# -------------------------------------------------------------------------- what is carried up


def carried(
    local: Mapping[str, str],
    remote: Mapping[str, str],
    base: Mapping[str, str],
    *,
    elsewhere: Mapping[str, str] | None = None,
    begun: Mapping[str, str] | None = None,
    rules: Rules = BOTH,
) -> Followed:
    """Each side as path -> content."""
    there = {RelPath(old): RelPath(new) for old, new in (elsewhere or {}).items()}
    spots = {
        RelPath(path): Spot(
            local_entry(path, local[path]) if path in local else None,
            remote_entry(path, remote[path]) if path in remote else None,
            base_entry(path, base[path]) if path in base else None,
        )
        for path in {*local, *remote, *base, *there.values()}
    }
    return carried_up(
        [gone(path, content) for path, content in base.items() if local.get(path) != content],
        [RelPath(path) for path, content in local.items() if base.get(path) != content],
        Known(spots),
        rules=rules,
        is_seen=lambda _path: True,
        in_scope=lambda _path: True,
        elsewhere=there,
        blocked=lambda _path: False,
        begun=begun or {},
        look=lambda paths: Known({path: spots.get(path, Spot()) for path in paths}),
    )


def renames(found: Followed) -> dict[str, str]:
    return {
        one.base.path: one.path
        for one in found.decisions
        if one.verb is Verb.RENAME_REMOTE and one.base
    }


TREES = st.dictionaries(st.sampled_from("PQRS"), st.sampled_from(["one", "two", "three"]))


@given(TREES, TREES, TREES)
@example({"Q": "one"}, {"P": "one"}, {"P": "one"})
@example({"P": "two", "Q": "one"}, {"P": "one", "Q": "two"}, {"P": "one", "Q": "two"})
def test_a_move_takes_agreed_content_to_where_nothing_is_lost(
    local: dict[str, str], remote: dict[str, str], base: dict[str, str]
) -> None:
    moves = renames(carried(local, remote, base))

    assert len(moves) == len(set(moves.values()))
    for old, new in moves.items():
        assert local[new] == base[old]  # it is here under its new name
        assert remote.get(old) in (base[old], None)  # an edit there wins
        assert new not in {*remote, *base} - moves.keys()  # nothing is replaced there
        assert old not in local or old in moves.values()  # a copy is no move


@given(st.permutations("PQRS"))
def test_any_permutation_is_carried_up_whole(names: list[str]) -> None:
    tree = {name: f"content {name}" for name in "PQRS"}
    after = dict(zip(names, tree.values(), strict=True))

    moves = renames(carried(after, tree, tree))

    assert {old: new for old, new in zip("PQRS", names, strict=True) if old != new} == moves


def test_a_file_put_in_anothers_place_is_an_edit_of_that_one() -> None:
    tree = {"P": "one", "Q": "two"}

    assert Followed() == carried({"Q": "one"}, tree, tree)


def test_a_copy_is_no_move() -> None:
    assert Followed() == carried({"P": "one", "Q": "one"}, {"P": "one"}, {"P": "one"})


def test_what_was_deleted_there_keeps_its_record() -> None:
    (decision,) = carried({"Q": "one"}, {}, {"P": "one"}).decisions

    assert (Verb.RENAME_REMOTE, "Q", None) == (decision.verb, decision.path, decision.remote)


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
def test_what_moved_on_both_sides_gets_the_servers_name_or_is_left(mode: Mode) -> None:
    moved = carried(
        {"Q": "one"}, {"R": "one"}, {"P": "one"}, elsewhere={"P": "R"}, rules=Rules(mode=mode)
    )

    expected = (Verb.REPORT, "Q") if mode is Mode.UP else (Verb.RENAME, "R")
    assert [expected] == [(one.verb, one.path) for one in moved.decisions]


def _steps(found: Followed) -> list[tuple[Verb, str]]:
    return [(one.verb, one.path) for one in found.decisions]


def test_what_both_sides_moved_each_in_its_way_gets_a_path_of_both() -> None:
    found = carried({"a/Q": "one"}, {"b/P": "one"}, {"a/P": "one"}, elsewhere={"a/P": "b/P"})

    assert [(Verb.RENAME, "b/Q"), (Verb.RENAME_REMOTE, "b/Q")] == _steps(found)
    assert [None, "a/P"] == [one.base and one.base.path for one in found.decisions]
    assert {"a/P", "a/Q", "b/P"} == found.settled


def test_a_rename_of_both_that_got_half_way_goes_on_there() -> None:
    found = carried({"b/Q": "one"}, {"b/P": "one"}, {"a/P": "one"}, elsewhere={"a/P": "b/P"})

    assert [(Verb.RENAME_REMOTE, "b/Q")] == _steps(found)


@given(st.permutations("PQRS"))
def test_any_permutation_goes_along_with_its_folder(names: list[str]) -> None:
    base = {f"a/{name}": f"content {name}" for name in "PQRS"}
    there = {path: path.replace("a/", "b/") for path in base}
    after = {f"a/{name}": content for name, content in zip(names, base.values(), strict=True)}

    found = carried(
        after, {there[path]: content for path, content in base.items()}, base, elsewhere=there
    )

    wanted = {f"a/{old}": f"b/{new}" for old, new in zip("PQRS", names, strict=True) if old != new}
    assert wanted == renames(found)
    here = {one.path for one in found.decisions if one.verb is Verb.RENAME}
    assert set(wanted.values()) == here


@pytest.mark.parametrize(
    ("local", "remote"),
    [({"b/Q": "other"}, {}), ({}, {"b/Q": "other"}), ({"b/Q": "other"}, {"b/Q": "other"})],
)
def test_a_path_of_both_that_something_has_is_not_taken(
    local: dict[str, str], remote: dict[str, str]
) -> None:
    found = carried(
        {"a/Q": "one", **local},
        {"b/P": "one", **remote},
        {"a/P": "one"},
        elsewhere={"a/P": "b/P"},
    )

    assert [(Verb.RENAME, "b/P")] == _steps(found)


def test_what_was_edited_there_and_moved_on_both_sides_has_the_servers_name() -> None:
    found = carried({"a/Q": "one"}, {"b/P": "edit"}, {"a/P": "one"}, elsewhere={"a/P": "b/P"})

    assert [(Verb.RENAME, "b/P"), (Verb.DOWNLOAD, "b/P")] == _steps(found)


def test_a_push_leaves_what_both_sides_have_moved() -> None:
    found = carried(
        {"a/Q": "one"},
        {"b/P": "one"},
        {"a/P": "one"},
        elsewhere={"a/P": "b/P"},
        rules=Rules(mode=Mode.UP),
    )

    assert [(Verb.REPORT, "a/Q")] == _steps(found)


def test_what_both_sides_moved_alike_is_only_recorded() -> None:
    found = carried({"Q": "one"}, {"Q": "one"}, {"P": "one"}, elsewhere={"P": "Q"})

    assert [(Verb.RENAME, "Q")] == [(one.verb, one.path) for one in found.decisions]


def test_s70_renaming_most_of_the_files_trips_no_guard() -> None:
    base = {f"old/{number}": f"content {number}" for number in range(100)}
    after = {path.replace("old", "new"): content for path, content in base.items()}
    decisions: list[Decision] = list(carried(after, base, base).decisions)

    plan = make_plan(
        decisions,
        guards=GuardFacts(base_files=100, local_files=100, remote_files=100),
        limits=DeleteLimits(),
    )

    assert () == plan.held
    assert {Verb.RENAME_REMOTE: 100} == plan.counts


# ------------------------------------------------------------------------------ whole folders


def fold(moves: dict[str, str], *others: str) -> dict[str, str]:
    """The folders that moved; beside the files in the moves, others are there."""
    files = [*moves, *others]
    return dict(
        folded(
            [Move(RelPath(old), RelPath(new)) for old, new in moves.items()],
            lambda folder: sum(path.startswith(f"{folder}/") for path in files),
        ).folders
    )


@pytest.mark.parametrize(
    ("moves", "others", "expected"),
    [
        ({"s/e/a/x": "t/e/a/x"}, [], {"s": "t", "s/e": "t/e", "s/e/a": "t/e/a"}),
        ({"s/e/a/x": "t/e/a/x"}, ["s/e/b/y"], {"s/e/a": "t/e/a"}),
        ({"s/e/a/x": "s/e/b/y"}, [], {"s": "s", "s/e": "s/e", "s/e/a": "s/e/b"}),
        ({"s/e/a/x": "s/e/b/x"}, ["s/e/a/z"], {}),
        ({"s/e/a/x": "s/e/x"}, [], {"s": "s", "s/e": "s/e"}),
        ({"a/x": "c/x", "b/y": "c/y"}, [], {}),
        ({"a/x": "b/x", "a/y": "c/y"}, [], {}),
        ({"a/x": "b/x", "b/y": "a/y"}, [], {"a": "b", "b": "a"}),
    ],
)
def test_a_folder_moves_where_all_in_it_has_moved_to_one_other(
    moves: dict[str, str], others: list[str], expected: dict[str, str]
) -> None:
    assert expected == fold(moves, *others)


def renamed(old: str, new: str) -> Decision:
    base, there = base_entry(old, "a"), remote_entry(old, "a")
    return Decision(Verb.RENAME_REMOTE, RelPath(new), local_entry(new, "a"), there, base)


def lost(path: str, verb: Verb = Verb.DELETE_REMOTE) -> Decision:
    return Decision(verb, RelPath(path), None, remote_entry(path, "a"), base_entry(path, "a"))


def sent(path: str) -> Decision:
    return Decision(Verb.UPLOAD, RelPath(path), local_entry(path, "edited"), None, None)


def along(*decisions: Decision, agreed: int = 2) -> list[tuple[Verb, str]]:
    found = edited_along(
        decisions,
        rules=ALL_DELETIONS,
        agreed_below=lambda folder: agreed if folder == "a" else 1,
        elsewhere={},
        may_get=lambda _path: True,
        look=lambda paths: dict.fromkeys(paths, Spot()),
    )

    assert {one.path for one in found.decisions} <= found.settled
    return [(one.verb, one.path) for one in found.decisions]


@pytest.mark.parametrize("gone", [Verb.DELETE_REMOTE, Verb.HOLD])
def test_what_was_edited_in_a_folder_that_was_renamed_is_an_edit_there(gone: Verb) -> None:
    found = along(renamed("a/x", "b/x"), lost("a/z", gone), sent("b/z"))

    assert [(Verb.RENAME_REMOTE, "b/z"), (Verb.UPLOAD, "b/z")] == found


@pytest.mark.parametrize(
    ("decisions", "agreed"),
    [
        ([renamed("a/x", "b/x"), lost("a/z"), sent("b/y")], 2),  # no file of its name has come
        ([renamed("a/x", "b/x"), lost("a/z"), sent("b/z")], 3),  # a file has stayed in the folder
        ([lost("a/z"), sent("b/z")], 1),  # nothing tells that the folder was renamed
        ([renamed("a/x", "b/x"), renamed("a/y", "c/y"), lost("a/z"), sent("b/z")], 3),
        ([renamed("a/x", "b/x"), renamed("c/y", "b/y"), lost("a/z"), sent("b/z")], 2),
    ],
)
def test_what_is_gone_and_what_is_new_are_two_files_elsewhere(
    decisions: list[Decision], agreed: int
) -> None:
    assert [] == along(*decisions, agreed=agreed)


def test_what_was_deleted_beside_an_edit_does_not_keep_its_folder() -> None:
    found = along(renamed("a/x", "b/x"), lost("a/z"), sent("b/z"), lost("a/y"), agreed=3)

    assert [(Verb.RENAME_REMOTE, "b/z"), (Verb.UPLOAD, "b/z")] == found


def test_a_path_moves_with_the_deepest_of_its_folders() -> None:
    moved = {"s": "t", "s/e": "t/f"}

    assert ["t/f/a/x", "t/note", "u/x"] == [
        now_at(path, moved) for path in ("s/e/a/x", "s/note", "u/x")
    ]


@pytest.mark.parametrize(
    ("base", "here", "there", "expected"),
    [
        ("s/a/x", "t/a/x", "s/b/x", "t/b/x"),
        ("s/a/x", "s/a/y", "t/a/x", "t/a/y"),
        ("s/a/x", "t/a/x", "u/a/x", "u/a/x"),
        ("s/a/x", "s/x", "t/a/x", "t/a/x"),
    ],
)
def test_each_side_has_its_part_of_a_path(base: str, here: str, there: str, expected: str) -> None:
    assert expected == merged(base, here, there)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), st.data())
def test_a_path_that_one_side_left_alone_is_the_others(
    parts: list[str], data: st.DataObject
) -> None:
    base = "/".join(parts)
    other = "/".join(data.draw(st.sampled_from("abc")) for _ in parts)
    assume(other != base)

    assert other == merged(base, base, other) == merged(base, other, base)
