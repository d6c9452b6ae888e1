"""A zip is laid out, cut anywhere and read back; the same members give the same bytes."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import FileProblem
from fwsync.zipstream import (
    CHUNK,
    Span,
    Summing,
    ZipLayout,
    ZipMember,
    deflate,
    in_chunks,
    why_unsafe,
    zip_size,
)

GIB = 1 << 30

names = st.text(
    st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: not why_unsafe(name))
trees = st.dictionaries(names, st.binary(max_size=300), max_size=12)


def members(tree: Mapping[str, bytes]) -> list[ZipMember]:
    return [ZipMember(name, len(content), zlib.crc32(content)) for name, content in tree.items()]


def written(layout: ZipLayout, tree: Mapping[str, bytes], offset: int = 0, size: int = -1) -> bytes:
    """A stretch of a zip, its spans filled with what the tree holds."""
    made = []
    for piece in layout.pieces(offset, None if size < 0 else size):
        if isinstance(piece, Span):
            content = tree[layout.members[piece.member].name]
            piece = content[piece.start : piece.start + piece.size]  # noqa: PLW2901
        assert piece
        made.append(piece)
    return b"".join(made)


def zipped(tree: Mapping[str, bytes]) -> bytes:
    return written(ZipLayout(members(tree)), tree)


# -------------------------------------------------------------------------------- what it holds


@given(trees)
def test_python_reads_back_what_went_in(tree: dict[str, bytes]) -> None:
    archive = zipfile.ZipFile(io.BytesIO(zipped(tree)))

    assert archive.testzip() is None
    assert sorted(tree) == archive.namelist()
    assert tree == {name: archive.read(name) for name in archive.namelist()}


@given(trees, st.data())
def test_any_cut_into_ranges_gives_the_same_bytes(
    tree: dict[str, bytes], data: st.DataObject
) -> None:
    layout = ZipLayout(members(tree))
    whole = written(layout, tree)
    cuts = sorted(data.draw(st.lists(st.integers(0, layout.size), max_size=6)))
    ranges = zip([0, *cuts], [*cuts, layout.size], strict=True)

    assert whole == b"".join(written(layout, tree, one, two - one) for one, two in ranges)


@given(trees)
def test_the_length_is_known_from_names_and_sizes(tree: dict[str, bytes]) -> None:
    assert len(zipped(tree)) == zip_size((name, len(content)) for name, content in tree.items())


@given(trees)
def test_the_order_of_the_members_does_not_matter(tree: dict[str, bytes]) -> None:
    backwards = dict(reversed(tree.items()))

    assert zipped(tree) == zipped(backwards)


def test_its_bytes_are_these_for_ever() -> None:
    tree = {"b/ü ☃.dcm": b"two" * 1000, "a": b"", "Z": b"one"}
    made = zipped(tree)

    assert 3281 == len(made)
    assert PINNED == hashlib.sha256(made).hexdigest()


#: A zip of an earlier fwsync that is made again must be the same file to the server.
PINNED = "91ad91bbf41190f076311f97d74debaf9c4be2d8b9e5fe27b6d64e4bde39d230"


def test_a_member_is_a_regular_file_of_the_first_day() -> None:
    (info,) = zipfile.ZipFile(io.BytesIO(zipped({"a": b"x"}))).infolist()

    assert (1980, 1, 1, 0, 0, 0) == info.date_time
    assert (3, stat.S_IFREG | 0o644) == (info.create_system, info.external_attr >> 16)
    assert (0, zipfile.ZIP_STORED) == (info.flag_bits, info.compress_type)
    assert (b"", b"") == (info.extra, info.comment)


def test_only_a_name_that_is_not_ascii_is_marked_as_utf8() -> None:
    archive = zipfile.ZipFile(io.BytesIO(zipped({"a": b"", "ü": b""})))

    assert [0, 0x800] == [info.flag_bits for info in archive.infolist()]


def test_an_empty_zip_is_a_zip() -> None:
    assert [] == zipfile.ZipFile(io.BytesIO(zipped({}))).namelist()
    assert 22 == zip_size([])


def test_a_stretch_that_is_not_there_is_refused() -> None:
    layout = ZipLayout(members({"a": b"x"}))

    with pytest.raises(ValueError, match="of a zip of"):
        list(layout.pieces(layout.size, 1))


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/../b", "..", ".", "a//b", "a/", "a\\b", "a\0b", "x" * 65536, "\udc80"],
    ids=lambda name: ascii(name[:8]),
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(FileProblem) as caught:
        zip_size([("fine", 1), (name, 1)])

    assert repr(name[:200]) in caught.value.message
    assert why_unsafe(name) in caught.value.message


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(FileProblem, match="'a': cannot be put into a zip"):
        zip_size([("a", 1), ("b", 1), ("a", 2)])


def test_the_longest_name_goes_in() -> None:
    name = "x" * 65535

    assert {name} == set(zipfile.ZipFile(io.BytesIO(zipped({name: b"1"}))).namelist())


# ----------------------------------------------------------------------------------------- ZIP64


class Zeros(io.RawIOBase):
    """A zip whose members are zeros, to be read without being written."""

    def __init__(self, layout: ZipLayout) -> None:
        self._layout = layout
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._layout.size)[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._layout.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        pieces = self._layout.pieces(self._position, size)
        self._position += size
        return b"".join(bytes(one.size) if isinstance(one, Span) else one for one in pieces)


def zeros(*sizes: int) -> tuple[ZipLayout, zipfile.ZipFile]:
    layout = ZipLayout(ZipMember(f"{at}", size) for at, size in enumerate(sizes))
    return layout, zipfile.ZipFile(Zeros(layout))


def local_header(layout: ZipLayout, offset: int) -> tuple[int, int, int, int, int]:
    """Version needed, both sizes, and the lengths of name and extra field."""
    head = b"".join(one for one in layout.pieces(offset, 30) if isinstance(one, bytes))
    _, needs, *_, packed, size, name, extra = struct.unpack("<4s5H3L2H", head)
    return needs, packed, size, name, extra


@pytest.mark.parametrize("size", [4 * GIB - 2, 4 * GIB - 1, 4 * GIB, 6 * GIB])
def test_a_member_is_in_the_zip64_form_from_where_32_bits_end(size: int) -> None:
    layout, archive = zeros(size, 1)
    first, second = archive.infolist()
    large = size >= 4 * GIB - 1
    told = 0xFFFFFFFF if large else size

    assert (size, size, 0) == (first.file_size, first.compress_size, first.header_offset)
    assert (45 if large else 20, told, told, 1, 20 if large else 0) == local_header(layout, 0)
    assert (45 if large else 20) == first.extract_version
    assert (large and 20) == len(first.extra)
    assert 31 + size + (large and 20) == second.header_offset
    assert 1 == second.file_size


@pytest.mark.parametrize("size", [4 * GIB - 32, 4 * GIB - 31, 3 * GIB])
def test_an_offset_is_in_the_zip64_form_from_where_32_bits_end(size: int) -> None:
    layout, archive = zeros(size, 3, GIB)
    begin = size + 31
    large = begin >= 4 * GIB - 1
    _, second, third = archive.infolist()

    assert begin == second.header_offset
    assert (large and 12) == len(second.extra)
    assert (20, 3, 3, 1, 0) == local_header(layout, begin)
    assert begin + 34 == third.header_offset


def records(layout: ZipLayout) -> bytes:
    """What closes a zip, 98 bytes of it."""
    return b"".join(one for one in layout.pieces(layout.size - 98) if isinstance(one, bytes))


def test_a_directory_beyond_4_gib_is_found() -> None:
    just, over = (
        ZipLayout([ZipMember("a", 4 * GIB - 33)]),
        ZipLayout([ZipMember("a", 4 * GIB - 32)]),
    )

    assert (False, True) == tuple(b"PK\6\6" in records(one) for one in (just, over))


@pytest.mark.parametrize("count", [65534, 65535, 65536])
def test_many_members_are_counted_in_the_zip64_form(count: int) -> None:
    layout = ZipLayout(ZipMember(f"{at:05}", 0) for at in range(count))
    archive = zipfile.ZipFile(Zeros(layout))

    assert count == len(archive.namelist())
    assert (count >= 65535) == (b"PK\6\6" in records(layout))
    assert zip_size((f"{at:05}", 0) for at in range(count)) == layout.size


def test_a_member_beyond_4_gib_is_read_to_its_end() -> None:
    _, archive = zeros(4 * GIB + 10, 3)
    with archive.open("0") as content:
        content._expected_crc = None  # type: ignore[attr-defined]  # 4 GiB are not summed up here
        content.seek(4 * GIB)

        assert bytes(10) == content.read()
    with archive.open("1") as after:
        after._expected_crc = None  # type: ignore[attr-defined]

        assert bytes(3) == after.read()


# ------------------------------------------------------------------------------------- compressed


def summed(name: str, content: bytes) -> ZipMember:
    """A member that is to be compressed, read in blocks of odd sizes."""
    summing = Summing(deflates=True)
    step = max(1, len(content) // 3)
    summing.take(content[at : at + step] for at in range(0, len(content), step))
    return summing.member(name)


def shrunk(member: ZipMember, content: bytes) -> bytes:
    """A member as it stands in the zip."""
    if not member.packed:
        return content
    chunks = list(in_chunks([content]))
    made = [deflate(chunk, last=chunk is chunks[-1]) for chunk in chunks]
    assert list(member.packed) == [len(one) for one in made]
    return b"".join(made)


def deflated(tree: Mapping[str, bytes], offset: int = 0, size: int = -1) -> bytes:
    layout = ZipLayout(summed(name, content) for name, content in tree.items())
    inside = {one.name: shrunk(one, tree[one.name]) for one in layout.members}
    return written(layout, inside, offset, size)


@given(st.dictionaries(names, st.binary(max_size=300).map(lambda one: one * 20), max_size=12))
def test_a_compressed_zip_is_read_back(tree: dict[str, bytes]) -> None:
    made = deflated(tree)
    archive = zipfile.ZipFile(io.BytesIO(made))

    assert archive.testzip() is None
    assert sorted(tree) == archive.namelist()
    assert tree == {name: archive.read(name) for name in archive.namelist()}
    assert len(made) <= zip_size((name, len(content)) for name, content in tree.items())


@given(trees)
def test_a_compressed_zip_is_the_same_each_time(tree: dict[str, bytes]) -> None:
    assert deflated(tree) == deflated(dict(reversed(tree.items())))


def test_a_compressed_zip_never_becomes_another_one() -> None:
    """But with another version of zlib, which may compress otherwise."""
    tree = {"a/b.dcm": b"slice" * 300_000, "empty": b"", "ü": b"no less"}
    plain = b"".join(zipfile.ZipFile(io.BytesIO(deflated(tree))).read(name) for name in tree)

    assert b"".join(tree.values()) == plain
    told = {one.name: len(one.packed) for one in (summed(*item) for item in tree.items())}
    assert {"a/b.dcm": 2, "empty": 0, "ü": 0} == told
    head = deflated(tree)[:37]
    numbers = struct.unpack("<4s5H3L2H", head[:30])
    assert (b"PK\3\4", 20, 0, 8, 0, 33, zlib.crc32(tree["a/b.dcm"])) == numbers[:7]


@given(trees)
def test_what_does_not_get_smaller_makes_the_stored_zip(tree: dict[str, bytes]) -> None:
    dense = {name: zlib.compress(content, 9) for name, content in tree.items()}
    dense = {name: one for name, one in dense.items() if not summed(name, one).packed}

    assert zipped(dense) == deflated(dense)


def test_what_can_be_compressed_is() -> None:
    assert 1000 > len(deflated({"a": bytes(100_000)}))


def test_a_chunk_needs_no_other_one() -> None:
    content = b"".join(b"%d" % number for number in range(CHUNK // 2))
    member = summed("a", content)
    made = shrunk(member, content)
    assert 3 == len(member.packed)
    second = made[member.packed[0] : member.packed[0] + member.packed[1]]

    assert content[CHUNK : 2 * CHUNK] == zlib.decompressobj(-15).decompress(second)
    assert content == zlib.decompressobj(-15).decompress(made)


@given(st.data(), st.integers(0, 5))
def test_any_stretch_of_a_compressed_zip_can_be_made(data: st.DataObject, seed: int) -> None:
    tree = {f"{at}": b"%d" % (seed + at) * 50 for at in range(4)}
    whole = deflated(tree)
    offset = data.draw(st.integers(0, len(whole)))
    size = data.draw(st.integers(0, len(whole) - offset))

    assert whole[offset : offset + size] == deflated(tree, offset, size)


def test_a_large_member_may_be_compressed() -> None:
    layout = ZipLayout([ZipMember("a", 5 * GIB, 7, (1000, 2000))])
    head = b"".join(one for one in layout.pieces(0, 51) if isinstance(one, bytes))
    end = b"".join(one for one in layout.pieces(3051) if isinstance(one, bytes))

    assert (45, 8, 20) == (head[4], head[8], int.from_bytes(head[28:30], "little"))
    assert struct.pack("<2H2Q", 1, 16, 5 * GIB, 3000) == head[31:51]
    # The directory has in its ZIP64 field only what 32 bits do not hold.
    assert struct.pack("<L2H2H", 3000, 0xFFFF, 0xFFFF, 1, 12) == end[20:32]
    assert struct.pack("<HHQ", 1, 8, 5 * GIB) == end[47:59]


# ------------------------------------------------------------------------------------ system tools


@pytest.mark.tools
@pytest.mark.parametrize("count", [3, 70_000])
def test_unzip_finds_nothing_wrong(tmp_path: Path, count: int) -> None:
    tree = {f"a/{at:05}.dcm": b"%d" % at for at in range(count)} | {"ü ☃": b"unicode"}
    tree |= {"large": b"slice" * CHUNK}
    stored, packed = tmp_path / "stored.zip", tmp_path / "packed.zip"
    stored.write_bytes(zipped(tree))
    packed.write_bytes(deflated(tree))

    for path in (stored, packed):
        done = subprocess.run(["unzip", "-tq", path], check=False, capture_output=True, text=True)

        assert (0, "") == (done.returncode, done.stderr)
        assert "No errors detected" in done.stdout
