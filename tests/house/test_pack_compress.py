"""Compressed packs by the real command line: by each way up, killed, and back again."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.house.house import Desk, Done, Ground, grown, kill, plant, until

PACK = ("--pack", "*.dcm=dicom")
COMPRESS = (*PACK, "--pack-compress")
NAME = "T1.dicom.zip"
ZIP = f"sub-01/ses-01/T1/{NAME}"


def slices(count: int, size: int, seed: int = 7) -> dict[str, bytes]:
    """Of which about half is left when they are compressed."""
    dice = random.Random(seed)
    sixteen = bytes(range(16)) * 16
    return {
        f"sub-01/ses-01/T1/{number:03}.dcm": dice.randbytes(size).translate(sixteen)
        for number in range(count)
    }


TREE = slices(5, 70_000) | {"sub-01/ses-01/T1/notes.txt": b"beside it"}
LATE = slices(1, 50_000, seed=8)
LATE = {"sub-01/ses-01/T1/late.dcm": next(iter(LATE.values()))}


def content_of(ground: Ground, project: str, name: str = NAME) -> bytes:
    """The newest version of the only file of that name."""
    record = ground.ask("GET", "/sandbox/record")
    by_id = {one["id"]: one for one in record["containers"]}

    def is_there(container: str) -> bool:
        at = by_id[container]
        while at["kind"] != "project":
            at = by_id[at["parent_id"]]
        return bool(at["label"] == project)

    found = [
        one
        for one in record["files"]
        if one["name"] == name and not one["deleted"] and is_there(one["container_id"])
    ]
    newest = max(found, key=lambda one: one["version"])
    content = ground.content("GET", f"/files/{newest['file_id']}/download")
    assert newest["sha384"] in (None, "", hashlib.sha384(content).hexdigest())
    return content


def opened(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {one: archive.read(one) for one in archive.namelist()}


def members(tree: dict[str, bytes]) -> dict[str, bytes]:
    return {path.rpartition("/")[2]: it for path, it in tree.items() if path.endswith(".dcm")}


def is_idle(done: Done) -> bool:
    return (done.code, done.moved()) == (0, {})


@pytest.mark.parametrize("route", ["auto", "multipart", "form", "signed", "packfile"])
def test_a_compressed_pack_arrives_by_each_way_and_is_in_step(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str
) -> None:
    root = plant(tmp_path / "root", TREE)
    done = desk.run("push", root, f"lab/{label}", *COMPRESS, "--route", route, "--json")
    assert (0, 2) == (done.code, done.summary["uploaded"]), done
    content = content_of(ground, label)

    assert members(TREE) == opened(content)
    size = sum(map(len, members(TREE).values()))
    assert 0.4 * size < len(content) < 0.7 * size
    assert is_idle(desk.run("push", root, *COMPRESS, "--json"))
    assert is_idle(desk.run("push", root, *PACK, "--json"))  # nor does the setting alone send it
    assert 2 == ground.count(label)
    assert 0 == desk.run("verify", root, "--json").code


def test_two_machines_send_the_same_bytes(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    ground.project(f"{label}-too")
    for name in (label, f"{label}-too"):
        root = plant(tmp_path / name, TREE)
        assert 0 == desk.run("push", root, f"lab/{name}", *COMPRESS).code

    assert content_of(ground, label) == content_of(ground, f"{label}-too")
    # A third one finds it there, in whatever form it would send it.
    root = plant(tmp_path / "third", TREE)
    done = desk.run("push", root, f"lab/{label}", *COMPRESS, "--json")
    assert (0, 2, 0) == (done.code, done.summary["adopted"], done.summary["bytes"]), done
    assert 2 == ground.count(label)


@pytest.mark.tools
def test_unzip_finds_nothing_wrong(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", TREE)
    assert 0 == desk.run("push", root, f"lab/{label}", *COMPRESS).code
    (tmp_path / "it.zip").write_bytes(content_of(ground, label))

    done = subprocess.run(
        ["unzip", "-tq", tmp_path / "it.zip"], check=False, capture_output=True, text=True
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_a_late_slice_goes_both_ways_and_makes_no_second_acquisition(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root, other = plant(tmp_path / "root", TREE), plant(tmp_path / "other", {})
    assert 0 == desk.run("sync", root, f"lab/{label}", *COMPRESS).code
    assert 0 == desk.run("sync", other, f"lab/{label}", *COMPRESS).code
    assert TREE == grown(other)
    plant(other, LATE)

    sent = desk.run("sync", other, *COMPRESS, "--json")
    came = desk.run("sync", root, *PACK, "--json")

    assert (0, 1) == (sent.code, sent.summary["uploaded"]), sent
    assert (0, 1) == (came.code, came.summary["downloaded"]), came
    assert TREE | LATE == grown(root)
    assert members(TREE | LATE) == opened(content_of(ground, label))
    assert [] == ground.twins()
    assert is_idle(desk.run("sync", root, *COMPRESS, "--json"))
    assert is_idle(desk.run("sync", other, *PACK, "--json"))


def test_a_setting_says_it_too(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", TREE)
    (tmp_path / "fwsync.toml").write_text('pack_compress = true\npack = { "*.dcm" = "dicom" }\n')
    config = ("--config", tmp_path / "fwsync.toml")
    assert 0 == desk.run("push", root, f"lab/{label}", *config).code

    with zipfile.ZipFile(io.BytesIO(content_of(ground, label))) as archive:
        assert {zipfile.ZIP_DEFLATED} == {one.compress_type for one in archive.infolist()}


def test_a_killed_push_makes_neither_a_second_file_nor_a_conflict(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    """Killed after the server has it, and before that is known here."""
    root = plant(tmp_path / "root", TREE)
    match = {"method": "POST", "path": "/acquisitions/*/files"}
    action = {"delay_s": 20, "when": "after"}
    ground.ask("POST", "/sandbox/faults", {"id": "it", "match": match, "action": action})
    process = desk.start("push", root, f"lab/{label}", *COMPRESS, "--json")
    try:
        until(lambda: ground.count(label) >= 1, what="something has arrived")
    finally:
        kill(process)
        ground.ask("DELETE", "/sandbox/faults")
    done = desk.run("push", root, f"lab/{label}", *COMPRESS, "--json")

    assert (0, 2) == (done.code, ground.count(label)), done
    assert done.summary["adopted"] > 0
    assert is_idle(desk.run("push", root, *COMPRESS, "--json"))
