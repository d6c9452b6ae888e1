"""What fwsync sends, by each way up, as the official SDK reads it: the same bytes, file by file."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from tests.conformance.sdk.process import Driver
from tests.house.house import Desk, Ground, grounded, plant

#: Small ones, an empty one, names with odd letters, one that `auto` sends by a signed URL.
TREE = {
    "s1/day 1/T1/a.nii": b"first",
    "s1/day 1/T1/b.nii": b"second" * 1000,
    "s1/day 1/T1/empty.txt": b"",
    "s1/day 1/T2/ünïcode & more.txt": b"third",
    "s1/day 1/notes.txt": b"of the session",
    "s2/x/y/large.bin": os.urandom(1 << 20) * 17,
}
SLICES = {f"s3/mr/T1/{number:03}.dcm": b"slice %d" % number for number in range(30)}


def digests(tree: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in tree.items()}


@pytest.mark.parametrize("store", ["local", "s3", "azure", "gcs"])
@pytest.mark.parametrize("route", ["auto", "multipart", "signed"])
def test_the_sdk_reads_the_same_tree_by_each_way_and_from_each_store(
    driver: Driver, tmp_path: Path, route: str, store: str
) -> None:
    with grounded(tmp_path / "sandbox", store=store) as ground:
        assert digests(TREE) == pushed_and_read(driver, ground, tmp_path, TREE, "--route", route)


def test_the_sdk_reads_the_same_tree_by_the_form_that_names_labels(
    driver: Driver, tmp_path: Path
) -> None:
    with grounded(tmp_path / "sandbox") as ground:
        assert digests(TREE) == pushed_and_read(driver, ground, tmp_path, TREE, "--route", "form")


@pytest.mark.parametrize("route", ["auto", "signed", "packfile"])
def test_the_sdk_finds_each_slice_in_a_pack(driver: Driver, tmp_path: Path, route: str) -> None:
    with grounded(tmp_path / "sandbox") as ground:
        name = "T1.zip" if route == "packfile" else "T1.dicom.zip"
        kind = "archive" if route == "packfile" else "dicom"
        sent = pushed_and_read(
            driver, ground, tmp_path, SLICES, "--route", route, "--pack", f"*.dcm={kind}"
        )
        packed = any(one["path"].endswith("/packfile-end") for one in ground.requests())
        assert packed == (route == "packfile")
        content = driver.call(
            "files.content", ground.key(), {"project": "lab/ways", "path": f"s3/mr/T1/{name}"}
        )

    assert [f"s3/mr/T1/{name}"] == list(sent)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {Path(one).name: archive.read(one) for one in archive.namelist()}
    assert {Path(path).name: content for path, content in SLICES.items()} == members


def pushed_and_read(
    driver: Driver, ground: Ground, tmp_path: Path, tree: dict[str, bytes], *options: str
) -> dict[str, str]:
    """Push a tree by the command line, and read it by the SDK: path -> SHA-256."""
    root = plant(tmp_path / "root", tree)
    desk = Desk(tmp_path / "home", ground.key())
    done = desk.run("push", root, "lab/ways", "--create-project", *options)
    assert done.code == 0, done
    read: dict[str, str] = driver.call("files.all_of", ground.key(), {"project": "lab/ways"})
    return read
