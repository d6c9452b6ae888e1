"""What is said of containers and files: info, classification, type and modality.

None of it makes a new version of a file; the time of modification tells.

Source: the routes of SDK 23, by the name and by the id of a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.kept import metadata
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]


async def info(call: Call) -> web.Response:
    """``GET /files/{file_id}/info``: the info alone, at any version."""
    return answer((await targets.document(call)).get("info") or {})


async def change_info(call: Call) -> web.Response:
    """``PATCH …/info`` with ``set`` and ``delete``, or ``replace``."""
    return await _apply(call, metadata.change_info)


async def change_classification(call: Call) -> web.Response:
    """``PATCH …/files/{name}/classification``, ``PUT /files/{file_id}/classification``."""
    return await _apply(call, metadata.change_classification)


async def change_type(call: Call) -> web.Response:
    """``PUT …/files/{name}``, ``PUT /files/{file_id}``."""
    return await _apply(call, metadata.change_type)


async def merge_info(call: Call) -> web.Response:
    """``PATCH /files/{file_id}/info``: the body is what to add, key by key."""
    return await _apply(call, lambda doc, body: metadata.change_info(doc, {"set": body}))


async def replace_info(call: Call) -> web.Response:
    """``PUT /files/{file_id}/info``: the body is the info from now on."""
    return await _apply(call, lambda doc, body: metadata.change_info(doc, {"replace": body}))


async def _apply(call: Call, work: Callable[[Json, Json], None]) -> web.Response:
    body = await call.json_object()
    await targets.change(call, lambda doc: work(doc, body))
    return answer({"modified": 1, "jobs_spawned": 0})
