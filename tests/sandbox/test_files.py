from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.api import Answer, Api, Tree, client, plant, settled
from tests.sandbox.raw import hear

TEN = b"0123456789"


def left_over(sandbox: Sandbox) -> list[Path]:
    return list((sandbox.site.settings.data / "incoming").iterdir())


@pytest.mark.row("upload-form", "upload-metadata")
async def test_an_upload_answers_the_entry(api: Api, tree: Tree) -> None:
    metadata = json.dumps({"info": {"a": 1}, "tags": ["t"], "size": 5, "zip_member_count": 2})
    [entry] = await api.upload(f"acquisitions/{tree.acquisition}", {"h.nii.gz": b"hello"}, metadata)

    assert entry["hash"] == f"v0-sha384-{hashlib.sha384(b'hello').hexdigest()}"
    assert (entry["name"], entry["size"], entry["version"]) == ("h.nii.gz", 5, 1)
    assert (entry["type"], entry["mimetype"]) == ("nifti", "application/gzip")
    assert (entry["info"], entry["info_exists"], entry["tags"]) == ({"a": 1}, True, ["t"])
    assert entry["parent_ref"] == {"type": "acquisition", "id": tree.acquisition}
    assert entry["parents"] == {
        "group": "grp",
        "project": tree.project,
        "subject": tree.subject,
        "session": tree.session,
        "acquisition": tree.acquisition,
        "analysis": None,
    }
    assert entry["origin"] == {"type": "user", "id": "admin@sandbox.local"}
    assert entry["zip_member_count"] == 2


@pytest.mark.parametrize("kind", ["project", "subject", "session", "acquisition", "container"])
@pytest.mark.row("upload-form")
async def test_files_hang_on_every_level_but_the_group(api: Api, tree: Tree, kind: str) -> None:
    where = f"{kind}s/{getattr(tree, kind, tree.session)}"
    await api.upload(where, {"a.txt": b"a"})

    assert (await api.get(f"/{where}/files/a.txt/info"))["size"] == 1
    assert [file["name"] for file in (await api.get(f"/{where}"))["files"]] == ["a.txt"]


@pytest.mark.row("upload-several")
async def test_several_parts_are_several_files(api: Api, tree: Tree) -> None:
    files = {f"{n}.bin": bytes([n]) * n * 1000 for n in range(40)}
    entries = await api.upload(f"sessions/{tree.session}", files)

    assert [entry["name"] for entry in entries] == list(files)
    for name, content in files.items():
        answer = await api.ask("GET", f"/sessions/{tree.session}/files/{name}")
        assert answer.body == content


@pytest.mark.parametrize("ends_in", [b"", b"end"], ids=["to-the-end", "inside"])
async def test_what_is_mostly_zeros_comes_back_and_takes_little_disk(
    api: Api, tree: Tree, sandbox: Sandbox, ends_in: bytes
) -> None:
    content = b"begin" + bytes(32 << 20) + ends_in
    await api.upload(f"sessions/{tree.session}", {"holes.bin": content})

    answer = await api.ask("GET", f"/sessions/{tree.session}/files/holes.bin")
    kept = sandbox.site.blobs.path(hashlib.sha384(content).hexdigest())
    assert answer.body == content
    assert kept.stat().st_blocks * 512 < len(content) // 2


@pytest.mark.row("files-versions", "file-version")
async def test_the_same_name_again_is_the_next_version(api: Api, tree: Tree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    [first] = await api.upload(where, {"a.txt": b"one"}, '{"info": {"a": 1}, "type": "log"}')
    [second] = await api.upload(where, {"a.txt": b"two!"})
    [third] = await api.upload(where, {"a.txt": b"3"}, '{"tags": ["x"]}', preserve_metadata="true")
    path = f"/files/{first['file_id']}"
    versions = await api.get(f"{path}/versions")
    old = await api.get(path, version=1)
    bodies = [
        (await api.ask("GET", f"{path}/download", params={"version": n})).body for n in (1, 2, 3)
    ]

    assert len({entry["file_id"] for entry in (first, second, third)}) == 1
    assert [entry["version"] for entry in versions] == [3, 2, 1]
    assert bodies == [b"one", b"two!", b"3"]
    assert (old["version"], old["size"], old["info"]) == (1, 3, {"a": 1})
    assert (second["info"], second["type"]) == ({}, "text")
    assert (third["type"], third["tags"]) == ("text", ["x"])
    assert third["created"] == first["created"] < third["modified"]
    assert first["replaced"] is None
    assert third["replaced"] is not None
    assert (await api.ask("GET", path, params={"version": 4})).status == 404


@pytest.mark.row("files-versions")
async def test_uploads_to_one_name_at_once_are_versions_without_a_gap(api: Api, tree: Tree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    entries = await asyncio.gather(*(api.upload(where, {"same.txt": b"%d" % n}) for n in range(40)))
    record = (await api.get("/sandbox/record"))["files"]

    assert sorted(entry["version"] for [entry] in entries) == list(range(1, 41))
    assert len({entry["file_id"] for [entry] in entries}) == 1
    assert [one["version"] for one in record] == list(range(1, 41))
    assert len({one["sha384"] for one in record}) == 40


@pytest.mark.row("file-delete", "files-delete")
async def test_a_deleted_name_starts_anew(api: Api, tree: Tree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    [old] = await api.upload(where, {"a.txt": b"one"})
    gone = await api.ask("DELETE", f"/{where}/files/a.txt")
    after = await api.ask("GET", f"/{where}/files/a.txt")
    again = await api.ask("DELETE", f"/{where}/files/a.txt")
    [new] = await api.upload(where, {"a.txt": b"one"})

    assert gone.json == {"deleted": 1, "not_found": 0, "delete_scheduled": 0}
    assert (after.status, after.message) == (404, "no such file")
    assert again.status == 404
    assert new["version"] == 1
    assert new["file_id"] > old["file_id"]
    assert (await api.ask("DELETE", f"/files/{new['file_id']}")).json["deleted"] == 1


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40
    ).filter(lambda name: name not in (".", ".."))
)
@pytest.mark.row("upload-form", "file-download")
async def test_any_name_comes_back_as_it_was_sent(api: Api, name: str) -> None:
    projects = await api.get("/projects", limit=1)
    project = projects[0]["_id"] if projects else (await plant(api)).project
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        name = "".join(c if ord(c) >= 32 and ord(c) != 127 else "_" for c in name)  # no header can
    if len(name.encode()) > 255 or name in (".", ".."):
        return
    [entry] = await api.upload(f"projects/{project}", {name: name.encode()})
    found = await api.post("/lookup", {"path": ["grp", "Proj", "files", name]})
    by_id = await api.ask("GET", f"/files/{entry['file_id']}/download")

    assert (entry["name"], found["file_id"]) == (name, entry["file_id"])
    assert by_id.body == name.encode()


@pytest.mark.row("upload-broken")
async def test_bodies_that_are_broken_are_400_and_leave_nothing(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    path = f"/acquisitions/{tree.acquisition}/files"
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    bodies = [
        b"",
        b"nonsense",
        head,
        head + b"x" * 3_000_000,
        head + b"x\r\n--b",
        b"--b\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Disposition: attachment\r\n\r\n\r\n--b--",
        b"--b\r\n" + b"x" * 20_000,
        head.replace(b"a.bin", b"..") + b"x\r\n--b--",
        head.replace(b'; filename="a.bin"', b"").replace(b"file", b"metadata") + b"{\r\n--b--",
        head + b"x" * 2_000_000 + b"\r\n--b\r\nnonsense\r\n\r\n\r\n--b--",
    ]
    for body in bodies:
        answer = await api.ask("POST", path, data=io.BytesIO(body), headers=form)

        assert (answer.status, answer.json["status_code"]) == (400, 400), body[:80]
    plain = await api.ask("POST", path, data=b"x", headers={"Content-Type": "text/plain"})
    await settled(sandbox)

    assert plain.status == 400
    assert (await api.get(f"/acquisitions/{tree.acquisition}"))["files"] == []
    assert left_over(sandbox) == []


@pytest.mark.row("upload-broken")
async def test_a_client_that_goes_away_leaves_nothing(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    key = sandbox.api_key.rpartition(":")[2]
    writer.write(
        f"POST /api/acquisitions/{tree.acquisition}/files HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        + head
    )
    writer.write(b"x" * 4_000_000)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    while not any(one["route"].endswith("/files") for one in sandbox.site.requests.recent):
        await api.get("/version")
    await settled(sandbox)

    assert left_over(sandbox) == []
    assert (await api.get("/sandbox/record"))["files"] == []


async def test_a_form_without_a_file_answers_an_empty_list(api: Api, tree: Tree) -> None:
    assert await api.upload(f"projects/{tree.project}", {}, "{}") == []


@pytest.mark.row("upload-metadata")
async def test_unknown_metadata_is_400(api: Api, tree: Tree) -> None:
    for metadata in ("[]", '{"nonsense": 1}', '{"info": 1}', "7", '{"tags": "x"}'):
        form = aiohttp.FormData({"metadata": metadata})
        form.add_field("file", b"x", filename="a.txt")
        answer = await api.ask("POST", f"/projects/{tree.project}/files", data=form)

        assert answer.status == 400


@pytest.mark.row("upload-broken")
async def test_what_is_larger_than_the_site_takes_is_413(tmp_path: Path) -> None:
    async with (
        running_sandbox(tmp_path / "data", max_upload=100) as sandbox,
        client(sandbox.url, sandbox.api_key) as api,
    ):
        tree = await plant(api)
        form = aiohttp.FormData()
        form.add_field("file", b"x" * 101, filename="a.txt")
        answer = await api.ask("POST", f"/projects/{tree.project}/files", data=form)
        [entry] = await api.upload(f"projects/{tree.project}", {"b.txt": b"x" * 100})

    assert answer.status == 413
    assert entry["size"] == 100


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        (None, 200, TEN, None),
        ("bytes=1-2", 206, b"12", "bytes 1-2/10"),
        ("bytes=0-9", 206, TEN, "bytes 0-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=0-", 206, TEN, "bytes 0-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-10", 206, TEN, "bytes 0-9/10"),
        ("bytes=-11", 200, TEN, None),
        ("bytes=2-10", 200, TEN, None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=10-12", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=3-2", 200, TEN, None),
        ("bytes=-", 200, TEN, None),
        ("bytes=a-b", 200, TEN, None),
        ("bytes=1-2-3", 200, TEN, None),
        ("bytes 1-2", 200, TEN, None),
        ("lines=1-2", 200, TEN, None),
        ("bytes=٣-٤", 200, TEN, None),
    ],
)
@pytest.mark.row("file-range")
async def test_ranges_are_answered_as_the_table_says(
    api: Api,
    tree: Tree,
    header: str | None,
    status: int,
    body: bytes | None,
    content_range: str | None,
) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"ten.txt": TEN})
    headers = {"Range": header} if header else {}
    for path in (f"/projects/{tree.project}/files/ten.txt", f"/files/{entry['file_id']}/download"):
        answer = await api.ask("GET", path, headers=headers)

        assert answer.status == status
        assert answer.headers.get("Content-Range") == content_range
        assert body is None or answer.body == body
        assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.row("file-range")
async def test_several_ranges_come_as_parts(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"ten.txt": TEN})
    path = f"/projects/{tree.project}/files/ten.txt"
    answer = await api.ask("GET", path, headers={"Range": "bytes=0-1, 8-"})
    boundary = answer.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = answer.body.split(b"--" + boundary)

    assert answer.status == 206
    assert parts[1].endswith(b"Content-Range: bytes 0-1/10\r\n\r\n01\r\n")
    assert parts[2].endswith(b"Content-Range: bytes 8-9/10\r\n\r\n89\r\n")
    assert parts[3] == b"--\r\n"


@pytest.mark.row("file-range", "file-head")
async def test_head_of_several_ranges_has_no_body(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"ten.txt": TEN})
    path = f"/projects/{tree.project}/files/ten.txt"
    get, head = [
        await hear(sandbox, method, path, headers="Range: bytes=0-1,8-\r\n")
        for method in ("GET", "HEAD")
    ]

    assert (get.status, head.status) == (206, 206)
    assert head.header("Content-Length") == get.header("Content-Length") == str(len(get.body))
    assert head.body == b""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=st.integers(0, 3_000_000), length=st.integers(1, 3_000_000))
@pytest.mark.row("file-range")
async def test_any_range_of_a_large_file_is_the_slice(api: Api, first: int, length: int) -> None:
    content = hashlib.shake_128(b"seed").digest(3_000_000)
    projects = await api.get("/projects", limit=1)
    if not projects:
        tree = await plant(api)
        await api.upload(f"projects/{tree.project}", {"big.bin": content})
        projects = await api.get("/projects", limit=1)
    path = f"/projects/{projects[0]['_id']}/files/big.bin"
    header = {"Range": f"bytes={first}-{first + length - 1}"}
    answer = await api.ask("GET", path, headers=header)

    if first >= len(content):
        assert answer.status == 416
    elif first + length > len(content):
        assert (answer.status, answer.body) == (200, content)
    else:
        assert (answer.status, answer.body) == (206, content[first : first + length])


@pytest.mark.row("file-head")
async def test_head_says_what_get_would_send(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"ten.txt": TEN, "empty": b""})
    head = await api.ask("HEAD", f"/projects/{tree.project}/files/ten.txt")
    empty = await api.ask("GET", f"/projects/{tree.project}/files/empty")

    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "10")
    assert head.headers["Accept-Ranges"] == "bytes"
    assert (empty.status, empty.body) == (200, b"")


@pytest.mark.row("file-view")
async def test_the_type_is_told_only_for_viewing(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"é.txt": TEN})
    path = f"/projects/{tree.project}/files/%C3%A9.txt"
    plain, view = await api.ask("GET", path), await api.ask("GET", path, params={"view": "True"})

    assert plain.headers["Content-Type"] == "application/octet-stream"
    assert "filename*=UTF-8''%C3%A9.txt" in plain.headers["Content-Disposition"]
    assert view.headers["Content-Type"] == "text/plain"


@pytest.mark.row("file-view", "error-shape")
@pytest.mark.parametrize("told", ["text/plain\r\nX-More: x", "a\0b", "é", " ", "x" * 9000])
async def test_a_type_that_no_header_can_have_is_not_sent(api: Api, tree: Tree, told: str) -> None:
    metadata = json.dumps({"mimetype": told})
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": TEN}, metadata)
    path = f"/projects/{tree.project}/files/a.txt"
    view = await api.ask("GET", path, params={"view": "true"})
    several = {"Range": "bytes=0-1,8-"}
    parts = await api.ask("GET", path, params={"view": "true"}, headers=several)

    assert entry["mimetype"] == told
    assert (view.status, view.body) == (200, TEN)
    assert view.headers["Content-Type"] == "application/octet-stream"
    assert parts.body.count(b"\r\nContent-Type: application/octet-stream\r\n") == 2


@pytest.mark.row("file-ticket")
async def test_a_ticket_reads_one_file_without_a_key(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"a"})
    await api.upload(f"projects/{tree.project}", {"b.txt": b"b"})
    path = f"/projects/{tree.project}/files"
    ticket = (await api.get(f"{path}/a.txt", ticket=""))["ticket"]
    by_id = (await api.get(f"/files/{entry['file_id']}/download", ticket=""))["ticket"]

    async with client(sandbox.url, "") as nobody:

        async def fetch(where: str, ticket: str) -> Answer:
            return await nobody.ask("GET", where, params={"ticket": ticket})

        right = [await fetch(f"{path}/a.txt", ticket) for _ in range(2)]
        other = await fetch(f"{path}/b.txt", ticket)
        unknown = await fetch(f"{path}/a.txt", "nonsense")
        none = await nobody.ask("GET", f"{path}/a.txt")
        same_file = await fetch(f"/files/{entry['file_id']}/download", by_id)

    assert [answer.body for answer in right] == [b"a", b"a"]
    assert same_file.body == b"a"
    assert (other.status, unknown.status, none.status) == (400, 404, 401)


@pytest.mark.row("file-hash")
async def test_a_hash_that_differs_is_409(api: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"a"})
    path = f"/projects/{tree.project}/files/a.txt"
    same = await api.ask("GET", path, params={"hash": entry["hash"]})
    other = await api.ask("GET", path, params={"hash": "v0-sha384-00"})

    assert (same.status, other.status) == (200, 409)
    assert other.message == "file exists, hash mismatch"


async def test_equal_contents_are_kept_once(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    for size in (10, 3_000_000):
        files = {f"{n}-{size}": b"x" * size for n in range(3)}
        await api.upload(f"projects/{tree.project}", files)
    blobs = [path for path in (sandbox.site.settings.data / "blobs").glob("*/*") if path.is_file()]

    assert sorted(path.stat().st_size for path in blobs) == [10, 3_000_000]
    assert left_over(sandbox) == []
