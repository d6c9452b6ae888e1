"""The uploader's rows F04 to F07: the process dies, and the next run goes on.

``test_kill`` and ``test_kill_signed`` kill at random moments; here the moment is the row's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
    fired,
    rule,
)
from tests.house.house import Desk, Ground, expected_record, kill, plant, record_of, until


@contextmanager
def killed(
    ground: Ground, desk: Desk, rules: Sequence[Rule], *args: str | Path
) -> Iterator[Callable[[Callable[[], object], str], None]]:
    """Start a command on a server with these faults; at the end of the block it is killed."""
    ground.ask("PUT", "/sandbox/faults", list(rules))
    process: subprocess.Popen[bytes] = desk.start(*args)

    def wait(true: Callable[[], object], what: str) -> None:
        def so() -> object:
            assert process.poll() is None, "it has ended by itself"
            return true()

        until(so, what=what)

    try:
        yield wait
    finally:
        kill(process)
        ground.ask("PUT", "/sandbox/faults", [])


@pytest.mark.parametrize("route", ROUTES)
def test_f04_a_process_that_dies_in_the_middle_of_a_body_leaves_no_part_of_it(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str
) -> None:
    root = plant(tmp_path / "root", TREE)
    push = ("push", root, f"lab/{label}", "--route", route, "--json")
    rules = [rule({"bandwidth": 400_000}, CARRIES[route])]
    with killed(ground, desk, rules, *push) as wait:
        wait(lambda: fired(ground), "a body is on its way")
        # The large one takes five seconds; what is small is there long before.
        if route != "form":
            wait(lambda: ground.count(label) >= len(TREE) - 1, "what is small has come")

    there = record_of(ground, label)
    assert there == [one for one in expected_record(TREE) if one in there]
    assert LARGE not in {path for path, *_ in there}
    check_closed(ground, desk, root, label, "--route", route)


@pytest.mark.parametrize("route", ROUTES)
def test_f05_what_was_sent_and_never_answered_is_found_there_and_not_sent_again(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str
) -> None:
    root = plant(tmp_path / "root", TREE)
    push = ("push", root, f"lab/{label}", "--route", route, "--json")
    mute = rule({"delay_s": 60, "when": "after"}, STORES[route])
    with killed(ground, desk, [mute], *push) as wait:
        wait(lambda: ground.count(label), "something is there, and no answer has come")

    there = len(record_of(ground, label))
    done = desk.run(*push)
    assert done.code == 0, done
    assert done.summary["adopted"] >= there, done
    assert done.summary["uploaded"] <= len(TREE) - there, done
    check_closed(ground, desk, root, label, "--route", route)


@pytest.mark.parametrize("route", ["signed", "form"])  # test_kill has the others
def test_f06_a_process_that_dies_before_it_recorded_what_the_server_has_sends_nothing_twice(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str
) -> None:
    root = plant(tmp_path / "root", TREE)
    push = ("push", root, f"lab/{label}", "--route", route, "--json")
    # One of them stays out, so that the run cannot end before it is killed.
    late = rule({"delay_s": 60}, STORES[route], hits={"nth": 2})
    with killed(ground, desk, [late], *push) as wait:
        wait(lambda: ground.count(label) >= 1, "files are there")
        wait(lambda: fired(ground), "one stays out")

    check_closed(ground, desk, root, label, "--route", route)


def test_f07_a_ticket_that_was_asked_for_and_left_makes_no_second_file(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    push = ("push", root, f"lab/{label}", "--route", "signed", "--json")
    with killed(ground, desk, [rule({"delay_s": 60}, CARRIES["signed"])], *push) as wait:
        wait(lambda: fired(ground) >= 3, "tickets are there, and no byte has gone")

    assert record_of(ground, label) == []
    shown = desk.run("cleanup", root, "--json")
    assert shown.code == 0, shown
    assert desk.run("cleanup", root, "--json").lines[:-1] == [], "nothing is left begun"
    check_closed(ground, desk, root, label, "--route", "signed")


SLICES = {f"s/e/T1/{number:02}.dcm": b"slice %02d" % number for number in range(20)}
AS_PACK = ("--pack", "*.dcm=archive", "--json")
PACKED = ("--route", "packfile", *AS_PACK)
#: What keeps a run from its end, and from recording what came before it.
NEVER = rule({"delay_s": 60}, {"method": "POST", "path": "/projects/*/files"})


@pytest.mark.parametrize("step", ["start", "add", "end"])
def test_f07_a_packfile_that_was_begun_and_left_makes_no_second_acquisition(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, step: str
) -> None:
    root = plant(tmp_path / "root", {**SLICES, "notes.txt": b"keeps the run from its end"})
    push = ("push", root, f"lab/{label}", *PACKED)
    name = {"start": "packfile-start", "add": "packfile", "end": "packfile-end"}[step]
    action: Rule = {"delay_s": 60, "when": "after" if step == "start" else "before"}
    with killed(ground, desk, [NEVER, rule(action, path=f"/projects/*/{name}")], *push) as wait:
        wait(lambda: asked(ground, 1), f"it waits for {name}")

    done = desk.run(*push)

    assert done.code == 0, done
    assert versions_of(ground, label) == [("notes.txt", 1), ("s/e/T1/T1.zip", 1)]
    assert [] == ground.twins()
    assert {} == desk.run(*push).moved()
    assert desk.run("cleanup", root, "--json").code == 0
    assert desk.run("cleanup", root, "--json").lines[:-1] == [], "no token is left"


@pytest.mark.parametrize("is_heard", [False, True], ids=["unheard", "unrecorded"])
def test_f07_a_zip_that_the_server_made_and_nobody_recorded_is_agreed_on(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, is_heard: bool
) -> None:
    root = plant(tmp_path / "root", {**SLICES, "notes.txt": b"keeps the run from its end"})
    push = ("push", root, f"lab/{label}", *PACKED)
    made_and_left(ground, desk, label, *push, is_heard=is_heard)

    planned = desk.run("plan", *push[:3], *AS_PACK)
    done = desk.run(*push)

    decided = {one["path"]: one["verb"] for one in planned.lines if one["event"] == "decision"}
    assert decided == {"notes.txt": "upload", "s/e/T1/T1.zip": "adopt"}, planned
    assert (done.code, done.summary["adopted"], done.summary["uploaded"]) == (0, 1, 1), done
    assert versions_of(ground, label) == [("notes.txt", 1), ("s/e/T1/T1.zip", 1)]
    assert {} == desk.run(*push).moved()
    assert desk.run("cleanup", root, "--json").lines[:-1] == [], "no token is left"


@pytest.mark.parametrize("where", ["here", "there"])
def test_f07_a_pack_that_has_changed_since_is_another_and_nothing_is_agreed_on(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, where: str
) -> None:
    root = plant(tmp_path / "root", {**SLICES, "notes.txt": b"keeps the run from its end"})
    push = ("push", root, f"lab/{label}", *PACKED)
    made_and_left(ground, desk, label, *push)
    changed = {**SLICES, "s/e/T1/07.dcm": b"sluice 7"}  # of the same name, and as long
    plant(root if where == "here" else tmp_path / "other", changed)
    if where == "there":
        other = ("push", tmp_path / "other", f"lab/{label}", *PACKED, "--conflict", "local")
        assert desk.run(*other).code == 0

    done = desk.run(*push)

    assert (done.code, done.summary["conflicts"], done.summary["adopted"]) == (1, 1, 0), done
    assert dict(versions_of(ground, label))["s/e/T1/T1.zip"] == (1 if where == "here" else 2)


def made_and_left(
    ground: Ground, desk: Desk, label: str, *push: str | Path, is_heard: bool = False
) -> None:
    """A push by packfile is killed after its zip was made, and before that is recorded."""
    ground.forget_requests()
    rules = [NEVER] if is_heard else [NEVER, rule(LOST, path="/projects/*/packfile-end")]
    with killed(ground, desk, rules, *push) as wait:
        wait(lambda: ground.count(label), "the zip is there")
        # What is in it is asked for once its end is known.
        wait(lambda: not is_heard or looked_into(ground), "its end was heard")


def looked_into(ground: Ground) -> bool:
    """Has anybody asked what is in the zip?"""
    return any(one["path"].endswith("/files/T1.zip") for one in ground.requests())


def versions_of(ground: Ground, label: str) -> list[tuple[str, int]]:
    """All that was ever stored in a project: path and version."""
    return sorted((one.path, one.version) for one in ground.stored(label))


def asked(ground: Ground, number: int) -> bool:
    """Has the rule of this number fired?"""
    return bool(ground.ask("GET", "/sandbox/faults")["rules"][number]["fired"])
