"""Series of DICOM files in a cycle: labels from headers, as the settings have them made."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from fwsync.config import Settings
from fwsync.errors import UsageError
from fwsync.filters import Filters
from fwsync.mapping.placing import Header
from fwsync.model import LocalEntry, Mode, RelPath
from fwsync.placements import placement_of, read_layout
from fwsync.placing import Placement
from fwsync.state import StateThread, open_state
from tests.room.rooms import LAYOUT, Bench, Shelf, age, did, plant, workbench
from tests.room.test_placing import members

T1 = RelPath("p01/2024-02-01 10:20:30/5 - T1/5 - T1.dicom.zip")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        yield made


def write_slice(file: Path, number: int, *, series: str = "1.2.3.4", **changes: Any) -> None:
    """A slice of a series, by pydicom; aged, so that its header holds at once."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4")
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{number}")
    content = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyDate": "20240201",
        "StudyTime": "102030",
        "Modality": "MR",
        "SeriesDescription": "T1",
        "PatientID": "p01",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": series,
        "SeriesNumber": 5,
        "PixelData": bytes(64),
    } | changes
    data = Dataset()
    for name, value in content.items():
        setattr(data, name, value)
    data["PixelData"].VR = "OW"
    file.parent.mkdir(parents=True, exist_ok=True)
    FileDataset(str(file), data, preamble=bytes(128), file_meta=meta).save_as(
        file, enforce_file_format=True
    )
    long_ago = time.time_ns() - 60_000_000_000
    os.utime(file, ns=(long_ago, long_ago))


def write_series(folder: Path, count: int = 3, *, first: int = 1, **changes: Any) -> None:
    for number in range(first, first + count):
        write_slice(folder / f"IM{number}", number, **changes)


async def by(bench: Bench, **settings: Any) -> Placement:
    """The placement that these settings make, with their reader of headers."""
    made = Settings.model_validate({"scan": "dicom", "timezone": "Europe/Berlin"} | settings)
    told = await read_layout(made, Mode.UP)
    placement = await placement_of(bench.state, made, told, LAYOUT, bench.root, Mode.UP, "push")
    assert placement is not None
    return placement


def names_in(shelf: Shelf, path: RelPath) -> Set[str]:
    return members(shelf.content[path]).keys()


def slices(*numbers: int, series: str = "1.2.3.4") -> Set[str]:
    return {f"{series}.{number}.dcm" for number in numbers}


async def test_slices_as_young_as_the_reading_of_their_headers_are_placed_by_them(
    tmp_path: Path, shelf: Shelf
) -> None:
    root = tmp_path / "root"
    (root / ".fwsync" / "parts").mkdir(parents=True)
    write_series(root / "export")
    an_age = partial(open_state, tmp_path / "state.db", granularity_ns=10**18)
    state = await StateThread.open(an_age)
    try:
        bench = Bench(root, state, lambda: shelf)

        report = await bench.cycle(Mode.UP, placement=await by(bench))
    finally:
        await state.close()

    assert [] == report.problem_list
    assert slices(1, 2, 3) == names_in(shelf, T1)


async def test_two_series_of_one_label_are_two_acquisitions(bench: Bench, shelf: Shelf) -> None:
    placement = await by(bench)
    write_series(bench.root / "b", series="1.2.3.5")
    write_series(bench.root / "a")

    report = await bench.cycle(Mode.UP, placement=placement)
    (other,) = shelf.content.keys() - {T1}

    assert 2 == report.uploaded
    assert slices(1, 2, 3) == names_in(shelf, T1)
    assert other.startswith("p01/2024-02-01 10:20:30/5 - T1 ("), other
    assert slices(1, 2, 3, series="1.2.3.5") == names_in(shelf, other)
    assert {} == did(await bench.cycle(Mode.UP, placement=placement))


async def test_a_label_stays_with_the_series_that_had_it_first(bench: Bench, shelf: Shelf) -> None:
    placement = await by(bench)
    write_series(bench.root / "a", series="1.2.3.9")
    await bench.cycle(Mode.UP, placement=placement)
    write_series(bench.root / "b", series="1.2.3.1")

    await bench.cycle(Mode.UP, placement=placement)

    assert slices(1, 2, 3, series="1.2.3.9") == names_in(shelf, T1)
    assert 1 == shelf.listing[T1].version


async def test_headers_are_gone_through_twice_only_where_a_label_is_settled_late(
    bench: Bench, shelf: Shelf
) -> None:
    write_series(bench.root / "one")
    write_series(bench.root / "two", series="1.2.3.5", StudyInstanceUID="1.2.3")
    placement = await by(bench)
    assert placement.headers is not None
    parse, parsed = placement.headers.parse, 0

    def counted(text: str) -> Header | None:
        nonlocal parsed
        parsed += 1
        return parse(text)

    placement = replace(placement, headers=replace(placement.headers, parse=counted))

    await bench.cycle(Mode.UP, placement=placement)
    first, parsed = parsed, 0
    report = await bench.cycle(Mode.UP, placement=placement)

    assert {} == did(report)
    assert (12, 6) == (first, parsed)  # the second series turned out not to be `5 - T1`
    assert 2 == len(shelf.content)


async def test_a_late_slice_in_another_folder_joins_its_series(bench: Bench, shelf: Shelf) -> None:
    placement = await by(bench)
    write_series(bench.root / "monday")
    await bench.cycle(Mode.UP, placement=placement)
    write_series(bench.root / "tuesday", 1, first=4)

    report = await bench.cycle(Mode.UP, placement=placement)

    assert 1 == report.uploaded
    assert slices(1, 2, 3, 4) == names_in(shelf, T1)
    assert {} == did(await bench.cycle(Mode.UP, placement=placement))


@pytest.mark.parametrize("delete_up", [True, False])
@pytest.mark.parametrize("become", ["cut off", "a link"])
async def test_a_header_that_is_lost_leaves_its_pack_as_it_is(
    bench: Bench, shelf: Shelf, become: str, delete_up: bool
) -> None:
    placement = await by(bench)
    write_series(bench.root / "a")
    write_series(bench.root / "other", series="1.2.3.8", SeriesDescription="T2")
    await bench.cycle(Mode.UP, placement=placement)
    before = dict(shelf.content)
    lost = bench.root / "a" / "IM2"
    if become == "cut off":
        content = lost.read_bytes()
        lost.write_bytes(content[: content.index(b"p01") - 3])
    else:
        lost.rename(bench.root / "a" / ".aside")
        lost.symlink_to("IM1")

    report = await bench.cycle(
        Mode.UP, placement=placement, delete_up=delete_up, ignore=Filters([".aside"])
    )

    assert before == shelf.content
    assert (0, 0) == (report.uploaded, report.deleted)
    assert ["a/IM2"] == [one.path for one in report.problem_list]


@pytest.mark.parametrize("delete_up", [True, False])
async def test_a_whole_series_whose_headers_are_lost_is_not_gone(
    bench: Bench, shelf: Shelf, delete_up: bool
) -> None:
    placement = await by(bench)
    write_series(bench.root / "a")
    await bench.cycle(Mode.UP, placement=placement)
    whole = {file: file.read_bytes() for file in (bench.root / "a").iterdir()}
    for file, content in whole.items():
        file.write_bytes(content[: content.index(b"p01") - 3])

    report = await bench.cycle(Mode.UP, placement=placement, delete_up=delete_up)
    for file, content in whole.items():
        file.write_bytes(content)
    again = await bench.cycle(Mode.UP, placement=placement, delete_up=delete_up)

    assert (0, 0, 3) == (report.uploaded, report.deleted, len(report.problem_list))
    assert {} == did(again)
    assert 1 == shelf.listing[T1].version


async def test_a_member_that_is_filtered_out_does_not_shrink_its_pack(
    bench: Bench, shelf: Shelf
) -> None:
    placement = await by(bench)
    write_series(bench.root / "monday")
    write_series(bench.root / "tuesday", 1, first=4)
    await bench.cycle(Mode.UP, placement=placement)

    report = await bench.cycle(Mode.UP, placement=placement, ignore=Filters(["tuesday/"]))

    assert 0 == report.uploaded
    assert slices(1, 2, 3, 4) == names_in(shelf, T1)
    assert {} == did(await bench.cycle(Mode.UP, placement=placement))


def _unsettled(*folders: str) -> Any:
    def settle(entries: Any) -> Set[RelPath]:
        assert all(isinstance(one, LocalEntry) for one in entries)
        return {RelPath(one) for one in folders}

    return settle


async def test_a_folder_that_is_not_quiet_holds_the_packs_of_its_files(
    bench: Bench, shelf: Shelf
) -> None:
    placement = await by(bench)
    write_series(bench.root / "monday")
    write_series(bench.root / "tuesday", 1, first=4)
    await bench.cycle(Mode.UP, placement=placement)
    (bench.root / "tuesday/IM4").unlink()  # saved anew: away for a moment
    write_series(bench.root / "tuesday", 1, first=5)

    waits = await bench.cycle(Mode.UP, placement=placement, settle=_unsettled("tuesday"))
    settled = await bench.cycle(Mode.UP, placement=placement)

    assert {} == did(waits)
    assert 1 == settled.uploaded
    assert slices(1, 2, 3, 5) == names_in(shelf, T1)


async def test_half_a_file_in_a_folder_that_is_not_quiet_is_no_problem(
    bench: Bench, shelf: Shelf
) -> None:
    placement = await by(bench)
    write_series(bench.root / "a", 1)
    file = bench.root / "a" / "IM1"
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"p01") - 3])

    report = await bench.cycle(Mode.UP, placement=placement, settle=_unsettled("a"))

    assert [] == report.problem_list
    assert {} == shelf.content


async def test_other_tags_in_the_settings_read_the_headers_anew(bench: Bench, shelf: Shelf) -> None:
    write_series(bench.root / "a", EchoTime=4.2)
    first = await by(bench)
    await bench.cycle(Mode.UP, placement=first)
    more = await by(bench, dicom={"info": ["EchoTime"]})

    report = await bench.cycle(Mode.UP, placement=more)

    assert {} == did(report)
    assert [] == report.problem_list
    placed: list[Mapping[str, Any]] = [
        one.fields for one in await bench.state.call(lambda state: state.places.known(T1))
    ]
    assert any(4.2 == fields.get("file.info.EchoTime") for fields in placed), placed


async def test_other_tags_and_an_unreadable_file_keep_its_pack(bench: Bench, shelf: Shelf) -> None:
    write_series(bench.root / "a")
    plant(bench.root, {"note": b"so that the folder is not empty"})
    await bench.cycle(Mode.UP, placement=await by(bench))
    age(bench.root)
    (bench.root / "a/IM1").rename(bench.root / "IM1.away")
    (bench.root / "a/IM1").symlink_to("IM2")
    more = await by(bench, dicom={"info": ["EchoTime"]})

    report = await bench.cycle(Mode.UP, placement=more, ignore=Filters(["*.away"]))

    assert 0 == report.uploaded + report.deleted
    assert slices(1, 2, 3) == names_in(shelf, T1)


async def test_how_labels_are_made_is_remembered_with_the_layout(
    bench: Bench, shelf: Shelf
) -> None:
    write_series(bench.root / "a")
    dicom = {"session": ["{StudyInstanceUID}"], "uid_names": False}
    await bench.cycle(Mode.UP, placement=await by(bench, dicom=dicom))
    path = RelPath("p01/1.2.3/5 - T1/5 - T1.dicom.zip")
    assert {path} == shelf.content.keys()

    without = await by(bench, scan=None)

    assert {} == did(await bench.cycle(Mode.UP, placement=without))
    assert {"IM1", "IM2", "IM3"} == names_in(shelf, path)


@pytest.mark.parametrize(
    "other",
    [
        {"scan": "dicom"},
        {"scan": "dicom", "dicom": {"session": ["{StudyDate}"]}},
        {"scan": None, "dicom": {"session": ["{StudyDate}"]}},
        {"scan": None, "routing": "PatientComments"},
    ],
)
async def test_labels_made_in_another_way_are_another_layout(
    bench: Bench, other: dict[str, Any]
) -> None:
    write_series(bench.root / "a")
    dicom = {"session": ["{StudyInstanceUID}"]}
    await bench.cycle(Mode.UP, placement=await by(bench, dicom=dicom))

    with pytest.raises(UsageError, match=r"1 file is in step by .*StudyInstanceUID"):
        await by(bench, **other)


async def test_tables_that_say_nothing_of_labels_may_change(bench: Bench, shelf: Shelf) -> None:
    write_series(bench.root / "a")
    await bench.cycle(Mode.UP, placement=await by(bench))

    told_more = await by(bench, scan=None, dicom={"people": True, "session": []})

    assert {} == did(await bench.cycle(Mode.UP, placement=told_more))
    assert {T1} == shelf.content.keys()
