"""Files of a container: upload, read, look into, describe, delete.

Source: core18.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.content import zipview
from fwsync.sandbox.core2018 import asking, filing, ranges
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.containers import changed_info, read_info
from fwsync.sandbox.core2018.forms import read_form, renamed
from fwsync.sandbox.core2018.render import file_json, measured
from fwsync.sandbox.core2018.wire import json_body
from fwsync.sandbox.formats.filetypes import OCTETS
from fwsync.sandbox.kept.access import RANK, Place
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
FileRow = Mapping[str, Any] | sqlite3.Row

_CHANGE: Final = s.closed(
    {"type": s.TEXT_OR_NULL, "modality": s.TEXT_OR_NULL, "measurements": s.TEXTS}
)
_CLASSIFICATION: Final = s.closed(
    {"modality": s.TEXT, "add": s.OBJECT, "delete": s.OBJECT, "replace": s.OBJECT}
)


async def upload(call: Call) -> web.Response:
    """``POST /{cont}/{id}/files``: one file; without one, 200 and ``[]``."""
    if call.caller.kind == "unknown":
        raise ApiError(403, "Uploading requires login")
    place = await asking.place(call, "rw")
    form = await read_form(call)
    metadata = form.told()
    if metadata:
        s.validate(metadata, filing.METADATA)
    if len(form.files) > 1:
        raise ApiError(400, "Targeted uploads can only send one file")
    told: Json = metadata or {}
    files = [filing.described(renamed(one, told.get("name")), told) for one in form.files]
    by = filing.author(call)

    def write(pen: Pen) -> list[Json]:
        return [filing.store(pen, place, one, by) for one in files]

    return answer(await call.site.records.write(write) if files else [])


# -------------------------------------------------------------------------------------- read


@dataclass(frozen=True, slots=True)
class FileTicket:
    """The right to read one file without a key, from one address, as often as wanted."""

    where: str
    address: str
    row: FileRow


async def download(call: Call) -> web.StreamResponse:
    """``GET /{cont}/{id}/files/{name}``: the content, a ticket for it, or a look into a zip."""
    ticket, name = call.query("ticket"), call.part("name")
    where = f"{call.kind}/{call.part('id')}/{name}"
    row = await _by_ticket(call, ticket, where) if ticket else await _row(call)
    wanted = call.query("hash")
    if wanted and wanted != file_json(row)["hash"]:
        raise ApiError(409, "file exists, hash mismatch")
    if ticket == "":
        made = str(uuid.uuid4())
        call.site.tickets.keep(made, FileTicket(where, asking.address(call), row))
        return answer({"ticket": made})
    path = call.site.blobs.path(row["sha384"])
    if call.flag("info"):
        return await zipview.send_listing(call.request, path)
    if (member := call.query("member")) is not None:
        most = call.site.settings.max_upload
        return await zipview.send_member(call.request, path, member, most)
    return await _send(call, row)


async def _send(call: Call, row: FileRow) -> web.StreamResponse:
    path, size = call.site.blobs.path(row["sha384"]), row["size"]
    if not call.flag("view"):
        name = row["name"].replace("\r", "").replace("\n", "")
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": OCTETS}
        return await ranges.send_whole(call.request, path, size, headers)
    wanted = ranges.spans(call.request.headers.get("Range", ""), size)
    kind = row["mimetype"]
    if wanted is None:
        return await ranges.send_whole(call.request, path, size, {"Content-Type": kind})
    boundary = f"{secrets.token_hex(4)}-{int(time.time())}"  # the id of the request
    return await ranges.send_spans(call.request, path, wanted, kind, boundary)


async def _by_ticket(call: Call, ticket: str, where: str) -> FileRow:
    found = call.site.tickets.get(ticket)
    if found is None:
        raise ApiError(404, "no such ticket")
    address = asking.address(call)
    if not isinstance(found, FileTicket) or (found.where, found.address) != (where, address):
        raise ApiError(400, "ticket not for this resource or source IP")
    return found.row


async def _row(call: Call) -> FileRow:
    place = await asking.place(call, "ro")
    row = await call.read(filing.newest, place.id, call.part("name"), deleted=False)
    if row is None:
        raise ApiError(404, "no such file")
    return dict(row)


async def info(call: Call) -> web.Response:
    """``GET …/files/{name}/info``: the whole record."""
    return answer(file_json(await _row(call)))


# ------------------------------------------------------------------------------------ change


async def change(call: Call) -> web.Response:
    """``PUT …/files/{name}``: type, modality, measurements."""
    row = await _writable(call)
    body = await json_body(call)
    if not body:
        raise ApiError(400, "Empty Payload")
    s.validate(body, _CHANGE)
    doc = json.loads(row["doc"])
    if "modality" in body:
        doc["modality"] = body["modality"]
    if "measurements" in body:
        doc["classification"] = measured(body["measurements"])
    await call.site.records.write(filing.describe, row["id"], doc, body.get("type", row["type"]))
    return answer({"modified": 1, "jobs_triggered": 0})


async def change_info(call: Call) -> web.Response:
    """``POST …/files/{name}/info``."""
    row = await _writable(call)
    told = read_info(await json_body(call))
    doc = json.loads(row["doc"])
    doc["info"] = changed_info(doc.get("info") or {}, told)
    await call.site.records.write(filing.describe, row["id"], doc, row["type"])
    return answer({"modified": 1})


async def change_classification(call: Call) -> web.Response:
    """``POST …/files/{name}/classification``: as its successors had it; it is not shown here."""
    row = await _writable(call)
    body = await json_body(call)
    s.validate(body, _CLASSIFICATION)
    doc = json.loads(row["doc"])
    kept = dict(body.get("replace", doc.get("classification") or {}))
    for key, words in body.get("add", {}).items():
        kept[key] = [*kept.get(key, []), *(word for word in words if word not in kept.get(key, []))]
    for key, words in body.get("delete", {}).items():
        kept[key] = [word for word in kept.get(key, []) if word not in words]
    doc |= {"classification": kept, "modality": body.get("modality", doc.get("modality"))}
    await call.site.records.write(filing.describe, row["id"], doc, row["type"])
    return answer({"modified": 1})


async def _writable(call: Call) -> FileRow:
    place = await asking.place(call, "rw")
    row = await call.read(filing.newest, place.id, call.part("name"), deleted=False)
    if row is None:
        plural = asking.PLURAL[place.kind]
        text = f"Element not updated in list files of container {plural} {place.id}"
        raise ApiError(404, text)
    return dict(row)


# ------------------------------------------------------------------------------------ delete


async def delete(call: Call) -> web.Response:
    """``DELETE …/files/{name}``: a mark; one that is there already is set again."""
    place = await asking.place(call, "rw")
    have = await asking.allow(call, place, "rw")
    row = await call.read(filing.newest, place.id, call.part("name"), deleted=True)
    if row is None:
        plural = asking.PLURAL[place.kind]
        text = f"Element not removed from list files in container {plural} {place.id}"
        raise ApiError(404, text)
    await _refuse(call, place, row, have)

    def write(pen: Pen) -> None:
        pen.db.execute(
            "UPDATE files SET deleted = ?, modified = ? WHERE id = ?",
            (pen.now, pen.now, row["id"]),
        )

    await call.site.records.write(write)
    return answer({"modified": 1})


async def _refuse(call: Call, place: Place, row: FileRow, have: int) -> None:
    """What may not be deleted: what a device wrote, below admin; what a job reads.

    Raises:
        ApiError: 403.
    """
    written_by = json.loads(row["origin"])["type"]
    if have < RANK["admin"] and written_by not in ("user", "job"):
        raise asking.refused(call, "original_data_present")
    if place.kind != "acquisition":
        return
    analyses = await call.read(filing.analyses_with_jobs, row["id"])
    if analyses:
        text = f"Cannot delete file {row['name']} referenced by analyses {analyses}"
        raise ApiError(403, text, reason="analysis_conflict")
