"""New files that came down are recorded together, and are recorded as each by itself would be."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync.digest import Digest, LocalTag
from fwsync.model import (
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Outcome,
    Problem,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.state import State, open_state
from fwsync.state_queries import ROWS

NOW = 1_700_000_000_000_000_000
TAG = LocalTag("xxh3:" + "a" * 32)
SHA = Digest("sha384:" + "a" * 96)


def arrived(path: str, **more: object) -> Outcome:
    """What is told of a file that came down where none was."""
    box = ContainerRef(Level.ACQUISITION, "5f" * 12)
    there = RemoteEntry(RelPath(path), 5, "v1", SHA, box, path.rpartition("/")[2], "id", 3, 9)
    here = LocalEntry(RelPath(path), Stamp(5, NOW, NOW, 2**63 + 1, 7), TAG, SHA)
    came = Outcome(Decision(Verb.DOWNLOAD, RelPath(path), None, there), local=here, remote=there)
    return replace(came, hashed_at_ns=NOW + 10**9, **more)  # type: ignore[arg-type]


def elsewhere(path: str) -> Outcome:
    """A file that a layout puts in another place."""
    came = arrived(path)
    assert came.local is not None
    return replace(came, local=replace(came.local, source=RelPath(f"flat/{path[-1]}")))


def failed(path: str) -> Outcome:
    return arrived(path, problem=Problem(path, "did not come"))


def sent(path: str) -> Outcome:
    came = arrived(path)
    return replace(came, decision=replace(came.decision, verb=Verb.UPLOAD, local=came.local))


BEFORE = [failed("s/e/a/1"), failed("s/e/a/2"), elsewhere("s/e/a/3")]
OUTCOMES = {
    "all are new": [arrived(f"s/e/a/{number}") for number in range(9)],
    "some are not": [
        *(arrived("s/e/a/1"), elsewhere("s/e/a/2"), arrived("s/e/a/3"), failed("s/e/a/4")),
        *(sent("s/e/a/5"), arrived("s/e/a/6"), arrived("s/e/a/7")),
    ],
    "one comes twice": [arrived("s/e/a/1"), arrived("s/e/a/1")],
    "more than a statement takes": [arrived(f"s/e/a/{number}") for number in range(2 * ROWS + 3)],
    "one comes twice in a statement": [arrived(f"s/e/a/{n % 50}") for n in range(ROWS)],
}


@pytest.mark.parametrize("outcomes", OUTCOMES.values(), ids=list(OUTCOMES))
def test_together_they_leave_what_one_by_one_they_leave(
    outcomes: Sequence[Outcome], tmp_path: Path
) -> None:
    together, one_by_one = tmp_path / "together.db", tmp_path / "one-by-one.db"
    for file, batches in ((together, [outcomes]), (one_by_one, [[one] for one in outcomes])):
        with open_state(file, now_ns=lambda: NOW) as state:
            state.record(BEFORE)
            for batch in batches:
                state.record(batch)

    assert rows(one_by_one) == rows(together)
    assert rows(together)["base"]


def test_a_file_is_known_as_hashed_once_it_is_recorded(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.db") as state:
        state.record([arrived("s/e/a/1"), arrived("s/e/a/2")])

        assert [(TAG, SHA)] * 2 == [(one.etag, one.digest) for one in state.local_entries()]
        assert ["s/e/a/1", "s/e/a/2"] == [one.path for one in state.base_entries()]


@pytest.mark.parametrize("wrong", [{"remote": None}, {"local": None}])
def test_what_no_two_sides_agree_on_is_refused_with_all_of_its_batch(
    wrong: dict[str, object], tmp_path: Path
) -> None:
    with open_state(tmp_path / "state.db") as state:
        with pytest.raises(ValueError, match="agreement needs both entries"):
            state.record([arrived("s/e/a/1"), arrived("s/e/a/2", **wrong)])

        assert [] == list(state.base_entries())


def test_other_bytes_than_those_of_the_server_are_no_agreement(tmp_path: Path) -> None:
    came = arrived("s/e/a/1")
    assert came.local is not None
    other = replace(came.local, digest=Digest("sha384:" + "b" * 96))
    with open_state(tmp_path / "state.db") as state:
        with pytest.raises(ValueError, match="the two sides hold different bytes"):
            state.record([replace(came, local=other)])

        assert [] == names(state)


def names(state: State) -> list[str]:
    return [one.path for one in state.local_entries()]


def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that a state file holds, by table."""
    is_ours = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    with closing(sqlite3.connect(file)) as db:
        return {
            name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in db.execute(is_ours).fetchall()
        }
