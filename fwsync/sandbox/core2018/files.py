"""Files of a container: upload, read, look into, describe, delete.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.content import zipview
from fwsync.sandbox.core2018 import asking, filing, ranges
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.containers import read_info
from fwsync.sandbox.core2018.forms import read_form, renamed
from fwsync.sandbox.core2018.render import file_json, measured
from fwsync.sandbox.core2018.wire import in_header, json_body
from fwsync.sandbox.exchange import asked_range
from fwsync.sandbox.formats.filetypes import OCTETS, sendable
from fwsync.sandbox.kept import catalog, metadata
from fwsync.sandbox.kept.access import RANK, Place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError, request_id
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

_CHANGE: Final = s.closed(
    {"type": s.TEXT_OR_NULL, "modality": s.TEXT_OR_NULL, "measurements": s.TEXTS}
)


async def upload(call: Call) -> web.Response:
    """``POST /{cont}/{id}/files``: one file; without one, 200 and ``[]``."""
    if call.caller.kind == "unknown":
        raise ApiError(403, "Uploading requires login")
    place = await asking.place(call, "rw", deleted=True)
    form = await read_form(call)
    told: Json = form.told() or {}
    s.validate(told, filing.METADATA)
    if len(form.files) > 1:
        raise ApiError(400, "Targeted uploads can only send one file")
    files = [filing.described(renamed(one, told.get("name")), told) for one in form.files]
    by = filing.author(call)

    def write(pen: Pen) -> list[Json]:
        return [filing.store_anywhere(pen, place, one, by) for one in files]

    return answer(await call.site.records.write(write) if files else [])


# -------------------------------------------------------------------------------------- read


@dataclass(frozen=True, slots=True)
class FileTicket:
    """The right to read one file without a key, from one address, as often as wanted."""

    where: str
    address: str


async def download(call: Call) -> web.StreamResponse:
    """``GET /{cont}/{id}/files/{name}``: the content, a ticket for it, or a look into a zip."""
    ticket, name = call.query("ticket"), call.part("name")
    where = f"{call.kind}/{call.part('id')}/{name}"
    if ticket:
        _check_ticket(call, ticket, where)
    else:
        await asking.place(call, "ro", deleted=True)
    row = await _row(call)
    wanted = call.query("hash")
    if wanted and wanted != catalog.shown_hash(row):
        raise ApiError(409, "file exists, hash mismatch")
    if ticket == "":
        made = str(uuid.uuid4())
        call.site.tickets.keep(made, FileTicket(where, asking.address(call)))
        return answer({"ticket": made})
    path = call.site.blobs.path(row["sha384"])
    if call.flag("info"):
        return await zipview.send_listing(call.request, path)
    if (member := call.query("member")) is not None:
        most = call.site.settings.max_upload
        return await zipview.send_member(call.request, path, member, most)
    return await _send(call, row)


async def _send(call: Call, row: sqlite3.Row) -> web.StreamResponse:
    path, size = call.site.blobs.path(row["sha384"]), row["size"]
    if not call.flag("view"):
        attached = f'attachment; filename="{in_header(row["name"])}"'
        headers = {"Content-Disposition": attached, "Content-Type": OCTETS}
        return await ranges.send_whole(call.request, path, size, headers)
    wanted = ranges.spans(asked_range(call.request) or "", size)
    kind = sendable(row["mimetype"])
    if wanted is None:
        return await ranges.send_whole(call.request, path, size, {"Content-Type": kind})
    return await ranges.send_spans(call.request, path, wanted, kind, request_id())


def _check_ticket(call: Call, ticket: str, where: str) -> None:
    found = call.site.tickets.get(ticket)
    if found is None:
        raise ApiError(404, "no such ticket")
    if found != FileTicket(where, asking.address(call)):
        raise ApiError(400, "ticket not for this resource or source IP")


async def _row(call: Call) -> sqlite3.Row:
    row = await call.read(filing.readable, call.part("id"), call.part("name"))
    if row is None:
        raise ApiError(404, "no such file")
    return row


async def info(call: Call) -> web.Response:
    """``GET …/files/{name}/info``: the whole record."""
    await asking.place(call, "ro", deleted=True)
    return answer(file_json(await _row(call)))


# ------------------------------------------------------------------------------------ change


async def change(call: Call) -> web.Response:
    """``PUT …/files/{name}``: type, modality, measurements."""
    file_id = await _writable(call)
    body = await json_body(call)
    if not body:
        raise ApiError(400, "Empty Payload")
    s.validate(body, _CHANGE)

    def work(doc: Json) -> None:
        doc |= {name: body[name] for name in ("type", "modality") if name in body}
        if "measurements" in body:
            doc["classification"] = measured(body["measurements"])

    await call.site.records.write(catalog.edit, file_id, work)
    return answer({"modified": 1, "jobs_triggered": 0})


async def change_info(call: Call) -> web.Response:
    """``POST …/files/{name}/info``."""
    file_id = await _writable(call)
    told = read_info(await json_body(call))
    work = partial(metadata.change_info, body=told)
    await call.site.records.write(catalog.edit, file_id, work)
    return answer({"modified": 1})


async def change_classification(call: Call) -> web.Response:
    """``POST …/files/{name}/classification``: the later form of measurements. Source: core19."""
    file_id = await _writable(call)
    body = await json_body(call)
    s.validate(body, s.OBJECT)
    work = partial(metadata.change_classification, body=body)
    await call.site.records.write(catalog.edit, file_id, work)
    return answer({"modified": 1})


async def _writable(call: Call) -> str:
    """The id of a file that the caller may change."""
    place = await asking.place(call, "rw")
    row = await call.read(catalog.by_name, place.id, call.part("name"))
    if row is None:
        raise asking.no_element(place, "updated in list files of")
    file_id: str = row["id"]
    return file_id


# ------------------------------------------------------------------------------------ delete


async def delete(call: Call) -> web.Response:
    """``DELETE …/files/{name}``: a mark; one that is there already is set again."""
    place = await asking.place(call, "rw", deleted=True)
    row = await call.read(filing.newest, place.id, call.part("name"))
    if row is None:
        raise asking.no_element(place, "removed from list files in")
    await _refuse(call, place, row)

    def write(pen: Pen) -> None:
        pen.db.execute(
            "UPDATE files SET deleted = ?, modified = ? WHERE id = ?",
            (pen.now, pen.now, row["id"]),
        )

    await call.site.records.write(write)
    return answer({"modified": 1})


async def _refuse(call: Call, place: Place, row: sqlite3.Row) -> None:
    """What may not be deleted: what a device wrote, below admin; what a job reads.

    Raises:
        ApiError: 403.
    """
    of_people = json.loads(row["origin"])["type"] in ("user", "job")
    if not of_people and await asking.rank_of(call, place) < RANK["admin"]:
        raise asking.refused(call, "original_data_present")
    if place.kind != "acquisition":
        return
    analyses = await call.read(filing.analyses_with_jobs, row["id"])
    if analyses:
        text = f"Cannot delete file {row['name']} referenced by analyses {analyses}"
        raise ApiError(403, text, reason="analysis_conflict")
