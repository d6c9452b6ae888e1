"""Files that are looked for side by side cost one question, and are what each look would find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.keys import parse_key
from fwsync.model import RelPath
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.sandbox import Sandbox
from tests.contract.conftest import listed, put, text
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler, meddling


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


async def test_files_that_are_looked_for_together_cost_one_question(
    watched: Core2018, meddler: Meddler, remote: Core2018
) -> None:
    many = [text(f"s/e/a/f{n:02}", b"x" * n) for n in range(20)]
    await put(remote, *many)
    paths = [RelPath(one.path) for one in many] + [RelPath("s/e/a/not there")]
    one_by_one = [await remote.look(path) for path in paths]
    await listed(watched)
    meddler.asked.clear()

    together = await asyncio.gather(*(watched.look(path) for path in paths))

    assert one_by_one == together
    assert 20 == sum(one is not None for one in together)
    assert ["GET"] == [method for method, _ in meddler.asked]


async def test_of_several_files_of_one_name_the_server_is_asked_for_its_own(
    watched: Core2018, meddler: Meddler, remote: Core2018
) -> None:
    many = [text(f"s/e/a/f{n}") for n in range(5)]
    await put(remote, *many)
    await listed(watched)

    async def doubled(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if "/acquisitions/" not in request.path or "/files/" in request.path:
            return None
        told = json.loads((await forward()).body or b"")  # type: ignore[arg-type]
        told["files"].insert(0, {**told["files"][0], "size": 77})
        return web.json_response(told)

    meddler.meddle = doubled
    found = await asyncio.gather(*(watched.look(RelPath(one.path)) for one in many))

    assert [7] * 5 == [one.size for one in found if one is not None]
