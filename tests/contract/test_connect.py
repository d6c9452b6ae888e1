"""One door: a site of today is known as one, and asked in its own way."""

from __future__ import annotations

from fwsync.layout import Layout
from fwsync.remotes.connect import Door, connect
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.remotes.site import Generation
from tests.contract.conftest import put, text


async def test_a_site_of_today_is_asked_as_one(api: Api, project: Project) -> None:
    site = await connect(api)
    remote = site.remote([project], Layout.parse(group="lab", project="aging"))

    assert Generation.CURRENT == site.site.generation
    assert isinstance(remote, Flywheel)
    assert (
        project == await site.resolve_project("lab/aging") == await site.project_by_id(project.id)
    )
    assert "@" in (await site.check_login()).id
    await put(remote, text("p"))
    assert [("file", "p")] == [(child.kind, child.label) for child in await site.ls("lab/aging")]


async def test_a_door_is_opened_once(api: Api) -> None:
    door = Door(api)
    before = api.requests

    assert await door.open() is await door.open()
    assert 1 == api.requests - before
