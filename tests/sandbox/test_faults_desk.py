from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fwsync.sandbox import Sandbox, SandboxSettings, running_sandbox
from fwsync.sandbox.exchange import masked
from fwsync.sandbox.faults.script import parse_rules
from tests.sandbox.api import Api, Tree, client

RULE = {"match": {"path": ["/projects"]}, "action": {"status": 503}}


@pytest.mark.row("sandbox-faults")
async def test_rules_are_added_shown_replaced_and_removed(api: Api) -> None:
    one = await api.post("/sandbox/faults", RULE)
    more = await api.post("/sandbox/faults", [{**RULE, "id": "mine"}, RULE])
    for _ in range(3):
        await api.ask("GET", "/projects")
    shown = (await api.get("/sandbox/faults"))["rules"]
    gone = await api.ask("DELETE", "/sandbox/faults/mine")
    left = (await api.get("/sandbox/faults"))["rules"]
    put = await api.ask("PUT", "/sandbox/faults", json=[{**RULE, "id": "new"}])
    new = (await api.get("/sandbox/faults"))["rules"]
    cleared = await api.ask("DELETE", "/sandbox/faults")

    assert (one, more) == ({"ids": ["fault-1"]}, {"ids": ["mine", "fault-2"]})
    assert shown[1] == {**RULE, "id": "mine", "hits": 3, "fired": 3}
    assert gone.json == {"deleted": 1}
    assert [rule["id"] for rule in left] == ["fault-1", "fault-2"]
    assert put.json == {"ids": ["new"]}
    assert new == [{**RULE, "id": "new", "hits": 0, "fired": 0}]
    assert cleared.json == {"deleted": 1}
    assert (await api.ask("GET", "/projects")).status == 200


async def test_a_rule_that_cannot_be_played_is_400_and_names_the_key(api: Api) -> None:
    answer = await api.ask("POST", "/sandbox/faults", json={"action": {"statuss": 1}})
    gone = await api.ask("DELETE", "/sandbox/faults/nobody")
    await api.post("/sandbox/faults", {**RULE, "id": "a"})
    twice = await api.ask("POST", "/sandbox/faults", json={**RULE, "id": "a"})

    assert (answer.status, gone.status, twice.status) == (400, 404, 400)
    assert answer.message == "rules[0].action.statuss: there is no such key"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_the_script_is_for_admins(sandbox: Sandbox, user: Api, method: str) -> None:
    async with client(sandbox.url, "") as nobody:
        assert (await nobody.ask(method, "/sandbox/faults", json=RULE)).status == 401
    assert (await user.ask(method, "/sandbox/faults", json=RULE)).status == 403
    assert not sandbox.site.faults


async def test_no_rule_is_for_the_desk_itself(api: Api) -> None:
    await api.post("/sandbox/faults", {"action": {"reset": True}})

    assert len((await api.get("/sandbox/faults"))["rules"]) == 1
    assert (await api.get("/sandbox/requests"))["total"] == 0


async def test_a_sandbox_may_start_with_a_script(tmp_path: Path) -> None:
    settings = SandboxSettings(tmp_path, faults=parse_rules(RULE))
    async with running_sandbox(settings) as sandbox, client(sandbox.url, sandbox.api_key) as api:
        assert (await api.ask("GET", "/projects")).status == 503
        assert sandbox.site.faults.fired("fault-1") == 1


# ----------------------------------------------------------------------- what is written down


async def requests_of(api: Api) -> list[dict[str, Any]]:
    log = await api.get("/sandbox/requests")
    found: list[dict[str, Any]] = log["requests"]
    return found


async def test_what_began_before_the_record_was_cleared_is_not_in_it(
    sandbox: Sandbox, api: Api
) -> None:
    await api.post("/sandbox/faults", {"match": RULE["match"], "action": {"delay_s": 0.2}})
    old = asyncio.create_task(api.get("/projects"))
    while not sandbox.site.faults.fired("fault-1"):
        await asyncio.sleep(0)
    await api.ask("DELETE", "/sandbox/requests")
    await old
    assert [] == await requests_of(api)

    await api.ask("DELETE", "/sandbox/faults")
    await api.get("/projects")
    assert 1 == len(await requests_of(api))


@pytest.mark.row("sandbox-requests")
async def test_each_request_is_written_down(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    await api.ask("DELETE", "/sandbox/requests")
    await api.upload(f"projects/{tree.project}", {"f": b"x" * 700_000})
    got = await api.ask("GET", f"/projects/{tree.project}/files/f", headers={"User-Agent": "me/1"})
    await api.get("/projects", limit=1)
    up, down, listed = await requests_of(api)

    assert up["method"] == "POST"
    assert up["route"] == "/api/projects/{id}/files"
    assert up["path"] == f"/api/projects/{tree.project}/files"
    assert 700_000 < up["received"] < 701_000
    assert down["sent"] == len(got.body) == 700_000
    assert down["user_agent"] == "me/1"
    assert down["caller"] == {"kind": "user", "id": "admin@sandbox.local"}
    assert listed["query"] == "limit=1"
    assert listed["sent"] > 100
    assert {one["status"] for one in (up, down, listed)} == {200}
    assert {one["carried_out"] for one in (up, down, listed)} == {200}
    assert [one["faults"] for one in (up, down, listed)] == [[], [], []]


@pytest.mark.row("sandbox-requests", "sandbox-faults")
async def test_what_a_fault_did_is_written_down(sandbox: Sandbox, api: Api) -> None:
    sandbox.site.faults.add({"id": "never", "match": {"path": "/other"}, "action": {"status": 500}})
    sandbox.site.faults.add({"id": "busy", "action": {"status": 503}})
    await api.ask("GET", "/projects/abc")
    [entry] = await requests_of(api)

    assert entry["faults"] == ["busy"]
    assert entry["route"] == "/api/projects/{id}"
    assert (entry["status"], entry["carried_out"]) == (503, None)


async def test_a_caller_without_a_key_and_a_device(sandbox: Sandbox, api: Api) -> None:
    named = {
        "X-SciTran-Auth": sandbox.device_secret,
        "X-SciTran-Method": "reaper",
        "X-SciTran-Name": "one",
    }
    async with aiohttp.ClientSession() as session:
        await session.get(f"{sandbox.url}/api/config")
        await session.get(f"{sandbox.url}/api/config", headers=named)
    kinds = [one["caller"]["kind"] for one in await requests_of(api)]

    assert kinds == ["unknown", "device"]


@pytest.mark.row("sandbox-requests")
async def test_no_secret_is_written_down(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"f": b"x"})
    body = {"nodes": [{"level": "project", "_id": tree.project}]}
    ticket = (await api.post("/download", body))["ticket"]
    await api.tar(ticket)
    await api.ask("GET", "/projects", params={"X-Amz-Signature": "5ecret", "limit": 1})
    log = str(await requests_of(api))

    assert ticket not in log
    assert "5ecret" not in log
    assert sandbox.api_key.rpartition(":")[2] not in log
    assert "ticket=***" in log
    assert "limit=1" in log


@pytest.mark.row("sandbox-requests")
async def test_a_key_that_is_deleted_by_its_name_is_not_written_down(api: Api, tree: Tree) -> None:
    made = await api.post("/users/self/key", {"label": "short-lived"})
    device = await api.post("/devices", {"type": "reaper", "name": "scanner", "label": "scanner"})
    [entry] = await api.upload(f"projects/{tree.project}", {"key": b"x"})
    await api.ask("DELETE", f"/users/self/key/{made['key']}")
    await api.ask("DELETE", f"/devices/{device['_id']}/key/5ecret%2F5ecret")
    await api.get(f"/projects/{tree.project}/files/key/info")
    log = str(await requests_of(api))

    assert made["key"] not in log
    assert "5ecret" not in log
    assert "/api/users/self/key/***" in log
    assert f"/api/devices/{device['_id']}/key/***" in log
    assert f"/api/projects/{tree.project}/files/{entry['name']}/info" in log


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("ticket=", "ticket="),
        ("ticket", "ticket"),
        ("ticket=abc&limit=2", "ticket=***&limit=2"),
        ("X-Amz-Signature=a&X-Amz-Date=b", "X-Amz-Signature=***&X-Amz-Date=b"),
        ("X-Goog-Credential=a&sig=b&sv=c", "X-Goog-Credential=***&sig=***&sv=c"),
        ("token=a=b&metadata=%7B%7D", "token=***&metadata=***"),
        ("%74icket=abc", "%74icket=***"),
        ("uploadId=a&partNumber=1", "uploadId=***&partNumber=1"),
        ("X-Amz-Security-Token=a&AWSAccessKeyId=b", "X-Amz-Security-Token=***&AWSAccessKeyId=***"),
        ("metadata=True&type=full", "metadata=True&type=full"),  # it asks for sidecars
        ("token=1", "token=***"),
        ("access_token=a&api_key=b&upload_id=c", "access_token=***&api_key=***&upload_id=***"),
    ],
)
def test_queries_are_masked(query: str, shown: str) -> None:
    assert masked(query) == shown
