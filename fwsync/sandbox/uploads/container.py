"""Uploads to a container: ``POST /{cont}/{id}/files``, as a form or by signed URLs."""

from __future__ import annotations

from aiohttp import web

from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.problems import invalid
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads import signed
from fwsync.sandbox.uploads.forms import Form, check_metadata


async def upload(call: Call) -> web.Response:
    """``POST /{cont}/{id}/files``, multipart; answers the entries of what was stored."""
    place = await call.place(call.part("id"), "rw")
    if place.kind == "group":
        raise invalid("a group holds no files")
    if "ticket" in call.request.query:
        return await signed.upload(call, place, check_metadata)
    form = Form(call, check_metadata)
    await form.read()
    told, arrivals = form.metadata or {}, form.arrivals
    if len(arrivals) == 1 and told.get("name"):
        arrivals = [Arrival(file_name(told["name"]), arrivals[0].bytes, {})]
    if not arrivals:
        return answer([])
    rows = await call.site.records.write(
        catalog.store,
        place,
        [Arrival(a.name, a.bytes, told) for a in arrivals],
        call.caller,
        keep_metadata=call.flag("preserve_metadata"),
        hash_known=not call.site.switches.empty_hashes,
    )
    return answer([file_json(row) for row in rows])
