"""Folders to send, of real scans and what lies beside them; and what a zip holds."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fwsync.demo import scans

Tree = Mapping[str, bytes]

#: Series of pydicom's own test files, by the end of the folder that the demo gives them.
MRA = "2003-05-05 Brain-MRA/700 - ANGIO Projected from C"  # seven slices
SCOUT = "2001-01-01 6302.0.1/4 - Scout"  # two slices, CT
CERVICAL = "2001-01-01 XR C Spine Comp Min 4 Views/3 - Cervical OBLI 2"  # one image


def series(name: str) -> dict[str, bytes]:
    """The slices of a series; name of the file -> what it holds."""
    found = {
        path.rpartition("/")[2]: source.read_bytes()
        for path, source in scans.session().scans.items()
        if path.rpartition("/")[0].endswith(name)
    }
    assert found, name
    return found


def nifti(*, voxels: int = 4, seed: int = 1) -> bytes:
    """A NIfTI-1 file: a cube of random 16-bit voxels.

    Source: nifti1.h, the layout of the header.
    """
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, voxels, voxels, voxels, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return bytes(header) + random.Random(seed).randbytes(2 * voxels**3)


def sha384(content: bytes) -> str:
    """As the sandbox's record has it."""
    return hashlib.sha384(content).hexdigest()


def unzipped(content: bytes) -> dict[str, bytes]:
    """Members of a zip by name; every checksum in it is right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names), names
        return {name: archive.read(name) for name in names if not name.endswith("/")}


def on_disk(root: Path) -> dict[str, bytes]:
    """Every file below a folder; relative path -> content."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
