"""`fwsync doctor`: a damaged state is refused by all others, and made anew by content."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fwsync.roots import part_name
from tests.house.house import SOME, Desk, Done, Ground, complains, grown, kill, plant

T1, T2, T3 = sorted(SOME)

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)


def state_of(root: Path) -> Path:
    return root / ".fwsync" / "state.db"


@pytest.fixture
def in_step(desk: Desk, root: Path, label: str) -> Path:
    done = desk.run("sync", root, f"lab/{label}")

    assert 0 == done.code, done
    return root


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def no_database(file: Path) -> None:
    file.write_text("Dear diary, today I was a database no more.\n" * 99)


def foreign(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE base (path TEXT)")
        db.commit()


def no_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\0" * 100)


def test_without_a_known_project_nothing_is_begun(desk: Desk, in_step: Path) -> None:
    empty(state_of(in_step))
    own = in_step / ".fwsync"
    (own / "remotes").unlink()
    before = sorted(one.name for one in own.iterdir())

    complains(desk.run("doctor", in_step, "--rebuild"), 2, "project")

    assert before == sorted(one.name for one in own.iterdir())


def test_what_a_refused_rebuild_has_seen_is_as_it_was(
    desk: Desk, in_step: Path, label: str, tmp_path: Path
) -> None:
    shutil.rmtree(in_step / ".fwsync")

    complains(desk.run("doctor", in_step, "--rebuild"), 2, "project")
    nothing_made = not (in_step / ".fwsync").exists()
    rebuilt = desk.run("doctor", in_step, f"lab/{label}", "--rebuild", "--json")
    synced = desk.run("sync", in_step, "--json")

    assert nothing_made
    assert (0, 3) == (rebuilt.code, rebuilt.summary["in_step"]), rebuilt
    assert (0, {}) == (synced.code, synced.moved()), synced


def gone(root: Path) -> None:
    root.rename(root.with_name("away"))


def a_link(root: Path) -> None:
    gone(root)
    root.with_name("elsewhere").mkdir()
    root.symlink_to(root.with_name("elsewhere"))


def a_file(root: Path) -> None:
    gone(root)
    root.touch()


def bare(root: Path) -> None:
    gone(root)
    root.mkdir()


def replaced(root: Path) -> None:
    gone(root)
    plant(root, {"others/x": b"other"})


@pytest.mark.parametrize("becomes", [gone, a_link, a_file, bare, replaced])
@pytest.mark.parametrize("kept", ["inside", "outside"])
def test_a_root_that_is_not_there_is_called_the_same_by_all(
    desk: Desk,
    root: Path,
    label: str,
    tmp_path: Path,
    kept: str,
    becomes: Callable[[Path], None],
) -> None:
    state = () if kept == "inside" else ("--state", tmp_path / "kept.db")
    plant(root, SOME)
    first = desk.run("sync", root, f"lab/{label}", "--create-project", *state)
    becomes(root)

    synced = desk.run("sync", root, f"lab/{label}", *state)
    status = desk.run("status", root, *state)
    doctor = desk.run("doctor", root, *state, "--json")
    rebuild = desk.run("doctor", root, f"lab/{label}", "--rebuild", *state)
    said = synced.err.splitlines()[0].removeprefix("error: ")
    wrong = [one["message"] for one in doctor.lines if one.get("what") == "root"]

    assert 0 == first.code, first
    assert (4, 4, 6, 4) == (synced.code, status.code, doctor.code, rebuild.code), synced
    assert [said] == wrong
    assert said in status.err
    assert said in rebuild.err
    assert not (root / ".fwsync").exists()


DAMAGES = [truncate, empty, no_database, foreign, no_header]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_by_all_and_rebuilt_by_the_doctor(  # F91
    ground: Ground, desk: Desk, in_step: Path, label: str, damage: Callable[[Path], None]
) -> None:
    damage(state_of(in_step))
    damaged, before = state_of(in_step).read_bytes(), grown(in_step)
    record = ground.stored(label)

    for words in (
        ("sync", in_step),
        ("push", in_step),
        ("pull", f"lab/{label}", in_step),
        ("plan", "sync", in_step),
        ("verify", in_step),
        ("status", in_step),
        ("cleanup", in_step),
    ):
        complains(desk.run(*words), 6, "damaged", f"`fwsync doctor {in_step} --rebuild`")
    checked = desk.run("doctor", in_step, "--json")
    assert (6, 1) == (checked.code, checked.summary["bad"]), checked
    assert damaged == state_of(in_step).read_bytes()

    done = desk.run("doctor", in_step, "--rebuild", "--json")
    after = desk.run("doctor", in_step)
    synced = desk.run("sync", in_step, "--json")

    assert (0, 3, f"lab/{label}") == (done.code, done.summary["in_step"], done.summary["remote"])
    assert damaged == Path(done.summary["kept"]).read_bytes()
    assert 0 == after.code, after
    assert (0, {}) == (synced.code, synced.moved()), synced
    assert (before, record) == (grown(in_step), ground.stored(label))


def test_a_held_deletion_and_a_conflict_copy_outlive_the_state(
    ground: Ground, desk: Desk, in_step: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    desk.run("pull", f"lab/{label}", other)
    plant(other, {T2: b"theirs"})
    (other / T3).unlink()
    desk.run("sync", other, "--delete-up")
    plant(in_step, {T2: b"mine"})
    (in_step / T1).unlink()
    conflict = desk.run("sync", in_step, "--json")
    record, here = ground.stored(label), grown(in_step)

    done = desk.run("doctor", in_step, "--rebuild", "--json")
    synced = desk.run("sync", in_step, "--json")
    status = desk.run("status", in_step, "--json")

    assert (1, 1) == (conflict.code, conflict.summary["conflicts"]), conflict
    assert 0 == done.code, done
    assert {} == synced.moved(), synced
    assert (record, here) == (ground.stored(label), grown(in_step))
    assert (2, 1) == (status.lines[-1]["held"], len(status.lines[-1]["conflicts"])), status


def test_a_state_that_cannot_be_read_at_all_sends_no_conflict_copy(
    ground: Ground, desk: Desk, in_step: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    desk.run("pull", f"lab/{label}", other)
    plant(other, {T2: b"theirs"})
    desk.run("sync", other)
    plant(in_step, {T2: b"mine"})
    desk.run("sync", in_step)
    record, here = ground.stored(label), grown(in_step)
    no_database(state_of(in_step))

    done = desk.run("doctor", in_step, "--rebuild")
    synced = desk.run("sync", in_step, "--json")

    assert 0 == done.code, done
    assert {} == synced.moved(), synced
    assert (record, here) == (ground.stored(label), grown(in_step))


def test_what_differs_is_left_for_the_next_sync_which_keeps_both(
    ground: Ground, desk: Desk, in_step: Path, label: str
) -> None:
    plant(in_step, {T1: b"edited", "sub-01/ses-01/t1/new.dcm": b"new"})
    no_database(state_of(in_step))
    before, record = grown(in_step), ground.stored(label)

    done = desk.run("doctor", in_step, "--rebuild", "--json")
    nothing_moved = (before, record) == (grown(in_step), ground.stored(label))
    synced = desk.run("sync", in_step, "--json")

    assert (1, [T1], 1) == (
        done.code,
        [one["path"] for one in done.lines if one["event"] == "differs"],
        done.summary["only_here"],
    ), done
    assert nothing_moved
    assert (1, 1) == (synced.summary["conflicts"], synced.summary["uploaded"]), synced
    assert b"edited" in grown(in_step).values()
    assert SOME[T1] == (in_step / T1).read_bytes()


def test_without_a_doctor_a_state_that_is_gone_is_made_anew_by_content(  # S107
    ground: Ground, desk: Desk, in_step: Path, label: str
) -> None:
    record = ground.stored(label)
    for file in in_step.joinpath(".fwsync").glob("state.db*"):
        file.unlink()

    synced = desk.run("sync", in_step, f"lab/{label}", "--delete", "--json")

    assert (0, {"adopted": 3}) == (synced.code, synced.moved()), synced
    assert record == ground.stored(label)


def test_a_newer_state_is_not_touched(desk: Desk, in_step: Path) -> None:
    with closing(sqlite3.connect(state_of(in_step))) as db:
        db.execute("PRAGMA user_version = 9999")
    before = state_of(in_step).read_bytes()

    complains(desk.run("doctor", in_step, "--rebuild"), 6, "newer fwsync")
    assert before == state_of(in_step).read_bytes()


def test_where_the_server_does_not_answer_nothing_is_set_aside(
    desk: Desk, in_step: Path, ground: Ground
) -> None:
    no_database(state_of(in_step))
    before = {one.name for one in in_step.joinpath(".fwsync").iterdir()}
    desk.key = ground.key(port=9)

    done = desk.run("doctor", in_step, "--rebuild", "--patience", "1")

    assert 5 == done.code, done
    assert before == {one.name for one in in_step.joinpath(".fwsync").iterdir()}


def test_a_doctor_that_finds_nothing_wrong_says_so_and_writes_nothing(
    desk: Desk, in_step: Path
) -> None:
    def all_of_it() -> dict[str, object]:
        return {
            str(one): one.is_file() and (one.stat().st_mtime_ns, one.read_bytes())
            for one in in_step.rglob("*")
        }

    before = all_of_it()
    done, told = desk.run("doctor", in_step), desk.run("doctor", in_step, "--json")

    assert (0, 0) == (done.code, told.code), done
    assert "doctor: all is well" in done.out
    assert {"state", "key", "server", "project", "lock", "trash"} <= {
        one.get("what") for one in told.lines
    }
    assert before == all_of_it()


def test_a_doctor_names_what_contradicts_itself(desk: Desk, in_step: Path) -> None:
    with closing(sqlite3.connect(state_of(in_step))) as db:
        db.execute("UPDATE base SET path = '../' || path WHERE path = ?", (T1,))
        db.commit()

    done = desk.run("doctor", in_step)
    mended = desk.run("doctor", in_step, "--rebuild", "--json")

    assert 6 == done.code, done
    assert "leads elsewhere" in done.out
    assert (0, 3) == (mended.code, mended.summary["in_step"]), mended


def test_a_doctor_without_a_key_still_looks_at_the_state(desk: Desk, in_step: Path) -> None:
    desk.key = ""
    done = desk.run("doctor", in_step, "--json")

    assert 1 == done.code, done
    grades = {one["what"]: one["grade"] for one in done.lines if one["event"] == "finding"}
    assert ("good", "bad") == (grades["state"], grades["key"])


def test_a_doctor_that_is_killed_leaves_a_state_or_the_damaged_one(
    ground: Ground, desk: Desk, in_step: Path, label: str
) -> None:
    relay = ground.relay()
    desk.key = ground.key(port=relay.port)
    no_database(state_of(in_step))
    record = ground.stored(label)
    ground.run(relay.limit(down=1))
    process = desk.start("doctor", in_step, "--rebuild")
    try:
        assert relay.stalled.wait(30)
    finally:
        kill(process)
    ground.run(relay.limit())

    again: Done = desk.run("doctor", in_step, "--rebuild", "--json")

    assert (0, 3) == (again.code, again.summary["in_step"]), again
    assert record == ground.stored(label)


def finding(desk: Desk, root: Path, what: str) -> dict[str, str]:
    """What a doctor says of one thing, who finds nothing wrong."""
    done = desk.run("doctor", root, "--json")
    assert 0 == done.code, done
    (found,) = (one for one in done.lines if one.get("what") == what)
    return found


def test_of_parts_it_says_which_a_run_goes_on_with(desk: Desk, in_step: Path) -> None:
    old_ns = time.time_ns() - 15 * 24 * 3600 * 10**9
    with closing(sqlite3.connect(state_of(in_step))) as db:
        rows = [("large.nii", time.time_ns()), ("forgotten.nii", old_ns)]
        db.executemany("INSERT INTO download VALUES (?, 'v', 8388608, '', ?)", rows)
        db.commit()
    small = {f".fwsync/parts/{part_name(path)}": b"12" for path in ("small.nii", "forgotten.nii")}
    plant(in_step, small)
    anew = finding(desk, in_step, "parts")["message"]
    plant(in_step, {f".fwsync/parts/{part_name('large.nii')}": b"123"})
    some = finding(desk, in_step, "parts")["message"]
    for path in small:
        (in_step / path).unlink()
    all_ = finding(desk, in_step, "parts")["message"]

    assert "2 files on their way, 4 B; the next run takes them away, and begins anew" == anew
    assert (
        "3 files on their way, 7 B; the next run goes on with 1 of them, takes the others away, "
        "and begins these anew"
    ) == some
    assert "1 file on its way, 3 B; the next run goes on with it" == all_


def test_what_a_guard_holds_and_conflicts_are_named_by_the_doctor(
    desk: Desk, in_step: Path, label: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    desk.run("pull", f"lab/{label}", other)
    plant(other, {T2: b"theirs"})
    desk.run("sync", other)
    plant(in_step, {T2: b"mine"})
    assert 1 == desk.run("sync", in_step).code
    for path in (T1, T3):
        (in_step / path).unlink()
    assert 4 == desk.run("sync", in_step, "--delete", "--max-delete", "1").code

    held, conflicts = (finding(desk, in_step, what) for what in ("held", "conflicts"))
    said = desk.run("doctor", in_step)
    status = desk.run("status", in_step)
    hints = [one["hint"].split("`")[1] for one in (held, conflicts)]
    pasted = [desk.run(*shlex.split(one)[1:]) for one in hints]

    assert ("good", "good") == (held["grade"], conflicts["grade"])
    assert "2 steps" in held["message"], held
    assert "1 conflict waits for you" == conflicts["message"]
    assert [f"fwsync status {in_step}", f"fwsync conflicts {in_step}"] == hints
    assert [4, 1] == [one.code for one in pasted], pasted
    assert (0, 4) == (said.code, status.code), said
    assert " note  held" in said.out, said
    assert "doctor: nothing is wrong; 2 things wait for you" in said.out, said


def test_a_state_that_may_not_be_read_is_given_its_rights_back_and_not_made_anew(
    desk: Desk, in_step: Path
) -> None:
    state_of(in_step).chmod(0)

    done = desk.run("doctor", in_step, "--json", as_user=True)
    status = desk.run("status", in_step, as_user=True)

    (found,) = (one for one in done.lines if one.get("what") == "state")
    assert (6, "bad") == (done.code, found["grade"]), done
    assert f"chmod u+rw {state_of(in_step)}" in found["hint"]
    assert "--rebuild" not in done.out
    complains(status, 6, "Permission denied", f"chmod u+rw {state_of(in_step)}")


def test_of_a_project_that_is_only_read_it_speaks_of_rights_and_of_no_sending(
    ground: Ground, desk: Desk, in_step: Path, label: str
) -> None:
    ground.allow(ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"], "ro")
    desk.key = ground.user_key()

    done = desk.run("doctor", in_step, "--json")

    (found,) = (one for one in done.lines if one.get("what") == "project")
    assert (1, "doubtful") == (done.code, found["grade"]), done
    assert "may not write there" in found["message"]
    assert "sent" not in found["message"]
