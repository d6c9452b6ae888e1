"""An upload that was begun and never ended is listed and given up, and the file goes later.

A ticket of a container cannot be taken back (SDK 23 has no call for it): it is forgotten here, and
said to expire there, never to be gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house.house import (
    Desk,
    Ground,
    complains,
    expected_record,
    grounded,
    held,
    kill,
    plant,
    record_of,
    some_tree,
    until,
)
from tests.remotes.routes.signing import LONG, PARTS, noise

TREE = {"s/e/a/long.bin": noise(LONG)}


@pytest.fixture
def store_ground(tmp_path: Path) -> Iterator[Ground]:
    with grounded(tmp_path / "data", store="s3", switches=PARTS) as ground:
        yield ground


def puts(ground: Ground) -> list[dict[str, Any]]:
    return [one for one in ground.requests() if one["method"] == "PUT"]


@pytest.fixture
def left_behind(store_ground: Ground, tmp_path: Path) -> tuple[Desk, Path]:
    """A push by signed addresses that was killed when two parts had arrived."""
    ground = store_ground
    ground.project("aging")
    root = plant(tmp_path / "root", TREE)
    os.utime(root / "s/e/a/long.bin", ns=(10**18, 10**18))
    desk = Desk(tmp_path / "home", ground.key())
    match = {"method": "PUT", "hits": {"nth": 3}}
    ground.ask("POST", "/sandbox/faults", {"id": "it", "match": match, "action": {"delay_s": 60}})
    process = desk.start("push", root, "lab/aging", "--json")
    try:
        until(lambda: len(puts(ground)) >= 2, what="two parts have arrived")
    finally:
        kill(process)
    ground.ask("DELETE", "/sandbox/faults")
    ground.forget_requests()
    return desk, root


def test_a_ticket_that_a_killed_push_left_is_listed_and_given_up(
    store_ground: Ground, left_behind: tuple[Desk, Path]
) -> None:
    desk, root = left_behind
    shown = desk.run("cleanup", root, "--dry-run", "--json")
    assert (0, "begun") == (shown.code, shown.lines[0]["fate"]), shown
    assert not any(one["method"] == "DELETE" for one in store_ground.requests())

    done = desk.run("cleanup", root, "--json")

    assert 0 == done.code, done
    [upload] = [one for one in done.lines if one["event"] == "upload"]
    assert ("s/e/a/long.bin", "signed", "expires") == (
        upload["path"],
        upload["route"],
        upload["fate"],
    )
    assert 1 == done.summary["expires"]
    again = desk.run("cleanup", root)
    assert (0, "cleanup: 0 uploads begun and never ended\n") == (again.code, again.out), again
    pushed = desk.run("push", root, "--json")
    assert (0, 1) == (pushed.code, pushed.summary["uploaded"]), pushed
    assert expected_record(TREE) == record_of(store_ground, "aging")


def test_no_secret_is_shown(store_ground: Ground, left_behind: tuple[Desk, Path]) -> None:
    desk, root = left_behind
    done = desk.run("cleanup", root, "--dry-run", "--json")

    assert [] == [word for word in ("Signature", "http", "ticket") if word in done.out], done


def test_status_tells_a_run_that_was_broken_off(left_behind: tuple[Desk, Path]) -> None:
    desk, root = left_behind
    done = desk.run("status", root)

    assert 1 == done.code, done
    assert re.search(r"^last run +push, .* ago \(.*\), broken off$", done.out, re.MULTILINE), done


def test_it_waits_for_no_run_that_is_at_work(ground: Ground, desk: Desk, tmp_path: Path) -> None:
    ground.project("busy")
    root = plant(tmp_path / "root", some_tree(5))
    relay = ground.relay()
    process = held(ground, relay, desk, root, "busy")
    desk.key = ground.key()
    try:
        done = desk.run("cleanup", root)
    finally:
        kill(process)

    complains(done, 6, "fwsync push", hint=False)


def test_a_folder_without_a_project_has_nothing_to_give_up(desk: Desk, tmp_path: Path) -> None:
    root = plant(tmp_path / "new", TREE)

    complains(desk.run("cleanup", root), 2, "belongs to no project yet")
