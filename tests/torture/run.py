"""``make torture``: kill it, starve it, cut its wires, feed it nonsense; it must come through.

``run.py --seed N --budget-s S [--kind K] [--case I]``. Every case follows from the seed, its kind
and its number alone, so that one that failed can be run again by itself; the command is printed.
Kinds take turns, each getting an equal share of the time that is left, and every kind runs at
least one case, however small the budget.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.conformance import environments  # noqa: E402
from tests.house.house import (  # noqa: E402
    Desk,
    Ground,
    Tree,
    check_state,
    expected_record,
    finish,
    grounded,
    grown,
    leftovers,
    plant,
    record_of,
    size_of,
    stop_watch,
    until,
    visible,
)
from tests.house.wire import Fault  # noqa: E402
from tests.torture.beside import case_beside  # noqa: E402
from tests.torture.parts import (  # noqa: E402
    ERRNOS,
    FAULTS,
    SHIM,
    World,
    kill_at_stall,
    may,
    must,
    note,
    only,
    same,
)
from tests.torture.two_way import case_machines, case_nth, case_power, case_sync  # noqa: E402

ROUTES = ("auto", "multipart", "form", "signed")  # the ways up of a push


# ------------------------------------------------------------------------------- the parts


def args_of(command: str, root: Path, label: str) -> tuple[str | Path, ...]:
    """The command line, without flags."""
    target = f"lab/{label}"
    return ("pull", target, root) if command == "pull" else (command, root, target)


def check_clean_run(world: World, command: str, label: str, root: Path, tree: Tree) -> None:
    """A run without faults converges; the server's record proves it."""
    must(world.desk.run(*args_of(command, root, label), "--json"))
    same(expected_record(tree), record_of(world.ground, label), "the server's record")
    same([], world.ground.twins(), "containers that are there twice")
    same(tree, grown(root), "the folder")
    same([], leftovers(root), "leftovers")
    check_state(root)


def check_again(world: World, command: str, root: Path, label: str) -> None:
    """One more run has nothing to do."""
    done = must(world.desk.run(*args_of(command, root, label), "--json"))
    same({}, done.moved(), "what one more run did")


def check(world: World, command: str, root: Path, tree: Tree) -> None:
    """Both."""
    check_clean_run(world, command, world.label, root, tree)
    check_again(world, command, root, world.label)


# -------------------------------------------------------------------------------- kill loops


def case_kill(world: World, number: int) -> None:
    """Killed at random moments, up to three times in a row; then a run to the end."""
    command = ("push", "pull", "watch")[number % 3]
    tree = world.tree(small=120, large=2)
    root, target = world.folder / "root", f"lab/{world.label}"
    if command == "pull":
        world.seed_server(tree)
        args: tuple[str | Path, ...] = ("pull", target, root)
    else:
        plant(root, tree)
        args = (command, root, target, *(("--settle", "0.1") if command == "watch" else ()))
    transfers = str(world.dice.randint(1, 8))
    start = world.ground.count(world.label)

    def moved() -> int:
        return visible(root) if command == "pull" else world.ground.count(world.label) - start

    for _ in range(world.dice.randint(1, 3)):
        budget = max(1, int(size_of(tree) * world.dice.random()))
        limit = {"down": budget} if command == "pull" else {"up": budget}
        world.ground.run(world.relay.limit(**limit))
        # Never more than there is: a watch goes on, and what is all sent neither moves nor stalls.
        least = min(moved() + world.dice.randrange(len(tree)), len(tree))
        process = world.desk.start(*args, "--transfers", transfers, "--json")
        until(
            lambda p=process, n=least: (  # type: ignore[misc]  # bound now, for this round
                p.poll() is not None or moved() >= n or world.relay.stalled.is_set()
            ),
            what="it is time to kill",
        )
        process.kill()
        done = finish(process)
        if done.code != -signal.SIGKILL:  # the budget was enough, or it was just ending
            must(done)
    world.ground.run(world.relay.limit())
    if command == "watch":
        process = world.desk.start(*args, "--json")
        until(lambda: world.ground.count(world.label) >= len(tree), what="watch sends the rest")
        must(stop_watch(process))
    check(world, "pull" if command == "pull" else "push", root, tree)


LARGE = 24 << 20  # bytes of a file that comes in pieces, at least


def case_pieces(world: World, number: int) -> None:
    """A pull of large files is killed in the middle of them, again and again; then to the end."""
    tree = dict(world.tree(small=10))
    for name in ("one", "two")[: 1 + number % 2]:
        tree[f"sub-0/ses-0/acq-0/{name}"] = world.dice.randbytes(
            LARGE + world.dice.randrange(LARGE)
        )
    world.seed_server(tree)
    root, target = world.folder / "root", f"lab/{world.label}"
    transfers = str(world.dice.choice((1, 2, 8)))
    for _ in range(world.dice.randint(1, 4)):
        world.ground.run(world.relay.limit(down=world.dice.randrange(size_of(tree))))
        kill_at_stall(world, "pull", target, root, "--transfers", transfers, "--json")
        landed = grown(root)
        same({path: tree.get(path) for path in landed}, landed, "what had landed")
    world.ground.run(world.relay.limit())
    check(world, "pull", root, tree)


# ----------------------------------------------------------------------- an operation fails


STRIDE = 12  # every so many operations one fails; as many cases meet them all


def case_disk(world: World, number: int) -> None:
    """Every twelfth operation on a file fails in a run of its own, once or for good."""
    command = ("push", "pull")[number % 2]
    tree = world.tree(small=6, large=number // 2 % 2)
    log = world.folder / "log"
    if command == "pull":
        world.seed_server(tree)
    # From where the torture's seed says; together the cases of a command meet every operation.
    i = 1 + (world.offset + number // 2) % STRIDE
    while True:
        label = f"{world.label}-{i}" if command == "push" else world.label
        root = world.folder / f"root-{i}"
        if command == "push":
            world.ground.project(label)
            plant(root, tree)
        else:
            root.mkdir()
        code, for_good = world.dice.choice(ERRNOS), world.dice.random() < 0.3
        spec = {"below": str(root), "log": str(log), "fail_at": i, "errno": code}
        spec["for_good"] = for_good
        log.unlink(missing_ok=True)
        args = args_of(command, root, label)
        program = (SHIM, json.dumps(spec))
        again = "for good" if for_good else "once"
        with note(f"operation {i} fails {again} with {os.strerror(code)} ({command})"):
            failing = world.desk.run(*args, "--transfers", "1", "--json", program=program)
            seen = log.read_text().splitlines()
            with note("the operation was: " + (seen[i - 1] if i <= len(seen) else "none")):
                may(failing)
                if command == "pull":
                    landed = grown(root)
                    same({path: tree.get(path) for path in landed}, landed, "what had landed")
                check_clean_run(world, command, label, root, tree)
        if i > len(seen):
            check_again(world, command, root, label)
            return  # no operation failed: that was all of them
        i += STRIDE


# ------------------------------------------------------------------------- a request fails


def case_wire(world: World, number: int) -> None:
    """Every fourth request meets a fault in a run of its own; pushes go by one way or another."""
    command = ("push", "pull")[number % 2]
    kind = FAULTS[number // 2 % len(FAULTS)]
    route = ROUTES[(world.offset + number // 2) % len(ROUTES)]
    world.desk.env["FWSYNC_ROUTE"] = route
    tree = world.tree(small=5, large=number // 10 % 2)
    if command == "pull":
        world.seed_server(tree)
    i, step = 1 + (world.offset + number) % 4, 4
    while True:
        label = f"{world.label}-{i}" if command == "push" else world.label
        root = world.folder / f"root-{i}"
        if command == "push":
            world.ground.project(label)
            plant(root, tree)
        fault = Fault(kind, world.dice.choice((0, 1, 40, 300, 5000)))
        with note(f"request {i} meets {fault} ({command} by {route})"):
            world.ground.run(world.relay.script(only(i, fault)))
            args = args_of(command, root, label)
            may(world.desk.run(*args, "--patience", "20", "--json"))
            asked = world.relay.requests
            world.ground.run(world.relay.script(None))
            check_clean_run(world, command, label, root, tree)
        if asked < i:
            check_again(world, command, root, label)
            return
        i += step


def case_storm(world: World, number: int) -> None:
    """Some of all requests meet some fault; the run goes on, or is taken up by the next."""
    tree = world.tree(small=60, large=1)
    root = world.folder / "root"
    dice = random.Random(world.dice.random())
    share = dice.choice((0.02, 0.1, 0.3))

    def script(_: int, __: str) -> Fault | None:
        if dice.random() >= share:
            return None
        return Fault(dice.choice(FAULTS), dice.choice((0, 40, 3000)))

    push = number % 2 == 0
    if push:
        plant(root, tree)
    else:
        world.seed_server(tree)
    target = f"lab/{world.label}"
    args = ("push", root, target) if push else ("pull", target, root)
    world.ground.run(world.relay.script(script))
    may(world.desk.run(*args, "--patience", "5", "--json", within_s=120))
    world.ground.run(world.relay.script(None))
    check(world, "push" if push else "pull", root, tree)


# -------------------------------------------------------------------------------- the pure

PURE = (
    "tests/remotes/test_tarstream.py",
    "tests/remotes/test_tarstream_differential.py",
    "tests/remotes/test_fetch_members.py",
    "tests/pure/test_reconcile_properties.py",
    "tests/pure/test_layout.py",
    "tests/pure/test_plan.py",
    "tests/room/test_state.py",
)


def case_fuzz(world: World, number: int) -> None:
    """The tar reader, the layout, the core and the state by Hypothesis, a file at a time."""
    seed = world.dice.randrange(1 << 32)
    examples = "torture" if number >= len(PURE) else "ci"  # the first round is a short one
    run_pytest(PURE[number % len(PURE)], f"--hypothesis-seed={seed}", profile=examples)


FUZZ_S = 45  # of one case
LEAST_FED = 1000  # archives in that time; a machine at rest does some thousands a second
PLANTED = "the planted mistake was found"  # as fuzz_tar.py says it


def case_atheris(world: World, number: int) -> None:
    """The tar reader under atheris; first it has to find a mistake that was planted there."""
    corpus = world.folder / "corpus"
    corpus.mkdir()
    command = [str(environments.python("fuzz")), str(ROOT / "tests/torture/fuzz_tar.py")]
    command += [str(corpus), f"-seed={world.dice.randrange(1, 1 << 31)}", "-max_len=8192"]
    command += [f"-artifact_prefix={world.folder}/", "-print_final_stats=1"]
    command += [f"-max_total_time={FUZZ_S * 4}", "--plant"] if number == 0 else []
    command += [f"-max_total_time={FUZZ_S}"] if number else []
    done = subprocess.run(
        command, cwd=world.folder, capture_output=True, text=True, check=False, timeout=300
    )
    said = done.stdout + done.stderr
    if number == 0:
        if PLANTED not in said:
            raise AssertionError(f"atheris did not find what was planted\n{said[-6000:]}")
        return
    fed = re.search(r"number_of_executed_units: *(\d+)", said)
    if done.returncode or fed is None or int(fed[1]) < LEAST_FED:
        found = [zlib.compress(one.read_bytes()) for one in world.folder.glob("crash-*")]
        fed_last = "\n".join(base64.b64encode(one).decode() for one in found)
        told = said[max(said.find("Uncaught Python exception"), len(said) - 6000) :]
        raise AssertionError(f"exit {done.returncode}: {told}\nfed last, zlib, base64: {fed_last}")


def case_mutants(world: World, number: int) -> None:
    """A part of the mutants; see ``mutants.py``."""
    del world
    command = [sys.executable, str(ROOT / "tests/torture/mutants.py"), "--part", str(number)]
    run_quietly(command, dict(os.environ), 600)


def run_pytest(*args: str, profile: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *args]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    run_quietly([*command, "--timeout=900"], environment, 900)


def run_quietly(command: list[str], environment: dict[str, str], within_s: float) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    if done.returncode:
        raise AssertionError(f"exit {done.returncode}: {' '.join(command)}\n{done.stdout[-6000:]}")


# ------------------------------------------------------------------------------- the torture


@dataclass
class Kind:
    """A kind of case, and how many of them are planned."""

    name: str
    case: Callable[[World, int], None]
    planned: int
    ran: int = 0
    spent_s: float = 0.0
    longest_s: float = field(default=0.0)


def kinds() -> list[Kind]:
    """What there is; the counts are what CI runs in ten minutes or so."""
    return [
        Kind("kill", case_kill, 18),
        Kind("pieces", case_pieces, 6),
        Kind("beside", case_beside, 6),
        Kind("disk", case_disk, 8),
        Kind("wire", case_wire, 10),
        Kind("storm", case_storm, 8),
        Kind("sync", case_sync, 12),
        Kind("nth", case_nth, 9),
        Kind("power", case_power, 6),
        Kind("machines", case_machines, 8),
        Kind("fuzz", case_fuzz, len(PURE) + 1),
        Kind("atheris", case_atheris, 3),
        Kind("mutants", case_mutants, 12),
    ]


def run_case(kind: Kind, number: int, seed: int, ground: Ground, folder: Path) -> None:
    """One case in a world of its own."""
    dice = random.Random(f"{seed}/{kind.name}/{number}")
    label = f"{kind.name}-{number}"
    here = folder / label
    here.mkdir()
    ground.project(label)
    relay = ground.relay()
    desk = Desk(here / "home", ground.key(port=relay.port))
    world = World(ground, here, dice, label, relay, desk, seed)
    started = time.monotonic()
    try:
        kind.case(world, number)
    finally:
        took = time.monotonic() - started
        kind.spent_s += took
        kind.longest_s = max(kind.longest_s, took)
    kind.ran += 1
    shutil.rmtree(here)


def turns(every: list[Kind], ends_at: float) -> Iterator[Kind]:
    """Whose case comes next: first one of each, then who has had the least time, while it lasts."""
    yield from every
    while True:
        left_s = ends_at - time.monotonic()
        able = [
            kind for kind in every if kind.ran < kind.planned and kind.spent_s / kind.ran < left_s
        ]
        if not able:
            return
        yield min(able, key=lambda kind: kind.spent_s)


def main() -> int:
    """Run, and say what ran."""
    parser = argparse.ArgumentParser(description="Kill it, starve it, cut its wires.")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--budget-s", type=float, default=1200)
    parser.add_argument("--kind", default=None, help="only this one")
    parser.add_argument("--case", type=int, default=None, help="only this case of it")
    parser.add_argument("--more", type=int, default=1, help="so many times the planned cases")
    args = parser.parse_args()
    logging.disable()  # the sandbox complains of connections that we cut
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    print(f"torture: seed {seed}, {args.budget_s:.0f} s", flush=True)
    every = [kind for kind in kinds() if args.kind in (None, kind.name)]
    for kind in every:
        kind.planned *= args.more
    ends_at = time.monotonic() + args.budget_s
    failed = False
    with tempfile.TemporaryDirectory(prefix="fwsync-torture-") as scratch:
        folder = Path(scratch)
        with grounded(folder / "sandbox") as ground:
            for kind in turns(every, ends_at):
                number = kind.ran if args.case is None else args.case
                try:
                    run_case(kind, number, seed, ground, folder)
                except Exception:  # whatever it is, the seed has to be told
                    failed = True
                    traceback.print_exc()
                    print(
                        f"torture: {kind.name} {number} failed; again with\n  {sys.executable} "
                        f"tests/torture/run.py --seed {seed} --kind {kind.name} --case {number}"
                    )
                    break
                if args.case is not None:
                    break
    for kind in every:
        slow = f", the longest {kind.longest_s:.0f} s" if kind.ran else ""
        print(
            f"{kind.name:<8} {kind.ran} of {kind.planned} cases ran in {kind.spent_s:.0f} s{slow}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
