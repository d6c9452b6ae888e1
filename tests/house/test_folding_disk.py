"""A disk that has one name for ``a`` and ``A``: exFAT, as it is on most disks that are carried.

It has no hard links, no modes and no files without a name either, so what is done instead of
these is done here, too.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.disks import folding_disk
from tests.house.faults import problems
from tests.house.house import Desk, Ground, Tree, check_state, grown, leftovers, plant
from tests.house.site import Site

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    away = tmp_path_factory.mktemp("disk")
    with folding_disk(away / "mounted", away / "image") as path:
        yield path


@pytest.fixture
def root(disk: Path, label: str) -> Path:
    return disk / label


@pytest.fixture
def site(ground: Ground, label: str) -> Site:
    return Site(ground, label)


def pull(desk: Desk, site: Site, root: Path, *options: str) -> dict[str, int]:
    """Pull without a problem; what was done."""
    done = desk.run("pull", f"lab/{site.label}", root, "--json", *options)
    assert 0 == done.code, str(done)
    assert not [one for one in leftovers(root) if not one.startswith(".fwsync/trash/")]
    return {
        name: done.summary[name]
        for name in ("downloaded", "renamed", "deleted", "adopted", "bytes")
        if done.summary[name]
    }


def check_in_step(desk: Desk, site: Site, root: Path) -> None:
    """Nothing is left to do, and what is here is what is there, byte for byte."""
    assert {} == pull(desk, site, root)
    done = desk.run("verify", root, "--deep")
    assert 0 == done.code, str(done)
    check_state(root)


def test_s88_f84_what_differs_in_case_only_has_names_of_its_own(
    desk: Desk, site: Site, root: Path
) -> None:
    session = site.session(site.subject("s"), "e")
    small, large = (site.make("acquisition", name, session=session) for name in ("t1", "T1"))
    for acquisition, name, content in (
        (small, "f", b"one"),
        (small, "F", b"three"),
        (large, "f", b"two"),
    ):
        site.put("acquisition", acquisition, name, content)

    assert 3 == pull(desk, site, root)["downloaded"]

    here = grown(root)
    assert {b"one", b"two", b"three"} == set(here.values())
    assert 3 == len({path.casefold() for path in here})
    check_in_step(desk, site, root)


def test_s80_a_relabelling_in_case_only_is_a_rename_and_never_a_deletion(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    subject = site.subject("s")
    session = site.session(subject, "ses-a")
    acquisition = site.make("acquisition", "t1", session=session)
    site.put("acquisition", acquisition, "f", b"one")
    site.put("session", session, "note", b"note")
    pull(desk, site, root)
    ground.ask("PUT", f"/sessions/{session}", {"label": "SES-a"})
    ground.ask("PUT", f"/acquisitions/{acquisition}", {"label": "T1"})

    done = desk.run("pull", f"lab/{site.label}", root, "--delete", "--json")

    # Through FUSE a file has another inode under each spelling of its folder: what looks like
    # another file is left for the next run, and reported.
    assert {"s/SES-a/note"} >= problems(done).keys(), str(done)
    assert 2 == done.summary["renamed"] + len(problems(done)), str(done)
    assert (0, 0, 0) == tuple(done.summary[name] for name in ("deleted", "downloaded", "conflicts"))
    assert not {"downloaded", "deleted"} & pull(desk, site, root, "--delete").keys()
    assert {"s/SES-a/T1/f": b"one", "s/SES-a/note": b"note"} == grown(root)
    check_in_step(desk, site, root)


def test_a_file_is_replaced_and_deleted_by_way_of_the_trash(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    away = plant(tmp_path / "away", {"s/e/a/x": b"one", "s/e/a/y": b"gone"})
    project = f"lab/{site.label}"
    assert 0 == desk.run("push", away, project).code
    pull(desk, site, root)
    plant(away, {"s/e/a/x": b"newer"})
    (away / "s/e/a/y").unlink()
    assert 0 == desk.run("push", away, project, "--delete-up").code

    assert {"downloaded": 1, "deleted": 1, "bytes": 5} == pull(desk, site, root, "--delete")

    assert {"s/e/a/x": b"newer"} == grown(root)
    kept = [one for one in (root / ".fwsync/trash").rglob("*") if one.is_file()]
    assert {b"one", b"gone"} == {one.read_bytes() for one in kept}
    check_in_step(desk, site, root)


def test_what_is_edited_here_is_kept_and_goes_up(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    project = f"lab/{site.label}"
    assert 0 == desk.run("push", plant(tmp_path / "away", {"s/e/a/x": b"one"}), project).code
    pull(desk, site, root)
    plant(root, {"s/e/a/x": b"mine"})

    done = desk.run("pull", project, root, "--json")
    assert (1, b"mine") == (done.code, (root / "s/e/a/x").read_bytes()), done
    done = desk.run("sync", root, "--json")
    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    check_in_step(desk, site, root)


def test_large_files_come_in_pieces_and_zips_are_unpacked(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    tree = {
        "s/e/a/large.nii": random.Random(6).randbytes(10_000_000),
        "s/e/a/a.dicom.zip": zipped({"1.dcm": b"one", "deep/2.dcm": b"two"}),
        "s/e/a/b.dicom.zip": zipped({"1.dcm": b"one", "1.DCM": b"other"}),
    }
    project = f"lab/{site.label}"
    assert 0 == desk.run("push", plant(tmp_path / "away", tree), project).code

    done = desk.run("pull", project, root, "--unpack", "--metadata", "--json")

    assert 0 == done.code, str(done)
    here = {path: one for path, one in grown(root).items() if not path.endswith(".flywheel.json")}
    assert {
        "s/e/a/large.nii": tree["s/e/a/large.nii"],
        "s/e/a/b.dicom.zip": tree["s/e/a/b.dicom.zip"],  # its files have one name here
        "s/e/a/a.dicom/1.dcm": b"one",
        "s/e/a/a.dicom/deep/2.dcm": b"two",
    } == here
    again = desk.run("pull", project, root, "--metadata", "--json")
    assert (0, {}) == (again.code, again.moved()), str(again)
    assert 0 == desk.run("verify", root, "--deep").code


def zipped(tree: Tree) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return made.getvalue()
