"""What a second run costs when nothing has changed: 10 000 files of 4 KB.

Makes the files, starts a sandbox of its own, and runs the real command line as a user
would: push, push again, pull into an empty folder, pull again. Prints, for each, the
wall time, the requests that the *server* counted, the files that were opened, and the
process's peak memory. Nothing is judged by time; what must hold (no file opened, no more
requests than pages + 5) is said at the end, and the exit code follows it.

    python bench/noop.py [--files N] [--size BYTES] [--metadata]
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

#: Entries that the client asks for in one page of a listing.
PAGE = 1000

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


@dataclass
class Cost:
    """What one run cost."""

    name: str
    seconds: float
    requests: int
    opened: int
    peak_mb: float
    summary: dict[str, Any]


class Bench:
    """A sandbox and a folder of files, for as long as the measuring takes."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        (scratch / "hooks").mkdir()
        (scratch / "hooks" / "sitecustomize.py").write_text(COUNTER)
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
        self.url, self.key = ready["url"], ready["api_key"]

    def close(self) -> None:
        """Stop the sandbox."""
        self.server.terminate()
        self.server.wait()

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """A question to the sandbox's own side routes."""
        secret = self.key.rpartition(":")[2]
        request = urllib.request.Request(
            self.url + path, method=method, headers={"Authorization": f"scitran-user {secret}"}
        )
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    def run(self, name: str, *arguments: str) -> Cost:
        """Run fwsync once, and read off what it cost."""
        self.ask("DELETE", "/sandbox/requests")
        opened = self.scratch / "opened"
        environment = {
            **os.environ,
            "FWSYNC_API_KEY": self.key,
            "PYTHONPATH": str(self.scratch / "hooks"),
            "BENCH_OPENED": str(opened),
            "HOME": str(self.scratch),
        }
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "fwsync", *arguments, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode:
            raise SystemExit(f"{name}: exit {done.returncode}\n{done.stderr}")
        summary = json.loads(done.stdout.splitlines()[-1])
        requests = int(self.ask("GET", "/sandbox/requests")["total"])
        peak_mb = summary["peak_memory"] / 1e6
        return Cost(name, seconds, requests, int(opened.read_text()), peak_mb, summary)


def make_files(folder: Path, files: int, size: int) -> None:
    """Files of random bytes, a hundred to a folder, three levels deep."""
    for number in range(files):
        where = folder / f"sub-{number // 1000:03}" / "ses-1" / f"acq-{number // 100 % 10}"
        where.mkdir(parents=True, exist_ok=True)
        (where / f"{number:06}.dat").write_bytes(os.urandom(size))


def main() -> int:
    """Measure, print, and say whether what must hold holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--metadata", action="store_true", help="pull sidecars, too")
    wanted = parser.parse_args()
    beside = ["--metadata"] if wanted.metadata else []
    with tempfile.TemporaryDirectory(prefix="fwsync-bench-") as name:
        scratch = Path(name)
        source, target = scratch / "source", scratch / "target"
        make_files(source, wanted.files, wanted.size)
        bench = Bench(scratch)
        try:
            costs = [
                bench.run("first push", "push", str(source), "lab/bench", "--create-project"),
                bench.run("push again", "push", str(source), "lab/bench"),
                bench.run("first pull", "pull", "lab/bench", str(target), *beside),
                bench.run("pull again", "pull", "lab/bench", str(target), *beside),
            ]
        finally:
            bench.close()
    print(f"{wanted.files:,} files of {wanted.size:,} bytes, {os.cpu_count()} cores\n")
    print(f"{'':12} {'seconds':>8} {'files/s':>8} {'requests':>9} {'opened':>7} {'peak MB':>8}")
    for cost in costs:
        rate = wanted.files / cost.seconds
        print(
            f"{cost.name:12} {cost.seconds:8.2f} {rate:8.0f} {cost.requests:9} "
            f"{cost.opened:7} {cost.peak_mb:8.0f}"
        )
    return verdict(costs, wanted.files, own=len(beside))


def verdict(costs: list[Cost], files: int, own: int) -> int:
    """What must hold of the runs that had nothing to do; ``own``: the project's own sidecar."""
    most = -(-files // PAGE) + 5 + own
    broken = [
        f"{cost.name}: {cost.requests} requests (at most {most}), {cost.opened} files opened"
        for cost in costs
        if cost.name.endswith("again")
        and (cost.requests > most or cost.opened or cost.summary["bytes"])
    ]
    print()
    print("\n".join(broken) or f"nothing to do costs no open and at most {most} requests: holds")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
