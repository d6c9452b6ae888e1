"""What every remote promises, asked of Flywheel's against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.digest import ContentHasher, Digest
from fwsync.errors import FileProblem, Forbidden, Refused, SourceChanged, Unreadable, UsageError
from fwsync.keys import parse_key
from fwsync.model import Level, RelPath
from fwsync.ports import Remote
from fwsync.remotes.body import Body
from fwsync.remotes.flywheel import (
    Flywheel,
    Project,
    check_login,
    ls,
    resolve_project,
)
from fwsync.remotes.http import Api
from fwsync.remotes.strays import Oddity
from fwsync.sandbox import Sandbox
from tests.contract.conftest import content, fresh, listed, put, text
from tests.contract.meddler import Forward, meddling
from tests.fixtures.upload import Text

ODD = [
    'quote"d',
    "back\\slash",
    "per%20cent",
    "50%",
    "%C3%A9",
    "a;b=c",
    "ünïcode 日本",
    "emoji 🧠",
    "new\nline",
    "tab\there",
    'semi; filename="x"',
    "plus+and&amp",
    "#hash?query",
    " leading and trailing ",
    "-dash",
    "<id:abc>",
    "files",
    "comma, and, more",
    "end\\",
    'q"; x',
]


def digest(data: bytes) -> Digest:
    hasher = ContentHasher()
    hasher.update(data)
    return hasher.digest


def test_a_flywheel_is_a_remote(api: Api) -> None:
    project = Project("lab", "aging", "1")
    remote: Remote = fresh(api, project)

    assert remote.features.fetch_limit > 1


async def test_an_empty_project_lists_nothing(remote: Flywheel) -> None:
    assert await listed(remote) == {}


async def test_what_was_put_is_listed(remote: Flywheel, api: Api, project: Project) -> None:
    uploads = [
        text("p.txt", b"project"),
        text("s1/s.txt", b"subject"),
        text("s1/e1/e.txt", b"session"),
        text("s1/e1/a1/a.txt", b"acquisition"),
        text("s1/e1/a1/empty", b""),
        text("s2/e1/a1/a.txt", b"another"),
    ]
    await listed(remote)
    answered = await put(remote, *uploads)

    seen = await listed(fresh(api, project))

    assert {one.path: one for one in answered} == seen
    assert {one.path: digest(one.content) for one in uploads} == {
        path: entry.digest for path, entry in seen.items()
    }
    assert {one.path: one.size for one in uploads} == {
        path: entry.size for path, entry in seen.items()
    }


@pytest.mark.parametrize("name", ODD)
async def test_odd_labels_and_names_come_back_as_they_were(
    name: str, remote: Flywheel, api: Api, project: Project
) -> None:
    layout = remote.layout
    folder = layout.container_path(("lab", "aging", name, name, name))
    path = layout.join(folder, layout.container_path(("lab", "aging", name)))

    [entry] = await put(remote, Text(path, b"odd"))

    assert await listed(fresh(api, project)) == {path: entry}
    assert await fresh(api, project).look(path) == entry
    assert await content(fresh(api, project), entry) == b"odd"
    await remote.delete(entry)
    assert await fresh(api, project).look(path) is None


async def test_a_second_put_is_a_new_version(remote: Flywheel) -> None:
    [first] = await put(remote, text("s/e/a/f", b"one"))
    [second] = await put(remote, text("s/e/a/f", b"two"))

    assert (first.version, second.version) == (1, 2)
    assert first.etag != second.etag
    assert await remote.look(RelPath("s/e/a/f")) == second
    assert await content(remote, first) == b"one"
    assert await content(remote, second) == b"two"


async def test_a_file_that_is_not_there_is_none(remote: Flywheel) -> None:
    await put(remote, text("s/e/a/f"))

    assert await remote.look(RelPath("s/e/a/g")) is None
    assert await remote.look(RelPath("s/e/b/f")) is None
    assert await remote.look(RelPath("t/e/a/f")) is None
    assert await remote.look(RelPath("f")) is None


async def test_deleting_twice_is_no_error(remote: Flywheel) -> None:
    [entry] = await put(remote, text("s/e/a/f"))

    await remote.delete(entry)
    await remote.delete(entry)

    assert await remote.look(entry.path) is None
    assert await listed(remote) == {}


@pytest.mark.parametrize("offset", [0, 1, 70_000, 299_999, 300_000])
async def test_a_file_is_read_from_any_offset(offset: int, remote: Flywheel) -> None:
    data = bytes(range(256)) * 1172
    [entry] = await put(remote, text("s/e/a/big", data[:300_000]))

    assert data[offset:300_000] == await content(remote, entry, offset)


async def test_many_files_come_by_one_ticket(remote: Flywheel) -> None:
    uploads = [text(f"s/e/a{n % 3}/f{n}", b"x" * (n * 700)) for n in range(20)]
    uploads += [text("s/e/a1/ünï code", b"u"), text("top", b"t"), text("s/e/a1/empty", b"")]
    entries = await put(remote, *uploads)
    gone = entries.pop(3)
    await remote.delete(gone)
    before = remote.requests

    got: dict[str, bytes] = {}
    async with remote.fetch([*entries, gone]) as members:
        async for member in members:
            got[member.entry.path] = b"".join([chunk async for chunk in member.chunks])
            assert member.size == len(got[member.entry.path])

    assert {one.path: one.content for one in uploads if one.path != gone.path} == got
    assert members.strays.counts == {Oddity.WITHHELD: 1}
    assert remote.requests - before == 2


async def test_members_may_be_left_unread(remote: Flywheel) -> None:
    entries = await put(remote, *[text(f"s/e/a/f{n}", b"x" * 5000) for n in range(5)])

    async with remote.fetch(entries) as members:
        seen = [member.entry.path async for member in members]

    assert sorted(seen) == [f"s/e/a/f{n}" for n in range(5)]


async def test_a_ticket_for_nothing_brings_nothing(remote: Flywheel) -> None:
    [entry] = await put(remote, text("s/e/a/f"))
    await remote.delete(entry)

    async with remote.fetch([entry]) as members:
        got = [member async for member in members]

    assert got == []


async def test_forty_uploads_at_once_make_one_acquisition(
    remote: Flywheel, api: Api, project: Project
) -> None:
    await asyncio.gather(*(put(remote, text(f"s/e/a/f{n}", b"%d" % n)) for n in range(40)))

    acquisitions = await api.json("GET", ("projects", project.id, "acquisitions"))
    sessions = await api.json("GET", ("projects", project.id, "sessions"))
    subjects = await api.json("GET", ("projects", project.id, "subjects"))

    assert isinstance(acquisitions, list)
    assert isinstance(sessions, list)
    assert isinstance(subjects, list)
    assert [1, 1, 1] == [len(subjects), len(sessions), len(acquisitions)]
    assert len(await listed(remote)) == 40


class Failing(Text):
    """A file that cannot be read to its end."""

    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        yield self.content[:-1]
        await asyncio.sleep(0)
        raise SourceChanged(f"{self.path}: changed while it was sent")


class Missing(Text):
    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        for chunk in list[bytes]():
            yield chunk
        raise Unreadable(f"{self.path}: cannot be opened")


class Longer(Text):
    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        yield self.content + b"more"


class Shorter(Text):
    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        yield self.content[:-2]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Failing, SourceChanged),
        (Missing, Unreadable),
        (Longer, SourceChanged),
        (Shorter, SourceChanged),
    ],
)
@pytest.mark.parametrize("size", [10, 400_000])
async def test_a_file_that_changes_while_it_is_sent_leaves_nothing_behind(
    kind: type[Text], expected: type[FileProblem], size: int, remote: Flywheel
) -> None:
    upload = kind(RelPath("s/e/a/f"), b"x" * size)

    [sent] = [one async for one in remote.put([upload])]

    assert type(sent.error) is expected
    assert sent.entry is None
    assert await listed(remote) == {}


async def test_names_that_the_server_would_change_are_refused(remote: Flywheel) -> None:
    [sent] = [one async for one in remote.put([text("s/e/a/a%2Fb")])]

    assert isinstance(sent.error, FileProblem)
    assert await listed(remote) == {}


async def test_paths_without_an_address_are_refused(remote: Flywheel) -> None:
    [sent] = [one async for one in remote.put([text("s/e/a/b/f")])]

    assert isinstance(sent.error, FileProblem)


async def test_siblings_with_one_label_have_stable_paths(
    remote: Flywheel, api: Api, project: Project
) -> None:
    await put(remote, text("s/e/a/f", b"first"))
    [session] = [child for child in await ls(api, "lab/aging/s") if child.kind == "session"]
    twin = await api.json("POST", ("acquisitions",), body={"label": "a", "session": session.id})
    assert isinstance(twin, dict)
    id_ = str(twin["_id"])
    body = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nsecond\r\n--b--'
    await _raw_upload(api, id_, body)

    remote = fresh(api, project)
    seen = await listed(remote)

    assert {"s/e/a/f", f"s/e/a%id={id_}/f"} == set(seen)
    assert await content(remote, seen["s/e/a/f"]) == b"first"
    # What is in the twin's folder goes to the twin, new files too.
    [more] = await put(remote, text(f"s/e/a%id={id_}/g"))
    assert more.container.id == id_
    assert (await remote.look(more.path)) == more


async def _raw_upload(api: Api, acquisition: str, body: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield body.encode()

    def make() -> Body:
        return Body(chunks(), len(body), content_type="multipart/form-data; boundary=b")

    await api.send(("acquisitions", acquisition, "files"), make)


async def test_a_file_named_like_a_folder_steps_aside(
    remote: Flywheel, api: Api, project: Project
) -> None:
    [entry] = await put(remote, text("s/e/a", b"file"))
    await put(remote, text("s/e/a/f", b"below"))
    remote = fresh(api, project)
    path = f"s/e/a%id={entry.file_id}"

    seen = await listed(remote)

    assert {path, "s/e/a/f"} == set(seen)
    assert await remote.look(RelPath(path)) == seen[path]
    [again] = await put(remote, text(path, b"changed"))
    assert (again.name, again.file_id, again.version) == ("a", entry.file_id, 2)


async def test_no_run_without_changes_needs_more_than_its_pages_and_five(
    remote: Flywheel, api: Api, project: Project
) -> None:
    await asyncio.gather(*(put(remote, text(f"s/e/a{n % 7}/f{n}")) for n in range(1100)))
    before = api.requests

    again = fresh(api, await resolve_project(api, "lab/aging"))
    seen = await listed(again)

    assert len(seen) == 1100
    assert api.requests - before <= 2 + 4


async def test_containers_that_the_listing_lacks_are_not_made_twice(
    remote: Flywheel, api: Api, project: Project
) -> None:
    await put(remote, text('s, "x"/e/a/f'))
    other = fresh(api, project)  # has not listed anything

    await put(other, text('s, "x"/e/a/g'))

    assert len(await listed(other)) == 2
    subjects = await api.json("GET", ("projects", project.id, "subjects"))
    assert isinstance(subjects, list)
    assert len(subjects) == 1


async def test_projects_are_found_in_each_form(api: Api, project: Project) -> None:
    for form in ("lab/aging", "aging", "fw://lab/aging", f"<id:{project.id}>", "lab/aging/"):
        assert project == await resolve_project(api, form)


async def test_a_project_that_is_not_there_is_named_with_its_nearest(
    api: Api, project: Project
) -> None:
    with pytest.raises(UsageError) as raised:
        await resolve_project(api, "lab/agign")

    assert "did you mean lab/aging? --create-project makes lab/agign" == raised.value.hint


async def test_a_command_that_makes_nothing_does_not_offer_to(api: Api, project: Project) -> None:
    with pytest.raises(UsageError) as raised:
        await resolve_project(api, "lab/agign", may_create=False)

    assert "did you mean lab/aging?" == raised.value.hint


async def test_the_name_that_was_typed_is_no_suggestion(
    sandbox: Sandbox, api: Api, project: Project
) -> None:
    """A server may list a project and have no way to look one up."""

    async def no_lookup(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path != "/api/lookup":
            return None
        return web.json_response({"message": "not found"}, status=404)

    async with meddling(sandbox.url) as meddler:
        meddler.meddle = no_lookup
        async with Api(meddler.url, parse_key(sandbox.api_key).secret) as through:
            with pytest.raises(UsageError) as raised:
                await resolve_project(through, "lab/aging", may_create=False)

    assert "lab/aging" not in raised.value.hint


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nowhere", "without a path"),
        ("lab/none", "`fwsync ls lab` "),
        ("lab/aging/no one/x", "`fwsync ls lab/aging` "),
        ("lab/aging/some one/x", "`fwsync ls 'lab/aging/some one'` "),
    ],
)
async def test_ls_of_nothing_says_where_to_look_instead(
    path: str, hint: str, api: Api, project: Project
) -> None:
    await api.json("POST", ("subjects",), body={"label": "some one", "project": project.id})
    with pytest.raises(UsageError) as raised:
        await ls(api, path)

    assert hint in raised.value.hint


async def test_a_site_that_asks_for_reasons_is_told_as_one(
    sandbox: Sandbox, remote: Flywheel, api: Api
) -> None:
    [entry] = await put(remote, text("s/e/a/f"))
    sandbox.site.switches = sandbox.site.switches.model_copy(update={"audit_trail": True})

    with pytest.raises(Refused) as raised:
        await remote.delete(entry)
    assert "delete_reason" in raised.value.message
    assert "audit trail" in raised.value.hint
    assert "FWSYNC_DELETE_REASON" in raised.value.hint

    with pytest.raises(Refused) as raised:
        await remote.delete(entry, reason="nonsense")
    assert "" == raised.value.hint


async def test_a_label_of_two_projects_is_not_guessed(api: Api, project: Project) -> None:
    await api.json("POST", ("groups",), body={"_id": "other", "label": "Other"})
    await resolve_project(api, "other/aging", create_project=True)

    with pytest.raises(UsageError) as raised:
        await resolve_project(api, "aging")

    assert "lab/aging" in raised.value.message
    assert "other/aging" in raised.value.message


async def test_a_group_is_never_made(api: Api) -> None:
    with pytest.raises(UsageError):
        await resolve_project(api, "nowhere/new", create_project=True)

    assert [child.label for child in await ls(api, "")] == ["lab"]


async def test_the_login_says_who_it_is(api: Api) -> None:
    who = await check_login(api)

    assert who.is_admin
    assert not who.is_device
    assert "@" in who.id


async def test_what_is_no_flywheel_site_is_not_called_an_old_one(sandbox: Sandbox) -> None:
    async def nothing_here(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return web.Response(status=404, text="<title>Welcome</title>", content_type="text/html")

    async with meddling(sandbox.url) as meddler:
        meddler.meddle = nothing_here
        async with Api(meddler.url, parse_key(sandbox.api_key).secret) as through:
            with pytest.raises(UsageError, match="no Flywheel site"):
                await check_login(through)


async def test_a_label_of_no_project_is_told_how_projects_are_named(
    api: Api, project: Project
) -> None:
    with pytest.raises(UsageError, match="GROUP/PROJECT"):
        await resolve_project(api, "lab")


async def test_ls_shows_each_level(remote: Flywheel, api: Api) -> None:
    await put(remote, text("s/e/a/f", b"12345"), text("p", b"1"))

    below = {
        path: [(child.kind, child.label, child.size) for child in await ls(api, path)]
        for path in ("", "lab", "lab/aging", "lab/aging/s/e/a")
    }

    assert below == {
        "": [("group", "lab", None)],
        "lab": [("project", "aging", None)],
        "lab/aging": [("subject", "s", None), ("file", "p", 1)],
        "lab/aging/s/e/a": [("file", "f", 5)],
    }


async def test_someone_without_a_role_is_refused(
    sandbox: Sandbox, api: Api, project: Project
) -> None:
    key = parse_key(sandbox.user_api_key).secret
    async with Api(sandbox.url, key) as stranger:
        with pytest.raises((UsageError, Forbidden)):
            await resolve_project(stranger, "lab/aging")

        remote = fresh(stranger, project)
        [sent] = [one async for one in remote.put([text("p")])]

    assert isinstance(sent.error, Forbidden)


async def test_levels_are_those_of_the_path(remote: Flywheel) -> None:
    entries = await put(remote, text("p"), text("s/f"), text("s/e/f"), text("s/e/a/f"))

    assert [one.container.level for one in entries] == [
        Level.PROJECT,
        Level.SUBJECT,
        Level.SESSION,
        Level.ACQUISITION,
    ]
