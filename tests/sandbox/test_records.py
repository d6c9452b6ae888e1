from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fwsync.sandbox.kept.records import Pen, Records, open_records

AHEAD = timedelta(days=2)


async def test_times_grow_over_a_restart_with_a_clock_that_was_set_back(tmp_path: Path) -> None:
    def delete(pen: Pen) -> str:
        pen._last = datetime.now(UTC) + AHEAD  # where the clock was
        pen.tick()
        pen.db.execute("UPDATE files SET deleted = ?", (pen.now,))
        return pen.now

    async def close(records: Records) -> None:
        await asyncio.to_thread(records.close)

    records = await open_records(tmp_path / "sandbox.db", durable=False)
    deleted = await records.write(delete)
    settled = records.settled
    await close(records)
    again = await open_records(tmp_path / "sandbox.db", durable=False)
    await close(again)

    assert deleted == settled < again.settled
