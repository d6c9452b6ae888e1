"""An archive of any size: what is in memory does not grow with it, and it starts at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import closing

import pytest

from fwsync.sandbox import Sandbox
from fwsync.sandbox.archives.download import tarred, zipped
from fwsync.sandbox.kept.archive import Wanted
from fwsync.sandbox.kept.folders import IN_MEMORY, Folders
from fwsync.sandbox.kept.records import Pen
from tests.sandbox.api import Api, Tree, client, plant

pytestmark = pytest.mark.row("download-scale")

FEW, MANY = 2000, 12_000
#: Bytes; no member could be remembered in so few: its path, hash and time alone are twice that.
LEAST = 200
#: Now and then the interpreter makes its table of interned texts anew, which is megabytes in a
#: process that has loaded much. What an archive remembers is there in every pass.
PASSES = 2
BODY = b"the same bytes in every file\n"


async def grown(sandbox: Sandbox, project: str, files: int, *, apart: bool) -> Tree:
    """A project with files: in one acquisition, or each in an acquisition of its own.

    They are copies of the row of one file that was uploaded.
    """
    async with client(sandbox.url, sandbox.api_key) as api:
        tree = await plant(api, project=project)
        await api.upload(f"acquisitions/{tree.acquisition}", {"0.txt": BODY})

    def copy(pen: Pen) -> None:
        source = "SELECT * FROM {} WHERE {} = ?"
        home = dict(
            pen.db.execute(source.format("containers", "id"), (tree.acquisition,)).fetchone()
        )
        file = dict(
            pen.db.execute(source.format("files", "container_id"), (tree.acquisition,)).fetchone()
        )
        version = dict(
            pen.db.execute(source.format("versions", "file_id"), (file["id"],)).fetchone()
        )
        del version["seq"]
        containers, rows, versions = [], [], []
        for number in range(1, files):
            place = pen.new_id() if apart else tree.acquisition
            if apart:
                label = f"acq {number:06}"
                containers.append(home | {"id": place, "acquisition_id": place, "label": label})
            made = pen.new_id()
            held = {"container_id": place, "acquisition_id": place, "name": f"{number}.txt"}
            rows.append(file | {"id": made} | held)
            versions.append(version | {"file_id": made})
        for table, made_rows in (
            ("containers", containers),
            ("files", rows),
            ("versions", versions),
        ):
            if made_rows:
                told = pen.db.execute(f"PRAGMA table_info({table})")  # without generated ones
                names = [row["name"] for row in told if row["name"] in made_rows[0]]
                marks = ", ".join(f":{name}" for name in names)
                pen.db.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                    made_rows,
                )

    await sandbox.site.records.write(copy)
    return tree


def wanted(sandbox: Sandbox, tree: Tree) -> Wanted:
    nodes = (("project", tree.project),)
    return Wanted("full", "p", nodes, at=sandbox.site.records.settled)


def peak(pieces: Iterator[bytes]) -> int:
    """The most memory that was held while the pieces went by, in bytes."""
    tracemalloc.start()
    try:
        for _ in pieces:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("form", "apart"),
    [("tar", True), ("zip", False)],
    ids=["tar of many acquisitions", "zip of one"],
)
@pytest.mark.row("download-scale")
async def test_memory_is_flat(sandbox: Sandbox, form: str, *, apart: bool) -> None:
    blobs = sandbox.site.blobs

    def stream(asked: Wanted) -> int:
        with closing(sandbox.site.records.connect()) as db:
            items = asked.items(db)
            tar = form == "tar"
            return peak(tarred(items, blobs, as_links=False) if tar else zipped(items, blobs))

    def least(asked: Wanted) -> int:
        return min(stream(asked) for _ in range(PASSES))

    few = wanted(sandbox, await grown(sandbox, "few", FEW, apart=apart))
    many = wanted(sandbox, await grown(sandbox, "many", MANY, apart=apart))
    peaks = [await asyncio.to_thread(least, asked) for asked in (few, many)]

    assert peaks[1] < peaks[0] + (MANY - FEW) * LEAST


@pytest.mark.row("download-scale")
async def test_the_first_byte_needs_no_more_than_the_first_page(sandbox: Sandbox) -> None:
    asked = wanted(sandbox, await grown(sandbox, "first byte", MANY, apart=True))
    statements: list[str] = []

    def start() -> bytes:
        with closing(sandbox.site.records.connect()) as db:
            db.set_trace_callback(statements.append)
            return next(tarred(asked.items(db), sandbox.site.blobs, as_links=False))

    first = await asyncio.to_thread(start)

    assert first[:2] == b"p/"
    assert len(statements) < 60


async def test_a_count_without_filters_walks_nothing(sandbox: Sandbox) -> None:
    asked = wanted(sandbox, await grown(sandbox, "counted", FEW, apart=True))
    statements: list[str] = []

    def count() -> tuple[int, int]:
        with closing(sandbox.site.records.connect()) as db:
            db.set_trace_callback(statements.append)
            return asked.count(db)

    assert await asyncio.to_thread(count) == (FEW, FEW * len(BODY))
    assert len(statements) == 1


@pytest.mark.row("download-ticket")
async def test_the_count_of_sql_is_that_of_a_walk(sandbox: Sandbox) -> None:
    async with client(sandbox.url, sandbox.api_key) as api:
        tree = await plant(api, project="compared")
        await untidy(api, tree)
        nodes = [{"level": "project", "_id": tree.project}]
        params = {"type": "full", "analyses": "true"}
        made = await api.post("/download", {"nodes": nodes}, **params)
        passing = {"nodes": nodes, "filters": [{"types": {"minus": ["none such"]}}]}
        walked = await api.post("/download", passing, **params)
        archive = await api.tar(made["ticket"])

    assert made["file_cnt"] == walked["file_cnt"] == len(archive) == 5
    assert made["size"] == walked["size"] == sum(map(len, archive.values()))


async def untidy(api: Api, tree: Tree) -> None:
    """Versions, deleted things, an analysis of an older version."""
    where = f"acquisitions/{tree.acquisition}"
    await api.upload(where, {"a.txt": b"1", "b.txt": b"22", "gone.txt": b"333"})
    inputs = [{"type": "acquisition", "id": tree.acquisition, "name": "a.txt"}]
    body = {"label": "an", "inputs": inputs}
    analysis = (await api.post(f"/sessions/{tree.session}/analyses", body))["_id"]
    await api.upload(f"analyses/{analysis}", {"out.txt": b"4444"})
    await api.upload(where, {"a.txt": b"a longer one"})
    await api.upload(f"subjects/{tree.subject}", {"s.txt": b"subject"})
    await api.ask("DELETE", f"/{where}/files/gone.txt")
    gone = await api.make("acquisition", "gone", session=tree.session)
    await api.upload(f"acquisitions/{gone}", {"g.txt": b"gone"})
    await api.ask("DELETE", f"/acquisitions/{gone}")


def test_names_are_given_out_once_however_many_there_are() -> None:
    folders = Folders()
    count = IN_MEMORY + 500
    first = [folders.free(f"name {number}") for number in range(count)]
    again = [folders.free(f"name {number}") for number in range(count)]
    same = [folders.free("same") for _ in range(count)]
    folders.close()

    assert first == [f"name {number}" for number in range(count)]
    assert again == [f"name {number}_0" for number in range(count)]
    assert same == ["same", *(f"same_{number}" for number in range(count - 1))]


def test_a_number_that_is_a_label_is_not_given_out_again() -> None:
    folders = Folders()
    given = [folders.free(name) for name in ("a_0", "a", "a", "a_0", "a")]
    folders.close()

    assert given == ["a_0", "a", "a_1", "a_0_0", "a_2"]
