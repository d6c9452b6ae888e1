"""One project by the official SDK's ``download_tar`` and by ``fwsync pull``: byte for byte."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk
from tests.house.house import Desk, Ground, grown, plant

_DICE = random.Random(7)

TREE = {
    "plan.pdf": b"of the project",
    "s1/consent.txt": b"of a subject",
    "s1/ses-1/log.txt": b"of a session",
    "s1/ses-1/T1w/t1.nii.gz": _DICE.randbytes(3 << 20),
    "s1/ses-1/T1w/empty": b"",
    "s1/ses-1/T1w/a b'#%.txt": b"odd",
    "s1/ses-1/T1w/ünïcode 日本.txt": b"not ASCII",
    f"s1/ses-1/T1w/{'n' * 200}.txt": b"a long name",
    **{f"s1/ses-2/T2w/{n:03}.dcm": _DICE.randbytes(n * 37) for n in range(120)},
    "s2/ses-1/T1w/t1.nii.gz": b"the same labels elsewhere",
}


def extracted(archive: Path, folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in the folder that the SDK's users extract to: content and time of each file."""
    folder.mkdir()
    # Python's own extraction has its filters only since 3.11.4.
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    return seen(folder)


def seen(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Path -> content, and when it was changed: seconds since 1970."""
    return {
        path: (content, int((folder / path).stat().st_mtime))
        for path, content in grown(folder).items()
    }


@pytest.mark.row("download-tar")
def test_a_pull_brings_what_the_tar_of_the_sdk_brings(
    sdk: Sdk, ground: Ground, place: Place, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "home", ground.key())
    sent = desk.run("push", plant(tmp_path / "away", TREE), f"lab/{place.label}", "--json")
    assert sent.code == 0, sent
    archive = tmp_path / "all.tar"

    sdk("downloads.of_container", container=place.project, target=archive, form="tar")
    done = desk.run("pull", f"lab/{place.label}", tmp_path / "root", "--json")
    theirs = extracted(archive, tmp_path / "theirs")
    top = f"scitran/lab/{place.label}/"

    assert done.code == 0, done
    assert TREE == grown(tmp_path / "root")
    assert {path.removeprefix(top): one for path, one in theirs.items()} == seen(tmp_path / "root")
