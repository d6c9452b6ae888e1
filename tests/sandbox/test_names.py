"""The switch ``names``: on every way in, labels and file names are refused, or altered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from fwsync.mapping.names import platform_name
from fwsync.sandbox import running_sandbox
from fwsync.sandbox.kept.naming import MAX_NAME, named
from tests.sandbox.api import Answer, Api, Tree, client, plant
from tests.sandbox.placing import send
from tests.sandbox.test_packfile import about, begun, end

BAD = "t2* a:b"
KEPT = "t2star a_b"


@pytest.fixture
async def sandbox_url(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    async with (
        running_sandbox(tmp_path / "data", switches={"names": request.param}) as sandbox,
        client(sandbox.url, sandbox.api_key) as made,
    ):
        yield made


async def container(api: Api, tree: Tree) -> Answer:
    body = {"label": BAD, "session": tree.session}
    return await api.ask("POST", "/acquisitions", json=body)


async def embedded_subject(api: Api, tree: Tree) -> Answer:
    body = {"label": "ses", "project": tree.project, "subject": {"code": BAD}}
    return await api.ask("POST", "/sessions", json=body)


async def changed_label(api: Api, tree: Tree) -> Answer:
    return await api.ask("PUT", f"/sessions/{tree.session}", json={"label": BAD})


async def hierarchy(api: Api, tree: Tree) -> Answer:
    body = {"subject": {"label": "sub-01"}, "session": {"label": BAD}}
    return await api.ask("POST", f"/projects/{tree.project}/upsert-hierarchy", json=body)


async def container_form(api: Api, tree: Tree) -> Answer:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("file", b"x", filename=BAD)
    return await api.ask("POST", f"/acquisitions/{tree.acquisition}/files", data=form)


async def container_ticket(api: Api, tree: Tree) -> Answer:
    where = f"/acquisitions/{tree.acquisition}/files"
    body = {"metadata": {"size": 1}, "filenames": [BAD]}
    answer = await api.ask("POST", where, json=body, params={"ticket": ""})
    if answer.status != 200:
        return answer
    async with aiohttp.ClientSession() as store:
        await store.put(answer.json["urls"][BAD], data=b"x", headers=answer.json["headers"])
    return await api.ask("POST", where, params={"ticket": answer.json["ticket"]})


async def placement_file(api: Api, tree: Tree) -> Answer:
    told = {"group": {"_id": tree.group}, "project": {"label": "Proj", "files": [{"name": BAD}]}}
    return await send(api, "label", told, {BAD: b"x"})


async def placement_label(api: Api, tree: Tree) -> Answer:
    told = {
        "group": {"_id": tree.group},
        "project": {"label": "Proj"},
        "session": {"label": BAD, "subject": {"code": "sub-01"}, "files": [{"name": "f"}]},
    }
    return await send(api, "label", told, {"f": b"x"})


async def packfile(api: Api, tree: Tree) -> Answer:
    token = await begun(api, tree, {"f": b"x"})
    told = about(tree, session={"label": BAD, "subject": {"code": "sub-01"}})
    return await end(api, tree, token, told)


async def moved_file(api: Api, tree: Tree) -> Answer:
    [entry] = await api.upload(f"acquisitions/{tree.acquisition}", {"plain": b"x"})
    return await api.ask("POST", f"/files/{entry['file_id']}/move", json={"name": BAD})


Way = Callable[[Api, Tree], Awaitable[Answer]]
WAYS: list[Way] = [
    container,
    embedded_subject,
    changed_label,
    hierarchy,
    container_form,
    container_ticket,
    placement_file,
    placement_label,
    packfile,
    moved_file,
]


async def all_names(api: Api) -> set[str]:
    record = await api.get("/sandbox/record")
    found = {one["label"] for one in record["containers"]}
    return found | {one["name"] for one in record["files"]}


@pytest.mark.row("sandbox-switches")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sandbox_url", ["alter"], indirect=True)
async def test_a_name_is_kept_with_other_characters(way: Way, sandbox_url: Api) -> None:
    tree = await plant(sandbox_url)

    first, second = await way(sandbox_url, tree), await way(sandbox_url, tree)

    assert 200 == first.status, first
    assert second.status in (200, 409, 422), second
    names = await all_names(sandbox_url)
    assert KEPT in names
    assert BAD not in names


@pytest.mark.parametrize("way", [hierarchy, placement_label, packfile, embedded_subject])
@pytest.mark.parametrize("sandbox_url", ["alter"], indirect=True)
async def test_what_is_found_by_its_label_is_found_by_the_one_it_was_given(
    way: Way, sandbox_url: Api
) -> None:
    tree = await plant(sandbox_url)
    await way(sandbox_url, tree)
    await way(sandbox_url, tree)

    record = await sandbox_url.get("/sandbox/record")

    assert 1 == [one["label"] for one in record["containers"]].count(KEPT)


@pytest.mark.row("sandbox-switches")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sandbox_url", ["refuse"], indirect=True)
async def test_a_name_is_refused_and_nothing_is_left_of_it(way: Way, sandbox_url: Api) -> None:
    tree = await plant(sandbox_url)

    answer = await way(sandbox_url, tree)

    assert 400 == answer.status, answer
    names = await all_names(sandbox_url)
    assert names.isdisjoint({BAD, KEPT})


@pytest.mark.row("sandbox-switches")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sandbox_url", [""], indirect=True)
async def test_without_it_every_name_is_kept_as_it_is(way: Way, sandbox_url: Api) -> None:
    tree = await plant(sandbox_url)

    assert 200 == (await way(sandbox_url, tree)).status
    assert BAD in await all_names(sandbox_url)


async def test_the_older_server_keeps_every_label(tmp_path: Path) -> None:
    switches = {"names": "refuse", "compat": "core-2018"}
    async with (
        running_sandbox(tmp_path / "data", switches=switches) as sandbox,
        aiohttp.ClientSession(
            headers={"Authorization": f"scitran-user {sandbox.api_key.rpartition(':')[2]}"}
        ) as session,
    ):
        for kind, body in (
            ("groups", {"_id": "grp"}),
            ("projects", {"label": BAD, "group": "grp"}),
        ):
            async with session.post(f"{sandbox.url}/api/{kind}", data=json.dumps(body)) as answer:
                assert answer.status == 200, await answer.text()


@pytest.mark.parametrize(
    "text", ["t2*", "T2_* x", 'a/b\\c:d?e"f<g>h|i', "tab\there", "\x7f", "x" * 300, "plain", "ü*"]
)
def test_the_rule_is_that_of_the_platforms_own_tools(text: str) -> None:
    assert platform_name(text)[:MAX_NAME] == named("alter", text)
