"""Which uids exist: ``POST /uids`` and ``POST /uids/projects``.

Only what the caller may see counts: a uid that they cannot reach is one they may use.

Source: SDK 23 (`check_uids_exist`); CLI 18.5.1 asks project by project before it ingests.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.kept.access import Grants, Place
from fwsync.sandbox.kept.listing import GIVEN, Where, granted
from fwsync.sandbox.problems import invalid, refuse_others
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

LEVELS: Final = {"sessions": "session", "acquisitions": "acquisition"}


async def exist(call: Call) -> web.Response:
    """``POST /uids``: those of the given uids that exist, anywhere or in some projects."""
    body = await call.json_object()
    wanted = _wanted(body, {"project_id", "project_ids"})
    projects = _texts(body, "project_ids")
    if body.get("project_id") is not None:
        if not isinstance(body["project_id"], str):
            raise invalid("project_id must be a text")
        projects = [*(projects or ()), body["project_id"]]
    grants = await call.site.grants(call.caller)
    return answer(await call.read(_exist, wanted, grants, projects))


async def by_project(call: Call) -> web.Response:
    """``POST /uids/projects``: the same for each project on its own.

    A project that does not exist, or that the caller may not see, is missing in the answer.
    """
    body = await call.json_object()
    wanted = _wanted(body, {"project_ids"})
    projects = _texts(body, "project_ids")
    if projects is None:
        raise invalid("project_ids is required")
    grants = await call.site.grants(call.caller)
    places = [await call.site.place(project) for project in dict.fromkeys(projects)]
    seen = [place.id for place in places if place is not None and _may_see(grants, place)]

    def find(db: sqlite3.Connection) -> Json:
        return {project: _exist(db, wanted, grants, [project]) for project in seen}

    return answer(await call.read(find))


def _may_see(grants: Grants | None, place: Place) -> bool:
    return place.kind == "project" and (grants is None or grants.rank(place) > 0)


def _wanted(body: Json, allowed: set[str]) -> dict[str, list[str]]:
    refuse_others(body, LEVELS.keys() | allowed)
    told = {name: _texts(body, name) for name in LEVELS}
    if all(uids is None for uids in told.values()):
        raise invalid("sessions or acquisitions is required")
    return {name: uids or [] for name, uids in told.items()}


def _texts(body: Json, name: str) -> list[str] | None:
    told = body.get(name)
    if told is None:
        return None
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise invalid(f"{name} must be a list of texts")
    return told


def _exist(
    db: sqlite3.Connection,
    wanted: dict[str, list[str]],
    grants: Grants | None,
    projects: list[str] | None,
) -> Json:
    """Those that exist, each once, in the order they were asked for."""
    answers: Json = {}
    for name, uids in wanted.items():
        where = Where(("c.kind = ?", "c.deleted IS NULL"), (LEVELS[name],))
        if projects is not None:
            where = where.also(GIVEN.format("c.project_id"), json.dumps(projects))
        where = granted(grants, where, "c")
        rows = db.execute(
            "SELECT j.key FROM json_each(?) j WHERE EXISTS"  # noqa: S608 - no values
            f" (SELECT 1 FROM containers c WHERE c.uid = j.value AND {where.text})",
            (json.dumps(uids), *where.parameters),
        )
        answers[name] = list(dict.fromkeys(uids[row[0]] for row in rows))
    return answers
