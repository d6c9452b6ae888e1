"""Bytes first, and then a file: /upload/signed-url, /storage/files, POST /files."""

from __future__ import annotations

import asyncio
import io
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.sandbox.api import Answer, Json
from tests.sandbox.stores.flow import CLOUDS, Flow, chunks, flywheel_hash, only


async def minted(flow: Flow, size: int | None = None) -> Json:
    told = {"provider_id": flow.sandbox.site.store.provider_id, "size": size}
    made: Json = await flow.api.post("/upload/signed-url", told)
    return made


def entry(flow: Flow, made: Json, name: str = "f", **told: Any) -> Json:
    parent = {"type": "acquisition", "id": flow.tree.acquisition}
    return {"name": name, "parent_ref": parent, "uuid": made["uuid"], **told}


async def stored(flow: Flow, content: bytes) -> Json:
    made = await minted(flow, len(content))
    [url] = made["upload_urls"]
    answer = await flow.put(url, content, made["upload_headers"])
    assert answer.status in (200, 201), answer
    return made


async def upsert(flow: Flow, body: Json, **params: str) -> Answer:
    return await flow.api.ask("POST", "/files", json=body, params=params)


@pytest.mark.row("signed-direct", "files-upsert")
async def test_bytes_become_a_file(flow: Flow) -> None:
    made = await stored(flow, b"hello")
    answer = await upsert(
        flow, entry(flow, made, size=5, provider_id=made["provider_id"], info={"a": 1})
    )

    found = answer.json
    assert ("created", "f", 5, {"a": 1}) == tuple(
        found[key] for key in ("upsert_result", "name", "size", "info")
    )
    assert flywheel_hash(b"hello") == found["hash"]
    assert b"hello" == await flow.read("f")
    await flow.aside(0)


@pytest.mark.row("signed-direct")
@only("local")
async def test_a_local_put_answers_what_it_is(flow: Flow) -> None:
    made = await minted(flow, 5)
    answer = await flow.put(made["upload_urls"][0], b"hello")

    assert {key: made[key] for key in ("provider_id", "uuid")} == answer.json


@only("local")
@pytest.mark.parametrize("spoil", ["", "x", "x.y.z", "é", None])
async def test_a_local_token_is_judged(flow: Flow, spoil: str | None) -> None:
    url = (await minted(flow, 5))["upload_urls"][0]
    base, _, token = url.partition("token=")
    wrong = token[:-4] + "AAAA" if spoil is None else quote(spoil)
    answer = await flow.put(f"{base}token={wrong}", b"hello")

    assert 403 == answer.status
    assert answer.message
    flow.tick(3601)
    assert 403 == (await flow.put(url, b"hello")).status


@only("local")
async def test_a_local_put_needs_a_length(flow: Flow) -> None:
    async def nothing() -> Any:
        yield b""

    made = await minted(flow)
    [url] = made["upload_urls"]
    assert 411 == (await flow.put(url, chunks())).status
    assert 409 == (await upsert(flow, entry(flow, made))).status
    assert 200 == (await flow.put(url, nothing())).status
    assert 0 == (await upsert(flow, entry(flow, made))).json["size"]


@pytest.mark.row("signed-direct")
@only("s3")
async def test_an_s3_upload_of_parts_is_completed(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=5 << 20)
    content = b"1" * (6 << 20) + b"2" * (6 << 20)
    made = await minted(flow, len(content))
    first, second = made["upload_urls"]
    tags = [
        (await flow.put(url, content[start : start + (6 << 20)])).headers["ETag"]
        for url, start in ((first, 0), (second, 6 << 20))
    ]
    told = {
        "provider_id": made["provider_id"],
        "uuid": made["uuid"],
        "upload_id": made["s3_multipart_upload_id"],
        "etags": tags,
    }
    early = await upsert(flow, entry(flow, made))
    wrong = await flow.api.ask(
        "POST", "/upload/complete-s3-multipart", json=told | {"etags": tags[::-1]}
    )
    other = await flow.api.ask(
        "POST", "/upload/complete-s3-multipart", json=told | {"upload_id": "x"}
    )
    done = await flow.api.post("/upload/complete-s3-multipart", told)
    again = await flow.api.post("/upload/complete-s3-multipart", told)

    assert (409, 400, 400) == (early.status, wrong.status, other.status)
    assert {"provider_id": made["provider_id"], "uuid": made["uuid"]} == done == again
    assert "created" == (await upsert(flow, entry(flow, made))).json["upsert_result"]
    assert content == await flow.read("f")


@pytest.mark.row("signed-direct")
@only("azure")
async def test_an_azure_upload_of_blocks_is_completed(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=300_000)
    made = await minted(flow, 600_000)
    assert len(made["block_ids"]) == len(made["upload_urls"]) == 2
    for url in made["upload_urls"]:
        await flow.put(url, url[-14:].encode(), made["upload_headers"])
    told = {"provider_id": made["provider_id"], "uuid": made["uuid"]}
    missing = await flow.api.ask(
        "POST", "/upload/complete-azure-multipart", json=told | {"block_ids": ["bm9wZQ=="]}
    )
    order = made["block_ids"][::-1]
    done = await flow.api.post("/upload/complete-azure-multipart", told | {"block_ids": order})

    assert 400 == missing.status
    assert told == done
    wrong_size = await upsert(flow, entry(flow, made))
    assert 409 == wrong_size.status
    assert "600000 were announced" in wrong_size.message


@pytest.mark.row("signed-direct")
async def test_what_is_not_wanted_is_cleaned_up(flow: Flow) -> None:
    made = await stored(flow, b"hello")
    told = {"provider_id": made["provider_id"], "uuid": made["uuid"]}
    await flow.aside(1)
    answer = await flow.api.ask("POST", "/upload/signed-url/cleanup", json=told)
    await flow.aside(0)

    assert 204 == answer.status
    assert 404 == (await flow.api.ask("POST", "/upload/signed-url/cleanup", json=told)).status
    assert 404 == (await upsert(flow, entry(flow, made))).status


@only("local", "s3")
async def test_requests_that_make_no_sense(flow: Flow) -> None:
    async def ask(path: str, body: Any) -> int:
        return (await flow.api.ask("POST", f"/upload/{path}", json=body)).status

    made = await minted(flow, 5)
    assert 404 == await ask("signed-url", {"provider_id": "other", "size": 5})
    assert 400 == await ask("signed-url", {"size": "5"})
    assert 400 == await ask("signed-url", [])
    assert 413 == await ask("signed-url", {"size": 6 << 40})
    assert 400 == await ask("complete-s3-multipart", {})
    assert 404 == await ask("complete-s3-multipart", {"uuid": "x"})
    assert 400 == await ask("complete-s3-multipart", {"uuid": made["uuid"]})
    assert 400 == await ask("complete-azure-multipart", {"uuid": made["uuid"]})
    flow.switch(signed_url=False)
    assert 409 == await ask("signed-url", {"size": 5})


# --------------------------------------------------------------------------------- POST /files


@pytest.mark.row("files-upsert")
@only("local")
async def test_an_upsert_says_what_it_did(flow: Flow) -> None:
    await upsert(flow, entry(flow, await stored(flow, b"one"), client_hash="c1", tags=["kept"]))
    same = await upsert(flow, entry(flow, await stored(flow, b"one")))
    hashed = await upsert(flow, entry(flow, {"uuid": "never put"}, client_hash="c1"))
    made = await stored(flow, b"two")
    conflict = await upsert(flow, entry(flow, made, client_hash="c2"))
    forced = await upsert(flow, entry(flow, made, client_hash="c2"), force_update="True")
    again = await upsert(flow, entry(flow, made, client_hash="c2"), force_update="true")

    assert ["ignored", "ignored", "conflict", "updated", "ignored"] == [
        answer.json["upsert_result"] for answer in (same, hashed, conflict, forced, again)
    ]
    assert [1, 1, 1, 2, 2] == [
        answer.json["version"] for answer in (same, hashed, conflict, forced, again)
    ]
    assert ("c2", ["kept"]) == (forced.json["client_hash"], forced.json["tags"])
    assert b"two" == await flow.read("f")


@only("local")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": None}, 400),
        ({"name": "a/.."}, 400),
        ({"uuid": None}, 400),
        ({"uuid": "unknown"}, 404),
        ({"parent_ref": None}, 400),
        ({"parent_ref": {"type": "acquisition", "id": "0" * 24}}, 404),
        ({"parent_ref": {"type": "group", "id": "grp"}}, 400),
        ({"parent_ref": {"type": "nonsense", "id": "grp"}}, 404),
        ({"provider_id": "other"}, 404),
        ({"size": 4}, 409),
        ({"size": -1}, 400),
        ({"reference": True}, 400),
        ({"info": []}, 400),
        ({"unknown": 1}, 400),
    ],
)
async def test_an_upsert_that_makes_no_sense(flow: Flow, changes: Json, status: int) -> None:
    made = await stored(flow, b"hello")
    answer = await upsert(flow, entry(flow, made) | changes)

    assert status == answer.status, answer
    assert answer.message


# ------------------------------------------------------------------------------ /storage/files


@pytest.mark.row("storage-files")
async def test_a_storage_file_goes_by_a_url(flow: Flow) -> None:
    params = {"project_id": flow.tree.project, "signed_url": "true"}
    made = (await flow.api.ask("POST", "/storage/files", params=params)).json
    await flow.put(made["upload_url"], b"hello", made["upload_headers"])
    answer = await upsert(flow, entry(flow, {"uuid": made["storage_file_id"]}))

    assert "created" == answer.json["upsert_result"]
    assert b"hello" == await flow.read("f")


@pytest.mark.row("storage-files")
@only("local")
async def test_a_storage_file_goes_by_a_form_where_there_are_no_urls(flow: Flow) -> None:
    flow.switch(signed_url=False)
    params = {"project_id": flow.tree.project}
    refused = await flow.api.ask("POST", "/storage/files", params=params | {"signed_url": "true"})
    assert 409 == refused.status

    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"hello"), filename="f")
    made = (await flow.api.ask("POST", "/storage/files", params=params, data=form)).json
    path = f"/storage/files/{made['storage_file_id']}"
    answer = await upsert(flow, entry(flow, {"uuid": made["storage_file_id"]}))
    assert "created" == answer.json["upsert_result"]
    assert {"deleted": 1} == (await flow.api.ask("DELETE", path)).json
    assert 404 == (await flow.api.ask("DELETE", path)).status
    tolerant = await flow.api.ask("DELETE", path, params={"ignore_storage_errors": "true"})
    assert {"deleted": 0} == tolerant.json
    assert b"hello" == await flow.read("f")


@only("local")
async def test_a_storage_file_needs_a_project(flow: Flow) -> None:
    params = {"project_id": flow.tree.session, "signed_url": "true"}

    assert 404 == (await flow.api.ask("POST", "/storage/files", params=params)).status


# ----------------------------------------------------------------------------------- downloads


@pytest.mark.row("files-signed-url")
async def test_a_signed_url_reads_a_file_without_a_key(flow: Flow) -> None:
    name = 'sträße "1".txt'
    file_id = (await flow.upload(name, b"hello"))["file_id"]
    url = await flow.api.get(f"/files/{file_id}/signed_url", view="true")
    whole = await flow.send("GET", url)
    part = await flow.send("GET", url, headers={"Range": "bytes=1-2"})

    assert (200, b"hello") == (whole.status, whole.body)
    assert "text/plain" == whole.headers["Content-Type"].partition(";")[0]
    assert "filename*=UTF-8''str%C3%A4%C3%9Fe" in whole.headers["Content-Disposition"]
    assert (206, b"el", "bytes 1-2/5") == (
        part.status,
        part.body,
        part.headers["Content-Range"],
    )
    if flow.sandbox.site.settings.store != "local":
        flow.tick(61)
        assert 403 == (await flow.send("GET", url)).status


@pytest.mark.row("files-signed-url")
async def test_a_signed_url_reads_the_version_that_was_asked_for(flow: Flow) -> None:
    file_id = (await flow.upload("f", b"one"))["file_id"]
    await flow.upload("f", b"two")
    url = await flow.api.get(f"/files/{file_id}/signed_url", version=1)

    assert b"one" == (await flow.send("GET", url)).body


@only(*CLOUDS)
async def test_who_follows_redirects_is_sent_to_the_store(flow: Flow) -> None:
    await flow.upload("f", b"hello")
    path, safe = f"{flow.files}/f", {"X-Accept-Feature": "Safe-Redirect"}
    redirect = await flow.api.ask("GET", path, headers=safe, allow_redirects=False)
    followed = await flow.api.ask("GET", path, headers=safe | {"Range": "bytes=1-2"})
    head = await flow.api.ask("HEAD", path, headers=safe)
    plain = await flow.api.ask("GET", path, allow_redirects=False)

    assert 302 == redirect.status
    assert not redirect.headers["Location"].startswith(flow.sandbox.url + "/")
    assert b"hello" == (await flow.send("GET", redirect.headers["Location"])).body
    assert (206, b"el") == (followed.status, followed.body)
    assert (200, "5") == (head.status, head.headers["Content-Length"])
    assert (200, b"hello") == (plain.status, plain.body)


async def test_who_asks_at_the_same_time_gets_the_same_file(flow: Flow) -> None:
    made = await stored(flow, b"hello")

    answers = await asyncio.gather(*(upsert(flow, entry(flow, made)) for _ in range(4)))

    results = sorted(str(answer.json.get("upsert_result")) for answer in answers)
    assert ["created", "ignored", "ignored", "ignored"] == results
    assert 1 == len({answer.json["file_id"] for answer in answers})
