"""`fwsync demo`: the main job on real scans, from a scanner's folder to a server and back.

The one rule: nobody's word is taken. Each part runs as a process of its own, as a user
would start it; what arrived is read from the server's record, and what came back is
compared byte by byte with the files that were first put in.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fwsync.demo import scans
from fwsync.demo.server import Server, differences
from fwsync.demo.stage import Actor, ActorFailed, Stage
from fwsync.errors import Exit, FwsyncError
from fwsync.progress import SafeStream, printable, size_text

GROUP, PROJECT = "demo", "demo/scanner"

#: The watcher's quiet time, in seconds; 60 is the default for real scanners.
SETTLE_S = 2

#: How long each part may take at most, in seconds.
START_WITHIN_S, ARRIVE_WITHIN_S, STOP_WITHIN_S, PULL_WITHIN_S = 30.0, 90.0, 30.0, 60.0


@dataclass(slots=True)
class _Told:
    """Prints the stages as they begin, and keeps what the report says at the end."""

    began: float = field(default_factory=time.monotonic)
    report: list[tuple[str, str]] = field(default_factory=list)

    def stage(self, text: str) -> None:
        say(f"{time.monotonic() - self.began:5.1f} s  {text}")

    def add(self, what: str, text: str) -> None:
        self.report.append((what, text))


def say(text: str) -> None:
    """A line on stdout, at once: the demo is watched while it runs."""
    stream = SafeStream(sys.stdout)
    stream.write(f"{text}\n")
    stream.flush()


def run(keep: Path | None) -> Exit:
    """Play the demo.

    Args:
        keep: an empty or new folder where everything is left to look at; None: it goes.

    Returns:
        0 if every file came back as it was sent; 1 if not, and then each difference is told.

    Raises:
        FwsyncError: a part of it failed, or did not end in time.
    """
    try:
        with Stage(keep) as stage:
            return _play(stage, kept=keep is not None)
    except ActorFailed as failure:
        for line in failure.tail.splitlines():
            SafeStream(sys.stderr).write(f"  | {printable(line)}\n")
        raise


def _play(stage: Stage, *, kept: bool) -> Exit:
    told = _Told()
    session = scans.session()
    server = _open_server(stage, told)
    found = _send(stage, server, session, told)
    found += _fetch(stage, server, session.scans, told)
    if found:
        for one in found:
            say(f"difference: {printable(one)}")
        say(f"{len(found):,} differences; the demo has failed")
        return Exit.DIFFERENCES
    _report(told, len(session.scans), stage.folder if kept else None)
    return Exit.IN_STEP


def _open_server(stage: Stage, told: _Told) -> Server:
    """Start a sandbox, and make the group that the project will be in."""
    told.stage("starting a server of our own: fwsync sandbox")
    actor = stage.start("sandbox", "--json", "--port", "0", "--data", str(stage.folder / "server"))
    if not stage.until(lambda: actor.output().endswith("\n"), START_WITHIN_S):
        actor.fail(f"was not ready within {START_WITHIN_S:.0f} s")
    server = Server(json.loads(actor.output().splitlines()[0]))
    server.make_group(GROUP)
    told.stage(f"it listens at {server.url}; made the group {GROUP}")
    return server


def _send(stage: Stage, server: Server, session: scans.Session, told: _Told) -> list[str]:
    """Watch a folder while a scanner writes into it, until all of it is on the server."""
    export = stage.folder / "export"
    server.count_anew()
    told.stage(f"watching: fwsync watch EXPORT {PROJECT} --create-project --settle {SETTLE_S}")
    watcher = stage.start(
        "watch", str(export), PROJECT, "--create-project", "--settle", str(SETTLE_S), key=server.key
    )
    if not stage.until(lambda: PROJECT in server.holdings().containers, START_WITHIN_S):
        watcher.fail(f"did not make {PROJECT} within {START_WITHIN_S:.0f} s")

    wanted = {f"{PROJECT}/{path}": source for path, source in session.scans.items()}
    late = f"{PROJECT}/{session.late}"
    began = time.monotonic()
    told.stage(f"scanning: {len(wanted) - 1} real DICOM files, {session.series} series")
    grown = scans.scan(session, export)
    told.stage(f"written; {grown} files grew meanwhile, 1 had another name until the end")
    _arrive(stage, server, watcher, wanted.keys() - {late})
    told.stage("on the server; now a late slice of a series that was sent already")
    scans.write(session.scans[session.late], export / session.late)
    _arrive(stage, server, watcher, {late})
    took_s = time.monotonic() - began
    told.stage("on the server; stopping the watcher with SIGTERM")
    stage.dismiss(watcher, STOP_WITHIN_S)

    there, requests = server.holdings(), server.requests()
    depths = [path.count("/") for path in there.containers]
    told.add(
        "sent",
        f"{depths.count(2)} subjects, {depths.count(3)} sessions, {depths.count(4)} acquisitions,"
        f" {len(there.files)} files, {size_text(session.size)}",
    )
    told.add("", f"in {requests} requests and {took_s:.1f} s, the scanner's own pauses included")
    told.add("", "each file once, in its place; the late slice joined its acquisition")
    return [
        *_label("on the server", differences(wanted, there)),
        *_label("in the export folder", scans.compare(session.scans, scans.files_below(export))),
    ]


def _arrive(stage: Stage, server: Server, watcher: Actor, paths: set[str]) -> None:
    """Wait until the server's own record names all of these."""
    if not stage.until(lambda: paths <= server.holdings().files.keys(), ARRIVE_WITHIN_S):
        missing = sorted(paths - server.holdings().files.keys())
        watcher.fail(
            f"{len(missing)} files are not on the server after {ARRIVE_WITHIN_S:.0f} s,"
            f" the first of them {missing[0]}"
        )


def _fetch(stage: Stage, server: Server, wanted: Mapping[str, Path], told: _Told) -> list[str]:
    """Pull into an empty folder, compare every byte, and pull again."""
    fetched = stage.folder / "fetched"
    told.stage(f"fetching into an empty folder: fwsync pull {PROJECT} DEST")
    first = _pull(stage, server, fetched)
    told.add("fetched", f"{first.files} files, {size_text(first.bytes)}")
    told.add("", f"in {first.requests} requests and {first.seconds:.1f} s")
    told.stage("comparing every byte with the first originals")
    found = first.problems + _label("fetched", scans.compare(wanted, scans.files_below(fetched)))
    if found:
        return found

    told.stage("fetching again; nothing may move")
    again = _pull(stage, server, fetched)
    contents = server.contents_sent()
    if again.bytes or again.files or contents:
        found.append(
            f"the second pull: moved {again.bytes} bytes of {again.files} files"
            f" in {contents} requests for content; expected none"
        )
    told.add("again", f"{size_text(again.bytes)} in {again.requests} requests: all was there")
    after = scans.compare(wanted, scans.files_below(fetched))
    return [*found, *again.problems, *_label("fetched twice", after)]


@dataclass(frozen=True, slots=True)
class _Pulled:
    files: int
    bytes: int
    seconds: float
    requests: int  #: as the server counted them
    problems: list[str]  #: as `fwsync pull` told them; any is a difference


def _pull(stage: Stage, server: Server, fetched: Path) -> _Pulled:
    server.count_anew()
    actor = stage.start("pull", PROJECT, str(fetched), "--json", key=server.key)
    code = stage.finish(actor, PULL_WITHIN_S, codes=(Exit.IN_STEP, Exit.DIFFERENCES))
    try:
        events = [json.loads(line) for line in actor.output().splitlines()]
        summary = events[-1]
        told = [one for one in events if one["event"] == "problem"]
        problems = [f"{one['path']}: {one['message']}" for one in told]
        if code != Exit.IN_STEP:
            problems.append(f"ended with exit code {code}; expected 0")
        return _Pulled(
            summary["downloaded"],
            summary["bytes"],
            summary["seconds"],
            server.requests(),
            _label("fwsync pull", problems),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise FwsyncError("fwsync pull --json: its last line is not a summary") from error


def _label(where: str, found: Sequence[str]) -> list[str]:
    return [f"{where}: {one}" for one in found]


def _report(told: _Told, files: int, folder: Path | None) -> None:
    say("")
    for what, text in told.report:
        say(f"  {what:8} {text}")
    say("")
    say(f"all {files} files equal, byte for byte ({time.monotonic() - told.began:.1f} s)")
    say("")
    if folder is not None:
        say(f"everything is left in {folder}")
    say("where to go next:")
    say("  fwsync sandbox                      a server like this one, to try things on")
    say("  fwsync login                        the API key of your own site")
    say("  fwsync watch EXPORT GROUP/PROJECT   what you have just seen, on your own data")
