"""Faults beyond the plain routes: TLS, the store, zips, and the examples of the guide."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fwsync.sandbox import Sandbox, SandboxSettings, TlsSettings, running_sandbox
from fwsync.sandbox.faults.reading import read_script
from fwsync.sandbox.faults.script import OWN, Action, Hits, Match, Rule
from tests.sandbox.api import Api, Tree, client, plant

CONTENT = bytes(range(256)) * 4096
CUT = {"cut_at": 1000}
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "bad-network.md"


# --------------------------------------------------------------------------------------- TLS


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ({"reset": True}, aiohttp.ClientConnectionError),
        ({"reset": True, "when": "after"}, aiohttp.ClientConnectionError),
        ({"cut_at": 3}, aiohttp.ClientPayloadError),
        ({"cut_at": 3, "cut_with": "reset"}, aiohttp.ClientError),
    ],
)
async def test_connections_end_under_tls_as_well(
    tmp_path: Path, action: dict[str, Any], error: type[Exception]
) -> None:
    settings = SandboxSettings(tmp_path, tls=TlsSettings())
    async with running_sandbox(settings) as sandbox, aiohttp.ClientSession() as session:
        sandbox.site.faults.add({"action": action})
        with pytest.raises(error):
            async with session.get(f"{sandbox.url}/api/config", ssl=False) as answer:
                await answer.read()


# ----------------------------------------------------------------------------------- the store


async def ticket_for(api: Api, tree: Tree, size: int) -> tuple[str, str]:
    body = {"metadata": {"size": size}, "filenames": ["f"]}
    made = await api.post(f"/projects/{tree.project}/files", body, ticket="")
    url = made["urls"]["f"]
    return made["ticket"], url if isinstance(url, str) else url[0]


async def put(url: str, content: bytes) -> int:
    async with aiohttp.ClientSession() as session, session.put(url, data=content) as answer:
        return answer.status


async def test_a_signed_url_can_be_refused_and_its_answer_lost(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    ticket, url = await ticket_for(api, tree, 5)
    sandbox.site.faults.add(
        [
            {"match": {"method": "PUT", "hits": {"nth": 1}}, "action": {"status": 403}},
            {
                "id": "lost",
                "match": {"method": "PUT", "hits": {"from": 2}},  # aiohttp tries twice
                "action": {"reset": True, "when": "after"},
            },
        ]
    )
    refused = await put(url, b"12345")
    with pytest.raises(aiohttp.ClientConnectionError):
        await put(url, b"12345")
    await api.ask("POST", f"/projects/{tree.project}/files", params={"ticket": ticket}, json={})
    content = await api.ask("GET", f"/projects/{tree.project}/files/f")
    lost = [one for one in sandbox.site.requests.recent if one["faults"] == ["lost"]]

    assert refused == 403
    assert content.body == b"12345"
    assert [(one["status"], one["received"]) for one in lost] == [(0, 5)] * 2
    assert 200 <= lost[0]["carried_out"] < 300


async def test_a_path_of_the_store_can_be_told_from_others(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    _, url = await ticket_for(api, tree, 5)
    first = "/" + url.removeprefix(sandbox.url).removeprefix("/api").split("/")[1]
    sandbox.site.faults.add({"match": {"path": f"{first}/**"}, "action": {"status": 503}})

    assert await put(url, b"12345") == 503
    assert (await api.ask("GET", "/projects")).status == 200


async def test_what_a_store_sends_can_be_cut(tmp_path: Path) -> None:
    async with (
        running_sandbox(tmp_path, store="s3") as sandbox,
        client(sandbox.url, sandbox.api_key) as api,
    ):
        tree = await plant(api)
        await api.upload(f"projects/{tree.project}", {"f": CONTENT})
        where = f"/projects/{tree.project}/files/f"
        wants = {"X-Accept-Feature": "Safe-Redirect"}
        asked = await api.ask("GET", where, headers=wants, allow_redirects=False)
        sandbox.site.faults.add({"id": "cut", "match": {"path": "/fw.s3.*/**"}, "action": CUT})
        async with (
            aiohttp.ClientSession() as session,
            session.get(asked.headers["Location"]) as answer,
        ):
            got = await answer.content.readexactly(1000)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        entry = sandbox.site.requests.recent[-1]

    assert got == CONTENT[:1000]
    assert answer.content_length == len(CONTENT)
    assert (entry["sent"], entry["faults"], entry["route"]) == (1000, ["cut"], "/{bucket}/{key}")


# ---------------------------------------------------------------------------------------- zips


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ({"drop_member": 1}, ["b"]),
        ({"add_member": {"kind": "renamed", "at": 2, "name": "other"}}, ["a", "other"]),
        ({"add_member": "dotdot"}, ["a", "b"]),
    ],
)
async def test_members_of_a_zip(
    sandbox: Sandbox, api: Api, tree: Tree, action: dict[str, Any], names: list[str]
) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a": b"a", "b": b"b"})
    body = {"nodes": [{"level": "acquisition", "_id": tree.acquisition}]}
    ticket = (await api.post("/download", body))["ticket"]
    sandbox.site.faults.add({"action": action})
    answer = await api.ask("GET", "/download", params={"ticket": ticket, "format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert [one.rpartition("/")[2] for one in archive.namelist()] == names


async def test_a_sidecar_can_be_longer_than_it_is(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a": b"a"})
    body = {"nodes": [{"level": "acquisition", "_id": tree.acquisition}]}
    ticket = (await api.post("/download", body, type="full", metadata="true"))["ticket"]
    before = await api.tar(ticket)
    changes = [{"kind": "oversized", "at": at, "size": 7} for at in range(1, len(before) + 1)]
    sandbox.site.faults.add({"action": {"add_member": changes}})
    after = await api.tar(ticket)

    assert len(before) > 1
    assert {name: len(data) + 7 for name, data in before.items()} == {
        name: len(data) for name, data in after.items()
    }
    assert all(after[name].startswith(data) for name, data in before.items())


# ------------------------------------------------------------------------------------ the guide


def test_the_examples_of_the_guide_can_be_played(tmp_path: Path) -> None:
    blocks = re.findall(r"```(json|toml)\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    counts = []
    for number, (suffix, text) in enumerate(blocks):
        path = tmp_path / f"{number}.{suffix}"
        path.write_text(text, "utf-8")
        counts.append(len(read_script(path)))

    assert counts == [3, 8]


def test_the_guide_names_every_key_and_kind() -> None:
    text = GUIDE.read_text("utf-8")
    keys = {*Rule.model_fields, *Match.model_fields, *Action.model_fields, *Hits.model_fields}
    keys = (keys - {"start"}) | {"from"}
    kinds = re.findall(r"`(\w+)`", text)

    assert [key for key in sorted(keys) if not re.search(rf"`{key}\b|\b{key} =", text)] == []
    assert [kind for kind in OWN if kind not in kinds] == []
