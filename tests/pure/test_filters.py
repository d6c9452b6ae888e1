"""Filters: patterns in three layers, and bounds of size and age."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from fwsync.errors import UsageError
from fwsync.filters import Bounds, Filters, gitignore, ignore_rules
from fwsync.model import (
    BaseEntry,
    ContainerRef,
    Decision,
    Empty,
    Level,
    LocalEntry,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)

NOW_NS = 2_000_000_000 * 10**9
DAY_S = 86_400


def is_out(filters: Filters, path: str) -> bool:
    """As a walk finds out: folder by folder."""
    names = path.split("/")
    folders = ["/".join(names[:end]) for end in range(1, len(names))]
    return any(filters(folder, True) for folder in folders) or filters(path, False)


# ------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize("pattern", ["[", "a[bc", "a[]", "!", "!a[", "a\\", "/", "[[:alpha:]]"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        gitignore(pattern)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("", None), ("# [", None), ("  ", None), (r"\[", "["), ("a[b]c", "abc"), ("[!a]", "b")],
)
def test_a_pattern_that_matches_or_says_nothing_is_taken(pattern: str, name: str | None) -> None:
    assert (name is not None) == gitignore(pattern).match_file(name or "x")


def test_without_patterns_everything_is_in() -> None:
    for filters in (Filters(), ignore_rules(["# a comment", ""], [])):
        assert not filters("a/b", False)
        assert not filters("a", True)
        assert filters.is_in("a/b")


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="'!'"):
        ignore_rules(["*.dcm", "!"])
    with pytest.raises(UsageError, match="'!'"):
        Filters().take("a", ["!"])


def test_a_deeper_file_comes_before_a_higher_one() -> None:
    filters = Filters()
    filters.take("", ["*.raw"])
    filters.take("a", ["!keep.raw", "/local"])
    filters.take("a/b", ["keep.raw"])

    assert is_out(filters, "x.raw")
    assert is_out(filters, "a/x.raw")
    assert not is_out(filters, "a/keep.raw")
    assert not is_out(filters, "a/c/keep.raw")
    assert is_out(filters, "a/b/keep.raw")
    assert is_out(filters, "a/local")
    assert not is_out(filters, "local")
    assert not is_out(filters, "a/c/local")


def test_nothing_is_brought_back_below_a_folder_that_is_out() -> None:
    filters = Filters()
    filters.take("", ["out/"])
    filters.take("out", ["!*"])

    assert is_out(filters, "out/x")
    assert not filters.is_in("out/x")
    assert not filters.is_in("out/deeper/x")


def test_settings_come_before_files_and_files_before_defaults() -> None:
    filters = Filters(["*.log", "!this.tmp"], defaults=["*.tmp", ".*"])
    filters.take("", ["!*.log", "this.tmp", "!.bidsignore"])

    assert is_out(filters, "a.log")
    assert not is_out(filters, "this.tmp")
    assert is_out(filters, "other.tmp")
    assert not is_out(filters, ".bidsignore")
    assert is_out(filters, ".other")


def test_only_what_is_included_takes_part_and_is_still_filtered() -> None:
    filters = Filters(include=["*.dcm"])
    filters.take("a", ["b.dcm"])

    assert not is_out(filters, "a/c.dcm")
    assert is_out(filters, "a/b.dcm")
    assert is_out(filters, "a/c.txt")


def test_a_new_scan_knows_nothing_of_the_last_one() -> None:
    filters = Filters()
    filters.take("a", ["*"])
    filters.begin()

    assert filters.is_in("a/x")


def test_patterns_and_paths_are_compared_as_they_look() -> None:
    filters = Filters(["cafe\u0301"])

    assert filters("caf\u00e9", False)


names = st.sampled_from(["a", "b", "c.raw", "d"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
patterns = st.lists(
    st.sampled_from(
        ["a", "/a", "b/", "*.raw", "!a", "!b/", "!*.raw", "a/b", "/b/**", "**/d", "!d", "d/*"]
    ),
    max_size=4,
)


@given(patterns, paths)
def test_a_file_at_the_root_is_the_same_as_a_setting(lines: list[str], path: str) -> None:
    by_file = Filters()
    by_file.take("", lines)

    assert is_out(by_file, path) == is_out(Filters(lines), path)


@given(patterns, st.lists(names, max_size=2).map("/".join), paths)
def test_a_file_in_a_folder_reaches_that_folder_and_nothing_else(
    lines: list[str], folder: str, path: str
) -> None:
    filters = Filters()
    filters.take(folder, lines)
    inside = f"{folder}/{path}" if folder else path

    assert is_out(filters, inside) == is_out(Filters(lines), path)
    if folder and not path.startswith(f"{folder}/"):
        assert not is_out(filters, path)


@given(patterns, patterns, patterns, paths)
def test_asking_about_a_path_alone_is_the_same_as_walking_there(
    settings: list[str], at_root: list[str], in_a: list[str], path: str
) -> None:
    filters = Filters(settings)
    filters.take("", at_root)
    filters.take("a", in_a)

    assert filters.is_in(path) == (not is_out(filters, path))


@given(patterns, st.lists(paths, max_size=5))
def test_what_was_asked_before_does_not_matter(lines: list[str], asked: list[str]) -> None:
    filters = Filters()
    filters.take("a", lines)
    answers = [filters.is_in(path) for path in asked]

    assert answers == [filters.is_in(path) for path in asked]
    assert answers[::-1] == [filters.is_in(path) for path in reversed(asked)]


@given(patterns, paths)
def test_patterns_mean_what_gitignore_means(lines: list[str], path: str) -> None:
    spec = GitIgnoreSpec.from_lines(lines)
    names_above = path.split("/")[:-1]
    folders = ["/".join(names_above[: end + 1]) + "/" for end in range(len(names_above))]
    expected = any(spec.match_file(one) for one in (*folders, path))

    assert is_out(Filters(lines), path) == expected


# --------------------------------------------------------------------------------------- bounds

X = RelPath("x")


def here(size: int = 100, age_s: float = 0.0) -> LocalEntry:
    return LocalEntry(X, Stamp(size, NOW_NS - int(age_s * 1e9), 0, 0, 0))


def there(size: int = 100, age_s: float = 0.0) -> RemoteEntry:
    container = ContainerRef(Level.ACQUISITION, "a1")
    modified_ns = NOW_NS - int(age_s * 1e9)
    return RemoteEntry(X, size, "e", None, container, "x", modified_ns=modified_ns)


def agreed(size: int = 100) -> BaseEntry:
    return BaseEntry(X, size, local_etag=(0, 0), remote_etag="e")  # type: ignore[arg-type]


def test_without_bounds_nothing_is_left_out() -> None:
    for size in (0, 1, 10**15):
        for age_s in (-DAY_S, 0, 10**9):
            decision = Decision(Verb.UPLOAD, X, here(size, age_s), there(size, age_s))
            assert not Bounds().leave_out(decision, NOW_NS)
    assert not Bounds().are_set


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(min_size=10), 10, 9),
        (Bounds(max_size=10), 10, 11),
        (Bounds(empty=Empty.SKIP), 1, 0),
        (Bounds(empty=Empty.REPORT), 1, 0),
    ],
)
@pytest.mark.parametrize("verb", list(Verb))
def test_the_size_of_either_side_puts_a_file_out(
    bounds: Bounds, inside: int, outside: int, verb: Verb
) -> None:
    def left_out(local: LocalEntry | None, remote: RemoteEntry | None) -> bool:
        return bounds.leave_out(Decision(verb, X, local, remote, agreed(outside)), NOW_NS)

    assert bounds.are_set
    assert not left_out(here(inside), there(inside))
    assert not left_out(here(inside), None)
    assert not left_out(None, there(inside))
    assert left_out(here(outside), there(inside))
    assert left_out(here(inside), there(outside))
    assert left_out(here(outside), None)
    assert left_out(None, there(outside))
    assert not left_out(None, None)


@pytest.mark.parametrize(
    ("bounds", "inside_s", "outside_s"),
    [(Bounds(min_age_s=60), 61, 59), (Bounds(max_age_s=60), 59, 61)],
)
def test_the_age_is_that_of_the_file_here(
    bounds: Bounds, inside_s: float, outside_s: float
) -> None:
    def left_out(local: LocalEntry | None, remote: RemoteEntry | None) -> bool:
        return bounds.leave_out(Decision(Verb.DOWNLOAD, X, local, remote), NOW_NS)

    assert not left_out(here(age_s=inside_s), there(age_s=outside_s))
    assert left_out(here(age_s=outside_s), there(age_s=inside_s))
    assert not left_out(None, there(age_s=inside_s))
    assert left_out(None, there(age_s=outside_s))


@pytest.mark.parametrize("verb", [Verb.DELETE_REMOTE, Verb.HOLD])
@pytest.mark.parametrize("bounds", [Bounds(min_age_s=60), Bounds(max_age_s=60)])
def test_a_file_of_unknown_age_is_not_deleted_for_being_gone(bounds: Bounds, verb: Verb) -> None:
    for age_s in (30, 90):
        assert bounds.leave_out(Decision(verb, X, None, there(age_s=age_s), agreed()), NOW_NS)


def test_only_what_is_empty_is_reported_for_it() -> None:
    report = Bounds(empty=Empty.REPORT, max_size=10)
    empty, large = Decision(Verb.UPLOAD, X, here(0)), Decision(Verb.UPLOAD, X, here(11))

    assert report.leave_out(empty, NOW_NS)
    assert report.reports(empty)
    assert report.leave_out(large, NOW_NS)
    assert not report.reports(large)
    assert not replace(report, empty=Empty.SKIP).reports(empty)
