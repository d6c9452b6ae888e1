"""A sandbox with a store, a container in it, a root with files, and a state: what signed uploads
are tested with. Waits take no time."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fwsync.errors import FwsyncError
from fwsync.keys import parse_key
from fwsync.ledger import StateLedger
from fwsync.model import Level, RelPath, RemoteEntry
from fwsync.ports import Sent
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.signed import SignedRoute
from fwsync.remotes.site import Site
from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.stores import Dialect
from fwsync.sources import Source
from fwsync.state import StateThread, open_state
from tests.remotes.conftest import Clock
from tests.room.rooms import descriptor, local, plant

MiB = 1 << 20
STORES: tuple[Dialect, ...] = ("local", "s3", "azure", "gcs")

#: Bytes and switches by which a file of :data:`LONG` bytes goes in parts.
PARTS = {"signed_parts_from": 6 * MiB, "signed_part_size": 5 * MiB}
LONG = 16 * MiB


def long_ago(path: Path, by_s: int = 86_400) -> None:
    """As if it had been written then."""
    at = path.stat().st_mtime_ns - by_s * 10**9
    os.utime(path, ns=(at, at))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Desk:
    """Somebody who sends files by signed URLs into one container."""

    sandbox: Sandbox
    container: Container
    root: Path
    root_fd: int
    clock: Clock = field(default_factory=Clock)
    progress: list[tuple[str, int]] = field(default_factory=list)

    @asynccontextmanager
    async def api(self, **options: Any) -> AsyncIterator[Api]:
        clock = self.clock
        told: dict[str, Any] = {"patience_s": 30, "now": clock.now, "sleep": clock.sleep}
        key = parse_key(self.sandbox.api_key).secret
        async with Api(self.sandbox.url, key, **(told | {"random": lambda: 0.5} | options)) as api:
            yield api

    @asynccontextmanager
    async def route(self, *, ledger: bool = True, **options: Any) -> AsyncIterator[SignedRoute]:
        """As one run has it: connections and an open state of its own."""
        async with self.api(**options) as api:
            if not ledger:
                yield SignedRoute(api)
                return
            async with self.ledger() as kept:
                yield SignedRoute(api, kept)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[StateLedger]:
        state = await StateThread.open(partial(open_state, self.root.parent / "state.db"))
        try:
            yield StateLedger(state)
        finally:
            await state.close()

    def file(self, name: str, content: bytes, **told: Any) -> Source:
        """A file that was written long ago."""
        plant(self.root, {name: content})
        long_ago(self.root / name)
        return self.source(name, **told)

    def source(self, name: str, **told: Any) -> Source:
        def advanced(path: RelPath, count: int) -> None:
            self.progress.append((path, count))

        return Source(self.root_fd, local(self.root, name), advanced, **told)

    def parcel(self, source: Source) -> Parcel:
        return Parcel(source, self.container, source.path)

    async def send(self, route: SignedRoute, *sources: Source) -> list[Sent]:
        return [sent async for sent in route.send([self.parcel(one) for one in sources])]

    async def sent(self, route: SignedRoute, source: Source) -> RemoteEntry:
        """One file, which must arrive."""
        [sent] = await self.send(route, source)
        if sent.error is not None:
            raise sent.error
        assert sent.entry is not None
        assert sent.route == "signed"
        return sent.entry

    async def error(self, route: SignedRoute, source: Source) -> FwsyncError:
        """One file, which must not."""
        [sent] = await self.send(route, source)
        assert sent.error is not None, sent.entry
        return sent.error

    async def held(self) -> dict[str, bytes]:
        """Every file of the container; each has one version only."""
        found = {}
        async with self.api() as api:
            where = ("acquisitions", self.container.id)
            answer = await api.json("GET", where)
            assert isinstance(answer, dict)
            for entry in answer["files"]:
                assert entry["version"] == 1, entry
                async with api.stream((*where, "files", entry["name"])) as stream:
                    found[entry["name"]] = b"".join([chunk async for chunk in stream.chunks()])
        return found

    # ---------------------------------------------------------------------- what was asked

    def asked(self) -> list[tuple[str, str, int, int]]:
        """What matters of each request so far: what it was, its query, status and bytes.

        ``mint``, ``put`` or ``redeem``; and ``question`` for a PUT without a body.
        """
        found = []
        for one in self.sandbox.site.requests.recent:
            if one["method"] == "PUT":
                found.append(("put", one["query"], one["status"], one["received"]))
            elif one["method"] == "POST" and one["path"].endswith("/files"):
                minting = "ticket=&" in one["query"] or one["query"].endswith("ticket=")
                kind = "mint" if minting else "redeem"
                found.append((kind, one["query"], one["status"], one["received"]))
        return found

    def kinds(self) -> list[str]:
        return [one[0] for one in self.asked()]

    def put_bytes(self) -> int:
        return sum(one[3] for one in self.asked() if one[0] == "put")

    @contextmanager
    def fault(
        self, name: str, match: Mapping[str, Any], action: Mapping[str, Any]
    ) -> Iterator[Callable[[], int]]:
        """A rule while the context lasts; how often it fired."""
        faults = self.sandbox.site.faults
        faults.add({"id": name, "match": match, "action": action})
        try:
            yield lambda: faults.fired(name)
        finally:
            faults.remove(name)


@asynccontextmanager
async def desk(folder: Path, store: Dialect = "s3", **settings: Any) -> AsyncIterator[Desk]:
    """An empty container in a sandbox."""
    root = folder / "root"
    root.mkdir(parents=True)
    async with running_sandbox(folder / "sandbox", store=store, **settings) as sandbox:
        key = parse_key(sandbox.api_key).secret
        async with Api(sandbox.url, key, patience_s=10) as api:
            container = await container_in(api)
        sandbox.site.requests.clear()
        with descriptor(root) as root_fd:
            yield Desk(sandbox, container, root, root_fd)


async def container_in(api: Api) -> Container:
    """A new acquisition."""

    async def made(kind: str, **told: Any) -> str:
        answer = await api.json("POST", (f"{kind}s",), body={"label": kind, **told})
        assert isinstance(answer, dict)
        id_: str = answer["_id"]
        return id_

    await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
    project = await made("project", group="lab")
    subject = await made("subject", project=project)
    session = await made("session", project=project, subject={"_id": subject})
    acquisition = await made("acquisition", session=session)
    labels = ("lab", "project", "subject", "session", "acquisition")
    return Container(Level.ACQUISITION, acquisition, labels, RelPath(""), session)


#: A match for each of the steps.
MINT = {"method": "POST", "path": "/acquisitions/*/files", "query": {"ticket": ""}}
REDEEM = {"method": "POST", "path": "/acquisitions/*/files", "query": {"ticket": "?*"}}
PUT = {"method": "PUT"}

NO_SITE = Site()
