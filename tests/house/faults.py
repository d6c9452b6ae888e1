"""Faults on the wire and on the disk for a run of the command, and the check that closes each.

The check: without the fault the same command ends with 0 and finds nothing left to do, each file
is there once with the very bytes, no container has a twin, and nothing of ours lies about here.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.house.house import (
    ROOT,
    Desk,
    Done,
    Ground,
    Tree,
    check_state,
    expected_record,
    finish,
    grown,
    leftovers,
    record_of,
    until,
)

Rule = dict[str, Any]

SHIM = str(ROOT / "tests/torture/shim.py")

TREE: Tree = {
    **{f"s1/ses/T1/{number:02}.nii": b"image %d" % number * 500 for number in range(12)},
    "s1/ses/T2/a.nii": b"another acquisition",
    "s2/ses/T1/large.nii": bytes(range(256)) * 4096 * 2,
    "notes.txt": b"of the project",
}
LARGE = "s2/ses/T1/large.nii"

#: The request that carries a file's bytes, by each way up.
CARRIES: Mapping[str, Rule] = {
    "multipart": {"method": "POST", "path": "/*/*/files"},
    "form": {"method": "POST", "path": ["/upload/label", "/projects/*/files"]},
    "signed": {"method": "PUT"},
}
#: The request after which the server has the file.
STORES: Mapping[str, Rule] = {
    **CARRIES,
    "signed": {"method": "POST", "path": "/*/*/files", "query": {"ticket": "?*"}},
}
ROUTES = tuple(CARRIES)

#: The server does it, and its answer is lost.
LOST: Rule = {"reset": True, "when": "after"}


def rule(action: Rule, match: Mapping[str, Any] | None = None, **more: Any) -> Rule:
    """One line of a fault script."""
    return {"match": {**(match or {}), **more}, "action": action}


@contextmanager
def faulty(ground: Ground, *rules: Rule) -> Iterator[None]:
    """The server has these faults meanwhile; each of them must have come to pass."""
    ground.ask("PUT", "/sandbox/faults", list(rules))
    try:
        yield
        shown = ground.ask("GET", "/sandbox/faults")["rules"]
    finally:
        ground.ask("PUT", "/sandbox/faults", [])

    assert all(one["fired"] for one in shown), shown


def fired(ground: Ground) -> int:
    """How often the rules in force have fired."""
    return sum(one["fired"] for one in ground.ask("GET", "/sandbox/faults")["rules"])


def check_closed(
    ground: Ground, desk: Desk, root: Path, label: str, *options: str, tree: Tree = TREE
) -> None:
    """All of it is there once, and nothing is left to do."""
    push: tuple[str | Path, ...] = ("push", root, f"lab/{label}", *options, "--json")
    mended, again = desk.run(*push), desk.run(*push)

    assert mended.code == 0, mended
    assert (again.code, again.moved()) == (0, {}), again
    assert record_of(ground, label) == expected_record(tree)
    assert [] == ground.twins()
    assert tree == grown(root)
    assert [] == leftovers(root)
    check_state(root)


def problems(done: Done) -> dict[str, str]:
    """What a run reported: path -> what it said."""
    return {one["path"]: one["message"] for one in done.lines if one["event"] == "problem"}


# -------------------------------------------------------------------------- on the disk


def failing(
    scratch: Path, file: Path, operation: str, *, nth: int = 1, short: bool = False
) -> tuple[str, str]:
    """The program in which an operation on one file or folder fails from the n-th time on.

    Args:
        short: a read gives nothing, as at the end of the file; otherwise it is an I/O error.
    """
    spec = {"below": str(file), "log": str(scratch / "shim.log"), "operations": [operation]}
    return SHIM, json.dumps(
        spec | {"fail_at": nth, "errno": errno.EIO, "for_good": True, "short": short}
    )


@dataclass
class Halted:
    """A run that stands still before one operation on a file, until the block is left."""

    pid: int
    ended: list[Done] = field(default_factory=list)

    @property
    def done(self) -> Done:
        """How it ended; for after the block."""
        [done] = self.ended
        return done


@contextmanager
def halted(
    desk: Desk,
    scratch: Path,
    *args: str | Path,
    before: str,
    file: Path,
    nth: int = 1,
    ready: Callable[[], object] = lambda: True,
) -> Iterator[Halted]:
    """Start the command; the block runs while it is about to do something with a file.

    Args:
        args: of the command.
        before: the operation, as ``os`` calls it.
        file: below the root; a folder stands for all that lies in it.
        nth: which of these operations, from 1.
        ready: what must be true besides, such as that the server has been asked something.
    """
    gate = scratch / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    spec = {"below": str(file), "log": str(scratch / "shim.log"), "operations": [before]}
    program = (SHIM, json.dumps(spec | {"fail_at": nth, "gate": str(gate)}))
    process = desk.start(*args, program=program)
    try:
        held: list[int] = []

        def stands() -> bool:
            assert process.poll() is None, "it never got there"
            try:
                held.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads the gate yet: fifo(7)
                    raise
                return False
            return True

        until(stands, what=f"it stands before {before} {nth} of {file.name}")
        run = Halted(process.pid)
        try:
            until(ready, what="the rest of it has come so far")
            yield run
        finally:
            os.close(held[0])
        run.ended.append(finish(process))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
