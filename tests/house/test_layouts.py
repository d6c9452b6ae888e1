"""Layouts, packs and DICOM by the real command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.house.house import Desk, Done, Ground, complains, grown, plant, record_of
from tests.room.dicoms import data_set, part10

TEMPLATE = "sub-{sub}/ses-{ses}/{acq}/{file}"

TREE = {
    "sub-01/ses-b/T1/0001.dcm": b"slice one",
    "sub-01/ses-b/T1/0002.dcm": b"slice two",
    "sub-01/ses-b/T1/notes.txt": b"notes",
    "sub-02/ses-b/T1/a.nii": b"nifti",
}
PLACED = ["01/b/T1/0001.dcm", "01/b/T1/0002.dcm", "01/b/T1/notes.txt", "02/b/T1/a.nii"]
PACKED = ["01/b/T1/T1.dicom.zip", "01/b/T1/notes.txt", "02/b/T1/a.nii"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", TREE)


def steps(done: Done) -> dict[str, Any]:
    return {one["path"]: one for one in done.lines if one["event"] == "decision"}


def problems(done: Done) -> dict[str, str]:
    return {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}


def paths(ground: Ground, label: str) -> list[str]:
    return [one[0] for one in record_of(ground, label)]


def slice_of(series: str, number: int, *, name: str = "T1", patient: str = "p01") -> bytes:
    return part10(
        data_set(
            (0x00080018, "UI", f"{series}.{number}"),
            (0x0008103E, "LO", name),
            (0x00100020, "LO", patient),
            (0x0020000E, "UI", series),
        )
    )


def test_a_template_places_files_and_the_plan_says_why(
    ground: Ground, desk: Desk, label: str, tree: Path
) -> None:
    plant(tree, {"elsewhere/x": b"?"})
    flags = ("--layout", TEMPLATE, "--json")
    plan = desk.run("plan", "push", tree, f"lab/{label}", *flags)
    assert sorted(PLACED) == sorted(steps(plan)), plan
    assert "subject '01'" in steps(plan)["01/b/T1/notes.txt"]["rule"]
    assert ["sub-01/ses-b/T1/notes.txt"] == steps(plan)["01/b/T1/notes.txt"]["source"]
    assert [] == paths(ground, label)

    done = desk.run("push", tree, f"lab/{label}", *flags)

    assert (1, 4) == (done.code, done.summary["uploaded"]), done
    assert {"elsewhere/x"} == problems(done).keys()
    assert sorted(PLACED) == paths(ground, label)


def test_a_layout_is_remembered_and_a_second_run_plans_nothing(
    ground: Ground, desk: Desk, label: str, tree: Path
) -> None:
    assert 0 == desk.run("push", tree, f"lab/{label}", "--layout", TEMPLATE).code
    plan = desk.run("plan", "push", tree, "--json")
    again = desk.run("push", tree, "--json")
    same = desk.run("push", tree, "--layout", TEMPLATE, "--json")

    assert {} == steps(plan), plan
    assert (0, {}) == (again.code, again.moved()), again
    assert (0, {}) == (same.code, same.moved()), same
    assert sorted(PLACED) == paths(ground, label)


@pytest.mark.parametrize(
    "other",
    [
        ("--layout", "{subject}/{session}/{acquisition}/x/{file}"),
        ("--pack", "*.dcm=dicom"),
        ("--subject", "pilot"),
    ],
)
def test_another_layout_is_refused_once_files_are_in_step(
    ground: Ground, desk: Desk, label: str, tree: Path, other: tuple[str, str]
) -> None:
    assert 0 == desk.run("push", tree, f"lab/{label}", "--layout", TEMPLATE).code

    complains(desk.run("push", tree, *other), 2, "4 files are in step by", TEMPLATE)
    complains(desk.run("plan", "push", tree, *other), 2, "4 files are in step by")
    assert sorted(PLACED) == paths(ground, label)


def test_a_layout_is_refused_where_files_are_in_step_by_the_plain_one(
    desk: Desk, label: str, root: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code

    complains(
        desk.run("push", root, "--pack", "*.dcm=dicom"), 2, "3 files are in step by the plain"
    )


@pytest.mark.parametrize(
    "one_way", ['scan = "dicom"', 'layout = "{sub}/{ses}/{acq}/{file}"\nsubject = "x"']
)
def test_a_layout_that_only_leads_up_neither_pulls_nor_syncs(
    desk: Desk, label: str, tree: Path, tmp_path: Path, one_way: str
) -> None:
    (tmp_path / "fwsync.toml").write_text(one_way, encoding="utf-8")
    config = ("--config", tmp_path / "fwsync.toml")
    before = grown(tree)

    complains(desk.run("sync", tree, f"lab/{label}", *config), 2, "to the server only")
    complains(
        desk.run("pull", f"lab/{label}", tmp_path / "other", *config), 2, "to the server only"
    )
    assert before == grown(tree)
    assert {} == (grown(tmp_path / "other") if (tmp_path / "other").exists() else {})
    plain = desk.run("sync", tree, f"lab/{label}", "--json")  # what was refused is not remembered
    assert (0, 4) == (plain.code, plain.summary["uploaded"]), plain


def test_packs_go_up_as_one_file_and_come_down_as_many(
    ground: Ground, desk: Desk, label: str, tree: Path, tmp_path: Path
) -> None:
    flags = ("--layout", TEMPLATE, "--pack", "*.dcm=dicom", "--json")
    done = desk.run("push", tree, f"lab/{label}", *flags)
    assert (0, 3) == (done.code, done.summary["uploaded"]), done
    assert PACKED == paths(ground, label)
    again = desk.run("push", tree, "--json")
    assert (0, {}) == (again.code, again.moved()), again

    other = tmp_path / "other"
    pulled = desk.run("pull", f"lab/{label}", other, *flags)
    idle = desk.run("pull", f"lab/{label}", other, "--json")
    up = desk.run("push", other, "--json")

    assert (0, 3) == (pulled.code, pulled.summary["downloaded"]), pulled
    assert TREE == grown(other)
    assert (0, {}) == (idle.code, idle.moved()), idle
    assert (0, {}) == (up.code, up.moved()), up
    assert PACKED == paths(ground, label)


def test_a_late_slice_goes_both_ways(
    ground: Ground, desk: Desk, label: str, tree: Path, tmp_path: Path
) -> None:
    flags = ("--layout", TEMPLATE, "--pack", "*.dcm=dicom")
    other = plant(tmp_path / "other", {})
    assert 0 == desk.run("sync", tree, f"lab/{label}", *flags).code
    assert 0 == desk.run("sync", other, f"lab/{label}", *flags).code
    late = {"sub-01/ses-b/T1/0003.dcm": b"slice three"}
    plant(other, late)

    sent = desk.run("sync", other, "--json")
    came = desk.run("sync", tree, "--json")

    assert (0, 1) == (sent.code, sent.summary["uploaded"]), sent
    assert (0, 1) == (came.code, came.summary["downloaded"]), came
    assert TREE | late == grown(tree)
    last = desk.run("sync", tree, "--json")
    assert (0, {}) == (last.code, last.moved()), last


def test_verify_and_status_speak_of_a_placed_tree(
    ground: Ground, desk: Desk, label: str, tree: Path
) -> None:
    flags = ("--layout", TEMPLATE, "--pack", "*.dcm=dicom")
    assert 0 == desk.run("push", tree, f"lab/{label}", *flags).code

    fine = desk.run("verify", tree, "--json")
    status = desk.run("status", tree, "--json")
    (tree / "sub-01/ses-b/T1/0001.dcm").write_bytes(b"SLICE one")
    bad = desk.run("verify", tree, "--json")

    assert 0 == fine.code, fine
    assert 0 == status.code, status
    assert 1 == bad.code, bad
    assert "01/b/T1/T1.dicom.zip" in bad.out + bad.err, bad


def test_series_are_packed_by_their_headers(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = plant(
        tmp_path / "tree",
        {f"export/a/{number}": slice_of("1.2.3.4", number) for number in range(3)}
        | {f"export/b/{number}": slice_of("1.2.3.5", number) for number in range(2)}
        | {"export/c/9": slice_of("1.2.3.4", 9), "readme.txt": b"no DICOM"},
    )
    flags = ("--scan", "dicom", "--json")
    done = desk.run("push", tree, f"lab/{label}", *flags)
    again = desk.run("push", tree, "--json")
    kept = {
        one.path: one for one in ground.stored(label) if one.path.startswith("p01/2024-02-01 10:20")
    }

    assert (1, 2) == (done.code, done.summary["uploaded"]), done
    assert {"readme.txt"} == problems(done).keys()
    assert 2 == len(kept), kept
    assert (1, {"problems": 1}) == (again.code, again.moved()), again


def test_a_header_that_is_lost_deletes_nothing(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = plant(
        tmp_path / "tree", {f"a/{number}": slice_of("1.2.3.4", number) for number in range(3)}
    )
    flags = ("--scan", "dicom", "--delete-up", "--json")
    assert 0 == desk.run("push", tree, f"lab/{label}", *flags).code
    before = ground.stored(label)
    lost = tree / "a" / "1"
    lost.write_bytes(lost.read_bytes()[:200])

    done = desk.run("push", tree, *flags)

    assert (1, {"problems": 1}) == (done.code, done.moved()), done
    assert {"a/1"} == problems(done).keys()
    assert before == ground.stored(label)


def test_rules_in_the_settings_are_for_their_subtrees(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    (tmp_path / "fwsync.toml").write_text(
        """
[[rules]]
path = "mri/**"
layout = "{subject}/{session}/{acquisition}/dicom/{file}"
pack = { "*.dcm" = "dicom" }

[[rules]]
path = "eeg/**"
layout = "{subject}/{file}"
session = "eeg"
acquisition = "rest"
"""
    )
    tree = plant(
        tmp_path / "tree",
        {
            "mri/p01/v1/T1/dicom/1.dcm": b"1",
            "mri/p01/v1/T1/dicom/2.dcm": b"2",
            "eeg/p01/run1.edf": b"edf",
            "docs/plan.pdf": b"pdf",
        },
    )
    config = ("--config", tmp_path / "fwsync.toml", "--json")
    plan = desk.run("plan", "push", tree, f"lab/{label}", *config)
    done = desk.run("push", tree, f"lab/{label}", *config)

    assert {"p01/v1/T1/T1.dicom.zip", "p01/eeg/rest/run1.edf"} == steps(plan).keys()
    assert "rule 2 (eeg/**)" in steps(plan)["p01/eeg/rest/run1.edf"]["rule"]
    assert (1, 2) == (done.code, done.summary["uploaded"]), done
    assert {"docs/plan.pdf"} == problems(done).keys()
    [zipped] = [one for one in record_of(ground, label) if one[0].endswith(".zip")]
    assert "p01/v1/T1/T1.dicom.zip" == zipped[0]


def test_a_template_may_name_the_projects_as_well(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {f"lab/{label}/{path}": body for path, body in TREE.items()})
    flags = ("--layout", f"{{group}}/{{project}}/{TEMPLATE}", "--pack", "*.dcm=dicom", "--json")
    done = desk.run("push", tree, *flags)
    again = desk.run("push", tree, "--json")

    assert (0, 3) == (done.code, done.summary["uploaded"]), done
    assert (0, {}) == (again.code, again.moved()), again
    assert PACKED == paths(ground, label)


def test_a_tree_of_a_layout_that_only_leads_up_can_be_verified(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {"p1/day/T1/a.dcm": b"a", "p1/day/T1/b.dcm": b"b"})
    one_way = ("--layout", "{sub}/{ses}/{acq}/{file}", "--subject", "x", "--pack", "*.dcm=dicom")

    assert 0 == desk.run("push", tree, f"lab/{label}", *one_way).code
    assert 0 == desk.run("verify", tree).code
    (tree / "p1/day/T1/b.dcm").write_bytes(b"other")
    assert 1 == desk.run("verify", tree).code
    assert ["x/day/T1/T1.dicom.zip"] == paths(ground, label)
