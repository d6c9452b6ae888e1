"""fwsync in a process that dies at a named point: ``points.py SPEC ARGS…``.

A point is a function of the program and a moment at it. It is named here, and not in the program:
nothing of this is in what people run. A function that is not there any more is an error at once.

SPEC is JSON:

- ``at``: ``module:function``, as ``fwsync.renaming:keep_copy``.
- ``moment``: ``before`` or ``after`` a call.
- ``nth``: which call, from 1.
- ``gate``: a FIFO. Without it the process is killed there, as by ``kill -9``; with it, it waits
  there until somebody has opened the FIFO for writing and closed it again.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """A moment at which a process can die."""

    row: str  #: of the catalogue of faults
    at: str  #: ``module:function`` below ``fwsync``
    moment: str = "before"
    nth: int = 1
    flags: tuple[str, ...] = ()  #: of the run that comes there
    of_push: bool = True  #: a push comes there, too
    of_pull: bool = True  #: a pull does

    def __str__(self) -> str:
        return f"{self.row}-{self.moment}-{self.at.rpartition('.')[2]}-{self.nth}"

    @property
    def spec(self) -> dict[str, object]:
        """For the program."""
        return {"at": f"fwsync.{self.at}", "moment": self.moment, "nth": self.nth}


_SIGNED = ("--route", "signed")

POINTS = (
    # While the two sides are seen.
    Point("F01", "state:State.start_listing", "after"),
    Point("F01", "state:State.take_listing", "after"),
    Point("F02", "state:State.start_scan", "after", of_pull=False),
    Point("F02", "scanner:hash_file", "after", of_push=False, of_pull=False),
    Point("F02", "state:State.remember", "after", of_push=False, of_pull=False),
    Point("F03", "executor:Executor.carry_out"),
    # On the way up.
    Point("F04", "sources:_Reading._block", "after", 2, of_pull=False),
    Point("F05", "sources:Source.known", "after", 3, of_pull=False),
    Point("F05", "remotes.routes.container:ContainerRoute._post", "after", of_pull=False),
    Point("F06", "recorder:Recorder.flush", "before", 2),
    Point("F06", "state_record:record_outcomes", "after"),
    Point("F07", "remotes.routes.signed:SignedRoute._mint", "after", 1, _SIGNED, of_pull=False),
    Point("F07", "remotes.routes.signed:SignedRoute._redeem", "before", 1, _SIGNED, of_pull=False),
    Point("F07", "remotes.routes.signed:SignedRoute._redeem", "after", 1, _SIGNED, of_pull=False),
    # On the way down.
    Point("F08", "arrivals:Landing.write_block", "after", 1, of_push=False),
    Point("F09", "arrivals:verify", "before", 1, of_push=False),
    Point("F10", "arrivals:Landing.publish", "before", 1, of_push=False),
    Point("F11", "folders:Folders.sync", "before", 1, of_push=False),
    Point("F11", "folders:Folders.sync", "after", 1, of_push=False),
    # Where something stood.
    Point("F12", "renaming:keep_copy", "after", 1, of_push=False, of_pull=False),
    Point("F12", "renaming:_replace_aside", "before", 1, of_push=False, of_pull=False),
    Point("F12", "renaming:_replace", "before", 1, of_push=False, of_pull=False),
    Point("F12", "renaming:_replace", "after", 1, of_push=False, of_pull=False),
    Point("F12", "renaming:_take_away", "after", 1, of_push=False, of_pull=False),
    Point("F13", "conflicts:choose_copy", "after", 1, of_push=False, of_pull=False),
    Point("F13", "conflicts:note_copy", "after", 1, of_push=False, of_pull=False),
    Point("F13", "conflicts:make_copy", "after", 1, of_push=False, of_pull=False),
    Point("F15", "downloader:Downloader._read_whole", "before", 1, of_push=False),
    Point("F15", "downloader:Downloader._read_whole", "after", 1, of_push=False),
    # Moves, on both sides.
    Point("F12", "renaming:relocate", "after", 1, of_push=False, of_pull=False),
    Point("F12", "moving:Mover._make_durable", "before", 1, of_push=False, of_pull=False),
    Point("F06", "moving_up:MoverUp._move_folders", "after", 1, of_push=False, of_pull=False),
    Point("F06", "moving_up:MoverUp._put_aside", "after", 1, of_push=False, of_pull=False),
    Point("F06", "remotes.flywheel_moves:Moving.move", "after", 1, of_push=False, of_pull=False),
    Point("F06", "remotes.flywheel_moves:Moving.move", "after", 3, of_push=False, of_pull=False),
    Point("F06", "remotes.flywheel_moves:Moving._put", "before", 1, of_push=False, of_pull=False),
    Point("F06", "executor:Executor._rename_there", "after", 1, of_push=False, of_pull=False),
)


class Reached:
    """Counts the calls of a function, and does what is to be done at one of them."""

    def __init__(self, nth: int, act: Callable[[], None]) -> None:
        self._nth = nth
        self._act = act
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """One more."""
        with self._lock:
            self._count += 1
            if self._count == self._nth:
                self._act()


def resolve(at: str) -> tuple[Any, str, Callable[..., Any]]:
    """The module or class that has the function, its name there, and itself.

    Raises:
        AttributeError: there is none.
    """
    module, _, path = at.partition(":")
    owner: Any = importlib.import_module(module)
    *above, name = path.split(".")
    for one in above:
        owner = getattr(owner, one)
    found = inspect.getattr_static(owner, name)
    if isinstance(found, staticmethod | classmethod | property):
        raise AttributeError(f"{at}: is no plain function")  # noqa: TRY004  # as where it is not
    return owner, name, found


def put_in(at: str, moment: str, reached: Callable[[], None]) -> None:
    """Tell of the calls of a function from now on, whoever has imported it by name."""
    owner, name, call = resolve(at)
    told = _around(call, moment, reached)
    setattr(owner, name, told)
    for module in [one for key, one in sys.modules.items() if key.startswith("fwsync")]:
        for known, value in list(vars(module).items()):
            if value is call:
                setattr(module, known, told)


def _around(call: Callable[..., Any], moment: str, reached: Callable[[], None]) -> Any:
    before = moment == "before"
    if inspect.iscoroutinefunction(call):

        @wraps(call)
        async def waited(*args: Any, **kwargs: Any) -> Any:
            if before:
                reached()
            made = await call(*args, **kwargs)
            if not before:
                reached()
            return made

        return waited

    @wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        if before:
            reached()
        made = call(*args, **kwargs)
        if not before:
            reached()
        return made

    return called


def die() -> None:
    """As ``kill -9`` from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_at(gate: str) -> None:
    """Stand still: whoever opens the other end knows that we do, and lets us go by closing."""
    with Path(gate).open("rb", buffering=0) as end:
        end.read()


def main() -> None:
    """Run fwsync up to the point."""
    spec = json.loads(sys.argv[1])
    sys.argv = ["fwsync", *sys.argv[2:]]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    # What imports a function by name late would be given the one that tells of nothing.
    from fwsync import cli, daemon, runs, show  # noqa: F401

    gate = spec.get("gate")
    reached = Reached(int(spec["nth"]), (lambda: wait_at(gate)) if gate else die)
    put_in(spec["at"], spec["moment"], reached)
    cli.main()


if __name__ == "__main__":
    main()
