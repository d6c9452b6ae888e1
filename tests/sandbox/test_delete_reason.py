"""Who may delete what, and the reasons of a site with an audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.hierarchy.removal import REASONS
from tests.sandbox.api import Answer, Api, Tree, client, plant

USER = "user@sandbox.local"
DEVICE = {"X-SciTran-Method": "reaper", "X-SciTran-Name": "scanner"}


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Api]:
    """The admin of a site with an audit trail."""
    async with (
        running_sandbox(tmp_path / "audited", switches={"audit_trail": True}) as sandbox,
        client(sandbox.url, sandbox.api_key) as made,
    ):
        yield made


async def delete(api: Api, path: str, body: object = None, reason: str | None = None) -> Answer:
    params = {} if reason is None else {"delete_reason": reason}
    return await api.ask("DELETE", path, json=body, params=params)


async def reasons(api: Api) -> dict[str, str | None]:
    """By label or name of what was deleted."""
    record = await api.get("/sandbox/record")
    found = {one["label"]: one["delete_reason"] for one in record["containers"] if one["deleted"]}
    return found | {one["name"]: one["delete_reason"] for one in record["files"] if one["deleted"]}


@pytest.mark.row("delete-reason")
async def test_an_audited_site_wants_a_reason_for_every_deletion(audited: Api) -> None:
    tree = await plant(audited)
    where = f"/acquisitions/{tree.acquisition}"
    entries = await audited.upload(where[1:], {"a": b"a", "b": b"b", "c": b"c"})
    paths = [
        (f"{where}/files/a", None),
        (f"/files/{entries[0]['file_id']}", None),
        ("/files", [entries[0]["file_id"]]),
        (where, None),
        (f"/containers/{tree.acquisition}", None),
        ("/acquisitions", [tree.acquisition]),
        (f"/projects/{tree.project}", None),
    ]
    for path, body in paths:
        none, empty = await delete(audited, path, body), await delete(audited, path, body, "")
        wrong = await delete(audited, path, body, "because")

        assert (none.status, empty.status, wrong.status) == (400, 400, 422), path
        assert "delete_reason" in none.message
        assert "duplicate_data" in wrong.message
    assert await reasons(audited) == {}
    assert (await audited.get(where))["files"] == entries


@pytest.mark.row("delete-reason")
async def test_the_reason_of_a_deletion_is_kept_with_all_below(audited: Api) -> None:
    tree = await plant(audited)
    where = f"/acquisitions/{tree.acquisition}"
    files = await audited.upload(where[1:], dict.fromkeys("abcd", b"x"))
    answers = [
        await delete(audited, f"{where}/files/a", reason="test_data"),
        await delete(audited, f"/files/{files[1]['file_id']}", reason="compliance_phi"),
        await delete(audited, "/files", [files[2]["file_id"]], "packfile_cleanup"),
        await delete(audited, "/sessions", [tree.session], "duplicate_data"),
        await delete(audited, f"/projects/{tree.project}", reason="container_is_empty"),
        await delete(audited, "/groups/grp"),  # SDK 23 has no reason to give for it
    ]

    assert [answer.json["deleted"] for answer in answers] == [1] * 6
    assert await reasons(audited) == {
        "a": "test_data",
        "b": "compliance_phi",
        "c": "packfile_cleanup",
        "d": "duplicate_data",
        "acq-01": "duplicate_data",
        "ses-01": "duplicate_data",
        "sub-01": "container_is_empty",
        "Proj": "container_is_empty",
        "Grp": None,
    }


@pytest.mark.row("delete-reason")
@pytest.mark.parametrize("reason", REASONS)
async def test_a_reason_may_be_given_where_none_is_asked_for(
    api: Api, tree: Tree, reason: str
) -> None:
    await api.upload(f"projects/{tree.project}", {"a": b"a", "b": b"b"})
    given = await delete(api, f"/projects/{tree.project}/files/a", reason=reason)
    wrong = await delete(api, f"/projects/{tree.project}/files/b", reason=reason.upper())
    none = await delete(api, f"/projects/{tree.project}/files/b")

    assert (given.status, wrong.status, none.status) == (200, 422, 200)
    assert await reasons(api) == {"a": reason, "b": None}


@pytest.mark.row("delete-reason")
async def test_one_version_is_deleted_with_a_reason(audited: Api) -> None:
    tree = await plant(audited)
    await audited.upload(f"projects/{tree.project}", {"a": b"1"})
    [entry] = await audited.upload(f"projects/{tree.project}", {"a": b"2"})
    path = f"/files/{entry['file_id']}"
    none = await audited.ask("DELETE", path, params={"version": 1})
    params = {"version": 1, "delete_reason": "compliance_phi"}
    given = await audited.ask("DELETE", path, params=params)
    record = (await audited.get("/sandbox/record"))["files"]

    assert (none.status, given.status) == (400, 200)
    assert [(one["version"], one["delete_reason"]) for one in record] == [
        (1, "compliance_phi"),
        (2, None),
    ]


@pytest.mark.row("file-delete", "containers-delete", "permissions-rw")
async def test_what_a_device_wrote_is_deleted_by_admins_only(
    sandbox: Sandbox, api: Api, user: Api, tree: Tree
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    async with client(sandbox.url, "") as device:
        device._session.headers.update({"X-SciTran-Auth": sandbox.device_secret, **DEVICE})
        [original] = await device.upload(where, {"raw.dcm": b"raw"})
    await api.upload(where, {"mine.txt": b"x"})
    permission = {"_id": USER, "access": "rw"}
    await api.post(f"/projects/{tree.project}/permissions", permission)
    refused = [
        await delete(user, f"/{where}/files/raw.dcm"),
        await delete(user, f"/{where}/files/raw.dcm?force=true"),
        await delete(user, f"/files/{original['file_id']}"),
        await delete(user, "/files", [original["file_id"]]),
        await delete(user, f"/{where}"),
        await delete(user, "/sessions", [tree.session]),
        await delete(user, f"/containers/{tree.subject}"),
    ]
    own = await delete(user, f"/{where}/files/mine.txt")

    assert original["origin"]["type"] == "device"
    assert {(one.status, one.json["reason"]) for one in refused} == {(403, "original_data_present")}
    assert own.json["deleted"] == 1
    assert [one["name"] for one in (await api.get(f"/{where}"))["files"]] == ["raw.dcm"]
    await api.post(f"/projects/{tree.project}/permissions", {**permission, "access": "admin"})
    assert (await delete(user, f"/{where}/files/raw.dcm")).json["deleted"] == 1
    assert (await delete(user, f"/subjects/{tree.subject}")).json["deleted"] == 1


@pytest.mark.row("containers-delete")
async def test_a_project_is_deleted_by_its_admins_by_any_path(
    api: Api, user: Api, tree: Tree
) -> None:
    await api.post(f"/projects/{tree.project}/permissions", {"_id": USER, "access": "rw"})
    refused = [
        await delete(user, f"/projects/{tree.project}"),
        await delete(user, f"/containers/{tree.project}"),
        await delete(user, "/projects", [tree.project]),
    ]

    assert [(one.status, one.json["reason"]) for one in refused] == [(403, "permission_denied")] * 3
    assert (await delete(api, f"/containers/{tree.project}")).json["deleted"] == 1


@pytest.mark.row("containers-delete")
async def test_a_group_with_projects_stays(api: Api, tree: Tree) -> None:
    refused = [await delete(api, "/groups/grp"), await delete(api, "/groups", ["grp"])]
    await delete(api, f"/projects/{tree.project}")
    gone = await delete(api, "/groups", ["grp", "grp", "nothing"])

    assert [answer.status for answer in refused] == [400, 400]
    assert gone.json == {"deleted": 1, "not_found": 1, "delete_scheduled": 0}
    assert (await api.ask("GET", "/groups/grp")).status == 404
