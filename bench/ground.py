"""Where contestants are measured: a sandbox of their own, the relay before it, one process each.

Server and contestant share the machine, so that what a contestant computes slows the server
that it is measured with. ``apart`` keeps them from that: server and relay have the first
processor, the contestant has the others, as it is where the server is another machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Json = dict[str, Any]

#: Files of one acquisition.
PER_ACQUISITION = 20


#: Starts a contestant and writes down what it cost. A process of its own, and a small one: the
#: peak of a process counts from before its program was loaded, when it was a copy of whoever
#: started it. Source: getrusage(2); Linux, fs/exec.c, ``exec_mmap``; observed.
TIMED = """
import json, os, sys, time
to, *command = sys.argv[1:]
began = time.monotonic()
_, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
seconds = time.monotonic() - began
with open(to, "w") as stream:
    json.dump([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000], stream)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


@dataclass(frozen=True)
class Case:
    """What is moved."""

    name: str
    folder: Path  # subject/session/acquisition/file
    files: int
    size: int


@dataclass(frozen=True)
class Cost:
    """What it cost to move some files."""

    files: int
    bytes: int
    seconds: float
    requests: int
    cpu_s: float
    peak_mb: float


class Ground:
    """A sandbox and the relay before it."""

    def __init__(
        self, scratch: Path, delay_ms: float, *, apart: bool, window: int | None = None
    ) -> None:
        processors = sorted(os.sched_getaffinity(0))
        self._its_own, self._others = processors[:1] if apart else processors, processors[apart:]
        command = [*_on(self._its_own), sys.executable, "-m", "fwsync", "sandbox", "--json"]
        command += ["--port", "0", "--data", str(scratch / "server"), "--group", "lab"]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready = json.loads(_line(self._server))
        self._url, self._secret = ready["url"], ready["api_key"].rpartition(":")[2]
        self.authorization = f"scitran-user {self._secret}"
        self.scratch = scratch
        self._relay: subprocess.Popen[str] | None = None
        self.relay(delay_ms, window)

    def relay(self, delay_ms: float, window: int | None = None) -> None:
        """Put another relay before the server, in the place of the one that was there."""
        if self._relay is not None:
            self._relay.terminate()
            self._relay.wait()
        command = [*_on(self._its_own), sys.executable, str(ROOT / "bench" / "relay.py")]
        command += ["--delay-ms", str(delay_ms), "--to", self._url.rpartition(":")[2]]
        command += [] if window is None else ["--window", str(window)]
        self._relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(_line(self._relay))
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = f"127.0.0.1:{self.port}:__force_insecure:{self._secret}"

    def start(self, command: list[str], **how: Any) -> subprocess.Popen[str]:
        """Start a contestant on the processors that are for it."""
        return subprocess.Popen([*_on(self._others), *command], **how)

    def close(self) -> None:
        for process in (self._relay, self._server):
            if process is not None:
                process.terminate()
                process.wait()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Asked of the server itself, past the relay."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self.authorization, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def _on(processors: list[int]) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, processors))]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def ground(
    delay_ms: float, *, apart: bool, window: int | None = None, folder: Path | None = None
) -> Iterator[Ground]:
    """A sandbox with nothing in it, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="fwsync-bench-", dir=folder) as name:
        made = Ground(Path(name), delay_ms, apart=apart, window=window)
        try:
            yield made
        finally:
            made.close()


def measured(here: Ground, case: Case, command: list[str], **environment: str) -> Cost:
    """Run a contestant's process to its end."""
    here.ask("DELETE", "/sandbox/requests")
    # What this house's own environment says of itself is not for the others.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept |= {"HOME": str(here.scratch), "PYTHONWARNINGS": "ignore"} | environment
    cost = here.scratch / "cost"
    timed = [sys.executable, "-I", "-S", "-c", TIMED, str(cost), *command]
    with (here.scratch / "output").open("w+") as output:
        process = here.start(timed, env=kept, stdout=output, stderr=output, cwd=ROOT)
        if process.wait():
            output.seek(0)
            raise SystemExit(f"{command[:4]}: failed\n{output.read()[-2000:]}")
    requests = int(here.ask("GET", "/sandbox/requests")["total"])
    seconds, cpu_s, peak_mb = json.loads(cost.read_text())
    return Cost(case.files, case.files * case.size, seconds, requests, cpu_s, peak_mb)


def make_case(scratch: Path, name: str, files: int, size: int) -> Case:
    """Files of random bytes, some to an acquisition, ten acquisitions to a session."""
    folder = scratch / name
    for number in range(files):
        acquisition = number // PER_ACQUISITION
        where = folder / f"sub-{acquisition // 10:03}" / "ses-1" / f"acq-{acquisition % 10}"
        where.mkdir(parents=True, exist_ok=True)
        with (where / f"{number:06}.dat").open("wb") as stream:
            for begin in range(0, size, 1 << 24):
                stream.write(os.urandom(min(1 << 24, size - begin)))
    return Case(name, folder, files, size)


def middle(costs: list[Cost], what: Callable[[Cost], float]) -> float:
    return statistics.median(map(what, costs))


def show(case: Case, delay_ms: float, where: str, results: dict[str, list[Cost]]) -> list[Json]:
    """Print one table; medians of all runs, ratios to the first contestant."""
    rows: list[Json] = []
    first = next(iter(results.values()))
    best = middle(first, lambda cost: cost.seconds / cost.files)
    print(f"\n{case.name}: {case.files:,} x {case.size:,} bytes, {delay_ms:g} ms added, {where}")
    head = f"{'':20} {'files':>6} {'files/s':>9} {'MB/s':>8} {'spread':>7} {'ratio':>7}"
    print(f"{head} {'req/file':>9} {'CPU s/GB':>9} {'peak MB':>8}")
    for name, costs in results.items():
        per_file = middle(costs, lambda cost: cost.seconds / cost.files)
        rates = [cost.files / cost.seconds for cost in costs]
        row = {
            "case": case.name,
            "size": case.size,
            "delay_ms": delay_ms,
            "where": where,
            "contestant": name,
            "files": costs[0].files,
            "files_per_s": 1 / per_file,
            "mb_per_s": case.size / per_file / 1e6,
            "spread": (max(rates) - min(rates)) * per_file,
            "ratio": per_file / best,
            "requests_per_file": middle(costs, lambda cost: cost.requests / cost.files),
            "cpu_s_per_gb": middle(costs, lambda cost: cost.cpu_s / cost.bytes * 1e9),
            "peak_mb": max(cost.peak_mb for cost in costs),
        }
        rows.append(row)
        print(
            f"{name:20} {row['files']:6} {row['files_per_s']:9.1f} {row['mb_per_s']:8.1f} "
            f"{row['spread']:7.0%} {row['ratio']:6.2f}x {row['requests_per_file']:9.3f} "
            f"{row['cpu_s_per_gb']:9.2f} {row['peak_mb']:8.0f}",
            flush=True,
        )
    return rows
