from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.api import Api, Tree, client
from tests.sandbox.placing import by_label, placed, send

FILES = {"p.txt": b"1", "s.txt": b"22", "e.txt": b"333", "a.dcm": b"4444"}


async def labels(api: Api, *path: str) -> Any:
    return await api.post("/lookup", {"path": list(path)})


@pytest.mark.row("upload-label")
@pytest.mark.parametrize("metadata_last", [False, True])
async def test_files_go_to_the_level_that_names_them(api: Api, metadata_last: bool) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    files = {**FILES, "nobody.txt": b"x"}
    entries = await placed(api, "label", by_label(), files, metadata_last=metadata_last)

    assert [entry["name"] for entry in entries] == ["p.txt", "s.txt", "e.txt", "a.dcm"]
    assert [entry["parent_ref"]["type"] for entry in entries] == [
        "project",
        "subject",
        "session",
        "acquisition",
    ]
    assert [entry["size"] for entry in entries] == [1, 2, 3, 4]
    dicom = entries[-1]
    assert dicom["_id"] == {"file_id": dicom["file_id"], "version": 1}
    acquisition = await labels(api, "grp", "Proj", "sub", "ses", "acq")
    assert acquisition["_id"] == dicom["parent_ref"]["id"]
    (stored,) = acquisition["files"]
    assert (stored["type"], stored["info"], stored["tags"]) == ("pet", {"a": 1}, ["t"])
    where = f"/acquisitions/{acquisition['_id']}/files/a.dcm"
    assert (await api.ask("GET", where)).body == b"4444"
    everything = await api.get("/files")
    assert sorted(one["name"] for one in everything["results"]) == sorted(FILES)


async def test_a_session_begins_no_later_than_its_acquisitions(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    await placed(api, "label", by_label(), {"a.dcm": b""})
    session = await labels(api, "grp", "Proj", "sub", "ses")
    assert session["timestamp"].startswith("2025-01-02T02:04:05")
    assert session["timezone"] == "Europe/Berlin"

    later = by_label(acquisition={"label": "acq2", "timestamp": "2030-01-01T00:00:00Z"})
    await placed(api, "label", later, {"x": b""})

    session = await labels(api, "grp", "Proj", "sub", "ses")
    assert session["timestamp"].startswith("2025-01-02T02:04:05")


async def test_what_is_there_is_only_filled_where_it_is_empty(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    first = by_label(
        session={"label": "ses", "info": {"a": 1, "b": {"c": 2}}, "subject": {"code": "sub"}}
    )
    await placed(api, "label", first, {"a.dcm": b""})
    second = by_label(
        session={
            "label": "ses",
            "operator": "me",
            "info": {"a": 9, "b": {"c": 9, "d": 3}, "e": 4},
            "subject": {"code": "sub", "sex": "female"},
        }
    )
    second["acquisition"]["uid"] = "1.2"
    await placed(api, "label", second, {"a.dcm": b"2"})
    third = by_label(session={"label": "ses", "operator": "you", "subject": {"code": "sub"}})
    third["acquisition"]["uid"] = "9.9"
    await placed(api, "label", third, {"a.dcm": b"3"})

    session = await labels(api, "grp", "Proj", "sub", "ses")
    assert session["info"] == {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}
    assert session["operator"] == "me"
    assert (await labels(api, "grp", "Proj", "sub"))["sex"] == "female"
    acquisition = await labels(api, "grp", "Proj", "sub", "ses", "acq")
    assert acquisition["uid"] == "1.2"
    assert [one["version"] for one in acquisition["files"]] == [3]
    assert len(await api.get("/sessions")) == len(await api.get("/acquisitions")) == 1


async def test_labels_of_projects_are_equal_in_any_case_those_below_are_not(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    await placed(api, "label", by_label(), {"a.dcm": b""})

    await placed(api, "label", by_label(project={"label": "PROJ"}), {"a.dcm": b""})
    assert [one["label"] for one in await api.get("/projects")] == ["Proj"]

    other = by_label(session={"label": "SES", "subject": {"code": "sub"}})
    await placed(api, "label", other, {"a.dcm": b""})
    assert sorted(one["label"] for one in await api.get("/sessions")) == ["SES", "ses"]


async def test_a_session_must_have_the_subject_that_is_named(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    await placed(api, "label", by_label(), {"a.dcm": b""})
    await placed(api, "label", by_label(session={"label": "ses"}), {"a.dcm": b""})
    assert len(await api.get("/sessions")) == 1  # the first of that label, whoever it is

    other = by_label(session={"label": "ses", "subject": {"code": "other"}})
    await placed(api, "label", other, {"a.dcm": b""})
    assert len(await api.get("/sessions")) == 2
    nobody = by_label(session={"label": "new"})
    await placed(api, "label", nobody, {"a.dcm": b""})

    sessions = await api.get("/sessions")
    assert [one["subject"]["label"] for one in sessions] == ["sub", "other", "unknown"]


async def test_a_subject_can_be_named_by_its_id(api: Api, tree: Tree) -> None:
    told = by_label(session={"label": "new", "subject": {"_id": tree.subject}})
    await placed(api, "label", told, {"a.dcm": b""})
    (made,) = [one for one in await api.get("/sessions") if one["label"] == "new"]
    assert made["subject"]["_id"] == tree.subject

    told = by_label(session={"label": "new", "subject": {"_id": tree.acquisition}})
    assert (await send(api, "label", told, {"a.dcm": b""})).status == 404


async def test_a_name_in_several_lists_goes_to_one_of_them(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    both = [{"name": "x"}]
    told = by_label(
        project={"label": "Proj"},
        session={"label": "ses", "files": both, "subject": {"code": "s", "files": both}},
        acquisition={"label": "acq", "files": both},
    )

    (entry,) = await placed(api, "label", told, {"x": b""})

    assert entry["parent_ref"]["type"] == "acquisition"


async def test_containers_are_made_even_when_every_file_is_dropped(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})

    assert await placed(api, "label", by_label(), {"nobody": b"x"}) == []

    assert (await labels(api, "grp", "Proj", "sub", "ses", "acq"))["files"] == []


async def test_a_project_alone_may_be_named(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    told = by_label(session=None, acquisition=None)

    (entry,) = await placed(api, "label", told, {"p.txt": b"1"})

    assert entry["parent_ref"]["type"] == "project"
    assert await api.get("/sessions") == []


@pytest.mark.parametrize(
    ("group", "project", "expected"),
    [
        ("neuroscience", "Proj", ("neuroscience", "Proj")),
        ("NeuroScience", "Proj", ("neuroscience", "Proj")),
        ("neurosciense", "Proj", ("neuroscience", "Proj")),
        ("neuro", "Proj", ("unknown", "neuro_Proj")),
        ("cardiology", "", ("unknown", "cardiology_Unknown")),
        ("neuroscience", "", ("neuroscience", "Unknown")),
    ],
)
async def test_a_group_is_found_by_a_near_spelling_or_it_is_unknown(
    sandbox: Sandbox, api: Api, group: str, project: str, expected: tuple[str, str]
) -> None:
    for known in ("neuroscience", "unrelated"):
        await api.ask("POST", "/groups", json={"_id": known})
    told = by_label(group={"_id": group}, project={"label": project})

    (entry,) = await placed(api, "label", told, {"a.dcm": b""}, headers=device(sandbox))

    assert entry["parents"]["group"] == expected[0]
    found = await api.get(f"/projects/{entry['parents']['project']}")
    assert found["label"] == expected[1]
    assert entry["origin"]["type"] == "device"


async def test_two_near_spellings_are_none(sandbox: Sandbox, api: Api) -> None:
    for known in ("scanner-a", "scanner-b"):
        await api.ask("POST", "/groups", json={"_id": known})
    told = by_label(group={"_id": "scanner-c"})

    (entry,) = await placed(api, "label", told, {"a.dcm": b""}, headers=device(sandbox))

    assert entry["parents"]["group"] == "unknown"


def device(sandbox: Sandbox) -> dict[str, str]:
    return {
        "Authorization": "",
        "X-SciTran-Auth": sandbox.device_secret,
        "X-SciTran-Method": "reaper",
        "X-SciTran-Name": "scanner-1",
    }


async def test_a_person_needs_rights_on_the_fallback_even_an_admin(
    sandbox: Sandbox, api: Api
) -> None:
    told = by_label(group={"_id": "nowhere"})
    refused = await send(api, "label", told, {"a.dcm": b""})
    assert (refused.status, refused.json["reason"]) == (403, "permission_denied")
    await placed(api, "label", told, {"a.dcm": b""}, headers=device(sandbox))
    assert (await send(api, "label", told, {"a.dcm": b""})).status == 403

    grant = {"_id": "admin@sandbox.local", "access": "rw"}
    await api.ask("POST", "/groups/unknown/permissions", json=grant)

    await placed(api, "label", told, {"a.dcm": b""})


@pytest.mark.row("upload-label", "permissions-rw", "permissions-ro")
async def test_a_user_needs_to_write_the_project_or_to_make_it(
    api: Api, user: Api, tree: Tree
) -> None:
    told = by_label()
    assert (await send(user, "label", told, FILES)).status == 403
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant)
    assert (await send(user, "label", told, FILES)).status == 403
    assert await api.get("/acquisitions") == await api.get(f"/sessions/{tree.session}/acquisitions")

    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant | {"access": "rw"})
    assert len(await placed(user, "label", told, FILES)) == 4
    assert (await send(user, "label", by_label(project={"label": "new"}), FILES)).status == 403

    await api.ask("POST", "/groups/grp/permissions", json=grant | {"access": "rw"})
    assert len(await placed(user, "label", by_label(project={"label": "new"}), FILES)) == 3


async def test_nobody_gets_403_a_wrong_key_401(sandbox: Sandbox, api: Api) -> None:
    async with client(sandbox.url, "") as nobody, client(sandbox.url, "wrong") as stranger:
        refused = await send(nobody, "label", by_label(), FILES)
        assert (refused.status, refused.message) == (403, "Uploading requires login")
        assert (await send(stranger, "label", by_label(), FILES)).status == 401


async def test_devices_only_where_the_site_says_so(tmp_path: Path) -> None:
    switches = {"device_uploads": True}
    async with (
        running_sandbox(tmp_path, switches=switches) as site,
        client(site.url, site.api_key) as api,
    ):
        await api.ask("POST", "/groups", json={"_id": "grp"})
        assert (await send(api, "label", by_label(), FILES)).status == 402
        entries = await placed(api, "label", by_label(), FILES, headers=device(site))

    assert len(entries) == 4


@pytest.mark.row("upload-label", "upload-uid", "upload-uid-match", "error-shape")
@pytest.mark.parametrize("strategy", ["label", "uid", "uid-match", "reaper"])
@pytest.mark.parametrize(
    ("metadata", "files", "message"),
    [
        (None, {"a": b""}, "Metadata required"),
        ("{", {"a": b""}, "metadata is not valid JSON"),
        ("[]", {"a": b""}, "metadata must be a JSON object"),
        ('{"more": 1}', {"a": b""}, "Additional properties are not allowed (more unexpected)"),
    ],
)
async def test_what_no_strategy_takes(
    api: Api, strategy: str, metadata: str | None, files: dict[str, bytes], message: str
) -> None:
    refused = await send(api, strategy, metadata, files)

    assert (refused.status, refused.message) == (400, message)
    assert refused.json["status_code"] == 400
    assert refused.json["request_id"]


@pytest.mark.parametrize(
    "changes",
    [
        {"group": None},
        {"group": {}},
        {"group": {"_id": ""}},
        {"group": {"_id": 7}},
        {"group": {"_id": "grp", "x": 1}},
        {"project": None},
        {"project": {}},
        {"project": {"label": 7}},
        {"project": {"label": "x" * 300}},
        {"project": {"label": "P", "x": 1}},
        {"session": {}},
        {"session": {"label": ""}},
        {"session": {"label": "s", "x": 1}},
        {"session": {"label": "s", "timestamp": "yesterday"}},
        {"session": {"label": "s", "info": []}},
        {"session": {"label": "s", "uid": 7}},
        {"session": {"label": "s", "subject": []}},
        {"session": {"label": "s", "subject": {"code": "c", "x": 1}}},
        {"session": {"label": "s", "files": {}}},
        {"session": {"label": "s", "files": [{"type": "dicom"}]}},
        {"session": {"label": "s", "files": [{"name": 7}]}},
        {"session": {"label": "s", "files": [{"name": "a", "x": 1}]}},
        {"acquisition": {"uid": "1"}},
        {"acquisition": {"label": "a", "files": [{"name": "a", "info": 7}]}},
    ],
)
async def test_metadata_are_closed_and_checked_before_anything_is_made(
    api: Api, changes: dict[str, Any]
) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})

    refused = await send(api, "label", by_label(**changes), FILES)

    assert refused.status == 400, refused
    assert await api.get("/projects") == []


async def test_a_form_without_files_is_refused(api: Api) -> None:
    refused = await send(api, "label", by_label(), {})

    assert (refused.status, refused.message) == (400, "No files selected for upload")


async def test_first_uploads_at_the_same_time_make_no_twins(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})

    await asyncio.gather(
        *(placed(api, "label", by_label(), {"a.dcm": bytes([n])}) for n in range(8))
    )

    assert len(await api.get("/projects")) == len(await api.get("/subjects")) == 1
    assert len(await api.get("/sessions")) == len(await api.get("/acquisitions")) == 1
    (file,) = (await api.get("/files"))["results"]
    assert file["version"] == 8


async def test_what_was_deleted_is_not_found_again(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    (first,) = await placed(api, "label", by_label(), {"a.dcm": b""})
    await api.ask("DELETE", f"/sessions/{first['parents']['session']}")

    (second,) = await placed(api, "label", by_label(), {"a.dcm": b""})

    assert second["parents"]["session"] != first["parents"]["session"]
    assert second["parents"]["subject"] == first["parents"]["subject"]


async def test_preserve_metadata_keeps_what_was_told_before(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    await placed(api, "label", by_label(), {"a.dcm": b""})
    bare = by_label(acquisition={"label": "acq", "files": [{"name": "a.dcm"}]})

    (kept,) = await placed(api, "label", bare, {"a.dcm": b""}, preserve_metadata="true")
    assert kept["info"] == {"a": 1}
    (lost,) = await placed(api, "label", bare, {"a.dcm": b""})
    assert lost["info"] == {}


async def test_large_files_are_streamed_to_their_level(api: Api) -> None:
    await api.ask("POST", "/groups", json={"_id": "grp"})
    content = bytes(range(256)) * (5 << 12)  # 5 MiB

    (entry,) = await placed(api, "label", by_label(), {"a.dcm": content}, metadata_last=True)

    assert entry["size"] == len(content)
    where = f"/acquisitions/{entry['parent_ref']['id']}/files/a.dcm"
    assert (await api.ask("GET", where)).body == content
