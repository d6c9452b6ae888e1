"""Templates and expressions, by example."""

from __future__ import annotations

from typing import Any

import pytest

from fwsync.errors import UsageError
from fwsync.mapping.fields import field_name, load
from fwsync.mapping.moments import civil, format_regex, read_moment
from fwsync.mapping.settings import PlaceSettings, RuleSettings, mapping_of
from fwsync.model import Address, RelPath
from tests.pure.mappings import mapping, placed, refused, where


@pytest.mark.parametrize(
    ("layout", "path", "labels", "name"),
    [
        ("{subject}/{session}/{acquisition}/{file}", "s/v/T1/a.nii", ("s", "v", "T1"), "a.nii"),
        ("{sub}/{ses}/{acq}/*", "s/v/T1/a.nii", ("s", "v", "T1"), "a.nii"),
        ("sub-{sub}/ses-{ses}/{acq}/{file}", "sub-1/ses-b/T1/x", ("1", "b", "T1"), "x"),
        ("{sub}_{ses}/{acq}/{file}", "p_1_b/T1/x", ("p", "1_b", "T1"), "x"),
        (r"{sub:p\d+}{ses}/{acq}/{file}", "p12b/T1/x", ("p12", "b", "T1"), "x"),
        ("{sub}/{ses}/{acq}/dicom/{file}", "s/v/T1/dicom/x", ("s", "v", "T1"), "x"),
        ("*/{sub}/{ses}/{acq}/{file}", "2024/s/v/T1/x", ("s", "v", "T1"), "x"),
        ("**/{sub}/{ses}/{acq}/{file}", "a/b/s/v/T1/x", ("s", "v", "T1"), "x"),
        ("**/{sub}/{ses}/{acq}/{file}", "s/v/T1/x", ("s", "v", "T1"), "x"),
        ("{sub}/{ses}/{acq}/**", "s/v/T1/deep/er/x", ("s", "v", "T1"), "x"),
        ("{sub}/[ses-{ses}/]{acq}/{file}", "s/ses-v/T1/x", ("s", "v", "T1"), "x"),
        ("{sub}/[ses-{ses}/]{acq}/{file}", "s/T1/x", ("s", "first", "T1"), "x"),
        ("{sub}/{ses}_{acq}.nii[.gz]", "s/v_T1.nii.gz", ("s", "v", "T1"), "v_T1.nii.gz"),
        ("{sub}/{sub}_{ses}/{acq}/{file}", "s/s_v/T1/x", ("s", "v", "T1"), "x"),
        (r"\[{sub}\]/{ses}/{acq}/{file}", "[s]/v/T1/x", ("s", "v", "T1"), "x"),
        ("{sub}/{ses}/{file}", "s/v/x", ("s", "v"), "x"),
    ],
)
def test_a_template_reads_labels(
    layout: str, path: str, labels: tuple[str, ...], name: str
) -> None:
    one = mapping(layout=layout, defaults={"session": "first"} if "[ses" in layout else {})

    assert (labels, name, "") == where(one, path)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("readme.txt", ()),
        ("sub-1/notes.txt", ("1",)),
        ("sub-1/ses-b/notes.txt", ("1", "b")),
    ],
)
def test_a_file_further_up_belongs_to_what_its_folder_names(
    path: str, labels: tuple[str, ...]
) -> None:
    one = mapping(layout="sub-{sub}/ses-{ses}/{acq}/dicom/{file}")

    assert (labels, path.rpartition("/")[2], "") == where(one, path)


def test_a_folder_that_names_nothing_has_no_files() -> None:
    one = mapping(layout="sub-{sub}/ses-{ses}/{acq}/dicom/{file}")

    assert "wants 4" in refused(one, "sub-1/ses-b/T1/notes.txt").reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub-1/b/T1/x", "folder 2 'b' does not match 'ses-{ses}'"),
        ("1/ses-b/T1/x", "folder 1 '1' does not match 'sub-{sub}'"),
        ("sub-1/ses-b/T1/deep/x", "it lies deeper than the files of the acquisition 'T1'"),
        ("sub-1/ses-b/T1/a%2Gb%id=3", "'a%2Gb%id=3' is not spelled as fwsync spells a name"),
    ],
)
def test_what_does_not_fit_is_reported_with_the_reason(path: str, reason: str) -> None:
    one = mapping(layout="sub-{sub}/ses-{ses}/{acq}/{file}")

    assert reason == refused(one, path).reason


def test_a_time_in_a_label_is_a_time_of_the_session_too() -> None:
    one = mapping(layout="{sub}/{ses:%Y%m%d_%H%M}/{acq}/{file}")
    place = placed(one, "s/20240203_1122/T1/x")

    assert "20240203_1122" == place.address.labels[3]
    assert {"session.timestamp": "2024-02-03T11:22:00"} == place.fields
    assert "does not match" in refused(one, "s/20240230_1122/T1/x").reason


def test_a_field_that_stands_twice_says_the_same_twice() -> None:
    one = mapping(layout="{sub}/{sub}_{ses}/{acq}/{file}")

    assert ("s", "v", "T1") == where(one, "s/s_v/T1/x")[0]
    assert "does not match" in refused(one, "s/t_v/T1/x").reason


def test_the_reason_is_that_of_the_path_and_not_of_the_one_before() -> None:
    one = mapping(layout="[x/]{sub}/{ses}/{acq}/{file}")

    assert "acquisition 'T1' from folder 3" in placed(one, "s/v/T1/a").rule
    assert "acquisition 'T1' from folder 4" in placed(one, "x/s/v/T1/a").rule


def test_other_fields_are_handed_on() -> None:
    one = mapping(layout="{sub}_{subject.sex:[MF]}_{ses.age}/{ses}/{acq}/{file}")

    assert {"subject.sex": "female", "session.age": 7} == placed(one, "s_F_7/v/T1/x").fields
    assert "does not match" in refused(one, "s_F_x/v/T1/x").reason


def test_a_label_that_no_folder_can_hold_is_spelled_as_the_default_layout_spells_it() -> None:
    one = mapping(layout="sub-{sub}/{ses}/{acq}/{file}")

    assert ("a/b", "v", "T1") == where(one, "sub-a%2Fb/v/T1/x")[0]
    assert "sub-a%2Fb/v/T1/x" == one.disk_path(Address(("lab", "aging", "a/b", "v", "T1"), "x"))


@pytest.mark.parametrize(
    ("top", "path", "labels"),
    [
        ({"no_subjects": True}, "v/T1/x", ("v", "v", "T1")),
        ({"no_sessions": True}, "s/T1/x", ("s", "s", "T1")),
        ({"subject": "pilot"}, "v/T1/x", ("pilot", "v", "T1")),
        ({"subject": "pilot", "session": "1", "acquisition": "all"}, "x", ("pilot", "1", "all")),
        ({"root_dirs": 2}, "a/b/s/v/T1/x", ("s", "v", "T1")),
        ({"layout": "{sub}/{ses}/{acq}/{file}", "subject": "all"}, "s/v/T1/x", ("all", "v", "T1")),
    ],
)
def test_levels_may_be_left_out_or_set(
    top: dict[str, Any], path: str, labels: tuple[str, ...]
) -> None:
    assert (labels, "x", "") == where(mapping(**top), path)


def test_a_set_label_is_no_other_project() -> None:
    one = mapping(layout="{project}/{sub}/{ses}/{acq}/{file}")

    assert ("s", "v", "T1") == where(one, "aging/s/v/T1/x")[0]
    assert "only 'aging' is kept in step" in refused(one, "other/s/v/T1/x").reason


def test_a_tree_may_name_group_and_project() -> None:
    one = mapping(layout="{grp}/{proj}/{sub}/{ses}/{acq}/{file}", group=None, project=None)

    assert ("g", "p", "s", "v", "T1") == placed(one, "g/p/s/v/T1/x").address.labels
    assert ("g", "p") == placed(one, "g/p/readme").address.labels
    assert "it lies in 1 folder, and" in refused(one, "g/readme").reason
    assert "it lies in the root, and" in refused(one, "readme").reason


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ({"layout": "{subject}/{file"}, "cannot be read from '{file'"),
        ({"layout": "{nobody}/{file}"}, "'nobody' is no field"),
        ({"layout": "{sub}/[{ses}/{file}"}, "a bracket without its other half"),
        ({"layout": "/{sub}/{file}"}, "begins or ends with a slash"),
        ({"layout": "{sub:(}/{file}"}, "holds no regular expression"),
        ({"layout": "{sub:%Y}/{file}"}, "has a time"),
        ({"layout": "{ses:%Q}/{file}", "subject": "s"}, "%Q is not a code"),
        ({"layout": "{sub}/{acq}/{file}"}, "names the acquisition, but not the session"),
        ({"layout": "{sub}/{file}", "regex": ".*"}, "layout and regex both say where"),
        ({"no_subjects": True, "no_sessions": True}, "leave no name for either"),
        ({"regex": "(?P<sub>"}, "no regular expression"),
        ({"regex": "(?P<nobody>.*)"}, "is no field"),
        ({"scan": "dicom"}, "headers cannot be read here"),
        ({"layout": "{sub}/{ses}/{acq}"}, "would make each file {acq} by its name"),
        ({"layout": "{sub}", "no_sessions": True}, "would make each file {sub} by its name"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused(top: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        mapping(**top)

    assert words in caught.value.message


def test_a_label_may_be_the_name_of_a_file_where_that_is_said() -> None:
    for layout, path, label in (
        ("{sub}/{ses}/{acq}.nii", "s/v/T1.nii", "T1"),
        ("{sub}/{ses}/{acq:[^/]+}", "s/v/T1.nii", "T1.nii"),
        ("{sub}_{ses}_{acq}", "s_v_T1.nii", "T1.nii"),
    ):
        assert ("s", "v", label) == where(mapping(layout=layout), path)[0]


def test_what_is_wrong_is_named_as_it_was_written() -> None:
    def flag(name: str) -> str:
        return "--" + name.replace("_", "-")

    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"layout": "{nobody}/{file}"}, "--layout: '{nobody}/{file}': 'nobody' is no field", ""),
        ({"regex": "("}, "--regex: '(' is no regular expression", ""),
        ({"regex": ".", "layout": "{sub}/{file}"}, "--layout and --regex both say", "leave one"),
        ({"no_subjects": True, "no_sessions": True}, "--no-subjects and --no-sessions", "one of"),
        ({"layout": "{ses}/{acq}/{file}"}, "but not the subject", "give --subject LABEL; --no-sub"),
    ]
    for top, words, hint in wrong:
        with pytest.raises(UsageError) as caught:
            mapping_of(PlaceSettings.model_validate(top), group="lab", project="aging", called=flag)
        assert words in caught.value.message
        assert hint in caught.value.hint

    rule = RuleSettings(path="mri", layout="{ses}/{acq}/{file}")
    with pytest.raises(UsageError) as caught:
        mapping_of(PlaceSettings(), [rule], group="lab", project="aging", called=flag)
    assert "rule 1 (mri): it names the acquisition" in caught.value.message
    assert "give subject = …; no_subjects = true takes" in caught.value.hint
    with pytest.raises(UsageError, match=r"rule 1: layout: '\{nobody\}': 'nobody' is no field"):
        mapping_of(PlaceSettings(), [RuleSettings(layout="{nobody}")], group="lab", project="aging")


def test_a_layout_without_a_project_is_refused() -> None:
    with pytest.raises(UsageError, match="but not the group"):
        mapping(layout="{subject}/{session}/x{file}", group=None, project=None)


@pytest.mark.parametrize(
    ("path", "labels", "name"),
    [
        ("a-b/T1.nii", ("a", "b", "T1"), "T1.nii"),
        ("deep/er/a-b/T1.nii", ("a", "b", "T1"), "T1.nii"),
    ],
)
def test_an_expression_reads_labels(path: str, labels: tuple[str, ...], name: str) -> None:
    one = mapping(regex=r"(?:.*/)?(?P<sub>\w+)-(?P<ses>\w+)/(?P<acq>\w+)\.nii")

    assert (labels, name, "") == where(one, path)


def test_a_name_that_an_expression_gives_is_no_path() -> None:
    one = mapping(regex="(?P<sub>[^/]+)/(?P<file>.+)")

    assert (("s",), "x", "") == where(one, "s/x")
    assert (("s",), "x", "") == where(one, "s/deep/x")


def test_an_expression_takes_labels_as_they_stand() -> None:
    one = mapping(regex=r"(?P<sub>[^/]+)/(?P<session__timestamp>\d+)_(?P<ses>\w+)/(?P<file>.*)")
    place = placed(one, "a%2Fb/20240203_v/x")

    assert ("a%2Fb", "v") == place.address.labels[2:]
    assert {"session.timestamp": "2024-02-03T00:00:00"} == place.fields
    assert "'2024' is no session.timestamp" == refused(one, "a/2024_v/x").reason


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sub", "subject.label"),
        ("subject", "subject.label"),
        ("ses.ts", "session.timestamp"),
        ("grp", "group._id"),
        ("proj", "project.label"),
        ("acq.label", "acquisition.label"),
        ("timestamp", "acquisition.timestamp"),
        ("info.a.b", "file.info.a.b"),
        ("subj.first", "subject.firstname"),
        ("weight", "session.weight"),
        ("routing", "external_routing_id"),
        ("session.info.x", "session.info.x"),
    ],
)
def test_a_field_has_short_names(text: str, name: str) -> None:
    if text == "routing":
        with pytest.raises(UsageError, match="could be"):
            field_name(text)
    else:
        assert name == field_name(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("s", "write more"), ("sujbect", "did you mean"), ("session.info.", "did you mean")],
)
def test_a_field_that_is_not_clear_is_refused(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        field_name(text)

    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("session.age", "12", 12),
        ("session.age", "x", None),
        ("session.weight", "70.5", 70.5),
        ("subject.sex", "F", "female"),
        ("subject.sex", "what", None),
        ("file.tags", "a,b", ["a", "b"]),
        ("file.info.x", '{"a": 1}', {"a": 1}),
        ("file.info.x", "text", "text"),
        ("session.operator", "me", "me"),
        ("acquisition.timestamp", "2024-02-03", "2024-02-03T00:00:00"),
    ],
)
def test_a_field_has_a_type(name: str, text: str, value: object) -> None:
    assert value == load(name, text)


@pytest.mark.parametrize(
    ("text", "form", "moment"),
    [
        ("2024-02-03 11:22:33", "", "2024-02-03T11:22:33"),
        ("20240203_112233", "", "2024-02-03T11:22:33"),
        ("20240203112233.5+0100", "", "2024-02-03T11:22:33.5+01:00"),
        ("2024-02-03T11:22:33Z", "", "2024-02-03T11:22:33Z"),
        ("2024-02-03", "", "2024-02-03T00:00:00"),
        ("20230229", "", None),
        ("20240203_252233", "", None),
        ("yesterday", "", None),
        ("03Feb24 07:30PM", "%d%b%y %I:%M%p", "2024-02-03T19:30:00"),
        ("12AM 2024 034", "%I%p %Y %j", "2024-02-03T00:00:00"),
        ("366 2023", "%j %Y", None),
        ("x.2024", "x.%Y", "2024-01-01T00:00:00"),
        ("xy2024", "x.%Y", None),
    ],
)
def test_a_moment_is_read_or_is_none(text: str, form: str, moment: str | None) -> None:
    assert moment == read_moment(text, form)


@pytest.mark.parametrize("form", ["%Y%Y", "%q", "%"])
def test_a_form_of_time_that_cannot_be_read_is_refused(form: str) -> None:
    with pytest.raises(UsageError):
        format_regex(form)


def test_moments_are_civil_days_in_the_zone_that_is_asked_for() -> None:
    assert "19700101000000" == civil(0)
    assert "19691231230000" == civil(0, -3600)
    assert "20240229235959" == civil(1_709_251_199 * 10**9)


def test_a_path_of_a_two_way_layout_is_the_same_text() -> None:
    one = mapping(layout="sub-{sub}/ses-{ses}/{acq}/{file}")

    assert RelPath("sub-1/ses-b/T1/x") == one.disk_path(
        Address(("lab", "aging", "1", "b", "T1"), "x")
    )
