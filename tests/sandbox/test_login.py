from __future__ import annotations

import re

import aiohttp
import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, client


@pytest.mark.row("config")
async def test_the_configuration_is_public(sandbox: Sandbox) -> None:
    async with client(sandbox.url, "") as nobody:
        config = await nobody.get("/config")

    assert config["signed_url"] is True
    assert config["features"]["signed_url"] is True
    assert isinstance(config["site"]["upload_maximum_bytes"], str)


@pytest.mark.parametrize("scheme", ["scitran-user {key}", "scitran-user {host}", "Bearer {key}"])
@pytest.mark.row("auth-schemes")
async def test_both_schemes_take_a_key_with_or_without_its_host(
    sandbox: Sandbox, scheme: str
) -> None:
    key = sandbox.api_key.rpartition(":")[2]
    header = {"Authorization": scheme.format(key=key, host=sandbox.api_key)}
    async with client(sandbox.url, "") as nobody:
        answer = await nobody.ask("GET", "/auth/status", headers=header)

    assert len(key) == 57
    assert answer.json["user_is_admin"] is True
    assert answer.json["origin"] == {"type": "user", "id": "admin@sandbox.local"}


@pytest.mark.row("auth-status", "users-self")
async def test_the_ordinary_user_is_no_admin(user: Api) -> None:
    status, myself = await user.get("/auth/status"), await user.get("/users/self")

    assert status["user_is_admin"] is False
    assert myself["_id"] == "user@sandbox.local"
    assert myself["roles"] == ["user"]


@pytest.mark.row("auth-schemes", "error-shape")
async def test_a_wrong_key_is_401_in_the_shape_of_an_error(sandbox: Sandbox) -> None:
    async with client(sandbox.url, "nonsense") as stranger:
        answer = await stranger.ask("GET", "/projects")

    assert answer.status == 401
    assert answer.json["status_code"] == 401
    assert answer.message == "Invalid API key"
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", answer.json["request_id"])


@pytest.mark.row("auth-schemes")
async def test_no_key_is_401_except_where_the_api_is_public(sandbox: Sandbox) -> None:
    async with client(sandbox.url, "") as nobody:
        lists = await nobody.ask("GET", "/projects")
        myself = await nobody.ask("GET", "/users/self")
        status = await nobody.get("/auth/status")

    assert lists.status == 401
    assert (myself.status, myself.message) == (400, "no user is logged in")
    assert status["roles"] == ["public"]


@pytest.mark.row("error-shape")
async def test_unknown_routes_and_methods_are_errors_in_json(api: Api) -> None:
    unknown, method = await api.ask("GET", "/nonsense"), await api.ask("PATCH", "/projects")

    assert (unknown.status, unknown.json["status_code"]) == (404, 404)
    assert (method.status, method.json["status_code"]) == (405, 405)
    assert "GET" in method.headers["Allow"]


@pytest.mark.row("error-shape")
async def test_a_body_that_is_no_json_is_400(api: Api) -> None:
    for body in (b"", b"{", b"[1]", b'"x"', b"\xff"):
        answer = await api.ask("POST", "/projects", data=body)

        assert answer.status == 400


@pytest.mark.row("auth-drone")
async def test_a_device_is_known_by_the_secret(sandbox: Sandbox) -> None:
    async def status(**headers: str) -> tuple[int, bool | None]:
        named = {f"X-SciTran-{name.title()}": value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(headers=named) as session,
            session.get(f"{sandbox.url}/api/auth/status") as answer,
        ):
            return answer.status, (await answer.json()).get("is_device")

    right = await status(auth=sandbox.device_secret, method="reaper", name="my scanner")
    wrong = await status(auth="x", method="reaper", name="a")
    nameless = await status(auth=sandbox.device_secret)

    assert right == (200, True)
    assert wrong == (401, None)
    assert nameless == (400, None)


@pytest.mark.row("roles")
async def test_roles_say_what_they_allow(api: Api) -> None:
    roles = {role["label"]: role for role in await api.get("/roles")}
    writer = await api.get(f"/roles/{roles['read-write']['_id']}")

    assert {"containers_create_hierarchy", "files_create_upload"} <= set(writer["actions"])
    assert "files_create_upload" not in roles["read-only"]["actions"]
