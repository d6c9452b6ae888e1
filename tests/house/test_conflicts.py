"""``fwsync conflicts``: what is listed, the three ways to settle one, and a kill at every step."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from fwsync import resolving
from fwsync.errors import UsageError
from tests.house.house import Desk, Done, Ground, complains, grown, plant, stop_watch, until

X, Y = "sub-01/ses-01/t1/x.dcm", "sub-01/ses-01/t1/y.dcm"
SHIM = Path(__file__).parents[1] / "torture" / "shim.py"
#: What a kill can come before, and find the disk otherwise than after it.
STEPS = ["write", "fsync", "link", "rename", "replace", "mkdir", "unlink", "renameat2"]


@pytest.fixture
def torn(desk: Desk, label: str, tmp_path: Path) -> Path:
    """A root with one conflict that has kept both; ``other`` beside it is in step."""
    return conflict(desk, label, tmp_path)


def conflict(desk: Desk, label: str, folder: Path, *how: str) -> Path:
    other = plant(folder / "other", {X: b"as it was", "sub-01/ses-01/t1/y.dcm": b"y"})
    root = folder / "root"
    root.mkdir()
    for one in (other, root):
        assert 0 == desk.run("sync", one, f"lab/{label}").code
    plant(other, {X: b"theirs, it is"})
    plant(root, {X: b"mine"})
    assert 0 == desk.run("sync", other).code
    assert 1 == desk.run("sync", root, *how).code
    return root


def copy_of(root: Path) -> Path:
    (found,) = (path for path in root.rglob("*fwsync-conflict*") if ".fwsync" not in path.parts)
    return found


def twice_torn(desk: Desk, root: Path) -> None:
    """Its file is in conflict once more."""
    plant(root, {X: b"mine again"})
    plant(root.parent / "other", {X: b"theirs again!"})
    assert 0 == desk.run("sync", root.parent / "other").code
    assert 1 == desk.run("sync", root).code


def everything(root: Path) -> set[bytes]:
    """The bytes of all files below a root, and in its trash."""
    trash = root / ".fwsync" / "trash"
    thrown = [path.read_bytes() for path in trash.rglob("*") if path.is_file()]
    return {*grown(root).values(), *thrown}


def open_ones(desk: Desk, root: Path) -> list[str]:
    return [line["path"] for line in desk.run("conflicts", root, "--json").lines[:-1]]


def ended(desk: Desk, root: Path) -> tuple[object, object]:
    """The last run, and how it ended."""
    (line,) = desk.run("status", root, "--json").lines
    return line["last_command"], line["last_exit_code"]


def held(ground: Ground, label: str) -> dict[str, int]:
    """The newest version of each file of a project that is not deleted."""
    alive: dict[str, int] = {}
    for one in ground.stored(label):
        if not one.deleted:
            alive[one.path] = max(one.version, alive.get(one.path, 0))
    return alive


def test_a_conflict_is_listed_with_both_sides_until_it_is_settled(desk: Desk, torn: Path) -> None:
    done = desk.run("conflicts", torn, "--json")
    (line,) = done.lines[:-1]

    assert 1 == done.code
    assert (X, "sync", 4, 13, 2) == (
        line["path"],
        line["command"],
        line["mine"]["size"],
        line["theirs"]["size"],
        line["theirs"]["version"],
    )
    assert copy_of(torn) == torn / line["copy"]
    assert all(line[side]["digest"].startswith("sha384:") for side in ("mine", "theirs"))
    assert [X] == open_ones(desk, torn / "sub-01")

    assert copy_of(torn).name in desk.run("conflicts", torn).out


def test_a_later_run_moves_nothing_and_says_that_the_conflict_still_waits(
    desk: Desk, torn: Path
) -> None:
    told, counted = desk.run("sync", torn), desk.run("sync", torn, "--json")

    assert 0 == told.code, told
    assert f"1 conflict waits for you: see `fwsync conflicts {torn}`" in told.out, told
    assert ({}, 1) == (counted.moved(), counted.summary["conflicts_open"])

    assert 0 == desk.run("conflicts", "keep-remote", torn / X).code
    assert 0 == desk.run("sync", torn, "--json").summary["conflicts_open"]


def test_a_watch_says_it_when_it_begins(desk: Desk, torn: Path) -> None:
    process = desk.start("watch", torn, "--mode", "both", "--settle", "1ms", "--json")
    try:
        until(lambda: ended(desk, torn) == ("watch", 0), what="a cycle has ended")
        done = stop_watch(process)
    finally:
        process.kill()

    assert 0 == done.code, done
    assert 1 == done.summary["conflicts_open"], done


def test_what_was_left_as_it_is_waits_as_well(desk: Desk, label: str, tmp_path: Path) -> None:
    root = conflict(desk, label, tmp_path, "--conflict", "fail")

    done = desk.run("push", root, "--json")

    assert (1, 1) == (done.code, done.summary["conflicts_open"]), done


def test_keep_remote_puts_yours_into_the_trash(
    desk: Desk, ground: Ground, torn: Path, label: str
) -> None:
    done = desk.run("conflicts", "keep-remote", torn / X)

    assert 0 == done.code, done
    assert b"theirs, it is" == (torn / X).read_bytes()
    assert f"yours is in the trash: `fwsync restore {torn} --run 2" in done.out, done
    assert b"mine" in everything(torn)
    assert [] == open_ones(desk, torn)
    again = desk.run("conflicts", "keep-remote", torn, "--all")
    assert "0 settled; nothing there is in conflict" in again.out, again
    assert {} == desk.run("sync", torn, "--json").moved()
    assert 2 == held(ground, label)[X]


def test_a_copy_of_which_the_state_knows_nothing_is_explained_as_one(
    desk: Desk, torn: Path
) -> None:
    copy = copy_of(torn)
    (torn / ".fwsync/state.db").write_bytes(b"")
    assert 0 == desk.run("doctor", torn, "--rebuild").code

    told = desk.run("explain", copy)
    done = desk.run("sync", torn, "--json")

    assert "it is never sent; under another name it is a file" in told.out, told
    assert {} == done.moved(), done


def test_a_copy_that_is_put_back_from_the_trash_is_a_file_of_its_own(
    desk: Desk, ground: Ground, torn: Path, label: str
) -> None:
    copy = copy_of(torn)
    assert 0 == desk.run("conflicts", "keep-remote", torn / X).code

    assert 0 == desk.run("restore", torn, copy.relative_to(torn)).code
    told = desk.run("explain", copy)
    done = desk.run("sync", torn, "--json")

    assert "sends it" in told.out, told
    assert {"uploaded": 1, "bytes": 4} == done.moved(), done
    assert 1 == held(ground, label)[str(copy.relative_to(torn))]


def test_keep_local_brings_yours_back_and_the_next_run_sends_it(
    desk: Desk, ground: Ground, torn: Path, label: str
) -> None:
    done = desk.run("conflicts", "keep-local", torn / X)

    assert 0 == done.code, done
    assert b"mine" == (torn / X).read_bytes()
    assert b"theirs, it is" in everything(torn)
    assert {"uploaded": 1, "bytes": 4} == desk.run("sync", torn, "--json").moved()
    assert {} == desk.run("sync", torn, "--json").moved()
    assert 3 == held(ground, label)[X]


@pytest.mark.parametrize("name", ["", "mine.dcm", "sub-02/ses-01/t1/mine.dcm"])
def test_keep_both_makes_yours_a_file_of_its_own(
    desk: Desk, ground: Ground, torn: Path, label: str, name: str
) -> None:
    copy = copy_of(torn)
    told = ["--as", name] if name else []
    away = desk.run("conflicts", "keep-both", copy, "--as", "/tmp/elsewhere.dcm")
    complains(away, 2, "--as", "below the folder")
    complains(desk.run("conflicts", "keep-both", copy, "--as", ""), 2, "--as: is empty")
    # A path is read from where it is typed, as all paths of a command are.
    done = desk.run("conflicts", "keep-both", copy, *told, prepare=partial(os.chdir, torn))

    assert 0 == done.code, done
    mine = torn / name if "/" in name else copy.with_name(name or copy.name)
    assert b"mine" == mine.read_bytes()
    assert {"uploaded": 1, "bytes": 4} == desk.run("sync", torn, "--json").moved()
    assert {} == desk.run("sync", torn, "--json").moved()
    assert 1 == held(ground, label)[str(mine.relative_to(torn))]


@pytest.mark.parametrize("how", ["keep-local", "keep-both", "keep-remote"])
def test_copies_that_are_gone_leave_nothing_to_choose(desk: Desk, torn: Path, how: str) -> None:
    twice_torn(desk, torn)
    for copy in list(torn.rglob("*.fwsync-conflict-*.dcm")):
        copy.unlink()

    done = desk.run("conflicts", how, torn / X)

    said = "its copy is gone already, and the server's version stays; closed"
    assert 0 == done.code, done
    assert f"{how}: {X}: {said}\nconflicts: 2 settled\n" == done.out
    assert [] == open_ones(desk, torn)


@pytest.mark.parametrize("policy", ["skip", "fail"])
@pytest.mark.parametrize(
    ("how", "kept", "moved"),
    [
        ("keep-local", b"mine", {"uploaded": 1, "bytes": 4}),
        ("keep-remote", b"theirs, it is", {"downloaded": 1, "bytes": 13}),
    ],
)
def test_a_conflict_that_was_left_is_settled_by_the_next_run(
    desk: Desk,
    label: str,
    tmp_path: Path,
    policy: str,
    how: str,
    kept: bytes,
    moved: dict[str, int],
) -> None:
    root = conflict(desk, label, tmp_path, "--conflict", policy)
    assert [X] == open_ones(desk, root)

    assert 0 == desk.run("conflicts", how, root / X).code
    done = desk.run("sync", root, "--conflict", policy, "--json")

    assert moved == done.moved(), done
    assert kept == (root / X).read_bytes()
    assert [] == open_ones(desk, root)
    assert how == "keep-local" or b"mine" in everything(root)


def test_what_was_chosen_is_not_done_to_other_bytes(desk: Desk, label: str, tmp_path: Path) -> None:
    root = conflict(desk, label, tmp_path, "--conflict", "skip")
    assert 0 == desk.run("conflicts", "keep-remote", root / X).code
    plant(root, {X: b"mine, and better"})

    done = desk.run("sync", root, "--conflict", "skip", "--json")

    assert {} == done.moved(), done
    assert b"mine, and better" == (root / X).read_bytes()
    assert [""] == [line["choice"] for line in desk.run("conflicts", root, "--json").lines[:-1]]


def test_a_copy_that_was_edited_is_reported_and_not_sent(
    desk: Desk, ground: Ground, torn: Path, label: str
) -> None:
    copy_of(torn).write_bytes(b"mine, corrected")

    done = desk.run("sync", torn)

    assert 1 == done.code
    assert copy_of(torn).name in done.out
    assert {X, "sub-01/ses-01/t1/y.dcm"} == held(ground, label).keys()
    (line,) = desk.run("conflicts", torn, "--json").lines[:-1]
    assert line["edited"]


def test_a_copy_that_moves_with_its_folder_is_still_listed(desk: Desk, torn: Path) -> None:
    (torn / "sub-01/ses-01/t1").rename(torn / "sub-01/ses-01/t9")

    desk.run("sync", torn, "--delete-up")

    assert [X.replace("t1", "t9")] == open_ones(desk, torn)


def test_a_second_conflict_has_a_copy_of_its_own_and_which_is_meant_must_be_said(
    desk: Desk, torn: Path
) -> None:
    first = copy_of(torn)
    twice_torn(desk, torn)

    assert [X, X] == open_ones(desk, torn)
    complains(desk.run("conflicts", "keep-local", torn / X), 2, "several copies")

    assert 0 == desk.run("conflicts", "keep-local", first).code
    assert b"mine" == (torn / X).read_bytes()
    assert {b"mine", b"mine again", b"theirs again!"} <= everything(torn)
    assert [X] == open_ones(desk, torn)
    assert 0 == desk.run("conflicts", "keep-remote", torn, "--all").code
    assert [] == open_ones(desk, torn)


def test_what_is_no_conflict_is_refused(desk: Desk, torn: Path, tmp_path: Path) -> None:
    complains(desk.run("conflicts", "keep-local", torn / "sub-01/ses-01/t1/y.dcm"), 2, "not in")
    complains(desk.run("conflicts", "keep-local", torn / "sub-01"), 2, "--all")
    taken = desk.run("conflicts", "keep-both", torn / X, "--as", "y.dcm")
    assert (1, True) == (taken.code, "is here" in taken.out)
    complains(desk.run("conflicts", tmp_path / "home"), 2, "kept in step")
    slip = torn / "sub-10"
    complains(desk.run("conflicts", "keep-remote", slip, "--all"), 2, f"{slip}: nothing of that")
    complains(desk.run("conflicts", slip), 2, f"{slip}: nothing of that")
    assert [X] == open_ones(desk, torn)


def test_while_another_process_works_on_the_root_it_is_refused_politely(
    desk: Desk, torn: Path
) -> None:
    process = desk.start("watch", torn, "--settle", "1h")
    try:
        lock = torn / ".fwsync/lock"
        until(lambda: str(process.pid) in lock.read_text(), what="the watch has the lock")
        done = desk.run("conflicts", "keep-local", torn / X)
    finally:
        process.kill()
        process.communicate()

    complains(done, 6, "works on it already", "move it over the file")
    assert b"theirs, it is" == (torn / X).read_bytes()


# ------------------------------------------------------------------- a kill before every step


Command = tuple[dict[str, Any], list[str]]


def codes_of(desk: Desk, folder: Path, commands: list[Command]) -> list[int]:
    """Run commands, each in a fork of one process: what they end with."""
    file = folder / "commands"
    file.write_text(json.dumps(commands))
    done = desk.run("--each", file, program=(str(SHIM),))

    assert 0 == done.code, done
    codes: list[int] = json.loads(done.out.splitlines()[-1])
    return codes


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        (["keep-local"], b"mine"),
        (["keep-remote"], b"theirs, it is"),
        (["keep-both"], b"theirs, it is"),
        (["keep-both", "--as", "mine.dcm"], b"theirs, it is"),
    ],
    ids=["keep-local", "keep-remote", "keep-both", "keep-both as"],
)
def test_killed_before_any_step_nothing_is_lost_and_done_again_it_goes_on(
    desk: Desk,
    torn: Path,
    tmp_path: Path,
    how: list[str],
    kept: bytes,
    blockbuster: BlockBuster,
) -> None:
    blockbuster.deactivate()  # the command is made again in this process, which is quick
    roots = killed_at_each_step(desk, torn, tmp_path, how)

    for step, root in enumerate(roots):
        if step:
            again(root, how)
        assert kept == (root / X).read_bytes(), step
        assert {b"mine", b"theirs, it is"} <= everything(root), step
        assert not resolving.listed(root, {}, None).conflicts, step


def test_on_a_disk_of_another_number_a_killed_keep_local_goes_on_and_not_back(
    desk: Desk, torn: Path, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()
    roots = killed_at_each_step(desk, torn, tmp_path, ["keep-local"])

    for step, killed in enumerate(roots[1:]):  # a copy has other inodes, too
        root = Path(shutil.copytree(killed, tmp_path / "elsewhere" / f"{step}", symlinks=True))
        again(root, ["keep-local"])

        assert b"mine" == (root / X).read_bytes(), step
        assert {b"mine", b"theirs, it is"} <= everything(root), step
        assert not resolving.listed(root, {}, None).conflicts, step


def killed_at_each_step(desk: Desk, torn: Path, folder: Path, how: list[str]) -> list[Path]:
    """Copies of a root: the first as a command leaves it, the others as it does if killed."""

    def prepared(step: int) -> Command:
        root = folder / f"{step}" / "root"
        shutil.copytree(torn, root, symlinks=True)
        log = str(root.parent / "log")
        spec = {"below": str(root), "log": log, "operations": STEPS, "fail_at": step, "kill": True}
        return spec, ["conflicts", how[0], str(root / X), *how[1:]]

    assert [0] == codes_of(desk, folder, [prepared(0)])
    steps = len((folder / "0" / "log").read_text().splitlines())
    killed = codes_of(desk, folder, [prepared(step) for step in range(1, steps + 1)])

    assert steps > 3
    assert [-signal.SIGKILL] * steps == killed
    roots = [folder / f"{step}" / "root" for step in range(steps + 1)]
    for step, root in enumerate(roots):
        assert {b"mine", b"theirs, it is"} <= everything(root), step
        assert (root / X).read_bytes() in (b"mine", b"theirs, it is"), step
    return roots


def again(root: Path, how: list[str]) -> None:
    """The same command; it may find that all was done."""
    wanted = resolving.Wanted([str(root / X)], how[0], name=how[-1] if len(how) > 1 else None)
    try:
        done = resolving.resolve(wanted, {}, None)
    except UsageError:
        assert not resolving.listed(root, {}, None).conflicts
    else:
        assert [None] == [one.problem for one in done]


def test_of_two_copies_the_one_that_is_there_takes_its_place(desk: Desk, torn: Path) -> None:
    first = copy_of(torn)
    twice_torn(desk, torn)
    first.unlink()

    done = desk.run("conflicts", "keep-local", torn / X)

    assert 0 == done.code, done
    assert b"mine again" == (torn / X).read_bytes()
    assert [] == open_ones(desk, torn)


@pytest.mark.parametrize("slip", ["keep-mine", "keeplocal", "resolve"])
def test_a_slip_of_the_command_is_not_taken_for_a_folder(desk: Desk, torn: Path, slip: str) -> None:
    for path in (torn / X, X):
        done = desk.run("conflicts", slip, path, prepare=partial(os.chdir, torn))

        assert 2 == done.code, done
        assert f"there is no command {slip!r}" in done.err, done
        assert "keep-local, keep-remote, keep-both" in done.err, done
    (torn / slip).mkdir()
    assert 1 == desk.run("conflicts", ".", prepare=partial(os.chdir, torn)).code
    assert 0 == desk.run("conflicts", slip, prepare=partial(os.chdir, torn)).code


def pasted(desk: Desk, words: str, at: Path) -> Done:
    """What comes of a command as it was printed, typed in some folder."""
    there = Desk(at, desk.key, {**desk.env, "HOME": str(desk.home)})
    return there.run(*shlex.split(words)[1:])


@pytest.mark.parametrize("where", ["in the root", "below it", "above it", "elsewhere"])
def test_what_is_listed_can_be_pasted_wherever_one_stands(
    desk: Desk, label: str, tmp_path: Path, where: str
) -> None:
    root = conflict(desk, label, tmp_path / "a folder")
    stands = {
        "in the root": root,
        "below it": root / "sub-01",
        "above it": root.parent,
        "elsewhere": tmp_path,
    }[where]

    listed = pasted(desk, f"fwsync conflicts {shlex.quote(str(root))}", stands).out.splitlines()
    file, copy = listed[0].partition("  (since")[0], listed[2].strip()
    explained = pasted(desk, f"fwsync explain {file} --offline", stands)
    of_copy = pasted(desk, f"fwsync explain {copy} --offline", stands)
    done = pasted(desk, f"fwsync conflicts keep-remote {copy}", stands)
    restore = done.out.split("`")[1]

    assert (0, True) == (explained.code, "conflict" in explained.out), explained
    assert f"fwsync conflicts keep-local|keep-remote|keep-both {copy}" in of_copy.out, of_copy
    assert "conflicts: 1 settled" in done.out, done
    assert f"fwsync restore {shlex.quote(str(root))} --run" in restore
    assert 0 == pasted(desk, restore, stands).code


def test_hints_of_conflicts_name_a_state_that_lies_elsewhere(
    desk: Desk, torn: Path, tmp_path: Path
) -> None:
    state, root = tmp_path / "the state.db", torn
    shutil.copy(root / ".fwsync/state.db", state)

    listed = desk.run("conflicts", root, "--state", state)
    refused = desk.run("conflicts", "keep-local", root / "sub-01", "--state", state)

    assert f"keep-local|keep-remote|keep-both PATH --state '{state}'` settles one" in listed.out
    complains(refused, 2, "--all settles all below it")
    none = desk.run("conflicts", "keep-local", root / Y, "--state", state)
    complains(none, 2, f"`fwsync conflicts {root} --state '{state}'` lists those that are")


def test_a_copy_that_was_edited_is_reported_with_a_command_that_can_be_pasted(
    desk: Desk, torn: Path
) -> None:
    copy = copy_of(torn)
    copy.write_bytes(b"edited since")

    said = desk.run("sync", torn).out

    assert f"`fwsync conflicts keep-local {copy}` sends it as x.dcm" in said
