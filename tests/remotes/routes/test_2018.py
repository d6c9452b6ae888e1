"""The ways on which core of 2018 takes several files at once, each into its own container."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.ledger import StateLedger
from fwsync.model import Decision, Outcome, PackMember, RelPath, RemoteEntry, Verb
from fwsync.packing import pack_entry
from fwsync.ports import Ledger, RouteName, Sent, Upload
from fwsync.remotes.connect import Connection, SiteRemote, connect
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.remotes.routes.choose import Ways
from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.state import StateThread, open_state
from fwsync.uploader import Uploader
from tests.fixtures.upload import Text
from tests.remotes.conftest import Clock
from tests.remotes.routes.pushing import FAULTS, patient_api, problems, routes
from tests.room.rooms import Tree, descriptor, local, plant, upload

T = TypeVar("T")

TREE: Tree = {
    "project.json": b"{}",
    "s1/e1/session.txt": b"of the session",
    **{f"s1/e1/a1/f{n:02}.dcm": bytes([n]) * (n * 100) for n in range(12)},
    "s2/e1/a1/été.nii": b"other subject",
}
SLICES = {f"{n:03}.dcm": bytes([n]) * (100 + n) for n in range(70)}


@dataclass
class Old:
    """A project at a site of 2018."""

    sandbox: Sandbox
    api: Api
    site: Connection
    project: Project
    clock: Clock
    folder: Path

    def remote(self, route: str, ledger: Ledger | None = None) -> SiteRemote:
        layout = Layout.parse(group="lab", project=self.project.label)
        ways = Ways(RouteName(route), ledger=ledger)
        return self.site.remote([self.project], layout, ways)

    async def push(self, route: str, tree: Tree) -> list[Outcome]:
        root = plant(self.folder / "root", tree)
        with descriptor(root) as root_fd:
            sender = Uploader(self.remote(route), root_fd, lambda *_: None, self.clock.sleep)
            return await sender.send([upload(root, path) for path in sorted(tree)])

    async def held(self) -> dict[str, bytes]:
        remote, found = self.remote("auto"), {}
        listed = [
            one async for page in remote.entries() for one in page if isinstance(one, RemoteEntry)
        ]
        for entry in listed:
            async with remote.open(entry) as chunks:
                assert entry.path not in found
                found[str(entry.path)] = b"".join([chunk async for chunk in chunks])
        return found

    def asked(self, method: str, ending: str) -> int:
        return sum(
            one["method"] == method and one["path"].endswith(ending)
            for one in self.sandbox.site.requests.recent
        )


@asynccontextmanager
async def old(folder: Path) -> AsyncIterator[Old]:
    async with running_sandbox(folder / "sandbox", switches={"compat": "core-2018"}) as sandbox:
        clock = Clock()
        async with patient_api(sandbox.url, parse_key(sandbox.api_key).secret, clock) as api:
            await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
            site = await connect(api)
            project = await site.resolve_project("lab/aging", create_project=True)
            yield Old(sandbox, api, site, project, clock, folder)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Old]:
    async with old(tmp_path) as one:
        yield one


@pytest.mark.parametrize("route", ["auto", "multipart", "packfile", "form"])
async def test_the_same_tree_arrives_by_every_way(there: Old, route: str) -> None:
    outcomes = await there.push(route, TREE)

    assert problems(outcomes) == {}
    assert await there.held() == TREE
    went = set(routes(outcomes).values())
    # A name that is not ASCII goes to its container.
    assert went == ({"form", "multipart"} if route == "form" else {"multipart"})


async def test_small_files_of_one_container_go_by_one_form_and_one_look(there: Old) -> None:
    await there.push("form", TREE)

    assert there.asked("POST", "/upload/label") == 3
    assert there.asked("POST", "/files") == 1


async def test_the_record_of_a_form_is_that_of_the_listing(there: Old) -> None:
    outcomes = await there.push("form", TREE)
    listed = {
        one.path: one
        async for page in there.remote("auto").entries()
        for one in page
        if isinstance(one, RemoteEntry)
    }
    sent = {one.decision.path: one.remote for one in outcomes}
    assert {path: one and one.etag for path, one in sent.items()} == {
        path: one.etag for path, one in listed.items()
    }


async def test_a_container_that_was_deleted_swallows_nothing_for_good(there: Old) -> None:
    """By labels this server finds what was deleted, takes the files, and shows none of them."""
    assert problems(await there.push("form", {"s1/e1/a1/first": b"1"})) == {}
    record = next(
        one for one in there.sandbox.site.requests.recent if "/acquisitions/" in one["path"]
    )
    gone = record["path"].split("/acquisitions/")[1].split("/")[0]
    await there.api.json("DELETE", ("acquisitions", gone), params={"root": True})

    first = await there.push("form", TREE)
    lost = set(problems(first))
    assert lost == {path for path in TREE if path.startswith("s1/e1/a1/")}
    again = await there.push("auto", {path: TREE[path] for path in lost})
    assert problems(again) == {}
    assert await there.held() == TREE


async def test_somebody_elses_file_is_not_replaced_without_a_word(there: Old) -> None:
    remote = there.remote("form")
    assert isinstance(remote, Core2018)
    put = remote.put
    root = plant(there.folder / "root", {"s1/e1/a1/f": b"ours", "s1/e1/a1/g": b"ours too"})

    async def after_somebody(batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        theirs = Text(RelPath("s1/e1/a1/f"), b"theirs")
        assert [one.error async for one in there.remote("auto").put([theirs])] == [None]
        async for one in put(batch):
            yield one

    remote.put = after_somebody  # type: ignore[method-assign]  # between the look and the form
    with descriptor(root) as root_fd:
        sender = Uploader(remote, root_fd, lambda *_: None, there.clock.sleep)
        outcomes = await sender.send([upload(root, f"s1/e1/a1/{name}") for name in "fg"])

    assert list(problems(outcomes)) == ["s1/e1/a1/f"]
    assert "a moment before" in problems(outcomes)["s1/e1/a1/f"]


ZIP = RelPath("s/e/T1/T1.zip")


async def push_pack(there: Old, ledger: Ledger | None = None) -> Outcome:
    root = plant(there.folder / "root", {f"s/e/T1/{name}": SLICES[name] for name in SLICES})
    members = [PackMember(name, local(root, f"s/e/T1/{name}")) for name in SLICES]
    entry = pack_entry(ZIP, "dicom", members)
    with descriptor(root) as root_fd:
        remote = there.remote("packfile", ledger)
        sender = Uploader(remote, root_fd, lambda *_: None, there.clock.sleep)
        (outcome,) = await sender.send([Decision(Verb.UPLOAD, ZIP, entry)])
    return outcome


async def unpacked(there: Old) -> dict[str, bytes]:
    """The one file that the project holds, opened."""
    ((path, content),) = (await there.held()).items()
    assert path == ZIP
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        names = [name for name in opened.namelist() if not name.endswith("/")]
        return {name.rpartition("/")[2]: opened.read(name) for name in names}


async def test_the_server_packs_and_the_zip_is_where_it_belongs(there: Old) -> None:
    outcome = await push_pack(there)

    assert problems([outcome]) == {}
    assert outcome.route == "packfile"
    assert await unpacked(there) == SLICES


async def test_a_later_run_knows_the_zip_that_the_server_made_of_a_pack(there: Old) -> None:
    state = await StateThread.open(lambda: open_state(there.folder / "state.db"))
    try:
        outcome = await push_pack(there, StateLedger(state))
        (asked,) = await StateLedger(state).all()
    finally:
        await state.close()

    assert outcome.local is not None
    assert asked.stamp == outcome.local.etag
    later = there.remote("auto")
    ((entry,),) = [page async for page in later.entries() if page]
    assert isinstance(entry, RemoteEntry)
    sizes = {name: len(content) for name, content in SLICES.items()}
    assert await later.has_made(entry, asked, sizes)
    assert not await later.has_made(entry, asked, {**sizes, "another.dcm": 1})


@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_of_a_packfile_fails_there_is_one_zip(
    there: Old, fault: str
) -> None:
    for number in range(1, 1000):
        other = await another(there, number)
        fired, outcome = await failing(other, number, fault, push_pack(other))
        assert problems([outcome]) == {}, number
        assert await unpacked(other) == SLICES
        if not fired:  # there were no more requests than that
            break
    assert number > 8


async def another(there: Old, number: int) -> Old:
    project = await there.site.resolve_project(f"lab/p{number}", create_project=True)
    folder = there.folder / str(number)
    return Old(there.sandbox, there.api, there.site, project, there.clock, folder)


async def failing(there: Old, number: int, fault: str, work: Awaitable[T]) -> tuple[int, T]:
    """Do something while the n-th request fails; whether there was one."""
    rule = {"match": {"hits": {"nth": number}}, "action": FAULTS[fault]}
    there.sandbox.site.faults.replace([rule])
    done = await work
    fired = there.sandbox.site.faults.report()[0]["fired"]
    there.sandbox.site.faults.clear()
    return fired, done


@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_of_the_forms_fails_each_file_arrives_once(
    there: Old, fault: str
) -> None:
    for number in range(1, 1000):
        other = await another(there, number)
        fired, outcomes = await failing(other, number, fault, other.push("form", TREE))
        assert problems(outcomes) == {}, number
        assert await other.held() == TREE
        if not fired:
            break
    assert number > 15
