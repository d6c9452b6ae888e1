"""DICOM headers to places, and series as wholes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.dicom import Dicom, acquisition_time, age_s, info_key, pack_name, study_time
from fwsync.mapping.placing import Fields, Found, Header
from fwsync.mapping.routing import Route, only_project, route
from fwsync.mapping.series import MAX_VALUES, Seen, SeriesLabels, merged, settled_labels

HEADER: Header = {
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "PatientID": "p01",
    "StudyDescription": "Brain",
    "StudyDate": "20240201",
    "StudyTime": "102030.5",
    "SeriesDate": "20240201",
    "SeriesTime": "1040",
    "SeriesNumber": 5,
    "SeriesDescription": "T1 mprage",
    "Modality": "MR",
}


def changed(**changes: Any) -> Header:
    """The header with other values; None: without."""
    return {name: value for name, value in {**HEADER, **changes}.items() if value is not None}


def found(header: Header, dicom: Dicom | None = None) -> Found:
    got = (dicom or Dicom()).find(header)
    assert isinstance(got, Found), got
    return got


def refused(header: Header, dicom: Dicom | None = None) -> Unmappable:
    got = (dicom or Dicom()).find(header)
    assert isinstance(got, Unmappable), got
    return got


# --------------------------------------------------------------------------------- labels


SLICES = (
    changed(AcquisitionDate="20240201", AcquisitionTime="1041", SOPInstanceUID="1.2.1"),
    changed(AcquisitionDate="20240202", AcquisitionTime="1042", SOPInstanceUID="1.2.2"),
    changed(AcquisitionDate="20240202", AcquisitionTime="at noon", SOPInstanceUID="1.2.3"),
    changed(AcquisitionDateTime="20240203104300", SOPInstanceUID="1.2.4"),
    changed(SeriesDescription="T2", SOPInstanceUID="1.2.5"),
    HEADER,
)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"acquisition": ("{AcquisitionDate}", "none")},
        {"info": ("AcquisitionTime", "SOPInstanceUID")},
    ],
)
def test_a_slice_is_told_the_same_whatever_came_before_it(rules: dict[str, Any]) -> None:
    for one in SLICES:
        for other in SLICES:
            after = Dicom(**rules)
            found(one, after)

            assert found(other, Dicom(**rules)) == found(other, after)


def test_what_is_a_slices_own_is_told_of_it_and_of_no_other() -> None:
    rules = Dicom(acquisition=("{AcquisitionDate}", "none"), info=("AcquisitionTime",))

    told = [found(one, rules) for one in SLICES]

    assert ["20240201", "20240202", "20240202", "none", "none", "none"] == [
        one.labels["acquisition"] for one in told
    ]
    assert ["1041", "1042", "at noon", None, None, None] == [
        one.fields.get("file.info.AcquisitionTime") for one in told
    ]
    assert ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.3.4.5"] == [
        one.member.removesuffix(".dcm") for one in told
    ]
    times = [str(one.fields["acquisition.timestamp"])[8:16] for one in told]
    assert ["01T10:41", "02T10:42", "01T10:40", "03T10:43", "01T10:40", "01T10:40"] == times
    assert [2] == [at for at, one in enumerate(told) if "are no moment" in one.saw]


def test_labels_are_those_that_the_official_cli_gives() -> None:
    place = found(HEADER)

    assert place.labels == {
        "subject": "p01",
        "session": "2024-02-01 10:20:30",
        "acquisition": "5 - T1 mprage",
    }
    assert place.fields["file.name"] == "5 - T1 mprage.dicom.zip"
    assert place.member == "1.2.3.4.5.dcm"
    assert "subject 'p01' from {PatientID}" in place.saw


@pytest.mark.parametrize(
    ("changes", "session", "acquisition"),
    [
        ({"StudyTime": None}, "1.2.3", "5 - T1 mprage"),
        ({"StudyDate": "20241332"}, "1.2.3", "5 - T1 mprage"),
        ({"SeriesNumber": None}, "2024-02-01 10:20:30", "T1 mprage"),
        ({"SeriesNumber": 0}, "2024-02-01 10:20:30", "0 - T1 mprage"),
        ({"SeriesDescription": None}, "2024-02-01 10:20:30", "5 - 2024-02-01 10:40:00"),
        (
            {"SeriesDescription": None, "SeriesTime": None},
            "2024-02-01 10:20:30",
            "5 - 1.2.3.4",
        ),
        (
            {"SeriesDescription": None, "SeriesTime": None, "SeriesNumber": None},
            "2024-02-01 10:20:30",
            "1.2.3.4",
        ),
        ({"SeriesDescription": ["a", "b"]}, "2024-02-01 10:20:30", "5 - a_b"),
        ({"SeriesDescription": "t2* {x} / y"}, "2024-02-01 10:20:30", "5 - t2* {x} / y"),
    ],
)
def test_a_label_that_cannot_be_filled_gives_way_to_the_next(
    changes: dict[str, Any], session: str, acquisition: str
) -> None:
    labels = found(changed(**changes)).labels

    assert (labels["session"], labels["acquisition"]) == (session, acquisition)


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_header_without_its_uids_is_reported_and_never_guessed(missing: str) -> None:
    assert missing in refused(changed(**{missing: None})).reason


def test_a_header_without_a_patient_names_no_subject_and_says_so() -> None:
    header = changed(PatientID=None)

    assert "subject" not in found(header).labels
    assert "no subject, for want of {PatientID}" in found(header).saw
    assert found(header, Dicom(subject=("{PatientID}", "unknown"))).labels["subject"] == "unknown"


def test_labels_are_made_as_the_rules_say() -> None:
    rules = Dicom(session=("{StudyDescription} {study_time}",), acquisition=("{Modality}",))

    labels = found(HEADER, rules).labels

    assert labels["session"] == "Brain 2024-02-01 10:20:30"
    assert labels["acquisition"] == "MR"
    assert {"StudyDescription", "StudyDate", "Modality"} <= {*rules.keywords}


@pytest.mark.parametrize("name", ["echo time", "00180081", "(0018,00AB)"])
def test_a_name_that_no_header_can_hold_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="keyword"):
        Dicom(info=(name,))
    with pytest.raises(UsageError, match="keyword"):
        Dicom(routing=name)


def test_a_template_with_no_keyword_in_it_is_refused() -> None:
    with pytest.raises(UsageError, match="patient id"):
        Dicom(subject=("{patient id}",))


@pytest.mark.parametrize(
    ("modality", "image_type", "name"),
    [
        ("CT", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "5 - T1 mprage_localizer.dicom.zip"),
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "5 - T1 mprage.dicom.zip"),
        ("CT", None, "5 - T1 mprage.dicom.zip"),
        ("MR", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "5 - T1 mprage.dicom.zip"),
    ],
)
def test_the_localizers_of_a_ct_are_a_pack_of_their_own(
    modality: str, image_type: list[str] | None, name: str
) -> None:
    place = found(changed(Modality=modality, ImageType=image_type))

    assert place.fields["file.name"] == name
    assert place.labels["acquisition"] == "5 - T1 mprage"


def test_a_pack_s_name_holds_no_slash() -> None:
    assert pack_name("5 - a/b\n") == "5 - a_b_.dicom.zip"


@pytest.mark.parametrize("uid", ["../../etc/passwd", "", "a/b", ".", "1\n2"])
def test_a_member_is_never_called_by_a_uid_that_is_none(uid: str) -> None:
    assert found(changed(SOPInstanceUID=uid)).member == ""


def test_members_keep_their_names_if_that_is_wished() -> None:
    assert found(HEADER, Dicom(uid_names=False)).member == ""


@given(st.dictionaries(st.sampled_from(sorted(HEADER)), st.text(max_size=20)))
def test_whatever_the_header_says_it_is_placed_or_the_reason_is_given(
    changes: dict[str, str],
) -> None:
    got = Dicom(info=("PatientID",), people=True, device=True).find({**HEADER, **changes})

    if isinstance(got, Unmappable):
        assert got.reason
    else:
        assert all(label.strip() for label in got.labels.values())
        assert "/" not in str(got.fields["file.name"])


# ------------------------------------------------------------------------------- metadata


def test_what_is_known_is_passed_on_and_what_is_not_is_left_out() -> None:
    fields = found(
        changed(PatientSex="f", PatientAge="034Y", PatientWeight=70.5, PatientName="Doe^Jane")
    ).fields

    assert fields == {
        "subject.sex": "female",
        "session.uid": "1.2.3",
        "session.timestamp": "2024-02-01T10:20:30.5",
        "session.age": 34 * 31_557_600,
        "session.weight": 70.5,
        "acquisition.uid": "1.2.3.4",
        "acquisition.timestamp": "2024-02-01T10:40:00",
        "file.type": "dicom",
        "file.modality": "MR",
        "file.name": "5 - T1 mprage.dicom.zip",
    }


def test_names_of_people_are_sent_only_if_that_is_wished() -> None:
    header = changed(PatientName="Doe^Jane^Q", OperatorsName=["Roe^Max", "Poe^Eva"])

    fields = found(header, Dicom(people=True)).fields

    assert fields["subject.lastname"] == "Doe"
    assert fields["subject.firstname"] == "Jane"
    assert fields["session.operator"] == "Roe Max, Poe Eva"
    assert "Doe" not in str(found(header).fields) + str(found(header).saw)


def test_chosen_tags_go_into_the_info_of_the_file_under_keys_that_the_platform_keeps() -> None:
    header = {**changed(EchoTime=2.5, Manufacturer="SIEMENS"), "(0019,1010)": "x"}

    fields = found(header, Dicom(info=("EchoTime", "(0019,1010)", "Rows"), device=True)).fields

    assert fields["file.info.EchoTime"] == 2.5
    assert fields["file.info.(0019,1010)"] == "x"
    assert fields["file.info.Manufacturer"] == "SIEMENS"
    assert "file.info.Rows" not in fields
    assert info_key("a.b$c") == "a_b-c"


@pytest.mark.parametrize(
    ("date", "time", "offset", "moment"),
    [
        ("20240201", "102030", "+0100", "2024-02-01T10:20:30+01:00"),
        ("20240201", "102030.123456", "-0530", "2024-02-01T10:20:30.123456-05:30"),
        ("20240201", "102030", "0100", "2024-02-01T10:20:30+01:00"),
        ("20240201", "102030", None, "2024-02-01T10:20:30"),
        ("20240201", "102030", "+9900", "2024-02-01T10:20:30"),
        ("20240201", "102030", "CET", "2024-02-01T10:20:30"),
        ("2024.02.01", "10:20:30", None, "2024-02-01T10:20:30"),
        ("20240201", "1020", None, "2024-02-01T10:20:00"),
        ("20240201", "10", None, "2024-02-01T10:00:00"),
        ("20240201", "235960", None, "2024-02-01T23:59:59"),
        ("20240229", "102030", None, "2024-02-29T10:20:30"),
        ("20230229", "102030", None, None),
        ("20240201", None, None, None),
        (None, "102030", None, None),
        ("20240201", "990000", None, None),
        ("2024", "102030", None, None),
        ("ANONYMIZED", "102030", None, None),
    ],
)
def test_a_study_s_time_is_what_its_header_says_or_nothing(
    date: str | None, time: str | None, offset: str | None, moment: str | None
) -> None:
    header = changed(StudyDate=date, StudyTime=time, TimezoneOffsetFromUTC=offset)

    assert study_time(header) == moment


def test_times_that_are_none_are_noted() -> None:
    saw = found(changed(StudyDate="20241332", TimezoneOffsetFromUTC="CET")).saw

    assert "StudyDate and StudyTime are no moment: '20241332 102030.5'" in saw
    assert "TimezoneOffsetFromUTC is no offset: 'CET'" in saw


@pytest.mark.parametrize(
    ("changes", "moment"),
    [
        ({"Manufacturer": "SIEMENS"}, "2024-02-01T10:40:00"),
        ({"Manufacturer": "GE MEDICAL SYSTEMS"}, "2024-02-01T10:50:00"),
        ({"SeriesTime": None, "Manufacturer": "SIEMENS"}, "2024-02-01T10:50:00"),
        ({"AcquisitionTime": None}, "2024-02-01T10:40:00"),
        ({"AcquisitionDateTime": "20240201110000.0+0200"}, "2024-02-01T11:00:00.0+02:00"),
    ],
)
def test_an_acquisition_s_time_depends_on_the_maker(changes: dict[str, Any], moment: str) -> None:
    header = {**HEADER, "AcquisitionDate": "20240201", "AcquisitionTime": "1050", **changes}

    assert acquisition_time(header) == moment


@pytest.mark.parametrize(
    ("age", "born", "seconds"),
    [
        ("034Y", None, 34 * 31_557_600),
        ("018M", None, 18 * 30 * 86_400),
        ("006W", None, 6 * 7 * 86_400),
        ("003D", None, 3 * 86_400),
        ("34", None, 34 * 31_557_600),
        (None, "20240131", 86_400),
        (None, "20240201", 0),
        (None, "20000229", 8738 * 86_400),
        ("old", "20240131", 86_400),
        ("000Y", "20240131", 86_400),
        ("000Y", None, None),
        (None, "20250101", None),  # born after the study
        (None, "00000000", None),
        (None, None, None),
    ],
)
def test_age_is_in_seconds(age: str | None, born: str | None, seconds: int | None) -> None:
    assert age_s(changed(PatientAge=age, PatientBirthDate=born)) == seconds


# -------------------------------------------------------------------------------- routing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("neuro/Aging", Route("neuro", "Aging")),
        ("NEURO/Aging", Route("neuro", "Aging")),
        ("neuro^Aging", Route("neuro", "Aging")),
        (" neuro / Aging study ", Route("neuro", "Aging study")),
        ("p01@neuro/Aging", Route("neuro", "Aging", "p01")),
        ("p01@neuro^Aging", Route("neuro", "Aging", "p01")),
        ("fw://neuro/Aging", Route("neuro", "Aging")),
        ("fw://neuro/Aging/", Route("neuro", "Aging")),
        ("FW://neuro/Aging/p01/visit 1", Route("neuro", "Aging", "p01", "visit 1")),
    ],
)
def test_a_route_is_read_the_way_the_reapers_did(text: str, expected: Route) -> None:
    assert route(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "neuro", "neuro/", "/Aging", "p01@", "neuro/Aging/p01", "fw://neuro", "a b/Aging", "n/x",
     "fw://neuro/Aging/p/s/a", "fw://neuro//p"],
)  # fmt: skip
def test_what_is_no_route_is_reported_and_never_guessed(text: str) -> None:
    got = route(text, "PatientComments")

    assert isinstance(got, Unmappable)
    assert "PatientComments" in got.reason
    assert got.hint


def test_routing_happens_only_if_it_is_asked_for() -> None:
    header = changed(PatientID="p07@neuro/Aging")

    assert found(header).labels["subject"] == "p07@neuro/Aging"
    assert found(header, Dicom(routing="PatientID")).labels == {
        "group": "neuro",
        "project": "Aging",
        "subject": "p07",
        "session": "2024-02-01 10:20:30",
        "acquisition": "5 - T1 mprage",
    }


def test_a_route_in_place_of_a_patient_s_id_is_no_patient() -> None:
    rules = Dicom(routing="PatientID", subject=("{PatientID}", "{PatientName}"))

    assert "subject" not in found(changed(PatientID="neuro/Aging"), rules).labels
    assert (
        found(changed(PatientID="neuro/Aging", PatientName="Doe"), rules).labels["subject"] == "Doe"
    )


@pytest.mark.parametrize("value", [None, "", "Doe", "a b/c", "neuro/"])
def test_a_file_without_its_route_goes_where_such_files_are_sent(value: str | None) -> None:
    rules = Dicom(routing="PatientID", unrouted=only_project("lab/Rest"), subject=("{PatientID}",))
    got = found(changed(PatientID=value), rules)

    assert ("lab", "Rest") == (got.labels["group"], got.labels["project"])
    assert (value or None) == got.labels.get("subject")  # no address: it is the patient's
    assert "project 'Rest' from unrouted" in got.saw
    assert "PatientID" in got.saw
    routed = found(changed(PatientID="p1@neuro/Aging"), rules)
    assert ("neuro", "Aging", "p1") == tuple(
        routed.labels[one] for one in ("group", "project", "subject")
    )


@pytest.mark.parametrize("text", ["", "lab", "p@lab/x", "fw://lab/x/p", "l/x"])
def test_what_is_no_project_alone_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no project"):
        only_project(text)


@pytest.mark.parametrize("value", [None, "Doe"])
def test_a_file_without_its_route_stays_here(value: str | None) -> None:
    assert (
        "PatientComments"
        in refused(changed(PatientComments=value), Dicom(routing="PatientComments")).reason
    )


# ------------------------------------------------------------------------ series as wholes


def seen(series: str, label: str = "5 - T1", study: str = "1.2", session: str = "monday") -> Seen:
    return Seen(("lab", "aging", "p01", session, label), study, series)


def test_series_of_different_labels_keep_them() -> None:
    one, other = seen("1.2.1", "a"), seen("1.2.2", "b")

    assert settled_labels([one, other]) == {one: one.labels, other: other.labels}


def test_two_series_of_one_label_are_two_acquisitions() -> None:
    one, other = seen("1.2.1"), seen("1.2.2")

    labels = settled_labels([other, one])

    assert labels[one] == one.labels
    assert labels[other][:4] == one.labels[:4]
    assert labels[other][4].startswith("5 - T1 (")


def test_two_studies_of_one_label_are_two_sessions() -> None:
    one, other = seen("1.2.1", study="1.2"), seen("1.3.1", study="1.3")

    labels = settled_labels([one, other])

    assert labels[one] == one.labels
    assert labels[other][3].startswith("monday (")
    assert labels[other][4] == "5 - T1"


def test_one_series_of_several_labels_is_one_acquisition() -> None:
    one, other = seen("1.2.1", "b"), seen("1.2.1", "a")

    assert {labels[4] for labels in settled_labels([one, other]).values()} == {"a"}


def test_a_label_that_a_series_has_already_stays_whoever_comes() -> None:
    late, early = seen("1.2.1"), seen("1.2.2")

    parent = early.labels[:4]

    labels = settled_labels([late, early], {(parent, "1.2.2"): "5 - T1"})

    assert labels[early] == early.labels
    assert labels[late][4].startswith("5 - T1 (")
    assert settled_labels([late], {(parent, "1.2.1"): labels[late][4]})[late] == labels[late]


def test_one_uid_under_two_subjects_keeps_both_labels() -> None:
    here = Seen(("lab", "aging", "p1", "10:20", "5 - T1"), "1.2", "1.2.1")
    there = Seen(("lab", "aging", "p2", "11:30", "5 - T1"), "1.2", "1.2.2")
    first = settled_labels([here, there])
    known = {(place[:3], one.study): place[3] for one, place in first.items()}

    assert {here: here.labels, there: there.labels} == first == settled_labels([there, here], known)


few = st.sampled_from(["a", "b", "a (x)"])
many_seen = st.lists(
    st.builds(
        lambda subject, session, label, study, series: Seen(
            ("lab", "aging", subject, session, label), study, f"{study}.{series}"
        ),
        few, few, few, st.sampled_from(["1", "2", "3"]), st.sampled_from(["1", "2", "3"]),
    ),
    max_size=12,
)  # fmt: skip


@given(many_seen, st.randoms())
def test_labels_do_not_depend_on_the_order_and_no_two_series_share_one(
    series: list[Seen], dice: random.Random
) -> None:
    shuffled = list(series)
    dice.shuffle(shuffled)

    labels = settled_labels(series)

    assert settled_labels(shuffled) == labels
    of_uid = {(one.labels[:3], one.study, one.series): place for one, place in labels.items()}
    assert len({*of_uid.values()}) == len(of_uid)
    of_study = {(one.labels[:3], one.study): place[:4] for one, place in labels.items()}
    assert len({*of_study.values()}) == len(of_study)


@given(many_seen, many_seen)
def test_what_was_settled_before_stays_when_more_comes(first: list[Seen], more: list[Seen]) -> None:
    before = settled_labels(first)
    known = {(place[:3], one.study): place[3] for one, place in before.items()}
    known |= {(place[:4], one.series): place[4] for one, place in before.items()}

    after = settled_labels([*first, *more], known)

    assert {one: after[one] for one in before} == before


@given(many_seen, many_seen, st.lists(st.booleans(), min_size=24, max_size=24))
def test_labels_that_were_told_before_all_was_seen_are_taken_back_where_they_do_not_stay(
    first: list[Seen], more: list[Seen], by_header: list[bool]
) -> None:
    series = SeriesLabels()
    for one in first:
        series.of(one, by_header=True)
    series.settle()
    known = series.new()
    files = list(zip([*first, *more], by_header, strict=False))

    series = SeriesLabels(known)
    told = {one: series.of(one, by_header=has) for one, has in files}
    stays = series.settle()

    settled = settled_labels((one for one, has in files if has), known)
    expected = {one: settled.get(one, one.labels) for one, _ in files}
    assert expected == {one: series.of(one, by_header=has) for one, has in files}
    if stays:
        assert expected == told
    assert series.new().keys().isdisjoint(known)


def test_series_that_were_all_seen_before_are_told_once() -> None:
    twins = [
        Seen(("lab", "aging", "p1", "10:20", "5 - T1"), "1.2", uid) for uid in ("1.2.1", "1.2.2")
    ]
    first = SeriesLabels()
    for one in reversed(twins):
        first.of(one, by_header=True)
    assert not first.settle()  # one of them is not the `5 - T1` that it seemed

    again = SeriesLabels(first.new())
    told = [again.of(one, by_header=True) for one in twins]

    assert again.settle()
    assert {} == again.new()
    assert told == [first.of(one, by_header=True) for one in twins]
    assert told[0] != told[1]


def test_fields_of_a_pack_are_those_of_its_files() -> None:
    files: list[Fields] = [
        {
            "session.uid": "1.2",
            "acquisition.timestamp": f"2024-02-01T10:{minute}:00",
            "file.info.EchoTime": echo,
            "file.info.SliceLocation": float(minute),
            "file.info.Rows": 256,
        }
        for minute, echo in zip(range(59, 59 - MAX_VALUES - 1, -1), [5.0, 2.5] * 50, strict=False)
    ]

    fields = merged(files)

    assert fields == {
        "session.uid": "1.2",
        "acquisition.timestamp": f"2024-02-01T10:{59 - MAX_VALUES}:00",
        "file.info.EchoTime": [2.5, 5.0],
        "file.info.Rows": 256,
    }
    assert merged(reversed(files)) == fields
