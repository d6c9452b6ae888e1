"""Children asked for by label: no more requests than one by one would cost, and no idle wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import Level, RelPath
from fwsync.remotes import flywheel_children
from fwsync.remotes.flywheel import Flywheel, Project, resolve_project
from fwsync.remotes.flywheel_children import Children
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from fwsync.sandbox import Sandbox, running_sandbox
from tests.contract.conftest import put
from tests.contract.meddler import Forward, meddling
from tests.fixtures.upload import Text


@asynccontextmanager
async def project_with(
    sandbox: Sandbox, url: str, subjects: int
) -> AsyncIterator[tuple[Api, Project, Container]]:
    """A project that has some subjects."""
    async with Api(url, parse_key(sandbox.api_key).secret, patience_s=10) as api:
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        project = await resolve_project(api, "lab/aging", create_project=True)
        for n in range(subjects):
            body = {"code": f"s{n}", "label": f"s{n}", "project": project.id}
            await api.json("POST", ("subjects",), body=body)
        labels = (project.group, project.label)
        yield api, project, Container(Level.PROJECT, project.id, labels, RelPath(""), project.group)


async def test_a_list_that_was_too_long_is_not_asked_for_again(tmp_path: Path) -> None:
    """Each of a thousand new subjects would cost two pages of the old ones."""
    async with (
        running_sandbox(tmp_path / "sandbox", switches={"page_limit": 2}) as sandbox,
        project_with(sandbox, sandbox.url, 9) as (api, _, parent),
    ):
        children = Children(api)
        for n in range(3):  # the second of them finds out
            assert [] == await children.ids_lately(parent, f"new{n}")
        assert not any([await children.ids(parent, f"new{n}") for n in range(2)])

        before = api.requests
        for n in range(3, 7):
            assert [] == await children.ids_lately(parent, f"new{n}")
        alone = api.requests - before
        told = await asyncio.gather(*(children.ids(parent, f"s{n}") for n in range(4)))

        assert 4 == alone
        assert [1] * 4 == [len(ids) for ids in told]
        assert 4 + 4 == api.requests - before


async def test_second_questions_that_come_together_are_one_list(tmp_path: Path) -> None:
    async with (
        running_sandbox(tmp_path / "sandbox") as sandbox,
        project_with(sandbox, sandbox.url, 2) as (api, _, parent),
    ):
        children = Children(api)
        assert [] == await children.ids_lately(parent, "new")

        before = api.requests
        labels = ["s0", "s1", *(f"new{n}" for n in range(8))]
        told = await asyncio.gather(*(children.ids_lately(parent, label) for label in labels))

        assert [1, 1, *[0] * 8] == [len(ids) for ids in told]
        assert 1 == api.requests - before


async def test_who_hears_that_a_label_is_taken_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least of all for itself."""
    monkeypatch.setattr(flywheel_children, "GATHER_S", 3600.0)
    async with (
        running_sandbox(tmp_path / "sandbox") as sandbox,
        meddling(sandbox.url) as meddler,
        project_with(sandbox, meddler.url, 0) as (api, project, _),
    ):
        layout = Layout.parse(group=project.group, project=project.label)
        remote = Flywheel(api, [project], layout)
        meddler.meddle = another_makes_it_first

        await asyncio.wait_for(put(remote, Text(RelPath("s/e/f"), b"content")), 20)

        found = await api.json("GET", ("projects", project.id, "subjects"))
        assert isinstance(found, list)
        assert ["s"] == [one["label"] for one in found]


async def another_makes_it_first(
    request: web.Request, forward: Forward
) -> web.StreamResponse | None:
    """Ours is sent twice, and the second answer is what comes: it is there already."""
    if request.method == "POST" and request.path.endswith("/subjects"):
        await forward()
    return None
