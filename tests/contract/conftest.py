"""A sandbox over real loopback HTTP, and what a test does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import RelPath, RemoteEntry, Unknown
from fwsync.ports import Remote, RemoteReader
from fwsync.remotes.flywheel import Flywheel, Project, resolve_project
from fwsync.remotes.http import Api
from fwsync.sandbox import Sandbox, running_sandbox
from tests.contract.meddler import Meddler, meddling
from tests.fixtures.upload import Text


def text(path: str, content: bytes = b"content") -> Text:
    return Text(RelPath(path), content)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with running_sandbox(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
async def meddler(sandbox: Sandbox) -> AsyncIterator[Meddler]:
    async with meddling(sandbox.url) as one:
        yield one


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    key = parse_key(sandbox.api_key).secret
    async with Api(sandbox.url, key, patience_s=10) as one:
        await one.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        yield one


@pytest.fixture
async def project(api: Api) -> Project:
    return await resolve_project(api, "lab/aging", create_project=True)


@pytest.fixture
def remote(api: Api, project: Project) -> Flywheel:
    return fresh(api, project)


#: How a project becomes a remote where its site is not one of today, by the project's id.
OTHERWISE: dict[str, Callable[[Api, Project], Any]] = {}


def fresh(api: Api, project: Project) -> Flywheel:
    """The project as another run sees it."""
    if project.id in OTHERWISE:
        made: Flywheel = OTHERWISE[project.id](api, project)
        return made
    return Flywheel(api, [project], Layout.parse(group=project.group, project=project.label))


async def put(remote: Remote, *uploads: Text) -> list[RemoteEntry]:
    """Send them; all must arrive."""
    entries: list[RemoteEntry] = []
    for upload in uploads:
        async for sent in remote.put([upload]):
            assert sent.error is None, sent.error
            assert sent.entry is not None
            entries.append(sent.entry)
    return entries


async def listed(remote: RemoteReader) -> dict[str, RemoteEntry]:
    """What the remote lists, by path; all of it must be known."""
    entries, unknown = await listed_with_unknown(remote)

    assert unknown == []
    return entries


async def listed_with_unknown(
    remote: RemoteReader,
) -> tuple[dict[str, RemoteEntry], list[Unknown]]:
    entries: dict[str, RemoteEntry] = {}
    unknown: list[Unknown] = []
    async for page in remote.entries():
        for one in page:
            if isinstance(one, Unknown):
                unknown.append(one)
            else:
                assert one.path not in entries
                entries[one.path] = one
    return entries, unknown


async def content(remote: RemoteReader, entry: RemoteEntry, offset: int = 0) -> bytes:
    async with remote.open(entry, offset=offset) as chunks:
        return b"".join([chunk async for chunk in chunks])
