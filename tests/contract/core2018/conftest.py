"""The same tests, and more, against a server of 2018."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.remotes.connect import Connection, connect
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from fwsync.sandbox import Sandbox, running_sandbox
from tests.contract.conftest import OTHERWISE


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    switches = {"compat": "core-2018"}
    async with running_sandbox(tmp_path / "sandbox", switches=switches) as running:
        yield running


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    async with Api(sandbox.url, parse_key(sandbox.api_key).secret, patience_s=10) as one:
        await one.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        yield one


@pytest.fixture
async def site(api: Api) -> Connection:
    return await connect(api)


@pytest.fixture
async def who(site: Connection) -> Who:
    return await site.check_login()


@pytest.fixture
async def project(site: Connection, who: Who) -> AsyncIterator[Project]:
    made = await site.resolve_project("lab/aging", create_project=True)
    OTHERWISE[made.id] = lambda api, project: seen_by(api, project, who)
    yield made
    del OTHERWISE[made.id]


def seen_by(api: Api, project: Project, who: Who) -> Core2018:
    """The project as a run of somebody sees it."""
    layout = Layout.parse(group=project.group, project=project.label)
    return Core2018(Asker(api, who), [project], layout)


@pytest.fixture
def remote(api: Api, project: Project, who: Who) -> Core2018:
    return seen_by(api, project, who)
