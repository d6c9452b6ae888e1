"""What ``fw sync`` was seen to do with data on its way down, and what a pull does instead.

Source: flywheel-cli 18.5.1 against a stub server, observed. The numbers are those of
``docs/coming-from-fw.md``; what goes up is in ``test_not_like_that.py``.
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.house import (
    Desk,
    Ground,
    Tree,
    check_state,
    grown,
    kill,
    leftovers,
    plant,
    record_of,
    some_tree,
    until,
    visible,
)
from tests.room.dicoms import data_set, part10

MB = 1 << 20


def series(number: int, *, padding: int = 0) -> bytes:
    """A zip as the platform's tools make them: sixteen images of one series."""
    dice = random.Random(number)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for image in range(16):
            head = part10(data_set((0x00080018, "UI", f"1.{number}.{image}")))
            entry = zipfile.ZipInfo(f"{image:03}.dcm", (2026, 1, 2, 3, 4, 6))
            archive.writestr(entry, head + dice.randbytes(padding))
    return made.getvalue()


#: Five series, two of them larger than what the peer looks into without fetching it.
ZIPS = {
    f"sub-{n}/ses/T{n}/T{n}.dicom.zip": series(n, padding=400_000 if n > 2 else 0) for n in range(5)
}


def pulled(desk: Desk, label: str, root: Path, *options: str | Path) -> tuple[str | Path, ...]:
    """Pull once, to the end; the command, for once more."""
    command = ("pull", f"lab/{label}", root, *options, "--json")
    done = desk.run(*command)

    assert done.code == 0, done
    return command


def send(desk: Desk, label: str, folder: Path, tree: Tree) -> None:
    done = desk.run("push", plant(folder, tree), f"lab/{label}", "--conflict", "local", "--json")

    assert (done.code, done.summary["uploaded"]) == (0, len(tree)), done


def test_1_unpacked_zips_lose_nothing_to_deletions_however_large_they_are(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    send(desk, label, tmp_path / "sent", ZIPS)
    root = tmp_path / "root"
    command = pulled(desk, label, root, "--unpack", "--delete-down")
    there = grown(root)
    assert len(there) == 80
    ground.forget_requests()

    for again in (command, ("sync", root, "--delete", "--json"), command):
        done = desk.run(*again)
        assert (done.code, done.moved()) == (0, {}), done
        assert there == grown(root)
    assert not [one for one in ground.requests() if one["path"].endswith(".zip")]
    assert {1} == {version for _, version, *_ in record_of(ground, label)}


def test_3_changed_content_of_the_same_name_and_size_comes(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    send(desk, label, tmp_path / "sent", {"s/e/a/x.nii": b"one", "s/e/a/y.nii": b"why"})
    root = tmp_path / "root"
    command = pulled(desk, label, root)
    before = (root / "s/e/a/x.nii").stat()
    send(desk, label, tmp_path / "other", {"s/e/a/x.nii": b"two"})

    done = desk.run(*command)

    assert (done.code, done.summary["downloaded"]) == (0, 1), done
    assert grown(root) == {"s/e/a/x.nii": b"two", "s/e/a/y.nii": b"why"}
    assert (root / "s/e/a/x.nii").stat().st_mtime_ns != before.st_mtime_ns


@pytest.mark.parametrize("option", [(), ("--delete-down",)], ids=["plain", "delete"])
def test_4_a_local_edit_of_the_same_size_and_time_is_noticed_and_kept(
    desk: Desk, label: str, tmp_path: Path, option: tuple[str, ...]
) -> None:
    send(desk, label, tmp_path / "sent", {"s/e/a/x.nii": b"one"})
    root = tmp_path / "root"
    command = pulled(desk, label, root, *option)
    file = root / "s/e/a/x.nii"
    at = file.stat()
    file.write_bytes(b"ONE")
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))

    done = desk.run(*command)

    assert (done.code, done.summary["skipped"], file.read_bytes()) == (1, 1, b"ONE"), done
    assert [one["path"] for one in done.lines if one["event"] == "left-alone"] == ["s/e/a/x.nii"]


def test_5_a_second_pull_has_nothing_to_do_and_no_log_goes_into_the_project(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    send(desk, label, tmp_path / "sent", {**ZIPS, "notes.txt": b"n"})
    held = record_of(ground, label)
    root = tmp_path / "root"
    command = pulled(desk, label, root, "--audit-log", tmp_path / "log.csv")
    for _ in range(2):
        ground.forget_requests()
        done = desk.run(*command)
        assert (done.code, done.moved()) == (0, {}), done
        asked = {(one["method"], one["path"]) for one in ground.requests()}
        assert not [path for _, path in asked if path.endswith(".zip") or "download" in path]

    assert held == record_of(ground, label)
    with (tmp_path / "log.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(held)


def halfway(ground: Ground, desk: Desk, label: str, root: Path, tree: Tree) -> None:
    """A pull that was killed when some files had come, and some had not."""
    relay = ground.relay()
    ground.run(relay.limit(down=6 << 20))
    desk.key = ground.key(port=relay.port)
    process = desk.start("pull", f"lab/{label}", root, "--transfers", "2", "--json")
    until(lambda: relay.stalled.is_set() and visible(root), what="the pull stands still")
    kill(process)
    ground.run(relay.limit())
    assert 0 < visible(root) < len(tree)


def test_6_a_killed_pull_goes_on_and_leaves_nothing_elsewhere(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(16, small=60, large=(1,) * 16)
    send(desk, label, tmp_path / "sent", tree)
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    desk.env["TMPDIR"] = str(elsewhere)
    halfway(ground, desk, label, root, tree)
    here = grown(root)
    assert here.items() <= tree.items()
    assert [] == [*elsewhere.iterdir()]

    done = desk.run("pull", f"lab/{label}", root, "--json")

    assert done.code == 0, done
    assert done.summary["downloaded"] <= len(tree) - len(here)
    assert tree == grown(root)
    assert ([], []) == (leftovers(root), [*elsewhere.iterdir()])
    check_state(root)


@pytest.mark.parametrize("killed", [False, True])
def test_7_the_key_is_in_no_file_that_a_pull_leaves(
    killed: bool, ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(17, small=20, large=(1,) * 12)
    send(desk, label, tmp_path / "sent", tree)
    root = tmp_path / "root"
    desk.env["TMPDIR"] = str(tmp_path)
    if killed:
        halfway(ground, desk, label, root, tree)
    else:
        pulled(desk, label, root, "--audit-log", tmp_path / "log.jsonl")

    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert not any(secret in file.read_bytes() for secret in ground.secrets), file
    own = [root / ".fwsync", *(root / ".fwsync").glob("state.db*")]
    assert len(own) > 1
    assert {0} == {stat.S_IMODE(one.stat().st_mode) & 0o077 for one in own[1:]} | {
        stat.S_IMODE(own[0].stat().st_mode) & 0o077
    }


def test_8_variables_without_our_prefix_change_no_pull(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {"s/e/a/x.nii": b"one", "s/e/a/y.dcm": b"two"}
    send(desk, label, tmp_path / "sent", tree)
    desk.env |= {
        "JOBS": "none", "PROJECT": "no/such", "INCLUDE": "nifti", "EXCLUDE": "*", "DELETE": "1",
        "DRY_RUN": "1", "UNPACK": "x", "METADATA": "1", "ANALYSES": "1", "TYPE": "dicom",
        "TMP_PATH": "/none", "LAYOUT": "full", "FULL_PROJECT": "1", "LIST": "1",
    }  # fmt: skip
    pulled(desk, label, tmp_path / "root")

    assert tree == grown(tmp_path / "root")


def test_10_a_log_of_a_pull_gets_lines_and_few_of_them(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(18, small=100, large=(1,))
    send(desk, label, tmp_path / "sent", tree)
    done = desk.run("pull", f"lab/{label}", tmp_path / "root")

    text = done.out + done.err
    assert done.code == 0, done
    assert not re.search(r"[\r\x1b]", text), done
    assert len(text.splitlines()) <= 10, done


def test_11_lines_of_a_pulls_audit_log_are_quoted(desk: Desk, label: str, tmp_path: Path) -> None:
    tree = {'p,1/v "1"/t1/a, b.dcm': b"1", "p;2/v 2/t2/=1+1.dcm": b"2"}
    send(desk, label, tmp_path / "sent", tree)
    log = tmp_path / "log.csv"
    pulled(desk, label, tmp_path / "root", "--audit-log", log)

    with log.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, strict=True))
    assert len(rows) == 2
    assert all(None not in row and None not in row.values() for row in rows)
    assert any("p,1" in row["source"] + row["destination"] for row in rows), rows


@pytest.mark.parametrize("slash", ["", "/"], ids=["without", "with"])
@pytest.mark.parametrize("prefix", ["", "fw://"])
def test_a_trailing_slash_changes_nothing(
    desk: Desk, label: str, tmp_path: Path, slash: str, prefix: str
) -> None:
    """The peer makes a folder of the project without it, and none with it."""
    tree = {"s/e/a/x.nii": b"one"}
    send(desk, label, tmp_path / "sent", tree)
    project = f"{prefix}lab/{label}{slash}"

    assert desk.run("pull", project, tmp_path / "root").code == 0
    assert tree == grown(tmp_path / "root")
    assert desk.run("pull", project).code == 0
    assert tree == grown(desk.home / label)


def test_a_plan_lists_each_file_and_fetches_none(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    """The peer fetches zips to say what is in them."""
    tree = {**ZIPS, "notes.txt": b"n"}
    send(desk, label, tmp_path / "sent", tree)
    ground.forget_requests()
    for options in ((), ("--unpack",)):
        done = desk.run("plan", "pull", f"lab/{label}", tmp_path / "root", *options, "--json")
        steps = [one for one in done.lines if one["event"] == "decision"]
        assert (done.code, {one["path"] for one in steps}) == (0, {*tree}), done
        assert {"download"} == {one["verb"] for one in steps}

    asked = {one["path"] for one in ground.requests()}
    assert not [path for path in asked if path.endswith((".zip", ".txt")) or "download" in path]
    assert not (tmp_path / "root").exists()


# ---------------------------------------------------------------------------------- verify


def edit(root: Path) -> None:
    file = root / "s/e/a/x.nii"
    at = file.stat()
    file.write_bytes(b"ONE")
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))


def remove(root: Path) -> None:
    (root / "s/e/a/x.nii").unlink()


def add(root: Path) -> None:
    (root / "s/e/a/z.nii").write_bytes(b"new")


def truncate(root: Path) -> None:
    os.truncate(root / "s/e/a/x.nii", 1)


def become_a_link(root: Path) -> None:
    (root / "s/e/a/x.nii").unlink()
    (root / "s/e/a/x.nii").symlink_to("y.nii")


CHANGES = [edit, remove, add, truncate, become_a_link]
SHAPES = [
    *(pytest.param(do, (), id=do.__name__) for do in CHANGES),
    pytest.param(edit, ("--unpack",), id="edit-unpacked"),
    pytest.param(edit, ("--keep-zips",), id="edit-zips"),
]


@pytest.mark.parametrize(("do", "shape"), SHAPES)
def test_verify_sees_each_difference_after_a_pull(
    desk: Desk, label: str, tmp_path: Path, do: Callable[[Path], None], shape: tuple[str, ...]
) -> None:
    tree = {"s/e/a/x.nii": b"one", "s/e/a/y.nii": b"two", "s/e/b/b.dicom.zip": series(9)}
    send(desk, label, tmp_path / "sent", tree)
    root = tmp_path / "root"
    pulled(desk, label, root, *shape)
    for deep in ((), ("--deep",)):
        assert desk.run("verify", root, *deep).code == 0
    do(root)

    for deep in ((), ("--deep",)):
        done = desk.run("verify", root, *deep, "--json")
        differs = {one["path"] for one in done.lines if "path" in one}
        assert (done.code, differs) == (1, {f"s/e/a/{'z' if do is add else 'x'}.nii"}), done


def test_verify_deep_sees_a_member_whose_bytes_went_bad_behind_its_stamp(
    desk: Desk, label: str, tmp_path: Path
) -> None:
    send(desk, label, tmp_path / "sent", {"s/e/b/b.dicom.zip": series(9), "s/e/a/x.nii": b"one"})
    root = tmp_path / "root"
    pulled(desk, label, root, "--unpack")
    member = sorted(root.rglob("*.dcm"))[0]
    at, content = member.stat(), member.read_bytes()
    member.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(member, ns=(at.st_atime_ns, at.st_mtime_ns))

    assert desk.run("verify", root, "--deep").code == 1
    member.write_bytes(content)
    assert desk.run("verify", root, "--deep").code == 0


def test_verify_sees_what_changed_and_what_is_gone_on_the_server(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    send(desk, label, tmp_path / "sent", {"s/e/a/x.nii": b"one", "notes": b"two"})
    root = tmp_path / "root"
    pulled(desk, label, root)
    send(desk, label, tmp_path / "other", {"s/e/a/x.nii": b"two", "s/e/a/new.nii": b"three"})
    [project] = [one["_id"] for one in ground.ask("GET", "/projects") if one["label"] == label]
    ground.ask("DELETE", f"/projects/{project}/files/notes")

    done = desk.run("verify", root, "--json")

    assert done.code == 1, done
    assert {"s/e/a/x.nii", "s/e/a/new.nii", "notes"} == {
        one["path"] for one in done.lines if "path" in one
    }
