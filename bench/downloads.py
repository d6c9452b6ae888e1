"""Downloads beside the official SDK, the official CLI, curl and tar: the same bytes and server.

    python bench/downloads.py [--full] [--files N] [--size BYTES] [--large N]
        [--large-size BYTES] [--delay-ms 0 50] [--window BYTES] [--runs 3] [--sample N]
        [--only NAME …] [--apart]

Every contestant speaks to one sandbox that holds the files, through one relay process of ours,
which adds the latency (and, with --window, limits what one connection may have under way), and
writes into an empty folder. What others left unwritten is written out before a clock starts.
What came is counted afterwards. Slow ones run on a project of their own with a sample of the
files; rates per file are compared, and the sample is printed.

"bare loop" is no download: sixteen threads write as many files of the same size, fsync and
rename each, and make each folder durable once. It is what the disk gives to whoever is as
careful with every file. "bare writes" is the same loop without a fsync.

Needs the environments of the official SDK and CLI, which `make conformance-env` makes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ground import Case, Cost, Ground, Json, ground, make_case, measured, show
from tests.conformance import environments

Contestant = Callable[[Ground, Case, Path], Cost]

#: What is measured by default, so that it can be done again and again, and what the aims say.
DEFAULT = {"files": 5_000, "large": 2, "large_size": 1 << 28}
FULL = {"files": 50_000, "large": 4, "large_size": 1 << 30}

#: What the SDK's users write: an archive of the project, and what extracts it.
SDK_TAR = """
import subprocess, sys
import flywheel
key, project, folder = sys.argv[1:]
client = flywheel.Client(key)
client.download_tar([client.lookup("lab/" + project)], folder + "/all.tar")
subprocess.run(["tar", "-x", "-f", folder + "/all.tar", "-C", folder], check=True)
"""

#: … or one call a file. Where the files are is told, and costs nothing.
SDK_LOOP = """
import json, sys
import flywheel
key, listing, folder = sys.argv[1:]
client = flywheel.Client(key)
for container, name in json.load(open(listing)):
    client.download_file_from_acquisition(container, name, folder + "/" + name)
"""

#: An archive of the project, extracted as it comes: the limit of the machine.
CURL_TAR = """
set -e
said=$(curl -sSf -H "Authorization: $FW_AUTH" -H 'Content-Type: application/json' \\
    -d "{\\"optional\\": true, \\"nodes\\": [{\\"level\\": \\"project\\", \\"_id\\": \\"$1\\"}]}" \\
    "$FW_URL/api/download")
ticket=$(expr "$said" : '.*"ticket": *"\\([^"]*\\)"')
curl -sSf -H "Authorization: $FW_AUTH" "$FW_URL/api/download?ticket=$ticket" | tar -x -C "$2"
"""

#: As many files of one size as the case has, as fast as this disk takes them.
BARE_LOOP = """
import os, sys, threading
folder, files, size, fsync = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "yes"
content = os.urandom(min(size, 1 << 20))
todo = iter(range(files))
lock = threading.Lock()
folders = set()

def work():
    while True:
        with lock:
            number = next(todo, None)
        if number is None:
            return
        where = f"{folder}/sub-{number // 200:03}/ses-1/acq-{number // 20 % 10}"
        if where not in folders:
            os.makedirs(where, exist_ok=True)
            folders.add(where)
        part = f"{folder}/parts/{number:06}"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        left = size
        while left:
            left -= os.write(fd, content[:left])
        if fsync:
            os.fsync(fd)
        os.close(fd)
        os.rename(part, f"{where}/{number:06}.dat")

os.makedirs(folder + "/parts")
threads = [threading.Thread(target=work) for _ in range(16)]
for one in threads:
    one.start()
for one in threads:
    one.join()
os.rmdir(folder + "/parts")
for where in folders if fsync else ():
    fd = os.open(where, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


# ----------------------------------------------------------------------------- contestants


def fwsync(*, fsync: bool) -> Contestant:
    def run(here: Ground, case: Case, target: Path) -> Cost:
        command = [sys.executable, "-m", "fwsync", "pull", f"lab/{case.name}", str(target)]
        told = {"FWSYNC_API_KEY": here.key, "FWSYNC_FSYNC": str(fsync).lower()}
        return measured(here, case, command, **told)

    return run


def bare(*, fsync: bool) -> Contestant:
    def run(here: Ground, case: Case, target: Path) -> Cost:
        sizes = [str(case.files), str(case.size), "yes" if fsync else "no"]
        return measured(here, case, [sys.executable, "-c", BARE_LOOP, str(target), *sizes])

    return run


def curl_tar(here: Ground, case: Case, target: Path) -> Cost:
    project = here.ask("POST", "/api/lookup", {"path": ["lab", case.name]})["_id"]
    command = ["sh", "-c", CURL_TAR, "sh", project, str(target)]
    return measured(here, case, command, FW_URL=here.url, FW_AUTH=here.authorization)


def curl_files(*, at_once: int) -> Contestant:
    """One request a file, so many at a time."""

    def run(here: Ground, case: Case, target: Path) -> Cost:
        lines = []
        for container, name in listed(here, case):
            lines += [
                f'url = "{here.url}/api/acquisitions/{container}/files/{name}"',
                f'header = "Authorization: {here.authorization}"',
                f'output = "{target / name}"',
                "fail",
                "next",
            ]
        config = here.scratch / "curl"
        config.write_text("\n".join(lines[:-1]))
        command = ["curl", "-sS", "-K", str(config)]
        command += ["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else []
        return measured(here, case, command)

    return run


def sdk_tar(here: Ground, case: Case, target: Path) -> Cost:
    python = str(environments.python("sdk"))
    cost = measured(here, case, [python, "-c", SDK_TAR, here.key, case.name, str(target)])
    (target / "all.tar").unlink()
    return cost


def sdk_loop(here: Ground, case: Case, target: Path) -> Cost:
    listing = here.scratch / "files.json"
    listing.write_text(json.dumps(listed(here, case)))
    python = str(environments.python("sdk"))
    return measured(here, case, [python, "-c", SDK_LOOP, here.key, str(listing), str(target)])


def cli(here: Ground, case: Case, target: Path) -> Cost:
    fw = str(environments.program("cli", "fw"))
    measured(here, case, [fw, "login", here.key])
    command = [fw, "sync", f"fw://lab/{case.name}", str(target), "-y", "--no-audit-log"]
    return measured(here, case, command)


def listed(here: Ground, case: Case) -> list[tuple[str, str]]:
    """The container and the name of each file."""
    project = here.ask("POST", "/api/lookup", {"path": ["lab", case.name]})["_id"]
    path = f"/api/projects/{project}/acquisitions?limit=100000"
    found = here.ask("GET", path)
    return [(one["_id"], file["name"]) for one in found for file in one["files"]]


CONTESTANTS: dict[str, Contestant] = {
    "fwsync": fwsync(fsync=True),
    "bare loop": bare(fsync=True),
    "fwsync, fsync off": fwsync(fsync=False),
    "bare writes": bare(fsync=False),
    "curl | tar x": curl_tar,
    "curl": curl_files(at_once=1),
    "curl, 16 at once": curl_files(at_once=16),
    "SDK tar": sdk_tar,
    "SDK loop": sdk_loop,
    "CLI": cli,
}

#: Those that are too slow for all the small files.
SAMPLED = ("curl", "SDK loop", "CLI")


# ------------------------------------------------------------------------------------- run


def fill(here: Ground, scratch: Path, name: str, files: int, size: int) -> Case:
    """A project with so many files; what they were made of is not kept."""
    case = make_case(scratch, name, files, size)
    command = [sys.executable, "-m", "fwsync", "push", str(case.folder), f"lab/{name}"]
    measured(here, case, [*command, "--create-project", "--json"], FWSYNC_API_KEY=here.key)
    empty(case.folder)
    return case


def empty(folder: Path) -> None:
    """Give back the room of all files in a folder, and leave them there.

    An ext4 without a journal passes over each inode that was deleted in the last minutes,
    whenever it wants a free one: whoever came next would pay up to half a millisecond a file
    for what was tidied away before it. Source: Linux 6.18, fs/ext4/ialloc.c, observed.
    """
    for one in folder.rglob("*"):
        if one.is_file() and not one.is_symlink():
            os.truncate(one, 0)


def run(here: Ground, name: str, case: Case, scratch: Path) -> Cost:
    """One contestant into an empty folder; what it left there is counted, and emptied."""
    target = Path(tempfile.mkdtemp(prefix="target-", dir=scratch))
    os.sync()
    cost = CONTESTANTS[name](here, case, target)
    came = [one for one in target.rglob("*") if one.is_file() and ".fwsync" not in one.parts]
    size = sum(one.stat().st_size for one in came)
    if (len(came), size) != (case.files, case.files * case.size):
        raise SystemExit(f"{name}: {len(came)} files, {size} bytes came of {case}")
    empty(target)
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help=f"{FULL}, and not {DEFAULT}")
    parser.add_argument("--files", type=int)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--large", type=int)
    parser.add_argument("--large-size", type=int)
    parser.add_argument("--delay-ms", type=float, nargs="+", default=[0.0, 50.0])
    parser.add_argument("--window", type=int, help="bytes under way in one connection, at most")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sample", type=int, default=200, help="files of the slow ones")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--apart", action="store_true", help="server and contestant by themselves")
    parser.add_argument("--folder", type=Path, help="where files are written: the disk to measure")
    parser.add_argument("--out", type=Path, help="the figures, as JSON")
    wanted = parser.parse_args()
    usual = FULL if wanted.full else DEFAULT
    files, large, large_size = (
        usual[name] if getattr(wanted, name) is None else getattr(wanted, name) for name in usual
    )
    where = "apart from the server" if wanted.apart else "beside the server"
    rows: list[Json] = []
    with (
        ground(0, apart=wanted.apart, folder=wanted.folder) as here,
        tempfile.TemporaryDirectory(prefix="fwsync-bench-files-", dir=wanted.folder) as name,
    ):
        scratch = Path(name)
        cases, samples = [], {}
        if files:
            cases.append(fill(here, scratch, "small", files, wanted.size))
            sample = min(wanted.sample, files)
            samples["small"] = fill(here, scratch, "sample", sample, wanted.size)
        if large:
            cases.append(fill(here, scratch, "large", large, large_size))
        for case in cases:
            for delay_ms in wanted.delay_ms:
                here.relay(delay_ms, wanted.window)
                results: dict[str, list[Cost]] = {one: [] for one in wanted.only}
                for _ in range(wanted.runs):  # in turns, so that all share the machine's moods
                    for one in wanted.only:
                        brought = samples.get(case.name, case) if one in SAMPLED else case
                        results[one].append(run(here, one, brought, scratch))
                rows += show(case, delay_ms, where, results)
    if wanted.out:
        wanted.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
