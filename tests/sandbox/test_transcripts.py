"""The sandbox against what was seen on the wire; the client meets the same in its own tests."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

import pytest
from aiohttp import ClientSession, FormData
from yarl import URL

from fwsync.sandbox import Sandbox
from tests.fixtures import transcripts
from tests.sandbox.api import Answer, Api, Tree, client

ERRORS = [one for one in transcripts.load("errors.json") if "ask" in one]
RANGES = transcripts.load("ranges.json")
PATHS = transcripts.load("tar-paths.json")
SDK = transcripts.load("sdk-requests.json")


class Replay:
    """Sends what a transcript says."""

    def __init__(self, sandbox: Sandbox, tree: Tree) -> None:
        self._sandbox = sandbox
        self.known: dict[str, str] = asdict(tree)

    async def send(self, seen: dict[str, Any], key: str | None = None) -> Answer:
        headers = dict(seen.get("headers", {}))
        options: dict[str, Any] = {"headers": headers}
        if seen.get("body") is not None:
            options["json"] = transcripts.filled(seen["body"], self.known)
        if "form" in seen:
            form = FormData(default_to_multipart=True)
            for name, text in seen["form"].items():
                form.add_field(name, text)
            options["data"] = form
        key = self._sandbox.api_key if key is None else key
        async with client(self._sandbox.url, key) as api:
            path = transcripts.filled(seen["path"], self.known)
            return await api.ask(seen["method"], path, **options)


@pytest.fixture
async def replay(sandbox: Sandbox, api: Api, tree: Tree) -> Replay:
    """A tree with two files, a tag, and a ticket for one of the files."""
    where = f"acquisitions/{tree.acquisition}"
    await api.upload(where, {"six.txt": RANGES["content"].encode(), "other.txt": b"other"})
    made = Replay(sandbox, tree)
    answer = await api.get(f"/{where}/files/six.txt", ticket="")
    made.known["ticket"] = answer["ticket"]
    return made


@pytest.mark.row("error-shape")
@pytest.mark.parametrize("seen", ERRORS, ids=lambda seen: str(seen["name"]))
async def test_an_error_has_the_status_and_the_shape(
    replay: Replay, api: Api, seen: dict[str, Any]
) -> None:
    if "/tags" in seen["ask"]["path"]:
        first = {"method": "POST", **seen["ask"]}
        assert 200 == (await replay.send(first)).status

    answer = await replay.send(seen["ask"], seen["ask"].get("key"))

    assert seen["status"] == answer.status, answer
    said = answer.json
    assert seen["status"] == said["status_code"]
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", said["request_id"])
    if "body" in seen:
        assert seen["body"].keys() <= said.keys()
        assert seen["body"]["message"] == said["message"]


@pytest.mark.row("file-range", "file-view")
@pytest.mark.parametrize("row", RANGES["rows"], ids=lambda row: str(row["range"]))
async def test_a_range_is_answered_as_it_was(replay: Replay, row: dict[str, Any]) -> None:
    headers = {"Range": row["range"]} if row["range"] else {}
    path = "/acquisitions/{acquisition}/files/six.txt?view=true"

    answer = await replay.send({"method": "GET", "path": path, "headers": headers})

    assert row["status"] == answer.status
    if "body" in row:
        assert row["body"].encode() == answer.body
        assert row.get("content_range") == answer.headers.get("Content-Range")


@pytest.fixture
async def labelled(api: Api) -> dict[str, str]:
    """The tree whose archives the transcript names: ids by level."""
    labels = PATHS["labels"]
    await api.ask("POST", "/groups", json={"_id": labels["group"], "label": "Grp"})
    project = await api.make("project", labels["project"], group=labels["group"])
    subject = await api.make("subject", labels["subject"], project=project)
    session = await api.make(
        "session", labels["session"], project=project, subject={"_id": subject}
    )
    acquisition = await api.make("acquisition", labels["acquisition"], session=session)
    ids = {
        "project": project,
        "subject": subject,
        "session": session,
        "acquisition": acquisition,
    }
    for level, id_ in ids.items():
        await api.upload(f"{level}s/{id_}", {PATHS["files"][level]: level.encode()})
    return ids


@pytest.mark.row("download-classic", "download-full", "download-bulk", "download-ticket")
@pytest.mark.parametrize("which", ["classic", "classic without a prefix", "full", "bulk"])
async def test_names_in_archives_are_as_they_were(
    api: Api, labelled: dict[str, str], which: str
) -> None:
    names = transcripts.filled(PATHS[which]["current"], labelled)
    body: dict[str, object] = {
        "optional": True,
        "nodes": [{"level": "project", "_id": labelled["project"]}],
    }
    if which == "bulk":
        body = {
            "files": [
                {"container_name": level, "container_id": labelled[level], "filename": file}
                for level, file in PATHS["files"].items()
            ]
        }

    ticket = await api.post("/download", body, **PATHS[which]["query"])
    found = await api.tar(ticket["ticket"])

    assert {name: level.encode() for level, name in names.items()} == found
    assert (4, sum(map(len, names))) == (ticket["file_cnt"], ticket["size"])


@pytest.mark.row("upload-form", "files-get", "upload-metadata")
async def test_the_sdks_form_makes_an_entry_that_it_accepts(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    boundary = "0123456789abcdef" * 2
    body = transcripts.text("upload-form.txt").replace("{boundary}", boundary).encode()
    kind = f"multipart/form-data; boundary={boundary}"

    answer = await api.ask(
        "POST",
        f"/acquisitions/{tree.acquisition}/files",
        data=body,
        headers={"Content-Type": kind},
    )

    assert 200 == answer.status, answer
    (entry,) = answer.json
    assert ("h2.txt", 5, "text", {"a": 1}) == tuple(
        entry[name] for name in ("name", "size", "type", "info")
    )
    least = transcripts.load("entries.json")["least"]["entry"]
    assert {} == {
        name: entry.get(name, "absent")
        for name, one in least.items()
        if name not in entry or (one is not None and type(entry[name]) is not type(one))
    }
    assert least["parents"].keys() == {name for name, id_ in entry["parents"].items() if id_}
    assert least["parent_ref"].keys() == entry["parent_ref"].keys()
    assert len(least["hash"]) == len(entry["hash"])
    for name in ("created", "modified"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", entry[name])


@pytest.mark.row("lookup", "resolve", "containers-create", "containers-get", "lists-after-id")
async def test_what_the_sdk_sends_is_answered_as_it_expects(sandbox: Sandbox) -> None:
    known: dict[str, str] = {}
    async with client(sandbox.url, sandbox.api_key) as api:
        for asked in SDK["requests"]:
            options: dict[str, Any] = {"headers": SDK["headers"]}
            if "body" in asked:
                options["json"] = transcripts.filled(asked["body"], known)

            path = transcripts.filled(asked["path"], known)
            answer = await api.ask(asked["method"], path, **options)

            assert answer.status in (200, 201), (asked["call"], answer)
            expected = transcripts.filled(asked.get("answer"), known)
            assert expected is None or transcripts.within(expected, answer.json), (
                asked["call"],
                answer.json,
            )
            if "save" in asked:
                known[asked["save"]] = answer.json["_id"]


@pytest.mark.row("signed-ticket", "signed-put", "signed-finalize")
async def test_an_upload_by_a_signed_url_takes_three_steps(replay: Replay, api: Api) -> None:
    seen = transcripts.load("signed-upload.json")

    start = await replay.send(seen["start"])
    assert 200 == start.status, start
    assert transcripts.shape(start.json) == transcripts.shape(seen["start"]["answer"])
    replay.known["ticket"] = start.json["ticket"]
    url = start.json["urls"]["hello.txt"]
    put = await raw_put(url, seen["put"], start.json["headers"])
    end = await replay.send(seen["end"])

    assert put in (200, 201, 204)
    assert 200 == end.status, end
    assert transcripts.within(seen["end"]["answer"], end.json)
    where = f"/acquisitions/{replay.known['acquisition']}/files/hello.txt"
    assert b"hello" == (await api.ask("GET", where)).body


async def raw_put(url: str, seen: dict[str, Any], headers: dict[str, str]) -> int:
    """A PUT without a key, to an address as it was handed out."""
    body = seen["content"].encode()
    async with (
        ClientSession() as session,
        session.put(URL(url, encoded=True), data=body, headers=headers) as answer,
    ):
        return answer.status


@pytest.mark.row("packfile-start", "packfile-add", "packfile-end", "packfile-zip")
async def test_a_packfile_ends_with_these_events(api: Api, tree: Tree) -> None:
    token = (await api.post(f"/projects/{tree.project}/packfile-start", None))["token"]
    for name in ("1.dcm", "2.dcm"):
        form = FormData(default_to_multipart=True)
        form.add_field("file", name.encode(), filename=name)
        where = f"/projects/{tree.project}/packfile"
        added = await api.ask("POST", where, params={"token": token}, data=form)
        assert 200 == added.status, added
    metadata = {
        "project": {"_id": tree.project},
        "session": {"label": "ses-01", "subject": {"code": "sub-01"}},
        "acquisition": {"label": "T1: w/ t2* x "},
        "packfile": {"type": "dicom"},
    }

    end = await api.ask(
        "GET",
        f"/projects/{tree.project}/packfile-end",
        params={"token": token, "metadata": json.dumps(metadata), "file_count": "2"},
    )

    assert "text/event-stream" == end.headers["Content-Type"].partition(";")[0]
    seen, told = events(transcripts.text("packfile-end.txt")), events(end.body.decode())
    assert [name for name, _ in seen] == [name for name, _ in told]
    ids = {name: told[-1][1][f"{name}_id"] for name in ("acquisition", "session")}
    assert tree.session == ids["session"]
    for (_, expected), (_, data) in zip(seen, told, strict=True):
        assert transcripts.within(transcripts.filled(expected, ids), data)


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event; what is neither is a mistake."""
    assert text.endswith("\n\n")
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        event, data = block.split("\n")
        assert event.startswith("event: ")
        assert data.startswith("data: ")
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.row("download-targets")
async def test_targets_have_these_fields(api: Api, labelled: dict[str, str]) -> None:
    body = {"nodes": [{"level": "acquisition", "_id": labelled["acquisition"]}]}
    params = {"type": "full", "prefix": "", "analyses": "True", "metadata": "True"}

    answer = await api.ask("POST", "/download/targets", json=body, params=params)

    told: dict[tuple[str, str], Any] = {}
    for line in answer.body.decode().splitlines():
        target = json.loads(line)
        told.setdefault((target["download_type"], target["filename"]), target)
    for seen in transcripts.lines("targets.ndjson"):
        target = told[seen["download_type"], seen["filename"]]
        assert transcripts.shape(seen).keys() <= target.keys()
        assert {name: type(seen[name]) for name in seen} == {
            name: type(target[name]) for name in seen
        }
        assert labelled["acquisition"] == target["container_id"]
