"""What a person says of a conflict holds for exactly two files; and why a path is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.digest import LocalTag
from fwsync.filters import Filters
from fwsync.model import (
    BaseEntry,
    Choice,
    ConflictPolicy,
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.reconcile import Rules, judge

X = RelPath("s/e/a/x.dcm")
LOCAL = LocalEntry(X, Stamp(5, 1, 1, 1, 1), LocalTag("xxh3:mine"))
REMOTE = RemoteEntry(X, 7, "theirs", None, ContainerRef(Level.ACQUISITION, "a"), "x.dcm")
BASE = BaseEntry(X, 3, LocalTag("xxh3:before"), "before")


def judged(
    policy: ConflictPolicy,
    *,
    mode: Mode = Mode.BOTH,
    rule: ConflictPolicy = ConflictPolicy.SKIP,
    local: LocalEntry = LOCAL,
    remote: RemoteEntry = REMOTE,
) -> Decision:
    choice = Choice(policy, LOCAL.stamp, REMOTE.etag)
    return judge(X, local, remote, BASE, Rules(mode, rule), choice)


@pytest.mark.parametrize("rule", [ConflictPolicy.SKIP, ConflictPolicy.FAIL])
@pytest.mark.parametrize(
    ("policy", "verb"),
    [
        (ConflictPolicy.LOCAL, Verb.UPLOAD),
        (ConflictPolicy.REMOTE, Verb.DOWNLOAD),
        (ConflictPolicy.KEEP_BOTH, Verb.CONFLICT),
    ],
)
def test_a_choice_goes_before_the_policy(
    policy: ConflictPolicy, verb: Verb, rule: ConflictPolicy
) -> None:
    decision = judged(policy, rule=rule)

    assert (verb, True, True) == (decision.verb, decision.is_conflict, decision.is_chosen)


def test_a_choice_says_nothing_of_another_file_on_either_side() -> None:
    edited = replace(LOCAL, stamp=Stamp(5, 2, 2, 1, 1))

    for decision in (
        judged(ConflictPolicy.REMOTE, local=edited),
        judged(ConflictPolicy.LOCAL, remote=replace(REMOTE, etag="newer")),
    ):
        assert (Verb.REPORT, False) == (decision.verb, decision.is_chosen)


@pytest.mark.parametrize(
    ("mode", "policy"), [(Mode.UP, ConflictPolicy.REMOTE), (Mode.DOWN, ConflictPolicy.LOCAL)]
)
def test_a_choice_turns_no_run_round(mode: Mode, policy: ConflictPolicy) -> None:
    assert Verb.REPORT is judged(policy, mode=mode).verb


def test_what_is_no_conflict_is_not_chosen() -> None:
    same = replace(REMOTE, etag="before")
    choice = Choice(ConflictPolicy.REMOTE, LOCAL.stamp, "before")

    assert Verb.UPLOAD is judge(X, LOCAL, same, BASE, Rules(), choice).verb


PATTERNS = st.lists(
    st.sampled_from(["", "# a", "*.a", "!x.a", "d/", "/d/*.b", "!*.b", "**/e", "x.*", "!d/e/x.a"]),
    max_size=4,
)


@given(
    exclude=PATTERNS,
    include=st.lists(st.sampled_from(["*.a", "d/**"]), max_size=2),
    defaults=PATTERNS,
    top=PATTERNS,
    deep=PATTERNS,
    path=st.sampled_from(["x.a", "x.b", "d/x.a", "d/x.b", "d/e/x.a", "d/e/x.b", "e/x.a"]),
)
def test_why_a_path_is_left_out_is_told_if_and_only_if_it_is(
    exclude: list[str],
    include: list[str],
    defaults: list[str],
    top: list[str],
    deep: list[str],
    path: str,
) -> None:
    filters = Filters(exclude, include, defaults=defaults)
    filters.take("", top)
    filters.take("d", deep)

    why = filters.why_out(path)

    assert filters.is_in(path) == (why is None)
    if why is not None and why.layer != "include":
        lists = {
            "exclude": exclude,
            "default": defaults,
            "ignore-file": deep if why.folder else top,
        }
        assert why.pattern == lists[why.layer][why.number - 1]
        assert path == why.path or path.startswith(f"{why.path}/")
