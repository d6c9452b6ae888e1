"""Who we are at a site of 2018, which project is meant, and what is where."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fwsync.errors import UsageError
from fwsync.keys import parse_key
from fwsync.remotes.connect import Connection, connect
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.remotes.site import Generation
from fwsync.sandbox import Sandbox
from tests.contract.conftest import put, text
from tests.contract.meddler import Forward, Meddler


@pytest.fixture
async def through(
    meddler: Meddler, sandbox: Sandbox, project: Project
) -> AsyncIterator[Connection]:
    async with Api(meddler.url, parse_key(sandbox.api_key).secret) as api:
        yield await connect(api)


async def test_the_site_is_known_by_what_it_lacks_and_the_login_by_its_answer(
    meddler: Meddler, through: Connection, sandbox: Sandbox
) -> None:
    who = await through.check_login()

    assert Generation.CORE_2018 == through.site.generation
    assert (True, False, "@") == (who.is_admin, who.is_device, who.id[5])
    assert [("GET", f"/api/{path}") for path in ("config", "auth/status", "users/self")] == [
        one for one in meddler.asked if one[1] != "/api/projects"
    ]
    secret = parse_key(sandbox.api_key).secret
    assert secret not in f"{who!r}{through!r}{through.site!r}"


@pytest.mark.parametrize("has_config", [True, False])
async def test_what_is_no_flywheel_site_is_not_called_an_old_one(
    has_config: bool, meddler: Meddler, sandbox: Sandbox
) -> None:
    async def nothing_here(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path == "/api/config" and has_config:
            return web.json_response({})
        return web.Response(status=404, text="<title>Welcome</title>", content_type="text/html")

    meddler.meddle = nothing_here
    async with Api(meddler.url, parse_key(sandbox.api_key).secret) as api:
        with pytest.raises(UsageError, match="no Flywheel site"):
            await connect(api)


async def test_projects_are_found_in_each_form(site: Connection, project: Project) -> None:
    for form in ("lab/aging", "aging", "fw://lab/aging", f"<id:{project.id}>", "lab/aging/"):
        assert project == await site.resolve_project(form)
    assert project == await site.project_by_id(project.id)
    assert await site.project_by_id("0" * 24) is None
    assert await site.project_by_id("nonsense") is None


async def test_a_project_that_is_not_there_is_named_with_its_nearest(
    site: Connection, project: Project
) -> None:
    with pytest.raises(UsageError) as raised:
        await site.resolve_project("lab/agign")
    assert "did you mean lab/aging? --create-project makes lab/agign" == raised.value.hint
    with pytest.raises(UsageError) as raised:
        await site.resolve_project("lab/Aging", may_create=False)
    assert "did you mean lab/aging?" == raised.value.hint
    with pytest.raises(UsageError, match="no project with this id"):
        await site.resolve_project("<id:" + "0" * 24 + ">")


async def test_a_deleted_project_is_not_found(site: Connection, api: Api, project: Project) -> None:
    await api.json("DELETE", ("projects", project.id))

    assert await site.project_by_id(project.id) is None
    with pytest.raises(UsageError):
        await site.resolve_project("lab/aging")
    again = await site.resolve_project("lab/aging", create_project=True)
    assert again.id != project.id
    assert again == await site.resolve_project("lab/aging")


async def test_two_projects_of_one_name_are_told_by_their_ids(
    site: Connection, api: Api, project: Project
) -> None:
    body = {"label": "aging", "group": "lab"}
    second = await api.json("POST", ("projects",), body=body)
    assert isinstance(second, dict)

    with pytest.raises(UsageError) as raised:
        await site.resolve_project("lab/aging", create_project=True)

    assert f"<id:{project.id}>" in raised.value.message
    assert f"<id:{second['_id']}>" in raised.value.message
    assert second["_id"] == (await site.resolve_project(f"<id:{second['_id']}>")).id


async def test_a_group_is_never_made_and_never_made_again(
    through: Connection, meddler: Meddler
) -> None:
    with pytest.raises(UsageError, match="no group"):
        await through.resolve_project("nowhere/new", create_project=True)
    pretended = await through.resolve_project("lab/new", create_project=True, pretend=True)
    assert Project("lab", "new", "") == pretended
    assert 0 == meddler.count("POST", "projects")

    await through.resolve_project("lab/new", create_project=True)
    assert (1, 0) == (meddler.count("POST", "projects"), meddler.count("POST", "groups"))


async def test_of_two_hosts_that_make_one_project_at_once_both_use_the_older(
    through: Connection, meddler: Meddler, site: Connection
) -> None:
    theirs: list[Project] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if (request.method, request.path) == ("POST", "/api/projects"):
            theirs.append(await site.resolve_project("lab/new", create_project=True))
        return None

    meddler.meddle = meddle
    ours = await through.resolve_project("lab/new", create_project=True)

    assert theirs == [ours]
    assert ours == await site.resolve_project("lab/new")


async def test_ls_shows_each_level_with_subjects_and_without_what_was_deleted(
    remote: Core2018, site: Connection, api: Api
) -> None:
    await put(remote, text("s/e/a/f", b"12345"), text("s/e/g", b"22"), text("p", b"1"))
    await put(remote, text("%empty/e/a/f"), text("t/e/a/f"))
    [gone] = await put(remote, text("s/e/b/f"))
    await api.json("DELETE", ("acquisitions", gone.container.id))

    below = {
        path: [(child.kind, child.label, child.size) for child in await site.ls(path)]
        for path in (
            *("lab", "lab/aging", "lab/aging/s", "lab/aging/s/e", "lab/aging/s/e/a"),
            *("lab/aging/%empty/e", "lab/aging/s/e/a/f", "fw://lab/aging/p"),
        )
    }

    assert {("group", "lab", None)} <= {(c.kind, c.label, c.size) for c in await site.ls("")}
    assert below == {
        "lab": [("project", "aging", None)],
        "lab/aging": [
            ("subject", "%empty", None),
            ("subject", "s", None),
            ("subject", "t", None),
            ("file", "p", 1),
        ],
        "lab/aging/s": [("session", "e", None)],
        "lab/aging/s/e": [("acquisition", "a", None), ("file", "g", 2)],
        "lab/aging/s/e/a": [("file", "f", 5)],
        "lab/aging/%empty/e": [("acquisition", "a", None)],
        "lab/aging/s/e/a/f": [("file", "f", 5)],
        "fw://lab/aging/p": [("file", "p", 1)],
    }


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nowhere", "without a path"),
        ("lab/none", "`fwsync ls lab` "),
        ("lab/aging/no one/x", "`fwsync ls lab/aging` "),
        ("lab/aging/s/e/a/nope", "`fwsync ls lab/aging/s/e/a` "),
        ("lab/aging/s/e/a/f/deeper", "`fwsync ls lab/aging/s/e/a` "),
    ],
)
async def test_ls_of_nothing_says_where_to_look_instead(
    path: str, hint: str, remote: Core2018, site: Connection
) -> None:
    await put(remote, text("s/e/a/f"))
    with pytest.raises(UsageError) as raised:
        await site.ls(path)

    assert hint in raised.value.hint


async def test_somebody_without_a_role_finds_nothing(
    sandbox: Sandbox, project: Project, who: Who
) -> None:
    async with Api(sandbox.url, parse_key(sandbox.user_api_key).secret) as api:
        stranger = await connect(api)

        assert not (await stranger.check_login()).is_admin
        assert who.id != (await stranger.check_login()).id
        with pytest.raises(UsageError):
            await stranger.resolve_project("lab/aging")


async def test_a_member_of_a_project_need_not_be_one_of_its_group(
    sandbox: Sandbox, api: Api, project: Project
) -> None:
    async with Api(sandbox.url, parse_key(sandbox.user_api_key).secret) as through:
        user = await connect(through)
        body = {"_id": (await user.check_login()).id, "access": "ro"}
        await api.json("POST", ("projects", project.id, "permissions"), body=body)

        assert project == await user.resolve_project("lab/aging")
        assert ["aging"] == [child.label for child in await user.ls("lab")]
