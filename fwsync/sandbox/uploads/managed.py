"""Managed storage: bytes first, under a UUID, and then a file that is made of them.

Sources: SDK 23 (``create_signed_upload_url`` and its kin, ``upsert_file``), the OpenAPI
description of 2026, fw-client 2.3.4 (``/storage/files``).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import hdrs, web

from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.access import Caller, Place
from fwsync.sandbox.kept.blobs import Blob
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.stores import Incomplete, Local, SignedUpload
from fwsync.sandbox.uploads.forms import Form, check_metadata
from fwsync.sandbox.uploads.signed import (
    announced_size,
    check_size,
    count_parts,
    store_origin,
    taken,
    text_list,
)

Json = dict[str, Any]

#: What ``POST /files`` may say besides the metadata of a file.
_OWN: Final = frozenset(
    {
        "name",
        "size",
        "parent_ref",
        "uuid",
        "provider_id",
        "path",
        "reference",
        "origin",
        "source",
    }
)


@dataclass(slots=True)
class Managed:
    """Bytes without a file, on their way or here.

    Args:
        upload: by which they come; ``None``: they came by a form.
        size: that was announced, in bytes; ``None``: it was not.
        blob: once they are in their place.
    """

    upload: SignedUpload | None
    size: int | None
    blob: Blob | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


# ------------------------------------------------------------------------- /upload/signed-url


async def signed_url(call: Call) -> web.Response:
    """``POST /upload/signed-url``: URLs for an object, and the UUID to name it by."""
    if not call.site.switches.signed_url:
        raise ApiError(409, "this site does not offer signed uploads")
    body = await call.json_object()
    store = call.site.store
    _check_provider(call, body)
    size = announced_size(body)
    check_size(call, "the file", size)
    name, upload = _minted(call, size, several=call.site.settings.store in ("s3", "azure"))
    reply: Json = {
        "provider_id": store.provider_id,
        "uuid": name,
        "upload_urls": list(upload.urls),
        "upload_headers": dict(upload.headers),
    }
    if upload.block_ids:
        reply |= {"block_ids": list(upload.block_ids), "az_multipart_upload_id": name}
    if upload.upload_id is not None:
        reply["s3_multipart_upload_id"] = upload.upload_id
    return answer(reply)


async def put_file(call: Call) -> web.Response:
    """``PUT /upload/fs-file?token=``: the bytes, where the store is the site's own disk."""
    store = call.site.store
    if not isinstance(store, Local):
        raise missing("this site keeps its files in a cloud")
    key, etag = await store.put(call.request, call.query("token") or "")
    response = answer({"provider_id": store.provider_id, "uuid": key})
    response.headers[hdrs.ETAG] = f'"{etag}"'
    return response


async def complete_s3(call: Call) -> web.Response:
    """``POST /upload/complete-s3-multipart``."""
    body = await call.json_object()
    name, upload = _known(call, body)
    if upload.upload_id is None or body.get("upload_id") != upload.upload_id:
        raise invalid("upload_id is not that of the URLs")
    return await _complete(call, name, upload, text_list(body.get("etags"), "etags"))


async def complete_azure(call: Call) -> web.Response:
    """``POST /upload/complete-azure-multipart``."""
    body = await call.json_object()
    name, upload = _known(call, body)
    if not upload.block_ids:
        raise invalid("this upload has no blocks")
    return await _complete(call, name, upload, text_list(body.get("block_ids"), "block_ids"))


async def cleanup(call: Call) -> web.Response:
    """``POST /upload/signed-url/cleanup``: forget what was put and is not wanted."""
    name, _ = _known(call, await call.json_object())
    _forget(call, name)
    return web.Response(status=204)


# ----------------------------------------------------------------------------- /storage/files


async def storage_file(call: Call) -> web.Response:
    """``POST /storage/files``: a URL with ``signed_url=true``, otherwise a form with the file.

    Raises:
        ApiError: 409, a URL is wanted and the site has none: the client sends the form then.
    """
    await call.place(call.query("project_id") or "", "rw", "project")
    if call.flag("signed_url"):
        if not call.site.switches.signed_url:
            raise ApiError(409, "this site does not offer signed uploads")
        name, upload = _minted(call, None, several=False)
        return answer(
            {
                "storage_file_id": name,
                "upload_url": upload.urls[0],
                "upload_headers": dict(upload.headers),
            }
        )
    form = Form(call, lambda _: None)
    await form.read()
    if len(form.arrivals) != 1:
        raise invalid("the form must have one file")
    blob = await asyncio.to_thread(form.arrivals[0].blob)
    name = str(uuid.uuid4())
    call.site.tickets.keep(name, Managed(None, None, blob))
    return answer({"storage_file_id": name})


async def delete_storage_file(call: Call) -> web.Response:
    """``DELETE /storage/files/{id}``."""
    deleted = _forget(call, call.part("id"))
    if not deleted and not call.flag("ignore_storage_errors"):
        raise missing("no such storage file")
    return answer({"deleted": int(deleted)})


# ------------------------------------------------------------------------------- POST /files


async def upsert(call: Call) -> web.Response:
    """``POST /files``: a file of bytes that were stored before.

    ========================================================  ==============
    there is no file of that name                             ``created``
    there is, with the same ``client_hash`` or the same bytes ``ignored``
    there is, with others, and ``force_update``               ``updated``
    there is, with others                                     ``conflict``
    ========================================================  ==============

    Nothing is stored for the last; the bytes stay, so that it can be asked again with force.

    Source: the four words and the flag are those of SDK 23; when which applies is [inferred].
    """
    return answer(await upserted(call, await call.json_object()))


async def upserted(call: Call, body: Json) -> Json:
    """:func:`upsert` of a body that may come from elsewhere; what it answers.

    Raises:
        ApiError: 400, 403, 404, 409.
    """
    place, name = await _target(call, body)
    told = {key: body[key] for key in body if key not in _OWN}
    check_metadata(told)
    _check_provider(call, body)
    size = announced_size(body)
    force = call.flag("force_update")
    known = await call.read(catalog.by_name, place.id, name)
    if known is not None and _same_hash(known, told):
        return file_json(known) | {"upsert_result": "ignored"}
    blob = await _blob(call, name, _stored(call, body))
    if size is not None and blob.size != size:
        raise ApiError(409, f"{name}: {blob.size} bytes are in the store, {size} were announced")
    row, result = await call.site.records.write(
        _upsert,
        place,
        Arrival(name, blob, told),
        call.caller,
        force=force,
        hash_known=not call.site.switches.empty_hashes,
    )
    return file_json(row) | {"upsert_result": result}


async def _blob(call: Call, name: str, managed: Managed) -> Blob:
    """The bytes, moved to their place by whoever asks first."""
    async with managed.lock:
        if managed.blob is None:
            assert managed.upload is not None  # or they came by a form
            try:
                await call.site.store.complete(managed.upload, None)
            except Incomplete as error:
                raise ApiError(409, f"{name}: {error}") from error
            managed.blob = await taken(call, name, managed.upload.key, managed.size)
        return managed.blob


def drop(call: Call, body: Json) -> None:
    """Forget the bytes that a body names by their UUID."""
    _forget(call, _uuid(body))


def _upsert(
    pen: Pen, place: Place, arrival: Arrival, caller: Caller, *, force: bool, hash_known: bool
) -> tuple[sqlite3.Row, str]:
    known = catalog.by_name(pen.db, place.id, pen.named(arrival.name))
    if known is not None:
        if _same_hash(known, arrival.metadata) or known["sha384"] == arrival.blob().sha384:
            return known, "ignored"
        if not force:
            return known, "conflict"
    rows = catalog.store(
        pen, place, [arrival], caller, keep_metadata=known is not None, hash_known=hash_known
    )
    return rows[0], "created" if known is None else "updated"


def _same_hash(known: sqlite3.Row, told: Json) -> bool:
    wanted = told.get("client_hash")
    return bool(wanted) and json.loads(known["doc"]).get("client_hash") == wanted


async def _target(call: Call, body: Json) -> tuple[Place, str]:
    """Where the file goes, and under which name."""
    parent = body.get("parent_ref")
    if not isinstance(parent, dict) or not all(
        isinstance(parent.get(key), str) for key in ("type", "id")
    ):
        raise invalid("parent_ref must have type and id")
    if not isinstance(body.get("name"), str):
        raise invalid("name is required")
    if body.get("reference"):
        raise invalid("this site keeps no references to files of other storage")
    place = await call.place(parent["id"], "rw", parent["type"])
    if place.kind == "group":
        raise invalid("a group holds no files")
    return place, file_name(body["name"])


def _stored(call: Call, body: Json) -> Managed:
    found = call.site.tickets.get(_uuid(body))
    if not isinstance(found, Managed):
        raise missing(
            "no such uuid (what was put and not made a file is gone when the sandbox was restarted)"
        )
    return found


# -------------------------------------------------------------------------------- the helpers


def _minted(call: Call, size: int | None, *, several: bool) -> tuple[str, SignedUpload]:
    store = call.site.store
    count = count_parts(call, size) if several and size is not None else 1
    if count == 1 and (size or 0) > store.largest_put:
        raise ApiError(413, f"larger than one PUT may be ({store.largest_put} bytes)")
    name = str(uuid.uuid4())
    upload = store.upload(store_origin(call), name, count if count > 1 else 0)
    call.site.tickets.keep(name, Managed(upload, size))
    return name, upload


def _forget(call: Call, name: str) -> bool:
    """Forget bytes that are no file; whether there were any."""
    found = call.site.tickets.get(name)
    if not isinstance(found, Managed):
        return False
    del call.site.tickets[name]
    if found.upload is not None:
        call.site.store.objects.drop(found.upload.key)
    return True


def _check_provider(call: Call, body: Json) -> None:
    if body.get("provider_id") not in (None, call.site.store.provider_id):
        raise missing("no such storage provider")


def _uuid(body: Json) -> str:
    name = body.get("uuid")
    if not isinstance(name, str):
        raise invalid("uuid is required")
    return name


def _known(call: Call, body: Json) -> tuple[str, SignedUpload]:
    _check_provider(call, body)
    found = _stored(call, body)
    if found.upload is None:
        raise invalid("this object came by a form")
    return _uuid(body), found.upload


async def _complete(call: Call, name: str, upload: SignedUpload, tags: list[str]) -> web.Response:
    try:
        await call.site.store.complete(upload, tags)
    except Incomplete as error:
        raise invalid(str(error)) from error
    return answer({"provider_id": call.site.store.provider_id, "uuid": name})
