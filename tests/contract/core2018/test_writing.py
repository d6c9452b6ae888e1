"""Made once, sent once, and nothing overwritten unseen: on a server that keeps no guard itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from fwsync.errors import (
    AuthError,
    FileProblem,
    Forbidden,
    Garbled,
    NotFound,
    RemoteError,
)
from fwsync.keys import parse_key
from fwsync.model import RelPath, RemoteEntry
from fwsync.ports import Sent
from fwsync.remotes.connect import connect
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.remotes.strays import Oddity
from fwsync.sandbox import Sandbox
from tests.contract.conftest import content, listed, put, text
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler, cut
from tests.fixtures.upload import Text
from tests.remotes.conftest import Clock
from tests.sandbox.core2018.old import old_client


@pytest.fixture
async def spoilt(
    meddler: Meddler, sandbox: Sandbox, project: Project, who: Who
) -> AsyncIterator[Core2018]:
    """The remote as seen through the meddler, by someone whose waits take no time."""
    clock = Clock()
    key = parse_key(sandbox.api_key).secret
    async with Api(
        meddler.url, key, patience_s=60, now=clock.now, sleep=clock.sleep, random=lambda: 0.5
    ) as api:
        yield seen_by(api, project, who)


async def sent(remote: Core2018, *uploads: Text) -> list[Sent]:
    return [one async for one in remote.put(list(uploads))]


async def labels(api: Api, project: Project) -> list[str]:
    """Every session and acquisition that is alive, as its path."""
    sessions = await api.json("GET", ("projects", project.id, "sessions"))
    assert isinstance(sessions, list)
    found = []
    for one in sessions:
        way = f"{one['subject'].get('code', '')}/{one['label']}"
        below = await api.json("GET", ("sessions", one["_id"], "acquisitions"))
        assert isinstance(below, list)
        found += [way, *(f"{way}/{acquisition['label']}" for acquisition in below)]
    return sorted(found)


# ----------------------------------------------------------------------------------- making


async def test_forty_uploads_at_once_make_one_session_and_one_acquisition(
    remote: Core2018, api: Api, project: Project
) -> None:
    await asyncio.gather(*(put(remote, text(f"s/e/a/f{n}", b"%d" % n)) for n in range(40)))

    assert ["s/e", "s/e/a"] == await labels(api, project)
    assert 40 == len(await listed(remote))


async def test_a_subject_is_one_although_its_sessions_are_made_at_once(
    remote: Core2018, api: Api, project: Project
) -> None:
    await asyncio.gather(*(put(remote, text(f"s/e{n}/f")) for n in range(8)))

    sessions = await api.json("GET", ("projects", project.id, "sessions"))
    assert isinstance(sessions, list)
    assert (8, 1) == (len(sessions), len({one["subject"]["_id"] for one in sessions}))


@pytest.mark.parametrize("plural", ["sessions", "acquisitions"])
@pytest.mark.parametrize("after_listing", [False, True])
async def test_a_lost_answer_to_a_creation_makes_no_twin(
    plural: str,
    after_listing: bool,
    spoilt: Core2018,
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

    assert ["s/e", "s/e/a"] == await labels(api, project)
    assert 5 == len(await listed(spoilt))


@pytest.mark.parametrize("plural", ["sessions", "acquisitions"])
@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("theirs_first", [True, False])
async def test_of_two_hosts_that_make_one_container_at_once_both_use_the_older(
    plural: str,
    looked: bool,
    theirs_first: bool,
    spoilt: Core2018,
    meddler: Meddler,
    api: Api,
    project: Project,
    who: Who,
) -> None:
    other = seen_by(api, project, who)
    await put(other, text("s/e0/f"))

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) != ("POST", f"/api/{plural}") or second:
            return None
        second.append(True)
        if theirs_first:
            await put(other, text("s/e/a/theirs"))
            return None
        answer = await forward()
        await put(other, text("s/e/a/theirs"))
        return answer

    second: list[bool] = []
    if looked:
        assert await spoilt.look(RelPath("s/e/a/ours")) is None
    meddler.meddle = meddle
    await put(spoilt, text("s/e/a/ours"))

    assert ["s/e", "s/e/a", "s/e0"] == await labels(api, project)
    assert {"s/e/a/ours", "s/e/a/theirs", "s/e0/f"} == set(await listed(spoilt))


async def test_a_second_container_that_is_not_empty_any_more_is_not_taken_away(
    spoilt: Core2018, meddler: Meddler, api: Api, project: Project, sandbox: Sandbox
) -> None:
    """Somebody found it, and put something in it, before its maker looked again."""
    [first] = await put(spoilt, text("s/e/a/f"))
    session = await api.json("GET", ("acquisitions", first.container.id))
    assert isinstance(session, dict)

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) != ("POST", "/api/acquisitions"):
            return None
        body = {"label": "b", "session": session["session"]}
        await api.json("POST", ("acquisitions",), body=body)
        answer = await forward()
        assert isinstance(answer.body, bytes)
        async with old_client(sandbox.url, sandbox.api_key) as old:
            await old.put(f"acquisitions/{json.loads(answer.body)['_id']}", "x", b"theirs")
        return answer

    meddler.meddle = meddle
    await put(spoilt, text("s/e/b/g"))

    assert "DELETE" not in {method for method, _ in meddler.asked}
    assert ["s/e", "s/e/a", "s/e/b", "s/e/b"] == await labels(api, project)
    assert 3 == len(await listed(spoilt))


async def test_what_is_not_there_is_asked_for_once_by_all_the_files_below(
    spoilt: Core2018, meddler: Meddler
) -> None:
    """Sessions of other subjects have the same label, so that only the whole list tells."""
    await put(spoilt, text("s0/e/a/f"))
    before = len(meddler.asked)

    for subject, acquisition in (("s1", "a"), ("s1", "b"), ("s2", "a")):
        uploads = [text(f"{subject}/e/{acquisition}/f{n}") for n in range(20)]
        looked = await asyncio.gather(*(spoilt.look(one.path) for one in uploads))
        assert {None} == set(looked)
        assert not [one.error for one in await sent(spoilt, *uploads) if one.error]

    asked = Counter(
        re.sub("[0-9a-f]{24}", "ID", f"{method} {path}") for method, path in meddler.asked[before:]
    )
    assert {
        "POST /api/sessions": 2,
        "POST /api/acquisitions": 3,
        "GET /api/acquisitions/ID": 3,
    } == {
        what: number
        for what, number in asked.items()
        if what.split("/")[-1] in ("sessions", "acquisitions", "ID") and "projects" not in what
    }
    # Looking for each session, and once more when it was made: nothing for each file.
    assert (4, 10) == (asked["GET /api/projects/ID/sessions"], asked["POST /api/resolve"])


async def test_a_creation_that_is_refused_is_asked_for_once(
    spoilt: Core2018, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", "/api/sessions"):
            return web.json_response({"message": "read only"}, status=403)
        return None

    await listed(spoilt)
    meddler.meddle = meddle
    outcomes = [one for n in range(10) for one in await sent(spoilt, text(f"s/e/a/f{n}"))]

    assert [Forbidden] * 10 == [type(one.error) for one in outcomes]
    assert 1 == meddler.count("POST", "sessions")


async def test_a_creation_that_ends_in_500_is_not_repeated(
    spoilt: Core2018, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", "/api/sessions"):
            return web.json_response({"message": "Key was not found"}, status=500)
        return None

    meddler.meddle = meddle
    [one] = await sent(spoilt, text("s/e/a/f"))

    assert RemoteError is type(one.error)
    assert 1 == meddler.count("POST", "sessions")


async def test_a_search_by_label_that_ends_in_500_is_answered_by_a_list(
    spoilt: Core2018, api: Api, project: Project
) -> None:
    """So ends that of a label that is not there, beside a file whose name is not ASCII."""
    await put(spoilt, text("é", b"of the project"), text("s/e/é", b"of the session"))
    await put(spoilt, text("s/e/a/f"), text("s/e/b/f"), text("s/e2/g"))

    assert ["s/e", "s/e/a", "s/e/b", "s/e2"] == await labels(api, project)
    assert await spoilt.look(RelPath("s/e/no such/f")) is None


async def test_a_deleted_container_of_the_same_label_is_not_used_again(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    """The server's own search by label finds it."""
    await put(remote, text("s/e/a/f"), text("s/e2/a/f"))
    [old] = [one for one in (await listed(remote)).values() if one.path == "s/e/a/f"]
    answer = await api.json("GET", ("acquisitions", old.container.id))
    assert isinstance(answer, dict)
    await api.json("DELETE", ("sessions", answer["session"]))

    for again in (seen_by(api, project, who), remote):
        await listed(again)
        await put(again, text("s/e/a/g"))

    assert ["s/e", "s/e/a", "s/e2", "s/e2/a"] == await labels(api, project)
    assert {"s/e/a/g", "s/e2/a/f"} == set(await listed(remote))


async def test_a_container_that_went_away_is_made_anew(
    spoilt: Core2018, api: Api, project: Project
) -> None:
    [entry] = await put(spoilt, text("s/e/a/f"))
    await api.json("DELETE", ("acquisitions", entry.container.id))

    [one] = await sent(spoilt, text("s/e/a/g"))
    assert isinstance(one.error, NotFound)
    await put(spoilt, text("s/e/a/g"))

    assert {"s/e/a/g"} == set(await listed(spoilt))
    assert ["s/e", "s/e/a"] == await labels(api, project)


@pytest.mark.parametrize(
    "path", ["s/%empty/a/f", "s/e/%empty/f", "s/" + "e" * 250 + "%+/%+eeeeeeee/f"]
)
async def test_labels_that_the_server_cannot_have_are_problems_of_their_files(
    path: str, remote: Core2018, api: Api, project: Project
) -> None:
    [one] = await sent(remote, text(path))

    assert isinstance(one.error, FileProblem)
    assert {} == await listed(remote)


# ---------------------------------------------------------------------------------- sending


async def test_a_batch_is_confirmed_by_one_question_for_each_container(
    spoilt: Core2018, meddler: Meddler
) -> None:
    await put(spoilt, text("s/e/a/f"), text("s/e/b/f"))
    before = len(meddler.asked)

    outcomes = await sent(spoilt, *[text(f"s/e/{c}/g{n}") for c in "ab" for n in range(5)])

    assert 10 == len({one.path for one in outcomes if one.entry is not None})
    asked = meddler.asked[before:]
    assert (10, 2) == (
        len([path for method, path in asked if method == "POST" and path.endswith("/files")]),
        len([path for method, path in asked if method == "GET"]),
    )


async def test_a_file_that_went_into_a_deleted_container_did_not_arrive(
    spoilt: Core2018, meddler: Meddler, api: Api
) -> None:
    """The server takes files into what is gone: 200, a whole record, and nothing to be seen."""
    [entry] = await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            await api.json("DELETE", ("acquisitions", entry.container.id))
            answer = await forward()
            assert 200 == answer.status
            return answer
        return None

    meddler.meddle = meddle
    [one] = await sent(spoilt, text("s/e/a/g"))
    meddler.meddle = None

    assert isinstance(one.error, NotFound)
    await put(spoilt, text("s/e/a/g"))
    assert {"s/e/a/g"} == set(await listed(spoilt))


async def test_a_file_that_was_replaced_while_it_was_sent_is_a_problem(
    spoilt: Core2018, meddler: Meddler, remote: Core2018
) -> None:
    await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            answer = await forward()
            await put(remote, text("s/e/a/g", b"theirs"))
            return answer
        return None

    meddler.meddle = meddle
    [one] = await sent(spoilt, text("s/e/a/g", b"ours"))

    assert isinstance(one.error, FileProblem)
    assert (
        1 == sum(path.endswith("/files") for method, path in meddler.asked if method == "POST") - 1
    )


async def test_a_file_that_came_between_look_and_upload_is_said_to_be_replaced(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    await put(remote, text("s/e/a/f"))
    path = RelPath("s/e/a/g")

    assert await remote.look(path) is None
    await put(seen_by(api, project, who), text(path, b"theirs"))
    [one] = await sent(remote, text(path, b"ours"))

    assert isinstance(one.error, FileProblem)
    assert "replaced" in one.error.message
    # Whoever saw it there, and sends on purpose, is not told so.
    other = RelPath("s/e/a/h")
    assert await remote.look(other) is None
    await put(seen_by(api, project, who), text(other))
    for there in (path, other):
        assert await remote.look(there) is not None
        await put(remote, text(there, b"ours again"))


async def test_a_second_put_overwrites_and_keeps_no_version(remote: Core2018) -> None:
    [first] = await put(remote, text("s/e/a/f", b"one"))
    [second] = await put(remote, text("s/e/a/f", b"two2"))

    assert first.etag != second.etag
    assert second == await remote.look(RelPath("s/e/a/f"))
    assert b"two2" == await content(remote, second)


async def test_only_what_the_server_knows_is_said_of_a_file(remote: Core2018, api: Api) -> None:
    metadata = {"type": "dicom", "tags": ["x"], "info": {"a": 1}, "classification": {"Intent": []}}
    upload = Text(RelPath("s/e/a/f"), b"1", metadata=metadata | {"name": "other"})

    [entry] = await put(remote, upload)

    path = ("acquisitions", entry.container.id, "files", "f", "info")
    record = await api.json("GET", path)
    assert isinstance(record, dict)
    assert ("dicom", ["x"], {"a": 1}) == (record["type"], record["tags"], record["info"])


async def test_what_is_said_of_a_file_stays_when_its_bytes_are_replaced(
    spoilt: Core2018, api: Api, meddler: Meddler
) -> None:
    """The server sets what an upload does not speak of back to nothing."""
    said = {"type": "dicom", "tags": ["theirs"], "info": {"a": 1, "b": 1}, "modality": "MR"}
    [entry] = await put(spoilt, Text(RelPath("s/e/a/f"), b"1", metadata=said))
    again = Text(RelPath("s/e/a/f"), b"2", metadata={"tags": ["ours"], "info": {"b": 2, "c": 2}})
    before = len(meddler.asked)

    assert await spoilt.look(RelPath("s/e/a/f")) == entry
    await put(spoilt, again)

    assert 3 == len(meddler.asked) - before
    path = ("acquisitions", entry.container.id, "files", "f", "info")
    record = await api.json("GET", path)
    assert isinstance(record, dict)
    assert said | {"tags": ["theirs", "ours"], "info": {"a": 1, "b": 2, "c": 2}} == {
        key: record[key] for key in said
    }


async def test_a_key_that_is_refused_is_said_so(
    remote: Core2018, sandbox: Sandbox, project: Project, who: Who
) -> None:
    await put(remote, text("s/e/a/f"))
    async with Api(sandbox.url, "wrong" * 4) as api:
        [one] = await sent(seen_by(api, project, who), text("p"))
        assert isinstance(one.error, AuthError)
        with pytest.raises(AuthError):
            await connect(api)


async def test_a_member_who_may_only_read_is_refused_once_for_each_container(
    remote: Core2018, meddler: Meddler, api: Api, sandbox: Sandbox, project: Project
) -> None:
    await put(remote, text("s/e/a/f"))
    async with Api(meddler.url, parse_key(sandbox.user_api_key).secret) as through:
        user = await (await connect(through)).check_login()
        body = {"_id": user.id, "access": "ro"}
        await api.json("POST", ("projects", project.id, "permissions"), body=body)
        reader = seen_by(through, project, user)
        assert {"s/e/a/f"} == set(await listed(reader))
        outcomes = await sent(reader, *[text(f"s/e/a/g{n}") for n in range(5)])

    assert [Forbidden] * 5 == [type(one.error) for one in outcomes]
    assert 1 == sum(path.endswith("/files") for method, path in meddler.asked if method == "POST")


# ---------------------------------------------------------------------------------- fetching


async def fetched(remote: Core2018, entries: Sequence[RemoteEntry]) -> dict[str, bytes]:
    got: dict[str, bytes] = {}
    async with remote.fetch(entries) as members:
        async for member in members:
            got[member.entry.path] = b"".join([chunk async for chunk in member.chunks])
    return got


async def test_many_files_come_by_one_ticket(remote: Core2018) -> None:
    uploads = [text(f"s/e/a{n % 3}/f{n}", b"x" * (n * 700)) for n in range(20)]
    uploads += [text("s/e/a1/ünï code 日本", b"u"), text("top", b"t"), text("s/e/f", b"")]
    entries = await put(remote, *uploads)
    before = remote.requests

    got = await fetched(remote, entries)

    assert {one.path: one.content for one in uploads} == got
    assert 2 == remote.requests - before


async def test_what_a_ticket_brought_once_comes_by_itself_the_second_time(
    remote: Core2018, meddler: Meddler, spoilt: Core2018
) -> None:
    """A ticket may hold an old content of a name; what was wrong once is asked for by name."""
    entries = await put(spoilt, *[text(f"s/e/a/f{n}", b"%d" % n) for n in range(3)])
    await fetched(spoilt, entries[:2])
    before = len(meddler.asked)

    assert 3 == len(await fetched(spoilt, entries))

    alone = [path for _, path in meddler.asked[before:] if "/files/" in path]
    assert ["f0", "f1"] == [path.rpartition("/")[2] for path in alone]
    assert 3 == len(await fetched(spoilt, entries))


async def test_what_a_ticket_does_not_bring_comes_by_itself(
    spoilt: Core2018, meddler: Meddler
) -> None:
    entries = await put(spoilt, *[text(f"s/e/a/f{n}", b"%d" % n) for n in range(3)])

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "POST":
            return web.json_response({"message": "No files requested could be found"}, status=404)
        return None

    meddler.meddle = meddle

    assert {one.path: one.path[-1].encode() for one in entries} == await fetched(spoilt, entries)


@pytest.mark.parametrize(
    ("status", "message"), [(400, "ticket not for this source IP"), (404, "no such ticket")]
)
async def test_files_come_one_by_one_where_no_ticket_is_taken(
    status: int, message: str, spoilt: Core2018, meddler: Meddler
) -> None:
    """As behind two proxies, where each request comes from another address."""
    entries = await put(spoilt, *[text(f"s/e/a/f{n}", b"%d" % n) for n in range(3)])

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("GET", "/api/download"):
            return web.json_response({"message": message}, status=status)
        return None

    meddler.meddle = meddle

    assert {one.path: one.path[-1].encode() for one in entries} == await fetched(spoilt, entries)


async def test_an_archive_with_fewer_members_than_announced_is_told_of(
    spoilt: Core2018, meddler: Meddler
) -> None:
    entries = await put(spoilt, *[text(f"s/e/a/f{n}", b"%d" % n) for n in range(3)])

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) != ("POST", "/api/download"):
            return None
        answer = await forward()
        assert isinstance(answer.body, bytes)
        return web.json_response(json.loads(answer.body) | {"file_cnt": 4})

    meddler.meddle = meddle

    assert 3 == len(await fetched(spoilt, entries))
    assert {Oddity.MISCOUNTED: 1} == spoilt.strays.counts
    assert "4 files of 3 bytes promised, 3 files of 3 bytes sent" in spoilt.strays.notes[0]


async def test_a_ranged_read_names_its_last_byte(spoilt: Core2018, meddler: Meddler) -> None:
    [entry] = await put(spoilt, text("s/e/a/f", b"0123456789"))
    asked: list[tuple[str | None, str]] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        asked.append((request.headers.get("Range"), request.query.get("view", "")))
        return None

    meddler.meddle = meddle

    assert b"456789" == await content(spoilt, entry, 4)
    assert [("bytes=4-9", "true")] == asked


async def test_nothing_is_asked_by_head(spoilt: Core2018, meddler: Meddler) -> None:
    entries = await put(spoilt, text("s/e/a/f"), text("s/e/a/g"))
    await listed(spoilt)
    await fetched(spoilt, entries)
    await spoilt.delete(entries[0])
    await spoilt.delete(entries[0])

    assert {"GET", "POST", "DELETE"} == {method for method, _ in meddler.asked}


async def test_an_answer_without_a_hash_is_not_believed(spoilt: Core2018, meddler: Meddler) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/files"):
            return web.json_response([{"name": "p", "size": 7}])
        return None

    meddler.meddle = meddle
    [one] = await sent(spoilt, text("p"))

    assert isinstance(one.error, Garbled)


async def test_a_form_names_its_part_so_that_every_disk_can_hold_it(
    spoilt: Core2018, meddler: Meddler
) -> None:
    """The server writes the part to a path of that name; the name that counts is beside it."""
    name = 'q"' * 100 + "日本\\ .nii.gz"
    sent_as: list[bytes] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path.endswith("/files"):
            sent_as.extend(re.findall(rb'filename="([^"]*)"', await request.read()))
        return None

    meddler.meddle = meddle
    [entry] = await put(spoilt, text(f"s/e/a/{name}"))

    assert name == entry.name
    [part] = sent_as
    assert len(part) <= 100
    assert part.endswith(b".nii.gz")
    assert re.fullmatch(rb"[0-9A-Za-z._-]+", part)
