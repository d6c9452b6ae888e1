"""What a site and a store may answer to a signed upload, and what is made of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from fwsync.errors import Garbled, Refused, Unavailable
from fwsync.model import Level, RelPath
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from fwsync.remotes.routes.parcel import NotOffered, Parcel
from fwsync.remotes.routes.parts import AT_ONCE
from fwsync.remotes.routes.signed import SignedRoute
from fwsync.remotes.routes.stores import TooLarge
from fwsync.remotes.routes.tickets import ticket_of
from tests.fixtures.upload import Text
from tests.remotes.conftest import KEY, serving
from tests.remotes.routes.signing import noise

CONTAINER = Container(Level.ACQUISITION, "a1", ("g", "p", "s", "e", "a"), RelPath(""), "e1")


class Clerk:
    """A site and its store, that answers what it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.ticket: Any = None
        self.puts: list[tuple[str, bytes, dict[str, str]]] = []
        self.ends: list[Any] = []
        self.now = self.most = 0
        self.gate: asyncio.Event | None = None
        self.stored: dict[str, Any] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "PUT":
            self.now += 1
            self.most = max(self.most, self.now)
            body = await request.read()
            if self.gate is not None:
                await self.gate.wait()
            self.now -= 1
            self.puts.append((request.path_qs, body, dict(request.headers)))
            return web.Response(headers={"ETag": f'"e{len(self.puts)}"'})
        body = await request.read()
        if request.query["ticket"] == "":
            told = json.loads(body)
            self.stored = {**told["metadata"], "size": told["metadata"].get("size", 0)}
            return web.json_response(self.ticket)
        self.ends.append(json.loads(body) if body else None)
        where = {"type": "acquisition", "id": "a1"}
        return web.json_response([self.stored | {"parent_ref": where, "version": 1}])


async def meet(clerk: Clerk, ticket: Any, content: bytes = b"hello") -> Any:
    """Send a file to a site that gives this ticket; the entry, or the error."""
    async with serving(clerk.answer) as url, Api(url, KEY, patience_s=1) as api:
        clerk.ticket = json.loads(json.dumps(ticket).replace("HERE", url))
        route = SignedRoute(api)
        parcel = Parcel(Text(RelPath("f"), content), CONTAINER, "f")
        [sent] = [one async for one in route.send([parcel])]
        return sent.entry or sent.error


@pytest.mark.parametrize("answer", [None, {}, [], {"ticket": None}, {"ticket": ""}])
async def test_no_ticket_is_no_way(answer: Any) -> None:
    assert isinstance(await meet(Clerk(), answer), NotOffered)


async def test_headers_may_be_null_and_an_address_a_text() -> None:
    clerk = Clerk()
    entry = await meet(clerk, {"ticket": "t", "urls": {"f": "HERE/b?x=a%2Fb"}, "headers": None})

    assert entry.size == 5
    [(path, body, headers)] = clerk.puts
    assert (path, body, headers["Content-Length"]) == ("/b?x=a%2Fb", b"hello", "5")
    assert "Content-Type" not in headers
    assert "Content-Range" not in headers
    assert "Transfer-Encoding" not in headers
    assert clerk.ends == [None]


async def test_headers_of_the_ticket_go_along_but_not_those_that_are_ours() -> None:
    clerk = Clerk()
    told = {"x-ms-blob-type": "BlockBlob", "Content-Length": "7", "Content-Type": "a/b"}
    await meet(clerk, {"ticket": "t", "urls": {"f": ["HERE/b"]}, "headers": told})

    [(_, _, headers)] = clerk.puts
    assert (headers["x-ms-blob-type"], headers["Content-Type"]) == ("BlockBlob", "a/b")
    assert headers["Content-Length"] == "5"


async def test_azure_is_told_what_a_blob_is_whoever_forgot() -> None:
    clerk = Clerk()
    url = "HERE/acc/c/b?sv=2022-11-02&se=2026&sr=b&sp=cw&sig=x"
    await meet(clerk, {"ticket": "t", "urls": {"f": url}, "headers": {}})

    assert clerk.puts[0][2]["x-ms-blob-type"] == "BlockBlob"


@pytest.mark.parametrize(
    "ticket",
    [
        {"ticket": "t"},
        {"ticket": "t", "urls": {"F": "HERE/b"}},
        {"ticket": "t", "urls": {"f": []}},
        {"ticket": "t", "urls": {"f": [""]}},
        {"ticket": "t", "urls": {"f": [None]}},
        {"ticket": "t", "urls": {"f": "/b"}},
        {"ticket": "t", "urls": {"f": "ftp://h/b"}},
        {"ticket": "t", "urls": {"f": "http://h:99999/b"}},
        {"ticket": "t", "urls": {"f": "http://h:port/b"}},
        {"ticket": "t", "urls": {"f": "http://\u00fc\ud800/b"}},
        {"ticket": "t", "urls": {"f": "HERE/b"}, "headers": {"a": 1}},
        {"ticket": "t", "urls": {"f": ["HERE/b.s3.x/k?a=1", "HERE/b.s3.x/k?a=2"]}},
        {"ticket": "t", "urls": {"f": ["HERE/k?sv=1&se=1&sig=1", "HERE/k?sv=1&se=1&sig=1"]}},
        {"ticket": 1, "urls": {"f": "HERE/b"}},
    ],
    ids=str,
)
async def test_a_ticket_that_cannot_be_believed_sends_nothing(ticket: Any) -> None:
    clerk = Clerk()
    assert isinstance(await meet(clerk, ticket), Garbled)
    assert clerk.puts == []


async def test_a_file_of_a_tls_site_never_goes_in_the_clear() -> None:
    answer = {"ticket": "t", "urls": {"f": "http://h/b"}, "headers": {}}
    with pytest.raises(Garbled, match="in the clear"):
        ticket_of(answer, "acquisitions/a1", "f", 5, URL("https://site"), "f")


@pytest.mark.parametrize("count", [1, 2, 9])
async def test_parts_of_a_short_file_are_even_and_end_with_their_etags(count: int) -> None:
    clerk = Clerk()
    urls = [f"HERE/fw.s3.x/k?partNumber={n}&uploadId=u" for n in range(1, count + 1)]
    await meet(clerk, {"ticket": "t", "urls": {"f": urls}, "headers": {}})

    bodies = {int(path.split("=")[1].split("&")[0]): body for path, body, _ in clerk.puts}
    assert b"".join(bodies[n] for n in sorted(bodies)) == b"hello"
    assert all(bodies.values())
    [end] = clerk.ends
    assert end["multipart"]["upload_id"] == "u"
    assert len(end["multipart"]["e_tags"]) == len(bodies)


async def test_s3_without_etags_cannot_be_joined_and_is_not_redeemed() -> None:
    class Silent(Clerk):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            answer = await super().answer(request)
            answer.headers.pop("ETag", None)
            return answer

    clerk = Silent()
    ticket = {"ticket": "t", "urls": {"f": ["HERE/b.s3.x/k?uploadId=u"]}, "headers": {}}
    assert isinstance(await meet(clerk, ticket), Garbled)
    assert clerk.ends == []


async def test_few_parts_of_a_file_are_on_their_way_at_once() -> None:
    clerk = Clerk()
    clerk.gate = asyncio.Event()
    urls = [f"HERE/fw.s3.x/k?partNumber={n}&uploadId=u" for n in range(1, 13)]
    ticket = {"ticket": "t", "urls": {"f": urls}, "headers": {}}
    meeting = asyncio.ensure_future(meet(clerk, ticket, bytes(1200)))
    while clerk.now < AT_ONCE:
        await asyncio.sleep(0)
    clerk.gate.set()
    await meeting

    assert clerk.most == AT_ONCE
    assert len(clerk.puts) == 12


async def test_an_unknown_store_gets_its_parts_in_order() -> None:
    clerk = Clerk()
    urls = [f"HERE/{n}" for n in range(4)]
    await meet(clerk, {"ticket": "t", "urls": {"f": urls}, "headers": {}}, bytes(range(8)))

    assert [path for path, _, _ in clerk.puts] == ["/0", "/1", "/2", "/3"]
    assert b"".join(body for _, body, _ in clerk.puts) == bytes(range(8))
    assert clerk.most == 1


# ------------------------------------------------------------------------- one session, in order


class Session(Clerk):
    """Cloud Storage, which may keep less of a request than was sent.

    Args:
        takes: how many bytes of each request it keeps, at most; all of those after.
    """

    def __init__(self, *takes: int, answer: web.Response | None = None) -> None:
        super().__init__()
        self.takes = list(takes)
        self.said = answer
        self.kept = b""
        self.ranges: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "PUT":
            return await super().answer(request)
        there = request.headers["Content-Range"]
        self.ranges.append(there)
        first, total = int(there.split()[1].split("-")[0]), int(there.split("/")[1])
        body = await request.read()
        assert first == len(self.kept)
        self.kept += body[: self.takes.pop(0) if self.takes else None]
        if self.said is not None:
            return self.said
        if len(self.kept) == total:
            return web.Response()
        headers = {"Range": f"bytes=0-{len(self.kept) - 1}"} if self.kept else {}
        return web.Response(status=308, headers=headers)


def session_of(count: int) -> dict[str, Any]:
    url = "HERE/fw.storage.googleapis.x/k?upload_id=u"
    return {"ticket": "t", "urls": {"f": [url] * count}, "headers": {}}


async def test_a_session_says_from_where_it_wants_the_rest() -> None:
    session = Session(300_000, 10, 0)
    content = noise(1_000_000)
    entry = await meet(session, session_of(2), content)

    assert entry.size == len(content)
    assert session.kept == content
    assert session.ranges == [
        "bytes 0-524287/1000000",
        "bytes 300000-824287/1000000",
        "bytes 300010-824297/1000000",
        "bytes 300010-824297/1000000",
        "bytes 824298-999999/1000000",
    ]


async def test_a_session_that_takes_nothing_is_left() -> None:
    session = Session(0, 0, 0, 0)
    error = await meet(session, session_of(2), noise(1_000_000))

    assert isinstance(error, Unavailable)
    assert len(session.ranges) == 3


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),  # before its end
        (308, {"Range": "bytes=7-9"}),
        (308, {"Range": "bytes=0-9999999"}),
        (308, {"Range": "bytes=0-999999"}),  # all, and no end
    ],
)
async def test_a_session_that_makes_no_sense_is_not_redeemed(
    status: int, headers: dict[str, str]
) -> None:
    session = Session(answer=web.Response(status=status, headers=headers))
    error = await meet(session, session_of(2), noise(1_000_000))

    assert isinstance(error, Garbled)
    assert session.ends == []


# ------------------------------------------------------------------------ what does not go


class Refusing(Clerk):
    """A site that answers each request for a ticket, or each PUT, with a status."""

    def __init__(self, method: str, status: int) -> None:
        super().__init__()
        self.method, self.status = method, status

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == self.method:
            await request.read()
            return web.json_response({"message": "no"}, status=self.status)
        return await super().answer(request)


@pytest.mark.parametrize(
    ("status", "expected"), [(405, NotOffered), (501, NotOffered), (413, TooLarge), (400, Refused)]
)
async def test_a_site_may_say_no_in_several_ways(status: int, expected: type[Exception]) -> None:
    assert type(await meet(Refusing("POST", status), {})) is expected


async def test_what_a_store_does_not_take_is_not_tried_again() -> None:
    clerk = Refusing("PUT", 413)
    error = await meet(clerk, {"ticket": "t", "urls": {"f": "HERE/b"}, "headers": {}})

    assert type(error) is Refused
    assert error.status == 413
    assert clerk.ends == []


@dataclass(frozen=True, slots=True)
class Huge(Text):
    """Too large to be read."""

    @property
    def size(self) -> int:
        return (5 << 30) + 1


async def test_one_address_of_s3_for_more_than_5_gib_is_not_put_to() -> None:
    clerk = Clerk()
    clerk.ticket = {"ticket": "t", "urls": {"f": "http://h/b.s3.x/k"}, "headers": {}}
    async with serving(clerk.answer) as url, Api(url, KEY) as api:
        parcel = Parcel(Huge(RelPath("f"), b""), CONTAINER, "f")
        [sent] = [one async for one in SignedRoute(api).send([parcel])]

    assert isinstance(sent.error, TooLarge)
    assert str(5 << 30) in sent.error.message
    assert clerk.puts == []


async def test_two_files_for_one_are_no_answer() -> None:
    class Twice(Clerk):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            answer = await super().answer(request)
            if request.query.get("ticket") == "t":
                where = {"type": "acquisition", "id": "a1"}
                return web.json_response([{"name": "f", "size": 5, "parent_ref": where}] * 2)
            return answer

    ticket = {"ticket": "t", "urls": {"f": "HERE/b"}, "headers": {}}
    assert isinstance(await meet(Twice(), ticket), Garbled)
