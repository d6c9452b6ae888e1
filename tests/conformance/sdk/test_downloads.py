"""The official SDK fetches files and archives, byte for byte."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import FlowFailed, Sdk
from tests.sandbox.api import unpack

CONTENT = b"0123456789"


def send(sdk: Sdk, container: str, folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        sdk("uploads.by_form", container=container, path=folder / name)


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment"
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), content)
    return stream.getvalue()


def tar_of(file: Path) -> dict[str, bytes]:
    return unpack(file.read_bytes())


def zip_of(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {one: archive.read(one) for one in archive.namelist()}


@pytest.mark.row("file-download", "file-ticket", "file-version", "lookup-file")
def test_a_file_comes_by_every_way(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    send(sdk, place.acquisition, tmp_path, {"a b#ü.txt": CONTENT})
    (tmp_path / "down").mkdir()

    seen = sdk(
        "downloads.ways",
        acquisition=place.acquisition,
        name="a b#ü.txt",
        folder=tmp_path / "down",
    )

    assert {} == {way: content for way, content in seen.items() if content != CONTENT}
    assert 6 == len(seen)


@pytest.mark.row("file-range", "file-view")
def test_ranges_are_the_slices(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    send(sdk, place.acquisition, tmp_path, {"ten.txt": CONTENT})
    asked = ["bytes=0-1", "bytes=3-", "bytes=-4", "bytes=9-9", "bytes=0-99"]

    seen = sdk("downloads.ranges", acquisition=place.acquisition, name="ten.txt", asked=asked)

    assert [b"01", b"3456789", b"6789", b"9", CONTENT] == seen


@pytest.mark.row("file-hash")
def test_a_hash_that_differs_is_409(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    send(sdk, place.acquisition, tmp_path, {"ten.txt": CONTENT})
    (entry,) = place.versions(place.acquisition)
    known = entry["sha384"] if entry["sha384"].startswith("v0-") else f"v0-sha384-{entry['sha384']}"

    def read(digest: str) -> Any:
        return sdk(
            "downloads.with_hash", acquisition=place.acquisition, name="ten.txt", digest=digest
        )

    assert CONTENT == read(known)
    with pytest.raises(FlowFailed) as met:
        read(known[:-1] + ("0" if known[-1] != "0" else "1"))
    assert 409 == met.value.status


@pytest.mark.row("file-zip", "files-zip")
def test_members_of_a_zip_are_listed_and_read(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    members = {"d/a.dcm": b"a" * 1000, "d/ü.dcm": b"", "top.txt": b"top"}
    send(sdk, place.acquisition, tmp_path, {"some.zip": zipped(members)})
    (tmp_path / "down").mkdir()

    seen = sdk(
        "downloads.zips",
        acquisition=place.acquisition,
        name="some.zip",
        member="d/a.dcm",
        folder=tmp_path / "down",
    )

    for way in ("by container", "by file"):
        assert {name: len(content) for name, content in members.items()} == {
            one["path"]: one["size"] for one in seen[way]["members"]
        }
        assert "a comment" == seen[way]["comment"]
        assert seen[way]["members"][0]["timestamp"].startswith("2026-01-02T03:04:06")
    assert [members["d/a.dcm"]] * 3 == [seen[way] for way in ("read", "file read", "download")]


@pytest.mark.row("file-zip", "error-shape")
def test_what_is_not_in_a_zip_is_an_error(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    contents = {"some.zip": zipped({"a": b"a"}), "plain.txt": b"plain"}
    send(sdk, place.acquisition, tmp_path, contents)

    met = sdk(
        "downloads.zip_errors",
        acquisition=place.acquisition,
        zipped="some.zip",
        plain="plain.txt",
    )

    assert [400, 400, 404] == [one["status"] for one in met]


@pytest.fixture
def filled(sdk: Sdk, place: Place, tmp_path: Path) -> Place:
    """A file on each level, of several types."""
    (tmp_path / "up").mkdir()
    for container, contents in (
        (place.project, {"plan.pdf": b"plan"}),
        (place.subject, {"consent.txt": b"yes"}),
        (place.session, {"log.txt": b"log"}),
        (place.acquisition, {"t1.nii.gz": b"nifti", "t1.dcm": b"dicom" * 300}),
    ):
        send(sdk, container, tmp_path / "up", contents)
    return place


FILES = {
    "plan.pdf": b"plan",
    "sub-01/consent.txt": b"yes",
    "sub-01/ses-01/log.txt": b"log",
    "sub-01/ses-01/T1w/t1.nii.gz": b"nifti",
    "sub-01/ses-01/T1w/t1.dcm": b"dicom" * 300,
}


@pytest.mark.row("download-ticket", "download-classic", "download-tar", "download-zip")
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_project_comes_as_one_archive(sdk: Sdk, filled: Place, tmp_path: Path, form: str) -> None:
    target = tmp_path / f"all.{form}"

    ticket = sdk("downloads.archive", containers=[filled.project], target=target, form=form)
    same = tmp_path / f"same.{form}"
    sdk("downloads.of_container", container=filled.project, target=same, form=form)

    read = tar_of if form == "tar" else zip_of
    expected = {f"scitran/lab/{filled.label}/{path}": content for path, content in FILES.items()}
    assert expected == read(target) == read(same)
    assert (len(FILES), sum(map(len, FILES.values()))) == (ticket["file_cnt"], ticket["size"])
    assert ticket["filename"].startswith("scitran_")


@pytest.mark.row("download-filters")
def test_types_are_taken_and_left(sdk: Sdk, filled: Place, tmp_path: Path) -> None:
    target = tmp_path / "some.tar"
    nodes = [filled.session]

    sdk("downloads.archive", containers=nodes, target=target, form="tar", include_types=["nifti"])
    only = [Path(name).name for name in tar_of(target)]
    sdk("downloads.archive", containers=nodes, target=target, form="tar", exclude_types=["nifti"])
    without = [Path(name).name for name in tar_of(target)]

    assert ["t1.nii.gz"] == only
    assert ["log.txt", "t1.dcm"] == sorted(without)


@pytest.mark.row("download-classic")
def test_several_containers_come_together(sdk: Sdk, filled: Place, tmp_path: Path) -> None:
    body = {"label": "T2w", "session": filled.session}
    other = filled.ask("POST", "/acquisitions", body)["_id"]
    send(sdk, other, tmp_path, {"t2.nii": b"t2"})
    target = tmp_path / "two.tar"

    sdk("downloads.archive", containers=[filled.acquisition, other], target=target, form="tar")

    assert {"t1.nii.gz", "t1.dcm", "t2.nii"} == {Path(name).name for name in tar_of(target)}


@pytest.mark.row("download-full")
def test_a_full_archive_has_sidecars_and_analyses(sdk: Sdk, filled: Place, tmp_path: Path) -> None:
    folder = tmp_path / "down"
    folder.mkdir()
    sdk(
        "analyses.story",
        session=filled.session,
        acquisition=filled.acquisition,
        name="t1.nii.gz",
        folder=folder,
    )
    target = tmp_path / "full.tar"
    body = {"optional": True, "nodes": [{"level": "project", "_id": filled.project}]}

    sdk(
        "downloads.tickets",
        body=body,
        target=target,
        type="full",
        metadata=True,
        analyses=True,
        prefix="pre",
    )

    found = tar_of(target)
    top = f"pre/{filled.label}"
    session = f"{top}/SUBJECTS/sub-01/SESSIONS/ses-01"
    assert b"plan" == found[f"{top}/FILES/plan.pdf"]
    assert b"nifti" == found[f"{session}/ACQUISITIONS/T1w/FILES/t1.nii.gz"]
    assert b"mask" == found[f"{session}/ANALYSES/Skull strip/OUTPUT/mask.nii"]
    assert b"nifti" == found[f"{session}/ANALYSES/Skull strip/INPUT/t1.nii.gz"]
    assert filled.label == json.loads(found[f"{top}/{filled.label}.flywheel.json"])["label"]
    sidecar = json.loads(found[f"{session}/ACQUISITIONS/T1w/FILES/t1.nii.gz.flywheel.json"])
    assert ("t1.nii.gz", 5) == (sidecar["name"], sidecar["size"])
    assert "parents" not in sidecar


@pytest.mark.row("download-bulk")
def test_named_files_come_by_the_ids_of_their_containers(
    sdk: Sdk, filled: Place, tmp_path: Path
) -> None:
    names = [("session", filled.session, "log.txt"), ("acquisition", filled.acquisition, "t1.dcm")]
    files = [
        {"container_name": kind, "container_id": at, "filename": name} for kind, at, name in names
    ]
    target = tmp_path / "bulk.tar"

    ticket = sdk("downloads.tickets", body={"files": files}, target=target, type="bulk")

    assert {
        f"session/{filled.session}/log.txt": b"log",
        f"acquisition/{filled.acquisition}/t1.dcm": b"dicom" * 300,
    } == {name.removeprefix("scitran/"): content for name, content in tar_of(target).items()}
    assert 2 == ticket["file_cnt"]
