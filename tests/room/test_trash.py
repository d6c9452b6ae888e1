"""What lies in the trash: listed, put back over nothing, and let go in time and not before."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fwsync import trash
from fwsync.errors import FileProblem, UsageError
from fwsync.model import Mode
from fwsync.restoring import Wanted, listed, restore
from fwsync.threads import in_thread
from fwsync.trash import TRASH, Kept, kept, put_back, sweep
from tests.room.rooms import Bench, Ground, X, below, descriptor, did, grown, in_trash, plant

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
OLD, NEW = "20300101T120000Z", "20300531T120000Z"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    plant(root, {f"{TRASH}/{OLD}/s/a": b"old", f"{TRASH}/{OLD}/s/b": b"b"})
    plant(root, {f"{TRASH}/{NEW}/s/a": b"newer", "here": b"h"})
    return root


def names(found: list[Kept]) -> list[tuple[str, str]]:
    return [(one.run, one.path) for one in found]


def test_the_newest_run_comes_first(full: Path) -> None:
    with descriptor(full) as root_fd:
        found = list(kept(root_fd))

    assert [(NEW, "s/a"), (OLD, "s/a"), (OLD, "s/b")] == names(found)
    assert [5, 3, 1] == [one.size for one in found]


def test_there_is_nothing_where_nothing_was_thrown_away(tmp_path: Path) -> None:
    with descriptor(tmp_path) as root_fd:
        assert [] == list(kept(root_fd))
        assert 0 == sweep(root_fd, days=1, now=NOW)


def test_a_file_that_is_put_back_is_the_very_file_and_leaves_nothing(full: Path) -> None:
    inode = (full / TRASH / OLD / "s/b").stat().st_ino
    with descriptor(full) as root_fd:
        one = next(one for one in kept(root_fd) if one.path == "s/b")
        put_back(root_fd, one)

        assert inode == (full / "s/b").stat().st_ino
        assert [(NEW, "s/a"), (OLD, "s/a")] == names(list(kept(root_fd)))
        with pytest.raises(FileProblem, match="not in the trash any more"):
            put_back(root_fd, one)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_that_is_here_is_ever_replaced(full: Path, kind: str) -> None:
    target = full / "s/b"
    target.parent.mkdir()
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(full / "here")

    done = restore(full, Wanted(("s/b",)))

    assert [True] == [one.problem is not None for one in done]
    assert b"b" == (full / TRASH / OLD / "s/b").read_bytes()
    assert b"h" == (full / "here").read_bytes()
    assert kind != "file" or target.read_bytes() == b"mine"


def test_nothing_is_put_back_through_a_link_that_leads_out(full: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (full / "s").symlink_to(tmp_path / "outside")

    done = restore(full, Wanted((".",)))

    assert [True, True] == [one.problem is not None for one in done]
    assert [] == list((tmp_path / "outside").iterdir())
    assert [b"b", b"newer", b"old"] == below(full / TRASH)


@pytest.mark.parametrize(
    ("wanted", "back"),
    [
        (Wanted(("s/a",)), {"s/a": b"newer"}),
        (Wanted(("s/",)), {"s/a": b"newer", "s/b": b"b"}),
        (Wanted((".",)), {"s/a": b"newer", "s/b": b"b"}),
        (Wanted(("./s/a", "s/b")), {"s/a": b"newer", "s/b": b"b"}),
        (Wanted((), OLD), {"s/a": b"old", "s/b": b"b"}),
        (Wanted(("s/a",), OLD), {"s/a": b"old"}),
    ],
)
def test_of_several_versions_the_newest_comes_back_or_that_of_the_run(
    full: Path, wanted: Wanted, back: dict[str, bytes]
) -> None:
    done = restore(full, wanted)

    assert [None] * len(back) == [one.problem for one in done]
    assert {**back, "here": b"h"} == grown(full)


def test_all_of_an_empty_trash_is_no_file_and_one_of_it_is_an_error(tmp_path: Path) -> None:
    assert [] == restore(tmp_path, Wanted((".",)))
    for wanted in (Wanted(("s/a",)), Wanted((".",), OLD)):
        with pytest.raises(UsageError, match="there is nothing in its trash"):
            restore(tmp_path, wanted)


def test_an_absolute_path_below_the_folder_is_understood(full: Path) -> None:
    restore(full, Wanted((str(full.resolve() / "s/b"),)))

    assert b"b" == (full / "s/b").read_bytes()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(("s/none",)), "nothing in its trash"),
        (Wanted((), "20200101T000000Z"), "nothing in its trash"),
        (Wanted(), "neither a path nor a run"),
        (Wanted(("../other",)), "is not below"),
        (Wanted(("/etc/passwd",)), "is not below"),
    ],
)
def test_what_cannot_be_meant_is_said(full: Path, wanted: Wanted, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        restore(full, wanted)
    assert 3 == len(listed(full, Wanted()))


# ------------------------------------------------------------------------------ letting go


def swept(root: Path, *times: datetime, days: int = 30) -> list[bytes]:
    """What is left in the trash after runs at these times."""
    with descriptor(root) as root_fd:
        for now in times:
            sweep(root_fd, days=days, now=now)
    return below(root / TRASH)


def daily(first: datetime, days: int) -> list[datetime]:
    return [first + timedelta(days=number) for number in range(days + 1)]


def known_for_ever(root: Path) -> None:
    """Runs have seen all that is in the trash grow old."""
    runs = {one.name: 10**9 for one in (root / TRASH).iterdir()}
    at = int(datetime(2020, 1, 3, tzinfo=UTC).timestamp())
    plant(root, {".fwsync/trash-ages": json.dumps({"at": at, "ages": runs}).encode()})


def test_what_is_old_enough_is_let_go_and_its_folder_with_it(full: Path) -> None:
    first = datetime.now(UTC)  # the files themselves are of today
    (full / TRASH / OLD).rename(full / trash.run_folder(first))
    newer = full / trash.run_folder(first + timedelta(days=5))
    (full / TRASH / NEW).rename(full / "aside")

    assert [b"b", b"old"] == swept(full, *daily(first, 5))
    (full / "aside").rename(newer)
    assert [b"b", b"newer", b"old"] == swept(full, *daily(first + timedelta(days=6), 23))
    assert [b"newer"] == swept(full, first + timedelta(days=31))
    assert [newer] == list((full / TRASH).iterdir())
    assert [b"newer"] == swept(full, first + timedelta(days=32))
    assert [] == swept(full, *daily(first + timedelta(days=33), 6))


def test_runs_that_are_far_apart_let_go_a_little_later(full: Path) -> None:
    first = datetime.now(UTC)
    (full / TRASH / OLD).rename(full / trash.run_folder(first))
    shutil.rmtree(full / TRASH / NEW)

    monthly = [first + timedelta(days=31 * number) for number in range(4)]

    assert [b"b", b"old"] == swept(full, *monthly[:3])
    assert [] == swept(full, monthly[3])


@pytest.mark.parametrize("days", [1, 30, 365])
def test_a_clock_that_jumps_lets_go_of_nothing(full: Path, days: int) -> None:
    first = datetime.now(UTC)
    for number, run in enumerate((OLD, NEW)):
        (full / TRASH / run).rename(full / trash.run_folder(first - timedelta(days=number)))
    later = first + timedelta(days=9999)
    everything = [b"b", b"newer", b"old"]

    assert everything == swept(full, first, later, later + timedelta(minutes=1), days=days)
    assert everything == swept(full, first + timedelta(hours=2), days=days)


@pytest.mark.parametrize("noted", [b"", b"{", b"[]", b'{"at": "x"}', b'{"at": 1, "ages": 7}'])
def test_ages_that_cannot_be_read_begin_anew(full: Path, noted: bytes) -> None:
    plant(full, {".fwsync/trash-ages": noted})

    assert [b"b", b"newer", b"old"] == swept(full, NOW + timedelta(days=999))


def test_a_file_that_came_there_just_now_stays_whatever_its_run_says(full: Path) -> None:
    (full / TRASH / NEW).rename(full / TRASH / "20200101T000000Z")
    (full / TRASH / OLD).rename(full / TRASH / "20200102T000000Z")
    known_for_ever(full)

    assert [b"b", b"newer", b"old"] == swept(full, datetime.now(UTC), days=1)
    assert [] == swept(full, datetime.now(UTC) + timedelta(days=2), days=1)


def test_nothing_is_let_go_while_the_clock_is_in_doubt(full: Path) -> None:
    (full / TRASH / OLD).rename(full / TRASH / "20000101T000000Z")
    known_for_ever(full)

    assert [b"b", b"newer", b"old"] == swept(full, datetime(2030, 3, 1, tzinfo=UTC))


def test_what_somebody_else_put_there_is_not_ours_to_touch(full: Path) -> None:
    plant(full, {f"{TRASH}/mine/x": b"x", f"{TRASH}/20301399T999999Z/y": b"y"})
    known_for_ever(full)

    assert [b"x", b"y"] == swept(full, datetime.now(UTC) + timedelta(days=36500))
    assert [] == listed(full, Wanted())


# ------------------------------------------------------------------------ with the next run


@pytest.mark.parametrize("may_delete", [True, False])
async def test_what_was_put_back_is_not_thrown_away_again_by_a_pull(
    may_delete: bool, agreed: Bench, server: Ground
) -> None:
    await server.delete(X)
    assert 1 == (await agreed.cycle(Mode.DOWN)).deleted

    await in_thread(restore, agreed.root, Wanted((X,)))

    for _ in range(2):
        assert {} == did(await agreed.cycle(Mode.DOWN, delete_down=may_delete))
        assert b"x" == (agreed.root / X).read_bytes()


async def test_what_was_put_back_is_a_new_file_to_a_sync(agreed: Bench, server: Ground) -> None:
    await server.delete(X)
    await agreed.cycle()

    await in_thread(restore, agreed.root, Wanted((X,)))

    assert 1 == (await agreed.cycle()).uploaded
    assert b"x" == (await server.held())[X]


async def test_an_older_version_that_was_put_back_is_an_edit(agreed: Bench, server: Ground) -> None:
    await server.put({X: b"theirs"})
    await agreed.cycle(Mode.DOWN)
    (agreed.root / X).rename(agreed.root.parent / "elsewhere")

    await in_thread(restore, agreed.root, Wanted((X,)))

    assert {"skipped": 1} == did(await agreed.cycle(Mode.DOWN))
    assert b"x" == (agreed.root / X).read_bytes()


async def test_f12_a_file_whose_old_bytes_are_in_the_trash_and_that_is_not_replaced_yet(
    agreed: Bench, server: Ground
) -> None:
    """Killed between the two: the path still holds the old bytes, and gets the new ones."""
    await server.put({X: b"theirs"})
    aside = agreed.root / TRASH / OLD / X
    aside.parent.mkdir(parents=True)
    os.link(agreed.root / X, aside)

    report = await agreed.cycle(Mode.DOWN)

    assert {"downloaded": 1, "bytes": 6} == did(report)
    assert b"theirs" == (agreed.root / X).read_bytes()
    assert {b"x"} == set(in_trash(agreed.root))
    assert {} == did(await agreed.cycle())


async def test_f12_a_deleted_file_that_is_in_the_trash_and_still_has_its_name(
    agreed: Bench, server: Ground
) -> None:
    await server.delete(X)
    aside = agreed.root / TRASH / OLD / X
    aside.parent.mkdir(parents=True)
    os.link(agreed.root / X, aside)

    assert {"deleted": 1} == did(await agreed.cycle(Mode.DOWN))
    assert not (agreed.root / X).exists()
    assert {b"x"} == set(in_trash(agreed.root))
    assert {} == did(await agreed.cycle())
