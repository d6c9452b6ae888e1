"""What would be there twice is found before it is sent, and left where that is asked."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.house.house import Desk, Done, Ground, complains, plant, record_of
from tests.room.dicoms import data_set, part10

STUDY, SERIES, IMAGE = 0x0020000D, 0x0020000E, 0x00080018
A, B, C = "p01/v1/T1/1.dcm", "p01/v1/T1/2.dcm", "p02/v1/T1/1.dcm"


def image(
    *, study: str = "1.2.3", series: str = "1.2.3.4", uid: str = "1.2.3.4.5", extra: str = ""
) -> bytes:
    values = [(STUDY, "UI", study), (SERIES, "UI", series), (IMAGE, "UI", uid)]
    return part10(data_set(*values, (0x0008103E, "LO", f"T1 {extra}")))


#: Two images of one series; and one of another study.
CLEAN = {
    A: image(uid="1.1"),
    B: image(uid="1.2"),
    C: image(study="9.1", series="9.1.1", uid="9.1.1.1"),
}


def notes(done: Done) -> list[str]:
    """The findings, as they are told."""
    told = [one["text"] for one in done.lines if one["event"] == "note"]
    return [text for text in told if text.startswith("double: ")]


def push(desk: Desk, root: Path, label: str, *flags: str) -> Done:
    return desk.run("push", root, f"lab/{label}", "--json", "--detect-duplicates", *flags)


def test_where_nothing_is_double_nothing_is_said(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {**CLEAN, "notes.txt": b"no image at all"})
    done = push(desk, root, label)

    assert (0, 4, []) == (done.code, done.summary["uploaded"], notes(done)), done
    assert 4 == len(record_of(ground, label))


def test_an_image_that_comes_twice_is_sent_and_said(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {A: image(uid="1.1"), B: image(uid="1.1", extra="x")})
    done = push(desk, root, label)

    assert (0, 2) == (done.code, done.summary["uploaded"]), done
    [said] = notes(done)
    assert A in said
    assert B in said
    assert "DD11" in said


def test_a_plan_shows_each_as_a_problem(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {A: image(uid="1.1"), B: image(uid="1.1", extra="x")})
    done = desk.run("plan", "push", root, f"lab/{label}", "--json", "--detect-duplicates")

    assert 1 == done.code, done
    [problem] = [one for one in done.lines if one["event"] == "problem"]
    assert B == problem["path"]
    assert "image-twice" in problem["message"]
    assert 2 == done.summary["upload"]


def test_what_is_double_is_left_where_that_is_asked(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {**CLEAN, B: image(uid="1.1", extra="x")})
    done = push(desk, root, label, "--duplicates", "skip")

    assert (1, 2, 1) == (done.code, done.summary["uploaded"], done.summary["problems"]), done
    assert [A, C] == sorted(one.path for one in ground.stored(label))
    again = push(desk, root, label)  # by itself it has no twin any more
    assert (0, 1) == (again.code, again.summary["uploaded"]), again


def test_relations_of_uids_and_folders_are_found(desk: Desk, label: str, tmp_path: Path) -> None:
    other = image(study="7.1", series="7.1.1", uid="7.1.1.1")
    tree = {A: image(uid="1.1"), B: other, C: image(uid="1.3")}
    done = push(desk, plant(tmp_path / "root", tree), label)

    codes = {text.rpartition(", ")[2].rstrip(")") for text in notes(done)}
    assert {"DD04", "DD05", "DD07", "DD08"} == codes, done


def test_only_the_codes_that_are_named(desk: Desk, label: str, tmp_path: Path) -> None:
    other = image(study="7.1", series="7.1.1", uid="7.1.1.1")
    tree = {A: image(uid="1.1"), B: other, C: image(uid="1.3")}
    root = plant(tmp_path / "root", tree)
    flags = ("--duplicate-codes", "DD05", "--duplicate-codes", "series-in-acquisition")
    done = push(desk, root, label, *flags)

    codes = {text.rpartition(", ")[2].rstrip(")") for text in notes(done)}
    assert {"DD05", "DD07"} == codes, done
    complains(
        push(desk, root, label, "--duplicate-codes", "DD99"), 2, "duplicate-codes", hint=False
    )


def give_uid(ground: Ground, label: str, uid: str, series: str) -> None:
    """A session and acquisition with uids, as a connector makes them."""
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    subject = ground.ask("POST", "/subjects", {"project": project, "label": "x9"})["_id"]
    session = ground.ask(
        "POST",
        "/sessions",
        {"subject": {"_id": subject}, "project": project, "label": "v9", "uid": uid},
    )["_id"]
    ground.ask("POST", "/acquisitions", {"session": session, "label": "T9", "uid": series})


def test_a_uid_that_is_elsewhere_in_the_project_is_found(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    give_uid(ground, label, "1.2.3", "1.2.3.4")
    ground.forget_requests()
    done = push(desk, plant(tmp_path / "root", CLEAN), label)

    said = "\n".join(notes(done))
    assert f"lab/{label}/x9/v9 on the server (study-elsewhere, DD06)" in said
    assert f"lab/{label}/x9/v9/T9 on the server (series-elsewhere, DD10)" in said
    asked = [one["path"] for one in ground.requests()]
    assert 2 == asked.count("/api/uids/projects")


def test_a_uid_in_a_project_that_is_named_is_found(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    ground.project(f"{label}-old")
    give_uid(ground, f"{label}-old", "9.1", "9.1.1")
    root = plant(tmp_path / "root", CLEAN)
    done = push(desk, root, label, "--duplicate-projects", f"lab/{label}-old")

    assert 2 == len(notes(done)), done
    assert all(f"lab/{label}-old on the server" in text for text in notes(done))


def test_a_name_that_is_there_with_other_bytes_is_found(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", CLEAN)
    assert 0 == push(desk, root, label).code
    plant(root, {A: image(uid="1.1", extra="changed")})
    done = push(desk, root, label, "--duplicates", "skip")

    assert (1, 0) == (done.code, done.summary["uploaded"]), done
    [said] = notes(done)
    assert "name-on-server, DD02" in said
    done = desk.run("push", root, f"lab/{label}", "--json")
    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert 2 == max(one.version for one in ground.stored(label))


def test_two_files_for_one_place_are_both_left(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {"x/p01_T1/f": b"1", "y/p01_T1/f": b"2"})
    layout = ("--layout", "*/{sub}_{acq}/{file}", "--session", "v1")
    done = push(desk, root, label, *layout)

    assert 1 == done.code, done
    assert 0 == done.summary["uploaded"], done  # DD01
    problems = [one for one in done.lines if one["event"] == "problem"]
    assert "would be this file on the server" in problems[0]["message"]


def test_a_rename_is_not_half_done_where_its_new_name_is_left(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {A: image(uid="1.1"), B: image(uid="1.2"), C: CLEAN[C]})
    assert 0 == push(desk, root, label).code
    (root / B).unlink()
    plant(root, {C: CLEAN[C] + b"changed"})
    flags = ("--duplicates", "skip", "--delete-up")
    done = push(desk, root, label, *flags)

    assert (1, 0) == (done.code, done.summary["deleted"]), done
    assert B in {one.path for one in ground.stored(label) if not one.deleted}


def test_members_of_a_pack_are_looked_at_one_by_one(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {A: image(uid="1.1"), B: image(uid="1.1", extra="x")})
    done = push(desk, root, label, "--pack", "*.dcm=dicom")

    [said] = notes(done)
    assert ("image-twice" in said, 1) == (True, done.summary["uploaded"]), done


@pytest.mark.parametrize("asked", [("/uids/projects",), ("/uids/projects", "/uids")])
def test_a_site_that_has_no_such_question_is_asked_otherwise_or_it_is_said(
    asked: tuple[str, ...], ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    give_uid(ground, label, "1.2.3", "1.2.3.4")
    rule = {"id": "no", "match": {"path": list(asked)}, "action": {"status": 404}}
    ground.ask("POST", "/sandbox/faults", rule)
    try:
        done = push(desk, plant(tmp_path / "root", CLEAN), label)
    finally:
        ground.ask("DELETE", "/sandbox/faults")

    found = {text.rpartition(", ")[2].rstrip(")") for text in notes(done)}
    said = "this site cannot be asked for uids" in done.out
    assert (0, 3) == (done.code, done.summary["uploaded"]), done
    assert ({"DD06", "DD10"}, False) == (found, said) or (set(), True) == (found, said), done
    assert said == (len(asked) > 1), done


def test_headers_are_read_once(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", CLEAN)
    for path in CLEAN:  # what was just written may change unseen, and is read again
        os.utime(root / path, ns=(10**18, 10**18))
    assert 0 == push(desk, root, label).code
    assert (0, {}) == ((again := push(desk, root, label)).code, again.moved())
    with closing(sqlite3.connect(root / ".fwsync" / "state.db")) as db:
        assert len(CLEAN) == db.execute("SELECT count(*) FROM header").fetchone()[0]


# ------------------------------------------------------------------- the words of other tools


@pytest.mark.parametrize(
    ("word", "code", "versions"), [("skip", 1, 1), ("replace", 0, 2), ("error", 1, 1)]
)
def test_existing_is_another_word_for_conflict(
    word: str, code: int, versions: int, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    first, second = (plant(tmp_path / name, {"p/v/T1/f": name.encode()}) for name in ("one", "two"))
    assert 0 == desk.run("push", first, f"lab/{label}").code
    done = desk.run("push", second, f"lab/{label}", "--existing", word, "--json")

    assert code == done.code, done
    assert versions == len(ground.stored(label)), done
    both = desk.run("push", second, f"lab/{label}", "--existing", word, "--conflict", "local")
    complains(both, 2, "another spelling of --conflict")
