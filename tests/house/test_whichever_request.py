"""Whichever request of a push fails, whatever the way up: nothing is lost and nothing is twice.

A whole run, from the first question to the last, without a process of its own: hundreds of runs
would spend their time on starting Python. The same is done to each route by itself, below the
run, in ``tests/remotes/routes``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from fwsync import runs
from fwsync.config import Arguments
from fwsync.errors import FwsyncError
from fwsync.model import Mode, Report
from tests.house.faults import LOST, Rule, rule
from tests.house.house import Ground, Tree, expected_record, grown, leftovers, plant, record_of

TREE: Tree = {
    "notes.txt": b"of the project",
    "s/subject.txt": b"of the subject",
    **{f"s/e/T1/{number}.dcm": b"slice %d" % number * 300 for number in range(4)},
    "s/e/T2/empty.dcm": b"",
    "s2/e/T1/other.nii": b"another subject" * 5000,
}
#: What goes up of it as one zip.
SLICES = {path for path in TREE if path.startswith("s/e/T1/")}

#: A fault that passes, so that the very run it meets comes through …
PASSING: Mapping[str, Rule] = {
    "reset": {"reset": True},
    "lost answer": LOST,
    "503": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "0"}},
    "401 once": {"status": 401},
}
#: … and one after which the run may say that something is wrong; the next one puts it right.
OTHERS: Mapping[str, Rule] = {
    "500": {"status": 500},
    "500 after it was done": {"status": 500, "when": "after"},
    "a page": {"html": True},
    "a page after it was done": {"html": True, "when": "after"},
    "cut answer": {"cut_at": 10},
    "404": {"status": 404},
    "409": {"status": 409},
}
WAYS: Mapping[str, Mapping[str, object]] = {
    "multipart": {},
    "form": {},
    "signed": {},
    "packfile": {"pack": {"*.dcm": "archive"}},
}
#: What each way meets; together it is all of them. A redemption that is reset is none of it: a
#: store may need long for it, and the run waits half a minute before it sends the file again.
MEETS: Mapping[str, tuple[str, ...]] = {
    "multipart": ("lost answer", "reset", "503", "500", "a page"),
    "form": ("lost answer", "reset", "429", "500 after it was done", "cut answer"),
    "signed": ("lost answer", "503", "404", "409"),
    "packfile": ("lost answer", "reset", "401 once", "a page after it was done"),
}


def cases() -> Iterator[Any]:
    for way, faults in MEETS.items():
        for fault in faults:
            yield pytest.param(way, fault, id=f"{way}-{fault}")


def test_every_fault_is_met() -> None:
    assert {fault for faults in MEETS.values() for fault in faults} == {*PASSING, *OTHERS}
    assert MEETS.keys() == WAYS.keys()


@dataclass
class Loop:
    """Pushes of one tree by one way, each to a project of its own."""

    ground: Ground
    way: str
    folder: Path
    key: Path

    def push(self, label: str) -> Report | FwsyncError:
        root = self.folder / label
        told = {"route": self.way, "api_key_file": self.key, "patience_s": 30, **WAYS[self.way]}
        try:
            return runs.run(Mode.UP, root, f"lab/{label}", Arguments(told))
        except FwsyncError as error:
            return error

    def begin(self, label: str) -> None:
        self.ground.project(label)
        plant(self.folder / label, TREE)

    def check(self, label: str, why: str) -> None:
        """It is all there, once, and another run finds nothing to do."""
        again = self.push(label)
        assert isinstance(again, Report), (why, again)
        assert (again.uploaded, again.problems, again.conflicts) == (0, 0, 0), (why, again)
        if self.way == "packfile":
            kept = [path for path, version, *_ in record_of(self.ground, label) if version == 1]
            rest = TREE.keys() - SLICES - {"s/e/T2/empty.dcm"}
            assert sorted(kept) == sorted({*rest, "s/e/T1/T1.zip", "s/e/T2/T2.zip"}), why
            assert len(kept) == len(self.ground.stored(label)), why
        else:
            assert record_of(self.ground, label) == expected_record(TREE), why
        assert [] == self.ground.twins(), why
        root = self.folder / label
        assert grown(root) == TREE, why
        assert [] == leftovers(root), why


@pytest.fixture
def key(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blockbuster: BlockBuster
) -> Path:
    """A file with the key; and a home of the test's own."""
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    for name in [name for name in os.environ if name.startswith(("FWSYNC_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "key"
    file.write_text(ground.key())
    file.chmod(0o600)
    return file


@pytest.mark.timeout(300)  # dozens of runs
@pytest.mark.parametrize(("way", "fault"), list(cases()))
def test_whichever_request_fails_everything_is_there_once(
    ground: Ground, label: str, tmp_path: Path, key: Path, way: str, fault: str
) -> None:
    loop = Loop(ground, way, tmp_path, key)
    usual = f"{label}-usual"
    loop.begin(usual)
    report = loop.push(usual)
    assert isinstance(report, Report), report
    loop.check(usual, "without a fault")
    action = PASSING.get(fault) or OTHERS[fault]

    for number in count(1):
        one = f"{label}-{number}"
        loop.begin(one)
        ground.ask("PUT", "/sandbox/faults", [rule(action, hits={"nth": number})])
        ended = loop.push(one)
        [shown] = ground.ask("GET", "/sandbox/faults")["rules"]
        ground.ask("PUT", "/sandbox/faults", [])
        why = f"request {number} of {report.requests} met: {fault}; {ended}"
        if fault in PASSING:
            assert isinstance(ended, Report), why
            assert (ended.problems, ended.conflicts) == (0, 0), why
        elif not isinstance(ended, Report) or ended.problems:
            mended = loop.push(one)
            assert isinstance(mended, Report), (why, mended)
            assert mended.problems == 0, (why, mended)
        loop.check(one, why)
        if not shown["fired"]:
            break

    # Requests side by side may come in another number: then it is one or two less.
    assert number > report.requests - 3 > 8
