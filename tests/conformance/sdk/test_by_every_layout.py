"""Real images through each layout, as the official SDK reads them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from tests.conformance import environments
from tests.conformance.sdk.process import Driver
from tests.conformance.sdk.test_by_every_way import digests
from tests.house.house import Desk, Done, Ground, grounded, plant

DICOMS = Path(pydicom.data.__file__).with_name("test_files")

REGEX = r"(?P<sub>[^/]+)/(?P<ses>[^/]+)/(?P<acq>[^/]+)/.+"
RULES = """
[[rules]]
path = "sub-01/**"
layout = "{ses}/{acq}/{file}"
subject = "one"

[[rules]]
path = "sub-02/**"
layout = "{ses}/anat/{file}"
subject = "two"
acquisition = "T1"
"""
FW_META = """
- level: acquisition
  include: ["path=~**/*"]
  mappings: ["path=sub-{sub}/ses-{ses}/{acq}/*"]
"""

#: How a layout is asked for, and where a file of the tree then lies on the server.
LAYOUTS: dict[str, tuple[list[str], Callable[[str], str]]] = {
    "plain": ([], lambda path: path),
    "template": (
        ["--layout", "sub-{sub}/ses-{ses}/{acq}/{file}"],
        lambda path: path.replace("sub-", "", 1).replace("ses-", "", 1),
    ),
    "fixed": (
        ["--layout", "{sub}/{ses}/{acq}/{file}", "--session", "first"],
        lambda path: path.replace("/ses-1/", "/first/"),
    ),
    "regex": (["--regex", REGEX], lambda path: path),
    "fw-meta": (
        ["--rules", "rules.yml"],
        lambda path: path.replace("sub-", "", 1).replace("ses-", "", 1),
    ),
    "bids": (
        ["--layout", "bids"],
        lambda path: path.replace("/anat/", "/anat-T1w/").replace(
            "/func/", "/func-bold_task-rest/"
        ),
    ),
}


@pytest.fixture(scope="module")
def niftis() -> Path:
    """nibabel's own images; it is there with the official command line."""
    python = environments.python("cli")
    (found,) = python.parents[1].glob("lib/python*/site-packages/nibabel/tests/data")
    return found


def _bids(niftis: Path) -> dict[str, bytes]:
    def of(name: str) -> bytes:
        return (niftis / name).read_bytes()

    one, two = "sub-01/ses-1", "sub-02/ses-1"
    return {
        f"{one}/anat/sub-01_ses-1_T1w.nii": of("anatomical.nii"),
        f"{one}/anat/sub-01_ses-1_T1w.json": b'{"MagneticFieldStrength": 3}',
        f"{one}/func/sub-01_ses-1_task-rest_bold.nii.gz": of("example4d.nii.gz"),
        f"{one}/func/sub-01_ses-1_task-rest_bold.json": b'{"RepetitionTime": 2.0}',
        f"{one}/func/sub-01_ses-1_task-rest_events.tsv": b"onset\tduration\n0\t1\n",
        f"{two}/anat/sub-02_ses-1_T1w.nii.gz": of("standard.nii.gz"),
        f"{two}/func/sub-02_ses-1_task-rest_bold.nii": of("functional.nii"),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tree_of_images_arrives_where_its_layout_says(
    driver: Driver, tmp_path: Path, niftis: Path, layout: str
) -> None:
    tree = _bids(niftis)
    plant(tmp_path / "root", tree)
    (tmp_path / "rules.yml").write_text(FW_META)
    options, placed = LAYOUTS[layout]
    options = [str(tmp_path / one) if one == "rules.yml" else one for one in options]
    with grounded(tmp_path / "sandbox") as ground:
        done = _push(ground, tmp_path, *options)
        assert done.code == 0, done
        read = driver.call("files.all_of", ground.key(), {"project": "lab/images"})

    assert {placed(path): digest for path, digest in digests(tree).items()} == read


def test_a_rule_for_each_subtree_sends_what_it_is_for_and_reports_the_rest(
    driver: Driver, tmp_path: Path, niftis: Path
) -> None:
    tree = _bids(niftis)
    plant(tmp_path / "root", tree)
    (tmp_path / "settings.toml").write_text(RULES)
    with grounded(tmp_path / "sandbox") as ground:
        done = _push(ground, tmp_path, "--config", str(tmp_path / "settings.toml"), "--json")
        assert done.code == 1, done
        read = driver.call("files.all_of", ground.key(), {"project": "lab/images"})

    other = "sub-02/ses-1/func/sub-02_ses-1_task-rest_bold.nii"
    assert [other] == [one["path"] for one in problems_of(done)]
    assert {
        path.replace("sub-01/", "one/").replace("sub-02/ses-1/anat", "two/ses-1/T1"): content
        for path, content in digests(tree).items()
        if path != other
    } == read


@pytest.mark.parametrize(
    "options",
    [("--scan", "dicom", "--pack", "*=dicom"), ("--pack", "*.dcm=dicom")],
    ids=["by headers", "by folders"],
)
def test_every_dicom_file_is_in_a_pack_or_named_in_the_report(
    driver: Driver, tmp_path: Path, options: tuple[str, ...]
) -> None:
    by_headers = "--scan" in options
    tree = {
        path.relative_to(DICOMS).as_posix() if by_headers else f"all/of/it/{path.name}": content
        for path, content in _shipped()
    }
    plant(tmp_path / "root", tree)
    packs: list[dict[str, bytes]] = []
    reported = ""
    with grounded(tmp_path / "sandbox") as ground:
        for attempt in ("images", "again"):
            done = _push(ground, tmp_path, *options, "--json", project=attempt)
            assert done.code == (1 if by_headers else 0), done
            reported = json.dumps(problems_of(done))
            packs.append(_zips(driver, ground, attempt))
        sent = driver.call("files.all_of", ground.key(), {"project": "lab/images"})

    assert packs[0] == packs[1], "the same packs, byte for byte"
    members: Counter[str] = Counter()
    for name, content in packs[0].items():
        (tmp_path / "one.zip").write_bytes(content)
        subprocess.run(["unzip", "-tqq", tmp_path / "one.zip"], check=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None, name
            members.update(_sha256(archive.read(one)) for one in archive.namelist())
    loose = Counter(digest for path, digest in sent.items() if path not in packs[0])
    assert members + loose <= Counter(digests(tree).values()), "nothing twice, all of it ours"
    arrived = set(members + loose)
    silent = [
        path
        for path, digest in digests(tree).items()
        if digest not in arrived and path.rpartition("/")[2] not in reported
    ]
    waiting = re.findall(r"(\d+) more files? of this pack", reported)
    assert len(silent) == sum(map(int, waiting)), silent
    assert members.total() > len(tree) / 3


def _push(ground: Ground, tmp_path: Path, *options: str, project: str = "images") -> Done:
    desk = Desk(tmp_path / f"home-{project}", ground.key())
    return desk.run("push", tmp_path / "root", f"lab/{project}", "--create-project", *options)


def _zips(driver: Driver, ground: Ground, project: str) -> dict[str, bytes]:
    asked = {"project": f"lab/{project}", "ending": ".dicom.zip"}
    found: dict[str, bytes] = driver.call("files.contents_of", ground.key(), asked)
    return found


def _shipped() -> Iterator[tuple[Path, bytes]]:
    for path in sorted(DICOMS.rglob("*")):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            yield path, path.read_bytes()


def problems_of(done: Done) -> list[dict[str, Any]]:
    """What a run that spoke JSON could not do."""
    events = [json.loads(line) for line in done.out.splitlines()]
    return [one for one in events if one["event"] == "problem"]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
