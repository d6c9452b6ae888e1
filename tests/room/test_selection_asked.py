"""What settings select: understood at once, or refused by the name that the user gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fwsync.config import Settings, load_settings
from fwsync.errors import UsageError
from fwsync.model import Level, Mode
from fwsync.selection import EVERYTHING
from fwsync.selection_asked import check_selection, project_and_rest, selection_of

HOUR_NS = 3_600 * 10**9
MIDNIGHT_NS = 1_772_323_200 * 10**9  # 2026-03-01T00:00:00Z


def settings(flags: Mapping[str, object], toml: str = "", folder: Path | None = None) -> Settings:
    file = None
    if folder is not None:
        file = folder / "fwsync.toml"
        file.write_text(toml)
    return load_settings(flags, config_file=file, env={}, cwd=Path("/nowhere"))


def test_nothing_set_selects_everything() -> None:
    assert EVERYTHING == selection_of(settings({}))
    assert [] == settings({}).selecting


def test_a_settings_file_selects_as_flags_do(tmp_path: Path) -> None:
    flags = {
        "only_types": ["nifti"], "not_tags": ["bad"], "only_subjects": ["sub-*"],
        "name_regex": ["a,b"], "where": "size>1", "modified_after": "2026-03-01",
        "timezone": "UTC", "container_tags": ["session=a=b"], "not_mlsets": ["Testing"],
    }  # fmt: skip
    toml = """
        only_types = "nifti"
        not-tags = ["bad"]
        only_subjects = ["sub-*"]
        name_regex = "a,b"
        where = "size>1"
        modified_after = 2026-03-01
        timezone = "UTC"
        container_tags = "session=a=b"
        not_mlsets = "Testing"
    """

    assert ((Level.SESSION, "a=b"),) == selection_of(settings(flags)).container_tags
    assert selection_of(settings(flags)) == selection_of(settings({}, toml, tmp_path))
    assert "only_subjects" in settings(flags).selecting


@pytest.mark.parametrize(
    ("text", "zone", "moment_ns"),
    [
        ("2026-03-01", "UTC", MIDNIGHT_NS),
        ("2026-03-01", "Europe/Zurich", MIDNIGHT_NS - HOUR_NS),
        ("2026-03-01T01:00", "UTC", MIDNIGHT_NS + HOUR_NS),
        ("2026-03-01 01:00:00+01:00", "America/New_York", MIDNIGHT_NS),
        ("2026-03-01T00:00:00Z", "Asia/Tokyo", MIDNIGHT_NS),
    ],
)
def test_a_day_begins_at_midnight_where_it_is_said(text: str, zone: str, moment_ns: int) -> None:
    found = selection_of(settings({"modified_after": text, "timezone": zone}))

    assert moment_ns == found.after_ns


def test_the_labels_that_are_selected_are_not_those_of_what_goes_up() -> None:
    found = settings({"only_subjects": ["a"], "subject": "b"})

    assert (("a",), "b") == (selection_of(found).subjects, found.subject)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"where": "type"}, "--where: 'type' is no clause"),
        ({"where": "name=~("}, "--where: .* no regular expression"),
        ({"where": "typ=nifti"}, "--where: no file has a field 'typ'"),
        ({"where": "parents.subjct=5f"}, "--where: 'parents.subjct': parents has no 'subjct'"),
        ({"where": "size>=1MB"}, "--where: size is compared with '1MB'; expected a number"),
        ({"where": "size=|[1,b]"}, "--where: size is compared with 'b'"),
        ({"where": "modified>soon"}, "--where: modified is compared with 'soon'; expected a day"),
        ({"name_regex": ["("]}, r"--name-regex: '\(' is no regular expression"),
        ({"container_tags": ["project=x"]}, "--container-tag: is 'project=x'; expected a level"),
        ({"not_container_tags": ["session"]}, "--not-container-tag: is 'session'"),
        ({"mlsets": ["training"]}, "--mlset: is 'training', which is no set"),
        ({"not_mlsets": ["null", "Others"]}, "--not-mlset: is 'Others', which is no set"),
        ({"modified_after": "soon"}, "--modified-after: is 'soon'; expected a day or a time"),
        ({"modified_before": "2026-13-01"}, "--modified-before: is"),
        ({"modified_after": "0001-01-01", "modified_before": "0001-01-01"}, "no file takes part"),
        ({"modified_after": "2026-01-02", "modified_before": "2026-01-01"}, "no file takes part"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_its_name(
    flags: Mapping[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        check_selection(Mode.DOWN, settings(flags), "pull")


@pytest.mark.parametrize(
    "where",
    [
        "info.made.up=1", "classification.Intent=Structural", "size!=null", "size>1e6",
        "subject=5f", "parents.session=5f", "parent_ref.type=acquisition", "name=~^scan",
        "modified>2026-03-01,created<2026-03-01T12:00", "deleted=null", "size=|[1,2]",
    ],
)  # fmt: skip
def test_what_a_file_can_have_is_asked_for(where: str) -> None:
    check_selection(Mode.DOWN, settings({"where": where}), "pull")


@pytest.mark.parametrize(("mode", "command"), [(Mode.UP, ""), (Mode.BOTH, ""), (Mode.UP, "watch")])
def test_what_may_send_something_selects_nothing(mode: Mode, command: str) -> None:
    with pytest.raises(UsageError, match="--type: selects from what the server has"):
        check_selection(mode, settings({"only_types": ["nifti"]}), command)
    assert ("lab/aging/sub-01", ()) == project_and_rest("lab/aging/sub-01", mode, command)


def test_what_looks_at_no_file_goes_on_with_any_settings() -> None:
    check_selection(Mode.UP, settings({"only_types": ["nifti"]}), "cleanup")


@pytest.mark.parametrize(
    ("target", "project", "rest"),
    [
        (None, None, ()),
        ("lab/aging", "lab/aging", ()),
        ("lab/aging/", "lab/aging/", ()),
        ("aging", "aging", ()),
        ("fw://", "fw://", ()),
        ("fw://lab/aging/s/e/", "lab/aging", ("s", "e")),
        ("<id:5f>/s", "<id:5f>", ("s",)),
        ("lab/<id:5f>/<id:6f>", "lab/<id:5f>", ("<id:6f>",)),
    ],
)
def test_a_path_is_a_project_and_what_lies_below_it(
    target: str | None, project: str | None, rest: tuple[str, ...]
) -> None:
    for mode, command in ((Mode.DOWN, ""), (Mode.BOTH, "verify")):
        assert (project, rest) == project_and_rest(target, mode, command)
