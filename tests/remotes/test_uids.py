"""Where uids are: asked of all projects at once, and of each alone where that is not offered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from fwsync.errors import NotFound
from fwsync.model import Level
from fwsync.remotes import uids
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.remotes.uids import Homes, uid_homes
from tests.remotes.conftest import KEY, serving

HERE, OTHER = Project("lab", "aging", "p1"), Project("lab", "old", "p2")
LISTED = {"s1": ("lab", "aging", "x9", "v9")}

#: What is there: project → uid → the id of its session.
THERE = {"p1": {"1.1": "s1", "1.2": "s2"}, "p2": {"1.1": "s3", "1.3": "s4"}}

Asked = list[tuple[str, Any]]


async def homes(
    asked: Asked, *wanted: str, lacks: tuple[str, ...] = (), garbled: object = None
) -> Homes:
    """Ask a fake site that holds :data:`THERE`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        body: Any = await request.json() if request.method == "POST" else dict(request.query)
        asked.append((path, body))
        if path in lacks:
            return web.json_response({"message": "no route"}, status=404)
        if garbled is not None:
            return web.json_response(garbled)
        if path == "/uids/projects":
            return web.json_response(
                {
                    one: {"sessions": [uid for uid in body["sessions"] if uid in THERE[one]]}
                    for one in body["project_ids"]
                }
            )
        if path == "/uids":
            [one] = body["project_ids"]
            found = [uid for uid in body["sessions"] if uid in THERE[one]]
            return web.json_response({"sessions": found, "acquisitions": []})
        _, _, project, _ = path.split("/")
        inside = body["filter"].removeprefix("uid=|[").removesuffix("]").split(",")
        return web.json_response(
            [{"_id": THERE[project][uid], "uid": uid, "label": "?"} for uid in inside]
        )

    async with serving(answer) as url, Api(url, KEY) as api:
        return await uid_homes(
            api, Level.SESSION, wanted, here=[HERE], others=[OTHER], labels_of=LISTED.get
        )


EXPECTED = {
    "1.1": {("lab", "aging", "x9", "v9"), ("lab", "old")},
    "1.2": {("lab", "aging", "<id:s2>")},
    "1.3": {("lab", "old")},
}


async def test_one_question_finds_them_and_one_more_says_where() -> None:
    asked: Asked = []

    assert EXPECTED == await homes(asked, "1.1", "1.2", "1.3", "1.4")
    assert ["/uids/projects", "/projects/p1/sessions"] == [path for path, _ in asked]
    assert ["p1", "p2"] == asked[0][1]["project_ids"]


async def test_a_site_without_it_is_asked_project_by_project() -> None:
    asked: Asked = []

    assert EXPECTED == await homes(asked, "1.1", "1.2", "1.3", lacks=("/uids/projects",))
    assert 2 == sum(path == "/uids" for path, _ in asked)


async def test_a_site_that_has_neither_says_so() -> None:
    with pytest.raises(NotFound):
        await homes([], "1.1", lacks=("/uids/projects", "/uids"))


async def test_many_uids_go_in_several_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uids, "MOST_UIDS", 2)
    asked: Asked = []
    await homes(asked, "1.1", "1.2", "1.3", "1.4", "1.5")

    sent = [body["sessions"] for path, body in asked if path == "/uids/projects"]
    assert [["1.1", "1.2"], ["1.3", "1.4"], ["1.5"]] == sent


@pytest.mark.parametrize("garbled", [{}, {"p1": None}, {"p1": {"sessions": 3}}, {"p9": {}}])
async def test_an_answer_that_says_nothing_finds_nothing(garbled: object) -> None:
    assert {} == await homes([], "1.1", garbled=json.loads(json.dumps(garbled)))
