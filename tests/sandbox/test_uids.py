from __future__ import annotations

from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, Tree, plant
from tests.sandbox.placing import Json, by_uid, placed

UIDS = {"sessions": ["1", "2", "nowhere"], "acquisitions": ["2.1", "1.1", "nowhere"]}


async def fill(api: Api) -> dict[str, str]:
    """Two projects: 1/1.1 and 2/2.1 in the first, 2/2.1 in the second. Ids by label."""
    await api.ask("POST", "/groups", json={"_id": "grp"})
    made = {}
    for project, session in (("One", "1"), ("One", "2"), ("Two", "2")):
        told = by_uid(session, f"{session}.1", project={"label": project})
        (entry,) = await placed(api, "uid", told, {"a.txt": b""})
        made[project] = entry["parents"]["project"]
        made[f"{project}/{session}"] = entry["parents"]["session"]
    return made


@pytest.mark.row("uids")
async def test_those_that_exist_are_answered(api: Api) -> None:
    ids = await fill(api)
    everywhere = {"sessions": ["1", "2"], "acquisitions": ["2.1", "1.1"]}
    in_two = {"sessions": ["2"], "acquisitions": ["2.1"]}

    assert await api.post("/uids", UIDS) == everywhere
    assert await api.post("/uids", UIDS | {"project_id": ids["Two"]}) == in_two
    assert await api.post("/uids", UIDS | {"project_ids": [ids["Two"], "x"]}) == in_two
    both = {"project_ids": [ids["Two"]], "project_id": ids["One"]}
    assert await api.post("/uids", UIDS | both) == everywhere
    assert await api.post("/uids", UIDS | {"project_ids": []}) == {
        "sessions": [],
        "acquisitions": [],
    }


async def test_one_kind_may_be_asked_for_alone(api: Api) -> None:
    await fill(api)

    assert await api.post("/uids", {"sessions": ["1", "1"]}) == {
        "sessions": ["1"],
        "acquisitions": [],
    }


@pytest.mark.row("uids-projects")
async def test_those_that_exist_project_by_project(api: Api) -> None:
    ids = await fill(api)
    empty = await plant(api, "empty")
    wanted = [ids["Two"], ids["One"], empty.project, "nowhere", ids["One/1"]]

    assert await api.post("/uids/projects", UIDS | {"project_ids": wanted}) == {
        ids["One"]: {"sessions": ["1", "2"], "acquisitions": ["2.1", "1.1"]},
        ids["Two"]: {"sessions": ["2"], "acquisitions": ["2.1"]},
        empty.project: {"sessions": [], "acquisitions": []},
    }


async def test_what_was_deleted_or_renamed_does_not_count(api: Api) -> None:
    ids = await fill(api)
    await api.ask("DELETE", f"/sessions/{ids['One/2']}")
    await api.ask("PUT", f"/sessions/{ids['One/1']}", json={"uid": "7"})

    found = await api.post("/uids", {"sessions": ["1", "2", "7"], "project_id": ids["One"]})

    assert found["sessions"] == ["7"]


@pytest.mark.row("uids", "permissions-none")
async def test_only_what_the_caller_sees_counts(api: Api, user: Api) -> None:
    ids = await fill(api)
    nothing: Json = {"sessions": [], "acquisitions": []}
    wanted = UIDS | {"project_ids": [ids["One"], ids["Two"]]}
    assert await user.post("/uids", UIDS) == nothing
    assert await user.post("/uids/projects", wanted) == {}
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    await api.ask("POST", f"/projects/{ids['Two']}/permissions", json=grant)

    seen = {"sessions": ["2"], "acquisitions": ["2.1"]}
    assert await user.post("/uids", UIDS) == seen
    assert await user.post("/uids/projects", wanted) == {ids["Two"]: seen}


@pytest.mark.parametrize("path", ["/uids", "/uids/projects"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"project_ids": []},
        {"sessions": "1", "project_ids": []},
        {"sessions": [1], "project_ids": []},
        {"sessions": [], "project_ids": "x"},
        {"sessions": [], "project_ids": [1]},
        {"sessions": [], "project_ids": [], "more": 1},
        [],
    ],
)
async def test_a_body_that_is_wrong(api: Api, path: str, body: Any) -> None:
    answer = await api.ask("POST", path, json=body)

    assert (answer.status, answer.json["status_code"]) == (400, 400)


async def test_projects_must_be_named_to_ask_project_by_project(api: Api) -> None:
    assert (await api.ask("POST", "/uids/projects", json={"sessions": []})).status == 400
    assert (await api.ask("POST", "/uids", json={"sessions": [], "project_id": 7})).status == 400


@pytest.mark.row("uids", "lists-scale")
async def test_uids_are_looked_up_by_an_index(sandbox: Sandbox, tree: Tree) -> None:
    def plans(db: Any) -> list[str]:
        asked = (
            "SELECT j.key FROM json_each('[]') j WHERE EXISTS (SELECT 1 FROM containers c"
            " WHERE c.uid = j.value AND c.kind = 'session' AND c.deleted IS NULL)",
            "SELECT id FROM containers WHERE uid = 'x' AND kind = 'session' AND deleted IS NULL",
        )
        return [
            " ".join(row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
            for sql in asked
        ]

    for plan in await sandbox.site.records.read(plans):
        assert "containers_by_uid" in plan


@pytest.mark.parametrize("uid", ["\ud800", "'; --", "ä" * 200])
async def test_a_uid_is_any_text(api: Api, tree: Tree, uid: str) -> None:
    body = {"label": "e", "session": tree.session, "uid": uid}
    made = await api.ask("POST", "/acquisitions", json=body)
    if uid == "\ud800":  # half of a character
        assert made.status == 400
        return
    assert made.status == 200

    found = await api.post("/uids", {"acquisitions": [uid]})

    assert found["acquisitions"] == [uid]
