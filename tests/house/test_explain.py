"""``fwsync explain`` and ``fwsync history`` say of a path what a run does, and did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.house.disks import small_disk
from tests.house.house import SOME, Desk, Ground, complains, plant

X = "sub-01/ses-01/t1/1.dcm"


@pytest.fixture
def agreed(desk: Desk, root: Path, label: str) -> Path:
    """A root in step."""
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    return root


def explained(desk: Desk, path: Path, *how: str) -> dict[str, Any]:
    done = desk.run("explain", path, "--json", *how)

    assert 0 == done.code, done
    (line,) = done.lines
    return line


def test_each_of_the_three_trees_is_told_and_the_verdict_of_a_run(
    desk: Desk, agreed: Path, label: str
) -> None:
    plant(agreed, {X: b"edited", "sub-01/ses-01/t1/new.dcm": b"new"})
    (agreed / "sub-02/ses-01/t2/1.dcm").unlink()

    here, new, gone = (
        explained(desk, agreed / path)
        for path in (X, "sub-01/ses-01/t1/new.dcm", "sub-02/ses-01/t2/1.dcm")
    )

    assert ("changed", "same", "upload") == (here["delta_here"], here["delta_there"], here["verb"])
    assert (6, 3, 3) == (here["here"]["size"], here["server"]["size"], here["agreed"]["size"])
    assert ["lab", label, "sub-01", "ses-01", "t1"] == here["labels"]
    assert ("created", "absent", "upload") == (new["delta_here"], new["delta_there"], new["verb"])
    assert ("hold", "delete-remote") == (gone["verb"], gone["with_deletes"])


def test_it_says_the_same_without_the_server_as_far_as_was_agreed(desk: Desk, agreed: Path) -> None:
    plant(agreed, {X: b"edited"})
    asked = explained(desk, agreed / X)
    desk.key = ""

    for how in (["--offline"], []):
        told = explained(desk, agreed / X, *how)

        assert (False, asked["verb"], asked["why"]) == (told["asked"], told["verb"], told["why"])


def test_what_leaves_a_file_out_is_told_by_its_line(
    desk: Desk, agreed: Path, tmp_path: Path
) -> None:
    (agreed / "sub-01/.fwsyncignore").write_text("# ours\n\nses-01/t1/1.dcm\n*.log\n")
    patterns = tmp_path / "patterns"
    patterns.write_text("*.tmp\n*2.dcm\n")
    two = agreed / "sub-01/ses-01/t1/2.dcm"

    by_folder = explained(desk, agreed / X)
    by_file = explained(desk, two, "--filter-from", str(patterns))
    by_flag = explained(desk, two, "--exclude", "sub-01/")

    assert "line 3 of sub-01/.fwsyncignore: ses-01/t1/1.dcm" == by_folder["left_out"]
    assert by_file["left_out"].endswith("patterns: *2.dcm")
    assert "line 2 of" in by_file["left_out"]
    assert "--exclude: sub-01/" == by_flag["left_out"]
    assert [None, None, None] == [one["verb"] for one in (by_folder, by_file, by_flag)]


def test_a_conflict_copy_a_folder_a_link_and_nothing_at_all(
    desk: Desk, agreed: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    desk.run("sync", other, f"lab/{label}")
    plant(other, {X: b"theirs"})
    desk.run("sync", other)
    plant(agreed, {X: b"mine, and longer"})
    desk.run("sync", agreed)
    (agreed / "link").symlink_to("sub-01")
    (copy,) = agreed.rglob("*fwsync-conflict*.dcm")

    assert "copy" == explained(desk, copy)["kind"]
    assert copy.name in explained(desk, agreed / X)["conflict_copy"]
    folder = explained(desk, agreed / "sub-01")
    assert ("folder", 3) == (folder["kind"], folder["counts"]["here"])
    assert "link" in explained(desk, agreed / "link")["unseen"]
    assert "nowhere" == explained(desk, agreed / "sub-99/nix.dcm")["kind"]
    assert "ours" == explained(desk, agreed / ".fwsync/state.db")["kind"]
    complains(desk.run("explain", tmp_path / "elsewhere"), 2, "kept in step")


def test_of_a_conflict_it_says_what_becomes_of_it(
    desk: Desk, agreed: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    desk.run("sync", other, f"lab/{label}")
    plant(other, {X: b"theirs"})
    desk.run("sync", other)
    plant(agreed, {X: b"mine, and longer"})

    both, left, up = (
        desk.run("explain", agreed / X, "--patience", "20s", *how).out
        for how in ((), ("--conflict", "fail"), ("--mode", "up"))
    )

    assert "sync` keeps both: the server's gets the name, yours stays beside it" in both
    assert "sync` leaves both as they are: --conflict fail says so" in left
    assert "push` leaves both as they are: nothing comes down with it" in up


def test_a_member_of_a_pack_is_told_with_its_pack(
    desk: Desk, ground: Ground, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "packed", SOME)
    pack = ("--pack", "*.dcm=dicom")
    assert 0 == desk.run("sync", root, f"lab/{label}", *pack).code

    told = explained(desk, root / X)

    assert {"sub-01/ses-01/t1/1.dcm", "sub-01/ses-01/t1/2.dcm"} == set(told["sources"])
    assert (2, "nothing") == (told["here"]["members"], told["verb"])
    history = desk.run("history", root / X, "--json")
    assert ["upload"] == [line["what"] for line in history.lines[:-1]], history


def test_what_a_guard_holds_is_told_with_what_consents(desk: Desk, agreed: Path) -> None:
    for path in SOME:
        (agreed / path).unlink()

    told = explained(desk, agreed / X, "--delete-up")

    assert told["guards"]
    assert told["plan_id"]


def test_of_a_folder_it_says_which_filter_leaves_it_out(desk: Desk, agreed: Path) -> None:
    plant(agreed, {"junk/deep/x": b"x", ".fwsyncignore": b"# ours\nsub-02/\n"})
    (agreed / "bare").mkdir()

    junk, deep = (
        desk.run("explain", agreed / path, "--exclude", "junk/") for path in ("junk", "junk/deep")
    )
    known = explained(desk, agreed / "sub-02/ses-01")
    bare = explained(desk, agreed / "bare")

    assert "it takes no part: --exclude: junk/\n" in junk.out
    assert "it takes no part: --exclude: junk/ (it leaves out junk)\n" in deep.out
    assert not any("nowhere" in one.out for one in (junk, deep))
    assert ("folder", "line 2 of .fwsyncignore: sub-02/") == (known["kind"], known["left_out"])
    assert ("folder", "") == (bare["kind"], bare["left_out"])


def test_of_a_folder_it_says_which_guard_holds_its_deletions(desk: Desk, agreed: Path) -> None:
    for path in SOME:
        (agreed / path).unlink()
    plant(agreed, {"sub-01/ses-01/t1/new.dcm": b"new"})

    told = explained(desk, agreed / "sub-01", "--delete-up")
    done = desk.run("explain", agreed / "sub-01", "--delete-up")

    assert ({"delete-remote": 2}, 1) == (told["waiting"], told["counts"]["upload"])
    assert told["guards"]
    assert f"--accept-deletes {told['plan_id']}" in done.out
    assert "1 file: it is sent\n" in done.out
    assert "2 files: they are deleted on the server\n" in done.out


def test_the_direction_is_that_of_the_last_run_whatever_its_command(
    desk: Desk, agreed: Path, tmp_path: Path
) -> None:
    for word, mode in (("push", "up"), ("sync", "both")):
        plan = tmp_path / f"{word}.json"
        desk.run("plan", word, agreed, "--out", plan)
        assert 0 == desk.run("apply", plan).code

        assert mode == explained(desk, agreed / X)["mode"]

    assert 0 == desk.run("push", agreed).code
    assert 0 == desk.run("doctor", agreed, "--rebuild").code

    assert "up" == explained(desk, agreed / X)["mode"]


def test_what_was_said_of_a_conflict_is_told_in_the_words_in_which_it_was_said(
    desk: Desk, agreed: Path, label: str, tmp_path: Path
) -> None:
    other = plant(tmp_path / "other", {})
    assert 0 == desk.run("sync", other, f"lab/{label}").code
    plant(other, {X: b"theirs, it is"})
    plant(agreed, {X: b"mine"})
    assert 0 == desk.run("sync", other).code
    assert 1 == desk.run("sync", agreed, "--conflict", "skip").code
    assert "" == explained(desk, agreed / X)["choice"]

    assert 0 == desk.run("conflicts", "keep-local", agreed / X).code

    assert "keep-local" == explained(desk, agreed / X)["choice"]
    assert "by the next run: keep-local" in desk.run("explain", agreed / X).out


def test_of_a_path_that_was_renamed_it_says_where_that_is_now(
    desk: Desk, agreed: Path, label: str
) -> None:
    for old, new in (("sub-01", "sub 7"), ("sub 7", "sub-08")):
        (agreed / old).rename(agreed / new)
        assert 0 == desk.run("sync", agreed).code
    now = X.replace("sub-01", "sub-08")

    told = explained(desk, agreed / X)
    said = desk.run("explain", agreed / X).out
    folder = explained(desk, agreed / "sub-01")
    between = explained(desk, agreed / "sub 7/ses-01")
    (agreed / now).unlink()
    assert 0 == desk.run("sync", agreed, "--delete-up").code
    gone = explained(desk, agreed / X)

    assert ("nowhere", now) == (told["kind"], told["moved_to"])
    assert f"renamed to {now}; `fwsync explain {agreed / now}` says more" in said
    assert "never" not in said
    assert ("nowhere", "sub-08") == (folder["kind"], folder["moved_to"])
    assert "sub-08/ses-01" == between["moved_to"]
    assert ("nowhere", "") == (gone["kind"], gone["moved_to"])


def test_it_changes_nothing(desk: Desk, agreed: Path) -> None:
    plant(agreed, {X: b"edited"})
    before = everything(agreed)

    explained(desk, agreed / X)
    explained(desk, agreed / X, "--offline")
    desk.run("history", agreed / X)

    assert before == everything(agreed)


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_history_of_a_file_goes_from_the_first_run_to_what_is_agreed_now(
    desk: Desk, agreed: Path
) -> None:
    plant(agreed, {X: b"edited"})
    desk.run("sync", agreed)
    (agreed / X).unlink()
    desk.run("sync", agreed, "--delete-up")

    done = desk.run("history", agreed / X, "--json")

    assert ["upload", "upload", "delete-remote"] == [line["what"] for line in done.lines[:-1]]
    assert [1, 2, 2] == [line["version"] for line in done.lines[:-1]]
    assert [None, "version 1", None] == [line["kept"] for line in done.lines[:-1]]
    assert all(line["digest"] and line["time"].endswith("Z") for line in done.lines[:-1])
    assert not done.summary["agreed"]
    assert "deleted there" in desk.run("history", agreed / X).out


def test_what_is_put_back_is_in_the_history_at_once(
    desk: Desk, ground: Ground, agreed: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    desk.run("sync", other, f"lab/{label}")
    (other / X).unlink()
    desk.run("sync", other, "--delete-up")
    done = desk.run("sync", agreed, "--delete-down")
    assert "fwsync restore" in done.out

    restored = desk.run("restore", agreed, X)
    assert 0 == restored.code, restored

    for _ in range(2):
        lines = desk.run("history", agreed / X, "--json").lines[:-1]
        assert ["upload", "delete-local", "restore"] == [line["what"] for line in lines][:3]
        assert lines[1]["kept"] == lines[2]["kept"]
        assert "restore" == lines[2]["command"]
        desk.run("sync", agreed)


def test_of_a_folder_the_latest_events_are_told_and_the_others_counted(
    desk: Desk, agreed: Path
) -> None:
    few, all_ = desk.run("history", agreed, "--last", "1"), desk.run("history", agreed, "--json")

    assert f"  … {len(SOME) - 1} earlier events; --last {len(SOME)} shows them all\n" in few.out, (
        few
    )
    assert 1 == few.out.count("sent"), few
    assert f"history: {len(SOME)} events" in few.out, few
    assert len(SOME) == all_.summary["events"] == all_.summary["shown"]


def test_a_root_where_nothing_may_be_written_is_known_by_its_state_file(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    state = tmp_path / "elsewhere.db"
    with small_disk(tmp_path / "disk", "8m") as disk:
        root = plant(disk.path / "scans", SOME)
        disk.resize("8m,ro")
        assert 0 == desk.run("push", root, f"lab/{label}", "--state", state).code

        told = explained(desk, root / X, "--state", str(state))
        history = desk.run("history", root / X, "--state", state, "--json")
        conflicts = desk.run("conflicts", "list", root, "--state", state)
        other = desk.run("history", tmp_path, "--state", state)
        without = desk.run("history", root / X)

    assert ("nothing", True) == (told["verb"], told["asked"])
    assert ["upload"] == [line["what"] for line in history.lines[:-1]], history
    assert (0, "conflicts: 0 files in conflict\n") == (conflicts.code, conflicts.out), conflicts
    complains(other, 2, "kept in step")
    complains(without, 2, "if that was given a --state, give it here, too")
