"""A folder laid out by labels, sent with `fw ingest folder`: by signed URLs, and again by forms."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.cli.command import Cli
from tests.conformance.cli.looking import content, entries, find, table
from tests.conformance.cli.trees import MRA, nifti, series, sha384, unzipped
from tests.house.house import Ground, plant

pytestmark = pytest.mark.timeout(180)

SLICES = series(MRA)
PLAIN = {
    "README.txt": b"a file of the project\n",
    "sub-01/sub.json": b'{"age": 71}',
    "sub-01/ses-01/behav.csv": b"a,b\n1,2\n",
    "sub-01/ses-01/T1 w/T1w.nii": nifti(voxels=96),
    "sub-01/ses-01/T1 w/notes.txt": b"hello\n",
    "sub-02/ses-01/Résumé é/ü file#1.txt": "ü\n".encode(),
}
ZIP = "sub-01/ses-01/mra/mra.dicom.zip"
TYPES = {
    "README.txt": "text",
    "sub.json": "source code",
    "behav.csv": "tabular data",
    "T1w.nii": "nifti",
    "notes.txt": "text",
    "ü file#1.txt": "text",
    "mra.dicom.zip": "dicom",
}
LOG = re.compile(r"audit_log-\d{8}-\d{6}-18\.5\.1\.csv")


@pytest.mark.row(
    "groups-create", "containers-create", "sessions-subject", "lookup", "lists-children",
    "signed-ticket", "signed-put", "signed-finalize", "upload-form", "upload-metadata",
    "files-versions",
)  # fmt: skip
def test_a_folder_arrives_whole_and_only_what_is_new_the_second_time(
    cli: Cli, ground: Ground, tmp_path: Path, switch: Callable[..., None]
) -> None:
    root = plant(tmp_path / "root", {f"neuro/Aging/{path}": b for path, b in PLAIN.items()})
    plant(root / "neuro/Aging/sub-01/ses-01/mra/dicom", SLICES)
    ground.forget_requests()

    said = cli.good("ingest", "folder", root, "--yes", "--enable-project-files")

    assert "Packfiles: 1" in said
    asked = ground.requests()
    assert [] == [one for one in asked if one["status"] >= 400 and one["route"] != "/api/lookup"]
    uploads = Counter(
        (one["method"], bool(one["query"].partition("ticket=")[2]))
        for one in asked
        if one["route"].endswith("/files")
    )
    puts = [one for one in asked if one["method"] == "PUT"]
    count = len(PLAIN) + 2  # and the packfile, and the log
    assert {("POST", False): count, ("POST", True): count} == uploads
    assert [200] * count == [one["status"] for one in puts]

    # what the server holds: every byte, once, in its place
    stored = {one.path: one for one in ground.stored("Aging")}
    (log,) = [path for path in stored if LOG.fullmatch(path)]
    assert {*PLAIN, ZIP, log} == set(stored)
    assert {path: (1, len(b), sha384(b)) for path, b in PLAIN.items()} == {
        path: (stored[path].version, stored[path].size, stored[path].sha384) for path in PLAIN
    }
    entry = entries(ground, find(ground, "neuro", "Aging")["_id"])
    assert TYPES == {name: entry[name]["type"] for name in entry if name != log}
    packfile = entry["mra.dicom.zip"]
    assert len(SLICES) == packfile["zip_member_count"]
    assert SLICES == unzipped(content(ground, packfile["file_id"]))
    assert {"type": "user", "id": "admin@sandbox.local"} == packfile["origin"]

    # its report, which it leaves in the project
    rows = table(content(ground, entry[log]["file_id"]))
    assert {"completed"} == {row["status"] for row in rows}
    assert len(PLAIN) + 1 == len(rows)
    assert "folder" == entry[log]["info"]["strategy_config"]["strategy_name"]

    # the second time, by forms
    switch(signed_url=False)
    changed = root / "neuro/Aging/sub-01/ses-01/T1 w/notes.txt"
    changed.write_bytes(b"hello again\n")
    new = {"sub-02/ses-02/rest/run-1.nii": nifti(seed=2)}
    plant(root / "neuro/Aging", new)
    ground.forget_requests()

    again = cli.good(
        "ingest",
        "folder",
        root,
        "-y",
        "--skip-existing",
        "--no-audit-log",
        "--enable-project-files",
    )

    assert f"Skipped: {len(PLAIN) + 1}" in again
    asked = ground.requests()
    assert [("POST", "")] == [
        (one["method"], one["query"]) for one in asked if one["route"].endswith("/files")
    ]
    assert [] == [one for one in asked if one["method"] == "PUT"]
    now = {one.path: one for one in ground.stored("Aging")}
    assert stored == {path: one for path, one in now.items() if path not in new}
    assert {path: (1, sha384(b)) for path, b in new.items()} == {
        path: (now[path].version, now[path].sha384) for path in new
    }
    assert [] == ground.twins()
