from __future__ import annotations

import re
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.core2018.old import STORED, Old, OldTree, old_client

ID = re.compile(r"[0-9a-f]{24}")


# -------------------------------------------------------------------------------------- make


async def test_a_new_container_answers_its_id_and_no_more(old: Old) -> None:
    await old.ask("POST", "/groups", json={"_id": "lab"})
    answer = await old.ask("POST", "/projects", json={"label": "P", "group": "lab"})

    assert answer.status == 200
    assert ["_id"] == list(answer.json)
    assert ID.fullmatch(answer.json["_id"])


async def test_labels_are_not_unique(old: Old, tree: OldTree) -> None:
    projects = [await old.make("project", "twin", group="lab") for _ in range(2)]
    sessions = [await old.make("session", "twin", project=tree.project) for _ in range(2)]
    acquisitions = [await old.make("acquisition", "twin", session=tree.session) for _ in range(2)]

    assert len({*projects, *sessions, *acquisitions}) == 6


async def test_a_group_that_exists_is_201_and_overwritten_but_for_its_permissions(
    old: Old,
) -> None:
    first = await old.ask("POST", "/groups", json={"_id": "lab", "label": "Lab"})
    await old.post("/groups/lab/permissions", {"_id": "x@y", "access": "ro"})
    before = await old.get("/groups/lab")
    second = await old.ask("POST", "/groups", json={"_id": "lab"})
    unlabelled = await old.get("/groups/lab")
    await old.ask("POST", "/groups", json={"_id": "lab", "label": "Other"})
    after = await old.get("/groups/lab")

    assert (200, {"_id": "lab"}) == (first.status, first.json)
    assert (201, {"_id": "lab"}) == (second.status, second.json)
    assert unlabelled["label"] == "Lab"
    assert after["label"] == "Other"
    assert before["created"] < after["created"]
    assert before["modified"] < after["modified"]
    assert before["permissions"] == after["permissions"]


async def test_a_site_has_the_group_unknown_from_the_start(old: Old) -> None:
    answer = await old.get("/groups/unknown")

    assert answer["_id"] == "unknown"


async def test_a_group_does_not_take_the_place_of_another_container(
    old: Old, tree: OldTree
) -> None:
    answer = await old.ask("POST", "/groups", json={"_id": tree.project, "label": "Lab"})

    assert answer.status == 409
    assert (await old.get(f"/projects/{tree.project}"))["label"] == "Project A"


@pytest.mark.parametrize(("label", "status"), [("x" * 256, 200), ("x" * 257, 400)])
async def test_a_label_has_1_to_256_characters(old: Old, label: str, status: int) -> None:
    await old.ask("POST", "/groups", json={"_id": "lab"})
    answer = await old.ask("POST", "/projects", json={"label": label, "group": "lab"})

    assert status == answer.status


async def test_a_time_is_kept_in_utc(old: Old, tree: OldTree) -> None:
    made = await old.make(
        "acquisition", "x", session=tree.session, timestamp="2018-03-04T05:06:07+02:00"
    )
    found = await old.get(f"/acquisitions/{made}")

    assert found["timestamp"] == "2018-03-04T03:06:07+00:00"


# -------------------------------------------------------------------------------------- read


async def test_one_container_has_all_its_lists(old: Old, tree: OldTree) -> None:
    found = await old.get(f"/projects/{tree.project}")

    assert {
        "_id": tree.project,
        "label": "Project A",
        "group": "lab",
        "files": [],
        "info": {},
        "notes": [],
        "tags": [],
        "analyses": [],
        "permissions": [{"_id": "admin@sandbox.local", "access": "admin"}],
    }.items() <= found.items()
    assert STORED.fullmatch(found["created"])
    assert STORED.fullmatch(found["modified"])


async def test_a_session_carries_its_subject(old: Old, tree: OldTree) -> None:
    nameless = await old.make("session", "x", project=tree.project)
    named = (await old.get(f"/sessions/{tree.session}"))["subject"]
    bare = (await old.get(f"/sessions/{nameless}"))["subject"]

    assert named.pop("_id")
    assert named == {"code": "s1"}
    assert ["_id"] == list(bare)


async def test_subjects_of_one_code_are_one(old: Old, tree: OldTree) -> None:
    other = await old.make("session", "x", project=tree.project, subject={"code": "s1"})
    ids = [(await old.get(f"/sessions/{s}"))["subject"]["_id"] for s in (tree.session, other)]

    assert ids[0] == ids[1]


@pytest.mark.row("sandbox-core-2018")
async def test_a_list_is_whole_whatever_is_asked(old: Old, tree: OldTree) -> None:
    for number in range(3):
        await old.make("acquisition", f"a{number}", session=tree.session)
    found = await old.get("/acquisitions", limit=1, label="a1", filter="label=a1", sort="label:asc")

    assert [entry["label"] for entry in found] == ["Acq 1", "a0", "a1", "a2"]


async def test_a_list_has_no_info_but_says_whether_there_is_any(old: Old, tree: OldTree) -> None:
    await old.ask("POST", f"/projects/{tree.project}/info", json={"set": {"a": 1}})
    await old.put(f"projects/{tree.project}", "a.txt", b"1", info={"b": 2})
    await old.put(f"projects/{tree.project}", "b.txt", b"1")
    [entry] = await old.get("/projects")
    [first, second] = entry["files"]

    assert ({}, True) == (entry["info"], entry["info_exists"])
    assert ({}, True) == (first["info"], first["info_exists"])
    assert ({}, False) == (second["info"], second["info_exists"])


async def test_a_listed_session_without_files_has_no_such_key(old: Old, tree: OldTree) -> None:
    [bare] = await old.get(f"/projects/{tree.project}/sessions")
    await old.put(f"sessions/{tree.session}", "a.txt", b"1")
    [full] = await old.get(f"/projects/{tree.project}/sessions")

    assert not {"files", "tags"} & bare.keys()
    assert [file["name"] for file in full["files"]] == ["a.txt"]


async def test_lists_leave_out_what_is_not_ones_own(
    old: Old, uma: Old, nobody: Old, tree: OldTree
) -> None:
    hidden = [await api.get("/projects") for api in (uma, nobody)]
    path = f"/projects/{tree.project}/permissions"
    await old.post(path, {"_id": "user@sandbox.local", "access": "ro"})
    shown = await uma.get("/projects")

    assert [[], []] == hidden
    assert [tree.project] == [entry["_id"] for entry in shown]


async def test_an_admin_sees_the_rest_with_root(
    server: Sandbox, reaper: Old, old: Old, tree: OldTree
) -> None:
    other = await reaper.make("project", "of a device", group="lab")
    await old.ask("DELETE", "/groups/lab/permissions/admin@sandbox.local")
    plain = await old.get("/projects")
    whole = await old.get("/projects", root="true")

    assert [tree.project] == [entry["_id"] for entry in plain]
    assert [tree.project, other] == [entry["_id"] for entry in whole]


async def test_what_is_given_to_no_name_is_not_given_to_nobody(
    old: Old, nobody: Old, tree: OldTree
) -> None:
    await old.post(f"/projects/{tree.project}/permissions", {"_id": "", "access": "ro"})

    assert await nobody.get("/projects") == []


async def test_the_origin_of_a_file_of_a_device_has_its_method_and_name(
    old: Old, reaper: Old, tree: OldTree
) -> None:
    await reaper.put(f"projects/{tree.project}", "a.dcm", b"1")
    joined = await old.get(f"/projects/{tree.project}", join="origin")
    device = joined["join-origin"]["device"]["reaper_scanner_1"]

    assert {"_id": "reaper_scanner_1", "method": "reaper", "name": "scanner 1"}.items() <= (
        device.items()
    )


async def test_joins_paths_counts_and_stats(old: Old, tree: OldTree) -> None:
    record = await old.put(f"projects/{tree.project}", "a.txt", b"1")
    joined = await old.get(f"/projects/{tree.project}", join="origin")
    pathed = await old.get(f"/projects/{tree.project}", paths="true")
    [counted] = await old.get("/projects", counts="true")
    [measured] = await old.get("/projects", stats="true")
    digest = record["hash"].removeprefix("v0-sha384-")

    assert joined["join-origin"]["user"]["admin@sandbox.local"]["firstname"] == "Ada"
    assert {"device": {}, "job": {}}.items() <= joined["join-origin"].items()
    assert [f"v0/sha384/{digest[:2]}/{digest[2:4]}/{record['hash']}"] == [
        file["path"] for file in pathed["files"]
    ]
    assert counted["session_count"] == 1
    assert (1, 1, 1) == (
        measured["session_count"],
        measured["acquisition_count"],
        measured["attachment_count"],
    )


# --------------------------------------------------------------------------- change and delete


async def test_a_change_answers_modified(old: Old, tree: OldTree) -> None:
    answer = await old.ask("PUT", f"/projects/{tree.project}", json={"label": "New"})

    assert answer.body == b'{"modified":1}'
    assert (await old.get(f"/projects/{tree.project}"))["label"] == "New"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"set": {"b": 2}}, {"a": 1, "b": 2, "c": 3}),
        ({"delete": ["a"]}, {"c": 3}),
        ({"set": {"b": 2}, "delete": ["a"]}, {"b": 2, "c": 3}),
        ({"replace": {"d.e": 4, "$f": 5}}, {"d_e": 4, "-f": 5}),
        ({"replace": {"a": [{"d.e": 4}]}}, {"a": [{"d_e": 4}]}),
    ],
)
@pytest.mark.row("sandbox-core-2018")
async def test_info_is_changed_by_post_with_an_empty_answer(
    old: Old, tree: OldTree, told: dict[str, Any], left: dict[str, Any]
) -> None:
    path = f"/sessions/{tree.session}/info"
    await old.ask("POST", path, json={"set": {"a": 1, "c": 3}})
    answer = await old.ask("POST", path, json=told)

    assert (200, b"") == (answer.status, answer.body)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Length"] == "0"
    assert left == (await old.get(f"/sessions/{tree.session}"))["info"]


async def test_tags_answer_modified_and_are_there_once(old: Old, tree: OldTree) -> None:
    path = f"/projects/{tree.project}/tags"
    first = await old.ask("POST", path, json={"value": "a"})
    again = await old.ask("POST", path, json={"value": "a"})
    renamed = await old.ask("PUT", f"{path}/a", json={"value": "b"})
    between = (await old.get(f"/projects/{tree.project}"))["tags"]
    dropped = await old.ask("DELETE", f"{path}/b")
    gone = await old.ask("DELETE", f"{path}/b")
    for value in ("x", "y"):
        await old.ask("POST", path, json={"value": value})
    taken = await old.ask("PUT", f"{path}/x", json={"value": "y"})

    assert [b'{"modified":1}'] * 3 == [first.body, renamed.body, dropped.body]
    assert (409, "Item already exists in list.") == (again.status, again.message)
    assert between == ["b"]
    assert (404, 404) == (gone.status, taken.status)


@pytest.mark.row("sandbox-core-2018")
async def test_a_note_answers_modified_not_itself(old: Old, tree: OldTree) -> None:
    path = f"/sessions/{tree.session}"
    answer = await old.ask("POST", f"{path}/notes", json={"text": "hi"})
    [note] = (await old.get(path))["notes"]
    changed = await old.ask("PUT", f"{path}/notes/{note['_id']}", json={"text": "ho"})
    [after] = (await old.get(path))["notes"]
    dropped = await old.ask("DELETE", f"{path}/notes/{note['_id']}")

    assert [b'{"modified":1}'] * 3 == [answer.body, changed.body, dropped.body]
    assert ("hi", "admin@sandbox.local") == (note["text"], note["user"])
    assert (note["_id"], note["created"], "ho") == (after["_id"], after["created"], after["text"])
    assert (await old.get(path))["notes"] == []


async def test_a_permission_is_for_anybody_and_given_once(old: Old, tree: OldTree) -> None:
    path = f"/projects/{tree.project}/permissions"
    answer = await old.ask("POST", path, json={"_id": "no@body", "access": "rw"})
    again = await old.ask("POST", path, json={"_id": "no@body", "access": "ro"})
    wrong = await old.ask("POST", path, json={"_id": "x@y", "access": "rx"})
    found = (await old.get(f"/projects/{tree.project}"))["permissions"]

    assert answer.body == b'{"modified":1}'
    assert (409, "Item already exists in list.") == (again.status, again.message)
    assert wrong.status == 400
    assert {"_id": "no@body", "access": "rw"} in found


async def test_deletion_goes_down_the_tree_and_is_404_again(old: Old, tree: OldTree) -> None:
    answer = await old.ask("DELETE", f"/projects/{tree.project}")
    again = await old.ask("DELETE", f"/projects/{tree.project}")
    below = await old.ask("GET", f"/acquisitions/{tree.acquisition}")

    assert (200, b'{"deleted":1}') == (answer.status, answer.body)
    assert (404, 404) == (again.status, below.status)


async def test_lists_below_what_is_not_there_are_empty(old: Old, tree: OldTree) -> None:
    await old.ask("DELETE", f"/projects/{tree.project}")
    paths = [f"/projects/{id_}/sessions" for id_ in (tree.project, "0" * 24)]
    paths += [f"/sessions/{tree.session}/acquisitions", "/groups/nowhere/projects"]

    answers = [await old.ask("GET", path) for path in paths]

    assert [(200, [])] * 4 == [(answer.status, answer.json) for answer in answers]


async def test_a_project_lists_no_acquisitions(old: Old, tree: OldTree) -> None:
    assert [] == await old.get(f"/projects/{tree.project}/acquisitions")


async def test_what_is_archived_is_listed_only_for_who_asks_for_it(old: Old, tree: OldTree) -> None:
    lists = ["/projects", "/sessions", "/acquisitions", f"/sessions/{tree.session}/acquisitions"]
    await old.ask("PUT", f"/projects/{tree.project}", json={"archived": True})

    assert [0] * 4 == [len(await old.get(path)) for path in lists]
    assert [1] * 4 == [len(await old.get(f"{path}?archived=true")) for path in lists]
    assert 200 == (await old.ask("GET", f"/sessions/{tree.session}")).status

    await old.ask("PUT", f"/projects/{tree.project}", json={"archived": False})
    assert [1] * 4 == [len(await old.get(path)) for path in lists]


async def test_a_role_in_the_group_is_none_in_its_projects(
    old: Old, uma: Old, tree: OldTree
) -> None:
    user = (await uma.get("/users/self"))["_id"]
    await old.post("/groups/lab/permissions", {"_id": user, "access": "admin"})

    alone = await uma.ask("GET", f"/projects/{tree.project}")
    lists = [await uma.get(path) for path in ("/groups/lab/projects", "/projects", "/sessions")]
    made = await uma.make("project", "ours", group="lab")

    assert (403, [[]] * 3) == (alone.status, lists)
    assert [made] == [one["_id"] for one in await uma.get("/groups/lab/projects")]


async def test_a_group_is_deleted_when_it_is_empty(old: Old, tree: OldTree) -> None:
    before = await old.ask("DELETE", "/groups/lab")
    await old.ask("DELETE", f"/projects/{tree.project}")
    after = await old.ask("DELETE", "/groups/lab")

    assert (400, 200) == (before.status, after.status)


async def test_what_a_device_wrote_is_not_for_users_to_delete(
    server: Sandbox, old: Old, uma: Old, reaper: Old, tree: OldTree
) -> None:
    path = f"/projects/{tree.project}/permissions"
    await old.post(path, {"_id": "user@sandbox.local", "access": "rw"})
    await reaper.put(f"acquisitions/{tree.acquisition}", "a.dcm", b"1")
    file = await uma.ask("DELETE", f"/acquisitions/{tree.acquisition}/files/a.dcm")
    container = await uma.ask("DELETE", f"/sessions/{tree.session}")

    assert [(403, "original_data_present")] * 2 == [
        (answer.status, answer.json["reason"]) for answer in (file, container)
    ]


async def test_a_collection_is_deleted_by_its_admins(old: Old, uma: Old) -> None:
    collection = await old.make("collection", "C")
    path = f"/collections/{collection}"
    await old.post(f"{path}/permissions", {"_id": "user@sandbox.local", "access": "rw"})
    refused = await uma.ask("DELETE", path)
    deleted = await old.ask("DELETE", path)

    assert (403, "permission_denied") == (refused.status, refused.json["reason"])
    assert deleted.status == 200


async def test_both_modes_look_at_one_site(server: Sandbox, old: Old, tree: OldTree) -> None:
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"1", measurements=["t1"])
    bearer = {"Authorization": f"Bearer {server.api_key.rpartition(':')[2]}"}
    switched = await old.ask("PATCH", "/sandbox/switches", json={"compat": ""}, headers=bearer)
    async with old_client(server.url, server.api_key) as modern:
        subjects = await modern.get(f"/projects/{tree.project}/subjects")
        files = (await modern.get(f"/acquisitions/{tree.acquisition}"))["files"]

    assert switched.status == 200
    assert ["s1"] == [subject["label"] for subject in subjects]
    assert [("a.txt", {"Custom": ["t1"]})] == [(f["name"], f["classification"]) for f in files]
