"""Clients that go away in the middle, and requests that are hardly any."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from fwsync.sandbox import Sandbox
from fwsync.sandbox.exchange import EXCHANGE, Exchange, pump
from tests.sandbox.api import Api, Tree
from tests.sandbox.raw import hear

LARGE = bytes(16 << 20)  # more than fits between two sockets


async def written_down(sandbox: Sandbox, api: Api, path: str) -> dict[str, Any]:
    """The record of a request; waits until there is one."""
    async with asyncio.timeout(30):
        while True:
            for one in sandbox.site.requests.recent:
                if one["path"] == f"/api{path}":
                    found: dict[str, Any] = one
                    return found
            await api.get("/config")


@pytest.mark.row("file-download")
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_a_download_is_no_error_of_the_sandbox(
    sandbox: Sandbox, api: Api, tree: Tree, caplog: pytest.LogCaptureFixture, reset: bool
) -> None:
    await api.upload(f"projects/{tree.project}", {"f": LARGE})
    path = f"/projects/{tree.project}/files/f"
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = sandbox.api_key.rpartition(":")[2]
    writer.write(
        f"GET /api{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    )
    await reader.readexactly(1)
    if reset:
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    entry = await written_down(sandbox, api, path)

    assert entry["status"] == 499
    assert entry["sent"] < len(LARGE)
    assert [one.getMessage() for one in caplog.records] == []


async def test_nothing_is_pumped_into_a_connection_that_is_closing() -> None:
    transport = mock.Mock(**{"is_closing.return_value": True})
    request = make_mocked_request("GET", "/", transport=transport)
    request[EXCHANGE] = Exchange.of(request)

    with pytest.raises(ConnectionResetError):
        await pump(request, web.StreamResponse(), mock.Mock(), 0, 1)


@pytest.mark.row("error-shape", "files-signed-url", "signed-ticket")
@pytest.mark.parametrize("host", ["", "x:99999", "x:port", "\udcff"])
async def test_a_host_that_is_none_is_400(
    sandbox: Sandbox, api: Api, tree: Tree, host: str
) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"f": b"x"})
    url = await hear(sandbox, "GET", f"/files/{entry['file_id']}/signed_url", host=host)
    body = b'{"metadata": {}, "filenames": ["a"]}'
    ticket = await hear(
        sandbox,
        "POST",
        f"/projects/{tree.project}/files?ticket=",
        body,
        headers="Content-Type: application/json\r\n",
        host=host,
    )

    assert [400, 400] == [url.status, ticket.status]
    assert b"Host" in url.body
    assert b"Host" in ticket.body
