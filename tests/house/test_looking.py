"""`fwsync ls` where there is little to see, and commands that the server makes wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.house.house import Desk, Ground


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
