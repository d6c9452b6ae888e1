"""Users and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.api import Api, Tree, client

NEW = {"_id": "new@sandbox.local", "firstname": "Nia", "lastname": "New"}


@pytest.mark.row("users")
async def test_an_admin_makes_a_user_once(api: Api) -> None:
    made = await api.post("/users", NEW)
    again = await api.ask("POST", "/users", json=NEW)
    seen = await api.get(f"/users/{NEW['_id']}")

    assert made == {"_id": NEW["_id"]}
    assert (again.status, again.message) == (
        409,
        f"Object with id {NEW['_id']} already exists.",
    )
    assert (seen["firstname"], seen["roles"], seen["root"]) == ("Nia", ["user"], False)
    assert "api_key" not in seen


@pytest.mark.parametrize(
    "body",
    [{}, {"_id": "x"}, {**NEW, "zz": 1}, {**NEW, "firstname": 1}, {**NEW, "root": "yes"}],
)
async def test_a_user_that_cannot_be_read_is_400(api: Api, body: dict[str, Any]) -> None:
    assert (await api.ask("POST", "/users", json=body)).status == 400
    assert len(await api.get("/users")) == 2


async def test_others_make_no_users(user: Api) -> None:
    assert (await user.ask("POST", "/users", json=NEW)).status == 403


@pytest.mark.row("users")
async def test_users_are_listed_in_pages_with_filters(api: Api) -> None:
    await api.post("/users", NEW)

    found = await api.get("/users", filter="firstname=Nia")
    first = await api.get("/users", limit=2)
    rest = await api.get("/users", limit=2, after_id=first[-1]["_id"])

    assert [one["_id"] for one in found] == [NEW["_id"]]
    assert sorted(one["_id"] for one in first + rest) == [
        "admin@sandbox.local",
        "new@sandbox.local",
        "user@sandbox.local",
    ]


@pytest.mark.row("users-key")
async def test_a_new_key_without_a_body_ends_the_old_one_at_once(
    sandbox: Sandbox, user: Api
) -> None:
    answer = await user.ask("POST", "/users/self/key")
    key = answer.json["key"]

    assert answer.status == 200
    assert (await user.ask("GET", "/users/self")).status == 401
    async with client(sandbox.url, key) as renewed:
        me = await renewed.get("/users/self")
    assert me["_id"] == "user@sandbox.local"
    assert me["api_key"]["key"] == key


@pytest.mark.row("users-key")
async def test_a_key_with_a_label_joins_the_others_and_can_be_deleted(
    sandbox: Sandbox, user: Api
) -> None:
    second = await user.post("/users/self/key", {"label": "cluster"})
    async with client(sandbox.url, second["key"]) as other:
        assert (await other.get("/users/self"))["_id"] == "user@sandbox.local"
        listed = (await user.get("/users/self"))["api_keys"]
        assert (await user.ask("DELETE", f"/users/self/key/{second['_id']}")).status == 200
        assert (await other.ask("GET", "/users/self")).status == 401

    assert [key["label"] for key in listed] == ["", "cluster"]
    assert second["key"] not in str(listed)
    assert (await user.ask("DELETE", "/users/self/key/none")).status == 404


async def test_a_key_survives_a_restart_and_one_that_ended_does_not(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path / "data") as first:
        old = first.user_api_key
        async with client(first.url, old) as user:
            new = (await user.ask("POST", "/users/self/key")).json["key"]
    async with running_sandbox(tmp_path / "data") as second:
        assert second.user_api_key.rpartition(":")[2] == new
        async with client(second.url, old) as user:
            assert (await user.ask("GET", "/users/self")).status == 401


@pytest.mark.row("users", "auth-schemes")
async def test_a_disabled_user_is_402_and_a_deleted_one_401(
    sandbox: Sandbox, api: Api, user: Api, tree: Tree
) -> None:
    path = "/users/user@sandbox.local"
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    await api.post(f"/groups/{tree.group}/permissions", grant)
    await api.ask("PUT", path, json={"disabled": True})
    disabled = await user.ask("GET", "/groups")
    await api.ask("PUT", path, json={"disabled": False})
    enabled = await user.ask("GET", "/groups")
    await api.ask("DELETE", path)
    deleted = await user.ask("GET", "/groups")

    assert (disabled.status, enabled.status, deleted.status) == (402, 200, 401)
    assert len(enabled.json) == 1
    permissions = await api.get(f"/groups/{tree.group}/permissions")
    assert grant["_id"] not in [one["_id"] for one in permissions]


@pytest.mark.row("users")
async def test_users_change_themselves_but_not_what_they_may(user: Api, api: Api) -> None:
    path = "/users/user@sandbox.local"

    assert (await user.ask("PUT", path, json={"firstname": "Ulla"})).status == 200
    assert (await user.ask("PUT", path, json={"root": True})).status == 403
    assert (await user.ask("PUT", path, json={"roles": ["site_admin"]})).status == 403
    assert (await user.ask("PUT", "/users/admin@sandbox.local", json={})).status == 403
    assert (await user.get("/users/self"))["firstname"] == "Ulla"
    assert (await api.ask("DELETE", "/users/admin@sandbox.local")).status == 403


async def test_who_becomes_an_admin_sees_everything_at_once(
    user: Api, api: Api, tree: Tree
) -> None:
    before = await user.get("/projects")
    await api.ask("PUT", "/users/user@sandbox.local", json={"roles": ["site_admin"]})

    assert before == []
    assert [one["_id"] for one in await user.get("/projects")] == [tree.project]


@pytest.mark.row("users-key")
async def test_the_sandbox_draws_a_key_for_a_user_that_was_made(
    sandbox: Sandbox, api: Api, user: Api
) -> None:
    await api.post("/users", NEW)
    drawn = await api.ask("POST", f"/sandbox/users/{NEW['_id']}/key")

    async with client(sandbox.url, drawn.json["key"]) as new:
        assert (await new.get("/users/self"))["_id"] == NEW["_id"]
    assert (await user.ask("POST", f"/sandbox/users/{NEW['_id']}/key")).status == 403
