"""``POST /download/summary``: how many files of each type lie below some nodes, and how large.

Source: core18, as observed: a list of nodes in, an object by type out.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.archives.bodies import read_nodes
from fwsync.sandbox.kept.tree import BELOW
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
MEGABYTE: Final = 1 << 20  # bytes


async def summary(call: Call) -> web.Response:
    """The route; nodes that are missing or forbidden count nothing."""
    body = await call.json()
    if isinstance(body, dict):
        body = body.get("nodes")
    nodes = await read_nodes(call, body)
    return answer(await call.read(_summary, [container for _, container in nodes]))


def _summary(db: sqlite3.Connection, containers: list[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for container in containers:
        rows = db.execute(
            f"{BELOW} SELECT coalesce(f.type, 'null'), count(*), sum(f.size)"  # noqa: S608 - fixed text
            " FROM below JOIN files f ON f.container_id = below.id AND f.deleted IS NULL"
            " WHERE f.container_kind != 'analysis' OR f.container_id = ?1 GROUP BY 1",
            (container,),
        )
        for type_, count, size in rows:
            entry = found.setdefault(type_, {"_id": type_, "count": 0, "mb_total": 0.0})
            entry["count"] += count
            entry["mb_total"] += size / MEGABYTE
    return found
