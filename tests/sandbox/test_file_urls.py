"""Ways to the bytes of a file by its id: with a key, by a ticket, by a URL that says it all."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from yarl import URL

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, Tree, client


@pytest.fixture
async def file(api: Api, tree: Tree) -> str:
    """The id of a file of two versions."""
    where = f"acquisitions/{tree.acquisition}"
    await api.upload(where, {"note.txt": b"first"})
    [entry] = await api.upload(where, {"note.txt": b"second"})
    return str(entry["file_id"])


async def fetched(url: str) -> bytes:
    """What somebody without a key reads."""
    async with ClientSession() as nobody, nobody.get(URL(url, encoded=True)) as answer:
        assert 200 == answer.status
        return await answer.read()


@pytest.mark.row("files-download", "file-version", "file-range")
async def test_the_bytes_of_any_version_come_by_the_id(api: Api, file: str) -> None:
    newest = await api.ask("GET", f"/files/{file}/download")
    oldest = await api.ask("GET", f"/files/{file}/download", params={"version": "1"})
    part = await api.ask("GET", f"/files/{file}/download", headers={"Range": "bytes=1-3"})
    absent = await api.ask("GET", f"/files/{file}/download", params={"version": "3"})

    assert (200, b"second") == (newest.status, newest.body)
    assert 'attachment; filename="note.txt"' == newest.headers["Content-Disposition"]
    assert (200, b"first") == (oldest.status, oldest.body)
    assert (206, b"eco") == (part.status, part.body)
    assert "bytes 1-3/6" == part.headers["Content-Range"]
    assert 404 == absent.status


@pytest.mark.row("files-signed-url")
@pytest.mark.parametrize(("query", "expected"), [({}, b"second"), ({"version": "1"}, b"first")])
async def test_a_signed_url_needs_no_key(
    api: Api, file: str, query: dict[str, str], expected: bytes
) -> None:
    url = await api.get(f"/files/{file}/signed_url", **query)

    assert expected == await fetched(url)


@pytest.mark.row("files-signed-url")
async def test_a_ticket_is_for_one_version_of_one_file(
    sandbox: Sandbox, api: Api, tree: Tree, file: str
) -> None:
    where = f"acquisitions/{tree.acquisition}"
    [other] = await api.upload(where, {"other.txt": b"other"})
    ticket = (await api.post(f"/files/{file}/ticket", None, version="1"))["ticket"]

    async with client(sandbox.url, "") as nobody:
        path = f"/files/{file}/download"
        content = await nobody.ask("GET", path, params={"ticket": ticket})
        elsewhere = await nobody.ask(
            "GET", f"/files/{other['file_id']}/download", params={"ticket": ticket}
        )
        without = await nobody.ask("GET", path)

    assert (200, b"first") == (content.status, content.body)
    assert 400 == elsewhere.status
    assert 401 == without.status


@pytest.mark.row("files-signed-url", "files-delete")
@pytest.mark.parametrize("what", ["file", "container"])
async def test_a_ticket_ends_with_its_file(api: Api, tree: Tree, file: str, what: str) -> None:
    ticket = (await api.post(f"/files/{file}/ticket", None))["ticket"]
    gone = f"/files/{file}" if what == "file" else f"/projects/{tree.project}"
    deleted = await api.ask("DELETE", gone)
    answer = await api.ask("GET", f"/files/{file}/download", params={"ticket": ticket})

    assert (deleted.status, answer.status) == (200, 404)


@pytest.mark.row("files-signed-url", "permissions-none")
async def test_who_may_not_read_gets_no_url(user: Api, file: str) -> None:
    url = await user.ask("GET", f"/files/{file}/signed_url")
    ticket = await user.ask("POST", f"/files/{file}/ticket")

    assert [403, 403] == [url.status, ticket.status]
