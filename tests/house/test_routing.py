"""A folder whose files go to many projects, by what their headers or rules say."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.house.house import Desk, Done, Ground, complains, grown, plant, stop_watch, until
from tests.house.test_core2018 import Ground2018
from tests.room.dicoms import SHIPPED, data_set, part10

COMMENTS = 0x00104000
SCAN = ("--scan", "dicom", "--routing", "PatientComments")
SESSION = "2024-02-01 10:20:30"


def image(text: str | None, uid: str, *, patient: str = "p01") -> bytes:
    """A slice of series ``uid`` whose console was told this."""
    told = [] if text is None else [(COMMENTS, "LT", text)]
    numbers = ((0x00080018, "UI", f"{uid}.1"), (0x0020000E, "UI", uid), (0x00100020, "LO", patient))
    return part10(data_set(*told, *numbers))


@pytest.fixture
def two(ground: Ground, label: str) -> tuple[str, str]:
    """Two projects."""
    other = f"{label}-b"
    ground.project(other)
    return label, other


def there(ground: Ground, label: str) -> list[str]:
    return [one.path for one in ground.stored(label) if not one.deleted]


def problems(done: Done) -> dict[str, str]:
    return {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}


def steps(done: Done) -> dict[str, Any]:
    return {one["path"]: one for one in done.lines if one["event"] == "decision"}


def writing(ground: Ground) -> list[str]:
    """What was asked that could have changed something."""
    reading = ("/api/lookup", "/api/resolve")
    asked = ground.requests()
    return [one["path"] for one in asked if one["method"] != "GET" and one["path"] not in reading]


def pack_of(patient: str = "p01") -> str:
    return f"{patient}/{SESSION}/5 - T1 mprage/5 - T1 mprage.dicom.zip"


def test_each_study_goes_to_the_project_that_its_header_names(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, b = two
    tree = {
        "one/1.dcm": image(f"lab/{a}", "1.1"),
        "one/2.dcm": image(f"lab/{b}", "1.2", patient="p02"),
        "two/3.dcm": image(f"LAB^{a}", "1.3", patient="p03"),
        "two/4.dcm": image(f"p99@lab/{b}", "1.4", patient="x"),
    }
    root = plant(tmp_path / "export", tree)
    ground.forget_requests()
    plan = desk.run("plan", "push", root, *SCAN, "--json")

    assert 0 == plan.code, plan
    assert {
        f"lab/{a}/{pack_of()}",
        f"lab/{b}/{pack_of('p02')}",
        f"lab/{a}/{pack_of('p03')}",
        f"lab/{b}/{pack_of('p99')}",
    } == steps(plan).keys()
    first = steps(plan)[f"lab/{a}/{pack_of()}"]
    assert ["one/1.dcm"] == first["source"]
    assert f"project '{a}' from PatientComments" in first["rule"]
    assert [] == writing(ground)

    done = desk.run("push", root, *SCAN, "--json")

    assert (0, 4) == (done.code, done.summary["uploaded"]), done
    assert sorted([pack_of(), pack_of("p03")]) == sorted(there(ground, a))
    assert sorted([pack_of("p02"), pack_of("p99")]) == sorted(there(ground, b))


def test_the_scope_and_the_routing_are_remembered_and_late_files_join(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, b = two
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{a}", "1.1")})
    assert 0 == desk.run("push", root, *SCAN).code

    again = desk.run("push", root, "--json")
    assert (0, {}) == (again.code, again.moved()), again
    plant(root, {"2.dcm": image(f"lab/{b}", "1.2")})
    late = desk.run("push", root, "--json")

    assert (0, 1) == (late.code, late.summary["uploaded"]), late
    assert [pack_of()] == there(ground, b)
    assert 0 == desk.run("verify", root).code
    assert "all projects" in desk.run("status", root).out


def test_the_pydicom_files_go_where_they_are_sent(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    names = {"CT_small.dcm": two[0], "MR_small.dcm": two[1]}
    root = tmp_path / "export"
    root.mkdir()
    for name, label in names.items():
        read = pydicom.dcmread(SHIPPED / "test_files" / name)
        read.PatientName = f"lab/{label}"
        read.save_as(root / name)
    done = desk.run("push", root, "--scan", "dicom", "--routing", "PatientName", "--json")

    assert (0, 2) == (done.code, done.summary["uploaded"]), done
    for name, label in names.items():
        [path] = there(ground, label)
        assert path.startswith(f"{pydicom.dcmread(root / name).PatientID}/"), path


def test_what_names_no_project_is_reported_and_stays(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {
        "ok.dcm": image(f"lab/{label}", "1.1"),
        "none.dcm": image(None, "1.2"),
        "words.dcm": image("moved a lot", "1.3"),
        "notes.txt": b"no header",
    }
    root = plant(tmp_path / "export", tree)
    done = desk.run("push", root, *SCAN, "--json")

    assert (1, 1) == (done.code, done.summary["uploaded"]), done
    said = problems(done)
    assert {"none.dcm", "words.dcm", "notes.txt"} == said.keys()
    assert "no PatientComments" in said["none.dcm"]
    assert "'moved a lot'" in said["words.dcm"]


def test_what_names_no_project_goes_to_the_one_that_is_set_for_it(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, rest = two
    tree = {
        "ok.dcm": image(f"lab/{a}", "1.1"),
        "none.dcm": image(None, "1.2", patient="p02"),
        "words.dcm": image("moved a lot", "1.3", patient="p03"),
        "lost.dcm": image("lab/nowhere", "1.4", patient="p04"),
    }
    root = plant(tmp_path / "export", tree)
    flags = (*SCAN, "--unrouted", f"lab/{rest}", "--json")
    plan = desk.run("plan", "push", root, *flags)
    done = desk.run("push", root, *flags)

    why = steps(plan)[f"lab/{rest}/{pack_of('p03')}"]["rule"]
    assert f"project '{rest}' from unrouted" in why
    assert "'moved a lot'" in why
    assert (1, 3) == (done.code, done.summary["uploaded"]), done
    assert {"lab/nowhere"} == problems(done).keys()  # a project is named, and it is not there
    assert [pack_of()] == there(ground, a)
    assert sorted([pack_of("p02"), pack_of("p03")]) == sorted(there(ground, rest))


@pytest.mark.parametrize(
    ("unrouted", "routing", "said"),
    [
        ("lab/x", (), "--unrouted: does nothing without --routing"),
        ("lab", ("--routing", "PatientComments"), "--unrouted: 'lab' is no project"),
        ("p@lab/x", ("--routing", "PatientComments"), "'p@lab/x' is no project"),
    ],
)
def test_a_project_for_the_rest_that_cannot_be_one_is_refused(
    desk: Desk, label: str, root: Path, unrouted: str, routing: tuple[str, ...], said: str
) -> None:
    flags = ("--scan", "dicom", *routing, "--unrouted", unrouted)

    complains(desk.run("push", root, f"lab/{label}", *flags), 2, said)


@pytest.mark.parametrize("command", [("push",), ("plan", "push")])
def test_a_project_that_is_not_there_is_named_with_its_files_and_the_nearest(
    command: tuple[str, ...], ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {
        "ok.dcm": image(f"lab/{label}", "1.1"),
        "a/1.dcm": image(f"lab/{label}x", "1.2"),
        "a/2.dcm": image(f"lab/{label}x", "1.3", patient="p02"),
        "b/3.dcm": image(f"nolab/{label}", "1.4"),
    }
    root = plant(tmp_path / "export", tree)
    done = desk.run(*command, root, *SCAN, "--json")

    said = problems(done)
    assert {f"lab/{label}x", f"nolab/{label}"} == said.keys()
    assert f"did you mean lab/{label}" in said[f"lab/{label}x"]
    assert "2 files name it, such as a/1.dcm" in said[f"lab/{label}x"]
    assert "b/3.dcm" in said[f"nolab/{label}"]
    assert 1 == done.code, done
    assert ([pack_of()] if command == ("push",) else []) == there(ground, label)


def test_a_project_is_made_where_that_is_asked_for_and_a_group_never(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    new = f"{label}-new"
    tree = {"1.dcm": image(f"lab/{new}", "1.1"), "2.dcm": image("nolab/x", "1.2")}
    root = plant(tmp_path / "export", tree)
    ground.forget_requests()
    plan = desk.run("plan", "push", root, *SCAN, "--create-project", "--json")

    assert [] == writing(ground)
    assert {f"lab/{new}/{pack_of()}"} == steps(plan).keys()
    assert {"nolab/x"} == problems(plan).keys()
    assert f"lab/{new}: the project would be made" in plan.out

    done = desk.run("push", root, *SCAN, "--create-project", "--json")

    assert (1, 1) == (done.code, done.summary["uploaded"]), done
    assert "no group 'nolab'" in problems(done)["nolab/x"]
    assert [pack_of()] == there(ground, new)


def test_a_project_that_refuses_keeps_its_own_files_and_no_others(
    ground: Ground, two: tuple[str, str], tmp_path: Path
) -> None:
    ours, theirs = two
    for label, access in ((ours, "rw"), (theirs, "ro")):
        ground.allow(ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"], access)
    tree = {
        "1.dcm": image(f"lab/{ours}", "1.1"),
        "2.dcm": image(f"lab/{theirs}", "1.2"),
        "3.dcm": image(f"lab/{theirs}", "1.3", patient="p02"),
    }
    root = plant(tmp_path / "export", tree)
    user = Desk(tmp_path / "home", ground.user_key())
    ground.forget_requests()
    plan = desk_lines(user.run("plan", "push", root, *SCAN, "--json"))
    assert ({f"lab/{ours}/{pack_of()}"}, 2) == plan

    done = user.run("push", root, *SCAN, "--json")

    assert (1, 1) == (done.code, done.summary["uploaded"]), done
    said = problems(done)
    assert {f"lab/{theirs}/{pack_of()}", f"lab/{theirs}/{pack_of('p02')}"} == said.keys()
    assert all("may not write there" in one for one in said.values()), said
    refused = ground.ask("POST", "/lookup", {"path": ["lab", theirs]})["_id"]
    assert not [one for one in writing(ground) if refused in one]
    assert [] == ground.stored(theirs)

    (root / "1.dcm").unlink()
    (root / ".fwsync/state.db").unlink()
    none = user.run("push", root, *SCAN)
    complains(none, 3, f"lab/{theirs}", "nothing was sent")


def test_a_project_that_refuses_is_a_problem_also_once_the_others_are_in_step(
    ground: Ground, two: tuple[str, str], tmp_path: Path
) -> None:
    ours, theirs = two
    for label, access in ((ours, "rw"), (theirs, "ro")):
        ground.allow(ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"], access)
    tree = {"1.dcm": image(f"lab/{ours}", "1.1"), "2.dcm": image(f"lab/{theirs}", "1.2")}
    root = plant(tmp_path / "export", tree)
    user = Desk(tmp_path / "home", ground.user_key())
    first, again = (user.run("push", root, *SCAN, "--json") for _ in range(2))

    assert (1, 1) == (first.code, first.summary["uploaded"]), first
    assert (3, {"problems": 1}) == (again.code, again.moved()), again
    assert problems(first) == problems(again)


def test_nothing_is_deleted_there_while_the_project_of_a_file_is_missing(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    late = f"{label}-late"
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{label}", "1.1")})
    assert 0 == desk.run("push", root, *SCAN).code
    plant(root, {"1.dcm": image(f"lab/{late}", "1.1")})
    waits = desk.run("push", root, "--delete-up", "--json")

    assert {f"lab/{late}"} == problems(waits).keys(), waits
    assert [pack_of()] == there(ground, label)

    ground.project(late)
    done = desk.run("push", root, "--delete-up", "--json")

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert [pack_of()] == there(ground, late)
    assert [] == there(ground, label)


def test_a_folder_that_is_left_out_names_no_project(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    left_out = f"{label}-scratch"
    tree = {f"lab/{one}/s/v/T1/a.nii": b"1" for one in (label, left_out)}
    root = plant(tmp_path / "export", tree)
    layout = "{group}/{project}/{subject}/{session}/{acquisition}/{file}"
    flags = ("--layout", layout, "--exclude", f"lab/{left_out}/", "--create-project", "--json")
    ground.forget_requests()
    done = desk.run("push", root, *flags)

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert "/api/projects" not in writing(ground)


def desk_lines(done: Done) -> tuple[set[str], int]:
    """The steps of a plan, and how many problems it has."""
    return set(steps(done)), len(problems(done))


def test_a_project_for_the_rest_may_be_set_later_and_not_be_changed(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, rest = two
    tree = {"1.dcm": image(f"lab/{a}", "1.1"), "2.dcm": image(None, "1.2")}
    root = plant(tmp_path / "export", tree)
    assert 1 == desk.run("push", root, *SCAN).code

    done = desk.run("push", root, "--unrouted", f"lab/{rest}", "--json")
    again = desk.run("push", root, "--json")

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert (0, {}) == (again.code, again.moved()), again
    assert [pack_of()] == there(ground, rest)
    complains(desk.run("push", root, "--unrouted", f"lab/{a}"), 2, "are in step by")


def test_pull_and_sync_of_many_projects_are_refused(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{label}", "1.1")})
    assert 0 == desk.run("push", root, *SCAN).code
    before = grown(root)

    complains(desk.run("sync", root), 2, "to the server only")
    complains(desk.run("watch", root, "--mode", "both"), 2, "to the server only")
    assert before == grown(root)

    pairs = plant(tmp_path / "pairs", {f"lab_{label}/s/v/T1/a.nii": b"1"})
    layout = ("--layout", "{group}_{project}/{sub}/{ses}/{acq}/{file}")
    done = desk.run("sync", pairs, *layout)
    complains(done, 2, "many projects", "{group}/{project}")


def test_a_call_without_a_project_says_what_the_layout_lacks(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{label}", "1.1")})

    done = desk.run("push", root, "--scan", "dicom")
    complains(done, 2, "belongs to no project yet", "not the group", "--routing")
    complains(desk.run("push", root, "--subject", "p01"), 2, "not the group")
    assert not (root / ".fwsync").exists()


def test_a_root_that_belongs_to_one_project_stays_with_it_until_the_site_is_named(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, b = two
    tree = {"1.dcm": image(f"lab/{a}", "1.1"), "2.dcm": image(f"lab/{b}", "1.2")}
    root = plant(tmp_path / "export", tree)
    for target in ((f"lab/{a}",), ()):
        done = desk.run("push", root, *target, *SCAN, "--json")
        assert {"2.dcm"} == problems(done).keys(), done
    assert [] == there(ground, b)

    done = desk.run("push", root, "fw://", *SCAN, "--json")

    assert (0, 1, 1) == (done.code, done.summary["uploaded"], done.summary["adopted"]), done
    assert [pack_of()] == there(ground, b)
    complains(desk.run("push", root), 2, "more than one project", "fw:// for all projects")
    again = desk.run("push", root, "fw://", "--json")
    assert (0, {}) == (again.code, again.moved()), again
    assert "in step     2 files" in desk.run("status", root, "fw://").out
    complains(desk.run("pull", "fw://", root), 2, "to the server only")


def test_the_site_may_be_named_only_where_the_files_name_projects(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "export", {f"lab/{label}/s/v/T1/a.nii": b"1"})

    complains(desk.run("push", root, "fw://"), 2, "belongs to no project yet", "{group}/{project}")
    layout = "{group}/{project}/{subject}/{session}/{acquisition}/{file}"
    done = desk.run("push", root, "fw://", "--layout", layout, "--json")
    assert (0, 1) == (done.code, done.summary["uploaded"]), done

    complains(desk.run("pull", "fw://", tmp_path / "new"), 2, "belongs to no project yet")
    assert not (tmp_path / "new").exists()


def test_rules_may_name_a_project_for_each_subtree(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, b = two
    tree = {
        "mri/x/1.dcm": image(None, "1.1"),
        "eeg/p07/run1.edf": b"edf",
        "other/readme": b"?",
    }
    root = plant(tmp_path / "export", tree)
    settings = f"""
        [[rules]]
        path = "mri/**"
        scan = "dicom"
        group = "lab"
        project = "{a}"

        [[rules]]
        path = "eeg/**"
        layout = "{{subject}}/{{file}}"
        session = "eeg"
        acquisition = "rest"
        group = "lab"
        project = "{b}"
    """
    (tmp_path / "fwsync.toml").write_text(settings, encoding="utf-8")
    done = desk.run("push", root, "--config", tmp_path / "fwsync.toml", "--json")

    assert (1, 2) == (done.code, done.summary["uploaded"]), done
    assert {"other/readme"} == problems(done).keys()
    assert [pack_of()] == there(ground, a)
    assert ["p07/eeg/rest/run1.edf"] == there(ground, b)


def test_the_plain_layout_is_another_one_than_that_of_the_headers(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{label}", "1.1")})
    assert 0 == desk.run("push", root, *SCAN).code

    layout = "{group}/{project}/{subject}/{session}/{acquisition}/{file}"
    complains(
        desk.run("push", root, "--layout", layout),
        2,
        "in step by --scan dicom",
        "this is the plain",
    )
    assert 0 == desk.run("push", root).code


def test_a_rule_that_names_no_project_is_named(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/{label}", "1.1")})
    settings = """
        routing = "PatientComments"

        [[rules]]
        path = "mri/**"
        scan = "dicom"

        [[rules]]
        path = "eeg/**"
        layout = "{subject}/{session}/{acquisition}/{file}"
    """
    (tmp_path / "fwsync.toml").write_text(settings, encoding="utf-8")
    done = desk.run("push", root, "--config", tmp_path / "fwsync.toml")

    complains(done, 2, "belongs to no project yet", "rule 2 (eeg/**)")


@pytest.mark.parametrize("layout", ["{group}_{project}/{sub}/{ses}/{acq}/{file}", "ingest"])
def test_folders_may_name_the_projects_in_any_place(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path, layout: str
) -> None:
    tree = {f"lab_{one}/s/v/T1/{one}.nii": one.encode() for one in two}
    root = plant(tmp_path / "export", tree)
    flags = ("--layout", layout)
    if layout == "ingest":
        template = "{group}_{project}:{subject}:{session}:{acquisition}"
        flags = ("--ingest-template", template)
    done = desk.run("push", root, *flags, "--json")
    again = desk.run("push", root, "--json")

    assert (0, 2) == (done.code, done.summary["uploaded"]), done
    assert (0, {}) == (again.code, again.moved()), again
    for one in two:
        assert [f"s/v/T1/{one}.nii"] == there(ground, one)


def test_a_rule_file_may_name_the_projects(
    ground: Ground, desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    a, b = two
    tree = {
        "scans/1.dcm": image(f"lab/{a}", "1.1"),
        "scans/2.dcm": image("claustrophobic", "1.2"),
        "eeg/p07/v1/run/1.edf": b"edf",
    }
    root = plant(tmp_path / "export", tree)
    rules = f"""
- level: acquisition
  include: ["path=~scans/*"]
  type: dicom
- level: acquisition
  mappings: ["path=eeg/{{sub}}/{{ses}}/{{acq}}/*"]
  overrides: {{group._id: lab, project.label: {b}}}
"""
    (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
    flags = ("--rules", tmp_path / "rules.yaml", "--routing", "PatientComments", "--json")
    done = desk.run("push", root, *flags)

    assert (1, 2) == (done.code, done.summary["uploaded"]), done
    assert {"scans/2.dcm"} == problems(done).keys()
    assert "claustrophobic" in problems(done)["scans/2.dcm"]
    [path] = there(ground, a)
    assert path.startswith("p01/"), path
    assert ["p07/v1/run/1.edf"] == there(ground, b)


def test_a_text_that_leads_to_a_project_by_its_id_is_no_name(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    root = plant(tmp_path / "export", {"1.dcm": image(f"lab/<id:{project}>", "1.1")})
    done = desk.run("push", root, *SCAN, "--json")

    assert 1 == done.code, done
    assert [f"lab/<id:{project}>"] == list(problems(done))
    assert f"lab/{label}, which is called otherwise" in problems(done)[f"lab/<id:{project}>"]
    assert [] == there(ground, label)


def test_a_server_of_2018_gets_each_study_in_its_project(tmp_path: Path) -> None:
    with Ground2018(tmp_path / "d", groups=("lab",), switches={"compat": "core-2018"}) as old:
        old.project("one")
        old.project("two")
        tree = {
            "1.dcm": image("lab/one", "1.1"),
            "2.dcm": image("lab/two", "1.2", patient="p02"),
            "3.dcm": image("lab/three", "1.3"),
        }
        root = plant(tmp_path / "export", tree)
        desk = Desk(tmp_path / "home", old.key())
        done = desk.run("push", root, *SCAN, "--json")
        again = desk.run("push", root, "--json")

        assert (1, 2) == (done.code, done.summary["uploaded"]), done
        assert {"lab/three"} == problems(done).keys()
        assert {"problems": 1} == again.moved(), again
        assert (1, 1) == (len(there(old, "one")), len(there(old, "two")))


def test_a_watch_sends_each_study_to_its_project_also_to_one_that_comes_later(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    late = f"{label}-late"
    root = plant(tmp_path / "export", {"1/1.dcm": image(f"lab/{label}", "1.1")})
    flags = (*SCAN, "--settle", "0s", "--rescan", "1s")
    process = desk.start("watch", root, *flags)
    try:
        until(lambda: 1 == ground.count(label), what="the first study is there")
        plant(root, {"2/2.dcm": image(f"lab/{late}", "1.2")})
        plant(root, {"3/3.dcm": image(f"lab/{label}", "1.3", patient="p02")})
        until(lambda: 2 == ground.count(label), what="the second study is there")
        ground.project(late)
        until(lambda: 1 == ground.count(late), what="the study whose project was missing is there")
    finally:
        done = stop_watch(process)
    assert -signal.SIGTERM != done.code, done
    assert 1 == done.err.count(f"problem: lab/{late}"), done
    assert [] == ground.twins()
