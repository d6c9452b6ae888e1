"""`fwsync ls` where there is little to see, and commands that the server makes wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, complains


@contextmanager
def told_to_wait(ground: Ground, seconds: str, **match: object) -> Iterator[None]:
    """Every request hears that it is one too many."""
    action = {"status": 429, "headers": {"Retry-After": seconds}}
    ground.ask("POST", "/sandbox/faults", {"id": "wait", "match": match, "action": action})
    try:
        yield
    finally:
        ground.ask("DELETE", "/sandbox/faults/wait")


def test_who_may_see_no_group_is_told_so(ground: Ground, desk: Desk) -> None:
    desk.key = ground.user_key()
    plain, scripted = desk.run("ls"), desk.run("ls", "--json")

    assert (0, "", "no group that this key may see\n") == (plain.code, plain.out, plain.err)
    assert (0, "", "") == (scripted.code, scripted.out, scripted.err)


def test_an_empty_project_is_no_missing_group(ground: Ground, desk: Desk, label: str) -> None:
    done = desk.run("ls", f"lab/{label}")

    assert (0, "", "") == (done.code, done.out, done.err)


@pytest.mark.parametrize("command", ["ls", "pull", "push"])
def test_a_server_that_asks_for_an_hour_ends_the_patience(
    command: str, ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    args: dict[str, tuple[str | Path, ...]] = {
        "ls": ("ls",),
        "pull": ("pull", f"lab/{label}", root.with_name("other")),
        "push": ("push", root, f"lab/{label}"),
    }
    with told_to_wait(ground, "3600"):
        done = desk.run(*args[command], "--patience", "2", within_s=30)

    assert 5 == done.code, done
    assert "the server asks to wait 3600 s (429)" in done.err
    assert "hint: " in done.err


def test_who_waits_is_told_why(ground: Ground, desk: Desk) -> None:
    with told_to_wait(ground, "4", times=1):
        done = desk.run("ls", "--patience", "20")

    assert 0 == done.code, done
    assert re.fullmatch(r"waiting \d s: the server asks for it \(429\)\n", done.err)
    assert "lab/" in done.out


def test_a_project_to_fetch_is_not_offered_to_be_made(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    pulled = desk.run("pull", "lab/none", tmp_path / "new")
    verified = desk.run("verify", desk.home, "lab/none")
    pushed = desk.run("push", desk.home, "lab/none")

    assert [2, 2, 2] == [done.code for done in (pulled, verified, pushed)], (pulled, verified)
    offers = ["--create-project" in done.err for done in (pulled, verified, pushed)]
    assert [False, False, True] == offers


def test_where_a_path_leads_nowhere_the_hint_works(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    hints = {}
    for path in ("Lab", f"Lab/{label}", "lab/none/sub-01", f"lab/{label}/none/t1/1.dcm"):
        done = desk.run("ls", path)
        complains(done, 2, "is not there, or the key may not see it")
        hints[path] = done.err.splitlines()[-1]

    groups = "`fwsync ls` without a path shows the groups"
    assert hints["Lab"] == hints[f"Lab/{label}"] == f"hint: did you mean lab? {groups}"
    for path, end in {
        "lab/none/sub-01": "`fwsync ls lab` shows what is there",
        f"lab/{label}/none/t1/1.dcm": f"; `fwsync ls lab/{label}` shows what is there",
    }.items():
        assert hints[path].endswith(end), hints
    assert "there is sub-01, sub-02" in hints[f"lab/{label}/none/t1/1.dcm"]


def test_a_file_that_ls_shows_is_shown_by_its_own_path(desk: Desk, label: str, root: Path) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    folder = f"lab/{label}/sub-01/ses-01/t1"
    beside, own = desk.run("ls", folder), desk.run("ls", f"{folder}/1.dcm")

    assert 2 == len(beside.out.splitlines()), beside
    assert own.out == next(f"{line}\n" for line in beside.out.splitlines() if "1.dcm" in line)
    complains(desk.run("ls", f"{folder}/3.dcm"), 2, f"`fwsync ls {folder}`")


@pytest.mark.parametrize("text", ["90s", "1h30m", "2"])
def test_a_time_may_be_given_with_its_unit(text: str, desk: Desk) -> None:
    assert 0 == desk.run("ls", "--patience", text).code


@pytest.mark.parametrize("flag", ["--patience", "--settle", "--rescan"])
def test_what_is_no_time_is_answered_with_what_is(flag: str, desk: Desk, root: Path) -> None:
    command = ("ls",) if flag == "--patience" else ("watch", root, "lab/none")

    complains(
        desk.run(*command, flag, "-1"),
        2,
        f"{flag} (from the command line): is '-1'",
        '"90s"',
        hint=False,
    )


def test_a_file_of_patterns_that_is_not_there_is_named(desk: Desk, label: str, root: Path) -> None:
    done = desk.run("push", root, f"lab/{label}", "--filter-from", "none")

    cause = f"error: {desk.home}/none: the file of patterns cannot be read (No such file or"
    complains(done, 2, cause, "hint: check --filter-from")


def test_what_is_no_layout_is_not_answered_with_a_project(
    desk: Desk, label: str, root: Path
) -> None:
    done = desk.run("push", root, f"lab/{label}", "--layout", "x")

    complains(done, 2, "layout: 'x' is not a layout", "{subject}/{session}/")
