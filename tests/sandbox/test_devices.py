"""Devices: registration by secret and by key, signs of life, status, keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, Tree, client

SECRET_ROUTE = {"X-SciTran-Method": "reaper", "X-SciTran-Name": "scanner 1"}


def secret_headers(sandbox: Sandbox, **changes: str) -> dict[str, str]:
    return {"X-SciTran-Auth": sandbox.device_secret, **SECRET_ROUTE, **changes}


async def register(sandbox: Sandbox) -> dict[str, Any]:
    """What a device that knows the secret is told about itself."""
    async with client(sandbox.url, "") as nobody:
        answer = await nobody.ask("GET", "/devices/self", headers=secret_headers(sandbox))
    assert answer.status == 200
    device: dict[str, Any] = answer.json
    return device


@pytest.mark.row("devices-secret", "auth-drone", "devices-self")
async def test_the_secret_registers_a_device_once_and_gives_it_a_key(sandbox: Sandbox) -> None:
    device = await register(sandbox)
    again = await register(sandbox)

    assert device["_id"] == again["_id"]
    assert device["key"] == again["key"]
    assert len(device["key"]) == 57
    assert device["name"] == "reaper_scanner_1"
    assert device["method"] == "reaper"
    async with client(sandbox.url, device["key"]) as itself:
        status = await itself.get("/auth/status")
        assert (await itself.get("/devices/self"))["_id"] == device["_id"]
    assert status["is_device"] is True
    assert status["origin"] == {"type": "device", "id": device["_id"]}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"X-SciTran-Auth": "wrong"}, 401),
        ({"X-SciTran-Method": ""}, 400),
        ({"X-SciTran-Name": ""}, 400),
    ],
)
@pytest.mark.row("auth-drone")
async def test_a_wrong_secret_or_no_name_is_refused(
    sandbox: Sandbox, api: Api, changes: dict[str, str], status: int
) -> None:
    async with client(sandbox.url, "") as nobody:
        headers = secret_headers(sandbox, **changes)
        answer = await nobody.ask("GET", "/devices/self", headers=headers)

    assert answer.status == status
    assert await api.get("/devices") == []


@pytest.mark.row("devices-create", "devices-list")
async def test_an_admin_makes_a_device_and_only_that_answer_shows_the_key(
    sandbox: Sandbox, api: Api
) -> None:
    made = await api.post("/devices", {"label": "MR 1", "type": "reaper"})
    seen = await api.get(f"/devices/{made['_id']}")
    listed = await api.get("/devices", filter="label=MR 1")
    twice = await api.ask("POST", "/devices", json={"label": "MR 1", "type": "reaper"})

    assert made["type"] == "reaper"
    assert "key" not in seen
    assert [entry["_id"] for entry in listed] == [made["_id"]]
    assert made["key"] not in str(listed)
    assert twice.status == 409
    async with client(sandbox.url, made["key"]) as itself:
        assert (await itself.get("/devices/self"))["key"] == made["key"]


@pytest.mark.row("devices-change")
async def test_only_admins_make_change_and_delete_devices(user: Api, api: Api) -> None:
    made = await api.post("/devices", {"label": "MR 1", "type": "reaper"})

    for method, path in (
        ("POST", "/devices"),
        ("PUT", f"/devices/{made['_id']}"),
        ("DELETE", f"/devices/{made['_id']}"),
        ("POST", f"/devices/{made['_id']}/key"),
    ):
        assert (await user.ask(method, path, json={})).status == 403
    assert (await user.ask("GET", "/devices/self")).status == 403


@pytest.mark.row("devices-self", "devices-status")
async def test_a_heartbeat_tells_and_any_other_request_clears_the_errors(
    sandbox: Sandbox, api: Api
) -> None:
    device = await register(sandbox)
    async with client(sandbox.url, device["key"]) as itself:
        told = await itself.ask(
            "PUT",
            "/devices/self",
            json={"type": "reaper", "version": "1.2", "interval": 60, "errors": ["disk full"]},
        )
        troubled = await api.get("/devices/status")
        await itself.get("/auth/status")
        well = await api.get("/devices/status")

    assert told.status == 200
    assert told.json["version"] == "1.2"
    assert told.json["errors"] == ["disk full"]
    assert troubled[device["_id"]]["status"] == "error"
    assert troubled[device["_id"]]["errors"] == ["disk full"]
    assert well[device["_id"]]["status"] == "ok"
    assert well[device["_id"]]["errors"] == []


@pytest.mark.row("devices-status")
async def test_a_device_that_never_told_its_interval_is_unknown(sandbox: Sandbox, api: Api) -> None:
    device = await register(sandbox)

    assert (await api.get("/devices/status"))[device["_id"]]["status"] == "unknown"


@pytest.mark.row("devices-status")
async def test_a_device_that_is_late_is_missing(sandbox: Sandbox, api: Api) -> None:
    device = await register(sandbox)
    async with client(sandbox.url, device["key"]) as itself:
        await itself.ask("PUT", "/devices/self", json={"interval": 60})
    long_ago = (datetime.now(UTC) - timedelta(seconds=61)).isoformat(timespec="microseconds")
    await sandbox.site.records.write(
        lambda pen: pen.db.execute("UPDATE devices SET last_seen = ?", (long_ago,)).rowcount
    )

    assert (await api.get("/devices/status"))[device["_id"]]["status"] == "missing"


@pytest.mark.row("devices-self")
async def test_the_type_is_told_once(sandbox: Sandbox) -> None:
    device = await register(sandbox)
    async with client(sandbox.url, device["key"]) as itself:
        await itself.ask("PUT", "/devices/self", json={"type": "reaper"})
        same = await itself.ask("PUT", "/devices/self", json={"type": "reaper"})
        other = await itself.ask("PUT", "/devices/self", json={"type": "other"})

    assert same.status == 200
    assert other.status == 422


@pytest.mark.parametrize("body", [{"zz": 1}, {"errors": "x"}, {"interval": "soon"}])
async def test_a_heartbeat_that_cannot_be_read_changes_nothing(
    sandbox: Sandbox, api: Api, body: dict[str, Any]
) -> None:
    device = await register(sandbox)
    async with client(sandbox.url, device["key"]) as itself:
        answer = await itself.ask("PUT", "/devices/self", json=body)

    assert answer.status == 400
    assert (await api.get(f"/devices/{device['_id']}"))["interval"] is None


@pytest.mark.row("devices-change", "auth-device")
async def test_a_disabled_device_is_shut_out_until_it_is_enabled(
    sandbox: Sandbox, api: Api
) -> None:
    device = await register(sandbox)
    path = f"/devices/{device['_id']}"
    async with client(sandbox.url, device["key"]) as itself:
        await api.ask("PUT", path, json={"disabled": True})
        by_key = await itself.ask("GET", "/devices/self")
        by_secret = await itself.ask("GET", "/devices/self", headers=secret_headers(sandbox))
        await api.ask("PUT", path, json={"disabled": False})
        after = await itself.ask("GET", "/devices/self")

    assert (by_key.status, by_secret.status, after.status) == (402, 402, 200)


@pytest.mark.row("devices-change", "auth-device")
async def test_a_deleted_device_is_gone_with_its_key(sandbox: Sandbox, api: Api) -> None:
    device = await register(sandbox)

    assert (await api.ask("DELETE", f"/devices/{device['_id']}")).status == 200
    assert (await api.ask("GET", f"/devices/{device['_id']}")).status == 404
    async with client(sandbox.url, device["key"]) as itself:
        assert (await itself.ask("GET", "/auth/status")).status == 401


@pytest.mark.row("devices-keys")
async def test_a_second_key_opens_until_it_is_deleted_or_expires(
    sandbox: Sandbox, api: Api
) -> None:
    device = await register(sandbox)
    path = f"/devices/{device['_id']}/key"
    second = await api.post(path, {"label": "spare"})
    over = await api.post(path, {"expires_at": "2020-01-01T00:00:00Z"})
    joined = await api.get("/devices", join_keys="true")

    assert second["label"] == "spare"
    assert second["unencrypted_secret"] == second["key"]
    assert second["key"] not in str(joined)
    async with client(sandbox.url, over["key"]) as itself:
        assert (await itself.ask("GET", "/devices/self")).status == 401
    async with client(sandbox.url, second["key"]) as itself:
        assert (await itself.get("/devices/self"))["_id"] == device["_id"]
        gone = await api.ask("DELETE", f"{path}/{second['_id']}")
        assert gone.status == 200
        assert (await itself.ask("GET", "/devices/self")).status == 401


@pytest.mark.row("auth-device")
async def test_what_a_device_uploads_carries_it_as_the_origin(sandbox: Sandbox, tree: Tree) -> None:
    device = await register(sandbox)
    async with client(sandbox.url, device["key"]) as itself:
        (entry,) = await itself.upload(f"acquisitions/{tree.acquisition}", {"a.dcm": b"x"})

    assert entry["origin"] == {"type": "device", "id": device["_id"]}
