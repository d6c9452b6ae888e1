from __future__ import annotations

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.api import Api, Tree, plant

ODD_LABELS = [
    "",
    " ",
    ".",
    "..",
    "/",
    "a/b",
    "\x00\x07\n",
    "ü",
    "e\u0301",
    "日本",
    "x" * 256,
    "files",
]


@pytest.mark.row("containers-create", "containers-get")
async def test_a_tree_is_made_and_every_level_can_be_read(api: Api, tree: Tree) -> None:
    for kind in ("group", "project", "subject", "session", "acquisition"):
        container = getattr(tree, kind)
        entry = await api.get(f"/{kind}s/{container}")

        assert entry == await api.get(f"/containers/{container}")
        assert (entry["_id"], entry["container_type"]) == (container, kind)
        assert entry["node_type"] == kind


@pytest.mark.row("containers-get")
async def test_a_session_names_its_subject_and_its_parents(api: Api, tree: Tree) -> None:
    entry = await api.get(f"/sessions/{tree.session}")

    assert entry["subject"] == {"_id": tree.subject, "label": "sub-01", "code": "sub-01"}
    assert (entry["group"], entry["project"]) == (tree.group, tree.project)
    assert entry["parents"]["subject"] == tree.subject
    assert entry["parents"]["session"] is None


@pytest.mark.row("containers-create")
async def test_ids_grow_with_time_and_look_like_object_ids(api: Api, tree: Tree) -> None:
    made = [await api.make("acquisition", "same", session=tree.session) for _ in range(20)]

    assert made == sorted(made)
    assert len(set(made)) == 20
    assert all(len(one) == 24 and int(one, 16) for one in made)


@pytest.mark.parametrize("label", ODD_LABELS)
@pytest.mark.row("containers-create")
async def test_any_text_is_a_label(api: Api, tree: Tree, label: str) -> None:
    for kind, parent in (("subject", "project"), ("acquisition", "session")):
        made = await api.make(kind, label, **{parent: getattr(tree, parent)})

        assert (await api.get(f"/{kind}s/{made}"))["label"] == label


@pytest.mark.row("containers-create")
async def test_a_label_too_long_or_no_text_is_400(api: Api, tree: Tree) -> None:
    for label in ("x" * 257, 7, ["a"], {"a": 1}):
        body = {"label": label, "session": tree.session}

        assert (await api.ask("POST", "/acquisitions", json=body)).status == 400


@pytest.mark.row("containers-create")
async def test_a_missing_parent_is_404(api: Api, tree: Tree) -> None:
    wrong_kind = {"label": "x", "session": tree.project}
    nowhere = {"label": "x", "group": "nowhere"}

    assert (await api.ask("POST", "/acquisitions", json=wrong_kind)).status == 404
    assert (await api.ask("POST", "/projects", json=nowhere)).status == 404


@pytest.mark.row("labels-equal")
async def test_equal_labels_are_refused_for_projects_and_subjects_only(
    api: Api, tree: Tree
) -> None:
    project = {"label": "Proj", "group": tree.group}
    subject = {"label": "sub-01", "project": tree.project}
    await api.make("session", "ses-01", project=tree.project, subject={"_id": tree.subject})

    assert (await api.ask("POST", "/projects", json=project)).status == 409
    assert (await api.ask("POST", "/subjects", json=subject)).status == 422


@pytest.mark.row("groups-create")
async def test_a_group_is_made_or_labelled_anew(api: Api) -> None:
    first = await api.ask("POST", "/groups", json={"_id": "lab", "label": "Lab"})
    second = await api.ask("POST", "/groups", json={"_id": "lab", "label": "The lab"})

    assert (first.status, second.status) == (200, 201)
    assert (await api.get("/groups/lab"))["label"] == "The lab"


@pytest.mark.parametrize("group", ["A", "x", "a b", "-a", "a" * 33, "é", None, 5])
@pytest.mark.row("groups-create")
async def test_a_group_id_is_a_slug(api: Api, group: object) -> None:
    answer = await api.ask("POST", "/groups", json={"_id": group, "label": "x"})

    assert answer.status == 400


@pytest.mark.row("groups-create")
async def test_a_group_does_not_take_the_id_of_another_container(api: Api, tree: Tree) -> None:
    answer = await api.ask("POST", "/groups", json={"_id": tree.project, "label": "x"})

    assert answer.status == 409
    assert (await api.get(f"/projects/{tree.project}"))["label"] == "Proj"


@pytest.mark.row("containers-create")
async def test_what_a_body_says_of_other_levels_is_not_kept(api: Api, tree: Tree) -> None:
    others = {"subject": tree.subject, "session": tree.session, "acquisition": tree.acquisition}
    made = await api.make("project", "New", group=tree.group, **others)

    assert not others.keys() & (await api.get(f"/projects/{made}")).keys()


@pytest.mark.row("sessions-subject")
async def test_a_subject_in_a_session_body_is_found_or_made(api: Api, tree: Tree) -> None:
    body = {"label": "x", "project": tree.project}
    old = await api.post("/sessions", {**body, "subject": {"code": "sub-01"}})
    new = await api.post("/sessions", {**body, "subject": {"label": "sub-02"}})

    old_subject = (await api.get(f"/sessions/{old['_id']}"))["subject"]["_id"]
    assert old_subject == tree.subject
    assert (await api.get(f"/sessions/{new['_id']}"))["subject"]["label"] == "sub-02"
    assert len(await api.get(f"/projects/{tree.project}/subjects")) == 2


@pytest.mark.row("containers-change")
async def test_a_change_is_partial_and_moves_the_revision(api: Api, tree: Tree) -> None:
    before = await api.get(f"/sessions/{tree.session}")
    answer = await api.ask("PUT", f"/sessions/{tree.session}", json={"label": "ses-02"})
    await api.ask("PUT", f"/sessions/{tree.session}", json={"info": {"a": 1}})
    after = await api.get(f"/sessions/{tree.session}")

    assert answer.json == {"modified": 1, "jobs_spawned": 0}
    assert (after["label"], after["info"], after["info_exists"]) == ("ses-02", {"a": 1}, True)
    assert after["revision"] == before["revision"] + 2
    assert after["modified"] > before["modified"]
    assert after["created"] == before["created"]


@pytest.mark.row("containers-change")
async def test_an_empty_or_unknown_change_is_400(api: Api, tree: Tree) -> None:
    empty = await api.ask("PUT", f"/projects/{tree.project}", json={})
    unknown = await api.ask("PUT", f"/projects/{tree.project}", json={"nonsense": 1})

    assert (empty.status, empty.message) == (400, "Empty Payload")
    assert unknown.status == 400


@pytest.mark.row("containers-delete")
async def test_deleting_takes_everything_below_and_leaves_the_rest(api: Api, tree: Tree) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"a"})
    await api.upload(f"projects/{tree.project}", {"p.txt": b"p"})
    gone = await api.ask("DELETE", f"/subjects/{tree.subject}")

    assert gone.json == {"deleted": 1, "not_found": 0, "delete_scheduled": 0}
    assert (await api.ask("GET", f"/acquisitions/{tree.acquisition}")).status == 404
    left = await api.get("/files", filter=f"parents.project={tree.project}")
    assert [entry["name"] for entry in left["results"]] == ["p.txt"]
    assert (await api.ask("DELETE", f"/subjects/{tree.subject}")).status == 404
    record = await api.get("/sandbox/record")
    assert len(record["files"]) == 2
    assert sum(one["deleted"] is not None for one in record["containers"]) == 3


@pytest.mark.row("containers-delete")
async def test_several_are_deleted_by_a_list_of_ids(api: Api, tree: Tree) -> None:
    other = await api.make("acquisition", "b", session=tree.session)
    ids = [tree.acquisition, other, "0" * 24]
    answer = await api.ask("DELETE", "/acquisitions", json=ids)

    assert answer.json == {"deleted": 2, "not_found": 1, "delete_scheduled": 0}
    assert await api.get(f"/sessions/{tree.session}/acquisitions") == []


@pytest.mark.row("containers-delete")
async def test_nothing_is_uploaded_into_what_was_deleted(api: Api, tree: Tree) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"a"})
    await api.ask("DELETE", f"/projects/{tree.project}")
    late = aiohttp.FormData()
    late.add_field("file", b"late", filename="late.txt")
    answer = await api.ask("POST", f"/acquisitions/{tree.acquisition}/files", data=late)

    assert answer.status == 404


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(label=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@pytest.mark.row("lookup")
async def test_a_lookup_finds_what_a_label_was_given_to(api: Api, label: str) -> None:
    group = (await plant_once(api)).group
    answer = await api.ask("POST", "/projects", json={"label": label, "group": group})

    assert answer.status in (200, 409, 400 if label in ("Unknown", "Unsorted") else 200)
    if answer.status == 200:
        found = await api.post("/lookup", {"path": [group, label]})
        assert found["_id"] == answer.json["_id"]


async def plant_once(api: Api) -> Tree:
    answer = await api.ask("GET", "/groups/grp")
    if answer.status == 404:
        return await plant(api)
    return Tree("grp", "", "", "", "")
