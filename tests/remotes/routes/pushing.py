"""A project in a sandbox, and files that are pushed to it by one way or another.

Files go through the uploader as in a run: it judges, looks and sends again. Waits take no time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import Outcome, RelPath, RemoteEntry
from fwsync.ports import FormBy, Ledger, RouteName
from fwsync.remotes.flywheel import Flywheel, Project, resolve_project
from fwsync.remotes.http import Api
from fwsync.remotes.routes.choose import Ways
from fwsync.remotes.site import Site, ask_site
from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.stores import Dialect
from fwsync.uploader import Uploader
from tests.contract.meddler import Meddler
from tests.remotes.conftest import Clock
from tests.room.rooms import Tree, descriptor, plant, upload

#: A file at each level, several in one acquisition, an empty one, and names of all sorts.
TREE: Tree = {
    "project.json": b"{}",
    "s1/subject.txt": b"of the subject",
    "s1/e1/session.txt": b"of the session",
    "s1/e1/a1/empty.txt": b"",
    "s1/e1/a1/été 日本.txt": b"not ascii",
    's1/e1/a1/a "quoted" 100% name;.txt': b"hard to quote",
    **{f"s1/e1/a1/f{n:02}.dcm": bytes([n]) * (n * 100) for n in range(12)},
    **{f"s2/e1/a1/g{n}.nii": b"other subject" * n for n in range(1, 4)},
}

Fault = dict[str, Any]

#: The three ways in which one request fails.
FAULTS: dict[str, Fault] = {
    "reset": {"reset": True},
    "503": {"status": 503},
    "lost answer": {"reset": True, "when": "after"},
}


@dataclass
class Yard:
    """A project, and a key that may write to it."""

    sandbox: Sandbox
    api: Api
    project: Project
    site: Site
    clock: Clock
    folder: Path

    def remote(
        self,
        route: str = "auto",
        *,
        by: str = "label",
        api: Api | None = None,
        site: Site | None = None,
        ledger: Ledger | None = None,
    ) -> Flywheel:
        """The project as a run sees it that goes one way."""
        layout = Layout.parse(group=self.project.group, project=self.project.label)
        ways = Ways(RouteName(route), FormBy(by), ledger)
        return Flywheel(api or self.api, [self.project], layout, site=site or self.site, ways=ways)

    async def push(
        self,
        remote: Flywheel,
        tree: Tree,
        advanced: Callable[[RelPath, int], None] = lambda *_: None,
    ) -> list[Outcome]:
        """Send a tree of new files, as one batch."""
        root = plant(self.folder / "root", tree)
        with descriptor(root) as root_fd:
            uploader = Uploader(remote, root_fd, advanced, self.clock.sleep)
            return await uploader.send([upload(root, path) for path in sorted(tree)])

    async def listed(self) -> dict[str, RemoteEntry]:
        remote = self.remote()
        return {
            one.path: one
            async for page in remote.entries()
            for one in page
            if isinstance(one, RemoteEntry)
        }

    async def held(self) -> dict[str, bytes]:
        """Every file of the project as it is read back; path -> content."""
        remote, found = self.remote(), {}
        for path, entry in (await self.listed()).items():
            async with remote.open(entry) as chunks:
                found[path] = b"".join([chunk async for chunk in chunks])
        return found

    async def another(self, label: str) -> Yard:
        """The same with a project of its own."""
        project = await resolve_project(self.api, f"lab/{label}", create_project=True)
        return Yard(self.sandbox, self.api, project, self.site, self.clock, self.folder / label)

    def fail(self, *rules: Mapping[str, Any]) -> None:
        self.sandbox.site.faults.replace(list(rules))

    def asked(self) -> Counter[str]:
        """How often each address was asked: ``POST acquisitions/files``, without ids."""
        return Counter(
            " ".join([one["method"], _plain(one["path"])])
            for one in self.sandbox.site.requests.recent
        )

    def forget_requests(self) -> None:
        self.sandbox.site.requests.clear()

    async def record(self) -> Mapping[str, Any]:
        """All containers and file versions that this project ever had."""
        headers = {"Authorization": f"Bearer {parse_key(self.sandbox.api_key).secret}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self.sandbox.url}/sandbox/record") as answer,
        ):
            told = await answer.json()
        files = [one for one in told["files"] if one["project_id"] == self.project.id]
        return {"containers": told["containers"], "files": files}

    async def assert_once(self, tree: Tree) -> None:
        """Each file is there with its very bytes, was stored once, and no container has a twin."""
        assert await self.held() == tree
        record = await self.record()
        stored = Counter((one["container_id"], one["name"]) for one in record["files"])
        assert [one for one, times in stored.items() if times > 1] == []
        assert len(stored) == len(tree)
        siblings = Counter(
            (one["parent_id"], one["label"])
            for one in record["containers"]
            if one["kind"] != "group" and one["deleted"] is None
        )
        assert [one for one, times in siblings.items() if times > 1] == []


def _plain(path: str) -> str:
    steps = path.removeprefix("/api/").split("/")
    return "/".join(step for step in steps if len(step) != 24)


@asynccontextmanager
async def yard(
    folder: Path,
    switches: Mapping[str, Any] | None = None,
    *,
    device: bool = False,
    label: str = "aging",
    store: Dialect = "local",
) -> AsyncIterator[Yard]:
    """A sandbox with an empty project; with the key of a device, or of the admin."""
    told = dict(switches or {})
    async with running_sandbox(folder / "sandbox", switches=told, store=store) as sandbox:
        clock = Clock()
        async with patient_api(sandbox.url, parse_key(sandbox.api_key).secret, clock) as admin:
            await admin.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
            project = await resolve_project(admin, f"lab/{label}", create_project=True)
            site = await ask_site(admin)
            key = parse_key(sandbox.api_key).secret
            if device:
                made = await admin.json("POST", ("devices",), body={"label": "scanner"})
                assert isinstance(made, dict)
                key = parse_key(made["key"]).secret if ":" in made["key"] else made["key"]
            async with patient_api(sandbox.url, key, clock) as api:
                yield Yard(sandbox, api, project, site, clock, folder)


def patient_api(url: str, key: str, clock: Clock) -> Api:
    """An Api whose waits take no time."""
    return Api(url, key, patience_s=60, now=clock.now, sleep=clock.sleep, random=lambda: 0.5)


@asynccontextmanager
async def through(one: Yard, meddler: Meddler) -> AsyncIterator[Api]:
    """The admin's way to the server through somebody who spoils it."""
    async with patient_api(meddler.url, parse_key(one.sandbox.api_key).secret, one.clock) as api:
        yield api


def problems(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {str(one.decision.path): one.problem.message for one in outcomes if one.problem}


def routes(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {str(one.decision.path): one.route for one in outcomes}
