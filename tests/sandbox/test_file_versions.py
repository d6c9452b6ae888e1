"""Versions of a file, restored ones, and files that move."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.access import Caller
from tests.sandbox.api import Answer, Api, Json, Tree, client, plant

USER = "user@sandbox.local"


async def content(api: Api, entry: Json, **params: int) -> bytes:
    answer = await api.ask("GET", f"/files/{entry['file_id']}/download", params=params)
    assert answer.status == 200
    return answer.body


async def restore(api: Api, entry: Json, version: object, rules: str = "false") -> Answer:
    params = {"version": str(version), "evaluate_gear_rules": rules}
    return await api.ask("POST", f"/files/{entry['file_id']}/restore", params=params)


async def move(api: Api, entry: Json, **body: Any) -> Answer:
    return await api.ask("POST", f"/files/{entry['file_id']}/move", json=body)


def reference(kind: str, container: str) -> Json:
    return {"type": kind, "id": container}


@pytest.mark.row("files-versions", "files-get")
async def test_an_edited_version_keeps_its_edits_when_another_comes(api: Api, tree: Tree) -> None:
    where = f"projects/{tree.project}"
    [first] = await api.upload(where, {"a.txt": b"one"}, '{"info": {"a": 1}}')
    path = f"/files/{first['file_id']}"
    await api.ask("PATCH", f"{path}/info", json={"b": 2})
    await api.ask("PUT", path, json={"type": "log"})
    await api.ask("PATCH", f"{path}/tags", json=["t"])
    edited = await api.get(path)
    newest = await api.get(path, version=1)
    default = await api.get(path, version=0)
    await api.upload(where, {"a.txt": b"two"})
    old = await api.get(path, version=1)

    assert edited == newest == default
    assert (edited["info"], edited["type"], edited["tags"]) == ({"a": 1, "b": 2}, "log", ["t"])
    assert edited["modified"] > first["modified"]
    names = ("info", "type", "tags", "modified", "created", "hash", "version", "_id")
    assert [old[name] for name in names] == [edited[name] for name in names]
    assert [one["version"] for one in await api.get(f"{path}/versions")] == [2, 1]
    assert await api.get(f"{path}/info", version=1) == {"a": 1, "b": 2}
    assert await api.get(f"{path}/info") == {}


@pytest.mark.row("files-versions")
async def test_the_times_of_edits_only_grow_over_a_restart(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as sandbox, client(sandbox.url, sandbox.api_key) as api:
        tree = await plant(api)
        [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"1"})
        ahead = "2999-01-01T00:00:00.000000+00:00"
        path = f"/files/{entry['file_id']}"

        def turn_the_clock(pen: Any) -> None:
            pen._last = pen._last.replace(year=2999)

        await sandbox.site.records.write(turn_the_clock)
        await api.ask("PUT", path, json={"type": "log"})
        before = (await api.get(path))["modified"]
    async with running_sandbox(tmp_path) as sandbox, client(sandbox.url, sandbox.api_key) as api:
        await api.ask("PUT", path, json={"type": "text"})
        after = (await api.get(path))["modified"]

    assert ahead < before < after


@pytest.mark.row("files-restore", "files-versions")
async def test_a_restored_version_is_repeated_as_the_newest(api: Api, tree: Tree) -> None:
    where = f"acquisitions/{tree.acquisition}"
    told = '{"info": {"a": 1}, "tags": ["t"], "type": "log", "zip_member_count": 3}'
    [first] = await api.upload(where, {"a.txt": b"one"}, told)
    [second] = await api.upload(where, {"a.txt": b"second"})
    answer = await restore(api, first, 1)
    third = await api.get(f"/files/{first['file_id']}")
    versions = await api.get(f"/files/{first['file_id']}/versions")
    [fourth] = await api.upload(where, {"a.txt": b"4"})

    assert answer.json == third
    same = ("name", "type", "info", "tags", "size", "hash", "mimetype", "zip_member_count")
    assert [third[name] for name in same] == [first[name] for name in same]
    assert (third["version"], third["restored_from"]) == (3, 1)
    assert third["restored_by"] == {"type": "user", "id": "admin@sandbox.local"}
    assert third["modified"] > second["modified"]
    assert len({first["_id"], second["_id"], third["_id"]}) == 3
    assert [await content(api, first, version=n) for n in (1, 2, 3)] == [b"one", b"second", b"one"]
    assert [(one["version"], one["restored_from"]) for one in versions] == [
        (3, 1),
        (2, None),
        (1, None),
    ]
    assert versions[0]["restored_by"] == third["restored_by"]
    assert [one["origin"] for one in versions] == [first["origin"]] * 3
    assert (fourth["version"], fourth["restored_from"], fourth["restored_by"]) == (4, None, None)
    old = await api.get(f"/files/{first['file_id']}", version=3)
    assert (old["restored_from"], old["info"]) == (1, {"a": 1})


@pytest.mark.row("files-restore")
async def test_what_cannot_be_restored(api: Api, user: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"one"})
    path = f"/files/{entry['file_id']}/restore"
    statuses = [
        (await restore(api, entry, 2)).status,
        (await restore(api, entry, 0)).status,
        (await restore(api, entry, "x")).status,
        (await restore(api, entry, -1)).status,
        (await restore(api, entry, 1, "perhaps")).status,
        (await api.ask("POST", path, params={"evaluate_gear_rules": "true"})).status,
        (await api.ask("POST", path, params={"version": "1"})).status,
        (await restore(user, entry, 1)).status,
    ]
    await api.ask("DELETE", f"/files/{entry['file_id']}")

    assert statuses == [404, 404, 400, 400, 422, 422, 422, 403]
    assert (await restore(api, entry, 1)).status == 404


@pytest.mark.row("files-delete", "files-versions")
async def test_one_version_is_deleted_and_the_others_stay(api: Api, tree: Tree) -> None:
    where = f"projects/{tree.project}"
    for body in (b"1", b"2"):
        await api.upload(where, {"a.txt": body})
    [entry] = await api.upload(where, {"a.txt": b"3"})
    path = f"/files/{entry['file_id']}"
    gone = await api.ask("DELETE", path, params={"version": 2})
    again = await api.ask("DELETE", path, params={"version": 2})
    unknown = await api.ask("DELETE", path, params={"version": 9})
    versions = await api.get(f"{path}/versions")
    [fourth] = await api.upload(where, {"a.txt": b"4"})

    assert gone.json == {"deleted": 1, "not_found": 0, "delete_scheduled": 0}
    assert (again.status, unknown.status) == (404, 404)
    assert [(one["version"], one["deleted"] is None) for one in versions] == [
        (3, True),
        (2, False),
        (1, True),
    ]
    assert (await api.ask("GET", path, params={"version": 2})).status == 404
    assert (await restore(api, entry, 2)).status == 404
    assert await content(api, entry, version=1) == b"1"
    assert fourth["version"] == 4


@pytest.mark.row("files-delete")
async def test_the_newest_version_is_the_file(api: Api, tree: Tree) -> None:
    where = f"projects/{tree.project}"
    await api.upload(where, {"a.txt": b"1"})
    [entry] = await api.upload(where, {"a.txt": b"2"})
    path = f"/files/{entry['file_id']}"
    gone = await api.ask("DELETE", path, params={"version": 2, "force": "true"})

    assert gone.json["deleted"] == 1
    for of in ("", "/versions", "/info", "/tags", "/download", "/zip_info"):
        assert (await api.ask("GET", path + of)).status == 404
    assert (await api.ask("GET", f"/{where}/files/a.txt")).status == 404
    assert (await api.ask("DELETE", path)).status == 404


@pytest.mark.row("files-delete")
async def test_a_list_of_files_is_deleted_or_none_of_them(api: Api, user: Api, tree: Tree) -> None:
    other = await plant(api, "other", "Other")
    ids = [
        (await api.upload(f"projects/{project}", {name: b"x"}))[0]["file_id"]
        for project, name in ((tree.project, "a"), (tree.project, "b"), (other.project, "c"))
    ]
    await api.post(f"/projects/{tree.project}/permissions", {"_id": USER, "access": "rw"})
    refused = await user.ask("DELETE", "/files", json=ids)
    left = (await api.get("/files"))["total"]
    answer = await user.ask("DELETE", "/files", json=[ids[0], ids[1], ids[1], "0" * 24, ""])

    assert (refused.status, left) == (403, 3)
    assert answer.json == {"deleted": 2, "not_found": 2, "delete_scheduled": 0}
    assert [one["name"] for one in (await api.get("/files"))["results"]] == ["c"]
    bodies: tuple[object, ...] = ({}, "x", [1], [None])
    for wrong in bodies:
        assert (await api.ask("DELETE", "/files", json=wrong)).status == 400


@pytest.mark.row("files-move")
async def test_a_file_moves_with_its_versions_and_gets_a_name(api: Api, tree: Tree) -> None:
    [old] = await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"1"})
    [entry] = await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"2"})
    answer = await move(
        api, entry, container_reference=reference("subject", tree.subject), name="b.txt"
    )
    moved = await api.get(f"/subjects/{tree.subject}/files/b.txt/info")

    assert answer.json == {"modified": 1, "jobs_spawned": 0}
    assert (moved["file_id"], moved["version"], moved["_id"]) == (
        entry["file_id"],
        2,
        entry["_id"],
    )
    assert moved["parent_ref"] == reference("subject", tree.subject)
    assert moved["parents"] == {
        "group": "grp",
        "project": tree.project,
        "subject": tree.subject,
        "session": None,
        "acquisition": None,
        "analysis": None,
    }
    assert moved["modified"] > entry["modified"]
    assert await content(api, old, version=1) == b"1"
    assert (await api.get(f"/acquisitions/{tree.acquisition}"))["files"] == []
    [again] = await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"new"})
    assert (again["version"], again["file_id"] != entry["file_id"]) == (1, True)


@pytest.mark.row("files-move")
async def test_a_file_is_renamed_in_its_place(api: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"1"})
    await move(api, entry, name="é b.txt", run_gear_rules=False)
    same = await move(api, entry, container_reference=reference("project", tree.project))
    found = (await api.get(f"/projects/{tree.project}"))["files"]

    assert [(one["name"], one["file_id"]) for one in found] == [("é b.txt", entry["file_id"])]
    assert same.status == 200


@pytest.mark.row("files-move")
async def test_what_cannot_be_moved(sandbox: Sandbox, api: Api, user: Api, tree: Tree) -> None:
    other = await plant(api, "other", "Other")
    entry, _ = await api.upload(f"projects/{tree.project}", {"a.txt": b"1", "b.txt": b"2"})
    await api.upload(f"subjects/{tree.subject}", {"a.txt": b"3"})
    await api.post(f"/projects/{tree.project}/permissions", {"_id": USER, "access": "rw"})
    answers = [
        await move(api, entry, name="b.txt"),
        await move(api, entry, container_reference=reference("subject", tree.subject)),
        await move(api, entry, container_reference=reference("session", tree.subject)),
        await move(api, entry, container_reference=reference("project", "0" * 24)),
        await move(api, entry, container_reference=reference("group", "grp")),
        await move(user, entry, container_reference=reference("project", other.project)),
        await move(api, entry),
        await move(api, entry, name=".."),
        await move(api, entry, name="x" * 256),
        await move(api, entry, name=7),
        await move(api, entry, container_reference="x"),
        await move(api, entry, container_reference={"id": tree.subject}),
        await move(api, entry, name="c.txt", nonsense=1),
        await move(api, {"file_id": "0" * 24}, name="c.txt"),
    ]

    assert [answer.status for answer in answers] == [
        *(409, 409, 404, 404, 400, 403),
        *(400, 400, 400, 400, 400, 400, 400, 404),
    ]
    assert await api.get(f"/files/{entry['file_id']}") == entry


@pytest.mark.row("file-view", "file-hash", "file-version", "file-range")
async def test_view_version_hash_and_range_go_together(api: Api, tree: Tree) -> None:
    where = f"sessions/{tree.session}"
    [first] = await api.upload(where, {"a.txt": b"0123456789"})
    await api.upload(where, {"a.txt": b"abcdefghij"})
    params = {"view": "true", "version": 1, "hash": first["hash"]}
    header = {"Range": "bytes=2-4"}
    for path in (f"/{where}/files/a.txt", f"/files/{first['file_id']}/download"):
        answer = await api.ask("GET", path, params=params, headers=header)
        newest = await api.ask("GET", path, params=params | {"version": 2}, headers=header)
        default = await api.ask("GET", path, params={"version": 0, "view": "true"}, headers=header)

        assert (answer.status, answer.body) == (206, b"234")
        assert answer.headers["Content-Range"] == "bytes 2-4/10"
        assert answer.headers["Content-Type"] == "text/plain"
        assert newest.status == 409
        assert default.body == b"cde"


@pytest.mark.row("files-tags", "file-info-change", "files-versions")
async def test_changes_at_once_are_all_kept(api: Api, tree: Tree) -> None:
    where = f"sessions/{tree.session}"
    [entry] = await api.upload(where, {"a.txt": b"0"})
    path, numbers = f"/files/{entry['file_id']}", [str(n) for n in range(30)]
    await asyncio.gather(
        *(api.ask("PATCH", f"{path}/tags", json=[n]) for n in numbers),
        *(api.ask("PATCH", f"{path}/info", json={n: n}) for n in numbers),
        *(api.ask("PATCH", f"/{where}/info", json={"set": {n: n}}) for n in numbers),
        *(api.post(f"/{where}/notes", {"text": n}) for n in numbers),
    )
    file, session = await api.get(path), await api.get(f"/{where}")

    assert sorted(file["tags"]) == sorted(numbers)
    assert file["info"] == session["info"] == {n: n for n in numbers}
    assert sorted(note["text"] for note in session["notes"]) == sorted(numbers)
    assert len({note["_id"] for note in session["notes"]}) == len(numbers)


@pytest.mark.row("upload-form", "files-move")
async def test_a_file_lands_where_its_container_has_moved_meanwhile(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    other = await plant(api, "other", "Other")
    before = await sandbox.site.place(tree.session)
    assert before is not None
    moved = await api.ask("PUT", f"/sessions/{tree.session}", json={"subject": other.subject})
    incoming = sandbox.site.blobs.incoming()
    await incoming.write(b"late")
    arrivals = [catalog.Arrival("late.txt", await incoming.seal(), {})]
    caller = Caller("user", "admin@sandbox.local", root=True)
    [row] = await sandbox.site.records.write(catalog.store, before, arrivals, caller)
    entry = await api.get(f"/files/{row['id']}")

    assert moved.status == 200
    assert entry["parents"]["project"] == other.project
    assert entry["parents"]["group"] == other.group
