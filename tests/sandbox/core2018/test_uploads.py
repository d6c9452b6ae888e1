from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.core2018.old import (
    FORM,
    STORED,
    Old,
    OldTree,
    Part,
    form,
    old_client,
    raw,
    wire,
)

UPLOAD = wire("upload.json")


def left_aside(server: Sandbox) -> list[Path]:
    """Files that were not finished and not removed."""
    return list((server.site.settings.data / "incoming").iterdir())


async def test_the_reply_to_an_upload_is_a_list_of_one_record(old: Old, tree: OldTree) -> None:
    answer = await old.send(
        f"/acquisitions/{tree.acquisition}/files", Part("file", b"x" * 100, "a.nii.gz")
    )
    [record], [expected] = answer.json, UPLOAD["new"]

    assert list(expected) == list(record)
    assert (100, "nifti", None, [], {}, []) == tuple(
        record[name] for name in ("size", "type", "modality", "tags", "info", "measurements")
    )
    assert record["hash"] == "v0-sha384-" + hashlib.sha384(b"x" * 100).hexdigest()
    assert record["origin"] == {"type": "user", "id": "admin@sandbox.local"}
    assert record["created"] == record["modified"]


async def test_the_next_read_has_lost_the_microseconds(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    told = await old.put(where, "a.txt", b"1")
    found = await old.get(f"/{where}/files/a.txt/info")

    assert list(UPLOAD["stored"]) == list(found)
    assert STORED.fullmatch(found["modified"])
    assert found["modified"][:23] == told["modified"][:23].partition("+")[0]


async def test_a_name_again_overwrites_and_only_created_is_missing(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    first = await old.put(where, "a.txt", b"1", tags=["t"], info={"a": 1})
    second = await old.put(where, "a.txt", b"22")
    [entry] = (await old.get(f"/{where}"))["files"]

    assert list(UPLOAD["replaced"][0]) == list(second)
    assert entry["created"][:23] == first["created"][:23].partition("+")[0]
    assert (2, [], {}) == (entry["size"], entry["tags"], entry["info"])
    assert not {"version", "file_id", "replaced"} & entry.keys()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("filename", [None, ""])
async def test_metadata_may_come_before_or_after_and_name_the_file(
    old: Old, tree: OldTree, after: bool, filename: str | None
) -> None:
    told = {
        "name": "other.txt",
        "type": "special",
        "modality": "MR",
        "measurements": ["t1", "t2"],
        "tags": ["x"],
        "info": {"a.b": 1},
    }
    parts = [
        Part("metadata", json.dumps(told).encode(), filename),
        Part("file", b"1", "a.nii.gz"),
    ]
    path = f"/acquisitions/{tree.acquisition}/files"
    await old.send(path, *(reversed(parts) if after else parts))
    found = await old.get(f"{path}/other.txt/info")

    assert {**told, "info": {"a_b": 1}}.items() <= found.items()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (b"{", 'wrong format for field "metadata"'),
        (b'{"size": 1}', "Additional properties are not allowed (u'size' was unexpected)"),
        (b'{"tags": "x"}', "u'x' is not of type u'array'"),
    ],
)
async def test_wrong_metadata_are_400(
    old: Old, tree: OldTree, metadata: bytes, message: str
) -> None:
    answer = await old.send(
        f"/acquisitions/{tree.acquisition}/files",
        Part("metadata", metadata),
        Part("file", b"1", "a.txt"),
    )

    assert answer.status == 400
    assert answer.message.startswith(message)


async def test_two_files_are_refused(old: Old, tree: OldTree) -> None:
    parts = [Part("file1", b"1", "a.txt"), Part("file2", b"2", "b.txt")]
    answer = await old.send(f"/acquisitions/{tree.acquisition}/files", *parts)

    assert (400, "Targeted uploads can only send one file") == (answer.status, answer.message)
    assert (await old.get(f"/acquisitions/{tree.acquisition}"))["files"] == []


@pytest.mark.parametrize("part", [Part("file", b"1"), Part("file", b"1", "")])
async def test_no_file_is_200_and_nothing(old: Old, tree: OldTree, part: Part) -> None:
    answer = await old.send(f"/acquisitions/{tree.acquisition}/files", part)

    assert (200, b"[]") == (answer.status, answer.body)
    assert (await old.get(f"/acquisitions/{tree.acquisition}"))["files"] == []


async def test_a_chunked_body_is_200_and_nothing(old: Old, tree: OldTree) -> None:
    body = form(Part("file", b"1", "a.txt"))
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    path = f"/acquisitions/{tree.acquisition}/files"
    answer = await raw(
        old, "POST", path, chunked, Transfer_Encoding="chunked", Content_Type=FORM["Content-Type"]
    )

    assert (200, b"[]") == (answer.status, answer.body)
    assert (await old.get(f"/acquisitions/{tree.acquisition}"))["files"] == []


async def test_a_body_that_ends_early_is_stored_as_a_whole_file(old: Old, tree: OldTree) -> None:
    path = f"/acquisitions/{tree.acquisition}/files"
    answer = await old.send(path, Part("file", b"half of", "a.txt"), closed=False)
    content = await old.ask("GET", f"{path}/a.txt")

    assert (200, 7) == (answer.status, answer.json[0]["size"])
    assert content.body == b"half of"


async def test_a_connection_that_drops_stores_nothing(
    server: Sandbox, old: Old, tree: OldTree
) -> None:
    body = form(Part("file", b"x" * 3_000_000, "a.txt"))
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/acquisitions/{tree.acquisition}/files HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: scitran-user {old.key.rpartition(':')[2]}\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body[:2_000_000]
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    while "POST" not in {entry["method"] for entry in list(server.site.requests.recent)[-1:]}:
        await asyncio.sleep(0)
    await asyncio.to_thread(server.site.blobs.close)

    assert left_aside(server) == []
    record = await server.site.records.read(lambda db: db.execute("SELECT 1 FROM files").fetchall())
    assert record == []


async def test_no_100_is_sent_before_the_body(old: Old, tree: OldTree) -> None:
    body = form(Part("file", b"1", "a.txt"))
    path = f"/acquisitions/{tree.acquisition}/files"
    answer = await raw(
        old, "POST", path, body, Expect="100-continue", Content_Type=FORM["Content-Type"]
    )

    assert answer.status == 200


async def test_todays_server_does_send_it(sandbox: Sandbox) -> None:
    async with old_client(sandbox.url, sandbox.api_key) as modern:
        answer = await raw(modern, "POST", "/groups", b'{"_id": "lab"}', Expect="100-continue")

    assert answer.status == 100


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("dir/sub/../evil.txt", "evil.txt"),
        ("a b;c.txt", "a b;c.txt"),
        ("été 日本.txt", "été 日本.txt"),
        ("a%22b.txt", "a%22b.txt"),
        ("a\\b.txt", "a\\b.txt"),
    ],
)
async def test_names_keep_their_last_component_as_it_is(
    old: Old, tree: OldTree, sent: str, kept: str
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    record = await old.put(where, sent, b"1")
    answer = await old.ask("GET", f"/{where}/files/{quote(kept.replace('%', '%25'), safe='%')}")

    assert kept == record["name"]
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{kept}"'


@pytest.mark.parametrize("name", ["..", "dir/", "x" * 256])
async def test_impossible_names_are_500(
    server: Sandbox, old: Old, tree: OldTree, name: str
) -> None:
    path = f"/acquisitions/{tree.acquisition}/files"
    answer = await old.send(path, Part("file", b"1", name))

    assert answer.status == 500
    assert left_aside(server) == []


async def test_a_device_is_the_origin_with_its_method_and_name(
    old: Old, reaper: Old, tree: OldTree
) -> None:
    record = await reaper.put(f"acquisitions/{tree.acquisition}", "a.dcm", b"1")

    assert record["origin"] == {
        "type": "device",
        "id": "reaper_scanner_1",
        "method": "reaper",
        "name": "scanner 1",
    }
