from __future__ import annotations

import aiohttp
import pytest

from tests.sandbox.api import Api, Tree, plant

USER = "user@sandbox.local"
LISTS = ("/groups", "/projects", "/subjects", "/sessions", "/acquisitions")


async def give(api: Api, where: str, access: str) -> None:
    await api.post(f"/{where}/permissions", {"_id": USER, "access": access})


async def write(api: Api, tree: Tree) -> int:
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="x.txt")
    return (await api.ask("POST", f"/acquisitions/{tree.acquisition}/files", data=form)).status


@pytest.mark.row("permissions-none")
async def test_a_user_without_grants_sees_nothing(api: Api, user: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"a"})

    for path in LISTS:
        assert await user.get(path) == []
    assert (await user.get("/files"))["results"] == []
    assert (await user.post("/resolve", {"path": []}))["children"] == []
    for path in (
        "/groups/grp",
        f"/projects/{tree.project}",
        f"/containers/{tree.session}",
        f"/projects/{tree.project}/subjects",
        f"/files/{entry['file_id']}",
        f"/projects/{tree.project}/files/a.txt",
    ):
        answer = await user.ask("GET", path)
        assert (answer.status, answer.json["reason"]) == (403, "permission_denied")
    lookup = await user.ask("POST", "/lookup", json={"path": ["grp", "Proj"]})
    assert lookup.status == 403
    assert await write(user, tree) == 403
    archive = {"nodes": [{"level": "project", "_id": tree.project}]}
    assert (await user.ask("POST", "/download", json=archive)).status == 404


@pytest.mark.parametrize("where", ["groups/{0.group}", "projects/{0.project}"])
@pytest.mark.row("permissions-ro")
async def test_reading_is_not_writing(api: Api, user: Api, tree: Tree, where: str) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"a"})
    other = await plant(api, "other", "Other")
    await give(api, where.format(tree), "ro")

    for path in LISTS:
        entries = await user.get(path)
        assert len(entries) == 1
    assert (await user.get("/files"))["total"] == 1
    assert (await user.post("/lookup", {"path": ["grp", "Proj"]}))["_id"] == tree.project
    assert (await user.ask("GET", f"/projects/{other.project}")).status == 403
    refused = [
        await user.ask("PUT", f"/sessions/{tree.session}", json={"label": "x"}),
        await user.ask("DELETE", f"/acquisitions/{tree.acquisition}/files/a.txt"),
        await user.ask("DELETE", f"/sessions/{tree.session}"),
        await user.ask("POST", "/subjects", json={"label": "x", "project": tree.project}),
        await user.ask("POST", f"/projects/{tree.project}/permissions", json={}),
    ]
    assert [answer.status for answer in refused] == [403] * 5
    assert await write(user, tree) == 403


@pytest.mark.parametrize("where", ["groups/{0.group}", "projects/{0.project}"])
@pytest.mark.row("permissions-rw")
async def test_writing_stops_short_of_the_project(
    api: Api, user: Api, tree: Tree, where: str
) -> None:
    await give(api, where.format(tree), "rw")
    made = await user.make("subject", "mine", project=tree.project)

    assert await write(user, tree) == 200
    assert (await user.ask("DELETE", f"/subjects/{made}")).status == 200
    assert (await user.ask("DELETE", f"/projects/{tree.project}")).status == 403
    another = {"label": "another", "group": tree.group}
    assert (await user.ask("POST", "/projects", json=another)).status == 403
    assert (await user.ask("POST", "/groups", json={"_id": "own", "label": ""})).status == 403


@pytest.mark.row("permissions")
async def test_an_admin_of_a_group_makes_projects_in_it(api: Api, user: Api, tree: Tree) -> None:
    await give(api, f"groups/{tree.group}", "admin")
    made = await user.make("project", "another", group=tree.group)
    given = (await user.get(f"/projects/{made}"))["permissions"]

    assert [(one["_id"], one["access"]) for one in given] == [(USER, "admin")]
    assert (await user.ask("DELETE", f"/projects/{made}")).status == 200


@pytest.mark.row("permissions")
async def test_what_is_taken_away_holds_at_once(api: Api, user: Api, tree: Tree) -> None:
    await give(api, f"projects/{tree.project}", "rw")
    before = await write(user, tree)
    gone = await api.ask("DELETE", f"/projects/{tree.project}/permissions/{USER}")

    assert (before, gone.status) == (200, 200)
    assert await write(user, tree) == 403
    assert await user.get("/projects") == []


@pytest.mark.row("permissions")
async def test_permissions_are_set_all_at_once_or_one_by_one(api: Api, tree: Tree) -> None:
    path = f"/projects/{tree.project}/permissions"
    roles = {role["label"]: role["_id"] for role in await api.get("/roles")}
    await api.ask("PUT", path, json=[{"_id": USER, "role_ids": [roles["read-write"]]}])
    by_role = await api.get(path)
    await api.ask("PUT", f"{path}/{USER}", json={"access": "ro"})
    changed = await api.get(path)

    assert by_role == [{"_id": USER, "access": "rw", "role_ids": [roles["read-write"]]}]
    assert changed == [{"_id": USER, "access": "ro", "role_ids": [roles["read-only"]]}]
    assert await api.get("/groups/grp/permissions") == [
        {"_id": "admin@sandbox.local", "access": "admin"}
    ]
    for wrong in ({}, {"_id": USER}, {"_id": USER, "access": "all"}, {"access": "ro"}, [1], 7):
        assert (await api.ask("PUT", path, json=wrong)).status == 400


@pytest.mark.row("permissions")
async def test_the_path_says_whose_permission_it_is(api: Api, tree: Tree) -> None:
    path = f"/projects/{tree.project}/permissions"
    before = await api.get(path)
    everybody = [{"_id": "somebody@sandbox.local", "access": "admin"}]
    refused = [
        await api.ask("PUT", f"{path}/{USER}", json=everybody),
        await api.ask("POST", path, json=everybody),
    ]
    between = await api.get(path)
    given = await api.ask("PUT", f"{path}/{USER}", json={**everybody[0], "access": "ro"})

    assert [answer.status for answer in refused] == [400, 400]
    assert between == before
    assert (given.status, given.json["_id"], given.json["access"]) == (200, USER, "ro")
    assert {one["_id"] for one in await api.get(path)} == {USER, *(one["_id"] for one in before)}


@pytest.mark.row("permissions")
async def test_a_group_can_be_made_with_permissions(api: Api, user: Api) -> None:
    body = {"_id": "lab", "label": "Lab", "permissions": [{"_id": USER, "access": "ro"}]}
    await api.post("/groups", body)

    assert [entry["_id"] for entry in await user.get("/groups")] == ["lab"]


@pytest.mark.row("sandbox-record", "sandbox-requests")
async def test_only_the_admin_looks_behind_the_scenes(user: Api) -> None:
    for path in ("/sandbox/requests", "/sandbox/record"):
        assert (await user.ask("GET", path)).status == 403
    assert (await user.ask("GET", "/projects", params={"exhaustive": "true"})).status == 403


@pytest.mark.row("sandbox-requests")
async def test_requests_are_counted_until_they_are_reset(api: Api, tree: Tree) -> None:
    await api.ask("DELETE", "/sandbox/requests")
    await api.get(f"/projects/{tree.project}")
    await api.get("/projects", limit=1)
    await api.ask("GET", "/nonsense")
    log = await api.get("/sandbox/requests")

    assert log["total"] == 3
    assert log["counts"] == {"GET /api/projects/{id}": 1, "GET /api/projects": 1, "GET -": 1}
    assert [one["status"] for one in log["requests"]] == [200, 200, 404]
    assert log["requests"][0]["path"] == f"/api/projects/{tree.project}"
    assert log["requests"][1]["query"] == "limit=1"


@pytest.mark.row("permissions", "error-shape")
@pytest.mark.parametrize(
    "told",
    [
        5,
        True,
        {"_id": USER, "access": "ro"},
        [5],
        [{"_id": USER, "access": []}],
        [{"_id": USER, "access": {}}],
        [{"_id": USER, "role_ids": [[]]}],
        [{"_id": USER, "role_ids": [{"a": 1}]}],
        [{"_id": USER, "role_ids": "0000000000000000000000a1"}],
    ],
)
async def test_permissions_of_the_wrong_type_are_400(api: Api, tree: Tree, told: object) -> None:
    project = {"label": "Other", "group": tree.group, "permissions": told}
    made = await api.ask("POST", "/projects", json=project)
    group = await api.ask("POST", "/groups", json={"_id": "other", "permissions": told})
    entry = told[0] if isinstance(told, list) else told
    given = await api.ask("POST", f"/projects/{tree.project}/permissions", json=entry)

    assert [400, 400] == [made.status, group.status]
    assert given.status == (200 if entry == {"_id": USER, "access": "ro"} else 400)
    assert len(await api.get("/projects")) == len(await api.get("/groups")) == 1


@pytest.mark.row("permissions")
async def test_a_role_that_there_is_not_is_named(api: Api, tree: Tree) -> None:
    entry = {"_id": "user@sandbox.local", "role_ids": ["read-only"]}
    answer = await api.ask("POST", f"/projects/{tree.project}/permissions", json=entry)

    assert answer.status == 400
    assert answer.message.startswith("no such role: 'read-only'")
    granted = await api.get(f"/projects/{tree.project}/permissions")
    assert "user@sandbox.local" not in [one["_id"] for one in granted]
