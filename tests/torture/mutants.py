"""``make mutants``: break the promises of the code one at a time; the tests must notice each.

A mutant is an exact text and what stands there instead, tried in a copy of the tree with the
tests that should kill it. One that survives is a promise that nobody tests, and one whose text is
no longer found is a promise that somebody has to look at: both end it with 1.

``--part K`` of six runs every sixth mutant, for the torture; ``--only WORD`` those so named.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = 6
LIMIT_S = 180  # seconds for the tests of one mutant; one that hangs is dead as well
COPIED = ("fwsync", "tests", "pyproject.toml", "README.md", "LICENSE")

DOWNLOADER = ("tests/room/test_downloader.py",)
UPLOADER = ("tests/room/test_uploader.py",)
LOCALFS = ("tests/room/test_localfs.py",)
RECONCILE = ("tests/pure/test_reconcile.py", "tests/pure/test_reconcile_properties.py")
PROMISES = ("tests/torture/test_promises.py",)
PLAN = ("tests/pure/test_plan.py",)
MAIN_JOB = ("tests/house/test_main_job.py::test_a_touch_moves_nothing",)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One promise, broken."""

    name: str
    file: str  #: below the package
    old: str  #: stands there exactly once
    new: str
    tests: tuple[str, ...]  #: the fastest first


MUTANTS = (
    # Downloads: whole or not there.
    Mutant("no fsync before the name", "downloader.py",
           "            os.fsync(part_fd)\n", "            pass\n", DOWNLOADER),
    Mutant("no fsync of the folder", "downloader.py",
           "            localfs.sync_folder(self._root_fd, folder)\n", "            pass\n",
           DOWNLOADER),
    Mutant("no size check of downloads", "downloader.py",
           "    if part.hasher.size != entry.size:\n", "    if False:\n", DOWNLOADER),
    Mutant("no hash check of downloads", "downloader.py",
           "    if entry.digest is not None and part.hasher.digest != entry.digest:\n",
           "    if False:\n", DOWNLOADER),
    Mutant("published over what appeared", "localfs.py",
           "    if look(root_fd, arrival.path) != arrival.replaces:\n", "    if False:\n", LOCALFS),
    Mutant("a rename where a link refuses", "localfs.py",
           "        os.link(part_name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd,"
           " follow_symlinks=False)\n",
           "        raise OSError(errno.EPERM, '')\n", LOCALFS),
    Mutant("nothing goes to the trash", "localfs.py",
           '                kept = keep_copy(root_fd, arrival.path, f"{trash}/{arrival.path}")\n',
           "                pass\n", LOCALFS),
    Mutant("discarded without a look", "localfs.py",
           "    if look(root_fd, path) != seen:\n", "    if False:\n", LOCALFS),
    Mutant("links on the way are followed", "localfs.py",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC", LOCALFS),
    Mutant("a FIFO hangs the open", "localfs.py",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
           "os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC", LOCALFS),
    # Uploads: believed once the server has named what it holds.
    Mutant("no size check of uploads", "uploader.py",
           "    if entry.size != source.size:\n", "    if False:\n", UPLOADER),
    Mutant("no hash check of uploads", "uploader.py",
           "    if entry.digest is not None and entry.digest != seen.digest:\n",
           "    if False:\n", UPLOADER),
    Mutant("no look after reading", "uploader.py",
           "            if localfs.stamp_of(os.fstat(file_fd)) != self._entry.stamp:\n"
           '                raise SourceChanged(f"{self.path}: changed while',
           "            if False:\n"
           '                raise SourceChanged(f"{self.path}: changed while', UPLOADER),
    Mutant("sent twice without a look", "uploader.py",
           "            if there is not None and there.digest and"
           " _difference(source, there) is None:\n",
           "            if False:\n", UPLOADER),
    Mutant("replaced without a look", "uploader.py",
           "        if (now and now.etag) == (seen and seen.etag):\n",
           "        if True:\n", UPLOADER),
    # What is decided.
    Mutant("unknown here counts as gone", "reconcile.py",
           "unseen_here.covers(path) or unseen_there.covers(path)",
           "unseen_there.covers(path)", RECONCILE),
    Mutant("unknown there counts as gone", "reconcile.py",
           "unseen_here.covers(path) or unseen_there.covers(path)",
           "unseen_here.covers(path)", RECONCILE),
    Mutant("a deletion beats an edit", "reconcile.py",
           "    (CHANGED, DELETED): Verb.UPLOAD,  # new content beats",
           "    (CHANGED, DELETED): Verb.DELETE_LOCAL,  # new content beats", RECONCILE),
    Mutant("two unknown hashes are equal", "reconcile.py",
           "    return one is not None and one == other\n", "    return one == other\n", PROMISES),
    Mutant("no cap on deletions", "plan.py",
           "    if allowed is None or len(lost) <= allowed:\n", "    if True:\n", PLAN),
    Mutant("an emptied root is believed", "plan.py",
           "    if facts.local_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:\n",
           "    if True:\n", PLAN),
    Mutant("an empty listing is believed", "plan.py",
           "    if facts.remote_files or facts.base_files < _ENOUGH_TO_BE_EMPTIED:\n",
           "    if True:\n", PLAN),
    Mutant("all changed at once is believed", "plan.py",
           "    if len(paths) * 100 < facts.base_files * _EVERYTHING_PERCENT:\n",
           "    if True:\n", PLAN),
    # What is remembered, and by whom.
    Mutant("the racy rule is off", "state_queries.py",
           '"(hashed_at_ns > 0 AND abs(hashed_at_ns - mtime_ns) >= :granularity)"',
           '"(hashed_at_ns > 0 AND :granularity >= 0)"',
           ("tests/room/test_state_scan.py", "tests/room/test_state.py")),
    Mutant("a newer state is used", "state_file.py",
           "    if version > newest:\n", "    if False:\n", ("tests/room/test_state_file.py",)),
    Mutant("a damaged state is used", "state_file.py",
           '    if verdict != "ok":\n        raise _damaged(shown, verdict.replace',
           "    if False:\n        raise _damaged(shown, verdict.replace",
           ("tests/room/test_state_file.py",)),
    Mutant("no lock", "locks.py",
           "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "            pass\n",
           ("tests/room/test_roots_locks.py", "tests/room/test_roots.py")),
    Mutant("another root is this root", "roots.py",
           "    if found != expected_id:\n", "    if False:\n", ("tests/room/test_roots.py",)),
    # What is seen and heard.
    Mutant("a folder that cannot be read is empty", "scanner.py",
           '        return [Unknown(scope, f"the folder cannot be opened ({reason})")], nowhere\n',
           "        return [], nowhere\n", ("tests/room/test_scanner.py",)),
    Mutant("everything is settled", "settle.py",
           "            known.settled = now >= self._due(known)\n",
           "            known.settled = True\n", ("tests/room/test_settle.py",)),
    Mutant("a cut tar is a whole one", "remotes/tarstream.py",
           'raise Cut(f"the archive ends {self._left} bytes before the end of a member")',
           "raise StopAsyncIteration", PROMISES),
    Mutant("a broken tar header is believed", "remotes/tarstream.py",
           "    if _number(stored) not in (unsigned, signed):\n", "    if False:\n",
           PROMISES),
    Mutant("the key goes to strangers", "remotes/calls.py",
           "        if self._header and request.url.origin() == self._origin:\n",
           "        if self._header:\n",
           ("tests/remotes/test_http_body.py", "tests/remotes/test_http.py")),
    Mutant("a container is made without a look", "remotes/flywheel.py",
           "            if found is not None:\n                return found\n            try:\n",
           "            try:\n",
           ("tests/contract/test_remote.py", "tests/contract/test_faults.py",
            "tests/room/test_engine_races.py")),
    Mutant("a run forgets what it did", "recorder.py",
           "            await self._state.call(State.record, outcomes)\n", "            pass\n",
           MAIN_JOB),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant."""

    mutant: Mutant
    killer: str  #: the test that failed; empty: none did
    why: str = ""  #: of a mutant that was not killed
    took_s: float = 0.0


def copy_tree(to: Path) -> None:
    """The sources and tests; the environment is the one that runs this."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, to / name, ignore=skipped)
        elif source.exists():
            shutil.copy(source, to / name)


def run_tests(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """The exit code of pytest (1: a test failed), and what it said."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "--timeout=10"]
    # -B: a source that is changed twice within a second must not be read from its .pyc.
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return 1, f"FAILED {tests[0]}::a test that does not end"
    return done.returncode, done.stdout + done.stderr


def first_failure(said: str) -> str:
    """The name of the test that failed."""
    found = re.search(r"^FAILED (\S+)", said, re.MULTILINE)
    return found[1].removeprefix("tests/") if found else ""


def try_mutant(mutant: Mutant, tree: Path) -> Verdict:
    """Break it, test it, and put it right again."""
    file = tree / "fwsync" / mutant.file
    text = file.read_text() if file.exists() else ""
    if text.count(mutant.old) != 1:
        return Verdict(mutant, "", f"its text stands {text.count(mutant.old)} times in the file")
    started = time.monotonic()
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, said = run_tests(tree, mutant.tests)
    finally:
        file.write_text(text)
    took_s = time.monotonic() - started
    if code == 1 and (killer := first_failure(said)):
        return Verdict(mutant, killer, took_s=took_s)
    why = "survived" if code == 0 else f"pytest gave {code}: {said[-400:]}"
    return Verdict(mutant, "", why, took_s)


def main() -> int:
    """Try them, and print what killed each."""
    parser = argparse.ArgumentParser(description="Break the code; the tests must notice.")
    parser.add_argument("--part", type=int, default=None)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    chosen = [one for one in MUTANTS if args.only in one.name]
    if args.part is not None:
        chosen = chosen[args.part % PARTS :: PARTS]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="fwsync-mutants-") as scratch:
        tree = Path(scratch)
        copy_tree(tree)
        # A test that fails anyway would kill everything.
        files = sorted({test for mutant in chosen for test in mutant.tests})
        sound: dict[str, bool] = {}
        for name in files:
            code, said = run_tests(tree, (name,))
            sound[name] = code == 0
            if code:
                print(f"without any mutant, {name} fails: {first_failure(said) or said[-400:]}")
        for mutant in chosen:
            if all(sound[test] for test in mutant.tests):
                verdict = try_mutant(mutant, tree)
            else:
                verdict = Verdict(mutant, "", "its tests fail without it")
            bad += not verdict.killer
            by = verdict.killer or f"NOTHING: {verdict.why}"
            print(f"{mutant.name:<38} {verdict.took_s:5.1f} s  {by}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutants killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
