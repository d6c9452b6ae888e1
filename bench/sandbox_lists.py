"""What a page of a long list costs in the sandbox: the first pages against the last.

Fills a data folder with one project, whose files lie in acquisitions of a thousand files, and
one acquisition that holds as many again; starts a sandbox on it, and walks the lists page by
page as a client does (``limit`` and ``after_id``), and by page number. Prints the time of page 1,
the median of the 20 pages after it and of the last 20, their ratio, and the server's peak memory.
Nothing is judged by time.

    python bench/sandbox_lists.py [--files N] [--page N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.kept.access import Place, load_place
from fwsync.sandbox.kept.catalog import METADATA
from fwsync.sandbox.kept.records import Pen

BATCH = 20_000  # rows in one transaction
IN_ONE = 1000  # files of an ordinary acquisition
INSERT = (
    "INSERT INTO files (id, container_id, container_kind, group_id, project_id, subject_id,"
    " session_id, acquisition_id, name, version, object_id, type, mimetype, size, sha384, origin,"
    " created, modified, doc) VALUES (?,?,?,?,?,?,?,?,?,1,'x','dicom','application/dicom',1,?,"
    """'{"type":"user","id":"x"}',?,?,?)"""
)


async def fill(folder: Path, files: int) -> dict[str, str]:
    """A data folder with the lists to walk; returns their filters by name."""
    async with running_sandbox(folder, groups=("lab",)) as sandbox:
        project = await made(sandbox, "project", "lab")
        subject = await made(sandbox, "subject", project)
        session = await made(sandbox, "session", subject)
        large = await made(sandbox, "acquisition", session)
        for start in range(0, files, BATCH):
            await sandbox.site.records.write(rows, large, start, min(BATCH, files - start))
        for start in range(0, files, IN_ONE):
            one = await made(sandbox, "acquisition", session)
            await sandbox.site.records.write(rows, one, start, min(IN_ONE, files - start))
    return {
        "one group": "parents.group=lab",
        "one project": f"parents.project={project}",
        "one session": f"parents.session={session}",
        "one acquisition": f"parent_ref.id={large}",
        "names by pattern": f"parents.project={project},name=~^f0",
        "the whole site": "",
    }


async def made(sandbox: Sandbox, kind: str, parent: str) -> str:
    """A container; straight into the records."""

    def write(pen: Pen) -> str:
        above = load_place(pen.db, parent)
        assert above is not None
        new = pen.new_id()
        way: dict[str, Any] = {
            level: getattr(above, level)
            for level in ("group", "project", "subject", "session", "acquisition")
        }
        way[kind] = new
        pen.db.execute(
            "INSERT INTO containers (id, kind, label, parent_id, group_id, project_id, subject_id,"
            " session_id, acquisition_id, created, modified, revision, doc)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,'{}')",
            (new, kind, f"{kind} {new}", parent, *way.values(), pen.now, pen.now),
        )
        return new

    return await sandbox.site.records.write(write)


def rows(pen: Pen, container: str, start: int, count: int) -> None:
    """So many files of a container."""
    place = load_place(pen.db, container)
    assert isinstance(place, Place)
    doc = json.dumps(METADATA)
    way = (place.id, place.kind, place.group, place.project, place.subject, place.session)
    made = []
    for number in range(start, start + count):
        pen.tick()
        name = f"f{number:07}.dcm"
        made.append((pen.new_id(), *way, place.acquisition, name, "0" * 96, pen.now, pen.now, doc))
    pen.db.executemany(INSERT, made)


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "fwsync", "sandbox", "--json", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--data", str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["url"]
        self.key = ready["api_key"].rpartition(":")[2]

    def files(self, **query: str) -> tuple[list[dict[str, Any]], float]:
        """A page of files, and how long it took."""
        text = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        request = urllib.request.Request(
            f"{self.url}/api/files?{text}", headers={"Authorization": f"Bearer {self.key}"}
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
        return results, time.perf_counter() - began

    def peak_mb(self) -> float:
        """Megabytes resident at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def walk(server: Server, chosen: str, page: int) -> Iterator[float]:
    """The times of the pages of a whole list."""
    after = ""
    while True:
        results, took = server.files(filter=chosen, limit=str(page), after_id=after)
        if not results:
            return
        yield took
        after = results[-1]["file_id"]


def main() -> None:
    """Fill, walk, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=1_000_000)
    arguments.add_argument("--page", type=int, default=1000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="fwsync-bench-") as scratch:
        filters = asyncio.run(fill(Path(scratch), given.files))
        server = Server(Path(scratch))
        try:
            print(f"{2 * given.files} files, {given.page} a page; medians of 20 pages, in ms")
            for name, chosen in filters.items():
                times = [1000 * took for took in walk(server, chosen, given.page)]
                first, last = statistics.median(times[1:21]), statistics.median(times[-20:])
                print(
                    f"  {name:18} page 1 {times[0]:8.1f}   first {first:6.1f}   last {last:6.1f}"
                    f"   ratio {last / first:4.2f}   {len(times)} pages"
                )
            final = given.files // given.page
            for sort in ("", "created:asc", "created:desc"):
                pair = [
                    1000
                    * server.files(
                        filter=filters["one project"], limit=str(given.page), page=page, sort=sort
                    )[1]
                    for page in ("1", str(final))
                ]
                print(f"  page=1 {pair[0]:6.1f}   page={final} {pair[1]:6.1f}   sort={sort or '-'}")
            print(f"  the server held at most {server.peak_mb():.0f} MB")
        finally:
            server.close()


if __name__ == "__main__":
    main()
