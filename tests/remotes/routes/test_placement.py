"""Files by a form that says where they belong: believed only where they were meant to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.errors import AuthError
from fwsync.model import RelPath
from tests.contract.meddler import Forward, Meddler, meddling
from tests.fixtures.upload import Text
from tests.remotes.routes.lies import Answer, Lie, every_lie, pushed_past
from tests.remotes.routes.pushing import (
    FAULTS,
    TREE,
    Yard,
    problems,
    routes,
    through,
    yard,
)

FILES = {f"s/e/a/f{n:02}.dcm": bytes([n + 1]) * (n + 1) * 100 for n in range(8)}
BY_LABEL = "POST upload/label"
TO_FILES = "POST acquisitions/files"


@pytest.mark.parametrize(
    "switches",
    [{}, {"device_uploads": True}, {"empty_hashes": True}, {"signed_url": False}],
    ids=str,
)
async def test_a_tree_arrives_as_it_is_by_a_devices_forms(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    async with yard(tmp_path, switches, device=True) as here:
        outcomes = await here.push(here.remote("form"), TREE)

        assert problems(outcomes) == {}
        await here.assert_once(TREE)
        went = routes(outcomes)
        assert went["s1/e1/a1/f00.dcm"] == went["project.json"] == "form"
        # The form can name no file of a subject, and this name might be read back otherwise.
        assert went["s1/subject.txt"] == "multipart"
        assert went['s1/e1/a1/a "quoted" 100% name;.txt'] == "multipart"


async def test_small_files_of_one_container_go_by_one_form(here: Yard) -> None:
    outcomes = await here.push(here.remote("form"), FILES)

    assert set(routes(outcomes).values()) == {"form"}
    asked = here.asked()
    assert asked[BY_LABEL] == 1
    assert asked[TO_FILES] == asked["GET acquisitions"] == 0
    await here.assert_once(FILES)


async def test_a_site_that_takes_such_forms_from_devices_only_says_so(tmp_path: Path) -> None:
    async with yard(tmp_path, {"device_uploads": True}) as here:
        with pytest.raises(AuthError) as refused:
            await here.push(here.remote("form"), FILES)

        assert "device" in refused.value.hint
        assert await here.held() == {}


async def test_files_keep_what_is_said_of_each(here: Yard) -> None:
    uploads = [
        Text(RelPath("s/e/a/one"), b"1", metadata={"type": "dicom", "tags": ["x"]}),
        Text(RelPath("s/e/a/two"), b"2", metadata={"info": {"a": 1}}),
    ]
    entries = [sent.entry async for sent in here.remote("form").put(uploads)]

    assert here.asked()[BY_LABEL] == 1
    told = {}
    for entry in entries:
        assert entry is not None
        address = ("acquisitions", entry.container.id, "files", entry.name, "info")
        answer = await here.api.json("GET", address)
        assert isinstance(answer, dict)
        told[entry.name] = (answer["type"], answer["tags"], answer["info"])
    assert told["one"] == ("dicom", ["x"], {})
    assert told["two"][2] == {"a": 1}


async def twin_of(here: Yard, kind: str) -> None:
    """A younger container of a label that the tree has."""
    remote = here.remote("multipart")
    await here.push(remote, {"s/e/a/first": b"1"})
    entry = (await here.listed())[RelPath("s/e/a/first")]
    acquisition = await here.api.json("GET", ("acquisitions", entry.container.id))
    assert isinstance(acquisition, dict)
    above = acquisition["parents"]
    body = {
        "session": {"label": "e", "project": here.project.id, "subject": {"_id": above["subject"]}},
        "acquisition": {"label": "a", "session": above["session"]},
    }[kind]
    await here.api.json("POST", (f"{kind}s",), body=body)


@pytest.mark.parametrize("kind", ["session", "acquisition"])
async def test_a_label_that_has_a_twin_is_never_left_to_the_server(here: Yard, kind: str) -> None:
    await twin_of(here, kind)
    remote = here.remote("form")
    async for _ in remote.entries():
        pass
    outcomes = await here.push(remote, FILES)

    assert problems(outcomes) == {}
    assert set(routes(outcomes).values()) == {"multipart"}
    assert here.asked()[BY_LABEL] == 0
    assert {path for path in await here.held() if path in FILES} == set(FILES)


UIDS = {"session.uid": "1.2", "acquisition.uid": "1.2.3"}


@pytest.mark.parametrize("by", ["uid", "reaper"])
async def test_uids_are_used_where_the_containers_have_them(here: Yard, by: str) -> None:
    with_uid = [Text(RelPath(f"s/e/a/f{n}"), b"with", fields=UIDS) for n in range(3)]
    without = [Text(RelPath(f"s/e/b/f{n}"), b"without") for n in range(2)]

    sent = [one async for one in here.remote("form", by=by).put(with_uid + without)]

    assert [one.error for one in sent] == [None] * 5
    assert {one.path: one.route for one in sent} == {
        **{one.path: "form" for one in with_uid},
        **{one.path: "multipart" for one in without},
    }
    assert here.asked()[f"POST upload/{by}"] == 1
    await here.assert_once({one.path: one.content for one in with_uid + without})


@pytest.mark.parametrize("by", ["uid", "reaper"])
async def test_a_uid_that_two_acquisitions_have_is_never_left_to_the_server(
    here: Yard, by: str
) -> None:
    uploads = [Text(RelPath(f"s/e/{a}/f"), b"of one series", fields=UIDS) for a in "ab"]
    remote = here.remote("form", by=by)

    sent = [one async for one in remote.put(uploads)]

    assert {one.route for one in sent} == {"multipart"}
    await here.assert_once({one.path: one.content for one in uploads})


@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_fails_each_file_arrives_once(here: Yard, fault: str) -> None:
    tree = FILES | {"p.json": b"{}", "s/e/session.txt": b"of the session"}
    here.forget_requests()
    await here.push(here.remote("form"), tree)
    count = here.sandbox.site.requests.total
    assert here.asked()[BY_LABEL] == 3

    for number in range(1, count + 1):
        there = await here.another(f"p{number}")
        there.fail({"match": {"hits": {"nth": number}}, "action": FAULTS[fault]})
        outcomes = await there.push(there.remote("form"), tree)
        assert there.sandbox.site.faults.report()[0]["fired"] == 1
        there.fail()

        assert problems(outcomes) == {}, number
        await there.assert_once(tree)


# -------------------------------------------------------------------------- unlike servers


def is_form(request: web.Request) -> bool:
    return request.path.startswith("/api/upload/")


@every_lie
async def test_an_answer_is_believed_file_by_file(
    here: Yard, meddler: Meddler, lie: Lie, wrong: int, times: int
) -> None:
    told = await pushed_past(here, meddler, lie, FILES, route="form", is_form=is_form)

    assert len(told) == wrong
    assert await here.held() == FILES
    assert max(one["version"] for one in (await here.record())["files"]) == times


def without_places(answer: Answer) -> Answer:
    """As core of 2018 answers: nothing says where a file lies."""
    return [
        {key: value for key, value in one.items() if key not in ("parent_ref", "parents")}
        for one in answer
    ]


async def test_an_answer_that_says_nothing_of_the_place_is_checked_by_one_look(
    here: Yard, meddler: Meddler
) -> None:
    told = await pushed_past(here, meddler, without_places, FILES, route="form", is_form=is_form)

    assert told == {}

    assert here.asked()["GET acquisitions"] == 1
    await here.assert_once(FILES)


async def test_what_went_elsewhere_is_told_and_the_next_files_go_another_way(
    here: Yard, meddler: Meddler
) -> None:
    """Somebody gives the acquisition another label, so that the form makes one of the old."""

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if not is_form(request):
            return None
        listed = await here.api.json("GET", ("projects", here.project.id, "acquisitions"))
        assert isinstance(listed, list)
        await here.api.json("PUT", ("acquisitions", listed[0]["_id"]), body={"label": "z"})
        answer = await forward()
        assert isinstance(answer.body, bytes)
        return web.json_response(without_places(json.loads(answer.body)))

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("form", api=api)
        outcomes = await here.push(remote, FILES)
        assert set(problems(outcomes)) == set(FILES)
        more = {f"s/e/b/{n}": b"x" for n in range(3)}
        again = await here.push(remote, more)

    assert problems(again) == {}
    assert set(routes(again).values()) == {"multipart"}


async def test_a_site_without_such_forms_gets_the_files_another_way(
    here: Yard, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if is_form(request):
            return web.json_response({"message": "no such thing"}, status=404)
        return None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("form", api=api)
        assert problems(await here.push(remote, FILES)) == {}
        assert problems(await here.push(remote, {"s/e/b/x": b"x"})) == {}

    assert meddler.count("POST", "upload/label") == 1
    await here.assert_once(FILES | {"s/e/b/x": b"x"})


async def test_a_proxy_that_takes_less_is_sent_smaller_forms(here: Yard) -> None:
    refused: list[str] = []
    files = {f"s/e/a/f{n}": bytes(100_000) for n in range(16)}

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and len(await request.read()) > 900_000:
            refused.append(request.path)
            return web.Response(status=413, text="<html>Request Entity Too Large</html>")
        return None

    meddler: Meddler
    async with meddling(here.sandbox.url) as meddler, through(here, meddler) as api:
        meddler.meddle = meddle
        remote = here.remote("form", api=api)
        assert problems(await here.push(remote, files)) == {}
        del refused[:]
        more = {f"s/e/b/f{n}": bytes(100_000) for n in range(16)}
        outcomes = await here.push(remote, more)

    assert (problems(outcomes), refused) == ({}, [])
    assert set(routes(outcomes).values()) == {"form"}
    await here.assert_once(files | more)
