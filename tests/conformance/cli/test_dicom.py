"""Real scans, sorted by their headers with `fw ingest dicom`; and duplicates of them."""

from __future__ import annotations

import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pydicom
import pytest

from fwsync.demo import scans
from tests.conformance.cli.command import Cli
from tests.conformance.cli.looking import asked, content, find, table
from tests.conformance.cli.trees import unzipped
from tests.house.house import Ground

pytestmark = pytest.mark.timeout(180)

PATIENTS = ("77654033", "98890234")
ZONE = "America/New_York"  # where the scanner stands, for the CLI


@dataclass
class Series:
    """What the headers of its slices say of a series."""

    subject: str
    study_uid: str
    study_time: datetime
    label: str
    slices: dict[str, bytes] = field(default_factory=dict)


def _incoming(folder: Path) -> dict[str, Series]:
    """All scans of two patients in one heap; what their headers say, by SeriesInstanceUID."""
    folder.mkdir()
    found: dict[str, Series] = {}
    for path, source in scans.session().scans.items():
        if not path.startswith(PATIENTS):
            continue
        header = pydicom.dcmread(source, stop_before_pixels=True)
        shutil.copy(source, folder / source.name)
        when = datetime.strptime(header.StudyDate + header.StudyTime, "%Y%m%d%H%M%S")
        of = Series(
            header.PatientID,
            header.StudyInstanceUID,
            when.replace(tzinfo=ZoneInfo(ZONE)),
            f"{header.SeriesNumber} - {header.SeriesDescription}",
        )
        found.setdefault(header.SeriesInstanceUID, of).slices[source.name] = source.read_bytes()
    return found


@pytest.mark.row(
    "containers-create", "sessions-subject", "timestamps", "upload-metadata", "uids-projects",
    "lists-filter", "signed-finalize", "lookup",
)  # fmt: skip
def test_scans_are_sorted_by_their_headers_and_known_again(
    cli: Cli, ground: Ground, tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    series = _incoming(incoming)
    studies = {one.study_uid: one for one in series.values()}
    assert (13, 6) == (len(series), len(studies))

    cli.good(
        "ingest", "dicom", incoming, "lab", "Scans", "-y", "--include", "*", "--timezone", ZONE
    )

    project = find(ground, "lab", "Scans")["_id"]
    sessions = {one["uid"]: one for one in ground.ask("GET", f"/projects/{project}/sessions")}
    assert set(studies) == set(sessions)
    for uid, study in studies.items():
        session = sessions[uid]
        assert study.subject == session["subject"]["label"]
        assert study.study_time == datetime.fromisoformat(session["timestamp"])
        assert session["timestamp"].endswith("+00:00")
        assert ZONE == session["timezone"]
        assert f"{study.study_time:%Y-%m-%d %H_%M_%S}" == session["label"]

    acquisitions = {
        one["uid"]: one for one in ground.ask("GET", f"/projects/{project}/acquisitions")
    }
    assert set(series) == set(acquisitions)
    files = defaultdict(list)
    for file in ground.ask("GET", f"/files?filter=parents.project={project}&limit=100")["results"]:
        files[file["parent_ref"]["id"]].append(file)
    for uid, one in series.items():
        acquisition = acquisitions[uid]
        assert one.label.replace("/", "_") == acquisition["label"]
        assert sessions[one.study_uid]["_id"] == acquisition["session"]
        (file,) = files[acquisition["_id"]]
        body = content(ground, file["file_id"])
        assert "dicom" == file["type"]
        if len(one.slices) == 1:
            assert {file["name"]: body} == {
                f"{acquisition['label']}.dicom": next(iter(one.slices.values()))
            }
        else:
            assert file["name"].endswith(".dicom.zip")
            assert len(one.slices) == file["zip_member_count"]
            assert one.slices == unzipped(body)

    _known_again(cli, ground, incoming, project, series)


def _known_again(
    cli: Cli, ground: Ground, incoming: Path, project: str, series: dict[str, Series]
) -> None:
    """By their uids: in a session that was given another label, and under another subject."""
    subject = find(ground, "lab", "Scans", "77654033")["_id"]
    first = ground.ask("GET", f"/subjects/{subject}/sessions")[0]["_id"]
    ground.ask("PUT", f"/sessions/{first}", {"label": "first visit"})
    before = ground.ask("GET", "/sandbox/record")
    again = ("ingest", "dicom", incoming, "lab", "Scans", "-y", "--include", "*")
    ground.forget_requests()

    with ThreadPoolExecutor() as pool:
        strict = pool.submit(cli.good, *again, "--strict-uid", "--skip-existing", "--no-audit-log")
        twin = pool.submit(cli.run, *again, "--subject", "twin", "--detect-duplicates")

    assert f"Skipped: {len(series)}" in strict.result()
    assert len(series) == len(asked(ground, "/acquisitions"))
    assert 0 == twin.result().code, twin.result()
    said = twin.result().out
    assert f"StudyInstanceUID already exists in a different session (DD06): {len(series)}" in said
    assert (
        f"SeriesInstanceUID already exists in a different acquisition (DD10): {len(series)}" in said
    )
    assert len(asked(ground, "/uids/projects")) == 2
    after = ground.ask("GET", "/sandbox/record")
    assert before["containers"] == after["containers"]
    (log,) = after["files"][len(before["files"]) :]
    rows = table(content(ground, log["file_id"]))
    for code in ("DD06", "DD10"):
        named = [row["dst_path"] for row in rows if row["error_code"] == code]
        assert len(series) == len(named) == len(set(named))
    assert {"fw://lab/Scans"} == {
        row["conflict_path"] for row in rows if row["error_code"] in ("DD06", "DD10")
    }
