"""Packs on their way up where the server makes the zip: what is agreed on, and what is counted."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from fwsync.errors import Unavailable
from fwsync.model import Decision, LocalEntry, PackMember, RelPath, Verb
from fwsync.packing import pack_entry
from fwsync.packs import hash_pack
from fwsync.ports import Sent, Upload
from fwsync.sources import Source
from fwsync.state import State
from fwsync.uploader import Uploader
from tests.room.rooms import Bench, Shelf, descriptor, local, plant, workbench

ZIP = RelPath("s/e/a/a.zip")
TREE = {"s/e/a/1": b"one" * 1000, "s/e/a/2": b"two" * 1000}


class Packer(Shelf):
    """A shelf that makes the zip of the members that are sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = 0  #: answers, of the next packs

    async def put(self, batch: Sequence[Upload]) -> AsyncIterator[Sent]:
        for upload in batch:
            made = BytesIO()
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                for member in upload.members:
                    content = b"".join([block async for block in member.read()])
                    archive.writestr(f"a/{member.path}", content)
            self.loses -= 1
            if self.loses >= 0:
                yield Sent(upload.path, error=Unavailable("broken off"), route="packfile")
                continue
            entry = self.store(upload.path, made.getvalue())
            yield Sent(upload.path, entry=entry, route="packfile", checked=True)


async def no_wait(_seconds: float) -> None:
    """Nothing sleeps here."""


@pytest.fixture
def shelf() -> Packer:
    return Packer()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Packer) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        plant(made.root, TREE)
        yield made


@pytest.fixture
def root_fd(bench: Bench) -> Iterator[int]:
    with descriptor(bench.root) as fd:
        yield fd


def packed(root: Path) -> LocalEntry:
    members = [PackMember(path.rpartition("/")[2], local(root, path)) for path in TREE]
    return pack_entry(ZIP, "archive", members)


async def test_a_pack_whose_own_zip_is_known_is_agreed_on_by_its_members(
    bench: Bench, shelf: Packer, root_fd: int
) -> None:
    """As where it was sent as our zip before: the state takes no two digests for one file."""
    entry, _ = await hash_pack(root_fd, packed(bench.root), want_digest=True)
    uploader = Uploader(shelf, root_fd, lambda _path, _size: None, no_wait)

    [outcome] = await uploader.send([Decision(Verb.UPLOAD, ZIP, entry)])
    await bench.state.call(State.record, [outcome])

    assert outcome.remote == shelf.listing[ZIP]
    [base] = await bench.state.call(lambda state: list(state.base_entries()))
    assert (entry.etag, outcome.remote.digest) == (base.local_etag, base.digest)


async def test_what_is_sent_again_is_counted_once(
    bench: Bench, shelf: Packer, root_fd: int
) -> None:
    told: list[int] = []
    uploader = Uploader(shelf, root_fd, lambda _path, size: told.append(size), no_wait)
    shelf.loses = 2

    await uploader.send([Decision(Verb.UPLOAD, ZIP, packed(bench.root))])

    assert sum(map(len, TREE.values())) == sum(told)


async def test_members_are_made_only_for_a_server_that_packs(
    bench: Bench, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RelPath] = []
    init = Source.__init__

    def counted(self: Source, root_fd: int, entry: LocalEntry, *args: object) -> None:
        made.append(entry.path)
        init(self, root_fd, entry, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Source, "__init__", counted)
    uploader = Uploader(Shelf(), root_fd, lambda _path, _size: None, no_wait)

    [outcome] = await uploader.send([Decision(Verb.UPLOAD, ZIP, packed(bench.root))])

    assert outcome.problem is None
    assert [] == made
