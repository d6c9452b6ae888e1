"""Templates of ``fw ingest template``."""

from __future__ import annotations

from typing import Any

import pytest

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.ingest_template import template_rules
from fwsync.mapping.placing import Found, Header, Placed
from fwsync.model import RelPath

FOLDERS = "{subject}:{session}:{acquisition}:dicom,packfile_type=dicom"


def place(template: object, path: str, header: Header | None = None, **more: Any) -> Placed:
    rules = template_rules(template, **({"group": "lab", "project": "aging"} | more))
    found = rules.place(RelPath(path), header)
    assert isinstance(found, Placed), found
    return found


def refusal(template: object, path: str, **more: Any) -> str:
    rules = template_rules(template, group="lab", project="aging", **more)
    found = rules.place(RelPath(path))
    assert isinstance(found, Unmappable), found
    return found.reason


@pytest.mark.parametrize(
    ("template", "path", "labels", "name", "member"),
    [
        # Source: flywheel-cli 18.5.1, observed.
        (FOLDERS, "s/v/T1/dicom/a/1", ("s", "v", "T1"), "T1.dicom.zip", "a/1"),
        (FOLDERS, "s/v/T1/x", ("s", "v", "T1"), "x", ""),
        (FOLDERS, "s/x", ("s",), "x", ""),
        ("sub-{subject}:.*", "sub-1/any/x", ("1",), "x", ""),
        (r"(?P<subject>\w{2})(?P<session.label>\d+)", "ab12", (), "ab12", ""),
        (r"(?P<subject>\w{2})(?P<session.label>\d+)", "ab12/x", ("ab", "12"), "x", ""),
        ("{subject}:raw,packfile_type=zip", "s/raw/1", ("s",), "s.zip", "1"),
        ("{subject}:raw,packfile_type=p,packfile_name=r.zip", "s/raw/1", ("s",), "r.zip", "1"),
        # A pattern has to match the beginning of a name, and no more.
        ("{subject}:raw,packfile_type=zip", "s/raw_old/1", ("s",), "s.zip", "raw_old/1"),
        (
            ["{subject}", {"select": [{"pattern": "d$", "packfile_type": "dicom"}, "{session}"]}],
            "s/d/1",
            ("s",),
            "s.dicom.zip",
            "d/1",
        ),
        (["{subject}", {"select": ["ses-{session}", "{session}"]}], "s/v/1", ("s", "v"), "1", ""),
        (
            ["{subject}", {"pattern": "b", "scan": {"name": "filename", "pattern": "{session}-"}}],
            "s/b/v-1",
            ("s", "v"),
            "v-1",
            "",
        ),
    ],
)
def test_folders_are_matched_one_by_one(
    template: object, path: str, labels: tuple[str, ...], name: str, member: str
) -> None:
    found = place(template, path)

    assert (labels, name, member) == (
        found.address.labels[2:],
        found.address.name,
        found.member,
    )


@pytest.mark.parametrize(
    ("template", "path", "words"),
    [
        ("sub-{subject}:x", "01/x/a", "folder 1 '01' does not match 'sub-{subject}'"),
        ("{subject}", "s/deep/x", "deeper than the template"),
        (["{subject}", {"pattern": "tmp", "ignore": True}], "s/tmp/x", "ignores folder 2 'tmp'"),
        ("{subject}:{acquisition}", "s/T1/x", "names the acquisition 'T1', and no session"),
        ("{session.timestamp}_{subject}", "x_s/a", "'x' is no session.timestamp"),
    ],
)
def test_what_does_not_match_is_reported(template: object, path: str, words: str) -> None:
    assert words in refusal(template, path)


def test_variables_hold_where_folders_say_nothing() -> None:
    found = place("{subject}:{acquisition}", "s/T1/x", variables={"session": "base"})

    assert ("s", "base", "T1") == found.address.labels[2:]
    assert ("s", "s", "T1") == place("{subject}:{acquisition}", "s/T1/x", same=True).address.labels[
        2:
    ]


def test_group_and_project_may_be_folders() -> None:
    found = place("{group}:{project}:{subject}", "g1/P/s/x", group=None, project=None)

    assert ("g1", "P", "s") == found.address.labels


class Series:
    routes = False

    def find(self, header: Header) -> Found | Unmappable:
        if "SeriesDescription" not in header:
            return Unmappable("its header has no SeriesDescription")
        label = str(header["SeriesDescription"])
        return Found({"subject": "h", "session": "h", "acquisition": label}, "a header", "1.dcm")


def test_below_a_scan_the_header_says_the_rest() -> None:
    template = "{subject}:.*,scan=dicom"
    rules = template_rules(template, group="lab", project="aging", scanner=Series())
    deep = RelPath("s/any/deep/IM1")
    found = rules.place(deep, {"SeriesDescription": "T1"})

    assert rules.wants_header(deep)
    assert not rules.wants_header(RelPath("s/x"))
    assert isinstance(found, Placed)
    assert ("s", "h", "T1") == found.address.labels[2:]
    assert ("T1.dicom.zip", "1.dcm") == (found.address.name, found.member)
    assert isinstance(rules.place(deep), Unmappable)
    assert isinstance(rules.place(deep, {}), Unmappable)


@pytest.mark.parametrize(
    "template",
    [
        [],
        3,
        [3],
        [{"pattern": "x", "colour": "red"}],
        [{"select": []}],
        "{nobody}",
        "{subject",
        "(",
        "x,scan=nifti",
        "x,scan=dicom",
        "x,scan=filename",
    ],
)
def test_a_template_that_is_none_is_refused(template: object) -> None:
    with pytest.raises(UsageError):
        template_rules(template, group="lab", project="aging")
