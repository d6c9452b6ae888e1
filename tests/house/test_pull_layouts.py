"""Layouts for what comes down, by the real command: the full form, templates, packs, BIDS."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, complains, grown, plant, record_of
from tests.house.site import Site

PLAIN = {
    "README.md": b"of the project",
    "s/notes.txt": b"of the subject",
    "s/e/notes.txt": b"of the session",
    "s/e/a/f": b"of the acquisition",
    "s/e/a%2Fb/f": b"an odd label",
}
FULL = {
    "FILES/README.md": b"of the project",
    "SUBJECTS/s/FILES/notes.txt": b"of the subject",
    "SUBJECTS/s/SESSIONS/e/FILES/notes.txt": b"of the session",
    "SUBJECTS/s/SESSIONS/e/ACQUISITIONS/a/FILES/f": b"of the acquisition",
    "SUBJECTS/s/SESSIONS/e/ACQUISITIONS/a%2Fb/FILES/f": b"an odd label",
}


@pytest.fixture
def site(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> Site:
    """A project with a file at each level."""
    assert 0 == desk.run("push", plant(tmp_path / "first", PLAIN), f"lab/{label}").code
    return Site(ground, label)


def paths(ground: Ground, label: str) -> list[str]:
    return [one[0] for one in record_of(ground, label)]


def test_the_full_form_comes_down_and_what_changes_in_it_goes_up_again(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{site.label}"
    done = desk.run("pull", target, root, "--layout", "full", "--json")
    assert (0, len(FULL)) == (done.code, done.summary["downloaded"]), done
    assert FULL == grown(root)
    again = desk.run("pull", target, root, "--json")
    assert (0, {}) == (again.code, again.moved()), again

    deep = "SUBJECTS/s/SESSIONS/e/ACQUISITIONS"
    plant(root, {f"{deep}/a/FILES/f": b"changed", f"{deep}/new/FILES/g": b"new"})
    pushed = desk.run("push", root, target, "--json")
    assert (0, 2) == (pushed.code, pushed.summary["uploaded"]), pushed
    assert {"s/e/a/f", "s/e/new/g"} <= set(paths(site.ground, site.label))
    synced = desk.run("sync", root, target, "--json")
    assert (0, {}) == (synced.code, synced.moved()), synced
    assert 0 == desk.run("verify", root, "--json").code


def test_twins_of_any_layout_have_folders_of_their_own(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    """S88."""
    session = site.session(site.subject("t"), "e")
    one, two = (site.make("acquisition", "a", session=session) for _ in range(2))
    site.put("acquisition", one, "f", b"one")
    site.put("acquisition", two, "f", b"two")

    for number, (layout, folder) in enumerate(
        (
            ("full", "SUBJECTS/t/SESSIONS/e/ACQUISITIONS/{}/FILES/f"),
            ("{sub}/{ses}-{acq}/{file}", "t/e-{}/f"),
        )
    ):
        root = tmp_path / str(number)
        done = desk.run("pull", f"lab/{site.label}", root, "--layout", layout, "--json")
        assert b"one" == (root / folder.format("a")).read_bytes(), done
        assert b"two" == (root / folder.format(f"a%id={two}")).read_bytes()
        again = desk.run("pull", f"lab/{site.label}", root, "--json")
        assert again.summary["downloaded"] == again.summary["bytes"] == 0, again

        plant(root, {folder.format(f"a%id={two}"): str(number).encode()})
        sent = desk.run("sync", root, f"lab/{site.label}", "--json")
        assert 1 == sent.summary["uploaded"], sent
        assert str(number).encode() == site.content(two, "f")
        site.put("acquisition", two, "f", b"two")


def test_another_form_is_refused_once_files_are_in_step(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{site.label}"
    assert 0 == desk.run("pull", target, root, "--layout", "full").code

    other = desk.run("pull", target, root, "--layout", "{subject}/{session}/{acquisition}/{file}")

    complains(other, 2, "5 files are in step by --layout full, and this is the plain layout")
    template = "{sub}/{ses}_{acq}_{file}"
    other = desk.run("pull", target, root, "--layout", template, "--pack", "*.dcm=dicom")
    said = f"by --layout full, and this is --layout '{template}' --pack '*.dcm=dicom'"
    complains(other, 2, said)
    assert FULL == grown(root)


def test_a_template_names_files_by_their_containers(desk: Desk, site: Site, tmp_path: Path) -> None:
    root, target = tmp_path / "root", f"lab/{site.label}"
    done = desk.run("pull", target, root, "--layout", "{sub}/{ses}_{acq}_{file}", "--json")

    there = {"s/e_a_f": b"of the acquisition", "s/e_a%2Fb_f": b"an odd label"}
    assert there == grown(root), done
    assert (1, 3) == (done.code, done.summary["problems"]), done
    left = {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}
    assert {"README.md", "s/notes.txt", "s/e/notes.txt"} == left.keys()
    assert {"no path of this layout leads to it"} == set(left.values())
    again = desk.run("pull", target, root, "--json")
    assert 0 == again.summary["downloaded"] + again.summary["deleted"], again


def zipped(tree: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return made.getvalue()


SLICES = {"1.dcm": b"one", "deep/2.dcm": b"two"}
OTHERS = {"broken.dicom.zip": b"no zip", "notes.zip": zipped({"a": b"a"}), "x.nii": b"x"}


@pytest.fixture
def series(site: Site) -> str:
    """An acquisition with zips in it; its id."""
    acquisition = site.make("acquisition", "T1", session=site.session(site.subject("t"), "e"))
    site.put("acquisition", acquisition, "3 - T1.dicom.zip", zipped(SLICES))
    for name, content in OTHERS.items():
        site.put("acquisition", acquisition, name, content)
    return acquisition


@pytest.mark.parametrize(
    ("layout", "folder"),
    [((), "t/e/T1"), (("--layout", "full"), "SUBJECTS/t/SESSIONS/e/ACQUISITIONS/T1/FILES")],
)
def test_zips_of_dicom_are_folders_here_and_one_file_there(
    desk: Desk, site: Site, series: str, tmp_path: Path, layout: tuple[str, ...], folder: str
) -> None:
    root, target = tmp_path / "root", f"lab/{site.label}"
    done = desk.run("pull", target, root, "--unpack", *layout, "--json")
    here = {path.removeprefix(f"{folder}/"): content for path, content in grown(root).items()}
    unpacked = {f"3 - T1.dicom/{name}": content for name, content in SLICES.items()}
    assert 0 == done.code, done
    assert unpacked | OTHERS == {name: here[name] for name in unpacked | OTHERS}
    assert "3 - T1.dicom.zip" not in here

    again = desk.run("pull", target, root, "--json")
    assert (0, {}) == (again.code, again.moved()), again
    assert 0 == desk.run("verify", root).code
    plant(root, {f"{folder}/3 - T1.dicom/3.dcm": b"three"})
    sent = desk.run("sync", root, target, "--json")
    assert (0, 1) == (sent.code, sent.summary["uploaded"]), sent
    with zipfile.ZipFile(io.BytesIO(site.content(series, "3%20-%20T1.dicom.zip"))) as archive:
        assert {*SLICES, "3.dcm"} == set(archive.namelist())


def test_whether_zips_are_unpacked_stays_with_the_folder(
    desk: Desk, site: Site, series: str, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{site.label}"
    assert 0 == desk.run("pull", target, root, "--unpack").code

    complains(desk.run("pull", target, root, "--keep-zips"), 2, "are in step by")
    complains(desk.run("pull", target, root, "--unpack", "--keep-zips"), 2, "contradict")
    kept = tmp_path / "kept"
    (tmp_path / "fwsync.toml").write_text("unpack = true")
    config = ("--config", tmp_path / "fwsync.toml")
    assert 0 == desk.run("pull", target, kept, "--keep-zips", *config).code
    assert "t/e/T1/3 - T1.dicom.zip" in grown(kept)
    assert 0 == desk.run("pull", target, kept).code
    complains(desk.run("pull", target, kept, "--unpack"), 2, "in step by the plain layout")


def test_two_files_for_one_place_are_told_and_the_other_is_left(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    session = site.session(site.subject("t"), "e")
    for label, name in (("a", "b_c"), ("a_b", "c")):
        site.put("acquisition", site.make("acquisition", label, session=session), name, b"x")
    root = tmp_path / "root"

    done = desk.run(
        "pull", f"lab/{site.label}", root, "--layout", "{sub}/{ses}/{acq}_{file}", "--json"
    )

    assert b"x" == (root / "t/e/a_b_c").read_bytes()
    left = {one["path"] for one in done.lines if one["event"] == "problem"}
    assert "t/e/a_b/c" in left, done


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{subject}/{acquisition}_{file}", "names the acquisition, but not the session"),
        ("{subject}/**/{session}/{acquisition}/{file}", "leads to the server only"),
        ("fulll", "is not a layout"),
    ],
)
def test_a_template_that_cannot_be_turned_round_is_refused_before_the_first_byte(
    desk: Desk, site: Site, tmp_path: Path, template: str, said: str
) -> None:
    site.ground.forget_requests()
    done = desk.run("pull", f"lab/{site.label}", tmp_path / "root", "--layout", template)

    complains(done, 2, said)
    assert "--session" not in done.err, "on the way down it selects, and gives no label"
    assert [] == site.ground.requests()
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("layout", ["full", "{sub}/{ses}/{acq}/raw/{file}"])
def test_a_relabelled_session_is_renamed_in_any_layout_with_its_twins_and_packs(
    desk: Desk, ground: Ground, label: str, tmp_path: Path, layout: str
) -> None:
    site, root, target = Site(ground, label), tmp_path / "root", f"lab/{label}"
    session = site.session(site.subject("s"), "before")
    one, two = (site.make("acquisition", "a", session=session) for _ in range(2))
    site.put("acquisition", one, "1.dicom.zip", zipped(SLICES))
    site.put("acquisition", two, "f", b"of the twin")
    assert 0 == desk.run("pull", target, root, "--layout", layout, "--unpack").code
    came = grown(root)
    assert 3 == len(came)
    ground.ask("PUT", f"/sessions/{session}", {"label": "after"})

    done = desk.run("pull", target, root, "--json")

    assert (0, {}, 2) == (done.code, done.moved(), done.summary["renamed"]), done
    assert {path.replace("before", "after"): content for path, content in came.items()} == grown(
        root
    )
    assert {} == desk.run("pull", target, root, "--json").moved()


# ------------------------------------------------------------------------------- curated projects


def curated(site: Site, acquisition: str, name: str, path: str, file: str, **more: object) -> None:
    """A file as a curation gear leaves it."""
    told = {"Path": path, "Filename": file, "Folder": "anat", "valid": True, **more}
    body = {"set": {"BIDS": told}}
    site.ground.content("PATCH", f"/acquisitions/{acquisition}/files/{name}/info", body)


class Curated(Site):
    """A project whose labels are a scanner's, and whose files are curated for BIDS."""

    def __init__(self, ground: Ground, label: str) -> None:
        super().__init__(ground, label)
        self.subject_id = self.subject("P 01")
        self.scan = self.session(self.subject_id, "2024-02-01")
        self.t1 = self.file("T1 MPRAGE", "1_T1.nii.gz", b"t1")
        curated(self, self.t1, "1_T1.nii.gz", "sub-01/ses-1/anat", "sub-01_ses-1_T1w.nii.gz")
        self.put("acquisition", self.t1, "1_T1.dicom.zip", b"not curated")
        self.rest = self.file("rest", "2.nii.gz", b"rest")
        curated(
            self, self.rest, "2.nii.gz", "sub-01/ses-1/func", "sub-01_ses-1_task-rest_bold.nii.gz"
        )
        phoenix = self.file("Phoenix", "x.nii", b"ignored")
        curated(self, phoenix, "x.nii", "sub-01/x", "x.nii", ignore=True)
        whole = self.file("Localizer", "loc.nii", b"of an ignored acquisition")
        curated(self, whole, "loc.nii", "sub-01/ses-1/anat", "loc.nii")
        ground.content("PATCH", f"/acquisitions/{whole}/info", {"set": {"BIDS": {"ignore": True}}})
        source = self.file("Source", "s.nii", b"source")
        curated(self, source, "s.nii", "sourcedata/sub-01", "s.nii")
        self.put("project", self.project, "README", b"read me")
        self.put("project", self.project, "budget.xlsx", b"of the project, not curated")

    def file(self, acquisition: str, name: str, content: bytes) -> str:
        """A file in an acquisition of its own."""
        id_ = self.make("acquisition", acquisition, session=self.scan)
        self.put("acquisition", id_, name, content)
        return id_


BIDS = {
    "README": b"read me",
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz": b"t1",
    "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz": b"rest",
}


@pytest.fixture
def project(ground: Ground, label: str) -> Curated:
    return Curated(ground, label)


def test_a_curated_project_comes_down_by_its_curation(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{project.label}"
    done = desk.run("pull", target, root, "--layout", "bids")
    assert 0 == done.code, done
    assert BIDS == grown(root)
    left = [line for line in done.err.splitlines() if "left out" in line]
    assert 3 == len(left), done
    assert "not curated for BIDS: P 01/2024-02-01/T1 MPRAGE/1_T1.dicom.zip, and 1 more" in done.err
    assert "marked as ignored in BIDS: P 01/2024-02-01/Localizer/loc.nii, and 1 more" in done.err
    assert "source data in BIDS" in done.err

    again = desk.run("pull", target, root, "--json")
    assert (0, {}) == (again.code, again.moved()), again
    verified = desk.run("verify", root)
    assert 0 == verified.code, verified


def test_what_is_edited_in_a_curated_tree_goes_back_to_its_file(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{project.label}"
    assert 0 == desk.run("pull", target, root, "--layout", "bids").code
    plant(root, {"sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz": b"edited"})

    done = desk.run("sync", root, target, "--json")

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert b"edited" == project.content(project.t1, "1_T1.nii.gz")
    assert {} == desk.run("push", root, "--json").moved()


def test_two_files_curated_for_one_place_are_told_and_the_first_keeps_it(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{project.label}"
    assert 0 == desk.run("pull", target, root, "--layout", "bids").code
    other = project.file("A second T1", "1.nii.gz", b"other")
    curated(project, other, "1.nii.gz", "sub-01/ses-1/anat", "sub-01_ses-1_T1w.nii.gz")

    done = desk.run("pull", target, root, "--json")

    assert BIDS == grown(root)
    said = {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}
    assert {"P 01/2024-02-01/A second T1/1.nii.gz"} == said.keys(), done
    assert "1_T1.nii.gz' would be" in said.popitem()[1]
    assert 1 == done.summary["problems"], done


def test_a_file_that_is_curated_anew_stays_until_it_is_moved(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{project.label}"
    assert 0 == desk.run("pull", target, root, "--layout", "bids").code
    new = "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz"
    curated(project, project.t1, "1_T1.nii.gz", *new.rsplit("/", 1))

    done = desk.run("pull", target, root, "--json")
    assert (1, {"problems": 1}) == (done.code, done.moved()), done
    assert BIDS == grown(root)

    (root / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz").rename(root / new)
    moved = desk.run("pull", target, root, "--json")
    assert (0, {}) == (moved.code, moved.moved()), moved


def test_a_relabelled_acquisition_costs_a_curated_tree_nothing(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    root, target = tmp_path / "root", f"lab/{project.label}"
    assert 0 == desk.run("pull", target, root, "--layout", "bids").code
    project.ground.ask("PUT", f"/acquisitions/{project.t1}", {"label": "T1 again"})

    done = desk.run("pull", target, root, "--json")

    assert (0, 0) == (done.code, done.summary["bytes"]), done
    assert BIDS == grown(root)
    assert {} == desk.run("pull", target, root, "--json").moved()


@pytest.mark.parametrize(
    "path", ["../out", "/etc", "sub-01/../..", "a\nb", "sub-01/.fwsync", "sub-01//x", "x" * 300]
)
def test_a_curation_that_leads_elsewhere_is_refused_and_told(
    desk: Desk, project: Curated, tmp_path: Path, path: str
) -> None:
    bad = project.file("bad", "bad.nii", b"bad")
    curated(project, bad, "bad.nii", path, "x.nii")
    root = tmp_path / "in" / "root"

    done = desk.run("pull", f"lab/{project.label}", root, "--layout", "bids", "--json")

    said = {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}
    if path == "/etc":  # below the root, as every path is
        assert b"bad" == (root / "etc/x.nii").read_bytes()
        return
    assert {"P 01/2024-02-01/bad/bad.nii"} == said.keys(), done
    assert BIDS == grown(root)
    assert ["root"] == [one.name for one in root.parent.iterdir()]


def test_a_curated_project_says_what_it_is_and_that_file_takes_no_part(
    desk: Desk, project: Curated, tmp_path: Path
) -> None:
    said = {"Name": "Aging", "BIDSVersion": "1.8.0", "Authors": ["A", "B"], "Licence": ""}
    told = {**said, "template": "reproin", "rule_id": "x"}
    where = f"/projects/{project.project}/info"
    project.ground.content("PATCH", where, {"set": {"BIDS": told}})
    root, target = tmp_path / "root", f"lab/{project.label}"
    file = root / "dataset_description.json"

    plan = desk.run("plan", "pull", target, root, "--layout", "bids")
    assert not file.exists(), plan
    assert 0 == desk.run("pull", target, root, "--layout", "bids").code
    del said["Licence"]
    assert said == json.loads(file.read_text())
    again = desk.run("sync", root, target, "--json")
    assert (0, {}) == (again.code, again.moved()), again
    verified = desk.run("verify", root)
    assert 0 == verified.code, verified

    project.ground.content("PATCH", where, {"set": {"BIDS": told | {"Name": "Ageing"}}})
    assert 0 == desk.run("pull", target, root).code
    assert "Ageing" == json.loads(file.read_text())["Name"]
    file.write_text("{}")
    assert 0 == desk.run("pull", target, root).code
    assert "{}" == file.read_text()
    assert BIDS == {path: content for path, content in grown(root).items() if path != file.name}


def test_a_project_that_is_not_curated_comes_down_by_labels_and_names(
    desk: Desk, ground: Ground, label: str, tmp_path: Path
) -> None:
    path = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    tree = plant(tmp_path / "bids", {path: b"t1"})
    assert 0 == desk.run("push", tree, f"lab/{label}", "--layout", "bids").code
    site = Site(ground, label)
    other = site.make("acquisition", "T1", session=site.session(site.subject("s"), "e"))
    site.put("acquisition", other, "x.nii", b"x")
    root = tmp_path / "root"

    done = desk.run("pull", f"lab/{label}", root, "--layout", "bids", "--json")

    assert {path: b"t1"} == grown(root)
    said = {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}
    why = "the project is not curated; 2 of 2 files lack info.BIDS"
    assert (1, {"s/e/T1/x.nii": f"it has no place in BIDS: {why}"}) == (done.code, said), done
    assert 2 == done.summary["bytes"], done


def test_of_a_project_that_is_not_curated_it_is_said_once(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    root = tmp_path / "root"

    done = desk.run("pull", f"lab/{site.label}", root, "--layout", "bids")

    (line,) = [one for one in done.out.splitlines() if "problem: " in one]
    assert "s/e/a%2Fb/f: it and 3 more files have no place in BIDS" in line
    assert "the project is not curated; 5 of 5 files lack info.BIDS (have it curated" in line
    assert (1, {"README.md": b"of the project"}) == (done.code, grown(root)), done
    again = desk.run("pull", f"lab/{site.label}", root, "--json")
    assert (1, {"problems": 1}) == (again.code, again.moved()), again


@pytest.mark.parametrize("layout", ["full", "bids"])
@pytest.mark.parametrize("flags", [("--no-sessions",), ("--no-subjects",), ("--root-dirs", "1")])
def test_what_would_do_nothing_beside_a_form_is_refused(
    desk: Desk, site: Site, tmp_path: Path, layout: str, flags: tuple[str, ...]
) -> None:
    root = tmp_path / "root"

    done = desk.run("pull", f"lab/{site.label}", root, "--layout", layout, *flags)

    complains(done, 2, f"{flags[0]} does nothing beside the layout {layout}")
    assert not root.exists()


def test_where_no_folder_names_the_session_it_is_called_like_its_subject(
    desk: Desk, ground: Ground, label: str, tmp_path: Path
) -> None:
    site = Site(ground, label)
    both = site.make("acquisition", "a", session=site.session(site.subject("s"), "s"))
    site.put("acquisition", both, "f", b"f")
    root = tmp_path / "root"
    flags = ("--layout", "{subject}/{acquisition}_{file}", "--no-sessions", "--json")

    done = desk.run("pull", f"lab/{label}", root, *flags)

    assert (0, {"s/a_f": b"f"}) == (done.code, grown(root)), done
    again = desk.run("pull", f"lab/{label}", root, "--json")
    assert (0, {}) == (again.code, again.moved()), again
