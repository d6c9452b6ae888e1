"""Switches: by setting, at run time, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import UsageError
from fwsync.sandbox import running_sandbox
from fwsync.sandbox.switches import Switches, read_switch, read_switches
from tests.sandbox.api import Api, Tree, client


@pytest.mark.row("sandbox-switches", "config")
async def test_a_switch_is_published_and_changed_while_the_sandbox_runs(api: Api) -> None:
    before = (await api.get("/config"))["features"]
    answer = await api.ask("PATCH", "/sandbox/switches", json={"audit_trail": True})
    after = (await api.get("/config"))["features"]

    assert answer.json["audit_trail"] is True
    assert before["audit_trail"] is False
    assert after == before | {"audit_trail": True}


@pytest.mark.parametrize(
    "body", [{"no_such": True}, {"signed_url": "yes"}, {"page_limit": -1}, {"compat": "v1"}, []]
)
@pytest.mark.row("sandbox-switches")
async def test_an_unknown_switch_or_value_changes_nothing(api: Api, body: Any) -> None:
    before = await api.get("/sandbox/switches")
    answer = await api.ask("PATCH", "/sandbox/switches", json=body)

    assert answer.status == 400
    assert await api.get("/sandbox/switches") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nope": True}, "there is no switch nope"),
        ({"signed_url": "off"}, 'signed_url needs true or false, as {"signed_url": false}'),
        ({"page_limit": True}, "page_limit needs a whole number, 0 to 1000000000, as"),
        ({"signed_part_size": 0}, "signed_part_size needs a whole number, 1 or more, as"),
        ({"compat": "v1"}, "compat is core-2018, or empty"),
    ],
)
@pytest.mark.row("sandbox-switches")
async def test_a_refusal_says_what_there_is(api: Api, change: dict[str, Any], message: str) -> None:
    answer = await api.ask("PATCH", "/sandbox/switches", json=change)

    assert answer.json["message"].startswith(message)
    assert "; the switches are signed_url, multipart_signed_url, " in answer.json["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=", "a switch without a name"),
        ("nope", "there is no switch nope"),
        ("audit_trail=yes", "audit_trail needs on or off, as audit_trail=off"),
        ("page_limit", "page_limit needs a whole number, 0 to 1000000000, as page_limit=100"),
        ("page_limit=" + "9" * 5000, "page_limit needs a whole number"),
        ("compat=2018", "compat is core-2018, or empty"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_told_how_to_write_it(
    text: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_switches([text])

    assert caught.value.message.startswith(f"--switch: {message}")
    assert caught.value.hint.startswith("the switches are ")


async def test_only_admins_touch_switches(user: Api) -> None:
    assert (await user.ask("GET", "/sandbox/switches")).status == 403
    assert (await user.ask("PATCH", "/sandbox/switches", json={})).status == 403


@pytest.mark.row("sandbox-switches", "lists-pages")
async def test_a_page_limit_caps_every_list_and_is_published(tmp_path: Path) -> None:
    async with (
        running_sandbox(tmp_path, switches={"page_limit": 2}, groups=("aa", "bb", "cc")) as sandbox,
        client(sandbox.url, sandbox.api_key) as api,
    ):
        config = await api.get("/config")
        bare = await api.get("/groups")
        asked = await api.get("/groups", limit=3)
        rest = await api.get("/groups", after_id=bare[-1]["_id"])

    assert config["site"]["pagination_limit"] == 2
    assert [one["_id"] for one in bare] == ["aa", "bb"]
    assert [one["_id"] for one in asked] == ["aa", "bb"]
    assert [one["_id"] for one in rest] == ["cc"]


@pytest.mark.row("sandbox-switches")
async def test_empty_hashes_show_no_hash_in_entries_lists_and_versions(
    api: Api, tree: Tree
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    (known,) = await api.upload(where, {"a.txt": b"one"})
    await api.ask("PATCH", "/sandbox/switches", json={"empty_hashes": True})
    (unknown,) = await api.upload(where, {"a.txt": b"two"})
    versions = await api.get(f"/files/{known['file_id']}/versions")
    listed = await api.get("/files")

    assert known["hash"].startswith("v0-sha384-")
    assert unknown["hash"] == ""
    assert [one["hash"] for one in versions] == ["", known["hash"]]
    assert [one["hash"] for one in listed["results"]] == [""]
    content = await api.ask("GET", f"/{where}/files/a.txt")
    assert content.body == b"two"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("audit-trail", ("audit_trail", True)),
        ("signed_url=off", ("signed_url", False)),
        ("signed_url=FALSE", ("signed_url", False)),
        ("page_limit=50", ("page_limit", 50)),
        ("compat=core-2018", ("compat", "core-2018")),
    ],
)
def test_switches_are_read_from_the_command_line(text: str, value: tuple[str, object]) -> None:
    name, read = read_switch(text)

    assert (name, read) == value
    assert getattr(Switches().changed({name: read}), name) == read
