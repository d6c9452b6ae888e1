from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.api import Api, Tree, plant

pytestmark = pytest.mark.row("collections")


@pytest.fixture
async def other(api: Api, tree: Tree) -> Tree:
    """A second project."""
    return await plant(api, project="Other")


async def put(api: Api, collection: str, operation: str, *nodes: tuple[str, str]) -> None:
    contents = {
        "operation": operation,
        "nodes": [{"level": level, "_id": container} for level, container in nodes],
    }
    answer = await api.ask("PUT", f"/collections/{collection}", json={"contents": contents})
    assert answer.status == 200, answer


async def members(api: Api, collection: str, kind: str = "acquisitions") -> list[str]:
    return [entry["_id"] for entry in await api.get(f"/collections/{collection}/{kind}")]


async def test_a_collection_is_made_read_and_changed(api: Api, tree: Tree) -> None:
    me = (await api.get("/users/self"))["_id"]
    made = await api.make("collection", "Mine", description="why", info={"a": 1})
    entry = await api.get(f"/collections/{made}")
    await api.ask("PUT", f"/collections/{made}", json={"label": "Ours"})
    again = await api.get(f"/containers/{made}")

    assert (entry["label"], entry["description"], entry["info"]) == ("Mine", "why", {"a": 1})
    assert (entry["curator"], entry["container_type"]) == (me, "collection")
    assert entry["permissions"] == [{"_id": me, "access": "admin"}]
    assert entry["parents"]["group"] is None
    assert (again["label"], again["revision"]) == ("Ours", 2)
    assert [one["_id"] for one in await api.get("/collections", filter="label=Ours")] == [made]
    assert [one["_id"] for one in await api.get("/groups")] == ["grp"]


async def test_it_holds_acquisitions_of_any_project(api: Api, tree: Tree, other: Tree) -> None:
    made = await api.make("collection", "Mine")
    second = await api.make("acquisition", "acq-02", session=tree.session)
    await put(api, made, "add", ("acquisition", tree.acquisition))
    assert await members(api, made) == [tree.acquisition]

    await put(api, made, "add", ("session", tree.session), ("project", other.project))
    assert await members(api, made) == sorted([tree.acquisition, second, other.acquisition])
    assert await members(api, made, "sessions") == [tree.session, other.session]
    found = await api.get(f"/collections/{made}/acquisitions", session=other.session)
    assert [one["_id"] for one in found] == [other.acquisition]
    assert (await api.get(f"/acquisitions/{second}"))["collections"] == [made]

    await put(api, made, "remove", ("subject", tree.subject))
    assert await members(api, made) == [other.acquisition]
    assert await members(api, made, "sessions") == [other.session]
    assert (await api.get(f"/acquisitions/{second}"))["collections"] == []


async def test_contents_may_come_with_the_collection(api: Api, tree: Tree) -> None:
    nodes = [{"level": "project", "_id": tree.project}]
    made = await api.make("collection", "x", contents={"operation": "add", "nodes": nodes})

    assert await members(api, made) == [tree.acquisition]


async def test_what_is_deleted_is_in_no_collection(api: Api, tree: Tree) -> None:
    made = await api.make("collection", "Mine")
    await put(api, made, "add", ("acquisition", tree.acquisition))
    await api.ask("DELETE", f"/acquisitions/{tree.acquisition}")

    assert await members(api, made) == []
    assert await members(api, made, "sessions") == []


async def test_a_deleted_collection_leaves_its_acquisitions(api: Api, tree: Tree) -> None:
    made = await api.make("collection", "Mine")
    await put(api, made, "add", ("acquisition", tree.acquisition))
    answer = await api.ask("DELETE", f"/collections/{made}")

    assert answer.json["deleted"] == 1
    assert (await api.ask("GET", f"/collections/{made}")).status == 404
    assert (await api.get(f"/acquisitions/{tree.acquisition}"))["collections"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"unknown": 1},
        {"contents": 1},
        {"contents": {"operation": "add"}},
        {"contents": {"operation": "replace", "nodes": []}},
        {"contents": {"operation": "add", "nodes": [1]}},
        {"contents": {"operation": "add", "nodes": [{"level": "group", "_id": "grp"}]}},
        {"contents": {"operation": "add", "nodes": [{"level": "session", "_id": 1}]}},
    ],
)
async def test_bodies_that_are_wrong(api: Api, body: dict[str, Any]) -> None:
    made = await api.make("collection", "Mine")
    answer = await api.ask("PUT", f"/collections/{made}", json=body)

    assert (answer.status, answer.json["status_code"]) == (400, 400)
    assert (await api.ask("POST", "/collections", json=body)).status == 400


async def test_a_node_must_be_there(api: Api, tree: Tree) -> None:
    made = await api.make("collection", "Mine")
    nodes = [{"level": "session", "_id": tree.acquisition}]
    body = {"contents": {"operation": "add", "nodes": nodes}}

    assert (await api.ask("PUT", f"/collections/{made}", json=body)).status == 404


async def test_files_and_analyses_of_a_collection(api: Api, tree: Tree) -> None:
    made = await api.make("collection", "Mine")
    (file,) = await api.upload(f"collections/{made}", {"a.txt": b"mine"})
    analysis = (await api.post(f"/collections/{made}/analyses", {"label": "an"}))["_id"]
    (output,) = await api.upload(f"analyses/{analysis}", {"out": b"o"})
    entry = await api.get(f"/collections/{made}")

    assert file["parent_ref"] == {"type": "collection", "id": made}
    assert set(file["parents"].values()) == {None}
    assert output["parents"]["analysis"] == analysis
    assert [one["name"] for one in entry["files"]] == ["a.txt"]
    assert entry["analyses"][0]["parent"] == {"type": "collection", "id": made}
    assert (await api.ask("GET", f"/collections/{made}/files/a.txt")).body == b"mine"


async def test_a_collection_is_shared_by_its_permissions(
    api: Api, user: Api, tree: Tree, other: Tree
) -> None:
    name = (await user.get("/users/self"))["_id"]
    made = await api.make("collection", "Mine")
    await api.upload(f"collections/{made}", {"a.txt": b"mine"})
    nodes = [("acquisition", tree.acquisition), ("acquisition", other.acquisition)]
    await put(api, made, "add", *nodes)
    hidden = await user.ask("GET", f"/collections/{made}")
    unseen = await user.get("/collections")
    await api.post(f"/collections/{made}/permissions", {"_id": name, "access": "ro"})
    await api.post(f"/projects/{other.project}/permissions", {"_id": name, "access": "ro"})

    assert (hidden.status, unseen) == (403, [])
    assert [one["_id"] for one in await user.get("/collections")] == [made]
    assert (await user.ask("GET", f"/collections/{made}/files/a.txt")).body == b"mine"
    assert (await user.get("/files"))["total"] == 1
    assert await members(user, made) == [other.acquisition]
    refused = await user.ask("PUT", f"/collections/{made}", json={"label": "x"})
    assert refused.status == 403

    await api.ask("PUT", f"/collections/{made}/permissions/{name}", json={"access": "rw"})
    assert (await user.ask("PUT", f"/collections/{made}", json={"label": "x"})).status == 200
    assert (await user.ask("DELETE", f"/collections/{made}")).status == 403
    body = {"contents": {"operation": "add", "nodes": [{"level": "project", "_id": tree.project}]}}
    assert (await user.ask("PUT", f"/collections/{made}", json=body)).status == 403


async def test_anybody_makes_a_collection_and_curates_it(api: Api, user: Api) -> None:
    made = await user.make("collection", "Mine")
    me = (await user.get("/users/self"))["_id"]
    curators = await user.get("/collections/curators")

    assert (await user.get(f"/collections/{made}"))["curator"] == me
    assert [one["_id"] for one in curators] == [me]
    assert curators[0].keys() == {"_id", "firstname", "lastname"}
    assert (await user.ask("DELETE", f"/collections/{made}")).status == 200
