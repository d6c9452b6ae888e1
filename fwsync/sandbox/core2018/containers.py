"""Groups, projects, sessions, acquisitions: made, read, changed, deleted.

Labels are not unique; a list is the whole list; a reply says how many were changed and no more.

Source: core18.
"""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018 import asking, planting
from fwsync.sandbox.core2018 import schema as s
from fwsync.sandbox.core2018.joins import CHILD_OF, counts_of, origins_of, stats_of
from fwsync.sandbox.core2018.render import CONTAINERS, containers_json
from fwsync.sandbox.core2018.wire import empty, json_body
from fwsync.sandbox.kept import metadata, tree
from fwsync.sandbox.kept.access import RANK, Access
from fwsync.sandbox.kept.records import Pen
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

PARENT_OF: Final = {child: parent for parent, child in CHILD_OF.items()}
SUBJECT: Final = s.closed(
    {
        "_id": s.TEXT,
        "code": s.TEXT_OR_NULL,
        "firstname": s.TEXT_OR_NULL,
        "lastname": s.TEXT_OR_NULL,
        "sex": s.TEXT_OR_NULL,
        "age": s.NUMBER,
        "race": s.TEXT_OR_NULL,
        "ethnicity": s.TEXT_OR_NULL,
        "info": s.OBJECT,
        "tags": s.TEXTS,
    }
)
_COMMON: Final = {
    "label": s.LABEL,
    "info": s.OBJECT,
    "public": s.FLAG,
    "tags": s.TEXTS,
    "archived": s.FLAG,
}
_TIMED: Final = {"timestamp": s.MOMENT, "timezone": s.TEXT_OR_NULL, "uid": s.TEXT_OR_NULL}
FIELDS: Final[dict[str, Json]] = {
    "group": {"label": s.LABEL},
    "project": {**_COMMON, "description": s.TEXT},
    "session": {
        **_COMMON,
        **_TIMED,
        "subject": SUBJECT,
        "operator": s.TEXT_OR_NULL,
        "age": s.NUMBER,
        "weight": s.NUMBER,
    },
    "acquisition": {**_COMMON, **_TIMED},
}
_NEW: Final = {
    "group": s.closed({**FIELDS["group"], "_id": s.GROUP_ID}, "_id"),
    "project": s.closed({**FIELDS["project"], "group": s.TEXT}, "label", "group"),
    "session": s.closed({**FIELDS["session"], "project": s.TEXT}, "label", "project"),
    "acquisition": s.closed({**FIELDS["acquisition"], "session": s.TEXT}, "label", "session"),
}
_CHANGE: Final = {kind: s.closed(fields) for kind, fields in FIELDS.items()}
_EDITED: Final = s.closed({"set": s.OBJECT, "delete": s.TEXTS})
_REPLACED: Final = s.closed({"replace": s.OBJECT}, "replace")


# -------------------------------------------------------------------------------------- make


async def create(call: Call) -> web.Response:
    """``POST /{cont}``: 200, and the id."""
    body = await json_body(call)
    s.validate(body, _NEW[call.kind])
    if call.kind == "group":
        return await _create_group(call, body)
    kind, above = call.kind, PARENT_OF[call.kind]
    parent = await call.read(asking.find, body[above], above, deleted=False)
    if parent is None:
        raise ApiError(404, f"Could not find {tree.PLURAL[above]} {body[above]}")
    await asking.allow(call, parent, "admin" if kind == "project" else "rw")

    def write(pen: Pen) -> str:
        if kind == "session":
            return planting.plant_session(pen, parent, body["label"], body).id
        made = planting.plant(pen, kind, body["label"], parent, planting.document(body)).id
        if kind == "project" and call.caller.kind == "user" and call.caller.id is not None:
            given = [{"_id": call.caller.id, "access": "admin"}]
            tree.set_permissions(pen, made, given, replace=False)
        return made

    return answer({"_id": await call.site.write_tree(write)})


async def _create_group(call: Call, body: Json) -> web.Response:
    """An id that exists is overwritten but for its permissions, and the answer is 201."""
    if not call.caller.sees_all:
        raise asking.refused(call)
    group = body["_id"]

    def write(pen: Pen) -> bool:
        taken = asking.find(pen.db, group, "", deleted=True)
        if taken is not None and taken.kind != "group":
            raise ApiError(409, f"{group} is the id of another container")
        known = asking.find(pen.db, group, "group", deleted=False)
        pen.db.execute(
            "INSERT INTO containers (id, kind, label, group_id, created, modified, revision, doc)"
            " VALUES (:id,'group',coalesce(:label, ''),:id,:now,:now,1,'{}')"
            " ON CONFLICT (id) DO UPDATE SET label = coalesce(:label, label), created = :now,"
            " modified = :now, deleted = NULL, revision = revision + 1",
            {"id": group, "label": body.get("label"), "now": pen.now},
        )
        if known is None and call.caller.kind == "user":
            given = [{"_id": call.caller.id, "access": "admin"}]
            tree.set_permissions(pen, group, given, replace=True)
        return known is None

    return answer({"_id": group}, 200 if await call.site.write_tree(write) else 201)


# -------------------------------------------------------------------------------------- read


async def get(call: Call) -> web.Response:
    """``GET /{cont}/{id}``."""
    place = await asking.place(call, "ro")

    def read(db: sqlite3.Connection) -> Json:
        rows = db.execute(f"{CONTAINERS} WHERE c.id = ?", (place.id,)).fetchall()
        [entry] = containers_json(db, rows, listed=False, paths=call.flag("paths"))
        if "origin" in call.request.query.getall("join", []):
            entry["join-origin"] = origins_of(db, entry)
        return entry

    return answer(await call.read(read))


async def top_list(call: Call) -> web.Response:
    """``GET /{cont}``."""
    return await _list(call, call.kind, "1", ())


async def child_list(call: Call) -> web.Response:
    """``GET /{cont}/{id}/{children}``: whether there is such a parent is not asked.

    Source: core18's published source, as what lists leave out.
    """
    return await _list(call, CHILD_OF[call.kind], f"c.{call.kind}_id = ?", (call.part("id"),))


async def no_list(call: Call) -> web.Response:
    """``GET /projects/{id}/acquisitions``: no acquisition names its project."""
    return answer([])


async def _list(call: Call, kind: str, where: str, parameters: tuple[str, ...]) -> web.Response:
    """The whole list, but for what is archived: no parameter pages or filters it."""
    grants = await asking.grants(call)
    shown = "1" if call.flag("archived") else "coalesce(json_extract(c.doc, '$.archived'), 0) = 0"
    sql = f"{CONTAINERS} WHERE {where} AND {shown} AND c.kind = ? AND c.deleted IS NULL"

    def read(db: sqlite3.Connection) -> bytes:
        rows = db.execute(f"{sql} ORDER BY c.id", (*parameters, kind)).fetchall()
        rows = [row for row in rows if asking.may_read(grants, row)]
        found = containers_json(db, rows, listed=True, paths=call.flag("paths"))
        for entry in found:
            if call.flag("counts"):
                entry.update(counts_of(db, kind, entry["_id"]))
            if call.flag("stats"):
                entry.update(stats_of(db, kind, entry))
            if "origin" in call.request.query.getall("join", []):
                entry["join-origin"] = origins_of(db, entry)
        return json.dumps(found).encode()

    return answer(await call.read(read))


# ------------------------------------------------------------------------------------ change


async def change(call: Call) -> web.Response:
    """``PUT /{cont}/{id}``."""
    place = await asking.place(call, "admin" if call.kind == "group" else "rw")
    body = await json_body(call)
    if not body:
        raise ApiError(400, "Empty Payload")
    s.validate(body, _CHANGE[place.kind])
    subject: Json = dict(body.get("subject") or {})
    if subject.pop("code", None) is not None:
        raise ApiError(400, "the code of a subject cannot be changed here")

    def write(pen: Pen) -> None:
        doc = planting.load_doc(pen.db, place.id) | planting.document(body)
        planting.save_doc(pen, place.id, doc, body.get("label"))
        if "archived" in body:  # it goes down the tree
            sql = (
                "UPDATE containers SET doc = json_set(doc, '$.archived', json(?))"  # noqa: S608
                f" WHERE {place.kind}_id = ?"
            )
            pen.db.execute(sql, (json.dumps(body["archived"]), place.id))
        if subject and place.subject is not None:
            of_subject = planting.load_doc(pen.db, place.subject)
            planting.save_doc(pen, place.subject, of_subject | planting.document(subject))

    await call.site.write_tree(write)
    return answer({"modified": 1})


async def change_info(call: Call) -> web.Response:
    """``POST /{cont}/{id}/info``: 200 and an empty page."""
    place = await asking.place(call, "rw")
    told = read_info(await json_body(call))
    work = partial(metadata.change_info, body=told)
    await call.site.records.write(tree.edit, place, work)
    return empty()


def read_info(told: Any) -> Json:
    """The body of a change of ``info``.

    Raises:
        ApiError: 400, it is neither ``set`` and ``delete`` nor ``replace``.
    """
    edited = isinstance(told, dict) and told and "replace" not in told
    s.validate(told, _EDITED if edited else _REPLACED)
    body: Json = told
    return body


# ------------------------------------------------------------------------------------ delete


async def delete(call: Call) -> web.Response:
    """``DELETE /{cont}/{id}``: a mark that goes down the tree."""
    need: Access = "rw" if call.kind in ("session", "acquisition") else "admin"
    place = await asking.place(call, need)
    # Below admin, nobody deletes what a device wrote.
    below_admin = await asking.rank_of(call, place) < RANK["admin"]
    if below_admin and await call.read(_has_device_data, f"{place.kind}_id", place.id):
        raise asking.refused(call, "original_data_present")

    def write(pen: Pen) -> None:
        if place.kind == "group" and _has_projects(pen.db, place.id):
            raise ApiError(400, "Group has projects and cannot be deleted")
        tree.delete(pen, place)

    await call.site.write_tree(write)
    return answer({"deleted": 1})


def _has_device_data(db: sqlite3.Connection, column: str, container: str) -> bool:
    row = db.execute(
        f"SELECT 1 FROM files WHERE {column} = ? AND deleted IS NULL"  # noqa: S608 - our own text
        " AND json_extract(origin, '$.type') = 'device' LIMIT 1",
        (container,),
    ).fetchone()
    return row is not None


def _has_projects(db: sqlite3.Connection, group: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM containers WHERE parent_id = ? AND deleted IS NULL LIMIT 1", (group,)
    ).fetchone()
    return row is not None
