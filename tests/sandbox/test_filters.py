from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwsync.sandbox.kept.filters import parse_filter
from fwsync.sandbox.problems import ApiError

ENTRY: dict[str, Any] = {
    "_id": "5f0000000000000000000001",
    "label": "My, Proj",
    "code": "101",
    "age": 12.5,
    "ready": True,
    "none": None,
    "created": "2026-03-04T05:06:07.000008+00:00",
    "info": {"a": {"b": "x y"}, "n": 3},
    "tags": ["red", "blue"],
    "files": [{"name": "a.txt", "size": 1}, {"name": "b.txt", "size": 9}],
    "parents": {"group": "grp", "project": "5f00000000000000000000aa"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (r"label=My\, Proj", True),
        ('label="My, Proj"', True),
        ("label=My", False),
        ("label!=My", True),
        ("code=101", True),
        ('code="101"', True),
        ("code!=101", False),
        ("age>12", True),
        ("age>=12.5,age<=12.5", True),
        ("age<12.5", False),
        ("age=1.25e1", True),
        ("label>1", False),
        ("ready=true", True),
        ("ready=false", False),
        ("none=null", True),
        ("absent=null", True),
        ("absent!=null", False),
        ("absent!=1", True),
        ("label=null", False),
        ("created>2026-03-04", True),
        ("created<2026-03-04", False),
        ("created>=2026-03-04T05:06:07.000008Z", True),
        ("created<2026-03-04T06:06:07+01:00", False),
        ("created=2026-03-04T06:06:07.000008+01:00", True),
        ("info.a.b=x y", True),
        ("info.n=3", True),
        ("info.n>2,info.n<4", True),
        ("tags=red", True),
        ("tags!=red", False),
        ("tags=green", False),
        ("files.name=b.txt", True),
        ("files.size>8", True),
        ("files.0.name=a.txt", True),
        ("group=grp", True),
        ("project=5f00000000000000000000aa", True),
        ("label=~^My", True),
        (r"label=~y\, P", True),
        ("label=~^Proj", False),
        ("label=|[a,b]", False),
        (r"code=|[100,101],label=|[x,My\, Proj]", True),
        ('label=|["My, Proj"]', True),
        ("tags!=|[green,black]", True),
        ("tags!=|[green,red]", False),
        ('label=~"', False),
        ('code=5" disc', False),
    ],
)
@pytest.mark.row("lists-filter")
def test_a_filter_means(text: str, expected: bool) -> None:
    assert parse_filter(text).accepts(ENTRY) is expected


@pytest.mark.parametrize("text", ["label", "=x", "a=1,b", "a=~(", "a=|[b", "a=|[", "a=|[b]c"])
@pytest.mark.row("lists-filter")
def test_what_is_no_filter_is_422(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_filter(text)

    assert caught.value.status == 422


@given(st.text(), st.text())
@pytest.mark.row("lists-filter")
def test_a_quoted_value_is_the_text_itself(value: str, other: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    wanted = parse_filter(f'label="{escaped}",x=1')

    assert wanted.accepts({"label": value, "x": 1}) is True
    assert wanted.accepts({"label": other, "x": 1}) is (other == value)


@given(
    st.text(st.characters(exclude_characters='"\\'), min_size=1).filter(
        lambda value: not value.startswith(("~", "|["))  # these belong to the operator
    )
)
@example("null")
@pytest.mark.row("lists-filter")
def test_a_bare_value_needs_only_its_commas_escaped(value: str) -> None:
    wanted = parse_filter("x=1,label=" + value.replace(",", "\\,"))

    assert wanted.accepts({"label": value, "x": 1}) is (value != "null")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False))
def test_numbers_compare_as_numbers(a: float, b: float) -> None:
    for operator, expected in (("<", b < a), (">=", b >= a), ("=", b == a), ("!=", b != a)):
        assert parse_filter(f"x{operator}{a}").accepts({"x": b}) is expected


@given(st.text(max_size=40))
@pytest.mark.row("lists-filter")
def test_any_text_is_a_filter_or_422(text: str) -> None:
    status = 200
    try:
        parse_filter(text).accepts(ENTRY)
    except ApiError as problem:
        status = problem.status

    assert status in (200, 422)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), max_size=5), st.text())
@pytest.mark.row("lists-filter")
def test_a_list_means_any_of_its_members(values: list[str], label: str) -> None:
    quoted = ",".join(f'"{value}"' for value in values)
    inside = parse_filter(f"label=|[{quoted}]").accepts({"label": label})
    outside = parse_filter(f"label!=|[{quoted}]").accepts({"label": label})

    assert inside is (label in values)
    assert outside is not inside


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), st.text(max_size=20))
@pytest.mark.row("lists-filter")
def test_a_pattern_is_found_anywhere(needle: str, label: str) -> None:
    wanted = parse_filter(f"label=~{needle}")

    assert wanted.accepts({"label": label}) is bool(re.search(needle, label))
