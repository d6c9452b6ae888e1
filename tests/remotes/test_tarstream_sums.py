"""The checksum of a tar header: reckoned quickly, and as strictly as by adding up."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.remotes.tarstream import Damaged, members


def archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


async def names_in(content: bytes) -> list[str]:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return [member.name async for member in members(chunks())]


def with_sum(content: bytes, total: int) -> bytes:
    return content[:148] + b"%06o\0 " % total + content[156:]


name_of_a_file = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=24
)


@given(name_of_a_file)
async def test_what_others_write_is_read(name: str) -> None:
    assert [name] == await names_in(archive(name))


@given(name_of_a_file, st.integers(0, 511), st.integers(1, 255))
async def test_any_other_byte_is_noticed(name: str, at: int, by: int) -> None:
    content = bytearray(archive(name))
    if 148 <= at < 156:
        at = 0
    content[at] = (content[at] + by) % 256

    with pytest.raises(Damaged):
        await names_in(bytes(content))


async def test_a_header_of_the_highest_bytes_has_a_sum_too() -> None:
    """The sum of a whole block is more than the half of an Adler-32 holds."""
    name = b"\xff" * 100
    content = name + archive("x")[100:]
    header = content[:148] + b" " * 8 + content[156:512]

    assert [name] == [
        one.encode("utf-8", "surrogateescape")
        for one in await names_in(with_sum(content, sum(header)))
    ]


async def test_a_sum_of_signed_characters_is_read() -> None:
    """As some old writers made it."""
    content = archive("é")
    header = content[:148] + b" " * 8 + content[156:512]
    signed = sum(header) - 256 * sum(byte > 127 for byte in header)

    assert ["é"] == await names_in(with_sum(content, signed))
