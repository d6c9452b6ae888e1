"""Uploads by signed URLs: a ticket is minted, the bytes go to the store, the ticket is redeemed.

Its one rule: a file gets a record only when its object is in the store with the announced size,
and a ticket gets its files recorded once: redeemed again, it answers what it answered before.

Sources: SDK 23, CLI 18.5.1, core19.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from fwsync.sandbox.content.sending import attachment
from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import naming
from fwsync.sandbox.kept.blobs import Blob
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.problems import ApiError, invalid, missing
from fwsync.sandbox.site import Call
from fwsync.sandbox.stores import Download, Incomplete, SignedUpload, part_count

Json = dict[str, Any]
Record = Callable[[Any, list[Arrival]], Awaitable[list[Json]]]

MAX_FILES = 10_000  # of one ticket
MAX_PARTS = 10_000
SIGNED_AT_ONCE = 100  # URLs; some milliseconds
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


@dataclass(slots=True)
class UploadTicket:
    """The right to put some files somewhere, from one address.

    Args:
        where: the resource it was minted for.
        about: the metadata, as the client told it.
        uploads: by the file name that the client gave.
        sizes: that were announced, in bytes; ``None``: it was not.
        blobs: what was moved to its place already.
        entries: what redeeming it answered; ``None``: it was not redeemed.
    """

    where: str
    address: str | None
    about: Any
    uploads: Mapping[str, SignedUpload]
    sizes: Mapping[str, int | None]
    blobs: dict[str, Blob] = field(default_factory=dict)
    entries: list[Json] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


# --------------------------------------------------------------------------------- anywhere


async def mint(
    call: Call, where: str, filenames: Sequence[str], sizes: Mapping[str, int | None], about: Any
) -> Json:
    """A ticket and its URLs, as the wire has them.

    Args:
        where: the resource, in any words; :func:`redeem` must say the same.
        filenames: as the client gave them; they are the keys of ``urls``.
        sizes: announced, in bytes, by file name; ``None`` or nothing: not announced.
        about: kept for :func:`redeem`.

    Raises:
        ApiError: 400, a name cannot be that of a file, or stands there twice; 413.
    """
    if not filenames or len(filenames) > MAX_FILES:
        raise invalid(f"filenames must have 1 to {MAX_FILES} names")
    if len({naming.named(call.site.rule, file_name(name)) for name in filenames}) < len(filenames):
        raise invalid("a file name stands there twice")
    store, origin = call.site.store, store_origin(call)
    uploads = {}
    for name in filenames:
        size = sizes.get(name)
        check_size(call, name, size)
        parts = _parts(call, size) if len(filenames) == 1 else 0
        if not parts and (size or 0) > store.largest_put:
            raise ApiError(
                413,
                f"{name}: larger than one PUT to this store may be ({store.largest_put} bytes);"
                " say multipart_signed_url in X-Accept-Feature",
            )
        uploads[name] = store.upload(origin, str(uuid.uuid4()), parts)
        if len(uploads) % SIGNED_AT_ONCE == 0:
            await asyncio.sleep(0)  # others have their turn
    ticket = str(uuid.uuid4())
    announced = {name: sizes.get(name) for name in filenames}
    call.site.tickets.keep(
        ticket, UploadTicket(where, call.request.remote, about, uploads, announced)
    )
    headers = next(iter(uploads.values())).headers
    urls = {name: _urls(upload) for name, upload in uploads.items()}
    return {"ticket": ticket, "urls": urls, "headers": dict(headers)}


async def redeem(
    call: Call, where: str, ticket: str, record: Record, *, stranger: int = 400
) -> list[Json]:
    """Verify what was put, have it recorded, and return the entries.

    Args:
        record: is given what the ticket is about and the files, under the names the client gave;
            called at most once with success.
        stranger: the status for a ticket of another resource or address; ``/upload/*`` has 403.

    Raises:
        ApiError: 404, the ticket is unknown: tickets end with the sandbox; 409, an object is
            missing or has another size [inferred: no source gives the status]; 400, the ETags of
            parts are wrong; what ``record`` raises.
    """
    found = call.site.tickets.get(ticket)
    if found is None:
        raise missing(
            "no such ticket (tickets, and what was put by them and not finalized, are gone"
            " when the sandbox was restarted)"
        )
    if (
        not isinstance(found, UploadTicket)
        or found.where != where
        or found.address != call.request.remote
    ):
        raise ApiError(stranger, "ticket not for this resource or source IP")
    multipart = await _multipart(call)
    async with found.lock:
        if found.entries is None:
            for name, upload in found.uploads.items():
                if name not in found.blobs:
                    tags = _tags(upload, multipart)
                    found.blobs[name] = await _verified(call, name, upload, found.sizes[name], tags)
            arrivals = [Arrival(name, found.blobs[name], {}) for name in found.uploads]
            found.entries = await record(found.about, arrivals)
        return found.entries


def announced_size(told: Mapping[str, Any]) -> int | None:
    """The size that the metadata of one file announce; SDK 23 leaves a 0 out.

    Raises:
        ApiError: 400, it is no number of bytes.
    """
    size = told.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise invalid("size must be a number of bytes")
    return size


def check_size(call: Call, name: str, size: int | None) -> None:
    """Refuse what this site does not take.

    Raises:
        ApiError: 413.
    """
    if size is not None and size > call.site.settings.max_upload:
        raise ApiError(413, f"{name}: larger than this site takes")


def store_origin(call: Call) -> str:
    """``scheme://host:port`` of the store, as this client reaches it."""
    url = call.origin
    return str(url.with_port(call.site.store_port) if call.site.store.elsewhere else url)


def download_url(call: Call, sha384: str, name: str, mimetype: str) -> str | None:
    """Where a file can be read without a key; ``None``: not from this store."""
    what = Download(sha384, mimetype, attachment(name))
    return call.site.store.download(store_origin(call), what)


def count_parts(call: Call, size: int) -> int:
    """Into how many parts a file of this size is cut."""
    store, switches = call.site.store, call.site.switches
    if size < switches.signed_parts_from and size <= store.largest_put:
        return 1
    target = max(switches.signed_part_size, ceil(size / MAX_PARTS))
    most = max(1, min(MAX_PARTS, size // store.smallest_part))
    return part_count(size, min(target, store.largest_put), most)


# ---------------------------------------------------------------------------------- the rest


def _parts(call: Call, size: int | None) -> int:
    """0: one plain PUT; otherwise how many parts.

    CLI 18.5.1 sends no Content-Range, so it would end a GCS session with its first part.
    """
    known = {feature.replace("-", "_") for feature in call.accepts}
    if "multipart_signed_url" not in known or not call.site.switches.multipart_signed_url:
        return 0
    agent = call.request.headers.get("User-Agent", "")
    if call.site.settings.store == "gcs" and agent.startswith("Flywheel CLI/"):
        return 0
    return count_parts(call, size or 0)


def _urls(upload: SignedUpload) -> str | list[str]:
    """A text for one plain PUT; CLI 18.5.1 ends a multipart upload only where there is a list."""
    if len(upload.urls) == 1 and upload.upload_id is None:
        return upload.urls[0]
    return list(upload.urls)


async def _multipart(call: Call) -> Mapping[str, Any] | None:
    """``multipart`` of the body, which may be empty whatever its type is said to be."""
    # SDK 23 may send the metadata of a placement once more, as a form.
    if not await call.request.read() or call.request.content_type in _FORMS:
        return None
    body = await call.json()
    told = body.get("multipart") if isinstance(body, dict) else body
    if told is not None and not isinstance(told, dict):
        raise invalid("the body must be empty, or an object with `multipart`")
    return told


def _tags(upload: SignedUpload, multipart: Mapping[str, Any] | None) -> list[str] | None:
    """The ETags that the client tells for an S3 upload; other stores join without."""
    if multipart is None or upload.upload_id is None:
        return None
    if multipart.get("upload_id") != upload.upload_id:
        raise invalid("upload_id is not that of the URLs")
    return text_list(multipart.get("e_tags"), "e_tags")


def text_list(value: Any, name: str) -> list[str]:
    """A list of texts from a body.

    Raises:
        ApiError: 400.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(f"{name} must be a list of texts")
    return value


async def _verified(
    call: Call, name: str, upload: SignedUpload, size: int | None, tags: list[str] | None
) -> Blob:
    store = call.site.store
    try:
        await store.complete(upload, tags)
    except Incomplete as error:
        raise ApiError(409 if tags is None else 400, f"{name}: {error}") from error
    return await taken(call, name, upload.key, size)


async def taken(call: Call, name: str, key: str, size: int | None) -> Blob:
    """An object, moved to its place, its size being what was announced.

    Raises:
        ApiError: 409, it is missing or has another size; 413.
    """
    held = call.site.store.objects.get(key)
    if held is None or held.piece is None:
        raise ApiError(409, f"{name}: nothing is in the store; was it put under its URL?")
    if size is not None and held.piece.size != size:
        raise ApiError(
            409, f"{name}: {held.piece.size} bytes are in the store, {size} were announced"
        )
    check_size(call, name, held.piece.size)
    return await call.site.store.objects.take(key)
