from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.core2018.old import Old, OldTree, Part, old_client, raw, wire

RANGES = wire("ranges.json")


@pytest.mark.parametrize("row", RANGES, ids=[f"{r['view']}-{r['range']}" for r in RANGES])
@pytest.mark.row("sandbox-core-2018")
async def test_ranges(old: Old, tree: OldTree, row: dict[str, Any]) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"123456789")
    headers = {"Range": row["range"]} if row["range"] else {}
    view = "?view=true" if row["view"] else ""
    answer = await raw(old, "GET", f"/{where}/files/a.txt{view}", **headers)
    kind = answer.header("Content-Type") or ""
    number = kind.partition("boundary=")[2] or "ID"

    assert row["status"] == answer.status
    assert row["type"] == kind.replace(number, "ID").partition("; charset")[0]
    assert row["content_range"] == answer.header("Content-Range")
    assert row["disposition"] == answer.header("Content-Disposition")
    assert str(row["length"] or len(answer.body)) == answer.header("Content-Length")
    if "message" in row:
        assert row["message"] == json.loads(answer.body)["message"]
    else:
        assert row["body"] == answer.body.decode().replace(number, "ID")


async def test_a_file_has_no_tag_no_date_and_no_word_of_ranges(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"123456789")
    answer = await raw(old, "GET", f"/{where}/files/a.txt")

    assert not {"etag", "last-modified", "accept-ranges"} & {
        name.lower() for name, _ in answer.headers
    }


async def test_what_a_header_cannot_hold_is_left_out_of_it(old: Old, tree: OldTree) -> None:
    path = f"/acquisitions/{tree.acquisition}/files"
    told = Part("metadata", json.dumps({"name": "a\x7f\n\x01.txt"}).encode())
    await old.send(path, Part("file", b"1", "a.txt"), told)
    answer = await old.ask("GET", f"{path}/a%7F%0A%01.txt")

    assert (b"1", 'attachment; filename="a.txt"') == (
        answer.body,
        answer.headers["Content-Disposition"],
    )


async def test_a_large_file_comes_whole_and_in_part(old: Old, tree: OldTree) -> None:
    content = bytes(range(256)) * 5000
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.bin", content)
    whole = await old.ask("GET", f"/{where}/files/a.bin")
    part = await old.ask(
        "GET", f"/{where}/files/a.bin?view=true", headers={"Range": "bytes=1000-900000"}
    )

    assert content == whole.body
    assert content[1000:900001] == part.body


async def test_a_hash_that_is_right_lets_the_file_through(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    record = await old.put(where, "a.txt", b"1")
    answer = await old.ask("GET", f"/{where}/files/a.txt", params={"hash": record["hash"]})

    assert (200, b"1") == (answer.status, answer.body)


async def test_a_ticket_needs_no_login_and_can_be_used_again(
    old: Old, nobody: Old, tree: OldTree
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"1")
    await old.put(where, "b.txt", b"2")
    made = await old.get(f"/{where}/files/a.txt", ticket="")
    ticket = {"ticket": made["ticket"]}
    answers = [await nobody.ask("GET", f"/{where}/files/a.txt", params=ticket) for _ in range(2)]
    other = await nobody.ask("GET", f"/{where}/files/b.txt", params=ticket)
    elsewhere = await nobody.ask(
        "GET",
        f"/{where}/files/a.txt",
        params=ticket,
        headers={"X-Forwarded-For": "192.0.2.1, 127.0.0.1"},
    )

    assert ["ticket"] == list(made)
    assert [b"1", b"1"] == [answer.body for answer in answers]
    assert [(400, "ticket not for this resource or source IP")] * 2 == [
        (answer.status, answer.message) for answer in (other, elsewhere)
    ]


async def test_a_ticket_is_for_what_the_file_is_by_then(
    old: Old, nobody: Old, tree: OldTree
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"1")
    ticket = {"ticket": (await old.get(f"/{where}/files/a.txt", ticket=""))["ticket"]}
    await old.put(where, "a.txt", b"22")
    replaced = await nobody.ask("GET", f"/{where}/files/a.txt", params=ticket)
    await old.ask("DELETE", f"/{where}/files/a.txt")
    gone = await nobody.ask("GET", f"/{where}/files/a.txt", params=ticket)

    assert (200, b"22") == (replaced.status, replaced.body)
    assert (404, "no such file") == (gone.status, gone.message)


async def test_a_zip_is_looked_into(old: Old, nobody: Old, tree: OldTree) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.comment = b"hello"
        archive.writestr(zipfile.ZipInfo("d/one.txt", (2018, 3, 4, 5, 6, 8)), "one")
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.zip", held.getvalue())
    ticket = (await old.get(f"/{where}/files/a.zip", ticket=""))["ticket"]
    listing = await nobody.get(f"/{where}/files/a.zip", info="true", ticket=ticket)
    member = await nobody.ask(
        "GET", f"/{where}/files/a.zip", params={"member": "d/one.txt", "ticket": ticket}
    )
    none = await old.ask("GET", f"/{where}/files/a.zip", params={"member": "none"})

    assert "2018-03-04T05:06:08" == listing["members"][0].pop("timestamp").partition("+")[0]
    assert listing == {
        "comment": "hello",
        "members": [{"path": "d/one.txt", "size": 3, "comment": ""}],
    }
    assert (b"one", "text/plain") == (
        member.body,
        member.headers["Content-Type"].partition(";")[0],
    )
    assert "Content-Disposition" not in member.headers
    assert (400, "zip file contains no such member") == (none.status, none.message)


# --------------------------------------------------------------------------- change and delete


async def test_a_file_is_described_by_put_and_post(old: Old, tree: OldTree) -> None:
    path = f"/acquisitions/{tree.acquisition}/files/a.txt"
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"1")
    told = {"type": "x", "modality": "MR", "measurements": ["t1"]}
    changed = await old.ask("PUT", path, json=told)
    wrong = await old.ask("PUT", path, json={"info": {}})
    info = await old.ask("POST", f"{path}/info", json={"set": {"a": 1}})
    later = await old.ask("POST", f"{path}/classification", json={"add": {"Custom": ["t2"]}})
    no_object = await old.ask("POST", f"{path}/classification", json=[])
    found = await old.get(f"{path}/info")

    assert changed.body == b'{"modified":1,"jobs_triggered":0}'
    assert wrong.status == 400
    assert info.body == b'{"modified":1}'
    assert later.body == b'{"modified":1}'
    assert no_object.status == 400
    told["measurements"] = ["t1", "t2"]
    assert {**told, "info": {"a": 1}}.items() <= found.items()


async def test_changes_at_the_same_time_are_all_kept(old: Old, tree: OldTree) -> None:
    path = f"/acquisitions/{tree.acquisition}/files/a.txt"
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"1")
    wanted = {f"k{number}": number for number in range(8)}
    async with asyncio.TaskGroup() as group:
        for name, number in wanted.items():
            body = {"set": {name: number}}
            group.create_task(old.ask("POST", f"{path}/info", json=body))

    assert wanted == (await old.get(f"{path}/info"))["info"]


async def test_a_file_is_deleted_again_and_again(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"1")
    answers = [await old.ask("DELETE", f"/{where}/files/a.txt") for _ in range(2)]
    hidden = (await old.get(f"/{where}"))["files"]
    again = await old.put(where, "a.txt", b"2")
    never = await old.ask("DELETE", f"/{where}/files/none.txt")

    assert [(200, b'{"modified":1}')] * 2 == [(one.status, one.body) for one in answers]
    assert hidden == []
    assert "created" in again
    assert never.status == 404


async def test_files_come_and_go_in_a_container_that_was_deleted(old: Old, tree: OldTree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "before", b"1")
    await old.ask("DELETE", f"/sessions/{tree.session}")

    record = await old.put(where, "after", b"22")

    assert ("after", 2) == (record["name"], record["size"])
    for name, content in (("before", b"1"), ("after", b"22")):
        assert content == (await old.ask("GET", f"/{where}/files/{name}")).body
        assert name == (await old.get(f"/{where}/files/{name}/info"))["name"]
        assert 200 == (await old.ask("DELETE", f"/{where}/files/{name}")).status
    assert 404 == (await old.ask("GET", f"/{where}")).status


@pytest.mark.parametrize(("job", "status"), [("5a1b2c3d4e5f6a7b8c9d0e0f", 403), (None, 200)])
async def test_the_input_of_a_job_is_not_deleted(
    server: Sandbox, old: Old, tree: OldTree, job: str | None, status: int
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "a.txt", b"1")
    server.site.switches = server.site.switches.changed({"compat": ""})
    async with old_client(server.url, server.api_key) as modern:
        inputs = [{"type": "acquisition", "id": tree.acquisition, "name": "a.txt"}]
        body = {"label": "an", "inputs": inputs}
        made = await modern.post(f"/sessions/{tree.session}/analyses", body)
    server.site.switches = server.site.switches.changed({"compat": "core-2018"})
    sql = "UPDATE containers SET doc = json_set(doc, '$.job', ?) WHERE id = ?"
    await server.site.records.write(lambda pen: list(pen.db.execute(sql, (job, made["_id"]))))
    answer = await old.ask("DELETE", f"/{where}/files/a.txt")

    assert status == answer.status
    if job:
        assert answer.json["reason"] == "analysis_conflict"
