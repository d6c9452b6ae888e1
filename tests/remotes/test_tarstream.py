"""The tar reader against Python's own writer, and against what no writer should write."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import Garbled, Unavailable
from fwsync.remotes import tarstream
from fwsync.remotes.tarstream import Cut, Damaged, Kind

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


async def in_pieces(data: bytes, step: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


Seen = list[tuple[str, Kind, bytes]]


async def read(data: bytes, step: int = 1000) -> tuple[Seen, Exception | None]:
    """The members that were read to their end, and what ended the reading."""
    seen: Seen = []
    try:
        async for member in tarstream.members(in_pieces(data, step)):
            content = b"".join([chunk async for chunk in member.chunks])

            assert len(content) == member.size
            seen.append((member.name, member.kind, content))
    except (Cut, Damaged) as error:
        return seen, error
    return seen, None


def archive(files: list[tuple[str, bytes]], format_: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=format_) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
).filter(lambda name: not name.endswith("/"))
files = st.lists(st.tuples(names, st.binary(max_size=2000)), max_size=6)


@given(files, st.sampled_from(FORMATS[1:]), st.integers(1, 3000))
async def test_what_was_written_is_read(
    files: list[tuple[str, bytes]], format_: int, step: int
) -> None:
    seen, error = await read(archive(files, format_), step)

    assert error is None
    assert [(name, Kind.FILE, content) for name, content in files] == seen


@given(files, st.sampled_from(FORMATS[1:]), st.data())
async def test_a_cut_archive_is_never_taken_for_a_whole_one(
    files: list[tuple[str, bytes]], format_: int, data: st.DataObject
) -> None:
    whole = archive(files, format_)
    end = len(whole.rstrip(b"\0"))  # the end marker needs 1024 bytes behind the last block
    last = max(sum_of_blocks(end), 0) + 1023
    cut = data.draw(st.integers(0, min(last, len(whole) - 1)))
    seen, error = await read(whole[:cut])

    expected = [(name, Kind.FILE, content) for name, content in files]
    if cut < marker_start(whole, files, format_) + 1024:
        assert isinstance(error, Cut)
    assert seen == expected[: len(seen)]


def sum_of_blocks(size: int) -> int:
    return size + -size % 512


def marker_start(whole: bytes, files: list[tuple[str, bytes]], format_: int) -> int:
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        members = tar.getmembers()
    if not members:
        return 0
    return members[-1].offset_data + sum_of_blocks(members[-1].size)


@given(
    files,
    st.sampled_from(FORMATS[1:]),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=12),
)
async def test_damage_ends_in_our_own_errors_and_gives_no_more_than_announced(
    files: list[tuple[str, bytes]], format_: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(archive(files, format_))
    for at, value in changes:
        damaged[at % len(damaged)] = value

    seen, _ = await read(bytes(damaged))

    assert sum(len(content) for _, _, content in seen) <= len(damaged)


@given(st.binary(max_size=4000))
async def test_noise_is_no_archive(data: bytes) -> None:
    seen, error = await read(data)

    if data.strip(b"\0"):
        assert (seen, type(error) in (Cut, Damaged)) == ([], True)


@given(st.binary(max_size=1500), st.integers(0, 512 * 4))
async def test_records_of_noise_are_survived(record: bytes, size: int) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, size
    block = header.tobuf(tarfile.USTAR_FORMAT)
    data = block + record.ljust(2048, b"\0") + archive([("f", b"content")])

    _, _ = await read(data)


async def test_long_names_in_ustar_are_put_together() -> None:
    name = "/".join(["d" * 50] * 4)
    seen, error = await read(archive([(name, b"x")], tarfile.USTAR_FORMAT))

    assert (seen, error) == ([(name, Kind.FILE, b"x")], None)


async def test_sizes_in_base_256_are_read() -> None:
    header = tarfile.TarInfo("big")
    header.size = 5
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + (5).to_bytes(11, "big")
    _sum(block)
    seen, error = await read(bytes(block) + b"12345".ljust(512, b"\0") + bytes(1024))

    assert (seen, error) == ([("big", Kind.FILE, b"12345")], None)


def _sum(block: bytearray) -> None:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (tarfile.SYMTYPE, Kind.SYMBOLIC_LINK),
        (tarfile.LNKTYPE, Kind.HARD_LINK),
        (tarfile.CHRTYPE, Kind.DEVICE),
        (tarfile.BLKTYPE, Kind.DEVICE),
        (tarfile.FIFOTYPE, Kind.FIFO),
        (tarfile.DIRTYPE, Kind.FOLDER),
        (b"Z", Kind.OTHER),
    ],
)
async def test_what_is_no_file_is_said_to_be_none(type_: bytes, kind: Kind) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        odd = tarfile.TarInfo("../../etc/passwd")
        odd.type, odd.linkname = type_, "/etc/shadow"
        tar.addfile(odd)
        plain = tarfile.TarInfo("after")
        plain.size = 3
        tar.addfile(plain, io.BytesIO(b"abc"))

    seen, error = await read(raw.getvalue())

    assert error is None
    assert [("../../etc/passwd", kind, b""), ("after", Kind.FILE, b"abc")] == [
        (name.rstrip("/"), found, content)  # folders get a slash
        for name, found, content in seen
    ]


async def test_sparse_files_are_named_as_such() -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        sparse = tarfile.TarInfo("holes")
        sparse.size = 4
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "9999"}
        tar.addfile(sparse, io.BytesIO(b"map\n"))

    seen, _ = await read(raw.getvalue())

    assert [kind for _, kind, _ in seen] == [Kind.SPARSE]


async def test_padding_behind_the_end_is_fine_and_junk_is_not() -> None:
    whole = archive([("f", b"x")])

    assert (await read(whole + bytes(10_000)))[1] is None
    seen, error = await read(whole + b"junk")
    assert [name for name, _, _ in seen] == ["f"]
    assert isinstance(error, Damaged)


async def test_a_missing_end_marker_is_a_cut() -> None:
    whole = archive([("f", b"x")])[:1024]
    for end in (b"", bytes(512)):
        seen, error = await read(whole + end)

        assert [name for name, _, _ in seen] == ["f"]
        assert isinstance(error, Cut)


async def test_records_that_are_too_long_are_refused_before_they_are_read() -> None:
    for type_ in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("x")
        header.type, header.size = type_, 10 * 2**30

        _, error = await read(header.tobuf(tarfile.GNU_FORMAT) + bytes(5000))

        assert isinstance(error, Damaged)


async def test_records_without_end_are_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE

    _, error = await read(header.tobuf(tarfile.USTAR_FORMAT) * 100)

    assert isinstance(error, Damaged)


async def test_unread_bytes_are_read_past() -> None:
    data = archive([("a", b"1" * 70_000), ("b", b"2"), ("c", b"3" * 1000)])

    seen = [member.name async for member in tarstream.members(in_pieces(data, 999))]

    assert ["a", "b", "c"] == seen


async def test_what_the_source_raises_comes_through() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield archive([("a", b"1" * 70_000)])[:3000]
        raise Unavailable("the connection broke")

    with pytest.raises(Unavailable, match="the connection broke"):
        _ = [[c async for c in one.chunks] async for one in tarstream.members(broken())]


def test_its_errors_are_of_the_tree() -> None:
    assert issubclass(Cut, Unavailable)
    assert issubclass(Damaged, Garbled)
