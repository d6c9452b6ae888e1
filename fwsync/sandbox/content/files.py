"""Files in lists, and their entries."""

from __future__ import annotations

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.kept.listing import Source, Where, granted, list_query
from fwsync.sandbox.kept.render import file_json, files_json
from fwsync.sandbox.pages import answer_page
from fwsync.sandbox.site import Call, answer

_TEXTS = {
    "file_id": "id",
    "name": "name",
    "type": "type",
    "mimetype": "mimetype",
    "parent_ref.id": "container_id",
    "parent_ref.type": "container_kind",
    "parents.group": "group_id",
    "parents.project": "project_id",
    "parents.subject": "subject_id",
    "parents.session": "session_id",
}


FILES = Source(
    "SELECT * FROM files f",
    "files f",
    "f",
    lambda _, rows: files_json(rows),
    _TEXTS,
    numbers={"size": "size", "version": "version"},
    unless_null={"parents.group": "project_id"},  # or it is the id of a collection
    orders={
        "_id": "f.object_id",
        "hash": "CASE WHEN f.hash_known THEN f.sha384 ELSE '' END",
        "replaced": "f.replaced",
        "parents.acquisition": "f.acquisition_id",
        "origin.type": "json_extract(f.origin, '$.type')",
        "origin.id": "json_extract(f.origin, '$.id')",
    },
    ids_grow=True,
)


async def top_list(call: Call) -> web.Response:
    """``GET /files``: always the page object."""
    query = list_query(call.request.query)
    grants = await call.site.grants(call.caller)
    where = granted(grants, Where(("f.deleted IS NULL",)), "f")
    return await answer_page(call, FILES, where, query, always=True)


async def get(call: Call) -> web.Response:
    """``GET /files/{file_id}``, ``GET /{cont}/{id}/files/{name}/info``: the whole entry."""
    return answer(file_json(await targets.file(call)))
