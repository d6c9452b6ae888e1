"""Some bytes out of a file, from a server over loopback: what comes is what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import IntegrityError, NotFound, Unavailable
from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import RemoteEntry
from fwsync.ports import RemoteReader
from fwsync.remotes.connect import connect
from fwsync.remotes.flywheel import Flywheel, resolve_project
from fwsync.remotes.http import Api
from fwsync.sandbox import Sandbox, running_sandbox
from tests.contract.conftest import fresh, put, text

CONTENT = bytes(range(256)) * 4000
#: The place of a file's bytes on the site, and in a store.
SITE = {"path": "/*/*/files/*"}
STORE = {"path": "/fw.s3.*/**", "method": "GET"}


@pytest.fixture
async def entry(remote: Flywheel) -> RemoteEntry:
    [one] = await put(remote, text("s/e/a/ünï code", CONTENT))
    return one


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[tuple[Sandbox, Flywheel, RemoteEntry]]:
    """A site that keeps its files in a store, and sends whoever reads them there."""
    async with (
        running_sandbox(tmp_path / "stored", store="s3") as sandbox,
        Api(sandbox.url, parse_key(sandbox.api_key).secret, patience_s=10) as api,
    ):
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        remote = fresh(api, await resolve_project(api, "lab/aging", create_project=True))
        [one] = await put(remote, text("s/e/a/f", CONTENT))
        yield sandbox, remote, one


async def taken(remote: RemoteReader, entry: RemoteEntry, offset: int, size: int) -> bytes:
    async with remote.span(entry, offset, size) as answer:
        assert not answer.whole
        return b"".join([chunk async for chunk in answer.chunks])


def meet(sandbox: Sandbox, match: dict[str, Any], action: dict[str, Any]) -> None:
    sandbox.site.faults.add({"match": match, "action": action})


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1), (5, 700_000), (1_023_999, 1), (0, len(CONTENT)), (300, 0x10000)]
)
async def test_a_range_of_a_file_is_that_range(
    offset: int, size: int, remote: Flywheel, entry: RemoteEntry
) -> None:
    before = remote.requests

    assert CONTENT[offset : offset + size] == await taken(remote, entry, offset, size)
    assert 1 == remote.requests - before


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, 0), (5, len(CONTENT)), (1 << 30, 1)])
async def test_there_is_no_range_outside_of_the_file(
    offset: int, size: int, remote: Flywheel, entry: RemoteEntry
) -> None:
    with pytest.raises(ValueError, match="in a file of"):
        await taken(remote, entry, offset, size)


async def test_a_file_that_is_gone_is_not_there(remote: Flywheel, entry: RemoteEntry) -> None:
    await remote.delete(entry)

    with pytest.raises(NotFound):
        await taken(remote, entry, 3, 5)


async def test_f46_a_range_beyond_the_end_there_is_no_range_of_this_file(
    remote: Flywheel, entry: RemoteEntry
) -> None:
    longer = replace(entry, size=2 * entry.size)

    with pytest.raises(IntegrityError, match="has no byte 1024005 of the 2048000"):
        await taken(remote, longer, entry.size + 5, 5)


@pytest.mark.parametrize("size", [-1, 1])
async def test_f45_a_file_of_another_size_is_another_file(
    size: int, remote: Flywheel, entry: RemoteEntry
) -> None:
    other = replace(entry, size=entry.size + size)

    with pytest.raises(IntegrityError, match="has 1024000 bytes, its listing said"):
        await taken(remote, other, 3, 5)


async def test_f47_a_server_without_ranges_sends_all_and_it_is_said(
    sandbox: Sandbox, remote: Flywheel, entry: RemoteEntry
) -> None:
    meet(sandbox, SITE, {"status": 200, "body": CONTENT[:100].decode("latin-1")})
    ascii_only = replace(entry, size=100)

    async with remote.span(ascii_only, 50, 50) as answer:
        content = b"".join([chunk async for chunk in answer.chunks])

    assert answer.whole
    assert CONTENT[:100] == content


@pytest.mark.parametrize(
    "said", ["bytes 4-8/1024000", "bytes 3-8/1024000", "bytes 3-x/1024000", "bytes 3-7"]
)
async def test_another_range_than_was_asked_for_is_not_taken(
    said: str, sandbox: Sandbox, remote: Flywheel, entry: RemoteEntry
) -> None:
    meet(sandbox, SITE, {"headers": {"Content-Range": said}})

    with pytest.raises(IntegrityError, match="another range was sent"):
        await taken(remote, entry, 3, 5)


async def test_an_unknown_length_is_no_objection(
    sandbox: Sandbox, remote: Flywheel, entry: RemoteEntry
) -> None:
    meet(sandbox, SITE, {"headers": {"Content-Range": "bytes 3-7/*"}})

    assert CONTENT[3:8] == await taken(remote, entry, 3, 5)


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_f23_a_range_that_breaks_off_has_brought_what_came(
    end: str, sandbox: Sandbox, remote: Flywheel, entry: RemoteEntry
) -> None:
    meet(sandbox, SITE, {"cut_at": 400_000, "cut_with": end})
    got = b""

    async def read() -> None:
        nonlocal got
        async with remote.span(entry, 7, 900_000) as answer:
            async for chunk in answer.chunks:
                got += chunk

    with pytest.raises(Unavailable):
        await read()

    assert CONTENT[7 : 7 + len(got)] == got
    if end == "close":  # after a reset, what was on its way may be lost
        assert 400_000 == len(got)


async def test_a_range_comes_from_the_store_and_the_key_does_not_go_there(
    stored: tuple[Sandbox, Flywheel, RemoteEntry],
) -> None:
    sandbox, remote, entry = stored
    before = len(sandbox.site.requests.recent)

    assert CONTENT[77:7777] == await taken(remote, entry, 77, 7700)

    async with asyncio.timeout(10):  # a request is noted when it is over
        while len(sandbox.site.requests.recent) < before + 2:
            await asyncio.sleep(0.01)
    at_site, in_store = list(sandbox.site.requests.recent)[before:]
    assert (302, 206) == (at_site["status"], in_store["status"])
    assert "user" in str(at_site["caller"])
    assert "user" not in str(in_store["caller"])


async def test_what_a_store_calls_a_content_is_told(
    stored: tuple[Sandbox, Flywheel, RemoteEntry],
) -> None:
    _, remote, entry = stored
    marks = []
    for offset in (0, 500):
        async with remote.span(entry, offset, 5) as answer:
            marks.append(answer.mark)

    assert 1 == len(set(marks))
    assert marks[0].startswith('"')


async def test_f41_an_address_that_has_expired_is_asked_for_anew(
    stored: tuple[Sandbox, Flywheel, RemoteEntry],
) -> None:
    sandbox, remote, entry = stored
    expired = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    sandbox.site.faults.add(
        {"match": {**STORE, "times": 1}, "action": {"status": 403, "body": expired}}
    )

    assert CONTENT[77:7777] == await taken(remote, entry, 77, 7700)


async def test_f46_a_store_that_has_less_has_another_file(
    stored: tuple[Sandbox, Flywheel, RemoteEntry],
) -> None:
    sandbox, remote, entry = stored
    meet(sandbox, STORE, {"status": 416})

    with pytest.raises(IntegrityError):
        await taken(remote, entry, 77, 7700)


@pytest.mark.parametrize("offset", [0, 1_000])
async def test_a_server_of_2018_sends_ranges_too(tmp_path: Path, offset: int) -> None:
    async with (
        running_sandbox(tmp_path / "old", switches={"compat": "core-2018"}) as sandbox,
        Api(sandbox.url, parse_key(sandbox.api_key).secret, patience_s=10) as api,
    ):
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        site = await connect(api)
        project = await site.resolve_project("lab/aging", create_project=True)
        remote = site.remote([project], Layout.parse(group="lab", project="aging"))
        [entry] = await put(remote, text("s/e/a/f", CONTENT))

        end = len(CONTENT) - offset
        assert CONTENT[offset : offset + 5] == await taken(remote, entry, offset, 5)
        assert CONTENT[offset:] == await taken(remote, entry, offset, end)
        with pytest.raises(IntegrityError):
            await taken(remote, replace(entry, size=2 * entry.size), entry.size + 5, 5)
