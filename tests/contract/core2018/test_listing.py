"""What a server of 2018 lists: all of it, or what could not be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.errors import FileProblem, NotFound
from fwsync.keys import parse_key
from fwsync.model import RelPath
from fwsync.remotes.connect import connect
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.sandbox import Sandbox
from tests.contract.conftest import content, listed, listed_with_unknown, put, text
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler
from tests.sandbox.core2018.old import old_client


@pytest.fixture
async def spoilt(
    meddler: Meddler, sandbox: Sandbox, project: Project, who: Who
) -> AsyncIterator[Core2018]:
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=2) as api:
        yield seen_by(api, project, who)


async def made(api: Api, plural: str, **fields: object) -> str:
    answer = await api.json("POST", (plural,), body=fields)
    assert isinstance(answer, dict)
    return str(answer["_id"])


async def test_what_was_put_is_listed(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    uploads = [
        text("p.txt", b"project"),
        text("s1/e1/e.txt", b"session"),
        text("s1/e1/a1/a.txt", b"acquisition"),
        text("s1/e1/a1/empty", b""),
        text("s2/e1/a1/日本 ü.txt", b"another"),
    ]
    await listed(remote)
    answered = await put(remote, *uploads)

    seen = await listed(seen_by(api, project, who))

    assert {one.path: one for one in answered} == seen
    assert {one.path: one.digest for one in uploads} == {
        path: entry.digest for path, entry in seen.items()
    }
    for one in uploads:
        assert one.content == await content(remote, seen[one.path])


async def test_a_listing_is_three_requests_and_one_for_each_session(
    remote: Core2018, api: Api, meddler: Meddler, spoilt: Core2018
) -> None:
    await put(remote, *[text(f"s{n}/e/a{m}/f") for n in range(11) for m in range(2)])
    asked: list[tuple[str, str]] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        asked.append((request.method, request.query_string))
        return None

    meddler.meddle = meddle

    assert 22 == len(await listed(spoilt))
    assert 3 + 11 == len(asked)
    # What is archived is not gone; a site admin sees in lists what it is no member of.
    assert {("GET", "root=true&archived=true"), ("GET", "root=true")} == set(asked)


async def test_a_session_without_a_code_lies_in_the_folder_of_no_label(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    session = await made(api, "sessions", label="e", project=project.id)
    await made(api, "acquisitions", label="a", session=session)

    [entry] = await put(remote, text("%empty/e/a/f", b"nameless"))
    await put(remote, text("%empty/e2/a/f"))

    seen = await listed(seen_by(api, project, who))
    assert {"%empty/e/a/f", "%empty/e2/a/f"} == set(seen)
    assert entry == seen["%empty/e/a/f"]
    sessions = await api.json("GET", ("projects", project.id, "sessions"))
    assert isinstance(sessions, list)
    assert [False, False] == ["code" in one["subject"] for one in sessions]


async def test_sessions_of_one_label_and_two_codes_are_two(
    remote: Core2018, api: Api, project: Project
) -> None:
    await put(remote, text("s1/e/a/f", b"1"), text("s2/e/a/f", b"2"), text("s2/e/g", b"3"))

    assert {"s1/e/a/f", "s2/e/a/f", "s2/e/g"} == set(await listed(remote))
    sessions = await api.json("GET", ("projects", project.id, "sessions"))
    assert isinstance(sessions, list)
    assert [("s1", "e"), ("s2", "e")] == [(s["subject"]["code"], s["label"]) for s in sessions]


async def test_sessions_of_one_label_and_one_code_are_twins(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    await put(remote, text("s/e/f", b"first"))
    second = await made(api, "sessions", label="e", project=project.id, subject={"code": "s"})
    again = seen_by(api, project, who)
    await listed(again)
    await put(again, text(f"s/e%id={second}/f", b"second"), text("s/e/g"))

    seen = await listed(again)
    assert {"s/e/f", "s/e/g", f"s/e%id={second}/f"} == set(seen)
    assert b"first" == await content(again, seen["s/e/f"])
    assert second == seen[f"s/e%id={second}/f"].container.id


async def test_a_file_named_like_a_folder_steps_aside(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    [entry] = await put(remote, text("s/e/a", b"file"))
    await put(remote, text("s/e/a/f", b"below"))
    path = f"s/e/a%id={entry.container.id}"
    again = seen_by(api, project, who)

    seen = await listed(again)
    assert {path, "s/e/a/f"} == set(seen)
    assert await again.look(RelPath(path)) == seen[path]
    [changed] = await put(again, text(path, b"changed"))
    assert ("a", entry.container) == (changed.name, changed.container)


async def test_what_is_archived_is_listed_like_all_else(
    remote: Core2018, api: Api, project: Project
) -> None:
    [entry, *_] = await put(remote, text("s/e/a/f"), text("s/e/b/f"), text("t/e/a/f"))
    await api.json("PUT", ("acquisitions", entry.container.id), body={"archived": True})
    everything = await listed(remote)
    await api.json("PUT", ("projects", project.id), body={"archived": True})

    assert {"s/e/a/f", "s/e/b/f", "t/e/a/f"} == set(everything) == set(await listed(remote))


async def test_what_was_deleted_does_not_appear(remote: Core2018, api: Api) -> None:
    entries = await put(remote, *[text(f"s{n}/e{n}/a{n}/f{n}") for n in range(4)])
    session = await api.json("GET", ("acquisitions", entries[0].container.id))
    assert isinstance(session, dict)
    await api.json("DELETE", ("sessions", session["session"]))
    await api.json("DELETE", ("acquisitions", entries[1].container.id))
    await remote.delete(entries[2])

    assert {"s3/e3/a3/f3"} == set(await listed(remote))


async def test_the_file_of_a_subject_is_named_and_left_alone(
    remote: Core2018, sandbox: Sandbox
) -> None:
    await put(remote, text("s1/e/a/f"))
    metadata = {
        "group": {"_id": "lab"},
        "project": {"label": "aging"},
        "session": {"label": "e", "subject": {"code": "s1", "files": [{"name": "n.txt"}]}},
    }
    async with old_client(sandbox.url, sandbox.api_key) as old:
        answer = await old.place("label", metadata, n_txt=b"of the subject")
        assert 1 == len(answer.json)

    entries, unknown = await listed_with_unknown(remote)
    assert {"s1/e/a/f"} == set(entries)
    assert ["s1/n.txt"] == [one.scope for one in unknown]

    [sent] = [one async for one in remote.put([text("s1/m.txt")])]
    assert isinstance(sent.error, FileProblem)
    assert "subject" in sent.error.message
    with pytest.raises(FileProblem):
        await remote.look(RelPath("s1/m.txt"))


# --------------------------------------------------------------------------- what may be seen


async def test_who_is_no_member_sees_nothing_rather_than_an_empty_project(
    remote: Core2018, sandbox: Sandbox, project: Project
) -> None:
    await put(remote, text("s/e/a/f"))
    async with Api(sandbox.url, parse_key(sandbox.user_api_key).secret) as api:
        stranger = await (await connect(api)).check_login()
        entries, unknown = await listed_with_unknown(seen_by(api, project, stranger))

    assert ({}, [""]) == (entries, [one.scope for one in unknown])


async def test_a_public_project_is_not_believed_to_be_empty(
    remote: Core2018, meddler: Meddler, sandbox: Sandbox, project: Project
) -> None:
    """It opens for everybody, and its lists are empty for who is no member."""

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == f"/api/projects/{project.id}":
            return web.json_response({"_id": project.id, "permissions": [], "files": []})
        return web.json_response([])

    meddler.meddle = meddle
    async with Api(meddler.url, parse_key(sandbox.user_api_key).secret) as api:
        found = await listed_with_unknown(seen_by(api, project, Who("user@example.org")))

    assert ({}, [""]) == (found[0], [one.scope for one in found[1]])
    assert "no member" in found[1][0].reason


async def test_a_site_admin_who_is_no_member_sees_it_all(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    [entry] = await put(remote, text("s/e/a/f"))
    for place in (("projects", project.id), ("groups", "lab")):
        await api.json("DELETE", (*place, "permissions", who.id))

    assert [] == await api.json("GET", ("projects", project.id, "sessions"))
    assert {entry.path: entry} == await listed(remote)
    async with remote.fetch([entry]) as members:
        assert [entry] == [member.entry async for member in members]


async def test_a_right_that_is_taken_away_while_listing_leaves_all_unknown(
    remote: Core2018, api: Api, meddler: Meddler, sandbox: Sandbox, project: Project
) -> None:
    await put(remote, text("p"), *[text(f"s{n}/e/a/f") for n in range(3)])
    async with Api(meddler.url, parse_key(sandbox.user_api_key).secret) as through:
        user = await (await connect(through)).check_login()
        member = {"_id": user.id, "access": "rw"}
        await api.json("POST", ("projects", project.id, "permissions"), body=member)
        reader = seen_by(through, project, user)
        assert 4 == len(await listed(reader))

        async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            if request.path.endswith("/sessions"):
                answer = await forward()
                await api.json("DELETE", ("projects", project.id, "permissions", user.id))
                return answer
            if request.path.endswith("/acquisitions"):
                return web.json_response([])  # what one is no member of is left out
            return None

        meddler.meddle = meddle
        entries, unknown = await listed_with_unknown(reader)

    assert {} == entries
    assert "" in [one.scope for one in unknown]


@pytest.mark.parametrize(
    ("path", "scopes"), [("/sessions", {""}), ("/acquisitions", {"s1/e", "s2/e"})]
)
@pytest.mark.parametrize("code", [403, 500])
async def test_a_list_that_is_refused_leaves_its_scope_unknown(
    path: str, scopes: set[str], code: int, spoilt: Core2018, meddler: Meddler
) -> None:
    await put(spoilt, text("p"), text("s1/e/a/f"), text("s2/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path.endswith(path):
            return web.json_response({"message": "no"}, status=code)
        return None

    meddler.meddle = meddle
    entries, unknown = await listed_with_unknown(spoilt)

    assert not set(entries) - {"p"}
    assert scopes == {one.scope for one in unknown}


@pytest.mark.parametrize(
    "answer",
    [
        "<html>Log in</html>",
        '[{"_id": "1", "label": "a"',
        '{"results": []}',
        "null",
        "7",
        "[7]",
        '[{"label": "a"}]',
        '[{"_id": "1", "label": 7}]',
        '[{"_id": "1", "label": "a", "files": null}]',
        '[{"_id": "1", "label": "a", "files": [{"name": "f", "size": 1}]}]',
        '[{"_id": "1", "label": "a", "files": [{"name": "f", "size": -1, "hash": "x"}]}]',
        '[{"_id": "1", "label": "a", "files": [{"name": "f", "size": 9223372036854775808,'
        ' "hash": "x"}]}]',
        '[{"_id": "1", "label": "a", "files": [{"size": 1, "hash": "x"}]}]',
    ],
)
@pytest.mark.parametrize("path", ["/sessions", "/acquisitions"])
async def test_a_list_that_cannot_be_believed_is_unknown_and_never_shorter(
    answer: str, path: str, spoilt: Core2018, meddler: Meddler
) -> None:
    await put(spoilt, text("s/e/a/f"))

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path.endswith(path):
            return web.Response(text=answer, content_type="application/json")
        return None

    meddler.meddle = meddle
    entries, unknown = await listed_with_unknown(spoilt)

    assert {} == entries
    assert ["" if path == "/sessions" else "s/e"] == [one.scope for one in unknown]


@pytest.mark.parametrize("same", [True, False])
async def test_several_files_of_one_name_are_one_only_if_their_content_is(
    same: bool, spoilt: Core2018, meddler: Meddler
) -> None:
    """Simultaneous uploads of one name can leave several files of it."""
    [entry] = await put(spoilt, text("s/e/a/f"))
    other = entry.etag if same else "v0-sha384-" + "0" * 96

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if not request.path.endswith("/acquisitions"):
            return None
        files = [{"name": "f", "size": 7, "hash": hash_} for hash_ in (entry.etag, other)]
        return web.json_response([{"_id": entry.container.id, "label": "a", "files": files}])

    meddler.meddle = meddle
    entries, unknown = await listed_with_unknown(spoilt)

    assert (["s/e/a/f"] if same else []) == list(entries)
    assert ([] if same else ["s/e/a/f"]) == [one.scope for one in unknown]


async def test_a_project_that_is_deleted_while_it_is_listed_is_not_a_shorter_one(
    spoilt: Core2018, meddler: Meddler, api: Api, project: Project
) -> None:
    """Lists below what is gone are empty on this server, and no 404."""
    await put(spoilt, *[text(f"s{n}/e/a/f") for n in range(3)])

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if not request.path.endswith("/acquisitions"):
            return None
        if not gone:
            gone.append(True)
            await api.json("DELETE", ("projects", project.id))
        return None

    gone: list[bool] = []
    meddler.meddle = meddle
    with pytest.raises(NotFound, match="project lab/aging is gone"):
        await listed(spoilt)
