"""What `fw ls` shows, and what `fw download`, `fw cp` and `fw sync` put on the disk."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path, PurePosixPath

import pytest

from tests.conformance.cli.command import Cli
from tests.conformance.cli.looking import asked, content, entries, find, table
from tests.conformance.cli.planted import FILES, INPUT, OUTPUT, SLICES, Planted, fill
from tests.conformance.cli.trees import on_disk, sha384, unzipped
from tests.house.house import Ground
from tests.sandbox.api import unpack

pytestmark = pytest.mark.timeout(180)

_NUMBERS = count(1)
SIDECAR = ".flywheel.json"


@pytest.fixture
def planted(ground: Ground) -> Planted:
    """A project of this test's own."""
    return fill(ground, f"Reads {next(_NUMBERS)}")


@pytest.mark.row("resolve", "lookup-root", "lookup-analysis", "users-self", "roles", "analyses-get")
def test_listings_show_what_is_there(cli: Cli, ground: Ground, planted: Planted) -> None:
    root, session = cli.all_good(("ls",), ("ls", "--ids", f"{planted.source}/sub-01/ses-01"))

    # access, and the name
    assert ["admin", "lab"] in [line.split() for line in root.splitlines()]
    # id, access, size and time of a file, and the name
    first, second, analysis, file = [line.rstrip() for line in session.splitlines()]
    ids = planted.containers
    assert [f"<id:{ids['sub-01/ses-01/T1w']}>", "admin", "T1w"] == first.split()
    assert [f"<id:{ids['sub-01/ses-01/survey']}>", "admin", "survey"] == second.split()
    assert re.fullmatch(rf"<id:{planted.analysis}> +admin +analyses/QA report", analysis)
    size = len(FILES["sub-01/ses-01/sheet.csv"])
    moment = r"[A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d"
    assert re.fullmatch(rf" +admin +{size}B {moment} files/sheet.csv", file)


@pytest.mark.row(
    "download-ticket", "download-classic", "download-filters", "download-tar", "download-zip",
    "file-download", "analyses-outputs", "analyses-inputs", "lookup-file",
)  # fmt: skip
def test_downloads_hold_what_was_asked_for_byte_by_byte(
    cli: Cli, ground: Ground, tmp_path: Path, planted: Planted
) -> None:
    label, source = planted.label, planted.source
    # Made beforehand: the tool looks whether a folder is there and then makes it, and these
    # commands run side by side, so that two of them may both find it missing.
    out = tmp_path / "out"
    out.mkdir()

    def to(name: str) -> Path:
        return out / name

    zipped = ("--zip", "-o", to("sub.zip"))
    said = cli.all_good(
        ("download", source, "-y", "-o", to("all.tar"), "-p", "backup", "-e", "dicom"),
        ("download", f"{source}/sub-02", "-y", *zipped, "-i", "nifti", "-i", "text"),
        ("download", f"{source}/sub-01/ses-01/analyses/QA report", "-y", "-o", to("qa.tar")),
        ("download", f"{source}/sub-01/ses-01/analyses/QA report/files/qa.csv", "-o", to("qa.csv")),
        ("cp", f"{source}/sub-02/ses-01/rest/files/noté #1.txt", to("note.txt")),
    )

    no_dicom = {
        path: body for path, body in FILES.items() if not path.endswith((".dicom.zip", ".dcm"))
    }
    assert {f"backup/lab/{label}/{path}": body for path, body in no_dicom.items()} == unpack(
        to("all.tar").read_bytes()
    )
    assert f"comprising {len(no_dicom)} files." in said[0]
    wanted = ("sub-02/ses-01/rest/bold.nii", "sub-02/ses-01/rest/noté #1.txt")
    assert {f"lab/{label}/{path}": FILES[path] for path in wanted} == unzipped(
        to("sub.zip").read_bytes()
    )
    assert "comprising 2 files." in said[1]
    assert {
        "QA report/input/T1w.nii": FILES[INPUT],
        "QA report/output/qa.csv": OUTPUT["qa.csv"],
    } == unpack(to("qa.tar").read_bytes())
    assert OUTPUT["qa.csv"] == to("qa.csv").read_bytes()
    assert FILES["sub-02/ses-01/rest/noté #1.txt"] == to("note.txt").read_bytes()


def _full(label: str, path: str) -> str:
    """Where a file lies in an archive by levels. Source: core19."""
    at = PurePosixPath(path)
    levels = zip(("SUBJECTS", "SESSIONS", "ACQUISITIONS"), at.parts[:-1], strict=False)
    return "/".join((label, *(step for level in levels for step in level), "FILES", at.name))


@pytest.mark.row("download-targets", "download-full", "file-download", "analyses-outputs")
def test_a_whole_project_is_mirrored_once(
    cli: Cli, ground: Ground, tmp_path: Path, planted: Planted
) -> None:
    """With sidecars and analyses, zips as they are; the second run has nothing to fetch."""
    label, source = planted.label, planted.source
    mirror = tmp_path / "mirror"
    sync = ("sync", "-y", "--full-project", "--no-unpack", "--no-audit-log", source, mirror)
    ground.forget_requests()

    cli.good(*sync)

    found = on_disk(mirror)
    sidecars = {path: json.loads(body) for path, body in found.items() if path.endswith(SIDECAR)}
    bodies = {path: body for path, body in found.items() if path not in sidecars}
    analysis = f"{label}/SUBJECTS/sub-01/SESSIONS/ses-01/ANALYSES/QA report"
    assert {_full(label, path): body for path, body in FILES.items()} | {
        f"{analysis}/OUTPUT/qa.csv": OUTPUT["qa.csv"],
        f"{analysis}/INPUT/T1w.nii": FILES[INPUT],
    } == bodies
    assert {f"{path}{SIDECAR}" for path in bodies if "/INPUT/" not in path} <= set(sidecars)
    t1w = sidecars[_full(label, INPUT) + SIDECAR]
    assert ("nifti", ["seen"], {"of": "T1w.nii"}) == (t1w["type"], t1w["tags"], t1w["info"])
    assert {"grant": "R01"} == sidecars[f"{label}/{label}{SIDECAR}"]["info"]
    assert "Testing" == sidecars[f"{label}/SUBJECTS/sub-02/sub-02{SIDECAR}"]["mlset"]
    hidden = {"_id", "parents", "group", "project", "subject", "session", "files", "origin"}
    assert {} == {path: left for path, one in sidecars.items() if (left := hidden & set(one))}
    routes = [one["route"] for one in ground.requests()]
    assert len(FILES) + 2 == sum(route.endswith("/files/{name}") for route in routes)

    ground.forget_requests()
    report = tmp_path / "report.csv"
    again = cli.good(*sync, "--save-audit-logs", report)

    assert found == on_disk(mirror)
    assert f"Sync summary: skip {len(found)}" in again
    lines = table(report.read_bytes())
    assert dict.fromkeys(found, "skipped") == {one["src_path"]: one["status"] for one in lines}
    assert ["/api/lookup", "/api/download/targets"] == [
        one["route"] for one in ground.requests() if one["method"] == "POST"
    ]
    assert [] == [one for one in ground.requests() if one["route"].endswith("/files/{name}")]


@pytest.mark.row(
    "download-targets", "download-filters", "file-zip", "file-download", "signed-finalize"
)
def test_parts_of_a_project_are_mirrored(
    cli: Cli, ground: Ground, tmp_path: Path, planted: Planted
) -> None:
    """By type, by tags of containers and by set; scans unpacked, and known again by their zip."""
    label, source = planted.label, planted.source
    scans = (f"{source}/", tmp_path / "scans")  # the slash: without a folder for the project

    cli.all_good(
        ("sync", "-y", "-i", "dicom", "--no-audit-log", *scans),
        ("sync", "-y", "-z", "-e", "nifti", "--include-container-tags", '{"acquisition": ["keep"]}',
         "--exclude-mlset", "testing", "--no-audit-log", source, tmp_path / "rest"),
    )  # fmt: skip

    def full(*wanted: str) -> dict[str, bytes]:
        return {_full(label, path): body for path, body in FILES.items() if path.endswith(wanted)}

    # a zip of scans becomes a folder of them
    folder = "SUBJECTS/sub-01/SESSIONS/ses-01/ACQUISITIONS/T1w/FILES/mra"
    scout = "SUBJECTS/sub-02/SESSIONS/ses-01/ACQUISITIONS/rest/FILES/scout.dcm"
    dicom = {f"{folder}/{name}": body for name, body in SLICES.items()}
    dicom[scout] = FILES["sub-02/ses-01/rest/scout.dcm"]
    assert dicom == on_disk(tmp_path / "scans")
    assert full("protocol.txt", "sheet.csv", "mra.dicom.zip") == on_disk(tmp_path / "rest")

    # again: what is in the zip is asked, and nothing fetched
    ground.forget_requests()
    cli.good("sync", "-y", "-i", "dicom", *scans, env={"FW_ZIP_INFO_DOWNLOAD_THRESHOLD": "1"})

    reads = asked(ground, "/containers/{id}/files/{name}")
    assert ["info=true"] == [one["query"].lower() for one in reads]
    assert dicom == on_disk(tmp_path / "scans")

    # its report lies in the project
    (log,) = [
        entry
        for name, entry in entries(ground, planted.id).items()
        if re.fullmatch(r"sync_log-\d{8}-\d{6}-18\.5\.1\.csv", name)
    ]
    lines = table(content(ground, log["file_id"]))
    assert dict.fromkeys(dicom, "skipped") == {one["dest_path"]: one["status"] for one in lines}


@pytest.mark.row("download-targets", "file-download", "upload-metadata", "containers-create")
def test_a_project_is_copied_into_another_with_its_metadata(
    cli: Cli, ground: Ground, planted: Planted
) -> None:
    """`fw ingest project` takes what it knows of a file from the line after the file's own."""
    copy = f"Copy of {planted.label}"
    ground.project(copy)

    told = ("-g", "lab", "-p", copy, "-y", "--enable-project-files", "--no-audit-log")
    cli.good("ingest", "project", planted.source, cli.key, *told)

    stored = {one.path: one.sha384 for one in ground.stored(copy)}
    assert {path: sha384(body) for path, body in FILES.items()} == stored
    before = entries(ground, planted.id)
    after = entries(ground, find(ground, "lab", copy)["_id"])
    same = ("type", "tags", "info", "size", "hash", "modality")
    for name, entry in after.items():
        assert {key: before[name][key] for key in same} == {key: entry[key] for key in same}, name
    assert ["seen"] == after["T1w.nii"]["tags"]
    assert "Testing" == find(ground, "lab", copy, "sub-02")["mlset"]
