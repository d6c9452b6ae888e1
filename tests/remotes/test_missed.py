"""What is said of a selection that nothing fits: nothing of what was not seen."""

from __future__ import annotations

import re

from fwsync.layout import Layout
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.flywheel_tree import Tree
from fwsync.remotes.missed import Tally, missed_facts
from fwsync.selection import Facts, Selection

LAYOUT = Layout.parse(group="lab", project="aging")
SELECTION = Selection(types=("nifti",), names=(re.compile("wanted"),))


def said(*names: str) -> list[str]:
    """What is said where there are dicoms of these names, and one nifti."""
    tally = Tally()
    for name in names:
        tally.saw(Facts(name, "dicom", (), 0), {}, SELECTION)
    tally.saw(Facts("other", "nifti", (), 0), {}, SELECTION)
    return [str(one) for one in missed_facts(SELECTION, tally, Tree(LAYOUT, Names()))]


def test_of_a_name_that_no_file_has_it_is_said_with_some_that_there_are() -> None:
    [one] = said("a", "b", "c", "d")

    assert "name_regex: no file has a name with 'wanted' in it (names are such as a, b, c)" == one


def test_a_name_that_is_the_last_of_many_was_seen_too() -> None:
    many = [f"file {number}" for number in range(5000)]

    [one] = said(*many, "wanted")

    assert "no file on the server is selected: none fits all that is asked for" == one
