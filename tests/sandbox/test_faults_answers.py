from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.content.sending import AT_ONCE
from tests.sandbox.api import Api, Tree
from tests.sandbox.raw import Heard, hear, unchunked

SMALL = bytes(range(256)) * 4
LARGE = SMALL * (3 * AT_ONCE // len(SMALL))  # sent by sendfile when nothing is in the way


class Waits:
    """A clock that stands, and remembers how long it was asked to wait."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.asked: list[float] = []
        sandbox.site.faults.clock.now = lambda: 100.0
        sandbox.site.faults.clock.sleep = self._sleep

    async def _sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0)

    @property
    def longest(self) -> float:
        return max(self.asked)


def entry_of(sandbox: Sandbox) -> dict[str, Any]:
    return sandbox.site.requests.recent[-1]


async def file_of(api: Api, tree: Tree, content: bytes) -> str:
    await api.upload(f"projects/{tree.project}", {"f": content})
    return f"/projects/{tree.project}/files/f"


# --------------------------------------------------------------------- instead of the answer


@pytest.mark.row("sandbox-faults")
async def test_a_status_with_headers_and_the_usual_error_body(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    sandbox.site.faults.add(
        {
            "id": "busy",
            "match": {"path": "/projects", "hits": {"nth": 2}},
            "action": {"status": 429, "headers": {"Retry-After": "-5", "X-Rate": "0"}},
        }
    )
    answers = [await api.ask("GET", "/projects") for _ in range(3)]

    assert [one.status for one in answers] == [200, 429, 200]
    assert answers[1].headers["Retry-After"] == "-5"
    assert answers[1].headers["X-Rate"] == "0"
    assert answers[1].headers["Content-Type"].startswith("application/json")
    assert answers[1].json["status_code"] == 429
    assert answers[1].message == "Too Many Requests (fault busy)"
    assert sorted(answers[1].json) == ["message", "request_id", "status_code"]


@pytest.mark.parametrize(
    ("body", "sent"),
    [("<Error/>", b"<Error/>"), ({"a": [1]}, b'{"a":[1]}'), ([], b"[]"), ("", b"")],
)
@pytest.mark.row("sandbox-faults")
async def test_a_body_of_choice(sandbox: Sandbox, api: Api, body: Any, sent: bytes) -> None:
    sandbox.site.faults.add({"action": {"status": 200, "body": body}})

    assert (await api.ask("GET", "/projects")).body == sent


@pytest.mark.row("sandbox-faults")
async def test_a_page_instead_of_json(sandbox: Sandbox, api: Api) -> None:
    sandbox.site.faults.add({"id": "portal", "action": {"html": True}})
    portal = await api.ask("GET", "/projects")
    sandbox.site.faults.replace({"action": {"html": "<p>503</p>", "status": 503}})
    proxy = await api.ask("GET", "/nonsense")

    assert (portal.status, proxy.status) == (200, 503)
    assert portal.headers["Content-Type"] == "text/html; charset=utf-8"
    assert portal.body.startswith(b"<!DOCTYPE html>")
    assert proxy.body == b"<p>503</p>"


@pytest.mark.row("sandbox-faults")
async def test_a_reset_before_the_work(sandbox: Sandbox, api: Api) -> None:
    sandbox.site.faults.add({"match": {"method": "POST"}, "action": {"reset": True}})
    body = json.dumps({"_id": "new", "label": "New"}).encode()
    heard = await hear(sandbox, "POST", "/groups", body)

    assert heard == Heard("", b"", reset=True)
    assert entry_of(sandbox)["status"] == 0
    assert entry_of(sandbox)["carried_out"] is None
    assert await api.get("/groups") == []


@pytest.mark.parametrize("action", [{"reset": True}, {"status": 504}, {"html": True}])
async def test_an_answer_that_is_lost_after_the_work(
    sandbox: Sandbox, api: Api, action: dict[str, Any]
) -> None:
    sandbox.site.faults.add({"match": {"method": "POST"}, "action": {**action, "when": "after"}})
    body = json.dumps({"_id": "new", "label": "New"}).encode()
    heard = await hear(sandbox, "POST", "/groups", body)

    assert heard.reset is ("reset" in action)
    assert heard.status == {"reset": 0, "status": 504, "html": 200}[next(iter(action))]
    assert b'"_id"' not in heard.body
    assert [one["_id"] for one in await api.get("/groups")] == ["new"]
    entry = [one for one in sandbox.site.requests.recent if one["method"] == "POST"][-1]
    assert (entry["status"], entry["carried_out"]) == (heard.status, 200)


async def test_a_download_that_is_carried_out_and_not_heard(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    path = await file_of(api, tree, LARGE)
    sandbox.site.faults.add({"action": {"status": 502, "when": "after"}})
    heard = await hear(sandbox, "GET", path)

    assert heard.status == 502
    assert json.loads(heard.body)["status_code"] == 502
    assert entry_of(sandbox)["carried_out"] == 200


async def test_a_route_that_is_not_there_and_a_wrong_key_can_be_met_too(
    sandbox: Sandbox, api: Api
) -> None:
    sandbox.site.faults.add({"match": {"caller": "unknown"}, "action": {"status": 418}})
    sandbox.site.faults.add({"match": {"path": "/no/where"}, "action": {"status": 302}})
    wrong = await api.ask("GET", "/projects", headers={"Authorization": "Bearer nonsense"})
    lost = await api.ask("GET", "/no/where", allow_redirects=False)

    assert (wrong.status, lost.status) == (418, 302)
    assert (await api.ask("GET", "/projects")).status == 200


# ------------------------------------------------------------------------------------- waiting


async def test_a_delay_is_waited_before_the_work(sandbox: Sandbox, api: Api) -> None:
    waits = Waits(sandbox)
    sandbox.site.faults.add({"action": {"delay_s": 30}})

    assert await api.get("/groups") == []
    assert waits.longest == 30


async def test_a_delay_after_the_work_holds_the_answer_back(sandbox: Sandbox, api: Api) -> None:
    made: list[list[str]] = []

    async def look(seconds: float) -> None:
        if seconds:
            async with asyncio.timeout(5):
                sandbox.site.faults.clear()
                made.append([one["_id"] for one in await api.get("/groups")])

    sandbox.site.faults.clock.sleep = look
    sandbox.site.faults.add({"action": {"delay_s": 30, "when": "after"}})
    answer = await api.ask("POST", "/groups", json={"_id": "new", "label": "New"})

    assert answer.status == 200
    assert made == [["new"]]


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_body_may_stall(sandbox: Sandbox, api: Api, tree: Tree, content: bytes) -> None:
    path = await file_of(api, tree, content)
    came = asyncio.Event()
    stalled = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == 60:
            stalled.set()
            await came.wait()

    sandbox.site.faults.clock.sleep = sleep
    sandbox.site.faults.add({"action": {"stall_at": 700, "stall_s": 60}})
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = sandbox.api_key.rpartition(":")[2]
    writer.write(
        f"GET /api{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    first = await reader.readexactly(700)
    await stalled.wait()
    buffered = len(reader._buffer)  # type: ignore[attr-defined]  # it is the point
    came.set()
    rest = await reader.read()
    writer.close()

    assert buffered == 0
    assert first + rest == content


@pytest.mark.row("sandbox-faults")
async def test_a_line_carries_so_many_bytes_a_second(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    path = await file_of(api, tree, LARGE)
    waits = Waits(sandbox)
    sandbox.site.faults.add({"action": {"bandwidth": 100_000}})
    heard = await asyncio.gather(*(hear(sandbox, "GET", path) for _ in range(2)))

    assert [one.body for one in heard] == [LARGE, LARGE]
    assert waits.longest == pytest.approx(2 * len(LARGE) / 100_000)
    assert len(waits.asked) >= 2 * len(LARGE) / 10_000


# ------------------------------------------------------------------------------------ the body


@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("at", [0, 1, 1000])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.row("sandbox-faults")
async def test_a_body_is_cut_and_its_length_is_not_told(
    sandbox: Sandbox, api: Api, tree: Tree, content: bytes, at: int, how: str
) -> None:
    path = await file_of(api, tree, content)
    sandbox.site.faults.add({"id": "cut", "action": {"cut_at": at, "cut_with": how}})
    heard = await hear(sandbox, "GET", path)

    assert heard.status == 200
    assert heard.header("Content-Length") == str(len(content))
    assert heard.body == content[:at]
    assert heard.reset is (how == "reset")
    assert entry_of(sandbox)["sent"] == at
    assert entry_of(sandbox)["faults"] == ["cut"]
    assert (entry_of(sandbox)["status"], entry_of(sandbox)["carried_out"]) == (200, 200)


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_body_that_ends_early_as_if_there_were_no_more(
    sandbox: Sandbox, api: Api, tree: Tree, content: bytes
) -> None:
    path = await file_of(api, tree, content)
    sandbox.site.faults.add({"action": {"cut_at": 1000, "cut_with": "end"}})
    heard = await hear(sandbox, "GET", path)

    assert heard.header("Content-Length") == "1000"
    assert heard.body == content[:1000]
    assert not heard.reset


async def test_a_cut_beyond_the_end_cuts_nothing(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    path = await file_of(api, tree, SMALL)
    sandbox.site.faults.add({"action": {"cut_at": len(SMALL)}})

    assert (await hear(sandbox, "GET", path)).body == SMALL


@pytest.mark.parametrize(("how", "whole"), [("close", False), ("end", True)])
async def test_a_chunked_body_may_end_without_or_with_its_mark(
    sandbox: Sandbox, api: Api, tree: Tree, how: str, whole: bool
) -> None:
    await file_of(api, tree, LARGE)
    body = {"nodes": [{"level": "project", "_id": tree.project}]}
    ticket = (await api.post("/download", body))["ticket"]
    regular = await hear(sandbox, "GET", f"/download?ticket={ticket}")
    archive, ended = unchunked(regular.body)
    sandbox.site.faults.add({"action": {"cut_at": 1500, "cut_with": how}})
    content, last = unchunked((await hear(sandbox, "GET", f"/download?ticket={ticket}")).body)
    sandbox.site.faults.replace({"action": {"cut_at": len(archive), "cut_with": how}})
    almost = unchunked((await hear(sandbox, "GET", f"/download?ticket={ticket}")).body)

    assert ended
    assert (content, last) == (archive[:1500], whole)
    assert almost == (archive, whole)


@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("at", [0, 777, -1])
@pytest.mark.row("sandbox-faults")
async def test_a_byte_is_flipped_and_no_other(
    sandbox: Sandbox, api: Api, tree: Tree, content: bytes, at: int
) -> None:
    path = await file_of(api, tree, content)
    place = at % len(content)
    sandbox.site.faults.add({"action": {"flip_at": place}})
    heard = await hear(sandbox, "GET", path)
    changed = bytearray(content)
    changed[place] ^= 255

    assert heard.body == bytes(changed)
    assert heard.header("Content-Length") == str(len(content))


async def test_ranges_are_spoilt_as_they_are_sent(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    path = await file_of(api, tree, LARGE)
    sandbox.site.faults.add({"action": {"cut_at": 5}})
    one = await hear(sandbox, "GET", path, headers="Range: bytes=10-600000\r\n")
    many = await hear(sandbox, "GET", path, headers="Range: bytes=0-9,20-29\r\n")

    assert (one.status, one.body) == (206, LARGE[10:15])
    assert (many.status, len(many.body)) == (206, 5)


async def test_json_answers_are_spoilt_too(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    sandbox.site.faults.add({"match": {"path": "/projects"}, "action": {"cut_at": 20}})
    heard = await hear(sandbox, "GET", "/projects")

    assert len(heard.body) == 20
    assert int(heard.header("Content-Length") or 0) > 20


async def test_headers_of_the_real_answer_are_changed_or_taken_away(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    path = await file_of(api, tree, SMALL)
    sandbox.site.faults.add(
        {"action": {"headers": {"Accept-Ranges": None, "Content-Type": "x/y", "Via": "1.1 p"}}}
    )
    heard = await hear(sandbox, "GET", path)

    assert heard.header("Accept-Ranges") is None
    assert heard.header("Content-Type") == "x/y"
    assert heard.header("Via") == "1.1 p"
    assert heard.body == SMALL


async def test_a_stand_in_is_spoilt_like_any_answer(sandbox: Sandbox) -> None:
    sandbox.site.faults.add({"action": {"status": 200, "body": "0123456789", "cut_at": 4}})
    heard = await hear(sandbox, "GET", "/projects")

    assert heard.body == b"0123"
    assert heard.header("Content-Length") == "10"


@pytest.mark.parametrize("how", ["close", "reset", "end"])
async def test_nothing_is_logged_when_the_script_ends_a_connection(
    sandbox: Sandbox, api: Api, tree: Tree, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = await file_of(api, tree, LARGE)
    sandbox.site.faults.add({"action": {"cut_at": 3, "cut_with": how, "cut_upload_at": 9}})
    await hear(sandbox, "GET", path)
    await hear(sandbox, "GET", "/projects")
    await hear(sandbox, "POST", "/groups", b"x" * 100)
    sandbox.site.faults.replace({"action": {"reset": True, "when": "after"}})
    await hear(sandbox, "GET", path)

    assert [one.getMessage() for one in caplog.records] == []


async def test_without_a_script_large_files_go_past_the_program(
    sandbox: Sandbox, api: Api, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await file_of(api, tree, LARGE)
    loop, sent = asyncio.get_running_loop(), []
    sendfile = loop.sendfile

    async def counted(*args: Any) -> int:
        sent.append(await sendfile(*args))
        return sent[-1]

    monkeypatch.setattr(loop, "sendfile", counted)
    plain = await api.ask("GET", path)
    sandbox.site.faults.add({"match": {"path": "/elsewhere"}, "action": {"flip_at": 0}})
    beside = await api.ask("GET", path)
    logged = [one["sent"] for one in sandbox.site.requests.recent][-2:]

    assert plain.body == beside.body == LARGE
    assert sent == logged == [len(LARGE)] * 2
