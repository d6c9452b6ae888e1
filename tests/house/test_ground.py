"""The ground that the tests stand on leaves nothing behind."""

from __future__ import annotations

import asyncio
import http.client
from contextlib import closing
from pathlib import Path

from tests.house.faults import rule
from tests.house.house import Ground


def test_an_answer_that_stalls_is_over_when_its_ground_is(tmp_path: Path) -> None:
    with Ground(tmp_path) as ground:
        ground.ask("PUT", "/sandbox/faults", [rule({"stall_at": 1, "stall_s": 3600})])
        with closing(http.client.HTTPConnection("127.0.0.1", ground.port, timeout=30)) as wire:
            wire.request("GET", "/api/version")
            assert b"{" == wire.getresponse().read(1)
        running = asyncio.all_tasks(ground._loop)

    assert running  # the answer was stalling indeed
    assert all(task.done() for task in running)
