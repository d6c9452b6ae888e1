"""What a person is told while a run goes on, and when it is over."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.house.house import RUN_S, Desk, Ground, complains, grounded, grown, plant
from tests.house.site import Site

CROWD = {f"s/e/a/{number:02}": b"%d" % number for number in range(24)}


def drawn_by(desk: Desk, *args: str | Path) -> list[str]:
    """Every line that a run draws on a terminal, to its end in peace."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-m", "fwsync", *map(str, args)]
    process = subprocess.Popen(
        command, env=desk.environment(), stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    with suppress(OSError):  # EIO: the other end is closed
        while block := os.read(ours, 65536):
            drawn += block
    os.close(ours)

    assert 0 == process.wait(RUN_S), drawn
    return re.split(r"[\r\n]+", drawn.decode())


def test_the_bar_goes_on_while_the_server_is_silent(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/one": bytes(1_000_000)})
    late = {"id": "late", "match": {"method": "POST", "path": "/*/*/files"}}
    ground.ask("POST", "/sandbox/faults", {**late, "action": {"delay_s": 2.6}})
    try:
        drawn = drawn_by(desk, "push", root, f"lab/{label}")
    finally:
        ground.ask("DELETE", "/sandbox/faults/late")

    clocks = {found[1] for line in drawn if (found := re.search(r"\[(\d\d:\d\d)<", line))}
    assert {"00:00", "00:01", "00:02"} <= clocks
    rates = [found[1] for line in drawn if (found := re.search(r"00:02<.*?, (\S+)B/s", line))]
    assert rates, drawn
    # One megabyte in two seconds, whatever its speed was as it left.
    assert all(rate.endswith("k") and float(rate[:-1]) <= 500 for rate in rates), rates


def test_what_is_left_out_is_said_as_it_is(desk: Desk, label: str, root: Path) -> None:
    (root / "a link").symlink_to("nowhere")
    one = desk.run("plan", "push", root, f"lab/{label}")
    (root / "b link").symlink_to("nowhere")
    alike = desk.run("plan", "push", root, f"lab/{label}")
    os.mkfifo(root / "pipe")
    (root / "b link").unlink()
    two = desk.run("plan", "push", root, f"lab/{label}")
    (root / "b link").symlink_to("nowhere")
    three = desk.run("plan", "push", root, f"lab/{label}")

    first = "left out: a link is a symbolic link"
    assert f"{first}\n" == one.err
    assert f"{first}, and 1 more like it\n" == alike.err
    assert f"{first}, and 1 more that is no regular file\n" == two.err
    assert f"{first}, and 2 more that are no regular files\n" == three.err


def test_a_held_run_says_what_is_held_and_whose_id_was_given(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", CROWD)
    assert 0 == desk.run("push", root, f"lab/{label}").code
    for path in list(CROWD)[:15]:
        (root / path).unlink()
    held = desk.run("sync", root, f"lab/{label}", "--delete-up")
    wrong = desk.run("sync", root, f"lab/{label}", "--delete-up", "--accept-deletes", "0123")

    assert (4, "") == (held.code, held.err)
    assert "\nsync: nothing done; 9 files here (" in held.out
    plan_id = re.search(r"--accept-deletes (\w+) ", held.out)
    assert plan_id is not None, held
    assert 4 == wrong.code
    assert f"--accept-deletes 0123: is not the id of this plan, which is {plan_id[1]};" in wrong.err
    right = desk.run("sync", root, f"lab/{label}", "--delete-up", "--accept-deletes", plan_id[1])
    assert (0, "") == (right.code, right.err), right


def test_what_befell_many_files_is_told_once(tmp_path: Path) -> None:
    with grounded(tmp_path / "audited", switches={"audit_trail": True}) as audited:
        audited.project("aging")
        desk = Desk(tmp_path / "home", audited.key())
        root = plant(tmp_path / "root", CROWD)
        assert 0 == desk.run("push", root, "lab/aging").code
        for path in list(CROWD)[:12]:
            (root / path).unlink()
        told = desk.run("push", root, "lab/aging", "--delete-up")
        listed = desk.run("push", root, "lab/aging", "--delete-up", "--json")

    assert (1, 1) == (told.code, listed.code)
    problem, hint, last = told.out.splitlines()
    assert problem.startswith("problem: s/e/a/00, s/e/a/01, s/e/a/02 and 9 more: 400 (")
    assert problem.endswith("delete_reason (FWSYNC_DELETE_REASON))")
    assert "hint: --json lists every path" == hint
    assert last.startswith("push: 12 with problems;")
    assert 12 == sum(line["event"] == "problem" for line in listed.lines)


def test_status_says_how_many_problems_it_does_not_list(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {f"s/e/a/deep/{number:02}": b"x" for number in range(13)})
    assert 1 == desk.run("push", root, f"lab/{label}", "--create-project").code

    said = desk.run("status", root)

    listed = [line for line in said.out.splitlines() if line.startswith("  problem: ")]
    assert (1, 10) == (said.code, len(listed)), said
    assert "  … and 3 more; --json lists them all" == said.out.splitlines()[-1]


def test_what_went_to_the_trash_is_named_with_the_way_back(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root, here = plant(tmp_path / "root", CROWD), tmp_path / "a copy"
    assert 0 == desk.run("push", root, f"lab/{label}").code
    assert 0 == desk.run("pull", f"lab/{label}", here).code
    gone = sorted(CROWD)[:11]
    Site(ground, label).drop(gone)

    done = desk.run("pull", f"lab/{label}", here, "--delete")

    *named, more, hint, last = done.out.splitlines()
    assert [f"deleted here: {path}" for path in gone[:10]] == sorted(named), done
    assert "  … and 1 more; --json lists them all" == more
    assert last.startswith("pull: 11 deleted; 13 files here"), done
    run = re.search(r"`fwsync restore '(.+)' --run (\S+)`", hint)
    assert run is not None, hint
    assert 0 == desk.run("restore", run[1], "--run", run[2]).code
    assert CROWD == grown(here)


def test_verify_says_how_a_sidecar_that_is_gone_comes_again(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    assert 0 == desk.run("push", root, f"lab/{label}").code
    assert 0 == desk.run("pull", f"lab/{label}", here, "--metadata").code
    next(here.rglob("1.dcm.flywheel.json")).unlink()

    done = desk.run("verify", here)

    assert 1 == done.code, done
    assert "gone here; it comes again with --metadata" in done.out, done
    assert 0 == desk.run("pull", f"lab/{label}", here, "--metadata").code
    assert 0 == desk.run("verify", here).code


def test_of_an_empty_trash_all_is_nothing(desk: Desk, root: Path) -> None:
    done = desk.run("restore", root, ".")
    told = desk.run("restore", root, ".", "--json")

    assert (0, "restore: 0 files put back; the trash is empty\n") == (done.code, done.out), done
    assert (0, 0) == (told.code, told.summary["restored"]), told


def test_a_script_is_told_on_stdout_why_there_is_no_summary(desk: Desk, tmp_path: Path) -> None:
    done = desk.run("pull", "lab/none-such", tmp_path / "here", "--json")

    complains(done, 2, "no such project")
    last = done.lines[-1]
    assert ("error", 2, False) == (last["event"], last["exit_code"], last["retryable"])
    assert f"error: {last['message']}\nhint: {last['hint']}\n" == done.err
    refused = desk.run("pull", "lab/x/y", "--to-stdout", "--json")
    assert [("error", 2)] == [(one["event"], one["exit_code"]) for one in refused.lines]
    desk.key += "x"
    denied = desk.run("verify", tmp_path, "lab/any", "--json")
    assert [("error", 3)] == [(one["event"], one["exit_code"]) for one in denied.lines], denied


def test_help_names_no_types_of_the_program(desk: Desk) -> None:
    for command in ("pull", "watch", "restore", "sandbox"):
        done = desk.run(command, "--help")

        assert not re.search(r"<(bool|str|path|int|list)", done.out), done
        assert "{DIR}" not in done.out, done
    assert "restore [OPTIONS] DIR [PATH]..." in desk.run("restore", "--help").out


@pytest.mark.parametrize("below", ["new/deep/here", "there/here"])
def test_what_a_refused_pull_has_made_is_taken_away(
    desk: Desk, label: str, root: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "there").mkdir()
    folder = tmp_path / below
    many = "{group}-{project}/{subject}/{session}/{acquisition}/{file}"
    for target, flags in (
        (f"lab/{label}", ("--audit-log", folder / "log.csv")),
        (f"lab/{label}", ("--audit-log", tmp_path / "none" / "log.csv")),
        (f"lab/{label}", ("--state", folder / "state.db")),
        (f"lab/{label}", ("--layout", "bids", "--analyses")),
        (f"lab/{label}", ("--layout", "{subject}/**/{file}", "--analyses")),
        ("fw://", ()),
        ("fw://", ("--layout", many)),
    ):
        done = desk.run("pull", target, folder, *flags)

        assert done.code in (2, 6), done
        assert "hint: " in done.err, done
        assert [] == list((tmp_path / "there").iterdir()), done
        assert not (tmp_path / "new").exists(), done
    log = folder / ".fwsync" / "log.csv"
    kept = desk.run("pull", f"lab/{label}", folder, "--audit-log", log)
    assert 0 == kept.code, kept


def test_files_that_a_run_deletes_on_the_server_are_named(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", CROWD)
    assert 0 == desk.run("push", root, f"lab/{label}").code
    for path in list(CROWD)[:11]:
        (root / path).unlink()
    done = desk.run("sync", root, "--delete")

    assert 0 == done.code, done
    named = [line for line in done.out.splitlines() if line.startswith("deleted there: ")]
    assert [f"deleted there: {path}" for path in list(CROWD)[:10]] == named
    assert "  … and 1 more; --json lists them all\nsync: 11 deleted; " in done.out


def test_a_project_that_a_run_has_made_is_said(desk: Desk, label: str, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    plan = desk.run("plan", "sync", empty, f"lab/{label}-new", "--create-project")
    made = desk.run("sync", empty, f"lab/{label}-new", "--create-project")
    again = desk.run("sync", empty, f"lab/{label}-new", "--create-project", "--json")

    assert (0, 0, 0) == (plan.code, made.code, again.code), made
    assert f"lab/{label}-new: the project would be made\n" == plan.err
    assert "plan: nothing else to do\n" == plan.out
    assert f"made the project lab/{label}-new\n" == made.err
    assert made.out.startswith("sync: nothing else to do; 0 files here"), made
    assert "note" not in {one["event"] for one in again.lines}


def test_open_conflicts_are_said_with_what_finds_them(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root, other = plant(tmp_path / "root", CROWD), tmp_path / "other"
    state = ("--state", str(tmp_path / "the state.db"))
    assert 0 == desk.run("sync", root, f"lab/{label}", *state).code
    assert 0 == desk.run("pull", f"lab/{label}", other).code
    path = next(iter(CROWD))
    plant(root, {path: b"mine"})
    plant(other, {path: b"theirs"})
    assert 0 == desk.run("sync", other).code
    met = desk.run("sync", root, *state)
    plain = desk.run("plan", "sync", root, *state)
    told = desk.run("plan", "sync", root, *state, "--json")
    status = desk.run("status", root, *state)
    lists = shlex.join(["fwsync", "conflicts", str(root), *state])

    assert (1, 0, 0, 1) == (met.code, plain.code, told.code, status.code)
    assert f"1 conflict waits for you: see `{lists}`\n" in met.out
    assert f"1 conflict waits for you: see `{lists}`\n" in plain.out
    assert 1 == told.summary["conflicts_open"]
    assert f"`{lists}` lists, and settles" in status.out
    assert 1 == desk.run(*shlex.split(lists)[1:]).code
