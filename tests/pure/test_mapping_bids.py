"""BIDS trees: labels as the platform's own uploader gives them, and the way back."""

from __future__ import annotations

import pytest

from fwsync.model import Address
from tests.pure.mappings import mapping, placed, refused, where

BIDS = mapping(layout="bids")
SES = ("sub-01", "ses-1")
NONE = ("sub-01", "ses-")


@pytest.mark.parametrize(
    ("file", "label"),
    [
        # Source: flywheel-bids 1.2.34, determine_acquisition_label, observed.
        ("anat/sub-01_ses-1_T1w.nii.gz", "anat-T1w"),
        ("anat/sub-01_ses-1_acq-fast_run-2_T2w.json", "anat-T2w_acq-fast_run-2"),
        ("func/sub-01_ses-1_task-rest_run-1_bold.nii.gz", "func-bold_task-rest_run-1"),
        ("func/sub-01_ses-1_task-rest_run-1_events.tsv", "func-bold_task-rest_run-1"),
        ("func/sub-01_ses-1_task-rest_sbref.nii.gz", "func-bold_task-rest_sbref"),
        ("func/sub-01_ses-1_task-x_recording-eye_physio.tsv.gz", "func-bold_task-x_PhysioLog"),
        ("dwi/sub-01_ses-1_dir-AP_dwi.nii.gz", "dwi_dir-AP"),
        ("dwi/sub-01_ses-1_dir-AP_dwi.bval", "dwi_dir-AP"),
        ("dwi/sub-01_ses-1_dir-AP_dwi.bvec", "dwi_dir-AP"),
        ("dwi/sub-01_ses-1_dir-AP_sbref.nii.gz", "dwi_dir-AP_sbref"),
        ("fmap/sub-01_ses-1_dir-AP_epi.nii.gz", "fmap-epi_dir-AP"),
        ("fmap/sub-01_ses-1_run-1_phasediff.json", "fmap-phasediff_run-1"),
        ("perf/sub-01_ses-1_asl.nii.gz", "perf-asl"),
        ("perf/sub-01_ses-1_m0scan.nii.gz", "perf-asl_m0scan"),
        ("perf/sub-01_ses-1_run-1_physio.tsv.gz", "perf-asl_run-1_PhysioLog"),
        # Folders that it does not know.
        ("eeg/sub-01_ses-1_task-rest_eeg.vhdr", "eeg_task-rest"),
        ("eeg/sub-01_ses-1_task-rest_channels.tsv", "eeg_task-rest"),
        ("pet/sub-01_ses-1_trc-FDG_pet.nii.gz", "pet_trc-FDG"),
    ],
)
def test_an_acquisition_is_named_by_what_is_measured(file: str, label: str) -> None:
    path = f"sub-01/ses-1/{file}"
    name = file.rpartition("/")[2]

    assert ((*SES, label), name, "") == where(BIDS, path)
    assert path == BIDS.disk_path(Address(("lab", "aging", *SES, label), name))


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("dataset_description.json", ()),
        ("participants.tsv", ()),
        ("README", ()),
        ("CHANGES", ()),
        (".bidsignore", ()),
        ("task-rest_bold.json", ()),
        ("sub-01/sub-01_sessions.tsv", ("sub-01",)),
        ("sub-01/sub-01_task-rest_bold.json", ("sub-01",)),
        ("sub-01/ses-1/sub-01_ses-1_scans.tsv", SES),
        ("sub-01/anat/sub-01_T1w.nii.gz", (*NONE, "anat-T1w")),
    ],
)
def test_every_file_has_its_level(path: str, labels: tuple[str, ...]) -> None:
    name = path.rpartition("/")[2]

    assert (labels, name, "") == where(BIDS, path)
    assert path == BIDS.disk_path(Address(("lab", "aging", *labels), name))


def test_a_recording_that_is_a_folder_is_a_pack() -> None:
    path = "sub-01/meg/sub-01_task-x_meg.ds/hz.ds/x.meg4"
    place = placed(BIDS, path)

    assert ("sub-01_task-x_meg.ds.zip", "hz.ds/x.meg4", "archive") == (
        place.address.name,
        place.member,
        place.kind,
    )
    assert path == BIDS.disk_path(place.address, place.member)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub-01/ses-1/anat/sub-02_ses-1_T1w.nii", "does not begin with 'sub-01_ses-1'"),
        ("sub-01/anat/sub-01_ses-1_T1w.nii", "'ses-1' in its name is no part"),
        ("sub-01/ses-1/anat/sub-01_T1w.nii", "does not begin with 'sub-01_ses-1'"),
        ("sub-01/ses-1/anat/sub-01_ses-1_T 1w.nii", "'T 1w' in its name"),
        ("sub-01/ses-1/anat/sub-01_ses-1_acq_T1w.nii", "'acq' in its name"),
        ("sub-01/ses-1/scans/sub-01_ses-1_T1w.nii", "'scans' is no folder of data"),
        ("sub-01/ses-/anat/sub-01_T1w.nii", "folder 2 'ses-' is no session"),
        ("sub-01/notes.txt", "does not begin with 'sub-01'"),
        ("code/a.py", "folder 1 'code' is no subject"),
        ("derivatives/fmriprep/x.html", "folder 1 'derivatives' is no subject"),
        ("sourcedata/sub-01/x.dcm", "folder 1 'sourcedata' is no subject"),
    ],
)
def test_what_is_no_bids_is_reported(path: str, reason: str) -> None:
    assert reason in refused(BIDS, path).reason


def test_other_folders_can_be_packed_to_the_project() -> None:
    one = mapping(bids=True, bids_extra=["code"])

    assert ((), "code.zip", "x/a.py") == where(one, "code/x/a.py")
    assert "code/x/a.py" == one.disk_path(Address(("lab", "aging"), "code.zip"), "x/a.py")
    assert 'bids_extra = ["derivatives"]' in refused(one, "derivatives/x").hint
    assert ((), "code.zip", "") == where(one, "code.zip")


@pytest.mark.parametrize(
    ("labels", "name", "kind"),
    [
        ((), "code.zip", "archive"),
        ((), "docs.zip", ""),
        ((*SES, "meg_task-x"), "sub-01_ses-1_task-x_meg.ds.zip", "archive"),
        ((*SES, "anat-T1w"), "sub-01_ses-1_T1w.nii.gz", ""),
        (("sub-01",), "x.ds.zip", ""),
    ],
)
def test_it_knows_the_names_of_its_packs(labels: tuple[str, ...], name: str, kind: str) -> None:
    one = mapping(bids=True, bids_extra=["code"])

    assert kind == one.pack_kind(Address(("lab", "aging", *labels), name))


def test_a_bids_tree_may_lie_in_a_folder() -> None:
    one = mapping({"path": "bids/**", "bids": True})

    assert ((*NONE, "anat-T1w"), "sub-01_T1w.nii", "") == where(
        one, "bids/sub-01/anat/sub-01_T1w.nii"
    )
