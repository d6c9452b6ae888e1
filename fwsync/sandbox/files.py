"""Files: upload, list, look at, download, delete."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fwsync.sandbox import catalog
from fwsync.sandbox.blobs import KEEP_IN_MEMORY, Blob, Incoming
from fwsync.sandbox.catalog import Arrival
from fwsync.sandbox.containers import answer_page
from fwsync.sandbox.content import Content, send
from fwsync.sandbox.filetypes import OCTETS
from fwsync.sandbox.listing import Source, Where, granted, list_query
from fwsync.sandbox.multipart import FormParser, Part, PartEnd, boundary_of, file_name
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.render import file_json
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
FileRow = Mapping[str, Any] | sqlite3.Row

MAX_FIELD = 16 << 20  # bytes of the fields of a form that are not files
_KNOWN_METADATA = {*catalog.METADATA, "name", "type", "mimetype", "size", "hash", "measurements"}

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


def _render(_: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Json]:
    return [file_json(row) for row in rows]


FILES = Source(
    "SELECT * FROM files f",
    "files f",
    "f",
    _render,
    _TEXTS,
    numbers={"size": "size", "version": "version"},
)


# ----------------------------------------------------------------------------------- upload


class _Form:
    """The form of an upload, as far as it was read: blobs in their place, and metadata."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._blob: Incoming | None = None
        self._name = ""
        self._field: list[bytes] | None = None
        self._field_size = 0
        self._held = 0  # bytes of small files
        self.arrivals: list[Arrival] = []
        self.metadata: Json = {}

    async def read(self) -> None:
        """Read the whole request.

        Raises:
            ApiError: 400, 413; nothing is left of a part that was not complete.
        """
        request = self._call.request
        parser = FormParser(boundary_of(request.headers.get("Content-Type", "")))
        try:
            while data := await request.content.readany():
                for event in parser.feed(data):
                    await self._take(event)
            parser.finish()
        except web.RequestPayloadError as error:
            raise invalid("the body cannot be read to its end") from error
        finally:
            if self._blob is not None:
                self._blob.abandon()

    async def _take(self, event: Part | PartEnd | bytes) -> None:
        if isinstance(event, bytes):
            await self._data(event)
        elif isinstance(event, PartEnd):
            await self._end()
        elif event.filename is not None:
            self._name = file_name(event.filename)
            self._blob = self._call.site.blobs.incoming()
        elif event.name == "metadata":
            self._field = []

    async def _data(self, data: bytes) -> None:
        if self._blob is not None:
            await self._blob.write(data)
            if self._blob.size > self._call.site.settings.max_upload:
                raise ApiError(413, f"{self._name}: larger than this site takes")
            return
        self._field_size += len(data)
        if self._field_size > MAX_FIELD:
            raise ApiError(413, "the fields of the form are too large")
        if self._field is not None:
            self._field.append(data)

    async def _end(self) -> None:
        if self._blob is not None:
            self.arrivals.append(Arrival(self._name, await self._sealed(self._blob), {}))
            self._blob = None
        elif self._field is not None:
            self.metadata = _metadata(b"".join(self._field))
            self._field = None

    async def _sealed(self, blob: Incoming) -> Blob | Incoming:
        """In its place; or, a small one, left to the thread that will record it.

        That thread writes one after the other, so there it must not be flushed, nor much.
        """
        self._held += blob.size
        if blob.in_memory and self._held < KEEP_IN_MEMORY and not self._call.site.blobs.durable:
            return blob
        return await blob.seal()


def _metadata(text: bytes) -> Json:
    try:
        told = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid("metadata is not valid JSON") from error
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise invalid("metadata must be a JSON object")
    if unknown := sorted(set(told) - _KNOWN_METADATA):
        names = ", ".join(unknown)
        raise invalid(f"Additional properties are not allowed ({names} unexpected)")
    for name, type_ in (
        ("info", dict),
        ("tags", list),
        ("classification", dict),
        ("type", str),
        ("mimetype", str),
        ("name", str),
    ):
        if told.get(name) is not None and not isinstance(told[name], type_):
            raise invalid(f"{name} has the wrong type")
    return told


async def upload(call: Call) -> web.Response:
    """``POST /{cont}/{id}/files``, multipart; answers the entries of what was stored."""
    place = await call.place(call.part("id"), "rw")
    if place.kind == "group":
        raise invalid("a group holds no files")
    if "ticket" in call.request.query:
        raise ApiError(409, "this site does not offer signed uploads")
    form = _Form(call)
    await form.read()
    told, arrivals = form.metadata, form.arrivals
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
    )
    return answer([file_json(row) for row in rows])


# ------------------------------------------------------------------------------------- read


async def top_list(call: Call) -> web.Response:
    """``GET /files``: always the page object."""
    query = list_query(call.request.query)
    grants = await call.site.grants(call.caller)
    where = granted(grants, Where(("f.deleted IS NULL",)), "f")
    return await answer_page(call, FILES, where, query, always=True)


async def get(call: Call) -> web.Response:
    """``GET /files/{file_id}``."""
    return answer(file_json(await _of_id(call)))


async def info(call: Call) -> web.Response:
    """``GET /{cont}/{id}/files/{name}/info``: the whole entry."""
    return answer(file_json(await _of_name(call)))


async def versions(call: Call) -> web.Response:
    """``GET /files/{file_id}/versions``."""
    row = await _of_id(call)
    return answer(await call.read(catalog.versions, row["id"]))


async def download(call: Call) -> web.StreamResponse:
    """``GET /files/{file_id}/download``."""
    ticket = call.query("ticket")
    if ticket:
        return await _by_ticket(call, ticket, call.part("file_id"))
    row = await _of_id(call)
    if ticket is not None:
        return _new_ticket(call, row, call.part("file_id"))
    return await _send(call, row)


async def download_by_name(call: Call) -> web.StreamResponse:
    """``GET /{cont}/{id}/files/{name}``; ``ticket=`` asks for a ticket, ``ticket=…`` uses it."""
    ticket = call.query("ticket")
    where = f"{call.part('id')}/{call.part('name')}"
    if ticket:
        return await _by_ticket(call, ticket, where)
    row = await _of_name(call)
    if ticket is not None:
        return _new_ticket(call, row, where)
    return await _send(call, row)


async def _send(call: Call, row: FileRow) -> web.StreamResponse:
    wanted = call.query("hash")
    if wanted and wanted != f"v0-sha384-{row['sha384']}":
        raise ApiError(409, "file exists, hash mismatch")
    path = call.site.blobs.path(row["sha384"])
    kind = row["mimetype"] if call.flag("view") else OCTETS
    return await send(call.request, Content(path, row["size"], row["name"], kind))


@dataclass(frozen=True, slots=True)
class FileTicket:
    """The right to read one file without a key, from one address."""

    where: str
    address: str | None
    row: FileRow


def _new_ticket(call: Call, row: FileRow, where: str) -> web.Response:
    ticket = str(uuid.uuid4())
    call.site.tickets.keep(ticket, FileTicket(where, call.request.remote, row))
    return answer({"ticket": ticket})


async def _by_ticket(call: Call, ticket: str, where: str) -> web.StreamResponse:
    found = call.site.tickets.get(ticket)
    if found is None:
        raise missing("no such ticket")
    if (
        not isinstance(found, FileTicket)
        or found.where != where
        or found.address != call.request.remote
    ):
        raise invalid("ticket not for this resource or source IP")
    return await _send(call, found.row)


async def _of_id(call: Call) -> FileRow:
    row = await call.read(catalog.by_id, call.part("file_id"))
    if row is None:
        raise missing("no such file")
    await call.place(row["container_id"], "ro")
    return await _wanted_version(call, row)


async def _of_name(call: Call) -> FileRow:
    place = await call.place(call.part("id"), "ro")
    row = await call.read(catalog.by_name, place.id, call.part("name"))
    if row is None:
        raise missing("no such file")
    return await _wanted_version(call, row)


async def _wanted_version(call: Call, row: sqlite3.Row) -> FileRow:
    text = call.query("version")
    if not text or text == str(row["version"]):
        return row
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("version must be a whole number")
    found = await call.read(catalog.at_version, row, int(text))
    if found is None:
        raise missing("no such version of this file")
    return found


# ----------------------------------------------------------------------------------- delete


async def delete_by_name(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}/files/{name}``."""
    place = await call.place(call.part("id"), "rw")
    return await _delete(call, await call.read(catalog.by_name, place.id, call.part("name")))


async def delete(call: Call) -> web.Response:
    """``DELETE /files/{file_id}``."""
    row = await call.read(catalog.by_id, call.part("file_id"))
    if row is not None:
        await call.place(row["container_id"], "rw")
    return await _delete(call, row)


async def _delete(call: Call, row: sqlite3.Row | None) -> web.Response:
    if row is None:
        raise missing("no such file")
    gone = await call.site.records.write(catalog.delete, row["id"])
    return answer({"deleted": gone, "not_found": 1 - gone, "delete_scheduled": 0})
