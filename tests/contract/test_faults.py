"""A server that loses, refuses, cuts and lies: nothing is doubled, nothing is guessed."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.errors import (
    Forbidden,
    FwsyncError,
    Garbled,
    IntegrityError,
    NotFound,
    RemoteError,
    Unavailable,
)
from fwsync.keys import parse_key
from fwsync.model import RelPath
from fwsync.remotes.flywheel import Flywheel, Project
from fwsync.remotes.http import Api
from fwsync.remotes.strays import Oddity
from fwsync.sandbox import Sandbox
from tests.contract.conftest import (
    content,
    fresh,
    listed,
    listed_with_unknown,
    put,
    text,
)
from tests.contract.meddler import Forward, Meddler, cut
from tests.fixtures.upload import Text
from tests.remotes.conftest import Clock

_HOLDER = {"type": "project", "id": "p"}


@pytest.fixture
async def spoilt(meddler: Meddler, sandbox: Sandbox, project: Project) -> AsyncIterator[Flywheel]:
    """The remote as seen through the meddler, by someone whose waits take no time."""
    clock = Clock()
    key = parse_key(sandbox.api_key).secret
    async with Api(
        meddler.url, key, patience_s=60, now=clock.now, sleep=clock.sleep, random=lambda: 0.5
    ) as api:
        yield fresh(api, project)


async def count(api: Api, project: Project, plural: str) -> int:
    answer = await api.json("GET", ("projects", project.id, plural))

    assert isinstance(answer, list)
    return len(answer)


# ------------------------------------------------------------------------------ making


@pytest.mark.parametrize("plural", ["subjects", "sessions", "acquisitions"])
@pytest.mark.parametrize("after_listing", [False, True])
async def test_a_lost_answer_to_a_creation_makes_no_twin(
    plural: str,
    after_listing: bool,
    spoilt: Flywheel,
    meddler: Meddler,
    api: Api,
    project: Project,
) -> None:
    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", f"/api/{plural}"):
            await forward()
            return cut(request)
        return None

    if after_listing:
        await listed(spoilt)
    meddler.meddle = meddle
    await asyncio.gather(*(put(spoilt, text(f"s/e/a/f{n}")) for n in range(5)))

    assert await count(api, project, plural) == 1
    assert len(await listed(spoilt)) == 5


async def test_a_creation_that_failed_is_tried_again(
    spoilt: Flywheel, meddler: Meddler, api: Api, project: Project
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == "/api/sessions" and meddler.count("POST", "sessions") == 1:
            return web.Response(status=503, text="<html>later</html>")
        return None

    await listed(spoilt)
    meddler.meddle = meddle
    await put(spoilt, text("s/e/a/f"))

    assert await count(api, project, "sessions") == 1


@pytest.mark.parametrize("code", [409, 422])
async def test_a_container_made_by_another_host_is_adopted(
    code: int, spoilt: Flywheel, meddler: Meddler, api: Api, project: Project
) -> None:
    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", "/api/subjects"):
            await forward()
            return web.json_response({"message": "there is one"}, status=code)
        return None

    await listed(spoilt)
    meddler.meddle = meddle
    await put(spoilt, text("s/e/a/f"))

    assert await count(api, project, "subjects") == 1


async def test_a_creation_that_is_refused_is_asked_for_once(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", "/api/subjects"):
            return web.json_response({"message": "read only"}, status=403)
        return None

    await listed(spoilt)
    meddler.meddle = meddle
    errors = []
    for number in range(10):
        async for sent in spoilt.put([text(f"s/e/a/f{number}")]):
            errors.append(type(sent.error))

    assert errors == [Forbidden] * 10
    assert meddler.count("POST", "subjects") == 1


async def test_a_container_that_went_away_is_made_anew(
    spoilt: Flywheel, api: Api, project: Project
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))
    await api.json("DELETE", ("acquisitions", entry.container.id))

    [sent] = [one async for one in spoilt.put([text("s/e/a/g")])]
    assert isinstance(sent.error, NotFound)
    await put(spoilt, text("s/e/a/g"))

    assert set(await listed(spoilt)) == {"s/e/a/g"}
    assert await count(api, project, "acquisitions") == 1


# ------------------------------------------------------------------------------ sending


async def test_a_lost_answer_to_an_upload_is_found_by_looking(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            await forward()
            return cut(request)
        return None

    meddler.meddle = meddle
    [sent] = [one async for one in spoilt.put([text("s/e/a/g", b"arrived")])]
    meddler.meddle = None

    assert isinstance(sent.error, Unavailable)
    there = await spoilt.look(RelPath("s/e/a/g"))
    assert there is not None
    assert (there.size, there.version) == (7, 1)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        [{"name": "other", "size": 7, "parent_ref": {"type": "acquisition", "id": "1"}}],
        [{"name": "g"}],
        ["g"],
        None,
    ],
)
async def test_an_upload_is_not_taken_for_done_without_its_entry(
    answer: object, spoilt: Flywheel, meddler: Meddler
) -> None:
    await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            return web.json_response(answer)
        return None

    meddler.meddle = meddle
    [sent] = [one async for one in spoilt.put([text("s/e/a/g", b"1234567")])]

    assert isinstance(sent.error, Garbled)


class Endless(Text):
    """A file that is still being read when the run is stopped."""

    @property
    def size(self) -> int:
        return 10**10

    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)


async def test_a_run_that_is_stopped_leaves_no_part_of_a_file(remote: Flywheel) -> None:
    await put(remote, text("s/e/a/f"))
    upload = Endless(RelPath("s/e/a/g"), b"")
    sent = remote.api.bytes_sent

    async def send() -> None:
        _ = [one async for one in remote.put([upload])]

    task = asyncio.create_task(send())
    while remote.api.bytes_sent < sent + 10**6:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert set(await listed(remote)) == {"s/e/a/f"}


# ------------------------------------------------------------------------------ listing


async def test_a_listing_may_be_left_in_the_middle(spoilt: Flywheel, meddler: Meddler) -> None:
    await put(spoilt, *[text(f"s/e/a/f{n}") for n in range(5)])
    meddler.query = {"limit": "2"}
    pages = spoilt.entries()

    await anext(pages)
    await pages.aclose()

    assert len(await listed(spoilt)) == 5


async def test_small_pages_and_plain_lists_are_read_to_their_end(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    paths = {f"s{n}/e/a/f" for n in range(5)}
    await put(spoilt, *map(text, sorted(paths)))
    meddler.query = {"limit": "2"}
    assert paths == set(await listed(spoilt))

    meddler.drop = {"x-accept-feature"}
    assert paths == set(await listed(spoilt))


async def test_a_list_that_does_not_advance_is_unknown(spoilt: Flywheel, meddler: Meddler) -> None:
    await put(spoilt, *[text(f"s/e/a/f{n}") for n in range(5)])
    before = len(meddler.asked)

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        meddler.query = {"limit": "2"}
        if request.path == "/api/files":
            meddler.query["after_id"] = "0" * 24
        return await forward()

    meddler.meddle = meddle
    _, unknown = await listed_with_unknown(spoilt)

    assert [""] == [one.scope for one in unknown]
    assert len(meddler.asked) - before < 10


@pytest.mark.parametrize("code", [400, 403, 500, 503])
async def test_a_page_that_fails_for_good_makes_all_unknown(
    code: int, spoilt: Flywheel, meddler: Meddler
) -> None:
    await put(spoilt, *[text(f"s/e/a/f{n}") for n in range(5)])
    meddler.query = {"limit": "2"}

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == "/api/files" and "after_id" in request.query:
            return web.Response(status=code, text="<html>no</html>")
        return None

    meddler.meddle = meddle
    entries, unknown = await asyncio.wait_for(listed_with_unknown(spoilt), 20)

    assert len(entries) == 2
    assert [""] == [one.scope for one in unknown]


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>Log in</html>", content_type="text/html"),
        web.Response(text='{"total": 3, "results": [', content_type="application/json"),
        web.json_response({"total": 3, "results": {}}),
        web.json_response({"total": "3", "results": []}),
        web.json_response({"total": 3, "results": [{"name": "f"}]}),
        web.json_response({"total": 3, "results": []}),
        web.json_response([{"name": "f", "size": -1, "_id": "1"}]),
        web.json_response([{"name": "f", "size": 2**63, "_id": "1", "parent_ref": _HOLDER}]),
        web.json_response(
            [{"name": "f", "size": 1, "version": 2**63, "_id": "1", "parent_ref": _HOLDER}]
        ),
        web.json_response({"total": -1, "results": []}),
        web.json_response(None),
        web.json_response(7),
    ],
    ids=str,
)
async def test_a_list_that_cannot_be_believed_is_unknown_and_never_empty(
    answer: web.Response, spoilt: Flywheel, meddler: Meddler
) -> None:
    await put(spoilt, text("s/e/a/f"))
    body, kind = answer.body, answer.content_type

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == "/api/files":
            assert isinstance(body, bytes)
            return web.Response(body=body, content_type=kind)
        return None

    meddler.meddle = meddle
    entries, unknown = await listed_with_unknown(spoilt)

    assert entries == {}
    assert [""] == [one.scope for one in unknown]


@pytest.mark.parametrize("plural", ["sessions", "acquisitions"])
async def test_a_forbidden_list_leaves_its_scope_unknown(
    plural: str, spoilt: Flywheel, meddler: Meddler
) -> None:
    await put(spoilt, text("p"), text("s1/e/a/f"), text("s2/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if plural in request.path:
            return web.json_response({"message": "no"}, status=403)
        return None

    meddler.meddle = meddle
    entries, unknown = await listed_with_unknown(spoilt)

    assert set(entries) == {"p"}
    assert {one.scope for one in unknown} >= {"s1", "s2"}


async def test_a_project_that_is_gone_is_not_an_empty_one(
    spoilt: Flywheel, api: Api, project: Project
) -> None:
    await put(spoilt, text("s/e/a/f"))
    await api.json("DELETE", ("projects", project.id))

    with pytest.raises(NotFound):
        await listed(spoilt)


async def test_a_container_made_while_listing_is_looked_up(
    spoilt: Flywheel, meddler: Meddler, remote: Flywheel
) -> None:
    await put(remote, text("s/e/a/f"))
    more: list[str] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == "/api/files" and not more:
            more.append("t/e/a/f")
            await put(remote, text("t/e/a/f"))
        return None

    meddler.meddle = meddle

    assert {"s/e/a/f", "t/e/a/f"} == set(await listed(spoilt))


async def test_a_silent_server_ends_the_listing(spoilt: Flywheel, meddler: Meddler) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return cut(request)

    meddler.meddle = meddle
    with pytest.raises(Unavailable):
        await asyncio.wait_for(listed(spoilt), 20)


# ----------------------------------------------------------------------------- reading


async def test_a_server_that_ignores_ranges_is_read_past(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f", b"0123456789"))
    meddler.drop = {"range"}

    assert await content(spoilt, entry, 4) == b"456789"


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 4-9/11", "nonsense", ""])
async def test_another_range_than_was_asked_for_is_an_error(
    said: str, spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f", b"0123456789"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(status=206, body=b"012345", headers={"Content-Range": said})

    meddler.meddle = meddle
    with pytest.raises((Garbled, IntegrityError)):
        await content(spoilt, entry, 4)


@pytest.mark.parametrize("sent", [b"", b"01234", b"0123456789+"])
async def test_a_body_of_another_length_is_an_error(
    sent: bytes, spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f", b"0123456789"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(sent)
        return answer

    meddler.meddle = meddle
    with pytest.raises(IntegrityError):
        await content(spoilt, entry)


async def test_416_is_an_error_of_this_file(spoilt: Flywheel, meddler: Meddler) -> None:
    [entry] = await put(spoilt, text("s/e/a/f", b"0123456789"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(status=416)

    meddler.meddle = meddle
    with pytest.raises(RemoteError) as raised:
        await content(spoilt, entry, 4)

    assert raised.value.status == 416


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(data)
            member.linkname = "/etc/passwd"
            tar.addfile(member, io.BytesIO(data))
    return raw.getvalue()


FILE = tarfile.REGTYPE


async def test_only_what_was_asked_for_comes_out_of_an_archive(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    one, two, three = await put(spoilt, *[text(f"s/e/a/f{n}", b"12345") for n in range(3)])
    a = one.container.id
    archive = tar_of(
        ("../../etc/cron.d/x", FILE, b"evil"),
        (f"/acquisition/{a}/f0", FILE, b"evil"),
        (f"acquisition/{a}/../{a}/f0", FILE, b"evil"),
        (f"acquisition/{a}/f0", tarfile.SYMTYPE, b""),
        (f"acquisition/{a}/f0", FILE, b"12345"),
        (f"acquisition/{a}/f0", FILE, b"again"),
        (f"acquisition/{a}/f2.MISSING", FILE, b""),
        (f"acquisition/{'0' * 24}/f1", FILE, b"other"),
        (f"acquisitions/{a}/f1", FILE, b"12345"),
        (f"acquisition/{a}/f9", FILE, b"extra"),
    )

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(body=archive) if request.method == "GET" else None

    meddler.meddle = meddle
    got: dict[str, bytes] = {}
    async with spoilt.fetch([one, two, three]) as members:
        async for member in members:
            got[member.entry.path] = b"".join([chunk async for chunk in member.chunks])

    assert got == {"s/e/a/f0": b"12345", "s/e/a/f1": b"12345"}
    assert members.strays.counts == {
        Oddity.LEADS_OUT: 3,
        Oddity.LINK: 1,
        Oddity.DOUBLED: 1,
        Oddity.UNREADABLE: 1,
        Oddity.EXTRA: 1,
        Oddity.RENAMED: 1,
        Oddity.WITHHELD: 1,
        Oddity.MISCOUNTED: 1,
    }


async def test_a_cut_archive_gives_what_was_whole(spoilt: Flywheel, meddler: Meddler) -> None:
    entries = await put(spoilt, *[text(f"s/e/a/f{n}", b"x" * 1000) for n in range(3)])
    a = entries[0].container.id
    archive = tar_of(*[(f"acquisition/{a}/f{n}", FILE, b"x" * 1000) for n in range(3)])
    got: list[str] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(body=archive[:4000]) if request.method == "GET" else None

    async def read() -> None:
        async with spoilt.fetch(entries) as members:
            async for member in members:
                _ = [chunk async for chunk in member.chunks]
                got.append(member.entry.path)

    meddler.meddle = meddle
    with pytest.raises(Unavailable):
        await read()

    assert got == ["s/e/a/f0", "s/e/a/f1"]


@pytest.mark.parametrize("code", [400, 403, 404])
async def test_a_ticket_that_is_used_up_is_asked_for_again(
    code: int, spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        first = meddler.count("GET", "download") == 1 and meddler.count("POST", "download") == 1
        if (request.method, request.path) == ("GET", "/api/download") and first:
            return web.json_response({"message": "no such ticket"}, status=code)
        return None

    meddler.meddle = meddle
    async with spoilt.fetch([entry]) as members:
        got = [member.entry async for member in members]

    assert got == [entry]
    assert meddler.count("POST", "download") == 2


async def test_a_web_page_instead_of_an_archive_is_an_error(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(text="<html>" * 500) if request.method == "GET" else None

    async def read() -> None:
        async with spoilt.fetch([entry]) as members:
            _ = [member async for member in members]

    meddler.meddle = meddle
    with pytest.raises(Garbled):
        await read()


async def test_an_archive_much_larger_than_planned_is_not_read_to_its_end(
    spoilt: Flywheel, meddler: Meddler
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))
    header = tarfile.TarInfo(f"acquisition/{entry.container.id}/f")
    header.size = 2**40

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method != "GET":
            return None
        return web.Response(body=header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))

    async def read() -> None:
        async with spoilt.fetch([entry]) as members:
            _ = [member async for member in members]

    meddler.meddle = meddle
    with pytest.raises(FwsyncError):
        await read()


async def test_a_deletion_whose_answer_was_lost_is_done(spoilt: Flywheel, meddler: Meddler) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))
    tries = 0

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        nonlocal tries
        if request.method == "DELETE":
            tries += 1
            if tries == 1:
                await forward()
                return cut(request)
        return None

    meddler.meddle = meddle
    await spoilt.delete(entry)

    assert await listed(spoilt) == {}
