"""The mapping between paths and addresses, by properties and by example."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fwsync.errors import UsageError
from fwsync.layout import (
    MAX_COMPONENT,
    Layout,
    Unmappable,
    label_of,
    name_of,
)
from fwsync.model import Address, Level, RelPath

PROJECT = Layout.parse(group="lab", project="aging")
GROUP = Layout.parse("{project}/{subject}/{session}/{acquisition}/{file}", group="lab")
SITE = Layout.parse("{group}/{project}/{subject}/{session}/{acquisition}/{file}")

# Plain text seldom meets the corners, so most of it is made of what the encoding is about.
pieces = st.sampled_from(
    [
        *(
            "%",
            "%2",
            "%25",
            "%2F",
            "%2E",
            "%41",
            "%0A",
            "%C3",
            "%A9",
            "%C3%A9",
            "%CC%81",
            "%ED%A0%80",
        ),
        *("%empty", "empty", "%+", "+", "%id=", "id=", "25", "2F", "2E"),
        *("a", "A", "1", "e", ".", "..", ".fwsync", ".FWSYNC", "/", "//", " ", ":", "*", "é"),
        *("\u0301", "\u0338", "=", "<", "\u2028", "\x00", "\x1a", "\x7f", "\x80", "\x9f"),
        *("\ud800", "\udfff", "\U0001f600", "\uac00", "\u11a8", "\u1100", "\u1161", "x" * 120),
    ]
)
anything = st.text(st.characters(codec=None), max_size=300)
labels = st.one_of(st.lists(pieces, max_size=12).map("".join), anything)
addresses = st.builds(
    Address,
    st.lists(labels, max_size=3).map(lambda below: ("lab", "aging", *below)),
    labels,
)


def is_valid(path: str) -> bool:
    """True if ``path`` is a path that fwsync may write to."""
    return unicodedata.is_normalized("NFC", path) and all(
        part not in {"", ".", ".."}
        and not part.casefold().startswith(".fwsync")
        and len(part.encode()) <= MAX_COMPONENT
        and not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in part)
        for part in path.split("/")
    )


@given(addresses)
def test_every_address_is_read_back_from_its_path(address: Address) -> None:
    path = PROJECT.path_of(address)

    assert not isinstance(path, Unmappable)
    assert address == PROJECT.address_of(path)


@given(addresses)
def test_every_path_is_one_that_may_be_written(address: Address) -> None:
    path = PROJECT.path_of(address)

    assert not isinstance(path, Unmappable)
    assert is_valid(path)


@given(labels, labels)
@example("/", "%2F")
@example("", "%empty")
@example("é", "e\u0301")
@example("%252F", "%2F")
def test_no_two_labels_share_a_name(one: str, other: str) -> None:
    assume(one != other)

    assert name_of(one) != name_of(other)


@pytest.mark.parametrize("layout", [SITE, GROUP, PROJECT])
@given(address=addresses, project=labels.filter(bool))
def test_the_project_of_a_path_is_the_one_that_its_address_names(
    layout: Layout, address: Address, project: str
) -> None:
    above = ("lab", "aging" if layout is PROJECT else project)
    path = layout.path_of(Address((*above, *address.labels[2:]), address.name))

    assert not isinstance(path, Unmappable)
    assert above == layout.project_of(path)


@pytest.mark.parametrize("path", ["x", "lab/x", "lab%+/x/y", "a\x01/p/x", "lab/p%id=1/x", "//x"])
def test_what_lies_in_no_project_has_none(path: str) -> None:
    assert SITE.project_of(RelPath(path)) is None


def test_a_twin_below_does_not_hide_the_project() -> None:
    twin = SITE.twin_name("p01", "5f")

    assert ("lab", "aging") == SITE.project_of(RelPath(f"lab/aging/{twin}/x"))


@given(st.lists(labels, min_size=1, max_size=5).map("/".join))
@example("a%+/%+b")
@example("%2525")
@example("")
def test_a_local_path_is_mapped_back_to_itself_or_not_at_all(text: str) -> None:
    path = RelPath(text)
    address = PROJECT.address_of(path)

    assert isinstance(address, Unmappable) or path == PROJECT.path_of(address)


@given(labels)
def test_the_label_of_a_name_is_the_label_it_was_made_from(label: str) -> None:
    assert label == label_of(name_of(label))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_a_name_that_any_file_system_can_hold_is_its_own_label(text: str) -> None:
    name = unicodedata.normalize("NFC", text.replace("/", "_").replace("%", "_"))
    assume(is_valid(name))

    assert name == name_of(name)


@pytest.mark.parametrize(
    "label",
    [
        *("50%", "100%25", "a%41b", "a%2fb", "caf%C3%A9.txt", "100 %", "%", "%%", "%zz"),
        *("t1 mprage: run *?", "trailing dot.", "trailing space ", "CON", ".hidden", "..."),
        *("Größe", "脑 MRI", "a\\b", "-rf", "~", "a+b", "id=5", "x%+y", "%empty.txt"),
    ],
)
def test_an_ordinary_label_keeps_its_spelling(label: str) -> None:
    assert label == name_of(label)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("", "%empty"),
        ("%empty", "%25empty"),
        (".", "%2E"),
        ("..", "%2E."),
        (".fwsync", "%2Efwsync"),
        (".FwSync-parts", "%2EFwSync-parts"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("a\nb", "a%0Ab"),
        ("a\x00b", "a%00b"),
        ("a\x85b", "a%C2%85b"),
        ("\ud800", "%ED%A0%80"),
        ("e\u0301", "e%CC%81"),
        ("é e\u0301", "%C3%A9 e%CC%81"),
        ("a%+", "a%25+"),
        ("%+a", "%25+a"),
        ("a%id=5", "a%25id=5"),
        # The escape's own last letter must not melt with the accent that follows it.
        ("\x1a\u0301", "%1A%CC%81"),
    ],
)
def test_a_label_no_file_system_can_hold_is_escaped(label: str, name: str) -> None:
    assert name == name_of(label)


def test_a_long_label_is_cut_between_characters_and_escapes() -> None:
    label = "é/" * 200
    parts = name_of(label).split("/")

    assert all(len(part.encode()) <= MAX_COMPONENT for part in parts)
    assert all(part.endswith("%+") for part in parts[:-1])
    assert all(part.startswith("%+") for part in parts[1:])
    assert label == label_of("/".join(parts))


@pytest.mark.parametrize("size", [254, 255, 256, 257, 300, 510, 5000])
@pytest.mark.parametrize("char", ["x", "é", "脑", "\U0001f600", ".", "%", "+", "\x00"])
def test_labels_of_any_length_fit(size: int, char: str) -> None:
    name = name_of(char * size)

    assert is_valid(name)
    assert char * size == label_of(name)


@pytest.mark.parametrize(
    ("path", "labels", "name"),
    [
        ("a.txt", ("lab", "aging"), "a.txt"),
        ("s/a.txt", ("lab", "aging", "s"), "a.txt"),
        ("s/t/a.txt", ("lab", "aging", "s", "t"), "a.txt"),
        ("s/t/u/a.txt", ("lab", "aging", "s", "t", "u"), "a.txt"),
    ],
)
def test_files_may_lie_at_every_level_from_the_project_down(
    path: str, labels: tuple[str, ...], name: str
) -> None:
    address = PROJECT.address_of(RelPath(path))

    assert Address(labels, name) == address
    assert Level.PROJECT is Address(("lab", "aging"), "a.txt").level


@pytest.mark.parametrize(
    ("layout", "path", "reason"),
    [
        (PROJECT, "s/t/u/v/a.txt", "it lies deeper than an acquisition"),
        (GROUP, "a.txt", "files cannot lie above a project"),
        (SITE, "lab/a.txt", "files cannot lie above a project"),
        (PROJECT, "a/b.txt%id=5f", "it names a twin by its id"),
        (
            PROJECT,
            "a%id=5f/a.txt",
            "its folder is a twin's: two containers have that name on the server",
        ),
        (PROJECT, ".fwsync/state.db", "names that begin with .fwsync are fwsync's own"),
        (PROJECT, "s//a.txt", "'' is no name of a file or folder"),
        (PROJECT, "s/../a.txt", "'..' is no name of a file or folder"),
        (PROJECT, "s/\udcff.txt", "its name is not valid UTF-8"),
        (PROJECT, "s/a\n.txt", "its name holds a control character or line end"),
        (PROJECT, "%2525", "'%2525' is spelled with escapes, but not as fwsync would"),
        (PROJECT, "C%+", "a name in it ends or begins with '%+', which marks a name cut in pieces"),
    ],
)
def test_what_cannot_be_mapped_says_why(layout: Layout, path: str, reason: str) -> None:
    address = layout.address_of(RelPath(path))

    assert isinstance(address, Unmappable)
    assert reason == address.reason


def test_the_layouts_differ_only_in_where_they_start() -> None:
    address = Address(("lab", "aging", "s", "t", "u"), "a.txt")

    assert "s/t/u/a.txt" == PROJECT.path_of(address)
    assert "aging/s/t/u/a.txt" == GROUP.path_of(address)
    assert "lab/aging/s/t/u/a.txt" == SITE.path_of(address)


def test_a_folder_of_another_project_is_left_alone_when_one_is_named() -> None:
    layout = Layout.parse(SITE.template, group="lab", project="aging")
    address = layout.address_of(RelPath("lab/other/a.txt"))

    assert isinstance(address, Unmappable)
    assert "it belongs to the project 'other', and only 'aging' is kept in step" == address.reason


@pytest.mark.parametrize(
    ("labels", "path"),
    [
        (("lab",), ""),
        (("lab", "aging"), ""),
        (("lab", "aging", "a/b"), "a%2Fb"),
        (("lab", "aging", "s", ""), "s/%empty"),
    ],
)
def test_a_container_has_a_folder(labels: tuple[str, ...], path: str) -> None:
    assert path == PROJECT.container_path(labels)


@pytest.mark.parametrize(
    ("template", "group", "project"),
    [
        ("{subject}/{session}/{acquisition}/{file}", None, "aging"),
        ("{subject}/{session}/{acquisition}/{file}", "lab", None),
        ("{project}/{subject}/{session}/{acquisition}/{file}", None, None),
        ("{session}/{subject}/{file}", "lab", "aging"),
        ("{subject}/{file}", "lab", "aging"),
        ("", "lab", "aging"),
    ],
)
def test_a_template_that_leaves_a_level_open_is_refused(
    template: str, group: str | None, project: str | None
) -> None:
    with pytest.raises(UsageError, match=r"\Alayout: "):
        Layout.parse(template, group=group, project=project)


@given(labels, labels)
def test_a_twin_is_told_apart_and_split_again(label: str, id: str) -> None:
    name = Layout.twin_name(label, id)

    assert (name_of(label), id) == Layout.split_twin(name)
    assert is_valid(name)
    assert label_of(name) is None


@given(labels)
def test_no_ordinary_name_looks_like_a_twin(label: str) -> None:
    assert (name_of(label), None) == Layout.split_twin(name_of(label))


@given(labels)
def test_splitting_any_text_gives_a_twin_or_the_text(text: str) -> None:
    name, id = Layout.split_twin(text)

    assert (text, None) == (name, id) or text == Layout.twin_name(label_of(name) or "", id or "")


def test_a_twin_reads_well() -> None:
    assert "t1 mprage%id=5f3e" == Layout.twin_name("t1 mprage", "5f3e")
