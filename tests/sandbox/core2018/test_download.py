from __future__ import annotations

import re
import tarfile
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.core2018.download import TICKET_LIFE
from tests.sandbox.api import unpack
from tests.sandbox.core2018.old import Old, OldTree, old_client, raw
from tests.sandbox.core2018.tars import fill, nodes

END = bytes(10_240)


async def test_a_ticket_says_what_it_is_for(old: Old, tree: OldTree) -> None:
    await fill(old, tree)
    made = await old.post("/download", nodes(tree, "project"))
    bulk = {"container_name": "session", "container_id": tree.session, "filename": "sess.txt"}
    bulked = await old.post("/download", {"files": [bulk]}, bulk="true")

    assert ["ticket", "filename", "file_cnt", "size"] == list(made)
    assert re.fullmatch(r"scitran_\d{8}_\d{6}\.tar", made["filename"])
    assert (4, 15) == (made["file_cnt"], made["size"])
    assert {"ticket", "file_cnt", "size"} == bulked.keys()


@pytest.mark.row("sandbox-core-2018")
async def test_the_end_of_the_connection_is_the_end_of_the_tar(
    old: Old, nobody: Old, tree: OldTree
) -> None:
    await fill(old, tree)
    made = await old.post("/download", nodes(tree, "acquisition"))
    path = f"/download?ticket={made['ticket']}"
    answer = await raw(nobody, "GET", path, Range="bytes=0-1")
    again = await raw(nobody, "GET", path)

    assert (200, True) == (answer.status, answer.closed)
    assert (None, None) == (answer.header("Content-Length"), answer.header("Transfer-Encoding"))
    assert answer.header("Connection") == "Keep-Alive"
    assert answer.header("Content-Type") == "application/octet-stream"
    assert answer.header("Content-Disposition") == f"attachment; filename={made['filename']}"
    assert len(answer.body) == 512 + 512 + len(END)
    assert answer.body.endswith(END)
    assert answer.body == again.body


async def test_members_are_plain_files_in_gnu_form(server: Sandbox, old: Old) -> None:
    await old.ask("POST", "/groups", json={"_id": "lab"})
    project = await old.make("project", "P" * 120, group="lab")
    record = await old.put(f"projects/{project}", "a.txt", b"1")
    blob = server.site.blobs.path(record["hash"].removeprefix("v0-sha384-"))
    made = await old.post(
        "/download", {"optional": False, "nodes": [{"level": "project", "_id": project}]}
    )
    body = (await old.ask("GET", "/download", params={"ticket": made["ticket"]})).body
    with tarfile.open(fileobj=BytesIO(body), mode="r:") as archive:
        [member] = archive.getmembers()

    assert body[:13] == b"././@LongLink"
    assert body[257:265] == b"ustar  \0"
    assert (f"scitran/lab/{'P' * 120}/a.txt", 0o644, "root") == (
        member.name,
        member.mode,
        member.uname,
    )
    assert int(blob.stat().st_mtime) == member.mtime


async def test_links_lead_into_the_store_of_the_server(old: Old, tree: OldTree) -> None:
    record = await old.put(f"acquisitions/{tree.acquisition}", "acq.dcm", b"acq")
    made = await old.post("/download", nodes(tree, "acquisition"))
    params = {"ticket": made["ticket"], "symlinks": "true"}
    body = (await old.ask("GET", "/download", params=params)).body
    digest = record["hash"].removeprefix("v0-sha384-")
    with tarfile.open(fileobj=BytesIO(body), mode="r:") as archive:
        [member] = archive.getmembers()

    assert member.issym()
    assert f"v0/sha384/{digest[:2]}/{digest[2:4]}/{record['hash']}" == member.linkname


async def test_what_is_not_permitted_looks_like_what_is_not_there(
    old: Old, uma: Old, tree: OldTree
) -> None:
    await fill(old, tree)
    answer = await uma.ask("POST", "/download", json=nodes(tree, "project"))

    assert (404, "No requested containers could be found") == (answer.status, answer.message)


async def test_a_ticket_is_bound_to_an_address_and_ends(
    server: Sandbox, old: Old, tree: OldTree
) -> None:
    await fill(old, tree)
    made = (await old.post("/download", nodes(tree, "project")))["ticket"]
    ask = ("GET", f"/download?ticket={made}")
    elsewhere = await old.ask(*ask, headers={"X-Forwarded-For": "192.0.2.1"})
    held = server.site.tickets[made]
    server.site.tickets[made] = replace(held, made=held.made - TICKET_LIFE - 1)
    late = await old.ask(*ask)

    assert (400, "ticket not for this source IP") == (elsewhere.status, elsewhere.message)
    assert (404, "no such ticket") == (late.status, late.message)


async def test_the_summary_counts_by_type(old: Old, tree: OldTree) -> None:
    await fill(old, tree)
    found = await old.post("/download/summary", [{"level": "project", "_id": tree.project}])

    assert {"dicom", "text"} == found.keys()
    assert ("dicom", 1, 3 / (1 << 20)) == tuple(found["dicom"].values())
    assert ["_id", "count", "mb_total"] == list(found["text"])
    assert found["text"]["count"] == 3


@pytest.mark.parametrize(
    ("action", "length"),
    [
        ({"archive_end": "missing"}, 4 * 1024),
        ({"drop_member": 2, "archive_end": "missing"}, 3 * 1024),
        ({"cut_at": 2000}, 2000),
        ({"cut_at": 2000, "cut_with": "end"}, 2000),
    ],
)
@pytest.mark.row("sandbox-core-2018")
async def test_a_tar_may_end_early_under_200(
    server: Sandbox, old: Old, tree: OldTree, action: dict[str, Any], length: int
) -> None:
    await fill(old, tree)
    rule = {"match": {"path": "/download", "method": "GET"}, "action": action}
    made = await old.post("/download", nodes(tree, "project"))
    async with old_client(server.url, server.api_key) as admin:
        bearer = {"Authorization": f"Bearer {server.api_key.rpartition(':')[2]}"}
        laid = await admin.ask("POST", "/sandbox/faults", json=rule, headers=bearer)
    answer = await raw(old, "GET", f"/download?ticket={made['ticket']}")

    assert laid.status == 200, laid
    assert (200, True) == (answer.status, answer.closed)
    assert length == len(answer.body)


@pytest.mark.parametrize(
    ("label", "folder", "filename"),
    [("an 1", "an 1", "analysis_an 1.tar"), ("an/2: é", "an/2: ", "analysis_an2.tar")],
)
async def test_analyses_have_tickets_for_all_their_files_and_for_one(
    server: Sandbox, old: Old, nobody: Old, tree: OldTree, label: str, folder: str, filename: str
) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "two.txt", b"2")
    server.site.switches = server.site.switches.changed({"compat": ""})
    inputs = [{"type": "acquisition", "id": tree.acquisition, "name": "two.txt"}]
    analysis = (
        await old.post(f"/sessions/{tree.session}/analyses", {"label": label, "inputs": inputs})
    )["_id"]
    await old.upload(f"analyses/{analysis}", {"out.txt": b"out"})
    server.site.switches = server.site.switches.changed({"compat": "core-2018"})
    path = f"/sessions/{tree.session}/analyses/{analysis}/files"
    made = await old.get(path, ticket="")
    whole = await nobody.ask("GET", path, params={"ticket": made["ticket"]})
    one = (await old.get(f"{path}/out.txt", ticket=""))["ticket"]
    single = await nobody.ask("GET", f"{path}/out.txt", params={"ticket": one})
    node = {"level": "analysis", "_id": analysis}
    classic = await old.post("/download", {"optional": True, "nodes": [node]})

    assert ["ticket", "filename", "file_cnt", "size"] == list(made)
    assert (filename, 2, 4) == tuple(list(made.values())[1:])
    assert {f"{folder}/input/two.txt": b"2", f"{folder}/output/out.txt": b"out"} == (
        unpack(whole.body)
    )
    assert single.body == b"out"
    assert filename == classic["filename"]
