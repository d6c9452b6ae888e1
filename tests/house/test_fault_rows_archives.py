"""The rows on archives in the catalogue of faults, by their numbers, through the command line.

F15 and F24 (a stream that ends before its time), F55 to F57 (tickets, and what they promise), F81
to F87 (members that should not be there). At a site of today, and at one of 2018.

However bad an archive is, all that was asked for is here in the end, nothing else is, and what was
odd is said. Only what no honest server sends lets the run end with 1.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.house.faults import Rule, faulty, fired, problems, rule
from tests.house.house import (
    Desk,
    Done,
    Ground,
    Tree,
    check_state,
    grounded,
    grown,
    kill,
    leftovers,
    plant,
    until,
    visible,
)
from tests.house.test_core2018 import Ground2018

TREE: Tree = {
    **{f"s1/ses/T1/{number:02}.dcm": b"slice %02d" % number * 300 for number in range(12)},
    "s1/ses/T1/empty": b"",
    "s1/ses/T2/a.nii": bytes(range(256)) * 5000,  # streamed to its part
    "s2/ses/notes.txt": b"of a session",
    "plan.txt": b"of the project",
}
LOST = "s1/ses/T1/03.dcm"
PLACE = 1 + sorted(TREE).index(LOST)  # in an archive of all
ARCHIVE: Mapping[str, Any] = {"method": "GET", "path": "/download", "query": {"ticket": "?*"}}
MINT: Mapping[str, Any] = {"method": "POST", "path": "/download"}
FILES: Mapping[str, Any] = {"method": "GET", "path": "/*/*/files/*"}


SITES = ("today", "2018")


@pytest.fixture(scope="module")
def ground(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """A site of today, unless a test is marked otherwise by :data:`BOTH`."""
    data = tmp_path_factory.mktemp("sandbox")
    if getattr(request, "param", "today") == "today":
        with grounded(data) as made:
            yield made
    else:
        switches = {"compat": "core-2018"}
        with Ground2018(data, groups=("lab",), switches=switches) as old:
            yield old


BOTH = pytest.mark.parametrize("ground", SITES, indirect=True)


@pytest.fixture(scope="module")
def filled(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project with the tree in it, as the command names it; no test changes it."""
    ground.project("filled")
    away = tmp_path_factory.mktemp("away")
    desk = Desk(away / "home", ground.key())
    sent = desk.run("push", plant(away / "root", TREE), "lab/filled", "--json")
    assert sent.code == 0, sent
    return "lab/filled"


@pytest.fixture
def down(tmp_path: Path) -> Path:
    """Where it comes down; the folder around it is looked at afterwards."""
    (tmp_path / "around").mkdir()
    return tmp_path / "around/root"


def notes(done: Done) -> str:
    """All notes of a run."""
    return "\n".join(one["text"] for one in done.lines if one["event"] == "note")


def check_here(root: Path) -> None:
    """The tree is there, of plain files with a plain mode, and nothing is outside of it."""
    assert TREE == grown(root)
    assert ["root"] == [one.name for one in root.parent.iterdir()]
    assert not (root.parent.parent / "outside.txt").exists()
    assert not Path("/outside.txt").exists()
    for one in root.rglob("*"):
        mode = one.lstat().st_mode
        assert stat.S_ISDIR(mode) or stat.S_ISREG(mode), one
        assert not mode & 0o7000, one
        if ".fwsync" not in one.parts and one.is_file():
            assert mode & 0o777 == 0o666 & ~_umask(), one


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def check_closed(desk: Desk, target: str, root: Path) -> None:
    """A run without the fault has nothing to do, and nothing to say."""
    again = desk.run("pull", target, root, "--json")
    assert (again.code, again.moved()) == (0, {}), again
    assert "" == notes(again)
    assert [] == leftovers(root)
    check_state(root)


# ------------------------------------------------------------- members that should not be there


@dataclass(frozen=True)
class Row:
    """One fault of an archive."""

    number: str
    action: Rule
    #: What is said of it, in a note or, where no honest server does it, in a problem.
    said: str
    hostile: bool = False
    sites: tuple[str, ...] = SITES[:1]


def added(kind: str, **more: Any) -> Rule:
    return {"add_member": {"kind": kind, **more}}


OUT = "with names that lead out of their folder"
ROWS = [
    Row("F56-left-out", {"drop_member": 2}, "left out", sites=SITES),
    Row("F56-unreadable", added("missing", at=2), "could not read"),
    Row("F56-renamed", added("renamed", at=2), "with names that were not asked for", sites=SITES),
    Row("F57-fewer", {"drop_member": [2, 3, 9]}, "files of", sites=SITES),
    Row("F57-more", added("unasked"), "files of"),
    Row("F81-dotdot", added("dotdot"), OUT, hostile=True, sites=SITES),
    Row("F81-absolute", added("absolute"), OUT, hostile=True),
    Row("F81-inside", added("unasked", name="a/../../outside.txt"), OUT, hostile=True),
    Row("F81-drive", added("drive"), OUT, hostile=True),
    Row("F81-backslash", added("backslash"), OUT, hostile=True),
    Row("F81-pax", added("pax"), OUT, hostile=True),
    Row("F82-symlink", added("symlink"), "that are links", hostile=True, sites=SITES),
    Row("F82-hardlink", added("hardlink"), "that are links", hostile=True),
    Row("F82-through", added("through"), "that are links", hostile=True),
    Row(
        "F82-chain",
        {"add_member": [{"kind": "through", "name": f"way{n}/" * n + "way"} for n in range(40)]},
        "that are links",
        hostile=True,
    ),
    Row("F83-device", added("device"), "devices or pipes", hostile=True, sites=SITES),
    Row("F83-fifo", added("fifo"), "devices or pipes", hostile=True),
    Row("F83-sparse", added("sparse"), "sparse", hostile=True),
    Row("F83-unknown", added("unknown"), "of a type that there is not", hostile=True),
    Row("F83-setuid", added("setuid"), "that nobody asked for"),
    Row("F84-twice", added("duplicate", at=2), "that came twice", sites=SITES),
    Row("F84-twice-other-size", added("duplicate", at=2, size=7), "that came twice"),
    Row("F85-larger", added("oversized", at=2), "larger than listed", sites=SITES),
    Row("F85-a-byte-larger", added("oversized", at=2, size=1), "larger than listed"),
    Row("F85-smaller", added("shortened", at=2), "smaller than listed"),
    Row("F85-endless", added("endless", at=5), "larger than all", hostile=True, sites=SITES),
    Row("F85-huge", added("huge", at=5), "larger than all", hostile=True),
    Row("F85-many", added("many", at=5, size=3000), "3,000 members"),
    Row("F85-odd-names", added("control"), "that nobody asked for"),
    Row("F85-unasked", added("unasked", size=5 << 20), "that nobody asked for"),
]


def rows() -> Iterator[Any]:
    for site in SITES:
        for row in ROWS:
            if site in row.sites:
                yield pytest.param(site, row, id=f"{row.number}-{site}")


@pytest.mark.parametrize(("ground", "row"), list(rows()), indirect=["ground"])
def test_all_that_was_asked_for_comes_and_what_is_odd_is_said(
    ground: Ground, desk: Desk, filled: str, down: Path, row: Row
) -> None:
    with faulty(ground, rule(row.action, ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    assert "Traceback" not in done.err, done
    assert len(TREE) == done.summary["downloaded"], done
    assert (1 if row.hostile else 0) == done.code, done
    said = "\n".join(problems(done).values()) if row.hostile else notes(done)
    assert row.said in said, done
    assert row.hostile == bool(problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


def test_a_person_is_told_in_a_line_and_no_terminal_obeys_it(
    ground: Ground, desk: Desk, filled: str, down: Path
) -> None:
    with faulty(ground, rule({"add_member": ["control", "dotdot"]}, ARCHIVE)):
        done = desk.run("pull", filled, down)

    assert done.code == 1, done
    assert "\nnote: " in f"\n{done.out}"
    assert "-rf line\\x0abreak \\x1b[31mred.txt" in done.out
    assert "\x1b[31m" not in done.err + done.out
    assert "problem: ../../../outside.txt: refused" in done.out


def test_f84_the_first_of_two_has_the_wrong_bytes_always(
    ground: Ground, desk: Desk, filled: str, down: Path
) -> None:
    """As where an older file of the name is still in it: it comes by itself in the end."""
    with faulty(ground, rule({"flip_at": 600}, ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, {}) == (done.code, problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


# ------------------------------------------------------------------------- the end of the archive


@pytest.mark.parametrize("end", ["missing", "truncated", "junk"])
def test_f87_an_archive_without_its_right_end_is_no_success_by_itself(
    ground: Ground, desk: Desk, filled: str, down: Path, end: str
) -> None:
    with faulty(ground, rule({"archive_end": end, "drop_member": 3}, ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, {}) == (done.code, problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


@BOTH
@pytest.mark.parametrize(
    ("at", "how"), [(0, "end"), (100, "close"), (512, "end"), (9000, "reset"), (30_000, "close")]
)
def test_f24_what_was_whole_before_a_break_is_not_asked_for_again(
    ground: Ground, desk: Desk, filled: str, down: Path, at: int, how: str
) -> None:
    ground.forget_requests()
    with faulty(ground, rule({"cut_at": at, "cut_with": how}, ARCHIVE, times=1)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, {}, len(TREE)) == (done.code, problems(done), done.summary["downloaded"]), done
    assert sum(map(len, TREE.values())) == done.summary["bytes"]
    check_here(down)
    check_closed(desk, filled, down)


@pytest.mark.parametrize("at", [0, 9000])
def test_f24_archives_that_always_break_leave_no_file_behind(
    ground: Ground, desk: Desk, filled: str, down: Path, at: int
) -> None:
    with faulty(ground, rule({"cut_at": at, "cut_with": "reset"}, ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, {}) == (done.code, problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


@BOTH
def test_f15_a_process_that_dies_in_an_archive_keeps_what_had_landed(
    ground: Ground, desk: Desk, tmp_path: Path
) -> None:
    many = {f"s/e/a{n % 3}/{n:04}": b"%04d" % n * 1000 for n in range(200)}
    ground.project("many")
    root = tmp_path / "root"
    sent = desk.run("push", plant(tmp_path / "many", many), "lab/many", "--json")
    assert sent.code == 0, sent
    relay = ground.relay()
    desk.key = ground.key(port=relay.port)
    ground.run(relay.limit(down=700_000))
    process = desk.start("pull", "lab/many", root, "--transfers", "1", "--json")
    try:
        until(
            lambda: relay.stalled.is_set() and visible(root),
            what="it stands still between two members, or inside one",
        )
    finally:
        kill(process)
    ground.run(relay.limit())
    there = visible(root)
    done = desk.run("pull", "lab/many", root, "--json")

    assert 0 < there < len(many)
    assert (0, len(many)) == (done.code, done.summary["downloaded"] + done.summary["adopted"])
    assert done.summary["downloaded"] <= len(many) - there
    assert many == grown(root)
    assert [] == leftovers(root)
    assert desk.run("pull", "lab/many", root, "--json").moved() == {}


# ------------------------------------------------------------------------------------ tickets


@pytest.mark.parametrize("status", [400, 403, 404])
def test_f55_a_ticket_that_was_used_up_is_asked_for_anew_and_no_word_is_lost_on_it(
    ground: Ground, desk: Desk, filled: str, down: Path, status: int
) -> None:
    with faulty(ground, rule({"status": status}, ARCHIVE, times=1)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, "", {}) == (done.code, notes(done), problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


@BOTH
@pytest.mark.parametrize("status", [400, 404])
def test_f55_where_no_ticket_is_taken_files_come_one_by_one_and_it_is_said(
    ground: Ground, desk: Desk, filled: str, down: Path, status: int
) -> None:
    """As behind two proxies, where each request comes from another address."""
    ground.forget_requests()
    with faulty(ground, rule({"status": status, "body": {"message": "no such ticket"}}, ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    assert (0, {}) == (done.code, problems(done)), done
    assert "whose ticket was refused, its files were asked for one by one" in notes(done)
    assert "no such ticket" in notes(done)
    asked = [one["path"] for one in ground.requests() if one["path"].endswith("/download")]
    assert len(asked) <= 2 * 2 * 2, asked  # two of each for a batch, and two batches at most
    check_here(down)
    check_closed(desk, filled, down)


@pytest.mark.parametrize(
    ("action", "match"),
    [({"status": 500}, MINT), ({"html": True}, MINT), ({"html": True}, ARCHIVE)],
    ids=["500", "a page for a ticket", "a page for an archive"],
)
def test_f55_a_site_without_archives_gives_its_files_one_by_one(
    ground: Ground, desk: Desk, filled: str, down: Path, action: Rule, match: Rule
) -> None:
    with faulty(ground, rule(action, match)):
        done = desk.run("pull", filled, down, "--patience", "1", "--json")

    assert (0, {}) == (done.code, problems(done)), done
    check_here(down)
    check_closed(desk, filled, down)


# ------------------------------------------------------------------- what does not come at all


@pytest.mark.parametrize("status", [403, 404, 500])
def test_f56_what_does_not_even_come_by_itself_is_a_problem_and_the_others_are_here(
    ground: Ground, desk: Desk, filled: str, down: Path, status: int
) -> None:
    alone = rule({"status": status}, FILES, path="/*/*/files/03.dcm")
    with faulty(ground, alone, rule({"drop_member": PLACE}, ARCHIVE)):
        done = desk.run("pull", filled, down, "--patience", "1", "--json")

    assert done.code == 1, done
    assert [LOST] == list(problems(done)), done
    assert {path: TREE[path] for path in TREE if path != LOST} == grown(down)
    assert [] == leftovers(down)
    mended = desk.run("pull", filled, down, "--json")
    assert (0, 1) == (mended.code, mended.summary["downloaded"]), mended
    check_here(down)


def test_f57_a_ticket_that_says_another_number_is_told_of(
    ground: Ground, desk: Desk, filled: str, down: Path
) -> None:
    with faulty(ground, rule(added("unasked"), ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")

    sizes = sum(map(len, TREE.values()))
    assert f"{len(TREE)} files of {sizes} bytes promised" in notes(done), done
    assert done.code == 0


def test_f85_a_million_members_cost_a_moment_and_one_archive(
    ground: Ground, desk: Desk, filled: str, down: Path
) -> None:
    with faulty(ground, rule(added("many"), ARCHIVE)):
        done = desk.run("pull", filled, down, "--json")
        tried = fired(ground)

    assert (0, {}) == (done.code, problems(done)), done
    assert "that nobody asked for: many/0, many/1, many/2 and " in notes(done)
    assert tried <= 2
    check_here(down)
    check_closed(desk, filled, down)
