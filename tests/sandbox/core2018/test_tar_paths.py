from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.core2018.archive import Nodes
from tests.sandbox.api import unpack
from tests.sandbox.core2018.old import Old, OldTree, wire
from tests.sandbox.core2018.tars import fill, members, nodes

PATHS = wire("tar-paths.json")


@pytest.mark.parametrize("row", PATHS, ids=[f"{r['nodes']}-{r['prefix']}" for r in PATHS])
async def test_paths(old: Old, tree: OldTree, row: dict[str, Any]) -> None:
    await fill(old, tree)
    params = {"prefix": row["prefix"]} if row["prefix"] else {}

    assert row["members"] == await members(old, nodes(tree, *row["nodes"]), **params)


async def test_bulk_folders_are_plural(old: Old, tree: OldTree) -> None:
    await fill(old, tree)
    wanted = [
        ("acquisition", tree.acquisition, "acq.dcm"),
        ("session", tree.session, "sess.txt"),
        ("project", tree.project, "proj.txt"),
        ("session", tree.session, "none.txt"),
        ("session", tree.session, ""),
    ]
    files = [{"container_name": k, "container_id": i, "filename": n} for k, i, n in wanted]
    made = await old.post("/download", {"files": files}, bulk="true")
    answer = await old.ask("GET", "/download", params={"ticket": made["ticket"]})

    assert [
        f"acquisitions/{tree.acquisition}/acq.dcm",
        f"sessions/{tree.session}/sess.txt",
        f"projects/{tree.project}/proj.txt",
    ] == list(unpack(answer.body))
    assert re.fullmatch(
        r"attachment; filename=scitran_ \d{8}_\d{6}\.tar", answer.headers["Content-Disposition"]
    )


async def test_the_parts_of_a_path_are_what_there_is(old: Old, tree: OldTree) -> None:
    made = [
        {"label": "PF/acq: 1"},
        {"label": "/lead/../x"},
        {"label": "été 日本"},
        {"label": "twin"},
        {"label": "twin"},
        {"label": "twin"},
    ]
    for number, body in enumerate(made):
        one = await old.make("acquisition", session=tree.session, **body)
        await old.put(f"acquisitions/{one}", f"{number}.txt", b"1")
    way = "lab/Project A/s1/Sess 1"

    assert [
        f"{way}/PF/acq: 1/0.txt",
        f"{way}//lead/../x/1.txt",
        f"{way}/t /2.txt",
        f"{way}/twin/3.txt",
        f"{way}/twin_0/4.txt",
        f"{way}/twin_1/5.txt",
    ] == await members(old, nodes(tree, "session"))


async def test_what_has_no_label_has_another_name(old: Old, tree: OldTree) -> None:
    stamp = "2018-03-04T05:06:07+00:00"
    acquisitions = [{"uid": "1.2", "timestamp": stamp}, {"uid": "1.3"}]
    for number, acquisition in enumerate(acquisitions):
        metadata = {
            "group": {"_id": "lab"},
            "project": {"label": "Project A"},
            "session": {"uid": "9"},
            "acquisition": {**acquisition, "files": [{"name": f"{number}.txt"}]},
        }
        await old.place("uid", metadata, **{f"{number}_txt": b"1"})
    names = [
        name for name in await members(old, nodes(tree, "project")) if "unknown_subject" in name
    ]

    # The session's own time moved to that of its earliest acquisition.
    assert [
        "scitran/lab/Project A/unknown_subject/20180304_0506/20180304_0506/0.txt",
        "scitran/lab/Project A/unknown_subject/20180304_0506/1.3/1.txt",
    ] == names


async def test_deleted_files_are_still_in_it(old: Old, tree: OldTree) -> None:
    await fill(old, tree)
    await old.ask("DELETE", f"/acquisitions/{tree.acquisition}/files/acq.dcm")
    await old.ask("DELETE", f"/sessions/{tree.session}")
    bulk = {
        "container_name": "acquisition",
        "container_id": tree.acquisition,
        "filename": "acq.dcm",
    }
    node = [{"level": "session", "_id": tree.session}]
    classic = await members(old, nodes(tree, "session"))
    named = await old.post("/download", {"files": [bulk]}, bulk="true")
    summary = await old.post("/download/summary", node)

    assert [name.rpartition("/")[2] for name in classic] == ["sess.txt", "acq.dcm"]
    assert named["file_cnt"] == 1
    assert {"text", "dicom"} == summary.keys()


async def test_a_name_that_came_back_is_in_it_once(old: Old, tree: OldTree) -> None:
    path = f"/acquisitions/{tree.acquisition}/files/a.txt"
    for content in (b"1", b"22"):
        await old.ask("DELETE", path)
        await old.put(f"acquisitions/{tree.acquisition}", "a.txt", content)
    made = await old.post("/download", nodes(tree, "acquisition"))
    await old.put(f"acquisitions/{tree.acquisition}", "a.txt", b"333")  # too late for this ticket

    assert [b"22"] == list((await old.tar(made["ticket"])).values())


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ([{"types": {"+": ["dicom"]}}], ["acq.dcm"]),
        ([{"types": {"-": ["dicom"]}}], ["plain", "tagged.txt"]),
        ([{"types": {"+": ["null"]}}], ["plain"]),
        ([{"tags": {"+": ["x"]}}], ["tagged.txt"]),
        ([{"tags": {"+": ["x"]}}, {"types": {"+": ["null"]}}], ["plain", "tagged.txt"]),
        ([{"tags": {"-": ["null"]}}], ["tagged.txt"]),
    ],
)
async def test_a_file_passes_if_any_filter_lets_it(
    old: Old, tree: OldTree, filters: list[dict[str, Any]], left: list[str]
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "acq.dcm", b"1")
    await old.put(where, "plain", b"2")
    await old.put(where, "tagged.txt", b"3", tags=["x"])
    found = await members(old, nodes(tree, "acquisition") | {"filters": filters})

    assert left == [name.rpartition("/")[2] for name in found]


async def test_a_name_that_is_not_ascii_breaks_the_classic_ticket_alone(
    old: Old, tree: OldTree
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    await old.put(where, "é.txt", b"1")
    bulk = {
        "container_name": "acquisition",
        "container_id": tree.acquisition,
        "filename": "é.txt",
    }
    broken = await old.ask("POST", "/download", json=nodes(tree, "acquisition"))
    named = await old.post("/download", {"files": [bulk]}, bulk="true")
    summary = await old.post(
        "/download/summary", [{"level": "acquisition", "_id": tree.acquisition}]
    )
    await old.ask("DELETE", f"/{where}/files/é.txt")
    still = await old.ask("POST", "/download", json=nodes(tree, "acquisition"))

    assert [500, 500] == [broken.status, still.status]
    assert broken.message == (
        "'ascii' codec can't encode character u'\\xe9' in position 0: ordinal not in range(128)"
    )
    assert named["file_cnt"] == 1
    assert summary["text"]["count"] == 1


async def test_a_session_that_comes_while_the_tar_is_sent_is_not_in_it(
    server: Sandbox, old: Old, tree: OldTree
) -> None:
    await fill(old, tree)
    wanted = Nodes((("project", tree.project),), None, server.site.records.settled, "p")
    db = await asyncio.to_thread(server.site.records.connect)
    members = wanted.members(db)
    before = [
        await asyncio.to_thread(next, members) for _ in range(2)
    ]  # the sessions are listed by now
    late = await old.make("session", "late", project=tree.project)
    await old.make("acquisition", "late", session=late)
    rest = await asyncio.to_thread(list, members)
    await asyncio.to_thread(db.close)

    assert ["proj.txt", "subj.txt", "sess.txt", "acq.dcm"] == [
        member.name for member in (*before, *rest)
    ]


async def test_a_collection_keeps_its_own_acquisitions(old: Old, tree: OldTree) -> None:
    other = await old.make("acquisition", "Acq 2", session=tree.session)
    for one in (tree.acquisition, other):
        await old.put(f"acquisitions/{one}", "a.txt", b"1")
    collection = await old.make("collection", "C")
    node = {"level": "acquisition", "_id": other}
    contents = {"contents": {"operation": "add", "nodes": [node]}}
    put = await old.ask("PUT", f"/collections/{collection}", json=contents)
    await old.put(f"collections/{collection}", "own.txt", b"1")
    [listed] = await old.get("/collections")

    assert put.body == b'{"modified":1}'
    assert ["own.txt"] == [file["name"] for file in listed["files"]]
    assert ["lab/Project A/s1/Sess 1/Acq 2/a.txt"] == await members(
        old, nodes(tree, "session"), collection=collection
    )
