from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.core2018.old import Old, OldTree

PATH = ["lab", "Project A", "Sess 1", "Acq 1"]


async def resolve(api: Old, *path: str) -> dict[str, Any]:
    found: dict[str, Any] = await api.post("/resolve", {"path": list(path)})
    return found


@pytest.mark.row("sandbox-core-2018")
async def test_each_part_has_its_node_and_no_subject_is_among_them(old: Old, tree: OldTree) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "acq.dcm", b"1")
    found = await resolve(old, *PATH, "acq.dcm")

    assert [
        ("group", "lab"),
        ("project", tree.project),
        ("session", tree.session),
        ("acquisition", tree.acquisition),
        ("file", None),
    ] == [(node["node_type"], node.get("_id")) for node in found["path"]]
    assert found["path"][-1]["name"] == "acq.dcm"
    assert found["path"][2]["subject"]["code"] == "s1"
    assert found["children"] == []
    assert not any({"files", "info", "tags"} & node.keys() for node in found["path"][:-1])
    assert not any("container_type" in node for node in found["path"])


async def test_children_are_containers_and_then_files_by_name(old: Old, tree: OldTree) -> None:
    for name in ("b.txt", "a.txt"):
        await old.put(f"sessions/{tree.session}", name, b"1")
    found = await resolve(old, *PATH[:3])

    assert [("acquisition", "Acq 1"), ("file", "a.txt"), ("file", "b.txt")] == [
        (node["node_type"], node.get("label", node.get("name"))) for node in found["children"]
    ]


async def test_the_root_lists_the_groups(old: Old, tree: OldTree) -> None:
    found = await resolve(old)

    assert found["path"] == []
    assert "lab" in [node["_id"] for node in found["children"]]


async def test_a_file_is_found_at_any_level_from_the_project_down(old: Old, tree: OldTree) -> None:
    await old.put(f"projects/{tree.project}", "p.txt", b"1")
    found = await resolve(old, "lab", "Project A", "p.txt")

    assert found["path"][-1]["node_type"] == "file"


async def test_an_id_picks_a_group_or_container(old: Old, tree: OldTree) -> None:
    found = await resolve(old, "<id:lab>", f"<id:{tree.project}>", "Sess 1")

    assert found["path"][-1]["_id"] == tree.session


async def test_of_two_equal_labels_the_oldest_is_taken_and_case_matters(
    old: Old, tree: OldTree
) -> None:
    await old.make("project", "Project A", group="lab")
    found = await resolve(old, "lab", "Project A")
    other = await old.ask("POST", "/resolve", json={"path": ["lab", "project a"]})

    assert found["path"][-1]["_id"] == tree.project
    assert other.status == 404


async def test_what_was_deleted_is_resolved_too(old: Old, tree: OldTree) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "acq.dcm", b"1")
    await old.ask("DELETE", f"/projects/{tree.project}")
    found = await resolve(old, *PATH, "acq.dcm")

    assert [False, True, True, True, True] == ["deleted" in node for node in found["path"]]


async def test_what_is_not_there_is_500_beside_a_name_that_is_not_ascii(
    old: Old, tree: OldTree
) -> None:
    await old.put(f"projects/{tree.project}", "é", b"1")
    path = ["lab", "Project A"]

    gone = await old.ask("POST", "/resolve", json={"path": [*path, "no such"]})
    there = await old.ask("POST", "/resolve", json={"path": [*path, "Sess 1"]})

    assert (500, 200) == (gone.status, there.status)
