from __future__ import annotations

import asyncio
import io
import tarfile
import zipfile
from typing import Any, get_args

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.faults.script import ForeignKind
from tests.sandbox.api import Api, Tree
from tests.sandbox.raw import hear, unchunked

FILES = {f"f{number}": bytes([number]) * 1000 for number in range(1, 5)}
CALM = [kind for kind in get_args(ForeignKind) if kind not in ("endless", "huge", "many", "sparse")]


@pytest.fixture
async def ticket(api: Api, tree: Tree) -> str:
    await api.upload(f"acquisitions/{tree.acquisition}", FILES)
    body = {"nodes": [{"level": "acquisition", "_id": tree.acquisition}]}
    made: str = (await api.post("/download", body))["ticket"]
    return made


async def fetch(sandbox: Sandbox, ticket: str, action: dict[str, Any]) -> bytes:
    sandbox.site.faults.replace({"match": {"path": "/download"}, "action": action})
    heard = await hear(sandbox, "GET", f"/download?ticket={ticket}")
    content, whole = unchunked(heard.body)
    assert whole
    return content


def members(content: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return archive.getmembers()


def names(content: bytes) -> list[str]:
    return [one.name.rpartition("/")[2] for one in members(content)]


async def test_members_are_dropped(sandbox: Sandbox, ticket: str) -> None:
    one = await fetch(sandbox, ticket, {"drop_member": 2})
    two = await fetch(sandbox, ticket, {"drop_member": [1, 4, 9]})

    assert names(one) == ["f1", "f3", "f4"]
    assert names(two) == ["f2", "f3"]


@pytest.mark.parametrize("kind", CALM)
@pytest.mark.row("sandbox-faults")
async def test_a_member_that_nobody_asked_for_stands_where_it_is_told(
    sandbox: Sandbox, ticket: str, kind: str
) -> None:
    first = members(await fetch(sandbox, ticket, {"add_member": kind}))
    third = members(await fetch(sandbox, ticket, {"add_member": {"kind": kind, "at": 3}}))
    last = members(await fetch(sandbox, ticket, {"add_member": {"kind": kind, "at": 99}}))
    extra = len(first) - len(FILES)

    assert extra == (2 if kind == "through" else 1)
    for found, at in ((first, 0), (third, 2), (last, 4)):
        asked = found[:at] + found[at + extra :]
        assert [one.name[-2:] for one in asked] == list(FILES)
        assert not found[at].name.endswith(tuple(FILES))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dotdot", "../../../outside.txt"),
        ("absolute", "/outside.txt"),
        ("backslash", "..\\..\\outside.txt"),
        ("drive", "C:\\outside.txt"),
        ("control", "-rf line\nbreak \x1b[31mred.txt"),
        ("pax", "../../../outside.txt"),
    ],
)
async def test_names_that_lead_out(sandbox: Sandbox, ticket: str, kind: str, name: str) -> None:
    found = members(await fetch(sandbox, ticket, {"add_member": kind}))

    assert found[0].name == name
    assert found[0].isreg()


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("symlink", tarfile.SYMTYPE),
        ("hardlink", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
        ("fifo", tarfile.FIFOTYPE),
        ("unknown", b"Z"),
    ],
)
async def test_types_that_are_no_files(
    sandbox: Sandbox, ticket: str, kind: str, type_: bytes
) -> None:
    [found, *_] = members(await fetch(sandbox, ticket, {"add_member": kind}))

    assert found.type == type_
    assert found.linkname == ("/etc/hostname" if kind.endswith("link") else "")


async def test_a_file_through_a_link(sandbox: Sandbox, ticket: str) -> None:
    [link, file, *_] = members(await fetch(sandbox, ticket, {"add_member": "through"}))

    assert link.issym()
    assert link.linkname == "../.."
    assert file.name == f"{link.name}/outside.txt"


async def test_a_file_with_setuid_and_one_with_a_name_of_choice(
    sandbox: Sandbox, ticket: str
) -> None:
    chosen = {"kind": "unasked", "name": "é" * 150, "size": 3}
    found = members(await fetch(sandbox, ticket, {"add_member": ["setuid", chosen]}))

    assert found[0].mode & 0o4000
    assert (found[1].name, found[1].size) == ("é" * 150, 3)


async def test_a_sparse_member_claims_a_tebibyte(sandbox: Sandbox, ticket: str) -> None:
    found = members(await fetch(sandbox, ticket, {"add_member": "sparse"}))

    assert found[0].issparse()
    assert found[0].size == 1 << 40
    assert [one.name[-2:] for one in found[1:]] == list(FILES)


async def test_as_many_members_as_one_likes(sandbox: Sandbox, ticket: str) -> None:
    told = {"add_member": {"kind": "many", "size": 3000}}
    found = members(await fetch(sandbox, ticket, told))

    assert len(found) == 3004
    assert found[2999].name == "many/2999"


@pytest.mark.parametrize(("kind", "size"), [("endless", 1 << 62), ("huge", 1 << 40)])
async def test_sizes_that_no_disk_holds(
    sandbox: Sandbox, ticket: str, kind: str, size: int
) -> None:
    sandbox.site.faults.add({"match": {"path": "/download"}, "action": {"add_member": kind}})
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /api/download?ticket={ticket} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await reader.readline()
    head = tarfile.TarInfo.frombuf(await reader.readexactly(512), "utf-8", "strict")
    if kind == "endless":
        for _ in range(40):
            await reader.readexactly(100_000)
    writer.transport.abort()

    assert head.size == size


@pytest.mark.parametrize("kind", ["endless", "many", "unasked"])
async def test_a_zip_has_nothing_that_nobody_asked_for(
    sandbox: Sandbox, api: Api, ticket: str, kind: str
) -> None:
    action = {"add_member": kind, "drop_member": 2}
    sandbox.site.faults.add({"match": {"path": "/download"}, "action": action})
    answer = await api.ask("GET", "/download", params={"ticket": ticket, "format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        found = [name.rpartition("/")[2] for name in archive.namelist()]

    assert found == ["f1", "f3", "f4"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("duplicate", [("f1", 1000), ("f2", 1000), ("f2", 1000), ("f3", 1000), ("f4", 1000)]),
        ("oversized", [("f1", 1000), ("f2", 1000 + (1 << 20)), ("f3", 1000), ("f4", 1000)]),
        ("shortened", [("f1", 1000), ("f2", 500), ("f3", 1000), ("f4", 1000)]),
        ("renamed", [("f1", 1000), ("f2.renamed", 1000), ("f3", 1000), ("f4", 1000)]),
        ("missing", [("f1", 1000), ("f2.MISSING", 0), ("f3", 1000), ("f4", 1000)]),
    ],
)
async def test_a_member_that_is_not_as_it_should_be(
    sandbox: Sandbox, ticket: str, change: str, found: list[tuple[str, int]]
) -> None:
    content = await fetch(sandbox, ticket, {"add_member": {"kind": change, "at": 2}})
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        got = [(one.name.rpartition("/")[2], one.size) for one in archive]
        second = archive.extractfile(archive.getmembers()[1])
        assert second is not None
        begin = second.read(500)

    assert got == found
    assert begin == (b"" if change == "missing" else FILES["f2"][:500])


async def test_the_second_of_two_of_one_name_has_other_bytes(sandbox: Sandbox, ticket: str) -> None:
    content = await fetch(sandbox, ticket, {"add_member": {"kind": "duplicate", "at": 1}})
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        one, two, *_ = [archive.extractfile(each) for each in archive]
        assert one is not None
        assert two is not None

        assert one.read() == FILES["f1"]
        assert two.read() not in (FILES["f1"], b"")


async def test_the_end_may_be_missing_truncated_or_followed_by_junk(
    sandbox: Sandbox, ticket: str
) -> None:
    whole = await fetch(sandbox, ticket, {"delay_s": 0})
    missing = await fetch(sandbox, ticket, {"archive_end": "missing"})
    truncated = await fetch(sandbox, ticket, {"archive_end": "truncated"})
    junk = await fetch(sandbox, ticket, {"archive_end": "junk"})

    assert missing == whole[:-1024]
    assert truncated == whole[:-1024] + bytes(256)
    assert junk.startswith(whole + b"junk")


async def test_the_next_archive_is_whole_again(sandbox: Sandbox, api: Api, ticket: str) -> None:
    sandbox.site.faults.add({"match": {"times": 1}, "action": {"drop_member": 1}})
    first, second = await api.tar(ticket), await api.tar(ticket)

    assert (len(first), len(second)) == (3, 4)
