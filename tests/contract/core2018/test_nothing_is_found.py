"""The same of a server of 2018: it begins to say of everything that it is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.errors import NotFound
from fwsync.keys import parse_key
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.sandbox import Sandbox
from tests.contract.conftest import put, text
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler


@pytest.fixture
async def spoilt(
    meddler: Meddler, sandbox: Sandbox, project: Project, who: Who
) -> AsyncIterator[Core2018]:
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=2) as api:
        yield seen_by(api, project, who)


@pytest.mark.parametrize("first", ["DELETE", "GET"])
async def test_a_file_is_not_gone_because_a_server_finds_nothing_any_more(
    first: str, spoilt: Core2018, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))
    lost = False

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        nonlocal lost
        lost = lost or request.method == first
        return web.json_response({"message": "no such route"}, status=404) if lost else None

    meddler.meddle = meddle
    with pytest.raises(NotFound, match="nor the acquisition"):
        await (spoilt.delete(entry) if first == "DELETE" else spoilt.check_gone(entry))

    meddler.meddle = None
    assert entry == await spoilt.look(entry.path)
    await spoilt.check_gone(entry)
