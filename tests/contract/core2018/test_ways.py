"""Several files by one request: only where the server's own search leads to the right place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from fwsync.errors import FileProblem
from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import RelPath
from fwsync.ports import RouteName, Sent
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.remotes.routes.choose import Ways
from fwsync.sandbox import Sandbox
from tests.contract.conftest import content, listed, put, text
from tests.contract.core2018.conftest import seen_by
from tests.contract.meddler import Forward, Meddler
from tests.fixtures.upload import Text


def going(api: Api, project: Project, who: Who, route: RouteName) -> Core2018:
    layout = Layout.parse(group=project.group, project=project.label)
    return Core2018(Asker(api, who), [project], layout, Ways(route))


@pytest.fixture
async def forms(
    meddler: Meddler, sandbox: Sandbox, project: Project, who: Who
) -> AsyncIterator[Core2018]:
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=2) as api:
        yield going(api, project, who, RouteName.FORM)


async def sent(remote: Core2018, uploads: Sequence[Text]) -> dict[str, Sent]:
    return {str(one.path): one async for one in remote.put(uploads)}


async def test_what_was_seen_of_a_file_is_known_on_the_way_that_it_falls_back_to(
    forms: Core2018, meddler: Meddler, remote: Core2018
) -> None:
    """A form that is refused leaves its files to the container's own form."""
    await put(forms, text("s/e/a/first"))
    path = RelPath("s/e/a/f")
    assert await forms.look(path) is None

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path != "/api/upload/label":
            return None
        await put(remote, text(path, b"theirs"))
        return web.json_response({"message": "No"}, status=400)

    meddler.meddle = meddle
    [one] = (await sent(forms, [text(path, b"ours")])).values()

    assert RouteName.MULTIPART == one.route
    assert isinstance(one.error, FileProblem)
    assert "replaced by this one" in one.error.message


@pytest.mark.parametrize("other", ["Aging", "aging", "old aging 2"])
async def test_a_project_that_a_form_could_take_for_ours_is_left_alone(
    other: str, forms: Core2018, meddler: Meddler, api: Api, project: Project, who: Who
) -> None:
    """It finds projects in any case, and would overwrite what has the same labels there."""
    made = await api.json("POST", ("projects",), body={"label": other, "group": "lab"})
    assert isinstance(made, dict)
    theirs = seen_by(api, Project("lab", other, made["_id"]), who)
    [entry] = await put(theirs, text("s/e/a/f", b"theirs"))

    told = await sent(forms, [text("s/e/a/f", b"ours"), text("s/e/a/g", b"ours")])

    assert {RouteName.MULTIPART} == {one.route for one in told.values()}
    assert 0 == meddler.count("POST", "upload/label")
    assert b"theirs" == await content(theirs, entry)
    assert [entry] == list((await listed(theirs)).values())
    assert {"s/e/a/f", "s/e/a/g"} == set(await listed(forms))


async def test_projects_of_other_groups_and_names_do_not_keep_files_from_the_form(
    forms: Core2018, meddler: Meddler, api: Api
) -> None:
    await api.json("POST", ("groups",), body={"_id": "other", "label": "Other"})
    for group, label in (("lab", "studies"), ("other", "aging")):
        await api.json("POST", ("projects",), body={"label": label, "group": group})

    for _ in range(2):
        told = await sent(forms, [text(f"s/e/a/f{n}") for n in range(3)])
        assert {RouteName.FORM} == {one.route for one in told.values()}

    assert (2, 1) == (meddler.count("POST", "upload/label"), meddler.count("GET", "projects"))


@pytest.mark.parametrize("path", ["s/e/a/é.nii", "s/é/a/f"])
async def test_names_that_are_not_ascii_go_to_their_container(
    path: str, forms: Core2018, remote: Core2018
) -> None:
    """In a form the server looks for the name of a part among those of the metadata: bytes
    among text, which it does not find, and drops."""
    told = await sent(forms, [text(path, b"odd"), text("s/e/a/plain")])

    assert (RouteName.MULTIPART, RouteName.FORM) == (
        told[path].route,
        told["s/e/a/plain"].route,
    )
    assert b"odd" == await content(remote, (await listed(remote))[path])


async def test_a_pack_whose_members_are_not_ascii_is_packed_here(
    api: Api, project: Project, who: Who, sandbox: Sandbox
) -> None:
    packs = going(api, project, who, RouteName.PACKFILE)
    members = [text("é.dcm", b"1"), text("b.dcm", b"2")]
    pack = Text(RelPath("s/e/T1/T1.zip"), b"PK", members=members)

    told = await sent(packs, [pack])

    assert RouteName.MULTIPART == told["s/e/T1/T1.zip"].route
    plain = Text(RelPath("s/e/T2/T2.zip"), b"PK", members=members[1:])
    assert RouteName.PACKFILE == (await sent(packs, [plain]))["s/e/T2/T2.zip"].route
