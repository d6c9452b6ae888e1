"""Zips made to do harm, or only broken, are refused before anything comes out of them."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fwsync import zipcheck
from fwsync.errors import FileProblem, IntegrityError
from fwsync.zipcheck import CheckedZip

Entries = list[tuple[zipfile.ZipInfo | str, bytes]]


def zip_of(
    *entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED
) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        with zipfile.ZipFile(made, "w", method) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    return made.getvalue()


def info(name: str, **fields: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def opened(
    tmp_path: Path, content: bytes, *, most_bytes: int | None = None, folds: bool = False
) -> dict[str, bytes]:
    """What comes out of a zip."""
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    with path.open("rb") as file:
        archive = CheckedZip(file.fileno(), "p.zip", most_bytes=most_bytes, folds=folds)
        return {one.name: b"".join(archive.read(one, 1000)) for one in archive.members}


def refusal(tmp_path: Path, content: bytes, **how: bool | int) -> str:
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(FileProblem) as caught:
        CheckedZip(file.fileno(), "p.zip", **how)  # type: ignore[arg-type]  # as a test wants it
    assert not isinstance(caught.value, IntegrityError)
    assert caught.value.message.startswith("p.zip: cannot be unpacked: ")
    return caught.value.message.removeprefix("p.zip: cannot be unpacked: ")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_zip_comes_out_whole(tmp_path: Path, method: int) -> None:
    tree = {"a": b"", "b/c.dcm": b"x" * 5000, "b/ü": b"y"}

    assert tree == opened(tmp_path, zip_of(*tree.items(), method=method))
    assert {} == opened(tmp_path, zip_of())


def test_folders_are_left_out_and_names_are_composed(tmp_path: Path) -> None:
    made = zip_of(("PF acq/", b""), ("PF acq/u\u0308.dcm", b"1"))

    assert {"PF acq/\u00fc.dcm": b"1"} == opened(tmp_path, made)


def test_a_zip_behind_something_else_comes_out_too(tmp_path: Path) -> None:
    assert {"a": b"1"} == opened(tmp_path, b"#!/bin/sh\n" + zip_of(("a", b"1")))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../x", "a\\b", "a//b", "./a", "a/./b", "..", ".fwsync/parts/x",
     "a/.FWSYNC/x", "x" * 256, "ü" * 128],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, zip_of(("good", b"1"), (name, b"2"))).startswith(repr(name[:200]))


def test_a_name_with_a_nul_in_it_is_refused(tmp_path: Path) -> None:
    made = zip_of(("good", b"1"), ("evil.dcmX.exe", b"2")).replace(b"evil.dcmX", b"evil.dcm\0")

    assert "NUL" in refusal(tmp_path, made)


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    # The library makes none; "#" is cut out by hand.
    made = zip_of((info("#"), b"1"))
    head, rest = made.split(b"#1PK", 1)
    head = head[:-4] + bytes(4)
    directory = bytearray(b"PK" + rest.replace(b"#", b""))
    directory[28:30] = bytes(2)
    made = head + b"1" + bytes(directory)
    end = made.index(b"PK\5\6")
    start = made.index(b"PK\1\2")
    made = made[: end + 12] + struct.pack("<2L", end - start, start) + made[end + 20 :]

    assert "it is empty" in refusal(tmp_path, made)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a"), ("\u00fc", "u\u0308"), ("b/\u00fc", "b/u\u0308")]
)
def test_two_members_that_are_one_file_are_refused(tmp_path: Path, one: str, other: str) -> None:
    assert "the same file" in refusal(tmp_path, zip_of((one, b"1"), (other, b"2")))


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("B/x", "b/X"), ("STRASSE", "straße")])
def test_where_case_does_not_matter_two_spellings_are_one_file(
    tmp_path: Path, one: str, other: str
) -> None:
    made = zip_of((one, b"1"), (other, b"2"))

    assert "the same file" in refusal(tmp_path, made, folds=True)
    assert 2 == len(opened(tmp_path, made))


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("a", "a/")])
def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    made = zip_of(*((name, b"") for name in names))

    assert "a file, and a folder of" in refusal(tmp_path, made)


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR]
)
def test_only_regular_files_come_out(tmp_path: Path, kind: int) -> None:
    made = zip_of((info("link", create_system=3, external_attr=(kind | 0o777) << 16), b"/etc"))

    assert "'link': it is no regular file" in refusal(tmp_path, made)


def altered(made: bytes, offset: int, fmt: str, value: int) -> bytes:
    """A field of the first entry of the directory, changed."""
    at = made.index(b"PK\1\2") + offset
    return made[:at] + struct.pack(fmt, value) + made[at + struct.calcsize(fmt) :]


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_what_is_encrypted_is_refused(tmp_path: Path, flag: int) -> None:
    assert "encrypted" in refusal(tmp_path, altered(zip_of(("a", b"1")), 8, "<H", flag))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(tmp_path: Path, method: int) -> None:
    assert f"method {method}" in refusal(tmp_path, zip_of(("a", b"1"), method=method))


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (24, 1000, "two sizes differ"),
        (20, 1000, "two sizes differ"),
        (42, 7, "is not where the directory says"),
        (42, 1 << 31, "ends early"),
    ],
)
def test_a_directory_that_does_not_tell_the_truth_is_refused(
    tmp_path: Path, offset: int, value: int, why: str
) -> None:
    assert why in refusal(tmp_path, altered(zip_of(("a", b"12"), ("b", b"3")), offset, "<L", value))


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """The way in which a small zip holds more than any ratio gives away (Fifield, 2019)."""
    made = zip_of(("a", b"1" * 100), ("a", b"2" * 100))
    both = made.rindex(b"PK\1\2") + 42

    assert "overlaps with 'a'" in refusal(tmp_path, made[:both] + bytes(4) + made[both + 4 :])


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    made = zip_of(("a", b"12"))
    made = altered(altered(made, 20, "<L", 30), 24, "<L", 30)

    assert "overlaps with the directory" in refusal(tmp_path, made)


def test_a_member_with_another_name_at_its_head_is_refused(tmp_path: Path) -> None:
    made = zip_of(("good", b"1")).replace(b"good", b"evil", 1)

    assert "another name" in refusal(tmp_path, made)


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: b"",
        lambda made: b"<html>",
        lambda made: made[:-1],
        lambda made: made[30:],
        lambda made: made.replace(b"PK\1\2", b"PK\1\3"),
        lambda made: altered(made, 8, "<H", 0x800).replace(b"name", b"\xff\xff\xff\xff"),
    ],
)
def test_what_is_no_zip_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    refusal(tmp_path, damage(zip_of(("name", b"1" * 50))))


def test_bytes_that_do_not_fit_their_checksum_are_refused_before_the_last_of_them(
    tmp_path: Path,
) -> None:
    made = zip_of(("a", b"1" * 25_000)).replace(b"1" * 25_000, b"1" * 24_999 + b"2")
    path = tmp_path / "some.zip"
    path.write_bytes(made)
    with path.open("rb") as file:
        archive = CheckedZip(file.fileno(), "p.zip")
        blocks = archive.read(archive.members[0], 10_000)

        assert 20_000 == len(next(blocks)) + len(next(blocks))
        with pytest.raises(IntegrityError, match=r"p\.zip: a"):
            next(blocks)


def test_an_empty_member_has_a_checksum_too(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        opened(tmp_path, altered(zip_of(("a", b"")), 16, "<L", 5))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zip_of(("a", bytes(1 << 20)), method=zipfile.ZIP_DEFLATED)
    assert 1 << 20 == len(opened(tmp_path, bomb)["a"])  # so small a one does no harm
    monkeypatch.setattr(zipcheck, "ALWAYS_ALLOWED", 1 << 19)

    assert f"would become {1 << 20} bytes" in refusal(tmp_path, bomb)
    assert f"{1000} are allowed" in refusal(tmp_path, bomb, most_bytes=1000)
    assert 1 << 20 == len(opened(tmp_path, bomb, most_bytes=1 << 20)["a"])


def test_a_bomb_that_lies_about_its_size_gives_no_more_than_it_said(tmp_path: Path) -> None:
    bomb = zip_of(("a", bytes(1 << 20)), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(IntegrityError):
        opened(tmp_path, altered(bomb, 24, "<L", 10))


def test_too_many_members_are_refused_before_they_are_counted_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = zip_of(*((f"{at}", b"") for at in range(5)))
    monkeypatch.setattr(zipcheck, "MOST_MEMBERS", 4)

    assert "more than 4 members" in refusal(tmp_path, made)
    monkeypatch.setattr(zipcheck, "MOST_DIRECTORY", 100)
    assert "its directory has" in refusal(tmp_path, made)


def test_a_sparse_file_of_any_size_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.zip"
    path.write_bytes(b"PK")
    os.truncate(path, 1 << 36)
    with path.open("rb") as file, pytest.raises(FileProblem):
        CheckedZip(file.fileno(), "p.zip")
