"""The tables row by row, and the few things that no table says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from fwsync.model import (
    BaseEntry,
    ConflictPolicy,
    Decision,
    Delta,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Unknown,
    Verb,
)
from fwsync.reconcile import (
    TABLES,
    Rules,
    held_side,
    judge,
    reconcile,
)
from tests.pure.trees import (
    ALL_DELETIONS,
    World,
    base_entry,
    local_entry,
    remote_entry,
)

X = RelPath("X")
UP = Rules(mode=Mode.UP)
DOWN = Rules(mode=Mode.DOWN)
BOTH = Rules()

#: Read for its own tag, as the scan does, and not for the digest the server speaks.
TAGGED = replace(local_entry("X", "a"), digest=None)


def verdict(local: str | None, remote: str | None, base: str | None, rules: Rules) -> Verb:
    """The verb for X, each side given by its content."""
    return judge(
        X,
        None if local is None else local_entry("X", local),
        None if remote is None else remote_entry("X", remote),
        None if base is None else base_entry("X", base),
        rules,
    ).verb


@pytest.mark.parametrize(
    ("row", "local", "remote", "base", "both", "up", "down"),
    [
        ("S02 a new tree here", "a", None, None, "upload", "upload", "nothing"),
        ("S03 a new tree there", None, "a", None, "download", "nothing", "download"),
        ("S05 the same on first meeting", "a", "a", None, "adopt", "adopt", "adopt"),
        ("S06 other bytes on first meeting", "a", "b", None, "conflict", "conflict", "conflict"),
        ("S08 agreed", "a", "a", "a", "nothing", "nothing", "nothing"),
        ("S12 a local edit", "b", "a", "a", "upload", "upload", "report"),
        ("S19 a new version there", "a", "b", "a", "download", "nothing", "download"),
        ("S23 cut to nothing on purpose", "", "a", "a", "upload", "upload", "report"),
        ("S28 the same edit on both sides", "c", "c", "a", "adopt", "adopt", "adopt"),
        ("S29 two edits", "b", "c", "a", "conflict", "conflict", "conflict"),
        ("S42 deleted here", None, "a", "a", "hold", "hold", "download"),
        ("S43 deleted there", "a", None, "a", "hold", "nothing", "hold"),
        ("S44 deleted on both sides", None, None, "a", "forget", "forget", "forget"),
        ("S45 deleted here, edited there", None, "c", "a", "download", "nothing", "download"),
        ("S46 edited here, deleted there", "b", None, "a", "upload", "upload", "report"),
    ],
)
def test_each_direction_follows_its_table(
    row: str, local: str, remote: str, base: str, both: str, up: str, down: str
) -> None:
    verbs = [verdict(local, remote, base, rules) for rules in (BOTH, UP, DOWN)]

    assert [both, up, down] == verbs, row


@pytest.mark.parametrize(
    ("row", "local", "remote", "rules", "verb"),
    [
        ("S41", None, "a", Rules(delete_up=True), Verb.DELETE_REMOTE),
        ("S41 in push", None, "a", Rules(mode=Mode.UP, delete_up=True), Verb.DELETE_REMOTE),
        ("S41 with the other flag", None, "a", Rules(delete_down=True), Verb.HOLD),
        ("S43", "a", None, Rules(delete_down=True), Verb.DELETE_LOCAL),
        ("S43 in pull", "a", None, Rules(mode=Mode.DOWN, delete_down=True), Verb.DELETE_LOCAL),
        ("S43 with the other flag", "a", None, Rules(delete_up=True), Verb.HOLD),
        ("up never deletes here", "a", None, replace(ALL_DELETIONS, mode=Mode.UP), Verb.NOTHING),
        ("down fetches", None, "a", replace(ALL_DELETIONS, mode=Mode.DOWN), Verb.DOWNLOAD),
    ],
)
def test_a_deletion_goes_through_only_with_its_flag(
    row: str, local: str, remote: str, rules: Rules, verb: Verb
) -> None:
    assert verb is verdict(local, remote, "a", rules), row


@pytest.mark.parametrize("mode", Mode)
def test_each_table_has_a_verdict_for_everything_two_sides_can_do(mode: Mode) -> None:
    old = {Delta.SAME, Delta.CHANGED, Delta.DELETED}
    new = {(Delta.CREATED, Delta.ABSENT), (Delta.ABSENT, Delta.CREATED)}

    assert {(a, b) for a in old for b in old} | new | {(Delta.CREATED, Delta.CREATED)} == set(
        TABLES[mode]
    )


@pytest.mark.parametrize(
    ("policy", "both", "up", "down"),
    [
        (ConflictPolicy.KEEP_BOTH, Verb.CONFLICT, Verb.CONFLICT, Verb.CONFLICT),
        (ConflictPolicy.LOCAL, Verb.UPLOAD, Verb.UPLOAD, Verb.REPORT),
        (ConflictPolicy.REMOTE, Verb.DOWNLOAD, Verb.REPORT, Verb.DOWNLOAD),
        (ConflictPolicy.SKIP, Verb.REPORT, Verb.REPORT, Verb.REPORT),
        (ConflictPolicy.FAIL, Verb.CONFLICT, Verb.CONFLICT, Verb.CONFLICT),
    ],
)
@pytest.mark.parametrize("base", ["a", None])
def test_s37_a_conflict_becomes_what_the_policy_says(
    policy: ConflictPolicy, both: Verb, up: Verb, down: Verb, base: str | None
) -> None:
    verbs = [
        verdict("b", "c", base, Rules(mode=mode, conflict=policy))
        for mode in (Mode.BOTH, Mode.UP, Mode.DOWN)
    ]

    assert [both, up, down] == verbs


@pytest.mark.parametrize("policy", ConflictPolicy)
def test_the_same_bytes_are_no_conflict_whatever_the_policy(policy: ConflictPolicy) -> None:
    assert Verb.ADOPT is verdict("b", "b", "a", Rules(conflict=policy))


@pytest.mark.parametrize("rules", [BOTH, UP, DOWN])
def test_s18_a_new_version_of_the_same_bytes_only_refreshes_the_row(rules: Rules) -> None:
    decision = judge(
        X, local_entry("X", "a"), remote_entry("X", "a", version=2), base_entry("X", "a"), rules
    )

    assert Verb.ADOPT is decision.verb


def test_s36_a_local_edit_beside_a_new_version_of_the_same_bytes_is_no_conflict() -> None:
    decision = judge(
        X, local_entry("X", "b"), remote_entry("X", "a", version=2), base_entry("X", "a"), BOTH
    )

    assert Verb.UPLOAD is decision.verb


def test_a_new_version_that_has_no_hash_counts_as_changed() -> None:
    remote = remote_entry("X", "a", version=2, hashed=False)
    decision = judge(X, local_entry("X", "a"), remote, base_entry("X", "a"), BOTH)

    assert Verb.DOWNLOAD is decision.verb


def test_an_unread_file_counts_as_changed_until_its_digest_says_otherwise() -> None:
    unread, remote, base = (
        local_entry("X", "a", read=False),
        remote_entry("X", "a"),
        base_entry("X", "a"),
    )
    read = replace(unread, digest=remote.digest)

    assert Verb.UPLOAD is judge(X, unread, remote, base, BOTH).verb
    assert Verb.NOTHING is judge(X, read, remote, base, BOTH).verb


@pytest.mark.parametrize(
    ("local", "remote", "end"),
    [
        (local_entry("X", "b"), remote_entry("X", "c"), "with other bytes"),
        (local_entry("X", "b"), remote_entry("X", "cc", hashed=False), "with other bytes"),
        (
            local_entry("X", "b"),
            remote_entry("X", "c", hashed=False),
            "same size, the server gives no hash to compare",
        ),
        (
            local_entry("X", "b", read=False),
            remote_entry("X", "c"),
            "same size, the local bytes have not been compared",
        ),
    ],
)
def test_a_conflict_says_how_it_is_known(local: LocalEntry, remote: RemoteEntry, end: str) -> None:
    decision = judge(X, local, remote, None, BOTH)

    assert Verb.CONFLICT is decision.verb
    assert f"new here and on the server, {end}" == decision.reason


@pytest.mark.parametrize(
    ("row", "local", "remote", "held", "rules", "verb"),
    [
        ("stays quiet", None, "a", "local", BOTH, Verb.NOTHING),
        ("stays quiet", "a", None, "remote", BOTH, Verb.NOTHING),
        ("stays quiet in push", None, "a", "local", UP, Verb.NOTHING),
        ("carried out with the flag", None, "a", "local", ALL_DELETIONS, Verb.DELETE_REMOTE),
        ("carried out with the flag", "a", None, "remote", ALL_DELETIONS, Verb.DELETE_LOCAL),
        ("the other side changed", None, "b", "local", BOTH, Verb.DOWNLOAD),
        ("the other side changed", "b", None, "remote", BOTH, Verb.UPLOAD),
        ("the file is back", "a", "a", "local", BOTH, Verb.ADOPT),
        ("the file is back", "a", "a", "remote", BOTH, Verb.ADOPT),
        ("the file is back, edited", "b", "a", "local", BOTH, Verb.UPLOAD),
        ("gone on the other side too", None, None, "local", BOTH, Verb.FORGET),
        ("now the other side deleted", "a", None, "local", BOTH, Verb.HOLD),
        ("a pull fetches it again", None, "a", "local", DOWN, Verb.DOWNLOAD),
    ],
)
def test_s42_a_held_deletion(
    row: str, local: str | None, remote: str | None, held: str, rules: Rules, verb: Verb
) -> None:
    decision = judge(
        X,
        None if local is None else local_entry("X", local),
        None if remote is None else remote_entry("X", remote),
        base_entry("X", "a", held=held),
        rules,
    )

    assert verb is decision.verb, row


def test_a_hold_names_the_side_that_deleted() -> None:
    gone_here = judge(X, None, remote_entry("X", "a"), base_entry("X", "a"), BOTH)
    gone_there = judge(X, local_entry("X", "a"), None, base_entry("X", "a"), BOTH)

    assert ["local", "remote"] == [held_side(gone_here), held_side(gone_there)]
    assert "deleted here; deletions are passed on only with --delete-up" == (gone_here.reason)


def test_s51_a_new_file_in_a_deleted_folder_survives() -> None:
    world = World({}, {"D/a": "1", "D/n": "2"}, {"D/a": "1"})
    world.run(ALL_DELETIONS)

    assert {"D/n": "2"} == world.local == world.remote


def test_s52_a_new_file_in_a_folder_deleted_on_the_server_survives() -> None:
    world = World({"D/a": "1", "D/n": "2"}, {}, {"D/a": "1"})
    world.run(ALL_DELETIONS)

    assert {"D/n": "2"} == world.local == world.remote


def test_s77_a_chain_of_renames_ends_right() -> None:
    world = World({"B": "a", "C": "b"}, {"A": "a", "B": "b"}, {"A": "a", "B": "b"})
    world.run(ALL_DELETIONS)

    assert {"B": "a", "C": "b"} == world.local == world.remote


def test_s98_what_is_out_of_scope_is_not_deleted() -> None:
    world = World({}, {"D/a": "1", "a": "2"}, {"D/a": "1", "a": "2"})
    decisions = reconcile(
        *world.entries(), rules=ALL_DELETIONS, in_scope=lambda path: not path.startswith("D/")
    )

    assert [("a", Verb.DELETE_REMOTE)] == [(d.path, d.verb) for d in decisions]


def test_s107_a_lost_state_is_found_again_by_content() -> None:
    world = World({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {})

    assert [Verb.ADOPT, Verb.ADOPT] == [decision.verb for decision in world.decide(BOTH)]


@pytest.mark.parametrize(
    ("row", "local", "remote", "base", "expected"),
    [
        ("both new", {"a": "1"}, {"a/b": "2"}, {}, {"a": "report", "a/b": "report"}),
        ("the other way", {"a/b": "2"}, {"a": "1"}, {}, {"a": "report", "a/b": "report"}),
        # `a b` lies between `a` and `a/b`, and is none of their business.
        (
            "far apart",
            {"a": "1", "a b": "3"},
            {"a/b": "2"},
            {},
            {"a": "report", "a b": "upload", "a/b": "report"},
        ),
        ("deep down", {"a": "1"}, {"a/b/c": "2"}, {}, {"a": "report", "a/b/c": "report"}),
        (
            "S85 a file became a folder here",
            {"a/b": "2"},
            {"a": "1"},
            {"a": "1"},
            {"a": "delete-remote", "a/b": "report"},
        ),
        (
            "a folder became a file there",
            {"a/b": "2"},
            {"a": "1"},
            {"a/b": "2"},
            {"a": "report", "a/b": "delete-local"},
        ),
        # A deletion clears the way: what waits for it must not hold it up.
        (
            "a folder became a file here",
            {"a": "2"},
            {"a/b": "1"},
            {"a/b": "1"},
            {"a": "report", "a/b": "delete-remote"},
        ),
        (
            "a file became a folder there",
            {"a": "1"},
            {"a/b": "2"},
            {"a": "1"},
            {"a": "delete-local", "a/b": "report"},
        ),
    ],
)
def test_a_file_against_a_folder_moves_nothing(
    row: str,
    local: dict[str, str],
    remote: dict[str, str],
    base: dict[str, str],
    expected: dict[str, str],
) -> None:
    decisions = World(local, remote, base).decide(ALL_DELETIONS)

    assert expected == {decision.path: str(decision.verb) for decision in decisions}, row


def test_a_clash_says_what_is_in_the_way() -> None:
    decisions = {d.path: d.reason for d in World({"a": "1"}, {"a/b": "2"}, {}).decide(BOTH)}

    assert {
        "a": "new here; a file here, and a folder on the server",
        "a/b": "new on the server; its folder 'a' is a file here",
    } == decisions


def test_a_folder_that_could_not_be_listed_is_a_folder_all_the_same() -> None:
    decisions = World({"a": "1"}, {}, {}).decide(BOTH, unknown_remote=["a/b"])

    assert [("a", Verb.REPORT)] == [(d.path, d.verb) for d in decisions]


def test_a_folder_hidden_by_a_filter_is_in_the_way_too() -> None:
    world = World({"a": "1"}, {"a/b": "2"}, {})
    decisions = list(reconcile(*world.entries(), rules=BOTH, in_scope=lambda path: path == "a"))

    assert [("a", Verb.REPORT)] == [(d.path, d.verb) for d in decisions]


@pytest.mark.parametrize("scope", ["", "D", "D/a", "D/a/x"])
def test_s65_nothing_is_concluded_below_what_was_not_seen(scope: str) -> None:
    world = World({}, {"D/a/x": "1"}, {"D/a/x": "1"})

    assert [] == world.decide(ALL_DELETIONS, unknown_local=[scope])
    assert [] == world.decide(ALL_DELETIONS, unknown_remote=[scope])


@pytest.mark.parametrize("scope", ["D/", "D/a/xx", "D/a/x/y", "D/b", "E", "D/a/"])
def test_a_scope_beside_the_path_does_not_hide_it(scope: str) -> None:
    world = World({}, {"D/a/x": "1"}, {"D/a/x": "1"})

    assert [Verb.DELETE_REMOTE] == [
        d.verb for d in world.decide(ALL_DELETIONS, unknown_local=[scope])
    ]


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"]])
def test_a_listing_out_of_order_is_a_bug_and_never_a_deletion(paths: list[str]) -> None:
    local: Iterable[LocalEntry] = [local_entry(path, "1") for path in paths]
    remote: Iterable[RemoteEntry] = [remote_entry(path, "1") for path in paths]
    base: Iterable[BaseEntry] = [base_entry(path, "1") for path in paths]

    with pytest.raises(ValueError, match="local listing"):
        drain(reconcile(local, [], [], rules=BOTH))
    with pytest.raises(ValueError, match="remote listing"):
        drain(reconcile([], remote, [], rules=BOTH))
    with pytest.raises(ValueError, match="base listing"):
        drain(reconcile([], [], base, rules=BOTH))


def test_ten_thousand_unknown_folders_are_no_trouble() -> None:
    scopes = [Unknown(RelPath(f"s{number:05}"), "403") for number in range(10_000)]
    remote = (remote_entry(f"s{number:05}/t/a", "1") for number in range(10_000))

    assert [] == list(reconcile([], remote, [], rules=BOTH, unknown_remote=scopes))


def test_files_that_begin_alike_do_not_pile_up() -> None:
    local = (local_entry(f"a {number:06}", "1") for number in range(10_000))
    decisions = reconcile(local, [], [], rules=BOTH)

    assert "a 000000" == next(decisions).path
    assert 9_999 == sum(1 for _ in decisions)


def drain(decisions: Iterable[Decision]) -> None:
    for _ in decisions:
        pass
