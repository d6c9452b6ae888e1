"""Paths to containers and files: ``POST /lookup`` and ``POST /resolve``.

A path is group id, project, subject, session, acquisition, each a label or ``<id:…>``; at any
level from the project down ``files`` and a name may follow. Of equal labels the oldest wins.

Source: core19's resolver; the bodies of SDK 23.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox import catalog, tree
from fwsync.sandbox.access import Grants, Place, check, load_place
from fwsync.sandbox.containers import load, source
from fwsync.sandbox.listing import ListQuery, Where, granted, page
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.render import file_json, files_of, typed
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
_BY_ID: Final = re.compile(r"<id:([^>]+)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path leads: the containers on it, and the file at its end if it names one."""

    places: list[Place]
    file: sqlite3.Row | None = None
    only_files: bool = False  # the path ends in the word `files`


async def lookup(call: Call) -> web.Response:
    """The one thing at a path."""
    path, grants = await _path(call), await call.site.grants(call.caller)

    def find(db: sqlite3.Connection) -> Json:
        found = walk(db, path, grants)
        if found.file is not None:
            return typed(file_json(found.file), "file")
        if not found.places or found.only_files:
            raise missing("the path names nothing")
        entry = load(db, found.places[-1].id, with_files=call.with_files)
        if entry is None:
            raise missing("it was deleted just now")
        return entry

    return answer(await call.read(find))


async def resolve(call: Call) -> web.Response:
    """Everything on the way of a path, and what is directly below its end."""
    path, grants = await _path(call), await call.site.grants(call.caller)

    def find(db: sqlite3.Connection) -> Json:
        found = walk(db, path, grants)
        way = [load(db, place.id, with_files=False) for place in found.places]
        nodes = [entry for entry in way if entry is not None]
        if found.file is not None:
            return {"path": [*nodes, typed(file_json(found.file), "file")], "children": []}
        return {"path": nodes, "children": _children(db, found, grants)}

    return answer(await call.read(find))


async def _path(call: Call) -> list[str]:
    path = (await call.json_object()).get("path")
    if not isinstance(path, list) or not all(isinstance(step, str) for step in path):
        raise invalid("path must be a list of texts")
    return [] if path == [""] else path


def walk(db: sqlite3.Connection, path: list[str], grants: Grants | None) -> Found:
    """Follow a path.

    Raises:
        ApiError: 404 a step leads nowhere, 403 or to what the caller may not see.
    """
    places: list[Place] = []
    for at, step in enumerate(path):
        here = places[-1] if places else None
        if step == "files" and here is not None and here.kind != "group":
            return _files(db, here, places, path[at + 1 :])
        kind = "group" if here is None else tree.CHILD_OF.get(here.kind)
        if kind is None:
            raise missing(f"an acquisition has no {step!r}; a file is named files/{step}")
        place = _child(db, here, kind, step)
        if place is None:
            raise missing(f"No {step} {kind} found.{_hint(db, here, step)}")
        check(grants, place, "ro")
        places.append(place)
    return Found(places)


def _files(db: sqlite3.Connection, here: Place, places: list[Place], rest: list[str]) -> Found:
    if not rest or rest == [""]:
        return Found(places, only_files=True)
    row = catalog.by_name(db, here.id, rest[0]) if len(rest) == 1 else None
    if row is None:
        raise missing(f"No {'/'.join(rest)} file found.")
    return Found(places, row)


def _child(db: sqlite3.Connection, here: Place | None, kind: str, step: str) -> Place | None:
    by_id = _BY_ID.fullmatch(step)
    if by_id or here is None:
        place = load_place(db, by_id[1] if by_id else step)
        if place is None or place.kind != kind:
            return None
        return place if here is None or getattr(place, here.kind) == here.id else None
    found = tree.oldest_by_label(db, here.id, step)
    return None if found is None else load_place(db, found)


def _hint(db: sqlite3.Connection, here: Place | None, step: str) -> str:
    if here is None or catalog.by_name(db, here.id, step) is None:
        return ""
    return f" Did you mean files/{step}?"


def _children(db: sqlite3.Connection, found: Found, grants: Grants | None) -> list[Json]:
    here = found.places[-1] if found.places else None
    kind = "group" if here is None else tree.CHILD_OF.get(here.kind)
    children: list[Json] = []
    if kind is not None and not found.only_files:
        where = Where(("c.deleted IS NULL", "c.kind = ?"), (kind,))
        if here is not None:
            where = where.also("c.parent_id = ?", here.id)
        where = granted(grants, where, "c", groups=kind == "group")
        query = ListQuery(sort=(("created", False),))
        children = page(db, source(kind, with_files=False), where, query, total=None).results
    if here is not None and here.kind != "group":
        files = files_of(db, [here.id]).get(here.id, [])
        children += [typed(entry, "file") for entry in files]
    return children
