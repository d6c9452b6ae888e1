"""What the cases of the torture share: the world that each runs in, and what must be so."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.house.house import Desk, Done, Ground, Tree, finish, plant, until
from tests.house.wire import Fault, FaultKind, Relay

SHIM = str(Path(__file__).with_name("shim.py"))
CODES = {0, 1, 2, 3, 4, 5, 6}  # how a run may end on its own; anything else is a crash
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EACCES)
FAULTS: tuple[FaultKind, ...] = ("reset", "lost", "cut", "503", "html")


@dataclass
class World:
    """What a case runs in: a sandbox of this torture's, a folder and names of the case's own."""

    ground: Ground
    folder: Path
    dice: random.Random
    label: str
    relay: Relay
    desk: Desk
    offset: int  #: of this torture, the same for all its cases

    def tree(self, *, small: int, large: int = 0) -> Tree:
        """A random tree; ``large`` files have a megabyte or some."""
        dice, tree = self.dice, dict[str, bytes]()
        for number in range(dice.randint(small // 2, small)):
            depth = dice.choices((0, 1, 2, 3), (1, 1, 2, 12))[0]
            folders = [f"{name}-{dice.randrange(3)}/" for name in ("sub", "ses", "acq")[:depth]]
            content = dice.randbytes(dice.choice((0, 1, 300, 4096, 20_000)))
            tree[f"{''.join(folders)}{number:03}.dcm"] = content
        for number in range(large):
            tree[f"sub-0/ses-0/acq-{number}/big-{number}"] = dice.randbytes(
                dice.randrange(1 << 20, 4 << 20)
            )
        return tree

    def seed_server(self, tree: Tree) -> None:
        """The project holds this tree; sent from a folder of its own."""
        away = plant(self.folder / "away", tree)
        must(self.desk.run("push", away, f"lab/{self.label}", "--json"))


def kill_at_stall(world: World, *args: str | Path) -> None:
    """Kill the command once the relay has let through what it may; it may have ended before."""
    process = world.desk.start(*args)
    until(
        lambda: process.poll() is not None or world.relay.stalled.is_set(),
        what="it is time to kill",
    )
    process.kill()
    done = finish(process)
    if done.code != -signal.SIGKILL:  # the budget was enough
        must(done)


def must(done: Done, code: int = 0) -> Done:
    """The run must have ended so."""
    if done.code != code:
        raise AssertionError(f"expected exit {code}\n{done}")
    return done


def may(done: Done) -> Done:
    """The run may have failed, but not crashed."""
    if done.code not in CODES or "Traceback" in done.err:
        raise AssertionError(f"a crash\n{done}")
    return done


def same(expected: object, actual: object, what: str) -> None:
    """They must be equal; the difference of large things is not printed whole."""
    if expected != actual:
        raise AssertionError(f"{what}:\n  expected {expected!r:.2000}\n  actual   {actual!r:.2000}")


class note:  # noqa: N801  # reads as a word in a with statement
    """Adds to an error what was going on."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            error.add_note(f"while {self._text}")


def only(i: int, fault: Fault) -> Callable[[int, str], Fault | None]:
    """A script by which one request meets a fault."""
    return lambda number, _: fault if number == i else None
