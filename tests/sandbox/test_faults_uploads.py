from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, Tree
from tests.sandbox.raw import hear

CONTENT = bytes(range(256)) * 8192  # 2 MiB
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
FORM = HEAD + CONTENT + b"\r\n--b--\r\n"
TYPE = "Content-Type: multipart/form-data; boundary=b\r\n"


async def names_in(api: Api, tree: Tree) -> list[str]:
    found = await api.get("/files", filter=f"parents.project={tree.project}")
    return [one["name"] for one in found["results"]]


async def test_the_answer_to_an_upload_is_lost_and_the_file_is_there(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    sandbox.site.faults.add(
        {
            "match": {"method": "POST", "path": "/projects/*/files"},
            "action": {"reset": True, "when": "after"},
        }
    )
    heard = await hear(sandbox, "POST", f"/projects/{tree.project}/files", FORM, headers=TYPE)

    assert heard.reset
    assert heard.head == ""
    assert await names_in(api, tree) == ["f"]
    content = await api.ask("GET", f"/projects/{tree.project}/files/f")
    assert content.body == CONTENT


@pytest.mark.parametrize("at", [0, 1, len(HEAD), 500_000, len(FORM)])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upload_is_cut_while_it_is_received(
    sandbox: Sandbox, api: Api, tree: Tree, tmp_path: Path, at: int, how: str
) -> None:
    sandbox.site.faults.add(
        {"match": {"method": "POST"}, "action": {"cut_upload_at": at, "cut_with": how}}
    )
    heard = await hear(sandbox, "POST", f"/projects/{tree.project}/files", FORM, headers=TYPE)
    entry = sandbox.site.requests.recent[-1]

    assert heard.head == ""
    assert (entry["status"], entry["carried_out"], entry["received"]) == (0, None, at)
    assert await names_in(api, tree) == []
    await asyncio.to_thread(sandbox.site.blobs.close)  # what was on its way has been cleared
    assert list((tmp_path / "data" / "incoming").iterdir()) == []


async def test_an_upload_that_a_proxy_shortens_is_refused_as_it_would_be(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    sandbox.site.faults.add({"action": {"cut_upload_at": 1000, "cut_with": "end"}})
    heard = await hear(sandbox, "POST", f"/projects/{tree.project}/files", FORM, headers=TYPE)
    sandbox.site.faults.clear()

    assert heard.status == 400
    assert await names_in(api, tree) == []


async def test_a_body_shorter_than_the_cut_is_not_cut(sandbox: Sandbox, api: Api) -> None:
    sandbox.site.faults.add({"action": {"cut_upload_at": 1000}})
    answer = await api.ask("POST", "/groups", json={"_id": "new", "label": "New"})

    assert answer.status == 200


async def test_an_upload_takes_the_time_that_its_line_takes(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    sandbox.site.faults.clock.now = lambda: 0.0
    sandbox.site.faults.clock.sleep = sleep
    sandbox.site.faults.add({"match": {"method": "POST"}, "action": {"bandwidth": 1 << 20}})
    heard = await hear(sandbox, "POST", f"/projects/{tree.project}/files", FORM, headers=TYPE)

    assert heard.status == 200
    assert max(asked) == pytest.approx(len(FORM) / (1 << 20))
    assert sandbox.site.requests.recent[-1]["received"] == len(FORM)
    assert (await api.ask("GET", f"/projects/{tree.project}/files/f")).body == CONTENT


async def test_json_is_read_at_the_pace_of_the_line(sandbox: Sandbox, api: Api) -> None:
    sandbox.site.faults.add({"action": {"bandwidth": 50_000_000, "cut_upload_at": 10_000}})
    made = await api.ask("POST", "/groups", json={"_id": "new", "label": "L" * 200})

    assert made.status == 200
    assert (await api.get("/groups"))[0]["label"] == "L" * 200
