"""What no client of good will sends: the answer is a 4xx that says so, never a 500."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from fwsync.sandbox import Sandbox
from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import keyring
from fwsync.sandbox.kept.keyring import Keyring
from fwsync.sandbox.problems import ApiError
from tests.sandbox.api import Api, Tree, client

LISTS = ("/files", "/acquisitions", "/users", "/devices")
HALF = r'"\udc00"'  # of a character, in JSON


async def send(api: Api, method: str, path: str, body: str) -> int:
    headers = {"Content-Type": "application/json"}
    answer = await api.ask(method, path, data=body, headers=headers)
    assert answer.status < 400 or answer.message
    return answer.status


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"sort": "a\0b"},
        {"sort": ",".join(["a"] * 2500)},
        {"limit": "9" * 15, "page": "9" * 15},
        {"filter": "label=~a{99999999999}"},
        {"filter": "label=~" + "(" * 2000 + ")" * 2000},
        {"filter": ",".join(["_id=a"] * 201)},
    ],
    ids=["a NUL", "many keys", "a far page", "many repeats", "many groups", "many clauses"],
)
async def test_parameters_of_a_list_that_the_database_cannot_take_are_422(
    api: Api, where: str, parameters: dict[str, str]
) -> None:
    answer = await api.ask("GET", where, params=parameters)

    assert answer.status == 422, answer


async def test_the_filter_of_a_tree_has_a_limit_too(api: Api) -> None:
    body = {"projects": {"fields": ["label"], "filter": ",".join(["_id=a"] * 6000)}}

    assert await send(api, "POST", "/tree", json.dumps(body)) == 422


@pytest.mark.parametrize("step", ["²", "1" * 5000, "-1"])
async def test_what_is_no_index_finds_nothing_in_a_list(api: Api, tree: Tree, step: str) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b""}, '{"tags":["x"]}')

    assert (await api.get("/files", filter=f"tags.{step}=x"))["results"] == []
    assert len((await api.get("/files", filter="tags.0=x"))["results"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/users", '{"_id":%s,"firstname":"a","lastname":"b"}'),
        ("POST", "/devices", '{"label":%s}'),
        ("POST", "/download", '{"nodes":[{"level":"project","_id":%s}]}'),
        ("POST", "/download/summary", '[{"level":"project","_id":%s}]'),
        ("POST", "/tree", '{"projects":{"fields":["label"],"sort":%s}}'),
    ],
)
async def test_half_a_character_in_a_body_is_400(
    api: Api, method: str, path: str, body: str
) -> None:
    assert await send(api, method, path, body % HALF) == 400


@pytest.mark.parametrize(
    "filename", ["unicode_escape''%5Cud800", "utf-7''%2B2AA-", "idna''%ff", "hex''%aa"]
)
async def test_half_a_character_in_a_file_name_is_400(api: Api, tree: Tree, filename: str) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename*={filename}\r\n\r\n'
        "x\r\n--b--\r\n"
    )
    answer = await api.ask(
        "POST",
        f"/acquisitions/{tree.acquisition}/files",
        data=body.encode(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert answer.status == 400, answer
    with pytest.raises(ApiError):
        file_name("a\udc00")


@pytest.mark.parametrize(
    "expires", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 5, {}]
)
async def test_a_key_expires_at_a_time(api: Api, expires: Any) -> None:
    assert await send(api, "POST", "/users/self/key", json.dumps({"expires_at": expires})) == 400


async def test_the_label_of_a_key_is_a_text(api: Api) -> None:
    assert await send(api, "POST", "/users/self/key", '{"label":{"a":1}}') == 400


@pytest.mark.parametrize("interval", [10**30, -1, True, "5"])
async def test_the_interval_of_a_device_is_a_number_of_seconds(
    sandbox: Sandbox, api: Api, interval: Any
) -> None:
    key = (await api.post("/devices", {"label": "d"}))["key"]
    async with client(sandbox.url, key) as device:
        told = json.dumps({"interval": interval})

        assert await send(device, "PUT", "/devices/self", told) == 400


@pytest.mark.parametrize(
    "told", [{"firstname": None}, {"lastname": None}, {"info": []}, {"preferences": "x"}]
)
async def test_the_fields_of_a_user_have_their_types(user: Api, told: dict[str, Any]) -> None:
    me = (await user.get("/users/self"))["_id"]

    assert await send(user, "PUT", f"/users/{me}", json.dumps(told)) == 400


async def test_the_limit_of_a_page_is_one_that_a_list_can_keep(api: Api) -> None:
    assert (
        await send(api, "PATCH", "/sandbox/switches", '{"page_limit":9223372036854775808}') == 400
    )
    assert await send(api, "PATCH", "/sandbox/switches", '{"page_limit":1000000000}') == 200

    await api.get("/files")


@pytest.mark.parametrize(
    ("secret", "method", "status"),
    [("\udcff", "m", 401), (None, "\udcff", 400)],
    ids=["secret", "method"],
)
async def test_headers_that_are_no_utf8_are_refused(
    sandbox: Sandbox, secret: str | None, method: str, status: int
) -> None:
    told = {
        "X-SciTran-Auth": secret or sandbox.device_secret,
        "X-SciTran-Method": method,
        "X-SciTran-Name": "scanner",
    }

    with pytest.raises(ApiError) as caught:
        await sandbox.site.keyring.caller(CIMultiDictProxy(CIMultiDict(told)))
    assert caught.value.status == status


async def test_an_older_look_at_the_keys_never_replaces_a_newer_one(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two readers is slow, and a key is taken back meanwhile."""
    records, go_on, begun = sandbox.site.records, asyncio.Event(), asyncio.Event()
    read = records.read

    async def slow_at_first(job: Callable[[sqlite3.Connection], Any]) -> Any:
        found = await read(job)
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        return found

    ring = Keyring(records, "secret")
    monkeypatch.setattr(records, "read", slow_at_first)
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {sandbox.user_api_key}"}))
    first = asyncio.create_task(ring.load())
    await begun.wait()
    await records.write(lambda pen: pen.db.execute("DELETE FROM keys").rowcount)
    second = asyncio.create_task(ring.load())
    for _ in range(20):  # the second has its turn, if it does not wait for the first
        await read(keyring.keys_of, "user", "")
    go_on.set()
    await asyncio.gather(first, second)

    with pytest.raises(ApiError):
        await ring.caller(headers)
