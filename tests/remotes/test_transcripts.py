"""The client against what was seen on the wire; no sandbox has a say in this."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fwsync import errors
from fwsync.errors import Garbled
from fwsync.model import ContainerRef, Level, RelPath, RemoteEntry
from fwsync.remotes.faults import Cleaner, error_for_status, reason_in
from fwsync.remotes.flywheel_fetch import Fetch, reading
from fwsync.remotes.flywheel_wire import container_of, file_of, page_of
from fwsync.remotes.http import Api
from fwsync.remotes.multipart import FilePart, form
from fwsync.remotes.strays import Oddity
from tests.fixtures import transcripts
from tests.fixtures.upload import Text
from tests.remotes.conftest import KEY, serving

ERRORS = transcripts.load("errors.json")
RANGES = transcripts.load("ranges.json")
BOUNDARY = "b" * 32
PATHS = transcripts.load("tar-paths.json")
ENTRIES = transcripts.load("entries.json")


@pytest.mark.parametrize("seen", ERRORS, ids=lambda seen: str(seen["name"]))
def test_an_error_is_understood(seen: dict[str, Any]) -> None:
    body = seen["text"] if "text" in seen else json.dumps(seen.get("body", ""))
    said = reason_in(body.encode(), seen.get("type", ""), Cleaner(KEY))

    error = error_for_status(seen["status"], "a request", said)

    assert getattr(errors, seen["client"]["error"]) is type(error)
    assert seen["client"].get("reason", said) == said
    assert said in str(error)


# ------------------------------------------------------------------------------------ ranges


def entry_of(name: str, size: int, container: str = "a" * 24, level: Level | None = None) -> Any:
    at = ContainerRef(level or Level.ACQUISITION, container)
    return RemoteEntry(RelPath(name), size, "etag", None, at, name)


def answers() -> dict[str | None, dict[str, Any]]:
    return {row["range"]: row for row in RANGES["rows"]}


async def replay(request: web.Request) -> web.StreamResponse:
    """What the transcript says; a range that it does not have is a mistake of the test."""
    row = answers()[request.headers.get("Range")]
    headers = {"Content-Range": row["content_range"]} if "content_range" in row else {}
    return web.Response(status=row["status"], headers=headers, body=row.get("body", "").encode())


@pytest.mark.parametrize("offset", [0, 4])
async def test_a_file_is_read_from_any_place(offset: int) -> None:
    content = RANGES["content"].encode()
    async with (
        serving(replay) as url,
        Api(url, KEY) as api,
        reading(api, entry_of("six.txt", 6), offset) as chunks,
    ):
        read = b"".join([chunk async for chunk in chunks])

    assert content[offset:] == read


@pytest.mark.parametrize("offset", [2, 5])
async def test_a_server_that_ignores_ranges_is_read_past(offset: int) -> None:
    async def whole(_: web.Request) -> web.StreamResponse:
        return web.Response(body=answers()[None]["body"].encode())

    async with (
        serving(whole) as url,
        Api(url, KEY) as api,
        reading(api, entry_of("six.txt", 6), offset) as chunks,
    ):
        read = b"".join([chunk async for chunk in chunks])

    assert RANGES["content"].encode()[offset:] == read


async def test_another_range_than_asked_for_is_garbled() -> None:
    async def other(_: web.Request) -> web.StreamResponse:
        row = answers()["bytes=1-2"]
        headers = {"Content-Range": row["content_range"]}
        return web.Response(status=206, headers=headers, body=row["body"].encode())

    async with serving(other) as url, Api(url, KEY) as api:
        with pytest.raises(Garbled):
            async with reading(api, entry_of("six.txt", 6), 4) as chunks:
                assert [] == [chunk async for chunk in chunks]


# ---------------------------------------------------------------------------------- archives

IDS = {"project": "1" * 24, "subject": "2" * 24, "session": "3" * 24, "acquisition": "a" * 24}


def tar_of(names: dict[str, str]) -> bytes:
    """An archive with these names; each member holds its level's name. GNU long names, core18."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for level, name in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(level)
            archive.addfile(member, io.BytesIO(level.encode()))
    return raw.getvalue()


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.mark.parametrize("age", ["current", "older"])
async def test_a_bulk_archive_is_matched_by_the_ids_of_containers(age: str) -> None:
    names = transcripts.filled(PATHS["bulk"][age], IDS)
    wanted = [
        entry_of(PATHS["files"][level], len(level), IDS[level], Level(level)) for level in names
    ]

    fetch = Fetch(wanted, once(tar_of(names)))
    found = {}
    async for member in fetch:
        content = b"".join([chunk async for chunk in member.chunks])
        found[member.entry.container.level.value] = content.decode()

    assert {level: level for level in names} == found
    assert {} == fetch.strays.counts


@pytest.mark.parametrize("which", ["classic", "classic without a prefix", "full"])
async def test_names_by_labels_are_never_taken_for_files_that_were_asked_for(which: str) -> None:
    names = transcripts.filled(PATHS[which]["current"], IDS)
    wanted = [
        entry_of(PATHS["files"][level], len(level), IDS[level], Level(level)) for level in names
    ]

    fetch = Fetch(wanted, once(tar_of(names)))

    assert [] == [member.entry.name async for member in fetch]
    assert {Oddity.EXTRA: len(names), Oddity.WITHHELD: len(names)} == fetch.strays.counts


# ------------------------------------------------------------------------------------ entries


@pytest.mark.parametrize("which", ["least", "signed"])
def test_an_entry_is_read_field_by_field(which: str) -> None:
    seen = ENTRIES[which]["entry"]

    file = file_of(seen, "the list")

    assert (seen["name"], seen["size"], seen["hash"], seen["version"]) == (
        file.name,
        file.size,
        file.hash,
        file.version,
    )
    assert (seen["file_id"], seen["parent_ref"]["id"]) == (file.file_id, file.parent_id)
    assert seen["parent_ref"]["type"] == (file.level.value if file.level else None)
    at = ContainerRef(Level(seen["parent_ref"]["type"]), file.parent_id)
    entry = file.entry(RelPath("hello.txt"), at)
    assert (entry.digest is None) is (seen["hash"] == "")
    assert entry.etag
    assert file.modified_ns // 10**9 == 1_793_527_200  # 2026-11-01T10:00:00Z


def test_an_entry_that_does_not_say_where_it_lies_is_no_entry() -> None:
    with pytest.raises(Garbled):
        file_of(ENTRIES["older"]["entry"], "the list")


def test_lists_come_plain_and_in_pages() -> None:
    pages = transcripts.load("pages.json")

    plain = page_of(pages["plain"], "subjects")
    paged = page_of(pages["object"], "subjects")

    assert (None, 2) == (plain.total, len(plain.items))
    assert (7, 1) == (paged.total, len(paged.items))
    assert [] == page_of(pages["empty"], "subjects").items
    assert ["sub-01", "sub-02"] == [
        container_of(one, Level.SUBJECT, "subjects").label for one in plain.items
    ]


# ------------------------------------------------------------------------------------ uploads


async def test_our_form_is_read_like_that_of_the_sdk() -> None:
    theirs = transcripts.text("upload-form.txt").replace("{boundary}", BOUNDARY).encode()
    sent: list[bytes] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        sent.append(await request.read())
        return web.Response()

    upload = Text(RelPath("h2.txt"), b"hello")
    body = form([FilePart(upload, "h2.txt")], BOUNDARY, {"name": "h2.txt"})
    async with (
        serving(keep) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=body) as answer,
    ):
        assert 200 == answer.status

    assert [("metadata", None), ("file", "h2.txt")] == [one[:2] for one in fields(theirs)]
    assert fields(theirs)[1] == fields(sent[0])[1]
    assert ("metadata", None, b'{"name": "h2.txt"}') == fields(sent[0])[0]


def fields(body: bytes) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and content of each part, as Python's own reader of mail sees them."""
    head = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    found = []
    for part in message_from_bytes(head.encode() + body, policy=HTTP).iter_parts():
        disposition = part["Content-Disposition"]
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((disposition.params["name"], disposition.params.get("filename"), content))
    return found
