"""A part of a project: selected as it is typed, and nothing follows for the rest (S98, S99)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, grown, plant, stop_watch, until
from tests.house.test_core2018 import Ground2018

TREE = {
    "readme.txt": b"of the project",
    "sub-01/notes.txt": b"of a subject",
    "sub-01/ses-1/T1/scan.nii.gz": b"n1",
    "sub-01/ses-1/T1/scan.dcm": b"d1",
    "sub-01/ses-2/T2/scan.nii.gz": b"n2",
    "sub-02/ses-1/T1/scan.nii.gz": b"n3",
    "sub-02/ses-1/bold/scan.dcm": b"d3",
    "sub-03/ses-1/T1/table.csv": b"t",
}
NIFTI = {path for path in TREE if path.endswith(".nii.gz")}
SUB_01 = {path for path in TREE if path.startswith("sub-01/")}


@pytest.fixture
def project(desk: Desk, label: str, tmp_path: Path) -> str:
    """A project with all of it, sent from a folder that is gone since."""
    source = plant(tmp_path / "source", TREE)
    done = desk.run("push", source, f"lab/{label}", "--json")

    assert 0 == done.code, done
    shutil.rmtree(source)
    return f"lab/{label}"


@pytest.fixture(scope="module")
def shared(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, for tests that only look at it."""
    ground.project("shared")
    place = tmp_path_factory.mktemp("shared")
    desk = Desk(place / "home", ground.key())

    assert 0 == desk.run("push", plant(place / "source", TREE), "lab/shared").code
    for name, mlset in (("sub-01", "Training"), ("sub-02", "Testing")):
        subject = ground.ask("POST", "/lookup", {"path": ["lab", "shared", name]})["_id"]
        ground.ask("PUT", f"/subjects/{subject}", {"mlset": mlset})
        ground.ask("POST", f"/subjects/{subject}/tags", {"value": f"of {name}"})
    return "lab/shared"


def planned(desk: Desk, target: str, folder: Path, *flags: str) -> set[str]:
    """The paths of what a pull would bring; nothing is made for it."""
    done = desk.run("plan", "pull", target, folder, "--json", *flags)

    assert 0 == done.code, done
    assert not folder.exists()
    return {line["path"] for line in done.lines if line["event"] == "decision"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "here"


def file_id(ground: Ground, project: str, path: str) -> str:
    answer = ground.ask("POST", "/lookup", {"path": [*project.split("/"), *_steps(path)]})
    found: str = answer["file_id"]
    return found


def _steps(path: str) -> list[str]:
    *above, name = path.split("/")
    return [*above, "files", name]


def delete(ground: Ground, project: str, path: str) -> None:
    ground.ask("DELETE", f"/files/{file_id(ground, project, path)}")


@pytest.mark.parametrize(
    ("flags", "taken"),
    [
        (["--type", "nifti", "--type", "dicom", "--exclude", "sub-01/"], {
            "sub-02/ses-1/T1/scan.nii.gz", "sub-02/ses-1/bold/scan.dcm",
        }),
        (["--not-type", "dicom", "--not-type", "text", "--not-tag", "none", "--name-regex", "t.b"],
            {"sub-03/ses-1/T1/table.csv"}),
        (["--subject", "sub-0[12]", "--session", "ses-1", "--acquisition", "T1"], {
            "sub-01/ses-1/T1/scan.nii.gz", "sub-01/ses-1/T1/scan.dcm",
            "sub-02/ses-1/T1/scan.nii.gz",
        }),
        (["--where", "type=nifti,name=~^scan", "--modified-after", "2020-01-01"], NIFTI),
        (["--modified-before", "2020-01-01"], set()),
        (["--tag", "none"], set()),
        (["--container-tag", "subject=of sub-01", "--not-mlset", "Testing"], SUB_01),
        (["--mlset", "Training", "--mlset", "Testing", "--not-container-tag", "subject=of sub-02"],
            SUB_01),
    ],
)  # fmt: skip
def test_each_selection_takes_what_it_says(
    flags: list[str], taken: set[str], desk: Desk, shared: str, folder: Path
) -> None:
    assert taken == planned(desk, shared, folder, *flags)


def test_a_selection_is_pulled_and_verified_and_the_rest_comes_later(
    desk: Desk, shared: str, folder: Path
) -> None:
    flags = ["--type", "nifti", "--subject", "sub-0[12]"]
    done = desk.run("pull", shared, folder, "--json", *flags)

    assert (0, 3) == (done.code, done.summary["downloaded"]), done
    assert NIFTI == set(grown(folder))

    again = desk.run("pull", shared, folder, "--json", *flags)
    assert (0, {}) == (again.code, again.moved()), again
    assert 0 == desk.run("verify", folder, *flags).code
    assert 1 == desk.run("verify", folder).code

    rest = desk.run("pull", shared, folder, "--json")
    assert len(TREE) - 3 == rest.summary["downloaded"]
    assert TREE == grown(folder)


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("sub-01/", SUB_01),
        ("sub-02/ses-1/bold", {"sub-02/ses-1/bold/scan.dcm"}),
        ("readme.txt", {"readme.txt"}),
    ],
)
def test_a_path_below_the_project_is_that_part_of_its_tree(
    path: str, taken: set[str], desk: Desk, shared: str, folder: Path
) -> None:
    assert taken == planned(desk, f"fw://{shared}/{path}", folder)


def test_a_file_is_pulled_to_its_place_in_the_tree_and_the_rest_comes_later(
    desk: Desk, shared: str, folder: Path
) -> None:
    path = "sub-01/ses-1/T1/scan.nii.gz"
    done = desk.run("pull", f"{shared}/{path}", folder, "--json")

    assert 0 == done.code, done
    assert {path} == set(grown(folder))
    assert 0 == desk.run("verify", folder, f"{shared}/{path}").code

    rest = desk.run("pull", shared, folder, "--json")
    assert len(TREE) - 1 == rest.summary["downloaded"]
    assert TREE == grown(folder)


def test_the_folder_of_a_part_is_that_of_its_project(desk: Desk, shared: str) -> None:
    done = desk.run("pull", f"{shared}/sub-01/ses-2", "--json")

    assert 0 == done.code, done
    assert {"sub-01/ses-2/T2/scan.nii.gz"} == set(grown(desk.home / shared.partition("/")[2]))


def test_what_is_not_selected_is_never_deleted_nor_read_as_gone(  # S98, S99
    ground: Ground, desk: Desk, project: str, folder: Path
) -> None:
    assert 0 == desk.run("pull", project, folder).code
    delete(ground, project, "sub-01/ses-1/T1/scan.dcm")
    for flags in (["--type", "nifti"], ["--tag", "raw"], ["--subject", "sub-02"]):
        done = desk.run("pull", project, folder, "--delete-down", "--json", *flags)

        assert 0 == done.code, done
        assert 0 == done.summary["deleted"]
    assert TREE == grown(folder)

    done = desk.run("pull", project, folder, "--delete-down", "--json")
    assert 1 == done.summary["deleted"]
    assert TREE.keys() - {"sub-01/ses-1/T1/scan.dcm"} == grown(folder).keys()


def test_what_is_gone_from_a_part_is_deleted_with_that_part_alone(
    ground: Ground, desk: Desk, project: str, folder: Path
) -> None:
    assert 0 == desk.run("pull", project, folder).code
    delete(ground, project, "sub-01/ses-1/T1/scan.dcm")
    delete(ground, project, "sub-02/ses-1/bold/scan.dcm")
    done = desk.run("pull", f"{project}/sub-01", folder, "--delete-down", "--json")

    assert 0 == done.code, done
    assert 1 == done.summary["deleted"]
    assert TREE.keys() - {"sub-01/ses-1/T1/scan.dcm"} == grown(folder).keys()


def test_a_tag_that_comes_and_goes_moves_no_file_that_is_here(
    ground: Ground, desk: Desk, project: str, folder: Path
) -> None:
    path = "sub-01/ses-1/T1/scan.nii.gz"
    tags = f"/files/{file_id(ground, project, path)}/tags"
    ground.ask("PUT", tags, ["raw data"])
    done = desk.run("pull", project, folder, "--tag", "raw data", "--json")
    assert {path} == set(grown(folder)), done

    ground.ask("PUT", tags, ["other"])
    for flags in (["--tag", "raw data"], ["--not-tag", "other", "--type", "dicom"]):
        done = desk.run("pull", project, folder, "--delete-down", "--json", *flags)
        assert 0 == done.code, done
        assert (folder / path).exists()


def test_a_part_costs_the_requests_of_that_part(
    ground: Ground, desk: Desk, shared: str, folder: Path
) -> None:
    ground.forget_requests()
    assert 0 == desk.run("pull", f"{shared}/sub-01", folder).code
    asked = [one for one in ground.requests() if "/files" in one["path"] and "filter" in str(one)]

    assert 1 == len(asked), asked
    assert "parents.subject" in str(asked[0])


@pytest.mark.parametrize(
    ("args", "says"), [(["--where", "type"], "no clause"), (["--modified-after", "soon"], "a day")]
)
def test_a_selection_that_cannot_be_understood_makes_nothing(
    args: list[str], says: str, desk: Desk, shared: str, folder: Path
) -> None:
    done = desk.run("pull", shared, folder, *args)

    assert 2 == done.code
    assert args[0] in done.err
    assert says in done.err
    assert not folder.exists()


@pytest.mark.parametrize("below", ["sub-01/ses-1/nothing", "a/b/c/d/e"])
def test_a_part_that_is_not_there_makes_nothing(
    below: str, desk: Desk, shared: str, folder: Path
) -> None:
    done = desk.run("pull", f"{shared}/{below}", folder)

    assert 2 == done.code
    assert below in done.err
    assert not folder.exists()


def test_a_part_is_for_what_only_comes_down(desk: Desk, shared: str, root: Path) -> None:
    for command in ("push", "sync"):
        done = desk.run(command, root, f"{shared}/sub-01")
        assert (2, True) == (done.code, "GROUP/PROJECT" in done.err), done
    desk.env["FWSYNC_ONLY_TYPES"] = "nifti"
    for command in ("push", "sync"):
        done = desk.run(command, root, shared)
        assert (2, True) == (done.code, "only comes down" in done.err), done


def test_a_watch_that_only_goes_down_keeps_a_part(desk: Desk, shared: str, folder: Path) -> None:
    folder.mkdir()
    desk.env["FWSYNC_ONLY_TYPES"] = "dicom"
    watch = desk.start("watch", folder, f"{shared}/sub-02", "--mode", "down")
    try:
        until((folder / "sub-02/ses-1/bold/scan.dcm").exists, what="it came")
    finally:
        done = stop_watch(watch)

    assert 0 == done.code, done
    assert ["sub-02/ses-1/bold/scan.dcm"] == list(grown(folder))


# ------------------------------------------------------------------------- a site of 2018


OLD = {path: content for path, content in TREE.items() if path != "sub-01/notes.txt"}


@pytest.fixture(scope="module")
def old_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    data = tmp_path_factory.mktemp("old")
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        yield made


@pytest.fixture
def old_desk(old_ground: Ground, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", old_ground.key())


@pytest.fixture
def old_project(old_desk: Desk, tmp_path: Path) -> str:
    source = plant(tmp_path / "source", OLD)
    done = old_desk.run("push", source, f"lab/{tmp_path.name}", "--create-project")

    assert 0 == done.code, done
    shutil.rmtree(source)
    return f"lab/{tmp_path.name}"


def test_a_site_of_2018_has_selections_and_paths_too(
    old_desk: Desk, old_project: str, tmp_path: Path
) -> None:
    t1 = {"sub-01/ses-1/T1/scan.nii.gz", "sub-02/ses-1/T1/scan.nii.gz"}
    cases: list[tuple[str, list[str], set[str]]] = [
        ("", ["--type", "nifti", "--acquisition", "T?", "--session", "ses-1"], t1),
        ("", ["--where", "type=nifti,name=~^scan,size>=2,modified>2020-01-01"], NIFTI),
        ("/sub-01/ses-1/T1/scan.dcm", [], {"sub-01/ses-1/T1/scan.dcm"}),
        ("/readme.txt", [], {"readme.txt"}),
    ]
    for path, flags, taken in cases:
        assert taken == planned(old_desk, f"{old_project}{path}", tmp_path / "here", *flags)


def test_a_site_of_2018_is_not_asked_what_its_lists_do_not_say(
    old_desk: Desk, old_project: str, folder: Path
) -> None:
    done = old_desk.run("pull", old_project, folder, "--where", "info.TE<0.05")

    assert 2 == done.code
    assert "leave empty" in done.err
    assert not folder.exists()


def test_a_site_of_2018_deletes_nothing_that_is_not_selected(
    old_ground: Ground, old_desk: Desk, old_project: str, folder: Path
) -> None:
    assert 0 == old_desk.run("pull", old_project, folder).code
    for flags in (["--type", "dicom"], ["--subject", "sub-02"]):
        done = old_desk.run("pull", old_project, folder, "--delete-down", "--json", *flags)

        assert 0 == done.code, done
        assert {} == done.moved()
    assert OLD == grown(folder)
