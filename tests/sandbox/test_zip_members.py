"""A look into zip files: honest ones, and those that lie."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwsync.sandbox import Sandbox
from fwsync.sandbox.content import zipview
from fwsync.sandbox.formats.zips import Zip
from fwsync.sandbox.problems import ApiError
from tests.sandbox.api import Answer, Api, Tree, client

WHEN = (2026, 1, 2, 3, 4, 6)
NOISE = hashlib.shake_128(b"seed").digest(1_500_000)


def zipped(
    members: dict[str, bytes],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
    force_zip64: bool = False,
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.comment = comment
        for name, content in members.items():
            info = zipfile.ZipInfo(name, WHEN)
            info.compress_type = method
            info.comment = f"of {name}".encode()
            with file.open(info, "w", force_zip64=force_zip64) as member:
                member.write(content)
    return made.getvalue()


def patched(data: bytes, at: int, **fields: int) -> bytes:
    """The zip with some numbers of its directory changed; ``at`` is that of the entry."""
    places = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<L")} | {
        "packed": (20, "<L"),
        "size": (24, "<L"),
        "offset": (42, "<L"),
    }
    changed = bytearray(data)
    for name, value in fields.items():
        place, form = places[name]
        struct.pack_into(form, changed, at + place, value)
    return bytes(changed)


def directory(data: bytes) -> int:
    return data.index(b"PK\1\2")


async def put(api: Api, tree: Tree, content: bytes) -> tuple[str, str]:
    """The paths of an uploaded zip: by name and by id."""
    [entry] = await api.upload(f"projects/{tree.project}", {"a.zip": content})
    return f"/projects/{tree.project}/files/a.zip", f"/files/{entry['file_id']}"


async def read(api: Api, path: str, member: str) -> Answer:
    return await api.ask("GET", path, params={"member": member})


@pytest.mark.row("file-zip", "files-zip")
@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
async def test_a_zip_is_listed_and_its_members_are_read(
    api: Api, tree: Tree, method: int, zip64: bool
) -> None:
    members = {
        "d/one.txt": b"one",
        "d/": b"",
        "é 日本.dcm": b"\0" * 700_000,
        "noise.bin": NOISE,
        "empty": b"",
    }
    data = zipped(members, method=method, comment="hellö".encode(), force_zip64=zip64)
    name, by_id = await put(api, tree, data)
    listing = await api.get(name, info="true")
    answers = {member: await read(api, name, member) for member in members}
    by_path = await api.ask("GET", f"{by_id}/zip_member/d%2Fone.txt")

    assert listing["comment"] == "hellö"
    assert listing["members"] == [
        {
            "path": path,
            "size": len(content),
            "timestamp": "2026-01-02T03:04:06+00:00",
            "comment": f"of {path}",
        }
        for path, content in members.items()
    ]
    assert await api.get(f"{by_id}/zip_info") == listing
    assert {member: answer.body for member, answer in answers.items()} == members
    assert by_path.body == b"one"
    assert answers["d/one.txt"].headers["Content-Type"] == "text/plain"
    assert answers["é 日本.dcm"].headers["Content-Type"] == "application/dicom"
    assert "Content-Disposition" not in answers["d/one.txt"].headers
    for member, content in members.items():
        assert answers[member].headers["Content-Length"] == str(len(content))


@pytest.mark.row("file-zip", "files-zip")
async def test_what_is_no_zip_or_has_no_such_member_is_400(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"a.txt": b"no zip"})
    text = f"/projects/{tree.project}/files/a.txt"
    name, by_id = await put(api, tree, zipped({"x": b"x"}))
    no_zip = [
        await api.ask("GET", text, params={"info": "true"}),
        await read(api, text, "x"),
    ]
    no_member = [
        await read(api, name, "y"),
        await read(api, name, ""),
        await read(api, name, "../x"),
        await api.ask("GET", f"{by_id}/zip_member/y"),
    ]

    assert [(one.status, one.message) for one in no_zip] == [(400, "not a zip file")] * 2
    assert {(one.status, one.message) for one in no_member} == {
        (400, "zip file contains no such member")
    }
    assert (await api.get(name, info="false", ticket=""))["ticket"]


@pytest.mark.row("file-zip", "files-zip", "file-ticket")
async def test_a_ticket_opens_the_zip_too(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    name, by_id = await put(api, tree, zipped({"x": b"old"}))
    ticket = (await api.get(name, ticket="", version=1))["ticket"]
    answer = await api.ask("POST", f"{by_id}/ticket", params={"version": 1})
    await put(api, tree, zipped({"x": b"new"}))
    other = answer.json["ticket"]

    async with client(sandbox.url, "") as nobody:
        listing = await nobody.get(name, ticket=ticket, info="true")
        member = await nobody.ask("GET", name, params={"ticket": ticket, "member": "x"})
        same = await nobody.get(f"{by_id}/zip_info", ticket=other)
        path = f"{by_id}/zip_member/x"
        again = await nobody.ask("GET", path, params={"ticket": other})
        whole = await nobody.ask("GET", f"{by_id}/download", params={"ticket": other})
        stranger = await nobody.ask("GET", path, params={"ticket": ticket})

    assert listing == same
    assert listing["members"][0]["path"] == "x"
    assert member.body == again.body == b"old"
    assert whole.body == zipped({"x": b"old"})
    assert stranger.status == 400
    assert (await api.ask("GET", path)).body == b"new"
    assert (await api.ask("GET", path, params={"version": 1})).body == b"old"


async def test_head_tells_the_length_of_a_member(api: Api, tree: Tree) -> None:
    name, _ = await put(api, tree, zipped({"x.txt": b"x" * 70_000}))
    head = await api.ask("HEAD", name, params={"member": "x.txt"})

    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "70000")
    assert head.headers["Content-Type"] == "text/plain"


async def test_bytes_before_the_zip_and_a_comment_that_looks_like_an_end(
    api: Api, tree: Tree
) -> None:
    comment = b"PK\5\6" + b"\xff" * 18 + b" and PK\5\6"
    data = b"#!/bin/sh\n" * 50 + zipped({"x": b"content"}, comment=comment)
    name, _ = await put(api, tree, data)
    listing = await api.get(name, info="true")

    assert listing["members"][0]["path"] == "x"
    assert listing["comment"] == comment.decode("utf-8", "replace")
    assert (await read(api, name, "x")).body == b"content"


async def test_of_two_equal_paths_the_last_is_read(api: Api, tree: Tree) -> None:
    name, _ = await put(api, tree, zipped({"x": b"first", "y": b"second"}).replace(b"y", b"x"))

    assert len((await api.get(name, info="true"))["members"]) == 2
    assert (await read(api, name, "x")).body == b"second"


async def test_an_empty_zip_has_no_members(api: Api, tree: Tree) -> None:
    name, _ = await put(api, tree, zipped({}))

    assert await api.get(name, info="true") == {"comment": "", "members": []}


async def test_a_time_that_cannot_be_is_null(api: Api, tree: Tree) -> None:
    data = bytearray(zipped({"x": b"x"}))
    struct.pack_into("<HH", data, directory(bytes(data)) + 12, 0xFFFF, 0)
    name, _ = await put(api, tree, bytes(data))

    assert (await api.get(name, info="true"))["members"][0]["timestamp"] is None


def far_beyond(data: bytes, offset: int) -> bytes:
    """The zip, its only member at a place that needs 64 bits."""
    at, end = directory(data), data.index(b"PK\5\6")
    entry = bytearray(patched(data, at, offset=0xFFFFFFFF)[at:end])
    field = struct.pack("<2HQ", 1, 8, offset)
    struct.pack_into("<H", entry, 30, len(field))
    name_ends = 46 + struct.unpack_from("<H", entry, 28)[0]
    entry[name_ends:name_ends] = field
    last = bytearray(data[end:])
    struct.pack_into("<L", last, 12, len(entry))
    return data[:at] + bytes(entry) + bytes(last)


def lies() -> list[tuple[str, bytes]]:
    """What is wrong, and a zip with it in its member ``x``."""
    content = b"content " * 1000
    data = zipped({"x": content})
    stored = zipped({"x": content}, method=zipfile.ZIP_STORED)
    packed = zipped({"x": content}, method=zipfile.ZIP_BZIP2)
    at, stored_at = directory(data), directory(stored)
    truth = zlib.crc32(content)
    return [
        ("checksum", patched(data, at, crc=truth ^ 1)),
        ("a flipped byte", stored.replace(b"content ", b"contend ", 1)),
        ("encrypted", patched(data, at, flags=1)),
        ("strongly encrypted", patched(data, at, flags=0x41)),
        ("unknown method", patched(data, at, method=99)),
        ("lzma", patched(data, at, method=14)),
        ("stored, not deflated", patched(data, at, method=0)),
        ("deflated, not stored", patched(stored, stored_at, method=8)),
        ("bzip2, not deflated", patched(data, at, method=12)),
        ("broken bzip2", packed[:60] + b"\0\0\0\0" + packed[64:]),
        ("larger than it says", patched(data, at, size=len(content) - 1)),
        ("smaller than it says", patched(data, at, size=len(content) + 1)),
        ("absurdly large", patched(data, at, size=0xFFFFFFFE)),
        ("absurd and stored", patched(stored, stored_at, size=0xFFFFFFF0, packed=0xFFFFFFF0)),
        ("beyond the end", patched(data, at, packed=0x7FFFFFFF)),
        ("cut short", patched(data, at, packed=10)),
        ("elsewhere", patched(data, at, offset=7)),
        ("far away", patched(data, at, offset=0xFFFFFFF0)),
        ("beyond what a file can have", far_beyond(data, (1 << 63) - 1)),
        ("beyond what a number can have", far_beyond(data, (1 << 64) - 1)),
    ]


@pytest.mark.row("file-zip", "error-shape")
@pytest.mark.parametrize(("what", "data"), lies(), ids=[what for what, _ in lies()])
async def test_a_member_that_lies_is_400_before_the_first_byte(
    api: Api, tree: Tree, what: str, data: bytes
) -> None:
    name, by_id = await put(api, tree, data)
    answer = await read(api, name, "x")

    assert answer.status == 400, what
    assert answer.json["status_code"] == 400
    assert (await api.ask("GET", f"{by_id}/zip_member/x")).status == 400
    assert (await api.get(name, info="true"))["members"][0]["path"] == "x"


def broken() -> list[tuple[str, bytes]]:
    data = zipped({"x": b"content", "y": b"more"})
    at, end = directory(data), data.index(b"PK\5\6")
    return [
        ("nothing", b""),
        ("only the end", b"PK\5\6"),
        ("the end is cut", data[:-1]),
        ("a directory that begins before the file", data[end:]),
        ("a directory of zeros", data[:at] + bytes(end - at) + data[end:]),
        ("the second entry is no entry", data.replace(b"PK\1\2", b"PK\1\3").replace(
            b"PK\1\3", b"PK\1\2", 1)),
        ("a name longer than the directory", data[: at + 28] + b"\xff\xff" + data[at + 30 :]),
        ("a directory longer than the file", data[: end + 12] + b"\xff" * 4 + data[end + 16 :]),
        ("a directory that is too short", data[: end + 12] + b"\x3c\0\0\0" + data[end + 16 :]),
        ("a place that is too large", data[: end + 16] + b"\xff" * 4 + data[end + 20 :]),
    ]  # fmt: skip


@pytest.mark.row("file-zip")
@pytest.mark.parametrize(("what", "data"), broken(), ids=[what for what, _ in broken()])
async def test_a_broken_directory_is_no_zip(api: Api, tree: Tree, what: str, data: bytes) -> None:
    name, _ = await put(api, tree, data)
    listing = await api.ask("GET", name, params={"info": "true"})

    assert (listing.status, listing.message) == (400, "not a zip file"), what
    assert (await read(api, name, "x")).status == 400


def bomb(size: int) -> bytes:
    """A member that unpacks to very many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    chunk, crc, packed = bytes(1 << 20), 0, []
    for _ in range(size >> 20):
        crc = zlib.crc32(chunk, crc)
        packed.append(packer.compress(chunk))
    data = b"".join([*packed, packer.flush()])
    sizes = (crc, len(data), size)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes, 1, 0)
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 1, 0, 0, 0, 0, 0, 0)
    body = local + b"x" + data
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry) + 1, len(body), 0)
    return body + entry + b"x" + end


async def test_what_unpacks_to_very_much_is_never_in_memory(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    size = 96 << 20
    name, _ = await put(api, tree, bomb(size))
    tracemalloc.start()
    answer = await api.ask("HEAD", name, params={"member": "x"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer.headers["Content-Length"] == str(size)
    assert most < 8 << 20


async def test_a_large_member_arrives_whole(api: Api, tree: Tree) -> None:
    content = NOISE * 4 + bytes(5_000_000)
    name, _ = await put(api, tree, zipped({"x": content}))

    assert (await read(api, name, "x")).body == content


def test_a_directory_of_very_many_is_listed_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, *[0] * 9, 0)
    entry = entry[:28] + struct.pack("<H", 8) + entry[30:]
    count = 20_000
    with path.open("wb") as file:
        for number in range(count):
            file.write(entry + b"%08d" % number)
        length = file.tell()
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, 0, 0))
    tracemalloc.start()
    with Zip(path) as opened:
        seen = sum(1 for _ in opened.entries())
        last = opened.find(f"{count - 1:08d}")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (seen, last.size) == (count, 0)
    assert most < 1 << 20


def listed(path: Path) -> dict[str, bytes]:
    with Zip(path) as opened:
        return {one.path: b"".join(opened.content(one)) for one in opened.entries()}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    members=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1),
        st.binary(max_size=300),
        max_size=4,
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]),
    before=st.binary(max_size=30),
)
def test_any_zip_is_read_as_it_was_written(
    tmp_path: Path, members: dict[str, bytes], method: int, before: bytes
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, method)
    path = tmp_path / "any.zip"
    path.write_bytes(before + made.getvalue())

    assert listed(path) == members


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
    data=st.sampled_from(
        [zipped({"x": b"ab" * 90, "y": b"z"}, force_zip64=z) for z in (True, False)]
    ),
)
def test_damage_is_400_or_harmless(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int, data: bytes
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    path = tmp_path / "damaged.zip"
    path.write_bytes(bytes(damaged[: len(damaged) - cut] if cut < 60 else damaged))
    with suppress(ApiError):  # anything else fails the test
        listed(path)


@pytest.mark.row("file-zip")
async def test_no_descriptor_stays_open(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    name, _ = await put(api, tree, zipped({"x": NOISE * 2}))
    await api.upload(f"projects/{tree.project}", {"bad.zip": b"no zip"})
    look: Callable[[], int] = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731, PTH208
    before = look()
    for _ in range(20):
        await read(api, name, "x")
        await read(api, name, "y")
        await api.ask("GET", f"/projects/{tree.project}/files/bad.zip", params={"info": "true"})

    assert look() <= before + 2


async def test_a_client_that_goes_away_ends_the_work(
    sandbox: Sandbox, api: Api, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = await put(api, tree, zipped({"x": b"x"}))
    monkeypatch.setattr(zipview._Slices, "next", lambda _: b"endless")
    _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    key = sandbox.api_key.rpartition(":")[2]
    head = f"GET /api{name}?member=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    def seen() -> list[int]:
        log = sandbox.site.requests.recent
        return [one["status"] for one in log if one["path"].endswith(name)]

    while not seen():
        await api.get("/version")

    assert seen() == [499]
