"""``kill -9`` in the middle of a large file that goes by signed URLs: the next run goes on."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fwsync.sandbox.stores import Dialect
from tests.house.house import Desk, Ground, expected_record, grounded, kill, plant, record_of, until
from tests.remotes.routes.signing import LONG, PARTS, noise

TREE = {"s/e/a/long.bin": noise(LONG), "s/e/a/short.txt": b"short"}


@pytest.fixture(params=["s3", "azure", "gcs"])
def store_ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """A delay lasts until the test is over."""
    store: Dialect = request.param
    with grounded(tmp_path / "data", store=store, switches=PARTS) as ground:
        over = asyncio.Event()

        async def sleep(_: float) -> None:
            await over.wait()

        async def end() -> None:
            over.set()
            # The server would go on reading what the dead had begun to send, for seconds.
            left = [one for one in asyncio.all_tasks() if "RequestHandler" in repr(one.get_coro())]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        ground.sandbox.site.faults.clock.sleep = sleep
        yield ground
        ground.run(end())


def puts(ground: Ground) -> list[dict[str, Any]]:
    return [one for one in ground.requests() if one["method"] == "PUT"]


def kept(root: Path) -> int:
    """How many parts the state knows of."""
    file = root / ".fwsync" / "state.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        found: int = db.execute("SELECT count(*) FROM upload_part").fetchone()[0]
        return found


@pytest.mark.parametrize("step", ["part", "redemption"])
def test_parts_that_arrived_are_not_sent_again(
    step: str, store_ground: Ground, tmp_path: Path
) -> None:
    ground = store_ground
    ground.project("aging")
    root = plant(tmp_path / "root", TREE)
    for path in TREE:  # of a file that was just written nobody knows whether it is the same
        os.utime(root / path, ns=(10**18, 10**18))
    desk = Desk(tmp_path / "home", ground.key())
    push = ("push", root, "lab/aging", "--json")
    match = {
        "part": {"method": "PUT", "hits": {"nth": 3}},
        "redemption": {
            "method": "POST",
            "path": "/acquisitions/*/files",
            "query": {"ticket": "?*"},
        },
    }[step]
    ground.ask("POST", "/sandbox/faults", {"id": "it", "match": match, "action": {"delay_s": 1}})

    arrived = 2 if step == "part" else 3

    def due() -> bool:
        [rule] = ground.ask("GET", "/sandbox/faults")["rules"]
        if not rule["fired"] or len(puts(ground)) < arrived:
            return False
        return ground.sandbox.site.settings.store == "gcs" or kept(root) >= arrived

    process = desk.start(*push)
    try:
        until(due, what="parts have arrived, and are known of")
        until(lambda: ground.count("aging") == 1, what="the other file has arrived")
    finally:
        kill(process)
    ground.ask("DELETE", "/sandbox/faults")
    ground.forget_requests()
    done = desk.run(*push)

    assert 0 == done.code, done
    again = sum(one["received"] for one in puts(ground))
    assert again < LONG * (1 if step == "part" else 0.01) * 2 / 3, again
    minted = [one for one in ground.requests() if one["query"].startswith("ticket=&")]
    assert minted == []
    assert expected_record(TREE) == record_of(ground, "aging")
    assert [] == ground.twins()
    assert (0, {}) == ((third := desk.run(*push)).code, third.moved())


def test_of_a_compressed_pack_too_what_arrived_is_not_sent_again(
    store_ground: Ground, tmp_path: Path
) -> None:
    """Compressed once more, it is the same bytes."""
    ground = store_ground
    ground.project("aging")
    half = bytes(range(16)) * 16  # of so few different bytes about half is left
    tree = {f"s/e/a/{at}.dcm": noise(LONG // 4)[at:].translate(half) for at in range(8)}
    root = plant(tmp_path / "root", tree)
    for path in tree:
        os.utime(root / path, ns=(10**18, 10**18))
    desk = Desk(tmp_path / "home", ground.key())
    push = ("push", root, "lab/aging", "--pack", "*.dcm=dicom", "--pack-compress", "--json")
    third = {"method": "PUT", "hits": {"nth": 3}}
    ground.ask("POST", "/sandbox/faults", {"id": "it", "match": third, "action": {"delay_s": 1}})

    def due() -> bool:
        [rule] = ground.ask("GET", "/sandbox/faults")["rules"]
        in_session = ground.sandbox.site.settings.store == "gcs"
        return rule["fired"] and len(puts(ground)) >= 2 and (in_session or kept(root) >= 2)

    process = desk.start(*push)
    try:
        until(due, what="parts have arrived, and are known of")
    finally:
        kill(process)
    ground.ask("DELETE", "/sandbox/faults")
    ground.forget_requests()
    done = desk.run(*push)

    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    [stored] = ground.stored("aging")
    assert LONG < stored.size < sum(map(len, tree.values())) * 2 / 3
    again = sum(one["received"] for one in puts(ground))
    assert 0 < again < stored.size * 2 / 3, again
    with zipfile.ZipFile(io.BytesIO(newest(ground, "a.dicom.zip"))) as archive:
        assert tree == {f"s/e/a/{one}": archive.read(one) for one in archive.namelist()}
    assert [] == ground.twins()
    assert (0, {}) == ((last := desk.run(*push)).code, last.moved())


def newest(ground: Ground, name: str) -> bytes:
    """What the only file of that name holds."""
    [file] = [one for one in ground.ask("GET", "/sandbox/record")["files"] if one["name"] == name]
    return ground.content("GET", f"/files/{file['file_id']}/download")
