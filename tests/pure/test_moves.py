"""What follows from a file being elsewhere on the server, and in which order names change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwsync.model import Decision, LocalEntry, Mode, RelPath, Verb
from fwsync.moves import Followed, Move, Spot, follow, in_order, moved_on_both
from fwsync.plan import DeleteLimits, GuardFacts, make_plan
from fwsync.reconcile import Rules
from tests.pure.trees import ALL_DELETIONS, base_entry, local_entry, remote_entry

DOWN = Rules(mode=Mode.DOWN)
P, Q = RelPath("P"), RelPath("Q")


def spots(
    local: Mapping[str, str], remote: Mapping[str, str], base: Mapping[str, str]
) -> dict[RelPath, Spot]:
    """Each side as path -> content."""
    paths = {*local, *remote, *base, "P", "Q"}
    return {
        RelPath(path): Spot(
            here(path, local[path], number) if path in local else None,
            remote_entry(path, remote[path]) if path in remote else None,
            base_entry(path, base[path]) if path in base else None,
        )
        for number, path in enumerate(sorted(paths))
    }


def here(path: str, content: str, number: int) -> LocalEntry:
    """A file of its own, with an inode that no other has."""
    entry = local_entry(path, content)
    return replace(entry, stamp=entry.stamp._replace(inode=100 + number))


def following(
    found: Mapping[RelPath, Spot],
    rules: Rules = DOWN,
    moves: Sequence[tuple[str, str]] = (("P", "Q"),),
    *,
    unseen: Sequence[str] = (),
    out: Sequence[str] = (),
) -> Followed:
    return follow(
        [Move(RelPath(old), RelPath(new)) for old, new in moves],
        found,
        rules=rules,
        is_seen=lambda path: path not in unseen,
        in_scope=lambda path: path not in out,
    )


def verbs(followed: Followed) -> dict[str, str]:
    return {one.path: str(one.verb) for one in followed.decisions}


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.BOTH])
@pytest.mark.parametrize(
    ("what", "local", "remote", "expected"),
    [
        ("it only moved", {"P": "a"}, {"Q": "a"}, {"Q": "rename"}),
        ("it is there already", {"Q": "a"}, {"Q": "a"}, {"Q": "rename"}),
        ("it was deleted here", {}, {"Q": "a"}, {}),
        ("another file is in the way", {"P": "a", "Q": "z"}, {"Q": "a"}, {}),
        (
            "another has its name there",
            {"P": "a"},
            {"P": "n", "Q": "a"},
            {"Q": "rename", "P": "download"},
        ),
    ],
)
def test_a_file_that_moved_there(
    what: str, mode: Mode, local: dict[str, str], remote: dict[str, str], expected: dict[str, str]
) -> None:
    followed = following(spots(local, remote, {"P": "a"}), Rules(mode=mode))

    assert expected == verbs(followed), what
    assert bool(expected) == bool(followed.settled), what


def test_a_file_that_moved_and_changed_is_renamed_and_fetched() -> None:
    followed = following(spots({"P": "a"}, {"Q": "c"}, {"P": "a"}))

    assert [Verb.RENAME, Verb.DOWNLOAD] == [one.verb for one in followed.decisions]
    assert [Q, Q] == [one.path for one in followed.decisions]
    assert [P, Q] == [one.local.path for one in followed.decisions if one.local is not None]


@pytest.mark.parametrize(
    ("rules", "verb"),
    [
        (DOWN, Verb.REPORT),
        (Rules(), Verb.UPLOAD),
        (ALL_DELETIONS, Verb.UPLOAD),
        (Rules(mode=Mode.UP), Verb.UPLOAD),
    ],
)
def test_a_file_that_was_moved_here_too_and_edited_is_an_edit(rules: Rules, verb: Verb) -> None:
    followed = following(spots({"Q": "b"}, {"Q": "a"}, {"P": "a"}), rules)

    assert {"Q": str(verb)} | ({} if verb is Verb.REPORT else {"P": "forget"}) == verbs(followed)
    assert {P, Q} == followed.settled


def test_a_push_follows_nothing() -> None:
    assert Followed() == following(spots({"P": "a"}, {"Q": "a"}, {"P": "a"}), Rules(mode=Mode.UP))


@pytest.mark.parametrize(
    ("remote", "then"),
    [
        ({"Q": "a"}, [(Q, Verb.UPLOAD)]),
        ({"Q": "b"}, []),  # the same there: agreed on by the rename
        ({"Q": "c"}, [(Q, Verb.CONFLICT)]),  # somebody has edited it there as well
        ({"P": "a", "Q": "a"}, [(Q, Verb.UPLOAD), (P, Verb.DOWNLOAD)]),  # another has its name
        ({"P": "n", "Q": "a"}, [(Q, Verb.UPLOAD), (P, Verb.DOWNLOAD)]),
    ],
)
def test_an_edit_goes_along_with_its_file_and_is_an_edit_there(
    remote: dict[str, str], then: list[tuple[RelPath, Verb]]
) -> None:
    followed = following(spots({"P": "b"}, remote, {"P": "a"}), Rules())

    assert [(Q, Verb.RENAME), *then] == [(one.path, one.verb) for one in followed.decisions]
    assert {P, Q} == followed.settled
    assert "'P'" in followed.decisions[0].reason


def test_an_edit_goes_along_where_two_have_swapped_their_places() -> None:
    both = spots({"P": "edited", "Q": "q"}, {"P": "q", "Q": "p"}, {"P": "p", "Q": "q"})

    followed = following(both, Rules(), [("P", "Q"), ("Q", "P")])
    assert [(Q, Verb.RENAME), (Q, Verb.UPLOAD), (P, Verb.RENAME)] == [
        (one.path, one.verb) for one in followed.decisions
    ]
    assert [None] * 3 == [one.replaces for one in followed.decisions]
    assert {P, Q} == followed.settled


def test_nothing_is_swapped_with_what_stays() -> None:
    both = spots({"P": "edited", "Q": "q"}, {"P": "q", "Q": "p"}, {"P": "p", "Q": "q"})

    followed = following(both, Rules(), [("P", "Q"), ("Q", "P")], out=["Q"])
    assert Verb.RENAME not in {one.verb for one in followed.decisions}


def test_nothing_goes_to_the_place_of_an_edit_that_stays() -> None:
    both = spots({"P": "edited", "Q": "q"}, {"P": "q", "Q": "p"}, {"P": "p", "Q": "q"})

    assert {} == verbs(following(both, DOWN, [("P", "Q"), ("Q", "P")]))


def test_half_a_change_of_places_is_no_edit_that_goes_along() -> None:
    half = spots({"P": "q"}, {"P": "q", "Q": "p"}, {"P": "p", "Q": "q"})

    followed = following(half, Rules(), [("P", "Q"), ("Q", "P")])
    assert {"P": "rename", "Q": "download"} == verbs(followed)


def test_an_edit_is_another_file_where_another_has_its_name_and_it_may_not_go() -> None:
    assert {} == verbs(following(spots({"P": "b"}, {"P": "n", "Q": "a"}, {"P": "a"})))


@pytest.mark.parametrize(
    ("mode", "local", "remote"),
    [
        *((mode, {"P": "b"}, {"Q": "a"}) for mode in (Mode.UP, Mode.DOWN)),
        *((mode, {"P": "b"}, {"P": "a", "Q": "a"}) for mode in (Mode.UP, Mode.DOWN)),
        *((mode, {"P": "b", "Q": "mine"}, {"Q": "a"}) for mode in Mode),
    ],
)
def test_an_edit_is_not_sent_to_where_its_file_is_no_more(
    mode: Mode, local: dict[str, str], remote: dict[str, str]
) -> None:
    followed = following(spots(local, remote, {"P": "a"}), Rules(mode=mode))

    assert {"P": "report"} == verbs(followed)
    assert ("Q" in local) == (Q not in followed.settled)  # two files there are a conflict


def test_a_push_does_not_know_of_what_it_could_not_see() -> None:
    found = spots({"P": "b"}, {"Q": "a"}, {"P": "a"})

    for unseen in ("P", "Q"):
        assert {} == verbs(following(found, Rules(mode=Mode.UP), unseen=[unseen]))
    assert {} == verbs(following(found, Rules(mode=Mode.UP), out=["P"]))
    along = spots({"Q": "b"}, {"Q": "a"}, {"P": "a"})
    for unseen in ("P", "Q"):
        assert {} == verbs(following(along, Rules(mode=Mode.UP), unseen=[unseen]))
        assert {} == verbs(following(along, Rules(mode=Mode.UP), out=[unseen]))


def test_a_push_sends_no_file_that_has_taken_the_place_of_what_moved_to_it() -> None:
    for remote, base in (
        ({"P": "n", "Q": "a"}, {"P": "a"}),  # another file has its name there
        ({"Q": "a"}, {"P": "a", "Q": "q"}),  # what is here was agreed on there
    ):
        found = spots({"Q": "b"}, remote, base)
        assert {} == verbs(following(found, Rules(mode=Mode.UP)))


@pytest.mark.parametrize("unseen", ["P", "Q"])
def test_what_was_not_seen_is_left_alone_at_both_ends(unseen: str) -> None:
    followed = following(spots({"P": "a"}, {"Q": "a"}, {"P": "a"}), unseen=[unseen])

    assert ({}, {P, Q}) == (verbs(followed), set(followed.settled))


def test_s83_a_file_that_moved_to_where_it_takes_no_part_is_no_deletion() -> None:
    followed = following(spots({"P": "a"}, {"Q": "a"}, {"P": "a"}), ALL_DELETIONS, out=["Q"])

    assert {"P": "report"} == verbs(followed)
    assert "'Q'" in followed.decisions[0].reason


def test_a_file_that_took_no_part_does_not_move() -> None:
    followed = following(spots({"P": "a"}, {"Q": "a"}, {"P": "a"}), ALL_DELETIONS, out=["P"])

    assert Followed() == followed


def test_what_has_the_name_and_goes_nowhere_is_replaced_if_nobody_touched_it() -> None:
    found = spots({"P": "a", "Q": "old"}, {"Q": "a"}, {"P": "a", "Q": "old"})
    (rename,) = following(found).decisions

    assert found[Q].local == rename.replaces

    edited = spots({"P": "a", "Q": "edit"}, {"Q": "a"}, {"P": "a", "Q": "old"})
    assert {} == verbs(following(edited))


def test_two_names_of_one_file_are_a_rename_that_was_cut_short() -> None:
    found = spots({"P": "a", "Q": "a"}, {"Q": "a"}, {"P": "a"})
    file = found[P].local
    assert file is not None
    found[Q] = replace(found[Q], local=replace(file, path=Q))
    (rename,) = following(found).decisions

    assert (Verb.RENAME, file, None) == (rename.verb, rename.local, rename.replaces)


def test_names_that_change_places_replace_nothing() -> None:
    found = spots({"P": "a", "Q": "b"}, {"P": "b", "Q": "a"}, {"P": "a", "Q": "b"})
    followed = following(found, moves=[("P", "Q"), ("Q", "P")])

    assert [None, None] == [one.replaces for one in followed.decisions]
    assert {"P": "rename", "Q": "rename"} == verbs(followed)


def test_renames_go_first_and_wait_with_the_rest_while_a_guard_objects() -> None:
    found = spots({"P": "a"}, {"Q": "a"}, {"P": "a"})
    rename = following(found).decisions[0]
    addition = Decision(Verb.DOWNLOAD, RelPath("A"), None, remote_entry("A", "n"))
    deletion = Decision(
        Verb.DELETE_LOCAL, RelPath("B"), local_entry("B", "x"), None, base_entry("B", "x")
    )
    every, facts = [deletion, addition, rename], GuardFacts(10, 10, 10)

    free = make_plan(every, guards=facts, limits=DeleteLimits())
    held = make_plan(every, guards=facts, limits=DeleteLimits(files=0))

    assert ["Q", "A", "B"] == [one.path for one in free.carry_out]
    assert (["A"], ["Q", "B"]) == (
        [one.path for one in held.carry_out], [one.path for one in held.waiting]
    )  # fmt: skip


def test_what_is_new_goes_along_with_its_folder_and_is_sent_while_a_guard_objects() -> None:
    new = here("A", "n", 0)
    goes = Decision(Verb.RENAME, Q, new)
    addition = Decision(Verb.UPLOAD, Q, replace(new, path=Q))
    deletion = Decision(
        Verb.DELETE_LOCAL, RelPath("B"), local_entry("B", "x"), None, base_entry("B", "x")
    )

    held = make_plan(
        [deletion, addition, goes], guards=GuardFacts(10, 10, 10), limits=DeleteLimits(files=0)
    )
    assert ((goes, addition), (deletion,)) == (held.carry_out, held.waiting)


# ----------------------------------------------------------------------------- the order

_NAMES = ("a", "b", "c", "a/x", "a/y", "b/x", "b/x/z", "c/x")


@st.composite
def trees(draw: st.DrawFn) -> list[str]:
    """Files that can lie beside each other."""
    paths: list[str] = []
    for path in draw(st.permutations(_NAMES))[: draw(st.integers(0, 6))]:
        if not any(one.startswith(f"{path}/") or path.startswith(f"{one}/") for one in paths):
            paths.append(path)
    return paths


@given(trees(), trees())
@example(["a", "b"], ["b", "a"])
@example(["a"], ["a/x"])
@example(["a/x", "a/y"], ["a", "b"])
def test_no_name_is_taken_before_it_is_free(old: list[str], new: list[str]) -> None:
    renames = [(was, now) for was, now in zip(old, new, strict=False) if was != now]
    disk = {was: number for number, (was, _) in enumerate(renames)}
    aside: set[int] = set()

    for number, is_aside in in_order(renames):
        was, now = renames[number]
        if is_aside:
            assert disk.pop(was) == number
            aside.add(number)
            continue
        if number in aside:
            aside.remove(number)
        else:
            assert disk.pop(was) == number
        in_the_way = [
            one
            for one in disk
            if one == now or one.startswith(f"{now}/") or now.startswith(f"{one}/")
        ]
        assert [] == in_the_way
        disk[now] = number

    assert set() == aside
    assert {now: number for number, (_, now) in enumerate(renames)} == disk


def test_a_chain_puts_nothing_aside_and_a_circle_only_one() -> None:
    chain = [(f"{number:02}", f"{number + 1:02}") for number in range(50)]
    circle = [*chain, ("50", "00")]

    assert 0 == sum(aside for _, aside in in_order(chain))
    assert 1 == sum(aside for _, aside in in_order(circle))


@pytest.mark.parametrize(
    ("renames", "expected"),
    [
        ([("a/P", "c/P", "b/P")], {"c": "b"}),
        ([("a/P", "c/P", "b/P"), ("a/Q", "c/Q", "b/Q")], {"c": "b"}),
        ([("a/P", "c/P", "b/P"), ("a/Q", "c/Q", "d/Q")], {}),  # to two folders
        ([("a/P", "a/P", "b/P")], {}),  # it moved there only
        ([("a/P", "b/P", "b/P")], {}),  # it lies there already
        ([(None, "c/P", "b/Q")], {"c": "b"}),
        ([("P", "Q", "R")], {}),  # it lies in no folder
    ],
)
def test_a_folder_of_both_sides_is_where_all_its_files_belong(
    renames: list[tuple[str | None, str, str]], expected: dict[str, str]
) -> None:
    decisions = [
        Decision(
            Verb.RENAME,
            RelPath(new),
            local_entry(here, "a"),
            base=base_entry(old, "a") if old is not None else None,
        )
        for old, here, new in renames
    ]

    assert expected == moved_on_both(decisions)
