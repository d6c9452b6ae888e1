"""A folder with a layout of its own, described by a template, and sent by people who may."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.cli.command import Cli, complaint
from tests.conformance.cli.looking import asked, content, entries, find
from tests.conformance.cli.trees import CERVICAL, MRA, nifti, series, sha384, unzipped
from tests.house.house import Ground, plant

pytestmark = pytest.mark.timeout(180)

TEMPLATE = r"""
- pattern: '(?P<subject>S\d+)-(?P<subject.info.site>[a-z]+)'
- pattern: '(?P<session.timestamp>\d{4}-\d\d-\d\dT\d{6}Z)_{session}'
- select:
  - pattern: from-scanner
    scan: dicom
  - pattern: '{acquisition}\.raw'
    packfile_type: zip
    packfile_name: raw.zip
  - pattern: '(?P<acquisition>t\d)'
  - pattern: '.*'
    ignore: true
"""
VISIT = "S7-lyon/2026-01-02T030405Z_visit 1"
RAW = {"ch1.dat": bytes(5000), "ch2.dat": b"\x01\x02" * 3000, "deep/set.ini": b"[a]\nb=1\n"}
T1 = nifti(voxels=16)


def _scanner(tmp_path: Path) -> Path:
    root = plant(tmp_path / "root", {f"{VISIT}/physio.raw/{name}": b for name, b in RAW.items()})
    plant(root / VISIT, {"t1/t1.nii": T1, "scratch/junk.tmp": b"junk", "t1/.hidden": b"x"})
    plant(root / VISIT / "from-scanner", {f"{name}.dcm": b for name, b in series(MRA).items()})
    plant(root / VISIT / "from-scanner", {f"{n}.dcm": b for n, b in series(CERVICAL).items()})
    (tmp_path / "template.yml").write_text(TEMPLATE)
    return root


def _someone(ground: Ground, fw: Path, tmp_path: Path, name: str) -> Cli:
    """A user of the site who was granted nothing, with a key."""
    id_ = f"{name}@sandbox.local"
    ground.ask("POST", "/users", {"_id": id_, "firstname": name.title(), "lastname": "Jones"})
    key = ground.ask("POST", f"/sandbox/users/{id_}/key")["key"]
    return Cli(fw, tmp_path / name, ground.key(secret=key))


@pytest.mark.row(
    "permissions", "permissions-cli", "permissions-rw",
    "roles", "containers-create", "timestamps", "signed-finalize",
)  # fmt: skip
def test_those_who_may_send_and_the_others_are_refused(
    fw: Path, ground: Ground, tmp_path: Path
) -> None:
    root, template = _scanner(tmp_path), tmp_path / "template.yml"
    people = {name: _someone(ground, fw, tmp_path, name) for name in ("chief", "rose", "ron")}
    group = "clinic"
    ground.group(group)
    ground.ask(
        "POST", f"/groups/{group}/permissions", {"_id": "chief@sandbox.local", "access": "admin"}
    )
    held = ground.project("Held", group)
    for name, role in (("rose", "read-write"), ("ron", "read-only")):
        (role_id,) = [one["_id"] for one in ground.ask("GET", "/roles") if one["label"] == role]
        grant = {"_id": f"{name}@sandbox.local", "role_ids": [role_id]}
        ground.ask("POST", f"/projects/{held}/permissions", grant)
    ground.forget_requests()

    def ingest(name: str, project: str) -> tuple[str | Path, ...]:
        told = ("-g", group, "-p", project, "-y", "--no-audit-log")
        return "ingest", "template", template, root, *told

    runs = {
        ("chief", "New"): 0,  # makes the project: admin of the group
        ("rose", "Held"): 0,  # may write where she was given the role
        ("ron", "Held"): 1,
    }
    with ThreadPoolExecutor(3) as pool:
        started = {run: pool.submit(people[run[0]].run, *ingest(*run)) for run in runs}
    done = {run: one.result() for run, one in started.items()}

    assert runs == {run: one.code for run, one in done.items()}, done
    for run, code in runs.items():
        if code == 0:
            assert None is complaint(done[run]), done[run]
            _arrived(ground, group, run[1], f"{run[0]}@sandbox.local")
    assert (
        "User does not have the required permissions (containers_create_hierarchy,"
        " files_create_upload) in 'Held' project" in done["ron", "Held"].out
    )
    labels = {one["label"] for one in ground.ask("GET", f"/groups/{group}/projects")}
    assert {"New", "Held"} == labels
    assert asked(ground, "/roles/{id}")


def _arrived(ground: Ground, group: str, project: str, who: str) -> None:
    """Everything is in its place, sent by the one who was to send it."""
    stored = {one.path: one for one in ground.stored(project)}
    visit = "S7/visit 1"
    zips = {
        f"{visit}/physio/raw.zip": RAW,
        f"{visit}/700 - ANGIO Projected from   C/700 - ANGIO Projected from   C.dicom.zip": {
            f"{name}.dcm": b for name, b in series(MRA).items()
        },
    }
    single = f"{visit}/3 - Cervical OBLI 2/3 - Cervical OBLI 2.dicom"
    assert {*zips, single, f"{visit}/t1/t1.nii"} == set(stored)
    assert sha384(T1) == stored[f"{visit}/t1/t1.nii"].sha384
    assert [sha384(b) for b in series(CERVICAL).values()] == [stored[single].sha384]

    found = find(ground, group, project)
    entry = entries(ground, found["_id"])
    assert {who} == {one["origin"]["id"] for one in entry.values()}
    for path, members in zips.items():
        file = entry[path.rpartition("/")[2]]
        assert len(members) == file["zip_member_count"]
        assert members == unzipped(content(ground, file["file_id"]))
    subject = find(ground, group, project, "S7")
    assert {"site": "lyon"} == subject["info"]
    session = find(ground, group, project, "S7", "visit 1")
    assert "2026-01-02T03:04:05" == session["timestamp"][:19]
