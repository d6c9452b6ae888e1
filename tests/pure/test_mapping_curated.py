"""What a server's curation for BIDS says of places, and what it may not say."""

from __future__ import annotations

import json
from posixpath import normpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.mapping.curated import (
    IGNORED,
    NOT_CURATED,
    SOURCE_DATA,
    belongs_at_top,
    curation_of,
    description_of,
    is_ignored,
    place_of,
)


def test_curation_is_a_table_or_none() -> None:
    assert {"Path": "x"} == curation_of({"info": {"BIDS": {"Path": "x"}}})
    others: list[dict[str, object]] = [
        {},
        {"info": None},
        {"info": {"BIDS": "NA"}},
        {"info": {}},
    ]
    for item in others:
        assert curation_of(item) is None


@pytest.mark.parametrize(
    ("told", "name", "place", "why"),
    [
        (None, "x.nii", "", NOT_CURATED),
        ({}, "x.nii", "", NOT_CURATED),
        ({"Path": "sub-01/anat", "Filename": "a.nii"}, "x", "sub-01/anat/a.nii", ""),
        ({"Path": "", "Filename": "a.tsv"}, "x", "a.tsv", ""),
        ({"Path": "./", "Filename": "a.tsv"}, "x", "a.tsv", ""),
        ({"Filename": ""}, "participants.tsv", "participants.tsv", ""),
        ({"Filename": ""}, "x.nii", "", NOT_CURATED),
        ({"Path": "a", "Filename": "b", "ignore": True}, "x", "", IGNORED),
        ({"Path": "a", "Filename": "b", "ignore": "True"}, "x", "", IGNORED),
        ({"Path": "a", "Filename": "b", "ignore": "false"}, "x", "a/b", ""),
        ({"Path": "sourcedata/sub-01", "Filename": "b"}, "x", "", SOURCE_DATA),
    ],
)
def test_a_file_lies_where_path_and_filename_say(
    told: dict[str, Any] | None, name: str, place: str, why: str
) -> None:
    assert (place, why) == place_of(told, name)


def test_ignored_is_told_in_more_than_one_way() -> None:
    assert [True, True, True] == [is_ignored({"ignore": one}) for one in (True, "true", 1)]
    assert not any(is_ignored({"ignore": one}) for one in (False, "no", 0, None))
    assert not is_ignored(None)


TEXT = st.one_of(
    st.text(max_size=6),
    st.lists(st.sampled_from(["..", ".", "", "/", "a", ".fwsync", "\x00", "%2F", "é"])).map(
        "/".join
    ),
)


@given(st.one_of(TEXT, st.none(), st.integers()), st.one_of(TEXT, st.none()), st.text(max_size=5))
def test_no_place_leads_out_or_is_ours(folder: object, file: object, name: str) -> None:
    place, why = place_of({"Path": folder, "Filename": file}, name)

    assert bool(place) != bool(why)
    if place:
        assert place == normpath(place)
        assert not place.startswith(("/", ".."))
        assert not any(part.casefold().startswith(".fwsync") for part in place.split("/"))
        assert "\x00" not in place


def test_what_any_tree_may_have_at_its_top_is_known() -> None:
    assert belongs_at_top("README.md")
    assert belongs_at_top("participants.tsv")
    assert not belongs_at_top("budget.xlsx")


def test_a_description_has_what_bids_has_there_and_is_none_without_its_keys() -> None:
    told = {"Name": "x", "BIDSVersion": "1.8.0", "Funding": [], "template": "reproin"}

    content = description_of(told)

    assert content is not None
    assert {"Name": "x", "BIDSVersion": "1.8.0"} == json.loads(content)
    assert description_of({"Name": "x"}) is None
    assert description_of(None) is None
