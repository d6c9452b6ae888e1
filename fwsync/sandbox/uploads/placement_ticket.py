"""Placement by signed URLs: ``/upload/label|uid|uid-match|reaper`` with ``?ticket=``.

A ticket is minted for the files that the metadata name, or for those that the request names
beside them; when it is redeemed the same happens as with a form.

Source: SDK 23, which sends the metadata as a form of one field; core19 for the JSON body.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.problems import invalid
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads import signed
from fwsync.sandbox.uploads.forms import Form, read_metadata
from fwsync.sandbox.uploads.placement_form import PRECEDENCE, Wanted, read_wanted

Json = dict[str, Any]

URLENCODED: Final = "application/x-www-form-urlencoded"
STRANGER: Final = 403  # for the ticket of another resource or address; core19


async def upload(call: Call, strategy: str, record: signed.Record) -> web.Response:
    """A ticket; with one, what was put is placed.

    Args:
        record: places files, as :func:`fwsync.sandbox.uploads.signed.redeem` asks for it.
    """
    where, ticket = f"upload/{strategy}", call.query("ticket")
    if ticket:
        return answer(await signed.redeem(call, where, ticket, record, stranger=STRANGER))
    if not call.site.switches.signed_url:
        return answer({})
    names, told = _split(await _body(call))
    wanted = read_wanted(strategy, told)
    if names is None:
        names = list(_named(wanted))
    sizes = {name: _size(wanted, name) for name in names}
    return answer(await signed.mint(call, where, names, sizes, wanted))


async def _body(call: Call) -> Json:
    """The JSON body, or what the field ``metadata`` of a form says."""
    kind = call.request.content_type
    if kind == "multipart/form-data":
        form = Form(call, lambda _: None)
        await form.read()
        if form.arrivals:
            raise invalid("files are put under the URLs of a ticket, not sent when it is asked for")
        return _required(form.metadata)
    if kind != URLENCODED:
        return await call.json_object()
    try:
        fields = parse_qs((await call.request.read()).decode(), max_num_fields=100)
    except ValueError as error:
        raise invalid("the form cannot be read") from error
    return _required(read_metadata(fields["metadata"][-1]) if "metadata" in fields else None)


def _required(told: Json | None) -> Json:
    if told is None:
        raise invalid("Metadata required")
    return told


def _split(body: Json) -> tuple[list[str] | None, Json]:
    """The names of the files, ``None`` where only the metadata name them; and the metadata."""
    if "metadata" not in body:
        return None, body
    told, names = body["metadata"], body.get("filenames")
    if not isinstance(told, dict):
        raise invalid("Metadata required")
    return None if names is None else signed.text_list(names, "filenames"), told


def _named(wanted: Wanted) -> dict[str, None]:
    levels = [getattr(wanted, kind) for kind in PRECEDENCE]
    return dict.fromkeys(name for level in levels if level is not None for name in level.files)


def _size(wanted: Wanted, name: str) -> int | None:
    _, told = wanted.of_file(file_name(name)) or ("", {})
    return signed.announced_size(told)
