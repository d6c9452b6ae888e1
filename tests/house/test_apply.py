"""`fwsync plan … --out FILE` and `fwsync apply FILE`: looked at first, and done as it was seen."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.house.house import ROOT, Desk, Done, Ground, complains, grown, kill, plant
from tests.torture.points import Point

#: Each test starts many processes.
pytestmark = pytest.mark.timeout(300)


def everything(folder: Path) -> dict[str, object]:
    """All below a folder, our own included: folders by name, files by time and content too."""
    return {
        str(path.relative_to(folder)): path.is_file()
        and (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
    }


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


@pytest.fixture
def in_step(ground: Ground, desk: Desk, root: Path, label: str) -> Path:
    """A root and a project that hold the same three files."""
    done = desk.run("sync", root, f"lab/{label}", "--json")

    assert 0 == done.code, done
    return root


@pytest.fixture
def other(desk: Desk, in_step: Path, label: str, tmp_path: Path) -> Callable[..., Done]:
    """Another host: changes its copy and syncs it, so that the server changes."""
    elsewhere = tmp_path / "elsewhere"
    assert 0 == desk.run("pull", f"lab/{label}", elsewhere).code

    def change(tree: dict[str, bytes | None]) -> Done:
        for path, content in tree.items():
            if content is None:
                (elsewhere / path).unlink()
            else:
                plant(elsewhere, {path: content})
        done = desk.run("sync", elsewhere, "--delete-up", "--json")

        assert 0 == done.code, done
        return done

    return change


def there(ground: Ground, label: str) -> dict[str, str]:
    """The files of a project that are not deleted, by their newest version."""
    found: dict[str, tuple[int, str, bool]] = {}
    for one in ground.stored(label):
        if one.path not in found or found[one.path][0] < one.version:
            found[one.path] = (one.version, one.sha384, one.deleted)
    return {path: sha for path, (_, sha, deleted) in found.items() if not deleted}


def status(desk: Desk, root: Path) -> Any:
    return json.loads(desk.run("status", root, "--json").out)


def sorted_options(command: str, told: tuple[str, ...]) -> list[str]:
    """Those words of a command that were told, in the order in which they were."""
    return [one for one in told if one in shlex.split(command)]


def items(plan: Path) -> dict[str, Any]:
    saved = json.loads(plan.read_text())
    return {one["path"]: one for one in saved["decisions"]}


T1, T2, T3 = "sub-01/ses-01/t1/1.dcm", "sub-01/ses-01/t1/2.dcm", "sub-02/ses-01/t2/1.dcm"
NEW, THEIRS = "sub-01/ses-01/t1/new.dcm", "sub-01/ses-01/t1/theirs.dcm"


# ------------------------------------------------------------------------------ as it was seen


def test_what_a_saved_plan_says_is_what_apply_does(
    ground: Ground, desk: Desk, in_step: Path, other: Callable[..., Done], plan: Path, label: str
) -> None:
    other({THEIRS: b"theirs", T2: b"two, edited there"})
    plant(in_step, {NEW: b"new", T1: b"one, edited here"})
    (in_step / T3).unlink()
    before = everything(in_step)

    planned = desk.run("plan", "sync", in_step, "--delete", "--out", plan, "--json")
    untouched = everything(in_step)
    applied = desk.run("apply", plan, "--json")
    again = desk.run("plan", "sync", in_step, "--delete", "--json")

    assert before == untouched
    assert (0, str(plan), 0) == (
        planned.code,
        planned.summary["out"],
        planned.summary["exit_code"],
    ), planned
    assert {
        NEW: "upload",
        T1: "upload",
        THEIRS: "download",
        T2: "download",
        T3: "delete-remote",
    } == {path: one["verb"] for path, one in items(plan).items()}
    assert 0 == applied.code, applied
    assert {"uploaded": 2, "downloaded": 2, "deleted": 1, "bytes": 42} == applied.moved()
    assert [] == [one for one in again.lines if one["event"] == "decision"], again
    assert b"two, edited there" == (in_step / T2).read_bytes()
    assert T3 not in there(ground, label)


def test_a_plan_names_what_it_was_made_from_and_no_secret(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str
) -> None:
    plant(in_step, {T1: b"one, edited here"})
    done = desk.run("plan", "push", in_step, "--conflict", "skip", "--out", plan)

    saved = json.loads(plan.read_text())
    (item,) = saved["decisions"]
    status = (in_step / T1).stat()

    assert 0 == done.code, done
    assert f"fwsync apply {plan}" in done.out
    assert (1, "up", str(in_step), f"lab/{label}") == (
        saved["fwsync_plan"],
        saved["mode"],
        saved["root"],
        saved["remote"]["name"],
    )
    assert {"conflict": "skip"} == saved["settings"]
    assert (status.st_size, status.st_mtime_ns, status.st_ino) == (
        item["local"]["size"],
        item["local"]["mtime_ns"],
        item["local"]["inode"],
    )
    assert (1, 3) == (item["remote"]["version"], item["base"]["size"])
    assert 0o600 == plan.stat().st_mode & 0o777
    assert [] == [one for one in ground.secrets if one in plan.read_bytes()]


def test_a_plan_of_a_first_pull_is_applied_to_a_folder_that_apply_makes(
    desk: Desk, in_step: Path, plan: Path, label: str, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    planned = desk.run("plan", "pull", f"lab/{label}", fresh, "--out", plan)
    made_none = not fresh.exists()
    applied = desk.run("apply", plan, "--json")

    assert (0, True) == (planned.code, made_none), planned
    assert (0, 3) == (applied.code, applied.summary["downloaded"]), applied
    assert grown(in_step) == grown(fresh)


def test_a_plan_of_a_project_that_would_be_made_makes_it_when_it_is_applied(
    ground: Ground, desk: Desk, root: Path, plan: Path, label: str
) -> None:
    name = f"{label}-made"
    planned = desk.run("plan", "push", root, f"lab/{name}", "--create-project", "--out", plan)
    applied = desk.run("apply", plan, "--json")

    assert 0 == planned.code, planned
    assert (0, 3) == (applied.code, applied.summary["uploaded"]), applied
    assert 3 == len(there(ground, name))


def test_settings_come_from_the_plan_and_not_from_the_day_it_is_applied(
    desk: Desk, in_step: Path, plan: Path
) -> None:
    plant(in_step, {NEW: b"new", "sub-01/ses-01/t1/skip.txt": b"left out"})
    desk.run("plan", "push", in_step, "--exclude", "*.txt", "--out", plan)
    (desk.home / "fwsync.toml").write_text('exclude = ["*.dcm"]\ndelete_up = true\n')

    applied = desk.run("apply", plan, "--json")

    assert (0, 1) == (applied.code, applied.summary["uploaded"]), applied


# ------------------------------------------------------------------------- the world moved on


def test_nothing_is_done_that_is_not_in_the_plan(
    ground: Ground, desk: Desk, in_step: Path, other: Callable[..., Done], plan: Path, label: str
) -> None:
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "sync", in_step, "--delete", "--out", plan)
    plant(in_step, {"sub-09/ses-01/t1/later.dcm": b"later"})
    other({THEIRS: b"theirs", T3: None})

    applied = desk.run("apply", plan, "--json")

    assert (0, {"uploaded": 1, "bytes": 3}) == (applied.code, applied.moved()), applied
    assert (in_step / T3).exists()
    assert not (in_step / THEIRS).exists()
    assert "sub-09/ses-01/t1/later.dcm" not in there(ground, label)


def test_a_plan_that_was_done_is_done_again_by_nothing(
    desk: Desk, in_step: Path, other: Callable[..., Done], plan: Path
) -> None:
    other({THEIRS: b"theirs", T2: b"two, edited there"})
    plant(in_step, {NEW: b"new", T1: b"one, edited here"})
    (in_step / T3).unlink()
    desk.run("plan", "sync", in_step, "--delete", "--out", plan)
    first = desk.run("apply", plan, "--json")
    second = desk.run("apply", plan, "--json")

    assert (0, 0) == (first.code, second.code), second
    assert {} == second.moved()


def test_a_deletion_that_the_plan_cannot_reach_any_more_asks_for_a_new_one(
    desk: Desk, in_step: Path, plan: Path
) -> None:
    plant(in_step, {NEW: b"new"})
    (in_step / T3).unlink()
    desk.run("plan", "sync", in_step, "--delete", "--out", plan)
    plant(in_step, {NEW: b"new, and edited since"})

    applied = desk.run("apply", plan)

    assert 1 == applied.code, applied
    why = "not deleted, as some of what is new was left; make a new plan"
    assert f"left alone: {T3}: deleted here; {why}" in applied.out, applied


def test_two_files_that_were_swapped_since_are_left(desk: Desk, in_step: Path, plan: Path) -> None:
    plant(in_step, {T1: b"aaa", T2: b"bbb"})
    desk.run("plan", "push", in_step, "--out", plan)
    one, two, aside = in_step / T1, in_step / T2, in_step / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)

    applied = desk.run("apply", plan, "--json")

    assert (1, 0) == (applied.code, applied.summary["uploaded"]), applied
    assert {T1, T2} == {line["path"] for line in applied.lines if line["event"] == "problem"}


def test_a_plan_that_was_killed_half_way_goes_on(
    ground: Ground, desk: Desk, root: Path, plan: Path, label: str
) -> None:
    relay = ground.relay()
    plant(root, {f"sub-03/ses-01/t1/{number}.bin": os.urandom(1 << 20) for number in range(8)})
    desk.key = ground.key(port=relay.port)
    planned = desk.run("plan", "push", root, f"lab/{label}", "--out", plan)
    ground.run(relay.limit(up=4 << 20))
    process = desk.start("apply", plan, "--transfers", "2", "--json")
    try:
        assert relay.stalled.wait(30)
    finally:
        kill(process)
    ground.run(relay.limit())

    applied = desk.run("apply", plan, "--json")
    again = desk.run("plan", "push", root, "--json")

    assert (0, 0) == (planned.code, applied.code), applied
    assert 11 == len(there(ground, label)) == len(ground.stored(label))
    assert [] == [one for one in again.lines if one["event"] == "decision"], again


WRITING = [
    Point("F03", "saved_plans:write"),
    *(Point("F03", "saved_plans:item_of", "after", nth) for nth in (1, 2)),
    Point("F03", "saved_plans:_write_out"),
    Point("F03", "saved_plans:_write_out", "after"),
    Point("F03", "saved_plans:_give_its_name"),
    Point("F03", "saved_plans:_give_its_name", "after"),
    Point("F03", "saved_plans:write", "after"),
]


@pytest.mark.parametrize("point", WRITING, ids=str)
def test_a_plan_that_is_killed_while_it_is_written_is_the_old_one_or_the_new_one(
    point: Point, desk: Desk, in_step: Path, plan: Path
) -> None:
    make = ("plan", "sync", in_step, "--out", plan)
    plant(in_step, {NEW: b"new"})
    assert desk.run(*make).code == 0
    old = plan.read_bytes()
    plant(in_step, {NEW: b"newer", T1: b"edited, too", T3: b"and this"})

    program = (str(ROOT / "tests/torture/points.py"), json.dumps(point.spec))
    done = desk.run(*make, program=program)

    assert -signal.SIGKILL == done.code, f"it never came there: {done}"
    now = plan.read_bytes()
    assert (now == old) == ({NEW} == items(plan).keys())
    assert (now != old) == ({NEW, T1, T3} == items(plan).keys())
    assert (now != old) == (point in WRITING[-2:]), "the new one has its name at the very end"
    applied = desk.run("apply", plan, "--json")
    assert (now != old) == (applied.code == 0), applied
    assert desk.run(*make).code == 0


# ----------------------------------------------------------------------------------- guards


def test_what_a_guard_held_stays_held_until_that_very_plan_is_consented_to(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str
) -> None:
    plant(in_step, {NEW: b"new"})
    (in_step / T1).unlink()
    (in_step / T2).unlink()
    told = ("--delete-up", "--max-delete", "1")
    planned = desk.run("plan", "sync", in_step, *told, "--out", plan, "--json")
    plan_id = json.loads(plan.read_text())["plan_id"]

    held = desk.run("apply", plan, "--json")
    wrong = desk.run("apply", plan, "--accept-deletes", "0123456789ab", "--json")
    left = there(ground, label)
    done = desk.run("apply", plan, "--accept-deletes", plan_id, "--json")

    assert (4, 4, 4, 0) == (planned.code, held.code, wrong.code, done.code), done
    assert {"uploaded": 1, "bytes": 3} == held.moved()
    assert plan_id == held.summary["plan_id"]
    assert {T1, T2} <= left.keys()
    assert 2 == done.summary["deleted"]
    assert not {T1, T2} & there(ground, label).keys()


def test_what_is_consented_to_is_the_saved_plan_though_there_is_more_to_delete_by_now(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str
) -> None:
    plant(in_step, {NEW: b"stays"})
    assert 0 == desk.run("sync", in_step).code
    for path in (T1, T2):
        (in_step / path).unlink()
    told = ("--delete-up", "--exclude", "*.no such", "--max-delete", "1", "--min-size", "1")
    desk.run("plan", "sync", in_step, *told, "--out", plan)
    plan_id = json.loads(plan.read_text())["plan_id"]
    (in_step / T3).unlink()

    held = desk.run("apply", plan)
    waits = status(desk, in_step)
    wrong = desk.run("apply", plan, "--accept-deletes", "0123456789ab")
    consent = shlex.split(waits["consent"])
    done = desk.run(*consent[1:], "--json")
    rest = status(desk, in_step)

    assert (4, 4, 0) == (held.code, wrong.code, done.code), done
    assert "held: 2 of 4 files would be deleted" in held.out, held
    assert f"--accept-deletes {plan_id} " in held.out, held
    assert f"is not the id of this plan, which is {plan_id};" in wrong.err, wrong
    assert ["fwsync", "apply", str(plan), "--accept-deletes", plan_id] == consent
    assert ([T1, T2], 2) == (waits["hold"]["sample"], waits["hold"]["waiting"])
    assert 2 == done.summary["deleted"]
    assert ([T3], 1) == (rest["hold"]["sample"], rest["hold"]["waiting"])
    assert "; 2 of these were consented to" in rest["hold"]["guards"][0]["reason"]
    assert {T3, NEW} == there(ground, label).keys()
    assert [*told] == sorted_options(rest["consent"], told)
    last = desk.run(*shlex.split(rest["consent"])[1:], "--json")
    assert (0, 1) == (last.code, last.summary["deleted"]), last
    assert "is not the id" not in last.err
    assert status(desk, in_step)["hold"] is None


def test_consent_that_nothing_needed_is_said_to_be_so(
    desk: Desk, in_step: Path, plan: Path
) -> None:
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "sync", in_step, "--out", plan)
    said = "--accept-deletes 0123: was not needed, as no guard holds anything of this run"

    applied = desk.run("apply", plan, "--accept-deletes", "0123")
    again = desk.run("sync", in_step, "--accept-deletes", "0123")

    assert (0, 0) == (applied.code, again.code)
    assert (f"{said}\n", f"{said}\n") == (applied.err, again.err)


def test_a_guard_that_trips_only_when_it_is_applied_holds_as_well(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str
) -> None:
    (in_step / T1).unlink()
    desk.run("plan", "sync", in_step, "--delete-up", "--max-delete", "1", "--out", plan)
    (in_step / T2).unlink()

    held = desk.run("apply", plan, "--json")

    assert (4, 0) == (held.code, held.summary["deleted"]), held
    assert {T1, T2} <= there(ground, label).keys()


def test_a_plan_of_additions_does_not_end_what_a_guard_holds(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str
) -> None:
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "sync", in_step, "--out", plan)
    for path in (T1, T2, T3):
        (in_step / path).unlink()
    held = desk.run("sync", in_step, "--delete", "--json")

    applied = desk.run("apply", plan, "--json")
    plant(in_step, {f"sub-07/ses-01/t1/{number}": b"%d" % number for number in range(4)})
    again = desk.run("sync", in_step, "--delete", "--json")

    assert (4, 0, 4) == (held.code, applied.code, again.code), again
    assert 0 == again.summary["deleted"]
    assert {T1, T2, T3} <= there(ground, label).keys()


def test_a_plan_says_how_it_is_applied_and_nothing_where_there_is_nothing_to_do(
    desk: Desk, in_step: Path, plan: Path, tmp_path: Path
) -> None:
    config = tmp_path / "an own.toml"
    config.write_text("trash_days = 7\n")
    how = ("--out", plan, "--config", config)
    nothing = desk.run("plan", "sync", in_step, *how)
    plant(in_step, {NEW: b"new"})
    free = desk.run("plan", "sync", in_step, *how)
    for path in (T1, T2):
        (in_step / path).unlink()
    held = desk.run("plan", "sync", in_step, "--delete", "--max-delete", "1", *how)
    plan_id = json.loads(plan.read_text())["plan_id"]

    command = shlex.join(["fwsync", "apply", str(plan), "--config", str(config)])
    consents = f"{command} --accept-deletes {plan_id}"
    assert (0, 0, 4) == (nothing.code, free.code, held.code)
    assert "hint" not in nothing.out
    assert f"hint: `{command}` does it\n" in free.out
    assert f"hint: `{command}` does only what is new; `{consents}` does all of it\n" in held.out
    done = desk.run(*shlex.split(consents)[1:], "--json")
    assert (0, 2) == (done.code, done.summary["deleted"]), done


# ------------------------------------------------------------------------------ hostile files


def test_a_file_that_is_no_plan_is_refused(desk: Desk, in_step: Path, plan: Path) -> None:
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "push", in_step, "--out", plan)
    whole = plan.read_text()
    saved = json.loads(whole)
    before = everything(in_step)

    def with_(**changes: object) -> str:
        return json.dumps({**saved, **changes})

    texts = {
        "cut off": whole[: len(whole) // 2],
        "empty": "",
        "no JSON": "hello",
        "a list": "[]",
        "an object": "{}",
        "deep": '{"fwsync_plan":' + "[" * 100_000,
        "newer": with_(fwsync_plan=2),
        "mode": with_(mode="sideways"),
        "root": with_(root="../x"),
        "no root": with_(root=7),
        "setting": with_(settings={"no_such_thing": 1}),
        "a key": with_(settings={"api_key_file": "/etc/passwd"}),
        "decisions": with_(decisions=[7]),
        "twice": with_(decisions=saved["decisions"] * 2),
        "a side": with_(decisions=[{**saved["decisions"][0], "local": 7}]),
    }
    for name, text in texts.items():
        plan.write_text(text)
        done = desk.run("apply", plan)

        complains(done, 2, str(plan))
        assert before == everything(in_step), name
    plan.write_bytes(os.urandom(5000))
    complains(desk.run("apply", plan), 2, str(plan))
    with plan.open("w") as stream:
        stream.write('{"fwsync_plan": 1')
        stream.truncate((1 << 30) + 1)  # sparse
    complains(desk.run("apply", plan), 2, "1,073,741,824 are read")
    complains(desk.run("apply", plan.with_name("none")), 2, "there is no such file")
    complains(desk.run("apply", in_step), 2, "no regular file")
    os.mkfifo(plan.with_name("pipe"))
    complains(desk.run("apply", plan.with_name("pipe")), 2, "no regular file")


def test_a_path_in_a_plan_only_selects(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str, tmp_path: Path
) -> None:
    outside = plant(tmp_path / "outside", {"secret": b"secret"}) / "secret"
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "sync", in_step, "--delete", "--out", plan)
    saved = json.loads(plan.read_text())
    item = saved["decisions"][0]
    evil = []
    for number, path in enumerate(("../outside/secret", str(outside), "a/../../outside/secret")):
        verb = ("upload", "delete-local", "download")[number]
        evil.append({**item, "verb": verb, "path": path})
    evil.append({**item, "verb": "delete-remote", "path": T1})
    plan.write_text(json.dumps({**saved, "decisions": evil}))

    applied = desk.run("apply", plan, "--json")

    assert (1, {"problems": 3}) == (applied.code, applied.moved()), applied  # one is gone anyway
    assert b"secret" == outside.read_bytes()
    assert T1 in there(ground, label)
    assert NEW not in there(ground, label)


def test_a_plan_for_another_root_project_or_site_is_refused(
    ground: Ground, desk: Desk, in_step: Path, plan: Path, label: str, tmp_path: Path
) -> None:
    ground.project(f"{label}-b")
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "push", in_step, "--out", plan)
    saved = json.loads(plan.read_text())
    twin = plant(tmp_path / "twin", grown(in_step))
    desk.run("push", twin, f"lab/{label}-b")
    site = saved["remote"]["key"].partition(" ")[0]

    for changes, said in (
        ({"root": str(twin)}, "another folder"),
        ({"root": str(tmp_path / "none")}, "no such directory"),
        ({"target": f"lab/{label}-b"}, f"lab/{label}-b"),
        ({"remote": {**saved["remote"], "key": f"{site} 0123"}}, "was made for"),
        ({"remote": {**saved["remote"], "key": "http://elsewhere 0123"}}, "the key is of"),
    ):
        plan.write_text(json.dumps({**saved, **changes}))
        complains(desk.run("apply", plan), 2, said)

    assert NEW not in there(ground, label)


def test_a_file_of_patterns_that_changed_since_ends_the_plan(
    desk: Desk, in_step: Path, plan: Path, tmp_path: Path
) -> None:
    patterns = tmp_path / "patterns"
    patterns.write_text("*.txt\n")
    plant(in_step, {NEW: b"new"})
    desk.run("plan", "push", in_step, "--filter-from", patterns, "--out", plan)
    patterns.write_text("*.tmp\n")

    complains(desk.run("apply", plan), 2, "not what it was when the plan was made")


# --------------------------------------------------------------------------- where it is written


def test_nothing_but_a_plan_is_overwritten_by_a_plan(
    desk: Desk, in_step: Path, plan: Path, tmp_path: Path
) -> None:
    plan.write_bytes(b"a scan")
    complains(desk.run("plan", "push", in_step, "--out", plan), 2, "not overwritten")
    assert b"a scan" == plan.read_bytes()

    inside = in_step / "plan.json"
    complains(desk.run("plan", "push", in_step, "--out", inside), 2, "would be synced itself")
    nowhere = tmp_path / "none" / "plan.json"
    nobody = Desk(desk.home, "127.0.0.1:1:__force_insecure:asked before")
    refused = nobody.run("plan", "push", in_step, "--out", nowhere)
    complains(refused, 2, f"there is no folder {nowhere.parent}")
    assert not inside.exists()

    plan.unlink()
    first = desk.run("plan", "push", in_step, "--out", plan)
    second = desk.run("plan", "push", in_step, "--out", plan)
    own = desk.run("plan", "push", in_step, "--out", in_step / ".fwsync/plan.json")
    assert (0, 0, 0) == (first.code, second.code, own.code), own
    assert ["plan.json"] == [one.name for one in plan.parent.glob("*plan.json*")]


# -------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize("policy", ["keep-both", "skip", "fail"])
def test_a_plan_ends_with_the_code_of_its_run(
    desk: Desk, in_step: Path, other: Callable[..., Done], policy: str
) -> None:
    clean = desk.run("plan", "sync", in_step)
    plant(in_step, {NEW: b"new"})
    more = desk.run("plan", "sync", in_step)
    other({T1: b"one, edited there"})
    plant(in_step, {T1: b"one, edited here"})
    planned = desk.run("plan", "sync", in_step, "--conflict", policy)
    done = desk.run("sync", in_step, "--conflict", policy)

    assert (0, 0) == (clean.code, more.code)
    assert 1 == planned.code == done.code, (planned, done)
