"""Packs: which files, what they are called, and how one finds back."""

from __future__ import annotations

from typing import Any

import pytest

from fwsync.errors import UsageError
from fwsync.model import Address, RelPath
from tests.pure.mappings import mapping, placed, refused, where

T1 = ("s", "v", "T1")
DICOM = {"*.dcm": "dicom"}


@pytest.mark.parametrize(
    ("top", "path", "name", "member"),
    [
        ({"pack": DICOM}, "s/v/T1/x.dcm", "T1.dicom.zip", "x.dcm"),
        ({"pack": DICOM}, "s/v/T1/raw/x.dcm", "T1.dicom.zip", "raw/x.dcm"),
        ({"pack": DICOM}, "s/v/T1/x.nii", "x.nii", ""),
        ({"pack": {"raw/": "archive"}}, "s/v/T1/raw/x.dcm", "T1.zip", "raw/x.dcm"),
        ({"pack": {"/raw/**": "pfile"}}, "s/v/T1/raw/a/b", "T1.pfile.zip", "raw/a/b"),
        ({"pack_folders": ["dicom"]}, "s/v/T1/dicom/IM1", "T1.dicom.zip", "IM1"),
        ({"pack_folders": {"DICOM": "dicom"}}, "s/v/T1/DICOM/a/IM1", "T1.dicom.zip", "a/IM1"),
        ({"pack_folders": ["dicom"], "pack": DICOM}, "s/v/T1/dicom/1", "T1.dicom.zip", "dicom/1"),
        ({"pack_acquisitions": "dicom"}, "s/v/T1/any/thing", "T1.dicom.zip", "any/thing"),
        (
            {"pack": DICOM, "pack_name": "{session}_{label}.zip"},
            "s/v/T1/x.dcm",
            "v_T1.zip",
            "x.dcm",
        ),
        (
            {"layout": "{sub}/{ses}/{acq}/dicom/{file}", "pack": {"*": "dicom"}},
            "s/v/T1/dicom/IM1",
            "T1.dicom.zip",
            "IM1",
        ),
    ],
)
def test_files_of_an_acquisition_become_one(
    top: dict[str, Any], path: str, name: str, member: str
) -> None:
    one = mapping(**top)

    assert (T1, name, member) == where(one, path)
    assert path == one.disk_path(Address(("lab", "aging", *T1), name), member)


def test_a_pack_has_a_kind_and_says_why() -> None:
    place = placed(mapping(pack=DICOM), "s/v/T1/x.dcm")

    assert "dicom" == place.kind
    assert place.rule.endswith("acquisition 'T1' from folder 3; packed as dicom by '*.dcm'")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("T1: w%2F t2* x ", "T1 w t2 x.dicom.zip"),
        ("5 - fMRI_rest.a", "5 - fMRI_rest.a.dicom.zip"),
        ("Schädel", "Schdel.dicom.zip"),
        ("头", "pack.dicom.zip"),
    ],
)
def test_a_pack_is_called_as_the_platform_would_call_it(label: str, name: str) -> None:
    assert name == where(mapping(pack=DICOM), f"s/v/{label}/x.dcm")[1]


def test_two_kinds_that_would_share_a_name_do_not() -> None:
    one = mapping(pack={"*.dcm": "dicom", "*.nii": "nifti"}, pack_name="{label}.zip")

    assert "T1.zip" == where(one, "s/v/T1/x.dcm")[1]
    assert "T1_nifti.zip" == where(one, "s/v/T1/x.nii")[1]


def test_the_first_pattern_decides() -> None:
    one = mapping(pack={"scout*": "archive", "*.dcm": "dicom"})

    assert "T1.zip" == where(one, "s/v/T1/scout1.dcm")[1]
    assert "T1.dicom.zip" == where(one, "s/v/T1/1.dcm")[1]


def test_each_acquisition_has_a_pack_of_its_own() -> None:
    one = mapping(pack=DICOM)
    names = [where(one, f"s/v/{label}/x.dcm")[1] for label in ("T1", "T2", "T1")]

    assert ["T1.dicom.zip", "T2.dicom.zip", "T1.dicom.zip"] == names


def test_two_folders_of_one_pack_are_told_apart_by_their_names() -> None:
    one = mapping(pack_folders={"dicom": "dicom", "DICOM": "dicom"})

    assert (T1, "T1.dicom.zip", "dicom/1") == where(one, "s/v/T1/dicom/1")
    assert (T1, "T1.dicom.zip", "DICOM/1") == where(one, "s/v/T1/DICOM/1")


def test_only_acquisitions_are_packed_whole() -> None:
    one = mapping(layout="{subject}/{file}", pack_acquisitions="dicom")

    assert (("s",), "x", "") == where(one, "s/x")


def test_files_above_an_acquisition_are_not_packed() -> None:
    one = mapping(pack=DICOM, pack_acquisitions="archive")

    assert (("s",), "x.dcm", "") == where(one, "s/x.dcm")


def test_a_file_that_is_called_like_a_pack_is_a_file() -> None:
    one = mapping(pack=DICOM)

    assert (T1, "T1.dicom.zip", "") == where(one, "s/v/T1/T1.dicom.zip")


def test_a_mapping_knows_the_names_of_its_packs() -> None:
    one = mapping(pack={**DICOM, "*.nii": "nifti"})
    kinds = [
        one.pack_kind(Address(("lab", "aging", *T1), name))
        for name in ("T1.dicom.zip", "T1.nifti.zip", "T1.zip", "T2.dicom.zip")
    ]

    assert ["dicom", "nifti", "", ""] == kinds


def test_what_lies_deeper_and_fits_no_pack_is_reported() -> None:
    assert "lies deeper" in refused(mapping(pack=DICOM), "s/v/T1/raw/x.txt").reason


def test_a_member_and_its_pack_lead_to_the_same_folder() -> None:
    one = mapping(pack=DICOM)
    pack = Address(("lab", "aging", *T1), "T1.dicom.zip")

    assert RelPath("s/v/T1/T1.dicom.zip") == one.disk_path(pack)
    assert RelPath("s/v/T1/x.dcm") == one.disk_path(pack, "x.dcm")
    assert not isinstance(one.disk_path(pack, "x.nii"), str)


def test_a_lone_file_may_stay_as_it_is() -> None:
    one = mapping(pack=DICOM, zip_single=False)
    flat, deep = placed(one, "s/v/T1/x.dcm"), placed(one, "s/v/T1/raw/x.dcm")

    assert ("x.dcm", "", "dicom") == (flat.alone().address.name, flat.alone().member, "dicom")
    assert deep == deep.alone()
    assert not one.two_way


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ({"pack": {"*.dcm": ""}}, "is not a file type"),
        ({"pack": {"!*.dcm": "dicom"}}, "matches nothing"),
        ({"pack": {"# dcm": "dicom"}}, "matches nothing"),
        ({"pack": {"*.dcm": "a/b"}}, "is not a file type"),
        ({"pack_folders": ["a/b"]}, "is not the name of a folder"),
        ({"pack": DICOM, "pack_name": "{nobody}.zip"}, "is not the name of a file"),
        ({"pack": DICOM, "pack_name": "a/{label}.zip"}, "is not the name of a file"),
    ],
)
def test_a_pack_that_cannot_be_made_is_refused(top: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mapping(**top)
