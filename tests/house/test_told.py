"""What a person is told while a run goes on, and when it is over."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

from tests.house.house import RUN_S, Desk, Ground, grounded, plant

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
    plan_id = re.search(r"--accept-deletes (\w+)\n", held.out)
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
