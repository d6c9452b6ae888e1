"""What the command says: a flag is named as it was written, and none is taken in silence."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fwsync.model import RelPath
from fwsync.options.helping import IN_A_LIFE
from fwsync.state import open_state
from tests.house.house import SOME, Desk, Ground, complains, plant
from tests.room.dicoms import data_set, part10

PATIENT_ID, SOP_UID = 0x00100020, 0x00080018


# ------------------------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        (("--routing", "PatientComments"), "no header is read"),
        (("--duplicate-codes", "DD11"), "--detect-duplicates"),
        (("--duplicate-projects", "lab/other"), "--detect-duplicates"),
        (("--duplicates", "skip"), "--detect-duplicates"),
        (("--set-var", "session=baseline"), "--ingest-template"),
        (("--unrouted", "lab/other"), "no header is read"),
    ],
)
@pytest.mark.parametrize("command", [("push",), ("plan", "push")])
def test_a_flag_that_would_do_nothing_is_refused(
    command: tuple[str, ...],
    flags: tuple[str, str],
    missing: str,
    ground: Ground,
    desk: Desk,
    label: str,
    root: Path,
) -> None:
    done = desk.run(*command, root, f"lab/{label}", *flags)

    complains(done, 2, f"{flags[0]}: does nothing", missing)
    assert [] == ground.stored(label)


def test_what_would_do_nothing_may_stand_in_a_file(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    file.write_text('routing = "PatientComments"\nduplicates = "skip"\nset_vars = { ses = "b" }\n')

    done = desk.run("push", root, f"lab/{label}", "--config", file, "--json")

    assert (0, len(SOME)) == (done.code, done.summary["uploaded"]), done


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--layout", "{nobody}/{file}"), ("error: --layout: ", "'nobody' is no field")),
        (("--layout", "{session}/{file}"), ("--subject LABEL", "--no-subjects takes the session")),
        (("--regex", "("), ("error: --regex: '(' is no regular expression",)),
        (("--regex", ".", "--scan", "dicom"), ("--regex and --scan both say where files go",)),
        (("--no-subjects", "--no-sessions"), ("--no-subjects and --no-sessions", "one of them")),
        (("--min-size", "9", "--max-size", "5"), ("error: --min-size: is more than --max-size",)),
        (("--pack", "dicom"), ("--pack (from the command line): is 'dicom'", "'*.dcm=dicom'")),
        (("--pack", "*.dcm=a/b"), ("error: --pack: 'a/b' is not a file type",)),
        (("--pack-folder", "a/b=c"), ("error: --pack-folder: 'a/b' is not the name of",)),
        (("--ingest-template", "{sub"), ("error: --ingest-template: ",)),
        (("--transfers", "x"), ("--transfers (from the command line): is 'x'; expected a num",)),
        (("--root-dirs", "99"), ("--root-dirs (from the command line): is '99'; expected a",)),
        (("--ingest-template", "{sub}", "--scan", "dicom"), ("--ingest-template and --scan both",)),
    ],
)
def test_what_is_wrong_with_a_flag_is_said_of_the_flag(
    flags: tuple[str, ...], words: tuple[str, ...], desk: Desk, label: str, root: Path
) -> None:
    complains(desk.run("push", root, f"lab/{label}", *flags), 2, *words, hint=False)


def test_in_a_settings_file_the_same_is_said_of_the_setting(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    for text, words in (
        ('regex = "("', "error: regex: '(' is no regular expression"),
        ("min_size = 9\nmax_size = 5", "error: min_size: is more than max_size"),
        ('[[rules]]\nlayout = "{nobody}/{file}"', "error: rule 1: layout: '{nobody}/{file}': "),
        ('[[rules]]\npath = "["\nscan = "dicom"', "error: rule 1 ([): path: '[' is a pattern"),
        ('[[rules]]\nlayuot = "x"', "rule 1: layuot (from "),
        ('[[metadata]]\nmatch = "["', "metadata rule 1: match: '[' is a pattern that matches no"),
    ):
        file.write_text(text)
        complains(desk.run("push", root, f"lab/{label}", "--config", file), 2, words, hint=False)


@pytest.mark.parametrize(
    ("command", "flag", "words"),
    [
        ("push", "--conflict", "keep-both, local, remote, skip, fail"),
        ("push", "--route", "auto, signed, packfile, form, multipart"),
        ("push", "--existing", "skip, replace, error"),
        ("watch", "--mode", "up, down, both"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_answered_with_those_that_it_does(
    command: str, flag: str, words: str, desk: Desk, root: Path
) -> None:
    done = desk.run(command, root, flag, "nonsense")

    assert 2 == done.code
    assert f"'{flag}': 'nonsense' is none of {words}." in done.err
    assert "Value error" not in done.err


def test_a_template_without_a_file_is_refused_once(desk: Desk, label: str, root: Path) -> None:
    done = desk.run("push", root, f"lab/{label}", "--layout", "{subject}/{session}/{acquisition}")

    complains(
        done,
        2,
        "would make each file {acquisition} by its name",
        "did you mean '{subject}/{session}/{acquisition}/{file}'?",
    )


@pytest.mark.parametrize("pattern", ["[", "a[bc", "!", "a\\", "/", "[[:alpha:]]*"])
@pytest.mark.parametrize("flag", ["--exclude", "--include"])
def test_a_pattern_that_matches_nothing_is_no_filter(
    flag: str, pattern: str, desk: Desk, label: str, root: Path
) -> None:
    done = desk.run("push", root, f"lab/{label}", flag, pattern)

    complains(done, 2, f"error: {flag}: {pattern!r} is ")
    assert "Warning" not in done.err


def test_a_pattern_that_matches_nothing_is_found_in_a_file_by_its_line(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "filters"
    file.write_text("# ours\n\n*.bak\n[x\n")

    complains(desk.run("push", root, f"lab/{label}", "--filter-from", file), 2, f"{file}:4: '[x'")


def test_what_an_ignore_file_cannot_say_keeps_its_folder_back(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    (root / "sub-01" / ".fwsyncignore").write_text("[secret\n")

    done = desk.run("push", root, f"lab/{label}", "--json")

    assert 1 == done.code, done
    assert [one for one in done.lines if ".fwsyncignore cannot be used" in str(one)], done
    assert [] == [one for one in ground.stored(label) if "sub-01" in one.path]


# ----------------------------------------------------------------------------------- headers


def test_a_keyword_without_braces_is_no_label(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[dicom]\nsubject = "PatientID"\n')
    push = ("push", root, f"lab/{label}", "--scan", "dicom", "--config", file)
    complains(desk.run(*push), 2, "dicom.subject: 'PatientID' would be the", "'{PatientID}'?")

    file.write_text('[dicom]\nsession = ["{StudyDescription}", "study_time"]\n')
    complains(desk.run(*push), 2, "dicom.session: 'study_time' would be", "'{study_time}'?")

    file.write_text('[dicom]\nsubject = "{PatientIDD}"\n')
    complains(desk.run(*push), 2, "'PatientIDD': is no DICOM keyword", "did you mean PatientID?")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_header_without_a_patient_is_told_with_what_can_be_done(
    value: str | None, desk: Desk, label: str, tmp_path: Path
) -> None:
    changes = () if value is None else ((PATIENT_ID, "LO", value),)
    scan = part10(data_set(*changes, without=(PATIENT_ID,) if value is None else ()))
    root = plant(tmp_path / "dicoms", {"a.dcm": scan})

    done = desk.run("push", root, f"lab/{label}", "--scan", "dicom")

    assert 1 == done.code, done
    [said] = [line for line in done.out.splitlines() if line.startswith("problem: ")]
    assert "a.dcm: its header has no PatientID, which would name the subject" in said
    assert "--subject LABEL" in said


# -------------------------------------------------------------------------------- not there


def test_what_is_spelled_alike_is_a_question_of_its_own(desk: Desk, label: str, root: Path) -> None:
    done = desk.run("push", root, f"lab/{label}x")
    complains(done, 2, f"hint: did you mean lab/{label}", f"? --create-project makes lab/{label}x")
    assert "?;" not in done.err


def test_ls_is_sorted_by_name_and_containers_come_first(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "zoo", {f"{name}/v/a/x": b"x" for name in "bca"} | {"1.txt": b"1"})
    assert 0 == desk.run("push", root, f"lab/{label}").code

    lines = desk.run("ls", f"lab/{label}").out.splitlines()

    assert ["a/", "b/", "c/", "1.txt"] == [line.split()[-1] for line in lines]


def test_what_ls_does_not_find_is_said_in_words(desk: Desk, label: str) -> None:
    for path in ("nope", "lab/nope", f"lab/{label}/nobody/v1"):
        done = desk.run("ls", path)
        complains(done, 2, f"{path}: is not there, or the key may not see it")
        assert "404" not in done.err


# ------------------------------------------------------------------------------ plan and run


def test_the_last_line_of_a_plan_counts_what_it_has_no_place_for(
    desk: Desk, label: str, root: Path
) -> None:
    layout = ("--layout", "{subject}/ses-{session}/{acquisition}/{file}")
    plan = ("plan", "push", root, f"lab/{label}", *layout)
    assert desk.run(*plan).out.splitlines()[-1] == "plan: 3 steps, 11 B to move"

    (root / "sub-01" / "one").mkdir()
    (root / "sub-01" / "one" / "y").write_bytes(b"y")
    done = desk.run(*plan)

    assert 1 == done.code, done
    assert done.out.splitlines()[-1] == "plan: 3 steps, 11 B to move, 1 problem", done


def test_a_plan_shows_what_the_server_would_be_told(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'tags = ["pilot"]\n[[metadata]]\nmatch = "2.dcm"\nmodality = "MR"\n'
        'classification = { Intent = ["Structural"] }\n'
    )
    plan = ("plan", "push", root, f"lab/{label}", "--config", file)

    told = [line.strip() for line in desk.run(*plan).out.splitlines() if "with " in line]
    assert ["with tags pilot", "with tags pilot"] == [one for one in told if "MR" not in one]
    [more] = [one for one in told if "MR" in one]
    assert "modality MR" in more
    assert "classification {Intent: Structural}" in more

    lines = {one["path"]: one for one in desk.run(*plan, "--json").lines if "path" in one}
    assert lines["sub-01/ses-01/t1/2.dcm"]["metadata"] == {
        "tags": ["pilot"],
        "modality": "MR",
        "classification": {"Intent": ["Structural"]},
    }


def test_a_line_of_the_log_about_a_problem_says_which_file_it_was(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    (root / "sub-01" / "one").mkdir()
    (root / "sub-01" / "one" / "y").write_bytes(b"yes")
    log = tmp_path / "log.csv"

    layout = ("--layout", "{subject}/ses-{session}/{acquisition}/{file}")
    done = desk.run("push", root, f"lab/{label}", *layout, "--audit-log", log)

    assert 1 == done.code, done
    with log.open(newline="") as stream:
        [row] = [one for one in csv.DictReader(stream) if one["result"] == "failed"]
    assert ("sub-01/one/y", "", "3") == (row["source"], row["destination"], row["size"])
    assert "does not match" in row["message"]


def test_a_deletion_that_is_held_is_called_so(desk: Desk, label: str, root: Path) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    (root / "sub-01/ses-01/t1/1.dcm").unlink()

    plan = desk.run("plan", "sync", root)
    done = desk.run("sync", root)

    assert "deletion held  sub-01/ses-01/t1/1.dcm" in plan.out, plan
    assert "sync: 1 held deletion; 2 files here" in done.out, done
    assert f"`fwsync verify {root}` lists them" in done.out, done


def test_status_tells_of_uploads_that_were_begun(desk: Desk, label: str, root: Path) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    before = desk.run("status", root)
    with open_state(root / ".fwsync" / "state.db") as state:
        state.uploads.begin(RelPath("sub-01/big"), "stamp", "signed", {})

    done = desk.run("status", root)
    told = desk.run("status", root, "--json")

    assert "begun" not in before.out
    assert "waiting     1 begun upload" in done.out, done
    assert f"`fwsync cleanup {root}` gives them up" in done.out
    assert 1 == told.lines[0]["uploads"]


def test_help_is_sorted_without_a_terminal_too(desk: Desk) -> None:
    done = desk.run("push", "--help")

    heads = [line for line in done.out.splitlines() if line.endswith(":") and line[0] != " "]
    assert heads[:4] == ["Arguments:", "Options:", "Where files go:", "What takes part:"], done
    assert {"How it runs:", "Deletions and conflicts:", "Finding things:"} < set(heads)
    where = done.out.partition("Where files go:")[2].partition("What takes part:")[0]
    assert "--layout" in where
    assert "--exclude" not in where
    assert "\x1b" not in done.out


def test_the_commands_stand_in_the_order_of_use_and_each_is_told_whole(desk: Desk) -> None:
    listed = desk.run("--help").out.partition("Commands:")[2].partition("Exit codes:")[0]
    names = [line.split()[0] for line in listed.splitlines() if line[2:3].strip()]

    assert list(IN_A_LIFE) == names
    assert "..." not in listed


def test_a_usage_line_has_the_brackets_of_manuals_and_no_others(desk: Desk) -> None:
    usages = {
        " ".join(words): desk.run(*words, "--help").out.splitlines()[0].partition("[OPTIONS] ")[2]
        for words in (("conflicts", "keep-local"), ("pull",), ("sync",), ("restore",))
    }

    assert {
        "conflicts keep-local": "PATH...",
        "pull": "[GROUP/PROJECT[/…]] [DEST]",
        "sync": "DIR [GROUP/PROJECT]",
        "restore": "DIR [PATH]...",
    } == usages
    refused = desk.run("history", ".", "--last", "0")
    assert 2 == refused.code
    assert "--last" in refused.err


def test_a_plan_counts_the_bytes_of_a_conflict_that_its_run_fetches(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    other, path = tmp_path / "other", "sub-01/ses-01/t1/1.dcm"
    assert 0 == desk.run("push", root, f"lab/{label}").code
    assert 0 == desk.run("pull", f"lab/{label}", other).code
    (root / path).write_bytes(b"mine")
    (other / path).write_bytes(b"theirs, longer")
    assert 0 == desk.run("push", other).code

    left = desk.run("plan", "sync", root, "--conflict", "fail")
    plan = desk.run("plan", "sync", root)
    told = desk.run("status", root)
    desk.run("sync", root, "--conflict", "fail")
    stuck = desk.run("status", root)
    done = desk.run("sync", root)

    assert ("nothing is touched" in left.out, "0 B to move" in left.out) == (True, True), left
    assert "the server's gets the name, yours stays beside it" in plan.out, plan
    assert "plan: 1 step, 14 B to move, 1 conflict" in plan.out, plan
    assert "left alone" not in told.out, told
    assert f"left alone  1 file; `fwsync verify {root}` lists what differs" in stuck.out, stuck
    assert f"waiting     1 open conflict; `fwsync conflicts {root}` lists, and settles" in stuck.out
    assert "1 fetched, 1 in conflict, 14 B" in done.out, done


def test_what_is_in_step_has_the_bytes_of_what_is_in_step(
    desk: Desk, label: str, root: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    (root / "sub-01/ses-01/t1/1.dcm").unlink()
    assert 0 == desk.run("sync", root).code
    left = [one for one in root.rglob("*") if one.is_file() and ".fwsync" not in one.parts]

    size = sum(one.stat().st_size for one in left)
    told = desk.run("status", root).out
    assert f"in step     {len(left)} files when last compared, of {size} B" in told, told


def test_an_audit_log_in_no_folder_is_a_slip_of_the_call(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    log = tmp_path / "none" / "log.csv"

    done = desk.run("push", root, f"lab/{label}", "--audit-log", log)

    complains(done, 2, f"there is no folder {log.parent}", "make that folder")
    assert not (root / ".fwsync").exists()


def test_the_audit_log_is_no_file_of_the_folder(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").symlink_to(root)
    for log in (root / "log.csv", tmp_path / "elsewhere" / "log.csv"):
        done = desk.run("push", root, f"lab/{label}", "--audit-log", log)

        complains(done, 2, "the audit log would be synced itself", "outside of the root")
        assert not log.exists()
    assert [] == ground.stored(label)
