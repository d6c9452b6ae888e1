"""Rules in order, subtrees, and what is said of a file that fits none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.placing import Found, Header, Mapping, Placed
from fwsync.mapping.settings import PlaceSettings, RuleSettings, mapping_of
from fwsync.model import RelPath
from tests.pure.mappings import mapping, placed, refused, where

MRI = {
    "path": "mri/**",
    "layout": "{subject}/{session}/{acquisition}/dicom/{file}",
    "pack": {"*.dcm": "dicom"},
}
EEG = {"path": "eeg/**", "layout": "{subject}/{file}", "session": "eeg", "acquisition": "rest"}
REST = {"path": "*.txt", "layout": "**/{file}"}


def test_each_subtree_has_its_own_layout() -> None:
    one = mapping(MRI, EEG)

    assert (("p01", "v1", "T1"), "T1.dicom.zip", "1.dcm") == where(one, "mri/p01/v1/T1/dicom/1.dcm")
    assert (("p01", "eeg", "rest"), "a.edf", "") == where(one, "eeg/p01/a.edf")


def test_a_place_says_which_rule_and_what_it_saw() -> None:
    one = mapping(MRI, EEG)

    assert (
        "rule 1 (mri/**): subject 'p01' from folder 1, session 'v1' from folder 2, "
        "acquisition 'T1' from folder 3; packed as dicom by '*.dcm'"
    ) == placed(one, "mri/p01/v1/T1/dicom/1.dcm").rule
    assert (
        "rule 2 (eeg/**): subject 'p01' from folder 1, session 'eeg' as set, "
        "acquisition 'rest' as set"
    ) == placed(one, "eeg/p01/a.edf").rule


def test_the_first_rule_that_fits_decides() -> None:
    first = {"path": "*.txt", "layout": "{subject}/**"}
    second = {"layout": "{subject}/{session}/{file}"}

    assert (("p",), "a.txt", "") == where(mapping(first, second), "p/v/a.txt")
    assert (("p", "v"), "a.txt", "") == where(mapping(second, first), "p/v/a.txt")
    assert (("p",), "a.txt", "") == where(mapping(second, first), "p/v/w/x/a.txt")


def test_a_file_that_fits_no_rule_is_reported_with_the_nearest() -> None:
    one = mapping(MRI, {**MRI, "layout": "x{subject}/{file}"}, EEG)

    assert (
        "it fits no rule; nearest is rule 1 (mri/**): folder 4 'nii' does not match 'dicom'"
    ) == refused(one, "mri/p01/v1/T1/nii/1.dcm").reason
    elsewhere = refused(one, "doc/a.txt")
    assert "no rule is for it" == elsewhere.reason
    assert "mri/**, mri/**, eeg/**" in elsewhere.hint


def test_the_layout_at_the_top_comes_after_the_rules() -> None:
    one = mapping(EEG, layout="{sub}/{ses}/{acq}/{file}")

    assert (("p01", "eeg", "rest"), "a.edf", "") == where(one, "eeg/p01/a.edf")
    assert (("p01", "v1", "T1"), "x", "") == where(one, "p01/v1/T1/x")


def test_rules_have_the_packs_of_the_top_unless_they_have_their_own() -> None:
    plain = {"path": "a/**", "layout": "{sub}/{ses}/{acq}/{file}"}
    own = {**plain, "path": "b/**", "pack": {"*.ima": "dicom"}}
    one = mapping(plain, own, pack={"*.dcm": "dicom"})

    assert "x.dcm" == where(one, "a/p/v/T1/x.dcm")[2]
    assert "" == where(one, "b/p/v/T1/x.dcm")[2]
    assert "x.ima" == where(one, "b/p/v/T1/x.ima")[2]


@pytest.mark.parametrize(
    ("path", "file", "labels"),
    [
        ("raw/mri/**", "raw/mri/p/x", ("p",)),
        ("/raw/", "raw/p/x", ("p",)),
        ("raw/*.dcm", "raw/x.dcm", None),
        ("*.dcm", "p/x.dcm", ("p",)),
        ("raw", "raw/x", ("raw",)),
        ("a*/raw/**", "ab/x", None),
    ],
)
def test_a_layout_begins_at_the_folder_that_its_path_names(
    path: str, file: str, labels: tuple[str, ...] | None
) -> None:
    one = mapping({"path": path, "layout": "{subject}/{file}"})

    if labels is None:
        refused(one, file)
    else:
        assert labels == where(one, file)[0]


def test_an_expression_sees_the_whole_path() -> None:
    one = mapping({"path": "raw/**", "regex": r"raw/(?P<sub>\w+)/.*"})

    assert (("p",), "x", "") == where(one, "raw/p/x")


def test_two_subtrees_that_meet_are_for_sending_only() -> None:
    same = {**MRI, "path": "more/**"}

    assert mapping(MRI, EEG).two_way
    assert not mapping(MRI, same).two_way
    assert where(mapping(MRI, same), "mri/p/v/T1/dicom/1.dcm") == where(
        mapping(MRI, same), "more/p/v/T1/dicom/1.dcm"
    )


def test_both_ways_a_file_lies_where_its_place_leads() -> None:
    one = mapping(MRI, EEG, both_ways=True)

    assert (("p01", "eeg", "rest"), "a.dcm", "") == where(one, "eeg/p01/a.dcm")
    assert "that is the place of 'eeg/p01/b'" in refused(one, "mri/p01/eeg/rest/dicom/b").reason
    assert where(mapping(MRI, EEG), "eeg/p01/b") == (
        where(mapping(MRI, EEG), "mri/p01/eeg/rest/dicom/b")
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "mri/**", "layuot": "x"},
        {"pack": {"*.dcm": 3}},
        {"root_dirs": -1},
        {"scan": "nifti"},
        {"defaults": {"file": "x"}},
    ],
)
def test_a_rule_that_is_none_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RuleSettings.model_validate(rule)


def test_a_refused_rule_says_which_it_is() -> None:
    with pytest.raises(UsageError, match=r"rule 2 \(eeg/\*\*\): it names the acquisition"):
        mapping(MRI, {"path": "eeg/**", "layout": "{subject}/{acquisition}/{file}"})


# ---------------------------------------------------------------------------------- headers


@dataclass(frozen=True)
class ByPatient:
    """The smallest reader of headers: a patient and a series."""

    routes = False

    def find(self, header: Header) -> Found | Unmappable:
        if header.get("PatientID") == "":
            return Found({"session": "1", "acquisition": "T1"}, "session '1'")
        if "PatientID" not in header:
            return Unmappable("its header has no PatientID", "set the subject by hand")
        series = str(header["SeriesDescription"])
        return Found(
            {"subject": str(header["PatientID"]), "session": "1", "acquisition": series},
            f"subject {header['PatientID']!r} from PatientID",
            f"{header['SOPInstanceUID']}.dcm",
            {"file.name": f"{series}.dicom.zip", "session.uid": "1.2", "file.type": "dicom"},
        )


HEADER: Header = {"PatientID": "p01", "SeriesDescription": "T1", "SOPInstanceUID": "1.2.3"}


def scanning(*rules: dict[str, object], **top: object) -> Mapping:
    return mapping_of(
        PlaceSettings.model_validate(top),
        [RuleSettings.model_validate(rule) for rule in rules],
        group="lab",
        project="aging",
        scanner=ByPatient(),
    )


def test_a_header_names_the_place_and_the_pack() -> None:
    place = scanning(scan="dicom").place(RelPath("export/A/IM1"), HEADER)

    assert isinstance(place, Placed)
    assert ("lab", "aging", "p01", "1", "T1") == place.address.labels
    assert ("T1.dicom.zip", "1.2.3.dcm", "dicom") == (
        place.address.name,
        place.member,
        place.kind,
    )
    assert {"session.uid": "1.2", "file.type": "dicom"} == place.fields
    assert "the layout: subject 'p01' from PatientID; packed as dicom by its header" == place.rule


def test_folders_stand_above_the_header_and_set_labels_above_both() -> None:
    one = scanning({"layout": "{subject}/**", "scan": "dicom", "session": "base"})
    place = one.place(RelPath("p99/A/IM1"), HEADER)

    assert isinstance(place, Placed)
    assert ("p99", "base", "T1") == place.address.labels[2:]


def test_headers_are_wanted_only_where_they_decide() -> None:
    one = scanning(
        {"path": "*.txt", "layout": "**/{file}"},
        {"path": "dicom/**", "scan": "dicom"},
        {"layout": "{sub}/{ses}/{acq}/{file}"},
    )
    wanted = {path: one.wants_header(RelPath(path)) for path in ("dicom/a", "dicom/a.txt", "a/b")}

    assert {"dicom/a": True, "dicom/a.txt": False, "a/b": False} == wanted
    assert not mapping().wants_header(RelPath("a"))


def test_a_file_without_a_header_goes_to_a_later_rule_and_one_with_a_bad_one_does_not() -> None:
    one = scanning(
        {"path": "dicom/**", "scan": "dicom"}, {"path": "dicom/**", "layout": "{subject}/{file}"}
    )
    readme, bad = RelPath("dicom/p01/readme"), RelPath("dicom/p01/IM1")

    assert isinstance(one.place(readme), Placed)
    refusal = one.place(bad, {"SeriesDescription": "T1"})
    assert isinstance(refusal, Unmappable)
    assert "it fits no rule; nearest is rule 1 (dicom/**): its header has no PatientID" == (
        refusal.reason
    )
    assert "set the subject by hand" == refusal.hint


def test_a_header_without_a_label_is_for_the_rule_to_complete_or_for_nobody() -> None:
    bad: Header = {"PatientID": ""}
    later: dict[str, object] = {"layout": "{subject}/{file}"}
    named = scanning({"scan": "dicom", "subject": "pilot"}, later).place(RelPath("a/IM1"), bad)
    nameless = scanning({"scan": "dicom"}, later).place(RelPath("a/IM1"), bad)

    assert isinstance(named, Placed)
    assert ("pilot", "1", "T1") == named.address.labels[2:]
    assert isinstance(nameless, Unmappable)
    assert "names the acquisition 'T1', and no subject" in nameless.reason


# ---------------------------------------------------------------------------- many projects


def test_each_rule_has_to_say_which_project_it_is_for() -> None:
    fixed = {"group": "lab", "project": "aging"}
    folders = {"layout": "{group}/{project}/{sub}/{file}"}

    named = mapping({**MRI, **fixed}, folders, group=None, project=None)
    assert ("lab", "aging", "p01", "v1", "T1") == (
        placed(named, "mri/p01/v1/T1/dicom/1.dcm").address.labels
    )
    assert ("g1", "P", "s") == placed(named, "g1/P/s/x").address.labels
    with pytest.raises(UsageError, match=r"rule 2 \(eeg/\*\*\).* not the group"):
        mapping({**MRI, **fixed}, EEG, group=None, project=None)


@pytest.mark.parametrize("top", [{"pack": {"*.dcm": "dicom"}}, {"subject": "p"}, {"root_dirs": 1}])
def test_folders_are_no_groups_unless_it_is_said(top: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not the group"):
        mapping(group=None, project=None, **top)
