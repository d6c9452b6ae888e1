from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.api import Api, Tree, plant
from tests.sandbox.placing import by_label, placed


@pytest.mark.row("tree")
async def test_the_tree_in_one_request_with_the_fields_that_were_chosen(
    api: Api, tree: Tree
) -> None:
    told = by_label(session={"label": "ses-02", "subject": {"code": "sub-01"}})
    told["acquisition"]["files"] = [{"name": "a.dcm"}, {"name": "b.txt"}]
    stored = await placed(api, "label", told, {"a.dcm": b"1", "b.txt": b"22"})
    a, b = [await api.get(f"/files/{entry['file_id']}") for entry in stored]
    await plant(api, "other")
    wanted = {
        "projects": {
            "fields": ["label", "parents.group", "nowhere", "info"],
            "filter": "group=grp",
            "group": {"fields": ["label"]},
            "sessions": {
                "fields": ["label", "subject.label"],
                "sort": "label:desc",
                "acquisitions": {
                    "fields": ["label"],
                    "files": {"fields": ["name", "size", "type"]},
                },
            },
        }
    }

    answer = await api.ask("POST", "/tree", json=wanted)

    assert answer.status == 200, answer
    assert answer.json == [
        {
            "_id": tree.project,
            "label": "Proj",
            "parents": {"group": "grp"},
            "group": {"_id": "grp", "label": "Grp"},
            "sessions": [
                {
                    "_id": a["parents"]["session"],
                    "label": "ses-02",
                    "subject": {"label": "sub-01"},
                    "acquisitions": [
                        {
                            "_id": a["parents"]["acquisition"],
                            "label": "acq",
                            "files": [
                                picked(a, type="dicom"),
                                picked(b, type="text"),
                            ],
                        }
                    ],
                },
                {
                    "_id": tree.session,
                    "label": "ses-01",
                    "subject": {"label": "sub-01"},
                    "acquisitions": [{"_id": tree.acquisition, "label": "acq-01", "files": []}],
                },
            ],
        }
    ]


def picked(entry: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "_id": entry["_id"],
        "file_id": entry["file_id"],
        "name": entry["name"],
        "size": entry["size"],
        **more,
    }


@pytest.mark.row("tree")
async def test_what_is_joined_may_be_filtered_and_cut(api: Api, tree: Tree) -> None:
    for project in (tree.project, (await plant(api, "other")).project):
        for n in range(5):
            await api.make("subject", f"s{n}", project=project)
    inner = {"fields": ["label"], "filter": "label=~^s[1-4]", "sort": "label:desc", "limit": 2}

    found = await api.post("/tree", {"projects": {"fields": [], "subjects": inner}})

    labels = [[subject["label"] for subject in one["subjects"]] for one in found]
    assert labels == [["s4", "s3"], ["s4", "s3"]]


async def test_the_top_is_a_list_like_any_other(api: Api, tree: Tree) -> None:
    for n in range(5):
        await api.make("subject", f"s{n}", project=tree.project)
    body = {"subjects": {"fields": ["label"], "filter": "label=~^s\\d"}}

    by_name = await api.post("/tree", body, sort="label:desc", limit="2")
    after = await api.post("/tree", body, after_id=by_name[0]["_id"])
    other = await api.post("/tree", body, filter="label=sub-01")
    answer = await api.ask(
        "POST", "/tree?limit=1", json=body, headers={"X-Accept-Feature": "pagination"}
    )

    assert [one["label"] for one in by_name] == ["s4", "s3"]
    assert after == []
    assert [one["label"] for one in other] == ["sub-01"]
    assert (answer.json["total"], answer.json["count"]) == (5, 1)
    assert (await api.ask("POST", "/tree?limit=x", json=body)).status == 422


async def test_analyses_and_parents_are_joined_too(api: Api, tree: Tree) -> None:
    made = await api.post(f"/sessions/{tree.session}/analyses", {"label": "fit", "inputs": []})
    session = {"fields": ["label"], "analyses": {"fields": ["label"]}}
    wanted = {"acquisitions": {"fields": [], "session": session, "project": {"fields": ["label"]}}}

    (found,) = await api.post("/tree", wanted)

    assert found["project"] == {"_id": tree.project, "label": "Proj"}
    assert found["session"]["analyses"] == [{"_id": made["_id"], "label": "fit"}]


@pytest.mark.row("tree", "permissions-none")
async def test_only_what_the_caller_sees_is_in_it(api: Api, user: Api, tree: Tree) -> None:
    await plant(api, "other")
    wanted = {"groups": {"fields": ["label"], "projects": {"fields": ["label"]}}}
    assert await user.post("/tree", wanted) == []
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant)
    await api.make("project", "Secret", group=tree.group)

    assert await user.post("/tree", wanted) == [
        {
            "_id": "grp",
            "label": "Grp",
            "projects": [{"_id": tree.project, "label": "Proj"}],
        }
    ]


@pytest.mark.row("tree")
async def test_the_graph_says_what_may_be_joined(api: Api) -> None:
    graph = await api.get("/tree/graph")

    assert set(graph) == {
        *("groups", "projects", "subjects", "sessions", "acquisitions", "analyses")
    }
    sessions = graph["sessions"]["connections"]
    assert sessions["acquisitions"] == {
        "collection": "acquisitions",
        "local": "_id",
        "foreign": "parents.session",
        "order": "many",
    }
    assert sessions["project"] == {
        "collection": "projects",
        "local": "parents.project",
        "foreign": "_id",
        "order": "one",
    }
    for level, node in graph.items():
        for name in node["connections"]:
            body = {level: {"fields": [], name: {"fields": []}}}
            assert (await api.ask("POST", "/tree", json=body)).status == 200, (level, name)


def nested(levels: int) -> dict[str, Any]:
    told: dict[str, Any] = {"fields": []}
    for at in range(levels):
        told = {"fields": [], ("subjects" if at % 2 else "project"): told}
    return told


async def test_a_request_has_eight_levels_at_most(api: Api, tree: Tree) -> None:
    (found,) = await api.post("/tree", {"subjects": nested(7)})

    assert found["project"]["subjects"][0]["_id"] == tree.subject


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"fields": []},
        {"projects": {"fields": []}, "sessions": {"fields": []}},
        {"projects": []},
        {"projects": {}},
        {"projects": {"fields": "label"}},
        {"projects": {"fields": [1]}},
        {"projects": {"fields": [], "projects": {"fields": []}}},
        {"projects": {"fields": [], "more": 1}},
        {"projects": {"fields": [], "files": {"fields": [], "limit": 1}}},
        {"projects": nested(8)},
    ],
)
async def test_a_request_that_is_wrong(api: Api, body: Any) -> None:
    assert (await api.ask("POST", "/tree", json=body)).status == 400


@pytest.mark.row("catalog", "lists-page-object")
async def test_the_catalogue_is_always_a_page(api: Api, user: Api, tree: Tree) -> None:
    body = {"label": "Aging brains", "group": "grp", "description": "old"}
    made = await api.post("/projects", body)

    found = await api.get("/projects/catalog-list", search_string="BRAIN", limit=1)

    assert (found["total"], found["count"]) == (1, 1)
    (entry,) = found["results"]
    assert (entry["_id"], entry["label"]) == (made["_id"], "Aging brains")
    assert entry["summary"] == "old"
    everything = await api.get("/projects/catalog-list", sort="label:desc")
    assert [one["label"] for one in everything["results"]] == ["Proj", "Aging brains"]
    assert (await api.get("/projects/catalog-list", search_string="x.*"))["total"] == 0
    assert (await user.get("/projects/catalog-list"))["results"] == []
