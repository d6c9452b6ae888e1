from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.kept.blobs import WRITERS
from tests.sandbox.api import Answer
from tests.sandbox.core2018.old import WIRE, Old, OldTree, Part, raw

Json = dict[str, Any]
EVENTS = (WIRE / "packfile-end.events").read_bytes()
FAULT = (WIRE / "packfile-end-fault.events").read_bytes()


def read_events(body: bytes) -> list[tuple[str, Json]]:
    """Events, each of which ends in an empty line."""
    assert body.endswith(b"\n\n")
    found = []
    for event in body.removesuffix(b"\n\n").split(b"\n\n"):
        first, second = event.split(b"\n")
        assert (first[:7], second[:6]) == (b"event: ", b"data: ")
        found.append((first[7:].decode(), json.loads(second[6:])))
    return found


def told(project: str, **acquisition: str) -> Json:
    return {
        "project": {"_id": project},
        "session": {"label": "PF"},
        "acquisition": {"label": "PF/acq: 1", **acquisition},
        "packfile": {"type": "dicom"},
    }


async def begin(old: Old, project: str, *names: str) -> str:
    token: str = (await old.post(f"/projects/{project}/packfile-start", {}))["token"]
    for name in names:
        added = await old.send(
            f"/projects/{project}/packfile", Part("file", name.encode(), name), token=token
        )
        assert added.status == 200, added
    return token


async def end(old: Old, project: str, token: str, metadata: Mapping[str, Any]) -> Answer:
    params = {"token": token, "metadata": json.dumps(metadata)}
    return await old.ask("GET", f"/projects/{project}/packfile-end", params=params)


async def unzip(old: Old, acquisition: str, name: str) -> zipfile.ZipFile:
    answer = await old.ask("GET", f"/acquisitions/{acquisition}/files/{name}")
    return zipfile.ZipFile(BytesIO(answer.body))


@pytest.mark.row("sandbox-core-2018")
async def test_the_events_come_at_once_and_with_their_length(
    old: Old, nobody: Old, tree: OldTree
) -> None:
    token = await begin(old, tree.project, "a.dcm", "b.dcm", "c.dcm")
    metadata = json.dumps(told(tree.project))
    path = f"/projects/{tree.project}/packfile-end?token={token}&metadata={metadata}"
    answer = await raw(nobody, "POST", path)
    ours, theirs = read_events(answer.body), read_events(EVENTS)
    result, expected = ours[-1][1], theirs[-1][1]

    assert (200, "text/event-stream") == (
        answer.status,
        (answer.header("Content-Type") or "").partition(";")[0],
    )
    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.header("Connection") == "keep-alive, Keep-Alive"
    assert (
        EVENTS[: EVENTS.index(b"event: result")]
        == (answer.body[: answer.body.index(b"event: result")])
    )
    assert ("result", expected.keys()) == (ours[-1][0], result.keys())
    assert expected["info"].keys() == result["info"].keys()
    assert ("PFacq 1.zip", "application/zip", "dicom") == tuple(
        result["info"][name] for name in ("name", "mimetype", "type")
    )
    assert result["info"]["origin"] == {"type": "user", "id": "admin@sandbox.local"}


@pytest.mark.parametrize(
    ("acquisition", "stamp"),
    [
        ({}, (1980, 1, 1, 0, 0, 0)),
        ({"timestamp": "1979-03-04T05:06:08+00:00"}, (1980, 1, 1, 0, 0, 0)),
        ({"timestamp": "2018-03-04T05:06:08+02:00"}, (2018, 3, 4, 5, 6, 8)),
    ],
)
async def test_the_zip_has_its_folder_and_the_time_of_the_acquisition(
    old: Old, tree: OldTree, acquisition: dict[str, str], stamp: tuple[int, ...]
) -> None:
    token = await begin(old, tree.project, "a.dcm", "b.dcm")
    answer = await end(old, tree.project, token, told(tree.project, **acquisition))
    result = read_events(answer.body)[-1][1]
    with await unzip(old, result["acquisition_id"], "PFacq 1.zip") as archive:
        folder, *members = archive.infolist()
        content = archive.read("PFacq 1/a.dcm")

    assert (True, "PFacq 1/") == (folder.is_dir(), folder.filename)
    assert [("PFacq 1/a.dcm", stamp), ("PFacq 1/b.dcm", stamp)] == [
        (member.filename, member.date_time) for member in members
    ]
    assert content == b"a.dcm"


async def test_files_are_added_as_often_as_wanted_and_the_later_counts(
    old: Old, tree: OldTree
) -> None:
    token = await begin(old, tree.project, "a.dcm")
    path = f"/projects/{tree.project}/packfile"
    several = await old.send(
        path, Part("f1", b"2", "a.dcm"), Part("f2", b"3", "b.dcm"), token=token
    )
    none = await old.send(path, Part("f1", b"2"), token=token)
    twice = await old.send(path, *[Part("f", b"2", "x.dcm")] * 2, token=token)
    answer = await end(old, tree.project, token, told(tree.project))
    result = read_events(answer.body)[-1][1]
    with await unzip(old, result["acquisition_id"], "PFacq 1.zip") as archive:
        content = archive.read("PFacq 1/a.dcm")

    assert ["a.dcm", "b.dcm"] == [record["name"] for record in several.json]
    assert ("dicom", 1) == (several.json[0]["type"], several.json[0]["size"])
    assert "created" not in several.json[0]
    assert none.body == b"[]"
    assert twice.status == 500
    assert content == b"2"


async def test_equal_labels_are_used_again_unless_deleted(old: Old, tree: OldTree) -> None:
    async def pack() -> Json:
        token = await begin(old, tree.project, "a.dcm")
        answer = await end(old, tree.project, token, told(tree.project))
        found: Json = read_events(answer.body)[-1][1]
        return found

    first, second = await pack(), await pack()
    files = (await old.get(f"/acquisitions/{first['acquisition_id']}"))["files"]
    await old.ask("DELETE", f"/sessions/{first['session_id']}")
    third = await pack()

    assert [first[name] for name in ("session_id", "acquisition_id")] == [
        second[name] for name in ("session_id", "acquisition_id")
    ]
    assert [file["name"] for file in files] == ["PFacq 1.zip"]
    assert first["session_id"] != third["session_id"]


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        (None, 500, "expected string or buffer"),
        ("{", 500, "No JSON object could be decoded"),
        ('{"project": {"_id": "x"}}', 400, "u'session' is a required property"),
        (
            '{"project": {"_id": "000000000000000000000000"}, "session": {"label": "S",'
            ' "timestamp": "2018-03-04T05:06:07Z"}, "acquisition": {"label": "A"},'
            ' "packfile": {"type": "dicom"}}',
            400,
            "Additional properties are not allowed (u'timestamp' was unexpected)",
        ),
    ],
)
async def test_only_wrong_metadata_are_400(
    old: Old, tree: OldTree, metadata: str | None, status: int, message: str
) -> None:
    params = {"token": await begin(old, tree.project, "a.dcm")}
    if metadata is not None:
        params["metadata"] = metadata
    answer = await old.ask("GET", f"/projects/{tree.project}/packfile-end", params=params)

    assert status == answer.status
    assert answer.message.startswith(message)


async def test_without_a_file_there_is_no_directory(old: Old, tree: OldTree) -> None:
    token = await begin(old, tree.project)
    answer = await end(old, tree.project, token, told(tree.project))

    assert (500, "Packfile directory does not exist or has been deleted") == (
        answer.status,
        answer.message,
    )


async def test_a_token_is_used_once_and_by_whom_it_was_given_to(
    old: Old, reaper: Old, tree: OldTree
) -> None:
    token = await begin(old, tree.project, "a.dcm")
    part = Part("f", b"1", "b.dcm")
    stranger = await reaper.send(f"/projects/{tree.project}/packfile", part, token=token)
    await end(old, tree.project, token, told(tree.project))
    used = await end(old, tree.project, token, told(tree.project))

    assert [(500, "Invalid or expired upload token")] * 2 == [
        (answer.status, answer.message) for answer in (stranger, used)
    ]


async def test_a_fault_in_the_middle_is_500_with_events_and_an_error(
    server: Sandbox, old: Old, tree: OldTree
) -> None:
    """The token goes while the zip is made: what all but the fastest of several ends meet."""
    token = await begin(old, tree.project, "a.dcm", "b.dcm", "c.dcm")
    records, go = server.site.records, threading.Event()

    def touched(db: sqlite3.Connection) -> str:
        return str(db.execute("SELECT touched FROM packfiles").fetchone()[0])

    before = await records.read(touched)
    for _ in range(WRITERS):  # so that no zip is made
        server.site.blobs.submit(go.wait)
    try:
        ending = asyncio.create_task(end(old, tree.project, token, told(tree.project)))
        while before == await records.read(touched):
            await asyncio.sleep(0)
        await records.write(lambda pen: list(pen.db.execute("DELETE FROM packfiles")))
    finally:
        go.set()
    answer = await ending
    events, _, error = answer.body.rpartition(b"\n\n")
    theirs, _, expected = FAULT.rpartition(b"\n\n")

    assert (500, "application/json") == (answer.status, answer.headers["Content-Type"])
    assert theirs == events
    assert json.loads(expected).keys() == json.loads(error).keys()
    assert json.loads(error)["message"].endswith(f"/tokens/packfile/{token}'")
    assert (await old.get(f"/projects/{tree.project}/sessions"))[0]["_id"] == tree.session


async def test_clean_up_is_for_superusers_and_removes_what_is_an_hour_old(
    server: Sandbox, old: Old, reaper: Old, tree: OldTree
) -> None:
    token = await begin(old, tree.project, "a.dcm")
    plain = await old.ask("POST", "/clean-packfiles")
    young = await reaper.ask("POST", "/clean-packfiles")
    sql = "UPDATE packfiles SET touched = ?"
    long_ago = "2018-03-04T05:06:07.000000+00:00"
    await server.site.records.write(lambda pen: list(pen.db.execute(sql, (long_ago,))))
    aged = await old.ask("POST", "/clean-packfiles?root=true")
    used = await end(old, tree.project, token, told(tree.project))

    assert plain.status == 402
    assert young.json == {"removed": {"tokens": 0, "directories": 0}}
    assert aged.json == {"removed": {"tokens": 1, "directories": 1}}
    assert used.message == "Invalid or expired upload token"
