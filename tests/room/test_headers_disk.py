"""Headers of files on disk: read in threads, by descriptors, and kept in the state."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from fwsync import localfs, scanner
from fwsync.elements import Source
from fwsync.errors import Unreadable
from fwsync.headers import Kind, Look, pack, read_batch, read_headers, reading_of, unpack
from fwsync.model import LocalEntry, RelPath
from fwsync.threads import in_thread
from fwsync.values import Wanted, wanted
from tests.room.dicoms import SHIPPED, data_set, part10

NAMES = ("Modality", "PatientID", "PatientName", "SeriesNumber", "NumberOfFrames")
WANTED = wanted(NAMES)


def entry_of(root: Path, path: str) -> LocalEntry:
    return LocalEntry(RelPath(path), localfs.stamp_of((root / path).stat()))


# ------------------------------------------------------------------------------ from disk


def walked(root: Path) -> list[LocalEntry]:
    return [found for found in scanner.walk(root) if isinstance(found, LocalEntry)]


def open_files() -> list[str]:
    found: list[str] = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            found.append(str(link.readlink()))
    return found


async def looks(root: Path, entries: list[LocalEntry], wanted: Wanted = WANTED) -> list[Look]:
    return [look async for look in read_headers(root, entries, wanted)]


async def test_all_files_of_a_tree_are_read_in_order(tmp_path: Path) -> None:
    for number in range(200):
        folder = tmp_path / f"s{number % 7}"
        folder.mkdir(exist_ok=True)
        body = data_set((0x00200011, "IS", str(number)))
        (folder / f"{number:03}").write_bytes(part10(body) if number % 3 else b"no DICOM")
    entries = await in_thread(walked, tmp_path)

    found = await looks(tmp_path, entries)

    assert [look.entry for look in found] == entries
    numbers = [int(look.entry.path[-3:]) for look in found]
    assert [look.reading and look.reading.header.get("SeriesNumber") for look in found] == [
        number if number % 3 else None for number in numbers
    ]
    assert all(look.read_at_ns and look.problem is None for look in found)


async def test_nothing_to_read_is_read_at_once(tmp_path: Path) -> None:
    assert await looks(tmp_path, []) == []


async def test_a_file_that_changed_is_left_for_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(part10(data_set()))
    seen = entry_of(tmp_path, "a")
    (tmp_path / "a").write_bytes(part10(data_set()) + b"more")

    [look] = await looks(tmp_path, [seen])

    assert look.reading is None
    assert look.problem is not None
    assert look.problem.retryable
    assert look.problem.path == "a"


async def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(part10(data_set()))
    seen = entry_of(tmp_path, "a")
    pread = os.pread

    def meanwhile(fd: int, count: int, at: int) -> bytes:
        with (tmp_path / "a").open("ab") as file:
            file.write(b"more")
        return pread(fd, count, at)

    monkeypatch.setattr(os, "pread", meanwhile)

    [look] = await looks(tmp_path, [seen])

    assert look.reading is None
    assert look.problem is not None
    assert look.problem.retryable


async def test_links_are_not_followed_neither_the_file_nor_its_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_bytes(part10(data_set()))
    seen = entry_of(tmp_path, "elsewhere/a")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "real" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    entries = [LocalEntry(RelPath(path), seen.stamp) for path in ("folder/a", "real/a")]

    found = await looks(root, entries)

    for look in found:
        assert look.reading is None
        assert look.problem is not None
        assert "symbolic link" in look.problem.message
        assert look.problem.path == look.entry.path


async def test_what_is_gone_or_broken_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    for name, data in (("a", part10(data_set())), ("b", part10(data_set())[:200]), ("c", b"")):
        (tmp_path / name).write_bytes(data)
    entries = [entry_of(tmp_path, name) for name in "abc"]
    gone = LocalEntry(RelPath("gone/file"), entries[0].stamp)

    found = await looks(tmp_path, [*entries, gone])

    kinds = [look.reading.kind if look.reading else None for look in found]
    assert kinds == [Kind.DICOM, Kind.BROKEN, Kind.OTHER, None]
    assert [look.entry.path for look in found if look.problem] == ["b", "gone/file"]


async def test_a_root_that_is_gone_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    seen = entry_of(tmp_path, "a")

    with pytest.raises(Unreadable, match="root"):
        await looks(tmp_path / "gone", [seen])


async def test_whoever_leaves_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(part10(data_set()))
    entries = await in_thread(walked, tmp_path)

    async with aclosing(read_headers(tmp_path, entries, WANTED)) as stream:
        async for _ in stream:
            break

    assert len(asyncio.all_tasks()) == 1
    assert not [one for one in open_files() if one.startswith(str(tmp_path))]


def test_a_name_in_another_form_on_disk_is_opened_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "e\u0301").write_bytes(part10(data_set()))
    stamp = localfs.stamp_of((tmp_path / "e\u0301").stat())

    [look] = read_batch(tmp_path, [LocalEntry(RelPath("é"), stamp, disk_path="e\u0301")], WANTED)

    assert look.reading is not None
    assert look.reading.kind is Kind.DICOM


# ------------------------------------------------------------------------------ the state


@pytest.mark.parametrize("name", ["MR_small.dcm", "chrH32.dcm", "DICOMDIR", "badVR.dcm"])
def test_a_reading_survives_the_state(name: str) -> None:
    reading = reading_of(Source.of(next(SHIPPED.rglob(name)).read_bytes()), WANTED)

    kept = pack(reading, WANTED)

    assert "\n" not in kept
    assert unpack(kept, WANTED) == reading


def test_a_reading_of_other_tags_is_made_anew() -> None:
    kept = pack(reading_of(Source.of(part10(data_set())), WANTED), WANTED)

    assert unpack(kept, wanted(["EchoTime"])) is None
    assert unpack(kept, wanted(reversed(NAMES))) is not None


@pytest.mark.parametrize(
    "kept", ["", "nonsense", "[]", "[1,2,3]", "{}", "null", '[1,0,"x",{},"",[]]']
)
def test_a_text_that_is_no_reading_is_none(kept: str) -> None:
    assert unpack(kept, WANTED) is None
