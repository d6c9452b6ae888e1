from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.sandbox.stores import part_count
from tests.sandbox.api import client
from tests.sandbox.stores.flow import CLOUDS, MULTIPART, Flow, flywheel_hash, only, running

NAMES = ["hello.txt", "a b#?%41&;=.txt", "sträße 日本.nii.gz", "x" * 200]


@pytest.mark.row("signed-ticket", "signed-put", "signed-finalize", "stores")
@pytest.mark.parametrize("name", NAMES)
async def test_a_file_goes_by_a_signed_url(flow: Flow, name: str) -> None:
    entry = await flow.upload(name, b"hello", type="text", info={"a": 1})

    assert (name, 5, "text", {"a": 1}) == tuple(
        entry[key] for key in ("name", "size", "type", "info")
    )
    assert flywheel_hash(b"hello") == entry["hash"]
    assert b"hello" == await flow.read(name)
    await flow.aside(0)


@pytest.mark.row("signed-put")
async def test_a_file_without_bytes_has_one_url_and_no_size(flow: Flow) -> None:
    minted = await flow.minted("empty")
    urls = minted["urls"]["empty"]

    assert isinstance(urls, str) or len(urls) == 1
    ended = await flow.end(minted["ticket"], await flow.put_all(minted, "empty", b""))
    assert 0 == ended.json[0]["size"]
    assert b"" == await flow.read("empty")


@pytest.mark.row("signed-put", "signed-finalize")
async def test_a_large_file_goes_in_parts_that_are_joined_in_the_order_of_their_urls(
    flow: Flow,
) -> None:
    flow.switch(signed_parts_from=1 << 20, signed_part_size=5 << 20)
    content = b"".join(bytes([number]) * (3 << 20) for number in range(4)) + b"tail"

    minted = await flow.minted("big", len(content))
    assert (2 if ".s3." in minted["urls"]["big"][0] else 3) == len(minted["urls"]["big"])
    ended = await flow.end(minted["ticket"], await flow.put_all(minted, "big", content))

    assert flywheel_hash(content) == ended.json[0]["hash"]
    assert content == await flow.read("big")
    await flow.aside(0)


@only("local", "azure")
async def test_parts_may_come_in_any_order_and_twice(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=300_000)
    minted = await flow.minted("f", 600_000)
    first, second = minted["urls"]["f"]

    for url, content in ((second, b"2" * 300_000), (first, b"x"), (first, b"1" * 300_000)):
        assert (await flow.put(url, content, minted["headers"])).status < 300
    assert 200 == (await flow.end(minted["ticket"])).status

    assert b"1" * 300_000 + b"2" * 300_000 == await flow.read("f")


@only("local", "azure")
async def test_a_part_that_is_gone_when_they_are_joined_is_told_without_a_path(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=300_000)
    minted = await flow.minted("f", 600_000)
    await flow.put_all(minted, "f", b"x" * 600_000)
    flow.incoming[0].unlink()
    answer = await flow.end(minted["ticket"])

    assert 409 == answer.status
    assert "incoming" not in answer.message


@only("local")
@pytest.mark.parametrize("accepted", ["", "multipart_signed_url"])
async def test_several_urls_are_for_who_says_so(flow: Flow, accepted: str) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=300_000)
    answer = await flow.api.ask(
        "POST",
        flow.files,
        params={"ticket": ""},
        json={"metadata": {"size": 900_000}, "filenames": ["f"]},
        headers={"X-Accept-Feature": accepted},
    )

    assert bool(accepted) == isinstance(answer.json["urls"]["f"], list)


async def test_without_the_switch_there_is_one_plain_url(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, multipart_signed_url=False)
    minted = await flow.minted("f", 900_000)

    assert isinstance(minted["urls"]["f"], str)
    assert "uploadId" not in minted["urls"]["f"]
    await flow.put(minted["urls"]["f"], b"z" * 900_000, minted["headers"])
    assert 900_000 == (await flow.end(minted["ticket"])).json[0]["size"]


# --------------------------------------------------------------------------- verified at the end


@pytest.mark.row("signed-finalize")
async def test_what_was_not_put_is_no_file(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    answer = await flow.end(minted["ticket"])

    assert 409 == answer.status
    assert "f: " in answer.message
    assert [] == (await flow.api.get(f"/acquisitions/{flow.tree.acquisition}"))["files"]


@pytest.mark.row("signed-finalize")
async def test_another_size_is_refused_and_can_be_put_right(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    wrong = await flow.end(minted["ticket"], await flow.put_all(minted, "f", b"hell"))
    assert 409 == wrong.status
    assert "4 bytes" in wrong.message
    assert "5 were announced" in wrong.message

    if flow.sandbox.site.settings.store == "s3":  # the multipart upload was completed
        minted = await flow.minted("f", 5)
    body = await flow.put_all(minted, "f", b"hello")
    assert 5 == (await flow.end(minted["ticket"], body)).json[0]["size"]


async def test_a_body_that_ends_early_leaves_nothing(flow: Flow) -> None:
    minted = await flow.minted("f", 3 << 20)
    urls = minted["urls"]["f"]
    url = urls if isinstance(urls, str) else urls[0]

    async def half() -> Any:
        yield b"x" * (2 << 20)
        raise ConnectionError("that was it")

    headers = {**minted["headers"], "Content-Length": str(3 << 20)}
    with pytest.raises(aiohttp.ClientError):
        await flow.put(url, half(), headers)

    await flow.aside(0)
    assert 409 == (await flow.end(minted["ticket"])).status


@pytest.mark.row("signed-finalize")
async def test_a_ticket_redeemed_again_answers_the_same_and_makes_no_version(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    body = await flow.put_all(minted, "f", b"hello")
    answers = await asyncio.gather(*(flow.end(minted["ticket"], body) for _ in range(3)))

    assert answers[0].json == answers[1].json == answers[2].json
    assert 1 == answers[0].json[0]["version"]
    assert answers[0].json == (await flow.end(minted["ticket"])).json
    await flow.aside(0)


async def test_a_second_upload_of_a_name_is_a_second_version(flow: Flow) -> None:
    await flow.upload("f", b"one", tags=["kept"])
    minted = await flow.minted("f", 3)
    body = await flow.put_all(minted, "f", b"two")
    entry = (await flow.end(minted["ticket"], body, preserve_metadata="true")).json[0]

    assert (2, ["kept"]) == (entry["version"], entry["tags"])
    assert b"two" == await flow.read("f")


# ------------------------------------------------------------------------------------ refused


@only("local", "s3")
async def test_tickets_are_known_by_their_number_place_and_address(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    unknown = await flow.end("12345")
    other = await flow.api.ask(
        "POST", f"/sessions/{flow.tree.session}/files", params={"ticket": minted["ticket"]}
    )
    flow.sandbox.site.tickets[minted["ticket"]].address = "192.0.2.1"
    stranger = await flow.end(minted["ticket"])

    assert (404, 400, 400) == (unknown.status, other.status, stranger.status)
    assert "restarted" in unknown.message
    assert "source IP" in stranger.message


@only("local")
@pytest.mark.parametrize(
    "body",
    [
        {"filenames": []},
        {"filenames": [1]},
        {"filenames": "f"},
        {"metadata": {}},
        {"filenames": [".."]},
        {"filenames": ["a/x", "b/x"]},
        {"filenames": ["f"], "metadata": []},
        {"filenames": ["f"], "metadata": [1]},
        {"filenames": ["f"], "metadata": "text"},
        {"filenames": ["f"], "metadata": {"size": -1}},
        {"filenames": ["f"], "metadata": {"size": "5"}},
        {"filenames": ["f"], "metadata": {"size": True}},
        {"filenames": ["f"], "metadata": {"unknown": 1}},
        [],
    ],
)
async def test_a_request_for_a_ticket_that_makes_no_sense_is_a_400(flow: Flow, body: Any) -> None:
    answer = await flow.api.ask("POST", flow.files, params={"ticket": ""}, json=body)

    assert 400 == answer.status
    assert answer.message


@only("local")
@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"multipart": 1}', b"--b\r\n"])
async def test_an_end_that_makes_no_sense_is_a_400(flow: Flow, body: bytes) -> None:
    minted = await flow.minted("f", 5)
    await flow.put(minted["urls"]["f"], b"hello")
    answer = await flow.api.ask("POST", flow.files, params={"ticket": minted["ticket"]}, data=body)

    assert 400 == answer.status


async def test_what_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path / "a", "local", max_upload=10) as flow:
        assert 413 == (await flow.ask("f", 11)).status
        minted = await flow.minted("f")
        await flow.put(minted["urls"]["f"], b"x" * 11)
        assert 413 == (await flow.end(minted["ticket"])).status
    async with running(tmp_path / "b", "s3") as flow:
        flow.switch(multipart_signed_url=False)
        large = await flow.ask("f", (5 << 30) + 1)
        assert 413 == large.status
        assert "multipart_signed_url" in large.message
        flow.switch(multipart_signed_url=True, signed_parts_from=5 << 40)
        assert 1 < len((await flow.minted("f", (5 << 30) + 1))["urls"]["f"])


@pytest.mark.row("permissions-ro")
@only("local", "s3")
async def test_who_may_only_read_gets_no_ticket(flow: Flow) -> None:
    await flow.api.post(
        f"/projects/{flow.tree.project}/permissions",
        {"_id": flow.sandbox.ready.user_id, "access": "ro"},
    )
    async with client(flow.sandbox.url, flow.sandbox.user_api_key) as user:
        answer = await user.ask(
            "POST", flow.files, params={"ticket": ""}, json={"filenames": ["f"]}
        )

    assert 403 == answer.status


@only("local")
async def test_a_site_without_signed_urls_answers_no_ticket(flow: Flow) -> None:
    flow.switch(signed_url=False, multiproject=True)

    assert {} == (await flow.ask("f", 5)).json


@only("local", "s3", "azure")
async def test_one_ticket_may_stand_for_several_files(flow: Flow) -> None:
    answer = await flow.api.ask(
        "POST",
        flow.files,
        params={"ticket": ""},
        json={"metadata": [{"size": 1}, {"size": 2, "tags": ["t"]}], "filenames": ["a", "b"]},
        headers=MULTIPART,
    )
    minted = answer.json
    for name, content in (("a", b"1"), ("b", b"22")):
        await flow.put(minted["urls"][name], content, minted["headers"])
    entries = (await flow.end(minted["ticket"])).json

    assert [("a", 1, []), ("b", 2, ["t"])] == [
        (entry["name"], entry["size"], entry["tags"]) for entry in entries
    ]


@only("local")
async def test_local_urls_do_not_look_like_a_clouds(flow: Flow) -> None:
    url = (await flow.minted("f", 5))["urls"]["f"]

    assert url.startswith(f"{flow.sandbox.url}/api/upload/fs-file?token=")
    assert not any(mark in url for mark in (".s3.", ".amazonaws.", ".googleapis."))


@only(*CLOUDS)
async def test_a_clouds_urls_lead_to_another_origin(flow: Flow) -> None:
    urls = (await flow.minted("f", 5))["urls"]["f"]
    url = urls if isinstance(urls, str) else urls[0]

    assert not url.startswith(flow.sandbox.url + "/")
    assert {"s3": ".s3.", "azure": "/fwblob/", "gcs": ".googleapis."}[
        flow.sandbox.site.settings.store
    ] in url


@only("gcs")
async def test_the_cli_gets_no_session(flow: Flow) -> None:
    flow.switch(signed_parts_from=1, signed_part_size=300_000)
    answer = await flow.api.ask(
        "POST",
        flow.files,
        params={"ticket": ""},
        json={"metadata": {"size": 900_000}, "filenames": ["f"]},
        headers=MULTIPART | {"User-Agent": "Flywheel CLI/18.5.1 (command:ingest)"},
    )

    assert "X-Goog-Signature" in answer.json["urls"]["f"]


# -------------------------------------------------------------------------- what is kept, and how


async def test_what_nobody_finalizes_goes_after_some_hours(flow: Flow) -> None:
    minted = await flow.minted("f", 5)
    await flow.put_all(minted, "f", b"hello")
    await flow.aside(1)
    flow.tick(7 * 3600)
    later = await flow.minted("g", 5)
    await flow.put_all(later, "g", b"later")
    await flow.aside(1)

    assert 409 == (await flow.end(minted["ticket"])).status


async def test_a_restart_forgets_tickets_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, "s3") as flow:
        minted = await flow.minted("f", 5)
        await flow.put_all(minted, "f", b"hello")
        assert flow.incoming
    async with running(tmp_path, "s3", flow.tree) as flow:
        assert [] == flow.incoming
        answer = await flow.end(minted["ticket"])

    assert 404 == answer.status
    assert "restarted" in answer.message


async def test_nothing_is_named_by_the_client(flow: Flow) -> None:
    await flow.upload("../../../evil", b"hello")
    data = flow.sandbox.site.settings.data

    assert not list(data.parent.rglob("*evil*"))
    assert ["evil"] == [
        entry["name"]
        for entry in (await flow.api.get(f"/acquisitions/{flow.tree.acquisition}"))["files"]
    ]


# ------------------------------------------------------------------------------- sizes of parts


@given(st.integers(0, 5 << 40), st.integers(1, 1 << 30), st.integers(1, 10_000))
def test_each_official_client_has_bytes_for_every_part(size: int, target: int, most: int) -> None:
    count = part_count(size, target, most)

    assert 1 <= count <= most
    even = -(-size // count)
    rounded = even + (256 << 10) - even % (256 << 10)
    assert count == 1 or (count - 1) * even < size
    assert count == 1 or (count - 1) * rounded < size <= count * rounded
