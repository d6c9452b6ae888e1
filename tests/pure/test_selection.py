"""What a selection takes: labels, names, types, tags and times."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fwsync.model import Level
from fwsync.selection import EVERYTHING, Facts, Place, Selection, fits

ABOVE = ("lab", "aging")
FILE = Facts("scan.nii.gz", "nifti", ("raw", "good"), 1_000)


def test_nothing_asked_for_takes_everything() -> None:
    assert not EVERYTHING.is_set
    assert not EVERYTHING.asks_the_server
    assert EVERYTHING.takes(FILE)
    assert EVERYTHING.takes_labels(ABOVE)


@pytest.mark.parametrize(
    ("selection", "is_taken"),
    [
        (Selection(types=("nifti",)), True),
        (Selection(types=("dicom", "nifti")), True),
        (Selection(types=("dicom",)), False),
        (Selection(types=("null",)), False),
        (Selection(not_types=("dicom",)), True),
        (Selection(not_types=("nifti",)), False),
        (Selection(types=("nifti",), not_types=("nifti",)), False),
        (Selection(tags=("raw",)), True),
        (Selection(tags=("bad", "good")), True),
        (Selection(tags=("bad",)), False),
        (Selection(not_tags=("bad",)), True),
        (Selection(tags=("raw",), not_tags=("good",)), False),
        (Selection(names=(re.compile("n$"), re.compile(r"\.nii"))), True),
        (Selection(names=(re.compile("^nii"),)), False),
        (Selection(after_ns=1_000), True),
        (Selection(after_ns=1_001), False),
        (Selection(before_ns=1_001), True),
        (Selection(before_ns=1_000), False),
    ],
)
def test_a_file_is_taken_if_all_that_is_asked_for_holds(
    selection: Selection, is_taken: bool
) -> None:
    assert selection.is_set
    assert is_taken is selection.takes(FILE)


def test_a_file_without_a_type_is_of_type_null() -> None:
    bare = replace(FILE, type=None)

    assert Selection(types=("null",)).takes(bare)
    assert not Selection(not_types=("null",)).takes(bare)
    assert Selection(not_types=("nifti",)).takes(bare)


@pytest.mark.parametrize(
    ("labels", "is_taken", "leads_there"),
    [
        (("S1", "E1", "A1"), True, True),
        (("S1", "E2", "A1"), False, False),
        (("T1", "E1", "A1"), False, False),
        (("S1", "E1"), True, True),
        (("S1",), False, True),  # a file of a subject has no session that could be asked for
        ((), False, True),
    ],
)
def test_labels_are_asked_for_level_by_level(
    labels: tuple[str, ...], is_taken: bool, leads_there: bool
) -> None:
    selection = Selection(subjects=("S*",), sessions=("E1",))

    assert is_taken is selection.takes_labels((*ABOVE, *labels))
    assert leads_there is selection.takes_labels_so_far((*ABOVE, *labels))


@pytest.mark.parametrize(
    ("label", "pattern", "does"),
    [
        ("sub-01", "sub-0*", True),
        ("sub-01", "sub-0?", True),
        ("sub-01", "sub-0[23]", False),
        ("SUB-01", "sub-*", False),
        ("T1 [2]", "T1 [2]", True),  # as it is spelled
        ("T1 2", "T1 [2]", True),
        ("a/b", "a*", True),
        ("", "", True),
        ("x", "", False),
    ],
)
def test_a_label_fits_a_pattern_of_the_shell_or_itself(
    label: str, pattern: str, does: bool
) -> None:
    assert does is fits(label, [pattern])


@pytest.mark.parametrize(
    "selection",
    [
        Selection(types=("a",)),
        Selection(not_types=("a",)),
        Selection(tags=("a",)),
        Selection(not_tags=("a",)),
        Selection(after_ns=0),
        Selection(before_ns=0),
    ],
)
def test_what_only_the_server_knows_is_asked_of_the_server(selection: Selection) -> None:
    assert selection.asks_the_server


@pytest.mark.parametrize(
    "selection",
    [
        Selection(names=(re.compile("a"),)),
        Selection(subjects=("a",)),
        Selection(place=Place((*ABOVE, "S1"), ("id",))),
    ],
)
def test_what_a_path_says_is_not_asked_of_the_server(selection: Selection) -> None:
    assert selection.is_set
    assert not selection.asks_the_server


def test_a_place_knows_its_level() -> None:
    assert Level.PROJECT is Place(ABOVE, (), "x.txt").level
    assert Level.SESSION is Place((*ABOVE, "S", "E"), ("1", "2")).level
    assert "lab/aging/S/x" == str(Place((*ABOVE, "S"), ("1",), "x"))
