"""What the tests of sidecars and analyses share: a project that has both, and runs on it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fwsync import runs
from fwsync.layout import ANALYSES
from fwsync.metadata.sidecars import SUFFIX
from fwsync.model import Mode, Report
from tests.room.rooms import Ground, at_home, grown, key_file
from tests.sandbox.api import Api, client

TREE = {
    "s/e/a/scan.nii": b"scan",
    "s/e/a/notes.txt": b"notes",
    "s/e/session.json": b"{}",
    "top.json": b"{}",
}
BOTH = {"analyses": True, "metadata_files": True}
RUN = f"s/e/{ANALYSES}/fit 1"


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Each run has a loop of its own, in which its start and its end may block."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def flags(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    at_home(tmp_path, monkeypatch)
    return {"api_key_file": key_file(tmp_path, server.sandbox.api_key), "patience_s": 5}


@pytest.fixture
async def web(server: Ground) -> Any:
    async with client(server.sandbox.url, server.sandbox.api_key) as api:
        yield api


async def pull(root: Path, flags: dict[str, Any], **more: Any) -> Report:
    return await asyncio.to_thread(runs.run, Mode.DOWN, root, "lab/aging", {**flags, **more})


async def run(mode: Mode, root: Path, flags: dict[str, Any], **more: Any) -> Report:
    return await asyncio.to_thread(runs.run, mode, root, "lab/aging", {**flags, **more})


async def verify(root: Path, flags: dict[str, Any], **more: Any) -> Report:
    deep = more.pop("deep", False)
    return await asyncio.to_thread(
        lambda: runs.run_verify(root, "lab/aging", {**flags, **more}, deep=deep)
    )


async def the_id(web: Api, kind: str, label: str) -> str:
    found = await web.get(f"/{kind}", filter=f'label="{label}"')
    (one,) = found
    return str(one["_id"])


async def analyse(server: Ground, web: Api) -> str:
    """An analysis of the session ``e``: the scan went in, two files came out; its id."""
    session, acquisition = (
        await the_id(web, "sessions", "e"),
        await the_id(web, "acquisitions", "a"),
    )
    body = {
        "label": "fit 1",
        "info": {"model": "linear"},
        "inputs": [{"type": "acquisition", "id": acquisition, "name": "scan.nii"}],
    }
    made = str((await web.post(f"/sessions/{session}/analyses", body))["_id"])
    await web.upload(f"analyses/{made}", {"fit.csv": b"1,2", "log.txt": b"fine"})
    return made


async def exported(server: Ground, web: Api) -> dict[str, Any]:
    """The sidecars of the platform's own export, by what they speak of: file, or container."""
    answer = await web.ask(
        "POST",
        "/download/targets",
        params={"type": "full", "metadata": "true", "analyses": "true"},
        json={"nodes": [{"level": "project", "_id": server.project.id}]},
    )
    told = [json.loads(line) for line in answer.body.splitlines()]
    return {one["dst_path"]: one["metadata"] for one in told if one["download_type"] != "file"}


def sidecars(root: Path) -> dict[str, Any]:
    return {
        path: json.loads(content) for path, content in grown(root).items() if path.endswith(SUFFIX)
    }


async def filled(server: Ground, web: Api) -> str:
    await server.put(TREE)
    acquisition = await the_id(web, "acquisitions", "a")
    answer = await web.ask(
        "PATCH",
        f"/acquisitions/{acquisition}/files/scan.nii/info",
        json={"set": {"TR": 2.0, "é": ["ü"]}},
    )
    assert 200 == answer.status
    return await analyse(server, web)
