"""The platform's full form: read, written, and what lies beside FILES."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Address
from tests.pure.mappings import LAB, mapping, refused, where

FULL = mapping(layout="full")
DEEP = "SUBJECTS/s/SESSIONS/e/ACQUISITIONS/a/FILES"


@pytest.mark.parametrize(
    ("path", "labels", "name"),
    [
        ("FILES/x", (), "x"),
        ("SUBJECTS/s/FILES/x", ("s",), "x"),
        ("SUBJECTS/s/SESSIONS/e/FILES/x", ("s", "e"), "x"),
        (f"{DEEP}/x", ("s", "e", "a"), "x"),
        ("SUBJECTS/FILES/FILES/FILES", ("FILES",), "FILES"),
        ("SUBJECTS/a%2Fb/SESSIONS/%empty/FILES/%2E.", ("a/b", ""), ".."),
    ],
)
def test_a_file_lies_in_the_folder_files_of_its_container(
    path: str, labels: tuple[str, ...], name: str
) -> None:
    assert (labels, name, "") == where(FULL, path)
    assert path == FULL.disk_path(Address((*LAB, *labels), name))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("x", "it does not lie in a folder FILES"),
        ("FILES", "it does not lie in a folder FILES"),
        ("SUBJECTS/s/x", "it does not lie in a folder FILES"),
        ("other/x", "it lies in 'other', where SUBJECTS or FILES is expected"),
        ("SUBJECTS/s/ACQUISITIONS/a/FILES/f", "where SESSIONS or FILES is expected"),
        ("SUBJECTS/s/ANALYSES/l/INPUT/f", "it is of an analysis, which is no file of a container"),
        (f"{DEEP}/deep/f", "it lies deeper than the files of the acquisition 'a'"),
        ("SUBJECTS/x%id=1/FILES/x", "is not spelled as fwsync spells a name"),
        (f"{DEEP}/x%id=1", "is not spelled as fwsync spells a name"),
    ],
)
def test_what_lies_beside_is_reported(path: str, reason: str) -> None:
    assert reason in refused(FULL, path).reason


def test_packs_take_what_lies_in_files() -> None:
    full = mapping(layout="full", pack={"*.dcm": "dicom"})

    assert (("s", "e", "a"), "a.dicom.zip", "d/1.dcm") == where(full, f"{DEEP}/d/1.dcm")
    assert f"{DEEP}/d/1.dcm" == full.disk_path(
        Address((*LAB, "s", "e", "a"), "a.dicom.zip"), "d/1.dcm"
    )


LABELS = st.one_of(st.text(max_size=8), st.text(min_size=250, max_size=300))


@given(st.lists(LABELS, max_size=3), LABELS)
def test_every_address_has_a_path_that_leads_back(labels: list[str], name: str) -> None:
    address = Address((*LAB, *labels), name)

    path = FULL.disk_path(address)

    assert isinstance(path, str)
    assert (tuple(labels), name, "") == where(FULL, path)
