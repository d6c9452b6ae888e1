"""What is known of the containers above a file: said when they are made, filled where it lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from fwsync.keys import parse_key
from fwsync.model import RelPath
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.sandbox import Sandbox
from tests.contract.conftest import listed, put
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler, meddling
from tests.fixtures.upload import Text

FIELDS: Mapping[str, object] = {
    "project.description": "ageing brains",
    "subject.sex": "female",
    "subject.info.hand": "left",
    "session.timestamp": "2026-01-02T03:04:05-05:00",
    "session.timezone": "America/New_York",
    "session.age": 946_080_000,
    "session.weight": 71.5,
    "session.uid": "1.2.3",
    "session.info.scan.ner": "north",
    "session.tags": ["pilot"],
    "acquisition.uid": "1.2.3.4",
    "acquisition.info": {"te": 3.5},
}


@pytest.fixture
async def meddler(sandbox: Sandbox) -> AsyncIterator[Meddler]:
    async with meddling(sandbox.url) as one:
        yield one


@pytest.fixture
async def watched(
    meddler: Meddler, sandbox: Sandbox, project: Project, who: Who
) -> AsyncIterator[Core2018]:
    """The remote as seen through the meddler."""
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=10) as api:
        yield seen_by(api, project, who)


def of(path: str, fields: Mapping[str, object]) -> Text:
    return Text(RelPath(path), b"content", fields=fields)


async def the(api: Api, *above: str) -> dict[str, Any]:
    """The only container of a list, whole."""
    found = await api.json("GET", above, params={"root": True})
    assert isinstance(found, list)
    [one] = found
    whole = await api.json("GET", (above[-1], one["_id"]), params={"root": True})
    assert isinstance(whole, dict)
    return whole


async def test_what_is_known_is_said_when_containers_are_made(
    watched: Core2018, meddler: Meddler, api: Api, project: Project
) -> None:
    said: list[dict[str, Any]] = []

    async def listen(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path == "/api/sessions":
            said.append(await request.json())
        return None

    meddler.meddle = listen
    await put(watched, of("s/e/a/f", FIELDS), of("s/e/a/g", FIELDS))

    assert [{"code": "s", "sex": "female", "info": {"hand": "left"}}] == [
        one["subject"] for one in said
    ]
    session = await the(api, "projects", project.id, "sessions")
    acquisition = await the(api, "sessions", session["_id"], "acquisitions")
    whole = await api.json("GET", ("projects", project.id), params={"root": True})
    assert isinstance(whole, dict)
    assert "ageing brains" == whole["description"]
    assert ("s", "female") == (session["subject"]["code"], session["subject"]["sex"])
    assert session["timestamp"].startswith("2026-01-02T08:04:05")
    assert ("America/New_York", 946_080_000, 71.5, "1.2.3", ["pilot"]) == tuple(
        session[key] for key in ("timezone", "age", "weight", "uid", "tags")
    )
    assert {"scan_ner": "north"} == session["info"]
    assert ("1.2.3.4", {"te": 3.5}) == (acquisition["uid"], acquisition["info"])
    assert [] == watched.asides
    changed = [one for one in meddler.asked if one[0] in ("PUT", "PATCH")]
    assert [("PUT", f"/api/projects/{project.id}")] == changed


async def test_what_a_container_has_is_kept_and_what_it_lacks_is_filled(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    first = {"session.timezone": "Europe/Paris", "session.info.scan.ner": "south"}
    await put(remote, of("s/e/a/f", first))

    later = seen_by(api, project, who)
    await listed(later)
    await put(later, of("s/e/a/g", FIELDS))

    session = await the(api, "projects", project.id, "sessions")
    assert ("Europe/Paris", {"scan_ner": "south"}) == (session["timezone"], session["info"])
    assert ("1.2.3", ["pilot"]) == (session["uid"], session["tags"])
    assert "sex" not in session["subject"]  # said only with a session that is made
    assert [] == later.asides


@pytest.mark.parametrize("field", ["subject.species", "subject.tags"])
async def test_what_the_server_does_not_keep_of_a_subject_is_said_once(
    field: str, remote: Core2018, api: Api, project: Project
) -> None:
    fields = {field: "mouse", "subject.sex": "male"}
    await put(remote, of("s/e/a/f", fields), of("s/e2/a/f", fields), of("s2/e/a/f", fields))

    [problem] = remote.asides
    assert field in problem.message
    sessions = await api.json("GET", ("projects", project.id, "sessions"), params={"root": True})
    assert isinstance(sessions, list)
    assert ["male"] * 3 == [one["subject"]["sex"] for one in sessions]


async def test_a_refused_field_stops_no_file(remote: Core2018, api: Api, project: Project) -> None:
    [entry] = await put(remote, of("s/e/f", {"session.uid": "1.2", "session.weight": "heavy"}))

    assert "f" == entry.name
    session = await the(api, "projects", project.id, "sessions")
    assert "1.2" == session["uid"]
    [problem] = remote.asides
    assert "weight" in problem.message


async def test_nothing_is_asked_where_nothing_is_known(watched: Core2018, meddler: Meddler) -> None:
    await put(watched, of("s/e/a/f", {}))
    asked = len(meddler.asked)

    async def no_more(request: web.Request, _: Forward) -> web.StreamResponse | None:
        assert request.method == "POST" or request.path.count("/") < 4 or "files" in request.path
        return None

    meddler.meddle = no_more
    await put(watched, of("s/e/a/g", {}))

    # The file and the container that confirms it.
    assert 2 == len(meddler.asked) - asked
