"""Eleven things that the official command line was seen to do, and that this one does not.

Source: flywheel-cli 18.5.1 against a stub server, observed: data lost, failures hidden, changes
unseen, a key in a readable file, settings taken from anywhere. Each test is the same situation.
"""

from __future__ import annotations

import csv
import os
import re
import stat
from pathlib import Path

import pytest

from tests.house.house import (
    SOME,
    Desk,
    Ground,
    expected_record,
    grown,
    held,
    kill,
    leftovers,
    plant,
    record_of,
    some_tree,
    until,
)
from tests.room.dicoms import data_set, part10

#: Two series, as a scanner leaves them.
SERIES = {
    f"p01/v1/{series}/{number:03}.dcm": part10(
        data_set((0x00080018, "UI", f"1.{series[1]}.{number}"))
    )
    for series in ("t1", "t2")
    for number in range(12)
}
PACKED = ("--pack", "*.dcm=dicom")


def edit(file: Path, content: bytes) -> None:
    """Other bytes of the same length, and the time of before: only the content differs."""
    before = file.stat()
    assert len(content) == before.st_size
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_1_unpacked_members_are_not_deleted_with_deletions(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    sent = plant(tmp_path / "sent", SERIES)
    assert 0 == desk.run("push", sent, f"lab/{label}", *PACKED).code
    mirror = tmp_path / "mirror"
    pull = ("pull", f"lab/{label}", mirror, *PACKED, "--delete-down", "--json")
    assert 0 == desk.run(*pull).code
    assert grown(mirror) == SERIES

    for command in (pull, ("sync", mirror, "--delete", "--json")):
        for _ in range(2):
            done = desk.run(*command)
            assert (0, {}) == (done.code, done.moved()), done
            assert grown(mirror) == SERIES


def test_2_a_failure_is_seen_in_the_exit_code_the_report_and_the_log(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(3, small=20, large=(1,) * 4)
    sent = plant(tmp_path / "sent", tree)
    assert 0 == desk.run("push", sent, f"lab/{label}").code
    big = sorted(path for path in tree if "big" in path)
    names = [path.rpartition("/")[2] for path in big]
    rules = [
        {"id": "gone", "match": {"path": f"**/files/{names[0]}"}, "action": {"status": 404}},
        {"id": "short", "match": {"path": f"**/files/{names[1]}"}, "action": {"cut_at": 900}},
        {
            "id": "lie",
            "match": {"path": f"**/files/{names[2]}"},
            "action": {"cut_at": 900, "cut_with": "end"},
        },
        {"id": "single", "match": {"path": "/download"}, "action": {"status": 404}},
    ]
    ground.ask("POST", "/sandbox/faults", rules)
    mirror, log = tmp_path / "mirror", tmp_path / "audit.csv"
    flags = ("--json", "--audit-log", log, "--patience", "2s")
    try:
        done = desk.run("pull", f"lab/{label}", mirror, *flags)
    finally:
        ground.ask("DELETE", "/sandbox/faults")

    assert 0 != done.code, done
    told = {one["path"] for one in done.lines if one["event"] == "problem"}
    assert {*big[:3]} <= told, done
    here = grown(mirror)
    assert {} == {path: len(body) for path, body in here.items() if body != tree[path]}
    assert {*tree} == {*here} | told
    with log.open(newline="", encoding="utf-8") as stream:
        rows = {Path(row["destination"]).name: row["result"] for row in csv.DictReader(stream)}
    assert {*names[:3]} <= {name for name, result in rows.items() if result != "ok"}, rows
    again = desk.run("pull", f"lab/{label}", mirror, "--json")
    assert (0, tree) == (again.code, grown(mirror)), again


def test_3_changed_content_under_the_same_name_goes(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    path = "sub-01/ses-01/t1/1.dcm"
    edit(root / path, b"ONE")

    done = desk.run("push", root, "--json")

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    assert 2 == max(one.version for one in ground.stored(label) if one.path == path)


def test_4_a_local_edit_of_the_same_size_is_noticed(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    path = "sub-01/ses-01/t1/1.dcm"
    edit(root / path, b"ONE")

    pulled = desk.run("pull", f"lab/{label}", root, "--json")
    assert (1, 1, b"ONE") == (pulled.code, pulled.summary["skipped"], (root / path).read_bytes())
    assert 1 == desk.run("verify", root).code
    done = desk.run("sync", root, "--json")
    assert (0, 1) == (done.code, done.summary["uploaded"]), done


def test_5_a_second_run_finds_nothing_to_do_and_the_project_holds_our_files_only(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    log = ("--audit-log", tmp_path / "audit.csv", "--json")
    assert 0 == desk.run("sync", root, f"lab/{label}", *log).code
    for _ in range(2):
        done = desk.run("sync", root, *log)
        assert (0, {}) == (done.code, done.moved()), done

    assert expected_record(SOME) == record_of(ground, label)
    assert grown(root) == dict(SOME)


def test_6_an_interrupted_push_goes_on_and_leaves_nothing_elsewhere(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(6)
    root = plant(tmp_path / "root", tree)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    desk.env["TMPDIR"] = str(elsewhere)
    process = held(ground, ground.relay(), desk, root, label)
    kill(process)
    desk.key = ground.key()
    before = ground.count(label)
    assert 0 < before < len(tree)
    assert [] == list(elsewhere.iterdir())

    done = desk.run("push", root, "--json")

    assert 0 == done.code, done
    assert done.summary["uploaded"] <= len(tree) - before
    assert expected_record(tree) == record_of(ground, label)
    assert ([], []) == (leftovers(root), list(elsewhere.iterdir()))


@pytest.mark.parametrize("killed", [False, True])
def test_7_the_key_is_in_no_file_but_the_store_which_is_its_owners(
    killed: bool, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    key_file = tmp_path / "given"
    key_file.write_text(ground.key())
    key_file.chmod(0o600)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    desk.env |= {
        "TMPDIR": str(elsewhere),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    desk.key = ""
    login = desk.run("login", "--api-key-file", key_file)
    assert 0 == login.code, login
    key_file.unlink()
    root = plant(tmp_path / "root", some_tree(7))
    push = ("push", root, f"lab/{label}", "--json", "--audit-log", tmp_path / "audit.jsonl")
    process = desk.start(*push)
    if killed:
        until(lambda: ground.count(label), what="something has arrived")
        kill(process)
    else:
        out, err = process.communicate(timeout=50)
        assert 0 == process.returncode
        assert not any(secret in out + err for secret in ground.secrets)

    holders = [
        file
        for file in tmp_path.rglob("*")
        if file.is_file() and any(secret in file.read_bytes() for secret in ground.secrets)
    ]
    [store] = holders
    assert store.is_relative_to(desk.home)
    assert 0o600 == stat.S_IMODE(store.stat().st_mode)


def test_8_variables_without_our_prefix_change_nothing(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    other = f"{label}-other"
    ground.project(other)
    names = ("PROJECT", "INCLUDE", "EXCLUDE", "JOBS", "GROUP", "LAYOUT", "DRY_RUN", "SUBJECT")
    values = (f"lab/{other}", "*.txt", "*", "none", "nobody", "{file}", "1", "x")
    desk.env |= dict(zip(names, values, strict=True))
    desk.env |= {"API_KEY": "none", "DELETE_UP": "1", "MAX_DELETE": "x", "CONFIG": "/none"}

    done = desk.run("push", root, f"lab/{label}", "--json")

    assert 0 == done.code, done
    assert expected_record(SOME) == record_of(ground, label)
    assert [] == record_of(ground, other)
    desk.env["FWSYNC_EXCLUDE"] = "1.dcm"  # ours does
    assert 1 == desk.run("plan", "push", root, f"lab/{other}", "--json").summary["upload"]


def test_9_an_upload_by_signed_addresses_arrives(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    ground.forget_requests()
    done = desk.run("push", root, f"lab/{label}", "--route", "signed", "--json")

    assert (0, len(SOME)) == (done.code, done.summary["uploaded"]), done
    puts = [one for one in ground.requests() if one["method"] == "PUT"]
    assert (len(SOME), {200}) == (len(puts), {one["status"] for one in puts})
    assert expected_record(SOME) == record_of(ground, label)


def test_10_a_log_gets_lines_and_few_of_them(desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", some_tree(10))
    done = desk.run("push", root, f"lab/{label}")

    text = done.out + done.err
    assert 0 == done.code, done
    assert not re.search(r"[\r\x1b]", text), done
    assert len(text.splitlines()) <= 10, done


def test_11_lines_of_the_audit_log_are_quoted(desk: Desk, label: str, tmp_path: Path) -> None:
    tree = {'p,1/v "1"/t1/a, b.dcm': b"1", "p;2/v 2/t2/=1+1.dcm": b"2", "p3/v1/t1/a\n,b": b"3"}
    log = tmp_path / "audit.csv"
    done = desk.run(
        "push", plant(tmp_path / "root", tree), f"lab/{label}", "--json", "--audit-log", log
    )

    assert (1, 2) == (done.code, done.summary["uploaded"]), done  # the last is a problem
    with log.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, strict=True))
    assert 3 == len(rows)
    assert all(None not in row and None not in row.values() for row in rows)
    assert any("p,1" in row["destination"] and "a, b.dcm" in row["source"] for row in rows), rows
