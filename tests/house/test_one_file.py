"""One file by its path to standard output, and files in a zip without the zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.house.faults import faulty, rule
from tests.house.house import Desk, Ground, complains, grounded, grown, plant
from tests.house.site import Site
from tests.house.test_core2018 import Ground2018

SCAN = bytes(range(256)) * 8192
ZIPPED = {"d/one.dcm": b"one" * 700, "d/two.dcm": SCAN[:3000], "three äö.txt": b"3", "empty": b""}


def zip_of(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


TREE = {
    "sub-01/ses-1/T1/scan.nii": SCAN,
    "sub-01/ses-1/T1/x.zip": zip_of(ZIPPED),
    "notes ä.txt": b"of the project",
    "sub-01/ses-1/empty": b"",
}
CONTENT = "**/files/scan.nii"


@pytest.fixture(scope="module", params=["today", "core-2018"])
def ground(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    data = tmp_path_factory.mktemp("sandbox")
    if request.param == "today":
        with grounded(data) as made:
            yield made
        return
    with Ground2018(data, groups=("lab",), switches={"compat": request.param}) as old:
        yield old


@pytest.fixture(scope="module")
def project(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that no test changes."""
    ground.project("stock")
    desk = Desk(tmp_path_factory.mktemp("stock"), ground.key())
    assert desk.run("push", plant(tmp_path_factory.mktemp("sent"), TREE), "lab/stock").code == 0
    return "lab/stock"


def written(desk: Desk, *args: str | Path) -> tuple[int, bytes, str]:
    """Exit code, the bytes on stdout, the text on stderr."""
    desk.home.mkdir(parents=True, exist_ok=True)
    out, err = (process := desk.start(*args)).communicate(timeout=50)
    return process.returncode, out, err.decode()


@pytest.mark.parametrize("path", TREE)
def test_a_file_goes_to_standard_output_and_nothing_else_does(
    desk: Desk, project: str, path: str
) -> None:
    assert written(desk, "pull", f"{project}/{path}", "--to-stdout") == (0, TREE[path], "")
    assert [] == list(desk.home.glob("*"))


def test_the_word_files_may_stand_before_the_name(desk: Desk, project: str) -> None:
    code, out, err = written(desk, "pull", f"fw://{project}/files/notes ä.txt", "--to-stdout")

    assert (code, out) == (0, TREE["notes ä.txt"]), err


@pytest.fixture
def output(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> str:
    """The path of an output of an analysis."""
    assert desk.run("push", plant(tmp_path / "first", {"s/e/a/f": b"f"}), f"lab/{label}").code == 0
    site = Site(ground, label)
    made = ground.ask("POST", f"/projects/{site.project}/analyses", {"label": "fit 1"})["_id"]
    site.put("analyse", made, "fit.csv", b"1,2")  # it adds an s
    return f"lab/{label}/analyses/fit 1/fit.csv"


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_an_output_of_an_analysis_has_a_path_too(desk: Desk, output: str) -> None:
    code, out, err = written(desk, "pull", output, "--to-stdout")

    assert (code, out) == (0, b"1,2"), err


@pytest.mark.parametrize("ground", ["today"], indirect=True)
@pytest.mark.parametrize("spelled", ["{}", "fw://{}", "files"])
def test_an_output_of_an_analysis_comes_into_a_folder(
    desk: Desk, output: str, tmp_path: Path, spelled: str
) -> None:
    path = output.replace("/fit.csv", "/files/fit.csv")
    path = path if spelled == "files" else spelled.format(output)
    folder = tmp_path / "new" / "folder"

    done = desk.run("pull", path, folder, "--json")

    assert (0, ["download"]) == (done.code, [one["verb"] for one in done.lines]), done
    assert {"fit.csv": b"1,2"} == grown(folder)
    before = (folder / "fit.csv").stat()
    again = desk.run("pull", path, folder, "--json")
    assert (0, ["adopt"]) == (again.code, [one["verb"] for one in again.lines]), again
    assert before == (folder / "fit.csv").stat()
    (folder / "fit.csv").write_bytes(b"1;2")
    complains(desk.run("pull", path, folder), 2, "something else is there already")
    assert {"fit.csv": b"1;2"} == grown(folder)
    assert {"fit.csv"} == {one.name for one in folder.iterdir()}  # no part, and no root


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_f28_an_output_of_an_analysis_with_wrong_bytes_is_not_kept(
    ground: Ground, desk: Desk, output: str, tmp_path: Path
) -> None:
    with faulty(ground, rule({"flip_at": 1}, {"path": "**/files/fit.csv"})):
        done = desk.run("pull", output, tmp_path / "to")

    complains(done, 1, "expected", "was not kept")
    assert [] == list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_an_output_of_an_analysis_goes_into_no_folder_that_is_kept_in_step(
    desk: Desk, output: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert desk.run("pull", output.partition("/analyses")[0], root).code == 0
    for folder in (root, root / "s", root / "new"):
        complains(desk.run("pull", output, folder), 2, "is kept in step", "--analyses")
    assert {"s/e/a/f": b"f"} == grown(root)
    assert not (root / "new").exists()


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_of_an_analysis_that_is_not_there_and_of_a_whole_one_it_is_said(
    desk: Desk, output: str, tmp_path: Path
) -> None:
    complains(desk.run("pull", f"{output}x", tmp_path / "to"), 2, "fit.csv")
    whole = output.rpartition("/")[0]
    complains(desk.run("pull", whole, tmp_path / "to"), 2, "is of an analysis", "--analyses")
    complains(desk.run("pull", output, tmp_path / "to", "--delete"), 2, "--delete", hint=False)
    assert not (tmp_path / "to").exists()


def test_f23_a_stream_that_breaks_goes_on_where_it_was(
    ground: Ground, desk: Desk, project: str
) -> None:
    cut = rule({"cut_at": 900_000}, {"path": CONTENT, "times": 1})
    with faulty(ground, cut):
        code, out, err = written(desk, "pull", f"{project}/sub-01/ses-1/T1/scan.nii", "--to-stdout")

    assert (code, out == SCAN) == (0, True), err


def test_f28_wrong_bytes_are_told_by_the_exit_code(
    ground: Ground, desk: Desk, project: str
) -> None:
    wrong = rule({"flip_at": 1000}, {"path": CONTENT})
    with faulty(ground, wrong):
        code, out, err = written(desk, "pull", f"{project}/sub-01/ses-1/T1/scan.nii", "--to-stdout")

    assert (code, len(out)) == (1, len(SCAN)), err
    assert "expected" in err
    assert "throw it away" in err


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_f30_a_file_without_a_hash_is_written_and_that_is_said(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    ground.ask("PATCH", "/sandbox/switches", {"empty_hashes": True})
    try:
        sent = plant(tmp_path / "sent", {"s/e/a/x.nii": b"no hash"})
        assert desk.run("push", sent, f"lab/{label}").code == 0
        code, out, err = written(desk, "pull", f"lab/{label}/s/e/a/x.nii", "--to-stdout")
    finally:
        ground.ask("PATCH", "/sandbox/switches", {"empty_hashes": False})

    assert (code, out) == (0, b"no hash"), err
    assert "only its size was checked" in err


def test_f26_a_stream_that_always_ends_early_is_no_success(
    ground: Ground, desk: Desk, project: str
) -> None:
    short = rule({"cut_at": 10, "cut_with": "end"}, {"path": CONTENT})
    path = f"{project}/sub-01/ses-1/T1/scan.nii"
    with faulty(ground, short):
        code, out, err = written(desk, "pull", path, "--to-stdout", "--patience", "2s")

    assert code != 0, err
    assert out == SCAN[: len(out)]


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_who_reads_no_further_is_no_error_of_ours(desk: Desk, project: str) -> None:
    desk.home.mkdir(parents=True, exist_ok=True)
    process = desk.start("pull", f"{project}/sub-01/ses-1/T1/scan.nii", "--to-stdout")
    assert process.stdout is not None
    assert process.stderr is not None
    with closing(process.stdout), closing(process.stderr):
        assert process.stdout.read(10) == SCAN[:10]
        process.stdout.close()
        err = process.stderr.read()
    assert process.wait(50) == 1
    assert b"" == err


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sub-01/ses-1/T1/none.nii", "none.nii"),
        ("sub-01/ses-1/T1", "is no file"),
        ("sub-09/ses-1/T1/scan.nii", "or the key may not see it"),
    ],
)
def test_what_is_no_file_is_said(desk: Desk, project: str, path: str, said: str) -> None:
    done = desk.run("pull", f"{project}/{path}", "--to-stdout")

    complains(done, 2, said)
    assert done.out == ""


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_what_is_no_path_of_a_file_is_said(desk: Desk, project: str) -> None:
    complains(desk.run("pull", project, "--to-stdout"), 2, "no path of a file")


@pytest.mark.parametrize("ground", ["today"], indirect=True)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("there",), "writes no file"),
        (("--json",), "no JSON"),
        (("--delete-down",), "--delete-down is about a whole project"),
        (("--type", "nifti"), "--type is about a whole project"),
        (("--metadata",), "--metadata is about a whole project"),
        (("--dry-run",), "--dry-run is about a whole project"),
        (("--member", "a", "--member", "b"), "run into each other"),
    ],
)
def test_what_does_not_go_with_one_file_is_refused(
    desk: Desk, more: tuple[str, ...], said: str
) -> None:
    done = desk.run("pull", "lab/x/y.nii", "--to-stdout", *more)

    complains(done, 2, said, hint=False)


# ------------------------------------------------------------------------------ zip members


def test_a_zip_is_listed_where_it_lies(ground: Ground, desk: Desk, project: str) -> None:
    ground.forget_requests()
    done = desk.run("ls", f"{project}/sub-01/ses-1/T1/x.zip", "--members", "--json")

    assert done.code == 0, done
    assert {one["path"]: one["size"] for one in done.lines} == {
        name: len(content) for name, content in ZIPPED.items()
    }
    asked = [one for one in ground.requests() if one["path"].endswith("/files/x.zip")]
    assert asked
    assert all("info=" in one["query"] for one in asked), asked


@pytest.mark.parametrize("name", ZIPPED)
def test_one_member_goes_to_standard_output(desk: Desk, project: str, name: str) -> None:
    zipped = f"{project}/sub-01/ses-1/T1/x.zip"

    assert written(desk, "pull", zipped, "--member", name, "--to-stdout") == (0, ZIPPED[name], "")


def test_members_come_into_a_folder_and_replace_nothing(
    desk: Desk, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    zipped = f"{project}/sub-01/ses-1/T1/x.zip"
    names = ("d/one.dcm", "three äö.txt", "empty")
    options = [part for name in names for part in ("--member", name)]

    done = desk.run("pull", zipped, folder, *options)

    assert done.code == 0, done
    assert grown(folder) == {name: ZIPPED[name] for name in names}
    (tmp_path / "by-the-umask").touch()
    assert {one.stat().st_mode for one in (tmp_path / "by-the-umask", folder / "empty")} == {
        (tmp_path / "by-the-umask").stat().st_mode
    }
    again = desk.run("pull", zipped, folder, *options, "--json")
    assert again.code == 0, again
    assert ["adopt"] * 3 == [one["verb"] for one in again.lines]
    for mine in (b"mine", b"mine" * 525):  # another length; and the same one with other bytes
        (folder / "d/one.dcm").write_bytes(mine)
        again = desk.run("pull", zipped, folder, "--member", "d/one.dcm")
        complains(again, 2, "something else is there already")
        assert (folder / "d/one.dcm").read_bytes() == mine
    assert len(list(folder.iterdir())) == 3  # no part is left


def test_a_member_that_is_not_there_is_said(desk: Desk, project: str, tmp_path: Path) -> None:
    path = f"{project}/sub-01/ses-1/T1"
    done = desk.run("pull", f"{path}/x.zip", tmp_path / "to", "--member", "d/none")
    complains(done, 2, "is not in it")
    complains(desk.run("ls", f"{path}/scan.nii", "--members"), 2, "no zip", "--member")
    complains(desk.run("pull", f"{path}/scan.nii", "new", "--member", "x"), 2, "no zip")
    assert not (desk.home / "new").exists()


@pytest.mark.parametrize("ground", ["today"], indirect=True)
@pytest.mark.parametrize("name", ["../out", "/etc/out", "d/../../out", ".fwsync/x"])
def test_f81_a_member_that_leads_out_of_the_folder_is_refused(
    desk: Desk, label: str, tmp_path: Path, name: str
) -> None:
    tree = {"s/e/a/bad.zip": zip_of({name: b"out", "good": b"in"})}
    assert desk.run("push", plant(tmp_path / "bad", tree), f"lab/{label}").code == 0
    folder = tmp_path / "deep" / "to"

    done = desk.run("pull", f"lab/{label}/s/e/a/bad.zip", folder, "--member", name)

    complains(done, done.code, name.rpartition("/")[2], hint=False)
    assert done.code != 0
    assert {} == grown(tmp_path / "deep")


@pytest.mark.parametrize("ground", ["today"], indirect=True)
def test_i10_a_member_does_not_go_through_a_link(desk: Desk, project: str, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "to"
    elsewhere.mkdir()
    folder.mkdir()
    (folder / "d").symlink_to(elsewhere)

    zipped = f"{project}/sub-01/ses-1/T1/x.zip"
    done = desk.run("pull", zipped, folder, "--member", "d/one.dcm")

    assert done.code != 0
    assert "Traceback" not in done.err
    assert [] == list(elsewhere.iterdir())
