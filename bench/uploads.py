"""Uploads beside the official SDK, the official CLI and curl: the same bytes, the same server.

    python bench/uploads.py [--files N] [--size BYTES] [--large N] [--large-size BYTES]
        [--delay-ms 0 50] [--runs 3] [--sample N] [--only NAME …] [--apart]

Every contestant speaks to the sandbox through one relay process of ours, which adds the
latency, and finds a sandbox of its own with nothing in it. curl and the SDK's loops put
files into containers that are there already; fwsync and the CLI make theirs. Slow ones run
on a sample of the files; rates per file are compared, and the sample is printed.

With --apart, server and relay have the first processor and the contestant has the others.

Needs the environments of the official SDK and CLI, which `make conformance-env` makes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ground import Case, Cost, Ground, Json, ground, make_case, measured, show
from tests.conformance import environments

#: What the SDK's users write: one call a file.
SDK_LOOP = """
import json, os, sys, time
import flywheel
key, signed, listing = sys.argv[1], sys.argv[2] == "signed", sys.argv[3]
files = json.load(open(listing))
client = flywheel.Client(key)
began = time.monotonic()
for container, path in files:
    client.upload_file_to_acquisition(container, path, signed=signed)
print(time.monotonic() - began)
"""


def containers(here: Ground, case: Case) -> dict[str, str]:
    """Make the containers of a case; acquisition's folder -> its id."""

    def make(kind: str, **body: object) -> str:
        return str(here.ask("POST", f"/api/{kind}", body)["_id"])

    project = make("projects", label="bench", group="lab")
    made: dict[str, str] = {}
    subjects: dict[str, str] = {}
    sessions: dict[str, str] = {}
    for folder in sorted({one.parent for one in case.folder.rglob("*") if one.is_file()}):
        subject, session, acquisition = folder.relative_to(case.folder).parts
        if subject not in subjects:
            subjects[subject] = make("subjects", label=subject, code=subject, project=project)
        place = f"{subject}/{session}"
        if place not in sessions:
            above = {"_id": subjects[subject]}
            sessions[place] = make("sessions", label=session, project=project, subject=above)
        made[str(folder)] = make("acquisitions", label=acquisition, session=sessions[place])
    return made


# ----------------------------------------------------------------------------- contestants


def fwsync(route: str) -> Callable[[Ground, Case], Cost]:
    def run(here: Ground, case: Case) -> Cost:
        source = here.scratch / "source"
        shutil.copytree(case.folder, source, copy_function=os.link)
        command = [sys.executable, "-m", "fwsync", "push", str(source), "lab/bench"]
        command += ["--create-project", "--route", route, "--json"]
        if route == "packfile":  # the site makes the zips: one of each acquisition
            command += ["--pack-acquisitions", "archive"]
        return measured(here, case, command, FWSYNC_API_KEY=here.key)

    return run


def sdk(how: str) -> Callable[[Ground, Case], Cost]:
    def run(here: Ground, case: Case) -> Cost:
        made = containers(here, case)
        listing = here.scratch / "files.json"
        files = sorted(one for one in case.folder.rglob("*") if one.is_file())
        listing.write_text(json.dumps([(made[str(one.parent)], str(one)) for one in files]))
        python = str(environments.python("sdk"))
        return measured(here, case, [python, "-c", SDK_LOOP, here.key, how, str(listing)])

    return run


def cli(here: Ground, case: Case) -> Cost:
    fw = str(environments.program("cli", "fw"))
    measured(here, case, [fw, "login", here.key])
    command = [fw, "ingest", "folder", str(case.folder), "-g", "lab", "-p", "bench"]
    # Its own names for the levels: what lies in the acquisition is a file, not a pack.
    return measured(here, case, [*command, "-y", "--no-audit-log", "--jobs", "4"])


def curl(here: Ground, case: Case) -> Cost:
    """One form a file, as many at a time as curl is given: the limit of the machine."""
    made = containers(here, case)
    lines = []
    for one in sorted(one for one in case.folder.rglob("*") if one.is_file()):
        lines += [
            f'url = "{here.url}/api/acquisitions/{made[str(one.parent)]}/files"',
            f'form = "file=@{one};type=application/octet-stream"',
            f'header = "Authorization: {here.authorization}"',
            'output = "/dev/null"',
            "fail",
            "next",
        ]
    config = here.scratch / "curl"
    config.write_text("\n".join(lines[:-1]))
    command = ["curl", "-sS", "--parallel", "--parallel-max", "16", "-K", str(config)]
    return measured(here, case, command)


#: One file to where a ticket says, with curl alone: ticket, bytes, finalize.
CURL_SIGNED = """
set -e
files="$FW_URL/api/acquisitions/$1/files"
name="${2##*/}"
said=$(curl -sSf -H "Authorization: $FW_AUTH" -H 'Content-Type: application/json' \\
    -d "{\\"metadata\\": {}, \\"filenames\\": [\\"$name\\"]}" "$files?ticket=")
ticket=$(expr "$said" : '.*"ticket": *"\\([^"]*\\)"')
url=$(expr "$said" : '.*"urls": *{[^}]*": *"\\([^"]*\\)"')
curl -sSf -o /dev/null -H 'Content-Type:' -T "$2" "$url"
curl -sSf -o /dev/null -X POST -H "Authorization: $FW_AUTH" "$files?ticket=$ticket"
"""


def curl_signed(here: Ground, case: Case) -> Cost:
    """Each file by a signed address, in one piece: the limit of that way."""
    made = containers(here, case)
    listing = here.scratch / "files"
    files = sorted(one for one in case.folder.rglob("*") if one.is_file())
    listing.write_text("".join(f"{made[str(one.parent)]}\n{one}\n" for one in files))
    command = ["xargs", "-a", str(listing), "-P", "16", "-n", "2", "sh", "-c", CURL_SIGNED, "sh"]
    return measured(here, case, command, FW_URL=here.url, FW_AUTH=here.authorization)


CONTESTANTS: dict[str, Callable[[Ground, Case], Cost]] = {
    "fwsync auto": fwsync("auto"),
    "fwsync multipart": fwsync("multipart"),
    "fwsync signed": fwsync("signed"),
    "fwsync form": fwsync("form"),
    "fwsync packfile": fwsync("packfile"),
    "curl": curl,
    "curl signed": curl_signed,
    "SDK unsigned": sdk("unsigned"),
    "SDK signed": sdk("signed"),
    "CLI": cli,
}

#: Those that are too slow for all the small files.
SAMPLED = ("curl signed", "SDK unsigned", "SDK signed", "CLI")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--large-size", type=int, default=1 << 30)
    parser.add_argument("--delay-ms", type=float, nargs="+", default=[0.0, 50.0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sample", type=int, default=200, help="files of the slow ones")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--apart", action="store_true", help="server and contestant by themselves")
    parser.add_argument("--out", type=Path, help="the figures, as JSON")
    wanted = parser.parse_args()
    rows: list[Json] = []
    where = "apart from the server" if wanted.apart else "beside the server"
    with tempfile.TemporaryDirectory(prefix="fwsync-bench-files-") as name:
        scratch = Path(name)
        cases = []
        if wanted.files:
            cases.append(make_case(scratch, "small", wanted.files, wanted.size))
        if wanted.large:
            cases.append(make_case(scratch, "large", wanted.large, wanted.large_size))
        samples = {
            "small": make_case(scratch, "sample", min(wanted.sample, wanted.files), wanted.size)
        }
        for case in cases:
            for delay_ms in wanted.delay_ms:
                results: dict[str, list[Cost]] = {one: [] for one in wanted.only}
                for _ in range(wanted.runs):  # in turns, so that all share the machine's moods
                    for one in wanted.only:
                        sent = samples.get(case.name, case) if one in SAMPLED else case
                        with ground(delay_ms, apart=wanted.apart) as here:
                            results[one].append(CONTESTANTS[one](here, sent))
                rows += show(case, delay_ms, where, results)
    if wanted.out:
        wanted.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
