"""The content of a file on its way out: whole, in ranges, a look into a zip, by key or by ticket.

Source: SDK 23 and core18, whose tickets are bound to one file and one address.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.content import zipview
from fwsync.sandbox.content.sending import Content, send
from fwsync.sandbox.formats.filetypes import OCTETS, sendable
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.targets import FileRow
from fwsync.sandbox.uploads import signed

Deliver = Callable[[Call, FileRow], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class FileTicket:
    """The right to read one file without a key, from one address."""

    where: str
    address: str | None
    row: FileRow


async def download(call: Call) -> web.StreamResponse:
    """``GET /{cont}/{id}/files/{name}``, ``GET /files/{file_id}/download``.

    ``ticket=`` asks for a ticket, ``ticket=…`` uses it.
    """
    return await _deliver(call, _content)


async def zip_info(call: Call) -> web.StreamResponse:
    """``GET /files/{file_id}/zip_info``."""
    return await _deliver(call, _listing)


async def zip_member(call: Call) -> web.StreamResponse:
    """``GET /files/{file_id}/zip_member/{member}``."""
    return await _deliver(call, _member)


async def ticket(call: Call) -> web.Response:
    """``POST /files/{file_id}/ticket``: a ticket for the content of a version."""
    return _new_ticket(call, await targets.file(call))


async def signed_url(call: Call) -> web.Response:
    """``GET /files/{file_id}/signed_url``: a URL that needs no key, as a JSON text.

    Where the store serves nothing itself, the site does, by a ticket.
    """
    row = await targets.file(call)
    url = _url(call, row)
    if url is None:
        path = f"/api/files/{row['id']}/download"
        query = {"ticket": _mint(call, row)} | ({"view": "true"} if call.flag("view") else {})
        url = str(call.origin.with_path(path).with_query(query))
    return answer(url)


async def _deliver(call: Call, deliver: Deliver) -> web.StreamResponse:
    told = call.query("ticket")
    if told:
        return await deliver(call, await _by_ticket(call, told))
    row = await targets.file(call)
    if told is not None:
        return _new_ticket(call, row)
    return await deliver(call, row)


async def _content(call: Call, row: FileRow) -> web.StreamResponse:
    wanted = call.query("hash")
    if wanted and wanted != f"v0-sha384-{row['sha384']}":
        raise ApiError(409, "file exists, hash mismatch")
    if call.flag("info"):
        return await _listing(call, row)
    if call.query("member") is not None:
        return await _member(call, row)
    if "safe-redirect" in call.accepts and call.request.method == "GET":
        url = _url(call, row)
        if url is not None:
            return web.Response(status=302, headers={"Location": url})
    path = call.site.blobs.path(row["sha384"])
    return await send(call.request, Content(path, row["size"], row["name"], _kind(call, row)))


def _kind(call: Call, row: FileRow) -> str:
    return sendable(row["mimetype"]) if call.flag("view") else OCTETS


def _url(call: Call, row: FileRow) -> str | None:
    """Where the store of the site serves the content; ``None``: it does not."""
    return signed.download_url(call, row["sha384"], row["name"], _kind(call, row))


async def _listing(call: Call, row: FileRow) -> web.StreamResponse:
    return await zipview.send_listing(call.request, call.site.blobs.path(row["sha384"]))


async def _member(call: Call, row: FileRow) -> web.StreamResponse:
    member = call.parts.get("member") or call.query("member") or ""
    path, most = call.site.blobs.path(row["sha384"]), call.site.settings.max_upload
    return await zipview.send_member(call.request, path, member, most)


def _where(call: Call) -> str:
    if "file_id" in call.parts:
        return call.part("file_id")
    return f"{call.part('id')}/{call.part('name')}"


def _new_ticket(call: Call, row: FileRow) -> web.Response:
    return answer({"ticket": _mint(call, row)})


def _mint(call: Call, row: FileRow) -> str:
    made = str(uuid.uuid4())
    call.site.tickets.keep(made, FileTicket(_where(call), call.request.remote, row))
    return made


async def _by_ticket(call: Call, told: str) -> FileRow:
    found = call.site.tickets.get(told)
    if found is None:
        raise missing("no such ticket")
    here = (_where(call), call.request.remote)
    if not isinstance(found, FileTicket) or (found.where, found.address) != here:
        raise invalid("ticket not for this resource or source IP")
    if await call.read(catalog.by_id, found.row["id"]) is None:
        raise missing("no such file")  # it was deleted since
    return found.row
