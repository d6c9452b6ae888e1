from __future__ import annotations

import re

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.core2018.old import Old, OldTree, old_client


async def test_a_key_may_come_with_its_host(server: Sandbox, nobody: Old) -> None:
    key = server.api_key.rpartition(":")[2]
    header = {"Authorization": f"scitran-user some.host:443:{key}"}
    answer = await nobody.ask("GET", "/users/self", headers=header)

    assert (200, "admin@sandbox.local") == (answer.status, answer.json["_id"])


async def test_oneself_is_shown_with_the_key(server: Sandbox, old: Old) -> None:
    found = await old.get("/users/self")

    assert {
        "_id",
        "email",
        "firstname",
        "lastname",
        "root",
        "avatars",
        "created",
        "modified",
        "api_key",
    } == found.keys()
    assert (True, {}) == (found["root"], found["avatars"])
    assert {"key", "created", "last_used"} == found["api_key"].keys()
    assert server.api_key.endswith(":" + found["api_key"]["key"])


async def test_a_new_key_kills_the_old_one_at_once(server: Sandbox, old: Old) -> None:
    answer = await old.ask("POST", "/users/self/key")
    dead = await old.ask("GET", "/users/self")
    async with old_client(server.url, answer.json["key"]) as fresh:
        alive = await fresh.ask("GET", "/users/self")

    assert ["key"] == list(answer.json)
    assert re.fullmatch(r"[A-Za-z0-9]{18}", answer.json["key"])
    assert (401, "Invalid API key") == (dead.status, dead.message)
    assert (200, answer.json["key"]) == (alive.status, alive.json["api_key"]["key"])


async def test_users_are_made_by_admins_and_devices(old: Old, uma: Old, reaper: Old) -> None:
    body = {"_id": "a@b", "firstname": "A", "lastname": "B"}
    made = await old.ask("POST", "/users", json=body)
    again = await old.ask("POST", "/users", json=body)
    device = await reaper.ask("POST", "/users", json=body | {"_id": "c@d"})
    user = await uma.ask("POST", "/users", json=body | {"_id": "e@f"})

    assert (200, {"_id": "a@b"}) == (made.status, made.json)
    assert (409, "Object with id a@b already exists.") == (again.status, again.message)
    assert (200, 403) == (device.status, user.status)


async def test_the_configuration_is_public_and_knows_no_features(nobody: Old) -> None:
    config = await nobody.get("/config")

    assert "site" in config
    assert not {"features", "signed_url"} & config.keys()


async def test_a_device_is_a_superuser_without_saying_so(
    old: Old, reaper: Old, tree: OldTree
) -> None:
    found = await reaper.get("/projects")

    assert [tree.project] == [entry["_id"] for entry in found]


@pytest.mark.row("sandbox-core-2018")
async def test_a_device_tells_of_itself_and_is_known_by_method_and_name(
    old: Old, reaper: Old
) -> None:
    unknown = (await reaper.get("/devices/status"))["reaper_scanner_1"]["status"]
    told = await reaper.ask("POST", "/devices", json={"interval": 60, "errors": ["full"]})
    troubled = (await old.get("/devices/status"))["reaper_scanner_1"]
    itself = await reaper.get("/devices/self")  # any request ends the errors
    well = (await old.get("/devices/status"))["reaper_scanner_1"]["status"]
    [entry] = await old.get("/devices")

    assert told.status == 200
    assert ["unknown", "error", "ok"] == [unknown, troubled["status"], well]
    assert troubled["errors"] == ["full"]
    assert {"_id": "reaper_scanner_1", "method": "reaper", "name": "scanner 1"}.items() <= (
        itself.items()
    )
    assert entry["_id"] == "reaper_scanner_1"
