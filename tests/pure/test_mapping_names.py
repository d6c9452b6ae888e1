"""The platform's rule for names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.mapping.names import MAX_LENGTH, pack_stem, platform_name, platform_names

names = st.lists(
    st.one_of(
        st.sampled_from(["t2*", "T2 *", "con", "COM1", ".", " ", "*", "/", "_", "_1", "x" * 200]),
        st.text(max_size=4),
    ),
    max_size=4,
).map("".join)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        # Source: flywheel-cli 18.5.1 with pathvalidate 2.5.2, observed.
        ("T1w", "T1w"),
        ("t2*", "t2star"),
        ("T2 *w", "T2 starw"),
        ("t2_*", "t2_star"),
        ("*t2", "_t2"),
        ('a:b*c?d"e<f>g|h\\i/j', "a_b_c_d_e_f_g_h_i_j"),
        ("a\tb\x00c\x7f", "a_b_c_"),
        ("é 头", "é 头"),
        ("ends in dots. .", "ends in dots"),
        ("con", "con_"),
        ("LPT1.txt", "LPT1_.txt"),
        ("con.a.txt", "con.a.txt"),
        ("..", ".."),
        ("x" * 300, "x" * 255),
        # Where that leaves a name that it would change again, or none.
        ("con ", "con_"),
        (" . ", "_"),
    ],
)
def test_a_name_is_what_the_platforms_tools_make_of_it(label: str, name: str) -> None:
    assert name == platform_name(label)


@given(names)
def test_the_rule_has_nothing_to_add_to_its_own_result(label: str) -> None:
    name = platform_name(label)

    assert name == platform_name(name)
    assert 0 < len(name) <= MAX_LENGTH


@given(st.lists(names, max_size=8))
def test_no_two_siblings_get_one_name(labels: list[str]) -> None:
    given_names = platform_names(labels)

    assert set(labels) == set(given_names)
    assert len(given_names) == len(set(given_names.values()))
    assert all(name == platform_name(name) for name in given_names.values())


@given(st.lists(names, max_size=8), st.lists(names, max_size=4))
def test_who_comes_later_takes_a_name_from_nobody(labels: list[str], more: list[str]) -> None:
    before = platform_names(labels)
    after = platform_names([*more, *labels], before)

    assert before == {label: after[label] for label in before}


@given(st.lists(names, max_size=8))
def test_the_order_does_not_matter(labels: list[str]) -> None:
    assert platform_names(labels) == platform_names(reversed(labels))


def test_the_second_of_two_gets_a_number_before_its_ending() -> None:
    assert {
        "a:b.nii.gz": "a_b_1.nii.gz",
        "a_b.nii.gz": "a_b.nii.gz",
        "a?b.nii.gz": "a_b_2.nii.gz",
    } == (platform_names(["a:b.nii.gz", "a?b.nii.gz", "a_b.nii.gz"]))


def test_a_pack_keeps_letters_and_digits_of_a_label() -> None:
    assert "T1 w t2 x" == pack_stem("T1: w/ t2* x ")
