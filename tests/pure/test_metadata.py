"""What is said of files and containers: shapes, rules, sidecars, BIDS; who has the last word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fwsync.errors import UsageError
from fwsync.metadata import bids, sidecars
from fwsync.metadata.describe import Beside, describe
from fwsync.metadata.rules import MetadataRule, MetadataRules
from fwsync.metadata.shapes import (
    MAX_DEPTH,
    MAX_INFO,
    OF_CONTAINER,
    NotJson,
    clean_info,
    clean_key,
    tags_of,
    told_of,
)
from fwsync.metadata.sidecars import BadSidecar
from fwsync.model import Level, RelPath

PATH = RelPath("s/e/a/scan.nii.gz")

#: JSON as it comes from a file; keys as the platform keeps them.
keys = st.text(st.characters(exclude_characters=".$", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
infos = st.dictionaries(keys, values, max_size=4)


# --------------------------------------------------------------------------------- shapes


@given(infos)
def test_what_the_platform_keeps_is_sent_as_it_is(info: dict[str, Any]) -> None:
    assert info == clean_info(info)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values))
def test_keys_have_nothing_that_the_platform_would_change(info: dict[str, Any]) -> None:
    cleaned = clean_info(info)

    assert {clean_key(key) for key in info} == set(cleaned)
    assert cleaned == clean_info(cleaned)


def test_of_two_keys_that_become_one_the_one_spelled_so_stays() -> None:
    assert {"a_b": 2} == clean_info({"a.b": 1, "a_b": 2})
    assert {"a_b": 2} == clean_info({"a_b": 2, "a.b": 1})
    assert {"-a": 1} == clean_info({"$a": 1})


@pytest.mark.parametrize(
    "info",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": b"bytes"},
        {"a": {1: 2}},
        {"a": {"set"}},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": "x" * MAX_INFO},
    ],
)
def test_what_json_cannot_hold_is_not_sent(info: dict[str, Any]) -> None:
    with pytest.raises(NotJson, match="info"):
        clean_info(info)


def test_what_is_nested_too_deeply_is_not_sent() -> None:
    nested: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        nested = {"a": nested}

    with pytest.raises(NotJson):
        clean_info(nested)


@pytest.mark.parametrize("tags", [3, {"a": 1}, ["a", 3], [""], b"a"])
def test_what_is_no_list_of_texts_is_no_tags(tags: object) -> None:
    with pytest.raises(NotJson):
        tags_of(tags)


def test_each_level_is_told_its_own_fields() -> None:
    fields: dict[str, object] = {
        "session.timestamp": "2026-01-02T03:04:05+00:00",
        "session.age": 86400,
        "session.label": "said by the path",
        "session.unheard_of": 1,
        "session.operator": None,
        "session.info": {"a": 1},
        "session.info.b.c": 2,
        "session.tags": ["x", "x"],
        "subject.sex": "male",
    }

    told = told_of(Level.SESSION, fields)

    assert {"timestamp": "2026-01-02T03:04:05+00:00", "age": 86400} == told.plain
    assert {"a": 1, "b_c": 2} == told.info
    assert ("x",) == told.tags
    assert not told_of(Level.ACQUISITION, fields)


# ---------------------------------------------------------------------------------- rules


def rules(*told: dict[str, Any], tags: tuple[str, ...] = ()) -> MetadataRules:
    return MetadataRules([MetadataRule.model_validate(one) for one in told], tags)


def test_all_rules_that_match_count_in_their_order() -> None:
    made = rules(
        {"match": "*.nii.gz", "type": "nifti", "modality": "MR", "tags": "raw", "info": {"a": 1}},
        {"match": ["s/", "!s/e/b/"], "modality": "CT", "tags": ["s"], "info": {"b": 2}},
        {"match": "/scan.nii.gz", "modality": "PT"},
        {"match": "*", "classification": {"Intent": "Structural"}},
        tags=("pilot",),
    )

    assert made.of(PATH) == {
        "type": "nifti",
        "modality": "CT",
        "tags": ["pilot", "raw", "s"],
        "info": {"a": 1, "b": 2},
        "classification": {"Intent": ["Structural"]},
    }
    assert "MR" == made.of("s/e/b/scan.nii.gz")["modality"]
    assert {"tags": ["pilot"], "classification": {"Intent": ["Structural"]}} == made.of("x")


@pytest.mark.parametrize(
    "told", [{}, {"match": []}, {"match": "*", "typ": "x"}, {"match": "*", "tags": 3}]
)
def test_a_table_that_is_no_rule_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetadataRule.model_validate(told)


@pytest.mark.parametrize(
    "told",
    [
        {"match": "!"},
        {"match": "*", "info": {"when": object()}},
        {"match": "*", "info": {"a": float("nan")}},
    ],
)
def test_a_rule_that_cannot_be_used_names_itself(told: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="metadata rule 2"):
        rules({"match": "*"}, told)


# ------------------------------------------------------------------------------- sidecars


def test_a_sidecar_lies_beside_its_file_or_in_its_folder() -> None:
    assert "s/e/a/scan.nii.gz.flywheel.json" == sidecars.of_file(PATH)
    assert "s/e/e.flywheel.json" == sidecars.of_folder(RelPath("s/e"), "e")
    assert "aging.flywheel.json" == sidecars.of_folder(RelPath(""), "aging")
    assert sidecars.is_sidecar(sidecars.of_file(PATH))
    assert not sidecars.is_sidecar("s/.flywheel.json")
    assert not sidecars.is_sidecar("s/flywheel.json")


def test_of_a_sidecar_only_what_may_be_set_is_believed() -> None:
    entry = {
        "_id": "x",
        "name": "scan.nii.gz",
        "size": 5,
        "hash": "v0-sha384-00",
        "created": "2026-01-01T00:00:00+00:00",
        "type": "nifti",
        "modality": None,
        "classification": {"Intent": ["Structural"], "Custom": []},
        "tags": ["a"],
        "info": {"a.b": 1},
        "zip_member_count": None,
        "mimetype": "application/octet-stream",
    }

    assert sidecars.file_metadata(entry) == {
        "type": "nifti",
        "mimetype": "application/octet-stream",
        "classification": {"Intent": ["Structural"], "Custom": []},
        "tags": ["a"],
        "info": {"a_b": 1},
    }


def test_a_containers_sidecar_says_its_fields() -> None:
    doc = {
        "_id": "x",
        "label": "ses-01",
        "parents": {},
        "timestamp": "2026-01-02T03:04:05+00:00",
        "age": 3600,
        "weight": None,
        "info": {"a": 1},
        "tags": ["t"],
        "code": "nobody's",
    }

    assert sidecars.container_fields(Level.SESSION, doc) == {
        "session.timestamp": "2026-01-02T03:04:05+00:00",
        "session.age": 3600,
        "session.info": {"a": 1},
        "session.tags": ["t"],
    }
    assert {"subject.info": {"a": 1}, "subject.tags": ["t"]} == sidecars.container_fields(
        Level.SUBJECT, doc
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a":1} x'],
)
def test_what_is_no_object_is_no_sidecar(text: bytes) -> None:
    with pytest.raises(BadSidecar):
        sidecars.read_object(text)


def test_what_is_too_large_is_no_sidecar() -> None:
    with pytest.raises(BadSidecar):
        sidecars.read_object(b" " * (sidecars.MAX_SIDECAR + 1))


@pytest.mark.parametrize(
    "told",
    [
        {"info": ["x"]},
        {"tags": 3},
        {"classification": ["x"]},
        {"classification": {"Intent": [1]}},
        {"type": 3},
        {"zip_member_count": True},
        {"info": {"a": "\ud800"}},
    ],
)
def test_a_value_of_another_type_spoils_the_sidecar(told: dict[str, Any]) -> None:
    with pytest.raises(BadSidecar):
        sidecars.file_metadata(told)


@given(
    infos,
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True),
    st.sampled_from([None, "nifti"]),
)
def test_what_is_written_is_read_back(info: dict[str, Any], tags: list[str], kind: Any) -> None:
    entry = {"name": "f", "size": 3, "type": kind, "info": info, "tags": tags, "modality": None}

    text = sidecars.written(entry)
    said = sidecars.file_metadata(sidecars.read_object(text))

    expected = {"info": info, "tags": tags, "type": kind}
    assert {name: value for name, value in expected.items() if value} == said
    assert text == sidecars.written(json.loads(text))


@pytest.mark.parametrize("level", [one for one in OF_CONTAINER if one is not Level.GROUP])
def test_what_is_written_of_a_container_is_read_back(level: Level) -> None:
    names = OF_CONTAINER[level] - {"code"}
    doc = {name: f"the {name}" for name in names} | {"info": {"a": 1}, "tags": ["t"], "label": "x"}

    text = sidecars.written({**doc, "_id": "x", "permissions": []}, level)
    said = sidecars.container_fields(level, sidecars.read_object(text))

    del doc["label"]
    assert {f"{level}.{name}": value for name, value in doc.items()} == said


# ----------------------------------------------------------------------------------- BIDS

PARTICIPANTS = b"""\xef\xbb\xbfparticipant_id\tage\tsex\thandedness\tspecies\tnote
sub-01\t34\tF\tright\thomo sapiens\tn/a
sub-02\tn/a\tn/a\tleft\tn/a\t1.50

03\t07\tm\t\tn/a\tlast
"""


def test_a_row_of_participants_speaks_of_a_subject() -> None:
    rows = bids.read_table(PARTICIPANTS)

    assert bids.subject_fields(bids.row_of(rows, "sub", "sub-01")) == {
        "subject.info": {
            "age": 34,
            "sex": "F",
            "handedness": "right",
            "species": "homo sapiens",
        },
        "subject.sex": "female",
        "subject.species": "homo sapiens",
    }
    assert {"subject.info": {"handedness": "left", "note": "1.50"}} == bids.subject_fields(
        bids.row_of(rows, "sub", "02")
    )
    third = bids.subject_fields(bids.row_of(rows, "sub", "sub-03"))
    assert ("male", {"age": "07", "sex": "m", "note": "last"}) == (
        third["subject.sex"],
        third["subject.info"],
    )
    assert {} == bids.subject_fields(bids.row_of(rows, "sub", "sub-99"))


def test_a_session_keeps_its_shifted_time_as_info() -> None:
    rows = bids.read_table(b"session_id\tacq_time\nses-1\t1877-06-15T13:45:30\n")

    assert {"session.info": {"acq_time": "1877-06-15T13:45:30"}} == bids.session_fields(
        bids.row_of(rows, "ses", "ses-1")
    )


@pytest.mark.parametrize(
    "text", [b"a\ta\nx\ty", b"a\tb\nx", b"a\tb\nx\ty\nx\tz", b"\xff", b"a\t\nx\ty"]
)
def test_a_broken_table_says_nothing(text: bytes) -> None:
    with pytest.raises(BadSidecar):
        bids.read_table(text)


def test_the_json_of_an_image() -> None:
    assert "s/x_bold.json" == bids.json_of(RelPath("s/x_bold.nii.gz"))
    assert "x.json" == bids.json_of(RelPath("x.nii"))
    assert bids.json_of(RelPath("x.json")) is None
    assert bids.json_of(RelPath("s/.nii.gz")) is None


# ------------------------------------------------------------------------------- together


def test_each_has_its_say_and_the_nearest_has_the_last_word() -> None:
    found = describe(
        PATH,
        metadata={"type": "layout", "info": {"layout": 1}},
        fields={
            "file.type": "field",
            "file.modality": "field",
            "file.info.field": 1,
            "file.info.shared": "field",
            "file.tags": ["field"],
            "file.classification.Intent": ["field"],
            "file.name": "said by the path",
            "session.info.own": "field",
            "session.info.row": "field",
            "session.tags": ["field"],
            "session.age": 1,
        },
        rules=rules(
            {"match": "*", "modality": "rule", "info": {"rule": 1, "shared": "rule"}, "tags": "r"}
        ),
        beside=Beside(
            sidecar={"info": {"shared": "sidecar"}, "tags": ["sidecar"]},
            image_info={"image": 1, "shared": "image"},
            containers=[{"session.info": {"own": "sidecar"}, "session.tags": ["sidecar"]}],
            session_row={"row": "row", "other": "row"},
        ),
    )

    assert found.metadata == {
        "type": "field",
        "modality": "rule",
        "info": {"layout": 1, "field": 1, "image": 1, "rule": 1, "shared": "sidecar"},
        "tags": ["field", "r", "sidecar"],
        "classification": {"Intent": ["field"]},
    }
    assert found.fields == {
        "session.info": {"own": "sidecar", "row": "field", "other": "row"},
        "session.tags": ["field", "sidecar"],
        "session.age": 1,
    }
    assert [] == list(found.problems)


def test_what_cannot_be_said_of_a_file_is_a_problem_and_the_rest_is_said() -> None:
    found = describe(PATH, fields={"file.info.bad": float("nan"), "file.info.good": 1})

    assert {"info": {"good": 1}} == found.metadata
    assert [PATH] == [one.path for one in found.problems]


def test_infos_that_are_too_large_together_are_a_problem() -> None:
    half = "x" * (MAX_INFO * 2 // 3)

    found = describe(
        PATH, fields={"file.info.a": half, "file.type": "x"}, beside=Beside(image_info={"b": half})
    )

    assert {"type": "x"} == found.metadata
    assert 1 == len(found.problems)
