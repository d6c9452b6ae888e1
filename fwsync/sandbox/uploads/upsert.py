"""A subject, a session and an acquisition of a project in one request, found, changed or made.

``POST /projects/{id}/upsert-hierarchy`` and ``…/upsert-file``. A level is found by the first of
``_id``, ``uid``, ``routing_field`` and ``label`` that it names; the other fields are set on it.

==============  ============================================================================
``created``     there was none
``updated``     there was one, and a field was different
``ignored``     there was one, as it was told
``conflict``    there is one of that uid, but elsewhere: it is left as it is, and what is
                below is not looked at
==============  ============================================================================

Source: the words, bodies and answers of SDK 23 (`upsert_project_hierarchy`); what applies when is
[inferred].
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.kept import branches, fields, tree
from fwsync.sandbox.kept.access import Place, load_place
from fwsync.sandbox.kept.branches import make, overwrite
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import invalid, missing, refuse_others
from fwsync.sandbox.site import Call, answer
from fwsync.sandbox.uploads import managed

Json = dict[str, Any]

LEVELS: Final = ("subject", "session", "acquisition")
ROUTES: Final = ("_id", "uid", "routing_field", "label")  # what a level is found by, in this order
SCOPES: Final = ("project", "group", "site")  # where a uid is looked for
_ABOUT: Final = ("origin", "source")  # of the whole branch


@dataclass(frozen=True, slots=True)
class Wanted:
    """One level of a request: what it is found by, and its fields as they are kept."""

    kind: str
    route: str
    value: str
    told: Json


@dataclass(frozen=True, slots=True)
class Reached:
    """A level after the request; ``place`` is ``None`` where nobody may go on from it."""

    place: Place | None
    answer: Json


async def upsert(call: Call) -> web.Response:
    """``POST /projects/{id}/upsert-hierarchy``: what became of each level that was named."""
    project = await call.place(call.part("id"), "rw")
    wanted = _wanted(await call.json_object(), set())
    reached = await call.site.records.write(_upsert, project, wanted, _scope(call))
    return answer({kind: level.answer for kind, level in reached.items()})


async def upsert_file(call: Call) -> web.Response:
    """``POST /projects/{id}/upsert-file``: the same, and ``file`` in the lowest level.

    ``file`` is what ``POST /files`` takes, less ``parent_ref``. On a conflict of a container
    nothing is stored; ``cleanup_on_conflict`` drops the bytes on any conflict.
    """
    project = await call.place(call.part("id"), "rw")
    body = await call.json_object()
    file = body.get("file")
    if not isinstance(file, dict) or "parent_ref" in file:
        raise invalid("file is required, an object without parent_ref")
    wanted = _wanted(body, {"file"})
    reached = await call.site.records.write(_upsert, project, wanted, _scope(call))
    told = {kind: level.answer for kind, level in reached.items()}
    lowest = list(reached.values())[-1].place if reached else project
    result: Json = {"upsert_result": "conflict"}
    if lowest is not None:
        ref = {"type": lowest.kind, "id": lowest.id}
        result = await managed.upserted(call, file | {"parent_ref": ref})
    if result["upsert_result"] == "conflict" and call.flag("cleanup_on_conflict"):
        managed.drop(call, file)
    return answer(told | {"file": result})


def _scope(call: Call) -> str:
    scope = call.query("uid_scope") or SCOPES[0]
    if scope not in SCOPES:
        raise invalid(f"uid_scope must be one of {', '.join(SCOPES)}")
    return scope


def _wanted(body: Json, also: set[str]) -> list[Wanted]:
    refuse_others(body, {*LEVELS, *_ABOUT, *also})
    about = {name: body[name] for name in _ABOUT if body.get(name) is not None}
    return [_level(kind, body[kind], about) for kind in LEVELS if body.get(kind) is not None]


def _level(kind: str, told: object, about: Json) -> Wanted:
    if not isinstance(told, dict):
        raise invalid(f"{kind} must be an object")
    routes = [name for name in ROUTES if told.get(name) is not None]
    if not routes or (kind == "subject" and routes[0] == "uid"):
        raise invalid(f"{kind} is named by one of {', '.join(ROUTES)}")
    for name in routes:
        tree.read_label(told[name])
    passed_on = {"_id", "routing_field", "source"}
    known = fields.read(kind, about | told, allowed=passed_on)
    kept = {name: value for name, value in known.items() if value is not None}
    return Wanted(kind, routes[0], told[routes[0]], kept)


# -------------------------------------------------------------------------- in the records


def _upsert(pen: Pen, project: Place, wanted: Sequence[Wanted], scope: str) -> dict[str, Reached]:
    if load_place(pen.db, project.id) is None:
        raise missing(f"no such project: {project.id}")
    reached: dict[str, Reached] = {}
    parent = project
    for level in wanted:
        found = _one(pen, project, parent, level, scope)
        reached[level.kind] = found
        if found.place is None:
            break
        parent = found.place
    return reached


def _one(pen: Pen, project: Place, parent: Place, level: Wanted, scope: str) -> Reached:
    if level.route == "uid":
        found, elsewhere = _of_uid(pen.db, project, parent, level, scope)
        if elsewhere is not None:
            return Reached(None, _told(pen.db, elsewhere, "conflict"))
    else:
        # By the label that the site keeps, or the same request again would make another one.
        kept = pen.named(level.value) if level.route == "label" else level.value
        found = _of_route(pen.db, parent, replace(level, value=kept))
    if found is None:
        return _made(pen, parent, level)
    changed = overwrite(pen, found, _to_change(level))
    return Reached(found, _told(pen.db, found, "updated" if changed else "ignored"))


def _of_uid(
    db: sqlite3.Connection, project: Place, parent: Place, level: Wanted, scope: str
) -> tuple[Place | None, Place | None]:
    """The container of the uid below the parent; or, without one, the oldest that is elsewhere."""
    below = {"project": project, "group": branches.above(db, project, "group"), "site": None}
    found = branches.with_uid(db, level.kind, level.value, below[scope])
    here = [one for one in found if getattr(one, parent.kind) == parent.id]
    if here:
        return here[0], None
    return None, found[0] if found else None


def _of_route(db: sqlite3.Connection, parent: Place, level: Wanted) -> Place | None:
    if level.route == "_id":
        place = load_place(db, level.value)
        if place is None or place.kind != level.kind or getattr(place, parent.kind) != parent.id:
            raise missing(f"no such {level.kind} in {parent.kind} {parent.id}: {level.value}")
        return place
    if level.route == "label" and parent.kind == tree.PARENT_OF[level.kind]:
        found = tree.oldest_by_label(db, parent.id, level.kind, level.value)
        return None if found is None else load_place(db, found)
    rows = db.execute(
        "SELECT id, label, doc FROM containers WHERE kind = ? AND deleted IS NULL"  # noqa: S608
        f" AND {parent.kind}_id = ? ORDER BY id",
        (level.kind, parent.id),
    )
    for row in rows:
        is_it = row["label"] == level.value
        if level.route == "routing_field":
            is_it = json.loads(row["doc"]).get("routing_field") == level.value
        if is_it:
            return load_place(db, row["id"])
    return None


def _made(pen: Pen, parent: Place, level: Wanted) -> Reached:
    if parent.kind != tree.PARENT_OF[level.kind]:
        raise invalid(f"a new {level.kind} needs a {tree.PARENT_OF[level.kind]}")
    label = level.told.get("label") or level.value
    place = make(pen, level.kind, parent, label, level.told)
    return Reached(place, _told(pen.db, place, "created"))


def _to_change(level: Wanted) -> Json:
    """Where a container came from is written down when it is made, and not changed later."""
    return {name: value for name, value in level.told.items() if name not in _ABOUT}


def _told(db: sqlite3.Connection, place: Place, result: str) -> Json:
    row = db.execute("SELECT label, doc FROM containers WHERE id = ?", (place.id,)).fetchone()
    told: Json = {"_id": place.id, "label": row["label"], "upsert_result": result}
    if place.kind != "subject":
        told["uid"] = json.loads(row["doc"]).get("uid")
    return told
