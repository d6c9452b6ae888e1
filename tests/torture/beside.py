"""The torture of what comes down beside the files: sidecars of metadata, and analyses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.house.house import Tree, check_state, grown, leftovers
from tests.house.test_pull_extras import analysed
from tests.house.wire import Fault
from tests.torture.parts import (
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

#: Of so many operations on files one fails; of so many requests one meets a fault.
STRIDE, OF_REQUESTS = 61, 2


def case_beside(world: World, number: int) -> None:
    """A pull of sidecars and analyses is killed, or its disk or its wire fails; one is edited."""
    tree = {**world.tree(small=12), "sub-0/ses-0/acq-0/one.dcm": b"one"}
    world.seed_server(tree)
    for _ in range(2):  # of one label
        analysed(world.ground, world.label, world.dice.randbytes(9000))
    args = ("pull", f"lab/{world.label}")
    flags = ("--metadata", "--analyses", "--json")
    whole = world.folder / "whole"
    must(world.desk.run(*args, whole, *flags))
    expected = grown(whole)
    step = OF_REQUESTS if number % 3 == 2 else STRIDE
    i = 1 + (world.offset + number // 3) % step
    for turn in range(2 if number % 3 == 0 else 100):
        root = world.folder / f"root-{turn}"
        disturb = (_killed_beside, _failing_beside, _cut_beside)[number % 3]
        with note(f"turn {turn}, at {i}"):
            ended = disturb(world, (*args, root, *flags), i, sum(map(len, expected.values())))
            landed = grown(root)
            same({path: expected.get(path) for path in landed}, landed, "what had landed")
            _check_edited(world, (*args, root, *flags), root, expected)
        i += step
        if ended:
            return


def _check_edited(world: World, args: Sequence[str | Path], root: Path, expected: Tree) -> None:
    """What a user made of a sidecar stays until the user lets it go; all else is as it is there."""
    sidecars = sorted(path for path in grown(root) if path.endswith(".flywheel.json"))
    edited = dict.fromkeys(sidecars[:1], b"mine")
    for path, content in edited.items():
        (root / path).write_bytes(content)
    must(world.desk.run(*args), 1 if edited else 0)
    same({**expected, **edited}, grown(root), "the folder, with what was edited")
    for path in edited:
        (root / path).unlink()
    must(world.desk.run(*args))
    same(expected, grown(root), "the folder")
    same({}, must(world.desk.run(*args)).moved(), "what one more run did")
    same([], leftovers(root), "leftovers")
    check_state(root)


def _killed_beside(world: World, args: tuple[str | Path, ...], i: int, size: int) -> bool:
    for _ in range(3):
        world.ground.run(world.relay.limit(down=world.dice.randrange(2 * size) + i))
        kill_at_stall(world, *args)
    world.ground.run(world.relay.limit())
    return False


def _failing_beside(world: World, args: tuple[str | Path, ...], i: int, size: int) -> bool:
    del size
    root, log = Path(args[2]), world.folder / "log"
    root.mkdir()
    log.unlink(missing_ok=True)
    spec = {"below": str(root), "log": str(log), "fail_at": i}
    spec |= {"errno": world.dice.choice(ERRNOS), "for_good": world.dice.random() < 0.3}
    with note(f"operations fail: {spec}"):
        may(world.desk.run(*args, "--transfers", "1", program=(SHIM, json.dumps(spec))))
    return len(log.read_text().splitlines()) < i


def _cut_beside(world: World, args: tuple[str | Path, ...], i: int, size: int) -> bool:
    del size
    fault = Fault(world.dice.choice(FAULTS), world.dice.choice((0, 40, 3000)))
    with note(f"request {i} meets {fault}"):
        world.ground.run(world.relay.script(only(i, fault)))
        may(world.desk.run(*args, "--patience", "5"))
        asked = world.relay.requests
        world.ground.run(world.relay.script(None))
    return asked < i
