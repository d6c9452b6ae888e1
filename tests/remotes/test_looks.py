"""Files that are looked for side by side: by one list, where it says what the looks would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from fwsync.errors import Unavailable
from fwsync.keys import parse_key
from fwsync.model import RelPath, RemoteEntry
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.http import Api
from tests.contract.meddler import Forward, Meddler, cut, meddling
from tests.fixtures.upload import Text
from tests.remotes.conftest import Clock
from tests.remotes.routes.pushing import FAULTS, Yard, problems, yard

FILES = {f"s/e/a/f{n:02}.dcm": bytes([n]) * n * 100 for n in range(40)}
LIST = "GET files"
FORM = "POST acquisitions/files"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path) as one:
        yield one


@pytest.fixture
async def meddler(here: Yard) -> AsyncIterator[Meddler]:
    async with meddling(here.sandbox.url) as one:
        yield one


@pytest.fixture
async def through(here: Yard, meddler: Meddler) -> AsyncIterator[Api]:
    async with Api(meddler.url, parse_key(here.sandbox.api_key).secret, patience_s=10) as api:
        yield api


def looks(here: Yard) -> int:
    return sum(count for asked, count in here.asked().items() if asked.endswith("/info"))


async def look(remote: Flywheel, *paths: str) -> list[RemoteEntry | None]:
    return await asyncio.gather(*(remote.look(RelPath(path)) for path in paths))


async def test_a_lost_answer_to_a_form_costs_one_list_and_one_look(here: Yard) -> None:
    here.fail({"match": {"method": "POST", "path": "/*/*/files"}, "action": FAULTS["lost answer"]})

    outcomes = await here.push(here.remote("multipart"), FILES)

    assert problems(outcomes) == {}
    assert (1, 1, 1) == (here.asked()[FORM], here.asked()[LIST], looks(here))
    here.fail()
    await here.assert_once(FILES)


async def test_a_form_that_never_arrived_costs_what_one_file_costs(here: Yard) -> None:
    match = {"method": "POST", "path": "/*/*/files", "times": 1}
    here.fail({"match": match, "action": FAULTS["reset"]})

    outcomes = await here.push(here.remote("multipart"), FILES)

    assert problems(outcomes) == {}
    # Twice: there is a pause between. An empty list is believed after a look at one of them.
    assert (2, 2, 2) == (here.asked()[FORM], here.asked()[LIST], looks(here))
    await here.assert_once(FILES)


async def test_a_list_says_what_the_looks_would(here: Yard) -> None:
    await here.push(here.remote("multipart"), FILES)
    remote = here.remote()
    wanted = [*FILES, "s/e/a/not there", "s/e/session.txt", "s/e2/a/f", "project.json"]
    one_by_one = [await remote.look(RelPath(path)) for path in wanted]
    here.forget_requests()

    together = await look(here.remote(), *wanted)

    assert one_by_one == together
    listed = await here.listed()
    assert [listed.get(path) for path in wanted] == together
    assert 40 == sum(one is not None for one in together)


async def test_few_files_are_looked_for_one_by_one(here: Yard) -> None:
    await here.push(here.remote("multipart"), FILES)
    remote = here.remote()
    await remote.look(RelPath("s/e/a/f00.dcm"))  # its containers are known
    here.forget_requests()

    await look(remote, *list(FILES)[:3])

    assert (0, 3) == (here.asked()[LIST], looks(here))


async def test_a_list_that_is_longer_than_the_looks_is_left(tmp_path: Path) -> None:
    async with yard(tmp_path, {"page_limit": 5}) as here:
        await here.push(here.remote("multipart"), FILES)
        remote = here.remote()
        await remote.look(RelPath("s/e/a/f00.dcm"))
        here.forget_requests()

        found = await look(remote, *list(FILES)[-8:], "s/e/a/not there")

        assert 8 == sum(one is not None for one in found)
        assert found[-1] is None
        assert here.asked()[LIST] <= 4  # of eight, and one that is asked for ahead
        assert 9 == looks(here)


async def test_where_no_list_is_given_files_are_looked_for_one_by_one(here: Yard) -> None:
    await here.push(here.remote("multipart"), FILES)
    remote = here.remote()
    await remote.look(RelPath("s/e/a/f00.dcm"))
    here.forget_requests()
    here.fail({"match": {"method": "GET", "path": "/files"}, "action": {"status": 422}})

    for _ in range(2):
        assert all(await look(remote, *FILES))

    assert (1, 80) == (here.asked()[LIST], looks(here))


async def test_a_list_that_takes_the_server_too_long_ends_no_run(here: Yard) -> None:
    """A gateway that gives up on one question says nothing about the others."""
    await here.push(here.remote("multipart"), FILES)
    here.fail({"match": {"method": "GET", "path": "/files"}, "action": {"status": 504}})
    key, clock = parse_key(here.sandbox.api_key).secret, Clock()

    async with Api(here.sandbox.url, key, patience_s=30, now=clock.now, sleep=clock.sleep) as api:
        assert all(await look(here.remote(api=api), *FILES))


async def test_an_empty_list_is_not_believed_where_one_of_them_is_there(
    here: Yard, meddler: Meddler, through: Api
) -> None:
    """Whoever may write and not read has empty lists; to believe them would send all again."""
    await here.push(here.remote("multipart"), FILES)

    async def hide(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.path != "/api/files":
            return None
        return web.json_response({"total": 0, "count": 0, "results": []})

    meddler.meddle = hide
    assert all(await look(here.remote(api=through), *FILES))


async def test_a_list_from_before_an_upload_is_not_believed_after_it(
    here: Yard, meddler: Meddler, through: Api
) -> None:
    """A slow index has the old versions: believed, all that arrived would be sent once more."""
    await here.push(here.remote("multipart"), FILES)
    remote = here.remote("multipart", api=through)
    kept: list[object] = []

    async def lag(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST":
            await forward()
            return cut(request)
        if request.path != "/api/files":
            return None
        kept.append(json.loads((await forward()).body or b""))  # type: ignore[arg-type]
        return web.json_response(kept[0])

    meddler.meddle = lag
    assert all(await look(remote, *FILES))
    changed = [Text(RelPath(path), content + b"!") for path, content in FILES.items()]
    sent = [one.error async for one in remote.put(changed)]
    found = await look(remote, *FILES)

    assert all(isinstance(error, Unavailable) for error in sent)
    assert [one.size for one in changed] == [one.size for one in found if one]


async def test_a_list_with_a_name_twice_leaves_that_one_to_a_look(
    here: Yard, meddler: Meddler, through: Api
) -> None:
    await here.push(here.remote("multipart"), FILES)
    listed = await here.listed()

    async def doubled(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.path != "/api/files":
            return None
        told = json.loads((await forward()).body or b"")  # type: ignore[arg-type]
        told["results"].insert(0, {**told["results"][0], "size": 7, "file_id": "f" * 24})
        told["total"] += 1
        return web.json_response(told)

    meddler.meddle = doubled
    found = await look(here.remote(api=through), *FILES)

    assert [listed[path] for path in FILES] == found
