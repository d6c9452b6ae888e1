from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.api import Api, Tree


async def every_page(api: Api, path: str, limit: int, key: str, **params: str) -> list[Any]:
    found: list[Any] = []
    while True:
        after = {"after_id": found[-1][key]} if found else {}
        page = await api.get(path, limit=limit, **params, **after)
        results = page["results"] if isinstance(page, dict) else page
        if not results:
            return found
        found += results


@pytest.fixture
async def many(api: Api, tree: Tree) -> list[str]:
    """Twenty-five acquisitions, the one of the tree first."""
    made = [
        await api.make("acquisition", f"a{n:02}", session=tree.session, uid=str(n % 3))
        for n in range(24)
    ]
    return [tree.acquisition, *made]


@pytest.mark.parametrize("limit", [1, 7, 25, 26])
@pytest.mark.row("lists-after-id")
async def test_after_id_visits_everything_once_and_ends(
    api: Api, tree: Tree, many: list[str], limit: int
) -> None:
    found = await every_page(api, f"/sessions/{tree.session}/acquisitions", limit, "_id")

    assert [entry["_id"] for entry in found] == many


@pytest.mark.row("lists-after-id", "lists-filter")
async def test_after_id_goes_with_a_filter_that_sql_cannot_decide(
    api: Api, tree: Tree, many: list[str]
) -> None:
    path = f"/sessions/{tree.session}/acquisitions"
    found = await every_page(api, path, 4, "_id", filter='uid="1"')

    assert [entry["_id"] for entry in found] == many[2::3]


@pytest.mark.row("lists-pages")
async def test_pages_and_skips_cut_the_same_list(api: Api, tree: Tree, many: list[str]) -> None:
    path = f"/projects/{tree.project}/acquisitions"
    third = await api.get(path, limit=10, page=3)
    skipped = await api.get(path, limit=5, skip=20)
    beyond = await api.get(path, limit=10, page=4)

    assert [entry["_id"] for entry in third] == many[20:]
    assert skipped == third
    assert beyond == []


@pytest.mark.row("lists-sort")
async def test_a_list_is_sorted_by_any_key(api: Api, tree: Tree, many: list[str]) -> None:
    path = f"/sessions/{tree.session}/acquisitions"
    by_label = await api.get(path, sort="label:desc")
    by_uid = await api.get(path, sort="uid:asc,label:-1", filter="label!=acq-01")

    labels = [entry["label"] for entry in by_label]
    assert labels == sorted(labels, reverse=True)
    keys = [(entry["uid"], -int(entry["label"][1:])) for entry in by_uid]
    assert keys == sorted(keys)


@pytest.mark.row("lists-page-object")
async def test_the_page_object_comes_when_asked_for(api: Api, tree: Tree, many: list[str]) -> None:
    path = f"/sessions/{tree.session}/acquisitions"
    header = {"X-Accept-Feature": "Safe-Redirect, Pagination"}
    params = {"limit": "5", "filter": "label=~^a1"}
    page = (await api.ask("GET", path, params=params, headers=header)).json
    again = (
        await api.ask(
            "GET", path, params=params | {"after_id": page["results"][-1]["_id"]}, headers=header
        )
    ).json

    assert (page["total"], page["count"]) == (10, 5)
    assert (again["total"], again["count"]) == (10, 5)
    assert len({entry["_id"] for entry in page["results"] + again["results"]}) == 10
    assert isinstance(await api.get(path), list)


@pytest.mark.row("lists-page-object")
async def test_the_total_follows_what_is_written(api: Api, tree: Tree) -> None:
    header = {"X-Accept-Feature": "pagination"}
    path = f"/sessions/{tree.session}/acquisitions"
    totals = []
    for label in ("x", "y"):
        totals.append((await api.ask("GET", path, headers=header)).json["total"])
        await api.make("acquisition", label, session=tree.session)
    totals.append((await api.ask("GET", path, headers=header)).json["total"])

    assert totals == [1, 2, 3]


async def test_files_are_left_out_when_the_client_says_so(api: Api, tree: Tree) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"b.txt": b"b", "a.txt": b"a"})
    path = f"/sessions/{tree.session}/acquisitions"
    with_files = await api.get(path)
    answer = await api.ask("GET", path, headers={"X-Accept-Feature": "exclude-files"})
    filtered = await api.ask(
        "GET",
        path,
        params={"filter": "files.name=a.txt"},
        headers={"X-Accept-Feature": "exclude-files"},
    )

    assert [file["name"] for file in with_files[0]["files"]] == ["a.txt", "b.txt"]
    assert [entry["_id"] for entry in answer.json] == [tree.acquisition]
    assert "files" not in answer.json[0]
    assert len(filtered.json) == 1
    assert "files" not in filtered.json[0]


@pytest.mark.row("lists-top")
async def test_top_lists_hold_every_container_of_a_kind(api: Api, tree: Tree) -> None:
    for kind in ("group", "project", "subject", "session", "acquisition"):
        entries = await api.get(f"/{kind}s")

        assert [entry["_id"] for entry in entries] == [getattr(tree, kind)]


@pytest.mark.row("lists-children")
async def test_sessions_of_a_project_are_found_across_its_subjects(api: Api, tree: Tree) -> None:
    other = await api.make("subject", "sub-02", project=tree.project)
    second = await api.make("session", "s2", project=tree.project, subject={"_id": other})
    of_project = await api.get(f"/projects/{tree.project}/sessions")
    of_subject = await api.get(f"/subjects/{other}/sessions")

    assert [entry["_id"] for entry in of_project] == [tree.session, second]
    assert [entry["_id"] for entry in of_subject] == [second]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "skip=-1",
        "page=0&limit=1",
        "page=1",
        "skip=1&page=1&limit=1",
        "after_id=a&sort=label",
        "after_id=a&skip=1",
        "after_id=a&page=1&limit=2",
        "filter=a%3D1&filter=b%3D2",
        "sort=a&sort=b",
        "filter=label",
        "filter=%3Dx",
        "filter=label%3D~(",
        "sort=label:up",
        "filter=label%3D|[a",
        "sort=%22:asc",
    ],
)
@pytest.mark.row("lists-pages")
async def test_parameters_that_break_a_rule_are_422(api: Api, query: str) -> None:
    for path in ("/projects", "/files"):
        answer = await api.ask("GET", f"{path}?{query}")

        assert (answer.status, answer.json["core_status_code"]) == (422, "input_validation_error")


@pytest.mark.row("files-list", "lists-after-id")
async def test_a_list_of_files_pages_by_file_id(api: Api, tree: Tree) -> None:
    names = [f"f{n:02}.dat" for n in range(23)]
    await api.upload(f"acquisitions/{tree.acquisition}", dict.fromkeys(names, b"x"))
    await api.upload(f"sessions/{tree.session}", {"other.dat": b"x"})
    mine = f"parent_ref.id={tree.acquisition}"
    found = await every_page(api, "/files", 5, "file_id", filter=mine)
    whole = await api.get("/files", filter=f"parents.project={tree.project}", limit=3)

    assert [entry["name"] for entry in found] == names
    assert (whole["total"], whole["count"], len(whole["results"])) == (24, 3, 3)


async def test_lists_are_sorted_by_what_stands_in_no_document(api: Api, tree: Tree) -> None:
    other = await api.make("subject", "a-first", project=tree.project)
    early = await api.make("session", "z", project=tree.project, subject={"_id": other})
    for name in ("b.txt", "a.txt"):
        await api.upload(f"sessions/{early}", {name: name.encode()})
    await api.upload(f"acquisitions/{tree.acquisition}", {"c.txt": b"c"})

    for key in ("subject.label:asc", "subject:desc", "subject._id:desc"):
        found = await api.get("/sessions", sort=key)
        assert [entry["_id"] for entry in found] == [early, tree.session], key
    second = await api.make("acquisition", "z", session=early)
    for key in ("parents.acquisition:asc", "parents.acquisition:desc"):  # they have none
        found = await api.get("/acquisitions", sort=key)
        assert [entry["_id"] for entry in found] == [tree.acquisition, second], key
    for key in ("hash", "_id"):
        found = (await api.get("/files", sort=f"{key}:desc"))["results"]
        assert found == sorted(found, key=lambda entry: str(entry[key]), reverse=True), key
    users = await api.get("/users", sort="email:desc")
    assert [one["email"] for one in users] == sorted((u["email"] for u in users), reverse=True)


async def test_what_lies_in_a_collection_has_no_group(api: Api, tree: Tree) -> None:
    collection = (await api.post("/collections", {"label": "c"}))["_id"]
    await api.upload(f"collections/{collection}", {"c.txt": b""})
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b""})

    async def names(condition: str) -> list[str]:
        found = (await api.get("/files", filter=condition))["results"]
        return [entry["name"] for entry in found]

    assert await names(f"parents.group={collection}") == []
    assert await names("parents.group=~.") == ["a.txt"]
    assert await names("parents.group=|[grp]") == ["a.txt"]
    assert await names(f"parents.group!={collection}") == ["c.txt", "a.txt"]
    assert await names("parents.group!=grp") == ["c.txt"]
    assert await names("parents.group!=|[grp]") == ["c.txt"]


async def test_a_page_never_has_more_entries_than_there_are(api: Api, tree: Tree) -> None:
    assert 0 == (await api.get("/files", after_id="0"))["total"]
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"", "b.txt": b""})

    found = await api.get("/files", after_id="0")

    assert (2, 2) == (found["total"], found["count"])


@pytest.mark.parametrize("text", ["é", "\0", "1" * 300])
async def test_a_page_says_of_a_file_what_the_file_says(api: Api, tree: Tree, text: str) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await api.upload(where, {"a.txt": b"a"}, json.dumps({"tags": ["t"]}))
    change = {"set": {"k": [text, 2**80, 0.1]}}
    assert (await api.ask("PATCH", f"/{where}/files/a.txt/info", json=change)).status == 200

    page = await api.get("/files", filter=f"parent_ref.id={tree.acquisition}")
    alone = [await api.get(f"/files/{one['file_id']}") for one in page["results"]]

    assert alone == page["results"]
    assert {text} == {one["info"]["k"][0] for one in alone}
