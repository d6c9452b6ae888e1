"""Containers on the way to a file: made once, whoever comes first, with what is known of them."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import RelPath
from fwsync.remotes.flywheel import Flywheel, Project, resolve_project
from fwsync.remotes.http import Api
from fwsync.sandbox import Sandbox, running_sandbox
from tests.contract.conftest import listed, put
from tests.contract.meddler import Forward, Meddler, cut, meddling
from tests.fixtures.upload import Text

#: One of each kind, as a mapping gives them.
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
    "acquisition.timestamp": "2026-01-02T08:04:05+00:00",
    "acquisition.info": {"$te": 3.5},
    "file.type": "dicom",
    "session.label": "not a field: the path says it",
}


def upload(path: str, **fields: object) -> Text:
    return Text(RelPath(path), b"content", fields={k.replace("__", "."): fields[k] for k in fields})


def with_fields(path: str, fields: Mapping[str, object]) -> Text:
    return Text(RelPath(path), b"content", fields=fields)


def opened(api: Api, project: Project) -> Flywheel:
    return Flywheel(api, [project], Layout.parse(group=project.group, project=project.label))


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
async def meddler(sandbox: Sandbox) -> AsyncIterator[Meddler]:
    async with meddling(sandbox.url) as one:
        yield one


@asynccontextmanager
async def host(sandbox: Sandbox, meddler: Meddler) -> AsyncIterator[tuple[Api, Project]]:
    """Another computer that sends to the same project."""
    key = parse_key(sandbox.api_key).secret
    async with Api(meddler.url, key, patience_s=10) as api:
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        yield api, await resolve_project(api, "lab/aging", create_project=True)


@pytest.fixture
async def first(sandbox: Sandbox, meddler: Meddler) -> AsyncIterator[tuple[Api, Project]]:
    async with host(sandbox, meddler) as one:
        yield one


async def children(api: Api, project: Project, kind: str) -> list[dict[str, Any]]:
    found = await api.json("GET", ("projects", project.id, kind))
    assert isinstance(found, list)
    wholes = [await api.json("GET", (kind, one["_id"])) for one in found]
    return [one for one in wholes if isinstance(one, dict)]


async def the(api: Api, project: Project, kind: str) -> dict[str, Any]:
    [one] = await children(api, project, kind)
    return one


# --------------------------------------------------------------------------------- fields


async def test_what_is_known_of_containers_is_said_when_they_are_made(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    remote = opened(api, project)

    await put(remote, with_fields("s/e/a/f", FIELDS))

    subject = await the(api, project, "subjects")
    session = await the(api, project, "sessions")
    acquisition = await the(api, project, "acquisitions")
    made = await api.json("GET", ("projects", project.id))
    assert isinstance(made, dict)
    assert "ageing brains" == made["description"]
    assert ("s", "s", "female", {"hand": "left"}) == (
        subject["label"],
        subject["code"],
        subject["sex"],
        subject["info"],
    )
    assert "2026-01-02T08:04:05+00:00" == session["timestamp"][:19] + "+00:00"
    assert ("America/New_York", 946_080_000, 71.5, "1.2.3", ["pilot"]) == (
        session["timezone"],
        session["age"],
        session["weight"],
        session["uid"],
        session["tags"],
    )
    assert {"scan_ner": "north"} == session["info"]
    assert "e" == session["label"]
    assert ("1.2.3.4", {"-te": 3.5}) == (acquisition["uid"], acquisition["info"])
    assert [] == remote.asides
    # Said with the making: nothing is asked or changed afterwards but the tag.
    changed = [one for one in meddler.asked if one[0] in ("PUT", "PATCH")]
    assert [("PUT", f"/api/projects/{project.id}")] == changed


async def test_what_a_container_has_is_kept_and_what_it_lacks_is_filled(
    first: tuple[Api, Project],
) -> None:
    api, project = first
    await put(opened(api, project), upload("s/e/a/f", session__weight=50.0, session__tags=["old"]))
    before = await the(api, project, "sessions")
    info = {"set": {"scan_ner": "mine", "other": {"deep": 1}}}
    await api.json("PATCH", ("sessions", before["_id"], "info"), body=info)

    remote = opened(api, project)
    await put(remote, with_fields("s/e/a/g", FIELDS))

    session = await the(api, project, "sessions")
    assert (50.0, "1.2.3") == (session["weight"], session["uid"])
    assert {"scan_ner": "mine", "other": {"deep": 1}} == session["info"]
    assert ["old", "pilot"] == session["tags"]
    assert "female" == (await the(api, project, "subjects"))["sex"]
    assert [] == remote.asides


async def test_one_question_decides_for_each_container_and_run(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    await put(opened(api, project), upload("s/e/a/f"))
    remote = opened(api, project)
    await listed(remote)
    meddler.asked.clear()

    await asyncio.gather(*(put(remote, with_fields(f"s/e/a/f{n}", FIELDS)) for n in range(20)))

    kinds = ("projects", "subjects", "sessions", "acquisitions")
    asked = [path.split("/")[2] for method, path in meddler.asked if method == "GET"]
    assert dict.fromkeys(kinds, 1) == {kind: asked.count(kind) for kind in kinds}
    assert 4 == sum(method == "PUT" for method, _ in meddler.asked)


async def test_a_field_that_comes_later_is_said_too(first: tuple[Api, Project]) -> None:
    api, project = first
    remote = opened(api, project)

    await put(remote, upload("s/e/a/f", session__weight=50.0))
    await put(remote, upload("s/e/a/g", session__weight=60.0, session__age=3600))

    session = await the(api, project, "sessions")
    assert (50.0, 3600) == (session["weight"], session["age"])


async def test_nothing_is_asked_where_nothing_is_known(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    remote = opened(api, project)
    meddler.asked.clear()

    await put(remote, upload("s/e/a/f"))

    # Each of three is looked for or, where its parent is new, looked at; and made.
    assert 3 + 3 + 1 == len(meddler.asked)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_refused_field_is_one_problem_and_stops_no_file(
    exists: bool, first: tuple[Api, Project]
) -> None:
    api, project = first
    if exists:
        await put(opened(api, project), upload("s/e/a/old"))
    remote = opened(api, project)
    bad = {
        "session.timestamp": "yesterday",
        "session.weight": 70.0,
        "acquisition.info.n": float("nan"),
        "acquisition.uid": "7",
    }

    for name in ("f", "g"):
        await put(remote, with_fields(f"s/e/a/{name}", bad))

    session = await the(api, project, "sessions")
    acquisition = await the(api, project, "acquisitions")
    assert (None, 70.0, "7") == (session.get("timestamp"), session["weight"], acquisition["uid"])
    said = [one.message for one in remote.asides]
    assert 1 == sum("timestamp" in one for one in said), said
    assert 1 == sum("nan" in one for one in said), said
    assert 2 == len(said), said


async def test_a_field_that_may_not_be_set_is_said_once(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    await put(opened(api, project), upload("s/e/a/old"))

    async def forbid(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method in ("PUT", "PATCH") and "/files" not in request.path:
            return web.json_response({"message": "no"}, status=403)
        return None

    meddler.meddle = forbid
    remote = opened(api, project)
    for name in ("f", "g"):
        await put(remote, upload(f"s/e/a/{name}", session__weight=70.0))

    assert ["s/e"] == [one.path for one in remote.asides]


# ---------------------------------------------------------------------------------- races


async def test_two_hosts_that_make_one_container_use_the_older(
    sandbox: Sandbox, meddler: Meddler, first: tuple[Api, Project]
) -> None:
    api, project = first
    looked = asyncio.Event()
    waiting = 0

    async def hold(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        """Both have looked before either makes anything."""
        nonlocal waiting
        if request.method == "POST" and request.path.endswith(("/subjects", "/sessions")):
            waiting += 1
            if waiting % 2:
                await asyncio.wait_for(looked.wait(), 10)
                looked.clear()
            else:
                looked.set()
        return None

    meddler.meddle = hold
    async with host(sandbox, meddler) as (other, _):
        one, two = opened(api, project), opened(other, project)
        await asyncio.gather(put(one, upload("s/e/a/f")), put(two, upload("s/e/a/g")))
        asides = [*one.asides, *two.asides]

    meddler.meddle = None
    counts = [
        len(await children(api, project, kind)) for kind in ("subjects", "sessions", "acquisitions")
    ]
    assert [1, 1, 1] == counts
    assert {"s/e/a/f", "s/e/a/g"} == set(await listed(opened(api, project)))
    assert [] == asides


async def test_many_that_two_hosts_make_at_once_are_made_once(
    sandbox: Sandbox, meddler: Meddler, first: tuple[Api, Project]
) -> None:
    """Each host asks for several of its own at a time; whatever it misses would be a twin."""
    api, project = first
    labels = [f"a{n}" for n in range(6)]
    await put(opened(api, project), upload("s/e/f"))
    waiting: list[str] = []
    all_there = asyncio.Event()

    async def hold(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        """All have looked before any is made: each is made twice."""
        if request.method == "POST" and request.path.endswith("/acquisitions"):
            waiting.append((await request.json())["label"])
            if len(waiting) == 2 * len(labels):
                all_there.set()
            await asyncio.wait_for(all_there.wait(), 20)
        return None

    meddler.meddle = hold
    async with host(sandbox, meddler) as (other, _):
        one, two = opened(api, project), opened(other, project)
        await asyncio.gather(
            *(put(one, upload(f"s/e/{label}/f")) for label in labels),
            *(put(two, upload(f"s/e/{label}/g")) for label in labels),
        )
        asides = [*one.asides, *two.asides]

    assert sorted([*labels, *labels]) == sorted(waiting)
    kept = await children(api, project, "acquisitions")
    assert labels == sorted(one["label"] for one in kept)
    paths = {f"s/e/{label}/{name}" for label in labels for name in "fg"}
    assert {"s/e/f", *paths} == set(await listed(opened(api, project)))
    assert [] == asides


async def test_what_is_made_side_by_side_is_asked_for_together(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    remote = opened(api, project)
    await put(remote, upload("s/e/f"))
    session = await the(api, project, "sessions")
    labels = [f"a{n}" for n in range(12)]

    meddler.asked.clear()
    await asyncio.gather(*(put(remote, upload(f"s/e/{label}/f")) for label in labels))

    assert 12 == meddler.count("POST", "acquisitions")
    assert 4 >= meddler.count("GET", f"sessions/{session['_id']}/acquisitions")
    made = [one["label"] for one in await children(api, project, "acquisitions")]
    assert sorted(labels) == sorted(made)


async def test_one_that_is_made_slowly_does_not_hold_up_those_beside_it(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    remote = opened(api, project)
    await put(remote, upload("s/e/f"))
    others_there = asyncio.Event()

    async def hold(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        posts = request.method == "POST" and request.path.endswith("/acquisitions")
        if posts and (await request.json())["label"] == "slow":
            await asyncio.wait_for(others_there.wait(), 20)
        return None

    async def others() -> None:
        await asyncio.gather(*(put(remote, upload(f"s/e/a{n}/f")) for n in range(3)))
        others_there.set()

    meddler.meddle = hold
    await asyncio.gather(put(remote, upload("s/e/slow/f")), others())

    assert 4 == len(await children(api, project, "acquisitions"))


async def test_that_there_is_none_is_asked_once_for_many(
    sandbox: Sandbox, meddler: Meddler, first: tuple[Api, Project]
) -> None:
    """One that another host makes meanwhile is found after ours was made, and ours goes."""
    api, project = first
    await put(opened(api, project), upload("s/e/f"))
    session = await the(api, project, "sessions")
    remote = opened(api, project)
    await listed(remote)

    meddler.asked.clear()
    for n in range(5):
        await put(remote, upload(f"s/e/a{n}/f"))
    asked = meddler.count("GET", f"sessions/{session['_id']}/acquisitions")
    async with host(sandbox, meddler) as (other, _):
        await put(opened(other, project), upload("s/e/a5/theirs"))
    await put(remote, upload("s/e/a5/ours"))

    assert 2 + 5 == asked  # the first alone, then all that there are; and each afterwards
    assert 6 == len(await children(api, project, "acquisitions"))
    assert {"s/e/a5/theirs", "s/e/a5/ours"} <= set(await listed(opened(api, project)))
    assert [] == remote.asides


async def test_a_twin_that_has_something_in_it_is_left_and_told(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    elder: list[str] = []

    async def race(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        """Another host makes the session just before, and puts something into ours at once."""
        if request.method != "POST" or not request.path.endswith("/sessions") or elder:
            return None
        elder.append("")
        body = await request.json()
        made = await api.json("POST", ("sessions",), body=body)
        assert isinstance(made, dict)
        elder[0] = made["_id"]
        answer = await forward()
        ours = json.loads(answer.body or b"")["_id"]  # type: ignore[arg-type]
        await api.json("POST", ("acquisitions",), body={"label": "x", "session": ours})
        return answer

    meddler.meddle = race
    remote = opened(api, project)
    [entry] = await put(remote, Text(RelPath("s/e/f"), b"content"))

    assert elder[0] == entry.container.id
    assert ["s/e"] == [one.path for one in remote.asides]
    assert 2 == len(await children(api, project, "sessions"))


@pytest.mark.parametrize("kind", ["subjects", "sessions", "acquisitions"])
async def test_a_lost_answer_makes_no_second_one(
    kind: str, first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    lost = False

    async def lose(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        nonlocal lost
        if request.method == "POST" and request.path.endswith(f"/{kind}") and not lost:
            lost = True
            await forward()
            return cut(request)
        return None

    meddler.meddle = lose
    remote = opened(api, project)
    async for sent in remote.put([with_fields("s/e/a/f", FIELDS)]):
        assert sent.error is None, sent.error

    assert lost
    assert 1 == len(await children(api, project, kind))
    assert ("1.2.3", "1.2.3.4") == (
        (await the(api, project, "sessions"))["uid"],
        (await the(api, project, "acquisitions"))["uid"],
    )


@pytest.mark.parametrize("status", [409, 422])
async def test_a_label_that_is_another_subjects_code_is_made_without_a_code(
    status: int, first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first
    bodies: list[dict[str, object]] = []

    async def taken(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/subjects"):
            bodies.append(await request.json())
            if "code" in bodies[-1]:
                return web.json_response({"message": "the code is taken"}, status=status)
        return None

    meddler.meddle = taken
    await put(opened(api, project), upload("s/e/a/f"))

    assert [True, False] == ["code" in body for body in bodies]
    assert "s" == (await the(api, project, "subjects"))["label"]


async def test_a_container_that_is_refused_is_asked_for_once(
    first: tuple[Api, Project], meddler: Meddler
) -> None:
    api, project = first

    async def refuse(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/sessions"):
            return web.json_response({"message": "no"}, status=403)
        return None

    meddler.meddle = refuse
    remote = opened(api, project)
    for name in ("f", "g"):
        async for sent in remote.put([upload(f"s/e/a/{name}", session__weight=70.0)]):
            assert sent.error is not None
            assert 403 == getattr(sent.error, "status", 0)

    # Once with what is known of it, which may have been the reason, and once without.
    assert 2 == meddler.count("POST", "sessions")


@pytest.mark.parametrize("kind", ["sessions", "acquisitions"])
async def test_what_is_deleted_under_way_is_made_again_by_the_next_try(
    first: tuple[Api, Project], kind: str
) -> None:
    api, project = first
    remote = opened(api, project)
    [_] = [one async for one in remote.put([upload("s/e/a/before")])]
    await api.json("DELETE", (kind, (await the(api, project, kind))["_id"]))

    sent = [one async for one in remote.put([upload("s/e/a/f"), upload("s/e/b/g")])]
    lost = [one.error for one in sent if one.error is not None]
    assert lost
    # So that a watch comes back soon, and does not wait for its next scan of everything.
    assert all(error.retryable for error in lost)
    assert all("next run" in error.hint for error in lost)
    again = [one async for one in remote.put([upload("s/e/a/f"), upload("s/e/b/g")])]

    assert [None, None] == [one.error for one in again]
    assert {"s/e/a/f", "s/e/b/g"} == {str(path) for path in await listed(remote)}


@pytest.mark.parametrize("refused", ["/sessions", "/files"])
async def test_a_refusal_that_is_told_often_grows_no_longer(
    first: tuple[Api, Project], meddler: Meddler, refused: str
) -> None:
    """An error keeps what its raisers held: of a refused folder, all its files."""
    api, project = first

    async def refuse(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith(refused):
            return web.json_response({"message": "no"}, status=403)
        return None

    meddler.meddle = refuse
    remote = opened(api, project)
    lengths = set()
    for name in range(5):
        async for sent in remote.put([upload(f"s/e/a/{name}")]):
            assert sent.error is not None
            lengths.add(len(list(traceback.walk_tb(sent.error.__traceback__))))

    assert max(lengths) < 25
    assert len(lengths) < 4
