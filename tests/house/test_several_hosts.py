"""Two hosts sync one project at the same time, each a process of its own (item 7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, finish, grown, plant


@pytest.mark.timeout(240)  # eight processes
@pytest.mark.parametrize("same", [True, False], ids=["same bytes", "other bytes"])
def test_two_processes_at_once_end_in_step(same: bool, ground: Ground, tmp_path: Path) -> None:
    label = f"two hosts {same}"
    ground.project(label)
    desks, roots, written = [], [], set()
    for number in range(2):
        tree = {
            f"s/e/a{n % 5}/{n}.dcm": b"%d %d" % (n, n % 2 and not same and number)
            for n in range(40)
        }
        tree[f"s/e/a0/own {number}"] = b"own %d" % number
        written |= set(tree.values())
        roots.append(plant(tmp_path / str(number) / "root", tree))
        desks.append(Desk(tmp_path / str(number) / "home", ground.key()))

    running = [
        desk.start("sync", root, f"lab/{label}", "--json")
        for desk, root in zip(desks, roots, strict=True)
    ]
    for process in running:
        finish(process)
    done = []
    for _ in range(3):
        done = [
            desk.run("sync", root, f"lab/{label}", "--json")
            for desk, root in zip(desks, roots, strict=True)
        ]

    assert [0, 0] == [one.code for one in done], done
    kept = [
        {path: content for path, content in grown(root).items() if "fwsync-conflict" not in path}
        for root in roots
    ]
    assert kept[0] == kept[1]
    assert 42 == len(kept[0])
    assert [] == ground.twins()
    found = {content for root in roots for content in grown(root).values()}
    trash = {
        one.read_bytes()
        for root in roots
        for one in (root / ".fwsync/trash").rglob("*")
        if one.is_file()
    }
    assert written <= found | trash
    assert 42 == len({one.path for one in ground.stored(label) if not one.deleted})
