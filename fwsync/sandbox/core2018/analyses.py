"""The files of an analysis: where it hangs, with tickets for all of them or for one.

Source: core18.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from aiohttp import web

from fwsync.sandbox.core2018 import asking, download, files
from fwsync.sandbox.core2018.archive import Nodes
from fwsync.sandbox.core2018.render import analyses_of
from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]


async def top_list(call: Call) -> web.Response:
    """``GET /{cont}/{id}/analyses``."""
    place = await asking.place(call, "ro")
    return answer(await call.read(analyses_of, place.id))


async def get(call: Call) -> web.Response:
    """``GET /{cont}/{id}/analyses/{analysis}``."""
    place, analysis = await _analysis(call)
    found = await call.read(analyses_of, place.id)
    return answer(next(entry for entry in found if entry["_id"] == analysis))


async def archive(call: Call) -> web.StreamResponse:
    """``GET …/analyses/{analysis}/files?ticket=``: a ticket for all of them, or their tar."""
    if call.query("ticket"):
        return await download.stream(call)
    _, analysis = await _analysis(call)
    wanted = Nodes((("analysis", analysis),), None, download.seen_at(call))
    return answer(await download.new_ticket(call, wanted))


async def file(call: Call) -> web.StreamResponse:
    """``GET …/analyses/{analysis}/files/{name}``: like a file of any container."""
    if not call.query("ticket"):
        await _analysis(call)
    parts = {**call.parts, "id": call.part("analysis")}
    return await files.download(replace(call, parts=parts, kind="analysis"))


async def _analysis(call: Call) -> tuple[Place, str]:
    place = await asking.place(call, "ro")
    analysis = call.part("analysis")
    if not await call.read(_hangs_on, place.id, analysis):
        raise ApiError(404, f"Could not find analyses {analysis}")
    return place, analysis


def _hangs_on(db: sqlite3.Connection, container: str, analysis: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM containers WHERE id = ? AND parent_id = ? AND kind = 'analysis'"
        " AND deleted IS NULL",
        (analysis, container),
    ).fetchone()
    return row is not None
