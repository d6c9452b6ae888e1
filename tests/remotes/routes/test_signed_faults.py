"""A push by signed URLs of which one request fails, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from fwsync.ledger import StateLedger
from fwsync.sandbox.stores import Dialect
from fwsync.state import StateThread, open_state
from tests.remotes.routes.pushing import FAULTS, Yard, problems, routes, yard
from tests.remotes.routes.signing import STORES, MiB, noise


def tree(store: Dialect) -> dict[str, bytes]:
    """A small file, an empty one, and one in parts; in two containers."""
    size = 11 * MiB if store == "s3" else MiB + 1
    return {"s/e/a/one.txt": b"one", "s/e/a/empty": b"", "s/e/b/long.bin": noise(size)}


@asynccontextmanager
async def pushing(folder: Path, store: Dialect) -> AsyncIterator[tuple[Yard, StateLedger]]:
    small = {"signed_parts_from": 6 * MiB, "signed_part_size": 5 * MiB}
    if store != "s3":
        small = {"signed_parts_from": MiB // 2, "signed_part_size": MiB // 2}
    async with yard(folder, small, store=store) as one:
        state = await StateThread.open(partial(open_state, folder / "state.db"))
        try:
            yield one, StateLedger(state)
        finally:
            await state.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_fails_every_file_is_there_once(
    tmp_path: Path, store: Dialect, fault: str
) -> None:
    files = tree(store)
    async with pushing(tmp_path, store) as (one, ledger):
        one.forget_requests()
        outcomes = await one.push(one.remote("signed", ledger=ledger), files)
        assert problems(outcomes) == {}
        assert set(routes(outcomes).values()) == {"signed"}
        requests = sum(one.asked().values())
        await one.assert_once(files)

        for number in range(1, requests + 1):
            there = await one.another(f"p{number}")
            one.fail({"id": "it", "match": {"hits": {"nth": number}}, "action": FAULTS[fault]})
            outcomes = await there.push(there.remote("signed", ledger=ledger), files)
            fired = one.sandbox.site.faults.fired("it")
            one.fail()
            assert (number, problems(outcomes)) == (number, {})
            assert fired == 1, number
            await there.assert_once(files)
