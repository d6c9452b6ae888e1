"""Rule files of fw-meta, templates of ``fw ingest template``, routing, and names beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.house import Desk, Done, Ground, complains, plant, record_of
from tests.room.dicoms import data_set, part10

RULES = """\
- level: acquisition
  include: ["path=~**/*.dcm"]
  type: dicom
  mappings:
    - "path={subject}/*"
    - "{PatientComments}=session.label"
- level: acquisition
  include: ["ext=nii"]
  exclude: ["name=skip.nii"]
  mappings: ["path={sub}/{ses}/{acq}/*"]
- level: subject
  include: ["path=~*/notes.txt"]
  mappings: ["path={sub}/*"]
"""

COMMENTS = 0x00104000

TREE = {
    "p01/raw/1.dcm": part10(data_set((COMMENTS, "LT", "baseline"), (0x00080018, "UI", "1.1"))),
    "p01/raw/2.dcm": part10(data_set((COMMENTS, "LT", "baseline"), (0x00080018, "UI", "1.2"))),
    "p02/v1/T1/a.nii": b"nifti",
    "p02/v1/T1/skip.nii": b"no",
    "p02/notes.txt": b"notes",
}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    return file


def problems(done: Done) -> dict[str, str]:
    return {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}


def test_a_rule_file_says_where_files_go_and_why(
    rules: Path, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    plan = desk.run("plan", "push", root, f"lab/{label}", "--rules", rules, "--json")
    steps = {one["path"]: one for one in plan.lines if one["event"] == "decision"}
    done = desk.run("push", root, f"lab/{label}", "--rules", rules, "--json")

    pack = next(path for path in steps if path.endswith(".zip"))
    assert pack.startswith("p01/baseline/5 - T1 mprage/"), pack
    assert {pack, "p02/v1/T1/a.nii", "p02/notes.txt"} == steps.keys()
    assert "rule 1 (path=~**/*.dcm)" in steps[pack]["rule"]
    assert ["p01/raw/1.dcm", "p01/raw/2.dcm"] == steps[pack]["source"]
    assert {"p02/v1/T1/skip.nii"} == problems(plan).keys() == problems(done).keys()
    assert (1, 3) == (done.code, done.summary["uploaded"]), done
    assert sorted(steps) == [one[0] for one in record_of(ground, label)]


def test_the_rules_are_remembered_with_the_folder(
    rules: Path, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    assert 1 == desk.run("push", root, f"lab/{label}", "--rules", rules).code
    rules.unlink()
    plant(root, {"p03/notes.txt": b"later"})

    done = desk.run("push", root, "--json")
    assert (1, 1) == (done.code, done.summary["uploaded"]), done
    rules.write_text(RULES.replace("level: subject", "level: session"), encoding="utf-8")
    complains(desk.run("push", root, "--rules", rules), 2, "files are in step by")


def test_the_setting_is_the_same(rules: Path, desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", TREE)
    (tmp_path / "fwsync.toml").write_text('rules_file = "rules.yaml"\n', encoding="utf-8")
    config = ("--config", tmp_path / "fwsync.toml")
    done = desk.run("plan", "push", root, f"lab/{label}", "--json", *config)

    assert 3 == done.summary["upload"], done


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- level: subject\n- levle: x\n", "rules.yaml:2: rule 2: 'levle' is not known"),
        ("- [", "rules.yaml:2: is not YAML"),
        ('- type: dicom\n  mappings: ["{NoSuchWord}=session.label"]\n', "NoSuchWord"),
    ],
)
def test_what_is_wrong_in_a_rule_file_is_said_with_its_line(
    text: str, words: str, rules: Path, desk: Desk, label: str, root: Path
) -> None:
    rules.write_text(f"{text}\n" if text.startswith("- [") else text, encoding="utf-8")

    complains(desk.run("push", root, f"lab/{label}", "--rules", rules), 2, words, hint=False)


@pytest.mark.parametrize("other", [["--layout", "{sub}/{file}"], ["--subject", "x"]])
def test_a_rule_file_stands_alone(
    other: list[str], rules: Path, desk: Desk, label: str, root: Path
) -> None:
    done = desk.run("push", root, f"lab/{label}", "--rules", rules, *other)

    complains(done, 2, f"error: --rules and {other[0]} both say where files go")


def test_a_template_of_fw_ingest_is_read(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"S-01/T1/dicom/1.dcm": b"1", "S-01/T1/dicom/2.dcm": b"2"})
    template = r"S-(?P<subject>\d+):{acquisition}:dicom,packfile_type=dicom"
    flags = ("--ingest-template", template, "--set-var", "session=first", "--json")
    done = desk.run("push", root, f"lab/{label}", *flags)

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    [one] = ground.stored(label)
    assert one.path.startswith("01/first/T1/"), one
    assert one.path.endswith(".zip"), one


def test_a_routing_string_names_the_project(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    def routed(target: str, uid: str) -> bytes:
        return part10(data_set((COMMENTS, "LT", target), (0x00080018, "UI", uid)))

    tree = {"1.dcm": routed(f"lab/{label}", "1.1"), "2.dcm": routed("lab/other", "1.2")}
    root = plant(tmp_path / "root", tree)
    flags = ("--scan", "dicom", "--routing", "PatientComments", "--json")
    done = desk.run("push", root, f"lab/{label}", *flags)

    assert (1, 1) == (done.code, done.summary["uploaded"]), done
    assert {"2.dcm"} == problems(done).keys()
    assert 1 == len(ground.stored(label))


def test_names_can_be_those_of_the_platform_beforehand(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"p01/v1/T2* a:b/im*.nii": b"1"})
    (tmp_path / "fwsync.toml").write_text('names = "platform"\n', encoding="utf-8")
    config = ("--config", tmp_path / "fwsync.toml", "--json")
    done = desk.run("push", root, f"lab/{label}", *config)

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    [one] = ground.stored(label)
    assert "*" not in one.path, one
    assert ":" not in one.path, one
    assert "T2star" in one.path, one
    again = desk.run("push", root, *config)
    assert (0, {}) == (again.code, again.moved()), again
