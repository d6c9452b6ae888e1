"""What a large archive costs the sandbox: the ticket, the first byte, the whole, and memory.

Starts a sandbox of its own, fills one project (a hundred files to an acquisition), asks for a
ticket and reads the archive, for each number of files. Memory is that of the sandbox's process:
what it held before, and the most it held while the archive was sent. Nothing is judged by time;
what must hold (the members are complete, memory did not grow with them) is said at the end, and
the exit code follows it.

    python bench/sandbox_tar.py [--files N [N ...]] [--size BYTES] [--format tar|zip]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Files in one acquisition, and in one upload.
TOGETHER = 100
#: MB by which the peak of the largest archive may lie above that of the smallest.
SLACK_MB = 24


@dataclass
class Cost:
    """What one archive cost. Seconds; MB."""

    files: int
    ticket_s: float
    first_byte_s: float
    total_s: float
    size: int
    before_mb: float
    peak_mb: float


class Bench:
    """A sandbox, for as long as the measuring takes."""

    def __init__(self, scratch: Path) -> None:
        self.server = subprocess.Popen(
            [
                *(sys.executable, "-m", "fwsync", "sandbox", "--json", "--port", "0"),
                *("--data", str(scratch / "server"), "--group", "lab"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout is not None
        ready = json.loads(self.server.stdout.readline())
        self.url, self.key = ready["url"], ready["api_key"].rpartition(":")[2]

    def close(self) -> None:
        """Stop the sandbox."""
        self.server.terminate()
        self.server.wait()

    def open(self, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """An answer, to be read."""
        headers = {"Authorization": f"scitran-user {self.key}", "Content-Type": kind}
        return urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/api{path}", data=body, headers=headers)
        )

    def post(self, path: str, body: object) -> Any:
        """The JSON that a POST answers."""
        with self.open(path, json.dumps(body).encode()) as answer:
            return json.load(answer)

    def fill(self, files: int, size: int) -> str:
        """A project with files; its id."""
        label = f"{files} files"
        project = self.post("/projects", {"label": label, "group": "lab"})["_id"]
        subject = {"label": "sub-01"}
        session = self.post("/sessions", {"label": "s", "project": project, "subject": subject})
        for start in range(0, files, TOGETHER):
            body = {"label": f"acq {start:07}", "session": session["_id"]}
            acquisition = self.post("/acquisitions", body)["_id"]
            names = [f"{number:07}.dat" for number in range(start, min(start + TOGETHER, files))]
            kind, form = multipart({name: os.urandom(size) for name in names})
            self.open(f"/acquisitions/{acquisition}/files", form, kind).close()
        return str(project)

    def measure(self, project: str, files: int, form: str) -> Cost:
        """Ask for the archive of a project, and read it."""
        process = Path("/proc") / str(self.server.pid)
        (process / "clear_refs").write_text("5")  # the peak begins anew
        before = memory(process, "VmRSS")
        began = time.monotonic()
        nodes = [{"level": "project", "_id": project}]
        ticket = self.post("/download", {"optional": True, "nodes": nodes})
        minted = time.monotonic()
        with self.open(f"/download?ticket={ticket['ticket']}&format={form}") as answer:
            size = len(answer.read(1))
            first = time.monotonic()
            while data := answer.read(1 << 20):
                size += len(data)
        done = time.monotonic()
        if ticket["file_cnt"] != files:
            raise SystemExit(f"the ticket is for {ticket['file_cnt']} files, not {files}")
        return Cost(
            files,
            minted - began,
            first - minted,
            done - minted,
            size,
            before,
            memory(process, "VmHWM"),
        )


def memory(process: Path, field: str) -> float:
    """A number of MB from the process's status."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"no {field} for process {process.name}")


def multipart(files: dict[str, bytes]) -> tuple[str, bytes]:
    """The content type and the body of a form."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
        f"\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    end = f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, end])


def main() -> int:
    """Measure, print, and say whether what must hold holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--format", choices=["tar", "zip"], default="tar")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fwsync-bench-") as name:
        bench = Bench(Path(name))
        try:
            projects = {files: bench.fill(files, wanted.size) for files in wanted.files}
            bench.measure(projects[wanted.files[0]], wanted.files[0], wanted.format)  # warm
            costs = [
                bench.measure(project, files, wanted.format) for files, project in projects.items()
            ]
        finally:
            bench.close()
    print(f"files of {wanted.size:,} bytes as {wanted.format}, {os.cpu_count()} cores\n")
    print(
        f"{'files':>8} {'ticket s':>9} {'first byte s':>13} {'total s':>8} {'archive MB':>11}"
        f" {'before MB':>10} {'peak MB':>8}"
    )
    for cost in costs:
        print(
            f"{cost.files:8} {cost.ticket_s:9.3f} {cost.first_byte_s:13.3f} {cost.total_s:8.2f}"
            f" {cost.size / 1e6:11.1f} {cost.before_mb:10.0f} {cost.peak_mb:8.0f}"
        )
    grown = max(cost.peak_mb for cost in costs) - costs[0].peak_mb
    holds = grown <= SLACK_MB
    print(
        f"\nmemory grew by {grown:.0f} MB with the number of files (at most {SLACK_MB}): ", end=""
    )
    print("holds" if holds else "broken")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
