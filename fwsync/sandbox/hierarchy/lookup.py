"""Paths to containers and files: ``POST /lookup`` and ``POST /resolve``.

A path is group id, project, subject, session, acquisition, each a label or ``<id:…>``; at any
level from the project down ``analyses`` and a label may follow, and ``files`` and a name. Of equal
labels the oldest wins.

Source: core19's resolver; the bodies of SDK 23.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.hierarchy.containers import load, source
from fwsync.sandbox.kept import catalog, tree
from fwsync.sandbox.kept.access import Grants, Place, check, load_place
from fwsync.sandbox.kept.listing import ListQuery, Where, granted, page
from fwsync.sandbox.kept.render import file_json, files_of, typed
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
_BY_ID: Final = re.compile(r"<id:([^>]+)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path leads: the containers on it, and the file at its end if it names one."""

    places: list[Place]
    file: sqlite3.Row | None = None
    only: str = ""  # the path ends in the word `files`, or `analyses`


async def lookup(call: Call) -> web.Response:
    """The one thing at a path."""
    path, grants = await _path(call), await call.site.grants(call.caller)

    def find(db: sqlite3.Connection) -> Json:
        found = walk(db, path, grants)
        if found.file is not None:
            return typed(file_json(found.file), "file")
        if not found.places or found.only:
            raise missing("the path names nothing")
        one = found.places[-1].id
        entry = load(db, one, with_files=call.with_files, grants=grants)
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
    only = ""
    for at, step in enumerate(path):
        here = places[-1] if places else None
        if not only and here is not None and here.kind != "group":
            if step == "files":
                return _files(db, here, places, path[at + 1 :])
            if step == "analyses" and here.kind != "analysis":
                only = step
                continue
        kind = "analysis" if only else "group" if here is None else tree.CHILD_OF.get(here.kind)
        only = ""
        if kind is None and here is not None:
            raise missing(f"an {here.kind} has no {step!r}; a file is named files/{step}")
        place = _child(db, here, kind or "", step)
        if place is None:
            raise missing(f"No {step} {kind} found.{_hint(db, here, step)}")
        check(grants, place, "ro")
        places.append(place)
    return Found(places, only=only)


def _files(db: sqlite3.Connection, here: Place, places: list[Place], rest: list[str]) -> Found:
    if not rest or rest == [""]:
        return Found(places, only="files")
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
        return place if here is None or _parent(db, place.id) == here.id else None
    found = tree.oldest_by_label(db, here.id, kind, step)
    return None if found is None else load_place(db, found)


def _parent(db: sqlite3.Connection, container: str) -> str | None:
    row = db.execute("SELECT parent_id FROM containers WHERE id = ?", (container,)).fetchone()
    parent: str | None = row[0]
    return parent


def _hint(db: sqlite3.Connection, here: Place | None, step: str) -> str:
    if here is None or catalog.by_name(db, here.id, step) is None:
        return ""
    return f" Did you mean files/{step}?"


def _children(db: sqlite3.Connection, found: Found, grants: Grants | None) -> list[Json]:
    """Child containers, then analyses, then files."""
    here = found.places[-1] if found.places else None
    child = "group" if here is None else tree.CHILD_OF.get(here.kind)
    holds = here is not None and here.kind != "group"
    kinds = [child] if child and not found.only else []
    if holds and found.only in ("", "analyses"):
        kinds.append("analysis")
    children: list[Json] = []
    for kind in kinds:
        where = Where((f"c.kind = '{kind}'", "c.deleted IS NULL"))
        if here is not None:
            where = where.also("c.parent_id = ?", here.id)
        where = granted(grants, where, "c", groups=kind == "group")
        query = ListQuery(sort=(("created", False),))
        children += page(db, source(kind, with_files=False), where, query, total=None).results
    if holds and here is not None and found.only in ("", "files"):
        files = files_of(db, [here.id]).get(here.id, [])
        children += [typed(entry, "file") for entry in files]
    return children
