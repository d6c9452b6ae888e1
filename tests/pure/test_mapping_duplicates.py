"""What is in two places."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from fwsync.mapping.duplicates import DD_CODES, NOTHING, Code, Content, Finding, Row, findings
from fwsync.mapping.placing import Placed
from fwsync.model import Address, Level, RelPath


def row(
    path: str,
    place: str = "",
    *,
    study: str = "",
    series: str = "",
    image: str = "",
    content: str = "",
) -> Row:
    """``place``: subject/session/acquisition/file, or with ``!member``."""
    whole, _, member = (place or f"p01/monday/T1/{path}").partition("!")
    *labels, name = whole.split("/")
    placed = Placed(Address(("lab", "aging", *labels), name), "rule", member)
    return Row(RelPath(path), placed, study, series, image, content)


@dataclass
class Shelf:
    """A server with some files and containers."""

    files: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, Collection[tuple[str, ...]]] = field(default_factory=dict)

    def content_of(self, address: Address) -> str | None:
        return self.files.get("/".join((*address.labels, address.name)))

    def homes_of(self, level: Level, uid: str) -> Collection[tuple[str, ...]]:
        depth = list(Level).index(level) + 1
        return [home for home in self.homes.get(uid, ()) if len(home) == depth]


def found(*rows: Row, server: Shelf | None = None) -> list[Finding]:
    return list(findings(lambda: rows, server or NOTHING))


def codes(*rows: Row, server: Shelf | None = None) -> list[Code]:
    return [one.code for one in found(*rows, server=server)]


def test_an_ordinary_tree_has_no_doubles() -> None:
    rows = [
        row(f"{series}/{image}", f"p01/monday/T{series}/d.zip!{image}", study="1", series=series,
            image=f"{series}.{image}")
        for series in "12" for image in "123"
    ]  # fmt: skip

    assert found(*rows) == []


@pytest.mark.parametrize(
    ("one", "other", "content", "harmless"),
    [
        ("x", "x", Content.SAME, True),
        ("x", "y", Content.DIFFERENT, False),
        ("x", "", Content.UNKNOWN, False),
    ],
)
@pytest.mark.parametrize("place", ["p01/monday/T1/a.txt", "p01/monday/T1/d.zip!a"])
def test_two_paths_to_one_place_are_one_file_if_their_bytes_are_the_same(
    one: str, other: str, content: Content, harmless: bool, place: str
) -> None:
    [finding] = found(row("x/a", place, content=one), row("y/a", place, content=other))

    assert (finding.code, finding.dd) == (Code.PATH_TWICE, "DD01")
    assert (finding.path, finding.other) == ("y/a", "x/a")
    assert (finding.content, finding.harmless) == (content, harmless)
    assert "x/a" in finding.text
    assert "y/a" in finding.text


def test_members_of_one_name_in_two_packs_are_no_doubles() -> None:
    assert codes(row("x/a", "p/s/1/d.zip!a"), row("y/a", "p/s/2/d.zip!a")) == []


@pytest.mark.parametrize(
    ("there", "content"),
    [("x", Content.SAME), ("y", Content.DIFFERENT), ("", Content.UNKNOWN)],
)
def test_a_name_on_the_server_is_a_double_unless_its_bytes_are_the_same(
    there: str, content: Content
) -> None:
    shelf = Shelf({"lab/aging/p01/monday/T1/a": there})

    [finding] = found(row("a", content="x"), row("b", content="x"), server=shelf)

    assert (finding.code, finding.dd) == (Code.NAME_ON_SERVER, "DD02")
    assert (finding.content, finding.harmless) == (content, content is Content.SAME)
    assert finding.other == "lab/aging/p01/monday/T1/a"


def test_a_pack_on_the_server_is_said_once_and_compared_as_a_pack() -> None:
    shelf = Shelf({"lab/aging/p/s/1/d.zip": "zip"})
    rows = [row(name, f"p/s/1/d.zip!{name}", content="x") for name in "abc"]

    [finding] = found(*rows, server=shelf)

    assert finding.content is Content.UNKNOWN


def test_several_studies_and_series_in_one_pack_are_found() -> None:
    one = row("a", "p/s/1/d.zip!a", study="1", series="1.1")
    other = row("b", "p/s/1/d.zip!b", study="2", series="2.1")

    assert {*codes(one, other, other)} == {
        Code.STUDIES_IN_FILE,
        Code.STUDIES_IN_SESSION,
        Code.SERIES_IN_FILE,
        Code.SERIES_IN_ACQUISITION,
    }


def test_several_studies_in_one_session_are_said_once_for_each_and_not_for_each_file() -> None:
    rows = [
        row(f"{study}{image}", f"p/s/{study}/{image}.dcm", study=study)
        for study in "123"
        for image in "abcd"
    ]

    assert codes(*rows) == [Code.STUDIES_IN_SESSION] * 2


def test_one_study_in_several_sessions_is_found() -> None:
    [finding] = found(
        row("a", "p01/s/1/a", study="1", series="1.1"),
        row("b", "p02/s/1/b", study="1", series="1.2"),
    )

    assert (finding.code, finding.dd) == (Code.STUDY_IN_SESSIONS, "DD05")
    assert "lab/aging/p01/s (a)" in finding.text
    assert "lab/aging/p02/s (b)" in finding.text


def test_one_series_in_several_acquisitions_is_found() -> None:
    [finding] = found(
        row("a", "p/s/1/a", study="1", series="1.1"), row("b", "p/s/2/b", study="1", series="1.1")
    )

    assert (finding.code, finding.dd) == (Code.SERIES_IN_ACQUISITIONS, "DD08")


def test_uids_that_are_elsewhere_on_the_server_are_found_and_those_at_home_are_not() -> None:
    shelf = Shelf(
        homes={
            "1": [("lab", "aging", "p", "s"), ("lab", "aging", "p", "old")],
            "1.1": [("lab", "sleep", "p", "s", "1")],
        }
    )
    rows = [row(name, f"p/s/1/{name}", study="1", series="1.1") for name in "ab"]

    assert [(one.dd, one.other) for one in found(*rows, server=shelf)] == [
        ("DD06", "lab/aging/p/old"),
        ("DD10", "lab/sleep/p/s/1"),
    ]


def test_one_image_twice_is_found_and_harmless_only_as_the_same_file_at_the_same_place() -> None:
    one = row("a", "p/s/1/d.zip!a", image="1.1.1", content="x")
    same_place = row("b", "p/s/1/d.zip!a", image="1.1.1", content="x")
    other_place = row("c", "p/s/2/d.zip!a", image="1.1.1", content="x")

    assert [(one.code, one.harmless) for one in found(one, same_place, other_place)] == [
        (Code.PATH_TWICE, True),
        (Code.IMAGE_TWICE, True),
        (Code.IMAGE_TWICE, False),
    ]


def test_files_of_a_project_and_files_without_uids_have_no_uids_to_double() -> None:
    plain = Placed(Address(("lab", "aging"), "readme"), "rule")

    assert codes(Row(RelPath("readme"), plain, "1", "1.1"), row("a"), row("b")) == []


def test_only_what_was_asked_for_is_found() -> None:
    rows = [row("a", "p/s/1/x", study="1", image="i"), row("b", "p/s/1/x", study="2", image="i")]

    only = list(findings(lambda: rows, codes={Code.IMAGE_TWICE}))

    assert [one.code for one in only] == [Code.IMAGE_TWICE]


def test_each_code_has_its_counterpart_in_the_official_cli() -> None:
    assert list(DD_CODES.values()) == [f"DD{number:02}" for number in range(1, 12)]
