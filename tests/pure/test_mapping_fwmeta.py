"""Rule files in fw-meta's syntax: the same answers as fw-meta 4.13.0 gives.

``tests/fixtures/fwmeta.json`` is a table of rules and paths, with what fw-meta said of
each: nothing (the rule's filters leave it out) or fields. Its files have 1000 bytes and are
of 2024-05-17 12:00; zones are left out, for fw-meta adds that of the machine it runs on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.fields import LABEL_FIELDS
from fwsync.mapping.fwmeta import rules_of
from fwsync.mapping.placing import Found, Header, Placed
from fwsync.mapping.rules import Rules
from fwsync.model import Level, RelPath, Stamp

TABLE = json.loads((Path(__file__).parents[1] / "fixtures/fwmeta.json").read_text("utf-8"))
NOON_NS = 1_715_947_200 * 10**9
STAMP = Stamp(1000, NOON_NS, NOON_NS, 1, 1)
ANSWERED = [case for case in TABLE if "answers" in case]
REFUSED = [case for case in TABLE if "error" in case]


def rules(*parsed: dict[str, Any], **more: Any) -> Rules:
    return rules_of(list(parsed), group="lab", project="aging", **more)


def shown(case: dict[str, Any]) -> str:
    return json.dumps(case["rule"])[:60]


@pytest.mark.parametrize("case", ANSWERED, ids=shown)
def test_a_rule_says_what_fw_meta_says(case: dict[str, Any]) -> None:
    rule = case["rule"]
    level = Level(rule.get("level", "acquisition"))
    below = list(Level)[2 : list(Level).index(level) + 1]
    for path, fields in case["answers"].items():
        named = {LABEL_FIELDS[one] for one in below} <= (fields or {}).keys()
        # A rule that names group or project decides it; it is the target otherwise.
        target = {"group._id": "lab", "project.label": "aging"}
        target = {name: label for name, label in target.items() if name not in (fields or {})}
        one = rules_of([rule], group=target.get("group._id"), project=target.get("project.label"))
        place = one.place(RelPath(path), stamp=STAMP)

        if fields is None or not named:
            assert isinstance(place, Unmappable)
            continue
        assert isinstance(place, Placed)
        labels = dict(zip(Level, place.address.labels, strict=False))
        said = {LABEL_FIELDS[one]: label for one, label in labels.items()}
        name = {"file.name": place.address.name} if "file.name" in fields else {}
        assert {**target, **fields} == {**said, **place.fields, **name}, path


@pytest.mark.parametrize("case", REFUSED, ids=shown)
def test_a_rule_that_fw_meta_refuses_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"rule 1: |filter "):
        rules(case["rule"])


@pytest.mark.parametrize(
    ("parsed", "words"),
    [
        ([], "expected a list"),
        ("path", "expected a list"),
        ([3], "rule 1: is 3"),
        ([{"mapping": []}, {"levle": "x"}], "rule 2: 'levle' is not known"),
        ([{"include": "path"}], "expected a list of filters"),
        ([{"include": ["path=~a::b"]}], "looks into zips"),
        ([{"mappings": ["{@x}={sub}"]}], "nothing that a file"),
        ([{"mappings": ["{!@x}={sub}"]}], "stands before a mapping"),
        ([{"mappings": [["a", "b", "c"]]}], "not of the form"),
        ([{"group_by": "name"}], "group_by"),
    ],
)
def test_a_file_that_is_none_is_refused(parsed: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules_of(parsed)

    assert words in caught.value.message


def test_the_first_rule_whose_filters_match_decides() -> None:
    one = rules(
        {"include": ["path=~**/*.dcm"], "zip": True, "mappings": ["path={sub}/{ses}/{acq}/**/*"]},
        {"level": "subject", "mappings": ["path={sub}/*"]},
    )
    packed = one.place(RelPath("s/v/T1/x/1.dcm"), stamp=STAMP)
    plain = one.place(RelPath("s/notes.txt"), stamp=STAMP)

    assert isinstance(packed, Placed)
    assert isinstance(plain, Placed)
    assert ("T1.zip", "1.dcm", "archive") == (packed.address.name, packed.member, packed.kind)
    assert "rule 1 (path=~**/*.dcm): " in packed.rule
    assert ("lab", "aging", "s") == plain.address.labels


def test_a_file_that_no_filter_takes_is_reported() -> None:
    one = rules({"include": ["path=~.dcm$"]}, {"exclude": ["size>10"]})
    place = one.place(RelPath("a/b/c/x.txt"), stamp=STAMP)

    assert isinstance(place, Unmappable)
    assert "rule 1 (path=~.dcm$): it does not match path=~.dcm$" in place.reason


def test_labels_are_cut_as_fw_meta_cuts_them() -> None:
    one = rules({"mappings": ["path={sub}/{ses}/{acq}/*"]})
    place = one.place(RelPath("/".join(["s" * 99, "v" * 99, "a" * 200, "x" * 200])), stamp=STAMP)

    assert isinstance(place, Placed)
    assert [64, 64, 128] == [len(label) for label in place.address.labels[2:]]
    assert 200 == len(place.address.name)


class Patient:
    """The smallest reader of headers."""

    routes = False

    def find(self, header: Header) -> Found | Unmappable:
        if "SeriesDescription" not in header:
            return Unmappable("its header has no SeriesDescription")
        labels = {"session": "from header", "acquisition": str(header["SeriesDescription"])}
        return Found(labels, "", fields={"session.uid": "1.2"})


def test_a_rule_for_dicom_reads_headers_below_its_mappings() -> None:
    rule = {
        "include": ["name=~^IM!r"],
        "type": "dicom",
        "mappings": ["PatientID={sub}", "{PatientID}_{StudyID|1}=ses"],
    }
    one = rules(rule, scanner=Patient())
    header: Header = {"PatientID": "p01", "SeriesDescription": "T2*"}
    place = one.place(RelPath("a/b/IM1"), header, STAMP)

    assert one.wants_header(RelPath("a/b/IM1"), STAMP)
    assert not one.wants_header(RelPath("a/b/notes"), STAMP)
    assert isinstance(place, Placed)
    assert ("lab", "aging", "p01", "from header", "T2star") == place.address.labels
    assert ("T2star.dicom.zip", "IM1", "dicom") == (
        place.address.name,
        place.member,
        place.kind,
    )
    assert "1.2" == place.fields["session.uid"]


def test_a_header_that_lacks_a_label_leaves_it_to_the_folders_and_then_is_reported() -> None:
    one = rules({"type": "dicom"}, scanner=Patient())

    deep = one.place(RelPath("s/v/T1/IM1"), {"Modality": "MR"}, STAMP)
    assert isinstance(deep, Placed)
    assert ("s", "v", "T1") == deep.address.labels[2:]
    flat = one.place(RelPath("IM1"), {"Modality": "MR"}, STAMP)
    assert isinstance(flat, Unmappable)
    assert "nothing gives it a subject.label; its header has no SeriesDescription" in flat.reason
