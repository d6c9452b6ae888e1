from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, client
from tests.sandbox.placing import Json, by_label, by_uid, placed, send

DEVICE = {"Authorization": "", "X-SciTran-Method": "reaper", "X-SciTran-Name": "scanner-1"}


@pytest.fixture(autouse=True)
async def a_group(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})


async def where(api: Api, entry: Json) -> tuple[str, str, str, str]:
    """Labels of group, project, session and acquisition that an entry lies in."""
    way = entry["parents"]
    found = [
        await api.get(f"/{kind}s/{way[kind]}") for kind in ("project", "session", "acquisition")
    ]
    return way["group"], found[0]["label"], found[1]["label"], found[2]["label"]


@pytest.mark.row("upload-uid")
async def test_uids_lead_to_containers_inside_of_the_project(api: Api) -> None:
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b"1"})
    assert await where(api, first) == ("grp", "Proj", "ses", "acq")
    renamed = by_uid()
    renamed["session"]["label"] = renamed["acquisition"]["label"] = "other"

    (again,) = await placed(api, "uid", renamed, {"a.txt": b"22"})

    assert (again["file_id"], again["version"]) == (first["file_id"], 2)
    assert await where(api, again) == ("grp", "Proj", "ses", "acq")
    session = await api.get(f"/sessions/{again['parents']['session']}")
    assert (session["uid"], session["subject"]["label"]) == ("1.2", "sub")


async def test_the_same_uids_in_another_project_are_other_containers(api: Api) -> None:
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b""})

    (second,) = await placed(api, "uid", by_uid(project={"label": "Two"}), {"a.txt": b""})

    assert second["parents"]["session"] != first["parents"]["session"]
    assert await where(api, second) == ("grp", "Two", "ses", "acq")


async def test_an_acquisition_is_looked_for_inside_of_its_session(api: Api) -> None:
    await placed(api, "uid", by_uid("1", "1.1"), {"a.txt": b""})

    await placed(api, "uid", by_uid("2", "1.1"), {"a.txt": b""})

    assert [one["uid"] for one in await api.get("/sessions")] == ["1", "2"]
    assert [one["uid"] for one in await api.get("/acquisitions")] == ["1.1", "1.1"]


@pytest.mark.parametrize("strategy", ["uid", "reaper"])
@pytest.mark.parametrize(
    "changes",
    [
        {"session": None},
        {"acquisition": None},
        {"session": {"label": "ses"}},
        {"session": {"uid": ""}},
        {"acquisition": {"uid": None}},
        {"group": None},
        {"project": None},
    ],
)
async def test_uids_are_required(api: Api, strategy: str, changes: dict[str, Any]) -> None:
    assert (await send(api, strategy, by_uid(**changes), {"a.txt": b""})).status == 400


# ------------------------------------------------------------------------------- uid-match


@pytest.mark.row("upload-uid-match")
async def test_a_match_needs_both_uids(api: Api) -> None:
    told = by_uid(group=None, project=None)
    refused = await send(api, "uid-match", told, {"a.txt": b""})
    assert (refused.status, refused.message) == (404, "Session with uid 1.2 does not exist")
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b""})
    missing = by_uid("1.2", "9", group=None, project=None)
    refused = await send(api, "uid-match", missing, {"a.txt": b""})
    assert (refused.status, refused.message) == (404, "Acquisition with uid 9 does not exist")

    (second,) = await placed(api, "uid-match", told, {"a.txt": b"2"})

    assert (second["file_id"], second["version"]) == (first["file_id"], 2)
    assert len(await api.get("/acquisitions")) == 1


async def test_a_match_does_not_take_a_group(api: Api) -> None:
    assert (await send(api, "uid-match", by_uid(), {"a.txt": b""})).status == 400


async def test_a_match_needs_the_right_to_write(api: Api, user: Api) -> None:
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b""})
    told = by_uid(group=None, project=None)
    assert (await send(user, "uid-match", told, {"a.txt": b""})).status == 403
    grant = {"_id": "user@sandbox.local", "access": "rw"}
    project = first["parents"]["project"]
    await api.ask("POST", f"/projects/{project}/permissions", json=grant)

    (entry,) = await placed(user, "uid-match", told, {"a.txt": b""})

    assert entry["origin"] == {"type": "user", "id": "user@sandbox.local"}


# ---------------------------------------------------------------------------------- reaper


@pytest.mark.row("upload-reaper")
async def test_the_uid_of_an_acquisition_wins_wherever_it_is(api: Api) -> None:
    (first,) = await placed(api, "uid", by_uid("1", "1.1"), {"a.txt": b""})
    # Another session has the uid that comes with it, and another project the label.
    await placed(api, "uid", by_uid("2", "2.2", project={"label": "Two"}), {"a.txt": b""})
    told = by_uid("2", "1.1", project={"label": "Two", "files": [{"name": "p"}]})
    told["session"]["files"] = [{"name": "e"}]

    entries = await placed(api, "reaper", told, {"a.txt": b"", "e": b"", "p": b""})

    places = {entry["name"]: entry["parent_ref"]["id"] for entry in entries}
    assert places == {
        "a.txt": first["parents"]["acquisition"],
        "e": first["parents"]["session"],
        "p": first["parents"]["project"],
    }


@pytest.mark.row("upload-reaper")
async def test_then_the_uid_of_a_session_wins_wherever_it_is(api: Api) -> None:
    (first,) = await placed(api, "uid", by_uid("1", "1.1"), {"a.txt": b""})
    told = by_uid("1", "1.9", group={"_id": "elsewhere"}, project={"label": "Nowhere"})

    (entry,) = await placed(api, "reaper", told, {"a.txt": b""})

    assert entry["parents"]["session"] == first["parents"]["session"]
    assert entry["parents"]["acquisition"] != first["parents"]["acquisition"]
    assert [one["label"] for one in await api.get("/projects")] == ["Proj"]


@pytest.mark.row("upload-reaper")
async def test_then_the_labels_of_group_and_project(api: Api) -> None:
    await api.make("project", "Proj", group="grp")

    (entry,) = await placed(api, "reaper", by_uid(group={"_id": "GRP"}), {"a.txt": b""})

    assert await where(api, entry) == ("grp", "Proj", "ses", "acq")


async def test_a_group_that_is_known_gets_a_new_project(api: Api) -> None:
    (entry,) = await placed(api, "reaper", by_uid(project={"label": "New"}), {"a.txt": b""})

    assert await where(api, entry) == ("grp", "New", "ses", "acq")


@pytest.mark.row("upload-reaper")
@pytest.mark.parametrize(
    ("group", "project", "expected"),
    [
        ("nowhere", "Proj", ("unknown", "Unsorted", "gr-nowhere_proj-Proj_ses-1.2", "acq")),
        ("grp", "", ("grp", "Unsorted", "gr-grp_proj-_ses-1.2", "acq")),
    ],
)
async def test_what_matches_nothing_is_left_to_be_sorted(
    sandbox: Sandbox, api: Api, group: str, project: str, expected: tuple[str, ...]
) -> None:
    headers = DEVICE | {"X-SciTran-Auth": sandbox.device_secret}
    told = by_uid(group={"_id": group}, project={"label": project})

    (entry,) = await placed(api, "reaper", told, {"a.txt": b""}, headers=headers)
    (again,) = await placed(api, "reaper", told, {"a.txt": b""}, headers=headers)

    assert await where(api, entry) == expected
    assert (again["file_id"], again["version"]) == (entry["file_id"], 2)
    assert entry["origin"]["type"] == "device"


async def test_uid_placement_can_be_switched_off(api: Api) -> None:
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b""})
    told = by_uid(project={"label": "Two"})

    (entry,) = await placed(api, "reaper", told, {"a.txt": b""}, uid_placement="false")

    assert await where(api, entry) == ("grp", "Two", "ses", "acq")
    assert entry["parents"]["session"] != first["parents"]["session"]


async def test_a_reaper_may_not_write_where_its_user_may_not(api: Api, user: Api) -> None:
    (first,) = await placed(api, "uid", by_uid(), {"a.txt": b""})
    assert (await send(user, "reaper", by_uid(), {"a.txt": b""})).status == 403

    # Of two projects with the uid, the one that may be written is taken.
    (other,) = await placed(api, "uid", by_uid(project={"label": "Two"}), {"a.txt": b""})
    grant = {"_id": "user@sandbox.local", "access": "rw"}
    mine = other["parents"]["project"]
    await api.ask("POST", f"/projects/{mine}/permissions", json=grant)
    (entry,) = await placed(user, "reaper", by_uid(), {"a.txt": b""})

    assert entry["parents"]["project"] == mine != first["parents"]["project"]


async def test_reapers_at_the_same_time_make_no_twins(api: Api) -> None:
    await asyncio.gather(
        *(placed(api, "reaper", by_uid("1", f"1.{n % 3}"), {"a.txt": b""}) for n in range(9))
    )

    assert len(await api.get("/sessions")) == 1
    assert sorted(one["uid"] for one in await api.get("/acquisitions")) == ["1.0", "1.1", "1.2"]


# ------------------------------------------------------------------------------ signed URLs


async def mint(api: Api, strategy: str, body: Json, *, as_form: bool) -> Json:
    if as_form:  # as SDK 23 does
        options: Json = {"data": urlencode({"metadata": json.dumps(body)}).encode()}
        options["headers"] = {"Content-Type": "application/x-www-form-urlencoded"}
    else:
        options = {"json": {"metadata": body, "filenames": ["a.txt"]}}
    answer = await api.ask("POST", f"/upload/{strategy}?ticket=", **options)
    assert answer.status == 200, answer
    told: Json = answer.json
    return told


@pytest.mark.row("upload-signed-placement")
@pytest.mark.parametrize("strategy", ["label", "uid", "reaper"])
@pytest.mark.parametrize("as_form", [True, False])
async def test_bytes_may_be_put_under_a_url_first(api: Api, strategy: str, as_form: bool) -> None:
    minted = await mint(api, strategy, by_uid(), as_form=as_form)
    assert list(minted["urls"]) == ["a.txt"]
    assert await api.get("/projects") == []
    async with (
        aiohttp.ClientSession() as plain,
        plain.put(minted["urls"]["a.txt"], data=b"hello", headers=minted["headers"]) as put,
    ):
        assert put.status == 200

    answer = await api.ask("POST", f"/upload/{strategy}", params={"ticket": minted["ticket"]})
    again = await api.ask("POST", f"/upload/{strategy}", params={"ticket": minted["ticket"]})

    (entry,) = answer.json
    assert (entry["name"], entry["size"], entry["version"]) == ("a.txt", 5, 1)
    assert await where(api, entry) == ("grp", "Proj", "ses", "acq")
    assert again.json == answer.json
    stored = f"/acquisitions/{entry['parent_ref']['id']}/files/a.txt"
    assert (await api.ask("GET", stored)).body == b"hello"


async def test_a_ticket_is_for_its_strategy(api: Api) -> None:
    minted = await mint(api, "uid", by_uid(), as_form=True)

    refused = await api.ask("POST", "/upload/reaper", params={"ticket": minted["ticket"]})
    unknown = await api.ask("POST", "/upload/reaper", params={"ticket": "x"})
    nothing_put = await api.ask("POST", "/upload/uid", params={"ticket": minted["ticket"]})

    assert (refused.status, unknown.status, nothing_put.status) == (403, 404, 409)
    assert await api.get("/projects") == []


async def test_the_metadata_of_a_ticket_are_checked_when_it_is_asked_for(
    sandbox: Sandbox, api: Api
) -> None:
    for body in (b"", b"metadata=", b"metadata=%7B", b"metadata=%7B%22x%22%3A1%7D", b"\xff=1"):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        refused = await api.ask("POST", "/upload/label?ticket=", data=body, headers=headers)
        assert refused.status == 400, (body, refused)
    refused = await api.ask("POST", "/upload/label?ticket=", json={"metadata": 1})
    assert refused.status == 400
    async with client(sandbox.url, "") as nobody:
        assert (await nobody.ask("POST", "/upload/label?ticket=", json={})).status == 403


async def test_files_with_a_request_for_a_ticket_are_refused(api: Api) -> None:
    refused = await send(api, "label", by_label(), {"a.dcm": b"x"}, ticket="")

    assert refused.status == 400
