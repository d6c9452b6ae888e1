"""Uploads to a container: ``POST /{cont}/{id}/files``, as a form or by signed URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from fwsync.sandbox.formats.multipart import file_name
from fwsync.sandbox.kept import catalog
from fwsync.sandbox.kept.access import Place
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.render import file_json
from fwsync.sandbox.problems import invalid
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads import signed
from fwsync.sandbox.uploads.forms import Form, check_metadata

Json = dict[str, Any]


async def upload(call: Call) -> web.Response:
    """``POST /{cont}/{id}/files``; answers the entries of what was stored, or a ticket."""
    place = await call.place(call.part("id"), "rw")
    if place.kind == "group":
        raise invalid("a group holds no files")
    if "ticket" in call.request.query:
        return answer(await _by_ticket(call, place))
    form = Form(call, check_metadata)
    await form.read()
    if not form.arrivals:
        return answer([])
    told = form.metadata or {}
    return answer(await _store(call, place, [replace(a, metadata=told) for a in form.arrivals]))


async def _by_ticket(call: Call, place: Place) -> Json | list[Json]:
    """A ticket; with one, what was put becomes files.

    Where the site has no signed URLs the answer is an empty object: CLI 18.5.1 looks for
    ``ticket`` and ``urls`` in it and falls back to the form. (core19 answers ``null``, on which
    this CLI fails.)
    """

    async def record(about: Mapping[str, Json], arrivals: list[Arrival]) -> list[Json]:
        told = [replace(a, metadata=about[a.name]) for a in arrivals]
        return await _store(call, place, told)

    where, ticket = f"{place.kind}/{place.id}", call.query("ticket")
    if ticket:
        return await signed.redeem(call, where, ticket, record)
    if not call.site.switches.signed_url:
        return {}
    body = await call.json_object()
    names = signed.text_list(body.get("filenames"), "filenames")
    about = _about(names, body.get("metadata"))
    for entry in about.values():
        check_metadata(entry)
    sizes = {name: signed.announced_size(entry) for name, entry in about.items()}
    return await signed.mint(call, where, names, sizes, about)


def _about(names: list[str], told: Any) -> dict[str, Json]:
    """The metadata of each file: an object for all, or (analyses) a list with one for each."""
    if isinstance(told, list):
        if len(told) != len(names):
            raise invalid("metadata must have an entry for each of filenames")
        entries = told
    else:
        entries = [{} if told is None else told] * len(names)
    if not all(isinstance(entry, dict) for entry in entries):
        raise invalid("metadata must be a JSON object, or a list of them")
    if len(names) > 1 and not isinstance(told, list):
        entries = [{k: v for k, v in entry.items() if k != "size"} for entry in entries]
    return dict(zip(names, entries, strict=True))


async def _store(call: Call, place: Place, arrivals: Sequence[Arrival]) -> list[Json]:
    """Record files; one that came alone may be named by its metadata."""
    if len(arrivals) == 1:
        arrivals = [replace(a, name=a.metadata.get("name") or a.name) for a in arrivals]
    rows = await call.site.records.write(
        catalog.store,
        place,
        [replace(a, name=file_name(a.name)) for a in arrivals],
        call.caller,
        keep_metadata=call.flag("preserve_metadata"),
        hash_known=not call.site.switches.empty_hashes,
    )
    return [file_json(row) for row in rows]
