"""What a slip is told: what happened, what was expected, what was meant; and nothing is made."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import ROOT, Desk, Ground, complains, finish, grown, plant, until
from tests.house.test_core2018 import Ground2018

TREE = {
    "readme.txt": b"of the project",
    "sub-01/ses-1/T1/scan.nii.gz": b"n1",
    "sub-01/ses-1/T1/scan.dcm": b"d1",
    "sub-02/ses-1/T2/scan.nii.gz": b"n2",
}


@pytest.fixture(scope="module")
def site(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """It has a project ``lab/aging`` with all of it."""
    ground.project("aging")
    _send(ground, tmp_path_factory.mktemp("sent"))
    return ground


@pytest.fixture(scope="module")
def site_2018(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    data = tmp_path_factory.mktemp("site-2018")
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        _send(made, tmp_path_factory.mktemp("sent-2018"), "--create-project")
        yield made


def _send(ground: Ground, folder: Path, *flags: str) -> None:
    done = Desk(folder / "home", ground.key()).run(
        "push", plant(folder / "source", TREE), "lab/aging", *flags
    )
    assert 0 == done.code, done


@pytest.fixture
def desk(site: Ground, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", site.key())


@pytest.fixture
def desk_2018(site_2018: Ground, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home-2018", site_2018.key())


def test_a_label_that_is_not_there_is_refused_and_nothing_is_made(
    desk: Desk, desk_2018: Desk
) -> None:
    for one in (desk, desk_2018):
        done = one.run("pull", "lab/aging", "here", "--subject", "sub-1", "--subject", "sub-02")
        complains(done, 2, "--subject: no subject is called 'sub-1'", "did you mean sub-01")

        deeper = ("--subject", "sub-0*", "--session", "ses-1", "--acquisition", "t3")
        done = one.run("pull", "lab/aging", "here", *deeper)
        complains(done, 2, "no acquisition in what else is selected is called 't3'", "T1", "T2")
        assert [] == sorted(path.name for path in one.home.iterdir() if path.name == "here")


def test_a_refusal_takes_nothing_away_that_was_there(desk: Desk) -> None:
    assert 0 == desk.run("pull", "lab/aging", "here").code
    (desk.home / "mine").mkdir()
    for folder, there in (("here", TREE), ("mine", {})):
        assert 2 == desk.run("pull", "lab/aging", folder, "--subject", "sub-1").code
        assert there == grown(desk.home / folder)
    assert 0 == desk.run("verify", "here").code


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--type", "niftii"], "--type: no file has the type 'niftii' (did you mean nifti?)"),
        (["--tag", "raw"], "--tag: no file has the tag 'raw'"),
        (["--subject", "pat-*"], "--subject: no subject fits 'pat-*' (there is sub-01, sub-02)"),
        (["--name-regex", "zz"], "--name-regex: no file has a name with 'zz' in it"),
        (["--where", "type=nifti,size>1000"], "--where: no file has size>1000"),
        (["--modified-before", "2001-01-01"], "--modified-before: no file has been left as it was"),
        (["--modified-after", "2900-01-01"], "--modified-after: no file has changed on the server"),
        (["--type", "nifti", "--name-regex", "dcm"], "selected: none fits all that is asked for"),
        (["--include", "*.xyz"], "--include: no file on the server fits '*.xyz'"),
    ],
)
def test_what_nothing_fits_is_named_and_the_run_is_in_step(
    flags: list[str], says: str, desk: Desk, desk_2018: Desk
) -> None:
    for one in (desk, desk_2018):
        done = one.run("pull", "lab/aging", "here", *flags)

        assert 0 == done.code, done
        assert f"warning: {says}" in done.err.replace("no file on the server is ", ""), done


def test_what_is_said_of_containers_is_named_too(desk: Desk) -> None:
    for flag, value, says in (
        ("--mlset", "Training", "--mlset: no subject is in Training"),
        ("--container-tag", "session=raw", "--container-tag: no session has the tag 'raw'"),
    ):
        done = desk.run("pull", "lab/aging", "here", flag, value)
        assert 0 == done.code, done
        assert f"warning: {says}" in done.err, done


def test_an_empty_project_is_said_to_be_empty(ground: Ground, desk: Desk, label: str) -> None:
    done = desk.run("pull", f"lab/{label}", "here", "--type", "nifti")

    assert 0 == done.code, done
    assert "warning: no file on the server is selected: there is none" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pull ./dir lab/aging", ["./dir: is the path of a folder", "fwsync pull lab/aging ./dir"]),
        ("pull dir lab/aging", ["dir: no project", "dir is a folder here"]),
        ("pull lab/aging fw://lab/aging", ["address of Flywheel; expected a folder"]),
        ("pull lab", ["lab: is a group; expected one of its projects", "lab/aging"]),
        ("pull", ["belongs to no project yet", "did you mean ", "kept, which is in step with"]),
        ("pull lab/aging/sub-1", ["lab/aging has no 'sub-1'", "did you mean sub-01"]),
        ("pull lab/aging/sub-01/ses1/T1 x", ["lab/aging/sub-01 has no 'ses1'", "ses-1?"]),
        ("pull lab/aging/sub-01/ses-1/T1/scan.nii x", ["has no 'scan.nii'", "scan.nii.gz"]),
        ("pull lab/aging/sub-01/ses-1/T1/x/y x", ["lab/aging/sub-01/ses-1/T1 has no 'x'"]),
        ("ls lab/agin", ["lab has no 'agin'", "did you mean aging"]),
        ("ls lob", ["there is no group 'lob'", "did you mean lab?"]),
        ("pull lab/aging x --where typ=nifti", ["no file has a field 'typ'", "did you mean type?"]),
        ("pull lab/aging x --where size>10MB", ["size is compared with '10MB'", "of bytes"]),
    ],
)
def test_a_slip_is_told_what_was_meant(words: str, says: list[str], desk: Desk) -> None:
    (desk.home / "dir").mkdir(parents=True)
    if words == "pull":
        assert 0 == desk.run("pull", "lab/aging", "kept").code
    before = sorted(desk.home.iterdir())

    complains(desk.run(*words.split()), 2, *says)
    assert before == sorted(desk.home.iterdir())


def test_a_folder_spelled_like_one_that_is_kept_already_is_noted(desk: Desk) -> None:
    assert 0 == desk.run("pull", "lab/aging", "data").code
    done = desk.run("pull", "lab/aging", "dat")

    assert 0 == done.code, done
    assert "dat: is not there yet; data is in step with lab/aging already" in done.err
    assert "is not there yet" not in desk.run("pull", "lab/aging", "dat").err


def test_folders_of_others_that_may_not_be_looked_into_are_passed_over(desk: Desk) -> None:
    for name, content in (("dad", b""), ("day", b"\xff\xff")):
        plant(desk.home, {f"{name}/.fwsync/remotes": content})
    (desk.home / "dad/.fwsync/remotes").chmod(0)
    (desk.home / "dab").mkdir(0)

    done = desk.run("pull", "lab/aging", "dat", as_user=os.geteuid() == 0)

    assert 0 == done.code, done
    assert "belongs to no project" in desk.run("pull", as_user=os.geteuid() == 0).err


def test_a_problem_of_the_whole_project_has_no_empty_path(site: Ground, desk: Desk) -> None:
    rule = {"id": "no-list", "match": {"path": "**/subjects"}, "action": {"status": 403}}
    site.ask("POST", "/sandbox/faults", [rule])
    try:
        done = desk.run("pull", "lab/aging", "here")
    finally:
        site.ask("DELETE", "/sandbox/faults")

    assert 0 != done.code, done
    assert "problem: " in done.out + done.err
    assert ": .:" not in done.out + done.err
    assert ": .:" not in desk.run("status", "here").out


def test_ctrl_c_is_answered_without_a_terminal_and_status_says_so(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    large = plant(tmp_path / "large", {"s/e/a/large.bin": bytes(2_000_000)})
    assert 0 == desk.run("push", large, f"lab/{label}").code
    process = desk.start("pull", f"lab/{label}", "here", "--bwlimit", "50k")
    try:
        under_way = ", under way"
        until(lambda: under_way in desk.run("status", "here").out, what="the pull has begun")
    finally:
        process.send_signal(signal.SIGINT)
        done = finish(process)

    assert 130 == done.code, done
    assert "stopped: what is done stays done" in done.err
    assert ", stopped by Ctrl-C" in desk.run("status", "here").out


def test_an_internal_error_is_two_lines_and_a_file(desk: Desk, tmp_path: Path) -> None:
    """The command's own hook breaks: a module that is no module of ours stands in its way."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "getpass.py").write_text("raise RuntimeError('broken\\nin two')\n")
    reports = tmp_path / "reports"
    reports.mkdir()
    desk.env |= {"TMPDIR": str(reports), "PYTHONPATH": f"{shadow}:{ROOT}"}
    done = desk.run("status", "nowhere")

    assert 70 == done.code, done
    assert "Traceback" not in done.err
    first, hint = done.err.splitlines()
    assert "error: internal error, which is a defect of fwsync: RuntimeError: broken" == first
    (file,) = reports.iterdir()
    assert str(file) in hint
    text = file.read_text()
    assert "Traceback" in text
    assert "'status'" in text
    assert 0 == file.stat().st_mode & 0o077
    assert desk.key.rpartition(":")[2] not in text


def test_a_path_through_a_file_says_that_it_is_a_file(desk: Desk) -> None:
    for command in (("ls",), ("pull",)):
        done = desk.run(*command, "lab/aging/sub-01/ses-1/T1/scan.dcm/x")
        complains(done, 2, "lab/aging/sub-01/ses-1/T1/scan.dcm is a file")


@pytest.mark.parametrize(
    "call", [("pull", "lab/aging", ""), ("push", "", "lab/aging"), ("status", "")], ids=" ".join
)
def test_a_folder_without_a_name_is_not_the_current_one(desk: Desk, call: tuple[str, ...]) -> None:
    done = desk.run(*call)

    assert 2 == done.code, done
    assert "is a variable not set?" in " ".join(done.err.split())
    assert not (desk.home / ".fwsync").exists()


def test_no_root_is_made_around_a_root(desk: Desk, ground: Ground) -> None:
    """All commands on the one inside would be refused from then on."""
    ground.project("without")
    assert 0 == desk.run("pull", "lab/aging", "outer/in").code
    plant(desk.home / "outer", {"notes.txt": b"of the outer one"})

    for call in (("push", "outer", "lab/without"), ("pull", "lab/without", "outer")):
        complains(desk.run(*call), 2, "outer/in", "kept in step already", "must not overlap")
    assert 0 == desk.run("pull", "lab/aging", "outer/in").code
    assert [] == ground.stored("without")


def test_a_root_around_a_root_sends_nothing_of_it(desk: Desk, ground: Ground) -> None:
    ground.project("around")
    assert 0 == desk.run("pull", "lab/aging", "outer/in").code
    plant(desk.home / "outer", {"notes.txt": b"of the outer one"})
    shutil.rmtree(desk.home / ".local/state/fwsync/roots")  # as where another host made it

    done = desk.run("push", "outer", "lab/around")

    assert 1 == done.code, done
    assert "in: is kept in step by itself" in done.err + done.out, done
    assert ["notes.txt"] == [one.path for one in ground.stored("around")]


@pytest.mark.parametrize("name", ["sub 01/ses-1", "sub-[1]/ses-1"])
def test_a_folder_in_a_root_is_told_the_root_and_how_it_alone_takes_part(
    desk: Desk, ground: Ground, tmp_path: Path, name: str
) -> None:
    label = f"parts of {name[4:6]}"
    ground.project(label)
    root = plant(tmp_path / "a root", {f"{name}/T1/x": b"x", "sub-02/ses-1/T1/y": b"y"})
    assert 0 == desk.run("push", root, f"lab/{label}").code
    plant(root, {f"{name}/T1/new": b"new", "sub-02/ses-1/T1/new": b"new"})

    refused = desk.run("push", root / name, f"lab/{label}")
    named, only = refused.err.split("`")[1:4:2]
    done = desk.run("push", *shlex.split(named), *shlex.split(only), "--json")

    complains(refused, 2, f"inside {root}, which is kept in step already", "must not overlap")
    assert str(root) == shlex.split(named)[0]
    assert (0, 1) == (done.code, done.summary["uploaded"]), done


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (("sync", ".", "--json", "--conflict", "foo"), "'foo' is none of keep-both"),
        (("status", "--json", "--no-such-option"), "--no-such-option"),
        (("snyc", ".", "--json"), "snyc"),
        (("sync", "--json"), "DIR"),
        (("plan", "sync", "--json"), "DIR"),
        (("conflicts", "keep-loca", "x", "--json"), "keep-loca"),
    ],
)
def test_a_call_that_cannot_be_read_is_told_to_a_script_too(
    desk: Desk, call: tuple[str, ...], says: str
) -> None:
    done, plain = desk.run(*call), desk.run(*(word for word in call if word != "--json"))

    (line,) = done.lines
    assert (2, "error", 2) == (done.code, line["event"], line["exit_code"]), done
    assert says in line["message"]
    assert "-h` lists" in line["hint"]
    assert "Error: " in done.err, done
    assert (2, "") == (plain.code, plain.out), plain


def test_a_project_called_json_is_no_wish_for_lines(desk: Desk) -> None:
    done = desk.run("sync", "--conflict", "foo", "--", "--json")

    assert (2, "") == (done.code, done.out), done
