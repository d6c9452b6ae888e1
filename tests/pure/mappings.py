"""Mappings as settings describe them, and odd paths to try them on."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fwsync.layout import Unmappable
from fwsync.mapping.placing import Mapping, Placed
from fwsync.mapping.settings import PlaceSettings, RuleSettings, mapping_of
from fwsync.model import RelPath

LAB = ("lab", "aging")


def mapping(
    *rules: dict[str, Any],
    group: str | None = "lab",
    project: str | None = "aging",
    both_ways: bool = False,
    **top: Any,
) -> Mapping:
    """The mapping of a settings file with these keys and rules, for ``lab/aging``."""
    return mapping_of(
        PlaceSettings(**top),
        [RuleSettings(**rule) for rule in rules],
        group=group,
        project=project,
        both_ways=both_ways,
    )


def placed(one: Mapping, path: str) -> Placed:
    """Where a path goes, which it does."""
    place = one.place(RelPath(path))
    assert isinstance(place, Placed), place
    return place


def where(one: Mapping, path: str) -> tuple[tuple[str, ...], str, str]:
    """Labels below the project, name, and member."""
    place = placed(one, path)
    assert place.address.labels[:2] == LAB
    return place.address.labels[2:], place.address.name, place.member


def refused(one: Mapping, path: str) -> Unmappable:
    """Why a path goes nowhere."""
    place = one.place(RelPath(path))
    assert isinstance(place, Unmappable), place
    return place


_PIECES = (
    *("a", "s1", "sub-", "ses-", "sub-01", "ses-1", "_", "-", ".", "x.dcm", ".dcm", "dicom"),
    *("T1", "T1.dicom.zip", ".zip", "raw", "anat", "func", "sub-01_T1w.nii.gz", "_bold.nii"),
    *("%", "%2F", "%empty", "%+", "%id=", "%252F", "é", "e\u0301", "\U0001f600", " ", "*", "["),
    *("sub-01_ses-1_task-x_bold.json", "20240203", "mri", "eeg", "code", "meg", "_meg.ds"),
)
component = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3).map("".join)

_SKELETONS = (
    *("{0}/{1}/{2}/{3}", "{0}/{1}/{2}/{3}.dcm", "{0}/{1}/{2}/dicom/{3}.dcm", "{0}/{1}/{2}/x{3}"),
    *("sub-{0}/ses-{1}/{2}/{3}", "sub-{0}/ses-{1}/{2}/{3}/{1}.dcm", "sub-{0}/{3}", "{0}/{1}/{3}"),
    *("{0}_{1}/{2}/{3}", "{0}/{0}_{1}/{2}/{3}", "s1/20240203/{2}/{3}", "{0}/{1}-{2}.nii"),
    *("mri/{0}/{1}/{2}/dicom/{3}.dcm", "mri/{0}/s1/T1/dicom/{3}.dcm", "eeg/{0}/{3}"),
    *("sub-01/ses-1/func/sub-01_ses-1_task-x_run-1_{3}", "sub-01/meg/sub-01_{2}_meg.ds/{3}"),
)

#: Paths of any depth; most of them mean something to some mapping.
paths = st.one_of(
    st.lists(component, min_size=1, max_size=6).map("/".join),
    st.builds(str.format, st.sampled_from(_SKELETONS), *[component] * 4),
).map(RelPath)
