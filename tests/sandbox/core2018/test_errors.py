from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Answer, client
from tests.sandbox.core2018.old import Old, OldTree, Part, raw, wire

ERRORS = wire("errors.json")
REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9]{10}")


@pytest.mark.row("sandbox-core-2018")
async def test_errors_are_told_as_they_were(old: Old, uma: Old, nobody: Old, tree: OldTree) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"123456789")
    askers = {"admin": old, "user": uma, "nobody": nobody}
    ids = {"P": tree.project, "S": tree.session, "A": tree.acquisition}

    def spelled(text: str) -> str:
        for short, full in ids.items():
            text = re.sub(rf'(/|"){short}(?=["/?]|$)', rf"\g<1>{full}", text)
        return text

    async def ask(row: dict[str, Any]) -> Answer:
        body = spelled(row["body"]) if "body" in row else None
        headers = {"Content-Type": "application/json", **row.get("headers", {})}
        path = spelled(row["path"])
        return await askers[row["who"]].ask(row["method"], path, data=body, headers=headers)

    wrong = {row["name"]: answer for row in ERRORS if not fits(row, answer := await ask(row))}

    assert {} == wrong
    assert len(ERRORS) > 60


def fits(row: dict[str, Any], answer: Answer) -> bool:
    told = json.loads(answer.body)
    return (
        answer.headers["Content-Type"].partition(";")[0] == "application/json"
        and row["status"] == answer.status == told["status_code"]
        and REQUEST_ID.fullmatch(told["request_id"]) is not None
        and told["message"].startswith(row.get("message_begins", ""))
        and row.get("message", told["message"]) == told["message"]
        and row.get("reason") == told.get("reason")
    )


@pytest.mark.row("sandbox-core-2018")
async def test_head_is_not_allowed(old: Old, tree: OldTree) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"123456789")
    file = f"/acquisitions/{tree.acquisition}/files/a.txt"
    paths = ["/groups", "/config", f"/projects/{tree.project}", file, "/download", "/resolve"]
    answers = [await raw(old, "HEAD", path) for path in paths]

    assert [405] * len(paths) == [answer.status for answer in answers]


async def test_head_of_the_root_alone_is_answered(nobody: Old) -> None:
    answer = await raw(nobody, "HEAD", "")

    assert answer.status == 200


async def test_what_has_a_length_says_so_and_the_connection_stays(old: Old, tree: OldTree) -> None:
    answer = await raw(old, "GET", f"/projects/{tree.project}")

    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.closed is False


async def test_a_wrong_schema_shows_schema_and_instance(old: Old) -> None:
    answer = await old.ask("POST", "/groups", json={"label": "é"})

    assert answer.message == (
        "u'_id' is a required property\n\n"
        "Failed validating u'required' in schema:\n"
        "    {u'type': u'object', u'properties': {u'label': {u'type': u'string', u'minLength': 1,"
        " u'maxLength': 256}, u'_id': {u'type': u'string', u'pattern':"
        " u'^[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]$'}}, u'additionalProperties': False,"
        " u'required': [u'_id']}\n\n"
        "On instance:\n"
        "    {u'label': u'\\xe9'}"
    )


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.row("sandbox-core-2018")
@pytest.mark.parametrize(
    ("value", "status"),
    [("NaN", 500), ("-Infinity", 500), ("1e999", 500), ('"\\ud800"', 500), (nested(900), 400)],
)
async def test_what_would_spoil_the_records_is_no_json(
    server: Sandbox,
    old: Old,
    tree: OldTree,
    value: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The site is there for newer clients too, who sort by what is kept."""
    info = await old.ask(
        "POST", f"/projects/{tree.project}/info", data=f'{{"set": {{"a": {value}}}}}'
    )
    path = await old.ask("POST", "/resolve", data=f'{{"path": [{value}]}}')
    where = f"acquisitions/{tree.acquisition}"
    told = Part("metadata", f'{{"info": {{"a": {value}}}}}'.encode())
    file = await old.send(f"/{where}/files", Part("file", b"x", "f"), told)
    kept = await old.get(f"/projects/{tree.project}")
    server.site.switches = server.site.switches.changed({"compat": ""})
    async with client(server.url, server.api_key) as api:
        listed = await api.get("/projects", sort="info.a:asc")

    assert [status, status, 400] == [info.status, path.status, file.status]
    assert kept["info"] == {}
    assert [tree.project] == [one["_id"] for one in listed]
    assert [one.getMessage() for one in caplog.records] == []
