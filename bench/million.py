"""What a run costs that has nothing to do, from ten thousand agreed files to a million.

Fills a sandbox's data folder with a project, a folder with the same files, and that folder's
state with the agreement on them, without sending any; then runs ``fwsync sync`` as a user
would. Prints for each run the wall time, the processor time of the client and of the sandbox,
the client's peak memory, the requests that the server counted and the data files that were
opened; and for each number of files what a file costs, held against the first number's.
Nothing is judged by time; what must hold (no file opened, nothing moved, no more requests than
pages + 5) is said at the end, and the exit code follows it.

    python bench/million.py [--files N N …] [--runs R] [--folder DIR]

With ``--folder`` what was made stays there, and the next such run takes it up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ground import TIMED
from fwsync import scanner
from fwsync.digest import ContentHasher, from_flywheel_hash
from fwsync.model import (
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Outcome,
    RelPath,
    RemoteEntry,
    Verb,
)
from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.kept.access import Place, load_place
from fwsync.sandbox.kept.catalog import METADATA
from fwsync.sandbox.kept.records import Pen
from fwsync.state import State, open_state

PAGE = 1000  # entries that the client asks for in one page of a listing
PER_ACQUISITION, ACQUISITIONS = 100, 10  # files of an acquisition; acquisitions of a session
BATCH = 10_000  # files in one transaction
CONTENT = b"x"  # of every file: what is in them is never read
PROJECT = "lab/bench"

#: Counts the opens of data files in the process under test, by Python's own audit events.
COUNTER = """
import atexit, os, sys
opened = 0
def count(event, arguments):
    global opened
    if event == "open" and str(arguments[0]).endswith(".dat"):
        opened += 1
sys.addaudithook(count)
atexit.register(lambda: open(os.environ["BENCH_OPENED"], "w").write(str(opened)))
"""

INSERT = (
    "INSERT INTO files (id, container_id, container_kind, group_id, project_id, subject_id,"
    " session_id, acquisition_id, name, version, object_id, type, mimetype, size, sha384, origin,"
    " created, modified, doc) VALUES (?,?,?,?,?,?,?,?,?,1,?,'dicom','application/dicom',?,?,"
    """'{"type":"user","id":"x"}',?,?,?)"""
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What one run cost."""

    files: int
    seconds: float
    client_s: float
    server_s: float
    peak_mb: float
    requests: int
    opened: int
    summary: Json

    @property
    def most_requests(self) -> int:
        """A page for each thousand of files, of acquisitions and so on, and five more."""
        acquisitions = -(-self.files // PER_ACQUISITION)
        sessions = -(-acquisitions // ACQUISITIONS)
        pages = sum(-(-number // PAGE) for number in (self.files, acquisitions, sessions, sessions))
        return pages + 5


# ------------------------------------------------------------------------------ both sides


def names(files: int) -> Iterator[tuple[str, list[str]]]:
    """The acquisitions' folders, and the names of the files in each."""
    for start in range(0, files, PER_ACQUISITION):
        acquisition = start // PER_ACQUISITION
        subject, number = divmod(acquisition, ACQUISITIONS)
        end = min(start + PER_ACQUISITION, files)
        yield (
            f"sub-{subject:04}/ses-1/acq-{number}",
            [f"{file:07}.dat" for file in range(start, end)],
        )


def make_files(folder: Path, files: int) -> None:
    """The files on this disk, all with the same byte in them."""
    for where, some in names(files):
        acquisition = folder / where
        acquisition.mkdir(parents=True)
        fd = os.open(acquisition, os.O_RDONLY)
        for name in some:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
            os.write(file, CONTENT)
            os.close(file)
        os.close(fd)


async def make_project(folder: Path) -> str:
    """A server's data folder with an empty project, whose id is returned."""
    async with running_sandbox(folder, groups=("lab",)) as sandbox:
        return await made(sandbox, "project", PROJECT.rpartition("/")[2], "lab")


async def fill_server(folder: Path, project: str, files: int) -> None:
    """The same files on the server; straight into its records."""
    hasher = ContentHasher()
    hasher.update(CONTENT)
    sha384 = hasher.digest.rpartition(":")[2]
    async with running_sandbox(folder, groups=("lab",)) as sandbox:
        known: dict[str, str] = {}
        for where, some in names(files):
            above = project
            for kind, label in zip(("subject", "session"), where.split("/"), strict=False):
                key = f"{above}/{label}"
                if key not in known:
                    known[key] = await made(sandbox, kind, label, above)
                above = known[key]
            acquisition = await made(sandbox, "acquisition", where.rpartition("/")[2], above)
            await sandbox.site.records.write(put_files, acquisition, some, sha384)


async def made(sandbox: Sandbox, kind: str, label: str, parent: str) -> str:
    """A container."""

    def write(pen: Pen) -> str:
        above = load_place(pen.db, parent)
        assert above is not None
        new = pen.new_id()
        way: Json = {
            level: getattr(above, level)
            for level in ("group", "project", "subject", "session", "acquisition")
        }
        way[kind] = new
        pen.db.execute(
            "INSERT INTO containers (id, kind, label, parent_id, group_id, project_id, subject_id,"
            " session_id, acquisition_id, created, modified, revision, doc)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,'{}')",
            (new, kind, label, parent, *way.values(), pen.now, pen.now),
        )
        return new

    return await sandbox.site.records.write(write)


def put_files(pen: Pen, container: str, some: list[str], sha384: str) -> None:
    """Files of a container."""
    place = load_place(pen.db, container)
    assert isinstance(place, Place)
    doc, size = json.dumps(METADATA), len(CONTENT)
    way = (place.id, place.kind, place.group, place.project, place.subject, place.session)
    rows = []
    for name in some:
        pen.tick()
        ids = (place.acquisition, name, pen.new_id())
        rows.append((pen.new_id(), *way, *ids, size, sha384, pen.now, pen.now, doc))
    pen.db.executemany(INSERT, rows)


def agree(state_file: Path, root: Path, server: Server) -> None:
    """Write down in the state that both sides hold the same, as runs that sent it would have."""
    hasher = ContentHasher()
    hasher.update(CONTENT)
    with open_state(state_file) as state:
        state.take_scan(scanner.walk(root))
        here = state.files()
        batch: list[Outcome] = []
        for there in server.entries():
            local = next(here)
            assert local.path == there.path, (local, there)
            known = LocalEntry(local.path, local.stamp, hasher.local_tag, hasher.digest)
            decision = Decision(Verb.ADOPT, known.path, known, there, None, "made by the bench")
            batch.append(Outcome(decision, known, there, hashed_at_ns=time.time_ns()))
            if len(batch) == BATCH:
                keep(state, batch)
        keep(state, batch)
        assert next(here, None) is None


def keep(state: State, batch: list[Outcome]) -> None:
    """A part of the agreement."""
    state.remember([(one.local, one.hashed_at_ns) for one in batch if one.local is not None])
    state.record(batch)
    batch.clear()


# --------------------------------------------------------------------------------- running


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "fwsync", "sandbox", "--json", "--port", str(port)]
        self._process = subprocess.Popen(
            [*command, "--data", str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.url, self.key = ready["url"], ready["api_key"]
        self.port = int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str) -> Any:
        """A question to it."""
        secret = self.key.rpartition(":")[2]
        request = urllib.request.Request(
            self.url + path, method=method, headers={"Authorization": f"scitran-user {secret}"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def entries(self) -> Iterator[RemoteEntry]:
        """Everything in the project, sorted by path: it was made in this order."""
        folders: dict[str, str] = {}
        for kind, above in (("subjects", ""), ("sessions", "subject"), ("acquisitions", "session")):
            for one in self._list(kind):
                holder = f"{folders[one['parents'][above]]}/" if above else ""
                folders[one["_id"]] = f"{holder}{one['label']}"
        for one in self._list("files"):
            holder = one["parent_ref"]["id"]
            yield RemoteEntry(
                RelPath(f"{folders[holder]}/{one['name']}"),
                one["size"],
                one["hash"],
                from_flywheel_hash(one["hash"]),
                ContainerRef(Level.ACQUISITION, holder),
                one["name"],
                one["file_id"],
                one["version"],
            )

    def _list(self, kind: str) -> Iterator[Json]:
        after = ""
        while True:
            found = self.ask("GET", f"/api/{kind}?limit=1000{after}")
            if isinstance(found, dict):
                found = found["results"]
            if not found:
                return
            yield from found
            last = found[-1]
            after = f"&after_id={last.get('file_id') or last['_id']}"

    def processor_s(self) -> float:
        """Seconds of a processor that it has had so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def agreed(scratch: Path, files: int) -> Iterator[tuple[Server, Path]]:
    """A server and a folder in step with it; they stay in ``scratch``."""
    root, data = scratch / "root", scratch / "server"
    is_made = scratch / "made"
    project, port = "", 0
    if is_made.exists():
        port = int(is_made.read_text())  # a server at another address is another one
    else:
        root.mkdir(parents=True)
        project = asyncio.run(make_project(data))
    server = Server(data, port)
    try:
        if project:
            sync(scratch, server, root, 0)  # nothing on either side: makes the state
            server.close()
            make_files(root, files)
            asyncio.run(fill_server(data, project, files))
            server = Server(data, server.port)
            agree(root / ".fwsync" / "state.db", root, server)
            is_made.write_text(str(server.port))
        yield server, root
    finally:
        server.close()


def sync(scratch: Path, server: Server, root: Path, files: int) -> Cost:
    """Run fwsync once, and read off what it cost."""
    hooks, opened = scratch / "hooks", scratch / "opened"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(COUNTER)
    server.ask("DELETE", "/sandbox/requests")
    environment = {
        **os.environ,
        "FWSYNC_API_KEY": server.key,
        "PYTHONPATH": str(hooks),
        "BENCH_OPENED": str(opened),
        "HOME": str(scratch),
    }
    cost = scratch / "cost"
    # TIMED is a small process: a client that we started ourselves would begin with our peak.
    command = [sys.executable, "-I", "-S", "-c", TIMED, str(cost), sys.executable, "-m", "fwsync"]
    command += ["sync", str(root), PROJECT, "--json"]
    served = server.processor_s()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    served = server.processor_s() - served
    if done.returncode:
        raise SystemExit(f"{files} files: failed\n{done.stderr}")
    seconds, client_s, peak_mb = json.loads(cost.read_text())
    summary = json.loads(done.stdout.splitlines()[-1])
    return Cost(
        files,
        seconds,
        client_s,
        served,
        peak_mb,
        int(server.ask("GET", "/sandbox/requests")["total"]),
        int(opened.read_text()),
        summary,
    )


def measure(scratch: Path, files: int, runs: int) -> list[Cost]:
    """So many runs on so many files."""
    with agreed(scratch, files) as (server, root):
        return [sync(scratch, server, root, files) for _ in range(runs)]


def main() -> int:
    """Measure, print, and say whether what must hold holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make it, and leave it")
    given = parser.parse_args()
    table: list[list[Cost]] = []
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the first run\n")
    print(
        f"{'files':>9} {'seconds':>8} {'client s':>9} {'server s':>9} {'peak MB':>8}"
        f" {'requests':>9} {'opened':>7}"
    )
    for files in given.files:
        with tempfile.TemporaryDirectory(prefix="fwsync-bench-") as name:
            scratch = (given.folder or Path(name)) / str(files)
            costs = measure(scratch, files, given.runs)
        table.append(costs)
        for cost in costs:
            print(
                f"{cost.files:9,} {cost.seconds:8.2f} {cost.client_s:9.2f} {cost.server_s:9.2f}"
                f" {cost.peak_mb:8.0f} {cost.requests:9} {cost.opened:7}",
                flush=True,
            )
    show_ratios(table)
    return verdict([cost for costs in table for cost in costs])


def show_ratios(table: list[list[Cost]]) -> None:
    """What a file costs, medians; and against the smallest number of files."""
    print("\nmicroseconds a file")
    first = None
    for costs in table:
        each = [
            statistics.median(getattr(cost, name) for cost in costs) / costs[0].files * 1e6
            for name in ("seconds", "client_s", "server_s")
        ]
        first = first or each
        ratios = ", ".join(f"{one / other:.2f}" for one, other in zip(each, first, strict=True))
        shown = "  ".join(f"{one:7.1f}" for one in each)
        print(f"{costs[0].files:9,} {shown}   against the first: {ratios}")


def verdict(costs: list[Cost]) -> int:
    """What must hold of a run that had nothing to do."""
    broken = [
        f"{one.files} files: {one.requests} requests (at most {one.most_requests}),"
        f" {one.opened} files opened, {one.summary['bytes']} bytes moved"
        for one in costs
        if one.requests > one.most_requests or one.opened or one.summary["bytes"]
    ]
    print()
    print("\n".join(broken) or "nothing to do costs no open and at most pages + 5 requests: holds")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
