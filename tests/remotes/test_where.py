"""The filter language, read here: refused in time, and of the meaning that the server gives it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import UsageError
from fwsync.remotes.where import parse_where
from fwsync.sandbox.kept.filters import parse_filter

FILE: dict[str, Any] = {
    "name": "scan, 1.nii.gz",
    "type": "nifti",
    "size": 1000,
    "modality": None,
    "tags": ["raw", "101"],
    "modified": "2026-03-01T10:00:00.123000+00:00",
    "parents": {"group": "lab", "subject": "5f" * 12},
    "info": {"TE": 0.03, "flag": True, "list": [{"a": 1}, {"a": "x"}]},
    "origin": {"type": "user", "id": "a@b.c"},
}


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("type=nifti", True),
        ("type!=nifti", False),
        ("type=nifti,size>999", True),
        ("type=nifti,size>1000", False),
        ("size>=1000,size<=1000", True),
        ('name="scan, 1.nii.gz"', True),
        (r"name=scan\, 1.nii.gz", True),
        (r"name=~\.nii(\.gz)?$", True),
        ("tags=raw", True),
        ("tags=101", True),
        ("tags!=raw", False),
        ("tags!=|[a,b]", True),
        ("type=|[dicom,nifti]", True),
        ('type=|["dicom","nifti"],size=1000', True),
        ("modality=null", True),
        ("modality!=null", False),
        ('modality="null"', False),
        ("nothing.there=null", True),
        ("subject=5f5f5f5f5f5f5f5f5f5f5f5f", True),
        ("group=lab", True),
        ("modified>2026-03-01", True),
        ("modified<2026-03-01T10:00:00Z", False),
        ("info.TE<=0.03", True),
        ("info.flag=true", True),
        ("info.list.a=x", True),
        ("info.list.a=1", True),
        ("origin.id=a@b.c", True),
        ("size<abc", False),
        ("type>mr", True),
        ("type<null", False),
        ("type<true", False),
        ('type<"null"', True),
        ('type<"true"', True),
    ],
)
def test_a_filter_means_what_it_means_to_the_server(text: str, is_accepted: bool) -> None:
    assert is_accepted is parse_where(text).accepts(FILE)
    assert is_accepted is parse_filter(text).accepts(FILE)


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "type", "=nifti", "type=a,b", "name=~(", "type=|[a,b", "type=|[a]b",
        'name="a"b",x', "type=a,,size=1",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_before_the_server_is_asked(text: str) -> None:
    with pytest.raises(UsageError):
        parse_where(text)


KEYS = ("type", "size", "tags", "modality", "modified", "info.TE", "info.list.a", "parents.group")
VALUES = ("nifti", "1000", "0.03", "null", "true", "2026-03-01", '"nifti"', "raw", "lab", "x", "1")
CLAUSES = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(KEYS), st.sampled_from(
        ("=", "!=", "<", "<=", ">", ">=", "=~")), st.sampled_from(VALUES)),
    st.builds("{}{}[{},{}]".format, st.sampled_from(KEYS), st.sampled_from(("=|", "!=|")),
              st.sampled_from(VALUES), st.sampled_from(VALUES)),
)  # fmt: skip


@given(st.lists(CLAUSES, min_size=1, max_size=4))
def test_we_and_the_sandbox_agree_on_every_filter(clauses: list[str]) -> None:
    text = ",".join(clauses)

    assert parse_filter(text).accepts(FILE) is parse_where(text).accepts(FILE)


@given(st.text(alphabet='ab=!<>~|[]",\\ 1.', max_size=30))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        where = parse_where(text)
    except UsageError:
        return
    assert where.text == text
    assert where.accepts(FILE) in (True, False)
