"""Whichever request of a pull with --delete is refused: what could not be seen stays here.

A whole run each time, without a process of its own, as in ``test_whichever_request``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from fwsync import runs
from fwsync.config import Arguments
from fwsync.errors import FwsyncError
from fwsync.model import Mode, Report
from tests.house.faults import Rule, rule
from tests.house.house import Ground, Tree, check_state, grown, plant
from tests.house.test_core2018 import Ground2018
from tests.house.test_moves import containers, moved, relabel

#: As a key that may not see a part, a part that seems to be gone, a server that is broken, and
#: an answer that ends too early.
REFUSALS: dict[str, Rule] = {
    "403": {"status": 403},
    "404": {"status": 404},
    "500": {"status": 500},
    "cut": {"cut_at": 10},
}
FOLDER = "sub-01/ses-01/t1"
GONE = f"{FOLDER}/gone.dcm"
KEPT: Tree = {
    f"{FOLDER}/1.dcm": b"one",
    "sub-01/ses-01/t2/1.dcm": b"two",
    "sub-01/ses-02/t1/1.dcm": b"three",
    "sub-02/ses-01/t1/1.dcm": b"four",
    "top.txt": b"of the project",
}


@pytest.fixture(scope="module")
def old_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground2018]:
    data = tmp_path_factory.mktemp("old")
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()  # as a process of its own, a run reads its settings in the loop
    for name in [name for name in os.environ if name.startswith(("FWSYNC_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.timeout(300)  # dozens of runs
@pytest.mark.parametrize(
    ("site", "refusal"),
    [*(("tree", one) for one in REFUSALS), ("full", "403"), ("core-2018", "403")],
)
def test_s66_f24_whichever_request_is_refused_only_what_is_gone_there_goes(
    request: pytest.FixtureRequest, home: None, tmp_path: Path, site: str, refusal: str
) -> None:
    ground: Ground = request.getfixturevalue("old_ground" if site == "core-2018" else "ground")
    label = f"seen-{site}-{refusal}"
    ground.project(label)
    away, root = plant(tmp_path / "away", KEPT), tmp_path / "root"
    key = {"api_key_file": key_file(ground, tmp_path)}
    runs.run(Mode.UP, away, f"lab/{label}", Arguments(key))
    told = Arguments(
        {
            **key,
            "delete_down": True,
            "patience_s": 1,
            **({"layout": "full"} if site == "full" else {}),
        }
    )

    def pull() -> Report | FwsyncError:
        try:
            return runs.run(Mode.DOWN, root, f"lab/{label}", told)
        except FwsyncError as error:
            return error

    def something_happens(number: int) -> Tree:
        """A file was deleted there and a subject relabelled since all was in step."""
        plant(away, {GONE: b"gone %d" % number})
        assert 1 == runs.run(Mode.UP, away, f"lab/{label}", Arguments(key)).uploaded
        assert isinstance(pull(), Report)
        place = containers(ground, label)[FOLDER]["id"]
        ground.ask("DELETE", f"/acquisitions/{place}/files/gone.dcm")
        was, now = sorted(("sub-02", "sub-03"), reverse=number % 2 == 0)
        if site != "core-2018":  # a subject there is no container, and has no label of its own
            relabel(ground, label, was, now)
            return moved(KEPT, "sub-02/", f"{now}/")
        return KEPT

    for number in count(1):
        expected = something_happens(number)
        ground.ask("PUT", "/sandbox/faults", [rule(REFUSALS[refusal], hits={"nth": number})])
        ended = pull()
        [shown] = ground.ask("GET", "/sandbox/faults")["rules"]
        ground.ask("PUT", "/sandbox/faults", [])
        fired, why = bool(shown["fired"]), f"request {number} met {refusal}: {ended}"

        here = grown(root)
        assert set(KEPT.values()) <= set(here.values()), why
        trash = {one.read_bytes() for one in (root / ".fwsync/trash").rglob("*") if one.is_file()}
        assert b"gone %d" % number in {*here.values(), *trash}, why
        assert not trash & set(KEPT.values()), why
        mended = pull()
        assert isinstance(mended, Report), (why, mended)
        assert mended.problems == 0, (why, mended)
        assert set(expected.values()) == set(grown(root).values()), why
        if site != "full":
            assert expected == grown(root), why
        check_state(root)
        if not fired:
            break

    assert number > 5


def key_file(ground: Ground, folder: Path) -> Path:
    file = folder / "key"
    file.write_text(ground.key())
    file.chmod(0o600)
    return file
