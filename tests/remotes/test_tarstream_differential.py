"""The tar reader beside Python's own, on archives that nobody would write.

What ours reads to its end, Python's reads the same way, or stops at. Where two readers would see
two different files in one archive, ours refuses it: that is how names are smuggled past checks.
"""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.remotes import tarstream
from fwsync.remotes.tarstream import Damaged, Kind
from tests.remotes.archives import END, header, in_pieces, member, packed, padded, record, summed
from tests.remotes.readers import is_read_alike, ours, pythons

#: Places in a header that decide what is read: the name, the size, the type, the magic.
_PLACES = [0, 1, 99, 124, 125, 130, 134, 135, 156, 156, 156, 257, 262, 263, 345, 346, 482, 500]
_VALUES = [0, 32, 47, 48, 49, 50, 53, 55, 76, 75, 83, 88, 90, 103, 120, 127, 128, 255]
_GOOD = [
    *(packed([("f", b"x" * 700), ("g" * 120, b"y")], form) for form in (1, 2)),
    *(packed([("a/b", b"1"), ("c", b""), ("d" * 90, b"2" * 513)], form) for form in (0, 1, 2)),
    packed([("é" * 60, b"u")], tarfile.PAX_FORMAT),
    packed([("l" * 200, b"")], tarfile.GNU_FORMAT, tarfile.SYMTYPE),
]


def changed(archive: bytes, changes: list[tuple[int, int, int]]) -> bytes:
    """The archive with bytes of its first headers replaced, and their checksums put right."""
    data = bytearray(archive)
    for number, place, value in changes:
        at = number * 512 % len(data)
        data[at + place] = value
        if data[at + 257 : at + 262] == b"ustar":
            data[at : at + 512] = summed(data[at : at + 512])
    return bytes(data)


@given(
    st.sampled_from(_GOOD),
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(_PLACES), st.sampled_from(_VALUES)),
        min_size=1,
        max_size=5,
    ),
)
async def test_what_is_read_to_its_end_is_read_alike(
    archive: bytes, changes: list[tuple[int, int, int]]
) -> None:
    await check_alike(changed(archive, changes))


async def check_alike(archive: bytes) -> None:
    """Python's reader sees what ours does, as far as it goes."""
    seen, error = await ours(archive)
    if error is None and is_read_alike(archive):
        theirs = pythons(archive)

        known = [one for one in seen[: len(theirs)] if one[1] is not Kind.OTHER]
        assert [one for one in theirs if one[1] is not Kind.OTHER] == known


# ------------------------------------------------------------------- headers in any order

_LONG = b"n" * 120
_NAMES = st.sampled_from(
    [b"f", b"d/", b"/", b"", b"a//", b"n" * 99 + b"/", b"n" * 100, _LONG, _LONG + b"/", b"../x"]
)
_TYPES = st.sampled_from([bytes([one]) for one in b"\x000000012345677SLKxgXVDMNZA\xff"])
_MAGICS = st.sampled_from([b"ustar  \0", b"ustar  \0", b"ustar\x0000", bytes(8)])
_SIZES = st.sampled_from(
    [None] * 8
    + [bytes(12), b" " * 12, b"          3\0", b"3          \0", b"0000000003 3", b"3\0 777777777"]
    + [b"000000000003", b"\x80" + bytes(10) + b"\x03", b"\t3\0        ", b"0o3\0        "]
)
_BODIES = st.sampled_from([b"", b"x", b"abc", b"q" * 512, b"q" * 600, header(b"evil", 0)])
_KEYS = st.sampled_from(
    [b"path", b"size", b"linkpath", b"mtime", b"", b"hdrcharset", b" path", b"pa th", b"path\0"]
)
_WORDS = [b"", b"f", b"d/", b"d//", b"n" * 130, b"\xff", b"BINARY", b"0", b"3", b"003", b"600"]
_NO_NUMBERS = [b"1.5", b"-1", b"+3", b"3 ", b" 3", b"3_0", b"1e3", "\u0663".encode()]
_SAID = st.sampled_from(_WORDS + _NO_NUMBERS)


@st.composite
def _of_members(draw: st.DrawFn) -> bytes:
    body = draw(_BODIES)
    block = bytearray(header(draw(_NAMES), len(body), draw(_TYPES), raw_size=draw(_SIZES)))
    block[257:265] = draw(_MAGICS)
    if draw(st.integers(0, 9)) == 0:
        block[345:350] = b"pre/\0"
    return summed(block) + padded(body)


@st.composite
def _of_long_names(draw: st.DrawFn) -> bytes:
    name = draw(_NAMES) + draw(st.sampled_from([b"\0", b"", b"\0\0", b"/\0"]))
    return header(b"././@LongLink", len(name), draw(st.sampled_from([b"L", b"K"]))) + padded(name)


_OF_RECORDS = st.builds(
    lambda pairs, kind: record(*pairs, kind=kind),
    st.lists(st.tuples(_KEYS, _SAID), min_size=1, max_size=3),
    st.sampled_from([b"x", b"x", b"x", b"g", b"X"]),
)


@given(st.lists(_of_members() | _of_members() | _OF_RECORDS | _of_long_names(), max_size=5))
async def test_headers_in_any_order_are_read_alike(pieces: list[bytes]) -> None:
    await check_alike(b"".join(pieces) + END)


# ----------------------------------------------------------- what readers do not agree about

_FILE = header(b"f", 1) + padded(b"x")
_HALF_NAMED = summed(
    bytearray(header(b"", 0, b"\0")[:257] + b"ustar\x0000" + bytes(80) + b"pre" + bytes(164))
)
SMUGGLED = {
    "two long names": member(b"n" * 120)[:1024] + member(b"m" * 120, b"x"),
    "a long name and a PAX name": member(b"n" * 120)[:1024] + record((b"path", b"m")) + _FILE,
    "two PAX names": record((b"path", b"n")) + record((b"path", b"m")) + _FILE,
    "two sizes": record((b"size", b"1")) + record((b"size", b"1")) + _FILE,
    "a name for all": record((b"path", b"n"), kind=b"g") + _FILE,
    "a size for all": record((b"size", b"1"), kind=b"g") + _FILE,
    "holes for all": record((b"GNU.sparse.major", b"1"), kind=b"g") + _FILE,
    "a NUL in a name": record((b"path", b"n\0/m")) + _FILE,
    "a name that goes on behind its end": header(b"././@LongLink", 3, b"L")
    + padded(b"abcdef")
    + _FILE,
    "a record that goes on behind its end": header(b"P", 8, b"x") + padded(b"8 path=\n9") + _FILE,
    "records for nobody": record((b"path", b"n")),
    "a size below zero": header(b"f", 0, raw_size=b"\xff" * 11 + b"\xfe") + padded(b"x"),
    "a size beyond all": header(b"f", 0, raw_size=b"\x80" + b"\x7f" * 11) + padded(b"x"),
    "a size with a sign": header(b"f", 0, raw_size=b"-00000000001") + padded(b"x"),
    "a size in words": header(b"f", 0, raw_size=b"0000000001x\0") + padded(b"x"),
    "a PAX size in octal form": record((b"size", b"0o1")) + _FILE,
    "a PAX size below zero": record((b"size", b"-1")) + _FILE,
    "a PAX size beyond all": record((b"size", b"9" * 19)) + _FILE,
    "a PAX length that is too short": header(b"P", 8, b"x") + padded(b"3 path=\n") + _FILE,
    "a PAX length that is too long": header(b"P", 8, b"x") + padded(b"9 path=\n") + _FILE,
    "a PAX record without an end": header(b"P", 8, b"x") + padded(b"8 path=n") + _FILE,
    "a PAX record without a key": header(b"P", 4, b"x") + padded(b"4 n\n") + _FILE,
    "a PAX record with an empty key": record((b"", b"a"), (b"path", b"m")) + _FILE,
    "a folder of old with a file's name": record((b"path", b"f")) + header(b"f/", 0, b"\0"),
    "a file of old with a folder's name": member(b"n" * 120 + b"/")[:1024] + header(b"f", 0, b"\0"),
    "half a name": _HALF_NAMED,
    "no checksum": b"f" + bytes(255) + b"\0ustar\x0000" + bytes(248),
    "records without number": record((b"comment", b"c")) * 9 + _FILE,
    "records for all, without number": record((b"comment", b"c"), kind=b"g") * 9 + _FILE,
}


@pytest.mark.parametrize("which", SMUGGLED)
async def test_what_readers_do_not_agree_about_is_refused(which: str) -> None:
    _, error = await ours(member(b"before", b"1") + SMUGGLED[which] + END)

    assert isinstance(error, Damaged)


GOOD = {
    "a comment for all": record((b"comment", b"c"), kind=b"g") + _FILE,
    "a comment for all of nothing": record((b"comment", b"c"), kind=b"g"),
    "a PAX record of times": record((b"mtime", b"1.5"), (b"atime", b"2")) + _FILE,
    "the last of two in one record": record((b"path", b"n"), (b"path", b"f")) + _FILE,
    "a size of blanks": header(b"f", 0, raw_size=b" " * 12),
    "a size with blanks": header(b"f", 0, raw_size=b"          1\0") + padded(b"x"),
    "a folder of old": header(b"d/", 0, b"\0"),
    "a folder of old with two names": record((b"path", b"long/")) + header(b"lo/", 0, b"\0"),
    "nothing": b"",
}


@pytest.mark.parametrize("which", GOOD)
async def test_what_all_agree_about_is_read(which: str) -> None:
    data = GOOD[which] + END
    seen, error = await ours(data)

    assert error is None
    assert pythons(data) == seen


async def test_a_size_beyond_eight_gigabytes_is_read() -> None:
    """Only as far as its first bytes: the whole of it is in the tests with system tools."""
    size = 9 << 30
    for head in (header(b"f", size), record((b"size", b"%d" % size)) + header(b"f", 0)):
        async for one in tarstream.members(in_pieces(head + b"1234")):
            assert (size, Kind.FILE) == (one.size, one.kind)
            assert b"1234" == await anext(one.chunks)
            break


async def test_what_stands_behind_an_old_header_is_no_part_of_its_name() -> None:
    """Python's reader takes it for one: the comparison with it has to know of this."""
    block = bytearray(header(b"f", 1))
    block[257:265] = bytes(8)  # before there was a magic
    block[345:349] = b"star"
    data = summed(block) + padded(b"x") + END
    seen, error = await ours(data)

    assert error is None
    assert [("f", Kind.FILE, b"x")] == seen
    assert [("star/f", Kind.FILE, b"x")] == pythons(data)
    assert not is_read_alike(data)
