"""``make mutants``: break the promises of the code one at a time; the tests must notice each.

A mutant is an exact text and what stands there instead, tried in a copy of the tree with the
tests that should kill it. One that survives is a promise that nobody tests, and one whose text is
no longer found is a promise that somebody has to look at: both end it with 1. So does one that
only a mistake of its own ended (a name that is nowhere, a test that does not end): that proves
nothing of the promise.

``--part K`` of twelve runs every twelfth mutant, for the torture; ``--only WORD`` those so named.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.torture.safeguards import MUTANTS, Mutant  # noqa: E402

PARTS = 12
LIMIT_S = 240  # seconds for the tests of one mutant
ALL_S = 900  # seconds for all tests without a mutant
TEST_S = 60  # seconds for one test
HANG_S = 10  # the same, where the mutant is one that hangs
COPIED = ("fwsync", "tests", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant."""

    mutant: Mutant
    killer: str  #: the test that failed; empty: none did
    why: str = ""  #: what that test said; of a mutant that was not killed, why not
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


def run_tests(
    tree: Path, tests: Sequence[str], limit_s: int = TEST_S, whole_s: int = LIMIT_S
) -> tuple[int, str]:
    """The exit code of pytest (1: a test failed), and what it said.

    Args:
        tree: the copy.
        tests: files, or tests in them.
        limit_s: for one test, in seconds.
        whole_s: for all of them.
    """
    options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", f"--timeout={limit_s}"]
    # -B: a source that is changed twice within a second must not be read from its .pyc.
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["COLUMNS"] = "400"  # or the reasons are cut off
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=whole_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and what the tests had started
        process.communicate()
        return 1, f"FAILED {tests[0]} - {TIMED_OUT} all of it"
    return process.returncode, said


TIMED_OUT = "Failed: Timeout"  # as pytest-timeout says it
#: What a mutant dies of that is no Python, rather than of the promise it breaks.
SLIPS = ("SyntaxError", "IndentationError", "NameError", "UnboundLocalError", "ImportError")


def first_failure(said: str) -> tuple[str, str]:
    """The name of the test that failed, and why; both empty where none did."""
    found = re.search(r"^FAILED (\S+?(?:\[.*?\])?)(?: - (.*))?$", said, re.MULTILINE)
    return (found[1].removeprefix("tests/"), found[2] or "") if found else ("", "")


def judge(mutant: Mutant, code: int, said: str) -> tuple[str, str]:
    """The test that killed it and what it said; or no test, and why it does not count."""
    killer, why = first_failure(said)
    if code == 0:
        return "", "survived"
    if code != 1 or not killer:
        return "", f"pytest gave {code}: {said[-400:]}"
    if why.startswith(TIMED_OUT) and not mutant.hangs:
        return "", f"{killer} did not end, which is no proof"
    if why.startswith(SLIPS):
        return "", f"{killer} failed for a slip of the mutant: {why}"
    return killer, why


def try_mutant(mutant: Mutant, tree: Path) -> Verdict:
    """Break it, test it, and put it right again."""
    file = tree / "fwsync" / mutant.file
    text = file.read_text() if file.exists() else ""
    if text.count(mutant.old) != 1:
        return Verdict(mutant, "", f"its text stands {text.count(mutant.old)} times in the file")
    started = time.monotonic()
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, said = run_tests(tree, mutant.tests, HANG_S if mutant.hangs else TEST_S)
    finally:
        file.write_text(text)
    return Verdict(mutant, *judge(mutant, code, said), time.monotonic() - started)


def failing_anyway(tree: Path, tests: Sequence[str]) -> set[str]:
    """The tests that fail without any mutant, and so would kill everything."""
    if run_tests(tree, tests, whole_s=ALL_S)[0] == 0:
        return set()
    failing: set[str] = set()
    for name in tests:
        code, said = run_tests(tree, [name])
        if code:
            failing.add(name)
            found = ": ".join(first_failure(said)) if code == 1 else said[-400:]
            print(f"without any mutant, {name} fails: {found}", flush=True)
    return failing


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
        unsound = failing_anyway(tree, sorted({test for one in chosen for test in one.tests}))
        for mutant in chosen:
            if unsound.isdisjoint(mutant.tests):
                verdict = try_mutant(mutant, tree)
            else:
                verdict = Verdict(mutant, "", "its tests fail without it")
            bad += not verdict.killer
            by = verdict.killer or "NOTHING"
            print(f"{mutant.name:<38} {verdict.took_s:5.1f} s  {by}: {verdict.why}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutants killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
