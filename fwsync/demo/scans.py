"""Real scans on disk: where they come from, how a scanner writes them, and whether two trees agree.

The one rule: nothing is made up. The files are those that pydicom carries for its own
tests, the folders are named after what their headers say.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pydicom
import pydicom.data

from fwsync.errors import FwsyncError

#: In seconds: between two files, and in the middle of one that grows. The longest is far
#: shorter than the watcher's quiet time, also on a busy machine: a file that rests for
#: longer than that counts as finished.
BETWEEN_S, GROWING_S, LONGEST_S = 0.02, 0.25, 0.8

#: One file in so many grows while it is written.
GROWS_EVERY = 9

_HEADERS = (
    "PatientID", "PatientName", "StudyDate", "StudyDescription", "StudyInstanceUID",
    "SeriesNumber", "SeriesDescription", "Modality",
)  # fmt: skip
_NOT_SCANS = ("DICOMDIR", "README")
_NOT_IN_A_LABEL = re.compile(r"[^\w .,+()-]")
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Session:
    """What the scanner is going to write: path below the export folder -> file to copy."""

    scans: dict[str, Path]  #: all of it, sorted
    late: str  #: this slice comes after its series was sent
    renamed: str  #: this one is written under another name, from first to last

    @property
    def series(self) -> int:
        """How many acquisitions it is."""
        return len({path.rpartition("/")[0] for path in self.scans})

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return sum(source.stat().st_size for source in self.scans.values())


def session() -> Session:
    """The scans of the demo.

    Raises:
        FwsyncError: pydicom is installed without its files.
    """
    scans: dict[str, Path] = {}
    for source in _sources():
        path = _place(source)
        if path in scans:
            raise FwsyncError(f"{path}: is the place of two files, {scans[path]} and {source}")
        scans[path] = source
    slices = Counter(path.rpartition("/")[0] for path in scans)
    if len(slices) < 2:
        raise FwsyncError(
            "pydicom is installed without its test files, which the demo sends",
            hint="install pydicom as its makers ship it, from the wheel",
        )
    # The late one belongs to a series of several, the renamed one to the longest of all.
    longest = max(slices, key=lambda series: slices[series])
    several = next(one for one in sorted(slices) if slices[one] > 2 and one != longest)
    late = max(path for path in scans if path.startswith(f"{several}/"))
    renamed = min(path for path in scans if path.startswith(f"{longest}/"))
    return Session(dict(sorted(scans.items())), late, renamed)


def _sources() -> Iterator[Path]:
    shipped = Path(pydicom.data.__file__).parent / "test_files"
    for path in sorted((shipped / "dicomdirtests").rglob("*")):
        if path.is_file() and not path.name.startswith(_NOT_SCANS):
            yield path
    yield from sorted(shipped.glob("MR_small*.dcm"))
    yield from sorted(shipped.glob("CT_small.dcm"))


def _place(source: Path) -> str:
    """``subject/session/series/name``, from the header; the file's name is kept."""
    header = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=list(_HEADERS))
    said = {name: _label(header.get(name)) for name in _HEADERS}
    date = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", said["StudyDate"])
    study = said["StudyDescription"] or said["StudyInstanceUID"][-8:].strip(".")
    series = said["SeriesDescription"] or said["Modality"]
    labels = (
        said["PatientID"] or said["PatientName"],
        f"{date} {study}".strip(),
        f"{said['SeriesNumber']} - {series}",
    )
    return "/".join((*labels, source.name))


def _label(value: object) -> str:
    text = "" if value is None else str(value)
    return " ".join(_NOT_IN_A_LABEL.sub("_", text).split()).strip(" .")


# ------------------------------------------------------------------------------- the scanner


def scan(of: Session, export: Path) -> int:
    """Write all but the late slice, as a scanner does.

    File after file with small pauses; some rest half written, one of them for long; one
    has another name until the end, and rests for longer than the quiet time.

    Returns:
        How many files grew while they were written.
    """
    grown = 0
    final = export / of.renamed
    final.parent.mkdir(parents=True)
    unfinished = final.with_name(f"{final.name}.tmp")
    whole = of.scans[of.renamed].read_bytes()
    with unfinished.open("wb") as stream:
        stream.write(whole[: len(whole) // 2])
        stream.flush()
        for number, (path, source) in enumerate(of.scans.items()):
            if path in (of.late, of.renamed):
                continue
            grows = number % GROWS_EVERY == 0
            rest_s = 0.0 if not grows else GROWING_S if grown else LONGEST_S
            write(source, export / path, rest_s=rest_s)
            grown += grows
            time.sleep(BETWEEN_S)
        stream.write(whole[len(whole) // 2 :])
    unfinished.rename(final)
    return grown


def write(source: Path, to: Path, *, rest_s: float = 0.0) -> None:
    """Write one file; with ``rest_s`` seconds of rest when half of it is there."""
    to.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    half = len(data) // 2 if rest_s else 0
    with to.open("wb") as stream:
        if half:
            stream.write(data[:half])
            stream.flush()
            time.sleep(rest_s)
        stream.write(data[half:])


# --------------------------------------------------------------------------------- comparing


def files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its path there, but for what fwsync keeps for itself."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    return {name: path for name, path in found.items() if not name.startswith(".fwsync/")}


def compare(wanted: Mapping[str, Path], found: Mapping[str, Path]) -> list[str]:
    """What is missing, what differs, and what nobody put there; empty if all is equal.

    Every byte of every file is read on both sides.
    """
    differences: list[str] = []
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            differences.append(f"{path}: is missing")
        elif path not in wanted:
            differences.append(f"{path}: is there, and was never sent")
        elif (at := _first_difference(wanted[path], found[path])) is not None:
            sizes = f"{wanted[path].stat().st_size:,} and {found[path].stat().st_size:,} bytes"
            differences.append(f"{path}: differs from byte {at:,} on ({sizes})")
    return differences


def _first_difference(one: Path, other: Path) -> int | None:
    at = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            mine, its = left.read(_CHUNK), right.read(_CHUNK)
            if mine != its:
                pairs = enumerate(zip_longest(mine, its))
                return at + next(index for index, (a, b) in pairs if a != b)
            if not mine:
                return None
            at += len(mine)
