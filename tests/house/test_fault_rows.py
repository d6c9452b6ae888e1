"""The uploader's rows of the catalogue of faults, by their numbers, through the command line.

Here are those of the wire: F05, F21, F22, F35, F38 to F41, F43, F44, F49 to F53 and F60. A
process that dies (F04 to F07) is in ``test_fault_rows_kill``, what goes wrong on the disk (F64
to F72) in ``test_fault_rows_disk``; ``test_whichever_request`` lets each request of a push fail.

A row is a fault, what the run may then say, and the check that closes every row.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.house.faults import (
    CARRIES,
    LARGE,
    LOST,
    ROUTES,
    STORES,
    TREE,
    Rule,
    check_closed,
    faulty,
    fired,
    halted,
    problems,
    rule,
)
from tests.house.house import (
    Desk,
    Ground,
    Tree,
    expected_record,
    finish,
    grounded,
    grown,
    plant,
    record_of,
    stop_watch,
    until,
)

STORM_S = 120.0  #: pauses grow in a storm: how long it may take until it is met, or over
NOTES = {"method": "POST", "path": "/projects/*/files"}  #: what carries ``notes.txt``


@dataclass(frozen=True)
class Row:
    """One fault on the wire."""

    number: str
    rules: Callable[[str], list[Rule]]  #: by the way up
    #: Exit codes that the run with the fault may have.
    codes: tuple[int, ...] = (0,)
    ways: tuple[str, ...] = ROUTES[:1]
    options: tuple[str, ...] = ()
    #: Requests that it may make beyond those of a run without the fault.
    more: int = 12
    #: What it reports.
    problems: set[str] = field(default_factory=set)


def nth(action: Rule, *numbers: int) -> Callable[[str], list[Rule]]:
    """The n-th request of all meets this."""
    return lambda _: [rule(action, hits={"nth": numbers})]


def retry_after(status: int, value: str) -> Rule:
    return {"status": status, "headers": {"Retry-After": value}}


WIRE = [
    Row("F05", lambda way: [rule(LOST, STORES[way], hits={"nth": 1})], ways=ROUTES),
    Row(
        "F22-cut",
        lambda way: [
            rule(
                {"cut_upload_at": 1000, "cut_with": "reset"},
                CARRIES[way],
                hits={"nth": [1, 3]},
            )
        ],
        ways=ROUTES,
    ),
    Row(
        "F22-late",  # in the middle of what is large, after most of it was taken
        lambda way: [rule({"cut_upload_at": 1_500_000, "cut_with": "close"}, CARRIES[way])],
        ways=("multipart", "signed"),
        options=("--patience", "3"),
        codes=(1, 5),
        problems={LARGE},
        more=60,
    ),
    Row("F35", lambda way: [rule({"status": 503, "html": True}, CARRIES[way], times=1)]),
    Row("F38", lambda _: [rule({"status": 401}, hits={"from": 12})], (3,), ways=ROUTES, more=0),
    Row("F39", nth({"status": 401}, 12), ways=("multipart", "form")),
    Row(
        "F40",
        lambda _: [rule({"status": 403}, NOTES)],
        codes=(1,),
        ways=("multipart", "signed"),
        more=4,
        problems={"notes.txt"},
    ),
    Row(
        "F43",
        lambda _: [rule({"status": 404}, NOTES, times=1)],
        codes=(0, 1),
        ways=("multipart", "signed"),
        more=4,
        problems={"notes.txt"},
    ),
    Row(
        "F44",  # it is there, and the answer is that of one who came too late
        lambda _: [
            rule(
                {"status": 409, "when": "after"},
                {"method": "POST", "path": ["/subjects", "/sessions", "/acquisitions"]},
            )
        ],
        more=20,
        ways=("multipart", "signed"),
    ),
    Row("F49", nth(retry_after(429, "1"), 9, 15), ways=ROUTES),
    Row("F50-negative", nth(retry_after(429, "-5"), 9)),
    Row("F50-garbage", nth(retry_after(503, "soon"), 9), ways=("form",)),
    Row("F50-date", nth(retry_after(503, "Wed, 21 Oct 2015 07:28:00 GMT"), 9), ways=("signed",)),
    Row(
        "F50-years",
        nth(retry_after(503, "1000000000"), 9),
        codes=(5,),
        options=("--patience", "2"),
        more=0,
    ),
    Row(
        "F52",
        lambda _: [rule({"status": 500}, NOTES)],
        codes=(1,),
        ways=("multipart", "signed"),
        problems={"notes.txt"},
    ),
    Row(
        "F53",
        lambda _: [
            rule(LOST, {"method": "POST", "path": ["/subjects", "/sessions", "/acquisitions"]})
        ],
        ways=("multipart", "signed"),
        more=60,
    ),
    Row(
        "F60-often",
        lambda _: [rule({"status": 503}, probability=0.1, seed=7)],
        ways=ROUTES,
        more=40,
    ),
]


def rows() -> Iterator[Any]:
    for row in WIRE:
        for route in row.ways:
            yield pytest.param(row, route, id=f"{row.number}-{route}")


@pytest.fixture(scope="module")
def usual(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many requests a run without any fault makes, by each way."""
    found = {}
    for route in ROUTES:
        home = tmp_path_factory.mktemp(route)
        ground.project(f"usual-{route}")
        root = plant(home / "root", TREE)
        desk = Desk(home / "home", ground.key())
        done = desk.run("push", root, f"lab/usual-{route}", "--route", route, "--json")
        assert done.code == 0, done
        found[route] = done.summary["requests"]
    return found


@pytest.mark.parametrize(("row", "route"), list(rows()))
def test_a_fault_on_the_wire_loses_and_doubles_nothing(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, usual: dict[str, int],
    row: Row, route: str,
) -> None:  # fmt: skip
    root = plant(tmp_path / "root", TREE)
    ground.forget_requests()

    with faulty(ground, *row.rules(route)):
        done = desk.run("push", root, f"lab/{label}", "--route", route, *row.options, "--json")
        asked = len(ground.requests())

    assert done.code in row.codes, done
    assert "Traceback" not in done.err, done
    assert asked <= usual[route] + row.more, asked
    if done.code in (0, 1):
        assert set(problems(done)) <= row.problems, done
        assert (done.code == 1) == bool(problems(done)), done
    check_closed(ground, desk, root, label, "--route", route)


def test_f21_a_server_that_is_down_at_the_start_is_a_passing_thing(
    desk: Desk, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    desk.key = "127.0.0.1:9:__force_insecure:" + "k" * 57

    done = desk.run("push", root, "lab/any", "--patience", "1", "--json")

    assert done.code == 5
    assert TREE == grown(root)


@pytest.mark.timeout(300)
def test_f21_f51_a_watch_waits_for_a_server_that_is_down_and_through_a_storm(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    down = rule({"status": 503})
    ground.forget_requests()
    ground.ask("PUT", "/sandbox/faults", [down])
    watch = ("watch", root, f"lab/{label}", "--settle", "0.1", "--transfers", "16", "--json")
    process = desk.start(*watch)
    try:
        until(lambda: fired(ground) >= 3, what="it has asked in vain")
        ground.ask("PUT", "/sandbox/faults", [rule({"status": 503}, hits={"from": 12}, times=40)])
        until(lambda: fired(ground) >= 10, what="it has met the storm", within_s=STORM_S)
        ground.ask("PUT", "/sandbox/faults", [])
        until(lambda: ground.count(label) >= len(TREE), what="all is there", within_s=STORM_S)
    finally:
        if process.poll() is None:
            done = stop_watch(process)
        else:
            done = finish(process)

    assert (done.code, done.summary["problems"]) == (0, 0), done
    assert len(ground.requests()) < 150
    check_closed(ground, desk, root, label)


@pytest.mark.timeout(300)
def test_f51_a_storm_is_waited_out_and_nothing_has_failed_for_good(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, usual: dict[str, int]
) -> None:
    root = plant(tmp_path / "root", TREE)
    ground.forget_requests()
    ground.ask("PUT", "/sandbox/faults", [rule({"status": 503}, hits={"from": 8})])
    process = desk.start(
        "push", root, f"lab/{label}", "--transfers", "16", "--patience", "600", "--json"
    )
    try:
        until(lambda: fired(ground) >= 8, what="eight requests were refused", within_s=STORM_S)
    finally:
        ground.ask("PUT", "/sandbox/faults", [])
    done = finish(process, STORM_S)

    assert (done.code, done.summary["uploaded"]) == (0, len(TREE)), done
    assert {} == problems(done)
    assert len(ground.requests()) <= usual["multipart"] + 40
    check_closed(ground, desk, root, label)


def test_f41_a_signed_address_that_has_expired_is_minted_again(tmp_path: Path, label: str) -> None:
    expired = {"status": 403, "body": "<Error><Code>AccessDenied</Code></Error>"}
    with grounded(tmp_path / "sandbox", store="s3") as ground:
        desk = Desk(tmp_path / "home", ground.key())
        ground.project(label)
        root = plant(tmp_path / "root", TREE)
        with faulty(ground, rule(expired, method="PUT", hits={"nth": [1, 4]})):
            done = desk.run("push", root, f"lab/{label}", "--route", "signed", "--json")

        assert (0, 0) == (done.code, done.summary["problems"]), done
        check_closed(ground, desk, root, label, "--route", "signed")


def test_f43_a_container_that_goes_away_meanwhile_is_made_again_by_the_next_run(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    push = ("push", root, f"lab/{label}", "--json")
    folder = "s1/ses/T1"
    ground.forget_requests()
    with halted(desk, tmp_path, *push, before="open", file=root / folder / "00.nii") as run:
        made = ground.ask("POST", "/lookup", {"path": ["lab", label, *folder.split("/")]})["_id"]
        ground.ask("DELETE", f"/acquisitions/{made}")

    gone = {path for path in TREE if path.startswith(folder)}
    assert run.done.code == 1, run.done
    assert set(problems(run.done)) == gone
    again = [one for one in ground.requests() if one["path"] == f"/api/acquisitions/{made}/files"]
    assert len(again) <= len(gone), "it is not sent again and again"
    check_closed(ground, desk, root, label)


def test_f52_what_fails_always_is_tried_now_and_then_and_at_once_when_it_changes(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    ground.ask("PUT", "/sandbox/faults", [rule({"status": 500}, NOTES)])
    process = desk.start("watch", root, f"lab/{label}", "--settle", "0.1", "--json")
    try:
        until(lambda: ground.count(label) == len(TREE) - 1, what="the others are there")
        until(lambda: fired(ground) >= 1, what="it was tried")
        plant(root, {"s1/ses/T1/late.nii": b"the others go on"})
        until(lambda: ground.count(label) == len(TREE), what="what came later is there")
        tried = fired(ground)
        ground.ask("PUT", "/sandbox/faults", [])
        plant(root, {"notes.txt": b"changed"})
        until(lambda: ground.count(label) == len(TREE) + 1, what="it went when it had changed")
    finally:
        done = stop_watch(process) if process.poll() is None else finish(process)

    assert done.code == 0, done
    assert tried <= 6, "it is tried a few times, and not at each hint"
    tree = {**TREE, "notes.txt": b"changed", "s1/ses/T1/late.nii": b"the others go on"}
    check_closed(ground, desk, root, label, tree=tree)


# ------------------------------------------------------------------------------------- F60


def many(files: int) -> Tree:
    """Small files in 500 acquisitions."""
    return {
        f"s{n % 10}/e{n // 10 % 10}/a{n // 100 % 5}/{n:05}.dcm": b"slice %d" % n
        for n in range(files)
    }


#: Requests of one file in a form of many, and in three requests of its own.
@pytest.mark.timeout(180)  # what fails is waited for
@pytest.mark.parametrize(("route", "files"), [("auto", 10_000), ("form", 10_000), ("signed", 500)])
def test_f60_two_of_a_hundred_requests_fail_and_every_file_is_there_once(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str, files: int
) -> None:
    tree = many(files)
    root, log = plant(tmp_path / "root", tree), tmp_path / "audit.csv"
    rules = [
        rule({"status": 503}, probability=0.01, seed=7),
        rule({"reset": True}, probability=0.005, seed=8),
        rule(LOST, probability=0.005, seed=9),
    ]
    push = ("push", root, f"lab/{label}", "--route", route, "--json")

    with faulty(ground, *rules):
        done = desk.run(*push, "--audit-log", log, within_s=170)

    assert (done.code, done.summary["uploaded"]) == (0, files), done
    assert record_of(ground, label) == expected_record(tree)
    with log.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["source"] for row in rows} == tree.keys()
    assert all(row["result"] == "done" and row["server_hash"] == row["sha384"] for row in rows)
    again = math.fsum(int(row["attempts"]) for row in rows) - files
    assert again > 0, "attempts are written down"
    check_closed(ground, desk, root, label, "--route", route, tree=tree)
