"""What holds a run, with the whole command: caps, roots that are not there, a server gone back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house.disks import small_disk
from tests.house.house import (
    SOME,
    Desk,
    Done,
    Ground,
    complains,
    grounded,
    grown,
    plant,
    record_of,
    stop_watch,
    until,
)

HUNDRED = {f"s{n % 4}/v/a/{n:03}.dcm": b"%d" % n for n in range(100)}


def sync(desk: Desk, root: Path, *args: str) -> Done:
    return desk.run("sync", root, *args, "--json")


def agreed(desk: Desk, root: Path, label: str) -> None:
    done = desk.run("sync", root, f"lab/{label}", "--json")

    assert done.code == 0, done


def lose(root: Path, count: int) -> list[str]:
    paths = sorted(HUNDRED)[:count]
    for path in paths:
        (root / path).unlink()
    return paths


def there(ground: Ground, label: str) -> set[str]:
    return {one.path for one in ground.stored(label) if not one.deleted}


def status(desk: Desk, root: Path) -> dict[str, object]:
    done = desk.run("status", root, "--json")
    found: dict[str, object] = json.loads(done.out)

    assert found["exit_code"] == done.code, done
    return found


# ------------------------------------------------------------------------------ the cap


@pytest.fixture
def hundred(desk: Desk, label: str, tmp_path: Path) -> Path:
    root = plant(tmp_path / "hundred", HUNDRED)
    agreed(desk, root, label)
    return root


def test_s55_half_of_the_files_may_be_deleted(
    ground: Ground, desk: Desk, label: str, hundred: Path
) -> None:
    gone = lose(hundred, 50)

    done = sync(desk, hundred, "--delete")

    assert (done.code, done.summary["deleted"], done.summary["guards"]) == (0, 50, []), done
    assert HUNDRED.keys() - set(gone) == there(ground, label)


def test_s56_to_s58_one_more_waits_until_that_plan_is_consented_to(
    ground: Ground, desk: Desk, label: str, hundred: Path
) -> None:
    gone = lose(hundred, 51)
    plant(hundred, {f"s9/v/a/{n}.dcm": b"new %d" % n for n in range(3)})

    first = sync(desk, hundred, "--delete")
    again = sync(desk, hundred, "--delete")

    assert (first.code, first.summary["uploaded"], first.summary["deleted"]) == (4, 3, 0), first
    assert (again.code, again.summary["uploaded"], again.summary["deleted"]) == (4, 0, 0), again
    assert ["too-many-deletions"] == again.summary["guards"]
    assert first.summary["plan_id"] == again.summary["plan_id"]
    assert gone == [one["path"] for one in again.lines if one["event"] == "waiting"]
    assert 103 == len(there(ground, label))

    told = status(desk, hundred)
    assert isinstance(told["hold"], dict)
    assert (True, 51, 4) == (told["halted"], told["hold"]["deletions_there"], told["exit_code"])
    assert gone[:5] == told["hold"]["sample"][:5]
    plain = desk.run("status", hundred)
    consent = f"fwsync sync {hundred} --delete --accept-deletes {again.summary['plan_id']}"
    assert (plain.code, consent in plain.out, gone[0] in plain.out) == (4, True, True), plain
    assert consent == told["consent"]

    (hundred / sorted(HUNDRED)[60]).unlink()  # the world moves on: it is another plan
    refused = sync(desk, hundred, "--delete", "--accept-deletes", again.summary["plan_id"])
    assert (refused.code, refused.summary["deleted"]) == (4, 0), refused
    assert "is not the id of this plan" in refused.out + refused.err

    plan_id = refused.summary["plan_id"]
    done = sync(desk, hundred, "--delete", "--accept-deletes", plan_id)
    assert (done.code, done.summary["deleted"]) == (0, 52), done
    assert grown(hundred).keys() == there(ground, label)
    told = status(desk, hundred)
    assert (None, False, 0) == (told["hold"], told["halted"], told["exit_code"])
    assert {} == sync(desk, hundred, "--delete").moved()


def test_what_a_guard_holds_is_listed_once_with_a_command_that_can_be_pasted(
    ground: Ground, desk: Desk, label: str, hundred: Path, tmp_path: Path
) -> None:
    config = tmp_path / "an own.toml"
    config.write_text("trash_days = 7\n")
    gone = lose(hundred, 51)
    assert 0 == sync(desk, hundred).code  # held for themselves, each by its row
    how = ("--delete-up", "--exclude", "*.no such", "--config", str(config))
    assert 4 == sync(desk, hundred, *how).code

    plain, told = desk.run("status", hundred), status(desk, hundred)

    assert ([1, 0], 51) == ([plain.out.count(gone[n]) for n in (0, 50)], told["held"]), plain
    assert "held deletion" not in plain.out, plain
    listing = plain.out.partition("more; `")[2].partition("`")[0]
    listed = desk.run(*shlex.split(listing)[1:])
    assert (4, 1) == (listed.code, listed.out.count(gone[50])), listing
    assert isinstance(told["hold"], dict)
    assert (51, "Z") == (told["hold"]["waiting"], told["hold"]["since"][-1])
    assert f"consent     {told['consent']}" in plain.out, plain
    command, *words = shlex.split(str(told["consent"]))
    assert "fwsync" == command
    done = desk.run(*words, "--json")
    assert (0, 51) == (done.code, done.summary["deleted"]), done
    assert HUNDRED.keys() - set(gone) == there(ground, label)


def test_consent_to_a_pull_names_its_project_first(
    ground: Ground, desk: Desk, label: str, hundred: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "the copy"
    assert 0 == desk.run("pull", f"lab/{label}", copy).code
    lose(hundred, 51)
    assert 0 == sync(desk, hundred, "--delete", "--max-delete", "60").code
    assert 4 == desk.run("pull", f"lab/{label}", copy, "--delete").code

    words = shlex.split(str(status(desk, copy)["consent"]))

    assert ["fwsync", "pull", f"lab/{label}", str(copy)] == words[:4]
    assert 0 == desk.run(*words[1:]).code


def test_what_a_run_in_another_direction_was_consented_to_is_held_no_more(
    desk: Desk, hundred: Path
) -> None:
    lose(hundred, 51)
    held = sync(desk, hundred, "--delete-up")
    consent = ("--delete-up", "--accept-deletes", held.summary["plan_id"], "--json")
    done = desk.run("push", hundred, *consent)

    assert (4, 0, 51) == (held.code, done.code, done.summary["deleted"]), done
    assert status(desk, hundred)["hold"] is None


def test_a_hold_is_over_when_its_reason_is(desk: Desk, label: str, hundred: Path) -> None:
    lose(hundred, 51)
    assert 4 == sync(desk, hundred, "--delete").code
    path = sorted(HUNDRED)[0]
    plant(hundred, {path: HUNDRED[path]})

    done = sync(desk, hundred, "--delete")

    assert (done.code, done.summary["deleted"]) == (0, 50), done
    assert status(desk, hundred)["hold"] is None


def test_the_cap_of_a_container_holds_what_the_cap_of_a_run_allows(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {f"s/v/{acq}/{n}": f"{acq}{n}".encode() for acq in "ab" for n in range(10)}
    root = plant(tmp_path / "root", tree)
    agreed(desk, root, label)
    for name in "0123":
        (root / "s/v/a" / name).unlink()

    done = sync(desk, root, "--delete", "--max-delete-container", "30%")

    assert (done.code, done.summary["deleted"]) == (4, 0), done
    assert ["too-many-deletions-in-a-container"] == done.summary["guards"]
    assert "4 of 10 files of s/v/a would be deleted on the server" in done.summary["halted"]
    done = sync(desk, root, "--delete", "--max-delete-container", "4")
    assert (done.code, done.summary["deleted"]) == (0, 4), done


def test_a_watch_goes_on_with_what_is_new_while_a_guard_holds(
    ground: Ground, desk: Desk, label: str, hundred: Path
) -> None:
    lose(hundred, 51)
    watch = desk.start("watch", hundred, "--mode", "both", "--delete", "--settle", "0", "--json")
    until(lambda: status(desk, hundred)["hold"] is not None, what="the watch holds a plan")
    plant(hundred, {"s9/v/a/late.dcm": b"late"})
    until(lambda: "s9/v/a/late.dcm" in there(ground, label), what="the new file is sent")
    done = stop_watch(watch)

    assert 101 == len(there(ground, label)), done
    assert ["too-many-deletions"] == done.summary["guards"], done


# -------------------------------------------------------------------- roots that are not there


@pytest.mark.parametrize("state", ["in the root", "elsewhere"])
def test_s61_an_empty_mount_point_halts_and_nothing_is_made_in_it(
    state: str, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    at, other = tmp_path / "disk", tmp_path / "elsewhere"
    options = () if state == "in the root" else ("--state", str(tmp_path / "the.db"))
    with small_disk(at, "8m"):
        plant(at, SOME)
        assert 0 == desk.run("sync", at, f"lab/{label}", *options).code
        before = record_of(ground, label)
        subprocess.run(["mount", "--make-private", at], check=False, capture_output=True)
        other.mkdir()
        subprocess.run(["mount", "--move", at, other], check=True)
        try:
            for args in (
                ("sync", at, f"lab/{label}"),
                ("sync", at),
                ("push", at, f"lab/{label}", "--delete-up"),
                ("pull", f"lab/{label}", at),
                ("plan", "sync", at, f"lab/{label}"),
                ("watch", at, f"lab/{label}"),
            ):
                complains(desk.run(*args, *options), 4, str(at), "mount")
                assert [] == list(at.iterdir())
        finally:
            subprocess.run(["mount", "--move", other, at], check=True)
        assert before == record_of(ground, label)
        assert SOME == grown(at)
        done = desk.run("sync", at, *options, "--json")  # it is there again: no more is needed
        assert (done.code, done.moved()) == (0, {}), done


def test_a_disk_that_has_another_number_after_each_mount_is_the_same_root(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    at, copy = tmp_path / "disk", tmp_path / "copy"
    with small_disk(at, "8m"):
        plant(at, SOME)
        agreed(desk, at, label)
        shutil.copytree(at, copy)
    at.rmdir()
    with small_disk(at, "8m") as disk:
        shutil.copytree(copy, disk.path, dirs_exist_ok=True)
        done = sync(desk, at)

        assert (done.code, done.moved()) == (0, {}), done


def test_s60_a_root_that_is_gone_halts_and_is_not_made_anew(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    shutil.rmtree(root)

    for args in (("sync", root), ("push", root, f"lab/{label}", "--delete-up"), ("watch", root)):
        complains(desk.run(*args), 4, "the folder is gone", "--new-root")
        assert not root.exists()
    assert SOME.keys() == there(ground, label)

    done = desk.run("pull", f"lab/{label}", root, "--json")  # this makes it, as it did before
    assert (done.code, SOME) == (0, grown(root)), done
    assert 0 == sync(desk, root).code


def test_s62_a_root_that_is_a_file_or_a_link_now_halts(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    agreed(desk, root, label)
    away = root.rename(tmp_path / "away")
    other = plant(tmp_path / "other", {"s/v/a/other": b"not of this root"})
    sync_it = ("sync", root, f"lab/{label}", "--delete")

    root.write_text("a file")
    complains(desk.run(*sync_it), 4, "is a file now")
    root.unlink()
    root.symlink_to(other)
    complains(desk.run(*sync_it), 4, "is a symbolic link")
    root.unlink()
    root.symlink_to(away)  # the root itself has moved, and the link leads there
    done = desk.run(*sync_it, "--json")

    assert (done.code, done.moved()) == (0, {}), done
    assert {"s/v/a/other": b"not of this root"} == grown(other)
    assert [".fwsync"] != [one.name for one in other.iterdir()]
    assert SOME.keys() == there(ground, label)


def test_a_folder_that_was_emptied_on_purpose_begins_anew_when_that_is_said(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    shutil.rmtree(root)
    root.mkdir()

    complains(desk.run("sync", root, f"lab/{label}"), 4, "is empty", "--new-root")
    assert [] == list(root.iterdir())
    done = sync(desk, root, f"lab/{label}", "--new-root")
    assert (done.code, SOME) == (0, grown(root)), done
    done = sync(desk, root)
    assert (done.code, done.moved()) == (0, {}), done


def test_a_root_that_is_not_there_is_not_taken_for_an_unknown_one_by_any_command(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    shutil.rmtree(root)
    root.mkdir()
    inside = root / next(iter(SOME))

    for args in (
        ("status", root),
        ("conflicts", root),
        ("conflicts", "keep-remote", inside),
        ("explain", inside),
        ("history", inside),
        ("restore", root, "--list"),
        ("restore", root, "."),
        ("verify", root),
        ("cleanup", root),
    ):
        complains(desk.run(*args), 4, "is empty", "mount")
    checked = desk.run("doctor", root)
    assert (checked.code, "is empty, where a folder" in checked.out) == (6, True), checked
    assert [] == list(root.iterdir())


def test_a_pull_into_a_folder_that_was_emptied_needs_no_word(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    shutil.rmtree(root)
    root.mkdir()

    done = desk.run("pull", f"lab/{label}", root, "--json")

    assert (done.code, SOME) == (0, grown(root)), done


def test_s107_a_state_that_was_thrown_away_is_made_again_from_both_sides(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    shutil.rmtree(root / ".fwsync")

    done = sync(desk, root, f"lab/{label}")

    assert (done.code, done.moved()) == (0, {"adopted": len(SOME)}), done


def test_a_root_where_no_record_can_be_kept_works_as_ever(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    for record in (desk.home / ".local/state/fwsync/roots").iterdir():
        record.write_text("{")

    assert (0, {}) == (sync(desk, root).code, sync(desk, root).moved())


# ----------------------------------------------------------------- the server is not as agreed


def test_s64_a_project_that_is_gone_ends_a_sync_and_deletes_nothing_here(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    project = ground.ask("GET", f"/projects?filter=label={label}")[0]["_id"]
    agreed(desk, root, label)
    ground.ask("DELETE", f"/projects/{project}")

    for args in ((), (f"lab/{label}",)):
        done = desk.run("sync", root, *args, "--delete")
        assert done.code not in (0, 1), done
    assert SOME == grown(root)


def test_a_server_restored_from_an_older_backup_holds_what_it_would_undo(
    tmp_path: Path,
) -> None:
    data, backup, root = tmp_path / "data", tmp_path / "backup", plant(tmp_path / "root", SOME)
    desk = Desk(tmp_path / "home")
    path, more = next(iter(SOME)), {"s7/v/a/1": b"later", "s8/v/a/1": b"l2", "s8/v/a/2": b"l3"}
    with grounded(data) as ground:
        ground.project("aging")
        desk.key = ground.key()
        agreed(desk, root, "aging")
        port = ground.port
    shutil.copytree(data, backup)
    with Ground(data, port=port) as ground:
        desk.key = ground.key()
        plant(root, {**more, path: b"the newer bytes"})
        state = tmp_path / "another.db"
        assert 0 == desk.run("sync", root, "lab/aging").code
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    here = grown(root)
    with Ground(data, port=port) as ground:
        desk.key = ground.key()
        plant(root, {"s9/v/a/new": b"a scanner goes on"})
        for sent in (1, 0):
            done = sync(desk, root, "lab/aging", "--delete")
            summary = done.summary
            assert (done.code, summary["uploaded"], summary["deleted"]) == (4, sent, 0), done
            assert ["server-restored"] == summary["guards"], done
            assert {**here, "s9/v/a/new": b"a scanner goes on"} == grown(root)
        (root / path).write_bytes(b"the newest bytes")
        push = desk.run(
            "push", root, "lab/aging", "--state", state, "--conflict", "local", "--json"
        )
        assert push.code == 0, push
        done = sync(desk, root, "lab/aging", "--delete")
        assert done.code == 0, done
        assert grown(root).keys() == there(ground, "aging")


# ------------------------------------------------------------------------- times and suspects


def test_s24_other_times_with_the_same_bytes_move_nothing_and_are_said_once(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    for path in SOME:
        at = (root / path).stat().st_mtime_ns + 3600 * 10**9
        os.utime(root / path, ns=(at, at))

    done, again = sync(desk, root), sync(desk, root)

    assert (done.code, done.moved(), again.moved()) == (0, {}, {}), done
    said = "3 of 3 files have other times than before, all shifted by +3600 s"
    assert (1, 0) == ((done.out + done.err).count(said), (again.out + again.err).count(said))


def test_s22_a_suspect_is_not_sent_and_comes_back_from_the_server(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    path = next(iter(SOME))
    at = (root / path).stat().st_mtime_ns
    os.truncate(root / path, 0)
    os.utime(root / path, ns=(at, at))

    done = desk.run("sync", root)

    assert (done.code, "is empty, but its time says" in done.out) == (1, True), done
    assert "delete it and run `fwsync pull`" in done.out, done
    (root / path).unlink()
    assert 0 == desk.run("pull", f"lab/{label}", root).code
    assert SOME == grown(root)
    assert 1 == ground.stored(label)[0].version


# ------------------------------------------------------------------------------ what is told


def test_a_held_deletion_is_counted_by_the_run_and_named_by_the_status(
    desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    path = next(iter(SOME))
    (root / path).unlink()

    done = desk.run("sync", root)
    told = desk.run("status", root)

    assert "1 held deletion" in done.out, done
    assert f"held deletion: {path} (deleted here)" in told.out, told
    assert "--delete-up would pass them on" in told.out, told
    assert [path] == status(desk, root)["held_first"]


def test_the_status_names_the_copy_of_a_conflict(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    agreed(desk, root, label)
    path = next(iter(SOME))
    (root / path).write_bytes(b"mine, longer")
    other = tmp_path / "other"
    assert 0 == desk.run("pull", f"lab/{label}", other).code
    (other / path).write_bytes(b"theirs")
    assert 0 == desk.run("push", other).code
    assert 1 == desk.run("sync", root).code

    told = desk.run("status", root)

    [copy] = [one for one in grown(root) if "fwsync-conflict" in one]
    assert f"{path}; yours is {copy}" in told.out, told
    assert [{"path": path, "copy": copy}] == status(desk, root)["copies"]


def test_a_second_project_for_a_kept_folder_is_said_by_its_name(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    agreed(desk, root, label)
    ground.project(f"{label}-other")

    done, again = (desk.run("push", root, f"lab/{label}-other") for _ in range(2))

    assert (0, 0) == (done.code, again.code), done
    said = f"is in step with lab/{label} already; lab/{label}-other is a second project"
    assert (1, 0) == (done.err.count(said), again.err.count(said)), done
