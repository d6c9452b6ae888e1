from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.sandbox.api import Api, Tree, plant
from tests.sandbox.placing import Json

BRANCH: Json = {
    "subject": {"label": "sub-09", "sex": "female"},
    "session": {"uid": "7.7", "label": "ses", "timestamp": "2026-01-02T03:04:05Z"},
    "acquisition": {"label": "acq", "info": {"a": 1}},
}


async def upsert(api: Api, project: str, body: Json, **params: str) -> Json:
    told: Json = await api.post(f"/projects/{project}/upsert-hierarchy", body, **params)
    return told


def results(told: Json) -> dict[str, str]:
    return {kind: level["upsert_result"] for kind, level in told.items()}


@pytest.mark.row("upsert-hierarchy")
async def test_levels_are_made_and_then_left_as_they_are(api: Api, tree: Tree) -> None:
    first = await upsert(api, tree.project, BRANCH)
    second = await upsert(api, tree.project, BRANCH)

    assert results(first) == dict.fromkeys(("subject", "session", "acquisition"), "created")
    assert results(second) == dict.fromkeys(("subject", "session", "acquisition"), "ignored")
    assert [first[kind]["_id"] for kind in first] == [second[kind]["_id"] for kind in second]
    assert (first["session"]["uid"], first["session"]["label"]) == ("7.7", "ses")
    acquisition = await api.get(f"/acquisitions/{first['acquisition']['_id']}")
    assert acquisition["parents"] | {"group": None, "acquisition": None} == {
        "group": None,
        "project": tree.project,
        "subject": first["subject"]["_id"],
        "session": first["session"]["_id"],
        "acquisition": None,
    }
    assert acquisition["info"] == {"a": 1}
    assert (await api.get(f"/subjects/{first['subject']['_id']}"))["sex"] == "female"


@pytest.mark.row("upsert-hierarchy")
async def test_what_is_different_is_changed(api: Api, tree: Tree) -> None:
    first = await upsert(api, tree.project, BRANCH)
    other = {
        "subject": {"_id": first["subject"]["_id"]},
        "session": {"uid": "7.7", "label": "renamed"},
        "acquisition": {"label": "acq", "info": {"b": 2}},
    }

    told = await upsert(api, tree.project, other)

    assert results(told) == {
        "subject": "ignored",
        "session": "updated",
        "acquisition": "updated",
    }
    assert told["session"]["label"] == "renamed"
    assert (await api.get(f"/sessions/{first['session']['_id']}"))["revision"] == 2
    acquisition = await api.get(f"/acquisitions/{first['acquisition']['_id']}")
    assert acquisition["info"] == {"a": 1, "b": 2}
    assert acquisition["revision"] == 2


@pytest.mark.row("upsert-hierarchy")
async def test_a_uid_that_is_elsewhere_is_a_conflict(api: Api, tree: Tree) -> None:
    first = await upsert(api, tree.project, BRANCH)
    other = BRANCH | {"subject": {"label": "sub-10"}}

    told = await upsert(api, tree.project, other)

    assert results(told) == {"subject": "created", "session": "conflict"}
    assert told["session"]["_id"] == first["session"]["_id"]
    session = await api.get(f"/sessions/{first['session']['_id']}")
    assert session["subject"]["label"] == "sub-09"
    elsewhere = await plant(api, "other")
    assert results(await upsert(api, elsewhere.project, BRANCH))["session"] == "created"


async def test_how_far_a_uid_reaches_is_said_by_its_scope(api: Api, tree: Tree) -> None:
    await upsert(api, tree.project, BRANCH)
    near = await api.make("project", "Near", group=tree.group)
    far = (await plant(api, "other")).project

    for scope, project, expected in [
        ("project", near, "created"),
        ("group", far, "created"),
        ("group", await api.make("project", "Nearer", group=tree.group), "conflict"),
        ("site", await api.make("project", "Farther", group="other"), "conflict"),
    ]:
        told = await upsert(api, project, BRANCH, uid_scope=scope)
        assert told["session"]["upsert_result"] == expected, scope
    where = f"/projects/{far}/upsert-hierarchy?uid_scope=planet"
    assert (await api.ask("POST", where, json=BRANCH)).status == 400


async def test_a_routing_field_finds_what_has_it(api: Api, tree: Tree) -> None:
    body = {
        "subject": {"routing_field": "PAT-1", "label": "sub-09"},
        "session": {"routing_field": "VISIT-1"},
    }
    first = await upsert(api, tree.project, body)
    body["subject"]["label"] = "renamed"

    second = await upsert(api, tree.project, body)

    assert first["session"]["label"] == "VISIT-1"
    assert results(second) == {"subject": "updated", "session": "ignored"}
    assert second["subject"] == first["subject"] | {
        "label": "renamed",
        "upsert_result": "updated",
    }
    body["subject"]["label"] = "sub-01"  # of the tree
    taken = await api.ask("POST", f"/projects/{tree.project}/upsert-hierarchy", json=body)
    assert taken.status == 422


async def test_a_level_may_be_left_out_where_the_next_is_there(api: Api, tree: Tree) -> None:
    told = await upsert(
        api, tree.project, {"session": {"label": "ses-01"}, "acquisition": {"label": "new"}}
    )

    assert told["session"]["_id"] == tree.session
    assert results(told) == {"session": "ignored", "acquisition": "created"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"session": {"label": "new"}}, 400),
        ({"acquisition": {"label": "new"}}, 400),
        ({"subject": {}}, 400),
        ({"subject": {"uid": "1"}}, 400),
        ({"subject": {"label": 7}}, 400),
        ({"subject": {"label": "s", "more": 1}}, 400),
        ({"subject": []}, 400),
        ({"subject": {"label": "s"}, "more": 1}, 400),
        ({"subject": {"_id": "nowhere"}}, 404),
        ({"subject": {"label": "s"}, "session": {"label": "e", "timestamp": "x"}}, 400),
        ([], 400),
    ],
)
async def test_a_body_that_is_wrong_makes_nothing(
    api: Api, tree: Tree, body: Any, status: int
) -> None:
    answer = await api.ask("POST", f"/projects/{tree.project}/upsert-hierarchy", json=body)

    assert (answer.status, answer.json["status_code"]) == (status, status)
    assert len(await api.get("/subjects")) == 1


async def test_a_level_must_lie_in_the_one_before(api: Api, tree: Tree) -> None:
    other = await upsert(api, tree.project, {"subject": {"label": "sub-02"}})
    body = {"subject": {"_id": other["subject"]["_id"]}, "session": {"_id": tree.session}}

    answer = await api.ask("POST", f"/projects/{tree.project}/upsert-hierarchy", json=body)

    assert answer.status == 404


async def test_a_label_that_is_taken_is_told(api: Api, tree: Tree) -> None:
    other = await upsert(api, tree.project, {"subject": {"label": "sub-02"}})
    body = {"subject": {"_id": other["subject"]["_id"], "label": "sub-01"}}

    answer = await api.ask("POST", f"/projects/{tree.project}/upsert-hierarchy", json=body)

    assert answer.status == 422


@pytest.mark.row("permissions-ro", "permissions-rw")
async def test_whoever_may_write_may_do_it(api: Api, user: Api, tree: Tree) -> None:
    where = f"/projects/{tree.project}/upsert-hierarchy"
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant)
    assert (await user.ask("POST", where, json=BRANCH)).status == 403
    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant | {"access": "rw"})

    assert results(await upsert(user, tree.project, BRANCH))["session"] == "created"


async def test_at_the_same_time_one_makes_and_the_others_find(api: Api, tree: Tree) -> None:
    told = await asyncio.gather(*(upsert(api, tree.project, BRANCH) for _ in range(8)))

    made = [one["acquisition"]["upsert_result"] for one in told]
    assert sorted(made) == ["created", *["ignored"] * 7]


# ------------------------------------------------------------------------------ with a file


async def stored(api: Api, project: str, content: bytes) -> str:
    """Bytes without a file; the name they have."""
    form = aiohttp.FormData()
    form.add_field("file", content, filename="x")
    entries = await api.ask("POST", f"/storage/files?project_id={project}", data=form)
    assert entries.status == 200, entries
    name: str = entries.json["storage_file_id"]
    return name


@pytest.mark.row("upsert-hierarchy", "files-upsert")
async def test_a_file_goes_to_the_lowest_level(api: Api, tree: Tree) -> None:
    where = f"/projects/{tree.project}/upsert-file"
    file = {"name": "a.txt", "uuid": await stored(api, tree.project, b"one"), "size": 3}
    told = await api.post(where, BRANCH | {"file": file})
    changed = file | {"uuid": await stored(api, tree.project, b"three"), "size": 5}
    conflict = await api.post(where, BRANCH | {"file": changed})
    forced = await api.post(where, BRANCH | {"file": changed}, force_update="true")

    assert told["file"]["upsert_result"] == "created"
    assert told["file"]["parent_ref"] == {
        "type": "acquisition",
        "id": told["acquisition"]["_id"],
    }
    assert (conflict["file"]["upsert_result"], conflict["file"]["size"]) == ("conflict", 3)
    assert (forced["file"]["upsert_result"], forced["file"]["version"]) == ("updated", 2)


async def test_a_conflict_of_a_container_stores_nothing(api: Api, tree: Tree) -> None:
    await upsert(api, tree.project, BRANCH)
    where = f"/projects/{tree.project}/upsert-file"
    file = {"name": "a.txt", "uuid": await stored(api, tree.project, b"one"), "size": 3}
    body = BRANCH | {"subject": {"label": "other"}, "file": file}

    told = await api.post(where, body, cleanup_on_conflict="true")

    assert results(told)["session"] == results(told)["file"] == "conflict"
    assert (await api.get("/files"))["results"] == []
    again = await api.ask("POST", where, json=BRANCH | {"file": file})
    assert again.status == 404  # the bytes are gone
    assert (await api.ask("POST", where, json=BRANCH)).status == 400
