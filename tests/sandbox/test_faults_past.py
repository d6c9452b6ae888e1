from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.faults.past import read_past
from fwsync.sandbox.kept.records import Pen
from tests.sandbox.api import Api, Tree

HOUR = 3600


def an_age_ago(pen: Pen) -> None:
    """Everything that is there happened two hours ago."""
    then = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="microseconds")
    for table in ("containers", "files", "versions"):
        for column in ("created", "modified", "deleted", "replaced"):
            known = [row["name"] for row in pen.db.execute(f"PRAGMA table_info({table})")]
            if column in known:
                pen.db.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {column} IS NOT NULL", (then,)
                )


@pytest.fixture
async def old(sandbox: Sandbox, api: Api, tree: Tree) -> Tree:
    """A tree with a file, made long ago; reads lag by an hour from now on."""
    await api.upload(f"acquisitions/{tree.acquisition}", {"a": b"old", "b": b"b"})
    await sandbox.site.records.write(an_age_ago)
    return tree


def lag(sandbox: Sandbox) -> None:
    action = {"lag_s": HOUR}
    paths = {"path": ["/lookup", "/uids"]}
    sandbox.site.faults.add(
        [{"match": match, "action": action} for match in ({"method": "GET"}, paths)]
    )


@pytest.mark.row("sandbox-faults")
async def test_what_was_made_since_is_not_listed(sandbox: Sandbox, api: Api, old: Tree) -> None:
    young = await api.make("session", "ses-02", project=old.project, subject={"_id": old.subject})
    below = await api.make("acquisition", "acq-02", session=young)
    lag(sandbox)
    sessions = await api.get(f"/subjects/{old.subject}/sessions")
    alone = await api.ask("GET", f"/acquisitions/{below}")
    path = {"path": ["grp", "Proj", "sub-01", "ses-02"]}
    looked = await api.ask("POST", "/lookup", json=path)
    sandbox.site.faults.clear()

    assert [one["label"] for one in sessions] == ["ses-01"]
    assert alone.status == 404
    assert looked.status == 404
    assert len(await api.get(f"/subjects/{old.subject}/sessions")) == 2
    assert (await api.ask("POST", "/lookup", json=path)).status == 200


async def test_what_was_deleted_since_is_still_listed(
    sandbox: Sandbox, api: Api, old: Tree
) -> None:
    await api.ask("DELETE", f"/sessions/{old.session}")
    lag(sandbox)
    sessions = await api.get(f"/projects/{old.project}/sessions")
    files = await api.get("/files")
    looked = await api.post("/lookup", {"path": ["grp", "Proj", "sub-01", "ses-01"]})
    sandbox.site.faults.clear()

    assert [one["label"] for one in sessions] == ["ses-01"]
    assert [one["name"] for one in files["results"]] == ["a", "b"]
    assert looked["_id"] == old.session
    assert await api.get(f"/projects/{old.project}/sessions") == []
    assert (await api.get("/files"))["total"] == 0


async def test_a_file_is_listed_with_the_version_it_had(
    sandbox: Sandbox, api: Api, old: Tree
) -> None:
    before = (await api.get("/files", filter="name=a"))["results"][0]
    await api.upload(f"acquisitions/{old.acquisition}", {"a": b"newer", "c": b"c"})
    now = await api.get(f"/acquisitions/{old.acquisition}")
    lag(sandbox)
    then = await api.get(f"/acquisitions/{old.acquisition}")
    [listed] = (await api.get("/files", filter="size=3"))["results"]
    many = await api.get("/files", limit=1)

    assert [(one["name"], one["version"]) for one in now["files"]] == [("a", 2), ("b", 1), ("c", 1)]
    assert [(one["name"], one["version"]) for one in then["files"]] == [("a", 1), ("b", 1)]
    assert listed["hash"] == before["hash"] != now["files"][0]["hash"]
    assert (listed["size"], listed["file_id"]) == (3, before["file_id"])
    assert many["total"] == 2


async def test_a_file_that_was_replaced_by_one_of_its_name(
    sandbox: Sandbox, api: Api, old: Tree
) -> None:
    [first] = (await api.get("/files", filter="name=a"))["results"]
    await api.ask("DELETE", f"/files/{first['file_id']}")
    [second] = await api.upload(f"acquisitions/{old.acquisition}", {"a": b"again"})
    lag(sandbox)
    [listed] = (await api.get("/files", filter="name=a"))["results"]

    assert listed["file_id"] == first["file_id"] != second["file_id"]
    assert listed["deleted"] is None
    assert listed["modified"] == first["modified"]


async def test_totals_are_those_of_the_time_that_is_seen(
    sandbox: Sandbox, api: Api, old: Tree
) -> None:
    await api.upload(f"acquisitions/{old.acquisition}", {"c": b"c"})
    now = (await api.get("/files", limit=1))["total"]
    lag(sandbox)
    then = (await api.get("/files", limit=1))["total"]
    sandbox.site.faults.clear()
    again = (await api.get("/files", limit=1))["total"]

    assert (now, then, again) == (3, 2, 3)


async def test_metadata_does_not_lag(sandbox: Sandbox, api: Api, old: Tree) -> None:
    await api.ask("PUT", f"/projects/{old.project}", json={"label": "Renamed"})
    lag(sandbox)

    assert (await api.get(f"/projects/{old.project}"))["label"] == "Renamed"


async def test_a_ticket_of_the_past_is_for_the_files_of_the_past(
    sandbox: Sandbox, api: Api, old: Tree
) -> None:
    await api.upload(f"acquisitions/{old.acquisition}", {"c": b"c"})
    body = {"nodes": [{"level": "project", "_id": old.project}]}
    now = await api.post("/download", body)
    sandbox.site.faults.add({"match": {"path": "/download"}, "action": {"lag_s": HOUR}})
    then = await api.post("/download", body)
    sandbox.site.faults.clear()

    assert (now["file_cnt"], then["file_cnt"]) == (3, 2)
    assert (len(await api.tar(now["ticket"])), len(await api.tar(then["ticket"]))) == (3, 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda api, old: api.get("/projects"),
        lambda api, old: api.get("/groups"),
        lambda api, old: api.get(f"/sessions/{old.session}/acquisitions", filter="label=acq-01"),
        lambda api, old: api.get(f"/projects/{old.project}/acquisitions", sort="created:desc"),
        lambda api, old: api.get("/files", filter="size>1,created>2000-01-01"),
        lambda api, old: api.get(f"/acquisitions/{old.acquisition}/files/a/info"),
        lambda api, old: api.post("/uids", {"sessions": ["1.2"]}),
    ],
)
async def test_in_a_site_at_rest_the_past_is_like_the_present(
    sandbox: Sandbox, api: Api, old: Tree, read: Callable[[Api, Tree], Any]
) -> None:
    await api.ask("PUT", f"/sessions/{old.session}", json={"uid": "1.2"})
    now = await read(api, old)
    lag(sandbox)

    assert await read(api, old) == now
    assert now


async def test_an_ordinary_user_sees_of_the_past_what_they_may_see(
    sandbox: Sandbox, api: Api, user: Api, old: Tree
) -> None:
    lag(sandbox)
    before = await user.get("/projects")
    given = {"_id": "user@sandbox.local", "access": "ro"}
    await api.ask("POST", f"/groups/{old.group}/permissions", json=given)

    assert before == []
    assert [one["_id"] for one in await user.get("/projects")] == [old.project]


async def test_a_query_that_names_an_index_can_be_asked_of_the_past(
    sandbox: Sandbox, old: Tree
) -> None:
    def count(db: sqlite3.Connection, hint: str) -> int:
        [number] = db.execute(
            f"SELECT count(*) FROM containers c{hint} WHERE c.parent_id = ?", (old.project,)
        ).fetchone()
        return int(number)

    now = datetime.now(UTC).isoformat(timespec="microseconds")
    hint = " INDEXED BY containers_by_parent"

    assert await read_past(sandbox.site.records, now, count, hint) == 1
    assert await read_past(sandbox.site.records, "2000-01-01T00:00:00.000000+00:00", count, "") == 0
