"""Promises that a mutant could break unseen, before these were here."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from fwsync.digest import LocalTag
from fwsync.model import (
    ContainerRef,
    Level,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.reconcile import Rules, judge
from fwsync.remotes import tarstream
from fwsync.remotes.tarstream import Cut, Damaged

PATH = RelPath("sub/ses/acq/1.dcm")


def archive() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("1.dcm")
        member.size = 5000
        tar.addfile(member, io.BytesIO(b"x" * 5000))
    return raw.getvalue()


async def contents(data: bytes) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return [
        b"".join([piece async for piece in member.chunks])
        async for member in tarstream.members(chunks())
    ]


async def test_a_header_with_a_flipped_bit_is_not_believed() -> None:
    whole = bytearray(archive())

    assert [b"x" * 5000] == await contents(bytes(whole))

    whole[2] ^= 1  # in the name, which nothing but the checksum protects
    with pytest.raises(Damaged):
        await contents(bytes(whole))


async def test_a_member_that_ends_early_does_not_read_as_one_that_ends() -> None:
    ended = False

    async def read() -> None:
        nonlocal ended

        async def chunks() -> AsyncIterator[bytes]:
            yield archive()[: 512 + 100]

        async for member in tarstream.members(chunks()):
            async for _ in member.chunks:
                pass
            ended = True

    with pytest.raises(Cut):
        await read()
    assert not ended


@pytest.mark.parametrize("mode", list(Mode))
def test_two_files_of_one_size_whose_hashes_are_not_known_are_not_the_same(mode: Mode) -> None:
    local = LocalEntry(PATH, Stamp(3, 1, 1, 1, 1), etag=LocalTag("xxh3:1"))
    remote = RemoteEntry(PATH, 3, "v1", None, ContainerRef(Level.ACQUISITION, "a"), "1.dcm")

    assert Verb.ADOPT is not judge(PATH, local, remote, None, Rules(mode=mode)).verb
