from __future__ import annotations

import pytest

from tests.sandbox.api import Api, Tree

WAY = ["grp", "Proj", "sub-01", "ses-01", "acq-01"]


@pytest.mark.parametrize("depth", range(1, 6))
@pytest.mark.row("lookup")
async def test_a_path_of_labels_leads_to_its_container(api: Api, tree: Tree, depth: int) -> None:
    ids = [tree.group, tree.project, tree.subject, tree.session, tree.acquisition]
    kinds = ["group", "project", "subject", "session", "acquisition"]
    found = await api.post("/lookup", {"path": WAY[:depth]})
    by_id = await api.post("/lookup", {"path": [f"<id:{one}>" for one in ids[:depth]]})

    assert found == by_id
    assert found["_id"] == ids[depth - 1]
    assert found["container_type"] == found["node_type"] == kinds[depth - 1]


@pytest.mark.row("lookup-file")
async def test_a_file_is_named_after_the_word_files(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"a b.txt": b"a"})
    await api.upload(f"acquisitions/{tree.acquisition}", {"files": b"f"})
    of_project = await api.post("/lookup", {"path": [*WAY[:2], "files", "a b.txt"]})
    of_acquisition = await api.post("/lookup", {"path": [*WAY, "files", "files"]})

    assert (of_project["name"], of_project["container_type"]) == ("a b.txt", "file")
    assert of_acquisition["name"] == "files"


@pytest.mark.parametrize(
    "path",
    [
        ["nowhere"],
        ["grp", "x"],
        [*WAY, "x"],
        [*WAY, "files", "x"],
        [*WAY, "files"],
        ["grp", "files", "x"],
        ["grp", "<id:000000000000000000000000>"],
        [],
        [""],
        ["grp", "Proj", ""],
    ],
)
@pytest.mark.row("lookup")
async def test_a_path_that_leads_nowhere_is_404(api: Api, tree: Tree, path: list[str]) -> None:
    answer = await api.ask("POST", "/lookup", json={"path": path})

    assert answer.status == 404


@pytest.mark.row("lookup-id")
async def test_an_id_below_another_parent_is_404(api: Api, tree: Tree) -> None:
    other = await api.make("project", "other", group=tree.group)
    path = ["grp", f"<id:{other}>", f"<id:{tree.subject}>"]

    assert (await api.ask("POST", "/lookup", json={"path": path})).status == 404


@pytest.mark.row("lookup-file")
async def test_the_error_points_at_a_file_of_that_name(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"a.txt": b"a"})
    answer = await api.ask("POST", "/lookup", json={"path": ["grp", "Proj", "a.txt"]})

    assert answer.message == "No a.txt subject found. Did you mean files/a.txt?"


@pytest.mark.row("lookup")
async def test_of_equal_labels_the_oldest_wins(api: Api, tree: Tree) -> None:
    await api.make("acquisition", "acq-01", session=tree.session)
    first = await api.post("/lookup", {"path": WAY})
    await api.ask("DELETE", f"/acquisitions/{tree.acquisition}")
    second = await api.post("/lookup", {"path": WAY})

    assert first["_id"] == tree.acquisition
    assert second["_id"] > first["_id"]


@pytest.mark.parametrize("path", [[], [""]])
@pytest.mark.row("lookup-root")
async def test_the_root_holds_the_groups(api: Api, tree: Tree, path: list[str]) -> None:
    found = await api.post("/resolve", {"path": path})

    assert found["path"] == []
    assert [(one["_id"], one["container_type"]) for one in found["children"]] == [("grp", "group")]


@pytest.mark.row("resolve")
async def test_resolving_shows_the_way_and_the_children(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"b.txt": b"b", "a.txt": b"a"})
    found = await api.post("/resolve", {"path": WAY[:2]})
    files = await api.post("/resolve", {"path": [*WAY[:2], "files"]})
    one = await api.post("/resolve", {"path": [*WAY[:2], "files", "a.txt"]})

    assert [node["container_type"] for node in found["path"]] == ["group", "project"]
    names = [(node["node_type"], node.get("name")) for node in found["children"]]
    assert names == [("subject", None), ("file", "a.txt"), ("file", "b.txt")]
    assert [node["name"] for node in files["children"]] == ["a.txt", "b.txt"]
    assert (one["path"][-1]["name"], one["children"]) == ("a.txt", [])


@pytest.mark.parametrize("body", [{}, {"path": "grp"}, {"path": [1]}, {"path": None}])
@pytest.mark.row("lookup")
async def test_a_path_that_is_no_list_of_texts_is_400(api: Api, body: object) -> None:
    for route in ("/lookup", "/resolve"):
        assert (await api.ask("POST", route, json=body)).status == 400
