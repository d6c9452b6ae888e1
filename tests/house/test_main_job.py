"""The main job: send a folder, fetch it elsewhere, compare; and what may come in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from itertools import count
from pathlib import Path

import pytest

from tests.house.house import (
    ROOT,
    Desk,
    Ground,
    Tree,
    expected_record,
    finish,
    grown,
    leftovers,
    plant,
    record_of,
    some_tree,
    stop_watch,
    until,
)
from tests.house.wire import Relay

ODD = {
    "README.txt": b"a file of the project",
    "sub 01/notes & more.txt": b"a file of the subject",
    "sub 01/ses-01/protocol (1).pdf": b"a file of the session",
    "sub 01/ses-01/t1 mprage/1.dcm": b"one",
    "sub 01/ses-01/t1 mprage/2.dcm": b"",
    "sub 01/ses-01/t2*/?[x].dcm": b"three",
    "sub 01/ses-01/50%/100%25.dcm": b"four",
    "sub 01/ses-01/50%/a#b;c='d'.dcm": b"five",
    "sub 01/ses-01/50%/-rf": b"six",
    'sub 01/ses-01/50%/it\'s "quoted" \\ back.dcm': b"seven",
    "Åse/Über/läsion/größe.nii.gz": b"eight",
    "被験者/セッション/撮像/画像.dcm": b"nine",
    "🧠/ses/acq/x.dcm": b"ten",
    "sub-02/a%2Fb/c%2Fd/e%2ff.dcm": b"eleven",
    "sub-02/.hidden/acq/.dotfile": b"twelve",
    f"sub-02/{'s' * 255}/acq/{'f' * 251}.dcm": b"thirteen",
    "sub-02/same/same/same": b"fourteen",
    "sub-02/SAME/same/Same": b"fifteen",
}
PLAIN = {f"sub-{n % 3}/ses/acq-{n % 5}/{n:03}.dcm": b"content %d" % n for n in range(60)}
NUMBERS = count(1)
PAGES_PLUS = 5


@pytest.fixture
def desk(ground: Ground, relay: Relay, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", ground.key(port=relay.port))


def everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All files below a root, ours too: mode, time, content."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode,
            # A folder's time may change by what comes and goes in it, as SQLite's own files do.
            path.stat().st_mtime_ns if path.is_file() else 0,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def put_there(ground: Ground, desk: Desk, label: str, tmp_path: Path, tree: Tree) -> None:
    """Another machine sends this."""
    away = plant(tmp_path / f"away-{next(NUMBERS)}", tree)
    done = desk.run("push", away, f"lab/{label}", "--json")

    assert 0 == done.code, done
    assert ground.count(label) >= len(tree)


# -------------------------------------------------------------------------- there and back


def test_what_was_pushed_is_pulled_whatever_its_name(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root, new = plant(tmp_path / "root", ODD), tmp_path / "new"
    sent = desk.run("push", root, f"lab/{label}", "--json")

    assert (0, len(ODD)) == (sent.code, sent.summary["uploaded"]), sent
    assert len(ODD) == ground.count(label)
    assert [] == ground.twins()

    fetched = desk.run("pull", f"lab/{label}", new, "--json")

    assert (0, len(ODD)) == (fetched.code, fetched.summary["downloaded"]), fetched
    assert ODD == grown(new)
    assert ODD == grown(root)
    assert [] == leftovers(new)
    for folder in (root, new):
        again = desk.run("sync", folder, "--json")
        assert (0, {}) == (again.code, again.moved()), again


def test_names_that_are_decomposed_on_disk_stay_so_there_and_are_composed_elsewhere(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    composed = "sub/ses/läsion/größe.dcm"
    decomposed = unicodedata.normalize("NFD", composed)
    root, new = plant(tmp_path / "root", {decomposed: b"content"}), tmp_path / "new"

    assert 0 == desk.run("push", root, f"lab/{label}").code
    assert 0 == desk.run("pull", f"lab/{label}", new).code
    assert {composed: b"content"} == grown(new)
    assert {decomposed: b"content"} == grown(root)
    assert (0, {}) == ((again := desk.run("push", root, "--json")).code, again.moved())


# ----------------------------------------------------------------------------- a second push


def shimmed(folder: Path, log: Path) -> tuple[str, str]:
    """The command with every operation on files below a folder written to a log."""
    return (
        str(ROOT / "tests/torture/shim.py"),
        json.dumps({"below": str(folder), "log": str(log)}),
    )


def opened(log: Path) -> list[str]:
    """The regular files that were opened, by the log."""
    words = [line.split(" ", 2) for line in log.read_text().splitlines()]
    return [path for _, name, path in words if name == "open" and Path(path).is_file()]


def test_a_second_push_opens_no_file_and_asks_for_pages_only(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root, logs = plant(tmp_path / "root", PLAIN), [tmp_path / "first", tmp_path / "second"]
    first = desk.run("push", root, f"lab/{label}", "--json", program=shimmed(root, logs[0]))

    assert (0, len(PLAIN)) == (first.code, first.summary["uploaded"]), first
    assert {str(root / path) for path in PLAIN} <= set(opened(logs[0]))  # the log does see it

    ground.forget_requests()
    second = desk.run("push", root, "--json", program=shimmed(root, logs[1]))
    asked = ground.requests()

    assert (0, {}) == (second.code, second.moved())
    assert [] == [path for path in opened(logs[1]) if "/.fwsync/" not in path]
    pages = 4  # subjects, sessions, acquisitions, files: one page each
    assert len(asked) <= pages + PAGES_PLUS, asked
    assert {"GET"} >= {one["method"] for one in asked} - {"POST"}


@pytest.mark.tools
def test_a_second_push_opens_no_file_by_what_the_kernel_saw(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    root, trace = plant(tmp_path / "root", PLAIN), tmp_path / "trace"

    assert 0 == desk.run("push", root, f"lab/{label}").code

    command = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(trace)]
    again = [*command, sys.executable, "-m", "fwsync", "push", str(root)]
    subprocess.run(again, env=desk.environment(), cwd=desk.home, check=True, timeout=50)

    calls = trace.read_text(errors="replace")
    assert "sub-0" in calls  # the folders are opened
    assert ".dcm" not in calls


def test_changed_bytes_are_one_new_version(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", PLAIN)

    assert 0 == desk.run("push", root, f"lab/{label}").code

    changed = next(iter(PLAIN))
    (root / changed).write_bytes(b"Content 0")  # the same size
    again = desk.run("push", root, "--json")

    assert (0, {"uploaded": 1, "bytes": 9}) == (again.code, again.moved())
    versions = [one.version for one in ground.stored(label) if one.path == changed]
    assert [1, 2] == versions
    assert len(PLAIN) + 1 == ground.count(label)


def test_a_touch_moves_nothing(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", PLAIN)

    assert 0 == desk.run("push", root, f"lab/{label}").code

    for path in PLAIN:
        os.utime(root / path)
    again = desk.run("push", root, "--json")

    assert (0, {}) == (again.code, again.moved())
    assert expected_record(PLAIN) == record_of(ground, label)


# ------------------------------------------------------------------ both sides have something


def test_other_bytes_on_first_meeting_are_a_conflict_and_push_sends_nothing_for_it(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    put_there(ground, desk, label, tmp_path, {"sub/ses/acq/1.dcm": b"there"})
    here = {"sub/ses/acq/1.dcm": b"here", "sub/ses/acq/2.dcm": b"new"}
    root = plant(tmp_path / "root", here)
    for _ in range(2):  # it stays a conflict
        done = desk.run("push", root, f"lab/{label}", "--json")

        assert (1, 1) == (done.code, done.summary["conflicts"]), done
    there = {"sub/ses/acq/1.dcm": b"there", "sub/ses/acq/2.dcm": b"new"}
    assert expected_record(there) == record_of(ground, label)
    assert here == grown(root)


def test_a_pull_leaves_a_local_edit_alone_and_says_so(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    put_there(ground, desk, label, tmp_path, PLAIN)
    root = tmp_path / "root"

    assert 0 == desk.run("pull", f"lab/{label}", root).code

    edited = next(iter(PLAIN))
    (root / edited).write_bytes(b"edited here")
    done = desk.run("pull", f"lab/{label}", root, "--json")

    assert (1, 0) == (done.code, done.summary["downloaded"]), done
    left = [line["path"] for line in done.lines if line["event"] == "left-alone"]
    assert [edited] == left
    assert b"edited here" == (root / edited).read_bytes()
    assert expected_record(PLAIN) == record_of(ground, label)


def test_a_pull_keeps_both_where_both_sides_changed(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    put_there(ground, desk, label, tmp_path, PLAIN)
    root, away = tmp_path / "root", next(tmp_path.glob("away-*"))

    assert 0 == desk.run("pull", f"lab/{label}", root).code

    edited = next(iter(PLAIN))
    (root / edited).write_bytes(b"edited here")
    (away / edited).write_bytes(b"edited there")

    assert 0 == desk.run("push", away).code

    done = desk.run("pull", f"lab/{label}", root, "--json")

    assert (1, 1) == (done.code, done.summary["conflicts"]), done
    assert b"edited there" == (root / edited).read_bytes()
    copies = [path for path in grown(root) if "fwsync-conflict" in path]
    assert [b"edited here"] == [(root / path).read_bytes() for path in copies]


# ---------------------------------------------------------------------------------- planning


@pytest.mark.parametrize("command", ["push", "pull", "sync"])
@pytest.mark.parametrize("known", [True, False], ids=["after a run", "before any run"])
def test_a_plan_writes_nothing_anywhere(
    command: str, known: bool, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    put_there(ground, desk, label, tmp_path, {"sub/ses/acq/there.dcm": b"there"})
    root = plant(tmp_path / "root", {"sub/ses/acq/here.dcm": b"here"})
    if known:
        assert 0 == desk.run("push", root, f"lab/{label}").code
        plant(root, {"sub/ses/acq/new.dcm": b"new"})
    before = everything(tmp_path), record_of(ground, label)
    target = f"lab/{label}"
    args = ("pull", target, root) if command == "pull" else (command, root, target)
    done = desk.run("plan", *args, "--json")
    also = desk.run(*args, "--dry-run", "--json")

    assert (0, 0) == (done.code, also.code), done
    assert "decision" in {line["event"] for line in done.lines}
    assert before == (everything(tmp_path), record_of(ground, label))


def test_a_plan_to_pull_does_not_make_the_folder(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    put_there(ground, desk, label, tmp_path, {"sub/ses/acq/there.dcm": b"there"})

    assert 0 == desk.run("plan", "pull", f"lab/{label}", tmp_path / "new").code
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------- files that change


def test_a_file_that_grows_while_it_is_sent_is_not_accepted_and_goes_later(
    ground: Ground, relay: Relay, desk: Desk, label: str, tmp_path: Path
) -> None:
    # Large enough that what the kernel holds between the two is a small part of it.
    tree = dict(some_tree(11, small=5, large=(24,)))
    (big,) = (path for path, content in tree.items() if len(content) > 1 << 20)
    root = plant(tmp_path / "root", tree)
    ground.run(relay.limit(up=3 << 20))
    process = desk.start("push", root, f"lab/{label}", "--json")
    until(relay.stalled.is_set, what="the large file is half sent")
    with (root / big).open("ab") as file:
        file.write(b"and more")
    ground.run(relay.limit())
    done = finish(process)

    assert (1, 1) == (done.code, done.summary["problems"]), done
    others = {path: content for path, content in tree.items() if path != big}
    assert expected_record(others) == record_of(ground, label)

    tree[big] += b"and more"
    later = desk.run("push", root, "--json")

    assert (0, 1) == (later.code, later.summary["uploaded"]), later
    assert expected_record(tree) == record_of(ground, label)


def test_a_file_that_appears_while_it_is_fetched_is_not_overwritten(
    ground: Ground, relay: Relay, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(12, small=5, large=(6,))
    (big,) = (path for path, content in tree.items() if len(content) > 1 << 20)
    put_there(ground, desk, label, tmp_path, tree)
    root = tmp_path / "root"
    ground.run(relay.limit(down=3 << 20))
    process = desk.start("pull", f"lab/{label}", root, "--json")
    until(relay.stalled.is_set, what="the large file is half there")
    plant(root, {big: b"made here"})
    ground.run(relay.limit())
    done = finish(process)

    assert (1, 1) == (done.code, done.summary["problems"]), done
    assert {**tree, big: b"made here"} == grown(root)
    assert [] == leftovers(root)


# ------------------------------------------------------------------------------------ watch


def test_watch_sends_what_settles_and_ends_in_peace(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    first = {f"sub/ses/acq/{n}.dcm": b"slice %d" % n for n in range(20)}
    late = {"sub/ses/acq/late.dcm": b"late", "sub/ses/other/1.dcm": b"other"}
    root = plant(tmp_path / "root", {})
    process = desk.start("watch", root, f"lab/{label}", "--settle", "0.3", "--json")
    lock = root / ".fwsync/lock"
    until(lock.exists, what="it watches")
    plant(root, first)
    until(lambda: ground.count(label) == len(first), what="all slices were sent")
    plant(root, late)
    until(lambda: ground.count(label) == len(first | late), what="the late ones were sent")
    done = stop_watch(process, 20)

    assert (0, "watch") == (done.code, done.summary["command"]), done
    assert len(first | late) == done.summary["uploaded"]
    assert expected_record(first | late) == record_of(ground, label)
    assert [] == ground.twins()
    assert (0, {}) == ((after := desk.run("push", root, "--json")).code, after.moved())


def test_watch_holds_back_a_folder_that_still_grows(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    done_one, growing = "sub/ses/done/1.dcm", "sub/ses/growing/1.dcm"
    root = plant(tmp_path / "root", {done_one: b"done", growing: b"0"})
    process = desk.start("watch", root, f"lab/{label}", "--settle", "1.5", "--json")
    content = b"0"

    def grows() -> bool:
        nonlocal content
        content += b"."
        (root / growing).write_bytes(content)
        return ground.count(label) > 0

    until(grows, what="the quiet folder was sent")

    assert [done_one] == [one.path for one in ground.stored(label)]

    until(lambda: ground.count(label) == 2, what="the other one went when it was quiet")

    assert 0 == stop_watch(process, 20).code
    assert expected_record({done_one: b"done", growing: content}) == record_of(ground, label)


def test_watch_waits_for_a_server_that_is_away(
    ground: Ground, relay: Relay, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"sub/ses/acq/1.dcm": b"one"})
    ground.run(relay.limit(up=0))
    process = desk.start("watch", root, f"lab/{label}", "--settle", "0.1", "--json")
    until(relay.stalled.is_set, what="it asks")

    assert process.poll() is None

    ground.run(relay.limit())
    until(lambda: ground.count(label) == 1, what="the file was sent")

    assert 0 == stop_watch(process, 20).code


def test_a_state_may_be_carried_to_another_folder_name(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", PLAIN)

    assert 0 == desk.run("push", root, f"lab/{label}").code

    moved = Path(shutil.move(root, tmp_path / "moved"))
    again = desk.run("push", moved, "--json")

    assert (0, {}) == (again.code, again.moved())
    assert expected_record(PLAIN) == record_of(ground, label)
